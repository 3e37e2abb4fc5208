"""A real-time scheduler: `Task`, `TaskConstraints`, `RealtimeScheduler` and what belongs to them.

The law of this package: it translates. Who runs when, who makes room for whom, who inherits from whom and
where a deadlock is, is decided by the runtime; here are its words, and one job of the shared runtime for each
task.
"""

from __future__ import annotations

# All that the first scheduler needs: to import it takes longer than the first deadline may.
import actorsched.running  # pyright: ignore[reportUnusedImport]
import actorsched.runtime  # noqa: F401 # pyright: ignore[reportUnusedImport]
from actorsched.frontends.realtime.constraints import TaskConstraints
from actorsched.frontends.realtime.functions import PreemptionEvent
from actorsched.frontends.realtime.monitoring import LatencyMonitor, SchedulerMetrics, TaskMetrics
from actorsched.frontends.realtime.queues import DeadlineQueue, MultiLevelQueue, PriorityQueue
from actorsched.frontends.realtime.scheduler import RealtimeScheduler
from actorsched.frontends.realtime.task import Task
from actorsched.frontends.realtime.vocabulary import (
    CircularDependencyError,
    DeadlineInPastError,
    InvalidArgumentError,
    ResourceDeadlockError,
    SchedulingError,
    SchedulingPolicy,
    TaskPriority,
    TaskStatus,
    UnknownTaskError,
)

__all__ = [
    "Task",
    "TaskPriority",
    "TaskConstraints",
    "TaskStatus",
    "TaskMetrics",
    "PreemptionEvent",
    "RealtimeScheduler",
    "SchedulingPolicy",
    "SchedulerMetrics",
    "LatencyMonitor",
    "PriorityQueue",
    "DeadlineQueue",
    "MultiLevelQueue",
    "SchedulingError",
    "InvalidArgumentError",
    "DeadlineInPastError",
    "UnknownTaskError",
    "CircularDependencyError",
    "ResourceDeadlockError",
]

"""A task manager: register, execute, ask and cancel by id, with executors and events.

    manager = TaskManager()
    task_id = manager.register_task("report", build_report, "March", priority=TaskPriority.HIGH)
    await manager.execute_task(task_id)
    print(manager.get_task_result(task_id))

The law of this package: its names are those that people know from such a system, and every task of it is one
of the shared runtime, under an id that is valid in all front ends. Its modules: `tasks` (a task, checked and
executed), `executors` and `planning` (where it runs), `places` and `visits` (in the loop of the caller),
`events` (who is told), `managing` (the manager).
"""

from __future__ import annotations

from actorsched.frontends._vocabulary import (
    TaskArgumentError,
    TaskCancelledError,
    TaskDependencyError,
    TaskError,
    TaskExecutionError,
    TaskNotFoundError,
    TaskPriority,
    TaskStatus,
    TaskTimeoutError,
)
from actorsched.frontends.manager.events import EventType, TaskEvent, subscribe, unsubscribe
from actorsched.frontends.manager.executors import (
    AsyncExecutor,
    Executor,
    SequentialExecutor,
    ThreadPoolExecutor,
)
from actorsched.frontends.manager.managing import TaskManager
from actorsched.frontends.manager.tasks import Task, UnknownDependencyError

__all__ = [
    "AsyncExecutor",
    "EventType",
    "Executor",
    "SequentialExecutor",
    "Task",
    "TaskArgumentError",
    "TaskCancelledError",
    "TaskDependencyError",
    "TaskError",
    "TaskEvent",
    "TaskExecutionError",
    "TaskManager",
    "TaskNotFoundError",
    "TaskPriority",
    "TaskStatus",
    "TaskTimeoutError",
    "ThreadPoolExecutor",
    "UnknownDependencyError",
    "subscribe",
    "unsubscribe",
]

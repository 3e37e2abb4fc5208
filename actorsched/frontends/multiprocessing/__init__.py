"""Tasks in worker processes: `Task`, `TaskChain`, `CoreMultiprocessing` and what belongs to them.

The law of this package: it translates. Who runs when, where, and in how many processes is decided by the
runtime; here are the words of a task system that people know, and one job of the shared runtime for each
task.

How it works: a task (`tasks`) is pushed to the one `TaskScheduler`, whose `ProcessCompositor` (`scheduling`)
has two pools of host processes, one for plain functions and one for async ones. What is told of these
processes becomes `Worker`s (`workers`).
"""

from __future__ import annotations

from actorsched.frontends.multiprocessing.errors import (
    AlreadyPushed,
    ChainError,
    ChainTooLong,
    CircularDependency,
    InvalidArgument,
    NotPushed,
    ResultTimeout,
    TaskSchedulingError,
    UnknownDependency,
)
from actorsched.frontends.multiprocessing.logs import start_log
from actorsched.frontends.multiprocessing.scheduling import (
    CoreMultiprocessing,
    ProcessCompositor,
    TaskScheduler,
)
from actorsched.frontends.multiprocessing.tasks import Task, TaskChain
from actorsched.frontends.multiprocessing.workers import Worker, WorkerState
from actorsched.options import Priority

__all__ = [
    "AlreadyPushed",
    "ChainError",
    "ChainTooLong",
    "CircularDependency",
    "CoreMultiprocessing",
    "InvalidArgument",
    "NotPushed",
    "Priority",
    "ProcessCompositor",
    "ResultTimeout",
    "Task",
    "TaskChain",
    "TaskScheduler",
    "TaskSchedulingError",
    "UnknownDependency",
    "Worker",
    "WorkerState",
    "start_log",
]

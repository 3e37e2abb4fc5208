"""The words that the front ends `manager` and `bridge` share: statuses, priorities, errors.

The law of this module: words only, and which native word each stands for. Nothing here looks at a job or a
runtime.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from actorsched import exceptions
from actorsched.exceptions import ActorschedError, shown
from actorsched.options import Priority
from actorsched.status import TaskStatus as Native


class TaskPriority(IntEnum):
    """How urgent a task is; higher ones come first. Each is the native `Priority` of the same name."""

    LOW = Priority.LOW
    NORMAL = Priority.NORMAL
    HIGH = Priority.HIGH
    CRITICAL = Priority.CRITICAL


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    """Registered, or in the queue, or waiting for its next attempt."""
    WAITING = "waiting"
    """A task that it depends on has not settled."""
    RUNNING = "running"
    """It has begun."""
    COMPLETED = "completed"
    """It has a result. Final."""
    FAILED = "failed"
    """It raised, took too long, missed its deadline, or what it depends on failed. Final."""
    CANCELLED = "cancelled"
    """Somebody cancelled it, or what it depends on. Final."""

    @property
    def is_final(self) -> bool:
        """Whether a task of this status has settled."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


STATUSES: dict[Native, TaskStatus] = {
    **dict.fromkeys(Native, TaskStatus.PENDING),
    Native.WAITING: TaskStatus.WAITING,
    Native.RUNNING: TaskStatus.RUNNING,
    Native.PREEMPTED: TaskStatus.RUNNING,
    Native.COMPLETED: TaskStatus.COMPLETED,
    Native.FAILED: TaskStatus.FAILED,
    Native.DEADLINE_MISSED: TaskStatus.FAILED,
    Native.CANCELLED: TaskStatus.CANCELLED,
}
"""What each native status is called here."""


class TaskError(ActorschedError):
    """The base of the errors of `manager` and `bridge`.

    Attributes:
        task_id: The id of the task that it is about; None if it is about none.
    """

    def __init__(self, message: str = "", *, task_id: str | None = None) -> None:
        super().__init__(message)
        self.task_id = task_id


class TaskArgumentError(TaskError, TypeError, ValueError):
    """What was given cannot be: no function, a number out of range, an id that is no text, a name in use."""


class TaskNotFoundError(TaskError, LookupError):
    """No task of that id is known: it never was, it was cleaned up, or it has settled long ago."""


class TaskDependencyError(TaskError):
    """What a task depends on does not exist, forms a circle, or did not complete.

    In the last case the `DependencyFailed` that says which, and why, is the `__cause__`.
    """


class TaskCancelledError(TaskError):
    """The task was cancelled, so it has no result; the `TaskCancelled` is the `__cause__`."""


class TaskTimeoutError(TaskError, TimeoutError):
    """The task took longer than it may, so it has no result; the cause is the `__cause__`."""


class TaskExecutionError(TaskError):
    """The task failed, so it has no result; what it raised is the `__cause__`."""


def failure(task: str, task_id: str, error: BaseException) -> TaskError:
    """Return why a task has no result, in these words, with what happened as its `__cause__`."""
    what = f"task {task!r} ({task_id})"
    kind: type[TaskError] = TaskExecutionError
    message = f"{what} failed, so it has no result: {type(error).__name__}: {error}"
    match error:
        case exceptions.TaskCancelled():
            kind, message = TaskCancelledError, f"{what} has no result: {error}"
        case exceptions.TaskTimeout() | exceptions.DeadlineMissed():
            kind, message = TaskTimeoutError, f"{what} has no result: {error}"
        case exceptions.DependencyFailed():
            kind, message = TaskDependencyError, f"{what} has no result: {error}"
        case _:
            pass
    failed = kind(message, task_id=task_id)
    failed.__cause__ = error
    return failed


def priority_of(value: object) -> TaskPriority:
    """Return the priority that is meant.

    Raises:
        TaskArgumentError: It is none of the four.
    """
    if type(value) is TaskPriority:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return TaskPriority(value)
        except ValueError:
            pass
    names = ", ".join(f"TaskPriority.{one.name}" for one in TaskPriority)
    raise TaskArgumentError(f"priority={shown(value)} is none; choose from {names}")

"""The words of the real-time scheduler: priorities, statuses, policies, errors.

The law of this module: words only, and which native word each stands for. Nothing here looks at a task.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from actorsched.exceptions import ActorschedError, DeadlockError, DependencyCycle, shown
from actorsched.options import Priority
from actorsched.policies import Edf, Fair, FixedPriority, Realtime
from actorsched.status import TaskStatus as Native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorsched.policies import SchedulingPolicy as Policy

TaskPriority = Priority
"""How urgent a task is, from IDLE to REALTIME: the native priorities are these seven."""


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    """Made, or submitted and waiting for other tasks, for its next attempt, or for the scheduler to start."""
    READY = "ready"
    """In the queue, for the first time or again: only a worker is missing."""
    BLOCKED = "blocked"
    """A resource that it needs is held by another task."""
    RUNNING = "running"
    """On a worker."""
    COMPLETED = "completed"
    """It returned. Final."""
    FAILED = "failed"
    """It raised, or what it depends on failed. Final."""
    CANCELLED = "cancelled"
    """Somebody cancelled it, or what it depends on. Final."""
    DEADLINE_MISSED = "deadline_missed"
    """It was not done at its deadline, and so it was stopped, or never begun. Final."""

    @property
    def is_final(self) -> bool:
        """Whether a task of this status has settled."""
        return Native(self.value).is_final


STATUSES: dict[Native, TaskStatus] = {
    Native.PENDING: TaskStatus.PENDING,
    Native.WAITING: TaskStatus.PENDING,
    Native.RETRYING: TaskStatus.PENDING,
    Native.READY: TaskStatus.READY,
    Native.PREEMPTED: TaskStatus.READY,
    Native.BLOCKED: TaskStatus.BLOCKED,
    Native.RUNNING: TaskStatus.RUNNING,
    Native.COMPLETED: TaskStatus.COMPLETED,
    Native.FAILED: TaskStatus.FAILED,
    Native.CANCELLED: TaskStatus.CANCELLED,
    Native.DEADLINE_MISSED: TaskStatus.DEADLINE_MISSED,
}
"""What each native status is called here."""


class SchedulingPolicy(StrEnum):
    """Which ready task runs next."""

    PRIORITY = "priority"
    """The highest priority first; it preempts lower ones."""
    DEADLINE = "deadline"
    """The earliest deadline first; those without one come last, by priority."""
    FAIR = "fair"
    """A multi-level feedback queue: who needs little goes first, and nobody waits for ever."""
    REALTIME = "realtime"
    """Fixed priorities and nothing else, preemptive: what response times can be calculated for."""

    def native(self) -> Policy[Any]:
        """A new policy of the runtime's that does this."""
        return _NATIVE[self]()


_NATIVE: dict[SchedulingPolicy, Callable[[], Policy[Any]]] = {
    SchedulingPolicy.PRIORITY: FixedPriority,
    SchedulingPolicy.DEADLINE: Edf,
    SchedulingPolicy.FAIR: Fair,
    SchedulingPolicy.REALTIME: Realtime,
}


# ----------------------------------------------------------------------------------------------------- errors


class SchedulingError(ActorschedError):
    """The base of the errors of this front end.

    What a task itself runs into is not one of them: `task.error` is what its function raised, or the
    runtime's own error, such as `DeadlineMissed`, `DependencyFailed` or `TaskCancelled`.
    """


class InvalidArgumentError(SchedulingError, TypeError, ValueError):
    """What was given cannot be: no function, a number out of range, an unknown policy. Nothing was queued."""


class DeadlineInPastError(InvalidArgumentError):
    """The deadline was past already when the constraints were made."""


class UnknownTaskError(SchedulingError, LookupError):
    """`depends_on` has an id that is no task's: it never was one's, or that task is long forgotten."""


class CircularDependencyError(DependencyCycle, SchedulingError):
    """Tasks depend on each other in a circle; the one that would have closed it was not submitted.

    Attributes:
        path: The names along the circle; each depends on the next, and the last is the first again.
    """


class ResourceDeadlockError(DeadlockError, SchedulingError):
    """Waiting would never have ended, so it was refused.

    Attributes:
        circle: The names along the circle; the first waits for the second, the last waits for the first.
    """


def invalid(field: str, value: object, remedy: str) -> InvalidArgumentError:
    """Return the error for a value that cannot be."""
    return InvalidArgumentError(f"{field}={shown(value)} ({type(value).__name__}) cannot be; {remedy}")


def policy_of(value: object) -> SchedulingPolicy:
    """Return the policy that is meant.

    Raises:
        InvalidArgumentError: There is no such policy.
    """
    if isinstance(value, str):
        try:
            return SchedulingPolicy(value.lower())
        except ValueError:
            pass
    names = ", ".join(f"SchedulingPolicy.{policy.name}" for policy in SchedulingPolicy)
    raise invalid("policy", value, f"choose from {names}")


def priority_of(value: object) -> TaskPriority:
    """Return the priority that is meant.

    Raises:
        InvalidArgumentError: It is none of the seven.
    """
    if type(value) is TaskPriority:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return TaskPriority(value)
        except ValueError:
            pass
    names = ", ".join(f"TaskPriority.{priority.name}" for priority in TaskPriority)
    raise invalid("priority", value, f"choose from {names}")


def whole(value: object, field: str, least: int) -> int:
    """Return an int that is not too small.

    Raises:
        InvalidArgumentError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise invalid(field, value, f"give an int of {least} or more")
    return value


def above_zero(value: object, field: str, unit: str) -> float:
    """Return a finite number above zero.

    Raises:
        InvalidArgumentError: It is none.
    """
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
    if not fits:
        raise invalid(field, value, f"give {unit}, as a number above 0")
    assert isinstance(value, (int, float))
    return value


def flag(value: object, field: str) -> bool:
    """Return True or False, and nothing that is merely true or false.

    Raises:
        InvalidArgumentError: It is neither.
    """
    if not isinstance(value, bool):
        raise invalid(field, value, "give True or False")
    return value


_NONE: tuple[str, ...] = ()


def names_of(value: object, field: str, example: str) -> set[str]:
    """Return a set of names.

    Raises:
        InvalidArgumentError: It is no collection of text.
    """
    if value is _NONE:
        return set()
    remedy = f"give a set of str, such as {example}"
    if not isinstance(value, (set, frozenset, list, tuple)):
        raise invalid(field, value, remedy)
    names: set[str] = set()
    for name in cast("Iterable[object]", value):
        if not isinstance(name, str) or not name.strip():
            raise invalid(f"an entry of {field}", name, remedy)
        names.add(name)
    return names

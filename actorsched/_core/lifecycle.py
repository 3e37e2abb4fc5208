"""The life of a task: its statuses, and which may follow which.

The law of this module: one table, and what can be read from it. Who changes a status, and why, is the task's
affair; that it is a change which may be is checked here, each time, by one look into the table. A status that
nothing may follow is final, and a task reaches exactly one of those.

The story that the table tells: a task is PENDING until it is admitted; WAITING while something that it
depends on, or awaits, is unfinished; READY in the queue; BLOCKED while a resource is held by another; RUNNING
on a worker; PREEMPTED while a more urgent task has its worker; RETRYING until its next attempt is due. A task
that waits while it runs lends its slot, so it goes from RUNNING to WAITING or BLOCKED, and comes back through
READY, by priority, like any other; only when it is interrupted there does it run at once, to clean up.
COMPLETED comes after RUNNING alone; whatever is not final may fail, be cancelled or miss its deadline.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALLOWED", "FINAL", "IllegalTransition", "TaskStatus", "check", "mermaid"]


class IllegalTransition(AssertionError):
    """A task was to enter a status that cannot follow its present one: a defect of actorsched; report it."""


def _table() -> dict[TaskStatus, frozenset[TaskStatus]]:
    status = TaskStatus
    stopped = {status.FAILED, status.CANCELLED, status.DEADLINE_MISSED}
    following = {
        status.PENDING: {status.WAITING, status.READY} | stopped,
        # To RUNNING at once, past the queue, goes whoever is interrupted in mid-life: to clean up.
        status.WAITING: {status.READY, status.RUNNING} | stopped,
        status.READY: {status.RUNNING, status.BLOCKED} | stopped,
        status.BLOCKED: {status.READY, status.RUNNING} | stopped,
        # Back to READY: it yielded, its quantum ended, or its host took it back before it began.
        status.RUNNING: {status.WAITING, status.READY, status.BLOCKED, status.PREEMPTED, status.RETRYING}
        | {status.COMPLETED}
        | stopped,
        # Its host may die while it is suspended: hence RETRYING, or READY for another attempt at once.
        status.PREEMPTED: {status.RUNNING, status.READY, status.RETRYING} | stopped,
        status.RETRYING: {status.READY} | stopped,
    }
    return {old: frozenset(following.get(old, ())) for old in status}


ALLOWED: Final[Mapping[TaskStatus, frozenset[TaskStatus]]] = MappingProxyType(_table())
"""For each status, those that may follow it."""

FINAL: Final[frozenset[TaskStatus]] = frozenset(old for old, following in ALLOWED.items() if not following)
"""The statuses that nothing may follow."""


def check(old: TaskStatus, new: TaskStatus) -> TaskStatus:
    """Return the new status, if it may follow the old one.

    Used as `self.status = check(self.status, TaskStatus.READY)`.

    Raises:
        IllegalTransition: It may not. Nothing has changed.
    """
    if new not in ALLOWED[old]:
        following = ", ".join(status.name for status in TaskStatus if status in ALLOWED[old])
        raise IllegalTransition(
            f"a task cannot go from {old.name} to {new.name}; "
            + (f"after {old.name} come {following}" if following else f"{old.name} is final")
        )
    return new


def mermaid() -> str:
    """Return the table as a Mermaid state diagram, for the documentation; the same each time."""
    lines = ["stateDiagram-v2", f"    [*] --> {TaskStatus.PENDING.name}"]
    for old, following in ALLOWED.items():
        lines += [f"    {old.name} --> {new.name}" for new in TaskStatus if new in following]
    lines += [f"    {status.name} --> [*]" for status in TaskStatus if status in FINAL]
    return "\n".join(lines) + "\n"

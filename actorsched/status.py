"""The statuses of a task. Which may follow which is told in `_core.lifecycle`."""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    """Submitted, not yet admitted."""
    WAITING = "waiting"
    """Something that it depends on, or awaits, is not finished."""
    READY = "ready"
    """In the queue: only a worker is missing."""
    BLOCKED = "blocked"
    """A resource that it asked for is held by another."""
    RUNNING = "running"
    """On a worker."""
    PREEMPTED = "preempted"
    """Begun, and paused in favour of a more urgent task."""
    RETRYING = "retrying"
    """An attempt failed; the next one is not due yet."""
    COMPLETED = "completed"
    """It returned. Final."""
    FAILED = "failed"
    """It raised, its host died, or what it depends on failed. Final."""
    CANCELLED = "cancelled"
    """Somebody cancelled it. Final."""
    DEADLINE_MISSED = "deadline_missed"
    """It was stopped at its hard deadline. Final."""

    @property
    def is_final(self) -> bool:
        """Whether a task of this status has settled."""
        return self in _FINAL


_FINAL = frozenset(
    (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.DEADLINE_MISSED)
)

"""Admission control, about to be filled in."""

from __future__ import annotations

from typing import Generic

from actorsched._core.policies import Item


class DemandBound(Generic[Item]):
    """The tasks admitted so far, and whether one more may be."""

    __slots__ = ()

    def refuse(self, task: Item, now: float, processors: int) -> str | None:
        """Return why this task and those remembered cannot all be done in time; None if they can."""
        return None

    def add(self, task: Item, now: float) -> None:
        """Remember a task until it is dropped."""

    def drop(self, task: Item, now: float) -> None:
        """A task has ended. Nothing happens when it is not remembered."""

    def ran(self, task: Item, seconds: float) -> None:
        """A task has used processor time."""

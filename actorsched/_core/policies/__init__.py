"""Scheduling policies: which ready task is next.

The law of this package: a policy is a queue of ready tasks with an order of its own. It is told the time, and
never reads a clock; it knows no worker, and does not run anything. One module per policy; this one says what
they have in common.

How it works: the scheduler pushes a task when it becomes ready, pops one when a worker is free, removes one
that is cancelled, and says when a rank has changed. When the policy itself is changed, the old one is drained
in its order into the new one, so that no task is lost.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["Ranked", "SchedulingPolicy"]


class Ranked(Protocol):
    """What a policy must know of a task; hashable, and equal to nothing but itself."""

    @property
    def rank(self) -> int:
        """The effective priority: more is more urgent."""
        ...


Item = TypeVar("Item", bound=Ranked)


class SchedulingPolicy(Protocol[Item]):
    """A queue of ready tasks. `now` is the present time in seconds, and never goes back."""

    def push(self, item: Item, now: float, /) -> None:
        """Take in a task, at the tail of its equals.

        Raises:
            ValueError: It is in the queue already. Nothing has changed.
        """
        ...

    def pop(self, now: float, /) -> Item | None:
        """Take out the task that is next; None if there is none."""
        ...

    def peek(self, now: float, /) -> Item | None:
        """Return the task that `pop` would take, and leave it there."""
        ...

    def remove(self, item: Item, /) -> bool:
        """Take out this task; False if it was not there."""
        ...

    def reprioritise(self, item: Item, now: float, /) -> bool:
        """Note that the task's rank has changed; False if it is not there.

        Its place among its new equals is by the time at which it was pushed.
        """
        ...

    def drain(self) -> list[Item]:
        """Take out all tasks, in the order in which `pop` would have returned them."""
        ...

    def __len__(self) -> int:
        """How many tasks are in the queue."""
        ...

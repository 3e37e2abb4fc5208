"""Scheduling policies: which task runs next, and which one has to make room for it.

The law of this package: a policy decides, and does nothing. It is told what happens to the tasks of one pool,
and the time; it never reads a clock, knows no worker, and runs nothing. One module per policy; this one says
what they have in common.

How it works: the scheduler tells the policy which tasks join its queue and which of them have a worker, and
asks it at every decision point, when all that belongs to this instant is known:

1. `expired`: whose turn is over? They join the tail of the queue, after those that arrived at this instant.
2. While there is room: `pop`, which is then `started`.
3. While there is none: `victim`, who makes room for the best in the queue. It is `stopped`, and `put_back`.
4. `alarm`: when is the next decision point, if nothing happens before?

Whoever leaves a worker for another reason (it has ended, or waits for something) is `stopped` only, and may
be `pushed` again later. A task is either in the queue, or running, or unknown to the policy.

A policy of one's own extends `Policy`, which answers every question but the order of the queue as a policy
without preemption, deadlines and admission would: `docs/guides/policies.md` has one as an example.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, Self, TypeVar

__all__ = ["Item", "Policy", "Schedulable", "SchedulingPolicy"]


class Schedulable(Protocol):
    """What a policy may know of a task; hashable, and equal to nothing but itself."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def rank(self) -> int:
        """The effective priority: its own, or a higher one that it inherits. More is more urgent."""
        ...

    @property
    def due(self) -> float:
        """The effective absolute deadline in seconds, its own or one that it inherits; inf for none."""
        ...

    @property
    def preemptible(self) -> bool:
        """Whether it may be taken off its worker before it has ended."""
        ...

    @property
    def cost(self) -> float | None:
        """The processor time that it is expected to take, in seconds; None if unknown."""
        ...

    @property
    def period(self) -> float | None:
        """The time between two of its kind, in seconds; None for one that comes once."""
        ...


Item = TypeVar("Item", bound=Schedulable)


class SchedulingPolicy(Protocol[Item]):
    """The queue of ready tasks of one pool, and what it knows of those that run.

    `now` is the present time of the runtime in seconds; it never goes back.
    """

    def fresh(self) -> Self:
        """Return an empty policy with the same parameters, for another pool."""
        ...

    # ------------------------------------------------------------------------------------- the queue

    def push(self, task: Item, now: float, /) -> None:
        """A task joins the queue, at the tail of its equals: new, or after its turn, or back from waiting.

        Raises:
            ValueError: It is in the queue, or running, already. Nothing has changed.
        """
        ...

    def put_back(self, task: Item, now: float, /) -> None:
        """A task that was preempted, and `stopped`, is back in the queue, before its equals."""
        ...

    def peek(self, now: float, /) -> Item | None:
        """Return the task that `pop` would take, and leave it there."""
        ...

    def pop(self, now: float, /) -> Item | None:
        """Take out the task that is next; None if there is none."""
        ...

    def remove(self, task: Item, /) -> bool:
        """Take a task out of the queue; False if it was not there."""
        ...

    def drain(self) -> list[Item]:
        """Take out all tasks, in the order in which `pop` would have returned them."""
        ...

    def order(self, now: float, /) -> Sequence[Item] | None:
        """Return all tasks in the order in which `pop` would return them now, and leave them there.

        Asked for explanations only, so it may take its time; None where it would have to be tried out.
        """
        ...

    def __len__(self) -> int:
        """How many tasks are in the queue."""
        ...

    # ---------------------------------------------------------------------------------- those that run

    def started(self, task: Item, now: float, /) -> None:
        """A task, popped before, has a worker from now on."""
        ...

    def stopped(self, task: Item, now: float, /) -> None:
        """A task has a worker no longer, for whatever reason. Nothing happens when it had none."""
        ...

    def changed(self, task: Item, now: float, /) -> None:
        """The rank or the deadline of a task has changed. Its place among its new equals is the one it had.

        Nothing happens when it is neither in the queue nor running.
        """
        ...

    # -------------------------------------------------------------------------------------- decisions

    def expired(self, now: float, /) -> Sequence[Item]:
        """Return the running tasks whose turn is over, in the order in which they join the queue."""
        ...

    def victim(self, now: float, /) -> Item | None:
        """Return the running task that has to make room for the one that `pop` would take; None for nobody.

        Only a task that is `preemptible`, and never one that is as urgent as who would take its place.
        """
        ...

    def alarm(self, now: float, /) -> float | None:
        """Return when there has to be a decision even if nothing happens until then; None for never."""
        ...

    def admit(self, task: Item, now: float, processors: int, /) -> str | None:
        """Decide whether a new task may be taken, and remember it if so, until it is `forgotten`.

        Returns:
            Why not, for people, with the figures; None when it may.
        """
        ...

    def forget(self, task: Item, now: float, /) -> None:
        """A task that was admitted has ended. Nothing happens when it was not."""
        ...

    # -------------------------------------------------------------------------------------- for others

    def urgency(self, task: Item, /) -> tuple[float, ...]:
        """Return what tasks are ordered by where they wait for something else, less being more urgent.

        If the policy has victims, it also says who of those goes first that a host process was given ahead.
        """
        ...

    def describe(self, task: Item, now: float, /) -> str:
        """Say in a few words what decides a task's place: "priority 3, aged to 4" for instance."""
        ...


class Policy(Generic[Item]):
    """A base for policies: first come, first served, and nobody is preempted, unless a subclass says so.

    A subclass gives the queue its order, with `push`, `peek`, `pop`, `remove`, `drain` and `__len__`, and
    overrides what else it has an opinion on.
    """

    __slots__ = ()

    def fresh(self) -> Self:
        """Return an empty policy with the same parameters: here, made without any."""
        return type(self)()

    @abstractmethod
    def push(self, task: Item, now: float, /) -> None:
        """A task joins the queue at its tail."""

    def put_back(self, task: Item, now: float, /) -> None:
        """A preempted task is back: like any other, unless a subclass knows better."""
        self.push(task, now)

    @abstractmethod
    def peek(self, now: float, /) -> Item | None:
        """Return the next task."""

    @abstractmethod
    def pop(self, now: float, /) -> Item | None:
        """Take out the next task."""

    @abstractmethod
    def remove(self, task: Item, /) -> bool:
        """Take out this task."""

    @abstractmethod
    def drain(self) -> list[Item]:
        """Take out all tasks in order."""

    def order(self, now: float, /) -> Sequence[Item] | None:
        """Nobody knows, unless a subclass does."""
        return None

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    def started(self, task: Item, now: float, /) -> None:
        """A task has a worker from now on."""

    def stopped(self, task: Item, now: float, /) -> None:
        """A task has a worker no longer."""

    def changed(self, task: Item, now: float, /) -> None:
        """The rank or the deadline of a task has changed."""

    def expired(self, now: float, /) -> Sequence[Item]:
        """Nobody's turn is ever over."""
        return ()

    def victim(self, now: float, /) -> Item | None:
        """Nobody has to make room."""
        return None

    def alarm(self, now: float, /) -> float | None:
        """There is nothing to decide as long as nothing happens."""
        return None

    def admit(self, task: Item, now: float, processors: int, /) -> str | None:
        """Whoever comes may come."""
        return None

    def forget(self, task: Item, now: float, /) -> None:
        """Nothing was remembered."""

    def urgency(self, task: Item, /) -> tuple[float, ...]:
        """The higher priority first."""
        return (-task.rank,)

    def describe(self, task: Item, now: float, /) -> str:
        """The priority is all there is to say."""
        return f"priority {task.rank}"

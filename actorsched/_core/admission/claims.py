"""What admission control remembers of a task: the job that there is now, and those that follow it.

The law of this module: counting of jobs, and nothing about who runs when. All times are absolute, in
seconds.

A task that comes once is one job: its cost, until its deadline. One with a period is a first job, and a
promise of others: one at every multiple of the period after its arrival, each due as long after its own
arrival as the first (after a period, if no deadline was given). `remaining` is what the first job still
needs; of the later ones nobody says how far they are, so that each counts in full until it is due, and as
done from then on.
"""

from __future__ import annotations

from abc import abstractmethod
from math import inf
from typing import Generic

from actorsched._core.policies import Item

__all__ = ["EPSILON", "Claim", "Claims", "figure", "multiples", "slop"]

# What two times may differ by, relative to their size, and still be the same.
EPSILON = 1e-12


def slop(*times: float) -> float:
    """Return what times of this size may differ by and still be the same."""
    return EPSILON * max(map(abs, times))


def multiples(span: float, period: float, tolerance: float) -> int:
    """Return how many whole periods are in a span, one that lacks no more than the tolerance included."""
    whole, rest = divmod(span, period)
    return int(whole) + (period - rest <= tolerance)


def figure(seconds: float) -> str:
    """Return a number for people."""
    return f"{seconds:.10g}"


class Claim(Generic[Item]):
    """What one task claims of the processors, as it was when the task was admitted, less what it has used."""

    __slots__ = ("arrival", "cost", "due", "period", "preemptible", "rank", "remaining", "sequence", "task")

    def __init__(self, task: Item, cost: float, now: float, sequence: int) -> None:
        self.task = task
        self.sequence = sequence
        self.rank = task.rank
        self.preemptible = task.preemptible
        self.cost = cost
        self.remaining = cost
        self.arrival = now
        self.period = task.period
        self.due = task.due
        if self.due == inf and self.period is not None:
            self.due = now + self.period

    def __repr__(self) -> str:
        again = "" if self.period is None else f" every {figure(self.period)}"
        return f"<{self.task.name} needs {figure(self.remaining)} by {figure(self.due)}{again}>"

    @property
    def span(self) -> float:
        """The time from arrival to deadline; infinite without a deadline."""
        return self.due - self.arrival

    @property
    def longest(self) -> float:
        """The longest that a job may keep a processor while more urgent ones wait."""
        if self.preemptible:
            return 0
        return self.remaining if self.period is None else max(self.remaining, self.cost)

    def fresh(self, now: float) -> Claim[Item]:
        """Return the same claim as if the task arrived now and had used nothing."""
        again = Claim(self.task, self.cost, now, self.sequence)
        again.rank, again.preemptible, again.due = self.rank, self.preemptible, now + self.span
        return again

    def later_due(self, until: float) -> int:
        """Return how many later jobs are due at this time or before."""
        if self.period is None or until < self.due:
            return 0
        return multiples(until - self.due, self.period, slop(until))

    def later_released(self, until: float) -> int:
        """Return how many later jobs come at this time or before."""
        if self.period is None or until < self.arrival:
            return 0
        return multiples(until - self.arrival, self.period, slop(until))

    def pending(self, now: float) -> range:
        """Return the numbers of the later jobs that have come and are not due yet; the first job is 0."""
        return range(self.later_due(now) + 1, self.later_released(now) + 1)

    def due_of(self, number: int) -> float:
        """Return when a job is due; the first has the number 0."""
        return self.due if self.period is None else self.due + number * self.period

    def backlog(self, now: float) -> float:
        """Return the work that there is now: of the first job, and of all that have come since."""
        return self.remaining + len(self.pending(now)) * self.cost

    def next_release(self, now: float) -> float:
        """Return when the next job comes, later than now; infinite for a task that comes once."""
        if self.period is None:
            return inf
        return self.arrival + (self.later_released(now) + 1) * self.period


class Claims(Generic[Item]):
    """The claims of all tasks that were admitted and have not ended."""

    __slots__ = ("_claims", "_sequence")

    def __init__(self) -> None:
        self._claims: dict[Item, Claim[Item]] = {}
        self._sequence = 0

    def __len__(self) -> int:
        """How many tasks are remembered; those that claim nothing are not."""
        return len(self._claims)

    def __contains__(self, task: object) -> bool:
        return task in self._claims

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} tasks>"

    def refuse(self, task: Item, now: float, processors: int) -> str | None:
        """Return why a task and those remembered might not all be done in time, with the figures.

        None when they are, and when nothing is promised to this task. Nothing is remembered of it.

        Raises:
            ValueError: The task is remembered already.
        """
        claim = self._claim(task, now)
        if claim is None:
            return None
        self._gained(claim)
        try:
            why = self._why_not(claim, now, processors)
        finally:
            self._lost(claim)
        return None if why is None else str(why)

    def add(self, task: Item, now: float) -> None:
        """Remember a task, which arrives now, with its present rank and deadline, until it is dropped.

        Raises:
            ValueError: It is remembered already. Nothing has changed.
        """
        claim = self._claim(task, now)
        if claim is not None:
            self._sequence += 1
            self._claims[task] = claim
            self._gained(claim)

    def drop(self, task: Item, now: float) -> None:
        """A task has ended, and none will follow it. Nothing happens if it is unknown."""
        claim = self._claims.pop(task, None)
        if claim is not None:
            self._lost(claim)

    def ran(self, task: Item, seconds: float) -> None:
        """A task has used so much processor time of what its first job needs.

        Nothing happens if it is unknown. Of one that takes more than it was expected to, nothing is expected
        any more.
        """
        claim = self._claims.get(task)
        if claim is not None:
            claim.remaining = max(0, claim.remaining - seconds)
            self._changed(claim)

    def _claim(self, task: Item, now: float) -> Claim[Item] | None:
        """Return what a task that arrives now would claim; None if it takes no part."""
        if task in self._claims:
            raise ValueError(f"{task.name} has been admitted already: drop it before it is admitted again")
        if task.cost is None:
            return None
        claim = Claim(task, task.cost, now, self._sequence)
        return claim if self._counts(claim) else None

    @abstractmethod
    def _counts(self, claim: Claim[Item]) -> bool:
        """Return whether a claim matters to anyone."""

    @abstractmethod
    def _why_not(self, claim: Claim[Item], now: float, processors: int) -> object | None:
        """Return why not all claims can be met, this one being the last; as text, it is for people."""

    def _gained(self, claim: Claim[Item]) -> None:
        """A claim is remembered from now on."""

    def _lost(self, claim: Claim[Item]) -> None:
        """A claim is no longer remembered."""

    def _changed(self, claim: Claim[Item]) -> None:
        """A claim needs less than before."""

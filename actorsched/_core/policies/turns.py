"""Turns: when the quanta of the running tasks end, and for whom that matters.

The law of this module: it counts the quanta of tasks that run, and notes whose turn is over. It knows the
queue by one question only, which its policy answers: from when on does somebody wait for whom a task of this
level has to make room at the end of its quantum?

How it works: time is lazy. A quantum that ends while nobody waits is followed by another one at once, and
nobody is woken for that; all quanta that have ended meanwhile are accounted for when the policy is next told
the time, before it changes its queue. Each level has its running tasks in the order of the ends of their
quanta. Passing over any number of quanta of one task takes O(log n), and happens at most once for each
quantum that it has run: never more often than with a timer for every quantum.

A quantum that ends exactly now is left alone until the policy asks who is `due`: those who arrive at this
instant still count.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, Generic, TypeAlias

from actorsched._core.policies import Item
from actorsched._core.policies.runners import Key, Runners

__all__ = ["Reach", "Turns"]

Reach: TypeAlias = Callable[[int], float]
"""Since when, or from when on, somebody of at least this rank waits: -inf for always, inf for never."""

_FEW: Final = 32  # so many levels without a running task are never worth dropping


class Turns(Generic[Item]):
    """The quanta of the running tasks. A task that may not be preempted has no end to its turn."""

    __slots__ = ("_levels", "_over", "quantum", "soonest")

    def __init__(self, quantum: float) -> None:
        self.quantum = quantum
        self._levels: dict[int, Runners[Item]] = {}  # by the end of the quantum and the sequence number
        self._over: dict[Item, Key] = {}
        self.soonest = inf
        """No quantum ends before. As long as that is to come, nothing has to be accounted for."""

    def start(self, task: Item, rank: int, sequence: int, left: float, now: float) -> None:
        """A task runs from now on, with what is left of its quantum."""
        runners, end = self._levels.get(rank), now + left
        if runners is None:
            return self._enter(task, rank, (end, sequence))
        runners.add(task, (end, sequence))
        soonest = self.soonest
        if end < soonest:
            self.soonest = end
        return None

    def stop(self, task: Item, rank: int, now: float) -> float:
        """A task runs no longer. Return what is left of its quantum; a whole one if its turn was over."""
        if self._over.pop(task, None) is not None:
            return self.quantum
        left = self._leave(task, rank)[0] - now
        return left if left > 0 else self.quantum

    def move(self, task: Item, old: int, new: int) -> None:
        """The rank of a running task has changed."""
        if task not in self._over:
            self._enter(task, new, self._leave(task, old))

    def settle(self, reach: Reach, now: float) -> None:
        """Account for all quanta that ended before now, with those in the queue who are there already."""
        if self.soonest >= now:
            return
        for rank, runners in self._levels.items():
            if runners.least() < now:
                self._settle(runners, reach(rank), now)
        self.soonest = self._next()

    def nothing_due(self, now: float) -> bool:
        """Whether it is sure, without looking, that nobody's turn is over."""
        return self.soonest > now and not self._over

    def due(self, reach: Reach, now: float) -> list[Item]:
        """Return the tasks whose turn is over, those of this instant included, in the order of the ends."""
        self.settle(reach, now)
        if self.soonest == now:
            for rank, runners in self._levels.items():
                if runners.least() == now:
                    self._end(runners, now, over=reach(rank) <= now)
            self.soonest = self._next()
        return sorted(self._over, key=self._over.__getitem__) if self._over else []

    def alarm(self, reach: Reach) -> float:
        """Return when a turn is over next if nothing happens until then; inf for never.

        It may be too early, once for every step in age that makes somebody count for a level, but never late:
        it may be the time from which on somebody counts, when a quantum ends before that.
        """
        soonest = inf
        for rank, runners in self._levels.items():
            end = runners.least()
            if end < soonest:
                since = reach(rank)
                soonest = min(soonest, max(end, since))
        return soonest

    def check(self) -> None:
        """Assert what must hold between any two calls; for tests."""
        for runners in self._levels.values():
            runners.check()
            assert runners.least() >= self.soonest
            assert not any(task in self._over for task in runners)

    def _settle(self, runners: Runners[Item], crowded: float, now: float) -> None:
        """Account for the quanta of one level: renew those that ended before the level was crowded."""
        start = min(crowded, now)
        while (task := runners.worst()) is not None:
            end, sequence = runners.key_of(task) or (inf, 0)
            if end >= now:
                break
            if end < start:
                end = max(start, end - (end - start) // self.quantum * self.quantum)
            if end < now:
                runners.discard(task)
                self._over[task] = (end, sequence)
            else:
                runners.update(task, (end, sequence))

    def _end(self, runners: Runners[Item], now: float, *, over: bool) -> None:
        """Account for the quanta of one level that end now."""
        while (task := runners.worst()) is not None:
            end, sequence = runners.key_of(task) or (inf, 0)
            if end > now:
                break
            if over:
                runners.discard(task)
                self._over[task] = (end, sequence)
            else:
                runners.update(task, (now + self.quantum, sequence))

    def _enter(self, task: Item, rank: int, key: Key) -> None:
        runners = self._levels.get(rank)
        if runners is None:
            runners = self._levels[rank] = Runners()
        runners.add(task, key)
        self.soonest = min(self.soonest, key[0])

    def _leave(self, task: Item, rank: int) -> Key:
        runners = self._levels[rank]
        key = runners.take(task)
        assert key is not None
        if len(self._levels) > _FEW and not runners:
            del self._levels[rank]
        return key

    def _next(self) -> float:
        """Return when the first of all quanta ends."""
        return min((runners.least() for runners in self._levels.values()), default=inf)

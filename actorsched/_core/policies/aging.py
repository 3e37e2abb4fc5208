"""Aging: how much the time that a task has waited counts, and who of those out of order has aged most.

The law of this module: arithmetic on ranks and times of waiting. It decides nothing: what an aged value is
good for is the business of the policy.

How it works: a task that has waited for `n` whole intervals has `n` steps of credit, and with them its aged
value, which never exceeds 5, the rank CRITICAL, unless its own rank does. Steps beyond that are not counted,
so that all who have reached the top are equal, and the order of the queue decides among them. The `n`-th step
comes at `origin + n * interval`, computed in just this way everywhere: an alarm for that time finds it taken.

Tasks of one rank that were pushed one after the other age in that order: the first has aged most, and comes
first among equals. So only the first of them has to be looked at. Those that came with an old number, because
they were preempted or inherited a priority, may be ahead in number and behind in age; they are `Elders`.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final, Generic

import msgspec

from actorsched._core.policies import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorsched._core.policies.levels import Cell

__all__ = ["HIGHEST", "Aging", "Elders"]

HIGHEST: Final = 5  # where aging ends: Priority.CRITICAL
_FEW: Final = 32  # so many outdated entries are never worth building a heap anew


class Aging(msgspec.Struct, frozen=True):
    """How fast tasks age: `step` more for every `interval` that they have waited."""

    interval: float
    step: int

    def value(self, rank: int, steps: int) -> int:
        """Return the aged value of a rank."""
        return max(rank, min(rank + self.step * steps, HIGHEST)) if steps else rank

    def most(self, rank: int) -> int:
        """Return how many steps there are for a rank."""
        return max(0, -((rank - HIGHEST) // self.step))

    def steps(self, rank: int, origin: float, now: float) -> int:
        """Return how many steps that count one of this rank has taken that has waited since `origin`."""
        if now < origin + self.interval:  # which is so for most
            return 0
        return min(self.intervals(origin, now), self.most(rank))

    def intervals(self, origin: float, now: float) -> int:
        """Return how many whole intervals there are between two times: the steps for any rank."""
        if now < origin + self.interval:
            return 0
        steps = int((now - origin) // self.interval)
        if origin + (steps + 1) * self.interval <= now:  # a division of floats may be off by one
            steps += 1
        elif origin + steps * self.interval > now:
            steps -= 1
        return max(0, steps)

    def reach(self, rank: int, origin: float, least: int) -> float | None:
        """Return when one of a lower rank has aged to a value of at least `least`; None for never."""
        if least > HIGHEST:
            return None
        return origin - (rank - least) // self.step * self.interval


class Elders(Generic[Item]):
    """The tasks of one rank that came out of order; finds the one that has aged most, or else came first.

    Three heaps: by steps and sequence number, by the time of the next step, and by age. A task whose next
    step is due is entered once more among the ranked with its new number of steps. So each costs O(log n) for
    every step, and no more than that for every time that somebody looks. Emptied cells are left where they
    are until they come to the top.
    """

    __slots__ = ("_aging", "_oldest", "_ranked", "_rises")

    def __init__(self, aging: Aging) -> None:
        self._aging = aging
        self._oldest: list[tuple[float, int, Cell[Item]]] = []
        self._rises: list[tuple[float, int, Cell[Item]]] = []
        self._ranked: list[tuple[int, int, Cell[Item]]] = []

    def __iter__(self) -> Iterator[Cell[Item]]:
        return (entry[2] for entry in self._oldest)

    def __len__(self) -> int:
        return len(self._oldest)

    def add(self, cell: Cell[Item]) -> None:
        """Take in a cell; its steps are counted when somebody asks.

        Whenever that is: by an earlier time too, which whoever decides took before somebody was put back.
        """
        heappush(self._oldest, (cell.origin, cell.sequence, cell))
        heappush(self._rises, (-inf, cell.sequence, cell))

    def origin(self) -> float | None:
        """Return since when the oldest has waited; None if there is nobody."""
        oldest = self._oldest
        while oldest and oldest[0][2].item is None:
            heappop(oldest)
        return oldest[0][0] if oldest else None

    def head(self, now: float) -> Cell[Item] | None:
        """Return the cell with the most steps, and of several the first; None if there is nobody."""
        while self._rises and self._rises[0][0] <= now:
            self._rise(heappop(self._rises)[2], now)
        ranked = self._ranked
        while ranked:
            negated, _, cell = ranked[0]
            if cell.item is not None and cell.steps == -negated:
                return cell
            heappop(ranked)
        return None

    def purge(self) -> None:
        """Drop all emptied cells, and what is outdated."""
        self._oldest = [entry for entry in self._oldest if entry[2].item is not None]
        heapify(self._oldest)
        self._rises = [entry for entry in self._rises if entry[2].item is not None]
        heapify(self._rises)
        self._ranked = [
            entry for entry in self._ranked if entry[2].item is not None and entry[2].steps == -entry[0]
        ]
        heapify(self._ranked)

    def _rise(self, cell: Cell[Item], now: float) -> None:
        if cell.item is None:
            return
        aging = self._aging
        cell.steps = aging.steps(cell.rank, cell.origin, now)
        heappush(self._ranked, (-cell.steps, cell.sequence, cell))
        if cell.steps < aging.most(cell.rank):
            heappush(self._rises, (cell.origin + (cell.steps + 1) * aging.interval, cell.sequence, cell))
        if len(self._ranked) > 2 * len(self._oldest) + _FEW:
            self.purge()

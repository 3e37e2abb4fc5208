"""A queue of levels: the highest rank first, and among equals whoever has the lowest sequence number.

The law of this module: an order of ready tasks. It knows of running ones only that they are not in it. A task
gets its sequence number when it joins a tail, and keeps it when its rank changes, or when it is put back: one
that inherits a priority and loses it again is back where it was.

How it works: tasks that were pushed with the same rank stand in a deque, which is in order by itself. One
that comes with an old number may belong in the middle there: each rank has a heap for those, and the next of
a rank is the lesser of the two heads. The ranks are in a heap of their own. So pushing and popping take
constant time while all have one rank, which is the rule, and O(log n) otherwise. With aging a task of a low
rank may be the next one: then the best of each rank are compared.

A task stands in the queue in a cell. Removing it empties the cell, which stays where it is until it comes to
the head; the task itself is let go at once. When more cells were emptied than are full, all empty ones are
dropped, so memory stays proportional to what is in the queue, and removing costs constant time on average.

The alternatives were a single heap of (rank, sequence, task), which costs half as much again with the few
ranks that there are in practice, and would only pay if nearly every task had a rank of its own; and an
OrderedDict for each rank, which removes without empty cells but has no place for a task that comes with an
old number. With aging: to move every task to another level at each of its steps, which stops everything for
a moment when a hundred thousand tasks have waited for the same time.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final, Generic

import msgspec

from actorsched._core.behaviour import quickly_written
from actorsched._core.policies import Item
from actorsched._core.policies.aging import Elders

if TYPE_CHECKING:
    from actorsched._core.policies.aging import Aging

__all__ = ["Cell", "Level", "Levels"]

_FEW: Final = 32  # so many empty cells are never worth dropping


@quickly_written
class Cell(msgspec.Struct, Generic[Item], eq=False):
    """A place in the queue, and then what is remembered of a task while it runs.

    In the queue it is empty when the task was removed, or moved to another cell.
    """

    sequence: int
    rank: int
    item: Item | None
    origin: float
    """Since when it would have waited, had it never run in between."""
    steps: int = 0
    """How many steps it had aged when somebody last asked, or when it was chosen to run."""
    waited: float = 0
    """How long it had waited when it was chosen to run."""
    left: float = 0
    """What is left of its quantum; zero for a whole one."""
    preempted: bool = False
    """Whether it has been taken off a worker, as opposed to the queue."""

    def __lt__(self, other: Cell[Item]) -> bool:
        return self.sequence < other.sequence


class Level(Generic[Item]):
    """The cells of one rank, each part in its order. With aging, elders take the place of those moved."""

    __slots__ = ("aging", "elders", "moved", "pushed", "rank")

    def __init__(self, rank: int, aging: Aging | None) -> None:
        self.rank = rank
        self.aging = aging
        self.pushed: deque[Cell[Item]] = deque()
        self.moved: list[Cell[Item]] = []
        self.elders: Elders[Item] | None = None if aging is None else Elders(aging)

    def insert(self, cell: Cell[Item]) -> None:
        """Take in a cell with an old number."""
        if self.elders is None:
            heappush(self.moved, cell)
        else:
            self.elders.add(cell)

    def origin(self) -> float | None:
        """Drop the empty cells before the heads, and return since when the oldest waits; None for nobody."""
        pushed, moved = self.pushed, self.moved
        while pushed and pushed[0].item is None:
            pushed.popleft()
        while moved and moved[0].item is None:
            heappop(moved)
        first = pushed[0].origin if pushed else moved[0].origin if moved else None
        oldest = None if self.elders is None else self.elders.origin()
        return first if oldest is None else oldest if first is None else min(first, oldest)

    def head(self) -> Cell[Item]:
        """Return the next cell, without aging; the level must have one."""
        return self.moved[0] if self.moved and self._moved_first() else self.pushed[0]

    def behead(self) -> Cell[Item]:
        """Take out the next cell, without aging; the level must have one."""
        return heappop(self.moved) if self.moved and self._moved_first() else self.pushed.popleft()

    def _moved_first(self) -> bool:
        return not (self.pushed and self.pushed[0] < self.moved[0])

    def aged_head(self, now: float) -> Cell[Item] | None:
        """Return the cell that has aged most, and of several the first. Empty ones were dropped before."""
        assert self.aging is not None
        assert self.elders is not None
        elder = self.elders.head(now)
        if not self.pushed:
            return elder
        first = self.pushed[0]
        first.steps = self.aging.steps(self.rank, first.origin, now)
        if elder is None or (-first.steps, first.sequence) < (-elder.steps, elder.sequence):
            return first
        return elder

    def cells(self) -> list[Cell[Item]]:
        """Return all cells, the empty ones too; for tests."""
        return [*self.pushed, *self.moved, *(self.elders or ())]

    def purge(self) -> bool:
        """Drop all empty cells; whether there are others."""
        self.pushed = deque(cell for cell in self.pushed if cell.item is not None)
        self.moved = [cell for cell in self.moved if cell.item is not None]
        heapify(self.moved)
        if self.elders is not None:
            self.elders.purge()
        return bool(self.pushed or self.moved or self.elders)


class Levels(Generic[Item]):
    """The queue that a policy extends: it says itself how a task joins, and is taken out at the head."""

    __slots__ = ("_aging", "_cells", "_emptied", "_levels", "_ranks", "_sequence")

    def __init__(self, aging: Aging | None = None) -> None:
        self._aging = aging
        self._cells: dict[Item, Cell[Item]] = {}  # the full ones
        self._levels: dict[int, Level[Item]] = {}
        self._ranks: list[tuple[int, Level[Item]]] = []  # a heap of the levels by their negated ranks
        self._sequence = 0
        self._emptied = 0  # how many cells, since all empty ones were dropped

    def __len__(self) -> int:
        return len(self._cells)

    def __contains__(self, task: object) -> bool:
        """Whether a task is in the queue."""
        return task in self._cells

    def remove(self, task: Item, /) -> bool:
        """Take a task out of the queue; False if it was not there."""
        cell = self._cells.pop(task, None)
        if cell is None:
            return False
        self._vacate(cell)
        return True

    def check(self) -> None:
        """Assert what must hold between any two calls; for tests."""
        cells = [cell for level in self._levels.values() for cell in level.cells()]
        full = [cell for cell in cells if cell.item is not None]
        assert len(full) == len(self._cells)
        assert all(self._cells[cell.item] is cell for cell in full if cell.item is not None)
        assert len(cells) - len(full) <= self._emptied <= len(self._cells) + _FEW
        assert {-rank: level for rank, level in self._ranks} == self._levels
        assert all(level.rank == rank for rank, level in self._levels.items())
        assert len(self._levels) <= len(self._cells) + _FEW + 2

    # ------------------------------------------------------------------------------------- for policies

    def _insert(self, task: Item, cell: Cell[Item]) -> None:
        """Put a task into the queue with a number that it has already."""
        self._cells[task] = cell
        self._level(cell.rank).insert(cell)

    def _move(self, task: Item, cell: Cell[Item], rank: int) -> None:
        """Put a task that is in the queue into another level."""
        self._insert(task, Cell(cell.sequence, rank, task, cell.origin, left=cell.left))
        self._vacate(cell)

    def _take_aged(self, cell: Cell[Item], now: float) -> Cell[Item]:
        """Take out the best cell of a level; return it, or another one if it cannot leave its place yet."""
        assert cell.item is not None
        assert self._aging is not None
        del self._cells[cell.item]
        waited = now - cell.origin
        steps = self._aging.intervals(cell.origin, now)  # all of them: its rank may change while it runs
        pushed = self._levels[cell.rank].pushed
        if pushed and pushed[0] is cell:
            pushed.popleft()
            cell.steps, cell.waited = steps, waited
            self._limit()
            return cell
        taken = Cell(cell.sequence, cell.rank, cell.item, cell.origin, steps, waited, cell.left)
        self._vacate(cell)
        return taken

    def _top(self) -> Level[Item] | None:
        """Clear away what is empty before the next task, and return the highest level; None for nobody."""
        while self._ranks:
            level = self._ranks[0][1]
            pushed = level.pushed
            if (pushed and pushed[0].item is not None and not level.moved) or level.origin() is not None:
                return level
            if len(self._ranks) == 1:
                return None  # and keep it: the next push probably has the same rank
            del self._levels[level.rank]
            heappop(self._ranks)
        return None

    def _best(self, now: float) -> Cell[Item] | None:
        """Return the cell with the highest aged value, and of several the first; None if all is empty."""
        assert self._aging is not None
        best: tuple[int, int, Cell[Item]] | None = None
        for level in self._levels.values():
            cell = None if level.origin() is None else level.aged_head(now)
            if cell is not None:
                place = (-self._aging.value(cell.rank, cell.steps), cell.sequence, cell)
                if best is None or place < best:
                    best = place
        return None if best is None else best[2]

    def _reach(self, least: int) -> float:
        """Return since when, or from when on, somebody waits whose aged value is at least this; else inf.

        Minus infinity if one has this rank: they have had it for as long as they have waited.
        """
        top = self._top()
        if top is None:
            return inf
        if top.rank >= least:
            return -inf
        times = [inf]
        if self._aging is not None:
            for level in self._levels.values():
                origin = level.origin()
                time = None if origin is None else self._aging.reach(level.rank, origin, least)
                times.append(inf if time is None else time)
        return min(times)

    def _level(self, rank: int) -> Level[Item]:
        """Return the level of a rank, opened if need be."""
        level = self._levels.get(rank)
        if level is None:
            self._top()  # so that levels without a cell do not pile up under ever higher ranks
            level = self._levels[rank] = Level(rank, self._aging)
            heappush(self._ranks, (-rank, level))
        return level

    def _vacate(self, cell: Cell[Item]) -> None:
        cell.item = None
        self._emptied += 1
        self._limit()

    def _limit(self) -> None:
        """Keep empty cells, and levels, from outnumbering the full cells by much."""
        if max(self._emptied, len(self._levels)) > len(self._cells) + _FEW:
            self._purge()

    def _purge(self) -> None:
        """Drop all empty cells, and the levels that have no others."""
        self._levels = {rank: level for rank, level in self._levels.items() if level.purge()}
        self._ranks = [(-rank, level) for rank, level in self._levels.items()]
        heapify(self._ranks)
        self._emptied = 0

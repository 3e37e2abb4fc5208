"""Fixed priority: the highest rank first, and among equals whoever became ready first.

The law of this module: an order of ready tasks by (rank descending, sequence ascending), and nothing about
time. A task gets its sequence number when it is pushed, and keeps it when its rank changes: a task that
inherits a priority and loses it again is back where it was.

How it works: tasks that were pushed with the same rank stand in a deque, which is in order by itself. One
whose rank changes moves to another rank with its old number, which may belong in the middle there: each rank
has a heap for those, and the next of a rank is the lesser of the two heads. The ranks are in a heap of their
own. So pushing and popping take constant time while all have one rank, which is the rule, and O(log n)
otherwise.

A task stands in the queue in a cell. Removing it empties the cell, which stays where it is until it comes to
the head; the task itself is let go at once. When more cells are empty than full, the queue is built anew, so
memory stays proportional to what is in it, and removing costs constant time on average.

The alternatives were a single heap of (rank, sequence, task), which costs half as much again with the few
ranks that there are in practice, and would only pay if nearly every task had a rank of its own; and an
OrderedDict for each rank, which removes without empty cells but has no place for a task that comes with an
old number.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Final, Generic

import msgspec

from actorsched._core.policies import Item
from actorsched.exceptions import shown

__all__ = ["FixedPriority"]

_FEW: Final = 32  # so many empty cells are never worth building the queue anew


class _Cell(msgspec.Struct, Generic[Item], eq=False):
    """A place in the queue; empty when the task was removed, or moved to another cell."""

    sequence: int
    rank: int
    item: Item | None

    def __lt__(self, other: _Cell[Item]) -> bool:
        return self.sequence < other.sequence


class _Level(Generic[Item]):
    """The cells of one rank, each part in order of sequence numbers."""

    __slots__ = ("moved", "pushed")

    def __init__(self) -> None:
        self.pushed: deque[_Cell[Item]] = deque()
        self.moved: list[_Cell[Item]] = []

    def head(self) -> _Cell[Item]:
        """Return the next cell; the level must have one."""
        return self.moved[0] if self.moved and self._moved_first() else self.pushed[0]

    def behead(self) -> _Cell[Item]:
        """Take out the next cell; the level must have one."""
        return heappop(self.moved) if self.moved and self._moved_first() else self.pushed.popleft()

    def _moved_first(self) -> bool:
        return not (self.pushed and self.pushed[0] < self.moved[0])


class FixedPriority(Generic[Item]):
    """The queue of the policy "priority". It satisfies `SchedulingPolicy`."""

    __slots__ = ("_cells", "_empty", "_levels", "_ranks", "_sequence")

    def __init__(self) -> None:
        self._cells: dict[Item, _Cell[Item]] = {}  # the full ones
        self._levels: dict[int, _Level[Item]] = {}
        self._ranks: list[int] = []  # a heap of the negated ranks of the levels
        self._sequence = 0
        self._empty = 0  # how many cells are empty

    def __len__(self) -> int:
        return len(self._cells)

    def __repr__(self) -> str:
        return f"<FixedPriority, {len(self._cells)} ready>"

    def push(self, item: Item, _now: float) -> None:
        """Take in a task, at the tail of its rank.

        Raises:
            ValueError: It is in the queue already. Nothing has changed.
        """
        if item in self._cells:
            raise ValueError(f"{shown(item)} cannot be pushed: it is in the queue already; remove it first")
        rank = item.rank
        self._sequence += 1
        cell = self._cells[item] = _Cell(self._sequence, rank, item)
        level = self._levels.get(rank) or self._level(rank)
        level.pushed.append(cell)

    def pop(self, _now: float) -> Item | None:
        """Take out the oldest task of the highest rank; None if there is none."""
        if not self._cells:
            return None
        while True:
            level = self._levels[-self._ranks[0]]
            if level.moved:
                item = level.behead().item
            elif level.pushed:
                item = level.pushed.popleft().item
            else:
                del self._levels[-heappop(self._ranks)]
                continue
            if item is not None:
                del self._cells[item]
                if self._empty:
                    self._limit()
                return item
            self._empty -= 1

    def peek(self, _now: float) -> Item | None:
        """Return the task that `pop` would take, and leave it there."""
        level = self._top()
        return None if level is None else level.head().item

    def remove(self, item: Item) -> bool:
        """Take out this task; False if it was not there."""
        cell = self._cells.pop(item, None)
        if cell is None:
            return False
        self._vacate(cell)
        return True

    def reprioritise(self, item: Item, _now: float) -> bool:
        """Note that the task's rank has changed; it keeps its sequence number. False if it was not there."""
        cell = self._cells.get(item)
        if cell is None:
            return False
        rank = item.rank
        if rank != cell.rank:
            moved = self._cells[item] = _Cell(cell.sequence, rank, item)
            heappush(self._level(rank).moved, moved)
            self._vacate(cell)
        return True

    def drain(self) -> list[Item]:
        """Take out all tasks, in the order in which `pop` would have returned them."""
        items = sorted(self._cells, key=self._place)
        self._cells.clear()
        self._rebuild()
        return items

    def check(self) -> None:
        """Assert what must hold between any two calls; for tests."""
        cells = [cell for level in self._levels.values() for cell in (*level.pushed, *level.moved)]
        full = [cell for cell in cells if cell.item is not None]
        assert len(full) == len(self._cells)
        assert all(self._cells[cell.item] is cell for cell in full if cell.item is not None)
        assert len(cells) - len(full) == self._empty <= len(self._cells) + _FEW
        assert sorted(self._ranks) == sorted(-rank for rank in self._levels)
        assert len(self._levels) <= len(cells) + 2

    def _top(self) -> _Level[Item] | None:
        """Clear away what is empty before the next task, and return the level that it heads; or None."""
        while self._ranks:
            level = self._levels[-self._ranks[0]]
            while level.pushed or level.moved:
                if level.head().item is not None:
                    return level
                level.behead()
                self._empty -= 1
            if len(self._ranks) == 1:
                return None  # and keep it: the next push probably has the same rank
            del self._levels[-heappop(self._ranks)]
        return None

    def _level(self, rank: int) -> _Level[Item]:
        """Return the level of a rank, opened if need be."""
        level = self._levels.get(rank)
        if level is None:
            self._top()  # so that levels without a cell do not pile up under ever higher ranks
            level = self._levels[rank] = _Level()
            heappush(self._ranks, -rank)
        return level

    def _vacate(self, cell: _Cell[Item]) -> None:
        cell.item = None
        self._empty += 1
        self._limit()

    def _limit(self) -> None:
        """Keep the empty cells from outnumbering the full ones by much."""
        if self._empty > len(self._cells) + _FEW:
            self._rebuild()

    def _rebuild(self) -> None:
        """Build the levels anew from the full cells."""
        self._levels = {}
        for item in sorted(self._cells, key=self._place):
            cell = self._cells[item]
            self._levels.setdefault(cell.rank, _Level()).pushed.append(cell)
        self._ranks = [-rank for rank in self._levels]
        heapify(self._ranks)
        self._empty = 0

    def _place(self, item: Item) -> tuple[int, int]:
        cell = self._cells[item]
        return -cell.rank, cell.sequence

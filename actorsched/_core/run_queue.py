"""Which ready activity comes next: the highest rank, and within a rank whoever came first.

The queue knows nothing of what it holds. Ranks are integers (priorities); in practice there are one or
two of them at a time, so a dictionary of double-ended queues beats a heap, and order within a rank is
kept for nothing.

`ShuffledRunQueue` takes a random member of the highest rank instead, from a seeded source: the same
seed and the same pushes give the same order.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from random import Random

T = TypeVar("T")


class RunQueue(Generic[T]):
    """Ready items by rank, first in first out within one."""

    __slots__ = ("_levels", "_ranks")

    def __init__(self) -> None:
        self._levels: dict[int, deque[T]] = {}
        self._ranks: list[int] = []  # those with items, ascending

    def __bool__(self) -> bool:
        return bool(self._ranks)

    def __len__(self) -> int:
        return sum(map(len, self._levels.values()))

    def __repr__(self) -> str:
        sizes = {rank: len(self._levels[rank]) for rank in reversed(self._ranks)}
        return f"<{type(self).__name__} {sizes}>"

    def push(self, item: T, rank: int) -> None:
        """Add an item at the tail of its rank."""
        level = self._levels.get(rank)
        if level is None:
            level = self._levels[rank] = deque()
        if not level:
            insort(self._ranks, rank)
        level.append(item)

    def pop(self) -> T:
        """Take the next item.

        Raises:
            IndexError: The queue is empty.
        """
        rank = self._ranks[-1]
        level = self._levels[rank]
        item = self._choose(level)
        if not level:
            self._ranks.pop()
            if len(self._levels) > 16:
                del self._levels[rank]
        return item

    def _choose(self, level: deque[T]) -> T:
        return level.popleft()


class ShuffledRunQueue(RunQueue[T]):
    """Ready items by rank, in a random order of its own within one."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def _choose(self, level: deque[T]) -> T:
        level.rotate(-self._random.randrange(len(level)))
        return level.popleft()

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
    from collections.abc import Callable
    from random import Random

T = TypeVar("T")


class RunQueue(Generic[T]):
    """Ready items by rank, first in first out within one.

    Args:
        wake: Called when there is something in the queue again.

    Attributes:
        ranks: Those of which there are items, ascending: an empty list means an empty queue.
    """

    __slots__ = ("_levels", "_wake", "ranks")

    def __init__(self, wake: Callable[[], object] = lambda: None) -> None:
        self._wake = wake
        self._levels: dict[int, deque[T]] = {}
        self.ranks: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.ranks)

    def __len__(self) -> int:
        return sum(map(len, self._levels.values()))

    def __repr__(self) -> str:
        sizes = {rank: len(self._levels[rank]) for rank in reversed(self.ranks)}
        return f"<{type(self).__name__} {sizes}>"

    def push(self, item: T, rank: int) -> None:
        """Add an item at the tail of its rank."""
        level = self._levels.get(rank)
        if level:
            return level.append(item)
        if level is None:
            level = self._levels[rank] = deque()
        level.append(item)
        insort(self.ranks, rank)
        if len(self.ranks) == 1:
            self._wake()

    def pop(self) -> T:
        """Take the next item.

        Raises:
            IndexError: The queue is empty.
        """
        rank = self.ranks[-1]
        level = self._levels[rank]
        item = level.popleft()
        if not level:
            self.ranks.pop()
            if len(self._levels) > 16:
                del self._levels[rank]
        return item


class ShuffledRunQueue(RunQueue[T]):
    """Ready items by rank, in a random order of its own within one."""

    __slots__ = ("_random",)

    def __init__(self, random: Random, wake: Callable[[], object] = lambda: None) -> None:
        super().__init__(wake)
        self._random = random

    def pop(self) -> T:
        """Take a random item of the highest rank.

        Raises:
            IndexError: The queue is empty.
        """
        level = self._levels[self.ranks[-1]]
        level.rotate(-self._random.randrange(len(level)))
        return super().pop()

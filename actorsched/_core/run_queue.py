"""Which ready activity comes next: the highest rank, and within a rank whoever came first.

The queue knows nothing of what it holds. Ranks are integers (priorities); in practice there are one or
two of them at a time, so a dictionary of double-ended queues beats a heap, and order within a rank is
kept for nothing.

Whoever stands in it may change its rank (`move`). The old entry is left behind, and thrown away when its turn
comes, because looking for it among 100,000 others would take too long. Whoever comes back to a rank that it
has left finds its old entry there, so there is never more than one of them per rank.

`ShuffledRunQueue` takes a random member of the highest rank instead, from a seeded source: the same
seed and the same pushes give the same order.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from actorsched._core.invariants import require

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

    __slots__ = ("_left", "_levels", "_wake", "ranks")

    def __init__(self, wake: Callable[[], object] = lambda: None) -> None:
        self._wake = wake
        self._levels: dict[int, deque[T]] = {}
        self._left: set[tuple[int, T]] = set()  # entries without meaning; never the next one of the queue
        self.ranks: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.ranks)

    def __len__(self) -> int:
        return sum(map(len, self._levels.values())) - len(self._left)

    def __repr__(self) -> str:
        sizes = {rank: len(self._levels[rank]) for rank in reversed(self.ranks)}
        return f"<{type(self).__name__} {sizes}>"

    def push(self, item: T, rank: int) -> None:
        """Add an item at the tail of its rank."""
        if self._left and (rank, item) in self._left:
            return self._left.remove((rank, item))
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
        if self._left:
            self._skip_left()
        return item

    def move(self, item: T, rank: int, to: int) -> None:
        """Give an item that is in the queue another rank; it joins the tail of that."""
        self.push(item, to)
        self._left.add((rank, item))
        self._skip_left()

    def check(self) -> None:
        """Look whether what always holds does; in time proportional to what is in the queue.

        Raises:
            InvariantBroken: Something does not.
        """
        require(self.ranks == sorted(set(self.ranks)), self, "its ranks ascend, each of them once")
        filled = {rank for rank, level in self._levels.items() if level}
        require(filled == set(self.ranks), self, "there are items of exactly the ranks that it names")
        entries = [(rank, item) for rank in self.ranks for item in self._levels[rank]]
        require(len(set(entries)) == len(entries), self, "nobody stands twice in a rank")
        require(self._left <= set(entries), self, "an entry that was left behind is still there")
        standing = [item for rank, item in entries if (rank, item) not in self._left]
        require(len(set(standing)) == len(standing), self, "nobody stands in two ranks")
        if self.ranks:
            first = self.ranks[-1], self._levels[self.ranks[-1]][0]
            require(first not in self._left, self, "the next entry has a meaning")

    def _skip_left(self) -> None:
        """See to it that the next entry has a meaning."""
        while self.ranks:
            rank = self.ranks[-1]
            level = self._levels[rank]
            entry = (rank, level[0])
            if entry not in self._left:
                return
            self._left.remove(entry)
            level.popleft()
            if not level:
                self.ranks.pop()


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

    def move(self, item: T, rank: int, to: int) -> None:
        """The same; but nothing is left behind, where any entry may be the next."""
        self.push(item, to)
        level = self._levels[rank]
        level.remove(item)
        if not level:
            self.ranks.remove(rank)

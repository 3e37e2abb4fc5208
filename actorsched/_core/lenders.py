"""What a holder inherits from those who wait for it: the highest priority and the earliest deadline.

The law of this module: it remembers who lends what, and what the best of it is. It does not know what is
held, nor what the holder has of its own: the effective priority is the maximum of that and of `Lenders.rank`.
The best is found anew, among those who lend, whenever one of them has changed. Nothing is saved, so nothing
is restored: whoever ends, gives up or is cancelled withdraws, in any order, and what is left is right.

How it works: a holder mostly has one or two lenders, and then a dictionary of them is all there is. With more
than a few, two multisets know their least element, each a heap whose dead entries are left where they are
until they come up, or outnumber the live ones. Lending and withdrawing take time logarithmic in the number
of lenders, spread over many calls, and the memory is proportional to those who lend now.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

from actorsched._core.invariants import require

__all__ = ["Lenders"]

Lender = TypeVar("Lender", bound=Hashable)

# Up to so many, looking at all of them is cheaper than keeping order; there is order until half are gone.
FEW = 8


class Lenders(Generic[Lender]):
    """Who lends a priority and a deadline to one holder, and the best of either."""

    __slots__ = ("_due", "_dues", "_loans", "_rank", "_ranks")

    def __init__(self) -> None:
        self._loans: dict[Lender, tuple[int, float]] = {}
        self._rank: int | None = None
        self._due: float = inf
        # Negated, for the least is the best; None as long as there are few.
        self._ranks: _Multiset[int] | None = None
        self._dues: _Multiset[float] | None = None

    def __len__(self) -> int:
        return len(self._loans)

    def __contains__(self, lender: object) -> bool:
        return lender in self._loans

    def __iter__(self) -> Iterator[Lender]:
        """Return the lenders in the order in which they came."""
        return iter(self._loans)

    def __repr__(self) -> str:
        return f"<{len(self)} lenders, rank {self._rank}, due at {self._due}>"

    @property
    def rank(self) -> int | None:
        """The highest priority that anyone lends; None when there is nobody."""
        return self._rank

    @property
    def due(self) -> float:
        """The earliest absolute deadline that anyone lends, in seconds; infinite when there is none."""
        return self._due

    def lend(self, lender: Lender, rank: int, due: float) -> bool:
        """Take what a lender lends from now on, instead of what it has lent before.

        Returns:
            Whether the best rank or the earliest deadline has changed.
        """
        before = self._loans.get(lender)
        after = (rank, due)
        if before == after:
            return False
        self._loans[lender] = after
        self._count(after, before)
        return self._settle()

    def withdraw(self, lender: Lender) -> bool:
        """Nothing is lent by this one any more. Nothing happens when nothing was.

        Returns:
            Whether the best rank or the earliest deadline has changed.
        """
        before = self._loans.pop(lender, None)
        if before is None:
            return False
        self._count(None, before)
        return self._settle()

    def check(self) -> None:
        """Look whether what always holds does; in time proportional to the lenders.

        Raises:
            InvariantBroken: Something does not.
        """
        best = max((rank for rank, _ in self._loans.values()), default=None)
        earliest = min((due for _, due in self._loans.values()), default=inf)
        require(self._rank == best, self, f"the highest priority that anyone lends is {best}")
        require(self._due == earliest, self, f"the earliest deadline that anyone lends is {earliest}")
        require((self._ranks is None) == (self._dues is None), self, "both are in order, or neither is")
        if self._ranks is None or self._dues is None:
            require(len(self) <= FEW, self, "many lenders are kept in order")
            return
        require(len(self) > FEW // 2, self, "few lenders are not kept in order")
        self._ranks.check(-rank for rank, _ in self._loans.values())
        self._dues.check(due for _, due in self._loans.values())

    def _count(self, gained: tuple[int, float] | None, lost: tuple[int, float] | None) -> None:
        """Keep the order true, or begin or cease to have one."""
        ranks, dues = self._ranks, self._dues
        if ranks is None or dues is None:
            if len(self._loans) > FEW:
                self._ranks = _Multiset(-rank for rank, _ in self._loans.values())
                self._dues = _Multiset(due for _, due in self._loans.values())
            return
        if len(self._loans) <= FEW // 2:
            self._ranks = self._dues = None
            return
        if gained is not None:
            ranks.add(-gained[0])
            dues.add(gained[1])
        if lost is not None:
            ranks.remove(-lost[0])
            dues.remove(lost[1])

    def _settle(self) -> bool:
        """Find the best of what is lent now; return whether it is another than before."""
        before = (self._rank, self._due)
        if not self._loans:
            self._rank, self._due = None, inf
        elif self._ranks is None or self._dues is None:
            self._rank = max(rank for rank, _ in self._loans.values())
            self._due = min(due for _, due in self._loans.values())
        else:
            self._rank, self._due = -self._ranks.least(), self._dues.least()
        return (self._rank, self._due) != before


Number = TypeVar("Number", int, float)


class _Multiset(Generic[Number]):
    """Numbers, of which some may be equal, and the least of them.

    Every number that is in the heap is there once, and has a count; one whose count is 0 is dead.
    """

    __slots__ = ("_counts", "_dead", "_heap")

    def __init__(self, numbers: Iterable[Number]) -> None:
        self._counts: dict[Number, int] = {}
        for number in numbers:
            self._counts[number] = self._counts.get(number, 0) + 1
        self._heap: list[Number] = list(self._counts)
        heapify(self._heap)
        self._dead = 0

    def add(self, number: Number) -> None:
        count = self._counts.get(number)
        if count is None:
            heappush(self._heap, number)
        elif count == 0:
            self._dead -= 1
        self._counts[number] = (count or 0) + 1

    def remove(self, number: Number) -> None:
        self._counts[number] -= 1
        if self._counts[number] == 0:
            self._dead += 1
            if self._dead * 2 > len(self._heap):
                self._rebuild()

    def least(self) -> Number:
        """Return the least number; there has to be one."""
        while not self._counts[self._heap[0]]:
            del self._counts[heappop(self._heap)]
            self._dead -= 1
        return self._heap[0]

    def check(self, numbers: Iterable[Number]) -> None:
        """Look whether these are the numbers.

        Raises:
            InvariantBroken: They are not, or there are too many dead ones.
        """
        alive = sorted(number for number, count in self._counts.items() for _ in range(count))
        require(alive == sorted(numbers), alive, "these are the numbers that are lent")
        require(sorted(self._heap) == sorted(self._counts), self._heap, "every number is in the heap once")
        dead = sum(not count for count in self._counts.values())
        require(self._dead == dead, self._heap, f"{dead} of the numbers in the heap are dead, as was counted")
        require(self._dead * 2 <= len(self._heap), self._heap, "the dead are not in the majority")

    def _rebuild(self) -> None:
        self._counts = {number: count for number, count in self._counts.items() if count}
        self._heap = list(self._counts)
        heapify(self._heap)
        self._dead = 0

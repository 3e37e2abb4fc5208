"""Who can never go on, because what it waits for is held by others who cannot go on either.

The law of this module: questions about a situation that is given whole, or can be asked for step by step. It
changes nothing, and does not choose who has to give way.

How it works: by reduction of the graph (Holt, "Some deadlock properties of computer systems", 1972; Coffman,
Elphick and Shoshani, "System deadlocks", 1971). Whoever has all that it waits for goes on, and gives back what
it holds some day; so take it out of the graph, and see who can go on then. The order makes no difference.
Those that are left when nobody else can go on never will. A circle alone proves nothing: where a resource has
several units, one of them may be held by somebody outside of the circle. That every circle is a deadlock
holds only for resources of one unit.

Nothing here recurses: chains of waits may be deeper than Python's stack.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Deadlock", "analyse", "is_stuck"]

T = TypeVar("T", bound="Hashable")
R = TypeVar("R", bound="Hashable")


class Deadlock(msgspec.Struct, Generic[T], frozen=True):
    """What became of each task of a situation; each is in just one of the last three lists.

    Tasks are in the order of the situation: those that wait, as given, then those that only hold something.

    Attributes:
        cycles: Circles of tasks, each of which waits for something that the next one holds, and the last for
            something of the first. Each starts with its first task in order. They are shortest circles, and
            enough of them that every deadlocked task is in one; there may be more, in fact exponentially many.
        deadlocked: Those in circles, who never go on.
        stuck_behind: Those in no circle, who never go on because of the deadlocked.
        free: Those who go on, now or when others have.
    """

    cycles: list[list[T]]
    deadlocked: list[T]
    stuck_behind: list[T]
    free: list[T]


def analyse(
    holds: Mapping[T, Sequence[R]],
    waits: Mapping[T, Sequence[R]],
    capacity: Mapping[R, int] | None = None,
) -> Deadlock[T]:
    """Find out who can go on, and who never can.

    Args:
        holds: The resources of which a task holds a unit; twice the same for two units.
        waits: The resources of which a task needs a unit, all of them at once, before it goes on. A
            wait for what is free is no wait.
        capacity: How many units there are, where it is not 1.

    Raises:
        ValueError: More units of a resource are held than there are, or one task waits for more.
    """
    raise NotImplementedError


def is_stuck(start: T, waits_for: Callable[[T], Iterable[Iterable[T]]]) -> bool:
    """Tell whether somebody can never go on.

    Args:
        start: Who.
        waits_for: For whom one waits: all of the groups have to be served, and a group is when one of it has gone
            on. No groups: it goes on by itself. A group of nobody is never served. Called once at most for
            each, and only for those that can be reached from `start`.
    """
    raise NotImplementedError

"""Who can never go on, because what it waits for is held by others who cannot go on either.

The law of this module: questions about a situation that is given whole, or can be asked for step by step. It
changes nothing, and does not choose who has to give way.

How it works: by reduction of the graph (Coffman, Elphick, Shoshani, "System deadlocks", 1971; Holt, "Some
deadlock properties of computer systems", 1972). Whoever can have all that it waits for goes on, and some day
gives back what it holds; so it is taken out of the graph, and then others may go on. The order makes no
difference, and whoever is left in the end never goes on. A circle alone proves nothing: where a resource has
several units, one of them may be held by somebody outside of the circle. Only where each has one unit is
every circle a deadlock.

Nothing here recurses: chains of waits may be deeper than Python's stack.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from actorsched.exceptions import shown

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
            something of the first. Each starts with its first task in order. They are as short as can be, and
            so many that every deadlocked task is in one; to list all there are could take for ever.
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
        capacity: How many units there are, where it is not one.

    Raises:
        ValueError: More units of a resource are held than there are, or one task waits for more.
    """
    tasks = list(dict.fromkeys([*waits, *holds]))
    held = {task: Counter(holds.get(task, ())) for task in tasks}
    needed = {task: Counter(waits.get(task, ())) for task in tasks}
    spare = _spare_units(held, needed, capacity or {})
    going_on = _reduce(held, needed, spare)
    left = [task for task in tasks if task not in going_on]
    cycles = _circles(_wait_for_graph(left, held, needed, spare))
    deadlocked = {task for cycle in cycles for task in cycle}
    return Deadlock(
        cycles=cycles,
        deadlocked=[task for task in left if task in deadlocked],
        stuck_behind=[task for task in left if task not in deadlocked],
        free=[task for task in tasks if task in going_on],
    )


def is_stuck(start: T, waits_for: Callable[[T], Iterable[Iterable[T]]]) -> bool:
    """Tell whether somebody can never go on.

    Args:
        start: Who.
        waits_for: For whom one waits, in groups: every group has to be served, and is as soon as one of its
            members has gone on. Without groups one goes on by itself; a group of nobody is never served.
            Called at most once for each, only for those who can be reached from `start`, and not any more
            when the answer is certain.
    """
    unserved: dict[T, int] = {}  # how many groups of each are
    in_groups: dict[T, list[_Group[T]]] = {}  # where each is a member
    to_visit = [start]
    while to_visit:
        one = to_visit.pop()
        if one in unserved:
            continue
        open_groups = 0
        for members in waits_for(one):
            listed = list(dict.fromkeys(members))
            if any(unserved.get(member) == 0 for member in listed):
                continue
            open_groups += 1
            group = _Group(one)
            for member in listed:
                in_groups.setdefault(member, []).append(group)
            to_visit += listed
        unserved[one] = open_groups
        if not open_groups:
            _goes_on(one, unserved, in_groups)
            if not unserved[start]:
                return False
    return True


# ---------------------------------------------------------------------------------------------- the reduction


def _spare_units(
    held: Mapping[T, Counter[R]], needed: Mapping[T, Counter[R]], capacity: Mapping[R, int]
) -> dict[R, int]:
    """Return how many units of each resource are free."""
    mentioned = dict.fromkeys(resource for units in (*held.values(), *needed.values()) for resource in units)
    total = {resource: capacity.get(resource, 1) for resource in mentioned}
    for task, units in needed.items():
        for resource, number in units.items():
            if number > total[resource]:
                raise ValueError(
                    f"{shown(task)} cannot wait for {number} units of {shown(resource)}: there are only "
                    f"{total[resource]}; give its capacity, or a wait that can come to an end"
                )
    spare = dict(total)
    for units in held.values():
        for resource, number in units.items():
            spare[resource] -= number
            if spare[resource] < 0:
                raise ValueError(
                    f"more units of {shown(resource)} are held than there are, {total[resource]}; give its "
                    "capacity, or take a holder out"
                )
    return spare


def _reduce(held: Mapping[T, Counter[R]], needed: Mapping[T, Counter[R]], spare: dict[R, int]) -> set[T]:
    """Return those who go on; what they hold is added to what is spare."""
    lacking: dict[R, list[T]] = {}  # who needs more of it than is spare
    missing = dict.fromkeys(needed, 0)  # of how many resources
    for task, units in needed.items():
        for resource, number in units.items():
            if number > spare[resource]:
                lacking.setdefault(resource, []).append(task)
                missing[task] += 1
    going_on = [task for task, number in missing.items() if not number]
    for task in going_on:  # grows meanwhile
        for resource, number in held[task].items():
            spare[resource] += number
            waiting = lacking.pop(resource, [])
            lacking[resource] = [other for other in waiting if needed[other][resource] > spare[resource]]
            for other in waiting:
                if needed[other][resource] <= spare[resource]:
                    missing[other] -= 1
                    if not missing[other]:
                        going_on.append(other)
    return set(going_on)


def _wait_for_graph(
    tasks: Sequence[T], held: Mapping[T, Counter[R]], needed: Mapping[T, Counter[R]], spare: Mapping[R, int]
) -> dict[T, list[T]]:
    """Return which of these tasks each of them waits for."""
    holders: dict[R, list[T]] = {}
    for task in tasks:
        for resource in held[task]:
            holders.setdefault(resource, []).append(task)
    graph: dict[T, list[T]] = {}
    for task in tasks:
        missing = [resource for resource, number in needed[task].items() if number > spare[resource]]
        graph[task] = list(dict.fromkeys(holder for resource in missing for holder in holders[resource]))
    return graph


# ------------------------------------------------------------------------------------------------ the circles


def _circles(graph: Mapping[T, Sequence[T]]) -> list[list[T]]:
    """Return shortest circles, until everybody who is in one is in one of them."""
    core = _without_tails(graph)
    position = {node: number for number, node in enumerate(graph)}
    covered: set[T] = set()
    circles: list[list[T]] = []
    for node in core:
        if node not in covered and (circle := _shortest_circle(node, core)):
            first = circle.index(min(circle, key=position.__getitem__))
            circles.append(circle[first:] + circle[:first])
            covered.update(circle)
    return circles


def _without_tails(graph: Mapping[T, Sequence[T]]) -> dict[T, list[T]]:
    """Leave out, again and again, whoever nobody waits for: it is in no circle.

    That saves the search from walking down the same long tail from each of its members.
    """
    awaited = Counter(target for targets in graph.values() for target in targets)
    outside = [node for node in graph if not awaited[node]]
    for node in outside:  # grows meanwhile
        for target in graph[node]:
            awaited[target] -= 1
            if not awaited[target]:
                outside.append(target)
    gone = set(outside)
    return {node: list(targets) for node, targets in graph.items() if node not in gone}


def _shortest_circle(start: T, graph: Mapping[T, Sequence[T]]) -> list[T]:
    """Return a shortest way from here back to here, without its end; empty if there is none."""
    came_from: dict[T, T] = {}
    to_visit = deque([start])
    while to_visit:
        node = to_visit.popleft()
        for target in graph[node]:
            if target == start:
                return list(_way_back(node, start, came_from))[::-1]
            if target not in came_from:
                came_from[target] = node
                to_visit.append(target)
    return []


def _way_back(node: T, start: T, came_from: Mapping[T, T]) -> Iterator[T]:
    while node != start:
        yield node
        node = came_from[node]
    yield start


# --------------------------------------------------------------------------------------------- step by step


class _Group(Generic[T]):
    """Somebody waits for any one of some others."""

    __slots__ = ("served", "waiter")

    def __init__(self, waiter: T) -> None:
        self.waiter = waiter
        self.served = False


def _goes_on(one: T, unserved: dict[T, int], in_groups: dict[T, list[_Group[T]]]) -> None:
    """Note that one goes on, and whoever goes on because of it."""
    going_on = [one]
    for member in going_on:  # grows meanwhile
        for group in in_groups.pop(member, ()):
            if not group.served:
                group.served = True
                unserved[group.waiter] -= 1
                if not unserved[group.waiter]:
                    going_on.append(group.waiter)

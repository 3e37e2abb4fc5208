"""Deadlocks: who can go on, who never can, and the circles to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.deadlock import Deadlock, analyse, is_stuck

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Lists = dict[str, list[str]]


def lists(text: str) -> Lists:
    """Read "A:RS B:T": A has R and S, B has T."""
    return {word[0]: list(word[2:]) for word in text.split()}


def words(names: Iterable[Iterable[str]]) -> str:
    return " ".join("".join(name) for name in names)


# ---------------------------------------------------------------------------------------------- the textbook


def test_the_graph_of_tanenbaum_has_one_circle() -> None:
    """Tanenbaum and Bos, "Modern Operating Systems", chapter 6; nobody holds S there."""
    found = analyse(lists("A:R D:U E:T F:W G:V"), lists("A:S B:T C:S D:ST E:V F:S G:U"))
    assert found == Deadlock(
        cycles=[["D", "E", "G"]],
        deadlocked=["D", "E", "G"],
        stuck_behind=["B"],
        free=["A", "C", "F"],
    )


@pytest.mark.parametrize(
    ("holds", "waits", "cycles", "stuck_behind", "free"),
    [
        ("", "", "", "", ""),
        ("A:R", "", "", "", "A"),
        ("", "A:R", "", "", "A"),
        ("A:R", "B:R", "", "", "BA"),
        ("A:R B:S", "A:S B:R", "AB", "", ""),
        ("B:S A:R", "B:R A:S", "BA", "", ""),
        ("A:R", "A:R", "A", "", ""),
        ("A:R B:S", "A:S C:R", "", "", "ACB"),
        ("A:R B:S C:T", "A:S B:TR C:Q", "AB", "", "C"),
        ("A:R B:S C:T", "A:S B:R C:R D:T", "AB", "CD", ""),
        ("A:R B:S C:T D:U", "A:S B:R C:U D:T", "AB CD", "", ""),
        # E is on the way from one circle to another, and in none.
        ("A:R B:S C:T D:U E:V", "A:SV B:R C:U D:T E:T", "AB CD", "E", ""),
        # Two circles through A: both are told, since B and C are in one each.
        ("A:RQ B:S C:T", "A:ST B:R C:Q", "AB AC", "", ""),
        # One of three, and a shorter one within: the shorter one of A, and then one for who is left.
        ("A:R B:S C:T", "A:S B:RT C:R", "AB ABC", "", ""),
    ],
)
def test_situations_with_one_unit_of_each(
    holds: str, waits: str, cycles: str, stuck_behind: str, free: str
) -> None:
    found = analyse(lists(holds), lists(waits))
    assert words(found.cycles) == cycles
    assert words([found.stuck_behind]) == stuck_behind
    assert words([found.free]) == free
    assert set(found.deadlocked) == set(cycles) - {" "}


def test_a_circle_through_a_resource_with_a_holder_outside_is_no_deadlock() -> None:
    holds, waits = lists("A:R B:S C:R"), lists("A:S B:R")
    assert analyse(holds, waits, {"R": 2}).free == ["A", "B", "C"]


def test_it_is_one_when_all_its_holders_are_inside() -> None:
    holds, waits = lists("A:R B:S C:R"), lists("A:S B:R C:S")
    found = analyse(holds, waits, {"R": 2})
    assert found.cycles == [["A", "B"], ["B", "C"]]
    assert found.deadlocked == ["A", "B", "C"]


def test_several_units_may_be_waited_for_at_once() -> None:
    holds, waits = lists("A:R B:S C:RR"), lists("A:S B:RR")
    assert analyse(holds, waits, {"R": 3}).free == ["A", "B", "C"]
    assert analyse(holds, {**waits, "B": ["R"] * 3}, {"R": 3}).deadlocked == ["A", "B"]


def test_whoever_holds_a_unit_and_needs_all_waits_for_itself() -> None:
    assert analyse(lists("A:R"), lists("A:RR"), {"R": 2}).cycles == [["A"]]


def test_more_units_held_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="more units of 'R' are held than there are, 1"):
        analyse(lists("A:R B:R"), {})


def test_a_wait_that_can_never_end_is_refused() -> None:
    with pytest.raises(ValueError, match="'A' cannot wait for 3 units of 'R': there are only 2"):
        analyse({}, lists("A:RRR"), {"R": 2})


def test_long_chains_and_rings_are_no_problem() -> None:
    n = 20_000
    ring = analyse({task: [task] for task in range(n)}, {task: [(task + 1) % n] for task in range(n)})
    assert ring.cycles == [list(range(n))]
    chain = analyse({task: [task] for task in range(n)}, {task: [task + 1] for task in range(n)})
    assert len(chain.free) == n
    tail = analyse(
        {task: [task] for task in range(n)}, {task: [task + 1] for task in range(n - 1)} | {n - 1: [n - 2]}
    )
    assert tail.cycles == [[n - 2, n - 1]]
    assert len(tail.stuck_behind) == n - 2


# -------------------------------------------------------------------------------------------- by brute force

Situation = tuple[Lists, Lists, dict[str, int]]


@st.composite
def situations(draw: st.DrawFn, most_units: int = 3) -> Situation:
    capacity = {name: draw(st.integers(1, most_units)) for name in "RST"}
    spare = dict(capacity)
    holds: Lists = {}
    waits: Lists = {}
    for task in "ABCDE"[: draw(st.integers(1, 5))]:
        for resource in draw(st.lists(st.sampled_from("RST"), max_size=3)):
            if spare[resource]:
                spare[resource] -= 1
                holds.setdefault(task, []).append(resource)
        wanted = draw(st.lists(st.sampled_from("RST"), max_size=3))
        waits[task] = [r for i, r in enumerate(wanted) if wanted[:i].count(r) < capacity[r]]
    return holds, waits, capacity


def can_end(situation: Situation) -> set[str]:
    """Return who goes on in some order of completion: all orders are tried."""
    holds, waits, capacity = situation
    tasks = frozenset([*waits, *holds])
    ended_sets = {frozenset[str]()}
    to_try = [frozenset[str]()]
    while to_try:
        ended = to_try.pop()
        spare = dict(capacity)
        for task in tasks - ended:
            for resource in holds.get(task, []):
                spare[resource] -= 1
        for task in tasks - ended:
            wanted = waits.get(task, [])
            after = ended | {task}
            if all(wanted.count(r) <= spare[r] for r in wanted) and after not in ended_sets:
                ended_sets.add(after)
                to_try.append(after)
    return set().union(*ended_sets)


def blocked_by(situation: Situation, ended: set[str]) -> dict[str, set[str]]:
    """Return for whom each waits when these have ended."""
    holds, waits, capacity = situation
    left = [task for task in dict.fromkeys([*waits, *holds]) if task not in ended]
    spare = {r: n - sum(holds.get(task, []).count(r) for task in left) for r, n in capacity.items()}
    return {
        task: {
            holder
            for r in waits.get(task, [])
            if waits[task].count(r) > spare[r]
            for holder in left
            if r in holds.get(holder, [])
        }
        for task in left
    }


def reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    to_visit = [start]
    while to_visit:
        new = graph[to_visit.pop()] - found
        found |= new
        to_visit += new
    return found


@given(situations())
def test_the_analysis_agrees_with_a_search_over_all_orders_of_completion(situation: Situation) -> None:
    found = analyse(*situation)
    ended = can_end(situation)
    graph = blocked_by(situation, ended)
    assert set(found.free) == ended
    assert set(found.deadlocked) == {task for task in graph if task in reached(graph, task)}
    assert set(found.stuck_behind) == set(graph) - set(found.deadlocked)


@given(situations())
def test_the_circles_are_circles_and_everybody_deadlocked_is_in_one(situation: Situation) -> None:
    found = analyse(*situation)
    graph = blocked_by(situation, set(found.free))
    order = list(dict.fromkeys([*situation[1], *situation[0]]))
    for cycle in found.cycles:
        assert len(set(cycle)) == len(cycle)
        assert all(after in graph[task] for task, after in zip(cycle, cycle[1:] + cycle[:1], strict=True))
        assert cycle[0] == min(cycle, key=order.index)
    assert {task for cycle in found.cycles for task in cycle} == set(found.deadlocked)
    for part in (found.deadlocked, found.stuck_behind, found.free):
        assert part == sorted(part, key=order.index)


# -------------------------------------------------------------------------------------------- step by step


def stuck(start: str, **groups: str) -> bool:
    """Ask for "A", where A="B CD" means that A waits for B, and for C or D."""
    return is_stuck(start, lambda node: groups.get(node, "").split())


@pytest.mark.parametrize(
    ("groups", "answer"),
    [
        ({}, False),
        ({"A": "B"}, False),
        ({"A": "A"}, True),
        ({"A": "AB"}, False),
        ({"A": "B", "B": "A"}, True),
        ({"A": "B", "B": "AC"}, False),
        ({"A": "B", "B": "A C"}, True),
        ({"A": "B", "B": "AC", "C": "A"}, True),
        ({"A": "B", "B": "AC", "C": "BD"}, False),
        ({"A": "B B B", "B": "CC", "C": "D"}, False),
        ({"A": "B", "B": "C", "C": "B"}, True),  # behind a circle
        ({"A": "BC", "B": "C", "C": "B", "D": "E"}, True),
        ({"A": "B C", "B": "C", "C": "DE", "D": "A"}, False),
    ],
)
def test_one_is_stuck_if_a_group_of_its_own_is_never_served(groups: Mapping[str, str], answer: bool) -> None:
    assert stuck("A", **groups) is answer


def test_a_group_of_nobody_is_never_served() -> None:
    assert is_stuck("A", lambda node: [[]])


def test_only_those_who_can_be_reached_are_asked_for_and_once_each() -> None:
    groups = {"A": ["B", "C"], "B": ["C", "A"], "C": ["B"], "D": ["A"]}
    asked: list[str] = []

    def waits_for(node: str) -> list[str]:
        asked.append(node)
        return groups[node]

    assert is_stuck("A", waits_for)
    assert sorted(asked) == ["A", "B", "C"]


def test_nobody_is_asked_for_when_the_answer_is_certain() -> None:
    asked: list[int] = []

    def waits_for(node: int) -> list[list[int]]:
        asked.append(node)
        return [[node * 2 + 1, node * 2 + 2]] if node < 100 else []

    assert not is_stuck(0, waits_for)
    assert len(asked) < 10


def test_long_chains_of_waits_are_no_problem() -> None:
    assert not is_stuck(0, lambda node: [[node + 1]] if node < 50_000 else [])
    assert is_stuck(0, lambda node: [[(node + 1) % 50_000]])


@given(situations())
def test_step_by_step_it_agrees_with_the_analysis(situation: Situation) -> None:
    """A wait for one unit is a group of all its holders, as far as no unit is free."""
    holds, waits, capacity = situation
    waits = {task: list(dict.fromkeys(names)) for task, names in waits.items()}
    found = analyse(holds, waits, capacity)
    held = {r: [task for task in holds for name in holds[task] if name == r] for r in capacity}

    def waits_for(task: str) -> list[list[str]]:
        return [held[r] for r in waits.get(task, []) if len(held[r]) == capacity[r]]

    never = {task for task in {**waits, **holds} if is_stuck(task, waits_for)}
    assert never == {*found.deadlocked, *found.stuck_behind}

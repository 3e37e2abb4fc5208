"""Prepared tasks: their order, their circles, and chains that are too long."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.dependencies import CHAIN_LIMIT, check_chain, submission_order
from actorsched.exceptions import ChainTooLong, DependencyCycle

Graph = dict[str, list[str]]


def order(graph: Graph, *targets: str) -> list[str]:
    return list(submission_order(targets or graph, lambda node: graph.get(node, [])))


def test_each_task_comes_after_what_it_depends_on() -> None:
    assert order({"save": ["pack"], "pack": ["read", "list"], "read": ["list"]}, "save") == [
        "list",
        "read",
        "pack",
        "save",
    ]


def test_without_dependencies_the_order_is_the_one_given() -> None:
    assert order({}, "c", "a", "b") == ["c", "a", "b"]


def test_what_is_mentioned_twice_is_submitted_once() -> None:
    assert order({"b": ["a", "a"], "c": ["a", "b"]}, "c", "b", "c") == ["a", "b", "c"]


def test_nothing_wanted_gives_nothing() -> None:
    assert submission_order([], lambda node: []) == ()


def test_a_circle_is_refused_with_its_path() -> None:
    with pytest.raises(DependencyCycle, match="b -> c -> d -> b; nothing was submitted") as caught:
        order({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}, "a")
    assert caught.value.path == ("b", "c", "d", "b")


def test_a_task_that_depends_on_itself_is_a_circle() -> None:
    with pytest.raises(DependencyCycle) as caught:
        order({"a": ["a"]})
    assert caught.value.path == ("a", "a")


def test_the_path_is_told_in_names() -> None:
    with pytest.raises(DependencyCycle) as caught:
        submission_order([1], lambda node: [1], name=lambda node: f"task {node}")
    assert caught.value.path == ("task 1", "task 1")


def test_a_hundred_thousand_in_a_row_are_no_deeper_than_one() -> None:
    length = 100_000
    assert submission_order([length], lambda node: [node - 1] if node else []) == tuple(range(length + 1))


def test_upstream_is_asked_once_for_each() -> None:
    asked: list[str] = []
    graph = {"c": ["a", "b"], "b": ["a"]}

    def upstream(node: str) -> list[str]:
        asked.append(node)
        return graph.get(node, [])

    submission_order(["c", "b"], upstream)
    assert sorted(asked) == ["a", "b", "c"]


GRAPHS = st.integers(1, 8).flatmap(
    lambda size: st.dictionaries(
        st.integers(0, size), st.lists(st.integers(0, size), max_size=4), max_size=size + 1
    )
)


def reachable(graph: dict[int, list[int]], start: int) -> set[int]:
    """Everything that a node depends on, over any number of steps: slow and obvious."""
    found: set[int] = set()
    fresh = set(graph.get(start, []))
    while fresh:
        found |= fresh
        fresh = {other for node in fresh for other in graph.get(node, [])} - found
    return found


@given(GRAPHS)
def test_a_graph_is_either_put_in_order_or_has_the_circle_that_is_told(graph: dict[int, list[int]]) -> None:
    circular = any(node in reachable(graph, node) for node in graph)
    try:
        result = submission_order(graph, lambda node: graph.get(node, []))
    except DependencyCycle as error:
        path = [int(name) for name in error.path]
        assert circular
        assert path[0] == path[-1]
        assert len(set(path)) == len(path) - 1
        assert all(after in graph[node] for node, after in pairwise(path))
    else:
        assert not circular
        assert sorted(result) == sorted(set(graph).union(*graph.values()))
        place = {node: index for index, node in enumerate(result)}
        assert all(place[other] < place[node] for node in graph for other in graph[node])


@pytest.mark.parametrize("length", [1, CHAIN_LIMIT])
def test_a_chain_of_up_to_fifteen_tasks_is_taken(length: int) -> None:
    check_chain([f"t{n}" for n in range(length)])


def test_a_longer_chain_is_refused() -> None:
    with pytest.raises(ChainTooLong, match="a chain of 16 tasks, from 't0' to 't15', was refused") as caught:
        check_chain([f"t{n}" for n in range(16)])
    assert (caught.value.length, caught.value.limit) == (16, 15)


def test_a_chain_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one Task"):
        check_chain([])

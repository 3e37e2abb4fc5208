"""The run queue: the highest rank first; within a rank first come, first served, or shuffled by a seed."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.run_queue import RunQueue, ShuffledRunQueue


def drained(queue: RunQueue[str]) -> str:
    return "".join(queue.pop() for _ in range(len(queue)))


def shuffled(seed: int, items: str = "abcdefghijklmnop") -> str:
    queue = ShuffledRunQueue[str](Random(seed))
    for item in items:
        queue.push(item, 3)
    return drained(queue)


def test_the_highest_rank_comes_first() -> None:
    queue = RunQueue[str]()
    for item, rank in [("c", 0), ("a", 5), ("d", -1), ("b", 3)]:
        queue.push(item, rank)
    assert drained(queue) == "abcd"


def test_equal_ranks_are_first_in_first_out() -> None:
    queue = RunQueue[str]()
    for item in "abcd":
        queue.push(item, 3)
    assert drained(queue) == "abcd"


def test_whoever_comes_back_joins_the_tail_of_its_rank() -> None:
    queue = RunQueue[str]()
    for item in "abc":
        queue.push(item, 3)
    queue.push(queue.pop(), 3)
    assert drained(queue) == "bca"


def test_it_is_true_while_it_holds_something() -> None:
    queue = RunQueue[str]()
    assert not queue
    queue.push("a", 1)
    assert queue
    assert len(queue) == 1
    queue.pop()
    assert not queue
    assert len(queue) == 0


def test_an_empty_queue_has_nothing_to_give() -> None:
    with pytest.raises(IndexError):
        RunQueue[str]().pop()


def test_ranks_without_number_leave_nothing_behind() -> None:
    queue = RunQueue[int]()
    for rank in range(1000):
        queue.push(rank, rank)
        queue.pop()
    assert len(queue._levels) <= 17


def test_its_repr_tells_how_many_wait_at_each_rank() -> None:
    queue = RunQueue[str]()
    for item, rank in [("a", 3), ("b", 5), ("c", 3)]:
        queue.push(item, rank)
    assert repr(queue) == "<RunQueue {5: 1, 3: 2}>"


def test_a_seed_repeats_its_order_and_another_seed_has_another() -> None:
    assert shuffled(1) == shuffled(1)
    assert len({shuffled(seed) for seed in range(20)}) > 10
    assert sorted(shuffled(7)) == list("abcdefghijklmnop")


def test_shuffling_keeps_to_the_ranks() -> None:
    queue = ShuffledRunQueue[str](Random(5))
    for item in "AaBbCcDd":
        queue.push(item, int(item.isupper()))
    order = drained(queue)
    assert order[:4].isupper()
    assert order[4:].islower()


@given(st.lists(st.one_of(st.integers(-3, 3), st.none()), max_size=60))
def test_it_agrees_with_a_sorted_list(steps: list[int | None]) -> None:
    """A number pushes at that rank; None pops."""
    queue = RunQueue[int]()
    model: list[tuple[int, int]] = []
    for number, rank in enumerate(steps):
        if rank is not None:
            queue.push(number, rank)
            model.append((-rank, number))
        elif model:
            model.sort()
            assert queue.pop() == model.pop(0)[1]
        assert len(queue) == len(model)
        assert bool(queue) is bool(model)


def test_whoever_moves_joins_the_tail_of_its_new_rank() -> None:
    queue = RunQueue[str]()
    for item in "abcd":
        queue.push(item, 3)
    queue.push("e", 5)
    queue.move("c", 3, 5)
    queue.move("a", 3, 1)
    assert len(queue) == 5
    assert drained(queue) == "ecbda"


def test_whoever_returns_to_its_rank_finds_its_old_place_and_stands_there_once() -> None:
    queue = RunQueue[str]()
    for item in "abc":
        queue.push(item, 3)
    queue.move("b", 3, 5)
    queue.move("b", 5, 3)
    assert drained(queue) == "abc"
    assert not queue


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3))),
    st.one_of(st.none(), st.integers(0, 99)),
)
def test_moves_in_any_order_lose_nobody_and_ranks_are_kept(
    steps: list[tuple[int, int]], seed: int | None
) -> None:
    wakes: list[int] = []
    queue: RunQueue[int] = RunQueue() if seed is None else ShuffledRunQueue(Random(seed))
    queue._wake = lambda: wakes.append(1)
    ranks: dict[int, int] = {}
    for item, rank in steps:
        if item not in ranks:
            queue.push(item, rank)
            ranks[item] = rank
        elif ranks[item] != rank:
            queue.move(item, ranks[item], rank)
            ranks[item] = rank
        else:
            highest = max(ranks.values())
            assert ranks.pop(queue.pop()) == highest
        assert len(queue) == len(ranks)
        assert bool(queue) == bool(ranks)
        assert not ranks or queue.ranks[-1] == max(ranks.values())
    assert sorted(queue.pop() for _ in range(len(queue))) == sorted(ranks)
    assert not queue
    assert not queue._left

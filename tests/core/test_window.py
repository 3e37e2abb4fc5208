"""The window onto a stream of work: order, room, failure at its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.window import NOTHING, Inlet, OrderedWindow, UnorderedWindow, Window

KINDS = [OrderedWindow, UnorderedWindow]


def taken(window: Window | Inlet) -> list[Any]:
    results = []
    while (result := window.take()) is not NOTHING:
        results.append(result)
    return results


def test_results_leave_an_ordered_window_in_the_order_of_their_items() -> None:
    window = OrderedWindow(3, 3)
    first, second, third = (window.begin(item) for item in "abc")
    for entry in (third, first, second):
        window.add(entry, entry.item)
        window.finish(entry)
    assert taken(window) == ["a", "b", "c"]


def test_results_leave_an_unordered_window_as_they_come() -> None:
    window = UnorderedWindow(3, 3)
    first, second, third = (window.begin(item) for item in "abc")
    for entry in (third, first, second):
        window.add(entry, entry.item)
        window.finish(entry)
    assert taken(window) == ["c", "a", "b"]


def test_results_of_the_head_leave_before_it_is_finished_and_those_of_others_wait() -> None:
    window = OrderedWindow(2, 10)
    head, other = window.begin("head"), window.begin("other")
    window.add(other, 2)
    window.add(other, 3)
    assert taken(window) == []
    window.add(head, 1)
    assert taken(window) == [1]
    window.finish(head)
    assert taken(window) == [2, 3]
    window.add(other, 4)
    assert taken(window) == [4]


def test_none_is_a_result() -> None:
    window = OrderedWindow(1, 1)
    entry = window.begin("a")
    window.add(entry, None)
    window.finish(entry)
    assert window.take() is None
    assert window.take() is NOTHING


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_room_for_as_many_entries_as_there_are_workers(kind: type[Window]) -> None:
    window = kind(2, 5)
    assert window.places == 2
    window.begin("a")
    assert window.places == 1
    window.begin("b")
    assert window.places == 0


@pytest.mark.parametrize("kind", KINDS)
def test_results_that_nobody_takes_leave_no_room(kind: type[Window]) -> None:
    window = kind(1, 3)
    for item in "abc":
        assert window.places == 1
        entry = window.begin(item)
        window.add(entry, item)
        window.finish(entry)
    assert window.places == 0
    window.take()
    assert window.places == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_without_results_leaves_its_place(kind: type[Window]) -> None:
    window = kind(1, 1)
    window.finish(window.begin("skipped"))
    assert window.places == 1
    assert taken(window) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_window_has_no_room_and_ends_when_its_results_are_taken(kind: type[Window]) -> None:
    window = kind(2, 2)
    entry = window.begin("a")
    window.close()
    assert not window.places
    assert not window.ended
    window.add(entry, 1)
    window.finish(entry)
    assert not window.ended
    assert taken(window) == [1]
    assert window.ended


def test_a_failure_dooms_what_comes_after_it_and_leaves_what_comes_before() -> None:
    window = OrderedWindow(5, 5)
    entries = [window.begin(item) for item in range(5)]
    window.add(entries[4], "never taken")
    window.finish(entries[4])
    assert window.fail(entries[1]) == [entries[3], entries[2]]
    assert all(entry.doomed for entry in entries[2:])
    assert not window.ended
    window.add(entries[0], "first")
    window.finish(entries[0])
    assert taken(window) == ["first"]
    assert window.ended


def test_results_that_came_before_the_failure_of_their_own_entry_are_handed_on() -> None:
    window = OrderedWindow(2, 8)
    head, other = window.begin("head"), window.begin("other")
    window.add(other, 1)
    window.fail(other)
    window.finish(head)
    assert taken(window) == [1]
    assert window.ended


def test_after_a_failure_only_what_was_before_it_can_fail() -> None:
    window = OrderedWindow(2, 2)
    first, second = window.begin(1), window.begin(2)
    assert window.fail(second) == []
    assert not window.ended
    assert window.fail(first) == []
    assert window.ended


def test_a_failure_in_an_unordered_window_dooms_all_that_is_unfinished() -> None:
    window = UnorderedWindow(4, 4)
    entries = [window.begin(item) for item in range(4)]
    window.add(entries[3], "done")
    window.finish(entries[3])
    assert window.fail(entries[1]) == [entries[2], entries[0]]
    assert taken(window) == ["done"]
    assert window.ended


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_window_is_empty_and_names_what_was_unfinished(kind: type[Window]) -> None:
    window = kind(3, 6)
    done, first, second = (window.begin(item) for item in range(3))
    window.add(done, "x")
    window.finish(done)
    window.add(second, "y")
    assert window.cut() == [second, first]
    assert window.ended
    assert window.take() is NOTHING
    assert (window.running, window.buffered) == (0, 0)


def test_an_entry_with_many_results_stops_when_the_buffer_is_full_unless_all_wait_for_it() -> None:
    window = OrderedWindow(2, 4)
    head, other = window.begin("head"), window.begin("other")
    window.add(other, 1)
    assert window.may_add(other)
    window.add(other, 2)
    assert not window.may_add(other)
    assert window.may_add(head), "or nothing would ever leave"
    window.add(head, 0)
    assert not window.may_add(head)


def test_an_item_is_let_go_of_when_its_entry_is_over() -> None:
    window = OrderedWindow(1, 1)
    entry = window.begin("big")
    window.finish(entry)
    assert entry.item is NOTHING


def test_the_head_is_what_a_reader_waits_for() -> None:
    window = OrderedWindow(2, 2)
    assert window.head is None
    first, _second = window.begin(1), window.begin(2)
    assert window.head is first


def test_a_reader_of_an_unordered_window_waits_for_one_entry_only_when_it_is_the_last() -> None:
    window = UnorderedWindow(2, 2)
    first, second = window.begin(1), window.begin(2)
    window.finish(first)
    assert window.head is None, "another may be begun"
    window.close()
    assert window.head is second


def test_an_inlet_ends_when_it_is_closed_and_empty() -> None:
    inlet = Inlet()
    inlet.put(1)
    inlet.close()
    assert not inlet.ended
    assert taken(inlet) == [1]
    assert inlet.ended


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "add", "finish", "take"]), st.integers(0, 99)), max_size=80
)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS, workers=st.integers(1, 4), more=st.integers(1, 4))
def test_counts_are_right_after_any_steps(
    kind: type[Window], steps: list[tuple[str, int]], workers: int, more: int
) -> None:
    window = kind(workers, workers + more)
    live: list[Any] = []
    begun: list[tuple[int, int]] = []
    out: list[tuple[int, int]] = []
    for step, number in steps:
        if step == "begin" and window.places:
            live.append(window.begin(number))
        elif step == "add" and live and window.may_add(entry := live[number % len(live)]):
            result = (entry.index, len(begun))
            begun.append(result)
            window.add(entry, result)
        elif step == "finish" and live:
            window.finish(live.pop(number % len(live)))
        elif step == "take" and (result := window.take()) is not NOTHING:
            out.append(result)
        assert window.running == len(live) <= workers
        assert window.buffered == len(begun) - len(out)
        assert window.running + window.buffered <= workers + more + workers
    window.close()
    for entry in live:
        window.finish(entry)
    out += taken(window)
    assert window.ended
    assert out == (sorted(begun) if kind is OrderedWindow else begun)

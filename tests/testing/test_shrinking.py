"""Shrinking: fewer and smaller choices that fail in the same way, and no more trials than are allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actorsched.testing.shrinking import shrunk

VALUES = st.dictionaries(st.integers(0, 200), st.integers(1, 20), max_size=40)


def failing_with(needed: dict[int, int]) -> object:
    """What fails when these choices are there, and are at least so high."""

    def fails(values: dict[int, int]) -> dict[int, int] | None:
        there = all(values.get(number, 0) >= value for number, value in needed.items())
        return values if there else None

    return fails


@given(VALUES, st.data())
def test_what_is_needed_is_found_and_nothing_else_is_left(
    values: dict[int, int], data: st.DataObject
) -> None:
    chosen = data.draw(
        st.lists(st.sampled_from(sorted(values)), max_size=3, unique=True) if values else st.just([])
    )
    needed = {number: data.draw(st.integers(1, values[number])) for number in chosen}
    assert shrunk(values, failing_with(needed), 5000) == needed  # type: ignore[arg-type]


@given(VALUES)
def test_a_failure_that_needs_nothing_becomes_the_plain_run(values: dict[int, int]) -> None:
    assert shrunk(values, lambda values: values, 10) == {} or not values


@given(VALUES, st.integers(0, 30))
def test_no_more_is_tried_than_allowed(values: dict[int, int], trials: int) -> None:
    tried: list[dict[int, int]] = []

    def fails(candidate: dict[int, int]) -> dict[int, int] | None:
        tried.append(candidate)
        return None

    assert shrunk(values, fails, trials) == values
    assert len(tried) <= trials


@given(VALUES)
def test_what_comes_out_is_never_longer(values: dict[int, int]) -> None:
    def fails(candidate: dict[int, int]) -> dict[int, int] | None:
        """A run with fewer choices may make others than it was told to, and more."""
        return {**candidate, 500: 1, 501: 1} if len(candidate) % 2 else None

    assert len(shrunk(values, fails, 200)) <= len(values)


def test_the_choices_that_were_made_are_what_is_shrunk_further() -> None:
    """Leaving one out may change the number of those that follow."""

    def fails(candidate: dict[int, int]) -> dict[int, int] | None:
        return {3: 1} if 7 in candidate else None

    assert shrunk({1: 1, 5: 2, 7: 9}, fails, 100) == {3: 1}

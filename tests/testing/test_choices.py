"""Choices: the same for the same seed, on every machine; recorded, written down, and replayed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched.testing.choices import Choices, Drawn, Replayed, choices_of, text_of

COUNTS = st.lists(st.integers(1, 9), max_size=60)
SEEDS = st.integers(0, 10_000)


def picked(choices: Choices, counts: list[int]) -> list[int]:
    return [choices.pick(count) for count in counts]


@given(SEEDS, COUNTS)
def test_a_seed_makes_the_same_choices_again(seed: int, counts: list[int]) -> None:
    assert picked(choices_of(seed), counts) == picked(choices_of(seed), counts)


@given(SEEDS, COUNTS)
def test_a_choice_is_one_of_the_possibilities(seed: int, counts: list[int]) -> None:
    for count, value in zip(counts, picked(choices_of(seed), counts), strict=True):
        assert 0 <= value < count


@given(SEEDS, COUNTS)
def test_the_text_of_what_was_chosen_replays_it(seed: int, counts: list[int]) -> None:
    first = choices_of(seed)
    values = picked(first, counts)
    again = choices_of(text_of(first.base, first.unusual()))
    assert picked(again, counts) == values
    assert again.base == seed
    assert again.unusual() == first.unusual()


@given(SEEDS, st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6, unique=True), max_size=30))
def test_choosing_among_members_is_replayed_too(seed: int, groups: list[list[int]]) -> None:
    first = choices_of(seed)
    chosen = [first.choose(group) for group in groups]
    assert all(0 <= index < len(group) for index, group in zip(chosen, groups, strict=True))
    again = choices_of(text_of(seed, first.unusual()))
    assert [again.choose(group) for group in groups] == chosen


def test_the_numbers_are_the_same_on_every_machine_and_in_every_version() -> None:
    assert [picked(choices_of(seed), [7] * 12) for seed in range(6)] == KNOWN


KNOWN = [
    [5, 2, 1, 3, 2, 5, 2, 3, 4, 6, 3, 1],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [6, 0, 0, 5, 5, 4, 2, 4, 4, 4, 1, 3],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
    [5, 5, 6, 5, 6, 0, 3, 6, 4, 6, 0, 3],
]


def test_where_there_is_one_possibility_nothing_is_chosen() -> None:
    choices = choices_of(3)
    assert choices.pick(1) == 0
    assert choices.choose([5]) == 0
    assert len(choices.made) == 0


def test_seeds_differ_in_how_bold_they_are() -> None:
    shares = [sum(map(bool, picked(choices_of(seed), [2] * 1000))) / 1000 for seed in range(60)]
    assert min(shares) < 0.05
    assert max(shares) > 0.4


def test_some_seeds_leave_one_task_behind_for_long() -> None:
    """With uniform choices among three, thirty in a row without one of them is one in 200,000."""

    def longest_wait(seed: int) -> int:
        choices, longest, waited = choices_of(seed), 0, 0
        for _ in range(300):
            waited = 0 if choices.choose([1, 2, 3]) == 2 else waited + 1
            longest = max(longest, waited)
        return longest

    assert max(longest_wait(seed) for seed in range(30)) >= 30


@given(SEEDS, st.floats(0, 1))
def test_chance_is_as_probable_as_it_was_asked_for_and_replayed(seed: int, probability: float) -> None:
    first = choices_of(seed)
    happened = [first.chance(probability) for _ in range(40)]
    again = choices_of(text_of(seed, first.unusual()))
    assert [again.chance(probability) for _ in range(40)] == happened


def test_what_is_certain_happens_and_what_is_impossible_does_not() -> None:
    choices = choices_of(1)
    assert all(choices.chance(1.0) for _ in range(100))
    assert not any(choices.chance(0.0) for _ in range(100))


def test_replayed_choices_are_plain_where_none_is_known() -> None:
    choices = Choices(Replayed({1: 3}))
    assert picked(choices, [4, 4, 4]) == [0, 3, 0]


def test_a_replayed_choice_that_is_too_high_is_the_last_there_is() -> None:
    assert Choices(Replayed({0: 9})).pick(3) == 2


def test_drawn_choices_are_asked_for_so_often_and_plain_after_that() -> None:
    asked: list[int] = []

    def draw(last: int) -> int:
        asked.append(last)
        return last

    assert picked(Choices(Drawn(draw, 2)), [5, 3, 8]) == [4, 2, 0]
    assert asked == [4, 2]


def test_fractions_are_below_one() -> None:
    choices = choices_of(5)
    assert all(0 <= choices.fraction() < 1 for _ in range(1000))


@pytest.mark.parametrize("seed", ["", "s", "s:1", "s:1:2", "s:1:2.3,", "s:x:1.1", "1.5", "-1", "s:1:2.-3"])
def test_a_text_that_is_no_seed_is_refused(seed: str) -> None:
    with pytest.raises(ValueError, match="is no seed; give a number, or a text such as"):
        choices_of(seed)


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (True, TypeError), (1.5, TypeError), (None, TypeError)]
)
def test_what_is_no_seed_is_refused(seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="seed="):
        choices_of(seed)


def test_a_number_may_be_given_as_text() -> None:
    assert picked(choices_of("17"), [5] * 20) == picked(choices_of(17), [5] * 20)


def test_the_plain_text_has_no_choices() -> None:
    assert text_of(4, {}) == "s:4:"
    assert choices_of("s:4:").pick(9) == 0


def test_choices_say_what_they_are() -> None:
    choices = choices_of(7)
    choices.pick(2)
    assert repr(choices) == "<1 choices of Seeded, base 7>"

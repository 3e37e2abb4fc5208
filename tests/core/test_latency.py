"""Sketches are right to within what they promise, in constant memory; and so are windows and samples."""

from __future__ import annotations

from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.latency import (
    BUCKETS,
    BURST,
    ERROR,
    LEAST,
    LOOK,
    MOST,
    RATE,
    SERIES,
    SLOT,
    SLOTS,
    STRIDE,
    Latencies,
    LatencyBook,
    Sampler,
    Series,
    Sketch,
)

PARTS = (0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0)
values = st.lists(st.floats(LEAST, MOST), min_size=1, max_size=200)
any_values = st.lists(st.floats(0, 1e9), min_size=1, max_size=50)


def sketch_of(*numbers: float) -> Sketch:
    sketch = Sketch()
    for number in numbers:
        sketch.add(number)
    return sketch


def exactly(numbers: list[float], part: float) -> float:
    return sorted(numbers)[max(ceil(round(part * len(numbers), 9)) - 1, 0)]


def seen(sketch: Sketch) -> tuple[object, ...]:
    return (sketch.counts, sketch.count, pytest.approx(sketch.sum), sketch.min, sketch.max)


# ---------------------------------------------------------------------------------------------- sketches


@given(values)
def test_a_quantile_is_as_near_as_promised(numbers: list[float]) -> None:
    sketch = sketch_of(*numbers)
    for part in PARTS:
        assert sketch.quantile(part) == pytest.approx(exactly(numbers, part), rel=ERROR * (1 + 1e-9))


@given(any_values)
def test_whatever_is_too_short_or_too_long_is_still_counted(numbers: list[float]) -> None:
    sketch = sketch_of(*numbers)
    assert (sketch.count, sketch.min, sketch.max) == (len(numbers), min(numbers), max(numbers))
    found = sketch.quantiles(PARTS)
    assert found == sorted(found, key=lambda value: -1.0 if value is None else value)
    for part, value in zip(PARTS, found, strict=True):
        exact = exactly(numbers, part)
        assert value is not None
        if exact < LEAST:
            assert 0 <= value <= LEAST


@given(any_values, any_values)
def test_merged_is_the_same_as_all_in_one(some: list[float], others: list[float]) -> None:
    merged = sketch_of(*some)
    merged.absorb(sketch_of(*others))
    assert seen(merged) == seen(sketch_of(*some, *others))


@given(any_values, st.data())
def test_many_at_once_are_the_same_as_one_by_one(numbers: list[float], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(numbers), max_size=len(numbers)))
    one_by_one, at_once, weighed = sketch_of(*numbers), Sketch(), Sketch()
    at_once.extend(numbers)
    assert seen(at_once) == seen(one_by_one)
    weighed.extend(numbers, weights)
    repeated = [number for number, weight in zip(numbers, weights, strict=True) for _ in range(weight)]
    assert seen(weighed) == seen(sketch_of(*repeated))


def test_a_sketch_without_values_knows_nothing() -> None:
    assert Sketch().quantile(0.5) is None
    assert Sketch().quantiles(PARTS) == [None] * len(PARTS)


def test_a_sketch_has_a_bounded_number_of_buckets() -> None:
    sketch = Sketch()
    value = 1e-9
    while value < 1e9:
        sketch.add(value)
        value *= 1.001
    assert len(sketch.counts) == BUCKETS < 1400


# ----------------------------------------------------------------------------------------------- windows


def count_of(parts: list[Latencies]) -> int:
    return Latencies(parts).total.count


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(LEAST, 100)), max_size=100), st.floats(0, 100))
def test_the_window_has_what_came_in_its_slots_and_all_of_it_has_everything(
    records: list[tuple[float, float]], pause: float
) -> None:
    series, now, all_of_it = Series("x"), 0.0, list[tuple[float, float]]()
    for after, value in records:
        now += after
        series.record(now, value, value / 2, value / 2)
        all_of_it.append((now, value))
    now += pause
    slot = floor(now / SLOT)
    recent = [value for when, value in all_of_it if floor(when / SLOT) > slot - SLOTS]
    assert seen(Latencies(series.recent(now)).total) == seen(sketch_of(*recent))
    everything = Latencies(series.overall())
    assert seen(everything.total) == seen(sketch_of(*[value for _, value in all_of_it]))
    assert everything.wait.count == everything.run.count == len(records)


def test_a_task_that_never_started_has_neither_wait_nor_run() -> None:
    series = Series("x")
    series.record(1.0, 0.5)
    series.record(1.0, 0.5, 0.2, 0.3)
    latencies = Latencies(series.overall())
    assert (latencies.total.count, latencies.wait.count, latencies.run.count) == (2, 1, 1)
    assert latencies.of("wait") is latencies.wait


def test_memory_is_constant_whatever_comes() -> None:
    book = LatencyBook()

    def size() -> tuple[int, int]:
        series = [*book.chosen()]
        sketches = [
            sketch for one in series for part in one.overall() for sketch in (part.wait, part.run, part.total)
        ]
        return len(series), max(len(sketch.counts) for sketch in sketches)

    for number in range(20_000):
        series = book.series(f"pool {number % 400}", number % 7)
        series.record(number / 10, number % 97 / 7, number % 89 / 3, number % 83 / 5)
    assert len(book) == SERIES
    number_of_series, most = size()
    assert number_of_series == SERIES + 1
    assert most <= BUCKETS
    assert all(len(one.overall()) <= SLOTS + 1 for one in book.chosen())
    assert count_of([part for one in book.chosen() for part in one.overall()]) == 20_000


def test_a_pool_that_is_gone_makes_room_and_still_counts_among_all() -> None:
    book = LatencyBook()
    book.series("a", 3).record(5.0, 1.0, 0.5, 0.5)
    book.series("b", 3).record(15.0, 1.0, 0.5, 0.5)
    book.series("a", 3).record(25.0, 1.0, 0.5, 0.5)
    book.drop("a", 25.0)
    assert book.pools() == ["b"]
    assert book.priorities() == [3]
    assert count_of(book.others.overall()) == 2
    assert book.recent(26.0).total.count >= 2
    assert book.recent(26.0, pool="a").total.count == 0
    assert book.recent(26.0, pool="b", priority=3).total.count == 1


def test_the_window_covers_at_most_a_minute() -> None:
    assert LatencyBook.covered(7.0, 3.0) == 4.0
    assert LatencyBook.covered(1234.0, 3.0) == 54.0


# ----------------------------------------------------------------------------------------------- samples


def play(sampler: Sampler, times: list[float]) -> list[int]:
    """What each of the measured stands for, of tasks that come at these times."""
    weights: list[int] = []
    for now in times:
        sampler.due -= 1
        if not sampler.due:
            weights.append(sampler.look(now))
    return [weight for weight in weights if weight]


def test_tasks_that_come_slowly_enough_are_all_measured() -> None:
    times = [number / RATE * 1.01 for number in range(5 * BURST)]
    assert play(Sampler(), times) == [1] * len(times)


@given(st.integers(0, 50_000))
def test_of_a_burst_the_first_are_measured_and_the_others_stood_for(number: int) -> None:
    weights = play(Sampler(), [0.0] * number)
    assert weights[:BURST] == [1] * min(number, BURST)
    assert number - STRIDE < sum(weights) <= number
    assert max(weights, default=0) <= STRIDE


def test_after_a_burst_tasks_are_soon_measured_again() -> None:
    sampler = Sampler()
    before = sum(play(sampler, [0.0] * 20_000))
    weights = play(sampler, [10.0] * 2 * LOOK)
    assert weights[1:] == [1] * (len(weights) - 1)
    assert before + sum(weights) == 20_000 + 2 * LOOK


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 3000)), max_size=20))
def test_no_more_are_measured_than_may_be(bursts: list[tuple[float, int]]) -> None:
    sampler, now, times = Sampler(), 0.0, list[float]()
    for pause, number in bursts:
        now += pause
        times += [now] * number
    weights = play(sampler, times)
    assert len(times) - STRIDE < sum(weights) <= len(times)
    budget = BURST + RATE * now
    assert len(weights) <= budget + len(times) / LOOK

"""Durations: every way to write one, every way to get one wrong, and the way back to text."""

from __future__ import annotations

import math
import sys
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actorsched.durations import describe, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

RIGHT: Sequence[tuple[object, float]] = [
    (0, 0.0),
    (5, 5.0),
    (2.5, 2.5),
    (-0.0, 0.0),
    (Fraction(1, 4), 0.25),
    (Decimal("0.1"), 0.1),
    (timedelta(minutes=1, milliseconds=5), 60.005),
    ("250ms", 0.25),
    ("5s", 5.0),
    ("30 sec", 30.0),
    ("5 minutes", 300.0),
    ("1m30s", 90.0),
    ("1h 30m", 5400.0),
    ("1d", 86400.0),
    ("1.5h", 5400.0),
    ("0s", 0.0),
    ("0.1ms", 0.0001),
    ("7 us", 0.000007),
    ("7µs", 0.000007),
    (" 2 Hours  1 Minute 3 Seconds ", 7263.0),
    ("1d2h3m4s5ms", 93784.005),
]

WRONG: Sequence[tuple[object, str]] = [
    (-1, "is negative"),
    (-0.5, "is negative"),
    (timedelta(seconds=-1), "is negative"),
    ("-5s", "is negative"),
    (math.inf, "is not finite"),
    (math.nan, "is not finite"),
    (Decimal("sNaN"), "has no meaning as a float"),
    (10**400, "has no meaning as a float"),
    (1 + 2j, "has no meaning as a float"),
    (True, "is true or false"),
    (None, "is a NoneType"),
    ([5], "is a list"),
    (object, "is a type"),
    ("", "is empty"),
    ("   ", "is empty"),
    ("5", "has no unit"),
    ("2.5", "has no unit"),
    (".5", "has no unit"),
    ("soon", "is not a series of amounts with units"),
    ("5s!", "is not a series of amounts with units"),
    ("s5", "is not a series of amounts with units"),
    (".5s", "is not a series of amounts with units"),
    ("1e3s", "has the unknown unit 'e'"),
    ("5 parsecs", "has the unknown unit 'parsecs'"),
    ("1m 1m", "has 'm' after a unit that is not larger"),
    ("30s 1h", "has 'h' after a unit that is not larger"),
    ("٥s", "is not a series of amounts with units"),
    ("9" * 200 + "s", "is longer than 100 characters"),
]


@pytest.mark.parametrize(("given_value", "expected"), RIGHT)
def test_every_way_to_write_a_duration_means_its_seconds(given_value: object, expected: float) -> None:
    result = seconds(given_value)
    assert type(result) is float
    assert result == expected
    assert math.copysign(1, result) == 1


@pytest.mark.parametrize(("value", "fault"), WRONG)
def test_anything_else_is_refused_with_the_field_the_value_and_the_remedy(value: object, fault: str) -> None:
    with pytest.raises(ValueError, match="^timeout=") as caught:
        seconds(value, field="timeout")
    message = str(caught.value)
    assert fault in message
    assert "1h 30m" in message
    assert len(message) < 400


def test_an_error_speaks_of_a_duration_where_no_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"^duration='x'"):
        seconds("x")


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0, "0s"),
        (-0.0, "0s"),
        (1e-10, "0s"),
        (5e-9, "0.005us"),
        (0.00025, "250us"),
        (0.0015, "1.5ms"),
        (0.25, "250ms"),
        (0.9999999999, "1s"),
        (1, "1s"),
        (2.5, "2.5s"),
        (60, "1m"),
        (90, "1m30s"),
        (5400, "1h30m"),
        (93784.5, "1d2h3m4.5s"),
        (-90, "-1m30s"),
        (math.inf, "for ever"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_seconds_are_described_for_people(span: float, text: str) -> None:
    assert describe(span) == text


@given(st.floats(min_value=0, max_value=1e12, allow_nan=False))
@example(0.9999999999)
@example(59.9999999999)
def test_what_describe_writes_seconds_reads_to_the_nanosecond(span: float) -> None:
    assert seconds(describe(span)) == pytest.approx(span, abs=1e-9, rel=1e-15)


@given(st.integers(min_value=0, max_value=10**15))
def test_whole_nanoseconds_survive_the_round_trip_exactly(nanoseconds: int) -> None:
    span = nanoseconds / 10**9
    assert seconds(describe(span)) == span


@given(st.timedeltas(min_value=timedelta(0)))
def test_a_timedelta_is_its_total_seconds(span: timedelta) -> None:
    assert seconds(span) == span.total_seconds()


@given(st.text(alphabet="0123456789.smhdu µ-+eE", max_size=20))
def test_text_is_either_a_finite_duration_or_a_value_error(text: str) -> None:
    try:
        result = seconds(text)
    except ValueError:
        return
    assert 0 <= result <= sys.float_info.max


@given(st.integers(0, 10**6), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_amounts_add_up(days: int, hours: int, minutes: int, secs: int, millis: int) -> None:
    text = f"{days}d {hours}hours{minutes} min {secs}s {millis}ms"
    total = (((days * 24 + hours) * 60 + minutes) * 60 + secs) * 1000 + millis
    assert seconds(text) == total / 1000

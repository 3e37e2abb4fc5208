"""Retries: who gets another attempt, and when."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.retrying import Again, GiveUp, after_crash, after_failure, growing
from actorsched.options import Retry


def failure(
    retry: Retry, attempt: int, error: BaseException | None = None, crashes: int = 0
) -> Again | GiveUp:
    return after_failure(retry, attempt=attempt, error=error or OSError("no"), fraction=0.5, crashes=crashes)


STEADY = Retry(attempts=4, delay="1s", backoff=2, max_delay="3s", jitter=False)


@pytest.mark.parametrize(("attempt", "delay"), [(1, 1.0), (2, 2.0), (3, 3.0)])
def test_waits_grow_by_the_factor_up_to_the_limit(attempt: int, delay: float) -> None:
    assert failure(STEADY, attempt) == Again(delay)


def test_the_last_attempt_is_the_last() -> None:
    assert failure(STEADY, 4) == GiveUp("attempt 4 of 4 failed")


def test_by_default_there_is_one_attempt() -> None:
    assert failure(Retry(), 1) == GiveUp("attempt 1 of 1 failed")


def test_jitter_takes_the_given_fraction_of_the_wait() -> None:
    retry = Retry(attempts=9, delay=4)
    assert after_failure(retry, attempt=2, error=OSError(), fraction=0.25) == Again(2.0)
    assert after_failure(retry, attempt=2, error=OSError(), fraction=0.0) == Again(0.0)


def test_only_the_listed_exceptions_are_worth_another_attempt() -> None:
    retry = Retry(attempts=3, on=(OSError, KeyError))
    assert isinstance(failure(retry, 1, FileNotFoundError()), Again)
    assert isinstance(failure(retry, 1, TimeoutError()), Again)
    assert failure(retry, 1, ValueError()) == GiveUp(
        "ValueError is not among the exceptions to retry on (OSError, KeyError)"
    )


def test_a_base_exception_is_never_retried() -> None:
    assert isinstance(failure(Retry(attempts=3), 1, KeyboardInterrupt()), GiveUp)


def test_attempts_that_crashed_do_not_use_up_those_of_the_function() -> None:
    retry = Retry(attempts=2, crashes=5, delay=1, jitter=False)
    assert failure(retry, 4, crashes=3) == Again(1.0)
    assert failure(retry, 5, crashes=3) == GiveUp("attempt 2 of 2 failed")


@pytest.mark.parametrize(
    ("budget", "crashes", "expected"),
    [
        (0, 1, GiveUp("its host died once, and its crash budget is 0")),
        (1, 1, Again(1.0)),
        (1, 2, GiveUp("its host died twice, and its crash budget is 1")),
        (3, 3, Again(4.0)),
        (3, 4, GiveUp("its host died 4 times, and its crash budget is 3")),
    ],
)
def test_crashes_have_a_budget_of_their_own(budget: int, crashes: int, expected: Again | GiveUp) -> None:
    retry = Retry(crashes=budget, delay=1, jitter=False)
    assert after_crash(retry, crashes=crashes, fraction=0.5) == expected


@given(
    delay=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    limit=st.none() | st.floats(0, 1e9),
    count=st.integers(1, 10**6),
)
def test_waits_are_finite_and_never_shrink(
    delay: float, factor: float, limit: float | None, count: int
) -> None:
    wait, longer = (growing(delay, factor, limit, n) for n in (count, count + 1))
    assert 0 <= wait <= longer
    assert math.isfinite(longer)
    assert limit is None or longer <= limit


@given(
    retry=st.builds(Retry, attempts=st.integers(1, 9), delay=st.integers(0, 9)), fraction=st.floats(0, 0.999)
)
def test_a_task_that_always_fails_is_tried_as_often_as_its_attempts_say(
    retry: Retry, fraction: float
) -> None:
    attempt = 1
    while isinstance(after_failure(retry, attempt=attempt, error=OSError(), fraction=fraction), Again):
        attempt += 1
    assert attempt == retry.attempts

"""Who goes before whom: one that is new before one that has a worker, and of two that run, among equals.

A new task goes before one that has a worker and has not begun if it would take its place if it had.
"""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.policies.fair import Fair
from tests.core.test_policies_stir import POLICIES, Job

urgencies = st.tuples(st.integers(0, 6), st.sampled_from([5.0, 20.0, inf]))


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "fair"])
@given(of_runner=urgencies, of_new=urgencies, waited=st.integers(0, 20), changed=st.none() | urgencies)
def test_it_outranks_those_whom_it_would_preempt(
    name: str,
    of_runner: tuple[int, float],
    of_new: tuple[int, float],
    waited: int,
    changed: tuple[int, float] | None,
) -> None:
    policy: Any = POLICIES[name]()
    runner = Job("runner", *of_runner, preemptible=True)
    policy.push(runner, 0)
    assert policy.pop(waited) is runner
    policy.started(runner, waited)
    if changed is not None:
        runner.rank, runner.due = changed
        policy.changed(runner, waited)
    new = Job("new", *of_new, preemptible=True)
    outranks = policy.outranks(new, runner)
    policy.push(new, waited)
    assert outranks == (policy.victim(waited) is runner)


def test_under_the_fair_policy_nobody_is_asked() -> None:
    assert not hasattr(POLICIES["fair"](), "outranks")


@pytest.mark.parametrize("name", POLICIES)
def test_of_equals_that_run_the_new_one_is_last_and_then_whoever_joined_first(name: str) -> None:
    policy: Any = POLICIES[name]()
    runners = [Job(number, 3, inf, preemptible=True) for number in ("first", "second")]
    for job in runners:
        policy.push(job, 0)
    for job in (policy.pop(0), policy.pop(0)):
        policy.started(job, 0)
    first, second = (policy.precedence(job, False, 1) for job in runners)
    assert first < second < policy.precedence(runners[0], True, 1)
    assert policy.precedence(Job("stranger", 3, inf, preemptible=True), False, 1) < first


def test_under_the_fair_policy_the_higher_level_is_before_the_new_ones() -> None:
    policy: Any = Fair(levels=2, quanta=1, boost=None)
    low, high = (Job(name, 3, inf, preemptible=True) for name in ("low", "high"))
    policy.push(low, 0)
    policy.started(policy.pop(0), 0)
    policy.push(high, 2)
    policy.started(policy.pop(2), 2)
    assert policy.precedence(high, True, 2) < policy.precedence(low, False, 2)

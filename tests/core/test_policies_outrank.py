"""Who goes before a task that has a worker and has not begun: whoever would take its place if it had."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

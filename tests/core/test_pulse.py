"""The heartbeat of a host: what several looks at a process mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorsched._core.pulse import PATIENCE, Pulse

if TYPE_CHECKING:
    from actorsched._core.load import HostState


@pytest.mark.parametrize("state", ["running", "traced", "gone", "unknown"])
def test_whoever_is_not_stopped_is_well(state: HostState) -> None:
    pulse = Pulse()
    assert {pulse.beat(state, now) for now in (0.0, 1.0, 100.0)} == {"well"}


def test_a_stopped_process_is_suspected_and_lost_after_the_patience() -> None:
    pulse = Pulse()
    assert pulse.beat("stopped", 1.0) == "suspected"
    assert pulse.beat("stopped", 1.0 + PATIENCE * 0.9) == "suspected"
    assert "since 1" in repr(pulse)
    assert pulse.beat("stopped", 1.0 + PATIENCE) == "lost"


def test_one_look_is_never_enough_however_late_it_comes() -> None:
    pulse = Pulse()
    pulse.beat("running", 0.0)
    assert pulse.beat("stopped", 1000.0) == "suspected"


def test_going_on_clears_the_suspicion() -> None:
    pulse = Pulse()
    pulse.beat("stopped", 0.0)
    assert pulse.beat("running", 0.1) == "well"
    assert pulse.beat("stopped", PATIENCE) == "suspected"


def test_what_the_runtime_has_stopped_itself_is_well() -> None:
    pulse = Pulse()
    assert pulse.beat("stopped", 0.0, by_us=True) == "well"
    assert pulse.beat("stopped", 100.0, by_us=True) == "well"
    assert pulse.beat("stopped", 100.1) == "suspected"

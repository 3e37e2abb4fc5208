"""The test kit: simulations that a seed repeats, virtual time, probes, and actors tried alone.

What is here is found when it is first asked for: a pytest session that simulates nothing loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actorsched._kernel.virtual import VirtualClock
    from actorsched.testing._alone.face import alone
    from actorsched.testing._alone.strand import NeedsRuntime
    from actorsched.testing.computing import compute
    from actorsched.testing.conditions import ConditionFailed
    from actorsched.testing.everywhere import (
        Crash,
        Everywhere,
        Moment,
        NotSurvived,
        cancel_everywhere,
        crash_everywhere,
    )
    from actorsched.testing.exploring import Explored, Failure, drive, explore, find_failure, replay
    from actorsched.testing.patterns import ANY, Message, call
    from actorsched.testing.probes import Probe, Unexpected
    from actorsched.testing.scripts import Script, ScriptError
    from actorsched.testing.simulation import Simulation
    from actorsched.testing.world import Endless, Left, Stuck, Unobserved

_HOMES = {
    "_alone.face": ("alone",),
    "_alone.strand": ("NeedsRuntime",),
    "computing": ("compute",),
    "conditions": ("ConditionFailed",),
    "everywhere": ("Crash", "Everywhere", "Moment", "NotSurvived", "cancel_everywhere", "crash_everywhere"),
    "exploring": ("Explored", "Failure", "drive", "explore", "find_failure", "replay"),
    "patterns": ("ANY", "Message", "call"),
    "probes": ("Probe", "Unexpected"),
    "scripts": ("Script", "ScriptError"),
    "simulation": ("Simulation",),
    "world": ("Endless", "Left", "Stuck", "Unobserved"),
}
"""The modules here, and what of them is public."""

__all__ = [
    # Simulations
    "Simulation",
    "explore",
    "replay",
    "find_failure",
    "drive",
    "Explored",
    "Failure",
    # A cancellation or a crash at every moment
    "cancel_everywhere",
    "crash_everywhere",
    "Crash",
    "Everywhere",
    "Moment",
    "NotSurvived",
    # Steps of several participants in one order
    "Script",
    "ScriptError",
    # Messages
    "Probe",
    "call",
    "ANY",
    "Message",
    # One actor or task alone
    "alone",
    "NeedsRuntime",
    # Time
    "VirtualClock",
    "compute",
    # Failures of a simulated run
    "ConditionFailed",
    "Endless",
    "Left",
    "Stuck",
    "Unexpected",
    "Unobserved",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "VirtualClock":
        return import_module("actorsched._kernel.virtual").VirtualClock
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

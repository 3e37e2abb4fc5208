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
    from actorsched.testing.exploring import Explored, Failure, explore, find_failure, replay
    from actorsched.testing.simulation import Simulation

_HOMES = {
    "alone": "actorsched.testing._alone.face",
    "NeedsRuntime": "actorsched.testing._alone.strand",
    "VirtualClock": "actorsched._kernel.virtual",
    "compute": "actorsched.testing.computing",
    "Explored": "actorsched.testing.exploring",
    "Failure": "actorsched.testing.exploring",
    "explore": "actorsched.testing.exploring",
    "find_failure": "actorsched.testing.exploring",
    "replay": "actorsched.testing.exploring",
    "Simulation": "actorsched.testing.simulation",
}

__all__ = [
    "alone",
    "NeedsRuntime",
    "VirtualClock",
    "compute",
    "Explored",
    "Failure",
    "explore",
    "find_failure",
    "replay",
    "Simulation",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)

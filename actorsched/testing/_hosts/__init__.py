"""Hosts and threads that are simulated in the process of the test.

The law of this package: hosts are told the same, and say the same, as those that are processes; only how that
gets from one side to the other is another matter. Nothing here starts a process, opens a descriptor or asks
for the real time, but to find out that a function in a thread has no end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actorsched.testing._hosts.fates import Fate, FatefulWorld
    from actorsched.testing._hosts.host import SimulatedHost
    from actorsched.testing._hosts.hosts import SimulatedHosts

_HOMES = {"Fate": "fates", "FatefulWorld": "fates", "SimulatedHost": "host", "SimulatedHosts": "hosts"}

__all__ = ["Fate", "FatefulWorld", "SimulatedHost", "SimulatedHosts"]


def __getattr__(name: str) -> Any:
    """A simulation without hosts loads nothing of hosting."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Exploring a protocol of ours: a scenario under so many seeds, on both simulated loops.

A seed that once found a bug is kept beside the scenario, and is run first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsched.testing import explore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorsched.testing.choices import Seed
    from actorsched.testing.exploring import Scenario

SEEDS = 1000
"""How many seeds each protocol is explored under."""


def explored(scenario: Scenario, *, kept: Iterable[Seed] = (), seeds: int = SEEDS) -> None:
    """Explore a scenario: the seeds that once failed, and then all others, a half of them on each loop."""
    for backend in ("asyncio", "trio"):
        explore(scenario, list(kept), backend=backend)
    explore(scenario, range(0, seeds, 2), backend="asyncio")
    explore(scenario, range(1, seeds, 2), backend="trio")

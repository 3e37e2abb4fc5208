"""How much weather the suite has: little by default, more when it is asked for.

`ACTORSCHED_FAULT_SEEDS=200` runs that many storms on each backend, `ACTORSCHED_FAULT_SEEDS=17:18` number 17
again; `ACTORSCHED_FAULT_TASKS=100000` queues that many tasks among dying hosts.
"""

from __future__ import annotations

import os

import pytest

SEEDS = os.environ.get("ACTORSCHED_FAULT_SEEDS", "2")
TASKS = int(os.environ.get("ACTORSCHED_FAULT_TASKS", "5000"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A storm for each seed."""
    if "seed" in metafunc.fixturenames:
        first, colon, last = SEEDS.rpartition(":")
        metafunc.parametrize("seed", range(int(first or 0) if colon else 0, int(last)))


@pytest.fixture
def many() -> int:
    """How many tasks are very many."""
    return TASKS

"""Tests with the fixture `simulation`: one body, many seeds, and a failure that can be replayed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.testing.sessions import run

if TYPE_CHECKING:
    from actorsched import Runtime
    from actorsched.testing import Simulation

pytest_plugins = ["pytester"]

SEEN: list[object] = []


@pytest.mark.actorsched(seeds=3)
async def test_the_body_is_run_once_for_each_seed(simulation: Simulation) -> None:
    SEEN.append(simulation.seed)
    assert simulation.now == 0
    assert SEEN[-1:] in ([0], [1], [2])


def test_each_backend_had_all_of_them() -> None:
    assert SEEN == [0, 1, 2] * 2


@pytest.mark.actorsched(concurrency=1)
async def test_the_runtime_is_one_in_the_simulation(simulation: Simulation, runtime: Runtime) -> None:
    assert runtime.stats().pools["loop"].limit == 1
    await runtime.sleep("1d")
    assert simulation.now == 86_400


RACY = """
import anyio, pytest
from hypothesis import given, settings, strategies as st

counted = []

@pytest.fixture
def shared():
    return []

async def raise_it(box):
    value = box["value"]
    await anyio.sleep(0)
    box["value"] = value + 1

async def test_race(simulation, runtime):
    box = {"value": 0}
    tasks = [await runtime.spawn(raise_it, box) for _ in range(2)]
    for task in tasks:
        await task
    assert box["value"] == 2, f"raised to {box['value']} under {simulation.seed}"

async def test_leak(simulation, runtime):
    await runtime.spawn(anyio.sleep, 100)

async def test_counts(simulation, shared):
    shared.append(simulation.seed)
    assert len(shared) <= 7

async def test_skips(simulation):
    pytest.skip("not today")

@given(number=st.integers(0, 9))
@settings(max_examples=5)
async def test_examples(simulation, runtime, number):
    async def same():
        return number
    assert await (await runtime.spawn(same)) == number
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(120)
def test_a_failure_tells_its_seed_and_is_replayed_by_what_it_tells(pytester: pytest.Pytester) -> None:
    found = run(pytester, RACY, ini="actorsched_seeds = 7\n")
    assert "actorsched: simulations run under 7 seeds each" in found.text
    backends = ("asyncio", "trio")
    assert found.failed == {f"test_{test}[{backend}]" for test in ("race", "leak") for backend in backends}
    assert found.passed == {
        f"test_{test}[{backend}]" for test in ("counts", "examples") for backend in backends
    }
    assert "2 skipped" in found.text
    assert "started at test_it.py:23, in test_leak" in found.text
    assert ">       assert box" in found.text
    told = re.search(r"raised to 1 under (\d+)", found.text)
    assert told
    commands = re.findall(r"pytest 'test_it\.py::test_race\[asyncio\]' --actorsched-seed=(\S+)", found.text)
    assert commands[0] == told[1]
    assert len(commands) == 2
    assert re.search(r"what happened in that, by virtual time:\n +0\.0000 ", found.text)
    for seed in commands:
        again = run(pytester, RACY, "-k", "test_race and asyncio", f"--actorsched-seed={seed}")
        assert f"actorsched: simulations run under seed {seed}" in again.text
        assert again.failed == {"test_race[asyncio]"}


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(120)
def test_the_command_line_says_how_many_seeds(pytester: pytest.Pytester) -> None:
    found = run(
        pytester,
        """
        import pytest

        seen = []

        @pytest.mark.actorsched(seeds=2)
        async def test_it(simulation):
            seen.append(simulation.seed)

        def test_seen():
            assert seen == [*range(4)] * 2
        """,
        "--actorsched-seeds=4",
        ini="actorsched_seeds = 3\n",
    )
    assert found.passed == {"test_it[asyncio]", "test_it[trio]", "test_seen"}

"""Exploring seeds: the first failure is found, repeated, made short, and told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actorsched import Actor
from actorsched.testing import Explored, Failure, Simulation, drive, explore, find_failure, replay

if TYPE_CHECKING:
    from actorsched.testing.exploring import BackendName

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Account:
    """Not safe: it looks, waits, and writes."""

    def __init__(self) -> None:
        self.balance = 100

    async def withdraw(self, amount: int) -> bool:
        if self.balance < amount:
            return False
        await anyio.lowlevel.checkpoint()
        self.balance -= amount
        return True


class SafeAccount(Actor):
    """Safe: an actor handles one message at a time."""

    def __init__(self) -> None:
        self.balance = 100

    async def withdraw(self, amount: int) -> bool:
        if self.balance < amount:
            return False
        await anyio.lowlevel.checkpoint()
        self.balance -= amount
        return True


async def race(simulation: Simulation) -> None:
    account = Account()
    async with simulation.runtime(concurrency=2) as rt:
        first = await rt.spawn(account.withdraw, 70, name="first")
        await anyio.lowlevel.checkpoint()
        second = await rt.spawn(account.withdraw, 70, name="second")
        await first
        await second
    assert account.balance >= 0


async def no_race(simulation: Simulation) -> None:
    async with simulation.runtime() as rt:
        account = await rt.spawn(SafeAccount)
        tasks = [await rt.spawn(account.ask.withdraw, 70) for _ in range(3)]
        assert sum([await task for task in tasks]) == 1


@BOTH
def test_what_cannot_fail_is_explored_without_a_failure(backend: BackendName) -> None:
    explored = explore(no_race, 200, backend=backend)
    assert isinstance(explored, Explored)
    assert explored.seeds == 200
    assert explored.steps > 200


@BOTH
def test_a_race_is_found_repeated_and_made_short(backend: BackendName) -> None:
    failure = find_failure(race, 1000, backend=backend)
    assert isinstance(failure, Failure)
    assert failure.repeatable
    for seed in (failure.seed, failure.shortest):
        for _ in range(100):
            again = find_failure(race, [seed], backend=backend, shorten=False)
            assert isinstance(again, Failure)
            assert type(again.error) is AssertionError
            assert again.shortest == seed
    told = str(failure)
    assert f"failed under seed {failure.seed!r}; replay it with seed {failure.seed!r}" in told
    assert "`await anyio.lowlevel.checkpoint()`" in told


def test_the_log_of_the_shortest_run_is_the_same_each_time() -> None:
    failures = [find_failure(race, 1000) for _ in range(3)]
    assert all(isinstance(failure, Failure) for failure in failures)
    assert len({str(failure) for failure in failures}) == 1


def test_the_error_is_raised_with_its_story_in_a_note() -> None:
    with pytest.raises(AssertionError) as caught:
        explore(race, 1000)
    [note] = caught.value.__notes__
    assert note.startswith("failed under seed ")
    assert "choice" in note


def test_a_replay_is_one_run() -> None:
    failure = find_failure(race, 1000)
    assert isinstance(failure, Failure)
    with pytest.raises(AssertionError):
        replay(race, failure.seed)
    with pytest.raises(AssertionError):
        replay(race, failure.shortest)
    assert replay(race, "s:0:").seeds == 1


def test_what_does_not_come_again_is_said_to_depend_on_something_else() -> None:
    runs: list[int] = []

    async def scenario(simulation: Simulation) -> None:
        runs.append(1)
        if len(runs) == 4:
            raise ValueError("by the number of the run")

    failure = find_failure(scenario, 10)
    assert isinstance(failure, Failure)
    assert failure.seed == 3
    assert not failure.repeatable
    assert "it did not come again under seed 3: the test depends on something that no seed decides" in str(
        failure
    )


def test_only_the_same_failure_is_made_short() -> None:
    """A shorter run that fails in another way is another failure."""

    async def scenario(simulation: Simulation) -> None:
        world: Any = simulation._world
        values = [world.choices.pick(2) for _ in range(40)]
        if sum(values) > 12:
            raise ValueError
        if sum(values) > 2:
            raise LookupError

    failure = find_failure(scenario, 100, shorten=True)
    while isinstance(failure, Failure) and not isinstance(failure.error, ValueError):
        failure = find_failure(scenario, range(int(failure.seed) + 1, 1000))
    assert isinstance(failure, Failure)
    assert str(failure.shortest).count(".") == 13


def test_looking_for_a_shorter_failure_takes_a_few_seconds_at_most() -> None:
    async def scenario(simulation: Simulation) -> None:
        world: Any = simulation._world
        values = [world.choices.pick(2) for _ in range(2000)]
        if sum(values) > 500:
            time.sleep(0.05)  # noqa: ASYNC251 # the code under test may be slow
            raise ValueError

    then = time.monotonic()
    assert isinstance(find_failure(scenario, 50), Failure)
    assert time.monotonic() - then < 30


@settings(
    max_examples=200, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow], deadline=None
)
@given(st.data())
def _driven(data: st.DataObject) -> None:
    drive(race, lambda last: data.draw(st.integers(0, last)))


def test_hypothesis_may_drive_it() -> None:
    with pytest.raises(AssertionError) as caught:
        _driven()
    assert any("failed under seed 's:0:" in note for note in caught.value.__notes__)


def test_what_is_no_scenario_is_refused() -> None:
    with pytest.raises(TypeError, match="scenario=5 cannot be called; give an async function"):
        explore(5)  # type: ignore[arg-type]


def test_a_plain_function_is_refused() -> None:
    with pytest.raises(TypeError, match="is no async function"):
        explore(lambda simulation: None)  # type: ignore[arg-type,return-value]


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend='uvloop' cannot be simulated; choose 'asyncio' or 'trio'"):
        explore(no_race, 1, backend="uvloop")  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", [0, -1, True, "many"])
def test_how_many_seeds_has_to_be_a_number_above_zero(seeds: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="seeds="):
        explore(no_race, seeds)

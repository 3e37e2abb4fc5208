"""Simulated runs: time that jumps, whatever is used to wait; conditions; steps; what is not to be had."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
import trio

import actorsched
from actorsched import Actor, Runtime, current
from actorsched._kernel.looking import SHOWN
from actorsched._kernel.signals import HURRIED
from actorsched.testing import Simulation, explore, find_failure, replay
from actorsched.testing.choices import choices_of
from actorsched.testing.conditions import ConditionFailed
from actorsched.testing.exploring import Failure, run_once
from actorsched.testing.world import Endless, Left, Stuck, Unobserved

if TYPE_CHECKING:
    from actorsched.testing.exploring import BackendName, Scenario

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Counter(Actor):
    """Counts."""

    def __init__(self) -> None:
        self.value = 0

    async def add(self, number: int) -> int:
        self.value += number
        return self.value

    async def tick(self) -> None:
        self.value += 1
        current().after("1s", Counter.tick)


def run(scenario: Scenario, backend: BackendName = "asyncio", seed: int | str = "s:0:") -> None:
    """Run once, plainly unless said otherwise."""
    explored = replay(scenario, seed, backend=backend)
    assert explored.seeds == 1


def failing(scenario: Scenario, backend: BackendName = "asyncio") -> BaseException:
    """How it fails in the plain run."""
    failure = find_failure(scenario, ["s:0:"], backend=backend)
    assert isinstance(failure, Failure)
    return failure.error


# ------------------------------------------------------------------------------------------------------ time


@BOTH
def test_an_hour_of_sleep_takes_no_time(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        await anyio.sleep(3600)
        assert simulation.now == 3600

    then = time.monotonic()
    run(scenario, backend)
    assert time.monotonic() - then < 30


@BOTH
def test_every_kind_of_waiting_is_virtual(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            assert rt.now == 0
            await rt.sleep("1s")
            await actorsched.sleep("1 min")
            await anyio.sleep(1)
            if backend == "asyncio":
                await asyncio.sleep(1)
                loop = asyncio.get_running_loop()
                assert loop.time() == 63
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await asyncio.Event().wait()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), 1)
            else:
                await trio.sleep(1)
                assert trio.current_time() == 63
                with trio.move_on_after(2):
                    await trio.sleep_forever()
            assert anyio.current_time() == simulation.now == rt.now == 65
            with anyio.move_on_after(5) as scope:
                await anyio.sleep_forever()
            assert scope.cancelled_caught
            assert simulation.now == 70

    run(scenario, backend)


@BOTH
def test_timeouts_of_tasks_and_asks_are_virtual(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            with pytest.raises(TimeoutError):
                await rt.run(anyio.sleep, 100, timeout="5s")
            assert simulation.now == 5

    run(scenario, backend)


@BOTH
def test_timers_expire_in_the_order_of_their_times(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        seen: list[float] = []
        async with anyio.create_task_group() as group, simulation.runtime() as rt:

            async def wait(seconds: float) -> None:
                await anyio.sleep(seconds)
                seen.append(simulation.now)

            for seconds in (3, 1, 2):
                group.start_soon(wait, seconds)
            ticker = await rt.spawn(Counter)
            ticker.tell(Counter.tick)
            await simulation.advance("2.5s")
            assert await ticker.ask.add(0) == 3
            await ticker.stop()
        assert seen == [1, 2, 3]

    explore(scenario, 20, backend=backend)


def test_the_end_of_a_thread_of_asyncio_is_waited_for() -> None:
    async def scenario(simulation: Simulation) -> None:
        assert await asyncio.to_thread(len, "abc") == 3

    assert explore(scenario, 30).seeds == 30


@BOTH
def test_virtual_time_stands_still_while_a_function_runs_in_a_thread(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 3600)
                await anyio.to_thread.run_sync(time.sleep, 0.02)
                assert simulation.now == 0
            assert simulation.now == 3600
            then = simulation.now
            assert await rt.run(pow, 2, 5, host="thread") == 32
            assert simulation.now == then

    run(scenario, backend)


@BOTH
def test_two_runtimes_live_in_one_world(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as one, simulation.runtime() as other:
            counter = await one.spawn(Counter)

            async def remote() -> int:
                await other.sleep(1)
                return await counter.ask.add(2)

            assert await (await other.spawn(remote)) == 2
            assert one.now == other.now == 1

    explore(scenario, 20, backend=backend)


# ----------------------------------------------------------------------------------------------- conditions


@BOTH
def test_what_must_always_hold_is_looked_at_after_each_step(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            stock = [5]
            simulation.always(lambda: stock[0] >= 0, "the stock is not negative")

            async def buy(number: int) -> None:
                stock[0] -= number
                await anyio.sleep(1)
                stock[0] += number

            for _ in range(3):
                await rt.spawn(buy, 2)

    failure = find_failure(scenario, ["s:0:"], backend=backend)
    assert isinstance(failure, Failure)
    error = failure.error
    assert isinstance(error, ConditionFailed)
    assert str(error) == "does not hold any more: the stock is not negative"
    assert "buy" in str(failure)


def test_a_condition_that_is_async_is_refused() -> None:
    async def look() -> bool:
        return False

    async def scenario(simulation: Simulation) -> None:
        with pytest.raises(TypeError, match="is async; give a plain function"):
            simulation.always(look)
        with pytest.raises(TypeError, match="is async; give a plain function"):
            simulation.eventually(look, within="1s")

    explore(scenario, 1)


@BOTH
def test_a_condition_may_assert(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            counter = await rt.spawn(Counter)
            values: list[int] = [0]

            def look() -> None:
                assert values[-1] < 3, f"it is {values[-1]}"

            simulation.always(look)
            for _ in range(5):
                values.append(await counter.ask.add(1))
                await anyio.sleep(0)

    error = failing(scenario, backend)
    assert isinstance(error, AssertionError)
    assert "it is 3" in str(error)
    assert "while looking whether this holds: look" in error.__notes__


@BOTH
def test_what_comes_true_in_time_is_fine(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            counter = await rt.spawn(Counter)
            seen: list[int] = []

            async def work() -> None:
                await anyio.sleep(3)
                seen.append(await counter.ask.add(1))

            await rt.spawn(work)
            expected = simulation.eventually(lambda: seen, within="3s")
            assert not expected.true
            await expected
            assert simulation.now == 3
            assert expected.true

    explore(scenario, 10, backend=backend)


@BOTH
def test_what_comes_true_too_late_fails(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        seen: list[int] = []
        simulation.eventually(lambda: seen, within="2s", title="something is seen")
        await anyio.sleep(3)
        seen.append(1)

    error = failing(scenario, backend)
    assert isinstance(error, ConditionFailed)
    assert str(error) == "did not come true within 2s: something is seen"


def test_what_has_not_come_true_at_the_end_fails() -> None:
    async def scenario(simulation: Simulation) -> None:
        simulation.eventually(lambda: False, within="1h")
        await anyio.sleep(3)

    error = failing(scenario)
    assert isinstance(error, ConditionFailed)
    assert '`simulation.eventually(lambda: False, within="1h")`' in str(error)
    assert "had not come true when the run ended, 3s after it began" in str(error)


def test_waiting_for_what_does_not_come_true_fails() -> None:
    async def scenario(simulation: Simulation) -> None:
        await simulation.eventually(lambda: False, within="1s", title="nothing")

    assert str(failing(scenario)) == "did not come true within 1s: nothing"


# --------------------------------------------------------------------------------------------------- steps


@BOTH
def test_the_test_goes_on_after_each_step_of_the_runtime(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            counter = await rt.spawn(Counter)
            seen: list[int] = []
            simulation.always(lambda: seen.append(0))
            for _ in range(4):
                counter.tell(Counter.add, 1)
            values = []
            for _ in range(4):
                await simulation.step()
                values.append(counter.queued)
            assert values == [3, 2, 1, 0]

    explore(scenario, 30, backend=backend)


@BOTH
def test_run_until_idle_waits_for_everything_of_this_instant(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            done: list[int] = []

            async def work(number: int) -> None:
                for _ in range(number):
                    await anyio.sleep(0)
                done.append(number)
                await anyio.sleep(1)
                done.append(-number)

            for number in (5, 1, 3):
                await rt.spawn(work, number)
            await simulation.run_until_idle()
            assert sorted(done) == [1, 3, 5]
            assert simulation.now == 0
            await simulation.advance("1s")
            await simulation.run_until_idle()
            assert len(done) == 6
            assert simulation.now == 1

    explore(scenario, 30, backend=backend)


# -------------------------------------------------------------------------------------------- ends of runs


@BOTH
def test_a_run_in_which_nothing_can_happen_any_more_is_stuck(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            waits_for_ever = anyio.Event()

            async def work() -> None:
                await waits_for_ever.wait()

            await rt.spawn(work, name="patient")

    error = failing(scenario, backend)
    assert isinstance(error, Stuck)
    assert str(error).startswith("nothing can happen any more at 0 s: ")
    assert "patient" in str(error)


@BOTH
def test_a_run_without_end_is_given_up(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        while True:
            await anyio.sleep(1)

    found = run_once(scenario, choices_of(0), 0, backend, steps=500)
    assert isinstance(found.error, Endless)
    assert "the simulated run has taken 500 steps" in str(found.error)


def test_a_failure_that_nobody_looks_at_fails_the_run() -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:

            async def fail() -> None:
                raise ValueError("unseen")

            await rt.spawn(fail, name="unlucky")

    error = failing(scenario)
    assert isinstance(error, (Unobserved, ExceptionGroup))
    assert "unlucky" in str(error)


def test_a_task_of_the_loop_that_is_left_behind_fails_the_run() -> None:
    async def scenario(simulation: Simulation) -> None:
        simulation.kept = asyncio.create_task(asyncio.sleep(100), name="straggler")  # type: ignore[attr-defined]

    error = failing(scenario)
    assert isinstance(error, Left)
    assert "straggler" in str(error)


def test_a_failed_task_of_the_loop_that_nobody_awaits_fails_the_run() -> None:
    async def scenario(simulation: Simulation) -> None:
        async def fail() -> None:
            raise ValueError("unseen")

        simulation.kept = asyncio.create_task(fail(), name="unlucky")  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    error = failing(scenario)
    assert "unlucky" in str(error) or "unseen" in str(error)


def test_a_runtime_that_is_left_open_fails_the_run_and_is_known_to_nobody_afterwards() -> None:
    known = len(SHOWN), len(HURRIED)

    async def scenario(simulation: Simulation) -> None:
        await simulation.runtime(name="open").__aenter__()

    error = failing(scenario)
    assert isinstance(error, Left)
    assert "open" in str(error)
    assert (len(SHOWN), len(HURRIED)) == known


@BOTH
def test_what_the_scenario_raises_is_the_failure(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        await anyio.sleep(1)
        raise LookupError("mine")

    error = failing(scenario, backend)
    assert type(error) is LookupError
    assert error.args == ("mine",)


def test_ctrl_c_ends_the_exploration_at_once() -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime():
            signal.raise_signal(signal.SIGINT)
            await anyio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        explore(scenario, 10)


# ------------------------------------------------------------------------------------- what is not to be had


async def connects() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def serves() -> None:
    await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)


async def starts_a_process() -> None:
    await asyncio.create_subprocess_exec("true")


async def watches() -> None:
    asyncio.get_running_loop().add_reader(0, print)


async def handles_a_signal() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)


@pytest.mark.parametrize("use", [connects, serves, starts_a_process, watches, handles_a_signal])
def test_the_outside_is_refused_with_a_remedy(use: Callable[[], Any]) -> None:
    async def scenario(simulation: Simulation) -> None:
        with pytest.raises(RuntimeError, match=r"was asked for in a simulation, which has no outside: give"):
            await use()

    run(scenario)


def test_a_simulation_within_an_event_loop_is_refused() -> None:
    async def scenario(simulation: Simulation) -> None:
        raise AssertionError

    async def main() -> None:
        explore(scenario, 1)

    with pytest.raises(RuntimeError, match="call it from plain code"):
        asyncio.run(main())


@pytest.mark.parametrize("name", ["clock", "seed"])
def test_what_the_simulation_decides_cannot_be_chosen(name: str) -> None:
    async def scenario(simulation: Simulation) -> None:
        with pytest.raises(TypeError, match=f"{name}=1 was given, but that is the simulation's own"):
            simulation.runtime(**{name: 1})

    run(scenario)


def test_bad_input_is_refused_at_the_call() -> None:
    async def scenario(simulation: Simulation) -> None:
        with pytest.raises(TypeError, match="predicate=5 cannot be called"):
            simulation.always(5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="within="):
            simulation.eventually(lambda: True, within="soon")
        with pytest.raises(ValueError, match="count=0 is less than 1"):
            await simulation.step(0)
        with pytest.raises(TypeError, match="count='a' is no number of steps"):
            await simulation.step("a")
        with pytest.raises(ValueError, match="duration="):
            await simulation.advance("-1s")
        with pytest.raises(RuntimeError, match="no runtimes are open in this simulation"):
            simulation.probe()

    run(scenario)


def test_a_runtime_of_a_simulation_is_entered_in_it_only() -> None:
    kept: list[Runtime] = []

    async def scenario(simulation: Simulation) -> None:
        kept.append(simulation.runtime())

    run(scenario)
    with pytest.raises(RuntimeError, match="entered outside of it"):
        anyio.run(kept[0].__aenter__)


# ------------------------------------------------------------------------------------------ the same again


@BOTH
def test_the_module_random_is_seeded_and_put_back(backend: BackendName) -> None:
    drawn: list[tuple[float, float]] = []

    async def scenario(simulation: Simulation) -> None:
        drawn.append((random.random(), simulation.random.random()))

    random.seed(77)
    expected = random.random()
    random.seed(77)
    for seed in (1, 1, 2):
        run(scenario, backend, seed)
    assert random.random() == expected
    assert drawn[0] == drawn[1] != drawn[2]


SCRIPT = """
import sys, anyio, random
from actorsched import Actor, Retry, current
from actorsched.testing.choices import choices_of
from actorsched.testing.exploring import run_once

class Worker(Actor):
    async def work(self, number):
        await anyio.sleep(random.random() / 100)
        if number % 7 == 3:
            raise ValueError(number)

async def scenario(simulation):
    cleaned = []
    async with simulation.runtime(concurrency=3) as rt:
        rt.resource("db", 2)
        workers = [await rt.spawn(Worker) for _ in range(3)]

        async def leaf(number):
            async with current().acquire("db"):
                await anyio.sleep(random.random() / 100)
            try:
                await workers[number % 3].ask.work(number)
            except Exception:
                return number

        async def child(number):
            with anyio.CancelScope(), anyio.CancelScope():
                try:
                    await anyio.sleep(1)
                finally:
                    cleaned.append(number)

        async def group():
            with anyio.move_on_after(0.002):
                async with anyio.create_task_group() as tasks:
                    for number in range(8):
                        tasks.start_soon(child, number)

        refs = [await rt.spawn(leaf, number, priority=number % 3) for number in range(12)]
        refs += [await rt.spawn(group), await rt.spawn(sum, (1, 2), host="thread")]
        for ref in refs:
            await ref.settle()
    simulation._world.note("end", str(cleaned))

for backend in ("asyncio", "trio"):
    for seed in range(8):
        run = run_once(scenario, choices_of(seed), seed, backend, logs=True)
        print(backend, seed, repr(run.error))
        print(*run.world.log, sep="\\n")
"""


@pytest.mark.process
def test_the_same_seed_has_the_same_log_in_another_process_with_other_hashes() -> None:
    logs = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT)],
            env={"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert logs[0] == logs[1]
    assert logs[0].count("\n") > 1000


@BOTH
def test_the_log_is_no_part_of_what_happens(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            counter = await rt.spawn(Counter)
            for number in range(20):
                await rt.spawn(counter.ask.add, number)

    for seed in range(20):
        silent = run_once(scenario, choices_of(seed), seed, backend)
        told = run_once(scenario, choices_of(seed), seed, backend, logs=True)
        assert silent.world.choices.made == told.world.choices.made
        assert silent.world.steps == told.world.steps
        assert not silent.world.log
        assert told.world.log


def test_what_is_logged_in_the_first_run_is_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            logging.getLogger("actorsched.test").warning("once")
            await rt.sleep(1)
            raise LookupError

    with caplog.at_level(logging.WARNING):
        find_failure(scenario, [3])
    assert caplog.messages == ["once"]

"""Simulated runs at their edges: what does not end, what is never due, what fails twice, what grows."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
import pytest

import actorsched.testing.world
from actorsched import Actor
from actorsched.testing import Simulation, drive, explore, find_failure
from actorsched.testing.choices import choices_of
from actorsched.testing.conditions import ConditionFailed
from actorsched.testing.exploring import Explored, Failure, run_once
from actorsched.testing.shrinking import shrunk
from actorsched.testing.world import Endless, Left, Stuck

if TYPE_CHECKING:
    from actorsched.testing.exploring import BackendName, Scenario

_known: Any = getattr(asyncio.tasks, "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks")
BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def error_of(scenario: Scenario, backend: BackendName = "asyncio", steps: int = 2000) -> BaseException | None:
    """How the plain run fails."""
    return run_once(scenario, choices_of("s:0:"), "s:0:", backend, silent=True, steps=steps).error


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not end is given up soon."""
    monkeypatch.setattr(actorsched.testing.world, "_LAST_STEPS", 500)


# ------------------------------------------------------------------------------------------ what does not end


@BOTH
def test_a_test_that_swallows_the_end_once_is_ended_all_the_same(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        try:
            await anyio.Event().wait()
        except BaseException:
            pass
        await anyio.Event().wait()

    assert isinstance(error_of(scenario, backend), Stuck)


@BOTH
def test_a_shield_keeps_nobody_in_a_run_that_has_failed(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.Event().wait()

    assert isinstance(error_of(scenario, backend), Stuck)


@BOTH
def test_a_test_that_never_ends_is_given_up(backend: BackendName, impatient: None) -> None:
    async def scenario(simulation: Simulation) -> None:
        simulation.always(lambda: simulation.now < 3)
        while True:
            try:
                await anyio.sleep(1)
            except BaseException:
                pass

    assert isinstance(error_of(scenario, backend), ConditionFailed)


def test_a_task_of_asyncio_that_never_ends_is_given_up(impatient: None) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException:
                pass

    async def scenario(simulation: Simulation) -> None:
        _task = asyncio.ensure_future(stubborn())  # noqa: RUF006 - leaving it is the point
        await asyncio.sleep(0.5)

    assert isinstance(error_of(scenario), Left)


@BOTH
@pytest.mark.filterwarnings("ignore")
def test_a_handler_that_never_ends_is_given_up(backend: BackendName, impatient: None) -> None:
    class Stubborn(Actor):
        async def work(self) -> None:
            while True:
                try:
                    await anyio.sleep(1)
                except BaseException:
                    pass

    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            actor = await rt.spawn(Stubborn)
            actor.tell(Stubborn.work)
            await anyio.sleep(1)
            await rt.shutdown(drain=False)

    assert isinstance(error_of(scenario, backend), Endless)


@BOTH
def test_messages_without_end_end_when_the_run_has_failed(backend: BackendName, impatient: None) -> None:
    class Restless(Actor):
        async def go(self) -> None:
            actorsched.current().ref.tell(Restless.go)

    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            actor = await rt.spawn(Restless)
            actor.tell(Restless.go)
            await anyio.sleep(1)

    assert isinstance(error_of(scenario, backend), Endless)


@BOTH
def test_code_of_a_host_that_shields_its_end_is_waited_for_when_the_test_has_failed(
    backend: BackendName,
) -> None:
    async def work() -> None:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)

    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            await rt.spawn(work, host="process")
            await anyio.sleep(1)
            simulation.hosts[0].crash()
            await anyio.sleep(1)
            raise KeyError("the failure")

    assert isinstance(error_of(scenario, backend), KeyError)


@BOTH
def test_a_function_in_a_thread_is_not_waited_for_for_ever(
    backend: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actorsched.testing.world, "PATIENCE", 0.1)
    over = threading.Event()

    async def scenario(simulation: Simulation) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: anyio.to_thread.run_sync(over.wait, 30, abandon_on_cancel=True))
            await anyio.sleep(1)

    try:
        error = error_of(scenario, backend)
    finally:
        over.set()
    assert isinstance(error, Stuck)
    assert "a function in a thread has kept everything else waiting at 0 s" in str(error)


# ---------------------------------------------------------------------------------------- what is never due


@BOTH
@pytest.mark.parametrize("wait", [anyio.sleep_forever, lambda: anyio.sleep(math.inf)])
def test_whoever_sleeps_for_ever_is_not_woken(backend: BackendName, wait: Scenario) -> None:
    async def scenario(simulation: Simulation) -> None:
        await wait()  # type: ignore[call-arg]

    assert isinstance(error_of(scenario, backend), Stuck)


def test_a_sleep_of_no_number_ends_at_once_as_in_asyncio() -> None:
    async def scenario(simulation: Simulation) -> None:
        asyncio.get_running_loop().call_at(math.nan, called.append, True)
        await asyncio.sleep(0.1)

    called: list[bool] = []
    assert error_of(scenario) is None
    assert called == [True]


def test_cancelled_timers_do_not_pile_up() -> None:
    async def scenario(simulation: Simulation) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(10_000):
            loop.call_later(3600, print).cancel()
        left.append(len(loop._scheduled))  # type: ignore[attr-defined]

    left: list[int] = []
    assert error_of(scenario) is None
    assert left[0] < 500


# ------------------------------------------------------------------------------------------- what is told


@BOTH
def test_the_first_failure_is_told_when_a_condition_fails_on_the_way_out(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        holds = [True]
        simulation.always(lambda: holds[0])

        async def later() -> None:
            try:
                await anyio.sleep(10)
            finally:
                holds[0] = False

        if backend == "asyncio":
            _task = asyncio.ensure_future(later())  # noqa: RUF006 - it is left
        await anyio.sleep(1)
        raise KeyError("the cause")

    assert isinstance(error_of(scenario, backend), KeyError)


@BOTH
def test_a_failure_tells_what_the_test_made_of_it(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        simulation.always(lambda: simulation.now < 1, "time stands still")
        try:
            await anyio.sleep(1)
            await anyio.sleep(1)
        finally:
            raise KeyError("in the test")

    error = error_of(scenario, backend)
    assert isinstance(error, ConditionFailed)
    assert error.__notes__ == ["then the scenario raised KeyError: 'in the test'"]


@BOTH
def test_an_expectation_that_raises_at_its_end_fails_as_everywhere(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        def predicate() -> bool:
            if simulation.now >= 5:
                raise ValueError("no look")
            return False

        simulation.eventually(predicate, within="5s")
        await anyio.sleep(10)

    found = find_failure(scenario, 1, backend=backend)
    assert isinstance(found, Failure)
    assert isinstance(found.error, ValueError)
    assert "while looking whether this holds: predicate" in found.error.__notes__


@BOTH
def test_a_predicate_may_fail_the_test_by_the_means_of_pytest(
    backend: BackendName, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(simulation: Simulation) -> None:
        def predicate() -> None:
            if simulation.now >= 2:
                pytest.fail("as pytest has it")

        simulation.always(predicate)
        while True:
            await anyio.sleep(1)
            reached.append(simulation.now)

    reached: list[float] = []
    assert isinstance(error_of(scenario, backend), pytest.fail.Exception)
    assert reached == [1.0, 2.0]
    assert caplog.records == []


def test_calls_of_trio_that_are_made_at_this_instant_come_before_time_goes_on() -> None:
    async def scenario(simulation: Simulation) -> None:
        import trio

        token = trio.lowlevel.current_trio_token()
        token.run_sync_soon(lambda: seen.append(simulation.now))
        await trio.sleep(1)

    seen: list[float] = []
    assert error_of(scenario, "trio") is None
    assert seen == [0.0]


def test_tasks_of_asyncio_do_not_compare_each_other() -> None:
    async def scenario(simulation: Simulation) -> None:
        tasks = [asyncio.ensure_future(asyncio.sleep(1)) for _ in range(300)]
        assert len({hash(task) for task in tasks}) == 300
        assert len({hash(reference) for reference in _known.data}) >= 300  # type: ignore[attr-defined]
        await asyncio.gather(*tasks)

    found = find_failure(scenario, 1)
    assert isinstance(found, Explored)


# -------------------------------------------------------------------------------------------- what grows


@BOTH
@pytest.mark.parametrize("host", ["loop", "thread", "process"])
def test_nothing_is_left_of_a_run_in_memory(
    backend: BackendName, host: Literal["loop", "thread", "process"]
) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            await rt.run(print_nothing if host == "thread" else nothing, host=host)
            actor = await rt.spawn(Quiet)
            await actor.ask.work()
        worlds.append(weakref.ref(simulation._world))

    worlds: list[weakref.ref[Any]] = []
    assert error_of(scenario, backend) is None
    gc.collect()
    assert worlds[0]() is None


class Quiet(Actor):
    async def work(self) -> None:
        """Does nothing."""


async def nothing() -> None:
    """Does nothing."""


def print_nothing() -> None:
    """Does nothing."""


# -------------------------------------------------------------------------------- what a failure is shrunk to


def test_a_failure_is_not_shrunk_to_one_of_another_line() -> None:
    """Both are an `AssertionError`; the second would be the shorter one."""

    async def scenario(simulation: Simulation) -> None:
        if simulation._world.pick(4, "which way"):
            raise AssertionError("rare")
        raise AssertionError("plain")

    found = find_failure(scenario, ["s:0:0.3"] * 2)  # one alone would only be replayed
    assert isinstance(found, Failure)
    assert str(found.error) == "rare"
    assert found.shortest == "s:0:0.1"
    assert found.repeatable


def test_shrinking_is_not_led_into_runs_without_an_end() -> None:
    async def scenario(simulation: Simulation) -> None:
        if simulation._world.pick(4, "which way"):
            raise KeyError("found")
        while True:
            await anyio.sleep(1)

    began = time.monotonic()
    found = find_failure(scenario, ["s:0:0.3"] * 2)  # one alone would only be replayed
    assert isinstance(found, Failure)
    assert found.shortest == "s:0:0.1"
    assert time.monotonic() - began < 20


def test_shrinking_stops_when_it_is_late() -> None:
    tried: list[object] = []
    values = dict.fromkeys(range(100), 1)
    assert shrunk(values, tried.append, 1000, late=lambda: len(tried) >= 3) == values
    assert len(tried) == 3


def test_a_failure_whose_log_shows_another_one_is_not_called_repeatable() -> None:
    runs: list[int] = []

    async def scenario(simulation: Simulation) -> None:
        runs.append(1)
        if len(runs) < 3:
            raise KeyError("before")

    found = find_failure(scenario, [0, 1], shorten=False)
    assert isinstance(found, Failure)
    assert not found.repeatable


def test_any_number_of_tasks_may_be_ready_at_once() -> None:
    choices = choices_of(f"s:0:0.{1 << 17}")
    assert choices.pick(1 << 18) == 1 << 17
    assert choices.unusual() == {0: 1 << 17}


@BOTH
def test_a_pattern_that_raises_is_no_failure_of_the_sender(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            actor = await rt.spawn(Quiet)
            simulation.drop(actor, lambda message: message.args[0] == 1)
            actor.tell(Quiet.work)
            told.append(True)
            await anyio.sleep(1)

    told: list[bool] = []
    error = error_of(scenario, backend)
    assert isinstance(error, IndexError)
    assert told == [True]
    assert any("while looking for messages to actor" in note for note in error.__notes__)


# -------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize(
    ("backend", "look"),
    # of the steps of a carrier trio keeps it away: it goes to the main task
    [("asyncio", 1), ("asyncio", 2), ("asyncio", 5), ("asyncio", 9), ("trio", 1), ("trio", 2)],
)
def test_an_interruption_from_the_keyboard_ends_everything(backend: BackendName, look: int) -> None:
    async def scenario(simulation: Simulation) -> None:
        def predicate() -> None:
            looks.append(True)
            if len(looks) == look:
                raise KeyboardInterrupt

        simulation.always(predicate)
        async with simulation.runtime() as rt:
            actor = await rt.spawn(Quiet)
            for _ in range(5):
                await actor.ask.work()
                await anyio.sleep(1)

    looks: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        error_of(scenario, backend)


# ------------------------------------------------------------------------------ what is found in a simulation


@BOTH
def test_a_plain_runtime_in_a_simulation_is_a_part_of_it(backend: BackendName) -> None:
    """So a service may make its own."""

    async def scenario(simulation: Simulation) -> None:
        async with actorsched.Runtime() as rt:
            await rt.run(anyio.sleep, 3600)
            assert rt.now == simulation.now == 3600

    assert explore(scenario, 10, backend=backend).simulated == 36_000


@BOTH
def test_what_goes_round_in_circles_at_one_instant_is_given_up_sooner(
    backend: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actorsched.testing.world, "_STEPS_AT_ONCE", 2000)

    async def scenario(simulation: Simulation) -> None:
        for _ in range(30):  # many steps, but time goes on
            await anyio.sleep(1)
            for _ in range(100):
                await anyio.sleep(0)
        while True:
            await anyio.sleep(0)

    error = error_of(scenario, backend)
    assert isinstance(error, Endless)
    assert "goes round in circles" in str(error)
    assert "`await anyio.sleep(0)`" in str(error)


def test_one_seed_is_run_once_with_its_log() -> None:
    runs: list[int] = []

    async def scenario(simulation: Simulation) -> None:
        runs.append(1)
        simulation._world.note("probe", "here")
        raise KeyError

    found = find_failure(scenario, [7])
    assert isinstance(found, Failure)
    assert found.seed == found.shortest == 7
    assert [entry.text for entry in found.log if entry.kind == "probe"] == ["here"]
    assert len(runs) == 1


def test_what_is_printed_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(simulation: Simulation) -> None:
        print("once")
        raise KeyError

    find_failure(scenario, 3)
    assert capsys.readouterr().out == "once\n"


def test_a_long_story_is_told_from_its_beginning_and_its_end() -> None:
    async def scenario(simulation: Simulation) -> None:
        for number in range(1000):
            simulation._world.note("probe", f"line {number}")
        raise KeyError

    failure = find_failure(scenario, [0])
    told = str(failure)
    assert "line 0\n" in told
    assert "line 999" in told
    assert "... 700 lines are left out here ..." in told


def test_a_draw_that_is_too_high_is_refused() -> None:
    async def scenario(simulation: Simulation) -> None:
        simulation._world.pick(4, "which way")

    with pytest.raises(ValueError, match=r"draw\(3\) answered 8; answer with a number from 0 to 3"):
        drive(scenario, lambda last: last + 5)

"""Simulated hosts: the same messages as with processes, in virtual time, with faults at any of them."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import HostDied, Hosts, NotTransferable, Retry, TaskCancelled
from actorsched.exceptions import TaskTimeout
from actorsched.testing import replay
from tests import simulated_work as work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorsched.testing import Simulation

PLAIN = "s:1:"
"""The seed of the run of which all choices are plain."""

Scenario = "Callable[[Any], Awaitable[None]]"


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    """What is simulated."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    work.SEEN.clear()


def play(scenario: Callable[[Any], Awaitable[None]], loop: str, *seeds: int) -> None:
    """Run a scenario plainly, and under these seeds."""
    for seed in (PLAIN, *seeds):
        work.SEEN.clear()
        replay(scenario, seed, backend=loop)  # type: ignore[arg-type]


def hosts_of(simulation: Simulation) -> Any:
    """The simulated hosts."""
    return simulation._world.hosts


class Fates:
    """Have something befall a host at its nth frame, and count the frames."""

    def __init__(self, at: int = 0, what: Any = "crash") -> None:
        self.at, self.what = at, what
        self.asked = 0
        self.struck: Any = None

    def __call__(self, host: Any, frame: Any, outward: bool) -> Any:
        self.asked += 1
        if self.asked != self.at:
            return None
        self.struck = host
        return self.what


# ------------------------------------------------------------------------------------------------------ tasks


def test_functions_of_both_kinds_run_in_a_host_and_no_process_is_started(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(hosts=Hosts(max=2)) as rt:
            assert await rt.run(work.double, 4, host="process") == 8
            assert await rt.run(work.nap, 2.0, "slept", host="process") == "slept"
            (host,) = hosts_of(simulation).hosts
            assert host.kind == "tasks"
            assert host.pid > 4_194_304
            assert host.frames > 4
            assert rt.stats().hosts
        assert hosts_of(simulation).hosts == []

    play(scenario, loop, 1, 2, 3)


def test_many_tasks_spread_over_hosts_in_virtual_time(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(hosts=Hosts(max=3)) as rt:
            refs = [await rt.spawn(work.nap, 1.0, n, host="process") for n in range(9)]
            assert [await ref for ref in refs] == list(range(9))
            assert hosts_of(simulation).born == 3
            assert simulation.now < 20

    play(scenario, loop, 1, 2)


def test_errors_arrive_with_their_type_and_traceback(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            for function in (work.fail, work.fail_async):
                with pytest.raises(LookupError, match="on purpose"):
                    await rt.run(function, "on purpose", host="process")

    play(scenario, loop, 1)


def test_what_cannot_travel_is_refused_as_by_a_process(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            with pytest.raises(NotTransferable):
                await rt.run(work.double, __import__("threading").Lock(), host="process")
            with pytest.raises(NotTransferable, match="result of task"):
                await rt.run(work.unpicklable, host="process")

    play(scenario, loop)


def test_context_variables_logs_progress_and_deferred_calls_work(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            token = work.WHO.set("me")
            try:
                assert await rt.run(work.who, name="asker", host="process") == ("me", "asker", 1)
            finally:
                work.WHO.reset(token)
            ref = await rt.spawn(work.report, name="reporter", host="process")
            await simulation.advance(0.5)
            assert ref.progress == (0.5, "half")
            await ref
            assert work.SEEN == ["undone"]

    with caplog.at_level(logging.INFO):
        play(scenario, loop)
    (record,) = [record for record in caplog.records if record.name == "tests.simulated"]
    here: Any = record
    assert (here.task, here.host, here.processName) == ("reporter", "process", "host 1")
    assert here.process != os.getpid()


def test_a_time_limit_stops_code_in_a_host_at_its_next_await_or_checkpoint(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            for function, args in ((work.nap, (1000.0,)), (work.spin, ())):
                begun = simulation.now
                with pytest.raises(TaskTimeout):
                    await rt.run(function, *args, host="process", timeout="2s")
                assert 2.0 <= simulation.now - begun < 9.0
                assert work.SEEN.pop() == ("left", None)
            assert hosts_of(simulation).born == 1 or simulation.seed != PLAIN

    play(scenario, loop, 1, 2)


def test_cancelling_a_task_stops_it_and_the_host_stays(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(hosts=Hosts(max=1)) as rt:
            ref = await rt.spawn(work.nap, 1000.0, host="process")
            behind = await rt.spawn(work.nap, 1000.0, "behind", host="process")
            await simulation.advance("1s")
            await behind.cancel()
            await ref.cancel("enough")
            with pytest.raises(TaskCancelled, match="enough"):
                await ref
            assert ("begun", "behind") not in work.SEEN
            assert await rt.run(work.double, 1, host="process") == 2
            assert hosts_of(simulation).born == 1

    play(scenario, loop)


def test_a_task_that_does_not_stop_loses_its_host_after_the_grace_period(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            with pytest.raises(TaskTimeout):
                await rt.run(work.stubborn, host="process", timeout="1s")
            assert 2.0 <= simulation.now < 2.1
            assert await rt.run(work.double, 1, host="process") == 2
            assert hosts_of(simulation).born == 2

    play(scenario, loop)


def test_what_waits_behind_a_long_task_is_taken_back_and_runs_elsewhere(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(hosts=Hosts(max=2)) as rt:
            for number in range(40):  # the host is found to be quick, and is given more in advance
                await rt.run(work.double, number, host="process")
            refs = [await rt.spawn(work.nap, 5.0, n, host="process") for n in range(4)]
            assert [await ref for ref in refs] == [0, 1, 2, 3]
            assert simulation.now < 13 or simulation.seed != PLAIN
            assert [ref.attempt for ref in refs] == [1, 1, 1, 1]

    play(scenario, loop, 1, 2)


def test_code_in_a_host_asks_tells_and_spawns_outside(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(hosts=Hosts(max=2)) as rt:
            counter = await rt.spawn(work.Counter)
            assert await rt.run(work.ask_outside, counter, 3, host="process") == 42 + 13

    play(scenario, loop, 1, 2, 3)


def test_a_plain_function_may_ask_in_an_event_loop_of_its_own(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            counter = await rt.spawn(work.Counter)
            refs = [
                await rt.spawn(work.ask_in_a_loop_of_its_own, counter, host="process", timeout="9s")
                for _ in range(2)
            ]
            assert sum([await ref for ref in refs]) in (10, 12, 13)
            assert simulation.now < 3 or simulation.seed != PLAIN

    play(scenario, loop, 1)


def test_a_more_urgent_task_suspends_the_host_of_another(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(hosts=Hosts(max=1)) as rt:
            slow = await rt.spawn(work.nap, 2.0, "slow", host="process", priority=1)
            await simulation.advance("1s")
            urgent = await rt.spawn(work.nap, 3.0, "urgent", host="process", priority=5)
            assert await urgent == "urgent"
            assert ("done", "slow") not in work.SEEN
            assert await slow == "slow"
            assert slow.attempt == 1

    play(scenario, loop)


# ----------------------------------------------------------------------------------------------------- actors


def test_actors_live_in_hosts_and_answer(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            actor = await rt.spawn(work.Hosted, 5)
            assert await actor.ask.add(1) == 6
            actor.tell(work.Hosted.add, 10)
            assert await actor.ask.slowly(2.0) == 16
            assert [n async for n in actor.ask.numbers(3)] == [0, 1, 2]
            with pytest.raises(LookupError):
                await actor.ask.fail()
            assert [host.kind for host in hosts_of(simulation).hosts] == ["actors"]
        assert work.SEEN.count("closed") == 1
        assert work.SEEN[-1].startswith("stop")

    play(scenario, loop, 1, 2, 3)


def test_a_stream_that_is_left_early_is_closed_in_its_host(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            actor = await rt.spawn(work.Hosted)
            async for number in actor.ask.numbers(1000):
                if number == 2:
                    break
            await actor.ask.add(1)
            await simulation.advance("5s")
            assert "closed" in work.SEEN

    play(scenario, loop, 1)


def test_an_actor_is_started_again_when_its_host_has_crashed(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            actor = await rt.spawn(work.Hosted, 5)
            await actor.ask.add(1)
            asked = await rt.spawn(_ask_slowly, actor)
            await simulation.advance("1s")
            hosts_of(simulation).hosts[0].crash(11)
            with pytest.raises(HostDied, match="SIGSEGV"):
                await asked
            assert await actor.ask.add(1) == 6
            assert work.SEEN.count("start") == 2
            assert hosts_of(simulation).born == 2

    play(scenario, loop)


def test_actors_move_to_another_host_when_theirs_has_done_enough(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(hosts=Hosts(max_tasks=4)) as rt:
            actor = await rt.spawn(work.Hosted)
            for _ in range(10):
                await actor.ask.add(1)
            await simulation.advance("20s")
            assert hosts_of(simulation).born >= 3
            assert len(hosts_of(simulation).hosts) == 1

    play(scenario, loop, 1)


# ----------------------------------------------------------------------------------------------------- faults


def test_a_crash_ends_the_task_with_its_host_and_cleanup_does_not_run(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            ref = await rt.spawn(work.nap, 10.0, host="process")
            await simulation.advance("1s")
            hosts_of(simulation).hosts[0].crash()
            with pytest.raises(HostDied, match="was killed by SIGKILL"):
                await ref
            await simulation.advance("1min")
            assert work.SEEN == [("begun", None)]

    play(scenario, loop)


def test_a_task_that_may_is_run_again_after_a_crash(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            ref = await rt.spawn(work.nap, 10.0, 1, host="process", retry=Retry(crashes=1))
            await simulation.advance("3s")
            hosts_of(simulation).hosts[0].crash()
            assert await ref == 1
            assert ref.attempt == 2

    play(scenario, loop)


async def _all_kinds(simulation: Any, fates: Fates) -> None:
    """Some of everything, while a host may suffer at any frame: each has one end, and nothing is left."""
    simulation._world.fate = fates
    async with simulation.runtime(hosts=Hosts(max=2, start_timeout="3s")) as rt:
        counter = await rt.spawn(work.Counter)
        refs = [
            await rt.spawn(work.double, 1, host="process", retry=Retry(crashes=1), timeout="6s"),
            await rt.spawn(work.nap, 0.5, 2, host="process", timeout="6s"),
            await rt.spawn(work.ask_outside, counter, 1, host="process", timeout="6s"),
            await rt.spawn(work.count, 5, host="process", timeout="6s"),
            await rt.spawn(work.nap, 1000.0, 3, host="process", timeout="2s"),
            await rt.spawn(_use_actor, timeout="12s"),
        ]
        ends = [await ref.outcome() for ref in refs]
        assert all(end.status.name in ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT") for end in ends)
        if not fates.at:
            assert [end.value for end in ends] == [2, 2, 53, 5, None, 3]
        assert ends[0].value == 2 or fates.what == "hang"
    assert hosts_of(simulation).hosts == []


async def _ask_slowly(actor: Any) -> int:
    return int(await actor.ask.slowly(10.0))


async def _use_actor() -> int:
    from actorsched import current

    actor = await current().runtime.spawn(work.Hosted)
    with anyio.move_on_after(8):
        await actor.ask.add(1)
        numbers = [n async for n in actor.ask.numbers(3)]
        actor.tell(work.Hosted.add, 1)
        return len(numbers)
    return -1


@pytest.mark.parametrize("what", ["crash", "hang", ("suspend", 2.5), ("lag", 1.5)], ids=str)
def test_whatever_befalls_a_host_at_any_frame_all_have_one_end(loop: str, what: Any) -> None:
    count = Fates()

    async def counted(simulation: Any) -> None:
        await _all_kinds(simulation, count)

    replay(counted, PLAIN, backend=loop)  # type: ignore[arg-type]
    assert count.asked > 30
    for at in range(1, count.asked + 1):
        fates = Fates(at, what)

        async def struck(simulation: Any, fates: Fates = fates) -> None:
            await _all_kinds(simulation, fates)

        replay(struck, PLAIN, backend=loop)  # type: ignore[arg-type]
        assert fates.struck is not None


def test_crashes_under_many_seeds_leave_nothing(loop: str) -> None:
    for seed in range(15):

        async def struck(simulation: Any, at: int = 4 * seed + 1) -> None:
            await _all_kinds(simulation, Fates(at))

        replay(struck, seed, backend=loop)  # type: ignore[arg-type]


def test_a_host_that_hangs_is_killed_when_its_task_has_to_stop(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            ref = await rt.spawn(work.nap, 5.0, host="process", timeout="3s")
            await simulation.advance("1s")
            (host,) = hosts_of(simulation).hosts
            host.hang()
            assert host.state == "hung"
            with pytest.raises(TaskTimeout):
                await ref
            assert 4.0 <= simulation.now < 4.1
            assert not host.alive
            assert work.SEEN == [("begun", None)]

    play(scenario, loop)


def test_a_host_that_hangs_as_it_starts_is_given_up_after_the_start_timeout(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        simulation._world.fate = Fates(1, "hang")
        async with simulation.runtime(hosts=Hosts(start_timeout="3s")) as rt:
            with pytest.raises(HostDied, match="was not ready within 3 s"):
                await rt.run(work.double, 1, host="process")
            assert simulation.now == pytest.approx(3.0, abs=0.01)

    play(scenario, loop)


def test_a_suspended_host_does_nothing_and_goes_on_where_it_was(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            ref = await rt.spawn(work.nap, 2.0, "late", host="process")
            await simulation.advance("1s")
            hosts_of(simulation).hosts[0].suspend(4.0)
            await simulation.advance("3s")
            assert work.SEEN == [("begun", "late")]
            assert await ref == "late"
            assert simulation.now == 5.0

    play(scenario, loop)


@pytest.mark.parametrize("fate", ["suspend", "crash"])
def test_tasks_of_asyncio_that_code_in_a_host_has_started_are_frozen_with_it(fate: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            ref = await rt.spawn(work.nap_in_a_group, 2.0, host="process")
            await simulation.advance("1s")
            (host,) = hosts_of(simulation).hosts
            if fate == "suspend":
                host.suspend(10.0)
            else:
                host.crash()
            await simulation.advance("5s")
            assert work.SEEN == [("begun", "one"), ("begun", "two")]
            outcome = await ref.outcome()
            assert (outcome.error is None) == (fate == "suspend")

    play(scenario, "asyncio")


def test_what_a_function_leaves_running_ends_with_it() -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            assert await rt.run(work.leave_something, host="process") == "over"
            assert work.SEEN == [("begun", "left"), ("left", "left")]
            assert simulation.now == 1.0

    play(scenario, "asyncio")
    work.LEFT.clear()


def test_a_slow_host_takes_longer_in_both_directions(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            await rt.run(work.double, 1, host="process")
            hosts_of(simulation).hosts[0].lag(3.0)
            await rt.run(work.double, 1, host="process")
            assert simulation.now == 6.0
            hosts_of(simulation).hosts[0].lag(0.0)

    play(scenario, loop)


def test_the_same_seed_gives_the_same_frames(loop: str) -> None:
    def run() -> list[str]:
        lines: list[str] = []

        async def scenario(simulation: Any) -> None:
            simulation._world.note = lambda kind, text: lines.append(f"{simulation.now} {kind} {text}")
            await _all_kinds(simulation, Fates())

        replay(scenario, 7, backend=loop)  # type: ignore[arg-type]
        return lines

    first = run()
    assert len(first) > 60
    assert run() == first

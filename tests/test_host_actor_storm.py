"""Hosts with many actors that die: who goes with them, who does not, and a storm of it."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter as Counted
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Hosts, Runtime, Supervise
from actorsched._system import load_monitor
from actorsched.exceptions import ActorschedError, HostDied
from tests.host_actor_work import Scribe
from tests.host_help import Fifo, actor_hosts, adds_up, kill, lines, spread_out, until
from tests.host_work import Counter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TWO = pytest.mark.parametrize("backend", ["uvloop", "trio"], indirect=True)


async def spread(scope: Any, folder: Path, count: int, **options: Any) -> tuple[list[Any], list[Path]]:
    """So many actors, one after the other, with their logs. With two hosts, every other one shares one."""
    logs = [folder / f"{number}" for number in range(count)]
    return [await scope.spawn(Scribe, str(log), **options) for log in logs], logs


def pid_of(ref: Any) -> int:
    pid: int = ref._cell.instance.port.link.pid
    return pid


# -------------------------------------------------------------------------------- one host, many actors


async def test_the_death_of_a_host_is_one_failure_however_many_lived_there(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt, rt.scope(Supervise(max_restarts=1, period=60)) as scope:
        refs, logs = await spread(scope, tmp_path, 8)
        loop = await scope.spawn(Counter, 1, host="loop")
        for number, ref in enumerate(refs):
            ref.tell(Scribe.put, number)
        kill(pid_of(refs[0]))
        await until(lambda: all(lines(log).count("start") == 2 for log in logs))
        for number, ref in enumerate(refs):
            await ref.ask.count()
            assert lines(logs[number]).count(str(number)) <= 1
        assert await loop.ask.add(1) == 2, "who lives elsewhere goes on"
        assert adds_up(rt)


@ONE
async def test_hosts_that_die_again_and_again_are_too_much_for_the_supervisor(tmp_path: Path) -> None:
    spawned: list[Any] = []
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with pytest.RaisesGroup(HostDied):
            async with rt.scope(Supervise(max_restarts=1, period=60)) as scope:
                refs, logs = await spread(scope, tmp_path, 3)
                spawned += refs
                kill(pid_of(refs[0]))
                await until(lambda: all(lines(log).count("start") == 2 for log in logs))
                kill(await refs[0].ask.pid())
                await anyio.sleep_forever()
        assert [ref.alive for ref in spawned] == [False] * 3
        assert adds_up(rt)


@ONE
@pytest.mark.parametrize(
    ("strategy", "again"),
    [("one_for_one", [1, 3]), ("rest_for_one", [1, 2, 3, 4]), ("one_for_all", [0, 1, 2, 3, 4])],
)
async def test_the_strategy_says_who_in_other_hosts_goes_with_the_actors_of_a_dead_one(
    strategy: Any, again: list[int], tmp_path: Path
) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt, rt.scope(Supervise(strategy, max_restarts=1)) as scope:
        spread_out(rt)
        refs, logs = await spread(scope, tmp_path, 5)
        homes = [pid_of(ref) for ref in refs]
        assert homes[0] == homes[2] == homes[4] != homes[1] == homes[3]
        for number, ref in enumerate(refs):
            ref.tell(Scribe.put, f"kept {number}")
        kill(homes[1])
        await until(lambda: [n for n in range(5) if lines(logs[n]).count("start") == 2] == again)
        for number, ref in enumerate(refs):
            await ref.ask.count()
            assert lines(logs[number]).count(f"kept {number}") <= 1
        assert [lines(log).count("start") for log in logs] == [2 if n in again else 1 for n in range(5)]
        assert adds_up(rt)


@ONE
async def test_actors_of_a_host_that_somebody_has_stopped_go_on_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_monitor, "CALM", 0.01)
    async with Runtime(hosts=Hosts(max=1)) as rt, rt.scope(Supervise(max_restarts=1)) as scope:
        refs, logs = await spread(scope, tmp_path, 3)
        stopped = pid_of(refs[0])
        os.kill(stopped, signal.SIGSTOP)
        with pytest.raises(HostDied, match="stopped by somebody else"):
            await refs[0].ask.put("perhaps")
        assert [await ref.ask.count() for ref in refs] == [0, 0, 0]
        assert [lines(log).count("start") for log in logs] == [2, 2, 2]
        assert pid_of(refs[0]) != stopped
        assert adds_up(rt)


@ONE
async def test_the_death_of_a_host_is_logged_once_for_each_of_its_actors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            refs, _ = await spread(rt, tmp_path, 3)
            refs[0].tell(Scribe.hold, fifo.path, "never")
            kill(await fifo.told())
            assert [await ref.ask.count() for ref in refs] == [0, 0, 0]
            errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
            assert len(errors) == 3
            assert all("failed and is restarted" in error for error in errors)


@ONE
async def test_who_comes_back_after_the_death_of_a_host_is_said_by_its_restart_type(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        kinds: list[Any] = ["permanent", "transient", "temporary"]
        refs = [await rt.spawn(Scribe, str(tmp_path / kind), restart=kind) for kind in kinds]
        kill(pid_of(refs[0]))
        ended = await rt.monitor(refs[2])
        assert isinstance(ended.error, HostDied)
        assert [await ref.ask.count() for ref in refs[:2]] == [0, 0]
        assert [lines(tmp_path / kind).count("start") for kind in kinds] == [2, 2, 1]


@ONE
async def test_a_handler_that_burns_the_processor_costs_its_neighbours_a_restart_and_no_message(
    tmp_path: Path,
) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            refs, logs = await spread(rt, tmp_path, 3)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(refs[0].ask.spin, fifo.path)
                    await fifo.told()
                    refs[1].tell(Scribe.put, "kept")
                    refs[1].tell(Scribe.put, "kept too")
                    scope.cancel()
            assert [await ref.ask.count() for ref in refs] in ([0, 1, 0], [0, 2, 0])
            assert lines(logs[1])[-1] == "kept too"
            assert all(lines(log).count("start") == 2 for log in logs)
            assert adds_up(rt)


# ------------------------------------------------------------------------------------------------- a storm


@TWO
@pytest.mark.deadline(90)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_hundred_actors_in_hosts_that_die_and_are_replaced_lose_nothing_and_live_on(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    left, ends = 400, list[str]()

    async with Runtime(hosts=Hosts(max=2)) as rt:
        spread_out(rt)
        async with rt.scope(Supervise(max_restarts=1000)) as scope:
            refs, logs = await spread(scope, tmp_path, 100)
            assert len({pid_of(ref) for ref in refs}) == 2

            async def one(number: int) -> None:
                ref, other = chance.choice(refs), chance.choice(refs)
                match number % 6:
                    case 0:
                        ref.tell(Scribe.put, number)
                    case 1:
                        await ref.telling(Scribe.put, number)
                    case 2:
                        await ref.ask.put(number)
                    case 3:
                        await ref.ask.put_both(other, number)
                    case 4:
                        assert [item async for item in ref.ask.numbers(3)] == [0, 1, 2]
                    case _:
                        with anyio.CancelScope() as patience:
                            async with anyio.create_task_group() as group:
                                group.start_soon(ref.ask.put, number)
                                await anyio.lowlevel.checkpoint()
                                patience.cancel()

            async def some() -> None:
                nonlocal left
                while left:
                    left -= 1
                    try:
                        await one(left)
                        ends.append("done")
                    except ActorschedError as error:
                        ends.append(type(error).__name__)

            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(some)
                while left:
                    enough = left - chance.randrange(30, 100)
                    await until(lambda enough=enough: left <= max(0, enough))  # type: ignore[misc]
                    port: Any = chance.choice([host for host in actor_hosts(rt) if host.link.pid] or [None])
                    if port is not None and chance.random() < 0.6:
                        kill(port.link.pid)
                    elif port is not None:
                        port.recycle("is to be replaced")
            assert len(ends) == 400
            assert set(ends) <= {"done", "HostDied", "ActorStopped", "AskCycle"}, "all of them were answered"
            written = Counted(line for log in logs for line in lines(log) if line.isdigit())
            assert all(written[str(n)] <= (2 if n % 6 == 3 else 1) for n in range(400)), (
                "nothing is done twice"
            )
            assert [await lives(ref) for ref in refs] == [True] * 100
        assert adds_up(rt)
        assert len(actor_hosts(rt)) <= 2


async def lives(ref: Any) -> bool:
    """Whether it answers: perhaps its host was killed a moment ago, and not everybody knows yet."""
    while True:
        try:
            return bool(await ref.ask.count() >= 0)
        except HostDied:
            continue

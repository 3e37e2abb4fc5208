"""Actors that move: their host is replaced, and they go on in another as if nothing had been."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import ExitReason, Hosts, Runtime, Supervise
from actorsched._core.load import HostLoad, LoadSample
from actorsched._system import host_port, load_monitor
from actorsched.exceptions import ActorStopped, HostDied
from tests.host_actor_work import Hoarder, Lingering, Parent, Scribe, StartsOnce
from tests.host_help import Fifo, actor_hosts, adds_up, alive, kill, lines, spread_out, until
from tests.host_work import Counter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from actorsched.options import Restart

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TWO = pytest.mark.parametrize("backend", ["uvloop", "trio"], indirect=True)
HOSTS = Hosts(max=1)
STRICT = Supervise(max_restarts=0)


def home(ref: Any) -> Any:
    """The supervisor of the host in which an actor lives."""
    return ref._cell.instance.port


def replace_host(ref: Any) -> None:
    """Have the host of an actor replaced."""
    home(ref).recycle("is to be replaced")


async def moved(ref: Any, log: Path, times: int = 2) -> None:
    """Wait until an actor has begun another life, and answers."""
    await until(lambda: lines(log).count("start") == times)
    await ref.ask.pid()


# -------------------------------------------------------------------------------------------- when, and how


async def test_after_so_many_messages_the_actors_of_a_host_go_on_in_another(tmp_path: Path) -> None:
    logs = [tmp_path / name for name in "abc"]
    async with Runtime(hosts=Hosts(max=1, max_tasks=10)) as rt, rt.scope(STRICT) as scope:
        refs = [await scope.spawn(Scribe, str(log)) for log in logs]
        first = await refs[0].ask.pid()
        for number in range(20):
            for ref in refs:
                ref.tell(Scribe.put, number)
        for ref, log in zip(refs, logs, strict=True):
            await ref.ask.count()
            said = lines(log)
            assert [line for line in said if line.isdigit()] == [str(n) for n in range(20)], (
                "each once, in order"
            )
            assert said.count("start") > 1
            assert said.count("start") - said.count("stop moved") in (0, 1), "it may be moving again"
        assert await refs[0].ask.pid() != first
        await until(lambda: not alive(first))
        assert len(actor_hosts(rt)) <= 1
        assert adds_up(rt)


@TWO
async def test_a_handler_that_runs_comes_to_its_end_first_and_what_is_queued_stays(tmp_path: Path) -> None:
    log, other_log, go = tmp_path / "log", tmp_path / "other", tmp_path / "go"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt, rt.scope(STRICT) as scope:
            ref, other = await scope.spawn(Scribe, str(log)), await scope.spawn(Scribe, str(other_log))
            old = home(ref)
            held: list[str] = []

            async def hold() -> None:
                held.append(await ref.ask.hold(fifo.path, str(go)))

            async with anyio.create_task_group() as group:
                group.start_soon(hold)
                await fifo.told()
                ref.tell(Scribe.put, "after")
                replace_host(ref)
                await moved(other, other_log)
                assert home(other) is not old, "who had nothing to do has gone ahead"
                assert home(ref) is old
                go.touch()
            assert held == ["held"]
            assert await ref.ask.count() == 1
            assert lines(log) == ["start", "held", "stop moved", "start", "after"]
            await until(lambda: actor_hosts(rt) == rt._system.staff.ports == [home(ref)])
            assert adds_up(rt)


@ONE
async def test_nobody_who_watches_an_actor_is_told_that_it_moves(tmp_path: Path) -> None:
    log, told = tmp_path / "log", list[ExitReason]()
    async with Runtime(hosts=HOSTS) as rt, rt.scope(STRICT) as scope:
        ref = await scope.spawn(Scribe, str(log), name="scribe", restart="temporary")
        linked = await scope.spawn(Counter, 5, host="loop")
        linked.link(ref)
        await linked.ask.add(1)

        async def watch() -> None:
            told.append(await rt.monitor(ref))

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await anyio.lowlevel.checkpoint()
            replace_host(ref)
            await moved(ref, log)
            assert rt.lookup("scribe") == ref
            assert ref.alive
            assert await linked.ask.add(0) == 6
            assert told == []
            await ref.stop()
        assert [reason.kind for reason in told] == ["stopped"]
        assert lines(log) == ["start", "stop moved", "start", "stop stopped"]


@ONE
async def test_children_and_timers_end_with_the_life_and_begin_with_the_next(tmp_path: Path) -> None:
    log, child_log = tmp_path / "log", tmp_path / "log.child"
    async with Runtime(hosts=HOSTS) as rt:
        ref = await rt.spawn(Parent, str(log))
        child = await ref.ask.child()
        replace_host(ref)
        await moved(ref, log)
        assert not child.alive
        assert (await ref.ask.child()).alive
        assert lines(child_log)[0] == "start"
        assert lines(child_log)[-2:] == ["stop shutdown", "start"]
        assert len(ref._cell.more().timers) == 1
        assert adds_up(rt)


@ONE
async def test_a_host_that_has_grown_too_big_is_replaced_and_its_actors_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_monitor, "CALM", 0.01)
    log, other_log = tmp_path / "log", tmp_path / "other"
    async with Runtime(hosts=Hosts(max=1, max_rss="100 MB")) as rt, rt.scope(STRICT) as scope:
        ref, other = await scope.spawn(Hoarder, str(log)), await scope.spawn(Scribe, str(other_log))
        first = await ref.ask.pid()
        await ref.ask.hoard(150_000_000)
        other.tell(Scribe.put, "kept")
        await moved(ref, log)
        await moved(other, other_log)
        assert await ref.ask.pid() != first
        assert lines(other_log).count("kept") == 1
        assert adds_up(rt)


@ONE
async def test_an_actor_moves_again_and_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=Hosts(max=1, max_tasks=1)) as rt, rt.scope(STRICT) as scope:
        ref = await scope.spawn(Scribe, str(log))
        pids = [await ref.ask.pid() for _ in range(4)]
        assert len(set(pids)) == 4, "one message in each host"
        assert adds_up(rt)


# ----------------------------------------------------------------------------------------------- streams


async def test_a_stream_comes_to_its_end_before_its_actor_moves(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt, rt.scope(STRICT) as scope:
        ref = await scope.spawn(Scribe, str(log))
        got: list[int] = []
        async for number in ref.ask.numbers(20):
            got.append(number)
            if number == 5:
                replace_host(ref)
            if number == 10:
                assert await ref.ask.put("meanwhile") == 1, "whoever reads may ask for something"
        assert got == list(range(20))
        await moved(ref, log)
        assert lines(log) == ["start", "meanwhile", "closed", "stop moved", "start"]
        assert adds_up(rt)


@TWO
async def test_a_stream_that_is_left_lets_its_actor_move(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt, rt.scope(STRICT) as scope:
        ref = await scope.spawn(Scribe, str(log))
        async for number in ref.ask.numbers(20):
            if number == 5:
                replace_host(ref)
                break
        await moved(ref, log)
        assert lines(log) == ["start", "closed", "stop moved", "start"]


async def test_a_stream_that_outlasts_all_patience_fails_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_port, "PATIENCE", 0.02)
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt, rt.scope(STRICT) as scope:
        ref = await scope.spawn(Scribe, str(log))
        got: list[int] = []
        with pytest.raises(
            ActorStopped, match="had to move to another host process, because it is to be"
        ) as caught:
            async for number in ref.ask.numbers(20):
                got.append(number)
                if number == 5:
                    replace_host(ref)
                    await moved(ref, log)
        assert caught.value.reason == "moved"
        assert got == [0, 1, 2, 3, 4, 5]
        assert await ref.ask.put("afterwards") == 1
        assert [number async for number in ref.ask.numbers(3)] == [0, 1, 2]
        assert adds_up(rt)


# --------------------------------------------------------------------------- what happens in the meantime


@contextlib.asynccontextmanager
async def on_the_move(
    tmp_path: Path, supervise: Supervise = STRICT, *, restart: Restart = "transient"
) -> AsyncGenerator[tuple[Any, Path, Path, Any, Runtime]]:
    """An actor in the midst of its move, the log of it, what lets it go on, its scope and its runtime."""
    log, go = tmp_path / "log", tmp_path / "go"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt, rt.scope(supervise) as scope:
            ref = await scope.spawn(Lingering, str(log), fifo.path, str(go), restart=restart)
            replace_host(ref)
            await fifo.told()
            yield ref, log, go, scope, rt
            assert adds_up(rt)


@ONE
async def test_messages_that_come_while_an_actor_moves_are_handled_where_it_goes(tmp_path: Path) -> None:
    async with on_the_move(tmp_path) as (ref, log, go, _, _):
        for number in range(3):
            ref.tell(Scribe.put, number)
        async with anyio.create_task_group() as group:
            group.start_soon(ref.ask.put, "asked")
            await anyio.lowlevel.checkpoint()
            go.touch()
        assert lines(log) == ["start", "stop moved", "start", "0", "1", "2", "asked"]


@ONE
async def test_whoever_stops_an_actor_that_moves_has_the_messages_before_that_handled(tmp_path: Path) -> None:
    async with on_the_move(tmp_path) as (ref, log, go, _, _):
        ref.tell(Scribe.put, "before")
        async with anyio.create_task_group() as group:
            group.start_soon(ref.stop)
            await until(lambda: ref._cell.leaving is not None)
            go.touch()
        assert not ref.alive
        assert lines(log) == ["start", "stop moved", "start", "before", "stop stopped"]


@ONE
async def test_an_actor_that_is_stopped_with_nothing_to_do_does_not_move_for_that(tmp_path: Path) -> None:
    async with on_the_move(tmp_path) as (ref, log, go, _, rt):
        async with anyio.create_task_group() as group:
            group.start_soon(ref.stop)
            await until(lambda: ref._cell.leaving is not None)
            go.touch()
        assert (await rt.monitor(ref)).kind == "stopped"
        assert lines(log) == ["start", "stop moved"]


@TWO
async def test_whoever_kills_an_actor_that_moves_does_not_wait(tmp_path: Path) -> None:
    async with on_the_move(tmp_path) as (ref, log, _, _, rt):
        ref.tell(Scribe.put, "never")
        await ref.kill()
        assert (await rt.monitor(ref)).kind == "killed"
        assert lines(log) == ["start"]


@ONE
async def test_a_sibling_that_fails_restarts_an_actor_that_moves(tmp_path: Path) -> None:
    async with on_the_move(tmp_path, Supervise("one_for_all", max_restarts=1)) as (ref, log, go, scope, _):
        sibling = await scope.spawn(Counter, 1, host="loop")
        sibling.tell(Counter.fail, "one for all")
        ref.tell(Scribe.put, "kept")
        await until(lambda: ref._cell.ending.kind == "shutdown")
        go.touch()
        assert await ref.ask.count() == 1
        assert lines(log) == ["start", "stop moved", "start", "kept"]
        assert await sibling.ask.add(1) == 2


@ONE
async def test_a_linked_actor_that_fails_takes_one_that_moves_along(tmp_path: Path) -> None:
    async with on_the_move(tmp_path, Supervise(max_restarts=2), restart="temporary") as (
        ref,
        log,
        go,
        scope,
        rt,
    ):
        linked = await scope.spawn(Counter, 1, host="loop")
        linked.link(ref)
        linked.tell(Counter.fail, "linked")
        assert await linked.ask.add(0) == 1
        go.touch()
        assert (await rt.monitor(ref)).kind == "failed"
        assert lines(log) == ["start", "stop moved"]


@ONE
async def test_a_host_that_dies_as_its_actors_leave_costs_no_restart(tmp_path: Path) -> None:
    async with on_the_move(tmp_path) as (ref, log, go, _, rt):
        ref.tell(Scribe.put, "kept")
        kill(rt._system.staff.links[0].pid)
        await moved(ref, log)
        go.touch()
        assert lines(log) == ["start", "start", "kept"]


@ONE
async def test_a_life_that_cannot_begin_elsewhere_is_a_failure_and_counts(tmp_path: Path) -> None:
    log, linked_log = tmp_path / "log", tmp_path / "linked"
    async with Runtime(hosts=HOSTS) as rt:
        ref = await rt.spawn(StartsOnce, str(log))
        linked = await rt.spawn(Counter, 1, str(linked_log), host="loop")
        linked.link(ref)
        ref.tell(Scribe.put, "kept")
        await ref.ask.count()
        replace_host(ref)
        await moved(ref, log, 3)
        assert lines(log) == ["start", "kept", "stop moved", "start", "start"]
        await until(lambda: lines(linked_log).count("start 1") == 2)
    async with Runtime(hosts=HOSTS) as rt:
        with pytest.RaisesGroup(OSError):
            async with rt.scope(STRICT) as scope:
                replace_host(await scope.spawn(StartsOnce, str(tmp_path / "other")))
                await anyio.sleep_forever()


@ONE
async def test_an_actor_that_moves_as_its_runtime_ends_is_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt:
        ref = await rt.spawn(Scribe, str(log))
        ref.tell(Scribe.put, "told")
        replace_host(ref)
    assert "told" in lines(log)
    assert lines(log)[-1] in ("stop shutdown", "stop moved")


@TWO
async def test_actors_of_a_host_that_is_replaced_while_they_start_move_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt, rt.scope(STRICT) as scope:
        async with anyio.create_task_group() as group:

            async def start() -> None:
                ref = await scope.spawn(Scribe, str(log))
                await moved(ref, log)
                assert await ref.ask.put("there") == 1

            group.start_soon(start)
            await until(lambda: actor_hosts(rt) and len(actor_hosts(rt)[0]))
            actor_hosts(rt)[0].recycle("is to be replaced")
        assert lines(log)[:4] == ["start", "stop moved", "start", "there"]


# ----------------------------------------------------------------------------------------------- placement


async def test_a_host_without_actors_ends_after_a_while(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=2, idle_timeout=0.02)) as rt:
        ref = await rt.spawn(Scribe, str(tmp_path / "log"))
        pid = await ref.ask.pid()
        await ref.stop()
        await until(lambda: not rt._system.staff.ports)
        assert not alive(pid)
        other = await rt.spawn(Scribe, str(tmp_path / "other"))
        assert await other.ask.pid() != pid


@ONE
async def test_an_actor_moves_in_where_there_is_least_to_do(tmp_path: Path) -> None:
    def look(others: float, *loads: HostLoad) -> None:
        when, hosts = rt._system.kernel.backend.monotonic(), {load.pid: load for load in loads}
        ours = sum(load.cpu or 0.0 for load in loads)
        rt._system.staff.actor_hosts.take(LoadSample(when, 4.0, ours, others, hosts=hosts))

    async def spawn() -> int:
        ref = await rt.spawn(Scribe, str(tmp_path / "log"))
        pid = await ref.ask.pid()
        assert home(ref).link.pid == pid
        return pid

    async with Runtime(hosts=Hosts(max=3)) as rt:
        first = await spawn()
        look(3.9)
        assert await spawn() == first, "there is no core for another host"
        look(0.0)
        second = await spawn()
        assert second != first
        look(3.9, HostLoad(first, 0.0, 1, "running"), HostLoad(second, 1.0, 1, "running"))
        assert await spawn() == first, "the other has fewer actors, but computes"
        look(3.9, HostLoad(first, 0.0, 1, "stopped"), HostLoad(second, 1.0, 1, "running"))
        assert await spawn() == second, "the other may never answer"


@ONE
async def test_however_busy_the_machine_is_there_are_no_fewer_hosts_after_some_have_gone(
    tmp_path: Path,
) -> None:
    logs = [tmp_path / name for name in "abcd"]
    async with Runtime(hosts=Hosts(max=2)) as rt:
        spread_out(rt)
        refs = [await rt.spawn(Scribe, str(log)) for log in logs]
        when = rt._system.kernel.backend.monotonic()
        rt._system.staff.actor_hosts._sample = LoadSample(when + 100, 4.0, 0.0, 4.0)
        replace_host(refs[0])
        for ref, log in zip(refs[::2], logs[::2], strict=True):
            await moved(ref, log)
        assert len({home(ref) for ref in refs}) == 2
        kill(home(refs[1]).link.pid)
        for ref, log in zip(refs[1::2], logs[1::2], strict=True):
            await moved(ref, log)
        assert len({home(ref) for ref in refs}) == 2
        other = await rt.spawn(Scribe, str(tmp_path / "other"))
        assert home(other) in [home(ref) for ref in refs]


@ONE
async def test_what_cannot_be_started_leaves_actors_with_the_hosts_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        first = await rt.spawn(Scribe, str(tmp_path / "log"))

        def refuse(*args: object) -> None:
            raise OSError("no more processes")

        monkeypatch.setattr(rt._system.staff, "launch", refuse)
        second = await rt.spawn(Scribe, str(tmp_path / "log"))
        assert await second.ask.pid() == await first.ask.pid()
        home(first).retiring = True
        with pytest.raises(HostDied, match="no more processes"):
            await rt.spawn(Scribe, str(tmp_path / "log"))
        home(first).retiring = False

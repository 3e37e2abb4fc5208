"""Actors in host processes: whatever actors in the loop do, they do."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, Hosts, Mailbox, Priority, Runtime, Supervise
from actorsched.exceptions import (
    ActorStopped,
    AskCycle,
    AskTimeout,
    MailboxFull,
    NotTransferable,
    RemoteTraceback,
)
from tests import host_work as work
from tests.host_help import Fifo, actor_hosts, adds_up, lines, spread_out, until
from tests.host_work import Counter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TWO = pytest.mark.parametrize("backend", ["uvloop", "trio"], indirect=True)
HOSTS = Hosts(max=1)


# -------------------------------------------------------------------------------------- asking and telling


async def test_an_actor_in_a_host_is_asked_and_told_like_any_other() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, 10)
        assert await counter.ask.pid() != os.getpid()
        assert await counter.ask.add(5) == 15
        counter.tell(Counter.add, 1)
        await counter.telling(Counter.add, number=2)
        assert await counter.asking(timeout=20, priority=Priority.NORMAL).add(0) == 18
        assert adds_up(rt)


@ONE
async def test_messages_keep_their_order() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter)
        for number in range(200):
            counter.tell(Counter.note, number)
        assert await counter.ask.notes() == list(range(200))
        assert adds_up(rt)


@ONE
async def test_an_error_goes_to_the_asker_and_the_actor_keeps_its_state() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, 1)
        with pytest.raises(LookupError, match="no such thing") as caught:
            await counter.ask.fail("no such thing")
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        with pytest.raises(NotTransferable, match=r"result\[0\]"):
            await counter.ask.unpicklable()
        assert await counter.ask.add(1) == 2


@ONE
async def test_what_cannot_travel_is_refused_at_the_call() -> None:
    lock: Any = threading.Lock()
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter)
        with pytest.raises(NotTransferable, match=r"note.*args\[0\]\['key'\]"):
            counter.tell(Counter.note, {"key": lock})
        with pytest.raises(NotTransferable, match="lock"):
            await counter.ask.note(lock)
        with pytest.raises(NotTransferable, match=r"actor.*args\[0\]"):
            await rt.spawn(Counter, lock)
        with pytest.raises(TypeError, match="Counter.add"):
            await counter.ask.add()  # type: ignore[call-arg]
        assert adds_up(rt)
        assert not rt._system.names


@ONE
async def test_a_class_that_cannot_be_imported_travels() -> None:
    step = 3

    class Local(Actor, host="process"):
        mailbox = Mailbox(capacity=5)

        def __init__(self) -> None:
            self.n = 0

        async def count(self) -> int:
            self.n += step
            return self.n

    async with Runtime(hosts=HOSTS) as rt:
        local = await rt.spawn(Local)
        assert [await local.ask.count() for _ in range(3)] == [3, 6, 9]
        local.tell(Local.count)
        assert await local.ask.count() == 15


@ONE
async def test_the_host_of_an_actor_is_an_option_too() -> None:
    class Anywhere(Actor):
        async def pid(self) -> int:
            return os.getpid()

    async with Runtime(hosts=HOSTS) as rt:
        assert await (await rt.spawn(Anywhere)).ask.pid() == os.getpid()
        assert await (await rt.spawn(Anywhere, host="process")).ask.pid() != os.getpid()
        assert await (await rt.spawn(Counter, host="loop")).ask.pid() == os.getpid()


# ---------------------------------------------------------------------------------- cancelling, timeouts


async def test_cancelling_an_ask_cancels_its_handler(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt:
            counter = await rt.spawn(Counter, 0, str(log))
            pid = await counter.ask.pid()
            async with anyio.create_task_group() as group:
                group.start_soon(counter.ask.hang, fifo.path)
                await fifo.told()
                group.cancel_scope.cancel()
            assert lines(log) == ["start 0", "cancelled"]
            assert await counter.ask.pid() == pid
            assert adds_up(rt)


@TWO
async def test_an_ask_that_takes_too_long_is_dropped_or_cancelled(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, 0, str(log))
        with pytest.raises(AskTimeout):
            await counter.asking(timeout=0.02).hang()
        assert lines(log) == ["start 0", "cancelled"]
        async with anyio.create_task_group() as group:
            group.start_soon(counter.ask.hang)
            await until(lambda: counter._cell.turn is not None)
            with pytest.raises(AskTimeout):
                await counter.asking(timeout=0.02).note("dropped")
            group.cancel_scope.cancel()
        assert await counter.ask.notes() == []
        assert adds_up(rt)


@TWO
async def test_a_handler_that_does_not_listen_loses_its_host_when_its_asker_gives_up(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt:
            stubborn, neighbour = await rt.spawn(Counter, 1), await rt.spawn(Counter, 2)
            then = time.monotonic()
            with pytest.raises(AskTimeout):
                await stubborn.asking(timeout=0.2).spin(fifo.path)
            assert time.monotonic() - then < 2.5
            assert await stubborn.ask.add(0) == 1
            assert await neighbour.ask.add(0) == 2
            assert adds_up(rt)


async def test_asks_cancelled_at_any_moment_never_cost_the_host() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter)
        pid = await counter.ask.pid()
        for step in range(60):
            async with anyio.create_task_group() as group:
                group.start_soon(counter.ask.add, 1)
                for _ in range(step % 20):
                    await anyio.lowlevel.checkpoint()
                if step % 3 == 0:
                    await anyio.sleep(step * 0.00002)
                group.cancel_scope.cancel()
        assert await counter.ask.pid() == pid
        assert adds_up(rt)


# --------------------------------------------------------------------------------------------- streams


async def test_streams_give_items_on_demand_and_are_closed_when_the_loop_is_left(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, 0, str(log))
        assert [n async for n in counter.ask.numbers(5)] == [0, 1, 2, 3, 4]
        assert lines(log) == ["start 0", "closed"]
        stream: Any = counter.ask.numbers(100)
        async for number in stream:
            assert await counter.ask.add(number) >= 0, "at a yield others have their turn"
            if number == 2:
                break
        await stream.aclose()
        assert lines(log) == ["start 0", "closed", "closed"]
        got: list[int] = []
        with pytest.raises(LookupError, match="no more"):
            async for number in counter.ask.failing_numbers():
                got.append(number)
        assert got == [0]
        assert await counter.ask.add(0) == 3
        assert adds_up(rt)


@TWO
async def test_a_stream_that_is_dropped_is_closed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, 0, str(log))
        async for _ in counter.ask.numbers(100):
            break
        await until(lambda: "closed" in lines(log))
        await until(lambda: adds_up(rt))  # the host says so a moment after it has written that


@TWO
async def test_a_stream_cancelled_while_its_generator_waits_is_closed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt:
            counter = await rt.spawn(Counter, 0, str(log))
            pid = await counter.ask.pid()

            async def read() -> None:
                async for _ in counter.ask.hanging_numbers(fifo.path):
                    pass

            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await fifo.told()
                group.cancel_scope.cancel()
            assert lines(log) == ["start 0", "closed"]
            assert await counter.ask.pid() == pid
            assert adds_up(rt)


@TWO
async def test_several_streams_of_one_actor_take_turns() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter)
        got: dict[int, list[int]] = {}

        async def read(count: int) -> None:
            got[count] = [n async for n in counter.ask.numbers(count)]

        async with anyio.create_task_group() as group:
            for count in (3, 5, 7):
                group.start_soon(read, count)
        assert got == {count: list(range(count)) for count in (3, 5, 7)}


# -------------------------------------------------------------------------------------------- mailboxes


@ONE
async def test_a_full_mailbox_follows_its_rule(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        raising = await rt.spawn(Counter, mailbox=Mailbox(capacity=1, overflow="raise"))
        dropping = await rt.spawn(Counter, mailbox=Mailbox(capacity=1, overflow="drop_oldest"))
        for n, ref in enumerate((raising, dropping)):
            ref.tell(Counter.wait_for, str(tmp_path / "go"))
            await until(lambda ref=ref: ref._cell.turn is not None)  # type: ignore[misc]
            ref.tell(Counter.note, n)
        with pytest.raises(MailboxFull):
            raising.tell(Counter.note, 2)
        dropping.tell(Counter.note, 3)
        (tmp_path / "go").touch()
        assert await notes_when_idle(raising) == [0]
        assert await notes_when_idle(dropping) == [3]
        assert adds_up(rt)


async def notes_when_idle(ref: Any) -> Any:
    await until(lambda: not ref.queued and ref._cell.turn is None)
    return await ref.ask.notes()


# --------------------------------------------------------------------------------------------- lives


async def test_hooks_run_in_the_host_and_stop_drains(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, 0, str(log), name="counter")
        assert rt.lookup("counter") == counter
        for number in range(10):
            counter.tell(Counter.note, number)
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                assert (await rt.monitor(counter)).kind == "stopped"

            group.start_soon(watch)
            await anyio.lowlevel.checkpoint()
            await counter.stop()
        assert lines(log) == ["start 0", "stop stopped"]
        with pytest.raises(LookupError):
            rt.lookup("counter")
        with pytest.raises(ActorStopped):
            await counter.ask.add(1)
        assert adds_up(rt)


@TWO
async def test_kill_cancels_the_handler_and_runs_no_hook(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt:
            counter = await rt.spawn(Counter, 0, str(log))
            counter.tell(Counter.hang, fifo.path)
            await fifo.told()
            await counter.kill()
            assert lines(log) == ["start 0", "cancelled"]
            assert adds_up(rt)


@ONE
async def test_kill_ends_hooks_too(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt:
            other = await rt.spawn(Counter)
            async with anyio.create_task_group() as group:
                group.start_soon(rt.spawn, work.SlowToStart, 0, fifo.path)
                await fifo.told()
                group.cancel_scope.cancel()
            slow = await rt.spawn(work.SlowToStop, 0, fifo.path)
            await fifo.told()  # `on_start` writes there too
            async with anyio.create_task_group() as group:
                group.start_soon(slow.stop)
                await fifo.told()
                await slow.kill()
            assert await other.ask.add(1) == 1
            assert len(actor_hosts(rt)) == 1
            assert len(actor_hosts(rt)[0]) == 1


@ONE
async def test_failing_hooks(caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        with pytest.raises(OSError, match="no disk"):
            await rt.spawn(work.FailsToStart)
        with pytest.raises(ValueError, match="negative"):
            await rt.spawn(Counter, -1)
        failing = await rt.spawn(work.FailsToStop)
        await failing.stop()
        assert [record.message for record in caplog.records if "on_stop" in record.message]
        assert len(actor_hosts(rt)[0]) == 0


async def test_a_told_failure_restarts_the_actor_with_its_mailbox_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, 7, str(log))
        await counter.ask.add(1)
        counter.tell(Counter.fail, "told")
        counter.tell(Counter.add, 10)
        assert await counter.ask.add(0) == 17
        assert lines(log)[0] == lines(log)[2] == "start 7"
        assert lines(log)[1].startswith("stop failed")
        assert adds_up(rt)


@ONE
async def test_a_fatal_error_restarts_too_and_too_many_end_the_runtime() -> None:
    with pytest.raises(LookupError, match="number 3"):
        async with Runtime(hosts=HOSTS) as rt:
            fatal = await rt.spawn(work.Fatal, 7)
            for number in range(4):
                assert await fatal.ask.add(1) == 8
                with pytest.raises(LookupError, match=f"number {number}"):
                    await fatal.ask.fail(f"number {number}")
            await rt.monitor(fatal)


@ONE
async def test_strategies_and_links_reach_actors_in_hosts(tmp_path: Path) -> None:
    logs = [tmp_path / name for name in "abc"]
    async with Runtime(hosts=HOSTS) as rt:
        async with rt.scope(Supervise("one_for_all")) as scope:
            one = await scope.spawn(Counter, 1, str(logs[0]))
            await scope.spawn(Counter, 2, str(logs[1]))
            one.tell(Counter.fail, "one for all")
            await until(lambda: all(lines(log).count(f"start {n}") == 2 for n, log in enumerate(logs[:2], 1)))
        linked = await rt.spawn(Counter, 3, str(logs[2]))
        loop = await rt.spawn(Counter, host="loop")
        loop.link(linked)
        loop.tell(Counter.fail, "linked")
        await until(lambda: lines(logs[2]).count("start 3") == 2)
        assert await linked.ask.add(0) == 3


@ONE
async def test_temporary_actors_are_not_restarted() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, restart="temporary")
        counter.tell(Counter.fail, "temporary")
        reason = await rt.monitor(counter)
        assert reason.kind == "failed"
        assert isinstance(reason.error, LookupError)


# ------------------------------------------------------------------------------ inside of handlers


@ONE
async def test_the_members_of_current_in_a_handler(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = tmp_path / "log"
    work.WHO.set("the caller")
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, 0, str(log), name="counter")
        other = await rt.spawn(Counter, host="loop", name="other")
        assert await counter.ask.who() == "the caller"
        assert await counter.ask.own_ref() == counter
        assert await counter.ask.sender_name() is None
        assert await rt.run(ask_sender_name, counter, name="a task") == "a task"
        await counter.ask.deferring()
        assert lines(log)[1:] == ["body", "deferred"]
        await counter.ask.report()
        await counter.ask.log_one()
        assert [(r.message, r.actor) for r in caplog.records if r.name == "tests.host_work"] == [  # type: ignore[attr-defined]
            ("from an actor", "counter")
        ]
        assert await other.ask.ask_other(counter, 1) == 1
        await counter.ask.stop_itself()
        await rt.monitor(counter)


async def ask_sender_name(ref: Any) -> Any:
    return await ref.ask.sender_name()


@ONE
async def test_a_handler_greets_its_sender_whatever_class_that_is_of() -> None:
    class Greeter(Counter, host="loop"):
        lock = threading.Lock()  # which keeps the class from travelling

        async def be_greeted(self, counter: Any) -> None:
            counter.tell(Counter.greet_sender)

    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter)
        greeter = await rt.spawn(Greeter)
        await greeter.ask.be_greeted(counter)
        await until(lambda: adds_up(rt) and greeter._cell.instance._notes)
        assert await greeter.ask.notes() == ["hello"]


async def test_children_and_timers_of_actors_in_hosts(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        parent = await rt.spawn(Counter, name="parent")
        child = await parent.ask.spawn_child(5)
        assert await child.ask.add(1) == 6
        assert child.name == "child of parent"
        await parent.ask.note_later("later")
        await parent.ask.note_every("beat")
        while len(await parent.ask.notes()) < 4:
            await anyio.lowlevel.checkpoint()
        await parent.ask.stop_beating()
        notes = await parent.ask.notes()
        assert set(notes) == {"later", "beat"}
        await parent.stop()
        assert not child.alive
        assert adds_up(rt)


# ------------------------------------------------------------------------------------- one to another


@TWO
async def test_actors_ask_each_other_across_hosts() -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        spread_out(rt)
        here = await rt.spawn(Counter, host="loop")
        one, two = await rt.spawn(Counter, 10), await rt.spawn(Counter, 20)
        assert await one.ask.pid() != await two.ask.pid()
        assert await here.ask.ask_other(one, 1) == 11
        assert await one.ask.ask_other(here, 5) == 5
        assert await one.ask.ask_other(two, 1) == 21
        assert await two.ask.ask_other(one, 1) == 12
        assert adds_up(rt)


@TWO
async def test_a_circle_of_asks_is_refused_wherever_the_actors_are() -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        here = await rt.spawn(Counter, host="loop", name="here")
        there = await rt.spawn(Counter, name="there")
        for one, two in ((here, there), (there, here)):
            with pytest.raises(AskCycle):
                await one.ask.ask_back(two, one)
        assert adds_up(rt)


@ONE
async def test_no_panic_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter)
        await counter.ask.report()
        loop = await rt.spawn(Counter, host="loop")
        await loop.ask.report()
        assert await counter.ask.add(1) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_host_keeps_nothing_alive_of_whoever_had_it_started() -> None:
    def make() -> type[Actor]:
        class Passing(Actor, host="process"):
            async def on_start(self) -> None:
                await super().on_start()

            async def hello(self) -> str:
                return "hello"

        return Passing

    async def use(kind: Any) -> tuple[weakref.ref[Any], ...]:
        ref = await rt.spawn(kind)
        assert await ref.ask.hello() == "hello"
        await ref.stop()
        return weakref.ref(kind), weakref.ref(ref._cell)

    async with Runtime(hosts=HOSTS) as rt:
        left = await use(make())
        assert actor_hosts(rt)
        await anyio.sleep(0)
        gc.collect()
        assert [gone() for gone in left] == [None, None]

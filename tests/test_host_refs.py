"""Refs of actors and tasks that travel: used in hosts, and brought back."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, Hosts, Mailbox, Runtime, TaskCancelled, current
from actorsched.exceptions import ActorStopped, RuntimeClosed
from tests import host_work as work
from tests.host_help import Fifo, adds_up, kill, lines, until
from tests.host_work import Counter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TWO = pytest.mark.parametrize("backend", ["uvloop", "trio"], indirect=True)
HOSTS = Hosts(max=1)


async def test_a_task_in_a_host_asks_actors_wherever_they_are() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        for host in ("loop", "process"):
            counter = await rt.spawn(Counter, host=host)  # type: ignore[call-overload]
            assert await rt.run(work.ask_add, counter, [1, 2, 3], host="process") == 6
            with pytest.raises(LookupError, match="asked from a host"):
                await rt.run(work.ask_what_fails, counter, host="process")
            with pytest.raises(TypeError, match="missing a required argument"):
                await rt.run(work.ask_badly, counter, host="process")
            assert await rt.run(work.ask_with_timeout, counter, host="process") == "AskTimeout"
            assert adds_up(rt)


@ONE
async def test_a_class_that_stays_behind_is_no_obstacle() -> None:
    class Local(Counter, host="loop"):
        lock = threading.Lock()  # which keeps the class from travelling

        async def add(self, number: int) -> int:
            return await super().add(10 * number)

    async with Runtime(hosts=HOSTS) as rt:
        local = await rt.spawn(Local)
        assert await rt.run(work.ask_add, local, [1, 2, 3], host="process") == 60
        assert await rt.run(work.read_all, local, 3, host="process") == [0, 1, 2]
        await rt.run(work.tell_numbers, local, Counter.add, [1], host="process")
        assert await local.ask.add(0) == 70
        with pytest.raises(TypeError, match="missing a required argument"):
            await rt.run(work.ask_badly, local, host="process")
        with pytest.raises(AttributeError, match="no handler 'missing'"):
            await rt.run(lambda ref: ref.ask.missing(), local, host="process")
        with pytest.raises(TypeError, match="can be told"):
            await rt.run(lambda ref: ref.tell(len), local, host="process")
        with pytest.raises(TypeError, match="missing a required argument"):
            await rt.run(lambda ref: ref.tell(Counter.add), local, host="process")


@ONE
async def test_a_class_that_travels_by_value_is_no_obstacle_to_refusing_wrong_arguments() -> None:
    class Local(Counter):
        async def add(self, number: int, *, twice: bool = False) -> int:
            return await super().add(2 * number if twice else number)

        async def tell_itself_wrong_things(self) -> list[str]:
            said: list[str] = []
            here: Any = current()
            wrong: tuple[Callable[[], object], ...] = (
                lambda: here.ref.tell(Local.add),
                lambda: here.ref.tell(Local.add, 1, 2),
                lambda: here.after(0, Local.add, number="x", thrice=True),
                lambda: here.every("1h", Local.add),
            )
            for send in wrong:
                try:
                    send()
                except TypeError as error:
                    said.append(str(error))
            here.ref.tell(Local.add, 1, twice=True)
            return said

    async with Runtime(hosts=HOSTS) as rt:
        local: Any = await rt.spawn(Local, host="process")
        said = await local.ask.tell_itself_wrong_things()
        assert len(said) == 4
        assert all("was sent wrong arguments" in text for text in said)
        assert await local.ask.add(0) == 2


async def test_what_is_told_and_asked_in_a_host_arrives_in_order() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, host="loop")
        assert await rt.run(work.tell_and_ask, counter, Counter.note, 40, host="process") == list(range(40))
        await rt.run(work.tell_numbers, counter, Counter.note, list(range(40, 300)), host="process")
        assert await counter.ask.notes() == list(range(300))
        assert adds_up(rt)


@ONE
async def test_telling_waits_for_room_and_telling_into_a_full_mailbox_makes_dead_letters() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, host="loop", mailbox=Mailbox(capacity=1))
        await rt.run(work.tell_three_ways, counter, Counter.add, host="process")
        assert await counter.ask.add(0) == 6
        letters = rt.dead_letters()
        async with anyio.create_task_group() as group:
            group.start_soon(counter.ask.hang)
            await until(lambda: counter._cell.turn is not None)
            await rt.run(work.tell_numbers, counter, Counter.note, [1, 2, 3], host="process")
            group.cancel_scope.cancel()
        assert [(letter.reason, letter.args) for letter in [await anext(letters), await anext(letters)]] == [
            ("full", (2,)),
            ("full", (3,)),
        ]
        assert await counter.ask.notes() == [1]
        assert adds_up(rt)


async def test_streams_are_read_in_hosts_and_closed_when_left(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=HOSTS) as rt:
        for host in ("loop", "process"):
            counter = await rt.spawn(Counter, 0, str(log), host=host)  # type: ignore[call-overload]
            log.unlink()
            assert await rt.run(work.read_all, counter, 5, host="process") == [0, 1, 2, 3, 4]
            assert await rt.run(work.read_and_close, counter, host="process") == [0]
            assert lines(log) == ["closed", "closed"]
            assert await rt.run(work.read_some, counter, 3, host="process") == [0, 1, 2]
            await until(lambda: len(lines(log)) == 3 and adds_up(rt))
            await counter.stop()


@TWO
async def test_streams_of_a_host_that_dies_are_closed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt:
            counter = await rt.spawn(Counter, 0, str(log), host="loop")
            ref = await rt.spawn(work.read_and_hang, counter, fifo.path, host="process")
            kill(await fifo.told())
            assert (await ref.outcome()).error is not None
            await until(lambda: "closed" in lines(log))
            await counter.stop()
            assert adds_up(rt)


@TWO
async def test_asks_of_a_task_that_is_cancelled_or_dies_are_cancelled_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt:
            counter = await rt.spawn(Counter, 0, str(log), host="loop")
            for ends in (1, 2):
                ref = await rt.spawn(work.ask_until_cancelled, counter, fifo.path, host="process")
                pid = await fifo.told()
                await until(lambda: counter._cell.turn is not None)
                if ends == 1:
                    await ref.cancel()
                else:
                    kill(pid)
                    await ref.outcome()
                await until(lambda ends=ends: lines(log).count("cancelled") == ends)  # type: ignore[misc]
            assert await counter.ask.add(1) == 1
            assert adds_up(rt)


@ONE
async def test_actors_are_stopped_killed_and_spawned_from_hosts() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        one, two = await rt.spawn(Counter, host="loop"), await rt.spawn(Counter)
        await rt.run(work.stop_it, one, host="process")
        await rt.run(work.kill_it, two, host="process")
        assert not one.alive
        assert not two.alive
        with pytest.raises(ActorStopped):
            await rt.run(work.ask_add, one, [1], host="process")
        assert await rt.run(work.spawn_actor, 5, host="process") == 6


@ONE
async def test_refs_come_back_as_what_they_were(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, host="loop")
        task = await rt.spawn(work.double, 1)
        same: Any = work.same
        back, task_back = await rt.run(same, [counter, task], host="process")
        assert back == counter
        assert task_back == task
        assert await task_back == 2
        holder = await rt.spawn(Counter)
        await holder.ask.note([counter, holder])
        assert await holder.ask.notes() == [[counter, holder]]


@ONE
async def test_cancelling_in_a_host_carries_the_reason(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=2)) as rt:
            ref = await rt.spawn(work.sleep_politely, fifo.path, str(tmp_path / "log"), host="process")
            await fifo.told()
            await rt.run(work.cancel_inside, [ref], "because", host="process")
            with pytest.raises(TaskCancelled, match="because"):
                await ref


@ONE
async def test_nothing_of_a_runtime_is_kept_for_refs_that_have_travelled() -> None:
    import weakref

    async with Runtime(hosts=HOSTS) as rt:
        ref = await rt.spawn(work.double, 1)
        await rt.run(work.await_inside, [ref], host="process")
        task = weakref.ref(ref._task)
    del ref, rt
    gc.collect()
    assert task() is None


class Numbers(Actor):
    """Streams slowly, one item for each time it is told to."""

    def __init__(self) -> None:
        self.gate = anyio.Event()

    async def numbers(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
            await self.gate.wait()


@TWO
async def test_a_stream_that_fails_in_a_host_says_why() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        numbers = await rt.spawn(Numbers)
        ref = await rt.spawn(work.read_all, numbers, 3, host="process")
        await until(lambda: numbers._cell.extras is not None and numbers._cell.turn is not None)
        await numbers.kill()
        with pytest.raises(ActorStopped):
            await ref


# ----------------------------------------------------------------- what refs and `current()` offer in a host


async def test_how_a_task_ended_is_told_in_a_host_and_known_there_afterwards() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        good = await rt.spawn(work.double, 21, host="thread")
        bad = await rt.spawn(work.fail, "as it should", host="thread")
        cancelled = await rt.spawn(anyio.sleep_forever)
        await cancelled.cancel("enough")
        completed, failed, stopped = await rt.run(work.outcomes_of, [good, bad, cancelled], host="process")
        assert completed == ("completed", 42, "None")
        assert failed == ("failed", None, "LookupError('as it should')")
        assert stopped[0] == "cancelled"
        assert "enough" in stopped[2]


@TWO
async def test_what_only_the_runtime_knows_is_refused_in_a_host_and_the_error_says_what_to_do() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        waiting = await rt.spawn(anyio.sleep_forever)
        counter = await rt.spawn(Counter, host="loop")
        said = await rt.run(work.what_is_unknown, [waiting, counter], host="process")
        assert len(said) == 10
        for text in said[:5]:
            assert "await ref.outcome()" in text
        assert "no attribute 'missing'" in said[5]
        assert "monitor(ref)" in said[6]
        assert "no attribute 'missing'" in said[7]
        assert "is no ActorRef" in said[8]
        assert "no Runtime.lookup" in said[9]
        assert "host='loop'" in said[9]
        await waiting.cancel()


@ONE
async def test_priorities_are_set_from_a_host() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        waiting = await rt.spawn(anyio.sleep_forever)
        assert await rt.run(work.set_priority, [waiting], 6, host="process") == waiting.id
        assert waiting.priority == 6
        with pytest.raises(TypeError, match="priority='high'"):
            await rt.run(work.set_priority, [waiting], "high", host="process")
        await waiting.cancel()


@TWO
async def test_the_end_of_an_actor_is_told_in_a_host() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter, host="loop")
        ref = await rt.spawn(work.end_of, counter, host="process")
        await counter.stop()
        assert await ref == ("stopped", "None")


@ONE
async def test_a_runtime_is_shut_down_from_a_host() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        assert await rt.run(work.shut_down, host="process") == "asked"
        with pytest.raises(RuntimeClosed):
            await rt.spawn(work.double, 1)


async def test_actors_are_linked_from_a_host() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        one = await rt.spawn(Counter)
        other = await rt.spawn(Counter, host="loop", restart="temporary")
        await one.ask.link_to(other)
        await one.ask.unlink_from(other)
        one.tell(Counter.fail, "alone")
        assert await one.ask.add(0) == 0
        assert other.alive
        await one.ask.link_to(other)
        one.tell(Counter.fail, "with the other")
        assert (await rt.monitor(other)).kind == "failed"


@TWO
async def test_timers_that_make_no_sense_are_refused_at_the_call_in_a_host() -> None:
    async with Runtime(hosts=HOSTS) as rt:
        counter = await rt.spawn(Counter)
        said = await counter.ask.set_wrong_timers()
        assert len(said) == 4
        assert "delay='soon'" in said[0]
        assert "missing a required argument" in said[1]
        assert "double" in said[2]
        assert "above zero" in said[3]

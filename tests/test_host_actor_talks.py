"""What actors in several hosts say to each other: refs, streams, cancellations, priorities, big messages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Hosts, Mailbox, Priority, Runtime
from actorsched.exceptions import AskCycle, MailboxFull
from tests.host_actor_work import Box, Talker
from tests.host_help import Fifo, adds_up, lines, spread_out, until
from tests.host_work import Counter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TWO = pytest.mark.parametrize("backend", ["uvloop", "trio"], indirect=True)
HOSTS = Hosts(max=2)


async def some(rt: Runtime, tmp_path: Path) -> tuple[Any, Any, Any]:
    """One actor in the loop, and two in different hosts, with logs of these names."""
    spread_out(rt)
    here: Any = await rt.spawn(Talker, 100, str(tmp_path / "here"), host="loop", name="here")
    one: Any = await rt.spawn(Talker, 10, str(tmp_path / "one"), name="one")
    two: Any = await rt.spawn(Talker, 20, str(tmp_path / "two"), name="two")
    assert one._cell.instance.port is not two._cell.instance.port
    return here, one, two


# --------------------------------------------------------------------------------------------------- refs


async def test_refs_deep_inside_of_messages_stay_what_they_are_wherever_they_go(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        here, one, two = await some(rt, tmp_path)
        box = Box({"all": [(here, one), (two, here)]})
        back = await here.ask.pass_on([one, two], box)
        assert back == box
        assert back is not box
        assert {ref.name: ref for ref in back.all()} == {"here": here, "one": one, "two": two}
        assert len({*back.all(), *box.all()}) == 3, "they are the same in a set"
        assert [await ref.ask.is_in(back) for ref in (here, one, two)] == [True] * 3
        assert await one.ask.ask_all(box, two) == [101, 21, 102, 103, 22, 104]
        assert [await ref.ask.add(0) for ref in (here, one, two)] == [104, 10, 22]
        assert adds_up(rt)


@ONE
async def test_an_ask_goes_from_process_to_process_and_comes_back(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        here, one, two = await some(rt, tmp_path)
        third: Any = await rt.spawn(Talker, host="loop")
        pids = await one.ask.round_trip([here, two, third])
        assert len(set(pids)) == 3
        assert pids[1] == pids[3] == os.getpid()
        assert adds_up(rt)


@TWO
async def test_a_circle_of_asks_through_several_processes_is_refused_with_its_path(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        here, one, two = await some(rt, tmp_path)
        with pytest.raises(AskCycle) as caught:
            await one.ask.round_trip([here, two, one])
        assert caught.value.path == ("two", "one", "here", "two")
        with pytest.raises(AskCycle) as caught:
            await one.ask.round_trip([one])
        assert caught.value.path == ("one", "one")
        assert await one.ask.round_trip([two, here]), "and they go on"
        assert adds_up(rt)


# ------------------------------------------------------------------------------- streams and cancellation


async def test_a_stream_between_hosts_is_closed_when_its_reader_leaves_the_loop(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        here, one, two = await some(rt, tmp_path)
        for reader, source in ((one, two), (two, here), (here, one)):
            assert await reader.ask.read_from(source, 3) == [0, 1, 2]
            log = tmp_path / source.name
            await until(lambda log=log: lines(log)[-1] == "closed")  # type: ignore[misc]
        assert [number async for number in one.ask.relay(two, 5)] == [0, 1, 2, 3, 4]
        async for number in one.ask.relay(two, 1000):
            if number == 5:
                break
        await until(lambda: lines(tmp_path / "two").count("closed") == 3)
        await until(lambda: adds_up(rt))


async def test_cancelling_an_ask_cancels_what_it_asks_for_in_other_hosts(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=HOSTS) as rt:
            here, one, two = await some(rt, tmp_path)
            for first, second in ((one, two), (here, one), (two, here)):
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as group:
                        group.start_soon(first.ask.hang_through, second, fifo.path)
                        await fifo.told()
                        scope.cancel()
                await until(lambda s=second: "cancelled" in lines(tmp_path / s.name))  # type: ignore[misc]
                assert lines(tmp_path / first.name)[-1] == "cancelled here"
            assert [await ref.ask.add(0) for ref in (here, one, two)] == [100, 10, 20], "they live on"
            assert adds_up(rt)


# -------------------------------------------------------------------------------- mailboxes and children


@ONE
async def test_a_higher_priority_overtakes_what_is_queued_for_an_actor_in_a_host(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        ref: Any = await rt.spawn(Counter)
        ref.tell(Counter.wait_for, str(tmp_path / "go"))
        async with anyio.create_task_group() as group:
            for number, priority in enumerate(
                (Priority.LOW, Priority.NORMAL, Priority.CRITICAL, Priority.HIGH)
            ):
                group.start_soon(ref.asking(priority=priority).note, number)
                await until(lambda number=number: ref.queued == number + 1)  # type: ignore[misc]
            (tmp_path / "go").touch()
        assert await ref.ask.notes() == [2, 3, 1, 0]
        assert adds_up(rt)


@ONE
async def test_a_full_mailbox_makes_wait_or_drops_the_newest(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        waiting: Any = await rt.spawn(Counter, mailbox=Mailbox(capacity=1))
        dropping: Any = await rt.spawn(Counter, mailbox=Mailbox(capacity=1, overflow="drop_newest"))
        for ref in (waiting, dropping):
            ref.tell(Counter.wait_for, str(tmp_path / "go"))
            await until(lambda ref=ref: ref._cell.turn is not None)  # type: ignore[misc]
            ref.tell(Counter.note, 1)
        dropping.tell(Counter.note, 2)
        with pytest.raises(MailboxFull, match="drop_newest"):
            await dropping.ask.note(3)
        with pytest.raises(MailboxFull):
            waiting.tell(Counter.note, 2)
        async with anyio.create_task_group() as group:
            group.start_soon(waiting.telling, Counter.note, 3)
            await until(lambda: len(waiting._cell.more().room) == 1)
            group.start_soon(waiting.ask.note, 4)
            await until(lambda: len(waiting._cell.more().room) == 2)
            (tmp_path / "go").touch()
        assert await waiting.ask.notes() == [1, 3, 4]
        await until(lambda: not dropping.queued)
        assert await dropping.ask.notes() == [1]
        assert adds_up(rt)


@TWO
async def test_an_actor_in_a_host_has_children_of_both_kinds_and_runs_tasks(tmp_path: Path) -> None:
    async with Runtime(hosts=HOSTS) as rt:
        parent: Any = await rt.spawn(Talker, name="parent")
        loop, process, product = await parent.ask.have_children()
        assert product == 42
        assert await loop.ask.pid() == os.getpid() != await process.ask.pid()
        assert [await loop.ask.add(1), await process.ask.add(1)] == [2, 3]
        loop.tell(Counter.fail, "which restarts it")
        assert await loop.ask.add(0) == 1
        await parent.stop()
        assert [loop.alive, process.alive] == [False, False]
        assert adds_up(rt)


@ONE
async def test_big_arrays_go_there_and_back_and_are_nobody_elses(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    async with Runtime(hosts=HOSTS) as rt:
        _, one, two = await some(rt, tmp_path)
        array = numpy.arange(1_000_000, dtype="f8")
        for ref in (one, two, one):
            back = await ref.ask.shift(array, 1.0)
            assert (back == array + 1).all()
            assert array[0] == 0.0, "what was sent is a copy over there"
            back += 1.0  # and what came back is ours
        assert (await one.ask.pass_on([two], {"deep": [array]}))["deep"][0].sum() == array.sum()
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon((one, two)[number % 2].ask.shift, array, float(number))
        assert adds_up(rt)

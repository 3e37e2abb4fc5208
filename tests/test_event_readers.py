"""`rt.events()` gives a reader what happens, in order, and counts what it was too slow for."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, Event, Runtime, RuntimeClosed
from actorsched.testing import VirtualClock, compute

if TYPE_CHECKING:
    from collections.abc import Callable


async def noop() -> None:
    pass


def watched(rt: Runtime) -> bool:
    return rt._system.kernel.watched


def told(events: list[Event]) -> list[str]:
    return [f"{event.name} {event.kind}" for event in events]


async def read(source: Any, into: list[Event], count: int | None = None) -> None:
    async for event in source:
        into.append(event)
        if len(into) == count:
            break


async def test_a_reader_is_given_what_happens_from_now_on_until_the_end() -> None:
    events: list[Event] = []
    async with anyio.create_task_group() as group, Runtime(clock=VirtualClock()) as rt:
        await rt.run(noop, name="before")
        group.start_soon(read, rt.events(), events)
        await rt.run(compute, 2, name="job")
    assert told(events) == ["job created", "job started", "job completed"]
    assert [event.time for event in events] == [0, 0, 2]
    assert events[0].id == events[1].id == events[2].id
    assert dict(events[0].details) == {"priority": 3, "pool": "loop"}
    assert dict(events[1].details) == {"attempt": 1, "host": "loop", "worker": "loop"}
    assert dict(events[2].details) == {"final": True}


async def test_it_is_given_the_kinds_that_it_asked_for_and_may_read_late() -> None:
    events: list[Event] = []
    async with Runtime(clock=VirtualClock()) as rt:
        source = rt.events(("completed", "actor_stopped"))
        ref = await rt.spawn(Actor, name="idle")
        await rt.run(noop)
        await ref.stop()
    await read(source, events)
    assert told(events) == ["noop completed", "idle actor_stopped"]


async def test_a_slow_reader_loses_the_oldest_and_knows_how_many() -> None:
    async with Runtime() as rt:
        slow, quick = rt.events("completed", capacity=3), rt.events("completed", capacity=100)
        assert slow.lost == 0
        for number in range(10):
            await rt.run(noop, name=str(number))
        assert (slow.lost, quick.lost) == (7, 0)
        events: list[Event] = []
        await read(slow, events, 2)
        assert [event.name for event in events] == ["7", "8"]
    assert slow.lost == 7
    every: list[Event] = []
    await read(quick, every)
    assert [event.name for event in every] == [str(number) for number in range(10)]


async def test_nothing_is_lost_without_saying_so_however_much_happens_in_one_turn() -> None:
    async with Runtime() as rt:
        source = rt.events(capacity=100)
        note = rt._system.kernel.note
        for number in range(20_000):  # nobody has a turn meanwhile
            note("progress", "busy", number, {})
        assert len(rt._system.kernel.journal) <= 4096
        assert source.lost == 19_900
        events: list[Event] = []
        await read(source, events, 100)
        assert [event.number for event in events] == list(range(19_900, 20_000))


async def test_many_readers_and_listeners_get_the_same_in_the_same_order() -> None:
    heard: list[Event] = []
    lists: list[list[Event]] = [[] for _ in range(5)]
    async with anyio.create_task_group() as group, Runtime() as rt:
        rt.subscribe(None, heard.append)
        for into in lists:
            group.start_soon(read, rt.events(), into)
        refs = [await rt.spawn(noop, name=str(number)) for number in range(50)]
        for ref in refs:
            await ref
    assert len(heard) == 150
    for into in lists:
        assert told(into) == told(heard)


async def test_leaving_by_break_ends_it_and_nobody_watches_any_more() -> None:
    async with Runtime() as rt:
        assert not watched(rt)
        events: list[Event] = []
        source: Any = rt.events()
        assert watched(rt)
        await rt.run(noop)
        await read(source, events, 1)
        del source
        gc.collect()
        await anyio.sleep(0)
        await anyio.sleep(0)
        assert not watched(rt)
    assert told(events) == ["noop created"]


async def test_it_may_be_closed_as_a_context_manager_and_what_has_come_can_still_be_read() -> None:
    async with Runtime() as rt:
        async with rt.events() as source:
            await rt.run(noop)
        assert not watched(rt)
        await rt.run(noop, name="later")
        events: list[Event] = []
        await read(source, events)
        assert told(events) == ["noop created", "noop started", "noop completed"]


async def test_whoever_is_cancelled_as_it_waits_may_wait_again() -> None:
    async with Runtime() as rt:
        source = rt.events("completed")
        for _ in range(3):
            with anyio.move_on_after(0):
                await anext(source)
        await rt.run(noop, name="one")
        assert (await anext(source)).name == "one"
        with anyio.move_on_after(0):
            await anext(source)
        await rt.run(noop, name="two")
        assert (await anext(source)).name == "two"
        assert source.lost == 0


async def test_only_one_reads_it_at_a_time() -> None:
    async with Runtime() as rt, anyio.create_task_group() as group:
        source = rt.events()
        events: list[Event] = []
        group.start_soon(read, source, events)
        await anyio.sleep(0)
        await anyio.sleep(0)
        with pytest.raises(RuntimeError, match="is being read elsewhere"):
            await anext(source)
        group.cancel_scope.cancel()


async def test_a_reader_is_not_woken_for_what_it_does_not_read() -> None:
    events: list[Event] = []
    async with anyio.create_task_group() as group, Runtime() as rt:
        group.start_soon(read, rt.events("failed"), events)
        for _ in range(10):
            await rt.run(noop)
            await anyio.sleep(0)
    assert events == []


async def test_tasks_and_actors_read_too() -> None:
    class Reader(Actor):
        def __init__(self, rt: Runtime) -> None:
            self._rt = rt
            self.names: list[str] = []

        async def read(self) -> list[str]:
            async for event in self._rt.events("completed"):
                self.names.append(event.name)
                if event.name == "last":
                    break
            return self.names

    async def in_a_task(rt: Runtime) -> list[str]:
        names: list[str] = []
        async for event in rt.events("completed"):
            names.append(event.name)
            if event.name == "last":
                break
        return names

    async with Runtime(concurrency=2) as rt:
        actor = await rt.spawn(Reader, rt)
        task = await rt.spawn(in_a_task, rt)
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                assert await actor.ask.read() == ["first", "last"]

            group.start_soon(ask)
            for _ in range(5):
                await anyio.sleep(0)
            await rt.run(noop, name="first")
            await rt.run(noop, name="last")
        assert await task == ["first", "last"]


async def test_a_closed_runtime_has_no_events_and_what_makes_no_sense_is_refused() -> None:
    calls: list[tuple[Callable[[Runtime], Any], type[Exception], str]] = [
        (lambda rt: rt.events("strated"), ValueError, "is no kind of event"),  # type: ignore[arg-type]
        (lambda rt: rt.events(capacity=0), ValueError, "capacity=0 is less than 1"),
        (lambda rt: rt.events(capacity="5"), TypeError, "capacity='5' is of type str"),  # type: ignore[arg-type]
    ]
    async with Runtime() as rt:
        for call, error, says in calls:
            with pytest.raises(error, match=says):
                call(rt)
        assert not watched(rt)
    with pytest.raises(RuntimeClosed):
        rt.events()

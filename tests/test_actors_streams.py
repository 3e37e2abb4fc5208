"""Streamed replies: items on demand, other messages in between, and every way in which a stream may end."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, ActorRef, Hosts, Mailbox, Runtime, current
from actorsched.exceptions import ActorStopped, AskCycle, AskTimeout, MailboxFull
from tests import host_work
from tests.manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.deadline(10)

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Source(Actor):
    """Streams numbers, and writes down what happens."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.waits_now = False
        self.gate = anyio.Event()

    async def numbers(self, count: int = 1_000_000) -> AsyncIterator[int]:
        self.log.append("begins")
        try:
            for number in range(count):
                self.log.append(f"yields {number}")
                yield number
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.log.append("closed")

    async def waits(self) -> AsyncIterator[str]:
        yield "first"
        try:
            self.waits_now = True
            await self.gate.wait()
            yield "second"
        finally:
            self.log.append("closed")

    async def fails(self, after: int) -> AsyncIterator[int]:
        for number in range(after):
            yield number
        raise OSError("source failed")

    async def fails_to_close(self) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            raise OSError("closing failed")

    async def nothing(self) -> AsyncIterator[int]:
        return
        yield

    async def ping(self) -> str:
        self.log.append("ping")
        return "pong"

    async def hold(self) -> None:
        await self.gate.wait()

    async def tick(self) -> None:
        self.log.append("tick")

    async def who(self) -> AsyncIterator[str]:
        yield WHO.get()
        WHO.set("source")
        yield WHO.get()
        await anyio.lowlevel.checkpoint()
        yield WHO.get()


def instance(ref: ActorRef[Any]) -> Any:
    return ref._cell.instance


async def collected(stream: Any, count: int | None = None) -> list[Any]:
    """The first items of a stream, or all; what was opened is closed."""
    items: list[Any] = []
    try:
        async for item in stream:
            items.append(item)
            if len(items) == count:
                break
    finally:
        await stream.aclose()
    return items


def adds_up(rt: Runtime) -> bool:
    office = rt._system.kernel.office
    return office.sent == office.handled + office.rejected + office.dead_lettered


# ------------------------------------------------------------------------------------------------- items


async def test_all_items_come_in_order() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        assert [number async for number in source.ask.numbers(5)] == [0, 1, 2, 3, 4]
        assert [number async for number in source.ask.nothing()] == []
        assert adds_up(rt)


async def test_nothing_is_sent_before_the_first_item_is_asked_for() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream = source.ask.numbers()
        await settle()
        assert instance(source).log == []
        assert rt._system.kernel.office.sent == 0
        del stream


async def test_the_generator_goes_no_further_than_the_demand() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.numbers()
        assert await stream.__anext__() == 0
        await settle()
        assert instance(source).log == ["begins", "yields 0"]
        assert await stream.__anext__() == 1
        await settle()
        assert instance(source).log == ["begins", "yields 0", "yields 1"]
        await stream.aclose()


async def test_at_a_yield_without_demand_the_actor_handles_other_messages() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        async for number in source.ask.numbers(3):
            assert await source.ask.ping() == "pong"
            source.tell(Source.tick)
            await settle()
            assert instance(source).log[-2:] == ["ping", "tick"], number


async def test_while_the_generator_waits_by_itself_the_actor_handles_nothing_else() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.waits()
        assert await stream.__anext__() == "first"
        async with anyio.create_task_group() as group:
            group.start_soon(collected, stream)
            await settle()
            source.tell(Source.tick)
            await settle()
            assert instance(source).log == []
            instance(source).gate.set()
        assert instance(source).log[:1] == ["tick"] or "tick" in instance(source).log


async def test_two_streams_of_one_actor_take_turns() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        one: Any = source.ask.numbers()
        other: Any = source.ask.numbers()
        for number in range(3):
            assert await one.__anext__() == number
            assert await other.__anext__() == number
        await one.aclose()
        await other.aclose()
        assert instance(source).log.count("closed") == 2


async def test_many_readers_of_many_streams_each_get_their_own_items() -> None:
    async with Runtime(seed=3) as rt:
        source = await rt.spawn(Source)
        results: list[list[int]] = []

        async def read() -> None:
            results.append(await collected(source.ask.numbers(5)))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(read)
        assert results == [[0, 1, 2, 3, 4]] * 10
        assert adds_up(rt)


async def test_a_stream_gives_its_items_to_one_reader_at_a_time() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.waits()
        await stream.__anext__()
        async with anyio.create_task_group() as group:
            group.start_soon(collected, stream)
            await settle()
            with pytest.raises(RuntimeError, match="one at a time"):
                await stream.__anext__()
            instance(source).gate.set()


async def test_a_generator_sees_its_askers_context_and_keeps_its_own() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        WHO.set("asker")
        assert [name async for name in source.ask.who()] == ["asker", "source", "source"]
        assert WHO.get() == "asker"


# -------------------------------------------------------------------------------------------------- endings


async def test_leaving_the_loop_early_closes_the_generator() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        async for number in source.ask.numbers():
            if number == 2:
                break
        await settle()
        assert instance(source).log[-1] == "closed"
        assert await source.ask.ping() == "pong"
        assert adds_up(rt)


async def test_aclose_waits_until_the_generator_is_closed() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.numbers()
        await stream.__anext__()
        await stream.aclose()
        assert instance(source).log == ["begins", "yields 0", "closed"]
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()


async def test_a_stream_that_is_closed_before_it_began_never_begins() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.numbers()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert instance(source).log == []


async def test_a_stream_that_has_ended_stays_ended() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.numbers(1)
        assert await collected(stream) == [0]
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await stream.__anext__()


async def test_a_dropped_stream_is_closed() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.numbers()
        await stream.__anext__()
        del stream
        gc.collect()
        await settle()
        assert instance(source).log[-1] == "closed"


async def test_an_error_of_the_generator_goes_to_the_reader_after_the_items_before_it() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        items: list[int] = []
        with pytest.raises(OSError, match="source failed"):
            async for item in source.ask.fails(2):
                items.append(item)
        assert items == [0, 1]
        assert await source.ask.ping() == "pong"
        assert adds_up(rt)


async def test_an_error_while_it_is_closed_goes_to_whoever_closes_it() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.fails_to_close()
        await stream.__anext__()
        with pytest.raises(OSError, match="closing failed"):
            await stream.aclose()
        await stream.aclose()
        assert adds_up(rt)


async def test_an_error_while_a_dropped_stream_is_closed_goes_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        async for _ in source.ask.fails_to_close():
            break
        await settle()
        assert "fails_to_close of actor 'Source-" in caplog.text
        assert "OSError: closing failed" in caplog.text


async def test_two_may_close_a_stream_at_once() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.numbers()
        await stream.__anext__()
        async with anyio.create_task_group() as group:
            group.start_soon(stream.aclose)
            group.start_soon(stream.aclose)
        assert instance(source).log[-1] == "closed"


async def test_cancelling_a_reader_cancels_the_generator_where_it_waits() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.waits()
        await stream.__anext__()
        async with anyio.create_task_group() as group:
            group.start_soon(stream.__anext__)
            while not instance(source).waits_now:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert instance(source).log == ["closed"]
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert adds_up(rt)


async def test_cancelling_a_reader_whose_stream_is_queued_takes_it_back() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        source.tell(Source.hold)
        await settle()
        stream: Any = source.ask.numbers()
        with anyio.move_on_after(0):
            await stream.__anext__()
        assert source.queued == 0
        instance(source).gate.set()
        await settle()
        assert instance(source).log == []
        assert adds_up(rt)


async def test_a_stream_to_a_full_mailbox_waits_or_is_refused() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source, mailbox=Mailbox(1))
        strict = await rt.spawn(Source, mailbox=Mailbox(1, "raise"))
        for ref in (source, strict):
            ref.tell(Source.hold)
            await settle()
            ref.tell(Source.tick)
        stream: Any = strict.ask.numbers(2)
        with pytest.raises(MailboxFull):
            await stream.__anext__()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        async with anyio.create_task_group() as group:
            group.start_soon(collected, source.ask.numbers(2))
            await settle()
            instance(source).gate.set()
            instance(strict).gate.set()
        assert instance(source).log[0] == "tick"
        assert adds_up(rt)


# ------------------------------------------------------------------------------------------------- timeouts


async def test_the_timeout_is_that_of_each_item() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        source = await rt.spawn(Source)
        stream: Any = source.asking(timeout="1s").numbers()
        for number in range(4):
            assert await stream.__anext__() == number
            await clock.passes(0.9)
        await stream.aclose()
        assert rt._system.kernel.timers == 0


async def test_an_item_that_takes_too_long_ends_the_stream() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        source = await rt.spawn(Source)
        stream: Any = source.asking(timeout="1s").waits()
        assert await stream.__anext__() == "first"
        await clock.passes(100)

        async def read() -> None:
            with pytest.raises(AskTimeout, match="waits of actor .* did not answer within 1 s"):
                await stream.__anext__()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await clock.passes(1)
        assert instance(source).log == ["closed"]
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert await source.ask.ping() == "pong"
        assert adds_up(rt)


async def test_an_item_that_takes_too_long_because_others_are_handled_ends_the_stream_at_once() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        source = await rt.spawn(Source)
        stream: Any = source.asking(timeout="1s").numbers()
        await stream.__anext__()
        source.tell(Source.hold)
        await settle()

        async def read() -> None:
            with pytest.raises(AskTimeout):
                await stream.__anext__()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await clock.passes(1)
        assert instance(source).log == ["begins", "yields 0"]
        instance(source).gate.set()
        await settle()
        assert instance(source).log[-1] == "closed"
        assert adds_up(rt)


async def test_a_queued_stream_that_expires_never_begins() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        source = await rt.spawn(Source)
        source.tell(Source.hold)
        await settle()

        async def read() -> None:
            with pytest.raises(AskTimeout):
                await collected(source.asking(timeout=1).numbers())

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await clock.passes(1)
        instance(source).gate.set()
        await settle()
        assert instance(source).log == []
        assert adds_up(rt)


# ---------------------------------------------------------------------------------- the actor ends meanwhile


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_when_the_actor_ends_mid_stream_the_reader_hears_of_it(how: str) -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.numbers()
        await stream.__anext__()
        log = instance(source).log
        await getattr(source, how)()
        assert log[-1] == "closed"
        with pytest.raises(ActorStopped, match="the stream numbers was cut off: actor 'Source-"):
            await stream.__anext__()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        await stream.aclose()
        assert adds_up(rt)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_when_the_actor_ends_while_its_generator_waits_the_reader_hears_of_it(how: str) -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)
        stream: Any = source.ask.waits()
        await stream.__anext__()
        log, gate = instance(source).log, instance(source).gate

        async def read() -> None:
            if how == "kill":
                with pytest.raises(ActorStopped):
                    await stream.__anext__()
            else:
                assert await stream.__anext__() == "second"

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await settle()
            group.start_soon(getattr(source, how))
            await settle()
            gate.set()
        assert log == ["closed"]
        await stream.aclose()
        assert adds_up(rt)


async def test_when_the_actor_fails_its_streams_are_cut_off_and_closed_before_it_restarts() -> None:
    lives: list[Any] = []

    class Failing(Source):
        def __init__(self) -> None:
            super().__init__()
            lives.append(self)

        async def fail(self) -> None:
            raise OSError("told to")

    async with Runtime() as rt:
        source = await rt.spawn(Failing)
        streams: list[Any] = [source.ask.numbers(), source.ask.numbers()]
        for stream in streams:
            await stream.__anext__()
        source.tell(Failing.fail)
        await settle()
        for stream in streams:
            with pytest.raises(ActorStopped) as caught:
                await stream.__anext__()
            assert isinstance(caught.value.__cause__, OSError)
        assert await source.ask.ping() == "pong"
        assert lives[0].log.count("closed") == 2
        assert lives[1].log == ["ping"]
        assert adds_up(rt)


async def test_an_actor_stops_although_a_generator_of_it_has_demand_for_ever() -> None:
    async with Runtime() as rt:
        source = await rt.spawn(Source)

        async def read() -> None:
            with pytest.raises(ActorStopped):
                async for _ in source.ask.numbers():
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await settle()
            await source.stop()
        assert adds_up(rt)


async def test_a_killed_actor_does_not_wait_for_long_farewells() -> None:
    class Slow(Source):
        async def slow_to_close(self) -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await anyio.sleep_forever()

    async with Runtime() as rt:
        source = await rt.spawn(Slow)
        stream: Any = source.ask.slow_to_close()
        await stream.__anext__()
        await source.kill()
        assert not source.alive


@pytest.mark.process
@pytest.mark.deadline(30)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_streams_of_actors_in_hosts_end_with_their_actor_too(how: str) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        counter = await rt.spawn(host_work.Counter)
        stream: Any = counter.ask.numbers(1000)
        assert await stream.__anext__() == 0
        await getattr(counter, how)()
        with pytest.raises(ActorStopped, match="the stream numbers was cut off"):
            await stream.__anext__()
        await stream.aclose()
        assert adds_up(rt)


# ----------------------------------------------------------------------------------- scopes around a yield


class Scoped(Actor):
    """Generators with scopes around their yields."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def gives_up_waiting(self) -> AsyncIterator[str]:
        with anyio.move_on_after(0) as scope:
            yield "first"
            yield "in time"
        yield f"cancelled: {scope.cancelled_caught}"
        yield "last"

    async def fails_waiting(self) -> AsyncIterator[str]:
        try:
            with anyio.fail_after(0):
                yield "first"
        finally:
            self.log.append("closed")

    async def group(self) -> AsyncIterator[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._work)
            yield 1
            yield 2
        self.log.append("group is done")

    async def _work(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.log.append("worked")

    async def same_task(self) -> AsyncIterator[object]:
        while True:
            yield anyio.get_current_task()

    async def ping(self) -> str:
        return "pong"


async def test_a_scope_around_a_yield_that_runs_out_cancels_there_and_the_generator_goes_on() -> None:
    async with Runtime() as rt:
        scoped = await rt.spawn(Scoped)
        stream: Any = scoped.ask.gives_up_waiting()
        assert await stream.__anext__() == "first"
        await settle()
        await anyio.sleep(0.001)
        await settle()
        assert await stream.__anext__() == "cancelled: True"
        assert await stream.__anext__() == "last"
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert await scoped.ask.ping() == "pong"


async def test_a_deadline_around_a_yield_that_runs_out_fails_there() -> None:
    async with Runtime() as rt:
        scoped = await rt.spawn(Scoped)
        stream: Any = scoped.ask.fails_waiting()
        assert await stream.__anext__() == "first"
        await anyio.sleep(0.001)
        await settle()
        with pytest.raises(TimeoutError):
            await stream.__anext__()
        assert instance(scoped).log == ["closed"]
        assert await scoped.ask.ping() == "pong"
        assert adds_up(rt)


async def test_a_task_group_around_yields_works() -> None:
    async with Runtime() as rt:
        scoped = await rt.spawn(Scoped)
        assert await collected(scoped.ask.group()) == [1, 2]
        assert instance(scoped).log == ["worked", "group is done"]


async def test_a_generator_lives_in_one_task() -> None:
    async with Runtime() as rt:
        scoped = await rt.spawn(Scoped)
        tasks = await collected(scoped.ask.same_task(), 3)
        assert tasks[0] == tasks[1] == tasks[2]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_asyncios_own_timeout_around_a_yield_runs_out_there_whoever_has_the_turn() -> None:
    class Timed(Source):
        async def timed(self) -> AsyncIterator[str]:
            try:
                async with asyncio.timeout(0):
                    yield "first"
                    yield "in time"
            except TimeoutError:
                yield "late"

    async with Runtime() as rt:
        timed = await rt.spawn(Timed)
        stream: Any = timed.ask.timed()
        assert await stream.__anext__() == "first"
        timed.tell(Source.hold)
        await anyio.sleep(0.001)
        await settle()
        instance(timed).gate.set()
        assert await stream.__anext__() == "late"
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert await timed.ask.ping() == "pong"
        assert timed._cell.turn is None


# ------------------------------------------------------------------------------------------------ circles


class Reader(Actor):
    """Reads streams of others, or of itself."""

    async def read(self, source: ActorRef[Any], count: int) -> list[int]:
        return await collected(source.ask.numbers(1000), count)

    async def numbers(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def read_back(self, reader: ActorRef[Any]) -> list[int]:
        return [int(await reader.ask.read(current().ref, 2))]

    async def keep(self, source: ActorRef[Any]) -> object:
        self.stream = source.ask.numbers(1000)
        return await self.stream.__anext__()  # type: ignore[attr-defined]

    async def close_for(self, _asker: ActorRef[Any]) -> str:
        await self.stream.aclose()  # type: ignore[attr-defined]
        return "closed"

    async def have_it_closed(self, reader: ActorRef[Any]) -> object:
        return await reader.ask.close_for(current().ref)


async def test_reading_a_stream_of_oneself_in_a_handler_is_a_circle() -> None:
    async with Runtime() as rt:
        reader = await rt.spawn(Reader, name="r")
        with pytest.raises(AskCycle, match="r -> r"):
            await reader.ask.read(reader, 2)
        assert await reader.ask.read(await rt.spawn(Source), 2) == [0, 1]
        assert adds_up(rt)


async def test_reading_a_stream_of_whoever_waits_for_the_reader_is_a_circle() -> None:
    async with Runtime() as rt:
        one, other = await rt.spawn(Reader, name="one"), await rt.spawn(Reader, name="other")
        with pytest.raises(AskCycle, match="other -> one -> other"):
            await one.ask.read_back(other)
        assert adds_up(rt)


async def test_closing_a_stream_of_whoever_waits_for_that_does_not_hang() -> None:
    async with Runtime() as rt:
        source, reader = await rt.spawn(Reader), await rt.spawn(Reader)
        assert await reader.ask.keep(source) == 0
        assert await source.ask.have_it_closed(reader) == "closed"
        await settle()
        assert not source._cell.more().streams
        assert adds_up(rt)


# -------------------------------------------------------------------------------- cancelled at every step


@pytest.mark.parametrize("seed", [None, 2])
async def test_a_reader_may_be_cancelled_at_every_step_and_nothing_is_left(seed: int | None) -> None:
    class Steps(Actor):
        async def items(self) -> AsyncIterator[int]:
            for number in range(3):
                await anyio.lowlevel.checkpoint()
                yield number
                await anyio.lowlevel.checkpoint()

        async def work(self) -> None:
            await anyio.lowlevel.checkpoint()

        async def ping(self) -> str:
            return "pong"

    async with Runtime(seed=seed) as rt:
        actor = await rt.spawn(Steps)
        steps, done = 0, False

        async def read() -> None:
            nonlocal done
            async for _ in actor.ask.items():
                actor.tell(Steps.work)
                await anyio.lowlevel.checkpoint()
            done = True

        while not done:
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            await settle()
            assert await actor.ask.ping() == "pong"
            assert not actor._cell.more().streams
            assert not actor._cell.more().resuming
            assert actor._cell.turn is None
            assert adds_up(rt), steps
            steps += 1
        assert 5 < steps < 80

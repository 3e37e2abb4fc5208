"""What actors cost, and that nothing of them is left: no cycles that hold messages, no steady growth."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, ActorRef, Runtime, current
from tests.manual_clock import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.deadline(20), pytest.mark.usefixtures("small_heap")]


class Idle(Actor):
    """Does nothing."""


class Payload:
    """Something that a message carries."""


class Taker(Actor):
    """Takes messages, and fails when told to."""

    async def take(self, payload: object) -> None:
        await anyio.lowlevel.checkpoint()

    async def take_at_once(self, payload: object) -> None: ...

    async def fail(self, payload: object) -> None:
        raise OSError("told to")

    async def fail_later(self, payload: object) -> None:
        await anyio.lowlevel.checkpoint()
        raise OSError("told to")

    async def give_back(self, payload: object) -> object:
        await anyio.lowlevel.checkpoint()
        return payload

    async def defer(self, payload: object) -> None:
        current().defer(str, payload)

    async def stream(self, payload: object) -> AsyncIterator[int]:
        yield 1
        yield 2

    async def failing_stream(self, payload: object) -> AsyncIterator[int]:
        yield 1
        raise OSError("told to")

    async def hold(self, payload: object) -> None:
        await anyio.sleep_forever()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is gone in this test is gone by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_an_idle_actor_takes_at_most_a_kilobyte_and_a_half() -> None:
    async with Runtime() as rt:
        await rt.spawn(Idle)
        gc.collect()
        tracemalloc.start()
        try:
            refs = [await rt.spawn(Idle) for _ in range(2_000)]
            gc.collect()
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size / len(refs) <= 1500


async def test_actors_that_have_stopped_are_gone_at_once(no_collector: None) -> None:
    async with Runtime() as rt:
        refs = [await rt.spawn(Idle) for _ in range(100)]
        cells = [weakref.ref(ref._cell) for ref in refs]
        instances = [weakref.ref(ref._cell.instance) for ref in refs]
        for ref in refs:
            await ref.stop()
        assert not any(instance() for instance in instances)
        del refs, ref
        await settle()
        assert not any(cell() for cell in cells)


async def test_a_class_that_nobody_uses_any_more_is_collected_though_actors_of_it_have_lived() -> None:
    def make() -> type[Actor]:
        class Passing(Idle):
            async def on_start(self) -> None:
                await super().on_start()  # what refers to the class, and is known to its table

            async def work(self) -> str:
                return super().__repr__()

        return Passing

    async with Runtime() as rt:
        kind = make()
        ref: Any = await rt.spawn(kind)
        await ref.ask.work()
        await ref.stop()
        left = weakref.ref(kind)
        del kind, ref
        await settle()
        gc.collect()
        assert left() is None


async def test_actors_that_were_busy_are_gone_when_they_have_stopped(no_collector: None) -> None:
    async with Runtime() as rt:
        ref: Any = await rt.spawn(Taker)
        other: Any = await rt.spawn(Taker)
        ref.link(other)
        ref.tell(Taker.take, 1)
        await ref.ask.take(2)
        assert [number async for number in ref.ask.stream(3)] == [1, 2]
        cell = weakref.ref(ref._cell)
        await ref.kill()
        del ref
        await settle()
        assert cell() is None


async def _sent(ref: ActorRef[Taker], how: str, payload: object) -> None:
    match how:
        case "tell":
            ref.tell(Taker.take, payload)
        case "tell at once":
            ref.tell(Taker.take_at_once, payload)
        case "telling":
            await ref.telling(Taker.take, payload)
        case "ask":
            await ref.ask.take(payload)
        case "ask at once":
            await ref.ask.take_at_once(payload)
        case "ask with a timeout":
            await ref.asking(timeout=5).take(payload)
        case "ask that is answered with it":
            assert await ref.ask.give_back(payload) is payload
        case "ask that defers":
            await ref.ask.defer(payload)
        case "ask that is cancelled":
            with anyio.move_on_after(0):
                await ref.ask.hold(payload)
        case "ask that is cancelled while it is queued":
            ref.tell(Taker.take, 1)
            with anyio.move_on_after(0):
                await ref.ask.hold(payload)
        case "stream":
            async for _ in ref.ask.stream(payload):
                pass
        case "stream that is left":
            async for _ in ref.ask.stream(payload):
                break
        case _:
            raise AssertionError(how)


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize(
    "how",
    [
        "tell",
        "tell at once",
        "telling",
        "ask",
        "ask at once",
        "ask with a timeout",
        "ask that is answered with it",
        "ask that defers",
        "ask that is cancelled",
        "ask that is cancelled while it is queued",
        "stream",
        "stream that is left",
    ],
)
async def test_a_message_is_gone_when_it_is_handled(how: str, seed: int | None, no_collector: None) -> None:
    async with Runtime(seed=seed) as rt:
        ref = await rt.spawn(Taker)
        payload = Payload()
        gone = weakref.ref(payload)
        await _sent(ref, how, payload)
        del payload
        await settle()
        await ref.ask.take_at_once(None)
        ref.tell(Taker.take_at_once, None)
        await settle()
        assert gone() is None


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("handler", ["fail", "fail_later", "failing_stream"])
async def test_a_message_is_gone_when_its_error_is(
    handler: str, seed: int | None, no_collector: None
) -> None:
    async with Runtime(seed=seed) as rt:
        ref = await rt.spawn(Taker)
        payload = Payload()
        gone = weakref.ref(payload)
        try:
            if handler == "failing_stream":
                async for _ in ref.ask.failing_stream(payload):
                    pass
            else:
                await getattr(ref.ask, handler)(payload)
        except OSError:
            pass
        del payload
        await ref.ask.take_at_once(None)
        ref.tell(Taker.take, None)
        await settle()
        assert gone() is None


async def test_a_message_is_gone_when_its_actor_was_killed(no_collector: None) -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(Taker)
        payloads = [Payload(), Payload()]
        gone = [weakref.ref(payload) for payload in payloads]
        for payload in payloads:
            ref.tell(Taker.hold, payload)
        await settle()
        await ref.kill()
        del payloads, payload
        await settle()
        assert not any(each() for each in gone)


async def test_what_a_sender_had_in_its_context_is_not_kept_by_carriers_or_timers(no_collector: None) -> None:
    from contextvars import ContextVar

    var: ContextVar[object] = ContextVar("var")

    async with Runtime() as rt:
        ref = await rt.spawn(Taker)

        async def send(payload: object) -> None:
            var.set(payload)
            ref.tell(Taker.take, None)
            await ref.asking(timeout=100).take(None)
            await ref.ask.take(None)

        gone = await _in_a_task_of_its_own(send)
        await settle()
        assert gone() is None


async def _in_a_task_of_its_own(function: Any) -> weakref.ref[Payload]:
    payload = Payload()
    gone = weakref.ref(payload)
    async with anyio.create_task_group() as group:
        group.start_soon(function, payload)
    return gone


async def test_in_a_steady_state_memory_is_flat() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(Taker)

        async def work() -> None:
            for _ in range(50):
                ref.tell(Taker.take, 1)
                await ref.ask.take(1)
                await ref.asking(timeout=100).take(1)
                with anyio.move_on_after(0):
                    await ref.ask.hold(1)
                async for _ in ref.ask.stream(1):
                    break
                other = await rt.spawn(Taker)
                await other.stop()

        await work()
        gc.collect()
        tracemalloc.start()
        try:
            await work()
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(4):
                await work()
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 20_000
        assert len(rt._system.kernel.carriers) <= 20


@pytest.mark.slow
@pytest.mark.deadline(60)
async def test_ten_thousand_actors_come_and_go() -> None:
    async with Runtime() as rt:
        refs = [await rt.spawn(Taker) for _ in range(10_000)]
        cells = [weakref.ref(ref._cell) for ref in refs]
        for ref in refs:
            ref.tell(Taker.take_at_once, 1)
        for ref in refs:
            await ref.ask.take_at_once(2)
    del refs, ref
    gc.collect()
    assert not any(cell() for cell in cells)
    assert rt._system.kernel.office.handled == 20_000

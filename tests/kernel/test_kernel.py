"""The kernel in a running loop: mail, carriers, the budget of a turn, seeds, threads and timers."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest

from actorsched import Actor, ActorRef, Mailbox, Runtime, current
from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._kernel.choose import running_backend
from actorsched._kernel.clock import RealClock
from actorsched._kernel.kernel import Kernel
from tests.manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.deadline(20)


def kernel(seed: int | None = None, clock: Any = None) -> Kernel:
    backend = running_backend()
    return Kernel(backend, clock or RealClock(backend), seed)


# ------------------------------------------------------------------------------------- the system's actors


class Hop:
    """A message that goes on to others."""

    def __init__(self, count: int, then: Callable[[], object] | None = None) -> None:
        self.count = count
        self.then = then


class Node(Behaviour):
    """Passes what it gets on to the next."""

    log: list[int] = []
    next: Node | None = None

    @handles(Hop)
    def _hop(self, message: Hop, out: Outbox) -> None:
        self.log.append(message.count)
        if message.then is not None:
            message.then()
        if message.count and self.next is not None:
            out.send((self.next, Hop(message.count - 1)))


class Broken(Behaviour):
    """Cannot handle a thing."""

    @handles(Hop)
    def _hop(self, message: Hop, out: Outbox) -> None:
        raise ZeroDivisionError("a bug of ours")


async def test_a_whole_conversation_has_happened_when_post_returns() -> None:
    k = kernel()
    one = Node()
    other = Node(next=one)
    one.next = other
    k.post(one, Hop(6))
    assert (one.log, other.log) == ([6, 4, 2, 0], [5, 3, 1])


async def test_what_is_posted_in_the_middle_of_a_conversation_comes_after_it() -> None:
    k = kernel()
    node = Node()
    node.next = node
    k.post(node, Hop(1, then=lambda: k.post(node, Hop(0))))
    assert node.log == [1, 0, 0]


async def test_a_conversation_without_end_leaves_the_loop_its_turns() -> None:
    k = kernel()
    node = Node()
    node.next = node
    k.post(node, Hop(10**9))
    before = len(node.log)
    await settle(5)
    assert len(node.log) > before
    k.mail.clear()
    await settle()


async def test_a_bug_of_the_system_is_reported_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    k = kernel()
    panics: list[BaseException] = []
    k.on_panic = panics.append
    node = Node()
    k.post(Broken(), Hop(1))
    k.post(node, Hop(0))
    assert node.log == [0]
    assert [type(error) for error in panics] == [ZeroDivisionError]
    assert "please report this" in caplog.text


# ----------------------------------------------------------------------------------------------- carriers


class Worker(Actor):
    """Works in several ways."""

    mailbox = Mailbox(capacity=None)

    def __init__(self, log: list[Any] | None = None, name: str = "") -> None:
        self.log = [] if log is None else log
        self.name = name
        self.gate = anyio.Event()

    async def note(self, what: object = None) -> None:
        self.log.append(self.name if what is None else what)

    async def hold(self) -> None:
        await self.gate.wait()

    async def task(self) -> object:
        return anyio.get_current_task().id

    async def call(self, function: Callable[[], Any]) -> Any:
        return function()


async def test_handlers_that_never_suspend_share_one_carrier() -> None:
    async with Runtime() as rt:
        workers = [await rt.spawn(Worker) for _ in range(100)]
        for worker in workers:
            worker.tell(Worker.note, 1)
        await settle()
        assert all(worker._cell.instance.log == [1] for worker in workers)
        assert len(rt._system.kernel.carriers) == 1


async def test_each_handler_that_waits_has_a_carrier_and_few_are_kept_afterwards() -> None:
    async with Runtime() as rt:
        workers = [await rt.spawn(Worker) for _ in range(100)]
        for worker in workers:
            worker.tell(Worker.hold)
        await settle(150)
        carriers = rt._system.kernel.carriers
        many = len(carriers)
        for worker in workers:
            worker._cell.instance.gate.set()
        await settle(150)
        assert many >= 100
        assert len(carriers) <= 17
    assert not carriers


async def test_a_carrier_whose_handler_was_killed_carries_no_other() -> None:
    async with Runtime() as rt:
        for _ in range(20):
            worker = await rt.spawn(Worker)
            worker.tell(Worker.hold)
            await settle()
            await worker.kill()
        other = await rt.spawn(Worker)
        other.tell(Worker.note, "still fine")
        await other.ask.note("me too")
        assert other._cell.instance.log == ["still fine", "me too"]


async def test_no_task_of_ours_is_left_when_the_runtime_is() -> None:
    before = asyncio.all_tasks() if _asyncio() else set()
    async with Runtime() as rt:
        for _ in range(5):
            worker = await rt.spawn(Worker)
            worker.tell(Worker.hold)
            await settle()
            await worker.kill()
        await settle()
    assert not rt._system.kernel.carriers
    assert rt._system.kernel.timers == 0
    if _asyncio():
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_a_carrier_that_was_called_and_has_yet_to_begin_is_waited_for() -> None:
    async with Runtime() as rt:
        worker = await rt.spawn(Worker)
        worker.tell(Worker.hold)
        await settle()
        kernel = rt._system.kernel
        before = len(kernel.carriers)
        assert not kernel.idle  # who could come instead
        kernel._call_carrier()
        assert len(kernel.carriers) == before + 1
        await worker.kill()
    assert not kernel.carriers


def _asyncio() -> bool:
    import sniffio

    return sniffio.current_async_library() == "asyncio"


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_carriers_that_somebody_cancels_are_replaced() -> None:
    async with Runtime() as rt:
        workers = [await rt.spawn(Worker) for _ in range(5)]
        for _ in range(5):
            for worker in workers:
                worker.tell(Worker.note, 1)
            for task in asyncio.all_tasks():
                if "carrier" in task.get_name():
                    task.cancel()
            await settle(3)
        await settle()
        for worker in workers:
            assert await worker.ask.task()
            assert worker._cell.instance.log == [1] * 5
    assert not rt._system.kernel.carriers


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_a_cancellation_that_a_handler_swallows_does_not_reach_the_next() -> None:
    class Odd(Worker):
        async def swallow(self) -> None:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                self.log.append("swallowed")  # and no uncancel, as older libraries did

        async def group(self) -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._fail())
                    await asyncio.sleep(10)
            except* OSError:
                self.log.append("group failed")

        async def _fail(self) -> None:
            await asyncio.sleep(0)
            raise OSError("child")

    async with Runtime() as rt:
        odd = await rt.spawn(Odd)
        for _ in range(3):
            odd.tell(Odd.swallow)
            odd.tell(Odd.group)
            await settle()
        assert odd._cell.instance.log == ["swallowed", "group failed"] * 3


@pytest.mark.parametrize("backend", ["asyncio"])
async def test_an_eager_task_factory_does_not_run_handlers_in_the_middle_of_a_send() -> None:
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is not None:  # since 3.12
        asyncio.get_running_loop().set_task_factory(factory)
    async with Runtime() as rt:
        worker = await rt.spawn(Worker)
        worker.tell(Worker.note, 1)
        assert worker._cell.instance.log == []
        await worker.ask.note(2)
        assert worker._cell.instance.log == [1, 2]


# ------------------------------------------------------------------------------------ the budget of a turn


async def test_the_loop_breathes_while_a_hundred_thousand_messages_are_handled() -> None:
    async with Runtime() as rt:
        worker = await rt.spawn(Worker)
        for number in range(100_000):
            worker.tell(Worker.note, number)
        turns = 0
        while worker.queued:
            turns += 1
            await anyio.lowlevel.checkpoint()
        assert turns >= 5
        await settle()
        assert worker._cell.instance.log == list(range(100_000))


async def test_slow_handlers_use_up_the_budget_sooner() -> None:
    import time

    class Slow(Worker):
        async def work(self) -> None:
            end = time.monotonic() + 0.001
            while time.monotonic() < end:
                pass

    async with Runtime() as rt:
        workers = [await rt.spawn(Slow) for _ in range(30)]
        for worker in workers:
            worker.tell(Slow.work)
        turns = 0
        while any(worker.queued for worker in workers):
            turns += 1
            await anyio.lowlevel.checkpoint()
        assert turns >= 5


async def test_actors_of_equal_rank_take_turns_in_bursts() -> None:
    log: list[Any] = []
    async with Runtime() as rt:
        workers = [await rt.spawn(Worker, log, name) for name in "ab"]
        for _ in range(40):
            for worker in workers:
                worker.tell(Worker.note)
        await settle()
        assert "".join(log) == "a" * 16 + "b" * 16 + "a" * 16 + "b" * 16 + "a" * 8 + "b" * 8


async def test_a_handler_that_blocks_the_loop_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    class Blocker(Worker):
        async def block(self) -> None:
            self._sleep()

        async def block_later(self) -> None:
            await anyio.lowlevel.checkpoint()
            self._sleep()

        def _sleep(self) -> None:
            import time

            end = time.monotonic() + 0.11
            while time.monotonic() < end:
                pass

    async with Runtime() as rt:
        for name, handler in [("one", Blocker.block), ("two", Blocker.block_later)]:
            blocker = await rt.spawn(Blocker, name=name)
            blocker.tell(handler)
            blocker.tell(handler)
            await blocker.ask.note(1)
        asked = await rt.spawn(Blocker, name="three")
        await asked.ask.block()
        await (await rt.spawn(Blocker, name="four")).ask.block_later()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 4
    for name, warning in zip(("one", "two", "three", "four"), warnings, strict=True):
        assert f"actor {name!r} kept the event loop for 0." in warning


# --------------------------------------------------------------------------------------------------- seeds


async def order(seed: int | None) -> str:
    """In which order ten actors handle three messages each."""
    log: list[Any] = []
    async with Runtime(seed=seed) as rt:
        workers = [await rt.spawn(Worker, log, name) for name in "abcdefghij"]
        for _ in range(3):
            for worker in workers:
                worker.tell(Worker.note)
        await settle(50)
    return "".join(log)


async def test_without_a_seed_actors_come_in_the_order_of_their_messages() -> None:
    assert await order(None) == "".join(name * 3 for name in "abcdefghij")


async def test_a_seed_repeats_its_order_and_another_seed_has_another() -> None:
    first = await order(7)
    assert sorted(first) == sorted("abcdefghij" * 3)
    assert await order(7) == first
    assert len({await order(seed) for seed in range(10)}) == 10


# ------------------------------------------------------------------------------------------------- threads


async def test_calls_from_threads_come_in_their_order_on_the_loops_thread() -> None:
    k = kernel()
    log: list[tuple[int, int]] = []

    def work() -> None:
        for number in range(1000):
            k.call_threadsafe(lambda number=number: log.append((number, threading.get_ident())))

    await anyio.to_thread.run_sync(work)
    while len(log) < 1000:
        await anyio.lowlevel.checkpoint()
    assert [number for number, _ in log] == list(range(1000))
    assert {ident for _, ident in log} == {threading.get_ident()}


async def test_a_call_from_a_thread_that_fails_is_reported_and_the_next_is_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    k = kernel()
    done: list[int] = []
    k.call_threadsafe(lambda: 1 // 0)
    k.call_threadsafe(done.append, 1)
    await settle()
    assert done == [1]
    assert "please report this" in caplog.text


async def test_post_threadsafe_is_at_once_here_and_soon_from_elsewhere() -> None:
    k = kernel()
    node = Node()
    k.post_threadsafe(node, Hop(0))
    assert node.log == [0]
    await anyio.to_thread.run_sync(k.post_threadsafe, node, Hop(0))
    await settle()
    assert node.log == [0, 0]


# -------------------------------------------------------------------------------------------------- timers


async def test_timers_ring_in_their_order() -> None:
    clock = ManualClock()
    k = kernel(clock=clock)
    log: list[str] = []
    for delay, name in [(3, "c"), (1, "a"), (2, "b")]:
        k.call_later(delay, log.append, name)
    k.call_later(2.5, log.append, "never").cancel()
    await clock.passes(10)
    assert log == ["a", "b", "c"]
    assert (k.timers, clock.waiting) == (0, 0)


async def test_the_clock_is_asked_for_the_earliest_timer_only() -> None:
    clock = ManualClock()
    k = kernel(clock=clock)
    for delay in range(100, 0, -1):
        k.call_later(delay, str)
    assert clock.waiting == 1
    await k.aclose()
    assert clock.waiting == 0


async def test_sleeping_on_the_runtimes_clock() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        done = anyio.Event()

        async def sleep() -> None:
            await rt.sleep("2s")
            done.set()

        async with anyio.create_task_group() as group:
            group.start_soon(sleep)
            await clock.passes(1.9)
            assert not done.is_set()
            await clock.passes(0.1)
            assert done.is_set()
        with anyio.move_on_after(0):
            await rt.sleep(5)
        assert rt._system.kernel.timers == 0


async def test_a_real_clock_works_too() -> None:
    async with Runtime() as rt:
        await rt.sleep(0.001)
        await rt.sleep(0)


# ------------------------------------------------------------------------------------------------ contexts

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


class Nested(Actor):
    """Opens groups in its handlers."""

    seen: ClassVar[list[str]] = []

    async def on_start(self) -> None:
        self.answers: list[object] = []

    async def group(self) -> list[object]:
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(self._child, number)
        return self.answers

    async def _child(self, number: int) -> None:
        before = NAME.get()
        NAME.set(f"child {number}")
        await anyio.lowlevel.checkpoint()
        self.answers.append((before, NAME.get(), current().name))


async def test_children_of_a_handlers_task_group_inherit_its_context() -> None:
    async with Runtime() as rt:
        nested = await rt.spawn(Nested, name="n")
        NAME.set("sender")
        answers: Any = await nested.ask.group()
        assert sorted(answers) == [("sender", f"child {number}", "n") for number in range(3)]
        assert NAME.get() == "sender"


@pytest.mark.parametrize("backend", ["trio"])
async def test_trios_own_nurseries_and_scopes_work_inside_a_handler() -> None:
    import trio

    class Trio(Actor):
        async def nursery(self) -> list[int]:
            done: list[int] = []

            async def child(number: int) -> None:
                await trio.lowlevel.checkpoint()
                done.append(number)

            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(child, number)
            return sorted(done)

        async def timeout(self) -> str:
            with trio.move_on_after(0) as scope:
                await trio.sleep_forever()
            return "cancelled" if scope.cancelled_caught else "not"

        async def failing(self) -> str:
            async def child() -> None:
                await trio.lowlevel.checkpoint()
                raise OSError("child")

            answer = "not"
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(child)
                    await trio.sleep_forever()
            except* OSError:
                answer = "failed"
            return answer

    async with Runtime() as rt:
        actor: ActorRef[Trio] = await rt.spawn(Trio)
        for _ in range(3):
            assert await actor.ask.nursery() == [0, 1, 2]
            assert await actor.ask.timeout() == "cancelled"
            assert await actor.ask.failing() == "failed"


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_two_runtimes_in_one_loop_do_not_get_in_each_others_way() -> None:
    async with Runtime() as one, Runtime() as other:
        a, b = await one.spawn(Worker, name="w"), await other.spawn(Worker, name="w")

        class Caller(Actor):
            async def ask_both(self) -> int:
                await a.ask.note(1)
                await b.ask.note(2)
                return 3

        caller = await one.spawn(Caller)
        assert await caller.ask.ask_both() == 3
        assert (a._cell.instance.log, b._cell.instance.log) == ([1], [2])
        assert one.lookup("w") != other.lookup("w")

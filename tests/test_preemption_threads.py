"""Preemption in threads: a function waits at its next checkpoint, or sees that it is to make room."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Runtime, TaskCancelled, TaskRef, TaskStatus, checkpoint, current
from actorsched.events import KINDS
from actorsched.exceptions import Interrupted, TaskTimeout
from tests.manual_clock import ManualClock, settle, until

if TYPE_CHECKING:
    from collections.abc import Callable

LATER = tuple(kind for kind in KINDS if kind != "created")
HIGH = 6


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the interpreter must not look like waiting for a lock, but to the test of that."""
    if "lock" not in request.node.name:
        monkeypatch.setattr("actorsched._system.scheduler.STALL", 1000.0)


class Work:
    """A function for a thread that takes steps until it is let go, with a checkpoint between them."""

    def __init__(self) -> None:
        self.steps = 0
        self.interrupted = False
        self._over = threading.Event()
        self.deferred = False

    def __call__(self) -> int:
        current().defer(setattr, self, "deferred", True)
        try:
            while not self._over.is_set():
                self.steps += 1
                checkpoint()
        except Interrupted:
            self.interrupted = True
            raise
        return self.steps

    async def stands_still(self, rt: Runtime) -> bool:
        """Whether it takes no step while the loop and other threads take many."""
        before = self.steps
        for _ in range(10):
            await rt.run(int, host="thread")
            await settle()
        return self.steps == before

    async def goes_on(self) -> bool:
        """Wait until it has taken a step."""
        before = self.steps
        await until(lambda: self.steps > before)
        return True

    def let_go(self) -> None:
        self._over.set()


async def begin(rt: Runtime, work: Work, priority: int, **options: Any) -> TaskRef[int]:
    ref = await rt.spawn(work, host="thread", tag="t", priority=priority, **options)
    await until(lambda: work.steps)
    return ref


def is_free(rt: Runtime) -> bool:
    pool = rt._system.pools["t"]
    return not (pool.running or pool.next or len(pool.policy))


def runtime(**options: Any) -> Runtime:
    """A runtime with one place for threads."""
    return Runtime(pools={"t": 1}, **options)


async def test_a_function_waits_at_its_checkpoint_until_the_urgent_one_has_ended() -> None:
    events: list[str] = []
    async with runtime() as rt:
        rt.subscribe(LATER, lambda event: events.append(f"{event.name} {event.kind}"))
        low, urgent = Work(), Work()
        ref = await begin(rt, low, 1, name="low")
        other = await begin(rt, urgent, HIGH, name="urgent")
        assert (ref.status, other.status) == (TaskStatus.PREEMPTED, TaskStatus.RUNNING)
        assert await low.stands_still(rt)
        low.let_go()
        assert await low.stands_still(rt)
        assert await urgent.goes_on()
        urgent.let_go()
        assert await ref == low.steps
        assert await other == urgent.steps
        assert low.deferred
    assert [event for event in events if event.startswith(("low", "urgent"))] == [
        "low ready",
        "low started",
        "urgent ready",
        "low preempted",
        "urgent started",
        "urgent completed",
        "low resumed",
        "low completed",
    ]
    assert is_free(rt)


async def test_a_pool_that_was_made_while_running_preempts_too() -> None:
    async with Runtime() as rt:
        rt.pool("t", workers=1)
        low, urgent = Work(), Work()
        ref = await begin(rt, low, 1)
        await begin(rt, urgent, HIGH)
        assert ref.status is TaskStatus.PREEMPTED
        for work in (urgent, low):
            work.let_go()
        await ref


async def test_one_that_sees_that_it_is_to_make_room_returns_what_it_has() -> None:
    events: list[str] = []
    async with runtime() as rt:
        rt.subscribe("preempted", lambda event: events.append(event.name))
        began = threading.Event()

        def partial() -> str:
            began.set()
            while not current().preempt_requested:
                pass
            return "half of it"

        ref = await rt.spawn(partial, host="thread", tag="t")
        await until(began.is_set)
        assert await rt.run(str, host="thread", tag="t", priority=HIGH) == ""
        assert await ref == "half of it"
    assert not events
    assert is_free(rt)


async def test_without_a_checkpoint_the_urgent_one_waits() -> None:
    async with runtime() as rt:
        over, began, order = threading.Event(), threading.Event(), list[str]()

        def stubborn() -> None:
            began.set()
            over.wait()
            order.append("low")

        await rt.spawn(stubborn, host="thread", tag="t")
        await until(began.is_set)
        ref = await rt.spawn(order.append, "urgent", host="thread", tag="t", priority=HIGH)
        await settle()
        assert ref.status is TaskStatus.READY
        over.set()
        await ref
    assert order == ["low", "urgent"]


async def test_whoever_may_not_be_preempted_passes_its_checkpoints() -> None:
    async with runtime() as rt:
        low = Work()
        ref = await begin(rt, low, 0, preemptible=False)
        other = await rt.spawn(int, host="thread", tag="t", priority=HIGH)
        assert await low.goes_on()
        assert (ref.status, other.status) == (TaskStatus.RUNNING, TaskStatus.READY)
        low.let_go()
        await other


async def test_one_that_is_chosen_again_before_its_checkpoint_just_goes_on() -> None:
    events: list[str] = []
    async with runtime() as rt:
        rt.subscribe("preempted", lambda event: events.append(event.name))
        go, began = threading.Event(), threading.Event()

        def work() -> str:
            began.set()
            go.wait()
            checkpoint()
            return "done"

        ref = await rt.spawn(work, host="thread", tag="t")
        await until(began.is_set)
        other = await rt.spawn(int, host="thread", tag="t", priority=HIGH)
        await settle()
        await other.cancel()
        await settle()
        go.set()
        assert await ref == "done"
    assert not events
    assert is_free(rt)


async def by_its_ref(rt: Runtime, ref: TaskRef[int]) -> None:
    await ref.cancel("enough")


async def by_its_timeout(rt: Runtime, ref: TaskRef[int]) -> None:
    clock: Any = rt._system.kernel.clock
    await clock.passes(7)
    await ref.outcome()


async def by_shutdown(rt: Runtime, ref: TaskRef[int]) -> None:
    await rt.shutdown(drain=False)


@pytest.mark.parametrize("cancel", [by_its_ref, by_its_timeout, by_shutdown])
async def test_a_function_that_is_cancelled_as_it_waits_leaves_at_once(cancel: Callable[..., Any]) -> None:
    async with runtime(clock=ManualClock()) as rt:
        low, urgent = Work(), Work()
        ref = await begin(rt, low, 1, timeout=7)
        other = await begin(rt, urgent, HIGH)
        await cancel(rt, ref)
        assert low.interrupted
        assert low.deferred
        assert isinstance(ref.exception(), TaskTimeout if cancel is by_its_timeout else TaskCancelled)
        assert (other.status is TaskStatus.RUNNING) == (cancel is not by_shutdown)
        urgent.let_go()
    assert is_free(rt)


async def test_one_that_is_abandoned_as_it_waits_is_let_go() -> None:
    async with runtime() as rt:
        low, urgent = Work(), Work()
        ref = await begin(rt, low, 1, abandon_on_cancel=True)
        await begin(rt, urgent, HIGH)
        await ref.cancel()
        await until(lambda: low.deferred)
        urgent.let_go()
    assert is_free(rt)


async def test_leaving_the_runtime_with_an_error_leaves_no_waiting_thread() -> None:
    low, urgent = Work(), Work()
    with pytest.raises(LookupError):
        async with runtime() as rt:
            for priority, work in enumerate((low, urgent)):
                await begin(rt, work, priority)
            raise LookupError
    assert low.interrupted
    assert urgent.interrupted


async def test_a_runtime_that_fails_leaves_no_waiting_thread() -> None:
    low, urgent = Work(), Work()
    with pytest.raises(RuntimeError, match="a bug"):
        async with runtime() as rt:
            for priority, work in enumerate((low, urgent)):
                await begin(rt, work, priority)
            rt._system.kernel.broken("somebody", "something", RuntimeError("a bug"))
            await until(lambda: False)
    assert low.interrupted


async def test_threads_that_preempt_each_other_go_on_in_the_order_of_their_priorities() -> None:
    async with runtime() as rt:
        works = [Work() for _ in range(5)]
        refs = [await begin(rt, work, priority) for priority, work in enumerate(works)]
        assert [ref.status.value for ref in refs] == ["preempted"] * 4 + ["running"]
        for work, ref in reversed(list(zip(works, refs, strict=True))):
            assert ref.status is TaskStatus.RUNNING
            work.let_go()
            await ref
            await settle()
    assert is_free(rt)


async def test_a_preempted_function_goes_on_when_the_urgent_one_waits_for_its_lock() -> None:
    async with runtime() as rt:
        lock, order = threading.Lock(), SimpleQueue[str]()
        began, go = threading.Event(), threading.Event()

        def low() -> None:
            with lock:
                began.set()
                while not go.is_set():
                    checkpoint()
                checkpoint()
                order.put("low")

        def urgent() -> None:
            go.set()
            with lock:
                order.put("urgent")

        ref = await rt.spawn(low, host="thread", tag="t")
        await until(began.is_set)
        await rt.run(urgent, host="thread", tag="t", priority=HIGH)
        await ref
        assert [order.get(), order.get()] == ["low", "urgent"]
    assert is_free(rt)


async def test_every_function_comes_to_its_end_however_often_it_made_room() -> None:
    preempted = 0

    def count(event: object) -> None:
        nonlocal preempted
        preempted += 1

    def steps(number: int) -> int:
        for _ in range(number % 9):
            checkpoint()
        return number

    async with Runtime(pools={"t": 2}) as rt:
        rt.subscribe("preempted", count)
        refs: list[TaskRef[int]] = []
        number = 0
        while preempted < 100:
            number += 1
            refs.append(await rt.spawn(steps, number, host="thread", tag="t", priority=number * 7 % 11))
            await settle(1)
            if not number % 10:
                await refs[-5].cancel()
            await until(lambda: len(rt._nursery.live) < 8)
        for ref in refs:
            assert (await ref.outcome()).status in (TaskStatus.COMPLETED, TaskStatus.CANCELLED)
    assert is_free(rt)

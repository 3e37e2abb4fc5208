"""Preemption in the event loop: who is stopped, where, what reaches it meanwhile, and how it goes on."""

from __future__ import annotations

import asyncio
import random
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio

from actorsched import (
    Actor,
    Runtime,
    TaskCancelled,
    TaskRef,
    TaskStatus,
    current,
    policies,
    sleep,
)
from actorsched.events import KINDS
from actorsched.exceptions import TaskTimeout
from actorsched.testing import compute
from tests.manual_clock import ManualClock, settle, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LATER = tuple(kind for kind in KINDS if kind != "created")
HIGH = 6


class Story:
    """What code says that it has done, and what the runtime says of tasks."""

    def __init__(self, rt: Runtime) -> None:
        self.told: list[str] = []
        rt.subscribe(LATER, lambda event: self.told.append(f"{event.name} {event.kind}"))

    def tell(self, text: str) -> None:
        self.told.append(text)

    def of(self, name: str) -> list[str]:
        return [text.removeprefix(f"{name} ") for text in self.told if text.startswith(f"{name} ")]


class Urgent:
    """An urgent task that runs for as long as a test wants."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._over = anyio.Event()
        self._ref: TaskRef[None] | None = None

    async def begin(self) -> None:
        self._ref = await self._rt.spawn(self._run, name="urgent", priority=HIGH, preemptible=False)
        await settle()

    async def _run(self) -> None:
        with_turns = self._over  # it takes steps all the time, and never seems to wait for anybody
        while not with_turns.is_set():
            await anyio.lowlevel.checkpoint()

    async def end(self) -> None:
        self._over.set()
        assert self._ref is not None
        await self._ref
        await settle()


def is_free(rt: Runtime) -> bool:
    """Whether nobody has a slot, wants one, or is remembered to have one."""
    pool = rt._system.pools["loop"]
    nobody = not (pool.running or pool.next or pool.wishing or len(pool.policy))
    return nobody and not rt._nursery.live


# ------------------------------------------------------------------------------------ stopping, going on


async def test_a_task_stops_at_its_next_await_and_goes_on_there_when_the_urgent_one_has_ended() -> None:
    async with Runtime(concurrency=1) as rt:
        story = Story(rt)
        spawned: list[TaskRef[None]] = []

        async def urgent() -> None:
            story.tell("urgent begins")
            await anyio.lowlevel.checkpoint()
            story.tell(f"low is {low_ref.status}")

        async def low() -> str:
            spawned.append(await rt.spawn(urgent, name="urgent", priority=HIGH))
            story.tell("still the same step")
            await anyio.lowlevel.checkpoint()
            story.tell("after the await")
            return "done"

        low_ref = await rt.spawn(low, name="low")
        assert await low_ref == "done"
        await spawned[0]
        assert story.told == [
            "low ready",
            "low started",
            "urgent ready",
            "low preempted",
            "urgent started",
            "still the same step",
            "urgent begins",
            "low is preempted",
            "urgent completed",
            "low resumed",
            "after the await",
            "low completed",
        ]
    assert is_free(rt)


async def test_it_goes_on_while_the_urgent_one_waits_for_an_actor() -> None:
    class Slow(Actor):
        async def wait(self) -> None:
            await go_on.wait()

    async with Runtime(concurrency=1) as rt:
        story, slow = Story(rt), await rt.spawn(Slow)
        go_on = anyio.Event()

        async def low() -> None:
            story.tell("low begins")
            await go_on.wait()
            story.tell("low goes on")

        async def urgent() -> None:
            await slow.ask.wait()
            story.tell("urgent goes on")

        ref = await rt.spawn(low, name="low", priority=1)
        await settle()
        other = await rt.spawn(urgent, name="urgent", priority=HIGH)
        await settle()
        assert (ref.status, other.status) == (TaskStatus.RUNNING, TaskStatus.WAITING)
        go_on.set()
        await other
        assert story.of("low") == [
            "ready",
            "started",
            "begins",
            "preempted",
            "resumed",
            "goes on",
            "completed",
        ]
    assert is_free(rt)


async def test_one_that_is_preempted_before_its_first_step_takes_it_afterwards() -> None:
    async with Runtime(concurrency=1) as rt:
        story, urgent = Story(rt), Urgent(rt)

        async def low() -> int:
            story.tell("low begins")
            return current().attempt

        ref = await rt.spawn(low, name="low")
        await urgent.begin()
        assert ref.status is TaskStatus.PREEMPTED
        assert "low begins" not in story.told
        await urgent.end()
        assert await ref == 1
        assert story.of("low") == ["ready", "started", "preempted", "resumed", "begins", "completed"]


async def test_several_that_preempt_each_other_go_on_in_the_order_of_their_priorities() -> None:
    async with Runtime(concurrency=1) as rt:
        order: list[str] = []

        async def level(priority: int) -> None:
            order.append(f"{priority} begins")
            if priority < 5:
                await rt.spawn(level, priority + 1, priority=priority + 1)
            await anyio.lowlevel.checkpoint()
            order.append(f"{priority} ends")

        await rt.spawn(level, 0, priority=0)
    assert order == [f"{n} begins" for n in range(6)] + [f"{n} ends" for n in reversed(range(6))]
    assert is_free(rt)


async def test_with_two_slots_the_least_urgent_makes_room() -> None:
    async with Runtime(concurrency=2) as rt:
        urgent, over = Urgent(rt), anyio.Event()
        refs = [await rt.spawn(over.wait, host="loop", priority=priority) for priority in (2, 1)]
        await settle()
        await urgent.begin()
        assert [ref.status for ref in refs] == [TaskStatus.RUNNING, TaskStatus.PREEMPTED]
        over.set()
        await settle()
        assert [ref.status for ref in refs] == [TaskStatus.COMPLETED, TaskStatus.RUNNING] or refs[1].done()
        await urgent.end()
    assert is_free(rt)


async def test_whoever_may_not_be_preempted_is_not() -> None:
    async with Runtime(concurrency=1) as rt:
        over, order = anyio.Event(), list[str]()

        async def note(name: str) -> None:
            await over.wait()
            order.append(name)

        ref = await rt.spawn(note, "low", priority=0, preemptible=False)
        await settle()
        await rt.spawn(note, "urgent", priority=HIGH)
        await settle()
        assert ref.status is TaskStatus.RUNNING
        over.set()
    assert order == ["low", "urgent"]


async def test_equals_never_preempt_each_other() -> None:
    async with Runtime(concurrency=1) as rt:
        story, over = Story(rt), anyio.Event()
        for name in "ab":
            await rt.spawn(over.wait, name=name, host="loop")
        await settle()
        over.set()
    assert "a preempted" not in story.told


async def test_tasks_take_turns_by_quanta() -> None:
    clock = ManualClock()
    async with Runtime(concurrency=1, clock=clock, policy=policies.FixedPriority(quantum=2)) as rt:
        at_work: list[str] = []
        over = anyio.Event()

        async def work(name: str) -> None:
            while not over.is_set():
                at_work[:] = name
                await anyio.lowlevel.checkpoint()

        for name in "abc":
            await rt.spawn(work, name)
        turns = ""
        for _ in range(14):
            await settle()
            turns += at_work[0]
            await clock.passes(1)
        assert turns == "aabbccaabbccaa"
        over.set()
    assert is_free(rt)


# ---------------------------------------------------------------------------- what arrives during the pause


async def test_what_io_brings_meanwhile_is_there_when_it_goes_on() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        async with Runtime(concurrency=1) as rt:
            urgent, seen = Urgent(rt), list[bytes]()

            async def low() -> None:
                await anyio.wait_readable(ours)
                seen.append(ours.recv(10))

            ref = await rt.spawn(low)
            await settle()
            await urgent.begin()
            theirs.send(b"hello")
            await settle()
            assert not seen
            assert ref.status is TaskStatus.PREEMPTED
            await urgent.end()
            await ref
            assert seen == [b"hello"]


async def test_an_error_that_arrives_meanwhile_is_raised_when_it_goes_on() -> None:
    async with Runtime(concurrency=1) as rt:
        urgent = Urgent(rt)
        sender, receiver = anyio.create_memory_object_stream[int]()

        async def low() -> str:
            with pytest.raises(anyio.EndOfStream):
                await receiver.receive()
            return "it has ended"

        ref = await rt.spawn(low)
        await settle()
        await urgent.begin()
        sender.close()
        await settle()
        assert ref.status is TaskStatus.PREEMPTED
        await urgent.end()
        assert await ref == "it has ended"
        receiver.close()


class Timer:
    """A time limit of somebody's code, and a way to let it come now."""

    def __init__(self) -> None:
        self.scope: Any = None

    async def expire(self) -> None:
        if isinstance(self.scope, asyncio.Timeout):
            self.scope.reschedule(asyncio.get_running_loop().time())
        else:
            self.scope.deadline = anyio.current_time()
        await settle()


async def moves_on(timer: Timer, wait: Callable[[], Awaitable[object]]) -> bool:
    with anyio.move_on_after(1000) as timer.scope:
        await wait()
    return bool(timer.scope.cancelled_caught)


async def fails(timer: Timer, wait: Callable[[], Awaitable[object]]) -> bool:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(1000) as timer.scope:
            await wait()
    return True


async def times_out(timer: Timer, wait: Callable[[], Awaitable[object]]) -> bool:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1000) as timer.scope:
            await wait()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    return True


async def moves_on_in_trio(timer: Timer, wait: Callable[[], Awaitable[object]]) -> bool:
    with trio.move_on_after(1000) as timer.scope:
        await wait()
    return bool(timer.scope.cancelled_caught)


LIMITS = [
    ("asyncio", moves_on),
    ("uvloop", moves_on),
    ("trio", moves_on),
    ("asyncio", fails),
    ("uvloop", fails),
    ("trio", fails),
    ("asyncio", times_out),
    ("uvloop", times_out),
    ("trio", moves_on_in_trio),
]


@pytest.mark.parametrize("wakes", [False, True], ids=["waiting", "woken"])
@pytest.mark.parametrize(("backend", "limited"), LIMITS, indirect=["backend"])
async def test_a_time_limit_that_is_reached_meanwhile_does_not_cut_the_pause_short(
    backend: str, limited: Callable[..., Awaitable[bool]], wakes: bool
) -> None:
    async with Runtime(concurrency=1) as rt:
        urgent, timer, woken, steps = Urgent(rt), Timer(), anyio.Event(), list[str]()

        async def waits() -> None:
            await woken.wait()
            steps.append("woken")
            await anyio.sleep_forever()

        async def low() -> str:
            assert await limited(timer, waits)
            steps.append("limited")
            await anyio.lowlevel.checkpoint()  # no cancellation is left behind
            return "fine"

        ref = await rt.spawn(low)
        await settle()
        await urgent.begin()
        if wakes:
            woken.set()
            await settle()
        await timer.expire()
        assert ref.status is TaskStatus.PREEMPTED
        assert not steps
        await urgent.end()
        assert await ref == "fine"
        # A cancellation by asyncio itself comes in the place of what was awaited, as it always does there.
        replaced = limited is times_out or not wakes
        assert steps == (["limited"] if replaced else ["woken", "limited"])


@pytest.mark.parametrize("backend", ["asyncio", "trio"], indirect=True)
async def test_the_loop_rests_while_a_preempted_task_is_over_its_time(backend: str) -> None:
    async with Runtime(concurrency=1) as rt:
        timer, over, step = Timer(), anyio.Event(), anyio.Event()

        async def low() -> bool:
            return await moves_on(timer, step.wait)

        ref = await rt.spawn(low)
        await settle()
        await rt.spawn(over.wait, host="loop", priority=HIGH)
        await settle()
        step.set()
        await settle()
        await timer.expire()
        if backend == "trio":
            statistics = trio.lowlevel.current_statistics()
            assert statistics.tasks_runnable == 0
        else:
            loop: Any = asyncio.get_running_loop()
            assert not loop._ready
        over.set()
        await ref


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"], indirect=True)
async def test_code_that_is_cancelled_by_asyncio_itself_learns_of_it_after_the_pause() -> None:
    async with Runtime(concurrency=1) as rt:
        urgent, carriers = Urgent(rt), list[Any]()

        async def low() -> str:
            task = asyncio.current_task()
            assert task is not None
            carriers.append(task)
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                task.uncancel()
            return "cancelled"

        ref = await rt.spawn(low)
        await settle()
        await urgent.begin()
        for _ in range(3):
            carriers[0].cancel()
            await settle()
            assert ref.status is TaskStatus.PREEMPTED
        carriers[0].uncancel()
        carriers[0].uncancel()
        await urgent.end()
        assert await ref == "cancelled"


# ---------------------------------------------------------------------------------------- cancellation


async def by_its_ref(rt: Runtime, ref: TaskRef[Any]) -> None:
    await ref.cancel("enough")


async def by_its_timeout(rt: Runtime, ref: TaskRef[Any]) -> None:
    clock: Any = rt._system.kernel.clock
    await clock.passes(7)


async def by_shutdown(rt: Runtime, ref: TaskRef[Any]) -> None:
    await rt.shutdown(drain=False)


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
@pytest.mark.parametrize("cancel", [by_its_ref, by_its_timeout, by_shutdown])
async def test_cancelling_a_preempted_task_opens_its_gate_at_once(
    cancel: Callable[..., Awaitable[None]], begun: bool
) -> None:
    told: list[str] = []
    async with Runtime(concurrency=1, clock=ManualClock()) as rt:

        async def low() -> None:
            current().defer(told.append, "deferred")
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
                told.append("cleaned up")

        urgent = Urgent(rt)
        ref = await rt.spawn(low, timeout=7)
        if begun:
            await settle()
        await urgent.begin()
        assert ref.status is TaskStatus.PREEMPTED
        if cancel is by_its_timeout and not begun:
            await by_its_ref(rt, ref)  # the time of an attempt begins with its first step
        else:
            await cancel(rt, ref)
        assert ref.done()
        assert told == (["cleaned up", "deferred"] if begun else [])
        error = (await ref.outcome()).error
        assert isinstance(error, TaskTimeout if cancel is by_its_timeout and begun else TaskCancelled)
        if cancel is not by_shutdown:
            assert rt._system.pools["loop"].running == 1
            await urgent.end()
    assert is_free(rt)


async def test_a_scope_that_fails_cancels_its_preempted_tasks() -> None:
    told: list[str] = []
    async with Runtime(concurrency=1) as rt:
        urgent = Urgent(rt)

        async def low() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                told.append("cleaned up")

        with pytest.raises(ExceptionGroup):
            async with rt.scope() as scope:
                await scope.spawn(low)
                await settle()
                await urgent.begin()
                raise LookupError("of the body")
        assert told == ["cleaned up"]
        await urgent.end()


async def test_leaving_the_runtime_with_an_error_cancels_preempted_tasks() -> None:
    told: list[str] = []

    async def low() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            told.append("cleaned up")

    with pytest.raises(LookupError):
        async with Runtime(concurrency=1) as rt:
            await rt.spawn(low)
            await settle()
            await Urgent(rt).begin()
            raise LookupError("of the body")
    assert told == ["cleaned up"]


async def test_a_cancelled_body_cancels_preempted_tasks() -> None:
    told: list[str] = []

    async def low() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            told.append("cleaned up")

    with anyio.CancelScope() as scope:
        async with Runtime(concurrency=1) as rt:
            await rt.spawn(low)
            await settle()
            await Urgent(rt).begin()
            scope.cancel()
            await anyio.sleep_forever()
    assert told == ["cleaned up"]


async def test_shielded_work_of_a_cancelled_task_goes_on_where_it_was_preempted() -> None:
    clock = ManualClock()
    async with Runtime(concurrency=1, clock=clock) as rt:
        urgent, told = Urgent(rt), list[str]()

        async def low() -> None:
            with anyio.CancelScope(shield=True):
                await compute(3)
                told.append(f"computed at {rt.now:g}")
            await anyio.lowlevel.checkpoint()
            told.append("not reached")

        ref = await rt.spawn(low)
        await clock.passes(1)
        await urgent.begin()
        await clock.passes(5)
        async with anyio.create_task_group() as group:
            group.start_soon(ref.cancel)
            await clock.passes(2)
        assert told == ["computed at 8"]
        assert ref.status is TaskStatus.CANCELLED
        await urgent.end()


async def test_a_task_that_is_told_to_stop_is_not_preempted_any_more() -> None:
    async with Runtime(concurrency=1) as rt:
        urgent, over = Urgent(rt), anyio.Event()

        async def low() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await over.wait()

        ref = await rt.spawn(low)
        await settle()
        async with anyio.create_task_group() as group:
            group.start_soon(ref.cancel)
            await settle()
            await urgent.begin()
            assert ref.status is TaskStatus.RUNNING
            over.set()
        assert ref.status is TaskStatus.CANCELLED
        await urgent.end()
    assert is_free(rt)


# -------------------------------------------------------------------------------- what it has, and is


async def test_children_in_its_task_groups_go_on() -> None:
    async with Runtime(concurrency=1) as rt:
        urgent, steps, over = Urgent(rt), list[str](), anyio.Event()

        async def child() -> None:
            while not over.is_set():
                steps.append("child")
                await anyio.lowlevel.checkpoint()

        async def low() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                await over.wait()
                steps.append("own")

        ref = await rt.spawn(low)
        await settle()
        await urgent.begin()
        steps.clear()
        await settle()
        assert len(steps) > 5
        over.set()
        await settle()
        assert ref.status is TaskStatus.PREEMPTED
        assert "own" not in steps
        await urgent.end()
        await ref
        assert steps[-1] == "own"


async def test_a_child_that_waits_for_an_actor_does_not_bring_the_task_back() -> None:
    class Echo(Actor):
        async def echo(self) -> None:
            await anyio.lowlevel.checkpoint()

    async with Runtime(concurrency=1) as rt:
        urgent, echo, steps = Urgent(rt), await rt.spawn(Echo), list[str]()
        begin, over = anyio.Event(), anyio.Event()

        async def child() -> None:
            await begin.wait()
            while not over.is_set():
                await echo.ask.echo()
                steps.append("child")

        async def low() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                for _ in range(200):
                    await anyio.lowlevel.checkpoint()
                    steps.append("own")
                over.set()

        ref = await rt.spawn(low)
        await settle(5)
        await urgent.begin()
        steps.clear()
        begin.set()
        await settle(300)
        assert "own" not in steps
        assert ref.status is TaskStatus.PREEMPTED
        await urgent.end()
        await ref
    assert is_free(rt)


async def test_one_that_asks_an_actor_in_the_step_in_which_it_is_preempted_keeps_nobody_waiting() -> None:
    class Echo(Actor):
        async def echo(self, text: str) -> str:
            await anyio.lowlevel.checkpoint()
            return text

    async with Runtime(concurrency=1) as rt:
        echo = await rt.spawn(Echo)

        async def urgent() -> str:
            return await echo.ask.echo("urgent")

        async def low() -> list[str]:
            ref = await rt.spawn(urgent, priority=HIGH)
            return [await echo.ask.echo("low"), await ref]

        assert await rt.run(low) == ["low", "urgent"]
    assert is_free(rt)


async def test_context_variables_and_the_current_task_stay_the_same() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="")

    async with Runtime(concurrency=1) as rt:
        seen: list[Any] = []

        def look() -> None:
            seen.append((anyio.get_current_task().id, current().name, variable.get()))

        async def urgent() -> None:
            variable.set("urgent")
            await anyio.lowlevel.checkpoint()

        async def low() -> None:
            variable.set("low")
            await anyio.lowlevel.checkpoint()
            look()
            assert not current().preempt_requested
            await rt.spawn(urgent, priority=HIGH)
            assert current().preempt_requested
            await anyio.lowlevel.checkpoint()
            look()

        await rt.run(low, name="low")
        assert seen[0] == seen[1]
        assert seen[0][1:] == ("low", "low")


async def test_deferred_calls_are_made_at_the_end_and_not_at_the_pause() -> None:
    async with Runtime(concurrency=1) as rt:
        urgent, told = Urgent(rt), list[str]()

        async def later() -> None:
            await anyio.lowlevel.checkpoint()
            told.append("deferred")

        async def low() -> None:
            current().defer(later)
            await anyio.lowlevel.checkpoint()
            told.append("end")

        ref = await rt.spawn(low)
        await rt.spawn(anyio.lowlevel.checkpoint)
        while ref.status is not TaskStatus.RUNNING:
            await anyio.lowlevel.checkpoint()
        await urgent.begin()
        assert not ref.done() or told == ["end", "deferred"]
        await urgent.end()
        await ref
        assert told == ["end", "deferred"]


async def test_however_it_ends_after_a_pause_its_outcome_arrives() -> None:
    async with Runtime(concurrency=1) as rt:

        async def low(how: str) -> str:
            await rt.spawn(anyio.lowlevel.checkpoint, priority=HIGH)
            await anyio.lowlevel.checkpoint()
            if how == "failed":
                raise LookupError(how)
            if how == "cancelled":
                await current().runtime.shutdown(drain=False)
                await anyio.sleep_forever()
            return how

        for how in ("completed", "failed", "cancelled"):
            outcome = await (await rt.spawn(low, how)).outcome()
            assert outcome.status.value == how
    assert is_free(rt)


async def test_a_task_is_retried_that_fails_after_a_pause() -> None:
    async with Runtime(concurrency=1) as rt:

        async def low() -> int:
            await rt.spawn(anyio.lowlevel.checkpoint, priority=HIGH)
            await anyio.lowlevel.checkpoint()
            if current().attempt < 3:
                raise LookupError
            return current().attempt

        assert await rt.run(low, retry=3) == 3
    assert is_free(rt)


# --------------------------------------------------------------------------------------- the stall rule


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to wait for 20 ms before it counts as waiting."""
    for module in ("scheduler", "loop_worker"):
        monkeypatch.setattr(f"actorsched._system.{module}.STALL", 0.0)


@pytest.mark.parametrize("stall", [0.02, 0.0])
async def test_a_preempted_task_goes_on_when_the_urgent_one_waits_for_its_lock(
    stall: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not stall:
        for module in ("scheduler", "loop_worker"):
            monkeypatch.setattr(f"actorsched._system.{module}.STALL", 0.0)
    async with Runtime(concurrency=1) as rt:
        story, lock = Story(rt), anyio.Lock()

        async def urgent() -> None:
            async with lock:
                story.tell("urgent has the lock")

        async def low() -> None:
            async with lock:
                await rt.spawn(urgent, name="urgent", priority=HIGH)
                await anyio.lowlevel.checkpoint()
                story.tell("low lets go of the lock")

        await rt.run(low, name="low")
    assert story.told.index("low resumed") < story.told.index("low lets go of the lock")
    assert story.told.index("low lets go of the lock") < story.told.index("urgent has the lock")
    assert is_free(rt)


async def test_of_several_the_best_goes_on_and_then_the_next_if_that_waits_too() -> None:
    async with Runtime(concurrency=1) as rt:
        story, locks = Story(rt), [anyio.Lock() for _ in range(3)]

        async def holder(index: int) -> None:
            async with locks[index]:
                if index < 2:
                    await rt.spawn(holder, index + 1, name=f"{index + 1}", priority=index + 1)
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
                if index:
                    async with locks[index - 1]:
                        story.tell(f"{index} has both")

        await rt.run(holder, 0, name="0", priority=0)
    assert [text for text in story.told if "both" in text or "resumed" in text] == [
        "1 resumed",
        "0 resumed",
        "1 has both",
        "2 has both",
    ]
    assert is_free(rt)


async def sleeps_by_the_runtime(duration: float) -> None:
    await current().runtime.sleep(duration)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("busy", [sleep, sleeps_by_the_runtime, compute])
async def test_nobody_goes_on_because_the_urgent_one_sleeps_or_computes(
    busy: Callable[[float], Awaitable[None]],
) -> None:
    clock = ManualClock()
    async with Runtime(concurrency=1, clock=clock) as rt:
        story = Story(rt)

        async def urgent() -> None:
            for _ in range(3):
                await busy(1)

        low = await rt.spawn(anyio.sleep_forever)
        await settle()
        ref = await rt.spawn(urgent, priority=HIGH)
        for _ in range(6):
            assert low.status is TaskStatus.PREEMPTED
            await clock.passes(0.5)
        await ref
        await low.cancel()
    assert story.told.count("sleep_forever resumed") <= 1


@pytest.mark.usefixtures("impatient")
async def test_a_child_that_sleeps_again_and_again_does_not_hide_that_the_urgent_one_waits() -> None:
    clock = ManualClock()
    async with Runtime(concurrency=1, clock=clock) as rt:
        lock, told = anyio.Lock(), list[str]()

        async def heartbeat() -> None:
            while True:
                await sleep(1)

        async def urgent() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(heartbeat)
                async with lock:
                    told.append("urgent")
                group.cancel_scope.cancel()

        async def low() -> None:
            async with lock:
                await rt.spawn(urgent, priority=HIGH)
                await anyio.lowlevel.checkpoint()
                told.append("low")

        ref = await rt.spawn(low)
        await clock.passes(1)
        await until(lambda: "urgent" in told)
        assert told == ["low", "urgent"]
        await ref


@pytest.mark.usefixtures("impatient")
async def test_a_task_that_goes_on_beside_others_leaves_no_slot_too_many() -> None:
    async with Runtime(concurrency=1) as rt:
        inside, most = 0, 0

        async def count() -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            inside -= 1

        over = anyio.Event()

        async def low() -> None:
            await rt.spawn(over.wait, host="loop", priority=HIGH)
            await anyio.lowlevel.checkpoint()
            over.set()

        await rt.run(low)
        for _ in range(10):
            await rt.spawn(count)
    assert most == 1
    assert is_free(rt)


# ------------------------------------------------------------------------------------------- a storm


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 2, 3])
async def test_a_thousand_preemptions_lose_nothing(slots: int) -> None:
    chance = random.Random(slots)
    preemptions = 0

    def count(event: object) -> None:
        nonlocal preemptions
        preemptions += 1

    class Echo(Actor):
        async def echo(self) -> None:
            await anyio.lowlevel.checkpoint()

    async with Runtime(concurrency=slots, seed=slots) as rt:
        rt.subscribe("preempted", count)
        echo = await rt.spawn(Echo)
        lock, refs, entered, left = anyio.Lock(), list[TaskRef[Any]](), 0, 0

        async def one_thing() -> None:
            match chance.randrange(8):
                case 0:
                    async with lock:
                        await anyio.lowlevel.checkpoint()
                case 1:
                    await echo.ask.echo()
                case 2:
                    with anyio.move_on_after(0):
                        await anyio.sleep(1)
                case 3:
                    await rt.run(anyio.lowlevel.checkpoint, priority=chance.randrange(7))
                case 4:
                    async with anyio.create_task_group() as group:
                        group.start_soon(anyio.lowlevel.checkpoint)
                        group.start_soon(echo.ask.echo)
                case _:
                    await anyio.lowlevel.checkpoint()

        async def work(number: int) -> int:
            nonlocal entered, left
            entered += 1
            try:
                for _ in range(chance.randrange(6)):
                    await one_thing()
                if not number % 7:
                    raise LookupError(number)
                return number
            finally:
                left += 1

        async def cancel_some(ref: TaskRef[Any]) -> None:
            for _ in range(chance.randrange(30)):
                await anyio.lowlevel.checkpoint()
            await ref.cancel()

        number = 0
        async with anyio.create_task_group() as group:
            while preemptions < 1000:
                number += 1
                ref = await rt.spawn(work, number, priority=chance.randrange(7))
                refs.append(ref)
                if not number % 5:
                    group.start_soon(cancel_some, ref)
                for _ in range(chance.randrange(4)):
                    await anyio.lowlevel.checkpoint()
                await until(lambda: len(rt._nursery.live) < 10)
        for ref in refs:
            outcome = await ref.outcome()
            assert ref.status is outcome.status
            assert outcome.status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)
        assert entered == left
    assert is_free(rt)

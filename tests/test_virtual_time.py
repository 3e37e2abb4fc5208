"""Virtual time: it jumps when nothing happens, and never while something takes real time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

from actorsched import Actor, DeadlineMissed, Hosts, Runtime, TaskRef, TaskStatus, current
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import Fifo
from tests.manual_clock import settle

if TYPE_CHECKING:
    from pathlib import Path

process = pytest.mark.process
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
HOUR = 3600


# ----------------------------------------------------------------------------------------------------- jumps


async def test_a_simulated_hour_with_many_sleepers_takes_no_time() -> None:
    woken: list[float] = []

    async def sleeper(number: int) -> None:
        while rt.now < HOUR:
            await rt.sleep(60 + number)
            woken.append(rt.now)

    began = time.monotonic()
    async with Runtime(clock=VirtualClock()) as rt:
        for number in range(100):
            await rt.spawn(sleeper, number)
    assert time.monotonic() - began < 10
    assert woken == sorted(woken)
    assert HOUR <= woken[-1] < HOUR + 160
    assert len(woken) > 3000


async def test_thousands_of_sleepers_wake_in_order() -> None:
    woken: list[int] = []

    async def sleeper(number: int) -> None:
        await rt.sleep(number % 1000 + 1)
        woken.append(number)

    async with Runtime(clock=VirtualClock()) as rt:
        for number in range(5000):
            await rt.spawn(sleeper, number)
        await rt.sleep(HOUR)
    assert [number % 1000 for number in woken] == sorted(number % 1000 for number in woken)
    assert rt._system.kernel.now == HOUR


async def test_time_stands_still_while_anything_happens() -> None:
    seen: set[float] = set()

    async def busy() -> None:
        for _ in range(200):
            seen.add(rt.now)
            await anyio.lowlevel.checkpoint()

    async with Runtime(clock=VirtualClock()) as rt:
        async with anyio.create_task_group() as group:
            group.start_soon(rt.sleep, 5)
            for _ in range(10):
                await (await rt.spawn(busy))
        assert seen == {0.0}
        assert rt.now == 5


async def test_what_the_body_does_between_two_waits_takes_no_time() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        for n in range(20):
            assert await rt.run(compute, 1) is None
            assert rt.now == n + 1


async def test_a_runtime_that_is_left_early_is_waited_for() -> None:
    for _ in range(20):  # trio takes the tasks of one turn in any order
        clock = VirtualClock()
        async with Runtime(clock=clock) as rt:
            first = await rt.spawn(compute, 2)
            await rt.spawn(compute, 2, after=[first])
            await rt.sleep(1)
        assert clock.now() == 4


# ----------------------------------------------------------------------------------------------------- waits


async def test_a_foreign_sleep_takes_real_time_and_virtual_time_waits_for_it() -> None:
    async def foreign() -> float:
        before = time.monotonic()
        await anyio.sleep(0.05)
        assert time.monotonic() - before >= 0.04
        return rt.now

    async with Runtime(clock=VirtualClock()) as rt:
        slept = await rt.spawn(rt.sleep, 1)
        assert await rt.run(foreign) == 0
        await slept
        assert rt.now == 1


async def test_a_foreign_event_is_waited_for_and_others_go_on_meanwhile() -> None:
    event, order = anyio.Event(), list[str]()

    async def waits() -> None:
        await event.wait()
        order.append(f"waits {rt.now}")

    async def sets(name: str) -> None:
        order.append(f"{name} {rt.now}")
        if name == "last":
            event.set()

    async with Runtime(clock=VirtualClock(), concurrency=2) as rt:
        ref = await rt.spawn(waits)
        sleeper = await rt.spawn(rt.sleep, 3)
        await settle(40)
        await sleeper.cancel()
        for name in ("first", "last"):
            await rt.spawn(sets, name)
        await ref
    assert order == ["first 0.0", "last 0.0", "waits 0.0"]


async def test_a_thread_is_waited_for_and_may_wait_for_whoever_has_yet_to_be_chosen() -> None:
    go = threading.Event()

    def waits() -> float:
        assert go.wait(20)
        return current().runtime.now

    async def sets() -> None:
        go.set()

    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        sleeper = await rt.spawn(rt.sleep, 100, priority=1)
        ref = await rt.spawn(waits)
        await settle(40)
        await rt.spawn(sets, priority=6)
        assert await ref == 0
        await sleeper
        assert rt.now == 100


async def test_threads_run_side_by_side() -> None:
    barrier = threading.Barrier(4, timeout=20)
    async with Runtime(clock=VirtualClock()) as rt:
        refs = [await rt.spawn(barrier.wait) for _ in range(4)]
        assert sorted([await ref for ref in refs]) == [0, 1, 2, 3]


@ONE
@process
async def test_a_host_at_work_is_waited_for(tmp_path: Path) -> None:
    async with Runtime(clock=VirtualClock(), hosts=Hosts(max=1)) as rt:
        with Fifo(tmp_path) as fifo:
            sleeper = await rt.spawn(rt.sleep, 1)
            ref = await rt.spawn(work.spin, fifo.path, host="process")
            await fifo.told()
            await anyio.sleep(0.02)
            assert rt.now == 0
            await ref.cancel()  # which kills it in the end; the grace is one of real time
        await sleeper
        assert rt.now == 1


async def sleep_outside(seconds: float) -> str:
    """Sleep by the clock of the runtime, from a host."""
    await current().runtime.sleep(seconds)
    return "slept"


async def run_outside(seconds: float) -> str:
    """Wait for a task outside that computes."""
    await current().runtime.run(compute, seconds)
    return "waited"


async def await_outside(refs: list[TaskRef[Any]]) -> None:
    """Wait for tasks that have been spawned outside."""
    for ref in refs:
        await ref


class Hosted(Actor, host="process"):
    """An actor that sleeps by the clock of the runtime."""

    async def nap(self, seconds: float) -> float:
        await current().runtime.sleep(seconds)
        return seconds


@ONE
@process
async def test_a_host_that_waits_for_virtual_time_lets_it_pass() -> None:
    async with Runtime(clock=VirtualClock(), hosts=Hosts(max=1)) as rt:
        assert await rt.run(sleep_outside, 7, host="process") == "slept"
        assert rt.now == 7
        assert await rt.run(run_outside, 5, host="process") == "waited"
        assert rt.now == 12
        refs = [await rt.spawn(compute, 3)]
        await rt.run(await_outside, refs, host="process")
        assert rt.now == 15


@ONE
@process
async def test_an_actor_in_a_host_that_has_nothing_to_do_is_nothing_to_wait_for() -> None:
    async with Runtime(clock=VirtualClock(), hosts=Hosts(max=1)) as rt:
        actor = await rt.spawn(Hosted)
        await rt.sleep(4)
        assert await actor.ask.nap(6) == 6
        assert rt.now == 10
    assert rt._system.kernel.now == 10


# ------------------------------------------------------------------------------------- waits within waits


async def test_whoever_waits_in_a_task_group_waits_for_what_its_members_wait_for() -> None:
    async def parent() -> None:
        async with anyio.create_task_group() as group, anyio.create_task_group() as inner:
            group.start_soon(rt.sleep, 5)
            inner.start_soon(compute, 1)
            inner.start_soon(compute, 2)
            inner.start_soon(rt.run, compute, 4)

    async with Runtime(clock=VirtualClock()) as rt:
        await rt.run(parent)
        assert rt.now == 5


async def test_a_group_with_a_member_that_waits_in_real_time_holds_time_up() -> None:
    async def real() -> None:
        await anyio.sleep(0.05)
        seen.append(rt.now)

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(rt.sleep, 1)
            group.start_soon(real)

    seen: list[float] = []
    async with Runtime(clock=VirtualClock()) as rt:
        await rt.run(parent)
        assert (seen, rt.now) == ([0], 1)


async def test_a_task_that_waits_in_a_group_may_be_preempted_and_cancelled() -> None:
    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(compute, 3)
            group.start_soon(compute, 3)

    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        low = await rt.spawn(parent, priority=1)
        await rt.sleep(1)
        high = await rt.spawn(compute, 5, priority=5)
        await rt.sleep(1)
        await low.cancel()
        assert rt.now == 2
        await high
        assert rt.now == 6


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"], indirect=True)
async def test_gathered_tasks_and_those_of_asyncios_groups_are_waited_for_too() -> None:
    async def gather() -> None:
        await asyncio.gather(rt.sleep(1), asyncio.gather(rt.sleep(2), compute(3)), asyncio.sleep(0))
        await asyncio.create_task(rt.sleep(8))
        await asyncio.wait_for(rt.sleep(1), HOUR)
        await asyncio.wait([asyncio.create_task(rt.sleep(n)) for n in range(2)])

    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(rt.sleep(100))
            group.create_task(gather())

    async with Runtime(clock=VirtualClock()) as rt:
        await rt.run(grouped)
        assert rt.now == 100
        await rt.run(gather)
        assert rt.now == 113


# ------------------------------------------------------------------------------------- whatever is played


class Part(NamedTuple):
    """What a task does: work, or several such things at once."""

    kind: str
    span: int
    parts: tuple[Part, ...] = ()

    def lasts(self) -> tuple[int, int]:
        """How long, with a processor that nobody else uses, and how much of that it computes."""
        if self.kind == "group":
            spans = [part.lasts() for part in self.parts]
            computed = sum(busy for _, busy in spans)
            return max(computed, *(span for span, _ in spans)), computed
        return (0 if self.kind in ("turn", "real") else self.span), self.span * (self.kind == "compute")


def any_part(chance: Random, depth: int = 0) -> Part:
    kinds = ["compute", "sleep", "run", "turn", "real"]
    kind = chance.choice(kinds + ["group"] * 3 if depth < 2 else kinds)
    members = range(chance.randint(1, 3) if kind == "group" else 0)
    return Part(kind, chance.randint(0, 4), tuple(any_part(chance, depth + 1) for _ in members))


async def act(rt: Runtime, *parts: Part) -> None:
    for part in parts:
        match part.kind:
            case "compute":
                await compute(part.span)
            case "sleep":
                await rt.sleep(part.span)
            case "run":
                await rt.run(compute, part.span)
            case "turn":
                await anyio.lowlevel.checkpoint()
            case "real":
                await anyio.sleep(0.0005)
            case _:
                async with anyio.create_task_group() as group:
                    for member in part.parts:
                        group.start_soon(act, rt, member)


class Left(Exception):
    """The runtime is left by it."""


async def play(seed: int) -> None:
    """Spawn some tasks that depend on one another, and leave the runtime early."""
    chance = Random(seed)
    refs: list[TaskRef[None]] = []
    ends: list[int] = []
    clock, concurrency = VirtualClock(), chance.choice([None, None, 1, 2])
    leaves, how = chance.randint(0, 6), chance.choice(["late", "late", "raises", "is cancelled"])
    with anyio.CancelScope() as scope, contextlib.suppress(Left):
        async with Runtime(clock=clock, concurrency=concurrency) as rt:
            for number in range(chance.randint(1, 6)):
                after = chance.sample(range(number), chance.randint(0, min(number, 2)))
                parts = [any_part(chance) for _ in range(chance.randint(0, 3))]
                ends.append(max([0, *(ends[each] for each in after)]) + sum(p.lasts()[0] for p in parts))
                upstream, priority = [refs[each] for each in after], chance.randint(0, 6)
                refs.append(await rt.spawn(act, rt, *parts, after=upstream, priority=priority))
            await rt.sleep(leaves)
            if how == "raises":
                raise Left
            if how == "is cancelled":
                scope.cancel()
    if how == "late":
        assert all(ref.status is TaskStatus.COMPLETED for ref in refs)
        assert clock.now() == max(leaves, *ends) or concurrency is not None
        assert clock.now() >= max(leaves, *ends)
    elif how == "raises":
        assert clock.now() == leaves


async def test_any_tasks_come_to_their_end_in_time_when_the_runtime_is_left() -> None:
    for seed in range(200):
        try:
            with anyio.fail_after(5):
                await play(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


# ------------------------------------------------------------------------------------------- determinism


async def story(seed: int | None) -> list[tuple[float, str, str]]:
    """Everything that happens to some tasks that compete."""
    told: list[tuple[float, str, str]] = []

    async def act(number: int) -> None:
        for turn in range(3):
            await compute(0.5 + number % 3)
            await rt.sleep(number % 4 * 0.25)
            if turn == 1 and number % 5 == 0:
                await rt.run(compute, 1, name=f"child of {number}", priority=number % 6)

    async with Runtime(policy="fair", concurrency=3, clock=VirtualClock(), seed=seed) as rt:
        rt.subscribe(None, lambda event: told.append((event.time, event.kind, event.name)))
        for number in range(20):
            await rt.spawn(
                act, number, name=f"{number}", priority=number % 6, deadline=20 + number, hard=number % 2 == 0
            )
        await rt.sleep(10)
    return told


@pytest.mark.parametrize("seed", [None, 1])
async def test_the_same_happens_again(seed: int | None) -> None:
    first = await story(seed)
    assert len(first) > 100
    for _ in range(3):
        assert await story(seed) == first


# ------------------------------------------------------------------------------------------------ the clock


async def test_a_clock_goes_on_with_the_next_runtime() -> None:
    clock = VirtualClock()
    async with Runtime(clock=clock) as rt:
        await rt.sleep(5)
        forgotten = clock.call_at(100, lambda: None)
    assert clock.now() == 5
    async with Runtime(clock=clock) as rt:
        await rt.sleep(2.5)
    assert clock.now() == 7.5
    forgotten.cancel()


async def test_two_runtimes_have_a_clock_each() -> None:
    clocks = VirtualClock(), VirtualClock()
    async with Runtime(clock=clocks[0]) as first, Runtime(clock=clocks[1]) as second:
        await first.sleep(10)
        await second.sleep(3)
        await first.run(compute, 1)
    assert [clock.now() for clock in clocks] == [11, 3]


async def test_a_task_of_one_runtime_waits_for_another_one() -> None:
    async with Runtime(clock=VirtualClock()) as inner, Runtime(clock=VirtualClock()) as outer:

        async def wait() -> float:
            await inner.sleep(HOUR)
            return outer.now

        sleeper = await outer.spawn(outer.sleep, 1)
        assert await outer.run(wait) == 0
        await sleeper
        assert (inner.now, outer.now) == (HOUR, 1)


async def test_a_clock_belongs_to_one_open_runtime() -> None:
    clock = VirtualClock()
    async with Runtime(clock=clock):
        with pytest.raises(RuntimeError, match="belongs to another Runtime, which is still open"):
            async with Runtime(clock=clock):
                pass


async def test_without_a_runtime_a_clock_stands_still_and_says_so() -> None:
    clock = VirtualClock()
    assert (clock.now(), repr(clock)) == (0, "<VirtualClock at 0>")
    with pytest.raises(RuntimeError, match="moves with a Runtime only"):
        clock.call_at(1, lambda: None)


async def test_a_clock_calls_back_at_its_times() -> None:
    called: list[float] = []
    clock = VirtualClock()
    async with Runtime(clock=clock) as rt:
        for when in (3, 1, 2):
            clock.call_at(when, lambda: called.append(clock.now()))
        clock.call_at(1.5, lambda: None).cancel()
        await rt.sleep(9)
    assert called == [1, 2, 3]


async def test_the_timers_of_the_runtime_are_virtual_and_so_are_its_timeouts() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        timed = await rt.spawn(compute, 2 * HOUR, timeout=HOUR)
        due = await rt.spawn(compute, 3 * HOUR, deadline=2 * HOUR, hard=True)
        with pytest.raises(TimeoutError):
            await timed
        assert rt.now == HOUR
        with pytest.raises(DeadlineMissed):
            await due
        assert (rt.now, due.status) == (2 * HOUR, TaskStatus.DEADLINE_MISSED)

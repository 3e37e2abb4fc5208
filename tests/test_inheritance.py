"""Inheritance: whoever is waited for is as urgent as whoever waits, through all that can be waited for."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Actor, ActorRef, Priority, Runtime, TaskRef, TaskStatus, current
from actorsched.options import Mailbox
from tests.manual_clock import ManualClock, settle

LOW, NORMAL, HIGH = int(Priority.LOW), int(Priority.NORMAL), int(Priority.HIGH)


def rank(ref: TaskRef[Any] | ActorRef[Any]) -> int:
    """The effective priority of a task or an actor."""
    actor: Any = ref._task if isinstance(ref, TaskRef) else ref._cell
    found: int = actor.rank
    return found


def due(ref: TaskRef[Any]) -> float:
    """The effective deadline of a task."""
    return ref._task.due


class Stage:
    """Tasks that hold, wait and are let go by name."""

    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self.gates: dict[str, anyio.Event] = {}
        self.seen: dict[str, float | None] = {}

    def release(self, name: str) -> None:
        self.gates[name].set()

    async def spawn(self, name: str, hold: str, *then: str, **options: Any) -> TaskRef[Any]:
        """A task that acquires one resource after the other, and waits for its release with all of them."""
        self.gates[name] = anyio.Event()
        body: Any = partial(self._hold, name, [hold, *then])
        rt: Any = self.rt
        ref: TaskRef[Any] = await rt.spawn(body, name=name, **options)
        await settle()
        return ref

    async def _hold(self, name: str, resources: list[str]) -> None:
        if not resources:
            return await self.gates[name].wait()
        async with current().acquire(resources[0]):
            if len(resources) > 1:
                await anyio.lowlevel.checkpoint()
            await self._hold(name, resources[1:])
            self.seen[name] = current().deadline


@asynccontextmanager
async def staged(**options: Any) -> AsyncIterator[Stage]:
    async with Runtime(**options) as rt:
        for name in ("a", "b", "c", "d"):
            rt.resource(name)
        stage = Stage(rt)
        yield stage
        for gate in stage.gates.values():
            gate.set()


# --------------------------------------------------------------------------------------- through resources


@pytest.mark.parametrize("how", ["acquire", "resources"])
async def test_a_holder_is_as_urgent_as_the_most_urgent_of_those_who_wait_until_it_gives_back(
    how: str,
) -> None:
    async with staged() as stage:
        holder = await stage.spawn("holder", "a", priority=LOW)
        assert rank(holder) == LOW
        if how == "acquire":
            waiter = await stage.spawn("waiter", "a", priority=HIGH)
        else:
            waiter = await stage.rt.spawn(anyio.lowlevel.checkpoint, priority=HIGH, resources={"a"})
            await settle()
        middle = await stage.spawn("middle", "a", priority=NORMAL)
        assert rank(holder) == HIGH
        assert holder.priority == HIGH
        stage.release("holder")
        await holder
        await settle()
        assert rank(middle) == NORMAL
        assert waiter.status is not TaskStatus.BLOCKED


async def test_what_is_inherited_is_lost_as_it_is_given_back_and_not_before() -> None:
    ranks: list[int] = []

    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")
        waiting = anyio.Event()

        async def holder() -> None:
            async with current().acquire("a"), current().acquire("b"):
                await waiting.wait()
                ranks.append(rank(ref))
            ranks.append(rank(ref))

        async def want(name: str) -> None:
            async with current().acquire(name):
                pass

        ref = await rt.spawn(holder, priority=LOW)
        await settle()
        await rt.spawn(want, "a", priority=HIGH)
        await rt.spawn(want, "b", priority=NORMAL)
        await settle()
        waiting.set()
    assert ranks == [HIGH, LOW]


@pytest.mark.parametrize("length", [2, 3, 40])
async def test_it_goes_through_chains_of_any_length(length: int) -> None:
    async with Runtime() as rt:
        for number in range(length + 1):
            rt.resource(str(number))
        stage = Stage(rt)
        refs = [await stage.spawn("0", "0", priority=0)]
        for number in range(1, length):
            refs.append(await stage.spawn(str(number), str(number), str(number - 1), priority=0))
        urgent = await stage.spawn("urgent", str(length - 1), priority=HIGH)
        assert [rank(ref) for ref in refs] == [HIGH] * length
        await urgent.set_priority(1)
        assert [rank(ref) for ref in refs] == [1] * length
        await urgent.cancel("not needed any more")
        assert [rank(ref) for ref in refs] == [0] * length
        for gate in stage.gates.values():
            gate.set()


async def test_a_resource_that_does_not_inherit_lends_nothing() -> None:
    async with Runtime() as rt:
        rt.resource("a", inherit=False)
        stage = Stage(rt)
        holder = await stage.spawn("holder", "a", priority=LOW)
        await stage.spawn("waiter", "a", priority=HIGH)
        assert rank(holder) == LOW
        stage.release("holder")
        stage.release("waiter")


async def test_every_holder_of_a_resource_of_several_units_inherits() -> None:
    async with Runtime() as rt:
        rt.resource("a", capacity=2)
        stage = Stage(rt)
        one = await stage.spawn("one", "a", priority=LOW)
        two = await stage.spawn("two", "a", priority=LOW)
        three = await stage.spawn("three", "a", priority=HIGH)
        assert (rank(one), rank(two)) == (HIGH, HIGH)
        stage.release("one")
        await one
        assert (three.status, rank(two)) == (TaskStatus.RUNNING, LOW)
        stage.release("two")
        stage.release("three")


async def test_two_strands_of_a_task_that_wait_for_each_other_lend_nothing_for_ever() -> None:
    async with Runtime() as rt:
        rt.resource("a")
        inside, leave = anyio.Event(), anyio.Event()

        async def use() -> None:
            async with current().acquire("a"):
                inside.set()
                await leave.wait()

        async def parent() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(use)
                await inside.wait()
                group.start_soon(use)

        ref = await rt.spawn(parent, priority=LOW)
        await settle()
        urgent = await rt.spawn(anyio.lowlevel.checkpoint, priority=HIGH, resources={"a"})
        await settle()
        assert rank(ref) == HIGH
        await urgent.cancel()
        assert rank(ref) == LOW
        leave.set()


# -------------------------------------------------------------------------------- recomputed, never restored


@pytest.mark.parametrize("seed", range(6))
async def test_in_whatever_order_lenders_come_change_and_go_what_is_left_is_right(seed: int) -> None:
    rng = random.Random(seed)
    clock = ManualClock()

    async with staged(clock=clock) as stage:
        holder = await stage.spawn("holder", "a", priority=2)
        own = 2
        lenders: dict[str, tuple[TaskRef[Any], int]] = {}
        for number in range(40):
            step = rng.choice(["come", "come", "cancel", "timeout", "change", "own"])
            if step == "come" or not lenders:
                name, priority = f"lender {number}", rng.randrange(7)
                timeout: dict[str, Any] = {"timeout": 5} if rng.random() < 0.4 else {}
                lenders[name] = (await stage.spawn(name, "a", priority=priority, **timeout), priority)
            elif step == "own":
                own = rng.randrange(7)
                await holder.set_priority(own)
            elif step == "timeout":
                await clock.passes(6)
                lenders = {name: lender for name, lender in lenders.items() if not lender[0].done()}
            else:
                name = rng.choice(sorted(lenders))
                if step == "cancel":
                    await lenders.pop(name)[0].cancel()
                else:
                    lenders[name] = (lenders[name][0], rng.randrange(7))
                    await lenders[name][0].set_priority(lenders[name][1])
            assert rank(holder) == max([own, *(priority for _, priority in lenders.values())])
        for ref, _ in lenders.values():
            await ref.cancel()
        assert rank(holder) == own


# ------------------------------------------------------------------------- through tasks that are awaited


async def awaited(rt: Runtime, how: str, target: TaskRef[Any], **options: Any) -> TaskRef[Any]:
    """Spawn a task that waits for another one."""
    spawn: Any = rt.spawn

    async def wait() -> None:
        await target

    async def take(_: object) -> None: ...

    ref: TaskRef[Any]
    if how == "await":
        ref = await spawn(wait, **options)
    elif how == "after":
        ref = await spawn(anyio.lowlevel.checkpoint, after=[target], **options)
    else:
        ref = await spawn(take, target, **options)
    await settle()
    return ref


@pytest.mark.parametrize("how", ["await", "after", "argument"])
@pytest.mark.parametrize("concurrency", [None, 1])
async def test_a_task_lends_its_priority_to_those_for_which_it_waits(
    how: str, concurrency: int | None
) -> None:
    async with Runtime(concurrency=concurrency) as rt:
        release = anyio.Event()
        first = await rt.spawn(release.wait, priority=LOW)
        second = await rt.spawn(anyio.lowlevel.checkpoint, after=[first], priority=LOW)
        urgent = await awaited(rt, how, second, priority=HIGH)
        assert (rank(second), rank(first)) == (HIGH, HIGH)
        await urgent.set_priority(NORMAL)
        assert (rank(second), rank(first)) == (NORMAL, NORMAL)
        await urgent.cancel("not needed any more")
        if how == "await":
            assert (rank(second), rank(first)) == (LOW, LOW)
        release.set()


@pytest.mark.parametrize("how", ["run", "scope"])
async def test_children_that_a_task_runs_inherit_from_it(how: str) -> None:
    async with Runtime() as rt:
        release = anyio.Event()
        children: list[TaskRef[Any]] = []

        async def child() -> None:
            await release.wait()

        async def parent() -> None:
            if how == "run":
                await rt.run(child, name="child", priority=LOW)
            else:
                async with rt.scope() as scope:
                    children.append(await scope.spawn(child, name="child", priority=LOW))

        ref = await rt.spawn(parent, priority=HIGH)
        await settle()
        live: list[Any] = [task for task in rt._nursery.live if getattr(task, "name", "") == "child"]
        task = children[0]._task if children else live[0]
        assert task.rank == HIGH
        await ref.set_priority(0)
        assert task.rank == LOW
        release.set()
        await ref


async def test_it_passes_from_a_wait_for_a_resource_through_an_awaited_task_to_the_next_resource() -> None:
    async with staged() as stage:
        bottom = await stage.spawn("bottom", "b", priority=0)

        async def wait_for_b() -> None:
            async with current().acquire("b"):
                pass

        async def hold_a_and_wait() -> None:
            async with current().acquire("a"):
                await stage.rt.run(wait_for_b, priority=0)

        middle = await stage.rt.spawn(hold_a_and_wait, priority=0)
        await settle()
        assert (rank(middle), rank(bottom)) == (0, 0)
        top = await stage.spawn("top", "a", priority=HIGH)
        assert (rank(middle), rank(bottom)) == (HIGH, HIGH)
        await top.cancel()
        assert (rank(middle), rank(bottom)) == (0, 0)
        stage.release("bottom")
        await middle


async def test_a_lent_priority_decides_who_begins_where_there_is_room_for_all() -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    async with Runtime() as rt:
        await rt.spawn(note, "normal")
        low = await rt.spawn(note, "low", priority=LOW)
        await rt.spawn(note, "urgent", priority=HIGH, after=[low])
    assert order == ["low", "urgent", "normal"]


async def test_a_lent_priority_decides_who_runs() -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    async with Runtime(concurrency=1) as rt:
        release = anyio.Event()
        await rt.spawn(release.wait, priority=9)
        await settle()
        low = await rt.spawn(note, "low", priority=LOW)
        await rt.spawn(note, "middle", priority=NORMAL)
        await rt.spawn(note, "urgent", priority=HIGH, after=[low])
        release.set()
    assert order == ["low", "urgent", "middle"]


# ------------------------------------------------------------------------------------------------ deadlines


@pytest.mark.parametrize("how", ["resource", "await", "after"])
async def test_under_edf_the_deadline_is_inherited_and_shown(how: str) -> None:
    clock = ManualClock()
    seen: list[float | None] = []

    async with Runtime(policy="edf", clock=clock) as rt:
        rt.resource("a")
        release = anyio.Event()

        async def work() -> None:
            async with current().acquire("a"):
                seen.append(current().deadline)
                await release.wait()
                seen.append(current().deadline)
            seen.append(current().deadline)

        low = await rt.spawn(work, deadline=900)
        await settle()
        if how == "resource":
            urgent = await rt.spawn(anyio.lowlevel.checkpoint, resources={"a"}, deadline=100)
        else:
            urgent = await awaited(rt, how, low, deadline=100)
        await settle()
        assert due(low) == 100
        assert rt.now < 100
        release.set()
        await urgent
    assert seen == [900, 100, 900 if how == "resource" else 100]


# ---------------------------------------------------------------------------------------------- through asks


class Desk(Actor):
    """Answers, or waits before it does."""

    async def handle(self, name: str) -> str:
        return name

    async def wait_for(self, ref: list[TaskRef[Any]]) -> None:
        await ref[0]

    async def pass_on(self, other: ActorRef[Desk], name: str) -> str:
        return await other.ask.handle(name)

    async def deadline(self) -> float | None:
        return current().deadline


async def asking(desk: ActorRef[Any], name: str, **options: Any) -> str:
    answer: str = await desk.asking(**options).handle(name)
    return answer


@pytest.mark.parametrize("concurrency", [None, 1])
async def test_what_a_handler_waits_for_inherits_from_whoever_asks(concurrency: int | None) -> None:
    async with Runtime(concurrency=concurrency) as rt:
        release = anyio.Event()
        low = await rt.spawn(release.wait, priority=LOW)
        desk = await rt.spawn(Desk)

        async def ask() -> None:
            await desk.ask.wait_for([low])

        assert rank(low) == LOW
        urgent = await rt.spawn(ask, priority=HIGH)
        await settle()
        assert rank(low) == HIGH
        await urgent.set_priority(5)
        assert rank(low) == 5
        await urgent.set_priority(NORMAL)
        assert rank(low) == NORMAL
        release.set()
        await urgent
        await settle()


async def test_who_asks_lends_also_while_another_message_is_handled() -> None:
    async with Runtime() as rt:
        release = anyio.Event()
        low = await rt.spawn(release.wait, priority=LOW)
        desk = await rt.spawn(Desk)
        desk.tell(Desk.wait_for, [low])
        await settle()
        assert rank(low) == NORMAL
        urgent = await rt.spawn(asking, desk, "urgent", priority=HIGH)
        await settle()
        assert rank(low) == HIGH
        await urgent.cancel("not needed any more")
        assert rank(low) == NORMAL
        release.set()


async def test_a_more_urgent_message_makes_the_actor_as_urgent_while_it_handles_another() -> None:
    async with Runtime() as rt:
        release = anyio.Event()
        low = await rt.spawn(release.wait, priority=LOW)
        desk = await rt.spawn(Desk)
        desk.tell(Desk.wait_for, [low])
        await settle()
        async with anyio.create_task_group() as group:
            group.start_soon(partial(asking, desk, "by message", priority=HIGH))
            await settle()
            assert rank(low) == HIGH
            release.set()


async def test_it_goes_through_actors_that_ask_actors() -> None:
    async with Runtime() as rt:
        release = anyio.Event()
        low = await rt.spawn(release.wait, priority=0)
        desks = [await rt.spawn(Desk) for _ in range(10)]
        desks[0].tell(Desk.wait_for, [low])
        for before, desk in pairwise(desks):
            desk.tell(Desk.pass_on, before, "on")
        await settle()
        assert rank(low) == NORMAL
        urgent = await rt.spawn(asking, desks[-1], "urgent", priority=HIGH)
        await settle()
        assert [rank(desk) for desk in desks] == [HIGH] * 10
        assert rank(low) == HIGH
        await urgent.cancel()
        assert [rank(desk) for desk in desks] == [NORMAL] * 10
        assert rank(low) == NORMAL
        release.set()


async def test_an_actor_that_stands_in_the_run_queue_moves_up_when_somebody_urgent_asks() -> None:
    order: list[str] = []

    async with Runtime() as rt:

        class Clerk(Actor):
            async def note(self, name: str) -> None:
                order.append(name)

        clerks = [await rt.spawn(Clerk) for _ in range(4)]

        async def flood_and_ask() -> None:
            for number, clerk in enumerate(clerks):
                clerk.tell(Clerk.note, f"told {number}")
            await clerks[3].ask.note("asked")

        await rt.run(flood_and_ask, priority=HIGH)
        await settle()
    assert order == ["told 3", "asked", "told 0", "told 1", "told 2"]


async def test_the_priority_of_a_message_is_what_orders_the_mailbox() -> None:
    async with Runtime() as rt:
        log: list[str] = []

        class Ordered(Actor):
            async def first(self, gate: anyio.Event) -> None:
                await gate.wait()

            async def handle(self, name: str) -> None:
                log.append(name)

        ordered = await rt.spawn(Ordered)
        gate = anyio.Event()
        ordered.tell(Ordered.first, gate)
        await settle()

        async def ask(name: str, **options: Any) -> None:
            await ordered.asking(**options).handle(name)

        await rt.spawn(ask, "normal message of a normal task")
        await settle()
        await rt.spawn(ask, "normal message of an urgent task", priority=HIGH)
        await settle()
        low: Any = partial(ask, "low message of an urgent task", priority=LOW)
        await rt.spawn(low, priority=HIGH)
        await settle()
        high: Any = partial(ask, "high message of a low task", priority=HIGH)
        await rt.spawn(high, priority=LOW)
        await settle()
        gate.set()
    assert log == [
        "high message of a low task",
        "normal message of a normal task",
        "normal message of an urgent task",
        "low message of an urgent task",
    ]


async def test_whoever_waits_for_room_in_a_mailbox_lends_too() -> None:
    async with Runtime() as rt:
        release = anyio.Event()
        low = await rt.spawn(release.wait, priority=LOW)

        class Small(Desk):
            mailbox = Mailbox(capacity=1)

        desk = await rt.spawn(Small)
        desk.tell(Small.wait_for, [low])
        await settle()
        desk.tell(Small.handle, "fills it")

        async def tell() -> None:
            await desk.telling(Small.handle, "waits for room")

        urgent = await rt.spawn(tell, priority=HIGH)
        await settle()
        assert rank(low) == HIGH
        await urgent.cancel()
        assert rank(low) == NORMAL
        release.set()


async def test_a_stream_lends_while_its_reader_waits_for_an_item() -> None:
    async with Runtime() as rt:
        release = anyio.Event()
        low = await rt.spawn(release.wait, priority=LOW)

        class Source(Actor):
            async def items(self) -> Any:
                await low
                yield 1

        source = await rt.spawn(Source)

        async def read() -> None:
            async for _ in source.ask.items():
                pass

        urgent = await rt.spawn(read, priority=HIGH)
        await settle()
        assert rank(low) == HIGH
        await urgent.cancel()
        assert rank(low) == LOW
        release.set()


async def test_a_handler_knows_the_deadline_of_those_who_wait_for_its_answer() -> None:
    async with Runtime(policy="edf", clock=ManualClock()) as rt:
        desk = await rt.spawn(Desk)
        seen: list[float | None] = []

        async def ask() -> None:
            seen.append(await desk.ask.deadline())

        await rt.run(ask, deadline=50)
        await rt.run(ask)
        seen.append(await desk.ask.deadline())
    assert seen == [50, None, None]


async def test_equals_lend_nothing_and_nothing_is_left_when_the_urgent_have_gone() -> None:
    async with Runtime() as rt:
        desk = await rt.spawn(Desk)
        await rt.run(asking, desk, "normal")
        assert desk._cell.lenders is None
        await rt.run(asking, desk, "urgent", priority=HIGH)
        assert desk._cell.lenders is None
        assert not rt._system.kernel.ready


@pytest.mark.parametrize("end", ["stop", "kill", "failure"])
async def test_an_actor_that_ends_or_starts_again_keeps_nothing_of_what_it_was_lent(end: str) -> None:
    async with Runtime() as rt:
        started: list[int] = []

        class Fragile(Desk):
            async def fail(self) -> None:
                raise LookupError

            async def on_start(self) -> None:
                started.append(1)

        desk = await rt.spawn(Fragile, restart="permanent")
        gate = anyio.Event()

        async def block(ref: ActorRef[Any]) -> None:
            await ref.ask.wait_for([held])

        held = await rt.spawn(gate.wait, priority=LOW)
        urgent = await rt.spawn(block, desk, priority=HIGH)
        await settle()
        assert rank(held) == HIGH
        if end == "failure":
            desk.tell(Fragile.fail)
            gate.set()
        elif end == "kill":
            await desk.kill()
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(desk.stop)
                await settle()
                gate.set()
        await urgent.outcome()
        await settle()
        assert desk._cell.lenders is None
        if end == "kill":
            assert rank(held) == LOW
        gate.set()
    assert len(started) == (2 if end == "failure" else 1)

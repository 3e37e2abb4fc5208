"""Circles of waiting are found on the request that closes them, and one task in each gives way."""

from __future__ import annotations

import pathlib
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    Actor,
    ActorRef,
    DeadlockError,
    Event,
    Mailbox,
    Retry,
    Runtime,
    TaskRef,
    TaskStatus,
    current,
)
from tests.manual_clock import ManualClock, settle

FILE = "test_deadlocks.py"
LINES = pathlib.Path(__file__).read_text().splitlines()


class Meeting:
    """Where tasks wait until so many are there."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._all = anyio.Event()

    async def join(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all.set()
        await self._all.wait()


def assert_free(rt: Runtime) -> None:
    """Nothing is held, nobody waits, every slot is free."""
    locks = rt._system.locks
    locks.table.check()
    assert not locks.table._requests
    assert not locks.waits
    assert all(not pool.running for pool in rt._system.pools.values())


async def spawned(rt: Any, function: Callable[..., Awaitable[object]], *args: Any, **options: Any) -> Any:
    ref: TaskRef[Any] = await rt.spawn(function, *args, **options)
    return ref


async def hold_and_want(meeting: Meeting, first: str, second: str) -> str:
    async with current().acquire(first):
        await meeting.join()
        async with current().acquire(second):
            return f"{first} and {second}"


async def errors_of(refs: list[TaskRef[Any]]) -> dict[str, DeadlockError]:
    """Who was refused; the others have completed."""
    found: dict[str, DeadlockError] = {}
    for ref in refs:
        outcome = await ref.outcome()
        if outcome.error is not None:
            assert isinstance(outcome.error, DeadlockError)
            found[ref.name] = outcome.error
    return found


# -------------------------------------------------------------------------------------- circles of tasks


@pytest.mark.parametrize("number", [2, 3, 10])
async def test_of_tasks_that_wait_for_each_other_one_gives_way_and_the_others_go_on(number: int) -> None:
    meeting = Meeting(number)

    async with Runtime() as rt:
        for resource in range(number):
            rt.resource(f"r{resource}")
        refs = [
            await rt.spawn(hold_and_want, meeting, f"r{task}", f"r{(task + 1) % number}", name=f"task {task}")
            for task in range(number)
        ]
        refused = await errors_of(refs)
        assert list(refused) == [f"task {number - 1}"]
        (error,) = refused.values()
        assert set(error.circle) == {ref.name for ref in refs}
        assert len(error.circle) == number
        assert_free(rt)


@pytest.mark.parametrize("priorities", [(1, 2), (2, 1), (2, 2)])
async def test_the_victim_has_the_lowest_priority_or_is_the_youngest(priorities: tuple[int, int]) -> None:
    meeting = Meeting(2)

    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")
        one = await rt.spawn(hold_and_want, meeting, "a", "b", name="one", priority=priorities[0])
        two = await rt.spawn(hold_and_want, meeting, "b", "a", name="two", priority=priorities[1])
        refused = await errors_of([one, two])
        assert list(refused) == ["one" if priorities[0] < priorities[1] else "two"]


async def test_it_is_the_own_priority_that_decides_not_the_one_that_is_lent() -> None:
    meeting = Meeting(2)

    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")
        rt.resource("c")
        ready = anyio.Event()

        async def low() -> None:
            async with current().acquire("c"):
                await ready.wait()
                await hold_and_want(meeting, "a", "b")

        one = await rt.spawn(low, name="low", priority=1)
        await settle()
        urgent = await rt.spawn(anyio.lowlevel.checkpoint, priority=6, resources={"c"})
        await settle()
        two = await rt.spawn(hold_and_want, meeting, "b", "a", name="middle", priority=3)
        assert one.priority == 6
        ready.set()
        assert list(await errors_of([one, two, urgent])) == ["low"]


async def test_the_error_tells_who_holds_and_wants_what_and_where() -> None:
    meeting = Meeting(2)

    async with Runtime() as rt:
        rt.resource("tape")
        rt.resource("printer")
        one = await rt.spawn(hold_and_want, meeting, "tape", "printer", name="archive", priority=4)
        two = await rt.spawn(hold_and_want, meeting, "printer", "tape", name="report", priority=2)
        await errors_of([one, two])
        text = str((await two.outcome()).error)
    line = next(number for number, code in enumerate(LINES, 1) if "current().acquire(second)" in code)
    where = rf"\S*{FILE}:{line}, in hold_and_want"
    assert re.search(
        rf"task 'archive' \(priority 4\) holds tape and waits for resource printer at {where}", text
    )
    assert re.search(
        rf"task 'report' \(priority 2\) holds printer and waits for resource tape at {where}", text
    )
    assert "task 'report' has to give way" in text
    assert "same order" in text


async def test_whoever_catches_the_error_may_let_go_and_try_again() -> None:
    meeting, tries = Meeting(2), []

    async def patient(first: str, second: str) -> None:
        joined = False
        while True:
            try:
                async with current().acquire(first):
                    if not joined:
                        joined = True
                        await meeting.join()
                    async with current().acquire(second):
                        return
            except DeadlockError:
                tries.append(1)

    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")
        await rt.spawn(patient, "a", "b")
        await rt.spawn(patient, "b", "a")
    assert tries == [1]
    assert_free(rt)


# -------------------------------------------------------------------- through awaited tasks, asks and starts


async def test_a_circle_through_an_awaited_task_is_found() -> None:
    async with Runtime() as rt:
        rt.resource("a")

        async def child() -> None:
            async with current().acquire("a"):
                pytest.fail("its parent never lets go")

        async def parent() -> str:
            async with current().acquire("a"):
                ref = await rt.spawn(child, name="child")
                try:
                    await ref
                except DeadlockError as error:
                    return str(error)
            return "no error"

        text = await rt.run(parent, name="parent")
        assert re.search(
            rf"task 'parent' .*holds a and waits for 'child' at \S*{FILE}:\d+, in .*parent", text
        )
        assert re.search(rf"task 'child' .*holds nothing and waits for resource a at \S*{FILE}:\d+", text)
        assert_free(rt)


@pytest.mark.parametrize("concurrency", [None, 1])
@pytest.mark.parametrize("resources", [{"a"}, {"a", "b"}])
async def test_a_circle_through_a_task_that_has_not_started_is_found(
    resources: set[str], concurrency: int | None
) -> None:
    async with Runtime(concurrency=concurrency) as rt:
        rt.resource("a")
        rt.resource("b")

        async def child() -> None:
            pytest.fail("it never starts")

        async def parent() -> str:
            async with current().acquire("a"):
                try:
                    await rt.run(child, name="child", resources=resources)
                except DeadlockError as error:
                    return f"{error.circle} {error}"
            return "no error"

        text = await rt.run(parent, name="parent")
        assert "'child'" in text
        assert "'parent'" in text
        assert "as it starts" in text
        assert_free(rt)


async def test_a_circle_through_an_ask_is_found() -> None:
    async with Runtime() as rt:
        rt.resource("a")

        class Clerk(Actor):
            async def wait_for(self, refs: list[TaskRef[None]]) -> None:
                await refs[0]

        clerk = await rt.spawn(Clerk, name="clerk")
        refs: list[TaskRef[None]] = []

        async def want_a() -> None:
            async with current().acquire("a"):
                pass

        async def hold_a() -> None:
            async with current().acquire("a"):
                refs.append(await rt.spawn(want_a, name="wants a"))
                await clerk.ask.wait_for(refs)

        ref = await rt.spawn(hold_a, name="holds a", priority=5)
        refused = await errors_of([ref])
        (error,) = refused.values()
        assert set(error.circle) == {"holds a", "clerk", "wants a"}
        assert_free(rt)


async def test_a_circle_that_is_closed_by_awaiting_is_found_too() -> None:
    async with Runtime() as rt:
        rt.resource("a")
        refs: dict[str, TaskRef[None]] = {}
        go = anyio.Event()

        async def hold() -> None:
            async with current().acquire("a"):
                await go.wait()
                await refs["want"]

        async def want() -> None:
            async with current().acquire("a"):
                pass

        refs["hold"] = await rt.spawn(hold, name="hold", priority=1)
        await settle()
        refs["want"] = await rt.spawn(want, name="want", priority=2)
        await settle()
        go.set()
        assert list(await errors_of(list(refs.values()))) == ["hold"]
        assert refs["want"].status is TaskStatus.COMPLETED
        assert_free(rt)


# -------------------------------------------------------------------------------------- several units


async def test_with_two_units_there_is_no_false_alarm_while_one_holder_can_go_on() -> None:
    async with Runtime() as rt:
        rt.resource("a", capacity=2)
        rt.resource("b")
        leave = anyio.Event()

        async def free_holder() -> None:
            async with current().acquire("a"):
                await leave.wait()

        async def b_then_a() -> str:
            async with current().acquire("b"), current().acquire("a"):
                return "both"

        async def a_then_b() -> str:
            async with current().acquire("a"):
                await settle()
                async with current().acquire("b"):
                    return "both"

        await rt.spawn(free_holder)
        two = await rt.spawn(a_then_b)
        await settle(3)
        one = await rt.spawn(b_then_a)
        await settle(40)
        assert {one.status, two.status} == {TaskStatus.BLOCKED}
        leave.set()
        assert (await one, await two) == ("both", "both")
        assert_free(rt)


async def test_with_two_units_a_circle_is_found_when_every_holder_is_in_it() -> None:
    meeting = Meeting(3)

    async with Runtime() as rt:
        rt.resource("a", capacity=2)
        rt.resource("b")
        refs = [
            await rt.spawn(hold_and_want, meeting, "a", "b", name="one"),
            await rt.spawn(hold_and_want, meeting, "a", "b", name="two"),
            await rt.spawn(hold_and_want, meeting, "b", "a", name="three"),
        ]
        refused = await errors_of(refs)
        assert len(refused) == 1
        assert_free(rt)


async def test_two_tasks_that_want_another_unit_each_are_in_a_circle() -> None:
    meeting = Meeting(2)

    async with Runtime() as rt:
        rt.resource("a", capacity=2)
        refs = [await rt.spawn(hold_and_want, meeting, "a", "a", name=name) for name in ("one", "two")]
        assert list(await errors_of(refs)) == ["two"]
        assert_free(rt)


# ------------------------------------------------------------------------------- strands of one task


async def test_what_another_strand_holds_is_no_circle() -> None:
    """One strand of a task holds what others want, while another one waits for them."""
    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")
        other_has_b, leave = anyio.Event(), anyio.Event()

        async def other() -> str:
            async with current().acquire("b"):
                other_has_b.set()
                async with current().acquire("a"):
                    return "both"

        async def hold_a() -> None:
            async with current().acquire("a"):
                await leave.wait()

        async def want_b() -> None:
            await other_has_b.wait()
            async with current().acquire("b"):
                pass

        async def strands() -> str:
            async with anyio.create_task_group() as group:
                group.start_soon(hold_a)
                group.start_soon(want_b)
            return "done"

        one = await rt.spawn(strands)
        await settle()
        two = await rt.spawn(other)
        await settle()
        assert {one.status, two.status} == {TaskStatus.BLOCKED}
        leave.set()
        assert (await one, await two) == ("done", "both")
        assert_free(rt)


async def test_the_same_strand_is_found_beside_others() -> None:
    meeting = Meeting(2)

    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")

        async def strands() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(hold_and_want, meeting, "a", "b")
                group.start_soon(settle)

        one = await rt.spawn(hold_and_want, meeting, "b", "a", name="one", priority=5)
        two = await rt.spawn(strands, name="two")
        assert await one == "b and a"
        error = (await two.outcome()).error
        assert isinstance(error, ExceptionGroup)
        assert isinstance(error.exceptions[0], DeadlockError)
        assert_free(rt)


# ----------------------------------------------------------------------------------- by other means


@pytest.mark.parametrize("how", ["timeout", "cancel", "time limit"])
async def test_a_wait_that_ends_before_the_circle_is_closed_leaves_none(how: str) -> None:
    clock = ManualClock()
    limit = anyio.CancelScope()

    async with Runtime(clock=clock) as rt:
        rt.resource("a")
        rt.resource("b")
        go = anyio.Event()

        async def impatient() -> str:
            async with current().acquire("a"):
                with limit:
                    async with current().acquire("b"):
                        pass
                return "gave up"

        async def patient() -> str:
            async with current().acquire("b"):
                await go.wait()
                async with current().acquire("a"):
                    return "both"

        two = await rt.spawn(patient)
        await settle()
        one = await spawned(rt, impatient, **({"timeout": 5} if how == "timeout" else {}))
        await settle()
        assert one.status is TaskStatus.BLOCKED
        if how == "cancel":
            await one.cancel()
        elif how == "timeout":
            await clock.passes(6)
        else:
            limit.cancel()
            assert await one == "gave up"
        go.set()
        assert await two == "both"
        await one.outcome()
        assert_free(rt)


async def test_the_runtime_tells_of_a_deadlock() -> None:
    meeting = Meeting(2)
    events: list[Event] = []

    async with Runtime() as rt:
        rt.subscribe("deadlock", events.append)
        rt.resource("a")
        rt.resource("b")
        await rt.spawn(hold_and_want, meeting, "a", "b", name="one")
        ref = await rt.spawn(hold_and_want, meeting, "b", "a", name="two")
        await ref.outcome()
    (event,) = events
    assert event.details["victim"] == "two"
    assert set(event.details["circle"]) == {"one", "two"}


# ---------------------------------------------------------------------------------------------- a storm


@pytest.mark.slow
@pytest.mark.deadline(120)
@pytest.mark.parametrize("concurrency", [None, 2])
@pytest.mark.parametrize("seed", [0, 1])
async def test_in_a_storm_of_tasks_that_acquire_in_any_order_all_work_gets_done(
    seed: int, concurrency: int | None
) -> None:
    rng = random.Random(seed)
    names = ["a", "b", "c", "d"]
    capacities = {"a": 1, "b": 1, "c": 2, "d": 3}
    inside = dict.fromkeys(names, 0)
    done: list[int] = []
    refused: list[int] = []

    async def take(order: list[str], number: int) -> None:
        if not order:
            done.append(number)
            return
        async with current().acquire(order[0]):
            inside[order[0]] += 1
            try:
                assert inside[order[0]] <= capacities[order[0]]
                for _ in range(rng.randrange(3)):
                    await anyio.lowlevel.checkpoint()
                await take(order[1:], number)
            finally:
                inside[order[0]] -= 1

    async def work(number: int) -> None:
        order = rng.sample(names, rng.randrange(1, 5))
        try:
            await take(order, number)
        except DeadlockError:
            refused.append(number)
            raise

    async def family(number: int) -> None:
        """A part of the work is done by a child, for which its parent waits, holding something.

        So it is the parent that has to try again.
        """
        async with current().acquire(rng.choice("cd")):
            await rt.run(work, number)

    async with Runtime(concurrency=concurrency, policy=rng.choice(["priority", "edf", "fair"])) as rt:
        for name in names:
            rt.resource(name, capacity=capacities[name])
        retry = Retry(attempts=200, on=(DeadlockError,))
        for number in range(200):
            options: dict[str, Any] = {"priority": rng.randrange(7), "retry": retry}
            kind = rng.randrange(6)
            if kind == 0:
                await spawned(rt, family, number, **options)
            elif kind == 1:
                wanted = set(rng.sample(names, 2))
                await spawned(rt, take, [], number, resources=wanted, **options)
            else:
                await spawned(rt, work, number, **options)
            if rng.random() < 0.3:
                await anyio.lowlevel.checkpoint()
    assert sorted(done) == list(range(200))
    assert refused
    assert not any(inside.values())
    assert_free(rt)


# ------------------------------------------------------------------- whoever gives way, whatever it waits in


class Relay(Actor):
    """Waits for a task on behalf of others."""

    mailbox = Mailbox(capacity=1)

    def __init__(self, refs: dict[str, TaskRef[Any]]) -> None:
        self.refs = refs

    async def wait_for(self, name: str) -> Any:
        return await self.refs[name]

    async def results(self, name: str) -> AsyncIterator[Any]:
        yield await self.refs[name]


class Starter(Relay):
    """Waits for a task before it begins."""

    async def on_start(self) -> None:
        await self.refs["urgent"]


async def asks(relay: ActorRef[Relay]) -> object:
    return await relay.ask.wait_for("urgent")


async def reads(relay: ActorRef[Relay]) -> object:
    return [item async for item in relay.ask.results("urgent")]


async def spawns(relay: ActorRef[Relay]) -> object:
    runtime: Any = current().runtime
    return await runtime.spawn(Starter, relay._cell.instance.refs)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("waits", [asks, reads, spawns])
async def test_who_gives_way_goes_on_whatever_it_waits_for_an_actor_for(
    waits: Callable[[ActorRef[Relay]], Awaitable[object]], full: bool
) -> None:
    refs: dict[str, TaskRef[Any]] = {}
    go = anyio.Event()

    async def urgent() -> str:
        await go.wait()
        async with current().acquire("r"):
            return "done"

    async def gives_way(relay: ActorRef[Relay]) -> str:
        async with current().acquire("r"):
            try:
                await waits(relay)
            except DeadlockError:
                return "gave way"
        return "did not"

    async with Runtime() as rt:
        rt.resource("r")
        relay = await rt.spawn(Relay, refs)
        refs["urgent"] = await rt.spawn(urgent, priority=5)
        for _ in range(2 * full):
            relay.tell(Relay.wait_for, "urgent")
            await settle()
        other = await rt.spawn(gives_way, relay, priority=1)
        await settle()
        go.set()
        assert await other == "gave way"
        assert await refs["urgent"] == "done"
        assert_free(rt)

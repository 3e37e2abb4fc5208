"""How many tasks run at once, which come first, what happens while they wait, and circles of waiting."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Actor, AskCycle, DeadlockError, Priority, Runtime, TaskRef, TaskStatus
from tests.manual_clock import settle


class Gauge:
    """Counts who is inside."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    def __enter__(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)

    def __exit__(self, *_: object) -> None:
        self.inside -= 1


def slots(rt: Runtime) -> int:
    """How many slots of the loop are taken."""
    return rt._system.pools["loop"].running


# ---------------------------------------------------------------------------------------- the limit


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_never_more_tasks_run_in_the_loop_than_allowed(limit: int) -> None:
    gauge = Gauge()

    async def work() -> None:
        with gauge:
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()

    async with Runtime(concurrency=limit) as rt:
        for _ in range(20):
            await rt.spawn(work)
    assert gauge.most == limit


async def test_without_a_limit_all_run_at_once() -> None:
    gauge, release = Gauge(), anyio.Event()

    async def work() -> None:
        with gauge:
            await release.wait()

    async with Runtime() as rt:
        for _ in range(200):
            await rt.spawn(work)
        await settle(300)
        assert gauge.inside == 200
        release.set()


async def test_the_limit_of_the_loop_does_not_bind_threads() -> None:
    release = anyio.Event()
    async with Runtime(concurrency=1) as rt:
        await rt.spawn(release.wait)
        assert await rt.run(lambda: "thread") == "thread"
        release.set()


async def test_the_limit_holds_for_tasks_that_wait_for_each_other_in_every_way() -> None:
    gauge, rng = Gauge(), random.Random(3)

    async with Runtime(concurrency=2) as rt:

        class Echo(Actor):
            async def echo(self, value: int) -> int:
                await anyio.lowlevel.checkpoint()
                return value

        echo = await rt.spawn(Echo)

        async def busy() -> None:
            with gauge:
                for _ in range(rng.randrange(3)):
                    await anyio.lowlevel.checkpoint()

        async def tree(depth: int) -> None:
            await busy()
            if depth:
                for _ in range(2):
                    match rng.randrange(3):
                        case 0:
                            await rt.run(tree, depth - 1)
                        case 1:
                            ref = await rt.spawn(tree, depth - 1)
                            await busy()
                            await ref
                        case _:
                            await echo.ask.echo(depth)
                    await busy()

        await rt.run(tree, 5)
    assert gauge.most <= 2
    assert slots(rt) == 0


# ----------------------------------------------------------------------------------------- the order


async def test_ready_tasks_run_by_priority_and_equals_in_the_order_of_arrival() -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    async with Runtime(concurrency=1) as rt:
        release = anyio.Event()
        await rt.spawn(release.wait)
        for name, priority in [("a", 3), ("b", 1), ("c", 9), ("d", 3), ("e", Priority.HIGH), ("f", -2)]:
            await rt.spawn(note, name, priority=priority)
        release.set()
    assert order == ["c", "e", "a", "d", "b", "f"]


async def test_a_changed_priority_changes_the_place_in_the_queue() -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    async with Runtime(concurrency=1) as rt:
        release = anyio.Event()
        first = await rt.spawn(release.wait)
        refs = {name: await rt.spawn(note, name) for name in "abc"}
        await refs["c"].set_priority(Priority.HIGH)
        await refs["a"].set_priority(0)
        assert (refs["c"].priority, refs["a"].priority) == (Priority.HIGH, 0)
        await first.set_priority(7)
        release.set()
        await first
        await first.set_priority(1)
        assert first.priority == 7
    assert order == ["c", "b", "a"]


@pytest.mark.parametrize("priority", ["high", 1.5, None, True])
async def test_a_priority_is_an_int(priority: Any) -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(anyio.lowlevel.checkpoint)
        with pytest.raises(TypeError, match="priority="):
            await ref.set_priority(priority)


async def test_a_task_regains_its_slot_by_its_priority() -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    async with Runtime(concurrency=1) as rt:

        async def parent(name: str, children: int) -> None:
            for _ in range(children):
                await rt.run(note, f"child of {name}", priority=9)
            order.append(name)

        low = await rt.spawn(parent, "low", 1, priority=1)
        await rt.spawn(note, "middle", priority=2)
        high = await rt.spawn(parent, "high", 1, priority=3)
        await low
        await high
    assert order == ["child of high", "high", "middle", "child of low", "low"]


# --------------------------------------------------------------------------------------- lending slots


@pytest.mark.parametrize("depth", [1, 2, 40])
async def test_deep_recursion_needs_a_single_slot(depth: int) -> None:
    async with Runtime(concurrency=1) as rt:

        async def dive(depth: int) -> int:
            return 0 if not depth else 1 + await rt.run(dive, depth - 1)

        assert await rt.run(dive, depth) == depth
        assert slots(rt) == 0


async def test_a_task_may_gather_its_children_with_a_single_slot() -> None:
    async with Runtime(concurrency=1) as rt:

        async def leaf(value: int) -> int:
            await anyio.lowlevel.checkpoint()
            return value

        async def gather() -> int:
            results: list[int] = []

            async def collect(ref: TaskRef[int]) -> None:
                results.append(await ref)

            async with anyio.create_task_group() as group:
                for value in range(10):
                    group.start_soon(collect, await rt.spawn(leaf, value))
            return sum(results)

        assert await rt.run(gather) == 45
        assert slots(rt) == 0


async def test_an_ask_inside_a_task_lends_the_slot() -> None:
    async with Runtime(concurrency=1) as rt:

        class Runner(Actor):
            async def run(self, value: int) -> int:
                return await rt.run(double, value)

        async def double(value: int) -> int:
            return 2 * value

        async def ask() -> int:
            return await runner.ask.run(21)

        runner = await rt.spawn(Runner)
        assert await rt.run(ask) == 42
        assert slots(rt) == 0


async def test_a_stream_inside_a_task_lends_the_slot() -> None:
    async with Runtime(concurrency=1) as rt:

        class Counter(Actor):
            async def count(self, to: int) -> Any:
                for number in range(to):
                    yield await rt.run(same, number)

        async def same(value: int) -> int:
            return value

        async def read() -> list[int]:
            return [number async for number in counter.ask.count(5)]

        counter = await rt.spawn(Counter)
        assert await rt.run(read) == [0, 1, 2, 3, 4]
        assert slots(rt) == 0


async def test_a_task_that_begins_to_wait_as_it_queues_for_its_slot_does_not_keep_it() -> None:
    first_done, blocker_done, go_on = anyio.Event(), anyio.Event(), anyio.Event()

    async with Runtime(concurrency=1) as rt:

        async def quick() -> None:
            await first_done.wait()

        async def parent() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(partial(rt.run, quick, preemptible=False))
                await go_on.wait()
                group.start_soon(rt.run, anyio.lowlevel.checkpoint)

        ref = await rt.spawn(parent)
        await settle()
        blocker = await rt.spawn(blocker_done.wait, priority=9)
        first_done.set()
        await settle()
        assert (blocker.status, ref.status) == (TaskStatus.RUNNING, TaskStatus.READY)
        go_on.set()
        await settle()
        blocker_done.set()
        await ref
        assert slots(rt) == 0


async def test_whoever_gives_up_waiting_goes_on_at_once_and_may_cancel_what_has_its_slot() -> None:
    limit = anyio.CancelScope()

    async with Runtime(concurrency=1) as rt:

        async def impatient() -> str:
            ref = await rt.spawn(anyio.sleep_forever)
            with limit:
                await ref
            await ref.cancel("it took too long")
            return str(ref.status)

        ref = await rt.spawn(impatient)
        await settle()
        limit.cancel()
        assert await ref == "cancelled"
        assert slots(rt) == 0


@pytest.mark.parametrize("how", ["run", "scope"])
async def test_a_time_limit_in_a_task_stops_the_child_that_has_its_slot(how: str) -> None:
    limit = anyio.CancelScope()

    async with Runtime(concurrency=1) as rt:

        async def limited() -> bool:
            with limit:
                if how == "run":
                    await rt.run(anyio.sleep_forever)
                else:
                    async with rt.scope() as scope:
                        await scope.spawn(anyio.sleep_forever)
            return limit.cancelled_caught

        ref = await rt.spawn(limited)
        await settle()
        limit.cancel()
        assert await ref
        assert slots(rt) == 0


async def test_whoever_has_given_up_counts_again_as_soon_as_there_is_a_slot() -> None:
    gauge, gave_up, release = Gauge(), anyio.Event(), anyio.Event()

    async def busy() -> None:
        with gauge:
            await anyio.lowlevel.checkpoint()

    async with Runtime(concurrency=1) as rt:

        async def impatient() -> None:
            child = await rt.spawn(release.wait)
            with anyio.move_on_after(0):
                await child
            gave_up.set()
            with gauge:
                await settle(50)

        ref = await rt.spawn(impatient, priority=9)
        await gave_up.wait()
        await rt.spawn(busy)
        release.set()
        await ref
    assert gauge.most == 1


@pytest.mark.parametrize("step", ["spawn", "stop", "kill", "monitor", "leave a scope"])
async def test_a_task_lends_its_slot_while_an_actor_starts_or_ends(step: str) -> None:
    log: list[str] = []

    async with Runtime(concurrency=1) as rt:

        class Busy(Actor):
            async def on_start(self) -> None:
                await rt.run(note, "started")

            async def on_stop(self, reason: object) -> None:
                await rt.run(note, "stopped")

            async def work(self) -> None:
                try:
                    await rt.run(note, "worked")
                    await anyio.sleep_forever() if step == "kill" else None
                finally:
                    with anyio.CancelScope(shield=True):
                        await rt.run(note, "left")

        async def note(what: str) -> None:
            await anyio.lowlevel.checkpoint()
            log.append(what)

        async def use() -> None:
            async with rt.scope() as scope:
                busy = await scope.spawn(Busy)
                busy.tell(Busy.work)
                await rt.run(note, "noted")
                if step == "stop":
                    await busy.stop()
                elif step == "kill":
                    await busy.kill()
                elif step == "monitor":
                    async with anyio.create_task_group() as group:
                        group.start_soon(busy.stop)
                        await rt.monitor(busy)

        await rt.run(use)
        assert slots(rt) == 0
    assert log[0] == "started"
    assert log[-1] == "left" if step == "kill" else "stopped"


async def test_a_task_in_a_scope_of_its_own_lends_its_slot_to_the_children() -> None:
    async with Runtime(concurrency=1) as rt:

        async def parent() -> str:
            async with rt.scope() as scope:
                for _ in range(3):
                    await scope.spawn(anyio.lowlevel.checkpoint)
            return "done"

        assert await rt.run(parent) == "done"
        assert slots(rt) == 0


async def test_cancelling_a_child_inside_a_task_lends_the_slot_to_its_clean_up() -> None:
    log: list[str] = []

    async with Runtime(concurrency=1) as rt:
        children: list[TaskRef[None]] = []

        async def child() -> None:
            try:
                await parent_ref
            except DeadlockError:
                log.append("refused")
            finally:
                with anyio.CancelScope(shield=True):
                    await rt.run(tidy)

        async def tidy() -> None:
            log.append("tidy")

        async def parent() -> None:
            children.append(await rt.spawn(child))
            await rt.run(anyio.lowlevel.checkpoint)
            assert children[0].status is TaskStatus.WAITING
            await children[0].cancel()
            log.append("cancelled")

        parent_ref = await rt.spawn(parent)
        await parent_ref
        assert slots(rt) == 0
    assert log == ["tidy", "cancelled"]


# --------------------------------------------------------------------------------------------- circles


async def test_a_task_that_awaits_itself_is_told_so() -> None:
    me: list[TaskRef[None]] = []

    async def narcissus() -> None:
        await me[0]

    async with Runtime() as rt:
        me.append(await rt.spawn(narcissus, name="narcissus"))
        with pytest.raises(DeadlockError, match="narcissus -> narcissus") as caught:
            await me[0]
    assert caught.value.circle == ("narcissus",)


@pytest.mark.parametrize("size", [2, 3, 10])
async def test_the_wait_that_closes_a_circle_of_tasks_is_refused_with_the_path(size: int) -> None:
    refs: list[TaskRef[Any]] = []
    errors: list[DeadlockError] = []

    async def wait(number: int) -> None:
        for _ in range(number):  # one after the other, the last closes the circle
            await anyio.lowlevel.checkpoint()
        try:
            await refs[(number + 1) % size]
        except DeadlockError as error:
            errors.append(error)

    async with Runtime() as rt:
        refs.extend([await rt.spawn(wait, number, name=f"t{number}") for number in range(size)])
    assert len(errors) == 1
    circle = errors[0].circle
    assert len(circle) == size
    assert {(a, b) for a, b in zip(circle, (*circle[1:], circle[0]), strict=True)} == {
        (f"t{n}", f"t{(n + 1) % size}") for n in range(size)
    }


async def test_a_circle_may_lead_through_dependencies() -> None:
    refs: list[TaskRef[Any]] = []

    async def wait() -> str:
        try:
            await refs[-1]
        except DeadlockError:
            return "refused"
        return "never"

    async with Runtime() as rt:
        first = await rt.spawn(wait)
        second = await rt.spawn(anyio.lowlevel.checkpoint, after=[first])
        refs.append(await rt.spawn(anyio.lowlevel.checkpoint, after=[second]))
        assert await first == "refused"
        await refs[-1]


async def test_a_circle_may_lead_through_actors() -> None:
    refs: list[TaskRef[Any]] = []

    class Waiter(Actor):
        async def wait(self) -> Any:
            return await refs[0]

    async def ask(waiter: Any) -> str:
        try:
            await waiter.ask.wait()
        except DeadlockError as error:
            return " ".join(error.circle)
        return "never"

    async with Runtime() as rt:
        waiter = await rt.spawn(Waiter, name="waiter")
        refs.append(await rt.spawn(ask, waiter, name="asker"))
        assert set((await refs[0]).split()) in ({"asker", "waiter"}, set())


async def test_a_circle_of_actors_alone_is_a_circle_of_asks() -> None:
    class Node(Actor):
        async def ask_other(self, others: list[Any]) -> str:
            return str(await others[0].ask.ask_other(others[1:]))

    async with Runtime() as rt:
        a, b = await rt.spawn(Node, name="a"), await rt.spawn(Node, name="b")
        with pytest.raises(AskCycle):
            await a.ask.ask_other([b, a])


async def test_an_actor_may_wait_for_a_task() -> None:
    class Waiter(Actor):
        async def wait(self, refs: list[TaskRef[int]]) -> int:
            return sum([await ref for ref in refs])

    async def slow(value: int) -> int:
        await anyio.lowlevel.checkpoint()
        return value

    async with Runtime(concurrency=1) as rt:
        waiter = await rt.spawn(Waiter)
        assert await waiter.ask.wait([await rt.spawn(slow, n) for n in range(4)]) == 6


async def test_after_a_refusal_everything_goes_on() -> None:
    refs: list[TaskRef[Any]] = []

    async def first() -> str:
        return str(await refs[1])

    async def second() -> str:
        await anyio.lowlevel.checkpoint()
        try:
            await refs[0]
        except DeadlockError:
            return "second gave way"
        return "never"

    async with Runtime(concurrency=1) as rt:
        refs.extend([await rt.spawn(first), await rt.spawn(second)])
        assert await refs[0] == "second gave way"
        assert slots(rt) == 0


async def test_a_parent_that_leaves_a_scope_whose_child_awaits_it_is_told() -> None:
    parents: list[TaskRef[Any]] = []

    async with Runtime() as rt:

        async def child() -> None:
            await parents[0]

        async def parent() -> None:
            async with rt.scope() as scope:
                await scope.spawn(child)
                await settle()

        parents.append(await rt.spawn(parent))
        outcome = await parents[0].outcome()
    assert isinstance(outcome.error, ExceptionGroup)
    assert outcome.error.split(DeadlockError)[1] is None


async def test_many_waits_in_a_graph_with_many_ways_take_no_time() -> None:
    async with Runtime() as rt:
        release = anyio.Event()

        async def build() -> int:
            layer = [await rt.spawn(release.wait) for _ in range(3)]
            for _ in range(60):
                layer = [await rt.spawn(anyio.lowlevel.checkpoint, after=layer) for _ in range(3)]
            waiting = [rt_ref.outcome() for rt_ref in layer]
            await gather(waiting)
            return len(waiting)

        async def gather(waiting: list[Awaitable[Any]]) -> None:
            async def wait(each: Awaitable[Any]) -> None:
                await each

            async with anyio.create_task_group() as group:
                for each in waiting:
                    group.start_soon(wait, each)

        async def parent() -> int:
            return int(await rt.run(build))

        ref = await rt.spawn(parent)
        await settle()
        release.set()
        assert await ref == 3


@pytest.mark.parametrize("seed", range(5))
async def test_random_waiting_never_hangs_and_every_circle_is_broken(seed: int) -> None:
    rng = random.Random(seed)
    count = 12
    refs: list[TaskRef[Any]] = []

    async def wait(number: int) -> str:
        for _ in range(rng.randrange(4)):
            await anyio.lowlevel.checkpoint()
            try:
                await refs[rng.randrange(count)]
            except DeadlockError:
                return "refused"
        return "done"

    async with Runtime(concurrency=rng.choice([None, 1, 3]), seed=seed) as rt:
        refs.extend([await rt.spawn(wait, number) for number in range(count)])
        for ref in refs:
            assert await ref in {"refused", "done"}
        assert slots(rt) == 0

"""Resources: who holds them, who waits for them in which order, and that they are given back in any case."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    Actor,
    DeadlineMissed,
    DeadlockError,
    Hosts,
    Priority,
    Retry,
    Runtime,
    TaskCancelled,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)
from actorsched.options import usable_cpus
from actorsched.testing import VirtualClock, compute
from tests.manual_clock import ManualClock, settle, until

MOST = 400
POOLS = [None, 1, 2]
ASIDE = {"aside": None}
"""A pool for tasks that are to take no slot of the loop's."""


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await anyio.lowlevel.checkpoint()


def table(rt: Runtime) -> Any:
    return rt._system.locks.table


async def spawned(rt: Any, function: object, *args: object, **options: object) -> TaskRef[Any]:
    """Spawn with options that are known at run time only."""
    ref: TaskRef[Any] = await rt.spawn(function, *args, **options)
    return ref


def assert_free(rt: Runtime) -> None:
    """Nothing is held, nobody waits, nothing is lent."""
    locks = rt._system.locks
    locks.table.check()
    for name, resource in locks.resources.items():
        assert not locks.table.holders(name)
        assert not locks.table.waiting(name)
        assert not len(resource.lenders)
    assert not locks.table._requests
    assert not locks.waits
    assert not locks.keepers


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


async def use(gauge: Gauge, *names: str) -> None:
    async with current().acquire(*names):
        with gauge:
            await turns()


# ------------------------------------------------------------------------------------- who may hold them


@pytest.mark.parametrize("concurrency", POOLS)
@pytest.mark.parametrize("capacity", [1, 2, 3])
@pytest.mark.parametrize("how", ["acquire", "resources"])
async def test_no_more_tasks_hold_a_resource_than_its_capacity(
    concurrency: int | None, capacity: int, how: str
) -> None:
    gauge = Gauge()

    async def work() -> None:
        with gauge:
            await turns()

    async with Runtime(concurrency=concurrency) as rt:
        rt.resource("db", capacity=capacity)
        for _ in range(10):
            if how == "acquire":
                await rt.spawn(use, gauge, "db")
            else:
                await rt.spawn(work, resources={"db"})
    if how == "acquire":  # whoever waits inside has lent its slot
        assert gauge.most <= capacity
    else:
        assert gauge.most == min(capacity, concurrency or capacity)
    assert_free(rt)


async def test_several_names_are_held_together_or_not_at_all() -> None:
    seen: list[tuple[str, ...]] = []

    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")
        release = anyio.Event()

        async def hold_b() -> None:
            async with current().acquire("b"):
                await release.wait()

        async def both() -> None:
            async with current().acquire("a", "b"):
                seen.append(table(rt).held_by(ref._task))

        await rt.spawn(hold_b)
        await settle()
        ref = await rt.spawn(both)
        await settle()
        assert ref.status is TaskStatus.BLOCKED
        assert table(rt).held_by(ref._task) == ()
        await rt.run(use, Gauge(), "a")
        release.set()
    assert seen == [("a", "b")]
    assert_free(rt)


async def test_what_is_acquired_inside_of_another_is_given_back_first() -> None:
    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")
        held: list[tuple[str, ...]] = []

        async def work() -> None:
            def look() -> None:
                held.append(table(rt).held_by(ref._task))

            async with current().acquire("a"):
                look()
                async with current().acquire("b"):
                    look()
                look()
            look()

        ref = await rt.spawn(work)
    assert held == [("a",), ("a", "b"), ("a",), ()]


async def test_an_acquisition_can_be_entered_again_later_but_not_twice_at_once() -> None:
    async with Runtime() as rt:
        rt.resource("db")

        async def work() -> None:
            acquisition = current().acquire("db")
            for _ in range(2):
                async with acquisition:
                    await turns()
            async with acquisition:
                with pytest.raises(RuntimeError, match="entered already"):
                    await acquisition.__aenter__()

        await rt.run(work)
        assert_free(rt)


@pytest.mark.parametrize("tag", [None, "few"])
async def test_whoever_waits_is_blocked_and_lends_its_slot(tag: str | None) -> None:
    release = anyio.Event()
    order: list[str] = []

    async with Runtime(concurrency=None if tag else 1, pools={"few": 1, "aside": None}) as rt:
        rt.resource("db")

        async def hold() -> None:
            async with current().acquire("db"):
                await rt.run(release.wait, tag="aside")

        async def note() -> None:
            order.append("note")

        await rt.spawn(hold, tag=tag)
        await settle()
        waiter = await rt.spawn(use, Gauge(), "db", tag=tag)
        await settle()
        assert waiter.status is TaskStatus.BLOCKED
        await rt.run(note, tag=tag)
        assert order == ["note"]
        assert waiter.status is TaskStatus.BLOCKED
        release.set()
        await waiter
    assert_free(rt)


async def test_a_task_that_waits_for_its_resources_has_no_slot_and_has_not_started() -> None:
    started: list[str] = []

    async with Runtime(concurrency=1, pools=ASIDE) as rt:
        rt.resource("db")
        release = anyio.Event()

        async def hold() -> None:
            async with current().acquire("db"):
                await rt.run(release.wait, tag="aside")

        async def work() -> None:
            started.append("work")

        await rt.spawn(hold)
        await settle()
        ref = await rt.spawn(work, resources=["db"])
        await settle()
        assert (ref.status, ref.attempt, started) == (TaskStatus.BLOCKED, 0, [])
        release.set()
        await ref
    assert_free(rt)


# -------------------------------------------------------------------------------------------- the order


async def ordered(rt: Runtime, how: str, spawns: list[tuple[str, dict[str, Any]]]) -> str:
    """Spawn tasks that want the resource while it is held; answers with the order in which they had it."""
    order: list[str] = []
    release = anyio.Event()

    async def hold() -> None:
        async with current().acquire("db"):
            await release.wait()

    async def acquire(name: str) -> None:
        async with current().acquire("db"):
            order.append(name)
            await turns(1)

    async def note(name: str) -> None:
        order.append(name)

    rt.resource("db")
    refs = [await rt.spawn(hold)]
    await settle()
    for name, options in spawns:
        if how == "acquire":
            refs.append(await spawned(rt, acquire, name, name=name, **options))
        else:
            refs.append(await spawned(rt, note, name, name=name, resources={"db"}, **options))
    await settle()
    release.set()
    for ref in refs:
        await ref
    return "".join(order)


@pytest.mark.parametrize("how", ["acquire", "resources"])
async def test_waiters_are_served_by_priority_and_equals_in_the_order_of_asking(how: str) -> None:
    async with Runtime() as rt:
        given = [("a", 3), ("b", 1), ("c", 9), ("d", 3), ("e", -2), ("f", 9)]
        spawns: list[tuple[str, dict[str, Any]]] = [(name, {"priority": p}) for name, p in given]
        assert await ordered(rt, how, spawns) == "cfadbe"


@pytest.mark.parametrize("how", ["acquire", "resources"])
async def test_under_edf_waiters_are_served_by_their_deadlines(how: str) -> None:
    async with Runtime(policy="edf") as rt:
        spawns: list[tuple[str, dict[str, Any]]] = [
            ("a", {}),
            ("b", {"deadline": 900}),
            ("c", {"deadline": 300}),
            ("d", {"deadline": 600}),
            ("e", {"priority": 9}),
        ]
        assert await ordered(rt, how, spawns) == "cdbea"


async def test_another_policy_orders_those_who_wait_already() -> None:
    order: list[str] = []

    async with Runtime() as rt:
        rt.resource("db")
        release = anyio.Event()

        async def hold() -> None:
            async with current().acquire("db"):
                await release.wait()

        async def note(name: str) -> None:
            async with current().acquire("db"):
                order.append(name)

        await rt.spawn(hold)
        await settle()
        await rt.spawn(note, "urgent", priority=9)
        await rt.spawn(note, "due soon", deadline=600)
        await settle()
        await rt.set_policy("edf")
        release.set()
    assert order == ["due soon", "urgent"]


async def test_a_changed_priority_changes_the_place_among_those_who_wait() -> None:
    order: list[str] = []

    async with Runtime() as rt:
        rt.resource("db")
        release = anyio.Event()

        async def hold() -> None:
            async with current().acquire("db"):
                await release.wait()

        async def note(name: str) -> None:
            async with current().acquire("db"):
                order.append(name)

        await rt.spawn(hold)
        await settle()
        refs = {name: await rt.spawn(note, name) for name in "abc"}
        await settle()
        await refs["c"].set_priority(9)
        await refs["a"].set_priority(0)
        release.set()
    assert order == ["c", "b", "a"]


# ---------------------------------------------------------------------------------- however the body ends


async def raises() -> None:
    raise LookupError("in the body")


async def expires() -> None:
    with anyio.fail_after(0):
        await anyio.sleep_forever()


async def waits() -> None:
    await anyio.sleep_forever()


ENDINGS: dict[str, tuple[Callable[[], Awaitable[None]], type[BaseException] | None]] = {
    "return": (turns, None),
    "exception": (raises, LookupError),
    "a time limit in the body": (expires, TimeoutError),
    "cancel": (waits, TaskCancelled),
    "timeout": (waits, TimeoutError),
    "deadline": (waits, DeadlineMissed),
}


@pytest.mark.parametrize("concurrency", [None, 1])
@pytest.mark.parametrize("how", ["acquire", "resources"])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_however_a_task_ends_what_it_held_is_free(
    ending: str, how: str, concurrency: int | None
) -> None:
    body, expected = ENDINGS[ending]
    clock = ManualClock()
    options: dict[str, Any] = {
        "timeout": {"timeout": 5},
        "deadline": {"deadline": 5, "hard": True},
    }.get(ending, {})

    async def acquire() -> None:
        async with current().acquire("db"):
            await body()

    async with Runtime(concurrency=concurrency, clock=clock) as rt:
        rt.resource("db")
        if how == "acquire":
            ref = await spawned(rt, acquire, **options)
        else:
            ref = await spawned(rt, body, resources={"db"}, **options)
        other = await rt.spawn(use, Gauge(), "db")
        await settle()
        if ending == "cancel":
            await ref.cancel("enough")
        await clock.passes(6)
        outcome = await ref.outcome()
        assert (None if outcome.error is None else isinstance(outcome.error, expected or ())) in (None, True)
        assert (outcome.error is None) == (expected is None)
        await other
        assert_free(rt)


@pytest.mark.parametrize("ending", ["cancel", "timeout", "deadline", "time limit"])
@pytest.mark.parametrize("how", ["acquire", "resources"])
async def test_however_a_wait_is_cut_short_nothing_is_held_and_nobody_waits(how: str, ending: str) -> None:
    clock, release = ManualClock(), anyio.Event()
    options: dict[str, Any] = {
        "timeout": {"timeout": 5},
        "deadline": {"deadline": 5, "hard": True},
    }.get(ending, {})
    limit = anyio.CancelScope()

    async def acquire() -> None:
        with limit:
            async with current().acquire("db"):
                pytest.fail("it should never have it")

    async with Runtime(concurrency=1, clock=clock, pools=ASIDE) as rt:
        rt.resource("db")

        async def hold() -> None:
            async with current().acquire("db"):
                await rt.run(release.wait, tag="aside")

        holder = await rt.spawn(hold)
        await settle()
        if how == "acquire":
            ref = await spawned(rt, acquire, **options)
        else:
            ref = await spawned(rt, turns, resources={"db"}, **options)
        await settle()
        assert ref.status is TaskStatus.BLOCKED
        if ending == "cancel" or (how == "resources" and ending in ("time limit", "timeout")):
            await ref.cancel("enough")  # before it starts there is no attempt that could time out
        elif ending == "time limit":
            limit.cancel()
        else:
            await clock.passes(6)
        await ref.outcome()
        assert not table(rt).waiting("db")
        assert table(rt).holders("db") == [holder._task]
        release.set()
        await holder
        assert_free(rt)


async def test_a_task_that_ends_without_giving_back_holds_nothing_any_more() -> None:
    async with Runtime() as rt:
        rt.resource("db")

        async def careless() -> None:
            await current().acquire("db").__aenter__()

        await rt.run(careless)
        assert_free(rt)
        await rt.run(use, Gauge(), "db")


@pytest.mark.parametrize("how", ["acquire", "resources"])
async def test_each_attempt_holds_what_it_needs_and_nothing_is_held_between_them(how: str) -> None:
    clock = ManualClock()
    attempts: list[int] = []
    held: list[int] = []

    async with Runtime(clock=clock) as rt:
        rt.resource("db")

        async def body() -> None:
            held.append(len(table(rt).holders("db")))
            attempts.append(current().attempt)
            if len(attempts) < 3:
                raise OSError("again")

        async def acquire() -> None:
            async with current().acquire("db"):
                await body()

        retry = Retry(attempts=3, delay="1s", jitter=False)
        if how == "acquire":
            ref = await rt.spawn(acquire, retry=retry)
        else:
            ref = await rt.spawn(body, retry=retry, resources={"db"})
        for _ in range(2):
            await settle()
            assert ref.status is TaskStatus.RETRYING
            assert_free(rt)
            await rt.run(use, Gauge(), "db")
            await clock.passes(2)
        await ref
    assert attempts == [1, 2, 3]
    assert held == [1, 1, 1]
    assert_free(rt)


async def test_a_runtime_that_closes_gives_everything_back() -> None:
    rt = Runtime()
    with pytest.raises(LookupError):
        async with rt:
            rt.resource("db")
            for _ in range(3):
                await rt.spawn(use, Gauge(), "db")
                await rt.spawn(turns, 1000, resources={"db"})
            await settle(1)
            raise LookupError
    assert_free(rt)


# ---------------------------------------------------------------------------------- children in task groups


@pytest.mark.parametrize("concurrency", [None, 1])
async def test_children_in_a_task_group_wait_for_each_other(concurrency: int | None) -> None:
    gauge = Gauge()

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(use, gauge, "db")

    async with Runtime(concurrency=concurrency) as rt:
        rt.resource("db")
        await rt.run(parent)
        assert gauge.most == 1
        assert_free(rt)


async def test_a_child_in_a_task_group_waits_for_what_its_parent_holds_meanwhile() -> None:
    log: list[str] = []

    async def child() -> None:
        async with current().acquire("db"):
            log.append("child")

    async def parent() -> None:
        async with anyio.create_task_group() as group, current().acquire("db"):
            group.start_soon(child)
            await settle()
            log.append("parent")

    async with Runtime(concurrency=1) as rt:
        rt.resource("db")
        await rt.run(parent)
        assert_free(rt)
    assert log == ["parent", "child"]


async def test_what_children_hold_is_given_back_when_one_of_them_fails() -> None:
    async def fail() -> None:
        async with current().acquire("a"):
            await turns()
            raise LookupError

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(use, Gauge(), "b")
            group.start_soon(use, Gauge(), "a")
            group.start_soon(fail)
            group.start_soon(use, Gauge(), "a", "b")

    async with Runtime() as rt:
        rt.resource("a")
        rt.resource("b")
        ref = await rt.spawn(parent)
        assert isinstance((await ref.outcome()).error, ExceptionGroup)
        assert_free(rt)


# ------------------------------------------------------------------------- what a task holds already


@pytest.mark.parametrize("concurrency", [None, 1])
@pytest.mark.parametrize("how", ["acquire", "resources"])
async def test_a_task_cannot_acquire_what_it_holds_itself(how: str, concurrency: int | None) -> None:
    async def again() -> None:
        async with current().acquire("db"):
            pytest.fail("it should never have it")

    async def twice() -> None:
        async with current().acquire("db"):
            await again()

    async with Runtime(concurrency=concurrency) as rt:
        rt.resource("db")
        if how == "acquire":
            ref = await rt.spawn(twice, name="selfish")
        else:
            ref = await rt.spawn(again, name="selfish", resources={"db"})
        with pytest.raises(
            DeadlockError, match=r"task 'selfish' .*holds db and waits for resource db"
        ) as caught:
            await ref
        assert caught.value.circle == ("selfish",)
        assert "test_resources.py:" in str(caught.value)
        assert_free(rt)


async def test_a_task_may_hold_several_units_of_a_resource_that_has_them() -> None:
    async with Runtime() as rt:
        rt.resource("db", capacity=2)

        async def work() -> str:
            async with current().acquire("db"), current().acquire("db"):
                with pytest.raises(DeadlockError):
                    async with current().acquire("db"):
                        pytest.fail("it should never have it")
                return "two"

        assert await rt.run(work) == "two"
        assert_free(rt)


# ----------------------------------------------------------------------------------- threads and hosts


class Log:
    """Notes who holds what when plain functions run."""

    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self.gauge = Gauge()
        self.held: list[int] = []

    def work(self) -> int:
        with self.gauge:
            self.held.append(len(table(self.rt).holders("db")))
            for _ in range(20):
                checkpoint()
        return current().attempt


async def test_tasks_in_threads_hold_their_resources_while_they_run() -> None:
    async with Runtime() as rt:
        rt.resource("db")
        log = Log(rt)
        refs = [await rt.spawn(log.work, resources={"db"}, host="thread") for _ in range(6)]
        for ref in refs:
            assert await ref == 1
        assert log.gauge.most == 1
        assert log.held == [1] * 6
        assert_free(rt)


def in_a_host(held: str) -> str:
    return f"{held} in a host"


def acquire_in_a_host() -> str:
    try:
        current().acquire("db")
    except RuntimeError as error:
        return str(error)
    return "no error"


def die() -> None:
    import os

    os._exit(3)


async def test_tasks_in_hosts_hold_their_resources_while_they_run() -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        rt.resource("db")
        release = anyio.Event()

        async def hold() -> None:
            async with current().acquire("db"):
                await release.wait()

        await rt.spawn(hold)
        await settle()
        ref = await rt.spawn(in_a_host, "db", resources={"db"}, host="process")
        await settle()
        assert (ref.status, ref.attempt) == (TaskStatus.BLOCKED, 0)
        release.set()
        assert await ref == "db in a host"
        assert_free(rt)


async def test_what_a_task_in_a_dead_host_held_is_free() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        rt.resource("db")
        ref = await rt.spawn(die, resources={"db"}, host="process", retry=Retry(crashes=1))
        assert (await ref.outcome()).error is not None
        assert ref.attempt == 2
        assert_free(rt)


async def test_a_thread_that_is_cancelled_gives_back_what_it_held() -> None:
    running: list[bool] = []

    def work() -> None:
        running.append(True)
        while True:
            checkpoint()

    async with Runtime() as rt:
        rt.resource("db")
        ref = await rt.spawn(work, resources={"db"})
        await until(lambda: running)
        assert table(rt).holders("db") == [ref._task]
        await ref.cancel("enough")
        assert_free(rt)


async def test_tasks_of_every_kind_wait_for_one_resource() -> None:
    order: list[str] = []

    async with Runtime(concurrency=1, pools={"few": 1}) as rt:
        rt.resource("db")
        gauge = Gauge()

        async def in_loop(name: str) -> None:
            with gauge:
                await turns()
                order.append(name)

        def in_thread(name: str) -> None:
            with gauge:
                order.append(name)

        for number in range(3):
            await rt.spawn(in_loop, f"loop {number}", resources={"db"})
            await rt.spawn(in_loop, f"few {number}", resources={"db"}, tag="few")
            await rt.spawn(in_thread, f"thread {number}", resources={"db"})
            await rt.spawn(use, gauge, "db")
    assert gauge.most == 1
    assert len(order) == 9
    assert_free(rt)


# ------------------------------------------------------------------------------------------ refused usage


async def refusal(rt: Runtime, *names: Any) -> str:
    """What is said to a task that acquires these."""

    async def work() -> None:
        async with current().acquire(*names):
            pytest.fail("it should have been refused")

    outcome = await (await rt.spawn(work)).outcome()
    return f"{type(outcome.error).__name__}: {outcome.error}"


WRONG_NAMES: list[tuple[tuple[Any, ...], list[str]]] = [
    ((), ["TypeError", "no resource", 'acquire("db")']),
    ((3,), ["TypeError", "acquire(3)", "no str"]),
    (([],), ["TypeError", "acquire([])", "no str"]),
    (("tape",), ["ValueError", "'tape'", "never declared", "'db'", "rt.resource('tape')"]),
    (("db", "tape"), ["ValueError", "'tape'", "never declared"]),
    (("db", "db"), ["ValueError", "twice", "once"]),
]


@pytest.mark.parametrize(("names", "words"), WRONG_NAMES)
async def test_a_wrong_acquisition_is_refused_with_what_was_given_and_what_is_right(
    names: tuple[Any, ...], words: list[str]
) -> None:
    async with Runtime() as rt:
        rt.resource("db")
        message = await refusal(rt, *names)
        assert [word for word in words if word not in message] == []
        assert_free(rt)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("db", 0), ValueError, ["capacity=0", "1 or more"]),
        (("db", -1), ValueError, ["capacity=-1", "1 or more"]),
        (("db", 1.5), TypeError, ["capacity=1.5", "int"]),
        (("db", True), TypeError, ["capacity=True", "int"]),
        (("", 1), ValueError, ["name=''", "empty"]),
        ((7, 1), TypeError, ["name=7", "str"]),
        (("db", 1, "yes"), TypeError, ["inherit='yes'", "True or False"]),
    ],
)
async def test_a_wrong_declaration_is_refused(
    arguments: tuple[Any, ...], error: type[Exception], words: list[str]
) -> None:
    async with Runtime() as rt:
        with pytest.raises(error) as caught:
            rt.resource(*arguments)
        assert [word for word in words if word not in str(caught.value)] == []


async def test_a_resource_may_be_declared_again_in_the_same_way_only() -> None:
    async with Runtime() as rt:
        rt.resource("db", capacity=2)
        rt.resource("db", capacity=2)
        with pytest.raises(ValueError, match="capacity 3: it has 2"):
            rt.resource("db", capacity=3)
        with pytest.raises(ValueError, match="inherit=False contradicts"):
            rt.resource("db", capacity=2, inherit=False)


@pytest.mark.parametrize(
    ("resources", "error", "words"),
    [
        ({"tape"}, ValueError, ["resources=", "'tape'", "rt.resource("]),
        ("db", TypeError, ["resources='db'", "set"]),
        (["db", "db"], ValueError, ["'db' twice"]),
        ([7], TypeError, ["7", "str"]),
        ([""], ValueError, ["empty"]),
        (None, TypeError, ["resources=None"]),
    ],
)
async def test_wrong_resources_of_a_task_are_refused_at_the_call(
    resources: Any, error: type[Exception], words: list[str]
) -> None:
    async with Runtime() as rt:
        rt.resource("db")
        with pytest.raises(error) as caught:
            await rt.spawn(turns, resources=resources)
        assert [word for word in words if word not in str(caught.value)] == []
        assert not rt._nursery.live


async def test_only_an_async_task_in_the_loop_acquires() -> None:
    class Keeper(Actor):
        async def keep(self) -> str:
            return attempt_to_acquire()

    def attempt_to_acquire() -> str:
        try:
            current().acquire("db")
        except RuntimeError as error:
            return str(error)
        return "no error"

    async with Runtime(hosts=Hosts(max=1)) as rt:
        rt.resource("db")
        keeper = await rt.spawn(Keeper, name="keeper")
        answers = [
            await rt.run(attempt_to_acquire, host="thread"),
            await rt.run(acquire_in_a_host, host="process"),
            await keeper.ask.keep(),
        ]
        for answer in answers:
            assert 'resources={"db"}' in answer
            assert "acquire" in answer
        with pytest.raises(RuntimeError, match="where no task or handler"):
            current().acquire("db")


# ------------------------------------------------------------------------------- cut short at every await


class Limit:
    """Cancels after so many turns."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.scope = anyio.CancelScope()

    async def watch(self) -> None:
        await turns(self.number)
        self.scope.cancel()

    async def apply(self, function: Callable[[], Awaitable[object]]) -> bool:
        """Run a function; answers whether it was cut short."""
        async with anyio.create_task_group() as group:
            with self.scope:
                group.start_soon(self.watch)
                await function()
            group.cancel_scope.cancel()
        return self.scope.cancelled_caught


async def one(rt: Runtime) -> None:
    await use(Gauge(), "a")


async def nested(rt: Runtime) -> None:
    async with current().acquire("a"):
        await turns()
        async with current().acquire("b"):
            await turns()


async def together(rt: Runtime) -> None:
    await use(Gauge(), "b", "a")


async def in_a_group(rt: Runtime) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(use, Gauge(), "a")
        group.start_soon(use, Gauge(), "b")
        group.start_soon(use, Gauge(), "a", "b")


async def with_a_child(rt: Runtime) -> None:
    async with current().acquire("a"):
        await rt.run(use, Gauge(), "b")


async def a_child_that_holds(rt: Runtime) -> None:
    await rt.run(turns, resources={"a", "b"})


SCENARIOS = [one, nested, together, in_a_group, with_a_child, a_child_that_holds]


def check(rt: Runtime) -> None:
    """Nothing is left of resources, slots and mail."""
    assert_free(rt)
    assert all(not pool.running for pool in rt._system.pools.values())
    assert all(not (len(pool.policy) or pool.next or pool.wishing) for pool in rt._system.pools.values())
    assert not rt._system.kernel.mail
    assert not rt._nursery.live


async def rivals(rt: Runtime) -> list[TaskRef[None]]:
    """Others that want the same, so that there is something to wait for."""
    return [
        await rt.spawn(use, Gauge(), "a"),
        await rt.spawn(use, Gauge(), "b", "a"),
        await rt.spawn(turns, resources={"b"}),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [None, 1])
@pytest.mark.parametrize("what", ["task", "block"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_cut_short_at_any_await_nothing_is_left_held_or_waiting(
    scenario: Callable[[Runtime], Awaitable[None]], what: str, concurrency: int | None
) -> None:
    for number in range(MOST):
        async with Runtime(concurrency=concurrency) as rt:
            rt.resource("a")
            rt.resource("b")
            rt.resource("c")
            others = await rivals(rt)
            limit = Limit(number)
            inside = partial(scenario, rt)
            if what == "task":
                cut = await limit.apply(partial(rt.run, inside, resources={"c"} if number % 2 else ()))
            else:
                cut = await rt.run(limit.apply, inside)
            for ref in others:
                await ref
            assert_free(rt)
            await rt.run(together, rt)
        check(rt)
        if not cut and number % 2 == 0:
            return
    pytest.fail("it never came to its end")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_task_that_is_cancelled_at_any_turn_leaves_nothing_held(
    scenario: Callable[[Runtime], Awaitable[None]],
) -> None:
    for number in range(MOST):
        async with Runtime(concurrency=1) as rt:
            rt.resource("a")
            rt.resource("b")
            await rivals(rt)
            ref = await rt.spawn(scenario, rt)
            await turns(number)
            await ref.cancel("now")
            assert not table(rt).requests_of(ref._task)
        check(rt)
        if ref.status is TaskStatus.COMPLETED:
            assert number > 3
            return
    pytest.fail("it never came to its end")


async def test_a_priority_is_what_decides_between_a_wait_and_a_start() -> None:
    order: list[str] = []

    async with Runtime(concurrency=1, pools=ASIDE) as rt:
        rt.resource("db")
        release = anyio.Event()

        async def hold() -> None:
            async with current().acquire("db"):
                await rt.run(release.wait, tag="aside")

        async def inside(name: str) -> None:
            async with current().acquire("db"):
                order.append(name)

        async def note(name: str) -> None:
            order.append(name)

        await rt.spawn(hold)
        await settle()
        await rt.spawn(inside, "inside", priority=Priority.LOW)
        await rt.spawn(note, "at start", priority=Priority.HIGH, resources={"db"})
        await settle()
        release.set()
    assert order == ["at start", "inside"]


# ------------------------------------------------------------------------- who asks first, of one instant


async def compute_with(name: str, order: list[str]) -> None:
    async with current().acquire("db"):
        await compute_holding(name, order)


async def compute_holding(name: str, order: list[str]) -> None:
    order.append(name)
    await compute(1)


@pytest.mark.parametrize(("runs", "comes", "first"), [(5, 1, "runs"), (3, 3, "runs"), (1, 5, "comes")])
@pytest.mark.parametrize("crowded", [False, True])
async def test_the_more_urgent_asks_first_be_it_within_its_code_or_to_begin(
    runs: int, comes: int, first: str, crowded: bool
) -> None:
    order: list[str] = []

    async def later() -> None:
        await compute(5)
        await compute_with("runs", order)

    async with Runtime(concurrency=2, clock=VirtualClock()) as rt:
        rt.resource("db")
        if crowded:  # whoever comes takes the place of this one
            await rt.spawn(compute, 9, priority=0)
        await rt.spawn(later, priority=runs)
        await rt.sleep(5)
        await rt.spawn(compute_holding, "comes", order, priority=comes, resources={"db"})
    assert order == [first, "comes" if first == "runs" else "runs"]


@pytest.mark.parametrize(("inside", "begin", "first"), [(5, 1, "inside"), (3, 3, "inside"), (1, 5, "begin")])
async def test_the_same_of_those_who_come_together(inside: int, begin: int, first: str) -> None:
    order: list[str] = []
    async with Runtime(concurrency=2, clock=VirtualClock()) as rt:
        rt.resource("db")
        await rt.spawn(compute_with, "inside", order, priority=inside)
        await rt.spawn(compute_holding, "begin", order, priority=begin, resources={"db"})
    assert order == [first, "begin" if first == "inside" else "inside"]


async def test_who_needs_something_to_begin_comes_between_those_who_ask_within_their_code() -> None:
    order: list[str] = []

    async def later(name: str, ticks: int) -> None:
        await compute(ticks)
        await compute_with(name, order)

    async with Runtime(concurrency=3, clock=VirtualClock()) as rt:
        rt.resource("db")
        await rt.spawn(later, "high", 2, priority=5)
        await rt.spawn(later, "low", 2, priority=1)
        await rt.sleep(2)
        await rt.spawn(compute_holding, "between", order, priority=3, resources={"db"})
    assert order == ["high", "between", "low"]


async def test_whoever_keeps_one_from_its_beginning_inherits_before_anybody_else_is_chosen() -> None:
    """The holder is as urgent as the other then, and joined before it."""
    ends: dict[str, float] = {}

    async with Runtime(concurrency=1, clock=VirtualClock()) as rt:
        rt.resource("db")
        rt.subscribe("completed", lambda event: ends.setdefault(event.name, event.time))
        await rt.spawn(compute, 3, name="holder", priority=0, resources={"db"})
        await rt.sleep(1)
        await rt.spawn(compute, 3, name="waits", priority=2, resources={"db"})
        await rt.spawn(compute, 3, name="other", priority=2)
    assert ends == {"holder": 3, "other": 6, "waits": 9}


@pytest.mark.parametrize("policy", ["priority", "realtime"])
async def test_of_equals_who_runs_already_asks_before_one_that_comes_on(policy: str) -> None:
    order: list[str] = []

    async def later() -> None:
        await compute(5)
        await compute_with("runs", order)

    async with Runtime(concurrency=2, clock=VirtualClock(), policy=policy) as rt:
        rt.resource("db")
        first = await rt.spawn(compute_with, "comes", order, priority=1)
        await rt.spawn(later, priority=3)
        await rt.spawn(compute, 5, priority=3)
        await rt.sleep(1)
        await first.set_priority(3)
    assert order == ["runs", "comes"]


async def test_whoever_is_cancelled_while_it_waits_for_a_worker_gives_back_what_it_holds() -> None:
    """It got its resources when it was chosen, and then there was no processor for it."""
    going_on = threading.Event()
    async with Runtime() as rt:
        rt.resource("db")
        all_cores = {"host": "thread", "cpu_cores": usable_cpus()}
        busy = await spawned(rt, going_on.wait, 10, **all_cores)
        await until(lambda: busy.status is TaskStatus.RUNNING)
        second = await spawned(rt, len, "", resources=["db"], **all_cores)
        await until(lambda: table(rt).holders("db") == [second._task])
        assert second.status is TaskStatus.READY
        await second.cancel()
        assert_free(rt)
        going_on.set()
        assert await (await rt.spawn(len, "abc", resources=["db"])) == 3

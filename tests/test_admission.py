"""Admission control at runtime: who is refused is refused at the call, and leaves nothing behind."""

from __future__ import annotations

import gc
import logging
import pickle
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import (
    Hosts,
    NotAdmitted,
    Retry,
    Runtime,
    Task,
    TaskChain,
    TaskRef,
    TaskStatus,
    current,
)
from actorsched._system.task import TaskActor
from actorsched.policies import Edf, Policy, Realtime, Schedulable
from actorsched.testing import VirtualClock, compute
from tests import host_work as work

if TYPE_CHECKING:
    from collections.abc import Sequence

STRICT: list[Any] = [Edf(admission="reject"), Realtime(admission="reject")]
LENIENT: list[Any] = ["edf", "realtime", "priority", "fair", Edf(), Realtime()]
strict = pytest.mark.parametrize("policy", STRICT, ids=["edf", "realtime"])


def virtual(policy: Any, **options: Any) -> Runtime:
    given: dict[str, Any] = {"concurrency": 1, **options}
    return Runtime(policy=policy, clock=VirtualClock(), **given)


def check_untouched(rt: Runtime) -> None:
    """There are no tasks, no timers, and nothing that a policy remembers."""
    system = rt._system
    assert not rt._nursery.live
    assert system.kernel.timers == 0
    for pool in system.pools.values():
        assert not {**pool.on, **pool.leaving}
        assert not pool.next
        assert len(pool.policy) == 0
        assert remembered(pool.policy) == 0


def remembered(policy: object) -> int:
    """How many tasks a policy knows, whatever for."""
    found, seen, todo = 0, set[int](), [policy]
    while todo:
        value = todo.pop()
        if id(value) in seen or isinstance(value, (type, ModuleType, FunctionType)):
            continue
        seen.add(id(value))
        if isinstance(value, TaskActor):
            found += 1
        else:
            todo += gc.get_referents(value)
    return found


async def figures(call: Any) -> str:
    """The text of a refusal."""
    with pytest.raises(NotAdmitted, match="was not admitted to pool") as caught:
        await call
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ the refusal


@strict
async def test_what_would_be_late_is_refused_at_the_call_with_the_figures(policy: Any) -> None:
    async with virtual(policy) as rt:
        first = await rt.spawn(compute, 6, name="first", cost=6, deadline=10)
        for call in (rt.spawn, rt.run):
            with pytest.raises(NotAdmitted) as caught:
                await call(compute, 5, name="second", cost=5, deadline=10, priority=2)
            assert caught.value.task == "second"
            text = str(caught.value)
            assert text.startswith("task 'second' was not admitted to pool 'loop': ")
            assert text.endswith(
                'give it less to do, a later deadline or a higher priority, or use admission="warn"'
            )
            assert "11" in text
            assert "10" in text
        assert list(rt._nursery.live) == [first._task]
        await first
        check_untouched(rt)


async def test_a_refusal_travels() -> None:
    error = pickle.loads(pickle.dumps(NotAdmitted("no", task="second")))
    assert (str(error), error.task) == ("no", "second")


@strict
async def test_what_fits_exactly_is_taken(policy: Any) -> None:
    async with virtual(policy) as rt:
        refs = [
            await rt.spawn(compute, 2, cost=2, deadline=2 * n, hard=True, priority=9 - n) for n in range(1, 6)
        ]
        await figures(rt.spawn(compute, 0.5, cost=0.5, deadline=9, priority=1))
        for ref in refs:
            await ref
        assert [ref.tardiness for ref in refs] == [0.0] * 5


@strict
async def test_what_has_no_deadline_or_no_cost_is_taken(policy: Any) -> None:
    async with virtual(policy) as rt:
        await rt.spawn(compute, 6, cost=6, deadline=6, priority=4)
        await rt.spawn(compute, 100, cost=100, priority=1)
        await rt.spawn(compute, 1)
        await rt.spawn(compute, 1, deadline=3, priority=1)


@pytest.mark.parametrize("policy", [Edf, Realtime])
async def test_a_warning_takes_the_task_and_tells(policy: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with virtual(policy(admission="warn")) as rt:
        await rt.spawn(compute, 6, cost=6, deadline=10)
        ref = await rt.spawn(compute, 5, name="second", cost=5, deadline=10)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith("task 'second' was admitted in spite of this: ")
        assert "11 s" in record.getMessage()
        await ref
        assert ref.tardiness == 1
        check_untouched(rt)


@pytest.mark.parametrize("policy", LENIENT)
async def test_without_admission_control_everything_is_taken(
    policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with virtual(policy) as rt:
        refs = [await rt.spawn(compute, 6, cost=6, deadline=10) for _ in range(3)]
        for ref in refs:
            await ref
        check_untouched(rt)
    assert not caplog.records


# ------------------------------------------------------------------------------------ all ways of submitting


@strict
async def test_a_map_ends_with_the_refusal_of_an_item(policy: Any) -> None:
    got: list[float] = []

    async def half(item: float) -> float:
        await compute(4)
        return item / 2

    async with virtual(policy) as rt:
        with pytest.raises(NotAdmitted, match="half"):
            async for result in rt.map(half, [1, 2, 3, 4], limit=3, cost=4, deadline=9):
                got.append(result)
        assert got == [0.5, 1]
        check_untouched(rt)


@strict
async def test_a_map_within_the_limits_goes_through(policy: Any) -> None:
    async with virtual(policy) as rt:
        got = [item async for item in rt.map(compute, [4] * 100, limit=2, cost=4, deadline=12)]
        assert len(got) == 100
        check_untouched(rt)


@strict
async def test_a_chain_is_taken_or_refused_as_a_whole_and_may_be_submitted_later(policy: Any) -> None:
    chain = TaskChain(
        Task("one", compute, (3,), cost=3, deadline=20),
        Task("two", work.same, host="loop", cost=3, deadline=20),
        Task("three", work.same, host="loop", cost=3, deadline=20),
    )
    async with virtual(policy) as rt:
        block = await rt.spawn(compute, 12, cost=12, deadline=12, priority=5)
        assert "three" in await figures(rt.submit(chain))
        assert [task.ref for task in chain.tasks] == [None] * 3
        assert list(rt._nursery.live) == [block._task]
        await block.cancel()
        check_untouched(rt)
        ref = await rt.submit(chain)
        await ref
        check_untouched(rt)


@strict
async def test_prepared_tasks_that_depend_on_each_other_are_refused_together(policy: Any) -> None:
    upstream = Task("upstream", compute, (3,), cost=3, deadline=5)
    task = Task("task", compute, (3,), cost=3, deadline=5, after=[upstream])
    async with virtual(policy) as rt:
        await figures(rt.submit(task))
        assert upstream.ref is task.ref is None
        check_untouched(rt)
        await (await rt.submit(upstream))


async def spawn_twice() -> str:
    """Ask the runtime for more than it takes, from a host."""
    here = current().runtime
    await here.spawn(work.pid, host="loop", name="first", cost=60, deadline=61)
    try:
        await here.spawn(work.pid, host="loop", name="second", cost=60, deadline=61)
    except NotAdmitted as error:
        return f"{error.task}: {error}"
    return "taken"


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
async def test_a_refusal_reaches_code_in_a_host() -> None:
    async with Runtime(policy=Edf(admission="reject"), hosts=Hosts(max=1), concurrency=1) as rt:
        block = anyio.Event()
        await rt.spawn(block.wait, deadline=1)
        answer = await rt.run(spawn_twice, host="process")
        block.set()
    assert answer.startswith("second: task 'second' was not admitted to pool 'loop'")


# ----------------------------------------------------------------------------------------- free again


async def fails() -> None:
    await compute(1)
    raise OSError


@strict
@pytest.mark.parametrize("end", ["done", "failed", "missed", "cancelled", "withdrawn", "waiting", "retrying"])
async def test_what_an_ended_task_had_reserved_is_free_again(policy: Any, end: str) -> None:
    more: dict[str, Any] = {"cost": 8, "deadline": 10, "priority": 2}

    async def spawn(rt: Runtime) -> TaskRef[Any]:
        spawn: Any = rt.spawn
        ref: TaskRef[Any]
        match end:
            case "failed":
                ref = await spawn(fails, **more)
            case "missed":
                ref = await spawn(compute, 99, hard=True, **more)
            case "retrying":
                ref = await spawn(fails, retry=Retry(2, delay=3, jitter=False), **more)
            case "waiting":
                ref = await spawn(compute, 8, after=[await rt.spawn(compute, 1)], **more)
            case _:
                if end == "withdrawn":
                    await rt.spawn(compute, 2, priority=6, deadline=2)
                ref = await spawn(compute, 8, **more)
        return ref

    async with virtual(policy) as rt:
        ref = await spawn(rt)
        await figures(rt.spawn(compute, 8, **more))
        if end not in ("done", "failed", "missed"):
            await rt.sleep(0 if end == "waiting" else 1)
            await ref.cancel()
        await ref.outcome()
        assert ref.status is {"done": TaskStatus.COMPLETED, "failed": TaskStatus.FAILED}.get(
            end, TaskStatus.DEADLINE_MISSED if end == "missed" else TaskStatus.CANCELLED
        )
        await rt.run(compute, 1, **more)
        await rt.sleep(5)
        check_untouched(rt)


@strict
async def test_what_a_running_task_has_done_already_is_not_counted_again(policy: Any) -> None:
    async with virtual(policy) as rt:
        first = await rt.spawn(compute, 6, cost=6, deadline=10, priority=4)
        await figures(rt.spawn(compute, 5, cost=5, deadline=10))
        await rt.sleep(5)
        second = await rt.spawn(compute, 4, cost=4, deadline=5)
        await figures(rt.spawn(compute, 1, cost=1, deadline=5, priority=2))
        await first
        await second
        assert (rt.now, first.tardiness, second.tardiness) == (10, 0, 0)


@strict
@pytest.mark.parametrize("backend", ["uvloop"], indirect=True)
async def test_what_was_refused_or_has_ended_is_forgotten_whatever_became_of_it(policy: Any) -> None:
    more: dict[str, Any] = {"cost": 0.5, "deadline": 60, "priority": 1}
    async with virtual(policy, pools={"other": 1}) as rt:
        stay = anyio.Event()
        block = await rt.spawn(stay.wait, cost=1, deadline=2, priority=5)
        await anyio.lowlevel.checkpoint()

        async def fail() -> None:
            raise OSError

        for _ in range(2500):
            with pytest.raises(NotAdmitted):
                await rt.spawn(compute, 6, cost=6, deadline=6, priority=1)
            for after in ([], [block]):
                spawn: Any = rt.spawn
                await (await spawn(compute, 1, after=after, **more)).cancel()
            with pytest.raises(OSError):
                await rt.run(fail, tag="other", **more)
        for name in ("loop", "other"):
            assert remembered(rt._system.pools[name].policy) == (name == "loop")
        assert rt._system.kernel.timers == 1
        assert rt.now == 0
        stay.set()
        await block
        check_untouched(rt)


# ---------------------------------------------------------------------------------------- processors


async def taken(rt: Runtime, function: Any, args: tuple[Any, ...], **options: Any) -> int:
    """How many tasks that use up their whole deadline are taken."""
    refs: list[TaskRef[Any]] = []
    try:
        for _ in range(20):
            refs.append(await rt.spawn(function, *args, cost=60, deadline=60, **options))
    except NotAdmitted:
        pass
    return len(refs)


@pytest.mark.parametrize(("concurrency", "processors"), [(1, 1), (3, 3), (None, 1)])
@strict
async def test_a_loop_has_as_many_processors_as_slots_and_a_boundless_one_has_one(
    policy: Any, concurrency: int | None, processors: int
) -> None:
    async with virtual(policy, concurrency=concurrency) as rt:
        assert await taken(rt, compute, (60,)) == processors
        await rt.sleep(60)
        assert await taken(rt, compute, (60,)) == processors


@strict
async def test_a_pool_has_as_many_processors_as_workers_and_may_get_more(policy: Any) -> None:
    async with virtual(policy, pools={"two": 2}) as rt:
        assert await taken(rt, compute, (60,), tag="two") == 2
        rt.pool("two", workers=5)
        assert await taken(rt, compute, (60,), tag="two") == 3
        assert await taken(rt, compute, (60,)) == 1


@strict
@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
async def test_hosts_are_as_many_processors_as_there_may_be(policy: Any) -> None:
    async with virtual(policy, hosts=Hosts(max=3)) as rt:
        assert await taken(rt, work.pid, (), host="process") == 3


# ------------------------------------------------------------------------------------- other policies


@strict
async def test_those_that_run_and_wait_count_when_admission_control_comes(policy: Any) -> None:
    async with virtual("priority", concurrency=2) as rt:
        refs = [await rt.spawn(compute, 6, cost=6, deadline=10, priority=5) for _ in range(3)]
        await rt.set_policy(policy)
        await figures(rt.spawn(compute, 5, cost=5, deadline=10, priority=1))
        for ref in refs:
            await ref
        await rt.run(compute, 5, cost=5, deadline=10)
        check_untouched(rt)


@strict
async def test_nobody_is_refused_any_more_when_admission_control_goes(policy: Any) -> None:
    async with virtual(policy) as rt:
        refs = [await rt.spawn(compute, 6, cost=6, deadline=10)]
        await rt.set_policy("priority")
        refs.append(await rt.spawn(compute, 6, cost=6, deadline=10))
        for ref in refs:
            await ref
        check_untouched(rt)


class AtMost(Policy[Schedulable]):
    """First come, first served, and nobody comes while there are too many."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.queue: list[Schedulable] = []
        self.known: set[Schedulable] = set()

    def fresh(self) -> AtMost:
        return AtMost(self.limit)

    def push(self, task: Schedulable, now: float, /) -> None:
        self.queue.append(task)

    def peek(self, now: float, /) -> Schedulable | None:
        return self.queue[0] if self.queue else None

    def pop(self, now: float, /) -> Schedulable | None:
        return self.queue.pop(0) if self.queue else None

    def remove(self, task: Schedulable, /) -> bool:
        found = task in self.queue
        if found:
            self.queue.remove(task)
        return found

    def order(self, now: float, /) -> Sequence[Schedulable]:
        return list(self.queue)

    def drain(self) -> list[Schedulable]:
        drained, self.queue = self.queue, []
        return drained

    def __len__(self) -> int:
        return len(self.queue)

    def admit(self, task: Schedulable, now: float, processors: int, /) -> str | None:
        if len(self.known) == self.limit:
            return f"there are {self.limit} already"
        self.known.add(task)
        return None

    def forget(self, task: Schedulable, now: float, /) -> None:
        self.known.discard(task)


@pytest.mark.parametrize("concurrency", [1, None])
async def test_a_policy_of_ones_own_decides_about_every_task(concurrency: int | None) -> None:
    async with virtual(AtMost(3), concurrency=concurrency) as rt:
        refs = [await rt.spawn(compute, 1), await rt.spawn(compute, 1), await rt.spawn(rt.sleep, 3)]
        assert "there are 3 already" in await figures(rt.spawn(compute, 1))
        await refs[0]
        assert (await rt.spawn(compute, 1)).status is not TaskStatus.CANCELLED
        await rt.sleep(9)
        policy: Any = rt._system.pools["loop"].policy
        assert not policy.known

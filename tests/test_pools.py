"""Pools: the slots of a tag, for tasks of every kind of host, and how they are made, changed and lent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from actorsched import Actor, Hosts, Runtime, Task, TaskRef, TaskStatus, checkpoint, current
from actorsched.policies import Fair, FixedPriority
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import Fifo
from tests.host_help import until as until_a_host
from tests.manual_clock import settle, until

if TYPE_CHECKING:
    from pathlib import Path

process = pytest.mark.process
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)


def virtual(**options: Any) -> Runtime:
    return Runtime(clock=VirtualClock(), **options)


class Meter:
    """Counts how many run at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.done = 0

    async def __call__(self, amount: float = 1) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await compute(amount)
        finally:
            self.running -= 1
        self.done += 1


def running(refs: list[TaskRef[Any]]) -> int:
    return sum(ref.status is TaskStatus.RUNNING for ref in refs)


# ------------------------------------------------------------------------------------------------- limits


async def test_a_pool_lets_so_many_run_at_once_whatever_the_limit_of_the_loop() -> None:
    meters = {"io": Meter(), "cpu": Meter(), None: Meter()}
    async with virtual(pools={"io": 2, "cpu": 3}, concurrency=4) as rt:
        for tag, meter in meters.items():
            for _ in range(12):
                await rt.spawn(meter, tag=tag)
        await rt.sleep(100)
    assert [meter.most for meter in meters.values()] == [2, 3, 4]
    assert [meter.done for meter in meters.values()] == [12, 12, 12]


async def test_a_pool_counts_the_tasks_of_the_loop_and_of_threads_together() -> None:
    release, begun = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        begun.release()
        release.wait()

    gate = anyio.Event()
    async with Runtime(pools={"both": 2}) as rt:
        threads = [await rt.spawn(hold, tag="both") for _ in range(2)]
        tasks = [await rt.spawn(gate.wait, tag="both") for _ in range(2)]
        await until(lambda: running(threads) == 2)
        await settle()
        assert running(tasks) == 0
        release.set()
        await until(lambda: running(tasks) == 2)
        more = await rt.spawn(hold, tag="both")
        await settle()
        assert more.status is TaskStatus.READY
        gate.set()


@ONE
@process
async def test_a_pool_counts_the_tasks_of_hosts_too(tmp_path: Path) -> None:
    gate = anyio.Event()
    go = tmp_path / "go"
    async with Runtime(pools={"all": 2}, hosts=Hosts(min=2, max=4)) as rt:
        hosted = [await rt.spawn(work.wait_for, str(go), host="process", tag="all") for _ in range(3)]
        task = await rt.spawn(gate.wait, tag="all")
        await until_a_host(lambda: running(hosted) == 2)
        await settle()
        assert (running(hosted), task.status) == (2, TaskStatus.READY)
        go.touch()
        await until_a_host(lambda: task.status is TaskStatus.RUNNING)
        gate.set()


async def test_a_pool_without_a_limit_takes_them_all() -> None:
    meter = Meter()
    async with virtual(pools={"wide": None}, concurrency=1) as rt:
        for _ in range(50):
            await rt.spawn(meter, tag="wide")
        await rt.sleep(1)
        assert (meter.most, meter.done) == (50, 50)


async def test_tasks_of_a_map_and_prepared_ones_run_in_their_pool() -> None:
    meter = Meter()
    async with virtual(pools={"two": 2}) as rt:
        async for _ in rt.map(meter, [1] * 10, limit=8, tag="two"):
            pass
        refs = [await rt.submit(Task(f"{n}", meter, tag="two")) for n in range(6)]
        for ref in refs:
            await ref
        assert (meter.most, meter.done) == (2, 16)


async def test_a_task_of_a_pool_needs_no_slot_of_the_loop() -> None:
    async with virtual(pools={"io": 1}, concurrency=1) as rt:
        first = await rt.spawn(compute, 10)
        await rt.run(compute, 1, tag="io")
        assert (rt.now, first.status) == (1, TaskStatus.RUNNING)


# ---------------------------------------------------------------------------------------- making and changing


@pytest.mark.parametrize("tag", ["nowhere", "loop", "process", "thread"])
async def test_an_unknown_tag_is_refused_at_the_call(tag: str) -> None:
    async with virtual(pools={"io": 2, "cpu": 2}) as rt:
        for call in (rt.spawn, rt.run):
            with pytest.raises(
                ValueError, match=rf"tag='{tag}' is the name of no pool; there are: 'io', 'cpu'; "
            ):
                await call(compute, 1, tag=tag)
        with pytest.raises(ValueError, match=r"make one with Runtime\(pools="):
            await rt.submit(Task("task", compute, (1,), tag=tag))
        with pytest.raises(ValueError, match="is the name of no pool"):
            async for _ in rt.map(compute, [1], tag=tag):
                pass
        assert not rt._nursery.live


async def test_a_pool_is_made_while_running() -> None:
    meter = Meter()
    async with virtual() as rt:
        with pytest.raises(ValueError, match="there are: none"):
            await rt.spawn(meter, tag="new")
        rt.pool("new", workers=3)
        for _ in range(9):
            await rt.spawn(meter, tag="new")
        await rt.sleep(3)
        assert (meter.most, meter.done) == (3, 9)


async def test_a_pool_grows_at_once() -> None:
    meter = Meter()
    async with virtual(pools={"io": 1}) as rt:
        for _ in range(8):
            await rt.spawn(meter, 4, tag="io")
        await rt.sleep(1)
        assert meter.running == 1
        rt.pool("io", workers=5)
        await rt.sleep(1)
        assert meter.running == 5


async def test_a_pool_that_shrinks_lets_those_that_run_go_on() -> None:
    meter = Meter()
    async with virtual(pools={"io": 4}) as rt:
        refs = [await rt.spawn(meter, 4 + n, tag="io") for n in range(8)]
        await rt.sleep(1)
        rt.pool("io", workers=1)
        await rt.sleep(1)
        assert running(refs) == 4
        meter.most = 0
        for ref in refs[:4]:
            await ref
        assert rt.now == 7
        for ref in refs[4:]:
            await ref
        assert rt.now == 7 + 8 + 9 + 10 + 11
        assert meter.done == 8


async def test_naming_a_pool_again_changes_what_is_named_and_nothing_else() -> None:
    async with virtual(pools={"io": 2}) as rt:
        pool = rt._system.pools["io"]
        rt.pool("io")
        assert (pool.limit, type(pool.policy)) == (2, FixedPriority)
        rt.pool("io", policy="fair")
        assert (pool.limit, type(pool.policy)) == (2, Fair)
        rt.pool("io", workers=3)
        assert (pool.limit, type(pool.policy)) == (3, Fair)
        assert rt._system.pools["io"] is pool


async def test_each_pool_has_its_own_policy_and_keeps_it() -> None:
    order: dict[str, list[int]] = {"edf": [], "plain": []}

    async def note(tag: str, number: int) -> None:
        await compute(1)
        order[tag].append(number)

    async with virtual(pools={"plain": 1}) as rt:
        rt.pool("edf", workers=1, policy="edf")
        for tag in order:
            for n in range(6):
                await rt.spawn(note, tag, n, tag=tag, deadline=100 - n, priority=n % 2)
            if tag == "edf":
                await rt.set_policy("realtime")
        await rt.sleep(20)
    assert order == {"edf": [5, 4, 3, 2, 1, 0], "plain": [1, 3, 5, 0, 2, 4]}


async def test_a_new_pool_has_the_policy_that_the_runtime_has_by_then() -> None:
    async with virtual() as rt:
        await rt.set_policy("fair")
        rt.pool("late", workers=1)
        assert type(rt._system.pools["late"].policy) is Fair


async def test_two_pools_never_share_a_policy_object() -> None:
    policy = cast("Any", Fair())
    async with virtual(policy=policy, pools={"a": 1}) as rt:
        rt.pool("b", workers=1, policy=policy)
        policies = [pool.policy for pool in rt._system.pools.values()]
        assert len({id(one) for one in (policy, *policies)}) == 6


# ------------------------------------------------------------------------------------- preemption, lending


async def test_an_urgent_task_preempts_in_its_own_pool_only() -> None:
    async with virtual(pools={"io": 1, "cpu": 1}) as rt:
        refs = {tag: await rt.spawn(compute, 5, tag=tag) for tag in ("io", "cpu")}
        await rt.sleep(1)
        urgent = await rt.spawn(compute, 5, tag="io", priority=6)
        await rt.sleep(1)
        assert [refs[tag].status for tag in refs] == [TaskStatus.PREEMPTED, TaskStatus.RUNNING]
        await urgent
        assert rt.now == 6


async def test_who_waits_for_a_task_of_its_own_pool_lends_its_slot() -> None:
    async def nested(depth: int) -> int:
        if not depth:
            return 0
        return 1 + await current().runtime.run(nested, depth - 1, tag="one")

    async with virtual(pools={"one": 1}) as rt:
        assert await rt.run(nested, 30, tag="one") == 30


class Slow(Actor):
    """Takes its time."""

    async def work(self, amount: float) -> float:
        await compute(amount)
        return amount


async def test_who_asks_an_actor_lends_its_slot_and_gets_it_back_by_priority() -> None:
    order: list[str] = []

    async with virtual(pools={"one": 1}) as rt:
        slow = await rt.spawn(Slow)

        async def ask(name: str) -> None:
            await slow.ask.work(3)
            order.append(name)
            await compute(1)

        async def fill(name: str) -> None:
            await compute(2)
            order.append(name)

        await rt.spawn(ask, "asks", tag="one", priority=5)
        for n in range(3):
            await rt.spawn(fill, f"fills {n}", tag="one")
        await rt.sleep(20)
    assert order == ["fills 0", "asks", "fills 1", "fills 2"]


@ONE
@process
async def test_who_waits_in_a_host_lends_the_slot_of_its_pool() -> None:
    async with Runtime(pools={"one": 1}, hosts=Hosts(max=1)) as rt:
        assert await rt.run(nested_in_hosts, 3, host="process", tag="one") == 3


async def nested_in_hosts(depth: int) -> int:
    """Wait for a task like this one."""
    if not depth:
        return 0
    here = current().runtime
    inner: int = await here.run(nested_in_hosts, depth - 1, host="process", tag="one")
    return 1 + inner


async def test_a_thread_of_a_pool_makes_room_at_its_checkpoint() -> None:
    spinning, stop = threading.Event(), threading.Event()

    def spin() -> None:
        spinning.set()
        while not stop.is_set():
            checkpoint()

    async with Runtime(pools={"one": 1}) as rt:
        ref = await rt.spawn(spin, tag="one", priority=1)
        await until(spinning.is_set)
        await rt.run(anyio.sleep, 0, tag="one", priority=5)
        stop.set()
        await ref


# -------------------------------------------------------------------------------------- when hosts are full


@ONE
@process
@pytest.mark.parametrize("priority", [3, 5], ids=["before it", "more urgent"])
async def test_full_hosts_do_not_keep_the_loop_tasks_of_a_pool_waiting(priority: int, tmp_path: Path) -> None:
    async def step(amount: int) -> int:
        for _ in range(amount):
            await anyio.lowlevel.checkpoint()
        return amount

    with Fifo(tmp_path) as fifo:
        async with Runtime(pools={"mixed": 2}, hosts=Hosts(max=1)) as rt:
            busy = await rt.spawn(work.spin, fifo.path, host="process")
            await fifo.told()
            hosted = [
                await rt.spawn(work.pid, host="process", tag="mixed", priority=priority) for _ in range(5)
            ]
            await settle()
            assert running(hosted) == 0
            refs = [await rt.spawn(step, 10, tag="mixed") for _ in range(20)]
            for ref in refs:
                assert await ref == 10
            long = await rt.spawn(step, 1000, tag="mixed")
            await settle()
            assert running(hosted) == 0
            assert await long == 1000
            await busy.cancel()
            assert len({await ref for ref in hosted}) == 1


@ONE
@process
async def test_full_hosts_do_not_keep_the_threads_of_a_pool_waiting(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(pools={"mixed": 1}, hosts=Hosts(max=1)) as rt:
            busy = await rt.spawn(work.spin, fifo.path, host="process")
            await fifo.told()
            hosted = await rt.spawn(work.pid, host="process", tag="mixed", priority=6)
            for _ in range(5):
                assert await rt.run(work.double, 4, host="thread", tag="mixed") == 8
            assert hosted.status is TaskStatus.READY
            await busy.cancel()
            await hosted


@ONE
@process
async def test_who_runs_is_not_preempted_for_a_task_that_finds_no_host(tmp_path: Path) -> None:
    told: list[str] = []
    gate = anyio.Event()
    with Fifo(tmp_path) as fifo:
        async with Runtime(pools={"mixed": 1}, hosts=Hosts(max=1)) as rt:
            busy = await rt.spawn(work.spin, fifo.path, host="process")
            await fifo.told()
            ref = await rt.spawn(gate.wait, tag="mixed", priority=1)
            await settle()
            first = await rt.spawn(work.pid, host="process", tag="mixed", priority=6)
            await settle()  # nobody knew before that there is no host
            rt.subscribe("preempted", lambda event: told.append(event.name))
            await rt.spawn(anyio.sleep, 0, tag="mixed", priority=0)
            for _ in range(5):
                await rt.run(anyio.sleep, 0)
            await settle()
            assert not told
            assert ref.status is TaskStatus.RUNNING
            gate.set()
            await busy.cancel()
            await first


async def test_a_pool_has_as_many_threads_as_tasks_ran_at_once_however_many_that_were() -> None:
    """Those who are idle are used again: none is dropped, whose thread nobody would end."""
    together = threading.Barrier(100)
    threads: list[int] = []
    async with Runtime(pools={"io": 100}) as rt:
        for _ in range(3):
            for ref in [await rt.spawn(together.wait, tag="io") for _ in range(100)]:
                await ref
            threads.append(threading.active_count())
    assert len(set(threads)) == 1

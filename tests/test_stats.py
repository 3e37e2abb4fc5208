"""`rt.stats()` counts what there is and what there was, and its counts agree with one another."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from actorsched import Actor, Hosts, Mailbox, MailboxFull, Runtime, Stats, TaskStatus
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import Fifo, actor_hosts, kill, until

if TYPE_CHECKING:
    from pathlib import Path

ASYNCIO = pytest.mark.parametrize("backend", ["asyncio", "uvloop"], indirect=True)


async def job(units: float = 1) -> None:
    await compute(units)


async def fail(units: float = 1) -> None:
    await compute(units)
    raise RuntimeError("on purpose")


class Sleeper(Actor):
    mailbox = Mailbox(capacity=2, overflow="raise")

    async def sleep(self) -> None:
        await anyio.sleep_forever()

    async def fail(self) -> None:
        raise RuntimeError("as it was told to")

    async def nothing(self) -> None:
        pass


async def test_a_new_runtime_has_nothing_to_count() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        stats = rt.stats()
        assert (stats.submitted, stats.ended, stats.live, stats.queued) == (0, 0, 0, 0)
        assert (stats.success_rate, stats.throughput, stats.uptime) == (None, 0.0, 0.0)
        assert set(stats.tasks) == set(TaskStatus)
        assert set(stats.pools) == {"loop", "thread", "process"}
        assert (stats.hosts.total, stats.actors.actors, stats.messages.sent) == (0, 0, 0)
        assert stats.load is None


async def test_every_task_is_counted_once_by_its_status() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1, pools={"io": 2}) as rt:
        done = await rt.spawn(job, 1)
        bad = await rt.spawn(fail, 1)
        gone = await rt.spawn(job, 1)
        late = await rt.spawn(job, 9, deadline=1, hard=True, tag="io")
        await gone.cancel()
        for ref in (done, bad, late):
            await ref.outcome()
        running = await rt.spawn(job, 5)
        await rt.spawn(job, 1)
        await rt.spawn(job, 1, after=[running])
        await rt.sleep(2)
        stats = rt.stats()
        assert {status.value: number for status, number in stats.tasks.items() if number} == {
            "completed": 1,
            "failed": 1,
            "cancelled": 1,
            "deadline_missed": 1,
            "running": 1,
            "ready": 1,
            "waiting": 1,
        }
        assert (stats.submitted, stats.ended, stats.live) == (7, 4, 3)
        assert stats.success_rate == pytest.approx(1 / 3)
        assert stats.uptime == 4.0
        assert stats.throughput == 1.0
        loop, io = stats.pools["loop"], stats.pools["io"]
        assert (loop.running, loop.queued, loop.limit) == (1, 1, 1)
        assert (io.running, io.queued, io.limit) == (0, 0, 2)
        assert io.tasks[TaskStatus.DEADLINE_MISSED] == 1
        assert stats.queued == 1
        await running.cancel()


async def test_the_counts_agree_at_every_moment() -> None:
    seen: list[Stats] = []
    created = 0
    async with Runtime(clock=VirtualClock(), concurrency=2, pools={"io": 1}) as rt:
        rt.subscribe(None, lambda event: seen.append(rt.stats()))
        refs = [await rt.spawn(fail if number % 3 else job, number % 2) for number in range(12)]
        refs += [
            await rt.spawn(job, 1, tag="io", after=refs[:2], on_upstream_failure="run") for _ in range(3)
        ]
        await refs[8].cancel()
        for ref in refs:
            await ref.outcome()
        created = len(refs)
    assert {stats.submitted for stats in seen[-20:]} == {created}
    assert [stats.submitted for stats in seen] == sorted(stats.submitted for stats in seen)
    assert [stats.ended for stats in seen] == sorted(stats.ended for stats in seen)
    for stats in seen:
        assert stats.submitted == sum(sum(pool.tasks.values()) for pool in stats.pools.values())
    assert rt.stats().ended == created


async def test_streams_have_tasks_too() -> None:
    async with Runtime() as rt:
        async for _ in rt.map(anyio.sleep, [0] * 10):
            pass
        waiting = rt.map(anyio.sleep, [1000] * 10, limit=4)
        async with anyio.create_task_group() as group:
            group.start_soon(waiting.__anext__)
            await until(lambda: rt.stats().tasks[TaskStatus.RUNNING] == 4)
            group.cancel_scope.cancel()
        assert rt.stats().tasks[TaskStatus.COMPLETED] == 10
        assert rt.stats().tasks[TaskStatus.CANCELLED] == 4


async def test_actors_restarts_and_messages_are_counted() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(Sleeper)
        async with rt.scope() as scope:
            await scope.spawn(Sleeper)
            assert rt.stats().actors.actors == 2
        ref.tell(Sleeper.fail)
        await until(lambda: rt.stats().actors.restarts == 1)
        await ref.ask.nothing()
        for _ in range(3):
            ref.tell(Sleeper.sleep)
            await anyio.sleep(0)
        with pytest.raises(MailboxFull):
            ref.tell(Sleeper.sleep)
        messages = rt.stats().messages
        assert (messages.sent, messages.handled, messages.rejected, messages.dead_lettered) == (6, 2, 1, 0)
        assert messages.pending == 3
        await ref.kill()
        assert rt.stats().messages.pending == 0
        assert rt.stats().actors.actors == 0


async def test_threads_are_counted() -> None:
    go = threading.Event()
    async with Runtime() as rt:
        refs = [await rt.spawn(go.wait) for _ in range(3)]
        await until(lambda: rt.stats().threads.busy == 3)
        assert rt.stats().threads.threads == 3
        go.set()
        for ref in refs:
            await ref
        assert rt.stats().threads.busy == 0


@pytest.mark.process
async def test_hosts_are_counted_by_their_state_and_by_what_became_of_them(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with Fifo(tmp_path) as fifo:
            log = str(tmp_path / "log")
            busy = await rt.spawn(work.spin_politely, fifo.path, log, host="process", name="busy")
            assert rt.stats().hosts.starting == 1
            pid = await fifo.told()
            await rt.spawn(work.Counter)
            hosts = rt.stats().hosts
            assert (hosts.busy, hosts.idle, hosts.total, hosts.spawned) == (1, 1, 2, 2)
            kill(pid)
            await busy.outcome()
            assert rt.stats().hosts.died == 1
            port = actor_hosts(rt)[0]
            port.recycle("is not wanted")
            await until(lambda: rt.stats().hosts.reaped == 1)
    hosts = rt.stats().hosts
    assert hosts.total == 0
    assert hosts.spawned == hosts.reaped + hosts.died


@ASYNCIO
@pytest.mark.process
async def test_what_an_executor_did_still_counts_when_it_has_ended_and_others_use_its_hosts() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        executor = rt.executor(max_workers=1)
        pid = await asyncio.wrap_future(executor.submit(work.pid))
        with pytest.raises(LookupError):
            await asyncio.wrap_future(executor.submit(work.fail, "on purpose"))
        assert len(rt.stats().pools) == 4
        executor.shutdown(wait=False)
        await until(lambda: len(rt.stats().pools) == 3)
        stats = rt.stats()
        assert (stats.tasks[TaskStatus.COMPLETED], stats.tasks[TaskStatus.FAILED]) == (1, 1)
        assert list(rt._system.staff.pools) == ["process"]
        assert await rt.run(work.pid) == pid
        rt._system.staff.monitor.hurry()  # who was told of the load had gone
        await until(lambda: rt.stats().load is not None)


async def test_only_the_thread_of_an_entered_runtime_may_count() -> None:
    rt = Runtime()
    with pytest.raises(RuntimeError, match="not entered"):
        rt.stats()
    async with rt:
        pass
    assert rt.stats().submitted == 0

"""How long tasks wait, run and take is measured, exactly where time is virtual: `rt.stats().latencies`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from actorsched import Hosts, Priority, Retry, Runtime, TaskStatus
from actorsched._core.latency import STRIDE
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import Fifo, until

if TYPE_CHECKING:
    from pathlib import Path

    from actorsched.latencies import PhaseStats, Quantiles


def near(*seconds: float | None) -> tuple[object, ...]:
    return tuple(None if value is None else pytest.approx(value, rel=0.0101) for value in seconds)


def seen(quantiles: Quantiles) -> tuple[object, ...]:
    return (quantiles.mean, quantiles.p50, quantiles.p95, quantiles.max)


def counts(phases: PhaseStats) -> tuple[int, int, int]:
    return (phases.wait.count, phases.run.count, phases.total.count)


async def test_before_the_first_task_nothing_is_known() -> None:
    async with Runtime() as rt:
        stats = rt.stats()
        assert counts(stats.latencies.overall) == (0, 0, 0)
        assert seen(stats.latencies.overall.run) == (None, None, None, None)
        assert not stats.latencies.by_priority
        assert not stats.latencies.by_pool
        assert stats.recent_throughput == 0.0


async def test_tasks_in_one_slot_wait_for_one_another() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        refs = [await rt.spawn(compute, 1.0) for _ in range(5)]
        for ref in refs:
            await ref
        stats = rt.stats()
        overall = stats.latencies.overall
        assert counts(overall) == (5, 5, 5)
        assert seen(overall.wait) == near(2.0, 2.0, 4.0, 4.0)
        assert seen(overall.run) == near(1.0, 1.0, 1.0, 1.0)
        assert seen(overall.total) == near(3.0, 3.0, 5.0, 5.0)
        assert overall.total.sum == pytest.approx(15.0)
        assert stats.latencies.recent.overall == overall
        assert stats.recent_throughput == pytest.approx(1.0)


async def test_they_are_told_apart_by_priority_and_by_pool() -> None:
    async with Runtime(clock=VirtualClock(), pools={"io": 1}) as rt:
        await rt.run(compute, 1.0)
        await rt.run(compute, 2.0, priority=Priority.HIGH)
        await rt.run(compute, 4.0, priority=Priority.HIGH, tag="io")
        latencies = rt.stats().latencies
        assert list(latencies.by_priority) == [Priority.NORMAL, Priority.HIGH]
        assert seen(latencies.by_priority[Priority.HIGH].run) == near(3.0, 2.0, 4.0, 4.0)
        assert list(latencies.by_pool) == ["io", "loop"]
        assert seen(latencies.by_pool["loop"].run) == near(1.5, 1.0, 2.0, 2.0)
        assert latencies.overall.run.max == 4.0


async def test_what_is_older_than_a_minute_is_not_recent() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        await rt.run(compute, 5.0)
        await rt.sleep(70)
        await rt.run(compute, 1.0)
        latencies = rt.stats().latencies
        assert counts(latencies.overall) == (2, 2, 2)
        assert counts(latencies.recent.overall) == (1, 1, 1)
        assert latencies.recent.overall.run.max == 1.0
        await rt.sleep(70)
        recent = rt.stats().latencies.recent
        assert counts(recent.overall) == (0, 0, 0)
        assert not recent.by_pool
        assert rt.stats().recent_throughput == 0.0


async def test_a_task_waits_from_being_ready_and_takes_from_its_submission() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        first = await rt.spawn(compute, 3.0)
        for injected in (True, False):
            if injected:
                later = await rt.spawn(lambda _: compute(1.0), first, host="loop", priority=4)
            else:
                later = await rt.spawn(compute, 1.0, after=[first], priority=5)
            await later
        by_priority = rt.stats().latencies.by_priority
        assert seen(by_priority[4].wait) == near(0.0, 0.0, 0.0, 0.0)
        assert seen(by_priority[4].total) == near(4.0, 4.0, 4.0, 4.0)
        assert seen(by_priority[5].total) == near(1.0, 1.0, 1.0, 1.0)  # the first had ended by then


async def test_one_that_depends_on_a_failure_and_runs_anyway_waits_from_then() -> None:
    async def fail() -> None:
        await compute(2.0)
        raise ValueError("on purpose")

    async with Runtime(clock=VirtualClock()) as rt:
        failing = await rt.spawn(fail)
        after = await rt.spawn(compute, 1.0, after=[failing], on_upstream_failure="run", priority=6)
        await after
        assert (await failing.outcome()).status is TaskStatus.FAILED
        phases = rt.stats().latencies.by_priority[6]
        assert seen(phases.wait) == near(0.0, 0.0, 0.0, 0.0)
        assert seen(phases.total) == near(3.0, 3.0, 3.0, 3.0)


async def test_of_retries_the_first_start_and_the_last_attempt_count() -> None:
    left = [3.0, 2.0, 1.0]

    async def flaky() -> None:
        await compute(left.pop(0))
        if left:
            raise ValueError("again")

    async with Runtime(clock=VirtualClock()) as rt:
        await rt.run(flaky, retry=Retry(attempts=3, delay=10, backoff=1, jitter=False))
        overall = rt.stats().latencies.overall
        assert counts(overall) == (1, 1, 1)
        assert seen(overall.wait) == near(0.0, 0.0, 0.0, 0.0)
        assert seen(overall.run) == near(1.0, 1.0, 1.0, 1.0)
        assert seen(overall.total) == near(26.0, 26.0, 26.0, 26.0)


async def test_a_preempted_task_runs_on_while_it_pauses() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        low = await rt.spawn(compute, 4.0, priority=Priority.LOW)
        await rt.sleep(1)
        high = await rt.spawn(compute, 2.0, priority=Priority.HIGH)
        await high
        await low
        by_priority = rt.stats().latencies.by_priority
        assert seen(by_priority[Priority.HIGH].wait) == near(0.0, 0.0, 0.0, 0.0)
        assert seen(by_priority[Priority.LOW].run) == near(6.0, 6.0, 6.0, 6.0)


async def test_what_is_cancelled_in_the_queue_has_only_a_total() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        running = await rt.spawn(compute, 3.0)
        queued = await rt.spawn(compute, 1.0)
        await rt.sleep(2)
        await queued.cancel()
        assert counts(rt.stats().latencies.overall) == (0, 0, 1)
        assert rt.stats().latencies.overall.total.max == 2.0
        await running
        assert counts(rt.stats().latencies.overall) == (1, 1, 2)


async def test_waiting_for_a_resource_is_a_wait_too() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        rt.resource("bus")
        refs = [await rt.spawn(compute, 2.0, resources={"bus"}) for _ in range(2)]
        for ref in refs:
            await ref
        assert seen(rt.stats().latencies.overall.wait) == near(1.0, 0.0, 2.0, 2.0)


async def test_no_burst_is_too_long_to_be_counted() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        refs = [await rt.spawn(compute, 1.0) for _ in range(5000)]
        for ref in refs:
            await ref
        total = rt.stats().latencies.overall.total
        assert 5000 - STRIDE < total.count <= 5000
        assert near(total.p50, total.p99) == near(1.0, 1.0)


async def test_tasks_in_threads_are_measured() -> None:
    go = threading.Event()
    async with Runtime() as rt:
        ref = await rt.spawn(go.wait)
        await until(lambda: rt.stats().tasks[TaskStatus.RUNNING] == 1)
        began = rt.now
        await until(lambda: rt.now - began > 0.02)
        go.set()
        await ref
        phases = rt.stats().latencies.by_pool["thread"]
        assert counts(phases) == (1, 1, 1)
        assert phases.run.max is not None
        assert phases.total.max is not None
        assert phases.run.max >= 0.02
        assert phases.run.max <= phases.total.max


@pytest.mark.process
async def test_a_task_in_a_host_starts_when_the_host_says_so(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        await rt.run(work.pid)
        with Fifo(tmp_path) as fifo:
            log = str(tmp_path / "log")
            spinning = await rt.spawn(work.spin_politely, fifo.path, log, host="process", priority=4)
            await fifo.told()
            waiting = await rt.spawn(work.pid, priority=3)
            before = rt.now
            await until(lambda: rt.now - before > 0.05)
            await spinning.cancel()
        await waiting
        by_priority = rt.stats().latencies.by_priority
        assert by_priority[4].run.count == 1
        wait, run = by_priority[3].wait, by_priority[3].run
        assert wait.max is not None
        assert wait.max >= 0.05
        assert run.max is not None
        assert run.count == 2


@pytest.mark.process
async def test_what_never_began_in_a_host_has_only_a_total(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with Fifo(tmp_path) as fifo:
            log = str(tmp_path / "log")
            spinning = await rt.spawn(work.spin_politely, fifo.path, log, host="process")
            await fifo.told()
            waiting = await rt.spawn(work.pid, priority=3)
            await waiting.cancel()
            await waiting.outcome()
            overall = rt.stats().latencies.by_pool["process"]
            assert counts(overall) == (0, 0, 1)
            await spinning.cancel()


async def test_an_executor_that_has_ended_counts_among_all_tasks_only() -> None:
    async with Runtime() as rt:
        with_pool = rt.executor(host="thread", max_workers=1)
        future = with_pool.submit(int)
        await until(future.done)
        name = next(iter(rt.stats().latencies.by_pool))
        assert name.startswith("executor-")
        with_pool.shutdown(wait=False)
        await until(lambda: name not in rt.stats().pools)
        latencies = rt.stats().latencies
        assert counts(latencies.overall) == (1, 1, 1)
        assert not latencies.by_pool


async def test_statistics_are_a_table_for_people() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        assert str(rt.stats()).splitlines() == ["uptime    0s", "tasks     0 submitted"]
        refs = [await rt.spawn(compute, 1.0, priority=number) for number in (3, 3, 4)]
        for ref in refs:
            await ref
        text = str(rt.stats())
        assert "tasks     3 submitted, 3 completed" in text
        assert "success   100.0%" in text
        assert "ended     1.0/s, in the last minute 1.0/s" in text
        assert "pool      loop: 0 of 1 running, 0 queued" in text
        lines = text.splitlines()
        head = next(line for line in lines if line.startswith("latencies"))
        assert head.split() == ["latencies", "count", "mean", "p50", "p95", "p99", "max"]
        rows = [line.split() for line in lines]
        assert ["all", "run", "3", "1s", "1s", "1s", "1s", "1s"] in rows
        assert any(row[:3] == ["priority", "4", "wait"] for row in rows)
        assert max(map(len, lines)) <= 100
        assert "last minute" not in lines[-3]  # as long as there is nothing else
        await rt.sleep(70)
        await rt.run(compute, 2.0)
        assert str(rt.stats()).splitlines()[-2].split() == ["last", "minute", "run", "1", *["2s"] * 5]
        assert not any(line != line.rstrip() for line in lines)

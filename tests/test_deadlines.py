"""Deadlines at runtime: hard ones stop a task wherever it is, soft ones are written down.

Where nothing but the loop is concerned, time is virtual, and every figure exact. Threads and hosts take real
time, for which virtual time waits; there a clock is moved by hand.
"""

from __future__ import annotations

import logging
import threading
import traceback
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import (
    Actor,
    DeadlineMissed,
    DependencyFailed,
    Hosts,
    Interrupted,
    NotTransferable,
    Retry,
    Runtime,
    Task,
    TaskCancelled,
    TaskChain,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import Fifo, lines
from tests.manual_clock import ManualClock, settle, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actorsched.events import Event

MISSED = TaskStatus.DEADLINE_MISSED
process = pytest.mark.process
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)


def virtual(**options: Any) -> Runtime:
    """A runtime in virtual time, with one slot in the loop."""
    given: dict[str, Any] = {"concurrency": 1, **options}
    return Runtime(clock=VirtualClock(), **given)


async def missed(ref: TaskRef[Any]) -> DeadlineMissed:
    """The error of a task that missed its hard deadline."""
    outcome = await ref.outcome()
    assert outcome.status is ref.status is MISSED
    assert isinstance(outcome.error, DeadlineMissed)
    assert outcome.error.task == ref.name
    assert ref.exception() is outcome.error
    return outcome.error


def soon(seconds: float, zone: timezone = UTC) -> datetime:
    return datetime.now(zone) + timedelta(seconds=seconds)


# --------------------------------------------------------------------------------------------- when it is due


@pytest.mark.parametrize("deadline", [5, 5.0, "5s", "5000ms", timedelta(seconds=5)])
async def test_a_deadline_counts_from_the_submission(deadline: Any) -> None:
    async with virtual() as rt:
        await rt.sleep(7)
        ref = await rt.spawn(compute, 9, deadline=deadline, hard=True)
        await missed(ref)
        assert rt.now == 12


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-7))])
async def test_a_deadline_may_be_a_time_of_the_day(zone: timezone) -> None:
    async with virtual() as rt:
        ref = await rt.spawn(compute, 600, deadline=soon(300, zone), hard=True)
        await missed(ref)
        assert 295 < rt.now <= 300


async def test_a_time_that_is_past_is_refused_at_the_call() -> None:
    async with virtual() as rt:
        for call in (rt.spawn, rt.run):
            with pytest.raises(ValueError, match=r"is already past, by .*; give a time to come"):
                await call(compute, 1, deadline=soon(-5))
        with pytest.raises(ValueError, match="is a naive datetime"):
            await rt.spawn(compute, 1, deadline=datetime(2999, 1, 1))  # noqa: DTZ001  # that is the point
        assert not rt._nursery.live
        assert rt._system.kernel.timers == 0


async def test_a_prepared_task_whose_time_has_passed_is_refused_when_it_is_submitted() -> None:
    task = Task("late", compute, (1,), deadline=soon(0.001))
    chain = TaskChain(Task("first", compute, (1,), deadline=5), Task("late", compute, deadline=soon(0.001)))
    await anyio.sleep(0.002)
    async with virtual() as rt:
        for prepared in (task, chain):
            with pytest.raises(ValueError, match="is already past"):
                await rt.submit(prepared)
        assert task.ref is chain.tasks[0].ref is chain.tasks[1].ref is None
        assert not rt._nursery.live
        assert rt._system.kernel.timers == 0


async def test_an_item_of_a_map_whose_time_has_passed_ends_the_map_with_the_error() -> None:
    async with Runtime(concurrency=1) as rt:
        results = rt.map(anyio.sleep, [0.001] * 1000, limit=1, deadline=soon(0.02))
        with pytest.raises(ValueError, match="is already past"):
            async for _ in results:
                pass


async def test_the_shortest_deadline_passes_while_the_task_is_submitted_and_it_never_begins() -> None:
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    async with Runtime(concurrency=1) as rt:
        hold = anyio.Event()
        holder = await rt.spawn(hold.wait)
        await settle()
        ref = await rt.spawn(begin, deadline=1e-9, hard=True)
        error = await missed(ref)
        assert error.tardiness is not None
        assert error.tardiness > 0
        hold.set()
        await holder
    assert not begun


# ------------------------------------------------------------------------------------------ hard: in the loop


async def test_a_task_that_runs_is_stopped_at_its_hard_deadline_and_cleans_up() -> None:
    cleaned: list[float] = []

    async def slow() -> None:
        try:
            await compute(10)
        finally:
            cleaned.append(rt.now)

    async with virtual() as rt:
        ref = await rt.spawn(slow, name="slow", deadline="4s", hard=True)
        with pytest.raises(DeadlineMissed) as caught:
            await ref
        assert rt.now == 4
    assert cleaned == [4]
    assert ref.status is MISSED
    assert ref.tardiness == caught.value.tardiness == 0.0
    assert str(caught.value) == (
        "task 'slow' was stopped after it had begun, at its hard deadline of 4s after its submission; give "
        "it more time or a higher priority, or let the deadline be a soft one"
    )
    assert caught.value.__cause__ is not None
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__cause__.__traceback__)]
    assert "slow" in frames


async def test_how_late_it_was_counts_what_it_took_to_stop() -> None:
    async def slow_to_stop() -> None:
        try:
            await compute(10)
        finally:
            with anyio.CancelScope(shield=True):
                await rt.sleep(3)

    async with virtual() as rt:
        ref = await rt.spawn(slow_to_stop, deadline=4, hard=True)
        await missed(ref)
        assert ref.tardiness == 3
        assert rt.now == 7


async def test_a_task_that_returns_all_the_same_has_missed_its_deadline() -> None:
    async def stubborn() -> str:
        try:
            await compute(10)
        except BaseException:
            return "not so fast"
        return "never"

    async with virtual() as rt:
        ref = await rt.spawn(stubborn, deadline=4, hard=True)
        await missed(ref)
        with pytest.raises(DeadlineMissed):
            ref.result()


async def test_what_ends_exactly_at_its_deadline_is_in_time() -> None:
    async with virtual(policy="edf") as rt:
        refs = [await rt.spawn(compute, 0.1, deadline=0.1 * n, hard=True) for n in range(1, 30)]
        in_time = [await ref.outcome() for ref in refs[:2]]
        assert [outcome.status for outcome in in_time] == [TaskStatus.COMPLETED] * 2
        assert [outcome.tardiness for outcome in in_time] == [0.0, 0.0]
        for ref in refs:
            await ref.outcome()
        exact = await rt.spawn(compute, 5, deadline=5, hard=True)
        late = await rt.spawn(compute, 5, deadline=9.5, hard=True)
        await exact
        assert exact.tardiness == 0.0
        await missed(late)


async def test_the_deadline_is_that_of_all_attempts_together() -> None:
    attempts: list[float] = []

    async def flaky() -> None:
        attempts.append(rt.now)
        await compute(2)
        raise OSError

    async with virtual() as rt:
        ref = await rt.spawn(flaky, retry=9, deadline=5, hard=True)
        error = await missed(ref)
        assert "after it had begun" in str(error)
        assert (attempts, ref.attempt, rt.now) == ([0, 2, 4], 3, 5)


async def test_a_timeout_in_one_attempt_comes_before_and_leaves_the_deadline_alone() -> None:
    async with virtual() as rt:
        ref = await rt.spawn(compute, 9, timeout=2, retry=9, deadline=5, hard=True)
        await missed(ref)
        assert (ref.attempt, rt.now) == (3, 5)


async def test_a_cancelled_task_that_takes_its_time_to_stop_stays_cancelled() -> None:
    async def slow_to_stop() -> None:
        try:
            await compute(10)
        finally:
            with anyio.CancelScope(shield=True):
                await rt.sleep(9)

    async with virtual() as rt:
        ref = await rt.spawn(slow_to_stop, deadline=4, hard=True)
        await rt.sleep(1)
        await ref.cancel("enough")
        assert (ref.status, ref.tardiness, rt.now) == (TaskStatus.CANCELLED, 6, 10)
        with pytest.raises(TaskCancelled, match="enough"):
            await ref


async def test_whoever_waits_for_another_task_is_stopped_and_leaves_it_alone() -> None:
    async with virtual() as rt:
        long = await rt.spawn(compute, 10)

        async def wait() -> None:
            await long

        ref = await rt.spawn(wait, deadline=3, hard=True)
        await missed(ref)
        assert rt.now == 3
        await long
        assert rt.now == 10


async def test_a_preempted_task_is_stopped_too() -> None:
    async with virtual() as rt:
        ref = await rt.spawn(compute, 5, deadline=4, hard=True)
        await rt.sleep(1)
        urgent = await rt.spawn(compute, 10, priority=5)
        await rt.sleep(1)
        assert ref.status is TaskStatus.PREEMPTED
        await missed(ref)
        assert rt.now == 4
        await urgent
        assert rt.now == 11


# ------------------------------------------------------------------------------- hard: before it has begun


async def not_begun(rt: Runtime, ref: TaskRef[Any], when: float) -> None:
    """It ends at that time, unexecuted, and says so."""
    error = await missed(ref)
    assert "before it had begun" in str(error)
    assert (ref.attempt, ref.tardiness, rt.now) == (0, 0.0, when)


async def test_a_task_in_the_queue_is_dropped_unexecuted() -> None:
    async with virtual() as rt:
        await rt.spawn(compute, 10)
        ref = await rt.spawn(compute, 1, deadline=3, hard=True)
        await rt.sleep(1)
        assert ref.status is TaskStatus.READY
        await not_begun(rt, ref, 3)
        assert len(rt._system.pools["loop"].policy) == 0


async def test_a_task_that_waits_for_others_is_dropped_and_they_go_on() -> None:
    async with virtual() as rt:
        upstream = await rt.spawn(compute, 10)
        ref = await rt.spawn(compute, 1, after=[upstream], deadline=3, hard=True)
        await rt.sleep(1)
        assert ref.status is TaskStatus.WAITING
        await not_begun(rt, ref, 3)
        await upstream
        assert rt.now == 10


async def test_a_task_that_is_blocked_for_a_resource_is_dropped_and_takes_none() -> None:
    async with virtual(concurrency=2) as rt:
        rt.resource("db")
        holder = await rt.spawn(compute, 10, resources={"db"})
        ref = await rt.spawn(compute, 1, resources={"db"}, deadline=3, hard=True)
        await rt.sleep(1)
        assert ref.status is TaskStatus.BLOCKED
        await not_begun(rt, ref, 3)
        await holder
        await rt.run(compute, 1, resources={"db"})
        assert rt.now == 11


async def test_a_task_between_two_attempts_is_dropped() -> None:
    async def fail() -> None:
        raise OSError

    async with virtual() as rt:
        ref = await rt.spawn(fail, retry=Retry(9, delay=10, jitter=False), deadline=3, hard=True)
        await rt.sleep(1)
        assert ref.status is TaskStatus.RETRYING
        await missed(ref)
        assert (ref.attempt, rt.now) == (1, 3)
        assert rt._system.kernel.timers == 0


async def test_a_thread_and_a_host_are_not_even_told_of_a_task_that_was_dropped() -> None:
    def never() -> None:
        raise AssertionError

    async with virtual() as rt:
        upstream = await rt.spawn(compute, 10)
        refs = [
            await rt.spawn(never, host=host, after=[upstream], deadline=n, hard=True)
            for n, host in enumerate(("thread", "process"), 1)
        ]
        for n, ref in enumerate(refs, 1):
            await not_begun(rt, ref, n)


# --------------------------------------------------------------------------------- hard: threads and hosts


class Spinner:
    """A function in a thread that stops at checkpoints."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.running.set()
        try:
            while True:
                threading.Event().wait(0.001)
                checkpoint()
        except BaseException as error:
            self.error = error
            raise


async def test_a_thread_is_stopped_at_its_next_checkpoint() -> None:
    clock, spinner = ManualClock(), Spinner()
    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(spinner, name="spin", deadline=4, hard=True)
        await until(spinner.running.is_set)
        await clock.passes(3.9)
        assert ref.status is TaskStatus.RUNNING
        await clock.passes(0.1)
        error = await missed(ref)
    assert isinstance(spinner.error, Interrupted)
    assert "hard deadline of 4s" in str(spinner.error)
    assert error.__cause__ is spinner.error


async def test_an_abandoned_thread_has_missed_its_deadline_at_once() -> None:
    clock, release, running = ManualClock(), threading.Event(), threading.Event()

    def deaf() -> None:
        running.set()
        release.wait()

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(deaf, deadline=4, hard=True, abandon_on_cancel=True)
        await until(running.is_set)
        await clock.passes(4)
        await missed(ref)
        release.set()


@process
@pytest.mark.parametrize("function", [work.spin_politely, work.sleep_politely])
async def test_a_host_is_told_to_stop_what_it_runs(function: Callable[..., Any], tmp_path: Path) -> None:
    clock, log = ManualClock(), tmp_path / "log"
    with Fifo(tmp_path) as fifo:
        async with Runtime(clock=clock, hosts=Hosts(max=1)) as rt:
            ref = await rt.spawn(function, fifo.path, str(log), host="process", deadline=4, hard=True)
            pid = await fifo.told()
            await clock.passes(4)
            await missed(ref)
            assert await rt.run(work.pid, host="process") == pid
    assert lines(log)


@ONE
@process
async def test_a_host_that_does_not_stop_in_time_is_retired(tmp_path: Path) -> None:
    clock = ManualClock()
    with Fifo(tmp_path) as fifo:
        async with Runtime(clock=clock, hosts=Hosts(max=1)) as rt:
            ref = await rt.spawn(work.spin, fifo.path, host="process", deadline=4, hard=True)
            pid = await fifo.told()
            await clock.passes(4)
            assert not ref.done()
            await clock.passes(1)
            error = await missed(ref)
            assert error.__cause__ is not None
            assert (
                ref.tardiness,
                "was ended" in str(error.__cause__) or str(pid) in str(error.__cause__),
            ) == (
                1,
                True,
            )
            assert await rt.run(work.pid, host="process") != pid


@ONE
@process
async def test_what_cannot_cross_to_a_host_leaves_no_timer() -> None:
    async with virtual() as rt:
        lock = threading.Lock()
        with pytest.raises(NotTransferable):
            await rt.spawn(work.same, lock, host="process", deadline=3, max_latency=1)
        chain = TaskChain(Task("a", compute, (1,), deadline=5), Task("b", work.add, (lock,), host="process"))
        ref = await rt.submit(chain)  # what depends on another is packed when that is there
        with pytest.raises(NotTransferable):
            await ref
        pair = Task("a", work.add, (lock,), host="process", after=[Task("c", compute, (1,), deadline=5)])
        ref = await rt.submit(pair)
        await ref.outcome()
        assert rt._system.kernel.timers == 0


# ------------------------------------------------------------------------------------------ who depends on it


async def test_those_that_depend_on_it_fail_and_say_why() -> None:
    async with virtual() as rt:
        late = await rt.spawn(compute, 9, name="late", deadline=3, hard=True)
        dependent = await rt.spawn(compute, 1, name="dependent", after=[late])
        brave = await rt.spawn(compute, 1, after=[late], on_upstream_failure="run")
        with pytest.raises(
            DependencyFailed, match="'late', which it depends on, failed: DeadlineMissed"
        ) as caught:
            await dependent
        assert isinstance(caught.value.__cause__, DeadlineMissed)
        await brave
        assert rt.now == 4


async def test_a_missed_deadline_ends_the_scope_that_the_task_is_in() -> None:
    sibling: TaskRef[Any] | None = None
    async with virtual() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                sibling = await scope.spawn(compute, 100)
                await scope.spawn(compute, 9, deadline=3, hard=True, priority=5)
        assert [type(error) for error in caught.value.exceptions] == [DeadlineMissed]
        assert sibling is not None
        assert (sibling.status, rt.now) == (TaskStatus.CANCELLED, 3)


async def test_a_missed_deadline_that_nobody_looks_at_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with virtual() as rt:
        await rt.spawn(compute, 9, name="lost", deadline=3, hard=True)
        seen = await rt.spawn(compute, 9, name="seen", deadline=3, hard=True)
        await missed(seen)
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert texts == ["task 'lost' missed its deadline, and nobody looked at its outcome"]


async def test_a_run_raises_it() -> None:
    async with virtual() as rt:
        with pytest.raises(DeadlineMissed):
            await rt.run(compute, 9, deadline=3, hard=True)


# ------------------------------------------------------------------------------------------------------- soft


async def test_after_a_soft_deadline_a_task_goes_on_and_its_tardiness_is_known() -> None:
    async with virtual() as rt:
        ref = await rt.spawn(compute, 9, deadline=3)
        assert ref.tardiness is None
        await rt.sleep(5)
        assert (ref.status, ref.tardiness) == (TaskStatus.RUNNING, None)
        outcome = await ref.outcome()
        assert (outcome.ok, outcome.tardiness, ref.tardiness) == (True, 6, 6)


@pytest.mark.parametrize(
    ("amount", "deadline", "tardiness"), [(3, 5, 0.0), (5, 5, 0.0), (5.5, 5, 0.5), (5, None, None)]
)
async def test_tardiness_is_nothing_in_time_and_none_without_a_deadline(
    amount: float, deadline: float | None, tardiness: float | None
) -> None:
    async with virtual() as rt:
        ref = await rt.spawn(compute, amount, deadline=deadline)
        assert ref.tardiness is None
        await ref
        assert ref.tardiness == tardiness
        assert (await ref.outcome()).tardiness == tardiness


async def test_failures_and_cancellations_are_late_too() -> None:
    async def fail() -> None:
        await compute(5)
        raise OSError

    async with virtual(concurrency=2) as rt:
        failing = await rt.spawn(fail, deadline=2)
        cancelled = await rt.spawn(compute, 9, deadline=1)
        await failing.outcome()
        await cancelled.cancel()
        assert (failing.tardiness, cancelled.tardiness) == (3, 4)


async def test_the_event_comes_at_the_deadline_soft_or_hard_and_once_more_as_the_end() -> None:
    told: list[tuple[float, str, Any]] = []

    def note(event: Event) -> None:
        told.append((event.time, event.name, event.details["final"]))

    async with virtual(concurrency=4) as rt:
        rt.subscribe("deadline_missed", note)
        refs = [
            await rt.spawn(compute, 9, name="soft", deadline=3),
            await rt.spawn(compute, 9, name="hard", deadline=4, hard=True),
            await rt.spawn(compute, 9, name="exact", deadline=9),
        ]
        for ref in refs:
            await ref.outcome()
    assert told == [(3, "soft", False), (4, "hard", False), (4, "hard", True)]


async def test_a_task_that_ends_leaves_no_timer() -> None:
    async with virtual() as rt:
        for options in ({"deadline": 50}, {"deadline": 50, "hard": True}, {"max_latency": 50}):
            await rt.run(compute, 1, **options)  # type: ignore[call-overload]
        ref = await rt.spawn(compute, 100, deadline=50, max_latency=50)
        await ref.cancel()
        assert rt._system.kernel.timers == 0
        assert rt.now == 3


# ----------------------------------------------------------------------------------------------- inheritance


async def test_a_task_inherits_the_earliest_deadline_of_those_that_wait_for_it() -> None:
    order: list[str] = []

    async def work(name: str) -> None:
        await compute(2)
        order.append(name)

    async with virtual(policy="edf") as rt:
        await rt.spawn(work, "first", deadline=1)
        plain = await rt.spawn(work, "plain")
        await rt.spawn(work, "soon", deadline=30)
        await rt.spawn(work, "waiter", after=[plain], deadline=20)
        await rt.spawn(work, "later", deadline=40)
    assert order == ["first", "plain", "waiter", "soon", "later"]


async def test_what_was_inherited_goes_with_whoever_lent_it() -> None:
    order: list[str] = []

    async def work(name: str) -> None:
        await compute(2)
        order.append(name)

    async with virtual(policy="edf") as rt:
        await rt.spawn(work, "first", deadline=1)
        plain = await rt.spawn(work, "plain")
        await rt.spawn(work, "soon", deadline=30)
        waiter = await rt.spawn(work, "waiter", after=[plain], deadline=20)
        await waiter.cancel()
    assert order == ["first", "soon", "plain"]


async def test_a_running_task_hears_of_the_deadline_that_it_inherits_but_is_not_stopped_by_it() -> None:
    seen: list[float | None] = []

    async def look() -> None:
        for _ in range(3):
            seen.append(current().deadline)
            await compute(2)

    async with virtual(concurrency=2, policy="edf") as rt:
        ref = await rt.spawn(look, deadline=100)

        async def wait() -> None:
            await rt.sleep(1)
            await ref

        waiter = await rt.spawn(wait, deadline=5, hard=True)
        await missed(waiter)
        await ref
        assert ref.tardiness == 0.0
    assert seen == [100, 5, 5]


# ------------------------------------------------------------------------------------- what the task knows


def look() -> tuple[float | None, float]:
    return current().deadline, current().runtime.now


async def look_async() -> tuple[float | None, float]:
    return look()


def look_without_a_deadline() -> tuple[float | None, str]:
    try:
        now = str(current().runtime.now)
    except RuntimeError as error:
        now = str(error)
    return current().deadline, now


class Looker(Actor, host="process"):
    """Looks at what a handler knows of deadlines."""

    async def look(self) -> float | None:
        return current().deadline


@process
@pytest.mark.parametrize("function", [look, look_async])
async def test_the_deadline_means_the_same_in_the_loop_in_a_thread_and_in_a_host(function: Any) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        for host in ("loop", "process") if function is look_async else ("loop", "thread", "process"):
            before = rt.now
            deadline, now = await rt.run(function, host=host, deadline=60)
            assert deadline is not None
            assert before + 60 <= deadline <= rt.now + 60
            assert before - 0.01 <= now <= rt.now + 0.01  # a loop may round its time to milliseconds


@process
async def test_virtual_time_stands_still_in_a_host() -> None:
    async with virtual(hosts=Hosts(max=1)) as rt:
        await rt.sleep(3)
        for host in ("loop", "thread", "process"):
            assert await rt.run(look, host=host, deadline=60) == (63, 3)


@ONE
@process
async def test_without_a_deadline_there_is_none_anywhere() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        for host in ("loop", "thread"):
            assert (await rt.run(look, host=host))[0] is None
        deadline, error = await rt.run(look_without_a_deadline, host="process")
        assert deadline is None
        assert "known in tasks that have a deadline only" in error
        looker = await rt.spawn(Looker)
        assert await looker.ask.look() is None


async def outcome_in_a_host(refs: list[TaskRef[Any]]) -> list[Any]:
    """The tardiness of tasks, from their outcomes and from their refs."""
    return [((await ref.outcome()).tardiness, ref.tardiness) for ref in refs]


@ONE
@process
async def test_a_host_learns_how_late_a_task_was() -> None:
    async with virtual(hosts=Hosts(max=1)) as rt:
        refs = [await rt.spawn(compute, 5, deadline=3), await rt.spawn(compute, 1)]
        assert await rt.run(outcome_in_a_host, refs, host="process") == [(2, 2), (None, None)]


# ---------------------------------------------------------------------------------------------- max_latency


class Alerts:
    """What was told and written down of tasks that were not started in time."""

    def __init__(self, rt: Runtime, caplog: pytest.LogCaptureFixture) -> None:
        self.events: list[tuple[float, str]] = []
        self._caplog = caplog
        rt.subscribe("alert", self._note)

    def _note(self, event: Event) -> None:
        assert event.details["limit"] == "max_latency"
        self.events.append((event.time, event.name))

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records]


async def test_a_task_that_is_not_started_in_time_is_an_alert_once(caplog: pytest.LogCaptureFixture) -> None:
    async with virtual() as rt:
        alerts = Alerts(rt, caplog)
        await rt.spawn(compute, 10)
        ref = await rt.spawn(compute, 1, name="slow", max_latency="2s", retry=2)
        await ref
        assert alerts.events == [(2, "slow")]
        (text,) = alerts.texts
        assert text == (
            "task 'slow' was not started within max_latency=2s: it is ready; "
            "raise its priority, or the limits of its pool 'loop'"
        )


@pytest.mark.parametrize("amount", [0, 1, 2])
async def test_a_task_that_is_started_in_time_is_none(
    amount: float, caplog: pytest.LogCaptureFixture
) -> None:
    async with virtual() as rt:
        alerts = Alerts(rt, caplog)
        await rt.spawn(compute, amount)
        ref = await rt.spawn(compute, 10, max_latency=2)
        await ref
        assert not alerts.events
        assert not alerts.texts


async def test_dependencies_and_resources_count_towards_the_latency(caplog: pytest.LogCaptureFixture) -> None:
    async with virtual(concurrency=4) as rt:
        rt.resource("db")
        alerts = Alerts(rt, caplog)
        holder = await rt.spawn(compute, 5, resources={"db"})
        await rt.spawn(compute, 1, name="after", after=[holder], max_latency=1)
        await rt.spawn(compute, 1, name="blocked", resources={"db"}, max_latency=2)
    assert alerts.events == [(1, "after"), (2, "blocked")]
    assert ["it is waiting" in alerts.texts[0], "it is blocked" in alerts.texts[1]] == [True, True]


async def test_nobody_is_alerted_for_a_task_that_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    async with virtual() as rt:
        alerts = Alerts(rt, caplog)
        await rt.spawn(compute, 10)
        ref = await rt.spawn(compute, 1, max_latency=2)
        await ref.cancel()
    assert not alerts.events


async def test_a_thread_and_a_host_start_in_time_too(caplog: pytest.LogCaptureFixture) -> None:
    clock, release = ManualClock(), threading.Event()
    async with Runtime(clock=clock, pools={"one": 1}) as rt:
        alerts = Alerts(rt, caplog)
        first = await rt.spawn(release.wait, tag="one", max_latency=1)
        second = await rt.spawn(release.is_set, tag="one", max_latency=2, name="second")
        await until(lambda: first.status is TaskStatus.RUNNING)
        await clock.passes(5)
        release.set()
        assert await second
    assert alerts.events == [(2, "second")]

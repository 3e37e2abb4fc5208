"""The front end `realtime`, used as people use it that come from such a system: with real threads.

Nothing here sleeps. Functions stop at gates that the test opens; `calm()` returns when the shared runtime has
done all that it was told to so far.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from actorsched import (
    ActorschedError,
    DeadlineMissed,
    DeadlockError,
    DependencyCycle,
    DependencyFailed,
    Runtime,
    TaskCancelled,
    current,
)
from actorsched import TaskStatus as Native
from actorsched.frontends import realtime
from actorsched.frontends._jobs import Job, find
from actorsched.frontends._shared import SHARED
from actorsched.frontends.realtime import (
    CircularDependencyError,
    DeadlineInPastError,
    InvalidArgumentError,
    PreemptionEvent,
    RealtimeScheduler,
    ResourceDeadlockError,
    SchedulingError,
    SchedulingPolicy,
    Task,
    TaskConstraints,
    TaskPriority,
    TaskStatus,
    UnknownTaskError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 5.0
"""Seconds; nothing here takes so long unless it is broken."""


@pytest.fixture(autouse=True)
def no_shared_runtime_is_left(warm_backends: None, nothing_outlives_the_test: None) -> Iterator[None]:
    """Stops it before anybody looks what has outlived the test."""
    yield
    SHARED.stop(drain=False, timeout=5)


def calm() -> None:
    """Wait until the runtime has done all that it was told to."""
    for _ in range(3):
        over = threading.Event()
        SHARED.call(lambda runtime, over=over: over.set())
        assert over.wait(LONG)


class Gate:
    """A function that waits until it is let through, and says when it has begun."""

    def __init__(self, value: object = None) -> None:
        self.value = value
        self.begun = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> object:
        self.begun.set()
        assert self._opened.wait(LONG)
        return self.value

    def open(self) -> None:
        self._opened.set()


def nothing() -> None:
    """Does nothing."""


def soon(**span: float) -> datetime:
    return datetime.now() + timedelta(**span)  # noqa: DTZ005 # naive on purpose: it is local time


def ran(scheduler: RealtimeScheduler, *tasks: Task) -> None:
    """Have tasks run that were submitted before, and wait for them."""
    scheduler.start()
    for task in tasks:
        assert task.wait(LONG)
    scheduler.stop()


def occupied(scheduler: RealtimeScheduler, **more: Any) -> tuple[Gate, Task]:
    """A scheduler whose one worker has something to do until the gate is opened."""
    gate = Gate()
    task = Task("occupies", gate, **more)
    scheduler.start()
    scheduler.submit(task)
    assert gate.begun.wait(LONG)
    return gate, task


# ------------------------------------------------------------------------------- the examples of the document


def test_a_task_with_a_name_a_function_arguments_and_a_priority_runs() -> None:
    task = Task(
        name="resize",
        func=lambda picture, by: picture * by,
        args=("ab",),
        kwargs={"by": 2},
        priority=TaskPriority.HIGH,
    )
    scheduler = RealtimeScheduler()
    assert task.status is TaskStatus.PENDING
    assert scheduler.submit(task)
    ran(scheduler, task)
    assert (task.status, task.result, task.error) == (TaskStatus.COMPLETED, "abab", None)


def test_a_perception_task_with_a_hard_deadline_runs_in_time() -> None:
    task = Task(
        name="perception",
        func=sorted,
        args=([3, 1, 2],),
        priority=TaskPriority.REALTIME,
        constraints=TaskConstraints(
            deadline=soon(seconds=60),
            max_latency_ms=60_000,
            is_hard_realtime=True,
            is_preemptible=False,
        ),
    )
    scheduler = RealtimeScheduler(max_workers=4, policy=SchedulingPolicy.PRIORITY)
    scheduler.start()
    scheduler.submit(task)
    scheduler.stop()
    assert task.result == [1, 2, 3]
    assert task.metrics.tardiness_ms == 0


def test_a_scheduler_is_set_up_used_and_stopped() -> None:
    scheduler = RealtimeScheduler(max_workers=4, policy=SchedulingPolicy.PRIORITY)
    one, two = Task("one", lambda: 1), Task("two", lambda: 2)
    assert scheduler.start()
    scheduler.submit(one)
    scheduler.submit(two)
    assert scheduler.stop()
    assert (one.result, two.result) == (1, 2)


def test_a_task_waits_for_the_one_that_it_depends_on() -> None:
    done: list[str] = []
    fetch = Task("fetch", done.append, ("fetched",))
    process = Task("process", done.append, ("processed",), constraints=TaskConstraints(depends_on={fetch.id}))
    scheduler = RealtimeScheduler()
    scheduler.submit(process)
    scheduler.submit(fetch)
    ran(scheduler, fetch, process)
    assert done == ["fetched", "processed"]


def test_resources_acquired_for_a_task_are_released_when_it_completes() -> None:
    needs = TaskConstraints(required_resources={"memory_store", "cache"})
    first, second = Task("first", nothing, constraints=needs), Task("second", nothing, constraints=needs)
    scheduler = RealtimeScheduler()
    scheduler.start()
    assert scheduler.acquire_resources(first, ["memory_store"])
    assert not scheduler.acquire_resources(second, ["memory_store"], timeout=0)
    scheduler.submit(second)
    scheduler.submit(first)
    scheduler.stop()
    assert first.status is second.status is TaskStatus.COMPLETED
    assert scheduler.acquire_resources(Task("third", nothing), ["memory_store", "cache"], timeout=LONG)
    scheduler.stop()


def test_the_statistics_are_read_as_the_document_reads_them() -> None:
    scheduler = RealtimeScheduler()
    scheduler.start()
    scheduler.submit(Task("quick", nothing, priority=TaskPriority.REALTIME))
    scheduler.stop()
    stats = scheduler.latency_monitor.get_stats()
    assert f"P95 scheduling latency: {stats['REALTIME']['scheduling']['p95_ms']}ms" > ""
    metrics = scheduler.metrics.get_summary()
    assert metrics["success_rate_percent"] == 100
    assert metrics["throughput_per_second"] > 0


@pytest.mark.parametrize(
    ("name", "priority", "constraints"),
    [
        ("perception", TaskPriority.REALTIME, {"is_hard_realtime": True, "is_preemptible": False}),
        ("fast_reasoning", TaskPriority.HIGH, {"deadline": soon(minutes=10)}),
        ("deep_reasoning", TaskPriority.NORMAL, {"cpu_cores": 2}),
    ],
)
def test_the_three_kinds_of_tasks_of_the_document_run(
    name: str, priority: TaskPriority, constraints: dict[str, Any]
) -> None:
    demands = TaskConstraints(max_latency_ms=60_000, **constraints)
    task = Task(name, lambda: name, priority=priority, constraints=demands)
    scheduler = RealtimeScheduler()
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.result == name


def test_a_function_that_looks_at_its_preemption_event_yields_and_keeps_what_it_has() -> None:
    begun = threading.Event()

    def long_task(preemption_event: PreemptionEvent) -> int:
        for number in range(10**9):
            if preemption_event.is_set():
                return number
            begun.set()
        raise AssertionError("nobody wanted its place")

    scheduler = RealtimeScheduler(max_workers=1)
    long = Task("long", long_task, priority=TaskPriority.LOW)
    urgent = Task("urgent", nothing, priority=TaskPriority.REALTIME)
    scheduler.start()
    scheduler.submit(long)
    assert begun.wait(LONG)
    scheduler.submit(urgent)
    scheduler.stop()
    assert long.status is TaskStatus.COMPLETED
    assert long.result > 0
    assert urgent.status is TaskStatus.COMPLETED


def test_a_batch_is_one_task_and_single_ones_may_be_many() -> None:
    done: list[int] = []
    scheduler = RealtimeScheduler(max_workers=2)
    scheduler.start()
    for item in range(100):
        scheduler.submit(Task("process", done.append, args=(item,)))
    batch = Task("batch_process", done.extend, args=(range(100, 200),))
    scheduler.submit(batch)
    scheduler.stop()
    assert sorted(done) == list(range(200))


def test_demands_for_a_pool_a_processor_and_memory_are_met() -> None:
    constraints = TaskConstraints(required_resources={"worker_pool_1"}, cpu_cores=1, memory_mb=512)
    task = Task("pooled", lambda: "done", constraints=constraints)
    scheduler = RealtimeScheduler()
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.result == "done"


def test_thresholds_of_the_document_are_accepted() -> None:
    thresholds = {
        TaskPriority.REALTIME: {"scheduling": 10, "execution": 100},
        TaskPriority.CRITICAL: {"scheduling": 50, "execution": 500},
    }
    scheduler = RealtimeScheduler(thresholds=thresholds)
    scheduler.start()
    scheduler.submit(Task("quick", nothing, priority=TaskPriority.REALTIME))
    scheduler.stop()
    assert scheduler.latency_monitor.thresholds == thresholds
    assert scheduler.latency_monitor.firing == ()


# ------------------------------------------------------------------------------------ priorities and policies


def test_there_are_seven_priorities_in_this_order() -> None:
    names = ["IDLE", "BACKGROUND", "LOW", "NORMAL", "HIGH", "CRITICAL", "REALTIME"]
    assert [priority.name for priority in sorted(TaskPriority)] == names


@pytest.mark.parametrize("policy", [SchedulingPolicy.PRIORITY, SchedulingPolicy.REALTIME])
def test_the_highest_priority_goes_first_and_equals_in_their_order(policy: SchedulingPolicy) -> None:
    done: list[str] = []
    tasks = [
        Task(f"{priority.name} {number}", done.append, (f"{priority.name} {number}",), priority=priority)
        for number in (1, 2)
        for priority in TaskPriority
    ]
    scheduler = RealtimeScheduler(max_workers=1, policy=policy)
    for task in tasks:
        scheduler.submit(task)
    ran(scheduler, *tasks)
    expected = [f"{priority.name} {number}" for priority in reversed(TaskPriority) for number in (1, 2)]
    assert done == expected


def test_the_earliest_deadline_goes_first_and_without_one_the_priority_decides() -> None:
    done: list[str] = []
    demands: dict[str, dict[str, Any]] = {
        "never": {},
        "late": {"constraints": TaskConstraints(deadline=soon(hours=3))},
        "early": {"constraints": TaskConstraints(deadline=datetime.now(UTC) + timedelta(hours=1))},
        "between": {"constraints": TaskConstraints(max_latency_ms=2 * 3600 * 1000)},
        "never, but urgent": {"priority": TaskPriority.CRITICAL},
    }
    tasks = [Task(name, done.append, (name,), **more) for name, more in demands.items()]
    scheduler = RealtimeScheduler(max_workers=1, policy=SchedulingPolicy.DEADLINE)
    for task in tasks:
        scheduler.submit(task)
    ran(scheduler, *tasks)
    assert done == ["early", "between", "late", "never, but urgent", "never"]


def test_under_the_fair_policy_a_task_yields_at_the_end_of_its_time_slice() -> None:
    begun = threading.Event()

    def greedy(preemption_event: PreemptionEvent) -> bool:
        begun.set()
        return preemption_event.wait(LONG)

    scheduler = RealtimeScheduler(max_workers=1, policy=SchedulingPolicy.FAIR)
    scheduler.start()
    long, short = Task("long", greedy, priority=TaskPriority.REALTIME), Task("short", nothing)
    scheduler.submit(long)
    assert begun.wait(LONG)
    scheduler.submit(short)
    scheduler.stop()
    assert long.result is True
    assert short.status is TaskStatus.COMPLETED


def test_policies_may_be_named() -> None:
    assert RealtimeScheduler(policy="deadline").policy is SchedulingPolicy.DEADLINE


# ------------------------------------------------------------------------------------------------- preemption


def preempts(scheduler: RealtimeScheduler, **more: Any) -> bool:
    """Whether a long task is told to make room for an urgent one before it has ended of itself."""
    begun, gate = threading.Event(), threading.Event()

    def work(preemption_event: PreemptionEvent) -> bool:
        begun.set()
        gate.wait(LONG)
        return preemption_event.is_set()

    low = Task("low", work, priority=TaskPriority.LOW, **more)
    urgent = Task("urgent", nothing, priority=TaskPriority.REALTIME)
    scheduler.start()
    scheduler.submit(low)
    assert begun.wait(LONG)
    scheduler.submit(urgent)
    calm()
    gate.set()
    scheduler.stop()
    assert urgent.status is TaskStatus.COMPLETED
    asked: bool = low.result
    return asked


def test_an_urgent_task_asks_a_lower_one_for_its_place() -> None:
    assert preempts(RealtimeScheduler(max_workers=1))


def test_nobody_is_asked_without_preemption() -> None:
    assert not preempts(RealtimeScheduler(max_workers=1, preemption=False))


def test_who_is_not_preemptible_is_not_asked() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    assert not preempts(scheduler, constraints=TaskConstraints(is_preemptible=False))


def test_a_function_that_asks_for_no_event_is_not_interrupted() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    gate, low = occupied(scheduler, priority=TaskPriority.LOW)
    urgent = Task("urgent", nothing, priority=TaskPriority.REALTIME)
    scheduler.submit(urgent)
    calm()
    assert (low.status, urgent.status) == (TaskStatus.RUNNING, TaskStatus.READY)
    gate.open()
    scheduler.stop()
    assert low.status is urgent.status is TaskStatus.COMPLETED


def test_of_two_the_one_is_asked_that_can_yield_even_if_it_is_the_more_urgent() -> None:
    scheduler = RealtimeScheduler(max_workers=2)
    gate, deaf = occupied(scheduler, priority=TaskPriority.LOW)
    begun = threading.Event()

    def listens(preemption_event: PreemptionEvent) -> bool:
        begun.set()
        return preemption_event.wait(LONG)

    polite = Task("polite", listens, priority=TaskPriority.NORMAL)
    scheduler.submit(polite)
    assert begun.wait(LONG)
    urgent = Task("urgent", nothing, priority=TaskPriority.CRITICAL)
    scheduler.submit(urgent)
    assert urgent.wait(LONG)
    assert polite.result is True
    assert deaf.status is TaskStatus.RUNNING
    gate.open()
    scheduler.stop()


def test_the_event_may_be_asked_in_another_thread() -> None:
    def work(preemption_event: PreemptionEvent) -> list[bool]:
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(preemption_event.wait(0.001)))
        thread.start()
        thread.join()
        return [*seen, preemption_event.is_set()]

    scheduler = RealtimeScheduler()
    task = Task("asks", work)
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.result == [False, False]


class Asks:
    """Functions of all kinds that have the parameter."""

    def method(self, preemption_event: PreemptionEvent) -> bool:
        return isinstance(preemption_event, PreemptionEvent)

    def __call__(self, *, preemption_event: PreemptionEvent) -> bool:
        return isinstance(preemption_event, PreemptionEvent)

    @staticmethod
    def second(first: int, preemption_event: object = None) -> bool:
        return isinstance(preemption_event, PreemptionEvent)


async def asks_async(preemption_event: PreemptionEvent) -> bool:
    return isinstance(preemption_event, PreemptionEvent)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "is_given"),
    [
        (Asks().method, (), {}, True),
        (Asks(), (), {}, True),
        (Asks.second, (1,), {}, True),
        (functools.partial(Asks.second, 1), (), {}, True),
        (asks_async, (), {}, True),
        (Asks.second, (1, "its own"), {}, False),
        (Asks.second, (1,), {"preemption_event": "its own"}, False),
        (len, ("",), {}, 0),
    ],
)
def test_the_event_is_given_to_whatever_has_a_parameter_for_it(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], is_given: object
) -> None:
    scheduler = RealtimeScheduler()
    task = Task("asks", function, args, kwargs)
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.error is None
    assert task.result == is_given


# ----------------------------------------------------------------------------------------- lives and statuses


def test_a_task_is_pending_ready_running_and_completed() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    gate, first = occupied(scheduler)
    second = Task("second", nothing)
    third = Task("third", nothing, constraints=TaskConstraints(depends_on={second.id}))
    seen = [second.status]
    scheduler.submit(second)
    scheduler.submit(third)
    calm()
    assert [*seen, first.status, second.status, third.status] == [
        TaskStatus.PENDING,
        TaskStatus.RUNNING,
        TaskStatus.READY,
        TaskStatus.PENDING,
    ]
    gate.open()
    scheduler.stop()
    assert {first.status, second.status, third.status} == {TaskStatus.COMPLETED}


def test_a_task_whose_resource_is_held_is_blocked_and_nobody_is_asked_to_yield_for_it() -> None:
    begun, gate = threading.Event(), threading.Event()

    def work(preemption_event: PreemptionEvent) -> bool:
        begun.set()
        gate.wait(LONG)
        return preemption_event.is_set()

    scheduler = RealtimeScheduler(max_workers=2)
    scheduler.start()
    holder = Task("holder", work, constraints=TaskConstraints(required_resources={"cache"}))
    scheduler.submit(holder)
    assert begun.wait(LONG)
    wants = Task("wants", nothing, constraints=TaskConstraints(required_resources={"cache"}))
    scheduler.submit(wants)
    calm()
    assert (holder.status, wants.status) == (TaskStatus.RUNNING, TaskStatus.BLOCKED)
    gate.set()
    scheduler.stop()
    assert holder.result is False
    assert wants.status is TaskStatus.COMPLETED


def test_a_function_that_raises_fails_its_task() -> None:
    scheduler = RealtimeScheduler()
    task = Task("fails", lambda: 1 / 0)
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.status is TaskStatus.FAILED
    assert isinstance(task.error, ZeroDivisionError)
    assert task.result is None


def test_what_depends_on_a_failed_task_fails_without_having_run() -> None:
    fails = Task("fails", lambda: 1 / 0)
    after = Task("after", nothing, constraints=TaskConstraints(depends_on={fails.id}))
    scheduler = RealtimeScheduler()
    scheduler.submit(fails)
    scheduler.submit(after)
    ran(scheduler, fails, after)
    assert after.status is TaskStatus.FAILED
    assert isinstance(after.error, DependencyFailed)
    assert after.metrics.attempts == 0


def test_a_task_is_tried_again_as_often_as_it_says() -> None:
    left = [OSError("first"), OSError("second")]

    def unreliable() -> str:
        if left:
            raise left.pop()
        return "at last"

    scheduler = RealtimeScheduler()
    task, hopeless = Task("task", unreliable, max_retries=2), Task("hopeless", lambda: 1 / 0, max_retries=1)
    scheduler.submit(task)
    scheduler.submit(hopeless)
    ran(scheduler, task, hopeless)
    assert (task.result, task.metrics.attempts) == ("at last", 3)
    assert (hopeless.status, hopeless.metrics.attempts) == (TaskStatus.FAILED, 2)


def test_a_task_that_is_cancelled_is_settled_at_once_and_its_event_is_set() -> None:
    begun, seen = threading.Event(), threading.Event()

    def work(preemption_event: PreemptionEvent) -> None:
        begun.set()
        if preemption_event.wait(LONG):
            seen.set()

    scheduler = RealtimeScheduler()
    scheduler.start()
    task = Task("task", work)
    after = Task("after", nothing, constraints=TaskConstraints(depends_on={task.id}))
    scheduler.submit(task)
    scheduler.submit(after)
    assert begun.wait(LONG)
    assert scheduler.cancel(task, "nobody wants it")
    assert task.status is TaskStatus.CANCELLED
    assert isinstance(task.error, TaskCancelled)
    assert task.error.reason == "nobody wants it"
    assert not scheduler.cancel(task)
    assert after.wait(LONG)
    assert after.status is TaskStatus.CANCELLED
    assert seen.wait(LONG)
    scheduler.stop()


def test_a_task_that_was_cancelled_before_it_was_submitted_never_runs() -> None:
    scheduler = RealtimeScheduler()
    task = Task("task", nothing)
    assert scheduler.cancel(task)
    assert not scheduler.submit(task)
    ran(scheduler, task)
    assert task.status is TaskStatus.CANCELLED


def test_waiting_may_be_given_up() -> None:
    scheduler = RealtimeScheduler()
    gate, task = occupied(scheduler)
    assert not task.wait(0)
    assert not task.wait(timeout=0.001)
    gate.open()
    assert task.wait()
    scheduler.stop()


def test_an_async_function_runs_too() -> None:
    async def work() -> str:
        return current().name

    scheduler = RealtimeScheduler()
    task = Task("async", work)
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.result == "async"


def test_metrics_of_a_task_tell_how_it_went() -> None:
    scheduler = RealtimeScheduler()
    task = Task("task", lambda: sum(range(10_000)))
    assert tuple(task.metrics) == (None, None, None, 0.0, 0, None)
    scheduler.submit(task)
    ran(scheduler, task)
    metrics = task.metrics
    assert metrics.scheduling_ms is not None
    assert metrics.execution_ms is not None
    assert metrics.total_ms is not None
    assert metrics.total_ms == pytest.approx(metrics.scheduling_ms + metrics.execution_ms)
    assert metrics.cpu_seconds > 0


# -------------------------------------------------------------------------------------------------- deadlines


def test_a_hard_deadline_that_passes_while_a_task_runs_ends_it() -> None:
    scheduler = RealtimeScheduler()
    gate = Gate()
    task = Task("late", gate, constraints=TaskConstraints(max_latency_ms=20, is_hard_realtime=True))
    scheduler.start()
    scheduler.submit(task)
    assert task.wait(LONG)
    gate.open()
    assert task.status is TaskStatus.DEADLINE_MISSED
    assert isinstance(task.error, DeadlineMissed)
    scheduler.stop()
    assert scheduler.metrics.get_summary()["tasks_failed"] == 1


def test_a_hard_deadline_that_passes_in_the_queue_ends_a_task_that_never_ran() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    gate, _ = occupied(scheduler)
    hard = TaskConstraints(deadline=soon(milliseconds=20), is_hard_realtime=True)
    task = Task("late", nothing, constraints=hard)
    scheduler.submit(task)
    assert task.wait(LONG)
    assert (task.status, task.metrics.attempts) == (TaskStatus.DEADLINE_MISSED, 0)
    gate.open()
    scheduler.stop()


@pytest.mark.parametrize("is_hard", [True, False])
def test_a_deadline_that_is_past_when_the_scheduler_starts_is_missed(is_hard: bool) -> None:
    constraints = TaskConstraints(max_latency_ms=0.001, is_hard_realtime=is_hard)
    task = Task("late", nothing, constraints=constraints)
    scheduler = RealtimeScheduler()
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.status is TaskStatus.DEADLINE_MISSED
    assert isinstance(task.error, DeadlineMissed)


def test_a_task_with_a_soft_deadline_goes_on_and_tells_how_late_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler = RealtimeScheduler()
    waits = threading.Event()
    task = Task("late", waits.wait, (0.05,), constraints=TaskConstraints(max_latency_ms=20))
    scheduler.start()
    scheduler.submit(task)
    scheduler.stop()
    assert task.status is TaskStatus.COMPLETED
    assert task.metrics.tardiness_ms is not None
    assert task.metrics.tardiness_ms > 0
    assert "longer than max_latency_ms=20" in caplog.text


def test_a_deadline_of_its_own_comes_before_the_latency(caplog: pytest.LogCaptureFixture) -> None:
    constraints = TaskConstraints(deadline=soon(hours=1), max_latency_ms=0.001, is_hard_realtime=True)
    task = Task("task", nothing, constraints=constraints)
    scheduler = RealtimeScheduler()
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.status is TaskStatus.COMPLETED
    assert "longer than max_latency_ms" in caplog.text


# ----------------------------------------------------------------------------------------------- dependencies


def test_a_task_that_exists_and_is_not_submitted_is_waited_for() -> None:
    scheduler = RealtimeScheduler()
    scheduler.start()
    first = Task("first", nothing)
    second = Task("second", nothing, constraints=TaskConstraints(depends_on={first.id}))
    scheduler.submit(second)
    calm()
    assert second.status is TaskStatus.PENDING
    scheduler.submit(first)
    assert second.wait(LONG)
    scheduler.stop()


def test_what_depends_on_a_task_that_was_never_submitted_is_cancelled_when_the_scheduler_stops() -> None:
    scheduler = RealtimeScheduler()
    scheduler.start()
    first = Task("first", nothing)
    second = Task("second", nothing, constraints=TaskConstraints(depends_on={first.id}))
    scheduler.submit(second)
    assert scheduler.stop()
    assert second.status is TaskStatus.CANCELLED
    assert "'first', never submitted" in str(second.error)


def test_tasks_of_two_schedulers_depend_on_each_other() -> None:
    one, other = RealtimeScheduler(), RealtimeScheduler(policy=SchedulingPolicy.FAIR)
    first = Task("first", nothing)
    second = Task("second", nothing, constraints=TaskConstraints(depends_on={first.id}))
    other.submit(second)
    one.submit(first)
    other.start()
    one.start()
    assert second.wait(LONG)
    one.stop()
    other.stop()


def test_a_task_may_depend_on_work_of_another_front_end() -> None:
    by_hand = Job(None, "by hand")
    by_hand.keep()
    task = Task("task", nothing, constraints=TaskConstraints(depends_on={by_hand.id}))
    scheduler = RealtimeScheduler()
    scheduler.start()
    scheduler.submit(task)
    calm()
    assert task.status is TaskStatus.PENDING
    by_hand.complete("done")
    assert task.wait(LONG)
    scheduler.stop()
    assert find(task.id) is task.job


def test_a_task_that_is_not_submitted_is_not_begun_by_anybody_else() -> None:
    task = Task("task", nothing)
    assert task.job.enter() is False
    assert task.status is TaskStatus.PENDING


def test_circles_are_refused_and_named() -> None:
    scheduler = RealtimeScheduler()
    first, second, third = (Task(name, nothing) for name in ("first", "second", "third"))
    second.constraints.depends_on.add(first.id)
    third.constraints.depends_on.add(second.id)
    first.constraints.depends_on.add(third.id)
    with pytest.raises(CircularDependencyError, match="first -> third -> second -> first") as caught:
        scheduler.submit(first)
    assert isinstance(caught.value, DependencyCycle)
    assert caught.value.path == ("first", "third", "second", "first")
    first.constraints.depends_on.clear()
    for task in (first, second, third):
        assert scheduler.submit(task)
    ran(scheduler, first, second, third)


def test_a_circle_that_closes_after_its_first_task_was_submitted_is_refused() -> None:
    scheduler = RealtimeScheduler()
    scheduler.start()
    first, second = Task("first", nothing), Task("second", nothing)
    first.constraints.depends_on.add(second.id)
    scheduler.submit(first)
    second.constraints.depends_on.add(first.id)
    with pytest.raises(CircularDependencyError, match="second -> first -> second"):
        scheduler.submit(second)
    second.constraints.depends_on.clear()
    scheduler.submit(second)
    assert scheduler.stop()
    assert first.status is TaskStatus.COMPLETED


def test_a_task_cannot_depend_on_itself() -> None:
    task = Task("task", nothing)
    task.constraints.depends_on.add(task.id)
    with pytest.raises(CircularDependencyError, match="task -> task"):
        RealtimeScheduler().submit(task)


# -------------------------------------------------------------------------------------------------- resources


def chain_of_three(scheduler: RealtimeScheduler) -> list[str]:
    """Who runs when a low task holds what a high one needs, and there is one between."""
    done: list[str] = []
    low = Task("low", done.append, ("low",), priority=TaskPriority.LOW)
    middle = Task("middle", done.append, ("middle",), priority=TaskPriority.NORMAL)
    high = Task(
        "high",
        done.append,
        ("high",),
        priority=TaskPriority.HIGH,
        constraints=TaskConstraints(required_resources={"lock"}),
    )
    assert scheduler.acquire_resources(low, ["lock"])
    for task in (low, middle, high):
        scheduler.submit(task)
    ran(scheduler, low, middle, high)
    return done


def test_who_holds_a_resource_is_as_urgent_as_whoever_waits_for_it() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    assert chain_of_three(scheduler) == ["low", "high", "middle"]
    assert scheduler.metrics.get_summary()["priority_inversions"] == 1


def test_without_inheritance_those_between_go_first() -> None:
    scheduler = RealtimeScheduler(max_workers=1, priority_inheritance=False)
    assert chain_of_three(scheduler) == ["middle", "low", "high"]


def rank(task: Task) -> int:
    calm()
    assert task.job.ref is not None
    return task.job.ref.priority


def test_inheritance_goes_through_chains_and_ends_with_the_release() -> None:
    scheduler = RealtimeScheduler(max_workers=3)
    scheduler.start()
    gates = [Gate(), Gate()]
    first = Task("first", gates[0], priority=TaskPriority.IDLE)
    second = Task(
        "second",
        gates[1],
        priority=TaskPriority.LOW,
        constraints=TaskConstraints(required_resources={"a"}),
    )
    third = Task(
        "third",
        nothing,
        priority=TaskPriority.CRITICAL,
        constraints=TaskConstraints(required_resources={"b"}),
    )
    assert scheduler.acquire_resources(first, ["a"])
    assert scheduler.acquire_resources(second, ["b"])
    for task in (first, second, third):
        scheduler.submit(task)
    assert gates[0].begun.wait(LONG)
    calm()
    assert (second.status, third.status) == (TaskStatus.BLOCKED, TaskStatus.BLOCKED)
    assert (rank(first), rank(second)) == (TaskPriority.CRITICAL, TaskPriority.CRITICAL)
    assert scheduler.release_resources(first)
    assert rank(first) == TaskPriority.IDLE
    assert gates[1].begun.wait(LONG)
    assert rank(second) == TaskPriority.CRITICAL
    for gate in gates:
        gate.open()
    scheduler.stop()
    assert third.status is TaskStatus.COMPLETED


def test_resources_are_given_back_one_by_one_and_at_the_end() -> None:
    scheduler = RealtimeScheduler()
    one, other = Task("one", nothing), Task("other", nothing)
    assert scheduler.acquire_resources(one, ["a", "b", "c"])
    assert scheduler.acquire_resources(one, {"a"}), "it has it"
    assert not scheduler.acquire_resources(other, ["a"], timeout=0.001)
    assert scheduler.release_resources(one, ["a", "z"])
    assert not scheduler.release_resources(one, ["a"])
    assert scheduler.acquire_resources(other, ["a"], timeout=LONG)
    assert not scheduler.acquire_resources(other, ["a", "b"], timeout=0.001), "and not one of them either"
    assert scheduler.release_resources(one)
    assert scheduler.acquire_resources(other, ["b", "c"], timeout=LONG)
    scheduler.cancel(other)
    assert scheduler.acquire_resources(one, ["a", "b", "c"], timeout=LONG)
    assert not scheduler.acquire_resources(other, ["a"]), "it has settled"
    scheduler.stop()


def test_a_task_gives_back_what_was_acquired_for_it_also_when_it_fails() -> None:
    scheduler = RealtimeScheduler()
    scheduler.start()
    fails, after = Task("fails", lambda: 1 / 0), Task("after", nothing)
    scheduler.acquire_resources(fails, ["a"])
    scheduler.submit(fails)
    assert scheduler.acquire_resources(after, ["a"], timeout=LONG)
    scheduler.stop()


def test_waiters_get_a_resource_by_their_priority() -> None:
    scheduler = RealtimeScheduler(max_workers=8)
    scheduler.start()
    done: list[str] = []
    gate, first = occupied(scheduler)
    scheduler.acquire_resources(first, ["a"])
    tasks = [
        Task(
            priority.name,
            done.append,
            (priority.name,),
            priority=priority,
            constraints=TaskConstraints(required_resources={"a"}),
        )
        for priority in (TaskPriority.LOW, TaskPriority.CRITICAL, TaskPriority.NORMAL)
    ]
    for task in tasks:
        scheduler.submit(task)
    calm()
    gate.open()
    scheduler.stop()
    assert done == ["CRITICAL", "NORMAL", "LOW"]


def test_a_circle_of_acquisitions_is_a_deadlock_and_said_to_be_one() -> None:
    scheduler = RealtimeScheduler()
    high, low = Task("high", nothing, priority=TaskPriority.HIGH), Task("low", nothing)
    assert scheduler.acquire_resources(high, ["a"])
    assert scheduler.acquire_resources(low, ["b"])
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(scheduler.acquire_resources(high, ["b"])))
    thread.start()
    while not blocked():
        calm()
    with pytest.raises(ResourceDeadlockError, match="'low' could not acquire a") as caught:
        scheduler.acquire_resources(low, ["a"])
    assert isinstance(caught.value, DeadlockError)
    assert set(caught.value.circle) == {"low", "high"}
    assert scheduler.release_resources(low, ["b"])
    thread.join(LONG)
    assert got == [True]
    scheduler.stop()


def blocked() -> int:
    """How many tasks of the event loop wait for a resource."""
    found: list[int] = []
    over = threading.Event()

    def look(runtime: Runtime) -> None:
        found.append(runtime.stats().pools["loop"].tasks[Native.BLOCKED])
        over.set()

    SHARED.call(look)
    assert over.wait(LONG)
    return found[0]


def test_tasks_that_hold_what_the_other_requires_are_a_deadlock_and_one_gives_way() -> None:
    scheduler = RealtimeScheduler(max_workers=2)
    one = Task("one", nothing, constraints=TaskConstraints(required_resources={"b"}))
    other = Task(
        "other",
        nothing,
        priority=TaskPriority.HIGH,
        constraints=TaskConstraints(required_resources={"a"}),
    )
    scheduler.acquire_resources(one, ["a"])
    scheduler.acquire_resources(other, ["b"])
    scheduler.submit(one)
    scheduler.submit(other)
    ran(scheduler, one, other)
    assert isinstance(one.error, DeadlockError)
    assert other.status is TaskStatus.COMPLETED


def test_a_release_reaches_a_task_for_which_somebody_waits() -> None:
    scheduler = RealtimeScheduler()
    first, second, third = (Task(name, nothing) for name in ("first", "second", "third"))
    scheduler.acquire_resources(first, ["a"])
    scheduler.acquire_resources(second, ["b"])
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(scheduler.acquire_resources(second, ["a"])))
    thread.start()
    while not blocked():
        calm()
    assert scheduler.release_resources(second, ["b"])
    assert scheduler.acquire_resources(third, ["b"], timeout=LONG)
    assert scheduler.release_resources(first)
    thread.join(LONG)
    assert got == [True]
    scheduler.stop()


def test_a_task_may_acquire_while_it_runs() -> None:
    scheduler = RealtimeScheduler()
    scheduler.start()
    tasks: list[Task] = []
    task = Task("task", lambda: scheduler.acquire_resources(tasks[0], ["a"], timeout=LONG))
    tasks.append(task)
    scheduler.submit(task)
    scheduler.stop()
    assert task.result is True


def test_what_a_submitted_task_takes_itself_need_not_be_acquired() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    gate, _ = occupied(scheduler)
    task = Task("task", nothing, constraints=TaskConstraints(required_resources={"a"}))
    scheduler.submit(task)
    assert scheduler.acquire_resources(task, ["a"])
    gate.open()
    scheduler.stop()
    assert task.status is TaskStatus.COMPLETED


def test_what_is_held_for_a_task_that_was_never_submitted_does_not_keep_the_runtime_from_ending() -> None:
    scheduler = RealtimeScheduler()
    task = Task("task", nothing)
    assert scheduler.acquire_resources(task, ["a"])
    SHARED.stop()
    assert scheduler.acquire_resources(Task("another", nothing), ["a"], timeout=LONG)
    scheduler.stop()


def test_resources_of_two_schedulers_are_different_ones() -> None:
    one, other = RealtimeScheduler(), RealtimeScheduler(priority_inheritance=False)
    assert one.acquire_resources(Task("one", nothing), ["a"])
    assert other.acquire_resources(Task("other", nothing), ["a"], timeout=LONG)
    one.stop()
    other.stop()


# -------------------------------------------------------------------------------------- processors and memory


@pytest.mark.parametrize("demand", [{"cpu_cores": 100_000}, {"memory_mb": 1e12}])
def test_more_than_the_machine_has_warns_and_the_task_runs_alone_among_its_like(
    demand: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = RealtimeScheduler(max_workers=3)
    gate, first = occupied(scheduler, constraints=TaskConstraints(**demand))
    assert "is more than the" in caplog.text
    second = Task("second", nothing, constraints=TaskConstraints(**demand))
    free = Task("free", nothing)
    scheduler.submit(second)
    scheduler.submit(free)
    assert free.wait(LONG)
    assert (first.status, second.status) == (TaskStatus.RUNNING, TaskStatus.READY)
    gate.open()
    scheduler.stop()
    assert second.status is TaskStatus.COMPLETED


# ------------------------------------------------------------------------------------------------- monitoring


def test_latencies_are_told_for_all_seven_levels_and_three_phases() -> None:
    scheduler = RealtimeScheduler()
    stats = scheduler.latency_monitor.get_stats()
    assert list(stats) == [priority.name for priority in TaskPriority]
    keys = {"count", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms"}
    for phases in stats.values():
        assert set(phases) == {"scheduling", "execution", "total"}
        assert all(set(table) == keys and not any(table.values()) for table in phases.values())


def test_latencies_are_those_of_the_scheduler_s_own_tasks_and_outlive_the_runtime() -> None:
    one, other = RealtimeScheduler(), RealtimeScheduler()
    with one, other:
        waits_a_bit = threading.Event()
        one.submit(Task("slow", waits_a_bit.wait, (0.02,), priority=TaskPriority.HIGH))
        other.submit(Task("quick", nothing, priority=TaskPriority.HIGH))
    SHARED.stop()
    phases = one.latency_monitor.get_stats()["HIGH"]
    assert {phase: table["count"] for phase, table in phases.items()} == dict.fromkeys(phases, 1)
    assert 20 <= phases["execution"]["p50_ms"] == pytest.approx(phases["execution"]["max_ms"], rel=0.02)
    assert phases["total"]["mean_ms"] >= phases["execution"]["mean_ms"]
    assert other.latency_monitor.get_stats()["HIGH"]["execution"]["max_ms"] < 20


def test_latencies_can_be_asked_in_a_task_too() -> None:
    scheduler = RealtimeScheduler()

    async def ask() -> float:
        return scheduler.latency_monitor.get_stats()["NORMAL"]["total"]["count"]

    first, inside = Task("first", nothing), Task("inside", ask)
    inside.constraints.depends_on.add(first.id)
    thread = Task("thread", lambda: scheduler.latency_monitor.get_stats()["NORMAL"]["total"]["count"])
    thread.constraints.depends_on.add(inside.id)
    for task in (first, inside, thread):
        scheduler.submit(task)
    ran(scheduler, first, inside, thread)
    assert (inside.result, thread.result) == (1, 2)


def test_the_summary_counts_what_completed_and_what_failed() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    assert scheduler.metrics.get_summary() == {
        "success_rate_percent": 0.0,
        "throughput_per_second": 0.0,
        "tasks_completed": 0,
        "tasks_failed": 0,
        "worker_utilization_percent": 0.0,
        "cpu_seconds": 0.0,
        "priority_inversions": 0,
    }
    gate, _ = occupied(scheduler)
    assert scheduler.metrics.get_summary()["worker_utilization_percent"] > 0
    cancelled = Task("cancelled", nothing)
    for task in [Task("fails", lambda: 1 / 0), *(Task("ok", sum, (range(9),)) for _ in range(2)), cancelled]:
        scheduler.submit(task)
    scheduler.cancel(cancelled)
    gate.open()
    scheduler.stop()
    summary = scheduler.metrics.get_summary()
    assert (summary["tasks_completed"], summary["tasks_failed"]) == (3, 1)
    assert summary["success_rate_percent"] == 75
    assert summary["throughput_per_second"] > 0
    assert 0 < summary["worker_utilization_percent"] <= 100
    assert summary["cpu_seconds"] > 0


def test_a_threshold_that_is_exceeded_is_told_in_the_log() -> None:
    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "HIGH total" in record.getMessage():
                heard.set()

    heard, handler = threading.Event(), Heard()
    logging.getLogger("actorsched").addHandler(handler)
    try:
        scheduler = RealtimeScheduler(thresholds={TaskPriority.HIGH: {"total": 0.001}})
        with scheduler:
            scheduler.submit(Task("slow", nothing, priority=TaskPriority.HIGH))
            assert heard.wait(LONG), "it is judged once per second"
            assert scheduler.latency_monitor.firing == ("HIGH total",)
    finally:
        logging.getLogger("actorsched").removeHandler(handler)


# ---------------------------------------------------------------------------------------------- start and end


def test_what_is_submitted_before_the_start_waits_for_it() -> None:
    scheduler = RealtimeScheduler()
    task = Task("task", nothing)
    assert scheduler.submit(task)
    assert not scheduler.submit(task)
    assert not scheduler.is_running
    assert task.status is TaskStatus.PENDING
    assert scheduler.start()
    assert not scheduler.start()
    assert task.wait(LONG)
    assert scheduler.stop()
    assert scheduler.stop(), "once more changes nothing"


def test_a_scheduler_goes_on_after_it_was_stopped_and_the_runtime_too() -> None:
    scheduler = RealtimeScheduler(thresholds={TaskPriority.HIGH: {"total": 1000}})
    for stop in (scheduler.stop, SHARED.stop, scheduler.stop):
        scheduler.start()
        task = Task("task", nothing, constraints=TaskConstraints(required_resources={"a"}))
        scheduler.submit(task)
        assert task.wait(LONG)
        stop()
    late = Task("late", nothing)
    scheduler.submit(late)
    assert late.status is TaskStatus.PENDING
    scheduler.start()
    scheduler.stop()
    assert late.status is TaskStatus.COMPLETED


def test_stopping_without_draining_cancels_what_runs_and_what_waits() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    gate, running = occupied(scheduler)
    waiting = Task("waiting", nothing)
    scheduler.submit(waiting)
    assert scheduler.stop(drain=False)
    assert running.status is waiting.status is TaskStatus.CANCELLED
    gate.open()
    queued = Task("queued", nothing)
    scheduler.submit(queued)
    scheduler.stop(drain=False)
    assert queued.status is TaskStatus.CANCELLED


def test_stopping_may_be_given_up() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    gate, _ = occupied(scheduler)
    assert not scheduler.stop(timeout=0.001)
    gate.open()
    assert scheduler.stop()


def test_a_scheduler_is_a_context_that_cancels_when_it_is_left_by_an_error() -> None:
    gate = Gate()
    task = Task("task", gate)
    with pytest.raises(OSError, match="enough"), RealtimeScheduler() as scheduler:
        scheduler.submit(task)
        assert gate.begun.wait(LONG)
        raise OSError("enough")
    assert task.status is TaskStatus.CANCELLED
    gate.open()


def test_the_number_of_workers_may_change_while_it_runs() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    gate, _ = occupied(scheduler)
    task = Task("task", nothing)
    scheduler.submit(task)
    calm()
    assert task.status is TaskStatus.READY
    scheduler.max_workers = 2
    assert task.wait(LONG)
    assert scheduler.max_workers == 2
    gate.open()
    scheduler.stop()


def test_many_threads_submit_at_once() -> None:
    scheduler = RealtimeScheduler(max_workers=3)
    scheduler.start()
    done: list[int] = []

    def submit(first: int) -> None:
        for number in range(first, first + 50):
            scheduler.submit(
                Task(f"task {number}", done.append, (number,), priority=TaskPriority(number % 7))
            )

    threads = [threading.Thread(target=submit, args=(50 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scheduler.stop()
    assert sorted(done) == list(range(400))


def test_a_task_submits_others() -> None:
    scheduler = RealtimeScheduler(max_workers=1)
    scheduler.start()
    inner = Task("inner", lambda: "inner")

    def outer() -> bool:
        scheduler.submit(inner)
        return scheduler.is_running

    scheduler.submit(Task("outer", outer))
    assert inner.wait(LONG)
    scheduler.stop()


def test_ctrl_c_ends_a_wait_at_once() -> None:
    scheduler = RealtimeScheduler()
    gate = Gate()

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        gate()

    scheduler.start()
    for wait in (Task.wait, lambda task: scheduler.stop()):
        task = Task("interrupts", interrupt)
        with pytest.raises(KeyboardInterrupt):
            scheduler.submit(task)
            wait(task)
        assert not task.status.is_final
    gate.open()
    assert scheduler.stop()


def test_a_task_cannot_wait_for_the_end_of_its_own_scheduler() -> None:
    scheduler = RealtimeScheduler()
    scheduler.start()
    task = Task("suicidal", scheduler.stop)
    scheduler.submit(task)
    scheduler.stop()
    assert isinstance(task.error, ResourceDeadlockError)


def test_nobody_blocks_the_thread_of_the_event_loop() -> None:
    scheduler = RealtimeScheduler()
    other = Task("other", nothing)

    async def wait() -> None:
        with pytest.raises(DeadlockError):
            other.wait()
        with pytest.raises(ResourceDeadlockError):
            scheduler.acquire_resources(other, ["a"])

    task = Task("task", wait)
    scheduler.submit(task)
    ran(scheduler, task)
    assert task.error is None


def script(text: str) -> subprocess.CompletedProcess[str]:
    lines = f"from actorsched.frontends.realtime import *\nimport threading\n{text}"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", lines], capture_output=True, text=True, timeout=25, check=False
    )


@pytest.mark.process
def test_a_program_that_just_ends_loses_nothing_that_was_submitted() -> None:
    answer = script(
        "s = RealtimeScheduler()\ns.start()\n"
        "for n in range(5): s.submit(Task('say', lambda n: print(f'{n} ', end=''), (n,)))\n"
    )
    assert sorted(answer.stdout.split()) == list("01234")
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.process
def test_a_program_that_ends_names_what_was_never_begun_and_leaves_nothing() -> None:
    answer = script(
        "s = RealtimeScheduler()\nheld, task = Task('held', print), Task('forgotten', print)\n"
        "s.acquire_resources(held, ['a'])\ns.submit(task)\n"
    )
    assert answer.returncode == 0
    assert "'forgotten' (realtime-2), pending: its scheduler was not started" in answer.stderr


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: RealtimeScheduler(max_workers=0), "max_workers=0"),
        (lambda: RealtimeScheduler(max_workers=True), "max_workers=True"),
        (lambda: RealtimeScheduler(max_workers="4"), "max_workers='4'"),
        (lambda: RealtimeScheduler(policy="quickest"), "SchedulingPolicy.FAIR"),
        (lambda: RealtimeScheduler(policy=7), "policy=7"),
        (lambda: RealtimeScheduler(preemption=1), "preemption=1"),
        (lambda: RealtimeScheduler(priority_inheritance="no"), "priority_inheritance='no'"),
        (lambda: RealtimeScheduler(thresholds=[]), "thresholds="),
        (lambda: RealtimeScheduler(thresholds={"HIGH": {}}), "TaskPriority.HIGH"),
        (lambda: RealtimeScheduler(thresholds={TaskPriority.HIGH: 10}), "thresholds=10"),
        (lambda: RealtimeScheduler(thresholds={TaskPriority.HIGH: {"wait": 10}}), "'scheduling'"),
        (lambda: RealtimeScheduler(thresholds={TaskPriority.HIGH: {"total": 0}}), "above 0"),
        (lambda: Task("", nothing), "name=''"),
        (lambda: Task("task", None), "func=None"),
        (lambda: Task("task", nothing, "ab"), "args='ab'"),
        (lambda: Task("task", nothing, kwargs=[]), "kwargs="),
        (lambda: Task("task", nothing, priority=7), "TaskPriority.REALTIME"),
        (lambda: Task("task", nothing, priority="HIGH"), "priority='HIGH'"),
        (lambda: Task("task", nothing, constraints={}), "constraints="),
        (lambda: Task("task", nothing, max_retries=-1), "max_retries=-1"),
        (lambda: TaskConstraints(deadline=5), "datetime"),
        (lambda: TaskConstraints(max_latency_ms=0), "max_latency_ms=0"),
        (lambda: TaskConstraints(max_latency_ms=float("inf")), "max_latency_ms=inf"),
        (lambda: TaskConstraints(is_hard_realtime=None), "is_hard_realtime=None"),
        (lambda: TaskConstraints(is_preemptible=1), "is_preemptible=1"),
        (lambda: TaskConstraints(depends_on="realtime-1"), "depends_on='realtime-1'"),
        (lambda: TaskConstraints(depends_on={5}), "depends_on=5"),
        (lambda: TaskConstraints(required_resources="cache"), "required_resources='cache'"),
        (lambda: TaskConstraints(required_resources=[""]), "required_resources=''"),
        (lambda: TaskConstraints(cpu_cores=0), "cpu_cores=0"),
        (lambda: TaskConstraints(memory_mb=-1), "memory_mb=-1"),
        (lambda: RealtimeScheduler().submit("task"), "task='task'"),
        (lambda: RealtimeScheduler().submit(nothing), "give a Task"),
        (lambda: RealtimeScheduler().cancel("task"), "give a Task"),
        (lambda: RealtimeScheduler().acquire_resources(None, ["a"]), "give a Task"),
        (lambda: RealtimeScheduler().acquire_resources(Task("t", nothing), "a"), "names='a'"),
        (lambda: RealtimeScheduler().acquire_resources(Task("t", nothing), ["a"], timeout=-1), "timeout=-1"),
        (lambda: RealtimeScheduler().release_resources(None), "give a Task"),
        (lambda: RealtimeScheduler().stop(drain=0), "drain=0"),
        (lambda: RealtimeScheduler().stop(timeout="soon"), "timeout='soon'"),
        (lambda: Task("t", nothing).wait("soon"), "timeout='soon'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_its_value_and_a_remedy(
    build: Callable[[], object], words: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        build()
    assert words in str(caught.value)
    assert isinstance(caught.value, SchedulingError)
    assert isinstance(caught.value, ValueError)
    assert SHARED._thread is None, "nothing was queued"


@pytest.mark.parametrize("deadline", [soon(seconds=-3), datetime.now(UTC) - timedelta(days=1)])
def test_a_deadline_in_the_past_is_refused(deadline: datetime) -> None:
    with pytest.raises(DeadlineInPastError, match="already past.* give a time to come"):
        TaskConstraints(deadline=deadline)


def test_a_dependency_that_does_not_exist_is_refused_and_nothing_is_queued() -> None:
    scheduler = RealtimeScheduler()
    task = Task("task", nothing, constraints=TaskConstraints(depends_on={"realtime-0"}))
    with pytest.raises(UnknownTaskError, match="'realtime-0'.*give the `id`") as caught:
        scheduler.submit(task)
    assert isinstance(caught.value, LookupError)
    assert "0 tasks queued" in repr(scheduler)
    task.constraints.depends_on.clear()
    assert scheduler.submit(task)
    scheduler.cancel(task)


def test_constraints_that_have_come_to_be_wrong_are_refused_at_the_submission() -> None:
    task = Task("task", nothing)
    task.constraints.cpu_cores = -1
    scheduler = RealtimeScheduler()
    with pytest.raises(InvalidArgumentError, match="cpu_cores=-1"):
        scheduler.submit(task)
    assert task.status is TaskStatus.PENDING


def test_all_errors_are_actorsched_s_too() -> None:
    errors = [getattr(realtime, name) for name in realtime.__all__ if name.endswith("Error")]
    assert len(errors) == 6
    assert all(issubclass(error, SchedulingError) and issubclass(error, ActorschedError) for error in errors)


def test_everything_says_what_it_is() -> None:
    scheduler = RealtimeScheduler(policy=SchedulingPolicy.FAIR)
    task = Task("task", nothing, constraints=TaskConstraints(cpu_cores=1, is_preemptible=False))
    assert repr(scheduler) == "<RealtimeScheduler FAIR, 4 workers, not started, 0 tasks queued>"
    assert repr(task) == f"<Task 'task' ({task.id}) NORMAL pending>"
    assert repr(task.constraints) == "TaskConstraints(cpu_cores=1, is_preemptible=False)"


def test_the_first_scheduler_of_a_program_imports_no_runtime_while_deadlines_run() -> None:
    code = """
import sys
from actorsched.frontends.realtime import RealtimeScheduler
print(sorted({"actorsched.runtime", "actorsched.running", "prometheus_client"} - set(sys.modules)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"

"""Deadlines and latencies of tasks: what happens at them, and exactly at them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsched._core.policies.edf import Edf
from actorsched._core.timers import DONE
from actorsched._system.deadlines import times_of
from actorsched._system.pools import Place
from actorsched.exceptions import DeadlineMissed, TaskTimeout
from actorsched.messages import Cancel, DeadlinePassed, Finished, Idle, LatencyPassed, Underway
from actorsched.options import Retry, task_options
from actorsched.status import TaskStatus
from tests.system.small_system import System, Worker

if TYPE_CHECKING:
    from actorsched._system.task import TaskActor
    from actorsched.messages import Outcome

NOBODY: Any = None


def outcome(task: TaskActor) -> Outcome[Any]:
    assert task.outcome is not None
    return task.outcome


def missed(task: TaskActor) -> DeadlineMissed:
    """The error of a task that was stopped at its deadline."""
    assert task.status is TaskStatus.DEADLINE_MISSED
    error = outcome(task).error
    assert isinstance(error, DeadlineMissed)
    return error


def told_to_stop(task: TaskActor) -> BaseException | None:
    """Why its worker was told to stop it."""
    assert isinstance(task.worker, Worker)
    return task.worker.told


def passed(system: System) -> list[str]:
    """Who was told of as its deadline passed; that it was stopped then is told apart."""
    return [
        name for kind, name, details in system.out.told if kind == "deadline_missed" and not details["final"]
    ]


# --------------------------------------------------------------------------------------- soft deadlines


def test_after_a_soft_deadline_a_task_goes_on_and_its_outcome_says_how_late_it_was() -> None:
    system = System()
    task = system.task("t", deadline=5)
    system.after(7.5)
    assert told_to_stop(task) is None
    assert passed(system) == ["t"]
    system.finish(task)
    assert (task.status, outcome(task).tardiness) == (TaskStatus.COMPLETED, 2.5)


@pytest.mark.parametrize("after", [3, 5])
def test_who_is_done_before_its_deadline_or_exactly_at_it_is_in_time(after: float) -> None:
    for hard in (False, True):
        system = System()
        task = system.task("t", deadline=5, hard=hard)
        system.out.later(after, system.scheduler, Idle(NOBODY, task, Finished(1)), phase=DONE)
        system.after(after)
        assert (task.status, outcome(task).tardiness) == (TaskStatus.COMPLETED, 0.0)
        system.after(100)
        assert passed(system) == []
        assert len(system.out.timers) == 0


def test_who_fails_late_is_late_too_and_fails() -> None:
    system = System()
    task = system.task("t", deadline=5)
    system.after(6)
    system.finish(task, ValueError())
    assert (task.status, outcome(task).tardiness) == (TaskStatus.FAILED, 1.0)


def test_a_task_without_a_deadline_is_never_late() -> None:
    system = System()
    task = system.task("t")
    system.after(1e6)
    system.finish(task)
    assert outcome(task).tardiness is None
    assert task.times is None


def test_retries_do_not_move_the_deadline() -> None:
    system = System()
    task = system.task("t", deadline=5, retry=3)
    system.after(4)
    system.finish(task, OSError())
    system.after(4)
    system.finish(task)
    assert (task.attempt, outcome(task).tardiness) == (2, 3.0)


# --------------------------------------------------------------------------------------- hard deadlines


def test_at_a_hard_deadline_a_running_task_is_stopped() -> None:
    system = System()
    task = system.task("t", deadline="5s", hard=True)
    system.after(4.9)
    assert told_to_stop(task) is None
    system.after(0.1)
    assert isinstance(told_to_stop(task), DeadlineMissed)
    system.after(2)
    system.finish(task, RuntimeError("as it was stopped"))
    error = missed(task)
    assert (error.task, error.tardiness, outcome(task).tardiness) == ("t", 2.0, 2.0)
    assert "stopped after it had begun, at its hard deadline of 5" in str(error)
    assert repr(error.__cause__) == "RuntimeError('as it was stopped')"


def test_whoever_returns_a_value_though_it_was_told_to_stop_has_missed_it_all_the_same() -> None:
    system = System()
    task = system.task("t", deadline=5, hard=True)
    system.after(5)
    system.send(system.scheduler, Idle(NOBODY, task, Finished("too late")))
    missed(task)
    assert outcome(task).value is None


def test_a_task_that_waits_in_the_queue_is_taken_out_of_it() -> None:
    system = System(limit=1)
    running, task = system.task("running"), system.task("t", deadline=5, hard=True)
    assert task.place is Place.QUEUED
    system.after(5)
    assert "before it had begun" in str(missed(task))
    assert (task.place, len(system.pool.policy)) == (None, 0)
    system.finish(running)
    assert task.attempt == 0


def test_so_is_one_that_waits_for_other_tasks_or_resources_or_its_next_attempt() -> None:
    system = System(resources=["r"])
    holder = system.task("holder")
    system.acquire(holder, "r")
    waiting = system.task("waiting", after=[holder], deadline=5, hard=True)
    blocked = system.task("blocked", 6, resources=["r"], deadline=5, hard=True)
    retried = system.task("retried", retry=Retry(2, delay=50, jitter=False), deadline=5, hard=True)
    system.finish(retried, OSError())
    states = [task.status for task in (waiting, blocked, retried)]
    assert states == [TaskStatus.WAITING, TaskStatus.BLOCKED, TaskStatus.RETRYING]
    assert holder.rank == 6
    system.after(5)
    for task in (waiting, blocked, retried):
        missed(task)
    assert (holder.rank, system.waiting("r")) == (3, "")
    assert len(system.out.timers) == 0


def test_a_task_that_is_preempted_or_waits_in_its_code_is_stopped_there() -> None:
    system = System(limit=1)
    low = system.task("low", 1, deadline=5, hard=True)
    high = system.task("high", 5, deadline=6, hard=True)
    assert low.status is TaskStatus.PREEMPTED
    system.after(5)
    assert isinstance(told_to_stop(low), DeadlineMissed)
    system.finish(low)
    missed(low)
    target = system.task("target")
    system.wait(high, target)
    system.after(1)
    system.finish(high)
    missed(high)
    assert target.place is Place.ON
    assert not target.waiters


def test_those_who_depend_on_it_are_not_run() -> None:
    system = System()
    task = system.task("t", deadline=5, hard=True)
    dependent = system.task("dependent", after=[task])
    system.after(5)
    system.finish(task)
    assert dependent.status is TaskStatus.FAILED
    assert outcome(dependent).error.__cause__ is missed(task)  # type: ignore[union-attr]


def test_a_cancellation_that_came_first_is_what_it_ends_with() -> None:
    system = System()
    task = system.task("t", deadline=5, hard=True)
    system.after(4)
    system.send(task, Cancel("enough"))
    system.after(4)
    system.finish(task)
    assert (task.status, outcome(task).tardiness) == (TaskStatus.CANCELLED, 3.0)


def test_a_timeout_that_came_first_leads_to_no_other_attempt_once_the_deadline_has_passed() -> None:
    system = System()
    task = system.task("t", deadline=5, hard=True, timeout=4, retry=5)
    system.send(task, Underway())
    system.after(4)
    assert isinstance(told_to_stop(task), TaskTimeout)
    system.after(1)
    system.finish(task)
    missed(task)
    assert task.attempt == 1


def test_a_hard_deadline_is_a_matter_of_the_task_alone_however_urgent_those_are_who_wait() -> None:
    system = System(policy=Edf())
    task, early = system.task("t", deadline=9, hard=True), system.task("early", deadline=2)
    system.wait(early, task)
    assert task.due == 2.0
    system.after(8)
    assert told_to_stop(task) is None
    assert passed(system) == ["early"]
    system.finish(task)
    assert outcome(task).tardiness == 0.0


def test_a_deadline_that_is_told_of_too_late_is_nobodys_affair() -> None:
    system = System()
    task = system.task("t", deadline=5, hard=True)
    system.finish(task)
    system.send(task, DeadlinePassed(), LatencyPassed())
    assert (task.status, passed(system), system.out.reports) == (TaskStatus.COMPLETED, [], [])


# --------------------------------------------------------------------------------------------- latency


def test_a_task_that_was_not_started_in_time_is_an_alert_and_goes_on_waiting() -> None:
    system = System(limit=1)
    running, task = system.task("running"), system.task("t", max_latency="2s")
    system.after(2)
    ((level, text, _),) = system.out.reports
    assert level == logging.WARNING
    assert "task 't' was not started within max_latency=2s: it is ready" in text
    assert "'loop'" in text
    assert system.told("alert") == [("alert", "t")]
    system.finish(running)
    assert task.status is TaskStatus.RUNNING
    system.finish(task)
    assert len(system.out.reports) == 1


def test_a_task_that_is_started_in_time_is_none_whatever_comes_later() -> None:
    system = System(limit=1)
    task = system.task("t", max_latency=2, retry=2)
    assert len(system.out.timers) == 0
    system.after(3)
    system.finish(task, OSError())
    system.after(3)
    assert not system.out.reports


def test_a_task_that_is_started_at_its_last_moment_is_started_in_time() -> None:
    system = System(limit=1)
    running, task = system.task("running"), system.task("t", max_latency=2)
    system.out.later(2, system.scheduler, Idle(NOBODY, running, Finished()), phase=DONE)
    system.after(2)
    assert task.status is TaskStatus.RUNNING
    assert not system.out.reports


def test_a_task_that_ends_before_it_was_started_leaves_no_timer() -> None:
    system = System(limit=1)
    system.task("running")
    task = system.task("t", max_latency=2, deadline=3)
    assert len(system.out.timers) == 2
    system.cancel(task)
    assert len(system.out.timers) == 0


# ---------------------------------------------------------------------------------------- their meaning


def test_a_deadline_counts_from_the_submission() -> None:
    times = times_of(task_options({"deadline": "2s", "max_latency": "500ms"}), 40.0)
    assert (times.submitted, times.due, times.start_by) == (40.0, 42.0, 40.5)
    nothing = times_of(task_options({"max_latency": 1}), 40.0)
    assert (nothing.due, nothing.start_by) == (inf, 41.0)


def test_a_deadline_by_the_calendar_is_as_far_off_as_it_is_now() -> None:
    options = task_options({"deadline": datetime.now(UTC) + timedelta(hours=1)})
    assert times_of(options, 40.0).due == pytest.approx(3640, abs=60)


def test_a_deadline_by_the_calendar_may_be_past_when_the_task_is_submitted() -> None:
    options = task_options({"deadline": datetime.now(UTC) + timedelta(hours=1)})
    past = options.replace(deadline=datetime.now(UTC) - timedelta(hours=1))
    with pytest.raises(ValueError, match="already past"):
        times_of(past, 40.0)


def test_who_was_not_admitted_is_not_watched() -> None:
    system = System()
    task = system.task("t", deadline=5, max_latency=1)
    assert task.times is not None
    task.times.forget()
    assert len(system.out.timers) == 0


# ------------------------------------------------------------------------------------------- at random

TIMES = st.integers(0, 12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(TIMES, st.integers(1, 5), st.integers(1, 12), st.booleans(), st.integers(1, 6)),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 3),
)
def test_who_is_late_and_by_how_much_is_what_a_calendar_says(
    tasks: list[tuple[int, int, int, bool, int]], limit: int
) -> None:
    """Tasks come, run for some time, first come, first served, and stop at once if they are told to."""
    system = System(limit)
    made: dict[str, tuple[TaskActor, int, int, bool, int]] = {}
    started: dict[str, int] = {}
    alerts: set[str] = set()
    ended: dict[str, int] = {}

    def note_started(now: int) -> None:
        for name, (task, *_) in made.items():
            if task.worker is not None and name not in started:
                started[name] = now

    for now in range(100):
        system.out.now = float(now)
        for name, (task, run, _, _, _) in made.items():  # 1. what ran is finished
            if name in started and name not in ended and started[name] + run == now:
                system.finish(task)
                ended[name] = now
        note_started(now)
        system.after(0)  # 2. deadlines
        alerts |= {
            name
            for name, (task, *_, latest) in made.items()
            if latest == now and name not in started and task.outcome is None
        }
        for name, (task, _, due, hard, _) in made.items():
            if hard and name not in ended and due == now:
                if task.worker is not None:
                    assert isinstance(told_to_stop(task), DeadlineMissed)
                    system.finish(task)
                ended[name] = now
        for number, (arrival, run, deadline, hard, latency) in enumerate(tasks):  # 3. arrivals
            if arrival == now:
                task = system.task(f"t{number}", deadline=deadline, hard=hard, max_latency=latency)
                made[task.name] = (task, run, now + deadline, hard, now + latency)
        note_started(now)
        assert sum(task.worker is not None for task, *_ in made.values()) <= limit
    assert {name for _, name in system.told("alert")} == alerts
    for name, (task, run, due, hard, _) in made.items():
        in_time = name in started and started[name] + run <= due
        expected = TaskStatus.COMPLETED if in_time or not hard else TaskStatus.DEADLINE_MISSED
        assert task.status is expected
        assert outcome(task).tardiness == max(0, ended[name] - due)
    assert sorted(passed(system)) == sorted(
        name for name, (_, run, due, _, _) in made.items() if name not in started or started[name] + run > due
    )
    assert len(system.out.timers) == 0

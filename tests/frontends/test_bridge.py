"""The front end `bridge`: tasks that are registered, started, and settled by their function or by hand."""

from __future__ import annotations

import functools
import gc
import logging
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from actorsched import (
    ActorschedError,
    DeadlockError,
    DependencyFailed,
    TaskCancelled,
    checkpoint,
    cpu_bound,
    current,
)
from actorsched.exceptions import TaskTimeout
from actorsched.frontends import _jobs, bridge
from actorsched.frontends._shared import SHARED
from actorsched.frontends._thread_limit import ThreadLimit
from actorsched.frontends.bridge import (
    TaskArgumentError,
    TaskCancelledError,
    TaskDependencyError,
    TaskError,
    TaskExecutionError,
    TaskNotFoundError,
    TaskPriority,
    TaskStatus,
    TaskTimeoutError,
    task_bridge,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 20


@pytest.fixture(autouse=True)
def limits_are_as_before() -> Iterator[None]:
    """There is one bridge for all tests."""
    yield
    task_bridge.max_concurrent_tasks = task_bridge.thread_pool_size = 100


class Closed:
    """Notes that it was closed."""

    def __init__(self, name: str, into: list[str]) -> None:
        self.name = name
        self.into = into

    def close(self) -> None:
        self.into.append(self.name)


def add(a: int, b: int, *, more: int = 0) -> int:
    return a + b + more


def fails() -> None:
    raise ValueError("it does not work")


def started(name: str, func: Callable[..., Any] | None = None, *args: Any, **options: Any) -> str:
    task = task_bridge.register_task(name, func, args, **options)
    assert task_bridge.start_task(task)
    return task


def ended(name: str, func: Callable[..., Any] | None = None, *args: Any, **options: Any) -> str:
    task = started(name, func, *args, **options)
    assert task_bridge.wait(task, WAIT)
    return task


# ------------------------------------------------------------------------------ the example of the document


def test_the_whole_life_of_a_task_by_the_calls_of_the_document() -> None:
    first = task_bridge.register_task("first", add, (1, 2))
    task = task_bridge.register_task(
        name="second",
        func=add,
        args=(1, 2),
        kwargs={"more": 3},
        priority=TaskPriority.NORMAL,
        dependencies=[first],
        max_retries=3,
        retry_delay=1.0,
        timeout=60.0,
    )
    assert task_bridge.get_task_status(task) is TaskStatus.WAITING
    task_bridge.start_task(first)
    task_bridge.start_task(task)
    task_bridge.update_task_progress(task, 0.5, "half of it")
    task_bridge.complete_task(task, "by hand")
    task_bridge.fail_task(task, ValueError("too late"))
    task_bridge.cancel_task(task)
    assert task_bridge.get_task_status(task) is TaskStatus.COMPLETED
    assert task_bridge.get_task_result(task) in ("by hand", 6)
    assert task_bridge.get_task_error(task) is None
    task_bridge.cleanup_task(task)
    with pytest.raises(TaskNotFoundError):
        task_bridge.get_task_status(task)


def test_a_registered_task_has_an_id_and_does_nothing_before_it_is_started() -> None:
    called: list[int] = []
    tasks = [task_bridge.register_task("same name", called.append, (1,)) for _ in range(2)]
    assert len(set(tasks)) == 2
    assert {task_bridge.get_task_status(task) for task in tasks} == {TaskStatus.PENDING}
    assert not called


def test_a_started_task_runs_and_completes_with_its_result() -> None:
    task = ended("sum", add, 1, 2)
    assert task_bridge.get_task_status(task) is TaskStatus.COMPLETED
    assert task_bridge.get_task_result(task) == 3
    assert task_bridge.get_task_error(task) is None
    assert task_bridge.get_task_progress(task) == (1.0, None)


def test_names_of_arguments_are_those_of_the_function() -> None:
    task = task_bridge.register_task("sum", add, args=[1], kwargs={"b": 2, "more": 3})
    task_bridge.start_task(task)
    assert task_bridge.wait(task, WAIT)
    assert task_bridge.get_task_result(task) == 6


# ------------------------------------------------------------------------------------------------- statuses


def test_a_task_is_pending_waiting_running_and_completed_in_turn() -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(WAIT)

    before = task_bridge.register_task("before")
    assert task_bridge.get_task_status(before) is TaskStatus.PENDING
    task = started("work", work, dependencies=[before])
    assert task_bridge.get_task_status(task) is TaskStatus.WAITING
    task_bridge.complete_task(before)
    assert begun.wait(WAIT)
    assert task_bridge.get_task_status(task) is TaskStatus.RUNNING
    go.set()
    assert task_bridge.wait(task, WAIT)
    assert task_bridge.get_task_status(task) is TaskStatus.COMPLETED


def test_a_task_between_two_attempts_is_pending() -> None:
    failed = threading.Event()

    def work() -> None:
        failed.set()
        raise OSError("not yet")

    task = started("work", work, max_retries=1, retry_delay=3600)
    assert failed.wait(WAIT)
    statuses: set[TaskStatus] = set()
    while task_bridge.get_task_status(task) is not TaskStatus.PENDING:
        statuses.add(task_bridge.get_task_status(task))
    assert statuses <= {TaskStatus.RUNNING, TaskStatus.PENDING}


def test_there_are_six_statuses_and_four_priorities() -> None:
    names = ["PENDING", "WAITING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    assert sorted(status.name for status in TaskStatus) == sorted(names)
    assert TaskPriority.LOW < TaskPriority.NORMAL < TaskPriority.HIGH < TaskPriority.CRITICAL
    assert len(TaskPriority) == 4


# --------------------------------------------------------------------------------------------- dependencies


def test_a_task_begins_when_all_that_it_depends_on_have_completed() -> None:
    order: list[str] = []
    a = task_bridge.register_task("a", order.append, ("a",))
    b = task_bridge.register_task("b", order.append, ("b",), dependencies=[a])
    c = task_bridge.register_task("c", order.append, ("c",), dependencies=[a, b, a])
    for task in (c, b, a):
        task_bridge.start_task(task)
    assert task_bridge.wait(c, WAIT)
    assert order == ["a", "b", "c"]


def test_a_task_fails_when_what_it_depends_on_fails() -> None:
    bad = task_bridge.register_task("bad", fails)
    after = started("after", add, 1, 2, dependencies=[bad])
    task_bridge.start_task(bad)
    assert task_bridge.wait(after, WAIT)
    assert task_bridge.get_task_status(after) is TaskStatus.FAILED
    error = task_bridge.get_task_error(after)
    assert isinstance(error, DependencyFailed)
    assert error.task == "after"
    with pytest.raises(TaskDependencyError, match="bad") as caught:
        task_bridge.get_task_result(after)
    assert caught.value.__cause__ is error


def test_a_task_fails_when_what_it_depends_on_had_failed_before_it_was_started() -> None:
    bad = task_bridge.register_task("bad")
    task_bridge.fail_task(bad, "no way")
    after = ended("after", add, 1, 2, dependencies=[bad])
    assert task_bridge.get_task_status(after) is TaskStatus.FAILED


def test_what_depends_on_a_cancelled_task_is_cancelled_with_it() -> None:
    before = started("before")
    after = started("after", add, 1, 2, dependencies=[before])
    task_bridge.cancel_task(before, "nobody needs it")
    assert task_bridge.wait(after, WAIT)
    assert task_bridge.get_task_status(after) is TaskStatus.CANCELLED


# ------------------------------------------------------------------------------------------------- priority


def test_of_those_that_may_run_the_most_urgent_goes_first() -> None:
    order: list[str] = []
    task_bridge.max_concurrent_tasks = 1
    go = threading.Event()
    first = started("first", go.wait, WAIT)
    rest = [
        started(priority.name, order.append, priority.name, priority=priority) for priority in TaskPriority
    ]
    more = [started("equal", order.append, "equal", priority=TaskPriority.HIGH)]
    go.set()
    assert all(task_bridge.wait(task, WAIT) for task in (first, *rest, *more))
    assert order == ["CRITICAL", "HIGH", "equal", "NORMAL", "LOW"]


# ------------------------------------------------------------------------------- in the loop and in threads


def test_an_async_function_runs_in_the_event_loop_and_a_plain_one_in_a_thread() -> None:
    async def in_loop() -> str:
        await anyio.lowlevel.checkpoint()
        return threading.current_thread().name

    def in_thread() -> str:
        return threading.current_thread().name

    assert task_bridge.get_task_result(ended("loop", in_loop)) == "actorsched shared"
    assert task_bridge.get_task_result(ended("part", functools.partial(in_loop))) == "actorsched shared"
    assert task_bridge.get_task_result(ended("thread", in_thread)).startswith("actorsched thread")


def test_an_object_that_can_be_called_is_a_function_too() -> None:
    class Plain:
        def __call__(self) -> str:
            return "plain"

    class Async:
        async def __call__(self) -> str:
            return "async"

    assert task_bridge.get_task_result(ended("plain", Plain())) == "plain"
    assert task_bridge.get_task_result(ended("async", Async())) == "async"


def pid_of_task() -> str:
    return current().host


@pytest.mark.process
def test_a_function_marked_as_cpu_bound_runs_in_a_process() -> None:
    assert task_bridge.get_task_result(ended("number", cpu_bound(pid_of_task))) == "process"
    del pid_of_task.__actorsched_host__  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------ settled by hand


def test_a_task_without_a_function_runs_from_its_start_until_it_is_completed_by_hand() -> None:
    task = started("by hand")
    assert task_bridge.get_task_status(task) is TaskStatus.RUNNING
    assert task_bridge.get_task_result(task) is None
    assert not task_bridge.wait(task, 0)
    assert task_bridge.complete_task(task, 42)
    assert task_bridge.get_task_status(task) is TaskStatus.COMPLETED
    assert task_bridge.get_task_result(task) == 42


def test_a_task_that_was_never_started_can_be_settled_too() -> None:
    tasks = [task_bridge.register_task("by hand") for _ in range(3)]
    assert task_bridge.complete_task(tasks[0])
    assert task_bridge.fail_task(tasks[1], ValueError("no"))
    assert task_bridge.cancel_task(tasks[2])
    statuses = [task_bridge.get_task_status(task) for task in tasks]
    assert statuses == [TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED]
    assert not any(task_bridge.start_task(task) for task in tasks)


def test_who_depends_on_a_task_by_hand_runs_when_it_is_completed() -> None:
    before = task_bridge.register_task("before")
    after = started("after", add, 1, 2, dependencies=[before])
    task_bridge.complete_task(before)
    assert task_bridge.wait(after, WAIT)
    assert task_bridge.get_task_result(after) == 3


def test_many_tasks_by_hand_hold_up_nobody() -> None:
    task_bridge.max_concurrent_tasks = 1
    hands = [started("by hand") for _ in range(20)]
    assert task_bridge.get_task_result(ended("sum", add, 1, 2)) == 3
    for task in hands:
        task_bridge.complete_task(task)


def test_a_task_by_hand_that_nobody_settles_in_time_fails() -> None:
    task = ended("by hand", timeout=0.001)
    assert isinstance(task_bridge.get_task_error(task), TaskTimeout)
    with pytest.raises(TaskTimeoutError):
        task_bridge.get_task_result(task)


def test_what_is_started_or_settled_already_is_left_as_it_is_without_an_error() -> None:
    task = started("by hand")
    assert not task_bridge.start_task(task)
    assert task_bridge.complete_task(task, 1)
    assert not task_bridge.start_task(task)
    assert not task_bridge.complete_task(task, 2)
    assert not task_bridge.fail_task(task, ValueError("no"))
    assert not task_bridge.cancel_task(task)
    assert not task_bridge.update_task_progress(task, 0.1)
    assert task_bridge.get_task_result(task) == 1
    assert task_bridge.get_task_status(task) is TaskStatus.COMPLETED


@pytest.mark.parametrize(
    ("settle", "status"),
    [
        (lambda task: task_bridge.complete_task(task, "by hand"), TaskStatus.COMPLETED),
        (lambda task: task_bridge.fail_task(task, OSError("by hand")), TaskStatus.FAILED),
        (lambda task: task_bridge.cancel_task(task, "by hand"), TaskStatus.CANCELLED),
    ],
    ids=["complete", "fail", "cancel"],
)
def test_settling_by_hand_stops_a_function_that_runs(
    settle: Callable[[str], bool], status: TaskStatus
) -> None:
    begun, stopped = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    task = started("work", work)
    assert begun.wait(WAIT)
    assert settle(task)
    assert task_bridge.get_task_status(task) is status
    assert stopped.wait(WAIT)


def test_settling_by_hand_stops_a_thread_at_its_next_checkpoint() -> None:
    begun, stopped = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        try:
            while True:
                checkpoint()
        finally:
            stopped.set()

    task = started("work", work)
    assert begun.wait(WAIT)
    assert task_bridge.complete_task(task, "enough")
    assert stopped.wait(WAIT)
    assert task_bridge.get_task_result(task) == "enough"


def test_a_thread_that_never_looks_up_is_left_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        go.wait(WAIT)
        return "too late"

    task = started("stubborn", work)
    assert begun.wait(WAIT)
    assert task_bridge.cancel_task(task)
    assert task_bridge.get_task_status(task) is TaskStatus.CANCELLED
    SHARED.stop(timeout=5)
    go.set()
    assert "stubborn" in caplog.text
    assert task_bridge.get_task_status(task) is TaskStatus.CANCELLED


# ------------------------------------------------------------------------------------------ errors, retries


def test_a_task_that_raises_fails_and_has_no_result() -> None:
    task = ended("bad", fails)
    assert task_bridge.get_task_status(task) is TaskStatus.FAILED
    error = task_bridge.get_task_error(task)
    assert isinstance(error, ValueError)
    with pytest.raises(TaskExecutionError, match="'bad'.*it does not work") as caught:
        task_bridge.get_task_result(task)
    assert caught.value.__cause__ is error
    assert caught.value.task_id == task


def test_text_given_as_an_error_becomes_one() -> None:
    task = started("by hand")
    task_bridge.fail_task(task, "the disk is full")
    error = task_bridge.get_task_error(task)
    assert isinstance(error, TaskExecutionError)
    assert str(error) == "the disk is full"


def test_a_cancelled_task_says_why() -> None:
    task = started("by hand")
    task_bridge.cancel_task(task, "nobody needs it")
    assert isinstance(task_bridge.get_task_error(task), TaskCancelled)
    with pytest.raises(TaskCancelledError, match="nobody needs it"):
        task_bridge.get_task_result(task)


def test_a_task_is_tried_again_as_often_as_it_may_be() -> None:
    attempts: list[int] = []

    def work() -> str:
        attempts.append(current().attempt)
        if len(attempts) < 3:
            raise OSError("not yet")
        return "done"

    task = ended("work", work, max_retries=2, retry_delay=0)
    assert task_bridge.get_task_result(task) == "done"
    assert attempts == [1, 2, 3]
    attempts.clear()
    assert task_bridge.get_task_status(ended("work", work, max_retries=1, retry_delay=0)) is TaskStatus.FAILED


def test_each_wait_for_another_attempt_is_twice_as_long(caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of them is what the runtime waits for, to the microsecond: there is no jitter."""
    caplog.set_level(logging.WARNING, "actorsched.task")
    ended("bad", fails, max_retries=4, retry_delay="100us")
    delays = [record.args[2] for record in caplog.records if "tried again" in record.msg]  # type: ignore[index,call-overload]
    assert delays == pytest.approx([0.0001, 0.0002, 0.0004, 0.0008])


def test_a_task_that_takes_too_long_fails() -> None:
    task = ended("slow", anyio.sleep_forever, timeout=0.001)
    assert task_bridge.get_task_status(task) is TaskStatus.FAILED
    with pytest.raises(TaskTimeoutError, match="slow"):
        task_bridge.get_task_result(task)


def test_a_thread_that_takes_too_long_fails_at_once() -> None:
    go = threading.Event()
    task = ended("slow", go.wait, WAIT, timeout=0.001)
    assert task_bridge.get_task_status(task) is TaskStatus.FAILED
    go.set()


def test_errors_are_of_one_hierarchy() -> None:
    errors = [
        getattr(bridge, name) for name in bridge.__all__ if name.startswith("Task") and name.endswith("Error")
    ]
    assert len(errors) == 7
    assert all(issubclass(error, TaskError) and issubclass(error, ActorschedError) for error in errors)


# ------------------------------------------------------------------------------------------------- progress


def test_progress_is_told_by_hand_and_by_the_function() -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        current().report(0.25, "a quarter")
        begun.set()
        go.wait(WAIT)

    task = task_bridge.register_task("work", work)
    assert task_bridge.get_task_progress(task) == (0.0, None)
    task_bridge.start_task(task)
    assert begun.wait(WAIT)
    while task_bridge.get_task_progress(task) == (0.0, None):
        pass  # it is on its way
    assert task_bridge.get_task_progress(task) == (0.25, "a quarter")
    assert task_bridge.update_task_progress(task, 0.5, "half of it")
    assert task_bridge.get_task_progress(task) == (0.5, "half of it")
    go.set()
    assert task_bridge.wait(task, WAIT)
    assert task_bridge.get_task_progress(task)[0] == 1.0


# ------------------------------------------------------------------------------------------------ resources


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "clean up"])
def test_resources_are_cleaned_up_last_in_first_out_however_a_task_is_settled(end: str) -> None:
    closed: list[str] = []
    task = started("by hand")
    for name in ("first", "second"):
        assert task_bridge.register_resource(task, Closed(name, closed))
    assert task_bridge.register_resource(task, "third", closed.append)
    assert not closed
    match end:
        case "complete":
            task_bridge.complete_task(task)
        case "fail":
            task_bridge.fail_task(task, ValueError("no"))
        case "cancel":
            task_bridge.cancel_task(task)
        case _:
            task_bridge.cleanup_task(task)
    assert closed == ["third", "second", "first"]


@pytest.mark.parametrize("function", [add, fails, anyio.sleep_forever], ids=["return", "raise", "timeout"])
def test_resources_are_cleaned_up_when_a_function_ends_before_anybody_who_waits_goes_on(
    function: Callable[..., Any],
) -> None:
    closed: list[str] = []
    threads: list[str] = []
    task = task_bridge.register_task(
        "work", function, (1, 2) if function is add else (), timeout=0.001 if function is not add else None
    )
    task_bridge.register_resource(task, Closed("it", closed))
    task_bridge.register_resource(task, "", lambda _: threads.append(threading.current_thread().name))
    task_bridge.start_task(task)
    assert task_bridge.wait(task, WAIT)
    assert closed == ["it"]
    assert threads != ["actorsched shared"], "the event loop must not wait for what is cleaned up"


def test_a_task_has_ended_when_it_is_cleaned_up() -> None:
    begun, go = threading.Event(), threading.Event()

    def slowly(_: object) -> None:
        begun.set()
        go.wait(WAIT)

    task = task_bridge.register_task("work", add, (1, 2))
    task_bridge.register_resource(task, None, slowly)
    task_bridge.start_task(task)
    assert begun.wait(WAIT)
    assert task_bridge.get_task_status(task) is TaskStatus.RUNNING
    assert not task_bridge.wait(task, 0)
    go.set()
    assert task_bridge.wait(task, WAIT)
    assert task_bridge.get_task_status(task) is TaskStatus.COMPLETED


def test_a_cleanup_may_ask_for_its_task_and_wait_for_it() -> None:
    seen: list[Any] = []

    def clean(task: str) -> None:
        seen.append(task_bridge.wait(task))
        seen.append(task_bridge.get_task_result(task))

    by_hand = started("by hand")
    task_bridge.register_resource(by_hand, by_hand, clean)
    task_bridge.complete_task(by_hand, 1)
    by_function = task_bridge.register_task("sum", add, (1, 2))
    task_bridge.register_resource(by_function, by_function, clean)
    task_bridge.start_task(by_function)
    assert task_bridge.wait(by_function, WAIT)
    assert seen == [True, 1, True, 3]


def test_a_failure_in_cleaning_up_is_logged_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []
    task = started("by hand")
    task_bridge.register_resource(task, Closed("it", closed))
    task_bridge.register_resource(task, None, lambda _: fails())
    task_bridge.complete_task(task)
    assert closed == ["it"]
    assert "it does not work" in caplog.text
    assert task_bridge.get_task_status(task) is TaskStatus.COMPLETED


def test_what_is_registered_too_late_is_cleaned_up_at_once() -> None:
    closed: list[str] = []
    task = task_bridge.register_task("by hand")
    task_bridge.complete_task(task)
    assert not task_bridge.register_resource(task, Closed("it", closed))
    assert closed == ["it"]


def test_what_a_function_has_registered_is_cleaned_up_though_its_thread_is_left_to_itself() -> None:
    closed: list[str] = []
    begun, go, late = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        task_bridge.register_resource(task, Closed("in time", closed))
        begun.set()
        go.wait(WAIT)
        task_bridge.register_resource(task, Closed("late", closed))
        late.set()

    task = task_bridge.register_task("work", work)
    task_bridge.start_task(task)
    assert begun.wait(WAIT)
    task_bridge.cancel_task(task)
    assert closed == ["in time"]
    go.set()
    assert late.wait(WAIT)
    assert closed == ["in time", "late"]


# ---------------------------------------------------------------------------------------------------- locks


def test_a_lock_of_one_name_is_held_by_one_at_a_time_in_threads_and_in_the_loop() -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter() -> None:
        inside.append(1)
        most.append(len(inside))

    def in_thread() -> None:
        for _ in range(20):
            with task_bridge.lock("file"):
                enter()
                inside.pop()

    async def in_loop() -> None:
        for _ in range(20):
            async with task_bridge.lock("file"):
                enter()
                await anyio.lowlevel.checkpoint()
                inside.pop()

    tasks = [started("work", function) for function in (in_thread, in_loop) * 4]
    assert all(task_bridge.wait(task, WAIT) for task in tasks)
    assert [task_bridge.get_task_error(task) for task in tasks] == [None] * 8
    assert len(most) == 160
    assert max(most) == 1


def test_locks_of_different_names_do_not_hinder_each_other() -> None:
    with task_bridge.lock("one"), task_bridge.lock("another"):
        assert task_bridge.lock("one").locked()
    assert not task_bridge.lock("one").locked()


def test_a_lock_is_handed_on_in_the_order_of_asking() -> None:
    lock = task_bridge.lock("file")
    order: list[int] = []

    def work(number: int) -> None:
        with lock:
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    with lock:
        for asked, thread in enumerate(threads, 1):
            thread.start()
            while len(lock._waiting) < asked:
                pass
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_whoever_holds_a_lock_and_asks_for_it_again_is_told() -> None:
    with task_bridge.lock("file"), pytest.raises(DeadlockError, match="'file'"), task_bridge.lock("file"):
        pass
    with pytest.raises(RuntimeError, match="'file' is not held"):
        task_bridge.lock("file").release()


def test_the_event_loop_is_not_blocked_by_a_lock() -> None:
    async def work() -> None:
        with task_bridge.lock("file"):
            pass

    with task_bridge.lock("file"):
        task = ended("work", work)
    assert isinstance(task_bridge.get_task_error(task), DeadlockError)
    assert not task_bridge.lock("file").locked()


def test_waiting_for_a_lock_can_end_early() -> None:
    lock = task_bridge.lock("file")
    with lock:
        answers: list[bool] = []
        thread = threading.Thread(target=lambda: answers.append(lock.acquire(timeout=0.001)))
        thread.start()
        thread.join()
    assert answers == [False]
    assert not lock.locked()


async def test_a_task_that_is_cancelled_does_not_wait_for_a_lock_any_more() -> None:
    lock = task_bridge.lock("file")
    async with lock, anyio.create_task_group() as group:

        async def waits() -> None:
            async with lock:
                raise AssertionError("it was never free")

        group.start_soon(waits)
        while not lock._waiting:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert not lock.locked()
    async with lock:
        assert lock.locked()


def test_a_lock_that_nobody_has_is_forgotten() -> None:
    from actorsched.frontends import _locks

    for number in range(100):
        with task_bridge.lock(f"file {number}"):
            pass
    gc.collect()
    assert not [name for name in _locks._locks if name.startswith("file ")]


# --------------------------------------------------------------------------------------------------- limits


class Gauge:
    """How many are in it at once; each stays until it is let go."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self._lock = threading.Lock()

    def _change(self, by: int) -> None:
        with self._lock:
            self.inside += by
            self.most = max(self.most, self.inside)

    def plain(self) -> None:
        self._change(1)
        self.entered.release()
        self.go.wait(WAIT)
        self._change(-1)

    async def in_loop(self) -> None:
        self._change(1)
        self.entered.release()
        while not self.go.is_set():
            await anyio.lowlevel.checkpoint()
        self._change(-1)

    def wait_for(self, number: int) -> None:
        for _ in range(number):
            assert self.entered.acquire(timeout=WAIT)


def test_no_more_tasks_run_at_once_than_may_and_the_limit_can_be_changed() -> None:
    task_bridge.max_concurrent_tasks = 2
    assert task_bridge.max_concurrent_tasks == 2
    gauge = Gauge()
    tasks = [started("work", function) for function in (gauge.plain, gauge.in_loop) * 4]
    gauge.wait_for(2)
    assert gauge.inside == 2
    task_bridge.max_concurrent_tasks = 5
    gauge.wait_for(3)
    gauge.go.set()
    assert all(task_bridge.wait(task, WAIT) for task in tasks)
    assert gauge.most == 5


def test_no_more_threads_work_at_once_than_may_and_async_functions_need_none() -> None:
    task_bridge.thread_pool_size = 1
    assert task_bridge.thread_pool_size == 1
    plain, in_loop = Gauge(), Gauge()
    tasks = [started("work", plain.plain) for _ in range(5)]
    tasks += [started("work", in_loop.in_loop) for _ in range(3)]
    in_loop.wait_for(3)
    plain.wait_for(1)
    assert plain.inside == 1
    task_bridge.thread_pool_size = 3
    plain.wait_for(2)
    in_loop.go.set()
    plain.go.set()
    assert all(task_bridge.wait(task, WAIT) for task in tasks)
    assert plain.most == 3


def test_the_limits_hold_in_the_next_runtime_too() -> None:
    task_bridge.max_concurrent_tasks = 2
    ended("one", add, 1, 2)
    SHARED.stop()
    gauge = Gauge()
    tasks = [started("work", gauge.plain) for _ in range(6)]
    gauge.wait_for(2)
    gauge.go.set()
    assert all(task_bridge.wait(task, WAIT) for task in tasks)
    assert gauge.most == 2


class Item:
    """A task as a policy sees it."""

    def __init__(self, name: str, rank: int = 3, *, host: str = "loop") -> None:
        self.name = name
        self.rank = rank
        self.preemptible = False
        self.host = host
        self.due = float("inf")
        self.cost = self.period = None


def test_the_policy_offers_nobody_who_needs_a_thread_while_all_are_taken() -> None:
    policy = ThreadLimit(1)
    first, second = (Item(name, 5, host="thread") for name in ("first", "second"))
    loop = Item("loop", 1)
    for item in (first, second, loop):
        policy.push(item, 0.0)
    assert len(policy) == 2
    assert policy.pop(0.0) is first
    policy.started(first, 0.0)
    assert len(policy) == 1
    assert policy.order(0.0) == [second, loop]
    assert policy.pop(0.0) is loop
    assert policy.peek(0.0) is None
    policy.stopped(first, 1.0)
    assert len(policy) == 1
    assert policy.peek(1.0) is second
    assert policy.drain() == [second]
    assert len(policy) == 0


def test_the_policy_moves_what_becomes_more_urgent_and_forgets_what_is_removed() -> None:
    policy = ThreadLimit(9)
    items = [Item(str(number)) for number in range(200)]
    for item in items:
        policy.push(item, 0.0)
    items[7].rank = 5
    policy.changed(items[7], 0.0)
    assert policy.peek(0.0) is items[7]
    with pytest.raises(ValueError, match="already"):
        policy.push(items[7], 0.0)
    for item in items[8:]:
        assert policy.remove(item)
        assert not policy.remove(item)
    policy.put_back(items[8], 0.0)
    assert [policy.pop(0.0) for _ in range(9)] == [items[7], items[8], *items[:7]]
    assert policy.fresh().threads == 9


# -------------------------------------------------------------------------------------------------- monitor


def test_the_monitor_lists_tasks_by_status() -> None:
    for job in list(_jobs.known()):
        _jobs.forget(job)
    pending = task_bridge.register_task("pending")
    waiting = task_bridge.register_task("waiting", dependencies=[pending])
    running, failed, cancelled = (started(name) for name in ("running", "failed", "cancelled"))
    task_bridge.fail_task(failed, "no")
    task_bridge.cancel_task(cancelled)
    done = ended("done", add, 1, 2)
    assert task_bridge.monitor() == {
        TaskStatus.PENDING: (pending,),
        TaskStatus.WAITING: (waiting,),
        TaskStatus.RUNNING: (running,),
        TaskStatus.COMPLETED: (done,),
        TaskStatus.FAILED: (failed,),
        TaskStatus.CANCELLED: (cancelled,),
    }
    assert task_bridge.monitor[TaskStatus.FAILED] == (failed,)
    assert dict(task_bridge.monitor) == task_bridge.monitor()
    assert "1 running" in repr(task_bridge)


# ------------------------------------------------------------------------------------------ waiting, ending


async def test_a_running_loop_can_wait_for_a_task_without_being_blocked() -> None:
    task = started("by hand")
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, task_bridge.complete_task, task)
        assert await task_bridge.settled(task) is TaskStatus.COMPLETED


def test_a_task_may_wait_for_another_one() -> None:
    async def outer() -> Any:
        inner = started("inner", add, 1, 2)
        await task_bridge.settled(inner)
        return task_bridge.get_task_result(inner)

    assert task_bridge.get_task_result(ended("outer", outer)) == 3


def test_waiting_in_the_thread_of_the_loop_is_refused() -> None:
    async def outer() -> None:
        task_bridge.wait(started("inner"))

    assert isinstance(task_bridge.get_task_error(ended("outer", outer)), DeadlockError)
    for task in task_bridge.monitor[TaskStatus.RUNNING]:
        task_bridge.cancel_task(task)


def test_cleaning_up_cancels_what_is_unsettled_and_forgets_the_id() -> None:
    task = started("work", anyio.sleep_forever)
    after = started("after", add, 1, 2, dependencies=[task])
    assert task_bridge.cleanup_task(task)
    with pytest.raises(TaskNotFoundError, match=task):
        task_bridge.cleanup_task(task)
    assert task_bridge.wait(after, WAIT)
    assert task_bridge.get_task_status(after) is TaskStatus.CANCELLED


def test_a_task_stays_known_until_ten_thousand_later_ones_have_settled() -> None:
    first = task_bridge.register_task("first")
    task_bridge.complete_task(first, "kept")
    for _ in range(_jobs.KEPT - 1):
        task_bridge.complete_task(task_bridge.register_task("next"))
    assert task_bridge.get_task_result(first) == "kept"
    task_bridge.complete_task(task_bridge.register_task("last"))
    gc.collect()
    with pytest.raises(TaskNotFoundError, match=r"10,000"):
        task_bridge.get_task_result(first)


@pytest.mark.deadline(120)
def test_the_memory_of_a_long_run_stays_flat() -> None:
    """Every task depends on the one before, has a resource, and most are never cleaned up by hand."""
    closed: list[int] = []

    def work(tasks: int) -> int:
        before: list[str] = []
        for _ in range(tasks):
            task = started("step", dependencies=before)
            task_bridge.register_resource(task, 1, lambda _: closed.clear())
            task_bridge.complete_task(task)
            before = [task]
        assert task_bridge.wait(ended("last", add, 1, 2), WAIT)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        work(_jobs.KEPT + 1_000)
        before = work(3_000)
        after = work(6_000)
    finally:
        tracemalloc.stop()
    assert len(list(_jobs.known())) <= _jobs.KEPT + 10
    assert after - before < 500_000, "6,000 more tasks need no more memory"


def test_a_started_task_that_waits_again_and_again_needs_no_memory_for_that() -> None:
    task = started("by hand")
    for _ in range(100):
        assert not task_bridge.wait(task, 0)
    job = _jobs.find(task)
    assert job is not None
    assert not job._told
    task_bridge.complete_task(task)


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda b: b.get_task_status("nobody"), TaskNotFoundError, ["'nobody'", "register_task"]),
        (lambda b: b.start_task("nobody"), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.complete_task("nobody"), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.fail_task("nobody", OSError()), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.cancel_task("nobody"), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.update_task_progress("nobody", 0.5), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.get_task_result("nobody"), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.get_task_error("nobody"), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.get_task_progress("nobody"), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.cleanup_task("nobody"), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.wait("nobody"), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.register_resource("nobody", 1, print), TaskNotFoundError, ["'nobody'"]),
        (lambda b: b.get_task_status(7), TaskArgumentError, ["7", "int", "str"]),
        (lambda b: b.register_task("x", 7), TaskArgumentError, ["func=7", "'x'", "plain or async"]),
        (lambda b: b.register_task("x", async_items), TaskArgumentError, ["async generator"]),
        (lambda b: b.register_task(""), TaskArgumentError, ["name"]),
        (lambda b: b.register_task(None), TaskArgumentError, ["name"]),
        (lambda b: b.register_task("x", add, 5), TaskArgumentError, ["args=5", "tuple"]),
        (lambda b: b.register_task("x", add, "ab"), TaskArgumentError, ["args='ab'"]),
        (lambda b: b.register_task("x", add, (), 5), TaskArgumentError, ["kwargs=5", "dict"]),
        (lambda b: b.register_task("x", add, (), {1: 2}), TaskArgumentError, ["kwargs", "1"]),
        (lambda b: b.register_task("x", None, (1,)), TaskArgumentError, ["args=(1,)", "by hand"]),
        (lambda b: b.register_task("x", add, priority="HIGH"), TaskArgumentError, ["priority='HIGH'", "LOW"]),
        (lambda b: b.register_task("x", add, priority=6), TaskArgumentError, ["priority=6", "CRITICAL"]),
        (lambda b: b.register_task("x", add, priority=True), TaskArgumentError, ["priority=True"]),
        (lambda b: b.register_task("x", dependencies=["y"]), TaskNotFoundError, ["dependencies", "'y'"]),
        (
            lambda b: b.register_task("x", dependencies="bridge-1"),
            TaskArgumentError,
            ["dependencies", "list"],
        ),
        (lambda b: b.register_task("x", dependencies=[1]), TaskArgumentError, ["dependencies", "1"]),
        (lambda b: b.register_task("x", dependencies=1), TaskArgumentError, ["dependencies=1"]),
        (lambda b: b.register_task("x", add, max_retries=-1), TaskArgumentError, ["max_retries=-1", "0 or"]),
        (lambda b: b.register_task("x", add, max_retries=1.5), TaskArgumentError, ["max_retries=1.5"]),
        (lambda b: b.register_task("x", add, retry_delay=-1), TaskArgumentError, ["retry_delay", "-1"]),
        (lambda b: b.register_task("x", add, retry_delay="soon"), TaskArgumentError, ["retry_delay", "soon"]),
        (lambda b: b.register_task("x", add, timeout=0), TaskArgumentError, ["timeout=0"]),
        (lambda b: b.register_task("x", timeout=float("nan")), TaskArgumentError, ["timeout=nan"]),
        (lambda b: b.register_task("x", add, tags="ab"), TaskArgumentError, ["tags"]),
        (lambda b: b.register_task("x", add, metadata=1), TaskArgumentError, ["metadata=1"]),
        (lambda b: b.update_task_progress(b.register_task("x"), 1.5), TaskArgumentError, ["1.5", "0 to 1"]),
        (lambda b: b.update_task_progress(b.register_task("x"), "1"), TaskArgumentError, ["progress='1'"]),
        (lambda b: b.update_task_progress(b.register_task("x"), 1, 2), TaskArgumentError, ["message=2"]),
        (lambda b: b.fail_task(b.register_task("x"), 7), TaskArgumentError, ["error=7", "exception"]),
        (lambda b: b.fail_task(b.register_task("x"), SystemExit()), TaskArgumentError, ["SystemExit"]),
        (lambda b: b.cancel_task(b.register_task("x"), 7), TaskArgumentError, ["reason=7"]),
        (lambda b: b.wait(b.register_task("x"), "soon"), TaskArgumentError, ["timeout", "soon"]),
        (
            lambda b: b.register_resource(b.register_task("x"), 7),
            TaskArgumentError,
            ["resource=7", "cleanup"],
        ),
        (lambda b: b.register_resource(b.register_task("x"), 7, 8), TaskArgumentError, ["cleanup=8"]),
        (lambda b: b.register_resource(b.register_task("x"), 7, anyio.sleep), TaskArgumentError, ["async"]),
        (lambda b: b.lock(7), TaskArgumentError, ["name=7"]),
        (lambda b: setattr(b, "max_concurrent_tasks", 0), TaskArgumentError, ["max_concurrent_tasks=0"]),
        (lambda b: setattr(b, "thread_pool_size", "2"), TaskArgumentError, ["thread_pool_size='2'"]),
    ],
)
def test_what_is_wrong_is_refused_at_the_call_with_the_remedy(
    call: Callable[[Any], object], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(TaskError) as caught:
        call(task_bridge)
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


async def async_items() -> Any:
    yield 1


def test_a_dependency_that_was_cleaned_up_is_refused() -> None:
    task = task_bridge.register_task("gone")
    task_bridge.cleanup_task(task)
    with pytest.raises(TaskNotFoundError, match=task):
        task_bridge.register_task("next", dependencies=[task])


def test_no_circle_can_be_made() -> None:
    """Whoever is depended on has an id, so it was registered before; and dependencies never change."""
    tasks: list[str] = []
    for _ in range(5):
        tasks.append(task_bridge.register_task("next", dependencies=tasks))
    jobs = [_jobs.find(task) for task in tasks]
    assert [job.after for job in jobs if job] == [tuple(jobs[:number]) for number in range(5)]

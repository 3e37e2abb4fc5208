"""Tasks registered, executed, asked about and cancelled by their ids: `TaskManager`."""

from __future__ import annotations

import asyncio
import functools
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor as Threads
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

import actorsched
from actorsched import ActorschedError, DeadlockError, Priority, checkpoint, current
from actorsched.frontends import manager as front
from actorsched.frontends._shared import SHARED
from actorsched.frontends.manager import (
    AsyncExecutor,
    Executor,
    SequentialExecutor,
    Task,
    TaskArgumentError,
    TaskCancelledError,
    TaskDependencyError,
    TaskError,
    TaskExecutionError,
    TaskManager,
    TaskNotFoundError,
    TaskPriority,
    TaskStatus,
    TaskTimeoutError,
    ThreadPoolExecutor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EXECUTORS = ["sequential", "thread_pool", "async"]


def add(left: int, right: int, *, times: int = 1) -> int:
    return (left + right) * times


async def add_async(left: int, right: int, *, times: int = 1) -> int:
    await anyio.sleep(0)
    return (left + right) * times


def thread_name() -> str:
    return threading.current_thread().name


async def thread_name_async() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


def fail() -> None:
    raise ValueError("broken")


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await anyio.sleep(0.001)


class Gate:
    """A function that says when it runs, and goes on when it may."""

    def __init__(self) -> None:
        self.runs = threading.Event()
        self.may_end = threading.Event()
        self.left = threading.Event()

    def __call__(self) -> str:
        self.runs.set()
        assert self.may_end.wait(20)
        self.left.set()
        return "through"

    async def wait(self) -> str:
        self.runs.set()
        try:
            await until(self.may_end.is_set)
        finally:
            self.left.set()
        return "through"


# --------------------------------------------------------------------------------------- what is printed, all


async def use_everything(manager: TaskManager) -> None:
    """The calls of the document, in its order."""
    before = manager.register_task("prepare", add, 1, 1)
    task_id = manager.register_task(
        name="compute",
        func=add_async,
        args=(20, 1),
        kwargs={"times": 2},
        priority=TaskPriority.HIGH,
        dependencies=[before],
        max_retries=3,
        retry_delay=1.0,
        timeout=60.0,
        description="a sum, twice",
        tags=["sums", "twice"],
        metadata={"customer": "we", "year": 2026},
        executor_type="async",
    )
    assert manager.get_task_status(task_id) is TaskStatus.WAITING
    assert manager.get_task_result(task_id) is None
    assert await manager.execute_task(task_id, wait=True)
    assert not await manager.execute_task(task_id, wait=False)
    assert not await manager.execute_task(task_id)
    assert manager.get_task_result(task_id) == 42
    assert manager.get_task_result(before) == 2
    assert manager.get_task_status(task_id) is TaskStatus.COMPLETED
    assert not await manager.cancel_task(task_id)
    assert manager.get_task_error(task_id) is None
    assert not manager.update_task_progress(task_id, progress=0.5, message="too late")
    assert manager.get_task_progress(task_id) == (1.0, None)
    assert manager.get_metrics()["completed_tasks"] == 2


async def test_every_call_of_the_document_runs_within_a_loop() -> None:
    await use_everything(TaskManager(max_concurrent_tasks=10))


def test_every_call_of_the_document_runs_in_a_blocking_script() -> None:
    asyncio.run(use_everything(TaskManager(max_concurrent_tasks=10)))


async def test_two_tasks_are_joined_by_a_third() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    order: list[str] = []
    first, second = (manager.register_task(name, order.append, name) for name in ("first", "second"))
    third = manager.register_task(
        name="third", func=order.append, args=["third"], dependencies=[first, second]
    )
    assert await manager.execute_task(third)
    assert sorted(order[:2]) == ["first", "second"]
    assert order[2] == "third"


async def test_progress_is_reported_and_read() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    gate = Gate()
    task_id = manager.register_task("long", gate)
    assert manager.get_task_progress(task_id) == (0.0, None)
    await manager.execute_task(task_id, wait=False)
    await until(gate.runs.is_set)
    assert manager.update_task_progress(task_id, progress=0.5, message="half of it")
    assert manager.get_task_progress(task_id) == (0.5, "half of it")
    progress, message = manager.get_task_progress(task_id)
    assert (progress, message) == (0.5, "half of it")
    gate.may_end.set()
    await manager.execute_task(task_id)
    assert manager.get_task_progress(task_id)[0] == 1.0


async def test_a_function_in_a_thread_reports_its_own_progress() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("reports", lambda: current().report(0.25, "a quarter"))
    assert await manager.execute_task(task_id)
    assert manager.get_task_progress(task_id) == (1.0, "a quarter")


# ------------------------------------------------------------------------------------------------ the manager


def test_there_is_one_manager_and_with_a_limit_a_new_one() -> None:
    assert TaskManager() is TaskManager()
    one, other = TaskManager(max_concurrent_tasks=10), TaskManager(max_concurrent_tasks=10)
    assert one is not other
    assert one is not TaskManager()
    assert one.max_concurrent_tasks == 10
    assert "10 tasks" in repr(one)


async def test_a_manager_runs_no_more_tasks_at_once_than_it_may() -> None:
    manager = TaskManager(max_concurrent_tasks=2)
    now, most = 0, 0

    async def work() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await until(lambda: most >= 2)
        now -= 1

    ids = [manager.register_task("work", work) for _ in range(8)]
    for task_id in ids:
        await manager.execute_task(task_id, wait=False)
    assert not any([await manager.execute_task(task_id) for task_id in ids])
    assert manager.get_metrics()["completed_tasks"] == 8
    assert most == 2


async def test_the_limit_can_be_changed_while_tasks_wait() -> None:
    manager = TaskManager(max_concurrent_tasks=1)
    gates = [Gate(), Gate()]
    ids = [manager.register_task("gate", gate) for gate in gates]
    for task_id in ids:
        await manager.execute_task(task_id, wait=False)
    await until(gates[0].runs.is_set)
    assert not gates[1].runs.is_set()
    assert manager.get_task_status(ids[1]) is TaskStatus.PENDING
    manager.max_concurrent_tasks = 2
    await until(gates[1].runs.is_set)
    for gate, task_id in zip(gates, ids, strict=True):
        gate.may_end.set()
        await manager.execute_task(task_id)


async def test_the_most_urgent_goes_first() -> None:
    manager = TaskManager(max_concurrent_tasks=1)
    gate, order = Gate(), list[int]()
    blocker = manager.register_task("blocker", gate)
    await manager.execute_task(blocker, wait=False)
    await until(gate.runs.is_set)
    ids = [manager.register_task(one.name, order.append, one, priority=one) for one in TaskPriority]
    for task_id in ids:
        await manager.execute_task(task_id, wait=False)
    gate.may_end.set()
    for task_id in ids:
        await manager.execute_task(task_id)
    assert order == sorted(TaskPriority, reverse=True)


def test_priorities_are_those_of_the_runtime() -> None:
    assert [int(one) for one in TaskPriority] == [2, 3, 4, 5]
    assert TaskPriority.LOW < TaskPriority.NORMAL < TaskPriority.HIGH < TaskPriority.CRITICAL
    assert TaskPriority.CRITICAL == Priority.CRITICAL


async def test_a_task_shows_what_was_said_of_it_and_what_has_become_of_it() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task(
        "show", add, 1, args=(2,), description="d", tags=["t"], metadata={"m": 1}, priority=TaskPriority.LOW
    )
    task = manager.get_task(task_id)
    assert isinstance(task, Task)
    assert (task.id, task.name, task.description, task.tags) == (task_id, "show", "d", ("t",))
    assert dict(task.metadata) == {"m": 1}
    assert task.priority is TaskPriority.LOW
    assert (task.status, task.progress, task.result, task.error) == (
        TaskStatus.PENDING,
        (0.0, None),
        None,
        None,
    )
    assert await manager.execute_task(task_id)
    assert (task.status, task.progress, task.result, task.error) == (
        TaskStatus.COMPLETED,
        (1.0, None),
        3,
        None,
    )
    assert task_id in repr(task)
    assert task.args == ()  # they are not kept


async def test_metrics_count_every_status() -> None:
    manager = TaskManager(max_concurrent_tasks=1)
    gate = Gate()
    assert manager.get_metrics() == {
        "total_tasks": 0,
        "pending_tasks": 0,
        "waiting_tasks": 0,
        "running_tasks": 0,
        "completed_tasks": 0,
        "failed_tasks": 0,
        "cancelled_tasks": 0,
        "success_rate_percent": 0.0,
        "throughput_per_second": 0.0,
    }
    for func in (add, add, add, fail):
        await manager.execute_task(
            manager.register_task(func.__name__, func, args=() if func is fail else (1, 2))
        )
    await manager.cancel_task(manager.register_task("never", add, 1, 2))
    running = manager.register_task("running", gate)
    await manager.execute_task(running, wait=False)
    await until(gate.runs.is_set)
    manager.register_task("waiting", add, 1, 2, dependencies=[running])
    manager.register_task("pending", add, 1, 2)
    metrics = manager.get_metrics()
    assert metrics["throughput_per_second"] > 0
    assert metrics == {
        "total_tasks": 8,
        "pending_tasks": 1,
        "waiting_tasks": 1,
        "running_tasks": 1,
        "completed_tasks": 3,
        "failed_tasks": 1,
        "cancelled_tasks": 1,
        "success_rate_percent": 75.0,
        "throughput_per_second": metrics["throughput_per_second"],
    }
    gate.may_end.set()
    await manager.execute_task(running)


# -------------------------------------------------------------------------------------------------- executors


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("func", [add, add_async])
async def test_every_executor_takes_plain_and_async_functions(executor: str, func: Any) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    if executor == "thread_pool" and func is add_async:
        func = thread_name_async  # which has a loop of asyncio's there, whatever runs here
        task_id = manager.register_task("in a thread", func, executor_type=executor)
        assert await manager.execute_task(task_id)
        assert manager.get_task_result(task_id) != threading.current_thread().name
        return
    task_id = manager.register_task("add", func, 1, 2, kwargs={"times": 2}, executor_type=executor)
    assert await manager.execute_task(task_id)
    assert manager.get_task_result(task_id) == 6


async def here_async() -> str:
    await anyio.sleep(0)
    return threading.current_thread().name


@pytest.mark.parametrize(
    ("executor", "func", "is_here"),
    [
        ("sequential", thread_name, True),
        ("sequential", here_async, True),
        ("thread_pool", thread_name, False),
        ("thread_pool", thread_name_async, False),
        ("async", thread_name, False),
        ("async", here_async, True),
        (None, thread_name, False),
        (None, here_async, True),
    ],
)
async def test_an_executor_says_in_which_thread_a_function_runs(
    executor: str | None, func: Any, is_here: bool
) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("where", func, executor_type=executor)
    assert await manager.execute_task(task_id)
    assert (manager.get_task_result(task_id) == threading.current_thread().name) is is_here


@pytest.mark.parametrize("func", [thread_name, here_async])
async def test_sequential_tasks_run_one_at_a_time(func: Any) -> None:
    manager = TaskManager(max_concurrent_tasks=10)
    steps: list[str] = []

    async def two_steps(name: str) -> None:
        steps.append(name)
        await anyio.sleep(0)
        await anyio.sleep(0)
        steps.append(name)

    ids = [manager.register_task(name, two_steps, name, executor_type="sequential") for name in "abcdefgh"]
    for task_id in ids:
        await manager.execute_task(task_id, wait=False)
    for task_id in ids:
        await manager.execute_task(task_id)
    assert steps[::2] == steps[1::2]
    assert sorted(steps[::2]) == list("abcdefgh")


async def test_async_tasks_run_at_the_same_time() -> None:
    manager = TaskManager(max_concurrent_tasks=10)
    there = [anyio.Event() for _ in range(5)]

    async def meet(number: int) -> None:
        there[number].set()
        for event in there:
            await event.wait()

    ids = [manager.register_task("meet", meet, number) for number in range(5)]
    for task_id in ids[1:]:
        await manager.execute_task(task_id, wait=False)
    assert await manager.execute_task(ids[0])


async def test_tasks_in_threads_run_at_the_same_time() -> None:
    manager = TaskManager(max_concurrent_tasks=10)
    meet = threading.Barrier(5)
    ids = [manager.register_task("meet", meet.wait, 20) for _ in range(5)]
    for task_id in ids[1:]:
        await manager.execute_task(task_id, wait=False)
    assert await manager.execute_task(ids[0])


@pytest.mark.parametrize("executor", ["sequential", "async"])
async def test_what_depends_on_a_cancelled_task_never_runs_however_the_threads_take_turns(
    executor: str,
) -> None:
    ends: list[TaskStatus] = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(200):
            manager, runs = TaskManager(max_concurrent_tasks=3), anyio.Event()

            async def wait(runs: anyio.Event = runs) -> None:
                runs.set()
                await anyio.sleep_forever()

            slow = manager.register_task("slow", wait, executor_type=executor)
            after = manager.register_task("after", add, 1, 2, dependencies=[slow])
            await manager.execute_task(after, wait=False)
            await runs.wait()
            assert await manager.cancel_task(slow)
            await manager.execute_task(after)
            ends.append(manager.get_task_status(after))
    finally:
        sys.setswitchinterval(before)
    assert set(ends) == {TaskStatus.CANCELLED}


@pytest.mark.parametrize("kind", [SequentialExecutor, ThreadPoolExecutor, AsyncExecutor])
async def test_an_executor_is_usable_by_itself(kind: type[Executor]) -> None:
    executor = kind()
    assert await executor.execute(Task("by hand", add, 1, 2)) == 3
    manager = TaskManager(max_concurrent_tasks=3)
    task = manager.get_task(manager.register_task("registered", add, 1, 2))
    assert await executor.execute(task) == 3
    assert task.status is TaskStatus.COMPLETED
    assert await executor.execute(task) == 3  # it does not run again
    with pytest.raises(ValueError, match="broken"):
        await executor.execute(Task("broken", fail))
    with pytest.raises(TaskArgumentError, match=r"task='manager-1' is of type str; give a Task"):
        wrong: Any = "manager-1"
        await executor.execute(wrong)


@pytest.mark.parametrize("kind", [SequentialExecutor, ThreadPoolExecutor, AsyncExecutor])
@pytest.mark.parametrize("instance", [False, True])
async def test_an_executor_may_be_the_executor_type(kind: Any, instance: bool) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    executor = kind() if instance else kind
    task_id = manager.register_task("add", add, 1, 2, executor_type=executor)
    assert await manager.execute_task(task_id)
    assert manager.get_task_result(task_id) == 3


class Timed(Executor):
    """An executor of somebody's own."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def execute(self, task: Task) -> Any:
        self.seen.append(task.name)
        return "mine", task.func(*task.args, **task.kwargs)


class Around(AsyncExecutor):
    async def execute(self, task: Task) -> Any:
        return "around", await super().execute(task)


class AroundThreads(ThreadPoolExecutor):
    async def execute(self, task: Task) -> Any:
        return "around", await super().execute(task)


async def test_an_executor_of_ones_own_runs_tasks_in_the_loop_of_the_caller() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    timed = Timed()
    task_id = manager.register_task("mine", thread_name, executor_type=timed)
    assert await manager.execute_task(task_id)
    assert manager.get_task_result(task_id) == ("mine", threading.current_thread().name)
    assert timed.seen == ["mine"]


@pytest.mark.parametrize("kind", [Around, AroundThreads])
@pytest.mark.parametrize("func", [add, add_async])
async def test_an_executor_may_do_something_around_a_built_in_one(kind: Any, func: Any) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    if kind is AroundThreads and func is add_async:
        func = functools.partial(add, times=1)  # anyio in a thread of its own is asyncio's
    task_id = manager.register_task("around", func, 1, 2, executor_type=kind)
    assert await manager.execute_task(task_id)
    assert manager.get_task_result(task_id) == ("around", 3)


def test_an_executor_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Executor()  # type: ignore[abstract]


async def test_an_executor_with_a_limit_keeps_it() -> None:
    manager = TaskManager(max_concurrent_tasks=10)
    executor = ThreadPoolExecutor(max_workers=1)
    gates = [Gate(), Gate()]
    ids = [manager.register_task("gate", gate, executor_type=executor) for gate in gates]
    for task_id in ids:
        await manager.execute_task(task_id, wait=False)
    await until(gates[0].runs.is_set)
    assert not gates[1].runs.is_set()
    for gate, task_id in zip(gates, ids, strict=True):
        gate.may_end.set()
        await manager.execute_task(task_id)
    assert repr(executor) == "ThreadPoolExecutor(max_workers=1)"


async def test_a_task_executes_another_one_under_a_limit_of_one() -> None:
    manager = TaskManager(max_concurrent_tasks=1)
    inner = manager.register_task("inner", add_async, 1, 2, executor_type="sequential")

    async def outer() -> Any:
        assert await manager.execute_task(inner)
        return manager.get_task_result(inner)

    for executor in ("async", "sequential"):
        inner = manager.register_task("inner", add_async, 1, 2, executor_type=executor)
        outer_id = manager.register_task("outer", outer, executor_type=executor)
        assert await manager.execute_task(outer_id)
        assert manager.get_task_result(outer_id) == 3


async def test_tasks_that_wait_for_each_other_hear_of_the_deadlock() -> None:
    manager = TaskManager(max_concurrent_tasks=10)

    async def wait_for(other: str) -> str:
        try:
            await manager.execute_task(other)
        except DeadlockError as error:
            return str(error)
        return "waited"

    ids = [
        manager.register_task(name, wait_for, other, task_id=f"{name} of {id(manager)}")
        for name, other in (
            ("a", f"b of {id(manager)}"),
            ("b", f"a of {id(manager)}"),
            ("c", f"c of {id(manager)}"),
        )
    ]
    assert await manager.execute_task(ids[0])
    assert await manager.execute_task(ids[2])
    results = [str(manager.get_task_result(task_id)) for task_id in ids]
    assert sorted(result == "waited" for result in results[:2]) == [False, True]
    assert "own end" in results[2]


# ------------------------------------------------------------------------------- what goes wrong, and ends


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_a_task_is_tried_again_as_often_as_it_may(executor: str) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    tries: list[int] = []

    def flaky() -> int:
        tries.append(len(tries))
        if len(tries) < 3:
            raise OSError(f"try {len(tries)}")
        return len(tries)

    task_id = manager.register_task("flaky", flaky, max_retries=2, retry_delay=0, executor_type=executor)
    assert await manager.execute_task(task_id)
    assert manager.get_task_result(task_id) == 3
    tries.clear()
    task_id = manager.register_task("flaky", flaky, max_retries=1, retry_delay=0, executor_type=executor)
    assert not await manager.execute_task(task_id)
    assert len(tries) == 2
    assert str(manager.get_task_error(task_id)) == "try 2"


def test_the_wait_before_each_retry_is_the_same() -> None:
    task = Task("again", add, 1, 2, max_retries=3, retry_delay="1 s")
    retry = task._options.retry
    assert (retry.attempts, retry.delay, retry.backoff, retry.jitter) == (4, 1.0, 1.0, False)


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_a_failure_is_not_raised_but_told(executor: str) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("broken", fail, executor_type=executor)
    assert not await manager.execute_task(task_id)
    assert manager.get_task_status(task_id) is TaskStatus.FAILED
    error = manager.get_task_error(task_id)
    assert isinstance(error, ValueError)
    with pytest.raises(TaskExecutionError, match="ValueError: broken") as raised:
        manager.get_task_result(task_id)
    assert raised.value.__cause__ is error
    assert raised.value.task_id == task_id


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_a_timeout_settles_the_task_at_once(executor: str) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    gate = Gate()
    func = gate if executor == "thread_pool" else gate.wait
    task_id = manager.register_task("slow", func, timeout="20ms", executor_type=executor)
    assert not await manager.execute_task(task_id)
    assert manager.get_task_status(task_id) is TaskStatus.FAILED
    assert isinstance(manager.get_task_error(task_id), TaskTimeoutError)
    with pytest.raises(TimeoutError, match="no result"):
        manager.get_task_result(task_id)
    gate.may_end.set()
    await until(gate.left.is_set)


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_a_cancelled_task_has_stopped(executor: str) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    gate = Gate()
    func = gate if executor == "thread_pool" else gate.wait
    task_id = manager.register_task("slow", func, executor_type=executor)
    after = manager.register_task("after", add, 1, 2, dependencies=[task_id])
    await manager.execute_task(after, wait=False)
    await until(gate.runs.is_set)
    assert manager.get_task_status(task_id) is TaskStatus.RUNNING
    assert manager.get_task_status(after) is TaskStatus.WAITING
    assert await manager.cancel_task(task_id, "nobody needs it")
    assert gate.left.is_set() or executor == "thread_pool"
    assert manager.get_task_status(task_id) is TaskStatus.CANCELLED
    assert isinstance(manager.get_task_error(task_id), TaskCancelledError)
    with pytest.raises(TaskCancelledError, match="nobody needs it"):
        manager.get_task_result(task_id)
    await manager.execute_task(after)
    assert manager.get_task_status(after) is TaskStatus.CANCELLED
    assert not await manager.cancel_task(task_id)
    gate.may_end.set()
    await until(gate.left.is_set)


async def test_an_async_function_in_a_thread_of_its_own_is_cancelled_there() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    runs, left = threading.Event(), threading.Event()

    async def forever() -> None:
        runs.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    task_id = manager.register_task("forever", forever, executor_type="thread_pool")
    await manager.execute_task(task_id, wait=False)
    await until(runs.is_set)
    assert await manager.cancel_task(task_id)
    assert left.is_set()


async def test_a_plain_function_that_looks_stops_when_it_is_cancelled() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    runs, left = threading.Event(), threading.Event()

    def looks() -> None:
        try:
            while True:
                runs.set()
                checkpoint()
        finally:
            left.set()

    task_id = manager.register_task("looks", looks)
    await manager.execute_task(task_id, wait=False)
    await until(runs.is_set)
    assert await manager.cancel_task(task_id)
    await until(left.is_set)


async def test_what_goes_on_after_its_end_is_dropped_and_named(caplog: pytest.LogCaptureFixture) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    runs, may_end, over = anyio.Event(), anyio.Event(), anyio.Event()

    async def stubborn() -> str:
        runs.set()
        try:
            await may_end.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await may_end.wait()
        over.set()
        return "too late"

    task_id = manager.register_task("stubborn", stubborn)
    await manager.execute_task(task_id, wait=False)
    await runs.wait()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(manager.cancel_task, task_id)
        await until(lambda: manager.get_task_status(task_id) is TaskStatus.CANCELLED)
        may_end.set()
    await over.wait()
    assert isinstance(manager.get_task_error(task_id), TaskCancelledError)
    await until(lambda: "went on after it had been stopped; what came of it is dropped: str" in caplog.text)


async def test_a_task_that_cancels_itself_does_not_wait_for_itself() -> None:
    manager = TaskManager(max_concurrent_tasks=3)

    async def cancels_itself() -> None:
        assert await manager.cancel_task(own)

    own = manager.register_task("itself", cancels_itself)
    assert not await manager.execute_task(own)
    assert manager.get_task_status(own) is TaskStatus.CANCELLED


async def test_a_registered_task_may_be_cancelled_and_then_never_runs() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("never", fail)
    assert await manager.cancel_task(task_id)
    assert not await manager.execute_task(task_id)
    assert manager.get_task_status(task_id) is TaskStatus.CANCELLED


async def test_what_depends_on_a_failed_task_fails_without_running() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    broken = manager.register_task("broken", fail)
    after = manager.register_task("after", add, 1, 2, dependencies=[broken])
    assert not await manager.execute_task(after)
    assert manager.get_task_status(after) is TaskStatus.FAILED
    assert isinstance(manager.get_task_error(after), TaskDependencyError)
    with pytest.raises(TaskDependencyError, match="broken"):
        manager.get_task_result(after)


async def test_whoever_stops_waiting_leaves_the_task_alone() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    gate = Gate()
    task_id = manager.register_task("slow", gate)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.execute_task, task_id)
            await until(gate.runs.is_set)
            scope.cancel()
    assert manager.get_task_status(task_id) is TaskStatus.RUNNING
    gate.may_end.set()
    assert not await manager.execute_task(task_id)
    assert manager.get_task_result(task_id) == "through"


async def test_a_task_that_is_cleaned_up_is_not_known_any_more() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("gone", add, 1, 2)
    task = manager.get_task(task_id)
    assert manager.cleanup_task(task_id)
    assert task.status is TaskStatus.CANCELLED
    with pytest.raises(TaskNotFoundError, match=task_id):
        manager.get_task(task_id)


# -------------------------------------------------------------------------------------------------- bad input


NOTHING: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"func": 3}, "func=3 of task 'x' is no function; give one"),
        ({"name": 3}, "name=3 is of type int"),
        ({"args": (1, 2, 3)}, "does not take these arguments: too many positional arguments"),
        ({"args": (1,)}, "does not take these arguments: missing a required argument: 'right'"),
        ({"kwargs": {"tims": 2}}, "does not take these arguments: got an unexpected keyword argument 'tims'"),
        ({"name": None}, "name=None is no text"),
        ({"name": " "}, "name=' ' is empty"),
        ({"args": "text"}, "args='text' is no tuple"),
        ({"args": 3}, "args=3 is no tuple"),
        ({"kwargs": [1]}, r"kwargs=\[1\] is of type list"),
        ({"priority": 99}, "priority=99 is none; choose from TaskPriority.LOW"),
        ({"priority": "high"}, "priority='high' is none"),
        ({"max_retries": -1}, "max_retries=-1 is less than 0"),
        ({"max_retries": 1.5}, "max_retries=1.5 is of type float"),
        ({"retry_delay": "soon"}, "retry_delay='soon'"),
        ({"retry_delay": -1}, "retry_delay=-1 is negative"),
        ({"timeout": 0}, "timeout=0 is no time at all"),
        ({"timeout": -5}, "timeout=-5 is negative"),
        ({"timeout": math.inf}, "timeout=inf is not finite"),
        ({"timeout": "later"}, "timeout='later'"),
        ({"description": 3}, "description=3 is of type int"),
        ({"tags": "text"}, "tags='text' is of type str"),
        ({"metadata": 3}, "metadata=3 is of type int"),
        ({"executor_type": "gpu"}, "executor_type='gpu' is no executor; choose from 'sequential'"),
        ({"executor_type": int}, "executor_type=.*int.* is no executor"),
        ({"executor_type": Executor}, "cannot be made without arguments"),
        ({"task_id": 3}, "task_id=3 is no id"),
        ({"task_id": ""}, "task_id='' is no id"),
        ({"dependencies": "manager-1"}, "dependencies='manager-1' is no list"),
        ({"dependencies": 3}, "dependencies=3 is no list"),
        ({"dependencies": [3]}, "dependencies has 3 of type int"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_argument_is_refused_at_the_call(arguments: dict[str, Any], words: str) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    with pytest.raises(TaskArgumentError, match=words):
        manager.register_task(**{"name": "x", "func": add, "args": (1, 2), **arguments})
    assert manager.get_metrics()["total_tasks"] == 0
    assert issubclass(TaskArgumentError, TaskError)


@pytest.mark.parametrize("number", [0, -1, 1.5, "ten", True])
def test_a_limit_that_is_none_is_refused(number: Any) -> None:
    with pytest.raises(TaskArgumentError, match="max_concurrent_tasks="):
        TaskManager(max_concurrent_tasks=number)
    manager = TaskManager(max_concurrent_tasks=3)
    with pytest.raises(TaskArgumentError, match="max_concurrent_tasks="):
        manager.max_concurrent_tasks = number
    with pytest.raises(TaskArgumentError, match="max_workers="):
        ThreadPoolExecutor(max_workers=number)


def test_an_async_generator_is_refused() -> None:
    async def generate() -> Any:
        yield 1

    with pytest.raises(TaskArgumentError, match="async generator"):
        TaskManager().register_task("x", generate)


def test_an_executor_that_needs_arguments_is_to_be_given_as_an_instance() -> None:
    class Needs(Timed):
        def __init__(self, what: str) -> None:
            super().__init__()

    with pytest.raises(TaskArgumentError, match="give an instance"):
        TaskManager().register_task("x", add, 1, 2, executor_type=Needs)


async def test_an_unknown_id_is_refused_by_everything() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    for ask in (
        manager.get_task,
        manager.get_task_result,
        manager.get_task_status,
        manager.get_task_error,
        manager.get_task_progress,
        manager.cleanup_task,
        lambda task_id: manager.update_task_progress(task_id, 0.5),
    ):
        with pytest.raises(TaskNotFoundError, match="'nobody'; it never existed"):
            ask("nobody")
        with pytest.raises(TaskArgumentError, match="give the str"):
            ask(3)  # type: ignore[operator]
    with pytest.raises(TaskNotFoundError):
        await manager.execute_task("nobody")
    with pytest.raises(LookupError):
        await manager.cancel_task("nobody")


def test_a_dependency_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TaskDependencyError, match="'nobody'.* register what a task depends on before"):
        TaskManager().register_task("x", add, 1, 2, dependencies=["nobody"])
    with pytest.raises(TaskNotFoundError):
        TaskManager().register_task("x", add, 1, 2, dependencies=["nobody"])


def test_a_task_that_depends_on_itself_is_refused() -> None:
    with pytest.raises(TaskDependencyError, match="circle"):
        TaskManager().register_task("x", add, 1, 2, task_id="me", dependencies=["me"])


def test_an_id_is_registered_only_once() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    assert manager.register_task("x", add, 1, 2, task_id="only once") == "only once"
    with pytest.raises(TaskArgumentError, match="'only once' is registered already"):
        manager.register_task("x", add, 1, 2, task_id="only once")
    assert manager.cleanup_task("only once")


@pytest.mark.parametrize("progress", [-0.1, 1.1, "half", True, math.nan])
def test_progress_that_is_no_fraction_is_refused(progress: Any) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("x", add, 1, 2)
    with pytest.raises(TaskArgumentError, match="progress="):
        manager.update_task_progress(task_id, progress)
    with pytest.raises(TaskArgumentError, match="message="):
        manager.update_task_progress(task_id, 0.5, 3)
    assert manager.get_task_progress(task_id) == (0.0, None)


async def test_a_reason_that_is_no_text_is_refused() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("x", add, 1, 2)
    with pytest.raises(TaskArgumentError, match="reason="):
        await manager.cancel_task(task_id, 3)
    assert manager.get_task_status(task_id) is TaskStatus.PENDING


def test_to_execute_outside_of_any_loop_is_refused() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    coroutine = manager.execute_task(manager.register_task("x", add, 1, 2))
    with pytest.raises(RuntimeError, match="no event loop"):
        coroutine.send(None)


def test_all_errors_are_of_one_family() -> None:
    kinds = [getattr(front, name) for name in front.__all__ if name.endswith("Error")]
    assert len(kinds) == 8
    for kind in kinds:
        assert issubclass(kind, TaskError)
        assert issubclass(kind, ActorschedError)


# -------------------------------------------------------------------------------------- together with others


async def test_tasks_of_several_managers_depend_on_each_other() -> None:
    one, other = TaskManager(max_concurrent_tasks=1), TaskManager(max_concurrent_tasks=1)
    first = one.register_task("first", add, 1, 2)
    second = other.register_task("second", add, 3, 4, dependencies=[first])
    third = one.register_task("third", add, 5, 6, dependencies=[second])
    assert await one.execute_task(third)
    assert other.get_task_result(first) == 3
    assert one.get_task_result(second) == 7
    assert other.get_metrics()["total_tasks"] == 1


async def test_tasks_of_the_bridge_are_seen_awaited_and_depended_on() -> None:
    from actorsched.frontends.bridge import task_bridge

    manager = TaskManager(max_concurrent_tasks=3)
    foreign = task_bridge.register_task("foreign", add, (1, 2), description="d", tags=["t"])
    task = manager.get_task(foreign)
    assert (task.id, task.name, task.status) == (foreign, "foreign", TaskStatus.PENDING)
    mine = manager.register_task("mine", add, 3, 4, dependencies=[foreign])
    await manager.execute_task(mine, wait=False)
    assert manager.get_task_status(mine) is TaskStatus.WAITING
    task_bridge.start_task(foreign)
    await manager.execute_task(foreign)
    await manager.execute_task(mine)
    assert manager.get_task_result(foreign) == 3
    assert (task.result, task.error, task.progress) == (3, None, (1.0, None))
    assert manager.get_task_result(mine) == 7
    assert task_bridge.get_task_status(mine) is TaskStatus.COMPLETED
    assert task.description == "d"
    by_hand = task_bridge.register_task("by hand")
    assert await manager.cancel_task(by_hand)
    assert task_bridge.get_task_status(by_hand) is TaskStatus.CANCELLED


def test_several_threads_use_one_manager_at_once() -> None:
    manager = TaskManager(max_concurrent_tasks=4)
    ends: list[str] = []

    async def use(number: int) -> int:
        names = ["sequential", "thread_pool", "async", None]
        last: list[str] = []
        ids: list[str] = []
        for executor in names * 5:
            last = [
                manager.register_task("add", add_async, number, 1, executor_type=executor, dependencies=last)
            ]
            ids += last
        await manager.execute_task(last[0])
        ends.extend(ids)
        return sum(manager.get_task_result(task_id) for task_id in ids)

    with Threads(6) as threads:
        sums = list(threads.map(lambda number: asyncio.run(use(number)), range(6)))
    assert sums == [20 * (number + 1) for number in range(6)]
    assert manager.get_metrics()["completed_tasks"] == len(ends) == 120


def test_a_sequential_task_runs_in_the_thread_that_executes_it() -> None:
    manager = TaskManager(max_concurrent_tasks=4)

    async def where() -> tuple[int, Any]:
        task_id = manager.register_task("where", threading.get_ident, executor_type="sequential")
        await manager.execute_task(task_id)
        return threading.get_ident(), manager.get_task_result(task_id)

    with Threads(3) as threads:
        for here, there in threads.map(lambda _: asyncio.run(where()), range(6)):
            assert here == there


async def test_all_goes_on_after_the_shared_runtime_was_stopped() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    before = manager.register_task("before", add, 1, 2)
    after = manager.register_task("after", add_async, 3, 4, dependencies=[before])
    assert await manager.execute_task(before)
    await anyio.to_thread.run_sync(SHARED.stop)
    assert manager.get_task_result(before) == 3
    assert await manager.execute_task(after)
    assert manager.get_task_result(after) == 7


async def test_a_manager_works_beside_a_runtime_of_ones_own() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    async with actorsched.Runtime() as rt:
        task_id = manager.register_task("mine", add_async, 1, 2)
        assert await rt.run(manager.execute_task, task_id)
        assert manager.get_task_result(task_id) == 3


async def test_a_task_of_the_shared_runtime_itself_may_execute_tasks() -> None:
    from actorsched.frontends.bridge import task_bridge

    manager = TaskManager(max_concurrent_tasks=1)
    inner = manager.register_task("inner", add_async, 1, 2)
    outer = task_bridge.register_task("outer", manager.execute_task, (inner,))
    task_bridge.start_task(outer)
    await manager.execute_task(outer)
    assert manager.get_task_result(outer) is True
    assert manager.get_task_result(inner) == 3


# -------------------------------------------------------------------------------------- loops that end


def test_a_task_whose_loop_ends_fails_and_says_so() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    gate = Gate()

    async def main() -> str:
        task_id = manager.register_task("cut short", gate.wait, max_retries=3)
        await manager.execute_task(task_id, wait=False)
        await until(gate.runs.is_set)
        return task_id

    for run in (asyncio.run, anyio.run):
        gate.runs.clear()
        task_id = run(main()) if run is asyncio.run else run(main, backend="trio")  # type: ignore[operator]
        error = manager.get_task_error(task_id)
        assert isinstance(error, TaskExecutionError)
        assert "the event loop in which it was executed has ended" in str(error)


def test_a_task_that_never_began_in_its_loop_fails_when_that_is_closed() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    gate = Gate()
    loop = asyncio.new_event_loop()
    first = manager.register_task("first", gate)
    second = manager.register_task("second", add_async, 1, 2, dependencies=[first])
    loop.run_until_complete(manager.execute_task(second, wait=False))
    loop.close()
    gate.may_end.set()
    third = manager.register_task("third", add, 5, 6, dependencies=[second])
    assert not asyncio.run(manager.execute_task(third))
    assert "has ended" in str(manager.get_task_error(second))


def test_a_task_that_is_left_in_a_closed_loop_fails() -> None:
    manager = TaskManager(max_concurrent_tasks=3)

    async def forever() -> None:
        runs.set()
        await asyncio.Event().wait()

    runs = asyncio.Event()
    loop = asyncio.new_event_loop()
    left = manager.register_task("left", forever)
    loop.run_until_complete(manager.execute_task(left, wait=False))
    loop.run_until_complete(runs.wait())
    pending = asyncio.all_tasks(loop)
    loop.close()
    assert not asyncio.run(manager.execute_task(left))
    assert "has ended" in str(manager.get_task_error(left))
    for task in pending:  # asyncio would complain of it
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]

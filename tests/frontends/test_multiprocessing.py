"""The front end `multiprocessing`: tasks and chains in worker processes."""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from actorsched import (
    ActorschedError,
    DeadlockError,
    DependencyCycle,
    DependencyFailed,
    HostDied,
    TaskCancelled,
    exceptions,
)
from actorsched.frontends import multiprocessing as frontend
from actorsched.frontends._jobs import Job, find
from actorsched.frontends._shared import SHARED
from actorsched.frontends.multiprocessing import (
    AlreadyPushed,
    ChainError,
    ChainTooLong,
    CircularDependency,
    CoreMultiprocessing,
    InvalidArgument,
    NotPushed,
    Priority,
    ProcessCompositor,
    ResultTimeout,
    Task,
    TaskChain,
    TaskScheduler,
    TaskSchedulingError,
    UnknownDependency,
    Worker,
    WorkerState,
)
from tests.commands import run, running
from tests.host_help import Fifo, alive, kill

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.process, pytest.mark.deadline(60)]

EXAMPLES = """
import asyncio
import os

from actorsched.frontends.multiprocessing import CoreMultiprocessing, Task, TaskChain


def area(width, height, margin=0):
    return (width + margin) * (height + margin)


def measure():
    return 20


def describe(result):
    return f"{result} metres"


async def fetch():
    await asyncio.sleep(0)
    return os.getpid()


one = Task("one", area, args=(2, 3), kwargs={"margin": 1})
CoreMultiprocessing.push_task(one)
print(one.get())

first = Task("first", measure)
second = Task("second", describe, arg_deps=["result"])
chain = TaskChain(first, second)
CoreMultiprocessing.push_chain(chain)
print(chain.get())

later = Task("later", fetch)
CoreMultiprocessing.push_task(later)
print(later.get() != os.getpid())
"""


def double(number: int) -> int:
    return 2 * number


def add(left: int, right: int, *, extra: int = 0) -> int:
    return left + right + extra


def one() -> int:
    return 1


def pid(*results: object) -> int:
    return os.getpid()


async def pid_async() -> int:
    await anyio.lowlevel.checkpoint()
    return os.getpid()


async def add_async(left: int, right: int) -> int:
    await anyio.lowlevel.checkpoint()
    return left + right


def fail(what: str = "it broke") -> None:
    raise KeyError(what)


def read(fifo: str) -> int:
    """Wait for one word from a pipe."""
    with Path(fifo).open("rb", buffering=0) as pipe:
        pipe.read(1)
    return os.getpid()


def tell_and_read(told: str, fifo: str) -> int:
    with Path(told).open("wb", buffering=0) as pipe:
        pipe.write(b".")
    return read(fifo)


def write_line(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


def log_something() -> None:
    logging.getLogger("work").warning("from the process")


@pytest.fixture(autouse=True)
def a_compositor_of_its_own() -> None:
    TaskScheduler().compositor = ProcessCompositor(max_workers=2, cpu_limit=100)


def pushed(name: str, fn: Callable[..., Any], *args: Any, **options: Any) -> Task:
    task = Task(name, fn, args, **options)
    CoreMultiprocessing.push_task(task)
    return task


def pushed_chain(*tasks: Task) -> TaskChain:
    chain = TaskChain(*tasks)
    CoreMultiprocessing.push_chain(chain)
    return chain


def workers() -> tuple[Worker, ...]:
    return TaskScheduler().compositor.workers


def wait_until_told(fifo: Fifo) -> None:
    anyio.run(fifo.told)


class Heard:
    """Waits, in the test's thread, for events of the shared runtime."""

    def __init__(self, *kinds: Any, count: int = 1) -> None:
        self._left = count
        self._over = threading.Event()
        SHARED.call(self._listen, kinds)

    def _listen(self, runtime: Any, kinds: Any) -> None:
        runtime.subscribe(kinds, self._hear)

    def _hear(self, event: object) -> None:
        self._left -= 1
        if not self._left:
            self._over.set()

    def wait(self) -> None:
        assert self._over.wait(20)


# --------------------------------------------------------------------------------------- as it is documented


def test_the_examples_of_the_document_run_as_a_plain_script() -> None:
    answer = run(code=EXAMPLES)
    assert (answer.code, answer.complaints) == (0, "")
    assert answer.lines == ["12", "20 metres", "True"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"], indirect=True)
async def test_the_same_calls_work_beside_a_running_loop() -> None:
    task, chain = Task("sum", add, (1, 2)), TaskChain(Task("one", one), Task("two", double))
    CoreMultiprocessing.push_task(task)
    CoreMultiprocessing.push_chain(chain)
    assert await task == 3
    assert await anyio.to_thread.run_sync(chain.get) == 2
    assert task.get() == 3


def test_a_task_gets_its_positional_and_named_arguments() -> None:
    assert pushed("sum", add, 1, 2, kwargs={"extra": 3}).get() == 6
    listed = Task("listed", add, [1, 2])
    CoreMultiprocessing.push_task(listed)
    assert listed.get() == 3


def test_plain_and_async_functions_run_in_processes_of_two_pools() -> None:
    plain, asynchronous = pushed("plain", pid), pushed("async", pid_async)
    pids = [plain.get(), asynchronous.get()]
    assert os.getpid() not in pids
    assert [(worker.kind, worker.pid) for worker in workers()] == [("sync", pids[0]), ("async", pids[1])]
    assert pushed("partly", functools.partial(pid_async)).get() == pids[1]
    assert pushed("partly", functools.partial(add_async, 1), 2).get() == 3


def test_functions_of_a_script_and_lambdas_travel() -> None:
    assert pushed("lambda", lambda number: number + 1, 1).get() == 2


def test_whatever_a_function_raises_is_raised_by_get_as_often_as_it_is_asked() -> None:
    task = pushed("failing", fail, "lost")
    for _ in range(2):
        with pytest.raises(KeyError, match="lost") as caught:
            task.get()
    assert "in fail" in str(caught.value.__cause__), "the traceback of the process comes with it"
    assert pushed("next", double, 2).get() == 4, "it is contained"


# ----------------------------------------------------------------------------------------------- dependencies


def test_results_of_dependencies_come_first_among_the_arguments_in_order() -> None:
    left, right = pushed("left", double, 5), pushed("right", double, 1)
    assert pushed("minus", lambda a, b, c: (a, b, c), 7, dependencies=(left, right)).get() == (10, 2, 7)


def test_arg_deps_name_the_parameters_for_the_predecessor_then_the_dependencies() -> None:
    other = pushed("other", double, 50)
    first = Task("first", one)
    second = Task("second", _named, (0,), arg_deps=["before", "beside"], dependencies=[other])
    assert pushed_chain(first, second).get() == {"own": 0, "before": 1, "beside": 100}
    fewer = Task("fewer", _three, ("own",), arg_deps=["last"], dependencies=[pushed("b", double, 2)])
    assert pushed_chain(Task("a", one), fewer).get() == (4, "own", 1)


def _named(own: int, *, before: int, beside: int) -> dict[str, int]:
    return {"own": own, "before": before, "beside": beside}


def _three(first: object, second: object, last: object) -> tuple[object, ...]:
    return first, second, last


def test_what_is_not_pushed_yet_is_waited_for() -> None:
    first = Task("first", one)
    second = pushed("second", double, dependencies=(first,))
    with pytest.raises(ResultTimeout):
        second.get("1ms")
    CoreMultiprocessing.push_task(first)
    assert second.get() == 2


def test_dependencies_may_be_given_by_id_and_be_of_any_front_end() -> None:
    job = Job(None, "by hand")
    job.keep()
    task = pushed("after", double, dependencies=[job.id])
    assert find(task.id) is task._job
    job.complete(21)
    assert task.get() == 42
    assert pushed("again", double, dependencies=[task.id]).get() == 84


def test_what_depends_on_a_failure_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "ran"
    task = pushed("after", write_line, str(path), dependencies=(pushed("failing", fail),))
    with pytest.raises(DependencyFailed, match="'after' was not run, because 'failing'") as caught:
        task.get()
    assert isinstance(caught.value.__cause__, KeyError)
    assert not path.exists()


# ----------------------------------------------------------------------------------------------------- chains


def test_a_chain_hands_results_on_and_knows_its_neighbours() -> None:
    a, b, c = Task("a", one), Task("b", double), Task("c", double)
    beside = Task("beside", double, dependencies=(b,))
    chain = pushed_chain(a, b, c)
    assert chain.get() == 4
    assert (a.predecessors, b.predecessors, c.predecessors) == ((), (a,), (b,))
    assert (a.successors, b.successors, c.successors) == ((b,), (c, beside), ())
    assert beside.predecessors == (b,)
    assert (len(chain), list(chain), b.get()) == (3, [a, b, c], 2)


def test_a_chain_may_have_fifteen_tasks_and_no_more() -> None:
    tasks = [Task("0", one), *(Task(str(n), double) for n in range(1, 15))]
    assert pushed_chain(*tasks).get() == 2**14
    with pytest.raises(ChainTooLong, match="of 16 tasks is too long, 15 are allowed") as caught:
        TaskChain(*(Task(str(n), one) for n in range(16)))
    assert isinstance(caught.value, (exceptions.ChainTooLong, ActorschedError))
    assert (caught.value.length, caught.value.limit) == (16, 15)


def test_a_broken_chain_raises_what_broke_it(tmp_path: Path) -> None:
    path = tmp_path / "ran"
    middle, last = Task("b", fail, kwargs={}), Task("c", write_line, (str(path),))
    chain = pushed_chain(Task("a", lambda: "gone"), middle, last)
    with pytest.raises(KeyError, match="gone"):
        chain.get()
    with pytest.raises(KeyError, match="gone"):
        middle.get()
    with pytest.raises(DependencyFailed):
        last.get()
    assert not path.exists()


def test_plain_and_async_functions_mix_in_a_chain() -> None:
    chain = pushed_chain(Task("a", one), Task("b", add_async, (2,)), Task("c", double))
    assert chain.get() == 6


# ------------------------------------------------------------------------------------------- waiting and time


def test_get_gives_up_waiting_and_not_the_task(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        task = pushed("slow", read, go.path)
        chain = pushed_chain(Task("a", read, (go.path,)), Task("b", pid))
        with pytest.raises(ResultTimeout, match="task 'slow' has no result after '1ms'.*it goes on"):
            task.get(timeout="1ms")
        with pytest.raises(ResultTimeout, match="after 0.001 s: task 'b' is waiting for 'a'; it goes on"):
            chain.get(0.001)
        go.tell()
        go.tell()
        assert task.get("1m") in [worker.pid for worker in workers()]
        chain.get()


def test_a_task_that_runs_too_long_is_stopped(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        task = pushed("slow", read, go.path, timeout="50 ms")
        with pytest.raises(exceptions.TaskTimeout, match="slow"):
            task.get()
        assert pushed("next", one).get() == 1


def test_a_task_can_be_cancelled(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        task = pushed("slow", read, go.path)
        assert task.cancel("enough")
        assert not task.cancel()
        with pytest.raises(TaskCancelled, match="enough"):
            task.get()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1m30s", 90), ("30 sec", 30), ("5 minutes", 300), ("1h 30m", 5400), ("250ms", 0.25), (2.5, 2.5)],
)
def test_durations_are_read_as_people_write_them(text: str, expected: float) -> None:
    assert ProcessCompositor.seconds(text) == expected
    assert ProcessCompositor(idle_timeout=text).idle_timeout == expected


# ---------------------------------------------------------------------------------------------- in what order


def test_the_most_urgent_begins_first_and_priorities_may_change_while_it_waits(tmp_path: Path) -> None:
    TaskScheduler().compositor = ProcessCompositor(max_workers=1, cpu_limit=100)
    log = str(tmp_path / "log")
    with Fifo(tmp_path) as go, Fifo(tmp_path, "told") as told:
        first = pushed("first", tell_and_read, told.path, go.path, priority=Priority.REALTIME)
        wait_until_told(told)
        names = ["low", "normal", "high", "risen"]
        levels = [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.IDLE]
        tasks = [
            pushed(name, write_line, log, name, priority=level)
            for name, level in zip(names, levels, strict=True)
        ]
        tasks[3].priority = Priority.CRITICAL
        assert tasks[3].priority == Priority.CRITICAL
        go.tell()
        first.get()
        for task in tasks:
            task.get()
    assert Path(log).read_text().split() == ["risen", "high", "normal", "low"]


def test_priorities_may_be_assigned_before_it_is_pushed() -> None:
    task = Task("one", one)
    assert task.priority == Priority.NORMAL
    task.priority = 7
    CoreMultiprocessing.push_task(task)
    assert (task.get(), task.priority) == (1, 7)
    with pytest.raises(InvalidArgument, match="task 'one': priority='high' is of type str"):
        task.priority = "high"  # type: ignore[assignment]


def test_the_priority_of_a_task_that_has_settled_changes_nothing() -> None:
    task = pushed("one", one)
    task.get()
    task.priority = Priority.HIGH
    assert (task.get(), task.priority) == (1, Priority.HIGH)
    SHARED.stop()
    task.priority = Priority.LOW
    assert task.get() == 1


def test_waiting_tasks_age_one_level_every_five_seconds() -> None:
    pushed("one", one).get()
    for pool in TaskScheduler().compositor._pools.values():
        assert (pool.policy.aging, pool.policy.step) == (5.0, 1)
    in_use: list[Any] = []
    asked = threading.Event()

    def look(runtime: Any) -> None:
        in_use.append(runtime._system.pools[TaskScheduler().compositor._pools["sync"].name].policy)
        asked.set()

    SHARED.call(look)
    assert asked.wait(20)
    assert in_use[0].aging == 5.0, "that of the pool itself, not of the runtime"


# ---------------------------------------------------------------------------------------------- the scheduler


def test_there_is_one_scheduler() -> None:
    seen: list[TaskScheduler] = []
    threads = [threading.Thread(target=lambda: seen.append(TaskScheduler())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(scheduler) for scheduler in seen} == {id(TaskScheduler())}
    task = Task("one", one)
    TaskScheduler().push_task(task)
    chain = TaskChain(Task("a", one), Task("b", double))
    TaskScheduler().push_chain(chain)
    assert (task.get(), chain.get()) == (1, 2)


def test_a_scheduler_that_was_told_nothing_makes_its_own_compositor() -> None:
    script = """
from actorsched.frontends.multiprocessing import TaskScheduler
compositor = TaskScheduler().compositor
print(compositor is TaskScheduler().compositor, compositor.cpu_limit, compositor.idle_timeout)
print(compositor)
"""
    answer = run(code=script)
    assert answer.lines[0] == "True 90.0 30.0"
    assert answer.lines[1].startswith("<ProcessCompositor of 0 workers, at most ")
    assert answer.complaints == ""


def test_several_compositors_have_processes_of_their_own() -> None:
    other = ProcessCompositor(max_workers=1)
    here, there = Task("here", pid), Task("there", pid)
    CoreMultiprocessing.push_task(here)
    other.dispatch(there)
    assert here.get() != there.get()
    assert [worker.pid for worker in other.workers] == [there.get()]
    assert [worker.pid for worker in workers()] == [here.get()]


# ------------------------------------------------------------------------------------------------ the workers


def test_a_pool_grows_to_its_limit_and_each_kind_has_its_own(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        heard = Heard("host_spawned", count=2)
        tasks = [pushed(f"task {n}", read, go.path) for n in range(6)]
        heard.wait()
        for _ in tasks:
            go.tell()
        pids = {task.get() for task in tasks}
        assert len(pids) <= 2
        assert {worker.pid for worker in workers()} >= pids
        pushed("async", pid_async).get()
        assert [worker.kind for worker in workers()] == ["sync", "sync", "async"]


def test_a_worker_is_busy_while_it_has_a_task_and_idle_after_it(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go, Fifo(tmp_path, "told") as told:
        task = pushed("slow", tell_and_read, told.path, go.path)
        wait_until_told(told)
        (worker,) = workers()
        assert (worker.state, worker.is_alive(), worker.exitcode) == (WorkerState.BUSY, True, None)
        go.tell()
        assert task.get() == worker.pid
        assert worker.state is WorkerState.IDLE
        assert repr(worker) == f"<Worker {worker.name!r} {worker.pid} sync idle>"


def test_idle_workers_end_after_the_timeout_by_way_of_stopped() -> None:
    TaskScheduler().compositor = ProcessCompositor(max_workers=1, idle_timeout="20ms")
    states: list[Any] = []
    pushed("warm", one).get()
    for worker in workers():
        worker._ask = _noting(worker, states)  # type: ignore[method-assign]
        worker.join(20)
        assert (worker.state, worker.exitcode, worker.is_alive()) == (WorkerState.TERMINATED, 0, False)
        assert worker.why == "idle hosts are kept for 20ms"
        assert not alive(worker.pid)
        assert states == [WorkerState.STOPPED]
    assert workers() == ()
    assert pushed("next", one).get() == 1, "another one starts"


def _noting(worker: Worker, states: list[Any]) -> Any:
    ask = worker._ask

    def note(why: str) -> None:
        ask(why)
        states.append(worker.state)

    return note


def test_a_worker_that_is_terminated_ends_and_only_what_it_runs_is_lost(tmp_path: Path) -> None:
    TaskScheduler().compositor = ProcessCompositor(max_workers=1)
    with Fifo(tmp_path) as go, Fifo(tmp_path, "told") as told:
        task = pushed("slow", tell_and_read, told.path, go.path)
        behind = pushed("behind", pid)
        wait_until_told(told)
        (worker,) = workers()
        worker.terminate()
        assert worker.state in (WorkerState.STOPPED, WorkerState.TERMINATED)
        worker.join()
        assert (worker.state, worker.exitcode) == (WorkerState.TERMINATED, -signal.SIGTERM)
        with pytest.raises(HostDied, match="task 'slow' was lost"):
            task.get()
        assert behind.get() != worker.pid
        worker.terminate()  # changes nothing


def test_a_worker_that_is_killed_fails_its_task_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Fifo(tmp_path) as go, Fifo(tmp_path, "told") as told:
        chain = pushed_chain(Task("slow", tell_and_read, (told.path, go.path)), Task("after", pid))
        wait_until_told(told)
        (worker,) = workers()
        kill(worker.pid)
        with pytest.raises(HostDied) as caught:
            chain.get()
        assert (caught.value.pid, caught.value.signal) == (worker.pid, signal.SIGKILL)
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
        assert f"worker {worker.name!r} ({worker.pid}) has ended: it was killed by SIGKILL" in caplog.text


def test_no_further_worker_starts_while_the_machine_is_busier_than_the_limit(tmp_path: Path) -> None:
    compositor = TaskScheduler().compositor = ProcessCompositor(max_workers=2, cpu_limit=75)
    pushed("one", one).get()
    limits: list[Any] = []
    asked = threading.Event()

    def look(runtime: Any) -> None:
        limits.extend(runtime._system.staff.pools[pool.name].limits for pool in compositor._pools.values())
        asked.set()

    pushed("async", pid_async).get()
    SHARED.call(look)
    assert asked.wait(20)
    assert {(limit.cpu_limit, limit.max, limit.min) for limit in limits} == {(75.0, 2, 0)}


def test_nobody_can_wait_for_a_worker_in_the_thread_that_hears_of_its_end() -> None:
    pushed("one", one).get()
    (worker,) = workers()
    errors: list[BaseException] = []
    asked = threading.Event()

    def wait(runtime: object) -> None:
        try:
            worker.join()
        except DeadlockError as error:
            errors.append(error)
        asked.set()

    SHARED.call(wait)
    assert asked.wait(20)
    assert "was waited for in the thread" in str(errors[0])
    worker.join(0)
    assert worker.exitcode is None


# -------------------------------------------------------------------------------------------------- bad input


def _async_gen() -> Any:
    async def items() -> Any:
        yield 1

    return items


REFUSED: list[tuple[str, Callable[[], object], type[Exception], str]] = [
    ("no function", lambda: Task("x", 5), InvalidArgument, "fn=5 of task 'x' cannot be called"),  # type: ignore[arg-type]
    ("a coroutine", lambda: Task("x", pid_async()), InvalidArgument, "was called already; give the function"),  # type: ignore[arg-type]
    ("a generator", lambda: Task("x", _async_gen()), InvalidArgument, "is an async generator"),
    ("no name", lambda: Task("", one), InvalidArgument, "name='' is empty"),
    ("None for a name", lambda: Task(None, one), InvalidArgument, "name=None is no name of a task"),  # type: ignore[arg-type]
    ("args", lambda: Task("x", double, 5), InvalidArgument, "args=5 of task 'x' is no tuple"),  # type: ignore[arg-type]
    ("kwargs", lambda: Task("x", double, (), 5), InvalidArgument, "kwargs=5 is of type int"),  # type: ignore[arg-type]
    ("priority", lambda: Task("x", one, priority="high"), InvalidArgument, "priority='high' is of type str"),  # type: ignore[arg-type]
    ("timeout", lambda: Task("x", one, timeout="5"), InvalidArgument, "timeout='5' has no unit"),
    ("text arg_deps", lambda: Task("x", double, arg_deps="a"), InvalidArgument, "arg_deps='a' of task 'x'"),
    (
        "unknown parameter",
        lambda: Task("x", double, arg_deps=["result"]),
        InvalidArgument,
        "names 'result', which is no parameter of 'double': its parameters are 'number'",
    ),
    (
        "given twice",
        lambda: Task("x", double, (), {"number": 1}, arg_deps=["number"]),
        InvalidArgument,
        "names 'number', which is given already",
    ),
    (
        "no result for it",
        lambda: CoreMultiprocessing.push_task(Task("x", double, arg_deps=["number"])),
        InvalidArgument,
        "names 1 parameters for results of other tasks, and there will be none",
    ),
    (
        "wrong arguments",
        lambda: CoreMultiprocessing.push_task(Task("x", double)),
        InvalidArgument,
        "missing a required argument: 'number'",
    ),
    (
        "a result nobody takes",
        lambda: TaskChain(Task("a", one), Task("b", one)),
        InvalidArgument,
        "one() -> 'int' of task 'b' would be given wrong arguments: too many positional",
    ),
    (
        "a task among args",
        lambda: Task("x", double, (Task("y", one),)),
        InvalidArgument,
        "dependencies=(...)",
    ),
    (
        "dependencies",
        lambda: Task("x", double, dependencies=Task("y", one)),  # type: ignore[arg-type]
        InvalidArgument,
        "is no list of tasks",
    ),
    ("a number", lambda: Task("x", double, dependencies=[5]), InvalidArgument, "have 5 of type int"),
    (
        "an unknown id",
        lambda: Task("x", double, dependencies=["task-0"]),
        UnknownDependency,
        "depends on 'task-0', and no task of this id is known",
    ),
    ("no chain", lambda: TaskChain(), ChainError, "a TaskChain of no tasks"),
    ("a list", lambda: TaskChain([Task("x", one)]), InvalidArgument, "give tasks, as in TaskChain(first"),  # type: ignore[arg-type]
    ("push nothing", lambda: CoreMultiprocessing.push_task(one), InvalidArgument, "give a Task"),  # type: ignore[arg-type]
    (
        "push a chain",
        lambda: CoreMultiprocessing.push_task(TaskChain(Task("x", one))),  # type: ignore[arg-type]
        InvalidArgument,
        "use push_chain",
    ),
    (
        "push a task",
        lambda: CoreMultiprocessing.push_chain(Task("x", one)),  # type: ignore[arg-type]
        InvalidArgument,
        "use push_task",
    ),
    ("not pushed", lambda: Task("x", one).get(), NotPushed, "the result of task 'x' was asked for"),
    ("no chain pushed", lambda: TaskChain(Task("x", one)).get(), NotPushed, "of <TaskChain x> was asked"),
    ("no workers", lambda: ProcessCompositor(max_workers=0), InvalidArgument, "max_workers=0 is less than 1"),
    ("cpu", lambda: ProcessCompositor(cpu_limit=101), InvalidArgument, "cpu_limit=101 is no share"),
    (
        "no time",
        lambda: ProcessCompositor(idle_timeout=0),
        InvalidArgument,
        "idle_timeout=0 is no time at all",
    ),
    (
        "duration",
        lambda: ProcessCompositor.seconds("soon"),
        InvalidArgument,
        "duration='soon' is not a series",
    ),
    (
        "compositor",
        lambda: setattr(TaskScheduler(), "compositor", 4),
        InvalidArgument,
        "compositor=4 is of type int; give a ProcessCompositor",
    ),
]


@pytest.mark.parametrize(("_", "call", "error", "says"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_be_is_refused_at_the_call(
    _: str, call: Callable[[], object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        call()
    assert says in str(caught.value)
    assert isinstance(caught.value, TaskSchedulingError)
    assert isinstance(caught.value, ActorschedError)
    assert SHARED._runtime is None, "nothing was queued"


def test_a_task_has_one_place_and_is_pushed_once() -> None:
    task, member = pushed("one", one), Task("member", one)
    chain = pushed_chain(member)
    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: CoreMultiprocessing.push_task(task), AlreadyPushed, "task 'one' was pushed before"),
        (lambda: CoreMultiprocessing.push_task(member), AlreadyPushed, "has its place in a chain"),
        (
            lambda: CoreMultiprocessing.push_chain(chain),
            AlreadyPushed,
            "<TaskChain member> was pushed before",
        ),
        (
            lambda: TaskChain(task),
            AlreadyPushed,
            "task 'one' was pushed before; make another one for a chain",
        ),
        (lambda: TaskChain(member), ChainError, "has its place in another chain"),
    ]
    for call, error, says in cases:
        with pytest.raises(error) as caught:
            call()
        assert says in str(caught.value)
    twice = Task("twice", one)
    with pytest.raises(ChainError, match="'twice' is in the TaskChain twice"):
        TaskChain(twice, Task("between", double), twice)
    assert (task.get(), chain.get()) == (1, 1)


def test_a_refused_chain_leaves_its_tasks_as_they_were() -> None:
    a, b = Task("a", one), Task("b", one)
    with pytest.raises(InvalidArgument):
        TaskChain(a, b)
    assert (a.successors, b.predecessors) == ((), ())
    CoreMultiprocessing.push_task(b)
    assert b.get() == 1


def test_circles_are_refused() -> None:
    b = Task("b", double)
    between = Task("between", double, dependencies=(b,))
    a = Task("a", double, dependencies=(between,))
    with pytest.raises(CircularDependency, match="nobody can begin: a -> between -> b -> a") as caught:
        TaskChain(a, b)
    assert isinstance(caught.value, DependencyCycle)
    assert caught.value.path == ("a", "between", "b", "a")


def test_two_threads_cannot_both_push_a_task() -> None:
    for _ in range(20):
        task, refused = Task("one", one), list[Exception]()
        barrier = threading.Barrier(2)

        def push(task: Task = task, refused: list[Exception] = refused) -> None:
            barrier.wait()  # noqa: B023 # both threads end within the turn
            try:
                CoreMultiprocessing.push_task(task)
            except AlreadyPushed as error:
                refused.append(error)

        threads = [threading.Thread(target=push) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 1
        assert task.get() == 1


# --------------------------------------------------------------------------------- threads, ends and restarts


def test_many_threads_push_and_get_at_once() -> None:
    sums: list[int] = []

    def work(base: int) -> None:
        tasks = [pushed("double", double, base + n) for n in range(50)]
        chain = pushed_chain(Task("one", one), Task("two", double))
        sums.append(sum(task.get() for task in tasks) + chain.get())

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sums) == [sum(2 * (100 * n + k) for k in range(50)) + 2 for n in range(4)]


def test_it_goes_on_after_the_shared_runtime_was_stopped() -> None:
    before = pushed("before", pid)
    old = before.get()
    (worker,) = workers()
    SHARED.stop()
    assert (worker.state, worker.exitcode) == (WorkerState.TERMINATED, 0)
    assert workers() == ()
    assert pushed("after", double, dependencies=(pushed("one", one),)).get() == 2
    assert [worker.pid for worker in workers()] != [old]
    assert before.get() == old, "results are kept"


def test_a_task_pushed_before_a_stop_is_finished_or_cancelled_and_says_so(tmp_path: Path) -> None:
    drained = pushed("drained", one)
    SHARED.stop()
    assert drained.get() == 1
    with Fifo(tmp_path) as go:
        dropped = pushed("dropped", read, go.path)
        SHARED.stop(drain=False)
        with pytest.raises(TaskCancelled):
            dropped.get()


def test_a_script_that_just_ends_finishes_what_it_pushed_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    script = f"""
from actorsched.frontends.multiprocessing import CoreMultiprocessing, Task, TaskChain

def note(*results):
    with open({str(path)!r}, "a") as file:
        file.write("x")

for number in range(20):
    CoreMultiprocessing.push_task(Task(str(number), note))
CoreMultiprocessing.push_chain(TaskChain(Task("a", note), Task("b", note)))
"""
    answer = run(code=script)  # which sees that no process is left
    assert (answer.code, answer.complaints) == (0, "")
    assert path.read_text() == "x" * 22


def test_what_can_never_run_is_named_when_the_script_ends() -> None:
    script = """
from actorsched.frontends.multiprocessing import CoreMultiprocessing, Task

CoreMultiprocessing.push_task(Task("lonely", print, dependencies=(Task("forgotten", print),)))
"""
    answer = run(code=script)
    assert answer.code == 0
    assert "'lonely' (process-2), cancelled" in answer.complaints


def test_ctrl_c_in_a_blocking_get_works_at_once_and_nothing_is_left() -> None:
    script = """
import time
from actorsched.frontends.multiprocessing import CoreMultiprocessing, Task

def long():
    print("running", flush=True)
    time.sleep(3600)

task = Task("long", long)
CoreMultiprocessing.push_task(task)
try:
    task.get()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise
"""
    with running(code=script) as command:
        lines = command.lines()
        assert next(lines) == "running"
        command.process.send_signal(signal.SIGINT)
        assert next(lines) == "interrupted"
        answer = command.answer()
        assert answer.code != 0
        assert "KeyboardInterrupt" in answer.complaints
        assert "'long' (process-1), cancelled: Ctrl-C has ended the program" in answer.complaints
        assert command.left() == []


def test_nobody_can_wait_in_the_thread_of_the_runtime() -> None:
    errors: list[BaseException] = []
    asked = threading.Event()
    task = Task("one", one)

    def wait(runtime: object) -> None:
        task._pushed = True
        try:
            task.get()
        except DeadlockError as error:
            errors.append(error)
        asked.set()

    SHARED.call(wait)
    assert asked.wait(20)
    assert "task 'one' was waited for in the thread whose event loop has to run it" in str(errors[0])


def test_settled_tasks_of_a_long_line_are_let_go() -> None:
    first = Task("first", one)
    last = Task("last", double, dependencies=(first,))
    gone = weakref.ref(last)
    del last
    gc.collect()
    assert gone() is None
    assert first.successors == ()


# ---------------------------------------------------------------------------------------------------- the log


def test_what_becomes_of_tasks_and_workers_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    task = pushed("noted", log_something)
    task.get()
    with pytest.raises(KeyError):
        pushed("failing", fail).get()
    SHARED.stop()
    said = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    assert ("actorsched.task", "INFO", f"task 'noted' ({task.id}) started") in said
    assert ("actorsched.task", "INFO", f"task 'noted' ({task.id}) completed") in said
    assert ("work", "WARNING", "from the process") in said
    assert any(name == "actorsched.task" and level == "ERROR" for name, level, _ in said)
    ends = [text for name, _, text in said if name == "actorsched.worker"]
    assert "has started: a task waits and there is no host" in ends[0]
    assert ends[-1].endswith("has ended: the runtime closes")


def test_the_log_is_written_through_aiologger() -> None:
    script = """
import sys
from actorsched.frontends.multiprocessing import CoreMultiprocessing, Task, start_log

start_log(sys.stdout, loggers=["actorsched"])
print("aiologger" in sys.modules, flush=True)
task = Task("noted", len, args=("four",))
CoreMultiprocessing.push_task(task)
task.get()
print("aiologger" in sys.modules, flush=True)
"""
    answer = run(code=script)
    assert (answer.code, answer.complaints) == (0, "")
    assert "True" in answer.lines
    text = "\n".join(answer.lines)
    assert "task 'noted' (process-1) started" in text
    assert "task 'noted' (process-1) completed" in text
    assert "worker 'host 1'" in text


def test_a_log_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="the log cannot be started: level='LOUD' is no level"):
        frontend.start_log(level="LOUD")
    with pytest.raises(OSError, match="No such file"):
        frontend.start_log(tmp_path / "nowhere" / "log")


def test_the_names_of_the_package_are_all_there() -> None:
    assert set(frontend.__all__) <= set(dir(frontend))
    for name in frontend.__all__:
        thing = getattr(frontend, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, TaskSchedulingError)

"""What the front ends cost: the same work through each of them, against the runtime's own calls.

Floor: `rt.spawn` of the same functions on the same kind of host, with the same limit and the same
dependencies, from within a runtime. Ours: the front end from a blocking script, so with one more thread, in
which tasks are made and waited for. What is counted is processor time of this process.

* `frontend_000_tasks` and the like: 10,000 functions that do nothing, in threads; in 000, in host processes;
* `frontend_000_dag` and the like: 1,000 of them, each of which depends on two before it;
* `frontend_get`: a blocking `get()` of a task that has settled, against `Future.result()`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import asynccontextmanager
from time import process_time
from typing import TYPE_CHECKING, Any

from actorsched import Hosts, Runtime
from actorsched.frontends import bridge, manager, multiprocessing, realtime, taskflow
from actorsched.frontends._shared import SHARED
from actorsched.options import usable_cpus
from benchmarks._figure import Figure, Round, Side
from benchmarks._work import noop_plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Play = Callable[[int, bool], Awaitable[None]]

_WORKERS = 4


def upstream_of(number: int, *, dag: bool) -> set[int]:
    """On which tasks one depends."""
    return {number // 2, number // 3} if dag and number > 1 else set()


# -------------------------------------------------------------------------------------------------- the floor


def native(host: Any) -> Side:
    """The runtime's own call."""

    def side(size: int) -> Any:
        return _native(host, size, dag=size <= 1_000)

    return side


@asynccontextmanager
async def _native(host: Any, size: int, *, dag: bool) -> AsyncIterator[Round]:
    # What limits processes is the number of hosts, here and there. In a pool with a tag, which may be of
    # threads too, the scheduler looks past all that wait for a host: nothing else would be measured.
    tag = None if host == "process" else "ours"
    async with Runtime(pools={"ours": _WORKERS}, hosts=Hosts(max=usable_cpus())) as rt:

        async def play() -> float:
            start = process_time()
            refs: list[Any] = []
            for number in range(size):
                after = [refs[other] for other in upstream_of(number, dag=dag)]
                refs.append(await rt.spawn(noop_plain, host=host, tag=tag, after=after))
            for ref in refs:
                await ref
            return (process_time() - start) / size

        await play()
        yield play


# --------------------------------------------------------------------------------------------- the front ends


async def processes(size: int, dag: bool) -> None:
    """000: multiprocessing."""
    tasks: list[multiprocessing.Task] = []
    for number in range(size):
        after = [tasks[other] for other in upstream_of(number, dag=dag)]
        task = multiprocessing.Task("noop", _taking_any if after else noop_plain, dependencies=after)
        tasks.append(task)
        multiprocessing.CoreMultiprocessing.push_task(task)
    for task in tasks:
        task.get()


def _taking_any(*results: object) -> None:
    """Does nothing with the results of those that it depends on."""


async def managed(size: int, dag: bool) -> None:
    """001: manager."""
    tasks = manager.TaskManager(max_concurrent_tasks=_WORKERS)
    ids: list[str] = []
    for number in range(size):
        after = [ids[other] for other in upstream_of(number, dag=dag)]
        ids.append(tasks.register_task("noop", noop_plain, dependencies=after))
        await tasks.execute_task(ids[-1], wait=False)
    for task in ids:
        await tasks.execute_task(task, wait=True)
        assert tasks.get_task_status(task).is_final


async def bridged(size: int, dag: bool) -> None:
    """002: bridge."""
    tasks = bridge.task_bridge
    tasks.max_concurrent_tasks = _WORKERS
    ids: list[str] = []
    for number in range(size):
        after = [ids[other] for other in upstream_of(number, dag=dag)]
        ids.append(tasks.register_task("noop", noop_plain, dependencies=after))
        tasks.start_task(ids[-1])
    for task in ids:
        tasks.wait(task)


class _Noop(taskflow.Task):
    def execute(self) -> None:
        """Does nothing."""


async def flowing(size: int, dag: bool) -> None:
    """003: taskflow."""
    tasks: list[_Noop] = []
    for number in range(size):
        tasks.append(_Noop(dependencies={tasks[other] for other in upstream_of(number, dag=dag)}))
    taskflow.Executor(taskflow.Scheduler(set(tasks)), workers_per_tag=_WORKERS).run()


async def in_real_time(size: int, dag: bool) -> None:
    """004: realtime."""
    scheduler = realtime.RealtimeScheduler(max_workers=_WORKERS)
    scheduler.start()
    tasks: list[realtime.Task] = []
    for number in range(size):
        after = {tasks[other].id for other in upstream_of(number, dag=dag)}
        task = realtime.Task("noop", noop_plain, constraints=realtime.TaskConstraints(depends_on=after))
        tasks.append(task)
        scheduler.submit(task)
    scheduler.stop()
    assert all(task.status.is_final for task in tasks)


def through(play_it: Play) -> Side:
    """The same work through a front end."""

    def side(size: int) -> Any:
        return _through(play_it, size, dag=size <= 1_000)

    return side


@asynccontextmanager
async def _through(play_it: Play, size: int, *, dag: bool) -> AsyncIterator[Round]:
    async def play() -> float:
        start = process_time()
        await play_it(size, dag)
        return (process_time() - start) / size

    await play()
    yield play
    await asyncio.to_thread(SHARED.stop)


# ----------------------------------------------------------------------------------------------- blocking get


@asynccontextmanager
async def future(size: int) -> AsyncIterator[Round]:
    """The standard library's."""
    settled: Future[int] = Future()
    settled.set_result(1)

    async def play() -> float:
        start = process_time()
        for _ in range(size):
            settled.result()
        return (process_time() - start) / size

    yield play


@asynccontextmanager
async def get(size: int) -> AsyncIterator[Round]:
    """That of 000."""
    task = multiprocessing.Task("noop", noop_plain)
    multiprocessing.CoreMultiprocessing.push_task(task)
    task.get()

    async def play() -> float:
        start = process_time()
        for _ in range(size):
            task.get()
        return (process_time() - start) / size

    yield play
    await asyncio.to_thread(SHARED.stop)


_FRONT_ENDS: tuple[tuple[str, str, Play], ...] = (
    ("000", "process", processes),
    ("001", "thread", managed),
    ("002", "thread", bridged),
    ("003", "thread", flowing),
    ("004", "thread", in_real_time),
)


def _figure(name: str, what: str, floor: Side, ours: Side, size: int, must: float) -> Figure:
    return Figure(
        name=name,
        what=what,
        judged="time",
        unit="µs",
        must=must,
        aim=must,
        floor=floor,
        ours=ours,
        trio_floor=None,
        size=size,
        quick_size=min(size, 1_500),
    )


FIGURES = (
    *(
        figure
        for number, host, play_it in _FRONT_ENDS
        for figure in (
            _figure(
                f"frontend_{number}_tasks",
                f"no-op functions through front end {number}, against the native call",
                native(host),
                through(play_it),
                10_000,
                1.5,
            ),
            _figure(
                f"frontend_{number}_dag",
                f"1,000 no-op functions that depend on each other, through front end {number}",
                native(host),
                through(play_it),
                1_000,
                1.5,
            ),
        )
    ),
    _figure("frontend_get", "get() of a settled task, against Future.result()", future, get, 10_000, 20),
)

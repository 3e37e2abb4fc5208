"""How fast virtual time goes by: sleepers of a simulated hour, and a play of many jobs.

Both only inform; nobody else does just this. The floor of `virtual_time` is the least that could: a heap of
coroutines by the times at which they want to go on. The floor of `simulate` is that heap, stepping the jobs
of the same play one after the other.
"""

from __future__ import annotations

import types
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from time import process_time
from typing import TYPE_CHECKING

from actorsched import Runtime, sleep
from actorsched.simulate.play import played
from actorsched.simulate.taskset import Params, Task, TaskSet
from actorsched.testing import VirtualClock
from benchmarks._figure import Figure, Round

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator

HOUR = 3600.0
SLEEPERS = 10
COST = 3
"""Ticks that a job takes."""


class Heap:
    """The least that virtual time could be."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._waiting: list[tuple[float, int, Coroutine[float, None, None]]] = []

    def start(self, code: Coroutine[float, None, None]) -> None:
        """Step a coroutine up to its first sleep."""
        heappush(self._waiting, (self.now, next(self._order), code))

    def run(self) -> None:
        """Step whoever is next, until all have ended."""
        while self._waiting:
            self.now, _, code = heappop(self._waiting)
            try:
                delay = code.send(None)
            except StopIteration:
                continue
            heappush(self._waiting, (self.now + delay, next(self._order), code))


@types.coroutine
def _heap_sleep(delay: float) -> Generator[float, None, None]:
    yield delay


async def _sleeper(nap: float, times: int, sleep: Callable[[float], Awaitable[None]]) -> None:
    for _ in range(times):
        await sleep(nap)


def _naps(size: int) -> tuple[float, int]:
    """How long each nap of an hour is, and how many each sleeper takes, for so many jumps in all."""
    times = max(1, size // SLEEPERS)
    return HOUR / times, times


@asynccontextmanager
async def heap_of_sleepers(size: int) -> AsyncGenerator[Round]:
    nap, times = _naps(size)

    async def play() -> float:
        heap = Heap()
        start = process_time()
        for number in range(SLEEPERS):
            heap.start(_sleeper(nap - number / HOUR, times, _heap_sleep))
        heap.run()
        return (process_time() - start) / (SLEEPERS * times)

    yield play


@asynccontextmanager
async def sleepers(size: int) -> AsyncGenerator[Round]:
    nap, times = _naps(size)

    async def play() -> float:
        async with Runtime(clock=VirtualClock()) as rt:
            start = process_time()
            refs = [await rt.spawn(_sleeper, nap - number / HOUR, times, sleep) for number in range(SLEEPERS)]
            for ref in refs:
                await ref
            return (process_time() - start) / (SLEEPERS * times)

    yield play


def jobs_of(size: int) -> TaskSet:
    """A play of one processor that is busy all the time, without a job ever having to wait for long."""
    tasks = tuple(
        Task(f"job{number}", arrival=number * COST, exec=COST, priority=number % 5) for number in range(size)
    )
    return TaskSet(
        name="many jobs", policy="PRIORITY", processors=1, tasks=tasks, resources=(), params=Params()
    )


@asynccontextmanager
async def heap_of_jobs(size: int) -> AsyncGenerator[Round]:
    taskset = jobs_of(size)

    async def job(ticks: float) -> None:
        await _heap_sleep(ticks)

    async def play() -> float:
        heap = Heap()
        start = process_time()
        for task in taskset.tasks:
            heap.start(job(task.exec or 0))
        heap.run()
        return process_time() - start

    yield play


@asynccontextmanager
async def simulated(size: int) -> AsyncGenerator[Round]:
    taskset = jobs_of(size)

    async def play() -> float:
        start = process_time()
        await played(taskset)
        return process_time() - start

    yield play


FIGURES = (
    Figure(
        name="virtual_time",
        what="jumps of virtual time, 10 sleepers of an hour; against a heap of coroutines",
        judged="rate",
        unit="/s",
        must=None,
        aim=None,
        floor=heap_of_sleepers,
        ours=sleepers,
        trio_floor=heap_of_sleepers,
        size=5_000,
        quick_size=1_000,
    ),
    Figure(
        name="simulate",
        what="a play of 10,000 jobs, in all; against the same heap",
        judged="time",
        unit="s",
        must=None,
        aim=None,
        floor=heap_of_jobs,
        ours=simulated,
        trio_floor=heap_of_jobs,
        size=10_000,
        quick_size=500,
    ),
)

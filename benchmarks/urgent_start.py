"""How soon an urgent task takes its first step when the only slot of the loop is taken.

One task keeps the loop busy: it computes a little, awaits nothing in particular, and begins anew. Floor: the
plain loop, with such a task of its own, from `call_soon` until the call. Ours: such a task in a pool of one
slot, from the `spawn` of a more urgent one until that runs; the first has to make room for it. The cost of a
round is the median of its starts, and what is judged is how much longer ours takes: with the await of the
running task, which the floor waits for as well, that is all there is.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from actorsched import Priority, Runtime
from benchmarks._figure import Figure, Round
from benchmarks._measure import loop_sleep, running_loop
from benchmarks._work import now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable


class Busy:
    """What the running task does, until it is told to stop."""

    def __init__(self) -> None:
        self.stopped = False

    async def work(self) -> None:
        """Compute a little, and await."""
        sleep = loop_sleep()
        while not self.stopped:
            sum(range(500))
            await sleep(0)


async def _median_of(size: int, measured: Callable[[], Awaitable[float]]) -> float:
    sleep, times = loop_sleep(), list[float]()
    for _ in range(size):
        await sleep(0)
        times.append(await measured())
    return median(times)


async def called_soon() -> float:
    """How long a call of the plain loop takes to come."""
    import asyncio

    loop = asyncio.get_running_loop()
    called = loop.create_future()
    start = perf_counter()
    loop.call_soon(lambda: called.set_result(perf_counter()))
    end: float = await called
    return end - start


async def started_soon() -> float:
    """How long a task of trio takes to begin."""
    import trio

    ends: list[float] = []

    async def began() -> None:
        ends.append(perf_counter())

    async with trio.open_nursery() as nursery:
        start = perf_counter()
        nursery.start_soon(began)
    return ends[0] - start


@asynccontextmanager
async def floor(size: int) -> AsyncGenerator[Round]:
    from anyio import create_task_group

    async def play() -> float:
        busy = Busy()
        cost = 0.0
        async with create_task_group() as tasks:
            tasks.start_soon(busy.work)
            cost = await _median_of(size, started_soon if running_loop() == "trio" else called_soon)
            busy.stopped = True
        return cost

    yield play


@asynccontextmanager
async def ours(size: int) -> AsyncGenerator[Round]:
    async with Runtime(concurrency=1) as rt:

        async def urgent() -> float:
            start = perf_counter()
            ref = await rt.spawn(now, priority=Priority.CRITICAL)
            return await ref - start

        async def play() -> float:
            busy = Busy()
            running = await rt.spawn(busy.work, priority=Priority.LOW)
            cost = await _median_of(size, urgent)
            busy.stopped = True
            await running
            return cost

        yield play


FIGURES = (
    Figure(
        name="urgent_start",
        what="from the spawn of an urgent task to its start, the slot being taken; against call_soon",
        judged="excess",
        unit="µs",
        must=100.0,
        aim=30.0,
        floor=floor,
        ours=ours,
        trio_floor=floor,
        size=1_000,
        quick_size=200,
    ),
)

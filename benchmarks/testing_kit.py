"""What simulations cost: an hour of virtual time, a seed, and a message.

`simulated_hour`: a thousand actors of a simulation tick each second; how long an hour of that takes. A
simulated minute is measured, the setup left out, and its time is multiplied by 60. Floor: a heap of as many
coroutines by the times at which they want to go on.

`simulated_seed`: a small scenario, a runtime with an actor and five tasks that ask it, under one seed after
the other. Floor: the same in an ordinary runtime, in a new event loop each time.

`simulated_tell`, `_ask` and `_task`: a message, an ask and a task in a simulation, without faults; the median
over several seeds, for some choose more than others. Floor: the same code in an ordinary runtime, in the
event loop that the row names. Simulations are those of asyncio there, also beside uvloop.

A simulation has an event loop of its own, so it runs in a thread, while the loop of the benchmark waits.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Literal

import anyio.to_thread

from actorsched import Actor, Mailbox, Runtime, current
from actorsched.testing import explore
from benchmarks._figure import Figure, Round
from benchmarks._measure import running_loop
from benchmarks._work import noop
from benchmarks.virtual_time import HOUR, Heap, _heap_sleep, _sleeper

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from actorsched.testing import Simulation
    from benchmarks._figure import Side

TICKERS = 1_000
SEEDS = 9
"""Under so many seeds a message is measured."""
TASKS = 5


def simulated_loop() -> Literal["asyncio", "trio"]:
    """On which loop a simulation runs that is measured in the running one."""
    return "trio" if running_loop() == "trio" else "asyncio"


# ------------------------------------------------------------------------------------------------- an hour


class Ticker(Actor):
    """Counts the seconds."""

    def __init__(self) -> None:
        self.ticks = 0

    async def on_start(self) -> None:
        """Begins."""
        current().every(1, Ticker.tick)

    async def tick(self) -> None:
        """Another second."""
        self.ticks += 1


@asynccontextmanager
async def heap_of_tickers(size: int) -> AsyncGenerator[Round]:
    async def play() -> float:
        heap = Heap()
        start = process_time()
        for _ in range(TICKERS):
            heap.start(_sleeper(1, size, _heap_sleep))
        heap.run()
        return (process_time() - start) * HOUR / size

    yield play


@asynccontextmanager
async def simulated_tickers(size: int) -> AsyncGenerator[Round]:
    spent: list[float] = []

    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            for _ in range(TICKERS):
                await rt.spawn(Ticker)
            start = process_time()
            await simulation.advance(size)
            spent.append((process_time() - start) * HOUR / size)

    async def play() -> float:
        await anyio.to_thread.run_sync(partial(explore, scenario, 1, backend=simulated_loop()))
        return spent.pop()

    yield play


# -------------------------------------------------------------------------------------------------- a seed


class Sink(Actor):
    """Adds up what it is told."""

    mailbox = Mailbox(capacity=None)

    def __init__(self) -> None:
        self._total = 0

    async def take(self, amount: int) -> int:
        """Adds, and tells the sum."""
        self._total += amount
        return self._total


async def small_scenario(rt: Runtime) -> None:
    """An actor, and five tasks that ask it."""
    async with rt:
        sink = await rt.spawn(Sink)

        async def use() -> None:
            await sink.ask.take(1)

        for task in [await rt.spawn(use) for _ in range(TASKS)]:
            await task
        assert await sink.ask.take(0) == TASKS


@asynccontextmanager
async def plain_runs(size: int) -> AsyncGenerator[Round]:
    async def once() -> None:
        await small_scenario(Runtime())

    def run(loop: str) -> float:
        start = process_time()
        for _ in range(size):
            if loop == "trio":
                anyio.run(once, backend="trio")
            else:
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(once())
        return (process_time() - start) / size

    async def play() -> float:
        return await anyio.to_thread.run_sync(run, simulated_loop())

    yield play


@asynccontextmanager
async def seeds(size: int) -> AsyncGenerator[Round]:
    async def scenario(simulation: Simulation) -> None:
        await small_scenario(simulation.runtime())

    async def play() -> float:
        start = process_time()
        await anyio.to_thread.run_sync(partial(explore, scenario, size, backend=simulated_loop()))
        return (process_time() - start) / size

    yield play


# ----------------------------------------------------------------------------------------------- a message


async def tells(rt: Runtime, size: int) -> float:
    """What a message costs that nobody waits for."""
    sink = await rt.spawn(Sink)
    start = process_time()
    for _ in range(size):
        sink.tell(Sink.take, 1)
    total = await sink.ask.take(0)
    elapsed = process_time() - start
    assert total == size
    return elapsed / size


async def asks(rt: Runtime, size: int) -> float:
    """What a message costs whose answer is waited for."""
    sink = await rt.spawn(Sink)

    async def use() -> float:
        start = process_time()
        for _ in range(size):
            await sink.ask.take(1)
        return (process_time() - start) / size

    return await rt.run(use)


async def tasks(rt: Runtime, size: int) -> float:
    """What a task costs that does nothing."""
    start = process_time()
    for task in [await rt.spawn(noop) for _ in range(size)]:
        await task
    return (process_time() - start) / size


def plainly(work: Callable[[Runtime, int], Awaitable[float]]) -> Side:
    """The work in an ordinary runtime."""

    @asynccontextmanager
    async def side(size: int) -> AsyncGenerator[Round]:
        async def play() -> float:
            async with Runtime() as rt:
                return await work(rt, size)

        yield play

    return side


def simulated(work: Callable[[Runtime, int], Awaitable[float]]) -> Side:
    """The work in simulations."""

    @asynccontextmanager
    async def side(size: int) -> AsyncGenerator[Round]:
        costs: list[float] = []

        async def scenario(simulation: Simulation) -> None:
            async with simulation.runtime() as rt:
                costs.append(await work(rt, size))

        async def play() -> float:
            costs.clear()
            await anyio.to_thread.run_sync(partial(explore, scenario, SEEDS, backend=simulated_loop()))
            return median(costs)

        yield play

    return side


def _message(name: str, what: str, work: Callable[[Runtime, int], Awaitable[float]]) -> Figure:
    return Figure(
        name=f"simulated_{name}",
        what=f"{what} in a simulation, against an ordinary runtime",
        judged="time",
        unit="µs",
        must=2.0,
        aim=1.5,
        floor=plainly(work),
        ours=simulated(work),
        trio_floor=plainly(work),
        size=2_000,
        quick_size=500,
    )


FIGURES = (
    Figure(
        name="simulated_hour",
        what="an hour of 1,000 actors that tick each second; against a heap of coroutines",
        judged="amount",
        unit="s",
        must=60.0,
        aim=30.0,
        floor=heap_of_tickers,
        ours=simulated_tickers,
        trio_floor=heap_of_tickers,
        size=60,
        quick_size=10,
    ),
    Figure(
        name="simulated_seed",
        what="a seed of a small scenario; against the same in ordinary runtimes",
        judged="amount",
        unit="ms",
        must=5.0,
        aim=2.5,
        floor=plain_runs,
        ours=seeds,
        trio_floor=plain_runs,
        size=200,
        quick_size=50,
    ),
    _message("tell", "a message that is told", tells),
    _message("ask", "a message that is asked", asks),
    _message("task", "a task that does nothing", tasks),
)

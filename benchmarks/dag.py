"""A graph of tasks that do nothing: layers of 100, each task after three of the layer before.

Floor: one counter per task of what it still waits for, and one `create_task` when it is zero. Ours: `spawn`
with `after=[...]`; and, in `dag_arguments`, with the refs as arguments, where the floor hands over the
results too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from time import process_time

from actorsched import Runtime, TaskRef
from benchmarks._figure import Figure, Round, Side
from benchmarks._work import noop, noop_of_three

WIDTH = 100
UPSTREAM = 3

Graph = list[tuple[int, ...]]
Start = Callable[[int], None]
Step = Callable[[int], Coroutine[object, object, None]]


def layered(size: int) -> Graph:
    """The upstream tasks of each task, in an order that never looks ahead; the same graph every time."""
    random = Random(0)
    graph: Graph = []
    for number in range(size):
        layer = number // WIDTH * WIDTH
        graph.append(tuple(random.sample(range(layer - WIDTH, layer), UPSTREAM)) if layer else ())
    return graph


class Counters:
    """What is left to wait for, for every task of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._left = [len(upstream) for upstream in graph]
        self._downstream: list[list[int]] = [[] for _ in graph]
        for number, upstream in enumerate(graph):
            for before in upstream:
                self._downstream[before].append(number)
        self.unfinished = len(graph)

    def first(self) -> list[int]:
        """The tasks that wait for nothing."""
        return [number for number, left in enumerate(self._left) if not left]

    def finished(self, number: int, start: Start) -> None:
        """Notes that a task is finished, and starts what waited for it alone."""
        self.unfinished -= 1
        for after in self._downstream[number]:
            self._left[after] -= 1
            if not self._left[after]:
                start(after)


def doing_nothing(_graph: Graph) -> Step:
    """The step of a graph whose tasks hand nothing over."""

    async def step(_number: int) -> None:
        pass

    return step


def handing_over(graph: Graph) -> Step:
    """The step of a graph whose tasks get the results of those before them."""
    results: list[object] = [None] * len(graph)

    async def step(number: int) -> None:
        results[number] = await noop_of_three(*[results[before] for before in graph[number]])

    return step


async def count_down(graph: Graph, step_of: Callable[[Graph], Step]) -> None:
    """The floor: counters, and one `create_task` per ready node; a failure would leave here."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    counters, step = Counters(graph), step_of(graph)
    running: dict[asyncio.Task[None], int] = {}

    def start(number: int) -> None:
        task = loop.create_task(step(number))
        running[task] = number
        task.add_done_callback(finished)

    def finished(task: asyncio.Task[None]) -> None:
        if error := task.exception():
            done.set_exception(error)
        counters.finished(running.pop(task), start)
        if not counters.unfinished:
            done.set_result(None)

    for number in counters.first():
        start(number)
    await done


async def count_down_on_trio(graph: Graph, step_of: Callable[[Graph], Step]) -> None:
    """The same in trio's terms."""
    import trio

    counters, step = Counters(graph), step_of(graph)

    async def run(number: int) -> None:
        await step(number)
        counters.finished(number, start)

    def start(number: int) -> None:
        nursery.start_soon(run, number)

    async with trio.open_nursery() as nursery:
        for number in counters.first():
            start(number)


async def spawn_after(rt: Runtime, graph: Graph) -> None:
    """Ours, with the upstream tasks as an order only."""
    refs: list[TaskRef[None]] = []
    for upstream in graph:
        refs.append(await rt.spawn(noop, after=[refs[before] for before in upstream]))
    for ref in refs:
        await ref


async def spawn_with_arguments(rt: Runtime, graph: Graph) -> None:
    """Ours, with the results of the upstream tasks as arguments."""
    refs: list[TaskRef[object]] = []
    for upstream in graph:
        refs.append(await rt.spawn(noop_of_three, *[refs[before] for before in upstream]))
    for ref in refs:
        await ref


def timed(walk: Callable[[Graph], Awaitable[None]]) -> Side:
    """The side whose rounds walk the graph once."""

    @asynccontextmanager
    async def side(size: int) -> AsyncIterator[Round]:
        graph = layered(size)

        async def play() -> float:
            start = process_time()
            await walk(graph)
            return (process_time() - start) / size

        yield play

    return side


def ours_by(walk: Callable[[Runtime, Graph], Awaitable[None]]) -> Side:
    """The same, within a runtime."""

    @asynccontextmanager
    async def side(size: int) -> AsyncIterator[Round]:
        async with Runtime() as rt, timed(partial(walk, rt))(size) as play:
            yield play

    return side


def _figure(
    name: str,
    what: str,
    step_of: Callable[[Graph], Step],
    walk: Callable[[Runtime, Graph], Awaitable[None]],
) -> Figure:
    return Figure(
        name=name,
        what=what,
        judged="rate",
        unit="/s",
        must=0.3,
        aim=0.7,
        floor=timed(partial(count_down, step_of=step_of)),
        ours=ours_by(walk),
        trio_floor=timed(partial(count_down_on_trio, step_of=step_of)),
        size=10_000,
        quick_size=2_000,
    )


FIGURES = (
    _figure("dag", "graph of no-ops, 3 upstream each, by after=[...]", doing_nothing, spawn_after),
    _figure("dag_arguments", "the same, with refs as arguments", handing_over, spawn_with_arguments),
)

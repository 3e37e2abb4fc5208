"""What an actor costs while it has nothing to do, in bytes.

Floor: a task that waits on an `asyncio.Queue` of its own. Ours: an actor whose class is empty. `idle_actor`
is what Python allocated by tracemalloc, and is judged; `idle_actor_rss` is how much the process grew, and
informs. Whatever was started stays alive until the last round is over, because freed memory that is used
again would not show.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from actorsched import Actor, ActorRef, Runtime
from benchmarks._figure import Figure, Round, Side

Populate = Callable[[int], Awaitable[None]]
Habitat = Callable[[], AbstractAsyncContextManager[Populate]]
Scales = Callable[[Populate, int], Awaitable[int]]


class Idle(Actor):
    """Does nothing."""


@asynccontextmanager
async def tasks_with_queues() -> AsyncIterator[Populate]:
    """Yields a function that starts so many tasks with a queue each; they end with the context."""
    tasks: list[asyncio.Task[None]] = []

    async def live(queue: asyncio.Queue[int]) -> None:
        while True:
            await queue.get()

    async def populate(count: int) -> None:
        tasks.extend(asyncio.create_task(live(asyncio.Queue())) for _ in range(count))
        await asyncio.sleep(0)

    try:
        yield populate
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def trio_tasks_with_channels() -> AsyncIterator[Populate]:
    """The same in trio's terms."""
    import trio.testing

    async def live() -> None:
        _sender, receiver = trio.open_memory_channel[int](1)
        await receiver.receive()

    async with trio.open_nursery() as nursery:

        async def populate(count: int) -> None:
            for _ in range(count):
                nursery.start_soon(live)
            await trio.testing.wait_all_tasks_blocked()

        yield populate
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def actors() -> AsyncIterator[Populate]:
    """Yields a function that starts so many actors; they end with the context."""
    refs: list[ActorRef[Idle]] = []
    async with Runtime() as rt:

        async def populate(count: int) -> None:
            refs.extend([await rt.spawn(Idle) for _ in range(count)])

        yield populate


async def traced(populate: Populate, count: int) -> int:
    """Bytes that Python allocated and still holds."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await populate(count)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


async def resident(populate: Populate, count: int) -> int:
    """Bytes by which the process grew."""
    before = _resident_bytes()
    await populate(count)
    return _resident_bytes() - before


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def weighed(habitat: Habitat, scales: Scales) -> Side:
    """The side whose rounds each populate the same habitat with more, and weigh what that took."""

    @asynccontextmanager
    async def side(size: int) -> AsyncIterator[Round]:
        async with habitat() as populate:

            async def play() -> float:
                return await scales(populate, size) / size

            yield play

    return side


def _figure(name: str, what: str, scales: Scales, must: float | None, aim: float | None) -> Figure:
    return Figure(
        name=name,
        what=what,
        judged="amount",
        unit="B",
        must=must,
        aim=aim,
        floor=weighed(tasks_with_queues, scales),
        ours=weighed(actors, scales),
        trio_floor=weighed(trio_tasks_with_channels, scales),
        size=10_000,
        quick_size=2_000,
    )


FIGURES = (
    _figure("idle_actor", "memory of an idle actor, by tracemalloc", traced, 1_500, 700),
    _figure("idle_actor_rss", "memory of an idle actor, by growth of the process", resident, None, None),
)

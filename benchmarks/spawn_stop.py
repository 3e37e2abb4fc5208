"""Starting and stopping an actor, one after another.

Floor: a task that waits on an `asyncio.Queue` of its own, started until it waits, then cancelled and awaited.
Ours: `spawn`, which returns when `on_start` has finished, and `stop`; once with a class that has hooks, once
without.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from time import process_time
from typing import TYPE_CHECKING

from actorsched import Actor, Runtime
from benchmarks._figure import Figure, Round, Side

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def floor(size: int) -> AsyncIterator[Round]:
    async def live(queue: asyncio.Queue[int]) -> None:
        while True:
            await queue.get()

    async def play() -> float:
        start = process_time()
        for _ in range(size):
            task = asyncio.create_task(live(asyncio.Queue()))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return (process_time() - start) / size

    yield play


@asynccontextmanager
async def trio_floor(size: int) -> AsyncIterator[Round]:
    import trio

    async def live(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        _, receiver = trio.open_memory_channel[int](1)
        with trio.CancelScope() as scope:
            task_status.started(scope)
            async for _ in receiver:
                pass

    async def play() -> float:
        start = process_time()
        async with trio.open_nursery() as nursery:
            for _ in range(size):
                scope: trio.CancelScope = await nursery.start(live)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        return (process_time() - start) / size

    yield play


class Bare(Actor):
    """Has nothing of its own to do at its start or end."""


class Started(Actor):
    """Has a hook to run at its start."""

    async def on_start(self) -> None:
        """Notes it."""
        self.started = True


class Hooked(Actor):
    """Has a hook to run at its start and one at its end."""

    async def on_start(self) -> None:
        """Notes it."""
        self.started = True

    async def on_stop(self, reason: object) -> None:
        """Notes it."""
        self.started = False


def ours_with(kind: type[Actor]) -> Side:
    @asynccontextmanager
    async def ours(size: int) -> AsyncIterator[Round]:
        async with Runtime() as rt:

            async def play() -> float:
                start = process_time()
                for _ in range(size):
                    ref = await rt.spawn(kind)
                    await ref.stop()
                return (process_time() - start) / size

            yield play

    return ours


def _figure(
    name: str, what: str, kind: type[Actor], must: float | None = None, aim: float | None = None
) -> Figure:
    return Figure(
        name=name,
        what=what,
        judged="rate",
        unit="/s",
        must=must,
        aim=aim,
        floor=floor,
        ours=ours_with(kind),
        trio_floor=trio_floor,
        size=10_000,
        quick_size=2_000,
    )


FIGURES = (
    _figure("spawn_stop", "spawn and stop of an actor without hooks", Bare, must=2.0, aim=5.0),
    _figure("spawn_stop_start", "the same with on_start", Started, must=2.0, aim=5.0),
    _figure("spawn_stop_hooks", "the same with on_start and on_stop", Hooked),
)

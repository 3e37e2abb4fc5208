"""Async tasks that do nothing, submitted all at once and then awaited.

Floor: `create_task` and `gather`. Ours: `spawn`, then `await` of every ref, with all that a task of ours
promises.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import process_time
from typing import TYPE_CHECKING

from actorsched import Runtime
from benchmarks._figure import Figure, Round
from benchmarks._work import noop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def floor(size: int) -> AsyncIterator[Round]:
    async def play() -> float:
        start = process_time()
        await asyncio.gather(*[asyncio.create_task(noop()) for _ in range(size)])
        return (process_time() - start) / size

    yield play


@asynccontextmanager
async def trio_floor(size: int) -> AsyncIterator[Round]:
    import trio

    async def play() -> float:
        start = process_time()
        async with trio.open_nursery() as nursery:
            for _ in range(size):
                nursery.start_soon(noop)
        return (process_time() - start) / size

    yield play


@asynccontextmanager
async def ours(size: int) -> AsyncIterator[Round]:
    async with Runtime() as rt:

        async def play() -> float:
            start = process_time()
            refs = [await rt.spawn(noop) for _ in range(size)]
            for ref in refs:
                await ref
            return (process_time() - start) / size

        yield play


FIGURES = (
    Figure(
        name="noop_tasks",
        what="no-op async tasks, submitted and awaited",
        judged="rate",
        unit="/s",
        must=0.4,
        aim=1.0,
        floor=floor,
        ours=ours,
        trio_floor=trio_floor,
        size=10_000,
        quick_size=2_000,
    ),
)

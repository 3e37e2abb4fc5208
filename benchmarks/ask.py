"""The round trip of a request and its reply, one at a time.

Floor: a request is a future in an `asyncio.Queue`, which one task serves. Ours: `ask`. The cost of a round is
the median of its calls, so that a pause of the collector or of the machine counts once, not as an average.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from actorsched import Actor, Runtime
from benchmarks._figure import Figure, Round

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def floor(size: int) -> AsyncIterator[Round]:
    queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()

    async def serve() -> None:
        while True:
            value, reply = await queue.get()
            reply.set_result(value)

    async def play() -> float:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        for value in range(size):
            start = perf_counter()
            reply: asyncio.Future[int] = loop.create_future()
            queue.put_nowait((value, reply))
            await reply
            times.append(perf_counter() - start)
        return median(times)

    server = asyncio.create_task(serve())
    try:
        yield play
    finally:
        server.cancel()


@asynccontextmanager
async def trio_floor(size: int) -> AsyncIterator[Round]:
    import trio

    ask, asked = trio.open_memory_channel[int](1)
    reply, replied = trio.open_memory_channel[int](1)

    async def serve() -> None:
        async for value in asked:
            reply.send_nowait(value)

    async def play() -> float:
        times: list[float] = []
        for value in range(size):
            start = perf_counter()
            ask.send_nowait(value)
            await replied.receive()
            times.append(perf_counter() - start)
        return median(times)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield play
        ask.close()


class Echo(Actor):
    """Replies with what it is asked."""

    async def same(self, value: int) -> int:
        """Replies."""
        return value


@asynccontextmanager
async def ours(size: int) -> AsyncIterator[Round]:
    async with Runtime() as rt:
        echo = await rt.spawn(Echo)

        async def play() -> float:
            times: list[float] = []
            for value in range(size):
                start = perf_counter()
                await echo.ask.same(value)
                times.append(perf_counter() - start)
            return median(times)

        yield play


FIGURES = (
    Figure(
        name="ask",
        what="ask round trip, median",
        judged="time",
        unit="µs",
        must=1.5,
        aim=1.1,
        floor=floor,
        ours=ours,
        trio_floor=trio_floor,
        size=20_000,
        quick_size=5_000,
    ),
)

"""Plain functions that do nothing, in two host processes.

Floor: an asyncio protocol over a socketpair to each of two children, a future per call, at most 64 calls in
flight per child, and all writes of one turn of the loop sent together. Ours: `spawn(..., host="process")`,
then `await` of every ref. In `host_throughput_others` the floor is the best of other libraries (`_others`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import ExitStack, asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, cast

from actorsched import Hosts, Runtime
from benchmarks._figure import Figure, Round
from benchmarks._floor_host import child, framed, whole
from benchmarks._others import best_for_many
from benchmarks._work import noop_plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CHILDREN = 2
WINDOW = 64


class Peer(asyncio.Protocol):
    """The parent's end of one child."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._queued: deque[tuple[int, asyncio.Future[None], bytes]] = deque()
        self._flying: dict[int, asyncio.Future[None]] = {}
        self._unsent: list[bytes] = []
        self._received = bytearray()
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop, once."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is not registered as one

    def call(self, function: Callable[[], None]) -> asyncio.Future[None]:
        """A future of what the function returns in the child."""
        self._number += 1
        reply: asyncio.Future[None] = self._loop.create_future()
        self._queued.append((self._number, reply, framed((self._number, function, ()))))
        self._fill()
        return reply

    def _fill(self) -> None:
        while self._queued and len(self._flying) < WINDOW:
            number, reply, frame = self._queued.popleft()
            self._flying[number] = reply
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(frame)

    def _flush(self) -> None:
        assert self._transport is not None
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        """Called by the loop with whatever has arrived."""
        self._received += data
        for message in whole(self._received):
            number, value = cast("tuple[int, None]", message)
            self._flying.pop(number).set_result(value)
        self._fill()


@asynccontextmanager
async def floor(size: int) -> AsyncIterator[Round]:
    loop = asyncio.get_running_loop()
    with ExitStack() as children:
        ends = [children.enter_context(child("frames")) for _ in range(CHILDREN)]
        pairs = [await loop.create_connection(Peer, sock=end) for end in ends]

        async def play() -> float:
            start = perf_counter()
            await asyncio.gather(*[pairs[i % CHILDREN][1].call(noop_plain) for i in range(size)])
            return (perf_counter() - start) / size

        yield play
        for transport, _ in pairs:
            transport.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def ours(size: int) -> AsyncIterator[Round]:
    async with Runtime(hosts=Hosts(min=CHILDREN, max=CHILDREN)) as rt:

        async def play() -> float:
            start = perf_counter()
            refs = [await rt.spawn(noop_plain, host="process") for _ in range(size)]
            for ref in refs:
                await ref
            return (perf_counter() - start) / size

        yield play


FIGURES = (
    Figure(
        name="host_throughput",
        what="no-op functions in 2 host processes",
        judged="rate",
        unit="/s",
        must=0.5,
        aim=0.8,
        floor=floor,
        ours=ours,
        trio_floor=None,
        size=10_000,
        quick_size=2_000,
    ),
    Figure(
        name="host_throughput_others",
        what="the same, and the best of other libraries",
        judged="rate",
        unit="/s",
        must=2.5,
        aim=4.0,
        floor=best_for_many(CHILDREN),
        ours=ours,
        trio_floor=None,
        size=10_000,
        quick_size=2_000,
    ),
)

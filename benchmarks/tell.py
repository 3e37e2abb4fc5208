"""One-way messages to one actor.

Floor: one task puts into an unbounded `asyncio.Queue`, another takes. Ours: as many `tell` to one actor with
an unbounded mailbox, whose handler is an `async def`; an `ask` behind them waits for the last. Both sides
send all before the first is taken, because nothing in either makes the sender wait. `tell_backlog` shows what
a mailbox of that length costs the garbage collector, which has nothing to look at in a queue of ints.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import process_time
from typing import TYPE_CHECKING

from actorsched import Actor, Mailbox, Runtime
from benchmarks._figure import Figure, Round

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def floor(size: int) -> AsyncIterator[Round]:
    async def produce(queue: asyncio.Queue[int]) -> None:
        for _ in range(size):
            queue.put_nowait(1)

    async def consume(queue: asyncio.Queue[int]) -> int:
        total = 0
        while total < size:
            total += await queue.get()
        return total

    async def play() -> float:
        queue: asyncio.Queue[int] = asyncio.Queue()
        start = process_time()
        await asyncio.gather(consume(queue), produce(queue))
        return (process_time() - start) / size

    yield play


@asynccontextmanager
async def trio_floor(size: int) -> AsyncIterator[Round]:
    import trio

    async def play() -> float:
        start = process_time()
        sender, receiver = trio.open_memory_channel[int](size)
        for _ in range(size):
            sender.send_nowait(1)
        total = 0
        while total < size:
            total += await receiver.receive()
        return (process_time() - start) / size

    yield play


class Sink(Actor):
    """Adds up what it is told."""

    mailbox = Mailbox(capacity=None)

    def __init__(self) -> None:
        self._total = 0

    async def take(self, amount: int) -> None:
        """Adds."""
        self._total += amount

    async def drawn(self) -> int:
        """What was added since the last time."""
        total, self._total = self._total, 0
        return total


@asynccontextmanager
async def ours(size: int) -> AsyncIterator[Round]:
    async with Runtime() as rt:
        sink = await rt.spawn(Sink)

        async def play() -> float:
            start = process_time()
            for _ in range(size):
                sink.tell(Sink.take, 1)
            total = await sink.ask.drawn()
            elapsed = process_time() - start
            assert total == size, f"{size} messages were told and {total} handled"
            return elapsed / size

        yield play


def _figure(name: str, what: str, size: int, must: float | None, aim: float | None) -> Figure:
    return Figure(
        name=name,
        what=what,
        judged="rate",
        unit="/s",
        must=must,
        aim=aim,
        floor=floor,
        ours=ours,
        trio_floor=trio_floor,
        size=size,
        quick_size=size // 5,
    )


FIGURES = (
    _figure("tell", "one-way messages to one actor, async def handler", 10_000, 0.5, 1.0),
    _figure("tell_backlog", "the same with 100,000 in the mailbox at once", 100_000, None, None),
)

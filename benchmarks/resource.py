"""Taking a resource that is free, and giving it back, in a task.

Floor: a lock of anyio that nobody else wants, as it is, which lets the loop have a turn each time; and with
`fast_acquire=True`, which does not. Ours: `async with current().acquire("resource")`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from time import process_time
from typing import TYPE_CHECKING

from anyio import Lock

from actorsched import Runtime, current
from benchmarks._figure import Figure, Round

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks._figure import Side


def locking(*, fast: bool) -> Side:
    """The side of anyio."""

    @asynccontextmanager
    async def side(size: int) -> AsyncGenerator[Round]:
        lock = Lock(fast_acquire=fast)

        async def play() -> float:
            start = process_time()
            for _ in range(size):
                async with lock:
                    pass
            return (process_time() - start) / size

        yield play

    return side


async def acquiring(size: int) -> float:
    """A task that acquires and releases."""
    start = process_time()
    for _ in range(size):
        async with current().acquire("resource"):
            pass
    return (process_time() - start) / size


@asynccontextmanager
async def ours(size: int) -> AsyncGenerator[Round]:
    async with Runtime(concurrency=1) as rt:
        rt.resource("resource")

        async def play() -> float:
            return await rt.run(acquiring, size)

        yield play


def _figure(name: str, what: str, *, fast: bool, must: float | None) -> Figure:
    floor = locking(fast=fast)
    return Figure(
        name=name,
        what=what,
        judged="time",
        unit="µs",
        must=must,
        aim=None if must is None else must,
        floor=floor,
        ours=ours,
        trio_floor=floor,
        size=20_000,
        quick_size=5_000,
    )


FIGURES = (
    _figure("resource", "acquiring and releasing what is free, against anyio.Lock()", fast=False, must=1.0),
    _figure("resource_fast", "the same, against anyio.Lock(fast_acquire=True)", fast=True, must=None),
)

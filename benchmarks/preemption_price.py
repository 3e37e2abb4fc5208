"""What it costs an async task that it may be preempted, though nobody wants its place.

One task with 10,000 awaits, each of which gives the loop one turn, in a pool of one slot. Floors: the same
task with `preemptible=False`; and, which only informs, a plain task of the loop.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from time import process_time
from typing import TYPE_CHECKING

from actorsched import Runtime
from benchmarks._figure import Figure, Round
from benchmarks._measure import loop_sleep

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks._figure import Side


async def many_awaits(size: int) -> float:
    """A task that awaits, and hardly does anything else; what that costs, for one of its awaits."""
    sleep = loop_sleep()
    start = process_time()
    for _ in range(size):
        await sleep(0)
    return (process_time() - start) / size


@asynccontextmanager
async def plain(size: int) -> AsyncGenerator[Round]:
    yield partial(many_awaits, size)


@asynccontextmanager
async def in_a_pool(size: int, *, preemptible: bool = True) -> AsyncGenerator[Round]:
    """A task of ours."""
    async with Runtime(concurrency=1) as rt:

        async def play() -> float:
            return await rt.run(many_awaits, size, preemptible=preemptible)

        yield play


@asynccontextmanager
async def never_preempted(size: int) -> AsyncGenerator[Round]:
    async with in_a_pool(size, preemptible=False) as play:
        yield play


def _figure(name: str, what: str, floor: Side, must: float | None, aim: float | None) -> Figure:
    return Figure(
        name=name,
        what=what,
        judged="time",
        unit="µs",
        must=must,
        aim=aim,
        floor=floor,
        ours=in_a_pool,
        trio_floor=floor,
        size=10_000,
        quick_size=2_000,
    )


FIGURES = (
    _figure(
        "preemption_price",
        "an await that may be preempted, against one that may not",
        never_preempted,
        1.1,
        1.02,
    ),
    _figure("preemption_price_plain", "the same, against a plain task of the loop", plain, None, None),
)

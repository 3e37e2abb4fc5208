"""A plain function that does nothing, in a host process, one at a time.

Floor: a pickle back and forth over a blocking socketpair, between two CPUs if there are two: that is how a
system with a CPU to spare places two processes. (Left to itself it now and then puts both on one, where a
call takes a sixth of the time.) Ours: `run(..., host="process")`, placed as the system likes. The cost of a
round is the median of its calls. In `host_latency_others` the floor is the best of other libraries, each with
one worker (`_others`).
"""

from __future__ import annotations

import pickle
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from actorsched import Hosts, Runtime
from benchmarks._figure import Figure, Round
from benchmarks._floor_host import REQUEST, child, on_cpu
from benchmarks._others import Other, best_for_one
from benchmarks._work import noop_plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def floor(size: int) -> AsyncIterator[Round]:
    with child("calls") as peer:

        async def play() -> float:
            times: list[float] = []
            with on_cpu(min):
                for _ in range(size):
                    start = perf_counter()
                    peer.sendall(pickle.dumps((noop_plain, ()), 5))
                    pickle.loads(peer.recv(REQUEST))
                    times.append(perf_counter() - start)
            return median(times)

        yield play


@asynccontextmanager
async def ours(size: int) -> AsyncIterator[Round]:
    async with Runtime(hosts=Hosts(min=1, max=1)) as rt:

        async def play() -> float:
            times: list[float] = []
            for _ in range(size):
                start = perf_counter()
                await rt.run(noop_plain, host="process")
                times.append(perf_counter() - start)
            return median(times)

        yield play


async def median_of_calls(other: Other, size: int) -> float:
    """A round of another library."""
    times: list[float] = []
    for _ in range(size):
        start = perf_counter()
        other.one(noop_plain)
        times.append(perf_counter() - start)
    return median(times)


FIGURES = (
    Figure(
        name="host_latency",
        what="no-op functions in a host process, one at a time, median",
        judged="time",
        unit="µs",
        must=1.5,
        aim=1.15,
        floor=floor,
        ours=ours,
        trio_floor=floor,
        size=2_000,
        quick_size=500,
    ),
    Figure(
        name="host_latency_others",
        what="the same, and the best of other libraries",
        judged="time",
        unit="µs",
        must=1.0,
        aim=0.6,
        floor=best_for_one(median_of_calls),
        ours=ours,
        trio_floor=best_for_one(median_of_calls),
        size=2_000,
        quick_size=500,
    ),
)

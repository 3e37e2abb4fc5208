"""A NumPy array of 100 MB to a host process and back.

Floor: shared memory whose pages both sides have touched before; the parent copies the array into one segment,
the child copies that to another, and the parent looks at it there. Ours: a function in a host that returns
its argument. In `array_100mb_others` the floor is the best of other libraries, each with one worker
(`_others`).
"""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack, asynccontextmanager, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from actorsched import Hosts, Runtime
from benchmarks._figure import Figure, Round
from benchmarks._floor_host import child
from benchmarks._others import Other, best_for_one
from benchmarks._work import same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import numpy as np
    from numpy.typing import NDArray

REPEATS = 3


def array_of(megabytes: int) -> NDArray[np.float64]:
    """Numbers that differ from each other."""
    import numpy as np

    return np.arange(megabytes * 1_000_000 // 8, dtype=np.float64)


@contextmanager
def segment(size: int) -> Iterator[int]:
    """The descriptor of anonymous shared memory."""
    descriptor = os.memfd_create("benchmarks")
    try:
        os.ftruncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)


@asynccontextmanager
async def floor(size: int) -> AsyncIterator[Round]:
    import numpy as np

    array = array_of(size)
    with ExitStack() as stack:
        there, back = (stack.enter_context(segment(array.nbytes)) for _ in range(2))
        peer = stack.enter_context(child("copies", there, back))
        sent = np.frombuffer(mmap.mmap(there, array.nbytes), dtype=array.dtype)
        received = np.frombuffer(mmap.mmap(back, array.nbytes), dtype=array.dtype)

        async def play() -> float:
            start = perf_counter()
            for number in range(REPEATS):
                array[-1] = number
                sent[:] = array
                peer.sendall(b".")
                peer.recv(1)
                assert received[-1] == number
            return (perf_counter() - start) / REPEATS

        yield play


@asynccontextmanager
async def ours(size: int) -> AsyncIterator[Round]:
    array = array_of(size)
    async with Runtime(hosts=Hosts(min=1, max=1)) as rt:

        async def play() -> float:
            start = perf_counter()
            for number in range(REPEATS):
                array[-1] = number
                received = await rt.run(same, array, host="process")
                assert received[-1] == number
            return (perf_counter() - start) / REPEATS

        yield play


async def there_and_back(other: Other, size: int) -> float:
    """A round of another library."""
    array = array_of(size)
    start = perf_counter()
    for number in range(REPEATS):
        array[-1] = number
        received = other.one(same, array)
        assert received[-1] == number
    return (perf_counter() - start) / REPEATS


FIGURES = (
    Figure(
        name="array_100mb",
        what="100 MB array to a host process and 100 MB back",
        judged="rate",
        unit="MB/s",
        must=0.2,
        aim=0.7,
        floor=floor,
        ours=ours,
        trio_floor=floor,
        size=100,
        quick_size=100,
        volume=200,
    ),
    Figure(
        name="array_100mb_others",
        what="the same, and the best of other libraries",
        judged="rate",
        unit="MB/s",
        must=2.0,
        aim=5.0,
        floor=best_for_one(there_and_back),
        ours=ours,
        trio_floor=best_for_one(there_and_back),
        size=100,
        quick_size=100,
        volume=200,
    ),
)

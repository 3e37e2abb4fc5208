"""What tasks with limits do in hosts. It imports little, and nothing that takes memory of its own."""

from __future__ import annotations

import os

MB = 1_000_000
_kept: list[bytearray] = []


def take(megabytes: float) -> int:
    return len(bytearray(int(megabytes * MB)))


def try_to_take(megabytes: int) -> str:
    try:
        return str(take(megabytes))
    except MemoryError:
        return "refused"


async def take_async(megabytes: int) -> int:
    import anyio

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, take, megabytes)
    return megabytes


def take_with_numpy(megabytes: int) -> int:
    import numpy as np

    return int(np.ones(megabytes * MB, dtype=np.uint8).sum())


def give_up() -> None:
    os.abort()


def where() -> list[set[int]]:
    """The processors that each thread of this process may use."""
    return [os.sched_getaffinity(int(name)) for name in os.listdir("/proc/self/task")]


def take_shared(megabytes: int, fifo: str) -> None:
    """Take memory that does not belong to this process alone, and never end."""
    import mmap

    shared = mmap.mmap(-1, megabytes * MB)
    for place in range(0, megabytes * MB, mmap.PAGESIZE):
        shared[place] = 1
    os.read(os.open(fifo, os.O_RDONLY), 1)


def keep(megabytes: int) -> None:
    """Take memory for as long as the host lives."""
    _kept.append(bytearray(megabytes * MB))


def fail_with(error: Exception) -> None:
    raise error

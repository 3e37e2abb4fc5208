"""A timeline of dependencies, a preemption, a resource and host processes, to be opened in Perfetto.

Run it as `python examples/timeline.py`, perhaps with the name of the file to be written.
"""

# expect: written to timeline.json; open it at https://ui.perfetto.dev

from __future__ import annotations

import sys

import anyio

import actorsched
from actorsched import Priority, Runtime, cpu_bound, current


async def fetch(name: str) -> list[int]:
    """Fetch a page."""
    await anyio.sleep(0.02)
    return list(range(len(name) * 40_000))


@cpu_bound
def crunch(numbers: list[int]) -> int:
    """Keep a processor busy."""
    return sum(number * number for number in numbers)


async def store(*sums: int) -> None:
    """Put a result into the database, alone."""
    async with current().acquire("database"):
        await anyio.sleep(0.02)


async def urgent() -> None:
    """Do what cannot wait."""
    await anyio.sleep(0.01)


async def background() -> None:
    """Do what can."""
    for _ in range(10):
        await anyio.sleep(0.005)


async def main(path: str) -> None:
    """Do all of it, and have it written down."""
    async with Runtime(concurrency=2) as rt:
        rt.resource("database")
        rt.timeline(path)
        await rt.spawn(background, priority=Priority.LOW)
        pages = [await rt.spawn(fetch, name, name=f"fetch {name}") for name in ("one", "three", "eleven")]
        sums = [await rt.spawn(crunch, page) for page in pages]
        stores = [await rt.spawn(store, number) for number in sums]
        await rt.sleep("10ms")
        await rt.spawn(urgent, priority=Priority.CRITICAL)
        for ref in stores:
            await ref
    print(f"written to {path}; open it at https://ui.perfetto.dev")


if __name__ == "__main__":
    actorsched.run(main, sys.argv[1] if len(sys.argv) > 1 else "timeline.json")

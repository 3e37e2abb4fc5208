"""`python -m benchmarks.profile [NAME ...]`: where the time of our side of a figure goes.

The sampler is our own (`_sampler`), so that nothing need be installed. Time spent waiting is not sampled; its
share is in the heading. For figures with host processes the same sampler also runs in the host, started and
read by tasks of the host itself.

`first_result` is over before a sampler has seen anything; there the slowest imports are shown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from actorsched import Hosts, Runtime
from benchmarks._catalogue import chosen
from benchmarks._figure import LOOPS, Figure, LoopName, Side
from benchmarks._measure import run_on
from benchmarks._sampler import TOP, Profile, Sampler, start_in_host, stop_in_host
from benchmarks._work import noop_plain, same
from benchmarks.first_result import OWN_FUNCTION, environment, script_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECONDS = 4.0


async def sampled(side: Side, size: int) -> Profile:
    """Plays rounds of one side, and samples them."""
    async with side(size) as play:
        await play()
        sampler = Sampler()
        sampler.start()
        until = perf_counter() + SECONDS
        try:
            while perf_counter() < until:
                await play()
        finally:
            profile = sampler.stop()
    return profile


async def sampled_in_host(work: Callable[[Runtime], Awaitable[None]]) -> Profile:
    """Samples the only host of a runtime while the work goes on."""
    async with Runtime(hosts=Hosts(min=1, max=1)) as rt:
        await work(rt)
        await rt.run(start_in_host, host="process")
        until = perf_counter() + SECONDS
        while perf_counter() < until:
            await work(rt)
        profile: Profile = await rt.run(stop_in_host, host="process")
        return profile


async def many(rt: Runtime) -> None:
    """The work of `host_throughput`, for one host."""
    for ref in [await rt.spawn(noop_plain, host="process") for _ in range(5_000)]:
        await ref


async def one_by_one(rt: Runtime) -> None:
    """The work of `host_latency`."""
    for _ in range(500):
        await rt.run(noop_plain, host="process")


async def arrays(rt: Runtime) -> None:
    """The work of `array_100mb`."""
    from benchmarks.array_100mb import array_of

    array = array_of(100)
    for _ in range(5):
        await rt.run(same, array, host="process")


HOST_WORK = {"host_throughput": many, "host_latency": one_by_one, "array_100mb": arrays}


def slow_imports(loop: LoopName) -> list[str]:
    """The slowest imports of the script of `first_result`, parent and host together where the host tells."""
    with script_of(OWN_FUNCTION, loop) as script:
        command = [sys.executable, "-X", "importtime", str(script)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    times: list[tuple[int, int, str]] = []
    for line in done.stderr.splitlines():
        own, total, name = (*line.removeprefix("import time:").split("|"), "", "")[:3]
        if own.strip().isdigit():
            times.append((int(own), int(total), name.strip()))
    times.sort(reverse=True)
    heading = f"{len(times)} imports, {sum(own for own, _, _ in times) / 1000:.1f} ms\n  self  total (ms)"
    return [
        heading,
        *(f"{own / 1000:>6.1f} {total / 1000:>6.1f}  {name}" for own, total, name in times[:TOP]),
    ]


def show(figure: Figure, loop: LoopName) -> None:
    """Prints the profile of one figure."""
    print(f"\n## {figure.name} on {loop}", flush=True)
    if figure.name.startswith("first_result"):
        print("\n".join(slow_imports(loop)), flush=True)
        return
    print("\n".join(run_on(loop, partial(sampled, figure.ours, figure.size)).lines()), flush=True)
    if work := HOST_WORK.get(figure.name):
        print("In the host: ", end="")
        print("\n".join(run_on(loop, partial(sampled_in_host, work)).lines()), flush=True)


def main() -> None:
    """Prints the profiles that the arguments name."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("name", nargs="*")
    parser.add_argument("--loop", choices=LOOPS, default="uvloop")
    options = parser.parse_args()
    for figure in chosen(options.name):
        show(figure, options.loop)


if __name__ == "__main__":
    main()

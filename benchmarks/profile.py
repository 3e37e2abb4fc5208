"""`python -m benchmarks.profile [NAME ...]`: where the time of our side of a figure goes.

A sampler of our own, so that nothing need be installed: a timer of consumed CPU time interrupts the main
thread, and the innermost Python function is counted. CPython runs a signal handler at the next call or
backward jump, so the time of a C function, or of a short function without calls, is credited to what its
caller does next: read neighbours together. Time spent waiting is not sampled; the share of it is in the
heading. For figures with host processes the same sampler also runs in the host, started and read by tasks of
the host itself.

`first_result` is over before a sampler has seen anything; there the slowest imports are shown.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from actorsched import Hosts, Runtime
from benchmarks._catalogue import chosen
from benchmarks._figure import LOOPS, Figure, LoopName, Side
from benchmarks._measure import run_on
from benchmarks._work import noop_plain, same
from benchmarks.first_result import OWN_FUNCTION, environment, script_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import CodeType, FrameType

INTERVAL = 0.001
SECONDS = 4.0
TOP = 12


@dataclass(frozen=True, slots=True)
class Profile:
    """What a sampler saw: samples by function, innermost and anywhere on the stack, and the time spent."""

    innermost: dict[str, int]
    anywhere: dict[str, int]
    wall: float
    cpu: float

    def lines(self) -> list[str]:
        """A heading and the functions with the most self time."""
        total = sum(self.innermost.values()) or 1
        lines = [f"{total} samples; on the CPU {self.cpu / self.wall:.0%} of {self.wall:.1f} s"]
        lines.append(f"{'self':>6} {'total':>6}  function")
        ranking = sorted(self.innermost.items(), key=lambda item: (-item[1], item[0]))
        for name, count in ranking[:TOP]:
            lines.append(f"{count / total:>6.1%} {self.anywhere[name] / total:>6.1%}  {name}")
        return lines


class Sampler:
    """Counts functions of the main thread while it runs. One per process: there is one timer."""

    def __init__(self) -> None:
        self._innermost: Counter[CodeType] = Counter()
        self._anywhere: Counter[CodeType] = Counter()
        self._began = (0.0, 0.0)

    @property
    def samples(self) -> int:
        """How many samples it has taken."""
        return self._innermost.total()

    def start(self) -> None:
        """Starts counting. Only in the main thread."""
        self._began = (perf_counter(), process_time())
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self) -> Profile:
        """Stops counting, and tells what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        wall, cpu = perf_counter() - self._began[0], process_time() - self._began[1]
        return Profile(_named(self._innermost), _named(self._anywhere), wall, cpu)

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._innermost[frame.f_code] += 1
        codes: set[CodeType] = set()
        outer: FrameType | None = frame
        while outer is not None:
            codes.add(outer.f_code)
            outer = outer.f_back
        self._anywhere.update(codes)


def _named(counts: Counter[CodeType]) -> dict[str, int]:
    names: Counter[str] = Counter()
    for code, count in counts.items():
        path = Path(code.co_filename)
        names[f"{code.co_qualname}  ({'/'.join(path.parts[-2:])}:{code.co_firstlineno})"] += count
    return dict(names)


_in_host = Sampler()


def start_in_host() -> None:
    """Runs in a host: starts its sampler."""
    _in_host.start()


def stop_in_host() -> Profile:
    """Runs in a host: stops its sampler."""
    return _in_host.stop()


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

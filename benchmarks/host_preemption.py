"""How soon an urgent task starts in a host process when the only one that may run is busy with another.

The busy host is suspended, and the urgent task runs in another one that is there already, from a preemption
before. Floor: the same task, when the only host is idle. Ours: from `spawn` until the function runs in the
other host, by the clock that all processes of the machine share. `host_preemption_stop` ends when the busy
host has been sent its SIGSTOP; its floor is that signal to a bare child process.

The cost of a round is the median of its starts, and what is judged is how much longer ours takes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from actorsched import Hosts, Priority, Runtime
from benchmarks._figure import Figure, Round
from benchmarks._measure import loop_sleep
from benchmarks._work import busy, now_plain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from actorsched.events import Event

PAUSE = 0.002
"""Seconds between two starts, in which the busy host goes on."""


@asynccontextmanager
async def to_an_idle_host(size: int) -> AsyncGenerator[Round]:
    sleep = loop_sleep()
    async with Runtime(hosts=Hosts(min=1, max=1)) as rt:

        async def play() -> float:
            times: list[float] = []
            for _ in range(size):
                await sleep(PAUSE)
                start = perf_counter()
                times.append(await rt.run(now_plain, host="process", priority=Priority.CRITICAL) - start)
            return median(times)

        yield play


@asynccontextmanager
async def preempting(size: int, *, until_stopped: bool = False) -> AsyncGenerator[Round]:
    """The side of ours: the whole way, or until the signal is sent."""
    sleep = loop_sleep()
    async with Runtime(hosts=Hosts(min=1, max=1)) as rt:
        stops: list[float] = []

        def preempted(_event: Event) -> None:
            stops.append(perf_counter())

        rt.subscribe("preempted", preempted)

        async def start() -> float:
            await sleep(PAUSE)
            stops.clear()
            began = perf_counter()
            end = await rt.run(now_plain, host="process", priority=Priority.CRITICAL)
            return (stops[0] if until_stopped else end) - began

        async def play() -> float:
            running = await rt.spawn(busy, host="process", priority=Priority.LOW)
            while not running.progress[0]:
                await sleep(PAUSE)
            await start()  # so that there is another host, and it is warm
            cost = median([await start() for _ in range(size)])
            await running.cancel("the round is over")
            await running.outcome()
            return cost

        yield play


@contextmanager
def _child() -> Generator[int]:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield child.pid
    finally:
        child.kill()
        child.wait()


@asynccontextmanager
async def bare_signal(size: int) -> AsyncGenerator[Round]:
    sleep = loop_sleep()

    async def play() -> float:
        times: list[float] = []
        with _child() as pid:
            for _ in range(size):
                await sleep(PAUSE)
                start = perf_counter()
                os.kill(pid, signal.SIGSTOP)
                times.append(perf_counter() - start)
                os.kill(pid, signal.SIGCONT)
        return median(times)

    yield play


@asynccontextmanager
async def stopping(size: int) -> AsyncGenerator[Round]:
    async with preempting(size, until_stopped=True) as play:
        yield play


FIGURES = (
    Figure(
        name="host_preemption",
        what="from the spawn of an urgent task to its start in a second host; against an idle host",
        judged="excess",
        unit="ms",
        must=1.0,
        aim=0.3,
        floor=to_an_idle_host,
        ours=preempting,
        trio_floor=to_an_idle_host,
        size=50,
        quick_size=10,
    ),
    Figure(
        name="host_preemption_stop",
        what="from that spawn until the busy host was sent its SIGSTOP; against the bare signal",
        judged="excess",
        unit="ms",
        must=None,
        aim=None,
        floor=bare_signal,
        ours=stopping,
        trio_floor=bare_signal,
        size=50,
        quick_size=10,
    ),
)

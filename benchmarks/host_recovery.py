"""From the death of a host process until the task that ran in it runs again in another one.

The host is ended by SIGKILL, and the task has `Retry(crashes=1)`. Ours: from the signal until the function of
the second attempt runs, by the clock that all processes of the machine share. `host_recovery` has a second
host that is idle; in `host_recovery_alone` there may be only one, so that a new one has to be started. Floor:
from that signal to a bare child process until its socket is seen to have ended.

The cost of a round is the median of its recoveries.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from actorsched import Hosts, Retry, Runtime
from benchmarks._figure import Figure, Round
from benchmarks._measure import loop_sleep
from benchmarks._work import start_of_the_second_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

WARM_UP = 1.5
"""Seconds in which the spawner imports what it has not got yet."""
PAUSE = 0.02
"""Seconds between two looks."""


async def until_it_runs_again(rt: Runtime) -> float:
    """Seconds from the death of a host until its task runs again."""
    sleep = loop_sleep()
    staff = rt._system.staff
    while not staff.links or not all(link.ready for link in staff.links):
        await sleep(PAUSE)
    task = await rt.spawn(start_of_the_second_attempt, host="process", retry=Retry(crashes=1))
    while not task.progress[0]:
        await sleep(PAUSE)
    (worker,) = (worker for worker in staff.workers if worker.busy)
    assert worker.link is not None
    start = perf_counter()
    os.kill(worker.link.pid, signal.SIGKILL)
    return await task - start


@asynccontextmanager
async def recovering(size: int, *, hosts: int) -> AsyncGenerator[Round]:
    async with Runtime(hosts=Hosts(min=hosts, max=hosts)) as rt:

        async def play() -> float:
            return median([await until_it_runs_again(rt) for _ in range(size)])

        await until_it_runs_again(rt)
        await loop_sleep()(WARM_UP)
        yield play


def until_its_end_is_seen() -> float:
    """Seconds from the death of a bare child process until the end of its socket."""
    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-c", WAITING], stdin=theirs.fileno(), stdout=theirs.fileno()
        ) as child,
    ):
        theirs.close()
        ours.recv(1)
        start = perf_counter()
        child.kill()
        ours.recv(1)
        return perf_counter() - start


WAITING = "import sys; print(flush=True); sys.stdin.read()"


@asynccontextmanager
async def bare_end(size: int) -> AsyncGenerator[Round]:
    async def play() -> float:
        return median([until_its_end_is_seen() for _ in range(size)])

    yield play


def _figure(name: str, what: str, hosts: int) -> Figure:
    return Figure(
        name=name,
        what=what,
        judged="excess",
        unit="ms",
        must=50.0,
        aim=10.0,
        floor=bare_end,
        ours=partial(recovering, hosts=hosts),
        trio_floor=bare_end,
        size=15,
        quick_size=5,
    )


FIGURES = (
    _figure("host_recovery", "from kill -9 of one of two hosts until its task runs in the other", 2),
    _figure("host_recovery_alone", "the same with one host, so that another is started", 1),
)

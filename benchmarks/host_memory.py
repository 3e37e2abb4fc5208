"""What an idle host process costs: memory that it has for itself alone, in bytes.

Floor: an interpreter of its own that has imported what such a host has imported. Ours: a host that has run
one task or opened one actor, forked from a spawner that has got everything; most of its memory is the
spawner's, and shared. Counted is what would be free if the process ended (USS).
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from actorsched import Actor, Hosts, Runtime
from benchmarks._figure import Figure, Round, Side
from benchmarks._measure import loop_sleep, running_loop
from benchmarks._work import noop_plain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    Host = Callable[[Runtime], Awaitable[object]]

WARM_UP = 1.5
"""Seconds in which the spawner imports what it has not got yet."""
REST = 0.1
"""Seconds for which a host has nothing to do before it is looked at."""

_TASKS = ("actorsched._hosting.child_tasks",)
_ACTORS = (*_TASKS, "actorsched._hosting.child_actors")


class Idle(Actor):
    """Does nothing."""


async def one_task(rt: Runtime) -> None:
    await rt.run(noop_plain, host="process")


async def one_actor(rt: Runtime) -> None:
    await rt.spawn(Idle, host="process")


def private_bytes(pid: int) -> int:
    """Memory that no other process shares."""
    import psutil

    return int(psutil.Process(pid).memory_full_info().uss)


@contextmanager
def interpreter_with(modules: tuple[str, ...]) -> Generator[int]:
    """The process id of an interpreter that has imported these."""
    program = f"import {', '.join(modules)}; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@asynccontextmanager
async def interpreters(size: int, *, modules: tuple[str, ...]) -> AsyncGenerator[Round]:
    loop = {"trio": ("trio",), "uvloop": ("uvloop",), "asyncio": ()}[running_loop()]

    async def play() -> float:
        found: list[int] = []
        for _ in range(size):
            with interpreter_with((*modules, *loop)) as pid:
                found.append(private_bytes(pid))
        return sum(found) / size

    yield play


@asynccontextmanager
async def hosts(size: int, *, start: Host) -> AsyncGenerator[Round]:
    sleep = loop_sleep()

    async def play() -> float:
        async with Runtime(hosts=Hosts(min=1, max=size + 1)) as rt:
            await sleep(WARM_UP)  # the host that is there now was forked before the spawner had everything
            (first,) = rt._system.staff.links
            first.kill()
            await start(rt)
            await sleep(REST)
            found = [private_bytes(link.pid) for link in rt._system.staff.links if link is not first]
            return sum(found) / len(found)

    yield play


def _figure(name: str, what: str, start: Host, modules: tuple[str, ...]) -> Figure:
    floor: Side = partial(interpreters, modules=modules)
    return Figure(
        name=name,
        what=what,
        judged="amount",
        unit="B",
        must=12e6,
        aim=5e6,
        floor=floor,
        ours=partial(hosts, start=start),
        trio_floor=floor,
        size=1,
        quick_size=1,
    )


FIGURES = (
    _figure("host_memory_tasks", "private memory of an idle host of tasks", one_task, _TASKS),
    _figure("host_memory_actors", "private memory of an idle host of actors", one_actor, _ACTORS),
)

"""One more host process for a runtime that has some, until its first result.

Floor: a warm process with one thread forks itself, and the child answers over a socketpair. Ours: a task that
finds every host busy, so that one more is started for it; from `spawn` to its result. The cost of a round is
the median of its starts. A host is ended after each, so that there is always the same number.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from actorsched._hosting.definitions import Definitions
from actorsched._hosting.launch import launch
from actorsched._hosting.spawner import Spawner
from actorsched._hosting.wire import Done, Run
from actorsched._kernel.choose import running_backend
from benchmarks import _floor_host
from benchmarks._figure import Figure, Round
from benchmarks._measure import loop_sleep
from benchmarks._work import noop_plain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.wire import FromHost

WARM_UP = 1.5
"""Seconds in which the spawner imports what it has not got yet."""


class Starter:
    """Starts hosts, one after the other, each for one task."""

    def __init__(self) -> None:
        self.backend = running_backend()
        self.spawner = Spawner(self.backend)
        self.definitions = Definitions()
        self.over = self.backend.create_future()
        self.gone = self.backend.create_future()

    def heard(self, frame: FromHost) -> None:
        """The result ends the measured time."""
        if isinstance(frame, Done):
            self.over.set_result(perf_counter())

    def ended(self, end: HostExit) -> None:
        """The host has ended."""
        self.gone.set_result(end)

    async def start_one(self) -> float:
        """Seconds from the request for a host to its first result; then waits for its end."""
        self.over, self.gone = self.backend.create_future(), self.backend.create_future()
        definition, payload = self.definitions.call(noop_plain, (), {}, "a task")
        start = perf_counter()
        link = launch(self.spawner, "tasks", on_frame=self.heard, on_exit=self.ended)
        link.run(definition, Run(1, definition.fn_id, payload))
        end: float = await self.over
        link.stop()
        await self.gone
        return end - start


@asynccontextmanager
async def from_a_spawner(size: int) -> AsyncGenerator[Round]:
    starter = Starter()

    async def play() -> float:
        return median([await starter.start_one() for _ in range(size)])

    try:
        await starter.start_one()
        await loop_sleep()(WARM_UP)
        yield play
    finally:
        starter.spawner.close()


@asynccontextmanager
async def bare_fork(size: int) -> AsyncGenerator[Round]:
    with _floor_host.child("forks") as peer:

        def fork() -> float:
            start = perf_counter()
            peer.sendall(b"f")
            answer_of(peer)
            return perf_counter() - start

        async def play() -> float:
            return median([fork() for _ in range(size)])

        yield play


def answer_of(peer: socket.socket) -> None:
    """Waits for the forked child's byte."""
    if not peer.recv(1):
        raise RuntimeError("the forking process has ended")


FIGURES = (
    Figure(
        name="host_start",
        what="one more host process, to its first result; against a fork with a socketpair",
        judged="excess",
        unit="ms",
        must=10.0,
        aim=3.0,
        floor=bare_fork,
        ours=from_a_spawner,
        trio_floor=bare_fork,
        size=15,
        quick_size=5,
    ),
)

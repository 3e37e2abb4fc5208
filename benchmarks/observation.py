"""What it costs to observe a runtime: no-op tasks with it, against the same tasks without.

Floor: a runtime that measures nothing, and that nobody watches. Ours, by the name of the figure:

* `observation` is what every runtime does when nobody watches: it measures how long tasks take.
* `observation_burst` only informs: the same when it may measure as many as it ever does at once, because
  there was nothing to do for some time. Nobody has such a pause ten times a second.

Both sides are otherwise alike, and count down how many tasks may go by unmeasured.

Two have another floor: a runtime as it is, that nobody watches. Ours is watched by a listener to one kind of
events, and by a reader of all kinds.

* `observation_events` is what that costs the runtime. What the reader has not read by then it reads between
  the rounds.
* `observation_reading` only informs: the same with a reader that keeps up, whose own work counts too. A round
  is over when it has read all that was told.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from time import process_time
from typing import TYPE_CHECKING

import anyio

from actorsched import Priority, Runtime
from actorsched._core.latency import Series
from benchmarks._figure import Figure, Round, Side
from benchmarks._work import noop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from actorsched import Event

    Prepare = Callable[[Runtime], None]

_NEVER = 1 << 62


def _as_it_is(rt: Runtime) -> None:
    """Nobody watches."""


def _blind(rt: Runtime) -> None:
    """Not even the runtime itself: no task is ever due to be measured."""
    _series(rt).due = _NEVER


def _rested(rt: Runtime) -> None:
    """It has measured nothing for a while."""
    rt._system.pools["loop"].series[Priority.NORMAL] = Series("a rested one")


def watched(*, reading: bool) -> Side:
    """No-op tasks of a runtime with a reader of all events, whose reading counts or not, and a listener."""

    @asynccontextmanager
    async def side(size: int) -> AsyncGenerator[Round]:
        async with anyio.create_task_group() as group, Runtime() as rt:
            ended: list[Event] = []
            rt.subscribe("completed", ended.append)
            reader = _Reader(rt, keeps_on=reading)
            if reading:
                group.start_soon(reader.read)

            async def play() -> float:
                ended.clear()
                start = process_time()
                caught_up = reader.expect(3 * size)  # each is created, started and completed
                refs = [await rt.spawn(noop) for _ in range(size)]
                for ref in refs:
                    await ref
                if reading:
                    await caught_up.wait()
                cost = (process_time() - start) / size
                if not reading:
                    await reader.read()
                assert len(ended) == size
                assert not reader.events.lost
                return cost

            yield play

    return side


class _Reader:
    """Reads what it is told, and says when it has read as much as was expected."""

    def __init__(self, rt: Runtime, *, keeps_on: bool) -> None:
        self.events = rt.events(capacity=100_000)
        self._keeps_on = keeps_on
        self._left = 0
        self._done = anyio.Event()

    def expect(self, count: int) -> anyio.Event:
        self._left, self._done = count, anyio.Event()
        return self._done

    async def read(self) -> None:
        async for _ in self.events:
            self._left -= 1
            if not self._left:
                self._done.set()
                if not self._keeps_on:
                    break


def _series(rt: Runtime) -> Series:
    return rt._system.measuring.series(rt._system.pools["loop"], Priority.NORMAL)


def no_ops(prepare: Prepare) -> Side:
    """A side on which a runtime is prepared in some way before each round."""

    @asynccontextmanager
    async def side(size: int) -> AsyncGenerator[Round]:
        async with Runtime() as rt:

            async def play() -> float:
                prepare(rt)
                start = process_time()
                refs = [await rt.spawn(noop) for _ in range(size)]
                for ref in refs:
                    await ref
                return (process_time() - start) / size

            yield play

    return side


def _figure(name: str, what: str, prepare: Prepare, must: float | None) -> Figure:
    floor = no_ops(_blind)
    return Figure(
        name=name,
        what=f"no-op tasks {what}, against a runtime that measures nothing",
        judged="time",
        unit="µs",
        must=must,
        aim=must,
        floor=floor,
        ours=no_ops(prepare),
        trio_floor=floor,
        size=10_000,
        quick_size=2_000,
    )


def _of_events(name: str, what: str, must: float | None, *, reading: bool) -> Figure:
    return Figure(
        name=name,
        what=f"no-op tasks {what}, against a runtime that nobody watches",
        judged="time",
        unit="µs",
        must=must,
        aim=must,
        floor=no_ops(_as_it_is),
        ours=watched(reading=reading),
        trio_floor=no_ops(_as_it_is),
        size=10_000,
        quick_size=2_000,
    )


FIGURES = (
    _figure("observation", "that nobody watches", _as_it_is, 1.05),
    _figure("observation_burst", "after a pause, that nobody watches", _rested, None),
    _of_events("observation_events", "whose events are told and kept to be read", 1.25, reading=False),
    _of_events("observation_reading", "whose events are told and read", None, reading=True),
)

"""What it costs to observe a runtime: no-op tasks with it, against the same tasks without.

Floor: a runtime that measures nothing, and that nobody watches. Ours, by the name of the figure:

* `observation` is what every runtime does when nobody watches: it measures how long tasks take.
* `observation_burst` only informs: the same when it may measure as many as it ever does at once, because
  there was nothing to do for some time. Nobody has such a pause ten times a second.

Both sides are otherwise alike, and count down how many tasks may go by unmeasured.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from time import process_time
from typing import TYPE_CHECKING

from actorsched import Priority, Runtime
from actorsched._core.latency import Series
from benchmarks._figure import Figure, Round, Side
from benchmarks._work import noop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

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


FIGURES = (
    _figure("observation", "that nobody watches", _as_it_is, 1.05),
    _figure("observation_burst", "after a pause, that nobody watches", _rested, None),
)

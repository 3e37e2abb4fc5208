"""What runs of user code use: read from the clocks of the computer, and of nothing else.

The law of this module: it reads clocks, and judges nothing. The clocks are given, so that a test has its own.

How it works: a thread's clock tells for how long it had a processor. That a thread did not have one may mean
that it waited for something; or for the others, who had the interpreter; or for a processor. So it is also
looked up how much all of this process computed meanwhile, and for how long the thread stood in line. The
clock of the process is dear, and many runs are short: so they share a reading, as long as it is not much
older than they are. To look at the line is the dearest, and only done where it has to be known exactly.
"""

from __future__ import annotations

from time import monotonic, process_time, thread_time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from actorsched._core.auto_host import ENOUGH, Usage
from actorsched._kernel.queue_time import queue_time

if TYPE_CHECKING:
    from collections.abc import Callable

_FRESH: Final = 0.005
"""Seconds for which a reading of the process's clock is shared."""

Reading = tuple[float, float]
"""The time; and for how long the process had a processor by then."""


class Clocks(msgspec.Struct):
    """The clocks that are read, all in seconds."""

    wall: Callable[[], float] = monotonic
    thread: Callable[[], float] = thread_time
    """For how long the thread that asks has had a processor."""
    process: Callable[[], float] = process_time
    """For how long all threads together have had one."""
    queue: Callable[[], float] = queue_time
    """For how long the thread that asks has stood in line for one."""


class Gauges(Protocol):
    """Where gauges come from."""

    clocks: Clocks
    recent: Reading


class ThreadGauge:
    """Measures runs in the thread that asks, one after the other.

    The end of one is the beginning of the next: while it waits for that, a thread computes next to nothing.
    """

    __slots__ = ("_began", "_gauges", "_queued", "_reading", "_spent")

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self._began = self._queued = 0.0
        self._spent: float | None = None
        self._reading: Reading = (0.0, 0.0)

    def __repr__(self) -> str:
        return "<thread gauge>"

    def begin(self, *, exactly: bool) -> None:
        """A run begins."""
        clocks = self._gauges.clocks
        self._queued = clocks.queue() if exactly else 0.0
        self._began = began = clocks.wall()
        if self._spent is None:
            self._spent = clocks.thread()
        self._reading = reading = self._gauges.recent
        if began - reading[0] > _FRESH:
            self._reading = self._gauges.recent = (began, clocks.process())

    def end(self, *, exactly: bool) -> Usage | None:
        """It is over. What it used; None if that is little, and need not be known exactly."""
        clocks, before = self._gauges.clocks, self._spent
        assert before is not None
        self._spent = spent = clocks.thread()
        if spent - before < ENOUGH and not exactly:
            return None
        wall = clocks.wall() - self._began
        cpu = min(wall, spent - before)
        others = others_since(self._reading, clocks, wall, cpu)
        return Usage("thread", cpu, wall, others + (clocks.queue() - self._queued if exactly else 0.0))

    def skip(self) -> None:
        """A run begins that is not measured."""
        self._spent = None


class LoopGauge:
    """Measures one run in the loop, step by step."""

    __slots__ = ("_began", "_clocks", "_cpu", "_longest", "_queued", "_reading", "_step_began", "_step_spent")

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._began = clocks.wall()
        self._reading: Reading = (self._began, clocks.process())
        self._queued = clocks.queue()
        self._cpu = self._longest = self._step_began = self._step_spent = 0.0

    def __repr__(self) -> str:
        return f"<loop gauge at {self._cpu:.6f} s>"

    def begin(self) -> None:
        """A step begins."""
        self._step_spent = self._clocks.thread()
        self._step_began = self._clocks.wall()

    def end(self) -> None:
        """It is over."""
        self._longest = max(self._longest, self._clocks.wall() - self._step_began)
        self._cpu += self._clocks.thread() - self._step_spent

    def used(self, *, plain: bool, returned: bool) -> Usage:
        """What the run has used. A plain function has taken one step, and that is all there is of it."""
        cpu, longest = self._cpu, self._longest
        if plain:
            return Usage("loop", cpu, longest, step=longest, returned=returned)
        wall = self._clocks.wall() - self._began
        others = others_since(self._reading, self._clocks, wall, cpu) + self._clocks.queue() - self._queued
        return Usage("loop", cpu, wall, others, longest, returned)


def others_since(reading: Reading, clocks: Clocks, wall: float, cpu: float) -> float:
    """For how long all else in this process computed during a run of which a reading was taken before."""
    then, spent = reading
    elapsed = clocks.wall() - then
    if elapsed <= 0.0:
        return 0.0
    return max(0.0, (clocks.process() - spent) * min(1.0, wall / elapsed) - cpu)

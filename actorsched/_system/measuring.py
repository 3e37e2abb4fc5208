"""How long tasks take: where the clock is read for that, and what is done with it.

The law of this module: it changes nothing of a task but its `Special.timing`, and decides nothing but, with
the sampler of its series, whether a task is measured. What the times mean is the core's (`_core.latency`).

How it works: a new task counts down the sampler of its pool and priority, and nothing more if it is passed
over. One that is measured has a `Timing`, in which the time is noted when it is ready, and when an attempt
starts; when it has ended, all goes into the book. A host is handed tasks before it starts them, and says
afterwards when it did: only then is their start known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actorsched._core.latency import LatencyBook, Series
from actorsched._system.task_state import Special

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._kernel.kernel import Kernel
    from actorsched._system.pools import Pool
    from actorsched._system.task_state import TaskState
    from actorsched.options import TaskOptions

_NEVER = -1.0


class Timing(msgspec.Struct, eq=False):
    """The times of one task that is measured, by the runtime's clock."""

    measuring: Measuring
    series: Series
    weight: int
    """How many tasks it stands for."""
    submitted: float
    ready: float
    """When nothing but a worker or a resource was missing for the first time."""
    first: float = _NEVER
    """When the first attempt started; below 0 if none has."""
    started: float = _NEVER
    """When the latest one did."""

    def unbegun(self, attempts: int) -> None:
        """An attempt has not started, after all; so many have before it."""
        if not attempts:
            self.first = self.started = _NEVER

    def corrected(self, then: float, attempt: int) -> None:
        """This attempt has started later than it was said to."""
        if then > self.started >= 0.0:
            if attempt == 1:
                self.first = then
            self.started = then

    def began(self, then: float, kernel: Kernel, attempt: int) -> None:
        """This attempt began in a host at that time of the machine's clock; at 0, it never did."""
        if not then:
            self.unbegun(attempt - 1)
        elif kernel.world is not None or not kernel.virtual:  # else time stands still while a host is at work
            self.corrected(kernel.now - (kernel.monotonic() - then), attempt)

    def moved(self, pool: Pool, options: TaskOptions) -> None:
        """The task belongs to another pool."""
        self.series = self.measuring.series(pool, options.priority)

    def over(self, now: float) -> None:
        """The task has ended."""
        first = self.first
        if first >= 0.0:
            self.series.record(now, now - self.submitted, first - self.ready, now - self.started, self.weight)
        else:
            self.series.record(now, now - self.submitted, weight=self.weight)
        if self.measuring.on_end is not None:
            self.measuring.on_end()


class Measuring:
    """The latencies of a runtime."""

    def __init__(self, kernel: Kernel) -> None:
        self._now = kernel.clock.now
        self.book: LatencyBook = LatencyBook()
        self.on_end: Callable[[], None] | None = None
        """Called whenever a task that is measured has ended."""

    def __repr__(self) -> str:
        return f"<measuring {self.book!r}>"

    def series(self, pool: Pool, priority: int) -> Series:
        """The series of a task; from now on its pool knows it too."""
        series = self.book.series(pool.name, priority)
        if series is not self.book.others:  # or the pool would know any number of priorities
            pool.series[priority] = series
        return series

    def look(self, task: TaskState, series: Series) -> None:
        """A new task may have to be measured."""
        now = self._now()
        weight = series.look(now)
        if weight:
            timing = Timing(self, series, weight, now, now)
            if task.special is None:
                task.special = Special(timing=timing)
            else:
                task.special.timing = timing

    def drop(self, pool: Pool) -> None:
        """There is no such pool any more."""
        pool.series.clear()
        self.book.drop(pool.name, self._now())

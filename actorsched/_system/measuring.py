"""How long tasks take: where the clock is read for that, and what is done with it.

The law of this module: it changes nothing of a task but its `Special.timing`, and decides nothing but, with
the sampler of its series, whether a task is measured. What the times mean is the core's (`_core.latency`).

How it works: a new task counts down the sampler of its pool and priority, and nothing more if it is passed
over. One that is measured has a `Timing`, in which the time is noted when it is ready, and when an attempt
starts; when it has ended, all goes into the book. A host is handed tasks before it starts them, and says
afterwards for how long it had to do with them: so their start is counted back from the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actorsched._core.latency import LatencyBook, Sampler, Series

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._kernel.kernel import Kernel
    from actorsched._system.pools import Pool
    from actorsched._system.task_state import TaskState

_NEVER = -1.0


class Timing(msgspec.Struct, eq=False, gc=False):
    """The times of one task that is measured, by the runtime's clock."""

    measuring: Measuring
    weight: int
    """How many tasks it stands for."""
    submitted: float
    ready: float
    """When nothing but a worker or a resource was missing for the first time."""
    first: float = _NEVER
    """When the first attempt started; below 0 if none has."""
    started: float = _NEVER
    """When the latest one did."""

    def begun(self, now: float) -> None:
        """An attempt starts."""
        if self.first < 0.0:
            self.first = now
        self.started = now

    def unbegun(self, attempts: int) -> None:
        """It has not started, after all."""
        if not attempts:
            self.first = self.started = _NEVER

    def corrected(self, now: float, attempts: int) -> None:
        """The present attempt has in fact started now, or then."""
        if now > self.started:
            if attempts == 1:
                self.first = now
            self.started = now

    def took(self, kernel: Kernel, seconds: float, attempts: int) -> None:
        """The present attempt has just ended in a host that had to do with it for so long."""
        if not kernel.virtual:  # virtual time stands still meanwhile
            self.corrected(kernel.now - seconds, attempts)

    def over(self, task: TaskState, now: float) -> None:
        """The task has ended."""
        self.measuring.ended(task, self, now)


class Measuring:
    """The latencies of a runtime."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.book: LatencyBook = LatencyBook()
        self.on_end: Callable[[], None] | None = None
        """Called whenever a task that is measured has ended."""

    def __repr__(self) -> str:
        return f"<measuring {self.book!r}>"

    def series(self, pool: Pool, priority: int) -> Series:
        """The series of a task; from now on its pool knows the sampler of it."""
        series = self.book.series(pool.name, priority)
        if series is not self.book.others:  # or the pool would know any number of priorities
            pool.samplers[priority] = series.sampler
        return series

    def look(self, task: TaskState, sampler: Sampler) -> None:
        """A new task may have to be measured."""
        now = self._kernel.now
        weight = sampler.look(now)
        if weight:
            task.specially().timing = Timing(self, weight, now, now)

    def ended(self, task: TaskState, timing: Timing, now: float) -> None:
        """A task that is measured has ended."""
        series = self.book.series(task.pool.name, task.options.priority)
        first, weight = timing.first, timing.weight
        if first < 0.0:
            series.record(now, now - timing.submitted, weight=weight)
        else:
            series.record(now, now - timing.submitted, first - timing.ready, now - timing.started, weight)
        if self.on_end is not None:
            self.on_end()

    def drop(self, pool: Pool) -> None:
        """There is no such pool any more."""
        pool.samplers.clear()
        self.book.drop(pool.name, self._kernel.now)

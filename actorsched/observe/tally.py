"""How far a runtime is: done and to be done, by pool, how fast, and what the running tasks say.

The law of this module: it keeps what it was told, and looks at no clock. Numbers come from `rt.stats()`, as
often as somebody cares to ask; names come from events. So nothing has to be counted here, and what a look
costs does not depend on how many tasks have ended.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorsched.events import Event, EventKind
    from actorsched.stats import Stats

__all__ = ["HEARD", "Look", "Pace", "Row", "Running", "Tally"]

HEARD: tuple[EventKind, ...] = (
    *("started", "resumed", "preempted", "retrying", "progress"),
    *("completed", "failed", "cancelled", "deadline_missed"),
)
"""The kinds of events that a tally wants to hear of."""

_WINDOW = 10.0
"""Over how many seconds the rate is taken."""
_TELLING = 0.5
"""After how many seconds it is worth telling."""
_SCANNED = 1000
"""Among how many running tasks those to be shown are looked for."""


class Row(msgspec.Struct, frozen=True):
    """One bar.

    Attributes:
        name: The pool; empty for all of them together.
        done: How many tasks have ended, however.
        total: The same, and how many there are.
        failed: How many of them have failed, or missed their deadline.
        cancelled: How many were cancelled.
        running: How many run.
        rate: How many end per second, at present; None if that cannot be told yet.
        remaining: In how many seconds what there is will be done at this rate; None likewise.
    """

    name: str
    done: int
    total: int
    failed: int
    cancelled: int
    running: int
    rate: float | None
    remaining: float | None


class Running(msgspec.Struct):
    """A task that runs.

    Attributes:
        name: Its name.
        worker: What runs it.
        since: When that began.
        fraction: How far it has said it is; None if it has not.
        message: What it has said last.
    """

    name: str
    worker: str
    since: float
    fraction: float | None = None
    message: str | None = None


class Look(msgspec.Struct, frozen=True):
    """All there is to show at one moment.

    Attributes:
        elapsed: For how many seconds somebody has looked on.
        overall: All tasks.
        rows: The pools in which there was anything to do, if there are several.
        running: Some of the tasks that run, and for how many seconds they have; those that say something
            come first.
        more: How many more run.
    """

    elapsed: float
    overall: Row
    rows: tuple[Row, ...]
    running: tuple[tuple[Running, float], ...]
    more: int


class Pace:
    """How fast something goes, over the last few seconds."""

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])

    def rate(self, done: int, now: float) -> float | None:
        """How many per second; None before it can be told. Asking for it is what takes the samples."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - _WINDOW:
            samples.popleft()
        then, before = samples[0]
        if now > samples[-1][0]:
            samples.append((now, done))
        return (done - before) / (now - then) if now - then >= _TELLING else None


class _Counts(msgspec.Struct):
    ended: int
    failed: int
    cancelled: int


class Tally:
    """What somebody who looks on knows.

    Args:
        stats: What there was when it began; what had ended before is left out.
    """

    def __init__(self, stats: Stats) -> None:
        self._began = stats.uptime
        self._before = {name: _counts(pool.tasks) for name, pool in stats.pools.items()}
        self._all_before = _counts(stats.tasks)
        self._paces: dict[str, Pace] = {}
        self._running: dict[str, Running] = {}

    def hear(self, event: Event) -> None:
        """Something has happened to a task."""
        kind, details = event.kind, event.details
        if kind in ("started", "resumed"):
            self._running[event.id] = Running(event.name, details.get("worker", ""), event.time)
        elif kind == "progress":
            running = self._running.get(event.id)
            if running is None:  # it began before anybody listened
                running = self._running[event.id] = Running(event.name, "", event.time)
            running.fraction, running.message = details.get("fraction"), details.get("message")
        elif kind != "deadline_missed" or "final" in details:  # of tasks that go on it is told too
            self._running.pop(event.id, None)

    def look(self, stats: Stats, now: float, shown: int) -> Look:
        """What there is to show now.

        Args:
            stats: The numbers.
            now: The time, as of events.
            shown: How many running tasks, and how many pools, at most.
        """
        overall = self._row("", stats.tasks, self._all_before, stats.uptime)
        nothing = _Counts(0, 0, 0)
        rows = [
            self._row(name, pool.tasks, self._before.get(name, nothing), stats.uptime)
            for name, pool in stats.pools.items()
        ]
        rows = [row for row in rows if row.total]
        telling = sorted(islice(self._running.values(), _SCANNED), key=_says_nothing)
        running = tuple((task, max(0.0, now - task.since)) for task in telling[:shown])
        return Look(
            elapsed=stats.uptime - self._began,
            overall=overall,
            rows=tuple(rows[:shown]) if len(rows) > 1 else (),
            running=tuple((msgspec.structs.replace(task), seconds) for task, seconds in running),
            more=max(0, len(self._running) - len(running)),
        )

    def _row(self, name: str, tasks: Mapping[TaskStatus, int], before: _Counts, uptime: float) -> Row:
        counts = _counts(tasks)
        done = counts.ended - before.ended
        left = sum(tasks.values()) - counts.ended
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = Pace(self._began)
        rate = pace.rate(done, uptime)
        return Row(
            name=name,
            done=done,
            total=done + left,
            failed=counts.failed - before.failed,
            cancelled=counts.cancelled - before.cancelled,
            running=tasks[TaskStatus.RUNNING],
            rate=rate,
            remaining=left / rate if rate else None,
        )


def _counts(tasks: Mapping[TaskStatus, int]) -> _Counts:
    failed = tasks[TaskStatus.FAILED] + tasks[TaskStatus.DEADLINE_MISSED]
    cancelled = tasks[TaskStatus.CANCELLED]
    return _Counts(tasks[TaskStatus.COMPLETED] + failed + cancelled, failed, cancelled)


def _says_nothing(task: Running) -> bool:
    return task.fraction is None and task.message is None

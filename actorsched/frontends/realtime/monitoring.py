"""What there is to see of a scheduler: how long its tasks take, what they use, and how they end.

The law of this module: it measures nothing but what functions use of their threads; how long tasks wait, run
and take is what the runtime has measured (`rt.stats().latencies`), and thresholds are its alarms. Whoever
asks may be in any thread, and waits for the runtime for a moment at most: when it is busy, or has gone, the
answer is the last one that is known.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from actorsched.context import current
from actorsched.frontends._shared import SHARED
from actorsched.frontends.realtime.vocabulary import TaskPriority, above_zero, invalid, priority_of

if TYPE_CHECKING:
    from actorsched.alarm import Alarm
    from actorsched.frontends._shared import Pool
    from actorsched.runtime import Runtime
    from actorsched.stats import Quantiles

PHASES = {"scheduling": "wait", "execution": "run", "total": "total"}
"""What the phases of a task are called in the runtime."""
PATIENCE = 1.0
"""Seconds that an answer of the runtime may take."""
_NOTHING: dict[str, float] = {
    "count": 0,
    "mean_ms": 0.0,
    "p50_ms": 0.0,
    "p95_ms": 0.0,
    "p99_ms": 0.0,
    "max_ms": 0.0,
}

LatencyTable = dict[str, dict[str, dict[str, float]]]
"""By level, phase, and key."""


class TaskMetrics(NamedTuple):
    """How long one task has waited, run and taken, as far as it has come; None for what is not known yet.

    Attributes:
        scheduling_ms: From its submission to its first beginning.
        execution_ms: From its first beginning to its end.
        total_ms: From its submission to its end.
        cpu_seconds: What its function has used of a processor, in its own thread.
        attempts: How often it has begun.
        tardiness_ms: By how much it ended after its deadline, 0 if in time; None without one.
    """

    scheduling_ms: float | None
    execution_ms: float | None
    total_ms: float | None
    cpu_seconds: float
    attempts: int
    tardiness_ms: float | None


class Usage:
    """What the tasks of a scheduler use, and how they have ended. Thread-safe.

    Args:
        workers: How many there are at first.
    """

    def __init__(self, workers: int) -> None:
        self._lock = threading.Lock()
        self._workers = workers
        self._since: float | None = None  # when it was started, or had other workers; None while it stands
        self._capacity = 0.0  # seconds of workers until then
        self._time = 0.0  # seconds for which it has been started, until then
        self._running: dict[float, int] = {}  # how many have begun at which time
        self.busy = 0.0
        """Seconds of workers that were used by those that have ended."""
        self.cpu_seconds = 0.0
        self.live = 0
        """How many tasks have been submitted, and have not settled."""
        self.completed = 0
        self.failed = 0
        self.cancelled = 0
        self.inversions = 0

    @property
    def active(self) -> int:
        """How many functions run."""
        return sum(self._running.copy().values())

    @property
    def queued(self) -> int:
        """How many tasks were submitted, and do not run."""
        return max(0, self.live - self.active)

    def turn(self, workers: int, *, on: bool) -> None:
        """The scheduler is started or stopped, or has another number of workers."""
        with self._lock:
            now = monotonic()
            if self._since is not None:
                self._capacity += (now - self._since) * self._workers
                self._time += now - self._since
            self._workers, self._since = workers, now if on else None

    def came(self) -> None:
        """A task was submitted."""
        with self._lock:
            self.live += 1

    def went(self, how: str) -> None:
        """A task has settled: "completed", "failed" or "cancelled"."""
        with self._lock:
            self.live -= 1
            setattr(self, how, getattr(self, how) + 1)

    def began(self, now: float) -> None:
        """A function has begun."""
        with self._lock:
            self._running[now] = self._running.get(now, 0) + 1

    def ended(self, begun: float, used: float) -> None:
        """A function has ended."""
        with self._lock:
            left = self._running.pop(begun, 1) - 1
            if left:
                self._running[begun] = left
            self.busy += monotonic() - begun
            self.cpu_seconds += used

    def summary(self) -> dict[str, float]:
        """All of it, as `SchedulerMetrics.get_summary` tells it."""
        with self._lock:
            now = monotonic()
            since = now - self._since if self._since is not None else 0.0
            capacity, time = self._capacity + since * self._workers, self._time + since
            busy = self.busy + sum((now - begun) * number for begun, number in self._running.items())
            judged = self.completed + self.failed
            return {
                "success_rate_percent": 100.0 * self.completed / judged if judged else 0.0,
                "throughput_per_second": self.completed / time if time else 0.0,
                "tasks_completed": self.completed,
                "tasks_failed": self.failed,
                "worker_utilization_percent": min(100.0, 100.0 * busy / capacity) if capacity else 0.0,
                "cpu_seconds": self.cpu_seconds,
                "priority_inversions": self.inversions,
            }


class SchedulerMetrics:
    """What the tasks of one scheduler have used, and how they have ended, since it was made."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def __repr__(self) -> str:
        return f"<metrics {self.get_summary()}>"

    def get_summary(self) -> dict[str, float]:
        """Look at all of it, from any thread, at once.

        Returns:
            `success_rate_percent`, of the tasks that completed or failed, 0 before the first; those whose
            deadline was missed have failed. `throughput_per_second`, of tasks completed while the scheduler
            was started. `tasks_completed` and `tasks_failed`. `worker_utilization_percent`, of the time of
            all workers. `cpu_seconds`, of a processor, by functions that have ended. `priority_inversions`:
            how often a task had to wait for a resource that a task of a lower priority held.
        """
        return self._usage.summary()


class LatencyMonitor:
    """How long the tasks of one scheduler take, by priority.

    Args:
        pool: Where they run.
        thresholds: By priority and phase, how many milliseconds the P95 of the last minute may reach.

    Raises:
        InvalidArgumentError: A threshold cannot be.
    """

    def __init__(self, pool: Pool, thresholds: Mapping[TaskPriority, Mapping[str, float]] | None) -> None:
        self.thresholds: dict[TaskPriority, dict[str, float]] = checked(thresholds)
        self._pool = pool
        self._last: LatencyTable = _nothing()
        self._alarms: list[Alarm] = []
        self._watched: Runtime | None = None

    def __repr__(self) -> str:
        return f"<latency monitor of {self._pool.name!r}>"

    def get_stats(self) -> LatencyTable:
        """Look at how long tasks took that have ended, from any thread.

        They are the tasks of the present shared runtime; when it has been stopped, those of the last one that
        was looked at. Quantiles have a relative error of 1 % at most; the maximum is exact.

        Returns:
            For each level ("IDLE" to "REALTIME") and each phase ("scheduling", from being ready to the
            beginning; "execution"; "total", from submission to end): `count`, `mean_ms`, `p50_ms`, `p95_ms`,
            `p99_ms` and `max_ms`, which are 0 where there is nothing.
        """
        self.refresh()
        return {
            level: {phase: dict(table) for phase, table in phases.items()}
            for level, phases in self._last.items()
        }

    @property
    def firing(self) -> tuple[str, ...]:
        """The names of the thresholds that are exceeded, as "REALTIME scheduling"."""
        return tuple(alarm.name.partition(": ")[2] for alarm in self._alarms if alarm.firing)

    def refresh(self, patience: float = PATIENCE) -> None:
        """Have the runtime asked, unless there is none."""
        over = threading.Event()

        def look(runtime: Runtime) -> None:
            self._last = self._read(runtime)
            over.set()

        if SHARED.is_here:
            look(current().runtime)
        elif SHARED.call_if_there(look):
            over.wait(patience)

    def _read(self, runtime: Runtime) -> LatencyTable:
        each = runtime.stats().latencies.by_pool_and_priority
        table = _nothing()
        for priority in TaskPriority:
            stats = each.get((self._pool.name, priority))
            if stats is not None:
                for phase, native in PHASES.items():
                    table[priority.name][phase] = _in_ms(getattr(stats, native))
        return table

    def watch(self, runtime: Runtime) -> None:
        """Set the alarms, unless this runtime has them. In its thread."""
        if self._watched is runtime or not self.thresholds:
            return
        self._watched = runtime
        self._alarms = [
            runtime.alert(
                PHASES[phase],  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # one of three
                limit / 1000,
                priority=int(priority),
                pool=self._pool.name,
                at_least=1,
                name=f"{self._pool.name}: {priority.name} {phase}",
            )
            for priority, limits in self.thresholds.items()
            for phase, limit in limits.items()
        ]


def checked(thresholds: object) -> dict[TaskPriority, dict[str, float]]:
    """Return thresholds that can be.

    Raises:
        InvalidArgumentError: One cannot.
    """
    if thresholds is None:
        return {}
    remedy = 'give milliseconds by priority and phase, such as {TaskPriority.REALTIME: {"scheduling": 10}}'
    if not isinstance(thresholds, Mapping):
        raise invalid("thresholds", thresholds, remedy)
    result: dict[TaskPriority, dict[str, float]] = {}
    given: Mapping[Any, Any] = thresholds  # pyright: ignore[reportUnknownVariableType]
    for priority, limits in given.items():
        if not isinstance(limits, Mapping):
            raise invalid("thresholds", limits, remedy)
        own = result[priority_of(priority)] = {}
        of_phases: Mapping[Any, Any] = limits  # pyright: ignore[reportUnknownVariableType]
        for phase, limit in of_phases.items():
            if phase not in PHASES:
                raise invalid("a phase of thresholds", phase, f"choose from {', '.join(map(repr, PHASES))}")
            own[phase] = above_zero(limit, f"thresholds[{priority_of(priority).name}][{phase!r}]", "ms")
    return result


def _in_ms(values: Quantiles) -> dict[str, float]:
    if not values.count:
        return dict(_NOTHING)
    return {
        "count": values.count,
        "mean_ms": (values.mean or 0.0) * 1000,
        "p50_ms": (values.p50 or 0.0) * 1000,
        "p95_ms": (values.p95 or 0.0) * 1000,
        "p99_ms": (values.p99 or 0.0) * 1000,
        "max_ms": (values.max or 0.0) * 1000,
    }


def _nothing() -> LatencyTable:
    return {priority.name: {phase: dict(_NOTHING) for phase in PHASES} for priority in TaskPriority}

"""The metrics of all real-time schedulers of a process, by the names that their users know.

The law of this module: these five metrics, and nothing else; those of a runtime are in `observe.prometheus`.
Without `prometheus_client` nothing is counted, and nothing else is missing.

How it works: the first scheduler puts them on the registry of the process. Two are counted up when a task has
settled; how long the queue is and how many workers are active is summed up when somebody asks.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

try:
    import prometheus_client as prometheus
except ImportError:
    prometheus = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Counter, Histogram

    from actorsched.frontends.realtime.monitoring import Usage
    from actorsched.frontends.realtime.task import Task

_M = TypeVar("_M")

_BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_LATENCIES = {"perception": "Perception", "reasoning": "Reasoning"}
_log = logging.getLogger("actorsched")


class Metrics:
    """The five metrics, from the first scheduler on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usages: WeakSet[Usage] = WeakSet()
        self._is_made = False
        self._latencies: dict[str, Histogram] = {}
        self._processed: dict[str, Counter] = {}

    def __repr__(self) -> str:
        return f"<metrics of {len(self._usages)} schedulers>"

    def include(self, usage: Usage) -> None:
        """There is another scheduler."""
        with self._lock:
            self._usages.add(usage)
            if not self._is_made:
                self._is_made = True
                self._make()

    def settled(self, task: Task, how: str) -> None:
        """A task has settled: "completed", "failed" or "cancelled"."""
        counter = self._processed.get(how)
        if counter is not None:
            counter.inc()
        for word, latency in self._latencies.items():
            if word in task.name.lower() and how != "cancelled" and task.total_ms is not None:
                latency.observe(task.total_ms)

    def _make(self) -> None:
        if prometheus is None:
            return
        for word, title in _LATENCIES.items():
            about = f"{title} tasks: milliseconds from submission to end."
            latency = _registered(
                _ageless(prometheus.Histogram), f"{word}_latency_ms", about, buckets=_BUCKETS_MS
            )
            if latency is not None:
                self._latencies[word] = latency
        about = "Tasks of real-time schedulers that have ended."
        processed = _registered(_ageless(prometheus.Counter), "tasks_processed_total", about, ["status"])
        if processed is not None:
            self._processed = {how: processed.labels(how) for how in ("completed", "failed", "cancelled")}
        about = "Tasks of real-time schedulers that were submitted and do not run."
        self._sum(prometheus.Gauge, "queue_size", about, lambda usage: usage.queued)
        about = "Workers of real-time schedulers that run a task."
        self._sum(prometheus.Gauge, "active_workers", about, lambda usage: usage.active)

    def _sum(self, gauge: Any, name: str, about: str, count: Callable[[Usage], int]) -> None:
        """A number that is summed up over all schedulers when somebody asks for it."""

        def total() -> float:
            with self._lock:
                usages = list(self._usages)
            return sum(map(count, usages))

        made = _registered(gauge, name, about)
        if made is not None:
            made.set_function(total)


def _ageless(kind: type[_M]) -> type[_M]:
    """The same kind of metric, without the gauge that tells when it was made: nobody knows that one."""

    def collect(self: Any) -> list[Any]:
        told: Callable[[Any], Iterable[Any]] = getattr(kind, "collect")  # noqa: B009 # of a kind of metric
        metrics = list(told(self))
        for metric in metrics:
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
        return metrics

    made: Any = type(kind.__name__, (kind,), {"collect": collect})
    ageless: type[_M] = made
    return ageless


def _registered(make: Callable[..., _M], name: str, *args: Any, **kwargs: Any) -> _M | None:
    """The metric, unless somebody else has one of that name."""
    try:
        return make(name, *args, **kwargs)
    except ValueError:
        _log.warning("metric %r is not told: the registry has another one of this name", name)
        return None


METRICS = Metrics()

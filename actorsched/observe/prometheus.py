"""A runtime for Prometheus: what `rt.stats()` tells, as metrics of `prometheus_client`.

The law of this module: it measures nothing and keeps nothing but the last answer. Names and units follow the
conventions of Prometheus: counters end in `_total`, times are seconds, and every metric begins with
`actorsched_`. A runtime that has closed is not told of any longer.

How it works: the server scrapes in a thread of its own. There the runtime is asked to take its statistics in
its own thread, and waited for, shortly: when it is busy, the last answer is told again. One collector serves
all runtimes of a registry, since a metric may stand in an answer only once.

This module needs `prometheus_client`: `pip install actorsched[prometheus]`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from actorsched.durations import Duration, seconds
from actorsched.exceptions import RuntimeClosed
from actorsched.options import Priority
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from actorsched.flow import Events
    from actorsched.runtime import Runtime
    from actorsched.stats import Quantiles, Stats

__all__ = ["Exporter"]

_FINAL = [status for status in TaskStatus if status.is_final]
_PRESENT = [status for status in TaskStatus if not status.is_final]
_HOST_STATES = ("starting", "idle", "busy", "suspended", "suspected", "retiring")
_MESSAGES = ("handled", "rejected", "dead_lettered")
_PHASES = {
    "wait": "How long tasks waited from being ready to their first start, in seconds.",
    "run": "How long tasks took from their last start to their end, in seconds.",
    "total": "How long tasks took from their submission to their end, in seconds.",
}


class Exporter:
    """Tells Prometheus of a runtime, until that closes. Made in the runtime's thread.

    `with Exporter(rt): ...`, or without `with`, for as long as the runtime lives.

    Args:
        runtime: The runtime, entered.
        registry: Where its metrics are looked for; None for `prometheus_client.REGISTRY`.
        name: Its label `runtime`; None for its own name.
        events: Iterators of `rt.events()`, whose lost events are counted.
        patience: How long a scrape waits for a runtime that is busy, before it tells what it knew last.

    Raises:
        RuntimeError: The runtime is not entered, or this is another thread.
        ValueError: Another runtime of this registry has this name.
    """

    def __init__(
        self,
        runtime: Runtime,
        registry: CollectorRegistry | None = None,
        *,
        name: str | None = None,
        events: Iterable[Events] = (),
        patience: Duration = "500ms",
    ) -> None:
        self.name: str = runtime.name if name is None else name
        self._runtime = runtime
        self._patience = seconds(patience, field="patience")
        self._events = tuple(events)
        self._thread = threading.get_ident()
        self._last: Stats | None = runtime.stats()
        self._collector = _collector_of(REGISTRY if registry is None else registry)
        self._collector.add(self)
        self._take_back = runtime.at_close(self.close)

    def __repr__(self) -> str:
        return f"<Exporter of {self.name!r}{'' if self._last else ', closed'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Tell nothing of it any longer. Once is enough."""
        self._last = None
        self._take_back()
        self._collector.remove(self)

    def look(self) -> Stats | None:
        """The statistics of the runtime now, or as they were last; None when it has closed. In any thread."""
        if threading.get_ident() == self._thread:
            if self._last is not None:
                self._last = self._runtime.stats()
            return self._last
        over = threading.Event()

        def take() -> None:
            if self._last is not None:
                self._last = self._runtime.stats()
            over.set()

        try:
            self._runtime.call_threadsafe(take)
        except RuntimeClosed:
            self.close()
        else:
            over.wait(self._patience)
        return self._last

    def lost(self) -> int:
        """How many events its iterators have lost."""
        return sum(events.lost for events in self._events)


# ------------------------------------------------------------------------------------------------ the scrapes

_collectors: WeakKeyDictionary[CollectorRegistry, _Collector] = WeakKeyDictionary()
_lock = threading.Lock()


class _Collector(Collector):
    """All runtimes of one registry. It stands there as long as there is one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._exporters: dict[str, Exporter] = {}

    def add(self, exporter: Exporter) -> None:
        with _lock:
            if exporter.name in self._exporters:
                raise ValueError(
                    f"name={exporter.name!r} is that of another runtime in this registry; give this one "
                    'another name: Exporter(rt, name="...")'
                )
            if not self._exporters:
                self._registry.register(self)
            self._exporters[exporter.name] = exporter

    def remove(self, exporter: Exporter) -> None:
        with _lock:
            if self._exporters.get(exporter.name) is exporter:
                del self._exporters[exporter.name]
                if not self._exporters:
                    self._registry.unregister(self)

    def describe(self) -> list[Metric]:
        """Nothing is asked for when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        with _lock:
            exporters = list(self._exporters.values())
        seen = [(exporter, stats) for exporter in exporters if (stats := exporter.look()) is not None]
        for family in _FAMILIES:
            yield family([(exporter.name, stats) for exporter, stats in seen])
        yield _lost(exporter for exporter, _ in seen)


def _collector_of(registry: CollectorRegistry) -> _Collector:
    with _lock:
        collector = _collectors.get(registry)
        if collector is None:
            collector = _collectors[registry] = _Collector(registry)
        return collector


# ----------------------------------------------------------------------------------------------- the families

_Seen = list[tuple[str, "Stats"]]
_Row = tuple[tuple[str, ...], float]


def _gauge(name: str, about: str, labels: tuple[str, ...], rows: Callable[[Stats], Iterable[_Row]]) -> Any:
    def family(seen: _Seen) -> Metric:
        metric = GaugeMetricFamily(f"actorsched_{name}", about, labels=("runtime", *labels))
        for runtime, stats in seen:
            for values, number in rows(stats):
                metric.add_metric((runtime, *values), number)
        return metric

    return family


def _counter(name: str, about: str, labels: tuple[str, ...], rows: Callable[[Stats], Iterable[_Row]]) -> Any:
    def family(seen: _Seen) -> Metric:
        metric = CounterMetricFamily(f"actorsched_{name}", about, labels=("runtime", *labels))
        for runtime, stats in seen:
            for values, number in rows(stats):
                metric.add_metric((runtime, *values), number)
        return metric

    return family


def _summary(phase: str) -> Any:
    """Quantiles of one phase, by pool and priority."""
    name = f"actorsched_task_{phase}_seconds"

    def family(seen: _Seen) -> Metric:
        metric = Metric(name, _PHASES[phase], "summary")
        for runtime, stats in seen:
            for (pool, priority), phases in stats.latencies.by_pool_and_priority.items():
                labels = {"runtime": runtime, "pool": pool, "priority": _level(priority)}
                _add(metric, labels, getattr(phases, phase))
        return metric

    return family


def _add(metric: Metric, labels: dict[str, str], values: Quantiles) -> None:
    for part, value in ((0.5, values.p50), (0.95, values.p95), (0.99, values.p99)):
        if value is not None:
            metric.add_sample(metric.name, {**labels, "quantile": str(part)}, value)
    metric.add_sample(f"{metric.name}_count", labels, values.count)
    metric.add_sample(f"{metric.name}_sum", labels, values.sum)


def _level(priority: int) -> str:
    try:
        return Priority(priority).name.lower()
    except ValueError:
        return str(priority)


def _lost(exporters: Iterable[Exporter]) -> Metric:
    about = "Events that were not read before others needed their room."
    metric = CounterMetricFamily("actorsched_events_lost", about, labels=("runtime",))
    for exporter in exporters:
        metric.add_metric((exporter.name,), exporter.lost())
    return metric


_FAMILIES: list[Callable[[_Seen], Metric]] = [
    _gauge("uptime_seconds", "How long the runtime has existed.", (), lambda stats: [((), stats.uptime)]),
    _counter("tasks_submitted", "Tasks that were submitted.", (), lambda stats: [((), stats.submitted)]),
    _counter(
        "tasks_ended",
        "Tasks that have ended, by how.",
        ("status",),
        lambda stats: [((status.value,), stats.tasks[status]) for status in _FINAL],
    ),
    _gauge(
        "tasks",
        "Tasks that have not ended, by their status.",
        ("status",),
        lambda stats: [((status.value,), stats.tasks[status]) for status in _PRESENT],
    ),
    _gauge(
        "pool_queued_tasks",
        "Tasks that want a worker and have none.",
        ("pool",),
        lambda stats: [((name,), pool.queued) for name, pool in stats.pools.items()],
    ),
    _gauge(
        "pool_running_tasks",
        "Tasks that have a worker.",
        ("pool",),
        lambda stats: [((name,), pool.running) for name, pool in stats.pools.items()],
    ),
    _gauge(
        "pool_workers",
        "How many tasks may run at once; a pool without a limit is not there.",
        ("pool",),
        lambda stats: [((name,), pool.limit) for name, pool in stats.pools.items() if pool.limit is not None],
    ),
    _gauge(
        "threads",
        "Threads for tasks, by whether they have one.",
        ("state",),
        lambda stats: [
            (("busy",), stats.threads.busy),
            (("idle",), stats.threads.threads - stats.threads.busy),
        ],
    ),
    _gauge(
        "hosts",
        "Host processes, by what they do.",
        ("state",),
        lambda stats: [((state,), getattr(stats.hosts, state)) for state in _HOST_STATES],
    ),
    _counter("hosts_spawned", "Hosts that got ready.", (), lambda stats: [((), stats.hosts.spawned)]),
    _counter(
        "hosts_ended",
        "Hosts that have ended: reaped in order, or died.",
        ("how",),
        lambda stats: [(("reaped",), stats.hosts.reaped), (("died",), stats.hosts.died)],
    ),
    _gauge("actors", "Actors that there are.", (), lambda stats: [((), stats.actors.actors)]),
    _counter(
        "actor_restarts",
        "Actors that their supervisors have started again.",
        (),
        lambda stats: [((), stats.actors.restarts)],
    ),
    _counter("messages_sent", "Messages to actors.", (), lambda stats: [((), stats.messages.sent)]),
    _counter(
        "messages_ended",
        "Messages that were handled, rejected, or became dead letters.",
        ("how",),
        lambda stats: [((how,), getattr(stats.messages, how)) for how in _MESSAGES],
    ),
    *map(_summary, _PHASES),
]

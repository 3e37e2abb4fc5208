"""How statistics look to a person at a terminal: `print(rt.stats())`.

The law of this module: text, made from what the values say; it looks at nothing else. What there is none of
is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsched.durations import describe
from actorsched.latencies import PhaseStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from actorsched.latencies import LatencyViews, Quantiles
    from actorsched.stats import Stats

__all__ = ["table"]

_HEAD = 26
"""How wide the names of the rows of the table are."""
_COLUMNS = ("count", "mean", "p50", "p95", "p99", "max")


def table(stats: Stats) -> str:
    """Draw all of it in some lines."""
    lines = [f"{name:<10}{text}" for name, text in _facts(stats) if text]
    latencies = stats.latencies
    if latencies.overall.total.count:
        lines += _latencies(latencies)
    if latencies.recent.overall not in (latencies.overall, PhaseStats()):
        lines += _rows("last minute", latencies.recent.overall)
    return "\n".join(lines)


def _facts(stats: Stats) -> Iterator[tuple[str, str]]:
    yield "uptime", _time(stats.uptime)
    rate = stats.success_rate
    tasks = _counts({status.value: number for status, number in stats.tasks.items()})
    yield "tasks", ", ".join(_some(f"{stats.submitted} submitted", tasks))
    yield "success", "" if rate is None else f"{rate:.1%}"
    speed = f"{stats.throughput:.1f}/s, in the last minute {stats.recent_throughput:.1f}/s"
    yield "ended", speed if stats.ended else ""
    for name, pool in stats.pools.items():
        limit = "" if pool.limit is None else f" of {pool.limit}"
        used = pool.running or pool.queued or any(pool.tasks.values())
        yield "pool", f"{name}: {pool.running}{limit} running, {pool.queued} queued" if used else ""
    threads = stats.threads
    yield "threads", f"{threads.threads}, {threads.busy} busy" if threads.threads else ""
    hosts = stats.hosts
    states = {state: getattr(hosts, state) for state in hosts.__struct_fields__}
    yield "hosts", ", ".join(_some(str(hosts.total), _counts(states))) if any(states.values()) else ""
    actors = stats.actors
    yield (
        "actors",
        ", ".join(_some(str(actors.actors), _counts({"hosted": actors.hosted, "restarts": actors.restarts})))
        if actors.actors or actors.restarts
        else "",
    )
    messages = {name: getattr(stats.messages, name) for name in stats.messages.__struct_fields__}
    yield "messages", _counts({**messages, "pending": stats.messages.pending})


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(
        f"{number} {name.replace('_', ' ').lower()}" for name, number in numbers.items() if number
    )


def _some(*texts: str) -> Iterable[str]:
    return [text for text in texts if text]


def _latencies(views: LatencyViews) -> Iterator[str]:
    yield f"{'latencies':<{_HEAD}}" + "".join(f"{column:>10}" for column in _COLUMNS)
    yield from _rows("all", views.overall)
    if len(views.by_priority) > 1:
        for priority, phases in views.by_priority.items():
            yield from _rows(f"priority {priority}", phases)
    if len(views.by_pool) > 1:
        for pool, phases in views.by_pool.items():
            yield from _rows(f"pool {pool}", phases)


def _rows(name: str, phases: PhaseStats) -> Iterator[str]:
    for phase in phases.__struct_fields__:
        quantiles: Quantiles = getattr(phases, phase)
        if quantiles.count:
            seconds = (quantiles.mean, quantiles.p50, quantiles.p95, quantiles.p99, quantiles.max)
            times = "".join(f"{_time(value or 0.0):>10}" for value in seconds)
            yield f"  {name[: _HEAD - 9]:<{_HEAD - 8}}{phase:<6}{quantiles.count:>10}{times}"


def _time(seconds: float) -> str:
    """Seconds with three digits, which is what is known of them."""
    return describe(float(f"{seconds:.3g}"))

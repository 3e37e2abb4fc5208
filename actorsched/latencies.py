"""How long the tasks of a runtime take: a part of what `rt.stats()` answers with.

The law of this module: values, and how they are read off the book that the system keeps; it measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.latency import Latencies, LatencyBook, Series, Sketch

__all__ = ["LatencyStats", "LatencyViews", "PhaseStats", "Quantiles", "latencies_of"]

_PARTS = (0.5, 0.95, 0.99)


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """How long one phase of some tasks took, in seconds. What would need a first task is None before it.

    Attributes:
        count: How many tasks.
        sum: All of them together.
        mean: Their mean.
        p50: Half of them took no longer; with a relative error of at most 1 %.
        p95: 95 % of them took no longer; likewise.
        p99: 99 % of them took no longer; likewise.
        max: The longest, exactly.
    """

    count: int = 0
    sum: float = 0.0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class PhaseStats(msgspec.Struct, frozen=True, kw_only=True):
    """The phases of some tasks. A task counts when it has ended; one that never started, in `total` only.

    Attributes:
        wait: From being ready, which is when nothing but a worker or a resource was missing, to the first
            start.
        run: From the last start to the end, with all pauses.
        total: From submission to the end, with everything that was waited for and all attempts.
    """

    wait: Quantiles = Quantiles()
    run: Quantiles = Quantiles()
    total: Quantiles = Quantiles()


class LatencyViews(msgspec.Struct, frozen=True, kw_only=True):
    """How long tasks took, seen from three sides.

    Attributes:
        overall: All tasks.
        by_priority: By the priority that they were submitted with; only those that there are.
        by_pool: By the pool that they ran in; only those that there are.
    """

    overall: PhaseStats
    by_priority: Mapping[int, PhaseStats]
    by_pool: Mapping[str, PhaseStats]


class LatencyStats(LatencyViews, frozen=True, kw_only=True):
    """How long tasks took, since the beginning and in the last minute.

    Of tasks of one pool and one priority, the first 1,000 are measured, and then some 250 per second: if
    they come faster, one stands for several. So the counts are those of all tasks, but for the latest few.

    Attributes:
        recent: The same of the last minute, which is 50 to 60 seconds.
        by_pool_and_priority: The tasks of each priority in each pool; only those that there are.
    """

    recent: LatencyViews
    by_pool_and_priority: Mapping[tuple[str, int], PhaseStats]


def latencies_of(book: LatencyBook, now: float) -> LatencyStats:
    """All of a book."""
    views = _views(book, lambda series: series.overall())
    recent = _views(book, lambda series: series.recent(now))
    each = {
        (pool, priority): _phases(series.overall())
        for pool in views.by_pool
        for priority in views.by_priority
        for series in book.chosen(pool, priority)
    }
    return LatencyStats(
        overall=views.overall,
        by_priority=views.by_priority,
        by_pool=views.by_pool,
        recent=recent,
        by_pool_and_priority={key: phases for key, phases in each.items() if phases.total.count},
    )


def _views(book: LatencyBook, parts: Callable[[Series], list[Latencies]]) -> LatencyViews:
    def view(pool: str | None = None, priority: int | None = None) -> PhaseStats:
        return _phases([part for series in book.chosen(pool, priority) for part in parts(series)])

    by_priority = {priority: view(priority=priority) for priority in book.priorities()}
    by_pool = {pool: view(pool=pool) for pool in book.pools()}
    return LatencyViews(
        overall=view(),
        by_priority={priority: phases for priority, phases in by_priority.items() if phases.total.count},
        by_pool={pool: phases for pool, phases in by_pool.items() if phases.total.count},
    )


def _phases(parts: list[Latencies]) -> PhaseStats:
    from actorsched._core.latency import Latencies

    merged = Latencies(parts)
    return PhaseStats(
        wait=_quantiles(merged.wait), run=_quantiles(merged.run), total=_quantiles(merged.total)
    )


def _quantiles(sketch: Sketch) -> Quantiles:
    if not sketch.count:
        return Quantiles()
    p50, p95, p99 = sketch.quantiles(_PARTS)
    return Quantiles(
        count=sketch.count,
        sum=sketch.sum,
        mean=sketch.sum / sketch.count,
        p50=p50,
        p95=p95,
        p99=p99,
        max=sketch.max,
    )

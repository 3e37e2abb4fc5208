"""How long tasks take, in constant memory: sketches of values, a moving window, and which tasks to measure.

The law of this module: numbers go in with the present time, and quantiles come out. It reads no clock, knows
no task, and its memory is bounded whatever happens: by the number of buckets of a sketch, of slots of a
window, and of series of a book.

How it works: a `Sketch` counts values in buckets that grow by a constant factor, so that a quantile is found
with a relative error of at most `ERROR` (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable
quantile sketch with relative-error guarantees", VLDB 2019). Two of them are merged by adding their counts;
so a moving window is a few sketches, one for each slot of time, and what has left it is merged into
one more. A value is written into one sketch only, that of the present slot.

Not every task can be measured for the price that it may have. So each series has a `Sampler`: as long as its
tasks come slowly enough, it chooses all of them, and beyond that one now and then, which stands for those
that it has passed over (its *weight*). So counts go on to be right, and a series with few tasks is complete,
however many others there are.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import repeat
from math import ceil, floor, inf, log2
from operator import mul
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ERROR", "PHASES", "LatencyBook", "Latencies", "Phase", "Sampler", "Series", "Sketch"]

ERROR: Final = 0.01
"""By what part of it a quantile may be wrong, from `LEAST` to `MOST`."""
LEAST: Final = 1e-6
"""Seconds. What is shorter is all the same."""
MOST: Final = 1e6
"""Seconds. What is longer is all the same."""
SLOT: Final = 10.0
"""Seconds after which the window moves on."""
SLOTS: Final = 6
"""How many slots the window has, with the present one, which is not over yet."""
SERIES: Final = 256
"""How many pairs of pool and priority are kept apart; the rest is one more series."""
BURST: Final = 500
"""How many tasks of a series are measured one after the other, however fast they come."""
RATE: Final = 250.0
"""How many of them are measured per second in the long run."""
LOOK: Final = 16
"""When a series has come too fast, one in so many tasks looks whether it still does; later half as many."""
STRIDE: Final = 256
"""And one in so many is measured in any case, at first more: so no part of a burst is unseen."""
TIER: Final = 8
"""How many are measured before the others have to come twice as many."""

Phase: TypeAlias = Literal["wait", "run", "total"]
"""Of a task: from being ready to its first start; from its last start to its end; from submission to end."""
PHASES: Final[tuple[Phase, ...]] = ("wait", "run", "total")

_GROWTH: Final = (1 + ERROR) / (1 - ERROR)
_SCALE: Final = 1 / log2(_GROWTH)
_FIRST: Final = floor(log2(LEAST) * _SCALE) - 1
_LESS: Final = LEAST / _GROWTH
_BATCH: Final = 128
"""How many values are written into a sketch at once: one by one they cost three times as much."""
BUCKETS: Final = floor(log2(MOST) * _SCALE) - _FIRST + 1
"""How many buckets a sketch has at most: the first one has all that is below `LEAST`."""


class Sketch:
    """A multiset of durations in seconds, of which quantiles are known with a relative error of `ERROR`."""

    __slots__ = ("count", "counts", "max", "min", "sum")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.count: int = 0
        self.sum: float = 0.0
        self.min: float = inf
        self.max: float = -inf

    def __repr__(self) -> str:
        return f"<sketch of {self.count} values in {len(self.counts)} buckets>"

    def add(self, value: float, weight: int = 1) -> None:
        """Take a value, 0 or more, so many times."""
        self.extend((value,), (weight,))

    def extend(self, values: Sequence[float], weights: Sequence[int] | None = None) -> None:
        """Take values, 0 or more each, so many times each; at least one."""
        least, most = min(values), max(values)
        if least >= LEAST and most <= MOST:  # `_bucket`, for all of them together
            buckets = map(floor, map(mul, map(log2, values), repeat(_SCALE)))
        else:
            buckets = map(_bucket, values)
        if weights is None:
            self.counts.update(buckets)
            self.count += len(values)
            self.sum += sum(values)
        else:
            counts = self.counts
            for bucket, weight in zip(buckets, weights, strict=True):
                counts[bucket] = counts.get(bucket, 0) + weight
            self.count += sum(weights)
            self.sum += sum(map(mul, values, weights))
        self.min = min(self.min, least)
        self.max = max(self.max, most)

    def absorb(self, other: Sketch) -> None:
        """Take all that another one has."""
        self.counts.update(other.counts)
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def quantile(self, part: float) -> float | None:
        """The least value that this part of all values, from 0 to 1, does not exceed; None without any."""
        return self.quantiles((part,))[0]

    def quantiles(self, parts: tuple[float, ...]) -> list[float | None]:
        """The same of several parts, in ascending order."""
        if not self.count:
            return [None] * len(parts)
        found: list[float | None] = []
        seen, ahead = 0, iter(sorted(self.counts))
        key = next(ahead)
        for part in parts:
            rank = max(ceil(part * self.count - 1e-9) - 1, 0)
            while seen + self.counts[key] <= rank:
                seen += self.counts[key]
                key = next(ahead)
            found.append(self.max if rank >= self.count - 1 else min(max(_middle(key), self.min), self.max))
        return found


def _bucket(value: float) -> int:
    """The bucket of a value."""
    return floor(log2(min(max(value, _LESS), MOST)) * _SCALE)


def _middle(key: int) -> float:
    """The value that is nearest to all of a bucket, relatively."""
    return 2 * _GROWTH ** (key + 1) / (_GROWTH + 1) if key > _FIRST else 0.0


class Latencies:
    """The sketches of all phases."""

    __slots__ = ("run", "total", "wait")

    def __init__(self, merged: Iterable[Latencies] = ()) -> None:
        self.wait: Sketch = Sketch()
        self.run: Sketch = Sketch()
        self.total: Sketch = Sketch()
        for other in merged:
            self.absorb(other)

    def __repr__(self) -> str:
        return f"<latencies of {self.total.count} tasks>"

    def absorb(self, other: Latencies) -> None:
        """Take all that another one has."""
        self.wait.absorb(other.wait)
        self.run.absorb(other.run)
        self.total.absorb(other.total)

    def of(self, phase: Phase) -> Sketch:
        """The sketch of one phase."""
        sketch: Sketch = getattr(self, phase)
        return sketch


class Sampler:
    """Which tasks of a series are measured.

    Whoever has a new task counts `due` down, and looks when it has come to 0: so one that is passed over
    costs next to nothing.
    """

    __slots__ = ("_left", "_passed", "_sparse", "_step", "_stride", "_then", "due")

    def __init__(self) -> None:
        self.due: int = 1
        """How many tasks until the next one that has to `look`, with that."""
        self._left = BURST  # how many may be measured at once
        self._then = 0.0  # what came in until then is in that
        self._step = 1  # what `due` was last set to
        self._passed = 0  # how many came since the latest that is measured
        self._stride = LOOK  # one in so many is measured though there is nothing left
        self._sparse = 0  # how many were

    def __repr__(self) -> str:
        return f"<sampler: {self._left} left, {self._passed} passed over>"

    def look(self, now: float) -> int:
        """A task has come when one was due. Answers how many it stands for; 0 if it is not to be measured."""
        left = self._left
        self.due = 1
        if not left:
            return self._spare(now)
        if left == BURST:  # it could not have become more
            self._then = now
        self._left = left - 1
        return 1

    def _spare(self, now: float) -> int:
        """The same when there was nothing left."""
        self._passed += self._step
        gained = int(min((now - self._then) * RATE, BURST))
        if gained:
            self._then = now
            self._left = gained - 1
            if gained >= LOOK:
                self._stride, self._sparse = LOOK, 0
        elif self._passed < self._stride:
            self.due = self._step = min(self._stride, 2 * LOOK)
            return 0
        else:
            self._sparse += 1
            if self._sparse % TIER == 0:
                self._stride = min(self._stride * 2, STRIDE)
        weight, self._passed = self._passed, 0
        self.due = self._step = 1 if self._left else min(self._stride, 2 * LOOK)
        return weight


class Series(Sampler):
    """The latencies of some tasks, of which it chooses those that are measured.

    Args:
        name: What these tasks have in common: pool and priority.
    """

    __slots__ = ("_ends", "_fresh", "_past", "_present", "_slots", "name")

    def __init__(self, name: object) -> None:
        super().__init__()
        self.name: object = name
        self._past: Latencies = Latencies()
        self._slots: deque[tuple[int, Latencies]] = deque()
        self._present: Latencies = self._past
        self._ends = -inf  # the present slot
        self._fresh: list[tuple[float, float, float, int]] = []  # what has still to be written into it

    def __repr__(self) -> str:
        return f"<series {self.name!r}>"

    def record(
        self, now: float, total: float, wait: float = 0.0, run: float | None = None, weight: int = 1
    ) -> None:
        """A task has ended, or so many like it. One that was never started has no `run`."""
        if now >= self._ends:
            self._move_on(now)
        if run is None:
            self._present.total.add(total, weight)
            return
        fresh = self._fresh
        fresh.append((total, wait, run, weight))
        if len(fresh) >= _BATCH:
            self._write()

    def _write(self) -> None:
        if self._fresh:
            latencies = self._present
            total, wait, run, weights = zip(*self._fresh, strict=True)
            self._fresh.clear()
            weighed = None if max(weights) == 1 else weights
            latencies.total.extend(total, weighed)
            latencies.wait.extend(wait, weighed)
            latencies.run.extend(run, weighed)

    def _move_on(self, now: float) -> None:
        self._write()
        index = floor(now / SLOT)
        self._forget(index)
        self._present = Latencies()
        self._slots.append((index, self._present))
        self._ends = (index + 1) * SLOT

    def _forget(self, index: int) -> None:
        """What has left the window is merged."""
        slots = self._slots
        while slots and slots[0][0] <= index - SLOTS:
            self._past.absorb(slots.popleft()[1])

    def overall(self) -> list[Latencies]:
        """All of it, in parts."""
        self._write()
        return [self._past, *(latencies for _, latencies in self._slots)]

    def recent(self, now: float) -> list[Latencies]:
        """The window, in parts."""
        self._write()
        oldest = floor(now / SLOT) - SLOTS
        return [latencies for index, latencies in self._slots if index > oldest]

    def absorb(self, other: Series, now: float) -> None:
        """Take all that another one has; its window too."""
        self._past.absorb(Latencies(other.overall()[:1]))
        if now >= self._ends:
            self._move_on(now)
        mine = dict(self._slots)
        for index, latencies in other._slots:
            mine.get(index, self._past).absorb(latencies)


class LatencyBook:
    """All series of a runtime, by pool and priority."""

    __slots__ = ("_series", "others")

    def __init__(self) -> None:
        self._series: dict[tuple[str, int], Series] = {}
        self.others: Series = Series("all others")
        """Whatever has no series of its own: it counts among all tasks, and nowhere else."""

    def __repr__(self) -> str:
        return f"<latency book with {len(self._series)} series>"

    def __len__(self) -> int:
        return len(self._series)

    def series(self, pool: str, priority: int) -> Series:
        """The series of these tasks; the one of all others when there are too many."""
        series = self._series.get((pool, priority))
        if series is None:
            if len(self._series) >= SERIES:
                return self.others
            series = self._series[pool, priority] = Series((pool, priority))
        return series

    def drop(self, pool: str, now: float) -> None:
        """There is no such pool any more: its series make room for others."""
        for key in [key for key in self._series if key[0] == pool]:
            self.others.absorb(self._series.pop(key), now)

    def chosen(self, pool: str | None = None, priority: int | None = None) -> list[Series]:
        """The series of a pool, of a priority, or both; all of them."""
        every = [
            series
            for (its_pool, its_priority), series in self._series.items()
            if pool in (None, its_pool) and priority in (None, its_priority)
        ]
        return [*every, self.others] if pool is None and priority is None else every

    def recent(self, now: float, pool: str | None = None, priority: int | None = None) -> Latencies:
        """What the window has of some series."""
        return Latencies(part for series in self.chosen(pool, priority) for part in series.recent(now))

    def pools(self) -> list[str]:
        """The pools that have series, sorted."""
        return sorted({pool for pool, _ in self._series})

    def priorities(self) -> list[int]:
        """The priorities that have series, sorted."""
        return sorted({priority for _, priority in self._series})

    @staticmethod
    def covered(now: float, began: float) -> float:
        """How many seconds the window has seen by now of a time that has begun then."""
        return now - max(began, (floor(now / SLOT) - SLOTS + 1) * SLOT)

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

from collections import deque
from math import floor, inf, log
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

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
BURST: Final = 1000
"""How many tasks of a series are measured one after the other, however fast they come."""
RATE: Final = 1000.0
"""How many of them are measured per second in the long run."""
LOOK: Final = 8
"""When a series has come too fast, one in so many tasks looks whether it still does."""

Phase: TypeAlias = Literal["wait", "run", "total"]
"""Of a task: from being ready to its first start; from its last start to its end; from submission to end."""
PHASES: Final[tuple[Phase, ...]] = ("wait", "run", "total")

_GROWTH: Final = (1 + ERROR) / (1 - ERROR)
_SCALE: Final = 1 / log(_GROWTH)
_FIRST: Final = 1 - floor(log(LEAST) * _SCALE)
_LAST: Final = floor(log(MOST) * _SCALE) + _FIRST
BUCKETS: Final = _LAST + 1
"""How many buckets a sketch has at most: the first one, 0, has all that is below `LEAST`."""


class Sketch:
    """A multiset of durations in seconds, of which quantiles are known with a relative error of `ERROR`."""

    __slots__ = ("count", "counts", "max", "min", "sum")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count: int = 0
        self.sum: float = 0.0
        self.min: float = inf
        self.max: float = -inf

    def __repr__(self) -> str:
        return f"<sketch of {self.count} values in {len(self.counts)} buckets>"

    def add(self, value: float, weight: int = 1) -> None:
        """Take a value, 0 or more, so many times."""
        key = int(log(value) * _SCALE + _FIRST) if value >= LEAST else 0
        key = min(key, _LAST)
        counts = self.counts
        counts[key] = counts.get(key, 0) + weight
        self.count += weight
        self.sum += value * weight
        self.max = max(self.max, value)
        self.min = min(self.min, value)

    def absorb(self, other: Sketch) -> None:
        """Take all that another one has."""
        counts = self.counts
        for key, number in other.counts.items():
            counts[key] = counts.get(key, 0) + number
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def quantile(self, part: float) -> float | None:
        """The value that this part of all values, from 0 to 1, does not exceed; None when there are none."""
        return self.quantiles((part,))[0]

    def quantiles(self, parts: tuple[float, ...]) -> list[float | None]:
        """The same of several parts, in ascending order."""
        if not self.count:
            return [None] * len(parts)
        found: list[float | None] = []
        seen, ahead = 0, iter(sorted(self.counts))
        key = next(ahead)
        for part in parts:
            rank = part * (self.count - 1)
            while seen + self.counts[key] <= rank:
                seen += self.counts[key]
                key = next(ahead)
            found.append(min(max(_middle(key), self.min), self.max))
        return found


def _middle(key: int) -> float:
    """The value that is nearest to all of a bucket, relatively."""
    return 2 * _GROWTH ** (key - _FIRST) * _GROWTH / (_GROWTH + 1) if key else 0.0


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

    __slots__ = ("_credit", "_passed", "_then", "due")

    def __init__(self) -> None:
        self.due: int = 1
        """How many tasks until the next one that has to `look`, with that."""
        self._credit: float = float(BURST)
        self._then: float = -inf
        self._passed = 0

    def __repr__(self) -> str:
        return f"<sampler: {self._credit:.0f} to spend, {self._passed} passed over>"

    def look(self, now: float) -> int:
        """A task has come when one was due. Answers how many it stands for; 0 if it is not to be measured."""
        credit = self._credit
        if now > self._then:
            credit = min(float(BURST), credit + (now - self._then) * RATE)
            self._then = now
        if credit < 1.0:
            self._credit = credit
            self._passed += LOOK  # this one, and those until the next look
            self.due = LOOK
            return 0
        self._credit = credit - 1.0
        weight, self._passed, self.due = 1 + self._passed, 0, 1
        return weight


class Series:
    """The latencies of some tasks: those of the window, and all others.

    Args:
        name: What these tasks have in common: pool and priority.
    """

    __slots__ = ("_ends", "_past", "_present", "_slots", "name", "sampler")

    def __init__(self, name: object) -> None:
        self.name: object = name
        self.sampler: Sampler = Sampler()
        self._past: Latencies = Latencies()
        self._slots: deque[tuple[int, Latencies]] = deque()
        self._present: Latencies = self._past
        self._ends = -inf  # the present slot

    def __repr__(self) -> str:
        return f"<series {self.name!r}>"

    def record(
        self, now: float, total: float, wait: float = 0.0, run: float | None = None, weight: int = 1
    ) -> None:
        """A task has ended, or so many like it. One that was never started has no `run`."""
        if now >= self._ends:
            self._move_on(now)
        latencies = self._present
        if run is not None:
            latencies.wait.add(wait, weight)
            latencies.run.add(run, weight)
        latencies.total.add(total, weight)

    def _move_on(self, now: float) -> None:
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
        return [self._past, *(latencies for _, latencies in self._slots)]

    def recent(self, now: float) -> list[Latencies]:
        """The window, in parts."""
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

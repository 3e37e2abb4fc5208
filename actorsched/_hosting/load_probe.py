"""Looking at the machine: how busy it is and with whose work, what memory is left, how the hosts are.

The law of this module: it looks, and does nothing else; what to make of it is decided elsewhere. It is the
one home of psutil, which costs some milliseconds to import: that happens in `prepare`, or at the first
look. Nothing here raises for what the system does not tell or no longer knows; that is None in the sample.
Only a look for which there is no descriptor fails as a whole, and the next one may not.

How it works:

* Use is a difference between two looks. Every look leaves a mark, and is compared with the newest mark that
  is at least `WINDOW` old: the system counts a processor's idle time in ticks of ten milliseconds, and over
  less than ten of them the error would be as large as what is measured. The first look, and one after a long
  pause, have nothing to be compared with.
* What a processor did is what its idle time has left over. The counters of its work are no good: most systems
  credit a whole tick to whoever runs when the clock strikes. Time that another virtual machine has stolen is
  thereby work of others, as it should be.
* `others` is what all processors of our affinity did, less what we did. With a quota of the control group,
  processors beyond the quota can be busy without harm: only what exceeds them counts, or what others in the
  same group use of it, whichever is more.
"""

from __future__ import annotations

import os
import time
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actorsched._core.load import LoadSample
from actorsched._hosting.watched import Watched
from actorsched.cgroups import own as own_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorsched.cgroups import ControlGroups, MemoryLimit, Quota

__all__ = ["LoadProbe"]

WINDOW: Final = 0.1
"""Seconds over which use is measured at least, if there was a look so long ago."""

SHORTEST: Final = 0.03
"""Seconds below which a difference says nothing."""

LONGEST: Final = 5.0
"""Seconds above which it says nothing about now."""

TICK: Final = 0.01
"""Seconds to which the system knows when a process was started."""

LIMITS_KEPT: Final = 1.0
"""Seconds for which the limits of the control groups are taken as unchanged."""


class _Mark(msgspec.Struct, frozen=True):
    """What the counters stood at, all in seconds."""

    when: float  # by the clock of the probe
    time: float  # by time.time(), which also tells when processes were started
    idle: dict[int, float]  # by processor
    cpu: dict[int, float]  # by process
    group: float | None  # of the control group that has a quota


class LoadProbe:
    """Looks at the machine, and remembers the last few looks.

    Not for several threads at once; but `prepare` may run in another one before the first look.

    Args:
        groups: The control groups; by default those of this process.
        clock: What the looks are timed by, in real seconds.
    """

    def __init__(
        self, groups: ControlGroups | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._psutil: Any = None  # it has no types
        self._groups = groups
        self._clock = clock
        self._watched: dict[int, Watched] = {}
        self._marks: deque[_Mark] = deque()
        self._quota: Quota | None = None
        self._memory: list[MemoryLimit] = []
        self._limits_until = -inf

    def __repr__(self) -> str:
        return f"<LoadProbe of {len(self._watched)} processes, {len(self._marks)} looks remembered>"

    def prepare(self) -> None:
        """Do what would make the first look slow; once."""
        if self._psutil is None:
            import psutil

            own_groups()
            self._psutil = psutil

    def sample(
        self,
        hosts: Iterable[int],
        *,
        own: Iterable[int] = (),
        loop_lag: float = 0.0,
        when: float | None = None,
    ) -> LoadSample:
        """Look at the machine, and at the hosts.

        Args:
            hosts: Process ids. What these processes start counts as theirs.
            own: Other processes of this runtime, such as its spawner. What they start does not count: the
                spawner starts the hosts. This process itself need not be named.
            loop_lag: For the sample.
            when: The present time by the runtime's clock; by default, by that of the probe.

        Raises:
            OSError: Files of the system cannot be opened now.
        """
        self.prepare()
        watched = self._watch(list(hosts), own)
        mark = self._mark(watched)
        base = self._base(mark.when)
        self._marks.append(mark)
        used = {} if base is None else _used(watched, base, mark)
        cpus = _usable(mark.idle)
        ours, others = (None, None) if base is None else self._shares(cpus, base, mark, sum(used.values()))
        free, total = self._memory_left()
        return LoadSample(
            when=mark.when if when is None else when,
            cores=self._cores(cpus),
            ours=ours,
            others=others,
            memory_free=free,
            memory_total=total,
            loop_lag=loop_lag,
            hosts={one.pid: one.load(used.get(one.pid)) for one in watched if one.family},
            fresh_rss=max((one.rss for one in watched if one.rss and not one.family), default=None),
        )

    # ----------------------------------------------------------------------------------------------- counters

    def _watch(self, hosts: Iterable[int], own: Iterable[int]) -> list[Watched]:
        """Return the processes to look at, as known from earlier; what is not asked for is forgotten."""
        known, asked = self._watched, dict.fromkeys(own, False) | dict.fromkeys(hosts, True)
        asked.pop(os.getpid(), None)
        self._watched = {
            pid: known.get(pid) or Watched(self._psutil, pid, family=family) for pid, family in asked.items()
        }
        return list(self._watched.values())

    def _mark(self, watched: list[Watched]) -> _Mark:
        """Read the counters."""
        when = self._clock()
        self._read_limits(when)
        group = None if self._quota is None else self._quota.used()
        cpu = {one.pid: used for one in watched if (used := one.look()) is not None}
        cpu[os.getpid()] = time.process_time()
        return _Mark(when, time.time(), self._idle(), cpu, group)

    def _base(self, when: float) -> _Mark | None:
        """Return the mark to compare with; those before it are dropped."""
        marks = self._marks
        while marks and when - marks[0].when > LONGEST:
            marks.popleft()
        while len(marks) > 1 and when - marks[1].when >= WINDOW:
            marks.popleft()
        return marks[0] if marks and when - marks[0].when >= SHORTEST else None

    def _idle(self) -> dict[int, float]:
        """Return how long each processor has done nothing, in seconds."""
        times = self._psutil.cpu_times(percpu=True)
        names = _online(len(times))
        return {cpu: one.idle + getattr(one, "iowait", 0.0) for cpu, one in zip(names, times, strict=True)}

    def _shares(self, cpus: list[int], base: _Mark, mark: _Mark, ours: float) -> tuple[float, float]:
        """Return the cores that we used, and those that others used of what is ours to use."""
        span = mark.when - base.when
        me = os.getpid()
        ours += max(0.0, mark.cpu[me] - base.cpu.get(me, mark.cpu[me])) / span
        idle = (max(0.0, mark.idle[cpu] - base.idle.get(cpu, 0.0)) / span for cpu in cpus)
        others = sum(max(0.0, 1.0 - one) for one in idle) - ours
        if self._quota is not None:
            others -= max(0.0, len(cpus) - self._quota.cores)
            if mark.group is not None and base.group is not None:
                others = max(others, (mark.group - base.group) / span - ours)
        return ours, max(0.0, others)

    # ------------------------------------------------------------------------------------------------- limits

    def _read_limits(self, when: float) -> None:
        if when >= self._limits_until:
            groups = self._groups or own_groups()
            self._quota, self._memory = groups.quota(), groups.memory_limits()
            self._limits_until = when + LIMITS_KEPT

    def _cores(self, cpus: list[int]) -> float:
        return float(len(cpus)) if self._quota is None else min(float(len(cpus)), self._quota.cores)

    def _memory_left(self) -> tuple[int, int]:
        """Return the bytes that are free and those there are, by the tightest limit of either."""
        memory = self._psutil.virtual_memory()
        free, total = int(memory.available), int(memory.total)
        for limit in self._memory:
            left = limit.free()
            free, total = free if left is None else min(free, left), min(total, limit.size)
        return free, total


def _used(watched: list[Watched], base: _Mark, mark: _Mark) -> dict[int, float]:
    """Return the cores that each process used between two marks, as far as that is known."""
    used: dict[int, float] = {}
    for one in watched:
        now, before = mark.cpu.get(one.pid), base.cpu.get(one.pid)
        if before is None and one.started is not None and one.started >= base.time - TICK:
            before = 0.0  # it has lived in between only
        if now is not None and before is not None:
            used[one.pid] = max(0.0, now - before) / (mark.when - base.when)
    return used


def _usable(idle: dict[int, float]) -> list[int]:
    """Return the processors that this process may use, out of those that the system tells of."""
    if hasattr(os, "sched_getaffinity"):
        usable = [cpu for cpu in os.sched_getaffinity(0) if cpu in idle]
        if usable:  # otherwise a container counts its processors differently
            return usable
    return list(idle)


def _online(count: int) -> list[int]:
    """Return the numbers of so many processors; they have gaps where some are switched off."""
    numbers: list[int] = []
    try:
        with open("/sys/devices/system/cpu/online") as file:
            for part in file.read().split(","):
                first, _, last = part.partition("-")
                numbers.extend(range(int(first), int(last or first) + 1))
    except (OSError, ValueError):  # another system
        pass
    return numbers if len(numbers) == count else list(range(count))

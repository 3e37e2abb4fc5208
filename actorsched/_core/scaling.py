"""How many host processes a pool should have: some more, some less, or as many as there are.

The law of this module: it decides for one pool, and keeps what the decisions hang on: when it last told to
start or end a host, and since when others have crowded the machine. It never looks at the machine or a clock,
starts or ends anything; the pool does, and asks again whenever something has changed, a sample has come, or
the time has come that a `Hold` names.

How it works, in the order of the questions:

1. *Fewer than `min`?* The missing ones are started, whatever the machine looks like.
2. *At `max`?* No more.
3. *No host at all, and a task waits?* The first one is started at once: an answer comes before economy.
   After that none is started while the processors of the machine are busier than `cpu_limit` allows, if the
   user has set one: that goes before all that follows, the patience included.
4. *Nothing has moved for `PATIENCE`?* One more is started regardless of the load. Those that run may be
   waiting for one that waits, and a machine that is always full must not keep a task out for ever. The
   patience doubles with each such start in a row: were it fixed, long tasks alone would fill a busy machine.
5. *Is a core free?* By the latest sample: the cores that may be used, less what others use, less what the
   runtime's hosts use, where each with a task counts as one core at least, since it may just be reading.
   Whoever allows more hosts than there are cores has such tasks in mind as mostly wait: there, hosts count as
   what they use, once they have had `SETTLED` to show it. `NEEDED` of a core is enough, because a sample of
   50 to 100 ms sees others' use only to a tick or two of each processor, and because half a quota ("1.5
   processors") is worth a host. What the runtime's own process uses does not count: a program that polls
   would otherwise lock out its own hosts.
6. *Is memory free?* Not less than 5 % of it, or 64 MiB.
7. Then as many are started as there are tasks and free cores, but no more than there are already: each sample
   doubles the pool at most, so that a burst of tiny tasks does not start sixty hosts. A sample is good for
   one start: only one taken later shows what that start has done.

Without tasks that wait, hosts that have been idle for `idle_timeout` are ended, the longest idle first, down
to `min`. While others leave no core for them, they go after a tenth of that time: a crowded machine needs the
memory, and they would not run well if they were needed.

Hysteresis: a start and an end are at least `DWELL` apart, and others count as a crowd only after as long. The
exceptions are 1 and 3.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import msgspec

from actorsched.durations import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorsched._core.load import LoadSample

__all__ = [
    "DWELL",
    "NEEDED",
    "PATIENCE",
    "Decision",
    "Demand",
    "Hold",
    "Limits",
    "Reap",
    "Scaling",
    "Spawn",
    "overloaded",
    "is_short_of_memory",
]

NEEDED: Final = 0.5
"""How much of a core must be free for another host."""

PATIENCE: Final = 2.0
"""Seconds without any progress after which a host is started regardless; longer than a start takes."""

LONGEST_PATIENCE: Final = 32.0
"""Seconds up to which the patience grows."""

DWELL: Final = 1.0
"""Seconds between a start and an end; an `idle_timeout` that is shorter takes its place."""

SETTLED: Final = 0.5
"""Seconds after which a sample shows what the host that was started last does to the machine."""

FRESH: Final = 2.5
"""Seconds after which a sample says nothing any more: twice what passes between two, and then some."""

SHORT_FRACTION: Final = 0.05
SHORT_BYTES: Final = 64 * 2**20
"""Memory is short below this fraction of it, or below so many bytes: a host takes some thirty megabytes."""


class Limits(Protocol):
    """What the user has chosen: `Hosts`."""

    @property
    def min(self) -> int:
        """How many hosts are kept."""
        ...

    @property
    def max(self) -> int:
        """How many hosts there may be."""
        ...

    @property
    def idle_timeout(self) -> float:
        """After how many seconds without a task a host is ended; may be infinite."""
        ...

    @property
    def cpu_limit(self) -> float | None:
        """Above how many per cent of the machine's processors no further host is started; None for none."""
        ...


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The pool at this moment. Hosts that are suspended, stand by, or are being ended are no part of it.

    Attributes:
        waiting: How many tasks wait for nothing but a host.
        waiting_since: Since when the first of them has waited; None if none does.
        starting: How many hosts are starting.
        busy: How many hosts have a task.
        idle: Since when each of the others has had none, in any order.
        extra: How many cores the running tasks were promised beyond one each.
        elsewhere: How many hosts of the runtime's other pools are starting or have a task.
        finished: When a task of the pool last finished; minus infinity if none has.
    """

    waiting: int = 0
    waiting_since: float | None = None
    starting: int = 0
    busy: int = 0
    idle: tuple[float, ...] = ()
    extra: int = 0
    elsewhere: int = 0
    finished: float = -inf

    @property
    def hosts(self) -> int:
        """How many hosts the pool has."""
        return self.starting + self.busy + len(self.idle)

    @property
    def claimed(self) -> int:
        """How many cores the runtime's tasks may use already, or will in a moment."""
        return self.starting + self.busy + self.extra + self.elsewhere


class Spawn(msgspec.Struct, frozen=True, gc=False):
    """Start so many hosts. `why` can stand in a sentence after "started, because "."""

    count: int
    why: str


class Reap(msgspec.Struct, frozen=True, gc=False):
    """End so many idle hosts, those that have been idle longest. `why` follows "ended, because "."""

    count: int
    why: str


class Hold(msgspec.Struct, frozen=True, gc=False):
    """Leave it at that.

    Attributes:
        why: Why there are no more and no fewer, for people: a clause.
        until: When to ask again even if nothing happens; None if that would change nothing.
    """

    why: str
    until: float | None = None


Decision: TypeAlias = Spawn | Reap | Hold


class Scaling:
    """The decisions for one pool."""

    __slots__ = ("_crowded", "_forced", "_reaped", "_spawned")

    def __init__(self) -> None:
        self._spawned = -inf  # when it last told to start a host,
        self._reaped = -inf  # and to end one
        self._forced = 0  # how many were started regardless, since a task has finished
        self._crowded: float | None = None  # since when others have left too few cores, by every sample

    def __repr__(self) -> str:
        return (
            f"<Scaling last start {self._spawned}, last end {self._reaped}, {self._forced} regardless, "
            f"crowded since {self._crowded}>"
        )

    def decide(self, demand: Demand, limits: Limits, sample: LoadSample | None, now: float) -> Decision:
        """Tell what is to be done with the pool; the answer is taken as carried out.

        Args:
            demand: The pool.
            limits: The user's choice.
            sample: The latest look at the machine; None if there was none yet.
            now: The present time, by the same clock as all others.
        """
        if sample is not None and (sample.others is None or now - sample.when > FRESH):
            sample = None
        if demand.finished > self._spawned:
            self._forced = 0
        self._watch(demand, limits, sample)
        decision = self._decide(demand, limits, sample, now)
        if isinstance(decision, Spawn):
            self._spawned = now
        elif isinstance(decision, Reap):
            self._reaped = now
        return decision

    def _watch(self, demand: Demand, limits: Limits, sample: LoadSample | None) -> None:
        """Note whether others leave cores enough for the hosts there are."""
        if sample is None or demand.hosts <= max(limits.min, _seats(sample)):
            self._crowded = None
        elif self._crowded is None:
            self._crowded = sample.when

    def _decide(self, demand: Demand, limits: Limits, sample: LoadSample | None, now: float) -> Decision:
        if demand.hosts < limits.min:
            are = "is" if limits.min == 1 else "are"
            return Spawn(limits.min - demand.hosts, f"at least {_hosts(limits.min)} {are} kept")
        if not demand.waiting:
            return self._shrink(demand, limits, sample, now)
        if demand.hosts + demand.extra >= limits.max:
            return Hold(f"Hosts.max allows no more than {limits.max}")
        if not demand.hosts:
            return Spawn(1, "a task waits and there is no host")
        return self._grow(demand, limits, sample, now)

    # ------------------------------------------------------------------------------------------------ growing

    def _grow(self, demand: Demand, limits: Limits, sample: LoadSample | None, now: float) -> Decision:
        if sample is not None and (overload := overloaded(limits, sample)):
            return Hold(overload)
        lacking = demand.waiting - demand.starting - len(demand.idle)
        again = self._patient_until(demand, limits)
        if now >= again:
            self._forced += 1
            return Spawn(1, "tasks wait and nothing has finished for long, however busy the machine is")
        if lacking <= 0:
            return Hold("the hosts that are starting or idle will serve what waits", _finite(again))
        settled = self._reaped + _dwell(limits)
        if now < settled:
            return Hold("a host was ended just now", min(again, settled))
        if sample is None or sample.when <= self._spawned:
            return Hold("the load of the machine is not known yet", _finite(again))
        free = self._room(demand, limits, sample)
        obstacle = _short_memory(sample) or _busy(free, sample)
        if obstacle:
            return Hold(obstacle, _finite(again))
        places = limits.max - demand.hosts - demand.extra
        count = min(lacking, places, demand.hosts, int(free + 1 - NEEDED))
        return Spawn(count, f"tasks wait and {_cores(free)} of {_cores(sample.cores)} processors are free")

    def _patient_until(self, demand: Demand, limits: Limits) -> float:
        """Return when a host will be started whatever the load, if nothing moves until then."""
        if demand.starting or demand.waiting_since is None:
            return inf  # what starts will move something, or run into its time-out
        patience = min(PATIENCE * 2.0**self._forced, LONGEST_PATIENCE)
        moved = max(demand.waiting_since, demand.finished, self._spawned)
        return max(moved + patience, self._reaped + _dwell(limits))

    def _room(self, demand: Demand, limits: Limits, sample: LoadSample) -> float:
        """Return how many cores are free for further hosts; may be below 0."""
        used = max(sample.host_cores, demand.claimed)
        crowd_wanted = limits.max + demand.elsewhere > sample.cores
        if crowd_wanted and sample.when >= self._spawned + SETTLED:
            used = sample.host_cores + demand.starting
        return sample.cores - (sample.others or 0.0) - used

    # ---------------------------------------------------------------------------------------------- shrinking

    def _shrink(self, demand: Demand, limits: Limits, sample: LoadSample | None, now: float) -> Decision:
        hurry = 0  # so many of the idle hosts have lost their cores to others
        if self._crowded is not None and sample is not None and sample.when > self._crowded:
            hurry = demand.hosts - max(limits.min, _seats(sample))
        due = list(self._due(demand, limits, hurry))
        if not due:
            return Hold("no task waits")
        why = f"idle hosts are kept{_span(limits.idle_timeout)}"
        if hurry and sample is not None:
            why = f"{_crowd(sample)}, so idle hosts are kept{_span(_soon(limits))} only"
        count = sum(moment <= now for moment in due)
        return Reap(count, why) if count else Hold(f"no task waits; {why}", _finite(due[0]))

    def _due(self, demand: Demand, limits: Limits, hurry: int) -> Iterator[float]:
        """Yield when each idle host that may go is to go, the longest idle first; the moments ascend."""
        dwell = _dwell(limits)
        crowded = inf if self._crowded is None else self._crowded
        for place, since in enumerate(sorted(demand.idle)[: demand.hosts - limits.min]):
            due = since + limits.idle_timeout
            if place < hurry:
                due = min(due, max(since + _soon(limits), crowded + dwell))
            yield max(due, self._spawned + dwell)


# ------------------------------------------------------------------------------------------- reading a sample


def overloaded(limits: Limits, sample: LoadSample) -> str:
    """Return why the user wants no further host on so busy a machine; nothing if that is no matter."""
    limit, free = limits.cpu_limit, sample.free_cores
    if limit is None or free is None:
        return ""
    busy = 100 * (sample.cores - free) / sample.cores
    return f"the machine is busy to {busy:.0f} %, and Hosts.cpu_limit is {limit:g} %" if busy > limit else ""


def _seats(sample: LoadSample) -> int:
    """Return for how many hosts the others leave cores."""
    return int(max(0.0, sample.cores - (sample.others or 0.0) + 1 - NEEDED))


def _busy(free: float, sample: LoadSample) -> str:
    """Return why no core is free for another host; nothing if one is."""
    if free >= NEEDED:
        return ""
    others = sample.others or 0.0
    if free + others >= NEEDED:
        return _crowd(sample)
    hosts = _cores(sample.cores - others - free)
    return f"the hosts there are keep the processors busy: {hosts} of {_cores(sample.cores)}"


def _crowd(sample: LoadSample) -> str:
    others = _cores(sample.others or 0.0)
    return f"the machine is busy with other work: {others} of {_cores(sample.cores)} processors"


def is_short_of_memory(sample: LoadSample) -> bool:
    """Return whether there is too little memory for another host."""
    free = sample.memory_free
    return free is not None and free < max(SHORT_BYTES, SHORT_FRACTION * (sample.memory_total or 0))


def _short_memory(sample: LoadSample) -> str:
    """Return why there is no memory for another host; nothing if there is."""
    free, total = sample.memory_free, sample.memory_total
    if free is None or not is_short_of_memory(sample):
        return ""
    of = "" if total is None else f" of {total / 2**20:.0f}"
    return f"memory is short: {free / 2**20:.0f}{of} MiB are free"


def _dwell(limits: Limits) -> float:
    return min(DWELL, limits.idle_timeout)


def _soon(limits: Limits) -> float:
    """Return how long hosts may be idle while others crowd the machine."""
    return max(limits.idle_timeout / 10, _dwell(limits))


def _finite(moment: float) -> float | None:
    return moment if moment < inf else None


def _span(seconds: float) -> str:
    return f" for {describe(seconds)}" if seconds < inf else ""


def _cores(cores: float) -> str:
    return f"{max(0.0, cores):.1f}".removesuffix(".0")


def _hosts(count: int) -> str:
    return "one host" if count == 1 else f"{count} hosts"

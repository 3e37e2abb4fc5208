"""How much there is in a runtime, and how much there was: `rt.stats()`.

The law of this module: values, and how they are read off the system; it changes nothing, and nobody counts
anything for it who would not count it anyway, but for one addition at the end of each task.

How it works: all values are read in one go, so they agree with one another: every task that was ever
submitted is in exactly one of the counts by status. What is added here later comes as further fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from actorsched._core.latency import LatencyBook
from actorsched._core.load import HostLoad, LoadSample
from actorsched._system import census
from actorsched.latencies import LatencyStats, LatencyViews, PhaseStats, Quantiles, latencies_of
from actorsched.status import TaskStatus
from actorsched.survey import queued_in, running_in

if TYPE_CHECKING:
    from actorsched._system.pools import Pool
    from actorsched._system.system import System

__all__ = [
    "ActorStats",
    "HostLoad",
    "HostStats",
    "LatencyStats",
    "LatencyViews",
    "LoadSample",
    "MessageStats",
    "PhaseStats",
    "PoolStats",
    "Quantiles",
    "Stats",
    "ThreadStats",
]


class PoolStats(msgspec.Struct, frozen=True, kw_only=True):
    """One pool of slots.

    Attributes:
        running: How many tasks have a slot; in a pool without a limit, how many run.
        queued: How many tasks want a slot and have none.
        limit: How many may run at once; None for no limit.
        tasks: How many tasks there are of each status, and have ended with it.
    """

    running: int
    queued: int
    limit: int | None
    tasks: Mapping[TaskStatus, int]


class ThreadStats(msgspec.Struct, frozen=True, kw_only=True):
    """The threads for tasks.

    Attributes:
        threads: How many there are.
        busy: How many of them have a task.
    """

    threads: int
    busy: int


class HostStats(msgspec.Struct, frozen=True, kw_only=True):
    """The host processes.

    Attributes:
        starting: How many are not ready yet.
        idle: How many have nothing to do.
        busy: How many run a task, or a call to an actor.
        suspended: How many we have stopped in favour of a more urgent task.
        suspected: How many somebody else has stopped.
        retiring: How many take no more, and end when they have nothing left.
        spawned: How many have ever got ready.
        reaped: How many have ended in order.
        died: How many have ended otherwise.
    """

    starting: int
    idle: int
    busy: int
    suspended: int
    suspected: int
    retiring: int
    spawned: int
    reaped: int
    died: int

    @property
    def total(self) -> int:
        """How many there are."""
        return self.starting + self.idle + self.busy + self.suspended + self.suspected + self.retiring


class ActorStats(msgspec.Struct, frozen=True, kw_only=True):
    """The actors.

    Attributes:
        actors: How many there are, with those that are starting, ending, or down and to come back.
        hosted: How many of them live in host processes.
        restarts: How often any was started again by its supervisor.
    """

    actors: int
    hosted: int
    restarts: int


class MessageStats(msgspec.Struct, frozen=True, kw_only=True):
    """All messages to actors so far.

    Attributes:
        sent: How many were sent.
        handled: How many handlers have ended, however.
        rejected: How many were refused, expired or taken back before they began; their senders know.
        dead_lettered: How many could not be delivered, or were dropped.
    """

    sent: int
    handled: int
    rejected: int
    dead_lettered: int

    @property
    def pending(self) -> int:
        """How many are queued, or being handled."""
        return self.sent - self.handled - self.rejected - self.dead_lettered


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What there is in a runtime at one moment, and what there was since its beginning; printed, a table.

    Attributes:
        uptime: How long it has existed, in seconds of its clock.
        tasks: How many tasks there are of each status now; of the final ones, how many have ended with it.
        pools: The pools by their names.
        threads: The threads for tasks.
        hosts: The host processes.
        actors: The actors.
        messages: The messages to them.
        latencies: How long tasks waited, ran and took.
        recent_throughput: How many tasks have ended per second in the last minute, as far as the runtime has
            existed then. Within a burst of more than 1,000 tasks a few may be counted later.
        load: The latest look at the machine; None if there was none, as without hosts.
    """

    uptime: float
    tasks: Mapping[TaskStatus, int]
    pools: Mapping[str, PoolStats]
    threads: ThreadStats
    hosts: HostStats
    actors: ActorStats
    messages: MessageStats
    latencies: LatencyStats
    recent_throughput: float
    load: LoadSample | None = None

    def __str__(self) -> str:
        from actorsched.stats_table import table

        return table(self)

    @property
    def submitted(self) -> int:
        """How many tasks were ever submitted."""
        return sum(self.tasks.values())

    @property
    def ended(self) -> int:
        """How many tasks have ended, however."""
        return sum(self.tasks[status] for status in _FINAL)

    @property
    def live(self) -> int:
        """How many tasks have not ended."""
        return self.submitted - self.ended

    @property
    def queued(self) -> int:
        """How many tasks want a slot in any pool."""
        return sum(pool.queued for pool in self.pools.values())

    @property
    def success_rate(self) -> float | None:
        """The part of the tasks that completed, from 0 to 1; those that were cancelled do not count.

        None before the first.
        """
        completed = self.tasks[TaskStatus.COMPLETED]
        judged = self.ended - self.tasks[TaskStatus.CANCELLED]
        return completed / judged if judged else None

    @property
    def throughput(self) -> float:
        """How many tasks have ended per second since the beginning."""
        return self.ended / self.uptime if self.uptime > 0 else 0.0


_FINAL = (
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
    TaskStatus.DEADLINE_MISSED,
)


def stats_of(system: System) -> Stats:
    """All of a runtime."""
    now = census.statuses(system)
    pools = {name: _pool(pool, now[name], system) for name, pool in system.pools.items()}
    gone = [_by_status(counts, None) for name, counts in now.items() if name not in pools]
    book, moment = system.measuring.book, system.kernel.now
    latencies = latencies_of(book, moment)
    covered = LatencyBook.covered(moment, system.began)
    every = [*(pool.tasks for pool in pools.values()), *gone, _by_status(Counter(), system.dropped)]
    return Stats(
        uptime=max(0.0, moment - system.began),
        tasks={status: sum(tasks[status] for tasks in every) for status in TaskStatus},
        pools=pools,
        threads=ThreadStats(
            threads=len(system.threads), busy=sum(worker.run is not None for worker in system.threads)
        ),
        hosts=_hosts(system),
        actors=_actors(system),
        messages=_messages(system),
        latencies=latencies,
        recent_throughput=latencies.recent.overall.total.count / covered if covered > 0 else 0.0,
        load=system.staff.monitor.sample,
    )


def _pool(pool: Pool, now: Counter[str], system: System) -> PoolStats:
    return PoolStats(
        running=running_in(pool, now),
        queued=queued_in(pool),
        limit=system.hosts.max if pool.name == "process" else pool.limit,
        tasks=_by_status(now, pool),
    )


def _by_status(now: Counter[str], pool: Pool | None) -> dict[TaskStatus, int]:
    """How many tasks there are of each status, and have ended with it in this pool."""
    counts = {status: now[status.value] for status in TaskStatus}
    if pool is not None:
        counts[TaskStatus.COMPLETED] += pool.completed
        for status, number in pool.unsuccessful.items():
            counts[status] += number
    return counts


def _hosts(system: System) -> HostStats:
    staff = system.staff
    states = census.host_states(staff)
    return HostStats(
        **{state: states[state] for state in census.HOST_STATES},
        spawned=staff.tally.spawned,
        reaped=staff.tally.reaped,
        died=staff.tally.died,
    )


def _actors(system: System) -> ActorStats:
    return ActorStats(
        actors=sum(census.actors(supervisor) for supervisor in census.supervisors(system)),
        hosted=sum(len(port) for port in system.staff.ports),
        restarts=system.kernel.restarts,
    )


def _messages(system: System) -> MessageStats:
    office = system.kernel.office
    return MessageStats(
        sent=office.sent,
        handled=office.handled,
        rejected=office.rejected,
        dead_lettered=office.dead_lettered,
    )

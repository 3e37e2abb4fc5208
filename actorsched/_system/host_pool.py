"""The supervisor of the hosts of one pool: finds a host for a task, starts more, and ends those not needed.

There is one for the tasks without a tag, and one for each tag. The hosts of all of them together are limited
by `Hosts(max=)`, so an idle host of one pool moves to another that has more to do. A pool that was given
limits of its own (`rt.pool(..., hosts=)`) has its hosts for itself.

A host that waits for its task's children, or is suspended, does not count: what it waits for may need a host.
When another one is started in its place, there may be more hosts than `max` for a while.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, ClassVar, NamedTuple, assert_never

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.load import LoadSample
from actorsched._core.scaling import Demand, Hold, Reap, Scaling, Spawn, overloaded
from actorsched.exceptions import HostDied
from actorsched.messages import Finished, Idle, Interrupt, Preempt, PriorityChanged, Resume

if TYPE_CHECKING:
    from actorsched._core.timers import TimerEntry
    from actorsched._hosting.exits import HostExit
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.host_staff import HostStaff
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.task import TaskActor
    from actorsched.options import Hosts

_MANY = 1 << 30
_PATIENCE = 0.02
"""Seconds for which tasks wait while those in the hosts wait, before one more host is started."""
_TINY = 16
"""A host that may have so many tasks in advance runs tiny ones: each takes less than what it costs to choose
the best host anew for it."""
_SPARE = 1.0
"""Seconds for which such a host is kept when it is no longer needed."""


class Look(msgspec.Struct, frozen=True):
    """To itself: see whether there are too few hosts, or too many."""


_LOOK = Look()


class Share(NamedTuple):
    """What the limits of the runtime's hosts leave to one pool."""

    min: int
    max: int
    idle_timeout: float
    cpu_limit: float | None


class HostPool(Behaviour, kw_only=True):
    """The supervisor of the hosts of one pool.

    Attributes:
        name: The tag of its tasks, or "process".
        own: Limits of its own; None if it shares those of the runtime.
        workers: The supervisors of its hosts, in the order of their start.
        why: Why there are no more hosts, and no fewer, when that was last decided.
    """

    name: str
    staff: HostStaff
    own: Hosts | None = None
    workers: list[HostWorker] = []
    why: str = "no task has needed a host"
    scaling: Scaling = msgspec.field(default_factory=Scaling)
    waiting_since: float | None = None
    """Since when tasks have found no host that is free."""
    favourite: HostWorker | None = None
    """Who was chosen last while all were busy with tiny tasks, and nobody has become idle since."""
    finished: float = -inf
    """When a host last had room again while tasks waited."""
    look_due: float | None = None
    """When to look again."""
    patience: TimerEntry | None = None
    patience_over: bool = False

    def __repr__(self) -> str:
        return f"<host pool {self.name!r}: {len(self.workers)} hosts>"

    @property
    def kernel(self) -> Kernel:
        """The kernel of the runtime."""
        return self.staff.kernel

    @property
    def limits(self) -> Hosts:
        """How many hosts there may be, and for how long: its own, or the runtime's."""
        return self.own or self.staff.limits

    @property
    def _now(self) -> float:
        """The loop's own time, also when that of the runtime is virtual."""
        return self.staff.kernel.backend.monotonic()

    # ------------------------------------------------------------------------------ a host for a task

    def hire(self, task: TaskActor, alone: bool = False) -> HostWorker | NoHost | None:
        """A host worker with room for a task: an idle one, a new one, or the one with the most room.

        For one that is to be `alone` in its host it is one of the first two.

        One whose task waits for others does not count. Most waits are over sooner than a host could start,
        though.
        """
        favourite = self.favourite
        if favourite is not None and favourite.takes_more and not alone:
            return favourite
        best: HostWorker | None = None
        idle: HostWorker | None = None
        fewest, busy = _MANY, 0
        for worker in self.workers:
            load = len(worker.runs)
            if not load:
                idle = idle or (None if worker.retiring else worker)
            elif worker.called_back or not (worker.suspended or worker.lends):
                busy += 1
                if load < worker.window and load < fewest and not (worker.leaving or worker.retiring):
                    best, fewest = worker, load
        if alone:
            best = None
        staff = self.staff
        if len(staff.pools) > 1 and self.own is None:
            busy = staff.busy_with(self)
        if busy >= staff.cores_of(self):
            self.favourite = None if best is None or best.window < _TINY else best
            return best
        idle = idle or staff.idle_elsewhere(self)
        if idle is not None:
            self.waiting_since = None
            return idle
        if staff.present(self) >= self.limits.max and not self._impatient():
            return best
        try:
            return self._one_more(task) or best
        except Exception as error:
            return best if busy else NoHost(kernel=self.kernel, scheduler=staff.scheduler, reason=error)

    def _one_more(self, task: TaskActor) -> HostWorker | None:
        """Start one more host for a task that waits, if the machine has room for it.

        One in the place of a host that is suspended, or waits for its children, needs no further room. And a
        task that goes before one that runs gets a host however busy the machine is, up to `Hosts.cpu_limit`:
        while there may be another, nobody has to be preempted.
        """
        kept_waiting = sum(worker.kept_waiting for worker in self.workers)
        if kept_waiting > sum(worker.stands_in for worker in self.workers):
            worker = self.start_worker("it stands in for one that is kept waiting")
            worker.stands_in = True
            return worker
        sample = self.staff.monitor.sample
        if any(
            task.pool.precedes(task, run.owner) for worker in self.workers for run in worker.runs.values()
        ) and not (sample is not None and overloaded(self.limits, sample)):
            return self.start_worker("a task goes before one that runs")
        if self.waiting_since is None:
            self.waiting_since = self._now
        started = self._scale(1 + self.staff.queued(self.name))
        if not started:
            self.staff.monitor.hurry()
        return started[0] if started else None

    def _impatient(self) -> bool:
        """Whether tasks have waited long enough for a host to stand in for one that is kept waiting."""
        if self.patience_over:
            self.patience_over = False
            return True
        if self.patience is None:
            self.patience = self.kernel.call_later(_PATIENCE, self._lose_patience)
        return False

    def _lose_patience(self) -> None:
        self.patience = None
        self.patience_over = True
        self.staff.scheduler.look_again(self.kernel)
        self.kernel.drain()
        self.patience_over = False

    def start_worker(self, why: str = "a task waits and there is no host") -> HostWorker:
        """Start one more host.

        Raises:
            Exception: The system would not start one.
        """
        worker = self.staff.new_worker(self)
        self.why = worker.why_there = why
        self.workers.append(worker)
        self.favourite = None
        return worker

    # ------------------------------------------------------------------------- as many as there should be

    def look(self) -> None:
        """Have as many hosts as there should be now."""
        self.kernel.post(self, _LOOK)

    @handles(LoadSample)
    def _sampled(self, sample: LoadSample, out: Outbox) -> None:
        """The load of the machine has been looked at."""
        self._look(_LOOK, out)

    @handles(Look)
    def _look(self, message: Look, out: Outbox) -> None:
        """Have as many hosts as there should be now, without any task that asks for one."""
        waiting = self.staff.queued(self.name)
        if not waiting:
            self.waiting_since = None
        self._end_spare_ones()
        try:
            started = self._scale(waiting if self.waiting_since is not None else 0)
        except Exception as error:
            out.report(logging.WARNING, f"no host process could be started for pool {self.name!r}", error)
        else:
            if started:
                self.staff.scheduler.look_again(out)

    def _scale(self, waiting: int) -> list[HostWorker]:
        """Decide, and carry it out. Answers with the hosts that were started."""
        decision = self.scaling.decide(
            self._demand(waiting), self._share(), self.staff.monitor.sample, self._now
        )
        self.why = decision.why
        match decision:
            case Spawn(count, why):
                return [self.start_worker(why) for _ in range(count)]
            case Reap(count, why):
                for worker in self._free_ones()[:count]:
                    worker.retire(why)
                self._look_at(self._now)
            case Hold(_, until):
                if until is not None:
                    self._look_at(until)
            case _:
                assert_never(decision)
        return []

    def _demand(self, waiting: int) -> Demand:
        """What the pool looks like to `Scaling`."""
        there = [worker for worker in self.workers if not (worker.is_over or worker.kept_waiting)]
        idle = [worker for worker in there if not worker.runs]
        starting = sum(not worker.ready for worker in idle)
        return Demand(
            waiting=waiting,
            waiting_since=self.waiting_since,
            starting=starting,
            busy=len(there) - len(idle),
            idle=tuple(worker.idle_since for worker in idle if worker.ready),
            elsewhere=self.staff.busy_elsewhere(self),
            finished=self.finished,
        )

    def _share(self) -> Share:
        limits = self.limits
        elsewhere = self.staff.staying_elsewhere(self)
        fewest, most = max(0, limits.min - elsewhere), max(0, limits.max - elsewhere)
        return Share(fewest, most, limits.idle_timeout, limits.cpu_limit)

    def _end_spare_ones(self) -> None:
        """End idle hosts that are there only because others had to wait."""
        spare = self.staff.staying(self) - self.limits.max
        if spare > 0:
            for worker in self._free_ones()[:spare]:
                if worker.idle_since + _SPARE > self._now:
                    return self._look_at(worker.idle_since + _SPARE)
                worker.retire("it stood in for one that was kept waiting")

    def _free_ones(self) -> list[HostWorker]:
        """The hosts that have nothing to do, the longest idle first."""
        return sorted((worker for worker in self.workers if worker.is_free), key=_idle_since)

    def became_idle(self, worker: HostWorker) -> None:
        """It has nothing to do."""
        worker.idle_since = now = self._now
        self.favourite = None
        if self.waiting_since is not None:
            self.finished = now
        if self.look_due is None:
            limits = self.limits
            self._look_at(now + (_SPARE if self.staff.staying(self) > limits.max else limits.idle_timeout))

    def _look_at(self, when: float) -> None:
        """See to it that somebody looks by then."""
        if self.look_due is None or when < self.look_due:
            self.look_due = when
            self.kernel.call_for_host(max(0.0, when - self._now), self._alarm, when)

    def _alarm(self, when: float) -> None:
        if when == self.look_due:  # or an earlier one has come in its place
            self.look_due = None
            self.look()

    # -------------------------------------------------------------------------- told by its workers

    def may_suspend(self) -> bool:
        """As many hosts may be suspended as may run."""
        return self.staff.suspended(self) < self.limits.max

    def one_less_suspended(self) -> None:
        """There may be room for one more."""
        for worker in self.staff.sharing(self):
            worker.make_room()

    def told_to_end(self, worker: HostWorker) -> None:
        """A host takes no more tasks."""
        self.staff.tally.told_to_end(worker, self.name)

    def worker_gone(self, worker: HostWorker, end: HostExit) -> bool:
        """A host has ended. Answers whether what it had not begun is to be tried in another."""
        self.workers.remove(worker)
        self.favourite = None
        return self.staff.worker_gone(worker, end)

    def close(self) -> None:
        """Start no more, end none."""
        if self.patience is not None:
            self.patience.cancel()
        self.look_due = -inf  # earlier than any other

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """Its hosts are its own, and whoever it prefers is one of them."""
        workers = self.workers
        require(len(set(workers)) == len(workers), self, "each of its hosts is there once")
        require(all(worker.pool is self for worker in workers), self, "its hosts know that they are its own")
        require(
            self.favourite is None or self.favourite in workers, self, "whom it prefers is one of its hosts"
        )
        require(not self.patience_over, self, "it loses its patience for one look only")
        suspended = sum(worker.suspended for worker in workers)
        allowed = self.limits.max if len(self.staff.pools) == 1 else None
        require(allowed is None or suspended <= allowed, self, "no more hosts are suspended than may run")


def _idle_since(worker: HostWorker) -> float:
    return worker.idle_since


def no_host(what: str, reason: Exception) -> HostDied:
    """The error of what needs a host when the system would not start one."""
    error = HostDied(
        f"{what}: no host process could be started: {reason}; "
        "free descriptors, processes or memory, then try again",
        cause="never started",
    )
    error.__cause__ = reason
    return error


class NoHost(Behaviour, kw_only=True):
    """Stands in for a host that the system would not start: tasks that get it fail, and say why."""

    kernel: Kernel
    scheduler: Behaviour
    reason: Exception
    runs: ClassVar[tuple[int, ...]] = ()

    def assign(self, task: TaskActor, out: Outbox) -> None:
        """It fails."""
        error = no_host(f"task {task.name!r} could not run", self.reason)
        task.begun_by(self, out)
        out.send((self.scheduler, Idle(self, task, Finished(error=error, crashed=True))))

    def lets_in(self, task: TaskActor) -> bool:
        """It is given nothing but one task."""
        return True

    def became_idle(self) -> None:
        """It is used once."""

    @handles(Interrupt, Preempt, PriorityChanged, Resume)
    def _told(self, message: object, out: Outbox) -> None:
        """It never runs anything."""

    def check(self) -> None:
        """It says why there is no host."""
        require(str(self.reason) or self.reason.args, self, "it says why no host could be started")

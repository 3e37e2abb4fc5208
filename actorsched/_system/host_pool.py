"""The supervisor of the hosts of one pool: finds a host for a task, starts more, and ends those not needed.

There is one for the tasks without a tag, and one for each tag. The hosts of all of them together are limited
by `Hosts(max=)`, so an idle host of one pool moves to another that has more to do.

A host that waits for its task's children, or is suspended, does not count: what it waits for may need a host.
When another one is started in its place, there may be more hosts than `max` for a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched.exceptions import HostDied
from actorsched.messages import Finished, Idle, Interrupt, Preempt, Resume

if TYPE_CHECKING:
    from actorsched._core.timers import TimerEntry
    from actorsched._hosting.exits import HostExit
    from actorsched._kernel.backend import Handle
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.host_staff import HostStaff
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.task import TaskActor

_MANY = 1 << 30
_PATIENCE = 0.02
"""Seconds for which tasks wait while those in the hosts wait, before one more host is started."""
_SPARE = 1.0
"""Seconds for which such a host is kept when it is no longer needed."""


class HostPool(Behaviour, kw_only=True):
    """The supervisor of the hosts of one pool.

    Attributes:
        name: The tag of its tasks, or "process".
        workers: The supervisors of its hosts, in the order of their start.
    """

    name: str
    staff: HostStaff
    workers: list[HostWorker] = []
    patience: TimerEntry | None = None
    patience_over: bool = False
    reaping: TimerEntry | Handle | None = None
    """When to look for hosts that nobody needs any more."""

    def __repr__(self) -> str:
        return f"<host pool {self.name!r}: {len(self.workers)} hosts>"

    @property
    def kernel(self) -> Kernel:
        """The kernel of the runtime."""
        return self.staff.kernel

    # ------------------------------------------------------------------------------ a host for a task

    def hire(self, alone: bool = False) -> HostWorker | NoHost | None:
        """A host worker with room: an idle one, a new one, or the one with the most room.

        For a task that is to be `alone` in its host it is one of the first two.

        One whose task waits for others does not count. Most waits are over sooner than a host could start,
        though.
        """
        best: HostWorker | None = None
        idle: HostWorker | None = None
        fewest, busy = _MANY, 0
        for worker in self.workers:
            load = len(worker.runs)
            if not load:
                idle = idle or (None if worker.retiring else worker)
            elif not (worker.suspended or worker.lends):
                busy += 1
                if load < worker.window and load < fewest and not (worker.leaving or worker.retiring):
                    best, fewest = worker, load
        if alone:
            best = None
        staff = self.staff
        if len(staff.pools) > 1:
            busy = staff.busy
        if busy >= staff.cores:
            return best
        idle = idle or staff.idle_elsewhere(self)
        if idle is not None:
            return idle
        if staff.present >= staff.limits.max and not self._impatient():
            return best
        try:
            return self.start_worker()
        except Exception as error:
            return best if busy else NoHost(kernel=self.kernel, scheduler=staff.scheduler, reason=error)

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

    def start_worker(self) -> HostWorker:
        """Start one more host.

        Raises:
            Exception: The system would not start one.
        """
        worker = self.staff.new_worker(self)
        self.workers.append(worker)
        return worker

    # --------------------------------------------------------------------------- hosts that are idle

    def became_idle(self, worker: HostWorker) -> None:
        """It has nothing to do."""
        worker.idle_since = self.kernel.backend.monotonic()
        if self.reaping is None:
            self._reap_in(min(self.staff.limits.idle_timeout, _SPARE))

    def _reap_in(self, delay: float) -> None:
        self.reaping = self.kernel.call_for_host(delay, self._reap)

    def _reap(self) -> None:
        """End hosts that nobody has needed for long, the longest idle first."""
        self.reaping = None
        now, limits = self.kernel.backend.monotonic(), self.staff.limits
        idle = sorted((worker for worker in self.workers if worker.is_free), key=_idle_since)
        due = None
        for worker in idle:
            spare = self.staff.staying > limits.max
            when = worker.idle_since + (min(_SPARE, limits.idle_timeout) if spare else limits.idle_timeout)
            if self.staff.staying <= limits.min and not spare:
                break
            if when > now:
                due = when - now
                break
            worker.retire()
        if due is not None:
            self._reap_in(due)

    # -------------------------------------------------------------------------- told by its workers

    def may_suspend(self) -> bool:
        """As many hosts may be suspended as may run."""
        return self.staff.suspended < self.staff.limits.max

    def one_less_suspended(self) -> None:
        """There may be room for one more."""
        for worker in self.staff.workers:
            worker.make_room()

    def worker_gone(self, worker: HostWorker, end: HostExit) -> bool:
        """A host has ended. Answers whether what it had not begun is to be tried in another."""
        self.workers.remove(worker)
        return self.staff.worker_gone(worker, end)

    def close(self) -> None:
        """Start no more, end none."""
        for timer in (self.patience, self.reaping):
            if timer is not None:
                timer.cancel()


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

    def assign(self, task: TaskActor, out: Outbox) -> None:
        """It fails."""
        error = no_host(f"task {task.name!r} could not run", self.reason)
        task.begun_by(self, out)
        out.send((task, Finished(error=error, crashed=True)))
        out.send((self.scheduler, Idle(self, task)))

    def became_idle(self) -> None:
        """It is used once."""

    @handles(Interrupt, Preempt, Resume)
    def _told(self, message: object, out: Outbox) -> None:
        """It never runs anything."""

"""What a task waits for: upstream tasks, resources, and what its own code awaits.

While its code waits for another task, asks an actor or acquires a resource, the slot is lent, and probes for
circles of waiting pass through (`_system.waiting`). Whoever waits lends its urgency (`_system.urgent`).
"""

from __future__ import annotations

from collections.abc import Iterable

from actorsched._core.behaviour import Outbox, handles, require
from actorsched._core.invariants import FEW
from actorsched._core.lenders import Lenders
from actorsched._system.task_end import TaskEnd
from actorsched._system.urgent import Urgent
from actorsched._system.waiting import Waiter, is_closed, pass_probe, probe_again, tell_of_deadlock
from actorsched._system.whereabouts import line_of
from actorsched.messages import (
    Acquire,
    Chosen,
    Inherit,
    PriorityChanged,
    Probe,
    Refused,
    SetPriority,
    Wish,
)
from actorsched.status import TaskStatus

_WAITING = TaskStatus.WAITING
_READY = TaskStatus.READY
_RUNNING = TaskStatus.RUNNING


class TaskWaits(TaskEnd, eq=False):
    """Waiting, and urgency."""

    def waits_changed(self) -> None:
        """While its code waits it is WAITING or BLOCKED, and READY when that only waits for its slot."""
        waits, before = self.waits, self.status
        if self.worker is None:
            return
        if waits is not None and waits and not self.hurried:
            self.status = TaskStatus.BLOCKED if waits.locked else _WAITING
        elif self.paused:
            self.status = TaskStatus.PREEMPTED
        else:
            self.status = _READY if waits is not None and waits.resuming else _RUNNING
        if self.kernel.watched and self.status is not before and self.status in (_WAITING, _READY):
            self.kernel.tell(self.status.value, self)  # type: ignore[arg-type]  # one of the two

    def awaits(self) -> Iterable[Waiter]:
        """Whom and what it waits for: upstream tasks, the resources that it needs to start, and its code."""
        targets = list(super().awaits())
        targets += [upstream for upstream in self.upstream or () if upstream.outcome is None]
        request = self.request
        if request is not None and request.waits:
            targets.append(self.locks.waits[request])
        return targets

    def knots(self) -> bool:
        """Only holders of resources who wait can be in a circle that is no deadlock."""
        locks = getattr(self.scheduler, "locks", None)
        return locks is not None and bool(locks.waits) and locks.knots()

    def urgency_changed(self, out: Outbox) -> None:
        """The scheduler has to know."""
        if self.outcome is None:
            assert self.scheduler is not None
            out.send((self.scheduler, PriorityChanged(self)))

    @handles(Refused)
    def _must_give_way(self, message: Refused, out: Outbox) -> None:
        if self.worker is not None:
            self._refused(message, out)
            return
        probe_again(message.circle, out)
        if self.outcome is None and is_closed(message.circle):
            if out.watched:
                tell_of_deadlock(message.circle, self, out)
            self._fail(message.error, out)

    @handles(Probe)
    def _pass_probe(self, message: Probe, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.pass_on(self, message, out)
            self.waits_changed()
        request = self.request
        if request is not None and request.waits:
            pass_probe(self, self.locks.waits[request], message, out)
        for upstream in self.upstream or ():
            error = pass_probe(self, upstream, message, out)
            if error is not None:  # it could never start
                return self._fail(error, out)

    @handles(SetPriority)
    def _set_priority(self, message: SetPriority, out: Outbox) -> None:
        if self.outcome is not None:
            return
        special, before = self.specially(), self.own_rank
        special.base = message.priority
        if message.priority < before:  # those who had nothing to lend may have something now
            for waiter in self.waiters or ():
                if isinstance(waiter, Urgent):
                    self.lenders = Lenders() if self.lenders is None else self.lenders
                    self.lenders.lend(waiter, waiter.rank, waiter.due)
        self.reconsider(out)

    @handles(Inherit)
    def _urged(self, message: Inherit, out: Outbox) -> None:
        """Once it has ended, nobody lends it anything."""
        if self.outcome is None:
            self._inherit(message, out)

    # ------------------------------------------------------------------------------------- resources

    @handles(Acquire)
    def _acquire(self, message: Acquire, out: Outbox) -> None:
        """Its code wants some resource. It gets it if it still runs when this instant is over."""
        special = self.specially()
        special.locking = True
        assert self.scheduler is not None
        if special.acquires is None:
            special.acquires = []
        special.acquires.append(message)
        out.send((self.scheduler, Wish(self)))

    @handles(Chosen)
    def _chosen(self, message: Chosen, out: Outbox) -> None:
        special = self.specially()
        acquires, special.acquires = special.acquires, None
        for acquire in acquires or ():
            out.send((self.locks, acquire))

    def tells_of_wait(self, target: Waiter) -> str:
        """What it holds, what it waits for, and where: one sentence of an error about a deadlock."""
        held = ", ".join(self.locks.table.held_by(self)) or "nothing"  # type: ignore[arg-type]  # a TaskActor
        where = getattr(target, "where", None) or line_of(self.worker)
        at = f" at {where}" if where else " as it starts" if self.worker is None else ""
        what = f"resource {target.name}" if target.locks_wait else repr(target.name)
        return f"task {self.name!r} (priority {self.own_rank}) holds {held} and waits for {what}{at}"

    def check(self) -> None:
        """Only while its code runs does that wait for something; and its urgency is its own, or lent."""
        super().check()
        require(self.waits is None or self.worker is not None, self, "nothing waits when nobody runs it")
        if self.outcome is None:
            self._check_urgency()

    def _check_urgency(self) -> None:
        rank, due, lent = self.own_rank, self.own_due, self.lenders
        most = rank if lent is None or lent.rank is None else max(rank, lent.rank)
        soonest = due if lent is None else min(due, lent.due)
        require(rank <= self.rank <= most, self, "its priority is its own, or the highest that it inherits")
        require(soonest <= self.due <= due, self, "its deadline is its own, or the earliest that it inherits")
        if lent is not None and not self._may_be_in_circle():
            require(self.rank == most, self, f"its priority is {most}, the highest of its own and those lent")
            require(self.due == soonest, self, "its deadline is the earliest of its own and those lent")

    def check_at_rest(self) -> None:
        """The same; and no loan was lost."""
        super().check_at_rest()
        if self.outcome is not None or self._may_be_in_circle():
            return
        waiters = [waiter for waiter in self.waiters or () if isinstance(waiter, Urgent)]
        if len(waiters) <= FEW:
            for waiter in waiters:
                require(self.rank >= waiter.rank, self, f"it inherits the priority of {waiter!r}, who waits")
                require(self.due <= waiter.due, self, f"it inherits the deadline of {waiter!r}, who waits")
        lenders = self.lenders or ()
        if len(lenders) <= FEW:
            for lender in lenders:
                waits = not isinstance(lender, TaskWaits) or self in lender.lends_to()
                require(waits, self, f"{lender!r}, who lends, waits for it")

    def _may_be_in_circle(self) -> bool:
        """Whether somebody waits for resources: those in a circle find what is effective by another way."""
        locks = getattr(self.scheduler, "locks", None)
        return locks is not None and bool(locks.waits)

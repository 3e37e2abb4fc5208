"""The resources actor: who holds which resource, who waits for it, and what the holders inherit from that.

Who gets what is decided by the table (`_core.lock_table`); here it becomes messages. A task asks (`Acquire`),
and is answered, or begins to wait: for a `LockWait`, which stands for its request in the wait-for graph. A
probe that comes to it goes on to those who hold what it lacks, so a circle of waiting is found on the request
that closes it, whatever it leads through (`_system.waiting`). What is given back (`Release`) is handed over
at once. The holders of a resource inherit from it (`Inherit`) the highest priority and the earliest deadline
of those who wait for it, as long as they do and it holds.

A task that names its resources at its submission asks for them when it is chosen, all together; while it
waits for them it has no worker, and holds none of them.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.deadlock import is_stuck
from actorsched._core.invariants import FEW
from actorsched._core.lenders import Lenders
from actorsched._core.lock_table import LockTable, Request
from actorsched._system.guarded import guarded
from actorsched._system.waiting import Step, Waiter, pass_probe
from actorsched.messages import (
    Acquire,
    Disinherit,
    Granted,
    Inherit,
    Outcome,
    Probe,
    Release,
    Settled,
    Wait,
)
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actorsched._core.policies import SchedulingPolicy
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.task import TaskActor
    from actorsched._system.urgent import Urgent

_SERVED: Outcome[Any] = Outcome(TaskStatus.COMPLETED)


class Resource(Behaviour, eq=False):
    """One resource, as the lender of its waiters' urgency to its holders."""

    name: str
    capacity: int
    inherit: bool
    """Whether its holders inherit from those who wait for it."""
    lenders: Lenders[Request[TaskActor]]
    """The requests that wait for it."""

    def behind(self) -> Iterable[Behaviour]:
        """Those who wait for it."""
        return [request.owner for request in self.lenders]

    def __repr__(self) -> str:
        return f"<resource {self.name!r} of capacity {self.capacity}>"

    def check(self) -> None:
        """Those who lend are requests for it that wait."""
        require(self.capacity > 0, self, "it has a unit")
        require(self.inherit or not len(self.lenders), self, "nobody lends where nobody inherits")
        if len(self.lenders) <= FEW:
            self.lenders.check()
            for request in self.lenders:
                require(request.waits, self, f"{request!r}, which lends, waits")
                require(self.name in request.names, self, f"{request!r}, which lends, is for it")


class LockWait(Waiter, kw_only=True, eq=False):
    """A request that waits, in the wait-for graph."""

    locks_wait: ClassVar[bool] = True

    request: Request[TaskActor]
    locks: Locks
    where: str | None = None
    """The line of code that waits."""

    @property
    def name(self) -> str:
        """What is waited for."""
        return ", ".join(self.request.names)

    def __repr__(self) -> str:
        return f"<wait of {self.request.owner.name!r} for {self.name}>"

    def urged_by(self, waiter: Urgent, out: Outbox) -> None:
        """Whoever waits is more urgent than before, or less."""
        self.locks.reorder(self.request, out)

    def waive(self, out: Outbox) -> bool:
        """What is kept free for it, others may have."""
        return self.locks.waive(self.request, out)

    def blockers(self) -> list[list[TaskActor]]:
        """Groups of tasks; one of each group has to let go."""
        return [holders for _, holders in self.locks.table.blockers(self.request)]

    def awaits(self) -> Iterable[Waiter]:
        """All that may have to let go."""
        return [holder for holders in self.blockers() for holder in holders]

    def lends_to(self) -> Iterable[Waiter]:
        """All who hold any of it, also where there are other units."""
        table, resources = self.locks.table, self.locks.resources
        return [
            holder for name in self.request.names if resources[name].inherit for holder in table.holders(name)
        ]

    def needs(self, target: Waiter) -> bool:
        """Whether no other one will let go: where there are several holders, the last circle decides."""
        return any(target in holders and is_certain(holders) for holders in self.blockers())

    @property
    def strand(self) -> object:
        """Which strand of its owner waits; None for all of them, when it has not even started."""
        return strand_of(self.request)

    def hinders(self, waiter: Waiter, strand: object) -> bool:
        """Whether one who has to let go cannot do so while that strand of it waits.

        What another strand of it holds, that one may well give back.
        """
        return strand is None or any(
            strand_of(request) in (None, strand)
            for request in self.locks.table.requests_of(waiter)  # type: ignore[arg-type]  # a task
            if (request.holds or request.keeps) and not set(request.names).isdisjoint(self.request.names)
        )

    @handles(Probe)
    def _probe(self, message: Probe, out: Outbox) -> None:
        for holders in self.blockers():
            if is_certain(holders):
                others = [holder for holder in holders if holder is not self.request.owner]
                for holder in others or holders[:1]:  # if there are others, the circle leads through them
                    pass_probe(self, holder, message, out)

    def check(self) -> None:
        """As long as it is known, its request waits."""
        super().check()
        known = self.locks.waits.get(self.request)
        require(known is None or known is self, self, "one request waits once")
        require(known is None or self.request.waits, self, "what is known to wait does")


def is_certain(holders: Sequence[Waiter]) -> bool:
    """Whether none of those who hold something can let go of it, or there is only one."""
    return len(holders) == 1 or is_stuck(holders[0], whom_it_waits_for)


def strand_of(request: Request[TaskActor]) -> object:
    """Which strand of its owner a request is of; None for those that it was submitted with."""
    return getattr(request, "strand", None)


def whom_it_waits_for(waiter: Waiter) -> Iterable[Iterable[Waiter]]:
    """Groups of those for whom somebody waits; one of each group has to go on before it can."""
    if isinstance(waiter, LockWait):
        return waiter.blockers()
    return [[target] for target in waiter.awaits()]


class Locks(Behaviour, kw_only=True):
    """All resources of one runtime."""

    kernel: Kernel
    table: LockTable[TaskActor]
    resources: dict[str, Resource] = {}
    waits: dict[Request[TaskActor], LockWait] = {}
    """The requests that wait."""
    keepers: list[Request[TaskActor]] = []
    """Those for whom something has begun to be kept free: others wait for them now, without having asked."""

    def __repr__(self) -> str:
        return f"<locks {self.table!r}>"

    def declare(self, name: str, capacity: int, *, inherit: bool) -> Resource:
        """Make a resource known.

        Raises:
            ValueError: It is, with another capacity or another rule of inheritance.
        """
        known = self.resources.get(name)
        if known is not None and known.inherit is not inherit:
            raise ValueError(
                f"inherit={inherit} contradicts the resource {name!r}, which was declared with "
                f"inherit={known.inherit}; declare it once, or everywhere alike"
            )
        self.table.declare(name, capacity)
        if known is None:
            known = self.resources[name] = Resource(name, capacity, inherit, Lenders())
        return known

    # --------------------------------------------------------------------------------- asking for them

    def take(self, request: Request[TaskActor], out: Outbox) -> bool:
        """Take what a running task asks for if that is free; otherwise nothing happens but the answer."""
        table = self.table
        if len(request.names) == 1 and not self.kernel.virtual and table.take(request):
            if out.watched:
                out.tell("acquired", request.owner, resource=request.names[0])
            return True
        return False

    @handles(Acquire)
    def _acquire(self, message: Acquire, out: Outbox) -> None:
        request, answer = message.request, message.answer
        if answer.done():  # whoever asked has gone
            return
        if self.table.acquire(request):
            self._holds(request, "acquired", out)
            self._probe_keepers(out)
            return out.reply(answer, None)
        wait = self._waits(request, out)
        wait.where = message.where
        task = request.owner
        out.send((task, Wait(wait, answer)))
        if task in wait.awaits():  # perhaps a circle, though nobody else waits for it
            out.send((wait, Probe(task, wait, answer, False, Step(task), {wait})))
        return None

    def hold_all(self, task: TaskActor, out: Outbox) -> bool:
        """Whether a task that is about to start has what it needs. If not, it is told when it has."""
        request = task.request
        if request is None:
            special = task.specially()
            request = special.request = Request(task, tuple(task.options.resources))
            special.locking = True  # it may be cancelled with them before it has begun, for want of a worker
        if request.holds:
            return True
        if self.table.acquire(request):
            self._holds(request, "acquired", out)
            return True
        wait = self._waits(request, out)
        task.blocked(out)
        if task.awaited:
            out.send((wait, Probe(task, wait, None, False, Step(task), {wait})))
        return False

    def _waits(self, request: Request[TaskActor], out: Outbox) -> LockWait:
        """A request has begun to wait."""
        wait = self.waits[request] = LockWait(kernel=self.kernel, request=request, locks=self)
        task = request.owner
        if out.watched:
            for name, holders in self.table.blockers(request):
                names, lowest = [holder.name for holder in holders], min(one.own_rank for one in holders)
                out.tell(
                    "blocked",
                    task,
                    resource=name,
                    holder=names[0],
                    holders=names,
                    priority=task.own_rank,
                    holder_priority=lowest,
                )
        self._lend(request, out)
        return wait

    # ------------------------------------------------------------------------------ giving them back

    def put_back(self, request: Request[TaskActor], out: Outbox) -> bool:
        """Give back what a request holds if nobody waits for it; otherwise nothing happens but the answer."""
        if not self.table.put_back(request):
            return False
        if out.watched:
            out.tell("released", request.owner, resource=request.names[0])
        return True

    @handles(Release)
    def _release(self, message: Release, out: Outbox) -> None:
        self.give_back(message.request, out)

    def give_back(self, request: Request[TaskActor], out: Outbox) -> None:
        """What a request holds is free again; one that waits does no longer."""
        if request.holds:
            if out.watched:
                for name in request.names:
                    out.tell("released", request.owner, resource=name)
            served = self.table.release(request)
            self._lost(request, out)
        elif request.waits:
            self.waits.pop(request, None)
            served = self.table.withdraw(request)
            self._lend_no_more(request, out)
        else:
            return
        self._serve(served, out)

    def ended(self, task: TaskActor, out: Outbox) -> None:
        """A task, or one attempt of it, is over: nothing of it holds anything, or waits."""
        if task.special is not None:
            task.special.request = None
        for request in self.table.requests_of(task):
            self.give_back(request, out)

    def _serve(self, served: list[Request[TaskActor]], out: Outbox) -> None:
        for request in served:
            wait = self.waits.pop(request, None)
            self._lend_no_more(request, out)
            self._holds(request, "handed_over", out)
            if wait is not None:
                task = request.owner
                own = request is task.request
                out.send((task, Granted(request) if own else Settled(wait, _SERVED)))
        self._probe_keepers(out)

    # ---------------------------------------------------------------------------- what is kept free

    def waive(self, request: Request[TaskActor], out: Outbox) -> bool:
        """Keep nothing free for a request any longer. False if nothing was."""
        if not request.keeps:
            return False
        self._serve(self.table.waive(request), out)
        return True

    def _probe_keepers(self, out: Outbox) -> None:
        """Others wait for these from now on: that may close a circle, though nobody has asked."""
        keepers, self.keepers = self.keepers, []
        for request in keepers:
            wait = self.waits.get(request)
            if wait is not None:
                task = request.owner
                out.send((wait, Probe(task, wait, None, False, Step(task), {wait})))

    # ------------------------------------------------------------------------------------- inheritance

    def knots(self) -> bool:
        """Whether anybody waits who holds what others wait for."""
        return any(
            holder.waits
            for resource in self.resources.values()
            if len(resource.lenders)
            for holder in self.table.holders(resource.name)
        )

    def _holds(self, request: Request[TaskActor], how: Any, out: Outbox) -> None:
        """A request has what it is for: from now on its owner inherits from those who wait for that."""
        for name in request.names:
            if out.watched:
                out.tell(how, request.owner, resource=name)
            resource = self.resources[name]
            if resource.inherit and len(resource.lenders):
                self._inherit(resource, request.owner, out)

    def _lost(self, request: Request[TaskActor], out: Outbox) -> None:
        """A request has given back what it held."""
        for name in request.names:
            resource = self.resources[name]
            if len(resource.lenders) and name not in self.table.held_by(request.owner):
                out.send((request.owner, Disinherit(resource)))

    def _lend(self, request: Request[TaskActor], out: Outbox) -> None:
        """Whoever waits lends its urgency to what it waits for."""
        task = request.owner
        for name in request.names:
            resource = self.resources[name]
            if resource.inherit and (resource.lenders.lend(request, task.rank, task.due) or self.knots()):
                self._lenders_changed(resource, out)

    def _lend_no_more(self, request: Request[TaskActor], out: Outbox) -> None:
        for name in request.names:
            resource = self.resources[name]
            if request in resource.lenders and (resource.lenders.withdraw(request) or self.knots()):
                self._lenders_changed(resource, out)

    def _lenders_changed(self, resource: Resource, out: Outbox) -> None:
        for holder in self.table.holders(resource.name):
            if len(resource.lenders):
                self._inherit(resource, holder, out)
            else:
                out.send((holder, Disinherit(resource)))

    def _inherit(self, resource: Resource, holder: TaskActor, out: Outbox) -> None:
        lenders = resource.lenders
        rank, due = lenders.rank, lenders.due
        if any(request in lenders for request in self.table.requests_of(holder)):  # what it lends is its own
            others = [request.owner for request in lenders if request.owner is not holder]
            rank = max((other.rank for other in others), default=None)
            due = min((other.due for other in others), default=inf)
        out.send((holder, Disinherit(resource) if rank is None else Inherit(resource, rank, due)))

    # ----------------------------------------------------------------------------------------- order

    def reorder(self, request: Request[TaskActor], out: Outbox) -> None:
        """Whoever waits on a request is more urgent than before, or less."""
        if request.waits:
            served = self.table.changed(request.owner)
            self._lend(request, out)
            self._serve(served, out)

    def order_by(self, policy: SchedulingPolicy[TaskActor], out: Outbox) -> None:
        """Those who wait are ordered by another policy."""
        self.table.urgency = guarded(policy, "the resources").urgency
        self._serve(self.table.reorder(), out)

    # ------------------------------------------------------------------------------ what always holds

    def check(self) -> None:
        """The book, and those who lend, agree; looked at one by one while they are few."""
        table = self.table
        require(tuple(self.resources) == table.names, self, "every resource is in the book")
        if table.busy > FEW or len(self.resources) > FEW:
            return
        table.check()
        for resource in self.resources.values():
            resource.check()
            name = resource.name
            require(
                resource.capacity == table.capacity(name), resource, "it has as many units as in the book"
            )
        for request, wait in self.waits.items():
            wait.check()
            require(wait.request is request, self, "each wait stands for its request")
            lend = [self.resources[name] for name in request.names if self.resources[name].inherit]
            require(
                all(request in one.lenders for one in lend), request, "whoever waits lends to what it wants"
            )
        waiting = {task for resource in self.resources for task in table.waiting(resource)}
        known = {request.owner for request in self.waits}
        require(waiting == known, self, "everybody who waits is in the wait-for graph, and nobody else is")

    def check_at_rest(self) -> None:
        """The same; and no loan was lost: who holds what others wait for is as urgent as they are."""
        self.check()
        require(not self.keepers, self, "those for whom something is kept free were probed")
        if self.table.busy > FEW or self.knots():
            return
        for resource in self.resources.values():
            lent = resource.lenders
            for holder in self.table.holders(resource.name):
                require(holder.outcome is None, resource, f"{holder!r}, who holds it, has not ended")
                require(
                    lent.rank is None or holder.rank >= lent.rank, resource, f"{holder!r} inherits from it"
                )
                require(holder.due <= lent.due, resource, f"{holder!r} inherits its deadline")
        for request in self.waits:
            owner = request.owner
            require(owner.outcome is None, request, "whoever waits has not ended")
            one = owner.request is request or (
                owner.waits is not None and self.waits[request] in owner.awaits()
            )
            require(one or owner.worker is not None, request, "its owner knows that it waits")


def locks_of(kernel: Kernel, policy: SchedulingPolicy[TaskActor]) -> Locks:
    """The resources of a runtime, of which there are none yet."""
    locks: Locks
    urgency = guarded(policy, "the resources").urgency
    table = LockTable(urgency, on_keep=lambda request: locks.keepers.append(request))
    locks = Locks(kernel=kernel, table=table)
    return locks

"""How urgent a task is: its own priority and deadline, or better ones that it inherits.

Whoever waits for a task lends it its urgency for as long as it waits, and so does a resource that others wait
for, to its holders. What is effective is always the best of its own and of what it is lent now; nothing is
saved, so nothing has to be restored, in whatever order the lenders go (Sha, Rajkumar and Lehoczky, "Priority
inheritance protocols", 1990, without their mistake of restoring). A change is passed on to whatever the task
waits for itself, through chains of any length, and to the scheduler.

There are circles that are no deadlocks: where a resource has several units, one of those who hold them may
be outside of the circle. In it everybody would go on to lend what it was lent, though nobody has it of its
own any more. So those in a circle look at all who wait for them, directly or not, and at what these have of
their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from math import inf
from typing import ClassVar

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.lenders import Lenders
from actorsched._system.waiting import Waiter
from actorsched.messages import Disinherit, Inherit
from actorsched.options import Priority

_NORMAL = int(Priority.NORMAL)
_FEW = 8
"""So many lenders are looked at each time that somebody checks."""


class Urgent(Waiter, kw_only=True, eq=False):
    """Somebody who inherits from those who wait for it, and lends to those that it waits for."""

    inherits: ClassVar[bool] = True

    rank: int = _NORMAL
    """The effective priority. An actor's is up to date while it is in the run queue or its code waits."""
    due: float = inf
    """The effective absolute deadline, by the runtime's clock."""
    lenders: Lenders[Behaviour] | None = None

    @property
    @abstractmethod
    def own_rank(self) -> int:
        """Its priority without what it inherits."""

    @property
    @abstractmethod
    def own_due(self) -> float:
        """Its deadline without what it inherits."""

    def urgency_changed(self, out: Outbox) -> None:
        """Its effective priority or deadline is another one."""

    def urged_by(self, waiter: Urgent, out: Outbox) -> None:
        """Somebody waits for it, and may be more urgent than before, or less."""
        lenders = self.lenders  # without any, what is effective is its own
        rank, due = (self.rank, self.due) if lenders is None else (self.own_rank, self.own_due)
        if waiter.rank > rank or waiter.due < due or (lenders is not None and waiter in lenders):
            out.send((self, Inherit(waiter, waiter.rank, waiter.due)))

    @handles(Inherit)
    def _inherit(self, message: Inherit, out: Outbox) -> None:
        if self.lenders is None:
            self.lenders = Lenders()
        if self.lenders.lend(message.lender, message.rank, message.due) or self.knots():
            self.reconsider(out)

    @handles(Disinherit)
    def _disinherit(self, message: Disinherit, out: Outbox) -> None:
        self.lost(message.lender, out)

    def lost(self, lender: Behaviour, out: Outbox) -> None:
        """This one lends nothing any more, if it did."""
        lenders = self.lenders
        if lenders is not None and lender in lenders and (lenders.withdraw(lender) or self.knots()):
            self.reconsider(out)

    def reconsider(self, out: Outbox) -> None:
        """Find anew what is effective, and tell those whom it concerns."""
        rank, due = self.own_rank, self.own_due
        if self.lenders is not None:
            lent = self.lenders.rank
            rank, due = rank if lent is None else max(rank, lent), min(due, self.lenders.due)
            if (rank, due) != (self.own_rank, self.own_due) and self.knots() and _is_in_circle(self):
                rank, due = _best_of_all_who_wait(self)
        if (rank, due) != (self.rank, self.due):
            self.set_effective(rank, due, out)

    def knots(self) -> bool:
        """Whether there may be circles that are no deadlocks."""
        return False

    def behind(self) -> Iterable[Behaviour]:
        """Those who lend it something."""
        return self.lenders or ()

    def set_effective(self, rank: int, due: float, out: Outbox) -> None:
        """This is effective from now on."""
        self.rank, self.due = rank, due
        for target in self.awaits():
            target.urged_by(self, out)
        self.urgency_changed(out)

    def check(self) -> None:
        """What it is lent is in order, and lent by others."""
        super().check()
        if self.lenders is not None and len(self.lenders) <= _FEW:
            self.lenders.check()
            require(self not in self.lenders, self, "nobody lends to itself")


def _is_in_circle(one: Waiter) -> bool:
    """Whether somebody lends, through others, to itself."""
    ahead, seen = list(one.lends_to()), set[Waiter]()
    while ahead:
        other = ahead.pop()
        if other is one:
            return True
        if other not in seen:
            seen.add(other)
            ahead.extend(other.lends_to())
    return False


def _best_of_all_who_wait(one: Urgent) -> tuple[int, float]:
    """The highest priority and the earliest deadline that anybody has who waits for it, through whomever."""
    rank, due = one.own_rank, one.own_due
    behind, seen = list(one.behind()), set[Behaviour]()
    while behind:
        other = behind.pop()
        if other in seen:
            continue
        seen.add(other)
        if isinstance(other, Urgent):
            rank, due = max(rank, other.own_rank), min(due, other.own_due)
        behind.extend(other.behind())  # type: ignore[attr-defined]  # a resource, if nothing else
    return rank, due

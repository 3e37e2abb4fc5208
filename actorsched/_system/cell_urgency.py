"""How urgent a cell is: its place in the run queue, and what it lends to whatever its code waits for.

A message has a priority, which orders the mailbox, and the cell is at least as urgent as the message that it
handles, and as the next one. Whoever waits for an answer, or for room, lends the cell its own priority and
deadline on top of that: from the moment at which it asks until it waits no longer, whatever the cell does
meanwhile, and however many messages come first. The cell passes that on to the tasks and actors for which
its handler waits.

Nearly always askers and actors are equals. So what everybody has, the normal priority and no deadline, is not
remembered as lent; and the rank is found when it is needed, as the cell gets into the run queue and as its
code begins to wait. As long as one of the two lasts, every change is followed.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from actorsched._core.behaviour import Outbox, handles, require
from actorsched._core.invariants import FEW
from actorsched._core.lenders import Lenders
from actorsched._system.cell_state import NORMAL, CellState
from actorsched._system.waiting import Waiter
from actorsched.messages import Reconsider, Wait

if TYPE_CHECKING:
    from actorsched._system.urgent import Urgent

RECONSIDER = Reconsider()


class CellUrgency(CellState, eq=False):
    """One actor's urgency."""

    @property
    def own_rank(self) -> int:
        """The priority of the message that it handles, or of the next one, whichever is higher."""
        if self.turn is None:
            return self.lane.top()
        handled: int = getattr(self.turn, "priority", NORMAL)
        return max(handled, self.lane.top()) if self.lane else handled

    @property
    def own_due(self) -> float:
        """A message has no deadline."""
        return inf

    def queue_rank(self) -> int:
        """The rank with which it gets into the run queue."""
        top = self.lane.top()
        if self.lenders is None or self.lenders.rank is None:
            return top
        return max(top, self.lenders.rank)

    def urged_by(self, waiter: Urgent, out: Outbox) -> None:
        """Somebody waits for it, and may be more urgent than before, or less."""
        rank, due, lenders = waiter.rank, waiter.due, self.lenders
        if rank > NORMAL or due != inf or (lenders is not None and waiter in lenders):
            if lenders is None:
                lenders = self.lenders = Lenders()
            if lenders.lend(waiter, rank, due):
                out.send((self, RECONSIDER))

    def left_by(self, waiter: Urgent, out: Outbox) -> None:
        """Somebody waits for it no longer."""
        lenders = self.lenders
        if lenders is not None and lenders.withdraw(waiter):
            if not len(lenders):
                self.lenders = None
            out.send((self, RECONSIDER))

    @handles(Reconsider)
    def _reconsider(self, message: Reconsider, out: Outbox) -> None:
        self.reconsider(out)

    @handles(Wait)
    def _wait(self, message: Wait, out: Outbox) -> None:
        handled = getattr(self.turn, "priority", NORMAL)
        if self.lenders is not None or self.lane.ranked or not self.rank == handled == NORMAL:
            self.reconsider(out)  # nobody has looked since it got its turn
        Waiter._wait(self, message, out)  # which is quicker than by `super`

    def set_effective(self, rank: int, due: float, out: Outbox) -> None:
        """Its place in the run queue follows, if it stands there."""
        if self.scheduled and rank != self.rank:
            self.kernel.ready.move(self.owner, self.rank, rank)
        super().set_effective(rank, due, out)

    def check_at_rest(self) -> None:
        """The same; and while its code waits, its urgency is the best of its own and of what it is lent."""
        super().check_at_rest()
        lent = self.lenders
        require(lent is None or len(lent), self, "who is lent nothing has no lenders")
        if self.waits and self.may_wait:
            most = self.own_rank if lent is None or lent.rank is None else max(self.own_rank, lent.rank)
            require(self.rank == most, self, f"what its code waits for inherits from it, which is {most}")
        if lent is not None and len(lent) <= FEW:
            for lender in lent:
                waits = not isinstance(lender, Waiter) or self in lender.lends_to()
                require(waits, self, f"{lender!r}, who lends, waits for it")

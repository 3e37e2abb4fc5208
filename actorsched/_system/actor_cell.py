"""The cell of a user's actor, whole: with its ties to children, linked actors and those who watch it."""

from __future__ import annotations

import logging

from actorsched._core.behaviour import Behaviour, Outbox, handles, quickly_written, require
from actorsched._core.invariants import FEW
from actorsched._system.cell_lives import CellLives
from actorsched._system.cell_state import Life
from actorsched.exceptions import ActorStopped
from actorsched.messages import (
    Closed,
    Escalated,
    ExitReason,
    Link,
    LinkFailed,
    Report,
    Unlink,
    Unwatch,
    Watch,
)

__all__ = ["ActorCell", "Life"]

_log = logging.getLogger("actorsched.actor")

# Bound once: reading a member through its class costs as much as a call before Python 3.12.
_DOWN = Life.DOWN
_STOPPED = Life.STOPPED


@quickly_written
class ActorCell(CellLives, eq=False):
    """One actor, through all its lives."""

    @handles(Closed)
    def _children_gone(self, message: Closed, out: Outbox) -> None:
        if self._forgets(message.supervisor):
            self.go_on_ending()

    def _forgets(self, supervisor: Behaviour) -> bool:
        """The supervisor of its children is over; answers whether it still was."""
        if self.extras is None or self.extras.supervisor is not supervisor:
            return False
        self.extras.supervisor = None
        return True

    @handles(Escalated)
    def _children_failed(self, message: Escalated, out: Outbox) -> None:
        error = message.reason.error
        if not self._forgets(message.supervisor) or error is None:
            return
        turn = None if self.turn is None else self.present_run()
        if self.ending is None:
            self.fail(error)
            if turn is not None and turn.ended is None:
                self.kernel.interrupt(turn)
        else:
            _log.error("the children of actor %r failed while it was ending", self.name, exc_info=error)
            self.go_on_ending()

    @handles(Report)
    def _report(self, message: Report, out: Outbox) -> None:
        """Only a task has a progress; a function that reports its own may yet be called by an actor."""

    @handles(Watch)
    def _watch(self, message: Watch, out: Outbox) -> None:
        if self.life == _STOPPED:
            out.reply(message.answer, self.ending)
        else:
            self.more().watchers.append(message.answer)

    @handles(Unwatch)
    def _unwatch(self, message: Unwatch, out: Outbox) -> None:
        if self.extras is not None and message.answer in self.extras.watchers:
            self.extras.watchers.remove(message.answer)

    @handles(Link)
    def _link(self, message: Link, out: Outbox) -> None:
        other: ActorCell = message.other  # type: ignore[assignment]
        if self.life != _STOPPED:
            self.more().links[other] = None

    @handles(Unlink)
    def _unlink(self, message: Unlink, out: Outbox) -> None:
        if self.extras is not None:
            self.extras.links.pop(message.other, None)  # type: ignore[call-overload]

    def fail_links(self, error: BaseException, origin: Behaviour, seen: set[Behaviour]) -> None:
        if self.extras is not None:
            for other in list(self.extras.links):
                if other not in seen:
                    seen.add(other)
                    self.kernel.post(other, LinkFailed(origin, error, seen))

    @handles(LinkFailed)
    def _link_failed(self, message: LinkFailed, out: Outbox) -> None:
        if self.ending is not None or self.life in (_DOWN, _STOPPED):
            return
        self._end(self.failed_with(message), returns=self.born and self.leaving is None)
        self._interrupt_turn()
        self.fail_links(message.error, message.origin, message.seen)

    def failed_with(self, message: LinkFailed) -> ExitReason:
        """How it ends with an actor to which it is linked."""
        origin: ActorCell = message.origin  # type: ignore[assignment]
        error = ActorStopped(
            f"actor {self.name!r} failed with {origin.name!r}, to which it is linked",
            actor=origin.name,
            reason="failed",
        )
        error.__cause__ = message.error
        return ExitReason("failed", error)

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """Its ties are to others, and end with it."""
        super().check()
        extras = self.extras
        if extras is None:
            return
        require(
            extras.supervisor is None or extras.supervisor.owner is self, self, "its children are its own"
        )
        require(extras.restarts >= 0, self, "it was restarted as often as it was")
        over = self.life is _STOPPED
        tied = extras.watchers or extras.links or extras.started is not None
        require(not (over and tied), self, "when it has ended, all who wanted to know were told")
        gone = over or self.life is _DOWN
        kept = extras.streams or extras.supervisor is not None
        require(not (gone and kept), self, "streams and children have ended before it has")

    def check_at_rest(self) -> None:
        """The same; and those that are linked know that."""
        super().check_at_rest()
        links = () if self.extras is None else self.extras.links
        for other in links if len(links) <= FEW else ():
            mutual = other.extras is not None and self in other.extras.links
            require(mutual, self, f"{other!r} is linked to it as well")

"""How an actor moves to another host: by a restart of which nobody is told.

A host that is to be replaced sends each of its actors a `MoveOut`. The actor lets the handler that runs come
to its end, and so do open streams: whoever reads one loses no item. Meanwhile messages are handled as ever,
or a reader that asks the actor something would wait for ever. When nothing is left, or a stream has outlasted
the patience, the life there ends, like any before a restart: children are stopped, timers are dropped, and
`on_stop` is told "moved". A new life begins at once, in another host. What is in the mailbox stays there.

Neither the supervisor nor those who watch, or are linked, hear of it: for them the actor has not ended. So
whatever comes from them meanwhile has to be heeded here: `stop()` is put off, because what was sent before it
is still to be handled; a restart with siblings takes the place of the move; `kill()` ends it as always. Only
when the new life cannot begin is that a failure like any other.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import msgspec

from actorsched._core.behaviour import Outbox, handles, require
from actorsched._system.actor_cell import ActorCell
from actorsched._system.call import Call
from actorsched._system.cell_state import Life
from actorsched.exceptions import ActorStopped
from actorsched.messages import ExitReason, LinkFailed, Stop

if TYPE_CHECKING:
    from actorsched._system.code_run import CodeRun

# Bound once: reading a member through its class costs as much as a call before Python 3.12.
_RUNNING = Life.RUNNING
_MOVED = ExitReason("moved")


class MoveOut(msgspec.Struct, frozen=True, eq=False):
    """Supervisor of a host to actor: leave this host when what you do is over.

    Attributes:
        home: The host.
        why: What the host has done to be replaced, as in "it has handled 100 messages".
        now: Whether open streams have had their time.
    """

    home: object
    why: str
    now: bool = False


class CellMoves(ActorCell, eq=False):
    """One actor that may have to go on elsewhere."""

    departure: MoveOut | None = None
    """Why it has to leave its host."""
    arriving: bool = False
    """Whether the present life begins because of a move."""

    @abstractmethod
    def lives_in(self, home: object) -> bool:
        """Whether the present life takes place there."""

    @property
    def is_moving(self) -> bool:
        """Whether the present life ends, and only because of a move."""
        return self.ending is _MOVED

    @handles(MoveOut)
    def _move_out(self, message: MoveOut, out: Outbox) -> None:
        if self.lives_in(message.home):
            self.departure = message
            self._leave_if_free()

    def _leave_if_free(self) -> None:
        """End the life in this host, if it is to end and nothing has to be waited for."""
        departure, extras = self.departure, self.extras
        if departure is None or self.life is not _RUNNING or not self.lives_in(departure.home):
            return
        turn = self.turn
        late_stream = departure.now and isinstance(turn, Call) and turn.stream is not None
        if (turn is not None and not late_stream) or (
            extras is not None and extras.streams and not departure.now
        ):
            return
        self._end(_MOVED, returns=True)

    def _started(self) -> None:
        self.arriving = False
        super()._started()
        self._leave_if_free()

    def turn_over(self, run: CodeRun) -> None:
        """Whoever had the turn is done."""
        super().turn_over(run)
        if self.departure is not None:
            self._leave_if_free()

    def yield_turn(self, call: Call) -> None:
        """A generator has no demand."""
        super().yield_turn(call)
        if self.departure is not None:
            self._leave_if_free()

    def _end(self, reason: ExitReason, *, returns: bool) -> None:
        arriving, self.arriving = self.arriving, False
        super()._end(reason, returns=returns)
        if arriving and reason.kind == "failed" and reason.error is not None:
            self.fail_links(reason.error, self, {self})  # who did not hear of the end of the life before

    def _life_over(self) -> None:
        if not self.is_moving:
            return super()._life_over()
        if self.leaving is not None and not self.lane and not (self.extras is not None and self.extras.room):
            self.ending, self.returns = self.leaving, False
            return super()._life_over()
        self.let_go()
        self.arriving = True
        self.live_again()

    # ------------------------------------------------------------------- what comes while it is moving

    @handles(Stop)
    def _stop(self, message: Stop, out: Outbox) -> None:
        if not self.is_moving:
            super()._stop(message, out)
        elif not message.restart:
            self.leaving = self.leaving or message.reason
        elif self.leaving is None:
            self.ending = message.reason

    @handles(LinkFailed)
    def _link_failed(self, message: LinkFailed, out: Outbox) -> None:
        if not self.is_moving:
            return super()._link_failed(message, out)
        self.ending, self.returns = self.failed_with(message), self.leaving is None
        self.fail_links(message.error, message.origin, message.seen)

    def gone(self, what: str) -> ActorStopped:
        """The error of whoever wanted something from the life that ends: a stream that takes too long."""
        if not self.is_moving or self.departure is None:
            return super().gone(what)
        return ActorStopped(
            f"{what}: actor {self.name!r} had to move to another host process, because {self.departure.why}; "
            "it goes on there, so try again; streams that are read without long pauses are waited for",
            actor=self.name,
            reason=_MOVED.kind,
        )

    def check(self) -> None:
        """While it moves, it ends in order to begin elsewhere."""
        super().check()
        require(not self.is_moving or self.life is Life.ENDING, self, "whoever moves ends its present life")
        require(not self.arriving or self.life is Life.STARTING, self, "whoever arrives has yet to start")

"""The lives of a cell: how an actor starts, and how it ends.

STARTING, RUNNING, DRAINING (it works off its mailbox, and takes no more), ENDING (children, streams, then
`on_stop`), DOWN (it has failed; the mailbox is kept until the supervisor has decided) and STOPPED. A new life
begins with a new instance, in the context in which the actor was spawned.

A failure that reaches the supervisor ends the present life first: children are stopped, streams are closed,
timers are dropped and `on_stop` runs, with the failure as its reason. `kill()` runs no `on_stop`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorsched._core.behaviour import Outbox, handles, require
from actorsched._system.call import Hook
from actorsched._system.cell_state import Extras, Life
from actorsched._system.cell_turns import CellTurns
from actorsched._system.code_run import without_cancellation
from actorsched.exceptions import TaskCancelled
from actorsched.messages import (
    Close,
    Discard,
    Exited,
    ExitReason,
    Failure,
    Kill,
    Start,
    Stop,
    Unlink,
    Up,
)

if TYPE_CHECKING:
    from actorsched.events import EventKind

_CHILD_PATIENCE = 5.0
"""Seconds that an actor's children have to stop before they are killed, when the actor fails."""

STOPPED = ExitReason("stopped")
"""Of every actor that somebody asked to stop."""

_log = logging.getLogger("actorsched.actor")

# Bound once: reading a member through its class costs as much as a call before Python 3.12.
_STARTING = Life.STARTING
_RUNNING = Life.RUNNING
_DRAINING = Life.DRAINING
_ENDING = Life.ENDING
_DOWN = Life.DOWN
_STOPPED = Life.STOPPED


class CellLives(CellTurns, eq=False):
    """One actor's lives."""

    # ---------------------------------------------------------------------------------------- starting

    def made(self) -> Hook | None:
        """Make an instance. Answers with its `on_start`, if it has one of its own.

        An error of the constructor leaves here.
        """
        context = self.context.copy()
        if self.table.is_plain:  # nobody would see the context
            self.instance = self.actor_class(*self.args, **self.kwargs)
        else:
            self.instance = context.run(self.actor_class, *self.args, **self.kwargs)
        return Hook(self.owner, self.kernel, "on_start", context) if self.table.has_start else None

    def begin_first_life(self) -> None:
        """Begin the life in which it is spawned, when `on_start` is part of it.

        If that has the turn then, the spawner is to carry it. An error of the constructor leaves here.
        """
        hook = self.made()
        if self.kernel.lender.ready:
            self.turn = hook
        else:
            self.hook = hook
            self.schedule()

    def _started(self) -> None:
        self.life = _RUNNING
        if self.kernel.watched:
            kind: EventKind = "actor_restarted" if self.born else "actor_started"
            self.kernel.tell(kind, self, actor=self.table.owner, host="process" if self.hosted else "loop")
        if self.recalled:
            self.recalled = False
            self.kernel.send((self.supervisor, Up(self)))
        self.born = True
        extras = self.extras
        if extras is not None and extras.started is not None:
            self.kernel.reply(extras.started, None)
            extras.started = None
        if self.leaving is not None:
            self.life = _DRAINING
            self.go_on_ending()
        if self.lane.queue or self.lane.ranked:
            self.schedule()

    def hook_over(self, hook: Hook, error: BaseException | None) -> None:
        """`on_start` or `on_stop` has ended."""
        self.turn = None
        completed = error is None
        failure = None if error is None else self._failure_of(hook, error)
        if hook.name == "on_stop":
            if failure is not None:
                _log.error("on_stop of actor %r failed", self.name, exc_info=failure)
            return self._life_over()
        if completed and self.ending is None:
            return self._started()
        if not completed:
            self.let_go()  # what has not started is not stopped
        if self.ending is not None:
            if failure is not None:
                _log.error("on_start of actor %r failed while it was ending", self.name, exc_info=failure)
            return self.go_on_ending()
        assert failure is not None
        self._end(ExitReason("failed", failure), returns=self.born and self.leaving is None)

    def _failure_of(self, hook: Hook, error: BaseException) -> BaseException | None:
        """What went wrong in a hook; None for a cancellation by the end of its actor."""
        failure = without_cancellation(error, self.kernel.cancelled)
        if failure is None and not self.killed and self.ending is None:
            failure = TaskCancelled(f"{hook.title} ended with a cancellation that nobody asked for")
            failure.__cause__ = error
        return failure

    @handles(Start)
    def _start(self, message: Start, out: Outbox) -> None:
        if self.life is not _DOWN:
            return
        self.recalled = True
        self.more().restarts += 1
        self.kernel.restarts += 1
        self.live_again()

    def live_again(self) -> None:
        """Begin another life, with the mailbox that there is."""
        self.life = _STARTING
        self.ending = None
        self.returns = self.killed = False
        try:
            self.hook = self.made()
        except BaseException as error:
            self.let_go()
            self._end(ExitReason("failed", error), returns=True)
        else:
            if self.hook is None:
                self._started()
            self.schedule()

    # ------------------------------------------------------------------------------------------ ending

    def fail(self, error: BaseException) -> None:
        """The present life ends with a failure; the supervisor decides what follows."""
        if self.ending is None:
            self._end(ExitReason("failed", error), returns=self.born and self.leaving is None)
            self.fail_links(error, self, {self})

    def stopped_at_once(self) -> bool:
        """Stop now if it has nothing left to handle and nobody to tell. Answers whether it has ended.

        Idle, without children, timers or watchers: that is how most actors are stopped, and `Stop` with all
        that follows would come to the same.
        """
        lane = self.lane
        if (
            self.life is not _RUNNING
            or self.turn is not None
            or self.extras is not None
            or lane.queue
            or lane.ranked
            or self.kernel.mail
        ):
            return False
        if self.hosted or self.table.has_stop:
            return self._led_to_its_end()
        if not self.supervisor.left(self):
            return False
        self.life, self.ending, self.instance = _STOPPED, STOPPED, None
        if self.kernel.watched:
            self.kernel.tell("actor_stopped", self, actor=self.table.owner, why=STOPPED.kind)
        if self.on_stopped is not None:
            self.on_stopped(self.owner)
        return True

    def _led_to_its_end(self) -> bool:
        """The same with an `on_stop`: its first step is taken now, and often it is the last."""
        lender = self.kernel.lender
        if self.hosted or not lender.leads():
            return False
        self.leaving = self.ending = STOPPED
        self.life = _ENDING
        self.turn = hook = Hook(self.owner, self.kernel, "on_stop", self.context.copy(), (STOPPED,))
        lender.lead(hook, hook.open())
        return self.life is _STOPPED

    @handles(Stop)
    def _stop(self, message: Stop, out: Outbox) -> None:
        if self.life is _STOPPED:
            return
        if message.restart:
            if self.ending is None and self.leaving is None:
                self._end(message.reason, returns=True)
            return
        if self.leaving is None:
            self.leaving = message.reason
        life = self.life  # STARTING goes on to drain when it has started; DRAINING does already
        if life is _RUNNING:
            self.life = _DRAINING
            self.go_on_ending()
        elif life is _ENDING:
            self._end_for_good()
        elif life is _DOWN:
            self.ending, self.returns = message.reason, False
            self._life_over()

    def _end_for_good(self) -> None:
        """No other life will follow, although one would have."""
        if self.returns:
            self.returns = False
            if self.ending is not None and self.ending.error is None:
                self.ending = self.leaving

    @handles(Kill)
    def _kill(self, message: Kill, out: Outbox) -> None:
        if self.life is _STOPPED:
            return
        if message.restart and (self.leaving is not None or (self.ending is not None and not self.returns)):
            message = Kill(self.leaving or self.ending or message.reason)  # it goes for good, only sooner
        self.killed = True
        if self.life is _DOWN:
            if not message.restart:
                self.ending, self.returns = message.reason, False
                self._life_over()
            return
        self.hook = None
        self._end(message.reason, returns=message.restart)
        self._interrupt_turn()

    def _end(self, reason: ExitReason, *, returns: bool) -> None:
        """The present life is to end: whoever has the turn finishes first, unless it was killed."""
        if self.ending is None or self.killed:
            self.ending = reason
        self.returns = returns
        self.life = _ENDING
        extras = self.extras
        if extras is not None:
            self._drop_timers(extras)
            for call in list(extras.streams):
                assert call.stream is not None
                call.stream.cut_off(self.gone(f"the stream {call.handler.name} was cut off"))
                if self.turn is call and call.ended is None:
                    self.kernel.interrupt(call)
            if extras.supervisor is not None:
                patience = _CHILD_PATIENCE if returns else None
                self.kernel.post(extras.supervisor, Close(patience, kill=self.killed))
        self.go_on_ending()

    def _drop_timers(self, extras: Extras) -> None:
        for timer in list(extras.timers.values()):
            timer.cancel()

    def go_on_ending(self) -> None:
        """Take the next step towards the end of this life, if nothing has to be waited for."""
        extras = self.extras
        if self.turn is not None:
            return
        if self.life is _DRAINING:
            if not self.lane and not (extras is not None and extras.room):
                assert self.leaving is not None
                self._end(self.leaving, returns=False)
            return
        if extras is not None and (extras.streams or extras.supervisor is not None):
            return
        if self.life is not _ENDING or self.hook is not None:
            return
        if (self.hosted or self.table.has_stop) and not self.killed and self.instance is not None:
            self.hook = Hook(self.owner, self.kernel, "on_stop", self.context.copy(), (self.ending,))
            self.schedule()
        else:
            self._life_over()

    def _life_over(self) -> None:
        """Nothing of this life is left. Another may follow; otherwise it was the last."""
        reason = self.ending
        assert reason is not None
        self.let_go()
        gone = not self.returns
        known = not self.born  # to whoever spawned it
        if gone:
            self._bury(reason)
        else:
            self.life = _DOWN
        kernel = self.kernel
        if kernel.mail or not gone or reason.error is not None or not self.supervisor.left(self):
            kernel.send((self.supervisor, Exited(self, reason, gone, known)))
            kernel.drain()

    def _bury(self, reason: ExitReason) -> None:
        self.life = _STOPPED
        if self.kernel.watched:
            self.kernel.tell("actor_stopped", self, actor=self.table.owner, why=reason.kind)
        lane = self.lane
        if lane.queue is not None or lane.ranked is not None:
            for call in lane.drain():
                self.undeliverable(call, reason.kind)
        extras = self.extras
        if extras is not None:
            for call in extras.room:
                self.kernel.office.sent += 1
                self.undeliverable(call, reason.kind)
            extras.room.clear()
            for other in extras.links:
                self.kernel.send((other, Unlink(self)))
            if extras.started is not None:
                error = reason.error or self.gone("it was not started")
                self.kernel.reply(extras.started, Failure(error))
            for watcher in extras.watchers:
                self.kernel.reply(watcher, reason)
            self.extras = None
        if self.on_stopped is not None:
            self.on_stopped(self.owner)

    @handles(Discard)
    def _discard(self, message: Discard, out: Outbox) -> None:
        if self.life is _DOWN:
            assert self.ending is not None
            self.returns = False
            self._bury(self.ending)

    # ----------------------------------------------------------------------------- what always holds

    def check_at_rest(self) -> None:
        """The same; and its supervisor knows where it is in its life."""
        super().check_at_rest()
        supervisor = self.supervisor
        if supervisor.closing is None:
            child = self in supervisor.children
            require(
                child == (self.life is not _STOPPED), self, "its supervisor has it for a child until its end"
            )
            down = child and self.life is _DOWN
            require(
                not down or not supervisor.children.running(self),
                self,
                "its supervisor knows that it is down",
            )
        waits = self.life is not _ENDING or self.turn is not None or self.hook is not None
        if not waits:
            extras = self.extras
            require(
                extras is not None and (extras.streams or extras.supervisor is not None),
                self,
                "a life ends as soon as nothing has to be waited for",
            )

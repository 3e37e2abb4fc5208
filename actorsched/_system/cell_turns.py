"""The turns of a cell: handlers, hooks and generators of one actor run one at a time.

Whoever runs has the `turn`. A generator without demand gives it back, and queues for it again. What is run
next is decided in `run`: deferred calls of who has the turn, a hook, a stream that wants to go on, then the
messages of the mailbox in their order.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from actorsched._core.behaviour import require
from actorsched._kernel.current import CURRENT
from actorsched._kernel.stepper import DONE
from actorsched._system.call import Call, Hook, Letter
from actorsched._system.cell_mail import CellMail
from actorsched._system.cell_state import Life
from actorsched._system.code_run import without_cancellation
from actorsched._system.reading import Reading
from actorsched.exceptions import TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from actorsched._kernel.activity import Activity
    from actorsched._system.code_run import CodeRun


_log = logging.getLogger("actorsched.actor")

# Bound once: reading a member through its class costs as much as a call before Python 3.12.
_RUNNING = Life.RUNNING
_DRAINING = Life.DRAINING


class CellTurns(CellMail, eq=False):
    """One actor's turns."""

    def _has_work(self) -> bool:
        if self.turn is not None:
            return self.turn.ended is not None and self.turn.deferred is not None
        if self.hook is not None or (self.extras is not None and self.extras.resuming):
            return True
        return bool(self.lane) and (self.life == _RUNNING or self.life == _DRAINING)

    def schedule(self) -> None:
        """Get into the run queue, if there is something to run."""
        if not self.scheduled and self._has_work():
            self.scheduled = True
            self.rank = self.queue_rank()
            self.kernel.ready.push(self, self.rank)

    def has_more(self) -> bool:
        """Whether it should go back into the run queue; it then is in it."""
        if self.scheduled or not self._has_work():
            return False
        self.scheduled = True
        self.rank = self.queue_rank()
        return True

    def run(self, burst: int) -> tuple[Activity, object] | None:
        """Give the turn to whoever is next, one after the other, until one suspends."""
        self.scheduled = False
        turn = self.turn
        if turn is not None:
            if turn.ended is None or turn.deferred is None:
                return None
            assert not isinstance(turn, Reading)
            return turn.step_deferred()
        if self.hook is not None:
            hook, self.hook = self.hook, None
            self.turn = hook
            return hook.step(hook.open())
        extras = self.extras
        if extras is not None and extras.resuming:
            call, regained = extras.resuming.popleft()
            if not regained.done():
                self.turn = call
                self.kernel.reply(regained, None)
            return None
        if self.life == _RUNNING or self.life == _DRAINING:
            return self._handle(burst)
        return None

    def _handle(self, burst: int) -> tuple[Activity, object] | None:
        """Handle queued messages, one after the other."""
        kernel, lane = self.kernel, self.lane
        stepper = kernel.stepper()
        while burst > 0 and (message := lane.take()) is not None:
            turn = self._begun(message, burst)
            context = turn.context
            assert context is not None
            try:
                code = turn.code() if type(turn) is Reading else self.invoke(turn)  # type: ignore[arg-type]
                yielded = context.run(stepper.send, code)
            except BaseException as error:
                stepper = kernel.stepper()
                self._call_of(turn).raised(error)
            else:
                if yielded is not DONE:
                    lane.rest()
                    call = self._call_of(turn)
                    call.stepper = stepper
                    if call is not turn:  # what it leaves behind from now on is told from what comes later
                        context.run(CURRENT.set, call)
                    return call, yielded
                value = stepper.take()
                if type(turn) is Reading and self.turn is turn and self.life is _RUNNING:
                    self.turn = None
                    kernel.office.handled += 1
                else:
                    self._call_of(turn).returned(value)
            burst = turn.left if type(turn) is Reading else burst - 1
            if kernel.mail:
                kernel.drain()
            if self.turn is not None or self.life is not _RUNNING:
                break
            if self.extras is not None and self.extras.resuming:
                break
        lane.rest()
        kernel.result_of(stepper)
        return None

    @property
    def free(self) -> bool:
        """Whether whoever asks now may carry the handler: nothing else has a turn, or waits for one."""
        if self.turn is not None or self.scheduled or self.life != _RUNNING or self.lane:
            return False
        return self.extras is None and self.kernel.lender.ready

    def begin_call(self, call: Call) -> Coroutine[Any, Any, Any]:
        """Give the turn to a call that its asker carries."""
        self.kernel.office.sent += 1
        self.turn = call
        call.begun = True
        assert call.context is not None
        call.context.run(CURRENT.set, call)
        return self.invoke(call)

    def _begun(self, message: Call | Letter, burst: int) -> Call | Reading:
        """Give the turn to a message that was queued.

        A call is the current run in its context: what it leaves behind can then be told from what the actor
        does later.
        """
        turn: Call | Reading
        if type(message) is Letter:
            turn = Reading(self, message, burst)
        else:
            assert isinstance(message, Call)
            assert message.context is not None
            turn, message.begun, message.context = message, True, message.context.copy()
            message.context.run(CURRENT.set, message)
        self.turn = turn
        if self.extras is not None and self.extras.room:
            self._admit()
        return turn

    def _call_of(self, turn: Call | Reading) -> Call:
        """Who had the turn, as a run of its own: it has suspended or ended, and something follows."""
        run = self.present_run() if type(turn) is Reading else turn
        assert isinstance(run, Call)
        return run

    def present_run(self) -> CodeRun:
        """What `current()` is about: whoever has the turn. A task left behind by a handler has a stand-in."""
        turn = self.turn
        if isinstance(turn, Reading):
            turn = self.turn = turn.call()
        return turn or Hook(self.owner, self.kernel, "a task left behind", None)

    def _interrupt_turn(self) -> None:
        """Cancel whatever code has the turn, but not what it has deferred."""
        if self.turn is not None and self.turn.ended is None:
            self.kernel.interrupt(self.present_run())

    def turn_over(self, run: CodeRun) -> None:
        """Whoever had the turn is done. What tasks that it left behind wait for keeps nobody waiting."""
        if self.extras is not None:
            self.extras.streams.pop(run, None)  # type: ignore[call-overload]  # what is no call is not in it
        if self.turn is run:
            self.turn = None
        if self.waits:
            self.waits.abandon(self, self.kernel)
        if self.ending is not None or (self.life == _DRAINING and not self.lane):
            self.go_on_ending()

    def yield_turn(self, call: Call) -> None:
        """A generator has no demand: others may have the turn."""
        if self.turn is call:
            self.turn = None
        if self.waits:
            self.waits.abandon(self, self.kernel)
        if self.ending is not None or self.life == _DRAINING:
            self.go_on_ending()
        self.schedule()

    async def regain_turn(self, call: Call) -> None:
        """A generator wants to go on, or to end: wait for the turn, whoever cancels meanwhile."""
        cancellation: BaseException | None = None
        while self.turn is not call:
            regained = self.kernel.future()
            self.more().resuming.append((call, regained))
            self.schedule()
            try:
                with CancelScope(shield=True):
                    await regained
            except self.kernel.cancelled as error:  # asyncio's own, which no shield keeps out
                cancellation = error
        if self.killed:  # there is no time for long farewells
            self.kernel.interrupt(call)
        if cancellation is not None:
            raise cancellation

    def close_stream(self, call: Call) -> None:
        """Nobody wants a stream any more."""
        if not call.begun:
            call.withdraw(TaskCancelled(f"the stream {call.title} was closed before it began"))
        elif self.turn is call and call.ended is None:
            self.kernel.interrupt(call)

    def interrupt_call(self, call: Call) -> None:
        """The sender of a call whose handler is running no longer wants it."""
        if call.stream is not None:
            assert call.withdrawn is not None
            call.stream.cut_off(call.withdrawn)
            if self.turn is not call:  # it has no demand, and ends when it has its turn again
                return
        self.kernel.interrupt(call)

    def let_go(self) -> None:
        """The present life is over: so is the instance."""
        self.instance = None

    def invoke(self, call: Call) -> Coroutine[Any, Any, Any]:
        """Call a handler of the present instance."""
        kwargs = call.kwargs
        if kwargs:
            result = call.handler.function(self.instance, *call.args, **kwargs)
        else:
            result = call.handler.function(self.instance, *call.args)
        if call.stream is None:
            return result  # type: ignore[no-any-return]
        return call.stream.serve(call, result)

    def invoke_hook(self, hook: Hook) -> Coroutine[Any, Any, Any]:
        """Call a hook of the present instance."""
        coroutine: Coroutine[Any, Any, Any] = getattr(self.instance, hook.name)(*hook.args)
        return coroutine

    def handler_failed(self, call: Call, error: BaseException) -> None:
        """A handler has raised: to the asker, to the supervisor, or to both."""
        self.kernel.office.handled += 1
        failure = without_cancellation(error, self.kernel.cancelled)
        if failure is None:
            if self._was_cancelled(call):
                return
            failure = TaskCancelled(f"{call.title} ended with a cancellation that nobody asked for")
            failure.__cause__ = error
        asked = call.reply is not None or call.stream is not None
        if call.stream is not None:
            call.stream.failed(call, failure)
        elif asked:
            call.answer(failure)
        fatal = getattr(self.actor_class, "fatal", ())
        if not asked or isinstance(failure, tuple(fatal)):
            if self.ending is None:
                self.fail(failure)
            elif not (asked or self.ends_with(failure)):
                _log.error("%s failed while the actor was ending", call.title, exc_info=failure)

    def ends_with(self, failure: BaseException) -> bool:
        """Whether that is what its life ends with already, so that nobody needs to hear of it again."""
        return False

    def _was_cancelled(self, call: Call) -> bool:
        """Whether its sender or its actor had a handler cancelled; whoever still listens is told."""
        if call.withdrawn is not None:
            call.answer(call.withdrawn)
        elif call.stream is not None and call.stream.closing:
            call.stream.end()
        elif self.ending is not None:
            call.answer(self.gone(f"{call.handler.name} was interrupted"))
        else:
            return False
        return True

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """One turn at a time."""
        super().check()
        turn, hook = self.turn, self.hook
        if turn is not None:
            owner: object = getattr(turn, "owner", None)
            require(owner is self, self, "whoever has the turn is of its own code")
            require(hook is None, self, "no hook waits for the turn while somebody has it")
            changing = not isinstance(turn, Hook) or self.life in (Life.STARTING, Life.ENDING)
            require(changing, self, "hooks run at the beginning and at the end of a life")
        require(
            hook is None or self.life in (Life.STARTING, Life.ENDING), self, "a hook is due as it changes"
        )

    def check_at_rest(self) -> None:
        """The same; and whoever has something to do stands in the run queue."""
        super().check_at_rest()
        require(
            self.scheduled or not self._has_work(), self, "whoever has something to run is in the run queue"
        )
        idle = self.life is not Life.DRAINING or self.turn is not None or self.lane or self._awaits_room()
        require(idle, self, "whoever leaves, and has worked off its mailbox, has gone")

    def _awaits_room(self) -> bool:
        return self.extras is not None and bool(self.extras.room or self.extras.resuming)

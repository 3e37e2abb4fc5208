"""One actor alone, from inside: its turns and its lives, without a runtime.

The law of this module: it decides what an actor's cell would decide, in the order in which that would: one
handler at a time, messages in the order in which they came, streams only where there is demand, `on_stop`
after the last message or after a failure. It never decides for others: what a supervisor would do about a
failure is up to the test.
"""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from actorsched._system.cell_state import Life
from actorsched._system.code_run import without_cancellation
from actorsched._system.handlers import table_of
from actorsched.actor import Actor
from actorsched.exceptions import ActorStopped, TaskCancelled
from actorsched.messages import ExitReason
from actorsched.testing._alone.handling import Handling, Hook
from actorsched.testing._alone.refs import ActorStandIn, make_ref
from actorsched.testing._alone.scene import SCENE, Scene
from actorsched.testing._alone.strand import CancelledError, NeedsRuntime
from actorsched.testing._alone.timers import Timer
from actorsched.testing.effects import Failed, Raised, TimerSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorsched._system.handlers import Handler
    from actorsched.testing._alone.recording import Effects
    from actorsched.testing._alone.scene import Wait


class Cell:
    """One actor.

    Attributes:
        scene: The world around it.
        ref: A stand-in for itself.
        instance: That of the present life.
        life: Where it is in its life.
        ending: Why its present life ends.
        start: The `on_start` of the present life,
        stop: and its `on_stop`.
        timers: Those that are set.
        children: Those that it has spawned in this life.
    """

    settles = False

    def __init__(
        self, actor_class: type[Actor], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str
    ) -> None:
        self.actor_class = actor_class
        self.table = table_of(actor_class, Actor)
        self.name = name
        self.scene = Scene(f"actor {name!r}")
        self.ref: ActorStandIn[Any] = make_ref(name, actor_class)
        self.scene.ref = self.ref
        self.instance: Any = None
        self.life = Life.STARTING
        self.ending: ExitReason | None = None
        self.start, self.stop = Hook(self, "on_start"), Hook(self, "on_stop")
        self.timers: list[Timer] = []
        self.children: list[ActorStandIn[Any]] = []
        self._args, self._kwargs = args, kwargs
        self._context = copy_context()
        self._born = False
        self._turn: Handling | Hook | None = None
        self._mailbox: deque[Handling] = deque()
        self._resuming: deque[tuple[Handling, Wait]] = deque()
        self._streams: dict[Handling, None] = {}
        self._leaving: ExitReason | None = None
        self._returns = False
        self._killed = False
        self._again: Hook | None = None
        self.scene.post(lambda: self._live(self.start))

    def __repr__(self) -> str:
        return f"<actor {self.name!r} alone, {self.life.name.lower()}, {self.scene.now:g} s>"

    # ------------------------------------------------------------------------------------ what is asked of it

    def stop_asked(self) -> Effects:
        """It is to handle what it has, then end. Answers with what comes of `on_stop`."""
        self.scene.post(self._stop_asked)
        return self.stop.effects

    def kill(self) -> None:
        """It is to end at once."""
        self.scene.post(self._kill_asked)

    def restart(self, error: BaseException | None) -> Effects:
        """It is to begin a new life. Answers with what comes of `on_start`.

        Raises:
            RuntimeError: It has ended for good, or is told to.
        """
        if self.life is Life.STOPPED or self._leaving is not None:
            raise RuntimeError(f"{self!r} is not restarted: it was told to end; only failures are no ends")
        again = self._again = self._again or Hook(self, "on_start")
        self.scene.post(lambda: self._restart_asked(error))
        return again.effects

    def set_timer(
        self,
        delay: float,
        periodic: bool,
        handler: Handler,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: object,
    ) -> Timer:
        """What `current().after` and `every` do; their arguments were checked."""
        timer = Timer(self, TimerSet(delay, handler.name, args, kwargs, periodic, key), handler)
        self.scene.record(timer.effect)
        if self.ending is None:
            for before in [other for other in self.timers if key is not None and other.effect.key == key]:
                before.drop()
            self.timers.append(timer)
            timer.start()
        return timer

    # ----------------------------------------------------------------------------------------- its lives

    def _restart_asked(self, error: BaseException | None) -> None:
        if self.life is Life.DOWN:
            assert self._again is not None
            self._live(self._again)
        elif self.ending is None:
            reason = ExitReason("shutdown") if error is None else ExitReason("failed", error)
            if error is not None:
                self.scene.record(Failed(error))
            self._end(reason, returns=True)
            if error is not None and self._turn is not None:
                self._turn.strand.interrupt(self._gone("its handler was interrupted"))

    def _live(self, hook: Hook) -> None:
        """Begin a life."""
        self.start, self._again = hook, None
        self.stop = Hook(self, "on_stop")
        self.life, self.ending = Life.STARTING, None
        self._returns = self._killed = False
        self.scene.into = hook.effects
        context = self._context.copy()
        context.run(SCENE.set, self.scene)
        try:
            self.instance = context.run(self.actor_class, *self._args, **self._kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self.hook_over(hook, None, error)
        finally:
            self.scene.into = None
        if self.table.has_start:
            self._turn = hook
            hook.begin(context, ())
        else:
            self.hook_over(hook, None, None)

    def hook_over(self, hook: Hook, value: Any, error: BaseException | None) -> None:
        """`on_start` or `on_stop` has ended."""
        self._turn = None
        failure = None if error is None else self._failure(hook, error)
        hook.effects._end(value, None if error is None else failure or hook.strand.cancelled)
        if failure is not None and (hook is self.stop or not self._born):
            self.scene.record(Raised(failure), hook.effects)
        if hook is self.stop:
            return self._life_over()
        if error is None and self.ending is None:
            return self._running()
        if error is not None:
            self.instance = None  # what has not started is not stopped
        if self.ending is not None:
            return self._go_on_ending()
        assert failure is not None
        if self._born:
            self.scene.record(Failed(failure), hook.effects)
        self._end(ExitReason("failed", failure), returns=self._born and self._leaving is None)

    def _failure(self, piece: Hook | Handling, error: BaseException) -> BaseException | None:
        """What went wrong; None for a cancellation that somebody has asked for."""
        failure = without_cancellation(error, CancelledError)
        if failure is None and piece.strand.cancelled is None:
            failure = TaskCancelled(f"{piece.title} ended with a cancellation that nobody asked for")
            failure.__cause__ = error
        return failure

    def _running(self) -> None:
        self._born = True
        self.life = Life.RUNNING if self._leaving is None else Life.DRAINING
        self._next()

    def _stop_asked(self) -> None:
        if self._leaving is not None or self.life is Life.STOPPED:
            return
        self._leaving = ExitReason("stopped")
        if self.life is Life.RUNNING:
            self.life = Life.DRAINING
            self._next()
        elif self.life is Life.ENDING:
            self._returns = False
            if self.ending is not None and self.ending.error is None:
                self.ending = self._leaving
        elif self.life is Life.DOWN:
            self.ending, self._returns = self._leaving, False
            self._life_over()

    def _kill_asked(self) -> None:
        if self.life is Life.STOPPED:
            return
        self._killed = True
        self._leaving = ExitReason("killed")
        if self._turn is not None:
            self._turn.strand.interrupt(self._gone("its handler was interrupted"))
        if self.life is Life.DOWN:
            self.ending, self._returns = self._leaving, False
            return self._life_over()
        self._end(self._leaving, returns=False)

    def _end(self, reason: ExitReason, *, returns: bool) -> None:
        """The present life is to end: whoever has the turn finishes first."""
        if self.ending is None or self._killed:
            self.ending = reason
        self._returns = returns
        self.life = Life.ENDING
        for timer in list(self.timers):
            timer.drop()
        for handling in list(self._streams):
            handling.cut_off(self._gone(f"the stream {handling.entry.name} was cut off"))
        children, self.children = self.children, []
        for child in children:
            child.end("killed" if self._killed else "shutdown")
        self._go_on_ending()

    def _go_on_ending(self) -> None:
        """Take the next step towards the end of this life, if nothing has to be waited for."""
        if self._turn is not None:
            return
        if self.life is Life.DRAINING:
            if not self._mailbox:
                assert self._leaving is not None
                self._end(self._leaving, returns=False)
            return
        if self._streams or self.life is not Life.ENDING:
            return
        if self.table.has_stop and not self._killed and self.instance is not None:
            self._turn = self.stop
            self.stop.begin(self._context.copy(), (self.ending,))
        else:
            self._life_over()

    def _life_over(self) -> None:
        """Nothing of this life is left. Another may follow; otherwise it was the last."""
        self.instance = None
        if not self.stop.effects.done:
            self.stop.effects._end(None, None)
        if self._returns:
            self.life = Life.DOWN
            if self._again is not None:
                self._live(self._again)
            return
        self.life = Life.STOPPED
        self.ref.end(self.ending or ExitReason("stopped"))
        mailbox, self._mailbox = self._mailbox, deque()
        if self._again is not None:
            self._again.effects._end(None, self._gone("it was not restarted"))
        for handling in mailbox:
            handling.ended(None, self._gone(f"{handling.entry.name} was not handled"))

    def _gone(self, what: str) -> ActorStopped:
        reason = self.ending or self._leaving
        gone = ActorStopped(
            f"{what}: actor {self.name!r} has ended ({reason})",
            actor=self.name,
            reason=None if reason is None else reason.kind,
        )
        gone.__cause__ = None if reason is None else reason.error
        return gone

    # ----------------------------------------------------------------------------------------------- turns

    def accept(self, handling: Handling) -> None:
        """A message has come."""
        if self.life is Life.STOPPED or self._leaving is not None:
            return handling.ended(None, self._gone(f"{handling.entry.name} was not handled"))
        self._mailbox.append(handling)
        self._next()

    def take_back(self, handling: Handling, reason: BaseException | None) -> None:
        """A message that has not begun is not wanted any more."""
        if handling in self._mailbox:
            self._mailbox.remove(handling)
        handling.ended(None, reason)

    def queued(self, handling: Handling) -> bool:
        """Whether a message waits in the mailbox."""
        return handling in self._mailbox

    @property
    def busy_with(self) -> str:
        """Why the next message is not handled, in words."""
        if self._turn is None:
            return f"a restart, while the actor is {self.life.name.lower()}"
        return f"{self._turn.title}, which waits for {self._turn.waits_for}"

    def _next(self) -> None:
        """Give the turn to whoever is next."""
        if self._turn is not None:
            return
        if self._resuming:
            handling, wait = self._resuming.popleft()
            self._turn = handling
            wait.settle()
        elif self._mailbox and self.life in (Life.RUNNING, Life.DRAINING):
            handling = self._turn = self._mailbox.popleft()
            assert self.instance is not None
            if handling.entry.streams:
                self._streams[handling] = None
            handling.begin(self.instance)
        else:
            self._go_on_ending()

    def yield_turn(self, handling: Handling) -> None:
        """A generator has no demand: others may have the turn."""
        if self._turn is handling:
            self._turn = None
            self.scene.post(self._next)

    def regain_turn(self, handling: Handling, regained: Wait) -> bool:
        """A generator wants to go on. Answers whether it has the turn already; else it is to wait."""
        if self._turn is handling:
            return True
        self._resuming.append((handling, regained))
        self.scene.post(self._next)
        return False

    def turn_of(self, handling: Handling) -> bool:
        """Whether that is who has the turn."""
        return self._turn is handling

    def handled(self, handling: Handling, value: Any, error: BaseException | None) -> None:
        """A handler has ended: answer, and go on with the next message."""
        self._streams.pop(handling, None)
        if self._turn is handling:
            self._turn = None
        if error is None:
            handling.ended(value, handling.cut)
        elif isinstance(error, NeedsRuntime):
            handling.ended(None, error)
        else:
            self._handler_failed(handling, error)
        self.scene.post(self._next)

    def _handler_failed(self, handling: Handling, error: BaseException) -> None:
        failure = self._failure(handling, error)
        if failure is None:
            return handling.ended(None, handling.why_cancelled)
        if handling.asked:
            self.scene.record(Raised(failure), handling.effects)
        handling.ended(None, failure)
        fatal = isinstance(failure, tuple(self.actor_class.fatal))
        if (fatal or not handling.asked) and self.ending is None:
            self.scene.record(Failed(failure), handling.effects)
            self._end(ExitReason("failed", failure), returns=self._leaving is None)

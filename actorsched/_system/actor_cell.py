"""The cell of a user's actor: its mailbox, its turn, and its lives.

Three things are kept apart here:

* **The mailbox.** What users send is a `Call` in the bounded user lane. Control, stop and supervision
  messages come to the inbox that every system actor has, and are handled at once, whatever the actor does.
* **The turn.** Handlers, hooks and generators of one actor run one at a time: whoever has the `turn`.
  A generator without demand gives it back, and queues for it again.
* **The life.** STARTING, RUNNING, DRAINING (works off its mailbox, takes no more), ENDING (children,
  streams, then `on_stop`), DOWN (failed; the mailbox is kept until the supervisor has decided) and
  STOPPED. A new life begins with a new instance, in the context in which the actor was spawned.

A failure that reaches the supervisor ends the present life first: children are stopped, streams are
closed, timers are dropped and `on_stop` runs, with the failure as its reason. `kill()` runs no `on_stop`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from enum import IntEnum
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from anyio import CancelScope

from actorsched._core.behaviour import Behaviour, Outbox, Reply, handles
from actorsched._core.mailbox import Refusal, UserLane
from actorsched._kernel.current import CURRENT
from actorsched._kernel.stepper import DONE
from actorsched._system.call import Call, Hook, Letter
from actorsched._system.code_run import CodeRun, without_cancellation
from actorsched._system.waiting import Waiter
from actorsched.exceptions import ActorStopped, MailboxFull, TaskCancelled
from actorsched.messages import (
    Close,
    Closed,
    Discard,
    Escalated,
    Exited,
    ExitReason,
    Failure,
    Kill,
    Link,
    LinkFailed,
    Start,
    Stop,
    Unlink,
    Unwatch,
    Up,
    Watch,
)
from actorsched.options import Priority

if TYPE_CHECKING:
    from actorsched._kernel.activity import Activity
    from actorsched._system.handlers import Handler, HandlerTable
    from actorsched._system.supervisor import Supervisor

_NORMAL = int(Priority.NORMAL)
_CHILD_PATIENCE = 5.0
"""Seconds that an actor's children have to stop before they are killed, when the actor fails."""

_log = logging.getLogger("actorsched.actor")


def same_variables(context: Context, other: Context) -> bool:
    """Whether two contexts hold the same values; a look at one pointer, as long as neither was changed."""
    try:
        return context == other
    except Exception:  # a value whose comparison raises, such as an array
        return False


class Life(IntEnum):
    """Where an actor is in its life."""

    STARTING = 0
    RUNNING = 1
    DRAINING = 2
    ENDING = 3
    DOWN = 4
    STOPPED = 5


_RUNNING = Life.RUNNING
_DRAINING = Life.DRAINING


class Extras(msgspec.Struct, eq=False):
    """What few actors have: kept apart, so that an idle actor stays small."""

    room: OrderedDict[Call, None] = msgspec.field(default_factory=lambda: OrderedDict())
    """Calls that wait for room in the mailbox, in order; those whose senders give up leave from anywhere."""
    resuming: deque[tuple[Call, Reply]] = msgspec.field(default_factory=lambda: deque())
    """Streams that wait for their turn."""
    streams: set[Call] = set()
    """Streams whose generator has begun."""
    watchers: list[Reply] = []
    links: dict[ActorCell, None] = {}
    timers: dict[object, Any] = {}
    supervisor: Supervisor | None = None
    """The supervisor of its children."""
    started: Reply | None = None
    """Who waits for the end of its first start."""


class ActorCell(Waiter, eq=False):
    """One actor, through all its lives."""

    actor_class: Callable[..., Any]
    table: HandlerTable
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: Context
    """Where it was spawned; each life starts in a copy."""
    lane: UserLane[Call | Letter]  # pyright: ignore[reportInvalidTypeArguments] # a priority for all letters
    supervisor: Behaviour
    given_name: str | None
    number: int
    on_stopped: Callable[[ActorCell], None] | None = None
    """Called when it has ended for good."""
    rank: int = _NORMAL
    instance: Any = None
    life: Life = Life.STARTING
    turn: CodeRun | Letter | None = None
    """Whose code is running or suspended, if any."""
    scheduled: bool = False
    """Whether it is in the run queue."""
    hook: Hook | None = None
    """The hook that is to run next."""
    ending: ExitReason | None = None
    """Why the present life ends."""
    leaving: ExitReason | None = None
    """Why it works off its mailbox."""
    returns: bool = False
    """Whether another life will follow, or the supervisor has still to decide."""
    killed: bool = False
    born: bool = False
    """Whether it has ever started."""
    recalled: bool = False
    """Whether the supervisor has begun the present life, and waits to hear how."""
    extras: Extras | None = None

    role: ClassVar[str] = "actor"
    hosted: ClassVar[bool] = False
    """Whether its code runs in a host process."""

    @property
    def owner(self) -> ActorCell:
        """Whose code runs when the context says that this is running."""
        return self

    @property
    def may_wait(self) -> bool:
        """Whether what it waits for keeps it from handling messages: not so for tasks left behind."""
        turn = self.turn
        return type(turn) is Letter or (type(turn) is Call and turn.reply is None)

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.given_name or f"{self.table.owner}-{self.number}"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"actor {self.name!r}"

    def __repr__(self) -> str:
        return f"<actor {self.name!r} {self.life.name.lower()}, {self.lane!r}>"

    def more(self) -> Extras:
        """What few actors have, made on first use."""
        if self.extras is None:
            self.extras = Extras()
        return self.extras

    # ------------------------------------------------------------------------------------ the mailbox

    def offer(self, call: Call | Letter) -> Refusal | None:
        """Take a message in, or say why not. A message to an actor that has ended is undeliverable."""
        if self.life != _RUNNING and self._gone_for_good():
            self.kernel.office.sent += 1
            self.undeliverable(call, "stopped" if self.ending is None else self.ending.kind)
            return None
        verdict = self.lane.offer(call)
        if verdict is None:
            self.kernel.office.sent += 1
            if not self.scheduled and self.turn is None:
                self.schedule()
            return None
        if isinstance(verdict, Refusal):
            return verdict
        self.kernel.office.sent += 1
        self._dropped(verdict)
        return None

    def _gone_for_good(self) -> bool:
        return self.life >= _DRAINING and self.life != Life.DOWN and not self.returns

    def schedule(self) -> None:
        """Get into the run queue, if there is something to run."""
        if not self.scheduled and self._has_work():
            self.scheduled = True
            self.rank = self.lane.top()
            self.kernel.make_ready(self)

    def tell(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Send a message that nobody waits for.

        Raises:
            MailboxFull: There is no room, and the mailbox does not drop.
            TypeError: It is no handler of the actor, or does not take these arguments.
        """
        handler = self.table.by_function.get(function) or self.table.of(function, self.actor_class)  # type: ignore[arg-type]
        if kwargs or not handler.least <= len(args) < handler.most:
            handler.check(args, kwargs)
        kernel, lane = self.kernel, self.lane
        queue = lane.queue
        letter = Letter(handler, args, kwargs or None, copy_context())
        if self.hosted:
            letter.packed = self.pack(handler, args, kwargs)
        if get_ident() != kernel.thread:
            return kernel.call_threadsafe(self._tell_from_thread, letter)
        if queue and same_variables(letter.context, queue[-1].context):  # type: ignore[arg-type]  # it has one
            letter.context = queue[-1].context  # type: ignore[assignment]  # share it
        if queue is not None and self.life == _RUNNING and (lane.capacity is None or len(queue) < lane.capacity):
            queue.append(letter)  # what `offer` comes to, nearly always
            kernel.office.sent += 1
            if not self.scheduled and self.turn is None:
                self.schedule()
        elif self.offer(letter) is not None:
            kernel.office.refuse()
            raise self.full(handler)

    def _tell_from_thread(self, call: Letter) -> None:
        if self.offer(call) is not None:
            self.kernel.office.sent += 1
            self.kernel.office.bury(self._addressed(call), "full")

    def full(self, handler: Handler) -> MailboxFull:
        """The error of a sender whose message was refused."""
        return MailboxFull(
            f"{handler.name} of actor {self.name!r} was not sent: its mailbox holds {self.lane.size} messages, "
            "which is its capacity; wait for room with `telling` or `ask`, or choose another "
            "Mailbox(capacity=, overflow=)",
            actor=self.name,
            capacity=self.lane.capacity,
        )

    def wait_for_room(self, call: Call, admitted: Reply) -> None:
        """Queue a message until there is room; `admitted` is answered when there is."""
        call.admitted = admitted
        self.more().room[call] = None

    def _admit(self) -> None:
        """There is room: let in whoever waits for it."""
        extras = self.extras
        while extras is not None and extras.room and self.lane.size < (self.lane.capacity or 1):
            call, _ = extras.room.popitem(last=False)
            self.kernel.office.sent += 1
            self.lane.put(call)
            admitted, call.admitted = call.admitted, None
            assert admitted is not None
            self.kernel.reply(admitted, None)
        self.schedule()

    def _dropped(self, message: Call | Letter) -> None:
        self.kernel.office.bury(self._addressed(message), "dropped")
        message.dead = True
        if isinstance(message, Call):
            message.context = None
            message.answer(
                MailboxFull(
                    f"{message.title} was dropped: the mailbox was full, and its rule is {self.lane.overflow!r}",
                    actor=self.name,
                )
            )

    def undeliverable(self, message: Call | Letter, reason: str) -> None:
        """A message will never be handled."""
        self.kernel.office.bury(self._addressed(message), reason)
        message.dead = True
        if isinstance(message, Call):
            message.context = None
            if message.timer is not None:
                message.timer.cancel()
            if message.reply is not None or message.stream is not None or message.admitted is not None:
                message.answer(self.gone(f"{message.handler.name} was not handled"))
            message.tell_over()

    def _addressed(self, message: Call | Letter) -> Call:
        """A message together with whom it was for."""
        return message if isinstance(message, Call) else message.call(self, message.context)

    def gone(self, what: str) -> ActorStopped:
        """The error of a sender whose receiver has ended."""
        ending = self.ending or ExitReason("stopped")
        error = ActorStopped(
            f"{what}: actor {self.name!r} has ended ({ending}); "
            "spawn it again, or let a supervisor restart it",
            actor=self.name,
            reason=ending.kind,
        )
        error.__cause__ = ending.error
        return error

    def discard_call(self, call: Call, reason: BaseException) -> None:
        """Its sender no longer wants a message that has not begun."""
        waiting = call.admitted is not None
        if waiting:
            call.dead = True
            self.more().room.pop(call, None)
            self.kernel.office.sent += 1
        else:
            self.lane.discard(call)
        self.kernel.office.withdraw(call, "expired" if isinstance(reason, TimeoutError) else "withdrawn")
        call.context = None
        call.answer(reason)
        call.tell_over()
        if not waiting:
            self._admit()

    # ---------------------------------------------------------------------------------------- the turn

    def _has_work(self) -> bool:
        if self.turn is not None:
            return self.turn.ended is not None and self.turn.deferred is not None
        if self.hook is not None or (self.extras is not None and self.extras.resuming):
            return True
        return self.lane.size > 0 and (self.life == Life.RUNNING or self.life == Life.DRAINING)

    def has_more(self) -> bool:
        """Whether it should go back into the run queue; it then is in it."""
        if self.scheduled or not self._has_work():
            return False
        self.scheduled = True
        self.rank = self.lane.top()
        return True

    def run(self, burst: int) -> tuple[Activity, object] | None:
        """Give the turn to whoever is next, one after the other, until one suspends."""
        self.scheduled = False
        turn = self.turn
        if turn is not None:
            if turn.ended is None or turn.deferred is None:
                return None
            assert not isinstance(turn, Letter)
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
        """Handle queued messages, one after the other.

        Messages that were told from the same context are handled in one copy of it, for as long as no
        handler changes it: a copy for each would cost as much as the smallest handler.
        """
        kernel, lane, invoke = self.kernel, self.lane, self.invoke
        mail, office = kernel.mail, kernel.office
        stepper = kernel.stepper()
        seen: Context | None = None
        context = clean = self.context
        for _ in range(burst):
            queue = lane.queue
            message = queue.popleft() if queue and not lane.ranked and not lane.dead else lane.take()
            if message is None:
                break
            self.turn = message
            if self.extras is not None and self.extras.room:
                self._admit()
            source = message.context
            if source is not seen or not same_variables(context, clean):
                assert source is not None
                context, clean, seen = self._entered(source, message)
            try:
                yielded = context.run(stepper.send, invoke(message))
            except BaseException as error:
                stepper = kernel.stepper()
                self._as_call(message, context).raised(error)
            else:
                if yielded is not DONE:
                    call = self._as_call(message, context)
                    call.stepper = stepper
                    return call, yielded
                if self.turn is message and type(message) is Letter and self.life == _RUNNING:
                    self.turn = None
                    office.handled += 1
                else:
                    self._as_call(message, context).returned(stepper.take())
            if mail:
                kernel.drain()
            if self.turn is not None or self.life != _RUNNING:
                break
            if self.extras is not None and self.extras.resuming:
                break
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

    def _as_call(self, message: Call | Letter, context: Context) -> Call:
        """The message as a run of its own: it has suspended or ended, and something follows from that."""
        call = message
        if type(call) is Letter:
            call = self.turn if isinstance(self.turn, Call) else call.call(self, context)
            self.turn = call
        assert isinstance(call, Call)
        call.context, call.begun = context, True
        return call

    def _entered(self, source: Context, message: Call | Letter) -> tuple[Context, Context, Context | None]:
        """A copy of a sender's context, a copy of that, and the sender's, if others may share the first.

        In it this actor is the current one; or, where somebody waits for the call, the call itself: what it
        leaves behind can then be told from what the actor does later.
        """
        context = source.copy()
        if type(message) is Letter:
            context.run(CURRENT.set, self)
            return context, context.copy(), source
        assert isinstance(message, Call)
        context.run(CURRENT.set, message)
        message.begun, message.context = True, context
        return context, context, None

    def present_run(self) -> CodeRun:
        """What `current()` is about: whoever has the turn; a task left behind by a handler gets a stand-in."""
        turn = self.turn
        if type(turn) is Letter:
            turn = self.turn = turn.call(self, turn.context)
        return turn or Hook(self, "a task left behind", None)  # type: ignore[return-value]

    def _interrupt_turn(self) -> None:
        """Cancel whatever code has the turn, but not what it has deferred."""
        if self.turn is not None and self.turn.ended is None:
            self.kernel.interrupt(self.present_run())

    def turn_over(self, run: CodeRun) -> None:
        """Whoever had the turn is done. What tasks that it left behind wait for keeps nobody waiting."""
        if self.extras is not None:
            self.extras.streams.discard(run)
        if self.turn is run:
            self.turn = None
        if self.waits:
            self.waits.abandon(self, self.kernel)
        if self.ending is not None or (self.life == Life.DRAINING and not self.lane.size):
            self._go_on_ending()

    def yield_turn(self, call: Call) -> None:
        """A generator has no demand: others may have the turn."""
        if self.turn is call:
            self.turn = None
        if self.waits:
            self.waits.abandon(self, self.kernel)
        if self.ending is not None or self.life == Life.DRAINING:
            self._go_on_ending()
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

    def pack(self, handler: Handler, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The arguments of a message as they travel: here they do not."""

    def let_go(self) -> None:
        """The present life is over: so is the instance."""
        self.instance = None

    def invoke(self, call: Call | Letter) -> Coroutine[Any, Any, Any]:
        """Call a handler of the present instance."""
        kwargs = call.kwargs
        if kwargs:
            result = call.handler.function(self.instance, *call.args, **kwargs)
        else:
            result = call.handler.function(self.instance, *call.args)
        if call.stream is None:
            return result  # type: ignore[no-any-return]
        assert isinstance(call, Call)
        self.more().streams.add(call)
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
            elif not asked:
                _log.error("%s failed while the actor was ending", call.title, exc_info=failure)

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

    # ---------------------------------------------------------------------------------------- starting

    def begin_life(self) -> None:
        """Make an instance and let it start. An error of the constructor leaves here."""
        self.life = Life.STARTING
        self.ending = None
        self.returns = self.killed = False
        context = self.context.copy()
        self.instance = context.run(self.actor_class, *self.args, **self.kwargs)
        if self.table.has_start:
            self.hook = Hook(self, "on_start", context)
        else:
            self._started()

    def begin_first_life(self) -> Hook | None:
        """Begin the life in which it is spawned. Answers with `on_start`, if its spawner is to carry that."""
        self.begin_life()
        hook = self.hook
        if hook is None or not self.kernel.lender.ready:
            self.schedule()
            return None
        self.turn, self.hook = hook, None
        return hook

    def _started(self) -> None:
        self.life = Life.RUNNING
        if self.recalled:
            self.recalled = False
            self.kernel.send((self.supervisor, Up(self)))
        self.born = True
        extras = self.extras
        if extras is not None and extras.started is not None:
            self.kernel.reply(extras.started, None)
            extras.started = None
        if self.leaving is not None:
            self.life = Life.DRAINING
            self._go_on_ending()
        self.schedule()

    def hook_over(self, hook: Hook, error: BaseException | None) -> None:
        """`on_start` or `on_stop` has ended."""
        self.turn = None
        completed = error is None
        failure = self._failure_of(hook, error)
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
            return self._go_on_ending()
        assert failure is not None
        self._end(ExitReason("failed", failure), returns=self.born and self.leaving is None)

    def _failure_of(self, hook: Hook, error: BaseException | None) -> BaseException | None:
        """What went wrong in a hook; None for nothing, or for a cancellation by the end of its actor."""
        failure = None if error is None else without_cancellation(error, self.kernel.cancelled)
        if failure is None and error is not None and not self.killed and self.ending is None:
            failure = TaskCancelled(f"{hook.title} ended with a cancellation that nobody asked for")
            failure.__cause__ = error
        return failure

    @handles(Start)
    def _start(self, message: Start, out: Outbox) -> None:
        if self.life != Life.DOWN:
            return
        self.recalled = True
        try:
            self.begin_life()
            self.schedule()
        except BaseException as error:
            self.let_go()
            self._end(ExitReason("failed", error), returns=True)

    # ------------------------------------------------------------------------------------------ ending

    def fail(self, error: BaseException) -> None:
        """The present life ends with a failure; the supervisor decides what follows."""
        if self.ending is None:
            self._end(ExitReason("failed", error), returns=self.born and self.leaving is None)
            self._fail_links(error, self, {self})

    @handles(Stop)
    def _stop(self, message: Stop, out: Outbox) -> None:
        if self.life == Life.STOPPED:
            return
        if message.restart:
            if self.ending is None and self.leaving is None:
                self._end(message.reason, returns=True)
            return
        if self.leaving is None:
            self.leaving = message.reason
        match self.life:
            case Life.RUNNING:
                self.life = Life.DRAINING
                self._go_on_ending()
            case Life.ENDING:
                self._end_for_good()
            case Life.DOWN:
                self.ending, self.returns = message.reason, False
                self._life_over()
            case _:  # STARTING goes on to drain when it has started; DRAINING does already
                pass

    def _end_for_good(self) -> None:
        """No other life will follow, although one would have."""
        if self.returns:
            self.returns = False
            if self.ending is not None and self.ending.error is None:
                self.ending = self.leaving

    @handles(Kill)
    def _kill(self, message: Kill, out: Outbox) -> None:
        if self.life == Life.STOPPED:
            return
        if message.restart and (self.leaving is not None or (self.ending is not None and not self.returns)):
            message = Kill(self.leaving or self.ending or message.reason)  # it goes for good, only sooner
        self.killed = True
        if self.life == Life.DOWN:
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
        self.life = Life.ENDING
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
        self._go_on_ending()

    def _drop_timers(self, extras: Extras) -> None:
        for timer in list(extras.timers.values()):
            timer.cancel()

    def _go_on_ending(self) -> None:
        """Take the next step towards the end of this life, if nothing has to be waited for."""
        extras = self.extras
        if self.turn is not None:
            return
        if self.life == Life.DRAINING:
            if not self.lane.size and not (extras is not None and extras.room):
                assert self.leaving is not None
                self._end(self.leaving, returns=False)
            return
        if extras is not None and (extras.streams or extras.supervisor is not None):
            return
        if self.life != Life.ENDING or self.hook is not None:
            return
        if (self.hosted or self.table.has_stop) and not self.killed and self.instance is not None:
            self.hook = Hook(self, "on_stop", self.context.copy(), (self.ending,))
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
            self.life = Life.DOWN
        self.kernel.send((self.supervisor, Exited(self, reason, gone, known)))
        self.kernel.drain()

    def _bury(self, reason: ExitReason) -> None:
        self.life = Life.STOPPED
        for call in self.lane.drain():
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
            self.on_stopped(self)

    @handles(Discard)
    def _discard(self, message: Discard, out: Outbox) -> None:
        if self.life == Life.DOWN:
            assert self.ending is not None
            self.returns = False
            self._bury(self.ending)

    # ----------------------------------------------------------------------- children, links, watchers

    @handles(Closed)
    def _children_gone(self, message: Closed, out: Outbox) -> None:
        if self._forgets(message.supervisor):
            self._go_on_ending()

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
            self._go_on_ending()

    @handles(Watch)
    def _watch(self, message: Watch, out: Outbox) -> None:
        if self.life == Life.STOPPED:
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
        if self.life != Life.STOPPED:
            self.more().links[other] = None

    @handles(Unlink)
    def _unlink(self, message: Unlink, out: Outbox) -> None:
        if self.extras is not None:
            self.extras.links.pop(message.other, None)  # type: ignore[call-overload]

    def _fail_links(self, error: BaseException, origin: Behaviour, seen: set[Behaviour]) -> None:
        if self.extras is not None:
            for other in list(self.extras.links):
                if other not in seen:
                    seen.add(other)
                    self.kernel.post(other, LinkFailed(origin, error, seen))

    @handles(LinkFailed)
    def _link_failed(self, message: LinkFailed, out: Outbox) -> None:
        if self.ending is not None or self.life in (Life.DOWN, Life.STOPPED):
            return
        origin: ActorCell = message.origin  # type: ignore[assignment]
        error = ActorStopped(
            f"actor {self.name!r} failed with {origin.name!r}, to which it is linked",
            actor=origin.name,
            reason="failed",
        )
        error.__cause__ = message.error
        self._end(ExitReason("failed", error), returns=self.born and self.leaving is None)
        self._interrupt_turn()
        self._fail_links(message.error, message.origin, message.seen)

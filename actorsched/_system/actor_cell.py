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
from collections import deque
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
from actorsched._system.call import Call, Hook
from actorsched._system.code_run import CodeRun, without_cancellation
from actorsched._system.waiting import Waiter, Waits
from actorsched.exceptions import ActorStopped, MailboxFull, TaskCancelled
from actorsched.messages import (
    Close,
    Closed,
    Discard,
    EndWait,
    Escalated,
    Exited,
    ExitReason,
    Failure,
    Kill,
    Link,
    LinkFailed,
    Probe,
    Start,
    Stop,
    Unlink,
    Unwatch,
    Up,
    Wait,
    Watch,
)
from actorsched.options import Priority

if TYPE_CHECKING:
    from actorsched._kernel.activity import Activity
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.handlers import Handler, HandlerTable
    from actorsched._system.supervisor import Supervisor

_NORMAL = int(Priority.NORMAL)
_NOTHING: Mapping[str, Any] = {}
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

    room: deque[Call] = msgspec.field(default_factory=deque)
    """Calls that wait for room in the mailbox."""
    resuming: deque[tuple[Call, Reply]] = msgspec.field(default_factory=deque)
    """Streams that wait for their turn."""
    streams: set[Call] = msgspec.field(default_factory=set)
    """Streams whose generator has begun."""
    watchers: list[Reply] = msgspec.field(default_factory=list)
    links: dict[ActorCell, None] = msgspec.field(default_factory=dict)
    timers: dict[object, Any] = msgspec.field(default_factory=dict)
    supervisor: Supervisor | None = None
    """The supervisor of its children."""
    started: Reply | None = None
    """Who waits for the end of its first start."""


class ActorCell(Waiter):
    """One actor, through all its lives."""

    actor_class: Callable[..., Any]
    table: HandlerTable
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: Context
    """Where it was spawned; each life starts in a copy."""
    lane: UserLane[Call]
    supervisor: Behaviour
    given_name: str | None
    number: int
    on_stopped: Callable[[ActorCell], None] | None = None
    """Called when it has ended for good."""
    rank: int = _NORMAL
    instance: Any = None
    life: Life = Life.STARTING
    turn: CodeRun | None = None
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
    extras: Extras | None = None

    role: ClassVar[str] = "actor"
    may_wait: ClassVar[bool] = True
    hosted: ClassVar[bool] = False
    """Whether its code runs in a host process."""

    @property
    def owner(self) -> ActorCell:
        """Whose code runs when the context says that this is running."""
        return self

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.given_name or f"{self.table.owner}-{self.number}"

    def __repr__(self) -> str:
        return f"<actor {self.name!r} {self.life.name.lower()}, {self.lane!r}>"

    def more(self) -> Extras:
        """What few actors have, made on first use."""
        if self.extras is None:
            self.extras = Extras()
        return self.extras

    # ------------------------------------------------------------------------------------ the mailbox

    def offer(self, call: Call) -> Refusal | None:
        """Take a message in, or say why not. A message to an actor that has ended is undeliverable."""
        if self.life != _RUNNING and self._gone_for_good():
            self.kernel.office.sent += 1
            self.undeliverable(call, "stopped" if self.ending is None else self.ending.kind)
            return None
        verdict = self.lane.offer(call)
        if isinstance(verdict, Refusal):
            return verdict
        self.kernel.office.sent += 1
        if verdict is not None:
            self._dropped(verdict)
        elif self.turn is None and not self.scheduled:
            self.schedule()
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
        table = self.table
        handler = table.by_function.get(function) or table.of(function, self.actor_class)  # type: ignore[arg-type]
        if kwargs or not handler.least <= len(args) < handler.most:
            handler.check(args, kwargs)
        subject: Any = CURRENT.get()
        sender = None if subject is None else subject.owner
        packed = self.pack(handler, args, kwargs) if self.hosted else None
        context = copy_context()
        newest = self.lane.newest()  # from the same context as the one before? Then share it
        if newest is not None and newest.context is not None and same_variables(context, newest.context):
            context = newest.context
        self.tell_call(Call(self, handler, args, kwargs or _NOTHING, context, sender, _NORMAL, packed))

    def tell_call(self, call: Call) -> None:
        """Take in a message that nobody waits for.

        Raises:
            MailboxFull: There is no room, and the mailbox does not drop.
        """
        if get_ident() != self.kernel.thread:
            return self.kernel.call_threadsafe(self._tell_from_thread, call)
        if self.offer(call) is not None:
            self.kernel.office.refuse()
            raise self.full(call)

    def _tell_from_thread(self, call: Call) -> None:
        if self.offer(call) is not None:
            self.kernel.office.sent += 1
            self.kernel.office.bury(call, "full")

    def full(self, call: Call) -> MailboxFull:
        """The error of a sender whose message was refused."""
        return MailboxFull(
            f"{call.title} was not sent: its mailbox holds {self.lane.size} messages, which is its capacity; "
            "wait for room with `telling` or `ask`, or choose another Mailbox(capacity=, overflow=)",
            actor=self.name,
        )

    def wait_for_room(self, call: Call, admitted: Reply) -> None:
        """Queue a message until there is room; `admitted` is answered when there is."""
        call.admitted = admitted
        self.more().room.append(call)

    def _admit(self) -> None:
        """There is room: let in whoever waits for it."""
        extras = self.extras
        while extras is not None and extras.room and self.lane.size < (self.lane.capacity or 1):
            call = extras.room.popleft()
            if call.dead:
                continue
            self.kernel.office.sent += 1
            self.lane.put(call)
            admitted, call.admitted = call.admitted, None
            assert admitted is not None
            self.kernel.reply(admitted, None)
        self.schedule()

    def _dropped(self, call: Call) -> None:
        self.kernel.office.bury(call, "dropped")
        call.context = None
        call.dead = True
        call.answer(
            MailboxFull(
                f"{call.title} was dropped: the mailbox was full, and its rule is {self.lane.overflow!r}",
                actor=self.name,
            )
        )

    def undeliverable(self, call: Call, reason: str) -> None:
        """A message will never be handled."""
        self.kernel.office.bury(call, reason)
        call.context = None
        call.dead = True
        if call.timer is not None:
            call.timer.cancel()
        if call.reply is not None or call.stream is not None or call.admitted is not None:
            call.answer(self.gone(f"{call.handler.name} was not handled"))

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
            self.kernel.office.sent += 1
        else:
            self.lane.discard(call)
        self.kernel.office.withdraw(call, "expired" if isinstance(reason, TimeoutError) else "withdrawn")
        call.context = None
        call.answer(reason)
        if call.over_when is not None:
            self.kernel.reply(call.over_when, None)
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
            return None if turn.ended is None or turn.deferred is None else turn.step_deferred()
        if self.hook is not None:
            hook, self.hook = self.hook, None
            self.turn = hook
            return hook.step()
        extras = self.extras
        if extras is not None and extras.resuming:
            self.turn, regained = extras.resuming.popleft()
            self.kernel.reply(regained, None)
            return None
        if self.life == _RUNNING or self.life == _DRAINING:
            return self._handle(burst)
        return None

    def _handle(self, burst: int) -> tuple[Activity, object] | None:
        """Handle queued messages, one after the other.

        Messages that were sent from the same context are handled in one copy of it, for as long as no
        handler changes it: a copy for each would cost as much as the smallest handler.
        """
        kernel, take = self.kernel, self.lane.take
        mail, office = kernel.mail, kernel.office
        seen: Context | None = None
        context = clean = self.context
        while burst:
            call = take()
            if call is None:
                break
            burst -= 1
            self.turn = call
            call.begun = True
            source = call.context
            if source is not seen or call.stream is not None or not same_variables(context, clean):
                assert source is not None
                context, clean = self._entered(source)
                seen = source if call.stream is None else None  # a stream goes on while others run
            call.context = context
            try:
                coroutine = call.coroutine = self.invoke(call)
                yielded = context.run(coroutine.send, None)
            except StopIteration as stop:
                if call.is_plain and self.life == _RUNNING:
                    call.context = call.coroutine = self.turn = None
                    office.handled += 1
                else:
                    call.returned(stop.value)
            except BaseException as error:
                call.raised(error)
            else:
                return call, yielded
            if self.extras is not None and self.extras.room:
                self._admit()
            if mail:
                kernel.drain()
            if self._must_pause():
                break
        return None

    def _entered(self, source: Context) -> tuple[Context, Context]:
        """A copy of a sender's context in which this actor is the current one, and a copy of that."""
        context = source.copy()
        context.run(CURRENT.set, self)
        return context, context.copy()

    def _must_pause(self) -> bool:
        """Whether something other than the next message is to happen first."""
        if self.turn is not None or self.life != _RUNNING:
            return True
        return self.extras is not None and bool(self.extras.resuming)

    def present_run(self) -> CodeRun:
        """What `current()` is about: whoever has the turn; a task left behind by a handler gets a stand-in."""
        return self.turn or Hook(self, "a task left behind", None)

    def turn_over(self, run: CodeRun) -> None:
        """Whoever had the turn is done."""
        if self.extras is not None:
            self.extras.streams.discard(run)  # type: ignore[arg-type]
        if self.turn is run:
            self.turn = None
        if self.ending is not None or (self.life == Life.DRAINING and not self.lane.size):
            self._go_on_ending()

    def yield_turn(self, call: Call) -> None:
        """A generator has no demand: others may have the turn."""
        self.more().streams.add(call)
        if self.turn is call:
            self.turn = None
        if self.ending is not None or self.life == Life.DRAINING:
            self._go_on_ending()
        self.schedule()

    async def regain_turn(self, call: Call) -> None:
        """A generator wants to go on: wait for the turn. A killed actor takes no turns."""
        if self.killed:
            return
        with CancelScope(shield=True):
            regained = self.kernel.future()
            self.more().resuming.append((call, regained))
            self.schedule()
            await regained

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

    def invoke(self, call: Call) -> Coroutine[Any, Any, Any]:
        """Call a handler of the present instance."""
        result = call.handler.function(self.instance, *call.args, **call.kwargs)
        return result if call.stream is None else call.stream.serve(call, result)

    def invoke_hook(self, hook: Hook) -> Coroutine[Any, Any, Any]:
        """Call a hook of the present instance."""
        coroutine: Coroutine[Any, Any, Any] = getattr(self.instance, hook.name)(*hook.args)
        return coroutine

    def handler_failed(self, call: Call, error: BaseException) -> None:
        """A handler has raised: to the asker, to the supervisor, or to both."""
        self.kernel.office.handled += 1
        failure = without_cancellation(error, self.kernel.cancelled)
        if failure is None:
            failure = self._cancellation_of(call)
            if failure is None:
                return
            return call.answer(failure)
        asked = call.reply is not None or call.stream is not None
        if asked:
            call.answer(failure)
        fatal = getattr(self.actor_class, "fatal", ())
        if self.ending is None and (not asked or isinstance(failure, tuple(fatal))):
            self.fail(failure)

    def _cancellation_of(self, call: Call) -> BaseException | None:
        """What the asker of a cancelled handler hears; None when it does not listen any more."""
        if call.withdrawn is not None:
            return call.withdrawn
        if call.stream is not None and call.stream.closing:
            call.stream.end()
            return None
        if self.ending is not None:
            return self.gone(f"{call.handler.name} was interrupted")
        return TaskCancelled(f"{call.title} ended with a cancellation that nobody asked for")

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
            self.schedule()
        else:
            self._started()

    def _started(self) -> None:
        self.life = Life.RUNNING
        if self.born:
            self.kernel.send(self.supervisor, Up(self))
        self.born = True
        extras = self.extras
        if extras is not None and extras.started is not None:
            self.kernel.reply(extras.started, None)
            extras.started = None
        self.schedule()

    def hook_over(self, hook: Hook, error: BaseException | None) -> None:
        """`on_start` or `on_stop` has ended."""
        self.turn = None
        if hook.name == "on_stop":
            if error is not None:
                _log.error("on_stop of actor %r failed", self.name, exc_info=error)
            return self._life_over()
        if error is None and self.ending is None:
            return self._started()
        if self.ending is not None:
            return self._go_on_ending()
        assert error is not None
        self.let_go()
        self._end(ExitReason("failed", error), returns=self.born)

    @handles(Start)
    def _start(self, message: Start, out: Outbox) -> None:
        if self.life != Life.DOWN:
            return
        try:
            self.begin_life()
        except Exception as error:
            self.let_go()
            self._end(ExitReason("failed", error), returns=True)

    # ------------------------------------------------------------------------------------------ ending

    def fail(self, error: BaseException) -> None:
        """The present life ends with a failure; the supervisor decides what follows."""
        if self.ending is None:
            self._end(ExitReason("failed", error), returns=True)
            self._fail_links(error, self, (self,))

    @handles(Stop)
    def _stop(self, message: Stop, out: Outbox) -> None:
        if message.restart:
            if self.ending is None:
                self._end(message.reason, returns=True)
            return
        if self.life == Life.DOWN:
            self.ending = message.reason
            self.returns = False
            return self._life_over()
        self.returns = False
        if self.life == Life.RUNNING:
            self.life = Life.DRAINING
        elif self.life == Life.STARTING and self.ending is None:
            return self._end(message.reason, returns=False)
        if self.life == Life.DRAINING:
            self.leaving = message.reason
            self._go_on_ending()

    @handles(Kill)
    def _kill(self, message: Kill, out: Outbox) -> None:
        if self.life == Life.STOPPED:
            return
        self.killed = True
        if self.life == Life.DOWN:
            if not message.restart:
                self.ending, self.returns = message.reason, False
                self._life_over()
            return
        self.hook = None
        self._end(message.reason, returns=message.restart)
        turn = self.turn
        if turn is not None and turn.ended is None:
            self.kernel.interrupt(turn)

    def _end(self, reason: ExitReason, *, returns: bool) -> None:
        """The present life is to end: whoever has the turn finishes first, unless it was killed."""
        if self.ending is None or self.killed:
            self.ending = reason
        self.returns = returns
        self.life = Life.ENDING
        extras = self.extras
        if extras is not None:
            for timer in extras.timers.values():
                timer.cancel()
            extras.timers.clear()
            for call in list(extras.streams):
                assert call.stream is not None
                call.stream.cut_off(self.gone(f"the stream {call.handler.name} was cut off"))
                if self.turn is call and call.ended is None:
                    self.kernel.interrupt(call)
            if extras.supervisor is not None:
                self.kernel.post(extras.supervisor, Close(_CHILD_PATIENCE, kill=self.killed))
        self._go_on_ending()

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
        if self.returns:
            self.life = Life.DOWN
        else:
            self._bury(reason)
        self.kernel.send(self.supervisor, Exited(self, reason, self.born))
        self.kernel.drain()

    def _bury(self, reason: ExitReason) -> None:
        self.life = Life.STOPPED
        for call in self.lane.drain():
            self.undeliverable(call, reason.kind)
        extras = self.extras
        if extras is not None:
            for call in extras.room:
                if not call.dead:
                    self.kernel.office.sent += 1
                    self.undeliverable(call, reason.kind)
            extras.room.clear()
            for other in extras.links:
                self.kernel.send(other, Unlink(self))
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
        if self.extras is not None:
            self.extras.supervisor = None
        self._go_on_ending()

    @handles(Escalated)
    def _children_failed(self, message: Escalated, out: Outbox) -> None:
        if self.extras is not None:
            self.extras.supervisor = None
        if self.ending is None and message.reason.error is not None:
            self.fail(message.reason.error)
        else:
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

    def _fail_links(self, error: BaseException, origin: Behaviour, seen: tuple[Behaviour, ...]) -> None:
        if self.extras is not None:
            for other in self.extras.links:
                if other not in seen:
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
        turn = self.turn
        self._end(ExitReason("failed", error), returns=True)
        if turn is not None and turn.ended is None:
            self.kernel.interrupt(turn)
        self._fail_links(message.error, message.origin, (*message.seen, self))

    # ------------------------------------------------------------------------- waiting of its own code

    @handles(Wait)
    def _wait(self, message: Wait, out: Outbox) -> None:
        if self.waits is None:
            self.waits = Waits()
        self.waits.begin(self, message.target, message.answer, out)

    @handles(EndWait)
    def _end_wait(self, message: EndWait, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.end(self, message.target, message.answer, message.resumed, out)
        else:
            out.reply(message.resumed, None)

    @handles(Probe)
    def _probe(self, message: Probe, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.pass_on(self, message, out)

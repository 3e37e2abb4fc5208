"""Actors as users write them, and the refs by which they are used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import copy_context
from threading import get_ident
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    TypeGuard,
    TypeVar,
    cast,
)

import msgspec

from actorsched._system.asking import ask, close_stream, ended, inside, make_call, next_item, telling
from actorsched._system.cell_lives import STOPPED
from actorsched._system.cell_state import Life
from actorsched._system.contexts import tables_of
from actorsched._system.handlers import HANDLER
from actorsched._system.stream import StreamSource
from actorsched.durations import Duration, seconds
from actorsched.messages import ExitReason, Kill, Link, Stop, Unlink
from actorsched.options import Mailbox, Priority

if TYPE_CHECKING:
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.call import Call
    from actorsched._system.handlers import Handler

A = TypeVar("A", bound="Actor")
P = ParamSpec("P")

_NORMAL = int(Priority.NORMAL)
_RUNNING = Life.RUNNING
_STOPPED = Life.STOPPED


class Actor:
    """The base of actors: state of your own, and handlers that run one at a time.

    A public `async def` is a handler; a public async generator function is one that replies with a stream.
    Nobody else ever runs code of the actor, so its attributes need no locks.

    Args of the class statement:
        host: "loop" (the default) or "process": in a host process of its own kind.

    Attributes:
        mailbox: How many messages may wait, and what happens to one too many.
        fatal: Exceptions that end the actor's present life also when the message was asked.
    """

    mailbox: ClassVar[Mailbox] = Mailbox()
    fatal: ClassVar[tuple[type[BaseException], ...]] = ()

    def __init_subclass__(cls, *, host: Literal["loop", "process"] | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if host not in (None, "loop", "process"):
            raise ValueError(f"host={host!r} of class {cls.__qualname__}: choose 'loop' or 'process'")
        if host is not None:
            cls.__actorsched_host__ = host  # type: ignore[attr-defined]

    async def on_start(self) -> None:
        """Called before the first message of each life, after the constructor.

        `spawn` returns when it has finished, and raises what it raises; when it fails after a restart, that
        is one more failure for the supervisor.
        """

    async def on_stop(self, reason: ExitReason) -> None:
        """Called at the end of each life: after the last message of a `stop()`, and after a failure.

        Not called by `kill()`, and not for a life that did not start. An error in it is logged.

        Args:
            reason: Why this life ends.
        """


def is_actor_class(value: object) -> TypeGuard[type[Actor]]:
    """Whether actors can be made of it."""
    return isinstance(value, type) and issubclass(value, Actor)


class ActorRef(msgspec.Struct, Generic[A], eq=False, weakref=True):
    """An actor, from outside. Refs are equal when they mean the same actor; they stay valid over restarts."""

    _cell: ActorCell

    def __repr__(self) -> str:
        return f"<ActorRef {self.name!r} {self._cell.life.name.lower()}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        reduced: tuple[Callable[..., Any], tuple[Any, ...]] = self._cell.kernel.facade._reduced(self._cell)
        return reduced

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(self._cell)

    @property
    def name(self) -> str:
        """Its name: the one that it was given, or its class and a number."""
        return self._cell.name

    @property
    def alive(self) -> bool:
        """Whether it has not ended for good."""
        return self._cell.life is not _STOPPED

    @property
    def queued(self) -> int:
        """How many messages wait in its mailbox."""
        return self._cell.lane.size

    @property
    def load(self) -> int:
        """How much it has to do: the messages in its mailbox, and the one that it is handling."""
        return self._cell.lane.size + (self._cell.turn is not None)

    @property
    def ask(self) -> A:
        """Its handlers, each to be called and awaited: `await ref.ask.add(5)`.

        Cancelling the await cancels the handler. A full mailbox is waited for, or raises `MailboxFull`, by
        the actor's `Mailbox`. A handler that streams is iterated: `async for item in ref.ask.ticks(0.1)`.
        """
        proxy: Any = self._cell.table.proxy(Asking, _method)
        asking: A = proxy(self._cell, None, _NORMAL)
        return asking

    def asking(self, *, timeout: Duration | None = None, priority: int = Priority.NORMAL) -> A:
        """The same as `ask`, with options.

        Args:
            timeout: How long to wait for an answer (for each item, of a stream). A message that is still
                queued then is dropped unexecuted; a handler that runs is cancelled; `AskTimeout` is raised.
            priority: Higher ones overtake queued messages of lower ones.

        Raises:
            TypeError: The priority is no int.
            ValueError: The timeout is no duration.
        """
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise TypeError(
                f"priority={priority!r} is of type {type(priority).__name__}; give a Priority or an int"
            )
        limit = None if timeout is None else seconds(timeout, field="timeout")
        proxy: Any = self._cell.table.proxy(Asking, _method)
        asking: A = proxy(self._cell, limit, priority)
        return asking

    def tell(
        self,
        handler: Callable[Concatenate[A, P], Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Send a message that nobody waits for: `ref.tell(Counter.add, 5)`.

        Never blocks; any thread may call it.

        To an actor that has ended it becomes a dead letter.

        Raises:
            MailboxFull: There is no room, and the mailbox drops nothing.
            TypeError: It is no handler of the actor, or does not take these arguments.
        """
        cell = self._cell
        lane = cell.lane
        tail, queue = lane.tail, lane.queue
        context = copy_context()
        table = tables_of(context)[0]
        if (
            tail is None
            or tail.table is not table
            or tail.function is not handler
            or len(tail.args) != len(args)
            or kwargs
            or get_ident() != cell.kernel.thread
            or cell.life is not _RUNNING
            or queue is None
            or len(queue) >= lane.limit
        ):
            return cell.tell(handler, args, kwargs, context, table)
        queue.append(args)  # the next one of a row: it differs from the tail by nothing else
        cell.kernel.office.sent += 1
        if not cell.scheduled and cell.turn is None:
            cell.schedule()

    async def telling(
        self,
        handler: Callable[Concatenate[A, P], Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Send a message that nobody waits for, and return when it is in the mailbox.

        To an actor that has ended, or ends meanwhile, it becomes a dead letter.

        Raises:
            AskCycle: There is no room, and the actor waits, through asks, for the one that sends.
            MailboxFull: There is no room, and the mailbox's rule is "raise".
            TypeError: It is no handler of the actor, or does not take these arguments.
        """
        cell = self._cell
        entry = cell.table.of(handler, cell.actor_class)  # type: ignore[arg-type]
        entry.check(args, kwargs)
        await telling(make_call(cell, entry, args, kwargs, _NORMAL))

    async def stop(self) -> None:
        """Let the actor handle what is in its mailbox, then end. Returns when it has ended.

        It takes no more messages meanwhile, and is not restarted. Called by the actor itself, or by a child
        of it, it asks, and returns at once.

        Raises:
            AskCycle: It waits for the actor that stops it, through asks, so neither would end; it is told to
                stop all the same.
        """
        cell = self._cell
        if get_ident() != cell.kernel.thread:
            cell.kernel.check_thread(f"actor {cell.name!r} was told to stop")
        if cell.stopped_at_once():
            return
        cell.kernel.post(cell, Stop(STOPPED))
        if cell.life is not _STOPPED and not inside(cell):
            await ended(cell, waits=True)

    async def kill(self) -> None:
        """End the actor at once: its handler is cancelled, its messages become dead letters.

        Neither `on_stop` nor a restart follows. Returns when it has ended; called by the actor itself, or by
        a child of it, at once.
        """
        cell = self._cell
        cell.kernel.check_thread(f"actor {cell.name!r} was killed")
        cell.kernel.post(cell, Kill(ExitReason("killed")))
        if cell.life is not _STOPPED and not inside(cell):
            await ended(cell)

    def link(self, other: ActorRef[Any]) -> None:
        """From now on, when one of the two fails, the other fails with it, and restarts by its own rule.

        Raises:
            ActorStopped: One of them has ended, so it cannot fail any more.
            TypeError: The other one is no `ActorRef`.
        """
        mine, theirs = self._cell, _cell_of(other)
        mine.kernel.check_thread(f"actor {mine.name!r} was linked")
        for cell in (mine, theirs):
            if cell.life is _STOPPED:
                raise cell.gone(f"{mine.name!r} and {theirs.name!r} were not linked")
        mine.kernel.post(mine, Link(theirs))
        mine.kernel.post(theirs, Link(mine))

    def unlink(self, other: ActorRef[Any]) -> None:
        """Undo `link`.

        Raises:
            TypeError: The other one is no `ActorRef`.
        """
        mine, theirs = self._cell, _cell_of(other)
        mine.kernel.check_thread(f"actor {mine.name!r} was unlinked")
        mine.kernel.post(mine, Unlink(theirs))
        mine.kernel.post(theirs, Unlink(mine))


def _cell_of(other: ActorRef[Any]) -> ActorCell:
    if not isinstance(other, ActorRef):
        raise TypeError(f"{other!r} is no ActorRef; give one that spawn or lookup returned")
    return other._cell


class Asking:
    """What `ref.ask` really is: an object with one method for each handler. Typed as the actor itself."""

    __slots__ = ("_cell", "_priority", "_timeout")

    def __init__(self, cell: object, timeout: float | None, priority: int) -> None:
        self._cell = cast("ActorCell", cell)  # what it is concerns nobody outside
        self._timeout = timeout
        self._priority = priority

    def __repr__(self) -> str:
        return f"<asking {self._cell.name!r}>"

    def __getattr__(self, name: str) -> Any:
        self._cell.table.find(name)
        raise AttributeError(name)


def _method(handler: Handler) -> Callable[..., Any]:
    """The method that asks for one handler."""

    def asked(self: Asking, /, *args: Any, **kwargs: Any) -> Any:
        handler.check(args, kwargs)
        call = make_call(self._cell, handler, args, kwargs, self._priority)
        if handler.streams:
            return Stream(call, self._timeout)
        return ask(call, self._timeout)

    asked.__name__ = handler.name
    asked.__qualname__ = handler.function.__qualname__
    setattr(asked, HANDLER, handler)
    asked.__doc__ = handler.function.__doc__
    return asked


class Stream(AsyncIterator[Any]):
    """A streamed reply: items come as they are asked for. Leaving the loop closes it, as does `aclose()`."""

    __slots__ = ("_call", "_timeout")

    def __init__(self, call: object, timeout: float | None) -> None:
        call = cast("Call", call)  # what it is concerns nobody outside
        call.stream = StreamSource()
        self._call = call
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<Stream of {self._call!r}>"

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        return await next_item(self._call, self._timeout)

    async def aclose(self) -> None:
        """Close the generator, and return when its `finally` clauses have run. Harmless when it is over."""
        await close_stream(self._call)

    def __del__(self) -> None:
        source = self._call.stream
        if source is not None and source.sent and not source.over:
            try:
                self._call.kernel.call_threadsafe(source.close, self._call)
            except RuntimeError:  # the loop has ended, and the generator with it
                pass

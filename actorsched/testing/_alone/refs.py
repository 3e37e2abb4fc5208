"""Stand-ins for actors: refs that record what is wanted of them.

The law of this module: a stand-in is an `ActorRef` in everything that code may do with it, checks what it is
given as those do, and answers as the test has prepared it. What nobody has prepared waits until the test
answers. Nothing is ever delivered anywhere.

What is done with a stand-in is an effect of whoever does it, and is recorded there, with the stand-in itself
keeping the messages (`received`). Used by code that does not run alone, it keeps them all the same, and gives
prepared answers; it cannot wait for others there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar, cast

from actorsched._system.handlers import Handler, table_of
from actorsched.actor import Actor, ActorRef, is_actor_class
from actorsched.durations import Duration, seconds
from actorsched.exceptions import ActorStopped, MailboxFull, NotTransferable, shown
from actorsched.messages import ExitReason
from actorsched.options import Priority
from actorsched.testing._alone.asking import AskingStandIn, OpenAsk, method
from actorsched.testing._alone.prepared import Prepared
from actorsched.testing._alone.scene import Wait, record, sender
from actorsched.testing.effects import (
    Killed,
    Linked,
    Stopped,
    Told,
    Unlinked,
)
from actorsched.testing.patterns import Message, handler_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from actorsched._system.handlers import HandlerTable

A = TypeVar("A", bound=Actor)
P = ParamSpec("P")


class Partner:
    """What a stand-in of an actor knows: it stands where the cell of a real one would."""

    __slots__ = ("actor_class", "ending", "full", "name", "open", "prepared", "received", "table", "watchers")

    def __init__(self, name: str, actor_class: type[Actor] | None) -> None:
        self.name = name
        self.actor_class = actor_class
        self.table: HandlerTable | None = None if actor_class is None else table_of(actor_class, Actor)
        self.received: list[Message] = []
        self.prepared = Prepared()
        self.open: list[OpenAsk] = []
        self.watchers: list[Wait] = []
        self.ending: ExitReason | None = None
        self.full = False

    def __getattr__(self, name: str) -> NoReturn:
        """A real runtime asks its own refs for more than there is here.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"the ref of {self.name!r} is a stand-in for what is tested alone: no runtime has that actor"
        )

    def gone(self) -> ActorStopped:
        """What is raised to whoever asks when it has ended."""
        assert self.ending is not None
        return ActorStopped(
            f"actor {self.name!r} has ended ({self.ending}); nothing was sent to it",
            actor=self.name,
            reason=self.ending.kind,
        )

    def handler(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """The name of a handler that can be told these arguments.

        Raises:
            TypeError: It is none, or they are not its arguments.
        """
        if isinstance(function, str):
            raise TypeError(f"{function!r} is no handler; send one as in ref.tell(Account.deposit, ...)")
        if self.table is None or self.actor_class is None:
            name = handler_name(function)
            Handler(self.name, name, function, streams=False).check(args, kwargs)
            return name
        entry = self.table.of(function, self.actor_class)
        entry.check(args, kwargs)
        return entry.name

    def receive(self, message: Message) -> None:
        """A message has come."""
        self.received.append(message)

    def end(self, reason: ExitReason) -> None:
        """It ends: asks that are open fail, and whoever monitors it hears of it."""
        if self.ending is not None:
            return
        self.ending = reason
        for ask in list(self.open):
            ask.fail(self.gone())
        watchers, self.watchers = self.watchers, []
        for watcher in watchers:
            watcher.settle(reason)


class ActorStandIn(ActorRef[A], eq=False, weakref=True):
    """The ref of an actor that is not there: made by `alone.ref`, or given to whoever spawns one.

    Everything that `ActorRef` offers is recorded. Besides that the test may prepare answers, and say that the
    actor ends.
    """

    @property
    def _partner(self) -> Partner:
        partner: Any = self._cell
        assert isinstance(partner, Partner)
        return partner

    def __repr__(self) -> str:
        return f"<stand-in for actor {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ActorRef):
            return super().__eq__(other)  # pyright: ignore[reportUnknownArgumentType]  # of any actor
        return NotImplemented  # it may be ANY

    def __hash__(self) -> int:
        return super().__hash__()

    def __reduce__(self) -> NoReturn:
        raise NotTransferable(
            f"the stand-in for actor {self.name!r} cannot travel: it belongs to a test", what=repr(self)
        )

    # ------------------------------------------------------------------------------------------ by the test

    @property
    def received(self) -> list[Message]:
        """The messages that were told or asked, by anybody, in their order."""
        return self._partner.received

    def answers(self, handler: str | Callable[..., Any], *values: Any) -> None:
        """Prepare answers: asks of this handler need not wait from now on.

        Args:
            handler: The handler, or its name.
            values: One after the other; the last one is the answer to all that follow. Of a handler that
                streams, they are all the items of every stream.

        Raises:
            TypeError: There is no value, or it is no handler.
            AttributeError: The actor's class has no such handler.
        """
        self._partner.prepared.answers(self._known(handler), values)

    def fails(self, handler: str | Callable[..., Any], error: BaseException) -> None:
        """Prepare an error: asks of this handler raise it from now on, until answers are prepared again.

        Raises:
            TypeError: It is no exception, or no handler.
            AttributeError: The actor's class has no such handler.
        """
        self._partner.prepared.fails(self._known(handler), error)

    def end(self, reason: ExitReason | str = "stopped") -> None:
        """Say that the actor has ended: asks fail with `ActorStopped`, and whoever monitors it hears of it.

        Args:
            reason: How it ended, or in one word: "stopped", "killed", "shutdown".
        """
        self._partner.end(reason if isinstance(reason, ExitReason) else ExitReason(reason))  # type: ignore[arg-type]  # any word

    @property
    def full(self) -> bool:
        """Whether its mailbox is full: `tell` raises `MailboxFull` then."""
        return self._partner.full

    def fill(self, full: bool = True) -> None:
        """Say that its mailbox is full, or that there is room again."""
        self._partner.full = full

    def _known(self, handler: str | Callable[..., Any]) -> str:
        name = handler_name(handler)
        table = self._partner.table
        return name if table is None else table.find(name).name

    # -------------------------------------------------------------------------------------- what refs offer

    @property
    def alive(self) -> bool:
        """Whether the test has not said that it has ended."""
        return self._partner.ending is None

    @property
    def queued(self) -> int:
        """How many messages wait in its mailbox: none, as far as anybody knows."""
        return 0

    @property
    def load(self) -> int:
        """How much it has to do: nothing, as far as anybody knows."""
        return 0

    @property
    def ask(self) -> A:
        """Its handlers, each to be called and awaited."""
        return self.asking()

    def asking(self, *, timeout: Duration | None = None, priority: int = Priority.NORMAL) -> A:
        """The same with options: see `ActorRef.asking`. Time passes by `advance` of whoever asks."""
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise TypeError(
                f"priority={priority!r} is of type {type(priority).__name__}; give a Priority or an int"
            )
        limit = None if timeout is None else seconds(timeout, field="timeout")
        table = self._partner.table
        proxy: Any = AskingStandIn if table is None else table.proxy(AskingStandIn, method)
        asking: A = proxy(self, limit, priority)
        return asking

    def tell(
        self,
        handler: Callable[Concatenate[A, P], Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Record a message that nobody waits for.

        Raises:
            MailboxFull: The test has said so, by `fill`.
            TypeError: It is no handler of the actor, or does not take these arguments.
        """
        partner = self._partner
        name = partner.handler(handler, args, kwargs)
        if partner.full:
            raise MailboxFull(f"{name} was not told to {self.name!r}: its mailbox is full", actor=self.name)
        partner.receive(Message(name, args, kwargs, sender()))
        record(Told(self, name, args, kwargs))

    async def telling(
        self,
        handler: Callable[Concatenate[A, P], Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """The same as `tell`: there is room at once, or never."""
        self.tell(handler, *args, **kwargs)

    async def stop(self) -> None:
        """Record that the actor is stopped; it has ended then."""
        record(Stopped(self))
        self._partner.end(ExitReason("stopped"))

    async def kill(self) -> None:
        """Record that the actor is killed; it has ended then."""
        record(Killed(self))
        self._partner.end(ExitReason("killed"))

    def link(self, other: ActorRef[Any]) -> None:
        """Record a link.

        Raises:
            ActorStopped: One of the two has ended.
            TypeError: The other one is no `ActorRef`.
        """
        for ref in (self, _actor(other)):
            if not ref.alive:
                raise ref._partner.gone()
        record(Linked(self, other))

    def unlink(self, other: ActorRef[Any]) -> None:
        """Record that a link is undone.

        Raises:
            TypeError: The other one is no `ActorRef`.
        """
        record(Unlinked(self, _actor(other)))


def _actor(value: Any) -> ActorStandIn[Any]:
    if not isinstance(value, ActorRef):
        raise TypeError(f"{shown(value)} is no ActorRef; give one that spawn or lookup returned")
    if not isinstance(value, ActorStandIn):
        raise TypeError(
            f"{value!r} is the ref of a real actor; what is tested alone knows only stand-ins, by alone.ref()"
        )
    return value  # pyright: ignore[reportUnknownVariableType]  # of any actor


def make_ref(name: str, actor_class: type[A] | None) -> ActorStandIn[A]:
    """A stand-in for an actor.

    Raises:
        TypeError: The name is no str, or the class is none of actors.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"name={shown(name)} is of type {type(name).__name__}; give a str, and a class after it"
        )
    if actor_class is not None and not is_actor_class(actor_class):
        raise TypeError(f"{shown(actor_class)} is no class of actors; give one, or none for any handler")
    partner: Any = Partner(name, actor_class)
    return cast("ActorStandIn[A]", ActorStandIn(partner))

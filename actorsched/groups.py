"""Many actors at once: groups, to which messages are broadcast, and pools, in which one member gets each.

Both hold refs, and do what anybody with those refs could do; neither is an actor itself. A group is told who
belongs to it; a pool spawns its members, and they restart like any actor, in their places.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from actorsched._core.routing import Routing, router
from actorsched._system.asking import ask, make_call
from actorsched._system.broadcast import all_of
from actorsched._system.handlers import HANDLER
from actorsched.actor import Actor, ActorRef, Stream
from actorsched.exceptions import MailboxFull
from actorsched.messages import ExitReason, Stop
from actorsched.options import Priority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

    from actorsched._system.handlers import Handler
    from actorsched.durations import Duration

A = TypeVar("A", bound=Actor)
P = ParamSpec("P")
T = TypeVar("T")


class Group(Generic[A]):
    """Actors of one kind that get the same messages. Those that have ended leave by themselves.

    Args:
        members: The first members.
    """

    __slots__ = ("_members",)

    def __init__(self, members: Iterable[ActorRef[A]] = ()) -> None:
        self._members: dict[ActorRef[A], None] = {}
        for member in members:
            self.add(member)

    def __repr__(self) -> str:
        return f"<Group of {len(self)}>"

    def __len__(self) -> int:
        return len(self._living())

    def __iter__(self) -> Iterator[ActorRef[A]]:
        """Iterate over the members, in the order in which they joined."""
        return iter(self._living())

    def __contains__(self, member: object) -> bool:
        return member in self._living()

    def _living(self) -> list[ActorRef[A]]:
        for member in [member for member in self._members if not member.alive]:
            del self._members[member]
        return list(self._members)

    def add(self, member: ActorRef[A]) -> None:
        """Take an actor in. Harmless when it is a member.

        Raises:
            TypeError: It is no `ActorRef`.
        """
        if not isinstance(member, ActorRef):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"{member!r} is no ActorRef, so it cannot join a group; give what rt.spawn returned"
            )
        self._members[member] = None

    def discard(self, member: ActorRef[A]) -> None:
        """Let an actor go. Harmless when it is no member."""
        self._members.pop(member, None)

    def tell(
        self,
        handler: Callable[Concatenate[A, P], Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Send a message to every member. Never blocks.

        Raises:
            ExceptionGroup: Of the `MailboxFull` of those without room; all others have got it.
            TypeError: It is no handler of a member, or does not take these arguments; none has got it.
        """
        refusals: list[Exception] = []
        members = self._checked(handler, args, kwargs)
        for member in members:
            try:
                member.tell(handler, *args, **kwargs)
            except MailboxFull as refusal:
                refusals.append(refusal)
        if refusals:
            raise ExceptionGroup("some members of the group had no room for a message", refusals)

    async def ask(
        self,
        handler: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> list[T]:
        """Ask every member, all at once, and wait for all answers. Cancelling it cancels them all.

        Returns:
            The answers, in the order in which the members joined.

        Raises:
            ExceptionGroup: Of the errors of those that failed, when all have answered.
            TypeError: It is no handler of a member, or does not take these arguments; none was asked.
        """
        asks: list[Awaitable[T]] = [
            getattr(member.ask, handler.__name__)(*args, **kwargs)
            for member in self._checked(handler, args, kwargs)
        ]
        return await all_of(asks, "some members of the group failed")

    def _checked(self, handler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[ActorRef[A]]:
        """The members, each of which takes such a message."""
        members = self._living()
        for member in members:
            cell = member._cell
            cell.table.of(handler, cell.actor_class).check(args, kwargs)  # type: ignore[arg-type]
        return members


class ActorPool(Generic[A]):
    """Actors of one kind of which one gets each message. Made by `rt.spawn_pool`.

    Members that fail restart, with their mailboxes, like any actor; the pool sends to them meanwhile, though
    not for being idle. One that has ended for good leaves; `resize` puts another in its place.
    """

    __slots__ = ("_grow", "_members", "_numbers", "_router", "_routing", "_size", "_starting")

    def __init__(self, grow: Callable[[int], Awaitable[ActorRef[A]]], routing: Routing) -> None:
        self._grow = grow
        self._members: list[ActorRef[A]] = []
        self._numbers = count()
        self._routing = routing
        self._router = router(routing)
        self._size = 0
        self._starting = 0

    def __repr__(self) -> str:
        return f"<ActorPool of {len(self)}, {self._routing}>"

    def __len__(self) -> int:
        return len(self._living())

    def __iter__(self) -> Iterator[ActorRef[A]]:
        """Iterate over the members, by their numbers."""
        return iter(list(self._living()))

    def _living(self) -> list[ActorRef[A]]:
        if not all(member.alive for member in self._members):
            self._members = [member for member in self._members if member.alive]
        return self._members

    # --------------------------------------------------------------------------------------- messages

    def of(self, key: object = None) -> ActorRef[A]:
        """The member that is to get the next message.

        Args:
            key: What the message is about, for a pool that routes by key: equal keys go to the same member.

        Raises:
            ValueError: A pool that routes by key was given none, or the pool has no members.
            TypeError: The key is not made of str, bytes, numbers, None or tuples of these.
        """
        if self._routing == "by_key" and key is None:
            raise ValueError(
                "this pool routes by key, and none was given; use pool.of(key).ask or pool.of(key).tell"
            )
        members = self._some()
        return members[self._router.choose(len(members), lambda index: _load_of(members[index]), key)]

    def _some(self) -> list[ActorRef[A]]:
        members = self._living()
        if not members:
            raise ValueError("the pool has no members: it was stopped, or all have ended; spawn another")
        return members

    @property
    def ask(self) -> A:
        """The handlers, each to be called and awaited: `await pool.ask.render(scene)`.

        Which member is asked is decided when the message is sent, so of many asks that are made at once each
        sees the load of those before it. `pool.ask.render` may be a stage of a pipeline, too.
        """
        return self.asking()

    def asking(self, *, timeout: Duration | None = None, priority: int = Priority.NORMAL) -> A:
        """The same as `ask`, with the options of `ActorRef.asking`."""
        if self._routing == "by_key":
            return self.of().asking()  # which says what is missing
        first = self._some()[0]
        options: Any = first.asking(timeout=timeout, priority=priority)
        proxy: Any = first._cell.table.proxy(PoolAsking, _method)
        asking: A = proxy(self, options._timeout, options._priority)
        return asking

    def tell(
        self,
        handler: Callable[Concatenate[A, P], Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Send a message to the member that is next. As `ActorRef.tell`."""
        self.of().tell(handler, *args, **kwargs)

    # ------------------------------------------------------------------------------------------- size

    async def resize(self, size: int) -> None:
        """Spawn members, or stop those with the highest numbers, until there are so many.

        When it is called again meanwhile, the size given last is the one that counts.

        Args:
            size: 1 or more.

        Raises:
            TypeError: It is no int.
            ValueError: It is less than 1.
        """
        check_size(size)
        self._size = size
        going = self._dismiss(size)
        while len(self) + self._starting < self._size:
            await self._start_one()
        for member in going:
            await member.stop()

    async def _start_one(self) -> None:
        self._starting += 1
        try:
            member = await self._grow(next(self._numbers))
        finally:
            self._starting -= 1
        if len(self) < self._size:
            self._members.append(member)
        else:  # somebody has made the pool smaller meanwhile
            await member.stop()

    def _dismiss(self, stay: int) -> list[ActorRef[A]]:
        """All but so many get no more messages, and begin to stop."""
        members = self._living()
        going = members[stay:]
        del members[stay:]
        for member in going:
            member._cell.kernel.post(member._cell, Stop(ExitReason("stopped")))
        return going

    async def stop(self) -> None:
        """Let every member handle what is in its mailbox, then end. Returns when all have ended."""
        self._size = 0
        for member in self._dismiss(0):
            await member.stop()


def _load_of(member: ActorRef[Any]) -> float:
    """How much a member has to do; more than anything for one that is not there, because it restarts."""
    return member.load + (0 if member._cell.life.name == "RUNNING" else float("inf"))


class PoolAsking:
    """What `pool.ask` really is: an object with one method for each handler. Typed as the actor itself."""

    __slots__ = ("_pool", "_priority", "_timeout")

    def __init__(self, pool: ActorPool[Any], timeout: float | None, priority: int) -> None:
        self._pool = pool
        self._timeout = timeout
        self._priority = priority

    def __repr__(self) -> str:
        return f"<asking {self._pool!r}>"

    def __getattr__(self, name: str) -> Any:
        self._pool._some()[0]._cell.table.find(name)
        raise AttributeError(name)


def _method(handler: Handler) -> Callable[..., Any]:
    """The method that asks one member for one handler."""

    async def ask_one(self: PoolAsking, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        cell = self._pool.of()._cell
        return await ask(make_call(cell, handler, args, kwargs, self._priority), self._timeout)

    def asked(self: PoolAsking, /, *args: Any, **kwargs: Any) -> Any:
        handler.check(args, kwargs)
        if not handler.streams:
            return ask_one(self, args, kwargs)
        call = make_call(self._pool.of()._cell, handler, args, kwargs, self._priority)
        return Stream(call, self._timeout)

    asked.__name__ = handler.name
    asked.__qualname__ = handler.function.__qualname__
    asked.__doc__ = handler.function.__doc__
    setattr(asked, HANDLER, handler)
    return asked


def check_size(size: int) -> None:
    """Refuse what is no number of members."""
    if not isinstance(size, int) or isinstance(size, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"size={size!r} is of type {type(size).__name__}; give an int of 1 or more")
    if size < 1:
        raise ValueError(f"size={size} leaves nobody to get a message; give 1 or more")

"""Many actors at once: groups, to which messages are broadcast, and pools, in which one member gets each.

Both hold refs, and do what anybody with those refs could do; neither is an actor itself. A group is told who
belongs to it; a pool spawns its members, and they restart like any actor, in their places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from actorsched._core.routing import Routing, router
from actorsched._system.broadcast import all_of
from actorsched.actor import Actor, ActorRef
from actorsched.exceptions import MailboxFull
from actorsched.options import Priority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

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
            TypeError: It is no handler of a member, or does not take these arguments.
        """
        refusals: list[Exception] = []
        for member in self._living():
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
            TypeError: It is no handler of a member, or does not take these arguments.
        """
        asks: list[Awaitable[T]] = [
            getattr(member.ask, handler.__name__)(*args, **kwargs) for member in self._living()
        ]
        return await all_of(asks, "some members of the group failed")


class ActorPool(Generic[A]):
    """Actors of one kind of which one gets each message. Made by `rt.spawn_pool`.

    Members that fail restart, with their mailboxes, like any actor; the pool sends to them meanwhile.
    """

    __slots__ = ("_grow", "_members", "_router", "_routing")

    def __init__(self, grow: Callable[[int], Awaitable[ActorRef[A]]], routing: Routing) -> None:
        self._grow = grow
        self._members: list[ActorRef[A]] = []
        self._routing = routing
        self._router = router(routing)

    def __repr__(self) -> str:
        return f"<ActorPool of {len(self)}, {self._routing}>"

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[ActorRef[A]]:
        """Iterate over the members, by their numbers."""
        return iter(list(self._members))

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
        if not self._members:
            raise ValueError("the pool has no members: it was stopped; spawn another")
        return self._members[self._router.choose(len(self._members), self._load, key)]

    def _load(self, index: int) -> float:
        return self._members[index].load

    @property
    def ask(self) -> A:
        """The handlers of the member that is next: `await pool.ask.render(scene)`."""
        return self.of().ask

    def asking(self, *, timeout: Duration | None = None, priority: int = Priority.NORMAL) -> A:
        """The same as `ask`, with the options of `ActorRef.asking`."""
        return self.of().asking(timeout=timeout, priority=priority)

    def tell(
        self,
        handler: Callable[Concatenate[A, P], Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Send a message to the member that is next. As `ActorRef.tell`."""
        self.of().tell(handler, *args, **kwargs)

    async def resize(self, size: int) -> None:
        """Spawn members, or stop those with the highest numbers, until there are so many.

        Args:
            size: 1 or more.

        Raises:
            TypeError: It is no int.
            ValueError: It is less than 1.
        """
        check_size(size)
        while len(self._members) < size:
            self._members.append(await self._grow(len(self._members)))
        while len(self._members) > size:
            await self._members.pop().stop()

    async def stop(self) -> None:
        """Let every member handle what is in its mailbox, then end. Returns when all have ended."""
        while self._members:
            await self._members.pop().stop()


def check_size(size: int) -> None:
    """Refuse what is no number of members."""
    if not isinstance(size, int) or isinstance(size, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"size={size!r} is of type {type(size).__name__}; give an int of 1 or more")
    if size < 1:
        raise ValueError(f"size={size} leaves nobody to get a message; give 1 or more")

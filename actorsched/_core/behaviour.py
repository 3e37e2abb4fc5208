"""What an actor of the system is: state, and one pure function for each kind of message.

A `Behaviour` decides. It takes a message, changes its own state, and tells its `Outbox` what should
happen next: a message to another actor, a message to be sent later, an answer to somebody who waits.
It never waits, reads a clock, draws a random number, writes a log or touches a process itself; the
outbox does, and in a test the outbox is a recorder.

A behaviour is its own address. It never waits, so a mailbox of its own would never hold anything but what
is in transit; the kernel keeps that for all of them in one queue, in the order of sending, which is the
order of arrival for every sender and receiver.

Handlers are found by the exact type of the message, in a table that is made when the class is:

    class Echo(Behaviour):
        @handles(Ping)
        def _ping(self, message: Ping, out: Outbox) -> None: ...

Structs instead of classes with slots, because their constructor runs in C: a task or an actor is made
in a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar

import msgspec

from actorsched._core.invariants import InvariantBroken, require
from actorsched._core.timers import ORDINARY

if TYPE_CHECKING:
    from actorsched.events import EventKind

__all__ = [
    "Behaviour",
    "Envelope",
    "InvariantBroken",
    "Outbox",
    "Reply",
    "Timer",
    "handles",
    "quickly_written",
    "require",
]

M = TypeVar("M")
B = TypeVar("B")

_MARK = "_actorsched_handles"


Envelope: TypeAlias = "tuple[Behaviour, object]"
"""A message, and who it is for."""


class Timer(Protocol):
    """A message that will be sent later, unless it is cancelled first."""

    def cancel(self) -> None:
        """Do not send it. Harmless when it was sent or cancelled before."""
        ...


class Reply(Protocol):
    """Where somebody outside the system's actors waits for one answer."""

    def done(self) -> bool:
        """Whether the answer is there, or nobody waits any more."""
        ...

    def set_result(self, value: Any, /) -> None:
        """Wake the one who waits."""
        ...


class Outbox(Protocol):
    """What a behaviour may do to the world outside its own state."""

    @property
    def now(self) -> float:
        """The present time in seconds, by the runtime's clock."""
        ...

    @property
    def watched(self) -> bool:
        """Whether anybody listens to events; otherwise nobody needs to tell any."""
        ...

    def tell(self, kind: EventKind, task: Any, /, **details: Any) -> None:
        """Tell those who listen what has just happened to a task."""
        ...

    def note(self, kind: EventKind, name: str, number: int | str, details: dict[str, Any], /) -> None:
        """The same, at half the price, for what happens to every task: its name, its number, the details."""
        ...

    def send(self, envelope: Envelope, /) -> None:
        """Send a message to an actor: `out.send((to, message))`. Order is kept per sender.

        A pair rather than two arguments: in the runtime this is the method of a queue, and nothing is
        cheaper.
        """
        ...

    def at_rest(self, envelope: Envelope, /) -> None:
        """Send a message as soon as no other is in transit, and everything of this instant has happened.

        In virtual time that is the end of the instant; otherwise it is when the mail has been delivered.
        """
        ...

    def later(self, delay: float, to: Behaviour, message: object, /, *, phase: int = ORDINARY) -> Timer:
        """Send a message after a delay in seconds; among those due at one instant by their phases."""
        ...

    def later_in_fact(self, delay: float, to: Behaviour, message: object, /) -> None:
        """The same by the loop's own clock, also in virtual time."""
        ...

    def reply(self, to: Reply, value: object, /) -> None:
        """Answer somebody who waits; nothing happens when nobody waits any more."""
        ...

    def random(self) -> float:
        """A number in [0, 1) from the runtime's own seeded source."""
        ...

    def report(self, level: int, text: str, error: BaseException | None = None, /) -> None:
        """Write to the runtime's log."""
        ...


class Behaviour(msgspec.Struct, eq=False, weakref=True):
    """The base of every actor of the system."""

    reactions: ClassVar[dict[type, Callable[..., None]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        table = dict(cls.reactions)
        for value in vars(cls).values():
            for kind in getattr(value, _MARK, ()):
                table[kind] = value
        cls.reactions = table

    def receive(self, message: object, out: Outbox) -> None:
        """Handle one message.

        Raises:
            KeyError: This kind of actor takes no such message; nothing has changed.
        """
        self.reactions[type(message)](self, message, out)

    def check(self) -> None:
        """Look whether what always holds of this actor between two messages holds now. Changes nothing.

        Whatever else is in transit may be about it, and code of users may be in the middle of a step: only
        what is true all the same belongs here. It is called after each message of a simulation, so it takes
        constant time; what there may be many of is looked at while there are few (`FEW`).

        Raises:
            InvariantBroken: Something does not.
        """

    def check_at_rest(self) -> None:
        """The same, and what holds only when no message is in transit, and nobody's code takes a step.

        Then everybody knows what concerns him. So this may look at others: whether those for whom it waits
        know that, and whether nobody waits without a reason. It may take time in proportion to what it
        looks at, as it is called once at the end of an instant.

        Raises:
            InvariantBroken: Something does not hold.
        """
        self.check()


def quickly_written(kind: type[B]) -> type[B]:
    """Make writing the fields of a struct as cheap as reading them: for those of which there are many.

    At each write a `Struct` looks whether the garbage collector has to know of it from now on. That takes
    20 ns, four times as long as the write itself, which the interpreter could otherwise specialise. So this
    is for structs that the collector knows of from the first, because they are made with some object for a
    field that it knows of. It is not inherited.
    """
    for name in ("__setattr__", "__delattr__"):
        setattr(kind, name, getattr(object, name))
    return kind


def handles(
    *kinds: type[M],
) -> Callable[[Callable[[B, M, Outbox], None]], Callable[[B, M, Outbox], None]]:
    """Mark a method as the handler of messages of exactly these types."""

    def mark(method: Callable[[B, M, Outbox], None]) -> Callable[[B, M, Outbox], None]:
        setattr(method, _MARK, kinds)
        return method

    return mark

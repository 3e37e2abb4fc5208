"""What an actor or a task does to the world around it, as values to be compared; recorded by `alone`.

The law of this module: effects are data. They are equal when they say the same, whoever made them; whoever
wrote a test writes them down as what it expects. Those that wait for something can be answered, by whoever
recorded them.

Time that is slept counts among them, and so does an error, whoever hears of it: no comparison overlooks one.
What is said for people does not (`logs`), nor does what is put off to the end (`deferred`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from actorsched.exceptions import shown
from actorsched.options import Priority
from actorsched.testing.patterns import handler_name

if TYPE_CHECKING:
    from actorsched.actor import ActorRef
    from actorsched.task import TaskRef

__all__ = [
    "Acquired",
    "Asked",
    "Cancelled",
    "Effect",
    "Failed",
    "Killed",
    "Linked",
    "Monitored",
    "Raised",
    "Released",
    "Reported",
    "Reprioritized",
    "ShutDown",
    "Slept",
    "Spawned",
    "Stopped",
    "TimerCancelled",
    "TimerSet",
    "Told",
    "Unlinked",
]


def _nothing() -> Mapping[str, Any]:
    return {}


class OpenAsk(Protocol):
    """An ask that waits for its answer, as whoever recorded it knows it."""

    @property
    def pending(self) -> bool:
        """Whether it still waits."""
        ...

    def answer(self, value: Any) -> None:
        """Give the answer."""
        ...

    def fail(self, error: BaseException) -> None:
        """Give an error instead."""
        ...

    def item(self, value: Any) -> None:
        """Give one item of a stream."""
        ...


class Effect:
    """The base of all effects."""

    __slots__ = ()


# --------------------------------------------------------------------------------------------------- messages


@dataclass(frozen=True, slots=True)
class Told(Effect):
    """A message was told, by `tell` or `telling`.

    Attributes:
        ref: Whom.
        handler: The name of the handler; given as the handler itself, it becomes that.
        args: The positional arguments.
        kwargs: The keyword arguments.
    """

    ref: ActorRef[Any]
    handler: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        object.__setattr__(self, "handler", handler_name(self.handler))


@dataclass(frozen=True, slots=True)
class Asked(Effect):
    """A message was asked: whoever asked waits until it is answered, unless that was prepared.

    Attributes:
        ref: Whom.
        handler: The name of the handler; given as the handler itself, it becomes that.
        args: The positional arguments.
        kwargs: The keyword arguments.
        timeout: How long it waits, in seconds; None for as long as it takes. Not compared.
        priority: That of the message. Not compared.
    """

    ref: ActorRef[Any]
    handler: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=_nothing)
    timeout: float | None = field(default=None, compare=False)
    priority: int = field(default=Priority.NORMAL, compare=False, repr=False)
    _open: OpenAsk | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "handler", handler_name(self.handler))

    @property
    def pending(self) -> bool:
        """Whether it waits for its answer; a stream, for an item or its end."""
        return self._open is not None and self._open.pending

    def answer(self, value: Any = None) -> None:
        """Answer it; whoever asked goes on at once. A stream ends then, and the value has to be None.

        Raises:
            RuntimeError: It does not wait for an answer.
        """
        self._waiting().answer(value)

    def fail(self, error: BaseException) -> None:
        """Have it raise an error; whoever asked goes on at once.

        Raises:
            TypeError: It is no exception.
            RuntimeError: It does not wait for an answer.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error={shown(error)} is no exception; give one, such as ValueError('no')")
        self._waiting().fail(error)

    def item(self, value: Any) -> None:
        """Give one item of a streamed reply; whoever iterates goes on at once.

        Raises:
            RuntimeError: It does not wait for an item.
        """
        self._waiting().item(value)

    def _waiting(self) -> OpenAsk:
        if self._open is None or not self._open.pending:
            raise RuntimeError(
                f"{self!r} does not wait for an answer: it has one, has been given up, or was never asked"
            )
        return self._open


# ---------------------------------------------------------------------------------------------- other actors


@dataclass(frozen=True, slots=True)
class Spawned(Effect):
    """An actor or a task was spawned.

    Attributes:
        target: The class, or the function.
        args: The positional arguments for it.
        kwargs: The keyword arguments for it.
        options: The other options, as they were given. Not compared.
        ref: The stand-in that whoever spawned it was given. Not compared.
        child: Whether it is a child of the actor, by `current().spawn`. Not compared.
    """

    target: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=_nothing)
    options: Mapping[str, Any] = field(default_factory=_nothing, compare=False)
    ref: Any = field(default=None, compare=False)
    child: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Stopped(Effect):
    """An actor was stopped: `await ref.stop()`."""

    ref: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Killed(Effect):
    """An actor was killed: `await ref.kill()`."""

    ref: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Linked(Effect):
    """Two actors were linked: `ref.link(other)`."""

    ref: ActorRef[Any]
    other: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Unlinked(Effect):
    """Two actors were unlinked: `ref.unlink(other)`."""

    ref: ActorRef[Any]
    other: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Monitored(Effect):
    """The end of an actor is waited for: `await runtime.monitor(ref)`."""

    ref: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Cancelled(Effect):
    """A task was cancelled: `await ref.cancel(reason)`."""

    ref: TaskRef[Any]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reprioritized(Effect):
    """A task was given another priority: `await ref.set_priority(priority)`."""

    ref: TaskRef[Any]
    priority: int


@dataclass(frozen=True, slots=True)
class ShutDown(Effect):
    """The runtime was told to shut down."""


# ----------------------------------------------------------------------------------------- time and resources


@dataclass(frozen=True, slots=True)
class TimerSet(Effect):
    """A timer of the actor was set.

    Attributes:
        delay: After how many seconds it sends its message; of a periodic one, also how often.
        handler: The name of the handler that it is for; given as the handler itself, it becomes that.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        periodic: Whether it was set by `every`.
        key: What it is replaced by; None if it cannot be.
    """

    delay: float
    handler: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=_nothing)
    periodic: bool = False
    key: object = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "handler", handler_name(self.handler))


@dataclass(frozen=True, slots=True)
class TimerCancelled(Effect):
    """A timer was cancelled by its `cancel`. Nothing is recorded for one that is replaced by its key."""

    timer: TimerSet


@dataclass(frozen=True, slots=True)
class Slept(Effect):
    """So many seconds were to pass: recorded when the sleep begins."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Acquired(Effect):
    """Resources are held from here on."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Released(Effect):
    """Resources are not held any more."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reported(Effect):
    """A task has said how far it is."""

    fraction: float
    message: str | None = None


# ----------------------------------------------------------------------------------------------------- errors


class _OfError(Effect):
    """An error, equal to another one of the same type and with the same arguments.

    Written down as a class, it is equal to any error of that class.
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException | type[BaseException]) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.error!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, _OfError)
        return _same(self.error, other.error) or _same(other.error, self.error)

    __hash__ = None  # type: ignore[assignment]  # what is equal to a class and to its instances has no hash


def _same(wanted: object, error: object) -> bool:
    if wanted == error or (isinstance(wanted, type) and isinstance(error, wanted)):
        return True
    return (
        isinstance(wanted, BaseException)
        and isinstance(error, BaseException)
        and type(wanted) is type(error)
        and wanted.args == error.args
    )


class Raised(_OfError):
    """Whoever waits is told of this error: who asked, or who awaits the task. Of `on_stop`: the log is."""

    __slots__ = ()


class Failed(_OfError):
    """The supervisor is told of this error, which ends the present life of the actor."""

    __slots__ = ()

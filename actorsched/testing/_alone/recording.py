"""What came of a piece of code that ran alone: its effects in their order, and how it ended.

The law of this module: it keeps, compares and hands on what the test wants of the code. It runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from actorsched.exceptions import shown
from actorsched.messages import ExitReason
from actorsched.testing.effects import Asked, Effect, Failed, Reported, Spawned, TimerSet, Told

__all__ = ["Control", "Effects", "Logged"]

E = TypeVar("E", bound="Effect")


class Logged(NamedTuple):
    """What was written to `current().log`.

    Attributes:
        level: As in `logging`.
        message: With its arguments put in.
    """

    level: int
    message: str


class Control(Protocol):
    """Who runs the code whose effects are recorded."""

    @property
    def waits_for(self) -> str | None:
        """What it waits for now, in words; None if it does not."""
        ...

    def cancel(self) -> None:
        """Nobody wants it any more."""
        ...

    def demand(self, count: int) -> None:
        """So many more items of its stream are wanted."""
        ...

    def close(self) -> None:
        """Its stream is not wanted any more."""
        ...


class Effects(Sequence[Effect]):
    """What came of one message, hook, task or span of time: effects in their order, and how it ended.

    It grows while the code goes on: after it waited, when the test has answered. A list of effects is equal
    to it when all of them are.

    Attributes:
        title: Whose they are, for people.
        done: Whether the code has ended, its deferred calls with it.
        items: What a streaming handler has yielded.
        logs: What was written to `current().log`.
        deferred: What was deferred, as (function, arguments); it is called when the code ends.
    """

    def __init__(self, title: str, control: Control | None = None) -> None:
        self.title = title
        self.done = control is None
        self.items: list[Any] = []
        self.logs: list[Logged] = []
        self.deferred: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._control = control
        self._effects: list[Effect] = []
        self._value: Any = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        if not self.done:
            end = f", waiting for {self.waiting_for}" if self.waiting_for else ", not begun"
        else:
            end = f", raised {self._error!r}" if self._error is not None else ""
        return f"<{self.title}: {self._effects!r}{end}>"

    def __len__(self) -> int:
        return len(self._effects)

    @overload
    def __getitem__(self, index: int) -> Effect: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Effect]: ...
    def __getitem__(self, index: int | slice) -> Effect | Sequence[Effect]:
        return self._effects[index]

    def __iter__(self) -> Iterator[Effect]:
        return iter(self._effects)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Effects):
            return self._effects == other._effects
        return self._effects == list(other) if isinstance(other, (list, tuple)) else NotImplemented  # pyright: ignore[reportUnknownArgumentType]  # of anything

    __hash__ = None  # type: ignore[assignment]  # it grows

    @property
    def value(self) -> Any:
        """What the code has returned.

        Raises:
            RuntimeError: It has not ended; the message says what it waits for.
            BaseException: What it has raised instead.
        """
        self._ended("value")
        if self._error is not None:
            raise self._error
        return self._value

    @property
    def error(self) -> BaseException | None:
        """What the code has raised, for whoever waits for it or for the supervisor; None if it has returned.

        Raises:
            RuntimeError: It has not ended; the message says what it waits for.
        """
        self._ended("error")
        return self._error

    @property
    def failure(self) -> ExitReason | None:
        """What the supervisor is told: why the life of the actor ends here. None if it goes on."""
        for effect in self.of(Failed):
            assert isinstance(effect.error, BaseException)
            return ExitReason("failed", effect.error)
        return None

    @property
    def waiting_for(self) -> str | None:
        """What the code waits for now, in words; None if it does not."""
        return None if self.done or self._control is None else self._control.waits_for

    def of(self, kind: type[E]) -> list[E]:
        """Those of one kind, in their order."""
        return [effect for effect in self._effects if isinstance(effect, kind)]

    @property
    def told(self) -> list[Told]:
        """The messages that were told."""
        return self.of(Told)

    @property
    def asked(self) -> list[Asked]:
        """The messages that were asked, answered or not."""
        return self.of(Asked)

    @property
    def spawned(self) -> list[Spawned]:
        """The actors and tasks that were spawned."""
        return self.of(Spawned)

    @property
    def timers(self) -> list[TimerSet]:
        """The timers that were set."""
        return self.of(TimerSet)

    @property
    def reports(self) -> list[Reported]:
        """How far a task has said to be."""
        return self.of(Reported)

    def cancel(self) -> None:
        """Cancel the code, as if whoever waits for it were cancelled: it is raised where it waits.

        Harmless when it has ended. A message that has not begun is taken back.
        """
        if self._control is not None and not self.done:
            self._control.cancel()

    def demand(self, count: int = 1) -> list[Any]:
        """Ask for items of a streamed reply.

        Args:
            count: How many.

        Returns:
            The items that came; fewer, if the generator has ended, waits for something, or does not have
            its turn.

        Raises:
            TypeError: It is no stream, or the count is no int.
            ValueError: The count is less than 1.
        """
        if not isinstance(count, int) or isinstance(count, bool):
            raise TypeError(f"count={shown(count)} is of type {type(count).__name__}; give an int")
        if count < 1:
            raise ValueError(f"count={count} asks for nothing; give 1 or more")
        before = len(self.items)
        self._stream().demand(count)
        return self.items[before:]

    def close(self) -> None:
        """Leave the loop over a streamed reply: its generator is closed when it has its turn.

        Raises:
            TypeError: It is no stream.
        """
        self._stream().close()

    def _stream(self) -> Control:
        if self._control is None:
            raise TypeError(f"{self.title} has no streamed reply, so it has no items")
        return self._control

    def _ended(self, what: str) -> None:
        if not self.done:
            state = f"it waits for {self.waiting_for}" if self.waiting_for else "it has not begun"
            raise RuntimeError(f"the {what} of {self.title} is not known yet: {state}")

    # ----------------------------------------------------------------------------- by whoever runs the code

    def _add(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _end(self, value: Any, error: BaseException | None) -> None:
        self.done = True
        self._value, self._error = value, error

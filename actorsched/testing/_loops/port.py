"""What a simulated loop and its world want of each other.

The law of this module: it is a port. There are two loops, that of asyncio and that of trio, and one world.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, Final, Protocol

_CLOSINGS: Final = 10
"""How often code is closed that awaits something once more."""


class Next(Enum):
    """What a loop is to do that has nothing to do."""

    LOOK = "look"
    """Look again: something has been made ready, or time has moved on."""
    TIMERS = "timers"
    """Let its own timers expire that are due now."""
    WAIT = "wait"
    """Wait in real time: a thread that is none of ours is at work."""


class GivenUp(BaseException):
    """A run has failed, and what is left of it does not end: the loop goes no further."""


class Steered(Protocol):
    """A world, as its loop sees it.

    Attributes:
        logs: Whether it wants to hear of each step.
        given_up: Whether the loop is to go no further: in the place of its next turn it raises `GivenUp`.
    """

    logs: bool
    given_up: bool

    @property
    def now(self) -> float:
        """The present time."""
        ...

    def choose(self, members: Sequence[int], /) -> int:
        """Which of these tasks takes the next step: an index."""
        ...

    def step_taken(self, task: int, /) -> None:
        """A task of the loop has taken a step."""
        ...

    def step_of(self, task: Any, /) -> None:
        """The same, for the log: the task itself."""
        ...

    def idle(self, loop_due: float | None, /, *, foreign: bool) -> Next:
        """Nothing is ready in the loop.

        Args:
            loop_due: When the first of the loop's own timers is due; None if there is none.
            foreign: Whether a thread that is none of ours is at work.
        """
        ...

    def unhandled(self, error: BaseException, /) -> None:
        """An exception has reached nobody."""
        ...


class Loop(Protocol):
    """A loop, as its world sees it.

    Attributes:
        main: The main task; None before it has begun.
    """

    main: Any

    def interrupt(self) -> None:
        """Cancel the main task, wherever it waits; once it is over, or ignores that, whatever is left."""
        ...

    def present_number(self) -> int:
        """The number of the task that runs now, as `choose` knows it."""
        ...

    def others_ready(self) -> bool:
        """Whether anything but what runs now could run."""
        ...

    def left(self) -> list[Any]:
        """The tasks that are not over, but for the main one."""
        ...

    def unobserved(self) -> list[Any]:
        """The tasks that have failed, and at whose exception nobody has looked."""
        ...


def close(code: Any) -> None:
    """End code that nobody steps any more, and first what it awaits, where it believes that it is stepped.

    Code that nothing ends is never freed, not even when the interpreter ends: it would be closed once more,
    and where nothing can be awaited `while True: try: ... except BaseException: pass` never comes back.
    """
    inner = getattr(code, "cr_await", None) or getattr(code, "gi_yieldfrom", None)
    if hasattr(inner, "close"):
        close(inner)
    for _ in range(_CLOSINGS):
        try:
            code.close()
            return
        except BaseException:  # what it raises at its end, or that it awaits something once more
            pass
    from ctypes import py_object, pythonapi

    pythonapi.Py_IncRef(py_object(code))


Main = Callable[[Loop], Awaitable[None]]
"""What runs as the main task; it is given its loop."""

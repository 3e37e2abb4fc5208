"""Where the runtime's time comes from.

A clock tells the time and promises to call back when a time has come. The kernel keeps the timers
itself (`_core.timers`) and asks the clock for the earliest only, so that a clock is two methods; a test
that owns its clock implements them with a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from actorsched._kernel.backend import Backend, Handle


class Clock(Protocol):
    """A source of time for a `Runtime`. Seconds, never running backwards."""

    def now(self) -> float:
        """The present time."""
        ...

    def call_at(self, when: float, function: Callable[[], object], /) -> Handle:
        """Call `function` on the runtime's thread as soon as `now()` has reached `when`."""
        ...


class RealClock:
    """The event loop's own clock."""

    __slots__ = ("call_at", "now")

    def __init__(self, backend: Backend) -> None:
        self.now = backend.monotonic
        self.call_at = backend.call_at

    def __repr__(self) -> str:
        return f"<RealClock at {self.now():.3f}>"

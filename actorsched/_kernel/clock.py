"""Where the runtime's time comes from.

A clock tells the time and promises to call back when a time has come. The kernel keeps the timers
itself (`_core.timers`) and asks the clock for the earliest only, so that a clock is two methods; a test
that owns its clock implements them with a number.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
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
    """The monotonic clock of the machine, which all of its processes share.

    Not the event loop's: that of uvloop is looked at once per turn, and counts milliseconds.
    """

    __slots__ = ("_backend",)

    now = staticmethod(monotonic)

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __repr__(self) -> str:
        return f"<RealClock at {self.now():.3f}>"

    def call_at(self, when: float, function: Callable[[], object], /) -> Handle:
        """Call `function` as soon as `now()` has reached `when`, or a moment before."""
        backend = self._backend
        return backend.call_at(backend.monotonic() + max(0.0, when - monotonic()), function)

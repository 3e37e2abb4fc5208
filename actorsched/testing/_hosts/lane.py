"""One direction of what a host and its runtime say to each other.

The law of this module: what is put in comes out at the other end, in the same order, never at once, and not
before its time. It knows nothing of what that is. A lane that is closed off keeps what is in it.
"""

from __future__ import annotations

from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._kernel.backend import Backend

_AT_ONCE = float("-inf")


class Lane:
    """A queue whose head is delivered by the loop.

    Args:
        backend: The loop.
        deliver: Told what arrives, in a context of its own: never in that of whoever has put it in.

    Attributes:
        shut: Whether nothing is delivered now.
    """

    __slots__ = ("_backend", "_called", "_deliver", "_queue", "shut")

    def __init__(self, backend: Backend, deliver: Callable[[Any], None]) -> None:
        self._backend = backend
        self._deliver = deliver
        self._queue: deque[tuple[float, Any]] = deque()
        self._called = False
        self.shut: bool = False

    def __repr__(self) -> str:
        return f"<Lane with {len(self._queue)}>"

    def put(self, item: Any, lag: float = 0.0) -> None:
        """Deliver it soon, or after so many seconds; and after what is there already."""
        self._queue.append((self._backend.monotonic() + lag if lag else _AT_ONCE, item))
        self._call()

    def put_back(self, item: Any, lag: float = 0.0) -> None:
        """The same, but before all others: it has been delivered, and is to be once more."""
        self._queue.appendleft((self._backend.monotonic() + lag, item))
        self._call()

    def open(self) -> None:
        """Deliver again."""
        self.shut = False
        self._call()

    def _call(self) -> None:
        if self._called or self.shut or not self._queue:
            return
        self._called = True
        when = self._queue[0][0]
        if when > self._backend.monotonic():
            self._backend.call_at(when, self._come)
        else:
            self._backend.call_soon(Context().run, self._come)

    def _come(self) -> None:
        self._called = False
        if self.shut or not self._queue:
            return
        if self._queue[0][0] > self._backend.monotonic():  # something was put before it meanwhile
            return self._call()
        _, item = self._queue.popleft()
        self._call()
        self._deliver(item)

"""The Announcer actor: calls what users have attached to the ends of tasks, or want called in the loop.

The law of this module: users' code is called in the middle of nothing, that is, when no message is in
transit, and in the order in which the tasks have settled; an error of it is logged and stops nobody.

How it works: a `Call` stands among those who wait for a task, where it looks like somebody who waits for an
answer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched.exceptions import RuntimeClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._kernel.kernel import Kernel


class Announce(msgspec.Struct, frozen=True):
    """To itself: make the calls that are due."""


_ANNOUNCE = Announce()


class Announcer(Behaviour, kw_only=True):
    """The calls of one runtime that are due."""

    at_rest: Callable[[tuple[Behaviour, object]], None]
    due: deque[Call] = msgspec.field(default_factory=lambda: deque())

    def __repr__(self) -> str:
        return f"<announcer with {len(self.due)} calls>"

    def add(self, call: Call) -> None:
        """The task of this call has settled."""
        self.due.append(call)
        if len(self.due) == 1:  # otherwise that was said before
            self.at_rest((self, _ANNOUNCE))

    def flush(self, kernel: Kernel) -> None:
        """Make the calls now: in virtual time, the instant in which the runtime closes may have no end."""
        if self.due:
            kernel.post(self, _ANNOUNCE)

    @handles(Announce)
    def _announce(self, message: Announce, out: Outbox) -> None:
        due = self.due
        try:
            for _ in range(len(due)):
                call = due.popleft()
                try:
                    call.function(call.ref)
                except Exception:  # of a user: the runtime goes on
                    _log_failure("what was to be called at the end of %r failed", call.ref)
        finally:
            if due:
                self.at_rest((self, _ANNOUNCE))

    def check(self) -> None:
        """The calls are its own."""
        require(all(call._announcer is self for call in self.due), self, "the calls that are due are its own")

    def check_at_rest(self) -> None:
        """The same; and none is left: they are made as soon as nothing is in transit."""
        self.check()
        require(not self.due, self, "all calls that were due have been made")


class Call:
    """A function to be called when a task has settled: it looks like a `Reply`."""

    __slots__ = ("_announcer", "function", "ref")

    def __init__(self, announcer: Announcer, function: Callable[[Any], object], ref: Any) -> None:
        self._announcer = announcer
        self.function = function
        self.ref = ref

    def __repr__(self) -> str:
        return f"<call of {self.function!r} at the end of {self.ref!r}>"

    def done(self) -> bool:
        """It waits until it is told."""
        return False

    def set_result(self, value: object, /) -> None:
        """The task has settled."""
        self._announcer.add(self)


def call_threadsafe(kernel: Kernel, function: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Have a function of a user called soon in the runtime's thread.

    Raises:
        TypeError: It cannot be called.
        RuntimeClosed: The runtime has closed, or its loop has.
    """
    if not callable(function):
        raise TypeError(f"function={function!r} cannot be called; give a plain function and its arguments")
    if kernel.closed:
        raise _closed(function)
    claim = [function]  # should it close meanwhile, whoever takes it out first decides what becomes of it
    loop_closed: RuntimeError | None = None
    try:
        kernel.call_threadsafe(_called, claim, args)
    except RuntimeError as error:
        loop_closed = error
    if kernel.closed or loop_closed is not None:
        try:
            claim.pop()
        except IndexError:  # it was called
            return
        raise _closed(function) from loop_closed


def _closed(function: Callable[..., object]) -> RuntimeClosed:
    return RuntimeClosed(
        f"{function!r} was not called in the runtime's thread, because the runtime has closed; "
        "call it while the runtime is open"
    )


def _called(claim: list[Callable[..., object]], args: tuple[Any, ...]) -> None:
    try:
        function = claim.pop()
    except IndexError:  # whoever asked for it was told that it would not be called
        return
    try:
        function(*args)
    except Exception:  # of a user: the runtime goes on
        _log_failure("%r, called in the thread of the runtime, failed", function)


def _log_failure(text: str, what: object) -> None:
    """Write down the error that is being handled."""
    import logging  # whoever starts quickly has no use for it yet

    logging.getLogger("actorsched").error(text, what, exc_info=True)  # noqa: LOG014 # its caller handles it

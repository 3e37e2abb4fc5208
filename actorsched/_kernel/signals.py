"""SIGINT and SIGTERM as a cancellation: for programs that hand their main function over to us.

The first signal cancels the main function, which then ends in order. A second SIGINT gives up on order: the
runtimes end by force what they have not ended yet. A third one, or a SIGTERM after any other, ends the
process.

Nothing is ever raised where the program happens to be. A `KeyboardInterrupt` in the middle of a conversation
between the system's actors would leave it half-done, and there is no place in a program where it could not
come. So the handlers only take notes and wake the event loop, which acts on them between two turns. That they
come by Python's own `signal`, and not by the loop, has a reason: code that keeps the loop from its next turn
keeps it from any signal, too, and the third one must end that as well.

One more signal may be named by whoever wants to look at what the program does: it is followed in the same
way, between two turns of the loop, but cancels nothing (`_kernel.looking`).

They are in place before the loop starts and after it has ended: what the loops do at a SIGINT of their own
accord is to raise.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from anyio import CancelScope

from actorsched._kernel.choose import running_backend
from actorsched._kernel.looking import show_all

if TYPE_CHECKING:
    from types import FrameType

T = TypeVar("T")

HURRIED: set[Callable[[], object]] = set()
"""What is called on the loop's thread when somebody is in a hurry: how runtimes there end by force."""

_HURRY = 2
"""That many signals mean that somebody is in a hurry."""
_TURNS = 5
"""How many turns of the loop a cancellation has to get around."""
_SIGNALS = [signal.SIGINT] if sys.platform == "win32" else [signal.SIGINT, signal.SIGTERM]


class Signals:
    """The signals that come within a `with` block; none do in another thread than the main one."""

    def __init__(self, look: int | None = None) -> None:
        self._look = look
        """The signal that cancels nothing: whoever sends it wants to see what there is."""
        self._looks = False
        """Whether somebody wants to."""
        self._received: list[int] = []
        self._followed = 0
        """How many of them the loop has seen."""
        self._before: dict[int, Any] = {}
        self._wake: Callable[[Callable[[], object]], object] | None = None
        self._scope: CancelScope | None = None
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        return f"<signals: {self._received}>"

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)
            if self._look is not None:
                self._before[self._look] = signal.signal(self._look, self._note_look)
        return self

    def __exit__(self, *details: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    async def guard(self, main: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> list[T]:
        """Run `main(*args)`; a signal cancels it.

        Returns:
            What it returned; nothing when a signal has ended it.

        Raises:
            BaseException: What `main` raised, unless it was ended by force.
        """
        result: list[T] = []
        try:
            with CancelScope() as self._scope:
                self._wake = running_backend().call_soon_threadsafe
                self._follow()  # some may have come already
                self._show()
                result.append(await main(*args))
        except Exception as error:
            if self._followed < _HURRY:
                raise
            self._failure = error  # of something that was ended by force
        finally:
            self._wake = None
        return result

    def raise_for(self) -> NoReturn:
        """Say that a signal has ended it.

        Raises:
            KeyboardInterrupt: SIGINT has.
            SystemExit: SIGTERM has.
        """
        how = SystemExit(143) if signal.SIGTERM in self._received else KeyboardInterrupt()
        raise how from self._failure

    @property
    def unheard(self) -> bool:
        """Whether one came too late to cancel anything."""
        return self._followed < len(self._received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Called anywhere in the main thread, between any two instructions."""
        self._received.append(number)
        if sys.platform != "win32":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._received.count(signal.SIGINT) and len(self._received) > 1:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._wake is not None:
            self._wake(self._follow)

    def _note_look(self, number: int, frame: FrameType | None) -> None:
        """The same, for who wants to see what there is."""
        self._looks = True
        if self._wake is not None:
            self._wake(self._show)

    def _show(self) -> None:
        """Called by the loop."""
        if self._looks:
            self._looks = False
            show_all()

    def _follow(self) -> None:
        """Called by the loop."""
        before, self._followed = self._followed, len(self._received)
        if before == self._followed or self._scope is None:
            return
        self._scope.cancel()
        if self._followed >= _HURRY:
            self._hurry(_TURNS if before == 0 else 0)

    def _hurry(self, turns: int) -> None:
        """What has just been cancelled hears of that first: it should end by that, and not by an error."""
        if turns and self._wake is not None:
            self._wake(partial(self._hurry, turns - 1))
            return
        for hurry in list(HURRIED):
            hurry()

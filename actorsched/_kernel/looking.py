"""A look at what a program does, on a signal: which signals may ask for it, and how it is written down.

The law of this module: nothing is disturbed by a look. It is taken by the loop, between two turns, and
written to standard error by a thread of its own, so that a terminal that has stopped scrolling keeps nobody
waiting.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from select import select
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SHOWN", "checked_look", "show_all"]

SHOWN: dict[Callable[[], str], int] = {}
"""What answers with what a runtime looks like, and the thread of its loop."""

_ENDS: Final = "it ends the program in order"
_CRASHES: Final = "it means that the program has crashed"
_TAKEN: Final = {
    "SIGINT": _ENDS,
    "SIGTERM": _ENDS,
    "SIGKILL": "it ends every program at once",
    "SIGSTOP": "it stops every program at once",
    "SIGCHLD": "it is how event loops hear of child processes",
    "SIGPIPE": "it is how a write fails that nobody reads",
    **dict.fromkeys(("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"), _CRASHES),
}
"""The signals that stand for something else already, and for what."""
_REMEDY: Final = "give for example signal.SIGUSR1, or None"
_PLAIN: Final = str.maketrans({"│": "|", "├": "|", "└": "`", "─": "-", "·": "-", "…": "~"})
"""For terminals that know no box characters."""


def checked_look(number: object) -> int | None:
    """The signal by which a program is looked at, checked; None for none.

    Raises:
        TypeError: It is no signal and no number.
        ValueError: There is no such signal, or it has a meaning already, or cannot be handled.
        RuntimeError: No signal comes to this thread.
    """
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"tree_on={number!r} is no signal; {_REMEDY}")
    if number not in signal.valid_signals():
        raise ValueError(f"tree_on={number!r} is the number of no signal here; {_REMEDY}")
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if name in _TAKEN:
        raise ValueError(f"tree_on={name} cannot be used: {_TAKEN[name]}; {_REMEDY}")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            f"tree_on={name} cannot be used here: signals come to the main thread only; "
            "call run there, or leave it out and print rt.tree() where it is wanted"
        )
    return int(number)


def show_all() -> None:
    """Show every runtime whose loop runs in this thread."""
    here = threading.get_ident()
    shown = [_shown(show) for show, thread in list(SHOWN.items()) if thread == here]
    _write_aside("\n".join(shown) if shown else "no Runtime of actorsched is entered now")


def _shown(show: Callable[[], str]) -> str:
    try:
        return show()
    except Exception as error:  # whatever it is, it must not harm who was only looked at
        return f"a Runtime of actorsched cannot be shown: {type(error).__name__}: {error}"


def _write_aside(text: str) -> None:
    """Write to standard error, and wait for nobody who reads it."""
    stream: TextIO | None = sys.stderr
    original: object = sys.__stderr__
    if stream is None:  # as where there is no terminal at all
        return
    if stream is not original:  # somebody has taken its place, and shows in a way of his own what comes
        stream.write(f"{text}\n")
        return
    try:
        data = f"{text}\n".encode(stream.encoding)
    except UnicodeEncodeError:
        data = f"{text}\n".translate(_PLAIN).encode(stream.encoding, "backslashreplace")
    _PEN.write(stream.fileno(), data)


class Pen:
    """Writes in a thread of its own. What has to wait is replaced by what comes after it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: tuple[int, bytes] | None = None
        self._busy = False

    def __repr__(self) -> str:
        return f"<pen {'in use' if self._busy else 'at rest'}>"

    def write(self, descriptor: int, data: bytes) -> None:
        """Have something written."""
        with self._lock:
            self._next = descriptor, data
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._run, name="actorsched tree", daemon=True).start()

    def _run(self) -> None:
        while (order := self._taken()) is not None:
            _write(*order)

    def _taken(self) -> tuple[int, bytes] | None:
        with self._lock:
            order, self._next = self._next, None
            self._busy = order is not None
            return order


_PEN: Final = Pen()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another program may have told the terminal that nobody wants to wait
            select([], [descriptor], [])
        except OSError:  # nobody reads it any more
            return

"""The terminal of the program, which one host after the other has for a debugger.

The law of this module: it is the parent's half of `breakpoint()` in a host; what the host does is told in
`breakpoints`. It lends the terminal and takes it back, and says how long a host was debugged. It never waits
and reads nothing: what is typed is the host's.

How it works: each host has a process group of its own, and a terminal listens to one group, the one in the
*foreground*: its Ctrl-C goes there, and nobody else may read. So whoever debugs needs more than a lock: it
has to be put there, and when it is killed, the program has to be put there again by somebody who outlives
it. A lock that the hosts keep among themselves would save the question but not that, nor would it have an
order. So a host says `Halted`, and looks until it is in the foreground; that is the answer. When its session
is over it puts the program there itself, before it says `WentOn`: had it to wait for that to be heard here,
its next breakpoint would take the terminal for granted.

A program that is not in the foreground itself (because it was started with `&`, or because a host of another
program is being debugged at the same terminal, as with pytest-xdist) has nothing to lend. Its hosts wait
until it is, as any program would that wants to read.
"""

from __future__ import annotations

import os
import signal
import termios
from collections import deque
from contextlib import contextmanager
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

    from actorsched._hosting.wire import Halted
    from actorsched._kernel.backend import Backend

_LOOK = 0.2
"""Seconds between two looks whether the program is in the foreground, while a host waits for that."""
_LEAST = 1.0
"""Seconds for which a timeout that runs out amid a session is put off at least."""


class Debugged:
    """One host whose code has come to a breakpoint, now or before.

    Args:
        name: What to call it,
        pid: and its process id, which is that of its group, too.
        backend: The event loop of its runtime.

    Attributes:
        halted: Whether it is at a breakpoint, or steps on from one.
        who: Whose code is.
    """

    def __init__(self, name: str, pid: int, backend: Backend) -> None:
        self.name = name
        self.pid = pid
        self.backend = backend
        self.halted = False
        self.who = ""
        self._origin = 0
        self._since = 0.0
        self._unclaimed = 0.0

    def __repr__(self) -> str:
        return (
            f"<{self.name}, process {self.pid}: {self.who} {'is' if self.halted else 'was'} at a breakpoint>"
        )

    def halt(self, frame: Halted) -> None:
        """It is at a breakpoint."""
        if frame.origin != self._origin:
            self._origin, self._unclaimed = frame.origin, 0.0
        self.who = frame.who
        self.halted, self._since = True, monotonic()
        TERMINAL.lend(self)

    def go_on(self) -> None:
        """It goes on, or has ended."""
        if self.halted:
            self._count()
            self.halted = False
            TERMINAL.take_back(self)

    def claim(self, origin: int) -> float:
        """For how many seconds a task was debugged, since somebody last asked.

        Args:
            origin: Its number there.
        """
        if origin != self._origin:
            return 0.0
        if self.halted:
            self._count()
        claimed, self._unclaimed = self._unclaimed, 0.0
        return max(claimed, _LEAST) if self.halted else claimed

    def _count(self) -> None:
        now = monotonic()
        self._unclaimed += now - self._since
        self._since = now


class Terminal:
    """The controlling terminal of this process. Hosts of all its runtimes share it."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._waiting: deque[Debugged] = deque()
        self._lent_to: Debugged | None = None
        self._descriptor = -1
        self._modes: list[Any] = []
        self._dispositions: dict[int, Any] = {}
        self._looks = False

    def __repr__(self) -> str:
        return f"<Terminal lent to {self._lent_to!r}, {len(self._waiting)} wait>"

    def lend(self, host: Debugged) -> None:
        """A host wants it: it gets it in its turn."""
        with self._lock:
            self._waiting.append(host)
            self._serve()

    def take_back(self, host: Debugged) -> None:
        """A host does not want it any more, or has ended."""
        with self._lock:
            if host in self._waiting:
                self._waiting.remove(host)
            if host is self._lent_to:
                self._lent_to = None
                self._restore(host)
            self._serve()

    def _serve(self) -> None:
        if self._lent_to is None and self._waiting:
            if self._hand_over(self._waiting[0]):
                self._lent_to = self._waiting.popleft()
            elif not self._looks:
                self._looks = True
                self._look_later(self._waiting[0].backend)

    def _look_later(self, backend: Backend) -> None:
        backend.call_at(backend.monotonic() + _LOOK, self._look)

    def _look(self) -> None:
        with self._lock:
            self._looks = False
            self._serve()

    def _hand_over(self, host: Debugged) -> bool:
        """Put a host in the foreground. False: the program itself is not there."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
            terminal = self._descriptor
            if os.tcgetpgrp(terminal) != os.getpgrp():
                return False
            self._modes = termios.tcgetattr(terminal)
            termios.tcsetattr(terminal, termios.TCSANOW, _ordinary(self._modes))
            others = f"; {len(self._waiting) - 1} more wait" if len(self._waiting) > 1 else ""
            os.write(terminal, f"\n{host.name}, process {host.pid}: {host.who} halts{others}\n".encode())
            os.tcsetpgrp(terminal, host.pid)
        except (OSError, termios.error):  # the host has just ended, which will be told; or the terminal has
            return False
        self._ignore_stops()
        return True

    def _restore(self, host: Debugged) -> None:
        """Put the program where the host was, should that not have done so itself, and leave no trace."""
        terminal, self._descriptor = self._descriptor, -1
        try:
            with _not_stopped():
                if os.tcgetpgrp(terminal) in (
                    host.pid,
                    0,
                ):  # the group of one that has ended may be no number
                    os.tcsetpgrp(terminal, os.getpgrp())
                if os.tcgetpgrp(terminal) == os.getpgrp():
                    termios.tcsetattr(terminal, termios.TCSANOW, self._modes)
        except (OSError, termios.error):  # the terminal has gone
            pass
        os.close(terminal)
        self._heed_stops()

    def _ignore_stops(self) -> None:
        """A program that reads from its terminal while a host has it would be stopped: an error is better."""
        try:
            for number in (signal.SIGTTIN, signal.SIGTTOU):
                self._dispositions[number] = signal.signal(number, signal.SIG_IGN)
        except ValueError:  # only the main thread can arrange for that
            pass

    def _heed_stops(self) -> None:
        try:
            while self._dispositions:
                number, disposition = self._dispositions.popitem()
                signal.signal(number, signal.SIG_DFL if disposition is None else disposition)
        except ValueError:  # as before
            pass


def _ordinary(modes: list[Any]) -> list[Any]:
    """The modes in which a line can be typed, whatever the program has made of its terminal."""
    changed = list(modes)
    changed[0] |= termios.ICRNL
    changed[1] |= termios.OPOST
    changed[3] |= termios.ICANON | termios.ECHO | termios.ISIG
    return changed


@contextmanager
def _not_stopped() -> Generator[None]:
    """Let this thread use the terminal from the background."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


TERMINAL = Terminal()
"""That of this process."""

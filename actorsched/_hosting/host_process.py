"""One host process, from the request for it until its end, as the parent sees it.

The law of this module: it sends signals to one process, and learns how it ended. It knows neither frames nor
how the spawner is talked to.

How it works: until the process is known it has no number, and what is wanted of it is remembered: to kill it
is to cut its lifeline, on which it hangs before it does anything else. A host that has ended stays a zombie
until `close`, so its number cannot be anybody else's before that. When its spawner has died, the system reaps
it at once; then its end is watched from here, and how it ended is never learned.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Protocol

from actorsched._hosting import endings
from actorsched._hosting.lifeline import cut

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from actorsched._hosting.endings import EndWatch
    from actorsched._hosting.exits import Cause
    from actorsched._kernel.backend import Backend


class Keeper(Protocol):
    """The spawner, as its hosts know it."""

    def ask_after(self) -> None:
        """Find out whether the spawner is able to tell of ends."""

    def reap(self, pid: int) -> None:
        """This process has ended, and its number is not needed any more."""

    def not_wanted(self) -> None:
        """One that was asked for was killed before it was known."""


def _nobody() -> None:
    """Nobody listens yet."""


class HostProcess:
    """One host process.

    Args:
        keeper: Its spawner.
        number: What requests and answers call it.
        given: The descriptors that it is to have, by name.
        theirs: Closes those of them that only the host needs.
        lifeline: The write end of its lifeline.

    Attributes:
        pid: Its process id; 0 as long as it is not known.
        status: Its exit code or minus the signal, once it has ended; None if that is unknown.
        refusal: Why there never was a process, if that is so.
        tries: How many times it has been asked for.
        on_end: Called once, when it has ended.
    """

    __slots__ = (
        "_keeper",
        "_lifeline",
        "_orphan",
        "_stopped",
        "_theirs",
        "ended",
        "given",
        "number",
        "on_end",
        "pid",
        "refusal",
        "status",
        "tries",
    )

    def __init__(
        self, keeper: Keeper, number: int, given: dict[str, int], theirs: ExitStack, lifeline: int
    ) -> None:
        self._keeper = keeper
        self._theirs = theirs
        self._lifeline: int | None = lifeline
        self._stopped = False
        self._orphan: EndWatch | None = None
        self.number = number
        self.given = given
        self.pid = 0
        self.ended = False
        self.status: int | None = None
        self.refusal: tuple[Cause, str] | None = None
        self.tries = 0
        self.on_end: Callable[[], object] = _nobody

    def __repr__(self) -> str:
        state = "ended" if self.ended else "alive" if self.pid else "killed" if self.killed else "asked for"
        return f"<HostProcess {self.pid or '(no number yet)'}: {state}>"

    # --------------------------------------------------------------------------------------- for the link

    def signal(self, number: int) -> None:
        """Send a signal to its process group; if there is none yet, remember it."""
        if self.pid:
            if not (self._orphan and self.ended) or endings.has_ended(self.pid):
                _signal_group(self.pid, number)
            if number == signal.SIGKILL:
                self.ask_after()
        elif number == signal.SIGKILL:
            self._cut()
            if not self.ended:
                self._keeper.not_wanted()
        else:
            self._stopped = number == signal.SIGSTOP

    def ask_after(self) -> None:
        """It seems to have ended: see to it that this is told."""
        if self._orphan is None and not self.ended:
            self._keeper.ask_after()

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, though nobody may have told."""
        return self.ended or (self.pid != 0 and endings.has_ended(self.pid))

    @property
    def killed(self) -> bool:
        """Whether it was killed before it was known."""
        return self._lifeline is None

    def close(self) -> None:
        """Nobody needs it any more: it has ended."""
        if self._orphan is not None:
            self._orphan.close()
        elif self.pid:
            self._keeper.reap(self.pid)
        self._cut()

    def _cut(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            cut(lifeline)

    # ------------------------------------------------------------------------------------ for the spawner

    def is_there(self, pid: int) -> None:
        """The process is known, and has its descriptors."""
        if not self.pid:
            self.pid = pid
            if self._stopped:
                _signal_group(pid, signal.SIGSTOP)
        self._theirs.close()

    def has_died(self, pid: int, status: int | None) -> None:
        """It has ended like this."""
        if not self.ended:
            self.pid = self.pid or pid
            self.ended = True
            self.status = status
            self._theirs.close()
            self.on_end()

    def is_refused(self, why: str) -> None:
        """There will be no process."""
        self.refusal = "never started", f"could not be started: {why}"
        self.has_died(0, None)

    def is_orphaned(self, backend: Backend) -> None:
        """Its spawner has died: watch its end from here."""
        self._orphan = endings.watch_end(backend, self.pid, self._orphan_has_died)

    def _orphan_has_died(self) -> None:
        self.has_died(self.pid, None)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:  # there is nobody left in its group, or nobody that is ours
        pass

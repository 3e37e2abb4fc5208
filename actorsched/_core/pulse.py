"""Whether a host process still goes on, as far as the system can tell: its heartbeat.

The law of this module: it judges what several looks at one process have shown. It looks at nothing itself.

How it works: a process that is busy answers nobody for as long as it likes; that is no fault. One that a
signal has stopped, and not ours, does nothing at all, and may never go on: at the first such look it is
suspected, and when it has been found like that for `PATIENCE` it is lost. A debugger may hold it for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from actorsched._core.load import HostState

__all__ = ["PATIENCE", "Pulse", "Verdict"]

PATIENCE: Final = 0.5
"""Seconds for which a process may be stopped by somebody else."""

Verdict: TypeAlias = Literal["well", "suspected", "lost"]


class Pulse:
    """What is known of one process."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None
        """Since when it has been suspected."""

    def __repr__(self) -> str:
        return "<pulse: well>" if self.since is None else f"<pulse: suspected since {self.since:g}>"

    def beat(self, state: HostState, now: float, *, by_us: bool = False) -> Verdict:
        """Take note of a look at the process.

        Args:
            state: What it does for the system.
            now: When that was seen, in seconds.
            by_us: Whether the runtime itself has stopped it, and so expects that.
        """
        if state != "stopped" or by_us:
            self.since = None
            return "well"
        if self.since is None:
            self.since = now
        return "suspected" if now - self.since < PATIENCE else "lost"

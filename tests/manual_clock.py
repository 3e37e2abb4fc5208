"""A clock that tests move by hand, and a way to let everything happen that needs no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio.lowlevel

from actorsched._core.timers import Timers

if TYPE_CHECKING:
    from actorsched._core.timers import TimerEntry


class ManualClock:
    """Time stands still until a test moves it: `Runtime(clock=ManualClock())`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers = Timers()

    def __repr__(self) -> str:
        return f"<ManualClock at {self._now:g}>"

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, function: Callable[[], object], /) -> TimerEntry:
        return self._timers.add(when, function)

    @property
    def waiting(self) -> int:
        """How many calls are still to come."""
        return len(self._timers)

    def advance(self, seconds: float) -> None:
        """Move on, stopping wherever something is due on the way."""
        end = self._now + seconds
        while (when := self._timers.next_when()) is not None and when <= end:
            self._now = max(self._now, when)
            entry = self._timers.due(self._now)
            assert entry is not None
            entry.action(*entry.args)
        self._now = end

    async def passes(self, seconds: float) -> None:
        """Move on, and let everything happen that follows from it."""
        await settle()
        self.advance(seconds)
        await settle()


async def settle(turns: int = 20) -> None:
    """Let the loop run a few turns, so that whatever waits for nothing but its turn has had it."""
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something holds that a thread, or the rest of the loop, brings about."""
    while not condition():
        await anyio.lowlevel.checkpoint()

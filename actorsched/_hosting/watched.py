"""One process as seen from outside: its CPU time, its memory and its state.

The law of this module: it looks at processes, never touches one, and raises for none that has ended or that
may not be looked at. It is given psutil rather than importing it: `load_probe` is the home of that.

How it works: Linux tells the CPU time of any process to the nanosecond, by a clock that is named after it;
psutil knows it in ticks of ten milliseconds, too coarse for looks that are fifty apart, and is asked where
there is no such clock. The time of a host includes what it has started: a task that waits for a program would
otherwise be held up by its own load as if that were somebody else's. The time of a child joins that of its
parent when it has ended and was waited for, so the sum over a family does not jump.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final

from actorsched._core.load import HostLoad, HostState

__all__ = ["Watched"]

_STATES: Final[dict[str, HostState]] = {
    "stopped": "stopped",
    "tracing-stop": "traced",
    "zombie": "gone",
    "dead": "gone",
}
"""What psutil calls the states that are not just some way of running."""

_LARGEST_FAMILY: Final = 32
"""Of more descendants than that, the rest are not looked at: a look must stay cheap."""


class Watched:
    """A process that is looked at again and again.

    Args:
        psutil: The library.
        pid: The process.
        family: Whether what it starts counts as its own.
    """

    __slots__ = ("_process", "_psutil", "family", "pid", "rss", "started", "state")

    def __init__(self, psutil: Any, pid: int, *, family: bool) -> None:
        self._psutil = psutil
        self.family = family
        self._process: Any = None
        self.pid = pid
        self.started: float | None = None  # by time.time(); None if unknown
        self.rss: int | None = None
        self.state: HostState = "unknown"
        try:
            self._process = psutil.Process(pid)
            self.started = self._process.create_time()
        except psutil.NoSuchProcess:
            self.state = "gone"
        except psutil.Error:
            pass  # it may not be looked at

    def __repr__(self) -> str:
        return f"<Watched process {self.pid}, {self.state}>"

    def load(self, cpu: float | None) -> HostLoad:
        """Return what the last look has shown, with the cores that it used."""
        return HostLoad(self.pid, cpu, self.rss, self.state)

    def look(self) -> float | None:
        """Look at the process; return the CPU time of its life in seconds, or None if it is not told."""
        if self._process is None or self.state == "gone":
            return None
        try:
            with self._process.oneshot():
                self.state = _STATES.get(self._process.status(), "running")
                times = self._process.cpu_times()
                self.rss = None if self.state == "gone" else int(self._process.memory_info().rss)
        except self._psutil.NoSuchProcess:  # or a zombie
            self.state, self.rss = "gone", None
            return None
        except self._psutil.Error:  # it may not be looked at any more
            self.state, self.rss = "unknown", None
            return None
        used = _spent(self.pid, times)
        return used + self._descendants(times) if self.family else used

    def _descendants(self, times: Any) -> float:
        """Return the CPU time of all that the process has started, in seconds."""
        total = _spent_by_the_dead(times)
        found = _children(self.pid)
        for pid in found:  # it grows
            if len(found) > _LARGEST_FAMILY:
                break
            try:
                times = self._psutil.Process(pid).cpu_times()
            except self._psutil.Error:  # ended at this moment, or another user's
                continue
            total += _spent(pid, times) + _spent_by_the_dead(times)
            found.extend(_children(pid))
        return total


def _spent(pid: int, times: Any) -> float:
    """Return the CPU time of a process itself, in seconds."""
    if sys.platform == "linux":
        try:
            return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) returns
        except OSError:  # it has ended, or this is not quite Linux
            pass
    return float(times.user + times.system)


def _spent_by_the_dead(times: Any) -> float:
    """Return the CPU time of children that have ended and were waited for, in seconds."""
    return float(getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0))


def _children(pid: int) -> list[int]:
    """Return the living children of a process, where Linux tells them without a search through all."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
    except OSError:  # it has ended, or this is another system
        pass
    return found

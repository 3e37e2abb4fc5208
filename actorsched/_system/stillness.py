"""Whether a thread or a process does anything: seen in the processor time that it uses.

Of code in the loop it is known what it waits for; of a thread, or a host process, only that it has used no
processor time for a while. Then it waits for something, be it a lock or a disk. Where the system does not
tell, nobody ever seems to wait.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from actorsched._system.pools import STALL

_LITTLE: Final = 0.05
"""Who uses a smaller part of a processor than this waits. Some threads look up now and then as they do."""


class Stillness:
    """Watches one thread or process; asked now and then, it compares with the last time.

    Args:
        clock: The clock of its processor time; None when there is none.
    """

    __slots__ = ("_clock", "_since", "_still", "_used")

    def __init__(self, clock: int | None) -> None:
        self._clock = clock
        self._since = self._used = 0.0
        self._still = False

    def __repr__(self) -> str:
        return f"<{'still' if self._still else 'busy'}, with {self._used:g} s used>"

    def seen(self) -> bool:
        """Whether it has used next to nothing between the last looks, which `STALL` at least lay between."""
        if self._clock is None:
            return False
        now = time.monotonic()
        elapsed = now - self._since
        if elapsed < STALL:
            return self._still
        try:
            used = time.clock_gettime(self._clock)
        except OSError:  # it has ended
            return False
        # After a long time without a look nothing is known of the last moments: that look was the first.
        self._still = elapsed < 10 * STALL and used - self._used < _LITTLE * elapsed
        self._since, self._used = now, used
        return self._still


def clock_of_thread() -> int | None:
    """The clock of the processor time of the thread that calls; None where there is no such thing."""
    if sys.platform == "win32" or not hasattr(time, "pthread_getcpuclockid"):
        return None
    from threading import get_ident

    return time.pthread_getcpuclockid(get_ident())


def clock_of_process(pid: int) -> int | None:
    """The clock of the processor time of another process, all threads together; None where there is none.

    It is what clock_getcpuclockid(3) answers with on Linux, which Python has no name for.
    """
    return (~pid << 3) | 2 if sys.platform == "linux" else None

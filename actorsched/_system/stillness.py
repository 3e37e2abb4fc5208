"""Whether a thread or a process does anything: seen in the processor time that it uses.

Of code in the loop it is known what it waits for; of a thread, or a host process, only that it has neither
used a processor for a while, nor stood in a queue for one. Then it waits for something, be it a lock or a
disk. Linux tells that of each thread; elsewhere nobody ever seems to wait.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from actorsched._system.pools import STALL

_LITTLE: Final = 0.05
"""Who wants a smaller part of a processor than this waits. Some threads look up now and then as they do."""
_AGES: Final = 10 * STALL
"""After so long without a look nothing is known of the last moments."""


class Stillness:
    """Watches one thread or process; asked now and then, it compares with the last time.

    Args:
        folder: Where Linux tells of a thread; or, ending in "/task", of all threads of a process.
    """

    __slots__ = ("_folder", "_since", "_still", "_wanted")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._since = self._wanted = 0.0
        self._still = False

    def __repr__(self) -> str:
        return f"<{self._folder}: {'still' if self._still else 'busy'}>"

    def seen(self) -> bool:
        """Whether it did next to nothing between the last looks, which `STALL` at least lay between."""
        now = monotonic()
        elapsed = now - self._since
        if elapsed < STALL:
            return self._still
        try:
            wanted = self._time_wanted()
        except (OSError, ValueError, IndexError):  # it has ended, or the system does not tell
            return False
        self._still = wanted is not None and elapsed < _AGES and wanted - self._wanted < _LITTLE * elapsed
        self._since, self._wanted = now, self._wanted if wanted is None else wanted
        return self._still

    def _time_wanted(self) -> float | None:
        """For how long its threads have had a processor, or could have used one; None if one could now."""
        from pathlib import Path  # most threads and hosts are never looked at

        total, folder = 0, Path(self._folder)
        for thread in folder.iterdir() if folder.name == "task" else [folder]:
            if (thread / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"R":
                return None
            ran, queued = (thread / "schedstat").read_bytes().split()[:2]
            total += int(ran) + int(queued)
        return total / 1e9


def of_this_thread() -> Stillness:
    """Watches the thread that calls."""
    from threading import get_native_id

    return Stillness(f"/proc/self/task/{get_native_id()}")


def of_process(pid: int) -> Stillness:
    """Watches another process."""
    return Stillness(f"/proc/{pid}/task")

"""Lines that wait to be written: a queue of bounded size that never waits, and counts what it turns away.

The law of this module: it holds lines, in order, and knows neither where they come from nor where they go.

It needs no lock of its own: lines are put in under the lock of the handler, and taken out by one writer at a
time; the operations of a deque that both use are atomic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["Backlog", "Batch"]

BATCH = 256 * 1024
"""How many bytes are written together, about."""


class Batch:
    """Lines on their way to the target together.

    Attributes:
        data: Their bytes.
    """

    __slots__ = ("_ends", "data")

    def __init__(self, lines: list[bytes]) -> None:
        self.data = b"".join(lines)
        self._ends: list[int] = []
        end = 0
        for line in lines:
            end += len(line)
            self._ends.append(end)

    def __len__(self) -> int:
        return len(self._ends)

    def unwritten(self, rest: int) -> int:
        """How many of the lines are not written, or not to their end.

        Args:
            rest: How many bytes at the end are not.
        """
        done = len(self.data) - rest
        return sum(end > done for end in self._ends)


class Backlog:
    """Lines that wait.

    Attributes:
        lost: How many lines were turned away, in all, because it was full.

    Args:
        limit: How many bytes it holds; one line always has room.
        notice: Makes the line that says how many were turned away, for the place where they would have stood.
    """

    def __init__(self, limit: int, notice: Callable[[int], bytes]) -> None:
        self.lost = 0
        self._limit = limit
        self._notice = notice
        self._lines: deque[bytes] = deque()
        self._put = self._taken = 0  # bytes in all: each is changed from one side only
        self._gap = 0  # lines turned away since the last one that was taken in

    def __len__(self) -> int:
        return len(self._lines)

    def put(self, line: bytes) -> None:
        """Take a line in, or turn it away."""
        if self._lines and self._put - self._taken + len(line) > self._limit:
            self.lost += 1
            self._gap += 1
            return
        self.close_gap()
        self._append(line)

    def close_gap(self) -> None:
        """Say now how many lines were turned away, if any were."""
        if self._gap:
            gap, self._gap = self._gap, 0
            self._append(self._notice(gap))

    def take(self) -> Batch | None:
        """Take out what is to be written together; None when nothing waits."""
        lines: list[bytes] = []
        size = 0
        while self._lines and size < BATCH:
            line = self._lines.popleft()
            size += len(line)
            lines.append(line)
        self._taken += size
        return Batch(lines) if lines else None

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._put += len(line)

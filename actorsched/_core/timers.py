"""What is due when: a heap of deadlines whose members can be cancelled.

Pure: it is told the time. At one instant, what says that work is done comes before what says that it is too
late, and both before everything else; within each of these phases timers keep the order in which they were
set. A cancelled timer stays in the heap until it would be due or until half of the heap is cancelled,
whichever comes first, so that cancelling costs nothing and memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

from actorsched._core.invariants import require

DONE: Final = 0
"""The phase of what says that work is done."""
TOO_LATE: Final = 1
"""The phase of hard deadlines: what is done at the deadline is in time."""
ORDINARY: Final = 2
"""The phase of all other timers."""


def _nothing() -> None:
    """What a cancelled timer would do: it lets go of everything else."""


class TimerEntry:
    """One timer: call `action(*args)` at `when`, unless cancelled."""

    __slots__ = ("_heap", "action", "args", "phase", "sequence", "when")

    def __init__(
        self,
        heap: Timers,
        when: float,
        phase: int,
        sequence: int,
        action: Callable[..., object],
        args: tuple[Any, ...],
    ) -> None:
        self._heap: Timers | None = heap
        self.when: float = when
        self.phase: int = phase
        self.sequence: int = sequence
        self.action: Callable[..., object] = action
        self.args: tuple[()] = args

    def __repr__(self) -> str:
        return f"<timer at {self.when:.6f}{'' if self.active else ', over'}>"

    @property
    def active(self) -> bool:
        """Whether it is still to come."""
        return self._heap is not None

    def cancel(self) -> None:
        """Never call the action. Harmless when it is over already."""
        heap, self._heap = self._heap, None
        if heap is not None:
            self.action, self.args = _nothing, ()
            heap.note_cancelled()

    def expire(self) -> None:
        """It is due: it leaves the heap, and can no longer be cancelled."""
        self._heap = None


class Timers:
    """All timers of one clock."""

    __slots__ = ("_cancelled", "_entries", "_sequence")

    def __init__(self) -> None:
        # With what they are ordered by before them: to compare tuples takes a tenth of what a method would.
        self._entries: list[tuple[float, int, int, TimerEntry]] = []
        self._sequence = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._entries) - self._cancelled

    def __repr__(self) -> str:
        return f"<{len(self)} timers, next at {self.next_when()}>"

    def add(
        self, when: float, action: Callable[..., object], *args: Any, phase: int = ORDINARY
    ) -> TimerEntry:
        """Set a timer for the time `when`."""
        self._sequence += 1
        entry = TimerEntry(self, when, phase, self._sequence, action, args)
        heappush(self._entries, (when, phase, self._sequence, entry))
        return entry

    def next_when(self) -> float | None:
        """When the earliest timer is due; None when there is none."""
        first = self.first()
        return None if first is None else first.when

    def first(self) -> TimerEntry | None:
        """The earliest timer, which stays; None when there is none."""
        entries = self._entries
        while entries and entries[0][3]._heap is None:
            heappop(entries)
            self._cancelled -= 1
        return entries[0][3] if entries else None

    def due(self, now: float) -> TimerEntry | None:
        """Take the earliest timer whose time has come; None when there is none."""
        first = self.first()
        if first is None or first.when > now:
            return None
        heappop(self._entries)
        first.expire()
        return first

    def note_cancelled(self) -> None:
        """One entry was cancelled; clear the heap when most of it is dead."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._entries):
            self._entries = [each for each in self._entries if each[3].active]
            heapify(self._entries)
            self._cancelled = 0

    def check(self) -> None:
        """Look whether what always holds does; in time proportional to the timers.

        Raises:
            InvariantBroken: Something does not.
        """
        entries = [each[3] for each in self._entries]
        require(
            all(self._entries[index] >= self._entries[(index - 1) // 2] for index in range(1, len(entries))),
            self,
            "no timer comes before the one above it in the heap",
        )
        over = sum(not entry.active for entry in entries)
        require(self._cancelled == over, self, f"{over} of its timers are cancelled, as it has counted")
        require(over <= max(64, len(entries) // 2), self, "no more than half of a large heap is cancelled")
        require(all(entry._heap is self for entry in entries if entry.active), self, "its timers are its own")
        numbers = [entry.sequence for entry in entries]
        require(len(set(numbers)) == len(numbers), self, "no timer is in the heap twice")
        require(all(0 < number <= self._sequence for number in numbers), self, "it has numbered all of them")

"""What has been done so far, in numbers.

The law of this module: it counts what it is told, at the times that it is told, and shows nothing. The same
numbers serve the display, the summary and the exit code, so these cannot disagree.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from actorsched.demo.files import Finds

if TYPE_CHECKING:
    from actorsched.demo.steps import Checked, Failed

_WINDOW = 5.0
"""Over how many seconds the speed is measured."""

_TELLING = 0.5
"""From how many seconds on the speed allows a guess."""

_FILE_IN_BYTES = 20_000
"""How many bytes take as long as what every file takes, however small; for the guess at the time left."""


class HostTally:
    """What one host has done.

    Attributes:
        files: How many files it has compressed.
        size: How big those were, in bytes.
        busy: For how many seconds it has compressed and checked.
        busy_now: For how many seconds it has worked on a big file that is under way.
        file: The name of the file that it was last heard of with.
    """

    __slots__ = ("busy", "busy_now", "file", "files", "size")

    def __init__(self) -> None:
        self.files: int = 0
        self.size: int = 0
        self.busy: float = 0.0
        self.busy_now: float = 0.0
        self.file: str = ""


class Tally:
    """What has happened to the files.

    Attributes:
        finds: What has been found.
        searched: Whether everything has been found.
        done: How many files are through: compressed, read back, and in place.
        size: How big those are together, in bytes.
        packed_size: What they were compressed to, in bytes.
        failed: The files that could not be done, with the reasons.
        sums: The fingerprints of those that are through: (fingerprint, name).
        hosts: What each host has done, by its pid.
        under_way: Of big files that are being compressed, how far that is and how big they are, in bytes.
    """

    def __init__(self) -> None:
        self.finds: Finds = Finds()
        self.searched = False
        self.done: int = 0
        self.size: int = 0
        self.packed_size: int = 0
        self.failed: list[Failed] = []
        self.sums: list[tuple[str, str]] = []
        self.hosts: dict[int, HostTally] = {}
        self.under_way: dict[str, tuple[int, int]] = {}
        self._over: set[str] = set()

    def __repr__(self) -> str:
        return f"<Tally: {self.done} of {len(self.finds.files)} files, {len(self.failed)} failures>"

    @property
    def left(self) -> int:
        """How many of the files that were found are neither through nor given up."""
        return len(self.finds.files) - self.done - len(self.failed)

    @property
    def failures(self) -> list[Failed]:
        """All that went wrong: folders that could not be read, and files that could not be done."""
        return [*self.finds.unread, *self.failed]

    @property
    def reached(self) -> int:
        """How much has been compressed, in bytes; what is done of unfinished files counts."""
        return self.size + sum(reached for reached, _ in list(self.under_way.values()))

    def passed(self, checked: Checked) -> None:
        """A file is through."""
        stored = checked.stored
        self.done += 1
        self.size += stored.size
        self.packed_size += stored.packed_size
        self.sums.append((stored.fingerprint, stored.name))
        self._end(stored.name)
        host = self._host(stored.share.pid, stored.name)
        host.files += 1
        host.size += stored.size
        host.busy += stored.share.seconds
        self._host(checked.share.pid, stored.name).busy += checked.share.seconds

    def gave_up(self, failure: Failed) -> None:
        """A file could not be done."""
        self.failed.append(failure)
        self._end(failure.name)

    def reach(self, pid: int, name: str, reached: int, size: int, seconds: float) -> None:
        """A host has come so far in a big file, in so many seconds."""
        if name not in self._over:  # what a host says may be heard late
            host = self._host(pid, name)
            host.file, host.busy_now = name, seconds
            self.under_way[name] = reached, size

    def busy(self, host: HostTally) -> float:
        """For how many seconds a host has worked, including what it is working on, as far as it is known."""
        return host.busy + (host.busy_now if host.file in self.under_way else 0.0)

    def _host(self, pid: int, name: str) -> HostTally:
        host = self.hosts.setdefault(pid, HostTally())
        if host.file not in self.under_way:
            host.file = name
        return host

    def _end(self, name: str) -> None:
        if self.under_way.pop(name, None) is not None:
            self._over.add(name)


class Pace(NamedTuple):
    """How fast it goes."""

    files: float
    """Files per second."""
    size: float
    """Bytes per second."""
    left: float | None
    """In how many seconds it will be done at this pace; None when nothing can be said."""


class Speedometer:
    """Measures the pace over the last few seconds."""

    def __init__(self, began: float) -> None:
        self._samples = deque([(began, 0, 0)])

    def pace(self, tally: Tally, now: float) -> Pace:
        """The present pace; asking for it is what takes the samples."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - _WINDOW:
            samples.popleft()
        then, files, size = samples[0]
        done, reached = len(tally.finds.files) - tally.left, tally.reached
        samples.append((now, done, reached))
        seconds = now - then
        if seconds <= 0:
            return Pace(0.0, 0.0, None)
        files, size = done - files, max(reached - size, 0)
        work = files * _FILE_IN_BYTES + size
        ahead = tally.left * _FILE_IN_BYTES + max(tally.finds.size - reached, 0)
        left = ahead / work * seconds if work and seconds > _TELLING else None
        return Pace(files / seconds, size / seconds, left)

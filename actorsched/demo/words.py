"""Numbers and names as text, and the summary.

The law of this module: text comes out, and is shown elsewhere. A name is shown so that whatever is in it can
neither break a line nor command a terminal.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from actorsched.demo.tally import Pace, Tally

_TELLING = 10_000
"""From how many bytes on it means something how well they compress."""

Ending = Literal["done", "interrupted", "terminated"]


def count(number: int, one: str, many: str | None = None) -> str:
    """`count(1200, "file")` is "1,200 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: float) -> str:
    """A number of bytes, with three digits or so: "4.21 MB"."""
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):  # pragma: no branch
        number /= 1000
        if number < 999.5 or unit == "TB":
            break
    digits = 0 if number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:,.{digits}f} {unit}"


def rate(files: float) -> str:
    """How many files per second: "0.3 files/s", "1,200 files/s"."""
    return f"{files:,.{0 if files >= 9.95 else 1}f} files/s"


def span(seconds: float) -> str:
    """A number of seconds: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 9.95 and not isinstance(seconds, int):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def share(part: float, whole: float) -> str:
    """A percentage."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.2f} %" if 0 < percent < 0.995 else f"{percent:.1f} %"


def name(text: str) -> str:
    """A file's name, in characters that can be printed; what cannot is escaped."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is no text, as `os.fsdecode` keeps it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


# ------------------------------------------------------------------------------------------- while it goes on


def speed(tally: Tally, pace: Pace) -> str:
    """How fast it goes, how well it compresses, and how long it will take."""
    parts = [rate(pace.files), f"{size(pace.size)}/s"]
    if tally.size > _TELLING:
        parts.append(f"{share(tally.packed_size, tally.size)} of the size")
    if tally.failures:
        parts.append(failures(tally))
    if pace.left is not None and tally.left:
        parts.append(f"about {span(math.ceil(pace.left))} left")
    return ", ".join(parts)


def failures(tally: Tally) -> str:
    """How much went wrong."""
    folders = len(tally.finds.unread)
    parts = [f"{len(tally.failed):,} failed"] if tally.failed else []
    return ", ".join(parts + ([f"{count(folders, 'folder')} unread"] if folders else []))


def progress(tally: Tally) -> str:
    """How far it is."""
    if not tally.searched:
        return f"{count(len(tally.finds.files), 'file')} found so far"
    files, whole = len(tally.finds.files), tally.finds.size
    return f"{files - tally.left:,} of {count(files, 'file')}, {size(tally.reached)} of {size(whole)}"


def passed_over(kinds: Counter[tuple[str, str]]) -> str:
    """What was passed over: "2 FIFOs and 1 socket"."""
    parts = [count(number, one, many) for (one, many), number in sorted(kinds.items())]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


# ------------------------------------------------------------------------------------------------ at the end


def summary(tally: Tally, seconds: float) -> list[str]:
    """What was found, what was done with it, and what could not be done, each with its reason."""
    finds = tally.finds
    lines: list[str] = []
    if finds.passed_over:
        lines.append(f"passed over: {passed_over(finds.passed_over)}")
    if tally.failures:
        lines.append("failed:")
        lines += [f"  {name(failure.name)}: {name(failure.reason)}" for failure in sorted(tally.failures)]
    if tally.done:
        lines.append(
            f"compressed: {size(tally.size)} to {size(tally.packed_size)}, "
            f"{share(tally.packed_size, tally.size)} of the size; every result was read back and is right"
        )
        speed = f"{rate(tally.done / seconds)}, {size(tally.size / seconds)}/s"
        hosts = count(len(tally.hosts), "host process", "host processes")
        busy = sum(host.busy for host in tally.hosts.values())
        lines.append(f"time: {span(seconds)} ({speed}); {hosts} computed for {span(busy)} in all")
    return lines


def last_line(tally: Tally, ending: Ending) -> str:
    """How far it got."""
    files = len(tally.finds.files)
    if ending != "done" and not tally.searched:
        return f"{ending} while looking for files, after finding {files:,}; none is done"
    parts = [f"{tally.done:,} of {count(files, 'file')}"]
    if tally.failures:
        parts.append(failures(tally))
    if tally.left:
        parts.append(f"{tally.left:,} not done")
    return f"{ending}{':' if ending == 'done' else ' after'} {', '.join(parts)}"

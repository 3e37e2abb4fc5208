"""Showing how far the work is: plain lines, or a live picture on a terminal.

The law of this module: it shows a tally, and changes nothing. What cannot be shown because nobody takes it
any more is an `OutputLost`, so that whoever is in charge can tell it from a failure of the work.

How it works: on a terminal, if rich is installed and neither `NO_COLOR` nor `TERM=dumb` asks for plainness, a
few lines at the bottom are drawn anew ten times a second, and go away at the end. Elsewhere there is one line
every now and then, flushed at once.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from actorsched.demo import words
from actorsched.demo.tally import Speedometer

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from actorsched.demo.tally import HostTally, Pace, Tally

_ROWS = 8
"""How many hosts are shown at most."""


class OutputLost(Exception):
    """Standard output takes nothing any more; the `__cause__` says why."""


class Lines:
    """Plain lines.

    Attributes:
        interval: How often, in seconds, `show` wants to be called.
    """

    usual: float = 1.0
    """The interval when nobody asks for another."""

    def __init__(self, stream: TextIO | None, interval: float | None = None) -> None:
        self._stream = stream
        self.interval: float = interval or self.usual
        self._speedometer: Speedometer | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # never fail for a character that it does not know

    def line(self, text: str) -> None:
        """A line that stays.

        Raises:
            OutputLost: It cannot be written.
        """
        try:
            print(text, file=self._stream, flush=True)
        except OSError as error:
            raise OutputLost from error

    def show(self, tally: Tally, now: float, began: float) -> None:
        """Show how far it is.

        Raises:
            OutputLost: It cannot be written.
        """
        if not tally.searched:
            return self.line(words.progress(tally))
        pace = self._pace(tally, now, began)
        self.line(f"{words.progress(tally)}, {words.speed(tally, pace)}")

    def _pace(self, tally: Tally, now: float, began: float) -> Pace:
        if self._speedometer is None:
            self._speedometer = Speedometer(began)
        return self._speedometer.pace(tally, now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class Picture(Lines):
    """A live picture, drawn by rich."""

    usual: float = 0.1

    def __init__(self, stream: TextIO, interval: float | None = None) -> None:
        super().__init__(stream, interval)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._live.stop()
        except OSError:
            pass  # the terminal is gone: nothing is left to be tidied there

    def line(self, text: str) -> None:
        """A line that stays, above the picture."""
        from rich.text import Text

        try:
            self._console.print(Text(text), soft_wrap=True)
        except OSError as error:
            raise OutputLost from error

    def show(self, tally: Tally, now: float, began: float) -> None:
        """Draw the picture."""
        from rich.constrain import Constrain

        pace = self._pace(tally, now, began) if tally.searched else None
        try:
            picture = _picture(tally, pace, now - began)
            # Narrower than the terminal: the `^C` that it shows itself must not start a line of its own.
            self._live.update(Constrain(picture, max(self._console.width - 3, 1)), refresh=True)
        except OSError as error:
            raise OutputLost from error


def _picture(tally: Tally, pace: Pace | None, seconds: float) -> Any:
    from rich.console import Group
    from rich.spinner import Spinner
    from rich.text import Text

    if pace is None:
        return Spinner("dots", Text(f"looking for files: {words.progress(tally)}"))
    speed = Text(f" {words.speed(tally, pace)}", no_wrap=True, overflow="ellipsis")
    if tally.failures:
        speed.highlight_words([words.failures(tally)], style="red")
    return Group(_bar(tally), speed, _hosts(tally, seconds))


def _bar(tally: Tally) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    files = len(tally.finds.files)
    total = tally.finds.size + files
    reached = min(tally.reached + files - tally.left, total)
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    row.add_row(ProgressBar(total=max(total, 1), completed=reached), Text(words.progress(tally)))
    return row


def _hosts(tally: Tally, seconds: float) -> Any:
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 2), expand=True)
    rows.add_column(no_wrap=True)
    for _ in range(3):
        rows.add_column(no_wrap=True, justify="right")
    rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    hosts = sorted(list(tally.hosts.items()))  # noqa: C414  # a copy first: another thread adds to it
    for pid, host in hosts[:_ROWS]:
        busy = f"{min(tally.busy(host) / seconds, 1):.0%} busy" if seconds > 0 else ""
        now = Text(_doing(tally, host), style="dim")
        rows.add_row(f" host {pid}", words.count(host.files, "file"), words.size(host.size), busy, now)
    if len(hosts) > _ROWS:
        rows.add_row(f" and {len(hosts) - _ROWS} more", "", "", "", "")
    return rows


def _doing(tally: Tally, host: HostTally) -> str:
    under_way = tally.under_way.get(host.file)
    if under_way is None:
        return words.name(host.file)
    reached, size = under_way
    return f"{words.name(host.file)}: {words.size(reached)} of {words.size(size)}"


def suitable(interval: float | None) -> Lines:
    """What suits the place that standard output leads to.

    Args:
        interval: How often to show how far it is, in seconds; None for what suits.
    """
    stream = sys.stdout
    if _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        try:
            return Picture(stream, interval)
        except ImportError:
            pass  # rich is an extra: plain lines serve as well
    return Lines(stream, interval)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False

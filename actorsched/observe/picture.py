"""A look at how far a runtime is, drawn by rich.

The law of this module: it turns a `Look` into what rich can print, and knows neither the runtime nor where it
is printed. Every line fits into one line, however narrow the place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from actorsched.observe.tally import Look, Row, Running

__all__ = ["draw", "span"]

_NAME = 30
"""How many characters of a name are shown."""


def draw(look: Look, *, over: bool = False) -> RenderableType:
    """The picture.

    Args:
        look: What there is to show.
        over: Whether it is the last one: then nothing runs, and nothing remains.
    """
    bars = Table.grid(padding=(0, 1), expand=True)
    bars.add_column(no_wrap=True, max_width=_NAME, overflow="ellipsis")
    bars.add_column(ratio=1, min_width=5)
    for _ in range(3):
        bars.add_column(no_wrap=True, justify="right")
    _add(bars, "all tasks", look.overall, look.elapsed, over)
    for row in look.rows:
        _add(bars, f"  {row.name}", row, look.elapsed, over)
    if over or not look.running:
        return bars
    return Group(bars, _running(look))


def _add(bars: Table, name: str, row: Row, elapsed: float, over: bool) -> None:
    bars.add_row(
        Text(name, style="" if row.name else "bold"),
        ProgressBar(total=max(row.total, 1), completed=row.done),
        _counts(row),
        Text(_rate(row.done / elapsed if over and elapsed > 0 else row.rate), style="dim"),
        Text(f"in {span(elapsed)}" if over else _remaining(row), style="cyan"),
    )


def _counts(row: Row) -> Text:
    text = Text(f"{row.done}/{row.total}")
    if row.failed:
        text.append(f" {row.failed} failed", style="red")
    if row.cancelled:
        text.append(f" {row.cancelled} cancelled", style="yellow")
    return text


def _rate(rate: float | None) -> str:
    if rate is None:
        return ""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * 60:.1f}/min"


def _remaining(row: Row) -> str:
    if row.done >= row.total:
        return ""
    return "-:-- left" if row.remaining is None else f"{span(row.remaining)} left"


def span(seconds: float) -> str:
    """A duration, such as "0:07" or "1:02:03"."""
    if seconds >= 360_000:
        return ">100 h"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _running(look: Look) -> Table:
    rows = Table.grid(padding=(0, 1), expand=True)
    rows.add_column(no_wrap=True, max_width=_NAME, overflow="ellipsis")
    rows.add_column(no_wrap=True, justify="right")
    rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    rows.add_column(no_wrap=True, justify="right")
    for task, seconds in look.running:
        percent = "" if task.fraction is None else f"{task.fraction:.0%}"
        rows.add_row(
            Text(f"    {_line(task.name)}", style="dim"),
            Text(percent),
            Text(_said(task), style="dim"),
            Text(span(seconds), style="dim"),
        )
    if look.more:
        rows.add_row(Text(f"    and {look.more} more", style="dim"), "", "", "")
    return rows


def _said(task: Running) -> str:
    return _line(task.worker if task.message is None else task.message)


def _line(text: str) -> str:
    """The first line of a text, without what would move the cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:200])

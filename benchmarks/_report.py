"""Shows what was measured: a table for people, a document for programs. Measures and judges nothing."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Row = dict[str, object]
HEADINGS = ("figure", "loop", "floor", "ours", "ratio", "(min … max)", "must", "aim", "verdict")
LINE = "{:<22} {:<8} {:>11} {:>11} {:>7}  {:<17} {:>6} {:>5}  {}"
VERDICTS = {"aim": "meets the aim", "must": "meets the must", "below": "BELOW THE MUST", "info": "informs"}


def heading() -> str:
    """The first lines of the table."""
    titles = LINE.format(*HEADINGS)
    return f"{titles}\n{'-' * len(titles)}"


def line(row: Row) -> str:
    """One line of the table."""
    if "error" in row:
        return f"{row['name']:<22} {row['loop']:<8} not measured: {row['error']}"
    unit, amount = row["unit"], row["judged"] == "amount"
    return LINE.format(
        row["name"],
        row["loop"],
        figure(row["floor"], unit),
        figure(row["ours"], unit),
        "" if amount else f"{row['ratio']:.2f}",
        "({} … {})".format(*(spread(row[key], amount=amount) for key in ("min", "max"))),
        bound(row["must"]),
        bound(row["aim"]),
        VERDICTS[str(row["verdict"])],
    )


def spread(value: object, *, amount: bool) -> str:
    """The least or the most of what is judged."""
    return f"{value:,.0f}" if amount and isinstance(value, float) and value >= 100 else f"{value:.2f}"


def figure(value: object, unit: object) -> str:
    """A measured value with its unit: `1.31 M/s`, `4.6 µs`."""
    assert isinstance(value, float)
    if unit == "/s":
        return f"{value / 1e6:.2f} M/s" if value >= 1e6 else f"{value / 1e3:,.1f} k/s"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def bound(value: object) -> str:
    """A must or an aim; nothing where there is none."""
    return "" if value is None else f"{value:,g}"


def document(rows: Iterable[Row]) -> Row:
    """What `--json` writes: the machine, and one object per row of the table."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "rows": list(rows),
    }


def write(path: str, rows: Iterable[Row]) -> None:
    """Writes the document to a file, or to the standard output if the path is `-`."""
    text = json.dumps(document(rows), indent=2, ensure_ascii=False) + "\n"
    if path == "-":
        print(text, end="")
    else:
        Path(path).write_text(text, encoding="utf-8")

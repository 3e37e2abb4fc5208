"""Draws a timeline that `rt.timeline` or `actorsched demo --timeline` has written.

    python docs/timelines.py out.json out.svg

The law of this module: it shows what stands in the file, and no more: bars on their lanes, arrows for
dependencies, and who held which resource. Perfetto shows the same, and lets one look closer.
"""

# ruff: noqa: INP001  # not of a package, like pictures.py beside it

from __future__ import annotations

import json
import pathlib
import sys
import zlib
from html import escape
from typing import Any, Final

_WIDTH: Final = 1000
_LEFT: Final = 120
_ROW: Final = 22
_BAR: Final = 16
_COLOURS: Final = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#edc948", "#9c755f", "#e15759")
_GROUPS: Final = (1, 2, 3)
"""Workers, resources and host processes."""

Entry = dict[str, Any]


def draw(trace: Entry) -> str:
    """The text of an SVG file."""
    entries: list[Entry] = trace["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in entries if e["name"] == "thread_name"}
    titles = {e["pid"]: e["args"]["name"] for e in entries if e["name"] == "process_name"}
    bars = [e for e in entries if e["ph"] == "X"]
    end = max((e["ts"] + e["dur"] for e in bars), default=1.0)
    scale = (_WIDTH - _LEFT - 10) / end
    rows, parts = _rows(names, titles)
    for bar in bars:
        row = rows.get((bar["pid"], bar["tid"]))
        if row is not None:
            parts.append(_bar(bar, _LEFT + bar["ts"] * scale, row, max(0.7, bar["dur"] * scale)))
    parts += _arrows(entries, rows, scale)
    height = max(rows.values(), default=0) + 2 * _ROW
    parts += _axis(end, scale, height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height + 20}" '
        f'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _rows(
    names: dict[tuple[int, int], str], titles: dict[int, str]
) -> tuple[dict[tuple[int, int], int], list[str]]:
    """Where each lane is, and its name beside it."""
    rows: dict[tuple[int, int], int] = {}
    parts: list[str] = []
    y = 8
    for group in _GROUPS:
        lanes = sorted(key for key in names if key[0] == group)
        if not lanes:
            continue
        parts.append(f'<text x="4" y="{y + 12}" font-weight="bold">{escape(titles[group])}</text>')
        y += _ROW
        for key in lanes:
            rows[key] = y
            parts.append(f'<text x="12" y="{y + 12}">{escape(names[key])}</text>')
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH - _LEFT - 10}" height="{_BAR}" fill="#f4f4f4"/>'
            )
            y += _ROW
    return rows, parts


def _bar(bar: Entry, x: float, y: int, width: float) -> str:
    colour = _COLOURS[zlib.crc32(bar["name"].encode()) % len(_COLOURS)]
    about = ", ".join(f"{key}: {value}" for key, value in bar["args"].items())
    title = f"<title>{escape(bar['name'])}, {bar['dur'] / 1000:g} ms; {escape(about)}</title>"
    pale = ' fill-opacity="0.45"' if bar["args"].get("ended") == "preempted" else ""
    shape = (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"{pale}>{title}</rect>'
    )
    if width > 7 * len(bar["name"]):
        shape += f'<text x="{x + 3:.1f}" y="{y + 12}" fill="white">{escape(bar["name"])}</text>'
    return shape


def _arrows(entries: list[Entry], rows: dict[tuple[int, int], int], scale: float) -> list[str]:
    starts = {e["id"]: e for e in entries if e["ph"] == "s"}
    parts: list[str] = []
    for end in (e for e in entries if e["ph"] == "f"):
        start = starts[end["id"]]
        x1, y1 = _LEFT + start["ts"] * scale, rows[start["pid"], start["tid"]] + _BAR / 2
        x2, y2 = _LEFT + end["ts"] * scale, rows[end["pid"], end["tid"]] + _BAR / 2
        bend = max(8.0, (x2 - x1) / 2)
        parts.append(
            f'<path d="M{x1:.1f} {y1} C{x1 + bend:.1f} {y1} {x2 - bend:.1f} {y2} {x2:.1f} {y2}" '
            'fill="none" stroke="#333" stroke-width="0.8"/>'
        )
    return parts


def _axis(end: float, scale: float, height: int) -> list[str]:
    parts: list[str] = []
    for part in range(11):
        x = _LEFT + part / 10 * end * scale
        parts.append(
            f'<line x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{height}" stroke="#ddd" stroke-width="0.5"/>'
        )
        parts.append(
            f'<text x="{x:.1f}" y="{height + 12}" text-anchor="middle">{part / 10 * end / 1000:.0f} ms</text>'
        )
    return parts


def main(source: str, target: str) -> None:
    """Draw a file."""
    trace = json.loads(pathlib.Path(source).read_text(encoding="utf-8"))
    pathlib.Path(target).write_text(draw(trace), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

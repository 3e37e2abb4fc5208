"""Draws the diagrams of the documentation: Mermaid text in, SVG out.

The law of this module: it is pure, and knows no Sphinx. What it draws is a small part of Mermaid, so that a
page shows the same diagram here and wherever Mermaid is understood, and nothing has to be fetched to see it.

How it works: the first line says what a diagram is.

* `sequenceDiagram`: `participant S as Scheduler`, `A->>B: text` (sent), `A-->>B: text` (answered, dashed) and
  `Note over A,B: text`.
* `stateDiagram-v2`: `A --> B: text`, where `[*]` is the beginning or the end. A comment line `%% A 0 1` puts
  a state into a column and a row; Mermaid itself places states as it likes. States without a way out have a
  double frame. An edge that leaves every state which has a way out is drawn once, from a frame around them
  all.

Colours are those of the text, so that a diagram fits a light page and a dark one.
"""

# ruff: noqa: INP001  # not of a package: Sphinx reads it beside its conf.py

from __future__ import annotations

import re
from html import escape
from math import hypot
from typing import NamedTuple

Point = tuple[float, float]

LETTER = 7.3
"""The width of a letter in pixels, on average: good enough to leave room by."""


def drawn(source: str) -> str:
    """The SVG of a diagram.

    Raises:
        ValueError: A line of it is not understood.
    """
    kind, *rest = [line.strip() for line in source.strip().splitlines() if line.strip()]
    match kind:
        case "sequenceDiagram":
            return Sequence(rest).svg(source)
        case "stateDiagram-v2":
            return States(rest).svg(source)
        case _:
            raise ValueError(f"{kind!r} is no diagram that is drawn here: sequenceDiagram or stateDiagram-v2")


def _svg(width: float, height: float, shapes: list[str], source: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="max-width: {width:.0f}px; width: 100%; margin: 1em 0" font-size="13" stroke-width="1.2">'
        f"<desc>{escape(source)}</desc>{''.join(shapes)}</svg>"
    )


def _text(x: float, y: float, words: str, anchor: str = "middle", style: str = "") -> str:
    halo = 'stroke="var(--color-background-primary, #fff)" stroke-width="4" paint-order="stroke"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" {halo} {style}>'
        f"{escape(words)}</text>"
    )


def _box(left: float, top: float, width: float, height: float, style: str = "") -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5" '
        f'stroke="currentColor" fill="var(--color-background-secondary, #f8f9fb)" {style}/>'
    )


def _line(path: str, style: str = "") -> str:
    return f'<path d="{path}" fill="none" stroke="currentColor" {style}/>'


def _arrow(path: str, end: Point, before: Point, style: str = "") -> str:
    """A line with a tip at its end, which points away from the point before."""
    dx, dy = end[0] - before[0], end[1] - before[1]
    length = hypot(dx, dy) or 1.0
    dx, dy = dx / length, dy / length
    corners = [
        end,
        (end[0] - 9 * dx - 3.6 * dy, end[1] - 9 * dy + 3.6 * dx),
        (end[0] - 9 * dx + 3.6 * dy, end[1] - 9 * dy - 3.6 * dx),
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return _line(path, style) + f'<polygon points="{points}" fill="currentColor"/>'


def _straight(start: Point, end: Point, style: str = "") -> str:
    return _arrow(f"M{start[0]:.1f} {start[1]:.1f} L{end[0]:.1f} {end[1]:.1f}", end, start, style)


_DASHED = 'stroke-dasharray="5 4"'


# -------------------------------------------------------------------------------------------------- sequences


class Message(NamedTuple):
    """An arrow from one participant to another."""

    sender: str
    receiver: str
    words: str
    dashed: bool


class Note(NamedTuple):
    """Words over the lines of some participants."""

    first: str
    last: str
    words: str


class Sequence:
    """Who says what to whom, from the top down."""

    ROW = 36.0
    MARGIN = 10.0

    def __init__(self, lines: list[str]) -> None:
        self.names: dict[str, str] = {}
        self.rows: list[Message | Note] = []
        for line in lines:
            self._read(line)
        self.columns = self._placed()

    def _read(self, line: str) -> None:
        if found := re.fullmatch(r"participant (\w+)(?: as (.+))?", line):
            self.names[found[1]] = found[2] or found[1]
        elif found := re.fullmatch(r"(\w+)(--?)>>(\w+): (.+)", line):
            for name in (found[1], found[3]):
                self.names.setdefault(name, name)
            self.rows.append(Message(found[1], found[3], found[4], dashed=found[2] == "--"))
        elif found := re.fullmatch(r"Note over (\w+)(?:,\s*(\w+))?: (.+)", line):
            self.rows.append(Note(found[1], found[2] or found[1], found[3]))
        else:
            raise ValueError(f"{line!r} is no line of a sequence that is drawn here")

    def _placed(self) -> dict[str, float]:
        """The middle of each participant's column: wide enough for what is written beside and between."""
        order = list(self.names)
        needed = {name: len(self.names[name]) * LETTER + 24 for name in order}
        columns = {order[0]: self.MARGIN + needed[order[0]] / 2}
        for index, name in enumerate(order[1:], 1):
            place = columns[order[index - 1]] + (needed[order[index - 1]] + needed[name]) / 2 + 16
            for row in self.rows:
                place = max(place, self._demanded(row, name, order[:index], columns))
            columns[name] = place
        return columns

    def _demanded(
        self, row: Message | Note, name: str, before: list[str], columns: dict[str, float]
    ) -> float:
        """How far to the right a row pushes a column, given those before it."""
        first, last = (row.sender, row.receiver) if isinstance(row, Message) else (row.first, row.last)
        width = len(row.words) * LETTER + 30
        if first == last:
            if first == before[-1] and isinstance(row, Message):
                return columns[first] + width + 20
            return columns[first] + width / 2 + 20 if first == before[-1] else 0.0
        if name not in (first, last):
            return 0.0
        other = last if name == first else first
        return columns[other] + width if other in before else 0.0

    def svg(self, source: str) -> str:
        """Draw it."""
        top = 34.0
        height = top + self.ROW * len(self.rows) + 20
        width = max(self._right_end(row) for row in self.rows)
        shapes: list[str] = []
        for name, words in self.names.items():
            x, wide = self.columns[name], len(words) * LETTER + 24
            width = max(width, x + wide / 2 + self.MARGIN)
            shapes.append(_line(f"M{x:.1f} {top} V{height:.1f}", 'opacity="0.35"'))
            shapes.append(_box(x - wide / 2, 6, wide, top - 6))
            shapes.append(_text(x, 25, words, style='font-weight="600"'))
        for index, row in enumerate(self.rows):
            shapes += self._drawn(row, top + self.ROW * (index + 1))
        return _svg(width, height, shapes, source)

    def _right_end(self, row: Message | Note) -> float:
        if isinstance(row, Message) and row.sender == row.receiver:
            return self.columns[row.sender] + len(row.words) * LETTER + 50
        if isinstance(row, Note):
            return self._span(row)[1] + self.MARGIN
        return 0.0

    def _span(self, note: Note) -> tuple[float, float]:
        left, right = sorted((self.columns[note.first], self.columns[note.last]))
        wide = max(right - left + 20, len(note.words) * LETTER + 20)
        middle = max((left + right) / 2, wide / 2 + self.MARGIN)
        return middle - wide / 2, middle + wide / 2

    def _drawn(self, row: Message | Note, y: float) -> list[str]:
        if isinstance(row, Note):
            left, right = self._span(row)
            note = _box(left, y - 18, right - left, 24, _DASHED)
            return [note, _text((left + right) / 2, y - 2, row.words, style='font-style="italic"')]
        style = _DASHED if row.dashed else ""
        x, to = self.columns[row.sender], self.columns[row.receiver]
        if x == to:
            loop = _arrow(f"M{x:.1f} {y - 12:.1f} h26 v14 h-24", (x + 1, y + 2), (x + 26, y + 2), style)
            return [loop, _text(x + 34, y, row.words, "start")]
        return [_text((x + to) / 2, y - 5, row.words), _straight((x, y), (to, y), style)]


# ----------------------------------------------------------------------------------------------------- states


class Place(NamedTuple):
    """A rectangle, by its middle."""

    x: float
    y: float
    width: float
    height: float

    def covers(self, point: Point, margin: float) -> bool:
        """Whether a point lies in it, or not far from it."""
        return (
            abs(point[0] - self.x) < self.width / 2 + margin
            and abs(point[1] - self.y) < self.height / 2 + margin
        )

    def border(self, towards: Point, margin: float = 0.0) -> Point:
        """Where a line from its middle to a point leaves it, or comes within the margin."""
        dx, dy = towards[0] - self.x, towards[1] - self.y
        beyond = float("inf")
        scale = min(
            (self.width / 2 + margin) / abs(dx) if dx else beyond,
            (self.height / 2 + margin) / abs(dy) if dy else beyond,
        )
        return self.x + dx * scale, self.y + dy * scale


class States:
    """What can follow what."""

    COLUMN = 150.0
    ROW = 84.0
    HEIGHT = 30.0
    EDGE = 40.0

    def __init__(self, lines: list[str]) -> None:
        self.cells: dict[str, Point] = {}
        self.edges: dict[tuple[str, str], str] = {}
        for line in lines:
            self._read(line)
        self.names = [*dict.fromkeys(name for edge in self.edges for name in edge if name != "[*]")]
        if missing := [name for name in self.names if name not in self.cells]:
            raise ValueError(
                f"say where these states are to be drawn, with a line '%% NAME column row': {missing}"
            )
        self.living = [name for name in self.names if self._following(name)]
        self.common = self._common()
        self.places = {name: self._place(name) for name in self.names}
        self.curves: list[list[Point]] = []

    def _read(self, line: str) -> None:
        if found := re.fullmatch(r"%% (\w+) ([\d.]+) ([\d.]+)", line):
            self.cells[found[1]] = float(found[2]), float(found[3])
        elif found := re.fullmatch(r"(\w+|\[\*\]) --> (\w+|\[\*\])(?:: (.+))?", line):
            self.edges[found[1], found[2]] = found[3] or ""
        elif not line.startswith("%%"):
            raise ValueError(f"{line!r} is no line of a state diagram that is drawn here")

    def _following(self, name: str) -> set[str]:
        return {new for old, new in self.edges if old == name and new != "[*]"}

    def _common(self) -> list[str]:
        """The states that may follow every one that is not final, where these are so many that it pays."""
        if len(self.living) < 4:
            return []
        return [new for new in self.names if all(new in self._following(old) for old in self.living)]

    def _place(self, name: str) -> Place:
        column, row = self.cells[name]
        return Place(
            self.EDGE + self.COLUMN * (column + 0.45),
            self.EDGE + self.ROW * row + self.HEIGHT / 2,
            len(name) * (LETTER + 1.4) + 20,
            self.HEIGHT,
        )

    def svg(self, source: str) -> str:
        """Draw it."""
        shapes: list[str] = []
        frame = self._frame()
        if self.common:
            left, top = frame.x - frame.width / 2, frame.y - frame.height / 2
            shapes.append(_line(_rounded(left, top, frame.width, frame.height), _DASHED))
        for (old, new), words in self.edges.items():
            if new == "[*]":
                continue
            if old == "[*]":
                shapes += self._beginning(self.places[new])
            elif new not in self.common:
                shapes += self._edge(old, new, words)
        shapes += [self._from_frame(frame, self.places[name]) for name in self.common]
        shapes += [shape for name in self.names for shape in self._state(name)]
        width = max(place.x + place.width / 2 for place in self.places.values()) + self.EDGE
        height = max(place.y + place.height / 2 for place in self.places.values()) + self.EDGE
        return _svg(width, height, shapes, source)

    def _frame(self) -> Place:
        """What is around every state that has a way out."""
        inside = [self.places[name] for name in self.living]
        left = min(place.x - place.width / 2 for place in inside) - 26
        right = max(place.x + place.width / 2 for place in inside) + 26
        top = min(place.y for place in inside) - 46
        bottom = max(place.y for place in inside) + 46
        return Place((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)

    def _state(self, name: str) -> list[str]:
        place = self.places[name]
        left, top = place.x - place.width / 2, place.y - place.height / 2
        shapes = [_box(left, top, place.width, place.height)]
        if name not in self.living:
            shapes.append(_line(_rounded(left - 3, top - 3, place.width + 6, place.height + 6)))
        return [*shapes, _text(place.x, place.y + 4.5, name, style='font-size="12"')]

    def _beginning(self, place: Place) -> list[str]:
        left = place.x - place.width / 2
        return [
            f'<circle cx="{left - 34:.1f}" cy="{place.y:.1f}" r="5" fill="currentColor"/>',
            _straight((left - 28, place.y), (left - 1, place.y)),
        ]

    def _from_frame(self, frame: Place, to: Place) -> str:
        edge = frame.x + frame.width / 2 if to.x > frame.x else frame.x - frame.width / 2
        side = -1 if to.x > frame.x else 1
        if abs(to.y - frame.y) > frame.height / 2:  # above or below it
            y = frame.y + (frame.height / 2 if to.y > frame.y else -frame.height / 2)
            end = to.y - (to.height / 2 + 4) * (1 if to.y > frame.y else -1)
            return _straight((to.x, y), (to.x, end))
        return _straight((edge, to.y), (to.x + side * (to.width / 2 + 4), to.y))

    def _edge(self, old: str, new: str, words: str) -> list[str]:
        """A curve that runs into no other state, and along no other curve."""
        start, end = self.places[old], self.places[new]
        others = [place for name, place in self.places.items() if name not in (old, new)]
        bends = [0.0] if (new, old) not in self.edges else []
        bends += [sign * step for step in range(22, 200, 8) for sign in (1.0, -1.0)]
        if (new, old) in self.edges:  # one each way: both bend to their own right
            bends = [abs(bend) for bend in bends]
        best = next((bend for bend in bends if self._fits(_curve(start, end, bend), others)), bends[-1])
        curve = _curve(start, end, best)
        self.curves.append(curve)
        (x0, y0), (x1, y1), (x2, y2) = curve[0], _control(start, end, best), curve[-1]
        path = f"M{x0:.1f} {y0:.1f} Q{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f}"
        shapes = [_arrow(path, curve[-1], curve[-4])]
        if words:
            middle = curve[len(curve) // 2]
            shapes.append(_text(middle[0], middle[1] + 4, words, style='font-size="11.5"'))
        return shapes

    def _fits(self, curve: list[Point], others: list[Place]) -> bool:
        if any(place.covers(point, 5) for place in others for point in curve):
            return False
        middle = curve[len(curve) // 4 : -len(curve) // 4]
        return all(
            sum(hypot(x - u, y - v) < 6 for x, y in middle for u, v in other) < 8 for other in self.curves
        )


def _control(start: Place, end: Place, bend: float) -> Point:
    """The point that a curve bends towards: beside the middle, to the right of its way."""
    dx, dy = end.x - start.x, end.y - start.y
    length = hypot(dx, dy)
    return (start.x + end.x) / 2 - dy / length * bend, (start.y + end.y) / 2 + dx / length * bend


def _curve(start: Place, end: Place, bend: float) -> list[Point]:
    """Points along a curve from the border of one state to that of another."""
    control = _control(start, end, bend)
    first, last = start.border(control), end.border(control, 4.0)
    points = []
    for step in range(41):
        t = step / 40
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
        points.append(
            (a * first[0] + b * control[0] + c * last[0], a * first[1] + b * control[1] + c * last[1])
        )
    return points


def _rounded(left: float, top: float, width: float, height: float) -> str:
    return (
        f"M{left + 7:.1f} {top:.1f} h{width - 14:.1f} q7 0 7 7 v{height - 14:.1f} q0 7 -7 7 "
        f"h{14 - width:.1f} q-7 0 -7 -7 v{14 - height:.1f} q0 -7 7 -7 z"
    )

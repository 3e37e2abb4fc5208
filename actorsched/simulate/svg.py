"""SVG as text: shapes, numbers, names, colours.

The law of this module: it knows nothing of schedules. Whatever comes from a file goes through `escaped` or
is a number, so that a picture is valid XML whatever a task is called. The same calls give the same text.
"""

from __future__ import annotations

import colorsys
from typing import Final
from unicodedata import east_asian_width

__all__ = ["Canvas", "colour_of", "darker", "escaped", "number", "shortened", "text_on", "width_of"]

# Told apart by most people with any sight of colours; red is kept for what goes wrong.
_COLOURS: Final = (
    "#5b8fd6",
    "#f0a53c",
    "#57ad74",
    "#a07fd4",
    "#2fb3b5",
    "#e48bb4",
    "#b0845f",
    "#adb03a",
    "#7f95ad",
    "#7373dd",
    "#dcbd3c",
    "#7cc6ef",
)
_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}


class Canvas:
    """Shapes, one after another; later ones lie above. Coordinates are pixels from the upper left corner."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[str] = []

    def rect(
        self, x: float, y: float, w: float, h: float, look: str, *, tip: str = "", corner: float = 0
    ) -> None:
        """Add a rectangle; `look` is made of attributes, `tip` shows when the pointer rests on it."""
        bend = f' rx="{number(corner)}"' if corner else ""
        shape = f'<rect x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}"{bend} {look}'
        self.parts.append(f"{shape}><title>{escaped(tip)}</title></rect>" if tip else f"{shape}/>")

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        """Add a straight line."""
        ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
        self.parts.append(f"<line {ends} {look}/>")

    def path(self, data: str, look: str, *, tip: str = "") -> None:
        """Add a path, if there is anything in it."""
        if data:
            shape = f'<path d="{data}" {look}'
            self.parts.append(f"{shape}><title>{escaped(tip)}</title></path>" if tip else f"{shape}/>")

    def text(self, x: float, y: float, text: str, look: str = "") -> None:
        """Add a line of text, whose foot is at `y`."""
        self.parts.append(
            f'<text x="{number(x)}" y="{number(y)}"{" " * bool(look)}{look}>{escaped(text)}</text>'
        )


def number(value: float) -> str:
    """Return a coordinate to a hundredth of a pixel, as shortly as possible."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def escaped(text: str) -> str:
    """Return text that may stand in an element or an attribute; what XML cannot hold becomes U+FFFD."""
    plain = "".join(char if _allowed(char) else "\ufffd" for char in text)
    return plain.translate(_ESCAPES)


def _allowed(char: str) -> bool:
    return char in "\t\n" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000"


def width_of(text: str, size: float) -> float:
    """Return about how many pixels a text takes: fonts differ, and bold is wide, so it is rather too many."""
    return 1.1 * size * sum(_width_of(char) for char in text)


def _width_of(char: str) -> float:
    if east_asian_width(char) in "WF":
        return 1.05
    if char in "iljtfr.,:;'|!()[]# ":
        return 0.4
    return 0.78 if char in "mwMWQOG@%" else 0.64 if char.isupper() else 0.6


def shortened(text: str, size: float, room: float) -> str:
    """Return as much of a text as has room, with an ellipsis if that is not all; empty if nothing has."""
    if width_of(text, size) <= room:
        return text
    room -= width_of("…", size)
    for end in range(len(text) - 1, 0, -1):
        if width_of(text[:end], size) <= room:
            return f"{text[:end]}…"
    return ""


# --------------------------------------------------------------------------------------------------- colours


def colour_of(place: int) -> str:
    """Return the colour of the n-th of many: twelve chosen ones, then as many more as it takes."""
    if place < len(_COLOURS):
        return _COLOURS[place]
    hue = (0.11 + place * 0.618033988749895) % 1  # the golden ratio: neighbours are far apart
    light, strength = ((0.62, 0.55), (0.5, 0.45), (0.72, 0.6))[place % 3]
    return _hex(*colorsys.hls_to_rgb(hue, light, strength))


def darker(colour: str) -> str:
    """Return the colour for the edge of an area of this one."""
    red, green, blue = _rgb(colour)
    return _hex(red * 0.68, green * 0.68, blue * 0.68)


def text_on(colour: str) -> str:
    """Return the colour of text that is read best on this one."""
    red, green, blue = (part**2.2 for part in _rgb(colour))
    return "#10151c" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.19 else "#ffffff"


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def _hex(*parts: float) -> str:
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)

"""The legend of a picture.

The law of this module: it explains the colours and signs that are in use on a sheet, and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from actorsched.simulate.lanes import INK, MARGIN, RED, Sheet
from actorsched.simulate.svg import darker, shortened, width_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["draw_legend"]

_Sign: TypeAlias = "Callable[[Sheet, float, float], None]"

_MOST: Final = 24  # colours
_LINE: Final = 20


def draw_legend(sheet: Sheet, y: float) -> float:
    """Draw it, in as many lines as it takes; returns where it ends."""
    x, right = float(MARGIN), sheet.left + sheet.width
    for word, sign in _entries(sheet):
        wide = 26 + width_of(word, 11) + 14
        if x + wide > right and x > MARGIN:
            x, y = float(MARGIN), y + _LINE
        sign(sheet, x, y)
        sheet.over.text(x + 24, y + 11, word, 'class="key"')
        x += wide
    return y + _LINE


def _entries(sheet: Sheet) -> list[tuple[str, _Sign]]:
    entries: list[tuple[str, _Sign]] = []
    for task, colour in list(sheet.colours.items())[:_MOST]:
        entries.append((shortened(task, 11, 150), _swatch(colour)))
    left_out = len(sheet.colours) - _MOST
    if left_out > 0:
        entries.append((f"and {left_out} more", _nothing))
    return entries + [(words, draw) for sign, words, draw in _SIGNS if sign in sheet.signs]


def _swatch(colour: str) -> _Sign:
    def sign(sheet: Sheet, x: float, y: float) -> None:
        look = f'fill="{colour}" stroke="{darker(colour)}" stroke-width=".75"'
        sheet.over.rect(x + 2, y + 1, 16, 12, look, corner=2)

    return sign


def _nothing(sheet: Sheet, x: float, y: float) -> None:
    """No sign."""


def _arrival(sheet: Sheet, x: float, y: float) -> None:
    sheet.over.path(f"M{x + 10:g} {y + 14:g}V{y:g}m-3.5 5l3.5 -5l3.5 5", _stroke(INK, 1.4))


def _deadline(sheet: Sheet, x: float, y: float) -> None:
    sheet.over.path(f"M{x + 10:g} {y:g}V{y + 14:g}m-3.5 -5l3.5 5l3.5 -5", _stroke("#8a5a00", 1.4))


def _missed(sheet: Sheet, x: float, y: float) -> None:
    sheet.over.path(f"M{x + 5:g} {y + 2:g}l10 10m0 -10l-10 10", _stroke(RED, 2.6))


def _ready(sheet: Sheet, x: float, y: float) -> None:
    sheet.over.rect(x + 2, y + 3, 16, 9, 'fill="#5b8fd6" fill-opacity=".25"')


def _waiting(sheet: Sheet, x: float, y: float) -> None:
    sheet.over.rect(x + 2, y + 2, 16, 10, 'fill="#5b8fd6" fill-opacity=".25"')
    sheet.over.rect(x + 2, y + 2, 16, 10, sheet.pattern("wait"))


def _late(sheet: Sheet, x: float, y: float) -> None:
    sheet.over.rect(x + 2, y + 1, 16, 12, sheet.pattern("late"))


def _stroke(colour: str, width: float) -> str:
    return f'fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-linecap="round"'


_SIGNS: Final[tuple[tuple[str, str, _Sign], ...]] = (
    ("arrival", "arrival", _arrival),
    ("deadline", "deadline", _deadline),
    ("missed", "deadline missed", _missed),
    ("late", "late", _late),
    ("ready", "ready, does not run", _ready),
    ("wait", "waits for a resource", _waiting),
)
"""The signs, what they mean, and how they are drawn."""

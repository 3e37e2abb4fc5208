"""Amounts of memory, given as a number of bytes or as text such as "500 MB".

The law of this module: it reads and writes amounts, and knows nothing of what they are for. Units are the
usual ones: kB, MB and GB are powers of 1,000, KiB, MiB and GiB powers of 1,024.
"""

from __future__ import annotations

import re
from typing import Final

from actorsched.checks import wrong_type, wrong_value

__all__ = ["check_size", "shown_size"]

_UNITS: Final = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_FORM: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*")
_REMEDY: Final = 'give a number of bytes, or text such as "500 MB" or "2 GiB"'


def check_size(value: object, field: str) -> int:
    """Return an amount of memory above zero, in bytes.

    Raises:
        TypeError: It is neither a number nor text.
        ValueError: It is no amount of memory, or none above zero.
    """
    if isinstance(value, str):
        form = _FORM.fullmatch(value)
        unit = None if form is None else _UNITS.get(form[2].lower())
        if form is None or unit is None:
            raise wrong_value(field, value, "is no amount of memory", _REMEDY)
        size = int(float(form[1]) * unit)
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise wrong_type(field, value, _REMEDY)
    if size < 1:
        raise wrong_value(field, value, "is no memory at all", _REMEDY)
    return size


def shown_size(size: float) -> str:
    """Return an amount of memory for people: "512 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"

"""Checks of single values that users give: numbers, durations, flags, words.

The law of this module: a check takes a value and the name of its field, and returns the value as it is kept,
or raises an error that names the field, what was given and what would have been right. It knows nothing of
what a field is for. What only one option takes is checked where that option is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from actorsched.durations import seconds
from actorsched.exceptions import shown

__all__ = [
    "Check",
    "check_choice",
    "check_factor",
    "check_flag",
    "check_label",
    "check_percent",
    "check_span",
    "check_text",
    "check_whole",
    "wrong_type",
    "wrong_value",
]

Check: TypeAlias = Callable[[object, str], object]


def wrong_type(field: str, value: object, remedy: str) -> TypeError:
    """Return the error for a value of the wrong type."""
    return TypeError(f"{field}={shown(value)} is of type {type(value).__name__}; {remedy}")


def wrong_value(field: str, value: object, fault: str, remedy: str) -> ValueError:
    """Return the error for a value of the right type that cannot be."""
    return ValueError(f"{field}={shown(value)} {fault}; {remedy}")


def check_whole(value: object, field: str, *, least: int, remedy: str | None = None) -> int:
    """Return an int that is not too small."""
    if remedy is None:
        remedy = f"give an int of {least} or more"
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(field, value, remedy)
    if value < least:
        raise wrong_value(field, value, f"is less than {least}", remedy)
    return value


def check_factor(value: object, field: str) -> float:
    """Return a finite number of 1 or more."""
    remedy = "give a number of 1 or more, such as 2.0"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise wrong_type(field, value, remedy)
    if not 1 <= value < float("inf"):
        raise wrong_value(field, value, "is not a finite number of 1 or more", remedy)
    return float(value)


def check_percent(value: object, field: str) -> float:
    """Return a share in per cent: above 0, 100 at most."""
    remedy = "give per cent, a number above 0 and up to 100, such as 90"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise wrong_type(field, value, remedy)
    if not 0 < value <= 100:
        raise wrong_value(field, value, "is no share of a machine", remedy)
    return float(value)


def check_span(value: object, field: str) -> float:
    """Return a duration above zero, in seconds."""
    result = seconds(value, field=field)
    if not result:
        raise wrong_value(field, value, "is no time at all", 'give a duration above zero, such as "5s"')
    return result


def check_flag(value: object, field: str) -> bool:
    """Return True or False, and nothing that is merely true or false."""
    if not isinstance(value, bool):
        raise wrong_type(field, value, "give True or False")
    return value


def check_choice(value: object, field: str, choices: tuple[str, ...]) -> str:
    """Return one of the words to choose from."""
    if not (isinstance(value, str) and value in choices):
        raise wrong_value(field, value, "is not a choice", f"choose from {', '.join(map(repr, choices))}")
    return value


def check_text(value: object, field: str) -> str | None:
    """Return text, or None."""
    if value is not None and not isinstance(value, str):
        raise wrong_type(field, value, "give a str, or None")
    return value


def check_label(value: object, field: str) -> str | None:
    """Return text that says something, or None."""
    text = check_text(value, field)
    if text is not None and not text.strip():
        raise wrong_value(field, value, "is empty", "give a str that says something, or leave it out")
    return text

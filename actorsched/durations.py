"""Durations: what people write for a span of time, and how a span is written for people.

The law of this module: it turns a duration as a user gives it into seconds, and seconds into text. It never
reads a clock, and knows nothing of what a duration is for but the name of the field, which its errors show.

How it works: a number is seconds. Text is one or more amounts with their units, the larger unit first and
none twice ("1h 30m"), added up in integers, so that "0.1ms" is exactly the float nearest to 0.0001. Text
without a unit ("5") is refused: whether it meant seconds or milliseconds is a guess. `re`, `datetime` and
`numbers` are imported when first needed: plain numbers, which is what nearly every program passes, need none
of them.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from actorsched.exceptions import shown

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from datetime import timedelta
    from typing import SupportsFloat

__all__ = ["Duration", "describe", "seconds"]

Duration: TypeAlias = "float | timedelta | str"
"""Seconds as a number, a `timedelta`, or text such as "250ms" or "1h 30m"."""

_NANOSECONDS: Final = {
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_SPELLINGS: Final = {
    "us": ("us", "µs", "μs", "usec", "usecs", "microsecond", "microseconds"),
    "ms": ("ms", "msec", "msecs", "millisecond", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "d": ("d", "day", "days"),
}
_UNITS: Final = {
    spelling: _NANOSECONDS[unit] for unit, spellings in _SPELLINGS.items() for spelling in spellings
}
_AMOUNT: Final = r"([0-9]+)(?:\.([0-9]+))?\s*([a-zµμ]+)\s*"
_LONGEST: Final = 100  # characters; nobody writes more, and it bounds the work that a hostile text can cause

_REMEDY: Final = (
    'give seconds as a number (2.5), a timedelta, or text such as "250ms", "5s", "30 sec", "5 minutes", '
    '"1m30s", "1h 30m" or "1d"'
)


def seconds(value: object, *, field: str = "duration") -> float:
    """Return a duration in seconds.

    Args:
        value: Seconds as a number, a `timedelta`, or text: amounts with units, the larger unit first.
        field: What the duration is for; errors name it.

    Returns:
        Seconds: finite, zero or more.

    Raises:
        ValueError: It is anything else, negative, infinite or not a number. Also for a wrong type, so that
            whoever reads a duration from a user or a file has one error to expect.
    """
    if type(value) is float or type(value) is int:
        return _checked(value, value, field)
    if isinstance(value, bool):
        raise _refusal(value, field, "is true or false, not a duration")
    if isinstance(value, str):
        return _from_text(value, field)
    return _from_object(value, field)


def describe(seconds: float) -> str:
    """Return seconds as text for people, to the nanosecond: "0s", "1.5ms", "2.5s", "1m30s", "1d2h".

    What it returns for a finite span `seconds()` reads back. An endless one is "for ever", a negative one
    begins with "-".
    """
    if not isfinite(seconds):
        return "for ever" if seconds > 0 else str(seconds)
    nanoseconds = round(abs(seconds) * 10**9)
    sign = "-" if seconds < 0 and nanoseconds else ""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 10**9:
        unit = "ms" if nanoseconds >= 10**6 else "us"
        return f"{sign}{_decimal(nanoseconds, _NANOSECONDS[unit])}{unit}"
    return sign + "".join(_parts(nanoseconds))


def _parts(nanoseconds: int) -> Iterator[str]:
    for unit in ("d", "h", "m"):
        amount, nanoseconds = divmod(nanoseconds, _NANOSECONDS[unit])
        if amount:
            yield f"{amount}{unit}"
    if nanoseconds:
        yield f"{_decimal(nanoseconds, 10**9)}s"


def _decimal(nanoseconds: int, unit: int) -> str:
    """Return nanoseconds in a unit of a power of ten nanoseconds, without zeros at the end."""
    whole, rest = divmod(nanoseconds, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".")


def _from_text(text: str, field: str) -> float:
    import re

    rest = text.strip().lower()
    if not rest:
        raise _refusal(text, field, "is empty")
    if rest.startswith("-"):
        raise _refusal(text, field, "is negative")
    if len(rest) > _LONGEST:
        raise _refusal(text, field, f"is longer than {_LONGEST} characters")
    if re.fullmatch(r"[0-9]*\.?[0-9]+", rest):
        raise _refusal(text, field, "has no unit")
    total, scale, previous = 0, 1, 0
    for match in _amounts(rest, text, field):
        whole, fraction, word = match[1], match[2] or "", match[3]
        unit = _UNITS.get(word)
        if unit is None:
            raise _refusal(text, field, f"has the unknown unit {word!r}")
        if previous and unit >= previous:
            raise _refusal(text, field, f"has {word!r} after a unit that is not larger")
        previous = unit
        ten = 10 ** len(fraction)
        total, scale = total * ten + int(whole + fraction) * unit * scale, scale * ten
    return total / (scale * 10**9)


def _amounts(rest: str, text: str, field: str) -> Iterator[re.Match[str]]:
    """Yield one match for each amount with its unit; together they cover the whole text."""
    import re

    pattern, position = re.compile(_AMOUNT), 0
    while position < len(rest):
        match = pattern.match(rest, position)
        if match is None:
            raise _refusal(text, field, "is not a series of amounts with units")
        yield match
        position = match.end()


def _from_object(value: object, field: str) -> float:
    from datetime import timedelta
    from numbers import Number

    if isinstance(value, timedelta):
        return _checked(value.total_seconds(), value, field)
    if isinstance(value, Number):  # Fraction, Decimal, NumPy's scalars
        return _checked(cast("SupportsFloat", value), value, field)
    raise _refusal(value, field, f"is {_a(type(value).__name__)}, not a duration")


def _checked(number: SupportsFloat, value: object, field: str) -> float:
    """Return the number as a float that is finite and not negative, or refuse the value that it came from."""
    try:
        result = float(number)
    except (OverflowError, ValueError, TypeError):  # a huge int, a signalling NaN, a complex number
        raise _refusal(value, field, "has no meaning as a float") from None
    if not isfinite(result):
        raise _refusal(value, field, "is not finite")
    if result < 0:
        raise _refusal(value, field, "is negative")
    return result + 0.0  # -0.0 becomes 0.0


def _refusal(value: object, field: str, fault: str) -> ValueError:
    return ValueError(f"{field}={shown(value)} {fault}; {_REMEDY}")


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"

"""What is wrong with a value in a file, in words.

The law of this module: a path, a value and a complaint go in, a `BadTaskSet` of one line comes out. It knows
which values are right only as words; `checking` decides.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, cast

from actorsched.simulate.taskset import BadTaskSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    import msgspec

__all__ = ["did_you_mean", "fault", "quoted", "translated"]

_STEP: Final = 'a step such as ["run", 3], ["acquire", "R"] or ["release", "R"]'
_TICKS: Final = "a number of ticks above 0, such as 3"
_TRUTH: Final = "true or false"

REMEDIES: Final = {
    "name": "a name in double quotes",
    "policy": '"PRIORITY", "PRIORITY+PI", "EDF", "FAIR", "REALTIME" or "DEADLOCK"',
    "processors": "a whole number, 1 or more",
    "tasks": 'an array of tasks such as {"name": "A", "exec": 3}',
    "arrival": "a tick, 0 or later",
    "exec": _TICKS,
    "program": f"an array of steps; {_STEP}",
    "priority": "a whole number; more is more urgent",
    "deadline": "an absolute tick after the arrival",
    "period": _TICKS,
    "resources": 'an array of names, or of {"name": "R", "capacity": 2}',
    "capacity": "a whole number, 1 or more",
    "params": 'an object such as {"quantum": 10}',
    "preemptive": _TRUTH,
    "quantum": _TICKS,
    "preempted_to": '"head" or "tail"',
    "aging_interval": _TICKS,
    "aging_step": "a whole number, 1 or more",
    "aging_preempts": _TRUTH,
    "levels": "a whole number, 1 or more",
    "quanta": "an array of one number of ticks for each level, such as [10, 20, 40]",
    "boost": f"{_TICKS}, or null",
    "until": "a tick after 0, the horizon",
    "on_miss": '"continue" or "abort"',
    "migration": _TRUTH,
    "expected": 'an array of slices [start, end, "task"], with the processor behind it if there are several',
    "finish": 'an object of finish times such as {"A": 5}',
    "misses": 'an array of ["job", deadline, finish or null]',
    "events": 'an array of events such as [3, "acquire", "A", "R"] or [5, "block", "B", "R", "A"]',
    "deadlock": 'an object such as {"at": 3, "cycle": ["A", "B"], "victim": "A"}',
    "schedules": "an array of schedule objects",
    "graphs": "an array of objects with holds and waits",
    "holds": 'an object such as {"A": ["R"]}',
    "waits": 'an object such as {"A": ["R"]}',
}
"""What would be right, by key."""

_PLACE: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_WHERE: Final = re.compile(r" - at `(?:key` in `)?([^`]+)`$")


def quoted(value: object, limit: int = 60) -> str:
    """Return a value as JSON writes it, on one line, and cut when it is long."""
    try:
        text = json.dumps(value)
    except (RecursionError, TypeError, ValueError):
        text = ascii(type(value).__name__)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def fault(path: str, value: object, complaint: str, remedy: str | None = None) -> BadTaskSet:
    """Return the error for a value; the remedy is that of the key, unless there is a better one."""
    return BadTaskSet(path, f"{quoted(value)} {complaint}; give {remedy or _remedy(path)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return what may be said instead of an unknown word."""
    words = list(known)
    near = get_close_matches(word, words, n=1)
    return f"did you mean {quoted(near[0])}?" if near else f"known are {', '.join(words)}"


def translated(error: msgspec.ValidationError, raw: object, path: str, known: Iterable[str]) -> BadTaskSet:
    """Return msgspec's complaint about `raw`, which stands at `path`, in our words."""
    text = str(error)
    where = _WHERE.search(text)
    inner = where[1].removeprefix("$").partition("[...]")[0] if where else ""
    value, text = _value_at(raw, inner), text[: where.start()] if where else text
    path += inner
    name = re.search(r"`(\w+)`", text)
    if text.startswith("Object contains unknown field") and name:
        return BadTaskSet(f"{path}.{name[1]}", f"is unknown; {did_you_mean(name[1], known)}")
    if text.startswith("Object missing required field") and name:
        return BadTaskSet(path, f'{quoted(value)} has no "{name[1]}"; give {REMEDIES.get(name[1], "one")}')
    return fault(path, value, _complaint(text, value))


def _complaint(text: str, value: object) -> str:
    if text.startswith("Invalid"):
        return "is unknown"
    if "length" in text:
        return "has the wrong length"
    if isinstance(value, float) and "`int`" in text:
        return "is no whole number"
    return f"is {_sort(value)}"


def _sort(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "an array"
        case _:
            return "an object"


def _value_at(raw: object, path: str) -> object:
    for key, index in _PLACE.findall(path):
        raw = cast("dict[str, object]", raw)[key] if key else cast("list[object]", raw)[int(index)]
    return raw


def _remedy(path: str) -> str:
    """What would be right there, by the last key of the path."""
    keys = [key for key, _ in _PLACE.findall(path) if key]
    last = keys[-1] if keys else ""
    if last == "program" and not path.endswith("program"):
        return _TICKS if path.endswith("[1]") else _STEP
    if last == "tasks" and path.endswith("]"):
        return 'a task such as {"name": "A", "exec": 3}'
    if last in ("", "schedules") and not path.endswith("schedules"):
        return 'an object such as {"policy": "EDF", "tasks": [{"name": "A", "exec": 3}]}'
    return REMEDIES.get(last, "what the key asks for")

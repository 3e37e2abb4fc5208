"""Reading a task set from JSON.

The law of this module: bytes go in; a checked `TaskFile` comes out, or a `BadTaskSet` that says in one line
where the fault is. It opens no file.

How it works: the standard library reads the JSON, as it knows the line and the column of a mistake, and lets
us see a key that stands twice; msgspec makes Structs of it and knows the path of a wrong type; `checking` has
the last word. A number that is not finite gets through the first two, so that the third can say where it is.
"""

from __future__ import annotations

import json
from collections import Counter
from difflib import get_close_matches
from typing import Any, Final, TypeVar, cast

import msgspec

from actorsched.simulate import checking
from actorsched.simulate.faults import did_you_mean, fault, quoted, translated
from actorsched.simulate.taskset import (
    BadTaskSet,
    Deadlock,
    Event,
    Expectation,
    Graph,
    GraphDeadlock,
    Miss,
    Params,
    Resource,
    Slice,
    Task,
    TaskFile,
    TaskSet,
    Time,
    policy_named,
)

__all__ = ["read", "read_graph", "read_schedule"]

T = TypeVar("T")

_PLAYED: Final = ("name", "policy", "processors", "tasks", "resources", "params")
_KEYS: Final = {
    "tasks": Task.__struct_fields__,
    "params": Params.__struct_fields__,
    "resources": Resource.__struct_fields__,
}


class _Schedule(msgspec.Struct, kw_only=True):
    """A schedule object as the file has it. Keys that it does not name are remarks."""

    name: str = "unnamed"
    policy: str = "PRIORITY"
    processors: int = 1
    tasks: tuple[Task, ...]
    resources: tuple[str | Resource, ...] = ()
    params: Params = Params()
    expected: tuple[Slice, ...] | None = None
    finish: dict[str, Time] | None = None
    misses: tuple[Miss, ...] | None = None
    events: tuple[Event, ...] | None = None
    deadlock: Deadlock | None = None


class _Named(msgspec.Struct):
    name: str


class _Graph(msgspec.Struct, kw_only=True):
    name: str = "unnamed"
    tasks: tuple[_Named, ...]
    resources: tuple[str | Resource, ...] = ()
    holds: dict[str, tuple[str, ...]] = {}
    waits: dict[str, tuple[str, ...]] = {}
    deadlock: GraphDeadlock | None = None


def read(data: bytes | str) -> TaskFile:
    """Return what a file holds.

    Args:
        data: JSON: one schedule object, or several under "schedules", and graphs under "graphs".

    Raises:
        BadTaskSet: It makes no sense.
    """
    raw = _loaded(data)
    if not isinstance(raw, dict):
        raise fault("$", raw, "is no object")
    whole = cast("dict[str, object]", raw)
    if "schedules" not in whole and "graphs" not in whole:
        return TaskFile(schedules=(read_schedule(whole),))
    if "tasks" in whole:
        raise BadTaskSet(
            "$.tasks", 'stands beside "schedules" or "graphs"; give one schedule, or several there'
        )
    schedules, graphs = _array(whole, "schedules"), _array(whole, "graphs")
    if not schedules and not graphs:
        raise BadTaskSet("$.schedules", "is empty; give at least one schedule object")
    return TaskFile(
        schedules=tuple(read_schedule(each, f"$.schedules[{k}]") for k, each in enumerate(schedules)),
        graphs=tuple(read_graph(each, f"$.graphs[{k}]") for k, each in enumerate(graphs)),
        several=True,
    )


def read_schedule(raw: object, path: str = "$") -> TaskSet:
    """Return a schedule object.

    Args:
        raw: What `json.loads` makes of it.
        path: Where it stands, for errors.

    Raises:
        BadTaskSet: It makes no sense.
    """
    _refuse_near_keys(raw, path)
    form = _converted(raw, _Schedule, path)
    words = cast("dict[str, object]", raw)
    taskset = TaskSet(
        name=form.name,
        policy=policy_named(form.policy, path=f"{path}.policy"),
        processors=form.processors,
        tasks=form.tasks,
        resources=_resources(form.resources),
        params=form.params,
        expectation=Expectation(form.expected, form.finish, form.misses, form.events, form.deadlock),
        words={key: words[key] for key in ("tasks", "resources", "params") if key in words},
    )
    checking.check_taskset(taskset, path)
    return taskset


def read_graph(raw: object, path: str = "$") -> Graph:
    """Return a graph; arguments and errors are those of `read_schedule`."""
    form = _converted(raw, _Graph, path)
    graph = Graph(
        name=form.name,
        tasks=tuple(task.name for task in form.tasks),
        resources=_resources(form.resources),
        holds=form.holds,
        waits=form.waits,
        deadlock=form.deadlock,
    )
    checking.check_graph(graph, path)
    return graph


def _resources(given: tuple[str | Resource, ...]) -> tuple[Resource, ...]:
    return tuple(Resource(each) if isinstance(each, str) else each for each in given)


def _refuse_near_keys(raw: object, path: str) -> None:
    """A remark may have any name but one that looks like a key that matters: "processor", "Tasks"."""
    if not isinstance(raw, dict):
        return
    for key in cast("dict[str, object]", raw):
        if key not in _PLAYED and get_close_matches(key.lower(), _PLAYED, n=1, cutoff=0.88):
            raise BadTaskSet(f"{path}.{_plain(key)}", f"is unknown; {did_you_mean(key.lower(), _PLAYED)}")


def _array(whole: dict[str, object], key: str) -> list[object]:
    value = whole.get(key, [])
    if not isinstance(value, list):
        raise fault(f"$.{key}", value, "is no array")
    return cast("list[object]", value)


def _converted(raw: object, form: type[T], path: str) -> T:
    try:
        return msgspec.convert(raw, form)
    except msgspec.ValidationError as error:
        place = str(error)
        known = next((keys for key, keys in _KEYS.items() if f".{key}" in place), _PLAYED)
        raise translated(error, raw, path, known) from None


def _plain(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else quoted(key)


# ------------------------------------------------------------------------------------------------- plain JSON


class _Twice(dict[str, Any]):
    """An object in which a key stands twice."""

    __slots__ = ("key",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.key, _ = Counter(key for key, _ in pairs).most_common(1)[0]


def _loaded(data: bytes | str) -> object:
    found: list[_Twice] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        found.append(_Twice(pairs))
        return found[-1]

    try:
        raw: object = json.loads(data, object_pairs_hook=object_of)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadTaskSet("$", f"not JSON at {where}: {error.msg}; give a JSON object") from None
    except UnicodeDecodeError as error:
        raise BadTaskSet("$", f"byte {error.start} is no {error.encoding} text; give JSON in UTF-8") from None
    except RecursionError:
        raise BadTaskSet("$", "is nested too deeply; give a schedule object") from None
    except ValueError:  # the interpreter's limit on the digits of a whole number
        raise BadTaskSet("$", "has a number of thousands of digits; give times of at most 1e12") from None
    if found:
        raise BadTaskSet(_path_of(found[-1], raw), f"{quoted(found[-1].key)} stands twice; give it once")
    return raw


def _path_of(wanted: object, raw: object) -> str:
    """Where a value stands; not by recursion, as a file may be nested as deeply as it was read."""
    waiting: list[tuple[str, object]] = [("$", raw)]
    while waiting:
        path, value = waiting.pop()
        if value is wanted:
            return path
        if isinstance(value, dict):
            members = cast("dict[str, object]", value)
            waiting += [(f"{path}.{_plain(key)}", member) for key, member in members.items()]
        elif isinstance(value, list):
            waiting += [(f"{path}[{k}]", member) for k, member in enumerate(cast("list[object]", value))]
    return "$"

"""What happens in a runtime, told to whoever wants to know.

An event is a fact with a time: it is told after it has happened, in the order in which things happened, to
handlers that cannot change it. A runtime to which nobody listens makes no events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from actorsched.exceptions import shown

__all__ = ["KINDS", "Event", "EventKind", "checked_handler", "checked_kinds"]

EventKind = Literal[
    "created",
    "waiting",
    "ready",
    "blocked",
    "started",
    "preempted",
    "resumed",
    "progress",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "deadline_missed",
    "acquired",
    "handed_over",
    "released",
    "deadlock",
    "alert",
    "actor_started",
    "actor_restarted",
    "actor_stopped",
    "host_spawned",
    "host_retiring",
    "host_reaped",
    "host_died",
]

_OF_ACTORS = frozenset(("actor_started", "actor_restarted", "actor_stopped"))

KINDS: tuple[EventKind, ...] = EventKind.__args__  # type: ignore[attr-defined]
"""All kinds of events."""

Record: TypeAlias = "tuple[EventKind, float, str, int | str, dict[str, Any]]"
"""What an event is made of when somebody looks at it. The details may be those of many."""


class Event(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Something has happened.

    Attributes:
        kind: What: the status that a task has entered ("started" and "resumed" for RUNNING); "acquired",
            "handed_over" and "released" of a resource; "deadlock", found and broken; "alert" for a limit that
            was passed. "deadline_missed" is told at the deadline, of tasks that go on too. "host_spawned"
            when a host process is ready, "host_retiring" when it has been told to end, which it does when it
            has nothing left, "host_reaped" when one has ended as it was told to, and "host_died"
            when one has ended otherwise; of one that never got ready that is all there is.
            "actor_started" when its `on_start` is over, "actor_restarted" the same in a life after the first,
            and "actor_stopped" when it has ended for good. "progress" when a task reports how far it is.
        time: When, in seconds of the runtime's clock.
        name: The name of the task, the actor or the host.
        number: Its number among those of its kind in this process; of a host, its id.
        details: What else there is to know, by kind. "created": `priority`, `pool`, `tags` and, if it depends
            on tasks, their ids, `after`. "started": `attempt`, `host` ("loop", "thread" or "process") and
            `worker`, the lane that runs it. "progress": `fraction` and `message`. "retrying": `error` and
            `delay`. `resource`, `holder`, `holders`, its own `priority` and
            the lowest `holder_priority` ("blocked"), `resource` ("acquired", ...), `circle`
            and `victim` ("deadlock"), `deadline` ("deadline_missed"), `limit` and `seconds` ("alert", of a
            task), `name`, `phase`, `priority`, `pool`, `quantile`, `value`, `threshold` and `state` ("alert",
            of an alarm), and whether it has ended with that: `final` ("completed", ...), and the `error`, if
            it has one, as text. Of actors `actor` (its class) and `host`; of a stopped one `why`.
            Of hosts `pid`, `pool` (the tag of its tasks, "process" or "actors") and `why`, a clause; of one
            that died also the likely `cause`, `signal` and `exit_code`, as in `HostDied`.
    """

    kind: EventKind
    time: float
    name: str
    number: int | str
    details: Mapping[str, Any] = {}

    @property
    def id(self) -> str:
        """The id of the task, the actor or the host."""
        number = self.number
        if type(number) is str:
            return number
        return f"actor-{number}" if self.kind in _OF_ACTORS else f"task-{number}"


def checked_kinds(kinds: EventKind | Iterable[EventKind] | None) -> frozenset[str] | None:
    """Kinds of events, checked; None for all.

    Raises:
        ValueError: One does not exist.
    """
    if kinds is None:
        return None
    named = frozenset((kinds,) if isinstance(kinds, str) else kinds)
    for kind in named:
        if kind not in KINDS:
            raise ValueError(f"kinds={shown(kind)} is no kind of event; choose from {', '.join(KINDS)}")
    return named


def checked_handler(handler: Callable[[Event], object]) -> Callable[[Event], object]:
    """A function that takes events, checked.

    Raises:
        TypeError: It cannot be called, or is async.
    """
    from inspect import iscoroutinefunction

    if not callable(handler):
        raise TypeError(f"handler={shown(handler)} cannot be called; give a function that takes an Event")
    if iscoroutinefunction(handler):
        raise TypeError(
            f"handler={shown(handler)} is an async function, which nobody would await; give a plain one that "
            "hands the event to an actor, for example with tell"
        )
    return handler

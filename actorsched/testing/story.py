"""The story of a simulated run: its event log, in words.

The law of this module: it puts into words what others have seen, and decides nothing. It is only asked
while a log is kept, so it may take its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from actorsched.testing.leaks import is_users, waits_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actorsched._kernel.simulated import SimulatedKernel

_FIRST, _LAST = 100, 200
"""So many lines of a long story are told, of its beginning and of its end."""
_UNSAID = {"final", "pool", "worker", "host"}
"""Details of events that say nothing to whoever reads the story of a failure."""
_OF_TASKS = {
    *("created", "waiting", "ready", "blocked", "started", "preempted", "resumed", "progress", "retrying"),
    *("completed", "failed", "cancelled", "deadline_missed"),
}
"""The kinds of events that concern a task."""
_OURS = ("actorsched ", "<")
"""How the names of the loop's tasks begin that are none of the user's: ours, and those of trio itself."""


class Entry(NamedTuple):
    """One line of the event log.

    Attributes:
        time: When, in seconds of virtual time.
        kind: "event", "message", "step", "choice", "lag", "fault", "host", "probe", "log" or "failure".
        text: What has happened.
    """

    time: float
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.time:10.4f}  {self.kind:<7}  {self.text}"


def told(log: Sequence[Entry]) -> list[str]:
    """A log as it is shown; of a very long one, how it begins and ends."""
    if len(log) <= _FIRST + _LAST:
        return list(map(str, log)) or ["(nothing)"]
    left_out = f"... {len(log) - _FIRST - _LAST} lines are left out here ..."
    return [*map(str, log[:_FIRST]), left_out, *map(str, log[-_LAST:])]


def event(kind: str, name: str, number: int | str, details: Mapping[str, object]) -> str:
    """An event of a task, an actor or a host."""
    if kind in _OF_TASKS:
        name = f"{name} #{number}"
    said = [f"{key}={value}" for key, value in details.items() if value is not None and key not in _UNSAID]
    return f"{kind} {name}" + (f" ({', '.join(said)})" if said else "")


def step(runnable: Any, activity: Any) -> str:
    """User code of a runtime has taken its first step; it has suspended if there is an activity."""
    return _title(runnable) if activity is None else f"{_title(activity)}{_now_at(_code_of(activity))}"


def later_step(task: Any, main: Any, kernels: Iterable[SimulatedKernel], told: object = None) -> str | None:
    """A task of the loop has taken a step; None if that was nothing but plumbing, or is told already.

    Args:
        task: The task.
        main: The main one, which has no other name.
        kernels: Whose carriers may run user code.
        told: The run of user code whose first step it was.
    """
    for kernel in kernels:
        for carrier in kernel.carriers:
            if carrier.task is task:
                subject = carrier.subject
                plumbing = subject is None or subject is told or carrier.trap is None
                return None if plumbing else step(None, subject)
    name = "main" if task is main else task.get_name() if hasattr(task, "get_name") else task.name
    if str(name).startswith(_OURS):
        return None
    code = task.get_coro() if hasattr(task, "get_coro") else task.coro
    place = _now_at(code, of_users=True)
    return f"{name}{place}" if place or task is not main else None


def _title(run: Any) -> str:
    owner: Any = getattr(run, "owner", None)
    title: str = run.title
    return f"{title} #{owner.number}" if getattr(owner, "settles", False) else title


def _code_of(activity: Any) -> object:
    stepper = activity.stepper
    return None if stepper is None else getattr(stepper.send, "__self__", None)


def _now_at(code: object, *, of_users: bool = False) -> str:
    """Where code is suspended; nothing if it is over.

    Args:
        code: A coroutine, or what awaits one.
        of_users: Whether it says nothing, either, where nobody's code but that of libraries is.
    """
    places = waits_at(code)
    if not places or (of_users and not is_users(places[-1].file)):
        return ""
    place = places[-1]
    source = place.source
    return f" waits at {place.file.rpartition('/')[2]}:{place.line}" + (f"  `{source}`" if source else "")

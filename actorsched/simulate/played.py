"""What came of a task set: recorded while it is played, and written down as JSON.

The law of this module: it writes down what it is told, in the order of the times that it is told, and decides
nothing about who runs. It knows no clock and no scheduler.

How it works: what happens at one instant is only settled when time goes on, since at an instant a task may
leave its processor and come back, or come on and leave again without having run. Who has a processor before
and after keeps it, without a break; the others take the lowest free numbers in the order in which they came
on. All is cut at the horizon.
"""

from __future__ import annotations

import json
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, cast

import msgspec

from actorsched.simulate.taskset import Deadlock, Event, Miss, Slice, TaskFile, TaskSet, Time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actorsched.simulate.taskset import Expectation, Kind

__all__ = ["Played", "Recorder", "answer", "answers", "exact", "from_expectation", "written"]

_DIGITS: Final = 9  # behind the point; what a sum of floats is off by is less


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a task set.

    Attributes:
        name: That of the task set.
        processors: How many there were.
        slices: Who had which processor when, by start and then by processor.
        finish: When each job that has finished did so, in order of submission.
        misses: The jobs that were late, by deadline and then by name.
        events: What happened to resources, as it happened.
        deadlock: The first one, if there was any; all are among the events.
    """

    name: str
    processors: int
    slices: tuple[Slice, ...] = ()
    finish: dict[str, Time] = {}
    misses: tuple[Miss, ...] = ()
    events: tuple[Event, ...] = ()
    deadlock: Deadlock | None = None


def exact(time: Time) -> Time:
    """Return a time without what floats add to it, and as a whole number if it is one."""
    if isinstance(time, int):
        return time
    rounded = round(time, _DIGITS)
    return int(rounded) if rounded.is_integer() else rounded


# ----------------------------------------------------------------------------------------------- recording


class Recorder:
    """Takes down a play, instant by instant.

    Every method takes the time in ticks first. It never goes back; within an instant the order of calls is
    the order in which things happened.
    """

    __slots__ = ("_deadlock", "_events", "_finish", "_free", "_now", "_on", "_open", "_slices", "_taskset")

    def __init__(self, taskset: TaskSet) -> None:
        self._taskset = taskset
        self._now: Time = 0
        self._on: dict[str, None] = {}  # who has a processor, in the order of coming on
        self._open: dict[str, tuple[Time, int]] = {}  # since when, and which one: settled
        self._free = list(range(taskset.processors))
        heapify(self._free)
        self._slices: list[Slice] = []
        self._finish: dict[str, Time] = {}
        self._events: list[Event] = []
        self._deadlock: Deadlock | None = None

    def __repr__(self) -> str:
        return f"<Recorder of {self._taskset.name!r} at {self._now}: {', '.join(self._on) or 'nobody'} runs>"

    def on(self, time: Time, job: str) -> None:
        """A job has a processor from now on.

        Raises:
            ValueError: It has one already, or time has gone back.
        """
        self._go_on(time)
        if job in self._on:
            raise ValueError(f"{job} cannot come on at {time}: it has a processor; say off() before")
        self._on[job] = None

    def off(self, time: Time, job: str) -> None:
        """A job has a processor no longer.

        Raises:
            ValueError: It has none, or time has gone back.
        """
        self._go_on(time)
        if job not in self._on:
            raise ValueError(f"{job} cannot go off at {time}: it has no processor; say on() before")
        del self._on[job]

    def finished(self, time: Time, job: str) -> None:
        """A job has done all it had to do; if it has a processor, it is off now."""
        self._go_on(time)
        self._on.pop(job, None)
        if self._within():
            self._finish[job] = self._now

    def acquire(self, time: Time, job: str, resource: str) -> None:
        """A job has got a free resource."""
        self._note(time, "acquire", job, resource)

    def release(self, time: Time, job: str, resource: str) -> None:
        """A job has given a resource back."""
        self._note(time, "release", job, resource)

    def handoff(self, time: Time, job: str, resource: str) -> None:
        """A job that has waited for a resource has got it."""
        self._note(time, "handoff", job, resource)

    def block(self, time: Time, job: str, resource: str, holder: str) -> None:
        """A job has to wait for a resource that `holder` has."""
        self._note(time, "block", job, resource, holder)

    def deadlock(self, time: Time, cycle: Sequence[str], victim: str | None = None) -> None:
        """Jobs wait for each other: first the one who closed the circle, then along what they wait for."""
        self._note(time, "deadlock", tuple(cycle))
        if self._deadlock is None and self._within():
            self._deadlock = Deadlock(self._now, tuple(cycle), victim)

    def played(self, time: Time | None = None) -> Played:
        """Return what was taken down.

        Args:
            time: When the play ended, if later than what happened last. Who still runs does so until then,
                or until the horizon if there is one.
        """
        until = self._taskset.params.until
        self._go_on(max(self._now, time or 0, until or 0))
        self._settle()
        slices = [*self._slices, *(self._slice(job) for job in self._open)]
        kept = [piece for piece in slices if piece.start < piece.end]
        kept.sort(key=lambda piece: (piece.start, piece.processor))
        jobs = self._taskset.jobs()
        return Played(
            name=self._taskset.name,
            processors=self._taskset.processors,
            slices=tuple(kept),
            finish={job.name: self._finish[job.name] for job in jobs if job.name in self._finish},
            misses=misses(self._taskset, self._finish),
            events=tuple(self._events),
            deadlock=self._deadlock,
        )

    def _note(
        self, time: Time, kind: Kind, who: str | tuple[str, ...], resource: str = "", holder: str = ""
    ) -> None:
        self._go_on(time)
        if self._within():
            self._events.append(Event(self._now, kind, who, resource, holder))

    def _go_on(self, time: Time) -> None:
        now = exact(time)
        if now < self._now:
            raise ValueError(f"time cannot go back from {self._now} to {now}; record things as they happen")
        if now > self._now:
            self._settle()
            self._now = now

    def _within(self) -> bool:
        until = self._taskset.params.until
        return until is None or self._now <= until

    def _settle(self) -> None:
        """The instant is over: who has which processor after it?"""
        for job in [job for job in self._open if job not in self._on]:
            self._slices.append(self._slice(job))
            heappush(self._free, self._open.pop(job)[1])
        for job in self._on:
            if job not in self._open:
                if not self._free:
                    raise ValueError(
                        f"{job} cannot run at {self._now}: all processors are taken; say off() before"
                    )
                self._open[job] = self._now, heappop(self._free)

    def _slice(self, job: str) -> Slice:
        start, processor = self._open[job]
        until = self._taskset.params.until
        return Slice(start, self._now if until is None else min(self._now, until), job, processor)


def misses(taskset: TaskSet, finish: dict[str, Time]) -> tuple[Miss, ...]:
    """Return who was late: finished after the deadline, or not at all though that is not past the horizon."""
    until = taskset.params.until
    found: list[Miss] = []
    for job in taskset.jobs():
        if job.deadline is None:
            continue
        due, end = exact(job.deadline), finish.get(job.name)
        late = (until is None or due <= until) if end is None else end > due
        if late:
            found.append((job.name, due, end))
    return tuple(sorted(found, key=lambda miss: (miss[1], miss[0])))


def from_expectation(taskset: TaskSet) -> Played:
    """Return what a task set is expected to come to, as if it had been played."""
    expected: Expectation = taskset.expectation
    return Played(
        name=taskset.name,
        processors=taskset.processors,
        slices=expected.slices or (),
        finish=expected.finish or {},
        misses=expected.misses or (),
        events=expected.events or (),
        deadlock=expected.deadlock,
    )


# ------------------------------------------------------------------------------------------ written as JSON


def answers(
    file: TaskFile, played: Sequence[Played], graphs: Sequence[dict[str, object]] = ()
) -> dict[str, object]:
    """Return the answer to a file, in its shape: itself a file, which expects what was played.

    Args:
        file: What was played, with the policies under which it was.
        played: What came of each of its schedules, in their order.
        graphs: The answers to its graphs.
    """
    found = [answer(taskset, each) for taskset, each in zip(file.schedules, played, strict=True)]
    if not file.several:
        return found[0]
    parts: dict[str, object] = {"schedules": found, "graphs": list(graphs)}
    return {key: part for key, part in parts.items() if part}


def answer(taskset: TaskSet, played: Played) -> dict[str, object]:
    """Return a schedule object: the task set in its own words, and what came of it."""
    form: dict[str, object] = {
        "name": taskset.name,
        "policy": taskset.policy,
        "processors": taskset.processors,
        "tasks": taskset.words.get("tasks", []),
        "resources": taskset.words.get("resources", []),
        "params": taskset.words.get("params", {}),
        "expected": [_slice_form(piece, played.processors) for piece in played.slices],
        "finish": played.finish,
        "misses": [list(miss) for miss in played.misses],
        "events": [_event_form(event) for event in played.events],
    }
    if played.deadlock is not None:
        form["deadlock"] = msgspec.to_builtins(played.deadlock)
    return form


def _slice_form(piece: Slice, processors: int) -> list[object]:
    form: list[object] = [piece.start, piece.end, piece.task]
    return form if processors == 1 else [*form, piece.processor]


def _event_form(event: Event) -> list[object]:
    who = event.who if isinstance(event.who, str) else list(event.who)
    return [event.at, event.kind, who, *filter(None, (event.resource, event.holder))]


def written(value: object, *, width: int = 100) -> str:
    """Return JSON for people and programs: whatever has room on a line stands on one."""
    return "".join(_written(value, width, "")) + "\n"


def _written(value: object, width: int, indent: str) -> Iterator[str]:
    line = json.dumps(value)
    if len(line) + len(indent) <= width:
        yield line
    elif isinstance(value, dict):
        table = cast("dict[str, object]", value)
        members = [(f"{json.dumps(key)}: ", member) for key, member in table.items()]
        yield from _over_lines("{}", members, width, indent)
    elif isinstance(value, (list, tuple)):
        row = cast("Sequence[object]", value)
        yield from _over_lines("[]", [("", member) for member in row], width, indent)
    else:
        yield line


def _over_lines(brackets: str, members: list[tuple[str, object]], width: int, indent: str) -> Iterator[str]:
    inner = f"{indent}  "
    separator = f"{brackets[0]}\n{inner}"
    for key, member in members:
        yield separator + key
        yield from _written(member, width, inner)
        separator = f",\n{inner}"
    yield f"\n{indent}{brackets[1]}"

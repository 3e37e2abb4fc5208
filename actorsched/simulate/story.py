"""What a play says of each task and each resource: when it lived, ran, waited, was held.

The law of this module: a play goes in, spans of time come out. It draws nothing.

How it works: slices and events are in order of time, so one walk over each is enough. What a file leaves
unsaid (a play may be the expectation of one) ends with the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actorsched.simulate.played import exact

if TYPE_CHECKING:
    from actorsched.simulate.played import Played
    from actorsched.simulate.taskset import Event, Job, TaskSet, Time

__all__ = ["ResourceStory", "Span", "Story", "TaskStory", "rows_of"]


class Span(NamedTuple):
    """From when to when, who, and what about it."""

    start: Time
    end: Time
    job: str
    detail: str = ""


class Due(NamedTuple):
    """A deadline: whose, when it is, and whether and how it was missed."""

    at: Time
    job: str
    missed: bool = False
    finish: Time | None = None


class TaskStory:
    """What became of the jobs of one task."""

    __slots__ = ("arrivals", "blocked", "dues", "finishes", "lives", "runs")

    def __init__(self) -> None:
        self.arrivals: list[Time] = []
        self.dues: list[Due] = []
        self.finishes: list[tuple[Time, str]] = []
        self.lives: list[Span] = []  # from arrival to the end, however it ended
        self.runs: list[Span] = []
        self.blocked: list[Span] = []


class ResourceStory:
    """Who held a resource, and who waited for it."""

    __slots__ = ("held", "waits")

    def __init__(self) -> None:
        self.held: list[Span] = []
        self.waits: list[Span] = []


class Story:
    """A play, told by tasks and by resources.

    Attributes:
        start: Where the picture begins: 0, unless the first arrival is much later.
        end: Where it ends: at the horizon, or with whatever is last.
        tasks: By name, in order of submission.
        resources: By name, in order of declaration.
        task_of: The task that each job belongs to.
        deadlock: The first one, if there was any.
    """

    __slots__ = ("_ends", "deadlock", "end", "resources", "start", "task_of", "tasks")

    def __init__(self, played: Played, taskset: TaskSet) -> None:
        jobs = taskset.jobs()
        self.deadlock = played.deadlock
        self.task_of = {job.name: job.task for job in jobs}
        self.tasks = {task.name: TaskStory() for task in taskset.tasks}
        self.resources = {resource.name: ResourceStory() for resource in taskset.resources}
        self.start, self.end = _bounds(played, taskset, jobs)
        self._ends = _last_seen(played)
        self._tell_runs(played)
        self._tell_resources(played)
        self._tell_lives(played, taskset, jobs)

    def _tell_runs(self, played: Played) -> None:
        for piece in played.slices:
            task = self.task_of.setdefault(piece.task, piece.task)
            story = self.tasks.setdefault(task, TaskStory())
            story.runs.append(Span(piece.start, piece.end, piece.task, str(piece.processor)))

    def _tell_resources(self, played: Played) -> None:
        held: dict[tuple[str, str], Time] = {}
        waits: dict[str, Event] = {}
        for event in played.events:
            if not isinstance(event.who, str):
                victim = (
                    played.deadlock.victim if played.deadlock and played.deadlock.at == event.at else None
                )
                if victim:
                    self._end_wait(waits, victim, event.at)
                continue
            resource = self.resources.setdefault(event.resource, ResourceStory())
            self._end_wait(waits, event.who, event.at)
            if event.kind == "block":
                waits[event.who] = event
            elif event.kind == "release":
                start = held.pop((event.who, event.resource), self.start)
                resource.held.append(Span(start, event.at, event.who))
            else:
                held[event.who, event.resource] = event.at
        for (job, name), start in held.items():
            self.resources[name].held.append(Span(start, self.end, job))
        for job in list(waits):
            self._end_wait(waits, job, self.end)
        for resource in self.resources.values():
            resource.held.sort()

    def _end_wait(self, waits: dict[str, Event], job: str, at: Time) -> None:
        event = waits.pop(job, None)
        if event is None or at <= event.at:
            return
        self.resources[event.resource].waits.append(Span(event.at, at, job, event.holder))
        task = self.tasks.get(self.task_of.get(job, job))
        if task is not None:
            task.blocked.append(Span(event.at, at, job, event.resource))

    def _tell_lives(self, played: Played, taskset: TaskSet, jobs: list[Job]) -> None:
        missed = {job: end for job, _, end in played.misses}
        victim = played.deadlock.victim if played.deadlock else None
        for job in jobs:
            story = self.tasks[job.task]
            story.arrivals.append(job.arrival)
            if job.deadline is not None and job.deadline <= self.end:
                story.dues.append(Due(job.deadline, job.name, job.name in missed, missed.get(job.name)))
            end = played.finish.get(job.name, missed.get(job.name))
            if end is not None:
                story.finishes.append((end, job.name))
            elif job.name in missed and taskset.params.on_miss == "abort":
                end = job.deadline
            elif job.name == victim and played.deadlock:
                end = played.deadlock.at
            elif not played.finish:  # nobody says when anything finished: with the last that is seen of it
                end = self._ends.get(job.name)
            end = self.end if end is None else end
            if end > job.arrival:
                story.lives.append(Span(job.arrival, end, job.name))


def _bounds(played: Played, taskset: TaskSet, jobs: list[Job]) -> tuple[Time, Time]:
    first = min((job.arrival for job in jobs), default=0)
    last = max(
        max((piece.end for piece in played.slices), default=0),
        max((event.at for event in played.events), default=0),
        max(played.finish.values(), default=0),
        max((job.arrival for job in jobs), default=0),
    )
    if taskset.params.until is not None:
        last = taskset.params.until
    else:  # deadlines belong into the picture, as long as they do not make the rest of it small
        room = last + (last - first) * 0.3
        last = max([last, *(job.deadline for job in jobs if job.deadline and job.deadline <= room)])
    start = first if first > (last - first) * 0.5 else 0
    start, last = exact(start), exact(last)
    return start, last if last > start else start + 1


def _last_seen(played: Played) -> dict[str, Time]:
    """When each job last ran."""
    found: dict[str, Time] = {}
    for piece in played.slices:
        found[piece.task] = max(piece.end, found.get(piece.task, 0))
    return found


def rows_of(spans: list[Span], most: int) -> tuple[list[list[Span]], int]:
    """Return the spans in as few rows as keep them apart, and how many found no room."""
    rows: list[list[Span]] = []
    left_out = 0
    for span in sorted(spans):
        row = next((row for row in rows if row[-1].end <= span.start), None)
        if row is not None:
            row.append(span)
        elif len(rows) < most:
            rows.append([span])
        else:
            left_out += 1
    return rows, left_out

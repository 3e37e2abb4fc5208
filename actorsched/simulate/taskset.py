"""Task sets: what a file for `actorsched simulate` may hold, as values.

The law of this module: the form of the file, and which jobs a task set has. It reads nothing and plays
nothing; `reading` makes these values and is the only one who does, so that whoever has one has a checked one.

How it works: every part of the file is a frozen Struct. Steps of a program, slices and events are arrays in
the file, and arrays they are here too (`array_like`), so that there is one description of each. Times are
numbers as the file has them: whole ones stay whole.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Acquire",
    "BadTaskSet",
    "Deadlock",
    "Event",
    "Expectation",
    "Graph",
    "GraphDeadlock",
    "Job",
    "Kind",
    "Miss",
    "Params",
    "PolicyName",
    "Release",
    "Resource",
    "Run",
    "Slice",
    "Step",
    "Task",
    "TaskFile",
    "TaskSet",
    "Time",
    "policy_named",
]

Time: TypeAlias = int | float
"""Ticks."""

PolicyName = Literal["PRIORITY", "PRIORITY+PI", "EDF", "FAIR", "REALTIME", "DEADLOCK"]

POLICIES: Final[tuple[str, ...]] = get_args(PolicyName)


class BadTaskSet(ValueError):
    """A file or a name says something that makes no sense. One line.

    Attributes:
        path: Where it stands: `$.schedules[2].tasks[0].exec`.
        fault: What is wrong with it, and what would be right.
    """

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(path, fault)
        self.path = path
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}"


def policy_named(text: str, *, path: str = "policy") -> PolicyName:
    """Return the policy of this name, however its letters are written.

    Raises:
        BadTaskSet: There is none.
    """
    name = text.strip().upper()
    if name not in POLICIES:
        raise BadTaskSet(
            path, f"{text[:60]!a} is no policy; give {', '.join(POLICIES[:-1])} or {POLICIES[-1]}"
        )
    return cast("PolicyName", name)


# -------------------------------------------------------------------------------------------------- the tasks


class Run(msgspec.Struct, tag="run", array_like=True, frozen=True, forbid_unknown_fields=True):
    """Use a processor for so many ticks."""

    ticks: Time


class Acquire(msgspec.Struct, tag="acquire", array_like=True, frozen=True, forbid_unknown_fields=True):
    """Wait for a unit of a resource; it takes no time by itself."""

    resource: str


class Release(msgspec.Struct, tag="release", array_like=True, frozen=True, forbid_unknown_fields=True):
    """Give it back."""

    resource: str


Step: TypeAlias = Run | Acquire | Release


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says of a task.

    Attributes:
        name: Unlike that of every other task.
        arrival: When it, or its first job, may run.
        exec: How many ticks it runs; None when there is a program.
        program: What it does, in order; None when it only runs.
        priority: More is more urgent.
        deadline: An absolute tick.
        period: The time between two of its jobs, and the deadline of each, from its arrival on.
    """

    name: str
    arrival: Time = 0
    exec: Time | None = None
    program: tuple[Step, ...] | None = None
    priority: int = 0
    deadline: Time | None = None
    period: Time | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What it does, be it said by `exec` or by `program`."""
        if self.program is not None:
            return self.program
        return () if self.exec is None else (Run(self.exec),)


class Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that as many tasks at a time may hold as it has units."""

    name: str
    capacity: int = 1


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the policies may be told. One that a policy knows nothing of, it ignores.

    Attributes:
        preemptive: Whether a more urgent task takes the processor from a running one.
        quantum: Ticks after which a task makes room for its equals; None for never.
        preempted_to: Where a preempted task stands among its equals.
        aging_interval: Ticks of waiting for which a task gets a credit; None for no aging.
        aging_step: The credit.
        aging_preempts: Whether a credit may take the processor from a running task.
        levels: How many queues a feedback queue has; None for the policy's own.
        quanta: The allotment at each level, from the top; None for the policy's own.
        boost: Ticks after which all are back at the top; None for never.
        until: The horizon, where the play ends; None to play until nothing is left.
        on_miss: What becomes of a job at its deadline.
        migration: Whether a preempted task may go on on another processor.
    """

    preemptive: bool = True
    quantum: Time | None = None
    preempted_to: Literal["head", "tail"] = "head"
    aging_interval: Time | None = None
    aging_step: int = 1
    aging_preempts: bool = False
    levels: int | None = None
    quanta: tuple[Time, ...] | None = None
    boost: Time | None = None
    until: Time | None = None
    on_miss: Literal["continue", "abort"] = "continue"
    migration: bool = True


class Job(msgspec.Struct, frozen=True):
    """One run of a task: the task itself, or one of the many of a periodic one.

    Attributes:
        name: The task's, with `#k` behind it if it is periodic.
        task: The name of the task.
        arrival: An absolute tick.
        steps: What it does.
        priority: More is more urgent.
        deadline: An absolute tick; None if it has none.
        period: That of its task; None if it comes once.
    """

    name: str
    task: str
    arrival: Time
    steps: tuple[Step, ...]
    priority: int
    deadline: Time | None
    period: Time | None

    @property
    def cost(self) -> Time:
        """How many ticks it runs."""
        return sum(step.ticks for step in self.steps if isinstance(step, Run))


# ----------------------------------------------------------------------------------------- what comes of them


class Slice(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A task has a processor from `start` up to `end`, without a break."""

    start: Time
    end: Time
    task: str
    processor: int = 0


Miss: TypeAlias = tuple[str, Time, Time | None]
"""A job, its deadline, and when it had finished; None if it had not."""

Kind = Literal["acquire", "release", "handoff", "block", "deadlock"]


class Event(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Something happened to a resource.

    Attributes:
        at: When.
        kind: `handoff` gives the resource to the one who has waited longest among the most urgent.
        who: The task; at a deadlock all in the circle, the one who closed it first, then along what they
            wait for.
        resource: Empty at a deadlock.
        holder: Who has it; only when somebody has to wait for it.
    """

    at: Time
    kind: Kind
    who: str | tuple[str, ...]
    resource: str = ""
    holder: str = ""


class Deadlock(msgspec.Struct, frozen=True):
    """Tasks that wait for each other in a circle, and which of them was ended to break it."""

    at: Time
    cycle: tuple[str, ...]
    victim: str | None = None


class Expectation(msgspec.Struct, frozen=True):
    """What the file says will come of a task set; None where it says nothing."""

    slices: tuple[Slice, ...] | None = None
    finish: dict[str, Time] | None = None
    misses: tuple[Miss, ...] | None = None
    events: tuple[Event, ...] | None = None
    deadlock: Deadlock | None = None


# --------------------------------------------------------------------------------------------------- the file


class TaskSet(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule object of the file.

    Attributes:
        name: For people.
        policy: In capitals.
        processors: One or more.
        tasks: In order of submission.
        resources: All that the programs name.
        params: What the policy is told.
        expectation: What should come of it.
        words: `tasks`, `resources` and `params` in the file's own words, for the answer.
    """

    name: str
    policy: PolicyName
    processors: int
    tasks: tuple[Task, ...]
    resources: tuple[Resource, ...]
    params: Params
    expectation: Expectation = Expectation()
    words: dict[str, object] = {}

    @property
    def inherits(self) -> bool:
        """Whether a task that others wait for is as urgent as they are."""
        return self.policy in ("PRIORITY+PI", "DEADLOCK")

    def jobs(self) -> list[Job]:
        """Return all that arrives before the horizon, by arrival and then in the order of the tasks."""
        found = [job for task in self.tasks for job in _jobs_of(task, self.params.until)]
        found.sort(key=lambda job: job.arrival)
        return found

    def with_policy(self, policy: str) -> TaskSet:
        """Return the same tasks under another policy, of which nothing is expected then.

        Raises:
            BadTaskSet: There is no such policy.
        """
        name = policy_named(policy)
        if name == self.policy:
            return self
        return msgspec.structs.replace(self, policy=name, expectation=Expectation())


def _jobs_of(task: Task, until: Time | None) -> Iterator[Job]:
    steps, period, priority = task.steps, task.period, task.priority
    if period is None:
        if until is None or task.arrival < until:
            yield Job(task.name, task.name, task.arrival, steps, priority, task.deadline, None)
        return
    assert until is not None, "a periodic task has a horizon"
    for k in count():
        arrival = task.arrival + k * period
        if arrival >= until:
            return
        yield Job(f"{task.name}#{k}", task.name, arrival, steps, priority, arrival + period, period)


class GraphDeadlock(msgspec.Struct, frozen=True):
    """What a detector should find in a graph."""

    cycles: tuple[tuple[str, ...], ...] = ()
    deadlocked: tuple[str, ...] = ()
    stuck_behind: tuple[str, ...] = ()
    not_deadlocked: tuple[str, ...] = ()


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds and who waits for what, at one moment; nothing to play."""

    name: str
    tasks: tuple[str, ...]
    resources: tuple[Resource, ...]
    holds: dict[str, tuple[str, ...]]
    waits: dict[str, tuple[str, ...]]
    deadlock: GraphDeadlock | None = None


class TaskFile(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file.

    Attributes:
        schedules: What there is to play.
        graphs: What there is to look at.
        several: Whether the schedules stand under "schedules", as those of the answer will.
    """

    schedules: tuple[TaskSet, ...]
    graphs: tuple[Graph, ...] = ()
    several: bool = False

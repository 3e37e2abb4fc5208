"""Slow, obvious simulators that know nothing of actorsched: one tick after the other, and a sort at each.

They take a task set of whole numbers and answer who runs in each tick, from which slices and finish times
follow. What happens within an instant is done in the order that the design gives: what ran is finished, with
its releases; arrivals; those whose turn is over; the choice; and what the chosen acquire, after which there
is another choice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from actorsched.simulate.taskset import Acquire, Release, Run, Slice

if TYPE_CHECKING:
    from actorsched.simulate.taskset import Job, Step, TaskSet


@dataclass(eq=False)
class Life:
    """A job, as far as it has come."""

    job: Job
    base: int
    due: float
    steps: deque[Step]
    left: int = 0
    sequence: int = 0
    came: int = 0
    begun: int = 0
    """Its present run: of two that end together, the first to begin ends first."""
    on: bool = False
    """Whether it has a processor."""
    processor: int = -1
    waits_for: str | None = None
    held: set[str] = field(default_factory=set[str])
    finish: int | None = None

    @property
    def ready(self) -> bool:
        return self.finish is None and self.waits_for is None


class Machine:
    """Fixed priorities or earliest deadline first, with resources of one unit, and inheritance."""

    def __init__(self, taskset: TaskSet) -> None:
        self.taskset = taskset
        self.lives: list[Life] = []
        self.holder: dict[str, Life | None] = {resource.name: None for resource in taskset.resources}
        self.waiting: dict[str, list[Life]] = {resource.name: [] for resource in taskset.resources}
        self.numbers = count(1)
        self.ticks: list[dict[int, str]] = []
        """Who runs in each tick, by processor."""

    def urgency(self, life: Life) -> tuple[float, float]:
        if self.taskset.policy == "EDF":
            return life.due, -life.base if life.due == float("inf") else 0
        return -self.rank(life), 0

    def claim(self, life: Life) -> tuple[float, float]:
        """How urgently it wants a resource: here priorities decide between equal deadlines."""
        return life.due if self.taskset.policy == "EDF" else 0, -self.rank(life)

    def rank(self, life: Life) -> int:
        if not self.taskset.inherits:
            return life.base
        lenders = [self.rank(other) for name in life.held for other in self.waiting[name]]
        return max([life.base, *lenders])

    def run(self) -> Machine:
        coming = deque(self.taskset.jobs())
        for now in count():
            self.finish_steps(now)
            while coming and coming[0].arrival <= now:
                self.arrive(coming.popleft())
            self.choose()
            self.give_processors()
            if not coming and all(life.finish is not None for life in self.lives):
                return self
            running = [life for life in self.lives if life.on]
            self.ticks.append({life.processor: life.job.name for life in running})
            for life in running:
                life.left -= 1
        raise AssertionError

    def arrive(self, job: Job) -> None:
        due = float("inf") if job.deadline is None else job.deadline
        life = Life(job, job.priority, due, deque(job.steps), sequence=next(self.numbers))
        self.lives.append(life)
        self.next_run(life)

    def next_run(self, life: Life) -> None:
        if life.steps and isinstance(step := life.steps[0], Run):
            life.left = int(step.ticks)
            life.steps.popleft()

    def finish_steps(self, now: int) -> None:
        ended = [life for life in self.lives if life.on and not life.left]
        for life in sorted(ended, key=lambda life: life.begun):
            while life.steps and isinstance(step := life.steps[0], Release):
                life.steps.popleft()
                self.release(life, step.resource)
            self.next_run(life)
            if life.left:
                life.begun = next(self.numbers)
            elif not life.steps:
                life.finish, life.on = now, False

    def release(self, life: Life, name: str) -> None:
        life.held.remove(name)
        queue = self.waiting[name]
        if not queue:
            self.holder[name] = None
            return
        best = min(queue, key=self.claim)  # and the first of several
        queue.remove(best)
        self.holder[name] = best
        best.held.add(name)
        best.waits_for = None
        best.sequence = next(self.numbers)
        self.next_run(best)

    def choose(self) -> None:
        while True:
            ready = [life for life in self.lives if life.ready]
            ready.sort(key=lambda life: (self.urgency(life), not life.on, life.sequence))
            chosen, others = ready[: self.taskset.processors], ready[self.taskset.processors :]
            for life in others:
                life.on = False
            for life in chosen:
                if not life.on:
                    life.on = True
                    life.came = life.begun = next(self.numbers)
            asking = [life for life in chosen if not life.left]
            if not asking:
                return
            for life in sorted(asking, key=self.claim):
                self.acquire(life)

    def give_processors(self) -> None:
        """Who was on stays where it is; the others take the lowest free numbers as they came on."""
        free = set(range(self.taskset.processors))
        free -= {life.processor for life in self.lives if life.on}
        for life in sorted(self.lives, key=lambda life: life.came):
            if not life.on:
                life.processor = -1
            elif life.processor < 0:
                life.processor = min(free)
                free.remove(life.processor)

    def acquire(self, life: Life) -> None:
        step = life.steps.popleft()
        assert isinstance(step, Acquire)
        if self.holder[step.resource] is None:
            self.holder[step.resource] = life
            life.held.add(step.resource)
            self.next_run(life)
            life.begun = next(self.numbers)
        else:
            self.waiting[step.resource].append(life)
            life.waits_for = step.resource
            life.on = False

    @property
    def finish(self) -> dict[str, int]:
        return {life.job.name: life.finish for life in self.lives if life.finish is not None}


class FeedbackQueue:
    """A multi-level feedback queue on one processor, by its five rules."""

    def __init__(self, taskset: TaskSet) -> None:
        assert taskset.params.quanta is not None
        self.taskset = taskset
        self.quanta = [int(quantum) for quantum in taskset.params.quanta]
        self.queues: list[deque[str]] = [deque() for _ in self.quanta]
        self.level: dict[str, int] = {}
        self.allotment: dict[str, int] = {}
        self.left: dict[str, int] = {}
        self.runner: str | None = None
        self.ticks: list[dict[int, str]] = []
        self.finish: dict[str, int] = {}

    def run(self) -> FeedbackQueue:
        coming = deque(self.taskset.jobs())
        for now in count():
            over = self.end_of_tick(now)
            boost = self.taskset.params.boost
            if boost is not None and now and now % boost == 0:
                self.boost()
            while coming and coming[0].arrival <= now:
                job = coming.popleft()
                self.left[job.name] = int(job.cost)
                self.level[job.name], self.allotment[job.name] = 0, self.quanta[0]
                self.queues[0].append(job.name)
            if over is not None:
                self.queues[self.level[over]].append(over)
            self.choose()
            if self.runner is None and not coming:
                return self
            self.ticks.append({} if self.runner is None else {0: self.runner})
        raise AssertionError

    def end_of_tick(self, now: int) -> str | None:
        """Account for the tick; answers with whose turn is over."""
        job = self.runner
        if job is None:
            return None
        self.left[job] -= 1
        self.allotment[job] -= 1
        if not self.left[job]:
            self.finish[job] = now
            self.runner = None
        elif not self.allotment[job]:
            self.level[job] = min(self.level[job] + 1, len(self.quanta) - 1)
            self.allotment[job] = self.quanta[self.level[job]]
            self.runner = None
            return job
        return None

    def boost(self) -> None:
        for queue in self.queues[1:]:
            self.queues[0].extend(queue)
            queue.clear()
        for job in self.level:
            self.level[job], self.allotment[job] = 0, self.quanta[0]

    def choose(self) -> None:
        best = next((place for place, queue in enumerate(self.queues) if queue), None)
        if best is None:
            return
        if self.runner is not None:
            level = self.level[self.runner]
            if level <= best:
                return
            if self.taskset.params.preempted_to == "head":
                self.queues[level].appendleft(self.runner)
            else:
                self.queues[level].append(self.runner)
        self.runner = self.queues[best].popleft()


def slices_of(ticks: list[dict[int, str]]) -> tuple[Slice, ...]:
    """Put together what runs without a break on one processor."""
    slices: list[Slice] = []
    open_ones: dict[int, Slice] = {}
    for now, running in enumerate([*ticks, {}]):
        for processor, piece in list(open_ones.items()):
            if running.get(processor) != piece.task:
                slices.append(Slice(piece.start, now, piece.task, processor))
                del open_ones[processor]
        for processor, job in running.items():
            open_ones.setdefault(processor, Slice(now, now, job, processor))
    return tuple(sorted(slices, key=lambda piece: (piece.start, piece.processor)))

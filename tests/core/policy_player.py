"""Plays jobs on a policy in ticks, calling it as the scheduler does: the driver of the tests of policies."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorsched._core.policies import SchedulingPolicy

Slices = list[tuple[int, int, str]]


@dataclass(eq=False)
class Job:
    """One task: what a policy may know of it, and how many ticks it still has to run."""

    name: str
    arrival: int
    left: int
    rank: int = 3
    due: float = inf
    preemptible: bool = True
    cost: float | None = None
    period: float | None = None

    def __repr__(self) -> str:
        return f"{self.name}:{self.rank}"


def periodic(name: str, cost: int, period: int, rank: int, until: int) -> list[Job]:
    """Make a job for each period, due at its end."""
    return [
        Job(f"{name}#{number}", start, cost, rank, start + period, cost=cost, period=period)
        for number, start in enumerate(range(0, until, period))
    ]


class Player:
    """One pool. `stirring` asks the policy at every tick, or else when something happens or it said so."""

    def __init__(
        self,
        policy: SchedulingPolicy[Job],
        processors: int = 1,
        *,
        stirring: bool = True,
        abort: bool = False,
    ) -> None:
        self.policy = policy
        self.processors = processors
        self.stirring = stirring
        self.abort = abort  # at a missed deadline
        self.running: list[Job] = []
        self.history: list[list[str]] = []
        self.first: dict[str, int] = {}
        self.waited: dict[str, int] = {}

    def play(self, jobs: Iterable[Job], until: int = 10_000) -> Slices:
        """Run until all jobs are done, and return what ran when, in the order of starts and names."""
        coming = sorted(jobs, key=lambda job: job.arrival)
        alarm: float | None = None
        queued: set[Job] = set()
        for now in range(until):
            happened = self.stirring or (alarm is not None and alarm <= now)
            for job in [job for job in self.running if self._ended(job, now)]:
                self._leave(job, now)
                happened = True
            for job in [job for job in queued if self.abort and job.due <= now]:
                queued.discard(job)
                self.policy.remove(job)
            while coming and coming[0].arrival == now:
                job = coming.pop(0)
                self.policy.push(job, now)
                queued.add(job)
                happened = True
            if happened:
                self.decide(now)
                alarm = self.policy.alarm(now)
                assert alarm is None or alarm > now
            queued |= set(self.running)
            queued = {job for job in queued if job.left and not (self.abort and job.due <= now)}
            for job in queued:
                self.waited[job.name] = self.waited.get(job.name, 0) + (job not in self.running)
            if not (coming or queued):
                break
            self.history.append(sorted(job.name for job in self.running))
            for job in self.running:
                self.first.setdefault(job.name, now)
                job.left -= 1
        return self.slices()

    def decide(self, now: int) -> None:
        """Take the decisions of one instant, in the order of the scheduler."""
        policy = self.policy
        for job in policy.expired(now):
            self._leave(job, now)
            policy.push(job, now)
        while True:
            if len(self.running) < self.processors:
                chosen = policy.peek(now)
                assert policy.pop(now) is chosen
                if chosen is None:
                    return
                policy.started(chosen, now)
                self.running.append(chosen)
            elif victim := policy.victim(now):
                assert victim.preemptible
                self._leave(victim, now)
                policy.put_back(victim, now)
                assert policy.peek(now) is not victim
            else:
                return

    def slices(self) -> Slices:
        """Return the history as slices, in the order of their starts."""
        found: Slices = []
        open_since: dict[str, int] = {}
        for now, names in enumerate([*self.history, []]):
            for name in [name for name in open_since if name not in names]:
                found.append((open_since.pop(name), now, name))
            for name in names:
                open_since.setdefault(name, now)
        return sorted(found)

    def _ended(self, job: Job, now: int) -> bool:
        return not job.left or (self.abort and job.due <= now)

    def _leave(self, job: Job, now: int) -> None:
        self.policy.stopped(job, now)
        self.running.remove(job)

"""A scheduling policy of one's own: weighted fair queueing.

Who has twice the weight gets twice the time, however many tasks there are, and nobody starves. The policies
that come with actorsched do not do that; this one takes some 60 lines. The weight of a task is its priority
plus one.

Each task has a *tag*: the time it has used, divided by its weight. If all had exactly their shares, all tags
would be the same. Whoever is not beyond the average is *eligible*, and of those the one runs that would be
done first with its next quantum, if it had only its share. Then nobody is ever ahead of its share, or behind,
by more than one quantum (Stoica and Abdel-Wahab, "Earliest eligible virtual deadline first", 1995). Who
comes, or has waited for something, begins at the average: nobody saves up time by waiting.

The policy knows nothing of clocks and workers: it is told the time, and what happens. So the program below
can play half an hour in no time, by a virtual clock.

Run it with `python examples/weighted_fair_queueing.py`.
"""

# expect: after 700 s: backup 100 s, report 200 s, search 400 s
# expect: 300 s without search: backup 100 s, report 200 s
# expect: 700 s with another search: backup 100 s, report 200 s, search 400 s

# ruff: noqa: D102  # what is asked of a policy stands in Policy
from __future__ import annotations

from typing import TYPE_CHECKING, Self

import actorsched
from actorsched import Runtime, TaskRef
from actorsched.policies import Policy, Schedulable
from actorsched.testing import VirtualClock, compute

if TYPE_CHECKING:
    from collections.abc import Sequence


class WeightedFairQueueing(Policy[Schedulable]):
    """Divides the time by weights: a task of priority 3 gets four times as much as one of priority 0.

    Each decision looks at all tasks that wait: that will do for some hundreds of them.

    Args:
        quantum: How long a task runs at a time while others wait, in seconds.
    """

    def __init__(self, quantum: float = 0.01) -> None:
        self._quantum = quantum
        self._waiting: dict[Schedulable, None] = {}
        self._since: dict[Schedulable, float] = {}  # of those that run: from when on
        self._tags: dict[Schedulable, float] = {}
        self._left: dict[Schedulable, float] = {}  # when they stopped running
        self._level = 0.0  # the average, as it was last

    def fresh(self) -> Self:
        return type(self)(self._quantum)

    def push(self, task: Schedulable, now: float, /) -> None:
        if self._left.get(task) != now:  # otherwise its turn was over, and it has not been away
            self._tags[task] = max(self._tags.get(task, 0.0), self._average(now))
        self._waiting[task] = None

    def put_back(self, task: Schedulable, now: float, /) -> None:
        self._waiting[task] = None

    def peek(self, now: float, /) -> Schedulable | None:
        level = self._average(now) + 1e-9
        eligible = [task for task in self._waiting if self._tags[task] <= level]
        return min(eligible or self._waiting, key=self.urgency, default=None)

    def urgency(self, task: Schedulable, /) -> tuple[float, ...]:
        return (self._tags.get(task, self._level) + self._quantum / weight(task),)

    def pop(self, now: float, /) -> Schedulable | None:
        task = self.peek(now)
        if task is not None:
            self.remove(task)
        return task

    def remove(self, task: Schedulable, /) -> bool:
        return self._waiting.pop(task, self) is None

    def drain(self) -> list[Schedulable]:
        tasks = sorted(self._waiting, key=self.urgency)
        self._waiting.clear()
        return tasks

    def __len__(self) -> int:
        return len(self._waiting)

    def started(self, task: Schedulable, now: float, /) -> None:
        self._tags.setdefault(task, self._level)
        self._since[task] = now

    def stopped(self, task: Schedulable, now: float, /) -> None:
        if task in self._since:
            self._tags[task] += (now - self._since.pop(task)) / weight(task)
            self._left[task] = now

    def expired(self, now: float, /) -> Sequence[Schedulable]:
        return [task for task in self._since if task.preemptible and self._since[task] + self._quantum <= now]

    def alarm(self, now: float, /) -> float | None:
        ends = (since + self._quantum for task, since in self._since.items() if task.preemptible)
        return min(ends, default=None) if self._waiting else None

    def forget(self, task: Schedulable, now: float, /) -> None:
        self._tags.pop(task, None)
        self._left.pop(task, None)

    def _tag(self, task: Schedulable, now: float) -> float:
        return self._tags[task] + (now - self._since.get(task, now)) / weight(task)

    def _average(self, now: float) -> float:
        active = [*self._waiting, *self._since]
        if active:
            used = sum(weight(task) * self._tag(task, now) for task in active)
            self._level = used / sum(map(weight, active))
        return self._level


def weight(task: Schedulable) -> int:
    """What the share of a task is proportional to."""
    return max(1, task.rank + 1)


NAMES: tuple[str, ...] = ("backup", "report", "search")
PRIORITIES = {"backup": 0, "report": 1, "search": 3}


async def main() -> None:
    """Three tasks, one processor, and the time that each has used."""
    used = dict.fromkeys(NAMES, 0)
    told = dict(used)

    async def work(name: str) -> None:
        while True:
            await compute(1)
            used[name] += 1

    def shares() -> str:
        texts = [f"{name} {used[name] - told[name]} s" for name in NAMES if used[name] > told[name]]
        told.update(used)
        return ", ".join(texts)

    async with Runtime(policy=WeightedFairQueueing(5), concurrency=1, clock=VirtualClock()) as rt:

        async def begin(name: str) -> TaskRef[None]:
            return await rt.spawn(work, name, name=name, priority=PRIORITIES[name])

        tasks = {name: await begin(name) for name in NAMES}
        await rt.sleep(700)
        print(f"after 700 s: {shares()}")
        await tasks["search"].cancel()
        await rt.sleep(300)
        print(f"300 s without search: {shares()}")
        tasks["search"] = await begin("search")
        await rt.sleep(700)
        print(f"700 s with another search: {shares()}")
        for task in tasks.values():
            await task.cancel()


if __name__ == "__main__":
    actorsched.run(main)

"""A scheduling policy of one's own: weighted fair queueing.

Who has twice the weight gets twice the time, however many tasks there are, and nobody starves. The policies
that come with actorsched do not do that; this one takes some 50 lines. The weight of a task is its priority
plus one.

Each task has a *tag*: the time it has used, divided by its weight. Whoever has the lowest tag runs, for one
quantum. Who comes late, or has waited for something, begins at the tag of those that run now: nobody saves
up time by waiting. So all shares are right to within one quantum (Goyal, Vin and Cheng, "Start-time fair
queueing", 1996).

The policy knows nothing of clocks and workers: it is told the time, and what happens. So the program below
can play half an hour in no time, by a virtual clock.

Run it with `python examples/weighted_fair_queueing.py`.
"""

# expect: after 700 s: backup 100 s, report 200 s, search 400 s
# expect: 300 s without search: backup 100 s, report 200 s
# expect: 700 s with another search: backup 100 s, report 200 s, search 400 s

# ruff: noqa: D102  # what is asked of a policy stands in Policy
from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Self

import actorsched
from actorsched import Runtime, TaskRef
from actorsched.policies import Policy, Schedulable
from actorsched.testing import VirtualClock, compute

if TYPE_CHECKING:
    from collections.abc import Sequence


class WeightedFairQueueing(Policy[Schedulable]):
    """Divides the time by weights: a task of priority 3 gets four times as much as one of priority 0.

    Args:
        quantum: How long a task runs at a time while others wait, in seconds.
    """

    def __init__(self, quantum: float = 0.01) -> None:
        self._quantum = quantum
        self._tags: dict[Schedulable, float] = {}
        self._since: dict[Schedulable, float] = {}  # those that run
        self._waiting: dict[Schedulable, tuple[float, int]] = {}  # their tags, and who came first
        self._heap: list[tuple[float, int, Schedulable]] = []  # the same in order; some are there no more
        self._present = 0.0  # the tag of whoever began to run last
        self._arrivals = count()

    def fresh(self) -> Self:
        return type(self)(self._quantum)

    def push(self, task: Schedulable, now: float, /) -> None:
        tag = self._tags[task] = max(self._tags.get(task, 0.0), self._present)
        self._waiting[task] = tag, (number := next(self._arrivals))
        heappush(self._heap, (tag, number, task))

    def peek(self, now: float, /) -> Schedulable | None:
        while self._heap and self._waiting.get(self._heap[0][2]) != self._heap[0][:2]:
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def pop(self, now: float, /) -> Schedulable | None:
        task = self.peek(now)
        if task is not None:
            self.remove(task)
        return task

    def remove(self, task: Schedulable, /) -> bool:
        return self._waiting.pop(task, None) is not None

    def order(self, now: float, /) -> Sequence[Schedulable]:
        return sorted(self._waiting, key=self._waiting.__getitem__)

    def drain(self) -> list[Schedulable]:
        tasks = list(self.order(0.0))
        self._waiting.clear()
        self._heap.clear()
        return tasks

    def __len__(self) -> int:
        return len(self._waiting)

    def started(self, task: Schedulable, now: float, /) -> None:
        self._since[task] = now
        self._present = max(self._present, self._tags.setdefault(task, self._present))

    def stopped(self, task: Schedulable, now: float, /) -> None:
        if task in self._since:
            self._tags[task] += (now - self._since.pop(task)) / max(1, task.rank + 1)

    def expired(self, now: float, /) -> Sequence[Schedulable]:
        return [task for task, end in self._ends() if end <= now]

    def alarm(self, now: float, /) -> float | None:
        return min((end for _, end in self._ends()), default=None)

    def _ends(self) -> list[tuple[Schedulable, float]]:
        if not self._waiting:
            return []
        return [(task, since + self._quantum) for task, since in self._since.items() if task.preemptible]

    def forget(self, task: Schedulable, now: float, /) -> None:
        self._tags.pop(task, None)

    def describe(self, task: Schedulable, now: float, /) -> str:
        return f"weight {max(1, task.rank + 1)}"


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

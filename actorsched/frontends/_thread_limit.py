"""A policy with a second limit: of the tasks of a pool, only so many may be plain functions in threads.

The law of this module: an order of ready tasks, as for any policy; but it also knows where each of them runs.

How it works: two heaps by rank and number of arrival, one for each kind. While all threads are taken, those
who need one are not counted and not offered; the end of one of them is a decision point as any other.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from actorsched.policies import Policy, Schedulable

if TYPE_CHECKING:
    from collections.abc import Sequence

    Entry = tuple[int, int, "Placed"]


class Placed(Schedulable, Protocol):
    """What this policy has to know of a task besides."""

    @property
    def host(self) -> str:
        """The kind of host that it runs in."""
        ...


class ThreadLimit(Policy[Any]):
    """The highest priority first, equals as they came, nobody is preempted; and so many threads at most.

    Args:
        threads: How many tasks may be in threads at once.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._free: list[Entry] = []
        """Those who need no thread."""
        self._bound: list[Entry] = []
        self._entries: dict[Placed, Entry] = {}
        """By task; what is in a heap and not here was taken out."""
        self._waiting_bound = 0
        self._in_threads: set[Placed] = set()
        self._numbers = count(1)
        self._fronts = count(-1, -1)

    def fresh(self) -> ThreadLimit:
        """Return an empty one with the same limit."""
        return ThreadLimit(self.threads)

    def __len__(self) -> int:
        """How many could begin as far as threads are concerned."""
        room = max(0, self.threads - len(self._in_threads))
        return len(self._entries) - self._waiting_bound + min(self._waiting_bound, room)

    def push(self, task: Placed, now: float, /) -> None:
        """A task joins the queue behind its equals."""
        self._insert((-task.rank, next(self._numbers), task))

    def put_back(self, task: Placed, now: float, /) -> None:
        """A task that could not begin after all is before its equals again."""
        self._insert((-task.rank, next(self._fronts), task))

    def _insert(self, entry: Entry) -> None:
        task = entry[2]
        if task in self._entries:
            raise ValueError(f"{task!r} is in the queue already; remove it first")
        self._entries[task] = entry
        self._waiting_bound += task.host == "thread"
        heappush(self._heap_of(task), entry)

    def peek(self, now: float, /) -> Placed | None:
        """Return who is next."""
        heads = [self._free]
        if len(self._in_threads) < self.threads:
            heads.append(self._bound)
        for heap in heads:
            while heap and self._entries.get(heap[0][2]) is not heap[0]:
                heappop(heap)
        return min((heap[0] for heap in heads if heap), default=(0, 0, None))[2]

    def pop(self, now: float, /) -> Placed | None:
        """Take out who is next."""
        task = self.peek(now)
        if task is not None:
            heappop(self._heap_of(task))
            self._forget(task)
        return task

    def remove(self, task: Placed, /) -> bool:
        """Take out this task; its place in the heap is dropped with the next ones, or when they are many."""
        if task not in self._entries:
            return False
        self._forget(task)
        heap = self._heap_of(task)
        if len(heap) > 2 * len(self._entries) + 32:
            heap[:] = [entry for entry in heap if self._entries.get(entry[2]) is entry]
            heapify(heap)
        return True

    def _heap_of(self, task: Placed) -> list[Entry]:
        return self._bound if task.host == "thread" else self._free

    def _forget(self, task: Placed) -> None:
        del self._entries[task]
        self._waiting_bound -= task.host == "thread"

    def drain(self) -> list[Any]:
        """Take out all, also those for whom there is no thread."""
        tasks = list(self.order(0.0))
        self.__init__(self.threads)  # type: ignore[misc]  # empty, and nobody runs
        return tasks

    def order(self, now: float, /) -> Sequence[Placed]:
        """All that wait, the first first."""
        return [entry[2] for entry in sorted(self._entries.values())]

    def started(self, task: Placed, now: float, /) -> None:
        """A task has a worker."""
        if task.host == "thread":
            self._in_threads.add(task)

    def stopped(self, task: Placed, now: float, /) -> None:
        """A task has none any more."""
        self._in_threads.discard(task)

    def changed(self, task: Placed, now: float, /) -> None:
        """A task has another rank: it moves, and keeps its number."""
        entry = self._entries.get(task)
        if entry is not None and entry[0] != -task.rank:
            self.remove(task)
            self._insert((-task.rank, entry[1], task))

"""Who runs, and who of them would be the first to make room.

The law of this module: it keeps the running tasks of one pool, each with a key that its policy made, and
finds the least key among those that may be preempted. It does not know what a key means, nor the time.

How it works: the tasks and their keys are in a dict, in the order of their start. The first question for the
worst builds a heap of the keys, which is then kept up to date; keys of tasks that run no longer stay in it
until they come to the top. When they outnumber the others the heap is thrown away, and built anew when
somebody asks again. So a pool in which nobody has to make room pays for a dict only, and in one where
somebody does, starting, stopping and asking take O(log n) on average: throwing away a heap of n keys takes as
many starts. The heap holds keys and no tasks: who has stopped is let go at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final, Generic, TypeAlias

from actorsched._core.policies import Item

__all__ = ["Key", "Runners"]

Key: TypeAlias = "tuple[float, ...]"
"""Numbers, the least being the worst. No two running tasks have the same: end it with the sequence number."""

_FEW: Final = 32  # so many outdated keys are never worth building the heap anew


class Runners(Generic[Item]):
    """The running tasks with their keys; iterating gives the tasks in the order in which they started.

    Whether a task may be preempted is read when it comes into the heap: it does not change while it runs.
    """

    __slots__ = ("_heap", "_keys", "_owners")

    def __init__(self) -> None:
        self._keys: dict[Item, Key] = {}
        self._heap: list[Key] | None = None  # none as long as nobody has asked
        self._owners: dict[Key, Item] = {}  # of the keys in the heap that still count

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, task: Item) -> bool:
        return task in self._keys

    def __iter__(self) -> Iterator[Item]:
        return iter(self._keys)

    def __repr__(self) -> str:
        return f"<Runners, {len(self._keys)} running>"

    def add(self, task: Item, key: Key) -> None:
        """A task runs from now on; one that did already has another key."""
        if self._heap is not None:
            owners, known = self._owners, self._keys.get(task)
            if known is not None:
                owners.pop(known, None)
            if len(self._heap) > 2 * len(owners) + _FEW:  # most of it is outdated
                self._heap, self._owners = None, {}
            elif task.preemptible:
                owners[key] = task
                heappush(self._heap, key)
        self._keys[task] = key

    def update(self, task: Item, key: Key) -> None:
        """The key of a running task is another one now. Its place in the order of start is the one it had.

        Raises:
            KeyError: It does not run.
        """
        if self._keys[task] != key:
            self.add(task, key)

    def discard(self, task: Item) -> bool:
        """A task runs no longer; False if it did not."""
        return self.take(task) is not None

    def take(self, task: Item) -> Key | None:
        """A task runs no longer. Return the key that it had; None if it did not run."""
        key = self._keys.pop(task, None)
        if key is not None and self._heap is not None:
            self._owners.pop(key, None)
        return key

    def key_of(self, task: Item) -> Key | None:
        """Return the key of a running task; None if it does not run."""
        return self._keys.get(task)

    def least(self) -> float:
        """Return the first number of the least key of those that may be preempted; inf if there is none."""
        heap = self._heap
        if heap and heap[0] in self._owners:
            return heap[0][0]
        task = self.worst()
        return inf if task is None else self._keys[task][0]

    def worst(self) -> Item | None:
        """Return the task with the least key, of those that may be preempted; None if there is none."""
        heap = self._heap
        if heap is None:
            self._owners = {key: task for task, key in self._keys.items() if task.preemptible}
            heap = self._heap = list(self._owners)
            heapify(heap)
        while heap:
            task = self._owners.get(heap[0])
            if task is not None:
                return task
            heappop(heap)
        return None

    def check(self) -> None:
        """Assert what must hold between any two calls; for tests."""
        assert len(set(self._keys.values())) == len(self._keys), "two tasks with one key"
        if self._heap is None:
            assert not self._owners
        else:
            assert self._owners == {key: task for task, key in self._keys.items() if task.preemptible}
            assert set(self._owners) <= set(self._heap)

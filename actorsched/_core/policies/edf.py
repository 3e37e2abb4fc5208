"""Earliest deadline first: who has to be done soonest runs, and admission control sees that all can be.

The law of this module: an order of tasks by their absolute deadlines, and nothing else about time. Which
tasks may be taken is calculated by `DemandBound`; here it is only told who came, ran and ended.

How it works: a task's key is (deadline, minus its rank if it has no deadline, sequence), the least first. So
those without a deadline come last, by priority; the others by deadline, and equal deadlines first come, first
served, whatever their priorities. A task gets its sequence number when it is pushed, and keeps it while it
runs, when it is put back and when its deadline changes: one that inherits a deadline and loses it again is
where it was. Who makes room is the runner with the greatest key, if its deadline is really later: equals
never preempt each other.

The keys stand in a heap, and the tasks beside it, found by their keys. Who is removed or changed leaves its
old key behind, by which no task is found. When such keys outnumber the others, the heap is built anew; so the
memory in use is proportional to what is in the queue, and every call takes O(log n) on average.

A task that blocks may come back, and one that was stopped may be put back; so its key is remembered until the
policy hears, by `forget`, that it has ended.

The alternative was an order of equal deadlines by priority. No deadline is met by it that would be missed
without, and one task could overtake or preempt another that has to be done at the same time.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from actorsched._core.admission.demand_bound import DemandBound
from actorsched._core.policies import Item, Policy, Schedulable
from actorsched._core.policies.runners import Runners
from actorsched.checks import check_choice
from actorsched.durations import describe
from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Admission", "Edf"]

Admission: TypeAlias = Literal["off", "warn", "reject"]

_Key: TypeAlias = tuple[float, int, int]

_FEW: Final = 32  # so many outdated keys are never worth building the heap anew


class Edf(Policy[Item]):
    """Earliest deadline first, preemptive. Tasks without a deadline come last, by priority.

    Args:
        admission: What becomes of a task with which not all deadlines could be met any more, going by the
            costs, deadlines and periods of all: "reject" refuses it, "warn" takes it and tells, "off" does
            not look.

    Raises:
        ValueError: `admission` is something else.
    """

    __slots__ = ("_bound", "_heap", "_keys", "_runners", "_sequence", "_since", "_waiting", "admission")

    def __init__(self, admission: Admission = "off") -> None:
        check_choice(admission, "admission", ("off", "warn", "reject"))
        self.admission: Admission = admission
        self._keys: dict[Item, _Key] = {}  # of all that are known: in the queue, running, or expected back
        self._waiting: dict[_Key, Item] = {}  # those in the queue
        self._heap: list[_Key] = []  # their keys, and outdated ones
        self._runners: Runners[Item] = Runners()  # by their keys with the signs turned: the last one first
        self._sequence = 0
        self._bound: DemandBound[Item] | None = None if admission == "off" else DemandBound()
        self._since: dict[Item, float | None] = {}  # of those admitted: up to when we told how long they ran

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task: object) -> bool:
        """Whether a task is in the queue."""
        return self._keys.get(task) in self._waiting  # type: ignore[call-overload]

    def __repr__(self) -> str:
        return f"Edf(admission={self.admission!r})"

    def fresh(self) -> Self:
        """Return an empty policy with the same parameters."""
        return type(self)(self.admission)

    # ------------------------------------------------------------------------------------- the queue

    def push(self, task: Item, now: float, /) -> None:
        """Take in a task, behind those with the same deadline.

        Raises:
            ValueError: It is in the queue, or running, already. Nothing has changed.
        """
        self._refuse_twice(task)
        self._sequence += 1
        self._enter(task, self._sequence)

    def put_back(self, task: Item, now: float, /) -> None:
        """Take back a task at the place that it had.

        Raises:
            ValueError: It is in the queue, or running, already. Nothing has changed.
        """
        self._refuse_twice(task)
        self._enter(task, self._number(task))

    def peek(self, now: float, /) -> Item | None:
        """Return the task with the earliest deadline, and leave it there."""
        head = self._head()
        return None if head is None else self._waiting[head]

    def pop(self, now: float, /) -> Item | None:
        """Take out the task with the earliest deadline; None if there is none."""
        head = self._head()
        if head is None:
            return None
        heappop(self._heap)
        task = self._waiting.pop(head)
        self._limit()
        return task

    def remove(self, task: Item, /) -> bool:
        """Take a task out of the queue; False if it was not there."""
        key = self._keys.get(task)
        if key is None or self._waiting.pop(key, None) is None:
            return False
        self._limit()
        return True

    def drain(self) -> list[Item]:
        """Take out all tasks, in the order in which `pop` would have returned them."""
        tasks = [self._waiting[key] for key in sorted(self._waiting)]
        for task in tasks:
            del self._keys[task]
        self._waiting.clear()
        self._heap.clear()
        return tasks

    def order(self, now: float, /) -> Sequence[Item]:
        """Return all tasks in the order in which `pop` would return them."""
        return [self._waiting[key] for key in sorted(self._waiting)]

    # ---------------------------------------------------------------------------------- those that run

    def started(self, task: Item, now: float, /) -> None:
        """A task has a worker from now on; one that nobody knows is taken for the last of its equals."""
        self.remove(task)
        key = self._keys[task] = _key(task, self._number(task))
        self._runners.add(task, _turned(key))
        if task in self._since:
            self._since[task] = now

    def stopped(self, task: Item, now: float, /) -> None:
        """A task has a worker no longer; nothing happens when it had none."""
        if self._runners.discard(task) and task in self._since:
            self._account(task, now)
            self._since[task] = None

    def changed(self, task: Item, now: float, /) -> None:
        """The deadline of a task has changed, or its rank. It keeps its sequence number."""
        old = self._keys.get(task)
        if old is None or (new := _key(task, old[2])) == old:
            return
        if task in self._runners:
            self._keys[task] = new
            self._runners.update(task, _turned(new))
        elif self.remove(task):
            self._enter(task, old[2])

    def victim(self, now: float, /) -> Item | None:
        """Return the runner with the latest deadline, if it is later than the earliest in the queue."""
        head = self._head()
        last = None if head is None else self._runners.worst()
        if head is None or last is None:
            return None
        return last if self._keys[last][:2] > head[:2] else None

    def stirs(self, task: Item, /) -> bool:
        """Whether a task that was pushed just now may change who runs: it does not unless it is the next."""
        return self._head() == self._keys[task]

    def outranks(self, task: Item, other: Item, /) -> bool:
        """Whether a task goes before one that has a worker and has not begun, as it would preempt it."""
        return _key(task, 0)[:2] < _key(other, 0)[:2]

    def precedence(self, task: Item, newly: bool, now: float, /) -> tuple[float, ...]:
        """Order equals that run: who has come on just now last, then as they joined."""
        key = self._keys.get(task)
        return newly, -inf if key is None else key[2]

    # -------------------------------------------------------------------------------------- admission

    def admit(self, task: Item, now: float, processors: int, /) -> str | None:
        """Say why not all deadlines could be met with this task too; None if they can, or nobody asks.

        It is remembered if they can, and with `admission="warn"` in any case.
        """
        bound = self._bound
        if bound is None or task in self._since:
            return None
        for runner in self._runners:  # what they have used up to now is not ahead of anybody any more
            if runner in self._since:
                self._account(runner, now)
        reason = bound.refuse(task, now, processors)
        if reason is None or self.admission == "warn":
            bound.add(task, now)
            self._since[task] = now if task in self._runners else None
        return reason

    def forget(self, task: Item, now: float, /) -> None:
        """A task has ended: nothing is known of it any more."""
        self.stopped(task, now)
        self.remove(task)
        self._keys.pop(task, None)
        if self._bound is not None and task in self._since:
            del self._since[task]
            self._bound.drop(task, now)

    # ------------------------------------------------------------------------------------- for others

    def urgency(self, task: Item, /) -> tuple[float, ...]:
        """The earlier deadline first; among equal ones the higher priority."""
        return task.due, -task.rank

    def describe(self, task: Item, now: float, /) -> str:
        """Say when it is due, or what its priority is."""
        if task.due == inf:
            return f"no deadline, priority {task.rank}"
        left = task.due - now
        return f"due in {describe(left)}" if left >= 0 else f"due {describe(-left)} ago"

    def check(self) -> None:
        """Assert what must hold between any two calls; for tests."""
        self._runners.check()
        assert all(self._keys[task] == key for key, task in self._waiting.items()), "a task by another's key"
        assert not any(task in self._runners for task in self._waiting.values()), "queued and running"
        assert self._waiting.keys() <= set(self._heap), "a task that would never come"
        assert len(self._heap) <= 2 * len(self._waiting) + _FEW, "a heap of outdated keys"
        assert all(self._runners.key_of(task) == _turned(self._keys[task]) for task in self._runners)
        for task, since in self._since.items():
            assert (since is not None) == (task in self._runners), "whose time is counted runs"

    # -------------------------------------------------------------------------------------- within

    def _refuse_twice(self, task: Item) -> None:
        if self._keys.get(task) in self._waiting:
            raise ValueError(f"{shown(task)} cannot be pushed: it is in the queue already; remove it first")
        if task in self._runners:
            raise ValueError(f"{shown(task)} cannot be pushed: it is running; tell that it has stopped first")

    def _number(self, task: Item) -> int:
        """Return the sequence number that a task has, or the next one."""
        known = self._keys.get(task)
        if known is not None:
            return known[2]
        self._sequence += 1
        return self._sequence

    def _enter(self, task: Item, sequence: int) -> None:
        key = self._keys[task] = _key(task, sequence)
        self._waiting[key] = task
        heappush(self._heap, key)

    def _head(self) -> _Key | None:
        """Clear away outdated keys before the least, and return it."""
        heap, waiting = self._heap, self._waiting
        while heap:
            if heap[0] in waiting:
                return heap[0]
            heappop(heap)
        return None

    def _limit(self) -> None:
        """Keep the outdated keys from outnumbering the others by much."""
        if len(self._heap) > 2 * len(self._waiting) + _FEW:
            self._heap = list(self._waiting)
            heapify(self._heap)

    def _account(self, task: Item, now: float) -> None:
        """Tell how long a task, admitted before, has run since the last time."""
        since = self._since[task]
        if self._bound is not None and since is not None and now > since:
            self._bound.ran(task, now - since)
            self._since[task] = now


def _key(task: Schedulable, sequence: int) -> _Key:
    """Return what a task is ordered by: less is sooner."""
    due = task.due
    return due, -task.rank if due == inf else 0, sequence


def _turned(key: _Key) -> _Key:
    """Return the key that is the less, the greater this one is."""
    return -key[0], -key[1], -key[2]

"""The queues of three policies, to be used by themselves.

The law of this module: a queue here is a native policy, asked for nothing but its order. The scheduler does
not use them: the runtime has its own of the same kind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from actorsched.frontends.realtime.task import Task
from actorsched.frontends.realtime.vocabulary import InvalidArgumentError, invalid
from actorsched.policies import Edf, Fair, FixedPriority

if TYPE_CHECKING:
    from actorsched.durations import Duration
    from actorsched.policies import Policy


class Entry:
    """A task, as a policy sees it."""

    __slots__ = ("__weakref__", "_task", "cost", "due", "name", "period", "preemptible", "rank")

    def __init__(self, task: Task, due: float, when_gone: Callable[[Entry], object] | None = None) -> None:
        def gone(_: ref[Task]) -> None:
            if when_gone is not None:
                when_gone(self)

        self._task: ref[Task] = ref(task, gone)
        self.name: str = task.name
        self.rank: int = int(task.priority)
        self.due: float = due
        self.preemptible: bool = task.constraints.is_preemptible
        self.cost: float | None = None
        self.period: float | None = None

    def __repr__(self) -> str:
        return f"<entry of {self._task()!r}>"

    @property
    def task(self) -> Task:
        """The task, as long as it is in a queue, or somebody else has it."""
        task = self._task()
        assert task is not None
        return task


class TaskQueue:
    """What the queues have in common. All methods may be called in any thread, and none blocks.

    Args:
        policy: Whose order it has.
        clock: What tells the time, in seconds.
    """

    def __init__(self, policy: Policy[Entry], clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._entries: dict[Task, Entry] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} tasks>"

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, task: object) -> bool:
        return task in self._entries

    def put(self, task: Task) -> None:
        """Put a task into the queue.

        Raises:
            InvalidArgumentError: It is no task, or in the queue already.
        """
        if not isinstance(task, Task):
            raise invalid("task", task, 'give a Task, such as Task("fetch", fetch)')
        with self._lock:
            if task in self._entries:
                raise InvalidArgumentError(f"{task!r} is in the queue already; put each task there once")
            entry = self._entry(task)
            self._policy.push(entry, self._clock())
            self._entries[task] = entry

    def get(self) -> Task | None:
        """Take out the next task; None if there is none."""
        with self._lock:
            now = self._clock()
            entry = self._policy.pop(now)
            if entry is None:
                return None
            task = entry.task
            del self._entries[task]
            self._taken(entry, task, now)
            return task

    def peek(self) -> Task | None:
        """Look at the next task; None if there is none."""
        with self._lock:
            entry = self._policy.peek(self._clock())
            return None if entry is None else entry.task

    def remove(self, task: Task) -> bool:
        """Take out this task. Answers whether it was there."""
        with self._lock:
            entry = self._entries.pop(task, None)
            if entry is None:
                return False
            self._policy.remove(entry)
            self._forget(entry)
            return True

    def _entry(self, task: Task) -> Entry:
        return Entry(task, inf)

    def _taken(self, entry: Entry, task: Task, now: float) -> None:
        """An entry has left the queue in its turn."""
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self._policy.forget(entry, self._clock())


class PriorityQueue(TaskQueue):
    """The highest priority first, and of equals whoever came first."""

    def __init__(self) -> None:
        super().__init__(FixedPriority(), monotonic)


class DeadlineQueue(TaskQueue):
    """The earliest deadline first; those without one come last, by priority.

    `max_latency_ms` is a deadline too, from when the task is put here, unless it has one of its own.
    """

    def __init__(self) -> None:
        super().__init__(Edf(), time)  # deadlines are times of day, and equal ones stay equal

    def overdue(self) -> list[Task]:
        """The tasks in the queue whose deadline is past, the earliest first."""
        with self._lock:
            now = self._clock()
            late = [entry for entry in self._entries.values() if entry.due <= now]
            return [entry.task for entry in sorted(late, key=lambda entry: entry.due)]

    def _entry(self, task: Task) -> Entry:
        from datetime import UTC, datetime

        due = task.constraints.due(datetime.now(UTC))
        return Entry(task, inf if due is None else due.timestamp())


class MultiLevelQueue(TaskQueue):
    """A multi-level feedback queue. New tasks come to the top; the first of the highest level is next.

    A task runs from when it was got until it is put again. When it has used up what a level grants, it comes
    back one level lower; and from time to time all come to the top.

    Args:
        levels: How many levels there are.
        quanta: How long a task may run at each level, from the top; None for 10 ms at the top and twice as
            much at each level below.
        boost: How often all come to the top; None for never.
        clock: What tells the time, in seconds.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value cannot be.
    """

    def __init__(
        self,
        levels: int = 3,
        quanta: Duration | list[Duration] | tuple[Duration, ...] | None = None,
        boost: Duration | None = "1s",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        try:
            policy: Fair[Entry] = Fair(levels, quanta, boost)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(str(error)) from error
        super().__init__(policy, clock)
        self._away: WeakKeyDictionary[Task, Entry] = WeakKeyDictionary()
        self._dropped: deque[Entry] = deque()  # those whose tasks nobody has any more

    def _entry(self, task: Task) -> Entry:
        while self._dropped:
            self._forget(self._dropped.popleft())
        entry = self._away.pop(task, None)
        if entry is None:
            return Entry(task, inf, self._dropped.append)
        self._policy.stopped(entry, self._clock())
        return entry

    def _taken(self, entry: Entry, task: Task, now: float) -> None:
        self._policy.started(entry, now)
        self._away[task] = entry

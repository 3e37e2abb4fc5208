"""What a task costs under a policy, against what it costs under the default one.

Floor: no-ops in a pool of one slot, by fixed priorities, the default. Ours: the same tasks under another
policy. Those of `edf` have deadlines, on both sides. `policy_price_own` has the shortest policy that a user
could write. `deadline_price` only informs: the default policy with and without deadlines.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from actorsched.policies import FixedPriority, Policy, Schedulable
from benchmarks._bounded import POLICIES, no_ops
from benchmarks._figure import Figure

if TYPE_CHECKING:
    from benchmarks._bounded import Made

DEADLINE = "1h"


class Arrivals(Policy[Schedulable]):
    """First come, first served."""

    def __init__(self) -> None:
        self._queue: deque[Schedulable] = deque()

    def push(self, task: Schedulable, now: float, /) -> None:
        """A task joins the queue."""
        self._queue.append(task)

    def peek(self, now: float, /) -> Schedulable | None:
        """Return the next task."""
        return self._queue[0] if self._queue else None

    def pop(self, now: float, /) -> Schedulable | None:
        """Take out the next task."""
        return self._queue.popleft() if self._queue else None

    def remove(self, task: Schedulable, /) -> bool:
        """Take out this task."""
        known = task in self._queue
        if known:
            self._queue.remove(task)
        return known

    def drain(self) -> list[Schedulable]:
        """Take out all tasks."""
        tasks = list(self._queue)
        self._queue.clear()
        return tasks

    def __len__(self) -> int:
        return len(self._queue)


def _figure(name: str, policy: Made) -> Figure:
    deadline = DEADLINE if name == "edf" else None
    floor = no_ops(FixedPriority, deadline=deadline)
    return Figure(
        name=f"policy_price_{name}",
        what=f"a task under the policy {name}, against the default"
        + (", with deadlines" if deadline else ""),
        judged="time",
        unit="µs",
        must=1.3,
        aim=1.1,
        floor=floor,
        ours=no_ops(policy, deadline=deadline),
        trio_floor=floor,
        size=5_000,
        quick_size=1_000,
    )


_OTHERS: dict[str, Made] = {name: made for name, made in POLICIES.items() if name != "priority"}
_DEFAULT = no_ops(FixedPriority)

FIGURES = (
    *(_figure(name, policy) for name, policy in {**_OTHERS, "own": Arrivals}.items()),
    Figure(
        name="deadline_price",
        what="a task with a deadline, against one without; default policy",
        judged="time",
        unit="µs",
        must=None,
        aim=None,
        floor=_DEFAULT,
        ours=no_ops(FixedPriority, deadline=DEADLINE),
        trio_floor=_DEFAULT,
        size=5_000,
        quick_size=1_000,
    ),
)

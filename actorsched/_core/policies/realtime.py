"""Real time: fixed priorities and nothing else, and a say in who may come.

The law of this module: the queue and preemption are those of fixed priorities, without aging and without
quanta, so that the longest response time of every task can be calculated. The calculation is in `admission`.
What happens to a task that misses its deadline is not decided here: a hard deadline stops it, a soft one is
recorded, and both is done by whoever keeps the time.

How it works: with admission control, the analysis knows every task from when it is admitted until it has
ended, and is told what those that run have used whenever they stop, and before it is asked.
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from actorsched._core.admission.response_times import ResponseTimes
from actorsched._core.policies import Item
from actorsched._core.policies.priority import FixedPriority
from actorsched.checks import check_choice

__all__ = ["Admission", "Realtime"]

Admission: TypeAlias = Literal["off", "warn", "reject"]


class Realtime(FixedPriority[Item]):
    """The policy "realtime": the highest rank runs, preempting lower ones; no aging, no quantum.

    Args:
        admission: What becomes of a task with which somebody's response time might exceed a deadline, going
            by the costs, deadlines and periods of all: "reject" refuses it, "warn" takes it and tells, "off"
            does not look, and remembers nothing.

    Raises:
        ValueError: `admission` is something else.
    """

    __slots__ = ("_analysis", "_since", "admission")

    def __init__(self, admission: Admission = "off") -> None:
        check_choice(admission, "admission", ("off", "warn", "reject"))
        super().__init__()
        self.admission: Admission = admission
        self._analysis: ResponseTimes[Item] | None = None if admission == "off" else ResponseTimes()
        self._since: dict[Item, float | None] = {}  # of those admitted: up to when we told how long they ran

    def fresh(self) -> Self:
        """Return an empty policy with the same parameters, which has admitted nobody."""
        return type(self)(self.admission)

    def _title(self) -> str:
        return "Realtime" if self.admission == "off" else f"Realtime(admission={self.admission!r})"

    def started(self, task: Item, now: float, /) -> None:
        """A task has a worker from now on."""
        super().started(task, now)
        if task in self._since:
            self._since[task] = now

    def stopped(self, task: Item, now: float, /) -> None:
        """A task has a worker no longer. Nothing happens when it had none."""
        super().stopped(task, now)
        if task in self._since:
            self._account(task, now)
            self._since[task] = None

    def admit(self, task: Item, now: float, processors: int, /) -> str | None:
        """Decide by response times whether a new task may be taken, and remember it until it is forgotten.

        Returns:
            Why not, for people; None when it may, or was admitted before. With `admission="warn"` it is what
            to warn of: the task is taken, and remembered, all the same.
        """
        analysis = self._analysis
        if analysis is None or task in self._since:
            return None
        for runner in self._running:  # what they have used is not ahead of anybody any more
            if runner in self._since:
                self._account(runner, now)
        reason = analysis.refuse(task, now, processors)
        if reason is None or self.admission == "warn":
            analysis.add(task, now)
            self._since[task] = now if task in self._running else None
        return reason

    def forget(self, task: Item, now: float, /) -> None:
        """A task that was admitted has ended. Nothing happens when it was not."""
        if self._analysis is not None and task in self._since:
            del self._since[task]
            self._analysis.drop(task, now)

    def check(self) -> None:
        """Assert what must hold between any two calls; for tests."""
        super().check()
        for task, since in self._since.items():
            assert (since is not None) == (task in self._running), "whose time is counted runs"

    def _account(self, task: Item, now: float) -> None:
        """Tell how long a task, admitted before, has run since the last time."""
        since = self._since[task]
        if self._analysis is not None and since is not None and now > since:
            self._analysis.ran(task, now - since)
            self._since[task] = now

"""Real time: fixed priorities and nothing else, and a say in who may come.

The law of this module: the queue and preemption are those of fixed priorities, without aging and without
quanta, so that the longest response time of every task can be calculated. The calculation is in `admission`.
What happens to a task that misses its deadline is not decided here: a hard deadline stops it, a soft one is
recorded, and both is done by whoever keeps the time.
"""

from __future__ import annotations

from typing import Literal, Self

from actorsched._core.admission import ResponseTimes
from actorsched._core.policies import Item
from actorsched._core.policies.priority import FixedPriority

__all__ = ["Realtime"]


class Realtime(FixedPriority[Item]):
    """The policy "realtime": the highest rank runs, preempting lower ones; no aging, no quantum.

    Args:
        admission: What happens to a task with which somebody's response time may exceed a deadline: with
            "reject" it is refused; with "warn" it is taken, and a warning logged; with "off" nothing is
            calculated, and nothing remembered.

    Raises:
        ValueError: `admission` is something else.
    """

    __slots__ = ("_admitted", "admission")

    def __init__(self, admission: Literal["reject", "warn", "off"] = "off") -> None:
        if admission not in ("reject", "warn", "off"):
            raise ValueError(f'admission={admission!r} makes no sense; give "reject", "warn" or "off"')
        super().__init__()
        self.admission: Literal["reject", "warn", "off"] = admission
        self._admitted: ResponseTimes[Item] = ResponseTimes()

    def fresh(self) -> Self:
        """Return an empty policy with the same parameters, which has admitted nobody."""
        return type(self)(self.admission)

    def admit(self, task: Item, now: float, processors: int, /) -> str | None:
        """Decide by response times whether a new task may be taken, and remember it until it is forgotten.

        Returns:
            Why not, for people; None when it may. With `admission="warn"` it is the warning to be logged, and
            the task is taken, and remembered, all the same.
        """
        if self.admission == "off":
            return None
        reason = self._admitted.refuse(task, now, processors)
        if reason is None or self.admission == "warn":
            self._admitted.add(task, now)
        return reason

    def forget(self, task: Item, now: float, /) -> None:
        """A task that was admitted has ended. Nothing happens when it was not."""
        if self.admission != "off":
            self._admitted.drop(task, now)

    def _title(self) -> str:
        return "Realtime" if self.admission == "off" else f"Realtime(admission={self.admission!r})"

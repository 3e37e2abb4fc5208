"""The alarms of a runtime: who watches for how long tasks take, and when it is judged.

The law of this module: it looks at what was measured, and tells of it, as events and in the log; it changes
nothing else. When an alarm fires is decided by `_core.alerting`.

How it works: the end of a task that is measured sets a timer, if there are alarms and none is set. When that
rings, all alarms are judged by what the window has then, and it is set again as long as tasks go on to end,
or an alarm fires, which is over at the latest when the window is empty. So a runtime at rest has no timer.
"""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING, Final

from actorsched.durations import describe

if TYPE_CHECKING:
    from actorsched._core.alerting import AlarmState, Hysteresis
    from actorsched._core.latency import Phase
    from actorsched._core.timers import TimerEntry
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.measuring import Measuring

INTERVAL: Final = 1.0
"""Seconds between two judgements, by the runtime's clock."""

_numbers = count(1)


class Watch:
    """One alarm: what it watches, and its present state.

    Args:
        name: Its name, for people; None for one made of what it watches.
        phase: Of a task: what is watched.
        quantile: And of that, the quantile.
        priority: Of tasks with this priority only.
        pool: Of tasks in this pool only.
        state: Decides.
    """

    __slots__ = ("name", "number", "phase", "pool", "priority", "quantile", "state", "value")

    def __init__(
        self,
        name: str | None,
        phase: Phase,
        quantile: float,
        priority: int | None,
        pool: str | None,
        state: Hysteresis,
    ) -> None:
        self.number: str = f"alarm-{next(_numbers)}"
        self.phase: Phase = phase
        self.quantile: float = quantile
        self.priority: int | None = priority
        self.pool: str | None = pool
        self.state: Hysteresis = state
        self.name: str = name or f"{phase} of {self.whose}"
        self.value: float | None = None
        """What was judged last, in seconds."""

    def __repr__(self) -> str:
        return f"<watch {self.name!r}: {self.state!r}>"

    @property
    def whose(self) -> str:
        """The tasks that it watches, for people."""
        of = "tasks" if self.priority is None else f"tasks of priority {self.priority}"
        return of if self.pool is None else f"{of} in pool {self.pool!r}"


class Alarms:
    """All alarms of a runtime."""

    def __init__(self, kernel: Kernel, measuring: Measuring) -> None:
        self._kernel = kernel
        self._measuring = measuring
        self._watches: dict[Watch, None] = {}
        self._timer: TimerEntry | None = None
        self._stirred = False  # some task has ended since the latest judgement

    def __repr__(self) -> str:
        return f"<{len(self._watches)} alarms>"

    def add(self, watch: Watch) -> None:
        """From now on this is watched too."""
        self._watches[watch] = None
        self._measuring.on_end = self._stir
        self._stir()

    def remove(self, watch: Watch) -> None:
        """This is not watched any more."""
        self._watches.pop(watch, None)
        watch.state.firing = False
        if not self._watches:
            self._measuring.on_end = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _stir(self) -> None:
        self._stirred = True
        if self._timer is None and not self._kernel.closed and self._watches:
            self._timer = self._kernel.call_later(INTERVAL, self._judge)

    def _judge(self) -> None:
        self._timer = None
        stirred, self._stirred = self._stirred, False
        now = self._kernel.now
        for watch in list(self._watches):
            recent = self._measuring.book.recent(now, watch.pool, watch.priority).of(watch.phase)
            watch.value = recent.quantile(watch.quantile)
            news = watch.state.judge(watch.value, recent.count)
            if news is not None:
                self._tell(watch, news)
        if self._timer is None and (stirred or any(watch.state.firing for watch in self._watches)):
            self._timer = None if self._kernel.closed else self._kernel.call_later(INTERVAL, self._judge)

    def _tell(self, watch: Watch, news: AlarmState) -> None:
        state, kernel = watch.state, self._kernel
        threshold = state.above if news == "firing" else state.below
        what = f"the {watch.phase} of {watch.whose} was {_shown(watch.value)} at quantile {watch.quantile:g}"
        if news == "firing":
            level, text = logging.WARNING, f"{what}, above {describe(threshold)}"
        else:
            level, text = logging.INFO, f"{what}, and {describe(state.above)} is not exceeded any more"
        kernel.report(level, f"alert {watch.name!r} {news}: {text} (over the last minute)")
        if kernel.watched:
            kernel.tell(
                "alert",
                watch,
                name=watch.name,
                phase=watch.phase,
                priority=watch.priority,
                pool=watch.pool,
                quantile=watch.quantile,
                value=watch.value,
                threshold=threshold,
                state=news,
            )


def _shown(value: float | None) -> str:
    return "unknown, as no task has ended," if value is None else describe(round(value, 6))

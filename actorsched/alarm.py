"""Alarms for how long tasks take: `rt.alert(...)`.

The law of this module: what was asked for is checked here, and handed on; and an `Alarm` shows what became of
it. Who watches is the system (`_system.alarms`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._core.alerting import Hysteresis
from actorsched._core.latency import PHASES
from actorsched._system.alarms import Watch
from actorsched.durations import describe, seconds
from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.latency import Phase
    from actorsched._system.system import System
    from actorsched.durations import Duration

__all__ = ["Alarm", "alarm_of"]

_HYSTERESIS = 0.8


class Alarm:
    """An alarm that was set with `rt.alert`. It is not made otherwise."""

    def __init__(self, watch: Watch, remove: Callable[[Watch], None]) -> None:
        self._watch = watch
        self._remove = remove

    def __repr__(self) -> str:
        state = self._watch.state
        return (
            f"<Alarm {self.name!r} above {describe(state.above)}: {'firing' if self.firing else 'resting'}>"
        )

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self._watch.name

    @property
    def firing(self) -> bool:
        """Whether the threshold was exceeded when it was last judged, and is not yet known to be kept."""
        return self._watch.state.firing

    @property
    def value(self) -> float | None:
        """What was judged last, in seconds; None if there was nothing."""
        return self._watch.value

    def stop(self) -> None:
        """Watch no more. It is told to nobody, and once is enough."""
        self._remove(self._watch)


def alarm_of(
    system: System,
    phase: Phase,
    above: Duration,
    priority: int | None,
    pool: str | None,
    quantile: float,
    below: Duration | None,
    at_least: int,
    name: str | None,
) -> Alarm:
    """Set an alarm.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value.
    """
    if phase not in PHASES:
        raise ValueError(f"phase={shown(phase)} is no phase of a task; choose from {', '.join(PHASES)}")
    limit = seconds(above, field="above")
    clear = limit * _HYSTERESIS if below is None else seconds(below, field="below")
    if clear > limit:
        raise ValueError(
            f"below={shown(below)} is more than above={shown(above)}: the alarm would end before it fires; "
            "give less, or leave it out for 0.8 times as much"
        )
    if not _is_number(quantile) or not 0 < quantile <= 1:
        raise ValueError(
            f"quantile={shown(quantile)} is no part of all tasks; give for example 0.95, at most 1"
        )
    if not isinstance(at_least, int) or isinstance(at_least, bool) or at_least < 1:
        raise ValueError(f"at_least={shown(at_least)} is no number of tasks; give a whole number, 1 or more")
    if priority is not None and (not isinstance(priority, int) or isinstance(priority, bool)):
        raise TypeError(
            f"priority={shown(priority)} is of type {type(priority).__name__}; give a Priority or an int, or "
            "leave it out for all"
        )
    if pool is not None and pool not in system.pools:
        raise ValueError(
            f"pool={shown(pool)} is the name of no pool; there are: {', '.join(map(repr, system.pools))}"
        )
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name={shown(name)} is of type {type(name).__name__}; give text")
    number = None if priority is None else int(priority)
    watch = Watch(name, phase, float(quantile), number, pool, Hysteresis(limit, clear, at_least))
    system.alarms.add(watch)
    return Alarm(watch, system.alarms.remove)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

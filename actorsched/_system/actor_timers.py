"""Timers of actors: messages to itself, once or again and again, with a key to replace them by.

They belong to the present life of the actor and end with it. A periodic one keeps to its grid, and leaves
a beat out while its message before that is still queued, so a slow actor is not buried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._system.call import Call
from actorsched.options import Priority

if TYPE_CHECKING:
    from actorsched._core.timers import TimerEntry
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.handlers import Handler


class ActorTimerEntry:
    """One timer of an actor."""

    __slots__ = ("_args", "_cell", "_entry", "_handler", "_kwargs", "_last", "_period", "_when", "key")

    def __init__(
        self,
        cell: ActorCell,
        period: float | None,
        handler: Handler,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: object,
    ) -> None:
        self.key = self if key is None else key
        self._cell = cell
        self._period = period
        self._handler = handler
        self._args = args
        self._kwargs = kwargs
        self._last: Call | None = None
        self._when = 0.0
        self._entry: TimerEntry | None = None

    def __repr__(self) -> str:
        return f"<timer {self._handler.name} of {self._cell.name!r}>"

    def start(self, delay: float) -> None:
        """Set it."""
        kernel = self._cell.kernel
        self._when = kernel.now + delay
        self._entry = kernel.call_later(delay, self._fire)

    def cancel(self) -> None:
        """No more messages. Another timer that has taken the place of this one goes on."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None
        extras = self._cell.extras
        if extras is not None and extras.timers.get(self.key) is self:
            del extras.timers[self.key]

    def _fire(self) -> None:
        cell = self._cell
        if self._period is None:
            timers = cell.more().timers
            if timers.get(self.key) is self:
                del timers[self.key]
        else:
            self._rearm(self._period)
        if self._last is not None and not self._last.begun and not self._last.dead:
            return
        packed = cell.pack(self._handler, self._args, self._kwargs) if cell.hosted else None
        context = cell.context.copy()
        call = Call(
            cell,
            cell.kernel,
            self._handler,
            self._args,
            self._kwargs,
            context,
            cell,
            Priority.NORMAL,
            packed,
        )
        self._last = call
        if cell.offer(call) is not None:
            cell.kernel.office.sent += 1
            cell.kernel.office.bury(call, "full")

    def _rearm(self, period: float) -> None:
        kernel = self._cell.kernel
        late = kernel.now - self._when
        self._when += period * (1 + max(0, int(late // period)))
        self._entry = kernel.call_later(max(0.0, self._when - kernel.now), self._fire)


def cancel_timer(cell: ActorCell, key: object) -> None:
    """Cancel the timer of that key, if there is one."""
    timer = None if cell.extras is None else cell.extras.timers.get(key)
    if timer is not None:
        timer.cancel()


def set_timer(
    cell: ActorCell,
    delay: float,
    periodic: bool,
    handler: Handler,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: object,
) -> ActorTimerEntry:
    """Set a timer, in place of one with the same key. In a life that is ending it comes to nothing."""
    timer = ActorTimerEntry(cell, delay if periodic else None, handler, args, kwargs, key)
    if cell.ending is not None:
        return timer
    timers = cell.more().timers
    before = timers.get(timer.key)
    if before is not None:
        before.cancel()
    timers[timer.key] = timer
    timer.start(delay)
    return timer

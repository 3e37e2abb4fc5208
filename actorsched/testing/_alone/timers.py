"""Timers of an actor that is tested alone.

The law of this module: they keep the promises of real ones: a periodic one keeps to its grid, and leaves a
beat out while its message before that is still queued. When they are due, the scene knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsched.testing._alone.handling import Handling
from actorsched.testing.effects import TimerCancelled

if TYPE_CHECKING:
    from actorsched._system.handlers import Handler
    from actorsched.testing._alone.cell import Cell
    from actorsched.testing._alone.recording import Effects
    from actorsched.testing._alone.scene import Alarm
    from actorsched.testing.effects import TimerSet


class Timer:
    """One timer.

    Attributes:
        effect: What it was set to.
    """

    def __init__(self, actor: Cell, effect: TimerSet, handler: Handler) -> None:
        self.effect = effect
        self._actor = actor
        self._handler = handler
        self._alarm: Alarm | None = None
        self._last: Handling | None = None

    def __repr__(self) -> str:
        return f"<timer {self.effect.handler} of {self._actor.name!r}>"

    def start(self) -> None:
        """Set it."""
        self._alarm = self._actor.scene.later(self.effect.delay, self._due)

    def cancel(self) -> None:
        """What the actor's own code calls: no more messages."""
        if self in self._actor.timers:
            self._actor.scene.record(TimerCancelled(self.effect))
            self.drop()

    def drop(self) -> None:
        """It is set no longer."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self in self._actor.timers:
            self._actor.timers.remove(self)

    def fire(self) -> Effects:
        """Send the message now."""
        if not self.effect.periodic:
            self.drop()
        handling = self._last = self._message()
        self._actor.scene.post(lambda: self._actor.accept(handling))
        return handling.effects

    def _due(self) -> None:
        if self.effect.periodic:
            self.start()
        else:
            self.drop()
        if self._last is None or not self._actor.queued(self._last):
            self._last = self._message()
            self._actor.accept(self._last)

    def _message(self) -> Handling:
        effect, actor = self.effect, self._actor
        return Handling(
            actor, self._handler, effect.args, effect.kwargs, actor.ref, asked=False, question=None
        )

"""What a host has in advance, and what is taken back of it.

A host is handed tasks ahead of their turn, as many as it gets done in a moment, so that it never waits for
the next; a task that turns out to be long gets those behind it taken back and given to others. The host says
so itself; one that is busy in C and says nothing is noticed by its silence. Whoever is more urgent goes
before what has not begun.

The law of this module: a task is taken back only when it is certain that the host has not begun it, and will
not. So either the host has said so, or it is held before its next task until it has heard (`HostLink.hold`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actorsched._core.behaviour import Outbox, handles, require
from actorsched._hosting import wire
from actorsched._system.host_state import HostWorkerState
from actorsched.messages import PriorityChanged, Unbegun

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Timer
    from actorsched._system.host_run import HostRun
    from actorsched._system.task import TaskActor

_AHEAD = 0.002
"""Seconds of work that a host may have in advance."""
_LOOK = 0.02
"""Seconds between two looks at a host that has tasks in advance."""
_SILENCES = 3
"""When it has said nothing at so many looks in a row, what it has not begun is given to others. It takes more
than one, because the loop may have been too busy to hear anything."""
_MOST_AHEAD = 128
"""Tasks that a host may have in advance, at most."""


class LookUp(msgspec.Struct, frozen=True):
    """To itself: the host may have been silent for too long."""


_LOOK_UP = LookUp()


class HostAhead(HostWorkerState, kw_only=True):
    """Tasks ahead of their turn."""

    window: int = 1
    """How many tasks it may have, with the one that runs."""
    pace: float = _AHEAD
    """How long the latest tasks took, in seconds, averaged."""
    lookup: Timer | None = None
    """When to look whether the host is silent."""
    silences: int = 0
    """How often it had said nothing between two looks."""
    revokes: int = 0
    """How many revocations it has not answered."""
    held: bool = False
    """Whether it is kept from beginning tasks until it has answered them."""
    repaced: bool = False
    """Whether the window is to be computed anew."""

    @property
    def takes_more(self) -> bool:
        """Whether it may have one more task in advance."""
        if len(self.runs) >= self.window or self.leaving or self.retiring or self.suspended:
            return False
        return not self.lends

    def lets_in(self, task: TaskActor) -> bool:
        """Whether it may be given a task ahead, though it has others already.

        Those over which this one has precedence, and which have not begun, are taken back. Then it is the
        next, unless what runs takes long: then there is no room here for anybody so urgent.
        """
        last = next(reversed(self.runs.values())).owner  # nobody is less urgent than whoever came last
        if task.rank <= last.rank and task.due >= last.due:
            return True
        precedes = task.pool.precedes
        if not precedes(task, last):
            return True
        quick = self._is_quick
        self._take_back(lambda other: precedes(task, other), again=quick)
        lower = [number for number, run in self.runs.items() if precedes(task, run.owner)]
        if len(lower) > 1:  # they have ended; without shared memory, some may not have begun
            self._revoke(lower)
        return quick or not lower

    @property
    def _is_quick(self) -> bool:
        """Whether what runs in the host will be over in a moment, as far as can be known."""
        return self.pace <= _AHEAD / 2 and self.kernel.monotonic() - self.heard < 2 * _AHEAD

    @handles(PriorityChanged)
    def _priority_changed(self, message: PriorityChanged, out: Outbox) -> None:
        """If that task has not begun, it may be in the wrong place: the scheduler chooses anew."""
        if len(self.runs) > 1:
            assert self.link is not None
            if self._number_of(message.task) > self.link.last_started:
                self._take_back(again=self._is_quick)

    # ----------------------------------------------------------------------------- how much, and for how long

    def _pace_known(self) -> None:
        """Some tasks have ended, and it is known how long they took: it may have more in advance, or less."""
        self.repaced, self.heard = False, self.kernel.monotonic()
        self.window = max(1, min(_MOST_AHEAD, int(_AHEAD / (self.pace + 1e-5))))

    def _watch(self) -> None:
        """It has something in advance: see to it that its silence is noticed."""
        self.lookup = self._later(_LOOK, _LOOK_UP)

    def _unwatch(self) -> None:
        """Nobody needs to listen any more."""
        if self.lookup is not None:
            self.lookup.cancel()
            self.lookup = None

    @handles(LookUp)
    def _look_up(self, message: LookUp, out: Outbox) -> None:
        self.lookup = None
        if len(self.runs) < 2:
            return
        self.silences += 1
        if self.silences < _SILENCES:
            self._watch()
        else:
            self._take_back()

    def _started(self, frame: wire.Started) -> None:
        """A long task: what was to come after it goes elsewhere."""
        self.window, self.repaced = 1, False
        waiting = [number for number in self.runs if number != frame.task_id]
        if waiting:
            self._revoke(waiting)

    # -------------------------------------------------------------------------------------------- taking back

    def _take_back(self, which: Callable[[TaskActor], bool] | None = None, *, again: bool = False) -> None:
        """Take back what the host has not begun, though it may be busy in C, and hear nothing.

        Args:
            which: Says of which tasks; None for all.
            again: Whether it may be given more ahead before it has ended something.
        """
        link = self.link
        assert link is not None
        if not again:
            self.window, self.repaced = 1, False
        if link.last_started >= max(self.runs):
            return
        last, self.held = link.hold(), True
        waiting = [
            number
            for number, run in self.runs.items()
            if number > last and (which is None or which(run.owner))
        ]
        self._revoke(waiting)
        for number in reversed(waiting):
            self._give_back(number, self.runs[number])

    def _revoke(self, numbers: list[int]) -> None:
        assert self.link is not None
        self.revokes += 1
        self.link.send(wire.Revoke(numbers))

    def _revoked(self, frame: wire.Revoked) -> None:
        self.revokes -= 1
        if self.held and not self.revokes:
            self.held = False
            assert self.link is not None
            self.link.let_go()
        for number in reversed(frame.task_ids):
            run = self.runs.get(number)
            if run is not None:
                self._give_back(number, run)

    def _give_back(self, number: int, run: HostRun) -> None:
        """The host will never begin it. Of several the last comes first: each goes before its equals."""
        self.runs.pop(number, None)
        self.left += 1
        run.clear_grace()
        self.kernel.send((self.scheduler, Unbegun(self, run.owner)))

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """The same; and it is held for as long as an answer is awaited."""
        super().check()
        require(1 <= self.window <= _MOST_AHEAD, self, "it may have one task, and not too many")
        require(len(self.runs) <= _MOST_AHEAD, self, "it has no more tasks than it ever may")
        require(self.revokes >= 0, self, "no more revocations were answered than there were")
        require(not self.held or self.revokes or not self.runs, self, "it is held until it has answered")
        require(self.pace >= 0.0 and self.silences >= 0, self, "nothing takes less than no time")

"""A simulated processor: what code uses up by `await compute(...)`, and does not while it is preempted.

Several parts of one task that compute at once do it one after the other, because a task has one processor at
most. Somebody who no longer waits for the end of its computation is passed over.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from actorsched._core.timers import DONE
from actorsched.messages import Compute, Computed

if TYPE_CHECKING:
    from actorsched._core.behaviour import Behaviour, Outbox, Timer

_COMPUTED = Computed()


class Processor:
    """The computations of one attempt of a task.

    Attributes:
        busy: Whether one of them is under way.
    """

    __slots__ = ("_left", "_queue", "_since", "_timer")

    def __init__(self) -> None:
        self._queue: deque[Compute] = deque()
        self._left: float | None = None  # of the first one, when it was begun or gone on with
        self._since = 0.0
        self._timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<processor {'busy' if self.busy else 'paused'}, {len(self._queue)} to compute>"

    @property
    def busy(self) -> bool:
        """Whether a computation is under way."""
        return self._timer is not None

    def take(self, compute: Compute) -> None:
        """One more computation."""
        self._queue.append(compute)

    def pause(self, now: float) -> None:
        """It was preempted."""
        if self._timer is not None and self._left is not None:
            self._timer.cancel()
            self._timer = None
            self._left = max(0.0, self._left - (now - self._since))

    def go_on(self, worker: Behaviour, out: Outbox) -> None:
        """Work on what there is, where it was left."""
        while self._timer is None and self._queue:
            first = self._queue[0]
            if first.answer.done():  # nobody waits for it any more
                self._queue.popleft()
                self._left = None
                continue
            self._left = first.seconds if self._left is None else self._left
            self._since = out.now
            self._timer = out.later(self._left, worker, _COMPUTED, phase=DONE)

    def done(self, worker: Behaviour, out: Outbox) -> None:
        """The first computation is over."""
        self._timer = self._left = None
        out.reply(self._queue.popleft().answer, None)
        self.go_on(worker, out)

    def given_up(self, worker: Behaviour, out: Outbox) -> None:
        """Somebody no longer waits for the end of its computation."""
        if self._timer is not None and self._queue[0].answer.done():
            self._timer.cancel()
            self._timer = None
            self.go_on(worker, out)

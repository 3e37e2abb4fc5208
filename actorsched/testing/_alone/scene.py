"""The world around one actor or task that is tested alone: its time, its runtime's place, and who records.

The law of this module: nothing here runs by itself. What is due is done when the test says so, in the order
in which it became due, and everything that the code does is written down in that order.

A scene takes one step at a time. What a step brings about, such as that another piece of code may go on, is
put behind it.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from contextvars import ContextVar
from itertools import count
from threading import get_ident
from typing import TYPE_CHECKING, Any

from actorsched.durations import Duration, seconds
from actorsched.messages import Report
from actorsched.testing._alone.recording import Effects
from actorsched.testing.effects import Reported, Slept

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from actorsched.exceptions import ActorschedError
    from actorsched.testing._alone.runtime import RuntimeStandIn
    from actorsched.testing._alone.strand import Strand
    from actorsched.testing.effects import Effect

SCENE: ContextVar[Scene | None] = ContextVar("actorsched_scene", default=None)
"""That of the code which is running; it is inherited as `CURRENT` is."""


class Alarm:
    """Something that is due at a time, unless it is cancelled before."""

    __slots__ = ("_scene", "function", "number", "when")

    def __init__(self, scene: Scene, when: float, number: int, function: Callable[[], None]) -> None:
        self._scene = scene
        self.when = when
        self.number = number
        self.function = function

    def __repr__(self) -> str:
        return f"<alarm at {self.when:g} s>"

    def __lt__(self, other: Alarm) -> bool:
        return (self.when, self.number) < (other.when, other.number)

    def cancel(self) -> None:
        """It will not happen. Harmless when it has."""
        if self in self._scene.alarms:
            self._scene.alarms.remove(self)


class Scene:
    """The world around one actor or task.

    Attributes:
        title: Whose world it is, for people.
        now: The time, in seconds; it begins with 0.
        alarms: What is due later, soonest first.
        effects: Everything that was done, in its order.
        into: What came of the code that takes a step now is recorded here too.
        impossible: What the code has tried that cannot be had alone; the test is told of it, also when the
            code has passed over it.
        facade: What stands in for the runtime.
        ref: That of the actor or task itself, as whoever it sends to knows it.
        thread: Whose code runs in the loop, as far as contexts can tell.
    """

    def __init__(self, title: str) -> None:
        from actorsched.testing._alone.runtime import RuntimeStandIn

        self.title = title
        self.now = 0.0
        self.alarms: list[Alarm] = []
        self.effects = Effects(f"all of {title}")
        self.into: Effects | None = None
        self.impossible: ActorschedError | None = None
        self.facade: RuntimeStandIn = RuntimeStandIn(self)
        self.ref: Any = None
        self.thread: int = get_ident()
        self._numbers = count()
        self._steps: deque[Callable[[], None]] = deque()
        self._stepping = False

    def __repr__(self) -> str:
        return f"<scene of {self.title}, {self.now:g} s>"

    # -------------------------------------------------------------------------------------------- recording

    def record(self, effect: Effect, into: Effects | None = None) -> None:
        """Something was done: by the code that takes a step, or by that whose effects are given."""
        self.effects._add(effect)
        into = self.into if into is None else into
        if into is not None:
            into._add(effect)

    def since(self, before: int, title: str) -> Effects:
        """What was done after the first so many effects."""
        effects = Effects(title)
        for effect in self.effects[before:]:
            effects._add(effect)
        return effects

    def post_threadsafe(self, owner: Any, message: object) -> None:
        """What a context says to whoever it belongs to: how far it is. Only a task has a progress."""
        if isinstance(message, Report) and owner.settles:
            owner.progress = (message.fraction, message.message)
            self.record(Reported(message.fraction, message.message))

    # -------------------------------------------------------------------------------------------- the steps

    def post(self, step: Callable[[], None]) -> None:
        """Have a step taken: at once, or after the one that is being taken."""
        self._steps.append(step)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._steps:
                self._steps.popleft()()
        finally:
            self._stepping = False
        impossible, self.impossible = self.impossible, None
        if impossible is not None:
            raise impossible

    # ------------------------------------------------------------------------------------------------- time

    def later(self, delay: float, function: Callable[[], None]) -> Alarm:
        """Have something done after so many seconds."""
        alarm = Alarm(self, self.now + delay, next(self._numbers), function)
        insort(self.alarms, alarm)
        return alarm

    def advance(self, duration: Duration) -> Effects:
        """Let time pass; whatever becomes due is done, at its time.

        Raises:
            ValueError: It is no duration.
        """
        until = self.now + seconds(duration, field="duration")
        before = len(self.effects)
        while self.alarms and self.alarms[0].when <= until:
            alarm = self.alarms.pop(0)
            self.now = max(self.now, alarm.when)
            self.post(alarm.function)
        self.now = until
        return self.since(before, f"{self.title}, until {until:g} s")

    async def sleep(self, delay: float) -> None:
        """Wait until so much time has passed. `actorsched.sleep` finds it in the place of a kernel."""
        self.record(Slept(delay))
        if not delay:
            return
        wait = Wait(self, f"{delay:g} s to pass; let them, by advance()")
        alarm = self.later(delay, wait.settle)
        try:
            await wait
        finally:
            alarm.cancel()


class Wait:
    """Something that code waits for until the test has it happen. Waited for once."""

    __slots__ = ("_error", "_scene", "_value", "done", "strand", "what")

    def __init__(self, scene: Scene, what: str) -> None:
        self._scene = scene
        self.what = what
        self.done = False
        self.strand: Strand | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<wait for {self.what}{', over' if self.done else ''}>"

    def __await__(self) -> Generator[Wait, Any, Any]:
        if not self.done:
            yield self
        if self._error is not None:
            raise self._error
        return self._value

    def settle(self, value: Any = None) -> None:
        """It has happened."""
        self._end(value, None)

    def fail(self, error: BaseException) -> None:
        """It will not happen, and this is why."""
        self._end(None, error)

    def _end(self, value: Any, error: BaseException | None) -> None:
        if self.done:
            return
        self.done = True
        self._value, self._error = value, error
        if self.strand is not None:
            self._scene.post(self.strand.go_on)


def record(effect: Effect) -> None:
    """The code that runs now does this, if it is code that is tested alone."""
    scene = SCENE.get()
    if scene is not None:
        scene.record(effect)


def scene_for(what: str) -> Scene:
    """Where the code that runs now may wait.

    Raises:
        RuntimeError: It is no code that is tested alone.
    """
    scene = SCENE.get()
    if scene is None:
        raise RuntimeError(
            f"{what} was to be waited for by code that does not run alone: a stand-in answers there only "
            "what was prepared, by its answers() or fails()"
        )
    return scene


def sender() -> Any:
    """The ref of whoever runs now, if that is tested alone."""
    scene = SCENE.get()
    return None if scene is None else scene.ref

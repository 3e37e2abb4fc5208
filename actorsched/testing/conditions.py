"""What a test wants to hold always, or to come true in time.

The law of this module: it looks at predicates after each step, and says which failed. A predicate is a plain
function; it may look at anything, and should change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from actorsched.durations import describe
from actorsched.exceptions import ActorschedError

if TYPE_CHECKING:
    from actorsched._core.timers import TimerEntry
    from actorsched.testing.world import SimulatedWorld

Predicate = Callable[[], object]


class ConditionFailed(ActorschedError, AssertionError):
    """What `simulation.always` or `simulation.eventually` was promised does not hold.

    Attributes:
        title: What people call it.
    """

    title: str = ""

    @classmethod
    def of(cls, title: str, how: str) -> ConditionFailed:
        """This does not hold, and how that shows."""
        error = cls(f"{how}: {title}")
        error.title = title
        return error


class Eventually:
    """Something that has to come true in time; awaited, it waits for that.

    Attributes:
        title: What people call it.
        true: Whether it has come true.
    """

    def __init__(self, conditions: Conditions, predicate: Predicate, title: str, within: float) -> None:
        self._conditions = conditions
        self._predicate = predicate
        self.title: str = title
        self.true: bool = False
        self.within: float = within
        self._timer: TimerEntry | None = None
        self._waiting: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<eventually {self.title}: {'true' if self.true else 'not yet'}>"

    def begin(self) -> None:
        """Time is counted from now on."""
        world = self._conditions.world
        self._timer = world.call_after(world.now + self.within, self._too_late)
        self.look()

    def look(self) -> None:
        """Whether it has come true by now."""
        if not self.true and self._predicate():
            self.true = True
            self.forget()

    def forget(self) -> None:
        """Nobody waits for it any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._conditions.over(self)
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def _too_late(self) -> None:
        self._conditions.look_at(self)
        if not self.true and self in self._conditions.pending:
            self.fail(f"did not come true within {describe(self.within)}")
            self.forget()

    def fail(self, how: str) -> None:
        """It did not come true."""
        self._conditions.world.failed(ConditionFailed.of(self.title, how))

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        import anyio

        while not self.true and self in self._conditions.pending:
            event = anyio.Event()
            self._waiting.append(event.set)
            await event.wait()
        if not self.true:
            raise ConditionFailed.of(self.title, f"did not come true within {describe(self.within)}")


class Conditions:
    """All that is to hold in one run."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.any: bool = False
        """Whether there is anything to look at."""
        self.pending: list[Eventually] = []
        self._always: list[tuple[Predicate, str]] = []
        self._looking = False

    def __repr__(self) -> str:
        return f"<{len(self._always)} conditions, {len(self.pending)} expectations>"

    def always(self, predicate: Predicate, title: str) -> None:
        """From now on this holds after each step."""
        self._always.append((predicate, title))
        self.any = True
        self.look()

    def eventually(self, predicate: Predicate, title: str, within: float) -> Eventually:
        """This comes true in time."""
        expected = Eventually(self, predicate, title, within)
        self.pending.append(expected)
        self.any = True
        expected.begin()
        return expected

    def over(self, expected: Eventually) -> None:
        """One is not waited for any more."""
        if expected in self.pending:
            self.pending.remove(expected)
        self.any = bool(self.pending or self._always)

    def look(self) -> None:
        """Look at all of them."""
        if self._looking:  # a predicate has made something happen
            return
        self._looking = True
        try:
            for predicate, title in list(self._always):
                self._look_at(predicate, title)
            for expected in list(self.pending):
                self.look_at(expected)
        finally:
            self._looking = False

    def look_at(self, expected: Eventually) -> None:
        """Look at one that is expected."""
        try:
            expected.look()
        except BaseException as error:
            self._broken(error, expected.title)
            expected.forget()

    def _look_at(self, predicate: Predicate, title: str) -> None:
        try:
            holds = predicate()
        except BaseException as error:
            self._broken(error, title)
            self._drop(predicate)
        else:
            if holds is not None and not holds:  # one that asserts answers with nothing
                self._drop(predicate)
                self.world.failed(ConditionFailed.of(title, "does not hold any more"))

    def _drop(self, predicate: Predicate) -> None:
        self._always = [each for each in self._always if each[0] is not predicate]
        self.any = bool(self.pending or self._always)

    def _broken(self, error: BaseException, title: str) -> None:
        """It has raised: pytest's `fail` and `skip`, which are no `Exception`, count as well.

        Raises:
            KeyboardInterrupt: That is meant for somebody else.
        """
        if isinstance(error, KeyboardInterrupt):
            raise error
        error.add_note(f"while looking whether this holds: {title}")
        self.world.failed(error)

    def end(self) -> None:
        """The run is over: what has not come true by now did not."""
        self.look()
        for expected in list(self.pending):
            self.over(expected)
            expected.fail(f"had not come true when the run ended, {describe(self.world.now)} after it began")


def title_of(predicate: Predicate) -> str:
    """What people may call a predicate: its name, or where its source stands."""
    name = getattr(predicate, "__name__", "")
    code = getattr(predicate, "__code__", None)
    if code is None or (name and name != "<lambda>"):
        return name or repr(predicate)
    import linecache

    source = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return f"`{source or name}` (line {code.co_firstlineno})"

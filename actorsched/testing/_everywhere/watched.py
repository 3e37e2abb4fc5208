"""A world whose moments are counted, so that something can be done at one of them.

The law of this module: it counts, and keeps what there was, to be checked at the end. What a moment is, and
what is done at it, is said by the worlds that extend this one. Under the same choices the same moments have
the same numbers, up to the one at which something is done.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import anyio

from actorsched._core.invariants import InvariantBroken
from actorsched._system import census
from actorsched.exceptions import ActorschedError
from actorsched.testing._everywhere.remains import left_of, timers_of
from actorsched.testing.leaks import Place, waits_at
from actorsched.testing.world import Left, SimulatedWorld

if TYPE_CHECKING:
    from actorsched._kernel.simulated import SimulatedKernel
    from actorsched.testing.choices import Choices
    from actorsched.testing.exploring import Scenario
    from actorsched.testing.simulation import Simulation

Kinds = tuple[type[BaseException], ...]
Chain = Callable[[], Iterable[Place]]


class Swallowed(ActorschedError, AssertionError):
    """A scenario was cancelled, and went on to its end as if it had not been."""


class Moment(NamedTuple):
    """One moment of a run.

    Attributes:
        number: Which one, from 1 on.
        participant: Whose.
        what: What it was doing.
        places: The lines of user code at which it waited, the outermost first.
    """

    number: int
    participant: str
    what: str
    places: tuple[Place, ...]

    def __str__(self) -> str:
        at = f" at {self.places[-1]}" if self.places else ""
        return f"{self.participant} {self.what}{at}"


class Driver:
    """A scenario, stepped so that it is known where it waits, and whether it has heard that it is cancelled.

    Attributes:
        awaits: How often it has suspended.
        waits: Whether it is suspended now.
        told: Whether it was cancelled, and has heard of it.
    """

    def __init__(self, code: Coroutine[Any, Any, Any], cancelled: type[BaseException]) -> None:
        self.code = code
        self.awaits: int = 0
        self.waits: bool = False
        self.told: bool = False
        self._cancelled = cancelled

    def __repr__(self) -> str:
        return f"<driver of {self.code!r}>"

    @types.coroutine
    def run(self) -> Generator[Any, Any, None]:
        """Run it to its end."""
        code: Any = self.code
        step: Callable[[Any], Any]
        value: Any
        step, value = code.send, None
        while True:
            try:
                yielded = step(value)
            except StopIteration:
                return
            self.awaits += 1
            self.waits = True
            try:
                step, value = code.send, (yield yielded)
            except GeneratorExit:
                code.close()
                raise
            except BaseException as error:
                self._hears(error)
                step, value = code.throw, error
            else:
                self._hears(getattr(value, "error", None))  # trio sends outcomes, and throws nothing
            finally:
                self.waits = False

    def _hears(self, error: object) -> None:
        self.told = self.told or isinstance(error, self._cancelled)


class WatchedWorld(SimulatedWorld):
    """A simulated world that counts moments.

    Args:
        choices: Decide what is left open.
        only: At which moment something is done; None for none.
        expected: With what a scenario may end then, besides ending well.
        options: Those of every world.

    Attributes:
        count: How many moments there have been.
        tally: How many of whom.
        moment: The one at which something was done; None before.
    """

    def __init__(
        self, choices: Choices, *, only: int | None = None, expected: Kinds = (), **options: Any
    ) -> None:
        super().__init__(choices, **options)
        self.only = only
        self.expected = expected
        self.count: int = 0
        self.tally: dict[str, int] = {}
        self.moment: Moment | None = None
        self.driver: Driver | None = None
        self.watching: bool = False
        self.all_kernels: list[SimulatedKernel] = []
        self.outcomes: dict[Any, Any] = {}
        """All tasks of the runtimes that were ever seen, with their outcomes."""
        self.cells: dict[Any, None] = {}
        """All actors that were ever seen."""

    # ---------------------------------------------------------------------------------------- moments

    def due(self, participant: str, what: str, chain: Chain = tuple) -> bool:
        """One more moment; answers whether it is the one at which something is to be done."""
        self.count += 1
        self.tally[participant] = self.tally.get(participant, 0) + 1
        if self.count != self.only:
            return False
        self.moment = Moment(self.count, participant, what, tuple(chain()))
        self.note("here", str(self.moment))
        self.at_moment()
        return True

    def at_moment(self) -> None:
        """Something is done now."""

    def begin(self) -> None:
        """The scenario is about to begin."""

    def look(self, task: int) -> None:
        """A task of the loop has taken a step, and the moment has not come yet."""

    def step_taken(self, task: int, /) -> None:
        """A task of the loop has taken a step."""
        super().step_taken(task)
        if self.watching:
            self._remember()
            if self.moment is None:
                self.look(task)

    # ------------------------------------------------------------------------------------ the scenario

    async def conduct(self, scenario: Scenario, simulation: Simulation) -> None:
        """Run the scenario, and say whether that was in order.

        Raises:
            BaseException: It was not.
        """
        cancelled = anyio.get_cancelled_exc_class()
        code: Any = scenario(simulation)
        self.driver = driver = Driver(code, cancelled)
        error: BaseException | None = None
        cut_short = False
        try:
            with self.cutting() as scope:
                self.watching = True
                self.begin()
                await driver.run()
            cut_short = scope.cancelled_caught
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except cancelled:
            cut_short = not self.failures and self.may_end_cancelled()
            if not cut_short:
                raise
        except BaseException as raised:
            error = raised
        finally:
            self.watching = False
        self._judge(error, cut_short)
        self._check()

    def cutting(self) -> anyio.CancelScope:
        """Where the scenario runs."""
        return anyio.CancelScope()

    def may_end_cancelled(self) -> bool:
        """Whether the scenario may end with a bare cancellation that it was not given by its scope."""
        return False

    def must_end_cancelled(self) -> bool:
        """Whether the scenario was told to stop, and has heard of it."""
        return False

    def _judge(self, error: BaseException | None, cut_short: bool) -> None:
        if error is not None and (self.moment is None or not consists_of(error, self.expected)):
            raise error
        if error is None and not cut_short and self.must_end_cancelled():
            raise Swallowed(
                "the scenario was cancelled, heard of it, and went on to its end as if it had not been; let "
                "the cancellation out, or say may_swallow=True"
            )
        if self.moment is not None:
            self.errors = [each for each in self.errors if not stems_from(each, self.causes())]
            if error is not None or cut_short:
                self.drop_expectations()

    def causes(self) -> Kinds:
        """From what an error may stem that only the log has heard of."""
        return self.expected

    def drop_expectations(self) -> None:
        """What was cut short cannot come true."""
        for expected in list(self.conditions.pending):
            self.conditions.over(expected)

    # --------------------------------------------------------------------------------- what there was

    def joined(self, kernel: SimulatedKernel, /) -> None:
        """A runtime is entered."""
        super().joined(kernel)
        self.all_kernels.append(kernel)

    def _remember(self) -> None:
        for kernel in self.kernels:
            system = kernel.facade._system
            for task in census.live_tasks(system):
                self.outcomes.setdefault(task, None)
            supervisors = list(census.supervisors(system))
            while supervisors:
                for cell in supervisors.pop().remaining():
                    self.cells[cell] = None
                    children = census.children_of(cell)  # type: ignore[arg-type]
                    if children is not None:
                        supervisors.append(children)
        for task, before in self.outcomes.items():
            if before is None:
                self.outcomes[task] = task.outcome
            elif task.outcome is not before:
                raise_later = InvariantBroken(
                    f"{task!r} has settled twice: {before!r}, then {task.outcome!r}"
                )
                self.failed(raise_later)

    def _check(self) -> None:
        """Nothing is left, everybody has an answer, and the books are balanced."""
        if self.failures:
            return
        left = [f"task {task!r} has no outcome" for task in self.outcomes if task.outcome is None]
        left += [each for kernel in self.all_kernels for each in left_of(kernel)]
        left += [f"actor {cell.name!r} is {cell.life.name.lower()}" for cell in self.cells if cell.life < 5]
        left += timers_of(self.loop)
        if left:
            raise Left("left behind: " + "; ".join(left))


def code_of(run: Any) -> object:
    """The code that a run steps; None when it has not suspended."""
    stepper = getattr(run, "stepper", None)
    return None if stepper is None else getattr(stepper.send, "__self__", None)


def chain_of(code: object) -> Chain:
    """Where some code waits."""
    return lambda: waits_at(code)


def consists_of(error: BaseException, kinds: Kinds) -> bool:
    """Whether an error is of these kinds, or a group of such."""
    if isinstance(error, kinds):
        return True
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return all(consists_of(each, kinds) for each in inner)
    return False


def stems_from(error: BaseException | None, kinds: Kinds) -> bool:
    """Whether one of these kinds is among what has led to an error."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if consists_of(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False

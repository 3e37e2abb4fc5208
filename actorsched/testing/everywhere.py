"""A cancellation at every await, and a crash at every message, step and frame: one in each run.

The law of this module: a scenario is run once without any harm, which counts the moments at which there could
be some; then once for each of them, with the harm done there. After each run nothing may be left: no task,
runtime, timer, actor or thread; every task has settled, with one final status; every message was handled,
rejected or dead-lettered; no invariant was broken; and it has ended at all.

How it works: the runs are simulated, so under the same choices the moments have the same numbers. What is
done at them is the business of `_everywhere`. The plain choices are made, as in a run without a simulation,
unless seeds are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, NamedTuple

from actorsched.exceptions import ActorschedError, ActorStopped, DependencyFailed, TaskCancelled, shown
from actorsched.testing._everywhere.cancelling import At, CancellingWorld, Who
from actorsched.testing._everywhere.crashing import Crash, CrashingWorld, What
from actorsched.testing._everywhere.watched import Kinds, Moment, WatchedWorld
from actorsched.testing.choices import choices_of
from actorsched.testing.exploring import BackendName, Run, Scenario, run_once
from actorsched.testing.leaks import report
from actorsched.testing.remains import Remains, threads

if TYPE_CHECKING:
    from actorsched.testing.choices import Seed
    from actorsched.testing.simulation import Simulation

__all__ = ["Crash", "Everywhere", "Moment", "NotSurvived", "cancel_everywhere", "crash_everywhere"]

_PLAIN = "s:0:"
"""The seed under which all choices are plain."""
_CUT_SHORT: Kinds = (TaskCancelled, DependencyFailed, ActorStopped)
"""What others hear of whom was cancelled."""


class Everywhere(NamedTuple):
    """What a scenario has survived.

    Attributes:
        runs: How many runs there were with a cancellation or a crash, each at another moment.
        moments: At how many moments of whom.
    """

    runs: int
    moments: dict[str, int]

    def __str__(self) -> str:
        lines = [f"{number:6}  {who}" for who, number in self.moments.items()]
        return "\n".join([f"{self.runs} runs", *lines])


class NotSurvived(ActorschedError, AssertionError):
    """A scenario was cancelled, or something of it crashed, and it did not end in order.

    Its cause is what went wrong.

    Attributes:
        moment: When, and of whom; None if it never came.
        seed: Under which seed.
    """

    def __init__(self, message: str, *, moment: Moment | None, seed: Seed) -> None:
        super().__init__(message)
        self.moment: Moment | None = moment
        self.seed: Seed = seed

    def __reduce__(self) -> tuple[Callable[..., NotSurvived], tuple[()]]:
        return partial(NotSurvived, str(self), moment=self.moment, seed=self.seed), ()


def cancel_everywhere(
    scenario: Scenario,
    *,
    who: Who | Iterable[Who] = ("scenario", "tasks", "asks", "foreign"),
    at: At = "awaits",
    native: bool = False,
    may_swallow: bool = False,
    expected: type[BaseException] | Kinds = (),
    seeds: int | Iterable[Seed] = (_PLAIN,),
    backend: BackendName = "asyncio",
    only: int | None = None,
) -> Everywhere:
    """Run a scenario once for each await, and cancel whoever waits there.

    When the scenario itself is cancelled, it has to end with that. When another is, it may end well, or with
    what others hear of a cancellation: `TaskCancelled`, `DependencyFailed`, `ActorStopped`, or groups of
    these. What was to come true by `simulation.eventually` is given up; what is to hold always still is.

    Args:
        scenario: An async function of one argument, the simulation.
        who: Who is cancelled, in one run each: `"scenario"`, by a scope around it; `"tasks"` of the runtimes,
            as by `ref.cancel()`; `"asks"`: whoever waits for the answer of a handler, while that is at an
            await of its own; `"foreign"`: the tasks that only the loop knows, such as those of
            `asyncio.create_task`, with `Task.cancel`; trio has none. Tasks that are not in the loop, or wait
            for something before they begin, are cancelled there as well.
        at: `"awaits"`: as soon as they wait. `"steps"`: also after each step that anybody else takes while
            they wait, which finds more, in many more runs.
        native: Cancel the scenario as asyncio does it, with `Task.cancel`: once, while a scope insists.
        may_swallow: Whether the scenario may go on to its end although it was cancelled.
        expected: With what it may end besides.
        seeds: Under which choices: how many seeds, from 0 on; or which. Plain ones, if none are given.
        backend: On which simulated loop.
        only: The number of the run to be done again, with no other.

    Returns:
        How many runs there were, and of whom.

    Raises:
        NotSurvived: One did not end in order. It names the await, what went wrong, and how to repeat it.
        BaseException: What the scenario raised when nobody was cancelled.
        TypeError: The scenario is no async function.
        ValueError: Another argument is wrong.
    """
    more = _kinds(expected)
    make = partial(
        CancellingWorld,
        expected=_CUT_SHORT + more,
        unscathed=more,
        who=_checked(who, Who, "who"),
        at=_checked(at, At, "at")[0],
        native=native,
        may_swallow=may_swallow,
    )
    if native and backend != "asyncio":
        raise ValueError(f"native=True, but backend={backend!r} has no Task.cancel; leave it out")
    return _everywhere("cancel_everywhere", scenario, make, seeds, backend, only)


def crash_everywhere(
    scenario: Scenario,
    *,
    what: What | Iterable[What] = ("handlers", "tasks", "hosts"),
    expected: type[BaseException] | Kinds = (ActorschedError, Crash),
    seeds: int | Iterable[Seed] = (_PLAIN,),
    backend: BackendName = "asyncio",
    only: int | None = None,
) -> Everywhere:
    """Run a scenario once for each message, step and frame, and let something crash there.

    Args:
        scenario: An async function of one argument, the simulation.
        what: What crashes, once in each run. `"handlers"` of actors and functions of `"tasks"` raise a
            `Crash` before they begin, when they have done their work, and at each await, as if what they
            wait for there had failed; not where they wait for something of the runtime, which fails for
            reasons of its own. `"hooks"`: the same for `on_start` and `on_stop`. Simulated `"hosts"` are gone
            at each frame that they hear or say.
        expected: With what the scenario may end when something has crashed; also with groups of these. Or it
            may end well.
        seeds: As for `cancel_everywhere`.
        backend: On which simulated loop.
        only: The number of the run to be done again, with no other.

    Returns:
        How many runs there were, and of whom.

    Raises:
        NotSurvived: One did not end in order. It names the moment, what went wrong, and how to repeat it.
        BaseException: What the scenario raised when nothing crashed.
        TypeError: The scenario is no async function.
        ValueError: Another argument is wrong.
    """
    make = partial(CrashingWorld, expected=_kinds(expected), what=_checked(what, What, "what"))
    return _everywhere("crash_everywhere", scenario, make, seeds, backend, only)


# ---------------------------------------------------------------------------------------------------- within


class _Runs:
    """All runs of one scenario.

    Args:
        function: The name of the function that was called.
        scenario: What is run.
        make: Makes the world of a run.
        backend: On which loop.
    """

    def __init__(
        self, function: str, scenario: Scenario, make: Callable[..., WatchedWorld], backend: BackendName
    ) -> None:
        self._function = function
        self._scenario = scenario
        self._make = make
        self._backend: BackendName = backend

    def __repr__(self) -> str:
        return f"<runs of {self._scenario!r}>"

    def plain(self, seed: Seed) -> WatchedWorld:
        """Run it without any harm."""
        run, world = self._run(seed, None)
        if run.error is not None:
            run.error.add_note(f"{self._function}: this has failed already when nobody came to any harm")
            raise run.error
        return world

    def harmed(self, seed: Seed, number: int) -> None:
        """Run it with harm done at a moment.

        Raises:
            NotSurvived: It did not end in order.
        """
        before = Remains([threads])
        run, world = self._run(seed, number)
        left = [] if run.error is not None else before.wait()
        if run.error is None and world.moment is not None and not left:
            return
        again = f"{self._function}({_name(self._scenario)}, only={number}"
        again += ")" if seed == _PLAIN else f", seeds=[{seed!r}])"
        if world.moment is None:
            wrong = "that moment did not come: the scenario depends on something that no seed decides"
        elif left:
            wrong = report(left, "it has left")
        else:
            wrong = f"{type(run.error).__name__}: {run.error}"
        error = NotSurvived(_told(number, world, wrong, again), moment=world.moment, seed=seed)
        error.add_note(self._log(seed, number))
        raise error from run.error

    def _run(self, seed: Seed, only: int | None, *, logs: bool = False) -> tuple[Run, WatchedWorld]:
        worlds: list[WatchedWorld] = []

        def made(*args: Any, **kwargs: Any) -> WatchedWorld:
            worlds.append(self._make(*args, only=only, **kwargs))
            return worlds[0]

        async def conducted(simulation: Simulation) -> None:
            await worlds[0].conduct(self._scenario, simulation)

        run = run_once(
            conducted, choices_of(seed), seed, self._backend, logs=logs, silent=only is not None, make=made
        )
        return run, worlds[0]

    def _log(self, seed: Seed, number: int) -> str:
        _, world = self._run(seed, number, logs=True)
        lines = "\n".join(map(str, world.log)) or "(nothing)"
        return f"what happened in it, by virtual time:\n{lines}"


def _everywhere(
    function: str,
    scenario: Scenario,
    make: Callable[..., WatchedWorld],
    seeds: int | Iterable[Seed],
    backend: BackendName,
    only: int | None,
) -> Everywhere:
    if not _is_async(scenario):
        raise TypeError(f"scenario={shown(scenario)} is no async function; give one of a simulation")
    runs = _Runs(function, scenario, make, backend)
    count = 0
    moments: dict[str, int] = {}
    for seed in range(seeds) if isinstance(seeds, int) else seeds:
        world = runs.plain(seed)
        for number in _numbers(world.count, only):
            runs.harmed(seed, number)
            count += 1
        for who, times in world.tally.items():
            moments[who] = moments.get(who, 0) + times
    return Everywhere(count, moments)


def _numbers(count: int, only: int | None) -> Iterator[int]:
    if only is None:
        yield from range(1, count + 1)
    elif 1 <= only <= count:
        yield only
    else:
        raise ValueError(f"only={only}, but there are {count} runs, numbered from 1")


def _told(number: int, world: WatchedWorld, wrong: str, again: str) -> str:
    moment = world.moment
    where = f"run {number}" if moment is None else f"run {number}, {moment}"
    places = () if moment is None else moment.places
    lines = [f"    at {place}\n        {place.source}" for place in places]
    return "\n".join([f"{where}: {wrong}", *lines, f"run it again: {again}"])


def _name(scenario: Any) -> str:
    return str(getattr(scenario, "__name__", None) or repr(scenario))


def _is_async(scenario: Any) -> bool:
    inner: Any = getattr(scenario, "func", scenario)
    call: Any = getattr(inner, "__call__", None)  # noqa: B004 # of an object that is called like a function
    return iscoroutinefunction(inner) or iscoroutinefunction(call)


def _kinds(expected: type[BaseException] | Kinds) -> Kinds:
    kinds = expected if isinstance(expected, tuple) else (expected,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                f"expected={shown(expected)} holds {shown(kind)}, which is no class of exceptions"
            )
    return kinds


def _checked(given: Any, names: Any, field: str) -> tuple[Any, ...]:
    known: tuple[str, ...] = names.__args__
    chosen = (given,) if isinstance(given, str) else tuple(given)
    for each in chosen:
        if each not in known:
            raise ValueError(f"{field}={shown(given)} names {shown(each)}; choose from {', '.join(known)}")
    return chosen

"""Running a scenario under many seeds, and making the first failure short.

The law of this module: a scenario is an async function of one argument, the simulation. Each run is a world
of its own; nothing of it is left when the next one begins.

How it works: the runs keep no log, to be quick. When one fails, shorter ones are looked for that fail in
the same way (`shrinking`), and the shortest is run once more, with a log. So a scenario has to do the same
under the same choices: what it does may depend on nothing else, such as the machine's clock. If the failure
does not come again, that is said, and why that may be.
"""

from __future__ import annotations

import functools
import inspect
import io
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from anyio import get_cancelled_exc_class

from actorsched.exceptions import shown
from actorsched.testing.choices import Choices, Drawn, Replayed, choices_of, text_of
from actorsched.testing.leaks import is_users
from actorsched.testing.shrinking import shrunk
from actorsched.testing.simulation import Simulation
from actorsched.testing.story import told
from actorsched.testing.world import STEPS, SimulatedWorld

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from actorsched.testing._loops.port import Loop
    from actorsched.testing.choices import Seed
    from actorsched.testing.story import Entry

__all__ = ["BackendName", "Explored", "Failure", "Scenario", "drive", "explore", "find_failure", "replay"]

Scenario: TypeAlias = Callable[[Simulation], Awaitable[object]]
"""What is run: an async function of one argument, the simulation."""
BackendName: TypeAlias = Literal["asyncio", "trio"]
_SHRINKING = 5.0
"""For how many seconds of real time a shorter failure is looked for at most."""
_TRIALS = 500
_LONGER = 10
"""A shorter failure may take so many times the steps: fewer choices may also lead to a run without an end."""


class Explored(NamedTuple):
    """What was explored without a failure.

    Attributes:
        seeds: How many seeds.
        steps: How many steps in all.
        simulated: How many seconds of virtual time.
    """

    seeds: int
    steps: int
    simulated: float


class Failure(NamedTuple):
    """A scenario has failed.

    Attributes:
        seed: Under this seed.
        error: So.
        shortest: The seed of the shortest run that was found to fail in the same way.
        log: What happened in that.
        repeatable: Whether the failure came again under the same seed.
    """

    seed: Seed
    error: BaseException
    shortest: Seed
    log: tuple[Entry, ...]
    repeatable: bool

    def __str__(self) -> str:
        again = f"replay it with seed {self.seed!r}, or the shortest run found with seed {self.shortest!r}"
        if not self.repeatable:
            again = (
                f"it did not come again under seed {self.seed!r}: the test depends on something that no seed "
                "decides, such as the machine's clock, the order of a set, or what an earlier test has left"
            )
        lines = "\n".join(told(self.log))
        return f"failed under seed {self.seed!r}; {again}\nwhat happened in it, by virtual time:\n{lines}"


class Run(NamedTuple):
    """What came of one run.

    Attributes:
        error: How it failed; None if it did not.
        world: As it was at the end.
    """

    error: BaseException | None
    world: SimulatedWorld


def run_once(
    scenario: Scenario,
    choices: Choices,
    seed: Seed,
    backend: BackendName = "asyncio",
    *,
    logs: bool = False,
    silent: bool = False,
    steps: int = STEPS,
    make: Callable[..., SimulatedWorld] = SimulatedWorld,
) -> Run:
    """Run a scenario once, in a world that is made for it."""
    world = make(choices, logs=logs, steps=steps)
    simulation = Simulation(world, seed)

    async def main(loop: Loop) -> None:
        try:
            try:
                await scenario(simulation)
            except get_cancelled_exc_class():
                raise
            except BaseException as error:
                world.raised(error)
                raise
            finally:
                world.close()
                world.over()
            world.conditions.end()
            await _unwound(simulation, world)
            world.left_behind()
        finally:
            world.logs = False  # what is torn down from now on is no part of the story

    error: BaseException | None = None
    with _seeded(choices.base), _silence(silent):
        try:
            _runner(backend)(world, main)
        except KeyboardInterrupt:
            raise
        except BaseException as raised:
            error = raised
        finally:
            world.close()
            world.forsake()
    if world.failures:
        error = world.failures[0]
    return Run(error, world)


async def _unwound(simulation: Simulation, world: SimulatedWorld) -> None:
    """Let the code of hosts come to its end: where it takes its time for that, it is given some."""
    for patience in (0, 1, 3600, 86400):
        if not world.unwinding:
            return
        await simulation.run_until_idle()
        await simulation.advance(patience)


def find_failure(
    scenario: Scenario,
    seeds: int | Iterable[Seed] = 100,
    *,
    backend: BackendName = "asyncio",
    shorten: bool = True,
    steps: int = STEPS,
) -> Failure | Explored:
    """Run a scenario under many seeds, until it fails.

    Args:
        scenario: An async function of one argument, the simulation.
        seeds: How many, from 0 on; or which. A single one is run once, with its log, and not made shorter.
        backend: On which simulated loop.
        shorten: Whether a shorter failure is looked for, which takes a few seconds at most.
        steps: After so many steps a run has no end, and has failed.

    Returns:
        The first failure; or what was explored, if there was none.

    Raises:
        TypeError: It is no function; or a seed is none.
        ValueError: There is no such backend; or a seed is none.
    """
    _check(scenario, seeds)
    _runner(backend)
    chosen: Sequence[Seed] = range(seeds) if isinstance(seeds, int) else list(seeds)
    if len(chosen) == 1 and not isinstance(seeds, int):
        return _replayed(scenario, chosen[0], backend, steps)
    count, taken, simulated = 0, 0, 0.0
    for seed in chosen:
        run = run_once(scenario, choices_of(seed), seed, backend, steps=steps)
        if run.error is not None:
            return _failure(scenario, seed, run, backend, shorten=shorten, steps=steps)
        count, taken, simulated = count + 1, taken + run.world.steps, simulated + run.world.now
    return Explored(count, taken, simulated)


def explore(
    scenario: Scenario,
    seeds: int | Iterable[Seed] = 100,
    *,
    backend: BackendName = "asyncio",
    steps: int = STEPS,
) -> Explored:
    """Run a scenario under many seeds; arguments as for `find_failure`.

    Returns:
        What was explored.

    Raises:
        BaseException: What the scenario failed with under one of them. Its notes tell the seed and what
            happened.
    """
    found = find_failure(scenario, seeds, backend=backend, steps=steps)
    if isinstance(found, Failure):
        raise noted(found)
    return found


def replay(scenario: Scenario, seed: Seed, *, backend: BackendName = "asyncio") -> Explored:
    """Run a scenario under one seed, as it was run before.

    Raises:
        BaseException: What it fails with.
    """
    return explore(scenario, [seed], backend=backend)


def drive(
    scenario: Scenario, draw: Callable[[int], int], *, backend: BackendName = "asyncio", choices: int = 500
) -> None:
    """Run a scenario once, with choices that are made by somebody else, such as Hypothesis.

    With Hypothesis: `@given(st.data())`, and then `drive(scenario, lambda last: data.draw(st.integers(0,
    last)))`.

    Args:
        scenario: As for `find_failure`.
        draw: Given a number, answers with one from 0 to that; 0 is the plain choice.
        backend: On which simulated loop.
        choices: After so many, all others are plain.

    Raises:
        BaseException: What the scenario fails with. Its notes tell what happened.
    """
    run = run_once(scenario, Choices(Drawn(draw, choices)), 0, backend)
    if run.error is not None:
        shortest = text_of(0, run.world.choices.unusual())
        last = run_once(scenario, choices_of(shortest), shortest, backend, logs=True, silent=True)
        raise noted(Failure(shortest, run.error, shortest, tuple(last.world.log), last.error is not None))


def noted(failure: Failure) -> BaseException:
    """The error of a failure, with what happened in its notes."""
    failure.error.add_note(str(failure))
    return failure.error


# ---------------------------------------------------------------------------------------------------- within


def _check(scenario: Scenario, seeds: int | Iterable[Seed]) -> None:
    """Refuse what cannot be explored, before anything runs."""
    if isinstance(seeds, int) and (isinstance(seeds, bool) or seeds < 1):
        raise ValueError(f"seeds={seeds!r} is no number of seeds; give 1 or more, or the seeds themselves")
    if isinstance(seeds, float):
        raise TypeError(f"seeds={seeds!r} is of type float; give a number of seeds, or the seeds themselves")
    if isinstance(seeds, str):
        raise TypeError(f"seeds={seeds!r} is a text; give a number of seeds, or a list of seeds: [{seeds!r}]")
    if not callable(scenario):
        raise TypeError(
            f"scenario={shown(scenario)} cannot be called; give an async function of a simulation"
        )
    called = scenario if inspect.isroutine(scenario) else getattr(scenario, "__call__", scenario)  # noqa: B004
    if isinstance(scenario, functools.partial):
        called = scenario.func
    if not inspect.iscoroutinefunction(called):
        raise TypeError(f"scenario={shown(scenario)} is no async function; give one that takes a simulation")


def _replayed(scenario: Scenario, seed: Seed, backend: BackendName, steps: int) -> Failure | Explored:
    """Run a scenario once, as it was run before, and write down what happens."""
    run = run_once(scenario, choices_of(seed), seed, backend, logs=True, steps=steps)
    if run.error is None:
        return Explored(1, run.world.steps, run.world.now)
    return Failure(seed, run.error, seed, tuple(run.world.log), repeatable=True)


def _failure(
    scenario: Scenario, seed: Seed, run: Run, backend: BackendName, *, shorten: bool, steps: int
) -> Failure:
    assert run.error is not None
    base, made = run.world.choices.base, run.world.choices.unusual()
    looks = _look_of(run.error)
    give_up = monotonic() + _SHRINKING
    few = min(steps, _LONGER * (run.world.steps + _TRIALS))

    def fails(values: dict[int, int]) -> dict[int, int] | None:
        again = run_once(scenario, Choices(Replayed(values), base), seed, backend, silent=True, steps=few)
        same = again.error is not None and _look_of(again.error) == looks
        return again.world.choices.unusual() if same else None

    repeatable = fails(made) is not None
    if shorten and repeatable:
        made = shrunk(made, fails, _TRIALS, late=lambda: monotonic() > give_up)
    shortest = text_of(base, made)
    last = run_once(scenario, choices_of(shortest), shortest, backend, logs=True, silent=True, steps=few)
    repeatable = repeatable and last.error is not None and _look_of(last.error) == looks
    return Failure(seed, run.error, shortest, tuple(last.world.log), repeatable)


def _look_of(error: BaseException) -> tuple[object, ...]:
    """What makes two failures the same: their kind, the line of the user's that raised, and what is within.

    The line, because most failures of tests are an `AssertionError`; not the message, which tells values.
    """
    inner = getattr(error, "exceptions", ())
    return type(error), getattr(error, "title", None), _line_of(error), tuple(map(_look_of, inner))


def _line_of(error: BaseException) -> tuple[str, int] | None:
    """The last line of the user's code on the way to where it was raised."""
    found, entry = None, error.__traceback__
    while entry is not None:
        file = entry.tb_frame.f_code.co_filename
        if is_users(file):
            found = file, entry.tb_lineno
        entry = entry.tb_next
    return found


@contextmanager
def _seeded(base: int) -> Generator[None]:
    """Whoever draws from the module `random` draws the same each time."""
    before = random.getstate()
    random.seed(base)
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def _silence(wanted: bool) -> Generator[None]:
    """What was logged or printed when the scenario failed is not said again each time that it does."""
    logger, asyncios = logging.getLogger("actorsched"), logging.getLogger("asyncio")
    before, nobody = (logger.propagate, asyncios.propagate), logging.NullHandler()
    if wanted:
        for each in (logger, asyncios):
            each.propagate = False
            each.addHandler(nobody)
    said = redirect_stdout(io.StringIO()) if wanted else nullcontext()
    try:
        with said:
            yield
    finally:
        logger.propagate, asyncios.propagate = before
        logger.removeHandler(nobody)
        asyncios.removeHandler(nobody)


def _runner(backend: BackendName) -> Any:
    if backend == "asyncio":
        from actorsched.testing._loops import on_asyncio

        return on_asyncio.run
    if backend == "trio":
        from actorsched.testing._loops import on_trio

        return on_trio.run
    raise ValueError(f"backend={backend!r} cannot be simulated; choose 'asyncio' or 'trio'")

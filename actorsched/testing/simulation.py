"""One simulated run, as a test holds it: runtimes, conditions, probes, time, faults.

The law of this module: it is a door. What it is asked, it checks, and hands to the world, the conditions, the
probes or the plan of faults.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from actorsched._kernel.simulated import SimulatedClock
from actorsched.durations import Duration, seconds
from actorsched.exceptions import shown
from actorsched.runtime import Runtime
from actorsched.testing.conditions import title_of

if TYPE_CHECKING:
    from actorsched.testing.choices import Seed
    from actorsched.testing.conditions import Eventually
    from actorsched.testing.world import SimulatedWorld

__all__ = ["Simulation"]


class Simulation:
    """A world of its own for a test: time that jumps, and choices that a seed repeats.

    In it the loop is simulated, of asyncio or of trio: sleeps and timeouts of theirs take no time, and
    there is neither a network nor any other process.

    Attributes:
        seed: What decides all choices.
        random: A source of random numbers, which the seed repeats. The module `random` is seeded, too.
    """

    def __init__(self, world: SimulatedWorld, seed: Seed) -> None:
        self._world = world
        self.seed: Seed = seed
        self.random: Random = Random(world.choices.base)

    def __repr__(self) -> str:
        return f"<Simulation of seed {self.seed!r} at {self.now:g} s>"

    # ---------------------------------------------------------------------------------- what is in it

    def runtime(self, **options: Any) -> Runtime:
        """A runtime in this world, to be entered: `async with simulation.runtime() as rt`.

        Args:
            options: Those of `Runtime`, but for the clock and the seed, which are the simulation's.

        Raises:
            TypeError: There is no such option.
            ValueError: One has a wrong value.
        """
        for name in ("clock", "seed"):
            if name in options:
                raise TypeError(
                    f"{name}={shown(options[name])} was given, but that is the simulation's own; leave it out"
                )
        return Runtime(clock=SimulatedClock(self._world), **options)

    @property
    def now(self) -> float:
        """The present time, in seconds; it begins at 0."""
        return self._world.now

    # ------------------------------------------------------------------------------------- conditions

    def always(self, predicate: Callable[[], object], title: str | None = None) -> None:
        """From now on something has to hold, after each step of whatever runs.

        Args:
            predicate: A plain function that is true, or returns None and raises nothing, as long as it holds.
            title: What to call it; its name or its source if None.

        Raises:
            TypeError: It is no function.
        """
        self._world.conditions.always(_callable(predicate), title or title_of(predicate))

    def eventually(
        self, predicate: Callable[[], object], within: Duration = "60s", title: str | None = None
    ) -> Eventually:
        """Something has to come true in time; at the latest when the test ends.

        Args:
            predicate: A plain function that is true as soon as it has.
            within: How much virtual time it has.
            title: What to call it; its name or its source if None.

        Returns:
            May be awaited until it is true.

        Raises:
            TypeError: It is no function.
            ValueError: `within` is no duration.
        """
        limit = seconds(within, field="within")
        return self._world.conditions.eventually(_callable(predicate), title or title_of(predicate), limit)

    # ------------------------------------------------------------------------------------------- steps

    async def step(self, count: int = 1) -> None:
        """Let user code of the runtimes take so many steps, one after the other; then the test goes on.

        A step is a message that is handled, or what a task or handler does from one await to the next. If
        nothing is ready, time goes on.

        Raises:
            ValueError: `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"count={count} is less than 1; give how many steps to take")
        for _ in range(count):
            await self._woken_by(self._world.after_step)

    async def run_until_idle(self) -> None:
        """Let everything happen that happens at this instant; then the test goes on, before time does."""
        await self._woken_by(self._world.when_idle)

    async def advance(self, duration: Duration) -> None:
        """Let so much time pass, with all that happens in it.

        Raises:
            ValueError: It is no duration.
        """
        await self.advance_to(self.now + seconds(duration, field="duration"))

    async def advance_to(self, when: float) -> None:
        """Let time pass until then; nothing happens if that is past."""
        if when > self.now:
            await self._woken_by(lambda wake: self._world.call_at(when, wake))

    async def _woken_by(self, ask: Callable[[Callable[[], object]], object]) -> None:
        event = anyio.Event()
        ask(event.set)
        await event.wait()


def _callable(predicate: Callable[[], object]) -> Callable[[], object]:
    if not callable(predicate):
        raise TypeError(f"predicate={shown(predicate)} cannot be called; give a function, such as a lambda")
    return predicate

"""One simulated run, as a test holds it: runtimes, conditions, probes, time, faults.

The law of this module: it is a door. What it is asked, it checks, and hands to the world, the conditions, the
probes or the plan of faults.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from actorsched._kernel.simulated import SimulatedClock
from actorsched.durations import Duration, seconds
from actorsched.exceptions import shown
from actorsched.runtime import Runtime
from actorsched.testing.conditions import title_of as name_of
from actorsched.testing.faults import HostRule, MailRule, receiver_of, title_of
from actorsched.testing.patterns import ANY
from actorsched.testing.probes import Probe

if TYPE_CHECKING:
    from actorsched.actor import ActorRef
    from actorsched.testing._hosts.fates import Fate
    from actorsched.testing._hosts.host import SimulatedHost
    from actorsched.testing.choices import Seed
    from actorsched.testing.conditions import Eventually
    from actorsched.testing.patterns import Pattern
    from actorsched.testing.world import SimulatedWorld

__all__ = ["Simulation"]

Receiver: TypeAlias = "ActorRef[Any] | str | type | None"
"""Whose messages are meant: those of one actor, by ref or by name; of a class of actors; or all."""
FRAMES = (
    *("Define", "Run", "RunMeasured", "Cancel", "Revoke", "Open", "Call", "CancelCall", "Demand", "Close"),
    *("Forget", "Answer", "Stop", "Hello", "Started", "Done", "Failed", "Revoked", "Measured", "Progress"),
    *("Log", "Opened", "OpenFailed", "Closed", "Returned", "Raised", "Item", "Ended", "Request", "Told"),
    "Bye",
)
"""What a host and its runtime say to each other."""


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

    def probe(self, name: str | None = None, runtime: Runtime | None = None) -> Probe:
        """An actor that writes down what it is sent, and may stand wherever an actor is wanted.

        Args:
            name: Its name; a number if None.
            runtime: Where it lives; None for the one runtime that is open in this simulation.

        Raises:
            RuntimeError: None is open, or several are.
        """
        return Probe(self, self._own(runtime), name)

    def _own(self, runtime: Runtime | None) -> Runtime:
        if runtime is not None:
            return runtime
        open_now: list[Runtime] = [kernel.facade for kernel in self._world.kernels]
        if len(open_now) != 1:
            raise RuntimeError(
                f"a probe was to be made, but {len(open_now) or 'no'} runtimes are open in this simulation; "
                "make it within `async with simulation.runtime() as rt`, or say in which: probe(runtime=rt)"
            )
        return open_now[0]

    # ---------------------------------------------------------------------------------------- faults

    def faults(self, *, reorder: bool = False, **chances: float) -> None:
        """From now on these things happen by chance; those that are not named stay as they are.

        Args:
            reorder: Whether messages of different senders to one actor may overtake each other.
            chances: How probable each is, from 0 to 1: that a message that was told is lost (`drop`), or that
                a message is delayed (`delay`), when it is sent; that a host crashes (`crash`), hangs
                (`hang`), is suspended for a while (`suspend`) or lags (`lag`), at each frame between it and
                the runtime.

        Raises:
            TypeError: There is no such fault; or its probability is no number.
            ValueError: It is no probability.
        """
        self._world.faults.by_chance(chances, reorder=reorder)

    def drop(self, to: Receiver = None, pattern: Pattern = ANY, *, times: int | None = 1) -> None:
        """Lose the next messages of a kind, which become dead letters.

        Asks are never lost: whoever asks is promised an answer.

        Args:
            to: Whose: an `ActorRef`, the name of an actor, a class of actors; None for all.
            pattern: Which, as for `Probe.expect`.
            times: How many of them; None for all.

        Raises:
            TypeError: It is no receiver.
            ValueError: `times` is less than 1.
        """
        self._mail_rule(to, pattern, None, times)

    def delay(
        self, to: Receiver = None, pattern: Pattern = ANY, *, by: Duration, times: int | None = 1
    ) -> None:
        """Hold the next messages of a kind back; those that their senders send after them wait behind them.

        Args:
            to: As for `drop`.
            pattern: As for `drop`.
            by: For how much virtual time.
            times: As for `drop`.

        Raises:
            TypeError: It is no receiver.
            ValueError: `times` is less than 1, or `by` is no duration.
        """
        self._mail_rule(to, pattern, seconds(by, field="by"), times)

    def _mail_rule(self, to: Receiver, pattern: Pattern, delay: float | None, times: int | None) -> None:
        if times is not None and times < 1:
            raise ValueError(f"times={times} is less than 1; give how many messages, or None for all")
        receiver, title = receiver_of(to)
        self._world.faults.for_mail(MailRule(receiver, pattern, delay, times, title_of(title, pattern)))

    @property
    def hosts(self) -> tuple[SimulatedHost, ...]:
        """The simulated host processes that live now, in the order of their birth."""
        return tuple(self._world.hosts.hosts)

    def at_frame(
        self,
        frame: str | None,
        fate: Literal["crash", "hang", "suspend", "lag"],
        *,
        nth: int = 1,
        lasting: Duration = "1s",
        host: SimulatedHost | None = None,
    ) -> None:
        """When the n-th frame of a kind comes to a host or from it, the host has an accident.

        Args:
            frame: The name of the frame, such as "Run", "Done", "Call" or "Returned"; None for any.
            fate: What happens: it is killed, says and does nothing any more, or does so for a while.
            nth: Which, counted from now on, 1 being the next.
            lasting: How long it is suspended, or how much later the frame comes.
            host: Of which host; None for any.

        Raises:
            ValueError: There is no such frame or fate; `nth` is less than 1; `lasting` is no duration.
        """
        if frame is not None and frame not in FRAMES:
            raise ValueError(f"frame={frame!r} is no frame; there are: {', '.join(FRAMES)}")
        if fate not in ("crash", "hang", "suspend", "lag"):
            raise ValueError(f"fate={fate!r} is none; choose 'crash', 'hang', 'suspend' or 'lag'")
        if nth < 1:
            raise ValueError(f"nth={nth} is less than 1; 1 is the next one")
        pause = seconds(lasting, field="lasting")
        name = None if host is None else host.name
        planned: Fate = fate if fate in ("crash", "hang") else (fate, pause)  # type: ignore[assignment]
        self._world.faults.for_hosts(HostRule(name, frame, nth - 1, planned))

    # ------------------------------------------------------------------------------------- conditions

    def always(self, predicate: Callable[[], object], title: str | None = None) -> None:
        """From now on something has to hold, after each step of whatever runs.

        Args:
            predicate: A plain function that is true, or returns None and raises nothing, as long as it holds.
            title: What to call it; its name or its source if None.

        Raises:
            TypeError: It is no function.
        """
        self._world.conditions.always(_callable(predicate), title or name_of(predicate))

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
        return self._world.conditions.eventually(_callable(predicate), title or name_of(predicate), limit)

    # ------------------------------------------------------------------------------------------- steps

    async def step(self, count: int = 1) -> None:
        """Let user code of the runtimes take so many steps, one after the other; then the test goes on.

        A step is a message that is handled, or what a task or handler does from one await to the next. If
        nothing is ready, time goes on.

        Raises:
            TypeError: `count` is no number of steps.
            ValueError: `count` is less than 1.
        """
        if not isinstance(count, int) or isinstance(count, bool):
            raise TypeError(f"count={shown(count)} is no number of steps; give an integer")
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
    if inspect.iscoroutinefunction(predicate):
        raise TypeError(f"predicate={shown(predicate)} is async; give a plain function, which does not wait")
    return predicate

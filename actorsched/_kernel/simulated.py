"""The kernel of a runtime in a simulated world: the same in all, but for what a real run leaves open.

The law of this module: it changes no rule. Which of the ready activities comes next, whether the loop has a
turn in between, and what is random, is asked of the world. Time is the world's: it stands still while
anything happens, and timers expire when nothing else is left to do. There are no budgets of time, which would
make a run depend on the machine. After each step all actors of the system that have had a message in it are
checked, and the world looks at what the test wants to hold always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import InvariantBroken
from actorsched._core.run_queue import RunQueue
from actorsched._kernel.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Behaviour
    from actorsched._core.timers import TimerEntry
    from actorsched._kernel.activity import Activity, Runnable
    from actorsched._kernel.backend import Backend
    from actorsched._kernel.world import World
    from actorsched.events import EventKind


class ChosenRunQueue(RunQueue[Any]):
    """Ready items by rank; within one the world chooses."""

    __slots__ = ("_world",)

    def __init__(self, world: World, wake: Callable[[], object]) -> None:
        super().__init__(wake)
        self._world = world

    def pop(self) -> Any:
        """Take the next item.

        Raises:
            IndexError: The queue is empty.
        """
        if not self._left:
            level = self._levels[self.ranks[-1]]
            if len(level) > 1:
                index = self._world.pick(len(level), "who of those that are ready")
                if index:
                    item = level[index]
                    del level[index]
                    return item
        return super().pop()


class SimulatedClock:
    """The time of a simulated world: `Runtime(clock=...)` makes the runtime a part of that world."""

    __slots__ = ("_kernel", "world")

    def __init__(self, world: World) -> None:
        self.world = world
        self._kernel: SimulatedKernel | None = None

    def __repr__(self) -> str:
        return f"<SimulatedClock at {self.now():g}>"

    def now(self) -> float:
        """The present time."""
        return self.world.now

    def call_at(self, when: float, function: Callable[[], object], /) -> TimerEntry:
        """Call `function` when the time has come.

        Raises:
            RuntimeError: No runtime has this clock now.
        """
        if self._kernel is None:
            raise RuntimeError(f"{self!r} moves with a Runtime only; enter Runtime(clock=...) with it")
        return self._kernel.call_later(max(0.0, when - self.now()), function)

    def kernel(self, backend: Backend, seed: int | None) -> SimulatedKernel:
        """The kernel of a runtime that is entered with this clock."""
        self._kernel = SimulatedKernel(self.world, self.world.backend(backend), self)
        return self._kernel


class SimulatedKernel(Kernel):
    """The kernel of a runtime in a simulated world."""

    def __init__(self, world: World, backend: Backend, clock: SimulatedClock) -> None:
        self._told = False
        self._simulated = world
        self.touched: dict[Behaviour, None] = {}
        """Who has had a message in this step."""
        self._since_rest: dict[Behaviour, None] = {}
        super().__init__(backend, clock, None)
        self.world: World = world
        self.virtual = True
        self.burst = 16
        self.monotonic = clock.now
        self.ready = ChosenRunQueue(world, self._wanted)
        world.joined(self)

    # -------------------------------------------------------------------------------------- the mail

    def post(self, to: Behaviour, message: object) -> None:
        """Send from outside: what follows from the message has happened when this returns."""
        self.mail.append((to, message))
        self.drain()

    def drain(self) -> None:
        """Run the system's actors until no message is in transit, and remember who has had one."""
        mail, resting, touched = self.mail, self.resting, self.touched
        if self.draining:
            return
        self.draining = True
        try:
            while mail or resting:
                actor, message = mail.popleft() if mail else resting.popleft()
                touched[actor] = None
                try:
                    actor.reactions[type(message)](actor, message, self)
                except BaseException as error:
                    self._failed(actor, message, error)
        finally:
            self.draining = False

    def look(self) -> None:
        """Look, after a step, at all actors of the system that have had a message in it."""
        touched, self.touched = self.touched, {}
        self._since_rest.update(touched)
        for actor in touched:
            try:
                actor.check()
            except InvariantBroken as error:
                self.world.failed(error)

    def audit(self) -> int:
        """Look, at rest, at all actors of the system that have had a message since this was done last.

        Returns:
            How many these were.
        """
        if self.touched:
            self.look()
        touched, self._since_rest = self._since_rest, {}
        for actor in touched:
            try:
                actor.check_at_rest()
            except InvariantBroken as error:
                self.world.failed(error)
        return len(touched)

    # ------------------------------------------------------------------------------------- user code

    def run_ready(self) -> tuple[Activity, object] | None:
        """Step ready user code until some suspends, none is left, or the world gives the loop a turn."""
        ready, world, mail = self.ready, self.world, self.mail
        while ready.ranks:
            runnable: Runnable = ready.pop()
            suspended = runnable.run(1)
            if mail:
                self.drain()
            if suspended is None and runnable.has_more():
                ready.push(runnable, runnable.rank)
            if suspended is not None:
                world.stepped(runnable, suspended[0])
                return suspended
            if world.stepped(runnable, None):
                return None
        return None

    @property
    def seeded(self) -> bool:
        """Whether an actor handles one message at a time, and no row of them."""
        return self._simulated.one_at_a_time()

    @seeded.setter
    def seeded(self, seeded: bool) -> None:
        """The world decides, each time."""

    def blocked(self, seconds: float, title: str) -> None:
        """How long code takes in fact means nothing."""

    def random(self) -> float:
        """A number in [0, 1), of the world's choice."""
        return self.world.fraction("a random number")

    # --------------------------------------------------------------------------------- what is told

    @property
    def watched(self) -> bool:
        """Whether anybody wants to hear of events: the log does, when there is one."""
        return self._told or self._simulated.logs

    @watched.setter
    def watched(self, told: bool) -> None:
        self._told = told

    def tell(self, kind: EventKind, task: Any, /, **details: Any) -> None:
        """Tell all who want to know, and the log."""
        if self.world.logs:
            self.world.happened(kind, task.name, task.number, details)
        super().tell(kind, task, **details)

    def note(self, kind: EventKind, name: str, number: int | str, details: dict[str, Any], /) -> None:
        """The same."""
        if self.world.logs:
            self.world.happened(kind, name, number, details)
        super().note(kind, name, number, details)

    def report(self, level: int, text: str, error: BaseException | None = None, /) -> None:
        """Write to the log `actorsched`, and to that of the world."""
        self.world.reported(level, text, error)
        super().report(level, text, error)

    # ----------------------------------------------------------------------------------------- time

    def _set_alarm(self, when: float | None) -> None:
        """The world asks for what is due."""

    def first_due(self) -> float | None:
        """When the first timer is due; None if there is none."""
        first = None if self.closed else self._timers.first()
        return None if first is None else first.when

    def expire_phase(self) -> None:
        """Let the timers of the first phase expire that are due now."""
        now, first = self.clock.now(), self._timers.first()
        phase = None if first is None else first.phase
        while first is not None and first.when <= now and first.phase == phase:
            entry = self._timers.due(now)
            assert entry is not None
            self._expire(entry)
            first = self._timers.first()

    async def aclose(self) -> None:
        """The same; and the world has one kernel less."""
        await super().aclose()
        self.world.parted(self)

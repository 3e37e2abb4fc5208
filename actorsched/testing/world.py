"""The world of one simulated run: its time, its choices, its log, and what must hold in it.

The law of this module: it decides when time goes on, hands every open choice to the run's `Choices`, and
keeps what goes wrong. It knows runtimes by their kernels, and the loop by its port. What users say to it they
say to `Simulation`.

How time goes on: it stands still while anything is ready. Then those are woken that wait for that
(`run_until_idle`); then what is due now expires, one group after another, with all that follows from it
before the next; then time jumps to the next that is due. If there is nothing, nothing can ever happen again:
the run is *stuck*, which is a failure, and names who waits.

A run that has failed is interrupted, and ends. Whoever ignores that is told again; who still does not end is
given up after a while, together with the loop: a test of something that hangs must not hang.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal

from actorsched._core.invariants import FEW, InvariantBroken
from actorsched._core.timers import TimerEntry, Timers
from actorsched._system.audit import check_mail, check_slots
from actorsched._system.task_end import UNOBSERVED
from actorsched.exceptions import ActorschedError
from actorsched.testing import story
from actorsched.testing._loops.port import Next
from actorsched.testing.leaks import left_in
from actorsched.testing.story import Entry

if TYPE_CHECKING:
    from actorsched._kernel.activity import Activity, Runnable
    from actorsched._kernel.backend import Backend
    from actorsched._kernel.simulated import SimulatedKernel
    from actorsched.testing._loops.port import Loop
    from actorsched.testing.choices import Choices
    from actorsched.testing.conditions import Conditions
    from actorsched.testing.faults import Faults

_LAGS: Final = (0.0, 0.0, 0.0, 0.0005, 0.003, 0.02, 0.15, 1.0)
"""By how many seconds something may come later than at once."""
STEPS: Final = 5_000_000
"""After so many steps a run is taken to have no end."""
_STEPS_AT_ONCE: Final = 300_000
"""After so many at one instant, too: something goes round in circles without any wait."""
_LINES: Final = 50_000
"""So many lines of the log are kept at most."""
_LAST_STEPS: Final = 50_000
"""So many more are taken when a run has failed, for whatever is left to end; then it is given up."""
_LAST_CALLS: Final = 10
"""So often what is left then, and waits for something that never comes, is cancelled."""
PATIENCE: Final = 60.0
"""For so many seconds of real time everything waits for functions in threads before a run has failed."""


class Stuck(ActorschedError):
    """Nothing can happen any more in a simulation, and the test has not ended."""


class Endless(ActorschedError):
    """A simulated run took more steps than it was allowed."""


class Left(ActorschedError):
    """Something outlived a simulated run."""


class Unobserved(ActorschedError):
    """Something failed in a simulated run, and nobody but the log heard of it."""


class SimulatedWorld:
    """One simulated world, for one run.

    Args:
        choices: Decide what is left open.
        logs: Whether what happens is written down.
        steps: After how many steps the run is given up.

    Attributes:
        now: The present time, in seconds; it begins at 0.
        log: What has happened, if that is written down.
        failures: What has gone wrong, besides what the test itself raises; the first is the cause.
        kernels: Of the runtimes that are open.
        steps: How many steps have been taken.
    """

    def __init__(self, choices: Choices, *, logs: bool = False, steps: int = STEPS) -> None:
        from actorsched.testing.conditions import Conditions
        from actorsched.testing.faults import Faults

        self.choices = choices
        self.logs: bool = logs
        self.numbers: tuple[Iterator[int], Iterator[int]] = (count(1), count(1))
        self.now: float = 0.0
        self.log: list[Entry] = []
        self.failures: list[BaseException] = []
        self.errors: list[BaseException] = []
        """What the runtimes have told their logs only."""
        self.kernels: list[SimulatedKernel] = []
        self.conditions: Conditions = Conditions(self)
        self.loop: Loop | None = None
        self.steps: int = 0
        self.probes: int = 0
        """How many probes there have been."""
        self.allowed: int = steps
        self._limit = min(steps, _STEPS_AT_ONCE)
        self.given_up: bool = False
        """Whether the loop is to go no further: the run has failed, and what is left does not end."""
        self._timers = Timers()
        self._limits = Timers()
        self._idle: deque[Callable[[], object]] = deque()
        self._stepping: deque[tuple[Callable[[], object], int]] = deque()
        self._urgent: int | None = None
        self._told: Activity | None = None  # whose first step stands in the log
        self._interrupted = False
        self._calls_left = _LAST_CALLS
        self._ended = False
        self._waits_since: tuple[int, float] = 0, 0.0
        self._waits_in_vain = False
        self._hosts: Any = None
        self.faults: Faults = Faults(self)
        self.fate: Callable[[Any, Any, bool], Any] = _no_fate
        """What becomes of a host at a frame; set by who plans faults."""

    def __repr__(self) -> str:
        return f"<world at {self.now:g} s, {self.steps} steps, {self.choices!r}>"

    # ---------------------------------------------------------------------------------------- choices

    def pick(self, count: int, what: str, /) -> int:
        """One of so many possibilities; 0 is the plain one."""
        value = self.choices.pick(count)
        if value and self.logs:
            self.note("choice", f"{what}: number {value + 1} of {count}")
        return value

    def fraction(self, what: str, /) -> float:
        """A number in [0, 1)."""
        return self.choices.fraction()

    def lag(self, what: str, /) -> float:
        """By how many seconds something comes later than at once."""
        lag = _LAGS[self.choices.pick(len(_LAGS))]
        if lag and self.logs:
            self.note("lag", f"{what} takes {lag:g} s")
        return lag

    def choose(self, members: Sequence[int], /) -> int:
        """Which task of the loop takes the next step."""
        if self._urgent is not None and self._urgent in members:
            return members.index(self._urgent)
        index = self.choices.choose(members)
        if index and self.logs:
            self.note("choice", f"which task of the loop: number {index + 1} of {len(members)}")
        return index

    # --------------------------------------------------------------------------------------- the log

    def note(self, kind: str, text: str, /) -> None:
        """Write a line of the log, if there is one."""
        if self.logs:
            self.log.append(Entry(self.now, kind, text))
            if len(self.log) > _LINES:  # of a run without end; its beginning and its end are what is told
                del self.log[_LINES // 10 : _LINES // 2]

    def happened(self, kind: str, name: str, number: int | str, details: Mapping[str, object], /) -> None:
        """Write down an event."""
        self.note("event", story.event(kind, name, number, details))

    # ------------------------------------------------------------------------------------ what is wrong

    def failed(self, error: BaseException, /) -> None:
        """What should hold does not: the run has failed, and is ended."""
        if all(error is not other for other in self.failures):
            self.failures.append(error)
        self.note("failure", f"{type(error).__name__}: {error}")
        if self.loop is not None and not self._interrupted:
            self._interrupted = True
            self.over()
            self.loop.interrupt()

    def raised(self, error: BaseException, /) -> None:
        """The scenario has raised this: if nothing else was wrong before, what follows comes of that."""
        if not self.failures:
            self.failures.append(error)
        elif all(error is not other for other in self.failures):
            self.failures[0].add_note(f"then the scenario raised {type(error).__name__}: {error}")

    def over(self) -> None:
        """The scenario has ended, or was told to: what is left of it has so many steps to end as well."""
        self._ended = True
        self.allowed = min(self.allowed, self.steps + _LAST_STEPS)
        self._limit = min(self._limit, self.allowed)

    def unhandled(self, error: BaseException, /) -> None:
        """An exception has reached nobody but the loop."""
        self.failed(error)

    def reported(self, level: int, text: str, error: BaseException | None, /) -> None:
        """A runtime has written to its log: a failure of which nobody else hears is one of the run."""
        self.note("log", text)
        if level >= logging.ERROR and text.endswith(UNOBSERVED):
            self.errors.append(Unobserved(text) if error is None else _caused(Unobserved(text), error))

    def step_taken(self, task: int, /) -> None:
        """A task of the loop has taken a step."""
        self.steps += 1
        if task == self._urgent:
            self._urgent = None
        for kernel in self.kernels:
            if kernel.touched:
                kernel.look()
        if self.conditions.any:
            self.conditions.look()
        if self.steps >= self._limit:
            self._give_up()

    def step_of(self, task: Any, /) -> None:
        """Write down that a task of the loop has taken a step."""
        main = None if self.loop is None else self.loop.main
        text = story.later_step(task, main, self.kernels, self._told)
        self._told = None
        if text is not None:
            self.note("step", text)

    def stepped(self, runnable: Runnable, activity: Activity | None, /) -> bool:
        """User code in a runtime has taken a step. Answers whether the loop is to have its turn now."""
        self.steps += 1
        if self.logs:
            self.note("step", story.step(runnable, activity))
            self._told = activity
        if self.conditions.any:
            self.conditions.look()
        if self.steps >= self._limit:
            self._give_up()
            return True
        if self._stepping:
            self._wake_stepper()
            return True
        loop = self.loop
        return loop is not None and loop.others_ready() and self.pick(2, "whether the loop has a turn") == 1

    def one_at_a_time(self) -> bool:
        """Whether an actor handles one message at a time: it has to where somebody looks after each."""
        return (
            bool(self._stepping or self.conditions.any)
            or self.pick(8, "whether messages are handled in a row") == 1
        )

    def _wake_stepper(self) -> None:
        """Whoever waits for a step goes on before anybody else does."""
        wake, self._urgent = self._stepping.popleft()
        wake()

    def _give_up(self) -> None:
        """There were too many steps: the run has failed; or it has done so before, and does not end."""
        if self._interrupted:
            self.given_up = True
        elif self._ended:
            self.failed(Endless(f"the test has ended, but does not come to an end: {self._who_waits()}"))
        else:
            self.failed(
                Endless(
                    f"the simulated run has taken {self.steps} steps until {self.now:g} s of its time, and "
                    "was given up; if it goes round in circles, have it wait; if it needs more steps, allow "
                    f"them with steps=...: {self._who_waits()}"
                )
            )

    def left_behind(self) -> None:
        """The scenario has ended: nothing of it may be left."""
        if self.loop is not None and not self.failures:
            left = [f"task {task!r}" for task in self.loop.left()]
            left += [f"runtime {kernel.facade!r}" for kernel in self.kernels]
            left += [f"failure that nobody looked at: {task!r}" for task in self.loop.unobserved()]
            if self.errors:
                self.failed(self.errors[0])
            elif left:
                self.failed(Left("left behind when the test ended: " + "; ".join(left)))

    def audit(self) -> None:
        """Look, at rest, at the actors of the system; where few were concerned, at all of them together."""
        for kernel in self.kernels:
            if 0 < kernel.audit() <= FEW:
                system = kernel.facade._system
                try:
                    check_slots(system)
                    check_mail(system)
                except InvariantBroken as error:
                    self.failed(error)

    # ---------------------------------------------------------------------------------------- runtimes

    def backend(self, backend: Backend, /) -> Backend:
        """What stands for the backend of the loop."""
        if self.loop is None:
            raise RuntimeError(
                "a Runtime of a simulation was entered outside of it; enter it in the scenario"
            )
        if backend.name == "trio":
            from actorsched.testing._loops.on_trio import SimulatedTrioBackend

            return SimulatedTrioBackend(self.loop, self)  # type: ignore[arg-type]
        from actorsched.testing._loops.on_asyncio import SimulatedAsyncioBackend

        return SimulatedAsyncioBackend(self.loop, self)  # type: ignore[arg-type]

    def joined(self, kernel: SimulatedKernel, /) -> None:
        """A runtime is entered."""
        self.kernels.append(kernel)

    def parted(self, kernel: SimulatedKernel, /) -> None:
        """A runtime has been left."""
        self.kernels.remove(kernel)

    @property
    def hosts(self) -> Any:
        """The simulated hosts and threads."""
        if self._hosts is None:
            from actorsched.testing._hosts import SimulatedHosts

            self._hosts = SimulatedHosts(self)
        return self._hosts

    @property
    def unwinding(self) -> bool:
        """Whether code of hosts has yet to come to its end."""
        return self._hosts is not None and self._hosts.unwinding

    def launch(self, kernel: Any, kind: Literal["tasks", "actors"], **options: Any) -> Any:
        """Start a simulated host."""
        return self.hosts.launch(kernel, kind, **options)

    def run_thread(self, worker: Any, run: Any, /) -> None:
        """Run a function in a thread, in lockstep."""
        self.hosts.run_thread(worker, run)

    def lane(self, capacity: int | None, overflow: str, normal: int, /) -> Any:
        """The user lane of a mailbox."""
        from actorsched.testing.mail import SimulatedLane

        return self.faults.lane(SimulatedLane(capacity, overflow, normal, faults=self.faults))

    def cell_kind(self, *, hosted: bool) -> Any:
        """The class of the cells of actors."""
        from actorsched.testing.mail import SimulatedCell, SimulatedHostedCell

        return SimulatedHostedCell if hosted else SimulatedCell

    def close(self) -> None:
        """The run is over."""
        if self._hosts is not None:
            self._hosts.close()

    def forsake(self) -> None:
        """The loop is gone: runtimes that were never left must not be known to this process any longer."""
        for kernel in self.kernels:
            kernel.facade._forsaken()

    # -------------------------------------------------------------------------------------------- time

    def call_at(self, when: float, function: Callable[..., object], /, *args: Any) -> TimerEntry:
        """Call at a time."""
        return self._timers.add(max(when, self.now), function, *args)

    def call_after(self, when: float, function: Callable[..., object], /, *args: Any) -> TimerEntry:
        """Call when everything has happened that happens until this time, and at it."""
        return self._limits.add(max(when, self.now), function, *args)

    def when_idle(self, function: Callable[[], object], /) -> None:
        """Call when nothing is ready, before time goes on."""
        self._idle.append(function)

    def after_step(self, function: Callable[[], object], /) -> None:
        """Call when some user code of a runtime has taken its next step: it wakes who runs now."""
        assert self.loop is not None
        self._stepping.append((function, self.loop.present_number()))

    def idle(self, loop_due: float | None, /, *, foreign: bool) -> Next:
        """Nothing is ready: wake who waits for that, let expire what is due, or go on in time."""
        self.audit()
        now = self.now
        due: list[Callable[[], Next]] = [] if loop_due is None or loop_due > now else [_own_timers]
        nexts = [] if loop_due is None else [loop_due]
        first = self._timers.next_when()
        if first is not None:
            nexts.append(first)
            if first <= now:
                due.append(self._expire)
        for kernel in self.kernels:
            first = kernel.first_due()
            if first is not None:
                nexts.append(first)
                if first <= now:
                    due.append(_expiring(kernel))
        if due:
            return due[self.choices.pick(len(due))]()
        if self._idle:
            self._idle.popleft()()
            return Next.LOOK
        if (foreign or (self._hosts is not None and self._hosts.busy_in_real_time)) and self._waits():
            return Next.WAIT
        limit = self._limits.due(now)
        if limit is not None:
            limit.action(*limit.args)
            return Next.LOOK
        last = self._limits.next_when()
        if last is not None:
            nexts.append(last)
        soonest = min(nexts, default=inf)
        if soonest < inf:  # what is due then will never be
            self.now = soonest
            self._limit = min(self.allowed, self.steps + _STEPS_AT_ONCE)
            return Next.LOOK
        return self._stuck()

    def _waits(self) -> bool:
        """Whether functions in threads are worth waiting for: they are not for ever."""
        if self._waits_in_vain:
            return False
        steps, since = self._waits_since
        if steps != self.steps or not since:
            self._waits_since = self.steps, monotonic()
            return True
        if monotonic() - since < PATIENCE:
            return True
        self._waits_in_vain = True
        self.failed(
            Stuck(
                f"a function in a thread has kept everything else waiting at {self.now:g} s for "
                f"{PATIENCE:g} s of real time; in a simulation have it do less, or let it call "
                f"actorsched.checkpoint() now and then: {self._who_waits()}"
            )
        )
        return False

    def _expire(self) -> Next:
        entry = self._timers.due(self.now)
        assert entry is not None
        entry.action(*entry.args)
        return Next.LOOK

    def _stuck(self) -> Next:
        """Nothing is ready, and nothing will ever be due."""
        if self._interrupted:  # whoever is left has ignored that it was cancelled
            self.given_up = not self._calls_left
            self._calls_left -= 1
            if self.loop is not None:
                self.loop.interrupt()
            return Next.LOOK
        self.failed(Stuck(f"nothing can happen any more at {self.now:g} s: {self._who_waits()}"))
        return Next.LOOK

    def _who_waits(self) -> str:
        waiting = [str(left) for kernel in self.kernels for left in left_in(kernel.facade._system)]
        if self.loop is not None:
            main = self.loop.main
            tasks = self.loop.left() if main is None else [main, *self.loop.left()]
            waiting += filter(None, (story.later_step(task, main, ()) for task in tasks))
        return "\n".join(["all that there is waits", *waiting])


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def _own_timers() -> Next:
    return Next.TIMERS


def _expiring(kernel: SimulatedKernel) -> Callable[[], Next]:
    def expire() -> Next:
        kernel.expire_phase()
        return Next.LOOK

    return expire


def _no_fate(host: Any, frame: Any, outward: bool) -> None:
    """Nothing becomes of it."""

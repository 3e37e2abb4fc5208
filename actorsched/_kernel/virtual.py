"""Virtual time: it stands still while anything happens, and jumps to the next timer when nothing does.

The law of this module: everything else is as it is under a real clock, the same kernel, actors and messages.
Only three things differ. Timers expire when nothing is left to do at the present instant; those of one
instant by their phases, each with all that follows from it before the next. What waits for rest
(`Outbox.at_rest`) waits for the end of the instant, so that a choice knows all that belongs to it. And time
never passes while something is outstanding that takes real time: a thread, a host process, or a wait of user
code for something that is none of ours.

How it works: while there is a timer or a choice to come, the kernel looks around once in each turn of the
loop. It acts when for some turns in a row there was no mail, nobody ready, and every carrier waiting with its
activity for a future of ours. The turns in between are for code that is not ours, such as the body of the
runtime: it takes one turn to wake up, and a few to get out of its task groups. While something is
outstanding, and nothing more is to be done at this instant, the kernel looks every millisecond instead.
Choices are made all the same: what is outstanding may wait for somebody who has yet to be chosen.

User code that waits in a task group, or for tasks by name, waits for what those wait for. Whatever else it
may wait for takes real time. So an event of the loop that somebody is to set at a later instant is never set.

User code is woken in the order of the answers, one in each turn, since some loops take those of one turn in
any order. So the same program does the same again, as long as it waits for nothing but ours.

Most carriers stay for long with an activity that was preempted, or waits; there may be thousands. Such a
carrier is looked at once, and settles on the future that it waits for. It is looked at again when that is
answered, or when its activity has taken a step all the same, because it was cancelled.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from actorsched._kernel.carrier import Carrier
from actorsched._kernel.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Behaviour, Envelope, Reply
    from actorsched._core.timers import TimerEntry
    from actorsched._kernel.activity import Activity
    from actorsched._kernel.backend import Backend, Future

_CALM: Final = 4
"""So many turns of the loop without anything of ours happening end a phase of an instant."""
_LOOK: Final = 0.001
"""Seconds between two looks while something is outstanding that takes real time."""


class VirtualClock:
    """Time that jumps: `Runtime(clock=VirtualClock())`. It starts at 0, in seconds.

    The runtime's own time is virtual then: timers, deadlines, timeouts, `compute` and `actorsched.sleep`. The
    sleeps of asyncio, trio and anyio still take real time, and virtual time waits for them.
    """

    __slots__ = ("_kernel", "_now")

    def __init__(self) -> None:
        self._now = 0.0
        self._kernel: VirtualKernel | None = None

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now:g}>"

    def now(self) -> float:
        """The present time."""
        return self._now

    def call_at(self, when: float, function: Callable[[], object], /) -> TimerEntry:
        """Call `function` when the time has come.

        Raises:
            RuntimeError: No runtime has this clock now.
        """
        if self._kernel is None:
            raise RuntimeError(f"{self!r} moves with a Runtime only; enter Runtime(clock=...) with it")
        return self._kernel.call_later(max(0.0, when - self._now), function)

    def bind(self, kernel: VirtualKernel) -> None:
        """A runtime is entered with this clock, which goes on from where it stands.

        Raises:
            RuntimeError: Another runtime has it now.
        """
        if self._kernel is not None and not self._kernel.closed:
            raise RuntimeError(
                f"{self!r} belongs to another Runtime, which is still open; make a second clock"
            )
        self._kernel = kernel

    def kernel(self, backend: Backend, seed: int | None) -> VirtualKernel:
        """The kernel of a runtime that is entered with this clock."""
        return VirtualKernel(backend, self, seed)

    def jump(self, when: float) -> None:
        """Nothing happens before this time."""
        self._now = when


class VirtualCarrier(Carrier):
    """A carrier that says when it takes a step, so that it need not be looked at in each turn."""

    __slots__ = ("_keeper", "_settled_on", "_trap", "in_real_time")

    def __init__(self, kernel: VirtualKernel) -> None:
        self._keeper = kernel
        self.in_real_time: bool = False
        """Whether the subject waited for something that is none of ours, when it was looked at last."""
        self._settled_on: Future | None = None
        super().__init__(kernel)

    @property
    def trap(self) -> object:
        """What the subject waits on, as the loop sees it; None while it takes a step."""
        return self._trap

    @trap.setter
    def trap(self, trap: object) -> None:
        self._trap = trap
        self._keeper.stir()
        self.unsettle()

    def take_over(self, activity: Activity, yielded: object) -> None:
        """The same."""
        super().take_over(activity, yielded)
        self.unsettle()

    def unsettle(self) -> None:
        """Something has happened to the subject: it has to be looked at."""
        kernel = self._keeper
        if self._settled_on is not None:
            kernel.settled.pop(self._settled_on, None)
            self._settled_on = None
        if self.subject is None:
            kernel.unsettled.pop(self, None)
        else:
            kernel.unsettled[self] = None

    def steps_soon(self, backend: Backend, ours: WeakSet[Any]) -> bool:
        """Whether the subject is about to take a step. If it waits for something of ours, settle."""
        kernel = self._keeper
        if self.subject is None or self not in kernel.carriers:
            kernel.unsettled.pop(self, None)
            return False
        waits_on = self.subject.gate
        if waits_on is None:
            waits_on = backend.waits_on(self._trap)
            if waits_on is None or waits_on.done():
                return True
            if waits_on not in ours:
                return self._members_step_soon(backend, ours)
        del kernel.unsettled[self]
        kernel.settled[waits_on] = self
        self._settled_on = waits_on
        return False

    def _members_step_soon(self, backend: Backend, ours: WeakSet[Any]) -> bool:
        """Whether one of those is about to take a step for whose end the subject waits, if it does."""
        assert self.subject is not None
        stepper = self.subject.stepper
        code: object = None if stepper is None else getattr(stepper.send, "__self__", None)
        waiting: list[tuple[object, object]] = [(self.task, code)]
        known: set[object] = set()
        self.in_real_time = False
        while waiting:
            task, code = waiting.pop()
            waits_on = backend.pending(task)
            if waits_on is None:
                return True
            if task in known or waits_on in ours:
                continue
            known.add(task)
            members = backend.members(task, code, waits_on)
            if members is None:
                self.in_real_time = True
            elif not members:  # the last one has just ended
                return True
            else:
                waiting.extend((member, None) for member in members)
        return False


class VirtualKernel(Kernel):
    """The kernel of a runtime whose time is virtual."""

    def __init__(self, backend: Backend, clock: VirtualClock, seed: int | None) -> None:
        super().__init__(backend, clock, seed)
        self.virtual = True
        clock.bind(self)
        self._time = clock
        self._choices: deque[Envelope] = deque()
        self.at_rest = self._at_rest
        self._ours: WeakSet[Any] = WeakSet()
        self.unsettled: dict[VirtualCarrier, None] = {}
        """Those to be looked at: they may be about to take a step, or wait for something that is not ours."""
        self.settled: dict[Any, VirtualCarrier] = {}
        """The others that stay with an activity, by the futures of ours that they wait for."""
        self._woken = False
        """Whether somebody was woken in this turn of the loop."""
        self._to_wake: deque[tuple[Reply, object] | None] = deque()
        """Who is in the next ones, with which answer; None for a carrier that is to pump."""
        self._beating = False
        self._calm = 0

    # ------------------------------------------------------------------------- whatever happens is noticed

    def post(self, to: Behaviour, message: object) -> None:
        """The same; and the instant is not over yet."""
        self._calm = 0
        super().post(to, message)

    def reply(self, to: Reply, value: object, /) -> None:
        """The same, as soon as it is its turn; and whoever waited has yet to go on."""
        self._calm = 0
        if self._woken:
            self._to_wake.append((to, value))
        else:
            self._wake(to, value)

    def _wake(self, to: Reply, value: object) -> None:
        self._somebody_was_woken()
        super().reply(to, value)
        carrier = self.settled.pop(to, None)
        if carrier is not None:
            carrier.unsettle()

    def _call_carrier(self) -> None:
        self._called = True
        if self._woken:
            self._to_wake.append(None)
        else:
            self._somebody_was_woken()
            super()._call_carrier()

    def _somebody_was_woken(self) -> None:
        """Nobody else is before the next turn of the loop."""
        self._woken = True
        self.backend.call_soon(self._wake_next)

    def _wake_next(self) -> None:
        """Wake the next who waits for it: passing one over wakes nobody, and would strand all after it."""
        self._woken = False
        while self._to_wake and not self._woken:
            answer = self._to_wake.popleft()
            if answer is not None:
                self._wake(*answer)
            elif self._called:  # none has come of itself meanwhile
                self._call_carrier()

    def wake_all(self) -> None:
        """The runtime closes: nobody is left whose turn has to be waited for."""
        while self._to_wake:
            answer = self._to_wake.popleft()
            if answer is not None:
                super().reply(*answer)

    def stir(self) -> None:
        """Some user code takes a step."""
        self._calm = 0

    def _new_carrier(self) -> Carrier:
        return VirtualCarrier(self)

    def future(self) -> Future:
        """The same; and whoever waits on it waits for something of ours."""
        future = super().future()
        self._ours.add(future)
        return future

    def _at_rest(self, envelope: Envelope) -> None:
        if self.closed:  # time stands still from now on
            self.resting.append(envelope)
        else:
            self._choices.append(envelope)
            self._beat_soon()

    def _set_alarm(self, when: float | None) -> None:
        """Timers expire when it is calm, and need no alarm."""
        if when is not None:
            self._beat_soon()

    def _beat_soon(self) -> None:
        if not self._beating:
            self._beating = True
            self.backend.call_soon(self._beat)

    def _post_late(self, to: Behaviour, message: object) -> None:
        """The same, but not in the midst of an instant: how long that takes in fact means nothing."""
        if not self.closed and (self._due() or self._busy()):
            self.backend.call_at(self.backend.monotonic() + _LOOK, self._post_late, to, message)
        else:
            super()._post_late(to, message)

    # ---------------------------------------------------------------------------------- looking around

    def _beat(self) -> None:
        if self.closed or not (self._choices or len(self._timers)):
            self._beating = False
        elif self._busy():
            self._calm = 0
            self.backend.call_soon(self._beat)
        elif self._outstanding() and not self._due():
            self._calm = 0
            self.backend.call_at(self.backend.monotonic() + _LOOK, self._beat)
        else:
            self._calm += 1
            if self._calm > _CALM:
                self._calm = 0
                self._go_on()
            self.backend.call_soon(self._beat)

    def _busy(self) -> bool:
        """Whether something of ours happens in this turn of the loop or the next."""
        return (
            bool(self.mail or self.ready or self.resting or self._to_wake or self._thread_calls)
            or self._called
            or any(carrier.steps_soon(self.backend, self._ours) for carrier in list(self.unsettled))
        )

    def _due(self) -> bool:
        """Whether something is still to be done at this instant, for which no time has to pass."""
        first = self._timers.first()
        return bool(self._choices) or (first is not None and first.when <= self._time.now())

    def _outstanding(self) -> bool:
        """Whether something takes real time: nobody is about to step, so the unsettled wait for that."""
        return self.outside() or any(carrier.in_real_time for carrier in self.unsettled)

    # ------------------------------------------------------------------------------- the course of time

    def _go_on(self) -> None:
        """The next phase of this instant, the choice at its end, or the next instant."""
        first, now = self._timers.first(), self._time.now()
        if first is not None and first.when <= now:
            return self._expire_phase(first.phase)
        if self._choices:
            self.resting.extend(self._choices)
            self._choices.clear()
            return self.drain()
        if first is not None:
            self._time.jump(first.when)
            self._expire_phase(first.phase)
        return None

    def _expire_phase(self, phase: int) -> None:
        now = self._time.now()
        while (first := self._timers.first()) is not None and first.when <= now and first.phase == phase:
            entry = self._timers.due(now)
            assert entry is not None
            self._expire(entry)

"""The kernel: moves messages, and gives user code its turn.

Two kinds of actors, two ways to run them:

* The system's own actors are `Behaviour`s. They never wait, so whoever sends to one from outside sees to
  it that all of them are run until no message is in transit (`drain`): `await rt.spawn(...)` comes back
  without a turn of the loop, and nobody ever sees a half-done conversation.
* User code may wait. Whoever has some to run is put into the run queue, and carriers take it from there.
  At most one carrier at a time holds the pump, that is, takes from the queue.

Both respect a budget of messages and time, after which the loop gets its turn.

Everything here runs on the runtime's thread, but for `call_threadsafe`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, get_cancelled_exc_class

from actorsched._core.post_office import PostOffice
from actorsched._core.run_queue import RunQueue, ShuffledRunQueue
from actorsched._core.timers import ORDINARY, TimerEntry, Timers
from actorsched._kernel.carrier import BLOCKING, Carrier
from actorsched._kernel.stepper import Stepper

if TYPE_CHECKING:
    from random import Random

    from actorsched._core.behaviour import Behaviour, Envelope, Reply
    from actorsched._kernel.activity import Activity, Runnable
    from actorsched._kernel.backend import Backend, Future, Handle
    from actorsched._kernel.clock import Clock
    from actorsched._kernel.world import World
    from actorsched.events import EventKind, Record

_MESSAGES_PER_LOOK = 256
"""How many messages of the system are handled between two looks at the clock."""
_REPORTS = 1000
"""How many such reports are made at most."""
_SECONDS_PER_TURN = 0.004
"""How long the framework keeps the loop to itself before it lets it breathe."""
_BURST = 16
"""How many messages of one actor are handled before the next actor has its turn."""
_FAREWELL = 1.0
"""For how many seconds the end of user code is waited for when the system has failed."""
_PAGE = 4096
"""How many events are given out at once at most."""
_IDLE_STEPPERS = 64
"""How many steppers without code are kept."""
_IDLE_CARRIERS = 16
"""How many parked carriers are kept for the next burst of suspensions."""

_log = logging.getLogger("actorsched")


def _nothing_outside() -> bool:
    """There are no threads and no hosts."""
    return False


def _chance(seed: int | None) -> Random:
    from random import Random  # few programs need it

    return Random(seed)


class Kernel:
    """Run queue, carriers, timers and mail of one runtime. It is the `Outbox` of its actors."""

    def __init__(self, backend: Backend, clock: Clock, seed: int | None) -> None:
        self.backend = backend
        self.clock = clock
        self._chance: Random | None = None if seed is None else _chance(seed)
        self.ready: RunQueue[Runnable] = (
            RunQueue(self._wanted) if self._chance is None else ShuffledRunQueue(self._chance, self._wanted)
        )
        """Whoever has user code to run. A carrier comes as soon as somebody stands here."""
        self.seeded: bool = seed is not None
        self.burst = 1 if self.seeded else _BURST
        self.steppers: list[Stepper] = []
        """Those that step no code now. One whose code has suspended stays with that until its end."""
        self.carriers: dict[Carrier, None] = {}
        """All that are there or were called, in the order in which they were."""
        self.idle: list[Carrier] = []
        self.cancelled: type[BaseException] = get_cancelled_exc_class()
        self.thread: int = get_ident()
        self.office: PostOffice = PostOffice()
        self.restarts: int = 0
        """How often an actor was started again by its supervisor."""
        self.lender: Any = None
        """Lets runs be carried by those who wait for them; set by the layer that knows how."""
        self.facade: Any = None
        """The runtime, as users hold it."""
        self.virtual: bool = False
        """Whether time stands still while anything happens."""
        self.world: World | None = None
        """Decides what a real run leaves open; None in a real one."""
        self.monotonic: Callable[[], float] = monotonic
        """The time by which the loop's own work is measured: real, but in a simulation."""
        self.outside: Callable[[], bool] = _nothing_outside
        """Whether a thread or a host process has work of ours; set by the layer that knows them."""
        self.closed: bool = False
        """What a thread had asked for that sees it open still is called."""
        self.panic: BaseException | None = None
        self.on_panic: Callable[[BaseException], None] | None = None
        self.collapsed: bool = False
        """Whether what is left after a panic is being torn down: nothing is certain to happen any more."""
        self.bus: Any = None
        """Hands events on; set by the layer that knows how."""
        self.watched: bool = False
        """Whether anybody wants to hear of events."""
        self.wanted: frozenset[str] = frozenset()
        """Of which kinds."""
        self.heard: frozenset[str] = frozenset()
        """Those of them that somebody listens to."""
        self.read: frozenset[str] = frozenset()
        """Those that somebody reads."""
        self.journal: list[Record] = []
        """What has happened of these, and was not given to the readers yet. The bus has been asked to."""
        self.shields: set[CancelScope] = set()
        """Waits that nothing else may cut short."""
        self.mail: deque[Envelope] = deque()
        """What is in transit between the system's actors, in the order of sending."""
        self.send: Callable[[Envelope], None] = self.mail.append
        self.resting: deque[Envelope] = deque()
        """What is sent when nothing is in transit any more."""
        self.at_rest: Callable[[Envelope], None] = self.resting.append
        self.draining = False
        """Whether the system's actors are being run."""
        self._pumped = False  # a carrier holds the pump
        self._called = False  # a carrier was called to the pump and has not come yet
        self._timers = Timers()
        self._alarm: Handle | None = None
        self._alarm_when = float("inf")
        self._reported: set[str] = set()
        self._thread_called = False
        self._thread_calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def __repr__(self) -> str:
        return (
            f"<kernel on {self.backend.name}: {len(self.ready)} ready, {len(self.carriers)} carriers, "
            f"{len(self._timers)} timers>"
        )

    # ------------------------------------------------------------------------------------ the outbox

    @property
    def now(self) -> float:
        """The present time of the runtime's clock, in seconds."""
        return self.clock.now()

    def later(self, delay: float, to: Behaviour, message: object, /, *, phase: int = ORDINARY) -> TimerEntry:
        """Send a message after `delay` seconds."""
        return self.call_later(delay, self.post, to, message, phase=phase)

    def later_in_fact(self, delay: float, to: Behaviour, message: object, /) -> None:
        """Send a message after `delay` seconds of the loop's clock, whatever that of the runtime says."""
        self.backend.call_at(self.backend.monotonic() + delay, self._post_late, to, message)

    def _post_late(self, to: Behaviour, message: object) -> None:
        if not self.closed:
            self.post(to, message)

    def tell(self, kind: EventKind, task: Any, /, **details: Any) -> None:
        """Tell those who want to know what has just happened to a task, an actor or a host."""
        if kind in self.wanted:
            self.note(kind, task.name, task.number, details)

    def note(self, kind: EventKind, name: str, number: int | str, details: dict[str, Any], /) -> None:
        """The same for what happens to every task. Nobody changes the details: they may be those of many."""
        if kind in self.wanted:
            record = (kind, self.clock.now(), name, number, details)
            if kind in self.heard:
                self.bus.hear(record)
            if kind in self.read:
                journal = self.journal
                if not journal:
                    self.backend.call_soon(self.bus.give_out)
                elif len(journal) == _PAGE:
                    self.bus.give_out()
                    journal = self.journal
                journal.append(record)

    def reply(self, to: Reply, value: object, /) -> None:
        """Answer somebody who waits, if somebody still does."""
        if not to.done():
            to.set_result(value)

    def wake_all(self) -> None:
        """Whoever was answered has been: in virtual time it may still be waiting for its turn."""

    def random(self) -> float:
        """A number in [0, 1), from the runtime's seed."""
        if self._chance is None:
            self._chance = _chance(None)
        return self._chance.random()

    def report(self, level: int, text: str, error: BaseException | None = None, /) -> None:
        """Write to the log `actorsched`."""
        _log.log(level, text, exc_info=error)

    # ---------------------------------------------------------------------------- the system's actors

    def send_soon(self, to: Behaviour, message: object) -> None:
        """Send from anywhere, also from the midst of what is no message: that comes to its end first."""
        if self.draining:
            self.mail.append((to, message))
        else:
            self.resting.append((to, message))
            self.backend.call_soon(self.drain)

    def post(self, to: Behaviour, message: object) -> None:
        """Send from outside: what follows from the message has happened when this returns."""
        if self.draining or self.mail:
            self.mail.append((to, message))
            return self.drain()
        self.draining = True
        try:  # nothing is on the way to anybody: this one need not queue
            to.reactions[type(message)](to, message, self)
        except BaseException as error:
            self._failed(to, message, error)
        finally:
            self.draining = False
        if self.mail or self.resting:
            self.drain()

    def post_threadsafe(self, to: Behaviour, message: object) -> None:
        """The same from any thread; from another one, soon."""
        if get_ident() == self.thread:
            self.post(to, message)
        else:
            self.call_threadsafe(self.post, to, message)

    def drain(self) -> None:
        """Run the system's actors until no message is in transit, or the budget is used up."""
        mail, resting = self.mail, self.resting
        if self.draining or not (mail or resting):
            return
        take, take_resting = mail.popleft, resting.popleft
        steps, limit = _MESSAGES_PER_LOOK, 0.0
        self.draining = True
        try:
            while mail or resting:
                actor, message = take() if mail else take_resting()
                try:
                    actor.reactions[type(message)](actor, message, self)
                except BaseException as error:
                    self._failed(actor, message, error)
                steps -= 1
                if not steps:
                    steps = _MESSAGES_PER_LOOK
                    now = monotonic()
                    limit = limit or now + _SECONDS_PER_TURN
                    if now > limit:
                        self.backend.call_soon(self.drain)
                        return
        finally:
            self.draining = False

    def _failed(self, actor: Behaviour, message: object, error: BaseException) -> None:
        """An actor of the system failed at a message; what is no `Exception` goes on to whoever called."""
        self.broken(actor, message, error)
        if not isinstance(error, Exception):
            raise error

    def broken(self, actor: object, message: object, error: BaseException) -> None:
        """The system failed: that is a bug of ours, and the runtime must not go on guessing.

        Or somebody has interrupted it in the middle of something, with an error that is no `Exception`.
        """
        if isinstance(error, Exception):
            remedy = "; ".join(getattr(error, "__notes__", ())) or "please report this"
            _log.critical("%r failed at %r; %s", actor, message, remedy, exc_info=error)
        if self.panic is None:
            self.panic = error
            if self.on_panic is not None:
                self.on_panic(error)

    # -------------------------------------------------------------------------------------- user code

    def make_ready(self, runnable: Runnable) -> None:
        """Somebody has user code to run."""
        self.ready.push(runnable, runnable.rank)

    def _wanted(self) -> None:
        if not self._pumped and not self._called:
            self._call_carrier()

    def interrupt(self, activity: Activity) -> None:
        """Cancel user code that has begun. It is not over until it says so."""
        activity.interrupted = True
        if activity.carrier is not None:
            activity.carrier.interrupt()

    def take_pump(self) -> bool:
        """A carrier offers to hold the pump."""
        self._called = False
        if self._pumped or not self.ready:
            return False
        self._pumped = True
        return True

    def leave_pump(self) -> None:
        """The carrier that holds the pump has to stay with an activity, or found nothing more to do."""
        self._pumped = False
        if self.ready and not self._called:
            self._call_carrier()

    def missed(self) -> None:
        """The carrier that was called to the pump will not come."""
        self._called = False
        if self.ready and not self._pumped:
            self._call_carrier()

    def run_ready(self) -> tuple[Activity, object] | None:
        """Step ready user code until some suspends (returned then), none is left, or the budget is spent."""
        ready, ranks = self.ready, self.ready.ranks
        mail = self.mail
        burst = self.burst
        now = monotonic()
        limit = now + _SECONDS_PER_TURN
        pop = ready.pop
        while ranks:
            runnable = pop()
            suspended = runnable.run(burst)
            then, now = now, monotonic()
            if now - then > BLOCKING:
                self.blocked(now - then, runnable.title)
            if suspended is not None:
                return suspended
            if mail:
                self.drain()
            if runnable.has_more():
                ready.push(runnable, runnable.rank)
            if now > limit:
                return None
        return None

    def blocked(self, seconds: float, title: str) -> None:
        """User code has kept the loop for so long without an await: say so, once for each."""
        if title not in self._reported and len(self._reported) < _REPORTS:
            self._reported.add(title)
            _log.warning(
                "%s kept the event loop for %.3f s without an await; nothing else could run meanwhile: "
                "await now and then, or use host='thread' or host='process'",
                title,
                seconds,
            )

    def stepper(self) -> Stepper:
        """A stepper for code that is about to take its first step; back to `steppers` when that has ended."""
        return self.steppers.pop() if self.steppers else Stepper()

    def result_of(self, stepper: Stepper) -> Any:
        """What the code returned. The stepper can be used again."""
        if len(self.steppers) < _IDLE_STEPPERS:
            self.steppers.append(stepper)
        return stepper.take()

    def activity_over(self, runnable: Runnable | None) -> None:
        """An activity that had suspended has ended."""
        if runnable is not None and runnable.has_more():
            self.make_ready(runnable)
        if self.mail:
            self.drain()

    def wants_idle_carrier(self) -> bool:
        """Whether one more parked carrier is worth keeping."""
        return not self.closed and len(self.idle) < _IDLE_CARRIERS

    def _call_carrier(self) -> None:
        self._called = True
        while self.idle:
            gate = self.idle.pop().gate
            if gate is not None and not gate.done():
                gate.set_result(True)
                return
        carrier = self._new_carrier()
        self.backend.start_task(carrier.run, name="actorsched carrier")
        self.carriers[carrier] = None  # from now on: who closes waits also for one that has yet to begin

    def _new_carrier(self) -> Carrier:
        return Carrier(self)

    # ----------------------------------------------------------------------------------------- timers

    def call_later(
        self, delay: float, action: Callable[..., object], *args: Any, phase: int = ORDINARY
    ) -> TimerEntry:
        """Call after `delay` seconds of the runtime's clock."""
        entry = self._timers.add(self.clock.now() + delay, action, *args, phase=phase)
        if entry.when < self._alarm_when:
            self._set_alarm(entry.when)
        return entry

    def call_for_host(self, delay: float, action: Callable[..., object], *args: Any) -> TimerEntry | Handle:
        """The same, for what is done to a host process if it takes too long.

        Virtual time stands still while a host is at work; so there it is the loop's clock that counts.
        """
        if not self.virtual:
            return self.call_later(delay, action, *args)
        return self.backend.call_at(self.backend.monotonic() + delay, self._unless_closed, action, args)

    def _unless_closed(self, action: Callable[..., object], args: tuple[Any, ...]) -> None:
        if not self.closed:
            action(*args)

    @property
    def timers(self) -> int:
        """How many timers are set."""
        return len(self._timers)

    def _set_alarm(self, when: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if when is None else self.clock.call_at(when, self._ring)
        self._alarm_when = float("inf") if when is None else when

    def _ring(self) -> None:
        self._alarm = None
        self._alarm_when = float("inf")
        now = self.clock.now()
        while (entry := self._timers.due(now)) is not None:
            self._expire(entry)
        if not self.closed:
            self._set_alarm(self._timers.next_when())

    def _expire(self, entry: TimerEntry) -> None:
        try:
            entry.action(*entry.args)
        except Exception as error:
            self.broken(entry.action, entry.args, error)

    # ---------------------------------------------------------------------------------------- threads

    def call_threadsafe(self, function: Callable[..., object], *args: Any) -> None:
        """Call on the runtime's thread, from any thread; calls keep their order.

        Raises:
            RuntimeError: The runtime's event loop is closed.
        """
        self._thread_calls.append((function, args))
        if not self._thread_called:  # two threads may both find it unset: a second wake-up is harmless
            self._thread_called = True
            try:
                self.backend.call_soon_threadsafe(self._run_thread_calls)
            except RuntimeError:
                self._thread_called = False  # whoever calls next has to hear of it too
                raise

    def _run_thread_calls(self) -> None:
        self._thread_called = False  # before taking the calls, so that none that comes now is overlooked
        calls = self._thread_calls
        limit = self.monotonic() + _SECONDS_PER_TURN
        while calls:
            function, args = calls.popleft()
            try:
                function(*args)
            except Exception as error:
                self.broken(function, args, error)
            if self.monotonic() > limit:  # threads may be quicker than the loop
                if calls and not self._thread_called:
                    self._thread_called = True
                    self.backend.call_soon(self._run_thread_calls)
                return

    def check_thread(self, what: str) -> None:
        """Refuse what only the runtime's thread may do.

        Raises:
            RuntimeError: This is another one.
        """
        if get_ident() != self.thread:
            raise RuntimeError(
                f"{what} from another thread than the one whose event loop the Runtime runs in: there, "
                "only `ref.tell(...)` is allowed; have the runtime's own loop do everything else, for "
                "example with asyncio.run_coroutine_threadsafe(coroutine, loop)"
            )

    # ---------------------------------------------------------------------------------------- waiting

    def future(self) -> Future:
        """A future of the backend, for one waiting task."""
        return self.backend.create_future()

    async def sleep(self, seconds: float) -> None:
        """Wait on the runtime's clock."""
        future = self.future()
        timer = self.call_later(seconds, self.reply, future, None)
        try:
            await future
        finally:
            timer.cancel()

    @contextmanager
    def shield(self) -> Generator[None]:
        """Let nobody's cancellation cut the wait within short: what is waited for is bound to happen.

        Unless the system itself has failed. Then it may be over, with nothing having happened, so look.
        """
        with CancelScope(shield=True) as scope:
            self.shields.add(scope)
            if self.collapsed:
                scope.cancel()
            try:
                yield
            finally:
                self.shields.discard(scope)

    async def aclose(self) -> None:
        """No more timers, no more parked carriers. Carriers that stay with user code are cancelled."""
        self.closed = True
        while self._thread_calls:  # the loop may never come to them
            self._run_thread_calls()
        self._set_alarm(None)
        idle, self.idle = self.idle, []
        for carrier in idle:
            if carrier.gate is not None and not carrier.gate.done():
                carrier.gate.set_result(False)
        for carrier in list(self.carriers):
            if carrier.subject is not None:
                carrier.interrupt()
        limit = self.backend.monotonic() + _FAREWELL
        while self.carriers and not (self.collapsed and self.backend.monotonic() > limit):
            await self.backend.breathe()

"""The Worker actor of a host process: runs functions one at a time, in a process of its own.

A host is sent nothing before it says that it is ready, so what waits for that can be taken back at once. Then
it is handed tasks ahead of their turn, as many as it gets done in a moment, so that it never waits for the
next; a task that turns out to be long gets those behind it taken back and given to others. The host says so
itself; one that is busy in C and says nothing is noticed by its silence. Which tasks had begun is known
exactly, also when a host is silent or has died: the others are ready again at once.

`Preempt` suspends the process of the host, by the operating system, wherever its code is; what it has not
begun goes elsewhere. `Resume`, or an `Interrupt`, lets it go on.

`Interrupt` asks the function to stop, at its next checkpoint or await. One that has not stopped when the
grace period is over loses its host; one that had not begun is taken back instead.
"""

from __future__ import annotations

import logging
from itertools import count
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles, quickly_written
from actorsched._hosting import wire
from actorsched._hosting.failures import unpack_error
from actorsched._hosting.transfer import loads
from actorsched._hosting.variables import contextvars_out
from actorsched._system.pools import Place
from actorsched._system.reserving import Ration
from actorsched._system.stillness import Stillness, of_process
from actorsched.messages import (
    Finished,
    GraceOver,
    Idle,
    Interrupt,
    Preempt,
    Preempted,
    PriorityChanged,
    Report,
    Resume,
    Unbegun,
    Underway,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Timer
    from actorsched._hosting.definitions import Definition, Definitions
    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.link import HostLink
    from actorsched._hosting.wire import Payload
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.host_pool import HostPool
    from actorsched._system.host_requests import Desk
    from actorsched._system.task import TaskActor
    from actorsched.exceptions import HostDied

GRACE = 1.0
"""Seconds that a function in a host has to stop before its host is killed."""
_AHEAD = 0.002
"""Seconds of work that a host may have in advance."""
_LOOK = 0.02
"""Seconds between two looks at a host that has tasks in advance."""
_SILENCES = 3
"""When it has said nothing at so many looks in a row, what it has not begun is given to others. It takes more
than one, because the loop may have been too busy to hear anything."""
_MOST_AHEAD = 128
"""Tasks that a host may have in advance, at most."""

Packed = tuple["Definition", "Payload"]
"""A function and its arguments, as they travel."""

_UNDERWAY = Underway()
_RETURNED = Finished(None)
"""What most functions that are run for their effects end with."""

_run_numbers = count(1)


class LookUp(msgspec.Struct, frozen=True):
    """To itself: the host may have been silent for too long."""


_LOOK_UP = LookUp()


class HostRun(msgspec.Struct, eq=False):
    """One attempt of a task in a host; in the parent, what requests from the host are made in the name of."""

    may_wait: ClassVar[bool] = True

    owner: TaskActor
    attempt: int
    worker: HostWorker
    packed: Packed | None = None
    """Function and arguments, while the host is not ready for them."""
    grace: Timer | None = None
    used: wire.Measured | None = None
    """What its function has used, if that was to be measured."""

    @property
    def kernel(self) -> Kernel:
        """The kernel of its runtime."""
        return self.worker.kernel


@quickly_written
class HostWorker(Behaviour, kw_only=True):
    """The worker of one task host."""

    kernel: Kernel
    scheduler: Behaviour
    definitions: Definitions
    desk: Desk
    pool: HostPool
    """Its supervisor."""
    start_by: float
    """When its host is to be ready."""
    link: HostLink | None = None
    runs: dict[int, HostRun] = {}
    """What the host has, in order; the first may be running."""
    window: int = 1
    pace: float = _AHEAD
    """How long the latest tasks took, in seconds, averaged."""
    lookup: Timer | None = None
    """When to look whether the host is silent."""
    silences: int = 0
    """How often it had said nothing between two looks."""
    revokes: int = 0
    """How many revocations it has not answered."""
    held: bool = False
    """Whether it is kept from beginning tasks until it has answered them."""
    repaced: bool = False
    """Whether the window is to be computed anew."""
    suspended: bool = False
    """Whether its host was stopped by the operating system, so that a more urgent task can run elsewhere."""
    called_back: bool = False
    """Whether it is suspended, but was allowed to go on: it will in a moment."""
    leaving: int = 0
    """The number of the run that is to make room: the host is suspended as soon as may be. 0 for none."""
    stillness: Stillness | None = None
    """How to see whether the host does anything, once somebody has asked."""
    ration: Ration | None = None
    """The memory that the latest task with a limit may take."""
    retiring: bool = False
    """Whether it takes no more tasks, and ends when it has nothing left."""
    left: int = 0
    """How many more tasks it is given before it is replaced; 0 or less for any number."""
    idle_since: float = inf
    """Since when it has had nothing to do, by the loop's clock."""
    stands_in: bool = False
    """Whether it was started in the place of one that is kept waiting."""
    why_there: str = ""
    """Why its host was started."""
    why_over: str = "the runtime closes"
    """Why its host is told to end, once it is."""
    heard: float = inf
    """When what runs in the host began, or was known not to have begun yet, by `time.monotonic`."""

    def __repr__(self) -> str:
        return f"<host worker with {self.link!r}, {len(self.runs)} tasks>"

    @property
    def lends(self) -> bool:
        """Whether what runs in its host waits for others, and has lent its slot."""
        for run in self.runs.values():  # the first is the one that runs
            return run.owner.waits is not None and run.owner.waits.lent
        return False

    @property
    def takes_more(self) -> bool:
        """Whether it may have one more task in advance."""
        if len(self.runs) >= self.window or self.leaving or self.retiring or self.suspended:
            return False
        return not self.lends

    @property
    def busy(self) -> bool:
        """Whether it counts among the hosts that run."""
        return bool(self.runs) and (self.called_back or not (self.suspended or self.lends))

    @property
    def ready(self) -> bool:
        """Whether its host has started."""
        return self.link is not None and self.link.ready

    @property
    def kept_waiting(self) -> bool:
        """Whether its host cannot go on by itself, so that another may run in its place."""
        return self.suspended or self.lends

    @property
    def stays(self) -> bool:
        """Whether it is there for whoever comes next: not about to end, and not kept waiting."""
        return not (self.retiring or self.kept_waiting)

    @property
    def is_reserved(self) -> bool:
        """Whether what it runs has processors or memory for itself."""
        for run in self.runs.values():
            return run.owner.special is not None and run.owner.special.reservation is not None
        return False

    @property
    def is_free(self) -> bool:
        """Whether it has nothing to do, and could take a task."""
        return not (self.runs or self.retiring)

    @property
    def is_over(self) -> bool:
        """Whether it is about to end: it has nothing left to do, and takes nothing."""
        return self.retiring and not self.runs

    @property
    def kept(self) -> bool:
        """Whether its function can take no step until it is resumed."""
        return self.suspended

    @property
    def stalled(self) -> bool:
        """Whether its host has been waiting for something for some time."""
        link = self.link
        if not self.ready or link is None or self.suspended or link.last_started < next(iter(self.runs), 0):
            return False  # or it has not begun yet
        if self.stillness is None:
            self.stillness = of_process(link.pid)
        return self.stillness.seen()

    @property
    def at_work(self) -> bool:
        """Whether a task runs there, or is about to, and does not wait for us."""
        for number in self.runs:  # the first is the one that runs
            return not self.suspended and not self.desk.awaited_by(number)
        return False

    @property
    def late(self) -> bool:
        """Whether its host should have been ready by now."""
        return self.kernel.backend.monotonic() >= self.start_by

    # --------------------------------------------------------------------------- from the scheduler

    def assign(self, task: TaskActor, out: Outbox) -> None:
        """Run a task: send it to the host at once, or when that is ready."""
        link = self.link
        assert link is not None
        if task.owner.gates and link.ready and task.turned_away(self, out):
            return None
        packed = task.packed
        if packed is None:
            try:
                packed = pack(task, self.definitions)
            except Exception as error:
                task.begun_by(self, out)
                return out.send((self.scheduler, Idle(self, task, Finished(error=error))))
        number = next(_run_numbers)
        run = self.runs[number] = HostRun(task, task.attempt + 1, self)
        self.left -= 1
        if not self.left:
            self.retiring, self.why_over = True, "it was given as many tasks as Hosts(max_tasks=) allows"
        if link.ready:
            self._send(number, run, packed)
        else:
            run.packed = packed
        if len(self.runs) == 1:
            self.heard = monotonic()
        elif self.lookup is None:
            self.lookup = self._later(_LOOK, _LOOK_UP)
        task.begun_by(self, out)
        if link.ready and task.options.timeout is not None and task.stopping is None:
            out.send((task, _UNDERWAY))
        return None

    def _send(self, number: int, run: HostRun, packed: Packed) -> None:
        link, task = self.link, run.owner
        assert link is not None
        variables = task.context
        context = contextvars_out(variables) if variables else b""
        definition, arguments = packed
        time = None if task.due == inf else self._time(task)
        frame = wire.Run if task.special is None or task.special.placed is None else wire.RunMeasured
        limits = None if task.special is None else self._limits(task, number)
        link.run(
            definition,
            frame(number, definition.fn_id, arguments, context, run.attempt, task.name, time, limits),
        )

    def _limits(self, task: TaskActor, number: int) -> wire.Limits | None:
        """What a task may use of the host, and nothing waits behind it there; None if it has no limits."""
        hold = self.pool.staff.reserved.hold_of(task)
        if hold is None:
            return None
        self.window, self.repaced = 1, False
        if hold.reservation.memory:
            assert task.options.memory_mb is not None
            self.ration = Ration(number, task.options.memory_mb)
        return wire.Limits(hold.reservation.memory, hold.cpus)

    def _time(self, task: TaskActor) -> tuple[float, float, bool]:
        """What the host has to know about time. All processes of a computer have the same `monotonic`."""
        now = self.kernel.now
        return task.due, now if self.kernel.virtual else now - monotonic(), self.kernel.virtual

    @handles(Preempt)
    def _preempt(self, message: Preempt, out: Outbox) -> None:
        number = self._number_of(message.task)
        if not number:
            return
        if self.runs[number].packed is not None:
            return self._give_back(number, self.runs[number])
        self._take_back(again=self._is_quick)
        if number in self.runs:
            self.leaving, self.window = number, 1
            if len(self.runs) > 1:  # they have ended; without shared memory, some may not have begun
                self._revoke(list(self.runs))
            self.make_room()

    def make_room(self) -> None:
        """Suspend the host for the sake of somebody else, if that is wanted, and when it may be.

        The results of those before in the host are awaited, because it could not send them meanwhile. When as
        many hosts are suspended as may be, it is tried again as soon as one of them is not.
        """
        if self.leaving not in self.runs:
            self.leaving = 0
        elif len(self.runs) == 1 and not self.suspended and self.pool.may_suspend():
            assert self.link is not None
            self.suspended = True
            self.link.suspend()
            task = self.runs[self.leaving].owner
            self.kernel.send((task, Preempted(task)))

    @handles(Resume)
    def _resume(self, message: Resume, out: Outbox) -> None:
        run, self.called_back = self.runs.get(self.leaving), False
        if run is not None and run.owner.place not in (Place.LEAVING, Place.QUEUED):
            self.go_on()

    def go_on(self) -> None:
        """The host goes on where it was suspended, or is not to be suspended any more."""
        self.leaving, self.called_back = 0, False
        if self.suspended:
            self.suspended = False
            assert self.link is not None
            self.link.resume()
            self.pool.one_less_suspended()

    @handles(Interrupt)
    def _interrupt(self, message: Interrupt, out: Outbox) -> None:
        number = self._number_of(message.task)
        if not number:
            return
        if number == self.leaving:
            self.go_on()
        run = self.runs[number]
        if run.packed is not None:
            return self._give_back(number, run)
        assert self.link is not None
        self.link.send(wire.Cancel(number, getattr(message.reason, "reason", None)))
        if run.grace is None:
            run.grace = self._later(GRACE, GraceOver(run.owner))

    @handles(GraceOver)
    def _grace_over(self, message: GraceOver, out: Outbox) -> None:
        if self._number_of(message.task):
            self._take_back()
        if self._number_of(message.task):
            self.retiring = True
            assert self.link is not None
            self.link.kill()

    def _later(self, delay: float, message: object) -> Timer:
        return self.kernel.call_for_host(delay, self.kernel.post, self, message)

    def _number_of(self, task: Behaviour) -> int:
        """The number of the run of a task; 0 if it is not here."""
        return next((number for number, run in self.runs.items() if run.owner is task), 0)

    @handles(LookUp)
    def _look_up(self, message: LookUp, out: Outbox) -> None:
        self.lookup = None
        if len(self.runs) < 2:
            return
        self.silences += 1
        if self.silences < _SILENCES:
            self.lookup = self._later(_LOOK, _LOOK_UP)
        else:
            self._take_back()

    def lets_in(self, task: TaskActor) -> bool:
        """Whether it may be given a task ahead, though it has others already.

        Those over which this one has precedence, and which have not begun, are taken back. Then it is the
        next, unless what runs takes long: then there is no room here for anybody so urgent.
        """
        last = next(reversed(self.runs.values())).owner  # nobody is less urgent than whoever came last
        if task.rank <= last.rank and task.due >= last.due:
            return True
        precedes = task.pool.precedes
        if not precedes(task, last):
            return True
        quick = self._is_quick
        self._take_back(lambda other: precedes(task, other), again=quick)
        lower = [number for number, run in self.runs.items() if precedes(task, run.owner)]
        if len(lower) > 1:  # they have ended; without shared memory, some may not have begun
            self._revoke(lower)
        return quick or not lower

    @property
    def _is_quick(self) -> bool:
        """Whether what runs in the host will be over in a moment, as far as can be known."""
        return self.pace <= _AHEAD / 2 and monotonic() - self.heard < 2 * _AHEAD

    @handles(PriorityChanged)
    def _priority_changed(self, message: PriorityChanged, out: Outbox) -> None:
        """If that task has not begun, it may be in the wrong place: the scheduler chooses anew."""
        if len(self.runs) > 1:
            assert self.link is not None
            if self._number_of(message.task) > self.link.last_started:
                self._take_back(again=self._is_quick)

    def _take_back(self, which: Callable[[TaskActor], bool] | None = None, *, again: bool = False) -> None:
        """Take back what the host has not begun, though it may be busy in C, and hear nothing.

        Args:
            which: Says of which tasks; None for all.
            again: Whether it may be given more ahead before it has ended something.
        """
        link = self.link
        assert link is not None
        if not again:
            self.window, self.repaced = 1, False
        if link.last_started >= max(self.runs):
            return
        last, self.held = link.hold(), True
        waiting = [
            number
            for number, run in self.runs.items()
            if number > last and (which is None or which(run.owner))
        ]
        self._revoke(waiting)
        for number in reversed(waiting):
            self._give_back(number, self.runs[number])

    def _revoke(self, numbers: list[int]) -> None:
        assert self.link is not None
        self.revokes += 1
        self.link.send(wire.Revoke(numbers))

    def became_idle(self) -> None:
        """It has nothing left to do."""
        if self.retiring:
            self._end_if_over()
        else:
            self.pool.became_idle(self)

    def retire(self, why: str) -> None:
        """Take no more tasks; give back what the host has not begun, and end it when the rest is over."""
        if self.retiring:
            return
        self.retiring, self.why_over = True, why
        if len(self.runs) > 1:
            self._take_back()
        self._end_if_over()

    def recycle(self, why: str) -> None:
        """Have another host take over, and end this one when what runs in it is over."""
        if not self.retiring:
            logging.getLogger("actorsched.host").info("%s is replaced: it %s", self.link, why)
        self.retire(f"it {why}")

    def _end_if_over(self) -> None:
        if self.retiring and not self.runs and self.link is not None:
            self.link.stop()

    # ------------------------------------------------------------------------------- from the host

    def frame(self, frame: wire.FromHost) -> None:
        """The host has said something."""
        if type(frame) is not wire.Done:
            return _FRAMES[type(frame)](self, frame)
        run = self.runs.pop(frame.task_id, None)
        if run is None:
            return None
        self.pace += (frame.took - self.pace) / 8
        self.repaced = True
        if run.used is not None:
            _note(run, frame.took, returned=True)
        if run.grace is not None:
            self._clear_grace(run)
        task = run.owner
        finished = _RETURNED if frame.value == b"" else _returned(frame.value, task)
        self.kernel.send((self.scheduler, Idle(self, task, finished)))
        return None

    def frames_over(self) -> None:
        """That was all for the moment: now see what follows from it."""
        if self.leaving:
            if self.runs:
                self.make_room()
            else:  # it had ended before it was suspended
                self.go_on()
        if self.repaced:
            self.repaced, self.heard = False, monotonic()
            self.window = max(1, min(_MOST_AHEAD, int(_AHEAD / (self.pace + 1e-5))))
        self.silences = 0
        if self.lookup is not None and len(self.runs) < 2:
            self.lookup.cancel()
            self.lookup = None
        self.kernel.drain()

    def _hello(self, frame: wire.Hello) -> None:
        """What it was given while it started begins now."""
        self.pool.staff.told_spawned(self, self.pool.name, self.why_there)
        self.heard = monotonic()
        for number, run in list(self.runs.items()):
            if run.owner.turned_away(self, self.kernel):
                del self.runs[number]
                continue
            packed, run.packed = run.packed, None
            assert packed is not None
            self._send(number, run, packed)
            self.kernel.send((run.owner, _UNDERWAY))

    def _started(self, frame: wire.Started) -> None:
        """A long task: what was to come after it goes elsewhere."""
        self.window, self.repaced = 1, False
        waiting = [number for number in self.runs if number != frame.task_id]
        if waiting:
            self._revoke(waiting)

    def _revoked(self, frame: wire.Revoked) -> None:
        self.revokes -= 1
        if self.held and not self.revokes:
            self.held = False
            assert self.link is not None
            self.link.let_go()
        for number in reversed(frame.task_ids):
            run = self.runs.get(number)
            if run is not None:
                self._give_back(number, run)

    def _give_back(self, number: int, run: HostRun) -> None:
        """The host will never begin it. Of several the last comes first: each goes before its equals."""
        self.runs.pop(number, None)
        self.left += 1
        self._clear_grace(run)
        self.kernel.send((self.scheduler, Unbegun(self, run.owner)))

    def _failed(self, frame: wire.Failed) -> None:
        run = self.runs.pop(frame.task_id, None)
        if run is not None:
            self.pace += (frame.took - self.pace) / 8
            self.repaced = True
            if run.used is not None and not frame.interrupted:
                _note(run, frame.took, returned=False)
            error = unpack_error(frame.error, f"the error of task {run.owner.name!r}")
            self._clear_grace(run)
            finished = Finished(error=error, stopped=frame.interrupted)
            self.kernel.send((self.scheduler, Idle(self, run.owner, finished)))

    def _measured(self, frame: wire.Measured) -> None:
        run = self.runs.get(frame.task_id)
        if run is not None:
            run.used = frame

    def _exhausted(self, frame: wire.Exhausted) -> None:
        """Its task has run out of memory, and it ends now."""
        run = self.runs.get(frame.task_id)
        if run is not None and self.ration is not None:
            self.ration.error = unpack_error(frame.error, f"the error of task {run.owner.name!r}")

    def over_memory(self, rss: int) -> None:
        """So many bytes are resident of its host: end it if its task has taken more than it may."""
        ration, link = self.ration, self.link
        if ration is not None and link is not None and ration.number in self.runs:
            why = ration.exceeded(rss, link.weight)
            if why is not None:
                link.kill_for("out of memory", why)

    def _progress(self, frame: wire.Progress) -> None:
        run = self.runs.get(frame.task_id)
        if run is not None:
            self.kernel.send((run.owner, Report(frame.fraction, frame.message or None)))

    def _log(self, frame: wire.Log) -> None:
        from actorsched._hosting.logs import pass_on

        assert self.link is not None
        run = self.runs.get(frame.origin)
        name, attempt = (None, 0) if run is None else (run.owner.name, run.attempt)
        pass_on(frame, self.link.pid, self.link.name, name, attempt)

    def _request(self, frame: wire.Request) -> None:
        self.desk.asked(frame, self.runs.get(frame.origin))

    def _cancel_request(self, frame: wire.CancelRequest) -> None:
        self.desk.withdrawn(frame)

    def _told(self, frame: wire.Told) -> None:
        self.desk.told(frame, self.runs.get(frame.origin))

    def _clear_grace(self, run: HostRun) -> None:
        if run.grace is not None:
            run.grace.cancel()
            run.grace = None

    # --------------------------------------------------------------------------------- its end

    def exited(self, end: HostExit) -> None:
        """The host has ended. Those that it had not begun are ready again; the others were lost with it."""
        self.retiring = True
        was_suspended, self.suspended, self.leaving = self.suspended, False, 0
        self.called_back = False
        if self.lookup is not None:
            self.lookup.cancel()
        runs, self.runs = self.runs, {}
        self.desk.gone()
        elsewhere = self.pool.worker_gone(self, end)
        if was_suspended:
            self.pool.one_less_suspended()
        for number, run in reversed(runs.items()):
            self._clear_grace(run)
            if number > end.last_started and elsewhere:
                self.kernel.send((self.scheduler, Unbegun(self, run.owner)))
            else:
                self.kernel.send((self.scheduler, Idle(self, run.owner)))
                error = self._error_of(number, run.owner, end)
                stopped = run.owner.stopping is not None
                self.kernel.send((run.owner, Finished(error=error, stopped=stopped, crashed=True)))
        self.kernel.drain()

    def _error_of(self, number: int, task: TaskActor, end: HostExit) -> HostDied:
        """The error of a task that was lost with the host."""
        crashes = task.options.retry.crashes
        remedy = f"Retry(crashes={crashes + 1}) would run it again" + (" once more" if crashes else "")
        ration = self.ration
        if ration is None or ration.number != number:
            return end.error(f"task {task.name!r}", remedy)
        error = end.of_limited(ration.memory_mb).error(f"task {task.name!r}", remedy)
        error.__cause__ = ration.error
        return error


_FRAMES: dict[type, Callable[[HostWorker, Any], None]] = {
    wire.Hello: HostWorker._hello,
    wire.Started: HostWorker._started,
    wire.Revoked: HostWorker._revoked,
    wire.Failed: HostWorker._failed,
    wire.Exhausted: HostWorker._exhausted,
    wire.Measured: HostWorker._measured,
    wire.Progress: HostWorker._progress,
    wire.Log: HostWorker._log,
    wire.Request: HostWorker._request,
    wire.CancelRequest: HostWorker._cancel_request,
    wire.Told: HostWorker._told,
}


def _note(run: HostRun, took: float, *, returned: bool) -> None:
    """A run was measured."""
    placed, used = run.owner.placed, run.used
    if placed is not None and used is not None:
        placed.crossed(used.cpu, used.wall, used.queued, took, returned=returned)


def pack(task: TaskActor, definitions: Definitions) -> Packed:
    """Function and arguments as they travel.

    Raises:
        NotTransferable: Something cannot cross; it says what, and where in it.
    """
    assert task.function is not None
    args, kwargs = task.arguments() if task.injected else (task.args, task.kwargs)
    if not args and not kwargs:
        definition = definitions.known(task.function)
        if definition is not None:
            return definition, b""
    return definitions.call(task.function, tuple(args), kwargs, f"task {task.name!r}")


def _returned(value: Payload, task: TaskActor) -> Finished:
    try:
        return Finished(loads(value, f"the result of task {task.name!r}"))
    except BaseException as error:  # be it a Ctrl-C in this very moment: somebody waits for the answer
        return Finished(error=error)

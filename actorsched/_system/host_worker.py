"""The Worker actor of a host process: runs functions one at a time, in a process of its own.

A host is sent nothing before it says that it is ready, so what waits for that can be taken back at once. Then
it is handed tasks ahead of their turn, as many as it gets done in a moment, so that it never waits for the
next; a task that turns out to be long gets those behind it taken back and given to others. Which tasks had
begun when a host dies is known exactly: the others are ready again at once.

`Interrupt` asks the function to stop, at its next checkpoint or await. One that has not stopped when the
grace period is over loses its host.
"""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._hosting import wire
from actorsched._hosting.failures import unpack_error
from actorsched._hosting.transfer import loads
from actorsched._hosting.variables import contextvars_out
from actorsched.messages import (
    Assign,
    Finished,
    GivenBack,
    GraceOver,
    Idle,
    Interrupt,
    Report,
    Started,
    Underway,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Timer
    from actorsched._hosting.definitions import Definitions
    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.link import HostLink
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.host_requests import Desk
    from actorsched._system.task import TaskActor

GRACE = 1.0
"""Seconds that a function in a host has to stop before its host is killed."""
_AHEAD = 0.002
"""Seconds of work that a host may have in advance."""
_MOST_AHEAD = 64
"""Tasks that a host may have in advance, at most."""

_UNDERWAY = Underway()

_run_numbers = count(1)


class HostRun(msgspec.Struct, eq=False):
    """One attempt of a task in a host; in the parent, what requests from the host are made in the name of."""

    may_wait: ClassVar[bool] = True

    owner: TaskActor
    attempt: int
    worker: HostWorker
    packed: Any = None
    """Function and arguments, until they are sent."""
    grace: Timer | None = None

    @property
    def kernel(self) -> Kernel:
        """The kernel of its runtime."""
        return self.worker.kernel


class HostWorker(Behaviour, kw_only=True):
    """The worker of one task host."""

    kernel: Kernel
    scheduler: Behaviour
    definitions: Definitions
    desk: Desk
    on_gone: Callable[[HostWorker, HostExit], bool]
    """Told that the host has ended; answers whether tasks that it had not begun are to be tried elsewhere."""
    start_by: float
    """When its host is to be ready."""
    link: HostLink | None = None
    runs: dict[int, HostRun] = {}
    """What the host has, in order; the first may be running."""
    window: int = 1
    pace: float = _AHEAD
    """How long the latest tasks took, in seconds, averaged."""
    revoking: bool = False
    retiring: bool = False

    def __repr__(self) -> str:
        return f"<host worker with {self.link!r}, {len(self.runs)} tasks>"

    @property
    def lends(self) -> bool:
        """Whether what runs in its host waits for others, and has lent its slot."""
        for run in self.runs.values():  # the first is the one that runs
            return run.owner.waits is not None and run.owner.waits.lent
        return False

    @property
    def late(self) -> bool:
        """Whether its host should have been ready by now."""
        return self.kernel.backend.monotonic() >= self.start_by

    # --------------------------------------------------------------------------- from the scheduler

    @handles(Assign)
    def _assign(self, message: Assign, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        link = self.link
        assert link is not None
        assert task.context is not None
        try:
            definition, arguments = task.packed or pack(task, self.definitions)
        except Exception as error:
            out.send((task, Started(self)))
            out.send((task, Finished(error=error)))
            return out.send((self.scheduler, Idle(self, task)))
        number = next(_run_numbers)
        run = self.runs[number] = HostRun(task, task.attempt + 1, self, (definition, arguments))
        out.send((task, Started(self, begun=link.ready)))
        if link.ready:
            self._send(number, run)

    def _send(self, number: int, run: HostRun) -> None:
        link, task = self.link, run.owner
        assert link is not None
        assert task.context is not None
        (definition, arguments), run.packed = run.packed, None
        context = contextvars_out(task.context)
        link.send(wire.Run(number, link.define(definition), arguments, context, run.attempt, task.name))

    @handles(Interrupt)
    def _interrupt(self, message: Interrupt, out: Outbox) -> None:
        for number, run in self.runs.items():
            if run.owner is message.task:
                if run.packed is not None:
                    return self._give_back(number, run)
                assert self.link is not None
                self.link.send(wire.Cancel(number, getattr(message.reason, "reason", None)))
                if run.grace is None:
                    run.grace = out.later(GRACE, self, GraceOver(run.owner))
                return

    @handles(GraceOver)
    def _grace_over(self, message: GraceOver, out: Outbox) -> None:
        if any(run.owner is message.task for run in self.runs.values()):
            self.retire()
            assert self.link is not None
            self.link.kill()

    def retire(self) -> None:
        """Take no more tasks."""
        self.retiring = True

    # ------------------------------------------------------------------------------- from the host

    def frame(self, frame: wire.FromHost) -> None:
        """The host has said something."""
        _FRAMES[type(frame)](self, frame)

    def _hello(self, frame: wire.Hello) -> None:
        """What it was given while it started begins now."""
        for number, run in self.runs.items():
            self._send(number, run)
            self.kernel.send((run.owner, _UNDERWAY))

    def _started(self, frame: wire.Started) -> None:
        """A long task: what was to come after it goes elsewhere."""
        self.window = 1
        waiting = [number for number in self.runs if number != frame.task_id]
        if waiting:
            assert self.link is not None
            self.link.send(wire.Revoke(waiting))

    def _revoked(self, frame: wire.Revoked) -> None:
        for number in frame.task_ids:
            run = self.runs.get(number)
            if run is not None:
                self._give_back(number, run)

    def _give_back(self, number: int, run: HostRun) -> None:
        """The host will never begin it."""
        self.runs.pop(number, None)
        self._clear_grace(run)
        self.kernel.send((self.scheduler, Idle(self, run.owner)))
        self.kernel.send((run.owner, GivenBack()))

    def _done(self, frame: wire.Done) -> None:
        run = self.runs.pop(frame.task_id, None)
        if run is None:
            return
        self._note_pace(frame.took)
        value = frame.value
        if value == b"":
            return self._over(run, Finished(None))
        try:
            finished = Finished(loads(value, f"the result of task {run.owner.name!r}"))
        except Exception as error:
            finished = Finished(error=error)
        self._over(run, finished)

    def _failed(self, frame: wire.Failed) -> None:
        run = self.runs.pop(frame.task_id, None)
        if run is not None:
            self._note_pace(frame.took)
            error = unpack_error(frame.error, f"the error of task {run.owner.name!r}")
            self._over(run, Finished(error=error, stopped=frame.interrupted))

    def _progress(self, frame: wire.Progress) -> None:
        run = self.runs.get(frame.task_id)
        if run is not None:
            self.kernel.send((run.owner, Report(frame.fraction, frame.message or None)))

    def _log(self, frame: wire.Log) -> None:
        from actorsched._hosting.logs import record_of

        assert self.link is not None
        logger = logging.getLogger(frame.logger)
        if not logger.isEnabledFor(frame.level):
            return
        record = record_of(frame, self.link.pid, self.link.name)
        run = self.runs.get(frame.origin)
        if run is not None:
            record.task, record.attempt = run.owner.name, run.attempt
        logger.handle(record)

    def _request(self, frame: wire.Request) -> None:
        self.desk.asked(frame, self.runs.get(frame.origin))

    def _cancel_request(self, frame: wire.CancelRequest) -> None:
        self.desk.withdrawn(frame)

    def _told(self, frame: wire.Told) -> None:
        self.desk.told(frame, self.runs.get(frame.origin))

    def _note_pace(self, took: float) -> None:
        self.pace += (took - self.pace) / 8
        self.window = max(1, min(_MOST_AHEAD, int(_AHEAD / (self.pace + 1e-5))))

    def _over(self, run: HostRun, finished: Finished) -> None:
        self._clear_grace(run)
        self.kernel.send((run.owner, finished))
        self.kernel.send((self.scheduler, Idle(self, run.owner)))

    def _clear_grace(self, run: HostRun) -> None:
        if run.grace is not None:
            run.grace.cancel()
            run.grace = None

    # --------------------------------------------------------------------------------- its end

    def exited(self, end: HostExit) -> None:
        """The host has ended. Those that it had not begun are ready again; the others were lost with it."""
        self.retire()
        runs, self.runs = self.runs, {}
        self.desk.gone()
        elsewhere = self.on_gone(self, end)
        for number, run in runs.items():
            self._clear_grace(run)
            self.kernel.send((self.scheduler, Idle(self, run.owner)))
            if number > end.last_started and elsewhere:
                self.kernel.send((run.owner, GivenBack()))
            else:
                error = end.error(f"task {run.owner.name!r}")
                stopped = run.owner.stopping is not None
                self.kernel.send((run.owner, Finished(error=error, stopped=stopped, crashed=True)))
        self.kernel.drain()


_FRAMES: dict[type, Callable[[HostWorker, Any], None]] = {
    wire.Hello: HostWorker._hello,
    wire.Started: HostWorker._started,
    wire.Revoked: HostWorker._revoked,
    wire.Done: HostWorker._done,
    wire.Failed: HostWorker._failed,
    wire.Progress: HostWorker._progress,
    wire.Log: HostWorker._log,
    wire.Request: HostWorker._request,
    wire.CancelRequest: HostWorker._cancel_request,
    wire.Told: HostWorker._told,
}


def pack(task: TaskActor, definitions: Definitions) -> tuple[Any, Any]:
    """Function and arguments as they travel.

    Raises:
        NotTransferable: Something cannot cross; it says what, and where in it.
    """
    assert task.function is not None
    args, kwargs = task.arguments()
    return definitions.call(task.function, args, kwargs, f"task {task.name!r}")

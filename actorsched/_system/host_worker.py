"""The Worker actor of a host process: runs functions one at a time, in a process of its own.

A host is sent nothing before it says that it is ready, so what waits for that can be taken back at once. Then
it is sent each task as soon as it is given it. This page is about that, and about what the host says; the
others are named in `host_state`.
"""

from __future__ import annotations

from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import Outbox, quickly_written
from actorsched._hosting import wire
from actorsched._hosting.failures import unpack_error
from actorsched._hosting.variables import contextvars_out
from actorsched._system.host_end import HostEnd
from actorsched._system.host_run import HostRun, pack, returned
from actorsched._system.reserving import Ration
from actorsched.messages import Finished, Idle, Report, Underway

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._system.host_run import Packed
    from actorsched._system.task import TaskActor

_UNDERWAY = Underway()
_RETURNED = Finished(None)
"""What most functions that are run for their effects end with."""

_run_numbers = count(1)


@quickly_written
class HostWorker(HostEnd, kw_only=True):
    """The worker of one task host."""

    @property
    def lane(self) -> str:
        """What events call it."""
        return "a host" if self.link is None else self.link.name

    # -------------------------------------------------------------------------------------------- to the host

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
            self.pool.told_to_end(self)
        if link.ready:
            self._send(number, run, packed)
        else:
            run.packed = packed
        if len(self.runs) == 1:
            self.heard = self.kernel.monotonic()
        elif self.lookup is None:
            self._watch()
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
        kind = wire.Run if task.special is None or task.special.placed is None else wire.RunMeasured
        limits = None if task.special is None else self._limits(task, number)
        fn, attempt = definition.fn_id, run.attempt
        frame = kind(number, fn, arguments, context, attempt, task.name, time, limits, task.number)
        link.run(definition, frame)

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
        kernel = self.kernel
        stands = kernel.virtual and kernel.world is None
        return task.due, kernel.now if stands else kernel.now - kernel.monotonic(), stands

    # ------------------------------------------------------------------------------------------ from the host

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
            run.note(frame.took, returned=True)
        if run.grace is not None:
            run.clear_grace()
        task = run.owner
        if task.special is not None and task.special.timing is not None:
            task.special.timing.began(frame.began, self.kernel, run.attempt)
        finished = _RETURNED if frame.value == b"" else returned(frame.value, task)
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
            self._pace_known()
        self.silences = 0
        if self.lookup is not None and len(self.runs) < 2:
            self._unwatch()
        self.kernel.drain()

    def _hello(self, frame: wire.Hello) -> None:
        """What it was given while it started begins now."""
        self.pool.staff.tally.begun(self, self.pool.name, self.why_there)
        self.heard = self.kernel.monotonic()
        for number, run in list(self.runs.items()):
            if run.owner.turned_away(self, self.kernel):
                del self.runs[number]
                continue
            packed, run.packed = run.packed, None
            assert packed is not None
            self._send(number, run, packed)
            special = run.owner.special
            if special is not None and special.timing is not None:
                special.timing.corrected(self.kernel.now, run.attempt)
            self.kernel.send((run.owner, _UNDERWAY))

    def _failed(self, frame: wire.Failed) -> None:
        run = self.runs.pop(frame.task_id, None)
        if run is not None:
            self.pace += (frame.took - self.pace) / 8
            self.repaced = True
            if run.used is not None and not frame.interrupted:
                run.note(frame.took, returned=False)
            error = unpack_error(frame.error, f"the error of task {run.owner.name!r}")
            run.clear_grace()
            special = run.owner.special
            if special is not None and special.timing is not None:
                special.timing.began(frame.began, self.kernel, run.attempt)
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

    def _progress(self, frame: wire.Progress) -> None:
        run = self.runs.get(frame.task_id)
        if run is not None:
            self.kernel.send((run.owner, Report(frame.fraction, frame.message or None)))

    def _log(self, frame: wire.Log) -> None:
        from actorsched._hosting.logs import pass_on

        assert self.link is not None
        run = self.runs.get(frame.origin)
        written_by: dict[str, object] = {}
        if run is not None:
            written_by = {"task": run.owner.name, "task_id": run.owner.id, "attempt": run.attempt}
        pass_on(frame, self.link.pid, self.link.name, written_by)

    def _request(self, frame: wire.Request) -> None:
        self.desk.asked(frame, self.runs.get(frame.origin))

    def _cancel_request(self, frame: wire.CancelRequest) -> None:
        self.desk.withdrawn(frame)

    def _told(self, frame: wire.Told) -> None:
        self.desk.told(frame, self.runs.get(frame.origin))


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

"""The host processes of a runtime: started on demand, up to the limit, and ended with it.

It is the `Staff` of the pool of host processes. Hosts of tasks are hired here; hosts of actors are chosen
for an actor when it starts (`_system.actor_host`). Nothing of hosting is imported before the first one is
needed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched.exceptions import HostDied
from actorsched.messages import Finished, Idle, Interrupt, Preempt, Resume

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.timers import TimerEntry
    from actorsched._hosting.definitions import Definitions
    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.link import HostLink
    from actorsched._kernel.backend import Handle
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.host_port import ActorHostPort
    from actorsched._system.host_requests import Desk
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter


_MANY = 1 << 30
_PATIENCE = 0.02
"""Seconds for which tasks wait while those in the hosts wait, before one more host is started."""
_SPARE = 1.0
"""Seconds for which such a host is kept when it is no longer needed."""
_STARTS = 3
"""So many hosts in a row may be killed as they start before tasks fail for that."""


class HostStaff:
    """All host processes of one runtime."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._workers: list[HostWorker] = []
        self._ports: list[ActorHostPort] = []
        self._definitions: Definitions | None = None
        self._pack: Callable[[TaskActor, Definitions], Any] | None = None
        self._failed_starts = 0  # in a row
        self._patience: TimerEntry | None = None
        self._patience_over = False
        self._trimming: TimerEntry | Handle | None = None
        self._number = 0
        self._gone: Any = None

    def __repr__(self) -> str:
        return f"<hosts: {len(self._workers)} for tasks, {len(self._ports)} for actors>"

    @property
    def kernel(self) -> Kernel:
        """The kernel of the runtime."""
        return self._system.kernel

    @property
    def definitions(self) -> Definitions:
        """The functions and classes that hosts know by number."""
        if self._definitions is None:
            from actorsched._hosting.definitions import Definitions

            self._definitions = Definitions()
        return self._definitions

    @property
    def links(self) -> list[HostLink]:
        """The links to all hosts that live."""
        workers = [worker.link for worker in self._workers if worker.link is not None]
        return [*workers, *(port.link for port in self._ports if port.link is not None)]

    @property
    def at_work(self) -> bool:
        """Whether any host has work. One whose code waits for us, or for its next call, has none."""
        return any(worker.at_work for worker in self._workers) or any(port.at_work for port in self._ports)

    # ------------------------------------------------------------------------------------ task hosts

    def pack(self, task: TaskActor) -> Any:
        """Function and arguments of a task as they travel.

        Raises:
            NotTransferable: Something cannot cross; it says what, and where in it.
        """
        if self._pack is None:
            self._start_early()
            from actorsched._system.host_worker import pack

            self._pack = pack
        return self._pack(task, self._definitions or self.definitions)

    def _start_early(self) -> None:
        """Start the first host before all that its first task takes: imports, perhaps cloudpickle.

        One that is not needed after all, because the task cannot travel, waits for others.
        """
        if not self._workers:
            try:
                self._start_worker()
            except Exception:  # whoever hires one will be told
                return

    def prepare(self) -> None:
        """Start the hosts that are always to be there. One that cannot be started is tried again later."""
        try:
            while len(self._workers) < self._system.hosts.min:
                self._start_worker()
        except Exception as error:
            self.kernel.report(logging.WARNING, "a host process could not be started ahead of time", error)

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have a host worker run a task; False when none has room."""
        worker = self.hire()
        if worker is None:
            return False
        worker.assign(task, out)
        return True

    def hire(self) -> HostWorker | NoHost | None:
        """A host worker with room: an idle one, a new one, or the one with the most room.

        One whose task waits for others does not count: what it waits for may need a host. Most waits are
        over sooner than a host could start, though.
        """
        best: HostWorker | None = None
        idle: HostWorker | None = None
        fewest, busy = _MANY, 0
        for worker in self._workers:
            load = len(worker.runs)
            if worker.retiring or (load and (worker.suspended or worker.lends)):
                continue
            if not load:
                idle = idle or worker
                continue
            busy += 1
            if load < worker.window and load < fewest and not worker.leaving:
                best, fewest = worker, load
        if busy >= self._system.hosts.max:
            return best
        if idle is not None:
            return idle
        present = sum(not worker.suspended for worker in self._workers)
        if present >= self._system.hosts.max and not self._impatient():
            return best
        try:
            return self._start_worker()
        except Exception as error:
            if busy:
                return best
            return NoHost(kernel=self.kernel, scheduler=self._system.scheduler, reason=error)

    def _impatient(self) -> bool:
        """Whether tasks have waited long enough for a host to stand in for one that is kept waiting."""
        if self._patience_over:
            self._patience_over = False
            return True
        if self._patience is None:
            self._patience = self.kernel.call_later(_PATIENCE, self._lose_patience)
        return False

    def _lose_patience(self) -> None:
        self._patience = None
        self._patience_over = True
        self._system.scheduler.look_again(self.kernel)
        self.kernel.drain()
        self._patience_over = False

    def may_go_on(self, task: TaskActor) -> bool:
        """Whether a suspended host may run again: only so many run at once. Who has waited just goes on."""
        worker: Any = task.worker
        return not worker.suspended or sum(other.busy for other in self._workers) < self._system.hosts.max

    def idle(self, worker: Behaviour) -> None:
        """It is found by its room. One that stood in for those that waited is kept for a moment."""
        if self._trimming is None and len(self._workers) > self._system.hosts.max:
            self._trimming = self.kernel.call_for_host(_SPARE, self._trim)

    def _trim(self) -> None:
        """End hosts that are there only because others had to wait."""
        self._trimming = None
        for worker in [worker for worker in self._workers if not worker.runs and not worker.retiring]:
            staying = (not (other.retiring or other.lends or other.suspended) for other in self._workers)
            if sum(staying) <= self._system.hosts.max:
                return
            worker.retire()
            assert worker.link is not None
            worker.link.stop()

    def _start_worker(self) -> HostWorker:
        start_by = self.kernel.backend.monotonic() + self._system.hosts.start_timeout
        # First of all, because the host needs time to start; what is imported here is imported meanwhile.
        link = self._launch("tasks", _unheard, _unheard, _unheard)
        from actorsched._system.host_worker import HostWorker

        worker = HostWorker(
            kernel=self.kernel,
            scheduler=self._system.scheduler,
            definitions=self.definitions,
            desk=self._new_desk(),
            may_suspend=self._may_suspend,
            on_resumed=self._one_less_suspended,
            on_gone=self._worker_gone,
            start_by=start_by,
        )
        worker.link = worker.desk.link = link
        link.hand_over_to(worker.frame, worker.exited, worker.frames_over)
        self._workers.append(worker)
        return worker

    def _may_suspend(self) -> bool:
        """As many hosts may be suspended as may run."""
        return sum(worker.suspended for worker in self._workers) < self._system.hosts.max

    def _one_less_suspended(self) -> None:
        """There may be room for one more."""
        for worker in self._workers:
            worker.make_room()

    def _worker_gone(self, worker: HostWorker, end: HostExit) -> bool:
        """A task host has ended. Answers whether what it had not begun is to be tried in another."""
        self._workers.remove(worker)
        self._note_gone()
        assert worker.link is not None
        if worker.link.ready:
            self._failed_starts = 0
            if not self._system.closing:
                self.prepare()
            return True
        self._failed_starts += 1
        return end.exit_code is None and self._failed_starts <= _STARTS and not worker.late

    def _new_desk(self) -> Desk:
        from actorsched._system.host_requests import Desk

        if not self._system.verbs:
            self._system.learn_refs(self._system)
        return Desk(self._system)

    def _launch(self, kind: Any, on_frame: Any, on_exit: Any, on_read: Any) -> HostLink:
        from actorsched._hosting.launch import launch

        self._number += 1
        return launch(
            self.kernel.backend,
            kind,
            on_frame=on_frame,
            on_exit=on_exit,
            on_read=on_read,
            start_timeout=self._system.hosts.start_timeout,
            name=f"host {self._number}",
        )

    # ----------------------------------------------------------------------------------- actor hosts

    def ref_of(self, waiter: Waiter) -> Any:
        """The ref of a task or actor, as it travels."""
        from actorsched._hosting.transfer import dumps

        return dumps(self._system.ref_of(waiter), f"the ref of {waiter.name!r}")

    def hosted_cell(self, *fields: Any, **named: Any) -> ActorCell:
        """The cell of an actor whose code runs in a host."""
        from actorsched._system.actor_host import HostedCell

        return HostedCell(*fields, staff=self, **named)

    def actor_port(self, cell: ActorCell) -> ActorHostPort:
        """A host for one more actor: the one with the fewest, or a new one while there may be more.

        Raises:
            HostDied: None could be started.
        """
        from actorsched._system.host_port import ActorHostPort

        ports = [port for port in self._ports if not port.retiring]
        best = min(ports, key=len, default=None)
        if best is not None and (not len(best) or len(ports) >= self._system.hosts.max):
            return best
        port = ActorHostPort(self, self._new_desk())
        try:
            port.link = port.desk.link = self._launch("actors", port.frame, port.exited, self.kernel.drain)
        except Exception as error:
            if best is not None:
                return best
            raise no_host(f"actor {cell.name!r} could not start", error) from error
        self._ports.append(port)
        return port

    def port_gone(self, port: ActorHostPort, end: HostExit) -> None:
        """An actor host has ended."""
        self._ports.remove(port)
        if end.cause != "stopped":
            logging.getLogger("actorsched.host").warning("actor host %d %s", end.pid, end.detail)
        self._note_gone()

    # --------------------------------------------------------------------------------------- the end

    async def aclose(self, patience: float) -> None:
        """End every host: in order, and by force when that takes too long."""
        for timer in (self._patience, self._trimming):
            if timer is not None:
                timer.cancel()
        for worker in self._workers:
            worker.go_on()  # a system that has failed leaves some suspended
        for link in self.links:
            link.stop()
        deadline = self.kernel.call_for_host(min(patience, 5.0), self.kill)
        while self._workers or self._ports:
            self._gone = self.kernel.future()
            await self._gone
        deadline.cancel()

    def kill(self) -> None:
        """End every host now."""
        for link in self.links:
            link.kill()

    def forget(self) -> None:
        """Wait for no host any longer: the system has failed, and may not have noticed that they are gone."""
        self._workers.clear()
        self._ports.clear()
        self._note_gone()

    def _note_gone(self) -> None:
        if self._gone is not None:
            self.kernel.reply(self._gone, None)


def _unheard(*said: object) -> None:
    """Nothing is heard of a host before the loop has its turn."""


def no_host(what: str, reason: Exception) -> HostDied:
    """The error of what needs a host when the system would not start one."""
    error = HostDied(
        f"{what}: no host process could be started: {reason}; "
        "free descriptors, processes or memory, then try again",
        cause="never started",
    )
    error.__cause__ = reason
    return error


class NoHost(Behaviour, kw_only=True):
    """Stands in for a host that the system would not start: tasks that get it fail, and say why."""

    kernel: Kernel
    scheduler: Behaviour
    reason: Exception

    def assign(self, task: TaskActor, out: Outbox) -> None:
        """It fails."""
        error = no_host(f"task {task.name!r} could not run", self.reason)
        task.begun_by(self, out)
        out.send((task, Finished(error=error, crashed=True)))
        out.send((self.scheduler, Idle(self, task)))

    @handles(Interrupt, Preempt, Resume)
    def _told(self, message: object, out: Outbox) -> None:
        """It never runs anything."""

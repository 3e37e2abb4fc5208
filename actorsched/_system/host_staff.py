"""The host processes of a runtime: what all of them have in common, and their end.

It is the `Staff` of the tasks in host processes, and says which pool of hosts a task belongs to: finding it
a host is that pool's business (`_system.host_pool`); finding one for an actor that of `_system.actor_hosts`.
Nothing of hosting is imported before the first host is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from actorsched._system.host_pool import HostPool
from actorsched._system.load_monitor import LoadMonitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Behaviour, Outbox
    from actorsched._core.load import LoadSample
    from actorsched._core.reservations import Shortage
    from actorsched._hosting.definitions import Definitions
    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.link import HostLink
    from actorsched._hosting.spawner import Spawner
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.actor_hosts import ActorHosts
    from actorsched._system.host_port import ActorHostPort
    from actorsched._system.host_requests import Desk
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.reserving import Reserved
    from actorsched._system.scheduler import Scheduler
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter
    from actorsched.options import Hosts


_STARTS = 3
"""So many hosts in a row may be killed as they start before tasks fail for that."""
_NEEDED = ("actorsched.actor", "actorsched.remote")
"""What actor hosts import for nearly every actor."""


class HostSupervisor(Protocol):
    """The supervisor of one host, be it for tasks or for actors."""

    link: HostLink | None
    suspended: bool
    retiring: bool
    why_over: str

    def recycle(self, why: str) -> None:
        """Have another host take over, and end this one when what runs in it is over."""
        ...


class HostStaff:
    """All host processes of one runtime.

    Attributes:
        pools: The supervisors of its task hosts, by tag; under "process" those of tasks without one.
        monitor: Looks at the load of the machine.
        spawned: How many hosts have got ready.
        reaped: How many have ended in order, because they were told to.
        died: How many have ended otherwise.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self.pools: dict[str, HostPool] = {"process": HostPool(name="process", staff=self)}
        self.monitor: LoadMonitor = LoadMonitor(staff=self)
        self._actor_hosts: ActorHosts | None = None
        self._definitions: Definitions | None = None
        self._pack: Callable[[TaskActor, Definitions], Any] | None = None
        self._failed_starts = 0  # in a row
        self._number = 0
        self._spawner: Spawner | None = None
        self._gone: Any = None
        self.spawned: int = 0
        self.reaped: int = 0
        self.died: int = 0

    def __repr__(self) -> str:
        return f"<hosts: {len(self.workers)} for tasks, {len(self.ports)} for actors>"

    @property
    def kernel(self) -> Kernel:
        """The kernel of the runtime."""
        return self._system.kernel

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of the runtime."""
        return self._system.scheduler

    @property
    def limits(self) -> Hosts:
        """How many hosts there may be, and for how long."""
        return self._system.hosts

    @property
    def reserved(self) -> Reserved:
        """The processors and the memory that tasks have for themselves."""
        return self._system.reserved

    @property
    def cores(self) -> int:
        """How many hosts may run at once: `max`, less the further processors of those that have several."""
        system = self._system
        extra = system.reserved.extra_cores("process") if system.reserved.some else 0
        return system.hosts.max - extra

    @property
    def definitions(self) -> Definitions:
        """The functions and classes that hosts know by number."""
        if self._definitions is None:
            from actorsched._hosting.definitions import Definitions

            self._definitions = Definitions()
        return self._definitions

    # ----------------------------------------------------------------------------- those that there are

    @property
    def workers(self) -> list[HostWorker]:
        """The supervisors of all task hosts."""
        return [worker for pool in self.pools.values() for worker in pool.workers]

    @property
    def ports(self) -> list[ActorHostPort]:
        """The supervisors of all actor hosts."""
        return [] if self._actor_hosts is None else self._actor_hosts.ports

    @property
    def hosts(self) -> list[HostSupervisor]:
        """The supervisors of all hosts."""
        return [*self.workers, *self.ports]

    @property
    def links(self) -> list[HostLink]:
        """The links to all hosts that live."""
        return [host.link for host in self.hosts if host.link is not None]

    @property
    def helpers(self) -> list[int]:
        """The process ids of what else runs for the hosts."""
        return [self._spawner.pid] if self._spawner is not None and self._spawner.pid else []

    @property
    def busy(self) -> int:
        """How many task hosts run something."""
        return sum(worker.busy for worker in self.workers)

    @property
    def present(self) -> int:
        """How many task hosts there are, but for those that are suspended, or about to end."""
        return sum(not (worker.suspended or worker.is_over) for worker in self.workers)

    @property
    def staying(self) -> int:
        """How many task hosts there are for whoever comes next: not about to end, and not kept waiting."""
        return sum(worker.stays for worker in self.workers)

    def staying_elsewhere(self, pool: HostPool) -> int:
        """The same, but for those of one pool."""
        return sum(worker.stays for worker in self.workers if worker.pool is not pool)

    def busy_elsewhere(self, pool: HostPool) -> int:
        """How many hosts run something, but for those of one pool."""
        actors = sum(port.at_work for port in self.ports)
        return actors + sum(worker.busy for worker in self.workers if worker.pool is not pool)

    @property
    def wanting(self) -> bool:
        """Whether tasks wait for a host."""
        return any(pool.waiting_since is not None for pool in self.pools.values())

    def queue_wait(self, now: float) -> float:
        """For how many seconds tasks have found no host that was free."""
        return max(
            (now - pool.waiting_since for pool in self.pools.values() if pool.waiting_since), default=0.0
        )

    def queued(self, pool: str) -> int:
        """How many tasks of a pool wait for a slot."""
        slots = self._system.pools.get(pool)
        return 0 if slots is None else len(slots.policy)

    @property
    def suspended(self) -> int:
        """How many task hosts are suspended."""
        return sum(worker.suspended for worker in self.workers)

    @property
    def at_work(self) -> bool:
        """Whether any host has work. One whose code waits for us, or for its next call, has none."""
        return any(worker.at_work for worker in self.workers) or any(port.at_work for port in self.ports)

    # ------------------------------------------------------------------------------- hosts for tasks

    def pack(self, task: TaskActor) -> Any:
        """Function and arguments of a task as they travel.

        Raises:
            NotTransferable: Something cannot cross; it says what, and where in it.
        """
        if self._pack is None:
            self._start_early(task)
            from actorsched._system.host_run import pack

            self._pack = pack
        return self._pack(task, self._definitions or self.definitions)

    def _start_early(self, task: TaskActor) -> None:
        """Start the first host before all that its first task takes: imports, perhaps cloudpickle.

        One that is not needed after all, because the task cannot travel, waits for others.
        """
        if not self.workers:
            try:
                self.pool_of(task).start_worker()
            except Exception:  # whoever hires one will be told
                return

    def prepare(self) -> None:
        """Start the hosts that are always to be there. One that cannot be started is tried again later."""
        if self.limits.min:
            self.pools["process"].look()

    def pool_of(self, task: TaskActor) -> HostPool:
        """The supervisor of the hosts of a task."""
        name = task.options.tag or "process"
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = HostPool(name=name, staff=self)
        return pool

    def drop_pool(self, name: str) -> None:
        """No task of this pool will come any more: whoever has no tag can use its hosts."""
        pool, heir = self.pools.pop(name, None), self.pools["process"]
        if pool is None:
            return
        pool.close()
        for worker in pool.workers:
            worker.pool = heir
        heir.workers += pool.workers
        pool.workers = []
        heir.look()

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have a host worker run a task; False when none has room."""
        alone = task.special is not None and task.special.reservation is not None
        if alone and (lack := self.lack(task)) is not None:
            return task.pool.lacks(task, lack)
        worker = self.pool_of(task).hire(task, alone)
        if worker is None or (worker.runs and not worker.lets_in(task)):
            return False
        if alone:
            self.reserved.begin(task)
        worker.assign(task, out)
        return True

    def lack(self, task: TaskActor) -> Shortage | None:
        """What a task lacks that others have reserved, or use; None when it can begin, or go on."""
        others = sum(worker.busy and not worker.is_reserved for worker in self.workers)
        return self.reserved.lack(task, others)

    def may_go_on(self, task: TaskActor) -> bool:
        """Whether a suspended host may run again: only so many run at once. Who has waited just goes on."""
        worker: Any = task.worker
        if not worker.suspended:
            return True
        if worker.is_reserved:
            lack = self.lack(task)
            worker.called_back = lack is None or task.pool.lacks(task, lack)
        else:
            worker.called_back = self.busy < self.cores
        return bool(worker.called_back)

    def idle(self, worker: Behaviour) -> None:
        """It is found by its room; when it is kept for too long, it ends."""
        host: Any = worker
        if not host.runs:
            host.became_idle()

    def idle_elsewhere(self, pool: HostPool) -> HostWorker | None:
        """Move a host to this pool that has nothing to do in another."""
        if len(self.pools) > 1:
            for other in self.pools.values():
                free = next((worker for worker in other.workers if worker.is_free), None)
                if free is not None:
                    other.workers.remove(free)
                    pool.workers.append(free)
                    free.pool = pool
                    return free
        return None

    def new_worker(self, pool: HostPool) -> HostWorker:
        """Start a host for tasks.

        Raises:
            Exception: The system would not start one.
        """
        start_by = self.kernel.backend.monotonic() + self.limits.start_timeout
        # First of all, because the host needs time to start; what is imported here is imported meanwhile.
        link = self.launch("tasks", _unheard, _unheard, _unheard)
        from actorsched._system.host_worker import HostWorker

        worker = HostWorker(
            kernel=self.kernel,
            scheduler=self.scheduler,
            definitions=self.definitions,
            desk=self.new_desk(),
            pool=pool,
            start_by=start_by,
            left=self.limits.max_tasks or 0,
        )
        worker.link = worker.desk.link = link
        link.hand_over_to(worker.frame, worker.exited, worker.frames_over)
        return worker

    def worker_gone(self, worker: HostWorker, end: HostExit) -> bool:
        """A task host has ended. Answers whether what it had not begun is to be tried in another."""
        self._told_ended(worker, worker.pool.name, end)
        self._note_gone()
        assert worker.link is not None
        if worker.link.ready:
            self._failed_starts = 0
            if not self._system.closing:
                self.prepare()
            return True
        self._failed_starts += 1
        return end.exit_code is None and self._failed_starts <= _STARTS and not worker.late

    def new_desk(self) -> Desk:
        """Somebody who answers what a host asks."""
        from actorsched._system.host_requests import Desk

        if not self._system.verbs:
            self._system.learn_refs(self._system)
        return Desk(self._system)

    def launch(self, kind: Any, on_frame: Any, on_exit: Any, on_read: Any) -> HostLink:
        """Start a host process.

        Raises:
            Exception: The system would not start one.
        """
        if self._spawner is None:
            from actorsched._hosting.spawner import Spawner

            backend, patience = self.kernel.backend, self.limits.start_timeout
            self._spawner = Spawner(backend, start_timeout=patience, more=_NEEDED)
        self._spawner.start()  # first of all: what is imported here is imported while it starts
        from actorsched._hosting.launch import launch

        self._number += 1
        self.monitor.watch()
        return launch(
            self._spawner,
            kind,
            on_frame=on_frame,
            on_exit=on_exit,
            on_read=on_read,
            start_timeout=self.limits.start_timeout,
            name=f"host {self._number}",
        )

    def take(self, sample: LoadSample) -> None:
        """The load of the machine has been looked at."""
        if self._actor_hosts is not None:
            self._actor_hosts.take(sample)

    # -------------------------------------------------------------------------- what becomes of them

    def told_spawned(self, host: HostSupervisor, pool: str, why: str) -> None:
        """A host is ready. One that never gets so is only told of when it has died."""
        self.spawned += 1
        if self.kernel.watched and host.link is not None:
            whom = Named.of(host.link)
            self.kernel.tell("host_spawned", whom, pid=host.link.pid, pool=pool, why=why)

    def _told_ended(self, host: HostSupervisor, pool: str, end: HostExit) -> None:
        """A host has ended, because it was told to or otherwise."""
        in_order = end.cause == "stopped"
        self.reaped += in_order
        self.died += not in_order
        if not self.kernel.watched or host.link is None:
            return
        whom = Named.of(host.link)
        if in_order:
            self.kernel.tell("host_reaped", whom, pid=end.pid, pool=pool, why=host.why_over)
        else:
            self.kernel.tell(
                "host_died",
                whom,
                pid=end.pid,
                pool=pool,
                cause=end.cause,
                why=end.detail,
                signal=end.signal,
                exit_code=end.exit_code,
            )

    # ------------------------------------------------------------------------------ hosts for actors

    def ref_of(self, waiter: Waiter) -> Any:
        """The ref of a task or actor, as it travels."""
        from actorsched._hosting.transfer import dumps

        return dumps(self._system.ref_of(waiter), f"the ref of {waiter.name!r}")

    def hosted_cell(self, *fields: Any, **named: Any) -> ActorCell:
        """The cell of an actor whose code runs in a host."""
        from actorsched._system.actor_host import HostedCell

        return HostedCell(*fields, staff=self, **named)

    @property
    def actor_hosts(self) -> ActorHosts:
        """Where actors live."""
        if self._actor_hosts is None:
            from actorsched._system.actor_hosts import ActorHosts

            self._actor_hosts = ActorHosts(self)
        return self._actor_hosts

    def port_gone(self, port: ActorHostPort, end: HostExit) -> None:
        """An actor host has ended."""
        self.actor_hosts.port_gone(port, end)
        self._told_ended(port, "actors", end)
        self._note_gone()

    # --------------------------------------------------------------------------------------- the end

    async def aclose(self, patience: float) -> None:
        """End every host: in order, and by force when that takes too long."""
        self.monitor.close()
        for pool in self.pools.values():
            pool.close()
        if self._actor_hosts is not None:
            self._actor_hosts.close()
        for worker in self.workers:
            worker.go_on()  # a system that has failed leaves some suspended
        for link in self.links:
            link.stop()
        deadline = self.kernel.call_for_host(min(patience, 5.0), self.kill)
        while self.workers or self.ports:
            self._gone = self.kernel.future()
            await self._gone
        deadline.cancel()
        self._close_spawner()

    def kill(self) -> None:
        """End every host now."""
        for link in self.links:
            link.kill()

    def forget(self) -> None:
        """Wait for no host any longer: the system has failed, and may not have noticed that they are gone."""
        for pool in self.pools.values():
            pool.workers.clear()
        self.ports.clear()
        self._close_spawner()
        self._note_gone()

    def _close_spawner(self) -> None:
        if self._spawner is not None:
            self._spawner.close()

    def _note_gone(self) -> None:
        if self._gone is not None:
            self.kernel.reply(self._gone, None)


class Named(NamedTuple):
    """A host, as events name it."""

    name: str
    id: str

    @classmethod
    def of(cls, link: HostLink) -> Named:
        """That with this link."""
        return cls(link.name, link.name.replace(" ", "-"))


def _unheard(*said: object) -> None:
    """Nothing is heard of a host before the loop has its turn."""

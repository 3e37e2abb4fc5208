"""The host processes of a runtime: where its tasks and actors find one, and their end.

It is the `Staff` of the tasks in host processes, and says which pool of hosts a task belongs to: finding it
a host is that pool's business (`_system.host_pool`); finding one for an actor that of `_system.actor_hosts`.
Which hosts there are is known by `host_census`, and how one is started by `host_starts`, on which this page
builds.

The law of this module: it hands on, and decides only what concerns the hosts of all pools. Whoever waits for
a host gets one, or hears why not; and when the runtime ends, no host is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._system.host_pool import HostPool
from actorsched._system.host_starts import HostStarts
from actorsched._system.host_tally import HostTally
from actorsched._system.load_monitor import LoadMonitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Behaviour, Outbox
    from actorsched._core.load import LoadSample
    from actorsched._core.reservations import Shortage
    from actorsched._hosting.definitions import Definitions
    from actorsched._hosting.exits import HostExit
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.actor_hosts import ActorHosts
    from actorsched._system.host_port import ActorHostPort
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.reserving import Reserved
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter
    from actorsched.options import Hosts

_STARTS = 3
"""So many hosts in a row may be killed as they start before tasks fail for that."""


class HostStaff(HostStarts):
    """All host processes of one runtime.

    Attributes:
        tally: How many there have been.
    """

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.pools["process"] = HostPool(name="process", staff=self)
        self.monitor = LoadMonitor(staff=self)
        self.tally: HostTally = HostTally(system.kernel)
        self._pack: Callable[[TaskActor, Definitions], Any] | None = None
        self._failed_starts = 0  # in a row
        self._gone: Any = None

    @property
    def reserved(self) -> Reserved:
        """The processors and the memory that tasks have for themselves."""
        return self._system.reserved

    # ---------------------------------------------------------------------------------------- hosts for tasks

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
        for pool in self.pools.values():
            if pool.limits.min and (pool.own is not None or pool.name == "process"):
                pool.look()

    def limit(self, name: str, hosts: Hosts) -> None:
        """Give a pool limits of its own, or change them: from then on its hosts are for its tasks alone."""
        pool = self.pools.get(name) or self._new_pool(name)
        pool.own, pool.favourite = hosts, None
        self.scheduler.look_again(self.kernel)
        pool.look()

    def _new_pool(self, name: str) -> HostPool:
        pool = self.pools[name] = HostPool(name=name, staff=self)
        return pool

    def pool_of(self, task: TaskActor) -> HostPool:
        """The supervisor of the hosts of a task."""
        name = task.options.tag or "process"
        return self.pools.get(name) or self._new_pool(name)

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
            worker.called_back = self.busy_with(worker.pool) < self.cores_of(worker.pool)
        return bool(worker.called_back)

    def idle(self, worker: Behaviour) -> None:
        """It is found by its room; when it is kept for too long, it ends."""
        host: Any = worker
        if not host.runs:
            host.became_idle()

    def idle_elsewhere(self, pool: HostPool) -> HostWorker | None:
        """Move a host to this pool that has nothing to do in another."""
        if len(self.pools) > 1 and pool.own is None:
            for other in self.pools.values():
                if other.own is not None:
                    continue
                free = next((worker for worker in other.workers if worker.is_free), None)
                if free is not None:
                    other.workers.remove(free)
                    pool.workers.append(free)
                    free.pool = pool
                    return free
        return None

    def worker_gone(self, worker: HostWorker, end: HostExit) -> bool:
        """A task host has ended. Answers whether what it had not begun is to be tried in another."""
        self.tally.ended(worker, worker.pool.name, end)
        self._note_gone()
        assert worker.link is not None
        if worker.link.ready:
            self._failed_starts = 0
            if not self._system.closing:
                self.prepare()
            return True
        self._failed_starts += 1
        return end.exit_code is None and self._failed_starts <= _STARTS and not worker.late

    # --------------------------------------------------------------------------------------- hosts for actors

    @property
    def actor_hosts(self) -> ActorHosts:
        """Where actors live."""
        if self._actor_hosts is None:
            from actorsched._system.actor_hosts import ActorHosts

            self._actor_hosts = ActorHosts(self)
        return self._actor_hosts

    def hosted_cell(self, *fields: Any, **named: Any) -> ActorCell:
        """The cell of an actor whose code runs in a host."""
        from actorsched._system.actor_host import HostedCell

        world = self.kernel.world
        kind: type[HostedCell] = HostedCell if world is None else world.cell_kind(hosted=True)
        return kind(*fields, staff=self, **named)

    def ref_of(self, waiter: Waiter) -> Any:
        """The ref of a task or actor, as it travels."""
        from actorsched._hosting.transfer import dumps

        return dumps(self._system.ref_of(waiter), f"the ref of {waiter.name!r}")

    def take(self, sample: LoadSample) -> None:
        """The load of the machine has been looked at."""
        if self._actor_hosts is not None:
            self._actor_hosts.take(sample)

    def port_gone(self, port: ActorHostPort, end: HostExit) -> None:
        """An actor host has ended."""
        self.actor_hosts.port_gone(port, end)
        self.tally.ended(port, "actors", end)
        self._note_gone()

    # ------------------------------------------------------------------------------------------------ the end

    async def aclose(self, patience: float) -> None:
        """End every host: in order, and by force when that takes too long."""
        self.monitor.close()
        for pool in self.pools.values():
            pool.close()
        if self._actor_hosts is not None:
            self._actor_hosts.close()
        for worker in self.workers:
            worker.go_on()  # a system that has failed leaves some suspended
        for worker in self.workers:
            if not worker.retiring:
                worker.pool.told_to_end(worker)
        for port in self.ports:
            if not port.retiring:
                self.tally.told_to_end(port, "actors")
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

    def _note_gone(self) -> None:
        if self._gone is not None:
            self.kernel.reply(self._gone, None)

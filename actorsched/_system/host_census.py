"""Which host processes a runtime has at this moment, and the numbers of them by which it decides.

The law of this module: it counts, and changes nothing. Every number is counted anew when somebody asks, from
what the supervisors of the hosts know of them; none is kept, so none can be wrong. What is counted for people
is in `census`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from actorsched._hosting.link import HostLink
    from actorsched._system.actor_hosts import ActorHosts
    from actorsched._system.host_pool import HostPool
    from actorsched._system.host_port import ActorHostPort
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.system import System
    from actorsched.options import Hosts


class HostSupervisor(Protocol):
    """The supervisor of one host, be it for tasks or for actors."""

    link: HostLink | None
    suspended: bool
    retiring: bool
    why_over: str

    def recycle(self, why: str) -> None:
        """Have another host take over, and end this one when what runs in it is over."""
        ...


class HostCensus:
    """The host processes that there are in one runtime.

    Attributes:
        pools: The supervisors of its task hosts, by tag; under "process" those of tasks without one.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self.pools: dict[str, HostPool] = {}
        self._actor_hosts: ActorHosts | None = None

    def __repr__(self) -> str:
        return f"<hosts: {len(self.workers)} for tasks, {len(self.ports)} for actors>"

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

    # ---------------------------------------------------------------------------------- how many there may be

    @property
    def limits(self) -> Hosts:
        """How many hosts there may be, and for how long, where a pool has no limits of its own."""
        return self._system.hosts

    def limits_of(self, host: HostSupervisor) -> Hosts:
        """The limits that hold for a host."""
        pool: HostPool | None = getattr(host, "pool", None)  # those of actors have none
        return self.limits if pool is None else pool.limits

    def cores_of(self, pool: HostPool) -> int:
        """How many hosts may run at once: `max`, less the further processors of those that have several."""
        system = self._system
        if pool.own is not None or not system.reserved.some:
            return pool.limits.max
        return system.hosts.max - system.reserved.extra_cores("process")

    def sharing(self, pool: HostPool) -> list[HostWorker]:
        """The supervisors of the hosts that share the limits of a pool; those with its own are its own."""
        if pool.own is not None:
            return pool.workers
        return [worker for other in self.pools.values() if other.own is None for worker in other.workers]

    # ------------------------------------------------------------------------------------- how many there are

    def present(self, pool: HostPool) -> int:
        """How many share the limits of a pool, but for those that are suspended, or about to end."""
        return sum(not (worker.suspended or worker.is_over) for worker in self.sharing(pool))

    def staying(self, pool: HostPool) -> int:
        """How many of them are there for whoever comes next: not about to end, and not kept waiting."""
        return sum(worker.stays for worker in self.sharing(pool))

    def staying_elsewhere(self, pool: HostPool) -> int:
        """The same, but for those of the pool itself."""
        return sum(worker.stays for worker in self.sharing(pool) if worker.pool is not pool)

    def suspended(self, pool: HostPool) -> int:
        """How many of them are suspended."""
        return sum(worker.suspended for worker in self.sharing(pool))

    def busy_with(self, pool: HostPool) -> int:
        """How many of them run something."""
        return sum(worker.busy for worker in self.sharing(pool))

    @property
    def busy(self) -> int:
        """How many task hosts run something, in all pools."""
        return sum(worker.busy for worker in self.workers)

    def busy_elsewhere(self, pool: HostPool) -> int:
        """How many hosts run something, but for those of one pool."""
        actors = sum(port.at_work for port in self.ports)
        return actors + sum(worker.busy for worker in self.workers if worker.pool is not pool)

    @property
    def at_work(self) -> bool:
        """Whether any host has work. One whose code waits for us, or for its next call, has none."""
        return any(worker.at_work for worker in self.workers) or any(port.at_work for port in self.ports)

    # -------------------------------------------------------------------------------------- who waits for one

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

"""What there is in a runtime at this moment, for whoever wants to show or count it.

The law of this module: it looks, and changes nothing; what it answers with is true only until the loop goes
on. It knows where things are kept; how they are shown is decided further up.

How it works: everything is found by walking from the system downwards, because nothing is kept only to be
shown. So a look takes time in proportion to the tasks and actors that there are, some thirty milliseconds for
a hundred thousand, and those that nobody looks at cost nothing.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.host_pool import HostPool
    from actorsched._system.host_port import ActorHostPort
    from actorsched._system.host_run import HostRun
    from actorsched._system.host_staff import HostStaff
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.supervisor import Supervisor
    from actorsched._system.system import System

HostState: TypeAlias = Literal["starting", "idle", "busy", "suspended", "suspected", "retiring"]
"""What a host does for the runtime: it is not ready yet; it has nothing to do; it has something to do; we
have stopped it in favour of a more urgent task; somebody else has; or it takes no more, and ends when it has
nothing left."""

_POOL_AND_STATUS = attrgetter("pool.name", "status._value_")

HOST_STATES: tuple[HostState, ...] = ("starting", "idle", "busy", "suspended", "suspected", "retiring")


# ------------------------------------------------------------------------------------------ tasks and actors


def live_tasks(system: System) -> Iterator[Any]:
    """All tasks that have not settled, in the order of their scopes.

    One that has just settled may not have been struck off the list of its scope yet.
    """
    for scope in system.scopes:
        nursery = scope._nursery
        for owner in (nursery, *nursery.feeds):
            live = getattr(owner, "live", None)  # some iterators have tasks of their own
            if live is not None and (owner is nursery or live is not nursery.live):
                yield from [task for task in live if task.outcome is None]


def statuses(system: System) -> dict[str, Counter[str]]:
    """How many tasks that have not settled there are of each status, by the names of their pools."""
    found = Counter(map(_POOL_AND_STATUS, live_tasks(system)))
    counts: dict[str, Counter[str]] = {name: Counter() for name in system.pools}
    for (pool, status), number in found.items():
        counts.setdefault(pool, Counter())[status] += number
    return counts


def supervisors(system: System) -> Iterator[Supervisor]:
    """The supervisors of all scopes, without those of the children of actors."""
    for scope in system.scopes:
        if scope._supervisor is not None:
            yield scope._supervisor


def children_of(cell: ActorCell) -> Supervisor | None:
    """The supervisor of the children of an actor; None if it has none."""
    return None if cell.extras is None else cell.extras.supervisor


def actors(supervisor: Supervisor) -> int:
    """How many actors there are under a supervisor, with all their children."""
    number, heads = 0, [supervisor]
    while heads:
        cells: list[Any] = list(heads.pop().remaining())
        number += len(cells)
        heads += [cell.extras.supervisor for cell in cells if cell.extras is not None and children_of(cell)]
    return number


# ----------------------------------------------------------------------------------------------------- hosts


def state_of(host: HostWorker | ActorHostPort, staff: HostStaff) -> HostState:
    """What a host does for the runtime."""
    link = host.link
    if link is None or not link.ready:
        return "starting"
    if host.suspended:
        return "suspended"
    if link.pid in staff.monitor.suspected:
        return "suspected"
    if host.retiring:
        return "retiring"
    return "busy" if work_of(host) else "idle"


def work_of(host: Any) -> int:
    """How many tasks a host has, or calls."""
    runs = getattr(host, "runs", None)
    return int(host.calls if runs is None else len(runs))


def running_in(worker: HostWorker) -> tuple[HostRun, float] | None:
    """What a task host runs, and for how many seconds so far; None when it has begun nothing."""
    link = worker.link
    first = next(iter(worker.runs.items()), None)
    if first is None or link is None or not link.ready:
        return None
    return first[1], max(0.0, worker.kernel.monotonic() - worker.heard)


def host_states(staff: HostStaff) -> Counter[HostState]:
    """How many hosts there are of each state."""
    hosts: Iterable[HostWorker | ActorHostPort] = chain(staff.workers, staff.ports)
    return Counter(state_of(host, staff) for host in hosts)


def why_not_more(pool: HostPool) -> str:
    """Why a pool has no more hosts, and no fewer: a clause."""
    staff = pool.staff
    if staff.queued(pool.name):
        most, cores = pool.limits.max, staff.cores_of(pool)
        if staff.present(pool) >= most:
            return f"Hosts.max allows no more than {most}"
        if staff.busy_with(pool) >= cores:
            return f"tasks with cpu_cores have {most - cores} of {most} processors besides their own"
    return pool.why

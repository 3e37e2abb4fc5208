"""What there is in a runtime, made into values: the `Tree` of `rt.tree()`, the load, and who does what.

The law of this module: it looks by way of `_system.census`, and changes nothing; it may be asked at any
moment on the runtime's thread. What its values are called here is what users rely on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actorsched._system import census
from actorsched._system.policy_names import HOMES
from actorsched.tree import Tree

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

    from actorsched._core.load import LoadSample
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.host_pool import HostPool
    from actorsched._system.host_port import ActorHostPort
    from actorsched._system.host_staff import HostStaff
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.pools import Pool
    from actorsched._system.supervisor import Supervisor
    from actorsched._system.system import System

_MANY: Final = 12
"""So many of one kind are listed under one node."""
_DEEP: Final = 12
"""So many generations of actors are listed."""
_POLICIES: Final = {class_name: name for name, (_, class_name) in HOMES.items()}


def tree_of(system: System, name: str) -> Tree:
    """All of a runtime."""
    counts = census.statuses(system)
    live = sum(sum(of_pool.values()) for of_pool in counts.values())
    ended = sum(ended_in(pool) for pool in (*system.pools.values(), system.dropped))
    details = {
        "backend": system.kernel.backend.name,
        "uptime": system.kernel.now - system.began,
        "live": live,
        "ended": ended,
        "closing": system.closing,
    }
    children = (*_scopes(system), _pools(system, counts), _hosts(system.staff))
    return Tree("runtime", name, details, children)


def _cut(
    kind: Any, name: str, details: dict[str, Any], members: Sequence[Any], shown: Callable[[Any], Tree]
) -> Tree:
    """A node with the first of its members."""
    children = tuple(shown(member) for member in members[:_MANY])
    return Tree(kind, name, details, children, max(0, len(members) - _MANY))


# ---------------------------------------------------------------------------------------- scopes and actors


def _scopes(system: System) -> Iterator[Tree]:
    """The root supervisor, and the scopes that are entered and not yet left."""
    root, *others = list(system.scopes) or [None]
    if root is not None and root._supervisor is not None:
        cells = root._supervisor.remaining()
        yield _cut("supervisor", "root supervisor", _supervised(root._supervisor, cells), cells, _actor)
    for number, scope in enumerate(others[:_MANY], 1):
        details: dict[str, Any] = {"live": len(scope._nursery.live)}
        supervisor: Supervisor | None = scope._supervisor
        cells = [] if supervisor is None else supervisor.remaining()
        if supervisor is not None:
            details |= _supervised(supervisor, cells)
        yield _cut("scope", f"scope {number}", details, cells, _actor)


def _supervised(supervisor: Supervisor, cells: Sequence[object]) -> dict[str, Any]:
    return {"strategy": supervisor.children.strategy, "actors": len(cells)}


def _actor(cell: Any, depth: int = 1) -> Tree:
    supervisor = census.children_of(cell)
    details = {
        "class": cell.table.owner,
        "life": cell.life.name.lower(),
        "mailbox": len(cell.lane),
        "restarts": 0 if cell.extras is None else cell.extras.restarts,
    }
    doing, pid = doing_of(cell), pid_of(cell)
    if doing is not None:
        details["doing"] = doing
    if pid is not None:
        details["pid"] = pid
    if supervisor is None:
        return Tree("actor", cell.name, details)
    cells = supervisor.remaining()
    if depth == _DEEP:
        return Tree("actor", cell.name, details, (), len(cells))
    return _cut("actor", cell.name, details, cells, lambda child: _actor(child, depth + 1))


def doing_of(cell: ActorCell) -> str | None:
    """The name of the handler or hook of an actor that is running or suspended; None if none is."""
    turn: Any = cell.turn
    if turn is None:
        return None
    handler = getattr(turn, "handler", None)
    name: str | None = getattr(turn, "name", None) if handler is None else handler.name
    return name


def pid_of(cell: ActorCell) -> int | None:
    """The process id of the host in which an actor lives; None if it lives in the loop, or nowhere yet."""
    link = cell.instance.port.link if cell.hosted and cell.instance is not None else None
    return None if link is None else link.pid or None


# ------------------------------------------------------------------------------------------------ the pools


def _pools(system: System, counts: dict[str, Counter[str]]) -> Tree:
    def shown(pool: Pool) -> Tree:
        return _pool(system, pool, counts[pool.name])

    return _cut("pools", "pools", {}, list(system.pools.values()), shown)


def _pool(system: System, pool: Pool, now: Counter[str]) -> Tree:
    details: dict[str, Any] = {
        "running": running_in(pool, now),
        "queued": queued_in(pool),
        "ended": ended_in(pool),
        "policy": policy_name(pool.policy),
    }
    limit = system.hosts.max if pool.name == "process" else pool.limit
    if limit is not None:
        details["limit"] = limit
    return Tree("pool", pool.name, details)


def running_in(pool: Pool, now: Counter[str]) -> int:
    """How many tasks have a slot; where there is one for everybody, how many run."""
    return now["running"] if pool.boundless else pool.running


def queued_in(pool: Pool) -> int:
    """How many tasks want a slot and have none. Those who are about to leave theirs still have it."""
    return len(pool.policy) - len(pool.leaving) + len(pool.next)


def ended_in(pool: Pool) -> int:
    """How many of its tasks have ended, however."""
    return pool.completed + sum(pool.unsuccessful.values())


def policy_name(policy: object) -> str:
    """What a policy is called: by its name if it has one, else by its class."""
    kind = type(getattr(policy, "_policy", policy)).__name__
    return _POLICIES.get(kind, kind)


# ------------------------------------------------------------------------------------------------ the hosts


def _hosts(staff: HostStaff) -> Tree:
    sample = staff.monitor.sample
    details: dict[str, Any] = {"hosts": len(staff.hosts)}
    if sample is not None:
        details["load"] = load_of(sample, staff)
    children = [_host_pool(pool, sample) for pool in list(staff.pools.values())[:_MANY]]
    if staff.ports:
        limits = {"hosts": len(staff.ports), "limit": staff.limits.max}
        children.append(
            _cut("actor hosts", "actors", limits, staff.ports, lambda port: _actor_host(port, staff, sample))
        )
    children += [Tree("spawner", f"spawner {pid}", {"pid": pid}) for pid in staff.helpers]
    return Tree("hosts", "hosts", details, tuple(children))


def load_of(sample: LoadSample, staff: HostStaff) -> dict[str, Any]:
    """The load of the machine, as far as it is known."""
    known = {
        "cores": sample.cores,
        "ours": sample.ours if sample.others is not None else None,
        "others": sample.others if sample.ours is not None else None,
        "memory_free": sample.memory_free,
        "loop_lag": sample.loop_lag,
        "age": max(0.0, staff.kernel.backend.monotonic() - sample.when),
    }
    return {name: value for name, value in known.items() if value is not None}


def _host_pool(pool: HostPool, sample: LoadSample | None) -> Tree:
    details = {
        "hosts": len(pool.workers),
        "limit": pool.limits.max,
        "queued": pool.staff.queued(pool.name),
        "why": census.why_not_more(pool),
    }
    return _cut("host pool", pool.name, details, pool.workers, lambda worker: _task_host(worker, sample))


def _task_host(worker: HostWorker, sample: LoadSample | None) -> Tree:
    details = _host(worker, worker.pool.staff, sample)
    running = census.running_in(worker)
    details["ahead"] = len(worker.runs) - (running is not None)
    if running is not None:
        run, seconds = running
        details |= {"task": run.owner.name, "attempt": run.attempt, "seconds": seconds}
        details["waits"] = worker.lends
    return Tree("host", _host_name(worker), details)


def _actor_host(port: ActorHostPort, staff: HostStaff, sample: LoadSample | None) -> Tree:
    details = {**_host(port, staff, sample), "actors": len(port), "calls": port.calls}
    return _cut("host", _host_name(port), details, port.cells, _resident)


def _host_name(host: HostWorker | ActorHostPort) -> str:
    return f"host {host.link.pid}" if host.link is not None and host.link.pid else "host"


def _host(host: HostWorker | ActorHostPort, staff: HostStaff, sample: LoadSample | None) -> dict[str, Any]:
    """What there is to say of every host."""
    pid = 0 if host.link is None else host.link.pid
    load = None if sample is None else sample.hosts.get(pid)
    known = {
        "state": census.state_of(host, staff),
        "pid": pid or None,
        "cpu": None if load is None else load.cpu,
        "rss": None if load is None else load.rss,
    }
    return {name: value for name, value in known.items() if value is not None}


def _resident(cell: ActorCell) -> Tree:
    doing = doing_of(cell)
    details = {"class": cell.table.owner} | ({} if doing is None else {"doing": doing})
    return Tree("resident", cell.name, details)


__all__ = ["doing_of", "ended_in", "load_of", "pid_of", "policy_name", "queued_in", "running_in", "tree_of"]

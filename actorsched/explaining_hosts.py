"""Where an actor lives, and why there are as many hosts as there are: `rt.explain` of what is no task.

The law of this module: it looks, and changes nothing, like `explaining`, whose `Explanation` it answers with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._system import census
from actorsched.drawing import counted, elapsed, load_line
from actorsched.exceptions import shown
from actorsched.explaining import Explanation
from actorsched.survey import doing_of, load_of, pid_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.host_pool import HostPool
    from actorsched._system.host_staff import HostStaff
    from actorsched._system.system import System

_MANY = 10
"""So many hosts are told of one by one."""

_ACTORS = "actors"
"""What `rt.tree()` and events call the hosts of actors, which are in no pool of tasks."""


def explain_hosts(system: System) -> Explanation:
    """Why there are as many hosts as there are, in all pools."""
    staff = system.staff
    sentences = [sentence for pool in staff.pools.values() for sentence in _of_pool(pool)]
    if staff.ports:
        sentences.append(_of_actor_hosts(staff))
    sentences += _of_load(staff)
    return Explanation("hosts", None, tuple(sentences), pids=tuple(link.pid for link in staff.links))


def explain_pool(system: System, name: str) -> Explanation:
    """Why a pool has as many hosts as it has.

    Raises:
        ValueError: There is no such pool.
    """
    staff = system.staff
    pool = staff.pools.get(name)
    if pool is None:
        if name not in system.pools:
            if name == _ACTORS and staff.ports:
                return _of_actors(staff)
            known = ", ".join(map(repr, system.pools))
            raise ValueError(f"pool {name!r} cannot be explained: there is none; there are {known}")
        return Explanation(
            name, None, (f"pool {name!r} has no host processes: {_why_none(name)}.",), pool=name
        )
    pids = tuple(worker.link.pid for worker in pool.workers if worker.link is not None)
    return Explanation(name, None, (*_of_pool(pool), *_of_load(staff)), pool=name, pids=pids)


def _why_none(name: str) -> str:
    if name in ("loop", "thread"):
        return f"its tasks run in {'the event loop' if name == 'loop' else 'threads'}"
    return "none of its tasks has needed one"


def _of_pool(pool: HostPool) -> list[str]:
    number, queued = len(pool.workers), pool.staff.queued(pool.name)
    verb = "waits" if queued == 1 else "wait"
    waiting = f", and {counted(queued, 'task')} {verb}" if queued else ""
    why = census.why_not_more(pool)
    sentences = [f"pool {pool.name!r} has {counted(number, 'host')}{waiting}: {why}."]
    for worker in pool.workers[:_MANY]:
        state = census.state_of(worker, pool.staff)
        running = census.running_in(worker)
        does = f"is {state}"
        if running is not None:
            run, seconds = running
            does += f", with task {run.owner.name!r} for {elapsed(seconds)}"
        sentences.append(f"{_named(worker)} {does}.")
    return sentences


def _named(host: Any) -> str:
    pid = 0 if host.link is None else host.link.pid
    return f"Host {pid}" if pid else "A host without a process"


def _of_actors(staff: HostStaff) -> Explanation:
    pids = tuple(port.link.pid for port in staff.ports if port.link is not None)
    return Explanation(_ACTORS, None, (_of_actor_hosts(staff), *_of_load(staff)), pids=pids)


def _of_actor_hosts(staff: HostStaff) -> str:
    actors = sum(len(port) for port in staff.ports)
    hosts = counted(len(staff.ports), "host")
    pids = _pids(port.link.pid for port in staff.ports if port.link is not None)
    return f"{counted(actors, 'actor')} {'lives' if actors == 1 else 'live'} in {hosts}: {pids}."


def _pids(pids: Iterable[int]) -> str:
    return ", ".join(str(pid or "starting") for pid in pids)


def _of_load(staff: HostStaff) -> list[str]:
    sample = staff.monitor.sample
    return [] if sample is None else [f"The machine: {load_line(load_of(sample, staff))}."]


# --------------------------------------------------------------------------------------------------- actors


def explain_actor(cell: ActorCell) -> Explanation:
    """Where an actor lives, and what it does."""
    pid, doing = pid_of(cell), doing_of(cell)
    life = cell.life.name.lower()
    where = f"in host {pid}" if pid else "in no host at the moment" if cell.hosted else "in the loop"
    if life == "stopped":
        return Explanation(cell.name, None, (f"actor {cell.name!r} has ended: {cell.ending or 'stopped'}.",))
    sentences = [f"actor {cell.name!r} of class {cell.table.owner} is {life}, {where}."]
    sentences.append("It does nothing now." if doing is None else f"It runs {doing}.")
    queued = len(cell.lane)
    if queued:
        sentences.append(f"{counted(queued, 'message')} {'waits' if queued == 1 else 'wait'} in its mailbox.")
    restarts = 0 if cell.extras is None else cell.extras.restarts
    if restarts:
        sentences.append(f"It was restarted {'once' if restarts == 1 else f'{restarts} times'}.")
    waits = tuple(waiter.name for waiter in cell.awaits())
    if waits:
        sentences.append(f"It waits for {', '.join(map(repr, waits))}.")
    port: Any = cell.instance.port if pid else None
    if port is not None and len(port) > 1:
        sentences.append(f"{counted(len(port) - 1, 'other actor')} {_verb(len(port) - 1)} there.")
    return Explanation(cell.name, None, tuple(sentences), waits_for=waits, pids=() if pid is None else (pid,))


def _verb(number: int) -> str:
    return "lives" if number == 1 else "live"


def own_cell(system: System, ref: Any) -> ActorCell:
    """The cell that a ref means.

    Raises:
        ValueError: The actor belongs to another runtime.
    """
    cell: ActorCell = ref._cell
    if cell.kernel is not system.kernel:
        raise ValueError(f"{shown(ref)} belongs to another Runtime, which alone can explain it")
    return cell

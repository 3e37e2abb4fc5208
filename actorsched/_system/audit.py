"""Everything that always holds of a runtime, checked in one go: for simulations, and tests.

The law of this module: it looks, and changes nothing. What holds of one actor, that says itself; here is who
there is, and what can be seen only of all together. It takes time in proportion to the tasks and actors.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from actorsched._core.invariants import require
from actorsched._system.census import live_tasks, supervisors
from actorsched._system.pools import Place, tells_its_queue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorsched._core.behaviour import Behaviour
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.system import System

__all__ = ["actors_of", "cells", "check_at_rest"]


def check_at_rest(system: System) -> None:
    """Look whether what always holds of a runtime does. No message is in transit, and no code takes a step.

    Raises:
        InvariantBroken: Something does not.
    """
    for actor in actors_of(system):
        actor.check_at_rest()
    check_slots(system)
    check_mail(system)


def actors_of(system: System) -> Iterator[Behaviour]:
    """Every actor of the system in a runtime, as far as it has anything to do; each once."""
    staff = system.staff
    yield from (system.scheduler, system.locks, system.bus, system.announcer, staff.monitor)
    yield from (*staff.pools.values(), *staff.workers, *system.threads)
    for scope in system.scopes:
        yield scope._nursery
        yield from scope._nursery.feeds
    for task in live_tasks(system):
        yield task
        if task.host == "loop" and task.worker is not None:
            yield task.worker
    for supervisor in supervisors(system):
        yield supervisor
        for cell in cells(supervisor):
            yield cell
            if cell.extras is not None and cell.extras.supervisor is not None:
                yield cell.extras.supervisor


def cells(supervisor: Any) -> Iterator[ActorCell]:
    """The cells of the actors under a supervisor, with those of all their children."""
    heads = [supervisor]
    while heads:
        for cell in heads.pop().remaining():
            yield cell
            if cell.extras is not None and cell.extras.supervisor is not None:
                heads.append(cell.extras.supervisor)


def check_slots(system: System) -> None:
    """As many slots are in use as tasks hold one, and as many are in the queues as wait for one."""
    places = Counter((task.pool, task.place) for task in live_tasks(system))
    for pool in system.pools.values():
        on, leaving = places[pool, Place.ON], places[pool, Place.LEAVING]
        require(len(pool.on) == on, pool, f"{on} tasks have a slot, as it has counted")
        require(len(pool.leaving) == leaving, pool, f"{leaving} tasks are to leave, as it has counted")
        waiting = places[pool, Place.QUEUED] + leaving
        known = not tells_its_queue(pool.policy) or len(pool.policy) == waiting
        require(known, pool, f"{waiting} tasks are in the queue, and nobody else is")


def check_mail(system: System) -> None:
    """Every message to an actor is accounted for."""
    all_cells = [cell for supervisor in supervisors(system) for cell in cells(supervisor)]
    system.kernel.office.check(sum(cell.under_way for cell in all_cells))
    for name, cell in system.names.items():
        known = cell.name == name and (cell in all_cells or not cell.born)
        require(known, cell, f"whoever is known as {name!r} has not ended")

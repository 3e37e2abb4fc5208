"""What tasks have reserved of processors and memory, and whether one more fits beside them.

The law of this module: it computes with what it is told, and keeps nothing. Who holds what, and in which
state they are, is looked up elsewhere, at the moment when it matters; so nothing that is reserved can be
forgotten here.

How it works: a task holds what it has reserved from its beginning to the end of its attempt, however that
ends. A holder that is paused, or waits for others, uses no processor, but its memory is where it was. So the
processors of those that run are counted, and the memory of all. Processors are those of one kind of host;
memory is that of the machine, and there is only one.

A task begins when all that it wants is free. As long as the first in a queue does not fit, those behind it
do not begin either, though they may need less: otherwise a stream of small tasks could keep a big one waiting
for ever. There is one exception. When somebody who has reserved memory does not run, it may be waiting for
one of those behind; then they may pass (`Shortage.lets_pass`).

Memory is not refused for the sake of somebody who waits for the very task that wants it (`Use.FOR_IT`): they
would wait for each other. What such a task takes is counted, and so there may be more reserved than there is.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Reservation(msgspec.Struct, frozen=True):
    """What one task has for itself.

    Attributes:
        cores: How many processors; 1 for a task that says nothing.
        memory: How many bytes; 0 for a task that says nothing.
    """

    cores: int = 1
    memory: int = 0


class Use(Enum):
    """What somebody who has reserved something does."""

    RUNNING = "running"
    PAUSED = "paused"
    """It was preempted."""
    WAITING = "waiting"
    """It waits for something of ours, which may need what is left."""
    FOR_IT = "waiting for it"
    """It waits for the task in question, perhaps through others."""


class Hold(msgspec.Struct):
    """Who holds a reservation.

    Attributes:
        host: The kind of host, whose processors it has.
        cpus: The processors that it is confined to; none for any.
    """

    reservation: Reservation
    host: str
    use: Use = Use.RUNNING
    cpus: tuple[int, ...] = ()


class Shortage(msgspec.Struct, frozen=True):
    """What is not there for a task.

    Attributes:
        what: What it lacks.
        wanted: How much of that it wants; memory in bytes.
        free: How much there is. Below zero when more is reserved than there is.
        lets_pass: Whether those behind it in the queue may begin before it.
    """

    what: Literal["cores", "memory"]
    wanted: int
    free: int
    lets_pass: bool = False

    @property
    def helped_by_preemption(self) -> bool:
        """Whether it could have what it lacks if somebody was preempted."""
        return self.what == "cores"


def shortage(
    want: Reservation, host: str, holds: Sequence[Hold], *, cores: int, memory: int, others: int = 0
) -> Shortage | None:
    """What a task lacks; None when it can begin.

    Args:
        want: What it needs.
        host: The kind of host it runs in.
        holds: All that is reserved.
        cores: How many processors there are for this kind of host.
        memory: How much memory there is for all, in bytes.
        others: How many tasks run in this kind of host that have reserved nothing.
    """
    holders = [hold for hold in holds if hold.reservation.memory]
    left = memory - sum(hold.reservation.memory for hold in holders)
    known = memory - sum(hold.reservation.memory for hold in holders if hold.use is not Use.FOR_IT)
    if want.memory and want.memory > known:
        return Shortage("memory", want.memory, left, any(hold.use is not Use.RUNNING for hold in holders))
    free = cores - others - cores_in_use(holds, host)
    return Shortage("cores", want.cores, free) if want.cores > free else None


def cores_in_use(holds: Iterable[Hold], host: str) -> int:
    """How many processors of one kind of host those have that run, and have reserved something."""
    return sum(hold.reservation.cores for hold in holds if hold.host == host and hold.use is Use.RUNNING)


def choose_cpus(count: int, usable: Iterable[int], holds: Iterable[Hold]) -> tuple[int, ...]:
    """The processors to confine a task to: those that the fewest have who run, then the fewest at all.

    Args:
        count: How many; all if there are fewer.
        usable: The numbers of those that there are.
        holds: Who is confined to which.
    """
    load: dict[int, tuple[int, int]] = dict.fromkeys(sorted(usable), (0, 0))
    for hold in holds:
        for cpu in hold.cpus:
            if cpu in load:
                running, all_told = load[cpu]
                load[cpu] = running + (hold.use is Use.RUNNING), all_told + 1
    chosen = sorted(load, key=load.__getitem__)[:count]  # of equals, the lowest number
    return tuple(sorted(chosen))

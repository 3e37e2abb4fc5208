"""What the tasks of one runtime have reserved, and what they lack that want more than there is.

A task with `cpu_cores` or `memory_mb` reserves that from the moment when it is given to a worker. Nothing has
to be given back: whoever holds a reservation is asked whether its attempt is still under way, whenever
somebody wants one. What follows is computed in `_core.reservations`.

In host processes every task counts for one core at least, out of `Hosts(max=)`. In threads only those count
that say so, out of the processors that there are: most functions in threads wait for something.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from actorsched._core.reservations import (
    Hold,
    Reservation,
    Shortage,
    Use,
    choose_cpus,
    cores_in_use,
    shortage,
)
from actorsched._system.pools import Place, ReusedWorkers
from actorsched._system.task import function_name
from actorsched.options import not_in_the_loop, usable_cpus
from actorsched.sizes import shown_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Behaviour, Outbox
    from actorsched._system.pools import Pool
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter
    from actorsched.options import Hosts, TaskOptions

_MB = 1_000_000
_ASIDE = 256
"""So many tasks are looked at, at most, that have to wait in front of others."""
_WITH_A_SLOT = (Place.ON, Place.LEAVING)


class Reserved:
    """Who has reserved what in one runtime.

    Args:
        hosts: The limits of its host processes.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._memory = 0
        self.some: bool = False
        """Whether anybody may hold a reservation: if not, nobody has to ask."""
        self._holds: WeakKeyDictionary[TaskActor, Hold] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<reserved: {self.holds()}>"

    # -------------------------------------------------------------------------------- at the submission

    def wanted(self, function: Callable[..., Any], host: str, options: TaskOptions) -> Reservation | None:
        """What a new task wants to reserve; None for one that says nothing.

        Raises:
            ValueError: There will never be so much, or nothing can be reserved where it runs.
        """
        if options.cpu_cores is None and options.memory_mb is None:
            return None
        name = f"task {options.name or function_name(function)!r}"
        if host == "loop":
            raise not_in_the_loop(options, name)
        least = 1 if host == "process" else 0
        want = Reservation(options.cpu_cores or least, int((options.memory_mb or 0) * _MB))
        if want.cores > self._cores(host):
            raise ValueError(
                f"cpu_cores={want.cores} of {name} is more than there are: {self._cores_told(host)}"
            )
        if want.memory > self.memory:
            raise ValueError(
                f"memory_mb={options.memory_mb:g} of {name} is more than this machine, or container, has: "
                f"{self.memory // _MB} MB; lower it, or split the work into tasks that need less at once"
            )
        return want

    def _cores(self, host: str) -> int:
        return self._hosts.max if host == "process" else usable_cpus()

    def _cores_told(self, host: str) -> str:
        if host == "process":
            return f"Hosts(max={self._hosts.max}) is what all host processes have; lower it, or raise that"
        return f"this process may use {usable_cpus()}; lower it"

    @property
    def memory(self) -> int:
        """How many bytes of memory there are, within the limits of the control groups."""
        if not self._memory:
            from actorsched.cgroups import own

            limits = [limit.size for limit in own().memory_limits()]
            self._memory = min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])
        return self._memory

    # ---------------------------------------------------------------------------------- while they run

    def lack(self, task: TaskActor, others: int = 0) -> Shortage | None:
        """What a task lacks that has reserved something, or wants to; None when it can begin, or go on.

        Args:
            task: Who it is.
            others: How many tasks run in this kind of host that have reserved nothing.
        """
        want = _reservation(task)
        if want is None:
            return None
        holds, host = self.holds(without=task), task.host
        if want.memory and task not in self._holds:
            for holder, hold in self._holds.items():
                if hold.use is Use.WAITING and hold.reservation.memory and _waits_for(holder, task):
                    hold.use = Use.FOR_IT
        elif task in self._holds:  # its memory it has
            want = Reservation(want.cores)
        memory = self.memory if want.memory else 0
        return shortage(want, host, holds, cores=self._cores(host), memory=memory, others=others)

    def begin(self, task: TaskActor) -> None:
        """A task that lacks nothing is given to a worker."""
        want = _reservation(task)
        assert want is not None
        cpus: tuple[int, ...] = ()
        if task.host == "process" and task.options.cpu_cores is not None and hasattr(os, "sched_getaffinity"):
            cpus = choose_cpus(want.cores, os.sched_getaffinity(0), self.holds())
        self._holds[task] = Hold(want, task.host, cpus=cpus)
        self.some = True

    def hold_of(self, task: TaskActor) -> Hold | None:
        """What a task has reserved; None if nothing."""
        return self._holds.get(task)

    def holds(self, without: TaskActor | None = None) -> list[Hold]:
        """All that is reserved now, and what its holders do."""
        for task, hold in list(self._holds.items()):
            if not _is_under_way(task):
                del self._holds[task]
            elif task.place in _WITH_A_SLOT:
                hold.use = Use.RUNNING
            else:
                hold.use = Use.WAITING if task.place is Place.LENT else Use.PAUSED
        return [hold for task, hold in self._holds.items() if task is not without]

    def extra_cores(self, host: str) -> int:
        """How many processors those that run have reserved beyond the one that each task counts for."""
        holds = self.holds()
        self.some = bool(holds)
        running = sum(hold.host == host and hold.use is Use.RUNNING for hold in holds)
        return cores_in_use(holds, host) - running


def _reservation(task: TaskActor) -> Reservation | None:
    return None if task.special is None else task.special.reservation


def _is_under_way(task: TaskActor) -> bool:
    """Whether an attempt has been given to a worker, and is not over."""
    if task.place is None:
        return False
    return task.worker is not None or task.place in _WITH_A_SLOT


def _waits_for(waiter: Waiter, target: Waiter) -> bool:
    """Whether somebody waits for this one, perhaps through others."""
    seen: set[Waiter] = set()
    rest = [waiter]
    while rest:
        for other in rest.pop().awaits():
            if other is target:
                return True
            if other not in seen:
                seen.add(other)
                rest.append(other)
    return False


# --------------------------------------------------------------------------------------------- in threads


class Threads(ReusedWorkers):
    """The workers of threads. Only tasks with reservations may have to wait.

    Those that have none take nothing from them, and so they may pass.
    """

    def __init__(self, make: Callable[[], Behaviour], reserved: Reserved) -> None:
        super().__init__(make)
        self._reserved = reserved

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have an idle worker run a task, or a new one; False when others have reserved what it needs."""
        if _reservation(task) is not None:
            pool = task.pool
            lack = self._first_refused(pool) or self._reserved.lack(task)
            if lack is not None:
                passes = lack.lets_pass or pool.refusals < _ASIDE
                return pool.lacks(task, msgspec.structs.replace(lack, lets_pass=passes))
            self._reserved.begin(task)
        return super().assign(task, out)

    def _first_refused(self, pool: Pool) -> Shortage | None:
        """What somebody lacks who comes first: nobody overtakes it who has something reserved too."""
        if pool.lacking is None or pool.lacking[0].host != "thread":
            return None
        return pool.lacking[1]

    def idle(self, worker: Behaviour) -> None:
        """Keep it, however many there are: one that was dropped would have a thread that nobody ends."""
        self._idle.append(worker)

    def may_go_on(self, task: TaskActor) -> bool:
        """It has its thread; its processors may have been given to others."""
        lack = self._reserved.lack(task)
        return lack is None or task.pool.lacks(task, lack)

    def lack(self, task: TaskActor) -> Shortage | None:
        """What a task lacks that others have reserved."""
        return self._reserved.lack(task)


# -------------------------------------------------------------------------------------------- in processes


class Ration(msgspec.Struct):
    """The memory that the task of a host may take.

    Attributes:
        number: That of its run.
        memory_mb: How much that is, as it was given.
        error: The `MemoryError` that left its function, and ended the host.
        seen: What was resident at the first look, in bytes; for where nobody knows what was at the beginning.
    """

    number: int
    memory_mb: float
    error: BaseException | None = None
    seen: int | None = None

    def exceeded(self, rss: int, before: int) -> str | None:
        """What to say of a host of which so much is resident; None if it may be so much.

        Args:
            rss: What is resident, in bytes.
            before: What was when the task began; 0 if unknown.
        """
        if self.seen is None:
            self.seen = rss
        taken = rss - (before or self.seen)
        if taken <= self.memory_mb * _MB:
            return None
        return f"was killed because its task had taken {shown_size(taken)}, with memory_mb={self.memory_mb:g}"

"""The Scheduler actor: which ready task gets a worker, and when.

A task that is `Ready` goes to the pool of its host. A pool hands out slots: when one is free the task is
assigned to a worker at once, otherwise it waits in the queue of the pool's policy. A worker that is
`Idle` again takes the next. The queue lives here, so that the most urgent task is always the next, no
matter which worker becomes free.

A running task that waits for something of ours lends its slot. It gets one back through the same queue,
by its priority.

A pool that is `boundless` has room for every task. There is nothing to choose in it, so nobody reports to the
scheduler when a task has ended there, and nothing is lent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._core.policies.priority import FixedPriority
from actorsched.messages import (
    Assign,
    Idle,
    Lend,
    PriorityChanged,
    Ready,
    Reclaim,
    Resume,
    Submit,
    Withdraw,
    Withdrawn,
)

if TYPE_CHECKING:
    from actorsched._system.task import TaskActor


class Choose(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to itself: somebody has to get the free slots of this pool."""

    pool: Pool
    last: bool


_RESUME = Resume()
_WITHDRAWN = Withdrawn()


class Staff(Protocol):
    """The workers of one pool: acting, behind two verbs."""

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have a worker run a task; False when none has room and none may be added."""
        ...

    def idle(self, worker: Behaviour) -> None:
        """A worker has room again."""


class Pool:
    """The slots of one kind of host, and the tasks that wait for one.

    Args:
        name: The kind of host.
        limit: How many tasks may run at once; None when only the workers limit it.
        staff: Who runs them.
        boundless: Whether there is room for every task.
    """

    def __init__(self, name: str, limit: int | None, staff: Staff, *, boundless: bool = False) -> None:
        self.name = name
        self.limit = limit
        self.staff = staff
        self.boundless = boundless
        self.queue: FixedPriority[TaskActor] = FixedPriority()
        self.running = 0
        self.full = False
        """Whether no worker was to be had, and none has become idle since."""
        self.choosing = False
        """Whether a slot has become free, and who gets it is to be decided in a moment."""

    def __repr__(self) -> str:
        return f"<pool {self.name!r}: {self.running} running, {len(self.queue)} ready>"

    @property
    def free(self) -> bool:
        """Whether one more task may run, as far as the limit goes."""
        return self.limit is None or self.running < self.limit


class Scheduler(Behaviour):
    """The one scheduler of a runtime."""

    pools: dict[str, Pool]
    lent: set[Behaviour] = set()
    """Tasks that run, or want to go on running, without a slot."""

    def __repr__(self) -> str:
        return f"<scheduler {list(self.pools.values())}>"

    @handles(Submit)
    def _submit(self, message: Submit, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if task.upstream is not None:
            return task.begin(out)
        self.ready(task, out)

    @handles(Ready)
    def _ready(self, message: Ready, out: Outbox) -> None:
        self.ready(message.task, out)  # type: ignore[arg-type]

    def ready(self, task: TaskActor, out: Outbox) -> None:
        """A task may run: the same as `Ready`, said at once where nothing else can be on the way."""
        pool = self.pools[task.host]
        if pool.boundless:
            pool.staff.assign(task, out)
        else:
            task.admitted()
            self._enlist(pool, task, out)

    def _enlist(self, pool: Pool, task: TaskActor, out: Outbox) -> None:
        if pool.full or pool.queue or not pool.free or not self._assign(pool, task, out):
            pool.queue.push(task, out.now)
            if not pool.full and not pool.choosing:
                self._dispatch(pool, out)

    def _assign(self, pool: Pool, task: TaskActor, out: Outbox) -> bool:
        if not pool.staff.assign(task, out):
            pool.full = True
            return False
        pool.running += 1
        return True

    def _dispatch(self, pool: Pool, out: Outbox) -> None:
        """Fill free slots from the queue."""
        queue = pool.queue
        while queue and pool.free:
            task = queue.peek(out.now)
            assert task is not None
            if self.lent and task in self.lent:
                self.lent.discard(task)
                pool.running += 1
                out.send((task, _RESUME))
            elif not self._assign(pool, task, out):
                return
            queue.remove(task)

    @handles(Idle)
    def _idle(self, message: Idle, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        pool = self.pools[task.host]
        if self.lent and task in self.lent:
            self.lent.discard(task)
            pool.queue.remove(task)
        else:
            pool.running -= 1
        pool.staff.idle(message.worker)
        pool.full = False
        self._choose_soon(pool, out)

    def _choose_soon(self, pool: Pool, out: Outbox) -> None:
        """Give the free slot away when all that follows from the end of a task is known.

        Whoever waited for the task hears of it first, and is in the queue a message later: hence two steps.
        """
        if pool.queue and not pool.choosing:
            pool.choosing = True
            out.send((self, Choose(pool, last=False)))

    @handles(Choose)
    def _choose(self, message: Choose, out: Outbox) -> None:
        pool = message.pool
        if not message.last:
            return out.send((self, Choose(pool, last=True)))
        pool.choosing = False
        self._dispatch(pool, out)

    @handles(Withdraw)
    def _withdraw(self, message: Withdraw, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if self.pools[task.host].queue.remove(task):
            out.send((task, _WITHDRAWN))

    @handles(PriorityChanged)
    def _priority_changed(self, message: PriorityChanged, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if task.host in self.pools:
            self.pools[task.host].queue.reprioritise(task, out.now)

    # ---------------------------------------------------------------------------------- lending slots

    @handles(Lend)
    def _lend(self, message: Lend, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if task.worker is None:  # its attempt has ended meanwhile, and the slot is free
            return
        pool = self.pools[task.host]
        if pool.boundless:
            return
        self.lent.add(task)
        pool.running -= 1
        if pool.queue and not pool.choosing:
            self._dispatch(pool, out)

    @handles(Reclaim)
    def _reclaim(self, message: Reclaim, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        pool = self.pools[task.host]
        if pool.boundless:
            return out.send((task, _RESUME))
        if task not in self.lent:
            return
        if pool.limit is None:  # it has its worker; and those before it may be waiting for one
            self.lent.discard(task)
            pool.running += 1
            return out.send((task, _RESUME))
        pool.queue.push(task, out.now)
        if not pool.choosing:
            self._dispatch(pool, out)


class ReusedWorkers:
    """A staff without limits of its own: idle workers are used again, and made when there is none."""

    def __init__(self, make: Callable[[], Behaviour]) -> None:
        self._make = make
        self._idle: list[Behaviour] = []

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have an idle worker run a task, or a new one."""
        out.send((self._idle.pop() if self._idle else self._make(), Assign(task)))
        return True

    def idle(self, worker: Behaviour) -> None:
        """Keep it for the next task."""
        if len(self._idle) < 64:
            self._idle.append(worker)

"""What there is to know of one task: its fields, and what follows from them.

A task is told in five pages, each a class that extends the one before: its state, its end (`task_end`), what
its code waits for (`task_waits`), its attempts (`task_attempts`), and what comes before the first one
(`task`, whose class is the one that is made).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import require
from actorsched._core.lifecycle import FINAL
from actorsched._system.pools import Place, tells_its_queue
from actorsched._system.urgent import Urgent
from actorsched._system.waiting import Waiter
from actorsched.messages import Acquire, Outcome, Ready
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched._core.behaviour import Behaviour, Outbox, Reply, Timer
    from actorsched._core.lock_table import Request
    from actorsched._core.reservations import Reservation
    from actorsched._system.deadlines import Times
    from actorsched._system.intake import Intake
    from actorsched._system.judge import Placed
    from actorsched._system.line import Line
    from actorsched._system.locks import Locks
    from actorsched._system.measuring import Timing
    from actorsched._system.nursery import Nursery
    from actorsched._system.pools import Pool
    from actorsched._system.task import TaskActor
    from actorsched.exceptions import DeadlineMissed, TaskCancelled, TaskTimeout
    from actorsched.options import TaskOptions

_NOTHING_YET: tuple[float, str | None] = (0.0, None)
_WITH_WORKER = frozenset({TaskStatus.RUNNING, TaskStatus.PREEMPTED})
_WITHOUT_WORKER = frozenset({TaskStatus.PENDING, TaskStatus.RETRYING})


class Special(msgspec.Struct, eq=False):
    """What few tasks have. Kept apart, because every field costs whenever a task is made or collected."""

    base: int | None = None
    """Its own priority, where that was changed."""
    times: Times | None = None
    """When it has to be started and done."""
    request: Request[Any] | None = None
    """The resources that it was submitted with; the locks'."""
    acquires: list[Acquire] | None = None
    """What its code wants to take as soon as it is chosen again."""
    locking: bool = False
    """Whether it may hold resources, or wait for some."""
    placed: Placed | None = None
    """Where `host="auto"` has placed it."""
    decided: Outcome[Any] | None = None
    """How it ends, whatever its code does, when somebody has settled it by hand."""
    reservation: Reservation | None = None
    """The processors and the memory that it needs for itself."""
    timing: Timing | None = None
    """When it was submitted, ready and started, if that is measured."""


class TaskState(Urgent, eq=False):
    """What there is to know of one task."""

    settles: ClassVar[bool] = True

    owner: Nursery | Line | Intake
    """The scope that it was spawned in; it hears `Settled` like anyone who waits."""
    number: int
    function: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: TaskOptions
    context: Context | None
    host: str
    pool: Pool
    upstream: list[TaskActor] | None = None
    """The tasks that it depends on, as long as one of them has not settled; one may stand there twice."""
    injected: bool = False
    """Whether some of the arguments are upstream tasks, whose results take their place."""
    missing: int = 0
    """How many upstream tasks it has still to hear of."""
    status: TaskStatus = TaskStatus.PENDING
    outcome: Outcome[Any] | None = None
    worker: Behaviour | None = None
    """Who runs it now."""
    attempt: int = 0
    crashes: int = 0
    progress: tuple[float, str | None] = _NOTHING_YET
    observed: bool = False
    """Whether somebody has seen how it ended."""
    holders: int = 1
    """How many refs there are, and others who are going to look at its outcome; at first, whoever made it."""
    waiters: dict[Behaviour, None] | None = None
    answers: dict[Reply, None] | None = None
    label: str | None = None
    """What is left of its function's name when the function is let go of."""
    stopping: TaskCancelled | TaskTimeout | DeadlineMissed | None = None
    """Why the present attempt was told to stop."""
    timer: Timer | None = None
    packed: Any = None
    """Function and arguments in the form in which they travel to a host process, once they are."""
    place: Place | None = None
    """Where it stands towards the slots of its pool; the scheduler's."""
    paused: bool = False
    """Whether its worker has stopped it in favour of another."""
    special: Special | None = None
    """What few tasks have."""

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.options.name or self.label or function_name(self.function)

    @property
    def id(self) -> str:
        """Its name, for programs: unique in the process."""
        return f"task-{self.number}"

    def specially(self) -> Special:
        """What few tasks have: it does, from now on."""
        if self.special is None:
            self.special = Special()
        return self.special

    @property
    def times(self) -> Times | None:
        """When it has to be started and done."""
        return None if self.special is None else self.special.times

    @property
    def placed(self) -> Placed | None:
        """Where `host="auto"` has placed it."""
        return None if self.special is None else self.special.placed

    @property
    def request(self) -> Request[Any] | None:
        """The resources that it was submitted with."""
        return None if self.special is None else self.special.request

    @property
    def locks(self) -> Locks:
        """The resources of its runtime."""
        scheduler: Any = self.scheduler
        locks: Locks = scheduler.locks
        return locks

    @property
    def keeps_memory(self) -> bool:
        """Whether it has memory for itself as long as its attempt lasts."""
        reservation = None if self.special is None else self.special.reservation
        return reservation is not None and reservation.memory > 0

    @property
    def own_rank(self) -> int:
        """Its priority without what it inherits."""
        special = self.special
        return self.options.priority if special is None or special.base is None else special.base

    @property
    def own_due(self) -> float:
        """Its deadline without what it inherits."""
        times = self.times
        return inf if times is None else times.due

    @property
    def stalled(self) -> bool:
        """Whether its code has been waiting for some time for something unknown; only the loop can tell."""
        return self.worker is not None and getattr(self.worker, "stalled", False)

    @property
    def preemptible(self) -> bool:
        """Whether it may be taken off its worker before it has ended."""
        return self.options.preemptible

    @property
    def cost(self) -> float | None:
        """The processor time that it is expected to take, in seconds."""
        return self.options.cost

    @property
    def period(self) -> float | None:
        """The time between two of its kind, in seconds."""
        return self.options.period

    @property
    def at_work(self) -> bool:
        """Whether an attempt is under way."""
        return self.worker is not None

    @property
    def awaited(self) -> bool:
        """Whether anybody is waiting for it, or may be waiting for whoever had it made."""
        if self.waiters or isinstance(self.owner, Waiter):
            return True
        return self.holds_resources and self.locks.table.foremost_waiter_on(self) is not None  # type: ignore[arg-type]  # a TaskActor

    @property
    def holds_resources(self) -> bool:
        """Whether it may hold resources, or wait for some."""
        return self.special is not None and self.special.locking

    @property
    def hurried(self) -> bool:
        """Whether its attempt was told to stop."""
        return self.stopping is not None

    def __repr__(self) -> str:
        return f"<task {self.name!r} {self.status.value}>"

    # ------------------------------------------------------------------------- what every page relies on

    def _become_ready(self, out: Outbox, *, again: bool = False) -> None:
        """Nothing but a worker is missing."""
        if self.upstream is not None and self.special is not None and self.special.timing is not None:
            self.special.timing.ready = out.now
        self.status = TaskStatus.READY
        self.upstream = None
        assert self.scheduler is not None
        out.send((self.scheduler, Ready(self, again)))

    def _unlock(self, out: Outbox) -> None:
        """Nothing of it holds any resource, or waits for one."""
        special = self.specially()
        special.locking, special.acquires = False, None
        self.locks.ended(self, out)  # type: ignore[arg-type]  # a TaskActor

    def _clear_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """Its status, its outcome, its worker and its place say the same."""
        super().check()
        outcome, worker, status = self.outcome, self.worker, self.status
        require(
            (outcome is not None) == (status in FINAL), self, "it has an outcome when its status is final"
        )
        require(outcome is None or outcome.status is status, self, "its outcome says what its status says")
        require(outcome is None or worker is None, self, "nobody runs what has ended")
        at_work = worker is not None
        require(at_work or status not in _WITH_WORKER, self, f"somebody runs it while it is {status.value}")
        require(
            not at_work or status not in _WITHOUT_WORKER, self, f"nobody runs it while it is {status.value}"
        )
        require(self.holders >= 0, self, "nobody who held it was counted out twice")
        place, pool = self.place, self.pool
        require(place is None or not pool.boundless, self, "there are no places where there is room for all")
        require(place is not Place.ON or self in pool.on, self, "its pool knows that it has a slot")
        require(
            place is not Place.LEAVING or self in pool.leaving, self, "its pool knows that it is to leave"
        )
        require(place is not Place.LENT or at_work, self, "whoever has lent its slot has begun")

    def check_at_rest(self) -> None:
        """The same; and it stands where its status says."""
        super().check_at_rest()
        policy: Any = self.pool.policy
        place, ready = self.place, self.status is TaskStatus.READY
        require(place is None or self.outcome is None, self, "what has ended has no place")
        if place in (Place.QUEUED, Place.LEAVING) and tells_its_queue(policy):
            require(self in policy, self, "whoever waits for a slot is in the queue")
        waits_for_slot = ready and not self.at_work
        if waits_for_slot:
            require(
                place in (Place.QUEUED, Place.NEXT), self, "whoever is ready waits for a slot, or is next"
            )
        if not self.holds_resources and self.scheduler is not None:
            held = self.locks.table.requests_of(self)  # type: ignore[arg-type]  # a TaskActor
            require(not held, self, f"whoever holds resources, or waits for some, gives them back: {held}")

    @abstractmethod
    def upstream_completed(self, task: TaskActor, out: Outbox) -> None:
        """A task that it depends on, or waits for, has completed: `Settled`, told at once."""

    @abstractmethod
    def shows(self) -> bool:
        """Whether the failure of an upstream task is seen in what becomes of this one."""


def function_name(function: Callable[..., Any] | None) -> str:
    """What to call a task after, when nobody gave it a name."""
    name: str | None = getattr(function, "__qualname__", None)
    if name is not None:
        return name
    inner = getattr(function, "func", None)  # functools.partial
    return type(function).__name__ if inner is None else function_name(inner)

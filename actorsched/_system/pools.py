"""Pools: the slots of one kind of host, or of one tag, and where each task stands towards them.

A pool knows how many tasks may run at once, which do, and the policy that orders those that wait. It decides
nothing; the scheduler does (`_system.scheduler`).
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from actorsched._core.invariants import FEW, require
from actorsched._core.policies import Policy
from actorsched._system.guarded import guarded
from actorsched.messages import Assign

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Behaviour, Outbox, Timer
    from actorsched._core.latency import Series
    from actorsched._core.policies import SchedulingPolicy
    from actorsched._core.reservations import Shortage
    from actorsched._system.task import TaskActor
    from actorsched.status import TaskStatus


STALL: Final = 0.02
"""Seconds for which all that run have to wait for something unknown, before one more may run."""


_BASE: Final[Any] = Policy


class Place(Enum):
    """Where a task stands towards the slots of its pool. One that is not `Ready` yet has no place."""

    QUEUED = "queued"
    """In the policy's queue; it has no slot, be it new, preempted or back from waiting."""
    NEXT = "next"
    """Chosen; it gets the slot of somebody who was asked to leave, and has not yet."""
    ON = "on"
    """It has a slot."""
    LEAVING = "leaving"
    """It has a slot, and is in the queue again: it was asked to leave, or its turn is over."""
    LENT = "lent"
    """It waits for something of ours, and has lent its slot."""


class Staff(Protocol):
    """The workers of one kind of host: acting, behind two verbs."""

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have a worker run a task; False when none has room and none may be added."""
        ...

    def may_go_on(self, task: TaskActor) -> bool:
        """Whether there is room for a task that has a worker, and was preempted or has waited."""
        ...

    def idle(self, worker: Behaviour) -> None:
        """A worker has room again."""


class Choose(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to itself: decide who has the slots of this pool."""

    pool: Pool


class Alarm(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to itself: the policy of this pool wanted to be asked now."""

    pool: Pool


class LookForStall(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to itself: does nobody of this pool run in fact, while somebody is preempted?"""

    pool: Pool


class Pool:
    """Slots, and the tasks that have them or want them.

    Args:
        name: The kind of host, or the tag.
        limit: How many tasks may run at once; None when only the workers limit it.
        policy: Who gets the slots; nobody else has this object.
        boundless: Whether there is room for every task. Then there is nothing to choose, nobody reports to
            the scheduler when a task has ended, nothing is lent, and nobody is preempted.
        processors: For how many processors a policy may admit tasks.
        mixed: Whether its tasks may have different kinds of hosts. When there is no worker of one kind, those
            of others go on.
    """

    def __init__(
        self,
        name: str,
        limit: int | None,
        policy: SchedulingPolicy[TaskActor],
        *,
        boundless: bool = False,
        processors: int = 1,
        mixed: bool = False,
    ) -> None:
        self.name = name
        self.limit = limit
        self.boundless = boundless
        self.processors = processors
        self.mixed = mixed
        self.in_step = False
        """Whether the tasks of a mixed pool wait for one another all the same: it has hosts of its own, so
        they are for processes, and to look past all that wait for one would take longer the more do."""
        self.own_policy = False
        """Whether its policy was asked for by itself, and does not change with that of the runtime."""
        self.on: dict[TaskActor, None] = {}
        """Who has a slot, in the order of getting it."""
        self.leaving: dict[TaskActor, bool] = {}
        """Who is to leave its slot, and whether its worker was asked to."""
        self.next: deque[TaskActor] = deque()
        """Who gets the slots that are left."""
        self.wishing: dict[TaskActor, None] = {}
        """Who wants to hear that it was chosen."""
        self.newcomers: set[TaskActor] = set()
        """Who has come on since somebody else wanted to hear that."""
        self.paused: dict[TaskActor, None] = {}
        """Who was preempted; among them some that were chosen again."""
        self.beside = 0
        """How many more than the limit may run, beside those that wait for something unknown."""
        self.over = 0
        """How many more than the limit ran when that was lowered last: they go on."""
        self.looking = False
        """Whether somebody will look for a stall."""
        self.full = False
        """Whether no worker was to be had, and none has become idle since."""
        self.stuck: set[str] = set()
        """The same of a mixed pool: the kinds of hosts of which there was no worker."""
        self.lacking: tuple[TaskActor, Shortage] | None = None
        """Who was refused when last somebody was, because of what others have reserved; and what it lacks."""
        self.refusals = 0
        """How many were refused for that in one choice."""
        self.completed: int = 0
        """How many of its tasks have completed."""
        self.unsuccessful: dict[TaskStatus, int] = {}
        """How many of them have ended otherwise, by their final status."""
        self.series: dict[int, Series] = {}
        """The latencies of its tasks, by priority."""
        self.choosing = False
        """Whether who gets the slots is to be decided as soon as this instant is over."""
        self.choose = Choose(self)
        self.alarm: Timer | None = None
        self.alarm_when: float | None = None
        self.take_policy(policy)

    def __repr__(self) -> str:
        return f"<pool {self.name!r}: {self.running} running, {len(self.policy)} ready, {self.policy!r}>"

    def take_policy(self, policy: SchedulingPolicy[TaskActor]) -> None:
        """From now on this policy decides."""
        self.policy: SchedulingPolicy[TaskActor] = guarded(policy, f"pool {self.name!r}", self._runs)
        self.remembers: bool = getattr(type(policy), "forget", None) is not _BASE.forget
        """Whether the policy has to be told that a task has ended."""
        known = type(self.policy) is type(policy)
        self.stirs: Callable[[TaskActor], bool] | None = getattr(policy, "stirs", None) if known else None
        """Whether a new task may change who runs; None if one of a user's own has to be asked for all."""
        self.outranks: Callable[[TaskActor, TaskActor], bool] | None = getattr(policy, "outranks", None)
        """Whether a new task goes before one that has a worker and has not begun; None if none ever does."""
        self.precedence: Callable[[TaskActor, bool, float], tuple[float, ...]] | None = getattr(
            policy, "precedence", None
        )
        """The order of equals that run; None for that in which they got their slots."""
        if not known:
            preempts = getattr(type(policy), "victim", None) is not _BASE.victim
            self.outranks = self._is_more_urgent if preempts else None
        admission = getattr(policy, "admission", None)
        own = getattr(type(policy), "admit", None) is not _BASE.admit
        self.admits: bool = own if admission is None else admission != "off"
        """Whether the policy may refuse a task, or warn of it."""
        self.warns: bool = admission == "warn"
        """Whether it only warns."""

    def precedes(self, task: TaskActor, other: TaskActor) -> bool:
        """Whether a new task goes before another of this pool that has a worker and has not begun."""
        outranks = self.outranks
        return outranks is not None and other.pool is self and outranks(task, other)

    def _is_more_urgent(self, task: TaskActor, other: TaskActor) -> bool:
        return self.policy.urgency(task) < self.policy.urgency(other)

    def _runs(self, task: object) -> bool:
        return task in self.on or task in self.next

    @property
    def running(self) -> int:
        """How many tasks have a slot."""
        return len(self.on) + len(self.leaving)

    @property
    def has_slot(self) -> bool:
        """Whether one more task may have a slot now."""
        limit = self.limit
        return not self.full and (limit is None or len(self.on) + len(self.leaving) < limit + self.beside)

    @property
    def has_room(self) -> bool:
        """Whether there is, or will be, a slot for one more task than those that have been chosen."""
        limit = self.limit
        if limit is not None and len(self.on) + len(self.next) >= limit + self.beside:
            return False
        return not self.full or len(self.next) < len(self.leaving)

    def absorb(self, other: Pool) -> None:
        """Count the ends of another pool's tasks too."""
        self.completed += other.completed
        for status, times in other.unsuccessful.items():
            self.unsuccessful[status] = self.unsuccessful.get(status, 0) + times

    def lacks(self, task: TaskActor, what: Shortage) -> bool:
        """Others have reserved what a task needs. Answers with False, for a staff that refuses it."""
        self.lacking = task, what
        self.refusals += 1
        return False

    def is_settled(self, task: TaskActor, now: float) -> bool:
        """Whether there is nothing to decide though one more task has joined the queue just now.

        There is no room for it, nobody makes room, and the alarm that is set comes in time.
        """
        if self.has_room or self.lacking is not None:
            return False
        if self.stirs is not None and not self.stirs(task):
            return True
        if self.policy.victim(now) is not None:
            return False
        when, alarm = self.policy.alarm(now), self.alarm_when
        return when is None or (alarm is not None and alarm <= when)

    def check(self) -> None:
        """Look whether what always holds between two messages does; few tasks are looked at one by one.

        Raises:
            InvariantBroken: Something does not.
        """
        idle = not (self.on or self.leaving or self.next or self.wishing or len(self.policy))
        if idle and self.alarm is None:  # as nearly all are nearly always
            return require(min(self.beside, self.over) >= 0, self, "nothing is taken from the limit")
        if self.boundless:
            return require(idle, self, "where there is room for every task, none has a slot or waits for one")
        most = None if self.limit is None else self.limit + self.beside + self.over
        require(most is None or self.running <= most, self, f"no more run than may, which is {most}")
        require(min(self.beside, self.over) >= 0, self, "nothing is taken from the limit")
        require(len(self.policy) >= len(self.leaving), self, "whoever is to leave its slot is in the queue")
        timed = (self.alarm is None) == (self.alarm_when is None)
        require(timed, self, "an alarm is set when it is known for when")
        for tasks, place in ((self.on, Place.ON), (self.leaving, Place.LEAVING), (self.next, Place.NEXT)):
            if len(tasks) <= FEW:
                require(all(task.pool is self for task in tasks), self, f"those that are {place} are its own")
                at_place = all(task.place is place for task in tasks)
                require(at_place, self, f"those that it knows to be {place} know it too")
        require(len(set(self.next)) == len(self.next), self, "nobody is next twice")
        if len(self.leaving) <= FEW:
            asked = [task for task, asked in self.leaving.items() if asked]
            require(all(task.worker is not None for task in asked), self, "who was asked to leave has begun")
        if len(self.wishing) <= FEW:
            placed = all(task.place is not None for task in self.wishing)
            require(placed, self, "whoever wants to hear that it was chosen has begun, and has not ended")
        self._check_policy()

    def _check_policy(self) -> None:
        """The same of the queue, if the policy is one of ours."""
        policy: Any = self.policy
        if len(policy) + self.running > FEW or not tells_its_queue(policy):
            return
        policy.check()
        require(all(task in policy for task in self.leaving), self, "who is to leave is in the queue again")
        free = not any(task in policy for task in (*self.on, *self.next))
        require(free, self, "nobody has a slot, or is next, and is in the queue")

    def check_at_rest(self) -> None:
        """The same, and what holds when no message is in transit: nobody waits for what is free.

        Raises:
            InvariantBroken: Something does not.
        """
        self.check()
        require(not self.choosing, self, "who gets the slots is decided at the end of an instant")
        require(not self.asked_in_vain, self, "whoever has a slot has a worker")
        obstacle = self.full or self.stuck or self.lacking is not None
        if not obstacle:
            require(not (len(self.policy) and self.has_room), self, "nobody waits while a slot is free")
            require(not (self.next and self.has_slot), self, "whoever is next has the slot that was left")
        require(not self.next or self.leaving or self.over, self, "somebody leaves for whoever is next")

    @property
    def asked_in_vain(self) -> bool:
        """Whether somebody has a slot and no worker, be they few."""
        return len(self.on) <= FEW and any(task.worker is None for task in (*self.on, *self.leaving))


def tells_its_queue(policy: object) -> bool:
    """Whether a policy can be asked who is in its queue: ours can."""
    return hasattr(type(policy), "__contains__")


class ReusedWorkers:
    """A staff without limits of its own: idle workers are used again, and made when there is none."""

    def __init__(self, make: Callable[[], Behaviour]) -> None:
        self._make = make
        self._idle: list[Behaviour] = []

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have an idle worker run a task, or a new one."""
        out.send((self._idle.pop() if self._idle else self._make(), Assign(task)))
        return True

    def may_go_on(self, task: TaskActor) -> bool:
        """It has its worker."""
        return True

    def idle(self, worker: Behaviour) -> None:
        """Keep it for the next task."""
        if len(self._idle) < 64:
            self._idle.append(worker)

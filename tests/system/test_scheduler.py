"""The Scheduler actor, with a recorder for a kernel: who gets a slot, who makes room for it, and when.

What the scheduler tells others is shown in words, such as "assign a" or "preempt b".
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._core.policies.edf import Edf
from actorsched._core.policies.fair import Fair
from actorsched._core.policies.priority import FixedPriority
from actorsched._core.policies.realtime import Realtime
from actorsched._system.pools import STALL, Place, Pool, ReusedWorkers
from actorsched._system.scheduler import Scheduler
from actorsched.messages import (
    Assign,
    Chosen,
    Idle,
    Lend,
    Move,
    Preempt,
    Preempted,
    PriorityChanged,
    Ready,
    Reclaim,
    Resume,
    SetLimit,
    SetPolicy,
    Submit,
    Wish,
    Withdraw,
    Withdrawn,
)
from actorsched.status import TaskStatus
from tests.recorder import Recorder


class Options(msgspec.Struct):
    """What the scheduler reads of a task's options."""

    resources: frozenset[str] = frozenset()


class Job(Behaviour, eq=False):
    """A task, as far as the scheduler looks at one. It keeps what it is told."""

    name: str
    rank: int = 3
    due: float = inf
    preemptible: bool = True
    host: str = "loop"
    cost: float | None = None
    period: float | None = None
    pool: Any = None
    options: Options = msgspec.field(default_factory=Options)
    upstream: dict[Behaviour, None] | None = None
    worker: Behaviour | None = None
    place: Place | None = None
    outcome: Any = None
    stalled: bool = False
    paused: bool = False
    ready: bool = False
    status: TaskStatus = TaskStatus.READY
    begun: bool = False
    special: None = None
    request: None = None

    def __repr__(self) -> str:
        return self.name

    def tell_of_its_creation(self, out: Outbox) -> None:
        out.tell("created", self)

    def admitted(self, out: Outbox) -> None:
        self.ready = True

    def begin(self, out: Outbox) -> None:
        self.begun = True


class Worker(Behaviour, eq=False):
    """Who runs a job. One that is prompt leaves its slot at once; a thread does at its next checkpoint."""

    scheduler: Behaviour
    job: Job
    prompt: bool
    asked: bool = False

    @handles(Preempt)
    def _preempt(self, message: Preempt, out: Outbox) -> None:
        assert message.task is self.job
        assert not self.asked
        self.asked = True
        if self.prompt:
            self.leave(out)

    def leave(self, out: Outbox) -> None:
        """It has stopped, as it was asked to."""
        assert self.asked
        self.asked = False
        self.job.paused = True
        out.send((self.scheduler, Preempted(self.job)))


class Staff:
    """Workers, and how many there are at most."""

    def __init__(self, world: World, size: int | None = None) -> None:
        self.world = world
        self.size = size
        self.busy = 0
        self.lets_go_on = True
        self.late = False
        """Whether it takes a worker a message to have its task."""

    def assign(self, task: Any, out: Outbox) -> bool:
        if self.size is not None and self.busy >= self.size:
            return False
        self.busy += 1
        self.world.words.append(f"assign {task}")
        assert task.worker is None
        out.send((task, Assign(task)))
        if not self.late:
            self.world.taken(task)
        return True

    def may_go_on(self, task: Any) -> bool:
        return self.lets_go_on

    def idle(self, worker: Behaviour) -> None:
        self.busy -= 1


class Keeper:
    """The resources: who wants some has them when the test says so."""

    def __init__(self) -> None:
        self.open = False
        self.ordered_by: Any = None

    def hold_all(self, task: Job, out: Outbox) -> bool:
        return self.open

    def order_by(self, policy: Any, out: Outbox) -> None:
        self.ordered_by = policy


class World:
    """A scheduler with one pool, and the jobs that run in it."""

    def __init__(
        self, limit: int | None = 1, policy: Any = None, *, staff: int | None = None, prompt: bool = True
    ) -> None:
        self.out = Recorder()
        self.prompt = prompt
        self.words: list[str] = []
        self.pool: Any = Pool("loop", limit, FixedPriority() if policy is None else policy)  # of jobs
        self.staff = Staff(self, staff)
        self.keeper: Any = Keeper()
        staffs: Any = {"loop": self.staff}
        self.scheduler = Scheduler(pools={"loop": self.pool}, staffs=staffs, locks=self.keeper)

    def tell(self, *messages: object) -> str:
        """Tell the scheduler something, and what follows from it; answers with what it tells others."""
        for message in messages:
            self.out.send((self.scheduler, message))
        return self.drain()

    def drain(self) -> str:
        while self.out.mail or self.out.resting:
            to, message = self.out.mail.popleft() if self.out.mail else self.out.resting.popleft()
            match message:
                case Preempt(task=job):
                    self.words.append(f"preempt {job}")
                    to.receive(message, self.out)
                case Resume(slot=slot):
                    assert isinstance(to, Job)
                    self.words.append(f"resume {to}" if slot else f"go on {to}")
                    assert isinstance(to.worker, Worker)
                    to.worker.asked = to.paused = False  # a thread that has not stopped stays
                case Assign(task=job):
                    if self.staff.late:
                        self.taken(job)
                case Withdrawn() | Chosen():
                    self.words.append(f"{type(message).__name__.lower()} {to}")
                case _:
                    assert to is self.scheduler, (to, message)
                    to.receive(message, self.out)
                    self.scheduler.check()
        words, self.words = self.words, []
        return ", ".join(words)

    def taken(self, job: Any) -> None:
        """A worker has it."""
        job.worker = Worker(self.scheduler, job, self.prompt)

    def submit(self, *jobs: Job) -> str:
        """All at one instant."""
        for job in jobs:
            job.pool = job.pool or self.pool
        return self.tell(*map(Submit, jobs))

    def finish(self, job: Job, *, again: bool = False) -> str:
        """Its attempt is over."""
        worker, job.worker, job.paused = job.worker, None, False
        assert worker is not None
        job.outcome = None if again else "over"
        return self.tell(Idle(worker, job))

    def leave(self, job: Job) -> str:
        """It reaches its checkpoint."""
        assert isinstance(job.worker, Worker)
        job.worker.leave(self.out)
        return self.drain()

    def change(self, job: Job, rank: int) -> str:
        job.rank = rank
        return self.tell(PriorityChanged(job))

    def after(self, seconds: float) -> str:
        self.out.advance(seconds)
        return self.drain()

    @property
    def running(self) -> str:
        """Who has a slot, in the order of the alphabet."""
        return "".join(sorted(job.name for job in (*self.pool.on, *self.pool.leaving)))


def jobs(text: str, **options: Any) -> list[Job]:
    """Make jobs from names and ranks: "a3 b5"."""
    return [Job(word[0], int(word[1:]), **options) for word in text.split()]


# ---------------------------------------------------------------------------------- ready, chosen, assigned


def test_a_task_is_assigned_when_it_is_submitted_if_there_is_a_slot() -> None:
    world = World(limit=2)
    a, b, c = jobs("a3 b3 c3")
    assert world.submit(a, b, c) == "assign a, assign b"
    assert a.ready
    assert c.ready
    assert (world.pool.running, len(world.pool.policy), c.place) == (2, 1, Place.QUEUED)


def test_nobody_is_chosen_before_all_that_comes_at_one_instant_is_known() -> None:
    world = World(limit=1)
    a, b = jobs("a1 b5")
    assert world.submit(a, b) == "assign b"


def test_a_task_with_dependencies_is_only_admitted() -> None:
    world = World()
    (job,) = jobs("a3")
    job.upstream = {}
    assert world.submit(job) == ""
    assert job.begun
    assert not job.ready
    assert world.tell(Ready(job)) == "assign a"


def test_a_freed_slot_goes_to_the_highest_rank_and_among_equals_to_the_oldest() -> None:
    world = World()
    a, b, c, d = jobs("a5 b1 c5 d5")
    world.submit(a, b, c, d)
    assert world.finish(a) == "assign c"
    assert world.finish(c) == "assign d"
    assert world.finish(d) == "assign b"
    assert world.finish(b) == ""
    assert world.pool.running == 0


def test_whoever_becomes_ready_because_a_task_has_ended_competes_for_its_slot() -> None:
    world = World()
    a, low, high = jobs("a3 l1 h5")
    world.submit(a, low)
    high.pool = world.pool
    worker, a.worker = a.worker, None
    assert worker is not None
    assert world.tell(Idle(worker, a), Ready(high)) == "assign h"


def test_an_attempt_that_was_given_back_is_before_its_equals() -> None:
    world = World()
    a, b, c = jobs("a3 b3 c3")
    world.submit(a, b, c)
    worker, a.worker = a.worker, None
    assert worker is not None
    assert world.tell(Idle(worker, a), Ready(a, True)) == "assign a"


def test_another_attempt_is_behind_its_equals() -> None:
    world = World()
    a, b = jobs("a3 b3")
    world.submit(a, b)
    assert world.finish(a, again=True) == "assign b"
    assert world.tell(Ready(a)) == ""
    assert world.finish(b) == "assign a"


# -------------------------------------------------------------------------------------------- preemption


def test_a_more_urgent_task_takes_the_slot_of_the_least_urgent_who_goes_on_later() -> None:
    world = World(limit=2)
    a, b, c = jobs("a2 b1 c5")
    assert world.submit(a, b) == "assign a, assign b"
    assert world.submit(c) == "preempt b, assign c"
    assert (b.place, world.running) == (Place.QUEUED, "ac")
    assert world.finish(a) == "resume b"
    assert b.place is Place.ON


def test_equals_never_preempt_each_other() -> None:
    world = World()
    a, b = jobs("a3 b3")
    world.submit(a)
    assert world.submit(b) == ""


def test_who_may_not_be_preempted_is_not() -> None:
    world = World()
    (a,) = jobs("a1", preemptible=False)
    (b,) = jobs("b6")
    world.submit(a)
    assert world.submit(b) == ""
    assert world.finish(a) == "assign b"


def test_the_slot_is_passed_on_only_when_it_has_been_left() -> None:
    world = World(prompt=False)
    a, b = jobs("a1 b5")
    world.submit(a)
    assert world.submit(b) == "preempt a"
    assert (a.place, b.place, world.running) == (Place.LEAVING, Place.NEXT, "a")
    assert world.leave(a) == "assign b"
    assert (a.place, b.place, world.running) == (Place.QUEUED, Place.ON, "b")
    assert world.finish(b) == "resume a"


def test_who_is_chosen_again_before_it_has_left_stays() -> None:
    world = World(prompt=False)
    a, b = jobs("a1 b5")
    world.submit(a)
    world.submit(b)
    assert world.change(a, 6) == "resume a"
    assert (a.place, b.place) == (Place.ON, Place.QUEUED)
    assert world.tell(Preempted(a)) == ""  # it was on the way, and means nothing any more
    assert a.place is Place.ON
    assert world.finish(a) == "assign b"


def test_who_is_chosen_again_at_once_never_hears_that_it_was_to_leave() -> None:
    world = World(1, FixedPriority(quantum=1))
    a, b = jobs("a3 b3")
    world.submit(a)
    world.after(0.5)
    assert world.submit(b) == ""
    world.out.now = 1.0
    assert world.change(b, 2) == ""
    assert a.place is Place.ON


def test_a_more_urgent_one_takes_the_place_of_who_is_next() -> None:
    world = World(prompt=False)
    a, b, c = jobs("a1 b4 c5")
    world.submit(a)
    assert world.submit(b) == "preempt a"
    assert world.submit(c) == ""
    assert (b.place, c.place) == (Place.QUEUED, Place.NEXT)
    assert world.leave(a) == "assign c"
    assert world.finish(c) == "assign b"


def test_who_ends_while_it_is_to_leave_makes_room_for_the_next() -> None:
    world = World(prompt=False)
    a, b = jobs("a1 b5")
    world.submit(a)
    world.submit(b)
    assert world.finish(a) == "assign b"
    assert (len(world.pool.policy), world.running) == (0, "b")
    assert world.tell(Preempted(a)) == ""


def test_who_has_to_leave_before_its_worker_has_it_is_asked_a_moment_later() -> None:
    world = World(prompt=False)
    world.staff.late = True
    a, b, c = jobs("a1 b5 c6")
    world.submit(a)
    assert world.submit(b) == "preempt a"
    assert isinstance(a.worker, Worker)
    a.worker.leave(world.out)
    assert world.submit(c) == "assign b, preempt b"
    assert world.leave(b) == "assign c"


def test_those_who_are_next_get_slots_in_the_order_of_being_chosen() -> None:
    world = World(limit=2, prompt=False)
    a, b, c, d = jobs("a1 b1 c4 d5")
    world.submit(a, b)
    assert world.submit(c, d) == "preempt b, preempt a"
    assert world.leave(a) == "assign d"
    assert world.leave(b) == "assign c"


def test_who_was_preempted_and_chosen_again_may_be_next_too() -> None:
    world = World(prompt=False)
    a, b, c = jobs("a1 b5 c3")
    world.submit(a)
    world.submit(b)
    world.leave(a)
    assert world.change(a, 6) == "preempt b"
    assert (a.place, b.place) == (Place.NEXT, Place.LEAVING)
    assert world.submit(c) == ""
    assert world.leave(b) == "resume a"
    assert world.finish(a) == "resume b"


def test_a_turn_that_is_over_is_over_without_any_other_event() -> None:
    world = World(1, FixedPriority(quantum=2))
    a, b, c = jobs("a3 b3 c3")
    assert world.submit(a, b) == "assign a"
    assert world.after(1) == ""
    assert world.submit(c) == ""
    assert world.after(1) == "preempt a, assign b"
    assert world.after(2) == "preempt b, assign c"
    assert world.after(2) == "preempt c, resume a"
    assert world.finish(a) == "resume b"


def test_nobody_is_woken_for_a_turn_when_nobody_waits() -> None:
    world = World(1, FixedPriority(quantum=2))
    a, b = jobs("a3 b3")
    world.submit(a)
    assert len(world.out.timers) == 0
    world.submit(b)
    assert len(world.out.timers) == 1
    world.tell(Withdraw(b))
    assert len(world.out.timers) == 0


def test_an_alarm_is_set_anew_when_the_policy_says_another_time() -> None:
    world = World(2, FixedPriority(quantum=3))
    a, b, c = jobs("a3 b3 c3")
    world.submit(a)
    world.after(1)
    world.submit(b)
    world.submit(c)
    assert (world.pool.alarm_when, len(world.out.timers)) == (3.0, 1)
    world.finish(a)
    assert (world.pool.alarm_when, len(world.out.timers)) == (None, 0)


# -------------------------------------------------------------------------------------- leaving the queue


def test_a_task_that_leaves_the_queue_is_told_and_one_that_runs_is_not_the_schedulers_affair() -> None:
    world = World()
    a, b = jobs("a3 b3")
    world.submit(a, b)
    assert world.tell(Withdraw(b)) == "withdrawn b"
    assert world.tell(Withdraw(b)) == ""
    assert world.tell(Withdraw(a)) == ""
    assert world.finish(a) == ""


def test_who_is_next_may_be_withdrawn_and_then_who_was_to_leave_stays() -> None:
    world = World(prompt=False)
    a, b = jobs("a1 b5")
    world.submit(a)
    world.submit(b)
    assert world.tell(Withdraw(b)) == "withdrawn b, resume a"
    assert (a.place, b.place, world.running) == (Place.ON, None, "a")


def test_a_changed_rank_counts_in_the_queue_and_on_a_slot() -> None:
    world = World()
    a, b, c = jobs("a3 b3 c3")
    world.submit(a, b, c)
    assert world.change(c, 4) == "preempt a, assign c"
    assert world.change(c, 2) == "preempt c, resume a"
    assert world.finish(a) == "assign b"


def test_the_rank_of_who_has_no_place_is_no_affair_of_the_policy() -> None:
    world = World()
    a, b = jobs("a3 b3")
    world.submit(a)
    world.tell(Lend(a))
    assert world.change(a, 6) == ""
    assert world.submit(b) == "assign b"
    assert world.tell(Reclaim(a)) == "preempt b, resume a"


# ---------------------------------------------------------------------------------------------- lending


def test_a_lent_slot_goes_to_the_next_and_is_regained_by_rank() -> None:
    world = World()
    a, b, c = jobs("a3 b3 c2")
    world.submit(a, b, c)
    assert world.tell(Lend(a)) == "assign b"
    assert world.tell(Reclaim(a)) == ""
    assert world.finish(b) == "resume a"
    assert world.finish(a) == "assign c"


def test_a_lent_slot_that_nobody_took_is_regained_at_once() -> None:
    world = World()
    (a,) = jobs("a3")
    world.submit(a)
    assert world.tell(Lend(a)) == ""
    assert world.tell(Reclaim(a)) == "resume a"
    assert world.running == "a"


@pytest.mark.parametrize("reclaims", [False, True])
def test_a_task_that_ends_without_its_slot_gives_none_back(reclaims: bool) -> None:
    world = World()
    a, b, c = jobs("a3 b3 c3")
    world.submit(a, b, c)
    world.tell(Lend(a))
    if reclaims:
        world.tell(Reclaim(a))
    assert world.finish(a) == ""
    assert world.running == "b"
    assert world.finish(b) == "assign c"
    assert a.place is None


def test_words_that_come_too_late_change_nothing() -> None:
    world = World()
    a, b = jobs("a3 b3")
    world.submit(a)
    world.finish(a)
    assert world.tell(Lend(a), Reclaim(a), Preempted(a), PriorityChanged(a), Withdraw(a)) == ""
    assert (world.pool.running, a.place) == (0, None)
    assert world.submit(b) == "assign b"


def test_who_lends_its_slot_while_it_is_to_leave_has_left() -> None:
    world = World(prompt=False)
    a, b = jobs("a1 b5")
    world.submit(a)
    world.submit(b)
    assert world.tell(Lend(a)) == "assign b"
    assert world.leave(a) == "go on a"  # to ask for its slot when its wait is over
    assert a.place is Place.LENT
    assert world.tell(Reclaim(a)) == ""
    assert world.finish(b) == "resume a"


def test_who_lends_its_slot_though_it_was_preempted_is_not_in_the_queue_meanwhile() -> None:
    world = World()
    a, b = jobs("a1 b5")
    world.submit(a)
    world.submit(b)
    assert world.tell(Lend(a)) == "go on a"
    assert world.finish(b) == ""
    assert world.tell(Reclaim(a)) == "resume a"


def test_without_a_limit_a_slot_is_regained_at_once_whoever_waits_for_a_worker() -> None:
    world = World(None, staff=2)
    a, b, c = jobs("a3 b3 c3")
    assert world.submit(a, b, c) == "assign a, assign b"
    assert world.tell(Lend(a)) == ""
    assert world.tell(Reclaim(a)) == "resume a"
    assert world.finish(b) == "assign c"


# --------------------------------------------------------------------------------------------- full staffs


def test_who_finds_no_worker_keeps_its_place_until_somebody_is_idle() -> None:
    world = World(None, staff=1)
    a, b, c = jobs("a3 b3 c3")
    assert world.submit(a, b, c) == "assign a"
    assert (b.place, world.pool.full, len(world.pool.policy)) == (Place.QUEUED, True, 2)
    assert world.finish(a) == "assign b"
    assert world.finish(b) == "assign c"


def test_a_full_pool_looks_again_when_it_is_told_that_there_may_be_workers() -> None:
    world = World(None, staff=0)
    (a,) = jobs("a3")
    assert world.submit(a) == ""
    world.staff.size = 1
    world.scheduler.look_again(world.out)
    assert world.drain() == "assign a"


def test_who_was_next_and_finds_no_worker_is_in_the_queue_again() -> None:
    world = World(1, staff=1)
    a, b = jobs("a1 b5")
    world.submit(a)
    assert world.submit(b) == "preempt a"  # which keeps its worker busy
    assert (a.place, b.place) == (Place.QUEUED, Place.QUEUED)
    world.staff.size = 2
    world.scheduler.look_again(world.out)
    assert world.drain() == "assign b"
    assert world.finish(b) == "resume a"


@pytest.mark.parametrize("prompt", [False, True])
def test_whose_worker_may_not_go_on_yet_keeps_its_place(prompt: bool) -> None:
    world = World(1, prompt=prompt)
    a, b, c = jobs("a2 b5 c2")
    world.submit(a)
    world.submit(b, c)
    if not prompt:
        world.leave(a)
    world.staff.lets_go_on = False
    assert world.finish(b) == ""
    assert (a.place, world.pool.full) == (Place.QUEUED, True)
    world.staff.lets_go_on = True
    world.scheduler.look_again(world.out)
    assert world.drain() == "resume a"
    assert world.finish(a) == "assign c"


def test_a_worker_that_is_free_serves_the_pools_that_found_none() -> None:
    world = World(None, staff=1)
    other = world.scheduler.pools["tag"] = Pool("tag", 2, FixedPriority())
    a, b = jobs("a3 b3")
    b.pool = other
    world.submit(a)
    assert world.submit(b) == ""
    assert world.finish(a) == "assign b"


# ------------------------------------------------------------------------------------------- boundless pools


def test_in_a_boundless_pool_everybody_is_assigned_at_once_and_nothing_is_lent() -> None:
    world = World()
    world.pool.boundless = True
    a, b = jobs("a3 b3")
    assert world.submit(a, b) == "assign a, assign b"
    assert a.place is None
    assert world.tell(Lend(a)) == ""
    assert world.tell(Reclaim(a)) == "resume a"
    assert world.tell(Wish(a)) == "chosen a"
    assert world.tell(Withdraw(a)) == ""


# ------------------------------------------------------------------------------------------------ tag pools


def test_a_tag_has_slots_and_an_order_of_its_own() -> None:
    world = World(5)
    tag = world.scheduler.pools["tag"] = Pool("tag", 1, Edf())
    a, b, c = jobs("a3 b3 c1")
    b.pool = c.pool = tag
    b.due, c.due = 5.0, 2.0
    assert world.submit(a, b) == "assign a, assign b"
    assert world.submit(c) == "preempt b, assign c"
    assert world.running == "a"


# --------------------------------------------------------------------------------------------- resources


def test_who_has_to_wait_for_resources_leaves_the_queue_and_the_next_is_chosen() -> None:
    world = World()
    (a,) = jobs("a5", options=Options(frozenset({"db"})))
    (b,) = jobs("b3")
    assert world.submit(a, b) == "assign b"
    assert a.place is None
    world.keeper.open = True
    assert world.tell(Ready(a)) == "preempt b, assign a"


def test_who_is_next_asks_for_its_resources_when_it_has_the_slot() -> None:
    world = World(prompt=False)
    (a,) = jobs("a1")
    (b,) = jobs("b5", options=Options(frozenset({"db"})))
    world.submit(a)
    assert world.submit(b) == "preempt a"
    assert world.leave(a) == "resume a"
    assert (b.place, world.running) == (None, "a")
    assert repr(world.pool.policy) == "<FixedPriority, 0 ready, 1 running>"
    assert world.finish(a) == ""


def test_in_a_boundless_pool_too() -> None:
    world = World()
    world.pool.boundless = True
    (a,) = jobs("a1", options=Options(frozenset({"db"})))
    assert world.submit(a) == ""
    world.keeper.open = True
    assert world.tell(Ready(a)) == "assign a"


# ------------------------------------------------------------------------------------------------- wishes


def test_a_wish_is_granted_when_the_instant_is_over_to_those_who_still_run_by_urgency() -> None:
    world = World(3)
    a, b, c, d = jobs("a2 b1 c4 d5")
    world.submit(a, b, c)
    for job in (b, a, c):
        world.out.send((world.scheduler, Wish(job)))
    assert world.submit(d) == "preempt b, assign d, chosen c, chosen a"
    assert world.finish(a) == "resume b, chosen b"


def test_of_equals_whose_wishes_are_granted_the_first_is_who_joined_first_if_the_policy_knows() -> None:
    class Silent(FixedPriority[Any]):
        precedence: Any = None

    for policy, words in (FixedPriority(), "chosen a, chosen b"), (Silent(), "chosen b, chosen a"):
        world = World(2, policy)
        a, b, c = jobs("a1 b3 c3")
        world.submit(a, b, c)
        world.finish(c)
        world.change(a, 3)
        assert world.tell(Wish(b), Wish(a)) == words


def test_who_waits_for_something_else_meanwhile_is_told_that_it_may() -> None:
    world = World()
    (a,) = jobs("a3")
    world.submit(a)
    assert world.tell(Lend(a), Wish(a)) == "chosen a"


def test_a_wish_of_who_was_preempted_and_then_lends_its_slot_is_not_forgotten() -> None:
    world = World()
    a, b = jobs("a1 b5")
    world.submit(a)
    world.submit(b)
    assert world.tell(Wish(a)) == ""
    assert world.tell(Lend(a)) == "go on a, chosen a"


def test_a_wish_ends_with_the_task() -> None:
    world = World()
    a, b = jobs("a1 b5")
    world.submit(a)
    world.submit(b)
    world.tell(Wish(a))
    world.finish(a)
    assert not world.pool.wishing
    assert world.finish(b) == ""


# ------------------------------------------------------------------------------------------------- stalls


def stalled_pool() -> tuple[World, Job, Job]:
    world = World()
    a, b = jobs("a1 b5")
    world.submit(a)
    world.submit(b)
    b.stalled = True
    return world, a, b


def test_when_all_that_run_wait_for_something_unknown_the_best_of_the_preempted_goes_on_beside_them() -> None:
    world, _, b = stalled_pool()
    assert world.after(STALL) == "resume a"
    assert world.running == "ab"
    assert world.finish(b) == ""


def test_as_long_as_one_of_them_runs_nobody_goes_on_but_it_is_looked_again() -> None:
    world, _, b = stalled_pool()
    b.stalled = False
    assert world.after(STALL) == ""
    b.stalled = True
    assert world.after(STALL) == "resume a"
    assert len(world.out.timers) == 1  # somebody may be preempted again
    world.after(STALL)
    assert len(world.out.timers) == 0


def test_who_goes_on_beside_them_has_to_leave_for_a_more_urgent_one_which_then_runs_there() -> None:
    world, _, _ = stalled_pool()
    world.after(STALL)
    (c,) = jobs("c3")
    assert world.submit(c) == "preempt a, assign c"
    assert world.running == "bc"
    assert world.finish(c) == ""
    assert world.after(STALL) == "resume a"


def test_when_the_one_beside_them_has_ended_there_is_no_slot_more_than_before() -> None:
    world, a, b = stalled_pool()
    (c,) = jobs("c1")
    world.submit(c)
    world.after(STALL)
    assert world.finish(a) == ""
    assert world.running == "b"
    b.stalled = False
    assert world.finish(b) == "assign c"


def test_one_that_was_preempted_and_waits_for_its_next_attempt_has_nothing_that_could_go_on() -> None:
    world, a, b = stalled_pool()
    assert world.finish(b) == "resume a"
    assert world.finish(a, again=True) == ""
    (c,) = jobs("c5")
    c.stalled = True
    assert world.submit(c) == "assign c"
    assert world.tell(Ready(a)) == ""
    assert world.after(STALL) == ""
    assert world.finish(c) == "assign a"


# --------------------------------------------------------------------------------------- limits, policies


def test_more_slots_are_given_away_at_once() -> None:
    world = World(1)
    a, b, c = jobs("a3 b3 c3")
    world.submit(a, b, c)
    assert world.tell(SetLimit(world.pool, 2)) == "assign b"
    assert world.tell(SetLimit(world.pool, 4)) == "assign c"


def test_nobody_has_to_stop_when_there_are_fewer_slots_but_nobody_follows_either() -> None:
    world = World(3)
    a, b, c, d = jobs("a3 b3 c3 d3")
    world.submit(a, b, c, d)
    assert world.tell(SetLimit(world.pool, 1)) == ""
    assert world.running == "abc"
    assert world.finish(a) == ""
    assert world.finish(b) == ""
    assert world.finish(c) == "assign d"


def test_with_fewer_slots_than_run_a_more_urgent_one_makes_room_until_there_is_a_slot_for_it() -> None:
    world = World(2)
    a, b, c = jobs("a1 b2 c5")
    world.submit(a, b)
    world.tell(SetLimit(world.pool, 1))
    assert world.submit(c) == "preempt a, preempt b, assign c"
    assert world.running == "c"
    assert world.finish(c) == "resume b"


def test_another_policy_takes_all_that_wait_in_the_order_of_the_old_one_and_those_that_run() -> None:
    world = World(1)
    many = [Job(f"j{number}", number % 7) for number in range(3000)]
    world.submit(*many)
    running = next(iter(world.pool.on))
    waiting = len(world.pool.policy)
    said = world.tell(SetPolicy(Fair()))
    assert said == ""
    assert waiting == len(world.pool.policy) == 2999
    assert isinstance(world.pool.policy, Fair)
    assert world.keeper.ordered_by is not None
    ended: list[Job] = []
    while running is not None:
        ended.append(running)
        world.finish(running)
        running = next(iter(world.pool.on), None)
    assert len(set(map(id, ended))) == 3000
    assert [job.rank for job in ended] == sorted((job.rank for job in many), reverse=True)


def test_another_policy_may_see_at_once_that_somebody_else_should_run() -> None:
    world = World(1)
    a, b = jobs("a3 b1")
    a.due, b.due = 5.0, 1.0
    world.submit(a, b)
    assert world.tell(SetPolicy(Edf())) == "preempt a, assign b"


def test_with_another_policy_who_is_to_leave_and_who_is_next_are_chosen_anew() -> None:
    world = World(1, prompt=False)
    a, b = jobs("a1 b5")
    a.due = 1.0
    world.submit(a)
    world.submit(b)
    assert world.tell(SetPolicy(Edf())) == "resume a"
    assert (a.place, b.place) == (Place.ON, Place.QUEUED)
    assert world.finish(a) == "assign b"


def test_a_pool_with_a_policy_of_its_own_keeps_it_unless_it_is_meant() -> None:
    world = World()
    world.pool.own_policy = True
    mine = world.pool.policy
    world.tell(SetPolicy(Edf()))
    assert world.pool.policy is mine
    world.keeper.ordered_by = None
    world.tell(SetPolicy(Edf(), world.pool))
    assert isinstance(world.pool.policy, Edf)
    assert world.keeper.ordered_by is None


def test_the_alarm_of_the_old_policy_is_not_heard_any_more() -> None:
    world = World(1, FixedPriority(quantum=2))
    a, b = jobs("a3 b3")
    world.submit(a, b)
    world.tell(SetPolicy(FixedPriority()))
    assert len(world.out.timers) == 0
    assert world.after(5) == ""


def test_a_policy_that_remembers_is_told_of_every_end() -> None:
    world = World(1, Fair())
    a, b = jobs("a3 b3")
    world.submit(a, b)
    policy: Any = world.pool.policy
    world.finish(a)
    world.finish(b, again=True)
    assert list(policy._records) == [b]


def test_idle_workers_are_used_again_up_to_a_number() -> None:
    made: list[Behaviour] = []

    def make() -> Behaviour:
        made.append(Behaviour())
        return made[-1]

    staff, out = ReusedWorkers(make), Recorder()

    def assigned() -> Behaviour:
        job: Any = Job("a")
        assert staff.assign(job, out)
        ((worker, message),) = out.taken()
        assert isinstance(message, Assign)
        assert message.task is job
        return worker

    first = assigned()
    staff.idle(first)
    assert assigned() is first
    workers = [assigned() for _ in range(100)]
    for worker in workers:
        staff.idle(worker)
    for _ in range(100):
        assigned()
    assert len(made) == 101 + 36


# ------------------------------------------------------------------------------ against a slow, obvious model

POLICIES: dict[str, Callable[[], Any]] = {
    "priority": FixedPriority,
    "quantum": lambda: FixedPriority[Any](quantum=2),
    "aging": lambda: FixedPriority[Any](aging=2, quantum=3, aging_preempts=True),
    "edf": Edf,
    "fair": lambda: Fair[Any](levels=2, quanta=[1, 2], boost=7),
    "realtime": Realtime,
}


class Slots(RuleBasedStateMachine):
    """Every order of events. Where the policy is known to be a simple one, the choice is checked as well."""

    @initialize(
        limit=st.integers(1, 3),
        policy=st.sampled_from(sorted(POLICIES)),
        staff=st.sampled_from([None, None, 1, 2, 4]),
        prompt=st.booleans(),
    )
    def begin(self, limit: int, policy: str, staff: int | None, prompt: bool) -> None:
        self.kind = policy
        self.world = World(limit, POLICIES[policy](), staff=staff, prompt=prompt)
        self.pool: Any = self.world.pool
        self.limit = limit
        self.had = 0  # so many had a slot
        self.known: list[Job] = []  # by the model: who wants a slot, or has one, in the order of joining
        self.lent: list[Job] = []
        self.order: dict[Job, int] = {}
        self.count = 0
        self.expected_order = 0

    # ------------------------------------------------------------------------------------ what happens

    @rule(rank=st.integers(0, 3), due=st.sampled_from([1.0, 5.0, 9.0, inf]), preemptible=st.integers(0, 4))
    def submit(self, rank: int, due: float, preemptible: int) -> None:
        self.count += 1
        job = Job(f"j{self.count}", rank, due, bool(preemptible))
        self.known.append(job)
        self._join(job)
        self.world.submit(job)

    def _join(self, job: Job) -> None:
        self.expected_order += 1
        self.order[job] = self.expected_order

    def _some(self, data: st.DataObject, jobs: list[Job]) -> Job:
        return data.draw(st.sampled_from(jobs))

    @property
    def begun(self) -> list[Job]:
        return [job for job in self.known if job.worker is not None]

    @property
    def not_begun(self) -> list[Job]:
        return [job for job in self.known if job.worker is None]

    @property
    def on_their_way_out(self) -> list[Job]:
        return [job for job in self.begun if isinstance(job.worker, Worker) and job.worker.asked]

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), again=st.booleans())
    def end(self, data: st.DataObject, again: bool) -> None:
        job = self._some(data, self.begun)
        self.known.remove(job)
        self.world.finish(job, again=again)
        if again:
            self.known.append(job)
            self._join(job)
            self.world.tell(Ready(job))

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def end_without_a_slot(self, data: st.DataObject) -> None:
        job = self._some(data, self.lent)
        self.lent.remove(job)
        self.world.finish(job)

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def block(self, data: st.DataObject) -> None:
        job = self._some(data, self.begun)
        self.known.remove(job)
        self.lent.append(job)
        self.world.tell(Lend(job))

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        job = self._some(data, self.lent)
        self.lent.remove(job)
        self.known.append(job)
        self._join(job)
        self.world.tell(Reclaim(job))

    @precondition(lambda self: self.not_begun)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        job = self._some(data, self.not_begun)
        self.known.remove(job)
        assert f"withdrawn {job}" in self.world.tell(Withdraw(job))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), rank=st.integers(0, 3))
    def change_rank(self, data: st.DataObject, rank: int) -> None:
        self.world.change(self._some(data, self.known), rank)

    @precondition(lambda self: self.on_their_way_out)
    @rule(data=st.data())
    def reach_a_checkpoint(self, data: st.DataObject) -> None:
        self.world.leave(self._some(data, self.on_their_way_out))

    @rule(seconds=st.sampled_from([0.5, 1, 2]))
    def time_passes(self, seconds: float) -> None:
        while self.world.out.timers.next_when() is not None and seconds > 0:
            when = self.world.out.timers.next_when()
            assert when is not None
            step = min(seconds, max(when - self.world.out.now, 0))
            self.world.after(step)
            if not step:
                break
            seconds -= step
        self.world.after(max(seconds, 0))

    @rule(name=st.sampled_from(sorted(POLICIES)))
    def another_policy(self, name: str) -> None:
        self.kind = "any"  # what the old one knew of the order is gone
        self.world.tell(SetPolicy(POLICIES[name]()))

    @rule(limit=st.integers(1, 3))
    def another_limit(self, limit: int) -> None:
        self.limit = limit
        self.world.tell(SetLimit(self.pool, limit))

    @rule(data=st.data())
    def wish(self, data: st.DataObject) -> None:
        on = list(self.pool.on)
        if on:
            job = self._some(data, on)
            assert f"chosen {job}" in self.world.tell(Wish(job))

    # ------------------------------------------------------------------------------------ what holds

    @invariant()
    def everybody_is_in_one_place(self) -> None:
        if not hasattr(self, "world"):
            return
        pool = self.pool
        places: dict[Place, Any] = {
            Place.ON: list(pool.on),
            Place.LEAVING: list(pool.leaving),
            Place.NEXT: list(pool.next),
            Place.LENT: self.lent,
            Place.QUEUED: [job for job in self.known if job.place is Place.QUEUED],
        }
        assert sum(len(there) for there in places.values()) == len(self.known) + len(self.lent)
        for place, there in places.items():
            assert all(job.place is place for job in there), place
        assert len(pool.policy) == len(places[Place.QUEUED]) + len(pool.leaving)
        assert all(job.worker is not None for job in (*pool.on, *pool.leaving))
        assert all(pool.leaving.values())  # everybody was asked
        assert not pool.choosing
        assert not pool.wishing or all(
            job.place in {Place.QUEUED, Place.NEXT, Place.LEAVING} for job in pool.wishing
        )
        shown = repr(pool.policy)
        if shown.startswith("<FixedPriority"):
            assert f", {len(pool.on) + len(pool.next)} running" in shown
        check = getattr(pool.policy, "check", None)
        if check is not None:
            check()

    @invariant()
    def no_slot_is_idle_and_none_is_used_twice(self) -> None:
        if not hasattr(self, "world"):
            return
        pool, staff = self.pool, self.world.staff
        if not pool.leaving and not pool.full and len(pool.policy):
            assert pool.running >= self.limit
        if pool.full:
            assert staff.size is not None
            assert staff.busy >= staff.size
        assert pool.running <= max(self.limit, self.had)
        self.had = pool.running

    @invariant()
    def the_best_have_the_slots(self) -> None:
        """By rank; those that run first; then the order of joining."""
        if not hasattr(self, "world") or self.kind not in {"priority", "realtime"}:
            return
        pool = self.pool
        if pool.full:
            return
        chosen = {*pool.on, *pool.next}
        bound = {job for job in chosen if not job.preemptible}
        best = sorted(
            (job for job in self.known if job not in bound),
            key=lambda job: (-job.rank, job not in chosen, self.order[job]),
        )
        expected = {*bound, *best[: max(0, self.limit - len(bound))]}
        assert {job.name for job in expected} <= {job.name for job in chosen}
        if len(chosen) <= self.limit:  # there were more when the limit was higher; they may go on
            assert len(expected) == len(chosen)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.tell(SetLimit(self.pool, 1000))
        world.staff.size = None
        world.scheduler.look_again(world.out)
        world.drain()
        for job in self.lent:
            world.tell(Reclaim(job))
        everybody = [*self.known, *self.lent]
        assert {job.name for job in everybody} == {job.name for job in self.pool.on}
        for job in everybody:
            world.finish(job)
        assert (self.pool.running, len(self.pool.policy), world.staff.busy) == (0, 0, 0)
        assert not self.pool.next
        assert self.pool.alarm_when is None


Slots.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestSlots = Slots.TestCase


# ------------------------------------------------------------------------------------- into another pool


def test_whoever_is_moved_as_it_begins_leaves_its_slot_and_waits_in_the_other_pool() -> None:
    world, other = World(), Pool("other", 1, FixedPriority[Any]())
    world.scheduler.pools["other"] = other
    world.staff.late = True
    a, b, c = jobs("a3 b3 c3")
    c.pool = other
    world.submit(c)
    a.pool = b.pool = world.pool
    assert world.tell(Submit(a)) == "assign a"
    a.worker = None  # nobody has taken it yet
    assert world.tell(Submit(b)) == ""
    assert world.tell(Move(a, other)) == "assign b"
    assert (a.pool, a.place, world.running) == (other, Place.QUEUED, "b")
    assert world.finish(c) == "assign a"


def test_whoever_has_ended_or_begun_is_not_moved() -> None:
    world, other = World(2), Pool("other", 1, FixedPriority[Any]())
    a, b = jobs("a3 b3")
    world.submit(a, b)
    assert world.tell(Move(a, other)) == ""
    world.finish(b)
    assert world.tell(Move(b, other)) == ""
    assert a.pool is b.pool is world.pool

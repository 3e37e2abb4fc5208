"""The Scheduler actor, with a recorder for a kernel: who gets a slot, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsched._core.behaviour import Behaviour, Outbox
from actorsched._system.scheduler import Pool, ReusedWorkers, Scheduler
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
from tests.recorder import Recorder


class Worker(Behaviour):
    """Somebody who could run a task."""


class Job(Behaviour):
    """A task, as far as the scheduler looks at one."""

    name: str
    rank: int = 3
    host: str = "loop"
    upstream: dict[Behaviour, None] | None = None
    worker: Behaviour | None = None
    ready: bool = False
    begun: bool = False

    def __repr__(self) -> str:
        return self.name

    def admitted(self) -> None:
        self.ready = True

    def begin(self, out: Outbox) -> None:
        self.begun = True


class NewWorkers:
    """A staff without limits: everybody gets a worker of his own."""

    def assign(self, task: Any, out: Outbox) -> bool:
        out.send((Worker(), Assign(task)))
        return True

    def idle(self, worker: Behaviour) -> None:
        pass


class World:
    """A scheduler with one pool, and the jobs that run in it."""

    def __init__(self, limit: int | None = 1, staff: Any = None) -> None:
        self.out = Recorder()
        self.pool = Pool("loop", limit, staff or NewWorkers())
        self.scheduler = Scheduler(pools={"loop": self.pool})

    def tell(self, message: object) -> str:
        """Tell the scheduler something, and what follows from it; answers with what it tells others."""
        self.scheduler.receive(message, self.out)
        return " ".join(self.said())

    def said(self) -> list[str]:
        words = []
        for to, message in self.out.deliver(self.scheduler):
            match message:
                case Assign(task=Job() as job):
                    job.worker = to
                    words.append(f"assign {job}")
                case Resume() | Withdrawn():
                    words.append(f"{type(message).__name__.lower()} {to}")
                case _:
                    raise AssertionError(message)
        return words

    def submit(self, *jobs: Job) -> str:
        return " ".join(filter(None, [self.tell(Submit(job)) for job in jobs]))

    def finish(self, job: Job) -> str:
        worker, job.worker = job.worker, None
        assert worker is not None
        return self.tell(Idle(worker, job))


def jobs(text: str) -> list[Job]:
    """Make jobs from names and ranks: "a3 b5"."""
    return [Job(word[0], int(word[1:])) for word in text.split()]


# ---------------------------------------------------------------------------------------------- one by one


def test_a_task_is_assigned_as_soon_as_it_is_submitted_if_there_is_a_slot() -> None:
    world = World(limit=2)
    a, b, c = jobs("a3 b3 c9")
    assert world.submit(a, b, c) == "assign a assign b"
    assert a.ready
    assert c.ready
    assert (world.pool.running, len(world.pool.queue)) == (2, 1)


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
    a, b, c, d = jobs("a3 b1 c5 d5")
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
    worker, a.worker = a.worker, None
    assert worker is not None
    world.scheduler.receive(Idle(worker, a), world.out)
    (choose,) = world.out.taken()
    world.scheduler.receive(choose[1], world.out)  # meanwhile the waiter hears that it has settled
    world.scheduler.receive(Ready(high), world.out)
    assert world.said() == ["assign h"]


def test_a_task_that_leaves_the_queue_is_told_and_one_that_runs_is_not_the_schedulers_affair() -> None:
    world = World()
    a, b = jobs("a3 b3")
    world.submit(a, b)
    assert world.tell(Withdraw(b)) == "withdrawn b"
    assert world.tell(Withdraw(b)) == ""
    assert world.tell(Withdraw(a)) == ""
    assert world.finish(a) == ""


def test_a_changed_rank_counts_in_the_queue() -> None:
    world = World()
    a, b, c = jobs("a3 b3 c3")
    world.submit(a, b, c)
    c.rank = 4
    assert world.tell(PriorityChanged(c)) == ""
    assert world.tell(PriorityChanged(a)) == ""
    assert world.finish(a) == "assign c"


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
    assert world.pool.running == 1


def test_a_task_that_ends_without_its_slot_gives_none_back() -> None:
    for reclaims in (False, True):
        world = World()
        a, b, c = jobs("a3 b3 c3")
        world.submit(a, b, c)
        world.tell(Lend(a))
        if reclaims:
            world.tell(Reclaim(a))
        assert world.finish(a) == ""
        assert world.pool.running == 1
        assert world.finish(b) == "assign c"
        assert not world.scheduler.lent


def test_words_that_come_too_late_change_nothing() -> None:
    world = World()
    a, b = jobs("a3 b3")
    world.submit(a)
    world.finish(a)
    assert world.tell(Lend(a)) == ""
    assert world.tell(Reclaim(a)) == ""
    assert world.pool.running == 0
    assert world.submit(b) == "assign b"


def test_without_a_limit_a_slot_is_regained_at_once_whoever_waits_for_a_worker() -> None:
    class Two:
        """A staff of two."""

        def __init__(self) -> None:
            self.free = [Worker(), Worker()]

        def assign(self, task: Any, out: Outbox) -> bool:
            if self.free:
                out.send((self.free.pop(), Assign(task)))
                return True
            return False

        def idle(self, worker: Behaviour) -> None:
            self.free.append(worker)

    world = World(None, Two())
    a, b, c = jobs("a3 b3 c9")
    assert world.submit(a, b, c) == "assign a assign b"
    assert world.tell(Lend(a)) == ""
    assert world.tell(Reclaim(a)) == "resume a"
    assert world.finish(b) == "assign c"


def test_idle_workers_are_used_again_up_to_a_number() -> None:
    made: list[Worker] = []

    def make() -> Worker:
        made.append(Worker())
        return made[-1]

    staff, out = ReusedWorkers(make), Recorder()

    def assigned() -> Behaviour:
        (job,) = jobs("a3")
        assert staff.assign(job, out)  # type: ignore[arg-type]
        ((worker, message),) = out.taken()
        assert message.task is job  # type: ignore[attr-defined]
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


class Slots(RuleBasedStateMachine):
    """Every order of events, compared with lists that are searched anew each time."""

    @initialize(limit=st.integers(1, 4))
    def begin(self, limit: int) -> None:
        self.world = World(limit)
        self.limit = limit
        self.count = 0
        self.holding: list[Job] = []  # have a slot
        self.waiting: list[Job] = []  # run, have lent their slot
        self.queue: list[Job] = []  # want a slot, in the order of arrival
        self.begun: set[str] = set()

    def expect(self) -> list[str]:
        """Who gets the free slots, by the book."""
        words = []
        while self.queue and len(self.holding) < self.limit:
            best = max(self.queue, key=lambda job: (job.rank, -self.queue.index(job)))
            self.queue.remove(best)
            self.holding.append(best)
            words.append(f"{'resume' if best.name in self.begun else 'assign'} {best}")
            self.begun.add(best.name)
        return words

    def follow(self, act: Callable[[], str]) -> None:
        said = act()
        assert said == " ".join(self.expect())

    @rule(rank=st.integers(0, 3))
    def submit(self, rank: int) -> None:
        self.count += 1
        job = Job(f"j{self.count}", rank)
        self.queue.append(job)
        self.follow(lambda: self.world.submit(job))

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.holding))
        self.holding.remove(job)
        self.follow(lambda: self.world.finish(job))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def finish_without_a_slot(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(job)
        self.follow(lambda: self.world.finish(job))

    @precondition(lambda self: any(job.name in self.begun for job in self.queue))
    @rule(data=st.data())
    def finish_while_it_wants_its_slot(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([job for job in self.queue if job.name in self.begun]))
        self.queue.remove(job)
        self.follow(lambda: self.world.finish(job))

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def lend(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.holding))
        self.holding.remove(job)
        self.waiting.append(job)
        self.follow(lambda: self.world.tell(Lend(job)))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def reclaim(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(job)
        self.queue.append(job)
        self.follow(lambda: self.world.tell(Reclaim(job)))

    @precondition(lambda self: any(job.name not in self.begun for job in self.queue))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([job for job in self.queue if job.name not in self.begun]))
        self.queue.remove(job)
        assert self.world.tell(Withdraw(job)) == f"withdrawn {job}"

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), rank=st.integers(0, 3))
    def change_rank(self, data: st.DataObject, rank: int) -> None:
        job = data.draw(st.sampled_from(self.queue))
        job.rank = rank
        self.follow(lambda: self.world.tell(PriorityChanged(job)))

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "world"):
            pool = self.world.pool
            assert pool.running == len(self.holding) <= self.limit
            assert len(pool.queue) == len(self.queue)
            assert not pool.choosing
            pool.queue.check()


Slots.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSlots = Slots.TestCase

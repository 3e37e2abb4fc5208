"""The Task actor, with a recorder for a kernel: one life in every way it can go."""

from __future__ import annotations

import itertools
from math import inf
from typing import Any

import pytest

from actorsched._core.behaviour import Behaviour, Outbox
from actorsched._core.lifecycle import ALLOWED
from actorsched._core.policies.priority import FixedPriority
from actorsched._system.nursery import Nursery
from actorsched._system.pools import Pool
from actorsched._system.task import TaskActor
from actorsched.exceptions import DependencyFailed, TaskCancelled, TaskTimeout
from actorsched.messages import (
    AttemptExpired,
    Await,
    Cancel,
    Finished,
    Forget,
    GivenBack,
    Hurry,
    Inherit,
    Interrupt,
    Outcome,
    Preempted,
    PriorityChanged,
    Report,
    Resume,
    Retry,
    SetPriority,
    Settled,
    Started,
    Underway,
    Unwatch,
    Watch,
    Withdrawn,
)
from actorsched.options import task_options
from actorsched.status import TaskStatus
from tests.recorder import Answer, Recorder

DONE = Outcome(TaskStatus.COMPLETED, 5)


class Peg(Behaviour):
    """Somebody to send to."""

    title: str

    def __repr__(self) -> str:
        return self.title

    outcome: Any = None
    waiters: Any = None
    waits: Any = None
    rank: int = 3
    due: float = inf
    lenders: Any = None

    def expected_by(self, waiter: Behaviour, out: Outbox) -> bool:
        out.send((self, Await(waiter)))
        return True

    def urged_by(self, waiter: Any, out: Outbox) -> None:
        out.send((self, Inherit(waiter, waiter.rank, waiter.due)))


class World:
    """One task, and pegs for all others."""

    def __init__(self, *upstream: Any, fractions: list[float] | None = None, **options: Any) -> None:
        self.out = Recorder(fractions)
        self.scheduler, self.worker = Peg("scheduler"), Peg("worker")
        self.nursery = Nursery(contains=True, on_failure=list)
        kernel: Any = self.out  # as much of one as is needed
        self.task = TaskActor(
            owner=self.nursery,
            kernel=kernel,
            scheduler=self.scheduler,
            number=7,
            function=len,
            args=("abc",),
            kwargs=options.get("kwargs", {}),
            options=task_options(options),
            context=None,
            host="loop",
            pool=Pool("loop", 1, FixedPriority()),
            rank=3,
            upstream=list(upstream) or None,
        )

    def tell(self, *messages: object) -> list[object]:
        """Tell the task something; answers with what it says to others than its scope."""
        said = self.out.taken()
        for message in messages:
            before = self.task.status
            self.task.receive(message, self.out)
            self.task.check()
            if self.task.status is not before:
                assert self.task.status in ALLOWED[before], f"{before} -> {self.task.status}"
            said += self.out.taken()
        return [message for to, message in said if to is not self.nursery]

    def begin(self) -> list[object]:
        """The scheduler admits it."""
        self.task.begin(self.out)
        return self.tell()

    def run(self) -> None:
        """Get as far as the first attempt."""
        if self.task.upstream is None:
            self.task.admitted(self.out)
        self.tell(Started(self.worker, begun=True))

    @property
    def status(self) -> TaskStatus:
        return self.task.status


def names(messages: list[object]) -> list[str]:
    return [type(message).__name__ for message in messages]


# ------------------------------------------------------------------------------------- before the attempt


def test_a_task_without_dependencies_is_ready_when_it_is_admitted() -> None:
    world = World()
    assert world.status is TaskStatus.PENDING
    world.task.admitted(world.out)
    assert world.status is TaskStatus.READY


def test_a_task_asks_everybody_that_it_depends_on_and_is_ready_when_the_last_is_in() -> None:
    one, two = Peg("one"), Peg("two")
    world = World(one, two)
    assert names(world.begin()) == ["Await", "Await"]
    assert world.status is TaskStatus.WAITING
    assert world.tell(Settled(two, DONE)) == []
    assert names(world.tell(Settled(one, DONE))) == ["Ready"]
    assert world.status is TaskStatus.READY


def test_the_first_upstream_that_fails_fails_the_task_which_lets_go_of_the_others() -> None:
    one, two = Peg("one"), Peg("two")
    world = World(one, two)
    world.begin()
    failed: Outcome[Any] = Outcome(TaskStatus.FAILED, error=ValueError("x"))
    one.outcome = failed
    assert names(world.tell(Settled(one, failed))) == ["Forget"]
    assert isinstance(world.task.outcome.error, DependencyFailed)  # type: ignore[union-attr]
    assert world.tell(Settled(two, DONE)) == []


def test_a_cancelled_upstream_cancels_the_task_for_the_same_reason() -> None:
    one = Peg("one")
    world = World(one)
    world.begin()
    world.tell(Settled(one, Outcome(TaskStatus.CANCELLED, error=TaskCancelled("c", reason="why"))))
    assert world.status is TaskStatus.CANCELLED
    assert world.task.outcome.error.reason == "why"  # type: ignore[union-attr]


def test_a_task_that_runs_whatever_became_of_its_upstream_waits_for_all_of_it() -> None:
    one, two = Peg("one"), Peg("two")
    world = World(one, two, on_upstream_failure="run")
    world.begin()
    assert world.tell(Settled(one, Outcome(TaskStatus.FAILED, error=ValueError()))) == []
    assert names(world.tell(Settled(two, DONE))) == ["Ready"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_task_that_is_cancelled_before_it_is_ready_is_settled_at_once(begun: bool) -> None:
    one = Peg("one")
    world = World(one)
    if begun:
        world.begin()
    assert names(world.tell(Cancel("no"))) == ["Forget"]
    assert world.status is TaskStatus.CANCELLED
    assert world.tell(Settled(one, DONE)) == []
    assert world.status is TaskStatus.CANCELLED


def test_a_task_that_is_cancelled_in_the_queue_leaves_it_first() -> None:
    world = World()
    world.task.admitted(world.out)
    assert names(world.tell(Cancel("no"))) == ["Withdraw"]
    assert world.status is TaskStatus.READY
    world.tell(Withdrawn())
    assert world.status is TaskStatus.CANCELLED


def test_a_task_that_is_cancelled_on_its_way_to_a_worker_is_interrupted_there() -> None:
    world = World()
    world.task.admitted(world.out)
    assert names(world.tell(Cancel("no"))) == ["Withdraw"]
    (interrupt,) = world.tell(Started(world.worker))
    assert isinstance(interrupt, Interrupt)
    world.tell(Finished(error=interrupt.reason, stopped=True))
    assert world.status is TaskStatus.CANCELLED


# ------------------------------------------------------------------------------------------- the attempt


def test_a_task_that_returns_has_completed_and_lets_go_of_everything() -> None:
    world = World(name="n", after=[], kwargs={"x": 1})
    world.run()
    assert (world.status, world.task.attempt) == (TaskStatus.RUNNING, 1)
    world.tell(Finished(5))
    assert world.status is TaskStatus.COMPLETED
    task = world.task
    assert task.outcome.value == 5  # type: ignore[union-attr]
    assert (task.function, task.args, task.context, task.worker) == (None, (), None, None)
    assert dict(task.options.kwargs) == {}
    assert task.name == "n"


def test_a_task_that_raises_has_failed() -> None:
    world = World()
    world.run()
    world.tell(Finished(error=ValueError("x")))
    assert world.status is TaskStatus.FAILED
    assert world.task.name == "len"


def test_everybody_who_waits_hears_of_the_end_and_whoever_comes_later_too() -> None:
    world = World()
    one, two, three = Peg("one"), Peg("two"), Peg("three")
    first, second, third = Answer(), Answer(), Answer()
    world.run()
    world.tell(Await(one), Await(two), Await(two), Forget(one), Watch(first), Watch(second), Unwatch(first))
    assert names(world.tell(Finished(5))) == ["Settled"]
    assert (first.given, second.given) == ([], [None])
    assert names(world.tell(Await(three), Watch(third), Unwatch(third), Forget(three))) == ["Settled"]
    assert third.given == [None]


def test_nothing_that_comes_after_the_end_changes_anything() -> None:
    world = World(timeout=1)
    world.run()
    world.tell(Finished(5))
    late: list[object] = [
        Cancel("x"),
        Finished(6),
        Finished(error=ValueError()),
        Withdrawn(),
        Retry(),
        AttemptExpired(1),
        SetPriority(9),
        Report(0.1, "x"),
        GivenBack(),
        Hurry(),
    ]
    for message in late:
        assert world.tell(message) == [], message
    assert (world.status, world.task.outcome.value, world.task.rank) == (TaskStatus.COMPLETED, 5, 3)  # type: ignore[union-attr]


def test_cancelling_what_runs_interrupts_it_once_and_the_first_reason_stays() -> None:
    world = World()
    world.run()
    (interrupt,) = world.tell(Cancel("first"))
    assert isinstance(interrupt, Interrupt)
    assert world.tell(Cancel("second")) == []
    world.tell(Finished(error=RuntimeError(), stopped=True))
    assert world.task.outcome.error.reason == "first"  # type: ignore[union-attr]


def test_what_was_given_back_before_it_began_is_ready_again_and_its_attempt_does_not_count() -> None:
    world = World(timeout=5)
    world.run()
    assert names(world.tell(GivenBack())) == ["Ready"]
    assert (world.status, world.task.attempt, len(world.out.timers)) == (TaskStatus.READY, 0, 0)


def test_what_was_given_back_after_it_was_cancelled_is_cancelled() -> None:
    world = World()
    world.run()
    world.tell(Cancel("x"))
    assert world.tell(GivenBack()) == []
    assert world.status is TaskStatus.CANCELLED


def test_a_changed_priority_is_passed_on() -> None:
    world = World()
    assert [type(message) for message in world.tell(SetPriority(6))] == [PriorityChanged]
    assert world.task.rank == 6


def test_a_task_that_is_preempted_tells_the_scheduler_and_its_worker_when_it_goes_on() -> None:
    world = World()
    world.run()
    assert names(world.tell(Preempted(world.task))) == ["Preempted"]
    assert (world.status, world.task.paused) == (TaskStatus.PREEMPTED, True)
    assert names(world.tell(Resume())) == ["Resume"]
    assert (world.status, world.task.paused) == (TaskStatus.RUNNING, False)


def test_a_task_that_has_ended_is_neither_preempted_nor_does_it_go_on() -> None:
    world = World()
    world.run()
    world.tell(Finished(5))
    assert world.tell(Preempted(world.task), Resume()) == []
    assert (world.status, world.task.paused) == (TaskStatus.COMPLETED, False)


def test_a_task_lends_its_priority_to_those_that_it_depends_on_if_theirs_is_lower() -> None:
    low, equal = Peg("low", rank=1), Peg("equal", rank=3)
    world = World(low, equal)
    assert names(world.begin()) == ["Inherit", "Await", "Await"]


# --------------------------------------------------------------------------------------------- time limits


def test_the_time_of_an_attempt_begins_when_the_worker_says_so() -> None:
    world = World(timeout=5)
    world.task.admitted(world.out)
    world.tell(Started(world.worker))
    world.out.advance(100)
    assert world.out.taken() == []
    world.tell(Underway())
    world.out.advance(4.9)
    assert world.out.taken() == []
    world.out.advance(0.2)
    (expired,) = world.out.taken()
    (interrupt,) = world.tell(expired[1])
    assert isinstance(interrupt, Interrupt)
    assert isinstance(interrupt.reason, TaskTimeout)
    world.tell(Finished(error=RuntimeError("cut"), stopped=True))
    assert world.task.outcome.error is interrupt.reason  # type: ignore[union-attr]
    assert str(interrupt.reason.__cause__) == "cut"


def test_an_attempt_that_ends_at_its_last_moment_is_in_time() -> None:
    world = World(timeout=5)
    world.run()
    world.out.advance(5)
    (expired,) = world.out.taken()
    world.tell(Finished(5))
    assert world.tell(expired[1]) == []
    assert world.status is TaskStatus.COMPLETED


def test_the_time_of_one_attempt_says_nothing_about_the_next() -> None:
    world = World(timeout=5, retry=3)
    world.run()
    world.out.advance(5)
    (expired,) = world.out.taken()
    assert names(world.tell(Finished(error=OSError()))) == ["Ready"]
    world.tell(Started(world.worker, begun=True))
    assert world.tell(expired[1]) == []
    assert world.status is TaskStatus.RUNNING


# ------------------------------------------------------------------------------------------------- retries


def test_a_failed_attempt_is_followed_by_another_after_a_wait() -> None:
    from actorsched.options import Retry as Spec

    world = World(retry=Spec(3, delay=4, backoff=2), fractions=[0.5, 0.25])
    world.run()
    world.tell(Finished(error=OSError()))
    assert world.status is TaskStatus.RETRYING
    world.out.advance(1.9)
    assert world.out.taken() == []
    world.out.advance(0.2)
    (retry,) = world.out.taken()
    assert names(world.tell(retry[1])) == ["Ready"]
    world.tell(Started(world.worker), Finished(error=OSError()))
    world.out.advance(2.1)
    (retry,) = world.out.taken()
    world.tell(retry[1], Started(world.worker), Finished(error=OSError("last")))
    assert (world.status, world.task.attempt) == (TaskStatus.FAILED, 3)


def test_a_crash_is_counted_apart_from_failures() -> None:
    from actorsched.options import Retry as Spec

    world = World(retry=Spec(1, crashes=2), fractions=[0, 0, 0])
    world.run()
    for _ in range(2):
        assert names(world.tell(Finished(error=OSError(), crashed=True))) == ["Ready"]
        world.tell(Started(world.worker))
    world.tell(Finished(error=OSError("third"), crashed=True))
    assert world.status is TaskStatus.FAILED
    assert world.task.crashes == 3


def test_cancelling_between_two_attempts_settles_at_once_and_leaves_no_timer() -> None:
    from actorsched.options import Retry as Spec

    world = World(retry=Spec(3, delay=4), fractions=[1])
    world.run()
    world.tell(Finished(error=OSError()))
    world.tell(Cancel("x"))
    assert world.status is TaskStatus.CANCELLED
    assert len(world.out.timers) == 0


def test_an_attempt_that_was_cancelled_is_the_last_whatever_it_raises() -> None:
    world = World(retry=5)
    world.run()
    world.tell(Cancel("x"))
    world.tell(Finished(error=OSError("on the way out")))
    assert world.status is TaskStatus.FAILED


# -------------------------------------------------------------------------------------------- unseen ends


def failed(world: World) -> World:
    world.run()
    world.tell(Finished(error=ValueError("x")))
    return world


def test_a_failure_is_reported_when_the_last_who_might_look_is_gone_and_once() -> None:
    world = failed(World())
    world.task.holders += 1
    world.task.held_no_more(world.out)
    assert not world.out.reports
    world.task.held_no_more(world.out)
    world.task.held_no_more(world.out)
    assert len(world.out.reports) == 1


def test_a_failure_that_was_seen_is_not_reported() -> None:
    world = failed(World())
    world.task.observed = True
    world.task.held_no_more(world.out)
    assert not world.out.reports


def test_a_cancellation_is_not_reported() -> None:
    world = World()
    world.tell(Cancel("x"))
    world.task.held_no_more(world.out)
    assert not world.out.reports


def test_a_failure_that_a_dependent_passes_on_counts_as_seen() -> None:
    upstream = World()
    dependent = World(upstream.task)
    upstream.run()
    upstream.tell(Await(dependent.task))
    upstream.tell(Finished(error=ValueError("x")))
    upstream.task.held_no_more(upstream.out)
    assert not upstream.out.reports


# --------------------------------------------------------------------------------------- every short story


@pytest.mark.parametrize("waits", [False, True])
def test_whatever_comes_in_whatever_order_there_is_one_end_and_everybody_hears_of_it(waits: bool) -> None:
    """Events in all orders that worker and scheduler can bring about, with cancels and timeouts between."""
    stories = itertools.product(
        [Cancel("c"), None, AttemptExpired(1)],
        [Started, Withdrawn],
        [Cancel("c"), AttemptExpired(1), None],
        [Finished(5), Finished(error=OSError()), Finished(error=OSError(), stopped=True), GivenBack()],
        [Cancel("c"), None],
    )
    for story in stories:
        world = World(retry=2, timeout=9)
        answer = Answer()
        if waits:
            world.tell(Watch(answer))
        world.task.admitted(world.out)
        for step in story:
            if step is Started:
                world.tell(Started(world.worker, begun=True))
            elif step is Withdrawn:
                if world.task.stopping is None:
                    break
                world.tell(Withdrawn())
            elif step is not None:
                if isinstance(step, (Finished, GivenBack)) and world.task.worker is None:
                    continue
                world.tell(step)
        if world.task.outcome is None and world.task.worker is None:  # it is in the queue: let it run
            world.tell(Withdrawn()) if world.task.stopping else world.tell(Started(world.worker))
        if world.task.outcome is None:
            world.tell(Finished(6))
        assert world.task.outcome is not None, story
        assert len(world.out.timers) == 0
        if waits:
            assert answer.given == [None]

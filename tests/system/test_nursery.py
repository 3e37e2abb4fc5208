"""The Nursery actor, with a recorder for a kernel."""

from __future__ import annotations

from typing import Any

import pytest

from actorsched._core.behaviour import Behaviour
from actorsched._system.nursery import Nursery
from actorsched.messages import Cancel, Closed, Escalated, ExitReason, Outcome, Settled
from actorsched.status import TaskStatus
from tests.recorder import Answer, Recorder


class Child(Behaviour):
    """A task, as far as its nursery looks at one."""

    title: str
    number: int = 0
    holders: int = 1
    observed: bool = False
    outcome: Outcome[Any] | None = None

    def __repr__(self) -> str:
        return self.title

    def log_unobserved(self, outcome: Outcome[Any], out: Recorder) -> None:
        out.report(40, self.title, outcome.error)


class World:
    """A nursery with three children."""

    def __init__(self, *, contains: bool = False) -> None:
        self.out = Recorder()
        self.ended = 0
        self.nursery = Nursery(contains=contains, on_failure=self.end_body)
        self.children = [Child(name, number) for number, name in enumerate("abc")]
        for child in self.children:
            self.nursery.live[child] = None

    def end_body(self) -> None:
        self.ended += 1

    def settle(self, number: int, status: TaskStatus, error: BaseException | None = None) -> str:
        child = self.children[number]
        child.outcome = Outcome(status, error=error)
        self.nursery.receive(Settled(child, child.outcome), self.out)
        self.nursery.check()
        return self.said()

    def said(self) -> str:
        words = []
        for to, message in self.out.taken():
            assert isinstance(message, Cancel)
            words.append(f"cancel {to}: {message.reason}")
        return "; ".join(words)


def test_tasks_that_end_well_are_forgotten() -> None:
    world = World()
    assert world.settle(1, TaskStatus.COMPLETED) == ""
    assert world.settle(0, TaskStatus.CANCELLED) == ""
    assert list(world.nursery.live) == [world.children[2]]
    assert (world.ended, world.nursery.errors) == (0, [])


def test_a_failure_cancels_the_others_the_last_first_and_ends_the_body_once() -> None:
    world, error, other = World(), ValueError("x"), KeyError("y")
    assert world.settle(1, TaskStatus.FAILED, error) == (
        "cancel c: a sibling failed: ValueError; cancel a: a sibling failed: ValueError"
    )
    assert world.settle(0, TaskStatus.FAILED, other) == ""
    assert world.settle(2, TaskStatus.CANCELLED) == ""
    assert world.ended == 1
    assert world.nursery.errors == [error, other]
    assert world.children[0].observed


def test_one_error_counts_once() -> None:
    world, error = World(), ValueError("x")
    world.settle(0, TaskStatus.FAILED, error)
    world.settle(1, TaskStatus.FAILED, error)
    assert world.nursery.errors == [error]


def test_a_nursery_that_contains_failures_cancels_nobody() -> None:
    world = World(contains=True)
    assert world.settle(1, TaskStatus.FAILED, ValueError("x")) == ""
    assert (world.ended, world.nursery.errors) == (0, [])
    assert not world.children[1].observed


def test_a_contained_failure_is_reported_at_once_when_nobody_can_look_at_it() -> None:
    world = World(contains=True)
    world.children[1].holders = 0
    world.settle(1, TaskStatus.FAILED, ValueError("x"))
    assert [text for _, text, _ in world.out.reports] == ["b"]


def test_contained_failures_that_nobody_looked_at_are_reported_at_the_end_in_their_order() -> None:
    world = World(contains=True)
    for number in (2, 0):
        world.settle(number, TaskStatus.FAILED, ValueError("x"))
    assert not world.out.reports
    world.nursery.log_unseen(world.out)
    assert [text for _, text, _ in world.out.reports] == ["a", "c"]


def test_a_failure_that_nobody_holds_any_more_is_not_kept_for_the_end() -> None:
    world = World(contains=True)
    world.settle(1, TaskStatus.FAILED, ValueError("x"))
    del world.children[1]
    assert not world.nursery.unseen


@pytest.mark.parametrize("contains", [False, True])
def test_a_supervisor_that_gives_up_ends_everything(contains: bool) -> None:
    world, error = World(contains=contains), ValueError("x")
    supervisor, waiting = Child("supervisor"), Answer()
    world.nursery.waiting.append(waiting)
    world.nursery.receive(Escalated(supervisor, ExitReason("failed", error)), world.out)
    world.nursery.check()
    assert world.said().count("cancel") == 3
    assert world.ended == 1
    assert world.nursery.errors == [error]
    assert world.nursery.gone is supervisor
    assert waiting.given == [None]


def test_everybody_who_waits_hears_that_no_actor_is_left() -> None:
    world, supervisor = World(), Child("supervisor")
    waiting = [Answer(), Answer()]
    world.nursery.waiting.extend(waiting)
    world.nursery.receive(Closed(supervisor), world.out)
    world.nursery.check()
    assert [answer.given for answer in waiting] == [[None], [None]]
    assert world.nursery.gone is supervisor
    assert world.ended == 0

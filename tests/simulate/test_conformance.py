"""The schedules that come with the package come out slice for slice, and any policy can be tried on them."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from actorsched.exceptions import ActorschedError
from actorsched.policies import Edf, Fair, FixedPriority, Policy, Schedulable
from actorsched.simulate.conformance import differences
from actorsched.simulate.graphs import detected
from actorsched.simulate.play import played
from actorsched.testing import conformance

pytestmark = pytest.mark.usefixtures("warm_backends")

NAMES = [taskset.name for taskset in conformance.schedules()]


class FirstCome(Policy[Any]):
    """A policy as a user would write it."""

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: deque[Schedulable] = deque()

    def push(self, task: Schedulable, now: float, /) -> None:
        self.queue.append(task)

    def peek(self, now: float, /) -> Schedulable | None:
        return self.queue[0] if self.queue else None

    def pop(self, now: float, /) -> Schedulable | None:
        return self.queue.popleft() if self.queue else None

    def remove(self, task: Schedulable, /) -> bool:
        if task in self.queue:
            self.queue.remove(task)
            return True
        return False

    def drain(self) -> list[Schedulable]:
        tasks, self.queue = list(self.queue), deque()
        return tasks

    def __len__(self) -> int:
        return len(self.queue)


class Forgetful(FirstCome):
    """It never has anybody to run."""

    def __len__(self) -> int:
        return 0


class Clumsy(FirstCome):
    """It fails."""

    def pop(self, now: float, /) -> Schedulable | None:
        raise LookupError("I have\nlost them")


# ------------------------------------------------------------------------------------- the runtime's policies


@pytest.mark.parametrize("name", NAMES)
async def test_a_schedule_comes_out_slice_for_slice(name: str) -> None:
    """With all finish times, missed deadlines, events and the deadlock; on every backend."""
    taskset = next(each for each in conformance.schedules() if each.name == name)
    assert taskset.expectation.slices
    assert differences(await played(taskset), taskset.expectation) == []


@pytest.mark.parametrize("graph", conformance.graphs(), ids=lambda graph: graph.name)
def test_the_detector_finds_who_is_deadlocked(graph: Any) -> None:
    assert graph.deadlock is not None
    assert detected(graph) == graph.deadlock
    assert conformance.check_detector() == {}


def test_the_policies_of_the_package_conform() -> None:
    report = conformance.check()
    assert report.conforms
    assert report.played == tuple(NAMES)
    assert str(report) == "18 of 18 schedules came out as they should"


async def test_the_policies_conform_in_a_loop_that_is_running() -> None:
    assert (await conformance.checked(Edf, conformance.schedules("edf"))).conforms


# -------------------------------------------------------------------------------------- a policy of one's own


def test_schedules_are_chosen_by_policy() -> None:
    assert {each.policy for each in conformance.schedules("fair", "Priority+PI")} == {"FAIR", "PRIORITY+PI"}
    everyone = {each.policy for each in conformance.schedules()}
    assert conformance.schedules() == conformance.schedules(*everyone)
    with pytest.raises(ValueError, match="'lottery' is no policy"):
        conformance.schedules("lottery")


def test_a_policy_is_an_object_or_a_class_or_what_makes_one_for_a_task_set() -> None:
    tasksets = conformance.schedules("edf")
    assert conformance.check(Edf(), tasksets).conforms
    assert conformance.check(Edf, tasksets).conforms
    assert conformance.check(lambda taskset: Edf(), tasksets).conforms
    fair = conformance.check(
        lambda taskset: Fair(quanta=taskset.params.quanta, boost=taskset.params.boost),
        conformance.schedules("fair"),
    )
    assert fair.conforms, fair


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(TypeError, match=r"policy='edf' is of type str, which is no policy and makes none"):
        conformance.check("edf")


async def test_what_is_no_policy_is_refused_in_a_loop_too() -> None:
    with pytest.raises(TypeError, match="policy=3 is of type int"):
        await conformance.checked(3)


def test_another_policy_differs_and_the_report_says_where() -> None:
    report = conformance.check(FirstCome, conformance.schedules("priority"))
    assert not report.conforms
    assert set(report.differences) <= set(report.played)
    assert report.differences["prio-nonpreemptive-silberschatz"][:2] == [
        "expected P2 to run from 0 to 1; it does not",
        "P1 runs from 0 to 10, which was not expected",
    ]
    assert str(report).startswith(f"{len(report.played) - len(report.differences)} of {len(report.played)} ")
    assert "  P1 runs from 0 to 10, which was not expected" in str(report)


def test_without_quanta_only_those_with_quanta_differ() -> None:
    report = conformance.check(FixedPriority, conformance.schedules("priority", "priority+pi", "deadlock"))
    assert set(report.differences) == {"prio-preemptive-rr-head", "prio-aging-discrete"}


def test_a_policy_that_leaves_tasks_waiting_for_ever_differs() -> None:
    report = conformance.check(Forgetful, conformance.schedules("realtime") + conformance.schedules("fair"))
    assert len(report.differences) == len(report.played)
    assert any(line.endswith("it never did") for line in report.differences["fair-mlfq-boost"])


def test_a_policy_that_fails_differs(caplog: pytest.LogCaptureFixture) -> None:
    report = conformance.check(Clumsy, conformance.schedules("edf"))
    assert set(report.differences) == set(report.played)
    for lines in report.differences.values():
        assert lines == ["it could not be played: LookupError: I have lost them"]
    assert "failed at" in caplog.text


async def test_a_policy_that_fails_differs_in_a_loop_too(caplog: pytest.LogCaptureFixture) -> None:
    report = await conformance.checked(Clumsy, conformance.schedules("edf")[:1])
    assert list(report.differences.values()) == [["it could not be played: LookupError: I have lost them"]]


def test_a_policy_that_cannot_be_made_differs() -> None:
    def refuse(taskset: object) -> Edf[Any]:
        raise ActorschedError("not today")

    report = conformance.check(refuse, conformance.schedules("edf")[:1])
    assert list(report.differences.values()) == [["it could not be played: ActorschedError: not today"]]


def test_the_example_of_the_documentation_runs() -> None:
    """The docstring of the module shows how a policy is checked."""
    source = conformance.__doc__
    assert source is not None
    example = "\n".join(line[4:] for line in source.partition("::\n")[2].splitlines())
    names: dict[str, object] = {"MyPolicy": FixedPriority}
    with pytest.raises(AssertionError, match=r"prio-aging-discrete:\n  expected L to run"):
        exec(example, names)  # it takes the quantum, and leaves out the aging

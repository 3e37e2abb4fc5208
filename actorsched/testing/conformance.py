"""Does a scheduling policy do what textbooks say? Schedules to play it with, and what has to come of them.

The law of this module: it is for users, and puts together what `actorsched.simulate` knows. The schedules are
played by the runtime's own scheduler in virtual time, on simulated processors.

A policy of one's own that is to order tasks as fixed priorities do, say::

    from actorsched.testing import conformance

    report = conformance.check(
        lambda taskset: MyPolicy(quantum=taskset.params.quantum),
        conformance.schedules("PRIORITY", "PRIORITY+PI"),
    )
    assert report.conforms, report
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from actorsched.exceptions import shown
from actorsched.simulate.conformance import differences, shipped
from actorsched.simulate.graphs import detected
from actorsched.simulate.play import play, played
from actorsched.simulate.taskset import policy_named

if TYPE_CHECKING:
    from actorsched.policies import SchedulingPolicy
    from actorsched.simulate.played import Played
    from actorsched.simulate.taskset import Graph, TaskSet

__all__ = ["PolicyOrFactory", "Report", "check", "check_detector", "checked", "graphs", "schedules"]

PolicyOrFactory: TypeAlias = (
    "SchedulingPolicy[Any] | type[SchedulingPolicy[Any]] | Callable[[TaskSet], SchedulingPolicy[Any]]"
)
"""A policy, a class of policies that needs no arguments, or a function that makes one for a task set."""


class Report(NamedTuple):
    """How a policy did.

    Attributes:
        played: The names of the schedules, in order.
        differences: What came out otherwise than it should, in sentences, by the name of the schedule, in the
            order of time; nothing of those that came out right.
    """

    played: tuple[str, ...]
    differences: dict[str, list[str]]

    @property
    def conforms(self) -> bool:
        """Whether all came out as they should."""
        return not self.differences

    def __str__(self) -> str:
        right = len(self.played) - len(self.differences)
        lines = [f"{right} of {len(self.played)} schedules came out as they should"]
        for name, found in self.differences.items():
            lines += [f"{name}:", *(f"  {line}" for line in found)]
        return "\n".join(lines)


def schedules(*policies: str) -> tuple[TaskSet, ...]:
    """Return the task sets that come with actorsched, each with what has to come of it in `expectation`.

    Args:
        policies: Only those for these policies: "PRIORITY", "PRIORITY+PI", "EDF", "FAIR", "REALTIME" or
            "DEADLOCK", however the letters are written; all if there are none.

    Raises:
        ValueError: There is no such policy.
    """
    wanted = [policy_named(policy) for policy in policies]
    return tuple(each for each in shipped().schedules if not wanted or each.policy in wanted)


def graphs() -> tuple[Graph, ...]:
    """Return the graphs that come with actorsched: who holds and waits for what, and who is deadlocked."""
    return shipped().graphs


def check(policy: PolicyOrFactory | None = None, tasksets: Iterable[TaskSet] | None = None) -> Report:
    """Play schedules with a policy, and compare what comes out with what should.

    Args:
        policy: The policy, of which each play gets a `fresh` copy. Or what makes one: a class, which is
            called without arguments, or any other callable, which is called with the task set, and finds
            parameters such as the quantum in its `params`. None for the policies of actorsched.
        tasksets: What to play; all that come with actorsched if None.

    Returns:
        What differs. A policy that raises something differs, too, and so does one that leaves tasks waiting
        for ever; but one that names victims for ever keeps this from returning.

    Raises:
        TypeError: `policy` is no policy, and makes none.
    """
    _refuse_what_is_none(policy)
    return _report([(each, _outcome_of(each, policy)) for each in _all_if_none(tasksets)])


async def checked(policy: PolicyOrFactory | None = None, tasksets: Iterable[TaskSet] | None = None) -> Report:
    """The same in the event loop that is running; arguments and errors are those of `check`."""
    _refuse_what_is_none(policy)
    found: list[tuple[TaskSet, Played | Exception]] = []
    for taskset in _all_if_none(tasksets):
        try:
            found.append((taskset, await played(taskset, _made(policy, taskset))))
        except Exception as error:  # of the policy, or because of it
            found.append((taskset, error))
    return _report(found)


def check_detector() -> dict[str, str]:
    """Compare what the deadlock detector finds in the graphs with what it should.

    Returns:
        What differs, by the name of the graph.
    """
    return {
        graph.name: f"expected {graph.deadlock}; it found {detected(graph)}"
        for graph in graphs()
        if graph.deadlock is not None and detected(graph) != graph.deadlock
    }


# ---------------------------------------------------------------------------------------------------- within


def _all_if_none(tasksets: Iterable[TaskSet] | None) -> Iterable[TaskSet]:
    return schedules() if tasksets is None else tasksets


def _refuse_what_is_none(policy: object) -> None:
    if policy is not None and not callable(policy) and not callable(getattr(policy, "fresh", None)):
        raise TypeError(
            f"policy={shown(policy)} is of type {type(policy).__name__}, which is no policy and makes none; "
            "give an object with all of actorsched.policies.SchedulingPolicy, or a function that makes one"
        )


def _made(policy: PolicyOrFactory | None, taskset: TaskSet) -> SchedulingPolicy[Any] | None:
    if isinstance(policy, type):
        kind: Callable[[], SchedulingPolicy[Any]] = policy
        return kind()
    if callable(policy):
        return policy(taskset)
    return policy


def _outcome_of(taskset: TaskSet, policy: PolicyOrFactory | None) -> Played | Exception:
    try:
        return play(taskset, _made(policy, taskset))
    except Exception as error:  # of the policy, or because of it
        return error


def _report(found: list[tuple[TaskSet, Played | Exception]]) -> Report:
    lines = {taskset.name: _lines(taskset, outcome) for taskset, outcome in found}
    return Report(tuple(lines), {name: each for name, each in lines.items() if each})


def _lines(taskset: TaskSet, outcome: Played | Exception) -> list[str]:
    if isinstance(outcome, Exception):
        return [f"it could not be played: {_cause(outcome)}"]
    return differences(outcome, taskset.expectation)


def _cause(error: BaseException) -> str:
    """The error that is the reason for all others, on one line."""
    inner: BaseException = error
    while inners := getattr(inner, "exceptions", ()):  # of a group
        inner = inners[0]
    cause = inner.__cause__ or inner
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"

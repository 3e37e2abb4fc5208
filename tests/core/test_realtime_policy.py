"""The policy for real time: fixed priorities without aging and quanta, and admission by response times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorsched._core.policies.priority import FixedPriority
from actorsched._core.policies.realtime import Realtime
from tests.core.policy_player import Job, Player, Slices, periodic

if TYPE_CHECKING:
    from actorsched._core.policies import SchedulingPolicy

SILBERSCHATZ = (("P1", 25, 50, 2), ("P2", 35, 80, 1))
BURNS_WELLINGS = (("a", 3, 7, 3), ("b", 3, 12, 2), ("c", 5, 20, 1))
OVERLOAD = (("a", 3, 5, 2), ("b", 3, 6, 1))


def jobs(table: tuple[tuple[str, int, int, int], ...], until: int) -> list[Job]:
    return [job for line in table for job in periodic(*line, until)]


def cut(slices: Slices, until: int) -> Slices:
    return [(start, min(end, until), name) for start, end, name in slices if start < until]


def test_it_is_a_scheduling_policy() -> None:
    policy: SchedulingPolicy[Job] = Realtime[Job]()
    assert policy.alarm(0) is None


def test_a_soft_deadline_is_missed_and_the_job_goes_on() -> None:
    assert cut(Player(Realtime()).play(jobs(SILBERSCHATZ, 150), until=150), 150) == [
        (0, 25, "P1#0"),
        (25, 50, "P2#0"),
        (50, 75, "P1#1"),
        (75, 85, "P2#0"),
        (85, 100, "P2#1"),
        (100, 125, "P1#2"),
        (125, 145, "P2#1"),
    ]


def test_a_job_that_is_stopped_at_its_deadline_makes_room() -> None:
    assert cut(Player(Realtime(), abort=True).play(jobs(SILBERSCHATZ, 150), until=150), 150) == [
        (0, 25, "P1#0"),
        (25, 50, "P2#0"),
        (50, 75, "P1#1"),
        (75, 80, "P2#0"),
        (80, 100, "P2#1"),
        (100, 125, "P1#2"),
        (125, 140, "P2#1"),
    ]


def test_the_worst_response_times_are_those_of_the_analysis() -> None:
    assert cut(Player(Realtime()).play(jobs(BURNS_WELLINGS, 35), until=35), 35) == [
        (0, 3, "a#0"),
        (3, 6, "b#0"),
        (6, 7, "c#0"),
        (7, 10, "a#1"),
        (10, 12, "c#0"),
        (12, 14, "b#1"),
        (14, 17, "a#2"),
        (17, 18, "b#1"),
        (18, 20, "c#0"),
        (20, 21, "c#1"),
        (21, 24, "a#3"),
        (24, 27, "b#2"),
        (27, 28, "c#1"),
        (28, 31, "a#4"),
        (31, 34, "c#1"),
    ]


def test_nobody_ages_and_nobody_has_a_quantum() -> None:
    policy = Realtime[Job]()
    assert (policy.aging, policy.quantum, policy.preempted_to) == (None, None, "head")
    assert policy.expired(10**9) == ()


def firsts(table: tuple[tuple[str, int, int, int], ...]) -> list[Job]:
    return jobs(table, 1)


def test_with_admission_off_everybody_may_come_and_nobody_is_remembered() -> None:
    policy = Realtime[Job]("off")
    assert [policy.admit(job, 0, 1) for job in firsts(OVERLOAD)] == [None, None]
    policy.forget(Job("stranger", 0, 1), 0)


def test_what_meets_all_deadlines_is_admitted() -> None:
    policy = Realtime[Job]("reject")
    assert [policy.admit(job, 0, 1) for job in firsts(BURNS_WELLINGS)] == [None, None, None]


def test_what_could_miss_a_deadline_is_refused_with_the_reason() -> None:
    policy = Realtime[Job]("reject")
    first, second = firsts(OVERLOAD)
    assert policy.admit(first, 0, 1) is None
    reason = policy.admit(second, 0, 1)
    assert reason
    assert "b#0" in reason


def test_who_was_refused_is_not_remembered_and_who_is_forgotten_makes_room() -> None:
    policy = Realtime[Job]("reject")
    first, second = firsts(OVERLOAD)
    policy.admit(first, 0, 1)
    assert policy.admit(second, 0, 1)
    assert policy.admit(second, 0, 1)
    policy.forget(first, 0)
    assert policy.admit(second, 0, 1) is None
    assert policy.admit(first, 0, 1)


def test_a_warning_is_given_and_the_task_remembered_all_the_same() -> None:
    policy = Realtime[Job]("warn")
    first, second = firsts(OVERLOAD)
    assert policy.admission == "warn"
    assert policy.admit(first, 0, 1) is None
    assert policy.admit(second, 0, 1)
    policy.forget(first, 0)
    assert policy.admit(first, 0, 1), "the second one is remembered"


def test_a_fresh_one_has_the_same_parameters_and_remembers_nobody() -> None:
    policy = Realtime[Job]("reject")
    first, second = firsts(OVERLOAD)
    policy.admit(first, 0, 1)
    other = policy.fresh()
    assert other.admission == "reject"
    assert other.admit(second, 0, 1) is None


def test_another_word_for_admission_is_refused() -> None:
    with pytest.raises(ValueError, match="admission='no' is not a choice"):
        Realtime("no")


@pytest.mark.parametrize("ran", [True, False])
def test_what_a_running_task_has_used_is_no_longer_in_the_way(ran: bool) -> None:
    policy = Realtime[Job]("reject")
    first, second = Job("first", 0, 8, 2, 20, cost=8), Job("second", 4, 4, 1, 12, cost=4)
    assert policy.admit(first, 0, 1) is None
    policy.push(first, 0)
    if ran:
        assert policy.pop(0) is first
        policy.started(first, 0)
    policy.check()
    assert (policy.admit(second, 4, 1) is None) == ran


def test_what_a_preempted_task_has_used_is_remembered() -> None:
    policy = Realtime[Job]("reject")
    first, second = Job("first", 0, 8, 2, 20, cost=8), Job("second", 4, 4, 1, 14, cost=4)
    assert policy.admit(first, 0, 1) is None
    policy.started(first, 0)
    policy.stopped(first, 4)
    policy.put_back(first, 4)
    policy.check()
    assert policy.admit(second, 7, 1), "seven gone, four to go for the first, four for the second"
    assert policy.admit(second, 6, 1) is None


def test_one_that_runs_already_is_admitted_with_all_that_it_needs() -> None:
    policy = Realtime[Job]("warn")
    first = Job("first", 0, 8, 2, 20, cost=8)
    policy.started(first, 0)
    assert policy.admit(first, 5, 1) is None
    policy.check()
    policy.forget(first, 6)
    policy.stopped(first, 6)
    policy.check()


def test_whoever_was_admitted_is_not_judged_again() -> None:
    policy = Realtime[Job]("warn")
    first, second = firsts(OVERLOAD)
    policy.admit(first, 0, 1)
    assert policy.admit(second, 0, 1)
    assert policy.admit(second, 0, 1) is None


def test_its_repr_tells_the_parameter() -> None:
    assert repr(Realtime()) == "<Realtime, 0 ready, 0 running>"
    assert repr(Realtime("warn")) == "<Realtime(admission='warn'), 0 ready, 0 running>"


def test_it_is_a_policy_of_fixed_priorities() -> None:
    assert isinstance(Realtime(), FixedPriority)

"""Earliest deadline first: the order, who makes room, what is admitted, and how good the schedules are."""

from __future__ import annotations

import gc
import itertools
import json
import math
import pathlib
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import actorsched.simulate
from actorsched._core.policies import edf
from actorsched._core.policies.edf import Edf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actorsched._core.policies import SchedulingPolicy

NEVER = math.inf
SCHEDULES = pathlib.Path(actorsched.simulate.__file__).with_name("schedules.json")
CASES = {
    case["name"]: case
    for case in json.loads(SCHEDULES.read_text(encoding="utf-8"))["schedules"]
    if case["policy"] == "EDF"
}


class Item:
    cost: float | None = None
    period: float | None = None

    def __init__(
        self, name: str = "", due: float = NEVER, rank: int = 3, *, preemptible: bool = True
    ) -> None:
        self.name = name
        self.due = due
        self.rank = rank
        self.preemptible = preemptible

    def __repr__(self) -> str:
        return self.name


class Job(Item):
    """Something to simulate: `cost` ticks of work from its arrival on."""

    def __init__(self, name: str, arrival: int, cost: int, due: float) -> None:
        super().__init__(name, due)
        self.arrival = arrival
        self.cost = self.left = cost
        self.finish: int | None = None


def items(text: str) -> list[Item]:
    """Make items from names and deadlines, or for those without one from names and ranks: "a5 b7 c!3"."""
    return [
        Item(word[0], rank=int(word[2:])) if word[1] == "!" else Item(word[0], float(word[1:]))
        for word in text.split()
    ]


def queue(tasks: Iterable[Item]) -> Edf[Item]:
    policy = Edf[Item]()
    for task in tasks:
        policy.push(task, 0)
    return policy


def pop_all(policy: Edf[Item]) -> str:
    names: list[str] = []
    while task := policy.pop(0):
        names.append(task.name)
    return "".join(names)


def run(policy: Edf[Item], task: Item, now: float = 0) -> None:
    """Push a task and let it have a worker, whoever else waits."""
    policy.push(task, now)
    assert policy.remove(task)
    policy.started(task, now)


# ---------------------------------------------------------------------------------------------- the order


def test_it_is_a_scheduling_policy() -> None:
    policy: SchedulingPolicy[Item] = Edf[Item]()
    assert policy.pop(0) is None


def test_an_empty_queue_has_nothing_to_give() -> None:
    policy = Edf[Item]()
    assert (policy.pop(0), policy.peek(0), len(policy), policy.drain()) == (None, None, 0, [])
    assert (policy.victim(0), policy.alarm(0), tuple(policy.expired(0))) == (None, None, ())


def test_the_earliest_deadline_comes_first() -> None:
    assert pop_all(queue(items("a5 b2 c9 d1"))) == "dbac"


def test_equal_deadlines_come_in_the_order_of_arrival_whatever_their_priority() -> None:
    a, b, c = Item("a", 5, rank=0), Item("b", 5, rank=6), Item("c", 5, rank=3)
    assert pop_all(queue([a, b, c])) == "abc"


def test_tasks_without_a_deadline_come_last_by_priority_and_then_in_the_order_of_arrival() -> None:
    assert pop_all(queue(items("a!3 b!6 c!3 d1000000 e!-2 f!6"))) == "dbface"


def test_peek_shows_what_pop_takes_and_takes_nothing() -> None:
    a, b = items("a5 b2")
    policy = queue([a, b])
    assert policy.peek(0) is policy.peek(0) is b
    assert policy.pop(0) is b
    assert len(policy) == 1


def test_what_is_removed_does_not_come() -> None:
    a, b, c = items("a1 b1 c1")
    policy = queue([a, b, c])
    assert policy.remove(b)
    assert not policy.remove(b)
    assert pop_all(policy) == "ac"


def test_what_runs_is_not_in_the_queue() -> None:
    a, *_ = items("a1")
    policy = queue([a])
    policy.pop(0)
    policy.started(a, 0)
    assert not policy.remove(a)
    assert len(policy) == 0


def test_drain_takes_all_in_order_and_another_policy_can_have_them() -> None:
    policy = queue(items("a5 b2 c!1 d2"))
    drained = policy.drain()
    assert "".join(task.name for task in drained) == "bdac"
    assert len(policy) == 0
    assert pop_all(queue(drained)) == "bdac"


def test_a_task_cannot_be_in_the_queue_twice() -> None:
    a, b = items("a5 b9")
    policy = queue([a, b])
    for again in (policy.push, policy.put_back):
        with pytest.raises(
            ValueError, match="a cannot be pushed: it is in the queue already; remove it first"
        ):
            again(a, 0)
    policy.check()
    assert pop_all(policy) == "ab"


def test_a_running_task_cannot_be_in_the_queue_too() -> None:
    policy, a = Edf[Item](), Item("a", 5)
    run(policy, a)
    for again in (policy.push, policy.put_back):
        with pytest.raises(
            ValueError, match="a cannot be pushed: it is running; tell that it has stopped first"
        ):
            again(a, 0)
    policy.check()
    assert len(policy) == 0


def test_one_that_comes_back_joins_the_tail_and_one_that_was_preempted_has_its_old_place() -> None:
    for back, order in (("push", "ba"), ("put_back", "ab")):
        a, b = items("a5 b5")
        policy = queue([a, b])
        assert policy.pop(0) is a
        policy.started(a, 0)
        policy.stopped(a, 1)
        getattr(policy, back)(a, 1)
        assert pop_all(policy) == order


def test_preempted_equals_keep_their_order_whoever_comes_back_first() -> None:
    for first, second in itertools.permutations(items("a5 b5")):
        policy = Edf[Item]()
        for task in sorted([first, second], key=str):
            run(policy, task)
        for task in (first, second):
            policy.stopped(task, 1)
            policy.put_back(task, 1)
        assert pop_all(policy) == "ab"


def test_a_deadline_that_changes_moves_a_task_and_taken_back_returns_it_to_its_place() -> None:
    a, b, c = items("a5 b5 c5")
    policy = queue([a, b, c])
    b.due = 1
    policy.changed(b, 0)
    assert policy.peek(0) is b
    b.due = 5
    policy.changed(b, 0)
    policy.check()
    assert pop_all(policy) == "abc"


def test_a_running_task_whose_deadline_changed_comes_back_to_its_place() -> None:
    a, b, c = items("a5 b5 c5")
    policy = queue([a, b, c])
    policy.remove(b)
    policy.started(b, 0)
    for due in (1, 5):
        b.due = due
        policy.changed(b, 0)
    policy.stopped(b, 0)
    policy.put_back(b, 0)
    assert pop_all(policy) == "abc"


def test_a_change_of_one_that_is_not_here_means_nothing() -> None:
    policy, a = Edf[Item](), Item("a", 5)
    policy.changed(a, 0)
    assert len(policy) == 0


def test_the_priority_of_a_task_with_a_deadline_changes_nothing() -> None:
    a, b = items("a5 b5")
    policy = queue([a, b])
    b.rank = 99
    policy.changed(b, 0)
    assert pop_all(policy) == "ab"


# ---------------------------------------------------------------------------------------- who makes room


def test_the_runner_with_the_latest_deadline_makes_room_for_an_earlier_one() -> None:
    policy = Edf[Item]()
    a, b, c, d = items("a5 b9 c7 d6")
    for task in (a, b, c):
        run(policy, task)
    policy.push(d, 0)
    assert policy.victim(0) is b
    policy.stopped(b, 0)
    policy.put_back(b, 0)
    assert policy.pop(0) is d
    policy.started(d, 0)
    assert policy.victim(0) is None


def test_among_equal_runners_it_is_who_came_last() -> None:
    policy = Edf[Item]()
    a, b, c = items("a9 b9 c1")
    run(policy, a)
    run(policy, b)
    policy.push(c, 0)
    assert policy.victim(0) is b


def test_an_equal_deadline_never_preempts_nor_does_a_later_one() -> None:
    policy = Edf[Item]()
    a, b, c = items("a5 b5 c6")
    run(policy, a)
    policy.push(b, 0)
    policy.push(c, 0)
    assert policy.victim(0) is None


def test_an_equal_that_came_before_the_runner_does_not_preempt_it_either() -> None:
    a, b = items("a5 b5")
    policy = queue([a, b])
    policy.remove(b)
    policy.started(b, 0)
    assert policy.peek(0) is a
    assert policy.victim(0) is None


def test_without_deadlines_a_higher_priority_preempts_and_an_equal_one_does_not() -> None:
    policy = Edf[Item]()
    a, b, c = items("a!3 b!3 c!4")
    run(policy, a)
    policy.push(b, 0)
    assert policy.victim(0) is None
    policy.push(c, 0)
    assert policy.victim(0) is a


def test_who_may_not_be_preempted_is_no_victim() -> None:
    policy = Edf[Item]()
    a, b = Item("a", 9, preemptible=False), Item("b", 7)
    run(policy, a)
    run(policy, b)
    policy.push(Item("c", 5), 0)
    assert policy.victim(0) is b
    policy.stopped(b, 0)
    assert policy.victim(0) is None


def test_a_runner_that_inherits_a_deadline_is_judged_by_it() -> None:
    policy = Edf[Item]()
    a, b = items("a9 b5")
    run(policy, a)
    policy.push(b, 0)
    a.due = 5
    policy.changed(a, 0)
    assert policy.victim(0) is None
    a.due = 9
    policy.changed(a, 0)
    assert policy.victim(0) is a


def test_a_runner_taken_over_from_another_policy_can_be_preempted() -> None:
    policy = Edf[Item]()
    a, b = items("a9 b5")
    policy.started(a, 0)
    policy.push(b, 0)
    assert policy.victim(0) is a


# ------------------------------------------------------------------------------------- words and parameters


def test_what_waits_for_something_else_is_ordered_by_deadline_and_then_priority() -> None:
    policy = Edf[Item]()
    a, b, c, d = Item("a", 5, 1), Item("b", 5, 2), Item("c", 4, 0), Item("d", rank=9)
    assert sorted([a, b, c, d], key=policy.urgency) == [c, b, a, d]


def test_it_says_what_decides_a_place() -> None:
    policy = Edf[Item]()
    assert policy.describe(Item("a", 7.5), 5) == "due in 2.5s"
    assert policy.describe(Item("a", 7.5), 8) == "due 500ms ago"
    assert policy.describe(Item("a", rank=4), 8) == "no deadline, priority 4"


def test_it_shows_itself_as_it_is_made() -> None:
    assert repr(Edf[Item]()) == "Edf(admission='off')"
    assert repr(Edf[Item]("reject").fresh()) == "Edf(admission='reject')"


def test_a_fresh_one_is_empty() -> None:
    policy = queue(items("a1"))
    assert len(policy.fresh()) == 0
    assert len(policy) == 1


@pytest.mark.parametrize("wrong", ["on", "", None, True, 1])
def test_another_admission_is_refused(wrong: Any) -> None:
    with pytest.raises(
        ValueError, match=r"admission=.* is not a choice; choose from 'off', 'warn', 'reject'"
    ):
        Edf(admission=wrong)


# ------------------------------------------------------------------------------------------------ admission


class Bound:
    """Stands in for the calculation: refuses whom it was told to, and writes down what it hears."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []
        self.against: set[str] = set()

    def refuse(self, task: Item, now: float, processors: int) -> str | None:
        self.log.append(("refuse", task.name, now, processors))
        return "too much" if task.name in self.against else None

    def add(self, task: Item, now: float) -> None:
        self.log.append(("add", task.name, now))

    def drop(self, task: Item, now: float) -> None:
        self.log.append(("drop", task.name, now))

    def ran(self, task: Item, seconds: float) -> None:
        self.log.append(("ran", task.name, seconds))

    def heard(self) -> list[tuple[object, ...]]:
        log, self.log = self.log, []
        return log


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Bound:
    """What the policies of a test are told by, in place of the calculation."""
    made = Bound()
    monkeypatch.setattr(edf, "DemandBound", lambda: made)
    return made


def test_by_default_nobody_calculates(bound: Bound) -> None:
    policy, a = Edf[Item](), Item("a", 5)
    bound.against.add("a")
    assert policy.admit(a, 0, 1) is None
    run(policy, a)
    policy.stopped(a, 3)
    policy.forget(a, 3)
    assert bound.heard() == []


def test_who_is_admitted_is_remembered_until_it_has_ended(bound: Bound) -> None:
    policy, a = Edf[Item]("reject"), Item("a", 5)
    assert policy.admit(a, 1, 2) is None
    assert bound.heard() == [("refuse", "a", 1, 2), ("add", "a", 1)]
    policy.forget(a, 4)
    policy.forget(a, 4)
    assert bound.heard() == [("drop", "a", 4)]


def test_who_is_refused_is_not_remembered(bound: Bound) -> None:
    policy, a = Edf[Item]("reject"), Item("a", 5)
    bound.against.add("a")
    assert policy.admit(a, 1, 2) == "too much"
    policy.forget(a, 4)
    assert bound.heard() == [("refuse", "a", 1, 2)]


def test_with_a_warning_it_is_taken_and_counted(bound: Bound) -> None:
    policy, a = Edf[Item]("warn"), Item("a", 5)
    bound.against.add("a")
    assert policy.admit(a, 1, 2) == "too much"
    policy.forget(a, 4)
    assert bound.heard() == [("refuse", "a", 1, 2), ("add", "a", 1), ("drop", "a", 4)]


def test_it_tells_how_long_an_admitted_task_ran_and_no_other(bound: Bound) -> None:
    policy = Edf[Item]("reject")
    a, b = items("a5 b6")
    policy.admit(a, 0, 1)
    bound.heard()
    for task in (a, b):
        policy.push(task, 0)
        policy.remove(task)
        policy.started(task, 1)
        policy.stopped(task, 3)
        policy.stopped(task, 4)
        policy.check()
    assert bound.heard() == [("ran", "a", 2)]


def test_what_runners_have_used_so_far_counts_when_another_asks(bound: Bound) -> None:
    policy = Edf[Item]("reject")
    a, b = items("a5 b6")
    policy.admit(a, 0, 1)
    run(policy, a, 0)
    bound.heard()
    policy.admit(b, 3, 1)
    policy.check()
    assert bound.heard() == [("ran", "a", 3), ("refuse", "b", 3, 1), ("add", "b", 3)]
    policy.stopped(a, 4)
    assert bound.heard() == [("ran", "a", 1)]


def test_who_runs_already_when_it_is_admitted_is_counted_from_then_on(bound: Bound) -> None:
    policy, a = Edf[Item]("warn"), Item("a", 5)
    policy.started(a, 0)
    policy.admit(a, 2, 1)
    policy.check()
    policy.forget(a, 5)
    assert bound.heard() == [("refuse", "a", 2, 1), ("add", "a", 2), ("ran", "a", 3), ("drop", "a", 5)]


def refused(jobs: Iterable[Job], processors: int) -> list[str]:
    policy = Edf[Item]("reject")
    return [job.name for job in jobs if policy.admit(job, 0, processors)]


def test_the_job_that_cannot_be_done_in_time_is_refused_when_it_comes_last() -> None:
    jobs = {job.name: job for job in jobs_of(CASES["edd-jackson-infeasible-buttazzo"])}
    assert refused([jobs[name] for name in ("J1", "J2", "J3", "J5", "J4")], 1) == ["J4"]


def test_a_heavy_task_among_light_ones_is_refused_on_two_processors() -> None:
    jobs = jobs_of(CASES["edf-global-dhall-2cpu"])
    for job in jobs:
        job.period = job.due - job.arrival
    assert refused([job for job in jobs if job.arrival == 0], 2) == ["T3#0"]


def test_what_has_run_makes_room_for_another() -> None:
    policy = Edf[Item]("reject")
    a, b = Job("a", 0, 4, 10), Job("b", 0, 7, 10)
    assert policy.admit(a, 0, 1) is None
    assert "(11 > 10)" in (policy.admit(b, 0, 1) or "")
    run(policy, a, 0)
    assert policy.admit(Job("c", 3, 6, 10), 3, 1) is None
    policy.check()


# ------------------------------------------------------------------------------------------------ memory


def test_who_has_ended_is_let_go() -> None:
    policy = Edf[Item]("reject")
    ended = [Item("a", 5), Item("b", 6), Item("c")]
    gone = [weakref.ref(task) for task in ended]
    for task in ended:
        policy.admit(task, 0, 1)
        policy.push(task, 0)
    policy.push(Item("d", 7), 0)
    policy.remove(ended[1])
    for task in ended[::2]:
        policy.remove(task)
        policy.started(task, 0)
        policy.victim(0)
    for task in ended:
        policy.forget(task, 1)
    del task
    ended.clear()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_changing_and_removing_over_and_over_takes_no_memory() -> None:
    policy = Edf[Item]()
    tasks = [Item(due=due) for due in range(50)]
    for task in tasks:
        policy.push(task, 0)
    for turn in range(2000):
        task = tasks[turn % 50]
        task.due = turn
        policy.changed(task, 0)
        policy.remove(task)
        policy.push(task, 0)
        policy.check()


# ------------------------------------------------------------------------------------------- schedules


def play(jobs: Sequence[Job], processors: int, until: int) -> list[dict[Job, int]]:
    """Ask the policy at every tick, as the scheduler would; return who ran on which processor, by tick."""
    policy = Edf[Item]()
    on: dict[Job, int] = {}
    history: list[dict[Job, int]] = []
    for now in range(until):
        for job in [job for job in on if not job.left]:
            job.finish = now
            del on[job]
            policy.stopped(job, now)
            policy.forget(job, now)
        for job in jobs:
            if job.arrival == now:
                policy.push(job, now)
        before = dict(on)
        decide(policy, on, processors, now)
        assign(on, before, processors)
        policy.check()
        for job in on:
            job.left -= 1
        history.append(dict(on))
    return history


def decide(policy: Edf[Item], on: dict[Job, int], processors: int, now: int) -> None:
    assert not policy.expired(now)
    while len(policy):
        if len(on) < processors:
            task = policy.pop(now)
            assert isinstance(task, Job)
            policy.started(task, now)
            on[task] = -1
        elif victim := policy.victim(now):
            policy.stopped(victim, now)
            policy.put_back(victim, now)
            del on[victim]  # type: ignore[arg-type]
        else:
            return


def assign(on: dict[Job, int], before: dict[Job, int], processors: int) -> None:
    """A runner keeps its processor, the others take the lowest free numbers in the order of their keys."""
    on.update({job: before[job] for job in on if job in before})
    free = iter([number for number in range(processors) if number not in on.values()])
    for job in sorted((job for job in on if on[job] < 0), key=lambda job: (job.due, job.arrival)):
        on[job] = next(free)


def slices(history: Sequence[dict[Job, int]]) -> list[list[object]]:
    found: list[list[object]] = []
    for now, on in enumerate(history):
        for job, processor in on.items():
            last = next((old for old in found if old[2:] == [job.name, processor] and old[1] == now), None)
            if last:
                last[1] = now + 1
            else:
                found.append([now, now + 1, job.name, processor])
    return sorted(found, key=lambda one: (one[0], one[3]))


def jobs_of(case: dict[str, Any]) -> list[Job]:
    until = case["params"].get("until", 0)
    found: list[Job] = []
    for task in case["tasks"]:
        name, cost, arrival = task["name"], task["exec"], task.get("arrival", 0)
        if period := task.get("period"):
            starts = range(arrival, until, period)
            found += [Job(f"{name}#{k}", at, cost, at + period) for k, at in enumerate(starts)]
        else:
            found.append(Job(name, arrival, cost, task["deadline"]))
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_schedules_worked_out_by_hand_come_out_slice_for_slice(name: str) -> None:
    case = CASES[name]
    jobs, processors = jobs_of(case), case["processors"]
    until = case["params"].get("until") or sum(job.left for job in jobs) + max(job.arrival for job in jobs)
    got = slices(play(jobs, processors, until + 1)[:until])
    assert [one if processors > 1 else one[:3] for one in got] == case["expected"]
    if "finish" in case:
        assert {job.name: job.finish for job in jobs} == case["finish"]
    late = sorted(
        (job.due, job.name, job.finish)
        for job in jobs
        if (job.finish is not None and job.finish > job.due) or (job.finish is None and job.due <= until)
    )
    assert [[name, due, finish] for due, name, finish in late] == case["misses"]


def lateness(jobs: Iterable[Job]) -> float:
    return max((job.finish or 0) - job.due for job in jobs)


@st.composite
def periodic_tasks(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Costs and periods of tasks that one processor can just do, or less."""
    tasks: list[tuple[int, int]] = []
    free = 60
    for period in draw(
        st.lists(st.sampled_from([2, 3, 4, 5, 6, 10, 12, 15, 20, 30]), min_size=1, max_size=6)
    ):
        most = free * period // 60
        if most:
            cost = draw(st.integers(1, most))
            free -= cost * 60 // period
            tasks.append((cost, period))
    return tasks


@given(periodic_tasks())
@hypothesis_settings(max_examples=60, deadline=None)
def test_one_processor_never_misses_a_deadline_as_long_as_it_is_not_overloaded(
    tasks: list[tuple[int, int]],
) -> None:
    jobs = [
        Job(f"{number}#{start}", start, cost, start + period)
        for number, (cost, period) in enumerate(tasks)
        for start in range(0, 60, period)
    ]
    play(jobs, 1, 61)
    assert all(job.finish is not None and job.finish <= job.due for job in jobs)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 16)), min_size=1, max_size=6))
@hypothesis_settings(max_examples=60, deadline=None)
def test_no_order_of_jobs_has_a_smaller_maximum_lateness(parameters: list[tuple[int, int]]) -> None:
    jobs = [Job(str(number), 0, cost, due) for number, (cost, due) in enumerate(parameters)]
    play(jobs, 1, sum(cost for cost, _ in parameters) + 1)
    best = NEVER
    for order in itertools.permutations(parameters):
        ends = itertools.accumulate(cost for cost, _ in order)
        best = min(best, max(end - due for end, (_, due) in zip(ends, order, strict=True)))
    assert lateness(jobs) == best


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3), st.integers(1, 12)), min_size=1, max_size=5))
@hypothesis_settings(max_examples=60, deadline=None)
def test_no_preemptive_schedule_of_jobs_that_arrive_has_a_smaller_maximum_lateness(
    parameters: list[tuple[int, int, int]],
) -> None:
    jobs = [Job(str(number), *one) for number, one in enumerate(parameters)]
    play(jobs, 1, 6 + sum(cost for _, cost, _ in parameters) + 1)

    @cache
    def least(now: int, left: tuple[int, ...]) -> float:
        if not any(left):
            return -NEVER
        ready = [n for n, (arrival, _, _) in enumerate(parameters) if arrival <= now and left[n]]
        if not ready:
            return least(now + 1, left)
        found = NEVER
        for number in ready:
            after = tuple(ticks - (n == number) for n, ticks in enumerate(left))
            ended = -NEVER if after[number] else now + 1 - parameters[number][2]
            found = min(found, max(ended, least(now + 1, after)))
        return found

    assert lateness(jobs) == least(0, tuple(cost for _, cost, _ in parameters))


# ------------------------------------------------------------------------------ against an obvious model


DUES = st.sampled_from([1.0, 2.0, 2.5, NEVER])
RANKS = st.integers(0, 2)


class EdfMachine(RuleBasedStateMachine):
    """The policy against lists that are sorted at every question."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.policy = Edf[Item]()
        self.queued: dict[Item, int] = {}
        self.running: dict[Item, int] = {}
        self.last: dict[Item, int] = {}
        self.sequence = 0

    def key(self, task: Item) -> tuple[float, int, int]:
        number = {**self.queued, **self.running}[task]
        return task.due, -task.rank if task.due == NEVER else 0, number

    @property
    def order(self) -> list[Item]:
        return sorted(self.queued, key=self.key)

    @rule(target=tasks, due=DUES, rank=RANKS, preemptible=st.booleans())
    def new(self, due: float, rank: int, preemptible: bool) -> Item:
        return Item(f"t{due}", due, rank, preemptible=preemptible)

    @rule(task=tasks, back=st.booleans())
    def join(self, task: Item, back: bool) -> None:
        call = self.policy.put_back if back else self.policy.push
        if task in self.queued or task in self.running:
            with pytest.raises(ValueError, match="cannot be pushed"):
                call(task, 0)
            return
        call(task, 0)
        if not back or task not in self.last:
            self.sequence += 1
            self.last[task] = self.sequence
        self.queued[task] = self.last[task]

    @rule(start=st.booleans())
    def take(self, start: bool) -> None:
        expected = self.order[0] if self.queued else None
        assert self.policy.pop(0) is expected
        if expected is not None:
            self.queued.pop(expected)
            if start:
                self.policy.started(expected, 0)
                self.running[expected] = self.last[expected]

    @rule(task=tasks)
    def stop(self, task: Item) -> None:
        self.policy.stopped(task, 0)
        self.running.pop(task, None)

    @rule(task=tasks)
    def remove(self, task: Item) -> None:
        assert self.policy.remove(task) == (self.queued.pop(task, None) is not None)

    @rule(task=tasks)
    def forget(self, task: Item) -> None:
        self.policy.forget(task, 0)
        for known in (self.queued, self.running, self.last):
            known.pop(task, None)

    @rule(task=tasks, due=DUES, rank=RANKS)
    def change(self, task: Item, due: float, rank: int) -> None:
        task.due, task.rank = due, rank
        self.policy.changed(task, 0)

    @rule()
    def drain(self) -> None:
        assert self.policy.drain() == self.order
        for task in self.queued:
            del self.last[task]
        self.queued.clear()

    @invariant()
    def agrees(self) -> None:
        self.policy.check()
        order = self.order
        assert len(self.policy) == len(order)
        assert self.policy.peek(0) is (order[0] if order else None)
        worst = max((task for task in self.running if task.preemptible), key=self.key, default=None)
        has_to_go = order and worst is not None and self.key(worst)[:2] > self.key(order[0])[:2]
        assert self.policy.victim(0) is (worst if has_to_go else None)


EdfMachine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
TestEdfMachine = EdfMachine.TestCase

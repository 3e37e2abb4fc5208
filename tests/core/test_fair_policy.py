"""The multi-level feedback queue: its five rules, against a simulator that knows nothing but them."""

from __future__ import annotations

import gc
import json
import math
import pathlib
import weakref
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import actorsched.simulate
from actorsched._core.policies.fair import Fair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorsched._core.policies import SchedulingPolicy

SCHEDULES = pathlib.Path(actorsched.simulate.__file__).with_name("schedules.json")
CASES = {
    case["name"]: case
    for case in json.loads(SCHEDULES.read_text(encoding="utf-8"))["schedules"]
    if case["policy"] == "FAIR"
}


class Item:
    rank = 3
    due = math.inf
    cost: float | None = None
    period: float | None = None

    def __init__(self, name: str = "", *, preemptible: bool = True) -> None:
        self.name = name
        self.preemptible = preemptible

    def __repr__(self) -> str:
        return self.name


class Job(Item):
    """Something to simulate: bursts of work, and how long it waits for something else after each."""

    def __init__(
        self, name: str, arrival: int, bursts: Sequence[tuple[int, int]], preemptible: bool = True
    ) -> None:
        super().__init__(name, preemptible=preemptible)
        self.comes = arrival
        self.bursts = list(bursts)
        self.left = 0
        """Of its burst."""
        # What the simulator of the rules knows of it:
        self.level = self.used = 0
        self.joined = 0
        self.number = 0
        """Of its arrival."""

    def begin(self) -> None:
        self.left = self.bursts[0][0]

    def end_burst(self, now: int) -> bool:
        """Its burst is over; whether it has ended altogether."""
        self.comes = now + self.bursts.pop(0)[1]
        return not self.bursts


def policy_of(*names: str, **parameters: Any) -> tuple[Fair[Item], list[Item]]:
    """Make a policy with quanta of 10, 20 and 40, and push tasks at 0."""
    policy = Fair[Item](**{"quanta": (10, 20, 40), "boost": None, **parameters})
    tasks = [Item(name) for name in names]
    for task in tasks:
        policy.push(task, 0)
    return policy, tasks


def take(policy: Fair[Item], now: float) -> Item:
    """Let the next task have a worker."""
    task = policy.pop(now)
    assert task is not None
    policy.started(task, now)
    return task


def turn_over(policy: Fair[Item], now: float) -> list[Item]:
    """Let those whose turns are over join the queue."""
    over = list(policy.expired(now))
    for task in over:
        policy.stopped(task, now)
        policy.push(task, now)
    return over


def burst(policy: Fair[Item], task: Item, start: float, end: float) -> None:
    """Let a task come, run for a while, whoever else waits, and go."""
    policy.push(task, start)
    policy.remove(task)
    policy.started(task, start)
    policy.stopped(task, end)


# ---------------------------------------------------------------------------------------------- the queue


def test_it_is_a_scheduling_policy() -> None:
    policy: SchedulingPolicy[Item] = Fair[Item]()
    assert policy.pop(0) is None


def test_an_empty_queue_has_nothing_to_give() -> None:
    policy, _ = policy_of()
    assert (policy.pop(0), policy.peek(0), len(policy), policy.drain()) == (None, None, 0, [])
    assert (policy.victim(0), policy.alarm(0), policy.expired(0)) == (None, None, [])


def test_new_tasks_come_in_the_order_of_arrival_whatever_their_priority() -> None:
    policy, tasks = policy_of("a", "b", "c")
    tasks[1].rank = 6
    policy.changed(tasks[1], 0)
    assert policy.peek(0) is tasks[0]
    assert [policy.pop(0) for _ in range(4)] == [*tasks, None]


def test_what_is_removed_does_not_come() -> None:
    policy, (a, b, c) = policy_of("a", "b", "c")
    assert policy.remove(b)
    assert not policy.remove(b)
    assert policy.drain() == [a, c]
    assert len(policy) == 0


def test_a_task_cannot_be_in_the_queue_twice() -> None:
    policy, (a,) = policy_of("a")
    for again in (policy.push, policy.put_back):
        with pytest.raises(
            ValueError, match="a cannot be pushed: it is in the queue already; remove it first"
        ):
            again(a, 0)
    policy.check()
    assert len(policy) == 1


def test_a_running_task_cannot_be_in_the_queue_too() -> None:
    policy, (a,) = policy_of("a")
    take(policy, 0)
    for again in (policy.push, policy.put_back):
        with pytest.raises(
            ValueError, match="a cannot be pushed: it is running; tell that it has stopped first"
        ):
            again(a, 0)
    policy.check()
    assert len(policy) == 0


def test_who_was_popped_and_put_back_without_having_run_is_first_again() -> None:
    for end in ("head", "tail"):
        policy, (a, _) = policy_of("a", "b", preempted_to=end)
        assert policy.pop(0) is a
        policy.put_back(a, 0)
        assert policy.pop(0) is a


# -------------------------------------------------------------------------------------- turns and levels


def test_a_turn_ends_with_the_quantum_and_its_task_moves_down_behind_those_above() -> None:
    policy, (a, b) = policy_of("a", "b")
    take(policy, 0)
    assert policy.alarm(0) == 10
    assert policy.expired(9) == []
    assert turn_over(policy, 10) == [a]
    assert policy.describe(a, 10) == "level 2 of 3, 20s of 20s left"
    assert take(policy, 10) is b


def test_a_turn_that_ends_when_somebody_arrives_leaves_the_place_to_it() -> None:
    policy, (a,) = policy_of("a", levels=1, quanta=10)
    take(policy, 0)
    assert policy.alarm(0) is None
    b = Item("b")
    policy.push(b, 10)
    assert turn_over(policy, 10) == [a]
    assert take(policy, 10) is b


def test_nobodys_turn_is_over_any_more_when_the_last_who_waited_is_gone() -> None:
    policy, (a, b) = policy_of("a", "b")
    take(policy, 0)
    assert policy.expired(10) == [a]
    policy.remove(b)
    assert policy.expired(10) == []
    policy.push(b, 15)
    assert policy.expired(15) == []


def test_a_quantum_is_used_up_in_total_over_bursts() -> None:
    policy, _ = policy_of()
    a = Item("a")
    burst(policy, a, 0, 6)
    assert policy.describe(a, 50) == "level 1 of 3, 4s of 10s left"
    burst(policy, a, 50, 54)
    assert policy.describe(a, 60) == "level 2 of 3, 20s of 20s left"
    burst(policy, a, 60, 79)
    assert policy.describe(a, 80) == "level 2 of 3, 1s of 20s left"


def test_who_runs_on_alone_is_moved_down_at_the_right_times_all_the_same() -> None:
    policy, (a,) = policy_of("a")
    take(policy, 0)
    for now, text in ((9, "1 of 3, 1s of 10s"), (10, "2 of 3, 20s of 20s"), (35, "3 of 3, 35s of 40s")):
        assert policy.describe(a, now) == f"level {text} left"
    after_ages = 30 + 40 * 10**12 + 39
    assert policy.describe(a, after_ages) == "level 3 of 3, 1s of 40s left"
    policy.push(Item("b"), after_ages)
    assert policy.expired(after_ages) == []
    assert policy.victim(after_ages) is a


def test_a_late_decision_ends_the_turn_and_counts_all_that_was_used() -> None:
    policy, (a, _) = policy_of("a", "b")
    take(policy, 0)
    assert turn_over(policy, 34) == [a]
    assert policy.describe(a, 34) == "level 3 of 3, 36s of 40s left"


def test_a_higher_level_preempts_a_lower_one_and_keeps_it_its_place_and_the_rest_of_its_quantum() -> None:
    policy, (a, b) = policy_of("a", "b")
    take(policy, 0)
    turn_over(policy, 10)
    take(policy, 10)
    turn_over(policy, 20)
    assert take(policy, 20) is a
    c = Item("c")
    policy.push(c, 25)
    assert policy.victim(25) is a
    policy.stopped(a, 25)
    policy.put_back(a, 25)
    assert take(policy, 25) is c
    assert policy.victim(25) is None
    policy.stopped(c, 26)
    assert take(policy, 26) is a
    assert policy.alarm(26) == 41
    assert policy.peek(26) is b


def test_preempted_tasks_go_to_the_tail_if_they_are_to() -> None:
    policy, (a, b) = policy_of("a", "b", preempted_to="tail")
    for now in (0, 10):
        take(policy, now)
        turn_over(policy, now + 10)
    take(policy, 20)
    policy.push(Item("c"), 25)
    policy.stopped(a, 25)
    policy.put_back(a, 25)
    take(policy, 25)
    assert take(policy, 25) is b
    assert take(policy, 25) is a
    assert policy.describe(a, 25) == "level 2 of 3, 15s of 20s left"


def test_of_several_runners_the_one_that_joined_the_lowest_level_last_makes_room() -> None:
    policy, (a, b) = policy_of("a", "b")
    take(policy, 0)
    take(policy, 5)
    for now, worst in ((12, "a"), (15, "b"), (32, "a"), (36, "b"), (71, "a"), (76, "b")):
        policy.push(c := Item("c"), now)
        assert str(policy.victim(now)) == worst
        policy.remove(c)
        policy.forget(c, now)
    assert {a.name, b.name} == {"a", "b"}


def test_whose_turn_ended_joins_after_those_who_came_at_that_instant() -> None:
    policy, (a,) = policy_of("a", levels=2, quanta=10)
    take(policy, 0)
    b = Item("b")
    burst(policy, b, 0, 10)
    policy.push(b, 20)
    take(policy, 20)
    policy.push(Item("c"), 25)
    assert policy.victim(25) is a


def test_who_may_not_be_preempted_is_neither_expired_nor_a_victim_but_is_moved_down() -> None:
    policy, _ = policy_of()
    a = Item("a", preemptible=False)
    policy.push(a, 0)
    take(policy, 0)
    policy.push(Item("b"), 5)
    assert policy.alarm(5) is None
    assert (policy.expired(15), policy.victim(15)) == ([], None)
    policy.stopped(a, 15)
    assert policy.describe(a, 15) == "level 2 of 3, 15s of 20s left"


def test_nobody_is_woken_up_while_nobody_waits() -> None:
    policy, (a,) = policy_of("a", boost=45)
    take(policy, 0)
    assert policy.alarm(0) is None
    policy.push(b := Item("b"), 3)
    assert policy.alarm(3) == 10
    policy.remove(b)
    assert policy.alarm(4) is None
    assert policy.expired(10) == []
    assert policy.describe(a, 10).startswith("level 2")


# ------------------------------------------------------------------------------------------------ boosts


def test_a_boost_brings_all_to_the_top_in_the_order_of_their_levels() -> None:
    policy, _ = policy_of(boost=100)
    low, middle, high, other = (Item(name) for name in ("low", "middle", "high", "other"))
    burst(policy, low, 0, 31)
    burst(policy, middle, 31, 42)
    for task in (low, middle, high):
        policy.push(task, 50)
    assert policy.peek(99) is high
    policy.push(other, 100)
    policy.check()
    assert [policy.pop(100) for _ in range(4)] == [high, middle, low, other]


def test_a_boost_gives_new_allotments_to_those_that_run_or_wait_for_something_too() -> None:
    policy, _ = policy_of(boost=100)
    away, on = Item("away"), Item("on")
    burst(policy, away, 0, 35)
    policy.push(on, 35)
    take(policy, 35)
    policy.push(Item(), 95)
    assert policy.victim(99) is on
    assert policy.victim(100) is None
    assert policy.describe(on, 103) == "level 1 of 3, 7s of 10s left"
    assert policy.describe(away, 103) == "level 1 of 3, 10s of 10s left"
    assert policy.expired(109) == []
    assert policy.expired(110) == [on]


def test_a_turn_that_ends_at_a_boost_is_over() -> None:
    policy, (a, _) = policy_of("a", "b", boost=10)
    take(policy, 0)
    assert policy.alarm(0) == 10
    assert turn_over(policy, 10) == [a]
    assert policy.describe(a, 10) == "level 1 of 3, 10s of 10s left"


def test_a_boost_that_nobody_had_to_look_at_moves_the_ends_of_turns_after_it() -> None:
    policy, (a,) = policy_of("a", boost=55)
    take(policy, 0)  # without the boost at 55 its turn would end at 110, together with the next one
    policy.push(Item("b"), 110)
    assert policy.expired(110) == []
    assert policy.expired(120) == [a]


def test_boosts_long_ago_count_as_much_as_if_each_had_been_looked_at() -> None:
    policy, (a,) = policy_of("a", boost=45)
    take(policy, 0)
    policy.push(Item("b"), 45_000 + 12)
    assert policy.describe(a, 45_012) == "level 2 of 3, 18s of 20s left"
    assert policy.victim(45_012) is a
    assert policy.alarm(45_012) == 45_030


@given(st.integers(1, 10**7), st.integers(1, 10**6))
def test_an_alarm_at_a_boost_finds_it_due_however_times_are_rounded(step: int, number: int) -> None:
    period = step * 1e-6
    policy, (a, _) = policy_of("a", "b", quanta=period, boost=period)
    policy.pop(0)
    policy.peek(now := number * period)
    policy.started(a, now)
    when = policy.alarm(now)
    assert when is not None
    assert when > now
    policy.peek(when)
    following = policy.alarm(when)
    assert following is not None
    assert following > when or policy.expired(when) == [a]


# --------------------------------------------------------------------------------- words and parameters


def test_what_waits_for_something_else_is_ordered_by_priority() -> None:
    policy, (a, b) = policy_of("a", "b")
    b.rank = 5
    assert sorted([a, b], key=policy.urgency) == [b, a]


def test_one_that_nobody_knows_would_start_at_the_top() -> None:
    policy, _ = policy_of()
    assert policy.describe(Item(), 0) == "level 1 of 3"


def test_it_shows_itself_as_it_is_made_and_a_fresh_one_is_empty() -> None:
    policy, _ = policy_of("a", preempted_to="tail")
    text = "Fair(levels=3, quanta=(10.0, 20.0, 40.0), boost=None, preempted_to='tail')"
    assert repr(policy) == repr(policy.fresh()) == text
    assert repr(eval(text)) == text
    assert (len(policy), len(policy.fresh())) == (1, 0)


def test_quanta_double_from_level_to_level_unless_said_otherwise() -> None:
    assert Fair[Item]().quanta == (0.01, 0.02, 0.04)
    assert Fair[Item](levels=5).quanta == (0.01, 0.02, 0.04, 0.08, 0.16)
    assert Fair[Item](levels=2, quanta="5ms").quanta == (0.005, 0.005)
    assert Fair[Item](levels=2, quanta=["5ms", 1]).quanta == (0.005, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"levels": 0}, r"levels=0 is less than 1; give an int from 1 to 64"),
        ({"levels": 65}, r"levels=65 is more than 64; give an int from 1 to 64"),
        ({"levels": True}, r"levels=True is of type bool; give an int"),
        ({"levels": "3"}, r"levels='3' is of type str; give an int"),
        (
            {"quanta": ["5ms"]},
            r"quanta=\['5ms'\] has 1 of the 3 that levels=3 needs; give one for each level",
        ),
        ({"quanta": []}, r"quanta=\[\] has 0 of the 3"),
        ({"quanta": 0}, r"quanta=0 is no time at all; give a duration above zero"),
        ({"quanta": (1, "2", 3)}, r"quanta\[1\]='2' has no unit; give seconds"),
        ({"quanta": (1, 2, -3)}, r"quanta\[2\]=-3 is negative; give seconds"),
        ({"quanta": {1}}, r"quanta=\{1\} is a set, not a duration"),
        ({"boost": 0}, r"boost=0 is no time at all"),
        ({"boost": "never"}, r"boost='never' is not"),
        (
            {"boost": 1, "quanta": 2},
            r"boost=1 is shorter than the first quantum, 2s: no turn would ever end; give",
        ),
        ({"preempted_to": "top"}, r"preempted_to='top' is not a choice; choose from 'head', 'tail'"),
    ],
)
def test_wrong_parameters_are_refused_by_name_with_a_remedy(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Fair(**wrong)


# ------------------------------------------------------------------------------------------------ memory


def test_who_has_ended_is_let_go() -> None:
    policy, tasks = policy_of("a", "b", "c", "d")
    keep = tasks.pop()
    gone = [weakref.ref(task) for task in tasks]
    take(policy, 0)
    take(policy, 5)
    policy.victim(12)
    policy.expired(12)
    for task in tasks:
        policy.forget(task, 15)
    del task
    tasks.clear()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    policy.check()
    assert policy.drain() == [keep]


def test_running_and_blocking_over_and_over_takes_no_memory() -> None:
    policy, _ = policy_of("waits for ever", boost=500)
    a, b = Item("a"), Item("b")
    for now in range(0, 20_000, 10):
        burst(policy, a, now, now + 7)
        burst(policy, b, now + 7, now + 9)
        policy.victim(now + 9)
        policy.check()


# ------------------------------------------------------------------------------------------- schedules


def play(
    policy: Fair[Item], jobs: Sequence[Job], processors: int, until: int, *, curious: bool = False
) -> list[set[str]]:
    """Call the policy as the scheduler would, only when something happens; return who ran, by tick.

    Args:
        policy: Who is to run.
        jobs: What there is to do, in the order of submission.
        processors: How many may run.
        until: When to stop looking.
        curious: Whether somebody asks questions at every tick, which must not change anything.
    """
    on: list[Job] = []
    history: list[set[str]] = []
    alarm: float | None = None
    for now in range(until):
        happened = alarm is not None and alarm <= now
        for job in [job for job in on if not job.left]:
            happened = True
            on.remove(job)
            policy.stopped(job, now)
            if job.end_burst(now):
                policy.forget(job, now)
        for job in jobs:
            if job.bursts and not job.left and job.comes == now:
                happened = True
                job.begin()
                policy.push(job, now)
        if happened:
            decide(policy, on, processors, now)
            policy.check()
            alarm = policy.alarm(now)
            assert alarm is None or alarm > now
        elif curious:
            assert policy.alarm(now) == alarm
            assert (list(policy.expired(now)), policy.victim(now)) == ([], None)
            policy.check()
        for job in on:
            job.left -= 1
        history.append({job.name for job in on})
    return history


def decide(policy: Fair[Item], on: list[Any], processors: int, now: int) -> None:
    for task in turn_over(policy, now):
        on.remove(task)
    while len(policy):
        if len(on) < processors:
            on.append(take(policy, now))
        elif victim := policy.victim(now):
            policy.stopped(victim, now)
            policy.put_back(victim, now)
            on.remove(victim)
        else:
            return


class Rules:
    """The five rules, tick by tick, as one would explain them: eager and slow."""

    def __init__(self, quanta: Sequence[int], boost: int | None, preempted_to: str, processors: int) -> None:
        self.quanta, self.boost, self.preempted_to, self.processors = quanta, boost, preempted_to, processors
        self.levels: list[list[Job]] = [[] for _ in quanta]
        self.on: list[Job] = []
        self.joins = 0

    def play(self, jobs: Sequence[Job], until: int) -> list[set[str]]:
        history: list[set[str]] = []
        for now in range(until):
            self.tick(jobs, now)
            history.append({job.name for job in self.on})
        return history

    def tick(self, jobs: Sequence[Job], now: int) -> None:
        for job in self.on:
            job.left -= 1
            job.used += 1
        over = [job for job in self.on if job.used == self.quanta[job.level]]
        for job in over:
            job.level, job.used = min(job.level + 1, len(self.quanta) - 1), 0
        for job in [job for job in self.on if not job.left]:
            self.on.remove(job)
            job.end_burst(now)
        if self.boost and now and now % self.boost == 0:
            self.levels = [[*chain(*self.levels)], *([] for _ in self.quanta[1:])]
            for job in jobs:
                job.level = job.used = 0
        for job in jobs:
            if job.bursts and not job.left and job.comes == now:
                job.begin()
                self.join(job)
        for job in sorted(over, key=lambda job: job.number):
            if job in self.on and job.preemptible:
                self.on.remove(job)
                self.join(job)
        self.choose()

    def join(self, job: Job) -> None:
        self.joins += 1
        job.joined = self.joins
        job.number = job.number or self.joins
        self.levels[job.level].append(job)

    def choose(self) -> None:
        while waiting := [*chain(*self.levels)]:
            best = waiting[0]
            if len(self.on) == self.processors:
                worst = max(
                    (job for job in self.on if job.preemptible),
                    key=lambda job: (job.level, job.joined),
                    default=None,
                )
                if worst is None or worst.level <= best.level:
                    return
                self.on.remove(worst)
                if self.preempted_to == "tail":
                    self.join(worst)
                else:
                    self.levels[worst.level].insert(0, worst)
            else:
                self.levels[best.level].remove(best)
                self.on.append(best)


@pytest.mark.parametrize("name", CASES)
def test_the_schedules_worked_out_by_hand_come_out_slice_for_slice(name: str) -> None:
    case = CASES[name]
    assert case["processors"] == 1
    jobs = [Job(task["name"], task.get("arrival", 0), [(task["exec"], 0)]) for task in case["tasks"]]
    history = play(Fair(**case["params"]), jobs, 1, max(case["finish"].values()) + 1)
    got: list[list[object]] = []
    for now, on in enumerate(history):
        for running in on:
            if got and got[-1][1:] == [now, running]:
                got[-1][1] = now + 1
            else:
                got.append([now, now + 1, running])
    assert got == case["expected"]
    assert {running: now + 1 for now, on in enumerate(history) for running in on} == case["finish"]


BURSTS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 15)), min_size=1, max_size=4)


@st.composite
def sets(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of a policy, processors, and jobs that arrive, run and block."""
    quanta = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    return {
        "quanta": quanta,
        "boost": draw(st.none() | st.integers(quanta[0], 25)),
        "preempted_to": draw(st.sampled_from(["head", "tail"])),
        "processors": draw(st.integers(1, 3)),
        "jobs": draw(
            st.lists(
                st.tuples(st.integers(0, 30), BURSTS, st.sampled_from([True, True, True, False])), max_size=6
            )
        ),
    }


# Two turns end at once, one of them just after another of the same task that nobody had to look at.
TWO_AT_ONCE = {
    "quanta": [3, 1],
    "boost": None,
    "preempted_to": "head",
    "processors": 2,
    "jobs": [
        (0, [(1, 1)], True),
        (1, [(5, 1)], True),
        (0, [(1, 4), (1, 1)], True),
        (0, [(1, 1), (3, 1)], True),
    ],
}


@given(sets(), st.booleans())
@example(TWO_AT_ONCE, False)
@hypothesis_settings(max_examples=250, deadline=None)
def test_it_does_what_the_five_rules_say_tick_by_tick(given: dict[str, Any], curious: bool) -> None:
    quanta, boost, end, processors = (given[key] for key in ("quanta", "boost", "preempted_to", "processors"))
    until = 120

    def jobs() -> list[Job]:
        return [Job(f"j{number}", *one) for number, one in enumerate(given["jobs"])]

    policy = Fair[Item](len(quanta), quanta, boost, preempted_to=end)
    assert play(policy, jobs(), processors, until, curious=curious) == Rules(
        quanta, boost, end, processors
    ).play(jobs(), until)


# ------------------------------------------------------------------------------ against an obvious model


class FairMachine(RuleBasedStateMachine):
    """Calls in any order, with leaps in time, against a model that goes through them unit by unit."""

    tasks = Bundle("tasks")
    QUANTA = (2, 3, 4)
    BOOST = 7

    def __init__(self) -> None:
        super().__init__()
        self.policy = Fair[Item](3, self.QUANTA, self.BOOST)
        self.now = 0
        self.levels: list[list[Item]] = [[], [], []]
        self.known: dict[Item, list[int]] = {}  # level, used
        self.on: set[Item] = set()

    @property
    def queued(self) -> list[Item]:
        return [*chain(*self.levels)]

    @rule(target=tasks, preemptible=st.booleans())
    def new(self, preemptible: bool) -> Item:
        return Item("t", preemptible=preemptible)

    @rule(steps=st.integers(1, 30))
    def wait(self, steps: int) -> None:
        for _ in range(steps):
            self.now += 1
            for task in self.on:
                state = self.known[task]
                state[1] += 1
                if state[1] == self.QUANTA[state[0]]:
                    state[:] = [min(state[0] + 1, 2), 0]
            if self.now % self.BOOST == 0:
                self.levels = [self.queued, [], []]
                for state in self.known.values():
                    state[:] = [0, 0]

    @rule(task=tasks, back=st.booleans())
    def join(self, task: Item, back: bool) -> None:
        call = self.policy.put_back if back else self.policy.push
        if task in self.queued or task in self.on:
            with pytest.raises(ValueError, match="cannot be pushed"):
                call(task, self.now)
            return
        call(task, self.now)
        level = self.levels[self.known.setdefault(task, [0, 0])[0]]
        level.insert(0 if back else len(level), task)

    @rule(start=st.booleans())
    def take(self, start: bool) -> None:
        expected = self.queued[0] if self.queued else None
        assert self.policy.pop(self.now) is expected
        if expected is not None:
            self.levels[self.known[expected][0]].remove(expected)
            if start:
                self.policy.started(expected, self.now)
                self.on.add(expected)

    @rule(task=tasks)
    def stop(self, task: Item) -> None:
        self.policy.stopped(task, self.now)
        self.on.discard(task)

    @rule(task=tasks)
    def remove(self, task: Item) -> None:
        there = task in self.queued
        assert self.policy.remove(task) == there
        if there:
            self.levels[self.known[task][0]].remove(task)

    @rule(task=tasks)
    def forget(self, task: Item) -> None:
        if task in self.queued:
            self.levels[self.known[task][0]].remove(task)
        self.policy.forget(task, self.now)
        self.on.discard(task)
        self.known.pop(task, None)

    @rule()
    def ask(self) -> None:
        assert set(self.policy.expired(self.now)) <= (self.on if self.queued else set())
        victim, alarm = self.policy.victim(self.now), self.policy.alarm(self.now)
        levels = [self.known[task][0] for task in self.on if task.preemptible]
        if not self.queued or not levels:
            assert (victim, alarm) == (None, None)
            return
        best = self.known[self.queued[0]][0]
        assert (victim is not None) == (max(levels) > best)
        assert victim is None or self.known[victim][0] == max(levels)
        assert alarm is not None
        assert self.now <= alarm <= (self.now // self.BOOST + 1) * self.BOOST

    @rule()
    def drain(self) -> None:
        assert self.policy.drain() == self.queued
        for task in self.queued:
            del self.known[task]
        self.levels = [[], [], []]

    @invariant()
    def agrees(self) -> None:
        self.policy.check()
        assert len(self.policy) == len(self.queued)
        for task, (level, used) in self.known.items():
            whole = self.QUANTA[level]
            text = f"level {level + 1} of 3, {whole - used}s of {whole}s left"
            assert self.policy.describe(task, self.now) == text
        assert self.policy.peek(self.now) is (self.queued[0] if self.queued else None)


FairMachine.TestCase.settings = hypothesis_settings(max_examples=100, stateful_step_count=40, deadline=None)
TestFairMachine = FairMachine.TestCase

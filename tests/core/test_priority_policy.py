"""Fixed priorities: highest rank first, and in order among equals; aging, quanta and preemption."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsched._core.policies.priority import FixedPriority
from tests.core.policy_player import Job, Player

if TYPE_CHECKING:
    from actorsched._core.policies import SchedulingPolicy

NOW = 0


def item(name: str = "", rank: int = 3, *, preemptible: bool = True) -> Job:
    return Job(name, 0, 1, rank, preemptible=preemptible)


def queue(*items: Job) -> FixedPriority[Job]:
    made = FixedPriority[Job]()
    for one in items:
        made.push(one, NOW)
    return made


def pop_all(made: FixedPriority[Job]) -> str:
    names: list[str] = []
    while one := made.pop(NOW):
        names.append(one.name)
    return "".join(names)


def items(text: str) -> list[Job]:
    """Make items from names and ranks: "a1 b2"."""
    return [item(word[0], int(word[1:])) for word in text.split()]


def test_it_is_a_scheduling_policy() -> None:
    policy: SchedulingPolicy[Job] = FixedPriority[Job]()
    assert policy.pop(NOW) is None


def test_an_empty_queue_has_nothing_to_give() -> None:
    made = queue()
    assert (made.pop(NOW), made.peek(NOW), len(made), made.drain()) == (None, None, 0, [])


def test_equals_come_in_the_order_of_arrival() -> None:
    assert pop_all(queue(*items("a3 b3 c3"))) == "abc"


def test_higher_ranks_come_first_and_any_int_is_a_rank() -> None:
    assert pop_all(queue(*items("a3 b-7 c99 d3 e0 f99"))) == "cfadeb"


def test_peek_shows_what_pop_takes_and_takes_nothing() -> None:
    made = queue(*items("a1 b2"))
    first = made.peek(NOW)
    assert first is made.peek(NOW)
    assert made.pop(NOW) is first
    assert len(made) == 1


def test_what_is_removed_does_not_come() -> None:
    a, b, c = items("a3 b3 c3")
    made = queue(a, b, c)
    assert made.remove(b)
    assert not made.remove(b)
    assert pop_all(made) == "ac"


def test_what_is_removed_and_pushed_again_joins_the_tail() -> None:
    a, b = items("a3 b3")
    made = queue(a, b)
    made.remove(a)
    made.push(a, NOW)
    assert pop_all(made) == "ba"


def test_what_was_popped_is_no_longer_there() -> None:
    (a,) = items("a3")
    made = queue(a)
    made.pop(NOW)
    assert not made.remove(a)
    made.changed(a, NOW)
    assert len(made) == 0
    made.push(a, NOW)
    assert made.pop(NOW) is a


def test_a_rise_in_rank_overtakes() -> None:
    a, b, c = items("a1 b2 c3")
    made = queue(a, b, c)
    a.rank = 9
    made.changed(a, NOW)
    assert pop_all(made) == "acb"


def test_a_task_keeps_its_age_among_its_new_equals() -> None:
    a, b, c = items("a3 b1 c3")
    made = queue(a, b, c)
    b.rank = 3
    made.changed(b, NOW)
    assert pop_all(made) == "abc"


def test_a_task_that_rises_and_falls_is_back_where_it_was() -> None:
    a, b, c = items("a3 b3 c3")
    made = queue(a, b, c)
    for rank in (6, 3, 6, 3):
        b.rank = rank
        made.changed(b, NOW)
        made.check()
    assert pop_all(made) == "abc"


def test_a_rank_counts_when_the_queue_is_told_of_it() -> None:
    a, b = items("a1 b2")
    made = queue(a, b)
    a.rank = 9
    assert made.peek(NOW) is b
    made.changed(a, NOW)
    made.changed(a, NOW)
    assert made.peek(NOW) is a


def test_draining_empties_the_queue_in_its_order() -> None:
    a, b, c, d = items("a1 b3 c1 d3")
    made = queue(a, b, c, d)
    made.remove(c)
    assert made.drain() == [b, d, a]
    assert len(made) == 0
    assert made.pop(NOW) is None
    made.push(c, NOW)
    assert made.pop(NOW) is c


def test_pushing_what_is_there_raises_and_changes_nothing() -> None:
    a, b = items("a3 b3")
    made = queue(a, b)
    a.rank = 0
    with pytest.raises(ValueError, match="a:0 cannot be pushed: it is in the queue already"):
        made.push(a, NOW)
    made.check()
    assert pop_all(made) == "ab"


def test_a_removed_task_is_let_go_at_once() -> None:
    made = queue(*(item(rank=n % 3) for n in range(100)))
    one = item(rank=1)
    made.push(one, NOW)
    made.remove(one)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def cells(made: FixedPriority[Job]) -> int:
    return sum(len(level.cells()) for level in made._levels.values())


def test_removing_without_popping_does_not_let_memory_grow() -> None:
    made = queue(item("top", rank=10**9))
    for n in range(10_000):
        one = item(rank=n)
        made.push(one, NOW)
        made.remove(one)
    assert cells(made) < 100
    assert len(made._levels) < 100


def test_ranks_that_come_and_go_do_not_let_memory_grow() -> None:
    made = queue(item("bottom", rank=-1))
    for n in range(10_000):
        made.push(item(rank=n), NOW)
        made.pop(NOW)
    assert len(made._levels) <= 3


def test_popping_what_is_left_drops_the_empty_places_below() -> None:
    low = [item(rank=1) for _ in range(500)]
    made = queue(*low, *(item(rank=2) for _ in range(500)))
    for one in low:
        made.remove(one)
    while made.pop(NOW):
        made.check()
    assert cells(made) < 100


def test_inheriting_again_and_again_does_not_let_memory_grow() -> None:
    a, b = items("a1 b2")
    made = queue(a, b)
    for n in range(10_000):
        a.rank = n % 7
        made.changed(a, NOW)
    assert cells(made) < 100


def test_its_repr_counts() -> None:
    assert repr(queue(*items("a1 b2"))) == "<FixedPriority, 2 ready, 0 running>"


# ------------------------------------------------------------------------------------------------- schedules


def table(text: str) -> list[Job]:
    """Make jobs from lines of name, arrival, running time and rank."""
    words = [line.split() for line in text.strip().splitlines()]
    return [Job(name, int(at), int(ticks), int(rank)) for name, at, ticks, rank in words]


def slices(text: str) -> list[tuple[int, int, str]]:
    """Read slices: "0-20 P1, 25-35 P2"."""
    found = []
    for part in text.split(","):
        span, name = part.split()
        start, end = span.split("-")
        found.append((int(start), int(end), name))
    return found


STABLE = "L 0 4 1\nA 1 2 5\nB 1 2 5\nC 2 1 5\nH 3 1 9"
SILBERSCHATZ = "P1 0 10 -3\nP2 0 1 -1\nP3 0 2 -4\nP4 0 1 -5\nP5 0 5 -2"
ROUND_ROBIN = "P1 0 20 40\nP2 25 25 30\nP3 30 25 30\nP4 60 15 35\nP5 100 10 5\nP6 105 10 10"
LATE = "100-105 P5, 105-115 P6, 115-120 P5"
AGING = "L 0 3 1\nH0 0 2 5\nH1 2 2 5\nH2 4 2 5\nH3 6 2 5\nH4 8 2 5\nH5 10 2 5\nH6 12 2 5\nH7 14 2 5"

SCHEDULES: list[tuple[str, dict[str, Any], str]] = [
    (STABLE, {}, "0-1 L, 1-3 A, 3-4 H, 4-6 B, 6-7 C, 7-10 L"),
    (SILBERSCHATZ, {}, "0-1 P2, 1-6 P5, 6-16 P1, 16-18 P3, 18-19 P4"),
    (
        ROUND_ROBIN,
        {"quantum": 10},
        "0-20 P1, 25-35 P2, 35-45 P3, 45-55 P2, 55-60 P3, 60-75 P4, 75-80 P3, 80-85 P2, 85-90 P3, " + LATE,
    ),
    (
        ROUND_ROBIN,
        {"quantum": 10, "preempted_to": "tail"},
        "0-20 P1, 25-35 P2, 35-45 P3, 45-55 P2, 55-60 P3, 60-75 P4, 75-80 P2, 80-90 P3, " + LATE,
    ),
    (
        AGING,
        {"aging": 2},
        "0-2 H0, 2-4 H1, 4-6 H2, 6-8 H3, 8-11 L, 11-13 H4, 13-15 H5, 15-17 H6, 17-19 H7",
    ),
    (
        AGING,
        {},
        "0-2 H0, 2-4 H1, 4-6 H2, 6-8 H3, 8-10 H4, 10-12 H5, 12-14 H6, 14-16 H7, 16-19 L",
    ),
    (
        "L 0 4 1\nH 0 9 3\nM 1 1 2",
        {"aging": 2, "aging_preempts": True},
        "0-5 H, 5-6 M, 6-9 L, 9-13 H, 13-14 L",
    ),
]


@pytest.mark.parametrize("stirring", [True, False])
@pytest.mark.parametrize(("jobs", "parameters", "expected"), SCHEDULES)
def test_a_schedule_comes_out_slice_for_slice(
    jobs: str, parameters: dict[str, Any], expected: str, stirring: bool
) -> None:
    player = Player(FixedPriority(**parameters), stirring=stirring)
    assert player.play(table(jobs)) == slices(expected)


def test_tasks_that_may_not_be_preempted_are_not() -> None:
    jobs = table("L 0 5 1\nH 1 1 9\nM 2 1 5")
    jobs[0].preemptible = False
    assert Player(FixedPriority(quantum=1)).play(jobs) == slices("0-5 L, 5-6 H, 6-7 M")


# --------------------------------------------------------------------------------------- running, in detail


def running(made: FixedPriority[Job], *jobs: Job, now: int = 0) -> None:
    for job in jobs:
        made.push(job, now)
        assert made.pop(now) is job
        made.started(job, now)


def test_who_makes_room_is_the_lowest_and_of_equals_the_last() -> None:
    a, b, c, d = items("a3 b2 c2 d4")
    made = queue()
    running(made, a, b, c)
    assert made.victim(NOW) is None
    made.push(d, NOW)
    assert made.victim(NOW) is c
    made.stopped(c, NOW)
    assert made.victim(NOW) is b


def test_equals_do_not_preempt() -> None:
    a, b = items("a3 b3")
    made = queue()
    running(made, a)
    made.push(b, NOW)
    assert made.victim(NOW) is None


def test_a_running_task_that_inherits_is_spared() -> None:
    a, b, c = items("a1 b2 c3")
    made = queue()
    running(made, a, b)
    made.push(c, NOW)
    a.rank = 3
    made.changed(a, NOW)
    assert made.victim(NOW) is b
    a.rank = 1
    made.changed(a, NOW)
    assert made.victim(NOW) is a


def test_a_preempted_task_comes_back_before_its_equals() -> None:
    a, b, c = items("a1 b1 c1")
    made = queue()
    running(made, a)
    made.push(b, NOW)
    made.push(c, NOW)
    made.stopped(a, NOW)
    made.put_back(a, NOW)
    made.check()
    assert pop_all(made) == "abc"


def test_one_that_was_preempted_elsewhere_comes_before_its_equals_too() -> None:
    a, b, c = items("a1 b1 c1")
    made = queue(c)
    made.put_back(b, NOW)
    made.put_back(a, NOW)
    assert pop_all(made) == "abc"


@pytest.mark.parametrize("where", ["head", "tail"])
def test_one_that_was_popped_and_got_no_worker_goes_back_where_it_was(where: Any) -> None:
    a, b = items("a1 b1")
    made = FixedPriority[Job](preempted_to=where, aging=10)
    made.push(a, 0)
    made.push(b, 0)
    assert made.pop(15) is a
    made.put_back(a, 15)
    made.check()
    assert made.describe(a, 20) == "priority 1, aged to 3"
    assert [made.pop(20), made.pop(20)] == [a, b]


def test_a_running_task_that_was_never_queued_is_one_like_others() -> None:
    a, b = items("a1 b2")
    made = queue(b)
    made.started(a, NOW)
    made.check()
    assert made.victim(NOW) is a


@pytest.mark.parametrize("verb", ["push", "put_back"])
def test_a_running_task_cannot_join_the_queue(verb: str) -> None:
    (a,) = items("a3")
    made = queue()
    running(made, a)
    with pytest.raises(ValueError, match="a:3 cannot be .*: it is running; it has to be stopped first"):
        getattr(made, verb)(a, NOW)
    made.check()
    assert len(made) == 0


def test_what_is_in_the_queue_cannot_be_put_back() -> None:
    (a,) = items("a3")
    made = queue(a)
    with pytest.raises(ValueError, match="a:3 cannot be put back: it is in the queue already"):
        made.put_back(a, NOW)
    assert len(made) == 1


def test_strangers_that_stop_or_change_are_nobodys_business() -> None:
    (a,) = items("a3")
    made = queue()
    made.stopped(a, NOW)
    made.changed(a, NOW)
    made.forget(a, NOW)
    assert made.admit(a, NOW, 1) is None
    assert made.urgency(a) == (-3,)
    made.check()


def test_who_has_stopped_is_let_go_with_the_next_question() -> None:
    made = FixedPriority[Job](quantum=5, aging=3)
    one = item()
    running(made, one)
    made.push(item(rank=1), NOW)
    made.victim(NOW)
    made.stopped(one, 2)
    made.alarm(2)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


# ------------------------------------------------------------------------------------------------- quanta


def test_a_lone_task_is_never_over_and_wakes_nobody() -> None:
    a, b = items("a3 b2")
    made = FixedPriority[Job](quantum=10)
    running(made, a)
    assert made.alarm(0) is None
    made.push(b, 1)
    assert made.alarm(1) is None, "a lower one waits, which has no turn"
    assert [made.expired(now) for now in (10, 11, 10**6)] == [[], [], []]


def test_a_quantum_goes_on_from_where_the_last_one_ended() -> None:
    a, b = items("a3 b3")
    made = FixedPriority[Job](quantum=10)
    running(made, a)
    made.push(b, 25)
    assert made.alarm(25) == 30
    assert made.expired(29) == []
    assert made.expired(30) == [a]


def test_who_arrives_when_the_quantum_ends_takes_the_turn() -> None:
    a, b = items("a3 b3")
    made = FixedPriority[Job](quantum=10)
    running(made, a)
    made.push(b, 10)
    assert made.expired(10) == [a]


def test_who_arrives_after_a_quantum_has_to_wait_for_the_next() -> None:
    a, b = items("a3 b3")
    made = FixedPriority[Job](quantum=10)
    running(made, a)
    made.push(b, 11)
    assert made.expired(11) == []
    assert made.alarm(11) == 20


def test_turns_that_are_over_come_in_the_order_of_their_ends() -> None:
    a, b, c, d = items("a3 b3 c2 d3")
    made = FixedPriority[Job](quantum=10)
    running(made, a, now=2)
    running(made, b, now=1)
    running(made, c, now=2)
    made.push(d, 3)
    assert made.alarm(3) == 11
    assert made.expired(20) == [b, a, c]


def test_what_is_left_of_a_quantum_stays_when_preempted() -> None:
    a, b, c = items("a3 b3 c4")
    made = FixedPriority[Job](quantum=10)
    running(made, a)
    made.push(b, 1)
    made.push(c, 4)
    assert made.victim(4) is a
    made.stopped(a, 4)
    made.put_back(a, 4)
    assert made.pop(4) is c
    made.started(c, 4)
    made.stopped(c, 50)
    assert made.pop(50) is a
    made.started(a, 50)
    assert made.alarm(50) == 56


# -------------------------------------------------------------------------------------------------- aging


def test_age_stands_still_while_running_and_stays_when_preempted() -> None:
    a, b = items("a1 b4")
    made = FixedPriority[Job](aging=10)
    made.push(a, 0)
    made.push(b, 0)
    assert made.describe(a, 19) == "priority 1, aged to 2"
    assert made.pop(20) is b
    assert made.pop(25) is a
    made.started(a, 25)
    assert made.describe(a, 1000) == "priority 1, aged to 3"
    made.stopped(a, 1000)
    made.put_back(a, 1000)
    assert made.describe(a, 1004) == "priority 1, aged to 3"
    assert made.describe(a, 1005) == "priority 1, aged to 4"
    made.remove(a)
    made.push(a, 1005)
    assert made.describe(a, 1005) == "priority 1"


def test_age_ends_at_critical_and_higher_ranks_do_not_age() -> None:
    a, b = items("a-20 b6")
    made = FixedPriority[Job](aging=1, step=3)
    made.push(a, 0)
    made.push(b, 0)
    assert made.describe(a, 10**9) == "priority -20, aged to 5"
    assert made.describe(b, 10**9) == "priority 6"


def test_age_counts_in_full_when_the_rank_of_a_running_task_falls() -> None:
    (a,) = items("a4")
    made = FixedPriority[Job](aging=10)
    made.push(a, 0)
    made.pop(30)
    made.started(a, 30)
    assert made.describe(a, 30) == "priority 4, aged to 5"
    a.rank = 1
    made.changed(a, 30)
    assert made.describe(a, 30) == "priority 1, aged to 4"


def test_a_rank_preempts_and_the_oldest_profits() -> None:
    low, high, old = items("a2 b4 c1")
    made = FixedPriority[Job](aging=10)
    made.push(old, 0)
    running(made, low, now=0)
    made.push(high, 100)
    assert made.victim(100) is low
    made.stopped(low, 100)
    made.put_back(low, 100)
    assert made.peek(100) is old


def test_age_alone_does_not_preempt_unless_it_is_told_to() -> None:
    for preempts, expected in ((False, None), (True, 30)):
        low, high = items("a1 b3")
        made = FixedPriority[Job](aging=10, aging_preempts=preempts)
        running(made, high)
        made.push(low, 0)
        assert made.alarm(0) == expected
        assert (made.victim(29), made.victim(30)) == (None, high if preempts else None)


@pytest.mark.parametrize(("now", "expected"), [(29, "ba"), (40, "ab")])
def test_draining_goes_by_age_at_the_time_last_told(now: int, expected: str) -> None:
    a, b = items("a1 b3")
    made = FixedPriority[Job](aging=10)
    made.push(a, 0)
    made.push(b, 5)
    made.expired(now)
    assert "".join(job.name for job in made.drain()) == expected
    assert len(made) == 0
    made.check()


def test_stepping_in_floats_agrees_with_the_alarm() -> None:
    made = FixedPriority[Job](aging=0.1, aging_preempts=True)
    low, high = items("a1 b3")
    running(made, high)
    made.push(low, 0.7)
    alarm = made.alarm(0.7)
    assert alarm is not None
    assert made.victim(alarm) is high
    assert made.victim(alarm - 1e-9) is None


# --------------------------------------------------------------------------------------------- parameters


def test_durations_are_understood_and_shown() -> None:
    made = FixedPriority[Job]("5s", 2, timedelta(milliseconds=10), preempted_to="tail", aging_preempts=True)
    assert (made.aging, made.step, made.quantum) == (5, 2, 0.01)
    parameters = "aging='5s', step=2, quantum='10ms', preempted_to='tail', aging_preempts=True"
    assert repr(made) == f"<FixedPriority({parameters}), 0 ready, 0 running>"
    assert repr(made.fresh()) == repr(made)
    assert made.fresh() is not made


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"aging": 0}, "aging=0 is too short; give a microsecond or more"),
        ({"quantum": "0s"}, "quantum='0s' is too short"),
        ({"quantum": "soon"}, "quantum"),
        ({"aging": 1, "step": 0}, "step=0 is less than 1; give an int of 1 or more"),
        ({"aging": 1, "step": True}, "step=True is of type bool; give an int"),
        ({"aging": 1, "step": 0.5}, "step=0.5 is of type float; give an int"),
        ({"preempted_to": "middle"}, "preempted_to='middle' is not a choice; choose from 'head', 'tail'"),
        ({"aging": 1, "aging_preempts": 1}, "aging_preempts=1 is of type int; give True or False"),
        ({"aging_preempts": True}, "aging_preempts has no meaning without aging; give the interval too"),
        ({"step": 2}, "step has no meaning without aging"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        FixedPriority(**parameters)


# ------------------------------------------------------------------------------------- against simulation


@dataclass
class Naive:
    """A simulator in ticks with nothing but lists: everything is counted, and sorted, at every tick."""

    processors: int = 1
    aging: int | None = None
    step: int = 1
    quantum: int | None = None
    preempted_to: str = "head"
    aging_preempts: bool = False
    queued: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.number = 0
        self.place: dict[Job, int] = {}
        self.waited: dict[Job, int] = {}
        self.used: dict[Job, int] = {}

    def value(self, job: Job) -> int:
        credit = self.step * (self.waited[job] // self.aging) if self.aging else 0
        return max(job.rank, min(job.rank + credit, 5))

    def join(self, job: Job) -> None:
        self.number += 1
        self.place[job], self.waited[job], self.used[job] = self.number, 0, 0
        self.queued.append(job)

    def key(self, job: Job) -> tuple[int, int]:
        return (-self.value(job), self.place[job])

    def tick(self, arrivals: list[Job]) -> list[str]:
        self.running = [job for job in self.running if job.left]
        for job in arrivals:
            self.join(job)
        ended = [job for job in self.running if self.used[job] == self.quantum and job.preemptible]
        crowds = [self.value(job) for job in self.queued]
        for job in sorted(ended, key=self.place.__getitem__):
            self.used[job] = 0
            if any(value >= job.rank for value in crowds):
                self.running.remove(job)
                self.join(job)
        self.choose()
        for job in self.running:
            job.left -= 1
            self.used[job] += 1
        for job in self.queued:
            self.waited[job] += 1
        return sorted(job.name for job in self.running)

    def choose(self) -> None:
        while self.queued:
            if len(self.running) < self.processors:
                best = min(self.queued, key=self.key)
                self.queued.remove(best)
                self.running.append(best)
                continue
            victims = [job for job in self.running if job.preemptible]
            highest = max(self.value(job) if self.aging_preempts else job.rank for job in self.queued)
            if not victims or highest <= self.value(max(victims, key=self.key)):
                return
            victim = max(victims, key=self.key)
            self.running.remove(victim)
            if self.preempted_to == "head":
                self.queued.append(victim)
            else:
                self.join(victim)


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    aging = draw(st.none() | st.integers(1, 6))
    return {
        "aging": aging,
        "step": 1 if aging is None else draw(st.integers(1, 3)),
        "quantum": draw(st.none() | st.integers(1, 5)),
        "preempted_to": draw(st.sampled_from(["head", "tail"])),
        "aging_preempts": aging is not None and draw(st.booleans()),
    }


SETS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 8), st.integers(-1, 7), st.integers(0, 9)),
    min_size=1,
    max_size=10,
)


def made_of(rows: list[tuple[int, int, int, int]]) -> list[Job]:
    rows = sorted(rows, key=lambda row: row[0])
    return [Job(f"j{n}", *row[:3], preemptible=row[3] > 0) for n, row in enumerate(rows)]


@settings(max_examples=300)
@given(parameters(), SETS, st.integers(1, 3), st.booleans())
def test_any_set_of_jobs_is_scheduled_as_by_simulation(
    given_: dict[str, Any], rows: list[tuple[int, int, int, int]], processors: int, stirring: bool
) -> None:
    player = Player(FixedPriority(**given_), processors, stirring=stirring)
    player.play(made_of(rows))
    naive, jobs = Naive(processors, **given_), made_of(rows)
    expected = [naive.tick([job for job in jobs if job.arrival == now]) for now in range(len(player.history))]
    assert player.history == expected
    assert not any(job.left for job in jobs)


# ------------------------------------------------------------------------------------------- starvation


@settings(max_examples=200)
@given(parameters(), SETS, st.integers(1, 3))
def test_nobody_starves_with_aging(
    given_: dict[str, Any], rows: list[tuple[int, int, int, int]], processors: int
) -> None:
    """The bound of the docstring, under its assumptions, beside a stream of tasks of the rank 5."""
    given_ |= {"aging": given_["aging"] or 2, "preempted_to": "head"}
    jobs = made_of([(at, ticks, min(rank, 5), 1) for at, ticks, rank, _ in rows])
    jobs += [Job(f"s{n}", n, processors, 5) for n in range(120)]
    jobs.sort(key=lambda job: job.arrival)
    longest = given_["quantum"] or max(job.left for job in jobs)
    player = Player(FixedPriority(**given_), processors)
    player.play(jobs, until=120)
    for number, job in enumerate(jobs):
        interval, step = given_["aging"], given_["step"]
        ahead = sum(other.arrival <= job.arrival for other in jobs[:number])
        bound = interval * -((job.rank - 5) // step) + (ahead + 1) * longest
        assert player.first.get(job.name, 120) - job.arrival <= bound
        assert given_["quantum"] or player.waited.get(job.name, 0) <= bound


def test_without_aging_a_low_task_waits_as_long_as_higher_ones_come() -> None:
    stream = [Job(f"s{n}", n, 1, 5) for n in range(100)]
    assert Player(FixedPriority()).play([Job("low", 0, 1, 1), *stream])[-1] == (100, 101, "low")


# ------------------------------------------------------------------------------------------ against a model


@dataclass(eq=False)
class Row:
    """What the model knows of one task, queued or running."""

    job: Job
    rank: int
    number: int
    origin: int = 0
    waited: int = 0
    steps: int = 0
    end: float = inf
    left: int | None = None


class PolicyAgainstModel(RuleBasedStateMachine):
    """The policy, beside lists that are sorted each time; calls come in any order that makes sense."""

    @initialize(given_=parameters())
    def begin(self, given_: dict[str, Any]) -> None:
        self.given_ = given_
        self.policy = FixedPriority[Job](**given_)
        self.queued: dict[Job, Row] = {}
        self.running: dict[Job, Row] = {}
        self.over: dict[Job, Row] = {}
        self.outside: list[Job] = []
        self.number = 0
        self.now = 0

    # -------------------------------------------------------------------------------- the model

    def steps(self, row: Row, now: int) -> int:
        return 0 if self.given_["aging"] is None else (now - row.origin) // self.given_["aging"]

    def aged(self, row: Row, steps: int) -> int:
        step: int = self.given_["step"]
        return max(row.rank, min(row.rank + step * steps, 5))

    def value(self, row: Row, now: int) -> int:
        return self.aged(row, self.steps(row, now))

    def crowded(self, rank: int, now: int) -> bool:
        return any(self.value(row, now) >= rank for row in self.queued.values())

    def settle(self, *, inclusive: bool = False) -> None:
        quantum = self.given_["quantum"]
        for row in self.running.values():
            while row.job not in self.over and (row.end < self.now or (inclusive and row.end == self.now)):
                if self.crowded(row.rank, int(row.end)):
                    self.over[row.job] = row
                else:
                    row.end += quantum

    def best(self) -> Job | None:
        rows = self.queued.values()
        best = min(rows, key=lambda row: (-self.value(row, self.now), row.number), default=None)
        return None if best is None else best.job

    def expected_victim(self, now: int) -> Job | None:
        rows = [row for row in self.running.values() if row.job.preemptible]
        worst = min(rows, key=lambda row: (self.aged(row, row.steps), -row.number), default=None)
        preempts = self.given_["aging_preempts"]
        heights = [self.value(row, now) if preempts else row.rank for row in self.queued.values()]
        if worst is None or max(heights, default=-inf) <= self.aged(worst, worst.steps):
            return None
        return worst.job

    def join(self, job: Job) -> None:
        self.settle()
        self.number += 1
        self.queued[job] = Row(job, job.rank, self.number, self.now)

    def leave(self, job: Job) -> Row:
        self.settle()
        row = self.running.pop(job)
        left = None if self.over.pop(job, None) else row.end - self.now
        row.left = int(left) if left and left < inf else None
        return row

    # -------------------------------------------------------------------------------- the rules

    @rule(ticks=st.integers(1, 9))
    def time_passes(self, ticks: int) -> None:
        self.now += ticks

    @rule(rank=st.integers(-2, 7), count=st.integers(1, 4), preemptible=st.integers(0, 5))
    def push_new(self, rank: int, count: int, preemptible: int) -> None:
        for _ in range(count):
            job = item(f"j{self.number}", rank, preemptible=preemptible > 0)
            self.policy.push(job, self.now)
            self.join(job)

    @precondition(lambda self: self.outside)
    @rule(rank=st.integers(-2, 7))
    def push_again(self, rank: int) -> None:
        job = self.outside.pop()
        job.rank = rank
        self.policy.push(job, self.now)
        self.join(job)

    @rule(count=st.integers(1, 3))
    def run_the_best(self, count: int) -> None:
        for _ in range(count):
            self.settle()
            expected = self.best()
            assert self.policy.pop(self.now) is expected
            if expected is None:
                return
            self.policy.started(expected, self.now)
            row = self.running[expected] = self.queued.pop(expected)
            row.steps, row.waited = self.steps(row, self.now), self.now - row.origin
            if expected.preemptible and self.given_["quantum"]:
                row.end = self.now + (row.left or self.given_["quantum"])

    @precondition(lambda self: self.running)
    @rule(data=st.data(), back=st.booleans())
    def stop(self, data: st.DataObject, back: bool) -> None:
        job = data.draw(st.sampled_from(list(self.running)))
        self.policy.stopped(job, self.now)
        row = self.leave(job)
        if not back:
            self.outside.append(job)
            return
        self.policy.put_back(job, self.now)
        if self.given_["preempted_to"] == "tail":
            self.join(job)
        else:
            row.origin = self.now - row.waited
            self.queued[job] = row

    @rule()
    def decide(self) -> None:
        self.settle(inclusive=True)
        expected = sorted(self.over, key=lambda job: (self.over[job].end, self.over[job].number))
        assert list(self.policy.expired(self.now)) == expected
        for job in expected:
            self.policy.stopped(job, self.now)
            self.leave(job)
            self.policy.push(job, self.now)
            self.join(job)
        victim = self.expected_victim(self.now)
        assert self.policy.victim(self.now) is victim
        if victim is None:
            self.look_ahead()

    def look_ahead(self) -> None:
        """The alarm is never late, and exact without aging; nobody waits for nothing."""
        alarm = self.policy.alarm(self.now)
        first: float = inf
        for later in range(self.now + 1, self.now + 60):
            quantum = self.given_["quantum"] or 1
            ends = [
                row for row in self.running.values() if row.end < inf and (later - row.end) % quantum == 0
            ]
            over = any(row.end <= later and self.crowded(row.rank, later) for row in ends)
            if over or self.expected_victim(later):
                first = later
                break
        if first < inf:
            assert alarm is not None
            assert self.now < alarm <= first
            assert self.given_["aging"] is not None or alarm == first
        elif self.given_["aging"] is None:
            assert alarm is None

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.queued)))
        assert self.policy.remove(job)
        assert not self.policy.remove(job)
        del self.queued[job]
        self.outside.append(job)

    @precondition(lambda self: len(self.queued) > 2)
    @rule(kept=st.integers(0, 2))
    def remove_many(self, kept: int) -> None:
        for job in list(self.queued)[kept:]:
            assert self.policy.remove(job)
            del self.queued[job]

    @rule(data=st.data(), rank=st.integers(-2, 7))
    def change(self, data: st.DataObject, rank: int) -> None:
        known = [*self.queued, *self.running, *self.outside]
        if known:
            job = data.draw(st.sampled_from(known))
            job.rank = rank
            self.policy.changed(job, self.now)
            self.settle()
            row = self.queued.get(job) or self.running.get(job)
            if row:
                row.rank = rank

    @rule()
    def drain(self) -> None:
        self.policy.expired(self.now)
        self.settle(inclusive=True)
        expected = sorted(self.queued.values(), key=lambda row: (-self.value(row, self.now), row.number))
        assert self.policy.drain() == [row.job for row in expected]
        self.outside += self.queued
        self.queued.clear()

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "policy"):
            self.policy.check()
            assert len(self.policy) == len(self.queued)
            assert self.policy.peek(self.now) is self.best()
            for job, row in self.queued.items():
                value = self.value(row, self.now)
                aged = f", aged to {value}" if value > row.rank else ""
                assert self.policy.describe(job, self.now) == f"priority {row.rank}{aged}"


TestPolicyAgainstModel = PolicyAgainstModel.TestCase
TestPolicyAgainstModel.settings = settings(max_examples=150, stateful_step_count=40)


def test_whoever_was_put_back_a_moment_ago_is_found_by_who_decides_for_the_moment_before() -> None:
    policy: FixedPriority[Job] = FixedPriority(aging=5)
    task = item("a")
    policy.push(task, 10.0)
    assert policy.pop(10.0) is task
    policy.put_back(task, 10.1)
    assert policy.peek(10.0) is task
    assert policy.pop(10.0) is task

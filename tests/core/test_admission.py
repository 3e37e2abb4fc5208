"""Admission control: what is admitted is never late, and on one processor what is refused would be."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsched._core.admission import DemandBound, ResponseTimes
from actorsched._core.admission.backlog import Backlog, Shortfall
from actorsched._core.admission.claims import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable

Test = DemandBound["Task"] | ResponseTimes["Task"]


@dataclass(eq=False, frozen=True)
class Task:
    """What admission control may know of a task, and equal to nothing but itself."""

    name: str
    cost: float | None = 1
    due: float = inf
    period: float | None = None
    rank: int = 3
    preemptible: bool = True


def taken(test: Test, tasks: Iterable[Task], now: float = 0, processors: int = 1) -> list[str]:
    """Let tasks arrive one after the other; return the names of those that were admitted."""
    names: list[str] = []
    for task in tasks:
        if test.refuse(task, now, processors) is None:
            test.add(task, now)
            names.append(task.name)
        test.check()
    return names


def full(test: Test, tasks: Iterable[Task], now: float = 0) -> Test:
    """Return a test that remembers all these tasks, whatever it thinks of them."""
    for task in tasks:
        test.add(task, now)
    return test


# -------------------------------------------------------------------------------------- a slow, obvious model


@dataclass(eq=False)
class Job:
    task: Task
    number: int
    left: int
    due: float
    sequence: int


@dataclass
class Simulation:
    """Global scheduling in ticks: the best of the jobs run, but none is taken off that is not preemptible."""

    test: Test
    processors: int
    now: int = 0
    jobs: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    streams: list[tuple[Task, int, float]] = field(default_factory=list)
    late: list[Job] = field(default_factory=list)
    took: dict[Task, float] = field(default_factory=dict)
    released: int = 0

    def arrive(self, task: Task) -> None:
        assert task.period is None or task.due < inf
        self.release(task, 0, task.due)
        if task.period is not None:
            self.streams.append((task, self.now, task.due - self.now))

    def release(self, task: Task, number: int, due: float) -> None:
        assert task.cost is not None
        self.released += 1
        self.jobs.append(Job(task, number, int(task.cost), due, self.released))

    def key(self, job: Job) -> tuple[float, float]:
        urgency = job.due if isinstance(self.test, DemandBound) else -job.task.rank
        return urgency, job.sequence

    def tick(self) -> None:
        kept = [job for job in self.running if not job.task.preemptible]
        others = sorted((job for job in self.jobs if job not in kept), key=self.key)
        self.running = kept + others[: self.processors - len(kept)]
        self.now += 1
        for job in self.running:
            job.left -= 1
            if job.number == 0:
                self.test.ran(job.task, 1)
            if job.left == 0:
                self.end(job)
        self.running = [job for job in self.running if job.left]
        self.late += [job for job in self.jobs if job.due <= self.now and job not in self.late]
        for task, arrival, span in self.streams:
            assert task.period is not None
            number, rest = divmod(self.now - arrival, int(task.period))
            if rest == 0:
                self.release(task, number, self.now + span)

    def end(self, job: Job) -> None:
        self.jobs.remove(job)
        if job.due < self.now:
            self.late.append(job)
        if job.task.period is None:
            self.test.drop(job.task, self.now)
            arrival: float = 0
        else:
            arrival = next(at for task, at, _ in self.streams if task is job.task)
            arrival += job.number * job.task.period
        self.took[job.task] = max(self.took.get(job.task, 0), self.now - arrival)

    def give_up(self, draw: random.Random) -> None:
        """A task with a period ends, and what there is of it too."""
        ending = self.streams.pop(draw.randrange(len(self.streams)))[0]
        self.jobs = [job for job in self.jobs if job.task is not ending]
        self.running = [job for job in self.running if job.task is not ending]
        self.test.drop(ending, self.now)

    def run(self, until: int) -> Simulation:
        while self.now < until and not self.late:
            self.tick()
        return self


def all_at_once(test: Test, tasks: list[Task], until: int) -> Simulation:
    simulation = Simulation(test, 1)
    for task in tasks:
        simulation.arrive(task)
    return simulation.run(until)


# ------------------------------------------------------------------------------------------- the demand bound


JACKSON = [
    Task("J1", 1, 2),
    Task("J2", 2, 5),
    Task("J3", 1, 4),
    Task("J5", 2, 6),
    Task("J4", 4, 8),
]


def test_what_is_due_by_a_deadline_has_to_fit_before_it() -> None:
    test = DemandBound[Task]()
    assert taken(test, JACKSON) == ["J1", "J2", "J3", "J5"]
    assert test.refuse(JACKSON[-1], 0, 1) == ("what is due within 8 s needs 10 s of processor time (10 > 8)")
    assert len(test) == 4


def test_the_deadline_that_fails_may_be_that_of_another() -> None:
    test = full(DemandBound[Task](), [Task("a", 2, 5), Task("b", 3, 9), Task("c", 4, 9)])
    why = test.refuse(Task("d", 2, 3), 0, 1)
    assert why is not None
    assert "what is due within 9 s needs 11 s" in why


@pytest.mark.parametrize("processors", [1, 2, 8])
@pytest.mark.parametrize("test", [DemandBound[Task](), ResponseTimes[Task]()])
def test_a_deadline_that_is_impossible_anyway_is_refused(test: Test, processors: int) -> None:
    assert test.refuse(Task("a", 3, 12), 10, processors) == "it needs 3 s, and is due in 2 s"
    assert test.refuse(Task("a", 2, 12), 10, processors) is None


@pytest.mark.parametrize("test", [DemandBound[Task](), ResponseTimes[Task]()])
def test_without_a_processor_nothing_is_done_in_time(test: Test) -> None:
    assert test.refuse(Task("a", 1, 12), 0, 0) == "there is no processor"
    assert test.refuse(Task("a", 1), 0, 0) is None


def test_processor_time_that_was_used_is_free_for_others() -> None:
    first, second = Task("first", 5, 10), Task("second", 6, 10)
    test = full(DemandBound[Task](), [first])
    assert test.refuse(second, 0, 1) is not None
    test.ran(first, 1)
    assert test.refuse(second, 0, 1) is None
    assert test.refuse(second, 1, 1) is not None, "while it ran, the time went by"
    test.ran(first, 100)
    test.check()
    assert test.refuse(Task("third", 9, 10), 1, 1) is None


@pytest.mark.parametrize("test", [DemandBound[Task](), ResponseTimes[Task]()])
def test_who_has_ended_is_forgotten(test: Test) -> None:
    first, second = Task("first", 10, 10), Task("second", 10, 10)
    test.add(first, 0)
    assert first in test
    assert test.refuse(second, 0, 1) is not None
    test.drop(first, 0)
    test.drop(first, 0)
    test.ran(first, 1)
    assert first not in test
    assert test.refuse(second, 0, 1) is None


@pytest.mark.parametrize("test", [DemandBound[Task](), ResponseTimes[Task]()])
def test_nobody_is_admitted_twice(test: Test) -> None:
    task = Task("a", 1, 10)
    test.add(task, 0)
    with pytest.raises(ValueError, match="a has been admitted already"):
        test.add(task, 1)
    with pytest.raises(ValueError, match="a has been admitted already"):
        test.refuse(task, 1, 1)
    assert len(test) == 1
    test.check()


@pytest.mark.parametrize(
    "task", [Task("no cost", None, 5), Task("no cost", None, period=5), Task("no deadline", 1_000)]
)
def test_who_cannot_be_bounded_or_asks_for_nothing_is_admitted_and_not_counted(task: Task) -> None:
    test = full(DemandBound[Task](), [Task("all", 10, 10)])
    assert test.refuse(task, 0, 1) is None
    test.add(task, 0)
    assert task not in test
    assert test.refuse(Task("more", 1, 11), 0, 1) is None


def test_a_task_with_a_period_claims_time_for_all_that_follow() -> None:
    test = full(DemandBound[Task](), [Task("half", 5, period=10)])
    assert test.refuse(Task("once", 5, 10), 0, 1) is None
    assert test.refuse(Task("once", 6, 15), 0, 1) is None
    why = test.refuse(Task("once", 11, 20), 0, 1)
    assert why is not None
    assert "what is due within 20 s needs 21 s" in why


def test_tasks_with_periods_may_use_all_of_the_processor_and_no_more() -> None:
    test = DemandBound[Task]()
    tasks = [Task("a", 1, period=2), Task("b", 1, period=3), Task("c", 1, period=6), Task("d", 1, period=600)]
    assert taken(test, tasks) == ["a", "b", "c"]
    why = test.refuse(tasks[-1], 0, 1)
    assert why == ("the tasks with periods need 1.001666667 processors, and there is one")


def test_a_processor_that_is_never_idle_promises_nothing_more() -> None:
    tasks = [Task("a", 1, 4, period=2), Task("b", 1, 4, period=2)]
    test = full(DemandBound[Task](), tasks)
    why = test.refuse(Task("once", 1, 100), 0, 1)
    assert why is not None
    assert "the whole processor" in why


def test_deadlines_within_the_period_make_it_tighter() -> None:
    assert taken(DemandBound[Task](), [Task("a", 2, 2, period=4), Task("b", 2, 4, period=8)]) == ["a", "b"]
    assert taken(DemandBound[Task](), [Task("a", 2, 2, period=4), Task("b", 2, 3, period=8)]) == ["a"]


def test_one_that_cannot_be_preempted_keeps_the_more_urgent_waiting() -> None:
    test = full(DemandBound[Task](), [Task("long", 8, 100, preemptible=False)])
    assert test.refuse(Task("urgent", 2, 10), 0, 1) is None
    assert test.refuse(Task("urgent", 3, 10), 0, 1) == (
        "what is due within 10 s needs 11 s of processor time, 8 of it for one not preemptible (11 > 10)"
    )
    test = full(DemandBound[Task](), [Task("urgent", 1, period=5)])
    assert test.refuse(Task("long", 4, preemptible=False), 0, 1) is None
    assert test.refuse(Task("long", 5, preemptible=False), 0, 1) is not None


def test_who_is_late_already_is_no_reason_but_takes_its_time() -> None:
    test = full(DemandBound[Task](), [Task("late", 5, 2)])
    assert test.refuse(Task("a", 5, 13), 3, 1) is None
    assert test.refuse(Task("a", 6, 13), 3, 1) is not None


def test_many_small_tasks_and_a_great_one_need_more_than_their_sum_on_several_processors() -> None:
    test = DemandBound[Task]()
    dhall = [Task("T1", 2, period=10), Task("T2", 2, period=10), Task("T3", 10, period=11)]
    assert taken(test, dhall, processors=2) == ["T1", "T2"]
    why = test.refuse(dhall[-1], 0, 2)
    assert why is not None
    assert "1.309 > 1.091" in why
    assert test.refuse(dhall[-1], 0, 3) is None, "each has a processor of its own"


def test_who_should_have_ended_keeps_a_processor() -> None:
    test = full(DemandBound[Task](), [Task("late", 9, 1), Task("b", 5, 12)])
    assert test.refuse(Task("c", 5, 12), 2, 2) is None
    assert test.refuse(Task("c", 6, 12), 2, 2) is not None
    test = full(test, [Task("late too", 9, 1)])
    why = test.refuse(Task("c", 1, 12), 2, 2)
    assert why is not None
    assert "keep all 2 processors busy" in why


def test_who_may_have_no_time_left_is_named_on_several_processors() -> None:
    test = full(DemandBound[Task](), [Task("long", 8, 100, preemptible=False), Task("b", 1, 9)])
    why = test.refuse(Task("c", 2, 7), 0, 2)
    assert why is not None
    assert "c may have no time left before its deadline at 7" in why


def test_sums_of_floats_that_should_be_equal_are() -> None:
    tenths = [Task(str(number), 0.1, number / 10) for number in range(1, 1_001)]
    assert len(taken(DemandBound[Task](), tenths[:100])) == 100
    test = full(DemandBound[Task](), tenths)
    assert test.refuse(Task("more", 0.1, 100.1), 0, 1) is None
    assert test.refuse(Task("more", 0.1, 100.0), 0, 1) is not None
    assert taken(DemandBound[Task](), [Task(str(n), 0.1, period=1) for n in range(11)]) == list("0123456789")
    thirds = [Task("a", 0.1, period=0.3), Task("b", 0.2, period=0.6), Task("c", 0.3, period=0.9)]
    assert len(taken(DemandBound[Task](), thirds, now=1_000_000.1)) == 3
    assert len(taken(ResponseTimes[Task](), [thirds[0], Task("d", 0.4, period=0.6, rank=1)], now=1e6)) == 2


def test_ten_thousand_tasks_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(5)
    test = DemandBound[Task]()
    for number in range(10_000):
        test.add(Task(str(number), draw.random(), 6_000 + draw.random() * 10_000), 0)
    assert test.refuse(Task("first", 1, 10_000), 0, 1) is None
    looked = 0
    remaining = Claim.__dict__["remaining"]

    def look(claim: Claim[Task]) -> float:
        nonlocal looked
        looked += 1
        return float(remaining.__get__(claim))

    monkeypatch.setattr(Claim, "remaining", property(look, remaining.__set__))
    for _ in range(20):
        assert test.refuse(Task("more", 1, 6_000 + draw.random() * 10_000), 0, 1) is None
    assert looked < 20 * 1_000
    test.check()


# ----------------------------------------------------------------------------------------- the response times


TEXTBOOK = [Task("a", 3, period=7, rank=3), Task("b", 3, period=12, rank=2), Task("c", 5, period=20, rank=1)]


def test_response_times_come_out_as_in_the_textbook() -> None:
    test = ResponseTimes[Task]()
    assert taken(test, TEXTBOOK) == ["a", "b", "c"]
    assert test.response_times() == dict(zip(TEXTBOOK, [3, 6, 20], strict=True))


def test_who_would_be_late_is_named_with_by_how_much() -> None:
    test = full(ResponseTimes[Task](), TEXTBOOK)
    assert test.refuse(Task("d", 1, period=30, rank=2), 0, 1) == (
        "c would end 1 s after its deadline: it might take 21 s, and has 20 s (21 > 20)"
    )
    assert test.refuse(Task("d", 1, period=80, rank=0), 0, 1) is None


def test_without_a_bound_the_response_time_is_infinite() -> None:
    test = ResponseTimes[Task]()
    greedy = Task("greedy", 2, period=2, rank=5)
    once, never = Task("once", 1, 50, rank=1), Task("never", 1, 60, period=60, rank=1)
    full(test, [greedy, once, never])
    assert test.response_times() == {greedy: 2, once: inf, never: inf}
    test.drop(once, 0)
    test.drop(never, 0)
    why = test.refuse(once, 0, 1)
    assert why is not None
    assert "there is no bound to when once would end, and it has 50 s" in why


def test_one_that_comes_once_interferes_once() -> None:
    test, low = ResponseTimes[Task](), Task("low", 2, period=6, rank=1)
    assert taken(test, [Task("once", 3, 4, rank=5), low]) == ["once", "low"]
    assert test.response_times()[low] == 5
    assert test.refuse(Task("more", 2, 9, rank=4), 0, 1) is not None


def test_what_has_no_deadline_interferes_too_and_is_promised_nothing() -> None:
    idle, batch = Task("idle", 50, rank=0), Task("batch", 5, rank=5)
    test = full(ResponseTimes[Task](), [idle, batch])
    assert test.refuse(Task("a", 3, 7), 0, 1) is not None
    assert test.refuse(Task("a", 3, 8), 0, 1) is None


def test_without_a_cost_nothing_is_counted() -> None:
    test = ResponseTimes[Task]()
    assert taken(test, [Task("unknown", None, 5, rank=6)]) == ["unknown"]
    assert len(test) == 0
    assert test.response_times() == {}


def test_one_of_lower_priority_that_cannot_be_preempted_is_waited_for() -> None:
    test = full(ResponseTimes[Task](), [Task("high", 2, period=6, rank=5)])
    assert test.refuse(Task("low", 4, rank=1, preemptible=False), 0, 1) is None
    assert test.refuse(Task("low", 5, rank=1, preemptible=False), 0, 1) is not None
    assert test.refuse(Task("low", 5, rank=1), 0, 1) is None


def test_a_job_may_be_due_after_the_next_has_come() -> None:
    first, second = Task("first", 26, 26, period=70, rank=2), Task("second", 62, 118, period=100, rank=1)
    test = ResponseTimes[Task]()
    assert taken(test, [first, second]) == ["first", "second"]
    assert test.response_times() == {first: 26, second: 118}, (
        "the fifth job is the last to end, not the first"
    )


def test_on_several_processors_the_work_of_others_is_shared_out() -> None:
    test = ResponseTimes[Task]()
    tasks = [
        Task("a", 2, 8, rank=5),
        Task("b", 2, 8, rank=5),
        Task("c", 4, 8, rank=1),
        Task("d", 5, 8, rank=1),
    ]
    assert taken(test, tasks, processors=2) == ["a", "b", "c"]
    assert test.refuse(tasks[-1], 0, 2) == (
        "c might be late: it is not certain that 2 processors leave it 4 s within 8 s"
    )
    assert test.refuse(tasks[-1], 0, 4) is None


def test_it_says_what_it_is() -> None:
    assert repr(full(DemandBound[Task](), JACKSON)) == "<DemandBound of 5 tasks>"
    assert repr(Claim(Task("a", 2, period=5), 2, 1, 0)) == "<a needs 2 by 6 every 5>"


# ------------------------------------------------------------------------------------------- what is promised

COSTS = st.integers(1, 4)
ONCE = st.builds(Task, st.just("once"), COSTS, st.integers(1, 14))
PERIODS = st.sampled_from([2, 3, 4, 6])


@st.composite
def periodic(draw: st.DrawFn) -> Task:
    """A task that comes at 0 for the first time, due before or after the next comes."""
    period = draw(PERIODS)
    cost = draw(st.integers(1, min(3, period)))
    due = draw(st.integers(cost, period + 4))
    return Task("periodic", cost, due, period)


def ranked(tasks: list[Task]) -> list[Task]:
    return [Task(f"{t.name} {rank}", t.cost, t.due, t.period, rank) for rank, t in enumerate(tasks)]


def random_task(draw: random.Random, now: int, *, preemptible: bool) -> Task:
    cost = draw.randint(1, 4)
    period = draw.choice([None, None, draw.randint(2, 12)])
    due: float = now + draw.randint(cost, 16)
    if period is None and draw.random() < 0.2:
        due = inf
    held = not preemptible and draw.random() < 0.4
    return Task(f"{now}", cost, due, period, draw.randint(0, 3), not held)


@pytest.mark.parametrize("policy", [DemandBound, ResponseTimes])
@pytest.mark.parametrize("processors", [1, 2, 3])
@pytest.mark.parametrize("preemptible", [True, False])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_who_was_admitted_is_never_late(
    policy: type[Test], processors: int, preemptible: bool, seed: int
) -> None:
    draw = random.Random(seed)
    simulation = Simulation(policy(), processors)
    while simulation.now < 80 and not simulation.late:
        for _ in range(draw.choice([0, 0, 1, 1, 2])):
            task = random_task(draw, simulation.now, preemptible=preemptible)
            if simulation.test.refuse(task, simulation.now, processors) is None:
                simulation.test.add(task, simulation.now)
                simulation.arrive(task)
        if simulation.streams and draw.random() < 0.1:
            simulation.give_up(draw)
        simulation.tick()
    assert not simulation.late


@given(st.lists(ONCE, min_size=1, max_size=12))
@settings(deadline=None)
def test_among_tasks_that_come_once_who_is_refused_would_make_somebody_late(tasks: list[Task]) -> None:
    test, admitted = DemandBound[Task](), list[Task]()
    for task in tasks:
        if test.refuse(task, 0, 1) is None:
            test.add(task, 0)
            admitted.append(task)
        else:
            assert all_at_once(DemandBound(), [*admitted, task], 60).late
    assert not all_at_once(DemandBound(), admitted, 60).late


@given(st.lists(st.one_of(periodic(), ONCE), min_size=1, max_size=5))
@settings(deadline=None)
def test_when_all_come_at_once_the_demand_bound_is_exact(tasks: list[Task]) -> None:
    test = full(DemandBound[Task](), tasks[:-1])
    share = sum(task.cost / task.period for task in tasks if task.cost and task.period)
    if share == 1 and any(task.period is None for task in tasks):
        return
    if all_at_once(DemandBound(), tasks[:-1], 400).late:
        return
    assert (test.refuse(tasks[-1], 0, 1) is not None) == bool(all_at_once(DemandBound(), tasks, 400).late)


@given(st.lists(periodic(), min_size=1, max_size=4))
@settings(deadline=None)
def test_when_all_come_at_once_the_response_times_are_exact(tasks: list[Task]) -> None:
    tasks = ranked(tasks)
    test = full(ResponseTimes[Task](), tasks[1:])
    if all_at_once(ResponseTimes(), tasks[1:], 400).late:
        return
    assert (test.refuse(tasks[0], 0, 1) is not None) == bool(all_at_once(ResponseTimes(), tasks, 400).late)


@given(st.lists(periodic(), min_size=1, max_size=4), st.data())
@settings(deadline=None)
def test_nobody_takes_longer_than_the_response_time(tasks: list[Task], data: st.DataObject) -> None:
    tasks = ranked(tasks)
    bound = full(ResponseTimes[Task](), tasks)
    assert isinstance(bound, ResponseTimes)
    simulation = Simulation(ResponseTimes(), 1)
    starts = [data.draw(st.integers(0, 8)) for _ in tasks]
    at_once = not any(starts)
    for now in range(120):
        for task, start in zip(tasks, starts, strict=True):
            if start == now:
                moved = task.due + now
                simulation.release(task, 0, moved)
                simulation.streams.append((task, now, task.due))
        simulation.tick()
    for task, longest in bound.response_times().items():
        took = simulation.took.get(task, 0)
        assert took <= longest
        if at_once and longest < inf:
            assert took == longest


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300), st.booleans()), max_size=300), st.data())
@settings(deadline=None, max_examples=40)
def test_the_backlog_knows_what_a_look_at_everyone_would_find(
    facts: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    claims = [
        Claim(Task(str(n), cost, due, preemptible=free), cost, 0, n)
        for n, (cost, due, free) in enumerate(facts)
    ]
    backlog = Backlog(claims[: len(claims) // 2])
    for claim in claims[len(claims) // 2 :]:
        backlog.insert(claim)
    for claim in data.draw(st.lists(st.sampled_from(claims), unique=True)) if claims else []:
        backlog.remove(claim)
        claims.remove(claim)
    backlog.check()
    now, at = 0, data.draw(st.integers(0, 310))

    def demand(until: float) -> float:
        return sum(claim.cost for claim in claims if claim.due <= until)

    def blocking(until: float) -> float:
        return max((c.cost for c in claims if c.due > until and not c.preemptible), default=0)

    assert len(backlog) == len(claims)
    assert backlog.demand(at) == demand(at)
    assert backlog.blocking(at) == blocking(at)
    assert backlog.last_due(at) == max((claim.due for claim in claims if claim.due < at), default=-inf)
    failing = {
        claim.due
        for claim in claims
        if claim.due >= at and demand(claim.due) + blocking(claim.due) > claim.due - now
    }
    found = backlog.shortfall(at, now)
    assert isinstance(found, Shortfall) == bool(failing)
    if found is not None:
        assert found.deadline == min(failing)

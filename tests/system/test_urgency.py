"""How urgent tasks are: what they inherit from those who wait for them, and lend on."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsched._core.policies.edf import Edf
from actorsched._system.pools import Place
from actorsched.messages import Disinherit, Inherit
from tests.system.small_system import System

if TYPE_CHECKING:
    from actorsched._system.task import TaskActor
    from tests.recorder import Answer


# --------------------------------------------------------------------------------------------- one by one


def test_an_awaited_task_is_as_urgent_as_whoever_awaits_it_for_as_long_as_it_does() -> None:
    system = System()
    low, high = system.task("low", 1), system.task("high", 5)
    wait = system.wait(high, low)
    assert low.rank == 5
    system.end_wait(high, low, wait)
    assert low.rank == 1


def test_an_upstream_task_inherits_from_its_dependents() -> None:
    system = System()
    low = system.task("low", 1)
    system.task("equal", 1, after=[low])
    dependent = system.task("high", 5, after=[low])
    assert low.rank == 5
    system.cancel(dependent)
    assert low.rank == 1


def test_what_is_lent_goes_through_chains_of_any_kind_and_length() -> None:
    system = System(resources=["r"])
    chain = [system.task("t0", 0)]
    for number in range(1, 300):
        chain.append(system.task(f"t{number}", 0, after=[chain[-1]]))
    holder = system.task("holder", 0)
    system.acquire(holder, "r")
    system.acquire(chain[0], "r")
    high = system.task("high", 6)
    wait = system.wait(high, chain[-1])
    assert {task.rank for task in (*chain, holder)} == {6}
    system.end_wait(high, chain[-1], wait)
    assert {task.rank for task in (*chain, holder)} == {0}


def test_lenders_may_go_in_any_order_and_the_best_of_those_that_are_left_counts() -> None:
    for order in ("abc", "acb", "bac", "bca", "cab", "cba"):
        system = System()
        low = system.task("low", 1)
        lenders = {name: system.task(name, rank) for name, rank in zip("abc", (2, 4, 5), strict=True)}
        waits = {name: system.wait(task, low) for name, task in lenders.items()}
        left = dict(lenders)
        for name in order:
            system.end_wait(lenders[name], low, waits[name])
            del left[name]
            assert low.rank == max([1, *(task.rank for task in left.values())]), (order, name)


def test_one_who_waits_twice_lends_until_both_waits_are_over() -> None:
    system = System()
    low, high = system.task("low", 1), system.task("high", 5)
    one, two = system.wait(high, low), system.wait(high, low)
    system.end_wait(high, low, one)
    assert low.rank == 5
    system.end_wait(high, low, two)
    assert low.rank == 1


def test_a_priority_that_changes_meanwhile_is_neither_lost_nor_added() -> None:
    system = System()
    low, high = system.task("low", 1), system.task("high", 5)
    wait = system.wait(high, low)
    system.set_priority(low, 2)
    assert low.rank == 5
    system.set_priority(high, 4)
    assert low.rank == 4
    system.set_priority(low, 6)
    assert (low.rank, high.rank) == (6, 4)
    system.end_wait(high, low, wait)
    assert low.rank == 6
    system.set_priority(low, 1)
    assert low.rank == 1


def test_who_had_nothing_to_lend_has_when_another_lender_goes_or_the_own_priority_falls() -> None:
    system = System()
    low, high, middle = system.task("low", 1), system.task("high", 5), system.task("middle", 4)
    wait = system.wait(high, low)
    system.wait(middle, low)
    system.end_wait(high, low, wait)
    assert low.rank == 4
    own = system.task("own", 6)
    system.wait(low, own)
    system.set_priority(own, 2)
    assert own.rank == 4


def test_the_earliest_deadline_is_inherited_like_the_highest_priority_each_by_itself() -> None:
    system = System(policy=Edf())
    low = system.task("low", 1)
    early, high = system.task("early", 0, deadline=5), system.task("high", 5, deadline=90)
    waits = [system.wait(early, low), system.wait(high, low)]
    assert (low.rank, low.due) == (5, 5.0)
    system.end_wait(early, low, waits[0])
    assert (low.rank, low.due) == (5, 90.0)
    system.end_wait(high, low, waits[1])
    assert (low.rank, low.due) == (1, inf)


def test_what_a_task_inherits_decides_who_runs() -> None:
    system = System(limit=1)
    low = system.task("low", 1)
    high = system.task("high", 5)
    middle = system.task("middle", 3)
    assert high.place is Place.ON
    system.wait(high, low)
    assert (high.place, low.place, middle.place) == (Place.LENT, Place.ON, Place.QUEUED)


def test_a_task_that_has_ended_inherits_nothing_and_keeps_nobody_alive() -> None:
    system = System()
    low, high = system.task("low", 1), system.task("high", 5)
    system.finish(low)
    system.task("dependent", 6, after=[low])
    system.wait(high, low)
    system.send(low, Inherit(high, 5, inf), Disinherit(high))
    assert low.rank == 1
    system.send(low, Inherit(high, 5, inf))
    assert low.lenders is None


def test_a_lender_that_ends_or_is_cancelled_lends_nothing_any_more() -> None:
    system = System()
    low, one, two = system.task("low", 1), system.task("one", 5), system.task("two", 4)
    system.wait(one, low)
    system.wait(two, low)
    system.cancel(one)
    assert low.rank == 4
    system.finish(two, ValueError())
    assert low.rank == 1


def test_a_retried_task_keeps_what_it_inherits_from_those_who_still_wait() -> None:
    system = System()
    low, high = system.task("low", 1, retry=2), system.task("high", 5)
    system.wait(high, low)
    system.finish(low, OSError())
    assert (low.attempt, low.rank) == (2, 5)


# ------------------------------------------------------------------------------ against a slow, obvious model


class Lending(RuleBasedStateMachine):
    """Tasks that await each other, depend on each other, change their priorities, and end."""

    @initialize(edf=st.booleans(), limit=st.sampled_from([1, 2, 1000]))
    def begin(self, edf: bool, limit: int) -> None:
        self.system = System(limit, Edf() if edf else None)
        self.live: list[TaskActor] = []
        self.after: dict[TaskActor, list[TaskActor]] = {}
        self.waits: dict[Answer, tuple[TaskActor, TaskActor]] = {}
        self.own: dict[TaskActor, tuple[int, float]] = {}
        self.count = 0

    @rule(data=st.data(), rank=st.integers(0, 6), deadline=st.sampled_from([None, None, 500, 1000]))
    def submit(self, data: st.DataObject, rank: int, deadline: int | None) -> None:
        self.count += 1
        after = data.draw(st.lists(st.sampled_from(self.live), max_size=2)) if self.live else []
        task = self.system.task(f"t{self.count}", rank, after=after, deadline=deadline)
        self.live.append(task)
        self.after[task] = after
        self.own[task] = (rank, inf if deadline is None else self.system.out.now + deadline)

    def some(self, data: st.DataObject, tasks: list[TaskActor]) -> TaskActor:
        return data.draw(st.sampled_from(tasks))

    @property
    def at_work(self) -> list[TaskActor]:
        return [task for task in self.live if task.worker is not None]

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        task, target = self.some(data, self.at_work), self.some(data, self.live)
        answer = self.system.wait(task, target)
        if not answer.done():
            self.waits[answer] = task, target

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        answer = data.draw(st.sampled_from(list(self.waits)))
        self.system.end_wait(*self.waits.pop(answer), answer)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), rank=st.integers(0, 6))
    def set_priority(self, data: st.DataObject, rank: int) -> None:
        task = self.some(data, self.live)
        self.system.set_priority(task, rank)
        self.own[task] = (rank, self.own[task][1])

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.system.finish(self.some(data, self.at_work))
        self._tidy()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.system.cancel(self.some(data, self.live))
        self._tidy()

    def _tidy(self) -> None:
        self.live = [task for task in self.live if task.outcome is None]
        for answer, (task, target) in list(self.waits.items()):
            if task not in self.live or target not in self.live:
                del self.waits[answer]

    @invariant()
    def effective_is_the_best_of_its_own_and_of_all_who_wait_directly_or_not(self) -> None:
        if not hasattr(self, "system"):
            return
        edges = [*self.waits.values()]
        edges += [(t, up) for t in self.live if t.worker is None for up in self.after[t] if t.attempt == 0]
        best = {task: self.own[task] for task in self.live}
        changed = True
        while changed:
            changed = False
            for waiter, target in edges:
                if target in best:
                    (rank, due), (other, sooner) = best[target], best[waiter]
                    better = (max(rank, other), min(due, sooner))
                    changed |= better != best[target]
                    best[target] = better
        assert {t.name: (t.rank, t.due) for t in self.live} == {t.name: best[t] for t in self.live}
        for task in self.live:
            if task.lenders is not None:
                task.lenders.check()

    @invariant()
    def whoever_has_ended_has_no_lenders(self) -> None:
        if hasattr(self, "system"):
            assert all(task.lenders is None for task in self.system.tasks if task.outcome is not None)


Lending.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestLending = Lending.TestCase

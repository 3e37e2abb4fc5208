"""What a holder inherits: always the best of those who lend now, whoever came and went before."""

from __future__ import annotations

import gc
import random
import weakref
from math import inf
from operator import itemgetter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actorsched._core.lenders import Lenders


class Waiter:
    """Equal to nothing but itself."""


def lenders(**loans: tuple[int, float]) -> Lenders[str]:
    made = Lenders[str]()
    for name, (rank, due) in loans.items():
        made.lend(name, rank, due)
    return made


def test_without_lenders_nothing_is_inherited() -> None:
    made = lenders()
    assert (made.rank, made.due, len(made), list(made)) == (None, inf, 0, [])


def test_the_highest_rank_and_the_earliest_deadline_may_come_from_two_lenders() -> None:
    made = lenders(high=(5, 90.0), soon=(1, 10.0))
    assert (made.rank, made.due) == (5, 10.0)


def test_lending_says_whether_the_best_has_changed() -> None:
    made = lenders(first=(3, 50))
    assert made.lend("lower", 2, 60) is False
    assert made.lend("equal", 3, 50) is False
    assert made.lend("higher", 4, 60) is True
    assert made.lend("sooner", 0, 40) is True


def test_a_lender_that_lends_again_replaces_what_it_lent() -> None:
    made = lenders(one=(5, 10))
    assert made.lend("one", 2, 30) is True
    assert (made.rank, made.due, len(made)) == (2, 30, 1)
    assert made.lend("one", 2, 30) is False


def test_lenders_withdraw_in_any_order_and_what_is_left_counts() -> None:
    made = lenders(a=(4, 20), b=(6, 10), c=(5, 30))
    assert made.withdraw("a") is False
    assert (made.rank, made.due) == (6, 10)
    assert made.withdraw("b") is True
    assert (made.rank, made.due) == (5, 30)
    assert made.withdraw("c") is True
    assert (made.rank, made.due) == (None, inf)


def test_nothing_happens_when_one_withdraws_that_lent_nothing() -> None:
    made = lenders(a=(4, 20))
    assert made.withdraw("b") is False
    assert list(made) == ["a"]


def test_lenders_are_listed_in_the_order_in_which_they_came() -> None:
    made = lenders(b=(1, inf), a=(2, inf))
    made.lend("b", 3, inf)
    assert list(made) == ["b", "a"]
    assert "a" in made
    assert "c" not in made


def test_it_says_what_it_is() -> None:
    assert repr(lenders(a=(4, 20))) == "<1 lenders, rank 4, due at 20>"


def test_few_lenders_take_little_memory() -> None:
    made = lenders(a=(4, 20), b=(5, 10))
    assert made._ranks is None
    assert made._dues is None


def test_who_withdrew_is_not_kept_alive() -> None:
    made = Lenders[Waiter]()
    crowd = [Waiter() for _ in range(50)]
    for number, waiter in enumerate(crowd):
        made.lend(waiter, number, inf)
    gone = weakref.ref(crowd[20])
    made.withdraw(crowd.pop(20))
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("order", ["as they came", "last first", "best first", "worst first", "any"])
def test_ten_thousand_lend_and_withdraw_without_being_looked_at_each_time(order: str) -> None:
    draw = random.Random(7)
    loans = [(draw.randrange(100_000), draw.random()) for _ in range(10_000)]
    made = Lenders[int]()
    for number, (rank, due) in enumerate(loans):
        made.lend(number, rank, due)
    made.check()
    going = list(range(10_000))
    if order == "last first":
        going.reverse()
    elif order == "any":
        draw.shuffle(going)
    elif order != "as they came":
        going.sort(key=[rank for rank, _ in loans].__getitem__, reverse=order == "best first")
    for count, number in enumerate(going):
        made.withdraw(number)
        if count % 2_000 == 0:
            made.check()
    assert (made.rank, made.due, len(made)) == (None, inf, 0)


def test_a_crowd_that_keeps_changing_its_mind_takes_no_more_memory() -> None:
    made = Lenders[int]()
    for turn in range(5_000):
        made.lend(turn % 20, turn, turn / 2)
    assert made._ranks is not None
    assert len(made._ranks._heap) <= 40
    made.check()


class Inheritance(RuleBasedStateMachine):
    """Any lending and withdrawing, compared with a dictionary that is searched each time."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Lenders[int]()
        self.model: dict[int, tuple[int, float]] = {}

    def best(self) -> tuple[int | None, float]:
        loans = self.model.values()
        return max(map(itemgetter(0), loans), default=None), min(map(itemgetter(1), loans), default=inf)

    @rule(lender=st.integers(0, 25), rank=st.integers(-3, 6), due=st.sampled_from([0, 1, 2.5, 7, inf]))
    def lend(self, lender: int, rank: int, due: float) -> None:
        before = self.best()
        self.model[lender] = (rank, due)
        assert self.made.lend(lender, rank, due) == (self.best() != before)

    @rule(lenders=st.lists(st.integers(0, 25), max_size=12, unique=True), rank=st.integers(0, 6))
    def many_lend(self, lenders: list[int], rank: int) -> None:
        for lender in lenders:
            self.lend(lender, rank, float(lender))

    @rule(lenders=st.lists(st.integers(0, 25), max_size=12, unique=True))
    def withdraw(self, lenders: list[int]) -> None:
        for lender in lenders:
            before = self.best()
            self.model.pop(lender, None)
            assert self.made.withdraw(lender) == (self.best() != before)

    @invariant()
    def the_best_are_those_of_the_model(self) -> None:
        self.made.check()
        assert (self.made.rank, self.made.due) == self.best()
        assert list(self.made) == list(self.model)
        assert len(self.made) == len(self.model)


TestInheritance = Inheritance.TestCase

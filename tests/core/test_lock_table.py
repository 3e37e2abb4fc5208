"""The lock table: who holds a resource, who waits for it, and to whom it is handed on."""

from __future__ import annotations

from itertools import combinations
from typing import TypeVar
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorsched._core import lock_table
from actorsched._core.lock_table import LockTable, Request

Answer = TypeVar("Answer")


class Owner:
    """Somebody with a priority: more is more urgent."""

    def __init__(self, name: str, priority: int = 0) -> None:
        self.name = name
        self.priority = priority

    def __repr__(self) -> str:
        return self.name


class Book:
    """A table with letters for owners and resources, which answers in letters and is always checked."""

    def __init__(self, **capacities: int) -> None:
        self.kept: list[str] = []
        self.table = LockTable[Owner](
            lambda owner: -owner.priority, lambda request: self.kept.append(request.owner.name)
        )
        for name, capacity in capacities.items():
            self.table.declare(name, capacity)
        self.owners: dict[str, Owner] = {}
        self.requests: dict[str, Request[Owner]] = {}

    def owner(self, name: str, priority: int = 0) -> Owner:
        return self.owners.setdefault(name, Owner(name, priority))

    def acquire(self, name: str, resources: str, priority: int = 0) -> bool:
        request = self.requests[name] = Request(self.owner(name, priority), tuple(resources))
        return self._checked(self.table.acquire(request))

    def release(self, name: str) -> str:
        return self._served(self.table.release(self.requests[name]))

    def withdraw(self, name: str) -> str:
        return self._served(self.table.withdraw(self.requests[name]))

    def waive(self, name: str) -> str:
        return self._served(self.table.waive(self.requests[name]))

    def changed(self, name: str, priority: int) -> str:
        self.owners[name].priority = priority
        return self._served(self.table.changed(self.owners[name]))

    def reorder(self) -> str:
        return self._served(self.table.reorder())

    def holders(self, resource: str) -> str:
        return "".join(owner.name for owner in self.table.holders(resource))

    def waiting(self, resource: str) -> str:
        return "".join(owner.name for owner in self.table.waiting(resource))

    def waiters_on(self, name: str) -> str:
        return "".join(owner.name for owner in self.table.waiters_on(self.owners[name]))

    def blockers(self, name: str) -> str:
        found = self.table.blockers(self.requests[name])
        return " ".join(f"{resource}:{''.join(o.name for o in owners)}" for resource, owners in found)

    def pass_over(self, name: str, resource: str, times: int) -> None:
        """Have a newcomer take the resource, and give it back, some times."""
        for _ in range(times):
            assert self.acquire("-", resource), f"{name} keeps {resource}"
            self.release("-")

    def _served(self, requests: list[Request[Owner]]) -> str:
        assert all(request.holds for request in requests)
        return self._checked("".join(request.owner.name for request in requests))

    def _checked(self, answer: Answer) -> Answer:
        self.table.check()
        return answer


def a_lock(waiting: str = "", priorities: str = "") -> Book:
    """A lock L that H holds, and these wait for."""
    book = Book(L=1)
    assert book.acquire("H", "L")
    for name, priority in zip(waiting, priorities or "0" * len(waiting), strict=True):
        assert not book.acquire(name, "L", int(priority))
    return book


def a_pair() -> Book:
    """Resources A and B; X holds B, and P waits for both."""
    book = Book(A=1, B=1)
    book.acquire("X", "B")
    assert not book.acquire("P", "AB")
    return book


# ------------------------------------------------------------------------------------------ one resource


def test_a_free_unit_is_taken() -> None:
    book = Book(L=2)
    assert book.acquire("A", "L")
    assert book.acquire("B", "L")
    assert not book.acquire("C", "L")
    assert (book.holders("L"), book.waiting("L")) == ("AB", "C")


def test_what_is_given_back_goes_to_who_came_first_among_equals() -> None:
    book = a_lock("ABC")
    assert [book.release(name) for name in "HABC"] == ["A", "B", "C", ""]


def test_the_more_urgent_go_first() -> None:
    book = a_lock("ABCD", "1320")
    assert book.waiting("L") == "BCAD"
    assert [book.release(name) for name in "HBCA"] == ["B", "C", "A", "D"]


def test_what_is_given_back_is_handed_on_at_once_so_no_newcomer_can_take_it() -> None:
    book = a_lock("A")
    book.release("H")
    assert not book.acquire("B", "L", priority=9)
    assert book.holders("L") == "A"


def test_who_waits_no_longer_is_not_served() -> None:
    book = a_lock("ABC")
    assert book.withdraw("A") == ""
    assert book.waiting("L") == "BC"
    assert book.release("H") == "B"


def test_a_changed_urgency_changes_the_place_and_arrival_still_counts() -> None:
    book = a_lock("ABCD", "0101")
    assert book.changed("A", 1) == ""
    assert book.waiting("L") == "ABDC"
    book.changed("A", 0)
    assert book.waiting("L") == "BDAC"


def test_the_urgency_of_who_does_not_wait_may_change() -> None:
    book = a_lock("A")
    assert book.changed("H", 5) == ""
    book.owner("Z")
    assert book.changed("Z", 5) == ""


def test_another_measure_of_urgency_reorders_all() -> None:
    book = a_lock("ABC", "123")
    book.table.urgency = lambda owner: owner.priority
    assert book.waiting("L") == "CBA"
    assert book.reorder() == ""
    assert book.waiting("L") == "ABC"


def test_a_request_may_be_used_again_and_is_new_then() -> None:
    book = a_lock("AB")
    request = book.requests["H"]
    book.table.release(request)
    assert not book.table.acquire(request)
    assert book.waiting("L") == "BH"


# --------------------------------------------------------------------------------------- several resources


def test_several_are_had_together_or_none_of_them() -> None:
    book = a_pair()
    assert (book.holders("A"), book.waiting("A"), book.waiting("B")) == ("", "P", "P")
    assert book.release("X") == "P"
    assert (book.holders("A"), book.holders("B")) == ("P", "P")


def test_what_one_gives_back_may_serve_several_and_in_common_order() -> None:
    book = Book(A=1, B=1, C=1)
    book.acquire("X", "ABC")
    for name, resources, priority in [("P", "AB", 0), ("Q", "B", 2), ("R", "C", 1), ("S", "A", 0)]:
        book.acquire(name, resources, priority)
    assert book.release("X") == "QRS"


def test_a_more_urgent_one_that_lacks_another_resource_is_passed_over() -> None:
    book = Book(A=1, B=1)
    book.acquire("X", "A")
    book.acquire("Y", "B")
    book.acquire("P", "AB", priority=9)
    book.acquire("Q", "A")
    assert book.release("X") == "Q"
    assert book.release("Y") == ""
    assert book.release("Q") == "P"


# -------------------------------------------------------------------------------- passing over, and keeping


def test_after_sixteen_times_nobody_passes() -> None:
    book = a_pair()
    book.pass_over("P", "A", times=16)
    assert book.kept == ["P"]
    assert book.requests["P"].keeps
    assert not book.acquire("Q", "A")
    assert book.release("X") == "P"
    assert not book.requests["P"].keeps
    assert book.release("P") == "Q"


def test_a_hand_over_passes_over_like_a_newcomer() -> None:
    book = Book(A=1, B=1)
    book.acquire("X", "B")
    book.acquire("0", "A")
    book.acquire("P", "AB")
    for number in range(1, 18):
        book.acquire(f"Q{number}", "A")
    assert book.release("0") == "Q1"
    for number in range(1, 16):
        assert book.release(f"Q{number}") == f"Q{number + 1}"
    assert book.release("Q16") == ""
    assert book.release("X") == "P"
    assert book.release("P") == "Q17"


def test_whoever_takes_several_at_once_passes_over_once() -> None:
    book = Book(A=1, B=1, C=1)
    book.acquire("X", "C")
    book.acquire("P", "ABC")
    book.pass_over("P", "AB", times=16)
    assert not book.acquire("Q", "AB")


def test_the_more_urgent_do_not_pass_over_and_nothing_is_kept_from_them() -> None:
    book = a_pair()
    for _ in range(20):
        assert book.acquire("Q", "A", priority=1)
        book.release("Q")
    assert not book.kept
    book.pass_over("P", "A", times=16)
    assert book.acquire("Q", "A", priority=1)


def test_a_unit_that_leaves_another_does_no_harm() -> None:
    book = Book(A=2, B=1)
    book.acquire("X", "B")
    book.acquire("P", "AB")
    book.pass_over("P", "A", times=100)
    assert not book.kept


def test_of_several_units_only_one_is_kept() -> None:
    book = Book(A=2, B=1)
    book.acquire("X", "B")
    book.acquire("P", "AB")
    book.acquire("Y", "A")
    book.pass_over("P", "A", times=16)
    assert not book.acquire("Q", "A")
    assert book.release("Y") == "Q"
    assert book.release("X") == "P"


def test_those_who_keep_are_served_in_their_order() -> None:
    book = a_pair()
    book.acquire("R", "AB")
    book.pass_over("P", "A", times=16)
    assert book.kept == ["P", "R"]
    assert [book.release("X"), book.release("P"), book.release("R")] == ["P", "R", ""]


def test_what_was_kept_for_one_who_waits_no_longer_is_handed_on() -> None:
    book = a_pair()
    book.pass_over("P", "A", times=16)
    book.acquire("Q", "A")
    assert book.withdraw("P") == "Q"


def test_who_is_more_urgent_now_may_have_what_was_kept_from_it() -> None:
    book = a_pair()
    book.pass_over("P", "A", times=16)
    book.acquire("Q", "A")
    assert book.changed("Q", 1) == "Q"


def test_who_is_less_urgent_now_keeps_nothing_from_those_who_are_more() -> None:
    book = a_pair()
    book.pass_over("P", "A", times=16)
    book.acquire("Q", "A")
    assert book.changed("P", -1) == "Q"
    assert book.requests["P"].keeps
    assert book.release("Q") == ""
    assert not book.acquire("R", "A", priority=-2)


def test_a_new_order_hands_on_what_is_kept_no_longer() -> None:
    book = a_pair()
    book.pass_over("P", "A", times=16)
    book.acquire("Q", "A")
    book.table.urgency = lambda owner: owner.name != "Q"
    assert book.reorder() == "Q"


def test_one_who_keeps_and_stands_before_others_now_is_told_again() -> None:
    book = a_pair()
    book.pass_over("P", "A", times=16)
    assert book.acquire("Y", "A", priority=2)
    assert not book.acquire("Q", "A", priority=1)
    assert book.blockers("Q") == "A:Y"
    book.kept.clear()
    book.changed("P", 2)
    assert book.blockers("Q") == "A:Y A:P"
    assert book.kept == ["P"]


def test_a_circle_that_keeping_has_closed_is_opened_by_waiving_it() -> None:
    book = a_pair()
    book.pass_over("P", "A", times=16)
    assert not book.acquire("X2", "A")  # for X, say, who awaits this before it gives back B
    assert book.blockers("X2") == "A:P"
    assert book.blockers("P") == "B:X"
    assert book.waive("P") == "X2"
    assert book.release("X2") == ""
    book.pass_over("P", "A", times=15)
    assert book.kept == ["P", "P"]
    assert book.release("X") == "P"


def test_waiving_nothing_changes_nothing() -> None:
    book = a_pair()
    assert [book.waive("P"), book.waive("X")] == ["", ""]
    assert book.waiting("A") == "P"


# ------------------------------------------------------------------------------------------ who and whom


def test_it_knows_what_an_owner_holds_and_asks_for() -> None:
    book = Book(A=3, B=1)
    owner = book.owner("X")
    requests = [Request(owner, names) for names in [("A",), ("B",), ("A",), ("A", "B")]]
    assert [book.table.acquire(request) for request in requests] == [True, True, True, False]
    book.table.check()
    assert book.table.held_by(owner) == ("A", "B", "A")
    assert book.table.requests_of(owner) == tuple(requests)
    assert [(request.holds, request.waits) for request in requests] == [(True, False)] * 3 + [(False, True)]
    book.table.release(requests[0])
    assert book.table.held_by(owner) == ("B", "A")
    for request in requests[1:]:
        (book.table.release if request.holds else book.table.withdraw)(request)
    assert (book.table.held_by(owner), book.table.requests_of(owner)) == ((), ())


def test_blockers_are_the_holders_of_what_one_lacks() -> None:
    book = Book(A=2, B=1, C=1)
    book.acquire("X", "A")
    book.acquire("Y", "AB")
    book.acquire("P", "ABC")
    assert book.blockers("P") == "A:XY B:Y"
    assert book.blockers("X") == ""


def test_waiters_on_an_owner_are_those_who_lack_what_it_holds() -> None:
    book = Book(A=1, B=1, C=2)
    for name, resources, priority in [("X", "A", 0), ("Y", "B", 0), ("Z", "C", 0)]:
        book.acquire(name, resources, priority)
    for name, resources, priority in [("P", "AB", 1), ("Q", "A", 2), ("R", "BC", 5)]:
        book.acquire(name, resources, priority)
    assert [book.waiters_on(name) for name in "XYZP"] == ["QP", "RP", "", ""]
    foremost = [book.table.foremost_waiter_on(book.owners[name]) for name in "XYZP"]
    assert foremost == [book.owners["Q"], book.owners["R"], None, None]


def test_nobody_is_among_the_waiters_on_itself() -> None:
    book = a_lock()
    assert not book.table.acquire(Request(book.owners["H"], ("L",)))
    assert book.waiters_on("H") == ""
    assert book.table.foremost_waiter_on(book.owners["H"]) is None


def test_they_say_what_they_are() -> None:
    book = a_pair()
    assert repr(book.table) == "<LockTable A 1/1 free, B 0/1 free>"
    assert repr(book.requests["X"]) == "<Request: X holds B>"
    assert repr(book.requests["P"]) == "<Request: P waits for A, B>"
    book.pass_over("P", "A", times=16)
    assert repr(book.requests["P"]) == "<Request: P keeps A, B>"
    book.withdraw("P")
    assert repr(book.requests["P"]) == "<Request: P wants A, B>"


# ---------------------------------------------------------------------------------------- what is refused


def test_a_resource_is_declared_once_or_alike() -> None:
    book = Book(A=2)
    book.table.declare("A", 2)
    with pytest.raises(ValueError, match="'A' cannot be declared with capacity 3: it has 2"):
        book.table.declare("A", 3)
    with pytest.raises(ValueError, match="at least 1"):
        book.table.declare("B", 0)
    assert book.table.names == ("A",)
    assert book.table.capacity("A") == 2


@pytest.mark.parametrize("names", [(), ("A", "A"), ("C",), ("A", "C")])
def test_a_request_for_nothing_or_twice_or_for_what_there_is_not_is_refused(names: tuple[str, ...]) -> None:
    book = Book(A=2, B=1)
    with pytest.raises(ValueError, match="acquired|there is no resource 'C'"):
        book.table.acquire(Request(book.owner("X"), names))
    book.table.check()
    assert book.table.requests_of(book.owners["X"]) == ()


@pytest.mark.parametrize("name", ["capacity", "holders", "waiting"])
def test_what_there_is_not_cannot_be_asked_about(name: str) -> None:
    with pytest.raises(ValueError, match="there is no resource 'Z'; declare it first"):
        getattr(Book(A=1).table, name)("Z")


def test_what_was_acquired_is_not_acquired_again() -> None:
    book = a_pair()
    for name in "XP":
        with pytest.raises(ValueError, match="already"):
            book.table.acquire(book.requests[name])
        book.table.check()
    book.acquire("H", "A")
    with pytest.raises(ValueError, match="already"):
        book.table.acquire(book.requests["H"])


def test_only_who_holds_releases_and_only_who_waits_withdraws() -> None:
    book = a_pair()
    for method, name in [(book.table.release, "P"), (book.table.withdraw, "X")]:
        with pytest.raises(ValueError, match="it holds nothing|it does not wait"):
            method(book.requests[name])
        book.table.check()
    book.release("X")
    for method in (book.table.release, book.table.withdraw):
        with pytest.raises(ValueError, match="it holds nothing|it does not wait"):
            method(book.requests["X"])


# ----------------------------------------------------------------------------- against a slow, obvious model

CAPACITIES = {"A": 1, "B": 1, "C": 2, "D": 3}
WISHES = [*CAPACITIES, *(names for n in (2, 3) for names in map("".join, combinations(CAPACITIES, n)))]
FEW = 2
"""How often one is passed over here, where it has to happen often."""


class Wish:
    """What the model knows of a request."""

    def __init__(self, request: Request[Owner], arrival: int) -> None:
        self.request = request
        self.names = request.names
        self.arrival = arrival
        self.urgency = 0
        self.passed_over = 0

    @property
    def place(self) -> tuple[int, int]:
        return (self.urgency, self.arrival)


class Model:
    """Everything is counted anew at every step, and everybody is looked at."""

    def __init__(self) -> None:
        self.holding: list[Wish] = []
        self.waiting: list[Wish] = []

    def free(self, name: str) -> int:
        return CAPACITIES[name] - sum(name in wish.names for wish in self.holding)

    def left_for(self, wish: Wish, name: str) -> int:
        """How many units of this it may take: those that are free, less those kept for others before it."""
        before = [other for other in self.waiting if other.place < wish.place]
        return self.free(name) - sum(other.passed_over == FEW and name in other.names for other in before)

    def can_have_all(self, wish: Wish) -> bool:
        return all(self.left_for(wish, name) > 0 for name in wish.names)

    def take(self, wish: Wish) -> None:
        could = [(o, n) for o in self.waiting for n in o.names if o is not wish and self.left_for(o, n) > 0]
        self.holding.append(wish)
        self.waiting = [other for other in self.waiting if other is not wish]
        harmed = [o for o, n in could if o.place < wish.place and self.left_for(o, n) <= 0]
        wish.passed_over = 0
        for other in dict.fromkeys(harmed):
            other.passed_over += 1

    def serve(self) -> list[Request[Owner]]:
        """Whoever is first in order and can have all takes it, until there is nobody."""
        served: list[Request[Owner]] = []
        while True:
            in_order = sorted(self.waiting, key=lambda wish: wish.place)
            first = next(filter(self.can_have_all, in_order), None)
            if first is None:
                return served
            self.take(first)
            served.append(first.request)


class AgainstTheModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = mock.patch.object(lock_table, "_BYPASSES", FEW)
        self.patch.start()
        self.told: list[Request[Owner]] = []
        self.sign = -1
        self.table = LockTable[Owner](lambda owner: self.sign * owner.priority, self.told.append)
        for name, capacity in CAPACITIES.items():
            self.table.declare(name, capacity)
        self.owners = [Owner(str(n), n % 3) for n in range(5)]
        self.model = Model()
        self.arrivals = 0

    def wish_of(self, data: st.DataObject, wishes: list[Wish]) -> Wish:
        return data.draw(st.sampled_from(wishes))

    def compare(self, served: list[Request[Owner]]) -> None:
        kept = [wish for wish in self.model.waiting if wish.passed_over == FEW]
        assert served == self.model.serve()
        new = [w.request for w in self.model.waiting if w.passed_over == FEW and w not in kept]
        assert set(new) <= set(self.told)
        assert all(request.keeps for request in self.told)
        self.told.clear()

    @rule(owner=st.integers(0, 4), names=st.sampled_from(WISHES))
    def acquire(self, owner: int, names: str) -> None:
        wish = Wish(Request(self.owners[owner], tuple(names)), self.arrivals)
        self.arrivals += 1
        wish.urgency = self.sign * self.owners[owner].priority
        at_once = self.model.can_have_all(wish)
        assert self.table.acquire(wish.request) == at_once
        if at_once:
            self.model.take(wish)
        else:
            self.model.waiting.append(wish)
        self.compare([])

    @precondition(lambda self: self.model.holding)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        wish = self.wish_of(data, self.model.holding)
        self.model.holding.remove(wish)
        self.compare(self.table.release(wish.request))

    @precondition(lambda self: self.model.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        wish = self.wish_of(data, self.model.waiting)
        self.model.waiting.remove(wish)
        self.compare(self.table.withdraw(wish.request))

    @precondition(lambda self: self.model.waiting)
    @rule(data=st.data())
    def waive(self, data: st.DataObject) -> None:
        wish = self.wish_of(data, self.model.waiting)
        if wish.passed_over == FEW:
            wish.passed_over = 0
        self.compare(self.table.waive(wish.request))

    @rule(owner=st.integers(0, 4), priority=st.integers(0, 3))
    def change(self, owner: int, priority: int) -> None:
        self.owners[owner].priority = priority
        self.note_urgency(self.owners[owner])
        self.compare(self.table.changed(self.owners[owner]))

    @rule()
    def reverse(self) -> None:
        self.sign = -self.sign
        for owner in self.owners:
            self.note_urgency(owner)
        self.compare(self.table.reorder())

    def note_urgency(self, owner: Owner) -> None:
        for wish in self.model.waiting:
            if wish.request.owner is owner:
                wish.urgency = self.sign * owner.priority

    @invariant()
    def they_agree(self) -> None:
        self.table.check()
        model = self.model
        in_order = sorted(model.waiting, key=lambda wish: wish.place)
        for name, capacity in CAPACITIES.items():
            holders = [wish.request.owner for wish in model.holding if name in wish.names]
            assert len(holders) <= capacity
            assert self.table.holders(name) == holders
            assert self.table.waiting(name) == [w.request.owner for w in in_order if name in w.names]
        for wish in model.waiting:
            assert not model.can_have_all(wish)
            assert wish.request.waits
            assert wish.request.keeps == (wish.passed_over == FEW)
            assert wish.passed_over <= FEW
            assert self.table.blockers(wish.request) == self.blockers(wish)
        for owner in self.owners:
            self.agree_on(owner)

    def blockers(self, wish: Wish) -> list[tuple[str, list[Owner]]]:
        held = {n: [w.request.owner for w in self.model.holding if n in w.names] for n in wish.names}
        lacking = [(n, held[n]) for n in wish.names if held[n] and self.model.left_for(wish, n) <= 0]
        keepers = sorted((w for w in self.model.waiting if w.passed_over == FEW), key=lambda w: w.place)
        before = [w for w in keepers if w.place < wish.place]
        return lacking + [(n, [w.request.owner]) for n in wish.names for w in before if n in w.names]

    def agree_on(self, owner: Owner) -> None:
        mine = [wish for wish in self.model.holding if wish.request.owner is owner]
        held = [name for wish in mine for name in wish.names]
        assert sorted(self.table.held_by(owner)) == sorted(held)
        others = [wish for wish in self.model.waiting if wish.request.owner is not owner]
        waiters = [w for w in others if any(n in held and self.model.left_for(w, n) <= 0 for n in w.names)]
        assert set(self.table.waiters_on(owner)) == {wish.request.owner for wish in waiters}
        foremost = min(waiters, key=lambda wish: wish.place, default=None)
        assert self.table.foremost_waiter_on(owner) == (foremost and foremost.request.owner)

    def teardown(self) -> None:
        """When everybody gives back, everybody is served, and in the end everything is free."""
        try:
            while self.model.holding:
                self.compare(self.table.release(self.model.holding.pop(0).request))
                self.table.check()
        finally:
            self.patch.stop()
        assert not self.model.waiting
        assert all(not self.table.waiting(name) and not self.table.holders(name) for name in CAPACITIES)
        assert all(not self.table.requests_of(owner) for owner in self.owners)


TestAgainstTheModel = AgainstTheModel.TestCase

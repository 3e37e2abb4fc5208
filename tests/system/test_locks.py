"""The resources actor and the tasks that hold and want them: order, inheritance, circles.

`acquire`, `release` and so on are what the code of a task does; see `small_system`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsched._core.deadlock import analyse
from actorsched._core.policies.edf import Edf
from actorsched._core.policies.priority import FixedPriority
from actorsched._system.pools import Place
from actorsched.exceptions import DeadlockError
from actorsched.messages import SetPolicy
from actorsched.status import TaskStatus
from tests.system.small_system import System

if TYPE_CHECKING:
    from actorsched._system.task import TaskActor
    from tests.recorder import Answer


# ------------------------------------------------------------------------------------ having and waiting


def test_what_is_free_is_taken_and_what_is_not_is_waited_for() -> None:
    system = System(resources=["r"])
    a, b = system.task("a"), system.task("b")
    assert system.acquire(a, "r").given == [None]
    wanted = system.acquire(b, "r")
    assert not wanted.done()
    assert (system.holders("r"), system.waiting("r")) == ("a", "b")
    assert (a.status, b.status) == (TaskStatus.RUNNING, TaskStatus.BLOCKED)
    assert (a.place, b.place) == (Place.ON, Place.LENT)


def test_what_is_given_back_is_handed_over_at_once_to_the_most_urgent_and_among_equals_to_the_first() -> None:
    system = System(resources=["r"])
    a = system.task("a")
    held = system.acquire(a, "r")
    others = {name: system.task(name, rank) for name, rank in (("b", 2), ("c", 4), ("d", 2), ("e", 4))}
    wanted = {name: system.acquire(task, "r") for name, task in others.items()}
    assert system.waiting("r") == "c e b d"
    for name in "cebd":
        system.release(held)
        held = wanted[name]
        assert held.given == [None]
        assert system.holders("r") == name
        assert others[name].status is TaskStatus.RUNNING
    system.release(held)
    assert (system.holders("r"), system.locks.waits) == ("", {})


def test_as_many_hold_a_resource_as_it_has_units() -> None:
    system = System()
    system.declare("r", 2)
    held = [system.acquire(system.task(name), "r") for name in "abc"]
    assert (system.holders("r"), system.waiting("r")) == ("a b", "c")
    system.release(held[1])
    assert system.holders("r") == "a c"


def test_what_is_asked_for_together_is_had_together_or_not_at_all() -> None:
    system = System(resources="rst")
    a, b, c = system.task("a"), system.task("b"), system.task("c")
    held = system.acquire(a, "s")
    wanted = system.acquire(b, "r", "s", "t")
    assert (system.holders("r"), system.waiting("r")) == ("", "b")
    assert system.acquire(c, "t").given == [None]  # idle units help nobody
    system.release(held)
    assert not wanted.done()
    system.finish(c)
    assert wanted.given == [None]
    assert [system.holders(name) for name in "rst"] == ["b", "b", "b"]
    system.release(wanted)
    assert [system.holders(name) for name in "rst"] == ["", "", ""]


@pytest.mark.parametrize("error", [None, ValueError("x")])
def test_however_a_task_ends_it_holds_nothing_and_waits_for_nothing_any_more(error: Exception | None) -> None:
    system = System(resources=["r", "s"])
    a, b, c = system.task("a"), system.task("b"), system.task("c")
    system.acquire(a, "r")
    system.acquire(b, "s")
    system.acquire(b, "r")
    wanted = system.acquire(c, "s")
    system.cancel(b)
    assert (system.holders("s"), system.waiting("r")) == ("c", "")
    assert wanted.given == [None]
    system.finish(a, error)
    system.finish(c, error)
    assert (system.holders("r"), system.holders("s"), system.locks.waits) == ("", "", {})
    assert not system.locks.table.requests_of(a)


def test_whoever_gives_up_waiting_is_passed_by_and_lends_nothing_any_more() -> None:
    system = System(resources=["r"])
    a, b, c = system.task("a", 1), system.task("b", 5), system.task("c", 2)
    held = system.acquire(a, "r")
    wanted = system.acquire(b, "r")
    system.acquire(c, "r")
    assert a.rank == 5
    system.give_up(wanted)
    assert (a.rank, system.waiting("r"), b.status) == (2, "c", TaskStatus.RUNNING)
    system.release(held)
    assert system.holders("r") == "c"


def test_what_was_handed_over_to_somebody_who_had_just_given_up_goes_on_to_the_next() -> None:
    system = System(resources=["r"])
    a, b, c = system.task("a"), system.task("b"), system.task("c")
    held = system.acquire(a, "r")
    wanted = system.acquire(b, "r")
    system.acquire(c, "r")
    system.release(held)
    assert system.holders("r") == "b"
    system.give_up(wanted)
    assert system.holders("r") == "c"


def test_who_asks_and_is_gone_before_it_is_chosen_gets_nothing() -> None:
    system = System(limit=1, resources=["r"])
    a = system.task("a", 1)
    system.task("b", 5)
    assert a.place is Place.QUEUED  # so it is not chosen
    wanted = system.acquire(a, "r")
    assert not wanted.done()
    assert system.holders("r") == ""
    system.give_up(wanted)
    system.finish(system.tasks[1])
    assert system.holders("r") == ""


def test_who_waits_has_its_slot_again_before_it_goes_on_with_what_it_was_given() -> None:
    system = System(limit=1, resources=["r"])
    a = system.task("a", 3)
    held = system.acquire(a, "r")
    b = system.task("b", 5)
    wanted = system.acquire(b, "r")
    assert (a.place, b.place, a.rank) == (Place.ON, Place.LENT, 5)
    c = system.task("c", 6)
    assert (a.place, c.place) == (Place.QUEUED, Place.ON)
    system.release(held)
    assert (system.holders("r"), wanted.done()) == ("b", False)
    system.finish(c)
    assert wanted.given == [None]
    assert (a.place, b.place) == (Place.QUEUED, Place.ON)


# ------------------------------------------------------------------- resources named at the submission


def test_a_task_that_names_its_resources_starts_when_it_has_them_all() -> None:
    system = System(resources=["r", "s"])
    a = system.task("a")
    held = system.acquire(a, "s")
    b = system.task("b", resources={"r", "s"})
    assert (b.status, b.worker, system.holders("r")) == (TaskStatus.BLOCKED, None, "")
    system.release(held)
    assert b.status is TaskStatus.RUNNING
    assert (system.holders("r"), system.holders("s")) == ("b", "b")
    system.finish(b)
    assert (system.holders("r"), system.holders("s")) == ("", "")


def test_it_may_be_cancelled_meanwhile() -> None:
    system = System(resources=["r"])
    a, b = system.task("a", 1), system.task("b", 5, resources=["r"])
    wanted = system.acquire(a, "r")
    assert not wanted.done()
    c = system.task("c", 6, resources=["r"])
    system.cancel(c)
    assert (c.status, b.rank, system.waiting("r")) == (TaskStatus.CANCELLED, 5, "a")
    system.finish(b)
    assert wanted.given == [None]


def test_another_attempt_asks_again() -> None:
    system = System(resources=["r"])
    a = system.task("a", resources=["r"], retry=2)
    b = system.task("b", resources=["r"])
    system.finish(a, OSError())
    assert (system.holders("r"), a.status) == ("b", TaskStatus.BLOCKED)
    system.finish(b)
    assert (system.holders("r"), a.attempt) == ("a", 2)


def test_a_slot_is_not_kept_idle_by_somebody_who_lacks_resources() -> None:
    system = System(limit=1, resources=["r"])
    a = system.task("a", 5, resources=["r"])
    system.set_priority(a, 1)
    c = system.task("c", 3)
    b = system.task("b", 2, resources=["r"])
    assert (a.place, b.place, c.place) == (Place.QUEUED, Place.QUEUED, Place.ON)
    system.finish(c)
    assert (a.place, b.place, b.status, a.rank) == (Place.ON, None, TaskStatus.BLOCKED, 2)


# ------------------------------------------------------------------------------------------ inheritance


def test_a_holder_inherits_from_those_who_wait_and_loses_that_as_it_lets_go() -> None:
    system = System(resources=["r"])
    low, middle, high = system.task("low", 1), system.task("middle", 3), system.task("high", 5)
    held = system.acquire(low, "r")
    system.acquire(middle, "r")
    assert low.rank == 3
    system.acquire(high, "r")
    assert low.rank == 5
    system.release(held)
    assert (low.rank, high.rank, middle.rank) == (1, 5, 3)
    system.finish(high)
    assert middle.rank == 3


def test_with_two_resources_what_is_left_of_the_inheritance_is_that_of_the_other() -> None:
    """In either order: what was effective before the first was taken is never what is right."""
    for order in ("rs", "sr"):
        system = System(resources=["r", "s"])
        low, middle, high = system.task("low", 1), system.task("middle", 3), system.task("high", 5)
        held = {name: system.acquire(low, name) for name in "rs"}
        system.acquire(middle, "r")
        system.acquire(high, "s")
        assert low.rank == 5
        system.release(held[order[0]])
        assert low.rank == {"r": 5, "s": 3}[order[0]]
        system.release(held[order[1]])
        assert low.rank == 1


def test_inheritance_goes_through_resources_and_awaited_tasks_alike() -> None:
    system = System(resources=["r", "s"])
    a, b, c, d = (system.task(name, 1) for name in "abcd")
    system.acquire(a, "r")
    system.acquire(b, "s")
    system.acquire(b, "r")
    system.acquire(c, "s")
    system.wait(d, c)
    high = system.task("high", 6)
    wait = system.wait(high, d)
    assert [task.rank for task in (a, b, c, d)] == [6, 6, 6, 6]
    system.set_priority(high, 4)
    assert [task.rank for task in (a, b, c, d)] == [4, 4, 4, 4]
    system.end_wait(high, d, wait)
    assert [task.rank for task in (a, b, c, d)] == [1, 1, 1, 1]


def test_deadlines_are_inherited_as_well() -> None:
    system = System(policy=Edf(), resources=["r"])
    a, b = system.task("a"), system.task("b", deadline=7)
    held = system.acquire(a, "r")
    system.acquire(b, "r")
    assert a.due == 7.0
    system.release(held)
    assert a.due == inf


def test_a_resource_may_be_declared_to_lend_nothing() -> None:
    system = System()
    system.declare("r", inherit=False)
    low, high = system.task("low", 1), system.task("high", 5)
    system.acquire(low, "r")
    system.acquire(high, "r")
    assert low.rank == 1


def test_every_holder_inherits_and_one_more_holder_too() -> None:
    system = System()
    system.declare("r", 2)
    a, b, c = system.task("a", 1), system.task("b", 1), system.task("c", 2)
    held = [system.acquire(task, "r") for task in (a, b)]
    system.acquire(c, "r")
    system.acquire(system.task("high", 5), "r")
    assert (a.rank, b.rank, c.rank) == (5, 5, 2)
    system.release(held[0])
    assert (system.holders("r"), a.rank, b.rank) == ("b high", 1, 2)


def test_what_a_task_inherits_as_it_waits_changes_its_place_there() -> None:
    system = System(resources=["r"])
    a = system.task("a")
    held = system.acquire(a, "r")
    low, middle = system.task("low", 1), system.task("middle", 2)
    wanted = system.acquire(low, "r")
    system.acquire(middle, "r")
    assert system.waiting("r") == "middle low"
    system.wait(system.task("high", 5), low)
    assert system.waiting("r") == "low middle"
    system.release(held)
    assert wanted.given == [None]


def test_in_a_circle_that_is_no_deadlock_nobody_keeps_what_nobody_lends_any_more() -> None:
    system = System(resources=["s"])
    system.declare("r", 2)
    a, b, free = (system.task(name, 1) for name in ("a", "b", "free"))
    system.acquire(a, "r")
    held = system.acquire(free, "r")
    system.acquire(b, "s")
    system.acquire(a, "s")
    wanted = system.acquire(b, "r")
    assert not system.refused
    high = system.task("high", 6)
    wait = system.wait(high, a)
    assert (a.rank, b.rank, free.rank) == (6, 6, 6)
    system.end_wait(high, a, wait)
    assert (a.rank, b.rank, free.rank) == (1, 1, 1)
    system.set_priority(b, 4)
    assert (a.rank, b.rank, free.rank) == (4, 4, 4)
    system.set_priority(b, 2)
    assert (a.rank, b.rank, free.rank) == (2, 2, 2)
    system.release(held)
    assert wanted.given == [None]
    assert (a.rank, b.rank, free.rank) == (1, 2, 1)


@pytest.mark.parametrize("gives_up", [False, True])
def test_nor_what_one_of_several_who_wait_for_the_same_lends_no_more(gives_up: bool) -> None:
    system = System(resources=["s"])
    system.declare("r", 2)
    a, b, free, high = (system.task(name, rank) for name, rank in (("a", 1), ("b", 1), ("free", 1), ("z", 6)))
    for task, name in ((a, "r"), (free, "r"), (b, "s"), (a, "s"), (b, "r")):
        system.acquire(task, name)
    wanted = system.acquire(high, "r")
    assert (a.rank, b.rank, free.rank) == (6, 6, 6)
    if gives_up:
        system.give_up(wanted)
    else:
        system.set_priority(high, 1)
    assert (a.rank, b.rank, free.rank) == (1, 1, 1)


def test_whoever_is_handed_a_resource_inherits_from_equals_who_still_wait() -> None:
    system = System(resources=["r"])
    a, b, c = system.task("a", 5), system.task("b", 5), system.task("c", 5)
    held = system.acquire(a, "r")
    system.acquire(b, "r")
    system.acquire(c, "r")
    system.release(held)
    system.set_priority(b, 1)
    assert (b.rank, c.rank) == (5, 5)


def test_whoever_takes_what_somebody_waits_for_together_with_other_things_inherits_at_once() -> None:
    system = System(resources=["r", "s"])
    holder, high, low = system.task("holder"), system.task("high", 5), system.task("low", 1)
    system.acquire(holder, "s")
    system.acquire(high, "r", "s")
    held = system.acquire(low, "r")
    assert (held.given, low.rank) == ([None], 5)
    system.release(held)
    assert low.rank == 1


def test_another_policy_orders_those_who_wait_anew() -> None:
    system = System(resources=["r"])
    a = system.task("a")
    system.acquire(a, "r")
    for name, rank, deadline in (("b", 5, 90), ("c", 1, 10)):
        system.acquire(system.task(name, rank, deadline=deadline), "r")
    assert system.waiting("r") == "b c"
    system.send(system.scheduler, SetPolicy(Edf()))
    assert system.waiting("r") == "c b"
    system.send(system.scheduler, SetPolicy(FixedPriority()))
    assert system.waiting("r") == "b c"


def test_a_resource_is_declared_once_or_everywhere_alike() -> None:
    system = System(resources=["r"])
    system.declare("r")
    with pytest.raises(ValueError, match="inherit=False contradicts"):
        system.declare("r", inherit=False)
    with pytest.raises(ValueError, match="capacity 2"):
        system.declare("r", 2)
    assert (system.locks.table.capacity("r"), system.locks.resources["r"].inherit) == (1, True)


# -------------------------------------------------------------------------------------------- deadlocks


def crosswise(first: int = 3, second: int = 3) -> tuple[System, TaskActor, TaskActor]:
    system = System(resources=["r", "s"])
    a, b = system.task("a", first), system.task("b", second)
    system.acquire(a, "r")
    system.acquire(b, "s")
    return system, a, b


def test_a_circle_is_found_on_the_request_that_closes_it_and_the_lowest_has_to_give_way() -> None:
    for first, second, victim in ((3, 5, "a"), (5, 3, "b")):
        system, a, b = crosswise(first, second)
        system.acquire(a, "s", where="one.py:1")
        assert not system.refused
        system.acquire(b, "r", where="two.py:2")
        assert list(system.refused) == [victim]
        assert (system.waiting("r") + system.waiting("s")) == {"a": "b", "b": "a"}[victim]


def test_among_equals_it_is_the_youngest() -> None:
    system, a, b = crosswise()
    system.acquire(b, "r")
    system.acquire(a, "s")
    assert list(system.refused) == ["b"]


def test_what_counts_is_the_own_priority_not_what_is_inherited() -> None:
    system, a, b = crosswise(2, 3)
    system.wait(system.task("high", 6), a)
    system.acquire(a, "s")
    system.acquire(b, "r")
    assert list(system.refused) == ["a"]


def test_the_error_names_every_task_what_it_holds_and_what_it_waits_for_and_where() -> None:
    system, a, b = crosswise(2, 3)
    system.acquire(a, "s", where="one.py:1, in first")
    system.acquire(b, "r", where="two.py:2, in second")
    error = system.refused["a"]
    assert "task 'a' (priority 2) holds r and waits for resource s at one.py:1, in first" in str(error)
    assert "task 'b' (priority 3) holds s and waits for resource r at two.py:2, in second" in str(error)
    assert "task 'a' has to give way" in str(error)
    assert sorted(error.circle) == ["a", "b"]


def test_those_who_listen_are_told_once_who_was_in_the_circle_and_who_gave_way() -> None:
    system, a, b = crosswise(2, 3)
    system.acquire(a, "s")
    system.acquire(b, "r")
    told = [(name, details) for kind, name, details in system.out.told if kind == "deadlock"]
    assert told == [("b", {"circle": ["b", "a"], "victim": "a"})]


def test_whoever_gives_way_keeps_what_it_holds_until_it_lets_go_and_then_the_others_go_on() -> None:
    system, a, b = crosswise(2, 3)
    system.acquire(a, "s")
    wanted = system.acquire(b, "r")
    assert (system.holders("r"), wanted.done()) == ("a", False)
    assert a.status is TaskStatus.RUNNING
    system.finish(a, system.refused["a"])
    assert wanted.given == [None]


def test_a_circle_may_lead_through_awaited_tasks_and_dependencies() -> None:
    system = System(resources=["r"])
    a, b = system.task("a", 1), system.task("b", 3)
    system.acquire(b, "r")
    between = system.task("between", 5, after=[a])
    wanted = system.acquire(a, "r")
    answer = system.wait(b, between)
    assert list(system.refused) == ["a"]
    assert not answer.done()
    assert wanted.done()
    error = str(system.refused["a"])
    assert "task 'between' (priority 5) holds nothing and waits for 'a'" in error
    assert "task 'b' (priority 3) holds r and waits for 'between'" in error


def test_an_awaiting_task_may_be_the_one_to_give_way() -> None:
    system = System(resources=["r"])
    a, b = system.task("a", 5), system.task("b", 1)
    system.acquire(b, "r")
    system.acquire(a, "r")
    answer = system.wait(b, a)
    error = system.failed(answer)
    assert error is not None
    assert list(error.circle) == ["b", "a"]
    assert not system.refused


def test_a_dependent_that_could_never_start_fails() -> None:
    system = System(resources=["r"])
    a = system.task("a", 5)
    system.acquire(a, "r")
    b = system.task("b", 1, resources=["r"])
    answer = system.wait(a, b)
    assert b.status is TaskStatus.FAILED
    assert isinstance(b.outcome.error, DeadlockError)  # type: ignore[union-attr]
    assert "task 'b' (priority 1) holds nothing and waits for resource r as it starts" in str(b.outcome.error)  # type: ignore[union-attr]
    assert answer.given == [None]
    assert system.locks.waits == {}


def test_so_does_one_that_closes_the_circle_as_it_is_about_to_start() -> None:
    system = System(resources=["r"])
    a, upstream = system.task("a", 5), system.task("upstream", 5)
    system.acquire(a, "r")
    b = system.task("b", 1, after=[upstream], resources=["r"])
    answer = system.wait(a, b)
    system.finish(upstream)
    assert isinstance(b.outcome.error, DeadlockError)  # type: ignore[union-attr]
    assert answer.given == [None]


def test_who_wants_what_it_holds_is_a_circle_of_one() -> None:
    system = System(resources=["r"])
    a = system.task("a")
    system.acquire(a, "r")
    system.acquire(a, "r")
    assert list(system.refused["a"].circle) == ["a"]


def test_as_long_as_one_holder_can_go_on_there_is_no_deadlock() -> None:
    system = System(resources=["s"])
    system.declare("r", 2)
    a, b, free = system.task("a"), system.task("b"), system.task("free")
    for task in (a, free):
        system.acquire(task, "r")
    system.acquire(b, "s")
    system.acquire(a, "s")
    system.acquire(b, "r")
    assert not system.refused
    error = system.failed(system.wait(free, b))
    assert error is not None
    assert list(error.circle) == ["free", "b"]
    assert not system.refused


def test_where_several_holders_cannot_go_on_one_of_them_has_to_give_way_and_no_other() -> None:
    system = System()
    system.declare("r", 2)
    a, b, c = system.task("a"), system.task("b"), system.task("c")
    for task in (b, c):
        system.acquire(task, "r")
    answers = [system.wait(task, a) for task in (b, c)]
    system.acquire(a, "r")
    assert [system.failed(answer) is not None for answer in answers].count(True) == 1
    assert len(system.told("deadlock")) == 1


def test_a_long_circle_is_found() -> None:
    names = [f"r{number}" for number in range(200)]
    system = System(resources=names)
    tasks = [system.task(f"t{number}") for number in range(200)]
    for task, name in zip(tasks, names, strict=True):
        system.acquire(task, name)
    for task, name in zip(tasks, names[1:], strict=False):
        system.acquire(task, name)
    assert not system.refused
    system.acquire(tasks[-1], names[0])
    assert list(system.refused) == ["t199"]
    assert len(system.refused["t199"].circle) == 200


def test_a_circle_that_was_broken_by_a_cancellation_on_the_way_is_none() -> None:
    system, a, b = crosswise()
    system.acquire(a, "s")
    system.cancel(a)
    wanted = system.acquire(b, "r")
    assert wanted.given == [None]
    assert not system.refused


def test_two_circles_closed_by_one_request_are_both_broken() -> None:
    system = System(resources=["r", "s"])
    a, b, c = system.task("a", 5), system.task("b", 2), system.task("c", 1)
    system.acquire(a, "r")
    system.acquire(b, "s")
    system.declare("t")
    system.acquire(c, "t")
    system.acquire(b, "r")
    system.acquire(c, "r")
    wanted = system.acquire(a, "s", "t")
    assert sorted(system.refused) == ["b", "c"]
    assert not wanted.done()


def test_what_is_kept_free_for_one_who_waits_is_waived_rather_than_that_anybody_gives_way() -> None:
    """Who was passed over often keeps a unit; a holder who needs that would never give back the other."""
    system = System(resources=["r", "s"])
    holder = system.task("holder", 3)
    system.acquire(holder, "s")
    keeper = system.task("keeper", 3)
    wanted = system.acquire(keeper, "r", "s")
    for number in range(16):
        passer = system.task(f"passer{number}", 3)
        system.acquire(passer, "r")
        system.finish(passer)
    assert next(iter(system.locks.waits)).keeps
    assert not wanted.done()
    needed = system.acquire(holder, "r")
    assert needed.given == [None]
    assert not system.refused
    system.finish(holder)
    assert wanted.given == [None]


def test_a_circle_that_is_closed_because_something_begins_to_be_kept_is_found_as_well() -> None:
    system = System(resources=["r", "s", "t"])
    holder, other, keeper = system.task("holder"), system.task("other"), system.task("keeper")
    system.acquire(holder, "s")
    system.acquire(other, "t")
    wanted = system.acquire(keeper, "r", "s")
    needed = None
    for number in range(16):
        if number == 15:
            needed = system.acquire(holder, "r", "t")
        passer = system.task(f"passer{number}")
        assert system.acquire(passer, "r").given == [None]
        assert not any(request.keeps for request in system.locks.waits)  # it was waived at once
        system.finish(passer)
    assert needed is not None
    system.finish(other)
    assert needed.given == [None]
    assert not system.refused
    system.finish(holder)
    assert wanted.given == [None]


# ------------------------------------------------------------------------------ against a slow, obvious model

CAPACITY = {"r": 1, "s": 1, "t": 2, "u": 1}
LENDING = {"r": True, "s": True, "t": True, "u": False}


class Sharing(RuleBasedStateMachine):
    """Tasks take, give back, await each other, change priority and end, in any order.

    Each has one thread of code: while it waits it does nothing else.
    """

    @initialize(limit=st.sampled_from([1, 2, 1000]), edf=st.booleans())
    def begin(self, limit: int, edf: bool) -> None:
        self.system = System(limit, Edf() if edf else None)
        for name, capacity in CAPACITY.items():
            self.system.declare(name, capacity, inherit=LENDING[name])
        self.own: dict[TaskActor, tuple[int, float]] = {}
        self.wanted: dict[TaskActor, tuple[Answer, tuple[str, ...]]] = {}
        self.held: dict[TaskActor, list[tuple[Answer, tuple[str, ...]]]] = {}
        self.awaiting: dict[TaskActor, tuple[Answer, TaskActor]] = {}
        self.after: dict[TaskActor, list[TaskActor]] = {}
        self.needs: dict[TaskActor, tuple[str, ...]] = {}
        self.circles = 0
        self.by_name: dict[str, TaskActor] = {}
        plain = self.system.out.tell

        def tell(kind: str, task: Any, /, **details: Any) -> None:
            plain(kind, task, **details)
            if kind == "deadlock":
                self.a_circle_is_real(details["circle"], details["victim"])

        self.system.out.tell = tell  # type: ignore[method-assign]

    # ------------------------------------------------------------------------------------ what happens

    @property
    def live(self) -> list[TaskActor]:
        return [task for task in self.system.tasks if task.outcome is None]

    @property
    def idle(self) -> list[TaskActor]:
        """Those whose code waits for nothing that the model knows."""
        return [
            task
            for task in self.live
            if task.worker is not None and task not in self.wanted and task not in self.awaiting
        ]

    def one(self, data: st.DataObject, tasks: list[TaskActor]) -> TaskActor:
        return data.draw(st.sampled_from(tasks))

    @rule(
        data=st.data(),
        rank=st.integers(0, 6),
        deadline=st.sampled_from([None, 500, 1000]),
        needs=st.sets(st.sampled_from(sorted(CAPACITY)), max_size=2),
    )
    def submit(self, data: st.DataObject, rank: int, deadline: int | None, needs: set[str]) -> None:
        live = self.live
        after = data.draw(st.lists(st.sampled_from(live), max_size=1)) if live else []
        name = f"t{len(self.system.tasks) + 1}"
        names = tuple(sorted(needs)) if len(name) % 2 == 0 else ()
        # Known to the model before it is submitted: a circle may be found at once.
        system = self.system
        task = system.task(name, rank, after=after, deadline=deadline, resources=names)
        self.by_name[name] = task
        self.own[task] = (rank, inf if deadline is None else system.out.now + deadline)
        self.after[task] = after
        self.needs[task] = tuple(task.options.resources)
        self.settle()

    @precondition(lambda self: self.idle)
    @rule(data=st.data(), names=st.sets(st.sampled_from(sorted(CAPACITY)), min_size=1, max_size=2))
    def acquire(self, data: st.DataObject, names: set[str]) -> None:
        task = self.one(data, self.idle)
        wanted = tuple(sorted(names))
        answer = self.system.acquire(task, *wanted)
        self.wanted[task] = answer, wanted
        self.settle()

    @precondition(lambda self: any(self.held.get(task) for task in self.idle))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        task = self.one(data, [task for task in self.idle if self.held.get(task)])
        answer, _ = self.held[task].pop()
        self.system.release(answer)
        self.settle()

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        task = self.one(data, list(self.wanted))
        answer, _ = self.wanted.pop(task)
        self.system.give_up(answer)
        self.settle()

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        task, target = self.one(data, self.idle), self.one(data, self.live)
        answer = self.system.wait(task, target)
        if not answer.done():
            self.awaiting[task] = answer, target
        self.settle()

    @precondition(lambda self: self.awaiting)
    @rule(data=st.data())
    def give_up_waiting(self, data: st.DataObject) -> None:
        task = self.one(data, list(self.awaiting))
        answer, target = self.awaiting.pop(task)
        self.system.end_wait(task, target, answer)
        self.settle()

    @precondition(lambda self: self.idle)
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:
        self.system.finish(self.one(data, self.idle), ValueError() if fails else None)
        self.settle()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.system.cancel(self.one(data, self.live))
        self.settle()

    @precondition(lambda self: self.live)
    @rule(data=st.data(), rank=st.integers(0, 6))
    def set_priority(self, data: st.DataObject, rank: int) -> None:
        task = self.one(data, self.live)
        self.own[task] = (rank, self.own[task][1])
        self.system.set_priority(task, rank)
        self.settle()

    def settle(self) -> None:
        """Take note of what has been answered."""
        for task, (answer, names) in list(self.wanted.items()):
            if answer.done():
                del self.wanted[task]
                if self.system.failed(answer) is None and task.outcome is None:
                    self.held.setdefault(task, []).append((answer, names))
        for task, (answer, target) in list(self.awaiting.items()):
            if answer.done():
                del self.awaiting[task]
                if self.system.failed(answer) is not None and task.outcome is None:
                    self.system.end_wait(task, target, answer)
        for known in (self.wanted, self.held, self.awaiting):
            for task in [task for task in known if task.outcome is not None]:
                del known[task]  # type: ignore[attr-defined]

    # ------------------------------------------------------------------------------------ what holds

    def situation(self) -> tuple[dict[TaskActor, list[str]], dict[TaskActor, list[str]]]:
        """Who holds and who waits for what, where a task that is awaited holds its own end."""
        table = self.system.locks.table
        holds = {task: [*table.held_by(task), f"end of {task.name}"] for task in self.live}
        waits: dict[TaskActor, list[str]] = {}
        for task in self.live:
            names = [n for request in table.requests_of(task) if request.waits for n in request.names]
            names += [f"end of {other.name}" for other in task.awaits() if other in holds]
            if names:
                waits[task] = list(dict.fromkeys(names))
        return holds, waits

    def a_circle_is_real(self, circle: list[str], victim: str) -> None:
        holds, waits = self.situation()
        found = analyse(holds, waits, CAPACITY)
        self.circles += 1
        names = {task.name for task in found.deadlocked}
        assert set(circle) <= names, (circle, names)
        members = [task for task in self.system.tasks if task.name in circle]
        expected = min(members, key=lambda task: (task.own_rank, -task.number))
        assert victim == expected.name

    @invariant()
    def no_circle_is_left(self) -> None:
        if hasattr(self, "system"):
            found = analyse(*self.situation(), CAPACITY)
            assert not found.deadlocked
            assert not found.stuck_behind

    @invariant()
    def the_effective_urgency_is_the_best_of_all_who_wait_directly_or_not(self) -> None:
        if not hasattr(self, "system"):
            return
        table = self.system.locks.table
        edges: list[tuple[TaskActor, TaskActor]] = []
        for task in self.live:
            edges += [(task, other) for other in task.awaits() if other in self.own]  # type: ignore[misc]
            for request in table.requests_of(task):
                if request.waits:
                    for name in request.names:
                        if LENDING[name]:
                            edges += [(task, holder) for holder in table.holders(name)]
        best = {task: self.own[task] for task in self.live}
        for _ in best:
            for waiter, target in edges:
                if target in best:
                    (rank, due), (other, sooner) = best[target], best[waiter]
                    best[target] = (max(rank, other), min(due, sooner))
        assert {t.name: (t.rank, t.due) for t in self.live} == {t.name: best[t] for t in self.live}

    @invariant()
    def who_has_what_agrees_with_what_the_code_was_told(self) -> None:
        if not hasattr(self, "system"):
            return
        locks = self.system.locks
        locks.table.check()
        for name, resource in locks.resources.items():
            waiting = locks.table.waiting(name)
            assert len(resource.lenders) == (len(waiting) if LENDING[name] else 0)
            resource.lenders.check()
            keys = [locks.table.urgency(task) for task in waiting]
            assert keys == sorted(keys)
        for task in self.live:
            told = [name for _, names in self.held.get(task, ()) for name in names]
            given = [*locks.table.held_by(task)]
            begun = task.worker is not None
            own = list(self.needs.get(task, ())) if begun else []
            late = self.wanted.get(task)
            if (
                late is not None
                and late not in self.held.get(task, [])
                and sorted(given) != sorted(told + own)
            ):
                told += late[1]  # handed over, and only the slot is missing
            if not begun:  # it may hold what it needs, and be on its way to a slot
                assert given in ([], list(self.needs.get(task, ())))
            else:
                assert sorted(given) == sorted(told + own)

    @invariant()
    def who_runs_is_no_more_than_may(self) -> None:
        if hasattr(self, "system"):
            pool = self.system.pool
            assert pool.running <= (pool.limit or 0)
            if pool.running < (pool.limit or 0):
                assert not len(pool.policy)

    def teardown(self) -> None:
        if not hasattr(self, "system"):
            return
        for task in self.system.tasks:
            if task.outcome is None:
                self.system.cancel(task)
        assert not self.live
        assert all(not self.system.holders(name) and not self.system.waiting(name) for name in CAPACITY)
        assert not self.system.locks.waits
        assert self.system.pool.running == len(self.system.pool.policy) == 0
        assert all(task.lenders is None for task in self.system.tasks)


Sharing.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestSharing = Sharing.TestCase

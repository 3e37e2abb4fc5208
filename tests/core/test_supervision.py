"""Supervision: one decision for each end of a child."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsched._core.retrying import growing
from actorsched._core.supervision import (
    RESTARTS,
    Decision,
    Ending,
    Escalate,
    Expected,
    Forget,
    Restart,
    Supervision,
)
from actorsched.options import Backoff, Strategy, Supervise
from actorsched.options import Restart as RestartType

if TYPE_CHECKING:
    from collections.abc import Callable

ENDINGS = get_args(Ending)


def supervision(
    spec: Supervise | None = None, children: str = "abcd", **types: RestartType
) -> Supervision[str]:
    machine = Supervision[str](spec or Supervise())
    for child in children:
        machine.add(child, types.get(child, "transient"))
    return machine


def finish(machine: Supervision[str], decision: Decision[str]) -> None:
    """Carry out a restart to its end."""
    assert isinstance(decision, Restart)
    for child in decision.stop:
        machine.decide(child, "shutdown", 0.0)
    for child in decision.start:
        machine.starting(child)


# -------------------------------------------------------------------------------------------- who comes back


@pytest.mark.parametrize(
    ("restart", "ending", "comes_back"),
    [
        ("permanent", "failed", True),
        ("permanent", "finished", True),
        ("permanent", "stopped", False),
        ("permanent", "killed", False),
        ("permanent", "shutdown", False),
        ("transient", "failed", True),
        ("transient", "finished", False),
        ("transient", "stopped", False),
        ("transient", "killed", False),
        ("transient", "shutdown", False),
        ("temporary", "failed", False),
        ("temporary", "finished", False),
        ("temporary", "stopped", False),
        ("temporary", "killed", False),
        ("temporary", "shutdown", False),
    ],
)
def test_restart_type_and_ending_say_who_comes_back(
    restart: RestartType, ending: Ending, comes_back: bool
) -> None:
    machine = supervision(children="a", a=restart)
    decision = machine.decide("a", ending, 0.0)
    assert isinstance(decision, Restart if comes_back else Forget)
    assert ("a" in machine) is comes_back


# ------------------------------------------------------------------------------------------ who goes with it


def test_one_for_one_restarts_the_child_alone() -> None:
    assert supervision().decide("b", "failed", 0.0) == Restart(stop=(), start=("b",), delay=0.0)


def test_one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() -> None:
    machine = supervision(Supervise("one_for_all"))
    assert machine.decide("b", "failed", 0.0) == Restart(
        stop=("d", "c", "a"), start=("a", "b", "c", "d"), delay=0.0
    )


def test_rest_for_one_takes_those_that_were_started_later() -> None:
    machine = supervision(Supervise("rest_for_one"))
    assert machine.decide("b", "failed", 0.0) == Restart(stop=("d", "c"), start=("b", "c", "d"), delay=0.0)


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_a_child_that_does_not_come_back_takes_nobody_with_it(strategy: Strategy) -> None:
    machine = supervision(Supervise(strategy))
    assert machine.decide("a", "stopped", 0.0) == Forget()
    assert list(machine) == ["b", "c", "d"]
    assert all(machine.running(child) for child in machine)


def test_temporary_siblings_are_stopped_and_not_started_again() -> None:
    machine = supervision(Supervise("one_for_all"), c="temporary")
    decision = machine.decide("a", "failed", 0.0)
    assert decision == Restart(stop=("d", "c", "b"), start=("a", "b", "d"), delay=0.0)
    assert machine.decide("c", "shutdown", 0.0) == Forget()
    assert list(machine) == ["a", "b", "d"]


def test_a_restart_does_not_change_the_start_order() -> None:
    machine = supervision(Supervise("rest_for_one", max_restarts=9))
    finish(machine, machine.decide("a", "failed", 0.0))
    finish(machine, machine.decide("c", "failed", 0.0))
    assert list(machine) == ["a", "b", "c", "d"]


# -------------------------------------------------------------------------------------------- in mid-restart


def test_the_end_of_a_child_that_was_told_to_stop_is_expected() -> None:
    machine = supervision(Supervise("one_for_all"))
    machine.decide("b", "failed", 0.0)
    assert machine.decide("d", "shutdown", 0.0) == Expected()
    assert machine.decide("c", "failed", 0.0) == Expected(), "it failed before the stop reached it"


@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_a_child_that_somebody_stops_for_good_meanwhile_is_forgotten(ending: Ending) -> None:
    machine = supervision(Supervise("one_for_all"))
    machine.decide("b", "failed", 0.0)
    assert machine.decide("d", ending, 0.0) == Forget()
    assert "d" not in machine


def test_a_child_that_is_stopped_while_it_waits_for_its_start_is_forgotten() -> None:
    machine = supervision()
    machine.decide("b", "failed", 0.0)
    assert machine.decide("b", "stopped", 0.0) == Forget()
    assert "b" not in machine


def test_a_failed_start_is_a_failure_like_any_other() -> None:
    machine = supervision(Supervise("one_for_all"))
    decision = machine.decide("b", "failed", 0.0)
    assert isinstance(decision, Restart)
    for child in decision.stop:
        machine.decide(child, "shutdown", 0.0)
    machine.starting("a")
    machine.starting("b")
    assert machine.decide("b", "failed", 1.0) == Restart(stop=("a",), start=("a", "b", "c", "d"), delay=0.0)


def test_an_older_sibling_that_fails_meanwhile_replaces_the_restart() -> None:
    machine = supervision(Supervise("rest_for_one"))
    machine.decide("b", "failed", 0.0)
    machine.decide("d", "shutdown", 0.0)
    assert machine.decide("a", "failed", 0.0) == Restart(stop=("c",), start=("a", "b", "c", "d"), delay=0.0)


def test_a_child_that_is_being_started_is_stopped_when_an_older_sibling_fails() -> None:
    machine = supervision(Supervise("rest_for_one"))
    finish(machine, machine.decide("d", "failed", 0.0))
    assert machine.running("d")
    assert machine.decide("c", "failed", 0.0) == Restart(stop=("d",), start=("c", "d"), delay=0.0)


def test_a_removed_child_is_not_missed() -> None:
    machine = supervision(Supervise("one_for_all"))
    machine.decide("b", "failed", 0.0)
    machine.remove("c")
    machine.remove("b")
    machine.check()
    assert list(machine) == ["a", "d"]


# ----------------------------------------------------------------------------------- too often, and too soon


def test_one_restart_too_many_within_the_period_escalates() -> None:
    machine = supervision(Supervise(max_restarts=2, period=10))
    assert isinstance(machine.decide("a", "failed", 0.0), Restart)
    machine.starting("a")
    assert isinstance(machine.decide("b", "failed", 5.0), Restart)
    assert machine.decide("a", "failed", 10.0) == Escalate(stop=("d", "c", "b"), restarts=2)


def test_restarts_before_the_period_no_longer_count() -> None:
    machine = supervision(Supervise(max_restarts=2, period=10))
    for now in (0.0, 5.0, 10.1, 15.2):
        assert isinstance(machine.decide("a", "failed", now), Restart)
        machine.starting("a")
    assert isinstance(machine.decide("a", "failed", 20.0), Escalate)


def test_without_any_restarts_the_first_failure_escalates() -> None:
    machine = supervision(Supervise(max_restarts=0))
    assert machine.decide("c", "failed", 0.0) == Escalate(stop=("d", "b", "a"), restarts=0)


def test_a_restart_of_many_counts_once() -> None:
    machine = supervision(Supervise("one_for_all", max_restarts=2))
    finish(machine, machine.decide("a", "failed", 0.0))
    assert isinstance(machine.decide("a", "failed", 0.0), Restart)


def test_what_ends_several_children_at_once_counts_once() -> None:
    machine = supervision(Supervise(max_restarts=1, period=5))
    for child in "abc":
        finish(machine, machine.decide(child, "failed", 1.0, event=7))
        machine.check()
    assert isinstance(machine.decide("d", "failed", 1.0, event=8), Escalate)


def test_a_child_that_says_twice_that_the_same_has_ended_it_counts_twice() -> None:
    machine = supervision(Supervise(max_restarts=1, period=5))
    for child in "ab":
        finish(machine, machine.decide(child, "failed", 1.0, event=7))
    assert isinstance(machine.decide("b", "failed", 1.0, event=7), Escalate)


def test_what_has_ended_children_is_forgotten_with_the_period() -> None:
    machine = supervision(Supervise(max_restarts=1, period=5))
    for child in "abc":
        finish(machine, machine.decide(child, "failed", 1.0, event=7))
    finish(machine, machine.decide("d", "failed", 6.5, event=7))
    machine.check()
    assert isinstance(machine.decide("a", "failed", 6.5), Escalate)


def test_children_that_only_go_do_not_count() -> None:
    machine = supervision(Supervise(max_restarts=0))
    assert machine.decide("a", "stopped", 0.0) == Forget()


def test_after_an_escalation_every_end_is_only_noted() -> None:
    machine = supervision(Supervise(max_restarts=0))
    machine.decide("a", "failed", 0.0)
    assert [machine.decide(child, "failed", 0.0) for child in "dcb"] == [Forget()] * 3
    assert len(machine) == 0


def test_the_back_off_grows_with_the_restarts_in_the_period() -> None:
    machine = supervision(Supervise(max_restarts=9, period=60, backoff=Backoff("1s", factor=3, max="5s")))
    delays: list[float] = []
    for now in (0.0, 1.0, 2.0, 200.0):
        decision = machine.decide("a", "failed", now)
        assert isinstance(decision, Restart)
        delays.append(decision.delay)
        machine.starting("a")
    assert delays == [1.0, 3.0, 5.0, 1.0]


def test_a_long_back_off_does_not_hide_a_child_that_never_starts() -> None:
    machine = supervision(Supervise(max_restarts=3, period=5, backoff=Backoff("10s", factor=1)))
    now, restarts = 0.0, 0
    while isinstance(decision := machine.decide("a", "failed", now), Restart):
        now += decision.delay
        machine.starting("a")
        restarts += 1
        assert restarts <= 3
    assert isinstance(decision, Escalate)


# ----------------------------------------------------------------------------------------- closing, mistakes


def test_closing_stops_in_reverse_start_order_and_restarts_nobody() -> None:
    machine = supervision(Supervise("one_for_all"))
    machine.decide("b", "failed", 0.0)
    assert machine.close() == ("d", "c", "b", "a")
    assert machine.decide("a", "failed", 0.0) == Forget()
    assert machine.close() == ("d", "c", "b")


def mistakes(machine: Supervision[str]) -> list[tuple[Callable[[], object], str]]:
    """Every mistake that there is to make, and what is to be said about it."""
    always, bored = cast("RestartType", "always"), cast("Ending", "bored")
    return [
        (lambda: machine.add("a", "transient"), "'a' cannot be added: it is a child already"),
        (
            lambda: machine.add("x", always),
            "'x' cannot be added with restart='always': choose from permanent",
        ),
        (lambda: machine.remove("x"), "'x' is not a child"),
        (lambda: machine.starting("x"), "'x' is not a child"),
        (lambda: machine.starting("a"), "'a' cannot be started: it is not down"),
        (lambda: machine.running("x"), "'x' is not a child"),
        (lambda: machine.decide("x", "failed", 0.0), "'x' is not a child"),
        (lambda: machine.decide("a", bored, 0.0), "'a' cannot end with 'bored': choose from failed"),
    ]


def test_a_mistake_raises_and_changes_nothing() -> None:
    machine = supervision()
    machine.decide("b", "failed", 0.0)
    before = repr(machine), list(machine)
    for mistake, message in mistakes(machine):
        with pytest.raises(ValueError, match=f"^{message}"):
            mistake()
        assert (repr(machine), list(machine)) == before
        machine.check()


def test_a_closing_supervisor_takes_no_children() -> None:
    machine = supervision()
    machine.close()
    with pytest.raises(ValueError, match="'x' cannot be added: its supervisor is closing"):
        machine.add("x", "transient")
    assert "x" not in machine


def test_its_repr_tells_what_it_is_about() -> None:
    machine = supervision(Supervise("one_for_all"))
    machine.decide("b", "failed", 0.0)
    assert repr(machine) == "<Supervision one_for_all, 4 children, 3 stopping, 1 down, 1 restarts counted>"


class Counting(int):
    """A child that counts how often children are compared and hashed."""

    touched = 0

    def __hash__(self) -> int:
        Counting.touched += 1
        return int.__hash__(self)

    def __eq__(self, other: object) -> bool:
        Counting.touched += 1
        return int.__eq__(self, other)


def test_among_ten_thousand_children_one_more_or_less_touches_only_a_few() -> None:
    machine = Supervision[Counting](Supervise(max_restarts=100_000))
    children = [Counting(n) for n in range(10_000)]
    for child in children:
        machine.add(child, "transient")
    Counting.touched = 0
    for child in children[::100]:
        machine.decide(child, "failed", 0.0)
        machine.starting(child)
        machine.remove(child)
        machine.add(child, "permanent")
    assert Counting.touched < 100 * 30


# ------------------------------------------------------------------------------------- against a naive model


class SupervisionAgainstModel(RuleBasedStateMachine):
    """The machine, beside a list of children with a word for the state of each."""

    @initialize(
        strategy=st.sampled_from(get_args(Strategy)),
        max_restarts=st.integers(0, 4),
        backoff=st.sampled_from([Backoff(), Backoff(1, factor=2, max=4), Backoff(9, factor=1)]),
    )
    def begin(self, strategy: Strategy, max_restarts: int, backoff: Backoff) -> None:
        self.spec = Supervise(strategy, max_restarts=max_restarts, period=5, backoff=backoff)
        self.machine = Supervision[int](self.spec)
        self.order: list[int] = []
        self.types: dict[int, RestartType] = {}
        self.states: dict[int, str] = {}
        self.restarts: list[tuple[float, int | None]] = []  # until when each counts, and whose it is
        self.closed = False
        self.now = 0.0
        self.count = 0

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: not self.closed)
    @rule(restart=st.sampled_from(list(RESTARTS)))
    def add(self, restart: RestartType) -> None:
        self.count += 1
        self.machine.add(self.count, restart)
        self.order.append(self.count)
        self.types[self.count] = restart
        self.states[self.count] = "running"

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        child = data.draw(st.sampled_from(self.order))
        self.machine.remove(child)
        self._forget(child)

    @precondition(lambda self: "down" in self.states.values())
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        child = data.draw(st.sampled_from([c for c in self.order if self.states[c] == "down"]))
        self.machine.starting(child)
        self.states[child] = "running"

    @precondition(lambda self: self.order)
    @rule(data=st.data(), ending=st.sampled_from(ENDINGS))
    def end(self, data: st.DataObject, ending: Ending) -> None:
        child = data.draw(st.sampled_from(self.order))
        expected = self._expected(child, ending)
        assert self.machine.decide(child, ending, self.now) == expected

    @precondition(lambda self: self.count > 5)
    @rule()
    def close(self) -> None:
        assert self.machine.close() == tuple(reversed(self.order))
        self._close()

    def _expected(self, child: int, ending: Ending) -> Decision[int]:
        temporary = self.types[child] == "temporary"
        if self.states[child] == "stopping" and not temporary and ending not in ("stopped", "killed"):
            self.states[child] = "down"
            return Expected()
        if self.closed or self.states[child] == "stopping" or ending not in RESTARTS[self.types[child]]:
            self._forget(child)
            return Forget()
        self.restarts = [(until, whose) for until, whose in self.restarts if until >= self.now]
        if len(self.restarts) >= self.spec.max_restarts:
            self._forget(child)
            self._close()
            return Escalate(stop=tuple(reversed(self.order)), restarts=len(self.restarts))
        return self._restart(child, child if self.spec.strategy == "one_for_one" else None)

    def _restart(self, child: int, who: int | None) -> Restart[int]:
        own = [until for until, whose in self.restarts if whose == who]
        delay = growing(
            self.spec.backoff.delay, self.spec.backoff.factor, self.spec.backoff.max, len(own) + 1
        )
        self.restarts = [(until + delay if whose == who else until, whose) for until, whose in self.restarts]
        self.restarts.append((self.now + delay + self.spec.period, who))
        affected = {
            "one_for_one": [child],
            "one_for_all": self.order,
            "rest_for_one": self.order[self.order.index(child) :],
        }[self.spec.strategy]
        self.states[child] = "down"
        stop = [other for other in affected if self.states[other] != "down"]
        for other in stop:
            self.states[other] = "stopping"
        start = [other for other in affected if self.types[other] != "temporary"]
        return Restart(stop=tuple(reversed(stop)), start=tuple(start), delay=delay)

    def _close(self) -> None:
        self.closed = True
        self.states = dict.fromkeys(self.states, "running")

    def _forget(self, child: int) -> None:
        self.order.remove(child)
        del self.types[child], self.states[child]

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "machine"):
            self.machine.check()
            assert list(self.machine) == self.order
            assert len(self.machine) == len(self.order)
            running = {child for child, state in self.states.items() if state == "running"}
            assert {child for child in self.order if self.machine.running(child)} == running


TestSupervisionAgainstModel = SupervisionAgainstModel.TestCase

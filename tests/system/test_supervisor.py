"""The Supervisor actor, with a recorder in place of the kernel: what it sends to whom, and when."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsched._core.behaviour import Behaviour, Envelope
from actorsched._core.supervision import Supervision
from actorsched._core.timers import TimerEntry, Timers
from actorsched._system.supervisor import PATIENCE, Supervisor
from actorsched.messages import (
    Close,
    Closed,
    Discard,
    Escalated,
    Exited,
    ExitKind,
    ExitReason,
    Kill,
    Start,
    Stop,
    Up,
)
from actorsched.options import Backoff, Restart, Strategy, Supervise

if TYPE_CHECKING:
    from actorsched._core.behaviour import Reply


class Child(Behaviour):
    """Somebody who is supervised: only a name."""

    name: str

    def __repr__(self) -> str:
        return self.name


class Owner(Behaviour):
    """Whom the supervisor answers to."""


class Recorder:
    """An outbox that remembers, with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[tuple[Behaviour, object]] = []
        self.reports: list[str] = []
        self.timers = Timers()

    def send(self, envelope: Envelope, /) -> None:
        to, message = envelope
        self.sent.append((to, message))

    def later(self, delay: float, to: Behaviour, message: object, /) -> TimerEntry:
        return self.timers.add(self.now + delay, to.receive, message, self)

    def reply(self, to: Reply, value: object, /) -> None:
        raise AssertionError("a supervisor answers nobody")

    def random(self) -> float:
        raise AssertionError("a supervisor leaves nothing to chance")

    def report(self, level: int, text: str, error: BaseException | None = None, /) -> None:
        assert level == logging.ERROR
        self.reports.append(f"{text}: {error}")


def said(to: Behaviour, message: object) -> str:
    match message:
        case Stop(restart=True):
            return f"pause {to}"
        case Stop():
            return f"stop {to}"
        case Kill():
            return f"kill {to}"
        case Start():
            return f"start {to}"
        case Discard():
            return f"discard {to}"
        case Closed():
            return "closed"
        case Escalated():
            return f"escalated {message.reason.error}"
        case _:
            raise AssertionError(message)


class World:
    """A supervisor with children that were adopted in the order of their names."""

    def __init__(self, spec: Supervise | None = None, children: str = "abcd", **types: Restart) -> None:
        self.out = Recorder()
        self.supervisor = Supervisor(owner=Owner(), children=Supervision(spec or Supervise()))
        self.children = {name: Child(name) for name in children}
        for name, child in self.children.items():
            self.supervisor.adopt(child, types.get(name, "transient"), self.out)

    def __getitem__(self, name: str) -> Child:
        return self.children[name]

    def tell(self, message: object) -> None:
        self.supervisor.receive(message, self.out)
        self.supervisor.check()

    def heard(self) -> str:
        """What was sent since this was asked last."""
        sent, self.out.sent = self.out.sent, []
        return ", ".join(said(*each) for each in sent)

    def ends(self, name: str, kind: ExitKind, *, gone: bool = False, known: bool = False) -> str:
        error = OSError(f"{name} failed") if kind == "failed" else None
        self.tell(Exited(self[name], ExitReason(kind, error), gone, known))
        return self.heard()

    def fails(self, name: str) -> str:
        return self.ends(name, "failed")

    def pauses(self, name: str) -> str:
        return self.ends(name, "shutdown")

    def leaves(self, name: str) -> str:
        return self.ends(name, "shutdown", gone=True)

    def stops(self, name: str) -> str:
        return self.ends(name, "stopped", gone=True)

    def is_up(self, name: str) -> str:
        self.tell(Up(self[name]))
        return self.heard()

    def closes(self, patience: float | None = None, *, kill: bool = False) -> str:
        self.tell(Close(patience, kill))
        return self.heard()

    def passes(self, seconds: float) -> str:
        self.out.now += seconds
        while (entry := self.out.timers.due(self.out.now)) is not None:
            entry.action(*entry.args)
        return self.heard()


# --------------------------------------------------------------------------------------------------- restarts


def test_one_for_one_starts_the_failed_child_alone() -> None:
    world = World()
    assert world.fails("b") == "start b"
    assert world.is_up("b") == ""


def test_one_for_all_stops_one_after_the_other_then_starts_one_after_the_other() -> None:
    world = World(Supervise("one_for_all"))
    assert world.fails("b") == "pause d"
    assert world.pauses("d") == "pause c"
    assert world.pauses("c") == "pause a"
    assert world.pauses("a") == "start a"
    assert [world.is_up(name) for name in "abcd"] == ["start b", "start c", "start d", ""]


def test_rest_for_one_leaves_the_older_ones_alone() -> None:
    world = World(Supervise("rest_for_one"))
    assert world.fails("c") == "pause d"
    assert world.pauses("d") == "start c"
    assert world.is_up("c") == "start d"


@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_a_failed_child_comes_back(restart: Restart) -> None:
    assert World(a=restart).fails("a") == "start a"


def test_a_temporary_child_does_not_come_back() -> None:
    world = World(a="temporary")
    assert world.fails("a") == "discard a"
    assert world.out.reports == ["a failed and has ended: a failed"]


def test_a_child_that_was_stopped_is_forgotten() -> None:
    world = World(Supervise("one_for_all"), a="permanent")
    assert world.stops("a") == ""
    assert world.fails("b") == "pause d"
    assert list(map(repr, world.supervisor.children)) == ["b", "c", "d"]


def test_every_failure_is_reported_once() -> None:
    world = World()
    world.fails("a")
    assert world.out.reports == ["a failed and is restarted: a failed"]


def test_a_failure_that_somebody_knows_of_is_not_reported() -> None:
    world = World()
    assert world.ends("a", "failed", gone=True, known=True) == ""
    assert world.out.reports == []


def test_failures_beside_a_restart_under_way_are_reported() -> None:
    world = World(Supervise("one_for_all"))
    world.fails("b")
    assert world.fails("d") == "pause c"
    assert world.out.reports[1] == "d failed and is restarted with its siblings: d failed"


# --------------------------------------------------------------------------------------------- in mid-restart


def test_a_child_that_goes_for_good_while_it_starts_holds_nobody_up() -> None:
    world = World(Supervise("one_for_all"), children="abc")
    for name in "bca":
        world.fails(name) if name == "b" else world.pauses(name)
    assert world.stops("a") == "start b"
    assert world.is_up("b") == "start c"


def test_a_child_that_goes_for_good_while_it_is_stopped_holds_nobody_up() -> None:
    world = World(Supervise("one_for_all"), children="abc")
    world.fails("a")
    assert world.stops("c") == "pause b"
    assert world.pauses("b") == "start a"
    assert world.is_up("a") == "start b"
    assert world.is_up("b") == ""


def test_a_child_that_goes_for_good_before_its_start_is_left_out() -> None:
    world = World(Supervise("one_for_all"), children="ab")
    world.fails("b")
    assert world.pauses("a") == "start a"
    assert world.stops("b") == ""
    assert world.is_up("a") == ""
    assert not world.supervisor.plans


def test_a_child_that_fails_its_start_again_is_one_more_failure() -> None:
    world = World(Supervise(max_restarts=2))
    assert world.fails("a") == "start a"
    assert world.fails("a") == "start a"
    assert world.fails("a") == "discard a, stop d"


def test_an_older_sibling_that_fails_meanwhile_takes_the_restart_over() -> None:
    world = World(Supervise("rest_for_one"))
    assert world.fails("b") == "pause d"
    assert world.fails("a") == "pause d"
    assert world.pauses("d") == "pause c"
    assert world.pauses("c") == "start a"
    assert [world.is_up(name) for name in "abcd"] == ["start b", "start c", "start d", ""]
    assert not world.supervisor.plans


def test_one_for_one_restarts_do_not_wait_for_each_other() -> None:
    world = World()
    assert world.fails("a") == "start a"
    assert world.fails("c") == "start c"
    assert world.is_up("c") == ""
    assert world.is_up("a") == ""
    assert not world.supervisor.plans


def test_a_sibling_that_does_not_stop_in_time_is_killed_and_still_restarted() -> None:
    world = World(Supervise("one_for_all"), children="ab")
    assert world.fails("a") == "pause b"
    assert world.passes(PATIENCE - 0.1) == ""
    assert world.passes(0.1) == "kill b"
    assert world.out.sent == []
    assert world.pauses("b") == "start a"


def test_the_deadline_of_one_stop_is_not_that_of_the_next() -> None:
    world = World(Supervise("one_for_all", max_restarts=9), children="ab")
    world.fails("a")
    world.pauses("b")
    world.is_up("a")
    world.is_up("b")
    world.passes(PATIENCE - 1)
    assert world.fails("a") == "pause b"
    assert world.passes(1) == ""
    assert world.passes(PATIENCE - 1) == "kill b"


# --------------------------------------------------------------------------------------------------- back-off


def test_a_restart_waits_for_its_back_off() -> None:
    world = World(Supervise(backoff="2s"))
    assert world.fails("a") == ""
    assert world.passes(1.9) == ""
    assert world.passes(0.1) == "start a"


def test_the_back_off_runs_while_siblings_stop() -> None:
    world = World(Supervise("one_for_all", backoff="2s"), children="ab")
    assert world.fails("a") == "pause b"
    assert world.passes(2) == ""
    assert world.pauses("b") == "start a"


def test_the_back_off_grows_from_one_failure_to_the_next() -> None:
    world = World(Supervise(max_restarts=9, period="60s", backoff=Backoff("1s", factor=3, max="5s")))
    waited: list[float] = []
    for _ in range(4):
        world.fails("a")
        before = world.out.now
        while not world.passes(0.5):
            pass
        waited.append(world.out.now - before)
        world.is_up("a")
    assert waited == [1, 3, 5, 5]


def test_a_child_that_goes_for_good_in_its_back_off_leaves_no_timer() -> None:
    world = World(Supervise(backoff="2s"))
    world.fails("a")
    assert world.stops("a") == ""
    assert len(world.out.timers) == 0
    assert not world.supervisor.plans


# ------------------------------------------------------------------------------------------------- escalation


def test_one_failure_too_many_stops_all_and_fails_the_supervisor() -> None:
    world = World(Supervise(max_restarts=1))
    world.fails("a")
    world.is_up("a")
    assert world.fails("b") == "discard b, stop d"
    assert world.leaves("d") == "stop c"
    assert world.leaves("c") == "stop a"
    assert world.leaves("a") == "escalated b failed"


def test_the_error_that_escalates_says_how_often_it_was_tried() -> None:
    world = World(Supervise(max_restarts=0), children="a")
    error = OSError("no disk")
    world.tell(Exited(world["a"], ExitReason("failed", error)))
    assert error.__notes__ == ["its supervisor gave up after 0 restarts within the period that it bears"]
    assert world.out.reports == [], "it goes to the owner"


def test_restarts_before_the_period_are_forgiven() -> None:
    world = World(Supervise(max_restarts=1, period="10s"))
    for _ in range(5):
        assert world.fails("a") == "start a"
        world.is_up("a")
        world.passes(10.1)


def test_whoever_does_not_stop_at_an_escalation_is_killed() -> None:
    world = World(Supervise(max_restarts=0), children="abc")
    assert world.fails("c") == "discard c, stop b"
    assert world.passes(PATIENCE) == "kill b, kill a"
    assert world.ends("a", "killed", gone=True) == ""
    assert world.ends("b", "killed", gone=True) == "escalated c failed"


def test_an_escalation_is_told_once_even_if_the_owner_closes_it_meanwhile() -> None:
    world = World(Supervise(max_restarts=0), children="ab")
    assert world.fails("b") == "discard b, stop a"
    assert world.closes(1) == ""
    assert world.leaves("a") == "escalated b failed"
    assert world.closes() == ""
    assert world.closes(kill=True) == ""
    assert len(world.out.timers) == 0


# ---------------------------------------------------------------------------------------------------- closing


def test_closing_stops_the_last_started_first_and_one_at_a_time() -> None:
    world = World()
    assert world.closes() == "stop d"
    assert world.leaves("d") == "stop c"
    assert world.leaves("c") == "stop b"
    assert world.leaves("b") == "stop a"
    assert world.leaves("a") == "closed"


def test_closing_without_children_is_done_at_once() -> None:
    assert World(children="").closes() == "closed"


def test_after_the_deadline_of_a_close_whoever_is_left_is_killed() -> None:
    world = World()
    assert world.closes(3) == "stop d"
    assert world.leaves("d") == "stop c"
    assert world.passes(3) == "kill c, kill b, kill a"
    assert [world.ends(name, "killed", gone=True) for name in "bca"] == ["", "", "closed"]


def test_a_close_in_time_leaves_no_timer() -> None:
    world = World(children="a")
    world.closes(3)
    world.leaves("a")
    assert len(world.out.timers) == 0


def test_closing_by_force_kills_all_at_once() -> None:
    world = World(children="ab")
    assert world.closes(kill=True) == "kill b, kill a"
    assert world.ends("b", "killed", gone=True) == ""
    assert world.ends("a", "killed", gone=True) == "closed"


def test_closing_many_looks_at_each_of_them_once() -> None:
    compared = 0

    class Counting(Child):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return self is other

        __hash__ = Child.__hash__

    world = World(children="")
    children = [Counting(str(number)) for number in range(1_000)]
    for child in children:
        world.supervisor.adopt(child, "transient", world.out)
    world.closes()
    for child in reversed(children):  # unchecked: a check compares the last of them
        world.supervisor.receive(Exited(child, ExitReason("shutdown"), gone=True), world.out)
    assert world.heard().endswith("stop 0, closed")
    assert compared == 0
    world.supervisor.check()


def test_force_may_come_after_a_close_in_order() -> None:
    world = World(children="abc")
    assert world.closes() == "stop c"
    assert world.closes(kill=True) == "kill c, kill b, kill a"


def test_closing_calls_restarts_off() -> None:
    world = World(Supervise("one_for_all", backoff="2s"), children="ab")
    world.fails("a")
    assert world.closes() == "stop b"
    assert world.leaves("b") == "stop a"
    assert world.stops("a") == "closed"
    assert world.passes(100) == ""


def test_a_child_that_fails_while_all_are_stopped_is_discarded_and_reported() -> None:
    world = World(children="ab")
    assert world.closes() == "stop b"
    assert world.fails("a") == "discard a"
    assert world.leaves("b") == "closed"
    assert world.out.reports == ["a failed and has ended: a failed"]


def test_a_child_that_comes_while_all_are_stopped_is_killed_and_waited_for() -> None:
    world = World(children="ab")
    world.closes()
    world.children["c"] = Child("c")
    world.supervisor.adopt(world["c"], "permanent", world.out)
    assert world.heard() == "kill c"
    assert world.leaves("b") == ""
    assert world.leaves("c") == "stop a"
    assert world.leaves("a") == "closed"


def test_a_child_that_comes_when_all_is_over_is_killed() -> None:
    world = World(children="")
    world.closes()
    world.children["c"] = Child("c")
    world.supervisor.adopt(world["c"], "permanent", world.out)
    assert world.heard() == "kill c"
    assert world.leaves("c") == ""


# ------------------------------------------------------------------------------- children that leave at once


def test_a_child_that_leaves_when_nothing_is_under_way_is_forgotten_at_once() -> None:
    world = World(children="ab")
    assert world.supervisor.left(world["b"])
    assert world.heard() == ""
    assert world.closes() == "stop a"


def test_a_child_does_not_leave_unheard_while_others_are_restarted_or_all_are_stopped() -> None:
    world = World(Supervise("one_for_all"), children="ab")
    world.fails("a")
    assert not world.supervisor.left(world["b"])
    assert world.stops("b") == "start a"
    assert world.closes() == "stop a"
    assert not world.supervisor.left(world["a"])
    assert world.stops("a") == "closed"


# ---------------------------------------------------------------------------------- simulated children

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")


class Life:
    """A child as it would be, stepped by the machine."""

    def __init__(self, child: Child, restart: Restart) -> None:
        self.child = child
        self.restart = restart
        self.state = "running"  # starting, running, pausing, stopping, killed, down, gone

    def __repr__(self) -> str:
        return f"{self.child} {self.state}"

    def takes(self, message: object) -> ExitReason | None:
        """What the cell of an actor does with a message; answers with how it ends, if it does at once."""
        match message:
            case Start():
                assert self.state in ("down", "gone"), f"{self} was started"
                if self.state == "down":
                    self.state = "starting"
            case Discard():
                assert self.state == "down", f"{self} was discarded"
                self.state = "gone"
            case Stop(restart=True):
                if self.state in ("starting", "running"):
                    self.state = "pausing"
            case Stop():
                if self.state == "down":
                    self.state = "gone"
                    return message.reason
                if self.state != "gone":
                    self.state = "stopping"
            case Kill(restart=True):
                assert self.state != "down"
                if self.state == "stopping":
                    self.state = "killed"
                elif self.state not in ("killed", "gone"):
                    self.state = "pausing"
            case Kill():
                if self.state == "down":
                    self.state = "gone"
                    return message.reason
                if self.state != "gone":
                    self.state = "killed"
            case _:
                raise AssertionError(message)
        return None


class SupervisorMachine(RuleBasedStateMachine):
    """A supervisor among children that fail, hang, come up and go whenever they like."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: str | None = None  # what the owner was told
        self.lives: dict[Child, Life] = {}
        self.closing = False

    @initialize(
        strategy=st.sampled_from(STRATEGIES),
        most=st.integers(0, 4),
        backoff=st.sampled_from([0, 1]),
        types=st.lists(st.sampled_from(["permanent", "transient", "temporary"]), max_size=4),
    )
    def begin(self, strategy: Strategy, most: int, backoff: int, types: list[Restart]) -> None:
        self.world = World(Supervise(strategy, max_restarts=most, period="10s", backoff=backoff), "")
        for restart in types:
            self.adopt(restart)

    # ------------------------------------------------------------------------------------- the world

    def deliver(self) -> None:
        """Hand everything over that was sent, until nothing is in transit."""
        out = self.world.out
        while out.sent:
            to, message = out.sent.pop(0)
            if not isinstance(to, Child):
                assert self.ended is None, "the owner was told twice"
                self.ended = said(to, message)
                assert all(life.state == "gone" for life in self.lives.values())
                continue
            reason = self.lives[to].takes(message)
            if reason is not None:
                self.world.supervisor.receive(Exited(to, reason, gone=True), out)
                self.world.supervisor.check()

    def tell(self, message: object) -> None:
        self.world.tell(message)
        self.deliver()

    def having(self, *states: str) -> list[Life]:
        return [life for life in self.lives.values() if life.state in states]

    def pick(self, data: st.DataObject, *states: str) -> Life:
        return data.draw(st.sampled_from(self.having(*states)))

    def ends(self, life: Life, kind: ExitKind, state: str) -> None:
        life.state = state
        error = OSError() if kind == "failed" else None
        self.tell(Exited(life.child, ExitReason(kind, error), gone=state == "gone"))

    def comes_to_its_end(self, life: Life) -> None:
        """One that was told to go, goes."""
        if life.state == "pausing":
            self.ends(life, "shutdown", "down")
        else:
            self.ends(life, "stopped" if life.state == "stopping" else "killed", "gone")

    # ----------------------------------------------------------------------------------------- events

    @precondition(lambda self: not self.closing and len(self.lives) < 7)
    @rule(restart=st.sampled_from(["permanent", "transient", "temporary"]))
    def adopt(self, restart: Restart) -> None:
        child = Child(f"c{len(self.lives)}")
        self.lives[child] = Life(child, restart)
        self.world.supervisor.adopt(child, restart, self.world.out)
        self.deliver()

    @precondition(lambda self: self.having("running", "starting", "pausing"))
    @rule(data=st.data())
    def one_fails(self, data: st.DataObject) -> None:
        self.ends(self.pick(data, "running", "starting", "pausing"), "failed", "down")

    @precondition(lambda self: self.having("starting"))
    @rule(data=st.data())
    def one_is_up(self, data: st.DataObject) -> None:
        life = self.pick(data, "starting")
        life.state = "running"
        self.tell(Up(life.child))

    @precondition(lambda self: self.having("pausing", "stopping", "killed"))
    @rule(data=st.data())
    def one_ends_as_told(self, data: st.DataObject) -> None:
        self.comes_to_its_end(self.pick(data, "pausing", "stopping", "killed"))

    @precondition(lambda self: self.having("running", "starting", "pausing", "down"))
    @rule(data=st.data())
    def somebody_stops_one(self, data: st.DataObject) -> None:
        life = self.pick(data, "running", "starting", "pausing", "down")
        if life.state == "down":
            self.ends(life, "stopped", "gone")
        else:
            life.state = "stopping"

    @precondition(lambda self: self.having("running"))
    @rule(data=st.data())
    def one_leaves_at_once(self, data: st.DataObject) -> None:
        life = self.pick(data, "running")
        if self.world.supervisor.left(life.child):
            assert not self.world.out.sent
            life.state = "gone"
        else:
            self.ends(life, "stopped", "gone")

    @precondition(lambda self: self.having("starting", "running"))
    @rule(data=st.data())
    def one_fails_and_was_stopped_meanwhile(self, data: st.DataObject) -> None:
        self.ends(self.pick(data, "starting", "running"), "failed", "gone")

    @rule(seconds=st.sampled_from([1, 4, 11]))
    def time_passes(self, seconds: int) -> None:
        out = self.world.out
        out.now += seconds
        while (entry := out.timers.due(out.now)) is not None:
            entry.action(*entry.args)
            self.deliver()

    @rule(patience=st.sampled_from([None, 3]), kill=st.booleans())
    def the_owner_closes_it(self, patience: float | None, kill: bool) -> None:
        self.closing = True
        self.tell(Close(patience, kill))

    # ---------------------------------------------------------------------------------- what must hold

    @invariant()
    def whoever_is_known_is_not_gone_for_long(self) -> None:
        supervisor = self.world.supervisor if hasattr(self, "world") else None
        if supervisor is None:
            return
        supervisor.check()
        for life in self.having("gone"):
            assert life.child not in supervisor.children

    def teardown(self) -> None:
        """Whatever has happened: when all do as told, all who should be up are up, or all are gone."""
        if not hasattr(self, "world"):
            return
        self.closing = self.closing or self.world.supervisor.closing is not None
        self._everybody_does_as_told()
        if self.ended is None and not self.closing:
            assert all(life.state in ("running", "gone") for life in self.lives.values()), self.lives
            assert not self.world.supervisor.plans
            assert len(self.world.out.timers) == 0
            self.tell(Close())
            self._everybody_does_as_told()
        assert self.ended is not None
        assert all(life.state == "gone" for life in self.lives.values())
        assert len(self.world.out.timers) == 0

    def _everybody_does_as_told(self) -> None:
        for _ in range(200):
            for life in self.having("starting"):
                life.state = "running"
                self.tell(Up(life.child))
            moving = self.having("pausing", "stopping", "killed")
            for life in moving:
                if life.state in ("pausing", "stopping", "killed"):
                    self.comes_to_its_end(life)
            if not moving and not self.having("starting"):
                next_when = self.world.out.timers.next_when()
                if next_when is None:
                    return
                self.time_passes(cast("Any", next_when - self.world.out.now))
        raise AssertionError("it never comes to rest")


TestSupervisorMachine = SupervisorMachine.TestCase

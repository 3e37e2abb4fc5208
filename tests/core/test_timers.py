"""Timers: what is due when, in which order, and what cancelling costs."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorsched._core.timers import TimerEntry, Timers


def nothing() -> None:
    """What a timer does here."""


def fired(timers: Timers, now: float) -> list[object]:
    names: list[object] = []
    while (entry := timers.due(now)) is not None:
        names.extend(entry.args)
    return names


def test_what_is_due_comes_in_the_order_of_its_time() -> None:
    timers = Timers()
    for when, name in [(3.0, "c"), (1.0, "a"), (2.0, "b"), (4.0, "d")]:
        timers.add(when, nothing, name)
    assert fired(timers, 3.0) == ["a", "b", "c"]
    assert timers.next_when() == 4.0


def test_equal_times_keep_the_order_in_which_they_were_set() -> None:
    timers = Timers()
    for name in "abc":
        timers.add(1.0, nothing, name)
    assert fired(timers, 1.0) == ["a", "b", "c"]


def test_nothing_is_due_before_its_time() -> None:
    timers = Timers()
    timers.add(1.0, nothing)
    assert timers.due(0.999) is None
    assert len(timers) == 1


def test_no_timer_no_next_time() -> None:
    assert Timers().next_when() is None
    assert Timers().due(1e9) is None


def test_a_cancelled_timer_never_comes() -> None:
    timers = Timers()
    first, _ = timers.add(1.0, nothing, "a"), timers.add(2.0, nothing, "b")
    first.cancel()
    assert timers.next_when() == 2.0
    assert fired(timers, 5.0) == ["b"]
    assert len(timers) == 0


def test_cancelling_twice_or_too_late_is_harmless() -> None:
    timers = Timers()
    first, second = timers.add(1.0, nothing, "a"), timers.add(1.0, nothing, "b")
    first.cancel()
    first.cancel()
    assert fired(timers, 1.0) == ["b"]
    second.cancel()
    assert len(timers) == 0
    assert not first.active
    assert not second.active


def test_a_cancelled_timer_lets_go_of_what_it_would_have_called() -> None:
    timers = Timers()
    entry = timers.add(1.0, nothing, "a")
    entry.cancel()
    assert entry.args == ()
    assert entry.action is not nothing


def test_a_timer_may_set_another_for_the_same_time() -> None:
    timers = Timers()
    timers.add(1.0, nothing, "a")
    assert timers.due(1.0) is not None
    timers.add(1.0, nothing, "b")
    assert fired(timers, 1.0) == ["b"]


def test_cancelled_timers_do_not_pile_up() -> None:
    timers = Timers()
    kept = timers.add(1e9, nothing)
    for number in range(10_000):
        timers.add(1e6 + number, nothing).cancel()
    assert len(timers._entries) < 200
    assert len(timers) == 1
    assert kept.active


def test_their_reprs_tell_what_they_are_about() -> None:
    timers = Timers()
    entry = timers.add(1.5, nothing)
    assert repr(timers) == "<1 timers, next at 1.5>"
    assert repr(entry) == "<timer at 1.500000>"
    entry.cancel()
    assert repr(entry) == "<timer at 1.500000, over>"


class TimersMachine(RuleBasedStateMachine):
    """Timers beside a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.model: list[tuple[float, int, TimerEntry]] = []
        self.sequence = 0

    @rule(when=st.integers(0, 20))
    def set_one(self, when: int) -> None:
        self.sequence += 1
        self.model.append((when, self.sequence, self.timers.add(when, nothing, self.sequence)))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cancel_one(self, data: st.DataObject) -> None:
        victim = self.model.pop(data.draw(st.integers(0, len(self.model) - 1)))
        victim[2].cancel()

    @rule(many=st.integers(50, 150))
    def set_and_cancel_many(self, many: int) -> None:
        for entry in [self.timers.add(10.0, nothing) for _ in range(many)]:
            entry.cancel()

    @rule(now=st.integers(0, 20))
    def time_comes(self, now: int) -> None:
        expected = [
            number for when, number, _ in sorted(self.model, key=lambda each: each[:2]) if when <= now
        ]
        assert fired(self.timers, now) == expected
        self.model = [each for each in self.model if each[0] > now]

    @invariant()
    def the_next_is_the_earliest(self) -> None:
        assert self.timers.next_when() == min((each[0] for each in self.model), default=None)
        assert len(self.timers) == len(self.model)
        assert all(entry.active for _, _, entry in self.model)


TestTimersMachine = TimersMachine.TestCase

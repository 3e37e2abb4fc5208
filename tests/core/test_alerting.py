"""An alarm fires above one threshold, and is over below another; against a slow, obvious model."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actorsched._core.alerting import AlarmState, Hysteresis

ABOVE, BELOW, AT_LEAST = 1.0, 0.8, 3


class Model(RuleBasedStateMachine):
    """Keeps all that was judged, and finds the present state anew from the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.alarm = Hysteresis(ABOVE, BELOW, AT_LEAST)
        self.history: list[tuple[float | None, int]] = []
        self.news: list[AlarmState] = []

    @rule(
        value=st.one_of(st.none(), st.sampled_from([0.0, 0.79, 0.8, 0.9, 1.0, 1.01, 5.0])),
        samples=st.integers(0, 5),
    )
    def judge(self, value: float | None, samples: int) -> None:
        self.history.append((value, samples))
        before = self.alarm.firing
        news = self.alarm.judge(value, samples)
        assert (news is None) == (before == self.alarm.firing)
        if news is not None:
            self.news.append(news)

    @invariant()
    def fires_when_the_latest_clear_word_was_too_much(self) -> None:
        clear = [
            value is not None and value > ABOVE
            for value, samples in self.history
            if value is None or value <= BELOW or (value > ABOVE and samples >= AT_LEAST)
        ]
        assert self.alarm.firing == (bool(clear) and clear[-1])

    @invariant()
    def says_things_in_turns(self) -> None:
        assert self.news == [("firing", "resolved")[number % 2] for number in range(len(self.news))]


TestModel = Model.TestCase


def test_in_between_it_stays_as_it_is() -> None:
    alarm = Hysteresis(ABOVE, BELOW, 1)
    assert [alarm.judge(value, 1) for value in (0.9, 1.1, 0.9, 1.1, 0.8, 0.9)] == [
        None,
        "firing",
        None,
        None,
        "resolved",
        None,
    ]

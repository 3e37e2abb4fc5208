"""When an alarm fires, and when it is over: a threshold with hysteresis.

The law of this module: it judges one value after another, and knows nothing else; what the value is of, when
it is judged, and who hears of it is others' business.

How it works: an alarm fires when the value comes to be above one threshold, and is over when it comes to be
below another, lower one; in between it stays as it is, so that a value that hovers about a threshold does not
ring again and again. Few samples prove nothing: they let no alarm fire. But they may end one, and so does
having none at all.

States: resting -> firing -> resting. `judge` answers with the new state where it has changed.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["AlarmState", "Hysteresis"]

AlarmState: TypeAlias = Literal["firing", "resolved"]
"""What has become of an alarm."""


class Hysteresis:
    """One alarm.

    Args:
        above: It fires when the value is higher than that.
        below: It is over when the value is lower than that, or equal; at most `above`.
        at_least: With fewer samples it does not begin to fire; 1 or more.
    """

    __slots__ = ("above", "at_least", "below", "firing")

    def __init__(self, above: float, below: float, at_least: int) -> None:
        self.above: float = above
        self.below: float = below
        self.at_least: int = at_least
        self.firing: bool = False

    def __repr__(self) -> str:
        return f"<hysteresis above {self.above:g}, {'firing' if self.firing else 'resting'}>"

    def judge(self, value: float | None, samples: int) -> AlarmState | None:
        """Take note of the present value, of so many samples; None when there is none.

        Answers what has changed; None if nothing has.
        """
        if self.firing:
            if value is None or value <= self.below:
                self.firing = False
                return "resolved"
        elif value is not None and value > self.above and samples >= self.at_least:
            self.firing = True
            return "firing"
        return None

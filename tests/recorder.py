"""An outbox that remembers: actors of the system are tried without a kernel, a loop, or time that passes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from actorsched._core.timers import ORDINARY, TimerEntry, Timers

if TYPE_CHECKING:
    from actorsched._core.behaviour import Behaviour, Envelope, Reply


class Answer:
    """Somebody who waits for one answer."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.given: list[Any] = []

    def __repr__(self) -> str:
        return f"<answer {self.name}: {self.given}>"

    def done(self) -> bool:
        return bool(self.given)

    def set_result(self, value: Any, /) -> None:
        assert not self.given, "nobody is answered twice"
        self.given.append(value)


class Recorder:
    """Keeps what an actor sends, until a test looks at it, or has it delivered."""

    def __init__(self, fractions: list[float] | None = None) -> None:
        self.now = 0.0
        self.mail: deque[Envelope] = deque()
        self.resting: deque[Envelope] = deque()
        self.reports: list[tuple[int, str, BaseException | None]] = []
        self.timers = Timers()
        self._fractions = iter(fractions or [])
        self.watched = True
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    def send(self, envelope: Envelope, /) -> None:
        self.mail.append(envelope)

    def tell(self, kind: str, task: Any, /, **details: Any) -> None:
        self.told.append((kind, task.name, details))

    def note(self, kind: str, name: str, number: int, details: dict[str, Any], /) -> None:
        self.told.append((kind, name, details))

    def at_rest(self, envelope: Envelope, /) -> None:
        self.resting.append(envelope)

    def later(self, delay: float, to: Behaviour, message: object, /, *, phase: int = ORDINARY) -> TimerEntry:
        return self.timers.add(self.now + delay, self.send, (to, message), phase=phase)

    def later_in_fact(self, delay: float, to: Behaviour, message: object, /) -> None:
        self.later(delay, to, message)

    def reply(self, to: Reply, value: object, /) -> None:
        if not to.done():
            to.set_result(value)

    def random(self) -> float:
        return next(self._fractions, 0.5)

    def report(self, level: int, text: str, error: BaseException | None = None, /) -> None:
        self.reports.append((level, text, error))

    # ---------------------------------------------------------------------------------------- for tests

    def taken(self) -> list[Envelope]:
        """What was sent since the last look."""
        mail = list(self.mail)
        self.mail.clear()
        return mail

    def deliver(self, *to: Behaviour) -> list[Envelope]:
        """Deliver what is for these, and what follows from it; answers with what was for others.

        After each message its receiver is checked.
        """
        others: list[Envelope] = []
        while self.mail or self.resting:
            actor, message = self.mail.popleft() if self.mail else self.resting.popleft()
            if actor in to:
                actor.receive(message, self)
                actor.check()
            else:
                others.append((actor, message))
        return others

    def advance(self, seconds: float) -> None:
        """Let time pass. What becomes due is sent."""
        self.now += seconds
        while (entry := self.timers.due(self.now)) is not None:
            entry.action(*entry.args)

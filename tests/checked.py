"""A kernel that checks: after each message its receiver; at rest all that were concerned.

What does not hold is remembered in `BROKEN`, and ends the runtime, like any bug of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._core.invariants import InvariantBroken
from actorsched._kernel.kernel import Kernel
from actorsched._kernel.virtual import VirtualKernel
from actorsched._system import audit

if TYPE_CHECKING:
    import pytest

    from actorsched._core.behaviour import Behaviour

BROKEN: list[InvariantBroken] = []
"""What did not hold since somebody has emptied this."""


_MANY = 200
"""Of more tasks, only those are looked at that had a message: or a test of thousands would take minutes."""


class CheckedKernel(Kernel):
    """Checks whoever was told something."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.concerned: dict[Behaviour, None] = {}
        self.looking = False

    def post(self, to: Behaviour, message: object) -> None:
        """The same; but every message goes by mail, so that `drain` sees it."""
        self.mail.append((to, message))
        self.drain()

    def drain(self) -> None:
        """The same, without a budget."""
        mail, resting = self.mail, self.resting
        if self.draining:
            return
        self.draining = True
        try:
            while mail or resting:
                actor, message = mail.popleft() if mail else resting.popleft()
                try:
                    actor.reactions[type(message)](actor, message, self)
                    self.checked(actor, message)
                except BaseException as error:
                    self._failed(actor, message, error)
        finally:
            self.draining = False
        if self.concerned and not self.looking:
            self.looking = True
            self.backend.call_soon(self.look)

    def checked(self, actor: Behaviour, message: object) -> None:
        """Check one actor after a message."""
        self.concerned[actor] = None
        if not self.collapsed:
            self.hold(actor.check, f"after {message!r}")

    def look(self) -> None:
        """Nobody's code takes a step now. If nothing is in transit either, check all that were concerned."""
        self.looking = False
        if self.collapsed or self.closed or not self.is_at_rest:
            return
        concerned, self.concerned = self.concerned, {}
        try:
            for actor in concerned:
                self.hold(actor.check_at_rest, "at rest")
            if self.facade is not None:
                self.look_around()
        except InvariantBroken as error:
            self.broken("somebody", "nothing", error)

    def look_around(self) -> None:
        """Check everybody, if they are not too many, and what concerns the system as a whole."""
        system = self.facade._system
        if sum(len(scope._nursery.live) for scope in system.scopes) <= _MANY:
            self.hold(lambda: audit.check_at_rest(system), "at rest")
        for checked in (self._timers, self.ready):
            self.hold(checked.check, "at rest")

    @property
    def is_at_rest(self) -> bool:
        """Whether no message is in transit."""
        return not (self.draining or self.mail or self.resting)

    def hold(self, check: Any, when: str) -> None:
        """Check, and remember what does not hold."""
        try:
            check()
        except InvariantBroken as error:
            error.add_note(when)
            BROKEN.append(error)
            raise


class CheckedVirtualKernel(CheckedKernel, VirtualKernel):
    """The same in virtual time."""

    def post(self, to: Behaviour, message: object) -> None:
        """The same."""
        self.stir()
        super().post(to, message)

    @property
    def is_at_rest(self) -> bool:
        """The same; and the instant has come to its end."""
        return super().is_at_rest and not (self._choices or self._to_wake)


def check_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every runtime from now on has a kernel that checks."""
    BROKEN.clear()
    monkeypatch.setattr("actorsched.runtime.Kernel", CheckedKernel)
    monkeypatch.setattr("actorsched._kernel.virtual.VirtualKernel", CheckedVirtualKernel)

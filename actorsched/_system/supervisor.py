"""The Supervisor actor: starts its children again when they fail, and stops them in order.

What to do about a child that has ended is decided by `_core.supervision`; the supervisor carries it out:
it stops those that have to go, the last started first, waits until they have, and starts those that are
to come back, each when the one before it is up. It answers to an owner: the runtime, a scope, or the actor
whose children these are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._core.supervision import Escalate, Forget, Restart, Supervision
from actorsched.messages import (
    Adopt,
    Close,
    Closed,
    Discard,
    Escalated,
    ExitReason,
    Exited,
    Kill,
    Start,
    StartNow,
    Stop,
    StopDeadline,
    Up,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_START = Start()
_DISCARD = Discard()
_RESTART = ExitReason("shutdown")
PATIENCE = 5.0
"""Seconds that a sibling has to stop before it is killed, when it must restart with a failed one."""


class Plan:
    """One restart under way: whom to wait for, and whom to start then."""

    __slots__ = ("delayed", "start", "starting", "stopping")

    def __init__(self, restart: Restart[Behaviour]) -> None:
        self.stopping: list[Behaviour] = list(restart.stop)  # the first is being stopped
        self.start: list[Behaviour] = list(restart.start)
        self.starting: Behaviour | None = None
        self.delayed = restart.delay > 0

    def __repr__(self) -> str:
        return f"<plan: stop {self.stopping}, start {self.start}{', later' if self.delayed else ''}>"


class Supervisor(Behaviour):
    """The supervisor of some actors."""

    owner: Behaviour
    children: Supervision[Behaviour]
    plans: list[Plan] = []
    closing: list[Behaviour] | None = None
    """Who is still to be stopped, the first being stopped now; None while open."""
    kill: bool = False
    failure: ExitReason | None = None

    def __repr__(self) -> str:
        return f"<supervisor {self.children!r}>"

    @handles(Adopt)
    def _adopt(self, message: Adopt, out: Outbox) -> None:
        if self.closing is None:
            self.children.add(message.child, message.restart)
        else:
            out.send(message.child, Kill(ExitReason("shutdown")))

    @handles(Up)
    def _up(self, message: Up, out: Outbox) -> None:
        for plan in self.plans:
            if plan.starting is message.child:
                plan.starting = None
                return self._advance(plan, out)

    @handles(Exited)
    def _exited(self, message: Exited, out: Outbox) -> None:
        child = message.child
        if child not in self.children:
            return self._next_to_close(child, out)
        if not message.born:
            self.children.remove(child)
            out.send(child, _DISCARD)
            return self._next_to_close(child, out)
        decision = self.children.decide(child, message.reason.kind, out.now)
        if isinstance(decision, Restart):
            return self._restart(decision, out)
        if isinstance(decision, Escalate):
            out.send(child, _DISCARD)
            return self._escalate(decision, message.reason, out)
        if isinstance(decision, Forget):
            out.send(child, _DISCARD)
        self._stopped(child, out)
        self._next_to_close(child, out)

    # --------------------------------------------------------------------------------------- restarts

    def _restart(self, decision: Restart[Behaviour], out: Outbox) -> None:
        concerned = set(decision.start)
        for plan in list(self.plans):  # the new plan replaces what was planned for its children
            plan.start = [child for child in plan.start if child not in concerned]
            plan.stopping = [child for child in plan.stopping if child not in decision.stop]
            if plan.starting in concerned:
                plan.starting = None
            self._advance(plan, out)
        plan = Plan(decision)
        self.plans.append(plan)
        if plan.delayed:
            out.later(decision.delay, self, StartNow(plan))
        if plan.stopping:
            self._stop_next(plan.stopping[0], PATIENCE, out)
        self._advance(plan, out)

    def _stop_next(self, child: Behaviour, patience: float, out: Outbox) -> None:
        out.send(child, Stop(_RESTART, restart=True))
        out.later(patience, self, StopDeadline(child))

    def _stopped(self, child: Behaviour, out: Outbox) -> None:
        for plan in list(self.plans):
            if child in plan.stopping:
                plan.stopping.remove(child)
                if child not in self.children and child in plan.start:
                    plan.start.remove(child)
                if plan.stopping:
                    self._stop_next(plan.stopping[0], PATIENCE, out)
                self._advance(plan, out)

    @handles(StartNow)
    def _start_now(self, message: StartNow, out: Outbox) -> None:
        for plan in self.plans:
            if plan is message.plan:
                plan.delayed = False
                return self._advance(plan, out)

    def _advance(self, plan: Plan, out: Outbox) -> None:
        """Start the next child of a plan, if nothing has to be waited for."""
        if plan.delayed or plan.stopping or plan.starting is not None or plan not in self.plans:
            return
        while plan.start:
            child = plan.start.pop(0)
            if child in self.children:
                self.children.starting(child)
                plan.starting = child
                out.send(child, _START)
                return
        self.plans.remove(plan)

    # ---------------------------------------------------------------------------------------- the end

    def _escalate(self, decision: Escalate[Behaviour], reason: ExitReason, out: Outbox) -> None:
        error = reason.error
        if error is not None:
            error.add_note(
                f"its supervisor gave up after {decision.restarts} restarts within the period that it bears"
            )
        self.failure = reason
        self._stop_all(decision.stop, out)

    @handles(Close)
    def _close(self, message: Close, out: Outbox) -> None:
        if message.kill:
            self.kill = True
            if self.closing is not None:
                return self._kill_rest(out)
        if message.patience is not None:
            out.later(message.patience, self, StopDeadline(None))
        if self.closing is None:
            self._stop_all(self.children.close(), out)

    def _stop_all(self, children: Sequence[Behaviour], out: Outbox) -> None:
        self.plans.clear()
        self.closing = list(reversed(children))
        if self.kill:
            return self._kill_rest(out)
        self._stop_last(out)

    def _kill_rest(self, out: Outbox) -> None:
        if not self.closing:
            return self._closed(out)
        for child in reversed(self.closing):
            out.send(child, Kill(ExitReason("shutdown")))

    def _stop_last(self, out: Outbox) -> None:
        if not self.closing:
            return self._closed(out)
        out.send(self.closing[-1], Stop(ExitReason("shutdown")))

    def _next_to_close(self, child: Behaviour, out: Outbox) -> None:
        """A child has ended while all are being stopped."""
        closing = self.closing
        if not closing:
            return
        last = closing[-1] is child
        if last:
            closing.pop()
        elif child in closing:
            closing.remove(child)
        else:
            return
        if self.kill or not last:
            if not closing:
                self._closed(out)
        else:
            self._stop_last(out)

    def _closed(self, out: Outbox) -> None:
        if self.failure is not None:
            out.send(self.owner, Escalated(self, self.failure))
        else:
            out.send(self.owner, Closed(self))

    @handles(StopDeadline)
    def _deadline(self, message: StopDeadline, out: Outbox) -> None:
        if message.child is None:
            if self.closing:
                self.kill = True
                self._kill_rest(out)
        elif any(message.child in plan.stopping for plan in self.plans):
            out.send(message.child, Kill(_RESTART, restart=True))

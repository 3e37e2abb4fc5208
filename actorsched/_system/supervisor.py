"""The Supervisor actor: starts its children again when they fail, and stops them in order.

What to do about a child that has ended is decided by `_core.supervision`; the supervisor carries it out:
it stops those that have to go, the last started first, waits until they have, and starts those that are
to come back, each when the one before it is up. It answers to an owner: the runtime, a scope, or the actor
whose children these are.

A child may end for good by itself, at any moment: stopped or killed by somebody, or because its first start
has failed. It then says so (`Exited.gone`), nothing is decided about it, and whatever waited for it goes on.

A failure that is answered with a restart, or that comes too late to be answered, is written to the log. One
that escalates goes to the owner instead.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from actorsched._core.behaviour import Behaviour, Outbox, Timer, handles, require
from actorsched._core.invariants import FEW
from actorsched._core.supervision import Escalate, Expected, Forget, Restart, Supervision
from actorsched.exceptions import HostDied
from actorsched.messages import (
    Close,
    Closed,
    Discard,
    Escalated,
    Exited,
    ExitReason,
    Kill,
    Start,
    StartNow,
    Stop,
    StopDeadline,
    Up,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorsched._system.waiting import Waiter
    from actorsched.options import Restart as RestartType

_START = Start()
_DISCARD = Discard()
_SHUTDOWN = ExitReason("shutdown")
PATIENCE = 5.0
"""Seconds that a child has to stop before it is killed, when it must restart with a failed sibling, or go
because its supervisor has given up."""


class Plan:
    """One restart under way: whom to wait for, and whom to start then."""

    __slots__ = ("back_off", "deadline", "start", "starting", "stopping")

    def __init__(self, restart: Restart[Behaviour]) -> None:
        self.stopping: list[Behaviour] = list(restart.stop)  # the first is being stopped
        self.start: list[Behaviour] = list(restart.start)
        self.starting: Behaviour | None = None
        self.back_off: Timer | None = None
        self.deadline: Timer | None = None

    def __repr__(self) -> str:
        return f"<plan: stop {self.stopping}, start {self.start}{', later' if self.back_off else ''}>"

    def drop_timers(self) -> None:
        """It is off, or done."""
        for timer in (self.back_off, self.deadline):
            if timer is not None:
                timer.cancel()
        self.back_off = self.deadline = None


class Supervisor(Behaviour):
    """The supervisor of some actors."""

    owner: Behaviour
    children: Supervision[Behaviour]
    plans: list[Plan] = []
    closing: list[Behaviour] | None = None
    """Who is still to be stopped, the last being stopped now; None while open."""
    over: bool = False
    """Whether the owner has been told that no child is left."""
    kill: bool = False
    deadline: Timer | None = None
    failure: ExitReason | None = None

    def __repr__(self) -> str:
        return f"<supervisor {self.children!r}>"

    def remaining(self) -> list[Waiter]:
        """Its children that have not ended."""
        children = list(self.children) if self.closing is None else self.closing
        return cast("list[Waiter]", children)

    def adopt(self, child: Behaviour, restart: RestartType, out: Outbox) -> None:
        """A child is starting. Called rather than sent: nothing in transit can be about it yet."""
        if self.closing is None:
            return self.children.add(child, restart)
        if not self.over:
            self.closing.append(child)
        out.send((child, Kill(_SHUTDOWN)))

    def left(self, child: Behaviour) -> bool:
        """A child that is running ends for good, as it was asked to.

        Answers whether nothing follows from that here; otherwise it has to say `Exited` when it has ended.
        """
        if self.plans or self.closing is not None:
            return False
        self.children.remove(child)
        return True

    @handles(Up)
    def _up(self, message: Up, out: Outbox) -> None:
        for plan in self.plans:
            if plan.starting is message.child:
                plan.starting = None
                return self._advance(plan, out)

    @handles(Exited)
    def _exited(self, message: Exited, out: Outbox) -> None:
        child = message.child
        if child in self.children:
            if message.gone:
                self.children.remove(child)
                if message.reason.error is not None:
                    self._report(message, "and has ended", out)
                if self.plans:
                    self._ended_in_plans(child, out)
            else:
                self._decide(message, out)
        if self.closing:
            self._next_to_close(child, out)

    def _decide(self, message: Exited, out: Outbox) -> None:
        child, kind, error = message.child, message.reason.kind, message.reason.error
        assert kind != "moved", "who moves tells nobody"
        event = error.pid if isinstance(error, HostDied) else None  # all who lived there have ended with it
        match self.children.decide(child, kind, out.now, event):
            case Restart() as decision:
                self._report(message, "and is restarted", out)
                self._restart(decision, out)
            case Escalate() as decision:
                out.send((child, _DISCARD))
                self._escalate(decision, message.reason, out)
            case Forget():
                self._report(message, "and has ended", out)
                out.send((child, _DISCARD))
                self._ended_in_plans(child, out)
            case Expected():
                self._report(message, "and is restarted with its siblings", out)
                self._ended_in_plans(child, out)

    def _report(self, message: Exited, outcome: str, out: Outbox) -> None:
        """No failure passes unseen."""
        error = message.reason.error
        if error is not None and not message.known:
            out.report(logging.ERROR, f"{message.child!r} failed {outcome}", error)

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
        if decision.delay > 0:
            plan.back_off = out.later(decision.delay, self, StartNow(plan))
        self._stop_next(plan, out)
        self._advance(plan, out)

    def _stop_next(self, plan: Plan, out: Outbox) -> None:
        if plan.deadline is not None:
            plan.deadline.cancel()
            plan.deadline = None
        if plan.stopping:
            child = plan.stopping[0]
            out.send((child, Stop(_SHUTDOWN, restart=True)))
            plan.deadline = out.later(PATIENCE, self, StopDeadline(child))

    def _ended_in_plans(self, child: Behaviour, out: Outbox) -> None:
        """A child that plans may wait for has ended, or will never be up."""
        for plan in list(self.plans):
            if plan.starting is child:
                plan.starting = None
            elif child in plan.stopping:
                first = plan.stopping[0] is child
                plan.stopping.remove(child)
                if first:
                    self._stop_next(plan, out)
            self._advance(plan, out)

    @handles(StartNow)
    def _start_now(self, message: StartNow, out: Outbox) -> None:
        for plan in self.plans:
            if plan is message.plan:
                plan.back_off = None
                return self._advance(plan, out)

    def _advance(self, plan: Plan, out: Outbox) -> None:
        """Start the next child of a plan, if nothing has to be waited for."""
        if plan.stopping or plan.starting is not None:
            return
        while plan.start:
            child = plan.start[0]
            if child in self.children:
                if plan.back_off is None:
                    del plan.start[0]
                    self.children.starting(child)
                    plan.starting = child
                    out.send((child, _START))
                return
            del plan.start[0]
        if plan in self.plans:
            self.plans.remove(plan)
        plan.drop_timers()

    # ---------------------------------------------------------------------------------------- the end

    def _escalate(self, decision: Escalate[Behaviour], reason: ExitReason, out: Outbox) -> None:
        error = reason.error
        if error is not None:
            error.add_note(
                f"its supervisor gave up after {decision.restarts} restarts within the period that it bears"
            )
        self.failure = reason
        self.deadline = out.later(PATIENCE, self, StopDeadline(None))
        self._stop_all(decision.stop, out)

    @handles(Close)
    def _close(self, message: Close, out: Outbox) -> None:
        if self.over:
            return
        if message.kill:
            self.kill = True
            if self.closing is not None:
                return self._kill_rest(out)
        if message.patience is not None and self.deadline is None:
            self.deadline = out.later(message.patience, self, StopDeadline(None))
        if self.closing is None:
            self._stop_all(self.children.close(), out)

    def _stop_all(self, children: Sequence[Behaviour], out: Outbox) -> None:
        for plan in self.plans:
            plan.drop_timers()
        self.plans.clear()
        self.closing = list(reversed(children))
        if self.kill:
            self._kill_rest(out)
        else:
            self._stop_last(out)

    def _kill_rest(self, out: Outbox) -> None:
        if not self.closing:
            return self._closed(out)
        for child in reversed(self.closing):
            out.send((child, Kill(_SHUTDOWN)))

    def _stop_last(self, out: Outbox) -> None:
        if not self.closing:
            return self._closed(out)
        out.send((self.closing[-1], Stop(_SHUTDOWN)))

    def _next_to_close(self, child: Behaviour, out: Outbox) -> None:
        """A child has ended while all are being stopped."""
        closing = self.closing
        if not closing:
            return
        last = closing[-1] is child
        if last:  # nearly always: from the front, ten thousand children would be looked at for each
            closing.pop()
        elif child in closing:
            closing.remove(child)
        else:
            return
        if last and not self.kill:
            self._stop_last(out)
        elif not closing:
            self._closed(out)

    def _closed(self, out: Outbox) -> None:
        self.over = True
        if self.deadline is not None:
            self.deadline.cancel()
        if self.failure is not None:
            out.send((self.owner, Escalated(self, self.failure)))
        else:
            out.send((self.owner, Closed(self)))

    @handles(StopDeadline)
    def _deadline(self, message: StopDeadline, out: Outbox) -> None:
        if message.child is None:
            if not self.over:
                self.kill = True
                self._kill_rest(out)
        elif any(plan.stopping and plan.stopping[0] is message.child for plan in self.plans):
            out.send((message.child, Kill(_SHUTDOWN, restart=True)))

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """Every child that is not running is in a plan, and all stop when it closes."""
        self.children.check()
        if self.closing is not None:
            return self._check_closing(self.closing)
        require(
            not self.over and not self.kill and self.failure is None, self, "it is over when all have ended"
        )
        down, stopping = self.children.down, self.children.stopping
        if len(down) + len(stopping) <= FEW and len(self.plans) <= FEW:
            planned = {child for plan in self.plans for child in plan.start}
            told = [child for plan in self.plans for child in plan.stopping]
            require(stopping == set(told), self, "whoever stops for a restart is waited for, and nobody else")
            require(len(told) == len(stopping), self, "whoever stops is waited for once")
            lost = [child for child in down if child not in planned]
            require(not lost, self, f"somebody is going to start whoever is down; nobody does {lost}")
            for plan in self.plans:
                self._check_plan(plan)
        return None

    def _check_plan(self, plan: Plan) -> None:
        """A restart that is under way has something to wait for, and keeps the order of start."""
        waits = plan.stopping or plan.starting is not None or plan.back_off is not None
        require(waits, self, f"{plan!r} waits for something")
        timed = (plan.deadline is not None) == bool(plan.stopping)
        require(timed, self, "whoever is being stopped has so long, and no longer")
        child = plan.starting
        running = child is None or (child in self.children and self.children.running(child))
        require(running, self, "a child that is starting counts as running")
        order = (
            [child for child in self.children if child in plan.start] if len(self.children) <= FEW else None
        )
        left = [child for child in plan.start if child in self.children]
        require(
            order is None or order == left,
            self,
            "children start in the order in which they were first started",
        )

    def _check_closing(self, closing: list[Behaviour]) -> None:
        """While it closes nobody comes back, and it says so when the last one has ended."""
        require(not self.plans, self, "nobody is restarted by who closes")
        require(
            self.over is not bool(closing), self, "the owner is told when no child is left, and not before"
        )
        if max(len(closing), len(self.children)) <= FEW:
            require(len(set(closing)) == len(closing), self, "each child is stopped once")
            left = all(child in closing for child in self.children)
            require(left, self, "every child that is left is going to be stopped")

"""How a task ends, and who hears of it.

A task is settled exactly once. It then tells everybody who waits, and lets go of its function, arguments,
context and upstream tasks, so that all that is left of it is its outcome, for as long as somebody holds its
ref. A failure that nobody has looked at by then is written down.
"""

from __future__ import annotations

import logging
from typing import Any

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.invariants import FEW
from actorsched._system.task_state import Special, TaskState, function_name
from actorsched.exceptions import DeadlineMissed, TaskCancelled
from actorsched.messages import Await, Forget, Outcome, Settled, Unwatch, Watch
from actorsched.status import TaskStatus

_NOTHING: dict[str, Any] = {}
_FINAL: dict[str, Any] = {"final": True}

UNOBSERVED = "and nobody looked at its outcome"
"""How the report of a failure ends of which nobody else hears."""


class TaskEnd(TaskState, eq=False):
    """Being settled."""

    def _fail(self, error: BaseException, out: Outbox) -> None:
        self._settle(Outcome(TaskStatus.FAILED, error=error, origin=error.__traceback__), out)

    def _settle(self, outcome: Outcome[Any], out: Outbox) -> None:
        if self.special is not None:
            outcome = self._met(self.special, outcome, out)
        self.outcome = outcome
        self.status = outcome.status
        if self.timer is not None:
            self._clear_timer()
        pool = self.pool
        if pool.remembers and self.place is None:
            pool.policy.forget(self, out.now)  # type: ignore[arg-type]  # a TaskActor
        if outcome.error is None:
            pool.completed += 1
            self.owner.completed(self, out)  # type: ignore[arg-type]  # a TaskActor
        else:
            pool.unsuccessful[outcome.status] = pool.unsuccessful.get(outcome.status, 0) + 1
            out.send((self.owner, Settled(self, outcome)))
        if out.watched:  # now that it is counted
            self._tell_of_its_end(outcome, out)
        waiters = self.waiters
        if waiters is not None:
            self.waiters, kind = None, type(self)
            for waiter in waiters:
                if outcome.error is None and type(waiter) is kind:  # another task
                    waiter.upstream_completed(self, out)  # type: ignore[arg-type]  # a TaskActor
                else:
                    self._tell(waiter, outcome, out)
        if self.answers is not None:
            for answer in self.answers:
                out.reply(answer, None)
            self.answers = None
        if self.upstream is not None:
            self._forget_upstream(out)
        function = self.function  # from here on nothing is kept alive but the outcome
        self.label = getattr(function, "__qualname__", None) or function_name(function)
        self.function = self.context = None
        if self.args:
            self.args = ()
        if self.kwargs:
            self.kwargs, self.options = _NOTHING, self.options.replace(kwargs=_NOTHING)
        if self.packed is not None:
            self.packed = None
        self.lenders = None

    def _tell_of_its_end(self, outcome: Outcome[Any], out: Outbox) -> None:
        name = self.options.name or self.label or self.name
        if outcome.error is None:
            out.note("completed", name, self.number, _FINAL)
        else:
            kind: Any = outcome.status.value
            out.note(kind, name, self.number, {"final": True, "error": said(outcome.error)})

    def _met(self, special: Special, outcome: Outcome[Any], out: Outbox) -> Outcome[Any]:
        """It lets go of what few tasks have. Answers with the outcome, and how late that is."""
        if special.decided is not None:
            outcome = special.decided
        if special.locking:
            self._unlock(out)
        if special.timing is not None:
            special.timing.over(out.now)
        return outcome if special.times is None else special.times.over(self, outcome, out)

    def _forget_upstream(self, out: Outbox) -> None:
        upstreams, self.upstream, self.missing = self.upstream, None, 0
        forget = Forget(self)
        for upstream in upstreams or ():
            if upstream.outcome is None:
                out.send((upstream, forget))

    def _tell(self, waiter: Behaviour, outcome: Outcome[Any], out: Outbox) -> None:
        """Tell somebody by mail: of a failure in any case, because it may run along a chain of any length."""
        out.send((waiter, Settled(self, outcome)))
        if outcome.error is not None and isinstance(waiter, TaskState) and waiter.shows():
            self.observed = True

    def forsake(self, error: BaseException, out: Outbox) -> None:
        """The system has failed: it is settled, whatever became of its code."""
        if self.outcome is None:
            self.observed = True  # nobody could have done anything about it
            self._fail(error, out)

    def held_no_more(self, out: Outbox) -> None:
        """Somebody who might have looked at the outcome is gone.

        When nobody is left, a failure is reported.
        """
        self.holders -= 1
        if self.holders <= 0 and self.outcome is not None:
            self.log_unobserved(self.outcome, out)

    def log_unobserved(self, outcome: Outcome[Any], out: Outbox) -> None:
        """Write down a failure that nobody has looked at; once."""
        if outcome.error is not None and outcome.status is not TaskStatus.CANCELLED and not self.observed:
            self.observed = True
            error = outcome.error.with_traceback(outcome.origin)
            how = "failed" if outcome.status is TaskStatus.FAILED else "missed its deadline"
            out.report(logging.ERROR, f"task {self.name!r} {how}, {UNOBSERVED}", error)

    def expected_by(self, waiter: Behaviour, out: Outbox, *, probed: bool = False) -> bool:
        """Somebody wants to hear how it ends. Answers whether that is news."""
        if self.outcome is not None:
            out.send((waiter, Settled(self, self.outcome)))
            return True
        if self.waiters is None:
            self.waiters = {waiter: None}
        elif waiter in self.waiters:
            return False
        else:
            self.waiters[waiter] = None
        if self.waits is not None and not probed:
            self.waits.probe_late(self, out)
        return True

    @handles(Await)
    def _await(self, message: Await, out: Outbox) -> None:
        self.expected_by(message.waiter, out, probed=message.probed)

    @handles(Forget)
    def _forget(self, message: Forget, out: Outbox) -> None:
        if self.waiters is not None:
            self.waiters.pop(message.waiter, None)
        if self.lenders is not None:
            self.lost(message.waiter, out)

    @handles(Watch)
    def _watch(self, message: Watch, out: Outbox) -> None:
        if self.outcome is not None:
            return out.reply(message.answer, None)
        if self.answers is None:
            self.answers = {}
        self.answers[message.answer] = None

    @handles(Unwatch)
    def _unwatch(self, message: Unwatch, out: Outbox) -> None:
        if self.answers is not None:
            self.answers.pop(message.answer, None)

    def check(self) -> None:
        """What has ended keeps nothing alive but its outcome."""
        super().check()
        if self.outcome is not None:
            silent = self.waiters is None and self.answers is None
            require(silent, self, "when it has ended, everybody who waited was told")
            require(self.timer is None, self, "what has ended has no timer")
            require(
                self.upstream is None and not self.missing, self, "what has ended waits for no other task"
            )
            empty = self.function is None and self.context is None and not (self.args or self.kwargs)
            require(empty and self.packed is None, self, "what has ended keeps no function and no arguments")
            require(self.lenders is None, self, "what has ended inherits from nobody")
            special = self.special
            free = special is None or (special.request is None and not special.locking)
            require(free, self, "what has ended asks for no resource")

    def check_at_rest(self) -> None:
        """The same; and none of those who wait for it have ended themselves."""
        super().check_at_rest()
        waiters = self.waiters or ()
        if len(waiters) <= FEW:
            living = all(not isinstance(waiter, TaskState) or waiter.outcome is None for waiter in waiters)
            require(living, self, "whoever waits for it has not ended")


def said(error: BaseException) -> str:
    """What an error says, in one line, for whoever is told of it and does not keep it."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def stopped_for_good(reason: TaskCancelled | DeadlineMissed) -> Outcome[Any]:
    """How a task ends that was told to stop for good."""
    late = isinstance(reason, DeadlineMissed)
    return Outcome(TaskStatus.DEADLINE_MISSED if late else TaskStatus.CANCELLED, error=reason)

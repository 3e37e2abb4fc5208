"""The Task actor: one piece of work, from its submission to its final status.

It is told `Begin` when the scheduler admits it, asks its upstream tasks with `Await`, hears `Settled` from
each, and tells the scheduler `Ready` when the last is in. A worker tells it `Started` and `Finished`. What
follows from an attempt's end, be it another attempt or the final status, is decided here and nowhere else.

While its code waits for another task or asks an actor, the wait is recorded here too: the slot is lent
meanwhile, and probes for circles of waiting pass through (`_system.waiting`).

A task is settled exactly once. It then tells everybody who waits, and lets go of its function, arguments
and context, so that all that is left of it is its outcome, for as long as somebody holds its ref.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched._core.behaviour import Behaviour, Outbox, Reply, Timer, handles
from actorsched._core.lifecycle import FINAL
from actorsched._core.retrying import Again, after_crash, after_failure
from actorsched._system.waiting import Waiter, Waits, pass_probe
from actorsched.exceptions import DependencyFailed, TaskCancelled, TaskTimeout
from actorsched.messages import (
    AttemptExpired,
    Await,
    Begin,
    Cancel,
    EndWait,
    Finished,
    Forget,
    GivenBack,
    Interrupt,
    Outcome,
    PriorityChanged,
    Probe,
    Ready,
    Report,
    Resume,
    Retry,
    SetPriority,
    Settled,
    Started,
    Underway,
    Unwatch,
    Wait,
    Watch,
    Withdraw,
    Withdrawn,
)
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched.options import TaskOptions

_NOTHING: dict[str, Any] = {}
_NOTHING_YET: tuple[float, str | None] = (0.0, None)
_ALL: tuple[float, str | None] = (1.0, None)
RETRY = Retry()
REFS: set[type] = set()
"""The types that stand for a task among arguments; filled by the layer that defines them."""
_UNDERWAY = Underway()
_RUNNING = TaskStatus.RUNNING
_COMPLETED = TaskStatus.COMPLETED


class TaskActor(Waiter):
    """One task."""

    settles: ClassVar[bool] = True

    owner: Behaviour
    """The scope that it was spawned in; it hears `Settled` like anyone who waits."""
    number: int
    function: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: TaskOptions
    context: Context | None
    host: str
    rank: int
    """The effective priority."""
    upstream: dict[Behaviour, None] | None = None
    """The tasks that it depends on and that have not settled, in order; None when it depends on none."""
    injected: bool = False
    """Whether some of the arguments are upstream tasks, whose results take their place."""
    status: TaskStatus = TaskStatus.PENDING
    outcome: Outcome | None = None
    worker: Behaviour | None = None
    """Who runs it now."""
    attempt: int = 0
    crashes: int = 0
    progress: tuple[float, str | None] = _NOTHING_YET
    observed: bool = False
    """Whether somebody has seen how it ended, or is bound to."""
    unheld: bool = False
    """Whether nobody holds a ref any more."""
    waiters: list[Behaviour] | None = None
    answers: list[Reply] | None = None
    label: str | None = None
    """What is left of its function's name when the function is let go of."""
    stopping: TaskCancelled | TaskTimeout | None = None
    """Why the present attempt was told to stop."""
    timer: Timer | None = None
    packed: Any = None
    """Function and arguments in the form in which they travel to a host process, once they are."""

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.options.name or self.label or function_name(self.function)

    @property
    def id(self) -> str:
        """Its name, for programs: unique in the process."""
        return f"task-{self.number}"

    def __repr__(self) -> str:
        return f"<task {self.name!r} {self.status.value}>"

    # ------------------------------------------------------------------------- before the first attempt

    @handles(Begin)
    def _begin(self, message: Begin, out: Outbox) -> None:
        if self.outcome is not None:
            return
        if not self.upstream:
            return self._become_ready(out)
        self.status = TaskStatus.WAITING
        for upstream in self.upstream:
            out.send((upstream, Await(self)))

    @handles(Settled)
    def _upstream_settled(self, message: Settled, out: Outbox) -> None:
        if self.waits is not None and self.waits.settled(self, message.task, out):
            return
        upstream = self.upstream
        if self.outcome is not None or upstream is None or message.task not in upstream:
            return
        del upstream[message.task]
        if message.outcome.error is not None and self.options.on_upstream_failure == "fail":
            return self._upstream_failed(message, out)
        if not upstream and self.status is TaskStatus.WAITING:
            self._become_ready(out)

    def _upstream_failed(self, message: Settled, out: Outbox) -> None:
        error = message.outcome.error
        if isinstance(error, TaskCancelled):
            return self._settle_cancelled(error.reason or f"upstream task {_named(message.task)} was cancelled", out)
        failure = DependencyFailed(
            f"task {self.name!r} was not run, because {_named(message.task)}, which it depends on, failed: "
            f"{type(error).__name__}: {error}; mend that task, or spawn this one with on_upstream_failure='run'",
            task=self.name,
            upstream=_named(message.task),
        )
        failure.__cause__ = error
        self._settle(Outcome(TaskStatus.FAILED, error=failure), out)

    def admitted(self) -> None:
        """The scheduler has put it into the queue at once: it has no dependencies."""
        self.status = TaskStatus.READY

    def _become_ready(self, out: Outbox) -> None:
        self.status = TaskStatus.READY
        self.upstream = None
        out.send((self.scheduler, Ready(self)))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call the function with: results stand where upstream tasks stood."""
        if not self.injected:
            return self.args, self.kwargs
        return (
            tuple(map(_result_of, self.args)),
            {name: _result_of(value) for name, value in self.kwargs.items()},
        )

    # ------------------------------------------------------------------------------------- an attempt

    @handles(Started)
    def _started(self, message: Started, out: Outbox) -> None:
        self.status = _RUNNING
        self.attempt += 1
        self.worker = message.worker
        if self.stopping is not None:  # cancelled while the worker was being told
            out.send((message.worker, Interrupt(self, self.stopping)))
        elif message.begun:
            self._underway(_UNDERWAY, out)

    @handles(Underway)
    def _underway(self, message: Underway, out: Outbox) -> None:
        timeout = self.options.timeout
        if timeout is not None:
            self.timer = out.later(timeout, self, AttemptExpired(self.attempt))

    @handles(AttemptExpired)
    def _expired(self, message: AttemptExpired, out: Outbox) -> None:
        if self.worker is None or self.attempt != message.attempt or self.stopping is not None:
            return
        timeout = self.options.timeout
        self.stopping = TaskTimeout(
            f"attempt {self.attempt} of task {self.name!r} was stopped after its timeout of {timeout:g} s; "
            "give it more time, or make it faster",
            task=self.name,
            timeout=timeout,
        )
        out.send((self.worker, Interrupt(self, self.stopping)))

    @handles(Finished)
    def _finished(self, message: Finished, out: Outbox) -> None:
        self.worker = None
        if self.timer is not None:
            self._clear_timer()
        if self.waits is not None:
            self.waits.abandon(self, out)
            self.waits = None
        if self.outcome is not None:
            return
        error, stopping = message.error, self.stopping
        self.stopping = None
        if error is None:
            return self._settle(Outcome(_COMPLETED, message.value), out)
        if isinstance(stopping, TaskCancelled) and message.stopped:
            return self._settle(Outcome(TaskStatus.CANCELLED, error=stopping), out)
        if stopping is not None and message.stopped:
            stopping.__cause__ = error if message.crashed else None
            error = stopping
        self._attempt_failed(error, message, out, final=isinstance(stopping, TaskCancelled))

    @handles(GivenBack)
    def _given_back(self, message: GivenBack, out: Outbox) -> None:
        self._clear_timer()
        self.worker = None
        if self.outcome is not None:
            return
        self.attempt -= 1
        stopping, self.stopping = self.stopping, None
        if isinstance(stopping, TaskCancelled):
            self._settle(Outcome(TaskStatus.CANCELLED, error=stopping), out)
        else:
            self._become_ready(out)

    def _attempt_failed(self, error: BaseException, message: Finished, out: Outbox, *, final: bool) -> None:
        """Try again, or fail for good."""
        crashed = message.crashed and not message.stopped
        retry = self.options.retry
        self.crashes += crashed
        if final or (retry.attempts == 1 and not retry.crashes):
            return self._settle(Outcome(TaskStatus.FAILED, error=error), out)
        fraction = out.random()
        if crashed:
            decision = after_crash(retry, crashes=self.crashes, fraction=fraction)
        else:
            decision = after_failure(
                retry, attempt=self.attempt, error=error, fraction=fraction, crashes=self.crashes
            )
        if not isinstance(decision, Again):
            error.add_note(f"not retried: {decision.why}")
            return self._settle(Outcome(TaskStatus.FAILED, error=error), out)
        self.status = TaskStatus.RETRYING
        self.timer = out.later(decision.delay, self, RETRY)

    @handles(Retry)
    def _retry(self, message: Retry, out: Outbox) -> None:
        if self.status is TaskStatus.RETRYING:
            self.timer = None
            self._become_ready(out)

    @handles(Report)
    def _report(self, message: Report, out: Outbox) -> None:
        if self.outcome is None:
            self.progress = (message.fraction, message.message)

    # ---------------------------------------------------------------------------------- cancellation

    @handles(Cancel)
    def _cancel(self, message: Cancel, out: Outbox) -> None:
        match self.status:
            case TaskStatus.PENDING | TaskStatus.WAITING | TaskStatus.RETRYING:
                self._settle_cancelled(message.reason, out)
            case TaskStatus.READY | TaskStatus.BLOCKED | TaskStatus.RUNNING | TaskStatus.PREEMPTED:
                if not isinstance(self.stopping, TaskCancelled):
                    self._stop(self._cancellation(message.reason), out)
            case _:  # settled: there is nothing left to cancel
                assert self.status in FINAL

    def _stop(self, reason: TaskCancelled, out: Outbox) -> None:
        """Take it out of the queue, or have its worker stop it."""
        self.stopping = reason
        if self.worker is not None:
            out.send((self.worker, Interrupt(self, reason)))
        else:
            assert self.scheduler is not None
            out.send((self.scheduler, Withdraw(self)))

    @handles(Withdrawn)
    def _withdrawn(self, message: Withdrawn, out: Outbox) -> None:
        if self.outcome is None and isinstance(self.stopping, TaskCancelled):
            self._settle(Outcome(TaskStatus.CANCELLED, error=self.stopping), out)

    def _settle_cancelled(self, reason: str | None, out: Outbox) -> None:
        self._settle(Outcome(TaskStatus.CANCELLED, error=self._cancellation(reason)), out)

    def _cancellation(self, reason: str | None) -> TaskCancelled:
        why = f": {reason}" if reason else ""
        return TaskCancelled(f"task {self.name!r} was cancelled{why}", reason=reason, task=self.name)

    # --------------------------------------------------------------------------------------- settling

    def _settle(self, outcome: Outcome[Any], out: Outbox) -> None:
        self.outcome = outcome
        self.status = outcome.status
        if outcome.error is None:
            self.progress = _ALL if self.progress is _NOTHING_YET else (1.0, self.progress[1])
        elif self.unheld and not self.observed and not self.waiters:
            self.log_unobserved(outcome, out)
        if self.timer is not None:
            self._clear_timer()
        settled = Settled(self, outcome)
        out.send((self.owner, settled))
        if self.waiters is not None:
            for waiter in self.waiters:
                out.send((waiter, settled))
            self.waiters = None
        if self.answers is not None:
            for answer in self.answers:
                out.reply(answer, None)
            self.answers = None
        if self.upstream:
            for upstream in self.upstream:
                out.send((upstream, Forget(self)))
        self.label = function_name(self.function)
        self.function = self.context = self.packed = self.upstream = None
        self.args, self.kwargs = (), _NOTHING

    def log_unobserved(self, outcome: Outcome, out: Outbox) -> None:
        """Write down a failure that nobody looks at; once."""
        if outcome.status is TaskStatus.FAILED and not self.observed:
            self.observed = True
            out.report(logging.ERROR, f"task {self.name!r} failed, and nobody looked at its outcome", outcome.error)

    def _clear_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    @handles(Await)
    def _await(self, message: Await, out: Outbox) -> None:
        self.observed = True
        if self.outcome is not None:
            out.send((message.waiter, Settled(self, self.outcome)))
        elif self.waiters is None:
            self.waiters = [message.waiter]
        else:
            self.waiters.append(message.waiter)

    @handles(Forget)
    def _forget(self, message: Forget, out: Outbox) -> None:
        if self.waiters is not None and message.waiter in self.waiters:
            self.waiters.remove(message.waiter)

    @handles(Watch)
    def _watch(self, message: Watch, out: Outbox) -> None:
        if self.outcome is not None:
            out.reply(message.answer, None)
        elif self.answers is None:
            self.answers = [message.answer]
        else:
            self.answers.append(message.answer)

    @handles(Unwatch)
    def _unwatch(self, message: Unwatch, out: Outbox) -> None:
        if self.answers is not None and message.answer in self.answers:
            self.answers.remove(message.answer)

    # ------------------------------------------------------------------------- waiting of its own code

    @handles(Wait)
    def _wait(self, message: Wait, out: Outbox) -> None:
        if self.waits is None:
            self.waits = Waits()
        self.waits.begin(self, message.target, message.answer, out)

    @handles(EndWait)
    def _end_wait(self, message: EndWait, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.end(self, message.target, message.answer, message.resumed, out)
        else:
            out.reply(message.resumed, None)

    @handles(Resume)
    def _resume(self, message: Resume, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.resumed(out)

    @handles(Probe)
    def _probe(self, message: Probe, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.pass_on(self, message, out)
        for upstream in self.upstream or ():
            pass_probe(self, upstream, message, out)

    @handles(SetPriority)
    def _set_priority(self, message: SetPriority, out: Outbox) -> None:
        if self.outcome is None:
            self.rank = message.priority
            out.send((self.scheduler, PriorityChanged(self)))


def function_name(function: Callable[..., Any] | None) -> str:
    """What to call a task after, when nobody gave it a name."""
    name: str | None = getattr(function, "__qualname__", None)
    if name is not None:
        return name
    inner = getattr(function, "func", None)  # functools.partial
    return type(function).__name__ if inner is None else function_name(inner)


def _named(task: Behaviour) -> str:
    return repr(getattr(task, "name", task))


def _result_of(value: Any) -> Any:
    if type(value) is not TaskActor:
        return value
    assert value.outcome is not None
    return value.outcome.value if value.outcome.error is None else value.outcome.error


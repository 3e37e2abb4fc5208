"""The Task actor: one piece of work, from its submission to its final status.

When the scheduler admits it, it lets its upstream tasks know, hears `Settled` from each, and tells the
scheduler `Ready` when the last is in. A worker tells it `Started` and `Finished`. What follows from an
attempt's end, be it another attempt or the final status, is decided here and nowhere else.

While its code waits for another task or asks an actor, the wait is recorded here too: the slot is lent
meanwhile, and probes for circles of waiting pass through (`_system.waiting`).

A task is settled exactly once. It then tells everybody who waits, and lets go of its function, arguments,
context and upstream tasks, so that all that is left of it is its outcome, for as long as somebody holds its
ref.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched._core.behaviour import Behaviour, Outbox, Reply, Timer, handles
from actorsched._core.lenders import Lenders
from actorsched._core.retrying import Again, after_crash, after_failure
from actorsched._system.urgent import Urgent
from actorsched._system.waiting import Waiter, is_closed, pass_probe, tell_of_deadlock
from actorsched._system.whereabouts import line_of
from actorsched.exceptions import DeadlineMissed, DependencyFailed, TaskCancelled, TaskTimeout
from actorsched.messages import (
    Acquire,
    AttemptExpired,
    Await,
    Cancel,
    Chosen,
    DeadlinePassed,
    Finished,
    Forget,
    GivenBack,
    Granted,
    Hurry,
    Inherit,
    Interrupt,
    LatencyPassed,
    Outcome,
    Preempted,
    PriorityChanged,
    Probe,
    Ready,
    Refused,
    Report,
    Resume,
    Retry,
    SetPriority,
    Settled,
    Started,
    Underway,
    Unwatch,
    Watch,
    Wish,
    Withdraw,
    Withdrawn,
)
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched._core.lock_table import Request
    from actorsched._system.deadlines import Times
    from actorsched._system.line import Line
    from actorsched._system.locks import Locks
    from actorsched._system.nursery import Nursery
    from actorsched._system.pools import Place, Pool
    from actorsched.options import TaskOptions

_NOTHING: dict[str, Any] = {}
_NOTHING_YET: tuple[float, str | None] = (0.0, None)
RETRY = Retry()
REFS: set[type] = set()
"""The types that stand for a task, their `_task`, among arguments. Filled by the layer that defines them."""
_UNDERWAY = Underway()
_HURRY = Hurry()
_WAITING = TaskStatus.WAITING
_READY = TaskStatus.READY
_RUNNING = TaskStatus.RUNNING
_COMPLETED = TaskStatus.COMPLETED
_RETURNED: Outcome[Any] = Outcome(_COMPLETED)


class TaskActor(Urgent, eq=False):
    """One task."""

    settles: ClassVar[bool] = True

    owner: Nursery | Line
    """The scope that it was spawned in; it hears `Settled` like anyone who waits."""
    number: int
    function: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: TaskOptions
    context: Context | None
    host: str
    pool: Pool
    upstream: list[TaskActor] | None = None
    """The tasks that it depends on, as long as one of them has not settled; one may stand there twice."""
    injected: bool = False
    """Whether some of the arguments are upstream tasks, whose results take their place."""
    missing: int = 0
    """How many upstream tasks it has still to hear of."""
    status: TaskStatus = TaskStatus.PENDING
    outcome: Outcome[Any] | None = None
    worker: Behaviour | None = None
    """Who runs it now."""
    attempt: int = 0
    crashes: int = 0
    progress: tuple[float, str | None] = _NOTHING_YET
    observed: bool = False
    """Whether somebody has seen how it ended."""
    holders: int = 1
    """How many refs there are, and others who are going to look at its outcome; at first, whoever made it."""
    waiters: dict[Behaviour, None] | None = None
    answers: dict[Reply, None] | None = None
    label: str | None = None
    """What is left of its function's name when the function is let go of."""
    stopping: TaskCancelled | TaskTimeout | DeadlineMissed | None = None
    """Why the present attempt was told to stop."""
    timer: Timer | None = None
    packed: Any = None
    """Function and arguments in the form in which they travel to a host process, once they are."""
    place: Place | None = None
    """Where it stands towards the slots of its pool; the scheduler's."""
    paused: bool = False
    """Whether its worker has stopped it in favour of another."""
    base: int | None = None
    """Its own priority, where that was changed."""
    times: Times | None = None
    """When it has to be started and done."""
    request: Request[TaskActor] | None = None
    """The resources that it was submitted with; the locks'."""
    acquires: list[Acquire] | None = None
    """What its code wants to take as soon as it is chosen again."""
    locking: bool = False
    """Whether it may hold resources, or wait for some."""

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.options.name or self.label or function_name(self.function)

    @property
    def id(self) -> str:
        """Its name, for programs: unique in the process."""
        return f"task-{self.number}"

    @property
    def own_rank(self) -> int:
        """Its priority without what it inherits."""
        return self.options.priority if self.base is None else self.base

    @property
    def own_due(self) -> float:
        """Its deadline without what it inherits."""
        return inf if self.times is None else self.times.due

    @property
    def stalled(self) -> bool:
        """Whether its code has been waiting for some time for something unknown; only the loop can tell."""
        return self.worker is not None and getattr(self.worker, "stalled", False)

    @property
    def preemptible(self) -> bool:
        """Whether it may be taken off its worker before it has ended."""
        return self.options.preemptible

    @property
    def cost(self) -> float | None:
        """The processor time that it is expected to take, in seconds."""
        return self.options.cost

    @property
    def period(self) -> float | None:
        """The time between two of its kind, in seconds."""
        return self.options.period

    @property
    def at_work(self) -> bool:
        """Whether an attempt is under way."""
        return self.worker is not None

    @property
    def awaited(self) -> bool:
        """Whether anybody is waiting for it, or may be waiting for whoever had it made."""
        if self.waiters or isinstance(self.owner, Waiter):
            return True
        return self.locking and self.locks.table.foremost_waiter_on(self) is not None

    @property
    def holds_resources(self) -> bool:
        """Whether it may hold resources, or wait for some."""
        return self.locking

    @property
    def hurried(self) -> bool:
        """Whether its attempt was told to stop."""
        return self.stopping is not None

    def __repr__(self) -> str:
        return f"<task {self.name!r} {self.status.value}>"

    # ------------------------------------------------------------------------- before the first attempt

    def begin(self, out: Outbox) -> None:
        """The scheduler admits it: it sees to its dependencies."""
        assert self.upstream is not None
        self.status = _WAITING
        if out.watched:
            out.tell("waiting", self)
        missing, rank, due = 0, self.rank, self.due
        for upstream in self.upstream:
            if upstream.rank < rank or due < upstream.due or upstream.lenders is not None:
                upstream.urged_by(self, out)
            waiters = upstream.waiters
            if waiters is None or upstream.waits is not None or upstream.outcome is not None:
                missing += upstream.expected_by(self, out)
            elif self not in waiters:
                waiters[self] = None
                missing += 1
        self.missing = missing

    @handles(Settled)
    def _upstream_settled(self, message: Settled, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.settled(self, message.task, out)  # type: ignore[arg-type]
            return self.waits_changed()
        if not self.missing:
            return
        self.missing -= 1
        if message.outcome.error is not None and self.options.on_upstream_failure == "fail":
            return self._upstream_failed(message, out)
        if not self.missing:
            self._become_ready(out)

    def upstream_completed(self, task: TaskActor, out: Outbox) -> None:
        """The same as `Settled`, told at once: what follows leads to the scheduler, and no further."""
        missing = self.missing
        if not missing:  # it does not depend on that task, but waits for it
            assert task.outcome is not None
            return self._upstream_settled(Settled(task, task.outcome), out)
        self.missing = missing = missing - 1
        if not missing:
            self.upstream = None
            self.scheduler.ready(self, out)  # type: ignore[union-attr]

    def shows(self) -> bool:
        """Whether the failure of an upstream task is seen in what becomes of this one."""
        return self.upstream is not None and (self.injected or self.options.on_upstream_failure == "fail")

    def _upstream_failed(self, message: Settled, out: Outbox) -> None:
        error = message.outcome.error
        if message.outcome.status is TaskStatus.CANCELLED:
            reason = getattr(error, "reason", None)
            return self._settle_cancelled(
                reason or f"upstream task {_named(message.task)} was cancelled", out
            )
        upstream = _named(message.task)
        what = f"failed: {type(error).__name__}: {error}"
        first = f"{upstream} {what}"
        if isinstance(error, DependencyFailed) and error.first is not None:  # quoted once, in any chain
            what, first = f"was not run either: {error.first}", error.first
        failure = DependencyFailed(
            f"task {self.name!r} was not run, because {upstream}, which it depends on, {what}; "
            "mend that task, or spawn this one with on_upstream_failure='run'",
            task=self.name,
            upstream=upstream,
            first=first,
        )
        failure.__cause__ = error
        self._fail(failure, out)

    def admitted(self, out: Outbox) -> None:
        """The scheduler has put it into the queue."""
        self.status = _READY
        if out.watched:
            out.tell("ready", self)

    def _become_ready(self, out: Outbox, *, again: bool = False) -> None:
        self.status = _READY
        self.upstream = None
        assert self.scheduler is not None
        out.send((self.scheduler, Ready(self, again)))

    def blocked(self, out: Outbox) -> None:
        """It was about to start, and has to wait for the resources that it was submitted with."""
        self.status = TaskStatus.BLOCKED
        self.locking = True

    @handles(Granted)
    def _granted(self, message: Granted, out: Outbox) -> None:
        if self.status is TaskStatus.BLOCKED and self.outcome is None:
            self._become_ready(out)

    def arguments(self) -> tuple[Sequence[Any], dict[str, Any]]:
        """What to call the function with: results stand where upstream tasks stood."""
        if not self.injected:
            return self.args, self.kwargs
        kwargs = self.kwargs
        if kwargs:
            kwargs = dict(zip(kwargs, _results(kwargs.values()), strict=True))
        return _results(self.args), kwargs

    # ------------------------------------------------------------------------------------- an attempt

    def begun_by(self, worker: Behaviour, out: Outbox) -> None:
        """A worker begins an attempt."""
        self.status = _RUNNING
        self.attempt += 1
        self.worker = worker
        if out.watched:
            out.tell("started", self)
        if self.times is not None:
            self.times.started(out)
        if self.request is not None:
            self.locking = True
        if self.stopping is not None:  # cancelled while the worker was being told
            out.send((worker, Interrupt(self, self.stopping)))

    @handles(Started)
    def _started(self, message: Started, out: Outbox) -> None:
        self.begun_by(message.worker, out)
        if message.begun and self.stopping is None:
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
        expired = TaskTimeout(
            f"attempt {self.attempt} of task {self.name!r} was stopped after its timeout of {timeout:g} s; "
            "give it more time, or make it faster",
            task=self.name,
            timeout=timeout,
        )
        self._stop(expired, out)

    @handles(Finished)
    def _finished(self, message: Finished, out: Outbox) -> None:
        self.worker = None
        if self.timer is not None:
            self._clear_timer()
        if self.waits is not None:
            self.waits.abandon(self, out)
            self.waits = None
        self.paused = False
        if self.locking:
            self._unlock(out)
        if self.outcome is not None:
            return
        error, stopping = message.error, self.stopping
        if stopping is not None:
            self.stopping = None
            if isinstance(stopping, DeadlineMissed):
                return self._settle(self.times.missed(self, error, stopping), out)  # type: ignore[union-attr]
        if error is None:
            value = message.value
            return self._settle(_RETURNED if value is None else Outcome(_COMPLETED, value), out)
        if isinstance(stopping, TaskCancelled) and message.stopped:
            return self._settle(Outcome(TaskStatus.CANCELLED, error=stopping), out)
        if stopping is not None and message.stopped:
            if error is not stopping:
                stopping.__cause__ = error  # which shows where it was stopped
            error = stopping
        self._attempt_failed(error, message, out, final=isinstance(stopping, TaskCancelled))

    @handles(GivenBack)
    def _given_back(self, message: GivenBack, out: Outbox) -> None:
        self._clear_timer()
        self.worker = None
        if self.outcome is not None:
            return
        self.attempt -= 1
        self.paused = False
        if self.locking:
            self._unlock(out)
        stopping, self.stopping = self.stopping, None
        if isinstance(stopping, (TaskCancelled, DeadlineMissed)):
            self._settle(_stopped(stopping), out)
        else:
            self._become_ready(out, again=True)

    def _attempt_failed(self, error: BaseException, message: Finished, out: Outbox, *, final: bool) -> None:
        """Try again, or fail for good."""
        crashed = message.crashed and not message.stopped
        retry = self.options.retry
        self.crashes += crashed
        if final or (retry.attempts == 1 and not retry.crashes):
            return self._fail(error, out)
        fraction = out.random()
        if crashed:
            decision = after_crash(retry, crashes=self.crashes, fraction=fraction)
        else:
            decision = after_failure(
                retry, attempt=self.attempt, error=error, fraction=fraction, crashes=self.crashes
            )
        if not isinstance(decision, Again):
            error.add_note(f"not retried: {decision.why}")
            return self._fail(error, out)
        if not decision.delay:
            return self._become_ready(out)
        self.status = TaskStatus.RETRYING
        if out.watched:
            out.tell("retrying", self)
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

    @handles(Preempted)
    def _preempted(self, message: Preempted, out: Outbox) -> None:
        if self.worker is None:
            return
        self.paused = True
        self.status = TaskStatus.PREEMPTED
        if out.watched:
            out.tell("preempted", self)
        assert self.scheduler is not None
        out.send((self.scheduler, message))

    @handles(Resume)
    def _slot_again(self, message: Resume, out: Outbox) -> None:
        if self.worker is None:
            return
        self.paused = False
        out.send((self.worker, message))
        if message.slot and self.waits is not None:
            self.waits.resumed(self, out)
        self.waits_changed()

    # ------------------------------------------------------------------------------------- resources

    @handles(Acquire)
    def _acquire(self, message: Acquire, out: Outbox) -> None:
        """Its code wants some resource. It gets it if it still runs when this instant is over."""
        self.locking = True
        assert self.scheduler is not None
        if self.acquires is None:
            self.acquires = []
        self.acquires.append(message)
        out.send((self.scheduler, Wish(self)))

    @handles(Chosen)
    def _chosen(self, message: Chosen, out: Outbox) -> None:
        acquires, self.acquires = self.acquires, None
        for acquire in acquires or ():
            out.send((self.locks, acquire))

    @property
    def locks(self) -> Locks:
        """The resources of its runtime."""
        scheduler: Any = self.scheduler
        locks: Locks = scheduler.locks
        return locks

    def _unlock(self, out: Outbox) -> None:
        """Nothing of it holds any resource, or waits for one."""
        self.locking = False
        self.acquires = None
        self.locks.ended(self, out)

    def tells_of_wait(self, target: Waiter) -> str:
        """What it holds, what it waits for, and where: one sentence of an error about a deadlock."""
        held = ", ".join(self.locks.table.held_by(self)) or "nothing"
        where = getattr(target, "where", None) or line_of(self.worker)
        at = f" at {where}" if where else " as it starts" if self.worker is None else ""
        what = f"resource {target.name}" if target.locks_wait else repr(target.name)
        return f"task {self.name!r} (priority {self.own_rank}) holds {held} and waits for {what}{at}"

    # ------------------------------------------------------------------------------------- deadlines

    @handles(LatencyPassed)
    def _latency_passed(self, message: LatencyPassed, out: Outbox) -> None:
        if self.times is None or self.times.latency is None:
            return
        if message.looks:
            out.at_rest((self, LatencyPassed(message.looks - 1)))
        else:
            self.times.alert(self, out)

    @handles(DeadlinePassed)
    def _deadline_passed(self, message: DeadlinePassed, out: Outbox) -> None:
        if self.outcome is not None or self.times is None:
            return
        if out.watched:
            out.tell("deadline_missed", self, deadline=self.times.due, final=False)
        if not self.options.hard or isinstance(self.stopping, TaskCancelled):
            return
        missed = self.times.error(self, out.now)
        if self.worker is None and self.status is not _READY:
            self._settle(_stopped(missed), out)
        else:
            self._stop(missed, out)

    # ---------------------------------------------------------------------------------- cancellation

    @handles(Cancel)
    def _cancel(self, message: Cancel, out: Outbox) -> None:
        if self.outcome is not None or isinstance(self.stopping, TaskCancelled):
            return
        if self.worker is None and self.status is not TaskStatus.READY:
            return self._settle_cancelled(message.reason, out)
        self._stop(self._cancellation(message.reason), out)

    def _stop(self, reason: TaskCancelled | TaskTimeout | DeadlineMissed, out: Outbox) -> None:
        """Have its worker stop it, or take it out of the queue."""
        self.stopping = reason
        if self.worker is None:
            assert self.scheduler is not None
            return out.send((self.scheduler, Withdraw(self)))
        out.send((self.worker, Interrupt(self, reason)))
        if self.waits is not None:
            out.send((self, _HURRY))

    @handles(Hurry)
    def _hurry(self, message: Hurry, out: Outbox) -> None:
        """Whoever was not interrupted as it waited for the slot, being shielded, goes on without."""
        if self.waits is not None:
            self.waits.hurry(out)
            self.waits_changed()

    @handles(Withdrawn)
    def _withdrawn(self, message: Withdrawn, out: Outbox) -> None:
        if self.outcome is None and isinstance(self.stopping, (TaskCancelled, DeadlineMissed)):
            self._settle(_stopped(self.stopping), out)

    def _settle_cancelled(self, reason: str | None, out: Outbox) -> None:
        self._settle(Outcome(TaskStatus.CANCELLED, error=self._cancellation(reason)), out)

    def _cancellation(self, reason: str | None) -> TaskCancelled:
        why = f": {reason}" if reason else ""
        return TaskCancelled(f"task {self.name!r} was cancelled{why}", reason=reason, task=self.name)

    # --------------------------------------------------------------------------------------- settling

    def _fail(self, error: BaseException, out: Outbox) -> None:
        self._settle(Outcome(TaskStatus.FAILED, error=error, origin=error.__traceback__), out)

    def _settle(self, outcome: Outcome[Any], out: Outbox) -> None:
        if self.times is not None:
            outcome = self.times.over(self, outcome, out)
        self.outcome = outcome
        self.status = outcome.status
        if self.timer is not None:
            self._clear_timer()
        if self.locking:
            self._unlock(out)
        pool = self.pool
        if pool.remembers and self.place is None:
            pool.policy.forget(self, out.now)
        if out.watched:
            out.tell(outcome.status.value, self, final=True)  # type: ignore[arg-type]  # a final status
        if outcome.error is None:
            self.owner.completed(self, out)
        else:
            out.send((self.owner, Settled(self, outcome)))
        waiters = self.waiters
        if waiters is not None:
            self.waiters = None
            for waiter in waiters:
                if outcome.error is None and type(waiter) is TaskActor:
                    waiter.upstream_completed(self, out)
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

    def _forget_upstream(self, out: Outbox) -> None:
        upstreams, self.upstream, self.missing = self.upstream, None, 0
        forget = Forget(self)
        for upstream in upstreams or ():
            if upstream.outcome is None:
                out.send((upstream, forget))

    def _tell(self, waiter: Behaviour, outcome: Outcome[Any], out: Outbox) -> None:
        """Tell somebody by mail: of a failure in any case, because it may run along a chain of any length."""
        out.send((waiter, Settled(self, outcome)))
        if outcome.error is not None and type(waiter) is TaskActor and waiter.shows():
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
            out.report(logging.ERROR, f"task {self.name!r} {how}, and nobody looked at its outcome", error)

    def _clear_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

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

    # ------------------------------------------------------------------------- waiting of its own code

    def waits_changed(self) -> None:
        """While its code waits it is WAITING or BLOCKED, and READY when that only waits for its slot."""
        waits, before = self.waits, self.status
        if self.worker is None:
            return
        if waits is not None and waits and not self.hurried:
            locked = any(target.locks_wait for target in waits.targets())
            self.status = TaskStatus.BLOCKED if locked else _WAITING
        elif self.paused:
            self.status = TaskStatus.PREEMPTED
        else:
            self.status = _READY if waits is not None and waits.resuming else _RUNNING
        if self.kernel.watched and self.status is not before and self.status in (_WAITING, _READY):
            self.kernel.tell(self.status.value, self)  # type: ignore[arg-type]  # one of the two

    def awaits(self) -> Iterable[Waiter]:
        """Whom and what it waits for: upstream tasks, the resources that it needs to start, and its code."""
        targets = list(super().awaits())
        targets += [upstream for upstream in self.upstream or () if upstream.outcome is None]
        if self.request is not None and self.request.waits:
            targets.append(self.locks.waits[self.request])
        return targets

    def knots(self) -> bool:
        """Only holders of resources who wait can be in a circle that is no deadlock."""
        locks = getattr(self.scheduler, "locks", None)
        return locks is not None and bool(locks.waits) and locks.knots()

    def urgency_changed(self, out: Outbox) -> None:
        """The scheduler has to know."""
        if self.outcome is None:
            assert self.scheduler is not None
            out.send((self.scheduler, PriorityChanged(self)))

    @handles(Refused)
    def _must_give_way(self, message: Refused, out: Outbox) -> None:
        if self.worker is not None:
            self._refused(message, out)
        elif self.outcome is None and is_closed(message.circle):
            if out.watched:
                tell_of_deadlock(message.circle, self, out)
            self._fail(message.error, out)

    @handles(Probe)
    def _pass_probe(self, message: Probe, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.pass_on(self, message, out)
            self.waits_changed()
        if self.request is not None and self.request.waits:
            pass_probe(self, self.locks.waits[self.request], message, out)
        for upstream in self.upstream or ():
            error = pass_probe(self, upstream, message, out)
            if error is not None:  # it could never start
                return self._fail(error, out)

    @handles(SetPriority)
    def _set_priority(self, message: SetPriority, out: Outbox) -> None:
        if self.outcome is not None:
            return
        before, self.base = self.own_rank, message.priority
        if message.priority < before:  # those who had nothing to lend may have something now
            for waiter in self.waiters or ():
                if isinstance(waiter, Urgent):
                    self.lenders = Lenders() if self.lenders is None else self.lenders
                    self.lenders.lend(waiter, waiter.rank, waiter.due)
        self.reconsider(out)

    @handles(Inherit)
    def _urged(self, message: Inherit, out: Outbox) -> None:
        """Once it has ended, nobody lends it anything."""
        if self.outcome is None:
            self._inherit(message, out)


def _stopped(reason: TaskCancelled | DeadlineMissed) -> Outcome[Any]:
    """How a task ends that was told to stop for good."""
    late = isinstance(reason, DeadlineMissed)
    return Outcome(TaskStatus.DEADLINE_MISSED if late else TaskStatus.CANCELLED, error=reason)


def function_name(function: Callable[..., Any] | None) -> str:
    """What to call a task after, when nobody gave it a name."""
    name: str | None = getattr(function, "__qualname__", None)
    if name is not None:
        return name
    inner = getattr(function, "func", None)  # functools.partial
    return type(function).__name__ if inner is None else function_name(inner)


def _named(task: Behaviour) -> str:
    return repr(getattr(task, "name", task))


def _results(values: Iterable[Any]) -> list[Any]:
    """The values, with results in the place of tasks; and errors, for whoever runs in spite of them."""
    results: list[Any] = []
    for value in values:
        if type(value) is TaskActor:
            outcome = value.outcome
            assert outcome is not None
            results.append(outcome.value if outcome.error is None else outcome.error)
        else:
            results.append(value)
    return results

"""The attempts of a task: how one begins, is preempted, stopped and over, and what follows from its end.

A worker tells `Started` and `Finished`; the latter through the scheduler, where there is a slot to be given
away. What follows from an attempt's end, be it another attempt or the final status, is decided here and
nowhere else; so is what becomes of a task that is cancelled, or late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.retrying import Again, after_crash, after_failure
from actorsched._system.debugging import time_debugged
from actorsched._system.task_end import said, stopped_for_good
from actorsched._system.task_waits import TaskWaits
from actorsched.exceptions import DeadlineMissed, TaskCancelled, TaskTimeout
from actorsched.messages import (
    AttemptExpired,
    Cancel,
    DeadlinePassed,
    Finished,
    GivenBack,
    Hurry,
    Idle,
    Interrupt,
    LatencyPassed,
    Outcome,
    Preempted,
    Report,
    Resume,
    Retry,
    Settle,
    Started,
    Underway,
    Withdraw,
    Withdrawn,
)
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched._system.task_state import Special

RETRY = Retry()
_STARTED: dict[str, Any] = {"attempt": 1, "host": "loop", "worker": "loop"}
"""What there is to say of most tasks that start."""
_UNDERWAY = Underway()
_HURRY = Hurry()
_READY = TaskStatus.READY
_RUNNING = TaskStatus.RUNNING
_COMPLETED = TaskStatus.COMPLETED
_RETURNED: Outcome[Any] = Outcome(_COMPLETED)


class TaskAttempts(TaskWaits, eq=False):
    """Being run."""

    def turned_away(self, worker: Behaviour | None, out: Outbox) -> bool:
        """Whether it was withdrawn in the last moment: asked by a worker before it begins an attempt.

        Then it is over, and the worker has room again.
        """
        owner = self.owner
        if not owner.gates or owner.lets_begin(self):  # type: ignore[arg-type, union-attr]  # an Intake
            return False
        self.stopping = self._cancellation("it was withdrawn before it began")
        finished = Finished(error=self.stopping, stopped=True)
        if self.pool.boundless:
            out.send((self, finished))
        else:
            out.send((self.scheduler, Idle(worker, self, finished)))  # type: ignore[arg-type]  # there is one
        return True

    def begun_by(self, worker: Behaviour, out: Outbox) -> None:
        """A worker begins an attempt."""
        self.status = _RUNNING
        self.attempt += 1
        self.worker = worker
        if out.watched:
            lane: str = getattr(worker, "lane", "loop")
            first = lane == "loop" and self.attempt == 1 and self.host == "loop"
            about = _STARTED if first else {"attempt": self.attempt, "host": self.host, "worker": lane}
            out.note("started", self.options.name or self.label or self.name, self.number, about)
        if self.special is not None:
            self._begun(self.special, out)
        if self.stopping is not None:  # cancelled while the worker was being told
            out.send((worker, Interrupt(self, self.stopping)))

    def _begun(self, special: Special, out: Outbox) -> None:
        timing = special.timing
        if timing is not None:
            timing.started = now = out.now
            if timing.first < 0.0:
                timing.first = now
        if special.times is not None:
            special.times.started(out)
        if special.request is not None:
            special.locking = True

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
        if self.host == "process" and (debugged := time_debugged(self.worker, self)):
            self.timer = out.later(debugged, self, message)
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
    def finished(self, message: Finished, out: Outbox) -> None:
        """An attempt is over. The scheduler passes it on from a worker whose slot it gives away."""
        self.worker = None
        if self.timer is not None:
            self._clear_timer()
        if self.waits is not None:
            self.waits.abandon(self, out)
            self.waits = None
        self.paused = False
        if self.special is not None and self.special.locking:
            self._unlock(out)
        if self.outcome is not None:
            return
        if self.special is not None and self.special.decided is not None:
            return self._settle(self.special.decided, out)
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
        self.given_back(out)

    def given_back(self, out: Outbox) -> None:
        """Its worker has not begun it, and will not: `GivenBack`, told at once."""
        self._clear_timer()
        self.worker = None
        if self.outcome is not None:
            return
        self.attempt -= 1
        self.paused = False
        if self.special is not None:
            if self.special.timing is not None:
                self.special.timing.unbegun(self.attempt)
            if self.special.locking:
                self._unlock(out)
        stopping, self.stopping = self.stopping, None
        if isinstance(stopping, (TaskCancelled, DeadlineMissed)):
            self._settle(self._as_told(stopping), out)
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
        if out.watched:
            out.tell("retrying", self, error=said(error), delay=decision.delay)
        if not decision.delay:
            return self._become_ready(out)
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
            if out.watched:
                out.tell("progress", self, fraction=message.fraction, message=message.message)

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

    # ------------------------------------------------------------------------------------- deadlines

    @handles(LatencyPassed)
    def _latency_passed(self, message: LatencyPassed, out: Outbox) -> None:
        times = self.times
        if times is None or times.latency is None:
            return
        if message.looks:
            out.at_rest((self, LatencyPassed(message.looks - 1)))
        else:
            times.alert(self, out)

    @handles(DeadlinePassed)
    def _deadline_passed(self, message: DeadlinePassed, out: Outbox) -> None:
        times = self.times
        if self.outcome is not None or times is None:
            return
        if out.watched:
            out.tell("deadline_missed", self, deadline=times.due, final=False)
        if not self.options.hard or isinstance(self.stopping, TaskCancelled):
            return
        missed = times.error(self, out.now)
        if self.worker is None and self.status is not _READY:
            self._settle(stopped_for_good(missed), out)
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
            self._settle(self._as_told(self.stopping), out)

    def _as_told(self, reason: TaskCancelled | DeadlineMissed) -> Outcome[Any]:
        """How it ends, having been told to stop for good before it had begun."""
        decided = None if self.special is None else self.special.decided
        return stopped_for_good(reason) if decided is None else decided

    def may_be_settled_as(self, outcome: Outcome[Any]) -> bool:
        """Somebody wants to settle it by hand. If nobody else has, that is how it ends, whatever comes."""
        decided = None if self.special is None else self.special.decided
        if decided is not None or self.outcome is not None or isinstance(self.stopping, TaskCancelled):
            return False
        self.specially().decided = outcome
        return True

    @handles(Settle)
    def _settle_by_hand(self, message: Settle, out: Outbox) -> None:
        if self.outcome is not None or isinstance(self.stopping, TaskCancelled):
            return
        if self.worker is None and self.status is not TaskStatus.READY:
            assert self.special is not None
            assert self.special.decided is not None
            return self._settle(self.special.decided, out)
        self._stop(self._cancellation("it was settled by hand"), out)

    def _settle_cancelled(self, reason: str | None, out: Outbox) -> None:
        self._settle(Outcome(TaskStatus.CANCELLED, error=self._cancellation(reason)), out)

    def _cancellation(self, reason: str | None) -> TaskCancelled:
        why = f": {reason}" if reason else ""
        return TaskCancelled(f"task {self.name!r} was cancelled{why}", reason=reason, task=self.name)

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """Its attempts were counted, and its timer is for something."""
        super().check()
        worker, status, retry = self.worker, self.status, self.options.retry
        require(
            self.timer is None or self.at_work or status is TaskStatus.RETRYING,
            self,
            "its timer is for the attempt that is under way, or for the next one",
        )
        retries = status is not TaskStatus.RETRYING or self.timer is not None
        require(retries, self, "there is a timer for its next attempt")
        require(
            not self.paused or worker is not None, self, "only what runs was stopped in favour of another"
        )
        require(status is not TaskStatus.PREEMPTED or self.paused, self, "whoever is preempted was stopped")
        require(worker is None or self.attempt > 0, self, "whoever runs is in an attempt")
        require(0 <= self.crashes <= self.attempt, self, "no more attempts have crashed than there were")
        require(self.crashes <= retry.crashes + 1, self, "it has not outlived its crash budget")
        require(self.attempt - self.crashes <= retry.attempts, self, "it had no more attempts than it may")
        decided = None if self.special is None else self.special.decided
        settled = decided is None or self.outcome is None or decided.status is self.outcome.status
        require(settled, self, "it has ended as somebody has decided")

    def check_at_rest(self) -> None:
        """The same; and whoever was to be stopped is being stopped."""
        super().check_at_rest()
        stopped = self.stopping is None or self.at_work or self.outcome is not None
        require(stopped, self, "no cancellation is lost, also before the start")
        alone = self.paused or self.status is not TaskStatus.PREEMPTED
        require(alone, self, "whoever is preempted was stopped by its worker")

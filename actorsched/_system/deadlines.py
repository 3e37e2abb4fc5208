"""When a task has to be started and done, and what becomes of it when it is not.

A hard deadline stops the task, or takes it out of the queue: it ends DEADLINE_MISSED. After a soft one it
goes on, and by how much it was late is recorded in its outcome. What is done exactly at its deadline is in
time. A task that was to be started by now, and was not, is an alert; it is not stopped.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from actorsched._core.timers import TOO_LATE
from actorsched.durations import describe
from actorsched.exceptions import DeadlineMissed
from actorsched.messages import DeadlinePassed, LatencyPassed, Outcome
from actorsched.options import seconds_until
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched._core.behaviour import Outbox, Timer
    from actorsched._system.task_state import TaskState
    from actorsched.options import TaskOptions


class Times(msgspec.Struct, eq=False):
    """The times of one task, by the runtime's clock, in seconds."""

    submitted: float
    due: float = inf
    """Its own deadline."""
    start_by: float = inf
    deadline: Timer | None = None
    latency: Timer | None = None

    def watch(self, task: TaskState, out: Outbox) -> None:
        """The task is submitted: from now on time is running."""
        if self.due != inf:
            self.deadline = out.later(self.due - out.now, task, DeadlinePassed(), phase=TOO_LATE)
        if self.start_by != inf:
            self.latency = out.later(self.start_by - out.now, task, LatencyPassed(), phase=TOO_LATE)

    def started(self, out: Outbox) -> None:
        """The first attempt has begun, or another one."""
        if self.latency is not None:
            self.latency.cancel()
            self.latency = None

    def alert(self, task: TaskState, out: Outbox) -> None:
        """It should have been started by now."""
        self.latency = None
        limit = task.options.max_latency
        out.report(
            logging.WARNING,
            f"task {task.name!r} was not started within max_latency={describe(limit or 0.0)}: it is "
            f"{task.status.value}; raise its priority, or the limits of its pool {task.pool.name!r}",
        )
        if out.watched:
            out.tell("alert", task, limit="max_latency", seconds=limit)

    def error(self, task: TaskState, now: float) -> DeadlineMissed:
        """Why a task with a hard deadline is stopped."""
        began = "after it had begun" if task.attempt else "before it had begun"
        return DeadlineMissed(
            f"task {task.name!r} was stopped {began}, at its hard deadline of "
            f"{describe(self.due - self.submitted)} after its submission; give it more time or a higher "
            "priority, or let the deadline be a soft one",
            task=task.name,
            tardiness=max(0.0, now - self.due),
        )

    def missed(self, task: TaskState, error: BaseException | None, missed: DeadlineMissed) -> Outcome[Any]:
        """The task has stopped, as it was told to at its hard deadline."""
        if error is not None and error is not missed:
            missed.__cause__ = error  # which shows where it was stopped
        return Outcome(TaskStatus.DEADLINE_MISSED, error=missed)

    def over(self, task: TaskState, outcome: Outcome[Any], out: Outbox) -> Outcome[Any]:
        """The task has ended: nothing has to be watched any more. Answers with how late it was."""
        self.forget()
        self.deadline = self.latency = None
        if self.due == inf:
            return outcome
        late = max(0.0, out.now - self.due)
        if outcome.status is TaskStatus.DEADLINE_MISSED and isinstance(outcome.error, DeadlineMissed):
            outcome.error.tardiness = late  # until now it was how late it was told to stop
        return msgspec.structs.replace(outcome, tardiness=late)

    def forget(self) -> None:
        """The task was not admitted."""
        for timer in (self.deadline, self.latency):
            if timer is not None:
                timer.cancel()


def times_of(options: TaskOptions, now: float) -> Times:
    """The times of a task that is submitted now.

    Raises:
        ValueError: The deadline is past.
    """
    deadline, latency = options.deadline, options.max_latency
    if deadline is not None and not isinstance(deadline, (int, float)):
        deadline = seconds_until(deadline)
    return Times(
        now,
        inf if deadline is None else now + deadline,
        inf if latency is None else now + latency,
    )

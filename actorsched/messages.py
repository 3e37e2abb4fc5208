"""The words that the system's actors exchange, and the values in them.

A message is data: no methods but those that read it. Who sends which message to whom, and when, is told
on the page of the actor that takes it. The conversations are listed in the design page of the scheduler.

Messages are collected like any other object: an exception refers to frames and frames refer to messages,
so only messages without any reference to the outside are exempt from the garbage collector.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

import msgspec

from actorsched.status import TaskStatus  # noqa: TC001  # whoever asks for the signature of Outcome needs it

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorsched._core.behaviour import Behaviour, Reply
    from actorsched._system.waiting import Step, Waiter

T = TypeVar("T")

ExitKind = Literal["stopped", "shutdown", "killed", "failed"]


class Outcome(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """How a task ended: with a value or with an error.

    Attributes:
        status: The final status.
        value: What the task returned; None unless it completed.
        error: Why there is no value; None when it completed.
        origin: Where the error comes from: its traceback before anybody raised it again.
    """

    status: TaskStatus
    value: T | None = None
    error: BaseException | None = None
    origin: TracebackType | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def unwrap(self) -> T:
        """The value.

        Raises:
            BaseException: The error, where the task has no value.
        """
        if self.error is not None:  # raised as it came: else it would gather the frames of all who look
            raise self.error.with_traceback(self.origin)
        return cast("T", self.value)


class ExitReason(msgspec.Struct, frozen=True, eq=False):
    """Why an actor ended, or why one life of it did.

    Attributes:
        kind: "stopped" (asked to, by `stop()`), "shutdown" (its scope, supervisor or parent ended), "killed"
            or "failed".
        error: The failure, for "failed".
    """

    kind: ExitKind
    error: BaseException | None = None

    def __str__(self) -> str:
        return self.kind if self.error is None else f"{self.kind}: {type(self.error).__name__}: {self.error}"


class DeadLetter(msgspec.Struct, frozen=True, eq=False):
    """A message that was not handled.

    Attributes:
        actor: The name of the actor that it was for.
        handler: The handler that it was for.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        sender: The name of the task or actor that sent it; None when it came from elsewhere.
        reason: Why: "stopped", "shutdown", "killed" or "failed" (so the actor ended), "dropped" or "full"
            (its mailbox overflowed), "expired" or "withdrawn" (its sender no longer wanted it); "skipped" for
            an item of a pipeline that failed: then `actor` is the stage, and `handler` its function.
        error: What failed, for "skipped".
    """

    actor: str
    handler: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    sender: str | None
    reason: str
    error: BaseException | None = None


class Failure(msgspec.Struct, frozen=True, eq=False):
    """An answer that is an error: what waits raises it."""

    error: BaseException


# ---------------------------------------------------------------------------------------- submission


class Submit(msgspec.Struct, frozen=True, eq=False):
    """Client to scheduler: this task wants to run."""

    task: Behaviour


class Ready(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: nothing but a worker is missing."""

    task: Behaviour


class Withdraw(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: take me out of the queue."""

    task: Behaviour


class Withdrawn(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to task: you were in the queue, and are no longer; nothing of you has run."""


# -------------------------------------------------------------------------------------- dependencies


class Await(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task: tell me how you end.

    Attributes:
        probed: Whether a probe along this wait follows, so that nobody else has to send one.
    """

    waiter: Behaviour
    probed: bool = False


class Forget(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task: I no longer wait for you."""

    waiter: Behaviour


class Settled(msgspec.Struct, frozen=True, eq=False):
    """Task to whoever awaits it: this is how I ended."""

    task: Behaviour
    outcome: Outcome[Any]


# ------------------------------------------------------------------------------------------ dispatch


class Assign(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to worker: run this."""

    task: Behaviour


class Started(msgspec.Struct, frozen=True, eq=False):
    """Worker to task: you are mine now.

    Attributes:
        begun: Whether the time of the attempt runs from now on; otherwise `Underway` says when it does.
    """

    worker: Behaviour
    begun: bool = False


class Underway(msgspec.Struct, frozen=True, eq=False):
    """Worker to task: your function is about to take its first step."""


class Finished(msgspec.Struct, frozen=True, eq=False):
    """Worker to task: this attempt of you is over.

    Attributes:
        value: What the function returned.
        error: What it raised; None when it returned.
        stopped: Whether it ended because it was interrupted.
        crashed: Whether it ended with the process that ran it.
        begun: Whether any of it had run.
    """

    value: Any = None
    error: BaseException | None = None
    stopped: bool = False
    crashed: bool = False
    begun: bool = True


class GivenBack(msgspec.Struct, frozen=True, eq=False):
    """Worker to task: I did not get as far as running you; you are ready again."""


class Idle(msgspec.Struct, frozen=True, eq=False):
    """Worker to scheduler: I have room for one more task."""

    worker: Behaviour
    task: Behaviour


class Lend(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: I wait for something of ours; somebody else may have my slot."""

    task: Behaviour


class Reclaim(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: I can go on, and want a slot again."""

    task: Behaviour


class Resume(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to task: you have your slot back."""


class PriorityChanged(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: my effective priority is another one."""

    task: Behaviour


class SetPriority(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task: your base priority is this."""

    priority: int


# -------------------------------------------------------------------------------------- cancellation


class Cancel(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task: stop, for good."""

    reason: str | None = None


class Interrupt(msgspec.Struct, frozen=True, eq=False):
    """Task to worker: stop me; `Finished` says when I have."""

    task: Behaviour
    reason: BaseException


class Hurry(msgspec.Struct, frozen=True, eq=False):
    """Task to itself: I was told to stop; nobody in me is to wait for the slot any longer."""


class AttemptExpired(msgspec.Struct, frozen=True, eq=False):
    """Task to itself: the time for this attempt is over."""

    attempt: int


class Retry(msgspec.Struct, frozen=True, eq=False):
    """Task to itself: try again now."""


class GraceOver(msgspec.Struct, frozen=True, eq=False):
    """Worker to itself: this task was told to stop, and has not."""

    task: Behaviour


def check_fraction(fraction: float) -> None:
    """Refuse what is no fraction.

    Raises:
        ValueError: It is no number from 0 to 1.
    """
    if not isinstance(fraction, (int, float)) or isinstance(fraction, bool) or not 0 <= fraction <= 1:
        raise ValueError(
            f"fraction={fraction!r} is no number from 0 to 1; report how much of the task is done"
        )


class Report(msgspec.Struct, frozen=True, eq=False):
    """User code to its task: how far it is."""

    fraction: float
    message: str | None


# ------------------------------------------------------------------------- waiting, and its deadlocks


class Wait(msgspec.Struct, frozen=True, eq=False):
    """User code to its own task: I am going to wait for this actor; answer when it has settled.

    Attributes:
        certain: Whether it cannot be refused: when it closes a circle, another wait in the circle is.
    """

    target: Waiter
    answer: Reply
    certain: bool = False


class EndWait(msgspec.Struct, frozen=True, eq=False):
    """User code to its own task: I no longer wait, or have what I waited for.

    Attributes:
        resumed: Answered as soon as the code may go on.
        at_once: Whether that is now, slot or not: the wait was cut short.
    """

    target: Waiter
    answer: Reply
    resumed: Reply
    at_once: bool = False


class Probe(msgspec.Struct, frozen=True, eq=False):
    """Along the edges of the wait-for graph: when it comes home, the wait that started it closes a circle.

    The method of Chandy, Misra and Haas (1983) for the AND model: sent on the request that may close a
    circle, passed on by whoever waits itself.

    Attributes:
        initiator: Who started to wait.
        target: For whom.
        answer: On what, so that exactly that wait can be refused.
        certain: Whether that wait cannot be refused.
        way: Who passed the probe on, the initiator first.
        seen: Whom it has visited, or is on its way to, along whatever edges: all its copies share this.
    """

    initiator: Waiter
    target: Waiter
    answer: Reply
    certain: bool
    way: Step
    seen: set[Waiter]


class Refused(msgspec.Struct, frozen=True, eq=False):
    """Whoever closed a circle with a wait learns it: the wait would never end, and ends now, in an error."""

    target: Waiter
    answer: Reply
    error: BaseException


# --------------------------------------------------------------------------------------- supervision


class Up(msgspec.Struct, frozen=True, eq=False):
    """Child to supervisor: I have started."""

    child: Behaviour


class Exited(msgspec.Struct, frozen=True, eq=False):
    """Child to supervisor: a life of mine is over.

    Attributes:
        gone: Whether it was the last one whatever the supervisor would have decided: somebody stopped or
            killed it, or its first start has failed.
        known: Whether somebody has been told of the failure already.
    """

    child: Behaviour
    reason: ExitReason
    gone: bool = False
    known: bool = False


class Start(msgspec.Struct, frozen=True, eq=False):
    """Supervisor to child: begin a new life, with the mailbox that you have."""


class Stop(msgspec.Struct, frozen=True, eq=False):
    """Anyone to actor: end in order.

    Attributes:
        reason: Why.
        restart: Whether a new life will follow: then the mailbox is kept, otherwise it is worked off first.
    """

    reason: ExitReason
    restart: bool = False


class Kill(msgspec.Struct, frozen=True, eq=False):
    """Anyone to actor: end at once.

    Attributes:
        reason: Why.
        restart: Whether a new life will follow: then the mailbox is kept.
    """

    reason: ExitReason
    restart: bool = False


class Discard(msgspec.Struct, frozen=True, eq=False):
    """Supervisor to child that has failed: there will be no new life."""


class StartNow(msgspec.Struct, frozen=True, eq=False):
    """Supervisor to itself: the back-off of a plan is over."""

    plan: object


class StopDeadline(msgspec.Struct, frozen=True, eq=False):
    """Supervisor to itself: whoever has not stopped by now is killed."""

    child: Behaviour | None


class Close(msgspec.Struct, frozen=True, eq=False):
    """Owner to supervisor: stop all children, the last started first; answer `Closed`.

    Attributes:
        patience: After how many seconds those that have not stopped are killed; None for never.
        kill: Whether they are killed to begin with.
    """

    patience: float | None = None
    kill: bool = False


class Closed(msgspec.Struct, frozen=True, eq=False):
    """Supervisor to owner: no child is left."""

    supervisor: Behaviour


class Escalated(msgspec.Struct, frozen=True, eq=False):
    """Supervisor to owner: children failed too often; all are stopped, and I have failed myself."""

    supervisor: Behaviour
    reason: ExitReason


class Watch(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task or actor: tell me when, and how, you end for good."""

    answer: Reply


class Unwatch(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task or actor: I no longer want to know."""

    answer: Reply


class Link(msgspec.Struct, frozen=True, eq=False):
    """Anyone to actor: when the other fails, you fail too."""

    other: Behaviour


class Unlink(msgspec.Struct, frozen=True, eq=False):
    """Anyone to actor: the other is no longer linked to you."""

    other: Behaviour


class LinkFailed(msgspec.Struct, frozen=True, eq=False):
    """Actor to a linked actor: I failed, and so do you.

    Attributes:
        origin: Who failed first.
        seen: Who has failed of this already, or is about to; it ends there. One set for all of them, so that
            nobody fails twice of the same, not even one that has been restarted meanwhile.
    """

    origin: Behaviour
    error: BaseException
    seen: set[Behaviour]

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
    from collections.abc import Mapping, Sequence

    from actorsched._core.behaviour import Behaviour, Reply
    from actorsched._core.lock_table import Request
    from actorsched._core.policies import SchedulingPolicy
    from actorsched._system.pools import Pool
    from actorsched._system.waiting import Step, Waiter

T = TypeVar("T")

ExitKind = Literal["stopped", "shutdown", "killed", "failed", "moved"]


class Outcome(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """How a task ended: with a value or with an error.

    Attributes:
        status: The final status.
        value: What the task returned; None unless it completed.
        error: Why there is no value; None when it completed.
        origin: Where the error comes from: its traceback before anybody raised it again.
        tardiness: By how many seconds the task ended after its deadline, 0 when it was in time; None if it
            had none.
    """

    status: TaskStatus
    value: T | None = None
    error: BaseException | None = None
    origin: TracebackType | None = None
    tardiness: float | None = None

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
        kind: "stopped" (asked to, by `stop()`), "shutdown" (its scope, supervisor or parent ended), "killed",
            "failed", or, only for a life, "moved" (its host process is replaced, and it goes on in another).
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
            (its mailbox overflowed), "expired" or "withdrawn" (its sender no longer wanted it); "lost" in a
            simulation with faults; "skipped" for an item of a pipeline that failed: then `actor` is the
            stage, and `handler` its function.
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
    """Task to scheduler: nothing but a worker is missing.

    Attributes:
        again: Whether it was with a worker already, which has not begun it: it goes before its equals.
    """

    task: Behaviour
    again: bool = False


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


class Move(msgspec.Struct, frozen=True, eq=False):
    """Staff to scheduler: this task, which you have just given a slot, is to wait in another pool instead."""

    task: Behaviour
    pool: Pool


class Unbegun(msgspec.Struct, frozen=True, eq=False):
    """Worker to scheduler: I had been given this task ahead, and will not run it; it is ready again.

    It comes before its equals, with all that it had: it has only been to the worker and back.
    """

    worker: Behaviour
    task: Behaviour


class Idle(msgspec.Struct, frozen=True, eq=False):
    """Worker to scheduler: I have done with this task, and have room for one more.

    Attributes:
        worker: Who has room.
        task: Who had it.
        finished: How the attempt ended, for the task; None when the task is told something else.
    """

    worker: Behaviour
    task: Behaviour
    finished: Finished | None = None


class Lend(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: I wait for something of ours; somebody else may have my slot."""

    task: Behaviour


class Reclaim(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: I can go on, and want a slot again."""

    task: Behaviour


class Resume(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to task, and task to worker: you have your slot back, and go on.

    Attributes:
        slot: False where it goes on though it has no slot: it was preempted as it began to wait for something
            of ours, and what it does next is to ask for its slot again.
    """

    slot: bool = True


class Preempt(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to worker: stop this task where it is, for a while; `Preempted` says that it has stopped."""

    task: Behaviour


class Preempted(msgspec.Struct, frozen=True, eq=False):
    """Worker to task, and task to scheduler: the task has stopped, and keeps its place in its code."""

    task: Behaviour


class Wish(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: before I take something, tell me that I am to run when this instant is over."""

    task: Behaviour


class Chosen(msgspec.Struct, frozen=True, eq=False):
    """Scheduler to task: you are."""


class SetPolicy(msgspec.Struct, frozen=True, eq=False):
    """Anyone to scheduler: from now on tasks are ordered by a policy like this one.

    Attributes:
        policy: Each pool gets a fresh one with the same parameters.
        pool: The pool that it is for; None for all that have none of their own.
    """

    policy: SchedulingPolicy[Any]
    pool: Pool | None = None


class SetLimit(msgspec.Struct, frozen=True, eq=False):
    """Anyone to scheduler: from now on so many tasks of a pool may run at once. Nobody is stopped."""

    pool: Pool
    limit: int


class Compute(msgspec.Struct, frozen=True, eq=False):
    """User code to its worker: I use up so many seconds of a processor; answer when I have."""

    seconds: float
    answer: Reply


class Computed(msgspec.Struct, frozen=True, eq=False):
    """Worker to itself: the code has used up what it wanted to."""


class PriorityChanged(msgspec.Struct, frozen=True, eq=False):
    """Task to scheduler: my effective priority is another one."""

    task: Behaviour


class SetPriority(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task: your base priority is this."""

    priority: int


class Inherit(msgspec.Struct, frozen=True, eq=False):
    """Whoever is waited for learns how urgent the waiting is: a task from a task, a holder from a resource.

    Attributes:
        lender: Who waits, or the resource that is waited for.
        rank: The priority that is lent.
        due: The absolute deadline that is lent, in seconds; infinity for none.
    """

    lender: Behaviour
    rank: int
    due: float


class Disinherit(msgspec.Struct, frozen=True, eq=False):
    """The same lender no longer lends anything."""

    lender: Behaviour


class Reconsider(msgspec.Struct, frozen=True, eq=False):
    """Cell to itself: what I am lent has changed."""


# ------------------------------------------------------------------------------------------ deadlines


class DeadlinePassed(msgspec.Struct, frozen=True, eq=False):
    """Task to itself: my deadline has come."""


class LatencyPassed(msgspec.Struct, frozen=True, eq=False):
    """Task to itself: I should have been started by now.

    Attributes:
        looks: How often to wait for the rest of this instant, in which it may be chosen, and started.
    """

    looks: int = 2


# ------------------------------------------------------------------------------------------ resources


class Acquire(msgspec.Struct, frozen=True, eq=False):
    """User code to its task, and task to the resources: I want one unit of each; `Granted` says that I have.

    Attributes:
        request: Who wants what.
        answer: Where the code waits.
        where: In which line of the code that is.
    """

    request: Request[Any]
    answer: Reply
    where: str | None = None


class Release(msgspec.Struct, frozen=True, eq=False):
    """Anyone to the resources: what this request holds is free again; one that waits does no longer."""

    request: Request[Any]


class Granted(msgspec.Struct, frozen=True, eq=False):
    """Resources to task: you hold what you have been waiting for."""

    request: Request[Any]


# -------------------------------------------------------------------------------------- cancellation


class Cancel(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task: stop, for good."""

    reason: str | None = None


class Settle(msgspec.Struct, frozen=True, eq=False):
    """Anyone to task: stop; how you end has been said."""


SETTLE = Settle()


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
        strand: Which task of the backend waits; None if it does not matter, because nothing is held.
    """

    target: Waiter
    answer: Reply
    certain: bool = False
    strand: object = None


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
        answer: On what, so that exactly that wait can be refused; None for one that is no code's.
        certain: Whether that wait cannot be refused.
        way: Who passed the probe on, the initiator first.
        seen: Whom it has visited, or is on its way to, along whatever edges: all its copies share this.
    """

    initiator: Waiter
    target: Waiter
    answer: Reply | None
    certain: bool
    way: Step
    seen: set[Waiter]


class Refused(msgspec.Struct, frozen=True, eq=False):
    """Whoever has to break a circle of waiting learns it: this wait would never end, and ends in an error.

    Attributes:
        target: For whom it waits.
        answer: On what; None for all its waits for this one.
        error: What it raises.
        circle: Who waits for whom, where another wait may have been given up before this is read.
    """

    target: Waiter
    answer: Reply | None
    error: BaseException
    circle: Sequence[Waiter] = ()


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

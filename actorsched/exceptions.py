"""The errors of actorsched: what can go wrong, by name.

The law of this module: only exception classes live here, and `shown`, which fits a foreign value into a
message. Nothing here decides when an error is raised; whoever raises it writes the message, which says what
was attempted, what forbade it, and what to do next.

How it works: every class takes its message as its only positional argument and its facts as keywords, kept as
plain attributes in the instance's `__dict__`. That is all that pickle needs: it calls the class with `args`
and restores `__dict__`, so an error crosses to another process whole (as long as its facts do), notes
included. A test holds every class to it.

Whose fault an error is can be read from its type: a wrong argument is a built-in `TypeError` or `ValueError`;
what the world did (a host died, a peer stopped, time ran out) is an `ActorschedError`; our own mistakes are
`AssertionError`s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ActorStopped",
    "ActorschedError",
    "AskCycle",
    "AskTimeout",
    "ChainTooLong",
    "DeadlineMissed",
    "DeadlockError",
    "DependencyCycle",
    "DependencyFailed",
    "HostDied",
    "Interrupted",
    "MailboxFull",
    "NotAdmitted",
    "NotTransferable",
    "RemoteTraceback",
    "RuntimeClosed",
    "StageFailed",
    "TaskCancelled",
    "TaskTimeout",
]


def shown(value: object, limit: int = 80) -> str:
    """Return the `repr` of a foreign value, short enough for a message, also when `__repr__` is broken."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class ActorschedError(Exception):
    """The base of every error that actorsched raises on its own account."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)


# ------------------------------------------------------------------------------------------------------ tasks


class TaskCancelled(ActorschedError):
    """The awaited task was cancelled.

    An `Exception` on purpose: awaiting a cancelled task must never look like the awaiter's own cancellation.

    Attributes:
        reason: Why, in the words of whoever cancelled it; None if nobody said.
        task: The name of the cancelled task; None if unknown.
    """

    def __init__(self, message: str = "", *, reason: str | None = None, task: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.task = task


class DependencyFailed(ActorschedError):
    """A task could not start because a task that it depends on failed; that failure is the `__cause__`.

    Attributes:
        task: The name of the task that never ran.
        upstream: The name of the task that failed.
        first: Where a chain of such failures began, and with what.
    """

    def __init__(
        self,
        message: str = "",
        *,
        task: str | None = None,
        upstream: str | None = None,
        first: str | None = None,
    ) -> None:
        super().__init__(message)
        self.task = task
        self.upstream = upstream
        self.first = first


class DeadlineMissed(ActorschedError):
    """A task with a hard deadline was stopped at it.

    Attributes:
        task: The name of the task.
        tardiness: By how many seconds it was late when it was stopped; None if unknown.
    """

    def __init__(self, message: str = "", *, task: str | None = None, tardiness: float | None = None) -> None:
        super().__init__(message)
        self.task = task
        self.tardiness = tardiness


class NotAdmitted(ActorschedError):
    """A task was refused at submission, because with it not everything admitted could be done in time.

    Attributes:
        task: The name of the refused task.
    """

    def __init__(self, message: str = "", *, task: str | None = None) -> None:
        super().__init__(message)
        self.task = task


class DeadlockError(ActorschedError):
    """Waiting would never have ended: the waiters form a circle.

    Attributes:
        circle: The names along the circle; the first waits for the second, the last waits for the first.
    """

    def __init__(self, message: str = "", *, circle: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.circle: tuple[str, ...] = tuple(circle)


class DependencyCycle(ActorschedError, ValueError):
    """Prepared tasks depend on each other in a circle; nothing of them was submitted.

    Attributes:
        path: The names along the circle; each depends on the next, and the last is the first again.
    """

    def __init__(self, message: str = "", *, path: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.path: tuple[str, ...] = tuple(path)


class ChainTooLong(ActorschedError, ValueError):
    """A chain has more tasks than a chain may have; nothing of it was submitted.

    Attributes:
        length: How many tasks it has.
        limit: How many it may have.
    """

    def __init__(self, message: str = "", *, length: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.length = length
        self.limit = limit


class TaskTimeout(TimeoutError, ActorschedError):
    """An attempt of a task took longer than its `timeout`.

    Attributes:
        task: The name of the task.
        timeout: The time that it had, in seconds.
    """

    def __init__(self, message: str = "", *, task: str | None = None, timeout: float | None = None) -> None:
        super().__init__(message)
        self.task = task
        self.timeout = timeout


class Interrupted(BaseException):
    """Raised by `checkpoint()` in a plain function whose task was cancelled or timed out.

    A `BaseException`, like `KeyboardInterrupt`, so that `except Exception` in the function lets it through;
    let it leave the function.

    Attributes:
        reason: Why, in the words of whoever cancelled the task; None if nobody said.
    """

    def __init__(self, message: str = "", *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class StageFailed(ActorschedError):
    """An item failed in a stage of a pipeline, whose rule is to fail; what it raised is the `__cause__`.

    Attributes:
        stage: The name of the stage.
        item: The item, as `repr` shows it, shortened.
        index: The place of the item among those that came to the stage, from 0.
    """

    def __init__(
        self,
        message: str = "",
        *,
        stage: str | None = None,
        item: str | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.item = item
        self.index = index


# ----------------------------------------------------------------------------------------------------- actors


class MailboxFull(ActorschedError):
    """A message was refused, because the mailbox of its receiver is full and its rule is not to drop.

    Attributes:
        actor: The name of the receiver.
        capacity: How many messages its mailbox holds.
    """

    def __init__(self, message: str = "", *, actor: str | None = None, capacity: int | None = None) -> None:
        super().__init__(message)
        self.actor = actor
        self.capacity = capacity


class ActorStopped(ActorschedError):
    """The actor has ended, or ended before it answered; what ended it, if an error did, is the `__cause__`.

    Attributes:
        actor: The name of the actor.
        reason: How it ended, in one word, such as "stopped", "killed" or "failed"; None if unknown.
    """

    def __init__(self, message: str = "", *, actor: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.actor = actor
        self.reason = reason


class AskCycle(ActorschedError):
    """An ask was refused, because the asked actor is itself waiting, through others, for the asker.

    Attributes:
        path: The names along the circle; each asks the next, and the last is the first again.
    """

    def __init__(self, message: str = "", *, path: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.path: tuple[str, ...] = tuple(path)


class AskTimeout(TimeoutError, ActorschedError):
    """An ask was not answered within its timeout; its handler has been cancelled, or never began.

    Attributes:
        actor: The name of the asked actor.
        handler: The name of the asked handler.
        timeout: The time that it had, in seconds.
    """

    def __init__(
        self,
        message: str = "",
        *,
        actor: str | None = None,
        handler: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(message)
        self.actor = actor
        self.handler = handler
        self.timeout = timeout


class RuntimeClosed(ActorschedError):
    """The runtime, or the scope, takes no more work: it is closing or closed."""


# ------------------------------------------------------------------------------------------------------ hosts


class HostDied(ActorschedError):
    """A host process ended while it still had work.

    Attributes:
        pid: Its process id; None if it never started.
        signal: The number of the signal that ended it; None if none did.
        exit_code: The code with which it exited; None if a signal ended it, or if unknown.
        cause: The likely cause: "out of memory", "killed", "crashed", "exited", or "never started".
    """

    def __init__(
        self,
        message: str = "",
        *,
        pid: int | None = None,
        signal: int | None = None,
        exit_code: int | None = None,
        cause: Literal["out of memory", "killed", "crashed", "exited", "never started"] | None = None,
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.signal = signal
        self.exit_code = exit_code
        self.cause = cause


class NotTransferable(ActorschedError):
    """An object cannot cross to another process.

    Attributes:
        what: What was to cross, such as "the result of task 'load'".
        path: Where within it the culprit sits, such as "args[1]['handler'].lock"; None if unknown.
        original_type: For an exception that could not cross: the qualified name of its type; else None.
        original_message: Its message; else None.
        original_traceback: Its formatted traceback; else None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        what: str | None = None,
        path: str | None = None,
        original_type: str | None = None,
        original_message: str | None = None,
        original_traceback: str | None = None,
    ) -> None:
        super().__init__(message)
        self.what = what
        self.path = path
        self.original_type = original_type
        self.original_message = original_message
        self.original_traceback = original_traceback


class RemoteTraceback(ActorschedError):
    """The `__cause__` of an exception from another process: its message is the traceback there, as text."""

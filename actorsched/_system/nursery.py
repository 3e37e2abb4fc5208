"""The Nursery actor: the tasks and actors of one scope, and of the runtime, which is the outermost.

Every task tells its nursery that it has completed, or how it ended otherwise. A nursery that contains
failures, like the runtime's, leaves it at that, and sees to it only that no failure stays unseen. Any other
cancels the siblings of a failed task, and its scope's body, and collects the errors. Its supervisor, if it
has actors, tells it when none is left, or that they failed too often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakSet

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, Reply, handles, require
from actorsched._core.invariants import FEW
from actorsched.messages import Cancel, Closed, Escalated, Settled
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched._system.feed import Feed
    from actorsched._system.task import TaskActor


# Bound once: reading a member through its class costs as much as a call.
_FAILURES = (TaskStatus.FAILED, TaskStatus.DEADLINE_MISSED)


class Nursery(Behaviour):
    """The children of one scope."""

    gates: ClassVar[bool] = False
    """Whether a worker has to ask before it begins a task."""
    contains: bool
    """Whether the failure of a task stays with the task."""
    on_failure: Callable[[], object]
    """Ends the body of the scope."""
    open: bool = False
    """Whether the scope is entered and not yet left: nothing can be spawned into it otherwise."""
    live: dict[Behaviour, None] = {}
    """Tasks that have not settled, in the order in which they were spawned."""
    feeds: dict[Feed, None] = {}
    """Iterators that have begun and are not over: they are closed when the scope is left."""
    unseen: WeakSet[TaskActor] = msgspec.field(default_factory=lambda: WeakSet())
    """Tasks whose failure was contained, and that somebody can still look at."""
    errors: list[BaseException] = []
    cancelling: bool = False
    """Whether all its tasks are cancelled, also those that are spawned from now on."""
    gone: Behaviour | None = None
    """The supervisor that has none left."""
    waiting: list[Reply] = []
    """Who waits for that."""

    @property
    def left(self) -> bool:
        """Whether nothing may begin in it."""
        return not self.open

    def __repr__(self) -> str:
        return f"<nursery of {len(self.live)} tasks>"

    def completed(self, task: TaskActor, out: Outbox) -> None:
        """A task has completed: nothing but that follows from it, so no message is needed."""
        self.live.pop(task, None)

    @handles(Settled)
    def _settled(self, message: Settled, out: Outbox) -> None:
        self.live.pop(message.task, None)
        if message.outcome.status not in _FAILURES:
            return
        task: TaskActor = message.task  # type: ignore[assignment]
        if not self.contains:
            task.observed = True  # it leaves in the scope's group
            assert message.outcome.error is not None
            self.fail(message.outcome.error, "a sibling failed", out)
        elif task.holders > 0:
            self.unseen.add(task)
        else:
            task.log_unobserved(message.outcome, out)

    def fail(self, error: BaseException, what: str, out: Outbox) -> None:
        """End everything with an error."""
        if all(error is not other for other in self.errors):  # it may have passed through several tasks
            self.errors.append(error)
        if not self.cancelling:
            self.cancel_all(f"{what}: {type(error).__name__}", out)
            self.on_failure()

    def cancel_all(self, reason: str, out: Outbox) -> None:
        """Cancel every task that has not settled, the last spawned first."""
        self.cancelling = True
        cancel = Cancel(reason)
        for task in reversed(self.live):
            out.send((task, cancel))

    def log_unseen(self, out: Outbox) -> None:
        """Report every failure that nobody has looked at, before the runtime is gone."""
        for task in sorted(self.unseen, key=lambda task: task.number):
            assert task.outcome is not None
            task.log_unobserved(task.outcome, out)
        self.unseen.clear()

    @handles(Closed)
    def _closed(self, message: Closed, out: Outbox) -> None:
        self._no_actors_left(message.supervisor, out)

    @handles(Escalated)
    def _escalated(self, message: Escalated, out: Outbox) -> None:
        if message.reason.error is not None:
            self.fail(message.reason.error, "the supervisor has given up", out)
        self._no_actors_left(message.supervisor, out)

    def _no_actors_left(self, supervisor: Behaviour, out: Outbox) -> None:
        self.gone = supervisor
        waiting, self.waiting = self.waiting, []
        for reply in waiting:
            out.reply(reply, None)

    def check(self) -> None:
        """What it is told of and what it does are one; in constant time."""
        require(self.cancelling or not self.errors, self, "a scope with an error cancels all its tasks")
        require(self.contains or not self.unseen, self, "no failure stays unseen that ends the scope")
        require(self.gone is None or not self.waiting, self, "nobody waits for what has come about")

    def check_at_rest(self) -> None:
        """The same; and it knows of the end of every task that has settled."""
        self.check()
        if len(self.live) <= FEW:
            for child in self.live:
                task: TaskActor = child  # type: ignore[assignment]
                require(task.outcome is None, self, f"it knows that {task!r} has settled")
        if len(self.unseen) <= FEW:
            failed = all(task.outcome is not None and task.outcome.error is not None for task in self.unseen)
            require(failed, self, "what nobody has seen are failures")

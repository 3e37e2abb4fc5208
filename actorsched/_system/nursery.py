"""The Nursery actor: the tasks and actors of one scope, and of the runtime, which is the outermost.

Every task tells its nursery how it ended. A nursery that contains failures, like the runtime's, leaves it
at that. Any other cancels the siblings of a failed task, and its scope's body, and collects the errors.
Its supervisor, if it has actors, tells it when none is left, or that they failed too often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import Behaviour, Outbox, Reply, handles
from actorsched.messages import Cancel, Closed, Escalated, Outcome, Settled
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched._system.feed import Feed


class Nursery(Behaviour):
    """The children of one scope."""

    contains: bool
    """Whether the failure of a task stays with the task."""
    on_failure: Callable[[], object]
    """Ends the body of the scope."""
    live: dict[Behaviour, None] = {}
    """Tasks that have not settled, in the order in which they were spawned."""
    errors: list[BaseException] = []
    cancelling: bool = False
    feeds: dict[Feed, None] = {}
    """Iterators that have begun and are not over: they are closed when the scope is left."""
    left: bool = False
    """Whether the scope was left, and nothing may begin in it any more."""
    supervisors_gone: Reply | None = None
    escalated: bool = False

    def __repr__(self) -> str:
        return f"<nursery of {len(self.live)} tasks>"

    @handles(Settled)
    def _settled(self, message: Settled, out: Outbox) -> None:
        self.live.pop(message.task, None)
        outcome = message.outcome
        if self.contains or outcome.status is not TaskStatus.FAILED:
            return
        message.task.observed = True  # type: ignore[attr-defined]  # it leaves in the scope's group
        self._fail(outcome, out)

    def _fail(self, outcome: Outcome[Any], out: Outbox) -> None:
        assert outcome.error is not None
        self.errors.append(outcome.error)
        if not self.cancelling:
            self.cancel_all(f"a sibling failed: {type(outcome.error).__name__}", out)
            self.on_failure()

    def cancel_all(self, reason: str, out: Outbox) -> None:
        """Cancel every task that has not settled, the last spawned first."""
        self.cancelling = True
        cancel = Cancel(reason)
        for task in reversed(self.live):
            out.send((task, cancel))

    @handles(Closed)
    def _closed(self, message: Closed, out: Outbox) -> None:
        self._no_actors_left(out)

    @handles(Escalated)
    def _escalated(self, message: Escalated, out: Outbox) -> None:
        self.escalated = True
        if message.reason.error is not None:
            self.errors.append(message.reason.error)
        self.cancel_all("the supervisor of the scope has given up", out)
        self.on_failure()
        self._no_actors_left(out)

    def _no_actors_left(self, out: Outbox) -> None:
        if self.supervisors_gone is not None:
            out.reply(self.supervisors_gone, None)

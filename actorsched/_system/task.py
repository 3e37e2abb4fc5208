"""The Task actor: one piece of work, from its submission to its final status.

When the scheduler admits it, it lets its upstream tasks know, hears `Settled` from each, and tells the
scheduler `Ready` when the last is in. This page is about that; the others are named in `task_state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from actorsched._core.behaviour import Behaviour, Outbox, handles, quickly_written, require
from actorsched._core.invariants import FEW
from actorsched._system.task_attempts import TaskAttempts
from actorsched._system.task_state import function_name
from actorsched.exceptions import DependencyFailed
from actorsched.messages import Granted, Settled
from actorsched.status import TaskStatus

__all__ = ["REFS", "TaskActor", "function_name"]

REFS: set[type] = set()
"""The types that stand for a task, their `_task`, among arguments. Filled by the layer that defines them."""
_NOTHING: dict[str, Any] = {}
_WAITING = TaskStatus.WAITING
_READY = TaskStatus.READY
_PENDING = TaskStatus.PENDING


@quickly_written
class TaskActor(TaskAttempts, eq=False):
    """One task."""

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

    def tell_of_its_creation(self, out: Outbox) -> None:
        """It was submitted, and somebody wants to know what it is."""
        options = self.options
        self.label = label = function_name(self.function)
        about: dict[str, Any] = {"priority": self.rank, "pool": self.pool.name}
        if options.tags:
            about["tags"] = options.tags
        if self.upstream is not None:
            about["after"] = tuple([upstream.id for upstream in self.upstream])
        out.note("created", options.name or label, self.number, about)

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
            if self.special is not None and self.special.timing is not None:
                self.special.timing.ready = out.now
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
            out.note("ready", self.options.name or self.label or self.name, self.number, _NOTHING)

    def blocked(self, out: Outbox) -> None:
        """It was about to start, and has to wait for the resources that it was submitted with."""
        self.status = TaskStatus.BLOCKED
        self.specially().locking = True

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

    def check(self) -> None:
        """It depends on others until the last of them has settled."""
        super().check()
        upstream, missing = self.upstream, self.missing
        require(missing >= 0, self, "it has heard of no more upstream tasks than there are")
        require(upstream is not None or not missing, self, "whoever has to hear of others knows them")
        if upstream is not None:
            require(missing <= len(upstream), self, "it has to hear of no more than it depends on")
            early = self.status in (_PENDING, _WAITING) and self.worker is None
            require(early, self, "it does not begin before those that it depends on have settled")

    def check_at_rest(self) -> None:
        """The same; and what is missing is what has not settled, and is going to tell it."""
        super().check_at_rest()
        upstream = self.upstream
        if upstream is not None and self.status is _WAITING and len(upstream) <= FEW:
            missing = dict.fromkeys(other for other in upstream if other.outcome is None)
            count = len(missing)
            require(self.missing == count, self, f"{count} of those that it depends on have not settled")
            require(count, self, "whoever depends on others waits for one of them")
            told = all(self in (other.waiters or ()) for other in missing)
            require(told, self, "those that it depends on know that it waits")


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

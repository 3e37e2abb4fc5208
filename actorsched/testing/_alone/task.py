"""One task alone: one attempt of its function, without a runtime.

The law of this module: it checks what a submission would check, and runs the function as a worker would,
once. What a scheduler decides (when, where, whether again) is nothing that a function could tell.
"""

from __future__ import annotations

from contextvars import copy_context
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from actorsched._system.code_run import without_cancellation
from actorsched._system.placing import check_arguments, host_of, is_async
from actorsched._system.task import function_name
from actorsched.actor import is_actor_class
from actorsched.checks import check_whole
from actorsched.exceptions import DeadlineMissed, Interrupted, TaskCancelled, TaskTimeout
from actorsched.options import seconds_until, task_options
from actorsched.status import TaskStatus
from actorsched.task import _check_reason
from actorsched.testing._alone.actor import refuse_real_refs
from actorsched.testing._alone.context import Acquisition, AloneContext
from actorsched.testing._alone.recording import Effects
from actorsched.testing._alone.scene import Scene
from actorsched.testing._alone.strand import CancelledError, Strand
from actorsched.testing._alone.task_refs import TaskStandIn, make_task_ref
from actorsched.testing.effects import Acquired, Raised, Released

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.durations import Duration
    from actorsched.options import TaskOptions
    from actorsched.testing._alone.runtime import RuntimeStandIn
    from actorsched.testing._alone.scene import Alarm

T = TypeVar("T")


class AloneTask(Generic[T]):
    """One attempt of one task, tested alone. Made by `alone.task(function, 5)`, and started.

    Attributes:
        name: Its name.
        effects: What it has done, in its order, and how it ended.
        runtime: What stands in for its runtime, where results of other tasks can be prepared.
        progress: How far it has said to be, and its last message.
        due: By when it has to be done, in seconds of its own time.
    """

    settles = True
    id = "task-0"

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
        cancel_at, attempt = options.pop("cancel_at", None), options.pop("attempt", 1)
        checked = _checked(function, args, options)
        self.name: str = checked.name or function_name(function)
        self.scene = Scene(f"task {self.name!r}")
        self.scene.ref = make_task_ref(self.name)
        self.runtime: RuntimeStandIn = self.scene.facade
        self.progress: tuple[float, str | None] = (0.0, None)
        self.due: float = inf if checked.deadline is None else _due(checked.deadline)
        self.effects = Effects(f"task {self.name!r}", self)
        self._status = TaskStatus.RUNNING
        self._resources = checked.resources
        self._strand = Strand(self.scene, self, f"task {self.name!r}", self.effects, self._over)
        self._strand.attempt = check_whole(attempt, "attempt", least=1)
        self._asynchronous = is_async(function)
        self._points = 0
        self._cancel_at = self._checked_point(cancel_at)
        self._limits = self._limited(checked)
        values = tuple(map(_given, args))
        named = {name: _given(value) for name, value in checked.kwargs.items()}
        self.scene.post(lambda: self._begin(function, values, named))

    def __repr__(self) -> str:
        return f"<task {self.name!r} alone, {self._status.value}, {self.now:g} s>"

    # ------------------------------------------------------------------------------------------ to look at

    @property
    def status(self) -> TaskStatus:
        """RUNNING, or how it ended."""
        return self._status

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.effects.done

    @property
    def value(self) -> Any:
        """What it has returned: see `Effects.value`."""
        return self.effects.value

    @property
    def error(self) -> BaseException | None:
        """Why it has no value: see `Effects.error`."""
        return self.effects.error

    @property
    def now(self) -> float:
        """Its time, in seconds; it begins with 0 and passes by `advance`."""
        return self.scene.now

    # --------------------------------------------------------------------------------------------- to do

    def cancel(self, reason: str | None = None) -> None:
        """Cancel it where it waits, as `await ref.cancel(reason)` would.

        A plain function has ended by the time that this could be called: see `cancel_at` of `alone.task`.

        Args:
            reason: Why.

        Raises:
            TypeError: The reason is no text.
        """
        _check_reason(reason)
        if not self.effects.done:
            self._strand.interrupt(self._cancelled(reason))

    def preempt(self) -> None:
        """Have `current().preempt_requested` say that a more urgent task wants its place."""
        self._strand.preempt_requested = True

    def advance(self, duration: Duration) -> Effects:
        """Let time pass: sleeps end, asks and the task itself time out, each in its turn.

        Returns:
            What came of it.

        Raises:
            ValueError: It is no duration.
        """
        return self.scene.advance(duration)

    # -------------------------------------------------------------------------- what its effects ask it for

    @property
    def waits_for(self) -> str | None:
        """What it waits for now."""
        waiting = self._strand.waiting
        return None if waiting is None else waiting.what

    def demand(self, count: int) -> None:
        """A task has no items.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"{self!r} streams nothing, so it has no items; its result is in `value`")

    def close(self) -> None:
        """A task has no stream.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"{self!r} streams nothing, so there is nothing to close; use cancel()")

    # ------------------------------------------------------------------------------------------------ inside

    def _begin(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        strand = self._strand
        if self._resources:
            self.scene.record(Acquired(self._resources), self.effects)
        if self._asynchronous:
            strand.acquisition = lambda names: Acquisition(self.scene, _checked_names(names))
        else:
            strand.checkpoints = self._checkpoint

        async def code() -> Any:
            result = function(*args, **kwargs)
            return await result if self._asynchronous else result

        strand.begin(code, _innermost(function), copy_context(), AloneContext(strand))

    def _checkpoint(self) -> None:
        self._points += 1
        if self._cancel_at is not None and self._points >= self._cancel_at:
            strand = self._strand
            if strand.cancelled is None:
                strand.cancelled = self._cancelled(f"at checkpoint {self._cancel_at}")
            raise Interrupted(f"task {self.name!r} was cancelled", reason=f"at checkpoint {self._cancel_at}")

    def _checked_point(self, cancel_at: Any) -> int | None:
        if cancel_at is None:
            return None
        if self._asynchronous:
            raise ValueError(
                f"cancel_at={cancel_at!r} does not fit {self.name!r}, an async function, which has no "
                "checkpoints; call cancel() where it waits"
            )
        return check_whole(cancel_at, "cancel_at", least=1)

    def _cancelled(self, reason: str | None) -> TaskCancelled:
        why = "" if reason is None else f": {reason}"
        return TaskCancelled(f"task {self.name!r} was cancelled{why}", reason=reason, task=self.name)

    def _limited(self, options: TaskOptions) -> list[Alarm]:
        """What stops it in time."""
        limits: list[Alarm] = []
        name, limit = self.name, options.timeout
        if limit is not None:
            late = TaskTimeout(f"task {name!r} took longer than its {limit:g} s", task=name, timeout=limit)
            limits.append(self.scene.later(limit, lambda: self._strand.interrupt(late)))
        if options.hard:
            missed = DeadlineMissed(f"task {name!r} was stopped at its deadline", task=name, tardiness=0.0)
            limits.append(self.scene.later(max(0.0, self.due), lambda: self._strand.interrupt(missed)))
        return limits

    def _over(self, value: Any, error: BaseException | None) -> None:
        for limit in self._limits:
            limit.cancel()
        if self._resources:
            self.scene.record(Released(self._resources), self.effects)
        failure = None if error is None else self._failure(error)
        if failure is None:
            self._status = TaskStatus.COMPLETED
        elif isinstance(failure, TaskCancelled):
            self._status = TaskStatus.CANCELLED
        elif isinstance(failure, DeadlineMissed):
            self._status = TaskStatus.DEADLINE_MISSED
        else:
            self._status = TaskStatus.FAILED
        if failure is not None:
            self.scene.record(Raised(failure), self.effects)
        self.effects._end(value if failure is None else None, failure)

    def _failure(self, error: BaseException) -> BaseException:
        failure = without_cancellation(error, CancelledError)
        if failure is not None and not isinstance(failure, Interrupted):
            return failure
        return self._strand.cancelled or self._cancelled("nobody asked for it")


def _checked(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> TaskOptions:
    """The options of a task, if all is right with it.

    Raises:
        TypeError: An option or argument does not exist, or has the wrong type.
        ValueError: An option has a wrong value.
    """
    if is_actor_class(function):
        raise TypeError(
            f"{function.__qualname__} is a class of actors; test it by alone({function.__qualname__})"
        )
    if "after" in options:
        raise TypeError(
            "after= orders tasks, and there is none before one that is tested alone; leave it out"
        )
    checked = task_options(options)
    host_of(function, checked)
    check_arguments(function, args, checked.kwargs)
    refuse_real_refs((*args, *checked.kwargs.values()))
    return checked


def _given(value: Any) -> Any:
    """An argument as the function gets it: the result of a task in the place of its ref.

    Raises:
        ValueError: The task has not been settled, or has failed.
    """
    if not isinstance(value, TaskStandIn):
        return value
    outcome = value._outstanding.outcome
    if outcome is None or outcome.error is not None:
        raise ValueError(
            f"{value!r} is an argument, whose result takes its place; settle it with a value before"
        )
    return outcome.value


def _due(deadline: float | datetime) -> float:
    return seconds_until(deadline) if isinstance(deadline, datetime) else deadline


def _checked_names(names: tuple[Any, ...]) -> tuple[str, ...]:
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"acquire{names!r} names no resource; give at least one str: current().acquire('db')")
    if len(set(names)) < len(names):
        raise ValueError(f"acquire{names!r} names a resource twice; name each once")
    return names


def _innermost(function: Any) -> Any:
    """What has the code: looks through `functools.partial`."""
    while hasattr(function, "func"):
        function = function.func
    return function

"""The Worker actor of the event loop: runs one attempt of one task, in a carrier.

`Assign` puts it into the kernel's run queue; a carrier steps the function. `Interrupt` cancels it where it
waits. When it is over it tells the task `Finished` and the scheduler `Idle`.

A worker of the loop costs as much as an object, so each attempt has one of its own. That is also what
`current()` finds: whatever the code leaves running behind its back still finds the right attempt.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._kernel.current import CURRENT
from actorsched._system.code_run import CodeRun, Deferred, without_cancellation
from actorsched.exceptions import TaskCancelled
from actorsched.messages import Assign, Finished, Idle, Interrupt, Started, Underway
from actorsched.options import DEFAULT

if TYPE_CHECKING:
    from actorsched._kernel.activity import Activity
    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.kernel import Kernel
    from actorsched._kernel.stepper import Stepper
    from actorsched._system.task import TaskActor

_UNDERWAY = Underway()


class LoopWorker(CodeRun, Behaviour):
    """One attempt of a task in the loop."""

    role: ClassVar[str] = "task"
    may_wait: ClassVar[bool] = True

    kernel: Kernel  # pyright: ignore[reportIncompatibleMethodOverride]  # more than what is asked for
    scheduler: Behaviour
    owner: TaskActor | None = None
    """The task; None before it is assigned."""
    attempt: int = 1
    rank: int = 0
    context: Context | None = None
    stepper: Stepper | None = None
    carrier: Carrier | None = None
    interrupted: bool = False
    begun: bool = False
    deferred: Deferred | None = None
    ended: tuple[Any, BaseException | None] | None = None

    def __repr__(self) -> str:
        return f"<loop worker with {self.owner!r}>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"task {self.task.name!r}"

    @property
    def task(self) -> TaskActor:
        """The task that it runs."""
        assert self.owner is not None
        return self.owner

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted

    def checkpoint(self) -> None:
        """Every await is a checkpoint already."""

    # ----------------------------------------------------------------------------------- the messages

    @handles(Assign)
    def _assign(self, message: Assign, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        self.owner = task
        self.attempt = task.attempt + 1
        self.rank = task.rank
        self.context = task.context
        if task.options is not DEFAULT and task.options.retry.attempts > 1 and task.context is not None:
            self.context = task.context.copy()  # the next attempt begins where this one did
        out.send((task, Started(self)))
        self.kernel.make_ready(self)

    @handles(Interrupt)
    def _interrupt(self, message: Interrupt, out: Outbox) -> None:
        if self.owner is not message.task or self.context is None or self.ended is not None:
            return
        if self.begun:
            return self.kernel.interrupt(self)
        self.context = None
        self._tell(Finished(error=message.reason, stopped=True))

    # --------------------------------------------------------------------------------- in a carrier

    def run(self, burst: int) -> tuple[Activity, object] | None:
        """Take the first step of the function, or of its deferred calls."""
        context = self.context
        if context is None:  # told to stop before it began
            return None
        if self.ended is not None:
            return self.step_deferred()
        self.begun = True
        if self.task.options is not DEFAULT and self.task.options.timeout is not None:
            self.kernel.post(self.task, _UNDERWAY)
        try:
            code = context.run(self._open)
        except BaseException as error:
            self.raised(error)
            return None
        return self.step(code)

    def _open(self) -> Coroutine[Any, Any, Any]:
        """Call the function.

        A plain one, run in the loop because it was asked for, has then done its work.
        """
        CURRENT.set(self)
        task = self.owner
        assert task is not None
        assert task.function is not None
        if task.injected:
            args, kwargs = task.arguments()
            result = task.function(*args, **kwargs)
        else:
            result = task.function(*task.args, **task.kwargs)
        kind: type[object] = type(result)  # pyright: ignore[reportUnknownVariableType]  # anything
        return result if kind is CoroutineType or issubclass(kind, Coroutine) else _returned(result)

    def has_more(self) -> bool:
        """Only while deferred calls are left."""
        return self.deferred is not None

    def again(self) -> LoopWorker:
        """Who goes back into the run queue: itself."""
        return self

    def over(self, value: Any, error: BaseException | None) -> None:
        """Tell the task, then the scheduler."""
        self._tell(Finished(value) if error is None else self._failed(error))

    def _tell(self, finished: Finished) -> None:
        mail, task = self.kernel.mail, self.task
        mail.append((task, finished))
        mail.append((self.scheduler, Idle(self, task)))

    def _failed(self, error: BaseException) -> Finished:
        remaining = without_cancellation(error, self.kernel.cancelled)
        if remaining is not None:
            return Finished(error=remaining)
        if self.task.stopping is not None:
            return Finished(error=error, stopped=True)
        stray = TaskCancelled(
            f"task {self.task.name!r} ended with {type(error).__name__} although nobody cancelled it; "
            "cancel tasks through their refs",
            task=self.task.name,
        )
        stray.__cause__ = error
        return Finished(error=stray)


async def _returned(value: Any) -> Any:
    return value

"""The Worker actor of the event loop: runs one attempt of one task, in a carrier.

It is made with its task, and put into the kernel's run queue; a carrier steps the function. `Interrupt`
cancels it where it waits. When it is over it tells the task `Finished`, and the scheduler `Idle` if anybody
may be waiting for its slot.

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
from actorsched.messages import Finished, Idle, Interrupt, Underway
from actorsched.options import DEFAULT

if TYPE_CHECKING:
    from actorsched._kernel.activity import Activity
    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.kernel import Kernel
    from actorsched._kernel.stepper import Stepper
    from actorsched._system.task import TaskActor

_UNDERWAY = Underway()
_RETURNED = Finished()


class LoopWorker(CodeRun, Behaviour):
    """One attempt of a task in the loop."""

    role: ClassVar[str] = "task"
    may_wait: ClassVar[bool] = True

    kernel: Kernel  # pyright: ignore[reportIncompatibleMethodOverride]  # more than what is asked for
    scheduler: Behaviour | None
    """Who gives its slot to the next; None where there is one for everybody."""
    owner: TaskActor
    """The task that it runs."""
    attempt: int
    rank: int
    context: Context | None
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
        return f"task {self.owner.name!r}"

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted

    def checkpoint(self) -> None:
        """Every await is a checkpoint already."""

    # ----------------------------------------------------------------------------------- the messages

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
        task = self.owner
        if task.options is not DEFAULT and task.options.timeout is not None:
            self.kernel.post(task, _UNDERWAY)
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
        assert task.function is not None
        args, kwargs = task.arguments() if task.injected else (task.args, task.kwargs)
        result = task.function(*args, **kwargs) if kwargs else task.function(*args)
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
        if error is None and self.scheduler is None:
            self.kernel.post(self.owner, _RETURNED if value is None else Finished(value))
        else:
            self._tell(Finished(value) if error is None else self._failed(error))

    def _tell(self, finished: Finished) -> None:
        kernel, task = self.kernel, self.owner
        if self.scheduler is None:
            return kernel.post(task, finished)
        kernel.send((task, finished))  # the slot is free before what follows from the end is known
        kernel.post(self.scheduler, Idle(self, task))

    def _failed(self, error: BaseException) -> Finished:
        remaining = without_cancellation(error, self.kernel.cancelled)
        if remaining is not None:
            return Finished(error=remaining)
        if self.owner.stopping is not None:
            return Finished(error=error, stopped=True)
        stray = TaskCancelled(
            f"task {self.owner.name!r} ended with {type(error).__name__} although nobody cancelled it; "
            "cancel tasks through their refs",
            task=self.owner.name,
        )
        stray.__cause__ = error
        return Finished(error=stray)


class LoopStaff:
    """The workers of the loop, one for each attempt.

    Args:
        kernel: Where they run.
        scheduler: Who gives their slots away; None when there is a slot for everybody.
    """

    def __init__(self, kernel: Kernel, scheduler: Behaviour | None) -> None:
        self._kernel = kernel
        self._scheduler = scheduler

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have a new worker run a task as soon as it has its turn."""
        kernel, context = self._kernel, task.context
        if task.options is not DEFAULT and task.options.retry.attempts > 1 and context is not None:
            context = context.copy()  # the next attempt begins where this one did
        worker = LoopWorker(kernel, self._scheduler, task, task.attempt + 1, task.rank, context)
        task.begun_by(worker, out)
        kernel.ready.push(worker, worker.rank)
        return True

    def idle(self, worker: Behaviour) -> None:
        """It is not used again."""


async def _returned(value: Any) -> Any:
    return value

"""The Worker actor of the event loop: runs one task's function, in a carrier.

`Assign` puts a run into the kernel's run queue; a carrier steps it. `Interrupt` cancels it where it
waits. When it is over the worker tells the task `Finished` and the scheduler `Idle`.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._kernel.current import CURRENT
from actorsched._system.code_run import CodeRun, without_cancellation
from actorsched.exceptions import TaskCancelled
from actorsched.messages import Assign, Finished, Idle, Interrupt, Started

if TYPE_CHECKING:
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.task import TaskActor


class TaskRun(CodeRun):
    """One attempt of a task in the loop."""

    role: ClassVar[str] = "task"

    worker: LoopWorker
    owner: TaskActor
    attempt: int
    rank: int

    def __repr__(self) -> str:
        return f"<run of {self.owner!r}>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"task {self.owner.name!r}"

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs it."""
        return self.worker.kernel

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted

    def checkpoint(self) -> None:
        """Every await is a checkpoint already."""

    def next_activity(self) -> TaskRun | None:
        """Itself, unless it was told to stop before it began."""
        return self if self.worker.run is self else None

    def has_more(self) -> bool:
        """Only while deferred calls are left."""
        return self.deferred is not None

    def again(self) -> TaskRun:
        """Who goes back into the run queue: itself."""
        return self

    def first_step(self) -> object:
        """Call the function and step what it returns."""
        CURRENT.set(self)
        task = self.owner
        args, kwargs = task.arguments()
        assert task.function is not None
        result = task.function(*args, **kwargs)
        if not iscoroutine(result):
            raise StopIteration(result)  # a plain function, run in the loop because it was asked for
        self.coroutine = result
        return result.send(None)

    def begin(self) -> object:
        """Tell the task, then take the first step."""
        if not self.begun:
            kernel = self.worker.kernel
            kernel.send(self.owner, Started(self.worker))
            kernel.drain()
        return super().begin()

    def over(self, value: Any, error: BaseException | None) -> None:
        """Tell the task, then the scheduler."""
        self.worker.over(self, Finished(value) if error is None else self._finished(error))

    def _finished(self, error: BaseException) -> Finished:
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


class LoopWorker(Behaviour):
    """One worker of the event loop."""

    kernel: Kernel
    scheduler: Behaviour
    run: TaskRun | None = None

    def __repr__(self) -> str:
        return f"<loop worker with {self.run!r}>"

    @handles(Assign)
    def _assign(self, message: Assign, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        context = task.context
        assert context is not None
        if task.options.retry.attempts > 1 or task.options.retry.crashes:
            context = context.copy()  # the next attempt begins where this one did
        self.run = TaskRun(worker=self, owner=task, attempt=task.attempt + 1, rank=task.rank, context=context)
        self.kernel.make_ready(self.run)

    @handles(Interrupt)
    def _interrupt(self, message: Interrupt, out: Outbox) -> None:
        run = self.run
        if run is None or run.owner is not message.task or run.ended is not None:
            return
        if run.begun:
            return self.kernel.interrupt(run)
        run.context = None
        self.over(run, Finished(error=message.reason, stopped=True, begun=False))

    def over(self, run: TaskRun, finished: Finished) -> None:
        """The run has ended."""
        self.run = None
        self.kernel.send(run.owner, finished)
        self.kernel.send(self.scheduler, Idle(self, run.owner))

"""The Worker actor of the event loop: runs one attempt of one task, in a carrier.

It is made with its task, and put into the kernel's run queue; a carrier steps the function. `Interrupt`
cancels it where it waits. `Preempt` closes a gate, at which it stays when its next await is over, until
`Resume` opens it; so does being interrupted, because then it has to clean up. When it is over it tells the
task `Finished`, and the scheduler `Idle` if anybody may be waiting for its slot.

A worker of the loop costs as much as an object, so each attempt has one of its own. That is also what
`current()` finds: whatever the code leaves running behind its back still finds the right attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched._core.behaviour import Behaviour, Outbox, handles, quickly_written, require
from actorsched._kernel.current import CURRENT
from actorsched._system.acquiring import acquisition
from actorsched._system.code_run import CodeRun, Deferred, without_cancellation
from actorsched._system.pools import STALL
from actorsched._system.processor import Processor
from actorsched.exceptions import TaskCancelled
from actorsched.messages import (
    Compute,
    Computed,
    Finished,
    Idle,
    Interrupt,
    Preempt,
    Preempted,
    PriorityChanged,
    Resume,
    Underway,
)
from actorsched.options import DEFAULT

if TYPE_CHECKING:
    from actorsched._kernel.activity import Activity
    from actorsched._kernel.backend import Future
    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.kernel import Kernel
    from actorsched._kernel.stepper import Stepper
    from actorsched._system.acquiring import Acquisition
    from actorsched._system.task import TaskActor

_UNDERWAY = Underway()
_RETURNED = Finished()


@quickly_written
class LoopWorker(CodeRun, Behaviour):
    """One attempt of a task in the loop."""

    role: ClassVar[str] = "task"
    may_wait: ClassVar[bool] = True
    lane: ClassVar[str] = "loop"

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
    gate: Future | None = None
    shelved: bool = False
    """Whether it had its turn to begin while it was preempted."""
    dozing: int = 0
    """How many parts of its code sleep by the runtime's clock."""
    woken: float = 0.0
    """When one of them has slept enough, last, by the loop's clock."""
    processor: Processor | None = None
    """What its code uses up by `compute`."""

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

    @property
    def stalled(self) -> bool:
        """Whether its code has been waiting for some time for something that is none of ours."""
        carrier = self.carrier
        waits_on = None if carrier is None else self.kernel.backend.waits_on(carrier.trap)
        if carrier is None or waits_on is None or waits_on.done():  # it takes a step, or is about to
            return False
        if self.dozing and self.woken <= carrier.since:  # otherwise it is a child that sleeps again and again
            return False
        busy = self.processor is not None and self.processor.busy
        return not busy and self.kernel.monotonic() - carrier.since >= STALL

    @property
    def kept(self) -> bool:
        """Whether its function can take no step until it is resumed; children in its task groups can."""
        stepping: Any = None if self.stepper is None else getattr(self.stepper.send, "__self__", None)
        return self.gate is not None and stepping is not None and not stepping.gi_running

    def dozes(self) -> None:
        """Some part of its code begins to sleep by the runtime's clock."""
        self.dozing += 1

    def wakes(self) -> None:
        """It has slept enough, or was cancelled."""
        self.dozing -= 1
        self.woken = self.kernel.monotonic()

    def acquisition(self, names: tuple[str, ...]) -> Acquisition:
        """What its code acquires."""
        return acquisition(self, names)

    @property
    def preempt_requested(self) -> bool:
        """Whether it will be stopped at its next await."""
        return self.gate is not None

    def checkpoint(self) -> None:
        """Every await is a checkpoint already."""

    # ----------------------------------------------------------------------------------- the messages

    @handles(Interrupt)
    def _interrupt(self, message: Interrupt, out: Outbox) -> None:
        if self.owner is not message.task or self.context is None or self.ended is not None:
            return
        if self.begun:
            if self.gate is not None:
                self._open_gate(out)
            return self.kernel.interrupt(self)
        self.context = None
        self._tell(Finished(error=message.reason, stopped=True))

    @handles(PriorityChanged)
    def _priority_changed(self, message: PriorityChanged, out: Outbox) -> None:
        """Before it has begun, its place in the run queue follows."""
        rank = self.owner.rank
        if self.context is not None and not (self.begun or self.shelved) and rank != self.rank:
            self.kernel.ready.move(self, self.rank, rank)
            self.rank = rank

    @handles(Preempt)
    def _preempt(self, message: Preempt, out: Outbox) -> None:
        if self.context is None or self.ended is not None or self.interrupted:
            return  # it will be over soon: its slot is free then
        if self.gate is None:
            self.gate = self.kernel.future()
        if self.processor is not None:
            self.processor.pause(out.now)
        out.send((self.owner, Preempted(self.owner)))

    @handles(Resume)
    def _resume(self, message: Resume, out: Outbox) -> None:
        if self.gate is not None:
            self._open_gate(out)

    def _open_gate(self, out: Outbox) -> None:
        gate, self.gate = self.gate, None
        assert gate is not None
        out.reply(gate, None)
        if self.carrier is not None:
            self.carrier.since = self.kernel.monotonic()  # the pause was no wait of its own
        if self.processor is not None:
            self.processor.go_on(self, out)
        if self.shelved:
            self.shelved = False
            self.kernel.make_ready(self)

    @handles(Compute)
    def _compute(self, message: Compute, out: Outbox) -> None:
        if self.processor is None:
            self.processor = Processor()
        self.processor.take(message)
        if self.gate is None:
            self.processor.go_on(self, out)

    @handles(Computed)
    def _computed(self, message: Computed, out: Outbox) -> None:
        assert self.processor is not None
        self.processor.done(self, out)

    def gives_up_computing(self) -> None:
        """Somebody in its code was cancelled as it computed."""
        if self.processor is not None:
            self.processor.given_up(self, self.kernel)

    # --------------------------------------------------------------------------------- in a carrier

    def run(self, burst: int) -> tuple[Activity, object] | None:
        """Take the first step of the function, or of its deferred calls."""
        context = self.context
        if context is None:  # told to stop before it began
            return None
        if self.ended is not None:
            return self.step_deferred()
        if self.gate is not None:
            self.shelved = True
            return None
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
        kernel.post(self.scheduler, Idle(self, task, finished))

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

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """It is at its gate when it was preempted, and done when its code is."""
        require(self.dozing >= 0, self, "nobody wakes up who does not sleep")
        require(
            not self.shelved or (self.gate is not None and not self.begun), self, "it is shelved at its gate"
        )
        require(self.ended is None or self.begun, self, "what has ended has begun")
        task = self.owner
        if task.worker is self:
            slot = (self.scheduler is None) == task.pool.boundless
            require(slot, self, "it tells the scheduler of its end where somebody may wait for its slot")
            require(task.attempt == self.attempt, self, "it runs the present attempt")
        if self.processor is not None:
            require(not self.processor.busy or self.gate is None, self, "who is preempted uses no processor")

    def check_at_rest(self) -> None:
        """The same; and its task knows of it as long as it runs."""
        self.check()
        task, over = self.owner, self.ended is not None or self.context is None
        kept = over or task.worker is self or task.outcome is not None
        require(kept, self, "its task knows who runs it")
        paused = self.gate is None or over or self.interrupted or task.paused
        require(paused, self, "its task knows that it was preempted")


class LoopStaff:
    """The workers of the loop, one for each attempt.

    Args:
        kernel: Where they run.
        scheduler: Who gives their slots away.
        make: Makes a worker.
    """

    def __init__(
        self, kernel: Kernel, scheduler: Behaviour, make: Callable[..., LoopWorker] = LoopWorker
    ) -> None:
        self._kernel = kernel
        self._scheduler = scheduler
        self._make = make

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """Have a new worker run a task as soon as it has its turn."""
        if task.owner.gates and task.turned_away(None, out):
            return True
        kernel, context = self._kernel, task.context
        if task.options is not DEFAULT and task.options.retry.attempts > 1 and context is not None:
            context = context.copy()  # the next attempt begins where this one did
        scheduler = None if task.pool.boundless else self._scheduler
        worker = self._make(kernel, scheduler, task, task.attempt + 1, task.rank, context)
        task.begun_by(worker, out)
        kernel.ready.push(worker, worker.rank)
        return True

    def may_go_on(self, task: TaskActor) -> bool:
        """It has its worker."""
        return True

    def idle(self, worker: Behaviour) -> None:
        """It is not used again."""


async def _returned(value: Any) -> Any:
    return value

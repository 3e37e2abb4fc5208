"""Carried by whoever waits: an asker whose actor is idle runs the handler in its own task.

Who asks an actor waits for the answer anyway. When the actor is free, its task can carry the handler as
well as any carrier of the kernel: the current task is one and the same from the first step to the last,
a cancellation of the asker reaches the handler where it waits, and two turns of the loop are saved, which
are nearly the whole price of an ask. The same holds for `on_start`, which the spawner waits for.

Nobody is to be able to cut `on_stop` short, so whoever awaits a `stop()` takes only its first step, and in
the name of a parked carrier: to the code that is the current task, and if it suspends, the carrier stays
with it.

All this is done on asyncio only. There a borrowed task can be told to stop by `Task.cancel`, and the request
be taken back with `uncancel`, at no cost for the many that never suspend; trio would need a cancel scope
around each. With a seed it is not done either, because the run queue has to decide; nor in virtual time,
which has to know who waits for what. Asks within asks are carried a few levels deep only, for the stack's
sake, and now and then the loop gets its turn.

One thing is different from a carrier of the kernel when a run is carried: what is to stop is told so once,
not at every await from then on.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from time import monotonic
from typing import TYPE_CHECKING, Any

from actorsched._kernel.carrier import BLOCKING
from actorsched._kernel.stepper import DONE
from actorsched.messages import ExitReason, Kill

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from actorsched._kernel.activity import Activity
    from actorsched._kernel.kernel import Kernel
    from actorsched._kernel.world import World
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.call import Call, Hook
    from actorsched._system.code_run import CodeRun

_OURS = "cancelled by the actor whose handler the task carries"
_TURNS = 2
"""For how many turns of the loop a cancel scope may leave a task alone that it has cancelled."""
_DEEPEST = 8
"""How many runs may be carried within one another."""
BREATHER = 256
"""After how many of them the loop gets its turn."""


class Slot:
    """Where a carried handler puts its answer: a future that nobody has to wait for.

    Who carries the handler goes on when that has ended. So where there is an answer before, because whoever
    asks is not to wait any longer, the handler is stopped.

    Attributes:
        call: Whose answer it is.
        filled: Whether there is an answer.
        value: The answer.
    """

    __slots__ = ("call", "filled", "value")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.filled = False
        self.value: Any = None

    def __repr__(self) -> str:
        return f"<slot {self.value!r}>" if self.filled else "<empty slot>"

    def done(self) -> bool:
        """Whether there is an answer."""
        return self.filled

    def set_result(self, value: Any, /) -> None:
        """This is the answer."""
        self.filled = True
        self.value = value
        if self.call.context is not None:  # its handler has not ended
            self.call.refused()


class Start:
    """Where the spawner of an actor is told not to wait for its start: then that is not to go on.

    It waits for the start itself, in one way or another, and never for this.

    Attributes:
        cell: The actor.
        refusal: Why it is not to wait; None as long as it may.
    """

    __slots__ = ("cell", "refusal")

    def __init__(self, cell: ActorCell) -> None:
        self.cell = cell
        self.refusal: BaseException | None = None

    def done(self) -> bool:
        """Whether it was told."""
        return self.refusal is not None

    def set_result(self, value: Any, /) -> None:
        """It is not to wait."""
        self.refusal = value.error
        self.cell.kernel.post(self.cell, Kill(ExitReason("killed")))


class Loan:
    """The task of an asker, while it stays with a handler that has suspended: the run's carrier.

    Both may be told to stop, the handler by its actor and the task by whoever cancels the asker, and a task
    knows only how often it was told. What is left of that when the handler has ended, with its own timeouts
    and groups done, is meant for the task, whatever the handler made of it.
    """

    __slots__ = ("_before", "_interrupted", "_pending", "_task", "_thrown", "depth")

    def __init__(self, task: asyncio.Task[Any], depth: int) -> None:
        self._task = task
        # What the task was told before, and has heard of. A request of its own is still on its way.
        self._before = task.cancelling() - getattr(task, "_must_cancel", False)
        self._interrupted = False
        self._pending = False  # our own request has not reached the handler
        self._thrown: BaseException | None = None
        self.depth = depth

    def __repr__(self) -> str:
        return f"<loan of {self._task!r}>"

    def interrupt(self) -> None:
        """Stop the handler, and only that."""
        if not self._interrupted:
            self._interrupted = self._pending = True
            self._task.cancel(_OURS)

    def cancelled(self, error: BaseException) -> None:
        """The loop has thrown a cancellation into the task: somebody's, or that of what was awaited."""
        self._pending = False
        self._thrown = error

    async def give_back(self, kernel: Kernel) -> BaseException | None:
        """The handler has ended. Answers with the cancellation that is meant for the task itself, if any."""
        thrown, self._thrown = self._thrown, None  # whose traceback leads here
        if self._interrupted:
            self._task.uncancel()
            if self._pending:  # the handler ended before it could be reached
                thrown = await _next_cancellation(kernel) or thrown
        if self._task.cancelling() <= self._before:
            return None
        for _ in range(_TURNS):
            if thrown is not None and thrown.args != (_OURS,):
                break
            thrown = await _next_cancellation(kernel)  # two requests may come as one: a scope's comes again
        return thrown or kernel.cancelled()


async def _next_cancellation(kernel: Kernel) -> BaseException | None:
    """What the loop throws in its next turn, if it does."""
    try:
        await kernel.backend.breathe()
    except kernel.cancelled as error:
        return error
    return None


class Lender:
    """Whether, and how deeply, runs are carried by those who wait for them. One for each kernel."""

    __slots__ = ("_depth", "_kernel", "_willing", "taken")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._willing = kernel.backend.name == "asyncio" and not (kernel.seeded or kernel.virtual)
        self._depth = 0
        self.taken: int = 0
        """How many runs have begun since the loop had its turn."""

    def __repr__(self) -> str:
        return f"<lender, {self._depth} deep>"

    @property
    def ready(self) -> bool:
        """Whether one more run may be carried by whoever waits for it."""
        return self._willing and self._depth < _DEEPEST

    def leads(self) -> bool:
        """Whether the first step of a run may be taken now, for a parked carrier."""
        if self.taken >= BREATHER:  # the ordinary way takes a turn of the loop
            self.taken = 0
            return False
        return self._willing and self._depth < _DEEPEST and bool(self._kernel.idle)

    def lead(self, run: Hook, code: Coroutine[Any, Any, Any]) -> None:
        """Take the first step of user code in the name of a parked carrier, to which it belongs from then on.

        So whoever waits for it can be cancelled, and it goes on.
        """
        kernel = self._kernel
        carrier = kernel.idle.pop()
        self.taken += 1
        self._depth += 1
        then = monotonic()
        try:
            suspended = kernel.backend.run_as(carrier.task, run.step, code)
        except Exception as error:  # not of user code
            kernel.broken(run.owner, run, error)
            raise
        finally:
            self._depth -= 1
        if monotonic() - then > BLOCKING:
            kernel.blocked(monotonic() - then, run.title)
        if suspended is not None:
            return carrier.take_over(*suspended)
        if carrier.gate is not None and not carrier.gate.done():  # otherwise the code has cancelled it
            kernel.idle.append(carrier)
        self._over(run.owner)

    def _over(self, owner: ActorCell) -> None:
        """A run has ended, and nearly always its actor has nothing else to do."""
        lane = owner.lane
        idle = owner.turn is None and owner.hook is None and owner.extras is None
        if not idle or lane.queue or lane.ranked:
            self._kernel.activity_over(owner)
        elif self._kernel.mail:
            self._kernel.drain()

    def begin(self, run: Call | Hook, code: Coroutine[Any, Any, Any]) -> tuple[Activity, object] | None:
        """Take the first step of a run, in the present task. If it suspends, the task is to stay with it."""
        self.taken += 1
        self._depth += 1
        then = monotonic()
        try:
            suspended = run.step(code)
        except Exception as error:  # not of user code: that has been dealt with
            self._kernel.broken(run.owner, run, error)
            raise
        finally:
            self._depth -= 1
        if monotonic() - then > BLOCKING:
            self._kernel.blocked(monotonic() - then, run.title)
        if suspended is None:
            self._over(run.owner)
        return suspended

    async def carry(self, run: Call | Hook, code: Coroutine[Any, Any, Any]) -> None:
        """Run user code to its end in the present task. Its outcome goes where it always goes.

        Raises:
            BaseException: The present task was cancelled.
        """
        suspended = self.begin(run, code)
        if suspended is not None:
            await self.stay_with(run, suspended[1])
        elif self.taken >= BREATHER:
            await self.breathe()

    async def breathe(self) -> None:
        """Let the loop have its turn, after many runs that needed none."""
        self.taken = 0
        await self._kernel.backend.breathe()

    async def stay_with(self, run: CodeRun, yielded: object) -> None:
        """Stay with a run that has suspended in the present task, to its end.

        Raises:
            BaseException: The present task was cancelled.
        """
        from asyncio import current_task

        task = current_task()
        assert task is not None
        loan = Loan(task, self._depth + 1)
        run.carrier = loan  # type: ignore[assignment]  # a carrier is what can be interrupted
        if run.interrupted:
            loan.interrupt()
        value = error = None
        try:
            value = await self._drive(run, yielded, loan)
        except BaseException as raised:
            error = raised
        run.carrier = None
        cancellation = await loan.give_back(self._kernel)
        if cancellation is not None:
            run.forsaken()
        try:
            self._ended(run, value, error)
            if cancellation is not None:
                raise cancellation
        finally:
            del error, cancellation, loan  # they refer to this frame, and the loan to what was thrown

    def _ended(self, run: CodeRun, value: object, error: BaseException | None) -> None:
        try:
            after = run.returned(value) if error is None else run.raised(error)
            self._kernel.activity_over(after)
        except Exception as bug:  # not of user code
            self._kernel.broken(run, value, bug)
            raise

    @types.coroutine
    def _drive(self, run: CodeRun, yielded: Any, loan: Loan) -> Generator[Any, Any, Any]:
        """Step suspended code to its end within its own context, passing its traps on to the loop."""
        context, stepper, cancelled = run.context, run.stepper, self._kernel.cancelled
        assert context is not None
        assert stepper is not None
        while True:
            step, sent = stepper.send, None
            try:
                sent = yield yielded
            except BaseException as error:
                if isinstance(error, cancelled):
                    loan.cancelled(error)
                step, sent = stepper.throw, error
            outer, self._depth = self._depth, loan.depth
            then = monotonic()
            try:
                yielded = context.run(step, sent)
                if yielded is DONE:
                    return self._kernel.result_of(stepper)
            finally:
                del sent
                self._depth = outer
                if monotonic() - then > BLOCKING:
                    self._kernel.blocked(monotonic() - then, run.title)


class ChoosingLender(Lender):
    """In a simulated world it is left open, each time, whether who waits for a run carries it."""

    __slots__ = ("_world",)

    def __init__(self, kernel: Kernel, world: World) -> None:
        super().__init__(kernel)
        self._willing = kernel.backend.name == "asyncio"
        self._world = world

    @property
    def ready(self) -> bool:
        """Whether one more run may be carried by whoever waits for it."""
        return super().ready and self._world.pick(12, "whether who asks carries the handler") != 1

    def leads(self) -> bool:
        """Whether the first step of a run may be taken now, for a parked carrier."""
        return super().leads() and self._world.pick(12, "whether a hook begins at once") != 1


def lender_of(kernel: Kernel) -> Lender:
    """The lender of a kernel."""
    return Lender(kernel) if kernel.world is None else ChoosingLender(kernel, kernel.world)

"""Carriers: the few backend tasks that run all user code.

A carrier takes ready activities from the kernel and steps each inline. One that ends without suspending
has cost no task at all. When one does suspend, the carrier stays with it until it ends, so that the
current task, cancel scopes and task groups inside it are right, and lets go of the pump; another carrier
takes over.

A carrier has one cancel scope for its life, because entering one costs more than most handlers. It is
cancelled only for the activity that the carrier is staying with; afterwards the carrier ends, whatever
became of the cancellation, and nothing of it can reach the next activity. It also ends when an activity has
left a cancellation of its own behind, or when somebody cancels the carrier itself; another takes its place.

An activity may have a gate: it was preempted, and takes no further step until the gate is opened. The carrier
waits there with it, shielded from the activity's own timeouts; whatever they threw meanwhile reaches it when
it goes on. Children that it has in task groups go on all the while.

A parked carrier may also be handed an activity whose first step was taken elsewhere in the name of its task
(`take_over`), and stays with it like with any other.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from actorsched._kernel.stepper import DONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._kernel.activity import Activity, Runnable
    from actorsched._kernel.backend import Future
    from actorsched._kernel.kernel import Kernel


BLOCKING = 0.1
"""After how many seconds without an await user code is reported to block the loop."""


@types.coroutine
def _drive(activity: Activity, yielded: Any, carrier: Carrier, kernel: Kernel) -> Generator[Any, Any, Any]:
    """Step a suspended activity to its end within its own context, passing its traps on to the loop."""
    context, stepper, clock = activity.context, activity.stepper, kernel.monotonic
    assert context is not None
    assert stepper is not None
    step: Callable[[Any], Any]
    value: Any
    carrier.since = clock()
    while True:
        carrier.trap = yielded
        try:
            sent = yield yielded
        except BaseException as error:
            step, value = stepper.throw, error
        else:
            step, value = stepper.send, sent
        if activity.gate is not None:
            thrown = yield from _pause(activity, kernel).__await__()
            if thrown is not None:
                step, value = stepper.throw, thrown
        carrier.trap = None
        then = clock()
        try:
            yielded = context.run(step, value)
            if yielded is DONE:
                return kernel.result_of(stepper)
        finally:
            value = sent = thrown = None  # an error refers to this frame
            carrier.since = now = clock()
            if now - then > BLOCKING:
                kernel.blocked(now - then, activity.title)


async def _pause(activity: Activity, kernel: Kernel) -> BaseException | None:
    """Wait until the gate is opened. Answers with a cancellation that asyncio has thrown in meanwhile."""
    thrown: BaseException | None = None
    with CancelScope(shield=True):
        while activity.gate is not None:
            if activity.gate.done():  # asyncio has cancelled it, and it can be waited on no more
                activity.gate = kernel.future()
            try:
                await activity.gate
            except kernel.cancelled as error:
                thrown = error
    return thrown


class Carrier:
    """One backend task that runs user code."""

    __slots__ = ("_called", "_kernel", "_yielded", "gate", "scope", "since", "subject", "task", "trap")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._called = True  # to the pump, and has not gone there yet
        self.gate: Future | None = None
        self.scope: CancelScope | None = None
        self.subject: Activity | None = None
        self.task: Any = None
        """The backend's."""
        self._yielded: object = None  # by the subject that was handed over
        self.trap: object = None
        """What the subject waits on, as the loop sees it; None while it takes a step."""
        self.since: float = 0.0
        """When the subject took its last step, by the loop's clock."""

    def __repr__(self) -> str:
        return (
            f"<carrier {'parked' if self.gate else f'with {self.subject!r}' if self.subject else 'pumping'}>"
        )

    async def run(self) -> None:
        """Carry until the kernel closes or an activity was cancelled."""
        kernel = self._kernel
        self.task = kernel.backend.current_task()
        try:
            with CancelScope() as self.scope:
                while not self.scope.cancel_called and kernel.backend.is_sound():
                    self._called = False
                    if kernel.take_pump():
                        try:
                            await self._pump()
                        except Exception as error:  # not of user code: that has been dealt with
                            kernel.broken(self, self.subject, error)
                            return
                    elif not await self._park():
                        return
        finally:
            kernel.carriers.pop(self, None)
            if self._called:
                kernel.missed()

    def interrupt(self) -> None:
        """Cancel the activity that this carrier stays with. A preempted one goes on for that."""
        assert self.scope is not None
        subject = self.subject
        if subject is not None and subject.gate is not None:
            gate, subject.gate = subject.gate, None
            self._kernel.reply(gate, None)
        self.scope.cancel()

    async def _pump(self) -> None:
        """Run what is ready, holding the pump, until an activity has suspended and ended, or all is done."""
        kernel = self._kernel
        suspended = None
        try:
            while (suspended := kernel.run_ready()) is None and kernel.ready:
                await kernel.backend.breathe()
        finally:
            kernel.leave_pump()
        if suspended is not None:
            await self._stay_with(*suspended)

    def take_over(self, activity: Activity, yielded: object) -> None:
        """Stay with an activity that has suspended in the name of this carrier, which was parked."""
        self.subject, self._yielded = activity, yielded
        activity.carrier = self
        if self.gate is not None and not self.gate.done():
            self.gate.set_result(False)  # to the pump it was not called

    async def _stay_with(self, activity: Activity, yielded: Any) -> None:
        self.subject = activity
        activity.carrier = self
        if activity.interrupted:
            self.interrupt()
        after: Runnable | None
        try:
            value = await _drive(activity, yielded, self, self._kernel)
        except BaseException as error:
            after = activity.raised(error)
        else:
            after = activity.returned(value)
        self.subject = self.trap = None
        self._kernel.activity_over(after)

    async def _park(self) -> bool:
        """Wait to be given the pump; False when this carrier is not needed any more."""
        kernel = self._kernel
        if not kernel.wants_idle_carrier():
            return False
        self.gate = kernel.future()
        kernel.idle.append(self)
        try:
            self._called = bool(await self.gate)
        except BaseException as error:
            if self.subject is not None and isinstance(error, kernel.cancelled):
                kernel.backend.cancel_again()  # where the subject waits, for which it was meant
            elif self in kernel.idle:
                kernel.idle.remove(self)
                raise
            else:
                self._called = True
                raise
        finally:
            self.gate = None
        if self.subject is None:
            return self._called
        yielded, self._yielded = self._yielded, None
        await self._stay_with(self.subject, yielded)
        return True

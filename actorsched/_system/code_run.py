"""One run of user code: what is common to a task's function and an actor's handler.

It is the `Activity` that carriers carry. A run ends with the code, or, when the code deferred calls, with the
last of those: they run after it, the last first, and no cancellation of the code reaches them.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

from actorsched._kernel.stepper import DONE, Stepper

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextvars import Context

    from actorsched._kernel.activity import Activity, Runnable
    from actorsched._kernel.backend import Future
    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.kernel import Kernel

Deferred = list[tuple[Callable[..., object], tuple[Any, ...]]]


_NO_SLOTS: tuple[str, ...] = ()


class CodeRun:
    """User code on its way from its first step to its end.

    The fields are those of the classes that extend it.
    """

    __slots__ = _NO_SLOTS

    gate: Future | None = None

    if TYPE_CHECKING:
        context: Context | None
        stepper: Stepper | None
        carrier: Carrier | None
        interrupted: bool
        deferred: Deferred | None
        ended: tuple[Any, BaseException | None] | None
        """What the code returned and raised, while its deferred calls run."""

    if TYPE_CHECKING:

        @property
        def kernel(self) -> Kernel:
            """The kernel that runs it."""
            ...

    @property
    @abstractmethod
    def title(self) -> str:
        """What the log calls it."""

    @abstractmethod
    def over(self, value: Any, error: BaseException | None) -> Runnable | None:
        """The code and its deferred calls have ended. Answers with who may have more to run."""

    def forsaken(self) -> None:
        """Whoever carried it was cancelled. Most code is carried by nobody who could be."""

    @abstractmethod
    def again(self) -> Runnable:
        """Who goes back into the run queue so that the deferred calls get their turn."""

    def step_deferred(self) -> tuple[Activity, object] | None:
        """Take the first step of the deferred calls."""
        deferred, self.deferred = self.deferred, None
        assert deferred is not None
        return self.step(unwind(self.title, deferred))

    def step(self, code: Coroutine[Any, Any, Any]) -> tuple[Activity, object] | None:
        """Take the first step of some code in the context of this run."""
        kernel, context = self.kernel, self.context
        assert context is not None
        steppers = kernel.steppers
        stepper = steppers.pop() if steppers else Stepper()
        try:
            yielded = context.run(stepper.send, code)
        except BaseException as error:
            self.raised(error)
            return None
        if yielded is not DONE:
            self.stepper = stepper
            return self, yielded
        steppers.append(stepper)
        value, stepper.box[0] = stepper.box[0], None
        if self.deferred is None and self.ended is None:
            self.context = None
            self.over(value, None)
        else:
            self._end(value, None)
        return None

    def returned(self, value: Any) -> Runnable | None:
        """The code, or its deferred calls, have returned."""
        if self.deferred is None and self.ended is None:
            self.context = self.stepper = self.carrier = None
            return self.over(value, None)
        return self._end(value, None)

    def raised(self, error: BaseException) -> Runnable | None:
        """The code, or one of its deferred calls, has raised."""
        return self._end(None, error)

    def _end(self, value: Any, error: BaseException | None) -> Runnable | None:
        ended = self.ended or (value, error)
        self.carrier = None
        if self.deferred:  # those of the code, or what they have deferred themselves
            self.ended = ended
            self.interrupted = False
            return self.again()
        self.context = self.stepper = None
        return self.over(*ended)


async def unwind(title: str, deferred: Deferred) -> None:
    """Make deferred calls, the last first. One that fails is logged, and the others are still made."""
    while deferred:
        function, args = deferred.pop()
        try:
            result = function(*args)
            if isawaitable(result):
                await result
        except GeneratorExit:
            raise
        except BaseException:  # nobody else would hear of it, whatever it is
            logging.getLogger("actorsched.task").exception("deferred call %r of %s failed", function, title)


def without_cancellation(error: BaseException, cancelled: type[BaseException]) -> BaseException | None:
    """What is left of an error when cancellations are taken out of it, also from within groups."""
    if isinstance(error, cancelled):
        return None
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(cancelled)[1]
    return error

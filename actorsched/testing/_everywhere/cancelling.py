"""A world in which somebody is cancelled at one moment.

The law of this module: whoever may be cancelled by users is cancelled here in the same way: the scenario by a
scope around it, or by `Task.cancel`; a task of a runtime as by `ref.cancel()`; a task of asyncio's own by
`Task.cancel`; and who has asked an actor by whatever cancels that one.

How it works: after each step of a task of the loop, nothing runs. Whoever has just suspended is at an await.
So does a task that waits in another way: for its dependencies, for its turn, in a thread; that is a moment
too. What is cancelled is so at once, where it waits, before anything else happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from actorsched._kernel.on_asyncio import _begun
from actorsched._system import census
from actorsched._system.asking import ask, next_item
from actorsched._system.call import Call
from actorsched._system.task import TaskActor
from actorsched.exceptions import TaskCancelled
from actorsched.messages import Cancel, ExitReason, Kill
from actorsched.testing._everywhere.watched import Kinds, WatchedWorld, chain_of, code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.kernel import Kernel
    from actorsched.testing.choices import Choices

Who: TypeAlias = Literal["scenario", "tasks", "asks", "foreign"]
At: TypeAlias = Literal["awaits", "steps"]

_WHY = "cancelled everywhere"
_SCENARIO = "the scenario"


class CancellingWorld(WatchedWorld):
    """A simulated world in which somebody is cancelled at a moment.

    Args:
        choices: Decide what is left open.
        only: At which moment; None for none.
        expected: With what the scenario may end when somebody else was cancelled.
        unscathed: With what it may end when it was cancelled itself.
        who: Who may be.
        at: When: as soon as they wait, or after each step that anybody takes meanwhile.
        native: Whether the scenario is cancelled as asyncio does it.
        may_swallow: Whether the scenario may go on to its end although it was cancelled.
        options: Those of every world.
    """

    def __init__(
        self,
        choices: Choices,
        *,
        only: int | None = None,
        expected: Kinds = (),
        unscathed: Kinds = (),
        who: tuple[Who, ...] = ("scenario",),
        at: At = "awaits",
        native: bool = False,
        may_swallow: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(choices, only=only, expected=expected, **options)
        self._unscathed = unscathed
        self._causes = expected
        self._who = frozenset(who)
        self._always = at == "steps"
        self._native = native
        self._may_swallow = may_swallow
        self._scope: anyio.CancelScope | None = None
        self._seen = 0
        self._states: dict[Any, object] = {}
        self._whose: Who | None = None

    # ----------------------------------------------------------------------------------- the scenario

    def cutting(self) -> anyio.CancelScope:
        """Where the scenario runs."""
        self._scope = anyio.CancelScope()
        return self._scope

    def begin(self) -> None:
        """The scenario is about to begin."""
        if "scenario" in self._who and self.due(_SCENARIO, "before its first step"):
            self._cancel_scenario()

    def may_end_cancelled(self) -> bool:
        """Whether a bare cancellation may come out of the scenario: asyncio's own."""
        if self._whose == "scenario" and self._native:
            self.loop.main.uncancel()  # type: ignore[union-attr]  # asyncio's
            return True
        return self._whose == "foreign"

    def must_end_cancelled(self) -> bool:
        """Whether the scenario was cancelled, has heard of it, and may not go on."""
        driver = self.driver
        return self._whose == "scenario" and driver is not None and driver.told and not self._may_swallow

    def causes(self) -> Kinds:
        """The log may hear of what others heard of the cancellation, whoever it was."""
        return self._causes

    def at_moment(self) -> None:
        """What was to come true may not, now that somebody is cancelled."""
        self.drop_expectations()

    def _cancel_scenario(self) -> None:
        self._whose = "scenario"
        self.expected = self._unscathed
        if self._native:
            self.loop.main.cancel(_WHY)  # type: ignore[union-attr]
        else:
            assert self._scope is not None
            self._scope.cancel()

    # ------------------------------------------------------------------------------------- the moments

    def look(self, task: int) -> None:
        """A task of the loop has taken a step."""
        looks: dict[Who, Callable[[int], bool]] = {
            "scenario": self._look_at_scenario,
            "tasks": self._look_at_tasks,
            "asks": self._look_at_asks,
            "foreign": self._look_at_foreign,
        }
        for who, look in looks.items():
            if who in self._who and look(task):
                self._whose = self._whose or who
                return

    def _look_at_scenario(self, number: int) -> bool:
        driver = self.driver
        if driver is None or not driver.waits or (driver.awaits == self._seen and not self._always):
            return False
        self._seen = driver.awaits
        if not self.due(_SCENARIO, f"at its await number {driver.awaits}", chain_of(driver.code)):
            return False
        self._cancel_scenario()
        return True

    def _look_at_tasks(self, number: int) -> bool:
        for kernel in self.kernels:
            for task in list(census.live_tasks(kernel.facade._system)):
                if not self._is_moment(task, number):
                    continue
                worker = task.worker
                what = "at an await" if code_of(worker) is not None else f"while it is {task.status.value}"
                if self.due(f"task {task.name!r}", what, chain_of(code_of(worker))):
                    kernel.post(task, Cancel(_WHY))
                    return True
        return False

    def _is_moment(self, task: Any, number: int) -> bool:
        """Whether a task of a runtime has just begun to wait."""
        carrier = getattr(task.worker, "carrier", None)
        if self._always or (carrier is not None and _number_of(carrier) == number):
            return True
        state = task.status, task.attempt
        before, self._states[task] = self._states.get(task), state
        return state != before and code_of(task.worker) is None

    def _look_at_asks(self, number: int) -> bool:
        for kernel in self.kernels:
            for carrier in sorted(kernel.carriers, key=_number_of):
                call: Any = carrier.subject
                if not (self._always or _number_of(carrier) == number) or not _is_asked(call):
                    continue
                if self.due(f"who asked for {call.title}", "while the handler was", chain_of(code_of(call))):
                    self._cancel_asker(kernel, call)
                    return True
        return False

    def _cancel_asker(self, kernel: Kernel, call: Any) -> None:
        sender, driver = call.sender, self.driver
        if isinstance(sender, TaskActor):
            kernel.post(sender, Cancel(_WHY))
        elif sender is not None:
            kernel.post(sender, Kill(ExitReason("killed")))
        elif driver is not None and driver.waits and _asks(driver.code, call):
            self._cancel_scenario()
        else:
            for task in self._foreign():
                if _asks(task.get_coro(), call):
                    self._whose = "foreign"
                    task.cancel(_WHY)
                    return
            call.withdraw(TaskCancelled(_WHY))

    def _look_at_foreign(self, number: int) -> bool:
        for task in self._foreign():
            if not (self._always or task.number == number):
                continue
            code = task.get_coro()
            name = f"task {code.__qualname__!r} of the loop, number {task.number}"
            if self.due(name, "at an await", chain_of(code)):
                task.cancel(_WHY)
                return True
        return False

    def _foreign(self) -> Iterator[Any]:
        """The tasks of asyncio's that are none of ours."""
        for task in () if self.loop is None else self.loop.left():
            if task.get_coro().cr_code is not _begun.__code__:
                yield task


def _number_of(carrier: Carrier) -> int:
    """By what the loop knows the task of a carrier."""
    task = getattr(carrier, "task", None)
    number: int = getattr(task, "number", getattr(task, "_counter", 0))
    return number


def _is_asked(run: Any) -> bool:
    """Whether it is a handler at an await, and somebody waits for what it answers."""
    asked = isinstance(run, Call) and run.ended is None and run.withdrawn is None
    return asked and (run.reply is not None or run.stream is not None)


def _asks(code: Any, call: Call) -> bool:
    """Whether some code waits for the answer to a call."""
    while code is not None:
        frame = getattr(code, "cr_frame", None) or getattr(code, "gi_frame", None)
        if frame is not None and frame.f_code in _ASKING and frame.f_locals.get("call") is call:
            return True
        code = getattr(code, "cr_await", None) or getattr(code, "gi_yieldfrom", None)
    return False


_ASKING = (ask.__code__, next_item.__code__)

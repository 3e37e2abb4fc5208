"""Stand-ins for tasks: refs that the test settles.

The law of this module: a stand-in is a `TaskRef` in everything that code may do with it. What is done with it
is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from actorsched.exceptions import NotTransferable, TaskCancelled, shown
from actorsched.messages import Outcome
from actorsched.options import DEFAULT
from actorsched.status import TaskStatus
from actorsched.task import TaskRef, _by_hand, _check_reason
from actorsched.testing._alone.scene import Wait, record, scene_for
from actorsched.testing.effects import Cancelled, Reprioritized

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from actorsched.options import TaskOptions

T = TypeVar("T")


class Outstanding:
    """What a stand-in of a task knows: it stands where a real task would."""

    __slots__ = (
        "attempt",
        "callbacks",
        "id",
        "name",
        "observed",
        "options",
        "outcome",
        "progress",
        "rank",
        "waits",
    )

    def __init__(self, name: str, number: int, options: TaskOptions) -> None:
        self.name = name
        self.id = f"task-{number}"
        self.options = options
        self.rank: int = options.priority
        self.outcome: Outcome[Any] | None = None
        self.progress: tuple[float, str | None] = (0.0, None)
        self.attempt = 1
        self.observed = True
        self.waits: list[Wait] = []
        self.callbacks: list[Callable[[], object]] = []

    @property
    def status(self) -> TaskStatus:
        """Where it is in its life, as far as anybody knows."""
        return TaskStatus.RUNNING if self.outcome is None else self.outcome.status

    def __getattr__(self, name: str) -> NoReturn:
        """A real runtime asks its own refs for more than there is here.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"the ref of {self.name!r} is a stand-in for what is tested alone: no runtime has that task"
        )

    def settle(self, outcome: Outcome[Any]) -> bool:
        """It ends, if it has not yet."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        waits, self.waits = self.waits, []
        for wait in waits:
            wait.settle()
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()
        return True

    async def settled(self) -> Outcome[Any]:
        """Wait until it has ended."""
        if self.outcome is None:
            what = f"the end of task {self.name!r}"
            wait = Wait(scene_for(what), f"{what}; settle its ref")
            self.waits.append(wait)
            await wait
        assert self.outcome is not None
        return self.outcome


class TaskStandIn(TaskRef[T], eq=False, weakref=True):
    """The ref of a task that is not there: made by `alone.task_ref`, or given to whoever spawns one.

    The test settles it, by `settle`. Until then whoever awaits it waits.
    """

    @property
    def _outstanding(self) -> Outstanding:
        outstanding: Any = self._task
        assert isinstance(outstanding, Outstanding)
        return outstanding

    def __repr__(self) -> str:
        return f"<stand-in for task {self.name!r}, {self.status.value}>"

    def __del__(self) -> None:
        """Nobody needs to know that nobody looks."""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TaskRef):
            return super().__eq__(other)  # pyright: ignore[reportUnknownArgumentType]  # of any task
        return NotImplemented  # it may be ANY

    def __hash__(self) -> int:
        return super().__hash__()

    def __reduce__(self) -> NoReturn:
        raise NotTransferable(
            f"the stand-in for task {self.name!r} cannot travel: it belongs to a test", what=repr(self)
        )

    def __await__(self) -> Generator[Any, Any, T]:
        outcome: Outcome[T] = yield from self._outstanding.settled().__await__()
        return outcome.unwrap()

    async def outcome(self) -> Outcome[T]:
        """How it ended, once the test has said so; never raises what the task raised."""
        return await self._outstanding.settled()

    def settle(self, value: T | None = None, error: Exception | None = None) -> bool:
        """Say how the task has ended; whoever awaits it goes on at once.

        The same as for a real ref, which settles a task by hand: see `TaskRef.settle`.
        """
        return self._outstanding.settle(_by_hand(value, error))

    def report(self, fraction: float, message: str | None = None) -> None:
        """Say how far it is: what `progress` tells."""
        self._outstanding.progress = (fraction, message)

    async def cancel(self, reason: str | None = None) -> None:
        """Record that the task is cancelled; it has ended then."""
        self.cancel_nowait(reason)

    def cancel_nowait(self, reason: str | None = None) -> None:
        """The same as `cancel`."""
        _check_reason(reason)
        if self._outstanding.outcome is not None:
            return
        record(Cancelled(self, reason))
        why = "" if reason is None else f": {reason}"
        error = TaskCancelled(f"task {self.name!r} was cancelled{why}", reason=reason, task=self.name)
        self._outstanding.settle(Outcome(TaskStatus.CANCELLED, error=error))

    def add_done_callback(self, function: Callable[[TaskRef[T]], object]) -> None:
        """Have a function called when the test has settled it; at once, if it has.

        Raises:
            TypeError: It cannot be called.
        """
        if not callable(function):
            raise TypeError(f"function={function!r} cannot be called; give a function that takes a TaskRef")
        if self._outstanding.outcome is None:
            self._outstanding.callbacks.append(lambda: function(self))
        else:
            function(self)

    def set_priority_nowait(self, priority: int) -> None:
        """Record that it is given another priority.

        Raises:
            TypeError: It is no int.
        """
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise TypeError(
                f"priority={priority!r} is of type {type(priority).__name__}; give a Priority or an int"
            )
        self._outstanding.rank = priority
        record(Reprioritized(self, priority))


def make_task_ref(name: str, number: int = 0, options: TaskOptions = DEFAULT) -> TaskStandIn[Any]:
    """A stand-in for a task.

    Raises:
        TypeError: The name is no str.
    """
    if not isinstance(name, str):
        raise TypeError(f"name={shown(name)} is of type {type(name).__name__}; give a str")
    outstanding: Any = Outstanding(name, number, options)
    return TaskStandIn(outstanding)

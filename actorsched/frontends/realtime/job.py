"""The jobs of real-time tasks: known when the task is made, handed to the runtime when a scheduler takes it.

The law of this module: when something is handed over, and nothing else; what it is, is in `task`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from actorsched.exceptions import DeadlineMissed
from actorsched.frontends._jobs import Job
from actorsched.frontends._shared import SHARED
from actorsched.messages import Outcome
from actorsched.status import TaskStatus as Native
from actorsched.task import Task as Prepared

if TYPE_CHECKING:
    from actorsched.frontends._shared import Pool
    from actorsched.frontends.realtime.task import Task
    from actorsched.runtime import Runtime
    from actorsched.task import TaskRef


class RealtimeJob(Job):
    """The job of a task, which becomes known before it is known what it demands."""

    __slots__ = ("afterwards", "before", "due", "is_submitted", "settled_at", "tied")

    def __init__(self, name: str) -> None:
        super().__init__(None, name, front="realtime")
        self.due: datetime | None = None
        self.is_submitted: bool = False
        """Whether a scheduler has taken its task."""
        self.before: Callable[[Runtime, Task], object] | None = None
        """Called in the runtime's thread, before its task is submitted there."""
        self.afterwards: Callable[[Task], Callable[[], Awaitable[object]] | None] | None = None
        """Called there when it was."""
        self.tied: Callable[[], Awaitable[object]] | None = None
        """What it has returned: ends when those await the task that hold something for it."""
        self.settled_at: float | None = None

    def prepare(self, prepared: Prepared[Any], pool: Pool, due: datetime | None) -> None:
        """What becomes of it when it is entered."""
        self._prepared, self.pool, self.due = prepared, pool, due
        self.is_submitted = True

    def wait_at(self, gate: TaskRef[Any]) -> None:
        """It is not ready before this has settled."""
        if self._prepared is not None:
            options = self._prepared.options
            self._prepared.options = options.replace(after=(*options.after, gate))

    def enter(self) -> bool:
        """Hand it to the runtime, once a scheduler has taken its task."""
        return self.is_submitted and super().enter()

    def depend(self, jobs: tuple[Job, ...]) -> None:
        """It begins after these."""
        self.after = jobs

    def settle(self, outcome: Outcome[Any]) -> bool:
        """It ends so, unless it had settled; and when."""
        if self.outcome is None and self.settled_at is None:
            self.settled_at = monotonic()
        return super().settle(outcome)

    def fail(self, error: BaseException) -> bool:
        """It could not be submitted: when its deadline is past by now, it is because of that."""
        if isinstance(error, ValueError) and self.due is not None and datetime.now(UTC) >= self.due:
            late = (datetime.now(UTC) - self.due).total_seconds()
            missed = DeadlineMissed(
                f"task {self.name!r} was not begun: its deadline was past before it could be",
                task=self.name,
                tardiness=late,
            )
            return self.settle(Outcome(Native.DEADLINE_MISSED, error=missed))
        return super().fail(error)

    def _submit(self, runtime: Runtime) -> None:
        if self.outcome is None and self.before is not None:
            self.before(runtime, self.view)
        super()._submit(runtime)
        if self.afterwards is not None:
            self.tied = self.afterwards(self.view)


def enter_together(jobs: list[RealtimeJob]) -> None:
    """Hand several to the runtime at one instant: the first to begin is the best of all.

    Raises:
        RuntimeClosed: The interpreter is about to end.
    """
    entering = [job for job in jobs if job._enters()]
    try:
        SHARED.call(_submit_together, entering)
    except BaseException:
        for job in entering:
            job.entered = False
        raise


def _submit_together(runtime: Runtime, jobs: list[RealtimeJob]) -> None:
    if len(jobs) < 2:
        for job in jobs:
            job._submit(runtime)
        return
    gate = runtime.submit_nowait(Prepared("start", _gate))
    for job in jobs:
        job.wait_at(gate)
        job._submit(runtime)
    ties = [job.tied for job in jobs if job.tied is not None]
    if ties:  # before anybody is chosen, it has to be known who inherits from whom
        runtime.submit_nowait(Prepared("start", partial(_open, gate, ties)))
    else:
        gate.settle()


async def _gate() -> None:
    """Does nothing until it is settled."""
    import anyio

    await anyio.sleep_forever()


async def _open(gate: TaskRef[Any], ties: list[Callable[[], Awaitable[object]]]) -> None:
    for tied in ties:
        await tied()
    gate.settle()

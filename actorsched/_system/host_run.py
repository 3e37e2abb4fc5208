"""One attempt of a task in a host: what is sent there, and what becomes of what comes back.

The law of this module: it knows of one attempt, and decides nothing about it. What crosses is turned into the
form in which it travels, and back; an error on the way is the answer, or is raised, and never lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from actorsched._hosting.transfer import loads
from actorsched.messages import Finished

if TYPE_CHECKING:
    from actorsched._core.behaviour import Timer
    from actorsched._hosting import wire
    from actorsched._hosting.definitions import Definition, Definitions
    from actorsched._hosting.wire import Payload
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.task import TaskActor

Packed = tuple["Definition", "Payload"]
"""A function and its arguments, as they travel."""


class HostRun(msgspec.Struct, eq=False):
    """One attempt of a task in a host; in the parent, what requests from the host are made in the name of."""

    may_wait: ClassVar[bool] = True

    owner: TaskActor
    attempt: int
    worker: HostWorker
    packed: Packed | None = None
    """Function and arguments, while the host is not ready for them."""
    grace: Timer | None = None
    used: wire.Measured | None = None
    """What its function has used, if that was to be measured."""

    @property
    def kernel(self) -> Kernel:
        """The kernel of its runtime."""
        return self.worker.kernel

    def clear_grace(self) -> None:
        """It has not to stop any more, or has."""
        if self.grace is not None:
            self.grace.cancel()
            self.grace = None

    def note(self, took: float, *, returned: bool) -> None:
        """It is over, and may have been measured."""
        placed, used = self.owner.placed, self.used
        if placed is not None and used is not None:
            placed.crossed(used.cpu, used.wall, used.queued, took, returned=returned)


def pack(task: TaskActor, definitions: Definitions) -> Packed:
    """Function and arguments as they travel.

    Raises:
        NotTransferable: Something cannot cross; it says what, and where in it.
    """
    assert task.function is not None
    args, kwargs = task.arguments() if task.injected else (task.args, task.kwargs)
    if not args and not kwargs:
        definition = definitions.known(task.function)
        if definition is not None:
            return definition, b""
    return definitions.call(task.function, tuple(args), kwargs, f"task {task.name!r}")


def returned(value: Payload, task: TaskActor) -> Finished:
    """How a task has finished that ended with this value, as it travels."""
    try:
        return Finished(loads(value, f"the result of task {task.name!r}"))
    except BaseException as error:  # be it a Ctrl-C in this very moment: somebody waits for the answer
        return Finished(error=error)

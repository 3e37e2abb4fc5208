"""What a kernel asks of a simulated world, in the place of what a real run leaves to chance.

The law of this module: it is a port, and knows no simulation. A runtime that is not simulated has no
world, and whoever could ask one looks for that first. The world that there is lives in `actorsched.testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from actorsched._kernel.activity import Activity, Runnable
    from actorsched._kernel.backend import Backend
    from actorsched._kernel.kernel import Kernel
    from actorsched._kernel.simulated import SimulatedKernel


class World(Protocol):
    """Decides all that is left open, each time in the same way for the same seed.

    Attributes:
        logs: Whether what happens is written down.
        numbers: Of tasks and of actors, which are the same in each run.
    """

    logs: bool
    numbers: tuple[Iterator[int], Iterator[int]]

    @property
    def now(self) -> float:
        """The present time, in seconds; it stands still while anything happens."""
        ...

    def backend(self, backend: Backend, /) -> Backend:
        """What stands for this backend here."""
        ...

    def joined(self, kernel: SimulatedKernel, /) -> None:
        """A runtime is entered; its timers count from now on."""
        ...

    def parted(self, kernel: SimulatedKernel, /) -> None:
        """It has been left."""
        ...

    def stepped(self, runnable: Runnable, activity: Activity | None, /) -> bool:
        """Some user code has taken a step. Answers whether the loop is to have its turn now.

        Args:
            runnable: Whose code.
            activity: What has suspended; None if nothing has.
        """
        ...

    def one_at_a_time(self) -> bool:
        """Whether an actor handles one message at a time, also where it could handle a row of them."""
        ...

    def failed(self, error: BaseException, /) -> None:
        """What should hold does not: the run has failed."""
        ...

    def reported(self, level: int, text: str, error: BaseException | None, /) -> None:
        """The runtime has written this to its log."""
        ...

    def happened(self, kind: str, name: str, number: int | str, details: Mapping[str, object], /) -> None:
        """The same as `note`, for an event of a task, an actor or a host."""
        ...

    def pick(self, count: int, what: str, /) -> int:
        """Choose one of `count` possibilities, 1 or more; 0 is what would happen without a simulation.

        Args:
            count: How many there are.
            what: What is chosen, for the event log.
        """
        ...

    def fraction(self, what: str, /) -> float:
        """A number in [0, 1)."""
        ...

    def lag(self, what: str, /) -> float:
        """For how many virtual seconds a thread or a host keeps somebody waiting; mostly 0."""
        ...

    def note(self, kind: str, text: str, /) -> None:
        """Something has happened that people want to read of when a run has failed."""
        ...

    def launch(
        self,
        kernel: Kernel,
        kind: Literal["tasks", "actors"],
        *,
        on_frame: Callable[[Any], None],
        on_exit: Callable[[Any], None],
        on_read: Callable[[], object] | None,
        start_timeout: float,
        name: str,
    ) -> Any:
        """Start a simulated host; answers with what stands for a `HostLink`."""
        ...

    def lane(self, capacity: int | None, overflow: str, normal: int, /) -> Any:
        """The user lane of an actor's mailbox."""
        ...

    def cell_kind(self, *, hosted: bool) -> Any:
        """The class of the cells of actors, in the runtime's process or in hosts."""
        ...

    def run_thread(self, worker: Any, run: Any, /) -> None:
        """Run what was assigned to the worker of a thread, and tell it with `over` when that has ended."""
        ...

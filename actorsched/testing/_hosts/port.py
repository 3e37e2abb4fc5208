"""A simulated host's end of its link, and its way to the runtime: what `Port` and `Doorway` are to a process.

The law of this module: frames go to the host, one by one, which sees to the rest. Nothing is gathered, noted
or lent here: there is no socket that could be too slow, and no memory that outlives anybody.
"""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from actorsched._hosting.child_context import TaskContext
from actorsched._hosting.inside import Doorway
from actorsched._hosting.segments import Borrower
from actorsched.testing._hosts.lockstep import thread_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorsched._hosting.wire import Answer, FromHost, Run
    from actorsched._kernel.backend import Backend, Future, Handle
    from actorsched.testing._hosts.host import SimulatedHost
    from actorsched.testing._hosts.lockstep import StepThread


_TURNS = 3
"""So many turns of its own event loop a thread has to make something of an answer, before it leaves again."""


def _after_turns(turns: int, backend: Backend, thread: StepThread, turn: int) -> None:
    if turns:
        backend.call_soon(_after_turns, turns - 1, backend, thread, turn)
    else:
        thread.leave(turn)


def _nothing(*given: object) -> None:
    """There is nothing to be done."""


class SimulatedPort:
    """What the code of a host says to the runtime."""

    silent = False

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.say: Callable[[FromHost], None] = host.say
        self.borrower = Borrower(None, _nothing)
        self.urge = self.nudge = self.urge_gently = self.flush = self.flush_if_needed = _nothing
        self.end_forks = self.take_back = _nothing

    def __repr__(self) -> str:
        return f"<SimulatedPort of {self.host!r}>"


class SimulatedDoorway(Doorway):
    """The requests of one simulated host."""

    def __init__(self, port: Any, host: SimulatedHost) -> None:
        super().__init__(port)
        self.host = host
        self.monotonic = host.backend.monotonic

    def backend(self) -> Backend:
        """The event loop in which somebody asks: that of the simulation, or one of a thread."""
        if get_ident() == self.host.thread:
            return self.host.own_backend  # type: ignore[no-any-return]
        backend: Any = super().backend()
        backend.asked_by = thread_here()
        return backend  # type: ignore[no-any-return]

    async def request(self, verb: str, body: object) -> Any:
        """The same; a thread that asks in an event loop of its own leaves the turn to the simulation."""
        thread = thread_here()
        if thread is None:
            return await super().request(verb, body)
        backend = self.backend()
        thread.asked += 1
        backend.call_soon(thread.leave, thread.turn)
        try:
            return await super().request(verb, body)
        finally:
            thread.asked -= 1
            _after_turns(_TURNS, backend, thread, thread.turn)

    def answered(self, answer: Answer) -> None:
        """The runtime has answered."""
        waiting: Any = self._waiting.get(answer.request_id)
        thread: StepThread | None = None if waiting is None else getattr(waiting[0], "asked_by", None)
        if thread is None:
            super().answered(answer)
        else:
            thread.rejoin(partial(super().answered, answer))


class SimulatedTaskContext(TaskContext):
    """What `current()` is in a task in a simulated host."""

    __slots__ = ("_host",)

    def __init__(self, host: SimulatedHost, run: Run) -> None:
        port: Any = host.port
        super().__init__(port, run)
        self._host = host

    def checkpoint(self) -> None:
        """The same; and a little time goes by."""
        if self.stop is None:
            self._host.lockstep.pause()
        super().checkpoint()


class HostBackend:
    """The loop, as code that runs a host sees it: whatever it starts belongs to the host."""

    def __init__(self, host: SimulatedHost, backend: Backend) -> None:
        self._host = host
        self._backend = backend
        self.name = backend.name
        self.monotonic = backend.monotonic
        self.call_soon: Callable[..., object] = host.soon
        self.call_soon_threadsafe: Callable[..., object] = host.soon

    def __repr__(self) -> str:
        return f"<backend of {self._host!r}>"

    def create_future(self) -> Future:
        """A new future."""
        return self._backend.create_future()

    def call_at(self, when: float, function: Callable[..., object], /, *args: Any) -> Handle:
        """Call at a time of `monotonic()`."""
        return self._backend.call_at(when, function, *args)

    def start_task(self, function: Callable[..., Awaitable[object]], /, *args: Any, name: str) -> None:
        """Start a task of the host."""
        self._backend.start_task(self._host.carry, function, args, name=f"{name} in {self._host.name}")

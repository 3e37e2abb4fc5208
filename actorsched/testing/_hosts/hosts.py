"""All simulated hosts and threads of one world.

The law of this module: it is what the world knows of them. It starts them, counts them, and ends them.
"""

from __future__ import annotations

from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal

from actorsched._hosting.inside import SIMULATED
from actorsched.testing._hosts.host import SimulatedHost
from actorsched.testing._hosts.link import SimulatedLink
from actorsched.testing._hosts.lockstep import Always, Lockstep
from actorsched.testing._hosts.logs import catch_logs, let_logs_go
from actorsched.testing._hosts.port import SimulatedDoorway

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.wire import FromHost
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.thread_worker import ThreadRun, ThreadWorker
    from actorsched.messages import Finished
    from actorsched.testing._hosts.fates import FatefulWorld

_ALWAYS = Always()


def _adopt(code: Any, context: Context | None) -> Any:
    """What a task of asyncio is to run: its code, or what steps that as part of a host."""
    doorway = SIMULATED.get() if context is None else context.get(SIMULATED)
    if not isinstance(doorway, SimulatedDoorway) or type(code) is not CoroutineType:
        return code
    adopted: Any = doorway.host.frost.adopted
    return adopted(code)


class SimulatedHosts:
    """The hosts and threads of a simulated world.

    Attributes:
        hosts: Those that live, in the order of their birth.
        born: How many there have been.
    """

    def __init__(self, world: FatefulWorld) -> None:
        self._world = world
        self._lockstep = Lockstep(world.lag)
        self._dead: list[SimulatedHost] = []
        self._catches = False
        self.hosts: list[SimulatedHost] = []
        self.born: int = 0

    def __repr__(self) -> str:
        return f"<simulated hosts: {self.hosts!r}>"

    @property
    def busy_in_real_time(self) -> bool:
        """Whether a function in a thread takes so long that the loop has gone on without it."""
        return self._lockstep.at_large > 0

    @property
    def unwinding(self) -> bool:
        """Whether code of hosts is left."""
        return any(host.frost.carries for host in self._dead)

    def launch(
        self,
        kernel: Kernel,
        kind: Literal["tasks", "actors"],
        *,
        on_frame: Callable[[FromHost], None],
        on_exit: Callable[[HostExit], None],
        on_read: Callable[[], object] | None,
        start_timeout: float,
        name: str,
    ) -> SimulatedLink:
        """Start a host; answers with the parent's end of it."""
        if not self._catches:
            self._catches = True
            catch_logs()
            loop: Any = getattr(self._world, "loop", None)
            if hasattr(loop, "adopt"):
                loop.adopt = _adopt
        self.born += 1
        host = SimulatedHost(self._world, self._lockstep, kernel, kind, name, self.born)
        self.hosts.append(host)
        return SimulatedLink(
            host,
            on_frame=on_frame,
            on_exit=on_exit,
            on_read=on_read,
            start_timeout=start_timeout,
            gone=self._gone,
        )

    def _gone(self, host: SimulatedHost) -> None:
        if host in self.hosts:
            self.hosts.remove(host)
            self._dead.append(host)

    def run_thread(self, worker: ThreadWorker, run: ThreadRun) -> None:
        """Run what was assigned to the worker of a thread, and tell it when that has ended."""
        run.pace = self._lockstep
        backend = worker.kernel.backend
        lag = self._world.lag(f"the thread of {run.owner.name}")
        over = partial(self._thread_over, worker, run)
        begin = partial(self._lockstep.run, backend, _ALWAYS, run.execute, over)
        if lag:
            backend.call_at(backend.monotonic() + lag, begin)
        else:
            backend.call_soon(begin)

    def _thread_over(self, worker: ThreadWorker, run: ThreadRun, finished: Finished) -> None:
        lag = self._world.lag(f"the end of {run.owner.name} in its thread")
        if lag:
            backend = worker.kernel.backend
            backend.call_at(backend.monotonic() + lag, worker.over, run, finished)
        else:
            worker.over(run, finished)

    def close(self) -> None:
        """The run is over, or about to be: nothing goes on in threads, and the code of hosts is unwound.

        The tasks of hosts that have died, or hang, are still there when the test ends. Called while the loop
        runs, this lets them come to their end in its next turns.
        """
        self._dead += self.hosts
        self.hosts.clear()
        for host in self._dead:
            host.unwind()
        self._lockstep.close()
        if self._catches:
            self._catches = False
            let_logs_go()

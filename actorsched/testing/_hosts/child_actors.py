"""An actor host, simulated: the code of those that are processes, in the loop of the simulation.

The law of this module: it adds no rule. Tasks of this host are tasks of the simulated loop, and what it says
goes out frame by frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._hosting.child_actors import ActorHost
from actorsched._hosting.wire import Bye, Hello

if TYPE_CHECKING:
    from actorsched._hosting.wire import FromHost
    from actorsched.testing._hosts.host import SimulatedHost

__all__ = ["SimulatedActorHost"]


class SimulatedActorHost(ActorHost):
    """The child's end of a simulated actor host."""

    last_started = 0

    def __init__(self, host: SimulatedHost) -> None:
        port: Any = host.port
        super().__init__(port, host.backend.name, host.doorway)
        self._host = host
        self._backend = host.own_backend
        self._over = self._backend.create_future()

    def begin(self) -> None:
        """The host has started."""
        self._say(Hello(self._host.pid))

    def take(self, frame: Any) -> None:
        """The parent has said something."""
        self._table[type(frame)](frame)

    def look(self) -> None:
        """Nothing waits here for anything but frames."""

    def _say(self, frame: FromHost) -> None:
        self._port.say(frame)

    def _end_if_done(self) -> None:
        if self._stopping and not self._tasks and not self._over.done():
            self._over.set_result(None)
            self._say(Bye())
            self._host.exit()

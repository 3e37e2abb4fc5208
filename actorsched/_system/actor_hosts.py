"""Where actors live whose code runs in host processes: which host takes one more.

One actor host has many actors. A new one is started for an actor as long as there may be more and none is
free; after that, an actor moves in where the fewest are.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorsched._system.host_pool import no_host
from actorsched._system.host_port import ActorHostPort

if TYPE_CHECKING:
    from actorsched._hosting.exits import HostExit
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.host_staff import HostStaff


class ActorHosts:
    """The actor hosts of one runtime."""

    def __init__(self, staff: HostStaff) -> None:
        self._staff = staff
        self.ports: list[ActorHostPort] = []

    def __repr__(self) -> str:
        return f"<actor hosts: {len(self.ports)}>"

    def port_for(self, cell: ActorCell) -> ActorHostPort:
        """A host for one more actor: the one with the fewest, or a new one while there may be more.

        Raises:
            HostDied: None could be started.
        """
        ports = [port for port in self.ports if not port.retiring]
        best = min(ports, key=len, default=None)
        if best is not None and (not len(best) or len(ports) >= self._staff.limits.max):
            return best
        port = ActorHostPort(self._staff, self._staff.new_desk())
        try:
            link = self._staff.launch("actors", port.frame, port.exited, self._staff.kernel.drain)
        except Exception as error:
            if best is not None:
                return best
            raise no_host(f"actor {cell.name!r} could not start", error) from error
        port.link = port.desk.link = link
        self.ports.append(port)
        return port

    def port_gone(self, port: ActorHostPort, end: HostExit) -> None:
        """An actor host has ended."""
        self.ports.remove(port)
        if end.cause != "stopped":
            logging.getLogger("actorsched.host").warning("actor host %d %s", end.pid, end.detail)

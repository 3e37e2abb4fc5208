"""How many hosts there have been, and the events that tell of each that comes or goes.

The law of this module: every host that has got ready is counted and told of once, and so is the end of every
host; before that, that it was told to end, if it was. Nothing is decided here, and nothing kept of a host
that is gone but that it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.link import HostLink
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.host_census import HostSupervisor


class HostTally:
    """The hosts that there have been in one runtime.

    Attributes:
        spawned: How many have got ready.
        reaped: How many have ended in order, because they were told to.
        died: How many have ended otherwise.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.spawned: int = 0
        self.reaped: int = 0
        self.died: int = 0

    def __repr__(self) -> str:
        return f"<hosts: {self.spawned} spawned, {self.reaped} reaped, {self.died} died>"

    def begun(self, host: HostSupervisor, pool: str, why: str) -> None:
        """A host is ready. One that never gets so is only told of when it has died."""
        self.spawned += 1
        if self._kernel.watched and host.link is not None:
            whom = Named.of(host.link)
            self._kernel.tell("host_spawned", whom, pid=host.link.pid, pool=pool, why=why)

    def told_to_end(self, host: HostSupervisor, pool: str) -> None:
        """A host is given no more, and ends when it has nothing left."""
        if self._kernel.watched and host.link is not None:
            whom = Named.of(host.link)
            self._kernel.tell("host_retiring", whom, pid=host.link.pid, pool=pool, why=host.why_over)

    def ended(self, host: HostSupervisor, pool: str, end: HostExit) -> None:
        """A host has ended, because it was told to or otherwise."""
        in_order = end.cause == "stopped"
        self.reaped += in_order
        self.died += not in_order
        if not self._kernel.watched or host.link is None:
            return
        whom = Named.of(host.link)
        if in_order:
            self._kernel.tell("host_reaped", whom, pid=end.pid, pool=pool, why=host.why_over)
        else:
            self._kernel.tell(
                "host_died",
                whom,
                pid=end.pid,
                pool=pool,
                cause=end.cause,
                why=end.detail,
                signal=end.signal,
                exit_code=end.exit_code,
            )


class Named(NamedTuple):
    """A host, as events name it."""

    name: str
    number: str

    @classmethod
    def of(cls, link: HostLink) -> Named:
        """That with this link."""
        return cls(link.name, link.name.replace(" ", "-"))

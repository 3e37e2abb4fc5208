"""The supervisor of the hosts in which actors live: where one more moves in, and which host is not needed.

One actor host has many actors. Which of them takes one more, or that another is started for it, is decided by
`_core.placement`; here it is carried out. A host in which nobody has lived for `Hosts(idle_timeout=)` ends.
One that is to be replaced, because its actors have handled `max_tasks` messages, or because its memory has
grown beyond `max_rss`, takes nobody in any more, and its actors move to others (`cell_moves`).
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from actorsched._core.placement import Enter, Home, lightest, place
from actorsched._core.scaling import FRESH
from actorsched._system.host_pool import no_host
from actorsched._system.host_port import ActorHostPort

if TYPE_CHECKING:
    from actorsched._core.load import LoadSample
    from actorsched._core.timers import TimerEntry
    from actorsched._hosting.exits import HostExit
    from actorsched._kernel.backend import Handle
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.host_staff import HostStaff

_LOST = ("stopped", "traced", "gone")
"""The states of a host that does nothing for anybody just now."""


class ActorHosts:
    """The actor hosts of one runtime.

    Attributes:
        ports: The supervisors of the hosts, in the order of their start.
    """

    def __init__(self, staff: HostStaff) -> None:
        self._staff = staff
        self._sample: LoadSample | None = None
        self._reaping: TimerEntry | Handle | None = None
        self._owed = 0
        self.ports: list[ActorHostPort] = []

    def __repr__(self) -> str:
        return f"<actor hosts: {len(self.ports)}>"

    @property
    def _now(self) -> float:
        return self._staff.kernel.backend.monotonic()

    # -------------------------------------------------------------------------- a place for an actor

    def take(self, sample: LoadSample) -> None:
        """The load of the machine has been looked at."""
        self._sample = sample

    def port_for(self, cell: ActorCell) -> ActorHostPort:
        """A host for one more actor.

        Raises:
            HostDied: There is none, and none could be started.
        """
        sample = self._sample
        if sample is not None and self._now - sample.when > FRESH:
            sample = None
        homes = [_home(port, sample) for port in self.ports]
        choice = place(homes, self._staff.limits.max, sample, self._staff.busy, owed=self._owed > 0)
        if isinstance(choice, Enter):
            return self.ports[choice.index]
        try:
            return self._start()
        except Exception as error:
            best = lightest(homes)
            if best is not None:
                return self.ports[best]
            raise no_host(f"actor {cell.name!r} could not start", error) from error

    def _start(self) -> ActorHostPort:
        port = ActorHostPort(self._staff, self, self._staff.new_desk())
        link = self._staff.launch("actors", port.frame, port.exited, self._staff.kernel.drain)
        port.link = port.desk.link = link
        self.ports.append(port)
        self._owed = max(0, self._owed - 1)
        return port

    # ---------------------------------------------------------------------- hosts that nobody needs

    def became_empty(self, port: ActorHostPort) -> None:
        """Nobody lives there any more."""
        port.empty_since = self._now
        if self._reaping is None:
            self._reap_in(self._staff.limits.idle_timeout)

    def _reap_in(self, delay: float) -> None:
        if delay < inf:
            self._reaping = self._staff.kernel.call_for_host(delay, self._reap)

    def _reap(self) -> None:
        """End the hosts that have been empty for long."""
        self._reaping = None
        now, timeout = self._now, self._staff.limits.idle_timeout
        empty = [port for port in self.ports if not (len(port) or port.retiring)]
        for port in empty:
            if now - port.empty_since >= timeout:
                port.recycle("has no actors")
        left = [port.empty_since + timeout - now for port in empty if not port.retiring]
        if left:
            self._reap_in(min(left))

    def given_up(self, port: ActorHostPort) -> None:
        """It takes no more actors; those that live there will need another home."""
        self._owed = min(self._owed + bool(len(port)), self._staff.limits.max)

    def port_gone(self, port: ActorHostPort, end: HostExit) -> None:
        """An actor host has ended."""
        self.ports.remove(port)
        if end.cause != "stopped":
            logging.getLogger("actorsched.host").warning("actor host %d %s", end.pid, end.detail)

    def close(self) -> None:
        """End none any more: all will be."""
        if self._reaping is not None:
            self._reaping.cancel()


def _home(port: ActorHostPort, sample: LoadSample | None) -> Home:
    """A host as placement sees it."""
    load = None if sample is None or port.link is None else sample.hosts.get(port.link.pid)
    if load is None:
        return Home(actors=len(port), calls=port.calls, open=not port.retiring)
    return Home(
        actors=len(port),
        calls=port.calls,
        cpu=load.cpu,
        rss=load.rss,
        open=not (port.retiring or load.state in _LOST),
    )

"""What one look at the machine has shown: processors, memory, the loop, and every host.

The law of this module: frozen values, and arithmetic on them. Who looks, how and when, is not its business,
and it decides nothing; `scaling` does.

How to read it: CPU is counted in *cores*, which is seconds of CPU time per second, over the time between two
looks. What could not be found out is None, never 0: a first look knows no use yet, and a system may not tell.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["HostLoad", "HostState", "LoadSample"]

HostState: TypeAlias = Literal["running", "stopped", "traced", "gone", "unknown"]
"""What a host process does for the system: it can run (or sleeps); a signal has stopped it; a debugger has;
it has ended, whether or not somebody has taken note of that; or nobody may know."""


class HostLoad(msgspec.Struct, frozen=True, gc=False):
    """One host process.

    Attributes:
        pid: Its process id.
        cpu: The cores that it used, with whatever it started; None at the first look.
        rss: Its resident memory in bytes; None if unknown.
        state: What it does for the system.
    """

    pid: int
    cpu: float | None
    rss: int | None
    state: HostState


class LoadSample(msgspec.Struct, frozen=True):
    """The machine, as far as this runtime may use it.

    Attributes:
        when: The end of the time over which CPU was counted, by the clock of the runtime, in seconds.
        cores: How many cores may be used: by affinity, and by the quota of the control group; above 0.
        ours: The cores that this runtime's processes used; None if unknown.
        others: The cores out of `cores` that everybody else used; None if unknown.
        memory_free: The bytes that can be had without taking them from anybody, within the limit of the
            control group; None if unknown.
        memory_total: The bytes of memory there are, within the same limit; None if unknown.
        loop_lag: How late the event loop was, in seconds.
        queue_wait: For how many seconds tasks have found no host that was free; 0 if there is one.
        hosts: The host processes that were asked for, by process id.
        fresh_rss: The resident memory in bytes of the process that hosts are forked from, which is about what
            a fresh one takes; None if unknown.
    """

    when: float
    cores: float
    ours: float | None = None
    others: float | None = None
    memory_free: int | None = None
    memory_total: int | None = None
    loop_lag: float = 0.0
    queue_wait: float = 0.0
    hosts: dict[int, HostLoad] = {}
    fresh_rss: int | None = None

    @property
    def free_cores(self) -> float | None:
        """The cores that nobody used; None if unknown."""
        if self.ours is None or self.others is None:
            return None
        return max(0.0, self.cores - self.ours - self.others)

    @property
    def host_cores(self) -> float:
        """The cores that the hosts used, as far as that is known."""
        return sum(host.cpu or 0.0 for host in self.hosts.values())

    def rss(self, pid: int) -> int | None:
        """The resident memory of a host in bytes; None if unknown."""
        host = self.hosts.get(pid)
        return None if host is None else host.rss

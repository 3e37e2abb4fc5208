"""The load monitor: looks at the machine and the hosts now and then, and tells the supervisors of the pools.

It looks often while tasks wait for a host, seldom while there are hosts, and not at all without them: a
runtime that needs no processes never pays for it. Looking is the probe's business, judging that of those who
are told.

Its looks are also the heartbeat of the hosts: one that somebody else has stopped is suspected at the first
look, and killed if it is still stopped after `_core.pulse.PATIENCE`; what it had goes on elsewhere, as after
any death. One whose memory has grown beyond `Hosts(max_rss=)` is replaced when its work is over. One whose
task has taken more than its `memory_mb` in a way that the system does not refuse is killed.
"""

from __future__ import annotations

import logging
from threading import Thread
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.load import LoadSample
from actorsched._core.pulse import Pulse
from actorsched._system.thread_worker import interpreter_ends
from actorsched.sizes import shown_size

if TYPE_CHECKING:
    from actorsched._hosting.load_probe import LoadProbe
    from actorsched._system.host_census import HostSupervisor
    from actorsched._system.host_staff import HostStaff

FAST = 0.05
"""Seconds between two looks while tasks wait for a host: a few ticks of the system's accounting."""
CALM = 1.0
"""Seconds between two looks while there are hosts."""
_SUSPICIOUS = 0.2
"""Seconds between two looks while a host is suspected."""
_ROOM = 1024.0
"""So many cores a simulated machine has, all of them free."""
_BLIND = "the load of the machine cannot be measured now; hosts are started and ended without knowing it"


class Look(msgspec.Struct, frozen=True):
    """To itself: it is time to look."""


_LOOK = Look()


class LoadMonitor(Behaviour, kw_only=True):
    """Samples the load of the machine, and of the hosts of one runtime.

    Attributes:
        sample: What the last look has shown; None before the first.
        suspected: The process ids of hosts that somebody else has stopped.
    """

    staff: HostStaff
    sample: LoadSample | None = None
    suspected: tuple[int, ...] = ()
    probe: LoadProbe | None = None
    preparing: Thread | None = None
    """What imports the probe's library, which takes too long for the loop."""
    due: float | None = None
    """When the next look is due; None while nobody needs one."""
    lag: float = 0.0
    """How late the last one began: so long the loop was busy with something else."""
    looked: float = float("-inf")
    """When the last one was."""
    pulses: dict[int, Pulse] = {}
    blind: bool = False
    """Whether the last one has failed, which was reported."""
    pointless: bool = False
    """Whether `Hosts(max_rss=)` has turned out to be less than any host takes, which was reported."""
    closed: bool = False

    def __repr__(self) -> str:
        return f"<load monitor: {self.sample}>"

    @property
    def _now(self) -> float:
        return self.staff.kernel.backend.monotonic()

    def watch(self) -> None:
        """There is one more host."""
        self._look_in(CALM)

    def hurry(self) -> None:
        """Tasks wait for a host: how is the machine?"""
        if self.probe is None and self.staff.kernel.world is None:
            self._prepare()
        else:
            self._look_in(max(0.0, self.looked + FAST - self._now))

    def close(self) -> None:
        """Look no more."""
        self.closed = True
        if self.preparing is not None:
            self.preparing.join()

    def _prepare(self) -> None:
        """Import what the probe needs in a thread, then look; if that fails, try again later."""
        if self.closed or (self.preparing is not None and self.preparing.is_alive()):
            return
        if self.looked + CALM > self._now:
            return self._look_in(CALM)
        self.looked = self._now
        thread = Thread(target=self._prepare_in_thread, name="actorsched load probe", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread for it now
            return None if interpreter_ends(error) else self._cannot_see(error)
        self.preparing = thread
        return None

    def _prepare_in_thread(self) -> None:
        kernel = self.staff.kernel
        try:
            from actorsched._hosting.load_probe import LoadProbe

            probe = LoadProbe()
            probe.prepare()
        except Exception as error:
            kernel.call_threadsafe(kernel.report, logging.WARNING, _BLIND, error)
        else:
            self.probe = probe
        kernel.post_threadsafe(self, _LOOK)

    def _look_in(self, delay: float) -> None:
        """See to it that a look is taken by then."""
        due = self._now + delay
        if not self.closed and (self.due is None or due < self.due):
            self.due = due
            self.staff.kernel.call_for_host(delay, self._alarm, due)

    def _alarm(self, due: float) -> None:
        if due == self.due:  # or an earlier one has come in its place
            self.due, self.lag = None, max(0.0, self._now - due)
            self.staff.kernel.post(self, _LOOK)

    @handles(Look)
    def _look(self, message: Look, out: Outbox) -> None:
        staff = self.staff
        if self.closed or not (staff.hosts or staff.wanting):
            return None
        if staff.kernel.world is not None:
            return self._assume_calm(out)
        hosts = {host.link.pid: host for host in staff.hosts if host.link is not None and host.link.pid}
        if self.probe is None:
            return self._prepare()
        self.looked = now = self._now
        try:
            seen = self.probe.sample(hosts, own=staff.helpers, loop_lag=self.lag, when=now)
        except Exception as error:  # without a free descriptor nothing can be seen; later there may be one
            return self._cannot_see(error)
        self.blind = False
        self.sample = sample = replace(seen, queue_wait=staff.queue_wait(now))
        self._feel_pulses(hosts, sample, now)
        self._weigh(hosts, sample)
        for pool in staff.pools.values():
            out.send((pool, sample))
        staff.take(sample)
        return self._look_in(FAST if staff.wanting else _SUSPICIOUS if self.suspected else CALM)

    def _assume_calm(self, out: Outbox) -> None:
        """In a simulation there is no machine to be looked at: it has room for whatever may be started."""
        staff = self.staff
        self.looked = now = self._now
        wait = staff.queue_wait(now)
        self.sample = sample = LoadSample(now, cores=_ROOM, ours=0.0, others=0.0, queue_wait=wait)
        for pool in staff.pools.values():
            out.send((pool, sample))
        staff.take(sample)
        if any(staff.present(pool) < pool.limits.max for pool in staff.pools.values() if pool.waiting_since):
            self._look_in(FAST)

    def _cannot_see(self, error: Exception) -> None:
        """Do without a look, and try again later: hosts are needed on a machine that tells nothing, too."""
        if not self.blind:
            self.blind = True
            self.staff.kernel.report(logging.WARNING, _BLIND, error)
        self._look_in(CALM)

    def _feel_pulses(self, hosts: dict[int, HostSupervisor], sample: LoadSample, now: float) -> None:
        """Kill those that somebody else keeps stopped."""
        self.pulses = {pid: self.pulses.get(pid) or Pulse() for pid in hosts}
        suspected: list[int] = []
        for pid, load in sample.hosts.items():
            host = hosts[pid]
            verdict = self.pulses[pid].beat(load.state, now, by_us=host.suspended)
            if verdict == "suspected":
                suspected.append(pid)
            elif verdict == "lost":
                assert host.link is not None
                host.link.kill_for("killed", "was stopped by somebody else (SIGSTOP), and was killed")
        self.suspected = tuple(suspected)

    def _weigh(self, hosts: dict[int, HostSupervisor], sample: LoadSample) -> None:
        """Replace those that have grown too big, and end those whose task has more than it may."""
        for worker in self.staff.workers:
            rss = None if worker.ration is None or worker.link is None else sample.rss(worker.link.pid)
            if rss is not None:
                worker.over_memory(rss)
        for pid, load in sample.hosts.items():
            limit = self.staff.limits_of(hosts[pid]).max_rss
            if limit is None or load.rss is None or load.rss <= limit:
                continue
            if not self._is_pointless(limit, sample.fresh_rss):
                hosts[pid].recycle(f"uses {shown_size(load.rss)} of memory, more than Hosts(max_rss=) allows")

    def _is_pointless(self, limit: int, fresh: int | None) -> bool:
        """Whether a host that took the place of another would be too big itself, and so on for ever."""
        if fresh is not None and fresh > limit and not self.pointless:
            self.pointless = True
            self.staff.kernel.report(
                logging.WARNING,
                f"Hosts(max_rss={shown_size(limit)!r}) is less than a fresh host may take, "
                f"{shown_size(fresh)}, so no host is replaced for its size; raise it",
            )
        return self.pointless

    def check(self) -> None:
        """It knows the pulse of whom it suspects."""
        require(set(self.suspected) <= self.pulses.keys(), self, "whoever is suspected has a pulse")
        ill = [pid for pid, pulse in self.pulses.items() if pulse.since is not None]
        require(set(self.suspected) <= set(ill), self, "whoever is suspected was seen stopped")
        require(self.lag >= 0.0, self, "no look begins before it is due")

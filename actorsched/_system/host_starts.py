"""How a host process is started: by the spawner, with what every host of a runtime has.

The law of this module: nothing of hosting is imported before the first host is needed, and then the host is
started first of all, because it needs time to start; what the parent needs is imported meanwhile. Which host
is started, and why, is decided elsewhere: that of tasks in `host_pool`, that of actors in `actor_hosts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._system.host_census import HostCensus

if TYPE_CHECKING:
    from actorsched._hosting.definitions import Definitions
    from actorsched._hosting.link import HostLink
    from actorsched._hosting.spawner import Spawner
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.host_pool import HostPool
    from actorsched._system.host_requests import Desk
    from actorsched._system.host_worker import HostWorker
    from actorsched._system.load_monitor import LoadMonitor
    from actorsched._system.scheduler import Scheduler
    from actorsched._system.system import System
    from actorsched.options import Hosts

_NEEDED = ("actorsched.actor", "actorsched.remote")
"""What actor hosts import for nearly every actor."""


class HostStarts(HostCensus):
    """Starting hosts.

    Attributes:
        monitor: Looks at the load of the machine, as long as there are hosts.
    """

    monitor: LoadMonitor

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._definitions: Definitions | None = None
        self._number = 0
        self._spawner: Spawner | None = None

    @property
    def kernel(self) -> Kernel:
        """The kernel of the runtime."""
        return self._system.kernel

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of the runtime."""
        return self._system.scheduler

    @property
    def definitions(self) -> Definitions:
        """The functions and classes that hosts know by number."""
        if self._definitions is None:
            from actorsched._hosting.definitions import Definitions

            self._definitions = Definitions()
        return self._definitions

    @property
    def helpers(self) -> list[int]:
        """The process ids of what else runs for the hosts."""
        return [self._spawner.pid] if self._spawner is not None and self._spawner.pid else []

    def new_worker(self, pool: HostPool) -> HostWorker:
        """Start a host for tasks.

        Raises:
            Exception: The system would not start one.
        """
        start_by = self.kernel.backend.monotonic() + pool.limits.start_timeout
        # First of all, because the host needs time to start; what is imported here is imported meanwhile.
        link = self.launch("tasks", _unheard, _unheard, _unheard, pool.limits)
        from actorsched._system.host_worker import HostWorker

        worker = HostWorker(
            kernel=self.kernel,
            scheduler=self.scheduler,
            definitions=self.definitions,
            desk=self.new_desk(),
            pool=pool,
            start_by=start_by,
            left=pool.limits.max_tasks or 0,
        )
        worker.link = worker.desk.link = link
        link.hand_over_to(worker.frame, worker.exited, worker.frames_over)
        return worker

    def new_desk(self) -> Desk:
        """Somebody who answers what a host asks."""
        from actorsched._system.host_requests import Desk

        if not self._system.verbs:
            self._system.learn_refs(self._system)
        return Desk(self._system)

    def launch(
        self, kind: Any, on_frame: Any, on_exit: Any, on_read: Any, limits: Hosts | None = None
    ) -> HostLink:
        """Start a host process.

        Raises:
            Exception: The system would not start one.
        """
        world, patience = self.kernel.world, (limits or self.limits).start_timeout
        if world is not None:
            self._number += 1
            link: HostLink = world.launch(
                self.kernel,
                kind,
                on_frame=on_frame,
                on_exit=on_exit,
                on_read=on_read,
                start_timeout=patience,
                name=f"host {self._number}",
            )
            return link
        if self._spawner is None:
            from actorsched._hosting.spawner import Spawner

            backend, longest = self.kernel.backend, self.limits.start_timeout
            self._spawner = Spawner(backend, start_timeout=longest, more=_NEEDED)
        self._spawner.start()  # first of all: what is imported here is imported while it starts
        from actorsched._hosting.launch import launch

        self._number += 1
        self.monitor.watch()
        return launch(
            self._spawner,
            kind,
            on_frame=on_frame,
            on_exit=on_exit,
            on_read=on_read,
            start_timeout=patience,
            name=f"host {self._number}",
        )

    def _close_spawner(self) -> None:
        if self._spawner is not None:
            self._spawner.close()


def _unheard(*said: object) -> None:
    """Nothing is heard of a host before the loop has its turn."""

"""What there is to know of one task host and its worker: its state, and what can be asked of it.

The law of this module: it answers, and changes nothing. Whoever chooses, counts, shows or ends hosts asks
here, so that all of them mean the same by a host that is busy, or kept waiting.

The worker of a host is one actor in five pages, each of which builds on those before it: its state, what the
host has in advance (`host_ahead`), what stops the task that runs there (`host_stops`), its end (`host_end`),
and what the host is given and says (`host_worker`, whose class is the one that is made).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from actorsched._core.behaviour import Behaviour, require
from actorsched._system.stillness import Stillness, of_process

if TYPE_CHECKING:
    from actorsched._core.behaviour import Timer
    from actorsched._hosting.definitions import Definitions
    from actorsched._hosting.link import HostLink
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.host_pool import HostPool
    from actorsched._system.host_requests import Desk
    from actorsched._system.host_run import HostRun
    from actorsched._system.reserving import Ration


class HostWorkerState(Behaviour, kw_only=True):
    """What there is to know of one task host."""

    kernel: Kernel
    scheduler: Behaviour
    definitions: Definitions
    desk: Desk
    pool: HostPool
    """Its supervisor."""
    start_by: float
    """When its host is to be ready."""
    link: HostLink | None = None
    runs: dict[int, HostRun] = {}
    """What the host has, in order; the first may be running."""
    suspended: bool = False
    """Whether its host was stopped by the operating system, so that a more urgent task can run elsewhere."""
    called_back: bool = False
    """Whether it is suspended, but was allowed to go on: it will in a moment."""
    leaving: int = 0
    """The number of the run that is to make room: the host is suspended as soon as may be. 0 for none."""
    stillness: Stillness | None = None
    """How to see whether the host does anything, once somebody has asked."""
    ration: Ration | None = None
    """The memory that the latest task with a limit may take."""
    retiring: bool = False
    """Whether it takes no more tasks, and ends when it has nothing left."""
    left: int = 0
    """How many more tasks it is given before it is replaced; 0 or less for any number."""
    idle_since: float = inf
    """Since when it has had nothing to do, by the loop's clock."""
    stands_in: bool = False
    """Whether it was started in the place of one that is kept waiting."""
    why_there: str = ""
    """Why its host was started."""
    why_over: str = "the runtime closes"
    """Why its host is told to end, once it is."""
    heard: float = inf
    """When what runs in the host began, or was known not to have begun yet, by `kernel.monotonic`."""

    def __repr__(self) -> str:
        return f"<host worker with {self.link!r}, {len(self.runs)} tasks>"

    @property
    def lends(self) -> bool:
        """Whether what runs in its host waits for others, and has lent its slot."""
        for run in self.runs.values():  # the first is the one that runs
            return run.owner.waits is not None and run.owner.waits.lent
        return False

    @property
    def busy(self) -> bool:
        """Whether it counts among the hosts that run."""
        return bool(self.runs) and (self.called_back or not (self.suspended or self.lends))

    @property
    def ready(self) -> bool:
        """Whether its host has started."""
        return self.link is not None and self.link.ready

    @property
    def kept_waiting(self) -> bool:
        """Whether its host cannot go on by itself, so that another may run in its place."""
        return self.suspended or self.lends

    @property
    def stays(self) -> bool:
        """Whether it is there for whoever comes next: not about to end, and not kept waiting."""
        return not (self.retiring or self.kept_waiting)

    @property
    def is_reserved(self) -> bool:
        """Whether what it runs has processors or memory for itself."""
        for run in self.runs.values():
            return run.owner.special is not None and run.owner.special.reservation is not None
        return False

    @property
    def is_free(self) -> bool:
        """Whether it has nothing to do, and could take a task."""
        return not (self.runs or self.retiring)

    @property
    def is_over(self) -> bool:
        """Whether it is about to end: it has nothing left to do, and takes nothing."""
        return self.retiring and not self.runs

    @property
    def kept(self) -> bool:
        """Whether its function can take no step until it is resumed."""
        return self.suspended

    @property
    def stalled(self) -> bool:
        """Whether its host has been waiting for something for some time."""
        link = self.link
        if self.kernel.world is not None:
            return False  # no process that could be looked at
        if not self.ready or link is None or self.suspended or link.last_started < next(iter(self.runs), 0):
            return False  # or it has not begun yet
        if self.stillness is None:
            self.stillness = of_process(link.pid)
        return self.stillness.seen()

    @property
    def at_work(self) -> bool:
        """Whether a task runs there, or is about to, and does not wait for us."""
        for number in self.runs:  # the first is the one that runs
            return not self.suspended and not self.desk.awaited_by(number)
        return False

    @property
    def late(self) -> bool:
        """Whether its host should have been ready by now."""
        return self.kernel.backend.monotonic() >= self.start_by

    # ------------------------------------------------------------------------------ what every page relies on

    def _number_of(self, task: Behaviour) -> int:
        """The number of the run of a task; 0 if it is not here."""
        return next((number for number, run in self.runs.items() if run.owner is task), 0)

    def _later(self, delay: float, message: object) -> Timer:
        return self.kernel.call_for_host(delay, self.kernel.post, self, message)

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """What its host has stands in the order in which it was given."""
        numbers = list(self.runs)
        require(numbers == sorted(numbers), self, "its runs are in the order in which they were given")
        require(all(run.worker is self for run in self.runs.values()), self, "its runs are its own")
        require(len({run.owner for run in self.runs.values()}) == len(numbers), self, "it has each task once")

    def check_at_rest(self) -> None:
        """The same; and each task that it has knows that."""
        self.check()
        for run in self.runs.values():
            require(run.owner.worker is self, self, f"{run.owner!r} knows who runs it")
            require(run.owner.attempt == run.attempt, self, f"of {run.owner!r} it has the present attempt")

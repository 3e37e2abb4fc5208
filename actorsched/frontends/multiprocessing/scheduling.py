"""Where tasks go: the one scheduler of the process, and compositors with their pools of worker processes.

The law of this module: it hands tasks on, and decides nothing. The order in which they begin is that of the
runtime's policy, how many processes there are that of its hosts; a compositor says what they may be.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self, cast

from actorsched.checks import check_percent, check_span, check_whole
from actorsched.durations import Duration, describe, seconds
from actorsched.exceptions import shown
from actorsched.frontends._shared import Pool
from actorsched.frontends.multiprocessing.errors import InvalidArgument
from actorsched.frontends.multiprocessing.tasks import claim_chain, claim_task
from actorsched.frontends.multiprocessing.workers import Roster
from actorsched.options import Hosts, usable_cpus
from actorsched.policies import FixedPriority

if TYPE_CHECKING:
    from actorsched.frontends.multiprocessing.tasks import Task, TaskChain
    from actorsched.frontends.multiprocessing.workers import Worker

AGING = "5s"
"""How long a task waits until it counts as one level higher."""

_one = threading.RLock()
"""Held while the scheduler is made, or its compositor."""


class ProcessCompositor:
    """Two pools of worker processes: one for plain functions, one for async ones.

    They are started as tasks come and the machine has room, and end when they are idle.

    Args:
        max_workers: How many processes each pool may have; None for as many as there are usable processors.
        cpu_limit: Per cent: beyond the first process of a pool none is started while the machine is busier.
        idle_timeout: For how long a process is kept that has nothing to do, as a duration above zero.

    Raises:
        InvalidArgument: An argument cannot be; it says which, and what would be right.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        cpu_limit: float = 90,
        idle_timeout: Duration = "30s",
    ) -> None:
        try:
            most = usable_cpus() if max_workers is None else check_whole(max_workers, "max_workers", least=1)
            self.cpu_limit: float = check_percent(cpu_limit, "cpu_limit")
            self.idle_timeout: float = check_span(idle_timeout, "idle_timeout")
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"a ProcessCompositor cannot be made: {error}") from None
        self.max_workers: int = most
        hosts = Hosts(max=most, idle_timeout=self.idle_timeout, cpu_limit=self.cpu_limit)
        self._pools = {
            kind: Pool(f"{kind} tasks", None, FixedPriority(aging=AGING), hosts) for kind in ("sync", "async")
        }
        self._rosters = [Roster(pool.name, kind) for kind, pool in self._pools.items()]

    def __repr__(self) -> str:
        return (
            f"<ProcessCompositor of {len(self.workers)} workers, at most {self.max_workers} of each kind, "
            f"up to {self.cpu_limit:g} % CPU, idle for at most {describe(self.idle_timeout)}>"
        )

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Its processes: those for plain functions, then those for async ones, in order of their start."""
        return tuple(worker for roster in self._rosters for worker in roster.workers.values())

    @staticmethod
    def seconds(duration: Duration) -> float:
        """A duration in seconds.

        Args:
            duration: Seconds as a number, a `timedelta`, or text such as "250ms", "30 sec" or "1m30s".

        Raises:
            InvalidArgument: It is none.
        """
        try:
            return seconds(duration)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None

    def dispatch(self, task: Task) -> None:
        """Have a task run in its processes, whichever compositor the `TaskScheduler` has.

        Raises:
            InvalidArgument: It is no task, or its function does not take what it would get.
            AlreadyPushed: It was pushed before, or belongs to a chain.
            RuntimeClosed: The interpreter is about to end.
        """
        self._take(claim_task(task))

    def _take(self, task: Task) -> None:
        task._enter(self._pools["async" if task._is_async else "sync"])


class TaskScheduler:
    """The one scheduler of this process: tasks that are pushed wait here by priority, and age."""

    _it: TaskScheduler | None = None
    _compositor: ProcessCompositor | None = None

    def __new__(cls) -> Self:
        """The one there is."""
        with _one:
            if cls._it is None:
                cls._it = super().__new__(cls)
            return cast("Self", cls._it)

    def __repr__(self) -> str:
        return f"<TaskScheduler with {self._compositor!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskScheduler, ()

    @property
    def compositor(self) -> ProcessCompositor:
        """Where what is pushed from now on runs. May be assigned."""
        if self._compositor is None:
            with _one:
                if self._compositor is None:
                    self._compositor = ProcessCompositor()
        return self._compositor

    @compositor.setter
    def compositor(self, compositor: ProcessCompositor) -> None:
        if not isinstance(compositor, ProcessCompositor):
            raise InvalidArgument(
                f"compositor={shown(compositor)} is of type {type(compositor).__name__}; "
                "give a ProcessCompositor, such as ProcessCompositor(max_workers=4)"
            )
        with _one:
            self._compositor = compositor

    def push_task(self, task: Task) -> None:
        """Have a task run in a worker process, when its turn comes. Returns at once.

        Raises:
            InvalidArgument: It is no task, or its function does not take what it would get.
            AlreadyPushed: It was pushed before, or belongs to a chain.
            RuntimeClosed: The interpreter is about to end.
        """
        self.compositor._take(claim_task(task))

    def push_chain(self, chain: TaskChain) -> None:
        """Have the tasks of a chain run in worker processes, one after the other. Returns at once.

        Raises:
            InvalidArgument: It is no chain.
            AlreadyPushed: It was pushed before.
            RuntimeClosed: The interpreter is about to end.
        """
        compositor = self.compositor
        for task in claim_chain(chain):
            compositor._take(task)


class CoreMultiprocessing:
    """What most programs need: pushing a task or a chain, without a scheduler in hand."""

    @staticmethod
    def push_task(task: Task) -> None:
        """As `TaskScheduler.push_task`."""
        TaskScheduler().push_task(task)

    @staticmethod
    def push_chain(chain: TaskChain) -> None:
        """As `TaskScheduler.push_chain`."""
        TaskScheduler().push_chain(chain)

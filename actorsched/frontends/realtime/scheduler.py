"""The real-time scheduler, as its users see it.

The law of this module: it keeps what was submitted, and says no to what cannot be. All scheduling is the
runtime's: a scheduler is a pool of the shared runtime, with a policy and a number of workers of its own.

How it works: until it is started, and again after it was stopped, what is submitted is kept. From then on
each task is handed to the runtime at once, where its own page takes over (`task`); when it has settled it is
counted here. `depends_on` names jobs of any front end; a circle can only close through a task that somebody
depends on and that was not submitted yet, so only then is one looked for.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from actorsched.context import current
from actorsched.frontends._jobs import Job, find
from actorsched.frontends._shared import SHARED, Pool
from actorsched.frontends.realtime.job import RealtimeJob, enter_together
from actorsched.frontends.realtime.metrics import METRICS
from actorsched.frontends.realtime.monitoring import LatencyMonitor, SchedulerMetrics, Usage
from actorsched.frontends.realtime.resources import Resources
from actorsched.frontends.realtime.task import Task
from actorsched.frontends.realtime.vocabulary import (
    CircularDependencyError,
    ResourceDeadlockError,
    SchedulingPolicy,
    TaskPriority,
    TaskStatus,
    UnknownTaskError,
    above_zero,
    flag,
    invalid,
    names_of,
    policy_of,
    whole,
)
from actorsched.status import TaskStatus as Native

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from types import TracebackType

    from actorsched.events import Event
    from actorsched.runtime import Runtime

_log = logging.getLogger("actorsched.task")
_schedulers: WeakSet[RealtimeScheduler] = WeakSet()
_open: WeakSet[RealtimeJob] = WeakSet()
"""What somebody depends on, and was not submitted when that was."""
_ENDS = {Native.COMPLETED: "completed", Native.CANCELLED: "cancelled"}


class RealtimeScheduler:
    """A scheduler with workers and a policy of its own. All its methods may be called in any thread.

    Args:
        max_workers: How many of its tasks may run at once; may be assigned while it runs.
        policy: Which ready task runs next.
        preemption: Whether a task is asked to make room for a more urgent one.
        priority_inheritance: Whether a task that holds a resource is as urgent as whoever waits for that.
        thresholds: By priority and phase ("scheduling", "execution" or "total"), how many milliseconds the
            P95 of the last minute may reach; above that, an event "alert" and a warning in the log say so.

    Raises:
        InvalidArgumentError: A value cannot be.
    """

    def __init__(
        self,
        max_workers: int = 4,
        policy: SchedulingPolicy = SchedulingPolicy.PRIORITY,
        preemption: bool = True,
        priority_inheritance: bool = True,
        thresholds: Mapping[TaskPriority, Mapping[str, float]] | None = None,
    ) -> None:
        self.policy: SchedulingPolicy = policy_of(policy)
        self.preemption: bool = flag(preemption, "preemption")
        self.priority_inheritance: bool = flag(priority_inheritance, "priority_inheritance")
        self._pool = Pool("realtime", whole(max_workers, "max_workers", 1), self.policy.native())
        self._usage = Usage(max_workers)
        self.latency_monitor: LatencyMonitor = LatencyMonitor(self._pool, thresholds)
        """How long its tasks take."""
        self.metrics: SchedulerMetrics = SchedulerMetrics(self._usage)
        """What they use, and how they end."""
        self._resources = Resources(self._pool.name, self.priority_inheritance)
        self._lock = threading.RLock()
        self._started = False
        self._queue: dict[RealtimeJob, None] = {}
        self._live: dict[RealtimeJob, None] = {}
        self._listening_to: Runtime | None = None
        _schedulers.add(self)
        METRICS.include(self._usage)

    def __repr__(self) -> str:
        state = "started" if self._started else f"not started, {len(self._queue)} tasks queued"
        return f"<RealtimeScheduler {self.policy.name}, {self.max_workers} workers, {state}>"

    @property
    def max_workers(self) -> int:
        """How many of its tasks may run at once."""
        workers = self._pool.workers
        assert workers is not None
        return workers

    @max_workers.setter
    def max_workers(self, workers: int) -> None:
        self._pool.workers = whole(workers, "max_workers", 1)
        self._usage.turn(workers, on=self._started)

    @property
    def is_running(self) -> bool:
        """Whether it is started."""
        return self._started

    # ---------------------------------------------------------------------------------------- start and end

    def start(self) -> bool:
        """Begin: what was submitted so far goes into the queue of the runtime. False when it was started."""
        with self._lock:
            if self._started:
                return False
            self._started = True
            self._usage.turn(self.max_workers, on=True)
            queued, self._queue = self._queue, {}
            enter_together(list(queued))
        return True

    def stop(self, drain: bool = True, timeout: float | None = None) -> bool:
        """End, and block until all that was handed to the runtime has settled. It may be started again.

        What is submitted from now on waits for the next `start()`. What can never begin, because it depends
        on a task that was never submitted, is cancelled; what was acquired for such a task is released.

        Args:
            drain: Whether to let tasks end; otherwise they are cancelled, those in the queue too.
            timeout: How many seconds to wait at most; None for any time.

        Returns:
            Whether everything has settled.

        Raises:
            ResourceDeadlockError: One of its tasks asks, which would wait for itself.
        """
        flag(drain, "drain")
        if timeout is not None and timeout != 0:
            above_zero(timeout, "timeout", "how many seconds to wait at most")
        self._refuse_own_task(drain)
        with self._lock:
            if self._started:
                self._started = False
                self._usage.turn(self.max_workers, on=False)
            live = list(self._live)
        if drain:
            live = [job for job in live if job.entered]
            for job in live:
                self._give_up(job)
        else:
            for job in live:
                job.cancel("its scheduler was stopped")
        give_up = None if timeout is None else monotonic() + timeout
        for job in live:
            if not job.wait(None if give_up is None else max(0.0, give_up - monotonic())):
                return False
        self._resources.release_idle()
        self.latency_monitor.refresh()
        return True

    def _refuse_own_task(self, drain: bool) -> None:
        try:
            asker = current().id
        except RuntimeError:
            return
        for job in list(self._live):
            if drain and job.ref is not None and job.ref.id == asker:
                raise ResourceDeadlockError(
                    f"task {job.name!r} was to stop its own scheduler and wait for that, which would never "
                    "end; stop it from outside, or with drain=False",
                    circle=(job.name,),
                )

    def _give_up(self, job: Job) -> None:
        for other in job.after:
            never = isinstance(other, RealtimeJob) and other.outcome is None and not other.is_submitted
            if never:
                job.cancel(f"its scheduler was stopped, and it depends on {other.name!r}, never submitted")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(drain=error is None)

    # ------------------------------------------------------------------------------------------------ tasks

    def submit(self, task: Task) -> bool:
        """Take a task: it runs as soon as the scheduler is started, and the policy says so. Never blocks.

        Returns:
            Whether that changes anything; False when it was submitted, or has settled, before.

        Raises:
            InvalidArgumentError: It is no task, or its constraints have come to be such as cannot be.
            UnknownTaskError: It depends on an id that is no task's.
            CircularDependencyError: It would depend on itself.
            RuntimeClosed: The interpreter is about to end.
        """
        if not isinstance(task, Task):
            raise invalid("task", task, 'give a Task, such as Task("fetch", fetch)')
        job = task.job
        with self._lock:
            if job.is_submitted or job.outcome is not None:
                return False
            resources: dict[str, str] = {}
            if task.demands is not None:
                task.demands.check()
                job.depend(_dependencies(task))
                resources = self._resources.take_over(task)
            task.accepted(self._usage, self._resources)
            for excess in task.prepare(self._pool, self.preemption, resources):
                _log.warning("%r: %s, so it is cut down to that, and runs alone among its like", task, excess)
            if _open:
                _open.discard(job)
            job.before, job.afterwards = self._entering, self._entered
            self._live[job] = None
            self._usage.came()
            job.add_done_callback(self._settled)
            job.keep()
            if not self._started:
                self._queue[job] = None
                return True
        try:
            job.enter()
        except BaseException:
            job.cancel("the program ends")
            raise
        return True

    def cancel(self, task: Task, reason: str | None = None) -> bool:
        """Settle a task as cancelled, at once, and have its function stopped if it lets itself be.

        Returns:
            Whether that changes anything; False when it had settled before.

        Raises:
            InvalidArgumentError: It is no task.
        """
        if not isinstance(task, Task):
            raise invalid("task", task, 'give a Task, such as Task("fetch", fetch)')
        return task.job.cancel(reason)

    # -------------------------------------------------------------------------------------------- resources

    def acquire_resources(self, task: Task, names: Iterable[str], timeout: float | None = None) -> bool:
        """Have a task hold resources, from now until it has settled; block this thread until it does.

        While it holds them, it is as urgent as whoever waits for them. What it requires by its constraints it
        takes itself when it begins; it need not be acquired.

        Args:
            task: The task; it may be submitted later.
            names: The names of the resources.
            timeout: How many seconds to wait at most; None for any time.

        Returns:
            Whether it holds all of them; otherwise it holds what it held before.

        Raises:
            InvalidArgumentError: An argument cannot be.
            ResourceDeadlockError: It would have waited for ever, or this is the thread of the event loop.
        """
        if not isinstance(task, Task):
            raise invalid("task", task, 'give a Task, such as Task("fetch", fetch)')
        wanted = names_of(names, "names", '["cache"]')
        if timeout is not None and timeout != 0:
            above_zero(timeout, "timeout", "how many seconds to wait at most")
        if SHARED.is_here:
            raise ResourceDeadlockError(
                f"resources for task {task.name!r} were to be waited for in the thread of the shared event "
                "loop, which would have to hand them over; acquire them in another thread"
            )
        return self._resources.acquire(task, wanted, timeout)

    def release_resources(self, task: Task, names: Iterable[str] | None = None) -> bool:
        """Let go of resources that were acquired for a task, before it has settled. Never blocks.

        Args:
            task: The task.
            names: The names of the resources; None for all.

        Returns:
            Whether that changes anything.

        Raises:
            InvalidArgumentError: An argument cannot be.
        """
        if not isinstance(task, Task):
            raise invalid("task", task, 'give a Task, such as Task("fetch", fetch)')
        wanted = None if names is None else names_of(names, "names", '["cache"]')
        return self._resources.release(task, wanted)

    # ------------------------------------------------------------------------------ in the runtime's thread

    def _entering(self, runtime: Runtime, task: Task) -> None:
        self._pool.ensure(runtime)
        self.latency_monitor.watch(runtime)
        if task.takes_itself or self._resources.used:
            self._resources.declare(runtime, task.takes_itself)
            if self._listening_to is not runtime:
                self._listening_to = runtime
                runtime.subscribe("blocked", self._blocked)

    def _entered(self, task: Task) -> Callable[[], Awaitable[object]] | None:
        return self._resources.submitted(task)

    def _blocked(self, event: Event) -> None:
        about = event.details
        if self._resources.is_one(about["resource"]) and about["holder_priority"] < about["priority"]:
            self._usage.inversions += 1

    # -------------------------------------------------------------------------------------- in any thread

    def _settled(self, job: Job) -> None:
        task: Task = job.view
        with self._lock:
            self._live.pop(task.job, None)
            self._queue.pop(task.job, None)
        how = _ENDS.get(job.status, "failed")
        self._usage.went(how)
        METRICS.settled(task, how)
        if how == "completed" and (late := task.overdue()) is not None:
            _log.warning(
                "%r took %.0f ms longer than max_latency_ms=%g",
                task,
                late * 1000,
                task.constraints.max_latency_ms,
                extra={"task_id": task.id, "task": task.name},
            )

    def waiting(self) -> list[str]:
        """A line for each task that was submitted and never handed to the runtime."""
        return [
            f"{job.name!r} ({job.id}), {TaskStatus.PENDING.value}: its scheduler was not started"
            for job in list(self._queue)
        ]


# ----------------------------------------------------------------------------------------------- dependencies


def _dependencies(task: Task) -> tuple[Job, ...]:
    """The jobs that a task depends on.

    Raises:
        UnknownTaskError: One is unknown.
        CircularDependencyError: One depends on the task.
    """
    jobs: list[Job] = []
    for id_ in sorted(task.constraints.depends_on):
        job = find(id_)
        if job is None:
            raise UnknownTaskError(
                f"depends_on of task {task.name!r} has {id_!r}, which is the id of no task; give the `id` of "
                "a task that exists, and keep that task as long as it is not submitted"
            )
        jobs.append(job)
        if isinstance(job, RealtimeJob) and not job.is_submitted and job.outcome is None:
            _open.add(job)
    if _open and (path := _circle(task.job, jobs)):
        raise CircularDependencyError(
            f"task {task.name!r} was not submitted, because it would depend on itself: "
            f"{' -> '.join(path)}; take one of them out of depends_on",
            path=path,
        )
    return tuple(jobs)


def _circle(job: RealtimeJob, upstream: list[Job]) -> list[str]:
    """The names along the way from a job back to itself; empty if there is none."""
    came: dict[Job, Job] = {}
    rest: list[tuple[Job, Job]] = [(other, job) for other in upstream]
    while rest:
        other, before = rest.pop()
        if other is job:
            path = [job.name]
            while before is not job:
                path.append(before.name)
                before = came[before]
            return [job.name, *path[:0:-1], job.name]
        if other not in came and other.outcome is None:
            came[other] = before
            rest += [(further, other) for further in _upstream(other)]
    return []


def _upstream(job: Job) -> list[Job]:
    if isinstance(job, RealtimeJob) and not job.is_submitted:
        known: list[Any] = [find(id_) for id_ in job.view.constraints.depends_on]
        return [other for other in known if other is not None]
    return list(job.after)


def _never_started() -> list[str]:
    """What is lost at the end of the interpreter."""
    return [line for scheduler in list(_schedulers) for line in scheduler.waiting()]


SHARED.reporters.append(_never_started)

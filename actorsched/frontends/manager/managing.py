"""The manager: tasks are registered with it, executed, asked about and cancelled, by their ids.

The law of this module: it finds what an id means, and counts. What is asked of an id may be asked of the id
of any front end.

How it works: `TaskManager()` is always the same one. Each manager has a pool of the shared runtime, whose
limit is its own. Of what has settled it keeps numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Self

from actorsched.checks import check_whole
from actorsched.exceptions import shown
from actorsched.frontends import _hearing, _jobs
from actorsched.frontends._vocabulary import (
    STATUSES,
    TaskArgumentError,
    TaskPriority,
    TaskStatus,
    failure,
)
from actorsched.frontends.manager.tasks import (
    MANY,
    POOL,
    Task,
    checked,
    error_of,
    execute,
    job_of,
    new_pool,
    task_of,
)

if TYPE_CHECKING:
    from actorsched.durations import Duration
    from actorsched.frontends._jobs import Job
    from actorsched.frontends.manager.executors import Executor

__all__ = ["TaskManager"]


class TaskManager:
    """Tasks by their ids. `TaskManager()` is the process's one manager; with arguments, it is a new one.

    All methods may be called from any thread, and within a running loop; none of them blocks.

    Args:
        max_concurrent_tasks: How many of its tasks may run at once: 1 or more.

    Raises:
        TaskArgumentError: The limit is no int of 1 or more.
    """

    _the_one: ClassVar[TaskManager | None] = None
    _making: ClassVar[Lock] = Lock()
    _made: bool = False

    def __new__(cls, max_concurrent_tasks: int | None = None) -> Self:
        """Make one, or return the one that there is."""
        if max_concurrent_tasks is not None or cls is not TaskManager:
            return super().__new__(cls)
        with TaskManager._making:
            if TaskManager._the_one is None:
                TaskManager._the_one = super().__new__(cls)
            one: Any = TaskManager._the_one
        return one  # type: ignore[no-any-return]

    def __init__(self, max_concurrent_tasks: int | None = None) -> None:
        with TaskManager._making:
            if self._made:
                return
            limit = None if max_concurrent_tasks is None else _limit(max_concurrent_tasks)
            self._pool = POOL if self is TaskManager._the_one else new_pool(limit)
            self._lock = Lock()
            self._open: dict[str, Job] = {}
            """What has not settled, by id."""
            self._ended: dict[TaskStatus, int] = dict.fromkeys(TaskStatus, 0)
            self._since: float | None = None
            """When the first of its tasks was executed."""
            self._made = True

    def __repr__(self) -> str:
        limit = self.max_concurrent_tasks
        return f"<task manager of at most {limit} tasks at once, {len(self._open)} unsettled>"

    @property
    def max_concurrent_tasks(self) -> int:
        """How many of its tasks may run at once; may be assigned at any time.

        Raises:
            TaskArgumentError: When assigned: it is no int of 1 or more.
        """
        return self._pool.workers or MANY

    @max_concurrent_tasks.setter
    def max_concurrent_tasks(self, number: int) -> None:
        self._pool.workers = _limit(number)

    # ------------------------------------------------------------------------------------------------ tasks

    def register_task(
        self,
        name: str,
        func: Callable[..., Any],
        *positional: Any,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: TaskPriority = TaskPriority.NORMAL,
        dependencies: Iterable[str] = (),
        max_retries: int = 0,
        retry_delay: Duration = 1.0,
        timeout: Duration | None = None,
        description: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, object] | None = None,
        executor_type: str | type[Executor] | Executor | None = None,
        task_id: str | None = None,
    ) -> str:
        """Make a task known. Nothing of it runs before it is executed.

        Args:
            name: Its name, for people.
            func: What is to be done: a plain or an async function.
            positional: Its positional arguments.
            args: More of them, after those: for calls that have keywords before.
            kwargs: Its keyword arguments.
            priority: Of those that may run, the highest goes first.
            dependencies: The ids of tasks, of any front end, that have to complete before.
            max_retries: How often it is tried again when it fails.
            retry_delay: How long until it is tried again, each time: a duration.
            timeout: How long one attempt may take: a duration above zero; None for any time.
            description: What it is for, for people.
            tags: For people.
            metadata: Anything by name, for people.
            executor_type: Where it runs: "sequential", "thread_pool" or "async", a subclass of `Executor`, or
                an instance of one. None for "async" if the function is async, else "thread_pool".
            task_id: An id of your own; None for a new one.

        Returns:
            Its id.

        Raises:
            TaskArgumentError: An argument is not what it should be, or the id is in use.
            TaskDependencyError: A dependency is not known, or is the task itself.
        """
        task = Task(
            name,
            func,
            *positional,
            args=args,
            kwargs=kwargs,
            priority=priority,
            dependencies=dependencies,
            max_retries=max_retries,
            retry_delay=retry_delay,
            timeout=timeout,
            description=description,
            tags=tags,
            metadata=metadata,
            executor_type=executor_type,
            task_id=task_id,
            pool=self._pool,
        )
        job = task._job
        job.keep()
        with self._lock:
            self._open[job.id] = job
        _hearing.tell("created", job, {})
        job.add_done_callback(self._settled)
        return job.id

    async def execute_task(self, task_id: str, wait: bool = True) -> bool:
        """Have a task run, and before it what it depends on, if that was only registered.

        In asyncio and in trio. A task that was executed, or has settled, is left as it is.

        Args:
            task_id: Its id.
            wait: Whether to wait for its end.

        Returns:
            With `wait`, whether this call has had it run and it completed; its failure is not raised here.
            Without, whether this call has handed it over. Always False if it was executed before.

        Raises:
            TaskNotFoundError: No such task is known.
            DeadlockError: It waits, through others, for the task that waits for it here.
            RuntimeClosed: The interpreter is about to end.
        """
        job = job_of(task_id)
        if self._since is None:
            self._since = monotonic()
        return await execute(job, wait=wait)

    def get_task(self, task_id: str) -> Task:
        """Return the task itself, also one of another front end.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        return task_of(job_of(task_id))

    def get_task_result(self, task_id: str) -> Any:
        """Return its result; None while it has not settled.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskExecutionError: It failed; what it raised is the cause.
            TaskTimeoutError: It took too long.
            TaskCancelledError: It was cancelled.
            TaskDependencyError: What it depends on failed.
        """
        job = job_of(task_id)
        outcome = job.outcome
        if outcome is None:
            return None
        if outcome.error is not None:
            raise failure(job.name, job.id, outcome.error)
        return outcome.value

    def get_task_status(self, task_id: str) -> TaskStatus:
        """Return where it is in its life.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        return STATUSES[job_of(task_id).status]

    def get_task_error(self, task_id: str) -> BaseException | None:
        """Return why it has no result: what its function raised, or a `TaskError`; None if nothing did.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        return error_of(job_of(task_id))

    def get_task_progress(self, task_id: str) -> tuple[float, str | None]:
        """Return the fraction done, from 0 to 1, and the last message.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        return job_of(task_id).progress

    def update_task_progress(self, task_id: str, progress: float, message: str | None = None) -> bool:
        """Say how far it is, from 0 to 1. False when it has settled.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskArgumentError: The fraction or the message is not what it should be.
        """
        job = job_of(task_id)
        if not isinstance(progress, (int, float)) or isinstance(progress, bool) or not 0 <= progress <= 1:
            raise TaskArgumentError(
                f"progress={shown(progress)} of task {job.name!r} is no fraction; give a number from 0 to 1",
                task_id=job.id,
            )
        if message is not None and not isinstance(message, str):
            raise TaskArgumentError(f"message={shown(message)} is no text; give a str, or None")
        return job.report(float(progress), message)

    async def cancel_task(self, task_id: str, reason: str | None = None) -> bool:
        """Cancel a task, and with it those that depend on it. It has settled when this returns.

        An async function is cancelled where it waits, and has left when this returns, unless it takes more
        than a second for that. A plain function in a thread stops at its next `checkpoint()`; what it
        returns is dropped.

        Args:
            task_id: Its id.
            reason: Why; for whoever asks for its result.

        Returns:
            Whether that is how it ended; False if it had settled.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskArgumentError: The reason is no text.
        """
        job = job_of(task_id)
        if reason is not None and not isinstance(reason, str):
            raise TaskArgumentError(f"reason={shown(reason)} is no text; say why as a str, or leave it out")
        cancelled = job.cancel(reason)
        if cancelled and isinstance(job.view, Task):
            await job.view.stopped()
        return cancelled

    def cleanup_task(self, task_id: str) -> bool:
        """Forget a task: its id is unknown from then on. An unsettled one is cancelled before. True.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        job = job_of(task_id)
        job.cancel("it was cleaned up")
        _jobs.forget(job)
        return True

    # ---------------------------------------------------------------------------------------------- figures

    def get_metrics(self) -> dict[str, float]:
        """Return how many tasks were registered here, how many are of which status, and how quickly they end.

        `total_tasks`, `pending_tasks`, `waiting_tasks`, `running_tasks`, `completed_tasks`, `failed_tasks`,
        `cancelled_tasks`: numbers of tasks. `success_rate_percent`: of those that completed or failed, how
        many completed, 0.0 before the first. `throughput_per_second`: how many have ended per second since
        the first was executed.
        """
        with self._lock:
            counts = dict(self._ended)
            unsettled = list(self._open.values())
        for job in unsettled:
            counts[STATUSES[job.status]] += 1
        completed, failed = counts[TaskStatus.COMPLETED], counts[TaskStatus.FAILED]
        ended = completed + failed + counts[TaskStatus.CANCELLED]
        time = 0.0 if self._since is None else monotonic() - self._since
        return {
            "total_tasks": sum(counts.values()),
            **{f"{status}_tasks": counts[status] for status in TaskStatus},
            "success_rate_percent": 100.0 * completed / (completed + failed) if completed + failed else 0.0,
            "throughput_per_second": ended / time if time > 0 else 0.0,
        }

    def _settled(self, job: Job) -> None:
        status = STATUSES[job.status]
        with self._lock:
            self._open.pop(job.id, None)
            self._ended[status] += 1


def _limit(number: object) -> int:
    return checked(lambda: check_whole(number, "max_concurrent_tasks", least=1))

"""The bridge between task systems: one object, `task_bridge`, for the whole life of a task.

The law of this module: it checks what it is given, and translates. Whatever is asked of an id may be asked of
the id of any front end. Nothing here blocks but `wait`, and locks.

How it works: a task is registered, which only makes a job of it; started, which hands it to the shared
runtime; and settled by its function or by hand, whichever comes first. What has settled stays known until it
is cleaned up, or 10,000 later tasks have settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from actorsched.checks import check_span, check_whole
from actorsched.durations import seconds
from actorsched.exceptions import shown
from actorsched.frontends import _jobs
from actorsched.frontends._functions import has_host, is_async, is_generator
from actorsched.frontends._jobs import Job
from actorsched.frontends._locks import NamedLock, named_lock
from actorsched.frontends._resources import Resources
from actorsched.frontends._shared import Pool
from actorsched.frontends._thread_limit import ThreadLimit
from actorsched.frontends._vocabulary import (
    STATUSES,
    TaskArgumentError,
    TaskCancelledError,
    TaskDependencyError,
    TaskError,
    TaskExecutionError,
    TaskNotFoundError,
    TaskPriority,
    TaskStatus,
    TaskTimeoutError,
    failure,
    priority_of,
)
from actorsched.options import Retry, TaskOptions, task_options
from actorsched.task import Task, prepared_with

if TYPE_CHECKING:
    from actorsched.durations import Duration

__all__ = [
    "Monitor",
    "NamedLock",
    "TaskArgumentError",
    "TaskBridge",
    "TaskCancelledError",
    "TaskDependencyError",
    "TaskError",
    "TaskExecutionError",
    "TaskNotFoundError",
    "TaskPriority",
    "TaskStatus",
    "TaskTimeoutError",
    "task_bridge",
]

T = TypeVar("T")

_FRONT = "bridge"
_MANY = 100
"""How many tasks may run at once, and how many of them in threads, unless somebody says otherwise."""


class Monitor(Mapping[TaskStatus, tuple[str, ...]]):
    """The ids of all tasks that are known, of whichever front end, by status; as of the moment of asking.

    `monitor[TaskStatus.FAILED]` is one list, `monitor()` is all of them at one moment.
    """

    def __init__(self, status_of: Callable[[Job], TaskStatus]) -> None:
        self._status_of = status_of

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(ids)} {status}" for status, ids in self().items() if ids)
        return f"<monitor: {counts or 'no tasks'}>"

    def __call__(self) -> dict[TaskStatus, tuple[str, ...]]:
        """Return the ids by status, every status among them."""
        found: dict[TaskStatus, list[str]] = {status: [] for status in TaskStatus}
        for job in _jobs.known():
            found[self._status_of(job)].append(job.id)
        return {status: tuple(ids) for status, ids in found.items()}

    def __getitem__(self, status: TaskStatus) -> tuple[str, ...]:
        return self()[status]

    def __iter__(self) -> Iterator[TaskStatus]:
        return iter(TaskStatus)

    def __len__(self) -> int:
        return len(TaskStatus)


class TaskBridge:
    """One interface to the tasks of all front ends, from any thread. There is one: `task_bridge`.

    Attributes:
        monitor: The ids of all tasks that are known, by status.
    """

    def __init__(self) -> None:
        self._threads = _MANY
        self._pool = Pool(_FRONT, _MANY)
        self._resources = Resources()
        self.monitor: Monitor = Monitor(self._status_of)

    def __repr__(self) -> str:
        return f"<task bridge of at most {self.max_concurrent_tasks} tasks at once, {self.monitor!r}>"

    # ------------------------------------------------------------------------------------------------ limits

    @property
    def max_concurrent_tasks(self) -> int:
        """How many functions of its tasks may run at once; may be assigned at any time.

        Raises:
            TaskArgumentError: When assigned: it is no int of 1 or more.
        """
        return self._pool.workers or _MANY

    @max_concurrent_tasks.setter
    def max_concurrent_tasks(self, number: int) -> None:
        self._pool.workers = _whole(number, "max_concurrent_tasks", 1)
        self._limit_threads()

    @property
    def thread_pool_size(self) -> int:
        """How many of these may be plain functions, in threads; may be assigned at any time.

        Raises:
            TaskArgumentError: When assigned: it is no int of 1 or more.
        """
        return self._threads

    @thread_pool_size.setter
    def thread_pool_size(self, number: int) -> None:
        self._threads = _whole(number, "thread_pool_size", 1)
        self._limit_threads()

    def _limit_threads(self) -> None:
        """Have the second limit counted where it is the narrower one: that costs as much as all the rest."""
        binds = self._threads < self.max_concurrent_tasks
        self._pool.policy = ThreadLimit(self._threads) if binds else "priority"

    # --------------------------------------------------------------------------------------- begin of a life

    def register_task(
        self,
        name: str,
        func: Callable[..., Any] | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: TaskPriority = TaskPriority.NORMAL,
        dependencies: Iterable[str] = (),
        max_retries: int = 0,
        retry_delay: Duration = 1.0,
        timeout: Duration | None = None,
        *,
        description: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, object] | None = None,
    ) -> str:
        """Make a task known, and give it an id. Nothing of it runs before it is started.

        Args:
            name: Its name, for people.
            func: What is run: `async def` in the event loop, any other function in a thread. None for a task
                that only `complete_task`, `fail_task` and `cancel_task` settle.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            priority: Of those that may run, the highest goes first.
            dependencies: The ids of tasks, of any front end, that have to complete before.
            max_retries: How often it is tried again when it raises.
            retry_delay: How long until it is tried again for the first time; each wait is twice as long.
            timeout: How long one attempt may take; None for any time. A task without a function fails when
                it has not been settled for so long.
            description: What it is for, for people.
            tags: For people.
            metadata: Anything by name, for people.

        Raises:
            TaskArgumentError: An argument is not what it should be.
            TaskNotFoundError: A dependency is not known.
        """
        if name is None:
            raise TaskArgumentError("name=None is no name; give a str that says what the task does")
        after = self._dependencies(dependencies)
        priority = priority_of(priority)
        options: dict[str, Any] = {}
        if timeout is not None:
            options["timeout"] = _checked(lambda: check_span(timeout, "timeout"))
        if description is not None:
            options["description"] = description
        if tags != ():
            options["tags"] = tags
        if metadata is not None:
            options["metadata"] = metadata
        retry = _retry(max_retries, retry_delay)
        if func is None:
            prepared = _checked(
                lambda: Task(name, _jobs._by_hand, (), None, host="loop", priority=priority, **options)
            )
            if args or kwargs:
                raise TaskArgumentError(
                    f"args={shown(args)} and kwargs={shown(kwargs)} were given without a function; "
                    "give func, or leave them out for a task that is settled by hand"
                )
        else:
            if retry is not None:
                options["retry"] = retry
            prepared = self._prepared(name, func, args, kwargs, priority, options)
        return Job(prepared, name, after, _FRONT, None if func is None else self._pool, keep=True).id

    def _prepared(
        self,
        name: str,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwargs: Mapping[str, Any] | None,
        priority: TaskPriority,
        options: dict[str, Any],
    ) -> Task[Any]:
        if not callable(func):
            raise TaskArgumentError(
                f"func={shown(func)} of task {name!r} is no function; give one, plain or async, or None "
                "to settle the task by hand"
            )
        if type(args) is not tuple and (isinstance(args, (str, bytes)) or not isinstance(args, Iterable)):
            raise TaskArgumentError(
                f"args={shown(args)} of task {name!r} is no tuple; give the positional arguments as one, "
                "such as args=(value,)"
            )
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise TaskArgumentError(f"kwargs={shown(kwargs)} of task {name!r} is no dict; give one, or None")
        positional: tuple[Any, ...] = tuple(args)  # pyright: ignore[reportUnknownArgumentType] # of anything
        in_thread = not _is_async(func) and not has_host(func)
        if options or kwargs or type(name) is not str:
            options |= _usual(self._pool.name, priority, in_thread)
            return _checked(lambda: Task(name, func, positional, kwargs, **options))
        checked = _checked(lambda: _usual_options(name, self._pool.name, priority, in_thread))
        return prepared_with(checked, func, positional)

    def _dependencies(self, ids: Iterable[str]) -> tuple[Job, ...]:
        if ids == ():
            return ()
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            raise TaskArgumentError(
                f"dependencies={shown(ids)} is no list of ids; give one, such as dependencies=[task_id]"
            )
        return tuple(dict.fromkeys(_job(one, "dependencies") for one in ids))

    def start_task(self, task_id: str) -> bool:
        """Let it run, as soon as what it depends on has completed. False when it was started or settled.

        Raises:
            TaskNotFoundError: No such task is known.
            RuntimeClosed: The interpreter is about to end.
        """
        return _job(task_id).enter()

    # ------------------------------------------------------------------------------------------- by hand

    def update_task_progress(self, task_id: str, progress: float, message: str | None = None) -> bool:
        """Say how far it is, from 0 to 1. False when it has settled.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskArgumentError: The fraction or the message is not what it should be.
        """
        job = _job(task_id)
        if not isinstance(progress, (int, float)) or isinstance(progress, bool) or not 0 <= progress <= 1:
            raise TaskArgumentError(
                f"progress={shown(progress)} of task {job.name!r} is no fraction; give a number from 0 to 1",
                task_id=task_id,
            )
        if message is not None and not isinstance(message, str):
            raise TaskArgumentError(f"message={shown(message)} is no text; give a str, or None")
        return job.report(float(progress), message)

    def complete_task(self, task_id: str, result: Any = None) -> bool:
        """Settle it with a result; a function that runs is stopped. False when it had settled.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        return _job(task_id).complete(result)

    def fail_task(self, task_id: str, error: Exception | str) -> bool:
        """Settle it with an error; a function that runs is stopped. False when it had settled.

        Args:
            task_id: Its id.
            error: An exception; or text, of which a `TaskExecutionError` is made.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskArgumentError: The error is neither.
        """
        job = _job(task_id)
        if isinstance(error, str):
            error = TaskExecutionError(error, task_id=task_id)
        if not isinstance(error, Exception):
            raise TaskArgumentError(
                f"error={shown(error)} for task {job.name!r} is no exception; give one, such as "
                'ValueError("what was wrong"), or text',
                task_id=task_id,
            )
        return job.fail(error)

    def cancel_task(self, task_id: str, reason: str | None = None) -> bool:
        """Cancel it, and what depends on it; a function that runs is stopped. False when it had settled.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskArgumentError: The reason is no text.
        """
        if reason is not None and not isinstance(reason, str):
            raise TaskArgumentError(f"reason={shown(reason)} is no text; give a str, or None")
        return _job(task_id).cancel(reason)

    # ------------------------------------------------------------------------------------- how it is doing

    def get_task_status(self, task_id: str) -> TaskStatus:
        """Return its status. A task has ended when what was registered with it is cleaned up.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        return self._status_of(_job(task_id))

    def _status_of(self, job: Job) -> TaskStatus:
        if job.look() is None:
            status = STATUSES[job.status]
            by_hand = job.pool is None and job.front == _FRONT
            if status is TaskStatus.PENDING and by_hand and job.entered:
                return TaskStatus.RUNNING  # whoever settles it works on it
            return status
        return TaskStatus.RUNNING if self._resources.are_held(job) else STATUSES[job.status]

    def get_task_result(self, task_id: str) -> Any:
        """Return its result; None while it is unsettled.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskError: It has none: `TaskExecutionError`, `TaskTimeoutError`, `TaskCancelledError` or
                `TaskDependencyError`, with what happened as the `__cause__`.
        """
        job = _job(task_id)
        outcome = job.look()
        if outcome is None:
            return None
        if outcome.error is not None:
            raise failure(job.name, job.id, outcome.error)
        return outcome.value

    def get_task_error(self, task_id: str) -> BaseException | None:
        """Return the exception that it ended with; None while it is unsettled, and when it completed.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        return _job(task_id).error

    def get_task_progress(self, task_id: str) -> tuple[float, str | None]:
        """Return the fraction done, from 0 to 1, and the last message.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        return _job(task_id).progress

    def wait(self, task_id: str, timeout: Duration | None = None) -> bool:
        """Block until it has settled, and what was registered with it is cleaned up. Answers whether it is.

        Args:
            task_id: Its id.
            timeout: How long to wait at most; None for any time. The task goes on.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskArgumentError: The timeout is no duration.
            DeadlockError: It is unsettled, and this is the thread that has to settle it.
        """
        job = _job(task_id)
        span = None if timeout is None else _checked(lambda: seconds(timeout, field="timeout"))
        return job.wait(span) and self._resources.wait(job, span)

    async def settled(self, task_id: str) -> TaskStatus:
        """Wait until it has settled, in any event loop, and return how.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        job = _job(task_id)
        await job.settled()
        return STATUSES[job.status]

    # -------------------------------------------------------------------------------- what belongs to tasks

    def register_resource(
        self, task_id: str, resource: Any, cleanup: Callable[..., object] | None = None
    ) -> bool:
        """Have something cleaned up when the task has ended, however it does: the last registered first.

        Args:
            task_id: Its id.
            resource: Anything.
            cleanup: A plain function that is called with it; None to call its `close()`. An error of it is
                logged. It is called in the thread that settles the task, or in one of the runtime's.

        Returns:
            Whether it is kept until then; False when the task had settled, so that it is cleaned up already.

        Raises:
            TaskNotFoundError: No such task is known.
            TaskArgumentError: The resource has no `close`, or the cleanup is no plain function.
        """
        job = _job(task_id)
        if cleanup is None:
            close = getattr(resource, "close", None)
            _check_cleanup(f"resource={shown(resource)} has close={shown(close)}, which", close)
            return self._resources.add(job, cast("Callable[[], object]", close))
        _check_cleanup(f"cleanup={shown(cleanup)}", cleanup)
        return self._resources.add(job, lambda: cleanup(resource))

    def lock(self, name: str) -> NamedLock:
        """Return the lock of that name, the same one for everybody.

        `with task_bridge.lock("file"):` in threads, `async with` in async functions.

        Raises:
            TaskArgumentError: The name is no text.
        """
        if not isinstance(name, str) or not name:
            raise TaskArgumentError(f"name={shown(name)} is no name of a lock; give a str such as 'file'")
        return named_lock(name)

    def cleanup_task(self, task_id: str) -> bool:
        """Forget it: its id is unknown from then on. An unsettled one is cancelled before. True.

        Raises:
            TaskNotFoundError: No such task is known.
        """
        job = _job(task_id)
        job.cancel("it was cleaned up")
        _jobs.forget(job)
        return True


# ----------------------------------------------------------------------------------------------------- checks


def _job(task_id: str, field: str = "task_id") -> Job:
    job = _jobs.find(task_id) if isinstance(task_id, str) else None
    if job is not None:
        return job
    if not isinstance(task_id, str):
        raise TaskArgumentError(
            f"{field} has {shown(task_id)} of type {type(task_id).__name__}; give the str that "
            "register_task has returned"
        )
    raise TaskNotFoundError(
        f"{field}: no task has the id {shown(task_id)}; it never existed, was cleaned up, or settled before "
        f"the last {_jobs.KEPT:,} others did; use an id that register_task has returned",
        task_id=task_id,
    )


def _checked(make: Callable[[], T]) -> T:
    """What a check of actorsched returns; its errors in the words of this front end."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise TaskArgumentError(str(error)) from error


def _whole(value: object, field: str, least: int) -> int:
    return _checked(lambda: check_whole(value, field, least=least))


def _usual(tag: str, priority: TaskPriority, in_thread: bool) -> dict[str, Any]:
    """The options of every task with a function."""
    options: dict[str, Any] = {"tag": tag, "preemptible": False, "priority": priority}
    return options | {"host": "thread", "abandon_on_cancel": True} if in_thread else options


@lru_cache(maxsize=64)
def _usual_options(name: str, tag: str, priority: TaskPriority, in_thread: bool) -> TaskOptions:
    """The same, checked: many tasks have the same name, and nothing else is said of them."""
    return task_options({"name": name, **_usual(tag, priority, in_thread)})


def _retry(max_retries: object, delay: Any) -> Retry | None:
    """How often it is tried, if it is more than once."""
    if type(max_retries) is not int or max_retries < 0:
        _whole(max_retries, "max_retries", 0)
    wait = (
        delay
        if type(delay) is float and delay == 1.0
        else _checked(lambda: seconds(delay, field="retry_delay"))
    )
    if not max_retries:
        return None
    return Retry(attempts=cast("int", max_retries) + 1, delay=wait, backoff=2.0, jitter=False)


def _is_async(func: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine.

    Raises:
        TaskArgumentError: It is an async generator function.
    """
    if is_generator(func):
        raise TaskArgumentError(
            f"func={shown(func)} is an async generator, which has no single result; give a function"
        )
    return is_async(func)


def _check_cleanup(what: str, cleanup: object) -> None:
    if not callable(cleanup):
        raise TaskArgumentError(f"{what} cannot be called; give cleanup=, a function that takes the resource")
    if _is_async(cleanup):
        raise TaskArgumentError(f"{what} is async, and nobody would await it; give a plain function")


task_bridge: TaskBridge = TaskBridge()
"""The bridge."""

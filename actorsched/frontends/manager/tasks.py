"""Tasks: what somebody wants to have done, and what has become of it.

The law of this module: everything about a task is checked when it is made, before anything is queued. A task
is executed once; whoever comes later waits, or is told that it was.

How it works: a task is a job, known by its id in all front ends. To execute it is to execute what it depends
on, if that was only registered, and then to hand the job to the shared runtime, as its executor has planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from actorsched.checks import check_span, check_whole
from actorsched.durations import seconds
from actorsched.exceptions import (
    DeadlineMissed,
    DeadlockError,
    DependencyFailed,
    TaskCancelled,
    TaskTimeout,
    shown,
)
from actorsched.frontends import _jobs
from actorsched.frontends._functions import has_host, is_async, is_generator, refusal
from actorsched.frontends._jobs import LOCK, Job, find
from actorsched.frontends._shared import SHARED, Pool
from actorsched.frontends._vocabulary import (
    STATUSES,
    TaskArgumentError,
    TaskDependencyError,
    TaskNotFoundError,
    TaskPriority,
    TaskStatus,
    failure,
    priority_of,
)
from actorsched.frontends.manager import events
from actorsched.frontends.manager.executors import Executor, executor_of
from actorsched.frontends.manager.places import Place, here
from actorsched.frontends.manager.planning import plan
from actorsched.frontends.manager.visits import VISIT, Visitor
from actorsched.options import Retry, TaskOptions, task_options
from actorsched.task import Task as Prepared
from actorsched.task import prepared_with

if TYPE_CHECKING:
    from actorsched.durations import Duration

__all__ = ["Task", "UnknownDependencyError"]

T = TypeVar("T")

FRONT = "manager"
MANY = 100
"""How many tasks may run at once, unless somebody says otherwise."""
_ONCE = Retry(attempts=1, delay=1.0, backoff=1.0, jitter=False)
_PATIENCE = 1.0
"""For how many seconds whoever cancels waits for an async function to have left."""


def new_pool(workers: int | None) -> Pool:
    """The pool of one manager: so many tasks at once, wherever they run."""
    return Pool(FRONT, workers or MANY)


POOL = new_pool(None)
"""That of the process's one manager, and of tasks that were made without one."""


class UnknownDependencyError(TaskDependencyError, TaskNotFoundError):
    """A task is to depend on one that nobody knows."""


class Task:
    """A task, registered or made by hand. Its parameters are those of `register_task`.

    Attributes:
        id: Its id, valid in all front ends.
        name: Its name, for people.
        func: Its function.
        args: Its positional arguments, until it has settled.
        kwargs: Its keyword arguments, until it has settled.
        dependencies: The ids of the tasks that have to complete before.
        executor: What runs it.
    """

    def __init__(
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
        pool: Pool | None = None,
    ) -> None:
        _check_function(func, name)
        timeout = None if timeout is None else checked(lambda: check_span(timeout, "timeout"))
        after = _dependencies(dependencies, task_id) if dependencies != () else ()
        self._chosen = executor_type is not None
        self.executor: Executor = executor_of(executor_type, func)
        self._pool = pool or POOL
        more = _given(timeout=timeout, description=description, tags=tags or None, metadata=metadata)
        prepared = checked(
            lambda: _prepared(
                name,
                func,
                (*positional, *_arguments(args)),
                kwargs,
                self._pool.name,
                priority_of(priority),
                _retry(max_retries, retry_delay),
                more,
            )
        )
        if not isinstance(name, str):
            raise TaskArgumentError(f"name={shown(name)} is no text; give a str")
        fault = refusal(func, prepared.args, prepared.kwargs)
        if fault is not None:
            raise TaskArgumentError(
                f"func={shown(func)} of task {name!r} does not take these arguments: {fault}; positional "
                "ones follow the function, or go into args=(...), named ones into kwargs={...}"
            )
        self.name = name
        self.func: Callable[..., Any] = func
        self.args: tuple[Any, ...] = prepared.args
        self.kwargs: Mapping[str, Any] = prepared.kwargs
        self._options = prepared.options
        self._prepared: Prepared[Any] | None = prepared
        self._claimed = False
        self._visitor: Visitor | None = None
        self._job = _job_of(prepared, name, after, self._pool, task_id, keep=pool is not None)
        self.id: str = self._job.id
        self.dependencies: tuple[str, ...] = tuple(job.id for job in after)
        self._job.view = self
        self._job.add_done_callback(_let_go)

    def __repr__(self) -> str:
        return f"<Task {self.name!r} ({self.id}) {self.status}>"

    # ------------------------------------------------------------------------------------ how it is doing

    @property
    def status(self) -> TaskStatus:
        """Where it is in its life."""
        return STATUSES[self._job.status]

    @property
    def progress(self) -> tuple[float, str | None]:
        """The fraction done, from 0 to 1, and the last message."""
        return self._job.progress

    @property
    def result(self) -> Any:
        """Its result; None if it has none, or not yet."""
        outcome = self._job.outcome
        return None if outcome is None else outcome.value

    @property
    def error(self) -> BaseException | None:
        """Why it has no result: what its function raised, or a `TaskError`; None if nothing did."""
        return error_of(self._job)

    @property
    def priority(self) -> TaskPriority:
        """How urgent it is."""
        lowest, highest = TaskPriority.LOW, TaskPriority.CRITICAL
        return TaskPriority(max(lowest, min(highest, self._options.priority)))  # others have more of them

    @property
    def description(self) -> str | None:
        """What it is for."""
        return self._options.description

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return self._options.tags

    @property
    def metadata(self) -> Mapping[str, object]:
        """What else was said of it, by name."""
        return self._options.metadata

    # ---------------------------------------------------------------------------------------- executing

    def enter(self, place: Place, executor: Executor | None = None, *, turn: bool = True) -> bool:
        """Hand it to the runtime, after what it depends on. False when that was done, or it has settled."""
        if self._claimed:
            return False
        if self._job.after:
            for task in _unexecuted(self):
                if task is not self:
                    task._enter(place, task.executor, turn=turn)
        return self._enter(place, executor or self.executor, turn=turn)

    def _enter(self, place: Place, executor: Executor, *, turn: bool) -> bool:
        job = self._job
        with LOCK:
            prepared = self._prepared
            if self._claimed or job.entered or job.outcome is not None or prepared is None:
                return False
            self._claimed = True
        try:
            chosen = self._chosen or executor is not self.executor
            self._visitor = plan(self, job, prepared, executor, place, chosen=chosen, turn=turn)
            entered = job.enter()
        except BaseException:
            self._claimed = False
            raise
        self._prepared = None
        return entered

    async def executed_by(self, executor: Executor) -> Any:
        """Execute it by this executor, unless that was done; wait for its end.

        Returns:
            Its result.

        Raises:
            BaseException: Its error.
        """
        await execute(self._job, wait=True, executor=executor)
        error = self.error
        if error is not None:
            raise error
        return self.result

    async def stopped(self) -> None:
        """Wait until its function has left, where that can be expected soon."""
        visit = None if self._visitor is None else self._visitor.visit
        if visit is None:
            return
        visit.stop()
        if VISIT.get() is visit:  # it cancels itself
            return
        import anyio

        place = here()
        over = anyio.Event()
        visit.add_end_callback(lambda: place.call(over.set))
        with anyio.move_on_after(_PATIENCE):
            await over.wait()


def task_of(job: Job) -> Task:
    """The task of a job; for one of another front end, one that shows what can be known of it."""
    if isinstance(job.view, Task):
        return job.view
    task = object.__new__(Task)
    task._job, task.id, task.name = job, job.id, job.name
    prepared, ref = job._prepared, job.ref
    task.func = cast("Any", None if prepared is None else prepared.fn)
    task.args, task.kwargs = (), {}
    task.dependencies = tuple(one.id for one in job.after)
    task._prepared, task._visitor, task._claimed = None, None, True
    if prepared is not None:
        task._options = prepared.options
    elif ref is not None:
        about = {"description": ref.description, "tags": ref.tags, "metadata": ref.metadata}
        task._options = task_options({**about, "priority": ref.priority})
    else:
        task._options = task_options({})
    return task


def _let_go(job: Job) -> None:
    """It has settled: its arguments may be large."""
    task: Task = job.view
    task.args, task.kwargs, task._prepared = (), {}, None


def _unexecuted(task: Task) -> list[Task]:
    """The tasks of this front end that were only registered, those first on which others depend."""
    found: dict[Task, None] = {}
    todo: list[tuple[Task, bool]] = [(task, False)]
    while todo:
        one, known = todo.pop()
        if known:
            found[one] = None
        elif one not in found and not one._claimed:
            todo.append((one, True))
            todo.extend((job.view, False) for job in one._job.after if isinstance(job.view, Task))
    return list(found)


async def execute(job: Job, *, wait: bool, executor: Executor | None = None) -> bool:
    """Execute a task of any front end. See `TaskManager.execute_task`."""
    place = here()
    task = job.view
    if job.outcome is not None:
        if wait:
            await events.delivered(place)
        return False
    visit = VISIT.get()
    if isinstance(task, Task):
        within = wait and visit is not None and visit.alone and _same(visit.place, place) and not visit.over
        entered = task.enter(place, executor, turn=not within)
    else:
        entered = job.enter()
    if not wait:
        return entered
    await wait_for(job, place)
    await events.delivered(place)
    return entered and job.outcome is not None and job.outcome.error is None


def _same(one: Place | None, other: Place) -> bool:
    """Whether that is the same thread."""
    return one is not None and one.thread == other.thread


async def wait_for(job: Job, place: Place) -> None:
    """Wait until a task has settled; a task that waits lends its slot.

    Raises:
        DeadlockError: The other task waits, through others, for the one that waits here.
    """
    import anyio
    import anyio.lowlevel

    if SHARED.is_here:  # natively
        await anyio.lowlevel.checkpoint()  # it is just being submitted
        await job.settled()
        return
    over = anyio.Event()
    errors: list[Exception] = []

    def done(error: Exception | None = None) -> None:
        if error is not None:
            errors.append(error)
        place.call(over.set)

    visit = VISIT.get()
    if job.outcome is not None:
        return
    if visit is not None and visit.job is job:
        raise DeadlockError(
            f"task {job.name!r} ({job.id}) waits for its own end; let something else wait for it",
            circle=(job.name,),
        )
    if visit is None or not visit.want(job, done):
        job.add_done_callback(lambda _: done())
    await over.wait()
    if errors and job.outcome is None:
        raise errors[0]


def error_of(job: Job) -> BaseException | None:
    """Why a task has no result: what its function raised, or what else happened, in these words."""
    error = job.error
    if isinstance(error, (TaskCancelled, TaskTimeout, DependencyFailed, DeadlineMissed)):
        return failure(job.name, job.id, error)
    return error


# ------------------------------------------------------------------------------------------------- checks


def checked(make: Callable[[], T]) -> T:
    """What a check of actorsched returns; its errors in the words of this front end."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        if isinstance(error, TaskArgumentError):
            raise
        raise TaskArgumentError(str(error)) from error


def job_of(task_id: object, field: str = "task_id") -> Job:
    """The job of an id.

    Raises:
        TaskNotFoundError: No such task is known.
        TaskArgumentError: It is no id.
    """
    if not isinstance(task_id, str):
        raise TaskArgumentError(
            f"{field} has {shown(task_id)} of type {type(task_id).__name__}; give the str that "
            "register_task has returned"
        )
    job = find(task_id)
    if job is None:
        raise TaskNotFoundError(
            f"{field}: no task has the id {shown(task_id)}; it never existed, was cleaned up, or settled "
            f"before the last {_jobs.KEPT:,} others did; use an id that register_task has returned",
            task_id=task_id,
        )
    return job


def _job_of(
    prepared: Prepared[Any],
    name: str,
    after: tuple[Job, ...],
    pool: Pool,
    task_id: str | None,
    *,
    keep: bool,
) -> Job:
    """The job, under an id of the user's own, if there is one; kept if it is a manager's that makes it."""
    job = Job(prepared, name, after, FRONT, pool, keep=keep and task_id is None)
    if task_id is None:
        return job
    if not isinstance(task_id, str) or not task_id:
        raise TaskArgumentError(f"task_id={shown(task_id)} is no id; give a str that says something, or none")
    if not _rename(job, task_id):
        raise TaskArgumentError(
            f"task_id={task_id!r} is registered already; choose another one, or leave it out",
            task_id=task_id,
        )
    return job


def _rename(job: Job, task_id: str) -> bool:
    """Before anybody has heard of it. False if the id is taken."""
    with LOCK:
        if find(task_id) is not None:
            return False
        del _jobs._made[job.id]
        job.id = task_id
        _jobs._made[task_id] = job
    return True


def _check_function(func: object, name: object) -> None:
    if not callable(func):
        raise TaskArgumentError(
            f"func={shown(func)} of task {shown(name)} is no function; give one, plain or async"
        )
    if is_generator(func):
        raise TaskArgumentError(
            f"func={shown(func)} of task {shown(name)} is an async generator, which has no single result; "
            "give a function"
        )


def _prepared(
    name: str,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    tag: str,
    priority: TaskPriority,
    retry: Retry,
    more: dict[str, Any],
) -> Prepared[Any]:
    """What becomes a native task, if it runs where its function is at home."""
    in_thread = not is_async(func) and not has_host(func)
    if more or kwargs or retry is not _ONCE or type(name) is not str:
        return Prepared(name, func, args, kwargs, retry=retry, **_usual(tag, priority, in_thread), **more)
    return prepared_with(_usual_options(name, tag, priority, in_thread), func, args)


def _usual(tag: str, priority: TaskPriority, in_thread: bool) -> dict[str, Any]:
    """The options of every task. None may be preempted: nobody can hold up a thread, or another loop."""
    options: dict[str, Any] = {"tag": tag, "preemptible": False, "priority": priority}
    return options | {"host": "thread", "abandon_on_cancel": True} if in_thread else options


@lru_cache(maxsize=64)
def _usual_options(name: str, tag: str, priority: TaskPriority, in_thread: bool) -> TaskOptions:
    """The same, checked: many tasks have the same name, and nothing else is said of them."""
    return task_options({"name": name, "retry": _ONCE, **_usual(tag, priority, in_thread)})


def _arguments(args: Any) -> tuple[Any, ...]:
    if type(args) is tuple:  # the usual case
        return args  # pyright: ignore[reportUnknownVariableType] # a tuple of anything
    given: object = args
    if isinstance(args, (str, bytes, Mapping)) or not isinstance(args, Iterable):
        raise TaskArgumentError(
            f"args={shown(given)} is no tuple; give the positional arguments as one, such as args=(value,)"
        )
    return tuple(cast("Any", args))


def _dependencies(ids: object, own: str | None) -> tuple[Job, ...]:
    if type(ids) is not list and (isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable)):
        raise TaskArgumentError(
            f"dependencies={shown(ids)} is no list of ids; give one, such as dependencies=[task_id]"
        )
    found: dict[Job, None] = {}
    for one in cast("Iterable[object]", ids):
        if own is not None and one == own and find(own) is None:
            raise TaskDependencyError(
                f"task {own!r} names itself in dependencies: that is a circle, and it would never begin; "
                "leave it out",
                task_id=own,
            )
        try:
            found[job_of(one, "dependencies")] = None
        except TaskNotFoundError as error:
            raise UnknownDependencyError(
                f"{error}; register what a task depends on before the task", task_id=error.task_id
            ) from None
    return tuple(found)


def _given(**options: Any) -> dict[str, Any]:
    """The options that say something; those that do not need no check."""
    return {name: value for name, value in options.items() if value is not None}


def _retry(max_retries: object, delay: Any) -> Retry:
    attempts = check_whole(max_retries, "max_retries", least=0) + 1
    if attempts == 1 and delay == 1.0:
        return _ONCE
    wait = seconds(delay, field="retry_delay")
    return Retry(attempts=attempts, delay=wait, backoff=1.0, jitter=False)

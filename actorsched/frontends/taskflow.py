"""Tasks as classes, in groups by tag: `Task`, `Scheduler`, `Executor`.

The law of this module: it checks a whole set of tasks before anything of it is queued, has it run, and waits.
It decides nothing about who runs when: each tag has a pool of the shared runtime, with so many workers.

How it works: every task is a job from the moment it is made, so that its id is valid in all front ends. A
`Scheduler` looks at the dependencies as they are then; an `Executor` hands the jobs to the runtime, each
after those that it depends on, and `run` sleeps until the last has settled. Pools serve one executor after
the other: a program that makes executors for ever has no more of them than were ever in use at once.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterable, Mapping
from copy import copy
from graphlib import CycleError, TopologicalSorter
from itertools import count
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from actorsched.checks import check_whole
from actorsched.exceptions import (
    ActorschedError,
    DeadlockError,
    DependencyCycle,
    DependencyFailed,
    shown,
)
from actorsched.frontends._jobs import Job, enter_all, find
from actorsched.frontends._shared import SHARED, Pool
from actorsched.status import TaskStatus
from actorsched.task import Task as Prepared

if TYPE_CHECKING:
    from actorsched.options import TaskOptions

__all__ = [
    "AlreadyRun",
    "BadArgument",
    "CircularDependency",
    "Executor",
    "NoResult",
    "Scheduler",
    "Task",
    "TaskFlowError",
    "TaskStatus",
    "UnknownDependency",
]

WORKERS = 2
"""How many tasks of a tag may run at once when nobody says anything else."""

_numbers = count()
_models: WeakKeyDictionary[type, Prepared[Any]] = WeakKeyDictionary()
"""The classes whose `execute` was looked at, and what their tasks are copies of."""
_claims = threading.Lock()
"""Held while an executor makes tasks its own, or takes or returns a pool."""


# ----------------------------------------------------------------------------------------------------- errors


class TaskFlowError(ActorschedError):
    """The base of the errors of `taskflow`."""


class BadArgument(TaskFlowError, TypeError, ValueError):
    """What was given cannot be: no task, no tag, no number of workers; nothing was queued."""


class UnknownDependency(TaskFlowError, LookupError):
    """A task depends on one that nobody knows, or that is not in the `Scheduler`'s set."""


class CircularDependency(TaskFlowError, DependencyCycle):
    """Tasks depend on each other in a circle, which `path` names; each on the next."""


class AlreadyRun(TaskFlowError, RuntimeError):
    """A task, and so an executor, runs only once."""


class NoResult(TaskFlowError):
    """A result was asked of a task that has ended without; what ended it is the `__cause__`."""


# ------------------------------------------------------------------------------------------------------ tasks


class Task:
    """A piece of work: a subclass says what is to be done (`execute`), and what it belongs to (`tag`).

    Tasks are compared by identity. The names of the methods and properties below are taken; an attribute
    `name`, if there is one and it is text, is how the task is called in the log and in errors.

    Args:
        dependencies: What has to complete before it begins: tasks, or tasks of other front ends, or ids of
            either.

    Attributes:
        dependencies: The same, as a set, which may be changed until a `Scheduler` has taken the task.

    Raises:
        BadArgument: A dependency is none of these, or the class has no `execute` without parameters.
        UnknownDependency: No task of this id is known.
    """

    dependencies: set[Any]
    _job: Job
    _prepared: Prepared[Any] | None
    _executor: Executor | None = None

    def __init__(self, dependencies: Iterable[Task | str | object] = ()) -> None:
        kind = type(self)
        model = _models.get(kind)
        if model is None:
            model = _models[kind] = _model_of(self)
        self.dependencies, after = _checked_dependencies(self, dependencies)
        self._number = next(_numbers)
        self._prepared = prepared = copy(model)
        prepared.args = (self,)
        self._job = Job(prepared, model.name, after, front="taskflow")
        self._job.view = self

    def __repr__(self) -> str:
        job = self.__dict__.get("_job")
        if job is None:
            return f"<{type(self).__name__}, not initialised>"
        return f"<{_name_of(self)} {job.id} {job.status.value}>"

    def execute(self) -> Any:
        """Do the work: to be overridden, by a plain method, which runs in a thread, or by an async one.

        Returns:
            The task's `result`. Whatever it raises is the task's `error`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no execute method of its own")

    def tag(self) -> str:
        """What the task belongs to: tasks of one tag share their workers. To be overridden where wanted.

        Called once, when a `Scheduler` takes the task.
        """
        return "default"

    @property
    def id(self) -> str:
        """Its id, valid in all front ends."""
        return _job_of(self).id

    @property
    def status(self) -> TaskStatus:
        """Where it is in its life."""
        job = _job_of(self)
        job.look()
        return job.status

    @property
    def result(self) -> Any:
        """What `execute` returned; None while the task has not settled.

        Raises:
            NoResult: It has ended without; from what ended it.
        """
        job = _job_of(self)
        outcome = job.look()
        if outcome is None:
            return None
        if outcome.error is not None:
            raise NoResult(
                f"task {_name_of(self)!r} ({job.id}) has no result: it ended as {outcome.status.value} "
                f"({type(outcome.error).__name__}: {outcome.error}); look at its status before its result"
            ) from outcome.error
        return outcome.value

    @property
    def error(self) -> BaseException | None:
        """Why it has no result; None if it has one, or has not settled.

        What `execute` raised; `DependencyFailed` if it was skipped; `TaskCancelled` if it was cancelled.
        """
        outcome = _job_of(self).look()
        return None if outcome is None else outcome.error

    def cancel(self, reason: str | None = None) -> bool:
        """Settle it as cancelled, at once, whether or not it was begun; what depends on it is cancelled too.

        An async `execute` is cancelled where it waits. A plain one is left to itself, unless it asks
        `actorsched.checkpoint()` now and then; whatever it returns is dropped.

        Args:
            reason: Why; whoever looks at its `error` reads it.

        Returns:
            Whether that settles it; False when it had settled before.

        Raises:
            BadArgument: The reason is no text.
        """
        return _job_of(self).cancel(_checked_reason(reason))


# Functions, not the bound methods: what the runtime finds out about a function it remembers.


def _execute(task: Task) -> Any:
    return task.execute()


async def _execute_async(task: Task) -> Any:
    return await task.execute()


def _job_of(task: Task) -> Job:
    try:
        return task._job
    except AttributeError:
        raise BadArgument(
            f"a {type(task).__name__} was never initialised; call super().__init__(**kwargs) first in its "
            "__init__"
        ) from None


def _name_of(task: Task) -> str:
    name = getattr(task, "name", None)
    return name if isinstance(name, str) and name.strip() else type(task).__name__


def _model_of(task: Task) -> Prepared[Any]:
    """What tasks of its class become in the runtime, but for the task itself."""
    name = type(task).__name__
    if _checked_execute(task):
        return Prepared(name, _execute_async)
    return Prepared(name, _execute, host="thread", abandon_on_cancel=True)


def _checked_execute(task: Task) -> bool:
    """Whether the `execute` of its class is async."""
    kind = type(task).__name__
    if type(task).execute is Task.execute:
        raise BadArgument(f"{kind} says nowhere what is to be done; give it a method `execute(self)`")
    execute: Any = task.execute
    if not callable(execute):
        raise BadArgument(f"{kind}.execute={shown(execute)} cannot be called; make it a method")
    if inspect.isgeneratorfunction(execute) or inspect.isasyncgenfunction(execute):
        raise BadArgument(f"{kind}.execute is a generator function; let it return its result, not yield it")
    try:
        inspect.signature(execute).bind()
    except ValueError:  # written in C: nobody knows its parameters
        pass
    except TypeError as error:
        raise BadArgument(
            f"{kind}.execute cannot be called with self alone ({error}); give the task what it needs as "
            "attributes"
        ) from None
    return inspect.iscoroutinefunction(execute)


def _checked_dependencies(task: Task, given: object) -> tuple[set[Any], tuple[Job, ...]]:
    """What a task depends on, as it was given, and as jobs, in the order in which they were made."""
    if not given and isinstance(given, (tuple, set, list, frozenset)):
        return set(), ()
    kind = type(task).__name__
    if isinstance(given, (str, Task)) or not isinstance(given, Iterable):
        raise BadArgument(
            f"dependencies={shown(given)} of {kind} is of type {type(given).__name__}; give a set of tasks, "
            "such as {task}"
        )
    all_given = cast("Iterable[object]", given)
    found = [(item, _dependency(kind, item)) for item in all_given]
    try:
        items: set[Any] = {item for item, _ in found}
    except TypeError:
        raise BadArgument(
            f"dependencies={shown(all_given)} of {kind} holds a task that cannot be hashed; leave "
            "__hash__ as it is (for a dataclass: eq=False)"
        ) from None
    return items, tuple(dict.fromkeys(sorted((job for _, job in found), key=_number_of)))


def _dependency(kind: str, item: Any) -> Job:
    if isinstance(item, Task):
        return _job_of(item)
    known = item if isinstance(item, str) else getattr(item, "id", None)
    if not isinstance(known, str):
        remedy = ", not the class" if isinstance(item, type) else ", or the id of one"
        raise BadArgument(f"dependencies of {kind} hold {shown(item)}, which is no task; give a task{remedy}")
    job = find(known)
    if job is None:
        raise UnknownDependency(
            f"{kind} depends on {shown(known)}, but no task of this id is known: it never was, it was "
            "cleaned up, or it has settled long ago; give the id of a task that you still hold"
        )
    return job


def _number_of(job: Job) -> int:
    return int(job.id.rpartition("-")[2])


def _checked_reason(reason: object) -> str | None:
    if reason is not None and not isinstance(reason, str):
        raise BadArgument(
            f"reason={shown(reason)} is of type {type(reason).__name__}; say why as a str, or leave it out"
        )
    return reason


# -------------------------------------------------------------------------------------------------- scheduler


class Scheduler:
    """A set of tasks that belong together, checked: it can be run as it is.

    The dependencies count as they are now. Where they leave a choice, tasks begin in the order in which they
    were made, whatever the order of the set.

    Args:
        tasks: The tasks, with all that they depend on, but for tasks of other front ends.

    Attributes:
        tasks: The same, in the order in which they begin.

    Raises:
        BadArgument: Something is no task, was never initialised, or has no proper tag.
        UnknownDependency: A task depends on one that is not among them.
        CircularDependency: Tasks depend on each other in a circle.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        if isinstance(tasks, Task) or not isinstance(tasks, Iterable):
            raise BadArgument(
                f"tasks={shown(tasks)} is of type {type(tasks).__name__}; give a set of tasks, such as "
                "{task}"
            )
        given = {id(task): task for task in tasks}.values()
        for task in given:
            _check_task(task)
        members = {task._job: task for task in sorted(given, key=lambda task: task._number)}
        self._after: dict[Job, tuple[Job, ...]] = {}
        for job, task in members.items():
            self._after[job] = _checked_dependencies(task, task.dependencies)[1]
            _check_members(task, self._after[job], members)
        self.tasks: tuple[Task, ...] = tuple(members[job] for job in _in_order(self._after))
        self._tags: dict[Task, str] = {task: _checked_tag(task) for task in self.tasks}

    def __repr__(self) -> str:
        return f"<Scheduler of {len(self.tasks)} tasks, {_listed(self._tags.values())}>"


def _check_task(task: object) -> None:
    if not isinstance(task, Task):
        remedy = "its instances, not the class" if isinstance(task, type) else "instances of Task subclasses"
        raise BadArgument(f"tasks hold {shown(task)}, which is no task; give {remedy}")
    _job_of(task)


def _check_members(task: Task, after: tuple[Job, ...], members: Mapping[Job, Task]) -> None:
    for job in after:
        if isinstance(job.view, Task) and job not in members:
            raise UnknownDependency(
                f"{task!r} depends on {job.view!r}, which is not among the tasks of the Scheduler; "
                "add it to them"
            )


def _in_order(after: Mapping[Job, tuple[Job, ...]]) -> list[Job]:
    """The jobs, each after those that it depends on."""
    graph: dict[Job, tuple[Job, ...]] = {**after}
    beyond = [job for upstream in after.values() for job in upstream if job not in graph]
    while beyond:  # jobs of other front ends may depend on ours
        job = beyond.pop()
        if job not in graph:
            graph[job] = job.after
            beyond += job.after
    try:
        return [job for job in TopologicalSorter(graph).static_order() if job in after]
    except CycleError as error:
        circle: list[Job] = error.args[1][::-1]
    path = [f"{_name_of(job.view) if isinstance(job.view, Task) else job.name} ({job.id})" for job in circle]
    raise CircularDependency(
        f"these tasks depend on each other in a circle, so none of them could ever start: "
        f"{' -> '.join(path)}; nothing was queued; take one of these dependencies out",
        path=path,
    )


def _checked_tag(task: Task) -> str:
    tag: object = task.tag()
    if not isinstance(tag, str) or not tag.strip():
        if inspect.iscoroutine(tag):
            tag.close()
        raise BadArgument(
            f"the tag of {task!r} is {shown(tag)}; let its method `tag(self)` return a str, such as 'io'"
        )
    return tag


def _listed(tags: Iterable[str]) -> str:
    return "tags " + (", ".join(map(repr, dict.fromkeys(tags))) or "none")


# --------------------------------------------------------------------------------------------------- executor


class Executor:
    """Runs the tasks of a scheduler, once.

    Args:
        scheduler: The tasks.
        workers_per_tag: How many tasks of one tag may run at once: a number for each tag, or a mapping from
            tags to numbers, in which a tag that is not mentioned has 2.

    Raises:
        BadArgument: It is no scheduler, a number is less than 1, or the mapping names a tag that no task has.
    """

    def __init__(self, scheduler: Scheduler, workers_per_tag: int | Mapping[str, int] = WORKERS) -> None:
        if not isinstance(scheduler, Scheduler):
            raise BadArgument(
                f"scheduler={shown(scheduler)} is of type {type(scheduler).__name__}; "
                "give a Scheduler, made of the tasks"
            )
        self._scheduler = scheduler
        self._workers: dict[str, int] = _checked_workers(workers_per_tag, scheduler._tags.values())

    def __repr__(self) -> str:
        tasks = self._scheduler.tasks
        settled = sum(task._job.done for task in tasks)
        workers = ", ".join(f"{tag}: {workers}" for tag, workers in self._workers.items())
        return f"<Executor {{{workers}}}, {settled} of {len(tasks)} tasks settled>"

    def run(self) -> None:
        """Run all tasks, and return when every one has settled.

        A task that fails has those skipped that depend on it, and no others. Ctrl-C cancels all tasks, and
        comes out of here at once.

        Raises:
            ExceptionGroup: Tasks have failed: the errors of those, with notes that name them. Of tasks that
                were skipped only those whose dependency is no task of this executor; cancelled ones are not
                among them.
            AlreadyRun: It was run before, or one of the tasks by another executor.
            DeadlockError: This is the thread in which async tasks run, which would wait for itself.
            RuntimeClosed: The interpreter is about to end.
        """
        if SHARED.is_here:
            raise DeadlockError(
                f"{self!r} was to be run in the thread in which async tasks run, so it would never end; "
                "await asyncio.to_thread(executor.run) there"
            )
        self._claim()
        pools = _take_pools(self._workers)
        jobs = [task._job for task in self._scheduler.tasks]
        try:
            self._enter(pools)
            _wait_for(jobs)
        except BaseException as error:
            self.cancel(f"{type(error).__name__} has ended the run")
            raise
        finally:
            _return_pools(pools, jobs)
        self._report()

    def cancel(self, reason: str | None = None) -> bool:
        """Cancel all tasks that have not settled, at once; a `run` of it returns. From any thread.

        Args:
            reason: As for `Task.cancel`.

        Returns:
            Whether there was any.

        Raises:
            BadArgument: The reason is no text.
        """
        reason = _checked_reason(reason)
        return sum(task._job.cancel(reason) for task in self._scheduler.tasks) > 0

    def _claim(self) -> None:
        with _claims:
            for task in self._scheduler.tasks:
                if task._executor is not None:
                    whose = "this executor" if task._executor is self else "another executor"
                    raise AlreadyRun(
                        f"{task!r} was run by {whose} before; make the tasks anew to run them again"
                    )
            for task in self._scheduler.tasks:
                task._executor = self

    def _enter(self, pools: Mapping[str, Pool]) -> None:
        tags = self._scheduler._tags
        known: dict[tuple[int, str, str], TaskOptions] = {}
        for task in self._scheduler.tasks:
            job, prepared = task._job, task._prepared
            assert prepared is not None
            task._prepared = None
            if job.entered or job.done:  # another front end was asked to execute it, or to settle it
                continue
            job.name = name = _name_of(task)
            job.after = self._scheduler._after[job]
            job.pool = pool = pools[tags[task]]
            prepared.name = name
            of_kind = (id(prepared.options), name, pool.name)  # most of a class have the same
            options = known.get(of_kind)
            if options is None:
                options = prepared.options.replace(name=name, tag=pool.name, tags=(tags[task],))
                known[of_kind] = options
            prepared.options = options
        enter_all(task._job for task in self._scheduler.tasks)

    def _report(self) -> None:
        """Raise what has failed."""
        tasks = self._scheduler.tasks
        failed = [task for task in tasks if _has_failed(task._job)]
        if not failed:
            return
        skipped = sum(task._job.status is TaskStatus.FAILED for task in tasks) - len(failed)
        errors: list[BaseException] = []
        for task in failed:
            error = task._job.error
            assert error is not None
            error.add_note(f"raised by task {_name_of(task)!r} ({task.id})")
            errors.append(error)
        more = f", and {skipped} more were skipped" if skipped > 0 else ""
        raise BaseExceptionGroup(f"{len(failed)} of {len(tasks)} tasks failed{more}", errors)


def _has_failed(job: Job) -> bool:
    """Whether it has failed by itself, or by something that no other task of ours shows."""
    if job.status in (TaskStatus.COMPLETED, TaskStatus.CANCELLED):
        return False
    if not isinstance(job.error, DependencyFailed):
        return True
    return not any(isinstance(other.view, Task) and other.error is not None for other in job.after)


def _checked_workers(given: object, tags: Iterable[str]) -> dict[str, int]:
    """How many workers each tag has."""
    there = dict.fromkeys(tags, WORKERS)
    if not isinstance(given, Mapping):
        return dict.fromkeys(
            there, _checked_number(given, "workers_per_tag", "or a mapping from tags to such")
        )
    for tag, workers in cast("Mapping[Any, object]", given).items():
        if tag not in there:
            raise BadArgument(
                f"workers_per_tag names the tag {shown(tag)}, which no task has; there are {_listed(there)}"
            )
        there[tag] = _checked_number(workers, f"workers_per_tag[{tag!r}]")
    return there


def _checked_number(value: object, field: str, otherwise: str = "") -> int:
    try:
        return check_whole(value, field, least=1, remedy=f"give an int of 1 or more {otherwise}".strip())
    except (TypeError, ValueError) as error:
        raise BadArgument(str(error)) from None


def _wait_for(jobs: list[Job]) -> None:
    """Sleep until all have settled."""
    left = len(jobs)
    over = threading.Event()
    counting = threading.Lock()

    def settled(_: Job) -> None:
        nonlocal left
        with counting:
            left -= 1
        if not left:
            over.set()

    for job in jobs:
        job.add_done_callback(settled)
    if jobs:
        over.wait()


# ------------------------------------------------------------------------------------------------------ pools

_idle: list[tuple[Pool, list[Job]]] = []
"""Pools that no executor uses, with those of their tasks that had not really stopped."""


def _take_pools(workers: Mapping[str, int]) -> dict[str, Pool]:
    with _claims:
        return {tag: _take_pool(number) for tag, number in workers.items()}


def _take_pool(workers: int) -> Pool:
    for index, (pool, jobs) in enumerate(_idle):
        if all(job.ref is None or job.ref.done() for job in jobs):
            del _idle[index]
            if pool.workers != workers:
                pool.workers = workers
            return pool
    return Pool("taskflow-pool", workers)


def _return_pools(pools: Mapping[str, Pool], jobs: list[Job]) -> None:
    with _claims:
        for pool in pools.values():
            late = [job for job in jobs if job.pool is pool and job.ref is not None and not job.ref.done()]
            _idle.append((pool, late))

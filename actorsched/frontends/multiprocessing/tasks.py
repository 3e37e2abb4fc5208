"""Tasks and chains of them, as users hold them.

The law of this module: whatever is wrong with a task or a chain is said when it is made or pushed, and then
nothing of it is queued. It knows nothing of processes; where a task goes is told by whoever it is pushed to.

How it works: a task is a job from the moment it is made, so that its id is valid in all front ends. Being put
in a chain, and being pushed, are claims to it, of which each is made once: under a lock, because several
threads may try. Links to what depends on a task are weak, or a long line of tasks would keep itself alive.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast
from weakref import ref as weak

from actorsched.durations import Duration, seconds
from actorsched.exceptions import DependencyFailed, shown
from actorsched.frontends._functions import is_async
from actorsched.frontends._jobs import Job, find
from actorsched.frontends._shared import SHARED
from actorsched.frontends.multiprocessing.errors import (
    AlreadyPushed,
    ChainError,
    ChainTooLong,
    CircularDependency,
    InvalidArgument,
    NotPushed,
    ResultTimeout,
    UnknownDependency,
)
from actorsched.frontends.multiprocessing.functions import (
    check_call,
    check_named,
    checked_function,
)
from actorsched.options import Priority, task_options
from actorsched.task import Task as Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.frontends._shared import Pool
    from actorsched.messages import Outcome
    from actorsched.runtime import Runtime
    from actorsched.status import TaskStatus

LONGEST = 15
"""How many tasks a chain may have."""

_claims = threading.Lock()
"""Held while somebody puts tasks in a chain, or pushes them."""


class Task:
    """A function call that runs in a worker process, once it is pushed.

    Args:
        name: Its name, for people.
        fn: A plain or an async function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        arg_deps: The parameters that get the results of other tasks: of its predecessor in a chain, then of
            its `dependencies`, in order. Results without a name here come first among the positional
            arguments.
        dependencies: What has to complete before it begins: tasks, or tasks of other front ends, or ids of
            either. What is not pushed yet is waited for.
        priority: A `Priority`, or any int; higher ones come first.
        timeout: How long it may run, as a duration; None for any time.

    Raises:
        InvalidArgument: An argument cannot be; it says which, and what would be right.
        UnknownDependency: No task of this id is known.
    """

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        arg_deps: Sequence[str] = (),
        *,
        dependencies: Iterable[Any] = (),
        priority: int = Priority.NORMAL,
        timeout: Duration | None = None,
    ) -> None:
        function = checked_function(fn, name)
        self._prepared = _prepared(name, function, args, kwargs, priority, timeout)
        self._names = _checked_names(arg_deps, function, self._prepared, name)
        self._is_async = is_async(function)
        self._dependencies, after = _checked_dependencies(name, dependencies)
        self._before: Task | None = None
        self._behind: Task | None = None
        self._dependents: list[weak[Task]] = []
        self._chain: weak[TaskChain] | None = None
        self._pushed = False
        self._job = Job(self._prepared, name, after, front="process", inject=self._names)
        self._job.view = self
        for dependency in self._dependencies:
            if isinstance(dependency, Task):
                dependency._dependents.append(weak(self))

    def __repr__(self) -> str:
        pushed = self.status.value if self._pushed else "not pushed"
        return f"<Task {self.name!r} ({self.id}) {pushed}>"

    @property
    def id(self) -> str:
        """Its id, valid in every front end."""
        return self._job.id

    @property
    def name(self) -> str:
        """Its name."""
        return self._job.name

    @property
    def status(self) -> TaskStatus:
        """Where it is in its life."""
        return self._job.status

    @property
    def priority(self) -> int:
        """Its priority. May be assigned, also while it waits or runs."""
        return self._prepared.options.priority

    @priority.setter
    def priority(self, priority: int) -> None:
        try:
            task_options({"priority": priority})
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"task {self.name!r}: {error}") from None
        self._prepared.options = self._prepared.options.replace(priority=priority)
        if self._pushed:
            SHARED.call_if_there(_set_priority, self._job, priority)

    @property
    def predecessors(self) -> tuple[Any, ...]:
        """What it waits for: the task before it in its chain, then its dependencies."""
        before = () if self._before is None else (self._before,)
        return (*before, *self._dependencies)

    @property
    def successors(self) -> tuple[Task, ...]:
        """What waits for it: the task behind it in its chain, then those that depend on it."""
        behind = () if self._behind is None else (self._behind,)
        dependents = (dependent() for dependent in list(self._dependents))
        return (*behind, *(task for task in dependents if task is not None))

    def get(self, timeout: Duration | None = None) -> Any:
        """Wait for its result.

        Args:
            timeout: For how long, as a duration; None for any time. It gives up the waiting, not the task.

        Returns:
            What the function has returned.

        Raises:
            Exception: What the function has raised; or why it did not run to its end: `HostDied`,
                `TaskTimeout`, `TaskCancelled`, `DependencyFailed`.
            ResultTimeout: There is none yet.
            NotPushed: Nobody has pushed it.
            InvalidArgument: The timeout is no duration.
            DeadlockError: This is the thread of the runtime itself.
        """
        outcome = self._job.outcome
        if outcome is None:
            outcome = self._wait(timeout, f"task {self.name!r}")
        return outcome.unwrap()

    def cancel(self, reason: str | None = None) -> bool:
        """Settle it as cancelled, and have its function stopped. False when it had settled."""
        return self._job.cancel(reason)

    def __await__(self) -> Generator[Any, Any, Any]:
        """Its result, in any event loop."""
        if not self._pushed:
            raise _not_pushed(f"task {self.name!r}")
        yield from self._job.settled().__await__()
        assert self._job.outcome is not None
        return self._job.outcome.unwrap()

    # ------------------------------------------------------------------------------------ for its neighbours

    def _wait(self, timeout: Duration | None, what: str) -> Outcome[Any]:
        limit = None if timeout is None else _seconds(timeout, "timeout")
        if not self._pushed and self._job.outcome is None:
            raise _not_pushed(what)
        if not self._job.wait(limit):
            after = f"{timeout:g} s" if isinstance(timeout, (int, float)) else repr(timeout)
            raise ResultTimeout(
                f"{what} has no result after {after}: task {self.name!r} is {self._doing()}; it goes on, so "
                "ask again, or wait longer"
            )
        assert self._job.outcome is not None
        return self._job.outcome

    def _doing(self) -> str:
        for job in self._job.after:
            if job.outcome is None:
                return f"waiting for {job.name!r}" + ("" if job.entered else ", which nobody has pushed")
        return self.status.value

    def _check_call(self) -> None:
        """See that its function takes what it will be given.

        Raises:
            InvalidArgument: It does not.
        """
        prepared, results = self._prepared, len(self._job.after)
        check_call(prepared.fn, results, prepared.args, prepared.kwargs, self._names, self.name)

    def _enter(self, pool: Pool) -> None:
        self._prepared.options = self._prepared.options.replace(tag=pool.name)
        self._job.pool = pool
        try:
            self._job.enter()
        except BaseException:  # the interpreter is about to end
            self._pushed = False
            raise


class TaskChain:
    """Tasks that run one after the other, each with the result of the one before.

    Args:
        tasks: The tasks, at most 15 of them, none of which was pushed or is in another chain.

    Raises:
        ChainTooLong: There are too many.
        ChainError: There are none, one is there twice, or has its place elsewhere.
        CircularDependency: One depends on another that comes after it.
        InvalidArgument: Something is no task, or a function does not take the result that it would get.
    """

    def __init__(self, *tasks: Task) -> None:
        _check_members(tasks)
        self.tasks: tuple[Task, ...] = tasks
        self._pushed = False
        with _claims:
            _check_free(tasks)
            _check_circle(tasks)
            _link(tasks)
            try:
                for task in tasks:
                    task._check_call()
            except BaseException:
                _unlink(tasks)
                raise
            for task in tasks:
                task._chain = weak(self)

    def __repr__(self) -> str:
        return f"<TaskChain {' -> '.join(task.name for task in self.tasks)}>"

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def get(self, timeout: Duration | None = None) -> Any:
        """Wait for the result of the last task.

        Args:
            timeout: For how long, as a duration; None for any time. It gives up the waiting, not the chain.

        Returns:
            What the last function has returned.

        Raises:
            Exception: What the function of the task has raised that broke the chain, as for `Task.get`.
            ResultTimeout: There is none yet.
            NotPushed: Nobody has pushed it.
            InvalidArgument: The timeout is no duration.
            DeadlockError: This is the thread of the runtime itself.
        """
        outcome = self.tasks[-1]._wait(timeout, repr(self))
        if isinstance(outcome.error, DependencyFailed):
            for task in self.tasks:
                first = task._job.outcome
                if first is not None and first.error is not None:
                    return first.unwrap()
        return outcome.unwrap()


# ----------------------------------------------------------------------------------------------- being pushed


def claim_task(task: object) -> Task:
    """Take a task to be pushed by itself.

    Raises:
        InvalidArgument: It is none, or its function does not take what it would get.
        AlreadyPushed: It was pushed, or belongs to a chain.
    """
    if not isinstance(task, Task):
        remedy = "use push_chain" if isinstance(task, TaskChain) else "give a Task"
        raise InvalidArgument(f"task={shown(task)} is of type {type(task).__name__}; {remedy}")
    with _claims:
        if task._chain is not None:
            raise AlreadyPushed(f"task {task.name!r} has its place in a chain; push that, or make another")
        if task._pushed:
            raise AlreadyPushed(f"task {task.name!r} was pushed before; make another one to run it again")
        task._check_call()
        task._pushed = True
    return task


def claim_chain(chain: object) -> TaskChain:
    """Take a chain to be pushed.

    Raises:
        InvalidArgument: It is none.
        AlreadyPushed: It was pushed.
    """
    if not isinstance(chain, TaskChain):
        remedy = "use push_task" if isinstance(chain, Task) else "give a TaskChain"
        raise InvalidArgument(f"chain={shown(chain)} is of type {type(chain).__name__}; {remedy}")
    with _claims:
        if chain._pushed:
            raise AlreadyPushed(f"{chain!r} was pushed before; make another one of new tasks to run it again")
        chain._pushed = True
        for task in chain.tasks:
            task._pushed = True
    return chain


def _set_priority(runtime: Runtime, job: Job, priority: int) -> None:
    """In the runtime's thread."""
    if job.ref is not None and not job.ref.done():
        job.ref.set_priority_nowait(priority)


def _not_pushed(what: str) -> NotPushed:
    return NotPushed(f"the result of {what} was asked for, and nobody has pushed it; push it first")


# --------------------------------------------------------------------------------------- what a task is given


def _prepared(
    name: str,
    function: Callable[..., Any],
    args: object,
    kwargs: object,
    priority: object,
    timeout: object,
) -> Prepared[Any]:
    options: dict[str, Any] = {"host": "process", "priority": priority}
    if timeout is not None:
        options["timeout"] = timeout
    try:
        prepared: Prepared[Any] = Prepared(name, function, cast("Any", args), cast("Any", kwargs), **options)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"task {shown(name)}: {error}") from None
    if name is None:
        raise InvalidArgument("name=None is no name of a task; give a str that says something")
    for argument in (*prepared.args, *prepared.kwargs.values()):
        if isinstance(argument, (Task, TaskChain)):
            raise InvalidArgument(
                f"task {name!r} has {argument!r} among its arguments; give it in dependencies=(...), and its "
                "result becomes an argument"
            )
    return prepared


def _checked_names(
    names: object, function: Callable[..., Any], prepared: Prepared[Any], task: str
) -> tuple[str, ...]:
    given: object = names
    if not isinstance(names, (list, tuple)) or not all(
        isinstance(name, str) for name in cast("Sequence[object]", names)
    ):
        raise InvalidArgument(
            f"arg_deps={shown(given)} of task {task!r} is no list of names of parameters; "
            'give one such as arg_deps=["result"]'
        )
    checked = tuple(cast("Sequence[str]", names))
    for place, name in enumerate(checked):
        if name in prepared.kwargs or name in checked[:place]:
            raise InvalidArgument(
                f"arg_deps={list(checked)!r} of task {task!r} names {name!r}, which is given already; "
                "give each parameter one value"
            )
    if checked:
        check_named(function, checked, task)
    return checked


def _checked_dependencies(task: str, dependencies: object) -> tuple[tuple[Any, ...], tuple[Job, ...]]:
    """What a task depends on, as it was given, and their jobs."""
    if dependencies == ():
        return (), ()
    shown_as = shown(dependencies)
    if isinstance(dependencies, (str, bytes, Mapping)) or not isinstance(dependencies, Iterable):
        raise InvalidArgument(
            f"dependencies={shown_as} of task {task!r} is no list of tasks; "
            "give one such as dependencies=(other,)"
        )
    given: tuple[object, ...] = tuple(cast("Iterable[object]", dependencies))
    jobs = tuple(_job_of(dependency, task) for dependency in given)
    for place, job in enumerate(jobs):
        if job in jobs[:place]:
            raise InvalidArgument(f"task {task!r} has {given[place]!r} twice in dependencies; give it once")
    return given, jobs


def _job_of(dependency: object, task: str) -> Job:
    if isinstance(dependency, Task):
        return dependency._job
    known = dependency if isinstance(dependency, str) else getattr(dependency, "id", None)
    if not isinstance(known, str):
        raise InvalidArgument(
            f"dependencies of task {task!r} have {shown(dependency)} of type {type(dependency).__name__}; "
            "give a Task, or a task of another front end, or its id"
        )
    job = find(known)
    if job is None:
        raise UnknownDependency(
            f"task {task!r} depends on {known!r}, and no task of this id is known; give the task itself, "
            "or an id that a front end has returned"
        )
    return job


# ------------------------------------------------------------------------------------ what a chain is made of


def _check_members(tasks: tuple[object, ...]) -> None:
    if not tasks:
        raise ChainError("a TaskChain of no tasks has no result; give it one task or more")
    if len(tasks) > LONGEST:
        raise ChainTooLong(
            f"a TaskChain of {len(tasks)} tasks is too long, {LONGEST} are allowed; make two chains, and let "
            "the first task of the second one have the last of the first one in its dependencies",
            length=len(tasks),
            limit=LONGEST,
        )
    for place, task in enumerate(tasks):
        if not isinstance(task, Task):
            raise InvalidArgument(
                f"tasks[{place}]={shown(task)} of a TaskChain is of type {type(task).__name__}; "
                "give tasks, as in TaskChain(first, second)"
            )
        if task in tasks[:place]:
            raise ChainError(
                f"task {task.name!r} is in the TaskChain twice; make another task for the second place"
            )


def _check_free(tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        if task._chain is not None:
            raise ChainError(f"task {task.name!r} has its place in another chain; make another for this")
        if task._pushed:
            raise AlreadyPushed(f"task {task.name!r} was pushed before; make another one for a chain")


def _check_circle(tasks: tuple[Task, ...]) -> None:
    """Refuse a chain of which a task depends, perhaps by way of others, on one that comes after it."""
    behind = {task._job: following._job for task, following in pairwise(tasks)}
    ahead = {following: job for job, following in behind.items()}
    for task in tasks:
        path = _path_to_itself(task._job, ahead)
        if path:
            names = " -> ".join(path)
            raise CircularDependency(
                f"{', '.join(repr(member.name) for member in tasks)} would be a chain with a circle in which "
                f"nobody can begin: {names}; leave a dependency out, or order the chain otherwise",
                path=path,
            )


def _path_to_itself(start: Job, ahead: Mapping[Job, Job]) -> list[str]:
    """The names of a circle of dependencies through a job; empty if there is none."""
    seen: set[Job] = set()
    heads: list[tuple[Job, list[str]]] = [(start, [start.name])]
    while heads:
        job, path = heads.pop()
        before = (*job.after, ahead[job]) if job in ahead else job.after
        for other in before:
            if other is start:
                return [*path, start.name]
            if other not in seen and other.outcome is None:
                seen.add(other)
                heads.append((other, [*path, other.name]))
    return []


def _link(tasks: tuple[Task, ...]) -> None:
    for task, following in pairwise(tasks):
        task._behind, following._before = following, task
        following._job.after = (task._job, *following._job.after)


def _unlink(tasks: tuple[Task, ...]) -> None:
    for task, following in pairwise(tasks):
        task._behind = following._before = None
        following._job.after = following._job.after[1:]


def _seconds(duration: object, field: str) -> float:
    try:
        return seconds(duration, field=field)
    except ValueError as error:
        raise InvalidArgument(str(error)) from None

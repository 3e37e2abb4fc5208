"""Executors: where the function of a task runs, as classes.

The law of this module: an executor says where, and how many at once; everything else about a task is the
runtime's affair. Given a task that nobody has executed, a built-in executor has the runtime do that; within
the run of the task itself it calls the function. So no function ever runs twice.

How it works: the built-in classes are descriptions, which `planning` turns into options of a native task. A
class of the user's own has its `execute` called in the loop of whoever executes the task.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextvars import copy_context
from inspect import isawaitable
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched.checks import check_whole
from actorsched.exceptions import shown
from actorsched.frontends._functions import is_async
from actorsched.frontends._vocabulary import TaskArgumentError
from actorsched.frontends.manager.visits import VISIT

if TYPE_CHECKING:
    from actorsched.frontends.manager.tasks import Task

__all__ = ["AsyncExecutor", "Executor", "SequentialExecutor", "ThreadPoolExecutor", "executor_of"]

_numbers = count(1)


class Executor(ABC):
    """What runs the functions of tasks; subclass it to have something of your own done around that."""

    @abstractmethod
    async def execute(self, task: Task) -> Any:
        """Run the function of a task: `task.func`, with `task.args` and `task.kwargs`.

        It is called in the event loop of whoever executes the task, once for each attempt, and cancelled when
        the task is cancelled or takes too long.

        Args:
            task: The task.

        Returns:
            Its result. What it raises is the failure of the attempt.
        """


class _BuiltIn(Executor):
    """One whose place the runtime knows.

    Args:
        max_workers: How many functions of it may run at once; None for no limit but the manager's.
    """

    one_at_a_time: ClassVar[bool] = False
    """Whether the thread that executes tasks runs one of its functions at a time."""

    def __init__(self, max_workers: int | None = None) -> None:
        try:
            self.max_workers: int | None = (
                None if max_workers is None else check_whole(max_workers, "max_workers", least=1)
            )
        except (TypeError, ValueError) as error:
            raise TaskArgumentError(str(error)) from error
        self.resource: str = f"{type(self).__name__} {next(_numbers)}"
        """The name of what its tasks hold while they run, if it has a limit."""

    def __repr__(self) -> str:
        limit = "" if self.max_workers is None else f"max_workers={self.max_workers}"
        return f"{type(self).__name__}({limit})"

    async def execute(self, task: Task) -> Any:
        """Execute a task, and return its result.

        Args:
            task: A task that was not executed yet. Of one that was, the end is waited for.

        Raises:
            BaseException: What the function raised, if the task failed.
            TaskError: It was cancelled, took too long, or what it depends on failed.
            TaskArgumentError: This is no task.
        """
        if not hasattr(task, "executed_by"):
            raise TaskArgumentError(
                f"task={shown(task)} is of type {type(task).__name__}; give a Task, such as "
                "manager.get_task(task_id)"
            )
        visit = VISIT.get()
        if visit is not None and visit.job.id == task.id:
            return await self._run(task)
        return await task.executed_by(self)

    async def _run(self, task: Task) -> Any:
        """Call the function, within the run of its task."""
        value = task.func(*task.args, **task.kwargs)
        return await value if isawaitable(value) else value


class SequentialExecutor(_BuiltIn):
    """Runs functions in the thread that executes the tasks, one at a time."""

    one_at_a_time = True

    def __init__(self) -> None:
        super().__init__()


class ThreadPoolExecutor(_BuiltIn):
    """Runs each function in a thread; an async one with an event loop of its own there."""

    async def _run(self, task: Task) -> Any:
        return await _in_a_thread(task)


class AsyncExecutor(_BuiltIn):
    """Runs async functions in the event loop that executes the tasks; plain ones in threads."""

    async def _run(self, task: Task) -> Any:
        if is_async(task.func):
            return await super()._run(task)
        return await _in_a_thread(task)


async def _in_a_thread(task: Task) -> Any:
    import asyncio

    import anyio.to_thread

    def call() -> Any:
        value = task.func(*task.args, **task.kwargs)
        if not isawaitable(value):
            return value

        async def wait() -> Any:
            return await value

        return asyncio.run(wait())

    context = copy_context()
    return await anyio.to_thread.run_sync(
        context.run, call, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(math.inf)
    )


class _Names:
    """The executors that have names: one of each, made when it is first asked for."""

    kinds: ClassVar[dict[str, type[_BuiltIn]]] = {
        "sequential": SequentialExecutor,
        "thread_pool": ThreadPoolExecutor,
        "async": AsyncExecutor,
    }
    made: ClassVar[dict[type[Executor], Executor]] = {}


def executor_of(value: object, func: Any) -> Executor:
    """Return the executor that is meant: by its name, its class, or itself; None for what suits the function.

    Raises:
        TaskArgumentError: None is meant.
    """
    if value is None:
        default = _Names.kinds["async" if is_async(func) else "thread_pool"]
        if default in _Names.made:  # like most
            return _Names.made[default]
        value = default
    if isinstance(value, Executor):
        return value
    kind = _Names.kinds.get(value) if isinstance(value, str) else value
    if not (isinstance(kind, type) and issubclass(kind, Executor)):
        names = ", ".join(map(repr, _Names.kinds))
        raise TaskArgumentError(
            f"executor_type={shown(value)} is no executor; choose from {names}, or give a subclass of "
            "Executor, or an instance of one"
        )
    made = _Names.made.get(kind)
    if made is None:
        try:
            made = _Names.made[kind] = kind()
        except TypeError as error:
            raise TaskArgumentError(
                f"executor_type={shown(value)} cannot be made without arguments: {error}; give an instance"
            ) from error
    return made

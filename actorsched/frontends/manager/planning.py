"""Plans: how an executor's task is to be run natively.

The law of this module: it changes what is prepared, before that is handed to the runtime; never after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from actorsched.frontends._functions import has_host, is_async
from actorsched.frontends._shared import SHARED
from actorsched.frontends.manager.executors import (
    Executor,
    ThreadPoolExecutor,
    _BuiltIn,
)
from actorsched.frontends.manager.visits import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.frontends._jobs import Job
    from actorsched.frontends.manager.places import Place
    from actorsched.frontends.manager.tasks import Task
    from actorsched.runtime import Runtime
    from actorsched.task import Task as Prepared


def plan(
    task: Task,
    job: Job,
    prepared: Prepared[Any],
    executor: Executor,
    place: Place,
    *,
    chosen: bool,
    turn: bool,
) -> Visitor | None:
    """Have what is prepared run where the executor says.

    Args:
        task: The task, for executors of users.
        job: The same.
        prepared: What becomes a native task.
        executor: Says where.
        place: Where it is executed.
        chosen: Whether somebody has chosen the executor; otherwise a mark on the function goes first.
        turn: Whether a sequential task needs a turn of the thread; within another one, that has it.

    Returns:
        What brings the function to where it runs, unless the runtime itself has such places.
    """
    function: Callable[..., Any] = prepared.fn
    if type(executor).execute is not _BuiltIn.execute:
        return _visit(job, prepared, lambda *_, **__: executor.execute(task), place)
    executor = cast("_BuiltIn", executor)  # to ask what kind it is costs more than the rest: it is abstract
    sequential = executor.one_at_a_time
    if sequential:
        visitor: Visitor | None = _visit(job, prepared, function, place, alone=True)
    elif not is_async(function):
        visitor = None
        if chosen and has_host(function):  # others are to run in threads from the start
            prepared.options = prepared.options.replace(host="thread", abandon_on_cancel=True)
    else:
        visitor = _visit(job, prepared, function, None if isinstance(executor, ThreadPoolExecutor) else place)
    if sequential and turn:
        _hold(prepared, f"thread {place.thread}", 1)
    elif executor.max_workers is not None:
        _hold(prepared, executor.resource, executor.max_workers)
    return visitor


def _visit(
    job: Job,
    prepared: Prepared[Any],
    function: Callable[..., Any],
    place: Place | None,
    *,
    alone: bool = False,
) -> Visitor:
    visitor = Visitor(job, function, place, alone=alone)
    prepared.fn = visitor.run
    prepared.options = prepared.options.replace(host="loop", abandon_on_cancel=False)
    return visitor


def _hold(prepared: Prepared[Any], name: str, capacity: int) -> None:
    def declare(runtime: Runtime) -> None:
        runtime.resource(name, capacity)

    SHARED.call(declare)
    prepared.options = prepared.options.replace(resources=(name,))

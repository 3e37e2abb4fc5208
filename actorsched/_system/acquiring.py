"""Acquiring resources from within a task: what `async with current().acquire("db")` does.

While nothing else is going on at this instant, and the resource is free, it is taken at once. Otherwise the
task asks for it by message, waits until it is chosen to run, and then until the resource is free; it lends its
slot meanwhile. Whatever ends the wait early, nothing is left held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._core.lock_table import Request
from actorsched._system.asking import go_on
from actorsched._system.whereabouts import here
from actorsched.exceptions import shown
from actorsched.messages import Acquire, Failure, Release

if TYPE_CHECKING:
    from types import TracebackType

    from actorsched._system.loop_worker import LoopWorker
    from actorsched._system.task import TaskActor


class Acquisition:
    """One unit of each of some resources, for the time of an `async with`; it can be entered again later."""

    __slots__ = ("_request", "_worker")

    def __init__(self, worker: LoopWorker, names: tuple[str, ...]) -> None:
        self._worker = worker
        self._request: Request[TaskActor] = Request(worker.owner, names)

    def __repr__(self) -> str:
        return f"<acquisition of {', '.join(map(repr, self._request.names))}>"

    async def __aenter__(self) -> None:
        worker, request = self._worker, self._request
        task, kernel = worker.owner, worker.kernel
        if worker.gate is None and not task.pool.choosing and task.locks.take(request, kernel):
            task.locking = True
            return
        answer = kernel.future()
        kernel.post(task, Acquire(request, answer, here()))
        try:
            result = await answer
        except BaseException as error:
            await self._let_go(answer, error)
            raise
        await self._waited(answer, None)
        if type(result) is Failure:
            kernel.post(task.locks, Release(request))
            raise result.error

    async def _waited(self, answer: Any, error: BaseException | None) -> None:
        """The wait is over; where the task had begun to wait for others, it goes on when it has a slot."""
        task, locks = self._worker.owner, self._worker.owner.locks
        wait = locks.waits.get(self._request)
        if wait is not None:
            await go_on(task, wait, answer, error)

    async def _let_go(self, answer: Any, error: BaseException) -> None:
        """The wait was cut short: nothing is held, and nothing is waited for."""
        try:
            if not isinstance(error, GeneratorExit):
                await self._waited(answer, error)
        finally:
            self._worker.kernel.post(self._worker.owner.locks, Release(self._request))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._worker.kernel.post(self._worker.owner.locks, Release(self._request))


def acquisition(run: Any, names: tuple[object, ...]) -> Acquisition:
    """What a task acquires.

    Raises:
        TypeError: A name is no str.
        ValueError: A resource was never declared, or is named twice.
        RuntimeError: The code does not run as a task in the event loop.
    """
    if run.role != "task" or not getattr(run, "may_wait", False):
        raise RuntimeError(
            f"{run.owner.name!r} cannot acquire resources: only an async task in the event loop can; "
            'name them at the submission instead: resources={"db"}'
        )
    if not names:
        raise TypeError('acquire() was given no resource; name at least one: current().acquire("db")')
    known = run.owner.locks.resources
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"acquire({shown(name)}) was given no str; name a declared resource")
        if name not in known:
            declared = ", ".join(map(repr, known)) or "none"
            raise ValueError(
                f"acquire({name!r}) names a resource that was never declared; there are: {declared}; declare "
                f"it with rt.resource({name!r})"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"acquire{names!r} names a resource twice; name each once")
    return Acquisition(run, names)  # type: ignore[arg-type]  # each is a str

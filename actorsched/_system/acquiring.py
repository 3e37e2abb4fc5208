"""Acquiring resources from within a task: what `async with current().acquire("db")` does.

While nothing else is going on at this instant, and the resource is free, it is taken at once. Otherwise the
task asks for it by message, waits until it is chosen to run, and then until the resource is free; it lends
its slot meanwhile. Whatever ends the wait early, nothing is left held.

A task may have children in task groups, each a strand of its own. What one strand holds, another one may wait
for: that is no deadlock, because the first goes on. So an acquisition knows its strand.
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

    from actorsched._system.locks import Locks
    from actorsched._system.loop_worker import LoopWorker


class Acquisition(Request[Any], kw_only=True, eq=False):
    """One unit of each of some resources, for the time of an `async with`; it can be entered again later.

    It is the request for them, in one object with the block that makes it.
    """

    worker: LoopWorker
    """On whose owner's behalf it is."""
    locks: Locks
    strand: object = None
    """The task of the backend that has entered it."""

    async def __aenter__(self) -> None:
        task, kernel = self.owner, self.locks.kernel
        if self.worker.gate is None and not task.pool.choosing and self.locks.take(self, kernel):
            self.strand = kernel.backend.current_task()
            task.specially().locking = True
            return
        if self.holds or self.waits:
            raise RuntimeError(
                f"{self!r} was entered already, and not left yet; call current().acquire() for each block"
            )
        self.strand = kernel.backend.current_task()
        answer = kernel.future()
        kernel.post(task, Acquire(self, answer, here()))
        try:
            result = await answer
        except BaseException as error:
            await self._let_go(answer, error)
            raise
        await self._waited(answer, None)
        if type(result) is Failure:
            kernel.post(self.locks, Release(self))
            raise result.error

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        locks = self.locks
        if not locks.put_back(self, locks.kernel):
            locks.kernel.post(locks, Release(self))

    async def _waited(self, answer: Any, error: BaseException | None) -> None:
        """The wait is over; where the task had begun to wait for others, it goes on when it has a slot."""
        wait = self.locks.waits.get(self)
        if wait is not None:
            await go_on(self.owner, wait, answer, error)

    async def _let_go(self, answer: Any, error: BaseException) -> None:
        """The wait was cut short: nothing is held, and nothing is waited for."""
        try:
            if not isinstance(error, GeneratorExit):
                await self._waited(answer, error)
        finally:
            self.locks.kernel.post(self.locks, Release(self))


def acquisition(worker: LoopWorker, names: tuple[str, ...]) -> Acquisition:
    """What a task acquires.

    Raises:
        TypeError: A name is no str, or there is none.
        ValueError: A resource was never declared, or is named twice.
    """
    task = worker.owner
    locks = task.locks
    if len(names) != 1 or type(names[0]) is not str or names[0] not in locks.resources:
        _check(locks, names)
    return Acquisition(task, names, worker=worker, locks=locks)


def _check(locks: Locks, names: tuple[object, ...]) -> None:
    if not names:
        raise TypeError('acquire() was given no resource; name at least one: current().acquire("db")')
    known = locks.resources
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

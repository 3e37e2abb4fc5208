"""Scopes: nurseries for tasks and actors. The runtime is the outermost one."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from anyio import CancelScope

from actorsched._system.asking import settled
from actorsched._system.nursery import Nursery
from actorsched.exceptions import RuntimeClosed
from actorsched.messages import Close
from actorsched.options import Supervise
from actorsched.spawning import Spawner

if TYPE_CHECKING:
    from actorsched._system.system import System


class Scope(Spawner):
    """An `async with` block that its tasks and actors do not outlive. Made by `rt.scope()`.

    Leaving it waits for its tasks, then stops its actors, the last started first. A task that fails cancels
    its siblings and the body; what failed leaves as an `ExceptionGroup`, always. A body that raises cancels
    the tasks and stops the actors.
    """

    def __init__(self, system: System, supervise: Supervise, *, contains: bool = False) -> None:
        self._system = system
        self._supervise = supervise
        self._scope = CancelScope()
        self._nursery = Nursery(contains=contains, on_failure=self._cancel_body)
        self._entered = False
        self._left = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._nursery.live)} tasks>"

    def _cancel_body(self) -> None:
        if not self._left:
            self._scope.cancel()

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this scope was entered before; make a new one with rt.scope()")
        self._entered = True
        self._scope.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            error = await self._leave(error, None)
        finally:
            self._left = True
        swallowed = self._scope.__exit__(None if error is None else type(error), error, traceback)
        errors: list[BaseException] = list(self._nursery.errors)
        if error is not None and not isinstance(error, self._system.kernel.cancelled):
            errors.insert(0, error)
        if errors:
            raise BaseExceptionGroup("in a scope", errors)
        return swallowed

    async def _leave(self, error: BaseException | None, patience: float | None) -> BaseException | None:
        """Wait for the tasks, or cancel them; stop the actors. Answers with what ends the body."""
        if error is None:
            error = await self._wait_for_tasks()
        with CancelScope(shield=True):
            if error is not None:
                self._cancel_tasks(error)
                await self._wait_for_tasks()
            await self._close_feeds(late=False)
            await self._stop_actors(patience)
            while self._nursery.live:  # spawned by actors on their way out
                await self._wait_for_tasks()
            self._nursery.left = True
            await self._close_feeds(late=True)
        return error

    async def _close_feeds(self, *, late: bool) -> None:
        """End the iterators that nobody will read on; those that actors read, after the actors."""
        feeds = [feed for feed in self._nursery.feeds if late or not feed.late]
        for feed in feeds:
            feed.close(RuntimeClosed(f"{feed.title} was closed, because its scope was left"))
        for feed in feeds:
            await feed.ended()

    async def _wait_for_tasks(self) -> BaseException | None:
        """Wait until every task has settled; answers with what cut the waiting short."""
        live = self._nursery.live
        try:
            while live:
                await settled(next(iter(live)))  # type: ignore[arg-type]
        except BaseException as error:
            return error
        return None

    def _cancel_tasks(self, error: BaseException) -> None:
        kernel = self._system.kernel
        self._nursery.cancel_all(f"its scope was left: {type(error).__name__}", kernel)
        kernel.drain()

    async def _stop_actors(self, patience: float | None) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None or self._nursery.escalated:
            return
        kernel = self._system.kernel
        gone = self._nursery.supervisors_gone = kernel.future()
        kernel.post(supervisor, Close(patience))
        await gone



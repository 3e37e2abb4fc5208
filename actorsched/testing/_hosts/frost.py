"""Async code of a host that can be frozen, as a process is by SIGSTOP, or by its death.

The law of this module: it steps code, and decides nothing. Code of a host that is frozen takes no step; what
it was waiting for may come meanwhile, and is given to it when it goes on. A cancellation, too.

Code of a host that has died goes on no more. Only when the simulation ends is it cancelled, since its frames
must not be left to the collector: no `finally` of it runs before that, as none runs in a process that was
killed. What it does then, nobody hears. On asyncio that holds for tasks that the code starts, too; those in a
nursery of trio go on while their host is frozen, but nobody hears of it.
"""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, get_cancelled_exc_class

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from actorsched._kernel.backend import Backend, Future


def _current_task() -> Any:
    from asyncio import current_task

    return current_task()


class Frost:
    """Whether the code of a host may take steps.

    Attributes:
        frozen: Whether it may not.
        over: Whether it has been cancelled for good.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waiting: list[Future] = []
        self._actions: list[Callable[[], object]] = []
        self._scopes: dict[CancelScope, None] = {}
        self._tasks: dict[Any, None] = {}
        self.frozen: bool = False
        self.over: bool = False

    def __repr__(self) -> str:
        return f"<Frost: {'over' if self.over else 'frozen' if self.frozen else 'none'}>"

    @property
    def carries(self) -> bool:
        """Whether there is code that is not over."""
        return bool(self._scopes or self._tasks)

    def freeze(self) -> None:
        """No more steps."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on."""
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        actions, self._actions = self._actions, []
        for action in actions:
            action()

    def end(self) -> None:
        """Cancel what is left."""
        self.over = True
        for what in [*self._scopes, *self._tasks]:
            what.cancel()
        self.thaw()

    async def carry(self, code: Coroutine[Any, Any, Any]) -> None:
        """Run some code, as the whole of a task."""
        with CancelScope() as scope:
            self._scopes[scope] = None
            try:
                await self._steps_of(code)
            finally:
                del self._scopes[scope]

    def when_thawed(self, action: Callable[[], object]) -> None:
        """Call this when it goes on."""
        if not self.over:
            self._actions.append(action)

    async def thawed(self) -> BaseException | None:
        """Wait until it may go on; answers with a cancellation that has come meanwhile."""
        stopped: BaseException | None = None
        while self.frozen:
            future = self._backend.create_future()
            self._waiting.append(future)
            try:
                with CancelScope(shield=True):
                    await future
            except get_cancelled_exc_class() as error:  # asyncio's own, which no shield keeps out
                stopped = error
        return stopped

    async def adopted(self, code: Coroutine[Any, Any, Any]) -> Any:
        """Run the code of a task of asyncio that was started by code of the host."""
        task = _current_task()
        self._tasks[task] = None
        try:
            return await self._steps_of(code)
        finally:
            del self._tasks[task]

    async def end_adopted(self) -> None:
        """What a function in a task host has left running ends with it."""
        from asyncio import gather

        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await gather(*tasks, return_exceptions=True)

    @coroutine
    def _steps_of(self, code: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """To be awaited in the place of the code."""
        value: Any = None
        error: BaseException | None = None
        while True:
            if self.frozen:
                error = (yield from self.thawed().__await__()) or error
            try:
                waits_on = code.send(value) if error is None else code.throw(error)
            except StopIteration as end:
                return end.value
            value = error = None
            try:
                value = yield waits_on
            except BaseException as raised:
                error = raised

"""Event loops in a host: one that runs for good, or one that runs when an async function comes along.

The law of this module: it starts and drives the loop of the parent's kind; what runs in it comes from
elsewhere. Import it only where a loop is needed: asyncio takes a host longer to import than all the rest.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorsched._hosting.child_context import TaskContext


class AsyncRunner(Protocol):
    """Runs the async functions of a task host, one at a time."""

    def run(self, coroutine: Coroutine[Any, Any, Any], context: TaskContext) -> Any:
        """Run it to its end in the main thread.

        Raises:
            Interrupted: It ended because the task was cancelled.
        """

    def close(self) -> None:
        """No more will come."""


def run_for_good(backend: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a loop of this kind until `main` returns."""
    if backend == "trio":
        import trio

        trio.run(main)
    else:
        with _asyncio_runner(backend) as runner:
            runner.run(main())


def make_runner(backend: str) -> AsyncRunner:
    """What runs async functions on this backend: "asyncio", "uvloop" or "trio"."""
    return _TrioRunner() if backend == "trio" else _AsyncioRunner(backend)


def _asyncio_runner(backend: str) -> Any:
    import asyncio

    if backend == "uvloop":
        import uvloop

        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()


def _nothing() -> None:
    """The task is ending by itself."""


class _AsyncioRunner:
    """One loop for all functions; what a function leaves running in it ends with the function."""

    def __init__(self, backend: str) -> None:
        self._runner = _asyncio_runner(backend)

    def run(self, coroutine: Coroutine[Any, Any, Any], context: TaskContext) -> Any:
        return self._runner.run(self._guarded(coroutine, context), context=copy_context())

    def close(self) -> None:
        self._runner.close()

    async def _guarded(self, coroutine: Coroutine[Any, Any, Any], context: TaskContext) -> Any:
        import asyncio

        task = asyncio.current_task()
        assert task is not None
        context.stop = lambda: task.get_loop().call_soon_threadsafe(task.cancel)
        if context.cancel_requested:
            task.cancel()
        try:
            return await coroutine
        except asyncio.CancelledError:
            if context.cancel_requested:
                raise context.interruption() from None
            raise
        finally:
            context.stop = _nothing
            await context.undo_deferred_async()
            left = asyncio.all_tasks() - {task}
            for other in left:
                other.cancel()
            await asyncio.gather(*left, return_exceptions=True)


class _TrioRunner:
    """A run of trio for every function."""

    def run(self, coroutine: Coroutine[Any, Any, Any], context: TaskContext) -> Any:
        import trio

        return trio.run(self._guarded, coroutine, context)

    def close(self) -> None:
        """Nothing is kept."""

    async def _guarded(self, coroutine: Coroutine[Any, Any, Any], context: TaskContext) -> Any:
        import trio

        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            context.stop = lambda: token.run_sync_soon(scope.cancel)
            if context.cancel_requested:
                scope.cancel()
            try:
                return await coroutine
            finally:
                context.stop = _nothing
                with trio.CancelScope(shield=True):
                    await context.undo_deferred_async()
        raise context.interruption()

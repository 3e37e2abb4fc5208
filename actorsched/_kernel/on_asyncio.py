"""The asyncio adapter, for the standard loop and for uvloop alike."""

from __future__ import annotations

import asyncio
import types
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from actorsched._kernel.backend import Future, Handle, Watch


T = TypeVar("T")


@types.coroutine
def _one_turn() -> Generator[None, None, None]:
    """A bare yield: the loop runs everything else that is ready, then comes back."""
    yield


async def _begun(function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
    """A task that is cancelled before its first step never takes it. One that waits here already does."""
    try:
        await _one_turn()
    except asyncio.CancelledError:  # what is started here learns it from `is_sound`
        pass
    await function(*args)


class _Watch:
    __slots__ = ("_remove",)

    def __init__(self, remove: Callable[[], object]) -> None:
        self._remove: Callable[[], object] | None = remove

    def close(self) -> None:
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()


class AsyncioBackend:
    """The loop that is running in this thread."""

    name = "asyncio"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[object]] = set()  # asyncio itself keeps weak references only
        self.monotonic = loop.time
        self.call_soon: Callable[..., object] = loop.call_soon
        self.call_soon_threadsafe: Callable[..., object] = loop.call_soon_threadsafe
        self.breathe: Callable[[], Awaitable[None]] = _one_turn
        self.create_future: Callable[[], Future] = loop.create_future

    def __repr__(self) -> str:
        return f"<backend on {self._loop!r}>"

    # Timers, tasks and watches have a context of their own: that of whoever happens to call would be kept
    # alive for as long as they are, with everything in it.

    def call_at(self, when: float, function: Callable[..., object], /, *args: Any) -> Handle:
        return self._loop.call_at(when, function, *args, context=Context())

    def start_task(self, function: Callable[..., Any], /, *args: Any, name: str) -> None:
        # No task factory: an eager one would run user code in the middle of whatever is going on here.
        context = Context()
        coroutine = _begun(function, args)
        coroutine.send(None)
        task = asyncio.Task(coroutine, loop=self._loop, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=context)

    def current_task(self) -> asyncio.Task[Any] | None:
        return asyncio.current_task(self._loop)

    def run_as(self, task: asyncio.Task[Any], function: Callable[..., T], /, *args: Any) -> T:
        loop = self._loop
        present = asyncio.current_task(loop)
        if present is not None:
            _leave_task(loop, present)
        _enter_task(loop, task)
        try:
            return function(*args)
        finally:
            _leave_task(loop, task)
            if present is not None:
                _enter_task(loop, present)

    def waits_on(self, trap: Any) -> Future | None:
        future: Future | None = trap
        return future

    def cancel_again(self) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None
        task.uncancel()
        self._loop.call_soon(task.cancel, context=Context())

    def is_sound(self) -> bool:
        task = asyncio.current_task(self._loop)
        return task is None or not task.cancelling()

    def watch_readable(self, descriptor: int, callback: Callable[[], object], /) -> Watch:
        Context().run(self._loop.add_reader, descriptor, callback)
        return _Watch(lambda: self._loop.remove_reader(descriptor))

    def watch_writable(self, descriptor: int, callback: Callable[[], object], /) -> Watch:
        Context().run(self._loop.add_writer, descriptor, callback)
        return _Watch(lambda: self._loop.remove_writer(descriptor))

"""The asyncio adapter, for the standard loop and for uvloop alike."""

from __future__ import annotations

import asyncio
import types
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Awaitable, Callable, Collection, Generator
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from actorsched._kernel.backend import Future, Handle, Watch
    from actorsched._kernel.world import World


T = TypeVar("T")

_WAIT_FOR_OTHERS = {
    ("anyio._backends._asyncio", "__aexit__"),
    ("asyncio.taskgroups", "__aexit__"),
    ("asyncio.tasks", "_wait"),
    ("asyncio.tasks", "wait_for"),
}
"""The modules and names of what waits for the end of tasks."""


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


def _awaited(code: object, waits_on: object) -> Collection[Any] | None:
    """Those for whose end some code waits, in a group of asyncio or anyio or by name; None if it does not.

    Futures do not know for what they are. But whoever waits for others does so in one of a few functions.
    """
    frame: types.FrameType | None = None
    while code is not None:
        frame = getattr(code, "cr_frame", frame)
        code = getattr(code, "cr_await", None) or getattr(code, "gi_yieldfrom", None)
    if frame is None or (frame.f_globals.get("__name__"), frame.f_code.co_name) not in _WAIT_FOR_OTHERS:
        return None
    place = frame.f_locals
    group: Any = place.get("self")
    if getattr(group, "_on_completed_fut", None) is waits_on:
        members: Collection[Any] = group._tasks
        return members
    if place.get("waiter") is waits_on:  # of asyncio.wait, and of asyncio.wait_for in Python 3.11
        return place["fs"] if "fs" in place else (place["fut"],)
    return None


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
        self.world: World | None = getattr(loop, "world", None)
        self._tasks: set[asyncio.Task[object]] = set()  # asyncio itself keeps weak references only
        self.monotonic = loop.time
        self.call_soon: Callable[..., object] = loop.call_soon
        # The context of the calling thread is none of ours: it may even say that this were trio's loop.
        self.call_soon_threadsafe: Callable[..., object] = partial(
            loop.call_soon_threadsafe, context=copy_context()
        )
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

    def pending(self, task: Any, /) -> Future | None:
        if task.done():
            return None
        waits_on: Future | None = getattr(task, "_fut_waiter", task)  # a future has none
        return None if waits_on is None or waits_on.done() else waits_on

    def members(self, task: Any, code: object, waits_on: Any, /) -> Collection[object] | None:
        members: Any = getattr(waits_on, "_children", None)  # of a gathering
        if members is None and waits_on is not task:
            is_task = hasattr(waits_on, "get_coro")
            members = (waits_on,) if is_task else _awaited(code or task.get_coro(), waits_on)
        return None if members is None else [member for member in members if not member.done()]

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

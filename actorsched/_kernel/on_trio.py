"""The trio adapter.

Everything runs in system tasks: a carrier must not be a child of whatever scope the runtime was opened
in, or a cancellation of that scope would cut off the orderly shutdown that it is meant to start. The
runtime is closed before trio's main task ends, so no system task of ours is ever cut off by trio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from actorsched._kernel.backend import Watch
    from actorsched._kernel.world import World


class TrioFuture:
    """One value for one waiting task."""

    __slots__ = ("__weakref__", "_done", "_task", "_value")

    def __init__(self) -> None:
        self._done = False
        self._value: Any = None
        self._task: trio.lowlevel.Task | None = None

    def __repr__(self) -> str:
        return f"<TrioFuture {'done' if self._done else 'pending'}>"

    def done(self) -> bool:
        return self._done

    def set_result(self, value: Any, /) -> None:
        self._done = True
        self._value = value
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._done:
            self._task = trio.lowlevel.current_task()
            yield from trio.lowlevel.wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105
        return self._value

    def _abort(self, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        self._done = True
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


_FOREIGN = TrioFuture()
"""Stands for whatever else a task of trio may wait on."""
_END_OF_NURSERY = "Nursery._nested_child_finished.<locals>.aborted"
"""How a wait for the end of a nursery would be aborted."""


def _behind(abort: object) -> TrioFuture | None:
    """What a wait is for that would be aborted so."""
    if abort is None:
        return None
    waits_on: object = getattr(abort, "__self__", None)
    return waits_on if isinstance(waits_on, TrioFuture) else _FOREIGN


class _ScopeHandle:
    """A system task that can be ended: a timer or a watch."""

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope = trio.CancelScope()

    async def sleep_then(self, when: float, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        with self._scope:
            await trio.sleep_until(when)
            function(*args)

    async def watch(
        self, wait: Callable[[int], Awaitable[None]], descriptor: int, callback: Callable[[], object]
    ) -> None:
        with self._scope:
            while True:
                try:
                    await wait(descriptor)
                except (OSError, trio.ClosedResourceError):  # closed under us: its owner has let go of it
                    return
                if not self._scope.cancel_called:
                    callback()

    def cancel(self) -> None:
        self._scope.cancel()

    close = cancel


class TrioBackend:
    """The trio run in this thread."""

    name = "trio"

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.world: World | None = getattr(trio.lowlevel.current_clock(), "world", None)
        self.monotonic = trio.lowlevel.current_clock().current_time  # which threads may ask too
        self.create_future = TrioFuture
        self.breathe: Callable[[], Awaitable[None]] = trio.lowlevel.cancel_shielded_checkpoint

    def __repr__(self) -> str:
        return f"<backend on {self._token!r}>"

    def call_soon(self, function: Callable[..., object], /, *args: Any) -> None:
        self._token.run_sync_soon(function, *args)

    def call_soon_threadsafe(self, function: Callable[..., object], /, *args: Any) -> None:
        self._token.run_sync_soon(function, *args)

    def call_at(self, when: float, function: Callable[..., object], /, *args: Any) -> _ScopeHandle:
        handle = _ScopeHandle()
        trio.lowlevel.spawn_system_task(handle.sleep_then, when, function, args, name="actorsched timer")
        return handle

    def start_task(self, function: Callable[..., Awaitable[object]], /, *args: Any, name: str) -> None:
        trio.lowlevel.spawn_system_task(function, *args, name=name)

    def current_task(self) -> object:
        return trio.lowlevel.current_task()

    def run_as(self, task: Any, function: Callable[..., Any], /, *args: Any) -> Any:
        raise RuntimeError("a task of trio cannot stand in for another")

    def waits_on(self, trap: Any) -> TrioFuture | None:
        return _behind(getattr(trap, "abort_func", None))

    def pending(self, task: Any, /) -> TrioFuture | None:
        waits_on = _behind(task._abort_func)
        return None if waits_on is None or waits_on.done() else waits_on

    def members(self, task: Any, code: object, waits_on: object, /) -> Collection[object] | None:
        if getattr(task._abort_func, "__qualname__", "") != _END_OF_NURSERY:
            return None
        members: Collection[object] = task.child_nurseries[-1].child_tasks
        return members

    def cancel_again(self) -> None:
        raise RuntimeError("trio cancels by scopes, and again at every wait")

    def is_sound(self) -> bool:
        return True

    def watch_readable(self, descriptor: int, callback: Callable[[], object], /) -> Watch:
        return self._watch(trio.lowlevel.wait_readable, descriptor, callback)

    def watch_writable(self, descriptor: int, callback: Callable[[], object], /) -> Watch:
        return self._watch(trio.lowlevel.wait_writable, descriptor, callback)

    def _watch(
        self, wait: Callable[[int], Awaitable[None]], descriptor: int, callback: Callable[[], object]
    ) -> _ScopeHandle:
        handle = _ScopeHandle()
        trio.lowlevel.spawn_system_task(handle.watch, wait, descriptor, callback, name="actorsched watch")
        return handle

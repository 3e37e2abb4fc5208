"""Locks by name, for threads and for async functions of any event loop alike.

The law of this module: a lock has one holder, and is handed on in the order of asking. Nothing here knows of
tasks. A lock that nobody holds or asks for is forgotten.

How it works: whoever finds it taken leaves an event with it, and waits for that; whoever leaves gives it to
the first of these. Threads wait for a `threading.Event`; async functions have it set from the outside.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from actorsched.exceptions import DeadlockError
from actorsched.frontends._shared import SHARED

if TYPE_CHECKING:
    from types import TracebackType

_guard = threading.Lock()
"""Held for an instant only, never while anybody waits."""
_locks: WeakValueDictionary[str, NamedLock] = WeakValueDictionary()


def named_lock(name: str) -> NamedLock:
    """The lock of that name: the same one for everybody."""
    with _guard:
        lock = _locks.get(name)
        if lock is None:
            lock = _locks[name] = NamedLock(name)
        return lock


class NamedLock:
    """A lock: `with lock:` in a thread, `async with lock:` in an async function. Not reentrant."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._holder: object = None
        self._waiting: deque[tuple[threading.Event | _Call, object]] = deque()

    def __repr__(self) -> str:
        return f"<lock {self.name!r}, {'held' if self.locked() else 'free'}>"

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._holder is not None

    def acquire(self, timeout: float | None = None) -> bool:
        """Take it, and wait for it if need be. Answers whether it is taken.

        Args:
            timeout: How many seconds to wait at most; None for any time.

        Raises:
            DeadlockError: This thread holds it; or it is taken, and this is the thread of the shared
                runtime, where waiting would stop every task.
        """
        me, given = threading.current_thread(), threading.Event()
        if self._take(me, given):
            return True
        if SHARED.is_here:
            self._withdraw(given)
            raise DeadlockError(
                f"lock {self.name!r} is held by another, and waiting for it here would stop the event loop; "
                "use `async with` in async functions"
            )
        try:
            taken = given.wait(timeout)
        except BaseException:  # Ctrl-C
            self._give_up(given)
            raise
        return taken or not self._withdraw(given)

    def release(self) -> None:
        """Hand it on to whoever has waited longest.

        Raises:
            RuntimeError: Nobody holds it.
        """
        with _guard:
            if self._holder is None:
                raise RuntimeError(f"lock {self.name!r} is not held; acquire it before releasing it")
            given, self._holder = self._waiting.popleft() if self._waiting else (None, None)
        if given is not None:
            given.set()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def __aenter__(self) -> Self:
        me = _current_task()
        try:
            import asyncio

            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio's
            await self._acquire_in_thread(me)
            return self
        here = asyncio.Event()
        given = _Call(loop, here)
        if not self._take(me, given):
            try:
                await here.wait()
            except BaseException:
                self._give_up(given)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def _acquire_in_thread(self, me: object) -> None:
        given = threading.Event()
        if self._take(me, given):
            return
        import anyio.to_thread

        try:
            await anyio.to_thread.run_sync(given.wait, abandon_on_cancel=True)
        except BaseException:
            self._give_up(given)
            given.set()  # the thread that was abandoned ends
            raise

    # --------------------------------------------------------------------------------------------- the queue

    def _take(self, me: object, given: threading.Event | _Call) -> bool:
        with _guard:
            if self._holder is None:
                self._holder = me
                return True
            if self._holder is me:
                raise DeadlockError(
                    f"lock {self.name!r} was asked for by whoever holds it, who would wait for ever; "
                    "take it once, around all that needs it"
                )
            self._waiting.append((given, me))
            return False

    def _withdraw(self, given: threading.Event | _Call) -> bool:
        """Do not wait any more. False when it was given just now."""
        with _guard:
            before = len(self._waiting)
            self._waiting = deque(one for one in self._waiting if one[0] is not given)
            return len(self._waiting) < before

    def _give_up(self, given: threading.Event | _Call) -> None:
        if not self._withdraw(given):
            self.release()


class _Call:
    """An event of an asyncio loop, set from any thread."""

    __slots__ = ("_event", "_loop")

    def __init__(self, loop: Any, event: Any) -> None:
        self._loop = loop
        self._event = event

    def set(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # it is closed, and nobody waits there: as the task was cancelled, it gave up
            pass


def _current_task() -> object:
    from anyio import get_current_task

    return get_current_task().id

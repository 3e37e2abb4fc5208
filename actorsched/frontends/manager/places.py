"""Places: the event loops of callers, in which their functions run, seen from other threads.

The law of this module: how something gets into a loop that is not ours, and whether that loop has ended.
What is brought there, and what becomes of it, is not known here.

How it works: a place is found where it is, by `here`, and may then be called from anywhere. What many callers
bring at once wakes an asyncio loop only once.
"""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    Function = Callable[[], object]
    Main = Callable[[], Coroutine[Any, Any, None]]


class _Here(threading.local):
    """The place in which this thread was last found: mostly, it is there still."""

    of: object = None
    place: Place | None = None


_here = _Here()


class Place(ABC):
    """An event loop, and its thread."""

    def __init__(self) -> None:
        self.thread: int = threading.get_ident()

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether nothing will ever run there again."""

    @property
    def idle(self) -> bool:
        """Whether nothing runs there now; it may have ended, or be started again."""
        return self.ended

    @abstractmethod
    def call(self, function: Function) -> bool:
        """Have a function called there soon, from any thread. False when the loop has ended."""

    @abstractmethod
    def start(self, main: Main, context: Context) -> Function:
        """Start a task there, in its thread. Returns what cancels it, to be called there too."""


class AsyncioPlace(Place):
    """A loop of asyncio's kind."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._brought: deque[Function] = deque()
        self._tasks: set[object] = set()

    def __repr__(self) -> str:
        return f"<place in {self._loop!r}>"

    @property
    def ended(self) -> bool:
        """Whether it is closed."""
        return self._loop.is_closed()

    @property
    def idle(self) -> bool:
        """Whether it does not run now."""
        return not self._loop.is_running()

    def call(self, function: Function) -> bool:
        """Have a function called there soon, and wake the loop if nobody has done so."""
        brought = self._brought
        brought.append(function)
        if len(brought) == 1 or self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._take)
            except RuntimeError:  # it is closed
                brought.clear()
                return False
        return True

    def _take(self) -> None:
        brought = self._brought
        try:
            for _ in range(len(brought)):
                try:
                    brought[0]()
                finally:  # only now: whoever brings something while others are there does not wake us
                    brought.popleft()
        finally:
            if brought:
                self._loop.call_soon(self._take)

    def start(self, main: Main, context: Context) -> Function:
        """Start a task there."""
        task = self._loop.create_task(main(), context=context)
        self._tasks.add(task)  # which the loop itself holds weakly
        task.add_done_callback(self._tasks.discard)
        return task.cancel


class TrioPlace(Place):
    """A run of trio."""

    def __init__(self, token: Any) -> None:
        super().__init__()
        self._token = token

    def __repr__(self) -> str:
        return f"<place in {self._token!r}>"

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return not self.call(_nothing)

    def call(self, function: Function) -> bool:
        """Have a function called there soon."""
        import trio

        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            return False
        return True

    def start(self, main: Main, context: Context) -> Function:
        """Start a task there, outside of everybody's nurseries."""
        import trio

        scope = trio.CancelScope()

        async def within() -> None:
            with scope:
                await main()

        trio.lowlevel.spawn_system_task(within, context=context)
        return scope.cancel


def here() -> Place:
    """The place where this is asked.

    Raises:
        RuntimeError: No event loop of asyncio or trio runs here.
    """
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _in_trio()
    if _here.of is not loop or _here.place is None:
        _here.of, _here.place = loop, AsyncioPlace(loop)
    return _here.place


def _in_trio() -> Place:
    if "trio" in sys.modules:
        import trio

        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:  # it does not run in this thread
            pass
        else:
            if _here.of is not token or _here.place is None:
                _here.of, _here.place = token, TrioPlace(token)
            return _here.place
    raise RuntimeError(
        "no event loop of asyncio or trio runs in this thread; call this in an async function, "
        "or give it to asyncio.run"
    )


def _nothing() -> None:
    pass

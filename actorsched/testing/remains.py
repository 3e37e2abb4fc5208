"""What is left in a process and in an event loop: threads, children, descriptors; tasks and timers.

The law of this module: it compares what there is with what there was, and knows no runtime. Pools of threads
that a library keeps for its next use are no leak as long as they are idle.

How it works: each look answers with what there is, by something that stands for its identity. What was not
there before is left; but many a thing needs an instant to go, so whoever asks waits a little before it
believes that.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.lowlevel

from actorsched._kernel.choose import running_backend
from actorsched.testing.leaks import Left, Place, is_users, waits_at

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["LoopRemains", "Remains", "children", "descriptors", "threads", "warm_up"]

Look: TypeAlias = "dict[Any, Left]"

_PROCESS = Path("/proc/self")
_POOLS = ("asyncio_", "AnyIO worker thread", "Trio thread", "trio thread")
"""How the names of threads begin that a library keeps for what comes next."""
_PATIENCE = 1.0
"""For how many seconds what is left may go by itself."""
_LOOK = 0.005
_TURNS = 5
"""So many turns of the loop things have to go before anything else is tried."""
_COMMAND = 120


# ------------------------------------------------------------------------------------------ in the process


def threads() -> Look:
    """The threads besides the main one, by their numbers."""
    frames = sys._current_frames()
    return {
        thread.ident: _thread(thread, frames.get(thread.ident or 0))
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not _is_idle(thread, frames.get(thread.ident or 0))
    }


def _is_idle(thread: threading.Thread, frame: FrameType | None) -> bool:
    """Whether it belongs to a pool, and has none of the user's code to run."""
    return thread.name.startswith(_POOLS) and _users_line(frame) is None


def _users_line(frame: FrameType | None) -> Place | None:
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
        frame = frame.f_back
    return None


def _thread(thread: threading.Thread, frame: FrameType | None) -> Left:
    place = _users_line(frame)
    if place is None and frame is not None:
        place = Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
    details = () if place is None else (f"it is at {place}",)
    return Left("thread", repr(thread.name), "daemon" if thread.daemon else "running", None, details)


def children() -> Look:
    """The child processes, by their numbers and when they began, for a command may change."""
    found: Look = {}
    tracker = _trackers_pid()
    for task in _listed("task"):
        with contextlib.suppress(OSError):  # a thread may end while we look
            for pid in (_PROCESS / "task" / task / "children").read_text().split():
                command = _command_of(pid)
                if int(pid) != tracker:
                    found[int(pid), _beginning_of(pid)] = Left("process", pid, command)
    return found


def _beginning_of(pid: str) -> str:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _trackers_pid() -> int | None:
    """The process with which multiprocessing tidies up when Python ends."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(getattr(module, "_resource_tracker", None), "_pid", None)


def _trackers_descriptor() -> int | None:
    module = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(getattr(module, "_resource_tracker", None), "_fd", None)


def _command_of(pid: str) -> str:
    try:
        command = Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return "gone"
    return command.replace(b"\0", b" ").decode(errors="replace").strip()[:_COMMAND] or "a zombie"


def descriptors() -> Look:
    """The open descriptors, by their numbers and what they lead to."""
    found: Look = {}
    tracker = _trackers_descriptor()
    for number in _listed("fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            target = os.readlink(_PROCESS / "fd" / number)  # noqa: PTH115 # no path need be made of it
            if int(number) != tracker:
                found[int(number), target] = Left("descriptor", number, target)
    return found


def _listed(folder: str) -> list[str]:
    """The names in a folder under /proc/self; none where there is no such thing."""
    try:
        return os.listdir(_PROCESS / folder)  # noqa: PTH208 # likewise
    except FileNotFoundError:
        return []


@functools.cache
def warm_up(backend: str, *, uvloop: bool) -> None:
    """Run an event loop once: what the first of its kind keeps for good is no leak of a test.

    It is run in a thread of its own, because async fixtures may have begun one in this thread.
    """
    options = {"use_uvloop": uvloop} if backend == "asyncio" else {}
    run = functools.partial(anyio.run, anyio.lowlevel.checkpoint, backend=backend, backend_options=options)
    thread = threading.Thread(target=contextvars.Context().run, args=(run,))
    thread.start()
    thread.join()


class Remains:
    """What is in the process now, to be compared with what is there later.

    Args:
        looks: At what.
    """

    def __init__(self, looks: Iterable[Callable[[], Look]] = (threads, children, descriptors)) -> None:
        self._looks = [(look, set(look())) for look in looks]

    def __repr__(self) -> str:
        return f"<what was there: {sum(len(before) for _, before in self._looks)} things>"

    def now(self) -> list[Left]:
        """What was not there before."""
        return [left for look, before in self._looks for key, left in look().items() if key not in before]

    def wait(self) -> list[Left]:
        """The same, after it had time to go. No event loop may be running here."""
        left = self.now()
        if left:
            gc.collect()  # a dropped loop or socket may sit in a reference cycle
        give_up = monotonic() + _PATIENCE
        while left and monotonic() < give_up:
            sleep(_LOOK)
            left = self.now()
        return left


# ------------------------------------------------------------------------------------------ in the event loop


class LoopRemains(Remains):
    """The same within an event loop that goes on, with its tasks and timers; and what only its handler has.

    Args:
        whole: Whether to look at anything but what reaches the handler of exceptions.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self.unhandled: list[tuple[str, BaseException | None]] = []
        """What asyncio had to say of exceptions that nobody was there to receive."""
        on_asyncio = running_backend().name == "asyncio"
        self._loop: Any = _catching(self.unhandled) if on_asyncio else None
        self._tasks_before: set[Any] = set(self._tasks()) if on_asyncio and whole else set()
        looks = [threads, children, descriptors]
        looks += [self._tasks, self._timers] if on_asyncio else [_trio_tasks]
        self._whole = whole
        super().__init__(looks if whole else ())

    async def wait_in_loop(self) -> list[Left]:
        """What is left, after it had time to go."""
        left = self.now()
        for _ in range(_TURNS):
            if left:
                await anyio.lowlevel.checkpoint()
                left = self.now()
        if left:
            gc.collect()  # it takes long, and seldom comes to that
        give_up = monotonic() + _PATIENCE
        while left and monotonic() < give_up:
            await anyio.sleep(_LOOK)
            left = self.now()
        return left

    def close(self) -> None:
        """Nothing is caught any more."""
        if self._loop is not None:
            loop, handler = self._loop
            loop.set_exception_handler(handler)

    async def end_tasks(self) -> None:
        """Cancel the tasks of asyncio that are left, and let them have a moment."""
        if self._loop is None or not self._whole:
            return
        tasks = [task for task in self._tasks() if task not in self._tasks_before]
        for task in tasks:
            task.cancel()
        give_up = monotonic() + _PATIENCE
        while not all(task.done() for task in tasks) and monotonic() < give_up:  # noqa: ASYNC110 # nobody tells
            await anyio.sleep(_LOOK)

    def _tasks(self) -> Look:
        import asyncio

        return {
            task: Left(
                "backend task",
                repr(task.get_name()),
                "waiting",
                None,
                tuple(f"it is at {place}" for place in waits_at(task.get_coro())),
            )
            for task in asyncio.all_tasks(self._loop[0])
            if not task.done()
        }

    def _timers(self) -> Look:
        """The calls that asyncio's own loop is to make later; other loops do not tell."""
        loop = self._loop[0]
        return {
            handle: Left("timer", f"of the event loop: {_callback(handle)}", f"in {_until(handle, loop):g} s")
            for handle in getattr(loop, "_scheduled", ())
            if not handle.cancelled() and _is_users_callback(handle)
        }


def _catching(unhandled: list[tuple[str, BaseException | None]]) -> tuple[Any, Any]:
    import asyncio

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def catch(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        unhandled.append((str(context.get("message")), context.get("exception")))

    loop.set_exception_handler(catch)
    return loop, before


def _until(handle: Any, loop: Any) -> float:
    return round(max(0.0, float(handle.when()) - float(loop.time())), 3)


def _callback(handle: Any) -> str:
    callback = getattr(handle, "_callback", None)
    return str(getattr(callback, "__qualname__", callback))


def _is_users_callback(handle: Any) -> bool:
    """Whether somebody asked for it, and not a library for itself, such as for the end of a timeout."""
    callback = getattr(handle, "_callback", None)
    function = getattr(callback, "__func__", callback)
    code = getattr(function, "__code__", None)
    return code is not None and is_users(code.co_filename)


def _trio_tasks() -> Look:
    import trio

    found: Look = {}
    waiting: list[Any] = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        nurseries = [*task.child_nurseries]
        found[task] = Left(
            "backend task",
            repr(task.name),
            "waiting",
            None,
            tuple(f"it is at {place}" for place in waits_at(task.coro)),
        )
        waiting += [child for nursery in nurseries for child in nursery.child_tasks]
    return found

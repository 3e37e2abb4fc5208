"""Events: what becomes of tasks, told to handlers.

The law of this module: each handler gets its events one at a time, in the order in which they came, and never
in the thread of the shared runtime, which nobody may hold up. What a handler raises is logged, and stops
nothing.

How it works: a handler has a queue, for all the types that it has subscribed to. Who puts something into an
empty queue sees to it that the queue is emptied. A plain handler is called right there, where that is a
thread of the user's; else in a thread that ends when the queue is empty. An async handler runs in the loop in
which it was subscribed, as long as that runs; otherwise in such a thread, in a loop of its own.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from enum import StrEnum
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from actorsched.exceptions import shown
from actorsched.frontends import _hearing
from actorsched.frontends._functions import is_async
from actorsched.frontends._shared import SHARED
from actorsched.frontends._vocabulary import TaskArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorsched.frontends._jobs import Job
    from actorsched.frontends.manager.places import Place

__all__ = ["EventType", "Handler", "TaskEvent", "delivered", "subscribe", "unsubscribe"]

_log = logging.getLogger("actorsched")
_inside: ContextVar[bool] = ContextVar("actorsched_manager_handler", default=False)
"""Whether the code that runs is a handler's."""


class EventType(StrEnum):
    """What handlers can be told."""

    TASK_CREATED = "task_created"
    TASK_STARTED = "task_started"
    TASK_COMPLETED = "task_completed"
    TASK_FAILED = "task_failed"
    TASK_CANCELLED = "task_cancelled"
    TASK_PROGRESS = "task_progress"


_TYPES = {
    "created": EventType.TASK_CREATED,
    "started": EventType.TASK_STARTED,
    "progress": EventType.TASK_PROGRESS,
    "completed": EventType.TASK_COMPLETED,
    "failed": EventType.TASK_FAILED,
    "deadline_missed": EventType.TASK_FAILED,
    "cancelled": EventType.TASK_CANCELLED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskEvent:
    """Something that has become of a task, of whichever front end.

    Attributes:
        type: What.
        task_id: The id of the task.
        name: Its name.
        time: When, in seconds since the epoch.
        data: What else there is to know. Of TASK_STARTED: `attempt`, from 1. Of TASK_PROGRESS: `progress`
            and `message`. Of TASK_COMPLETED: `result`. Of TASK_FAILED and TASK_CANCELLED: `error`.
    """

    type: EventType
    task_id: str
    name: str
    time: float
    data: Mapping[str, Any]


Handler = Callable[[TaskEvent], object]


def subscribe(event_type: EventType, handler: Handler) -> bool:
    """Have a function called with each event of a type, from now on.

    Args:
        event_type: The type.
        handler: A plain or an async function of one `TaskEvent`. Subscribed to several types, it gets the
            events of all of them in order.

    Returns:
        Whether it was not subscribed to this type before.

    Raises:
        TaskArgumentError: The type is none, or the handler cannot be called.
    """
    kind = _checked(event_type, handler)
    with _lock:
        listener = next((one for one in _listeners if one.handler == handler), None)
        if listener is None:
            listener = _Listener(handler)
            _listeners.append(listener)
        new = kind not in listener.types
        listener.types.add(kind)
        if _tell not in _hearing.WATCHERS:
            _hearing.WATCHERS.append(_tell)
    return new


def unsubscribe(event_type: EventType, handler: Handler) -> bool:
    """Have it called for this type no more; what has happened before is still told.

    Returns:
        Whether it was subscribed.

    Raises:
        TaskArgumentError: The type is none, or the handler cannot be called.
    """
    kind = _checked(event_type, handler)
    with _lock:
        listener = next((one for one in _listeners if one.handler == handler), None)
        if listener is None or kind not in listener.types:
            return False
        listener.types.discard(kind)
        if not listener.types:
            _listeners.remove(listener)
        if not _listeners:
            _hearing.WATCHERS.remove(_tell)
    return True


def _checked(event_type: object, handler: object) -> EventType:
    if not callable(handler):
        raise TaskArgumentError(
            f"handler={shown(handler)} cannot be called; give a function of one event, plain or async"
        )
    try:
        return EventType(event_type)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except ValueError:
        names = ", ".join(f"EventType.{kind.name}" for kind in EventType)
        raise TaskArgumentError(
            f"event_type={shown(event_type)} is no type of event; choose from {names}"
        ) from None


# --------------------------------------------------------------------------------------------------- delivery


class _Listener:
    """A handler, and what it is still to be told."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.types: set[EventType] = set()
        self.is_async = is_async(handler)
        self.thread: threading.Thread | None = None
        self._place = _present_place() if self.is_async else None
        self._context = copy_context()
        self._lock = threading.Lock()
        self._queue: deque[TaskEvent] = deque()
        self._busy = False
        self._is_put_off = False
        self._waiting: list[Callable[[], object]] = []

    def tell(self, event: TaskEvent) -> None:
        with self._lock:
            self._queue.append(event)
            if self._busy:
                return
            self._busy = True
        self._begin()

    def _begin(self) -> None:
        place = self._place
        if place is not None and not place.idle and place.call(self._begin_there):
            return
        if self.is_async or SHARED.is_here:
            self._start_thread()
        else:
            self._call_all()

    def _start_thread(self) -> None:
        target = self._await_in_thread if self.is_async else self._call_all
        thread = threading.Thread(target=target, name="actorsched events")
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, and from Python 3.12 on it starts none by then
            if self.is_async:
                self._put_off()
            else:
                self._call_all()
        else:
            self.thread = thread

    def _put_off(self) -> None:
        """There is no loop for it any more, and no thread for another one: it is told when all is over."""
        with self._lock:
            self._is_put_off = True
            waiting, self._waiting = self._waiting, []
        for function in waiting:
            function()

    def finish(self) -> None:
        """Tell what was put off, in this thread; return when all is told."""
        if self._is_put_off:
            self._is_put_off = False
            self._await_in_thread()
        over = threading.Event()
        self.when_told(over.set)
        while not over.wait(0.5):
            if self.thread is None or not self.thread.is_alive():
                break

    def _begin_there(self) -> None:
        assert self._place is not None
        self._place.start(self._await_all, self._context.copy())

    def _next(self) -> TaskEvent | None:
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._busy = False
            waiting, self._waiting = self._waiting, []
        for function in waiting:
            function()
        return None

    def _call_all(self) -> None:
        copy_context().run(self._call_each)

    def _call_each(self) -> None:
        _inside.set(True)
        while (event := self._next()) is not None:
            try:
                self.handler(event)
            except Exception:
                self._complain(event)

    def _await_in_thread(self) -> None:
        import asyncio

        self._context.copy().run(asyncio.run, self._await_all())

    async def _await_all(self) -> None:
        _inside.set(True)
        while (event := self._next()) is not None:
            try:
                answer: Any = self.handler(event)
                await answer
            except Exception:
                self._complain(event)
            except BaseException:  # its loop ends: the rest is told elsewhere
                self._place = None
                if self._queue:
                    self._start_thread()
                else:
                    self._next()
                raise

    def _complain(self, event: TaskEvent) -> None:
        _log.exception(
            "handler %s of events failed at %s of task %r (%s)",
            shown(self.handler),
            event.type,
            event.name,
            event.task_id,
        )

    def when_told(self, function: Callable[[], object]) -> None:
        """Have a function called when nothing is left to be told; at once if that is so."""
        with self._lock:
            if self._busy and not self._is_put_off:
                self._waiting.append(function)
                return
        function()


def _present_place() -> Place | None:
    from actorsched.frontends.manager.places import here

    try:
        return here()
    except RuntimeError:
        return None


_lock = threading.Lock()
"""Held while somebody subscribes."""
_listeners: list[_Listener] = []


def _tell(kind: str, job: Job, about: dict[str, Any]) -> None:
    """A watcher of jobs."""
    event_type = _TYPES.get(kind)
    if event_type is None:
        return
    if event_type is EventType.TASK_STARTED:
        for one in job.after:  # whose end may not have been told yet
            one.look()
    listeners = [one for one in _listeners.copy() if event_type in one.types]
    if listeners:
        data = MappingProxyType(_data(event_type, job, about))
        event = TaskEvent(type=event_type, task_id=job.id, name=job.name, time=time(), data=data)
        for listener in listeners:
            listener.tell(event)


def _data(event_type: EventType, job: Job, about: dict[str, Any]) -> dict[str, Any]:
    outcome = job.outcome
    match event_type:
        case EventType.TASK_STARTED:
            return {"attempt": about.get("attempt", 1)}
        case EventType.TASK_PROGRESS:
            return {"progress": about.get("fraction"), "message": about.get("message")}
        case EventType.TASK_COMPLETED:
            return {"result": None if outcome is None else outcome.value}
        case EventType.TASK_FAILED | EventType.TASK_CANCELLED:
            return {"error": job.error}
        case EventType.TASK_CREATED:
            return {}


async def delivered(place: Place) -> None:
    """Wait until all handlers know what has happened so far; a handler does not wait for itself."""
    if not _listeners or _inside.get():
        return
    import anyio

    for listener in _listeners.copy():
        over = anyio.Event()
        listener.when_told(lambda over=over: place.call(over.set))  # type: ignore[misc]
        await over.wait()


def _finish() -> list[str]:
    """The interpreter ends, all tasks are over: what has become of them is still told."""
    for listener in _listeners.copy():
        listener.finish()
    return []


SHARED.reporters.append(_finish)

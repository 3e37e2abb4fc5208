"""What belongs to a task, and is cleaned up when it ends, however that is.

The law of this module: what was registered is cleaned up exactly once, the last first; a failure there is
logged, and the rest goes on. The event loop of the runtime does not wait for it.

How it works: the first resource of a task has its end listened to. Where that comes in the runtime's own
thread, the cleaning becomes a task in another one, so that the end of the program waits for it too.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from actorsched.exceptions import ActorschedError
from actorsched.frontends._shared import SHARED
from actorsched.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.frontends._jobs import Job
    from actorsched.runtime import Runtime

_log = logging.getLogger("actorsched.task")


class _Held:
    """What is to be cleaned up after one task."""

    __slots__ = ("cleaner", "cleanups", "ended", "over")

    def __init__(self) -> None:
        self.cleanups: list[Callable[[], object]] = []
        self.ended = False
        """Whether the task has ended, so that nothing is added any more."""
        self.cleaner: threading.Thread | None = None
        self.over = threading.Event()


class Resources:
    """The resources of all tasks that have some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Job, _Held] = {}
        """By task, until all is cleaned up."""

    def add(self, job: Job, cleanup: Callable[[], object]) -> bool:
        """Have something called when a task has ended. False when it has: then it is called at once."""
        with self._lock:
            held = self._held.get(job)
            first = held is None and job.outcome is None
            if first:
                held = self._held[job] = _Held()
            in_time = held is not None and not held.ended
            if held is not None and in_time:
                held.cleanups.append(cleanup)
        if first:
            job.add_done_callback(self._ended)
        elif not in_time:
            _call(job, cleanup)
        return in_time

    def are_held(self, job: Job) -> bool:
        """Whether something is still to be cleaned up."""
        return job in self._held

    def wait(self, job: Job, timeout: float | None) -> bool:
        """Wait until what a task has left is cleaned up, unless whoever asks is to do that."""
        held = self._held.get(job)
        if held is None or SHARED.is_here or held.cleaner is threading.current_thread():
            return True
        return held.over.wait(timeout)

    def _ended(self, job: Job) -> None:
        held = self._held[job]
        with self._lock:
            held.ended = True
        if SHARED.is_here:
            SHARED.call_if_there(self._clean_elsewhere, job)
        else:
            self._clean(job)

    def _clean_elsewhere(self, runtime: Runtime, job: Job) -> None:
        try:
            task = Task(f"clean up after {job.name}", self._clean, (job,), host="thread")
            runtime.submit_nowait(task).add_done_callback(lambda _: self._clean(job))  # if it was cancelled
        except ActorschedError:  # it is closing, and takes nothing more
            self._clean(job)

    def _clean(self, job: Job) -> None:
        held = self._held.get(job)
        if held is None or held.cleaner is not None:
            return
        held.cleaner = threading.current_thread()
        try:
            for cleanup in reversed(held.cleanups):
                _call(job, cleanup)
        finally:
            del self._held[job]
            held.over.set()


def _call(job: Job, cleanup: Callable[[], object]) -> None:
    try:
        cleanup()
    except Exception:
        _log.exception("cleaning up after task %r (%s) failed at %r", job.name, job.id, cleanup)

"""What belongs to a task, and is cleaned up when it ends, however that is.

The law of this module: what was registered is cleaned up exactly once, the last first; a failure there is
logged, and the rest goes on. The event loop of the runtime never waits for it.

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


class Resources:
    """The resources of all tasks that have some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Job, list[Callable[[], object]]] = {}
        self._over: dict[Job, threading.Event] = {}
        """For tasks that have ended, and whose resources are being cleaned up."""

    def add(self, job: Job, cleanup: Callable[[], object]) -> bool:
        """Have something called when a task has ended. False when it has: then it is called at once."""
        with self._lock:
            held = self._held.get(job)
            first = held is None and job.outcome is None
            if first:
                held = self._held[job] = []
            if held is not None:
                held.append(cleanup)
        if first:
            job.add_done_callback(self._ended)
        elif held is None:
            _clean(job, [cleanup])
        return held is not None

    def are_held(self, job: Job) -> bool:
        """Whether something is still to be cleaned up."""
        return job in self._held or job in self._over

    def wait(self, job: Job, timeout: float | None) -> bool:
        """Wait until what a task has left is cleaned up; at once where whoever asks is to do it."""
        over = self._over.get(job)
        return over is None or SHARED.is_here or over.wait(timeout)

    def _ended(self, job: Job) -> None:
        with self._lock:
            self._over[job] = threading.Event()
            cleanups = self._held.pop(job)
        if SHARED.is_here:
            SHARED.call_if_there(self._clean_elsewhere, job, cleanups)
        else:
            self._clean(job, cleanups)

    def _clean_elsewhere(self, runtime: Runtime, job: Job, cleanups: list[Callable[[], object]]) -> None:
        try:
            runtime.submit_nowait(
                Task(f"clean up after {job.name}", self._clean, (job, cleanups), host="thread")
            )
        except ActorschedError:  # it is closing, and takes nothing more
            self._clean(job, cleanups)

    def _clean(self, job: Job, cleanups: list[Callable[[], object]]) -> None:
        try:
            _clean(job, cleanups)
        finally:
            with self._lock:
                over = self._over.pop(job)
            over.set()


def _clean(job: Job, cleanups: list[Callable[[], object]]) -> None:
    while cleanups:
        cleanup = cleanups.pop()
        try:
            cleanup()
        except Exception:
            _log.exception("cleaning up after task %r (%s) failed at %r", job.name, job.id, cleanup)

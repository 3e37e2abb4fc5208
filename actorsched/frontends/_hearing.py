"""What becomes of jobs, told to those who want to know: front ends with events of their own, and the log.

The law of this module: whoever watches changes nothing, and an error of theirs stops nobody. They are told in
whatever thread it happens.

How it works: a job tells of its own settlement and progress. That its task has started, reports how far it
is, or is tried again, is heard from the runtime; that costs something, so it is listened to only when
somebody wants to know.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from actorsched.exceptions import DependencyFailed
from actorsched.frontends._shared import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.events import Event
    from actorsched.frontends._jobs import Job
    from actorsched.runtime import Runtime
    from actorsched.task import Task, TaskRef

WATCHERS: list[Callable[[str, Job, dict[str, Any]], object]] = []
"""Called with "created", "started", "progress", "retrying" or a final status, the job, and what else there is
to know."""

_running: dict[str, Job] = {}
"""Jobs by the ids of their tasks, as long as those have not ended. In the runtime's thread."""
_early: deque[Event] = deque(maxlen=8)
"""What was told of tasks that are no job's, or not known to be."""
_listening: Callable[[], None] | None = None
"""Ends the subscription to the events of the runtime, if there is one."""

_SAID_AT_INFO = ("started", "completed")
_log = logging.getLogger("actorsched.task")


def tell(kind: str, job: Job, about: dict[str, Any]) -> None:
    """Tell those who watch."""
    for watcher in WATCHERS:
        try:
            watcher(kind, job, about)
        except Exception:
            logging.getLogger("actorsched").exception("a watcher of tasks failed at %s of %r", kind, job)


# ------------------------------------------------------------------------------------------- from the runtime


def listen(runtime: Runtime, prepared: Task[Any]) -> bool:
    """See to it that what becomes of a task is heard of, if anybody wants to know. Answers whether it is."""
    global _listening  # noqa: PLW0603 # as there is one shared runtime
    _early.clear()
    if _listening is None and (
        len(WATCHERS) > 1 or _log.isEnabledFor(logging.INFO) or prepared.options.retry.attempts > 1
    ):
        _listening = runtime.subscribe(("started", "progress", "retrying"), _told)
    return _listening is not None


def begins(ref: TaskRef[Any], job: Job) -> None:
    """This task, which was just submitted, is that of a job: whatever is told of it is about the job."""
    _running[ref.id] = job
    for event in list(_early):  # what was told of it before anybody could know of whom
        if event.id == ref.id:
            _told(event)


def ends(ref: TaskRef[Any]) -> None:
    """No more will be told of this task."""
    if _running:
        _running.pop(ref.id, None)


def forget_all() -> None:
    """A runtime has begun, to which nobody listens; or this is a fork, in which there is none."""
    global _listening  # noqa: PLW0603 # as there is one shared runtime
    _listening = None
    _running.clear()


def _told(event: Event) -> None:
    job = _running.get(event.id)
    if job is None:
        _early.append(event)  # perhaps of one that is just being submitted
    elif job.outcome is None:
        if event.kind == "started":
            for upstream in job.after:  # that they have ended comes first
                upstream.look()
        tell(event.kind, job, dict(event.details))


# ------------------------------------------------------------------------------------------------ to the log


def _write(kind: str, job: Job, about: dict[str, Any]) -> None:
    if kind in _SAID_AT_INFO and not _log.isEnabledFor(logging.INFO):  # the usual case
        return
    extra = {"task_id": job.id, "task": job.name}
    match kind:
        case "started" | "completed":
            _log.info("task %r (%s) %s", job.name, job.id, kind, extra=extra)
        case "retrying":
            text = "task %r (%s) is tried again in %g s: %s"
            _log.warning(text, job.name, job.id, about["delay"], about["error"], extra=extra)
        case "failed" | "deadline_missed":
            error = job.error
            shown = None if isinstance(error, DependencyFailed) else error  # which is not its own
            _log.error("task %r (%s) failed: %s", job.name, job.id, error, exc_info=shown, extra=extra)
        case _:
            pass


WATCHERS.append(_write)
SHARED.starters.append(lambda _: forget_all())

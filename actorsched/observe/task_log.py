"""The life of tasks as log records, on the logger `actorsched.task`.

The law of this module: it listens to events and logs them; it keeps the moment at which a running task began,
and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from actorsched.checks import wrong_type

if TYPE_CHECKING:
    from actorsched.events import Event, EventKind
    from actorsched.runtime import Runtime

__all__ = ["log_tasks"]

_log = logging.getLogger("actorsched.task")

_LEVELS: Final[dict[EventKind, int]] = {
    "started": logging.INFO,
    "completed": logging.INFO,
    "cancelled": logging.INFO,
    "retrying": logging.WARNING,
    "failed": logging.ERROR,
    "deadline_missed": logging.ERROR,
}


def log_tasks(rt: Runtime, only: Callable[[Event], object] | None = None) -> Callable[[], None]:
    """Log the life of tasks, on the logger `actorsched.task`: from now on, until the runtime has closed.

    Started, completed and cancelled are INFO, retrying is WARNING, failed and a missed deadline are ERROR.
    The records carry `task` (the name), `task_id`, `attempt` and, of what has ended, `seconds` since it last
    began.

    Args:
        rt: An entered runtime.
        only: Takes an event, and says whether it is to be logged; None for all.

    Returns:
        A function that ends it.

    Raises:
        TypeError: `only` cannot be called.
        RuntimeError: This is another thread than that of the runtime.
    """
    if only is not None and not callable(only):
        raise wrong_type("only", only, "give a function that takes an Event, or None")
    return rt.subscribe(tuple(_LEVELS), _TaskLog(only))


class _TaskLog:
    """Called with each event."""

    def __init__(self, only: Callable[[Event], object] | None) -> None:
        self._only = only
        self._running: dict[str, tuple[float, int]] = {}  # when, and which attempt

    def __call__(self, event: Event) -> None:
        begun, attempt = self._running.get(event.id, (None, 0))
        if event.kind == "started":
            begun, attempt = None, int(event.details.get("attempt", attempt + 1))
            self._running[event.id] = event.time, attempt
        elif event.details.get("final") or event.kind in ("completed", "failed", "cancelled"):
            self._running.pop(event.id, None)
        level = _LEVELS[event.kind]
        if not _log.isEnabledFor(level) or (self._only is not None and not self._only(event)):
            return
        extra: dict[str, object] = {"task": event.name, "task_id": event.id}
        if attempt:
            extra["attempt"] = attempt
        if begun is not None:
            extra["seconds"] = round(event.time - begun, 6)
        why = event.details.get("error")
        what = f"{event.kind.replace('_', ' ')}{'' if why is None else f': {why}'}"
        _log.log(level, "task %r %s", event.name, what, extra=extra)

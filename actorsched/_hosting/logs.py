"""Log records that cross from a host to its parent.

The law of this module: both halves of that crossing, and nothing else about logging.

How it works: a handler on the host's root logger turns each record into a `Log` frame, which goes out at
once, for the record before a crash is the one that matters. Levels are the parent's; when they change, a host
is told before its next task or call. Importing `logging` takes a host longer than many a task, so the handler
is put in place when somebody else imports it (`imports`). The parent turns the frame back into a record and
gives it to the logger of its name.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from actorsched._hosting.imports import when_imported
from actorsched._hosting.transfer import dumps, loads
from actorsched._hosting.wire import Log
from actorsched._kernel.current import CURRENT
from actorsched.exceptions import NotTransferable

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from actorsched._hosting.port import Port

_STANDARD = frozenset(
    {
        "args", "asctime", "created", "exc_info", "exc_text", "filename", "funcName", "levelname", "levelno",
        "lineno", "message", "module", "msecs", "msg", "name", "pathname", "process", "processName",
        "relativeCreated", "stack_info", "taskName", "thread", "threadName",
    }
)  # fmt: skip


def pass_on(frame: Log, pid: int, host: str, written_by: Mapping[str, object]) -> None:
    """Give a record to the logger that it was meant for, if that wants it.

    A filter or handler that fails is told of as `logging` does it: nobody who called could be told.

    Args:
        frame: What arrived.
        pid: The process id of the host.
        host: The name of the host.
        written_by: What else it carries: `task`, `task_id` and `attempt`, or `actor`; nothing when it is not
            known any more whose code wrote it.
    """
    import logging

    logger = logging.getLogger(frame.logger)
    if not logger.isEnabledFor(frame.level):
        return
    record = record_of(frame, pid, host)
    record.__dict__.update(written_by)
    try:
        logger.handle(record)
    except Exception:
        logging.Handler().handleError(record)


def record_of(frame: Log, pid: int, host: str) -> logging.LogRecord:
    """The record as it was made in the host: its process is the host's.

    Args:
        frame: What arrived.
        pid: The process id of the host.
        host: The name of the host.
    """
    import logging

    record = logging.LogRecord(
        frame.logger,
        frame.level,
        frame.path,
        frame.line,
        frame.message,
        None,
        None,
        frame.function,
        frame.stack,
    )
    record.exc_text = frame.exception
    record.created = frame.created
    record.msecs = int((frame.created - int(frame.created)) * 1000) + 0.0
    record.process = pid
    record.processName = host
    record.threadName = frame.thread
    record.host = "process"
    if frame.extra:
        record.__dict__.update(loads(frame.extra, "the extras of a log record"))
    return record


_MARK = "actorsched"
_versions = 0


def levels_version() -> int:
    """A number that changes with the levels of loggers.

    Whenever a level changes, `logging` empties the caches in which loggers keep what is enabled. So what is
    put into one is gone then; asking all loggers would take too long.
    """
    global _versions  # noqa: PLW0603 - there is one `logging`
    logging = sys.modules.get("logging")
    cache: dict[Any, bool] | None = None if logging is None else getattr(logging.root, "_cache", None)
    if cache is not None and _MARK not in cache:
        cache[_MARK] = True
        _versions += 1
    return _versions


# ------------------------------------------------------------------------------------------------ in the host

_levels: dict[str, int] = {}
"""Those that the parent has told of."""


def catch_logs(port: Port, levels: dict[str, int]) -> None:
    """Send what is logged in this process to the parent, from the moment on that logging is imported."""
    _levels.update(levels)
    when_imported("logging", lambda: _install(port))


def take_levels(levels: dict[str, int]) -> None:
    """The parent's levels have changed. Those that did not stay as code in this host has set them."""
    changed = {name: 0 for name in _levels if name not in levels}
    changed |= {name: level for name, level in levels.items() if _levels.get(name) != level}
    _levels.clear()
    _levels.update(levels)
    if "logging" in sys.modules:
        _set(changed)


def _set(levels: dict[str, int]) -> None:
    import logging

    for name, level in levels.items():
        if name == "disabled":
            logging.disable(level)
        else:
            logging.getLogger(name or None).setLevel(level)


def _install(port: Port) -> None:
    import logging

    class HostHandler(logging.Handler):
        """Turns records into frames."""

        def emit(self, record: logging.LogRecord) -> None:
            if port.silent:  # in a fork of the host: warnings are shown, as where no logging was set up
                if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                    logging.lastResort.handle(record)
                return
            try:
                port.say(_frame(record))
                port.flush()  # now: whatever comes next may be the crash that it warns of
            except Exception:  # a record must never break the code that wrote it
                self.handleError(record)

    logging.root.addHandler(HostHandler())
    _set(_levels)


def _frame(record: logging.LogRecord) -> Log:
    return Log(
        record.name,
        record.levelno,
        record.getMessage(),
        record.created,
        record.pathname,
        record.lineno,
        record.funcName or "",
        record.threadName or "",
        getattr(CURRENT.get(), "origin", 0),
        _exception_text(record),
        record.stack_info,
        _extra(record),
    )


def _exception_text(record: logging.LogRecord) -> str | None:
    if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
        from traceback import format_exception

        return "".join(format_exception(*record.exc_info)).rstrip("\n")
    return record.exc_text


def _extra(record: logging.LogRecord) -> bytes:
    extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    if not extra:
        return b""
    try:
        payload = dumps(extra, "the extras of a log record")
    except NotTransferable:
        payload = dumps({name: repr(value) for name, value in extra.items()}, "the extras of a log record")
    return payload if isinstance(payload, bytes) else b""

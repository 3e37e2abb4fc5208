"""What a log record says of who wrote it, and how it becomes a line.

The law of this module: it turns records into text, in the thread that logs, and writes nothing. A record that
cannot be turned into text becomes a line that says so.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from actorsched.context import current
from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["JsonLines", "TaskFields", "TextLines", "line_of"]

FIELDS: Final = ("task", "task_id", "actor", "attempt", "host")
"""What `TaskFields` adds, in the order in which it is shown."""

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"asctime", "message", "taskName", *FIELDS}


class TaskFields(logging.Filter):
    """A filter that lets everything pass, and notes on each record which task or actor wrote it.

    Put it on a handler of your own, whose formatter may then use the attributes. A record that has one of the
    first three already, because `current().log` or a host has put it there, keeps what it has.

    * `task`, `task_id`, `attempt`: the name of the task, its id, and the number of the attempt; of a handler
      of an actor instead `actor`, its name.
    * `host`: where the code ran: "loop", "thread" or "process". Which process, and which thread, the standard
      attributes `process`, `processName` and `threadName` say.

    Outside of tasks and actors nothing is added.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Note it; always true."""
        fields = record.__dict__
        if "task" in fields or "actor" in fields:
            if "host" in fields:
                return True
        elif record.name.partition(".")[0] == "actorsched":  # the runtime speaks, in whosever context that is
            return True
        try:
            here = current()
            if here.kind == "actor":
                known: dict[str, object] = {"actor": here.name, "host": here.host}
            else:
                known = {"task": here.name, "task_id": here.id, "attempt": here.attempt, "host": here.host}
        except Exception:  # written by nobody, or by what is just ending: it is logged all the same
            return True
        if fields.get("task", known.get("task")) == known.get("task"):
            for name, value in known.items():
                fields.setdefault(name, value)
        return True


class TextLines(logging.Formatter):
    """Lines for people: time, level, logger, message, and what is known beyond, as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the traceback and the stack, where there are any."""
        moment = datetime.fromtimestamp(record.created).astimezone()
        head = f"{moment:%Y-%m-%d %H:%M:%S}.{int(record.msecs):03d} {record.levelname:<8} {record.name}: "
        known = {**_fields(record), **_extra(record)}
        if record.__dict__.get("host") == "process":
            known["pid"] = record.process
        tail = "".join(f" {name}={_word(value)}" for name, value in known.items())
        text = f"{head}{record.getMessage()}{f'  [{tail[1:]}]' if tail else ''}"
        below = (_exception(record, self), record.stack_info)
        return "\n".join((text, *(part for part in below if part)))


class JsonLines(logging.Formatter):
    """One JSON object per record, in one line.

    Always `time` (RFC 3339, UTC), `level`, `logger`, `message`, `process`, `pid`, `thread`, `file`, `line`
    and `function`; where known `task`, `task_id`, `actor`, `attempt` and `host`; where there are any
    `exception` and `stack`, as text, and in `extra` what `extra=` has added. What JSON has no form for is its
    `repr`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        entry: dict[str, Any] = {
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
            "process": record.processName,
            "pid": record.process,
            "thread": record.threadName,
            "file": record.pathname,
            "line": record.lineno,
            "function": record.funcName,
        }
        entry.update(
            (name, value)
            for name, value in (
                ("exception", _exception(record, self)),
                ("stack", record.stack_info),
                ("extra", _extra(record)),
            )
            if value
        )
        try:
            return msgspec.json.encode(entry, enc_hook=shown).decode()
        except Exception:  # keys that are no text, circles, halves of characters: slower, but takes them all
            return json.dumps(_plain(entry, 8))


def line_of(record: logging.LogRecord, formatter: logging.Formatter) -> bytes:
    """The line of a record, as it is written; never fails.

    Args:
        record: What was logged.
        formatter: What makes text of it.
    """
    try:
        text = formatter.format(record)
    except Exception as error:  # the call that logs must not fail for that, and nothing be lost
        what = f"{shown(record.msg, 1000)} % {shown(record.args, 1000)}"
        plain = logging.LogRecord(
            record.name,
            record.levelno,
            record.pathname,
            record.lineno,
            f"{what} cannot be formatted: {type(error).__name__}: {error}",
            None,
            None,
            record.funcName,
        )
        try:
            text = formatter.format(plain)
        except Exception:  # then it is the formatter that cannot
            text = plain.getMessage()
    return f"{text}\n".encode(errors="backslashreplace")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    known = record.__dict__
    return {name: known[name] for name in FIELDS if known.get(name) is not None}


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def _exception(record: logging.LogRecord, formatter: logging.Formatter) -> str | None:
    if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
        return formatter.formatException(record.exc_info)  # not kept in the record, as `logging` would do
    return record.exc_text


def _word(value: object) -> str:
    text = value if isinstance(value, str) else shown(value)
    return repr(text) if not text or any(mark.isspace() or mark in "]=" for mark in text) else text


def _plain(value: object, depth: int) -> object:
    """A value of which JSON has a form for all parts."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if depth and isinstance(value, dict):
        entries = cast("dict[object, object]", value)
        return {str(key): _plain(part, depth - 1) for key, part in entries.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part, depth - 1) for part in cast("Iterable[object]", value)]
    return shown(value)

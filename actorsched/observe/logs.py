"""Starting a log, and what the user holds of it.

The law of this module: it checks what it is given, at the call, and puts the parts together.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, cast

from actorsched.checks import wrong_type, wrong_value
from actorsched.durations import Duration, seconds
from actorsched.exceptions import ActorStopped
from actorsched.observe.attaching import Attachment
from actorsched.observe.log_actor import LogActor, LogHandler, Writer
from actorsched.observe.records import JsonLines, TextLines
from actorsched.observe.target import TextStream, open_target
from actorsched.runtime import Runtime
from actorsched.sizes import check_size

if TYPE_CHECKING:
    from actorsched.actor import ActorRef

__all__ = ["Log", "start_log"]

_FORMATS: Final = {"text": TextLines, "json": JsonLines}
_LEVELS: Final = 'give a level of logging, such as "INFO" or logging.DEBUG, or None'


class Log:
    """A running log. Made by `start_log`; it ends with its runtime."""

    def __init__(self, writer: Writer, attachment: Attachment) -> None:
        self._writer = writer
        self._attachment = attachment
        self._actor: ActorRef[LogActor] | None = None

    def __repr__(self) -> str:
        return f"<Log to {self.target}: {self.written} written, {self.waiting} waiting, {self.lost} lost>"

    @property
    def target(self) -> str:
        """What it writes to, for people."""
        return self._writer.title

    @property
    def written(self) -> int:
        """How many records have been written."""
        return self._writer.written

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return self._writer.waiting

    @property
    def lost(self) -> int:
        """How many records could not be written: too many waited, or the target took them no more."""
        return self._writer.lost

    @property
    def failure(self) -> str | None:
        """Why the target refuses, in the words of the system ("No space left on device"); else None."""
        return self._writer.failure

    @property
    def handler(self) -> LogHandler:
        """The handler that it has on its loggers; it may be put on others."""
        return self._writer.handler

    async def flush(self) -> None:
        """Return when everything is written that was logged before.

        Raises:
            OSError: The target refuses. What waits goes on waiting.
        """
        if self._actor is None or not self._actor.alive:
            return
        try:
            why = await self._actor.ask.flush()
        except ActorStopped:  # meanwhile, and then it has written everything
            return
        if why is not None:
            raise OSError(f"the log cannot be written to {self.target}: {why}; {self.waiting} records wait")

    async def close(self) -> None:
        """End it before its runtime: write what waits, and leave the loggers as they were."""
        if self._actor is not None and self._actor.alive:
            await self._actor.stop()
        await self._end()

    async def _end(self) -> None:
        await self._writer.close()
        self._attachment.undo()


async def start_log(
    rt: Runtime,
    to: TextStream | str | os.PathLike[str] | int | None = None,
    *,
    format: Literal["text", "json"] | logging.Formatter = "text",  # noqa: A002 - what logging calls it
    level: str | int | None = "INFO",
    loggers: Iterable[str] = ("",),
    backlog: int | str = "64 MB",
    close_timeout: Duration = "5s",
) -> Log:
    """Have everything that is logged written by an actor of a runtime, until that has closed.

    Whoever logs, in the event loop, a thread or a host process, never waits for the target. Call it first
    thing in the runtime: actors stop in the reverse of the order in which they were started. What is logged
    when its actor has stopped is written by whoever logs it.

    A target that is slow has lines wait in memory, up to `backlog`; what comes when that is full is turned
    away, and a line in its place says how many records are missing. A target that refuses, such as a full
    disk, is tried again; standard error is told why. When the runtime closes, the target has `close_timeout`
    to take what waits; what it did not take is counted in `log.lost`, and told on standard error.

    Args:
        rt: An entered runtime.
        to: A stream such as `sys.stderr`, a path, whose file is appended to and followed when it is rotated,
            or the number of a descriptor; None for `sys.stderr`. The stream or descriptor itself is neither
            closed nor made non-blocking.
        format: "text" for lines for people, "json" for one JSON object per line, or a `logging.Formatter`.
        level: What is below it is not written, and the loggers get it as their level if theirs is higher;
            None writes whatever the levels of the loggers let through.
        loggers: Names of the loggers whose records are written; the empty name is the root, and means all.
        backlog: How much memory lines may take that wait, in bytes or as text.
        close_timeout: How long the target may take for what waits at the end.

    Returns:
        The log, to look at or to end early.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value, or the target is closed or open for reading only.
        OSError: The file cannot be opened.
        RuntimeClosed: The runtime takes no more work.
    """
    if not isinstance(rt, Runtime):
        raise wrong_type("rt", rt, "give a Runtime that has been entered")
    names = _names(loggers)
    formatter = _formatter(format)
    least = _level(level)
    limit = check_size(backlog, "backlog")
    patience = seconds(close_timeout, field="close_timeout")
    target = open_target(sys.stderr if to is None else to)
    writer = Writer(target, formatter, least or logging.NOTSET, limit, patience)
    try:
        actor = await rt.spawn(LogActor, writer, host="loop")
    except BaseException:
        await writer.close()
        raise
    writer.wake_by(rt, actor)
    log = Log(writer, Attachment(writer.handler, names, least))
    log._actor = actor
    rt.at_close(log._end)
    return log


def _names(loggers: object) -> list[str]:
    remedy = 'give names of loggers, such as ["", "myapp"]'
    if isinstance(loggers, (str, bytes)) or not isinstance(loggers, Iterable):
        raise wrong_type("loggers", loggers, remedy)
    names: list[str] = []
    given = cast("Iterable[object]", loggers)
    for name in given:
        if not isinstance(name, str):
            raise wrong_type("loggers", name, remedy)
        names.append("" if name == "root" else name)
    if not names:
        raise wrong_value("loggers", given, "names none", remedy)
    return names


def _formatter(given: object) -> logging.Formatter:
    if isinstance(given, logging.Formatter):
        return given
    remedy = 'give "text", "json" or a logging.Formatter'
    if not isinstance(given, str):
        raise wrong_type("format", given, remedy)
    if given not in _FORMATS:
        raise wrong_value("format", given, "is unknown", remedy)
    return _FORMATS[given]()


def _level(given: object) -> int | None:
    if given is None:
        return None
    if isinstance(given, str):
        known = logging.getLevelNamesMapping().get(given.upper())
        if known is None:
            raise wrong_value("level", given, "is no level", _LEVELS)
        return known
    if isinstance(given, bool) or not isinstance(given, int):
        raise wrong_type("level", given, _LEVELS)
    if given < 0:
        raise wrong_value("level", given, "is negative", _LEVELS)
    return given

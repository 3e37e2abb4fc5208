"""What writes the lines of a log: aiologger in the event loop, or the standard library's handlers.

The law of this module: bytes come in, and are written, in order, exactly once; what could not be written is
known to the byte. It is the one place that knows aiologger.

* aiologger writes through a pipe transport of asyncio, so it serves pipes, terminals and sockets on asyncio
  and uvloop. Its own protocol lets the buffer of the transport grow for ever; ours makes it wait until
  everything is written. The transport has a descriptor of its own, and closes that.
* Everywhere else, on trio and for regular files, the standard library's handlers write: `WatchedFileHandler`,
  which follows when a path is given to another file (logrotate), and `StreamHandler`. They run in a thread,
  or, when the log actor has ended, in the thread that logs.
"""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actorsched.observe.target import Unwritable

if TYPE_CHECKING:
    from actorsched.observe.target import Target

__all__ = ["AiologgerSink", "StandardSink"]


# ------------------------------------------------------------------------------------- the standard library's


class StandardSink:
    """Writes through the handlers of the standard library, in the thread that calls.

    Attributes:
        rest: What was to be written and is not.
    """

    def __init__(self, target: Target) -> None:
        self.rest = b""
        self._target = target
        self._lock = threading.RLock()  # what is finalised while it writes may log
        self._busy = False
        self._patience: Callable[[], float] = lambda: 0.0
        self._handler = _Following(self, target.path) if target.path else _Stream(self, _Page(self, target))
        self._handler.setFormatter(_AsItIs())

    def give(self, data: bytes) -> None:
        """Have something to write, after what is left from before."""
        with self._lock:
            self.rest += data

    def write(self, patience: Callable[[], float]) -> None:
        """Write the rest; what is not written is the `rest` then.

        Args:
            patience: For how many seconds more it may wait for room.

        Raises:
            Unwritable: The target cannot be written to.
        """
        with self._lock:
            if self.rest and not self._busy:
                self._busy, self._patience = True, patience
                text = self.rest.decode(errors="surrogateescape")
                try:
                    self._handler.handle(logging.makeLogRecord({"msg": text}))
                finally:
                    self._busy = False

    def close(self) -> None:
        """Give up the descriptor."""
        with self._lock:
            self._handler.close()
            self._target.close()

    def put(self, text: str, target: Target) -> None:
        """Write what a handler has made of a record, to the target that it has open."""
        try:
            self.rest = target.write(text.encode(errors="surrogateescape"), self._patience)
        except Unwritable as error:
            self.rest = error.rest
            raise


class _AsItIs(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return str(record.msg)


class _Page:
    """What the handlers take for a file."""

    def __init__(self, sink: StandardSink, target: Target) -> None:
        self._sink = sink
        self._target = target

    def write(self, text: str) -> None:
        if text:
            self._sink.put(text, self._target)

    def flush(self) -> None:
        """Nothing is kept back."""

    def fileno(self) -> int:
        assert self._target.descriptor is not None
        return self._target.descriptor

    def close(self) -> None:
        self._target.close()


class _Raising:
    """What keeps a handler from printing its failures: whoever has it write will deal with them."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in `logging`
        raise  # noqa: PLE0704 - it is called while the exception is handled


class _Stream(_Raising, logging.StreamHandler[Any]):
    terminator = ""

    def __init__(self, sink: StandardSink, page: _Page) -> None:
        super().__init__(page)


class _Following(_Raising, logging.handlers.WatchedFileHandler):
    """Opens its path anew when another file is there, or none."""

    terminator = ""

    def __init__(self, sink: StandardSink, path: str) -> None:
        self._sink = sink
        super().__init__(path)

    def _open(self) -> Any:
        from actorsched.observe.target import open_target

        return _Page(self._sink, open_target(self.baseFilename))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError as error:  # the folder is gone, say
            raise Unwritable(self._sink.rest, error) from error


# ------------------------------------------------------------------------------------------------ aiologger's


class AiologgerSink:
    """Writes through aiologger, in the event loop of asyncio. One writer at a time."""

    def __init__(self) -> None:
        self._handler: Any = None
        self._protocol: _Patient | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._left: int | None = None

    @classmethod
    async def over(cls, descriptor: int) -> AiologgerSink:
        """Make one.

        Args:
            descriptor: A non-blocking descriptor of a pipe, a terminal or a socket; it will be the sink's.
        """
        from aiologger.handlers.streams import AsyncStreamHandler

        self = cls()
        handler: Any = AsyncStreamHandler(os.fdopen(descriptor, "wb", buffering=0))
        self._handler = handler
        handler.protocol_class = _Patient
        handler.terminator = ""
        handler.formatter = _Verbatim()
        handler.handle_error = _fail
        try:
            handler.writer = await handler._init_writer()
        except BaseException:
            handler.stream.close()
            raise
        transport = handler.writer.transport
        transport.set_write_buffer_limits(high=0)
        self._transport, self._protocol = transport, transport.get_protocol()
        return self

    @property
    def broken(self) -> bool:
        """Whether nobody reads at the other end any more."""
        assert self._protocol is not None
        return self._protocol.lost.done()

    @property
    def unwritten(self) -> int:
        """How many bytes of what was given to it are not written."""
        assert self._transport is not None
        return self._transport.get_write_buffer_size()

    async def write(self, data: bytes) -> None:
        """Write whole lines, and return when they are written.

        When this is cancelled, they are written all the same.
        """
        from aiologger.levels import LogLevel
        from aiologger.records import LogRecord

        text = data.decode()
        await self._handler.emit(LogRecord("", LogLevel.NOTSET, "", 0, text))

    async def written(self) -> None:
        """Wait until everything is written that was given to it, or never can be."""
        await self._handler.flush()

    async def abort(self) -> int | None:
        """Close it, and return when it has closed; it may be called again when that was cancelled.

        Returns:
            How many bytes, the last ones, are not written; None if that is not known.
        """
        assert self._transport is not None
        assert self._protocol is not None
        if self._left is None and not self.broken:
            self._left = self.unwritten  # asyncio forgets it at once
            self._protocol.measure = self._measure
            self._transport.abort()
        await asyncio.wait((self._protocol.lost,))
        return self._left

    def _measure(self) -> None:
        """Just before it closes. Until then uvloop has gone on writing."""
        if self._left and not type(self._transport).__module__.startswith("asyncio"):
            self._left = self.unwritten


class _Patient(asyncio.Protocol):
    """The protocol of the transport: makes writers wait for room, as aiologger's own does not."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.measure: Callable[[], object] = lambda: None
        self._paused = False
        self._waiting: list[asyncio.Future[None]] = []

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.measure()
        if not self.lost.done():
            self.lost.set_result(None)
        self.resume_writing()

    # What a StreamWriter asks of its protocol.

    async def _drain_helper(self) -> None:
        if self._paused and not self.lost.done():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def _get_close_waiter(self, writer: asyncio.StreamWriter) -> asyncio.Future[None]:
        return self.lost


class _Verbatim:
    """A formatter of aiologger."""

    def format(self, record: Any) -> str:
        text: str = record.msg
        return text


async def _fail(record: Any, error: Exception) -> None:
    raise error

"""The log actor: whatever is logged becomes a line where it is logged, and is written by an actor.

The law of this module: nobody who logs ever waits while the actor lives, no line is written twice or out of
order, and what is not written is counted. It knows records only as lines, and targets only by their sinks.

How it works. The handler on the loggers makes a line of a record, in the thread that logs, puts it into the
backlog, and wakes the actor unless it has been woken already: one message for however many lines. The actor
writes what waits in batches. A target that takes nothing, because its reader is slow, leaves the lines in the
backlog; one that refuses, because the disk is full, is tried again and again, less and less often.

When the actor has ended, in whatever way, whoever logs writes directly, through the standard library's
handler. So what is logged while the runtime ends, or by what outlives the actor, arrives too. In a fork of
the process it is the same.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from anyio import CapacityLimiter, get_cancelled_exc_class, move_on_after, to_thread

from actorsched.actor import Actor, ActorRef
from actorsched.context import current
from actorsched.exceptions import RuntimeClosed
from actorsched.observe.backlog import Backlog, Batch
from actorsched.observe.log_sink import AiologgerSink, StandardSink
from actorsched.observe.records import TaskFields, line_of
from actorsched.observe.target import Unwritable, say_on_stderr

if TYPE_CHECKING:
    from actorsched.messages import ExitReason
    from actorsched.observe.target import Target
    from actorsched.runtime import Runtime

__all__ = ["LogActor", "LogHandler", "Writer"]

_MOMENT: Final = 1.0
"""Seconds for which one message of the actor waits for room at most; so it hears when it is told to stop."""
_LAST_PATIENCE: Final = 0.5
"""Seconds, in all, for which those who write themselves wait for room: perhaps they hold up an event loop."""
_SOON: Final = 0.001
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two tries of a target that refuses."""


class LogActor(Actor):
    """Writes what waits in a backlog."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def on_start(self) -> None:
        """Open the way that suits the event loop."""
        await self._writer.open()
        if self._writer.waiting:  # in a life before this one somebody may have been woken in vain
            current().after(_SOON, LogActor.write, key="again")

    async def on_stop(self, reason: ExitReason) -> None:
        """Write the rest; after a failure the next life does that."""
        if reason.kind != "failed":
            await self._writer.finish()

    async def write(self) -> None:
        """Write what waits. What the target does not take now is tried again soon."""
        pause = await self._writer.write()
        if pause is not None:
            current().after(pause, LogActor.write, key="again")

    async def flush(self) -> str | None:
        """Write what waits, however long it takes. Answers with why the target refuses, if it does."""
        while await self._writer.write() is not None:
            if self._writer.failure is not None:
                current().after(_FIRST_PAUSE, LogActor.write, key="again")
                return self._writer.failure
        return None


class LogHandler(logging.Handler):
    """Makes lines of records, in the thread that logs."""

    def __init__(self, writer: Writer, formatter: logging.Formatter, level: int) -> None:
        super().__init__(level)
        self.addFilter(TaskFields())
        self.setFormatter(formatter)
        self._writer = writer
        self._formatter = formatter

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the line of a record to the writer. Called under the lock of the handler."""
        self._writer.put(line_of(record, self._formatter), record)


class Writer:
    """Lines on their way from those who log to the target; what the actor and the handler share.

    All but `put` and `close` runs in the runtime's thread, and only one of it at a time.

    Attributes:
        failure: Why the target refuses; None if it does not.
        title: What the target is called.
        handler: The handler whose lock guards it.

    Args:
        target: Where lines go.
        formatter: What makes lines of records.
        level: The least level of what is written.
        limit: How many bytes may wait.
        patience: For how many seconds the end waits for a target that takes nothing.
    """

    handler: LogHandler

    def __init__(
        self, target: Target, formatter: logging.Formatter, level: int, limit: int, patience: float
    ) -> None:
        self._written = 0
        self.failure: str | None = None
        self.title = target.title
        self.handler = LogHandler(self, formatter, level)
        self._formatter = formatter
        self._target = target
        self._backlog = Backlog(limit, self._notice)
        self._standard = StandardSink(target)
        self._aiologger: AiologgerSink | None = None
        self._threads: CapacityLimiter | None = None
        self._batch: Batch | None = None
        self._given = False  # whether a sink has the batch already
        self._pid = os.getpid()
        self._wake: Callable[[], object] = lambda: None
        self._woken = False
        self._pause = _FIRST_PAUSE
        self._patience = patience  # what is left of it
        self._hurry = False
        self._direct = self._busy = self._closed = False

    def wake_by(self, rt: Runtime, actor: ActorRef[LogActor]) -> None:
        """From now on wake this actor when there is something to write."""

        def poke() -> None:
            if actor.alive and not self._direct:
                actor.tell(LogActor.write)

        self._wake = lambda: rt.call_threadsafe(poke)

    @property
    def written(self) -> int:
        """How many lines have been written to their end."""
        return self._written + (len(self._batch) - self._in_flight if self._batch else 0)

    @property
    def waiting(self) -> int:
        """How many lines wait, and have been written in part at most."""
        return len(self._backlog) + self._in_flight

    @property
    def lost(self) -> int:
        """How many lines will never be written, as far as that is known."""
        return self._backlog.lost + (self.waiting if self._closed else 0)

    # -------------------------------------------------------------------------------------- for those who log

    def put(self, line: bytes, record: logging.LogRecord) -> None:
        """Take a line. Under the lock of the handler, in any thread."""
        if os.getpid() != self._pid:  # nobody writes here but this thread
            self._target.write_alone(line)
        elif self._closed:  # somebody holds on to the handler: warnings are shown, as where there is no log
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
        else:
            self._backlog.put(line)
            if self._direct:
                self._write_directly()
            elif not self._woken:
                self._woken = True
                try:
                    self._wake()
                except RuntimeClosed:  # its loop has ended without its end
                    self._leave_loop()
                    self._write_directly()

    def _notice(self, count: int) -> bytes:
        """The line that stands where some were turned away."""
        text = f"{count} records are missing here: {self.title} took them more slowly than they came"
        record = logging.LogRecord("actorsched.log", logging.WARNING, __file__, 0, text, None, None)
        return line_of(record, self._formatter)

    # ------------------------------------------------------------------------------------------ for the actor

    async def open(self) -> None:
        """Get ready to write."""
        if self._threads is None:
            self._threads = CapacityLimiter(1)
            if self._target.evented and _on_asyncio():
                self._aiologger = await AiologgerSink.over(self._target.another())

    async def write(self) -> float | None:
        """Write what waits. Answers with the seconds after which to try again; None when all is written."""
        self._woken = False  # before looking, so that nothing that comes now is overlooked
        try:
            while self._next():
                if not await self._attempt(_MOMENT):
                    self._woken = True
                    return _SOON
        except Unwritable as error:
            self._woken = True
            return self._refused(error)
        self._well()
        return None

    async def finish(self) -> None:
        """Write all there is, as far as there is time; afterwards those who log write themselves."""
        until = monotonic() + self._patience
        self._woken = True
        try:
            while self._next() and (left := until - monotonic()) > 0:
                if not await self._attempt(left):
                    break
        except Unwritable as error:
            self._refused(error)
        self._patience = max(0.0, until - monotonic())
        await self._leave_aiologger()
        self._leave_loop()

    def _next(self) -> Batch | None:
        """What is to be written now: what is left, or what came since."""
        if self._batch is None:
            if not self._backlog:
                self._backlog.close_gap()
            self._batch, self._given = self._backlog.take(), False
        return self._batch

    async def _attempt(self, patience: float) -> bool:
        """Have the batch written. Answers with whether it is.

        Args:
            patience: How long to wait for room, in seconds.

        Raises:
            Unwritable: The target refuses.
        """
        if self._aiologger is not None:
            with move_on_after(patience):
                await self._write_by_aiologger(self._aiologger)
            if not self._aiologger.broken:
                return self._settle(self._aiologger.unwritten)
            await self._leave_aiologger()
        self._give()
        until = monotonic() + patience
        await to_thread.run_sync(
            self._standard.write,
            lambda: 0.0 if self._hurry else until - monotonic(),
            abandon_on_cancel=True,
            limiter=self._threads,
        )
        return self._settle(len(self._standard.rest))

    async def _write_by_aiologger(self, sink: AiologgerSink) -> None:
        assert self._batch is not None
        if self._given:
            await sink.written()
        else:
            self._given = True
            await sink.write(self._batch.data)

    def _give(self) -> None:
        if not self._given:
            assert self._batch is not None
            self._given = True
            self._standard.give(self._batch.data)

    def _settle(self, rest: int) -> bool:
        if rest:
            return False
        assert self._batch is not None
        self._written += len(self._batch)
        self._batch = None
        return True

    @property
    def _in_flight(self) -> int:
        batch, sink = self._batch, self._aiologger
        if batch is None:
            return 0
        if not self._given:
            return len(batch)
        return batch.unwritten(len(self._standard.rest) if sink is None else sink.unwritten)

    def _refused(self, error: Unwritable) -> float:
        """Note why. Answers with when to try again."""
        if self.failure != error.why:
            self.failure = error.why
            say_on_stderr(f"actorsched: the log cannot be written to {self.title}: {error.why}")
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause

    def _well(self) -> None:
        self.failure, self._pause = None, _FIRST_PAUSE

    # ------------------------------------------------------------------------------- when the actor has ended

    def _leave_loop(self) -> None:
        """From now on those who log write themselves, beginning with what is left."""
        with _held(self.handler):
            if not self._direct:
                self._patience = min(self._patience, _LAST_PATIENCE)
                self._hurry = self._direct = True  # a thread that was left behind gives up
                sink, self._aiologger = self._aiologger, None
                if sink is not None:  # the loop has ended as nobody should end it
                    self._give_rest(sink.unwritten)
                self._write_directly()

    async def _leave_aiologger(self) -> None:
        """Write what aiologger has not written in the other way from now on."""
        if self._aiologger is not None:
            left = await self._aiologger.abort()
            self._aiologger = None
            self._give_rest(left)

    def _give_rest(self, left: int | None) -> None:
        if self._batch is not None and self._given:
            data = self._batch.data  # how much of it went through a broken pipe nobody knows
            self._standard.give(data if left is None else data[len(data) - left :])

    def _write_directly(self) -> None:
        """Write all there is, under the lock of the handler, in any thread; wait a little if need be."""
        if self._busy:
            return  # what is finalised while it writes has logged: its line is seen to when that is done
        self._busy, begun = True, monotonic()
        try:
            while self._next():
                self._give()
                self._standard.write(lambda: self._patience - (monotonic() - begun))
                if not self._settle(len(self._standard.rest)):
                    break
            else:
                self._well()
        except Unwritable as error:
            self._refused(error)
        finally:
            self._busy = False
        self._patience = max(0.0, self._patience - (monotonic() - begun))

    async def close(self) -> None:
        """End it all, and tell if anything could not be written. The second time does nothing."""
        if self._closed:
            return
        await self._leave_aiologger()
        self._leave_loop()
        with _held(self.handler):
            self._write_directly()
            self._closed = True
            self._standard.close()
        if self.lost:
            why = self.failure or "it did not take them in time"
            noun = "record" if self.lost == 1 else "records"
            say_on_stderr(f"actorsched: {self.lost} log {noun} could not be written to {self.title}: {why}")


class _held:  # noqa: N801 - used like a function
    """Hold the lock of a handler."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        self._handler.acquire()

    def __exit__(self, *raised: object) -> None:
        self._handler.release()


def _on_asyncio() -> bool:
    return get_cancelled_exc_class().__module__.startswith("asyncio")

"""A timeline of what a runtime does, written into a file: `rt.timeline("out.json")`.

The law of this module: writing holds nobody up. In the thread of the runtime events are put into a list, and
that is all; a thread of the timeline's own translates them (`trace`) and writes them, so memory is bounded by
how far the disk lags behind. A disk that takes no more is an error in the log, and so is a bug of ours; the
runtime goes on, and nothing is kept any longer.
"""

from __future__ import annotations

import json
import logging
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self

from actorsched.observe.trace import Tracer

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from io import TextIOWrapper
    from types import TracebackType

    from actorsched.events import Event
    from actorsched.observe.trace import Entry
    from actorsched.runtime import Runtime

__all__ = ["Timeline", "start_timeline"]

_AT_ONCE = 500
"""How many events are handed over to the thread together."""

_log = logging.getLogger("actorsched")


class Timeline:
    """A timeline that is being written. Made by `rt.timeline`; it ends with the runtime, or by `aclose`."""

    def __init__(self, runtime: Runtime, file: TextIOWrapper) -> None:
        self._runtime = runtime
        self._file = file
        self._tracer = Tracer(runtime.name, runtime.now)
        self._fresh: list[Event] = []
        self._batches: SimpleQueue[tuple[list[Event], float | None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="actorsched timeline", daemon=True)
        self._over = False
        self._end: float | None = None  # the thread's: the time at which it was ended, once that is known
        self.failure: str | None = None
        """Why the file could not be written, in the words of the system; None if it could."""
        self.path: str = file.name
        """Where it goes."""
        self._stay = runtime.at_close(self.aclose)  # first: it refuses where nothing may be begun
        self._leave = runtime.subscribe(None, self._hear)
        self._thread.start()

    def __repr__(self) -> str:
        state = "over" if self._over else "running"
        return f"<Timeline to {self.path!r}, {self.failure or state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it; the file is complete when this returns. Harmless when it has ended."""
        if not self._over:
            self._over = True
            self._leave()
            self._stay()
            self._batches.put((self._fresh, self._runtime.now))
        if self._thread.is_alive():
            import anyio
            import anyio.to_thread

            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._thread.join)

    def _hear(self, event: Event) -> None:
        fresh = self._fresh
        fresh.append(event)
        if len(fresh) >= _AT_ONCE:
            self._fresh = []
            self._batches.put((fresh, None))

    # ------------------------------------------------------------------------------------ in its own thread

    def _write(self) -> None:
        try:
            self._write_all()
        except OSError as error:
            self.failure = error.strerror or str(error)
            # Where it happened is no news.
            _log.error("the timeline %r is not complete: %s", self.path, self.failure)
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            _log.exception("the timeline %r is not complete; please report this", self.path)
        finally:
            while self._end is None:  # so that what comes is not kept
                _, self._end = self._batches.get()
            try:
                self._file.close()
            except OSError:  # it could not be written, which is known
                pass

    def _write_all(self) -> None:
        write, tracer = self._file.write, self._tracer
        write('{"displayTimeUnit": "ms", "traceEvents": [\n')
        write(_lines(tracer.opening()))
        while self._end is None:
            events, self._end = self._batches.get()
            for event in events:
                entries = tracer.hear(event)
                if entries:
                    write(",\n" + _lines(entries))
            self._file.flush()
        rest = tracer.closing(self._end)
        if rest:
            write(",\n" + _lines(rest))
        write("\n]}\n")
        self._file.flush()


def _lines(entries: Iterable[Entry]) -> str:
    return ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)


def start_timeline(runtime: Runtime, path: str | os.PathLike[str]) -> Timeline:
    """Begin to write a timeline; see `rt.timeline`."""
    import os
    from pathlib import Path

    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path={path!r} is of type {type(path).__name__}; give the name of a file to write")
    # Its thread closes it. A name that cannot be encoded is escaped, as JSON does it too.
    file = Path(path).open("w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    try:
        return Timeline(runtime, file)
    except BaseException:
        file.close()
        raise

"""A live display of how far a runtime is: `rt.progress()`.

The law of this module: looking on holds nobody up. What is shown is looked at in the runtime's thread, a few
times a second and the less often the longer that takes; drawing and writing are done by a thread of its own,
so a terminal that takes nothing stops nobody but the display. Where the output is no terminal (or a notebook)
it says nothing at all.

How it works: while something is shown, what is printed to the same terminal, and what log handlers write
there, goes through rich, which puts it above the display. Only one is shown at a time in a process: bars
cannot be in the same place. It appears when there is a first task. When it ends, the bars stay as they are.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self, TextIO

from actorsched.checks import check_whole
from actorsched.exceptions import RuntimeClosed
from actorsched.observe.tally import HEARD, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from rich.console import Console
    from rich.live import Live

    from actorsched.observe.tally import Look
    from actorsched.runtime import Runtime

__all__ = ["Progress", "start_progress"]

_INTERVAL = 0.1
"""Seconds from one picture to the next."""
_SHARE = 20
"""A look may take one part in so many of the time of the runtime's thread."""
_PATIENCE = 2.0
"""Seconds for which the end waits for a terminal that takes nothing."""

_log = logging.getLogger("actorsched")
_shown = threading.Lock()
"""Held by whoever is shown."""


class Progress:
    """A display of how far a runtime is. Made by `rt.progress`; used by `with`, `async with` or `start`."""

    def __init__(self, runtime: Runtime, lines: int, stream: TextIO | None) -> None:
        self._runtime = runtime
        self._lines = lines
        self._stream = stream
        self._screen: _Screen | None = None
        self._tally: Tally | None = None
        self._leave: list[Callable[[], None]] = []
        self._look: Look | None = None
        self._asked = False
        self._not_before = 0.0

    def __repr__(self) -> str:
        return f"<Progress of {self._runtime!r}, {'shown' if self.shown else 'not shown'}>"

    @property
    def shown(self) -> bool:
        """Whether it has been started, and there is a terminal to show it on, which nobody else uses."""
        return self._screen is not None

    def start(self) -> Self:
        """Begin to show it, until `stop`, or until the runtime has been left.

        Does nothing when it is shown already, and where there is no terminal.

        Raises:
            RuntimeError: This is another thread than that of the runtime, or that is not entered.
            RuntimeClosed: The runtime has been left.
        """
        if self._screen is not None:
            return self
        tally = Tally(self._runtime.stats())
        console = _console(self._stream)
        if console is None or not _shown.acquire(blocking=False):
            return self
        try:
            self._leave = [
                self._runtime.at_close(self.stop),
                self._runtime.subscribe(HEARD, tally.hear),
            ]
            self._tally, self._look = tally, None
            self._screen = _Screen(console, self._next)
        except BaseException:
            self._forget()
            _shown.release()
            raise
        return self

    def stop(self) -> None:
        """Leave the bars as they are now, and the terminal as it was. Does nothing when it is not shown."""
        screen, self._screen = self._screen, None
        if screen is None:
            return
        try:
            self._see()
        except RuntimeError:  # in another thread: as it was a moment ago
            pass
        try:
            screen.close()
        finally:
            self._forget()
            _shown.release()

    def _forget(self) -> None:
        for leave in self._leave:
            leave()
        self._leave = []
        self._tally = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _next(self) -> Look | None:
        """The last look, for the screen's thread; and a newer one is asked for."""
        if not self._asked and perf_counter() >= self._not_before:
            self._asked = True
            try:
                self._runtime.call_threadsafe(self._answer)
            except RuntimeClosed:  # what was seen last is what there was
                pass
        return self._look

    def _answer(self) -> None:
        began = perf_counter()
        try:
            self._see()
        finally:
            now = perf_counter()
            self._not_before = now + (now - began) * _SHARE
            self._asked = False

    def _see(self) -> None:
        if self._tally is not None:
            self._look = self._tally.look(self._runtime.stats(), self._runtime.now, self._lines)


class _Screen:
    """The terminal, while something is shown there; and the thread that does so."""

    def __init__(self, console: Console, look: Callable[[], Look | None]) -> None:
        self._console = console
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="actorsched progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Draw it for the last time, and give the terminal back."""
        self._over.set()
        self._thread.join(_PATIENCE)

    def _show(self) -> None:
        live: Live | None = None
        moved: list[tuple[logging.StreamHandler[Any], Any]] = []
        try:
            while True:
                over = self._over.wait(_INTERVAL)
                look = self._look()
                if look is not None and look.overall.total:
                    if live is None:
                        live = _live(self._console)
                        live.start()
                        moved = _move_handlers()
                    _draw(live, look, over)
                if over:
                    break
        except OSError:  # the terminal is gone
            pass
        except Exception:  # of ours: the runtime goes on
            _log.exception("the display of progress failed; please report this")
        finally:
            _move_back(moved)
            if live is not None:
                _end(live)


def _draw(live: Live, look: Look, over: bool) -> None:
    from rich.constrain import Constrain

    from actorsched.observe.picture import draw

    # Narrower than the terminal: the `^C` that it shows itself must not start a line of its own.
    live.update(Constrain(draw(look, over=over), max(live.console.width - 3, 1)), refresh=True)


def _live(console: Console) -> Live:
    from rich.live import Live

    same = console.is_jupyter or _is_terminal(sys.stdout)
    return Live(console=console, auto_refresh=False, redirect_stdout=same, redirect_stderr=True)


def _end(live: Live) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()  # what has no end of line yet
        except (OSError, ValueError):  # whoever writes there next is told
            pass
    try:
        live.stop()
    except OSError:  # nobody looks at that terminal any more
        pass


# ---------------------------------------------------------------------------------- where it may be shown


def _console(stream: TextIO | None) -> Console | None:
    """Where to show it; None where nobody would see it as it is meant."""
    from rich.console import Console

    console = Console(file=stream, stderr=stream is None, highlight=False)
    if console.is_jupyter:
        from importlib.util import find_spec

        return console if find_spec("ipywidgets") is not None else None  # rich shows live pictures by it
    if os.environ.get("TERM") == "dumb" or not console.is_terminal:
        return None
    return console if _is_terminal(stream or sys.stderr) else None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def _move_handlers() -> list[tuple[logging.StreamHandler[Any], Any]]:
    """Let log handlers that write to the terminal write above the display. Answers with where they wrote."""
    from rich.file_proxy import FileProxy

    moved: list[tuple[logging.StreamHandler[Any], Any]] = []
    for proxy in (sys.stdout, sys.stderr):
        if isinstance(proxy, FileProxy):
            theirs = [handler for handler in _handlers() if handler.stream is proxy.rich_proxied_file]
            moved += [(handler, handler.setStream(proxy)) for handler in theirs]
    return moved


def _move_back(moved: list[tuple[logging.StreamHandler[Any], Any]]) -> None:
    for handler, stream in moved:
        handler.setStream(stream)


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in list(getattr(logger, "handlers", ())):
            if isinstance(handler, logging.StreamHandler):
                yield handler


def start_progress(runtime: Runtime, lines: int, stream: TextIO | None = None) -> Progress:
    """Prepare a display; see `rt.progress`."""
    check_whole(lines, "lines", least=0)
    try:
        import_module("rich.console")
    except ImportError as error:
        raise ImportError(
            "rt.progress() needs rich, which is not installed; install actorsched[cli]", name="rich"
        ) from error
    return Progress(runtime, lines, stream)

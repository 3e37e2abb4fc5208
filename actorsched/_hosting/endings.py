"""Noticing that a process has ended which is no child of ours.

The law of this module: it tells the loop, once the process is a zombie or has gone. It cannot tell how it
ended: only the parent of a process learns that.

How it works: through the descriptor of the process, which becomes readable at its end. Where processes have
no descriptors (or there is none to be had now), a timer looks at what the system says of it. What it says
takes a descriptor to read, too; where there is none, the link to the program that the process runs has to do:
a link can be read without, and a zombie has none.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._kernel.backend import Backend, Handle

_LOOK = 0.1
"""How many seconds to wait between two looks."""
_GONE = "X"
"""The state of a process that there is not; the system has the same letter for one that is nearly so."""
_ENDED = (_GONE, "Z")


class EndWatch(Protocol):
    """Something that waits for the end of a process."""

    def close(self) -> None:
        """Wait no longer."""


class _Descriptor:
    """Waits through the descriptor of the process, which it closes."""

    __slots__ = ("_descriptor", "_watch")

    def __init__(self, backend: Backend, descriptor: int, on_end: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._watch = backend.watch_readable(descriptor, on_end)

    def close(self) -> None:
        self._watch.close()
        os.close(self._descriptor)


class _Looks:
    """Looks again and again."""

    __slots__ = ("_backend", "_on_end", "_pid", "_started", "_timer")

    def __init__(self, backend: Backend, pid: int, on_end: Callable[[], None]) -> None:
        self._backend = backend
        self._pid = pid
        self._on_end = on_end
        self._started = ""
        self._timer: Handle | None = None
        self._look()

    def _look(self) -> None:
        state, started = _status(self._pid)
        self._started = self._started or started
        if state in _ENDED or started not in ("", self._started):
            self._timer = None
            self._backend.call_soon(self._on_end)
        else:
            self._timer = self._backend.call_at(self._backend.monotonic() + _LOOK, self._look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def watch_end(backend: Backend, pid: int, on_end: Callable[[], None]) -> EndWatch:
    """Call in the loop when the process has ended; what is returned has to be closed then.

    It may be called more than once until that.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return _Looks(backend, pid, on_end)
    return _Descriptor(backend, descriptor, on_end)


def has_ended(pid: int) -> bool:
    """Whether a process is a zombie or has gone. Another one may have its number by then."""
    return _status(pid)[0] in _ENDED


def _status(pid: int) -> tuple[str, str]:
    """State and time of birth of a process; empty where that cannot be read now."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _GONE, ""
    except OSError:  # no descriptor is free
        return "" if _has_program(pid) else _GONE, ""
    return fields[0], fields[19]


def _has_program(pid: int) -> bool:
    """Whether there is such a process that is no zombie, as far as can be seen without a descriptor."""
    try:
        os.readlink(f"/proc/{pid}/exe")
    except OSError as error:
        return not isinstance(error, (FileNotFoundError, ProcessLookupError))
    return True

"""Where a log goes: opened for itself, and written to without ever waiting for longer than it was told.

The law of this module: it opens, writes and closes descriptors, and knows nothing of records or loops.

Whoever shares a pipe or a terminal with others must not make it non-blocking: that belongs to the open file
description, which all who inherited it have in common, and their writes would fail. So it is opened anew
through /proc, which gives a description of its own. Where that cannot be done (a socket, another user's
terminal, a system without /proc), the descriptor stays as it is, and is written to only as far as `poll` says
that there is room.
"""

from __future__ import annotations

import fcntl
import io
import os
import select
import socket
import stat
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol, cast

from actorsched.checks import wrong_type, wrong_value
from actorsched.exceptions import shown

__all__ = ["Target", "TextStream", "open_target", "say_on_stderr"]

_REMEDY: Final = "give a stream such as sys.stderr, a path, or the number of a descriptor open for writing"
_MOST: Final = 64 * 1024
_LITTLE: Final = 512
"""So much room POSIX promises when `poll` says that there is any."""
_MOMENT: Final = 0.1
"""Seconds after which whoever waits for room looks whether it should go on."""


class TextStream(Protocol):
    """What text can be written to, such as `sys.stderr`."""

    def write(self, text: str, /) -> object:
        """Write some text."""
        ...


class Target:
    """An opened target.

    Attributes:
        title: What it is called in messages.
        descriptor: Our own descriptor of it; None for a stream that has none.
        path: Where it is, if it is a regular file that was given by its path.
        evented: Whether an event loop can wait for room in it: a pipe, a terminal or a socket that is ours to
            be made non-blocking.
    """

    def __init__(
        self,
        title: str,
        put: Callable[[bytes | memoryview], int],
        *,
        descriptor: int | None = None,
        path: str | None = None,
        evented: bool = False,
        close: Callable[[], object] = lambda: None,
    ) -> None:
        self.title = title
        self.descriptor = descriptor
        self.path = path
        self.evented = evented
        self._put = put
        self._close = close

    def write(self, data: bytes, patience: Callable[[], float]) -> bytes:
        """Write as much as there comes to be room for.

        Args:
            data: What is to be written.
            patience: For how many seconds more it may wait for room; asked anew every tenth of a second.

        Returns:
            What has not been written.

        Raises:
            Unwritable: It cannot be written to.
        """
        left = memoryview(data)
        while left:
            try:
                left = left[self._put(left) :]
            except BlockingIOError:
                if not self._room(patience()):
                    break
            except (OSError, ValueError) as error:  # a stream that somebody has closed raises the latter
                raise Unwritable(bytes(left), error) from error
        return bytes(left)

    def write_alone(self, data: bytes) -> None:
        """Write in a fork of the process, where nothing else of the log is alive; as far as that goes."""
        until = monotonic() + 10 * _MOMENT
        try:
            self.write(data, lambda: until - monotonic())
        except Unwritable:  # whose it is has been told, or will be
            pass

    def _room(self, patience: float) -> bool:
        """Whether it is worth another try: there is room, or still time."""
        waiting = select.poll()
        assert self.descriptor is not None
        waiting.register(self.descriptor, select.POLLOUT)
        return bool(waiting.poll(max(0.0, min(_MOMENT, patience)) * 1000)) or patience > 0

    def another(self) -> int:
        """Another descriptor of it, for somebody who will close it; if possible another description."""
        assert self.descriptor is not None
        own = _opened_anew(self.descriptor)
        return os.dup(self.descriptor) if own is None else own

    def close(self) -> None:
        """Give up what was opened for it."""
        self._close()


class Unwritable(Exception):
    """The target cannot be written to.

    Attributes:
        rest: What has not been written.
        why: What the system says.
    """

    def __init__(self, rest: bytes, error: Exception) -> None:
        super().__init__(str(error))
        self.rest = rest
        self.why = getattr(error, "strerror", None) or str(error)


# ------------------------------------------------------------------------------------------------ opening one


def open_target(to: Any) -> Target:
    """Open what a user has given.

    Raises:
        TypeError: It is nothing that can be written to.
        ValueError: It is closed, or open for reading only.
        OSError: The file cannot be opened.
    """
    if isinstance(to, bool) or to is None:
        raise wrong_type("to", to, _REMEDY)
    if isinstance(to, int):
        return _of_descriptor(to, f"descriptor {to}", to)
    if isinstance(to, (str, os.PathLike)):
        path = cast("os.PathLike[str]", to)
        return _of_path(os.fspath(path), path)
    if not callable(getattr(to, "write", None)):
        raise wrong_type("to", to, _REMEDY)
    if getattr(to, "closed", False):
        raise wrong_value("to", to, "is closed", _REMEDY)
    name = getattr(to, "name", None)
    title = name if isinstance(name, str) else shown(to)
    try:
        number: int = to.fileno()
    except (AttributeError, OSError, io.UnsupportedOperation):
        return _of_stream(to, title)
    return _of_descriptor(number, title, to)


def _of_path(path: str | bytes, given: object) -> Target:
    where = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - it may be renamed, and links be changed
    # O_NONBLOCK means nothing to a file; a named pipe without a reader is refused, and would be waited for.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        number = os.open(where, flags, 0o666)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        text = f"to={shown(given)} cannot be opened for writing: {why}; {_REMEDY}"
        raise OSError(getattr(error, "errno", None), text, where) from error
    mode = os.fstat(number).st_mode
    return _of_own(number, where, mode, where if stat.S_ISREG(mode) else None)


def _of_descriptor(number: int, title: str, given: object) -> Target:
    try:
        access = fcntl.fcntl(number, fcntl.F_GETFL)
        mode = os.fstat(number).st_mode
    except (OSError, OverflowError) as error:
        raise wrong_value("to", given, "is no open descriptor", _REMEDY) from error
    if access & os.O_ACCMODE == os.O_RDONLY:
        raise wrong_value("to", given, "is open for reading only", _REMEDY)
    if stat.S_ISSOCK(mode):
        return _of_socket(number, title, ours=bool(access & os.O_NONBLOCK))
    if stat.S_ISFIFO(mode) or os.isatty(number):
        own = _opened_anew(number)
        if own is not None:
            return _of_own(own, title, mode, None)
    elif stat.S_ISREG(mode) or access & os.O_NONBLOCK:
        return _of_own(os.dup(number), title, mode, None)
    return _of_shared(os.dup(number), title)


def _opened_anew(number: int) -> int | None:
    """Another open file description of the same pipe or terminal; None where there is no way to it."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        own = os.open(f"/proc/self/fd/{number}", flags)
    except OSError:
        return None
    if os.path.sameopenfile(own, number):
        return own
    os.close(own)
    return None


def _of_own(number: int, title: str, mode: int, path: str | None) -> Target:
    """A description that is ours alone, or one where blocking means nothing."""
    return Target(
        title,
        lambda data: os.write(number, data[:_MOST]),
        descriptor=number,
        path=path,
        evented=stat.S_ISFIFO(mode) or os.isatty(number),
        close=lambda: os.close(number),
    )


def _of_shared(number: int, title: str) -> Target:
    """A description that blocks, and must go on doing so, since others write to it too."""
    room = select.poll()
    room.register(number, select.POLLOUT)

    def put(data: bytes | memoryview) -> int:
        if not room.poll(0):
            raise BlockingIOError
        return os.write(number, data[:_LITTLE])

    return Target(title, put, descriptor=number, close=lambda: os.close(number))


def _of_socket(number: int, title: str, *, ours: bool) -> Target:
    """A socket: it can be told for each write not to wait."""
    own = socket.socket(fileno=os.dup(number))
    return Target(
        title,
        lambda data: own.send(data[:_MOST], socket.MSG_DONTWAIT),
        descriptor=own.fileno(),
        evented=ours,
        close=own.close,
    )


def _of_stream(stream: TextStream, title: str) -> Target:
    """A stream without a descriptor, of a notebook or a test: how long `write` takes is its affair."""
    flush: Callable[[], object] = getattr(stream, "flush", lambda: None)

    def put(data: bytes | memoryview) -> int:
        try:
            stream.write(bytes(data).decode(errors="surrogateescape"))
            flush()
        except BlockingIOError as error:  # there is no way to wait for it
            raise OSError(error.errno, "it takes nothing now, and has no descriptor to wait for") from error
        return len(data)

    return Target(title, put)


# ------------------------------------------------------------------------------------------------ last resort


def say_on_stderr(text: str) -> None:
    """Write a line to the standard error of the process, if it takes one at once; it is never waited for."""
    until = monotonic() + _MOMENT
    try:
        target = _of_descriptor(2, "stderr", 2)
    except (OSError, ValueError):  # there is none
        return
    try:
        target.write(f"{text}\n".encode(errors="backslashreplace"), lambda: until - monotonic())
    except Unwritable:
        pass
    finally:
        target.close()

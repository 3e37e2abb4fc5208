"""A socket to write to without ever waiting.

The law of this module: it writes bytes in order, now or when the socket takes them; it knows nothing of
frames.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket as sockets

    from actorsched._kernel.backend import Backend, Watch


class Outlet:
    """A socket to write to, and what it has not taken yet."""

    __slots__ = ("_backend", "_backlog", "_socket", "_watch", "unsent")

    def __init__(self, backend: Backend, socket: sockets.socket) -> None:
        self._backend = backend
        self._socket = socket
        self._backlog: deque[memoryview] = deque()
        self._watch: Watch | None = None
        self.unsent = 0

    def write(self, data: bytes | bytearray) -> None:
        """Write. What a vanished reader does not take is dropped: its end is told elsewhere."""
        if self._backlog:
            sent = 0
        else:
            sent = self._send(data)
            if sent == len(data):
                return
        self._backlog.append(memoryview(data)[sent:])
        self.unsent += len(data) - sent
        if self._watch is None:
            self._watch = self._backend.watch_writable(self._socket.fileno(), self._writable)

    def close(self) -> None:
        self._stop_watching()
        self._backlog.clear()
        self._socket.close()

    def _writable(self) -> None:
        while self._backlog:
            data = self._backlog[0]
            sent = self._send(data)
            self.unsent -= sent
            if sent < len(data):
                self._backlog[0] = data[sent:]
                return
            self._backlog.popleft()
        self._stop_watching()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

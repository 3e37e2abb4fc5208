"""Noticing that a process has ended.

The law of this module: it tells the loop, once the process is a zombie, and does not reap it.

How it works: through the descriptor of the process, which becomes readable at its end. Where processes have
no descriptors (or there is none to be had now), a thread waits.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from actorsched._kernel.backend import Backend


class _EndWatch:
    """Waits through the descriptor of the process, which it closes."""

    __slots__ = ("_descriptor", "_watch")

    def __init__(self, backend: Backend, descriptor: int, on_end: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._watch = backend.watch_readable(descriptor, on_end)

    def close(self) -> None:
        self._watch.close()
        os.close(self._descriptor)


class _EndThread:
    """Waits in a thread."""

    __slots__ = ("_thread",)

    def __init__(
        self, backend: Backend, process: subprocess.Popen[bytes], on_end: Callable[[], None]
    ) -> None:
        from threading import Thread

        def wait() -> None:
            try:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:  # somebody else has reaped it
                pass
            try:
                backend.call_soon_threadsafe(on_end)
            except RuntimeError:  # the loop has ended before the host
                pass

        self._thread = Thread(target=wait, name=f"actorsched host {process.pid}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._thread.join()


def watch_end(
    backend: Backend, process: subprocess.Popen[bytes], on_end: Callable[[], None]
) -> _EndWatch | _EndThread:
    """Call in the loop when the process has ended; what is returned has to be closed then."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return _EndThread(backend, process, on_end)
    return _EndWatch(backend, descriptor, on_end)

"""The lifeline: no host outlives the process that started it, whatever state either is in.

The law of this module: it knows a pipe and the signal that its end sends; nothing else.

How it works: the parent holds the write end of a pipe, the host the read end. However the parent ends, the
kernel closes the write end. On Linux the host has asked the kernel to answer that with SIGKILL to its whole
process group (`F_SETOWN`, `F_SETSIG`, `O_ASYNC`): it works also while the host is stopped, or holds the GIL
somewhere in C, where it would never read an end of file. A parent-death signal would not do: it fires when
the *thread* that forked ends.

Elsewhere a thread of the host waits for the end of the pipe and ends the process; a host that holds the GIL
for ever is beyond it.

Whoever forks the parent without exec (multiprocessing does) gets a copy of the write end, which would keep
the hosts alive for as long as that process lives: it is closed in such children.
"""

from __future__ import annotations

import os
import signal
from typing import Any

_held: set[int] = set()
_registered = False


def new_lifeline() -> tuple[int, int]:
    """The read end, for the host to inherit, and the write end, to be kept until the host has gone."""
    global _registered  # noqa: PLW0603  # once per process
    if not _registered:
        os.register_at_fork(after_in_child=_close_all)
        _registered = True
    read, write = os.pipe()
    _held.add(write)
    return read, write


def cut(write: int) -> None:
    """Close the write end."""
    _held.discard(write)
    os.close(write)


def _close_all() -> None:
    for write in _held:
        os.close(write)
    _held.clear()


def hang_on(read: int, *, in_a_thread: bool = True) -> None:
    """In a process that heads its group: die when the write end is closed, or now if it is closed already.

    Args:
        read: The read end.
        in_a_thread: Whether to wait in a thread where the kernel sends no signal.
    """
    import select

    try:
        import fcntl

        fcntl.fcntl(read, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(read, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC | fcntl.fcntl(read, fcntl.F_GETFL))
    except (ImportError, AttributeError, OSError):
        import _thread

        if in_a_thread:
            _thread.start_new_thread(_wait_for_end, (read,))
    # What happened before the signal was asked for sends none.
    if select.select([read], [], [], 0)[0]:
        os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_end(read: Any) -> None:
    try:
        os.read(read, 1)
    finally:
        os._exit(1)

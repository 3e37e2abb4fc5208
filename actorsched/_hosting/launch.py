"""Starting host processes.

The law of this module: it makes a process and the two ends between it and this one, and waits for nothing.
What the process does is told in `child`, what this end does in `link`.

How it works: the host is an interpreter of its own, never a fork of this one, which may have threads; it
inherits its ends of the sockets and memory files and nothing else. It has a process group of its own, so a
Ctrl-C at the terminal does not reach it, and everything that it starts can be ended together with it. It does
not get a session of its own: Linux schedules sessions against each other, and parent and host would preempt
each other less readily than two tasks of one session do.
"""

from __future__ import annotations

import marshal
import socket
import subprocess
import sys
from contextlib import ExitStack
from os import close
from typing import TYPE_CHECKING, Literal

from actorsched._hosting.handover import command, handover
from actorsched._hosting.lifeline import cut, new_lifeline
from actorsched._hosting.link import HostLink, Inheritance
from actorsched._hosting.segments import memory_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.wire import FromHost
    from actorsched._kernel.backend import Backend


def launch(
    backend: Backend,
    kind: Literal["tasks", "actors"],
    *,
    on_frame: Callable[[FromHost], None],
    on_exit: Callable[[HostExit], None],
    on_read: Callable[[], object] | None = None,
    start_timeout: float = 30.0,
    name: str = "host",
) -> HostLink:
    """Start a host. Takes a millisecond or two, and does not wait for the host to be ready.

    Args:
        backend: The event loop that runs in this thread.
        kind: "tasks": it runs one function at a time. "actors": it runs an event loop with actors in it.
        on_frame: Called in the loop with every frame of the host, in order, `Hello` first.
        on_read: Called in the loop after the frames that came together have been handed on.
        on_exit: Called in the loop once, when the process has gone and all its frames have been handed on.
        start_timeout: How many seconds it may take until its `Hello`; then it is killed.
        name: What to call it in messages.

    Raises:
        OSError: The system has no process, memory or descriptor for it.
        RuntimeError: There is no interpreter to be started.
    """
    with ExitStack() as undo, ExitStack() as theirs:
        inheritance = _prepare(kind, undo, theirs)
        process = subprocess.Popen(
            command(inheritance.descriptors["socket"]),
            stdin=subprocess.DEVNULL,
            pass_fds=list(inheritance.descriptors.values()),
            process_group=0,
        )
        undo.callback(process.wait)
        undo.callback(process.kill)
        handed = marshal.dumps(handover(kind, _backend_name(backend), inheritance.descriptors))
        link = HostLink(
            backend,
            kind,
            process,
            inheritance,
            first=len(handed).to_bytes(4, "little") + handed,
            on_frame=on_frame,
            on_exit=on_exit,
            on_read=on_read,
            start_timeout=start_timeout,
            name=name,
        )
        undo.pop_all()
        return link


def _prepare(kind: str, undo: ExitStack, theirs: ExitStack) -> Inheritance:
    """Make both ends of everything. `undo` closes ours, `theirs` what only the host needs."""
    descriptors: dict[str, int] = {}
    ours: dict[str, socket.socket] = {}
    for name in ("socket", "control") if kind == "tasks" else ("socket",):
        ours[name], other = socket.socketpair()
        undo.callback(ours[name].close)
        theirs.callback(other.close)
        ours[name].setblocking(False)
        descriptors[name] = other.fileno()
    descriptors["lifeline"], write = new_lifeline()
    undo.callback(cut, write)
    theirs.callback(close, descriptors["lifeline"])
    for name in ("to_host", "from_host"):
        file = memory_file()
        if file is not None:
            undo.callback(close, file)
            descriptors[name] = file
    return Inheritance(ours["socket"], ours.get("control"), write, descriptors)


def _backend_name(backend: Backend) -> str:
    if backend.name == "asyncio" and "uvloop" in sys.modules:
        import asyncio

        if type(asyncio.get_running_loop()).__module__.partition(".")[0] == "uvloop":
            return "uvloop"
    return backend.name

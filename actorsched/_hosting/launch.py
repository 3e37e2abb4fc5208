"""Starting host processes.

The law of this module: it makes both ends of what a host and its parent share, asks the spawner for a
process, and waits for nothing. What the process does is told in `child`, what this end does in `link`.

How it works: a host is forked from the spawner, which has no threads, never from this process, which may have
some. It gets its ends of the sockets, the memory files, the present directory and output streams of this
process, and nothing else. It has a process group of its own, so a Ctrl-C at the terminal does not reach it,
and everything that it starts can be ended together with it. It does not get a session of its own: Linux
schedules sessions against each other, and parent and host would preempt each other less readily than two
tasks of one session do.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from actorsched._hosting.handover import handover
from actorsched._hosting.lifeline import cut, new_lifeline
from actorsched._hosting.link import Ends, HostLink
from actorsched._hosting.segments import memory_file
from actorsched._hosting.spawner import backend_name, new_ones_above_the_standard_streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.spawner import Spawner
    from actorsched._hosting.wire import FromHost


def launch(
    spawner: Spawner,
    kind: Literal["tasks", "actors"],
    *,
    on_frame: Callable[[FromHost], None],
    on_exit: Callable[[HostExit], None],
    on_read: Callable[[], object] | None = None,
    start_timeout: float = 30.0,
    name: str = "host",
) -> HostLink:
    """Start a host. Takes part of a millisecond, and does not wait for the host to be ready.

    Args:
        spawner: What it is forked from. Its process is started now, if it has none.
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
    spawner.start()
    with ExitStack() as undo, ExitStack() as theirs:
        with new_ones_above_the_standard_streams():
            ends, given, lifeline = _prepare(kind, undo, theirs)
        first = handover(kind, backend_name(spawner.backend))
        process = spawner.fork(given, theirs.pop_all(), lifeline)
        undo.pop_all()
    return HostLink(
        spawner.backend,
        kind,
        process,
        ends,
        first=first,
        on_frame=on_frame,
        on_exit=on_exit,
        on_read=on_read,
        start_timeout=start_timeout,
        name=name,
    )


def _prepare(kind: str, undo: ExitStack, theirs: ExitStack) -> tuple[Ends, dict[str, int], int]:
    """Make both ends of everything. `undo` closes ours, `theirs` what only the host needs.

    Returns:
        This side's ends, the descriptors for the host by name, and the write end of the lifeline.
    """
    given: dict[str, int] = {}
    ours: dict[str, socket.socket] = {}
    for name in ("socket", "control") if kind == "tasks" else ("socket",):
        ours[name], other = socket.socketpair()
        undo.callback(ours[name].close)
        theirs.callback(other.close)
        ours[name].setblocking(False)
        given[name] = other.fileno()
    given["lifeline"], lifeline = new_lifeline()
    undo.callback(cut, lifeline)
    theirs.callback(os.close, given["lifeline"])
    given["cwd"] = os.open(".", os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY))
    theirs.callback(os.close, given["cwd"])
    for name in ("to_host", "from_host"):
        file = memory_file()
        if file is not None:
            undo.callback(os.close, file)
            given[name] = file
    ends = Ends(ours["socket"], ours.get("control"), given.get("to_host"), given.get("from_host"))
    return ends, given, lifeline

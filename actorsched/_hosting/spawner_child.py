"""The spawner: a process with nothing in it but what hosts need, which makes hosts of itself.

The law of this module: it forks when it is told to, tells which of its children have ended, and imports ahead
while there is nothing else to do. It has one thread for all its life, creates no event loop, runs nothing of
the user's, and decides nothing. Where something has started a thread in it all the same (what `site` runs at
the start of an interpreter may), it refuses to fork: whatever that thread has locked would stay locked.

How it works: `serve` returns in the new host, and only there: so a host begins where the spawner itself
began, with nothing of it on its stack. All memory that the two have in common is shared until one of them
writes to it. The garbage collector would write to all of it, so it is kept away from what there is at a fork
(`gc.freeze`).

A child that has ended stays a zombie until the parent has done with its process id: `waitid` looks without
reaping. Its end is noticed by SIGCHLD, which writes to a pipe that is polled along with the socket.

When the parent's end of the socket is closed, the spawner ends; its hosts live on. When the parent dies, the
kernel ends it (`lifeline`), even while it is stopped.
"""

from __future__ import annotations

import gc
import os
import select
import signal
from typing import TYPE_CHECKING

import msgspec

from actorsched._hosting import child
from actorsched._hosting.births import (
    PACKET,
    Ended,
    Fork,
    Forked,
    Ping,
    Pong,
    Ready,
    Reap,
    Refused,
    ToSpawner,
    encode,
)
from actorsched._hosting.lifeline import hang_on
from actorsched._hosting.preload import ahead, first

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterator

_MOST = 16
"""So many descriptors come with a request at most."""

_REST_MS = 50
"""How long nothing must have come in before something is imported ahead: a script that has just got its first
host needs the processor more."""


_THREADS = (
    "something that runs at the start of every interpreter (sitecustomize, usercustomize or a .pth file) has "
    "started a thread in its spawner, and a process with threads cannot be forked safely; have it start none "
    'where sys.argv[0] is "-c"'
)


class Spawner:
    """The process that hosts are forked from.

    Args:
        socket: The end of the socket to the parent; a SOCK_SEQPACKET.
        lifeline: The read end of its own lifeline.
        ahead: Steps of work to be done while nothing else is to be done; none of them starts a thread.
    """

    def __init__(self, socket: _socket.socket, lifeline: int, ahead: Iterator[object]) -> None:
        self._socket = socket
        self._lifeline = lifeline
        self._ahead: Iterator[object] | None = ahead
        self._decode: Callable[[bytes], ToSpawner] = msgspec.msgpack.Decoder(ToSpawner).decode
        self._children: dict[int, int] = {}  # by process id: the number of the request
        self._told: set[int] = set()
        self._alarm, self._bell = os.pipe()
        for descriptor in (self._alarm, self._bell):
            os.set_blocking(descriptor, False)

    def __repr__(self) -> str:
        return f"<Spawner with {len(self._children)} hosts>"

    def serve(self) -> dict[str, int]:
        """Fork hosts until the parent closes the socket, which ends this process.

        Returns:
            In each new host: its descriptors by name.
        """
        hang_on(self._lifeline, in_a_thread=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, _wake)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        gc.disable()
        self._say(Ready())
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        poll.register(self._alarm, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll(_REST_MS if self._ahead else None)]
            if self._alarm in ready:
                os.read(self._alarm, PACKET)
                self._tell_ends()
            if self._socket.fileno() in ready:
                host = self._hear()
                if host is not None:
                    return host
            elif not ready:
                self._go_ahead(poll)

    # ------------------------------------------------------------------------------------------------ hearing

    def _hear(self) -> dict[str, int] | None:
        """Do what one message says. In a host that it has brought about, answer with its descriptors."""
        data, descriptors, whole = receive(self._socket)
        if not data:
            # By force, as its parent is about to do: coverage.py can be told to write its figures in
            # `os._exit`, and a file would be left half written.
            os.kill(os.getpid(), signal.SIGKILL)
        message = self._decode(data)
        if isinstance(message, Fork):
            return self._fork(message, descriptors, whole)
        if isinstance(message, Reap):
            self._reap(message.pid)
        else:
            assert isinstance(message, Ping)
            self._tell_ends()
            self._say(Pong())
        return None

    def _say(self, message: Ready | Forked | Refused | Ended | Pong) -> None:
        try:
            self._socket.send(encode(message))
        except OSError:  # the parent has closed its end, or has gone: that is read next
            pass

    def _fork(self, request: Fork, descriptors: list[int], whole: bool) -> dict[str, int] | None:
        try:
            if not whole or len(descriptors) != len(request.names):
                self._say(Refused(request.number, "its spawner had no descriptors free for it"))
                return None
            if _has_threads():
                self._say(Refused(request.number, _THREADS))
                return None
            gc.freeze()
            try:
                pid = os.fork()
            except OSError as error:
                self._say(Refused(request.number, f"the system would not fork: {error}"))
                return None
            if not pid:
                taken, descriptors = dict(zip(request.names, descriptors, strict=True)), []
                self._become_a_host(request.number, taken)
                return taken
            self._children[pid] = request.number
            return None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _become_a_host(self, number: int, descriptors: dict[str, int]) -> None:
        os.setpgid(0, 0)
        hang_on(descriptors["lifeline"])
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._say(Forked(number, os.getpid()))
        self._socket.close()
        for descriptor in (self._lifeline, self._alarm, self._bell):
            os.close(descriptor)
        gc.enable()

    # --------------------------------------------------------------------------------------------------- ends

    def _tell_ends(self) -> None:
        """Tell of the children that have become zombies since the last look."""
        for pid, number in self._children.items():
            if pid in self._told:
                continue
            end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is not None:
                self._told.add(pid)
                exited = end.si_code == os.CLD_EXITED
                self._say(Ended(number, pid, end.si_status if exited else -end.si_status))

    def _reap(self, pid: int) -> None:
        """Only a child whose end was told is reaped, so this never waits."""
        if pid in self._told:
            os.waitpid(pid, 0)
            self._told.discard(pid)
            del self._children[pid]

    # ------------------------------------------------------------------------------------------------- ahead

    def _go_ahead(self, poll: select.poll) -> None:
        """Import what the hosts to come will need, one thing after the other, until something comes in."""
        while self._ahead is not None and not poll.poll(0):
            if next(self._ahead, self) is self:
                self._ahead = None
                gc.unfreeze()  # what was frozen at the forks until now may be garbage
                gc.collect()
                os.dup2(1, 2)  # no failure is told there any more, and the parent's stderr is not kept open


def main(socket: int, lifeline: int, backend: str, more: list[str]) -> None:
    """Be the spawner; and, in the processes that it forks, a host.

    Args:
        socket: The descriptor of the socket to the parent.
        lifeline: That of the read end of the lifeline.
        backend: What the parent runs: "asyncio", "uvloop" or "trio".
        more: Modules that the layer above wants to be imported ahead.
    """
    import _socket  # `socket` would take longer to import than much of the rest

    first()
    descriptors = Spawner(_socket.socket(fileno=socket), lifeline, ahead(backend, more)).serve()
    child.main(descriptors)


def receive(socket: _socket.socket) -> tuple[bytes, list[int], bool]:
    """One packet, the descriptors that came with it, and whether all did that were sent; b"" at the end."""
    import _socket

    size = 4  # of a C int: so are descriptors sent
    try:
        data, extra, flags, _ = socket.recvmsg(
            PACKET, _socket.CMSG_SPACE(_MOST * size), _socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionError:  # the parent closed it with something of ours unread
        return b"", [], False
    descriptors: list[int] = []
    for level, kind, body in extra:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            numbers = memoryview(body[: len(body) // size * size]).cast("i")
            descriptors.extend(numbers)
    return data, descriptors, not flags & _socket.MSG_CTRUNC


def _has_threads() -> bool:
    """Whether this process has more than one, also such as Python does not know; False where nobody tells."""
    try:
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:
        return False


def _wake(number: int, frame: object) -> None:
    """A signal that has a handler writes to the pipe; there is nothing more to do."""

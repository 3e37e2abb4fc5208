"""The parent's end of the spawner, the process that hosts are forked from.

The law of this module: everything happens on the loop's thread, and nothing waits. It starts the spawner,
asks it for hosts, and hands on what it says of them. What becomes of a host is `host_process`'s business,
what the spawner does is told in `spawner_child`.

How it works: the spawner starts with the first request, which it finds in its socket when it has got so far.
A request keeps the host's descriptors until it is answered, so whatever happens to a spawner, its requests
can be made again at the next one. The end of its stream says that no answer is missing (`births` tells why).

A spawner that dies takes no host along: the ends of its hosts are then watched from here. One that does not
answer is killed, and with it goes nothing but the exit status of hosts that end from then on. It has a second
for an answer; more, each time that this has turned out to be too little. A spawner that ends before it was
ready once would do so again: its requests fail with it.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket as sockets
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from actorsched._hosting.births import (
    PACKET,
    Ended,
    Fork,
    Forked,
    FromSpawner,
    Ping,
    Pong,
    Ready,
    Reap,
    Refused,
    encode,
)
from actorsched._hosting.handover import command, search_path
from actorsched._hosting.host_process import HostProcess
from actorsched._hosting.lifeline import cut, new_lifeline

if TYPE_CHECKING:
    from collections.abc import Generator

    from actorsched._kernel.backend import Backend, Handle, Watch

_PATIENCE = 1.0
"""How many seconds a spawner may take for an answer."""
_MOST_PATIENCE = 30.0
_MOST_TRIES = 3
"""How many spawners may die over one request."""
_UNDER_WAY = 16
"""So many requests wait in the socket at most: the system limits descriptors that are under way."""

_decode = msgspec.msgpack.Decoder(FromSpawner).decode


class Spawner:
    """Makes hosts, all from one process, which it starts when it is needed.

    Args:
        backend: The event loop that runs in this thread.
        start_timeout: How many seconds the spawner may take to get ready.
        more: Modules that hosts will need, and that this layer does not know.
    """

    def __init__(self, backend: Backend, *, start_timeout: float = 30.0, more: tuple[str, ...] = ()) -> None:
        self._backend = backend
        self._more = more
        self._start_timeout = start_timeout
        self._patience = _PATIENCE
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: sockets.socket | None = None
        self._lifeline = -1
        self._watch: Watch | None = None
        self._timer: Handle | None = None
        self._ready = self._suspected = self._pinged = False
        self._blame: str | None = None
        self._number = 0
        self._unsent: deque[HostProcess] = deque()
        self._asked: dict[int, HostProcess] = {}  # by number; also those that are not sent
        self._living: dict[int, HostProcess] = {}

    def __repr__(self) -> str:
        state = "not started" if self._process is None else "ready" if self._ready else "starting"
        return f"<Spawner {self.pid or ''} {state}: {len(self._living)} hosts, {len(self._asked)} asked for>"

    @property
    def pid(self) -> int:
        """Its process id; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def backend(self) -> Backend:
        """The event loop."""
        return self._backend

    def start(self) -> None:
        """Start the process, if there is none.

        Raises:
            OSError: The system has no process or descriptor for it.
            RuntimeError: There is no interpreter to be started.
        """
        if self._process is not None:
            return
        with ExitStack() as undo, ExitStack() as theirs:
            with new_ones_above_the_standard_streams():
                ours, other = sockets.socketpair(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
                undo.callback(ours.close)
                theirs.callback(other.close)
                read, write = new_lifeline()
                undo.callback(cut, write)
                theirs.callback(os.close, read)
            process = subprocess.Popen(
                command(other.fileno(), read),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if 2 in _streams() else subprocess.DEVNULL,
                pass_fds=[other.fileno(), read],
                process_group=0,
            )
            undo.callback(process.wait)
            undo.callback(process.kill)
            ours.setblocking(False)
            ours.send(marshal.dumps((search_path(), backend_name(self._backend), list(self._more))))
            self._watch = self._backend.watch_readable(ours.fileno(), self._readable)
            undo.pop_all()
        self._process, self._socket, self._lifeline = process, ours, write
        self._ready = self._suspected = self._pinged = False
        self._blame = None
        self._expect()

    def fork(self, given: dict[str, int], theirs: ExitStack, lifeline: int) -> HostProcess:
        """Ask for a host. The process must have been started.

        Args:
            given: The descriptors that it is to have, by name.
            theirs: Closes those of them that only the host needs.
            lifeline: The write end of its lifeline.
        """
        self._number += 1
        process = HostProcess(self, self._number, given, theirs, lifeline)
        self._ask(process)
        return process

    def close(self) -> None:
        """End the spawner. Hosts that live go on; those that were only asked for do not start."""
        for process in self._asked.values():
            process.tries = _MOST_TRIES
        self._over()

    # ------------------------------------------------------------------------------------------------ asking

    def ask_after(self) -> None:
        """Find out whether the spawner is able to tell of ends."""
        if self._process is not None and not self._pinged:
            self._pinged = True
            self._send(Ping())
            self._expect()

    def reap(self, pid: int) -> None:
        """A host has ended, and nobody needs its process id any more."""
        self._send(Reap(pid))

    def not_wanted(self) -> None:
        """A host was killed before it was known: a spawner that gets ready for such only is not needed."""
        if self._asked and not self._ready and all(process.killed for process in self._asked.values()):
            self._over()

    def _ask(self, process: HostProcess) -> None:
        process.tries += 1
        self._asked[process.number] = process
        self._unsent.append(process)
        self._send_requests()
        self._expect()

    def _send_requests(self) -> None:
        while self._unsent and len(self._asked) - len(self._unsent) < _UNDER_WAY:
            process = self._unsent.popleft()
            given = {**process.given, **_streams_by_name()}
            error = self._send(Fork(process.number, list(given)), list(given.values()))
            if error is not None:
                del self._asked[process.number]
                self._backend.call_soon(process.is_refused, str(error))

    def _send(self, message: Fork | Reap | Ping, descriptors: list[int] | None = None) -> OSError | None:
        """Send now. A dead spawner takes nothing, which is noticed elsewhere; other errors are returned."""
        if self._socket is None:
            return None
        extra = [(sockets.SOL_SOCKET, sockets.SCM_RIGHTS, _as_c_integers(descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([encode(message)], extra)
        except (ConnectionError, BlockingIOError):  # it has died, or does not read, which is noticed as well
            return None
        except OSError as error:
            return error
        return None

    # --------------------------------------------------------------------------------------------- listening

    def _readable(self) -> None:
        """Hear everything that there is."""
        socket = self._socket
        while socket is not None and socket is self._socket:
            try:
                data = socket.recv(PACKET)
            except BlockingIOError:
                return
            except ConnectionError:  # told once when it died with something of ours unread
                continue
            if not data:
                self._over()
                return
            self._heard(_decode(data))

    def _heard(self, message: FromSpawner) -> None:
        self._suspected = False
        process: HostProcess | None = None
        match message:
            case Ready():
                self._ready = True
            case Forked(number, pid):
                process = self._asked.pop(number)
                self._living[number] = process
                process.is_there(pid)
            case Refused(number):
                process = self._asked.pop(number)
            case Ended(number):
                process = self._living.pop(number, None) or self._asked.pop(number)
            case Pong():
                self._pinged = False
        self._send_requests()
        self._stop_timer()
        if self._asked or self._pinged:
            self._expect()
        if process is not None and isinstance(message, Refused):
            process.is_refused(message.why)
        elif process is not None and isinstance(message, Ended):
            process.has_died(message.pid, message.status)

    # ----------------------------------------------------------------------------------------------- deafness

    def _expect(self) -> None:
        """It has something to say: to get ready, or to answer."""
        if self._timer is None and self._process is not None:
            # In halves: when this process was stopped itself, the first is over before anybody could answer.
            delay = self._patience / 2 if self._ready else self._start_timeout
            self._timer = self._backend.call_at(self._backend.monotonic() + delay, self._late)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _late(self) -> None:
        self._timer = None
        self._readable()  # the loop may have been kept from reading for long
        if self._timer is not None or not (self._asked or self._pinged or not self._ready):
            return
        if self._process is None:
            return
        if self._blame is not None:  # it was killed already, and something keeps its end of the socket open
            self._over()
        elif not self._ready:
            self._blame = f"its spawner was not ready within {self._start_timeout:g} s, and was killed"
            self._process.kill()
        elif self._suspected:
            self._blame = "its spawner did not answer, and was killed"
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
            self._process.kill()
        else:
            self._suspected = True
        self._expect()

    # ------------------------------------------------------------------------------------------------ the end

    def _over(self) -> None:
        """The spawner has ended, or is ended now."""
        status = self._end_process()
        living, self._living = self._living, {}
        for process in living.values():
            process.is_orphaned(self._backend)
        asked, self._asked = self._asked, {}
        self._unsent.clear()
        was_ready, blame = self._ready, self._blame
        for process in asked.values():
            if process.killed:
                self._backend.call_soon(process.has_died, 0, -signal.SIGKILL)
            elif not was_ready and blame is None:
                self._backend.call_soon(process.has_died, 0, status)
            elif not was_ready or process.tries >= _MOST_TRIES:
                self._backend.call_soon(process.is_refused, blame or "its spawner has ended")
            else:
                self._ask_again(process)

    def _end_process(self) -> int | None:
        """Close everything. Answers with what it ended with."""
        self._stop_timer()
        self._pinged = False
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        status = process.wait()
        cut(self._lifeline)
        return status

    def _ask_again(self, process: HostProcess) -> None:
        """The spawner has died before it answered to this request."""
        try:
            self.start()
        except (OSError, RuntimeError) as error:
            self._backend.call_soon(process.is_refused, str(error))
        else:
            self._ask(process)


# ---------------------------------------------------------------------------------------------- descriptors


@contextmanager
def new_ones_above_the_standard_streams() -> Generator[None]:
    """Keep descriptors that are made meanwhile from taking the place of a standard stream that is closed."""
    taken: list[int] = []
    try:
        while not taken or taken[-1] <= 2:
            taken.append(os.open(os.devnull, os.O_RDWR))
        os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)


def _streams() -> list[int]:
    """Those of stdout and stderr that are open.

    One that was closed when the interpreter started may be anything by now.
    """
    return [
        number for number, stream in ((1, sys.__stdout__), (2, sys.__stderr__)) if stream and _is_open(number)
    ]


def _streams_by_name() -> dict[str, int]:
    return {("stdout", "stderr")[number - 1]: number for number in _streams()}


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _as_c_integers(numbers: list[int]) -> bytes:
    return b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)


def backend_name(backend: Backend) -> str:
    """What runs here: "asyncio", "uvloop" or "trio"."""
    if backend.name == "asyncio" and "uvloop" in sys.modules:
        import asyncio

        if type(asyncio.get_running_loop()).__module__.partition(".")[0] == "uvloop":
            return "uvloop"
    return backend.name

"""The parent's end of a host: frames go in, frames come out, and its end is noticed.

The law of this module: everything happens on the loop's thread (but the release of shared memory, which any
thread may trigger), nothing waits, and nothing is decided: what a frame means is the business of the layer
above. Only what concerns the link itself is settled here: `Hello`, `Bye`, `Release`, functions already known
over there. And while code in the host is debugged, it is neither killed nor suspended: that is done later.

How it works: what is sent in one turn of the loop goes out as one packet at its end, but the first frame
after a silence goes out at once. A task host has a second socket for what must reach it while its main
thread is busy with a function: `_URGENT` frames overtake the others.

The end of a host is told exactly once, after every frame that it wrote, by `on_exit`. Its `HostProcess` tells
that it has ended. A host that leaves the protocol, closes its socket or does not get ready in time is killed,
and that is then the cause.
"""

from __future__ import annotations

import signal
import socket as sockets
import sys
from collections import deque
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple

from actorsched._hosting import journal
from actorsched._hosting.exits import judge, memory_kills
from actorsched._hosting.handover import log_levels, search_path
from actorsched._hosting.logs import levels_version
from actorsched._hosting.outlet import Outlet
from actorsched._hosting.packets import Packer, ProtocolError, Splitter
from actorsched._hosting.segments import Borrower, Lender
from actorsched._hosting.wire import (
    Answer,
    Bulky,
    Bye,
    Call,
    Cancel,
    Define,
    FromHost,
    Halted,
    Hello,
    Levels,
    Path,
    Release,
    Revoke,
    Run,
    Stop,
    ToHost,
    Undefine,
    WentOn,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._hosting.definitions import Definition
    from actorsched._hosting.exits import Cause, HostExit
    from actorsched._hosting.host_process import HostProcess
    from actorsched._hosting.terminal import Debugged
    from actorsched._kernel.backend import Backend, Handle, Watch

_URGENT = frozenset({Answer, Cancel, Revoke})
_OURS = frozenset({Bye, Halted, Hello, Release, WentOn})

_READ = 256 * 1024
_FLUSH_AT = 512
"""How many frames may gather before they go out without waiting for the end of the turn."""

_ALONE = 20e-6
"""A frame that comes so many seconds after the last flush goes out at once: a call for the end of the turn
can cost as much as the rest of the way to the host. One that comes sooner is taken for one of many."""

_PAUSE = 5.0
"""How many seconds a host may be silent amid a packet: it writes each in one go, however big it is."""

_LINGER = 5.0
"""How many seconds a host may take to end after it has said `Bye` or has closed its socket."""

_AFTERWARDS = 1.0
"""How many seconds a host has, once it is not debugged any more, that was to be killed meanwhile: what was
asked of it could only be heard now."""


class Ends(NamedTuple):
    """This side's ends of what a link and its host share. The memory files are the same on both sides."""

    socket: sockets.socket
    control: sockets.socket | None
    to_host: int | None
    from_host: int | None


class HostLink:
    """The parent's end of one host process. Made by `launch`.

    Attributes:
        kind: "tasks" or "actors".
        name: What to call it in messages.
        pid: Its process id; 0 as long as it is not known.
        ready: Whether it has said `Hello`.
        exited: How it ended; None while it lives.
        debugged: What is known of its debugger, once it has had one.
    """

    def __init__(
        self,
        backend: Backend,
        kind: Literal["tasks", "actors"],
        process: HostProcess,
        ends: Ends,
        *,
        first: bytes,
        on_frame: Callable[[FromHost], None],
        on_exit: Callable[[HostExit], None],
        on_read: Callable[[], object] | None,
        start_timeout: float,
        name: str,
    ) -> None:
        self.kind = kind
        self.name = name
        self.ready: bool = False
        self.exited: HostExit | None = None
        self.debugged: Debugged | None = None
        self._backend = backend
        self._process = process
        self._on_frame = on_frame
        self._on_exit = on_exit
        self._on_read = on_read
        self._memory_kills = memory_kills()
        self._blame: tuple[Cause, str] | None = None
        self._said_bye = False
        self._suspended = False
        self._unwanted = False
        self._reads = 0
        self._known: set[int] = set()
        self._levels = levels_version()
        self._path = list(sys.path)  # where the host looks for modules
        self._queue: list[ToHost] = []
        self._urgent: list[ToHost] = []
        self._holding = False
        self._flushed_at = 0.0
        self._released: deque[int] = deque()
        self._undefined: deque[int] = deque()
        self._socket = ends.socket
        self._from_host = ends.from_host
        self._lender = Lender(ends.to_host)
        self._borrower = Borrower(self._from_host, self._on_release)
        self._buffer = memoryview(bytearray(_READ))
        self._packer = Packer(self._lender.place)
        self._splitter = Splitter(FromHost, self._borrower.resolve)
        self._outlet = Outlet(backend, ends.socket)
        self._control = Outlet(backend, ends.control) if ends.control else None
        self._outlet.write(first)
        self._reading: Watch | None = backend.watch_readable(self._socket.fileno(), self._readable)
        self._timer: Handle | None = backend.call_at(
            backend.monotonic() + start_timeout, self._not_ready, start_timeout
        )
        process.on_end = self._ended

    def hand_over_to(
        self,
        on_frame: Callable[[FromHost], None],
        on_exit: Callable[[HostExit], None],
        on_read: Callable[[], object],
    ) -> None:
        """From now on tell these, instead of those that were told before."""
        self._on_frame, self._on_exit, self._on_read = on_frame, on_exit, on_read

    def __repr__(self) -> str:
        state = self.exited.detail if self.exited else "ready" if self.ready else "starting"
        return f"<HostLink {self.name!r} to the {self.kind} host {self.pid or '(no process yet)'}: {state}>"

    @property
    def pid(self) -> int:
        """The process id of the host; 0 as long as it is not known."""
        return self._process.pid

    # ------------------------------------------------------------------------------------------------ sending

    def send(self, frame: ToHost) -> None:
        """Send a frame: at once if it comes alone or has big arguments, else with the others of this turn.

        Does nothing when the host has ended.
        """
        if self.exited is not None:
            return
        queue = self._urgent if self._control is not None and type(frame) in _URGENT else self._queue
        queue.append(frame)
        if self._holding:
            if len(queue) >= _FLUSH_AT or _refers_to_memory(frame):
                self.flush()
        elif monotonic() - self._flushed_at > _ALONE or _refers_to_memory(frame):
            self.flush()
        else:
            self._holding = True
            self._backend.call_soon(self._end_of_turn)

    def run(self, definition: Definition, frame: Run) -> None:
        """Send a task, and before it the function, if this host does not know that yet.

        It is what `define` and `send` do, without their price where many tasks are sent at once.
        """
        if definition.fn_id not in self._known:
            self.define(definition)
        if self._holding and type(frame.args) is bytes and len(self._queue) < _FLUSH_AT:
            self._queue.append(frame)
        else:
            self.send(frame)

    def flush(self) -> None:
        """Send now what waits for the end of the turn."""
        if self.exited is not None:
            return
        self._flushed_at = monotonic()
        if self._released:  # first, so that the memory can be used again for what the others bring about
            self._queue.insert(0, Release(_drained(self._released)))
        if self._undefined:
            numbers = _drained(self._undefined)
            self._known.difference_update(numbers)
            self._queue.append(Undefine(numbers))
        if self._queue:
            if sys.path != self._path:
                self._path = list(sys.path)
                self._queue.insert(0, Path(search_path()))
            version = levels_version()
            if version != self._levels:
                self._levels = version
                self._queue.insert(0, Levels(log_levels()))
            frames, self._queue = self._queue, []
            self._outlet.write(self._packer.pack(frames))
        if self._urgent and self._control is not None:
            frames, self._urgent = self._urgent, []
            self._control.write(self._packer.pack(frames))

    def define(self, definition: Definition) -> int:
        """Make sure that the host knows a function or class, and answer with its number."""
        number = definition.fn_id
        if number not in self._known:
            self._known.add(number)
            definition.known_by(self)
            self.send(Define(number, definition.body))
        return number

    def undefine_later(self, number: int) -> None:
        """No later frame will name this function or class. From any thread; told at the next occasion."""
        self._undefined.append(number)

    def stop(self) -> None:
        """Ask the host to finish what it has been sent, and to end."""
        self.send(Stop())

    def kill(self) -> None:
        """End the host and everything that it has started, now, or as soon as there is a process.

        While it is debugged, that is put off.
        """
        if self._is_debugged:
            self._unwanted = True
        else:
            self._signal(signal.SIGKILL)

    def suspend(self) -> None:
        """Stop the processes of the host where they are, until `resume`.

        While it is debugged, that is put off.
        """
        self._suspended = True
        if not self._is_debugged:
            self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let suspended processes go on."""
        self._suspended = False
        self._reads += 1
        self._signal(signal.SIGCONT)

    @property
    def unsent(self) -> int:
        """How many bytes the host has not been quick enough to take."""
        return self._outlet.unsent + (self._control.unsent if self._control is not None else 0)

    @property
    def last_started(self) -> int:
        """The number of the last task whose function has begun; no task with a greater number has.

        True at any time, also after a sudden death: the host writes it into shared memory. Without shared
        memory, the greatest number there is.
        """
        if self.exited is not None:
            return self.exited.last_started
        if self._from_host is None:
            return (1 << 63) - 1
        return journal.last_started(self._from_host)

    @property
    def weight(self) -> int:
        """How many bytes were resident of a task host before its task, if the memory of that is limited.

        0 if it is not, or has not begun; and where that cannot be known.
        """
        return 0 if self._from_host is None or self.exited is not None else journal.weight(self._from_host)

    def hold(self) -> int:
        """Keep a task host from beginning more, whatever it is busy with, until `let_go`.

        Returns:
            The number of the last task that has begun: the later ones never will if a `Revoke` names them.
            Without shared memory, the greatest number there is.
        """
        if self._from_host is not None and self.exited is None:
            journal.hold(self._from_host, True)
        return self.last_started

    def let_go(self) -> None:
        """After `hold`, and after the `Revoked` that answers to what was sent then."""
        if self._from_host is not None and self.exited is None:
            journal.hold(self._from_host, False)

    def _end_of_turn(self) -> None:
        self._holding = False
        self.flush()

    def _signal(self, number: int) -> None:
        if self.exited is None:
            self._process.signal(number)

    # -------------------------------------------------------------------------------- releasing shared memory

    def _on_release(self, offset: int) -> None:
        """From any thread, even from within the garbage collector."""
        first = not self._released
        self._released.append(offset)
        if first:
            try:
                self._backend.call_soon_threadsafe(self.flush)
            except RuntimeError:  # the loop has ended, and the host with it
                pass

    # ---------------------------------------------------------------------------------------------- receiving

    def _readable(self) -> None:
        data = self._read()
        if data is None:
            return
        if data:
            self._take(data)
        else:
            self._closed_by_host()

    def _read(self) -> memoryview | None:
        """What there is to read; empty at the end of the stream, None if there is nothing now."""
        try:
            return self._buffer[: self._socket.recv_into(self._buffer)]
        except BlockingIOError:
            return None
        except OSError:
            return self._buffer[:0]

    def _take(self, data: memoryview) -> None:
        self._reads += 1
        try:
            frames = self._splitter.feed(data)
        except ProtocolError as error:
            frames = error.frames
            self.kill_for("crashed", f"wrote what is not of the protocol, and was killed: {error}")
            self._stop_reading()
        held, self._holding = self._holding, True  # what the frames bring about goes out together
        try:
            self._deliver(frames)
        finally:
            self._holding = held
            self.flush()
            if self._splitter.partial and self._timer is None and self._reading is not None:
                self._set_timer(_PAUSE, self._silent_amid_a_packet, self._reads)

    def _silent_amid_a_packet(self, reads: int) -> None:
        """It may have begun what has no end: whatever it says next would be taken for a part of that."""
        self._timer = None
        self._readable()  # the loop may have been kept from reading
        if self._timer is not None or self._reading is None or not self._splitter.partial:
            return
        if self._suspended or self._reads != reads:
            self._set_timer(_PAUSE, self._silent_amid_a_packet, self._reads)
        else:
            why = f"said a part of something, no more for {_PAUSE:g} s, and was killed"
            self.kill_for("crashed", why)

    def _deliver(self, frames: list[FromHost]) -> None:
        """Hand on all frames, also when somebody fails at one: the first failure is raised at the end."""
        deliver = self._on_frame
        failure: BaseException | None = None
        for frame in frames:
            try:
                if type(frame) in _OURS:
                    self._settle(frame)
                else:
                    deliver(frame)
            except Exception as error:
                failure = failure or error
        if self._on_read is not None:
            self._on_read()
        if failure is not None:
            raise failure

    def _settle(self, frame: FromHost) -> None:
        if isinstance(frame, Release):
            self._lender.take_back(frame.offsets)
        elif isinstance(frame, Bye):
            self._said_bye = True
            self._set_timer(_LINGER, self.kill)
        elif isinstance(frame, Halted):
            self._halted(frame)
        elif isinstance(frame, WentOn):
            self._went_on()
        else:
            assert isinstance(frame, Hello)
            self.ready = True
            self._process.is_there(frame.pid)
            self._set_timer(None)
            self._on_frame(frame)

    # ----------------------------------------------------------------------------------------- being debugged

    @property
    def _is_debugged(self) -> bool:
        return self.debugged is not None and self.debugged.halted

    def _halted(self, frame: Halted) -> None:
        if self.debugged is None:
            from actorsched._hosting.terminal import Debugged

            self.debugged = Debugged(self.name, self.pid, self._backend)
        self.debugged.halt(frame)

    def _went_on(self) -> None:
        """It is not debugged any more; do what was put off."""
        if self.debugged is None or not self.debugged.halted:
            return
        self.debugged.go_on()
        if self._unwanted:
            self._set_timer(_AFTERWARDS, self.kill)
        if self._suspended:
            self._signal(signal.SIGSTOP)

    # ------------------------------------------------------------------------------------------------ the end

    def _not_ready(self, timeout: float) -> None:
        self.kill_for("never started", f"was not ready within {timeout:g} s, and was killed")

    def _closed_by_host(self) -> None:
        """Its last descriptor of the socket is closed: it has ended, or is of no use any more."""
        self._stop_reading()
        self._process.ask_after()
        if not self._said_bye:
            self._set_timer(_LINGER / 5, self._kill_without_socket)

    def _kill_without_socket(self) -> None:
        if not self._process.has_ended:  # if it has, that will be told
            self.kill_for("crashed", "closed its socket, and was killed")

    def kill_for(self, cause: Cause, detail: str) -> None:
        """End it now, and say of it then: this was why. The first reason holds."""
        if self._blame is None:
            self._blame = cause, detail
        self.kill()

    def _set_timer(
        self, delay: float | None, action: Callable[..., object] | None = None, *args: object
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if delay is not None and action is not None:
            self._timer = self._backend.call_at(self._backend.monotonic() + delay, action, *args)

    def _stop_reading(self) -> None:
        self._went_on()  # it could not say so any more
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def _ended(self) -> None:
        """The process has ended, but is not reaped yet; or there never was one."""
        with ExitStack() as steps:  # each of them is done, also when somebody fails at what the host has said
            steps.callback(self._tell_end)
            steps.callback(self._read_the_notes)
            steps.callback(self._read_the_rest)

    def _tell_end(self) -> None:
        if self.debugged is not None:
            self.debugged.go_on()
        self._signal(signal.SIGKILL)  # whatever it has started, and left behind
        self.exited = judge(
            self.pid,
            self._process.status,
            ready=self.ready,
            said_bye=self._said_bye,
            blame=self._blame or self._process.refusal,
            starved=memory_kills() > self._memory_kills,
            last_started=self.last_started,
        )
        self._close()
        self._on_exit(self.exited)

    def _read_the_rest(self) -> None:
        """What it wrote before its end is in the socket; perhaps no end of file, if a child has it too."""
        while self._reading is not None and (data := self._read()):
            self._take(data)

    def _read_the_notes(self) -> None:
        """What it had done and not yet written is in its memory file; some that it had written may be too."""
        if self._from_host is None or not (data := journal.notes(self._from_host)):
            return
        try:
            frames = Splitter(FromHost, self._borrower.resolve).feed(data)
        except ProtocolError as error:
            frames = error.frames
        self._deliver(frames)

    def _close(self) -> None:
        self._set_timer(None)
        self._stop_reading()
        self._process.close()
        self._outlet.close()
        if self._control is not None:
            self._control.close()
        self._lender.close()
        self._borrower.close()
        self._queue.clear()
        self._urgent.clear()


def _refers_to_memory(frame: ToHost) -> bool:
    """Whether the frame has arguments that somebody could change before they are copied."""
    return isinstance(frame, (Run, Call)) and isinstance(frame.args, Bulky)


def _drained(numbers: deque[int]) -> list[int]:
    """Everything in it, while other threads may add more."""
    return [numbers.popleft() for _ in range(len(numbers))]

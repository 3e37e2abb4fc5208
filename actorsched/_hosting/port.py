"""The child's end of its link: what a host says to its parent.

The law of this module: frames go out, in the order in which they were said, by whichever thread flushes
first; what they mean is not its business. It blocks when the parent is slow to read: the parent never blocks
on its host, so this cannot be a circle.

How it works: `say` only notes a frame. `flush` writes everything noted as one packet, now. `urge` sees to it
that it goes out, `nudge` that it goes out within milliseconds; whoever runs the host puts in their places
what that takes. Packing copies big buffers into shared memory; what is noted is let go of right after that,
so that memory which was borrowed for arguments and came back as a result can be released in the same breath.

User code may fork. The other process has copies of everything here, but it is not the host: its frames would
mix with the host's, its notes would stand in the host's journal, and memory that it lets go of is still in
use here. So in a fork the port is *silent*: nothing of what is said there is ever written.
"""

from __future__ import annotations

import os
from _thread import RLock
from contextlib import contextmanager
from select import POLLIN, poll
from time import monotonic
from typing import TYPE_CHECKING

from actorsched._hosting.journal import Journal
from actorsched._hosting.packets import Packer
from actorsched._hosting.segments import Borrower, Lender
from actorsched._hosting.wire import OUT_OF_MEMORY, Bulky, Done, Failed, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from actorsched._hosting.wire import FromHost

_READ = 256 * 1024
_FLOOD = 64
_SILENCE = 0.01
_LIVELY = 0.0001
"""For how many seconds a host stays awake for the next task, while these come so soon."""


@contextmanager
def dying_of_bugs() -> Generator[None]:
    """A host whose own code has failed ends at once: its parent knows what to do about that."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, MemoryError):  # there may be none left to say more
            os._exit(OUT_OF_MEMORY)
        from traceback import print_exc

        print_exc()
        os._exit(70)


class Port:
    """What the host writes to, and its half of the shared memory.

    Args:
        socket: The descriptor of the socket to the parent.
        to_host: The memory file in which the parent lends.
        from_host: The one in which this host lends.
    """

    def __init__(self, socket: int, to_host: int | None, from_host: int | None) -> None:
        self.socket = socket
        # One buffer for good: one of this size for each read would be a new mapping each time.
        self._view = memoryview(bytearray(_READ))
        self._buffers = [self._view]
        self._lock = RLock()
        self._flushing = False
        self._said: list[FromHost] = []
        self._released: list[int] = []
        self._lender = Lender(from_host)
        self._packer = Packer(self._lender.place)
        self._pack = self._packer.pack
        self._pack_note = Packer(self._lender.place).pack  # its own, because another thread may be packing
        self.journal = Journal(from_host)
        self.borrower = Borrower(to_host, self._released.append)
        self.say = self._said.append
        self.urge: Callable[[], object] = self.flush
        self.nudge: Callable[[], object] = self.flush
        self.silent = False
        self._flushed_at = 0.0
        os.register_at_fork(after_in_child=self._fall_silent)
        self._lively = False  # the parent has spoken again soon after the last end

    def __repr__(self) -> str:
        return f"<Port: {len(self._said)} frames not flushed>"

    def _fall_silent(self) -> None:
        """This process is a fork of the host. Locks that other threads held are held for ever here."""
        self.silent = True
        self.journal = Journal(None)
        self._lock = RLock()

    @property
    def pending(self) -> int:
        """How many frames wait for a flush."""
        return len(self._said)

    def read(self) -> memoryview:
        """Wait for what the parent says; good until the next call. When the parent has gone, so has this."""
        then = monotonic()
        if self._lively:
            self._watch_for(_LIVELY)
        count = os.readv(self.socket, self._buffers)
        if not count:
            os._exit(0)
        self._lively = monotonic() - then < _LIVELY
        return self._view[:count]

    def _watch_for(self, seconds: float) -> None:
        """Wait for the parent without going to sleep: to be woken costs more than a small task."""
        deadline = monotonic() + seconds
        watch = poll()
        watch.register(self.socket, POLLIN)
        while not watch.poll(0) and monotonic() < deadline:
            os.sched_yield()

    def flush(self) -> None:
        """Write what has been said until now; from any thread."""
        if self.silent:
            self._said.clear()
            return
        with self._lock:
            if self._flushing:  # the collector ran while packing, and a finaliser has something to say
                return
            self._flushing = True
            try:
                while self._said or self._released:
                    noted = self.journal.end  # before the frames are taken: all these are among them
                    packet, bulky = self._packed()
                    if bulky:  # not noted before, because it is to be packed only once
                        noted = self.journal.note_at(noted, packet)
                    self._write(packet)
                    self.journal.drop(noted)
            finally:
                self._flushing = False
                self._flushed_at = monotonic()

    def _packed(self) -> tuple[bytearray, bool]:
        packet, bulky = bytearray(), False
        frames = self._said[:]  # another thread may say more at any moment
        if frames:
            packet = self._pack(frames)
            bulky = self._packer.bulky > 0
            del self._said[: len(frames)]
            frames.clear()
        if self._released:
            offsets = self._released[:]
            packet += self._pack([Release(offsets)])
            del self._released[: len(offsets)]
        return packet, bulky

    def settle(self, frame: Done | Failed) -> None:
        """Say what became of a task, so that it holds from now on, even if this process dies at once."""
        self.end_forks()
        self.say(frame)
        if _is_bulky(frame) or not self.journal.note(self._pack_note([frame])):
            self.flush()

    def end_forks(self) -> None:
        """A fork that comes back from where it was made is at its end: it would go on as a second host."""
        if self.silent:
            os._exit(0)

    def flush_if_needed(self) -> None:
        """Write what has been said, and what borrowed memory is to be given back, if there is any."""
        if self._released or self._said:
            self.flush()

    def urge_gently(self) -> None:
        """For what may come in floods: now after a silence, soon otherwise."""
        if len(self._said) >= _FLOOD or monotonic() - self._flushed_at > _SILENCE:
            self.flush()
        else:
            self.nudge()

    def take_back(self, offsets: list[int]) -> None:
        """The parent has let go of what it borrowed."""
        with self._lock:
            self._lender.take_back(offsets)

    def _write(self, packet: bytearray) -> None:
        written = os.write(self.socket, packet)
        if written < len(packet):
            with memoryview(packet) as view:
                while written < len(packet):
                    written += os.write(self.socket, view[written:])


def _is_bulky(frame: Done | Failed) -> bool:
    return type(frame.value if isinstance(frame, Done) else frame.error.exception) is Bulky

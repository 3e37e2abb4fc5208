"""What a task host has begun, and what it has finished and not yet said, kept where its death cannot take it.

The law of this module: it writes notes into the first pages of the host's memory file, and reads them in the
parent when the host has died. What is noted, and what follows from it, is decided elsewhere.

How it works: ends of tasks are gathered, so there are moments in which a task is over and its parent does
not know. Whatever dies then would take results of others along: a task that crashes its host would make
those before it fail, or run twice. So each end is noted in shared memory, as a packet of its own, before the
next task begins; the note is dropped when the socket has taken what it says. The socket outlives the
process, and so does the memory file. The parent may find both, and then learns the same thing twice.

The notes lie between two marks, which are words of eight bytes: each changes at once. The second is moved
after the note is written, so half a note is none. Whoever writes to the socket may be kept waiting there by
a parent that is slow to read, while the main thread goes on and notes more; so the lock here is held for
moments only, and what was noted meanwhile stays.

A host that is busy in C with one task hears nothing, and its parent cannot wait for it when the tasks behind
that one are wanted back. So the parent writes that nothing is to begin, and then reads what has: the host
notes that a task begins, and then reads whether it may. Whichever comes first, both know it.
"""

from __future__ import annotations

import mmap
import os
import sys
from _thread import RLock
from typing import Final

BOARD: Final = 256 * mmap.PAGESIZE
"""So many bytes at the beginning of a memory file hold no segment: the notes are there."""

_STARTED = 0
"""Where the number of the task that began last stands, in words of eight bytes."""
_FROM = 1
"""Where the beginning of the notes stands, in bytes from the beginning of the file."""
_TO = 2
"""Where their end stands."""
_HELD = 3
"""Where the parent writes 1 to keep the host from beginning anything: the one word that is not the host's."""
_WEIGHT = 4
"""Where stands how many bytes were resident when the present task began, if its memory is limited; else 0."""
_HEAD = 64
_ROOM = 128 * 1024
"""The end of nearly every task is smaller than that: what is bigger lies in memory of its own."""


class Journal:
    """The host's side.

    Args:
        descriptor: The memory file; None when there is none, and what is noted is lost.
    """

    __slots__ = ("_lock", "_memory", "_words", "end")

    def __init__(self, descriptor: int | None) -> None:
        self._memory = mmap.mmap(-1 if descriptor is None else descriptor, BOARD)
        self._words = memoryview(self._memory).cast("Q")
        self._words[_FROM] = self._words[_TO] = self.end = _HEAD
        # The collector may run while it is held, and finalisers may flush: then it is taken again.
        self._lock = RLock()

    def __repr__(self) -> str:
        return f"<Journal: {self.end - self._words[_FROM]} bytes>"

    def begin(self, number: int) -> None:
        """The function of this task begins now."""
        self._words[_STARTED] = number

    def weigh(self, size: int) -> None:
        """A task with a limit of memory begins, and so many bytes are resident; or, with 0, it is over."""
        self._words[_WEIGHT] = size

    @property
    def held(self) -> bool:
        """Whether the parent wants nothing to begin at this moment."""
        return self._words[_HELD] != 0

    @property
    def has_room(self) -> bool:
        """Whether one more end can be noted."""
        return BOARD - self.end >= _ROOM

    def note(self, packet: bytes | bytearray) -> bool:
        """Add a packet. Answers whether there was room for it."""
        with self._lock:
            end = self.end + len(packet)
            if end > BOARD:
                return False
            self._memory[self.end : end] = packet
            self._words[_TO] = self.end = end
            return True

    def note_at(self, end: int, packet: bytes | bytearray) -> int:
        """Add a packet. Answers with the new end if the old one was this; with the old one otherwise."""
        with self._lock:
            nothing_between = self.end == end
            self.note(packet)
            return self.end if nothing_between else end

    def drop(self, end: int) -> None:
        """The socket has taken everything that was noted before this."""
        with self._lock:
            if end == self.end:
                # In this order: at each moment the notes are either all there, or none.
                self._words[_TO] = self.end = _HEAD
                self._words[_FROM] = _HEAD
            else:
                self._words[_FROM] = end


def last_started(descriptor: int) -> int:
    """The number of the last task that has begun, as the host has noted it; from the parent, at any time."""
    return _word(descriptor, _STARTED)


def weight(descriptor: int) -> int:
    """How much was resident before the present task, if its memory is limited; else 0. From the parent."""
    return _word(descriptor, _WEIGHT)


def hold(descriptor: int, held: bool) -> None:
    """Keep the host from beginning tasks, or let it. From the parent."""
    os.pwrite(descriptor, int(held).to_bytes(8, sys.byteorder), 8 * _HELD)


def notes(descriptor: int) -> bytes:
    """The packets that the host has noted. From the parent, when the host has died."""
    start, end = _word(descriptor, _FROM), _word(descriptor, _TO)
    return os.pread(descriptor, end - start, start) if _HEAD <= start < end <= BOARD else b""


def _word(descriptor: int, index: int) -> int:
    return int.from_bytes(os.pread(descriptor, 8, 8 * index), sys.byteorder)

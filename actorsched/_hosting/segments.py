"""Shared memory for big buffers: where the sender puts them, and how the receiver gets at them.

The law of this module: it moves bytes between buffers and one anonymous file per direction of a link; it
knows neither frames nor sockets. Whatever goes wrong here (no memory, no descriptors, no such thing on this
system) makes a buffer travel inline, never fail.

How it works: each side of a link writes into a memory file of its own, whose descriptor the other side has
from the start. So nothing has a name that could leak, no descriptor has to be passed along with a message,
and a full table of descriptors cannot lose one. A buffer lies in a *segment*, a stretch of the file.
Released segments are kept for reuse, because fresh pages cost several times more than copying: writing into
warm ones is the whole point. The file only ever grows, in addresses; memory goes back to the system by
punching holes.

The receiver maps a stretch privately and writable: reading costs no copy, and what it writes is its own.
When the last object that uses a mapping is gone, the segment is given back. The receiver copies instead when
it holds very many mappings, since each costs a descriptor.

Two ways of writing, as measured: into fresh pages with `pwrite`, which reports a lack of memory as an error
where a store through a mapping would die of SIGBUS; into big warm ones through a mapping, which is a third
faster.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import TYPE_CHECKING

from actorsched._hosting.journal import BOARD
from actorsched._hosting.transfer import BIG
from actorsched._hosting.wire import Bulky, Lent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pickle import PickleBuffer

    from typing_extensions import Buffer

_IDLE_LIMIT = 256 * 1024 * 1024
"""How many bytes of released segments a side keeps."""

_MAPPED = 1024 * 1024
"""From how many bytes on a warm segment is written through a mapping."""

_MOST_MAPPINGS = 128
"""How many mappings a side keeps open for reading, and as many for writing; each costs a descriptor."""


def memory_file() -> int | None:
    """The descriptor of a new anonymous file in memory; None where there is none to be had."""
    try:
        descriptor = os.memfd_create("actorsched", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        return None
    try:
        os.ftruncate(descriptor, BOARD)
    except OSError:  # files may not be that big here: `ulimit -f` is meant for those in memory, too
        os.close(descriptor)
        return None
    return descriptor


class _Segment:
    __slots__ = ("mapping", "offset", "size", "warm")

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size
        self.warm = False
        self.mapping: mmap.mmap | None = None


class Lender:
    """The writing side of one memory file.

    Args:
        descriptor: The file; None when there is none, and every buffer goes inline.
    """

    __slots__ = ("_descriptor", "_end", "_idle", "_idle_size", "_lent", "_mappings", "_shelves")

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._end = BOARD
        self._lent: dict[int, _Segment] = {}
        self._idle: dict[int, _Segment] = {}  # by offset; the longest unused first
        self._shelves: dict[int, list[_Segment]] = {}  # the same by size; the longest unused first
        self._idle_size = 0
        self._mappings = 0

    def __repr__(self) -> str:
        return f"<Lender: {len(self._lent)} segments lent, {self._idle_size} bytes idle>"

    def place(self, buffer: PickleBuffer) -> Lent | Buffer:
        """Put the buffer where the other side can read it; or answer with itself, to go inline."""
        raw = buffer.raw()
        if self._descriptor is None or raw.nbytes < BIG:
            return raw
        segment = self._take(raw.nbytes)
        try:
            self._write(self._descriptor, segment, raw)
        except (OSError, ValueError):
            self._discard(segment)
            return raw
        self._lent[segment.offset] = segment
        return Lent(segment.offset, raw.nbytes)

    def take_back(self, offsets: list[int]) -> None:
        """The other side has let go of these. Unknown ones are passed over: they are of an earlier life."""
        for offset in offsets:
            segment = self._lent.pop(offset, None)
            if segment is not None:
                self._idle[offset] = segment
                self._shelves.setdefault(segment.size, []).append(segment)
                self._idle_size += segment.size
        while self._idle_size > _IDLE_LIMIT and len(self._idle) > 1:
            oldest = next(iter(self._idle.values()))
            self._discard(self._from_shelf(oldest.size, 0))

    def close(self) -> None:
        """Let go of all memory. What the other side has mapped stays valid there."""
        for segment in [*self._lent.values(), *self._idle.values()]:
            self._unmap(segment)
        self._lent.clear()
        self._idle.clear()
        self._shelves.clear()
        self._idle_size = 0
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self, size: int) -> _Segment:
        """The idle segment that fits best, or a new one."""
        step = max(mmap.PAGESIZE, 1 << max(size.bit_length() - 4, 0))  # few sizes, so that they fit again
        rounded = -(-size // step) * step
        if rounded in self._shelves:
            return self._from_shelf(rounded)
        fitting = min((there for there in self._shelves if size <= there <= 2 * size), default=None)
        if fitting is not None:
            return self._from_shelf(fitting)
        segment = _Segment(self._end, rounded)
        self._end += rounded
        return segment

    def _from_shelf(self, size: int, index: int = -1) -> _Segment:
        """Take an idle segment of this size: that used last, whose memory may still be in a cache."""
        shelf = self._shelves[size]
        segment = shelf.pop(index)
        if not shelf:
            del self._shelves[size]
        del self._idle[segment.offset]
        self._idle_size -= size
        return segment

    def _write(self, descriptor: int, segment: _Segment, raw: memoryview) -> None:
        if segment.warm and segment.mapping is None and raw.nbytes >= _MAPPED:
            self._map(descriptor, segment)
        if segment.mapping is not None:
            segment.mapping[: raw.nbytes] = raw
            return
        if not segment.warm:
            os.ftruncate(descriptor, self._end)
        written = 0
        while written < raw.nbytes:
            written += os.pwrite(descriptor, raw[written:], segment.offset + written)
        segment.warm = raw.nbytes > segment.size * 7 // 8

    def _map(self, descriptor: int, segment: _Segment) -> None:
        if self._mappings < _MOST_MAPPINGS:
            # The tail that no write has reached may have no pages: they are allocated now, or this raises.
            os.posix_fallocate(descriptor, segment.offset, segment.size)
            flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # all at once, not by page faults
            segment.mapping = mmap.mmap(descriptor, segment.size, flags=flags, offset=segment.offset)
            self._mappings += 1

    def _unmap(self, segment: _Segment) -> None:
        mapping, segment.mapping = segment.mapping, None
        if mapping is not None:
            self._mappings -= 1
            mapping.close()

    def _discard(self, segment: _Segment) -> None:
        """Give the segment's pages back to the system. Its addresses are not used again."""
        self._unmap(segment)
        if self._descriptor is not None:
            try:
                with mmap.mmap(self._descriptor, segment.size, offset=segment.offset) as stretch:
                    stretch.madvise(mmap.MADV_REMOVE)
            except (OSError, ValueError):  # nothing was written there yet, or no descriptor is free now
                pass


class Borrower:
    """The reading side of one memory file.

    Args:
        descriptor: The file, which this object closes; None when nothing can be lent.
        on_release: Called when the last object that uses a borrowed buffer is gone; from any thread.
    """

    __slots__ = ("_descriptor", "_live", "_on_release")

    def __init__(self, descriptor: int | None, on_release: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._on_release = on_release
        self._live: dict[weakref.ref[mmap.mmap], int] = {}

    def __repr__(self) -> str:
        return f"<Borrower: {len(self._live)} mappings>"

    def resolve(self, bulky: Bulky) -> None:
        """Replace what is lent in the payload by memory of this process.

        What came inline is made as writable as what is borrowed: an array must not be otherwise only because
        there was no room for it in shared memory.

        Raises:
            ValueError: Nothing was lent there.
        """
        bulky.buffers = [
            self._borrow(piece) if isinstance(piece, Lent) else bytearray(piece) for piece in bulky.buffers
        ]
        if isinstance(bulky.data, Lent):
            bulky.data = self._borrow(bulky.data)

    def close(self) -> None:
        """No more is borrowed. What has been borrowed stays valid."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _borrow(self, lent: Lent) -> Buffer:
        descriptor = self._descriptor
        if descriptor is None or lent.length <= 0 or lent.offset < BOARD or lent.offset % mmap.PAGESIZE:
            raise ValueError(f"{lent} was never lent")
        if len(self._live) < _MOST_MAPPINGS:
            try:
                return self._map(descriptor, lent)
            except OSError:  # no descriptor, or no more mappings
                pass
        return self._copy(descriptor, lent)

    def _map(self, descriptor: int, lent: Lent) -> Buffer:
        mapping = mmap.mmap(
            descriptor,
            lent.length,
            flags=mmap.MAP_PRIVATE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
            offset=lent.offset,
        )
        self._live[weakref.ref(mapping, self._dropped)] = lent.offset
        return mapping

    def _dropped(self, mapping: weakref.ref[mmap.mmap]) -> None:
        self._on_release(self._live.pop(mapping))

    def _copy(self, descriptor: int, lent: Lent) -> Buffer:
        copy = bytearray(lent.length)
        with memoryview(copy) as view:
            read = 0
            while read < lent.length:
                count = os.preadv(descriptor, [view[read:]], lent.offset + read)
                if not count:
                    raise ValueError(f"{lent} was never lent")
                read += count
        self._on_release(lent.offset)
        return copy

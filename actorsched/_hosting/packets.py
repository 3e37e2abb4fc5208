"""How frames become bytes, and bytes frames again.

The law of this module: it is pure. It touches no descriptor, no process and no clock, and knows of frames
only that there are some.

How it works: whatever one side has to say at a moment travels as one *packet*: eight bytes of header (a
mark, the number of bulky payloads within, the length), then one msgpack array of all the frames. A frame is
an array that starts with its number. Encoding and decoding a whole packet is one call into C, which is where
the speed comes from: a frame of its own costs several times as much as one of a hundred.

Whatever is not of the protocol is a `ProtocolError`, and a `Splitter` stays in that state: behind a fault no
byte can be trusted to be the beginning of anything.

Whoever sends says where big buffers go, with the `place` that it gives to its `Packer`; whoever receives
turns what was lent into memory again with the `resolve` that it gives to its `Splitter`.
"""

from __future__ import annotations

from functools import cache
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any

import msgspec

from actorsched._hosting.wire import Bulky, Error, Frame, Lent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pickle import PickleBuffer

    from typing_extensions import Buffer

_HEADER = Layout("<2sHI")  # mark, how many bulky payloads (saturated), length of the body
_MARK = b"as"
_MANY = 0xFFFF


class ProtocolError(Exception):
    """The other side wrote something that is not of this protocol; nothing after it can be understood.

    Attributes:
        frames: The frames that arrived whole before the fault, in the same feed.
    """

    def __init__(self, message: str, frames: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.frames = list(frames)


class Packer:
    """Turns frames into packets.

    Args:
        place: Puts a big buffer where the other side can get it: answers with `Lent`, or with something to
            send inline.
    """

    __slots__ = ("_encode_into", "_place", "bulky")

    bulky: int
    """How many bulky payloads the last packet has."""

    def __init__(self, place: Callable[[PickleBuffer], Lent | Buffer]) -> None:
        self._place = place
        self.bulky = 0
        self._encode_into = msgspec.msgpack.Encoder(enc_hook=self._placed).encode_into

    def pack(self, frames: Sequence[Frame]) -> bytearray:
        """One packet of all these frames."""
        packet = bytearray(_HEADER.size)
        self.bulky = 0
        self._encode_into(frames, packet, _HEADER.size)
        _HEADER.pack_into(packet, 0, _MARK, min(self.bulky, _MANY), len(packet) - _HEADER.size)
        return packet

    def _placed(self, buffer: Any) -> Lent | Buffer:
        """Called by the encoder for what it does not know: only the buffers that pickle left aside."""
        self.bulky += 1
        return self._place(buffer)


@cache
def decoder_of(frames: Any) -> Callable[[memoryview], list[Any]]:
    """What decodes a list of such frames. Making it takes longer than most of what a host does at its start.

    Args:
        frames: The union of the frames that may come.
    """
    return msgspec.msgpack.Decoder(list[frames]).decode


class Splitter:
    """Turns a stream of bytes into frames.

    Args:
        frames: The union of the frames that may come.
        resolve: Called with each bulky payload before its frame is handed out, to replace what is lent.
    """

    __slots__ = ("_decode", "_error", "_resolve", "_rest")

    def __init__(self, frames: object, resolve: Callable[[Bulky], None]) -> None:
        self._decode = decoder_of(frames)
        self._resolve = resolve
        self._rest = bytearray()
        self._error: str | None = None

    @property
    def partial(self) -> bool:
        """Whether the stream ends within a packet."""
        return bool(self._rest)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Any]:
        """Take what was read; answer with the frames that are complete by it. Keeps nothing of `data` itself.

        Raises:
            ProtocolError: This is not of the protocol, or something before it was not.
        """
        if self._error is not None:
            raise ProtocolError(self._error)
        frames: list[Any] = []
        try:
            if self._rest:
                self._rest += data
                with memoryview(self._rest) as view:
                    used = self._split(view, frames)
                del self._rest[:used]
            else:
                with memoryview(data) as view:
                    used = self._split(view, frames)
                    if used < len(data):
                        self._rest += view[used:]
        except Exception as error:  # whatever a decoder makes of garbage: it is their fault, not ours
            self._error = str(error)
            self._rest.clear()
            raise ProtocolError(self._error, frames) from error
        return frames

    def _split(self, data: memoryview, frames: list[Any]) -> int:
        """Add the frames of the whole packets in `data`; answer how many bytes they were."""
        start, end = 0, len(data)
        while end - start >= _HEADER.size:
            mark, bulky, length = _HEADER.unpack_from(data, start)
            if mark != _MARK:
                raise ProtocolError(f"a packet begins with {mark!r} where {_MARK!r} is due")
            body = start + _HEADER.size
            if body + length > end:
                break
            packet: list[Any] = self._decode(data[body : body + length])
            if bulky:
                for frame in packet:
                    self._resolve_in(frame)
            frames += packet
            start = body + length
        if start < end and not _MARK.startswith(mark := bytes(data[start : start + len(_MARK)])):
            raise ProtocolError(f"a packet begins with {mark!r} where {_MARK!r} is due")
        return start

    def _resolve_in(self, struct: msgspec.Struct) -> None:
        for field in struct.__struct_fields__:
            value = getattr(struct, field)
            if type(value) is Bulky:
                self._resolve(value)
            elif type(value) is Error:
                self._resolve_in(value)

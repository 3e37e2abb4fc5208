"""Frames become bytes and frames again, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise
from pickle import PickleBuffer
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._hosting import packets, wire

numbers = st.integers(0, 2**63 - 1)
texts = st.text(max_size=20)
small = st.binary(max_size=50)
lent = st.builds(wire.Lent, offset=numbers, length=numbers)
bulky = st.builds(wire.Bulky, data=small | lent, buffers=st.lists(small | lent, max_size=3))
payloads = small | bulky
errors = st.builds(wire.Error, exception=payloads, type=texts, message=texts, traceback=texts, why=texts)
limits = st.builds(wire.Limits, memory=numbers, cpus=st.lists(numbers, max_size=3).map(tuple))
floats = st.floats(allow_nan=False)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: numbers,
    str: texts,
    bytes: small,
    bool: st.booleans(),
    float: floats,
    wire.Payload: payloads,
    list[int]: st.lists(numbers, max_size=3),
    list[str]: st.lists(st.text(max_size=10), max_size=3),
    dict[str, int]: st.dictionaries(st.text(max_size=10), numbers, max_size=3),
    wire.Error: errors,
    str | None: st.none() | texts,
    tuple[float, float, bool] | None: st.none() | st.tuples(floats, floats, st.booleans()),
    wire.Error | None: st.none() | errors,
    wire.Limits | None: st.none() | limits,
}


def frames_of(kind: Any) -> st.SearchStrategy[Any]:
    fields = msgspec.structs.fields(kind)
    return st.builds(kind, **{field.name: BY_TYPE[field.type] for field in fields})


to_host = st.one_of([frames_of(kind) for kind in get_args(wire.ToHost)])
from_host = st.one_of([frames_of(kind) for kind in get_args(wire.FromHost)])


def packer() -> packets.Packer:
    return packets.Packer(lambda buffer: buffer.raw())


def splitter(kinds: object = wire.FromHost) -> packets.Splitter:
    return packets.Splitter(kinds, lambda bulky: None)


def fed(splitter: packets.Splitter, data: bytes, cuts: list[int]) -> list[Any]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    frames: list[Any] = []
    for start, end in pairwise(places):
        frames += splitter.feed(data[start:end])
    return frames


@given(st.lists(st.lists(from_host, max_size=4), max_size=4), st.lists(st.integers(0), max_size=8))
def test_frames_arrive_as_they_were_sent_however_the_stream_is_cut(
    packets: list[list[Any]], cuts: list[int]
) -> None:
    pack = packer().pack
    data = b"".join(bytes(pack(frames)) for frames in packets)
    receiver = splitter()
    assert fed(receiver, data, cuts) == [frame for frames in packets for frame in frames]
    assert not receiver.partial


@given(st.lists(to_host, max_size=5))
def test_the_other_direction_has_frames_of_its_own(frames: list[Any]) -> None:
    assert splitter(wire.ToHost).feed(packer().pack(frames)) == frames


@given(to_host.filter(lambda frame: type(frame) not in get_args(wire.FromHost)))
def test_what_only_the_other_side_may_say_is_an_error(frame: Any) -> None:
    with pytest.raises(packets.ProtocolError):
        splitter().feed(packer().pack([frame]))


@given(st.lists(from_host, min_size=1, max_size=3), st.binary(min_size=8, max_size=40))
def test_garbage_is_an_error_for_good_but_what_came_before_it_counts(
    frames: list[Any], garbage: bytes
) -> None:
    if garbage[:2] == b"as":
        return
    receiver = splitter()
    good = packer().pack(frames)
    with pytest.raises(packets.ProtocolError) as caught:
        receiver.feed(bytes(good) + garbage)
    assert caught.value.frames == frames
    with pytest.raises(packets.ProtocolError):
        receiver.feed(bytes(good))


@given(st.binary(max_size=200))
def test_a_body_of_garbage_is_an_error_or_frames_and_never_anything_else(body: bytes) -> None:
    packet = b"as\0\0" + len(body).to_bytes(4, "little") + body
    try:
        frames = splitter().feed(packet)
    except packets.ProtocolError:
        return
    assert all(type(frame) in get_args(wire.FromHost) for frame in frames)


def test_a_wrong_beginning_is_noticed_at_its_first_byte() -> None:
    with pytest.raises(packets.ProtocolError):
        splitter().feed(b"x")


def test_the_tags_of_frames_are_unique() -> None:
    kinds = get_args(wire.ToHost) + get_args(wire.FromHost)
    tags = {kind: kind.__struct_config__.tag for kind in kinds}
    assert len(set(tags.values())) == len(set(kinds))


def test_big_buffers_are_placed_when_packed_and_resolved_when_split() -> None:
    big = bytearray(b"big")
    placed: list[Any] = []

    def place(buffer: PickleBuffer) -> wire.Lent:
        placed.append(buffer)
        return wire.Lent(4096, 3)

    def resolve(bulky: wire.Bulky) -> None:
        bulky.buffers = [big if piece == wire.Lent(4096, 3) else piece for piece in bulky.buffers]

    payload = wire.Bulky(b"pickle", [PickleBuffer(big)])
    error = wire.Error(payload, "t", "m", "tb")
    data = packets.Packer(place).pack([wire.Done(1, payload), wire.Failed(2, error)])
    frames = packets.Splitter(wire.FromHost, resolve).feed(data)
    assert len(placed) == 2
    assert frames[0].value.buffers[0] is big
    assert frames[1].error.exception.buffers[0] is big


def test_a_splitter_keeps_nothing_of_what_it_was_fed() -> None:
    buffer = bytearray(packer().pack([wire.Log("a", 1, "text", 0.0, "p", 1, "f", "t")]))
    half = len(buffer) // 2
    receiver = splitter()
    assert receiver.feed(memoryview(buffer)[:half]) == []
    rest = bytes(buffer[half:])
    buffer[:] = b"\0" * len(buffer)
    assert receiver.feed(rest)[0].message == "text"

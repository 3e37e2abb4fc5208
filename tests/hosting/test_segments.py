"""Shared memory is lent, reused, given back, and does without itself when there is none."""

from __future__ import annotations

import gc
import os
import resource
from contextlib import contextmanager
from pathlib import Path
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

import pytest

from actorsched._hosting import journal, segments, wire
from actorsched._hosting.segments import Borrower, Lender, memory_file
from actorsched._hosting.transfer import BIG, loads
from tests.hosting import work
from tests.hosting.harness import Host, hosted

if TYPE_CHECKING:
    from collections.abc import Iterator

MEGABYTE = 1 << 20


class Pair:
    """Both sides of one memory file."""

    def __init__(self) -> None:
        descriptor = memory_file()
        assert descriptor is not None
        self.released: list[int] = []
        self.lender = Lender(descriptor)
        self.borrower = Borrower(os.dup(descriptor), self.released.append)
        self.descriptor = descriptor

    def send(self, data: Any) -> Any:
        """What arrives on the other side."""
        bulky = wire.Bulky(b"", [self.lender.place(PickleBuffer(data))])
        self.borrower.resolve(bulky)
        return bulky.buffers[0]

    def give_back(self) -> None:
        self.lender.take_back(self.released)
        self.released.clear()

    def resident(self) -> int:
        """How many bytes of memory the file has."""
        return os.fstat(self.descriptor).st_blocks * 512


@contextmanager
def pair() -> Iterator[Pair]:
    both = Pair()
    try:
        yield both
    finally:
        both.lender.close()
        both.borrower.close()


def test_what_is_lent_arrives() -> None:
    with pair() as both:
        for size in (BIG, BIG + 1, 3 * MEGABYTE + 5):
            data = os.urandom(size)
            assert bytes(both.send(data)) == data


def test_small_buffers_are_not_lent() -> None:
    with pair() as both:
        assert not isinstance(both.lender.place(PickleBuffer(b"x" * (BIG - 1))), wire.Lent)


def test_the_reader_may_write_and_nobody_else_sees_it() -> None:
    with pair() as both:
        arrived = both.send(b"a" * BIG)
        arrived[0:1] = b"b"
        assert os.pread(both.descriptor, 1, journal.BOARD) == b"a"


def test_a_segment_is_given_back_with_the_last_object_that_uses_it_and_then_reused() -> None:
    numpy = pytest.importorskip("numpy")
    with pair() as both:
        array = numpy.frombuffer(both.send(b"a" * MEGABYTE), dtype="u1")
        part = array[10:20]
        del array
        assert not both.released
        del part
        gc.collect()
        (offset,) = both.released
        both.give_back()
        for _ in range(3):  # the first reuse maps it, the second finds it mapped
            lent = both.lender.place(PickleBuffer(b"b" * (MEGABYTE - 1)))
            assert isinstance(lent, wire.Lent)
            assert lent.offset == offset
            both.lender.take_back([offset])


def test_idle_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_IDLE_LIMIT", 4 * MEGABYTE)
    with pair() as both:
        held = [both.send(bytes(MEGABYTE)) for _ in range(16)]
        assert both.resident() >= 16 * MEGABYTE
        held.clear()
        both.give_back()
        assert both.resident() <= 5 * MEGABYTE


def test_very_many_borrowed_buffers_are_copied_and_cost_no_descriptors() -> None:
    with pair() as both:
        before = len(list(Path("/proc/self/fd").iterdir()))
        held = [both.send(bytes([n % 256]) * BIG) for n in range(400)]
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= segments._MOST_MAPPINGS
        assert all(bytes(buffer[:1]) == bytes([n % 256]) for n, buffer in enumerate(held))
        assert len(both.released) >= 400 - segments._MOST_MAPPINGS


def test_what_was_borrowed_outlives_the_link() -> None:
    with pair() as both:
        arrived = both.send(b"a" * MEGABYTE)
        both.lender.close()
        both.borrower.close()
        assert bytes(arrived) == b"a" * MEGABYTE


@pytest.mark.parametrize(
    "lent", [wire.Lent(0, 10), wire.Lent(1 << 40, BIG), wire.Lent(4096, 0), wire.Lent(4097, 9)]
)
def test_what_was_never_lent_is_refused(lent: wire.Lent) -> None:
    with pair() as both:
        both.send(b"a" * BIG)
        with pytest.raises((ValueError, OSError)):
            both.borrower.resolve(wire.Bulky(b"", [lent]))


def test_taking_back_what_was_never_lent_does_nothing() -> None:
    with pair() as both:
        both.lender.take_back([123456])


def test_without_memory_files_everything_goes_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert memory_file() is None
    lender = Lender(None)
    assert not isinstance(lender.place(PickleBuffer(b"x" * BIG)), wire.Lent)
    lender.close()


@contextmanager
def no_room_for_files(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_when_memory_runs_out_buffers_go_inline() -> None:
    with pair() as both:
        with no_room_for_files(2 * MEGABYTE):
            assert isinstance(both.lender.place(PickleBuffer(bytes(BIG))), wire.Lent)
            assert not isinstance(both.lender.place(PickleBuffer(bytes(2 * MEGABYTE))), wire.Lent)
        assert isinstance(both.lender.place(PickleBuffer(bytes(2 * MEGABYTE))), wire.Lent)


# -------------------------------------------------------------------------------------------- with real hosts


def make_array(size: int) -> Any:
    import numpy as np

    return np.arange(size, dtype="f8")


def change_array(array: Any) -> float:
    assert array.flags.writeable
    array[0] = 99.0
    return float(array.sum())


@pytest.mark.process
async def test_arrays_cross_both_ways_and_memory_comes_back() -> None:
    numpy = pytest.importorskip("numpy")
    size = 300_000
    async with hosted() as host:
        array = numpy.arange(size, dtype="f8")
        expected = float(array.sum()) + 99
        assert await host.run(change_array, array) == expected
        assert array[0] == 0
        for _ in range(5):
            array = await host.run(work.same, array)
            host.frames.clear()
        assert (array == numpy.arange(size)).all()
        array[0] = 1
        await host.run(work.nothing)
        assert "0 segments lent" in repr(host.link._lender)


@pytest.mark.process
async def test_a_host_that_dies_takes_no_borrowed_array_with_it() -> None:
    async with hosted() as host:
        array = await host.run(make_array, 100_000)
        host.link.kill()
        await host.ended()
        assert array[-1] == 99_999


@pytest.mark.process
async def test_big_arrays_cross_inline_where_there_is_no_shared_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    async with hosted() as host:
        array = await host.run(make_array, 1_000_000)
        assert float((await host.run(work.same, array)).sum()) == float(array.sum())
        assert host.link.last_started > 0


def fill_the_table() -> list[int]:
    taken: list[int] = []
    while True:
        try:
            taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            return taken


@contextmanager
def full_table() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    taken = fill_the_table()
    try:
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def same_with_a_full_table(value: Any) -> Any:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    fill_the_table()
    return value


@pytest.mark.process
async def test_a_full_table_of_descriptors_here_stops_nothing_that_runs_and_leaks_nothing() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(300_000, dtype="f8")
    async with hosted() as host:
        await host.run(work.same, array)
        with full_table():
            for _ in range(3):
                assert (await host.run(work.same, array) == array).all()
            with pytest.raises(OSError, match="Too many open files"):
                Host("tasks")


@pytest.mark.process
async def test_a_full_table_of_descriptors_there_stops_nothing_either() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(300_000, dtype="f8")
    async with hosted() as host:
        await host.run(same_with_a_full_table, array)
        for _ in range(3):
            assert (await host.run(work.same, array) == array).all()


@pytest.mark.process
async def test_a_result_is_what_it_was_when_it_was_returned() -> None:
    async with hosted() as host:
        numbers = [host.start(work.fill_the_buffer, n) for n in range(20)]
        assert [(await host.result(number))[0] for number in numbers] == list(range(20))


@pytest.mark.process
async def test_an_item_is_what_it_was_when_it_was_yielded() -> None:
    async with hosted("actors") as host:
        actor = await host.open(work.Counter)
        calls = [host.call(actor, "fill_once", n) for n in range(10)]
        assert {(await host.answer(call))[0] for call in calls} == set(range(10))
        stream = host.call(actor, "fill", 10, stream=True)
        host.link.send(wire.Demand(stream, 11))
        await host.answer(stream)
        assert [loads(item.value)[0] for item in host.seen(wire.Item)] == list(range(10))


@pytest.mark.process
async def test_arguments_are_what_they_were_when_they_were_sent() -> None:
    async with hosted() as host:
        data = bytearray(200_000)
        numbers: list[int] = []
        for n in range(20):
            data[:] = bytes([n]) * len(data)
            numbers.append(host.start(work.same, data))
        assert [(await host.result(number))[0] for number in numbers] == list(range(20))

"""Big data crosses without a copy where it can, its memory is used again, and it crosses in any case."""

from __future__ import annotations

import gc
import os
import resource
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Hosts, Runtime
from actorsched._hosting import journal, segments
from actorsched._hosting.segments import Lender, memory_file
from actorsched._hosting.transfer import BIG, dump_call, dumps, load_call, loads
from tests.host_help import spread_out, task_hosts
from tests.hosting import big_work as work
from tests.hosting.harness import hosted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

np = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")

pytestmark = [pytest.mark.deadline(60), pytest.mark.usefixtures("small_heap")]
PROCESS = pytest.mark.process
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
MANY = 100_000
MEGABYTE = 1 << 20


@contextmanager
def no_room_for_files(size: int) -> Generator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def table() -> Any:
    return pa.table({"a": np.arange(MANY), "b": [str(n) for n in range(MANY)]})


def same(arrived: Any, value: Any) -> bool:
    if isinstance(value, memoryview):
        return bool((np.asarray(arrived) == np.asarray(value)).all())
    return bool((arrived == value).all()) if isinstance(value, np.ndarray) else bool(arrived == value)


WITHOUT_COPY: dict[str, Callable[[], Any]] = {
    "array": lambda: np.arange(MANY, dtype="f8"),
    "array in the order of Fortran": lambda: np.asfortranarray(np.arange(MANY).reshape(100, 1000)),
    "array of records": lambda: np.zeros(MANY, dtype=[("a", "i4"), ("b", "f8")]),
    "array of truths": lambda: np.ones(MANY, dtype=bool),
    "array of the other byte order": lambda: np.arange(MANY, dtype=">i8"),
    "table": table,
    "record batch": lambda: pa.record_batch({"a": np.arange(MANY)}),
    "arrow array": lambda: pa.array(np.arange(MANY)),
    "arrow buffer": lambda: pa.py_buffer(bytes(range(256)) * 512),
    "memoryview": lambda: memoryview(bytearray(range(256)) * 512),
    "memoryview of bytes": lambda: memoryview(bytes(range(256)) * 512),
    "memoryview of a grid": lambda: memoryview(np.arange(MANY).reshape(100, 1000)),
    "memoryview with gaps": lambda: memoryview(np.arange(MANY)[::2]),
    "memoryview of half floats": lambda: memoryview(np.arange(2000, dtype="f2").repeat(50)),
}
WITH_COPY: dict[str, Callable[[], Any]] = {
    "empty array": lambda: np.empty((0, 5)),
    "array of objects": lambda: np.array([{n: str(n)} for n in range(1000)], dtype=object),
    "array with gaps": lambda: np.arange(MANY)[::2],
    "array of dates": lambda: np.arange(MANY).astype("M8[s]"),
    "bytes": lambda: bytes(range(256)) * 1024,
    "bytearray": lambda: bytearray(range(256)) * 1024,
    "empty memoryview of many dimensions": lambda: memoryview(np.empty((0, 5))),
}


# ----------------------------------------------------------------------------------------- there and back


@PROCESS
@ONE
@pytest.mark.parametrize("kind", WITHOUT_COPY)
async def test_what_has_buffers_is_neither_copied_on_the_way_there_nor_back(kind: str) -> None:
    value = WITHOUT_COPY[kind]()
    async with hosted() as host:
        there, back = await host.run(work.seen_and_returned, value)
        assert there
        assert all(there)
        assert all(work.borrowed(back))
        assert same(back, value)
        assert type(back) is type(value)


@PROCESS
@ONE
@pytest.mark.parametrize("kind", WITH_COPY)
async def test_everything_else_arrives_too(kind: str) -> None:
    value = WITH_COPY[kind]()
    async with hosted() as host:
        _, back = await host.run(work.seen_and_returned, value)
        assert same(back, value)
        assert type(back) is type(value)
        assert getattr(back, "shape", None) == getattr(value, "shape", None)


def test_a_memoryview_that_nobody_can_rebuild_is_refused_before_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    from actorsched.exceptions import NotTransferable

    view = memoryview(np.zeros(3, dtype=[("a", "i4")]))
    monkeypatch.delitem(sys.modules, "numpy")
    with pytest.raises(NotTransferable, match="memoryview of format"):
        dumps(view, "the view")


@PROCESS
async def test_tasks_actors_and_streams_send_and_get_arrays_without_a_copy() -> None:
    array = np.arange(MANY, dtype="f8")
    async with Runtime(hosts=Hosts(max=1)) as rt:
        there, back = await rt.run(work.seen_and_returned, array, host="process")
        assert (there, work.borrowed(back)) == ([True], [True])
        keeper = await rt.spawn(work.Keeper)
        assert await keeper.ask.keep(array) == [True]
        kept = await keeper.ask.give()
        assert work.borrowed(kept) == [True]
        assert same(kept, array)
        pieces = [piece async for piece in keeper.ask.pieces(5, MANY)]
        assert work.borrowed(pieces) == [True] * 5
        assert [piece[0] for piece in pieces] == list(range(5))
        assert await keeper.ask.keep(table()) == [True] * 3
        assert work.borrowed(await keeper.ask.give()) == [True] * 3


@PROCESS
@ONE
async def test_from_host_to_host_it_is_borrowed_again() -> None:
    array = np.arange(MANY, dtype="f8")
    async with Runtime(hosts=Hosts(max=2)) as rt:
        spread_out(rt)
        one, other = await rt.spawn(work.Keeper), await rt.spawn(work.Keeper)
        await one.ask.keep(array)
        assert await one.ask.pass_on(other) == [True]
        assert same(await other.ask.give(), array)
        assert same(await one.ask.give(), array)


@PROCESS
@ONE
async def test_many_buffers_in_containers_and_objects_of_users_travel_in_one_message() -> None:
    arrays = [np.full(MANY, n, dtype="f8") for n in range(20)]
    frame = work.Frame("x", arrays[0], {"more": [arrays[1], (arrays[2], table())], "all": arrays})
    async with hosted() as host:
        there, back = await host.run(work.seen_and_returned, frame)
        assert len(there) == 23 + 3
        assert all(there)
        assert all(work.borrowed(back))
        assert [int(array[0]) for array in back.more["all"]] == list(range(20))
        # As in any pickle, the same object is the same over there.
        assert back.values is back.more["all"][0]


@PROCESS
@ONE
async def test_what_a_reader_writes_is_its_own() -> None:
    array = np.ones(MANY)
    async with hosted() as host:
        assert await host.run(work.overwritten, array) == -MANY
        assert array.sum() == MANY
        first = await host.run(work.numbers, MANY)
        expected = first.copy()
        first[:] = 5
        assert same(await host.run(work.numbers, MANY), expected)
        await host.run(work.keep, array)
        array[:] = 7
        assert await host.run(work.sum_of_kept) == MANY


# ----------------------------------------------------------------------------------------- copies of bytes


@contextmanager
def traced() -> Generator[Callable[[], int]]:
    """Answers with how much more memory than before was in use at most, since the last question."""
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]

        def peak() -> int:
            highest = tracemalloc.get_traced_memory()[1] - base
            tracemalloc.reset_peak()
            return highest

        yield peak
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_are_copied_once_on_either_side(kind: type) -> None:
    value, size = kind(4 * MEGABYTE), 4 * MEGABYTE
    with traced() as peak:
        payload: Any = dump_call((value,), None, "the call")
        assert peak() < MEGABYTE  # it is only referred to; the one copy is that to shared memory
        arrived = load_call(payload)
        assert size <= peak() < size + MEGABYTE
    assert arrived == ((value,), {})


def test_arrays_are_not_copied_by_either_pickler() -> None:
    array = np.zeros(4 * MEGABYTE, dtype="u1")
    with traced() as peak:
        for value in ([array], [array, memoryview(array)]):  # the second needs reducers
            loads(dumps(value, "the value"))
        assert peak() < MEGABYTE


# ----------------------------------------------------------------------------------- memory is used again


def resident(descriptor: int | None) -> int:
    """How much memory a memory file has, but for its notes."""
    assert descriptor is not None
    return os.fstat(descriptor).st_blocks * 512


@PROCESS
async def test_two_hundred_rounds_of_eight_megabytes_need_the_memory_of_two() -> None:
    array = np.arange(MEGABYTE, dtype="f8")
    async with Runtime(hosts=Hosts(max=1)) as rt:
        for number in range(200):
            array[0] = number
            array = (await rt.run(work.seen_and_returned, array, host="process"))[1]
            assert array[0] == number
        (worker,) = task_hosts(rt)
        for descriptor in (worker.link._lender._descriptor, worker.link._from_host):
            assert resident(descriptor) <= 3 * array.nbytes
            assert os.fstat(descriptor).st_size <= journal.BOARD + 3 * array.nbytes


@PROCESS
@ONE
async def test_a_slice_keeps_the_memory_and_the_last_one_gives_it_back() -> None:
    async with hosted() as host:
        array = await host.run(work.numbers, MANY)
        host.frames.clear()
        parts = [array[n : n + 10] for n in range(0, MANY, 10_000)]
        del array
        assert len(host.link._borrower._live) == 1
        other = await host.run(work.numbers, MANY, 1)
        host.frames.clear()
        assert parts[-1][0] == 90_000
        while len(parts) > 1:
            parts.pop()
        assert len(host.link._borrower._live) == 2
        del parts, other
        gc.collect()
        assert len(host.link._borrower._live) == 0
        size = os.fstat(host.link._from_host or 0).st_size
        again = [await host.run(work.numbers, MANY) for _ in range(2)]
        assert os.fstat(host.link._from_host or 0).st_size == size
        assert all(work.borrowed(again))


@PROCESS
@ONE
async def test_what_a_host_keeps_is_lent_until_it_lets_go() -> None:
    async with hosted() as host:
        for number in range(3):
            await host.run(work.keep, np.full(MANY, number, dtype="f8"))
        assert "3 segments lent" in repr(host.link._lender)
        assert await host.run(work.sum_of_kept) == 3 * MANY
        await host.run(work.drop)
        await host.run(work.numbers, 1)  # what it lets go of is told no later than with the next result
        assert "0 segments lent" in repr(host.link._lender)


@PROCESS
@ONE
async def test_a_thousand_results_that_stay_alive_cost_few_descriptors() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    async with Runtime(hosts=Hosts(max=1)) as rt:
        size = BIG // 8
        refs = [await rt.spawn(work.numbers, size, first, host="process") for first in range(1000)]
        results = [await ref for ref in refs]
        del refs
        assert len(list(Path("/proc/self/fd").iterdir())) - before < segments._MOST_MAPPINGS + 30
        assert sum(work.borrowed(results[:: len(results) // 100])) < 100
        assert [int(array[0]) for array in results] == list(range(1000))
        assert all(array.flags.writeable for array in results)
    assert results[-1][-1] == 999 + size - 1
    del results


def test_an_idle_segment_is_found_at_once_and_the_warmest_first() -> None:
    lender = Lender(memory_file())
    try:
        lent: list[Any] = [lender.place(PickleBuffer(bytes(BIG))) for _ in range(10)]
        lender.take_back([each.offset for each in lent])
        again: Any = lender.place(PickleBuffer(bytes(BIG)))
        assert again.offset == lent[-1].offset
        smaller: Any = lender.place(PickleBuffer(bytes(BIG + 1)))
        assert smaller.offset not in [each.offset for each in lent]
        lender.take_back([smaller.offset])
        assert lender._take(BIG).offset == lent[-2].offset
        assert lender._idle_size == sum(segment.size for segment in lender._idle.values())
        shelved = [segment for shelf in lender._shelves.values() for segment in shelf]
        assert sorted(segment.offset for segment in shelved) == sorted(lender._idle)
    finally:
        lender.close()


# ----------------------------------------------------------------------------------------- without memory


@PROCESS
async def test_without_room_in_memory_files_arrays_arrive_all_the_same_and_may_be_written_to() -> None:
    array = np.arange(MEGABYTE, dtype="f8")
    async with hosted() as host:
        assert await host.run(work.numbers, 1) == [0]
        with no_room_for_files(journal.BOARD):
            there, back = await host.run(work.seen_and_returned, array)
            assert there == [False]
            assert same(back, array)
            assert await host.run(work.overwritten, array) == -MEGABYTE
        result = await host.run(work.numbers_without_memory, MEGABYTE)
        assert work.borrowed(result) == [False]
        result[0] = 5  # as it might be, had there been room
        assert same(result[1:], array[1:])

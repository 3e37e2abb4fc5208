"""`map`, `as_completed` and `dead_letters`: order, bounds, failures, and that nothing is left."""

from __future__ import annotations

import gc
import itertools
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel
import pytest

from actorsched import Actor, DeadlockError, Runtime, RuntimeClosed, TaskCancelled, TaskRef, current
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

T = TypeVar("T")


async def double(number: int) -> int:
    return 2 * number


async def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


async def turns(count: int = 1) -> None:
    """Let everything else go on for a while."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


class Work:
    """Work that counts itself, and goes on when it is told to."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.begun: list[int] = []
        self.stopped: list[int] = []
        self.gates: dict[int, anyio.Event] = {}

    def gate(self, number: int) -> anyio.Event:
        return self.gates.setdefault(number, anyio.Event())

    async def step(self, number: int) -> int:
        """Takes a turn of the loop."""
        with self:
            self.begun.append(number)
            await turns()
            return number

    async def hold(self, number: int) -> int:
        """Waits for its gate."""
        with self:
            self.begun.append(number)
            try:
                await self.gate(number).wait()
            except BaseException:
                self.stopped.append(number)
                raise
            return number

    def __enter__(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)

    def __exit__(self, *_: object) -> None:
        self.running -= 1


class Source:
    """Numbers from a generator that knows whether it was closed, and how much it gave."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        self.given = 0
        self.closed = False
        self._fail_at = fail_at

    def _next(self) -> int:
        if self.given == self._fail_at:
            raise OSError("the source is broken")
        self.given += 1
        return self.given - 1

    def plain(self) -> Iterator[int]:
        try:
            while True:
                yield self._next()
        finally:
            self.closed = True

    async def asynchronous(self) -> AsyncIterator[int]:
        try:
            while True:
                await turns()
                yield self._next()
        finally:
            with anyio.CancelScope(shield=True):
                await turns()
            self.closed = True

    def either(self, kind: str) -> Any:
        return self.plain() if kind == "plain" else self.asynchronous()


async def read_into(results: list[T], flow: AsyncIterator[T]) -> None:
    """Leaves what has been read in the list when the flow fails."""
    async for result in flow:
        results.append(result)


async def counted(stop: int) -> AsyncIterator[int]:
    for number in range(stop):
        yield number


KINDS = pytest.mark.parametrize("kind", ["plain", "asynchronous"])
ORDER = pytest.mark.parametrize("ordered", [True, False])


# -------------------------------------------------------------------------------------------------------- map


async def test_map_gives_results_in_the_order_of_the_items() -> None:
    async with Runtime() as rt:
        assert [n async for n in rt.map(double, range(100))] == list(range(0, 200, 2))
        assert [n async for n in rt.map(double, counted(100))] == list(range(0, 200, 2))


async def test_map_of_nothing_is_empty() -> None:
    async with Runtime() as rt:
        assert [n async for n in rt.map(double, [])] == []
        assert [n async for n in rt.map(double, counted(0))] == []


async def test_a_slow_item_holds_back_those_after_it() -> None:
    work = Work()
    async with Runtime() as rt:
        results = rt.map(work.hold, range(3))
        for number in (2, 1, 0):
            work.gate(number).set()
        assert [n async for n in results] == [0, 1, 2]


async def test_unordered_results_come_as_soon_as_they_are_there() -> None:
    work = Work()
    async with Runtime() as rt, rt.map(work.hold, range(3), ordered=False) as results:
        for number in (1, 2, 0):
            work.gate(number).set()
            assert await anext(results) == number
        with pytest.raises(StopAsyncIteration):
            await anext(results)


@ORDER
@KINDS
@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_never_more_than_the_limit_is_in_flight(kind: str, ordered: bool, limit: int) -> None:
    work, source = Work(), Source()
    async with Runtime() as rt:
        read = 0
        async for _ in rt.map(work.step, source.either(kind), limit=limit, ordered=ordered):
            assert source.given - read <= limit
            read += 1
            await turns(read % 3)
            if read == 40:
                break
    assert work.most <= limit
    assert source.closed


@KINDS
@pytest.mark.parametrize(("limit", "concurrency", "most"), [(5, None, 5), (None, None, 16), (None, 10, 20)])
async def test_the_limit_is_reached(kind: str, limit: int | None, concurrency: int | None, most: int) -> None:
    source = Source()
    async with Runtime(concurrency=concurrency) as rt:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_after, scope, 100)
                await anext(rt.map(Work().hold, source.either(kind), limit=limit))
    assert source.given == most


async def test_plain_functions_are_mapped_in_threads() -> None:
    async with Runtime() as rt:
        assert [n async for n in rt.map(len, ["a", "bb", "ccc"], limit=2)] == [1, 2, 3]


async def test_a_limit_of_thousands_lets_the_loop_breathe() -> None:
    work = Work()
    async with Runtime() as rt, rt.map(work.hold, range(1000), limit=1000) as results:
        work.gate(0).set()
        assert await anext(results) == 0
        for number in range(1, 1000):
            work.gate(number).set()
        assert [n async for n in results] == list(range(1, 1000))


async def test_nothing_begins_before_the_first_result_is_wanted() -> None:
    work, source = Work(), Source()
    async with Runtime() as rt:
        results = rt.map(work.step, source.plain())
        await turns(5)
        assert not work.begun
        assert not source.given
        assert await anext(results) == 0


async def test_a_slow_source_is_waited_for_while_results_are_pending() -> None:
    work = Work()
    gate = anyio.Event()

    async def slow() -> AsyncIterator[int]:
        yield 0
        await gate.wait()
        yield 1

    async with Runtime() as rt:
        results = rt.map(work.hold, slow())
        work.gate(0).set()
        assert await anext(results) == 0, "though the source has not gone on"
        async with anyio.create_task_group() as group:
            group.start_soon(turns, 3)
            gate.set()
        await turns(5)
        assert work.begun == [0, 1], "the next item has begun, though nobody has asked yet"
        work.gate(1).set()
        assert [n async for n in results] == [1]


async def test_results_may_be_none_and_items_may_be_refs() -> None:
    async def nothing(item: object) -> None: ...

    async with Runtime() as rt:
        assert [n async for n in rt.map(nothing, range(3))] == [None] * 3
        ref = await rt.spawn(double, 4)
        items: list[int | TaskRef[int]] = [1, ref]
        assert [n async for n in rt.map(double, items)] == [2, 16]


async def test_options_reach_every_task() -> None:
    async def named(number: int, *, power: int) -> tuple[str, int]:
        return current().name, number**power

    async with Runtime() as rt:
        results = rt.map(named, [2, 3], name="square", kwargs={"power": 2})
        assert [pair async for pair in results] == [("square", 4), ("square", 9)]


async def test_retries_are_those_of_the_task() -> None:
    tries = itertools.count(1)

    async def third_time(number: int) -> int:
        if next(tries) < 3:
            raise OSError
        return number

    async with Runtime() as rt:
        assert [n async for n in rt.map(third_time, [7], retry=3)] == [7]


async def test_context_variables_are_those_of_the_call() -> None:
    from contextvars import ContextVar

    place: ContextVar[str] = ContextVar("place")

    async def where(number: int) -> str:
        return place.get()

    async def numbers() -> AsyncIterator[int]:
        assert place.get() == "call"
        place.set("inside")
        yield 1

    async with Runtime() as rt:
        place.set("call")
        results = rt.map(where, [1])
        more = rt.map(where, numbers())
        place.set("later")
        assert [p async for p in results] == ["call"]
        assert [p async for p in more] == ["call"]
        assert place.get() == "later"


# --------------------------------------------------------------------------------------------------- failures


@KINDS
async def test_a_failure_is_raised_at_its_place_and_cancels_the_rest(kind: str) -> None:
    work, source = Work(), Source()

    async def work_on(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return await (work.step if number < 3 else work.hold)(number)

    results: list[int] = []
    async with Runtime() as rt:
        with pytest.raises(ValueError, match="three"):
            await read_into(results, rt.map(work_on, source.either(kind), limit=6))
        assert results == [0, 1, 2]
        assert not work.running
        assert source.closed


async def test_what_comes_before_a_failure_is_still_delivered() -> None:
    work = Work()

    async def work_on(number: int) -> int:
        if number == 1:
            while len(work.begun) < 3:
                await turns()
            raise ValueError("one")
        return await work.hold(number)

    async with Runtime() as rt:
        results = rt.map(work_on, range(4), limit=4)
        async with anyio.create_task_group() as group:

            async def open_the_first() -> None:
                while work.stopped != [3, 2] and work.stopped != [2, 3]:
                    await turns()
                work.gate(0).set()

            group.start_soon(open_the_first)
            assert await anext(results) == 0
        with pytest.raises(ValueError, match="one"):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_of_two_failures_the_one_at_the_earlier_place_is_raised_and_the_other_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work()

    async def work_on(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        await work.gate(0).wait()
        raise KeyError(number)

    async with Runtime() as rt:
        results = rt.map(work_on, [0, 2], limit=4)
        async with anyio.create_task_group() as group:
            group.start_soon(_set_after, work.gate(0), 5)
            with pytest.raises(KeyError):
                await anext(results)
    assert "ValueError: two" in caplog.text


async def _set_after(gate: anyio.Event, count: int) -> None:
    await turns(count)
    gate.set()


async def test_an_unordered_failure_comes_after_the_results_that_were_there() -> None:
    work = Work()

    async def work_on(number: int) -> int:
        if number == 1:
            await work.gate(1).wait()
            raise ValueError("one")
        return await work.hold(number)

    async with Runtime() as rt:
        results = rt.map(work_on, range(4), limit=4, ordered=False)
        work.gate(2).set()
        assert await anext(results) == 2
        work.gate(1).set()
        with pytest.raises(ValueError, match="one"):
            await anext(results)
        assert sorted(work.stopped) == [0, 3]


@KINDS
async def test_the_failure_of_a_source_comes_after_the_results_of_its_items(kind: str) -> None:
    source = Source(fail_at=5)
    results: list[int] = []
    async with Runtime() as rt:
        with pytest.raises(OSError, match="the source is broken"):
            await read_into(results, rt.map(double, source.either(kind), limit=3))
    assert results == [0, 2, 4, 6, 8]
    assert source.closed


async def test_a_failure_does_not_end_the_scope_when_the_reader_sees_it() -> None:
    async with Runtime() as rt, rt.scope() as scope:
        with pytest.raises(ValueError, match="three"):
            async for _ in scope.map(fail_at_three, range(9)):
                pass
        assert await scope.run(double, 1) == 2


async def test_a_failure_that_no_reader_comes_to_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime() as rt:
        async for _ in rt.map(fail_at_three, range(9)):
            await turns(5)
            break
    assert "ValueError: three" in caplog.text


async def test_an_item_that_does_not_fit_fails_at_its_place() -> None:
    async with Runtime() as other, Runtime() as rt:
        foreign = await other.spawn(double, 1)
        items: list[int | TaskRef[int]] = [1, foreign]
        results = rt.map(double, items)
        assert await anext(results) == 2
        with pytest.raises(ValueError, match="belongs to another Runtime"):
            await anext(results)


async def test_an_item_that_is_cancelled_from_outside_is_a_failure() -> None:
    async with Runtime() as rt:

        async def cancelled(ref: object) -> None: ...

        forever = await rt.spawn(anyio.sleep_forever)
        results = rt.map(cancelled, [forever])
        async with anyio.create_task_group() as group:
            group.start_soon(forever.cancel, "enough")
            with pytest.raises(TaskCancelled):
                await anext(results)


# -------------------------------------------------------------------------------------------------- the end


@ORDER
@KINDS
async def test_break_cancels_what_is_in_flight_and_closes_the_source(kind: str, ordered: bool) -> None:
    work, source = Work(), Source()

    async def work_on(number: int) -> int:
        return await (work.step if number < 2 else work.hold)(number)

    async with Runtime() as rt:
        async with rt.scope() as scope:
            async for _ in scope.map(work_on, source.either(kind), limit=4, ordered=ordered):
                break
        assert not work.running
        assert source.closed


@KINDS
async def test_aclose_returns_when_everything_has_stopped(kind: str) -> None:
    work, source = Work(), Source()

    async def stubborn(number: int) -> int:
        try:
            return await (work.step if number < 1 else work.hold)(number)
        finally:
            with anyio.CancelScope(shield=True):
                await turns(5)
                work.stopped.append(-number)

    async with Runtime() as rt:
        results = rt.map(stubborn, source.either(kind), limit=4)
        assert await anext(results) == 0
        await results.aclose()
        assert not work.running
        assert source.closed
        assert {-n for n in work.begun} <= set(work.stopped)
        await results.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_an_exception_in_the_loop_body_stops_what_is_in_flight() -> None:
    work, source = Work(), Source()
    async with Runtime() as rt:
        with pytest.raises(KeyError):
            async for number in rt.map(work.step, source.asynchronous(), limit=3):
                raise KeyError(number)
        while not source.closed:
            await turns()
        assert not work.running


async def test_what_is_never_begun_leaves_nothing() -> None:
    source = Source()
    async with Runtime() as rt:
        rt.map(double, source.plain())
        rt.map(double, source.asynchronous())
        async with rt.map(double, source.asynchronous()):
            pass
        closed = rt.map(double, source.plain())
        await closed.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(closed)
    assert not source.given


@ORDER
@KINDS
@pytest.mark.parametrize("after", range(1, 24))
async def test_a_reader_cancelled_at_any_moment_leaves_nothing_running(
    kind: str, ordered: bool, after: int
) -> None:
    work, source = Work(), Source()

    async def read(rt: Runtime) -> None:
        async for _ in rt.map(work.step, source.either(kind), limit=3, ordered=ordered):
            await turns()

    async with Runtime() as rt:
        async with rt.scope(), anyio.create_task_group() as group:
            group.start_soon(read, rt)
            await turns(after)
            group.cancel_scope.cancel()
        while work.running or (source.given and not source.closed):
            await turns()


@KINDS
@pytest.mark.parametrize("after", range(1, 16))
async def test_a_reading_task_cancelled_at_any_moment_leaves_nothing_running(kind: str, after: int) -> None:
    work, source = Work(), Source()

    async def read(rt: Runtime) -> None:
        async with rt.map(work.step, source.either(kind), limit=3) as results:
            async for _ in results:
                await turns()

    async with Runtime(concurrency=2) as rt:
        reader = await rt.spawn(read, rt)
        await turns(after)
        await reader.cancel()
        assert not work.running
        assert source.closed or not source.given


async def test_cancelling_the_wait_for_a_result_ends_all_of_it() -> None:
    work, source = Work(), Source()
    async with Runtime() as rt:
        results = rt.map(work.hold, source.asynchronous(), limit=2)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_after, scope, 6)
                await anext(results)
        assert work.begun == [0, 1]
        assert not work.running
        assert source.closed


async def _cancel_after(scope: anyio.CancelScope, count: int) -> None:
    await turns(count)
    scope.cancel()


async def test_leaving_a_scope_ends_iterators_that_are_still_held() -> None:
    work, source = Work(), Source()
    async with Runtime() as rt:
        async with rt.scope() as scope:
            results = scope.map(work.step, source.asynchronous())
            assert await anext(results) == 0
            untouched = scope.map(work.step, source.asynchronous())
        assert not work.running
        assert source.closed
        with pytest.raises(RuntimeClosed):
            await anext(results)
        with pytest.raises(RuntimeClosed):
            await anext(untouched)


async def test_a_task_may_read_while_its_scope_is_being_left() -> None:
    async def read(rt: Runtime) -> int:
        return sum([n async for n in rt.map(double, counted(50))])

    async with Runtime() as rt:
        ref = await rt.spawn(read, rt)
    assert ref.result() == 2450


async def test_an_actor_may_read_until_it_stops() -> None:
    class Reader(Actor):
        total = 0

        async def on_stop(self, reason: object) -> None:
            totals.append(self.total)

        async def read(self) -> None:
            async for number in current().runtime.map(double, counted(50)):
                self.total += number

    totals: list[int] = []
    async with Runtime() as rt:
        reader = await rt.spawn(Reader)
        reader.tell(Reader.read)
    assert totals == [2450]


async def test_a_generator_is_closed_even_if_its_clean_up_fails() -> None:
    def numbers() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            raise OSError("clean-up")

    async with Runtime() as rt:
        with pytest.raises(ValueError, match="three"):
            async for _ in rt.map(fail_at_three, numbers()):
                pass


async def test_sources_with_cancel_scopes_and_task_groups_inside_are_sound() -> None:
    async def numbers() -> AsyncIterator[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            with anyio.CancelScope():
                for number in itertools.count():
                    yield number
            group.cancel_scope.cancel()

    async with Runtime() as rt:
        with anyio.fail_after(20):
            async for number in rt.map(double, numbers(), limit=3):
                if number == 20:
                    break


async def test_memory_is_let_go_of() -> None:
    class Item:
        alive = 0

        def __init__(self) -> None:
            Item.alive += 1

        def __del__(self) -> None:
            Item.alive -= 1

    async def through(item: Item) -> Item:
        return item

    async with Runtime() as rt:
        most = 0
        async for item in rt.map(through, (Item() for _ in range(300)), limit=4):
            del item
            most = max(most, Item.alive)
        gc.collect()
        assert most <= 8
        assert not Item.alive


# --------------------------------------------------------------------------------------- slots and deadlocks


@KINDS
async def test_a_task_that_reads_lends_its_slot(kind: str) -> None:
    async def total(rt: Runtime) -> int:
        source = range(20) if kind == "plain" else counted(20)
        return sum([n async for n in rt.map(double, source)])

    async with Runtime(concurrency=1) as rt:
        assert await rt.run(total, rt) == 380


async def test_a_task_that_reads_goes_on_only_with_a_slot() -> None:
    work = Work()

    async def read(rt: Runtime) -> None:
        async for _ in rt.map(work.step, range(10), limit=3):
            with work:
                await turns(2)

    async with Runtime(concurrency=1) as rt:
        await rt.spawn(read, rt)
        await rt.spawn(read, rt)
    assert work.most == 1


async def test_an_item_that_waits_for_its_reader_is_a_deadlock() -> None:
    refs: list[TaskRef[None]] = []
    seen: list[str] = []

    async def wait_for_reader(number: int) -> None:
        try:
            await refs[0]
        except DeadlockError as error:
            seen.append(str(error))
            raise

    async def read(rt: Runtime) -> None:
        async for _ in rt.map(wait_for_reader, [1]):
            pass

    async with Runtime() as rt:
        refs.append(await rt.spawn(read, rt))
        with pytest.raises(DeadlockError, match="map of"):
            await refs[0]


async def test_closing_from_inside_asks_and_returns_at_once() -> None:
    flows: list[Any] = []

    async def close(number: int) -> None:
        await flows[0].aclose()
        await turns(3)

    async with Runtime() as rt:
        flows.append(rt.map(close, range(9)))
        assert [n async for n in flows[0]] == []


async def test_one_iterator_has_one_reader() -> None:
    work = Work()
    async with Runtime() as rt, rt.map(work.hold, [0]) as results, anyio.create_task_group() as group:
        group.start_soon(anext, results)
        await turns(3)
        with pytest.raises(RuntimeError, match="being read elsewhere"):
            await anext(results)
        work.gate(0).set()


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((double, 5), {}, "items=5 cannot be iterated; give an iterable"),
        ((double, counted), {}, "cannot be iterated; call it"),
        ((double, []), {"limit": 0}, "limit=0 is less than 1"),
        ((double, []), {"limit": 2.5}, "limit=2.5 is of type float"),
        ((double, []), {"limit": True}, "limit=True is of type bool"),
        ((double, []), {"ordered": "yes"}, "ordered='yes' is of type str"),
        ((double, []), {"prioritty": 1}, "unknown option 'prioritty'; did you mean 'priority'"),
        ((double, []), {"timeout": "soon"}, "timeout='soon'"),
        ((turns, [], 3), {}, "positional"),
        (("double", []), {}, "'double' cannot be called"),
        ((counted, []), {}, "is an async generator"),
        ((lambda: 1, []), {}, "was given wrong arguments"),
    ],
)
async def test_wrong_arguments_are_refused_at_the_call(
    arguments: tuple[Any, ...], keywords: dict[str, Any], message: str
) -> None:
    async with Runtime() as rt:
        with pytest.raises((TypeError, ValueError), match=message):
            rt.map(*arguments, **keywords)


async def test_after_the_runtime_nothing_begins() -> None:
    async with Runtime() as rt:
        pass
    with pytest.raises(RuntimeClosed):
        await anext(rt.map(double, [1]))
    with pytest.raises(RuntimeClosed):
        rt.dead_letters()


# ----------------------------------------------------------------------------------------------- as_completed


async def test_refs_come_in_the_order_in_which_their_tasks_settle() -> None:
    work = Work()
    async with Runtime() as rt:
        refs = [await rt.spawn(work.hold, number) for number in range(3)]
        settled = rt.as_completed(refs)
        for number in (2, 0, 1):
            work.gate(number).set()
            ref = await anext(settled)
            assert ref is refs[number]
            assert ref.result() == number
        with pytest.raises(StopAsyncIteration):
            await anext(settled)


async def test_those_that_have_settled_come_first_and_none_comes_twice() -> None:
    work = Work()
    async with Runtime() as rt:
        done = await rt.spawn(double, 1)
        await done
        held = await rt.spawn(work.hold, 0)
        settled = rt.as_completed(iter([held, done, held, done]))
        assert await anext(settled) is done
        work.gate(0).set()
        assert [ref async for ref in settled] == [held]
        none: list[TaskRef[int]] = []
        assert [ref async for ref in rt.as_completed(none)] == []


async def test_failed_and_cancelled_tasks_come_too_and_are_not_raised() -> None:
    work = Work()
    async with Runtime() as rt:
        failed = await rt.spawn(fail_at_three, 3)
        cancelled = await rt.spawn(work.hold, 0)
        await cancelled.cancel()
        refs = [ref async for ref in rt.as_completed([failed, cancelled])]
        assert set(map(id, refs)) == {id(failed), id(cancelled)}
        assert isinstance(failed.exception(), ValueError)


async def test_leaving_as_completed_leaves_the_tasks_alone() -> None:
    work = Work()
    async with Runtime() as rt:
        refs = [await rt.spawn(work.hold, number) for number in range(3)]
        work.gate(0).set()
        async for _ in rt.as_completed(refs):
            break
        await turns(3)
        assert work.running == 2
        assert all(not ref._task.answers for ref in refs), "nobody watches any more"
        work.gate(1).set()
        work.gate(2).set()


async def test_cancelling_the_wait_loses_nothing() -> None:
    work = Work()
    async with Runtime() as rt:
        refs = [await rt.spawn(work.hold, number) for number in range(2)]
        settled = rt.as_completed(refs)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_after, scope, 2)
                await anext(settled)
        work.gate(1).set()
        assert await anext(settled) is refs[1]
        work.gate(0).set()
        assert [ref async for ref in settled] == [refs[0]]


async def test_a_task_lends_its_slot_while_it_waits_for_the_first_of_several() -> None:
    async def first(rt: Runtime) -> int:
        refs = [await rt.spawn(double, number) for number in range(3)]
        return sum([await ref async for ref in rt.as_completed(refs)])

    async with Runtime(concurrency=1) as rt:
        assert await rt.run(first, rt) == 6


async def test_a_failure_that_nobody_looks_at_is_still_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime() as rt:
        async for ref in rt.as_completed([await rt.spawn(fail_at_three, 3)]):
            assert ref.done()
            del ref
        gc.collect()
    assert "ValueError: three" in caplog.text


async def test_as_completed_refuses_what_is_no_ref_of_the_runtime() -> None:
    async with Runtime() as other, Runtime() as rt:
        with pytest.raises(TypeError, match="which is no TaskRef"):
            rt.as_completed([1])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="cannot be iterated"):
            rt.as_completed(1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="another Runtime"):
            rt.as_completed([await other.spawn(double, 1)])


# ----------------------------------------------------------------------------------------------- dead letters


class Quiet(Actor):
    async def hear(self, word: str) -> None: ...


async def test_dead_letters_tell_what_could_not_be_delivered() -> None:
    async with Runtime() as rt:
        letters = rt.dead_letters()
        quiet = await rt.spawn(Quiet, name="quiet")
        await quiet.stop()
        quiet.tell(Quiet.hear, "anybody?")
        letter = await anext(letters)
        assert (letter.actor, letter.handler, letter.args) == ("quiet", "hear", ("anybody?",))
        assert letter.reason == "stopped"


async def test_a_reader_of_dead_letters_is_woken() -> None:
    async with Runtime() as rt:
        quiet = await rt.spawn(Quiet)
        await quiet.stop()
        async with anyio.create_task_group() as group, rt.dead_letters() as letters:
            group.start_soon(_tell_after, quiet, 3)
            assert (await anext(letters)).args == ("late",)


async def _tell_after(quiet: Any, count: int) -> None:
    await turns(count)
    quiet.tell(Quiet.hear, "late")


async def test_of_too_many_dead_letters_the_latest_are_kept() -> None:
    async with Runtime() as rt:
        quiet = await rt.spawn(Quiet)
        await quiet.stop()
        letters = rt.dead_letters()
        for number in range(1100):
            quiet.tell(Quiet.hear, str(number))
        assert (await anext(letters)).args == ("100",)


async def test_dead_letters_end_with_the_runtime() -> None:
    heard: list[str] = []

    async def read(letters: Any) -> None:
        heard.extend([letter.args[0] async for letter in letters])

    async with anyio.create_task_group() as group, Runtime() as rt:
        group.start_soon(read, rt.dead_letters())
        quiet = await rt.spawn(Quiet)
        await turns(2)
        await quiet.kill()
        quiet.tell(Quiet.hear, "last")
    assert heard == ["last"]


async def test_dropped_readers_of_dead_letters_get_no_more() -> None:
    async with Runtime() as rt:
        letters = rt.dead_letters()
        office = rt._system.kernel.office
        assert office.has_readers
        del letters
        await turns(2)
        assert not office.has_readers


def test_an_iterator_dropped_after_its_loop_is_closed_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    left: list[Any] = []

    async def main() -> None:
        async with Runtime() as rt:
            left.extend([rt.map(double, [1]), rt.dead_letters()])
            begun = rt.map(double, itertools.count())
            await anext(begun)
            left.append(begun)

    anyio.run(main)
    with caplog.at_level(logging.DEBUG):
        left.clear()
        gc.collect()
    assert not caplog.records


# ------------------------------------------------------------------------- the last resorts, and odd readers


async def test_the_shutdown_deadline_ends_even_a_source_that_does_not_close() -> None:
    clock = ManualClock()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:

        async def pass_time() -> None:
            await turns(20)
            await clock.passes(31)

        async with Runtime(clock=clock) as rt:
            results = rt.map(double, numbers())
            assert await anext(results) == 2
            group.start_soon(pass_time)


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize("after", range(1, 12))
async def test_a_cancellation_of_asyncio_itself_leaves_nothing_running(after: int) -> None:
    import asyncio

    work, source = Work(), Source()

    async def stubborn(number: int) -> int:
        try:
            return await work.step(number)
        finally:
            with anyio.CancelScope(shield=True):
                await turns(2)

    async def read(rt: Runtime) -> None:
        async with rt.map(stubborn, source.asynchronous(), limit=2) as results:
            async for _ in results:
                await turns()

    async with Runtime() as rt:
        reader = asyncio.ensure_future(read(rt))
        await turns(after)
        reader.cancel()
        await turns(1)
        reader.cancel()  # again, while it waits for everything to stop
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert not work.running
        assert source.closed or not source.given


async def test_a_reader_that_is_thrown_away_in_the_middle_leaves_nothing() -> None:
    work, source = Work(), Source()
    async with Runtime() as rt:
        results = rt.map(work.hold, source.plain(), limit=2)
        coroutine = anext(results).__await__()
        next(coroutine)  # it waits now
        coroutine.close()
        while work.running or not source.closed:
            await turns()

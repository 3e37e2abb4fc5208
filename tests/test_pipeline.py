"""Pipelines: stages in step, demand from end to end, failures that name their stage, and nothing left."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    Actor,
    Retry,
    Runtime,
    RuntimeClosed,
    StageFailed,
    TaskCancelled,
    checkpoint,
    cpu_bound,
    current,
    stage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

T = TypeVar("T")


async def turns(count: int = 1) -> None:
    """Let everything else go on for a while."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def read_into(results: list[T], flow: AsyncIterator[T]) -> None:
    """Leaves what has been read in the list when the flow fails."""
    async for result in flow:
        results.append(result)


async def double(number: int) -> int:
    return 2 * number


async def add_one(number: int) -> int:
    await turns()
    return number + 1


async def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def half(number: int) -> int:
    return number // 2


class Meter:
    """Counts what enters and leaves a stage."""

    def __init__(self) -> None:
        self.entered = 0
        self.left = 0
        self.most = 0

    async def through(self, number: int) -> int:
        self.entered += 1
        self.most = max(self.most, self.entered - self.left)
        try:
            await turns()
        finally:
            self.left += 1
        return number

    @property
    def inside(self) -> int:
        return self.entered - self.left


class Numbers:
    """An endless source that knows how much it gave, and whether it was closed."""

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
            self.closed = True

    def either(self, kind: str) -> Any:
        return self.plain() if kind == "plain" else self.asynchronous()


KINDS = pytest.mark.parametrize("kind", ["plain", "asynchronous"])


# -------------------------------------------------------------------------------------------- what comes out


async def test_functions_are_stages_as_they_are() -> None:
    async with Runtime() as rt:
        pipe = rt.pipeline(double, half, add_one, str)
        assert [text async for text in pipe(range(5))] == ["1", "2", "3", "4", "5"]


async def test_a_pipeline_may_be_used_again_also_at_the_same_time() -> None:
    async with Runtime() as rt:
        pipe = rt.pipeline(double, stage(add_one, workers=2))
        first, second = pipe(range(3)), pipe(iter([10, 20]))
        assert await anext(first) == 1
        assert [n async for n in second] == [21, 41]
        assert [n async for n in first] == [3, 5]
        assert [n async for n in pipe([])] == []


async def test_a_pipeline_reads_another() -> None:
    async with Runtime() as rt:
        assert [n async for n in rt.pipeline(add_one)(rt.pipeline(double)(range(3)))] == [1, 3, 5]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_stage_keeps_order_unless_told_otherwise(ordered: bool) -> None:
    gates = [anyio.Event() for _ in range(3)]

    async def hold(number: int) -> int:
        await gates[number].wait()
        return number

    async with Runtime() as rt:
        results = rt.pipeline(stage(hold, workers=3, ordered=ordered), double)(range(3))
        seen: list[int] = []
        async with anyio.create_task_group() as group:
            group.start_soon(read_into, seen, results)
            for number in (2, 1, 0):
                await turns(20)
                gates[number].set()
        assert seen == ([0, 2, 4] if ordered else [4, 2, 0])


async def test_stages_work_at_the_same_time() -> None:
    meeting: list[str] = []
    both = anyio.Event()

    async def first(number: int) -> int:
        if number == 1:
            meeting.append("first at 1")
            await both.wait()
        return number

    async def second(number: int) -> int:
        if number == 0:
            while not meeting:
                await turns()
            both.set()
        return number

    async with Runtime() as rt:
        assert [n async for n in rt.pipeline(first, second)(range(3))] == [0, 1, 2]


async def test_a_stage_has_as_many_items_as_it_has_workers() -> None:
    meters = [Meter(), Meter()]
    async with Runtime() as rt:
        pipe = rt.pipeline(stage(meters[0].through, workers=4), stage(meters[1].through, workers=2))
        assert [n async for n in pipe(range(50))] == list(range(50))
    assert [meter.most for meter in meters] == [4, 2]


@pytest.mark.process
async def test_a_pipeline_goes_through_the_loop_threads_and_host_processes() -> None:
    def where(trail: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*trail, (os.getpid(), threading.current_thread() is threading.main_thread()))

    async def in_loop(trail: tuple[Any, ...]) -> tuple[Any, ...]:
        return where(trail)

    async with Runtime() as rt:
        pipe = rt.pipeline(in_loop, where, stage(where, workers=2, host="process"), in_loop)
        trails = [trail async for trail in pipe([(number,) for number in range(20)])]
    assert [trail[0] for trail in trails] == list(range(20))
    here = os.getpid()
    for _, loop, thread, process, back in trails:
        assert loop == back == (here, True)
        assert thread == (here, False)
        assert process[0] != here


async def test_stages_may_be_partials_methods_objects_and_built_ins() -> None:
    class Adder:
        def __call__(self, number: int) -> int:
            return number + 100

        async def method(self, number: int) -> int:
            return number + 1000

    async with Runtime() as rt:
        pipe = rt.pipeline(partial(pow, 2), Adder(), Adder().method, float, stage(int, host="loop"))
        assert [n async for n in pipe([1, 2])] == [1102, 1104]


async def test_a_stage_may_be_a_handler_of_an_actor() -> None:
    class Speller(Actor):
        def __init__(self) -> None:
            self.words = 0

        async def shout(self, word: str) -> str:
            self.words += 1
            return word.upper()

        async def letters(self, word: str) -> AsyncIterator[str]:
            for letter in word:
                yield letter

    async with Runtime() as rt:
        speller = await rt.spawn(Speller, name="speller")
        pipe = rt.pipeline(stage(speller.ask.shout, workers=3), speller.ask.letters)
        assert [letter async for letter in pipe(["ab", "c"])] == ["A", "B", "C"]
        assert pipe.stages[0].name.endswith("Speller.shout")
        assert [word async for word in rt.map(speller.ask.shout, ["d"])] == ["D"]
        async for _ in pipe(["abc"]):
            break


async def test_the_context_of_a_stage_is_that_of_its_task() -> None:
    async def who(number: int) -> str:
        return str(current().name)

    async with Runtime() as rt:
        assert [name async for name in rt.pipeline(stage(who, name="squeeze"))([1])] == ["squeeze"]


# ------------------------------------------------------------------------------------- one item, many results


async def each_of(word: str) -> AsyncIterator[str]:
    for letter in word:
        await turns()
        yield letter


def each_plain(word: str) -> Iterator[str]:
    yield from word


EACH = pytest.mark.parametrize(
    "each",
    [
        pytest.param(each_of, id="asynchronous"),
        pytest.param(each_plain, id="in-thread"),
        pytest.param(partial(each_plain), id="partial"),
        pytest.param(stage(each_plain, host="loop"), id="in-loop"),
        pytest.param(stage(each_of, workers=3), id="three-at-once"),
        pytest.param(stage(each_plain, workers=3), id="three-threads"),
        pytest.param(stage(each_plain, host="process"), id="in-process", marks=pytest.mark.process),
        pytest.param(stage(each_of, host="process"), id="async-in-process", marks=pytest.mark.process),
    ],
)


@EACH
async def test_a_generator_makes_many_results_of_one_item_in_order(each: Any) -> None:
    async with Runtime() as rt:
        pipe = rt.pipeline(each, str.upper)
        assert "".join([letter async for letter in pipe(["abc", "", "defghijk", "l"])]) == "ABCDEFGHIJKL"


@pytest.mark.parametrize("kind", ["asynchronous", "thread", "loop"])
async def test_an_endless_generator_computes_as_much_as_there_is_room_for(kind: str) -> None:
    given: list[int] = []

    def plain(start: int) -> Iterator[int]:
        try:
            for number in itertools.count(start):
                given.append(number)
                yield number
        finally:
            given.append(-1)

    async def asynchronous(start: int) -> AsyncIterator[int]:
        try:
            for number in itertools.count(start):
                given.append(number)
                yield number
        finally:
            given.append(-1)

    one = stage(asynchronous, demand=3) if kind == "asynchronous" else stage(plain, host=kind, demand=3)  # type: ignore[call-overload]
    async with Runtime() as rt:
        async with rt.pipeline(one)([7]) as results:
            assert await anext(results) == 7
            await turns(30)
            assert len(given) <= 6
            assert [await anext(results) for _ in range(20)] == list(range(8, 28))
            await turns(30)
            assert len(given) <= 26
        assert given[-1] == -1


async def test_generators_of_several_items_wait_for_their_turn_without_starving_the_first() -> None:
    async def slow_first(number: int) -> AsyncIterator[int]:
        for index in range(10):
            if number == 0:
                await turns(3)
            yield 10 * number + index

    async with Runtime() as rt:
        pipe = rt.pipeline(stage(slow_first, workers=3, demand=2))
        assert [n async for n in pipe(range(4))] == list(range(40))


@pytest.mark.parametrize("host", ["loop", "thread"])
async def test_a_generator_that_fails_has_passed_on_what_it_had(host: Any) -> None:
    def two_then_none(number: int) -> Iterator[int]:
        yield number
        yield number + 1
        raise ValueError("no more")

    async with Runtime() as rt:
        results = rt.pipeline(stage(two_then_none, host=host, name="two"))([5, 50])
        assert await anext(results) == 5
        assert await anext(results) == 6
        with pytest.raises(StageFailed, match="stage 'two' failed at item 0, 5: ValueError: no more"):
            await anext(results)


async def test_a_generator_in_a_thread_that_is_cancelled_is_closed() -> None:
    closed = threading.Event()

    def forever(number: int) -> Iterator[int]:
        try:
            yield number
            while True:
                checkpoint()
        finally:
            closed.set()

    async with Runtime() as rt:
        async for number in rt.pipeline(forever)([1]):
            assert number == 1
            break
    assert closed.is_set()


async def test_waiting_for_room_lends_the_slot() -> None:
    async def many(number: int) -> AsyncIterator[int]:
        for index in range(5):
            yield 10 * number + index

    async with Runtime(concurrency=1) as rt:
        pipe = rt.pipeline(stage(many, workers=2, demand=1), double, stage(many, demand=1))
        assert len([n async for n in pipe(range(3))]) == 75


# ---------------------------------------------------------------------------------------------- back-pressure


@KINDS
async def test_a_reader_that_stops_stops_the_source(kind: str) -> None:
    numbers = Numbers()
    async with Runtime() as rt:
        pipe = rt.pipeline(stage(add_one, workers=2, demand=3), stage(double, demand=4))
        async with pipe(numbers.either(kind)) as results:
            for read in range(1, 20):
                assert await anext(results) == 2 * read
                await turns(60)
                assert numbers.given - read <= (2 + 3) + (1 + 4)
    assert numbers.closed


@KINDS
async def test_a_slow_stage_stops_those_before_it(kind: str) -> None:
    numbers, before = Numbers(), Meter()
    gate = anyio.Event()

    async def hold(number: int) -> int:
        await gate.wait()
        return number

    async with Runtime() as rt:
        pipe = rt.pipeline(stage(before.through, workers=2, demand=2), stage(hold, workers=3))
        async with pipe(numbers.either(kind)) as results, anyio.create_task_group() as group:
            group.start_soon(_set_after, gate, 200)
            assert await anext(results) == 0
            assert numbers.given <= 2 + 2 + 3 + 3


async def _set_after(gate: anyio.Event, count: int) -> None:
    await turns(count)
    gate.set()


async def test_demand_reaches_the_stage_that_has_room_while_another_is_slow() -> None:
    """The buffer before a slow stage fills up although nobody reads, so that it never waits for an item."""
    numbers = Numbers()
    async with Runtime() as rt:
        results = rt.pipeline(stage(double, demand=8), stage(_forever))(numbers.plain())
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_after, scope, 100)
                await anext(results)
    assert numbers.given == 1 + 1 + 8


async def _forever(number: int) -> int:
    await anyio.sleep_forever()
    return number


async def _cancel_after(scope: anyio.CancelScope, count: int) -> None:
    await turns(count)
    scope.cancel()


async def test_memory_is_bounded_and_let_go_of() -> None:
    class Item:
        alive = 0

        def __init__(self) -> None:
            Item.alive += 1

        def __del__(self) -> None:
            Item.alive -= 1

    async def copy(item: Item) -> Item:
        return Item()

    async with Runtime() as rt:
        most = 0
        pipe = rt.pipeline(stage(copy, workers=2), copy, stage(copy, ordered=False))
        async for item in pipe(Item() for _ in range(300)):
            del item
            most = max(most, Item.alive)
        gc.collect()
        assert most <= 20
        assert not Item.alive


# --------------------------------------------------------------------------------------------------- failures


@KINDS
async def test_a_failure_names_the_stage_and_the_item_and_chains_the_cause(kind: str) -> None:
    numbers, after = Numbers(), Meter()
    seen: list[int] = []
    async with Runtime() as rt:
        pipe = rt.pipeline(double, half, stage(fail_at_three, workers=4, name="check"), after.through)
        with pytest.raises(StageFailed, match="stage 'check' failed at item 3, 3: ValueError: three") as info:
            await read_into(seen, pipe(numbers.either(kind)))
        error = info.value
        assert (error.stage, error.item, error.index) == ("check", "3", 3)
        assert isinstance(error.__cause__, ValueError)
        assert seen == [0, 1, 2], "what came before is delivered"
        assert not after.inside
        assert numbers.closed


async def test_a_failure_further_on_takes_the_place_of_one_before(caplog: pytest.LogCaptureFixture) -> None:
    async def fail_at_one(number: int) -> int:
        await turns(30)
        if number == 1:
            raise KeyError("one")
        return number

    async with Runtime() as rt:
        results = rt.pipeline(stage(fail_at_three, demand=9), stage(fail_at_one, name="later"))(range(9))
        assert await anext(results) == 0
        with pytest.raises(StageFailed, match="'later' failed at item 1"):
            await anext(results)
    assert "ValueError: three" in caplog.text, "the other failure reaches the log"


async def test_an_unordered_stage_fails_too() -> None:
    async with Runtime() as rt:
        pipe = rt.pipeline(stage(fail_at_three, workers=3, ordered=False), add_one)
        with pytest.raises(StageFailed):
            async for _ in pipe(range(9)):
                pass


@KINDS
async def test_the_failure_of_a_source_is_raised_as_it_is_after_the_results(kind: str) -> None:
    numbers = Numbers(fail_at=4)
    seen: list[int] = []
    async with Runtime() as rt:
        pipe = rt.pipeline(add_one, stage(double, workers=2))
        with pytest.raises(OSError, match="the source is broken"):
            await read_into(seen, pipe(numbers.either(kind)))
    assert seen == [2, 4, 6, 8]


async def test_skipped_items_are_dead_letters() -> None:
    async with Runtime() as rt:
        letters = rt.dead_letters()
        pipe = rt.pipeline(stage(fail_at_three, name="check", on_error="skip"), double)
        assert [n async for n in pipe([1, 3, 5, 3])] == [2, 10]
        letter = await anext(letters)
        assert (letter.actor, letter.handler, letter.args) == ("check", "fail_at_three", (3,))
        assert letter.reason == "skipped"
        assert isinstance(letter.error, ValueError)
        await anext(letters)
        office = rt._system.kernel.office
        assert office.sent == office.dead_lettered == 0, "they never were messages"


async def test_skipped_items_are_logged_when_nobody_reads_dead_letters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime() as rt:
        assert [n async for n in rt.pipeline(stage(fail_at_three, on_error="skip"))([3, 4])] == [4]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "stage 'fail_at_three' skips item 0, 3" in record.message
    assert record.exc_info
    assert isinstance(record.exc_info[1], ValueError)


@pytest.mark.parametrize(
    "rule", [{"retry": 3}, {"on_error": Retry(attempts=3)}, {"retry": Retry(3), "on_error": "skip"}]
)
async def test_items_are_tried_again(rule: dict[str, Any]) -> None:
    tries: dict[int, int] = {}

    async def third_time(number: int) -> int:
        tries[number] = tries.get(number, 0) + 1
        if tries[number] < 3:
            raise OSError
        return number

    async with Runtime() as rt:
        assert [n async for n in rt.pipeline(stage(third_time, workers=2, **rule))(range(4))] == [0, 1, 2, 3]


async def test_retries_that_are_used_up_follow_the_rule() -> None:
    tries = itertools.count(1)

    async def never(number: int) -> int:
        next(tries)
        raise OSError("never")

    async with Runtime() as rt:
        with pytest.raises(StageFailed, match="OSError: never"):
            await anext(rt.pipeline(stage(never, retry=2))([1]))
        assert next(tries) == 3
        letters = rt.dead_letters()
        assert [n async for n in rt.pipeline(stage(never, retry=2, on_error="skip"))([1])] == []
        assert (await anext(letters)).args == (1,)
        assert next(tries) == 6


async def test_an_item_that_takes_too_long_has_failed() -> None:
    async with Runtime() as rt:
        with pytest.raises(StageFailed) as info:
            await anext(rt.pipeline(stage(_forever, timeout="10ms"))([1]))
        assert isinstance(info.value.__cause__, TimeoutError)


@pytest.mark.process
async def test_an_item_that_cannot_travel_has_failed_and_may_be_skipped() -> None:
    async with Runtime() as rt:
        items: list[Any] = ["a", threading.Lock(), "c"]
        letters = rt.dead_letters()
        pipe = rt.pipeline(stage(str, host="process", on_error="skip"))
        assert [text async for text in pipe(items)] == ["a", "c"]
        assert (await anext(letters)).args == (items[1],)


@pytest.mark.process
async def test_a_host_that_dies_is_the_failure_of_its_item() -> None:
    def die_at_two(number: int) -> int:
        if number == 2:
            os._exit(3)
        return number

    async with Runtime() as rt:
        seen: list[int] = []
        with pytest.raises(StageFailed, match="failed at item 2, 2: HostDied"):
            await read_into(seen, rt.pipeline(stage(die_at_two, host="process"))(range(5)))
        assert seen == [0, 1]


async def test_a_cancelled_item_is_never_skipped() -> None:
    async with Runtime() as rt:
        forever = await rt.spawn(anyio.sleep_forever)
        await forever.cancel("enough")
        with pytest.raises(TaskCancelled):
            await anext(rt.pipeline(stage(fail_at_three, on_error="skip"))([forever]))


# ---------------------------------------------------------------------------------------------------- the end


@KINDS
@pytest.mark.parametrize("after", [0, 1, 5, 40])
async def test_break_stops_everything(kind: str, after: int) -> None:
    numbers, meters = Numbers(), [Meter(), Meter()]
    async with Runtime() as rt:
        async with rt.scope() as scope:
            pipe = scope.pipeline(stage(meters[0].through, workers=3), stage(meters[1].through, workers=2))
            async for number in pipe(numbers.either(kind)):
                if number == after:
                    break
        assert not any(meter.inside for meter in meters)
        assert numbers.closed


@KINDS
@pytest.mark.parametrize("after", range(1, 40, 2))
async def test_a_reader_cancelled_at_any_moment_leaves_nothing(kind: str, after: int) -> None:
    numbers, meters = Numbers(), [Meter(), Meter()]

    async def letters(number: int) -> AsyncIterator[int]:
        for _ in range(2):
            yield await meters[1].through(number)

    async def read(rt: Runtime) -> None:
        async with rt.pipeline(stage(meters[0].through, workers=2), stage(letters, workers=2), half)(
            numbers.either(kind)
        ) as results:
            async for _ in results:
                await turns()

    async with Runtime(concurrency=3) as rt:
        reader = await rt.spawn(read, rt)
        await turns(after)
        await reader.cancel()
        assert not any(meter.inside for meter in meters)
        assert numbers.closed or not numbers.given


async def test_leaving_the_scope_ends_a_pipeline_that_is_still_held() -> None:
    numbers = Numbers()
    async with Runtime() as rt:
        async with rt.scope() as scope:
            results = scope.pipeline(double, half)(numbers.asynchronous())
            assert await anext(results) == 0
        assert numbers.closed
        with pytest.raises(RuntimeClosed, match="its scope was left"):
            await anext(results)


@pytest.mark.process
async def test_closing_stops_work_in_host_processes() -> None:
    def spin(number: int) -> int:
        while number:
            checkpoint()
        return number

    async with Runtime() as rt:
        async with rt.pipeline(stage(spin, workers=2, host="process"))(range(9)) as results:
            assert await anext(results) == 0
        assert not rt._nursery.feeds
        assert await rt.run(half, 8, host="process") == 4


async def test_cpu_bound_marks_are_heeded() -> None:
    @cpu_bound
    def pid(number: int) -> int:
        return os.getpid()

    @cpu_bound
    def pids(number: int) -> Iterator[int]:
        yield os.getpid()

    async with Runtime() as rt:
        found = [pid async for pid in rt.pipeline(pid)([1])] + [pid async for pid in rt.pipeline(pids)([1])]
        assert os.getpid() not in found


# ---------------------------------------------------------------------------------------------- wrong usage


class Worker(Actor):
    async def work(self, item: int) -> int:
        return item


@pytest.mark.parametrize(
    ("fn", "keywords", "message"),
    [
        (5, {}, "fn=5 cannot be called"),
        (Worker, {}, "Worker is a class of actors; spawn one"),
        (stage(double), {}, "is a stage already"),
        (lambda: 1, {}, "was given wrong arguments"),
        (double, {"workers": 0}, "workers=0 is less than 1"),
        (double, {"workers": "two"}, "workers='two' is of type str"),
        (double, {"demand": 0}, "demand=0 is less than 1"),
        (double, {"demand": 1.5}, "demand=1.5 is of type float"),
        (double, {"ordered": 1}, "ordered=1 is of type int"),
        (double, {"host": "moon"}, "host='moon' is not a choice"),
        (double, {"host": "thread"}, 'host="thread" does not fit'),
        (each_of, {"host": "thread"}, 'host="thread" does not fit'),
        (double, {"on_error": "ignore"}, "on_error='ignore' is not a choice"),
        (double, {"on_error": Retry(2), "retry": 3}, "both say how often"),
        (double, {"retry": "often"}, "retry='often'"),
        (double, {"timeout": "soon"}, "timeout='soon'"),
        (double, {"name": ""}, "name='' is empty"),
        (each_of, {"retry": 2}, "does not fit 'each_of', a generator"),
        (each_plain, {"timeout": 2}, "does not fit 'each_plain', a generator"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(fn: Any, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        stage(fn, **keywords)


async def test_a_pipeline_refuses_what_is_no_stage_and_no_source() -> None:
    async with Runtime() as rt:
        with pytest.raises(ValueError, match="at least one stage"):
            rt.pipeline()  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="cannot be called"):
            rt.pipeline(double, 5)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="source=5 cannot be iterated"):
            rt.pipeline(double)(5)  # type: ignore[arg-type]


async def test_stages_and_pipelines_say_what_they_are() -> None:
    async with Runtime() as rt:
        pipe = rt.pipeline(double, stage(half, workers=3, demand=7, name="halve"))
        assert repr(pipe.stages[1]) == "<Stage 'halve': 3 at once, demand 7>"
        assert repr(pipe) == "<Pipeline double -> halve>"
        assert repr(pipe([])) == "<Flow of pipeline double -> halve>"

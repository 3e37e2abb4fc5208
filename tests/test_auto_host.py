"""`host="auto"` finds where a function is served best; who computes in a thread by default is told so.

Processor time is that of clocks which the functions move by hand: nothing here computes for long. The clocks
of a host process are its own, and there the same functions take next to no time.
"""

from __future__ import annotations

import gc
import logging
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import (
    Hosts,
    NotTransferable,
    Retry,
    Runtime,
    Task,
    TaskChain,
    TaskStatus,
    cpu_bound,
    current,
    stage,
)
from actorsched._core.auto_host import PAUSE, REFUSALS, RUNS, SHORT_RUNS
from actorsched.testing import VirtualClock
from tests import auto_work
from tests.auto_work import compute, compute_at_once, place, time, wait

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from actorsched import Explanation, TaskRef

auto_work.at_home = True


@pytest.fixture(autouse=True)
def clocks() -> None:
    """Every test begins with the clocks at the beginning."""
    time.__init__()  # type: ignore[misc]


@asynccontextmanager
async def measured(**options: Any) -> AsyncGenerator[Runtime]:
    """A runtime with clocks of ours."""
    given: dict[str, Any] = {"hosts": Hosts(max=2), **options}
    async with Runtime(**given) as rt:
        rt._system.judge.clocks = time.clocks()
        yield rt


def learned(rt: Runtime, function: Any) -> Any:
    return rt._system.judge.of(function, asynchronous=False)


async def places(rt: Runtime, function: Any, *args: Any, times: int, **options: Any) -> list[str]:
    return [await rt.run(function, *args, host="auto", **options) for _ in range(times)]


async def explained(rt: Runtime, function: Any, *args: Any, **options: Any) -> Explanation:
    ref: TaskRef[Any] = await rt.spawn(function, *args, host="auto", **options)
    await ref
    return rt.explain(ref)


# ------------------------------------------------------------------------------------------- what suits whom


async def test_a_function_that_computes_goes_to_a_process() -> None:
    async with measured() as rt:
        assert await places(rt, compute, times=RUNS + 1) == ["thread"] * RUNS + ["process"]
        told = await explained(rt, compute)
        assert told.placed == "process"
        assert str(told).endswith(
            "host='auto' chose a process: 3 runs of 'compute' took 20ms each, 100% of it computing."
        )


async def test_a_function_that_proves_quick_over_there_comes_back() -> None:
    async with measured() as rt:
        assert await places(rt, compute, times=2 * RUNS + 1) == [
            *["thread"] * RUNS,
            *["process"] * RUNS,
            "thread",
        ]
        assert "host='auto' chose a thread: 3 runs of 'compute' took" in str(await explained(rt, compute))


async def test_a_function_that_waits_stays_in_threads() -> None:
    async with measured() as rt:
        assert set(await places(rt, wait, times=30)) == {"thread"}
        told = await explained(rt, wait)
        assert told.placed == "thread"
        assert "host='auto' stays in a thread: 31 runs of 'wait' took 20ms each, 1% of it comp" in str(told)


async def test_an_unknown_function_begins_in_a_thread() -> None:
    async with measured() as rt:
        told = await explained(rt, wait)
        assert "host='auto' began in a thread: too little was known of 'wait'." in str(told)


async def test_a_very_short_function_is_called_by_the_loop_until_it_takes_long_once() -> None:
    async with measured() as rt:
        found = await places(rt, compute, 5e-6, times=SHORT_RUNS + 3)
        assert found == ["thread"] * SHORT_RUNS + ["loop"] * 3
        told = str(await explained(rt, compute, 5e-6))
        assert "chose the loop: 20 runs of 'compute' took 5us each, less than the way to a thread." in told
        assert await places(rt, compute, 0.002, times=2) == ["loop", "thread"]
        assert "chose a thread: a run of 'compute' kept the loop for more than 1ms." in str(
            await explained(rt, compute, 5e-6)
        )


async def test_an_async_function_leaves_the_loop_only_if_it_keeps_it() -> None:
    async with measured() as rt:
        assert set(await places(rt, compute_at_once, 0.02, 10, times=10)) == {"loop"}
    async with measured() as rt:
        assert await places(rt, compute_at_once, times=RUNS + 1) == ["loop"] * RUNS + ["process"]
        told = str(await explained(rt, compute_at_once))
        assert "chose a process: 3 runs of 'compute_at_once' took 20ms each, 100% of it computing" in told
        assert "up to 20ms without an await" in told


async def test_a_marked_function_begins_in_a_process() -> None:
    marked = cpu_bound(lambda: place())
    async with measured() as rt:
        assert await places(rt, marked, times=RUNS + 1) == ["process"] * RUNS + ["thread"]


async def test_partials_and_bound_methods_are_known_by_their_function() -> None:
    class Work:
        def do(self) -> str:
            return compute()

    async with measured() as rt:
        for _ in range(RUNS):
            assert await rt.run(Work().do, host="auto") == "thread"
            assert await rt.run(partial(partial(compute, 0.02), 1), host="auto") == "thread"
        assert await rt.run(Work().do, host="auto") == "process"
        assert await rt.run(compute, host="auto") == "process"
        assert len(rt._system.judge) == 2


async def test_a_function_is_forgotten_with_its_last_reference() -> None:
    async with measured() as rt:
        for _ in range(5):
            await rt.run(lambda: compute(), host="auto")
        gc.collect()
        assert len(rt._system.judge) == 0
        assert await rt.run(abs, -3, host="auto") == 3
        assert await rt.run("a-b".split, "-", host="auto") == ["a", "b"]


# ---------------------------------------------------------------------------------------------- who waits


async def test_those_that_wait_for_their_turn_profit_from_those_before_them() -> None:
    async with measured() as rt:
        refs = [await rt.spawn(compute, host="auto") for _ in range(60)]
        found = [await ref for ref in refs]
        assert found[:40] == ["thread"] * 40
        assert "process" in found[40:]
        moved = refs[found.index("process")]
        assert "chose a process" in str(rt.explain(moved))
        assert (rt.explain(moved).pool, rt.explain(refs[0]).pool) == ("process", "thread")


async def test_whoever_reserves_something_goes_where_that_is_a_limit() -> None:
    async with measured() as rt:
        assert await rt.run(compute, host="auto", cpu_cores=1) == "process"
        assert await rt.run(compute_at_once, host="auto", memory_mb=200) == "process"


async def test_to_stand_in_line_for_a_processor_is_not_to_wait() -> None:
    def crowded() -> str:
        time.compute(0.01)
        time.wait(0.09)
        time.queued += 0.09
        return place()

    async with measured() as rt:
        for _ in range(RUNS):
            assert await rt.run(crowded, host="auto") == "thread"
        assert learned(rt, crowded).host == "process"


async def test_in_the_pool_of_a_tag_tasks_stay_in_that_pool() -> None:
    async with measured(pools={"one": 1}) as rt:
        refs = [await rt.spawn(compute, host="auto", tag="one") for _ in range(RUNS + 2)]
        assert [await ref for ref in refs] == ["thread"] * RUNS + ["process"] * 2
        assert {rt.explain(ref).pool for ref in refs} == {"one"}


async def test_whoever_was_moved_can_be_cancelled_there() -> None:
    go = threading.Event()
    async with measured(hosts=Hosts(max=1)) as rt:
        await places(rt, compute, times=RUNS)
        rt._system.pools["thread"].limit = 1
        blocker = await rt.spawn(go.wait)
        refs = [await rt.spawn(compute, host="auto") for _ in range(3)]
        for ref in refs[1:]:
            await ref.cancel()
        go.set()
        assert await refs[0] == "process"
        assert [ref.status for ref in refs[1:]] == [TaskStatus.CANCELLED] * 2
        await blocker


async def test_a_task_that_holds_resources_stays_where_it_waited() -> None:
    async with measured() as rt:
        rt.resource("db")
        rt._system.pools["thread"].limit = 1
        refs = [await rt.spawn(compute, host="auto", resources={"db"}) for _ in range(RUNS + 1)]
        assert [await ref for ref in refs] == ["thread"] * (RUNS + 1)
        assert "would have chosen a process, but its pool has it in a thread" in str(rt.explain(refs[-1]))
        assert await rt.run(compute, host="auto", resources={"db"}) == "process"


async def test_a_task_waits_for_its_arguments_and_is_pickled_then() -> None:
    async with measured() as rt:
        await places(rt, compute, times=RUNS)
        good, bad = await rt.spawn(abs, -1), await rt.spawn(threading.Lock)
        assert await rt.run(compute, 0.02, good, host="auto") == "process"
        ref = await rt.spawn(compute, 0.02, host="auto", after=[good])
        assert await ref == "process"
        ref = await rt.spawn(compute, 0.02, bad, host="auto")
        assert await ref == "thread"
        assert "it cannot cross to a process (args[1]: cannot pickle '_thread.lock'" in str(rt.explain(ref))


async def test_further_attempts_run_where_the_first_did() -> None:
    seen: list[str] = []

    def flaky() -> str:
        seen.append(compute())
        if len(seen) <= RUNS + 1:
            raise OSError("not yet")
        return place()

    async with measured() as rt:
        assert await rt.run(flaky, host="auto", retry=Retry(attempts=RUNS + 2)) == "thread"
        assert seen == ["thread"] * (RUNS + 2)
        assert learned(rt, flaky).host == "process"


# ------------------------------------------------------------------------------------- what cannot travel


async def test_what_cannot_be_pickled_stays_and_nobody_sees_an_error() -> None:
    lock = threading.Lock()
    async with measured() as rt:
        await places(rt, compute, 0.02, lock, times=RUNS)
        told = await explained(rt, compute, 0.02, lock)
        assert told.placed == "thread"
        assert "stays in a thread: it cannot cross to a process (args[1]: cannot pickle '_thr" in str(told)
        assert await rt.run(compute, 0.02, host="auto") == "process"
        with pytest.raises(NotTransferable):
            await rt.run(compute, 0.02, lock, host="process")


async def test_after_some_failures_it_is_not_even_tried_for_a_while() -> None:
    tries = 0

    class Stubborn:
        def __reduce__(self) -> Any:
            nonlocal tries
            tries += 1
            raise TypeError("it wants to stay")

    async with measured() as rt:
        await places(rt, compute, 0.02, Stubborn(), times=RUNS + REFUSALS)
        tried = tries
        assert set(await places(rt, compute, 0.02, Stubborn(), times=5)) == {"thread"}
        assert tries == tried > 0
        known = learned(rt, compute)
        assert known.pause == PAUSE - 6
        known.pause = 0
        assert await rt.run(compute, 0.02, host="auto") == "process"
        assert known.refusals == 0


async def test_an_async_function_that_cannot_be_pickled_stays_in_the_loop() -> None:
    lock = threading.Lock()

    async def locked() -> str:
        with lock:
            return await compute_at_once()

    async with measured() as rt:
        assert set(await places(rt, locked, times=RUNS + 2)) == {"loop"}
        assert "stays in the loop: it cannot cross to a process" in str(await explained(rt, locked))


# ------------------------------------------------------------------------------------- like any other task


async def test_errors_come_out_wherever_it_runs() -> None:
    def fail(seconds: float) -> None:
        compute(seconds)
        raise LookupError(place())

    async with measured() as rt:
        for expected in [*["thread"] * RUNS, "process"]:
            with pytest.raises(LookupError, match=expected):
                await rt.run(fail, 0.02, host="auto")
    async with measured() as rt:
        await places(rt, compute, 0, times=SHORT_RUNS)
        wrong: Any = compute
        with pytest.raises(TypeError, match="unsupported operand"):
            await rt.run(wrong, "x", host="auto")


async def test_map_chains_and_stages_may_be_placed() -> None:
    async with measured() as rt:
        found = [at async for at in rt.map(compute, [0.02] * (RUNS + 1), limit=1, host="auto")]
        assert found == ["thread"] * RUNS + ["process"]
    async with measured() as rt:
        pipe = rt.pipeline(stage(compute, host="auto"))
        assert [at async for at in pipe([0.02] * (RUNS + 1))] == ["thread"] * RUNS + ["process"]
    async with measured() as rt:
        tasks = [Task(f"t{number}", partial(compute, 0.02), host="auto") for number in range(3)]
        assert await (await rt.submit(TaskChain(*tasks))) == "thread"
        assert learned(rt, compute).host == "process"


async def test_an_async_function_is_stepped_cancelled_and_looked_at_as_ever() -> None:
    seen: list[object] = []
    wrong: Any = compute

    async def sleepy() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cleaned up")

    async def catches() -> str:
        try:
            await rt.run(wrong, "x")
        except TypeError as error:
            seen.append(type(error))
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        return str(current().name)

    async with measured() as rt:
        assert await rt.run(catches, host="auto", name="it") == "it"
        ref = await rt.spawn(sleepy, host="auto")
        await anyio.wait_all_tasks_blocked()
        assert "It is suspended at " in str(rt.explain(ref))
        await ref.cancel()
        assert ref.status is TaskStatus.CANCELLED
        assert seen == [TypeError, "cleaned up"]


async def test_it_is_measured_by_the_computers_clocks_when_time_is_virtual() -> None:
    async with measured(clock=VirtualClock()) as rt:
        assert await places(rt, compute, times=RUNS + 1) == ["thread"] * RUNS + ["process"]


async def test_what_cannot_be_is_refused() -> None:
    wrong: Any = place

    def numbers(upto: int) -> Iterator[int]:
        yield from range(upto)

    async with measured() as rt:
        with pytest.raises(ValueError, match="contradicts host='auto': only a thread can be abandoned"):
            await rt.spawn(compute, host="auto", abandon_on_cancel=True)
        with pytest.raises(ValueError, match="choose from 'loop', 'thread', 'process', 'auto'"):
            await rt.spawn(compute, host="atuo")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match='host="auto" does not fit .*numbers.*, a generator'):
            stage(numbers, host="auto")
        with pytest.raises(TypeError, match="was given wrong arguments"):
            await rt.spawn(wrong, 3, host="auto")


# ------------------------------------------------------------------------------------------------ the advice


def advice(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_who_computes_in_a_thread_by_default_is_told_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async with measured() as rt:
        for _ in range(3):
            await rt.run(compute, 0.25)
        async for _ in rt.map(compute, [0.25]):
            pass
    (told,) = advice(caplog)
    assert told == (
        "'compute' computed for 0.250 s in a thread, 100 % of its time, and nothing else in this process "
        "could run Python code meanwhile: mark it with @cpu_bound or pass host='process', or host='thread' "
        "if it is meant to be there"
    )


async def test_many_that_compute_at_once_are_told_of_though_each_waits_for_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meet = threading.Barrier(4)

    def among_others() -> None:
        meet.wait()
        time.compute(0.2)
        meet.wait()

    async with measured() as rt:
        for ref in [await rt.spawn(among_others) for _ in range(4)]:
            await ref
    (told,) = advice(caplog)
    assert "among_others' computed for 0.200 s in a thread, 100 % of its time" in told


async def test_stages_and_maps_are_told_of_too(caplog: pytest.LogCaptureFixture) -> None:
    async with measured() as rt:
        async for _ in rt.pipeline(compute)([0.25]):
            pass
    assert len(advice(caplog)) == 1


async def test_nobody_is_told_who_waits_computes_little_or_wants_a_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with measured() as rt:
        await rt.run(compute, 0.09)
        await rt.run(wait, 20.0)
        before = time.readings
        await rt.run(compute, 0.25, host="thread")
        await rt.run(compute, 0.25, host="loop")
        assert time.readings == before, "those are not even measured"
        await rt.run(compute, 0.05)
    assert not advice(caplog)


async def test_who_would_move_and_cannot_is_told_why(caplog: pytest.LogCaptureFixture) -> None:
    async with measured() as rt:
        await places(rt, compute, 0.25, threading.Lock(), times=4)
    (told,) = advice(caplog)
    assert "host='auto' would have it in a process, but it cannot cross: args[1]: cannot pickle" in told

"""Tasks can be settled by hand, cancelled without waiting, and listened to; the first settlement stands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorsched import (
    DependencyFailed,
    Hosts,
    Retry,
    Runtime,
    TaskCancelled,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
    sleep,
)
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import Fifo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def noop() -> str:
    return "by itself"


async def hang() -> None:
    await anyio.sleep_forever()


async def add(a: int, b: int) -> int:
    return a + b


def in_thread(begun: threading.Event, go: threading.Event, *, stops: bool) -> str:
    begun.set()
    go.wait()
    if stops:
        checkpoint()
    return "by itself"


async def turn() -> None:
    await anyio.sleep(0)


# --------------------------------------------------------------------------------------- in every status


async def test_a_task_that_waits_for_another_is_settled_at_once_and_leaves_that_alone() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        first = await rt.spawn(compute, 2)
        second = await rt.spawn(noop, after=[first])
        third: TaskRef[int] = await rt.spawn(add, second, 2)  # type: ignore[assignment, call-overload]
        assert second.status is TaskStatus.WAITING
        assert second.settle(40)  # type: ignore[arg-type]  # it may be anything
        assert (second.done(), second.result(), second.status) == (True, 40, TaskStatus.COMPLETED)
        assert await third == 42
        assert rt.now == 0
        await first
        assert rt.now == 2


async def test_a_task_in_the_queue_of_a_full_pool_leaves_it() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        first = await rt.spawn(compute, 3)
        queued, last = await rt.spawn(noop, name="queued"), await rt.spawn(noop)
        await rt.sleep(1)
        assert queued.status is TaskStatus.READY
        assert queued.settle("by hand")
        assert await queued == "by hand"
        assert queued.attempt == 0
        assert rt.now == 1
        assert await last == "by itself"
        assert rt.stats().queued == 0
        await first


async def test_a_task_that_is_blocked_wants_the_resource_no_more() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        rt.resource("db")
        holder = await rt.spawn(compute, 2, resources={"db"})
        blocked = await rt.spawn(compute, 1, resources={"db"})
        after = await rt.spawn(compute, 1, resources={"db"})
        await rt.sleep(1)
        assert blocked.status is TaskStatus.BLOCKED
        assert blocked.settle(None)
        await after
        assert (rt.now, blocked.attempt) == (3, 0)
        await holder


async def test_a_task_that_runs_is_stopped_and_gives_back_what_it_holds() -> None:
    ended: list[str] = []

    async def held() -> str:
        async with current().acquire("db"):
            try:
                await sleep(1000)
            finally:
                ended.append("stopped")
        return "never"

    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        rt.resource("db")
        ref = await rt.spawn(held)
        await rt.sleep(1)
        assert ref.settle("by hand")
        assert not ref.done()
        assert not ref.settle("again")
        assert not ref.settle(error=ValueError("again"))
        assert await ref == "by hand"
        assert ended == ["stopped"]
        await rt.run(compute, 1, resources={"db"})


async def test_what_the_function_returns_or_raises_when_it_is_stopped_is_dropped() -> None:
    async def stubborn(*, raises: bool) -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            if raises:
                raise ValueError("its own") from None
        return "its own"

    async with Runtime() as rt:
        for raises in (False, True):
            ref = await rt.spawn(stubborn, kwargs={"raises": raises}, retry=3)
            await turn()
            assert ref.settle("by hand")
            assert await ref == "by hand"
            assert ref.attempt == 1


async def test_a_function_that_ends_in_the_same_moment_comes_too_late() -> None:
    async def settles_itself() -> str:
        ref = refs[0]
        assert ref.settle("by hand")
        assert not ref.settle("again")
        return "by itself"

    refs: list[TaskRef[Any]] = []
    async with Runtime() as rt:
        refs.append(await rt.spawn(settles_itself))
        assert await refs[0] == "by hand"


@pytest.mark.parametrize("stops", [True, False])
async def test_a_thread_is_waited_for_and_its_result_dropped(*, stops: bool) -> None:
    begun, go = threading.Event(), threading.Event()
    async with Runtime() as rt:
        ref = await rt.spawn(in_thread, begun, go, kwargs={"stops": stops})
        await rt.run(begun.wait)
        assert ref.settle("by hand")
        await turn()
        assert not ref.done()
        go.set()
        assert await ref == "by hand"


async def test_a_thread_that_may_be_abandoned_is_not_waited_for() -> None:
    begun, go = threading.Event(), threading.Event()
    async with Runtime() as rt:
        ref = await rt.spawn(in_thread, begun, go, kwargs={"stops": False}, abandon_on_cancel=True)
        await rt.run(begun.wait)
        assert ref.settle("by hand")
        assert ref.result() == "by hand"
        go.set()


@pytest.mark.process
@pytest.mark.parametrize("polite", [True, False])
async def test_a_function_in_a_host_process_is_stopped_as_by_a_cancellation(
    tmp_path: Path, *, polite: bool
) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            if polite:
                ref = await rt.spawn(work.spin_politely, fifo.path, str(tmp_path / "log"), host="process")
            else:
                ref = await rt.spawn(work.spin, fifo.path, host="process", retry=Retry(attempts=3, crashes=3))
            await fifo.told()
            assert ref.settle(5)  # type: ignore[arg-type]
            assert await ref == 5
            assert ref.attempt == 1
            assert await rt.run(work.double, 2, host="process") == 4


async def test_a_preempted_task_does_not_come_back() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        low = await rt.spawn(compute, 5, priority=1)
        await rt.sleep(1)
        high = await rt.spawn(compute, 5, priority=5)
        await rt.sleep(1)
        assert low.status is TaskStatus.PREEMPTED
        assert low.settle(None)
        await low.outcome()
        assert rt.now == 2
        await high
        assert rt.now == 6


async def test_a_task_between_two_attempts_has_no_more_of_them() -> None:
    async def fail() -> None:
        raise OSError("no")

    async with Runtime(clock=VirtualClock()) as rt:
        ref = await rt.spawn(fail, retry=Retry(attempts=9, delay=5, jitter=False))
        await rt.sleep(1)
        assert ref.status is TaskStatus.RETRYING
        assert ref.settle(None)
        assert ref.status is TaskStatus.COMPLETED
        await ref
        assert (ref.attempt, rt.now) == (1, 1)


async def test_a_settlement_does_not_wait_for_the_shielded_end_of_a_timeout_to_be_decided() -> None:
    async def cleans_up() -> None:
        try:
            await sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                await compute(5)

    async with Runtime(clock=VirtualClock()) as rt:
        ref = await rt.spawn(cleans_up, timeout=1, retry=5)
        await rt.sleep(2)
        assert ref.settle(None)  # it has timed out just now, and would be tried again
        await ref
        assert (ref.attempt, rt.now) == (1, 6)


async def test_what_is_cancelled_or_settled_stays_so() -> None:
    async with Runtime() as rt:
        done, running = await rt.spawn(noop), await rt.spawn(hang)
        await done
        assert not done.settle("by hand")
        assert await done == "by itself"
        await turn()
        running.cancel_nowait("enough")
        running.cancel_nowait("again")
        assert not running.settle(None)
        with pytest.raises(TaskCancelled, match="enough") as caught:
            await running
        assert caught.value.reason == "enough"
        assert not running.settle(None)


async def test_a_hard_deadline_after_it_was_settled_changes_nothing() -> None:
    async def cleans_up() -> None:
        try:
            await sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                await compute(5)

    async with Runtime(clock=VirtualClock()) as rt:
        ref = await rt.spawn(cleans_up, deadline=3, hard=True)
        await rt.sleep(1)
        assert ref.settle(None)
        outcome = await ref.outcome()
        assert (outcome.status, outcome.tardiness, rt.now) == (TaskStatus.COMPLETED, 3, 6)


# ------------------------------------------------------------------------------------------ with an error


async def test_with_an_error_it_has_failed_and_so_have_those_that_depend_on_it() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        gate = await rt.spawn(hang)
        after = await rt.spawn(noop, after=[gate])
        await turn()
        assert gate.settle(error=ValueError("by hand"))
        with pytest.raises(DependencyFailed):
            await after
        with pytest.raises(ValueError, match="by hand"):
            await gate
        assert gate.status is TaskStatus.FAILED


async def test_a_cancellation_as_the_error_ends_it_cancelled_and_its_dependents_too() -> None:
    async with Runtime() as rt:
        gate = await rt.spawn(hang)
        after = await rt.spawn(noop, after=[gate])
        await turn()
        assert gate.settle(error=TaskCancelled("not wanted", reason="not wanted", task="gate"))
        with pytest.raises(TaskCancelled, match="not wanted"):
            await after
        assert (await gate.outcome()).status is TaskStatus.CANCELLED
        assert after.status is TaskStatus.CANCELLED


async def test_a_failure_by_hand_fails_the_scope_of_the_task() -> None:
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                ref = await scope.spawn(hang)
                await turn()
                ref.settle(error=ValueError("by hand"))
        assert [str(error) for error in caught.value.exceptions] == ["by hand"]


async def test_what_makes_no_sense_is_refused_and_changes_nothing() -> None:
    async with Runtime() as rt:
        ref: Any = await rt.spawn(hang)
        for arguments, error, says in (
            ({"error": "no"}, TypeError, "error='no' is of type str; give an exception"),
            ({"error": KeyboardInterrupt()}, TypeError, "give an exception"),
            ({"value": 1, "error": ValueError("x")}, ValueError, "are both given"),
        ):
            with pytest.raises(error, match=says):
                ref.settle(**arguments)
        with pytest.raises(TypeError, match="reason=5"):
            ref.cancel_nowait(5)
        with pytest.raises(TypeError, match="cannot be called"):
            ref.add_done_callback("print")
        assert not ref.done()
        for call in (
            lambda: ref.settle(1),
            lambda: ref.cancel_nowait(),
            lambda: ref.add_done_callback(print),
        ):
            with pytest.raises(RuntimeError, match="from another thread"):
                await rt.run(call)
        assert not ref.done()
        await ref.cancel()


# ---------------------------------------------------------------------------------------------- callbacks


def noting(said: list[str], number: int) -> Callable[[TaskRef[Any]], None]:
    return lambda ref: said.append(f"{ref.name} {number}")


async def test_callbacks_come_in_the_order_of_the_ends_and_of_their_registration() -> None:
    said: list[str] = []
    async with Runtime(clock=VirtualClock()) as rt:
        refs = [await rt.spawn(compute, units, name=f"t{units}") for units in (3, 1, 2)]
        for ref in refs:
            for number in (1, 2):
                ref.add_done_callback(noting(said, number))
        refs[0].settle(None)
    assert said == ["t3 1", "t3 2", "t1 1", "t1 2", "t2 1", "t2 2"]


async def test_a_callback_of_a_settled_task_is_called_also_when_the_runtime_has_closed() -> None:
    said: list[str] = []
    async with Runtime() as rt:
        ref = await rt.spawn(noop)
        await ref
        ref.add_done_callback(lambda ref: said.append(ref.result()))
        await turn()
        assert said == ["by itself"]
    ref.add_done_callback(lambda ref: said.append("late"))
    assert said == ["by itself", "late"]
    assert not ref.settle("late")
    ref.cancel_nowait()
    assert await ref == "by itself"


async def test_an_error_in_a_callback_is_logged_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[str] = []

    def fail(ref: TaskRef[Any]) -> None:
        raise RuntimeError("not my day")

    async with Runtime() as rt:
        ref = await rt.spawn(noop)
        ref.add_done_callback(fail)
        ref.add_done_callback(lambda ref: said.append(ref.result()))
        await ref
    assert said == ["by itself"]
    assert "not my day" in caplog.text


async def test_a_callback_may_settle_cancel_listen_and_submit() -> None:
    from actorsched import Task

    said: list[str] = []

    def go_on(ref: TaskRef[Any]) -> None:
        assert other.settle("by a callback")
        assert not other.settle("twice")
        other.add_done_callback(lambda ref: said.append(ref.result()))
        third.cancel_nowait()
        rt.submit_nowait(Task("fourth", noop)).add_done_callback(lambda ref: said.append(ref.result()))

    async with Runtime() as rt:
        first, third = await rt.spawn(noop), await rt.spawn(hang)
        other: TaskRef[Any] = await rt.spawn(hang)
        first.add_done_callback(go_on)
    assert sorted(said) == ["by a callback", "by itself"]
    assert third.status is TaskStatus.CANCELLED


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["value", "error", "cancel", "wait"])), max_size=12
    ),
    concurrency=st.sampled_from([None, 1, 2]),
)
@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
async def test_however_tasks_are_settled_each_ends_once_as_the_first_one_said(
    steps: list[tuple[int, str]], concurrency: int | None
) -> None:
    ends: list[str] = []
    claims: dict[int, str] = {}
    async with Runtime(clock=VirtualClock(), concurrency=concurrency) as rt:
        refs: list[TaskRef[Any]] = []
        for number in range(6):
            after = refs[-1:] if number % 2 else []
            refs.append(
                await rt.spawn(compute, number % 3, name=str(number), after=after, on_upstream_failure="run")
            )
            refs[-1].add_done_callback(lambda ref: ends.append(ref.name))
        for number, how in steps:
            ref = refs[number]
            match how:
                case "value":
                    if ref.settle(f"value {number}"):
                        claims.setdefault(number, "completed")
                case "error":
                    if ref.settle(error=LookupError(str(number))):
                        claims.setdefault(number, "failed")
                case "cancel":
                    if not ref.done() and number not in claims:
                        claims[number] = "cancelled"
                    ref.cancel_nowait()
                case _:
                    await rt.sleep(1)
        for ref in refs:
            await ref.outcome()
        for number, ref in enumerate(refs):
            if number in claims:
                assert ref.status.value == claims[number]
            elif claims:
                assert ref.status.value in ("completed", "cancelled")  # with one that it depends on
        assert rt.stats().live == 0
    assert sorted(ends) == [str(number) for number in range(6)]

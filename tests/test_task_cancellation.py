"""Cancelling tasks: in every status, from everywhere, and what is promised about it."""

from __future__ import annotations

import gc
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    DeadlockError,
    Interrupted,
    Retry,
    Runtime,
    TaskCancelled,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)
from tests.manual_clock import ManualClock, settle, until


class Witness:
    """An async function that tells what has happened to it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def wait(self) -> None:
        self.log.append("begun")
        try:
            await anyio.sleep_forever()
        except BaseException:
            self.log.append("interrupted")
            raise
        finally:
            self.log.append("left")


async def cancelled(ref: TaskRef[Any], reason: str | None = None) -> None:
    """Check that a task was cancelled, for this reason."""
    with pytest.raises(TaskCancelled) as caught:
        await ref
    assert caught.value.reason == reason
    assert ref.status is TaskStatus.CANCELLED


# ----------------------------------------------------------------------------------------- in every status


async def test_a_task_that_was_cancelled_before_its_first_step_never_runs() -> None:
    witness = Witness()
    async with Runtime() as rt:
        ref = await rt.spawn(witness.wait)
        await ref.cancel("too early")
        await cancelled(ref, "too early")
        await settle()
    assert witness.log == []


async def test_a_task_in_the_queue_leaves_it() -> None:
    witness = Witness()
    async with Runtime(concurrency=1) as rt:
        blocker = await rt.spawn(anyio.sleep_forever)
        ref = await rt.spawn(witness.wait)
        await settle()
        assert ref.status is TaskStatus.READY
        await ref.cancel()
        await cancelled(ref)
        await blocker.cancel()
    assert witness.log == []


async def test_a_task_that_waits_for_dependencies_is_cancelled_at_once_and_leaves_them_alone() -> None:
    release = anyio.Event()
    async with Runtime() as rt:
        upstream = await rt.spawn(release.wait)
        ref = await rt.spawn(Witness().wait, after=[upstream])
        await ref.cancel("not needed")
        await cancelled(ref, "not needed")
        assert upstream.status is TaskStatus.RUNNING
        release.set()
        await upstream


async def test_a_running_task_is_interrupted_where_it_waits_and_waited_for() -> None:
    witness = Witness()
    async with Runtime() as rt:
        ref = await rt.spawn(witness.wait)
        await settle()
        await ref.cancel("stop it")
        assert witness.log == ["begun", "interrupted", "left"]
        await cancelled(ref, "stop it")


async def test_cancel_returns_only_when_the_work_has_really_stopped() -> None:
    release = anyio.Event()

    async def slow_to_stop() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    async with Runtime() as rt:
        ref = await rt.spawn(slow_to_stop)
        await settle()
        returned = anyio.Event()

        async def cancel() -> None:
            await ref.cancel()
            returned.set()

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            group.start_soon(cancel)
            await settle()
            assert not returned.is_set()
            assert ref.status is TaskStatus.RUNNING
            release.set()
        await cancelled(ref)


async def test_a_task_between_two_attempts_has_no_more_of_them() -> None:
    clock = ManualClock()
    attempts: list[int] = []

    async def fail() -> None:
        attempts.append(current().attempt)
        raise OSError

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(fail, retry=Retry(5, delay=10, jitter=False))
        await settle()
        assert ref.status is TaskStatus.RETRYING
        await ref.cancel("give up")
        await cancelled(ref, "give up")
        await clock.passes(100)
        assert rt._system.kernel.timers == 0
    assert attempts == [1]


async def test_a_cancelled_attempt_is_not_tried_again() -> None:
    witness = Witness()
    async with Runtime() as rt:
        ref = await rt.spawn(witness.wait, retry=Retry(5))
        await settle()
        await ref.cancel()
        await cancelled(ref)
    assert witness.log.count("begun") == 1


async def test_a_settled_task_stays_as_it_is() -> None:
    async def done() -> int:
        return 1

    async with Runtime() as rt:
        ref = await rt.spawn(done)
        assert await ref == 1
        await ref.cancel("too late")
        assert ref.status is TaskStatus.COMPLETED
        assert await ref == 1


async def test_a_task_that_waits_for_another_is_interrupted_there_and_the_other_goes_on() -> None:
    release = anyio.Event()
    async with Runtime(concurrency=1) as rt:
        child = await rt.spawn(release.wait)

        async def wait() -> None:
            await child

        ref = await rt.spawn(wait)
        await settle()
        await ref.cancel("leave it")
        await cancelled(ref, "leave it")
        assert not child.done()
        release.set()
        await child


async def test_a_task_that_runs_another_cancels_it_and_waits_for_it() -> None:
    witness = Witness()
    async with Runtime(concurrency=1) as rt:

        async def parent() -> None:
            await rt.run(witness.wait)

        ref = await rt.spawn(parent)
        await settle()
        await ref.cancel()
        assert witness.log == ["begun", "interrupted", "left"]
        await cancelled(ref)


async def test_a_task_that_is_about_to_regain_its_slot_is_interrupted_without_one() -> None:
    release, hold = anyio.Event(), anyio.Event()
    log: list[str] = []

    async with Runtime(concurrency=1) as rt:

        async def parent() -> None:
            try:
                await rt.run(release.wait, priority=9)
            finally:
                log.append("interrupted")

        ref = await rt.spawn(parent)
        await settle()
        blocker = await rt.spawn(hold.wait, priority=9)
        release.set()
        await settle()
        assert (ref.status, blocker.status) == (TaskStatus.READY, TaskStatus.RUNNING)
        await ref.cancel()
        assert log == ["interrupted"]
        await cancelled(ref)
        hold.set()
        await blocker
        assert rt._system.pools["loop"].running == 0


# -------------------------------------------------------------------------------------------- from inside


async def test_a_task_may_cancel_itself_and_goes_on_to_its_next_await() -> None:
    log: list[str] = []
    me: list[TaskRef[None]] = []

    async def suicidal() -> None:
        await me[0].cancel("had enough")
        log.append("asked")
        await anyio.sleep_forever()

    async with Runtime() as rt:
        me.append(await rt.spawn(suicidal))
        await cancelled(me[0], "had enough")
    assert log == ["asked"]


async def test_a_task_that_cancels_itself_and_returns_without_waiting_has_completed() -> None:
    me: list[TaskRef[str]] = []

    async def suicidal() -> str:
        await me[0].cancel()
        return "survived"

    async with Runtime() as rt:
        me.append(await rt.spawn(suicidal))
        assert await me[0] == "survived"


async def test_a_child_may_cancel_the_task_that_waits_for_it() -> None:
    parents: list[TaskRef[None]] = []

    async with Runtime() as rt:

        async def parent() -> None:
            await rt.run(child)

        async def child() -> None:
            await parents[0].cancel("from below")

        parents.append(await rt.spawn(parent))
        await cancelled(parents[0], "from below")


async def test_of_two_tasks_that_cancel_each_other_and_wait_in_spite_of_it_one_is_refused() -> None:
    refs: list[TaskRef[None]] = []

    begun: set[int] = set()

    async def cancel(other: int) -> None:
        with anyio.CancelScope(shield=True):
            begun.add(other)
            while len(begun) < 2:
                await anyio.lowlevel.checkpoint()
            await refs[other].cancel(f"by {1 - other}")
        await anyio.sleep_forever()

    async with Runtime() as rt:
        refs.extend([await rt.spawn(cancel, 1), await rt.spawn(cancel, 0)])
        outcomes = [await ref.outcome() for ref in refs]
    kinds = {type(outcome.error) for outcome in outcomes}
    assert kinds == {DeadlockError, TaskCancelled}


async def test_whoever_cancels_a_task_that_waits_for_it_is_not_in_a_deadlock() -> None:
    async with Runtime() as rt:
        refs: list[TaskRef[str]] = []

        async def wait() -> None:
            await refs[0]

        async def cancel() -> str:
            waiting = await rt.spawn(wait)
            await settle()
            await waiting.cancel("not you")
            await cancelled(waiting, "not you")
            return "fine"

        refs.append(await rt.spawn(cancel))
        assert await refs[0] == "fine"


async def test_whoever_shields_its_wait_for_its_canceller_is_refused_instead() -> None:
    refs: list[TaskRef[str]] = []
    errors: list[BaseException] = []

    async with Runtime() as rt:

        async def wait() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    await refs[0]
                except DeadlockError as error:
                    errors.append(error)
                    raise

        async def cancel() -> str:
            waiting = await rt.spawn(wait)
            await settle()
            await waiting.cancel()
            return "fine"

        refs.append(await rt.spawn(cancel))
        assert await refs[0] == "fine"
    assert len(errors) == 1


# ---------------------------------------------------------------------------------------------- what wins


async def test_a_task_that_completes_in_spite_of_its_cancellation_has_completed() -> None:
    async def stubborn() -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            return "here is the result"
        return "never"

    async with Runtime() as rt:
        ref = await rt.spawn(stubborn)
        await settle()
        await ref.cancel()
        assert await ref == "here is the result"


async def test_a_failure_on_the_way_out_is_the_outcome_and_stands_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def breaks() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("while stopping")

    async with Runtime() as rt:
        ref = await rt.spawn(breaks)
        await settle()
        await ref.cancel()
        assert ref.status is TaskStatus.FAILED
        assert not caplog.records
        del ref
        gc.collect()  # a cancellation of trio's refers to the frames of whoever cancelled
        assert "LookupError: while stopping" in caplog.text


async def test_the_first_reason_counts() -> None:
    release = anyio.Event()

    async def slow_to_stop() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    async with Runtime() as rt:
        ref = await rt.spawn(slow_to_stop)
        await settle()
        async with anyio.create_task_group() as group:
            for reason in ("first", "second"):
                group.start_soon(ref.cancel, reason)
                await settle()
            release.set()
        await cancelled(ref, "first")


async def test_everyone_who_waits_hears_of_the_cancellation() -> None:
    witness, heard = Witness(), []
    async with Runtime() as rt:
        ref = await rt.spawn(witness.wait)

        async def wait() -> None:
            try:
                await ref
            except TaskCancelled as error:
                heard.append(error.reason)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(wait)
            for _ in range(10):
                await rt.spawn(wait)
            await settle()
            await ref.cancel("over")
    assert heard == ["over"] * 20


async def test_awaiting_a_cancelled_task_never_looks_like_ones_own_cancellation() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(anyio.sleep_forever)
        await settle()
        await ref.cancel()
        try:
            await ref
        except Exception as error:
            assert isinstance(error, TaskCancelled)
        else:
            pytest.fail("nothing was raised")


# ---------------------------------------------------------------------------------------------- run


async def test_cancelling_run_cancels_the_task_and_waits_for_it() -> None:
    witness, release = Witness(), anyio.Event()

    async def slow_to_stop() -> None:
        try:
            await witness.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()
            witness.log.append("really left")

    async with Runtime() as rt:
        async with anyio.create_task_group() as group:
            group.start_soon(rt.run, slow_to_stop)
            await settle()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await settle()
                assert witness.log == ["begun", "interrupted", "left"]
                release.set()
        assert witness.log[-1] == "really left"


async def test_a_failure_on_the_way_out_of_a_cancelled_run_stands_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def breaks() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("while stopping")

    async with Runtime() as rt:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(rt.run, breaks)
                await settle()
                scope.cancel()
        assert "LookupError: while stopping" in caplog.text


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_asyncio_cancelling_twice_does_not_make_run_leave_its_task_behind() -> None:
    import asyncio

    release = anyio.Event()
    log: list[str] = []

    async def slow_to_stop() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()
            log.append("stopped")

    async with Runtime() as rt:
        running = asyncio.ensure_future(rt.run(slow_to_stop))
        await settle()
        running.cancel()
        await settle()
        running.cancel()
        await settle()
        assert not running.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert log == ["stopped"]


# ------------------------------------------------------------------------------------------------ threads


async def test_a_thread_is_stopped_at_its_next_checkpoint() -> None:
    running = threading.Event()
    log: list[str] = []

    def spin() -> None:
        try:
            running.set()
            while True:
                checkpoint()
        except Interrupted as error:
            log.append(error.reason)
            assert current().cancel_requested
            raise

    async with Runtime() as rt:
        ref = await rt.spawn(spin)
        await until(running.is_set)
        await ref.cancel("enough of that")
        await cancelled(ref, "enough of that")
    assert log == ["enough of that"]


async def test_except_exception_does_not_keep_a_thread_from_stopping() -> None:
    running = threading.Event()

    def stubborn() -> None:
        while True:
            try:
                running.set()
                checkpoint()
            except Exception:
                running.clear()

    async with Runtime() as rt:
        ref = await rt.spawn(stubborn)
        await until(running.is_set)
        await ref.cancel()
        await cancelled(ref)


async def test_a_thread_that_waits_in_the_queue_never_starts() -> None:
    release = threading.Event()
    log: list[str] = []
    async with Runtime() as rt:
        blockers = [await rt.spawn(release.wait) for _ in range(40)]
        ref = await rt.spawn(log.append, "ran")
        await settle()
        assert ref.status is TaskStatus.READY
        await ref.cancel()
        await cancelled(ref)
        release.set()
        for blocker in blockers:
            await blocker
    assert log == []


async def test_an_abandoned_thread_is_cancelled_at_once(caplog: pytest.LogCaptureFixture) -> None:
    running, release = threading.Event(), threading.Event()

    def deaf() -> None:
        running.set()
        release.wait()

    async with Runtime() as rt:
        ref = await rt.spawn(deaf, abandon_on_cancel=True)
        await until(running.is_set)
        await ref.cancel("no time")
        await cancelled(ref, "no time")
        assert "left to itself" in caplog.text
        release.set()


# -------------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize("reason", [3, b"bytes", ValueError("x")])
async def test_a_reason_is_text(reason: Any) -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(anyio.sleep_forever)
        with pytest.raises(TypeError, match="reason="):
            await ref.cancel(reason)
        assert ref.status in {TaskStatus.READY, TaskStatus.RUNNING}
        await ref.cancel()

"""Attempts of a task: retries with their waits, and timeouts, on a clock that is moved by hand."""

from __future__ import annotations

import logging
import threading
import traceback
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from actorsched import Retry, Runtime, TaskCancelled, TaskStatus, checkpoint, current
from actorsched._system.thread_worker import GRACE
from tests.manual_clock import ManualClock, settle, until


class Flaky:
    """A function that fails so many times before it succeeds."""

    def __init__(self, failures: int, error: type[BaseException] = OSError) -> None:
        self.failures = failures
        self.error = error
        self.attempts: list[int] = []
        self.times: list[float] = []

    async def __call__(self, clock: ManualClock | None = None) -> int:
        self.attempts.append(current().attempt)
        if clock is not None:
            self.times.append(clock.now())
        if len(self.attempts) <= self.failures:
            raise self.error(f"attempt {len(self.attempts)}")
        return len(self.attempts)


# --------------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize(("failures", "attempts"), [(0, 1), (1, 2), (2, 3), (2, 5)])
async def test_a_task_is_tried_as_often_as_it_was_allowed(failures: int, attempts: int) -> None:
    flaky = Flaky(failures)
    async with Runtime() as rt:
        ref = await rt.spawn(flaky, retry=attempts)
        assert await ref == failures + 1
        assert ref.attempt == failures + 1
    assert flaky.attempts == list(range(1, failures + 2))


async def test_the_error_of_the_last_attempt_is_the_tasks_and_says_so() -> None:
    async with Runtime() as rt:
        with pytest.raises(OSError, match="attempt 3") as caught:
            await rt.run(Flaky(9), retry=3)
    assert caught.value.__notes__ == ["not retried: attempt 3 of 3 failed"]


async def test_without_retry_an_error_is_left_as_it_is() -> None:
    async with Runtime() as rt:
        with pytest.raises(OSError, match="attempt 1") as caught:
            await rt.run(Flaky(9))
    assert not hasattr(caught.value, "__notes__")


async def test_only_the_errors_that_were_named_are_tried_again() -> None:
    async with Runtime() as rt:
        assert await rt.run(Flaky(1, ConnectionError), retry=Retry(3, on=OSError)) == 2
        with pytest.raises(ValueError, match="attempt 1") as caught:
            await rt.run(Flaky(1, ValueError), retry=Retry(3, on=(OSError, TimeoutError)))
    assert "not among the exceptions to retry on" in caught.value.__notes__[0]


async def test_what_is_no_exception_is_never_tried_again() -> None:
    flaky = Flaky(1, SystemExit)
    async with Runtime() as rt:
        outcome = await (await rt.spawn(flaky, retry=3)).outcome()
    assert isinstance(outcome.error, SystemExit)
    assert flaky.attempts == [1]


async def test_waits_between_attempts_grow_up_to_the_longest() -> None:
    clock, flaky = ManualClock(), Flaky(4)
    retry = Retry(5, delay="1s", backoff=3, max_delay=10, jitter=False)
    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(flaky, clock, retry=retry)
        await settle()
        assert ref.status is TaskStatus.RETRYING
        for _ in range(40):
            await clock.passes(1)
        assert await ref == 5
    assert flaky.times == [0, 1, 4, 13, 23]


async def test_jitter_draws_waits_that_a_seed_repeats() -> None:
    async def waits(seed: int) -> list[float]:
        clock, flaky = ManualClock(), Flaky(3)
        async with Runtime(clock=clock, seed=seed) as rt:
            ref = await rt.spawn(flaky, clock, retry=Retry(4, delay=16, backoff=1))
            while not ref.done():
                await clock.passes(0.25)
        return [later - earlier for earlier, later in zip(flaky.times, flaky.times[1:], strict=False)]

    first = await waits(1)
    assert first == await waits(1)
    assert first != await waits(2)
    assert all(0 <= wait <= 16.25 for wait in first)
    assert len(set(first)) > 1


async def test_attempts_in_threads_are_counted_alike() -> None:
    attempts: list[int] = []

    def flaky() -> str:
        attempts.append(current().attempt)
        if len(attempts) < 3:
            raise OSError
        return "done"

    async with Runtime() as rt:
        assert await rt.run(flaky, retry=3) == "done"
    assert attempts == [1, 2, 3]


async def test_each_attempt_begins_with_the_variables_that_the_task_was_spawned_with() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="outside")
    seen: list[str] = []

    async def change() -> None:
        seen.append(variable.get())
        variable.set("changed by an attempt")
        raise OSError

    def change_in_thread() -> None:
        seen.append(variable.get())
        variable.set("changed by an attempt")
        raise OSError

    async with Runtime() as rt:
        for function in (change, change_in_thread):
            with pytest.raises(OSError):
                await rt.run(function, retry=2)
    assert seen == ["outside"] * 4


async def test_a_task_that_waits_for_its_next_attempt_holds_no_slot() -> None:
    clock = ManualClock()
    async with Runtime(concurrency=1, clock=clock) as rt:
        ref = await rt.spawn(Flaky(1), retry=Retry(2, delay=5, jitter=False))
        await settle()
        assert await rt.run(Flaky(0)) == 1
        await clock.passes(5)
        assert await ref == 2


async def test_a_retry_queues_behind_those_that_were_ready_before() -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(f"{name}{current().attempt}")
        if name == "a" and current().attempt == 1:
            raise OSError

    clock = ManualClock()
    async with Runtime(concurrency=1, clock=clock) as rt:
        refs = [await rt.spawn(note, name, retry=2) for name in "abc"]
        for ref in refs:
            await ref
    assert order == ["a1", "b1", "c1", "a2"]


# -------------------------------------------------------------------------------------------------- timeouts


async def test_an_attempt_that_takes_too_long_is_stopped_and_fails_with_a_timeout() -> None:
    clock = ManualClock()
    cleaned: list[str] = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("up")

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(slow, timeout="5s")
        await clock.passes(4.9)
        assert ref.status is TaskStatus.RUNNING
        await clock.passes(0.2)
        with pytest.raises(TimeoutError, match="stopped after its timeout of 5 s") as caught:
            await ref
    assert cleaned == ["up"]
    cause = caught.value.__cause__
    assert cause is not None
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(cause.__traceback__)]
    assert "slow" in frames


async def test_the_time_of_an_attempt_begins_with_its_first_step() -> None:
    clock, release = ManualClock(), anyio.Event()
    async with Runtime(concurrency=1, clock=clock) as rt:
        first = await rt.spawn(release.wait)
        second = await rt.spawn(Flaky(0), timeout=1)
        await clock.passes(100)
        release.set()
        assert await second == 1
        await first


async def test_every_attempt_has_its_own_time() -> None:
    clock = ManualClock()
    started: list[float] = []

    async def slow() -> None:
        started.append(clock.now())
        if len(started) < 3:
            await anyio.sleep_forever()

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(slow, timeout=2, retry=Retry(3, on=TimeoutError))
        for _ in range(8):
            await clock.passes(1)
        await ref
    assert started == [0, 2, 4]


async def test_a_task_that_ends_in_time_leaves_no_timer() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        await rt.run(Flaky(0), timeout=3)
        await rt.run(Flaky(1), timeout=3, retry=2)
        assert rt._system.kernel.timers == 0


async def test_a_task_that_catches_its_timeout_may_still_return() -> None:
    clock = ManualClock()

    async def polite() -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            return "late but here"
        return "never"

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(polite, timeout=1)
        await clock.passes(2)
        assert await ref == "late but here"


async def test_an_error_raised_while_a_timeout_stops_the_task_is_the_tasks_error() -> None:
    clock = ManualClock()

    async def breaks() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("while stopping")

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(breaks, timeout=1)
        await clock.passes(2)
        with pytest.raises(LookupError, match="while stopping"):
            await ref


async def test_a_timeout_of_nothing_stops_what_does_not_end_at_once() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        assert await rt.run(Flaky(0), timeout=0) == 1
        ref = await rt.spawn(anyio.sleep_forever, timeout=0)
        await clock.passes(0)
        with pytest.raises(TimeoutError):
            await ref


async def test_a_cancel_beats_a_timeout_and_the_other_way_round_the_cancel_wins_too() -> None:
    clock, release = ManualClock(), anyio.Event()

    async def slow_to_stop() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(slow_to_stop, timeout=1, retry=3)
        await clock.passes(2)
        async with anyio.create_task_group() as group:
            group.start_soon(ref.cancel, "enough")
            await settle()
            release.set()
        with pytest.raises(TaskCancelled, match="enough"):
            await ref


# ------------------------------------------------------------------------------------------ in threads


class Spinner:
    """A function in a thread that stops at checkpoints, or only when it is told."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.release = threading.Event()
        self.interrupted: BaseException | None = None

    def polite(self) -> str:
        self.running.set()
        try:
            while not self.release.wait(0.001):
                checkpoint()
        except BaseException as error:
            self.interrupted = error
            raise
        return "released"

    def deaf(self) -> str:
        self.running.set()
        self.release.wait()
        return "released"

    async def is_running(self) -> None:
        await until(self.running.is_set)


async def test_a_thread_stops_for_its_timeout_at_its_next_checkpoint() -> None:
    clock, spinner = ManualClock(), Spinner()
    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(spinner.polite, timeout=1)
        await spinner.is_running()
        await clock.passes(1)
        with pytest.raises(TimeoutError, match="timeout of 1 s"):
            await ref
    assert "timeout" in str(spinner.interrupted)


async def test_a_thread_without_checkpoints_is_waited_for_and_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, spinner = ManualClock(), Spinner()
    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(spinner.deaf, timeout=1)
        await spinner.is_running()
        await clock.passes(1)
        assert not ref.done()
        await clock.passes(GRACE - 0.1)
        assert not caplog.records
        await clock.passes(0.2)
        assert "'Spinner.deaf' was told to stop" in caplog.text
        await clock.passes(10 * GRACE)
        assert len(caplog.records) == 1
        spinner.release.set()
        assert await ref == "released"


async def test_the_grace_of_an_attempt_that_has_stopped_says_nothing_about_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    spinners = [Spinner(), Spinner()]

    def take_turns() -> str:
        return spinners[current().attempt - 1].polite()

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(take_turns, timeout=2 * GRACE, retry=2)
        await spinners[0].is_running()
        await clock.passes(2 * GRACE)
        await spinners[1].is_running()
        await clock.passes(1.5 * GRACE)
        spinners[1].release.set()
        assert await ref == "released"
        assert rt._system.kernel.timers == 0
    assert not caplog.records


async def test_an_abandoned_thread_settles_its_task_at_once_and_its_result_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, spinner = ManualClock(), Spinner()
    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(spinner.deaf, timeout=1, abandon_on_cancel=True)
        await spinner.is_running()
        await clock.passes(1)
        with pytest.raises(TimeoutError):
            await ref
        assert "left to itself" in caplog.text
        spinner.release.set()
        assert await rt.run(Spinner.is_running, spinner) is None
        await settle()
        assert ref.status is TaskStatus.FAILED


async def test_an_abandoned_attempt_does_not_disturb_the_one_after_it() -> None:
    clock = ManualClock()
    spinners = [Spinner(), Spinner()]

    def take_turns() -> tuple[int, str]:
        attempt = current().attempt
        return attempt, spinners[attempt - 1].deaf()

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(take_turns, timeout=1, retry=2, abandon_on_cancel=True)
        await spinners[0].is_running()
        await clock.passes(1)
        await spinners[1].is_running()
        spinners[0].release.set()
        await settle()
        assert not ref.done()
        spinners[1].release.set()
        assert await ref == (2, "released")


async def test_an_abandoned_thread_may_go_on_after_the_runtime_and_harms_nobody() -> None:
    clock, spinner = ManualClock(), Spinner()
    problems: list[BaseException] = []

    def late() -> None:
        spinner.deaf()
        try:
            current().report(0.5)
            checkpoint()
        except BaseException as error:
            problems.append(error)

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(late, timeout=1, abandon_on_cancel=True)
        await spinner.is_running()
        await clock.passes(1)
        await ref.outcome()
    spinner.release.set()
    await until(lambda: problems)
    assert [type(problem).__name__ for problem in problems] == ["Interrupted"]


async def test_a_function_that_raises_interrupted_by_itself_has_failed() -> None:
    from actorsched import Interrupted

    def confused() -> Any:
        raise Interrupted("by nobody")

    async with Runtime() as rt:
        ref = await rt.spawn(confused)
        assert (await ref.outcome()).status is TaskStatus.FAILED


async def test_the_log_names_no_task_that_stops_in_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "actorsched")
    clock, spinner = ManualClock(), Spinner()
    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(spinner.polite)
        await spinner.is_running()
        await ref.cancel("stop")
        await clock.passes(2 * GRACE)
    assert not caplog.records

"""One task alone: one attempt of a function, without a runtime, a loop or time."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import actorsched
from actorsched import Actor, DeadlineMissed, TaskCancelled, TaskStatus, checkpoint, current
from actorsched.exceptions import TaskTimeout
from actorsched.testing import NeedsRuntime, alone, compute
from actorsched.testing.effects import Acquired, Asked, Raised, Released, Reported, Slept, Spawned, Told


class Store(Actor):
    async def put(self, number: int) -> None: ...
    async def get(self) -> int:
        return 0


async def double(number: int) -> int:
    await actorsched.sleep("1s")
    return 2 * number


def count(most: int) -> int:
    for number in range(most):
        current().report(number / most, f"at {number}")
        checkpoint()
    return most


async def wait_for(what: Any) -> Any:
    return await what


def test_an_async_task_runs_until_it_waits() -> None:
    task = alone.task(double, 5)
    assert task.effects == [Slept(1)]
    assert (task.done, task.status) == (False, TaskStatus.RUNNING)
    with pytest.raises(RuntimeError, match="it waits for 1 s to pass"):
        _ = task.value
    assert task.advance("1s") == []
    assert (task.value, task.status, task.error, task.now) == (10, TaskStatus.COMPLETED, None, 1.0)


def test_a_plain_task_has_ended_at_once() -> None:
    task = alone.task(count, 2)
    assert task.value == 2
    assert task.effects == [Reported(0.0, "at 0"), Reported(0.5, "at 1")]
    assert task.progress == (0.5, "at 1")
    assert task.effects.reports[-1].message == "at 1"


def test_a_plain_task_is_cancelled_at_the_checkpoint_that_is_named() -> None:
    task = alone.task(count, 10, cancel_at=3)
    assert len(task.effects.reports) == 3
    assert isinstance(task.error, TaskCancelled)
    assert task.status is TaskStatus.CANCELLED
    assert alone.task(count, 2, cancel_at=3).value == 2


def test_an_async_task_is_cancelled_where_it_waits() -> None:
    left: list[str] = []

    async def work() -> None:
        current().defer(left.append, "deferred")
        try:
            await actorsched.sleep(5)
        finally:
            assert current().cancel_requested
            await actorsched.sleep(1)  # a farewell may take its time
            left.append("left")

    task = alone.task(work)
    task.cancel("enough")
    assert not task.done
    task.advance(1)
    assert left == ["left", "deferred"]
    assert isinstance(task.error, TaskCancelled)
    assert task.error.reason == "enough"
    assert task.effects == [Slept(5), Slept(1), Raised(TaskCancelled)]
    task.cancel()
    with pytest.raises(TypeError, match="say why as a str"):
        task.cancel(5)


def test_a_cancellation_that_is_passed_over_is_none() -> None:
    async def work() -> str:
        try:
            await actorsched.sleep(5)
        except BaseException:
            return "anyway"
        return "slept"

    task = alone.task(work)
    task.effects.cancel()
    assert (task.value, task.status) == ("anyway", TaskStatus.COMPLETED)


def test_an_error_is_that_of_the_task() -> None:
    def work() -> None:
        raise OSError("no disk")

    task = alone.task(work)
    assert task.effects == [Raised(OSError("no disk"))]
    assert task.status is TaskStatus.FAILED
    with pytest.raises(OSError, match="no disk"):
        _ = task.value


def test_a_task_uses_others_and_spawns_more() -> None:
    store: Any = alone.ref("store", Store)

    async def work() -> int:
        store.tell(Store.put, 1)
        number: int = await store.ask.get()
        return await current().runtime.run(double, number)

    task = alone.task(work)
    task.effects.asked[0].answer(4)
    task.effects.spawned[0].ref.settle(8)
    assert task.value == 8
    assert task.effects == [Told(store, "put", (1,)), Asked(store, "get"), Spawned(double, (4,))]


def test_a_task_waits_for_another() -> None:
    other = alone.task_ref("other")
    task = alone.task(wait_for, [other][0]) if other.settle(3) else None
    assert task is not None
    assert task.error is not None  # the result, 3, has taken the place of the ref: it cannot be awaited
    later = alone.task_ref("later")

    async def work() -> Any:
        return await later

    waiting = alone.task(work)
    assert waiting.waits_for == "the end of task 'later'; settle its ref"
    later.settle(error=OSError("no"))
    assert isinstance(waiting.error, OSError)


def test_the_result_of_a_task_takes_the_place_of_its_ref() -> None:
    other = alone.task_ref("other")
    with pytest.raises(ValueError, match="settle it with a value before"):
        alone.task(count, other)
    other.settle(2)
    assert alone.task(count, other).value == 2
    assert alone.task(count, kwargs={"most": other}).value == 2


def test_a_task_holds_resources() -> None:
    async def work() -> None:
        async with current().acquire("db", "disk"):
            await actorsched.sleep(1)

    task = alone.task(work, resources={"net"})
    task.advance(1)
    both = ("db", "disk")
    assert task.effects == [Acquired(("net",)), Acquired(both), Slept(1), Released(both), Released(("net",))]


@pytest.mark.parametrize(("names", "error"), [((), TypeError), ((5,), TypeError), (("db", "db"), ValueError)])
def test_wrong_resources_are_refused(names: Any, error: type[Exception]) -> None:
    async def work() -> None:
        current().acquire(*names)

    assert isinstance(alone.task(work).error, error)


def test_a_plain_task_cannot_acquire() -> None:
    assert isinstance(alone.task(lambda: current().acquire("db")).error, RuntimeError)


def test_a_task_knows_where_it_is() -> None:
    def work() -> None:
        here = current()
        assert (here.name, here.kind, here.id, here.host, here.attempt) == (
            "w",
            "task",
            "task-0",
            "thread",
            2,
        )
        with pytest.raises(RuntimeError, match="only a handler"):
            _ = here.ref
        with pytest.raises(RuntimeError, match="only a handler"):
            _ = here.sender
        with pytest.raises(ValueError, match="fraction"):
            here.report(2)

    assert alone.task(work, name="w", attempt=2).value is None


def test_a_task_has_a_time_limit() -> None:
    task = alone.task(double, 5, timeout="500ms")
    task.advance(1)
    assert isinstance(task.error, TaskTimeout)
    assert alone.task(count, 1, timeout=1).value == 1


def test_a_hard_deadline_stops_a_task_and_a_soft_one_does_not() -> None:
    hard, soft = (alone.task(double, 5, deadline=0.5, hard=hard) for hard in (True, False))
    for task in (hard, soft):
        task.advance(1)
    assert isinstance(hard.error, DeadlineMissed)
    assert hard.status is TaskStatus.DEADLINE_MISSED
    assert soft.value == 10
    assert alone.task(lambda: current().deadline, deadline="5s").value == 5.0
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert 3000 < alone.task(lambda: current().deadline, deadline=soon).value <= 3600


def test_a_task_may_be_asked_for_its_place() -> None:
    async def work() -> bool:
        await actorsched.sleep(1)
        return current().preempt_requested

    task = alone.task(work)
    task.preempt()
    task.advance(1)
    assert task.value is True


def test_computing_takes_time() -> None:
    async def work() -> None:
        await compute(3)

    task = alone.task(work)
    assert task.effects == [Slept(3)]


def test_partials_and_methods_are_functions_too() -> None:
    assert alone.task(functools.partial(count, 2)).value == 2
    assert alone.task(functools.partial(double, 2)).advance(1) == []
    assert alone.task([3].count, 3).value == 1


def test_what_takes_a_loop_is_a_clear_error() -> None:
    import asyncio

    async def work() -> None:
        await asyncio.sleep(1)

    with pytest.raises(NeedsRuntime, match=r"task '.*work' raises .*test_alone_tasks\.py:\d+"):
        alone.task(work)
    with pytest.raises(NeedsRuntime, match=r"task '.*work' raises .*test_alone_tasks\.py:\d+"):
        alone.task(functools.partial(work))


async def stream() -> Any:
    yield


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: alone.task(5), TypeError, "cannot be called"),
        (lambda: alone.task(Store), TypeError, r"test it by alone\(Store\)"),
        (lambda: alone.task(stream), TypeError, "async generator"),
        (lambda: alone.task(double), TypeError, "double"),
        (lambda: alone.task(double, 1, nmae="x"), TypeError, "did you mean 'name'"),
        (lambda: alone.task(double, 1, timeout="soon"), ValueError, "timeout='soon'"),
        (lambda: alone.task(double, 1, after=[]), TypeError, "leave it out"),
        (lambda: alone.task(double, 1, cancel_at=1), ValueError, r"call cancel\(\) where it waits"),
        (lambda: alone.task(count, 1, cancel_at=0), ValueError, "cancel_at"),
        (lambda: alone.task(count, 1, cancel_at="1"), TypeError, "cancel_at"),
        (lambda: alone.task(count, 1, attempt=0), ValueError, "attempt"),
        (lambda: alone.task(count, 1).effects.demand(), TypeError, "streams nothing"),
        (lambda: alone.task(count, 1).effects.close(), TypeError, "streams nothing"),
    ],
)
def test_what_is_wrong_is_refused_at_the_call(wrong: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wrong()

"""Tasks from the outside: how they are spawned, with what, and what becomes of them."""

from __future__ import annotations

import copy
import functools
import threading
from typing import Any

import anyio
import pytest

from actorsched import (
    ActorschedError,
    DependencyFailed,
    Runtime,
    TaskCancelled,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)
from tests.manual_clock import settle


async def add(a: int, b: int = 10, *, c: int = 100) -> int:
    return a + b + c


def double(value: int) -> int:
    return 2 * value


async def fail(message: str = "broken") -> int:
    raise ValueError(message)


async def forever() -> None:
    await anyio.sleep_forever()


class Adder:
    """Something whose methods and instances can be spawned."""

    def __init__(self, base: int) -> None:
        self.base = base

    async def plus(self, value: int) -> int:
        return self.base + value

    def minus(self, value: int) -> int:
        return self.base - value

    @staticmethod
    async def fixed() -> str:
        return "static"

    async def __call__(self, value: int) -> int:
        return self.base * value


# --------------------------------------------------------------------------------------- what can be spawned


async def test_an_async_function_is_run_with_its_arguments() -> None:
    async with Runtime() as rt:
        assert await rt.run(add, 1) == 111
        assert await rt.run(add, 1, 2) == 103
        assert await rt.run(add, 1, kwargs={"b": 2, "c": 3}) == 6
        assert await (await rt.spawn(add, 1, kwargs={"c": 0})) == 11


async def test_a_plain_function_is_run_in_a_thread_of_its_own() -> None:
    async with Runtime() as rt:
        assert await rt.run(double, 21) == 42
        assert await rt.run(threading.get_ident) != threading.get_ident()


async def test_a_plain_function_may_be_run_in_the_loop() -> None:
    async with Runtime() as rt:
        assert await rt.run(threading.get_ident, host="loop") == threading.get_ident()


async def test_partials_methods_and_objects_that_can_be_called_are_spawned_like_functions() -> None:
    async with Runtime() as rt:
        assert await rt.run(functools.partial(add, 1, c=2), 3) == 6
        assert await rt.run(functools.partial(functools.partial(double), 4)) == 8
        assert await rt.run(Adder(5).plus, 1) == 6
        assert await rt.run(Adder(5).minus, 1) == 4
        assert await rt.run(Adder.fixed) == "static"
        assert await rt.run(Adder(5), 3) == 15
        assert await rt.run(max, 1, 2) == 2
        assert (await rt.run(Adder, 7)).base == 7


async def test_a_lambda_that_returns_a_coroutine_runs_where_it_is_awaited_only() -> None:
    async with Runtime() as rt:
        assert await rt.run(lambda: add(1), host="loop") == 111
        with pytest.raises(TypeError, match="returned a coroutine"):
            await rt.run(lambda: add(1))


async def test_results_of_every_kind_come_back_as_they_are() -> None:
    results = [None, (), (1, 2), ValueError("not raised"), StopIteration(3), Ellipsis]

    async def give(value: object) -> object:
        return value

    async with Runtime() as rt:
        for result in results:
            assert await rt.run(give, result) is result
            assert await rt.run(lambda value: value, result, host="loop") is result
            assert await rt.run(lambda value: value, result) is result


async def test_a_stop_iteration_is_an_error_and_never_a_result() -> None:
    def stop() -> None:
        raise StopIteration("x")

    async def stop_async() -> None:
        raise StopIteration("x")

    async with Runtime() as rt:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await rt.run(stop, host="loop")
        with pytest.raises(RuntimeError, match="StopIteration"):
            await rt.run(stop_async)


async def test_spawn_returns_before_the_task_has_begun() -> None:
    begun: list[str] = []

    async def begin() -> None:
        begun.append("task")

    async with Runtime() as rt:
        ref = await rt.spawn(begin)
        begun.append("body")
        await ref
    assert begun == ["body", "task"]


# ----------------------------------------------------------------------------------------------- the ref


async def test_a_ref_tells_what_the_task_was_given() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(
            add, 1, name="sum", description="adds", tags=("a", "b"), metadata={"k": 1}, priority=5
        )
        assert (ref.name, ref.description, ref.tags, ref.metadata) == ("sum", "adds", ("a", "b"), {"k": 1})
        assert ref.priority == 5
        other = await rt.spawn(add, 1)
        assert other.name == "add"
        assert other.id != ref.id
        assert "sum" in repr(ref)
        await ref
        assert ref.name == "sum"
        assert "completed" in repr(ref)
        await other
        assert other.name == "add"


async def test_a_ref_can_be_awaited_many_times_and_by_many() -> None:
    async with Runtime() as rt:
        release = anyio.Event()
        results: list[int] = []

        async def slow() -> int:
            await release.wait()
            return 7

        ref = await rt.spawn(slow)

        async def wait() -> None:
            results.append(await ref)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(wait)
            await settle()
            assert not ref.done()
            release.set()
        assert results == [7] * 20
        assert await ref == await ref == 7
        assert ref.result() == 7
        assert ref.exception() is None
        assert (await ref.outcome()).value == 7


async def test_a_failure_is_raised_to_everyone_who_looks() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(fail)
        for _ in range(3):
            with pytest.raises(ValueError, match="broken"):
                await ref
        with pytest.raises(ValueError, match="broken"):
            ref.result()
        assert isinstance(ref.exception(), ValueError)
        outcome = await ref.outcome()
        assert not outcome.ok
        assert outcome.status is TaskStatus.FAILED
        assert outcome.error is ref.exception()


async def test_an_error_does_not_gather_the_frames_of_those_who_await_it() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(fail)
        depths = []
        for _ in range(5):
            try:
                await ref
            except ValueError as error:
                depth, traceback = 0, error.__traceback__
                while traceback is not None:
                    depth, traceback = depth + 1, traceback.tb_next
                depths.append(depth)
        assert len(set(depths)) == 1


async def test_a_ref_that_has_not_settled_has_neither_result_nor_exception() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(forever)
        with pytest.raises(RuntimeError, match="await its ref"):
            ref.result()
        with pytest.raises(RuntimeError, match="await its ref"):
            ref.exception()
        await ref.cancel()


async def test_refs_are_equal_when_they_mean_the_same_task() -> None:
    async def whoami() -> Any:
        return current().runtime

    async with Runtime() as rt:
        ref, other = await rt.spawn(whoami), await rt.spawn(whoami)
        assert ref != other
        assert copy.copy(ref) == copy.deepcopy(ref) == ref
        assert {ref, copy.copy(ref)} == {ref}
        assert await ref is rt
        await other


async def test_cancelling_an_await_leaves_the_task_alone() -> None:
    async with Runtime() as rt:
        release = anyio.Event()

        async def slow() -> str:
            await release.wait()
            return "done"

        ref = await rt.spawn(slow)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(ref.outcome)
                await settle()
                scope.cancel()
        assert scope.cancelled_caught
        assert not ref.done()
        release.set()
        assert await ref == "done"


async def test_progress_is_read_from_the_ref() -> None:
    release = anyio.Event()

    async def report() -> None:
        current().report(0.25)
        current().report(0.5, "halfway")
        await release.wait()
        current().report(0.75)

    async with Runtime() as rt:
        ref = await rt.spawn(report)
        assert ref.progress == (0.0, None)
        await settle()
        assert ref.progress == (0.5, "halfway")
        release.set()
        await ref
        assert ref.progress == (1.0, None)


async def test_progress_from_a_thread_has_arrived_when_its_result_has() -> None:
    def report() -> None:
        for step in range(100):
            current().report(step / 100, f"step {step}")
        raise LookupError

    async with Runtime() as rt:
        ref = await rt.spawn(report)
        assert isinstance((await ref.outcome()).error, LookupError)
        assert ref.progress == (0.99, "step 99")


# ------------------------------------------------------------------------------------------------ statuses


async def test_a_task_shows_where_it_is_in_its_life() -> None:
    async with Runtime(concurrency=1) as rt:
        release = anyio.Event()
        first = await rt.spawn(release.wait)
        queued = await rt.spawn(add, 1)
        dependent = await rt.spawn(add, queued)
        await settle()
        assert (first.status, queued.status, dependent.status) == (
            TaskStatus.RUNNING,
            TaskStatus.READY,
            TaskStatus.WAITING,
        )
        assert (first.attempt, queued.attempt) == (1, 0)
        release.set()
        await dependent
        assert {first.status, queued.status, dependent.status} == {TaskStatus.COMPLETED}


async def test_a_task_that_waits_for_another_is_waiting_and_has_no_slot() -> None:
    release = anyio.Event()
    seen: list[tuple[TaskStatus, TaskStatus]] = []

    async def parent() -> None:
        await current().runtime.run(child)

    async def child() -> None:
        await release.wait()

    async with Runtime(concurrency=1) as rt:
        ref = await rt.spawn(parent)
        await settle()
        seen.append((ref.status, TaskStatus.WAITING))
        release.set()
        await ref
        seen.append((ref.status, TaskStatus.COMPLETED))
    assert all(found is expected for found, expected in seen)


async def test_a_task_ends_in_one_status_of_four_kinds() -> None:
    async with Runtime() as rt:
        done, failed, cancelled = await rt.spawn(add, 1), await rt.spawn(fail), await rt.spawn(forever)
        assert (await done.outcome()).status is TaskStatus.COMPLETED
        assert (await failed.outcome()).status is TaskStatus.FAILED
        await cancelled.cancel("no more")
        assert (await cancelled.outcome()).status is TaskStatus.CANCELLED
        await cancelled.cancel("again")
        error = cancelled.exception()
        assert isinstance(error, TaskCancelled)
        assert (error.reason, error.task) == ("no more", "forever")


# --------------------------------------------------------------------------------------------- dependencies


async def test_refs_among_the_arguments_are_replaced_by_results() -> None:
    async def join(*values: object, last: object = None) -> list[object]:
        return [*values, last]

    async with Runtime() as rt:
        one, two = await rt.spawn(add, 1), await rt.spawn(double, 2)
        three = await rt.spawn(add, one, two)
        assert await three == 111 + 4 + 100
        assert await rt.run(join, one, "x", two, one, kwargs={"last": three}) == [111, "x", 4, 111, 215]
        assert await rt.run(join, one) == [111, None]


async def test_refs_deeper_in_the_arguments_travel_as_refs() -> None:
    async def total(refs: list[TaskRef[int]]) -> int:
        return sum([await ref for ref in refs])

    async with Runtime() as rt:
        refs = [await rt.spawn(add, n) for n in range(3)]
        assert await rt.run(total, refs) == 333


async def test_after_orders_tasks_and_passes_nothing() -> None:
    async with Runtime() as rt:
        release = anyio.Event()
        order: list[str] = []

        async def note(name: str, *, gate: bool = False) -> None:
            if gate:
                await release.wait()
            order.append(name)

        first = await rt.spawn(note, "first", kwargs={"gate": True})
        second = await rt.spawn(note, "second", after=[first])
        third = await rt.spawn(note, "third", after=(ref for ref in [first, second]))
        await rt.run(note, "other")
        release.set()
        await third
    assert order == ["other", "first", "second", "third"]


async def test_a_task_whose_upstream_failed_is_not_run_and_tells_why() -> None:
    async with Runtime() as rt:
        failed = await rt.spawn(fail, name="reader")
        middle = await rt.spawn(double, failed, name="middle")
        last = await rt.spawn(add, middle, name="last")
        with pytest.raises(DependencyFailed, match="'last' was not run") as caught:
            await last
        assert (caught.value.task, caught.value.upstream) == ("last", "'middle'")
        cause = caught.value.__cause__
        assert isinstance(cause, DependencyFailed)
        assert cause.__cause__ is failed.exception()
        assert last.status is TaskStatus.FAILED
        assert last.attempt == 0


async def test_a_long_chain_of_tasks_that_were_not_run_quotes_the_first_failure_once() -> None:
    async def fail() -> None:
        raise ValueError("the very first")

    async def step(before: object) -> object:
        return before

    async with Runtime() as rt:
        ref: TaskRef[Any] = await rt.spawn(fail)
        for _ in range(1000):
            ref = await rt.spawn(step, ref)
        with pytest.raises(DependencyFailed, match="ValueError: the very first") as caught:
            await ref
        assert len(str(caught.value)) < 1000
        assert caught.value.first is not None


async def test_a_task_may_ask_to_run_although_its_upstream_failed() -> None:
    async def look(error: object) -> object:
        return error

    async with Runtime() as rt:
        failed, done = await rt.spawn(fail), await rt.spawn(add, 1)
        found = await rt.run(look, failed, after=[done], on_upstream_failure="run")
        assert isinstance(found, ValueError)
        assert await rt.run(double, done, after=[failed], on_upstream_failure="run") == 222


async def test_dependents_of_a_cancelled_task_are_cancelled_with_it_for_the_same_reason() -> None:
    async with Runtime() as rt:
        first = await rt.spawn(forever)
        second = await rt.spawn(add, 1, after=[first])
        third = await rt.spawn(double, second)
        await first.cancel("changed my mind")
        for ref in (second, third):
            with pytest.raises(TaskCancelled, match="changed my mind"):
                await ref
            assert ref.status is TaskStatus.CANCELLED


async def test_a_task_that_raised_the_cancellation_of_another_has_failed_and_so_have_its_dependents() -> None:
    async def look(ref: list[TaskRef[None]]) -> None:
        await ref[0]

    async with Runtime() as rt:
        cancelled = await rt.spawn(forever)
        looking = await rt.spawn(look, [cancelled])
        dependent = await rt.spawn(add, 1, after=[looking])
        await settle()
        await cancelled.cancel()
        assert (await looking.outcome()).status is TaskStatus.FAILED
        assert isinstance((await dependent.outcome()).error, DependencyFailed)


async def test_a_dependency_that_has_settled_long_ago_counts_like_any_other() -> None:
    async with Runtime() as rt:
        done, failed, cancelled = await rt.spawn(add, 1), await rt.spawn(fail), await rt.spawn(forever)
        await done
        await failed.outcome()
        await cancelled.cancel()
        assert await rt.run(double, done) == 222
        with pytest.raises(DependencyFailed):
            await rt.run(double, failed)
        with pytest.raises(TaskCancelled):
            await rt.run(double, cancelled)


async def test_a_long_chain_of_dependencies_needs_no_stack() -> None:
    async with Runtime() as rt:
        release = anyio.Event()

        async def first() -> int:
            await release.wait()
            return 0

        async def plus_one(value: int) -> int:
            return value + 1

        ref = await rt.spawn(first)
        for _ in range(3000):
            ref = await rt.spawn(plus_one, ref)
        release.set()
        assert await ref == 3000


async def test_the_cancellation_of_a_long_chain_needs_no_stack() -> None:
    async with Runtime() as rt:
        ref = root = await rt.spawn(forever)
        for _ in range(3000):
            ref = await rt.spawn(add, 1, after=[ref])
        await root.cancel("all of it")
        assert (await ref.outcome()).status is TaskStatus.CANCELLED


async def test_a_task_of_another_runtime_is_no_dependency() -> None:
    async with Runtime() as one, Runtime() as other:
        ref = await one.spawn(add, 1)
        for options in ({"after": [ref]}, {"kwargs": {"b": ref}}):
            with pytest.raises(ValueError, match="another Runtime"):
                await other.spawn(add, 1, **options)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="another Runtime"):
            await other.spawn(double, ref)
        assert await other.run(double, await ref) == 222


# -------------------------------------------------------------------------------------------------- contained


@pytest.mark.parametrize("host", ["loop", "thread"])
async def test_a_failed_task_takes_nothing_down(host: Any) -> None:
    def broken() -> None:
        raise LookupError("no such thing")

    async with Runtime() as rt:
        with pytest.raises(LookupError, match="no such thing"):
            await rt.run(broken, host=host)
        assert await rt.run(add, 1) == 111


async def test_even_a_system_exit_is_contained_until_somebody_looks() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    def leave_thread() -> None:
        raise SystemExit(4)

    async with Runtime() as rt:
        for function, code in ((leave, 3), (leave_thread, 4)):
            ref = await rt.spawn(function)
            outcome = await ref.outcome()
            assert isinstance(outcome.error, SystemExit)
            assert outcome.error.code == code


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])  # trio lets nobody make one
async def test_a_task_that_ends_with_a_cancellation_of_its_own_making_has_failed() -> None:
    async def confused() -> None:
        raise anyio.get_cancelled_exc_class()

    async with Runtime() as rt:
        ref = await rt.spawn(confused)
        outcome = await ref.outcome()
        assert outcome.status is TaskStatus.FAILED
        assert "nobody cancelled it" in str(outcome.error)


async def test_checkpoint_and_current_outside_of_tasks() -> None:
    checkpoint()
    with pytest.raises(RuntimeError, match="no task or handler"):
        current()
    async with Runtime():
        checkpoint()
        with pytest.raises(RuntimeError, match="no task or handler"):
            current()


def test_every_error_of_a_task_can_be_caught_as_one() -> None:
    assert issubclass(TaskCancelled, ActorschedError)
    assert issubclass(DependencyFailed, ActorschedError)

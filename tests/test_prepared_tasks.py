"""Tasks and chains that are prepared first and submitted later."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    ActorschedError,
    ChainTooLong,
    DependencyCycle,
    DependencyFailed,
    Runtime,
    RuntimeClosed,
    Task,
    TaskChain,
    TaskStatus,
)


def start() -> int:
    return 1


def plus(value: int, other: int = 10) -> int:
    return value + other


async def pair(first: Any = None, second: Any = None) -> tuple[Any, Any]:
    return first, second


def fail() -> None:
    raise ValueError("broken")


# ------------------------------------------------------------------------------------------------ single


async def test_a_prepared_task_runs_when_it_is_submitted() -> None:
    async with Runtime() as rt:
        task: Task[int] = Task("sum", plus, (1,), {"other": 2}, priority=5, tags=["x"])
        assert task.ref is None
        ref = await rt.submit(task)
        assert task.ref is ref
        assert (ref.name, ref.priority, ref.tags) == ("sum", 5, ("x",))
        assert await ref == 3
        assert "sum" in repr(task)
        assert "submitted" in repr(task)


async def test_a_prepared_task_may_be_submitted_to_a_scope() -> None:
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup):
            async with rt.scope() as scope:
                await scope.submit(Task("fails", fail))


async def test_prepared_tasks_that_depend_on_each_other_are_submitted_together() -> None:
    async with Runtime() as rt:
        one: Task[int] = Task("one", start)
        two: Task[int] = Task("two", plus, (one,))
        three: Task[Any] = Task("three", pair, (two,), {"second": one})
        four: Task[Any] = Task("four", pair, after=[three])
        assert await (await rt.submit(four)) == (None, None)
        assert three.ref is not None
        assert await three.ref == (11, 1)
        for task in (one, two, three):
            assert task.ref is not None
            assert task.ref.status is TaskStatus.COMPLETED


async def test_a_prepared_task_may_depend_on_what_was_submitted_or_spawned_before() -> None:
    async with Runtime() as rt:
        one: Task[int] = Task("one", start)
        await rt.submit(one)
        spawned = await rt.spawn(start)
        assert await (await rt.submit(Task("two", pair, (one, spawned)))) == (1, 1)
        assert await rt.run(plus, one) == 11  # type: ignore[call-overload]


async def test_what_was_named_by_an_iterator_is_not_forgotten_at_submission() -> None:
    order: list[str] = []
    async with Runtime() as rt:
        first: Task[None] = Task("first", order.append, ("first",))
        second: Task[None] = Task("second", order.append, ("second",), after=(task for task in [first]))
        await (await rt.submit(second))
    assert order == ["first", "second"]


async def test_a_task_is_submitted_once() -> None:
    async with Runtime() as rt:
        task: Task[int] = Task("once", start)
        await rt.submit(task)
        with pytest.raises(ValueError, match="'once' was submitted before"):
            await rt.submit(task)
        with pytest.raises(ValueError, match="'once' was submitted before"):
            await rt.submit(TaskChain(Task("new", start), task))
        assert len(rt._nursery.live) == 1


async def test_a_task_that_was_not_submitted_is_no_argument_of_spawn() -> None:
    async with Runtime() as rt:
        task: Task[int] = Task("prepared", start)
        for arguments, options in [
            ((task,), {}),
            ((1,), {"after": [task]}),
            ((1,), {"kwargs": {"other": task}}),
        ]:
            with pytest.raises(TypeError, match="no submitted task"):
                await rt.spawn(plus, *arguments, **options)
        assert not rt._nursery.live


# ------------------------------------------------------------------------------------------------ chains


async def test_a_chain_passes_each_result_to_the_first_parameter_of_the_next() -> None:
    async with Runtime() as rt:
        chain = TaskChain(Task("a", start), Task("b", plus), Task("c", plus, (100,)))
        assert await (await rt.submit(chain)) == 111
        assert "a -> b -> c" in repr(chain)


async def test_a_chain_passes_a_result_under_a_name() -> None:
    async with Runtime() as rt:
        chain = TaskChain(Task("a", start), Task("b", pair, ("mine",), arg_deps=["second"]))
        assert await (await rt.submit(chain)) == ("mine", 1)


async def test_a_link_that_fails_fails_those_after_it() -> None:
    async with Runtime() as rt:
        last: Task[int] = Task("c", plus)
        ref = await rt.submit(TaskChain(Task("a", fail), Task("b", plus), last))
        with pytest.raises(DependencyFailed) as caught:
            await ref
    assert isinstance(caught.value.__cause__, DependencyFailed)
    assert isinstance(caught.value.__cause__.__cause__, ValueError)


async def test_cancelling_the_first_of_a_chain_cancels_it_all() -> None:
    async with Runtime() as rt:
        first: Task[None] = Task("a", anyio.sleep_forever)
        ref = await rt.submit(TaskChain(first, Task("b", pair), Task("c", pair)))
        assert first.ref is not None
        await first.ref.cancel("enough")
        assert (await ref.outcome()).status is TaskStatus.CANCELLED


@pytest.mark.parametrize("length", [1, 2, 15])
async def test_a_chain_may_have_up_to_fifteen_tasks(length: int) -> None:
    async with Runtime() as rt:
        tasks = [Task("start", start), *[Task(f"t{n}", plus) for n in range(length - 1)]]
        assert await (await rt.submit(TaskChain(*tasks))) == 1 + 10 * (length - 1)


def test_a_chain_of_sixteen_is_refused() -> None:
    with pytest.raises(ChainTooLong, match="at most 15") as caught:
        TaskChain(*[Task(f"t{n}", start) for n in range(16)])
    assert (caught.value.length, caught.value.limit) == (16, 15)


async def test_a_chain_may_hang_on_other_prepared_tasks() -> None:
    async with Runtime() as rt:
        side: Task[int] = Task("side", start)
        chain = TaskChain(Task("a", plus, (side,)), Task("b", pair, (side,)))
        assert await (await rt.submit(chain)) == (11, 1)


# ----------------------------------------------------------------------------------------------- circles


async def test_a_circle_of_prepared_tasks_is_refused_with_its_path_and_nothing_is_submitted() -> None:
    async with Runtime() as rt:
        one: Task[Any] = Task("one", pair)
        two: Task[Any] = Task("two", pair, (one,))
        one.args = (two,)
        three: Task[Any] = Task("three", pair, (two,))
        with pytest.raises(DependencyCycle) as caught:
            await rt.submit(three)
        assert caught.value.path in {("two", "one", "two"), ("one", "two", "one")}
        assert not rt._nursery.live
        assert {one.ref, two.ref, three.ref} == {None}


async def test_a_chain_whose_tasks_depend_the_other_way_round_is_a_circle() -> None:
    async with Runtime() as rt:
        second: Task[Any] = Task("second", pair)
        first: Task[Any] = Task("first", pair, (second,))
        with pytest.raises(DependencyCycle, match="first -> second -> first|second -> first -> second"):
            await rt.submit(TaskChain(first, second))
        assert not rt._nursery.live


async def test_a_task_that_depends_on_itself_is_a_circle() -> None:
    async with Runtime() as rt:
        task: Task[Any] = Task("self", pair)
        task.args = (task,)
        with pytest.raises(DependencyCycle, match="self -> self"):
            await rt.submit(task)


# ---------------------------------------------------------------------------------------- all or nothing


async def test_when_one_task_does_not_fit_none_is_submitted() -> None:
    async with Runtime() as rt, Runtime() as other:
        foreign = await other.spawn(start)
        wrong: list[Task[Any]] = [
            Task("too many", start, (1, 2, 3)),
            Task("unknown", plus, (1,), {"nothing": 1}),
            Task("foreign", pair, (foreign,)),
            Task("foreign", pair, after=[foreign]),
            Task("host", pair, host="thread"),
        ]
        for task in wrong:
            good: Task[int] = Task("good", start)
            task.args = (*task.args,)
            with pytest.raises((TypeError, ValueError)):
                await rt.submit(TaskChain(good, task))
            last: Task[Any] = Task("last", pair, (good,), after=[task])
            with pytest.raises((TypeError, ValueError)):
                await rt.submit(last)
            assert good.ref is None
            assert not rt._nursery.live


async def test_nothing_is_submitted_to_a_runtime_that_is_closed() -> None:
    async with Runtime() as rt:
        pass
    task: Task[int] = Task("late", start)
    with pytest.raises(RuntimeClosed):
        await rt.submit(task)
    assert task.ref is None


# -------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Task("n", 3), TypeError, "fn=3 of task 'n' cannot be called"),
        (lambda: Task("n", start, "abc"), TypeError, "args='abc'"),
        (lambda: Task("n", start, 5), TypeError, "args=5"),
        (lambda: Task("n", start, (), [1]), TypeError, r"kwargs=\[1\]"),
        (lambda: Task("n", start, (), {1: 2}), TypeError, "key 1"),
        (lambda: Task("n", start, arg_deps="x"), TypeError, "arg_deps='x'"),
        (lambda: Task("n", start, arg_deps=[1]), TypeError, "arg_deps="),
        (lambda: Task("n", start, arg_deps=5), TypeError, "arg_deps=5"),
        (lambda: Task("n", pair, arg_deps=["first", "second"]), ValueError, "more than one parameter"),
        (lambda: Task("n", pair, (), {"first": 1}, arg_deps=["first"]), ValueError, "gives already"),
        (lambda: Task("n", start, colour="red"), TypeError, "unknown option 'colour'"),
        (lambda: Task("n", start, timeout="soon"), ValueError, "timeout='soon'"),
        (lambda: Task("", start), ValueError, "name=''"),
        (lambda: Task(3, start), TypeError, "name=3"),
        (TaskChain, ValueError, "at least one"),
        (lambda: TaskChain(start), TypeError, "links Tasks"),
        (lambda: TaskChain(*[Task("n", start)] * 2), ValueError, "twice"),
    ],
)
def test_a_wrong_task_or_chain_is_refused_when_it_is_made(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("prepared", [start, 5, None, Task, "name"])
async def test_only_tasks_and_chains_are_submitted(prepared: Any) -> None:
    async with Runtime() as rt:
        with pytest.raises(TypeError, match="neither a Task nor a TaskChain"):
            await rt.submit(prepared)


def test_the_errors_of_submission_are_values_and_ours() -> None:
    for error in (DependencyCycle, ChainTooLong):
        assert issubclass(error, ValueError)
        assert issubclass(error, ActorschedError)

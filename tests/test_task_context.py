"""What running code can know and do about itself: `current()`, deferred calls, context variables, logging."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Actor, Interrupted, Retry, Runtime, TaskRef, checkpoint, current
from tests.manual_clock import ManualClock, settle, until

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


# ------------------------------------------------------------------------------------------------ defer


async def test_deferred_calls_are_made_last_in_first_out_after_the_function() -> None:
    log: list[str] = []

    async def later(name: str) -> None:
        await anyio.lowlevel.checkpoint()
        log.append(name)

    async def work() -> str:
        current().defer(log.append, "first")
        current().defer(later, "second")
        current().defer(log.append, "third")
        await anyio.lowlevel.checkpoint()
        log.append("work")
        return "done"

    async with Runtime() as rt:
        assert await rt.run(work) == "done"
    assert log == ["work", "third", "second", "first"]


async def test_the_task_settles_only_when_its_deferred_calls_are_through() -> None:
    release = anyio.Event()

    async def work() -> None:
        current().defer(release.wait)

    async with Runtime() as rt:
        ref = await rt.spawn(work)
        await settle()
        assert not ref.done()
        release.set()
        await ref


@pytest.mark.parametrize("way", ["returns", "raises", "is cancelled", "times out"])
async def test_deferred_calls_are_made_however_the_task_ends(way: str) -> None:
    clock, log = ManualClock(), []

    async def cleanup() -> None:
        await anyio.lowlevel.checkpoint()
        log.append("cleaned up")

    async def work() -> None:
        current().defer(cleanup)
        if way == "raises":
            raise ValueError
        if way != "returns":
            await anyio.sleep_forever()

    async with Runtime(clock=clock) as rt:
        ref = await rt.spawn(work, timeout=1)
        await settle()
        if way == "is cancelled":
            await ref.cancel()
        elif way == "times out":
            await clock.passes(1)
        await ref.outcome()
        assert log == ["cleaned up"]


async def test_no_cancellation_reaches_a_deferred_call() -> None:
    release, log = anyio.Event(), []

    async def cleanup() -> None:
        log.append("begun")
        await release.wait()
        log.append("through")

    async def work() -> str:
        current().defer(cleanup)
        return "done"

    async with Runtime() as rt:
        ref = await rt.spawn(work)
        await settle()
        async with anyio.create_task_group() as group:
            group.start_soon(ref.cancel)
            await settle()
            assert log == ["begun"]
            release.set()
        assert await ref == "done"
    assert log == ["begun", "through"]


async def test_a_deferred_call_that_fails_is_logged_and_the_others_are_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []

    def broken() -> None:
        raise LookupError("deferred")

    async def leaves() -> None:
        raise SystemExit(3)

    async def work() -> str:
        for callback in (lambda: log.append("a"), broken, leaves, lambda: log.append("b")):
            current().defer(callback)
        return "done"

    async with Runtime() as rt:
        assert await rt.run(work, name="worker") == "done"
    assert log == ["b", "a"]
    assert "LookupError: deferred" in caplog.text
    assert "SystemExit: 3" in caplog.text
    assert "task 'worker'" in caplog.text


async def test_a_deferred_call_may_defer_more() -> None:
    log: list[str] = []

    async def again(depth: int) -> None:
        log.append(f"call {depth}")
        if depth:
            current().defer(again, depth - 1)

    async def work() -> None:
        current().defer(again, 3)

    def again_in_thread(depth: int) -> None:
        log.append(f"call {depth}")
        if depth:
            current().defer(again_in_thread, depth - 1)

    def work_in_thread() -> None:
        current().defer(again_in_thread, 3)

    async with Runtime() as rt:
        await rt.run(work)
        await rt.run(work_in_thread)
    assert log == ["call 3", "call 2", "call 1", "call 0"] * 2


async def test_a_deferred_call_may_use_the_runtime() -> None:
    async def child() -> int:
        await anyio.lowlevel.checkpoint()
        return 5

    found: list[int] = []

    async def cleanup() -> None:
        found.append(await current().runtime.run(child))

    async def work() -> None:
        current().defer(cleanup)

    async with Runtime(concurrency=1) as rt:
        await rt.run(work)
    assert found == [5]


async def test_every_attempt_makes_its_own_deferred_calls() -> None:
    log: list[int] = []

    async def work() -> None:
        current().defer(log.append, current().attempt)
        raise OSError

    async with Runtime() as rt:
        with pytest.raises(OSError):
            await rt.run(work, retry=3)
    assert log == [1, 2, 3]


async def test_deferred_calls_of_a_thread_are_made_in_the_thread() -> None:
    log: list[Any] = []

    def work() -> str:
        current().defer(log.append, "first")
        current().defer(lambda: log.append(threading.get_ident()))
        log.append(threading.get_ident())
        return "done"

    async with Runtime() as rt:
        assert await rt.run(work) == "done"
    assert log[0] == log[1] != threading.get_ident()
    assert log[2] == "first"


async def test_a_cancelled_thread_makes_its_deferred_calls_and_they_are_not_cancelled() -> None:
    running, log = threading.Event(), []

    def cleanup() -> None:
        checkpoint()
        log.append("cleaned up")

    def broken() -> None:
        raise Interrupted("of its own")

    def work() -> None:
        current().defer(cleanup)
        current().defer(broken)
        running.set()
        while True:
            checkpoint()

    async with Runtime() as rt:
        ref = await rt.spawn(work)
        await until(running.is_set)
        await ref.cancel()
        assert log == ["cleaned up"]


async def test_an_async_function_deferred_in_a_thread_is_refused_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def cleanup() -> None:
        raise AssertionError("nobody can run this")

    def work() -> str:
        current().defer(cleanup)
        return "done"

    async with Runtime() as rt:
        assert await rt.run(work) == "done"
    assert "returned a coroutine" in caplog.text


async def test_what_cannot_be_called_is_not_deferred() -> None:
    async def work() -> None:
        current().defer("nothing")

    async with Runtime() as rt:
        with pytest.raises(TypeError, match="callback='nothing' cannot be called"):
            await rt.run(work)


# -------------------------------------------------------------------------------------------- the context


async def test_a_task_knows_its_name_attempt_and_runtime() -> None:
    async def look() -> tuple[str, int, object, bool]:
        context = current()
        return context.name, context.attempt, context.runtime, context.cancel_requested

    def look_in_thread() -> tuple[str, int, object, bool]:
        context = current()
        return context.name, context.attempt, context.runtime, context.cancel_requested

    async with Runtime() as rt:
        assert await rt.run(look, name="me") == ("me", 1, rt, False)
        assert await rt.run(look_in_thread, name="me") == ("me", 1, rt, False)


async def test_a_cancelled_task_sees_that_it_is() -> None:
    seen: list[bool] = []

    async def look() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(current().cancel_requested)

    async with Runtime() as rt:
        ref = await rt.spawn(look)
        await settle()
        await ref.cancel()
    assert seen == [True]


async def test_the_log_of_a_task_names_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def work() -> None:
        current().log.info("hello")

    async with Runtime() as rt:
        await rt.run(work, name="logger")
    (record,) = [record for record in caplog.records if record.message == "hello"]
    assert (record.task, record.attempt) == ("logger", 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, "half", True, None, float("nan")])
async def test_progress_is_a_fraction(fraction: Any) -> None:
    async def work() -> None:
        current().report(fraction)

    async with Runtime() as rt:
        with pytest.raises(ValueError, match="fraction="):
            await rt.run(work)


# ------------------------------------------------------------------------------------- context variables


async def test_a_task_gets_a_copy_of_the_variables_where_it_was_spawned() -> None:
    async def work(name: str) -> str:
        seen = VARIABLE.get()
        VARIABLE.set(f"changed by {name}")
        await anyio.lowlevel.checkpoint()
        assert VARIABLE.get() == f"changed by {name}"
        return seen

    def work_in_thread(name: str) -> str:
        seen = VARIABLE.get()
        VARIABLE.set(f"changed by {name}")
        return seen

    async with Runtime() as rt:
        VARIABLE.set("one")
        first = await rt.spawn(work, "a")
        VARIABLE.set("two")
        second = await rt.spawn(work, "b")
        third = await rt.spawn(work_in_thread, "c")
        VARIABLE.set("three")
        assert [await first, await second, await third] == ["one", "two", "two"]
        assert VARIABLE.get() == "three"


async def test_a_child_task_inherits_what_its_parent_has_set() -> None:
    async def child() -> str:
        return VARIABLE.get()

    async def parent() -> str:
        VARIABLE.set("from the parent")
        return str(await current().runtime.run(child))

    async with Runtime() as rt:
        assert await rt.run(parent) == "from the parent"
        assert await rt.run(child) == "unset"


# ------------------------------------------------------------------------- what a task starts by itself


async def test_tasks_in_a_task_group_of_a_task_are_still_inside_it() -> None:
    names: list[str] = []

    async def note() -> None:
        await anyio.lowlevel.checkpoint()
        names.append(current().name)

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(note)
            group.start_soon(note)

    async with Runtime() as rt:
        await rt.run(work, name="outer")
    assert names == ["outer", "outer"]


async def test_a_cancelled_task_takes_its_own_task_group_with_it() -> None:
    left: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            left.append("child")

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)

    async with Runtime() as rt:
        ref = await rt.spawn(work)
        await settle()
        await ref.cancel()
    assert left == ["child"]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize("concurrency", [None, 1])
async def test_what_a_task_leaves_running_may_still_wait_for_refs(concurrency: int | None) -> None:
    release = anyio.Event()
    background: list[asyncio.Future[Any]] = []
    results: list[str] = []

    async def slow() -> str:
        await release.wait()
        return "slow"

    async with Runtime(concurrency=concurrency) as rt:

        async def wait(ref: TaskRef[str]) -> None:
            results.append(await ref)

        async def leave() -> None:
            ref = await rt.spawn(slow)
            background.append(asyncio.ensure_future(wait(ref)))
            await anyio.lowlevel.checkpoint()
            background.append(asyncio.ensure_future(wait(ref)))

        await rt.run(leave)
        await settle()
        release.set()
        await asyncio.gather(*background)
        assert await rt.run(slow) == "slow"
        assert rt._system.pools["loop"].running == 0
    assert results == ["slow", "slow"]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_what_an_attempt_leaves_running_may_give_up_waiting() -> None:
    async with Runtime(concurrency=1) as rt:
        background: list[asyncio.Future[Any]] = []
        refs: list[TaskRef[Any]] = []

        async def leave() -> None:
            refs.append(await rt.spawn(anyio.sleep_forever))
            background.append(asyncio.ensure_future(refs[-1].outcome()))
            await anyio.lowlevel.checkpoint()

        await rt.run(leave, retry=Retry(2))
        await settle()
        background[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await background[0]
        assert not refs[0]._task.answers
        await refs[0].cancel()


# ------------------------------------------------------------------------------------------- who and where


def what_and_where() -> tuple[str, str | None, str]:
    here = current()
    return here.kind, here.id, here.host


async def what_and_where_in_the_loop() -> tuple[str, str | None, str]:
    return what_and_where()


class Knowing(Actor):
    async def what_and_where(self) -> tuple[str, str | None, str]:
        return what_and_where()


@pytest.mark.process
async def test_running_code_knows_what_it_is_and_where_it_runs() -> None:
    async with Runtime() as rt:
        loop = await rt.spawn(what_and_where_in_the_loop)
        assert await loop == ("task", loop.id, "loop")
        for host in ("thread", "process"):
            ref = await rt.spawn(what_and_where, host=host)
            assert await ref == ("task", ref.id, host)
        knowing = await rt.spawn(Knowing)
        assert await knowing.ask.what_and_where() == ("actor", None, "loop")
        hosted = await rt.spawn(Knowing, host="process")
        assert await hosted.ask.what_and_where() == ("actor", None, "process")

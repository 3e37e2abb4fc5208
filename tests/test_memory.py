"""Memory is flat in a steady state: what has ended and nobody holds is gone, with no garbage collector."""

from __future__ import annotations

import contextlib
import gc
import logging
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Runtime, TaskRef, current
from tests.manual_clock import ManualClock, settle, until


class Big:
    """Something that a task may hold."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """References alone have to do."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def hold(thing: object) -> None:
    await anyio.lowlevel.checkpoint()
    current().defer(lambda: thing)


def hold_in_thread(thing: object) -> None:
    current().defer(lambda: thing)


async def give() -> Big:
    return Big()


@pytest.mark.usefixtures("no_collector")
async def test_a_settled_task_that_nobody_holds_is_gone_and_so_is_all_that_it_held() -> None:
    async with Runtime() as rt:
        for function in (hold, hold_in_thread):
            for options in ({}, {"timeout": 60}, {"retry": 3}, {"name": "n", "kwargs": {}}):
                thing = Big()
                seen = weakref.ref(thing)
                ref: TaskRef[Any] = await rt.spawn(function, thing, **options)
                task = weakref.ref(ref._task)
                await ref
                del thing
                await until(lambda seen=seen: seen() is None)  # type: ignore[misc]  # the thread has to let go of it, too
                assert task() is not None
                del ref
                await until(lambda task=task: task() is None)  # type: ignore[misc]


@pytest.mark.usefixtures("no_collector")
async def test_a_result_lives_as_long_as_its_ref() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(give)
        seen = weakref.ref(await ref)
        await settle(3)
        assert seen() is not None
        del ref
        assert seen() is None


@pytest.mark.usefixtures("no_collector")
async def test_a_ref_does_not_keep_the_tasks_that_its_task_depended_on() -> None:
    async with Runtime() as rt:
        first = await rt.spawn(give)
        gone = weakref.ref(first._task)
        second = await rt.spawn(hold, 1, after=[first])
        third = await rt.spawn(hold, first)
        fourth = await rt.spawn(hold, kwargs={"thing": first})
        for ref in (second, third, fourth):
            await ref
        del first
        await settle(3)
        assert gone() is None


@pytest.mark.usefixtures("no_collector")
async def test_an_endless_chain_of_dependencies_does_not_pile_up() -> None:
    async with Runtime() as rt:
        ref: TaskRef[Any] = await rt.spawn(give)
        first = weakref.ref(ref._task)
        for _ in range(50):
            ref = await rt.spawn(hold, ref, after=[ref])
            await ref
        await settle(3)
        assert first() is None


@pytest.mark.usefixtures("no_collector")
async def test_a_cancelled_task_is_gone_too() -> None:
    async with Runtime() as rt:
        for early in (True, False):
            thing = Big()
            seen = weakref.ref(thing)

            async def wait(thing: object) -> None:
                await anyio.sleep_forever()

            ref = await rt.spawn(wait, thing)
            if not early:
                await settle(3)
            await ref.cancel()
            del thing, ref
            await settle(3)
            gc.collect()  # a cancellation refers to frames that refer to it, on every backend
            assert seen() is None


async def test_a_failed_task_is_gone_when_its_error_is() -> None:
    async with Runtime() as rt:
        thing = Big()
        seen = weakref.ref(thing)

        async def fail(thing: object) -> None:
            raise ValueError

        ref = await rt.spawn(fail, thing)
        await ref.outcome()
        del thing, ref
        await settle(3)
        gc.collect()
        assert seen() is None


async def test_a_failed_task_that_nobody_looked_at_is_not_kept_by_its_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("actorsched"), "disabled", True)  # or pytest would keep the record
    async with Runtime() as rt:
        thing = Big()
        seen = weakref.ref(thing)

        async def fail(thing: object) -> None:
            raise ValueError

        await rt.spawn(fail, thing)
        del thing
        await settle()
        gc.collect()
        assert seen() is None
        assert not rt._nursery.unseen


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", ["spawn", "run", "thread", "dependency", "child", "cancel", "timeout", "scope"]
)
async def test_a_thousand_tasks_leave_no_more_than_a_hundred_did(way: str) -> None:
    async def nothing(_: object = None) -> None:
        pass

    async def parent() -> None:
        await current().runtime.run(nothing)

    async with Runtime(clock=ManualClock()) as rt:

        async def round_of(count: int) -> None:
            ref: TaskRef[Any] | None = None
            for number in range(count):
                match way:
                    case "spawn":
                        await rt.spawn(nothing)
                        if number % 50 == 0:
                            await settle(2)
                    case "run":
                        await rt.run(nothing)
                    case "thread":
                        await rt.run(int)
                    case "dependency":
                        ref = await rt.spawn(nothing, ref or 1)
                        await ref
                    case "child":
                        await rt.run(parent)
                    case "cancel":
                        ref = await rt.spawn(anyio.sleep_forever)
                        if number % 2:
                            await anyio.lowlevel.checkpoint()
                        await ref.cancel()
                    case "timeout":
                        await rt.run(nothing, timeout=60, retry=2)
                    case _:
                        async with rt.scope() as scope:
                            await scope.spawn(nothing)

        def used() -> int:
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        many = 400 if way in {"thread", "cancel"} else 1000
        await round_of(100)
        await settle(60)
        tracemalloc.start(1)
        try:
            await round_of(100)
            await settle(60)
            before = used()
            await round_of(many)
            await settle(60)
            grown = used() - before
        finally:
            tracemalloc.stop()
        assert grown < 15_000, f"{grown} bytes for {many} tasks"
        kernel = rt._system.kernel
        assert kernel.timers == 0
        assert len(kernel.carriers) <= 20


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["uvloop"])
async def test_a_hundred_thousand_tasks_do_not_grow_the_runtime() -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(gc.unfreeze)
        gc.collect()
        gc.freeze()
        async with Runtime() as rt:
            for _ in range(1000):
                refs = [await rt.spawn(give) for _ in range(100)]
                for ref in refs:
                    await ref
            del refs, ref
            gc.collect()
            assert len(gc.get_objects()) < 3000

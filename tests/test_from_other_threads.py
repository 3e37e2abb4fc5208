"""`rt.call_threadsafe`: any thread may have something called there; calls of one thread keep their order."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Runtime, RuntimeClosed, Task, current
from actorsched.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched import TaskRef


async def double(number: int) -> int:
    return 2 * number


def in_threads(count: int, function: Callable[[int], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=function, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


async def joined(rt: Runtime, threads: list[threading.Thread]) -> None:
    """Wait for threads, and for what they have asked for."""
    for thread in threads:
        await rt.run(thread.join)
    done = anyio.Event()
    rt.call_threadsafe(done.set)
    await done.wait()


async def test_calls_are_made_in_the_thread_of_the_runtime_and_keep_the_order_of_each_caller() -> None:
    called: list[tuple[int, int]] = []
    where: set[int] = set()

    def note(caller: int, number: int) -> None:
        called.append((caller, number))
        where.add(threading.get_ident())

    async with Runtime() as rt:

        def call(caller: int) -> None:
            for number in range(500):
                rt.call_threadsafe(note, caller, number)

        await joined(rt, in_threads(8, call))
    assert where == {threading.get_ident()}
    assert len(called) == 4000
    for caller in range(8):
        assert [number for who, number in called if who == caller] == list(range(500))


@pytest.mark.parametrize("virtual", [False, True])
async def test_what_is_called_may_submit_settle_and_listen(*, virtual: bool) -> None:
    results: list[int] = []

    async with Runtime(clock=VirtualClock() if virtual else None) as rt:

        def submit(number: int) -> None:
            ref: TaskRef[int] = rt.submit_nowait(Task(f"number {number}", double, (number,)))
            ref.add_done_callback(lambda ref: results.append(ref.result()))

        def call(number: int) -> None:
            rt.call_threadsafe(submit, number)

        await joined(rt, in_threads(5, call))
    assert sorted(results) == [0, 2, 4, 6, 8]


async def test_an_error_is_logged_and_the_next_call_is_made(caplog: pytest.LogCaptureFixture) -> None:
    done = anyio.Event()
    async with Runtime() as rt:
        rt.call_threadsafe(lambda: 1 // 0)
        rt.call_threadsafe(done.set)
        await done.wait()
        with pytest.raises(TypeError, match="cannot be called"):
            rt.call_threadsafe("print")  # type: ignore[arg-type]
    assert "ZeroDivisionError" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_what_is_called_is_inside_no_task_of_the_caller() -> None:
    inside: list[Any] = []

    async def ask(rt: Runtime) -> None:
        done = anyio.Event()

        def look() -> None:
            try:
                inside.append(current())
            except RuntimeError as error:
                inside.append(type(error))
            done.set()

        rt.call_threadsafe(look)
        await done.wait()

    async with Runtime() as rt:
        await rt.run(ask, rt)
    assert inside == [RuntimeError]


async def test_a_runtime_that_has_closed_says_so_every_time() -> None:
    called: list[int] = []
    async with Runtime() as rt:
        rt.call_threadsafe(called.append, 1)
    for _ in range(3):
        with pytest.raises(RuntimeClosed, match="because the runtime has closed"):
            rt.call_threadsafe(called.append, 2)
    await anyio.sleep(0)
    assert called == [1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_when_the_loop_is_gone_every_call_says_so(backend: str) -> None:
    async def main() -> Runtime:
        async with Runtime() as rt:
            return rt

    rt = anyio.run(main, backend=backend)
    kernel = rt._system.kernel
    kernel.closed = False  # as if it had been left without being closed
    for _ in range(3):
        with pytest.raises(RuntimeClosed):
            rt.call_threadsafe(print, "never")


async def test_what_is_submitted_with_others_after_the_end_is_refused_at_once() -> None:
    async with Runtime() as rt:
        pass
    with pytest.raises(RuntimeClosed):
        rt.submit_nowait(Task("late", double, (1,)))


async def test_submitting_without_waiting_is_the_same_as_submitting() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        first = Task("first", double, (1,))
        ref = rt.submit_nowait(Task("second", double, (first,)))
        assert await ref == 4
        assert first.ref is not None
        with pytest.raises(ValueError, match="submitted"):
            rt.submit_nowait(first)


async def test_what_is_asked_for_while_the_runtime_closes_is_called_before_it_has_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[int] = []
    refused: list[RuntimeClosed] = []
    asking, closed = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            rt.call_threadsafe(called.append, 1)
        except RuntimeClosed as error:
            refused.append(error)

    async with Runtime() as rt:
        kernel = rt._system.kernel
        pass_on = kernel.call_threadsafe

        def slowly(*args: Any) -> None:
            asking.set()
            closed.wait(10)
            pass_on(*args)

        monkeypatch.setattr(kernel, "call_threadsafe", slowly)
        thread = threading.Thread(target=ask)
        thread.start()
        assert asking.wait(10)
    closed.set()
    thread.join()
    assert len(called) + len(refused) == 1
    await anyio.sleep(0)
    assert len(called) + len(refused) == 1


async def test_what_was_asked_for_before_the_runtime_closes_has_been_called_when_it_is_left() -> None:
    called: list[int] = []
    async with Runtime() as rt:
        kernel = rt._system.kernel
        close = kernel.aclose

        async def asked_at_last() -> None:
            rt.call_threadsafe(called.append, 1)
            await close()

        kernel.aclose = asked_at_last  # type: ignore[method-assign]
    assert called == [1]

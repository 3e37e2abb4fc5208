"""What simulated hosts and threads are given to do. What they did is noted in `SEEN`, which all share."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio

from actorsched import Actor, checkpoint, current

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SEEN: list[Any] = []
LEFT: list[Any] = []
WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


def double(number: int) -> int:
    SEEN.append(number)
    return 2 * number


async def nap(seconds: float, value: Any = None) -> Any:
    SEEN.append(("begun", value))
    try:
        await anyio.sleep(seconds)
        SEEN.append(("done", value))
    finally:
        SEEN.append(("left", value))
    return value


def fail(message: str) -> None:
    raise LookupError(message)


async def fail_async(message: str) -> None:
    await anyio.sleep(0)
    raise LookupError(message)


def unpicklable() -> Any:
    return lambda: SEEN, __import__("threading").Lock()


async def nap_in_a_group(seconds: float) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(nap, seconds, "one")
        group.start_soon(nap, seconds, "two")


async def leave_something() -> str:
    """On asyncio: end before what was started here."""
    import asyncio

    LEFT.append(asyncio.create_task(nap(1000.0, "left")))
    await anyio.sleep(1)
    return "over"


def spin(value: Any = None) -> None:
    """Never end but at a checkpoint."""
    SEEN.append(("begun", value))
    try:
        while True:
            checkpoint()
    finally:
        SEEN.append(("left", value))


def count(number: int, value: Any = None) -> int:
    for step in range(number):
        checkpoint()
        SEEN.append((value, step))
    return number


async def stubborn() -> None:
    """Do not end when asked for the first time, nor for the second."""
    for _ in range(2):
        try:
            await anyio.sleep(1000)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1000)


def who() -> tuple[str, Any, int]:
    here: Any = current()
    return WHO.get(), here.name, here.attempt


async def report() -> None:
    here: Any = current()
    here.report(0.5, "half")
    logging.getLogger("tests.simulated").warning("said in a host")
    here.defer(SEEN.append, "undone")
    await anyio.sleep(1)


async def ask_outside(counter: Any, times: int) -> int:
    for _ in range(times):
        await counter.ask.add(1)
    counter.tell(Counter.add, 10)
    runtime: Any = current().runtime
    other = await runtime.spawn(double, 21, host="process", timeout="3s")
    return int(await other) + int(await counter.ask.add(0))


def ask_in_a_loop_of_its_own(counter: Any) -> int:
    async def main() -> int:
        results: list[int] = [await counter.ask.slowly(1.0)]

        async def add() -> None:
            results.append(await counter.ask.add(1))

        async with anyio.create_task_group() as group:
            group.start_soon(add)
            group.start_soon(add)
        return sum(results)

    return anyio.run(main)


class Counter(Actor):
    """Counts; where it lives is up to whoever spawns it."""

    def __init__(self, start: int = 0) -> None:
        self.value = start

    async def on_start(self) -> None:
        SEEN.append("start")

    async def on_stop(self, reason: Any) -> None:
        SEEN.append(f"stop {reason.kind}")

    async def add(self, number: int) -> int:
        self.value += number
        return self.value

    async def slowly(self, seconds: float) -> int:
        await anyio.sleep(seconds)
        return self.value

    async def fail(self) -> None:
        raise LookupError("on purpose")

    async def numbers(self, count: int) -> AsyncIterator[int]:
        try:
            for number in range(count):
                await anyio.sleep(0.01)
                yield number
        finally:
            SEEN.append("closed")


class Hosted(Counter, host="process"):
    """The same, in a host."""

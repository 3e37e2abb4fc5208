"""`on_stop` belongs to its actor, whoever stops that: its task is one and the same, and nobody cuts it short.

Whoever stops an idle actor takes the first step of `on_stop`, in the name of a carrier that is parked. So
every test here stops another actor first: that leaves one behind.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import anyio
import pytest

from actorsched import Actor, ActorRef, Runtime, current
from tests.manual_clock import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorsched import ExitReason

pytestmark = pytest.mark.deadline(10)


class Ending(Actor):
    """Ends as it is told."""

    def __init__(self, end: Callable[[Ending], Awaitable[object]], log: list[str] | None = None) -> None:
        self.end = end
        self.log = [] if log is None else log

    async def on_stop(self, reason: ExitReason) -> None:
        try:
            await self.end(self)
            self.log.append("ended")
        except BaseException as error:
            self.log.append(type(error).__name__)
            raise


class Echo(Actor):
    """Answers, with or without waiting."""

    async def say(self, what: str) -> str:
        return what

    async def say_later(self, what: str) -> str:
        await anyio.lowlevel.checkpoint()
        return what


async def no_end(actor: Ending) -> None:
    """Nothing is to be done."""


async def a_moment(actor: Ending) -> None:
    """It waits once."""
    await anyio.lowlevel.checkpoint()


async def one_that_ends(
    rt: Runtime, end: Callable[[Ending], Awaitable[object]], log: list[str] | None = None
) -> ActorRef[Ending]:
    """An actor, in a runtime in which a carrier is parked."""
    await (await rt.spawn(Ending, no_end)).stop()
    await settle()
    return await rt.spawn(Ending, end, log)


def task() -> anyio.TaskInfo:
    return anyio.get_current_task()


async def test_a_cancelled_stop_leaves_an_on_stop_that_waits_alone() -> None:
    gate = anyio.Event()

    async def end(actor: Ending) -> None:
        await gate.wait()

    log: list[str] = []
    async with Runtime() as rt:
        actor = await one_that_ends(rt, end, log)
        with anyio.move_on_after(0) as scope:
            await actor.stop()
        assert scope.cancelled_caught
        assert (actor.alive, log) == (True, [])
        gate.set()
        await rt.monitor(actor)
        assert log == ["ended"]


async def test_a_stop_that_is_cancelled_at_once_takes_nothing_from_on_stop() -> None:
    async def end(actor: Ending) -> None:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()

    for turns in range(6):
        log: list[str] = []
        async with Runtime() as rt:
            actor = await one_that_ends(rt, end, log)
            async with anyio.create_task_group() as group:
                group.start_soon(actor.stop)
                await settle(turns)
                group.cancel_scope.cancel()
            await rt.monitor(actor)
            assert log == ["ended"]


async def test_on_stop_has_one_task_from_its_first_step_to_the_last_and_it_is_not_that_of_the_stop() -> None:
    seen: list[int] = []

    async def end(actor: Ending) -> None:
        seen.append(task().id)
        await anyio.lowlevel.checkpoint()
        seen.append(task().id)

    log: list[str] = []
    async with Runtime() as rt:
        actor = await one_that_ends(rt, end, log)
        await actor.stop()
        assert log == ["ended"]
        assert seen[0] == seen[1] != task().id


async def test_an_on_stop_that_does_not_wait_needs_no_turn_of_the_loop(backend: str) -> None:
    if backend == "trio":
        return  # there no task stands in for another
    log: list[str] = []
    async with Runtime() as rt:
        actor = await one_that_ends(rt, no_end, log)
        asyncio.get_running_loop().call_soon(log.append, "a turn")
        await actor.stop()
        assert (actor.alive, log) == (False, ["ended"])


async def test_an_actor_may_be_stopped_by_code_that_is_in_no_task(backend: str) -> None:
    if backend == "trio":
        return  # there all code is in a task
    log: list[str] = []
    async with Runtime() as rt:
        actor = await one_that_ends(rt, no_end, log)

        def stop() -> None:
            with pytest.raises(StopIteration):
                actor.stop().send(None)

        asyncio.get_running_loop().call_soon(stop)
        await settle()
        assert (actor.alive, log) == (False, ["ended"])


async def test_whoever_stops_an_actor_is_itself_again_afterwards() -> None:
    log: list[str] = []
    async with Runtime() as rt:
        before = task().id
        actor = await one_that_ends(rt, no_end, log)
        await actor.stop()
        assert (log, task().id) == (["ended"], before)
        with anyio.move_on_after(0) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught


async def test_time_limits_and_groups_work_in_on_stop() -> None:
    done: list[str] = []

    async def limited(actor: Ending) -> None:
        with anyio.move_on_after(0) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught

    async def grouped(actor: Ending) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.lowlevel.checkpoint)
            group.start_soon(limited, actor)
        done.append("group")

    for end in (limited, grouped):
        log: list[str] = []
        async with Runtime() as rt:
            actor = await one_that_ends(rt, end, log)
            await actor.stop()
            assert log == ["ended"]
    assert done == ["group"]


async def test_an_on_stop_may_ask_others_tell_others_and_stop_them() -> None:
    def ends(echo: ActorRef[Echo], other: ActorRef[Ending]) -> Callable[[Ending], Awaitable[object]]:
        async def end(actor: Ending) -> None:
            actor.log.append(await echo.ask.say("one"))
            actor.log.append(await echo.ask.say_later("two"))
            echo.tell(Echo.say, "three")
            await other.stop()

        return end

    log: list[str] = []
    async with Runtime() as rt:
        other = await one_that_ends(rt, a_moment, log)
        actor = await rt.spawn(Ending, ends(await rt.spawn(Echo), other), log)
        await actor.stop()
        assert log == ["one", "two", "ended", "ended"]


async def test_a_kill_reaches_an_on_stop_wherever_it_is() -> None:
    async def end(actor: Ending) -> None:
        await anyio.sleep_forever()

    for turns in range(5):
        log: list[str] = []
        async with Runtime() as rt:
            actor = await one_that_ends(rt, end, log)
            async with anyio.create_task_group() as group:
                group.start_soon(actor.stop)
                await settle(turns + 1)
                await actor.kill()
            assert not actor.alive
            assert log != ["ended"]


async def test_leaving_the_runtime_by_force_ends_an_on_stop_that_hangs() -> None:
    async def end(actor: Ending) -> None:
        await anyio.sleep_forever()

    log: list[str] = []
    async with Runtime() as rt:
        actor = await one_that_ends(rt, end, log)
        async with anyio.create_task_group() as group:
            group.start_soon(actor.stop)
            await anyio.lowlevel.checkpoint()
            await rt.shutdown(drain=False, timeout=0)
    assert log != ["ended"]
    assert not actor.alive


async def test_deferred_calls_of_an_on_stop_are_made() -> None:
    async def end(actor: Ending) -> None:
        current().defer(actor.log.append, "deferred")

    log: list[str] = []
    async with Runtime() as rt:
        actor = await one_that_ends(rt, end, log)
        await actor.stop()
        assert log == ["ended", "deferred"]


async def test_an_error_of_an_on_stop_stays_with_the_actor(caplog: pytest.LogCaptureFixture) -> None:
    async def at_once(actor: Ending) -> None:
        raise OSError("no disk")

    async def later(actor: Ending) -> None:
        await anyio.lowlevel.checkpoint()
        raise OSError("no disk")

    for end in (at_once, later):
        async with Runtime() as rt:
            actor = await one_that_ends(rt, end)
            await actor.stop()
            assert (await rt.monitor(actor)).kind == "stopped"
        assert "OSError: no disk" in caplog.text
        caplog.clear()


async def test_a_stop_of_another_and_a_message_come_too_late_for_one_that_is_ending() -> None:
    gate = anyio.Event()

    async def end(actor: Ending) -> None:
        await gate.wait()

    log: list[str] = []
    async with Runtime() as rt:
        actor = await one_that_ends(rt, end, log)
        async with anyio.create_task_group() as group:
            group.start_soon(actor.stop)
            group.start_soon(actor.stop)
            await settle()
            assert actor.alive
            gate.set()
        assert (actor.alive, log) == (False, ["ended"])


async def test_an_on_stop_that_cancels_its_own_task_hurts_nobody_else(backend: str) -> None:
    if backend == "trio":
        return  # there tasks are cancelled by scopes only

    async def and_ends(actor: Ending) -> None:
        cancelled = asyncio.current_task()
        assert cancelled is not None
        cancelled.cancel()

    async def and_waits(actor: Ending) -> None:
        await and_ends(actor)
        await anyio.sleep_forever()

    for end, outcome in ((and_ends, "ended"), (and_waits, "CancelledError")):
        log: list[str] = []
        async with Runtime() as rt:
            actor = await one_that_ends(rt, end, log)
            await actor.stop()
            assert (actor.alive, log) == (False, [outcome])
            await settle()
            other = await one_that_ends(rt, a_moment, log)
            await other.stop()
            assert log == [outcome, "ended"]


async def test_many_that_are_stopped_one_after_the_other_let_the_loop_breathe() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with Runtime() as rt, anyio.create_task_group() as group:
        await one_that_ends(rt, no_end)
        actors = [await rt.spawn(Ending, no_end) for _ in range(1000)]
        group.start_soon(count)
        await settle(2)
        before = turns
        for actor in actors:
            await actor.stop()
        assert turns > before
        group.cancel_scope.cancel()


async def test_nothing_of_an_actor_is_left_when_its_on_stop_has_waited() -> None:
    async with Runtime() as rt:
        actor = await one_that_ends(rt, a_moment)
        left = weakref.ref(actor._cell)
        gc.collect()
        gc.disable()
        try:
            await actor.stop()
            del actor
            await settle()
            assert left() is None
        finally:
            gc.enable()

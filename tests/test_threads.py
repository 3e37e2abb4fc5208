"""From another thread an actor can be told something, and everything else is refused at the call."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from actorsched import Actor, ActorRef, Runtime, Task, TaskRef

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Refs = tuple[Runtime, ActorRef[Any], TaskRef[Any]]


class Counter(Actor):
    """Counts."""

    def __init__(self) -> None:
        self.n = 0

    async def add(self, k: int) -> int:
        self.n += k
        return self.n

    async def ticks(self) -> Any:
        yield self.n


async def asks(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await actor.ask.add(1)


async def asks_with_a_time_limit(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await actor.asking(timeout=5).add(1)


async def reads_a_stream(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    async for _ in actor.ask.ticks():
        pass


async def tells_and_waits_for_room(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await actor.telling(Counter.add, 1)


async def spawns_a_task(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await rt.spawn(abs, -1)


async def spawns_an_actor(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await rt.spawn(Counter)


async def submits(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await rt.submit(Task("t", abs, (-1,)))


async def runs(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await rt.run(abs, -1)


async def maps(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    async for _ in rt.map(abs, [1, 2]):
        pass


async def awaits(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await task


async def awaits_the_outcome(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await task.outcome()


async def cancels(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await task.cancel()


async def sets_a_priority(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await task.set_priority(5)


async def stops(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await actor.stop()


async def kills(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await actor.kill()


async def monitors(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await rt.monitor(actor)


async def shuts_down(rt: Runtime, actor: ActorRef[Any], task: TaskRef[Any]) -> None:
    await rt.shutdown()


@pytest.mark.parametrize(
    "does",
    [
        asks,
        asks_with_a_time_limit,
        reads_a_stream,
        tells_and_waits_for_room,
        spawns_a_task,
        spawns_an_actor,
        submits,
        runs,
        maps,
        awaits,
        awaits_the_outcome,
        cancels,
        sets_a_priority,
        stops,
        kills,
        monitors,
        shuts_down,
    ],
)
async def test_from_the_event_loop_of_another_thread_it_is_refused(
    does: Callable[..., Coroutine[Any, Any, None]],
) -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Counter)
        task = await rt.spawn(anyio.sleep_forever)

        def elsewhere() -> None:
            with pytest.raises(RuntimeError, match=r"another thread.*only `ref\.tell"):
                asyncio.run(does(rt, actor, task))

        await anyio.to_thread.run_sync(elsewhere)
        assert await actor.ask.add(0) == 0
        assert not task.done()
        assert rt._system.kernel.office.sent == rt._system.kernel.office.handled
        await task.cancel()


async def test_what_has_settled_may_be_looked_at_from_anywhere() -> None:
    async with Runtime() as rt:
        task = await rt.spawn(abs, -1)
        assert await task == 1

        async def look() -> int:
            assert task.done()
            return await task

        assert await anyio.to_thread.run_sync(lambda: asyncio.run(look())) == 1


async def test_any_thread_may_tell_an_actor_something() -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Counter)
        threads = [threading.Thread(target=lambda: actor.tell(Counter.add, 1)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
        while await actor.ask.add(0) < 5:
            await anyio.lowlevel.checkpoint()

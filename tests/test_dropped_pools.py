"""A pool that nobody needs can be removed, and what it has done stays counted."""

from __future__ import annotations

import gc

import anyio
import pytest

from actorsched import Runtime
from actorsched.frontends import shutdown
from actorsched.frontends._shared import SHARED
from actorsched.frontends.manager import TaskManager


async def test_a_pool_is_removed_when_its_tasks_have_ended_and_they_stay_counted() -> None:
    async with Runtime() as rt:
        rt.pool("once", workers=1)
        blocking = await rt.spawn(anyio.sleep_forever, tag="once")
        with pytest.raises(ValueError, match="'once' was not removed, because 1 of its tasks have not ended"):
            rt.drop_pool("once")
        await blocking.cancel()
        assert await rt.run(abs, -1, tag="once") == 1
        rt.drop_pool("once")
        assert "once" not in rt.stats().pools
        assert (rt.stats().ended, rt.stats().latencies.overall.total.count) == (2, 2)
        with pytest.raises(ValueError, match="tag='once' is the name of no pool"):
            await rt.spawn(abs, -1, tag="once")


@pytest.mark.parametrize("name", ["loop", "missing"])
async def test_what_is_no_pool_of_a_user_is_not_removed(name: str) -> None:
    async with Runtime(pools={"io": 1}) as rt:
        with pytest.raises(
            ValueError, match=f"name='{name}' is no pool that could be removed; there are: 'io'"
        ):
            rt.drop_pool(name)


def test_the_pool_of_a_front_end_goes_with_whoever_had_it() -> None:
    async def work() -> None:
        manager = TaskManager(max_concurrent_tasks=2)
        task = manager.register_task("work", abs, -1)
        await manager.execute_task(task)
        manager.cleanup_task(task)

    pools: list[set[str]] = []
    try:
        for _ in range(5):
            anyio.run(work)
        gc.collect()
        seen = anyio.run(_pools_of_the_shared_runtime)
        pools.append(seen)
    finally:
        shutdown()
    left = [name for name in pools[0] if name.startswith("manager")]
    assert len(left) <= 1, "that of the last one may be in some thread's hands yet"


async def _pools_of_the_shared_runtime() -> set[str]:
    over, found = anyio.Event(), set[str]()
    import asyncio

    loop = asyncio.get_running_loop()

    def look(runtime: Runtime) -> None:
        found.update(runtime.stats().pools)
        loop.call_soon_threadsafe(over.set)

    SHARED.call(look)
    await over.wait()
    return found

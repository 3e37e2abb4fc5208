"""What becomes of tasks is told to handlers: `subscribe`, `unsubscribe`, `EventType`."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched.frontends.manager import (
    EventType,
    TaskArgumentError,
    TaskEvent,
    TaskManager,
    TaskStatus,
    subscribe,
    unsubscribe,
)
from actorsched.frontends.manager import events as implementation

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = list(EventType)


class Heard(list[TaskEvent]):
    """The events that a plain handler got."""

    def __call__(self, event: TaskEvent) -> None:
        self.append(event)

    @property
    def types(self) -> list[str]:
        return [event.type.name.removeprefix("TASK_") for event in self]


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Whoever a test has subscribed is not told of the next one."""
    yield
    for listener in implementation._listeners.copy():
        for kind in list(listener.types):
            unsubscribe(kind, listener.handler)
    assert not implementation._listeners


@pytest.fixture
def heard() -> Heard:
    """A handler of all types."""
    handler = Heard()
    for kind in EventType:
        assert subscribe(kind, handler)
    return handler


async def work() -> str:
    await anyio.sleep(0)
    return "done"


def fail() -> None:
    raise ValueError("broken")


async def test_the_life_of_a_task_is_told_in_order(heard: Heard) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("one", work)
    assert await manager.execute_task(task_id)
    assert heard.types == ["CREATED", "STARTED", "COMPLETED"]
    assert {(event.task_id, event.name) for event in heard} == {(task_id, "one")}
    assert [dict(event.data) for event in heard] == [{}, {"attempt": 1}, {"result": "done"}]
    times = [event.time for event in heard]
    assert times == sorted(times)


async def test_a_failure_is_told_with_its_error_and_each_attempt(heard: Heard) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("one", fail, max_retries=1, retry_delay=0)
    assert not await manager.execute_task(task_id)
    assert heard.types == ["CREATED", "STARTED", "STARTED", "FAILED"]
    assert [event.data.get("attempt") for event in heard] == [None, 1, 2, None]
    assert heard[-1].data["error"] is manager.get_task_error(task_id)


async def test_a_cancellation_is_told(heard: Heard) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    await manager.cancel_task(manager.register_task("one", work), "no need")
    assert heard.types == ["CREATED", "CANCELLED"]
    assert "no need" in str(heard[-1].data["error"])


async def test_progress_is_told(heard: Heard) -> None:
    manager = TaskManager(max_concurrent_tasks=3)

    async def reports() -> None:
        await anyio.sleep(0)
        manager.update_task_progress(task_id, progress=0.5, message="half")

    task_id = manager.register_task("one", reports)
    assert await manager.execute_task(task_id)
    assert heard.types == ["CREATED", "STARTED", "PROGRESS", "COMPLETED"]
    assert dict(heard[2].data) == {"progress": 0.5, "message": "half"}


async def test_what_depends_on_a_task_starts_after_its_end_was_told(heard: Heard) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    first = manager.register_task("first", work)
    assert await manager.execute_task(manager.register_task("second", work, dependencies=[first]))
    told = [f"{event.name} {kind}" for event, kind in zip(heard, heard.types, strict=True)]
    assert told[2:] == ["first STARTED", "first COMPLETED", "second STARTED", "second COMPLETED"]


def test_in_a_script_a_handler_was_called_when_the_call_returns(heard: Heard) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("one", work)
    assert heard.types == ["CREATED"]
    manager.update_task_progress(task_id, 0.5)
    assert heard.types == ["CREATED", "PROGRESS"]
    asyncio.run(manager.cancel_task(task_id))
    assert heard.types == ["CREATED", "PROGRESS", "CANCELLED"]


@pytest.mark.parametrize("kind", ALL)
async def test_a_handler_hears_only_what_it_has_subscribed_to(kind: EventType) -> None:
    handler = Heard()
    subscribe(kind, handler)
    manager = TaskManager(max_concurrent_tasks=3)
    done, broken, never = (
        manager.register_task(name, func)
        for name, func in (("done", work), ("broken", fail), ("never", work))
    )
    manager.update_task_progress(never, 0.5)
    await manager.execute_task(done)
    await manager.execute_task(broken)
    await manager.cancel_task(never)
    await manager.execute_task(done)
    assert {event.type for event in handler} == {kind}


async def test_an_async_handler_runs_in_the_loop_that_has_subscribed_it() -> None:
    seen: list[tuple[str, int]] = []

    async def handler(event: TaskEvent) -> None:
        seen.append((f"{event.type} begins", threading.get_ident()))
        await anyio.sleep(0)
        seen.append((f"{event.type} ends", threading.get_ident()))

    for kind in EventType:
        subscribe(kind, handler)
    manager = TaskManager(max_concurrent_tasks=3)
    await manager.execute_task(manager.register_task("one", work))
    assert seen == [
        (f"task_{kind} {edge}", threading.get_ident())
        for kind in ("created", "started", "completed")
        for edge in ("begins", "ends")
    ]


def test_an_async_handler_of_a_script_has_a_loop_of_its_own() -> None:
    seen: list[str] = []

    async def handler(event: TaskEvent) -> None:
        await asyncio.sleep(0)
        seen.append(event.type)

    for kind in EventType:
        subscribe(kind, handler)
    manager = TaskManager(max_concurrent_tasks=3)
    asyncio.run(manager.execute_task(manager.register_task("one", work)))
    assert seen == ["task_created", "task_started", "task_completed"]


def test_an_async_handler_goes_on_when_its_loop_has_ended() -> None:
    seen: list[str] = []

    async def handler(event: TaskEvent) -> None:
        await asyncio.sleep(0)
        seen.append(event.type)

    async def main() -> None:
        subscribe(EventType.TASK_COMPLETED, handler)

    asyncio.run(main())
    manager = TaskManager(max_concurrent_tasks=3)
    asyncio.run(manager.execute_task(manager.register_task("one", work)))
    assert seen == ["task_completed"]


def test_an_async_handler_that_is_cut_short_does_not_lose_the_rest() -> None:
    seen: list[str] = []
    told = threading.Event()

    async def handler(event: TaskEvent) -> None:
        if event.name == "first":
            begun.set()
            await asyncio.Event().wait()
        seen.append(event.name)
        told.set()

    manager = TaskManager(max_concurrent_tasks=3)

    async def main() -> None:
        subscribe(EventType.TASK_CREATED, handler)
        manager.register_task("first", work)
        await begun.wait()
        manager.register_task("second", work)

    begun = asyncio.Event()
    asyncio.run(main())
    assert told.wait(20)
    assert seen == ["second"]


async def test_what_a_handler_raises_is_logged_and_stops_nothing(
    heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: TaskEvent) -> None:
        raise RuntimeError("the handler is broken")

    async def broken_too(event: TaskEvent) -> None:
        raise RuntimeError("the other one too")

    subscribe(EventType.TASK_STARTED, broken)
    subscribe(EventType.TASK_STARTED, broken_too)
    manager = TaskManager(max_concurrent_tasks=3)
    task_id = manager.register_task("one", work)
    with caplog.at_level(logging.ERROR, "actorsched"):
        assert await manager.execute_task(task_id)
    assert "the handler is broken" in caplog.text
    assert "the other one too" in caplog.text
    assert task_id in caplog.text
    assert heard.types == ["CREATED", "STARTED", "COMPLETED"]


async def test_a_handler_may_register_and_execute_tasks() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    followers: list[str] = []

    async def follow(event: TaskEvent) -> None:
        if event.name == "leader":
            follower = manager.register_task("follower", work)
            await manager.execute_task(follower)
            followers.append(follower)

    subscribe(EventType.TASK_COMPLETED, follow)
    await manager.execute_task(manager.register_task("leader", work))
    assert [manager.get_task_status(one) for one in followers] == [TaskStatus.COMPLETED]


async def test_a_slow_handler_does_not_hold_up_the_runtime() -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    may_go_on = threading.Event()
    subscribe(EventType.TASK_STARTED, lambda event: may_go_on.wait(20))
    ids = [manager.register_task("one", work) for _ in range(3)]
    for task_id in ids:
        await manager.execute_task(task_id, wait=False)
    while not all(manager.get_task_status(task_id).is_final for task_id in ids):
        await anyio.sleep(0.001)
    may_go_on.set()


async def test_who_has_unsubscribed_hears_no_more(heard: Heard) -> None:
    manager = TaskManager(max_concurrent_tasks=3)
    assert not subscribe(EventType.TASK_CREATED, heard)
    assert unsubscribe(EventType.TASK_CREATED, heard)
    assert not unsubscribe(EventType.TASK_CREATED, heard)
    assert not unsubscribe(EventType.TASK_CREATED, print)
    await manager.execute_task(manager.register_task("one", work))
    assert heard.types == ["STARTED", "COMPLETED"]


@pytest.mark.parametrize("event_type", ["started", 3, None])
def test_a_type_that_does_not_exist_is_refused(event_type: Any) -> None:
    for function in (subscribe, unsubscribe):
        with pytest.raises(TaskArgumentError, match="event_type=.*choose from EventType.TASK_CREATED"):
            function(event_type, print)


def test_a_handler_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TaskArgumentError, match="handler=3 cannot be called"):
        subscribe(EventType.TASK_CREATED, 3)


async def test_tasks_of_other_front_ends_are_told_of_too(heard: Heard) -> None:
    from actorsched.frontends.bridge import task_bridge

    foreign = task_bridge.register_task("foreign", work)
    task_bridge.start_task(foreign)
    await TaskManager().execute_task(foreign)
    assert heard.types[-2:] == ["STARTED", "COMPLETED"]
    assert {event.task_id for event in heard} == {foreign}

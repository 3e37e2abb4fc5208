"""Tasks that a told handler has left behind: they are its actor's, but no part of what that does next."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, ActorRef, AskCycle, Runtime, current
from tests.host_help import until

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

pytestmark = pytest.mark.deadline(5)


class Leaver(Actor):
    """Its handlers start tasks in a group that outlives them."""

    def __init__(self, group: TaskGroup) -> None:
        self.group = group
        self.go = anyio.Event()
        self.gate = anyio.Event()
        self.busy = False
        self.found: list[Any] = []
        self.deferred: list[str] = []

    async def leave(self, function: Any, *args: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.group.start_soon(self._left_behind, function, *args)

    async def _left_behind(self, function: Any, *args: Any) -> None:
        await self.go.wait()
        try:
            self.found.append(await function(*args))
        except Exception as error:
            self.found.append(error)

    async def hold(self) -> None:
        self.busy = True
        await self.gate.wait()
        self.found.append("held")

    async def hold_with_a_group(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.gate.wait)
            self.busy = True
        self.found.append("held")

    async def ask_in_a_group(self, other: ActorRef[Any]) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._ask, other, current().ref)

    async def ask_itself(self, other: ActorRef[Any]) -> None:
        await self._ask(other, current().ref)

    async def ask_late(self, other: ActorRef[Any]) -> None:
        await anyio.lowlevel.checkpoint()
        await self._ask(other, current().ref)

    async def _ask(self, other: ActorRef[Any], me: ActorRef[Any]) -> None:
        try:
            self.found.append(await other.ask.ask_back(me))
        except AskCycle as error:
            self.found.append(error)

    async def echo(self, value: str = "echo") -> str:
        return value

    async def defer(self) -> str:
        current().defer(self.deferred.append, "deferred")
        return current().ref.name


class Other(Actor):
    """Asks back."""

    async def ask_back(self, who: ActorRef[Any]) -> Any:
        return await who.ask.echo()


BUSY = pytest.mark.parametrize("busy", [Leaver.hold, Leaver.hold_with_a_group])


@BUSY
async def test_what_a_task_left_behind_asks_for_does_not_keep_its_actor_waiting(busy: Any) -> None:
    async with anyio.create_task_group() as group, Runtime() as rt:
        leaver, other = await rt.spawn(Leaver, group), await rt.spawn(Other)
        leaver.tell(Leaver.leave, other.ask.ask_back, leaver)
        instance = leaver._cell.instance
        await until(lambda: not leaver.load)
        leaver.tell(busy)
        await until(lambda: instance.busy)
        instance.go.set()
        await until(lambda: other.load or instance.found)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        instance.gate.set()
        await until(lambda: len(instance.found) == 2)
        assert instance.found == ["held", "echo"]


@BUSY
async def test_what_a_task_left_behind_does_is_not_done_by_the_handler_that_runs_meanwhile(
    busy: Any,
) -> None:
    async with anyio.create_task_group() as group, Runtime() as rt:
        leaver = await rt.spawn(Leaver, group, name="leaver")
        instance = leaver._cell.instance
        leaver.tell(Leaver.leave, instance.defer)
        await until(lambda: not leaver.load)
        leaver.tell(busy)
        await until(lambda: instance.busy)
        instance.go.set()
        await until(lambda: instance.found)
        instance.gate.set()
        await until(lambda: len(instance.found) == 2)
        await until(lambda: not leaver.load)
        assert instance.found == ["leaver", "held"]
        assert not instance.deferred


@pytest.mark.parametrize("asks", [Leaver.ask_in_a_group, Leaver.ask_itself, Leaver.ask_late])
async def test_a_circle_through_a_told_handler_is_found_wherever_in_it_the_ask_is(asks: Any) -> None:
    async with anyio.create_task_group() as group, Runtime() as rt:
        leaver, other = await rt.spawn(Leaver, group), await rt.spawn(Other)
        instance = leaver._cell.instance
        leaver.tell(asks, other)
        await until(lambda: instance.found)
        assert [type(found) for found in instance.found] == [AskCycle]


class Payload:
    """Something big."""


async def test_a_task_left_behind_keeps_no_message_alive() -> None:
    async with anyio.create_task_group() as group, Runtime() as rt:
        leaver = await rt.spawn(Leaver, group)
        instance = leaver._cell.instance
        payload = Payload()
        gone = weakref.ref(payload)
        leaver.tell(Leaver.leave, anyio.lowlevel.checkpoint)
        leaver.tell(Leaver.leave, anyio.sleep, 0)
        leaver.tell(Leaver.echo, payload)
        del payload
        await until(lambda: not leaver.load)
        gc.collect()
        assert gone() is None
        instance.go.set()

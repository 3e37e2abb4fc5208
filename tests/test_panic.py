"""A bug of the system itself ends the runtime with that error: nobody waits for ever, nothing is left."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, Runtime, RuntimeClosed
from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._system.actor_cell import ActorCell
from actorsched._system.call import Call
from actorsched._system.nursery import Nursery
from actorsched._system.supervisor import Supervisor
from actorsched._system.task import TaskActor
from tests.host_help import alive, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorsched.messages import ExitReason

pytestmark = pytest.mark.deadline(20)

NEVER = anyio.sleep_forever
SOON = "100ms"


class Bug(ZeroDivisionError):
    """What a broken behaviour raises."""


class Poke:
    """A message that it cannot stand."""


class Broken(Behaviour):
    """An actor of the system that fails."""

    @handles(Poke)
    def _poke(self, message: Poke, out: Outbox) -> None:
        raise Bug


class Worker(Actor):
    """Waits, or not."""

    async def on_stop(self, reason: ExitReason) -> None:
        """With this, stopping takes the whole conversation."""

    async def hold(self) -> None:
        await NEVER()

    async def hello(self) -> str:
        return "hello"


class Hosted(Worker, host="process"):
    """The same in a host process."""


def poke(rt: Runtime) -> None:
    rt._system.kernel.post(Broken(), Poke())


def fail(*_: object) -> None:
    raise Bug


def break_down(monkeypatch: pytest.MonkeyPatch, kind: type[Behaviour], *messages: str) -> None:
    """From now on, actors of this kind fail at such messages."""
    reactions = {
        message: fail if message.__name__ in messages else react for message, react in kind.reactions.items()
    }
    monkeypatch.setattr(kind, "reactions", reactions)


async def test_a_bug_leaves_the_runtime_as_its_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Bug):
        async with Runtime() as rt:
            poke(rt)
            await NEVER()
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    assert "please report this" in caplog.text


async def test_a_bug_leaves_a_runtime_whose_body_has_ended() -> None:
    with pytest.raises(Bug):
        async with Runtime() as rt:
            await rt.spawn(NEVER)
            rt._system.kernel.call_later(0.01, poke, rt)


@pytest.mark.process
async def test_a_bug_ends_everything_that_goes_on() -> None:
    ended: list[str] = []

    async def work(name: str, function: Callable[[], Awaitable[object]]) -> None:
        try:
            await function()
        except BaseException:
            ended.append(name)
            raise

    with pytest.raises(Bug):
        async with Runtime() as rt:
            worker, hosted = await rt.spawn(Worker), await rt.spawn(Hosted)
            assert await hosted.ask.hello() == "hello"
            pids = [link.pid for link in rt._system.staff.links]
            rt._system.kernel.call_later(0.01, poke, rt)
            async with anyio.create_task_group() as group:
                group.start_soon(work, "ask", worker.ask.hold)
                group.start_soon(work, "ask a host", hosted.ask.hold)
                group.start_soon(work, "task", lambda: rt.run(NEVER))
    assert sorted(ended) == ["ask", "ask a host", "task"]
    assert pids
    assert not any(alive(pid) for pid in pids)


async def use_a_task(rt: Runtime) -> None:
    await rt.run(anyio.sleep, 0)


async def use_a_task_that_fails(rt: Runtime) -> None:
    async def divide() -> None:
        raise LookupError

    with contextlib.suppress(LookupError):
        await rt.run(divide)


async def use_an_actor(rt: Runtime) -> None:
    worker = await rt.spawn(Worker)
    await worker.stop()


@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "message", "use"),
    [
        (TaskActor, "Finished", use_a_task),
        (Nursery, "Settled", use_a_task_that_fails),
        (Nursery, "Closed", use_an_actor),
        (ActorCell, "Stop", use_an_actor),
        (Supervisor, "Exited", use_an_actor),
    ],
)
async def test_whatever_waits_for_a_broken_actor_is_torn_down_at_the_shutdown_deadline(
    kind: type[Behaviour],
    message: str,
    use: Callable[[Runtime], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Bug):
        async with Runtime(shutdown_timeout=SOON) as rt:
            hosted = await rt.spawn(Hosted)
            await hosted.ask.hello()
            pids = [link.pid for link in rt._system.staff.links]
            break_down(monkeypatch, kind, message)
            await use(rt)
    assert pids
    assert not any(alive(pid) for pid in pids)


async def test_whoever_waits_elsewhere_learns_that_the_runtime_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[BaseException | None] = []

    async def wait(function: Callable[[], Awaitable[object]]) -> None:
        try:
            await function()
        except RuntimeClosed as error:
            heard.append(error.__cause__)

    async def wait_for(ref: Any) -> None:
        await ref

    async with anyio.create_task_group() as group:
        with pytest.raises(Bug):
            async with Runtime(shutdown_timeout=SOON) as rt:
                ref, worker = await rt.spawn(NEVER), await rt.spawn(Worker)
                group.start_soon(wait, lambda: wait_for(ref))
                group.start_soon(wait, worker.ask.hold)
                await until(lambda: worker._cell.turn is not None)
                break_down(monkeypatch, TaskActor, "Cancel", "Watch")
                break_down(monkeypatch, ActorCell, "Stop", "Kill")
                poke(rt)
    assert [type(cause) for cause in heard] == [Bug, Bug]


async def test_a_timer_that_fails_does_not_stop_the_others() -> None:
    with pytest.raises(Bug):
        async with Runtime() as rt:
            rt._system.kernel.call_later(0.001, fail)
            await NEVER()


async def test_a_bug_where_user_code_is_stepped_ends_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Bug):
        async with Runtime(shutdown_timeout=SOON) as rt:
            worker = await rt.spawn(Worker)
            monkeypatch.setattr(ActorCell, "run", fail)
            worker.tell(Worker.hello)
            await NEVER()


@pytest.mark.process
async def test_hosts_whose_end_is_never_noticed_are_gone_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Bug):
        async with Runtime(shutdown_timeout=SOON) as rt:
            await rt.spawn(Hosted)
            pids = [link.pid for link in rt._system.staff.links]
            monkeypatch.setattr(rt._system.staff, "port_gone", lambda *_: None)
            poke(rt)
            await NEVER()
    assert pids
    assert not any(alive(pid) for pid in pids)


class Asked(Actor):
    async def at_once(self) -> str:
        return "hello"

    async def later(self) -> str:
        await anyio.lowlevel.checkpoint()
        return "hello"


@pytest.mark.deadline(10)
@pytest.mark.parametrize("handler", ["at_once", "later"])
async def test_a_bug_where_an_asker_carries_the_handler_ends_the_runtime(
    handler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with Runtime(shutdown_timeout="100ms") as rt:
            asked = await rt.spawn(Asked)
            monkeypatch.setattr(Call, "over", fail)
            await getattr(asked.ask, handler)()

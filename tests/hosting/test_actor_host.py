"""What an actor host does with what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorsched._hosting import wire
from actorsched._hosting.transfer import dumps, loads
from actorsched.exceptions import ActorStopped, Interrupted
from tests.hosting import work
from tests.hosting.harness import hosted

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


async def test_an_actor_keeps_its_state_between_calls() -> None:
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 5)
        assert await host.ask(actor, "add", 1) == 6
        assert await host.ask(actor, "add", 2) == 8


async def test_actors_of_one_host_are_apart() -> None:
    async with hosted("actors") as host:
        one, other = await host.open(work.Counter, 1), await host.open(work.Counter, 2)
        assert await host.ask(one, "add", 10) == 11
        assert await host.ask(other, "add", 10) == 12


async def test_a_class_that_cannot_be_imported_travels_by_value() -> None:
    class Local(work.Counter):
        async def twice(self) -> int:
            return self._n * 2

    async with hosted("actors") as host:
        actor = await host.open(Local, 21)
        assert await host.ask(actor, "twice") == 42


async def test_an_actor_whose_start_fails_is_forgotten() -> None:
    async with hosted("actors") as host:
        with pytest.raises(ValueError, match="negative"):
            await host.open(work.Counter, -1)
        with pytest.raises(ActorStopped):
            await host.ask(1, "add", 1)


async def test_an_error_of_a_handler_goes_to_the_caller_and_leaves_the_actor() -> None:
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 1)
        with pytest.raises(LookupError, match="no"):
            await host.ask(actor, "fail")
        assert await host.ask(actor, "add", 1) == 2


async def test_handlers_of_one_actor_never_interleave() -> None:
    async with hosted("actors") as host:
        actor = await host.open(work.Counter)
        calls = [host.call(actor, "add_slowly", 1) for _ in range(20)]
        assert {await host.answer(call) for call in calls} == set(range(1, 21))


async def test_a_handler_is_cancelled_where_it_waits_and_the_next_one_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 0, str(log))
        hanging, waiting = host.call(actor, "hang"), host.call(actor, "add", 1)
        host.link.send(wire.CancelCall(hanging, "enough"))
        with pytest.raises(Interrupted, match="enough"):
            await host.answer(hanging)
        assert host.seen(wire.Raised)[0].cancelled
        assert await host.answer(waiting) == 1


async def test_a_stream_yields_on_demand_only() -> None:
    async with hosted("actors") as host:
        actor = await host.open(work.Counter)
        stream = host.call(actor, "count", 3, stream=True)
        assert await host.ask(actor, "add", 1) == 1  # its turn is free while nobody wants an item
        assert not host.seen(wire.Item)
        host.link.send(wire.Demand(stream, 2))
        await host.until(lambda: len(host.seen(wire.Item)) == 2)
        assert await host.ask(actor, "add", 1) == 2
        assert len(host.seen(wire.Item)) == 2
        host.link.send(wire.Demand(stream, 2))
        assert await host.answer(stream) is None
        assert [loads(item.value) for item in host.seen(wire.Item)] == [0, 1, 2]


async def test_leaving_a_stream_closes_its_generator(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 0, str(log))
        stream = host.call(actor, "count", 100, stream=True)
        host.link.send(wire.Demand(stream, 1))
        await host.frame(wire.Item)
        host.link.send(wire.CancelCall(stream))
        assert await host.answer(stream) is None
        assert log.read_text() == "closed\n"


async def test_closing_an_actor_ends_its_streams_and_runs_its_hook(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 0, str(log))
        stream = host.call(actor, "count", 100, stream=True)
        host.link.send(wire.Demand(stream, 1))
        await host.frame(wire.Item)
        host.link.send(wire.Close(actor, dumps("shutdown", "the reason")))
        closed = await host.frame(wire.Closed)
        assert (closed.actor_id, closed.error) == (actor, None)
        assert log.read_text() == "closed\nstopped: shutdown\n"
        with pytest.raises(ActorStopped):
            await host.ask(actor, "add", 1)


async def test_forgetting_an_actor_cancels_what_it_does_without_a_hook(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 0, str(log))
        hanging = host.call(actor, "hang")
        await host.ask(await host.open(work.Counter), "add", 1)  # by now the other hangs
        host.link.send(wire.Forget(actor))
        await host.frame(wire.Closed, lambda frame: frame.actor_id == actor)
        with pytest.raises(Interrupted):
            await host.answer(hanging)
        assert log.read_text() == "cancelled\n"


async def test_a_handler_knows_its_context() -> None:
    async with hosted("actors") as host:
        actor = await host.open(work.Counter)
        assert await host.ask(actor, "me") == ("Counter", None, None)


async def test_a_handler_can_ask_the_runtime() -> None:
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 7)
        call = host.call(actor, "ask_outside", "square")
        asked = await host.frame(wire.Request)
        assert (asked.origin, asked.verb, loads(asked.body)) == (call, "square", 7)
        host.link.send(wire.Answer(asked.request_id, dumps(49, "the answer")))
        assert await host.answer(call) == 49


async def test_a_host_that_is_told_to_stop_closes_streams_and_finishes_calls(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 0, str(log))
        stream = host.call(actor, "count", 100, stream=True)
        host.link.send(wire.Demand(stream, 1))
        await host.frame(wire.Item)
        host.link.stop()
        assert (await host.ended()).cause == "stopped"
        assert log.read_text() == "closed\n"


async def test_context_variables_arrive_in_handlers() -> None:
    import contextvars

    from actorsched._hosting.variables import contextvars_out

    class Reader:
        async def read(self) -> str:
            return work.read_variable()

    def send() -> bytes:
        work.VARIABLE.set("sent")
        payload = contextvars_out(contextvars.copy_context())
        assert isinstance(payload, bytes)
        return payload

    async with hosted("actors") as host:
        actor = await host.open(Reader)
        assert await host.ask(actor, "read") == "unset"
        host.link.send(wire.Call(100, actor, "read", context=contextvars.copy_context().run(send)))
        assert await host.answer(100) == "sent"
        assert await host.ask(actor, "read") == "unset"


async def test_a_handler_that_blocks_its_loop_is_heard_all_the_same() -> None:
    async with hosted("actors") as host:
        actor = await host.open(work.Counter)
        host.call(actor, "report_and_die")
        end = await host.ended()
        assert end.exit_code == 9
        assert [frame.fraction for frame in host.seen(wire.Progress)] == [0.5]
        assert [frame.message for frame in host.seen(wire.Log)] == ["the last words"]


async def test_what_is_deferred_in_a_handler_may_be_async(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted("actors") as host:
        actor = await host.open(work.Counter, 0, str(log))
        await host.ask(actor, "defer")
        assert log.read_text() == "async\nplain\n"

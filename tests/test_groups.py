"""Groups get every message; in a pool one member gets each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Actor, ActorPool, Group, Mailbox, Priority, Runtime, Supervise, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Member(Actor):
    mailbox = Mailbox(capacity=2, overflow="raise")

    def __init__(self) -> None:
        self.heard: list[int] = []

    async def note(self, item: int) -> int:
        self.heard.append(item)
        return item

    async def all(self) -> list[int]:
        return self.heard

    async def fail(self) -> None:
        raise ValueError("no")

    async def wait(self, event: anyio.Event) -> None:
        await event.wait()


async def test_a_broadcast_reaches_every_member() -> None:
    async with Runtime() as rt:
        members = [await rt.spawn(Member) for _ in range(3)]
        group = Group(members)
        group.tell(Member.note, 7)
        assert await group.ask(Member.all) == [[7], [7], [7]]
        assert list(group) == members


async def test_a_member_that_has_ended_has_left() -> None:
    async with Runtime() as rt:
        one, other = await rt.spawn(Member), await rt.spawn(Member)
        group = Group([one, other])
        await one.stop()
        assert list(group) == [other]
        assert one not in group
        group.discard(other)
        assert len(group) == 0


async def test_members_without_room_are_named_and_the_others_get_the_message() -> None:
    event = anyio.Event()
    async with Runtime() as rt:
        busy, free = await rt.spawn(Member), await rt.spawn(Member)
        busy.tell(Member.wait, event)
        await anyio.lowlevel.checkpoint()
        while busy.queued < 2:
            busy.tell(Member.note, 0)
            await anyio.lowlevel.checkpoint()
        with pytest.raises(ExceptionGroup, match="no room") as raised:
            Group([busy, free]).tell(Member.note, 1)
        assert len(raised.value.exceptions) == 1
        assert await free.ask.all() == [1]
        event.set()


async def test_errors_of_members_come_in_a_group_when_all_have_answered() -> None:
    async with Runtime() as rt:
        group = Group([await rt.spawn(Member), await rt.spawn(Member)])
        with pytest.raises(ExceptionGroup) as raised:
            await group.ask(Member.fail)
        assert [type(error) for error in raised.value.exceptions] == [ValueError, ValueError]


async def test_what_is_no_ref_cannot_join() -> None:
    with pytest.raises(TypeError, match="ActorRef"):
        Group([object()])  # type: ignore[list-item]


async def test_a_pool_takes_turns() -> None:
    async with Runtime() as rt:
        pool = await rt.spawn_pool(Member, size=3, routing="round_robin")
        for item in range(6):
            await pool.ask.note(item)
        assert [await member.ask.all() for member in pool] == [[0, 3], [1, 4], [2, 5]]


async def test_a_pool_sends_to_whoever_has_least_to_do() -> None:
    event = anyio.Event()
    async with Runtime() as rt:
        pool = await rt.spawn_pool(Member, size=2)
        first, second = pool
        first.tell(Member.wait, event)
        while first.load == 0:
            await anyio.lowlevel.checkpoint()
        await pool.ask.note(1)
        pool.tell(Member.note, 2)
        assert await second.ask.all() == [1, 2]
        event.set()


async def test_equal_keys_go_to_the_same_member() -> None:
    async with Runtime() as rt:
        pool = await rt.spawn_pool(Member, size=4, routing="by_key")
        chosen = {key: pool.of(key) for key in ("a", "b", ("c", 1))}
        assert all(pool.of(key) == member for key, member in chosen.items())
        with pytest.raises(ValueError, match="by key"):
            pool.tell(Member.note, 1)


async def test_a_pool_grows_shrinks_and_stops() -> None:
    async with Runtime() as rt:
        pool = await rt.spawn_pool(Member, size=1, name="crew")
        await pool.resize(3)
        assert [member.name for member in pool] == ["crew-0", "crew-1", "crew-2"]
        last = list(pool)[-1]
        await pool.resize(2)
        assert not last.alive
        await pool.stop()
        assert len(pool) == 0
        with pytest.raises(ValueError, match="no members"):
            pool.of()
        assert isinstance(pool, ActorPool)


@pytest.mark.parametrize(
    ("size", "kind"), [(0, ValueError), (-1, ValueError), (True, TypeError), ("2", TypeError)]
)
async def test_a_wrong_size_is_refused_and_nothing_is_spawned(size: object, kind: type[Exception]) -> None:
    async with Runtime() as rt:
        with pytest.raises(kind, match="size="):
            await rt.spawn_pool(Member, size=size)  # type: ignore[arg-type]


async def test_an_unknown_routing_is_refused() -> None:
    async with Runtime() as rt:
        with pytest.raises(ValueError, match="routing='random'"):
            await rt.spawn_pool(Member, routing="random")  # type: ignore[arg-type]


# ------------------------------------------------------------------------- what happens while they are at it


async def turns(count: int = 1) -> None:
    """Let everything else go on for a while."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


class Worker(Actor):
    """Knows as which of its class it was made, and works until it is told that it may end."""

    fatal = (ValueError,)
    made = 0

    def __init__(self, gates: dict[int, anyio.Event] | None = None) -> None:
        type(self).made += 1
        self.number = type(self).made
        self.gates = gates or {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.made = 0

    async def who(self, item: int = 0) -> int:
        return self.number

    async def hold(self, key: int) -> int:
        await self.gates[key].wait()
        return self.number

    async def double(self, number: int) -> int:
        return 2 * number

    async def numbers(self, count: int) -> AsyncIterator[int]:
        for _ in range(count):
            yield self.number

    async def break_down(self) -> None:
        raise ValueError("broken")


async def test_a_broadcast_that_some_member_does_not_take_reaches_nobody() -> None:
    async with Runtime() as rt:
        member = await rt.spawn(Member)
        group: Group[Any] = Group([member, await rt.spawn(Worker)])
        with pytest.raises(TypeError, match="is no handler"):
            group.tell(Member.note, 1)
        with pytest.raises(TypeError, match="is no handler"):
            await group.ask(Member.note, 1)
        assert await member.ask.all() == []


async def test_a_group_is_asked_all_at_once() -> None:
    class Meeting(Actor):
        async def meet(self) -> int:
            arrived.append(1)
            while len(arrived) < 3:
                await turns()
            return len(arrived)

    arrived: list[int] = []
    async with Runtime(concurrency=1) as rt:
        group = Group([await rt.spawn(Meeting) for _ in range(3)])
        assert await group.ask(Meeting.meet) == [3, 3, 3]
        assert await Group[Meeting]().ask(Meeting.meet) == []


async def test_cancelling_the_question_to_a_group_cancels_the_handlers() -> None:
    class Slow(Actor):
        async def wait(self) -> None:
            state.append("begun")
            try:
                await anyio.sleep_forever()
            finally:
                state.append("over")

    state: list[str] = []
    async with Runtime() as rt:
        group = Group([await rt.spawn(Slow) for _ in range(2)])
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(group.ask, Slow.wait)
                while len(state) < 2:
                    await turns()
                scope.cancel()
        assert state == ["begun", "begun", "over", "over"]


async def test_who_has_least_to_do_is_decided_when_a_message_is_sent() -> None:
    class Mine(Worker): ...

    gates = {key: anyio.Event() for key in range(4)}
    async with Runtime() as rt:
        pool = await rt.spawn_pool(Mine, gates, size=2)
        done: list[int] = []

        async def hold(ask: Any) -> None:
            done.append(await ask)

        async with anyio.create_task_group() as group:
            for ask in [pool.ask.hold(key) for key in range(4)]:  # all made before any is sent
                group.start_soon(hold, ask)
            await turns(10)
            assert [member.load for member in pool] == [2, 2]
            for gate in gates.values():
                gate.set()
        assert sorted(done) == [1, 1, 2, 2]


async def test_streams_and_options_of_a_pool_are_those_of_an_actor() -> None:
    class Mine(Worker): ...

    async with Runtime() as rt:
        pool = await rt.spawn_pool(Mine, {1: anyio.Event()}, size=2, routing="round_robin")
        assert [n async for n in pool.ask.numbers(2)] == [1, 1]
        assert [n async for n in pool.asking(priority=Priority.HIGH).numbers(2)] == [2, 2]
        with pytest.raises(TimeoutError):
            await pool.asking(timeout="5ms").hold(1)
        with pytest.raises(TypeError, match="priority='high'"):
            pool.asking(priority="high")  # type: ignore[arg-type]
        with pytest.raises(AttributeError, match="has no handler 'wohs'"):
            pool.ask.wohs  # type: ignore[attr-defined]  # noqa: B018


async def test_a_member_that_restarts_keeps_its_place() -> None:
    class Mine(Worker): ...

    async with Runtime() as rt:
        pool = await rt.spawn_pool(Mine, size=2, routing="round_robin")
        with pytest.raises(ValueError, match="broken"):
            await pool.ask.break_down()
        assert len(pool) == 2
        assert [await pool.ask.who() for _ in range(4)] == [2, 3, 2, 3]


async def test_a_member_that_waits_for_its_restart_is_not_idle() -> None:
    class Mine(Worker): ...

    async with Runtime() as rt, rt.scope(Supervise(backoff="1h")) as scope:
        pool = await scope.spawn_pool(Mine, size=2)
        with pytest.raises(ValueError, match="broken"):
            await pool.ask.break_down()
        assert [await pool.ask.who() for _ in range(3)] == [2, 2, 2]


async def test_a_member_that_has_ended_gets_no_more_messages_and_may_be_replaced() -> None:
    class Mine(Worker): ...

    async with Runtime() as rt:
        pool = await rt.spawn_pool(Mine, size=3, routing="round_robin", name="crew")
        await list(pool)[1].kill()
        assert [await pool.ask.who() for _ in range(4)] == [1, 3, 1, 3]
        await pool.resize(3)
        assert [member.name for member in pool] == ["crew-0", "crew-2", "crew-3"]
        for member in list(pool):
            await member.stop()
        with pytest.raises(ValueError, match="no members"):
            pool.ask  # noqa: B018


async def test_members_that_have_to_go_work_off_their_mailboxes_first() -> None:
    class Mine(Worker): ...

    gates = {key: anyio.Event() for key in range(4)}
    async with Runtime() as rt:
        pool = await rt.spawn_pool(Mine, gates, size=4)
        last = list(pool)[-1]
        async with anyio.create_task_group() as group:
            for key in range(4):
                group.start_soon(pool.ask.hold, key)
            await turns(5)
            group.start_soon(pool.resize, 2)
            await turns(5)
            assert len(pool) == 2
            assert last.alive
            for gate in gates.values():
                gate.set()
        assert not last.alive


async def test_of_resizes_at_the_same_time_the_last_one_counts() -> None:
    class Mine(Worker):
        alive = 0

        async def on_start(self) -> None:
            await turns(3)
            Mine.alive += 1

        async def on_stop(self, reason: object) -> None:
            Mine.alive -= 1

    async with Runtime() as rt:
        pool = await rt.spawn_pool(Mine, size=1, name="crew")
        async with anyio.create_task_group() as group:
            for size in (5, 1, 4, 2):
                group.start_soon(pool.resize, size)
                await turns(2)
        assert len(pool) == 2
        assert Mine.alive == 2


@pytest.mark.parametrize("after", range(1, 10))
async def test_spawning_a_pool_may_be_cancelled_at_any_moment(after: int) -> None:
    class Mine(Worker):
        async def on_start(self) -> None:
            await turns(4)

    async with Runtime() as rt:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_after, scope, after)
                await rt.spawn_pool(Mine, size=4, name="crew")
        for number in range(4):
            with pytest.raises(LookupError):
                rt.lookup(f"crew-{number}")


async def _cancel_after(scope: anyio.CancelScope, count: int) -> None:
    await turns(count)
    scope.cancel()


async def test_a_pool_is_a_good_stage_and_a_good_function() -> None:
    class Mine(Worker):
        async def double(self, number: int) -> int:
            doubled.append(self.number)
            return await super().double(number)

    doubled: list[int] = []
    async with Runtime() as rt:
        pool = await rt.spawn_pool(Mine, size=3, routing="round_robin")
        pipe = rt.pipeline(stage(pool.ask.double, workers=3), pool.ask.double)
        assert [n async for n in pipe(range(9))] == list(range(0, 36, 4))
        assert [n async for n in rt.map(pool.ask.double, range(9))] == list(range(0, 18, 2))
        assert set(doubled) == {1, 2, 3}


async def test_a_pool_ends_with_its_scope() -> None:
    async with Runtime() as rt:
        async with rt.scope() as scope:
            pool = await scope.spawn_pool(Member, size=2)
            members = list(pool)
        assert not any(member.alive for member in members)
        assert len(pool) == 0

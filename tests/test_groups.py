"""Groups get every message; in a pool one member gets each."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from actorsched import Actor, ActorPool, Group, Mailbox, Runtime


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

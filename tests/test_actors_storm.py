"""Trees of actors in a storm: whatever happens to whomever, everybody is answered and nothing is left.

Actors spawn children, link, fail, stream, set timers and ask each other while their askers give up, and
are stopped and killed. Afterwards every message is accounted for, every actor has ended, and no turn, wait,
stream or timer is left over. The number of a storm that fails is in the test's name, and repeats what it did.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest

from actorsched import Actor, ActorRef, Mailbox, Runtime, Supervise, current
from actorsched.exceptions import ActorschedError
from tests.manual_clock import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.deadline(30)
STORMS = range(12)


class Struck(Exception):
    """What the weather does."""


class Sailor(Actor):
    """Does whatever the storm wants of it."""

    fatal: ClassVar[tuple[type[BaseException], ...]] = (ZeroDivisionError,)

    def __init__(self, storm: Storm, depth: int) -> None:
        self.storm = storm
        self.depth = depth

    async def on_start(self) -> None:
        storm = self.storm
        await storm.turns(3)
        if storm.happens(0.08):
            raise Struck("at the start")
        for _ in range(storm.random.randrange(3) if self.depth else 0):
            restart: Any = storm.random.choice(["permanent", "transient", "temporary"])
            storm.crew.append(await current().spawn(Sailor, storm, self.depth - 1, restart=restart))
        if storm.happens(0.2):
            current().every(0.002, Sailor.work, 1)

    async def on_stop(self, reason: object) -> None:
        await self.storm.turns(3)
        if self.storm.happens(0.05):
            raise Struck("at the end")

    async def work(self, turns: int) -> int:
        if self.storm.happens(0.1):
            current().defer(self.storm.turns, 2)
        await settle(turns)
        return turns

    async def fail(self, error: BaseException) -> None:
        await self.storm.turns(2)
        raise error

    async def pass_on(self) -> None:
        await self.storm.act()

    async def count(self, items: int) -> AsyncIterator[int]:
        try:
            for number in range(items):
                await self.storm.turns(1)
                if self.storm.happens(0.05):
                    raise Struck("in a stream")
                yield number
        finally:
            await self.storm.turns(1)

    async def scopes(self) -> None:
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(self.storm.turns, 2)

    async def clean_up(self) -> None:
        try:
            await anyio.sleep(0.002)
        finally:
            with anyio.CancelScope(shield=True):
                await self.storm.turns(2)

    async def hold(self) -> None:
        await anyio.sleep_forever()


class Storm:
    """Where chance comes from, who is out in it, and what may happen."""

    def __init__(self, number: int) -> None:
        self.random = Random(number)
        self.crew: list[ActorRef[Sailor]] = []
        self.depth = 0
        self.calmed = 0

    def happens(self, chance: float) -> bool:
        return self.random.random() < chance

    async def turns(self, most: int) -> None:
        await settle(self.random.randrange(most + 1))

    async def act(self) -> None:
        """One thing, to one of the crew; some lead to more, but not for ever."""
        if self.depth > 6:
            return
        self.depth += 1
        try:
            await self.random.choice(self._acts())(self.random.choice(self.crew))
        finally:
            self.depth -= 1

    def _acts(self) -> list[Callable[[ActorRef[Sailor]], Awaitable[object]]]:
        turns = self.random.randrange(4)
        return [
            lambda who: who.ask.work(turns),
            lambda who: who.ask.pass_on(),
            lambda who: who.ask.scopes(),
            lambda who: who.ask.clean_up(),
            lambda who: who.ask.fail(self.random.choice([Struck(), ZeroDivisionError()])),
            lambda who: who.asking(timeout=self.random.choice([0, 0.001, 1]), priority=turns).work(turns),
            lambda who: who.telling(Sailor.work, turns),
            self._tell,
            self._read,
            self._read,
            self._give_up,
            self._end,
            self._link,
        ]

    async def _tell(self, who: ActorRef[Sailor]) -> None:
        if self.happens(0.5):
            who.tell(Sailor.fail, Struck())
        else:
            who.tell(Sailor.work, 1)

    async def _read(self, who: ActorRef[Sailor]) -> None:
        stream: Any = who.asking(timeout=self.random.choice([None, None, 0.001])).count(4)
        async for _ in stream:
            if self.happens(0.2):
                break
            if self.happens(0.3):
                await self.act()
        if self.happens(0.5):
            await stream.aclose()

    async def _give_up(self, who: ActorRef[Sailor]) -> None:
        with anyio.move_on_after(self.random.choice([0, 0.001])):
            await (who.ask.hold() if self.happens(0.5) else self.act())

    async def _end(self, who: ActorRef[Sailor]) -> None:
        if self.happens(0.3):
            await self.random.choice([who.stop, who.kill])()

    async def _link(self, who: ActorRef[Sailor]) -> None:
        who.link(self.random.choice(self.crew))

    async def one(self) -> None:
        """Somebody who does a few things, for as long as the patience lasts."""
        try:
            with anyio.move_on_after(self.random.choice([0.001, 0.01, 0.2])):
                for _ in range(4):
                    await self.act()
        except (ActorschedError, Struck, ZeroDivisionError):
            pass
        finally:
            self.calmed += 1

    async def crew_up(self, scope: Any) -> None:
        rules: tuple[Any, ...] = ("wait", "raise", "drop_oldest", "drop_newest")
        while not self.crew:
            for rule in rules:
                mailbox = Mailbox(self.random.choice([None, 2, 5]), rule)
                try:
                    self.crew.append(await scope.spawn(Sailor, self, 2, mailbox=mailbox))
                except Struck:
                    pass

    def supervise(self) -> Supervise:
        strategies: tuple[Any, ...] = ("one_for_one", "one_for_all", "rest_for_one")
        return Supervise(self.random.choice(strategies), max_restarts=self.random.choice([5, 10_000]))

    def check(self, rt: Runtime) -> None:
        """What must hold when it is over."""
        kernel = rt._system.kernel
        office = kernel.office
        assert office.sent == office.handled + office.rejected + office.dead_lettered
        assert kernel.timers == 0
        for who in self.crew:
            cell = who._cell
            assert not who.alive, cell
            assert cell.turn is None, cell
            assert not cell.waits, cell
            assert cell.extras is None or not (
                cell.extras.streams or cell.extras.resuming or cell.extras.timers
            )


@pytest.mark.parametrize("number", STORMS)
@pytest.mark.parametrize("seeded", [False, True])
async def test_after_a_storm_everybody_was_answered_and_nothing_is_left(number: int, seeded: bool) -> None:
    storm = Storm(number)
    async with Runtime(seed=number if seeded else None) as rt:
        try:
            async with rt.scope(storm.supervise()) as scope:
                await storm.crew_up(scope)
                async with anyio.create_task_group() as group:
                    for _ in range(60):
                        group.start_soon(storm.one)
                        await storm.turns(1)
                    if storm.happens(0.2):
                        group.cancel_scope.cancel()
                assert storm.calmed == 60
        except* (Struck, ZeroDivisionError, ActorschedError):
            pass  # they failed too often, and it was escalated
        await settle()
        storm.check(rt)
    assert not rt._system.kernel.carriers


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", STORMS)
async def test_a_storm_of_asyncios_own_cancellations_leaves_nothing_either(number: int) -> None:
    storm = Storm(1000 + number)
    async with Runtime() as rt:
        try:
            async with rt.scope(storm.supervise()) as scope:
                await storm.crew_up(scope)
                tasks = []
                for _ in range(60):
                    tasks.append(asyncio.ensure_future(storm.one()))
                    await storm.turns(1)
                    storm.random.choice(tasks).cancel()
                while any(not task.done() for task in tasks):
                    storm.random.choice(tasks).cancel()
                    await asyncio.wait(tasks, timeout=0.001)
                assert [task for task in tasks if not task.cancelled() and task.exception()] == []
        except* (Struck, ZeroDivisionError, ActorschedError):
            pass
        await settle()
        storm.check(rt)
    assert not rt._system.kernel.carriers

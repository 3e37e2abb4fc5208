"""Mailboxes, explored: every rule of overflow, priorities, order, who gives up, and where each message went.

The scenarios keep books of their own: who has sent what, and what became of it. At any moment as many
messages have to be under way as were sent and have not ended; and when all is over, each has had one fate,
which is the one that its sender was told of.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import pytest

from actorsched import (
    Actor,
    ActorRef,
    ActorStopped,
    AskCycle,
    Mailbox,
    MailboxFull,
    Runtime,
    Supervise,
    TaskCancelled,
    TaskRef,
    sleep,
)
from tests.explored.exploration import explored

if TYPE_CHECKING:
    from actorsched.messages import DeadLetter
    from actorsched.testing import Simulation

Mark: TypeAlias = "tuple[int, int]"
"""A message: whose, and which of theirs."""
Rule: TypeAlias = Literal["wait", "raise", "drop_oldest", "drop_newest"]
RULES: tuple[Rule, ...] = ("wait", "raise", "drop_oldest", "drop_newest")
PAUSES = (0.0, 0.0, 0.003, 0.02, 0.11)
MANY = Supervise(max_restarts=1000)


pytestmark = pytest.mark.deadline(120)


@pytest.fixture(autouse=True)
def _no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of actors fail here on purpose; nobody wants to read of each."""
    caplog.set_level(logging.CRITICAL + 1, logger="actorsched")


# ------------------------------------------------------------------------------------------- all mixed


class Ledger:
    """What senders were told of their messages, and what the actor did with them."""

    def __init__(self) -> None:
        self.told: dict[Mark, str] = {}
        self.priority: dict[Mark, int] = {}
        self.begun: list[Mark] = []
        self.finished: set[Mark] = set()
        self.letters: dict[Mark, str] = {}
        self.active = 0
        self.running = 0

    @contextmanager
    def handling(self, mark: Mark) -> Generator[None]:
        assert mark not in self.begun, f"{mark} is handled twice"
        self.begun.append(mark)
        self.active += 1
        try:
            with self.running_alone():
                yield
            self.finished.add(mark)
        finally:
            self.active -= 1

    @contextmanager
    def running_alone(self) -> Generator[None]:
        assert self.running == 0, "two handlers run at a time"
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def collect(self, letters: AsyncIterator[DeadLetter]) -> None:
        async for letter in letters:
            mark: Mark = letter.args[:2]
            assert mark not in self.letters, f"{mark} is dead twice"
            self.letters[mark] = letter.reason

    def check_order(self) -> None:
        """Per sender and priority, messages begin in the order in which they were sent."""
        last: dict[tuple[int, int], int] = {}
        for sender, number in self.begun:
            lane = sender, self.priority[sender, number]
            assert last.get(lane, -1) < number, f"{number} of {lane} came after {last[lane]}"
            last[lane] = number

    def check_fates(self, rule: str) -> None:
        for mark, told in self.told.items():
            begun, reason = mark in self.begun, self.letters.get(mark)
            assert not (begun and reason), f"{mark} was handled, and is a dead letter: {reason}"
            fate = "begun" if begun else reason or "nowhere"
            assert fate in _POSSIBLE[told], f"{mark}, of which its sender was told {told}, is {fate}"
            assert told != "answered" or mark in self.finished
            assert fate != "dropped" or rule.startswith("drop")
            assert told != "refused" or rule in ("wait", "raise")

    def check_counts(self, rt: Runtime) -> None:
        messages = rt.stats().messages
        taken_back = sum(reason in ("expired", "withdrawn") for reason in self.letters.values())
        refused = sum(told == "refused" for told in self.told.values())
        assert messages.handled == len(self.begun)
        assert messages.rejected == refused + taken_back
        assert messages.dead_lettered == len(self.letters) - taken_back
        assert messages.pending == 0


_ENDED = frozenset({"stopped", "killed", "failed", "shutdown"})
_POSSIBLE: dict[str, frozenset[str]] = {
    "told": frozenset({"begun", "dropped", "full", "lost"}) | _ENDED,
    "answered": frozenset({"begun"}),
    "failed": frozenset({"begun"}),
    "refused": frozenset({"nowhere"}),
    "dropped": frozenset({"dropped"}),
    "late": frozenset({"begun", "expired"}),
    "ended": frozenset({"begun"}) | _ENDED,
    "given up": frozenset({"begun", "withdrawn", "expired", "nowhere", "dropped"}) | _ENDED,
    "left": frozenset({"begun"}),
}


class Box(Actor):
    """Does what it is told, and has it written down."""

    def __init__(self, ledger: Ledger, slow_start: float) -> None:
        self._ledger = ledger
        self._slow_start = slow_start

    async def on_start(self) -> None:
        with self._ledger.running_alone():
            if self._slow_start:
                await sleep(self._slow_start)

    async def take(self, sender: int, number: int, pause: float) -> Mark:
        with self._ledger.handling((sender, number)):
            if pause:
                await sleep(pause)
        return sender, number

    async def fail(self, sender: int, number: int, pause: float) -> None:
        with self._ledger.handling((sender, number)):
            if pause:
                await sleep(pause)
            self._ledger.finished.add((sender, number))
            raise LookupError(f"as {sender} wants it, {number}")

    async def items(self, sender: int, number: int, count: int) -> AsyncIterator[int]:
        ledger = self._ledger
        assert (sender, number) not in ledger.begun
        ledger.begun.append((sender, number))
        ledger.active += 1
        try:
            for item in range(count):
                with ledger.running_alone():
                    await sleep(0.001 * (item % 2))
                yield item
            ledger.finished.add((sender, number))
        finally:
            ledger.active -= 1


class Sender:
    """Somebody who sends all kinds of messages, one after the other."""

    def __init__(self, who: int, ledger: Ledger, ref: ActorRef[Box], simulation: Simulation) -> None:
        self.who = who
        self.ledger = ledger
        self.ref = ref
        self.simulation = simulation
        self.random = simulation.random

    async def send(self, count: int) -> None:
        ways: list[Callable[[Mark], Awaitable[str]]] = [
            *(self.tell, self.tell, self.telling, self.telling, self.tell_to_fail),
            *(self.ask, self.ask_urgently, self.ask_in_a_hurry, self.ask_to_fail, self.stream, self.give_up),
        ]
        for number in range(count):
            mark = self.who, number
            self.ledger.priority[mark] = 3
            self.ledger.told[mark] = "given up"  # unless it is told otherwise
            way = self.random.choice(ways)
            try:
                self.ledger.told[mark] = await way(mark)
            except MailboxFull as error:
                self.ledger.told[mark] = "dropped" if "was dropped" in str(error) else "refused"
            except TimeoutError:
                self.ledger.told[mark] = "late"
            except ActorStopped:
                self.ledger.told[mark] = "ended"
            if pause := self.random.choice(PAUSES):
                await sleep(pause)

    @property
    def pause(self) -> float:
        return self.random.choice(PAUSES)

    async def tell(self, mark: Mark) -> str:
        self.ref.tell(Box.take, *mark, self.pause)
        return "told"

    async def tell_to_fail(self, mark: Mark) -> str:
        self.ref.tell(Box.fail, *mark, self.pause)
        return "told"

    async def telling(self, mark: Mark) -> str:
        await self.ref.telling(Box.take, *mark, self.pause)
        return "told"

    async def ask(self, mark: Mark) -> str:
        assert await self.ref.ask.take(*mark, self.pause) == mark
        return "answered"

    async def ask_urgently(self, mark: Mark) -> str:
        self.ledger.priority[mark] = urgency = self.random.choice((0, 2, 4, 6))
        assert await self.ref.asking(priority=urgency).take(*mark, self.pause) == mark
        return "answered"

    async def ask_in_a_hurry(self, mark: Mark) -> str:
        patience = self.random.choice((0.0, 0.004, 0.05))
        with self.no_longer_than(patience):
            assert await self.ref.asking(timeout=patience).take(*mark, self.pause) == mark
        return "answered"

    @contextmanager
    def no_longer_than(self, patience: float) -> Generator[None]:
        """Whoever gives up waits no longer: what it has asked for is cancelled at once."""
        begun = self.simulation.now
        try:
            yield
        finally:
            took = self.simulation.now - begun
            assert took <= patience + 1e-6, f"it took {took} s to give up after {patience} s"

    async def ask_to_fail(self, mark: Mark) -> str:
        with pytest.raises(LookupError):
            await self.ref.ask.fail(*mark, self.pause)
        return "failed"

    async def stream(self, mark: Mark) -> str:
        count, enough = self.random.randrange(4), self.random.randrange(1, 5)
        read = 0
        stream: Any = self.ref.ask.items(*mark, count)
        async for item in stream:
            assert item == read
            read += 1
            if pause := self.pause:
                await sleep(pause)
            if read == enough:
                await stream.aclose()
                return "left"
        assert read == count
        return "answered"

    async def give_up(self, mark: Mark) -> str:
        import anyio

        way = self.random.choice((self.ask, self.ask_urgently, self.telling, self.stream))
        patience = self.random.choice((0.0, 0.002, 0.03))
        if way == self.stream:  # which may have to wait for its turn before it can be closed
            with anyio.move_on_after(patience):
                return await way(mark)
        else:
            with self.no_longer_than(patience), anyio.move_on_after(patience):
                return await way(mark)
        return "given up"


def tell_from_a_thread(ledger: Ledger, ref: ActorRef[Box], who: int, count: int) -> None:
    for number in range(count):
        mark = who, number
        ledger.priority[mark] = 3
        ref.tell(Box.take, *mark, 0.0)
        ledger.told[mark] = "told"


async def all_kinds_of_senders(simulation: Simulation) -> None:
    random, ledger = simulation.random, Ledger()
    rule, capacity = random.choice(RULES), random.choice((1, 1, 2, 3, 8, None))
    faulty = random.random() < 0.5
    async with simulation.runtime() as rt:
        reading = await rt.spawn(ledger.collect, rt.dead_letters())
        async with rt.scope(MANY) as scope:
            box = await scope.spawn(
                Box, ledger, random.choice(PAUSES), mailbox=Mailbox(capacity, rule), restart="permanent"
            )
            if faulty:
                simulation.faults(drop=0.1, delay=0.2, reorder=random.random() < 0.5)
            _always_accounted_for(simulation, rt, box, ledger, capacity)
            senders = [
                await scope.spawn(Sender(who, ledger, box, simulation).send, random.randrange(1, 7))
                for who in range(random.randrange(1, 5))
            ]
            if random.random() < 0.2:
                senders.append(await scope.spawn(tell_from_a_thread, ledger, box, 9, 4, host="thread"))
            end = random.choice(("after", "stop", "kill", "cancelled senders"))
            if end == "cancelled senders":
                await sleep(random.choice(PAUSES))
                for sender in senders:
                    if random.random() < 0.7:
                        await sender.cancel()
            if end in ("stop", "kill"):
                await sleep(random.choice((0.0, 0.02, 0.2)))
                await _end(random, ledger, box, end)
            for sender in senders:
                await sender.outcome()
            await box.stop()
        await simulation.run_until_idle()
        await reading.cancel()
        assert ledger.active == ledger.running == box.queued == 0
        ledger.check_order()
        ledger.check_fates(rule)
        ledger.check_counts(rt)


def _always_accounted_for(
    simulation: Simulation, rt: Runtime, box: ActorRef[Box], ledger: Ledger, capacity: int | None
) -> None:
    office = rt._system.kernel.office  # what `rt.stats()` tells of messages, without all the rest

    def under_way() -> bool:
        pending = office.sent - office.handled - office.rejected - office.dead_lettered
        return pending == box.queued + ledger.active

    simulation.always(under_way, "sent = handled + rejected + dead-lettered + those under way")
    if capacity is not None:
        simulation.always(lambda: box.queued <= capacity, "no more are queued than its capacity")


async def _end(random: Random, ledger: Ledger, box: ActorRef[Box], how: str) -> None:
    """End the actor, while others send: what it has taken before a stop is handled."""
    told = {mark for mark, told in ledger.told.items() if told == "told"} - {*ledger.begun}
    waiting = [mark for mark in told if mark[0] != 9]  # what a thread tells comes a little later
    if how == "kill":
        await box.kill()
        assert ledger.active == ledger.running == 0
    else:
        await box.stop()
        left = [mark for mark in waiting if ledger.letters.get(mark) == "stopped"]
        assert not left, f"stop() left {left} unhandled"
    assert box.queued == 0
    assert not box.alive


def test_whatever_is_sent_has_one_fate_and_its_sender_was_told_of_it() -> None:
    explored(all_kinds_of_senders)


# ------------------------------------------------------------------------------- message by message


class Model:
    """A mailbox as one would explain it: a list."""

    def __init__(self, capacity: int | None, rule: str) -> None:
        self.capacity = capacity
        self.rule = rule
        self.queue: list[tuple[int, int]] = []  # priority, number
        self.room: deque[tuple[int, int]] = deque()
        self.begun: list[int] = []
        self.dropped: list[int] = []

    @property
    def full(self) -> bool:
        return self.capacity is not None and len(self.queue) >= self.capacity

    def offer(self, number: int, priority: int) -> str:
        message = priority, number
        if not self.full:
            self.queue.append(message)
            return "taken"
        if self.rule == "drop_newest":
            self.dropped.append(number)
            return "dropped"
        if self.rule == "drop_oldest":
            lowest = min(priority for priority, _ in self.queue)
            oldest = next(each for each in self.queue if each[0] == lowest)
            self.queue.remove(oldest)
            self.dropped.append(oldest[1])
            self.queue.append(message)
            return "taken"
        return "refused" if self.rule == "raise" else "waits"

    def take(self, number: int) -> None:
        """The actor begins with a message: it has to be this one."""
        highest = max(priority for priority, _ in self.queue)
        first = next(each for each in self.queue if each[0] == highest)
        assert first[1] == number, f"{number} is handled, but it is the turn of {first[1]}"
        self.queue.remove(first)
        self.begun.append(number)
        self.admit()

    def admit(self) -> None:
        while self.room and not self.full:
            self.queue.append(self.room.popleft())

    def give_up(self, number: int) -> None:
        for where in (self.queue, self.room):
            for each in list(where):
                if each[1] == number:
                    where.remove(each)
        self.admit()


class Modelled(Actor):
    def __init__(self, model: Model) -> None:
        self._model = model

    async def take(self, number: int, pause: float) -> int:
        self._model.take(number)
        if pause:
            await sleep(pause)
        return number


async def asker(box: ActorRef[Modelled], model: Model, number: int, priority: int, pause: float) -> str:
    dropped_before = set(model.dropped)
    verdict = model.offer(number, priority)
    if verdict == "waits":
        model.room.append((priority, number))
    try:
        assert await box.asking(priority=priority).take(number, pause) == number
    except MailboxFull:
        assert verdict == "refused" or number in {*model.dropped} - dropped_before
        return "full"
    except BaseException:
        model.give_up(number)
        raise
    assert verdict in ("taken", "waits")
    assert number in model.begun
    return "answered"


async def message_by_message(simulation: Simulation) -> None:
    random = simulation.random
    model = Model(random.choice((1, 2, 3, 5, None)), random.choice(RULES))
    letters: list[int] = []

    async def collect(dead: AsyncIterator[DeadLetter]) -> None:
        async for letter in dead:
            if letter.reason == "dropped":
                letters.append(letter.args[0])

    async with simulation.runtime() as rt:
        reading = await rt.spawn(collect, rt.dead_letters())
        box = await rt.spawn(Modelled, model, mailbox=Mailbox(model.capacity, cast("Rule", model.rule)))
        simulation.always(lambda: box.queued == len(model.queue), "as many are queued as the model says")
        asking: list[TaskRef[str]] = []
        for number in range(random.randrange(4, 16)):
            match random.randrange(8):
                case 0 | 1 | 2:
                    tell_as_modelled(box, model, number, random.choice(PAUSES))
                case 3 if asking:
                    asking[random.randrange(len(asking))].cancel_nowait()
                    await simulation.run_until_idle()
                case _:
                    priority = random.choice((0, 3, 3, 3, 5))
                    pause = random.choice(PAUSES)
                    asking.append(await rt.spawn(asker, box, model, number, priority, pause))
            if random.random() < 0.5:
                await sleep(random.choice(PAUSES))
        for each in asking:
            error = (await each.outcome()).error
            assert error is None or isinstance(error, TaskCancelled), error
        await box.stop()
        assert not model.queue
        assert not model.room
        await simulation.run_until_idle()
        await reading.cancel()
        assert letters == model.dropped
        assert rt.stats().messages.handled == len(model.begun)


def tell_as_modelled(box: ActorRef[Modelled], model: Model, number: int, pause: float) -> None:
    verdict = model.offer(number, 3)
    try:
        box.tell(Modelled.take, number, pause)
    except MailboxFull:
        assert verdict in ("refused", "waits")
    else:
        assert verdict in ("taken", "dropped")


def test_a_mailbox_takes_drops_refuses_and_orders_messages_as_a_list_would() -> None:
    explored(message_by_message)


# ----------------------------------------------------------------------------- actors among themselves


class Hub:
    """Who is where: each parcel goes along a path of actors, and somebody waits for its return."""

    def __init__(self) -> None:
        self.refs: list[ActorRef[Node]] = []
        self.passed: Counter[int] = Counter()
        self.told: Counter[int] = Counter()
        self.taken: dict[tuple[int, int], list[int]] = {}
        self.circles: list[tuple[str, ...]] = []


class Node(Actor):
    """Passes parcels on."""

    def __init__(self, hub: Hub, where: int) -> None:
        self._hub = hub
        self._where = where

    async def carry(self, path: tuple[int, ...], pause: float) -> int:
        if pause:
            await sleep(pause)
        self._hub.passed[self._where] += 1
        if not path:
            return 1
        return 1 + await self._hub.refs[path[0]].ask.carry(path[1:], pause)

    async def notify(self, path: tuple[int, ...], pause: float) -> None:
        if pause:
            await sleep(pause)
        for each in path:
            try:
                await self._hub.refs[each].telling(Node.note, self._where, self._hub.told[self._where])
            except AskCycle as error:  # it has no room before this one answers
                self._hub.circles.append(error.path)
            else:
                self._hub.told[self._where] += 1

    async def note(self, sender: int, number: int) -> None:
        self._hub.taken.setdefault((sender, self._where), []).append(number)


async def actors_that_ask_each_other(simulation: Simulation) -> None:
    """Nobody waits for ever: an answer comes, or the circle is named."""
    random, hub = simulation.random, Hub()
    count = random.randrange(2, 5)

    async def travel(path: tuple[int, ...], pause: float) -> None:
        try:
            assert await hub.refs[path[0]].ask.carry(path[1:], pause) == len(path)
        except AskCycle as error:
            hub.circles.append(error.path)

    async with simulation.runtime() as rt:
        for where in range(count):
            size = random.choice((1, 1, 2, None))
            hub.refs.append(await rt.spawn(Node, hub, where, name=f"n{where}", mailbox=Mailbox(size)))
        straight = random.random() < 0.4
        if random.random() < 0.3:
            simulation.faults(delay=0.3, reorder=True)
        trips = []
        for _ in range(random.randrange(2, 7)):
            path = tuple(random.randrange(count) for _ in range(random.randrange(1, 5)))
            if straight:
                path = tuple(sorted(set(path)))
            trips.append(await rt.spawn(travel, path, random.choice(PAUSES)))
            if random.random() < 0.3:
                target = random.randrange(count)
                later = tuple(each for each in range(target + 1, count) for _ in range(2))
                await hub.refs[target].telling(Node.notify, later, random.choice(PAUSES))
        for trip in trips:
            await trip
        for ref in hub.refs:
            await ref.stop()
    assert not (straight and hub.circles), f"nobody asks back, but there are {hub.circles}"
    for circle in hub.circles:
        assert circle[0] == circle[-1], circle
        assert len(circle) >= 2, circle
    for (sender, _), numbers in hub.taken.items():
        assert numbers == sorted(numbers), f"what {sender} sent came as {numbers}"
    assert sum(map(len, hub.taken.values())) == sum(hub.told.values())


def test_actors_that_ask_each_other_are_answered_or_told_of_the_circle() -> None:
    explored(actors_that_ask_each_other)

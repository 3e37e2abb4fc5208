"""Telling actors: full mailboxes, dead letters, threads, contexts, and the counts of all messages."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import deque
from contextvars import ContextVar, copy_context
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from actorsched import Actor, ActorRef, Mailbox, Runtime, current
from actorsched.exceptions import ActorschedError, ActorStopped, AskCycle, MailboxFull
from tests.manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from actorsched.messages import DeadLetter

pytestmark = pytest.mark.deadline(4)

BASKET: ContextVar[list[str]] = ContextVar("BASKET")


class Recorder(Actor):
    """Writes down what it is sent; waits at its gate when it is told to."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.gate = anyio.Event()

    async def note(self, what: object) -> object:
        self.log.append(what)
        return what

    async def wait(self) -> None:
        await self.gate.wait()

    async def fail(self) -> None:
        raise OSError("told to")

    async def numbers(self) -> Any:
        yield 1


def instance(ref: ActorRef[Any]) -> Any:
    return ref._cell.instance


def letters(rt: Runtime) -> deque[DeadLetter]:
    """The dead letters from now on."""
    reader: deque[DeadLetter] = deque()
    rt._system.kernel.office.subscribe(reader)
    return reader


async def busy(rt: Runtime, capacity: int | None = None, overflow: Any = "wait") -> ActorRef[Recorder]:
    """An actor that waits at its gate, with a mailbox of that kind."""
    ref = await rt.spawn(Recorder, mailbox=Mailbox(capacity, overflow))
    ref.tell(Recorder.wait)
    await settle()
    return ref


async def released(ref: ActorRef[Recorder]) -> list[object]:
    """What an actor has noted when it has worked off its mailbox."""
    recorder: Recorder = instance(ref)
    recorder.gate.set()
    await ref.stop()
    return recorder.log


def adds_up(rt: Runtime) -> bool:
    office = rt._system.kernel.office
    return office.sent == office.handled + office.rejected + office.dead_lettered


# --------------------------------------------------------------------------------------------------- telling


async def test_a_told_message_is_handled_and_nobody_waits_for_it() -> None:
    async with Runtime() as rt:
        recorder = await rt.spawn(Recorder)
        assert recorder.tell(Recorder.note, 1) is None
        assert instance(recorder).log == []
        await settle()
        assert instance(recorder).log == [1]


async def test_telling_comes_back_when_the_message_is_in_the_mailbox() -> None:
    async with Runtime() as rt:
        recorder = await busy(rt)
        await recorder.telling(Recorder.note, 1)
        assert recorder.queued == 1
        await released(recorder)


async def test_an_inherited_and_an_overridden_handler_can_be_told() -> None:
    class Loud(Recorder):
        async def note(self, what: object) -> object:
            return await super().note(str(what).upper())

    async with Runtime() as rt:
        recorder = await rt.spawn(Loud)
        recorder.tell(Recorder.note, "a")
        recorder.tell(Loud.note, "b")
        await recorder.ask.note("c")
        assert instance(recorder).log == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("handler", "args", "message"),
    [
        ("note", (1,), "'note' is no handler of Recorder; send one as in ref.tell"),
        (Recorder.__init__, (), "Recorder has no handler '__init__'"),
        (Recorder.on_start, (), "Recorder has no handler 'on_start'"),
        (Actor.on_stop, (), "Recorder has no handler 'on_stop'"),
        (len, (), "<built-in function len> is no handler of Recorder"),
        (lambda self: None, (), "is no handler of Recorder"),
        (Recorder.numbers, (), "numbers streams its reply, so it cannot be told; iterate over it"),
        (Recorder.note, (), "Recorder.note.* was sent wrong arguments: missing a required argument: 'what'"),
        (Recorder.note, (1, 2), "too many positional arguments"),
        ([], (), "is no handler of Recorder|unhashable"),
    ],
)
async def test_what_cannot_be_told_is_refused_at_the_call(handler: Any, args: Any, message: str) -> None:
    async with Runtime() as rt:
        recorder = await rt.spawn(Recorder)
        with pytest.raises(TypeError, match=message):
            recorder.tell(handler, *args)
        with pytest.raises(TypeError, match=message):
            await recorder.telling(handler, *args)
        assert rt._system.kernel.office.sent == 0


# -------------------------------------------------------------------------------------- four rules, when full


async def test_wait_tell_raises_and_telling_and_ask_wait_for_room() -> None:
    async with Runtime() as rt:
        recorder = await busy(rt, 2)
        recorder.tell(Recorder.note, 1)
        recorder.tell(Recorder.note, 2)
        with pytest.raises(MailboxFull, match="note of actor 'Recorder-.*holds 2 messages") as caught:
            recorder.tell(Recorder.note, "lost")
        assert caught.value.capacity == 2
        async with anyio.create_task_group() as group:
            group.start_soon(recorder.telling, Recorder.note, 3)
            await settle()
            group.start_soon(recorder.ask.note, 4)
            await settle()
            assert recorder.queued == 2
            assert await released(recorder) == [1, 2, 3, 4]
        assert adds_up(rt)


async def test_raise_refuses_all_three() -> None:
    async with Runtime() as rt:
        recorder = await busy(rt, 1, "raise")
        recorder.tell(Recorder.note, 1)
        with pytest.raises(MailboxFull):
            recorder.tell(Recorder.note, 2)
        with pytest.raises(MailboxFull):
            await recorder.telling(Recorder.note, 3)
        with pytest.raises(MailboxFull):
            await recorder.ask.note(4)
        assert await released(recorder) == [1]
        assert adds_up(rt)


async def test_drop_oldest_keeps_what_comes_and_whoever_asked_for_the_dropped_hears_of_it() -> None:
    async with Runtime() as rt:
        recorder, dead = await busy(rt, 2, "drop_oldest"), letters(rt)
        async with anyio.create_task_group() as group:
            group.start_soon(_is_dropped, recorder)
            await settle()
            for number in range(4):
                recorder.tell(Recorder.note, number)
            await recorder.telling(Recorder.note, 4)
        assert await released(recorder) == [3, 4]
        assert [(letter.args, letter.reason) for letter in dead] == [
            (("asked",), "dropped"),
            ((0,), "dropped"),
            ((1,), "dropped"),
            ((2,), "dropped"),
        ]
        assert adds_up(rt)


async def _is_dropped(recorder: ActorRef[Recorder]) -> None:
    with pytest.raises(MailboxFull, match="was dropped: the mailbox was full, and its rule is"):
        await recorder.ask.note("asked")


async def test_drop_newest_drops_what_comes_and_whoever_asked_hears_of_it() -> None:
    async with Runtime() as rt:
        recorder, dead = await busy(rt, 1, "drop_newest"), letters(rt)
        recorder.tell(Recorder.note, 1)
        recorder.tell(Recorder.note, 2)
        await recorder.telling(Recorder.note, 3)
        await _is_dropped(recorder)
        assert await released(recorder) == [1]
        assert [letter.args for letter in dead] == [(2,), (3,), ("asked",)]
        assert adds_up(rt)


async def test_the_classs_mailbox_is_used_and_an_option_overrides_it() -> None:
    class Tight(Recorder):
        mailbox = Mailbox(capacity=1, overflow="raise")

    async with Runtime() as rt:
        tight, wide = await rt.spawn(Tight), await rt.spawn(Tight, mailbox=Mailbox(capacity=None))
        tight.tell(Tight.note, 1)
        with pytest.raises(MailboxFull):
            tight.tell(Tight.note, 2)
        for number in range(2000):
            wide.tell(Tight.note, number)


async def test_room_is_given_in_order_as_soon_as_a_message_is_taken_out() -> None:
    async with Runtime() as rt:
        recorder = await busy(rt, 1)
        order: list[int] = []

        async def tell(number: int) -> None:
            await recorder.telling(Recorder.wait)
            order.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(tell, number)
                await settle()
            assert order == [0], "one is queued, and the first is being handled"
            instance(recorder).gate.set()
        assert order == [0, 1, 2]


async def test_a_handler_that_waits_leaves_its_room_to_the_next() -> None:
    async with Runtime() as rt:
        recorder = await busy(rt, 1)
        await recorder.telling(Recorder.note, 1)
        assert recorder.queued == 1
        await released(recorder)


async def test_a_sender_that_gives_up_waiting_for_room_leaves_no_message() -> None:
    async with Runtime() as rt:
        recorder, dead = await busy(rt, 1), letters(rt)
        recorder.tell(Recorder.note, 1)
        with anyio.move_on_after(0):
            await recorder.telling(Recorder.note, 2)
        with anyio.move_on_after(0):
            await recorder.ask.note(3)
        assert await released(recorder) == [1]
        assert [letter.reason for letter in dead] == ["withdrawn", "withdrawn"]
        assert adds_up(rt)


async def test_asks_that_expire_while_they_wait_for_room_leave_nothing_behind() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        recorder, dead = await busy(rt, 1), letters(rt)
        recorder.tell(Recorder.note, 1)

        async def ask() -> None:
            with pytest.raises(TimeoutError):
                await recorder.asking(timeout=1).note(2)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(ask)
            await clock.passes(1)
        assert not recorder._cell.more().room
        assert {letter.reason for letter in dead} == {"expired"}
        assert await released(recorder) == [1]
        assert adds_up(rt)


async def test_telling_oneself_into_a_full_mailbox_is_refused_instead_of_waiting_for_ever() -> None:
    class Busy(Recorder):
        async def tell_itself(self) -> str:
            me = current().ref
            me.tell(Recorder.note, 1)
            try:
                await me.telling(Recorder.note, 2)
            except AskCycle as error:
                return str(error.path)
            return "went on"

    async with Runtime() as rt:
        busy_one = await rt.spawn(Busy, name="b", mailbox=Mailbox(capacity=1))
        assert await busy_one.ask.tell_itself() == "('b', 'b')"
        assert await busy_one.ask.note(3) == 3
        assert instance(busy_one).log == [1, 3]
        assert adds_up(rt)


# ----------------------------------------------------------------------------------------------- dead letters


async def test_a_message_to_an_actor_that_has_ended_is_a_dead_letter() -> None:
    async with Runtime() as rt:
        recorder, dead = await rt.spawn(Recorder, name="r"), letters(rt)
        await recorder.stop()
        recorder.tell(Recorder.note, 1)
        await recorder.telling(Recorder.note, what=2)
        assert [(each.actor, each.handler, each.args, dict(each.kwargs), each.reason) for each in dead] == [
            ("r", "note", (1,), {}, "stopped"),
            ("r", "note", (), {"what": 2}, "stopped"),
        ]
        assert adds_up(rt)


async def test_dead_letters_say_who_sent_them() -> None:
    class Sender(Actor):
        async def send(self, to: ActorRef[Recorder]) -> None:
            to.tell(Recorder.note, 1)

    async with Runtime() as rt:
        recorder, sender, dead = await rt.spawn(Recorder), await rt.spawn(Sender, name="s"), letters(rt)
        await recorder.kill()
        await sender.ask.send(recorder)
        assert [(each.sender, each.reason) for each in dead] == [("s", "killed")]


async def test_a_killed_actor_answers_whoever_is_queued_or_waits_for_room() -> None:
    async with Runtime() as rt:
        recorder, dead = await busy(rt, 1), letters(rt)
        outcomes: list[object] = []

        async def ask(number: int) -> None:
            try:
                outcomes.append(await recorder.ask.note(number))
            except ActorStopped as error:
                outcomes.append(error.reason)

        async def tell() -> None:
            await recorder.telling(Recorder.note, 9)
            outcomes.append("told")

        async with anyio.create_task_group() as group:
            group.start_soon(ask, 1)
            await settle()
            group.start_soon(ask, 2)
            group.start_soon(tell)
            await settle()
            await recorder.kill()
        assert sorted(map(str, outcomes)) == ["killed", "killed", "told"]
        assert len(dead) == 3
        assert adds_up(rt)


# -------------------------------------------------------------------------------------------------- threads


async def test_any_thread_may_tell_and_each_keeps_its_order() -> None:
    async with Runtime() as rt:
        recorder = await rt.spawn(Recorder, mailbox=Mailbox(capacity=None))

        def work(name: str) -> None:
            for number in range(500):
                recorder.tell(Recorder.note, (name, number))

        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            recorder.tell(Recorder.note, ("loop", 0))
            await anyio.lowlevel.checkpoint()
        for thread in threads:
            thread.join()
        await anyio.to_thread.run_sync(recorder.tell, Recorder.note, "last")
        while "last" not in instance(recorder).log:
            await anyio.lowlevel.checkpoint()
        log = [each for each in instance(recorder).log if isinstance(each, tuple)]
        for name in "abc":
            assert [number for who, number in log if who == name] == list(range(500))
        assert adds_up(rt)


async def test_what_a_thread_tells_a_full_mailbox_is_a_dead_letter() -> None:
    async with Runtime() as rt:
        recorder, dead = await busy(rt, 1), letters(rt)
        await anyio.to_thread.run_sync(_tell_two, recorder)
        await settle()
        assert [(letter.args, letter.reason) for letter in dead] == [((2,), "full")]
        assert await released(recorder) == [1]
        assert adds_up(rt)


def _tell_two(recorder: ActorRef[Recorder]) -> None:
    recorder.tell(Recorder.note, 1)
    recorder.tell(Recorder.note, 2)


async def test_wrong_arguments_are_refused_in_the_thread_that_tells() -> None:
    async with Runtime() as rt:
        recorder = await rt.spawn(Recorder)
        with pytest.raises(TypeError, match="was sent wrong arguments"):
            await anyio.to_thread.run_sync(cast("Any", recorder.tell), Recorder.note)


async def test_a_flood_from_threads_does_not_keep_the_loop_to_itself() -> None:
    async with Runtime() as rt:
        recorder = await rt.spawn(Recorder, mailbox=Mailbox(capacity=None))
        kernel, stop = rt._system.kernel, False
        done = 0

        def tell_on() -> None:  # what a thread would do that is quicker than the loop
            nonlocal done
            done += 1
            if not stop:
                kernel.call_threadsafe(tell_on)
                kernel.call_threadsafe(recorder.tell, Recorder.note, done)

        kernel.call_threadsafe(tell_on)
        await settle()
        stop = True
        assert done < 1_000_000  # it would never end if the loop had no turn
        await settle()


# ------------------------------------------------------------------------------------------------- contexts


class Shopper(Actor):
    """Puts things into the basket of its sender's context."""

    async def put(self, what: str) -> None:
        BASKET.get().append(what)

    async def swap(self, what: str) -> None:
        BASKET.set([what])

    async def look(self) -> list[str]:
        return BASKET.get()


async def test_messages_from_different_contexts_see_their_own_values_even_when_these_are_equal() -> None:
    async with Runtime() as rt:
        shopper = await rt.spawn(Shopper)
        mine: list[str] = []
        yours: list[str] = []
        for basket, what in [(mine, "apple"), (yours, "pear"), (mine, "plum")]:
            context = copy_context()
            context.run(BASKET.set, basket)
            context.run(shopper.tell, Shopper.put, what)
        await settle()
        assert (mine, yours) == (["apple", "plum"], ["pear"])


async def test_what_a_handler_sets_is_not_seen_by_the_next_even_when_it_is_equal() -> None:
    async with Runtime() as rt:
        shopper = await rt.spawn(Shopper)
        basket = ["x"]
        BASKET.set(basket)
        shopper.tell(Shopper.swap, "x")
        shopper.tell(Shopper.put, "y")
        shopper.tell(Shopper.swap, "z")
        shopper.tell(Shopper.put, "w")
        assert await shopper.ask.look() is basket
        assert basket == ["x", "y", "w"]


async def test_a_value_that_cannot_be_compared_does_no_harm() -> None:
    class Odd(list[str]):
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    async with Runtime() as rt:
        shopper = await rt.spawn(Shopper)
        for _ in range(2):
            BASKET.set(Odd())
            shopper.tell(Shopper.put, "a")
            assert list(await shopper.ask.look()) == ["a"]


async def test_a_row_sees_the_variables_of_its_sender_and_none_of_the_handlers_before() -> None:
    async with Runtime() as rt:
        shopper = await rt.spawn(Shopper)
        basket: list[str] = []
        BASKET.set(basket)
        for what in "ab":
            shopper.tell(Shopper.put, what)
            shopper.tell(Shopper.swap, what)
        other: list[str] = []
        BASKET.set(other)
        for what in "cd":
            shopper.tell(Shopper.put, what)
        await settle()
        assert (basket, other) == (["a", "b"], ["c", "d"])


# ---------------------------------------------------------------------------------------------------- rows


class Walker(Recorder):
    """Does things that end a row of messages."""

    async def step(self, what: object) -> None:
        await anyio.lowlevel.checkpoint()
        self.log.append(what)

    async def whoami(self, what: object) -> None:
        self.log.append((what, current().name))

    async def leave(self, what: object) -> None:
        self.log.append(what)
        await current().ref.stop()

    async def ignore(self, what: object) -> None:
        pass

    async def trip(self, what: object) -> None:
        raise OSError(what)


async def test_messages_of_all_kinds_are_handled_in_their_order() -> None:
    async with Runtime() as rt:
        walker = await rt.spawn(Walker, name="w")
        expected: list[object] = []
        for number in range(60):
            kind = (Walker.note, Walker.note, Walker.note, Walker.step, Walker.whoami)[number // 3 % 5]
            walker.tell(kind, number)
            expected.append((number, "w") if kind is Walker.whoami else number)
            if number % 11 == 0:
                walker.tell(Walker.note, what="spelled out")
                expected.append("spelled out")
        await walker.ask.note("last")
        assert instance(walker).log == [*expected, "last"]
    assert adds_up(rt)


async def test_the_rest_of_a_row_is_handled_by_the_next_life_of_an_actor_that_failed() -> None:
    async with Runtime() as rt:
        walker = await rt.spawn(Walker)
        first = instance(walker)
        for number in range(3):
            walker.tell(Walker.note, number)
        walker.tell(Walker.trip, "over a stone")
        for number in range(3, 6):
            walker.tell(Walker.note, number)
        assert await walker.ask.note("last") == "last"
        assert (first.log, instance(walker).log) == ([0, 1, 2], [3, 4, 5, "last"])
    assert adds_up(rt)


async def test_an_actor_that_is_stopped_in_a_row_works_off_the_row() -> None:
    async with Runtime() as rt:
        walker = await rt.spawn(Walker)
        recorder = instance(walker)
        for number in range(3):
            walker.tell(Walker.leave, number)
        dead = letters(rt)
        await settle()
        walker.tell(Walker.leave, 3)
        assert recorder.log == [0, 1, 2]
        assert [letter.args for letter in dead] == [(3,)]
    assert adds_up(rt)


async def test_each_letter_of_a_row_is_a_dead_letter_of_its_own() -> None:
    async with Runtime() as rt:
        ref = await busy(rt)
        dead = letters(rt)
        for number in range(3):
            ref.tell(Recorder.note, number)
        await ref.kill()
        assert [(letter.handler, letter.args) for letter in dead] == [("note", (n,)) for n in range(3)]
    assert adds_up(rt)


async def test_a_row_ends_where_the_mailbox_is_full() -> None:
    async with Runtime() as rt:
        ref = await busy(rt, 3, "raise")
        with pytest.raises(MailboxFull):
            for number in range(10):
                ref.tell(Recorder.note, number)
        assert await released(ref) == [0, 1, 2]
    assert adds_up(rt)


async def test_messages_of_higher_priority_take_up_room_too() -> None:
    async with Runtime() as rt, anyio.create_task_group() as group:
        ref = await busy(rt, 3, "raise")
        ref.tell(Recorder.note, "a")
        for _ in range(2):
            group.start_soon(ref.asking(priority=6).note, "urgent")
        await settle()
        with pytest.raises(MailboxFull):
            ref.tell(Recorder.note, "b")
        assert await released(ref) == ["urgent", "urgent", "a"]


async def test_a_wrong_number_of_arguments_is_refused_within_a_row() -> None:
    async with Runtime() as rt:
        ref = await busy(rt)
        ref.tell(Recorder.note, 1)
        tell: Any = ref.tell
        with pytest.raises(TypeError, match="note"):
            tell(Recorder.note, 2, 3)
        ref.tell(Recorder.note, 4)
        assert await released(ref) == [1, 4]


async def test_keyword_arguments_belong_to_one_message_of_a_row() -> None:
    class Pair(Actor):
        def __init__(self) -> None:
            self.log: list[object] = []

        async def put(self, left: str, right: str = "?") -> None:
            self.log.append(left + right)

    async with Runtime() as rt:
        pair = await rt.spawn(Pair)
        dead = letters(rt)
        for _ in range(2):
            pair.tell(Pair.put, "a", right="b")
            pair.tell(Pair.put, "c")
            pair.tell(Pair.put, left="d", right="e")
            pair.tell(Pair.put, "f", "g")
        await settle()
        assert instance(pair).log == ["ab", "c?", "de", "fg"] * 2
        pair.tell(Pair.put, "a", right="b")
        await pair.kill()
        assert [(letter.args, letter.kwargs) for letter in dead] == [(("a",), {"right": "b"})]


async def test_actors_with_long_rows_take_turns() -> None:
    log: list[str] = []

    class Pen(Actor):
        def __init__(self, name: str) -> None:
            self.name = name

        async def write(self) -> None:
            log.append(self.name)

    async with Runtime() as rt:
        for name in "ab":
            pen = await rt.spawn(Pen, name)
            for _ in range(100):
                pen.tell(Pen.write)
        await settle()
        assert len(log) == 200
        longest = max(len(list(group)) for _, group in groupby(log[:150]))
        assert longest < 50


async def test_an_idle_actor_keeps_no_message_alive() -> None:
    class Thing:
        pass

    async with Runtime() as rt:
        walker = await rt.spawn(Walker)
        things = [Thing() for _ in range(3)]
        gone = [weakref.ref(thing) for thing in things]
        for thing in things:
            walker.tell(Walker.ignore, thing)
        del thing
        things.clear()
        await settle()
        gc.collect()
        assert [ref() for ref in gone] == [None] * 3


# -------------------------------------------------------------------------------------------------- storms


class Storm(Actor):
    """Does one thing or another."""

    fatal = (ZeroDivisionError,)
    mailbox = Mailbox(capacity=5)

    async def work(self, steps: int) -> int:
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        return steps

    async def fail(self, error: type[Exception]) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    async def count(self, items: int) -> Any:
        for number in range(items):
            yield number
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", [None, *range(6)])
@pytest.mark.deadline(6)
async def test_after_a_storm_every_message_is_accounted_for_and_everybody_was_answered(
    seed: int | None,
) -> None:
    random = Random(seed or 0)
    async with Runtime(seed=seed) as rt:
        async with rt.scope(_forgiving()) as scope:
            rules: tuple[Any, ...] = ("wait", "raise", "drop_oldest", "drop_newest")
            actors = [await scope.spawn(Storm, mailbox=Mailbox(3, rule)) for rule in rules]
            answered = 0

            async def one() -> None:
                nonlocal answered
                try:
                    with anyio.move_on_after(random.choice([0, 0.001, 5])):
                        await _something(random, actors)
                except (ActorschedError, OSError, ZeroDivisionError):
                    pass
                answered += 1

            async with anyio.create_task_group() as group:
                for _ in range(300):
                    group.start_soon(one)
                    if random.random() < 0.3:
                        await anyio.lowlevel.checkpoint()
            assert answered == 300
        assert adds_up(rt), rt._system.kernel.office
        assert rt._system.kernel.timers == 0


def _forgiving() -> Any:
    from actorsched import Supervise

    return Supervise(max_restarts=100_000)


async def _something(random: Random, actors: list[ActorRef[Storm]]) -> None:
    actor = random.choice(actors)
    match random.randrange(9):
        case 0 | 1:
            await actor.ask.work(random.randrange(4))
        case 2:
            await actor.asking(timeout=random.choice([0, 0.001, 10])).work(random.randrange(4))
        case 3:
            actor.tell(Storm.work, random.randrange(4))
        case 4:
            await actor.telling(Storm.work, random.randrange(4))
        case 5:
            await actor.ask.fail(random.choice([OSError, ZeroDivisionError]))
        case 6:
            actor.tell(Storm.fail, OSError)
        case 7:
            async for _ in actor.ask.count(random.randrange(4)):
                if random.random() < 0.2:
                    break
        case _:
            if random.random() < 0.1:
                await random.choice([actor.stop, actor.kill])()

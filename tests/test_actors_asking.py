"""Asking actors: answers and errors, timeouts, cancellation, priorities, circles, and what is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, cast

import anyio
import pytest

from actorsched import Actor, ActorRef, Mailbox, Priority, Runtime, current
from actorsched.exceptions import (
    ActorStopped,
    AskCycle,
    AskTimeout,
    DeadlockError,
    MailboxFull,
    TaskCancelled,
)
from actorsched.messages import ExitReason, Kill
from tests.manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Counter(Actor):
    """Counts."""

    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        self.value = start
        self.step = step

    async def add(self, amount: int = 1) -> int:
        self.value += amount * self.step
        return self.value

    async def fail(self, error: BaseException) -> None:
        raise error

    async def _private(self) -> None: ...

    def plain(self) -> None: ...


class Gate(Actor):
    """Works only while its gate is open, and writes down what happens."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.log: list[str] = []

    async def work(self, name: str = "work") -> str:
        self.log.append(f"{name} begins")
        try:
            await self.open.wait()
        except BaseException:
            self.log.append(f"{name} is cancelled")
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.log.append(f"{name} is cleaned up")
            raise
        self.log.append(f"{name} ends")
        return name


def instance(ref: ActorRef[Any]) -> Any:
    """The actor behind a ref: tests look."""
    return ref._cell.instance


async def first_line(gate: ActorRef[Gate]) -> None:
    while not instance(gate).log:
        await anyio.lowlevel.checkpoint()


# ---------------------------------------------------------------------------------------- answers and errors


async def test_an_ask_is_answered() -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter, 10)
        assert await counter.ask.add(5) == 15
        assert await counter.ask.add() == 16


async def test_keyword_arguments_reach_constructor_and_handler() -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter, 10, kwargs={"step": 3})
        assert await counter.ask.add(amount=2) == 16


async def test_an_error_of_an_asked_handler_goes_to_the_asker_and_the_actor_goes_on_with_its_state() -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter, 10)
        with pytest.raises(OSError, match="no disk"):
            await counter.ask.fail(OSError("no disk"))
        assert await counter.ask.add(1) == 11


async def test_an_error_shows_where_it_was_raised() -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter)
        with pytest.raises(OSError) as caught:
            await counter.ask.fail(OSError())
        assert caught.traceback[-1].name == "fail"


@pytest.mark.parametrize("count", [1, 7])
async def test_many_askers_each_get_their_own_answer(count: int) -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter)
        answers: list[int] = []

        async def ask() -> None:
            answers.append(await counter.ask.add(1))

        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(ask)
        assert sorted(answers) == list(range(1, count + 1))


async def test_handlers_of_one_actor_run_one_at_a_time() -> None:
    async with Runtime() as rt:
        gate = await rt.spawn(Gate)
        async with anyio.create_task_group() as group:
            group.start_soon(gate.ask.work, "a")
            await first_line(gate)
            group.start_soon(gate.ask.work, "b")
            await settle()
            assert instance(gate).log == ["a begins"]
            instance(gate).open.set()
        assert instance(gate).log == ["a begins", "a ends", "b begins", "b ends"]


# ------------------------------------------------------------------------------- scopes inside of handlers


class Scopes(Actor):
    """Uses what async libraries offer around its own awaits."""

    async def move_on(self) -> str:
        with anyio.move_on_after(0) as scope:
            await anyio.sleep_forever()
        return "moved on" if scope.cancelled_caught else "not cancelled"

    async def fail_after(self) -> str:
        try:
            with anyio.fail_after(0):
                await anyio.sleep_forever()
        except TimeoutError:
            return "timed out"
        return "not"

    async def group(self) -> str:
        done: list[int] = []

        async def child(number: int) -> None:
            await anyio.lowlevel.checkpoint()
            done.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number)
        return str(sorted(done))

    async def failing_group(self) -> str:
        async def child() -> None:
            await anyio.lowlevel.checkpoint()
            raise OSError("child")

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                await anyio.sleep_forever()
        except* OSError:
            pass
        await anyio.lowlevel.checkpoint()
        return "survived"

    async def same_task(self) -> bool:
        before = anyio.get_current_task()
        await anyio.lowlevel.checkpoint()
        return before == anyio.get_current_task()

    async def cancels_itself(self) -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        return "on"


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        ("move_on", "moved on"),
        ("fail_after", "timed out"),
        ("group", "[0, 1, 2]"),
        ("failing_group", "survived"),
        ("same_task", True),
        ("cancels_itself", "on"),
    ],
)
@pytest.mark.parametrize("seed", [None, 1])
async def test_scopes_and_groups_inside_a_handler_mean_the_handler(
    handler: str, answer: object, seed: int | None
) -> None:
    async with Runtime(seed=seed) as rt:
        actor = await rt.spawn(Scopes)
        for _ in range(3):
            assert await getattr(actor.ask, handler)() == answer
        await anyio.lowlevel.checkpoint()


class AsyncioScopes(Actor):
    """The same with asyncio's own means."""

    async def timeout(self) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "not"

    async def group(self) -> str:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return str([task.result() for task in tasks])

    async def failing_group(self) -> str:
        async def child() -> None:
            await asyncio.sleep(0)
            raise OSError("child")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.Event().wait()
        except* OSError:
            pass
        await asyncio.sleep(0)
        return "survived"

    async def failed_future(self) -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, OSError("future"))
        try:
            await future
        except OSError:
            return "caught"
        return "not"

    async def cancelled_future(self) -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        try:
            await future
        except asyncio.CancelledError:
            return "caught"
        return "not"

    async def wait_for(self) -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except TimeoutError:
            return "timed out"
        return "not"


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        ("timeout", "timed out"),
        ("group", "[0, 1, 2]"),
        ("failing_group", "survived"),
        ("failed_future", "caught"),
        ("cancelled_future", "caught"),
        ("wait_for", "timed out"),
    ],
)
@pytest.mark.parametrize("seed", [None, 1])
async def test_what_asyncio_offers_works_inside_a_handler(
    handler: str, answer: object, seed: int | None
) -> None:
    async with Runtime(seed=seed) as rt:
        actor = await rt.spawn(AsyncioScopes)
        for _ in range(3):
            assert await getattr(actor.ask, handler)() == answer
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_a_stray_cancellation_in_a_handler_is_no_cancellation_of_its_asker() -> None:
    class Stray(Actor):
        async def wait(self) -> None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.cancel)
            await future

    async with Runtime() as rt:
        stray = await rt.spawn(Stray)
        with pytest.raises(TaskCancelled, match="nobody asked for"):
            await stray.ask.wait()


# ---------------------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("seed", [None, 1])
async def test_cancelling_an_ask_cancels_its_handler_and_waits_for_its_end(seed: int | None) -> None:
    async with Runtime(seed=seed) as rt:
        gate = await rt.spawn(Gate)
        async with anyio.create_task_group() as group:
            group.start_soon(gate.ask.work)
            await first_line(gate)
            await settle()
            group.cancel_scope.cancel()
        assert instance(gate).log == ["work begins", "work is cancelled", "work is cleaned up"]
        instance(gate).open.set()
        assert await gate.ask.work("next") == "next"


async def test_cancelling_an_ask_that_is_queued_takes_it_back() -> None:
    async with Runtime() as rt:
        gate = await rt.spawn(Gate)
        async with anyio.create_task_group() as group:
            group.start_soon(gate.ask.work, "first")
            await first_line(gate)
            with anyio.move_on_after(0):
                await gate.ask.work("second")
            assert gate.queued == 0
            instance(gate).open.set()
        assert instance(gate).log == ["first begins", "first ends"]
        office = rt._system.kernel.office
        assert (office.sent, office.handled, office.rejected) == (2, 1, 1)


async def test_the_scope_around_an_ask_sees_its_own_cancellation() -> None:
    async with Runtime() as rt:
        gate = await rt.spawn(Gate)
        with anyio.move_on_after(0) as scope:
            await gate.ask.work()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0):
                await gate.ask.work()
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_asyncios_own_timeout_around_an_ask_cancels_it() -> None:
    async with Runtime() as rt:
        gate = await rt.spawn(Gate)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await gate.ask.work()
        task = asyncio.create_task(_asked(gate.ask.work()))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert instance(gate).log[-1] == "work is cleaned up"


async def _asked(answer: Awaitable[object]) -> object:
    return await answer


class Stubborn(Actor):
    """Does not let itself be cancelled."""

    async def work(self) -> str:
        with anyio.CancelScope(shield=True):
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
        return "done"

    async def swallow(self) -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            return "swallowed"
        return "woken"

    async def ping(self) -> str:
        return "pong"


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize("seed", [None, 1])
async def test_a_handler_cannot_swallow_the_cancellation_of_its_asker(seed: int | None) -> None:
    async with Runtime(seed=seed) as rt:
        stubborn = await rt.spawn(Stubborn)
        task = asyncio.create_task(_asked(stubborn.ask.swallow()))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await stubborn.ask.ping() == "pong"


async def test_a_shielded_handler_is_waited_for() -> None:
    async with Runtime() as rt:
        stubborn = await rt.spawn(Stubborn)
        with anyio.move_on_after(0):
            await stubborn.ask.work()
        assert stubborn._cell.turn is None
        assert await stubborn.ask.ping() == "pong"


@pytest.mark.parametrize("seed", [None, 3])
async def test_cancelling_a_chain_of_asks_cancels_all_of_it(seed: int | None) -> None:
    class Link(Actor):
        def __init__(self, following: ActorRef[Any]) -> None:
            self.following = following

        async def work(self) -> object:
            return await self.following.ask.work()

    async with Runtime(seed=seed) as rt:
        gate = last = await rt.spawn(Gate)
        for _ in range(12):
            last = cast("ActorRef[Gate]", await rt.spawn(Link, last))
        with anyio.move_on_after(0.001):
            await last.ask.work()
        assert instance(gate).log == ["work begins", "work is cancelled", "work is cleaned up"]


# -------------------------------------------------------------------------------------------------- timeouts


async def test_an_expired_message_is_dropped_unexecuted() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        gate = await rt.spawn(Gate)
        async with anyio.create_task_group() as group:
            group.start_soon(gate.ask.work, "first")
            await first_line(gate)
            group.start_soon(_expects_timeout, gate.asking(timeout="1s").work("second"))
            await clock.passes(1)
            assert gate.queued == 0
            instance(gate).open.set()
        assert instance(gate).log == ["first begins", "first ends"]


async def _expects_timeout(answer: Awaitable[object]) -> None:
    with pytest.raises(AskTimeout) as caught:
        await answer
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.handler == "work"
    assert caught.value.timeout == 1
    assert "did not answer within 1 s" in str(caught.value)


async def test_a_handler_that_takes_too_long_is_cancelled() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        gate = await rt.spawn(Gate)
        async with anyio.create_task_group() as group:
            group.start_soon(_expects_timeout, gate.asking(timeout=1).work())
            await first_line(gate)
            await clock.passes(1)
        assert instance(gate).log == ["work begins", "work is cancelled", "work is cleaned up"]


async def test_an_answer_in_time_leaves_no_timer() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        counter = await rt.spawn(Counter)
        assert await counter.asking(timeout="1s").add(1) == 1
        assert rt._system.kernel.timers == 0


# ------------------------------------------------------------------------------------------------ priorities


class Recorder(Actor):
    """Writes down what it is sent."""

    mailbox = Mailbox(capacity=None)

    def __init__(self) -> None:
        self.log: list[object] = []

    async def note(self, what: object) -> None:
        self.log.append(what)

    async def wait(self, event: anyio.Event) -> None:
        self.log.append("waits")
        await event.wait()


async def test_a_higher_priority_overtakes_queued_messages() -> None:
    async with Runtime() as rt:
        recorder, event = await rt.spawn(Recorder), anyio.Event()
        recorder.tell(Recorder.wait, event)
        await settle()
        async with anyio.create_task_group() as group:
            for name, priority in [("c", 3), ("d", 1), ("a", 6), ("b", Priority.HIGH)]:
                group.start_soon(recorder.asking(priority=priority).note, name)
            await settle()
            event.set()
        assert instance(recorder).log == ["waits", "a", "b", "c", "d"]


@pytest.mark.parametrize("seed", [None, 5])
async def test_messages_of_one_sender_keep_their_order(seed: int | None) -> None:
    async with Runtime(seed=seed) as rt:
        recorder = await rt.spawn(Recorder)
        for number in range(100):
            recorder.tell(Recorder.note, number)
        await recorder.ask.note("last")
        assert instance(recorder).log == [*range(100), "last"]


async def test_an_ask_does_not_overtake_what_was_told_before_it() -> None:
    async with Runtime() as rt:
        recorder = await rt.spawn(Recorder)
        await recorder.ask.note(0)
        recorder.tell(Recorder.note, 1)
        await recorder.ask.note(2)
        assert instance(recorder).log == [0, 1, 2]


# --------------------------------------------------------------------------------------------------- circles


class Asker(Actor):
    """Asks others, one after the other, as it is told."""

    def __init__(self, *path: ActorRef[Any]) -> None:
        self.path = path

    async def go(self, *path: ActorRef[Any]) -> str:
        return await path[0].ask.go(*path[1:]) if path else "the end"

    async def ping(self) -> str:
        return "pong"

    async def catch(self, *path: ActorRef[Any]) -> tuple[str, ...]:
        try:
            await path[0].ask.go(*path[1:])
        except AskCycle as error:
            return error.path
        return ()


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("route", ["aa", "aba", "abca", "abcb", "abcdefghijka"])
async def test_a_circle_of_asks_raises_at_once_and_shows_the_path(route: str, seed: int | None) -> None:
    async with Runtime(seed=seed) as rt:
        actors = {name: await rt.spawn(Asker, name=name) for name in set(route)}
        path = [actors[name] for name in route]
        with pytest.raises(AskCycle) as caught:
            await path[0].ask.go(*path[1:])
        circle = route[route.index(route[-1]) :]
        assert set(caught.value.path) == set(circle)
        assert caught.value.path[0] == caught.value.path[-1] == circle[-2]
        assert " -> ".join(caught.value.path) in str(caught.value)
        for actor in actors.values():
            assert await actor.ask.ping() == "pong"


async def test_whoever_closes_a_circle_may_go_on_without() -> None:
    async with Runtime() as rt:
        a, b = await rt.spawn(Asker, name="a"), await rt.spawn(Asker, name="b")
        assert await a.ask.catch(b, a) == ("b", "a", "b")
        assert await a.ask.catch(a) == ("a", "a")
        assert await a.ask.catch(b) == ()


async def test_two_that_ask_each_other_at_the_same_time_do_not_hang() -> None:
    async with Runtime() as rt:
        a, b = await rt.spawn(Asker), await rt.spawn(Asker)
        outcomes: list[str] = []

        async def ask(first: ActorRef[Asker], second: ActorRef[Asker]) -> None:
            try:
                outcomes.append(await first.ask.go(second))
            except AskCycle:
                outcomes.append("refused")

        async with anyio.create_task_group() as group:
            group.start_soon(ask, a, b)
            group.start_soon(ask, b, a)
        assert "the end" in outcomes


async def test_a_long_way_is_no_circle() -> None:
    async with Runtime() as rt:
        path = [await rt.spawn(Asker) for _ in range(30)]
        assert await path[0].ask.go(*path[1:]) == "the end"


async def test_a_circle_through_a_task_is_found_too() -> None:
    class Awaiter(Actor):
        async def run_one_that_asks(self) -> str:
            return await current().runtime.run(_ask_ping, current().ref)

        async def ping(self) -> str:
            return "pong"

    async with Runtime() as rt:
        actor = await rt.spawn(Awaiter)
        with pytest.raises(DeadlockError, match="Awaiter"):
            await actor.ask.run_one_that_asks()


async def _ask_ping(ref: ActorRef[Any]) -> str:
    return str(await ref.ask.ping())


async def test_a_told_handler_that_would_close_a_circle_fails_and_whoever_asked_is_answered() -> None:
    class Talker(Actor):
        async def talk(self, other: ActorRef[Asker]) -> str:
            other.tell(Asker.go, cast("Any", current().ref))
            return await other.ask.ping()

        async def go(self) -> str:
            return "reached"

    async with Runtime() as rt:
        talker, other = await rt.spawn(Talker), await rt.spawn(Asker)
        assert await talker.ask.talk(other) == "pong"


async def test_a_task_that_a_handler_leaves_behind_closes_no_circle() -> None:
    class Poller(Actor):
        async def on_start(self) -> None:
            self.stop = anyio.Event()
            self.answers: list[object] = []

        async def poll(self, group: Any, other: ActorRef[Any]) -> None:
            group.start_soon(self._poll, other)

        async def _poll(self, other: ActorRef[Any]) -> None:
            self.answers.append(await other.ask.ask_back(current().ref))

        async def ping(self) -> str:
            return "pong"

    class Other(Actor):
        async def ask_back(self, ref: ActorRef[Poller]) -> str:
            return await ref.ask.ping()

    async with Runtime() as rt:
        poller, other = await rt.spawn(Poller), await rt.spawn(Other)
        async with anyio.create_task_group() as group:
            await poller.ask.poll(group, other)
        assert instance(poller).answers == ["pong"]


# -------------------------------------------------------------------------------------------- what is refused


async def test_wrong_arguments_are_refused_before_anything_is_sent() -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter)
        asks = cast("Any", counter.ask)
        with pytest.raises(TypeError, match=r"Counter\.add\(.*was sent wrong arguments: too many"):
            asks.add(1, 2)
        with pytest.raises(TypeError, match="unexpected keyword argument 'much'"):
            asks.add(much=2)
        with pytest.raises(TypeError, match="missing a required argument: 'error'"):
            asks.fail()
        assert rt._system.kernel.office.sent == 0


async def test_an_unknown_handler_is_refused_and_the_known_ones_are_named() -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter)
        with pytest.raises(AttributeError, match="Counter has no handler 'ad'.*It has: add, fail"):
            _ = cast("Any", counter.ask).ad


@pytest.mark.parametrize(
    "name", ["_private", "plain", "on_start", "on_stop", "mailbox", "fatal", "__init__x"]
)
async def test_only_public_coroutines_can_be_asked(name: str) -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter)
        with pytest.raises(AttributeError, match="has no handler"):
            getattr(counter.ask, name)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"timeout": "soon"}, "timeout='soon'"),
        ({"timeout": -1}, "timeout=-1"),
        ({"timeout": True}, "timeout=True"),
        ({"priority": "high"}, "priority='high' is of type str; give a Priority or an int"),
        ({"priority": True}, "priority=True"),
        ({"urgent": True}, "unexpected keyword argument 'urgent'"),
    ],
)
async def test_wrong_options_of_an_ask_are_refused_at_the_call(choice: dict[str, Any], message: str) -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter)
        with pytest.raises((TypeError, ValueError), match=message):
            counter.asking(**choice)


async def test_an_actor_that_has_ended_answers_nobody() -> None:
    async with Runtime() as rt:
        counter = await rt.spawn(Counter, name="c")
        await counter.stop()
        with pytest.raises(
            ActorStopped, match=r"add was not handled: actor 'c' has ended \(stopped\)"
        ) as caught:
            await counter.ask.add(1)
        assert (caught.value.actor, caught.value.reason) == ("c", "stopped")


# ------------------------------------------------------------------------------------- context of a handler


class Witness(Actor):
    """Tells what it sees."""

    seen: ClassVar[list[object]] = []

    async def who(self) -> str:
        return WHO.get()

    async def change(self, name: str) -> str:
        before = WHO.get()
        WHO.set(name)
        await anyio.lowlevel.checkpoint()
        return f"{before}, now {WHO.get()}"

    async def sender(self) -> object:
        return current().sender

    async def me(self) -> object:
        return current().ref

    async def runtime(self) -> object:
        return current().runtime

    async def name(self) -> str:
        return str(current().name)


async def test_a_handler_sees_the_context_variables_of_its_sender_and_keeps_its_own_to_itself() -> None:
    async with Runtime() as rt:
        witness = await rt.spawn(Witness)
        WHO.set("me")
        assert await witness.ask.who() == "me"
        assert await witness.ask.change("other") == "me, now other"
        assert await witness.ask.who() == "me"
        assert WHO.get() == "me"
        WHO.set("somebody")
        assert await witness.ask.who() == "somebody"


async def test_current_tells_a_handler_who_and_where_it_is() -> None:
    async with Runtime() as rt:
        witness = await rt.spawn(Witness, name="w")
        assert await witness.ask.me() == witness
        assert await witness.ask.runtime() is rt
        assert await witness.ask.name() == "w"
        assert await witness.ask.sender() is None


async def test_a_handler_knows_the_actor_or_task_that_sent_its_message() -> None:
    class Middle(Actor):
        async def pass_on(self, witness: ActorRef[Witness]) -> object:
            return await witness.ask.sender()

    async with Runtime() as rt:
        witness, middle = await rt.spawn(Witness), await rt.spawn(Middle)
        assert await middle.ask.pass_on(witness) == middle
        task = await rt.spawn(_ask_sender, witness)
        assert await task == task


async def test_deferred_calls_come_after_the_handler_last_first_however_it_ends() -> None:
    class Deferrer(Actor):
        def __init__(self) -> None:
            self.log: list[str] = []

        async def work(self, error: Exception | None = None) -> str:
            current().defer(self.log.append, "first")
            current().defer(self._later, "second")
            self.log.append("work")
            if error is not None:
                raise error
            return "answer"

        async def _later(self, what: str) -> None:
            await anyio.lowlevel.checkpoint()
            self.log.append(what)

    async with Runtime() as rt:
        actor = await rt.spawn(Deferrer)
        assert await actor.ask.work() == "answer"
        assert instance(actor).log == ["work", "second", "first"]
        with pytest.raises(OSError):
            await actor.ask.work(OSError())
        assert instance(actor).log[3:] == ["work", "second", "first"]


async def _ask_sender(witness: ActorRef[Witness]) -> object:
    return await witness.ask.sender()


def test_current_outside_of_a_runtime_says_so() -> None:
    with pytest.raises(RuntimeError, match="where no task or handler of a Runtime is running"):
        current()


# ------------------------------------------------------------------------------- cancelled at every step


async def steps_until_done(ask: Callable[[], Awaitable[object]], steps: int) -> bool:
    """Start something, cancel it after so many turns of the loop; answers whether it was over by then."""
    done = False

    async def asked() -> None:
        nonlocal done
        await ask()
        done = True

    async with anyio.create_task_group() as group:
        group.start_soon(asked)
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    return done


@pytest.mark.parametrize("seed", [None, 2])
async def test_an_ask_may_be_cancelled_at_every_step_and_nothing_is_left(seed: int | None) -> None:
    class Slow(Actor):
        mailbox = Mailbox(capacity=1)

        async def work(self) -> None:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()

        async def ping(self) -> str:
            return "pong"

    async with Runtime(seed=seed) as rt:
        slow = await rt.spawn(Slow)
        office = rt._system.kernel.office
        for busy in (0, 1, 2):
            steps = 0
            while True:
                for _ in range(busy):
                    await slow.telling(Slow.work)
                done = await steps_until_done(lambda: slow.ask.work(), steps)
                assert await slow.ask.ping() == "pong"
                assert slow.queued == 0
                assert office.sent == office.handled + office.rejected + office.dead_lettered
                if done:
                    break
                steps += 1
            assert steps < 60
        assert rt._system.kernel.timers == 0


async def test_a_full_mailbox_that_raises_refuses_an_ask() -> None:
    async with Runtime() as rt:
        gate = await rt.spawn(Gate, mailbox=Mailbox(capacity=1, overflow="raise"))
        async with anyio.create_task_group() as group:
            group.start_soon(gate.ask.work, "first")
            await first_line(gate)
            group.start_soon(gate.ask.work, "second")
            await settle()
            with pytest.raises(MailboxFull, match="was not sent: its mailbox holds 1 messages"):
                await gate.ask.work("third")
            instance(gate).open.set()


class Careful(Actor):
    """Cleans up when its handler is cancelled, as scopes of tasks do: aside, and shielded."""

    def __init__(self, clean: anyio.Event) -> None:
        self.clean = clean

    async def wait(self) -> None:
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep_forever()
        with anyio.CancelScope(shield=True):
            await self.clean.wait()
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("first", ["actor", "scope"])
async def test_a_cancelled_asker_is_seen_by_its_scope_though_its_actor_ends_meanwhile(first: str) -> None:
    async with Runtime() as rt, anyio.create_task_group() as group:
        clean = anyio.Event()
        ref = await rt.spawn(Careful, clean)

        async def strike(scope: anyio.CancelScope) -> None:
            for turn in (first, "scope", "actor"):
                await settle()
                if turn == "scope":
                    scope.cancel()
                else:
                    rt._system.kernel.post(ref._cell, Kill(ExitReason("killed")))
            await settle()
            clean.set()

        with anyio.CancelScope() as scope, suppress(ActorStopped):
            group.start_soon(strike, scope)
            await ref.ask.wait()
        assert scope.cancel_called
        await settle()
        await anyio.lowlevel.checkpoint()  # nothing of it is left

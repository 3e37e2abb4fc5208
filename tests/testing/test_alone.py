"""One actor alone: messages in, effects out, without a runtime, a loop or time."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import pathlib
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorsched
from actorsched import (
    Actor,
    ActorRef,
    ActorStopped,
    ExitReason,
    MailboxFull,
    NotTransferable,
    Runtime,
    Supervise,
    TaskCancelled,
    TaskRef,
    TaskStatus,
    current,
)
from actorsched.testing import NeedsRuntime, alone, compute
from actorsched.testing.effects import (
    Asked,
    Cancelled,
    Failed,
    Killed,
    Linked,
    Monitored,
    Raised,
    Reprioritized,
    ShutDown,
    Slept,
    Spawned,
    Stopped,
    TimerCancelled,
    TimerSet,
    Told,
    Unlinked,
)
from actorsched.testing.patterns import ANY, call, matches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

ROOT = pathlib.Path(__file__).parent.parent.parent


class Audit(Actor):
    """Whoever the account tells of what it does."""

    def __init__(self) -> None:
        self.entries: list[int] = []

    async def entry(self, amount: int) -> None:
        self.entries.append(amount)

    async def total(self) -> int:
        return sum(self.entries)

    async def history(self) -> AsyncIterator[int]:
        for amount in self.entries:
            yield amount


class Broken(Exception):
    """Fatal for an account."""


class Account(Actor):
    fatal = (Broken,)

    def __init__(self, balance: int, audit: ActorRef[Audit]) -> None:
        self.balance = balance
        self.audit = audit

    async def on_stop(self, reason: ExitReason) -> None:
        self.audit.tell(Audit.entry, 0)

    async def deposit(self, amount: int) -> int:
        if amount <= 0:
            raise ValueError(f"{amount} is no amount")
        self.balance += amount
        self.audit.tell(Audit.entry, amount)
        return self.balance

    async def is_right(self) -> bool:
        return await self.audit.ask.total() == self.balance

    async def smash(self) -> None:
        raise Broken("in pieces")

    async def coins(self, most: int) -> AsyncIterator[int]:
        for _ in range(most):
            if not self.balance:
                return
            self.balance -= 1
            yield 1


def account(balance: int = 100) -> tuple[Any, Any]:
    audit = alone.ref("audit", Audit)
    return alone(Account, balance, audit=audit), audit


# ------------------------------------------------------------------------------------- messages and effects


def test_a_deposit_is_told_to_the_audit() -> None:
    audit = alone.ref("audit")
    savings = alone(Account, 100, audit=audit)
    effects = savings.handle("deposit", 50)
    assert effects.value == 150
    assert effects == [Told(audit, "entry", (50,), {})]
    assert savings.actor.balance == 150


def test_a_handler_may_be_named_or_given() -> None:
    savings, audit = account()
    assert savings.handle(Account.deposit, 1).value == 101
    assert savings.ask("deposit", 1).value == 102
    assert savings.tell("deposit", amount=1).value == 103
    assert savings.effects.told == [Told(audit, Audit.entry, (1,))] * 3
    assert [str(message) for message in audit.received[:1]] == [
        "entry(1) from <stand-in for actor 'Account'>"
    ]
    assert matches(call("entry", ANY).sent_by(savings.ref), audit.received[0])


def test_an_error_of_an_asked_handler_goes_to_the_asker_and_the_actor_goes_on() -> None:
    savings, _ = account()
    effects = savings.handle("deposit", -1)
    assert isinstance(effects.error, ValueError)
    assert effects.failure is None
    assert effects == [Raised(ValueError("-1 is no amount"))]
    assert effects == [Raised(ValueError)]
    assert effects != [Raised(ValueError("another"))]
    with pytest.raises(ValueError, match="-1 is no amount"):
        _ = effects.value
    assert savings.handle("deposit", 1).value == 101


def test_an_ask_waits_until_it_is_answered() -> None:
    savings, audit = account()
    effects = savings.handle("is_right")
    assert effects == [Asked(audit, "total")]
    assert not effects.done
    assert effects.waiting_for == "the answer of total from 'audit'"
    with pytest.raises(RuntimeError, match="it waits for the answer of total"):
        _ = effects.value
    with pytest.raises(RuntimeError, match="not known yet"):
        _ = effects.error
    effects.asked[0].answer(100)
    assert effects.value is True
    with pytest.raises(RuntimeError, match="does not wait for an answer"):
        effects.asked[0].answer(100)


def test_an_ask_may_fail() -> None:
    savings, _ = account()
    effects = savings.handle("is_right")
    effects.asked[0].fail(OSError("no connection"))
    assert isinstance(effects.error, OSError)
    with pytest.raises(TypeError, match="is no exception"):
        savings.handle("is_right").asked[0].fail("no")


def test_answers_may_be_prepared() -> None:
    savings, audit = account()
    audit.answers("total", 1, 100)
    assert savings.handle("is_right").value is False
    assert [savings.handle("is_right").value for _ in range(2)] == [True, True]
    audit.fails(Audit.total, OSError("down"))
    effects = savings.handle("is_right")
    assert effects == [Asked(audit, "total"), Raised(OSError("down"))]
    assert not effects.asked[0].pending


def test_a_message_waits_while_a_handler_does() -> None:
    savings, audit = account()
    asked = savings.handle("is_right")
    deposit = savings.handle("deposit", 1)
    assert deposit == []
    assert deposit.waiting_for == (
        "its turn, after is_right of actor 'Account', which waits for the answer of total from 'audit'"
    )
    asked.asked[0].answer(0)
    assert deposit == [Told(audit, "entry", (1,))]
    assert savings.effects == [Asked(audit, "total"), Told(audit, "entry", (1,))]


def test_a_cancelled_handler_is_cancelled_where_it_waits() -> None:
    class Careful(Actor):
        def __init__(self, other: Any) -> None:
            self.other, self.left = other, 0

        async def work(self) -> None:
            try:
                await self.other.ask.work()
            finally:
                self.left += 1

    other = alone.ref("other")
    careful = alone(Careful, other)
    effects, waiting = careful.handle("work"), careful.handle("work")
    waiting.cancel()
    effects.cancel()
    effects.cancel()
    assert careful.actor.left == 1
    assert isinstance(effects.error, TaskCancelled)
    assert isinstance(waiting.error, TaskCancelled)
    assert not effects.asked[0].pending
    assert waiting == []


def test_a_partner_that_has_ended_answers_nobody() -> None:
    savings, audit = account()
    effects = savings.handle("is_right")
    audit.end("killed")
    assert not audit.alive
    assert isinstance(effects.error, ActorStopped)
    assert effects.error.reason == "killed"
    assert isinstance(savings.handle("is_right").error, ActorStopped)


def test_two_actors_talk_through_the_test() -> None:
    savings, _ = account(0)
    books = alone(Audit)
    savings.handle("deposit", 5)
    for told in savings.effects.told:
        books.deliver(told, sender=savings.ref)
    question = savings.handle("is_right")
    books.deliver(question.asked[0])
    assert question.value is True
    failing = savings.handle("is_right")
    books.kill()
    books.deliver(failing.asked[0])
    assert isinstance(failing.error, ActorStopped)


def test_messages_may_have_a_sender() -> None:
    class Echo(Actor):
        async def who(self) -> Any:
            return current().sender

    echo, ada, task = alone(Echo), alone.ref("ada"), alone.task_ref("work")
    assert echo.handle("who").value is None
    assert echo.sent_by(ada).handle("who").value is ada
    assert echo.sent_by(ada).ask("who").value is ada
    assert echo.sent_by(task).tell("who").value is task


# ------------------------------------------------------------------------------------------------- stand-ins


class Caller(Actor):
    """Does with others whatever it is told."""

    def __init__(self, other: Any) -> None:
        self.other = other

    async def run(self, function: Any) -> Any:
        return await function(self.other)


async def with_time(other: Any) -> Any:
    return await other.asking(timeout="2s").total()


async def all_of_history(other: Any) -> list[int]:
    return [item async for item in other.ask.history()]


async def first_of_history(other: Any) -> int:
    stream = other.ask.history()
    async for item in stream:
        await stream.aclose()
        return int(item)
    return -1


def test_a_stand_in_is_an_actor_ref() -> None:
    audit: Any = alone.ref("audit", Audit)
    assert isinstance(audit, ActorRef)
    assert audit == ANY
    assert not audit == 5  # noqa: SIM201  # that is another question
    assert audit != alone.ref("audit", Audit)
    assert len({audit, audit}) == 1
    assert (audit.name, audit.alive, audit.queued, audit.load) == ("audit", True, 0, 0)
    assert "audit" in repr(audit.ask)


def test_an_ask_times_out_when_time_has_passed() -> None:
    audit = alone.ref("audit")
    caller = alone(Caller, audit)
    effects = caller.handle("run", with_time)
    assert effects.asked[0].timeout == 2
    assert caller.advance("1.9s") == []
    assert not effects.done
    assert caller.advance("0.1s") == [Raised(actorsched.exceptions.AskTimeout)]
    assert isinstance(effects.error, TimeoutError)
    answered = caller.handle("run", with_time)
    answered.asked[0].answer(3)
    assert caller.advance("1h") == []
    assert answered.value == 3


@pytest.mark.parametrize("actor_class", [Audit, None])
def test_a_streamed_reply_of_a_partner_comes_item_by_item(actor_class: Any) -> None:
    caller = alone(Caller, alone.ref("audit", actor_class))
    effects = caller.handle("run", all_of_history)
    history = effects.asked[0]
    history.item(1)
    history.item(2)
    assert not effects.done
    with pytest.raises(TypeError, match="which has no single answer"):
        history.answer([1, 2])
    history.answer()
    assert effects.value == [1, 2]
    broken = caller.handle("run", all_of_history)
    broken.asked[0].item(1)
    broken.asked[0].fail(OSError("lost"))
    assert isinstance(broken.error, OSError)
    early = caller.handle("run", first_of_history)
    early.asked[0].item(7)
    assert early.value == 7
    assert not early.asked[0].pending


def test_the_items_of_a_stream_may_be_prepared() -> None:
    audit = alone.ref("audit")
    caller = alone(Caller, audit)
    audit.answers("history", 1, 2, 3)
    assert caller.handle("run", all_of_history).value == [1, 2, 3]
    assert caller.handle("run", first_of_history).value == 1


def test_what_is_no_stream_has_no_items() -> None:
    effects = account()[0].handle("is_right")
    with pytest.raises(TypeError, match="is no stream"):
        effects.asked[0].item(1)


def test_a_full_mailbox_refuses() -> None:
    savings, audit = account()
    audit.fill()
    assert audit.full
    effects = savings.handle("deposit", 1)
    assert isinstance(effects.error, MailboxFull)
    assert effects.told == []
    audit.fill(False)
    assert savings.handle("deposit", 1).value == 102


def test_a_stand_in_with_a_class_checks_what_it_is_given() -> None:
    audit: Any = alone.ref("audit", Audit)
    with pytest.raises(AttributeError, match="has no handler 'totla'"):
        audit.ask.totla()
    with pytest.raises(TypeError, match="wrong arguments"):
        audit.ask.total(1)
    with pytest.raises(TypeError, match="wrong arguments"):
        audit.tell(Audit.entry)
    with pytest.raises(TypeError, match="is no handler of Audit"):
        audit.tell(Account.deposit, 1)
    with pytest.raises(TypeError, match="streams its reply"):
        audit.tell(Audit.history)
    with pytest.raises(AttributeError, match="has no handler 'totla'"):
        audit.answers("totla", 1)
    assert audit.received == []


def test_a_stand_in_without_a_class_takes_any_handler() -> None:
    anybody: Any = alone.ref("anybody")
    anybody.tell(Audit.entry, 5)
    assert matches(call("entry", 5), anybody.received[0])
    with pytest.raises(TypeError, match="wrong arguments"):
        anybody.tell(Audit.entry)
    with pytest.raises(TypeError, match="is no handler"):
        anybody.tell("entry", 5)
    with pytest.raises(AttributeError, match="is private"):
        _ = anybody.ask._entry


def test_a_stand_in_belongs_to_its_test() -> None:
    import pickle

    for ref in (alone.ref("audit"), alone.task_ref("work")):
        with pytest.raises(NotTransferable, match="belongs to a test"):
            pickle.dumps(ref)


async def test_a_stand_in_records_and_answers_what_was_prepared_in_a_runtime_too() -> None:
    audit: Any = alone.ref("audit", Audit)
    audit.answers("total", 101)
    async with Runtime() as rt:
        savings = await rt.spawn(Account, 100, audit)
        assert await savings.ask.deposit(1) == 101
        assert await savings.ask.is_right()
        assert [message.handler for message in audit.received] == ["entry", "total"]
        with pytest.raises(RuntimeError, match="code that does not run alone"):
            await audit.ask.history().__anext__()
        with pytest.raises(TypeError, match="is a stand-in"):
            await rt.monitor(audit)
        with pytest.raises(TypeError, match="is a stand-in"):
            savings.link(audit)
        with pytest.raises(TypeError, match="the ref of a real actor|belongs to a runtime"):
            alone(Account, 1, savings)
        with pytest.raises(TypeError, match="real actor"):
            audit.link(savings)


# ---------------------------------------------------------------------------------------- what it can do


def do(function: Any, other: Any = None) -> Any:
    return alone(Caller, other).handle("run", function)


def test_an_actor_may_stop_kill_and_link_others() -> None:
    first, second = alone.ref("first"), alone.ref("second")

    async def work(_: Any) -> None:
        first.link(second)
        first.unlink(second)
        await first.stop()
        await second.kill()

    effects = do(work)
    assert effects == [Linked(first, second), Unlinked(first, second), Stopped(first), Killed(second)]
    assert [first.alive, second.alive] == [False, False]
    with pytest.raises(ActorStopped):
        first.link(second)
    with pytest.raises(TypeError, match="is no ActorRef"):
        first.link(5)


def test_an_actor_may_wait_for_the_end_of_another() -> None:
    other = alone.ref("other")

    async def work(_: Any) -> str:
        return (await current().runtime.monitor(other)).kind

    effects = do(work)
    assert effects == [Monitored(other)]
    other.end(ExitReason("failed", ValueError("no")))
    assert effects.value == "failed"
    assert do(work).value == "failed"


async def read(path: str, *, limit: int = 5) -> bytes:
    return path.encode()[:limit]


def test_an_actor_may_spawn_tasks() -> None:
    async def work(_: Any) -> Any:
        ref = await current().runtime.spawn(read, "a", name="reading", kwargs={"limit": 1})
        assert isinstance(ref, TaskRef)
        assert (ref.name, ref.done(), ref.status) == ("reading", False, TaskStatus.RUNNING)
        await ref.set_priority(5)
        return await ref

    effects = do(work)
    (spawned,) = effects.spawned
    assert effects == [Spawned(read, ("a",), {"limit": 1}), Reprioritized(spawned.ref, 5)]
    assert spawned.options == {"name": "reading"}
    assert effects.waiting_for == "the end of task 'reading'; settle its ref"
    assert spawned.ref.settle(b"x")
    assert not spawned.ref.settle(b"y")
    assert effects.value == b"x"
    assert spawned.ref.result() == b"x"


def test_results_of_tasks_may_be_prepared() -> None:
    async def work(_: Any) -> Any:
        return await current().runtime.run(read, "a")

    caller = alone(Caller, None)
    caller.runtime.answers(read, b"1")
    assert caller.handle("run", work).value == b"1"
    caller.runtime.fails(read, OSError("gone"))
    assert caller.handle("run", work) == [Spawned(read, ("a",)), Raised(OSError("gone"))]


def test_whoever_runs_a_task_and_is_cancelled_cancels_it() -> None:
    async def work(_: Any) -> Any:
        return await current().runtime.run(read, "a")

    effects = do(work)
    effects.cancel()
    ref = effects.spawned[0].ref
    assert effects == [Spawned(read, ("a",)), Cancelled(ref, "whoever ran it was cancelled")]
    assert ref.status is TaskStatus.CANCELLED


def test_a_task_ref_does_what_task_refs_do() -> None:
    ref = alone.task_ref("work")
    seen: list[Any] = []
    ref.add_done_callback(seen.append)
    ref.report(0.5, "half")
    assert ref.progress == (0.5, "half")

    async def work(_: Any) -> Any:
        await ref.cancel("enough")
        await ref.cancel("again")
        return await ref.outcome()

    effects = do(work)
    assert effects == [Cancelled(ref, "enough")]
    assert effects.value.status is TaskStatus.CANCELLED
    assert isinstance(ref.exception(), TaskCancelled)
    ref.add_done_callback(seen.append)
    assert seen == [ref, ref]
    with pytest.raises(TypeError, match="say why as a str"):
        ref.cancel_nowait(5)
    with pytest.raises(TypeError, match="cannot be called"):
        ref.add_done_callback(5)
    with pytest.raises(TypeError, match="give a Priority or an int"):
        ref.set_priority_nowait("high")


def test_an_actor_may_spawn_actors_and_children() -> None:
    async def work(_: Any) -> Any:
        child = await current().spawn(Audit, name="books")
        child.tell(Audit.entry, 1)
        assert current().runtime.lookup("books") is child
        return await current().runtime.spawn(Audit)

    caller = alone(Caller, None)
    effects = caller.handle("run", work)
    books, other = (spawned.ref for spawned in effects.spawned)
    assert effects == [Spawned(Audit), Told(books, "entry", (1,)), Spawned(Audit)]
    assert [spawned.child for spawned in effects.spawned] == [True, False]
    assert isinstance(other, ActorRef)
    caller.stop()
    assert not books.alive  # a child goes with it
    assert other.alive


def test_actors_that_are_spawned_may_be_prepared() -> None:
    async def work(_: Any) -> Any:
        return await (await current().spawn(Audit)).ask.total()

    caller, books = alone(Caller, None), alone.ref("books", Audit)
    books.answers("total", 5)
    caller.runtime.answers(Audit, books)
    assert caller.handle("run", work).value == 5
    caller.runtime.fails(Audit, OSError("no disk"))
    assert isinstance(caller.handle("run", work).error, OSError)
    with pytest.raises(TypeError, match="is no stand-in for an actor"):
        caller.runtime.answers(Audit, 5)


@pytest.mark.parametrize(
    ("spawn", "error", "words"),
    [
        (lambda rt: rt.spawn(read), TypeError, "read"),
        (lambda rt: rt.spawn(read, "a", nmae="x"), TypeError, "did you mean 'name'"),
        (lambda rt: rt.spawn(read, "a", timeout="soon"), ValueError, "timeout='soon'"),
        (lambda rt: rt.spawn(read, "a", host="thread"), ValueError, "an async function"),
        (lambda rt: rt.spawn(5), TypeError, "cannot be called"),
        (lambda rt: rt.spawn(Audit, 5), TypeError, "wrong arguments"),
        (lambda rt: rt.spawn(Audit, restart="often"), ValueError, "restart='often'"),
        (lambda rt: rt.spawn(read, "a", after=5), TypeError, "after"),
        (lambda rt: rt.run(Audit), TypeError, "class of actors"),
        (lambda rt: current().spawn(read, "a"), TypeError, "no class of actors"),
        (lambda rt: rt.monitor(5), TypeError, "no stand-in"),
        (lambda rt: rt.sleep("long"), ValueError, "duration='long'"),
    ],
)
def test_what_a_runtime_refuses_is_refused_alone_too(spawn: Any, error: type[Exception], words: str) -> None:
    async def work(_: Any) -> None:
        await spawn(current().runtime)

    effects = do(work)
    assert isinstance(effects.error, error)
    assert words in str(effects.error)
    assert effects.spawned == []


def test_names_are_looked_up_among_those_that_are_known() -> None:
    async def work(_: Any) -> Any:
        return current().runtime.lookup("audit")

    caller, audit = alone(Caller, None), alone.ref("audit")
    assert isinstance(caller.handle("run", work).error, LookupError)
    caller.runtime.knows(audit)
    assert caller.handle("run", work).value is audit
    with pytest.raises(TypeError, match="is no stand-in"):
        caller.runtime.knows(5)


def test_a_handler_knows_where_it_is() -> None:
    async def work(_: Any) -> None:
        here = current()
        assert (here.name, here.kind, here.id, here.host, here.attempt) == ("ada", "actor", None, "loop", 1)
        assert (here.sender, here.deadline, here.cancel_requested) == (None, None, False)
        assert not here.preempt_requested
        assert here.runtime.now == 0.0
        here.report(0.5)  # only a task has a progress
        actorsched.checkpoint()
        here.ref.tell(Caller.run, read)
        await here.runtime.shutdown()
        with pytest.raises(RuntimeError, match="cannot acquire resources"):
            here.acquire("db")

    caller = alone.named("ada")(Caller, None)
    effects = caller.handle("run", work)
    assert effects.value is None
    assert effects == [Told(caller.ref, "run", (read,)), ShutDown()]


def test_what_is_logged_is_recorded_and_written(caplog: pytest.LogCaptureFixture) -> None:
    async def work(_: Any) -> None:
        current().log.info("all %s", "right")
        current().log.error("or not")

    effects = do(work)
    assert effects == []
    assert effects.logs == [(logging.INFO, "all right"), (logging.ERROR, "or not")]
    assert [record.getMessage() for record in caplog.records] == ["or not"]
    assert caplog.records[0].actor == "Caller"  # type: ignore[attr-defined]


def test_deferred_calls_are_made_at_the_end_the_last_first(caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []
    audit = alone.ref("audit")

    async def later() -> None:
        await actorsched.sleep(1)
        order.append("asleep")

    def broken() -> None:
        raise OSError("no")

    async def work(_: Any) -> str:
        current().defer(order.append, "first")
        current().defer(later)
        current().defer(broken)
        current().defer(audit.tell, Audit.entry, 1)
        order.append("body")
        return "done"

    caller = alone(Caller, None)
    effects = caller.handle("run", work)
    assert len(effects.deferred) == 4
    assert effects == [Told(audit, "entry", (1,)), Slept(1)]
    assert not effects.done
    caller.advance(1)
    assert effects.value == "done"
    assert order == ["body", "asleep", "first"]
    assert "deferred call" in caplog.text


# ------------------------------------------------------------------------------------------------------ time


def test_a_sleep_ends_when_time_has_passed() -> None:
    async def work(_: Any) -> float:
        await actorsched.sleep("5s")
        await current().runtime.sleep(1)
        await compute(2)
        await actorsched.sleep(0)
        return current().runtime.now

    caller = alone(Caller, None)
    effects = caller.handle("run", work)
    assert effects == [Slept(5)]
    assert effects.waiting_for == "5 s to pass; let them, by advance()"
    assert caller.advance("4s") == []
    assert caller.advance("4s") == [Slept(1), Slept(2), Slept(0)]
    assert effects.value == 8.0
    assert caller.now == 8.0


class Ticker(Actor):
    def __init__(self) -> None:
        self.ticks: list[tuple[str, float]] = []

    async def start(self) -> None:
        current().every(2, Ticker.tick, "grid")
        current().after("3s", Ticker.tick, word="once")

    async def keyed(self, delay: float) -> None:
        current().after(delay, Ticker.tick, "keyed", key="k")

    async def cancelled(self) -> None:
        timer = current().after(1, Ticker.tick, "never")
        assert "tick" in repr(timer)
        timer.cancel()
        timer.cancel()

    async def tick(self, word: str) -> None:
        self.ticks.append((word, current().runtime.now))
        assert current().sender == current().ref

    async def slow(self) -> None:
        await actorsched.sleep(5)

    async def wrong(self, delay: Any, *args: Any) -> None:
        current().every(delay, Ticker.tick, *args)


def test_timers_send_their_messages_in_their_order() -> None:
    ticker = alone(Ticker)
    effects = ticker.handle("start")
    grid, once = TimerSet(2, "tick", ("grid",), {}, True), TimerSet(3, Ticker.tick, (), {"word": "once"})
    assert effects == [grid, once]
    assert ticker.timers == [grid, once]
    ticker.advance("6s")
    assert ticker.actor.ticks == [("grid", 2.0), ("once", 3.0), ("grid", 4.0), ("grid", 6.0)]
    assert ticker.timers == [grid]


def test_a_beat_is_left_out_while_the_one_before_is_queued() -> None:
    ticker = alone(Ticker)
    ticker.handle("start")
    ticker.handle("slow")
    ticker.advance(5)
    assert ticker.actor.ticks == [("grid", 5.0), ("once", 5.0)]
    ticker.advance(1)
    assert ticker.actor.ticks[2:] == [("grid", 6.0)]


def test_a_timer_may_be_fired_without_time() -> None:
    ticker = alone(Ticker)
    grid, once = ticker.handle("start").timers
    assert ticker.fire(once).done
    assert ticker.fire(TimerSet(2, "tick", ("grid",), {}, True)).done
    assert ticker.actor.ticks == [("once", 0.0), ("grid", 0.0)]
    assert ticker.timers == [grid]
    with pytest.raises(ValueError, match="is no timer that is set now"):
        ticker.fire(once)


def test_a_timer_may_be_replaced_or_cancelled() -> None:
    ticker = alone(Ticker)
    ticker.handle("keyed", 1)
    ticker.handle("keyed", 2)
    ticker.advance(5)
    assert ticker.actor.ticks == [("keyed", 2.0)]
    effects = ticker.handle("cancelled")
    never = TimerSet(1, "tick", ("never",))
    assert effects == [never, TimerCancelled(never)]
    assert ticker.timers == []


def test_a_wrong_timer_is_refused_at_the_call() -> None:
    ticker = alone(Ticker)
    assert isinstance(ticker.handle("wrong", 0, "x").error, ValueError)
    assert isinstance(ticker.handle("wrong", "soon", "x").error, ValueError)
    assert isinstance(ticker.handle("wrong", 1).error, TypeError)
    assert ticker.timers == []


# --------------------------------------------------------------------------------------------------- streams


def test_a_stream_gives_what_is_asked_for_and_no_more() -> None:
    savings, _ = account(5)
    coins = savings.handle("coins", 4)
    assert coins.waiting_for == "demand; ask for items, by demand()"
    assert savings.actor.balance == 5
    assert coins.demand() == [1]
    assert savings.actor.balance == 4
    assert savings.handle("deposit", 1).value == 5  # others are handled while there is no demand
    assert coins.demand(9) == [1, 1, 1]
    assert coins.done
    assert coins.items == [1] * 4
    assert coins.demand() == []


def test_a_closed_stream_closes_its_generator() -> None:
    left: list[str] = []

    class Source(Actor):
        async def items(self, other: Any) -> AsyncIterator[int]:
            try:
                yield 1
                yield await other.ask.work()
            finally:
                await actorsched.sleep(1)
                left.append("left")

    source, other = alone(Source), alone.ref("other")
    unread = source.handle("items", other)
    unread.close()
    assert unread.error is None
    first = source.handle("items", other)
    assert first.demand() == [1]
    first.close()
    assert first.waiting_for == "1 s to pass; let them, by advance()"
    source.advance(1)
    assert first.error is None
    second = source.handle("items", other)
    assert second.demand(2) == [1]
    second.close()
    second.close()
    source.advance(1)
    assert second.error is None
    third = source.handle("items", other)
    third.demand()
    third.cancel()
    source.advance(1)
    assert isinstance(third.error, TaskCancelled)
    assert left == ["left"] * 3


def test_a_stream_may_fail() -> None:
    class Source(Actor):
        async def items(self) -> AsyncIterator[int]:
            yield 1
            raise OSError("dry")

    effects = alone(Source).handle("items")
    assert effects.demand(5) == [1]
    assert effects == [Raised(OSError("dry"))]


def test_what_streams_nothing_has_no_items() -> None:
    savings, _ = account()
    effects = savings.handle("deposit", 1)
    with pytest.raises(TypeError, match="streams nothing"):
        effects.demand()
    with pytest.raises(TypeError, match="streams nothing"):
        effects.close()
    with pytest.raises(TypeError, match="has no streamed reply"):
        savings.effects.demand()
    for count, error in ((0, ValueError), ("1", TypeError), (True, TypeError)):
        with pytest.raises(error):
            savings.handle("coins", 1).demand(count)


# ------------------------------------------------------------------------------------------------------ lives


class Member(Actor):
    """Says where it is in its life."""

    def __init__(self, log: list[str], other: Any = None, *, waits: bool = False) -> None:
        self.log, self.other, self.waits = log, other, waits
        log.append("made")

    async def on_start(self) -> None:
        self.log.append(await self.other.ask.welcome() if self.waits else "started")

    async def on_stop(self, reason: ExitReason) -> None:
        self.log.append(str(reason))

    async def fail(self) -> None:
        raise ValueError("no")

    async def wait(self) -> None:
        await self.other.ask.work()

    async def say(self, word: str) -> None:
        self.log.append(word)


def test_a_told_failure_goes_to_the_supervisor_and_ends_the_life() -> None:
    savings, audit = account()
    effects = savings.tell("deposit", -1)
    assert effects == [Failed(ValueError("-1 is no amount"))]
    assert effects.failure is not None
    assert effects.failure.kind == "failed"
    assert effects.failure.error is effects.error
    assert savings.life == "down"
    assert savings.ending.error is effects.error
    assert savings.stopped == [Told(audit, "entry", (0,))]
    with pytest.raises(RuntimeError, match="has no instance"):
        _ = savings.actor


def test_a_fatal_error_goes_to_both() -> None:
    savings, _ = account()
    effects = savings.handle("smash")
    assert effects == [Raised(Broken), Failed(Broken)]
    assert savings.life == "down"


def test_a_restart_begins_a_new_life_with_the_mailbox_kept() -> None:
    log: list[str] = []
    member = alone(Member, log)
    first = member.actor
    member.tell("fail")
    said = member.tell("say", "later")
    assert not said.done
    assert said.waiting_for == "its turn, after a restart, while the actor is down"
    started = member.restart()
    assert started.done
    assert started is member.started
    assert member.actor is not first
    assert said.done
    assert log == ["made", "started", "failed: ValueError: no", "made", "started", "later"]


def test_a_running_actor_may_be_made_to_fail_and_to_restart() -> None:
    log: list[str] = []
    member = alone(Member, log, alone.ref("other"))
    waiting = member.handle("wait")
    member.restart(OSError("a link"))
    assert isinstance(waiting.error, ActorStopped)
    assert log == ["made", "started", "failed: OSError: a link", "made", "started"]
    waiting = member.handle("wait")
    started = member.restart()
    assert not started.done  # the handler finishes first
    waiting.asked[0].answer()
    assert started.done
    assert log[5:] == ["shutdown", "made", "started"]


def test_timers_and_streams_end_with_a_life() -> None:
    ticker = alone(Ticker)
    ticker.handle("start")
    ticker.restart()
    assert ticker.timers == []
    savings, _ = account(5)
    coins = savings.handle("coins", 5)
    coins.demand()
    savings.tell("deposit", -1)
    assert isinstance(coins.error, ActorStopped)
    assert coins.items == [1]


def test_stopping_lets_it_handle_what_it_has() -> None:
    log: list[str] = []
    member = alone(Member, log, alone.ref("other"))
    waiting, said = member.handle("wait"), member.handle("say", "last")
    stopped = member.stop()
    assert member.life == "draining"
    assert isinstance(member.handle("say", "too late").error, ActorStopped)
    waiting.asked[0].answer()
    assert said.done
    assert stopped.done
    assert log == ["made", "started", "last", "stopped"]
    assert not member.alive
    assert not member.ref.alive
    assert member.stop() is stopped
    assert isinstance(member.tell("say", "too late").error, ActorStopped)
    with pytest.raises(RuntimeError, match="is not restarted"):
        member.restart()


def test_killing_runs_no_farewell() -> None:
    log: list[str] = []
    member = alone(Member, log, alone.ref("other"))
    waiting, said = member.handle("wait"), member.handle("say", "lost")
    member.kill()
    member.kill()
    assert isinstance(waiting.error, ActorStopped)
    assert isinstance(said.error, ActorStopped)
    assert log == ["made", "started"]
    assert member.life == "stopped"


def test_a_down_actor_may_be_stopped_or_killed() -> None:
    for end in ("stop", "kill"):
        member = alone(Member, [])
        member.tell("fail")
        getattr(member, end)()
        assert member.life == "stopped"


def test_a_start_may_wait_and_messages_wait_for_it() -> None:
    log: list[str] = []
    other = alone.ref("other")
    member = alone(Member, log, other, waits=True)
    assert member.life == "starting"
    said = member.handle("say", "hello")
    assert member.started == [Asked(other, "welcome")]
    member.started.asked[0].answer("welcome")
    assert said.done
    assert log == ["made", "welcome", "hello"]
    other.fails("welcome", OSError("closed"))
    member.tell("fail")
    assert member.restart() == [Asked(other, "welcome"), Failed(OSError("closed"))]
    assert member.life == "down"
    other.answers("welcome", "again")
    assert member.restart().done
    assert log[3:] == ["failed: ValueError: no", "made", "made", "again"]


def test_a_start_that_fails_late_ends_it() -> None:
    member = alone(Member, [], alone.ref("other"), waits=True)
    member.started.asked[0].fail(OSError("closed"))
    assert member.started == [Asked(ANY, "welcome"), Raised(OSError("closed"))]
    assert member.life == "stopped"


def test_what_the_start_raises_is_raised_at_once() -> None:
    class Refuses(Actor):
        def __init__(self, early: bool) -> None:
            if early:
                raise OSError("constructor")

        async def on_start(self) -> None:
            raise OSError("on_start")

    for early, words in ((True, "constructor"), (False, "on_start")):
        with pytest.raises(OSError, match=words):
            alone(Refuses, early)


def test_what_the_constructor_does_is_recorded_with_the_start() -> None:
    audit = alone.ref("audit")

    class Eager(Actor):
        def __init__(self) -> None:
            audit.tell(Audit.entry, 1)
            with pytest.raises(RuntimeError, match="current"):
                current()

        async def on_start(self) -> None:
            audit.tell(Audit.entry, 2)

    assert alone(Eager).started == [Told(audit, "entry", (1,)), Told(audit, "entry", (2,))]


def test_ends_that_come_while_it_starts_or_ends_are_kept() -> None:
    log: list[str] = []
    starting = alone(Member, log, alone.ref("other"), waits=True)
    said = starting.handle("say", "hello")
    starting.stop()
    starting.started.asked[0].answer("welcome")
    assert said.done
    assert log == ["made", "welcome", "hello", "stopped"]
    killed = alone(Member, [], alone.ref("other"), waits=True)
    killed.started.cancel()
    assert isinstance(killed.started.error, ActorStopped)
    assert killed.life == "stopped"

    class Slow(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            await actorsched.sleep(1)

    ending = alone(Slow)
    started = ending.restart()
    assert ending.life == "ending"
    ending.stop()
    ending.advance(1)
    assert ending.life == "stopped"
    assert isinstance(started.error, ActorStopped)
    down = alone(Slow)
    down.restart()
    down.kill()
    assert isinstance(down.stopped.error, ActorStopped)
    assert down.life == "stopped"


def test_a_cancellation_that_nobody_asked_for_is_an_error() -> None:
    async def work(_: Any) -> None:
        raise asyncio.CancelledError

    effects = do(work)
    assert isinstance(effects.error, TaskCancelled)
    assert "nobody asked for" in str(effects.error)


def test_an_interrupt_by_the_keyboard_goes_through() -> None:
    async def work(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(work)


def test_an_error_of_on_stop_is_seen() -> None:
    class Clings(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            raise OSError("no")

    clings = alone(Clings)
    assert clings.stop() == [Raised(OSError("no"))]
    assert clings.life == "stopped"


def test_an_actor_may_stop_itself() -> None:
    async def work(_: Any) -> None:
        await current().ref.stop()

    caller = alone(Caller, None)
    assert caller.handle("run", work) == [Stopped(caller.ref)]
    assert caller.alive  # nothing is delivered, unless the test does


# ----------------------------------------------------------------------------------- what cannot be had alone


async def sleeps_on_asyncio(_: Any) -> None:
    await asyncio.sleep(1)


async def yields_to_asyncio(_: Any) -> None:
    await asyncio.sleep(0)


async def sleeps_on_trio(_: Any) -> None:
    await trio.sleep(1)


async def sleeps_on_anyio(_: Any) -> None:
    await anyio.sleep(1)


async def groups(_: Any) -> None:
    async with anyio.create_task_group():
        pass


async def traps_of_trio(_: Any) -> None:
    await trio.lowlevel.cancel_shielded_checkpoint()


FOREIGN = [sleeps_on_asyncio, yields_to_asyncio, sleeps_on_trio, sleeps_on_anyio, groups, traps_of_trio]


@pytest.mark.parametrize("function", FOREIGN)
def test_what_takes_a_loop_is_a_clear_error(function: Any) -> None:
    caller = alone(Caller, None)
    with pytest.raises(NeedsRuntime, match=r"run of actor 'Caller'.*test_alone\.py:\d+: .*`simulation`"):
        caller.handle("run", function)
    assert caller.handle("run", read_name).value == "Caller"  # it goes on


async def read_name(_: Any) -> str:
    return current().name


async def test_what_takes_a_loop_is_an_error_within_one_too() -> None:
    caller = alone(Caller, None)
    assert caller.handle("run", read_name).value == "Caller"
    with pytest.raises(NeedsRuntime, match="awaits"):
        caller.handle("run", foreign_checkpoint)


async def foreign_checkpoint(_: Any) -> None:
    await anyio.lowlevel.checkpoint()


def test_an_error_that_code_passes_over_is_told_to_the_test() -> None:
    async def work(_: Any) -> str:
        try:
            current().runtime.stats()
        except Exception:
            return "passed over"
        return "had"

    caller = alone(Caller, None)
    with pytest.raises(NeedsRuntime, match=r"current\(\)\.runtime\.stats was used by actor 'Caller'"):
        caller.handle("run", work)


def test_code_that_awaits_as_it_is_closed_is_left() -> None:
    async def work(_: Any) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)

    with pytest.raises(NeedsRuntime):
        do(work)


def test_it_works_in_any_thread() -> None:
    values: list[Any] = []

    def work() -> None:
        savings, _ = account()
        values.append(savings.handle("deposit", 1).value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert values == [101]


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: alone(5), TypeError, "is no class of actors"),
        (lambda: alone(read, "a"), TypeError, r"alone\.task"),
        (lambda: alone(Account, 1), TypeError, "wrong arguments: missing a required argument: 'audit'"),
        (lambda: alone.named(5), TypeError, "give a str"),
        (lambda: alone.ref(5), TypeError, "give a str"),
        (lambda: alone.ref("a", int), TypeError, "is no class of actors"),
        (lambda: alone.task_ref(5), TypeError, "give a str"),
        (lambda: account()[0].handle("depositt", 1), AttributeError, r"did you mean 'deposit'\? It has: "),
        (lambda: account()[0].handle("deposit"), TypeError, "wrong arguments"),
        (lambda: account()[0].handle("deposit", 1, 2), TypeError, "wrong arguments"),
        (lambda: account()[0].handle(Audit.entry, 2), TypeError, "is no handler of Account"),
        (lambda: account()[0].handle(5), TypeError, "is no handler of Account"),
        (lambda: account()[0].handle("on_stop", 5), AttributeError, "has no handler"),
        (lambda: account()[0].tell("coins", 1), TypeError, "streams its reply"),
        (lambda: account()[0].advance("soon"), ValueError, "duration='soon'"),
        (lambda: account()[0].fire("timer"), ValueError, "no timer that is set now; there are: none"),
        (lambda: account()[0].sent_by("ada"), TypeError, "is no stand-in"),
        (lambda: account()[0].deliver("deposit"), TypeError, "is no message"),
        (lambda: account()[0].deliver(Asked(alone.ref("a"), "coins", (1,))), TypeError, "streams its reply"),
        (lambda: Told(alone.ref("a"), 5), TypeError, "is no handler"),
        (lambda: alone.ref("a").answers("x"), TypeError, "was given no value"),
        (lambda: alone.ref("a").fails("x", "no"), TypeError, "is no exception"),
        (lambda: alone.ref("a").asking(timeout="soon"), ValueError, "timeout='soon'"),
        (lambda: alone.ref("a").asking(priority="high"), TypeError, "give a Priority or an int"),
    ],
)
def test_what_is_wrong_is_refused_at_the_call(wrong: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wrong()


def test_effects_are_equal_to_lists_and_to_one_another() -> None:
    savings, _ = account()
    first, second = savings.handle("deposit", 1), savings.handle("deposit", 1)
    assert first == second
    assert first == list(first)
    assert first == tuple(second)
    assert first != []
    assert first != 5
    assert (len(first), first[0], first[:1]) == (1, second[0], list(second))
    assert "deposit of actor 'Account'" in repr(first)
    assert "raised ValueError" in repr(savings.handle("deposit", -1))
    assert "waiting for the answer" in repr(savings.handle("is_right"))


# ---------------------------------------------------------------------------------------- actors of examples


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"alone_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_greeter_greets_alone(capsys: pytest.CaptureFixture[str]) -> None:
    greeter = alone(example("hello_actors").Greeter, "Hello")
    assert greeter.handle("greet", "Ada").value == "Hello, Ada! You are guest number 1."
    assert greeter.handle("greet", "") == [Raised(ValueError("a guest has a name"))]
    assert greeter.handle("countdown", 3).demand(5) == [3, 2, 1]
    assert greeter.handle("guests").value == ["Ada"]
    assert greeter.stop() == []
    assert capsys.readouterr().out == "the greeter closes its book (stopped)\n"


def test_the_meter_loses_its_total_with_its_life() -> None:
    meter = alone(example("supervision").Meter)
    told = [meter.tell("add", reading) for reading in ["1", "2", "oops", "3", "4"]]
    assert [effects.done for effects in told] == [True, True, True, False, False]
    assert told[2] == [Failed(ValueError("'oops' is no reading"))]
    meter.restart()
    assert meter.handle("total").value == 7


# ------------------------------------------------------------------------------------- compared with the real

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(["deposit", "tell_deposit"]), st.integers(-1, 5)),
        st.tuples(st.just("is_right"), st.none(), st.none()),
        st.tuples(st.just("smash"), st.none(), st.none()),
        st.tuples(st.just("coins"), st.integers(0, 3), st.integers(0, 4)),
    ),
    max_size=12,
)


def history_alone(steps: list[tuple[Any, ...]]) -> tuple[list[Any], list[Any]]:
    """What an account answers that is alone with the test; its books are kept by another one."""
    audit, books = alone.ref("audit", Audit), alone(Audit)
    savings = alone(Account, 2, audit)
    seen: list[Any] = []
    delivered = 0
    for step, first, second in steps:
        if step == "coins":
            stream = savings.handle("coins", first)
            effects: Any = None
            items = stream.demand(second) if second else []
            stream.close()
            seen.append(items)
        elif step == "ask":
            effects = (
                savings.handle("deposit", second) if first == "deposit" else savings.tell("deposit", second)
            )
        else:
            effects = savings.handle(step)
        for told in savings.effects.told[delivered:]:
            books.deliver(told)
        delivered = len(savings.effects.told)
        if step == "is_right":
            books.deliver(effects.asked[0])
        if effects is not None and first != "tell_deposit":
            seen.append(repr(effects.error) if effects.error is not None else effects.value)
        if savings.life == "down":
            savings.restart()
        seen.append(savings.actor.balance)
    return seen, books.actor.entries


async def history_in_a_runtime(steps: list[tuple[Any, ...]]) -> tuple[list[Any], list[Any]]:
    """The same in a runtime."""
    seen: list[Any] = []
    async with Runtime() as rt, rt.scope(Supervise(max_restarts=100)) as scope:
        audit = await rt.spawn(Audit)
        savings = await scope.spawn(Account, 2, audit)
        for step, first, second in steps:
            if step == "coins":
                stream: Any = savings.ask.coins(first)
                items: list[int] = []
                for _ in range(second):
                    try:
                        items.append(await stream.__anext__())
                    except StopAsyncIteration:
                        break
                await stream.aclose()
                seen.append(items)
            elif first == "tell_deposit":
                savings.tell(Account.deposit, second)
            else:
                try:
                    asked = savings.ask.deposit(second) if step == "ask" else getattr(savings.ask, step)()
                    seen.append(await asked)
                except (ValueError, Broken) as error:
                    seen.append(repr(error))
            seen.append(await savings.ask.balance_now())  # type: ignore[attr-defined]
        await audit.ask.total()
        entries = await audit.ask.all()  # type: ignore[attr-defined]
        return seen, entries


async def balance_now(self: Account) -> int:
    return self.balance


async def all_entries(self: Audit) -> list[int]:
    return list(self.entries)


Account.balance_now = balance_now  # type: ignore[attr-defined]
Audit.all = all_entries  # type: ignore[attr-defined]
balance_now.__name__, all_entries.__name__ = "balance_now", "all"


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_an_actor_alone_answers_like_one_in_a_runtime(steps: list[tuple[Any, ...]]) -> None:
    alone_seen = history_alone(steps)
    assert anyio.run(history_in_a_runtime, steps) == alone_seen

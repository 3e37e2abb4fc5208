"""Timers of actors: once, again and again, with a key; and their end with the life that set them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, ActorRef, Mailbox, Runtime, current
from tests.manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from actorsched import ExitReason

pytestmark = pytest.mark.deadline(10)


class Clockwork(Actor):
    """Sets timers as it is told."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.gate = anyio.Event()
        self.timers: dict[str, Any] = {}

    async def after(self, delay: Any, what: object, **options: Any) -> None:
        self.timers[str(what)] = current().after(delay, Clockwork.note, what, **options)

    async def every(self, period: Any, what: object, **options: Any) -> None:
        self.timers[str(what)] = current().every(period, Clockwork.note, what, **options)

    async def cancel(self, what: str) -> None:
        self.timers[what].cancel()

    async def note(self, what: object) -> None:
        self.log.append(what)
        if what == "sender":
            self.log.append(current().sender == current().ref)

    async def hold(self) -> None:
        await self.gate.wait()

    async def fail(self) -> None:
        raise OSError("told to")

    async def do(self, function: Any) -> Any:
        return function(current())


def log_of(ref: ActorRef[Clockwork]) -> list[object]:
    """What it has noted since this was asked last."""
    clockwork: Clockwork = ref._cell.instance
    lines = list(clockwork.log)
    clockwork.log.clear()
    return lines


async def test_after_sends_a_message_once() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.after("2s", "ding")
        await clock.passes(1.9)
        assert log_of(actor) == []
        await clock.passes(0.1)
        assert log_of(actor) == ["ding"]
        await clock.passes(100)
        assert log_of(actor) == []
        assert rt._system.kernel.timers == 0
        assert not actor._cell.more().timers


async def test_every_sends_a_message_again_and_again_without_drift() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.every(1, "tick")
        for _ in range(10):
            await clock.passes(0.7)
        assert log_of(actor) == ["tick"] * 7
        await actor.ask.cancel("tick")
        await clock.passes(100)
        assert log_of(actor) == []
        assert rt._system.kernel.timers == 0


async def test_a_slow_actor_is_not_buried_under_its_ticks() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.every(1, "tick")
        actor.tell(Clockwork.hold)
        for _ in range(5):
            await clock.passes(1)
        assert actor.queued == 1
        actor._cell.instance.gate.set()
        await settle()
        assert log_of(actor) == ["tick"]
        await clock.passes(1)
        assert log_of(actor) == ["tick"]


async def test_a_clock_that_jumps_brings_one_tick_and_keeps_the_grid() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.every(1, "tick")
        clock._now += 3.5  # the loop was blocked
        await clock.passes(0)
        assert log_of(actor) == ["tick"]
        await clock.passes(0.4)
        assert log_of(actor) == []
        await clock.passes(0.1)
        assert log_of(actor) == ["tick"]


async def test_a_timer_with_the_same_key_takes_the_place_of_the_one_before() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.after(1, "first", key="k")
        await clock.passes(0.5)
        await actor.ask.after(1, "second", key="k")
        await actor.ask.after(1, "other", key="l")
        assert rt._system.kernel.timers == 2
        await clock.passes(0.9)
        assert log_of(actor) == []
        await clock.passes(0.1)
        assert log_of(actor) == ["second", "other"]


async def test_cancelling_a_timer_that_was_replaced_leaves_the_new_one_alone() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.after(1, "first", key="k")
        await actor.ask.after(1, "second", key="k")
        await actor.ask.cancel("first")
        await clock.passes(1)
        assert log_of(actor) == ["second"]
        await actor.ask.cancel("second")


async def test_the_sender_of_a_timers_message_is_the_actor_itself() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.after(0, "sender")
        await clock.passes(0)
        assert log_of(actor) == ["sender", True]


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_timers_end_with_their_actor(how: str) -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.every(1, "tick")
        await actor.ask.after(1, "ding")
        await getattr(actor, how)()
        assert rt._system.kernel.timers == 0
        await clock.passes(10)
        assert rt._system.kernel.office.dead_lettered == 0


async def test_timers_end_with_the_life_that_set_them() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork)
        await actor.ask.every(1, "tick")
        actor.tell(Clockwork.fail)
        await settle()
        assert rt._system.kernel.timers == 0
        await clock.passes(5)
        assert log_of(actor) == []


async def test_a_timer_that_is_set_on_the_way_out_comes_to_nothing() -> None:
    class Late(Clockwork):
        async def on_stop(self, reason: ExitReason) -> None:
            current().every(1, Clockwork.note, "late")
            current().after(1, Clockwork.note, "late").cancel()

    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Late)
        await actor.stop()
        assert rt._system.kernel.timers == 0
        await clock.passes(10)
        assert rt._system.kernel.office.sent == 0


async def test_a_timers_message_to_a_full_mailbox_is_a_dead_letter() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Clockwork, mailbox=Mailbox(1))
        await actor.ask.after(1, "ding")
        actor.tell(Clockwork.hold)
        await settle()
        actor.tell(Clockwork.note, "queued")
        await clock.passes(1)
        actor._cell.instance.gate.set()
        await settle()
        assert log_of(actor) == ["queued"]
        office = rt._system.kernel.office
        assert office.dead_lettered == 1
        assert office.sent == office.handled + office.dead_lettered


async def test_a_timer_may_be_set_when_the_actor_starts() -> None:
    class Early(Clockwork):
        async def on_start(self) -> None:
            current().every("1s", Clockwork.note, "tick")

    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Early)
        await clock.passes(2)
        assert log_of(actor) == ["tick", "tick"] or log_of(actor) == []
        actor.tell(Clockwork.fail)
        await settle()
        await clock.passes(1)
        assert log_of(actor) == ["tick"], "a new life sets its own"


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda here: here.after("soon", Clockwork.note, 1), ValueError, "delay='soon'"),
        (lambda here: here.after(-1, Clockwork.note, 1), ValueError, "delay=-1"),
        (lambda here: here.every(0, Clockwork.note, 1), ValueError, "period=0 is no time at all"),
        (lambda here: here.every(None, Clockwork.note, 1), ValueError, "period=None"),
        (lambda here: here.after(1, "note", 1), TypeError, "'note' is no handler of Clockwork"),
        (lambda here: here.after(1, Clockwork.note), TypeError, "was sent wrong arguments"),
        (
            lambda here: here.after(1, Clockwork.note, 1, kye="k"),
            TypeError,
            "unexpected keyword argument 'kye'",
        ),
    ],
)
async def test_a_wrong_timer_is_refused_at_the_call(wrong: Any, error: type[Exception], message: str) -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Clockwork)
        with pytest.raises(error, match=message):
            await actor.ask.do(wrong)
        assert rt._system.kernel.timers == 0


async def test_a_timer_shows_what_it_will_send() -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Clockwork, name="c")
        assert (
            await actor.ask.do(lambda here: repr(here.after(9, Clockwork.note, 1))) == "<timer note of 'c'>"
        )

"""Faults of messages: delayed, lost, overtaken; and what is promised of messages all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, Mailbox
from actorsched.testing import Simulation, call, explore, find_failure, replay
from actorsched.testing.choices import choices_of
from actorsched.testing.exploring import run_once

if TYPE_CHECKING:
    from actorsched.testing.exploring import BackendName, Scenario

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Log(Actor):
    """Writes down what comes, by whoever has sent it."""

    mailbox = Mailbox(capacity=None)

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def write(self, entry: Any) -> Any:
        self.seen.append(entry)
        return entry

    async def read(self) -> list[Any]:
        return self.seen


class HostedLog(Log, host="process"):
    """The same in a host."""


def run(scenario: Scenario, backend: BackendName, seeds: int = 40) -> None:
    explore(scenario, seeds, backend=backend)


@BOTH
@pytest.mark.parametrize("kind", [Log, HostedLog])
def test_a_delayed_message_comes_later_and_all_behind_it_of_its_sender(
    backend: BackendName, kind: Any
) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(kind)
            simulation.delay(log, call("write", 1), by="5s")
            for number in (0, 1, 2):
                log.tell(Log.write, number)

            async def other() -> None:
                log.tell(Log.write, "of another")

            await rt.run(other)
            await simulation.advance("4s")
            assert set(await rt.run(log.ask.read)) == {0, "of another"}
            await simulation.advance("3s")
            assert [each for each in await log.ask.read() if each != "of another"] == [0, 1, 2]
            assert rt.stats().messages.dead_lettered == 0

    run(scenario, backend, 20 if kind is HostedLog else 40)


@BOTH
def test_an_ask_waits_behind_what_its_sender_has_told(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log)
            simulation.delay(Log, by="5s")
            log.tell(Log.write, 1)
            assert await log.ask.read() == [1]
            assert simulation.now == 5

    run(scenario, backend)


@BOTH
def test_a_delayed_ask_is_answered_later_and_its_timeout_counts(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log)
            simulation.delay(log, "write", by="5s", times=2)
            with pytest.raises(TimeoutError):
                await log.asking(timeout="2s").write(1)
            assert await log.ask.write(2) == 2
            assert simulation.now == 7
            assert await log.ask.read() == [2]

    run(scenario, backend)


@BOTH
def test_a_lost_message_is_a_dead_letter_and_the_books_balance(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log, name="log")
            simulation.drop("log", call("write", 1))
            letters = rt.dead_letters()
            for number in (0, 1, 1):
                log.tell(Log.write, number)
            assert await log.ask.read() == [0, 1]
            letter = await anext(letters)
            assert (letter.actor, letter.handler, letter.args) == ("log", "write", (1,))
            assert letter.reason == "lost"
            await letters.aclose()
            messages = rt.stats().messages
            assert messages.sent == messages.handled + messages.rejected + messages.dead_lettered
            assert messages.dead_lettered == 1

    run(scenario, backend)


@BOTH
def test_asks_are_never_lost(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log)
            simulation.drop(log, times=None)
            simulation.faults(drop=1.0)
            assert await log.ask.write(1) == 1
            log.tell(Log.write, 2)
            assert await log.ask.read() == [1]

    run(scenario, backend)


@BOTH
def test_by_chance_the_order_of_each_sender_holds_and_nothing_is_lost_uncounted(backend: BackendName) -> None:
    orders: set[tuple[int, ...]] = set()

    async def scenario(simulation: Simulation) -> None:
        simulation.faults(drop=0.1, delay=0.3, reorder=True)
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log)

            async def send(sender: int) -> None:
                for number in range(4):
                    log.tell(Log.write, 10 * sender + number)
                    if number == 1:
                        await anyio.sleep(0.001)

            for task in [await rt.spawn(send, sender) for sender in range(3)]:
                await task
            await simulation.advance("1min")
            seen = await log.ask.read()
            for sender in range(3):
                own = [entry for entry in seen if entry // 10 == sender]
                assert own == sorted(own)
            messages = rt.stats().messages
            assert messages.sent == messages.handled + messages.dead_lettered == 13
            assert messages.dead_lettered == 12 - len(seen)
            orders.add(tuple(seen))

    run(scenario, backend, 100)
    assert len(orders) > 50


@BOTH
def test_stopping_an_actor_works_off_what_is_delayed(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log)
            cell: Any = log._cell
            simulation.delay(log, by="3s", times=None)
            for number in range(3):
                log.tell(Log.write, number)
            seen = cell.instance.seen
            await log.stop()
            assert seen == [0, 1, 2]
            assert simulation.now == 3

    run(scenario, backend)


@BOTH
def test_a_delayed_message_takes_room_in_the_mailbox(backend: BackendName) -> None:
    class Small(Log):
        mailbox = Mailbox(capacity=2, overflow="raise")

    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(Small)
            simulation.delay(log, by="3s", times=None)
            log.tell(Log.write, 1)
            log.tell(Log.write, 2)
            assert log.queued == 2
            with pytest.raises(Exception, match="its mailbox holds 2"):
                log.tell(Log.write, 3)
            await simulation.advance("3s")
            await simulation.run_until_idle()
            assert log.queued == 0

    run(scenario, backend)


@BOTH
def test_what_waits_in_rows_is_kept_when_faults_begin(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log)
            for number in range(10):
                log.tell(Log.write, number)
            simulation.faults(reorder=True)
            for number in range(10, 20):
                log.tell(Log.write, number)
            assert await log.ask.read() == list(range(20))

    run(scenario, backend)


def test_the_fault_that_breaks_a_service_is_found_made_short_and_told() -> None:
    """Whoever counts on a message that was told has not read what is promised."""

    async def scenario(simulation: Simulation) -> None:
        simulation.faults(drop=0.05)
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log, name="log")
            for number in range(5):
                log.tell(Log.write, number)
            assert len(await log.ask.read()) == 5

    failure: Any = find_failure(scenario, 200)
    assert isinstance(failure.error, AssertionError)
    faults = [entry for entry in failure.log if entry.kind == "fault"]
    assert len(faults) == 1
    assert "write of actor 'log' is lost" in faults[0].text


def test_faults_are_no_part_of_a_run_that_has_none() -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            log = await rt.spawn(Log)
            for number in range(30):
                log.tell(Log.write, number)
            assert await log.ask.read() == list(range(30))
            assert rt.stats().messages.handled == 31

    explore(scenario, 100)
    assert run_once(scenario, choices_of("s:0:"), "s:0:").world.now == 0


def test_bad_input_is_refused_at_the_call() -> None:
    async def scenario(simulation: Simulation) -> None:
        with pytest.raises(TypeError, match="dropp=1 is no fault; there are: drop, delay"):
            simulation.faults(dropp=1)
        with pytest.raises(ValueError, match="drop=2 is no probability"):
            simulation.faults(drop=2)
        with pytest.raises(TypeError, match="delay='much' is no number"):
            simulation.faults(delay="much")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="to=5 is no receiver"):
            simulation.drop(5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="times=0 is less than 1"):
            simulation.drop(times=0)
        with pytest.raises(ValueError, match="by="):
            simulation.delay(by="later")
        with pytest.raises(ValueError, match="frame='Walk' is no frame; there are: Define, Run"):
            simulation.at_frame("Walk", "crash")
        with pytest.raises(ValueError, match="fate='die' is none; choose 'crash'"):
            simulation.at_frame("Run", "die")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="nth=0 is less than 1"):
            simulation.at_frame("Run", "crash", nth=0)

    replay(scenario, 0)

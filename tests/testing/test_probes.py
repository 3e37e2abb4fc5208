"""Probes: actors that write down what they are sent, and may stand wherever an actor is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, ActorRef, Supervise, current
from actorsched.testing import Simulation, call, explore, replay
from actorsched.testing.patterns import ANY, Message
from actorsched.testing.probes import Unexpected

if TYPE_CHECKING:
    from actorsched.testing.exploring import BackendName, Scenario

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Audit(Actor):
    """What the accounts tell, if it is the real one."""

    async def entry(self, amount: int) -> None: ...

    async def limit(self, account: str) -> int:
        return 1000


class Account(Actor):
    """Tells an audit what it does, and asks it first."""

    def __init__(self, audit: ActorRef[Audit]) -> None:
        self.audit = audit
        self.balance = 0

    async def deposit(self, amount: int) -> int:
        self.balance += amount
        self.audit.tell(Audit.entry, amount)
        return self.balance

    async def withdraw(self, amount: int) -> int:
        if amount > await self.audit.ask.limit("mine"):
            raise ValueError(amount)
        await anyio.sleep(1)
        return await self.deposit(-amount)

    async def greet(self) -> None:
        sender = current().sender
        assert isinstance(sender, ActorRef)
        sender.tell(Audit.entry, -1)


def run(scenario: Scenario, backend: BackendName) -> None:
    explore(scenario, 30, backend=backend)


@BOTH
def test_messages_are_expected_in_their_order(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            probe = simulation.probe("audit")
            account = await rt.spawn(Account, probe.ref)
            account.tell(Account.deposit, 50)
            account.tell(Account.deposit, 60)
            message = await probe.expect(call("entry", 50))
            assert message == Message("entry", (50,), {}, account)
            await probe.expect(call(Audit.entry, 60))
            await probe.expect_nothing()
            assert [each.args for each in probe.messages] == [(50,), (60,)]
            assert rt.lookup("audit") == probe.ref

    run(scenario, backend)


@BOTH
def test_a_message_is_waited_for_in_virtual_time(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            probe = simulation.probe()
            probe.answers("limit", 100)
            account = await rt.spawn(Account, probe.ref)
            account.tell(Account.withdraw, 70)
            await probe.expect("limit")
            await probe.expect_nothing(within="0.9s")
            await probe.expect("entry", within="0.1s")  # at the very end of that
            assert simulation.now == 1

    run(scenario, backend)


@BOTH
@pytest.mark.parametrize(
    ("answer", "outcome"), [(100, -70), (5, ValueError), (LookupError("no limit"), LookupError)]
)
def test_asks_get_what_was_prepared(backend: BackendName, answer: Any, outcome: Any) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            probe = simulation.probe()
            probe.answers(Audit.limit, answer)
            account = await rt.spawn(Account, probe.ref)
            if isinstance(outcome, type):
                with pytest.raises(outcome):
                    await account.ask.withdraw(70)
            else:
                assert await account.ask.withdraw(70) == outcome

    run(scenario, backend)


@BOTH
def test_answers_may_be_made_of_the_arguments_and_take_their_time(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime():
            probe = simulation.probe()

            async def slowly(account: str) -> int:
                await anyio.sleep(2)
                return len(account)

            probe.answers("limit", slowly)
            assert await probe.ref.ask.limit("mine") == 4
            assert simulation.now == 2
            probe.answers("limit", str.upper)
            assert await probe.ref.ask.limit("mine") == "MINE"
            assert await probe.ref.ask.anything(1, two=3) is None

    run(scenario, backend)


@BOTH
def test_what_is_injected_comes_from_the_probe(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            probe = simulation.probe()
            account = await rt.spawn(Account, simulation.probe().ref)
            probe.inject(account, Account.greet)
            assert (await probe.expect(call("entry", -1))).sender == account

    run(scenario, backend)


@BOTH
def test_another_message_than_expected_is_told(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            probe = simulation.probe("audit")
            account = await rt.spawn(Account, probe.ref, name="mine")
            account.tell(Account.deposit, 50)
            with pytest.raises(
                Unexpected, match=r"audit was sent entry\(50\) from .*mine.*; expected: entry\(60\)"
            ):
                await probe.expect(call("entry", 60))
            with pytest.raises(Unexpected, match="audit was sent nothing within 5s; expected: "):
                await probe.expect(ANY, within="5s")
            assert simulation.now == 5
            account.tell(Account.deposit, 1)
            with pytest.raises(Unexpected, match=r"audit was sent entry\(1\) from .*; expected: nothing"):
                await probe.expect_nothing()

    run(scenario, backend)


@BOTH
def test_a_probe_steps_through_what_happens(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            probe = simulation.probe()
            account = await rt.spawn(Account, simulation.probe().ref)
            for _ in range(3):
                account.tell(Account.deposit, 1)
            await probe.step()
            assert account.queued == 2
            await probe.run_until_idle()
            assert account.queued == 0

    run(scenario, backend)


@BOTH
def test_a_probe_hears_what_is_broadcast_and_may_be_linked(backend: BackendName) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt, rt.scope(Supervise()) as scope:
            probe = simulation.probe(runtime=rt)
            account = await scope.spawn(Account, probe.ref)
            ended = await rt.monitor(account) if not account.alive else None
            assert ended is None
            await account.stop()
            assert not account.alive
            assert probe.ref.alive

    run(scenario, backend)


def test_a_probe_says_in_which_runtime_it_is() -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as one, simulation.runtime() as other:
            with pytest.raises(
                RuntimeError, match=r"2 runtimes are open in this simulation.*probe\(runtime=rt\)"
            ):
                simulation.probe()
            simulation.probe("one", runtime=one)
            simulation.probe("one", runtime=other)

    replay(scenario, 0)


def test_bad_input_is_refused_at_the_call() -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            probe = simulation.probe()
            account = await rt.spawn(Account, probe.ref)
            with pytest.raises(ValueError, match="within="):
                await probe.expect(within="-1s")
            with pytest.raises(TypeError, match="to='account' is no ActorRef"):
                probe.inject("account", Account.deposit, 1)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="wrong arguments"):
                probe.inject(account, Account.deposit)
            with pytest.raises(TypeError):
                await probe.expect(5.5)  # no pattern
            with pytest.raises(TypeError):
                probe.answers(5, 6)  # type: ignore[arg-type]

    replay(scenario, 0)

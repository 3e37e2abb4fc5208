"""Tests of `bookings.py`, from the first one to the race; the guide "Testing" goes through them.

Run them with `pytest examples/test_bookings.py`. The last test is known to fail for `Desk`, the one with the
mistake: with `--runxfail` it fails before your eyes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorsched import Runtime, sleep
from actorsched.testing import ConditionFailed, Simulation, alone, call
from actorsched.testing.effects import TimerSet, Told
from examples.bookings import CarefulDesk, Desk, Hall, Mail

if TYPE_CHECKING:
    from actorsched.testing import VirtualClock

DESKS = pytest.mark.parametrize("kind", [Desk, CarefulDesk])
A_RACE = pytest.mark.xfail(raises=ConditionFailed, strict=True, reason="it looks, and sells a moment later")


async def money(customer: str, amount: int) -> None:
    """Changes hands at once."""


# ---------------------------------------------------------------------------------------- in an ordinary run


@DESKS
async def test_a_seat_that_is_paid_for_is_sold(runtime: Runtime, kind: type[Desk]) -> None:
    ledger: list[tuple[str, str]] = []
    async with runtime.scope() as scope:
        hall = await scope.spawn(Hall, ["A1"], await scope.spawn(Mail), ledger)
        desk = kind(hall, money, money)
        assert await desk.book("Ann") == "A1"
        assert await desk.book("Bo") is None
    assert ledger == [("A1", "Ann")]


@DESKS
async def test_whoever_is_too_slow_gets_the_money_back(
    runtime: Runtime, virtual_clock: VirtualClock, kind: type[Desk]
) -> None:
    refunds: list[str] = []

    async def slowly(customer: str, amount: int) -> None:
        await sleep("11s")

    async def refund(customer: str, amount: int) -> None:
        refunds.append(customer)

    async with runtime.scope() as scope:
        hall = await scope.spawn(Hall, ["A1"], await scope.spawn(Mail), [])
        assert await scope.run(kind(hall, slowly, refund).book, "Ann") is None
        assert refunds == ["Ann"]
        assert runtime.now == 11


# ------------------------------------------------------------------------------------------ one actor alone


def test_a_hold_runs_out_after_ten_seconds_for_the_next_in_line() -> None:
    mail = alone.ref("mail", Mail)
    hall = alone(Hall, ["A1"], mail, [])
    held = hall.handle(Hall.hold, "Ann")
    assert held.value == "A1"
    assert held == [TimerSet(10, "give_back", ("Ann",), key="Ann")]
    assert hall.handle(Hall.hold, "Bo").value is None

    effects = hall.advance("10s")
    assert Told(mail, "your_turn", ("Bo", "A1")) in effects
    assert hall.actor.held == {"Bo": "A1"}


# -------------------------------------------------------------------------------------------- in simulations


async def test_who_is_on_the_waiting_list_gets_a_mail(simulation: Simulation) -> None:
    async with simulation.runtime() as rt:
        mail = simulation.probe("mail")
        hall = await rt.spawn(Hall, ["A1"], mail.ref, [])
        assert await hall.ask.hold("Ann") == "A1"
        assert await hall.ask.hold("Bo") is None
        await mail.expect_nothing(within="9s")
        await mail.expect(call(Mail.your_turn, "Bo", "A1"), within="1s")


@pytest.mark.actorsched(seeds=500)
@pytest.mark.parametrize("kind", [pytest.param(Desk, marks=A_RACE), CarefulDesk])
async def test_no_seat_is_sold_twice(simulation: Simulation, kind: type[Desk]) -> None:
    await evening(simulation, kind)


async def evening(simulation: Simulation, kind: type[Desk]) -> None:
    """One seat, and three customers who take their time, change their minds, and come again."""
    ledger: list[tuple[str, str]] = []
    simulation.always(lambda: len(ledger) < 2, "one ticket per seat")

    async def pay(customer: str, amount: int) -> None:
        await sleep(simulation.random.randint(1, 6))

    async def change_of_mind(customer: str) -> None:
        await sleep(simulation.random.randint(1, 6))
        await desk.cancel(customer)

    async def visit(customer: str) -> None:
        for _ in range(3):
            if await desk.book(customer):
                break
            await sleep(simulation.random.randint(1, 6))

    async with simulation.runtime() as rt:
        mail = simulation.probe("mail")
        hall = await rt.spawn(Hall, ["A1"], mail.ref, ledger, name="hall")
        desk = kind(hall, pay, money)
        tasks = [await rt.spawn(change_of_mind, "Ann", name="Ann's change of mind")]
        tasks += [await rt.spawn(visit, each, name=f"{each}'s visit") for each in ("Ann", "Bo", "Cleo")]
        for task in tasks:
            await task

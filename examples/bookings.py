"""A box office that sells one seat twice, once in a while; and one that never does.

Whoever wants a seat has it held for ten seconds, and pays meanwhile. Holds run out, and customers change
their minds; then the seat is held for the next one on the waiting list, who gets a mail. The hall is an
actor: it knows who holds what, and handles one message at a time. The desk serves all customers at once.

`Desk` has a mistake that hardly any run shows. `test_bookings.py` finds it; the guide "Testing" tells how.
`CarefulDesk` is the same without it. Run this with `python examples/bookings.py`.
"""

# expect: Bo has no seat yet
# expect: mail for Bo: seat A1 is held for you for 10 s
# expect: Cleo has seat A2
# expect: Ann gets 40 back
# expect: Bo has seat A1
# expect: sold: A1 to Bo, A2 to Cleo

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import actorsched
from actorsched import Actor, ActorRef, Runtime, current, sleep

HOLD = "10s"
PRICE = 40

Pay: TypeAlias = "Callable[[str, int], Awaitable[object]]"


class Mail(Actor):
    """Writes to customers."""

    async def your_turn(self, customer: str, seat: str) -> None:
        """A seat has become free for somebody on the waiting list."""
        print(f"mail for {customer}: seat {seat} is held for you for 10 s")


class Hall(Actor):
    """Knows which seat is free, held or sold, and who waits for one.

    Args:
        seats: The seats that there are.
        mail: Told of everybody whose turn has come.
        ledger: Where tickets are written down, as (seat, customer).
    """

    def __init__(self, seats: list[str], mail: ActorRef[Mail], ledger: list[tuple[str, str]]) -> None:
        self.free = list(seats)
        self.held: dict[str, str] = {}
        self.waiting: list[str] = []
        self._mail = mail
        self._ledger = ledger

    async def hold(self, customer: str) -> str | None:
        """Hold a seat for somebody; if there is none, remember who wants one."""
        if customer in self.held:
            return self.held[customer]
        if self.free:
            return self._hold(self.free.pop(0), customer)
        self.waiting.append(customer)
        return None

    async def holds(self, customer: str) -> bool:
        """Whether a seat is held for somebody."""
        return customer in self.held

    async def sell(self, seat: str, customer: str) -> None:
        """Write a ticket."""
        self.held.pop(customer, None)
        self._ledger.append((seat, customer))

    async def sell_held(self, seat: str, customer: str) -> bool:
        """Write a ticket, if this customer holds the seat."""
        if self.held.get(customer) != seat:
            return False
        await self.sell(seat, customer)
        return True

    async def give_back(self, customer: str) -> None:
        """Somebody does not want a seat any more, or has taken too long to pay for it."""
        seat = self.held.pop(customer, None)
        if seat is None:
            return  # it is sold, or was given back before
        if not self.waiting:
            self.free.append(seat)
            return
        following = self.waiting.pop(0)
        self._mail.tell(Mail.your_turn, following, self._hold(seat, following))

    def _hold(self, seat: str, customer: str) -> str:
        self.held[customer] = seat
        current().after(HOLD, Hall.give_back, customer, key=customer)
        return seat


class Desk:
    """Serves customers, any number of them at once.

    Args:
        hall: Where the seats are.
        pay: Takes a customer's money. That may take a while, or fail.
        refund: Gives it back.
    """

    def __init__(self, hall: ActorRef[Hall], pay: Pay, refund: Pay) -> None:
        self.hall = hall
        self.pay = pay
        self.refund = refund

    async def book(self, customer: str) -> str | None:
        """Sell a seat. Returns None if there is none, or the customer has lost it before it was paid."""
        seat = await self.hall.ask.hold(customer)
        if seat is None:
            return None
        await self.pay(customer, PRICE)
        if await self.sold(seat, customer):
            return seat
        await self.refund(customer, PRICE)
        return None

    async def sold(self, seat: str, customer: str) -> bool:
        """Sell a seat that is paid for, unless the customer does not hold it any more."""
        if not await self.hall.ask.holds(customer):
            return False
        await self.hall.ask.sell(seat, customer)
        return True

    async def cancel(self, customer: str) -> None:
        """A customer who has not paid yet changes their mind."""
        await self.hall.ask.give_back(customer)


class CarefulDesk(Desk):
    """Has the hall look and sell in one message: nothing comes in between."""

    async def sold(self, seat: str, customer: str) -> bool:
        """As above."""
        return await self.hall.ask.sell_held(seat, customer)


async def main() -> None:
    """Two seats, and three customers; one of them changes her mind while she pays."""

    async def pay(customer: str, amount: int) -> None:
        await sleep(seconds[customer])

    async def refund(customer: str, amount: int) -> None:
        print(f"{customer} gets {amount} back")

    async def visit(customer: str) -> None:
        seat = await desk.book(customer)
        print(f"{customer} has seat {seat}" if seat else f"{customer} has no seat yet")

    seconds = {"Ann": 0.3, "Bo": 0.1, "Cleo": 0.1}
    ledger: list[tuple[str, str]] = []
    async with Runtime() as rt:
        hall = await rt.spawn(Hall, ["A1", "A2"], await rt.spawn(Mail), ledger)
        desk = CarefulDesk(hall, pay, refund)
        visits = [await rt.spawn(visit, customer) for customer in ("Ann", "Cleo", "Bo")]
        await visits[2]
        await desk.cancel("Ann")
        await visits[0]
        await rt.run(visit, "Bo")
    print("sold:", ", ".join(f"{seat} to {customer}" for seat, customer in sorted(ledger)))


if __name__ == "__main__":
    actorsched.run(main)

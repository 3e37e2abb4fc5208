"""Hello, actors: state of your own, handlers that run one at a time, and refs that are typed.

Run it with `python examples/hello_actors.py`.
"""

# expect: Hello, Ada! You are guest number 1.
# expect: Hello, Grace! You are guest number 2.
# expect: the greeter cannot greet nobody: a guest has a name
# expect: 3 ... 2 ... 1 ...
# expect: its guests were: Ada, Grace, Linus
# expect: the greeter closes its book (shutdown)

from __future__ import annotations

from collections.abc import AsyncIterator

import actorsched
from actorsched import Actor, ExitReason, Runtime


class Greeter(Actor):
    """Greets guests, and remembers them.

    Nobody else ever runs code of this object, so `_guests` needs no lock, however many guests come at once.
    """

    def __init__(self, greeting: str) -> None:
        self._greeting = greeting
        self._guests: list[str] = []

    # Every public `async def` is a handler; there is nothing to register.
    async def greet(self, name: str) -> str:
        """Greet a guest, whose name goes into the book."""
        if not name:
            raise ValueError("a guest has a name")
        self._guests.append(name)
        return f"{self._greeting}, {name}! You are guest number {len(self._guests)}."

    async def guests(self) -> list[str]:
        """Who has been greeted."""
        return self._guests

    # An async generator is a handler whose answer is a stream. It makes an item when somebody asks for one.
    async def countdown(self, start: int) -> AsyncIterator[int]:
        """Count down, as slowly as the guests listen."""
        for number in range(start, 0, -1):
            yield number

    async def on_stop(self, reason: ExitReason) -> None:
        """Called after the last message."""
        print(f"the greeter closes its book ({reason.kind})")


async def main() -> None:
    """Everything happens within a runtime."""
    async with Runtime() as rt:
        greeter = await rt.spawn(Greeter, "Hello", name="greeter")

        # Ask: send a message, and wait for the answer. Type checkers know that it is a `str`.
        print(await greeter.ask.greet("Ada"))
        print(await greeter.ask.greet("Grace"))

        # What an asked handler raises goes to whoever asked; the actor carries on.
        try:
            await greeter.ask.greet("")
        except ValueError as error:
            print("the greeter cannot greet nobody:", error)

        # Tell: send a message, and go on at once. Messages of one sender keep their order, so Linus is in the
        # book when the last question is answered.
        greeter.tell(Greeter.greet, "Linus")

        async for number in greeter.ask.countdown(3):
            print(number, end=" ... ")
        print()

        # By name, from anywhere in the runtime.
        print("its guests were:", ", ".join(await rt.lookup("greeter").ask.guests()))

    # Leaving the runtime has stopped the actor, after everything that was still in its mailbox.


if __name__ == "__main__":
    actorsched.run(main)

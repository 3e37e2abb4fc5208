"""What simulated hosts are given to do. It writes down what it does, in one book for all of them.

It is a module of its own because what travels to a host is found there by its name.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import anyio

from actorsched import Actor, checkpoint, current
from actorsched._hosting.inside import present

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Planned(Exception):
    """What goes wrong on purpose."""


class Book:
    """What code in hosts has done.

    Attributes:
        begun: The hosts in which each piece of work has begun, in order.
        left: How often each has been left, by its end or by an error, in a host that lived.
        inside: What is being done now, of whom, and in which host.
        heard: What each actor was told or asked, in order.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """A new run begins."""
        self.begun: dict[str, list[Any]] = {}
        self.left: dict[str, int] = {}
        self.inside: dict[int, tuple[str, Any, Any]] = {}
        self.heard: dict[str, list[tuple[str, int]]] = {}
        self._number = 0

    def goes_on(self, name: str) -> bool:
        """Whether a piece of work goes on: in a host that has died, nothing does."""
        return any(one == name and host.alive for one, host, _ in self.inside.values())

    def busy(self) -> list[str]:
        """The pieces of work that take steps."""
        return [name for name, host, _ in self.inside.values() if host.alive and not host.frozen]

    @contextmanager
    def doing(self, name: str, of: object = None) -> Iterator[Any]:
        """A piece of work is done: of an actor, or of a task, which has its host for itself."""
        host: Any = present().host  # type: ignore[union-attr]
        of = of or host
        assert host.alive, "nothing begins in a host that has died"
        assert not self.goes_on(name), f"{name} is done twice at the same time"
        others = [one for one, where, other in self.inside.values() if other is of and where.alive]
        assert not others, f"{name} begins in the midst of {others}"
        self.begun.setdefault(name, []).append(host)
        self._number += 1
        mine = self._number
        self.inside[mine] = name, host, of
        try:
            yield host
        finally:
            del self.inside[mine]
            if host.alive:
                self.left[name] = self.left.get(name, 0) + 1


BOOK = Book()


# ----------------------------------------------------------------------------------------------------- tasks


async def nap(name: str, seconds: float) -> str:
    """Sleep."""
    with BOOK.doing(name):
        await anyio.sleep(seconds)
    return name


def count(name: str, steps: int) -> str:
    """Work, in a plain function."""
    with BOOK.doing(name):
        for _ in range(steps):
            checkpoint()
    return name


def fail(name: str, times: int) -> str:
    """Fail the first so many times."""
    with BOOK.doing(name):
        if len(BOOK.begun[name]) <= times:
            raise Planned(name)
    return name


async def stubborn(name: str, seconds: float) -> str:
    """Take some time to stop."""
    with BOOK.doing(name):
        try:
            await anyio.sleep(seconds)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(seconds)
    return name


def secret(name: str) -> Any:
    """Return what cannot travel."""
    with BOOK.doing(name):
        return Lock()


async def talk(name: str, counter: Any) -> str:
    """Ask somebody outside."""
    with BOOK.doing(name):
        await counter.ask.add(1)
        current().report(0.5)
        await counter.ask.add(1)
    return name


class Counter(Actor):
    """Counts, at home."""

    def __init__(self) -> None:
        self.value = 0

    async def add(self, number: int) -> int:
        self.value += number
        return self.value


# ---------------------------------------------------------------------------------------------------- actors


class Clerk(Actor, host="process"):
    """Does one thing after another, in a host, and counts them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0

    async def on_start(self) -> None:
        with BOOK.doing(f"start of {self.name}", self):
            await anyio.sleep(0)

    async def do(self, sender: str, number: int, seconds: float) -> int:
        """Do it, and answer how many things were done since the start."""
        with BOOK.doing(f"{number} of {sender}", self):
            BOOK.heard.setdefault(self.name, []).append((sender, number))
            self.done += 1
            done = self.done
            await anyio.sleep(seconds)
        return done

    async def refuse(self, sender: str, number: int) -> None:
        """Fail."""
        with BOOK.doing(f"{number} of {sender}", self):
            BOOK.heard.setdefault(self.name, []).append((sender, number))
            raise Planned(sender)

    async def numbers(self, sender: str, number: int, items: int) -> AsyncIterator[int]:
        """Count on demand."""
        BOOK.begun.setdefault(f"{number} of {sender}", []).append(present())
        try:
            for item in range(items):
                await anyio.sleep(0.01)
                yield item
        finally:
            BOOK.left[f"{number} of {sender}"] = 1

"""Actors for tests of moves and storms: what they do is written down in files, which outlive their hosts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actorsched import Actor, current
from tests.host_work import Counter, double, tell, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def turn_up(path: str) -> None:
    """Wait until a file is there."""
    import anyio

    while not Path(path).exists():
        await anyio.sleep(0)


class Scribe(Actor, host="process"):
    """Writes down what it is told, and when its lives begin and end."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._count = 0

    async def on_start(self) -> None:
        write(self._log, "start")

    async def on_stop(self, reason: Any) -> None:
        write(self._log, f"stop {reason.kind}")

    async def put(self, what: Any) -> int:
        write(self._log, str(what))
        self._count += 1
        return self._count

    async def put_both(self, other: Any, what: Any) -> int:
        """Have another put it, and do so itself."""
        theirs: int = await other.ask.put(what)
        return theirs + await self.put(what)

    async def count(self) -> int:
        return self._count

    async def pid(self) -> int:
        return os.getpid()

    async def fail(self, message: str) -> None:
        raise LookupError(message)

    async def hold(self, fifo: str, go: str) -> str:
        tell(fifo)
        await turn_up(go)
        write(self._log, "held")
        return "held"

    async def numbers(self, count: int) -> AsyncIterator[int]:
        try:
            for number in range(count):
                yield number
        finally:
            write(self._log, "closed")

    async def spin(self, fifo: str) -> None:
        tell(fifo)
        while True:
            pass


class Lingering(Scribe, host="process"):
    """Takes its time to stop."""

    def __init__(self, log: str, fifo: str, go: str) -> None:
        super().__init__(log)
        self._fifo, self._go = fifo, go

    async def on_stop(self, reason: Any) -> None:
        tell(self._fifo)
        await turn_up(self._go)
        await super().on_stop(reason)


class StartsOnce(Scribe, host="process"):
    """Cannot start a second time until somebody has seen to it."""

    async def on_start(self) -> None:
        await super().on_start()
        if Path(self._log).read_text().splitlines().count("start") == 2:
            raise OSError("no second start")


class Parent(Scribe, host="process"):
    """Has a child from the beginning of each life."""

    async def on_start(self) -> None:
        await super().on_start()
        self._child = await current().spawn(Scribe, self._log + ".child")
        here: Any = current()
        here.every(3600, Parent.count, key="beat")

    async def child(self) -> Any:
        return self._child


@dataclass
class Box:
    """Refs, deep inside."""

    refs: dict[str, list[tuple[Any, ...]]]

    def all(self) -> list[Any]:
        return [ref for rows in self.refs.values() for row in rows for ref in row]


class Talker(Counter, host="process"):
    """Talks to others, and passes on what it has got."""

    async def pass_on(self, others: list[Any], what: Any) -> Any:
        return await others[0].ask.pass_on(others[1:], what) if others else what

    async def is_in(self, box: Box) -> bool:
        return current().ref in box.all()

    async def ask_all(self, box: Box, other: Any) -> list[int]:
        """What everybody in the box but itself has counted; the same after another has had the box."""
        mine = [await ref.ask.add(1) for ref in box.all() if ref != current().ref]
        again: Box = await other.ask.pass_on([], box)
        assert again == box
        return mine + [await ref.ask.add(1) for ref in again.all() if ref != current().ref]

    async def round_trip(self, path: list[Any]) -> list[int]:
        """The processes along a path of actors."""
        return [os.getpid(), *(await path[0].ask.round_trip(path[1:]) if path else [])]

    async def read_from(self, other: Any, count: int) -> list[int]:
        got: list[int] = []
        async for number in other.ask.numbers(1000):
            got.append(number)
            if len(got) == count:
                break
        return got

    async def relay(self, other: Any, count: int) -> AsyncIterator[int]:
        async for number in other.ask.numbers(count):
            yield number

    async def hang_through(self, other: Any, fifo: str) -> None:
        try:
            await other.ask.hang(fifo)
        finally:
            self._write("cancelled here")

    async def have_children(self) -> list[Any]:
        here = current()
        children = [await here.spawn(Counter, 1, host="loop"), await here.spawn(Counter, 2, host="process")]
        return [*children, await here.runtime.run(double, 21, host="process")]

    async def shift(self, array: Any, by: float) -> Any:
        array += by  # what came is ours
        return array


class Hoarder(Scribe, host="process"):
    """Keeps what it never needs again."""

    async def hoard(self, size: int) -> None:
        self._hoard = bytearray(os.urandom(4096) * (size // 4096))

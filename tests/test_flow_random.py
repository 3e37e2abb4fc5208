"""Random lines of stages, failed, left and cancelled at random: results are right, and nothing is left."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Runtime, StageFailed, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from actorsched.flow import Flow


class Broken(Exception):
    """What fails on purpose."""


class Line:
    """A random pipeline, with a simple account of what it has to give."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.inside = 0
        self.opened = self.closed = 0
        self.ordered = True
        self.exhausted = False
        self.length = chance.choice([0, 1, 5, 20, None])
        self.fails_at = chance.choice([None, None, chance.randrange(12)])
        self.stages = [self._stage(number) for number in range(chance.randrange(1, 4))]

    def expected(self) -> Iterator[int]:
        """What an ordered line gives, endlessly perhaps; failures leave only a part of it."""
        numbers: Iterator[int] = iter(range(self.length)) if self.length is not None else itertools.count()
        for _, account in self.stages:
            numbers = itertools.chain.from_iterable(map(account, numbers))
        return numbers

    def source(self) -> Any:
        return self.chance.choice([self._plain, self._asynchronous])()

    def _numbers(self) -> Iterator[int]:
        for number in itertools.count():
            if number == self.length:
                return
            if number == self.fails_at:
                raise Broken("the source")
            yield number

    def _plain(self) -> Iterator[int]:
        self.opened += 1
        try:
            yield from self._numbers()
        finally:
            self.closed += 1

    async def _asynchronous(self) -> AsyncIterator[int]:
        self.opened += 1
        try:
            for number in self._numbers():
                await self._turns()
                yield number
        finally:
            self.closed += 1

    async def _turns(self) -> None:
        for _ in range(self.chance.choice([0, 0, 1, 3])):
            await anyio.lowlevel.checkpoint()

    def _stage(self, number: int) -> tuple[Any, Callable[[int], list[int]]]:
        chance = self.chance
        ordered = chance.random() < 0.7
        self.ordered = self.ordered and ordered
        options: dict[str, Any] = {
            "workers": chance.randrange(1, 5),
            "demand": chance.randrange(1, 5),
            "ordered": ordered,
            "name": f"stage {number}",
        }
        broken = chance.choice([None, None, chance.randrange(8)])
        copies = chance.randrange(self.length is None, 3)  # nothing of endlessly many never ends

        async def one(item: int) -> int:
            self.inside += 1
            try:
                await self._turns()
                if item == broken:
                    raise Broken("a stage")
                return item
            finally:
                self.inside -= 1

        async def many(item: int) -> AsyncIterator[int]:
            self.inside += 1
            try:
                for _ in range(copies):
                    await self._turns()
                    yield item
            finally:
                self.inside -= 1

        def plain(item: int) -> Iterator[int]:
            self.inside += 1
            try:
                for _ in range(copies):
                    yield item
            finally:
                self.inside -= 1

        match chance.randrange(5):
            case 0:
                return stage(many, **options), lambda item: [item] * copies
            case 1:
                return stage(plain, host="loop", **options), lambda item: [item] * copies
            case 2:
                skipping = stage(one, on_error="skip", **options)
                return skipping, lambda item: [] if item == broken else [item]
            case _:
                return stage(one, **options), lambda item: [item]


async def read(line: Line, rt: Runtime, results: list[int]) -> None:
    chance = line.chance
    most = chance.choice([3, 40])
    careful = chance.random() < 0.5
    flow: Flow[int] = rt.pipeline(*(made for made, _ in line.stages))(line.source())
    try:
        async for number in flow:
            results.append(number)
            await line._turns()
            if len(results) == most:
                break
        else:
            line.exhausted = True
    except Broken:
        pass
    except StageFailed as error:
        assert isinstance(error.__cause__, Broken)
    if careful:
        await flow.aclose()
        assert line.inside == 0
        assert line.opened == line.closed


@pytest.mark.parametrize("seed", range(60))
async def test_any_line_gives_what_it_should_and_leaves_nothing(seed: int) -> None:
    chance = random.Random(seed)
    line = Line(chance)
    results: list[int] = []
    async with Runtime(concurrency=chance.choice([None, 1, 2, 5]), seed=chance.choice([None, seed])) as rt:
        reader = await rt.spawn(read, line, rt, results)
        if chance.random() < 0.5:
            for _ in range(chance.randrange(60)):
                await anyio.lowlevel.checkpoint()
            await reader.cancel()
        await reader.outcome()
        while line.inside or line.opened != line.closed:  # it was left by `break`, and stops by itself
            await anyio.lowlevel.checkpoint()
        assert not isinstance(reader.exception(), AssertionError)
    if line.exhausted:
        assert sorted(results) == sorted(line.expected())
    if line.ordered:
        assert results == list(itertools.islice(line.expected(), len(results)))

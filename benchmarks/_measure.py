"""Plays the rounds of a figure: both sides in one event loop, in turns, with the same garbage collector.

No figure is known here, and nothing is printed.

Each side is prepared first and warmed up by one unmeasured round. Then the sides take turns, and the one that
went second goes first in the next pair, so that a slow drift of the machine (heat, a neighbour waking up)
burdens both alike. Before each round the garbage of the previous one is collected; during a round the
collector runs as it does for everybody, because a library that allocates more should pay for it.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, TypeVar

from benchmarks._figure import Comparison, Figure, LoopName, Round

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def run_on(loop: LoopName, main: Callable[[], Awaitable[T]]) -> T:
    """Runs an async function to its end on a fresh loop of the given kind."""
    if loop == "trio":
        import trio

        return trio.run(main)

    async def on_asyncio() -> T:
        return await main()

    with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
        return runner.run(on_asyncio())


def _loop_factory(loop: LoopName) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop == "asyncio":
        return asyncio.SelectorEventLoop
    import uvloop

    return uvloop.new_event_loop


def running_loop() -> LoopName:
    """The kind of the loop that runs now."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return "trio"
    return "uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio"


def loop_sleep() -> Callable[[float], Awaitable[None]]:
    """The sleep of the running loop's own library, which costs the least."""
    if running_loop() == "trio":
        import trio

        return trio.sleep
    return asyncio.sleep


async def compare(figure: Figure, loop: LoopName, *, size: int, rounds: int) -> Comparison:
    """Measures both sides of a figure in alternating rounds, on the running loop.

    Args:
        figure: What to measure.
        loop: The kind of the running loop.
        size: Operations per round.
        rounds: Pairs of rounds.

    Raises:
        ValueError: The figure has no floor on this loop.
    """
    floor_side = figure.floor_on(loop)
    if floor_side is None:
        raise ValueError(f"{figure.name} has no floor on {loop}: choose another loop")
    floors: list[float] = []
    ours: list[float] = []
    async with floor_side(size) as floor_round, figure.ours(size) as our_round:
        await floor_round()
        await our_round()
        pair = [(floor_round, floors), (our_round, ours)]
        for _ in range(rounds):
            for play, costs in pair:
                costs.append(await _collected(play))
            pair.reverse()
    return Comparison(figure, loop, tuple(floors), tuple(ours))


async def _collected(play: Round) -> float:
    gc.collect()
    return await play()

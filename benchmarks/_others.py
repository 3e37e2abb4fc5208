"""What other libraries make of the same work: the best of them is to be beaten.

Those of the standard library are always there; one that is not a dependency takes part where it is installed.
All of them have as many workers, which have started before the first round. What they do in a batch, on being
asked to, is not used: every call is one of its own, as it is for us.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks._work import noop, noop_plain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
    from contextlib import AbstractAsyncContextManager

    from benchmarks._figure import Round, Side


class Other(NamedTuple):
    """A pool of some library.

    Attributes:
        one: Calls a function with one argument, or with none, and waits for the result.
        many: Calls a function that does nothing so many times, all at once, and waits for all of them.
    """

    one: Callable[..., Any]
    many: Callable[[int], Awaitable[object]]


@contextmanager
def forking() -> Generator[None]:
    """Workers are forked within: they start soonest, and leave no process of `multiprocessing` behind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12, where there are threads
        yield


@asynccontextmanager
async def pool(workers: int) -> AsyncGenerator[Other]:
    """`multiprocessing.Pool`: the quickest of the standard library."""
    with forking():
        processes = get_context("fork").Pool(workers)

    async def many(size: int) -> None:
        for result in [processes.apply_async(noop_plain) for _ in range(size)]:
            result.get()

    def one(function: Callable[..., Any], *args: Any) -> Any:
        return processes.apply(function, args)

    with processes:
        yield Other(one, many)


@asynccontextmanager
async def executor(workers: int) -> AsyncGenerator[Other]:
    """`concurrent.futures.ProcessPoolExecutor`."""
    with ProcessPoolExecutor(workers, get_context("fork")) as processes:
        with forking():
            processes.submit(noop_plain).result()

        async def many(size: int) -> None:
            for future in [processes.submit(noop_plain) for _ in range(size)]:
                future.result()

        def one(function: Callable[..., Any], *args: Any) -> Any:
            return processes.submit(function, *args).result()

        yield Other(one, many)


@asynccontextmanager
async def asynchronous(workers: int) -> AsyncGenerator[Other]:
    """`aiomultiprocess.Pool`, which runs async functions, on asyncio. One call alone takes it 10 ms."""
    import asyncio

    library: Any = import_module("aiomultiprocess")
    library.set_start_method("fork")
    with forking():
        starting = library.Pool(processes=workers)
    async with starting as processes:

        def one(*_call: object) -> object:
            raise NotImplementedError(
                "it looks for results every few milliseconds: this is not what it is for"
            )

        async def many(size: int) -> None:
            await asyncio.gather(*[processes.apply(noop) for _ in range(size)])

        yield Other(one, many)
    library.core.get_manager().shutdown()  # a process that outlives its pools otherwise
    library.core._manager = None


def best_for_many(workers: int) -> Side:
    """The side of whoever is the quickest at many calls."""
    others = [pool, executor, *([asynchronous] if find_spec("aiomultiprocess") else [])]
    return _best(others, workers, _time_many)


def best_for_one(play: Callable[[Other, int], Awaitable[float]]) -> Side:
    """The side of whoever is the quickest at one call at a time; `play` makes a round of them."""
    return _best([pool, executor], 1, play)


async def _time_many(other: Other, size: int) -> float:
    start = perf_counter()
    await other.many(size)
    return (perf_counter() - start) / size


def _best(
    others: Sequence[Callable[[int], AbstractAsyncContextManager[Other]]],
    workers: int,
    play: Callable[[Other, int], Awaitable[float]],
) -> Side:
    @asynccontextmanager
    async def side(size: int) -> AsyncGenerator[Round]:
        async with AsyncExitStack() as stack:
            pools = [await stack.enter_async_context(other(workers)) for other in others]

            async def best() -> float:
                return min([await play(other, size) for other in pools])

            yield best

    return side

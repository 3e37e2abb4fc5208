"""No-op tasks in a pool of one slot: the work of all figures about scheduling policies.

A side made here has a runtime with a policy and `concurrency=1`, and its rounds submit no-ops that are all
ready at once, and wait for them. With one slot every one of them is queued, chosen and run by itself, so the
policy is asked as often as it can be.
"""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager, contextmanager
from time import process_time
from typing import TYPE_CHECKING, Any

from actorsched import Runtime
from actorsched.policies import Edf, Fair, FixedPriority, Realtime
from benchmarks._work import noop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from actorsched import TaskRef
    from actorsched.policies import SchedulingPolicy
    from benchmarks._figure import Round, Side

    Made = Callable[[], SchedulingPolicy[Any]]

POLICIES: dict[str, Made] = {
    "priority": FixedPriority,
    "aging": lambda: FixedPriority(aging="1s"),
    "quantum": lambda: FixedPriority(quantum="10ms"),
    "edf": Edf,
    "fair": Fair,
    "realtime": Realtime,
}
"""The policies that come with actorsched, by the names that figures have."""


@contextmanager
def no_collector() -> Generator[None]:
    """Keep the garbage collector out of a round: it costs by what is alive, whatever is done with that."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def no_ops(
    policy: Made, *, ready: int | None = None, collector: bool = True, deadline: str | None = None
) -> Side:
    """The side whose rounds run no-ops under a policy.

    Args:
        policy: Makes it.
        ready: How many are ready at once; None for all of a round.
        collector: Whether the garbage collector runs.
        deadline: What each of them has as its deadline.
    """
    options: dict[str, Any] = {} if deadline is None else {"deadline": deadline}

    @asynccontextmanager
    async def side(size: int) -> AsyncGenerator[Round]:
        at_once = min(size, ready or size)
        async with Runtime(policy=policy(), concurrency=1) as rt:

            async def played() -> float:
                start = process_time()
                for _ in range(size // at_once):
                    refs: list[TaskRef[None]] = [await rt.spawn(noop, **options) for _ in range(at_once)]
                    for ref in refs:
                        await ref
                return (process_time() - start) / (size // at_once * at_once)

            async def play() -> float:
                if collector:
                    return await played()
                with no_collector():
                    return await played()

            yield play

    return side

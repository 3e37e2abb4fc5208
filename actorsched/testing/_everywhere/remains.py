"""What a runtime that has been left still holds, and what the loop does.

The law of this module: it looks, and answers in words; nothing that it names may be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actorsched._core.invariants import InvariantBroken

__all__ = ["left_of", "timers_of"]


def left_of(kernel: Any) -> list[str]:
    """What there still is in a runtime that has been left."""
    return [f"runtime {kernel.facade!r} has {what}" for what in _left(kernel)]


def _left(kernel: Any) -> Iterator[str]:
    if kernel.carriers:
        yield f"carriers: {list(kernel.carriers)}"
    if kernel.mail or kernel.resting:
        yield f"mail in transit: {[*kernel.mail, *kernel.resting]}"
    if kernel.ready:
        yield f"user code that is ready to run: {len(kernel.ready)}"
    if kernel.timers:
        yield f"timers: {kernel.timers}"
    system = kernel.facade._system
    if system.scopes:
        yield f"scopes: {list(system.scopes)}"
    if kernel.facade._nursery.live:
        yield f"tasks: {list(kernel.facade._nursery.live)}"
    for pool in system.pools.values():
        if pool.running or len(pool.policy) or pool.next or pool.wishing:
            yield f"work in pool {pool.name!r}: {pool!r}"
    try:
        kernel.office.check(under_way=0)
    except InvariantBroken as error:
        yield f"a lost message: {error}"


def timers_of(loop: Any) -> list[str]:
    """The calls that a loop of asyncio is to make later. Trio has none of its own."""
    scheduled = getattr(loop, "_scheduled", ())
    return [f"timer {handle!r}" for handle in sorted(scheduled) if not handle.cancelled()]

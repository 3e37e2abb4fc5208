"""Wait for a while: by the clock of a runtime, so that virtual time passes for whoever sleeps.

The law of this module: nobody who sleeps needs to know where it runs. Whoever runs in a runtime sleeps by the
clock of that one, anybody else by that of the event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._kernel.current import CURRENT
from actorsched.durations import Duration, seconds

if TYPE_CHECKING:
    from actorsched._kernel.kernel import Kernel


async def sleep(duration: Duration) -> None:
    """Wait: in a task or a handler by the clock of its runtime, elsewhere by that of the event loop.

    Args:
        duration: A duration.

    Raises:
        ValueError: It is none.
    """
    delay = seconds(duration, field="duration")
    run: Any = CURRENT.get()
    kernel: Kernel | None = getattr(run, "kernel", None)
    if kernel is None:
        import anyio

        await anyio.sleep(delay)
    else:
        await doze(run, kernel, delay)


async def doze(run: Any, kernel: Kernel, delay: float) -> None:
    """Wait on the clock of a runtime; a task in the loop is known to do nothing else meanwhile."""
    dozes = hasattr(run, "dozes")
    if dozes:
        run.dozes()
    try:
        await kernel.sleep(delay)
    finally:
        if dozes:
            run.wakes()

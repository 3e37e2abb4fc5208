"""Simulated processors: code that takes time, and nothing else."""

from __future__ import annotations

from typing import Any

from actorsched._kernel.current import CURRENT
from actorsched.durations import Duration, seconds
from actorsched.messages import Compute

__all__ = ["compute"]


async def compute(amount: Duration) -> None:
    """Use up so much time of a processor.

    In a task it takes that long by the runtime's clock, not counting the time in which the task is preempted.
    In a handler of an actor, which nobody preempts, it is a sleep. Nothing is really computed.

    Args:
        amount: A duration; a number is units of virtual time, or seconds.

    Raises:
        ValueError: It is no duration.
        RuntimeError: No async task or handler of a runtime is running here.
    """
    span = seconds(amount, field="amount")
    run: Any = CURRENT.get()
    if run is None or not getattr(run, "may_wait", False) or not hasattr(run, "carrier"):
        raise RuntimeError(
            "compute() stands for the work of an async task in the event loop, or of a handler; "
            "nothing of that kind is running here"
        )
    if run.role != "task":  # a handler, or whatever is tested alone
        await run.kernel.sleep(span)
        return
    answer = run.kernel.future()
    run.kernel.post(run, Compute(span, answer))
    try:
        await answer
    except BaseException:
        run.gives_up_computing()
        raise

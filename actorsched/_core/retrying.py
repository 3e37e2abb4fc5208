"""Whether a task gets another attempt, and after how long.

The law of this module: functions of the retry specification, the counts and a random fraction. It never draws
the fraction, waits, or starts anything.

How it works: failures of the function and crashes of its host are counted apart, against `attempts` and
`crashes`. The number of an attempt, as users see it, counts both, so the failures are the attempts so far
less the crashes so far. Waits grow from a first one by a factor up to a limit, the same way for retries and
for a supervisor's back-off. Jitter is "full": drawn evenly between zero and the wait, which spreads a crowd
of tasks that failed together best (Brooker, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from actorsched.options import Retry

__all__ = ["Again", "Decision", "GiveUp", "after_crash", "after_failure", "growing"]

_CENTURY: Final = 100 * 365.25 * 86400.0  # seconds; whatever grows beyond it will not be lived to see


class Again(msgspec.Struct, frozen=True, gc=False):
    """Try again, after `delay` seconds."""

    delay: float


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """Do not try again; `why` says so to people, and can stand in a sentence after "not retried: "."""

    why: str


Decision: TypeAlias = Again | GiveUp


def after_failure(
    retry: Retry, *, attempt: int, error: BaseException, fraction: float, crashes: int = 0
) -> Decision:
    """Decide what follows when an attempt has raised, or has run out of time.

    Args:
        retry: What the task's options say.
        attempt: The number of the attempt that failed, from 1; it counts attempts that ended in a crash too.
        error: What it raised; a `TimeoutError` if its time ran out.
        fraction: A random number in [0, 1), for jitter.
        crashes: How many earlier attempts ended with a crash of their host.
    """
    failures = attempt - crashes
    if failures >= retry.attempts:
        return GiveUp(f"attempt {failures} of {retry.attempts} failed")
    if not isinstance(error, retry.on):
        kinds = ", ".join(kind.__name__ for kind in retry.on)
        return GiveUp(f"{type(error).__name__} is not among the exceptions to retry on ({kinds})")
    return Again(_wait(retry, failures, fraction))


def after_crash(retry: Retry, *, crashes: int, fraction: float) -> Decision:
    """Decide what follows when the host died under an attempt that had begun.

    Args:
        retry: What the task's options say.
        crashes: How many attempts have ended that way, this one included.
        fraction: A random number in [0, 1), for jitter.
    """
    if crashes > retry.crashes:
        return GiveUp(f"its host died {_times(crashes)}, and its crash budget is {retry.crashes}")
    return Again(_wait(retry, crashes, fraction))


def growing(delay: float, factor: float, limit: float | None, count: int) -> float:
    """Return the `count`-th wait: `delay * factor ** (count - 1)` seconds, at most `limit`, or a century."""
    longest = _CENTURY if limit is None else limit
    try:
        return min(delay * factor ** (count - 1), longest)
    except OverflowError:
        return longest if delay else 0.0


def _wait(retry: Retry, count: int, fraction: float) -> float:
    wait = growing(retry.delay, retry.backoff, retry.max_delay, count)
    return wait * fraction if retry.jitter else wait


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"

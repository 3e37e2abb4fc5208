"""The work that benchmarks give away: functions that do nothing, importable by every child process.

Nothing here imports anything: a host process that is asked for `noop_plain` should pay for it alone.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself would be an import
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


async def noop() -> None:
    """Does nothing."""


async def noop_of_three(
    first: object = None,
    second: object = None,
    third: object = None,
) -> object:
    """Does nothing with the results of what came before it, and hands the first of them on."""
    return first


async def now() -> float:
    """The time of the clock that all processes of the machine share."""
    return now_plain()


def now_plain() -> float:
    """The same, as a plain function."""
    from time import perf_counter

    return perf_counter()


def busy() -> None:
    """Keeps its processor busy until it is cancelled, and says when it has begun."""
    from actorsched import checkpoint, current

    current().report(0.5)

    while True:
        sum(range(10_000))
        checkpoint()


def start_of_the_second_attempt() -> float:
    """Waits for a violent end at first; when it is run again, tells when that was."""
    start = now_plain()
    from time import sleep

    from actorsched import current

    while current().attempt == 1:
        current().report(0.5)
        sleep(0.01)
    return start


def noop_plain() -> None:
    """Does nothing, as a plain function."""


def same(value: T) -> T:
    """Returns what it is given."""
    return value

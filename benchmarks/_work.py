"""The work that benchmarks give away: functions that do nothing, importable by every child process.

Nothing here imports anything: a host process that is asked for `noop_plain` should pay for it alone.
"""

from __future__ import annotations


async def noop() -> None:
    """Does nothing."""


async def noop_of_three(
    first: object = None,
    second: object = None,  # noqa: ARG001
    third: object = None,  # noqa: ARG001
) -> object:
    """Does nothing with the results of what came before it, and hands the first of them on."""
    return first


def noop_plain() -> None:
    """Does nothing, as a plain function."""


def same(value: object) -> object:
    """Returns what it is given."""
    return value

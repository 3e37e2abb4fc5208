"""Waiting for many at once, with an answer or an error from each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from anyio import create_task_group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

T = TypeVar("T")


async def all_of(waits: Sequence[Awaitable[T]], failed: str) -> list[T]:
    """Await all of them together.

    Args:
        waits: What to await.
        failed: What the group of errors says.

    Returns:
        Their results, in order.

    Raises:
        ExceptionGroup: Of the errors of those that raised one, when all are done.
    """
    results: list[Any] = [None] * len(waits)
    errors: list[Exception] = []

    async def one(index: int, wait: Awaitable[T]) -> None:
        try:
            results[index] = await wait
        except Exception as error:
            errors.append(error)

    async with create_task_group() as group:
        for index, wait in enumerate(waits):
            group.start_soon(one, index, wait)
    if errors:
        raise ExceptionGroup(failed, errors)
    return results

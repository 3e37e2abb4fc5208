"""What kind of function somebody has given.

The law of this module: it looks at functions and calls none.
"""

from __future__ import annotations

from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isroutine
from typing import Any, cast


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine; looks through partials, methods and callable objects."""
    return iscoroutinefunction(_called(function))


def is_generator(function: Any) -> bool:
    """Whether it is an async generator function, which has no single result."""
    return isasyncgenfunction(_called(function))


def has_host(function: Any) -> bool:
    """Whether it is marked to run in a host of a certain kind, as `cpu_bound` does."""
    return getattr(function, "__actorsched_host__", None) is not None


def _called(function: Any) -> Any:
    partials: type[Any] = partial
    while isinstance(function, partials):
        function = function.func
    if isroutine(function):
        return function
    return getattr(cast("type[object]", type(function)), "__call__", function)  # noqa: B004  # its code

"""What kind of function somebody has given.

The law of this module: it looks at functions and calls none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isfunction, isroutine, signature
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


def refusal(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Why it cannot be called with these arguments; None if it can, or nobody knows."""
    code = getattr(function, "__code__", None)
    if code is not None and not kwargs and not code.co_kwonlyargcount and isfunction(function):
        least = code.co_argcount - len(function.__defaults__ or ())
        if least <= len(args) <= code.co_argcount:  # the usual case, without a signature
            return None
    try:
        of = signature(function)
    except (TypeError, ValueError):  # it has none, as some that are written in C
        return None
    try:
        of.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None


def _called(function: Any) -> Any:
    partials: type[Any] = partial
    while isinstance(function, partials):
        function = function.func
    if isroutine(function):
        return function
    return getattr(cast("type[object]", type(function)), "__call__", function)  # noqa: B004  # its code

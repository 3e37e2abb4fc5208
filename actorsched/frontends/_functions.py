"""What kind of function somebody has given.

The law of this module: it looks at functions and calls none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    isasyncgenfunction,
    iscoroutinefunction,
    isroutine,
    signature,
)
from types import FunctionType
from typing import Any, cast


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine; looks through partials, methods and callable objects."""
    if type(function) is FunctionType and not function.__dict__:  # the usual case
        return bool(function.__code__.co_flags & CO_COROUTINE)
    return iscoroutinefunction(_called(function))


def is_generator(function: Any) -> bool:
    """Whether it is an async generator function, which has no single result."""
    if type(function) is FunctionType and not function.__dict__:
        return bool(function.__code__.co_flags & CO_ASYNC_GENERATOR)
    return isasyncgenfunction(_called(function))


def has_host(function: Any) -> bool:
    """Whether it is marked to run in a host of a certain kind, as `cpu_bound` does."""
    return getattr(function, "__actorsched_host__", None) is not None


def refusal(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Why it cannot be called with these arguments; None if it can, or nobody knows."""
    if type(function) is FunctionType and not kwargs:  # the usual case needs no signature
        code = function.__code__
        least = code.co_argcount - len(function.__defaults__ or ())
        if least <= len(args) <= code.co_argcount and not code.co_kwonlyargcount:
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

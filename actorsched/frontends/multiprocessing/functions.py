"""Functions that become tasks: whether they are async, and whether they take what they will be given.

The law of this module: it looks at functions and calls none. Whatever is wrong is said before anything is
queued, as an `InvalidArgument`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from actorsched.exceptions import shown
from actorsched.frontends.multiprocessing.errors import InvalidArgument

_signatures: WeakKeyDictionary[Callable[..., Any], inspect.Signature | None] = WeakKeyDictionary()
_RESULT = object()
"""Stands for a result that is not there yet."""


def checked_function(function: object, task: str) -> Callable[..., Any]:
    """Return a function that can become a task.

    Raises:
        InvalidArgument: It is none.
    """
    if inspect.iscoroutine(function):
        function.close()  # or Python would warn that nobody has awaited it
        raise InvalidArgument(
            f"fn={shown(function)} of task {task!r} was called already; give the function itself, "
            "and its arguments as args=(...) and kwargs={...}"
        )
    if not callable(function):
        raise InvalidArgument(
            f"fn={shown(function)} of task {task!r} cannot be called; give an async or a plain function"
        )
    if inspect.isasyncgenfunction(function):
        raise InvalidArgument(
            f"fn={shown(function)} of task {task!r} is an async generator, which has no single result; "
            "give a function that returns a list of its items"
        )
    return function


def check_named(function: Callable[..., Any], names: Sequence[str], task: str) -> None:
    """Refuse names of parameters that a function does not have.

    Raises:
        InvalidArgument: It says which.
    """
    signature = _signature(function)
    if signature is None:
        return
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    if inspect.Parameter.VAR_KEYWORD in kinds.values():
        return
    possible = [
        name
        for name, kind in kinds.items()
        if kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    ]
    for name in names:
        if name not in possible:
            has = f"its parameters are {', '.join(map(repr, possible))}" if possible else "it takes none"
            raise InvalidArgument(
                f"arg_deps={list(names)!r} of task {task!r} names {name!r}, which is no parameter of "
                f"{_name(function)!r}: {has}; name one of them, or leave arg_deps out"
            )


def check_call(
    function: Callable[..., Any],
    results: int,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    names: Sequence[str],
    task: str,
) -> None:
    """Refuse a call that a function does not take.

    Args:
        function: The function.
        results: How many results of other tasks it gets.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        names: The parameters that results go to; without enough of them, they come first.
        task: The name of the task.

    Raises:
        InvalidArgument: It says what is wrong.
    """
    if len(names) > results:
        come = f"{results} of them" if results else "none"
        raise InvalidArgument(
            f"arg_deps={list(names)!r} of task {task!r} names {len(names)} parameters for results of other "
            f"tasks, and there will be {come}; put it behind its predecessor in a TaskChain, give "
            "dependencies=(...), or name fewer"
        )
    given = len(args) + results - len(names)
    if not names and not kwargs and _takes(function, given):
        return
    signature = _signature(function)
    if signature is None:
        return
    positional = [*[_RESULT] * (results - len(names)), *args]
    try:
        signature.bind(*positional, **kwargs, **dict.fromkeys(names, _RESULT))
    except TypeError as error:
        first = f"; {results - len(names)} results of other tasks come first" if results > len(names) else ""
        raise InvalidArgument(
            f"{_name(function)}{signature} of task {task!r} would be given wrong arguments: {error}{first}; "
            "positional ones go into args=(...), named ones into kwargs={...}, results to the parameters "
            "that arg_deps=[...] names"
        ) from None


def _takes(function: Callable[..., Any], given: int) -> bool:
    """Whether it is plain to see that a function takes so many positional arguments."""
    if type(function) is not FunctionType or hasattr(function, "__wrapped__"):
        return False
    code = function.__code__
    most = code.co_argcount
    return not code.co_kwonlyargcount and most - len(function.__defaults__ or ()) <= given <= most


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """The signature of a function; None if it does not tell, as some built-in ones."""
    try:
        if function in _signatures:
            return _signatures[function]
    except TypeError:  # it cannot be a key
        return _signature_anew(function)
    signature = _signature_anew(function)
    try:
        _signatures[function] = signature
    except TypeError:  # there are no weak references to it
        pass
    return signature


def _signature_anew(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):
        return None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)

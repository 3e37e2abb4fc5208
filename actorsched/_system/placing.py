"""Where a function runs, and whether it can be called like that: found out before anything is queued."""

from __future__ import annotations

from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_VARARGS, isasyncgenfunction, iscoroutine
from typing import TYPE_CHECKING, Any

from actorsched._system.handlers import HANDLER, Handler
from actorsched._system.task import function_name
from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType

    from actorsched.options import TaskOptions


class Habit:
    """Most tasks are one of many that do the same: what was found for the last one is kept."""

    __slots__ = ("_asked", "_code", "_given", "_host")

    def __init__(self) -> None:
        self._code: CodeType | None = None
        self._given = 0
        self._asked: str | None = None
        self._host = "loop"

    def host(self, function: Callable[..., Any], given: int, options: TaskOptions) -> str | None:
        """Where a plain function runs that is called with so many positional arguments, and no others.

        None where it takes a closer look to tell, or to tell what is wrong.
        """
        if type(function) is not _FUNCTION or function.__dict__:
            return None
        code, asked = function.__code__, options.host
        if code is not self._code or given != self._given or asked != self._asked:
            if code.co_flags & _UNUSUAL or code.co_kwonlyargcount or given != code.co_argcount:
                return None
            own = "loop" if code.co_flags & CO_COROUTINE else "thread"
            if asked not in (None, "process", own):
                return None
            self._code, self._given, self._asked = code, given, asked
            self._host = asked or own
        return None if options.abandon_on_cancel and self._host != "thread" else self._host


def host_of(function: Callable[..., Any], options: TaskOptions) -> str:
    """Where a function runs.

    Raises:
        TypeError: It cannot be called, or is an async generator.
        ValueError: It cannot run where it is asked to.
    """
    asynchronous = is_async(function)
    own = "loop" if asynchronous else "thread"
    host: str = options.host or getattr(function, "__actorsched_host__", None) or own
    if host == "auto" and options.reserves:
        host = "process"  # where they are limits too
    if asynchronous and host == "thread":
        raise ValueError(
            f'host="thread" does not fit {function_name(function)!r}, an async function; '
            'it runs in the event loop ("loop", the default), or in a host process ("process")'
        )
    if options.abandon_on_cancel and host != "thread":
        raise ValueError(
            f"abandon_on_cancel=True does not fit {function_name(function)!r}, which runs with "
            f'host="{host}"; only what runs in a thread can be abandoned: use host="thread"'
        )
    return host


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; looks through `functools.partial`, methods and `__call__`.

    Raises:
        TypeError: It cannot be called, or is an async generator function.
    """
    handler: Handler | None = getattr(function, HANDLER, None)
    if handler is not None and not handler.streams:
        return True
    code = getattr(function, "__code__", None)
    if code is None:
        if isinstance(function, partial):
            return is_async(function.func)
        if not callable(function):
            raise _not_callable(function)
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004  # its code
        if code is None:
            return False
    if handler is not None or code.co_flags & CO_ASYNC_GENERATOR or isasyncgenfunction(function):
        raise TypeError(
            f"{function_name(function)!r} is an async generator, which has no single result; "
            "make it a handler of an actor, or a stage of a pipeline"
        )
    return bool(code.co_flags & CO_COROUTINE)


def _not_callable(value: object) -> TypeError:
    if iscoroutine(value):
        value.close()  # or Python would warn that nobody has awaited it
        return TypeError(
            f"{shown(value)} was called already; give the function itself, and its arguments after it"
        )
    return TypeError(f"{shown(value)} cannot be called; spawn a function or an Actor class")


def check_arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that a function does not take.

    Raises:
        TypeError: It names the function, and what is wrong.
    """
    code = getattr(function, "__code__", None)
    if code is not None and not kwargs and type(function) is _FUNCTION and not function.__kwdefaults__:
        takes = code.co_argcount
        given = len(args)
        enough = given >= takes - len(function.__defaults__ or ())
        if enough and (given <= takes or code.co_flags & CO_VARARGS) and not code.co_kwonlyargcount:
            return
    from inspect import signature

    try:
        expected = signature(function)
    except ValueError:  # a built-in that does not tell
        return
    try:
        expected.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{function_name(function)}{expected} was given wrong arguments: {error}; "
            "positional ones follow the function, named ones go into kwargs={...}"
        ) from None


_FUNCTION = type(is_async)
_UNUSUAL = CO_ASYNC_GENERATOR | CO_VARARGS

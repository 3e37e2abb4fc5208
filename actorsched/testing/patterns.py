"""Patterns: which message is meant, said in few words; used by probes, and by whoever looks at effects.

The law of this module: it compares, and puts into words what it compared. It knows nothing of actors that
run, so it can be used on anything that was recorded.

A pattern is one of these:

* the name of a handler, or the handler itself (`Account.deposit`): any message to it;
* `call("deposit", 50)`: a message to that handler with these arguments, given in this way, position by
  position and name by name. Each may be a value, a class that the argument is an instance of, or a function
  that tells whether it will do; `ANY` (that of `unittest.mock`) is right always;
* a class: a message with one positional argument, which is an instance of it;
* any other function: it is given the `Message`, and tells whether that is the one;
* `ANY`: every message.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import ANY

from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeAlias

__all__ = ["ANY", "Call", "Message", "Pattern", "call", "describe", "handler_name", "matches"]

if TYPE_CHECKING:
    Pattern: TypeAlias = "str | Call | type | Callable[..., Any] | Any"
    """What `matches` takes; `ANY` is of no type that could be named."""


class Message(NamedTuple):
    """A message, as it was recorded.

    Attributes:
        handler: The name of the handler that it is for.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        sender: The ref of whoever sent it; None when nobody is known.
    """

    handler: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    sender: Any = None

    def __str__(self) -> str:
        origin = "" if self.sender is None else f" from {shown(self.sender)}"
        return f"{_called(self.handler, self.args, self.kwargs, shown)}{origin}"


class Call:
    """The pattern of one handler with given arguments; made by `call`.

    Attributes:
        handler: The name of the handler.
        args: What its positional arguments have to be.
        kwargs: What its keyword arguments have to be.
        sender: Who has to have sent it; None for anybody.
    """

    __slots__ = ("args", "handler", "kwargs", "sender")

    def __init__(self, handler: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], sender: Any) -> None:
        self.handler = handler
        self.args = args
        self.kwargs = kwargs
        self.sender = sender

    def __repr__(self) -> str:
        return describe(self)

    def sent_by(self, sender: Any) -> Call:
        """The same pattern, for messages of one sender alone."""
        return Call(self.handler, self.args, self.kwargs, sender)

    def fits(self, message: Message) -> bool:
        """Whether a message is of this pattern."""
        return (
            self.handler == message.handler
            and (self.sender is None or bool(self.sender == message.sender))
            and len(self.args) == len(message.args)
            and all(map(_fits, self.args, message.args))
            and self.kwargs.keys() == message.kwargs.keys()
            and all(_fits(wanted, message.kwargs[name]) for name, wanted in self.kwargs.items())
        )


def call(handler: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
    """The pattern of a message to a handler with these arguments.

    Args:
        handler: The handler, or its name.
        args: Each a value, a class, a function that tells whether an argument will do, or `ANY`.
        kwargs: The same, by name.

    Raises:
        TypeError: It is no handler and no name.
    """
    return Call(handler_name(handler), args, kwargs, None)


def matches(pattern: Pattern, message: Message) -> bool:
    """Whether a message is the one that a pattern means.

    Args:
        pattern: See the head of this module.
        message: A recorded message.

    Raises:
        TypeError: It is no pattern.
    """
    if pattern is ANY:
        return True
    if isinstance(pattern, Call):
        return pattern.fits(message)
    if isinstance(pattern, str):
        return pattern == message.handler
    if isinstance(pattern, type):
        return len(message.args) == 1 and isinstance(message.args[0], pattern)
    if _is_handler(pattern):
        return bool(pattern.__name__ == message.handler)
    if callable(pattern):
        return bool(pattern(message))
    raise _no_pattern(pattern)


def describe(pattern: Pattern) -> str:
    """Say in words which messages a pattern means, for those who read that none has come.

    Raises:
        TypeError: It is no pattern.
    """
    if pattern is ANY:
        return "any message"
    if isinstance(pattern, Call):
        origin = "" if pattern.sender is None else f" from {shown(pattern.sender)}"
        return f"{_called(pattern.handler, pattern.args, pattern.kwargs, _wanted)}{origin}"
    if isinstance(pattern, str):
        return f"{pattern}(...)"
    if isinstance(pattern, type):
        return f"a message with one {pattern.__qualname__}"
    if _is_handler(pattern):
        return f"{pattern.__name__}(...)"
    if callable(pattern):
        return f"a message for which {_name(pattern)} is true"
    raise _no_pattern(pattern)


def handler_name(handler: object) -> str:
    """The name of a handler that is given as itself or by its name.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(handler, str):
        return handler
    if _is_handler(handler):
        return str(handler.__name__)  # type: ignore[attr-defined]  # functions have names
    raise TypeError(f"{shown(handler)} is no handler; give one, such as Account.deposit, or its name")


def _is_handler(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)


def _fits(wanted: Any, given: Any) -> bool:
    """Whether an argument will do. Equality comes first: classes and functions may be given too."""
    if wanted is given or bool(wanted == given):
        return True
    if isinstance(wanted, type):
        return isinstance(given, wanted)
    return bool(callable(wanted) and wanted(given))


def _called(handler: str, args: Iterable[Any], kwargs: Mapping[str, Any], word: Callable[[Any], str]) -> str:
    arguments = [*map(word, args), *(f"{name}={word(value)}" for name, value in kwargs.items())]
    return f"{handler}({', '.join(arguments)})"


def _wanted(value: Any) -> str:
    if value is ANY:
        return "ANY"
    if isinstance(value, type):
        return f"<any {value.__qualname__}>"
    return f"<{_name(value)}>" if callable(value) else shown(value)


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or shown(function)


def _no_pattern(pattern: object) -> TypeError:
    return TypeError(
        f"{shown(pattern)} is no pattern; give the name of a handler, call('deposit', 50), a class, "
        "a function that tells whether a message is the one, or ANY"
    )

"""What a class of actors can be sent: found once, at the first use of the class.

A public `async def` is a handler; a public async generator function is one whose reply is a stream. The
table is not made when the class is: a class that travels to a host process is rebuilt empty first and
filled later, and would be seen without its handlers.

Arguments are checked when a message is sent, so that a wrong call is an error of the sender and never
one of the actor. Counting them is enough for nearly every call; the full binding is left to
`inspect.Signature`, which also words the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Signature, isasyncgenfunction, iscoroutinefunction, signature
from typing import Any

HOOKS = ("on_start", "on_stop")
HANDLER = "__actorsched_handler__"
"""Where a function that asks, such as `ref.ask.add`, says for which handler: to others it looks plain."""


TABLE = "__actorsched_table__"
"""Where a class of actors has its table."""


class Handler:
    """One handler of one class.

    Attributes:
        name: Its name.
        function: The function, to be called with the actor first.
        streams: Whether it replies with a stream.
        least: As many positional arguments are right for sure, at least,
        most: and fewer than so many; none are where that cannot be told by counting.
    """

    __slots__ = ("_owner", "_signature", "function", "least", "most", "name", "streams")

    def __init__(self, owner: str, name: str, function: Callable[..., Any], *, streams: bool) -> None:
        self.name: str = name
        self.function: Callable[..., Any] = function
        self.streams: bool = streams
        self._owner = owner
        self._signature: Signature | None = None
        self.least, self.most = plain_arguments(function)

    def __repr__(self) -> str:
        return f"<handler {self._owner}.{self.name}>"

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Refuse arguments that the handler does not take.

        Raises:
            TypeError: It names the handler, and what is wrong.
        """
        if self.least <= len(args) < self.most and not kwargs:
            return
        if self._signature is None:
            self._signature = signature(self.function)
        try:
            self._signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{self._owner}.{self.name}{self._signature} was sent wrong arguments: {error}"
            ) from None


def plain_arguments(function: Callable[..., Any]) -> tuple[int, int]:
    """How many arguments besides `self` are surely right: at least the first, less than the second.

    An empty range where counting is not enough to tell.
    """
    code = getattr(function, "__code__", None)
    if code is None or getattr(function, "__kwdefaults__", None) or code.co_kwonlyargcount:
        return 1, 0
    takes = code.co_argcount - 1
    return takes - len(function.__defaults__ or ()), takes + 1


class HandlerTable:
    """The handlers and hooks of one class of actors.

    Attributes:
        kind: The class.
        owner: Its name.
        host: Where its actors run unless somebody says otherwise: "loop" or "process".
        handlers: By name.
        by_function: By the function that a sender gives, as they are found.
        has_start: Whether it has an `on_start` of its own,
        has_stop: and an `on_stop`.
        is_plain: Whether an instance is made without any code of the class.
    """

    __slots__ = (
        "_proxies",
        "by_function",
        "handlers",
        "has_start",
        "has_stop",
        "host",
        "is_plain",
        "kind",
        "owner",
    )

    def __init__(self, owner: type, base: type) -> None:
        self.kind: type = owner
        self.owner: str = owner.__qualname__
        self.host: str = getattr(owner, "__actorsched_host__", "loop")
        self.handlers: dict[str, Handler] = {}
        self.by_function: dict[object, Handler] = {}
        self._proxies: dict[type, type] = {}
        for name in dir(owner):
            function = getattr(owner, name, None)
            if name.startswith("_") or name in HOOKS or not callable(function):
                continue
            streams = isasyncgenfunction(function)
            if streams or iscoroutinefunction(function):
                self.handlers[name] = Handler(self.owner, name, function, streams=streams)
        self.has_start: bool = getattr(owner, "on_start", None) is not getattr(base, "on_start", None)
        self.has_stop: bool = getattr(owner, "on_stop", None) is not getattr(base, "on_stop", None)
        _check_attributes(owner, base)
        self.is_plain: bool = type(owner) is type and all(
            getattr(owner, name) is getattr(object, name) for name in ("__new__", "__init__")
        )

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """A class that travels leaves its table behind: it becomes None, and is made anew."""
        return type(None), ()

    def find(self, name: str) -> Handler:
        """The handler of that name.

        Raises:
            AttributeError: There is none; it names those that there are.
        """
        handler = self.handlers.get(name)
        if handler is None:
            from difflib import get_close_matches

            known = ", ".join(sorted(self.handlers)) or "none"
            near = " or ".join(map(repr, get_close_matches(name, self.handlers)))
            hint = f"; did you mean {near}?" if near else "; a handler is a public async def."
            raise AttributeError(f"{self.owner} has no handler {name!r}{hint} It has: {known}")
        return handler

    def of(self, function: Callable[..., Any], actor: type) -> Handler:
        """The handler that a function of the class, or of a class that it extends, stands for; to be told.

        Raises:
            TypeError: It is no handler of this class, or it streams its reply to whoever asks.
        """
        handler = self.by_function.get(function)
        if handler is not None:
            return handler
        name = getattr(function, "__name__", None)
        if not isinstance(name, str) or not any(vars(base).get(name) is function for base in actor.__mro__):
            raise TypeError(
                f"{function!r} is no handler of {self.owner}; "
                f"send one as in ref.tell({self.owner}.{next(iter(self.handlers), 'handler')}, ...)"
            )
        try:
            handler = self.find(name)
        except AttributeError as error:
            raise TypeError(str(error)) from None
        if handler.streams:
            raise TypeError(
                f"{self.owner}.{name} streams its reply, so it cannot be told; "
                f"iterate over it: async for item in ref.ask.{name}(...)"
            )
        self.by_function[function] = handler
        return handler

    def proxy(self, base: type, make: Callable[[Handler], object]) -> type:
        """A class with one method for each handler, made once."""
        made = self._proxies.get(base)
        if made is None:
            methods = {name: make(handler) for name, handler in self.handlers.items()}
            made = self._proxies[base] = type(
                f"{self.owner}{base.__name__}", (base,), {"__slots__": (), **methods}
            )
        return made


def _check_attributes(owner: Any, base: Any) -> None:
    """Refuse what a class says of its mailbox and its fatal errors, if that could only fail later.

    Raises:
        TypeError: It names the attribute, and what would have been right.
    """
    mailbox, fatal = getattr(owner, "mailbox", None), getattr(owner, "fatal", ())
    if mailbox is not getattr(base, "mailbox", None):
        from actorsched.options import Mailbox

        if not isinstance(mailbox, Mailbox):
            raise TypeError(
                f"{owner.__qualname__}.mailbox={mailbox!r} is of type {type(mailbox).__name__}; "
                "give a Mailbox, such as Mailbox(capacity=100)"
            )
    if not _are_exceptions(fatal):
        raise TypeError(
            f"{owner.__qualname__}.fatal={fatal!r} is no tuple of exception classes; "
            "give one, such as (OSError, ValueError)"
        )


def _are_exceptions(kinds: Any) -> bool:
    try:
        return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in tuple(kinds))
    except TypeError:  # a single one, for instance
        return False


def table_of(actor: type, base: type) -> HandlerTable:
    """The table of a class of actors; `base` is `actorsched.Actor`, whose hooks do nothing.

    The class itself holds it. The table refers to functions, and these may refer to the class, as those do
    that call `super()`: held by anybody else, it would keep a class alive that nobody uses any more.
    """
    table: HandlerTable | None = getattr(actor, TABLE, None)
    if table is None or table.kind is not actor:  # the other one is that of a class that it extends
        table = HandlerTable(actor, base)
        type.__setattr__(actor, TABLE, table)
    return table

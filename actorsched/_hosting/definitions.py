"""Functions and classes that travel once per host, and are named by number afterwards.

The law of this module: it knows which callables there are to tell hosts of, not which host knows which.

How it works: a plain function, a built-in one and a class are defined: pickled once, when they are first
used, and sent once to each host that needs them. So a function that travels by value is what it was then:
assigning to a variable that it closes over, or to a global of `__main__`, afterwards makes it be pickled
anew; changing such an object in place does not. Any other callable (a bound method, an object with
`__call__`) is data that may change at any time, so it goes with the arguments of every call. A
`functools.partial` is taken apart into both.

A definition lives as long as its function does here; then the hosts are told to forget it.
"""

from __future__ import annotations

import weakref
from functools import partial
from itertools import count
from operator import is_not
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

from actorsched._hosting.plain_function import MARK, names
from actorsched._hosting.transfer import dump_call, dumps
from actorsched._hosting.wire import Bulky

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actorsched._hosting.link import HostLink
    from actorsched._hosting.wire import Payload

_numbers = count(1)
_BY_VALUE = (b"cloudpickle", MARK)

Surroundings = tuple[tuple[str, ...], list[object]]
"""The names of the globals that a function refers to; and their values, then those of its closure."""


class Definition:
    """A function or class, ready to be sent.

    Attributes:
        fn_id: Its number, unique in this process.
        body: What travels.
        travels_by_name: Whether it is never outdated, since it is imported over there.
    """

    __slots__ = ("__weakref__", "_function", "_links", "_surroundings", "body", "fn_id", "travels_by_name")

    def __init__(self, function: weakref.ref[Any], body: Payload, surroundings: Surroundings | None) -> None:
        self.fn_id: int = next(_numbers)
        self.body: Payload = body
        self._function = function
        self._surroundings = surroundings
        self.travels_by_name = surroundings is None
        self._links: list[weakref.ref[HostLink]] = []

    def __repr__(self) -> str:
        return f"<Definition {self.fn_id} of {self._function()!r}>"

    @property
    def outdated(self) -> bool:
        """Whether what travelled by value with the function is not any more what the function refers to."""
        if self._surroundings is None:
            return False
        names, values = self._surroundings
        return any(map(is_not, _values(self._function(), names), values))

    def known_by(self, link: HostLink) -> None:
        """A host has been told; it will be told when the definition has gone."""
        self._links = [reference for reference in self._links if reference() is not None]
        self._links.append(weakref.ref(link))

    def __del__(self) -> None:
        for reference in self._links:
            link = reference()
            if link is not None:
                link.undefine_later(self.fn_id)


class Definitions:
    """The definitions of one runtime."""

    def __init__(self) -> None:
        # By identity, because looking up a weak key costs more than all the rest of a call.
        self._known: dict[int, Definition] = {}

    def __repr__(self) -> str:
        return f"<Definitions: {len(self._known)}>"

    def known(self, function: Callable[..., object]) -> Definition | None:
        """The definition of a function or class, if there is one that holds."""
        definition = self._known.get(id(function))
        if definition is None or definition.travels_by_name or not definition.outdated:
            return definition
        return None

    def of(self, function: Callable[..., object], what: str) -> Definition:
        """The definition of a function or class.

        Args:
            function: The function or class.
            what: What it is, for the error: "the function of task 'load'".

        Raises:
            NotTransferable: It cannot cross.
        """
        definition = self._known.get(id(function))
        if definition is None or definition.outdated:
            body = dumps(function, what, getattr(function, "__name__", "it"))
            by_value = isinstance(function, FunctionType) and _is_by_value(bytes(_data(body)))
            key, known = id(function), self._known
            reference = weakref.ref(function, lambda _: known.pop(key, None))
            definition = Definition(reference, body, _surroundings(function) if by_value else None)
            known[key] = definition
        return definition

    def call(
        self,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None,
        what: str,
    ) -> tuple[Definition, Payload]:
        """What to send for a call: the definition, and the payload of the arguments.

        Args:
            function: What to call.
            args: With these arguments,
            kwargs: and with these named ones.
            what: Whose it is, for errors: "task 'load'".

        Raises:
            NotTransferable: The callable or an argument cannot cross.
        """
        definition = self._known.get(id(function))
        if definition is None or definition.outdated:
            function, args, kwargs = _taken_apart(function, args, kwargs)
            definition = self.of(function, f"the function of {what}")
        if not args and not kwargs:
            return definition, b""
        return definition, dump_call(args, kwargs, f"the arguments of {what}")


def _taken_apart(
    function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
) -> tuple[Callable[..., object], tuple[Any, ...], Mapping[str, Any] | None]:
    """The same call, with a callable that has no data of its own."""
    while isinstance(function, partial):
        bound = cast("partial[object]", function)
        args, kwargs = (*bound.args, *args), {**bound.keywords, **(kwargs or {})}
        function = bound.func
    return (function, args, kwargs) if _is_definite(function) else (_call, (function, *args), kwargs)


def _is_definite(function: object) -> bool:
    """Whether it is always the same function, with no data of its own."""
    if isinstance(function, BuiltinFunctionType):
        return function.__self__ is None or isinstance(function.__self__, ModuleType)
    return isinstance(function, (FunctionType, type))


def _call(function: Callable[..., object], /, *args: Any, **kwargs: Any) -> object:
    return function(*args, **kwargs)


def _is_by_value(data: bytes) -> bool:
    return any(mark in data for mark in _BY_VALUE)


def _data(body: Payload) -> Any:
    return body.data if isinstance(body, Bulky) else body


def _surroundings(function: Any) -> Surroundings:
    """What a function that travels by value takes along from where it was made."""
    used = tuple(name for name in names(function.__code__) if name in function.__globals__)
    return used, _values(function, used)


def _values(function: Any, names: tuple[str, ...]) -> list[object]:
    around = function.__globals__
    values = [around.get(name) for name in names]
    if function.__closure__:
        values += map(_content, function.__closure__)
    return values


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None

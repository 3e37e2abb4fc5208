"""Exceptions that cross between processes.

The law of this module: an exception that crosses is always told of, whatever it is made of. It comes out
with its type, its message, the exceptions that it was raised from, and the traceback of where it happened.

How it works: pickle keeps an exception's type, arguments and attributes, and forgets its traceback, its
cause and its context; those travel beside it. Where an exception refuses to be rebuilt the usual way (its
`__init__` wants other arguments than it passed on), it is rebuilt without `__init__`. Where even that cannot
be pickled, `NotTransferable` takes its place, with the original's type, message and traceback in it. The
sender tries all this out, since it alone has the original; the receiver has the same fallback for what it
cannot import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._hosting.transfer import dumps, loads
from actorsched._hosting.wire import Error, Payload
from actorsched.exceptions import NotTransferable, RemoteTraceback

if TYPE_CHECKING:
    from types import TracebackType

_LONGEST_CHAIN = 20
_RUNNERS = ("actorsched._", "asyncio.", "contextvars", "trio._core.", "uvloop")

Link = tuple[BaseException, int, int, bool]
"""An exception, the places of its cause and its context in the chain or -1, whether that is suppressed."""


def pack_error(error: BaseException, what: str = "an exception") -> Error:
    """Make an exception ready to cross. Never raises.

    Args:
        error: The exception.
        what: Where it comes from, for the error that replaces it: "the exception of task 'load'".
    """
    exception, why = _pickled(error, what)
    return Error(exception, _name(type(error)), _message(error), _traceback(error), why)


def unpack_error(error: Error, what: str = "an exception") -> BaseException:
    """The exception that crossed; its innermost cause is a `RemoteTraceback` of where it happened."""
    why = error.why
    if not why:
        try:
            rebuilt = _rebuilt(loads(error.exception, what))
        except BaseException as problem:  # whatever arrived, somebody waits for an answer
            why = str(problem) or type(problem).__name__
        else:
            _first_cause(rebuilt).__cause__ = RemoteTraceback(f'\n"""\n{error.traceback}"""')
            return rebuilt
    return NotTransferable(
        f"{error.type}: {error.message} (this exception could not cross to this process: {why})\n\n"
        f"{error.traceback}",
        what=what,
        original_type=error.type,
        original_message=error.message,
        original_traceback=error.traceback,
    )


# -------------------------------------------------------------------------------------------------- the chain


def _pickled(error: BaseException, what: str) -> tuple[Payload, str]:
    """The payload of the error with its chain, or of it alone; or the reason why there is neither."""
    chain = _chain(error)
    for links in (chain, [(error, -1, -1, False)]) if len(chain) > 1 else (chain,):
        for wrap in (False, True):
            parts = [(_Rebuilt(e) if wrap else e, *rest) for e, *rest in links]
            try:
                payload = dumps(parts, what)
                arrived = _rebuilt(loads(payload))
            except BaseException:  # NotTransferable, or whatever its own code raises when it is rebuilt
                continue
            if type(arrived).__qualname__ == type(error).__qualname__ and _message(arrived) == _message(
                error
            ):
                return payload, ""
    try:
        dumps(error, what, "exception")
    except BaseException as problem:
        return b"", str(problem) or type(problem).__name__
    return b"", "its own code cannot rebuild it from a pickle"


def _chain(error: BaseException) -> list[Link]:
    """The error, and everything that its traceback would mention, each once."""
    found = [error]
    links: list[Link] = []
    for one in found:
        places = [-1, -1]
        for index, other in enumerate((one.__cause__, one.__context__)):
            if other is None or (index == 1 and one.__suppress_context__):
                continue
            if other not in found and len(found) < _LONGEST_CHAIN:
                found.append(other)
            if other in found:
                places[index] = found.index(other)
        links.append((one, *places, one.__suppress_context__))  # type: ignore[arg-type]
    return links


def _rebuilt(links: Any) -> BaseException:
    errors = [link[0] for link in links]
    for error, cause, context, suppress in links:
        if cause >= 0:
            error.__cause__ = errors[cause]
        if context >= 0:
            error.__context__ = errors[context]
        error.__suppress_context__ = suppress
    if not isinstance(errors[0], BaseException):
        raise TypeError(f"{type(errors[0]).__name__} is no exception")
    return errors[0]


def _first_cause(error: BaseException) -> BaseException:
    """Where the traceback of the other process belongs: it is printed before all that came of it."""
    seen = {id(error)}
    while (cause := error.__cause__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        error = cause
    return error


class _Rebuilt:
    """Pickles as an exception that will be rebuilt without its `__init__`."""

    __slots__ = ("_error",)

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self._error
        return _without_init, (type(error), error.args, dict(error.__dict__))


def _without_init(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


# ---------------------------------------------------------------------------------------------------- as text


def _name(cls: type) -> str:
    return (
        cls.__qualname__
        if cls.__module__ in ("builtins", "__main__")
        else f"{cls.__module__}.{cls.__qualname__}"
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:
        return f"<its __str__ raised {type(problem).__name__}>"


def _traceback(error: BaseException) -> str:
    from traceback import format_exception

    try:
        return "".join(format_exception(type(error), error, _beginning(error.__traceback__)))
    except Exception as problem:  # foreign code may take part in formatting
        return f"{_name(type(error))}: {_message(error)} (formatting its traceback raised {problem!r})\n"


def _beginning(traceback: TracebackType | None) -> TracebackType | None:
    """Where the traceback leaves our own modules and those of the loop; all of it if it never does."""
    place = traceback
    while place is not None:
        if not str(place.tb_frame.f_globals.get("__name__", "")).startswith(_RUNNERS):
            return place
        place = place.tb_next
    return traceback

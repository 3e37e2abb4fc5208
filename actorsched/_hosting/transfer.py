"""What crosses between processes: objects to payloads and back.

The law of this module: it turns objects into `Payload`s and payloads into objects, and says truthfully why
it cannot. It touches no descriptor and knows no link: big buffers are only set aside here, and put into
shared memory when their frame is sent.

How it works: four picklers, each tried when the one before will not do.

1. Pickle itself, in C, by reference: for nearly everything, and at the price of one call.
2. The same with reducers for what pickle refuses although it can cross: `memoryview`, `ContextVar`.
3. By value, for functions that a host could not import, and that are simple (`plain_function`).
4. cloudpickle, by value, for what else a host could not import: closures, classes, what lives in `__main__`
   or in a module that no import finds. It is imported only then.

Pickling by reference something of `__main__` succeeds here and fails over there, so that is no success: the
finished pickle is searched for the names of such modules (`importable` keeps the list). The search may find
a mere text of the same spelling; then the others work in vain, and their result is as right.
"""

from __future__ import annotations

import copyreg
from collections import ChainMap
from collections.abc import Callable
from contextlib import contextmanager
from io import BytesIO
from pickle import PickleBuffer, Pickler
from pickle import dumps as _pickled
from pickle import loads as _unpickled
from typing import TYPE_CHECKING, Any, cast

from actorsched._hosting import importable, plain_function
from actorsched._hosting.reducers import REDUCERS
from actorsched._hosting.wire import Bulky, Payload
from actorsched.exceptions import NotTransferable

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

BIG = 64 * 1024
"""From how many bytes on a buffer travels beside the pickle instead of being copied into it."""

_ALONE = 256 * 1024
"""From how many bytes on the pickle itself is treated as such a buffer."""

_PATH_HINT = "; both processes must find it, and a host has the sys.path of the moment when it began"

_STACK_GLOBAL = b"\x93"
"""The opcode by which a pickle refers to something importable."""

_ATOMS = frozenset({int, float, bool, str, complex})


# ------------------------------------------------------------------------------------------------ to payloads


def dumps(value: object, what: str, root: str = "value") -> Payload:
    """Turn an object into a payload.

    Big buffers in it are referred to, and copied when the payload's frame is sent: do not change them
    before.

    Args:
        value: The object.
        what: What it is, for the error: "the result of task 'load'".
        root: What the path to a culprit begins with.

    Raises:
        NotTransferable: It cannot cross; the error names the path to the culprit within it.
    """
    if value is None:
        return b""
    if type(value) in _ATOMS:
        return _pickled(value, 5)
    return _dumped(_set_aside(value), value, what, root)


def dump_call(args: tuple[Any, ...], kwargs: Mapping[str, Any] | None, what: str) -> Payload:
    """Turn the arguments of a call into a payload, for `load_call`; otherwise like `dumps`."""
    if kwargs:
        call: Sequence[object] = [
            tuple([_set_aside(arg) for arg in args]),
            {name: _set_aside(arg) for name, arg in kwargs.items()},
        ]
        return _dumped(call, (args, kwargs), what, "")
    if not args:
        return b""
    for arg in args:
        if type(arg) not in _ATOMS:
            return _dumped(tuple([_set_aside(arg) for arg in args]), (args, kwargs), what, "")
    return _pickled(args, 5)


def _dumped(value: object, original: object, what: str, root: str) -> Payload:
    """The payload of `value`; errors are told in terms of `original`, of which `root` is the name."""
    try:
        return attempt(value)
    except Exception as error:
        raise _refusal(original, what, root, error) from error


def attempt(value: object) -> Payload:
    """The payload of the value, by whichever pickler will do; errors of the last are raised as they are."""
    for pickle in (_pickled, _pickled_with_reducers):
        try:
            data, buffers = _with_buffers(pickle, value)
        except Exception:  # whatever a `__reduce__` raises: the next pickler may do without it
            continue
        if _STACK_GLOBAL in data and importable.names_stranger(data):
            break
        return _payload(data, buffers)
    return by_value(value)


def by_value(value: object) -> Payload:
    """What the value itself is, not what it is called; errors of cloudpickle are raised as they are."""
    data = plain_function.pickled(value)
    if data is not None:
        return _payload(data, [])
    from actorsched._hosting.by_value import pickled

    return _payload(*_with_buffers(pickled, value))


def _with_buffers(pickle: Callable[..., bytes], value: object) -> tuple[bytes, list[PickleBuffer]]:
    buffers: list[PickleBuffer] = []

    def keep_within(buffer: PickleBuffer) -> bool:
        if memoryview(buffer).nbytes < BIG:
            return True
        buffers.append(buffer)
        return False

    return pickle(value, 5, buffer_callback=keep_within), buffers


def _payload(data: bytes, buffers: list[PickleBuffer]) -> Payload:
    if len(data) >= _ALONE:
        return Bulky(PickleBuffer(data), [*buffers])
    return Bulky(data, [*buffers]) if buffers else data


def _refusal(original: object, what: str, root: str, error: BaseException) -> NotTransferable:
    from actorsched._hosting.culprit import find_culprit

    path, reason = find_culprit(original, root, error)
    return NotTransferable(
        f"{what} cannot cross to another process: {path + ': ' if path else ''}{reason}; "
        "send what it is made from instead, and make it over there",
        what=what,
        path=path or None,
    )


# ---------------------------------------------------------------------------------------------- from payloads


def loads(payload: Payload, what: str = "a payload") -> Any:
    """Turn a payload into the object that it was made from.

    Raises:
        NotTransferable: It arrived, but cannot be built in this process.
    """
    if payload == b"":
        return None
    try:
        if isinstance(payload, Bulky):
            return _unpickled(cast("bytes", payload.data), buffers=payload.buffers)
        return _unpickled(payload)
    except KeyboardInterrupt:  # somebody's Ctrl-C
        raise
    except BaseException as error:  # whatever a `__setstate__` raises: it ends nothing but its payload
        hint = _PATH_HINT if isinstance(error, ModuleNotFoundError) else ""
        raise NotTransferable(
            f"{what} arrived, but cannot be built in this process: {type(error).__name__}: {error}{hint}",
            what=what,
        ) from error


def load_call(payload: Payload, what: str = "the arguments") -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that `dump_call` was given.

    Raises:
        NotTransferable: They arrived, but cannot be built in this process.
    """
    if payload == b"":
        return (), {}
    call: tuple[Any, ...] | list[Any] = loads(payload, what)
    if isinstance(call, tuple):
        return call, {}
    return call[0], call[1]


# --------------------------------------------------------------------------------------------------- reducers


class _Aside:
    """Big bytes among arguments: pickled as a buffer of their own, so they are copied once on either side."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self._value = value

    def __reduce__(self) -> tuple[type, tuple[PickleBuffer]]:
        return type(self._value), (PickleBuffer(self._value),)


def _set_aside(value: object) -> object:
    if type(value) in (bytes, bytearray) and len(cast("bytes", value)) >= BIG:
        return _Aside(cast("bytes", value))
    return value


class _Reducing(Pickler):
    dispatch_table: Any = ChainMap(REDUCERS, cast("dict[type, Any]", copyreg.dispatch_table))


def _pickled_with_reducers(value: object, protocol: int, *, buffer_callback: Any) -> bytes:
    file = BytesIO()
    _Reducing(file, protocol, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


# ----------------------------------------------------------------------------------------------------- travel

_link: object | None = None


def current_link() -> object | None:
    """The link that what is being pickled or unpickled travels on, as `travelling` said; None if nobody did.

    For the `__reduce__` of references to actors and tasks, and for what rebuilds them.
    """
    return _link


@contextmanager
def travelling(link: object) -> Generator[None]:
    """While the context lasts, `current_link()` is this one. Only for code that does not wait in it."""
    global _link  # noqa: PLW0603  # of this process, and read at the depths of a pickle
    before, _link = _link, link
    try:
        yield
    finally:
        _link = before

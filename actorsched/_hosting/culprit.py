"""Which part of an object cannot cross to another process.

The law of this module: it explains a failure of `transfer` and is called for nothing else, so it may take
its time; it never raises, and changes nothing.

How it works: descend from the whole into whichever part fails to be pickled by itself, for as long as there
is one. A part has an accessor, as one would write it in Python; their sequence is the path.
"""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST = 30

Part = tuple[str, object]


def find_culprit(whole: object, root: str, error: BaseException) -> tuple[str, str]:
    """The path to the innermost part that cannot be pickled, and the reason why.

    Args:
        whole: What could not be pickled. With an empty `root`, an `(args, kwargs)` pair.
        root: The name that the path begins with.
        error: Why the whole could not be pickled.
    """
    path, part, reason = root, whole, error
    seen = {id(whole)}
    parts = _arguments(whole) if root == "" else _parts(whole)
    while len(seen) < _DEEPEST:
        for accessor, inner in parts:
            if id(inner) in seen:
                continue
            failure = _failure(inner)
            if failure is not None:
                path, part, reason = path + accessor, inner, failure
                break
        else:
            break
        seen.add(id(part))
        parts = _parts(part)
    return path, f"{_text(reason)} ({shown(part)})" if part is not whole else _text(reason)


def _failure(part: object) -> BaseException | None:
    from actorsched._hosting.transfer import attempt

    try:
        attempt(part)
    except Exception as error:
        return error
    return None


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


# ------------------------------------------------------------------------------------------------------ parts


def _arguments(call: Any) -> Iterator[Part]:
    args, kwargs = call
    for index, arg in enumerate(args or ()):
        yield f"args[{index}]", arg
    for name, arg in kwargs.items() if kwargs else ():
        yield f"kwargs[{name!r}]", arg


def _parts(whole: object) -> Iterator[Part]:
    """What the pickle of the whole would be made of. Foreign code may raise here; that ends the search."""
    try:
        yield from _known_parts(whole)
    except Exception:  # the parts that were found until then are answer enough
        return


def _known_parts(whole: Any) -> Iterator[Part]:
    if isinstance(whole, dict):
        yield from _parts_of_dict(whole)
    elif isinstance(whole, (list, tuple, set, frozenset)):
        yield from _parts_of_sequence(whole)
    elif isinstance(whole, FunctionType):
        yield from _parts_of_function(whole)
    elif isinstance(whole, MethodType):
        yield ".__self__", whole.__self__
    elif isinstance(whole, partial):
        yield from _parts_of_partial(cast("Any", whole))
    elif isinstance(whole, type):
        yield from [(f".{name}", value) for name, value in vars(whole).items()]
    else:
        yield from _parts_of_object(whole)


def _parts_of_dict(whole: Any) -> Iterator[Part]:
    for key, value in whole.items():
        yield f"[{shown(key, 40)}]", value
        yield f".keys()[{shown(key, 40)}]", key


def _parts_of_sequence(whole: Any) -> Iterator[Part]:
    for index, item in enumerate(whole):
        yield f"[{index}]", item


def _parts_of_partial(whole: Any) -> Iterator[Part]:
    yield ".func", whole.func
    for index, arg in enumerate(whole.args):
        yield f".args[{index}]", arg
    for name, arg in whole.keywords.items():
        yield f".keywords[{name!r}]", arg


def _parts_of_function(function: FunctionType) -> Iterator[Part]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=False):
        try:
            yield f".__closure__[{name!r}]", cell.cell_contents
        except ValueError:  # not bound yet
            continue
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f".__globals__[{name!r}]", function.__globals__[name]
    for index, value in enumerate(function.__defaults__ or ()):
        yield f".__defaults__[{index}]", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f".__kwdefaults__[{name!r}]", value


def _global_names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            yield from _global_names(constant)


def _parts_of_object(whole: Any) -> Iterator[Part]:
    attributes: Any = getattr(whole, "__dict__", None)
    if isinstance(attributes, dict):
        yield from [(f".{name}", value) for name, value in cast("dict[str, Any]", attributes).items()]
    for cls in type(whole).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(whole, name):
                yield f".{name}", getattr(whole, name)
    reduced: Any = whole.__reduce_ex__(5)
    if isinstance(reduced, tuple):
        _, args, *rest = cast("Any", reduced)
        yield from [(f".__reduce__()[1][{index}]", arg) for index, arg in enumerate(args)]
        if rest and rest[0] is not attributes:
            yield ".__getstate__()", rest[0]

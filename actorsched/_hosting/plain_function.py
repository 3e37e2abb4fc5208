"""Functions that a host could not import, and that are so simple that they travel without cloudpickle.

The law of this module: what crosses is the same function that cloudpickle would make of it, or nothing does,
and cloudpickle has to. It imports nothing but what every host has anyway: cloudpickle takes a host longer to
import than everything else that it does until its first result.

How it works: the code is marshalled, since both ends are the same interpreter. What belongs to the function,
and the globals that it names, go by reference or as plain data, as `pickle` sees it, and modules by name. It
is not simple if it closes over variables, refers to something else that a host could not import, or to a
package, of which it may use modules that importing the package does not bring.
"""

from __future__ import annotations

import marshal
import sys
from importlib import import_module
from pickle import dumps, loads
from types import CodeType, FunctionType, ModuleType
from typing import Any

from actorsched._hosting import importable

_MOST = 64 * 1024
"""How many bytes its globals may take: more may be better off as buffers."""

_PLACE = ("__package__", "__name__", "__path__", "__file__")
"""The globals that say which module a function is from."""

_CARRIED = ("__qualname__", "__module__", "__doc__")

MARK = b"plain_function"
"""Is in every payload that is made here."""


class _Made:
    """A function on its way."""

    __slots__ = ("_parts",)

    def __init__(self, *parts: object) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return make, self._parts


def pickled(value: object) -> bytes | None:
    """The pickle of a function that is simple enough; None of anything else."""
    if type(value) is not FunctionType or value.__closure__ or value.__dict__ or _cloudpickle_knows_better():
        return None
    itself: list[str] = []
    modules: dict[str, str] = {}
    others: dict[str, object] = {}
    for name in names(value.__code__):
        if name not in value.__globals__:
            continue
        found = value.__globals__[name]
        if found is value:
            itself.append(name)
        elif not isinstance(found, ModuleType):
            others[name] = found
        elif _is_plain(found):
            modules[name] = found.__name__
        else:
            return None
    try:
        data = dumps((others, value.__defaults__, value.__kwdefaults__, value.__annotations__), 5)
        if len(data) > _MOST or importable.names_stranger(data):
            return None
        place = {name: value.__globals__[name] for name in _PLACE if name in value.__globals__}
        carried = {name: getattr(value, name) for name in _CARRIED}
        code = marshal.dumps(value.__code__)
        return dumps(_Made(code, value.__name__, place, data, modules, itself, carried), 5)
    except Exception:  # whatever a `__reduce__` raises: cloudpickle says what is wrong, if anything is
        return None


def make(
    code: bytes,
    name: str,
    place: dict[str, Any],
    data: bytes,
    modules: dict[str, str],
    itself: list[str],
    carried: dict[str, Any],
) -> FunctionType:
    """The function, over there."""
    others, defaults, named_defaults, annotations = loads(data)  # ours
    namespace = {**place, **others, "__builtins__": __builtins__}
    for alias, module in modules.items():
        namespace[alias] = import_module(module)
    function = FunctionType(marshal.loads(code), namespace, name, defaults)  # noqa: S302  # ours
    function.__kwdefaults__ = named_defaults
    function.__annotations__ = annotations
    for attribute, value in carried.items():
        setattr(function, attribute, value)
    namespace.update(dict.fromkeys(itself, function))
    return function


def names(code: CodeType) -> tuple[str, ...]:
    """What a function calls other things by, the globals among them; also that of functions within it."""
    inner = [names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *[name for names in inner for name in names]]))


def _is_plain(module: ModuleType) -> bool:
    """Whether importing the module over there brings all that can be reached through it here."""
    name = module.__name__
    return sys.modules.get(name) is module and not hasattr(module, "__path__") and importable.can_import(name)


def _cloudpickle_knows_better() -> bool:
    """Whether somebody has told cloudpickle to take a module along that could be imported."""
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle is not None and bool(cloudpickle.list_registry_pickle_by_value())

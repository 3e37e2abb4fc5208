"""Context variables that cross into hosts.

The law of this module: a variable crosses as a handle, never as an object; cloudpickle would refuse it, and
a copy of it would be another variable. Values that cannot be pickled stay behind, with a debug record.

How it works: a variable that sits in a module which hosts can import is named by module and attribute. Any
other (one of `__main__`, one made in a function) gets a number in the process where it was made; a host
makes a variable of its own the first time that it hears of the number, and finds it again by it. A by-value
function that refers to such a variable carries the same handle, so it meets the same variable.

Variables of event loops and of this library mean nothing elsewhere: what a loop keeps in the context stays
there. Which these are is decided once per variable, so a context without variables of the user costs next to
nothing.
"""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from actorsched._hosting import importable
from actorsched._hosting.transfer import dumps, loads
from actorsched.exceptions import NotTransferable

if TYPE_CHECKING:
    from contextvars import Context

    from actorsched._hosting.wire import Payload

Handle = tuple[str, str] | tuple[int, int, str, Any]
"""Module and attribute; or the process where it was made, its number there, its name, and its default."""

_LOCAL = ("actorsched.", "actorsched_", "anyio", "asyncio", "decimal", "sniffio", "trio", "uvloop")
_UNSET = "actorsched: no default"

_handles: dict[ContextVar[Any], Handle | None] = {}
_variables: dict[tuple[int, int], ContextVar[Any]] = {}


def contextvars_out(context: Context) -> Payload:
    """The payload of the user's variables in a context; empty when there are none."""
    carried: list[tuple[Handle, Any]] = []
    for variable, value in context.items():
        handle = _handles[variable] if variable in _handles else _decide(variable)
        if handle is not None:
            carried.append((handle, value))
    if not carried:
        return b""
    try:
        return dumps(carried, "the context variables")
    except NotTransferable:
        return _those_that_can(carried)


def contextvars_in(payload: Payload) -> None:
    """Set the variables of the payload in the running context."""
    for handle, value in loads(payload, "the context variables") or ():
        variable_of(handle).set(value)


def handle_of(variable: ContextVar[Any]) -> Handle:
    """What names the variable in any process of this runtime."""
    handle = _handles.get(variable)
    if handle is None:
        handle = _place(variable) or _number(variable)
        _handles[variable] = handle
    return handle


def variable_of(handle: Handle) -> ContextVar[Any]:
    """The variable that the handle names here."""
    if len(handle) == 2:
        from importlib import import_module
        from operator import attrgetter

        found: ContextVar[Any] = attrgetter(handle[1])(import_module(handle[0]))
        return found
    process, number, name, default = handle
    variable: ContextVar[Any] | None = _variables.get((process, number))
    if variable is None:
        variable = ContextVar(name) if default == _UNSET else ContextVar(name, default=default)
        _variables[process, number] = variable
        _handles[variable] = handle
    return variable


def _decide(variable: ContextVar[Any]) -> Handle | None:
    """The handle of a variable that is met for the first time; None if it stays behind."""
    place = _place(variable)
    home = variable.name if place is None else place[0]
    if home.startswith(_LOCAL):
        _handles[variable] = None
        return None
    return handle_of(variable)


def _place(variable: ContextVar[Any]) -> tuple[str, str] | None:
    """The module and attribute where a host will find the variable."""
    for name, module in list(sys.modules.items()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is variable and importable.can_import(name):
                return name, attribute
    return None


def _number(variable: ContextVar[Any]) -> Handle:
    from contextvars import Context

    try:
        default: Any = Context().run(variable.get)
        dumps(default, "")
    except (LookupError, NotTransferable):
        default = _UNSET
    identity = os.getpid(), len(_variables)
    _variables[identity] = variable
    return (*identity, variable.name, default)


def _those_that_can(carried: list[tuple[Handle, Any]]) -> Payload:
    kept: list[tuple[Handle, Any]] = []
    for handle, value in carried:
        try:
            dumps(
                value, f"the value of the context variable {handle[1] if len(handle) == 2 else handle[2]!r}"
            )
        except NotTransferable as error:
            import logging

            logging.getLogger("actorsched").debug("%s; it stays behind", error)
        else:
            kept.append((handle, value))
    return dumps(kept, "the context variables") if kept else b""

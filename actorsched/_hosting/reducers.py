"""How to pickle what pickle refuses although it can cross.

The law of this module: reducers only, for both picklers (`transfer`, and `by_value` behind it). Whatever a
reducer names must be importable in a host.
"""

from __future__ import annotations

from contextvars import ContextVar
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def _view(buffer: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    flat = memoryview(buffer).cast("B")
    return flat.cast(form, shape) if len(shape) > 1 or form != "B" else flat  # type: ignore[call-overload]


def _reduce_memoryview(view: memoryview) -> Any:
    flat = PickleBuffer(view) if view.c_contiguous else PickleBuffer(view.tobytes())
    return _view, (flat, view.format, view.shape)


def _reduce_variable(variable: ContextVar[Any]) -> Any:
    from actorsched._hosting.variables import handle_of, variable_of

    return variable_of, (handle_of(variable),)


REDUCERS: dict[type, Callable[[Any], Any]] = {memoryview: _reduce_memoryview, ContextVar: _reduce_variable}
"""By type, for the dispatch tables of picklers."""

"""How to pickle what pickle refuses although it can cross.

The law of this module: reducers only, for both picklers (`transfer`, and `by_value` behind it). Whatever a
reducer names must be importable in a host.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


_NATIVE = frozenset("cbB?hHiIlLqQnNfdP")
"""The formats of which a memoryview can be made from bytes. Those of others only NumPy can make."""


def _view(buffer: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    flat: Any = memoryview(buffer).cast("B")
    view: memoryview = flat.cast(form) if len(shape) == 1 else flat.cast(form, shape)
    return view


def _view_of_array(buffer: Any, kind: Any, shape: tuple[int, ...]) -> memoryview:
    import numpy as np

    array: Any = np.empty(shape, kind) if 0 in shape else np.frombuffer(buffer, kind).reshape(shape)
    return memoryview(array)


def _reduce_memoryview(view: memoryview) -> Any:
    flat = PickleBuffer(view if view.c_contiguous else _gathered(view))
    form = view.format.removeprefix("@")
    if form in _NATIVE and (view.nbytes or view.ndim == 1):
        return _view, (flat, form, view.shape)
    if "numpy" not in sys.modules:
        raise TypeError(f"cannot pickle a memoryview of format {view.format!r} and shape {view.shape}")
    import numpy as np

    return _view_of_array, (flat, np.asarray(view).dtype, view.shape)


def _gathered(view: memoryview) -> bytes | bytearray:
    """What lies here and there, in one piece; as writable as it was."""
    return view.tobytes() if view.readonly else bytearray(view.tobytes())


def _reduce_variable(variable: ContextVar[Any]) -> Any:
    from actorsched._hosting.variables import handle_of, variable_of

    return variable_of, (handle_of(variable),)


REDUCERS: dict[type, Callable[[Any], Any]] = {memoryview: _reduce_memoryview, ContextVar: _reduce_variable}
"""By type, for the dispatch tables of picklers."""

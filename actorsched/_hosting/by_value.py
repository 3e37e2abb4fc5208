"""Pickling by value: the one home of cloudpickle.

The law of this module: nothing but the call of cloudpickle, with our reducers, and with the modules that
hosts cannot import declared to it for as long as the call lasts. Import it only when something has to travel
by value: cloudpickle costs a host more time to import than the rest of it.
"""

from __future__ import annotations

from collections import ChainMap
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar

import cloudpickle

from actorsched._hosting.importable import strangers
from actorsched._hosting.reducers import REDUCERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pickle import PickleBuffer


_cloudpickle: Any = cloudpickle
"""It has hardly any types."""


class _ByValue(_cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table: ClassVar[Any] = ChainMap(REDUCERS, _cloudpickle.Pickler.dispatch_table)


def pickled(value: object, protocol: int, *, buffer_callback: Callable[[PickleBuffer], bool]) -> bytes:
    """The pickle of the value, with whatever a host cannot import written out in it."""
    file = BytesIO()
    declared: set[str] = _cloudpickle.list_registry_pickle_by_value()
    ours = [module for module in strangers() if module.__name__ not in declared]
    for module in ours:
        _cloudpickle.register_pickle_by_value(module)
    try:
        _ByValue(file, protocol, buffer_callback).dump(value)
    finally:
        for module in ours:
            _cloudpickle.unregister_pickle_by_value(module)
    return file.getvalue()

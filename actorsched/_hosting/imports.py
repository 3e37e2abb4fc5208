"""Doing something when a module is imported, if it ever is.

The law of this module: it imports nothing for anybody. A host that never needs a module never pays for it,
and what has to be done to it is done before anybody can use it.

How it works: a finder at the front of `sys.meta_path` sees an import coming, leaves the search to Python's
own finder, and has one thing more done after the module has been run.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def when_imported(name: str, action: Callable[[], object]) -> None:
    """Do something once this module is there: now, if it is.

    Args:
        name: A module at the top of the library's names, without a dot.
        action: What to do; it can import the module.
    """
    if name in sys.modules:
        action()
        return
    for finder in sys.meta_path:
        if isinstance(finder, _Finder):
            finder.awaited[name] = action
            return
    sys.meta_path.insert(0, _Finder({name: action}))


class _Finder:
    """Waits for modules to be imported; when all have been, it is gone."""

    def __init__(self, awaited: dict[str, Callable[[], object]]) -> None:
        self.awaited = awaited

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer only for what is awaited, with its true specification and one thing more to do."""
        if name not in self.awaited:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            load: Any = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                self._is_there(name)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def _is_there(self, name: str) -> None:
        action = self.awaited.pop(name, None)
        if not self.awaited and self in sys.meta_path:
            sys.meta_path.remove(self)
        if action is not None:
            action()

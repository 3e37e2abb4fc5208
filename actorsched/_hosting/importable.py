"""Which modules a host could not import, so that what lives in them must travel by value.

The law of this module: it only looks at `sys.modules` and where its members came from; it imports nothing.

How it works: a host has this process's `sys.path`. So a module can be imported there when it is built in,
when a search through the path (of its package, or `sys.path`) would find the file that it was loaded from,
or, for loaders with ideas of their own, when asking the finders again leads to the same origin. `__main__`
never can. Only modules that came since the last look are looked at, and most looks end at the first
comparison.
"""

from __future__ import annotations

import sys
from os.path import dirname
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_seen: set[str] = set()
_strangers: dict[str, bytes] = {"__main__": b"__main__", "__mp_main__": b"__mp_main__"}
_count = 0


def names_stranger(pickle: bytes) -> bool:
    """Whether the pickle may refer to a module that a host cannot import."""
    if len(sys.modules) != _count:
        _look()
    return any(name in pickle for name in _strangers.values())


def strangers() -> list[ModuleType]:
    """The modules that a host cannot import, other than `__main__`."""
    if len(sys.modules) != _count:
        _look()
    return [sys.modules[name] for name in _strangers if not name.startswith("__") and name in sys.modules]


def can_import(name: str) -> bool:
    """Whether a host could import the module of this name, which is loaded here."""
    if len(sys.modules) != _count:
        _look()
    return name not in _strangers


def _look() -> None:
    global _count  # noqa: PLW0603  # what this process has seen
    for name in sys.modules.keys() - _seen:
        if name not in _strangers and not _found_again(name):
            _strangers[name] = name.encode()
    _seen.update(sys.modules)
    _count = len(sys.modules)


def _found_again(name: str) -> bool:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is None or spec is None:
        # Modules put into `sys.modules` by hand, such as `os.path` or `six.moves`, come with what made them.
        return "." in name and _found_again(name.rpartition(".")[0])
    if spec.name != name:
        return True  # an alias, such as `os.path`: pickle refers to the real name
    origin = spec.origin
    if origin in ("built-in", "frozen"):
        return True
    parent = name.rpartition(".")[0]
    if parent:
        folders: Sequence[str] = getattr(sys.modules.get(parent), "__path__", ())
        if parent not in _seen and not _found_again(parent):
            return False
        if parent in _strangers:
            return False
    else:
        folders = sys.path
    if origin is not None:
        folder = dirname(origin)
        if spec.submodule_search_locations is not None:
            folder = dirname(folder)
        if folder in folders:
            return True
    return _asked_again(name, origin, folders)


def _asked_again(name: str, origin: str | None, folders: Sequence[str]) -> bool:
    for finder in sys.meta_path:
        try:
            found = finder.find_spec(name, folders if "." in name else None)
        except Exception:  # a finder that fails here would fail over there
            return False
        if found is not None:
            return found.origin == origin
    return False

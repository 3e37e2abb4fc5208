"""What a host takes over from its parent before it does anything else.

The law of this module: plain data that `marshal` can carry goes over, and is put in force on the other side;
nothing of either half needs any library, because there is no `sys.path` yet where it arrives.

How it works: the spawner's interpreter starts with its parent's flags and environment, but nothing of the
working directory can get in between (`-P`); then `sys.path` becomes its parent's, as it is at that moment.
The first bytes from a host's socket are its own handover: whatever of all this may have changed since.
"""

from __future__ import annotations

import marshal
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Handover = dict[str, Any]

Filter = tuple[str, str | None, str, str | None, int]
"""A filter of warnings: action, pattern of the message, module and name of the category, pattern of the
module, line."""

BOOT = """
import gc, marshal, os, sys
gc.disable()
socket, lifeline = map(int, sys.argv[1:])
given = os.read(socket, 1 << 20)
if not given:
    os._exit(0)
path, backend, more = marshal.loads(given)
sys.path[:] = path
sys.modules.setdefault("typing_extensions", None)
try:
    import msgspec
except ImportError:  # what needs it will say so
    pass
if sys.modules["typing_extensions"] is None:
    del sys.modules["typing_extensions"]
from actorsched._hosting.spawner_child import main
main(socket, lifeline, backend, more)
"""
"""What the spawner's interpreter is told to run. A host's `__main__` is what this leaves.

The garbage collector would find no garbage in what is imported, and is switched on in the hosts.

msgspec does without `typing_extensions` where there is none, and importing that would take longer than
anything else that is imported. User code can still import it later.
"""

_MEASURED = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COV_CORE_SOURCE")
"""One of these asks for the lines that new processes run: two of coverage.py, one of pytest-cov before its 7.
What measures them is started by `site`."""

_FINDERS_OF_THE_INTERPRETER = ("BuiltinImporter", "FrozenImporter", "PathFinder")
_FINDERS_THAT_HOSTS_CAN_DO_WITHOUT = ("_distutils_hack", "_pytest", "six")


def command(socket: int, lifeline: int) -> list[str]:
    """The command line of a spawner.

    Args:
        socket: The descriptor of its socket.
        lifeline: That of its lifeline.

    Raises:
        RuntimeError: There is no interpreter to be started.
    """
    if not sys.executable:
        raise RuntimeError(
            "no host process can be started: sys.executable does not say which Python runs this"
        )
    return [sys.executable, "-P", *_flags(), "-c", BOOT, str(socket), str(lifeline)]


def _flags() -> Iterator[str]:
    """The parent's own flags, so that its interpreter and the host's are alike."""
    flags = sys.flags
    if flags.ignore_environment:
        yield "-E"
    if not _site_matters():
        yield "-S"
    if flags.optimize:
        yield "-" + "O" * flags.optimize
    if flags.dont_write_bytecode:
        yield "-B"
    for warning in sys.warnoptions:
        yield f"-W{warning}"
    for option, value in sys._xoptions.items():
        yield f"-X{option}" if value is True else f"-X{option}={value}"


def _site_matters() -> bool:
    """Whether `site` would do more for a host than to compute `sys.path`: that takes it a while."""
    if any(name in os.environ for name in _MEASURED):
        return True
    for finder in sys.meta_path:
        cls = finder if isinstance(finder, type) else type(finder)
        if cls.__name__ in _FINDERS_OF_THE_INTERPRETER and "importlib" in cls.__module__:
            continue
        if not cls.__module__.startswith(_FINDERS_THAT_HOSTS_CAN_DO_WITHOUT):
            return True
    return False


def search_path() -> list[str]:
    """`sys.path`, absolute."""
    try:
        here = os.getcwd()
    except OSError:  # the working directory has been removed
        here = ""
    return [str(entry) if os.path.isabs(entry) else os.path.join(here, entry) for entry in sys.path]


def handover(kind: str, backend: str) -> bytes:
    """What goes over to a host of this kind, as it arrives there.

    Args:
        kind: "tasks" or "actors".
        backend: "asyncio", "uvloop" or "trio".
    """
    handed: Handover = {
        "kind": kind,
        "backend": backend,
        "path": search_path(),
        "argv": [str(argument) for argument in sys.argv],
        "environment": dict(os.environb),
        "processors": list(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
        "warnings": _warning_filters(),
        "log_levels": log_levels(),
        "group": os.getpgrp(),
    }
    data = marshal.dumps(handed)
    return len(data).to_bytes(4, "little") + data


def _warning_filters() -> list[Filter]:
    """The filters that are in force, as text."""
    import warnings

    filters: list[Filter] = []
    category: Any  # the stubs say that it may be a tuple, but that is only so when it is added
    for action, message, category, module, line in warnings.filters:
        name = f"{category.__module__}:{category.__qualname__}"
        filters.append((action, _pattern(message), name, _pattern(module), line))
    return filters


def _pattern(pattern: Any) -> str | None:
    return pattern if pattern is None or isinstance(pattern, str) else str(pattern.pattern)


def log_levels() -> dict[str, int]:
    """The levels that loggers were given, by name; of the root logger under the empty name."""
    logging = sys.modules.get("logging")
    if logging is None:
        return {}
    levels = {"": logging.root.level, "disabled": logging.root.manager.disable}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        level = getattr(logger, "level", 0)  # a placeholder has none
        if level:
            levels[name] = level
    return levels


# ------------------------------------------------------------------------------------------------ in the host


def receive(socket: int) -> Handover:
    """Read the handover. Where there is none, the parent has gone, and so does this process."""
    handed: Handover = marshal.loads(_read(socket, int.from_bytes(_read(socket, 4), "little")))  # noqa: S302  # ours
    return handed


def _read(socket: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(socket, size - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


_path: list[str] = []
"""What the parent had in `sys.path` when it last said so."""


def take_path(entries: list[str]) -> None:
    """Look for modules where the parent does; and then where code in this host has added something itself."""
    own = [entry for entry in sys.path if entry not in _path and entry not in entries] if _path else []
    sys.path[:] = [*entries, *own]
    _path[:] = entries
    sys.path_importer_cache.clear()  # what was looked for in vain may be there now


def take_over(handed: Handover) -> None:
    """Put in force what concerns the process and the interpreter as a whole."""
    take_path(handed["path"])
    sys.argv[:] = handed["argv"]
    _take_environment(handed["environment"])
    if handed["processors"] and set(handed["processors"]) != os.sched_getaffinity(0):
        try:
            os.sched_setaffinity(0, handed["processors"])
        except OSError:  # they have been taken away meanwhile
            pass
    if handed["warnings"] != _warning_filters():
        _take_warning_filters(handed["warnings"])


def _take_environment(environment: dict[bytes, bytes]) -> None:
    """The spawner's environment is the parent's of an earlier moment."""
    present = os.environb
    for name in set(present) - set(environment):
        del present[name]
    changed = [name for name, value in environment.items() if present.get(name) != value]
    for name in changed:
        present[name] = environment[name]
    if b"TZ" in changed:
        import time

        time.tzset()


def _take_warning_filters(filters: list[Filter]) -> None:
    import warnings

    warnings.resetwarnings()
    for action, message, name, module, line in reversed(filters):
        category = _category(name)
        if category is None:
            continue
        if message is None and module is None:
            warnings.simplefilter(action, category, line)  # type: ignore[arg-type]
        else:
            _add_filter(action, message, category, module, line)


def _category(name: str) -> type[Warning] | None:
    """A warning of the interpreter or of a module that is loaded; filters of others wait for nobody."""
    module, _, attribute = name.partition(":")
    found = getattr(sys.modules.get(module), attribute, None)
    return found if isinstance(found, type) and issubclass(found, Warning) else None


def _add_filter(
    action: str, message: str | None, category: type[Warning], module: str | None, line: int
) -> None:
    import re
    import warnings

    pattern = None if message is None else re.compile(message, re.IGNORECASE)
    where = None if module is None else re.compile(module)
    warnings.filters.insert(0, (action, pattern, category, where, line))  # type: ignore[attr-defined]
    warnings._filters_mutated()  # type: ignore[attr-defined]

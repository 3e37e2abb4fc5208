"""Looking on: logs, metrics, and whatever else wants to know what a runtime does.

The law of this package: it is built on the public face, like a user's code. Nothing in it imports a private
module of actorsched, and nothing in actorsched knows of it; what is not used is not imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actorsched.observe.logs import Log, start_log
    from actorsched.observe.records import JsonLines, TaskFields, TextLines
    from actorsched.observe.task_log import log_tasks

__all__ = ["JsonLines", "Log", "TaskFields", "TextLines", "log_tasks", "start_log"]

_HOME_OF = {
    "JsonLines": "records",
    "Log": "logs",
    "TaskFields": "records",
    "TextLines": "records",
    "log_tasks": "task_log",
    "start_log": "logs",
}


if not TYPE_CHECKING:  # or checkers would believe that every name exists

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Where in its code somebody waits: found by looking at the code, and only when it is to be told.

The line that is told is one of the user's: frames of this package, of the library under it and of Python's
own are passed over.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from types import FrameType

_OURS = tuple(f"{folder}{os.sep}" for folder in (__file__.rsplit(os.sep, 2)[0], anyio.__path__[0]))
_STANDARD = f"{os.__file__.rpartition(os.sep)[0]}{os.sep}"


def here() -> str | None:
    """The line of the user's code that is calling; None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_users(frame):
        frame = frame.f_back
    return None if frame is None else _line(frame)


def line_of(worker: Any) -> str | None:
    """The line of the user's code at which the code of a worker in the loop is suspended; None if unknown."""
    stepper = getattr(worker, "stepper", None)
    awaiting: Any = None if stepper is None else getattr(stepper.send, "__self__", None)
    found: FrameType | None = None
    while awaiting is not None:
        frame = _attribute(awaiting, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None and _is_users(frame):
            found = frame
        awaiting = _attribute(awaiting, "cr_await", "gi_yieldfrom", "ag_await")
    return None if found is None else _line(found)


def _is_users(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if file.startswith(_OURS):
        return False
    return not file.startswith(_STANDARD) or "site-packages" in file


def _attribute(awaiting: object, *names: str) -> Any:
    return next((getattr(awaiting, name) for name in names if hasattr(awaiting, name)), None)


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_qualname}"

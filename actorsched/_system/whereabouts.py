"""Where in its code somebody waits: found by looking at the code, and only when it is to be told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_PACKAGE = str(Path(__file__).parent.parent)


def here() -> str | None:
    """The line of the user's code that is calling; None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return None if frame is None else _line(frame)


def line_of(worker: Any) -> str | None:
    """The line of the user's code at which the code of a worker in the loop is suspended; None if unknown."""
    stepper = getattr(worker, "stepper", None)
    awaiting: Any = None if stepper is None else getattr(stepper.send, "__self__", None)
    found: FrameType | None = None
    while awaiting is not None:
        frame = _attribute(awaiting, "cr_frame", "gi_frame")
        if frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
            found = frame
        awaiting = _attribute(awaiting, "cr_await", "gi_yieldfrom")
    return None if found is None else _line(found)


def _attribute(awaiting: object, *names: str) -> Any:
    return next((getattr(awaiting, name) for name in names if hasattr(awaiting, name)), None)


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_qualname}"

"""What a function asks of its scheduler, and what it is given: its preemption event.

The law of this module: functions are looked at, and not called. The event only reads what the runtime has
told the task.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from time import monotonic
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actorsched.context import Context

PARAMETER = "preemption_event"
"""The name of the parameter for it."""
_LOOK = 0.005
"""Seconds between two looks of somebody who waits to be preempted."""


class PreemptionEvent:
    """Tells a function that it is to make room: it may save what it has, and return. From any thread.

    It can be asked like a `threading.Event`, and is set by the scheduler only: when a more urgent task wants
    the place of this one, or when it is cancelled.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def __repr__(self) -> str:
        return f"<preemption event of {self._context.name!r}: {'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Whether the function is to make room, or to stop."""
        return self._context.preempt_requested or self._context.cancel_requested

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is set.

        Args:
            timeout: How many seconds at most; None for any time.

        Returns:
            Whether it is set.
        """
        give_up = None if timeout is None else monotonic() + timeout
        pause = threading.Event()
        while not self.is_set():
            left = _LOOK if give_up is None else min(_LOOK, give_up - monotonic())
            if left <= 0:
                return False
            pause.wait(left)
        return True


def place_of_event(function: Callable[..., Any]) -> int | None:
    """Among how many positional arguments the event would be; None if the function has no such parameter."""
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        code = function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if PARAMETER not in names[code.co_posonlyargcount :]:
            return None
        place = names.index(PARAMETER)
        return place if place < code.co_argcount else _NO_PLACE
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # it tells nothing about itself
        return None
    parameter = parameters.get(PARAMETER)
    if parameter is None or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        return None
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        return _NO_PLACE
    return list(parameters).index(PARAMETER)


_NO_PLACE = 1_000_000
"""Of a parameter that no positional argument fills."""

"""Stepping user code without an exception at its end.

A coroutine that is stepped by hand ends with a `StopIteration`: an exception object with a traceback, made
only to be caught, which costs as much as a small handler. Awaited by another coroutine it ends for nothing.
So there is always another one: a generator that awaits one coroutine after the other. What `send` answers
is what the code yielded to the loop, or `DONE` when it has returned.

A stepper whose code has suspended stays with it to the end. One whose code has raised is of no use any more.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final


class _Done:
    __slots__ = ()

    def __repr__(self) -> str:
        return "DONE"


DONE: Final = _Done()
"""The code has returned; its value is in the stepper's box."""


class Stepper:
    """Awaits one coroutine after the other, as each is sent to it.

    Attributes:
        box: Holds one thing: what the last one returned. Not an attribute that the generator sets, because
            then stepper and generator would hold each other, and be left to the garbage collector.
        send: Take the first step of a coroutine, or the next step of one that has suspended.
        throw: Raise within one that has suspended.
    """

    __slots__ = ("box", "send", "throw")

    def __init__(self) -> None:
        self.box: list[Any] = [None]
        generator: Any = _stepping(self.box)
        generator.send(None)
        self.send: Callable[[Any], Any] = generator.send
        self.throw: Callable[[BaseException], Any] = generator.throw

    def __repr__(self) -> str:
        return "<stepper>"

    def take(self) -> Any:
        """What the last one returned; the stepper forgets it."""
        value, self.box[0] = self.box[0], None
        return value


@types.coroutine
def _stepping(box: list[Any]) -> Generator[Any, Any, None]:
    code: Coroutine[Any, Any, Any] = yield DONE
    while True:
        box[0] = yield from code
        code = yield DONE

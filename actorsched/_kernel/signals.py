"""SIGINT and SIGTERM as a cancellation: for programs that hand their main function over to us.

The first signal cancels the main function, which then ends in order. A second SIGINT is a `KeyboardInterrupt`
wherever the program is, so that it can still clean up what it must; should that be caught, or something be
waited for that never ends, a third one ends the process. A second SIGTERM ends it at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

if TYPE_CHECKING:
    from types import FrameType

    from anyio.abc import TaskStatus

T = TypeVar("T")

_SIGNALS = [signal.SIGINT] if sys.platform == "win32" else [signal.SIGINT, signal.SIGTERM]


async def guarded(main: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
    """Run `main(*args)`; a signal cancels it.

    Raises:
        KeyboardInterrupt: After SIGINT.
        SystemExit: After SIGTERM.
        BaseException: What `main` raised.
    """
    if threading.current_thread() is not threading.main_thread():
        return await main(*args)  # signals reach the main thread only
    received: list[int] = []
    result: list[T] = []
    failure: list[BaseException] = []
    async with anyio.create_task_group() as group:
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            with anyio.CancelScope() as scope:
                await group.start(_cancel_on_signal, signals, scope, received)
                try:
                    result.append(await main(*args))
                except Exception as error:
                    failure.append(error)
            group.cancel_scope.cancel()
    if failure:
        raise failure[0]
    if result:
        return result[0]
    raise SystemExit(143) if signal.SIGTERM in received else KeyboardInterrupt


async def _cancel_on_signal(
    signals: Any, scope: anyio.CancelScope, received: list[int], *, task_status: TaskStatus[None]
) -> None:
    task_status.started()
    async for number in signals:
        received.append(number)
        scope.cancel()
        for each in _SIGNALS:
            signal.signal(each, _interrupt if each == signal.SIGINT else signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt

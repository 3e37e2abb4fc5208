"""Having the log of tasks and workers written, by an actor of the shared runtime.

The law of this module: it starts `observe`'s log, which writes through aiologger, and nothing more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from actorsched.frontends._shared import SHARED
from actorsched.frontends.multiprocessing.errors import InvalidArgument
from actorsched.observe.logs import start_log as start
from actorsched.task import Task as Prepared

if TYPE_CHECKING:
    import logging
    import os
    from typing import Literal

    from actorsched.observe.target import TextStream
    from actorsched.runtime import Runtime
    from actorsched.task import TaskRef


def start_log(
    to: TextStream | str | os.PathLike[str] | int | None = None,
    *,
    format: Literal["text", "json"] | logging.Formatter = "text",  # noqa: A002 - what logging calls it
    level: str | int | None = "INFO",
    loggers: Iterable[str] = ("",),
) -> None:
    """Have what is logged written without holding anybody up, until the shared runtime has ended.

    Loggers are `actorsched.task` (what becomes of tasks), `actorsched.worker` (processes that start and end),
    and whatever your functions use, in worker processes too.

    Args:
        to: A stream, a path or a descriptor; None for standard error.
        format: "text" for people, "json" for programs, or a `logging.Formatter`.
        level: What is below it is not written; loggers get it as their level if theirs is higher.
        loggers: Names of the loggers; the empty name is the root, and means all.

    Raises:
        InvalidArgument: An argument cannot be; it says which, and what would be right.
        OSError: The file cannot be opened.
    """
    started = threading.Event()
    errors: list[BaseException | None] = []

    def over(ref: TaskRef[Any]) -> None:
        errors.append(ref.exception())
        started.set()

    async def begin(runtime: Runtime) -> None:
        await start(runtime, to, format=format, level=level, loggers=loggers)

    def submit(runtime: Runtime) -> None:
        ref = runtime.submit_nowait(Prepared("the start of the log", begin, (runtime,)))
        ref.add_done_callback(over)

    SHARED.call(submit)
    started.wait()
    error = errors[0]
    if isinstance(error, (TypeError, ValueError)):
        raise InvalidArgument(f"the log cannot be started: {error}") from None
    if error is not None:
        raise error

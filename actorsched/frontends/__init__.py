"""Five task systems that people know, on one runtime: each module has the names of one of them.

The law of this package: it is built on the public face of actorsched alone, as a user's code would be, and
decides nothing about scheduling. A front end translates names, statuses and errors; what it is asked to do
becomes tasks of the runtime that all of them share (`_shared`), under ids that are valid in each (`_jobs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actorsched.durations import Duration

__all__ = ["shutdown"]


def shutdown(drain: bool = True, timeout: Duration | None = None) -> None:
    """End the runtime that the front ends share, and wait until it has ended.

    Nobody has to: it ends with the interpreter. It is for tests, and before a fork. The next task that any
    front end is given starts another runtime; tasks that have settled keep their results.

    Args:
        drain: Whether what was submitted is finished first; otherwise it is cancelled.
        timeout: How long to wait before what is left is cancelled; None for as long as it takes.

    Raises:
        TypeError: `drain` is no bool.
        ValueError: The timeout is no duration.
        RuntimeError: This is the thread of that runtime, as in a task that is async.
    """
    from actorsched.checks import check_flag
    from actorsched.durations import seconds
    from actorsched.frontends._shared import SHARED

    check_flag(drain, "drain")
    SHARED.stop(drain, None if timeout is None else seconds(timeout, field="timeout"))

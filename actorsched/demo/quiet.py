"""What the user of the demo need not hear of, and must not do by accident.

The law of this module: it silences, and restores what it has silenced. Failures are never silenced: they are
in the summary.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Generator


class Quiet:
    """Between `begin` and the end of the `with` block, which is soon, another Ctrl-C does nothing."""

    def __init__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        self._applies = threading.current_thread() is threading.main_thread()  # elsewhere there is no Ctrl-C

    def begin(self) -> None:
        """The work is over; what is left is to tidy up."""
        if self._applies and signal.getsignal(signal.SIGINT) != signal.SIG_DFL:  # or it is meant to end all
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        if self._applies:
            signal.signal(signal.SIGINT, self._before)


@contextlib.contextmanager
def hushed() -> Generator[None]:
    """Within this block, the log has errors only; advice to programmers is nothing for the demo's users."""
    ours, loops = logging.getLogger("actorsched"), logging.getLogger("asyncio")
    level = ours.level
    ours.setLevel(logging.ERROR)
    loops.addFilter(_is_news)
    try:
        yield
    finally:
        ours.setLevel(level)
        loops.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether it is something else than what asyncio says of a second Ctrl-C while the first is followed."""
    return not str(record.msg).startswith("unhandled exception during asyncio.run() shutdown")

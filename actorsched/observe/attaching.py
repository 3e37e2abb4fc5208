"""Putting handlers on loggers, and taking them off again without a trace.

The law of this module: it changes loggers, and changes them back; what others have set stays as they set it.

Several logs may be on the same loggers, and end in any order. So it is known for each logger which level it
had at first, and which ones are wanted: it has the lowest of them, and at the end the first again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

__all__ = ["Attachment"]


class _Wish:
    """What is known of the level of one logger that is to be lower than it is."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.set = first
        self.wanted: list[int] = []


_wishes: dict[str, _Wish] = {}
_lock = threading.Lock()


class Attachment:
    """A handler on some loggers.

    Args:
        handler: The handler. It is put on a logger only if no logger above passes records to it anyway.
        names: Names of loggers; the empty one is the root.
        level: The level that they have at most meanwhile; None leaves levels alone.
    """

    def __init__(self, handler: logging.Handler, names: Sequence[str], level: int | None) -> None:
        self._handler = handler
        self._level = level
        loggers = [logging.getLogger(name or None) for name in dict.fromkeys(names)]
        self._loggers = loggers
        self._carriers = [logger for logger in loggers if not _is_above(logger, loggers)]
        with _lock:
            for logger in loggers:
                _lower(logger, level)
            for logger in self._carriers:
                logger.addHandler(handler)

    def undo(self) -> None:
        """Take it off again. The second time does nothing."""
        with _lock:
            for logger in self._carriers:
                logger.removeHandler(self._handler)
            for logger in self._loggers:
                _raise(logger, self._level)
            self._loggers = self._carriers = []


def _is_above(logger: logging.Logger, loggers: Sequence[logging.Logger]) -> bool:
    here: logging.Logger | None = logger
    while here is not None and here.propagate:
        here = here.parent
        if here in loggers:
            return True
    return False


def _lower(logger: logging.Logger, level: int | None) -> None:
    if level is None:
        return
    wish = _wishes.get(logger.name)
    if wish is None:
        wish = _wishes[logger.name] = _Wish(logger.level)
    wish.wanted.append(level)
    if logger.getEffectiveLevel() > level:
        wish.set = level
        logger.setLevel(level)


def _raise(logger: logging.Logger, level: int | None) -> None:
    wish = _wishes.get(logger.name)
    if level is None or wish is None:
        return
    wish.wanted.remove(level)
    if not wish.wanted:
        del _wishes[logger.name]
    if logger.level != wish.set or wish.set == wish.first:
        return  # somebody else has set it meanwhile, or nobody has changed it
    logger.setLevel(wish.first)
    lowest = min(wish.wanted, default=None)
    if lowest is not None and logger.getEffectiveLevel() > lowest:
        logger.setLevel(lowest)
    wish.set = logger.level

"""Log records of simulated hosts: they go to the runtime as frames, as those of processes do.

The law of this module: for as long as there are simulated hosts, a record that their code writes is taken
from the logger to which it was given. All others are handled as ever.
"""

from __future__ import annotations

import logging
from typing import Any

from actorsched._hosting.inside import SIMULATED
from actorsched._hosting.logs import _frame
from actorsched.testing._hosts.port import SimulatedDoorway

_original: Any = logging.Logger.handle
_users = 0


def _handle(self: logging.Logger, record: logging.LogRecord) -> None:
    doorway = SIMULATED.get()
    if isinstance(doorway, SimulatedDoorway):
        doorway.host.say(_frame(record))
    else:
        _original(self, record)


def catch_logs() -> None:
    """There are simulated hosts from now on."""
    global _original, _users  # noqa: PLW0603 - there is one `logging`
    if not _users:
        _original = logging.Logger.handle
        logging.Logger.handle = _handle  # type: ignore[method-assign]
    _users += 1


def let_logs_go() -> None:
    """There are fewer."""
    global _users  # noqa: PLW0603 - likewise
    _users -= 1
    if not _users:
        logging.Logger.handle = _original  # type: ignore[method-assign]

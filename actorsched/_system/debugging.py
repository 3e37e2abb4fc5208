"""What it means for a task that its host was debugged: its timeout stands still for so long.

The law of this module: it asks, and decides nothing. That a host that is debugged is neither killed nor
suspended is seen to by its link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actorsched._core.behaviour import Behaviour
    from actorsched._hosting.terminal import Debugged


def time_debugged(worker: Behaviour, task: Behaviour) -> float:
    """For how many seconds a task was debugged in its host since this was last asked.

    Args:
        worker: That of the host, or somebody who stands in for one.
        task: What it runs.
    """
    host: Any = worker
    debugged: Debugged | None = getattr(getattr(host, "link", None), "debugged", None)
    return 0.0 if debugged is None else debugged.claim(host._number_of(task))

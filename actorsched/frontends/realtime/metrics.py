"""The metrics of all real-time schedulers of a process, by the names that their users know.

The law of this module: it says what counts where; what a metric is, `observe.prometheus` knows. Without the
library nothing is counted, and nothing is missing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from actorsched.frontends.realtime.monitoring import Usage


class Metrics:
    """The five metrics, from the first scheduler on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usages: WeakSet[Usage] = WeakSet()

    def __repr__(self) -> str:
        return f"<metrics of {len(self._usages)} schedulers>"

    def include(self, usage: Usage) -> None:
        """There is another scheduler."""
        with self._lock:
            self._usages.add(usage)

    def settled(self, name: str, how: str, total_ms: float | None) -> None:
        """A task has settled."""


METRICS = Metrics()

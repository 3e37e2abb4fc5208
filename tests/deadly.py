"""A step that a file of a certain name can kill: what crashes, leaks and the like do to a host."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from actorsched.demo import steps

if TYPE_CHECKING:
    from actorsched.demo.steps import Failed, Loaded, Settings, Squeezed


def squeeze(loaded: Loaded | Failed, *, settings: Settings) -> Squeezed | Failed:
    """Compress a file; die of one that is deadly."""
    if loaded.name.endswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    return steps.squeeze(loaded, settings=settings)

"""The test kit: virtual time, and processors that are simulated."""

from __future__ import annotations

from actorsched._kernel.virtual import VirtualClock
from actorsched.testing.computing import compute

__all__ = ["VirtualClock", "compute"]

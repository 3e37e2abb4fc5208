"""For how long the calling thread has stood in line for a processor: whoever stands there does not wait.

Linux tells; elsewhere nobody ever seems to stand in line.
"""

from __future__ import annotations

import os


def queue_time() -> float:
    """Seconds, since the thread began."""
    try:
        descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AttributeError):
        return 0.0
    try:
        return int(os.read(descriptor, 64).split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
    finally:
        os.close(descriptor)

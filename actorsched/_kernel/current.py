"""Which task or actor the running code belongs to.

One context variable, set by whoever steps user code: the kernel in the runtime's process, the host child
in a host process. It is inherited by everything that user code starts, as context variables are.
`actorsched.current()` turns what it finds here into the context that users see.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

CURRENT: ContextVar[Any] = ContextVar("actorsched_current", default=None)
"""None, or what the layer that steps the code knows of it; the kernel does not look inside."""

"""Which adapter fits the event loop that runs here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actorsched._kernel.backend import Backend


def running_backend() -> Backend:
    """The backend of the loop that runs in this thread.

    Raises:
        RuntimeError: No loop that actorsched knows runs here.
    """
    if "trio" in sys.modules:
        import trio

        try:
            trio.lowlevel.current_trio_token()  # not every trio that may be there has `in_trio_run`
        except RuntimeError:  # it was imported, but is not what runs here
            pass
        else:
            from actorsched._kernel.on_trio import TrioBackend

            return TrioBackend()
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "Runtime() was entered where neither asyncio nor trio is running; "
            "start one, for example with actorsched.run(main)"
        ) from None
    from actorsched._kernel.on_asyncio import AsyncioBackend

    return AsyncioBackend(loop)

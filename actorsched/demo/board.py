"""The actor that hosts tell how far they are with a big file.

Its ref travels to the hosts with the work, and is used there as anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from actorsched.actor import Actor
from actorsched.options import Mailbox

if TYPE_CHECKING:
    from actorsched.demo.tally import Tally


class Board(Actor):
    """Enters into a tally what it is told."""

    mailbox: ClassVar[Mailbox] = Mailbox(capacity=1000, overflow="drop_oldest")  # newer news is better news

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def reached(self, pid: int, name: str, reached: int, size: int, seconds: float) -> None:
        """A host has come so far in a file.

        Args:
            pid: The host.
            name: The file.
            reached: How far, in bytes.
            size: How big the file is, in bytes.
            seconds: For how long it has worked on it.
        """
        self._tally.reach(pid, name, reached, size, seconds)

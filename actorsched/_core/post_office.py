"""The counts of all messages to users' actors, and whoever reads dead letters.

Always: sent = handled + rejected + dead-lettered + those that are queued or being handled.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from actorsched.messages import DeadLetter


class Undeliverable(Protocol):
    """A message, as far as the post office is concerned."""

    def letter(self, reason: str, /) -> DeadLetter:
        """What readers of dead letters get to see."""


class PostOffice:
    """Counts messages, and shows those that could not be delivered to whoever asked for them."""

    __slots__ = ("_readers", "dead_lettered", "handled", "rejected", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.handled = 0
        self.rejected = 0
        self.dead_lettered = 0
        self._readers: list[deque[DeadLetter]] = []

    def __repr__(self) -> str:
        return (
            f"<post office: {self.sent} sent, {self.handled} handled, {self.rejected} rejected, "
            f"{self.dead_lettered} dead letters>"
        )

    def subscribe(self, reader: deque[DeadLetter]) -> None:
        """Put every dead letter from now on into a queue, bounded as its maker likes."""
        self._readers.append(reader)

    def unsubscribe(self, reader: deque[DeadLetter]) -> None:
        """No more letters for this one."""
        self._readers = [other for other in self._readers if other is not reader]

    def refuse(self) -> None:
        """A message was sent and not taken; its sender knows."""
        self.sent += 1
        self.rejected += 1

    def withdraw(self, message: Undeliverable, reason: str) -> None:
        """A message was taken back, or expired, before it was handled."""
        self.rejected += 1
        self._show(message, reason)

    def bury(self, message: Undeliverable, reason: str) -> None:
        """A message was taken, and will never be handled."""
        self.dead_lettered += 1
        self._show(message, reason)

    def _show(self, message: Undeliverable, reason: str) -> None:
        if self._readers:
            letter = message.letter(reason)
            for reader in self._readers:
                reader.append(letter)

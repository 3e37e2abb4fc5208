"""The counts of all messages to users' actors, and whoever reads dead letters.

Always: sent = handled + rejected + dead-lettered + those that are queued or being handled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from actorsched._core.invariants import require

if TYPE_CHECKING:
    from actorsched.messages import DeadLetter


class Undeliverable(Protocol):
    """A message, as far as the post office is concerned."""

    def letter(self, reason: str, /) -> DeadLetter:
        """What readers of dead letters get to see."""
        ...


class Subscriber(Protocol):
    """A reader of dead letters."""

    def append(self, letter: DeadLetter, /) -> None:
        """Here is one more."""


class PostOffice:
    """Counts messages, and shows those that could not be delivered to whoever asked for them."""

    __slots__ = ("_readers", "dead_lettered", "handled", "rejected", "sent")

    def __init__(self) -> None:
        self.sent: int = 0
        self.handled: int = 0
        self.rejected: int = 0
        self.dead_lettered: int = 0
        self._readers: list[Subscriber] = []

    def __repr__(self) -> str:
        return (
            f"<post office: {self.sent} sent, {self.handled} handled, {self.rejected} rejected, "
            f"{self.dead_lettered} dead letters>"
        )

    @property
    def has_readers(self) -> bool:
        """Whether anybody reads dead letters."""
        return bool(self._readers)

    def subscribe(self, reader: Subscriber) -> None:
        """Give every dead letter from now on to a reader, such as a bounded queue."""
        self._readers.append(reader)

    def unsubscribe(self, reader: Subscriber) -> None:
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

    def show(self, letter: DeadLetter) -> None:
        """Show what never was a message to an actor, and is not counted as one."""
        for reader in self._readers:
            reader.append(letter)

    def _show(self, message: Undeliverable, reason: str) -> None:
        if self._readers:
            self.show(message.letter(reason))

    def check(self, under_way: int | None = None) -> None:
        """Look whether every message is accounted for.

        Args:
            under_way: How many are queued or being handled; None if that is not known.

        Raises:
            InvariantBroken: One was lost, or counted twice.
        """
        ended = self.handled + self.rejected + self.dead_lettered
        counts = (self.sent, self.handled, self.rejected, self.dead_lettered)
        require(min(counts) >= 0, self, "nothing was counted back")
        require(ended <= self.sent, self, f"no more messages have ended, {ended}, than were sent")
        require(
            under_way is None or self.sent == ended + under_way,
            self,
            f"sent = handled + rejected + dead-lettered + those under way, of which there are {under_way}",
        )

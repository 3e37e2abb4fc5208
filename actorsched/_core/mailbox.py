"""The user lane of an actor's mailbox: bounded, ordered by priority, first in first out within one.

An actor's mailbox has lanes. Control, stop and supervision messages go to the inbox that every
`Behaviour` has: unbounded and handled at once, so that no back-pressure ever starves a cancellation.
What users send goes here, where capacity binds.

The lane decides what happens to a message: it is taken in, it replaces an older one, it is refused, or
its sender has to wait. It never waits itself. A message that expired while it was queued is marked
`dead` by its sender: it no longer counts, and is passed over when its turn comes. When most of what is
queued is dead it is swept out, so that senders who give up cannot fill the memory of an actor that hangs.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Generic, Protocol, TypeVar


class Ranked(Protocol):
    """What the lane wants of a message."""

    priority: int
    dead: bool


T = TypeVar("T", bound=Ranked)


class Refusal(Enum):
    """Why a message was not taken in."""

    FULL = "full"
    """There is no room, and the mailbox neither drops nor waits."""
    WAIT = "wait"
    """There is no room yet: offer it again with `admit` when there is."""


class UserLane(Generic[T]):
    """Messages from users to one actor.

    Args:
        capacity: How many messages may be queued; None for no limit.
        overflow: "wait", "raise", "drop_oldest" or "drop_newest", as in `actorsched.Mailbox`.
        normal: The priority that nearly all messages have; those of others cost a little more.
    """

    __slots__ = ("_normal", "_others", "_queue", "capacity", "overflow", "size")

    def __init__(self, capacity: int | None, overflow: str, normal: int) -> None:
        self.capacity = capacity
        self.overflow = overflow
        self.size = 0
        self._normal = normal
        self._queue: deque[T] | None = None  # made with the first message: an idle actor costs nothing
        self._others: dict[int, deque[T]] | None = None

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"<mailbox {self.size}/{self.capacity or 'unbounded'}, {self.overflow}>"

    def offer(self, message: T) -> T | Refusal | None:
        """Put a message into the lane by its rule of overflow.

        Returns:
            None when it was taken in; the message that was dropped for it (or itself, under
            "drop_newest"); or why it was not taken in.
        """
        size = self.size
        capacity = self.capacity
        if capacity is not None and size >= capacity:
            return self._overflowing(message)
        if message.priority != self._normal:
            return self.put(message)
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(message)
        self.size = size + 1
        return None

    def newest(self) -> T | None:
        """The message of normal priority that came last, if any is queued."""
        return self._queue[-1] if self._queue else None

    def put(self, message: T) -> None:
        """Take a message in, whatever the capacity."""
        self.size += 1
        if message.priority == self._normal:
            queue = self._queue
            if queue is None:
                queue = self._queue = deque()
            queue.append(message)
            return
        if self._others is None:
            self._others = {}
        self._others.setdefault(message.priority, deque()).append(message)

    def take(self) -> T | None:
        """The next message, None when there is none; dead ones are passed over."""
        while self.size:
            if self._others:
                message = self._take_ranked()
            else:
                assert self._queue is not None
                message = self._queue.popleft()
            if not message.dead:
                self.size -= 1
                return message
        return None

    def top(self) -> int:
        """The priority of the next message; the normal one when there is none."""
        if not self._others:
            return self._normal
        highest = max(self._others)
        return highest if highest > self._normal or not self._queue else self._normal

    def discard(self, message: T) -> None:
        """A queued message is not to be handled any more."""
        message.dead = True
        self.size -= 1
        if not self.size:
            self._queue = None
            self._others = None
        elif self._held() > 2 * self.size + 64:
            self._sweep()

    def drain(self) -> list[T]:
        """Take everything out, in order."""
        messages: list[T] = []
        while (message := self.take()) is not None:
            messages.append(message)
        self._queue = None
        self._others = None
        return messages

    def _held(self) -> int:
        """How many messages are in memory, dead ones included."""
        held = len(self._queue or ())
        return held + sum(map(len, self._others.values())) if self._others else held

    def _sweep(self) -> None:
        """Let go of the dead."""
        if self._queue:
            self._queue = deque(message for message in self._queue if not message.dead)
        if self._others:
            living = {
                priority: deque(message for message in level if not message.dead)
                for priority, level in self._others.items()
            }
            self._others = {priority: level for priority, level in living.items() if level}

    def _overflowing(self, message: T) -> T | Refusal | None:
        if self.overflow == "drop_newest":
            return message
        if self.overflow == "drop_oldest":
            dropped = self._take_least()
            self.put(message)
            return dropped
        return Refusal.WAIT if self.overflow == "wait" else Refusal.FULL

    def _take_ranked(self) -> T:
        """The next message, dead ones included, when there are priorities besides the normal one."""
        others = self._others
        assert others is not None
        highest = max(others)
        if highest < self._normal and self._queue:
            return self._queue.popleft()
        return self._pop_other(highest)

    def _take_least(self) -> T:
        """The oldest live message of the lowest priority."""
        while True:
            lowest = min(self._others) if self._others else self._normal
            if self._queue and lowest >= self._normal:
                message = self._queue.popleft()
            else:
                message = self._pop_other(lowest)
            if not message.dead:
                self.size -= 1
                return message

    def _pop_other(self, priority: int) -> T:
        assert self._others is not None
        level = self._others[priority]
        message = level.popleft()
        if not level:
            del self._others[priority]
        return message

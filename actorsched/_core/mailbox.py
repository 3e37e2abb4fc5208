"""The user lane of an actor's mailbox: bounded, ordered by priority, first in first out within one.

An actor's mailbox has lanes. Control, stop and supervision messages go to the inbox that every
`Behaviour` has: unbounded and handled at once, so that no back-pressure ever starves a cancellation.
What users send goes here, where capacity binds.

The lane decides what happens to a message: it is taken in, it replaces an older one, it is refused, or
its sender has to wait. It never waits itself. A message that expired while it was queued is marked
`dead` by its sender: it no longer counts, and is passed over when its turn comes. When most of what is
queued is dead it is swept out, so that senders who give up cannot fill the memory of an actor that hangs.

Most messages differ from the one before them by nothing but their arguments. Such a one may stand in the
queue as the bare tuple of these: an object less to make, and for the garbage collector to look at when
100,000 are queued. It becomes a message like any other when it is taken out.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from actorsched._core.invariants import FEW, require


class Ranked(Protocol):
    """What the lane wants of a message."""

    @property
    def dead(self) -> bool:
        """Whether it is not to be handled any more, though it may still be queued."""
        ...

    @property
    def priority(self) -> int:
        """Higher ones come first."""
        ...


class Mortal(Protocol):
    """What the lane wants of a message that nobody may want any more while it is queued."""

    dead: bool


_NO_LIMIT = 1 << 62

T = TypeVar("T", bound=Ranked)


class Refusal(Enum):
    """Why a message was not taken in."""

    FULL = "full"
    """There is no room, and the mailbox neither drops nor waits."""
    WAIT = "wait"
    """There is no room yet: offer it again with `admit` when there is."""


class UserLane(msgspec.Struct, Generic[T], eq=False):
    """Messages from users to one actor."""

    capacity: int | None
    """How many messages may be queued; None for no limit."""
    overflow: str
    """ "wait", "raise", "drop_oldest" or "drop_newest", as in `actorsched.Mailbox`."""
    normal: int
    """The priority that nearly all messages have; those of others cost a little more."""
    queue: deque[T | tuple[Any, ...]] | None = None
    """The messages of normal priority; None before the first: an idle actor costs nothing."""
    limit: int = 0
    """While the queue is shorter there is room for sure."""
    head: Any = None
    """The message that was taken out last. Arguments at the front of the queue belong to one like it."""
    tail: Any = None
    """The message that was put in last, if mere arguments may follow it; set by whoever put it in. Its method
    `like` makes another one with other arguments. It is never discarded, so it is taken out before these."""
    ranked: dict[int, deque[T]] | None = None
    """Those of other priorities; None while there are none."""
    dead: int = 0
    """How many of all these are dead."""

    @property
    def size(self) -> int:
        """How many messages there are, the dead left out."""
        return self._held() - self.dead

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        """Whether there are messages."""
        return bool(self.queue or self.ranked) and (not self.dead or self.size > 0)

    def __repr__(self) -> str:
        return f"<mailbox {self.size}/{self.capacity or 'unbounded'}, {self.overflow}>"

    def offer(self, message: T) -> T | Refusal | None:
        """Put a message into the lane by its rule of overflow.

        Returns:
            None when it was taken in; the message that was dropped for it (or itself, under
            "drop_newest"); or why it was not taken in.
        """
        capacity = self.capacity
        if capacity is not None and self.size >= capacity:
            return self._overflowing(message)
        self.put(message)
        return None

    def put(self, message: T) -> None:
        """Take a message in, whatever the capacity."""
        if message.priority == self.normal:
            if self.queue is None:
                self.queue = deque()
                self._set_limit()
            self.queue.append(message)
            self.tail = None
        else:
            if self.ranked is None:
                self.ranked = {}
            self.ranked.setdefault(message.priority, deque()).append(message)
            self._set_limit()

    def take(self) -> T | None:
        """The next message, None when there is none; dead ones are passed over."""
        while self.ranked or self.queue:
            message = self._take_ranked() if self.ranked else self._take_normal()
            if not message.dead:
                return message
            self.dead -= 1
        return None

    def rest(self) -> None:
        """Keep no message in memory when none is queued."""
        if not self.queue:
            self.head = self.tail = None

    def top(self) -> int:
        """The priority of the next message; the normal one when there is none."""
        if not self.ranked:
            return self.normal
        highest = max(self.ranked)
        return highest if highest > self.normal or not self.queue else self.normal

    def discard(self, message: Mortal) -> None:
        """A queued message is not to be handled any more."""
        message.dead = True
        self.dead += 1
        if self.dead > self._held() // 2 + 32:
            self._sweep()

    def drain(self) -> list[T]:
        """Take everything out, in order."""
        messages: list[T] = []
        while (message := self.take()) is not None:
            messages.append(message)
        self.queue = self.ranked = self.head = self.tail = None
        self.dead = 0
        return messages

    def check(self) -> None:
        """Look whether what always holds does; few messages are looked at one by one, many not.

        Raises:
            InvariantBroken: Something does not.
        """
        held, queue, ranked = self._held(), self.queue, self.ranked
        capacity = self.capacity
        require(0 <= self.dead <= held, self, "no more messages are dead than are queued")
        require(
            capacity is None or held - self.dead <= capacity, self, "no more are queued than its capacity"
        )
        require(not ranked or all(ranked.values()), self, "no priority is kept of which there is nothing")
        require(
            not ranked or self.normal not in ranked, self, "normal messages stand in the queue of their own"
        )
        if queue is not None:
            room = 0 if ranked else _NO_LIMIT if capacity is None else capacity
            require(self.limit <= room, self, "no more room is taken for sure than there is")
            bare = bool(queue) and isinstance(queue[0], tuple)
            require(not bare or self.head is not None, self, "it is known what the arguments in front are of")
        if held <= FEW:
            messages = [*(queue or ()), *(message for level in (ranked or {}).values() for message in level)]
            dead = sum(not isinstance(message, tuple) and message.dead for message in messages)
            require(self.dead == dead, self, f"{dead} of its messages are dead, as it has counted")
            require(
                all(m.priority == rank for rank, level in (ranked or {}).items() for m in level),
                self,
                "each message stands among those of its priority",
            )

    def _held(self) -> int:
        """How many messages are in memory, dead ones included."""
        held = len(self.queue or ())
        return held + sum(map(len, self.ranked.values())) if self.ranked else held

    def _sweep(self) -> None:
        """Let go of the dead."""
        if self.queue:
            self.queue = deque(item for item in self.queue if isinstance(item, tuple) or not item.dead)
        if self.ranked:
            living = {
                priority: deque(message for message in level if not message.dead)
                for priority, level in self.ranked.items()
            }
            self.ranked = {priority: level for priority, level in living.items() if level}
            self._set_limit()
        self.dead = 0

    def _overflowing(self, message: T) -> T | Refusal | None:
        if self.overflow == "drop_newest":
            return message
        if self.overflow == "drop_oldest":
            dropped = self._take_least()
            self.put(message)
            return dropped
        return Refusal.WAIT if self.overflow == "wait" else Refusal.FULL

    def _set_limit(self) -> None:
        if self.ranked:  # these have to be counted too
            self.limit = 0
        else:
            self.limit = _NO_LIMIT if self.capacity is None else self.capacity

    def _take_normal(self) -> T:
        assert self.queue is not None
        item = self.queue.popleft()
        if isinstance(item, tuple):
            message: T = self.head.like(item)
            return message
        self.head = item
        return item

    def _take_ranked(self) -> T:
        """The next message, dead ones included, when there are priorities besides the normal one."""
        assert self.ranked is not None
        highest = max(self.ranked)
        if highest < self.normal and self.queue:
            return self._take_normal()
        return self._pop_ranked(highest)

    def _take_least(self) -> T:
        """The oldest live message of the lowest priority."""
        while True:
            lowest = min(self.ranked) if self.ranked else self.normal
            if self.queue and lowest >= self.normal:
                message = self._take_normal()
            else:
                message = self._pop_ranked(lowest)
            if not message.dead:
                return message
            self.dead -= 1

    def _pop_ranked(self, priority: int) -> T:
        assert self.ranked is not None
        level = self.ranked[priority]
        message = level.popleft()
        if not level:
            del self.ranked[priority]
            self._set_limit()
        return message

"""The EventBus actor: tells of what happens in a runtime, to those who want to know.

The law of this module: whoever listens can neither change what has happened nor hold anybody up. Events are
given out in the order in which things happened, and never sent to nobody: a runtime that is not watched makes
none.

There are two ways to hear of them. A listener is a function, called by this actor: with each event, when its
turn comes in the mail, so never in the middle of somebody else's decision. A reader takes events when it likes
(`rt.events()`). It has a bounded buffer, of which the oldest make room, and it is counted how many were lost
to it that way; so the slowest reader costs no more than its buffer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._system.collector import Queue
from actorsched.events import Event

if TYPE_CHECKING:
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.nursery import Nursery

Kinds = frozenset[str] | None
"""The kinds of events that somebody wants; None for all."""
Listener = Callable[[Event], object]

_log = logging.getLogger("actorsched")


class Tell(msgspec.Struct, frozen=True):
    """To itself: there are new events."""


_TELL = Tell()


class EventBus(Behaviour, kw_only=True):
    """Those who want to know, and what they have not been told yet."""

    kernel: Kernel
    listeners: list[tuple[Kinds, Listener]] = []
    readers: list[tuple[Kinds, Callable[[Event], object]]] = []
    wanted: Kinds = frozenset()
    """The kinds that anybody wants: events of others need not be made."""
    fresh: list[Event] = []
    """What the listeners are to be told."""

    def __repr__(self) -> str:
        return f"<event bus: {len(self.listeners)} listeners, {len(self.readers)} readers>"

    def note(self, event: Event) -> None:
        """Something has happened."""
        for kinds, take in self.readers:
            if kinds is None or event.kind in kinds:
                take(event)
        if any(kinds is None or event.kind in kinds for kinds, _ in self.listeners):
            self.fresh.append(event)
            if not self.kernel.draining:  # and nothing else may begin to, in the middle of what happens here
                self._tell(_TELL, self.kernel)
            elif len(self.fresh) == 1:
                self.kernel.send((self, _TELL))

    @handles(Tell)
    def _tell(self, message: Tell, out: Outbox) -> None:
        while self.fresh:
            fresh, self.fresh = self.fresh, []
            for event in fresh:
                self._tell_of(event)

    def _tell_of(self, event: Event) -> None:
        for kinds, listener in list(self.listeners):
            if kinds is None or event.kind in kinds:
                try:
                    listener(event)
                except Exception:  # of a user: the runtime goes on
                    _log.exception("a listener to events failed at %r", event)

    # ------------------------------------------------------------------------------ who wants to know

    def listen(self, kinds: Kinds, listener: Listener) -> Callable[[], None]:
        """Have a function called with each event of these kinds. Answers with what ends that."""
        return self._add(self.listeners, (kinds, listener))

    def give(self, kinds: Kinds, take: Callable[[Event], object]) -> Callable[[], None]:
        """The same at once, in the middle of whatever happens: for what only puts them away."""
        return self._add(self.readers, (kinds, take))

    def _add(
        self, audience: list[tuple[Kinds, Callable[[Event], object]]], entry: tuple[Kinds, Listener]
    ) -> Callable[[], None]:
        audience.append(entry)
        self._count()

        def end() -> None:
            if entry in audience:
                audience.remove(entry)
                self._count()

        return end

    def _count(self) -> None:
        """Somebody has come or gone."""
        wanted: set[str] = set()
        for kinds, _ in (*self.listeners, *self.readers):
            if kinds is None:
                self.wanted = None
                break
            wanted |= kinds
        else:
            self.wanted = frozenset(wanted)
        self.kernel.watched = self.wanted is None or bool(wanted)


class EventFeed(Queue, kw_only=True):
    """What a reader has not read yet, from the moment on at which it is set up."""

    bus: EventBus
    nursery: Nursery
    capacity: int
    events: deque[Event]
    lost: int = 0
    """How many had to make room before they were read."""
    leave: Callable[[], None] | None = None

    @property
    def items(self) -> deque[Any]:
        """Those that were not read; of too many, the latest."""
        return self.events

    def set_up(self, kinds: Kinds) -> None:
        """From now on, events come in."""
        self.nursery.feeds[self] = None
        self.leave = self.bus.give(kinds, self.append)

    def append(self, event: Event) -> None:
        """One has come."""
        events = self.events
        if len(events) == self.capacity:
            self.lost += 1
        events.append(event)
        if self.reader is not None:
            self.wake()

    def close(self, reason: BaseException | None = None) -> None:
        """No more are wanted, or none will come: an orderly end either way."""
        super().close()

    def finish(self) -> None:
        """No more come in; those that are here may still be read."""
        if self.leave is not None:
            self.leave()
        self.nursery.feeds.pop(self, None)
        super().finish()

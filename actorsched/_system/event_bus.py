"""The EventBus actor: tells of what happens in a runtime, to those who want to know.

The law of this module: whoever listens can neither change what has happened nor hold anybody up. Events are
given out in the order in which things happened, and never sent to nobody: a runtime that is not watched makes
none.

There are two ways to hear of them. A listener is a function, called by this actor: with each event that
happens while it listens, when its turn comes in the mail, so never in the middle of somebody else's decision,
and before code of users takes another step. A reader takes events when it likes (`rt.events()`). It has a
bounded buffer, of which the oldest make room, and it is counted how many were lost to it that way; so the
slowest reader costs no more than its buffer.

What has happened is noted as a `Record`, which costs a fraction of an `Event`; that is made of it when
somebody looks at it. For readers it is written into the kernel's journal, which is given out once in a turn
of the event loop, or sooner when somebody reads, comes or goes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._system.collector import Queue
from actorsched.events import KINDS, Event, Record

if TYPE_CHECKING:
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.nursery import Nursery

Kinds = frozenset[str] | None
"""The kinds of events that somebody wants; None for all."""
Listener = Callable[[Event], object]

_ALL = frozenset(KINDS)

_log = logging.getLogger("actorsched")


class Tell(msgspec.Struct, frozen=True):
    """To itself: listeners are to be told."""


_TELL = Tell()


class Subscription:
    """A listener, as long as it listens."""

    __slots__ = ("kinds", "listener", "over")

    def __init__(self, kinds: Kinds, listener: Listener) -> None:
        self.kinds = kinds
        self.listener = listener
        self.over = False


class EventBus(Behaviour, kw_only=True):
    """Those who want to know, and what they have not been told yet."""

    kernel: Kernel
    listeners: list[Subscription] = []
    readers: list[EventFeed] = []
    audience: dict[str, tuple[Subscription, ...]] = {}
    """The listeners, by kind."""
    fresh: deque[tuple[Record, tuple[Subscription, ...]]] = msgspec.field(default_factory=lambda: deque())
    """What listeners have not been told yet, and which of them are to be."""
    telling: bool = False
    """Whether a `Tell` is on its way."""

    def __repr__(self) -> str:
        return f"<event bus: {len(self.listeners)} listeners, {len(self.readers)} readers>"

    # ----------------------------------------------------------------------------- what has happened

    def give_out(self) -> None:
        """Give what has happened to the readers."""
        kernel = self.kernel
        journal, kernel.journal = kernel.journal, []
        if journal:
            for reader in self.readers:
                reader.take(journal)

    def hear(self, record: Record) -> None:
        """Listeners want to know this."""
        self.fresh.append((record, self.audience[record[0]]))
        if not self.telling:
            self.telling = True
            self.kernel.send_soon(self, _TELL)

    def flush(self) -> None:
        """Tell the listeners now what they have not been told yet."""
        if self.fresh:
            self.kernel.post(self, _TELL)

    @handles(Tell)
    def _tell(self, message: Tell, out: Outbox) -> None:
        self.telling, fresh = False, self.fresh
        while fresh:
            record, audience = fresh.popleft()
            event = event_of(record)
            for subscription in audience:
                if not subscription.over:
                    self._tell_of(event, subscription.listener)

    def _tell_of(self, event: Event, listener: Listener) -> None:
        try:
            listener(event)
        except Exception:  # of a user: the runtime goes on
            _log.exception("a listener to events failed at %r", event)

    # ------------------------------------------------------------------------------ who wants to know

    def listen(self, kinds: Kinds, listener: Listener) -> Callable[[], None]:
        """Have a function called with each event of these kinds. Answers with what ends that."""
        subscription = Subscription(kinds, listener)
        self._change(lambda: self.listeners.append(subscription))

        def end() -> None:
            if get_ident() == self.kernel.thread:
                self.flush()
                subscription.over = True
                leave()
            elif not subscription.over:  # at once; the rest is for the thread of the runtime
                subscription.over = True
                with suppress(RuntimeError):  # the loop is closed, and with it the runtime
                    self.kernel.call_threadsafe(leave)

        def leave() -> None:
            if subscription in self.listeners:
                self._change(lambda: self.listeners.remove(subscription))

        return end

    def come(self, reader: EventFeed) -> None:
        """Somebody reads what happens from now on."""
        self._change(lambda: self.readers.append(reader))

    def go(self, reader: EventFeed) -> None:
        """Somebody reads nothing that happens from now on."""
        self._change(lambda: self.readers.remove(reader))

    def _change(self, change: Callable[[], object]) -> None:
        """Somebody comes or goes: what has happened until now is for those who were there."""
        self.give_out()
        change()
        kernel, listeners = self.kernel, self.listeners
        heard = [_ALL if one.kinds is None else one.kinds for one in listeners]
        read = [_ALL if one.kinds is None else one.kinds for one in self.readers]
        kernel.heard, kernel.read = frozenset[str]().union(*heard), frozenset[str]().union(*read)
        kernel.wanted = kernel.heard | kernel.read
        kernel.watched = bool(kernel.wanted)
        self.audience = {
            kind: tuple([one for one in listeners if one.kinds is None or kind in one.kinds])
            for kind in kernel.heard
        }

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """Whoever wants to know is known by the kernel, and is going to be told."""
        kernel = self.kernel
        require(not self.fresh or self.telling, self, "whoever is to be told of something is going to be")
        require(kernel.heard == self.audience.keys(), self, "there is an audience for all that is heard")
        require(kernel.wanted == kernel.heard | kernel.read, self, "what is heard, or read, is wanted")
        require(
            kernel.watched == bool(kernel.wanted), self, "the runtime is watched when something is wanted"
        )
        require(not kernel.journal or self.readers, self, "nothing is written down that nobody reads")
        audience = {one for some in self.audience.values() for one in some}
        require(audience <= set(self.listeners), self, "whoever is told listens")
        require(all(reader.listed or reader.over for reader in self.readers), self, "its readers are listed")

    def check_at_rest(self) -> None:
        """The same; and all listeners have been told."""
        self.check()
        require(not self.fresh, self, "whoever listens has been told")


def event_of(record: Record) -> Event:
    """What somebody sees of it."""
    kind, time, name, number, details = record
    return Event(kind, time, name, number, details.copy())


class EventFeed(Queue, kw_only=True):
    """What a reader has not read yet, from the moment on at which it is set up."""

    bus: EventBus
    nursery: Nursery
    kinds: Kinds
    events: deque[Any]
    """Records; of too many, the latest."""
    gone: int = 0
    """How many had to make room before they were read."""
    listed: bool = False
    """Whether it is given what happens."""

    @property
    def items(self) -> deque[Any]:
        """Those that were not read."""
        if not self.events and self.listed:
            self._look()
        return self.events

    @property
    def lost(self) -> int:
        """How many had to make room before they were read."""
        self._look()
        return self.gone

    def _look(self) -> None:
        if self.kernel.journal:
            self.bus.give_out()

    def set_up(self) -> None:
        """From now on, events come in."""
        self.nursery.feeds[self] = None
        self.bus.come(self)
        self.listed = True

    def take(self, records: list[Record]) -> None:
        """This has happened."""
        events, kinds = self.events, self.kinds
        if kinds is not None:
            records = [record for record in records if record[0] in kinds]
        capacity = events.maxlen
        assert capacity is not None
        self.gone += max(0, len(events) + len(records) - capacity)
        events.extend(records)
        if records and self.reader is not None:
            self.wake()

    async def next(self) -> Any:
        """The next event.

        Raises:
            StopAsyncIteration: There will be no more.
        """
        return event_of(await super().next())

    def close(self, reason: BaseException | None = None) -> None:
        """No more are wanted, or none will come: an orderly end either way."""
        super().close()

    def finish(self) -> None:
        """No more come in; those that are here may still be read."""
        if self.listed:
            self.listed = False
            self.bus.go(self)
        self.nursery.feeds.pop(self, None)
        super().finish()

    @property
    def has_items(self) -> bool:
        """Whether something has come and was not read; what is still in the journal will wake the reader."""
        return bool(self.events)

    def check(self) -> None:
        """It is given what happens until it is over."""
        super().check()
        require(not (self.over and self.listed), self, "what is over is given nothing more")
        require(
            not self.listed or self in self.bus.readers, self, "the bus knows who is to be given what happens"
        )
        require(self.gone >= 0, self, "as many were lost as made room")

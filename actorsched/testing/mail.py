"""Mailboxes in a simulation: messages that are delayed, overtaken by those of others, or lost.

The law of this module: what is promised of messages holds here as well. Those of one sender to one actor
stay in order; a delayed one is in the mailbox, and counts; an ask is never lost, because whoever asks is
promised an answer; and what is lost becomes a dead letter. As long as no fault of the mail is planned,
nothing differs from any other mailbox.

How it works: a message is accepted as always, but may be held back in the mailbox until a time. Whoever
takes the next message passes over those that are held back, and over all that their senders have sent after
them. If messages may be reordered, the first of each sender are as good as each other.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from actorsched._core.mailbox import UserLane
from actorsched._kernel.current import CURRENT
from actorsched._system.actor_cell import ActorCell
from actorsched._system.actor_host import HostedCell
from actorsched._system.call import Call, Letter
from actorsched.testing.patterns import Message

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from actorsched._core.mailbox import Refusal
    from actorsched.testing.faults import Faults

_SENDERS: Final = 8
"""The first messages of so many senders are looked at when one is chosen."""


class SimulatedLane(UserLane[Any]):
    """The user lane of a mailbox in a simulation."""

    faults: Any = None
    """What is planned for the mail of this world."""
    held: dict[Any, float] | None = None
    """Messages that are held back, and until when."""
    chooses: bool = False
    """Whether messages may be taken in another order than that in which they stand."""

    def take(self) -> Any:
        """The next message that is not held back; None when there is none."""
        if not self.chooses:
            return super().take()
        for level in self._by_rank():
            first = self._first_ones(level)
            if first:
                at = first[self._faults.choose(len(first))]
                message = level[at]
                del level[at]
                self._taken(message)
                return message
        return None

    @property
    def has_due(self) -> bool:
        """Whether there is a message that is not held back."""
        if not self.chooses:
            return bool(self)
        return any(self._first_ones(level) for level in self._by_rank())

    def drain(self) -> list[Any]:
        """Take everything out, in order, held back or not."""
        if not self.chooses:
            return super().drain()
        messages = [message for level in self._by_rank() for message in level if not message.dead]
        self.queue = self.ranked = self.head = self.tail = self.held = None
        self.dead = 0
        return messages

    def discard(self, message: Any) -> None:
        """A queued message is not to be handled any more."""
        self.let_go(message)
        super().discard(message)

    def let_go(self, message: Any) -> None:
        """A message is held back no longer, if it was."""
        if self.held is not None:
            self.held.pop(message, None)

    def hold_back(self, message: Any, until: float) -> None:
        """Give a message out no sooner than this."""
        if self.held is None:
            self.held = {}
        self.held[message] = until

    @property
    def _faults(self) -> Faults:
        faults: Faults = self.faults
        return faults

    def _by_rank(self) -> Iterator[deque[Any]]:
        """The messages, those of the highest rank first."""
        ranked = self.ranked or {}
        for rank in sorted({*ranked, self.normal}, reverse=True):
            level = self.queue if rank == self.normal else ranked[rank]
            if level:
                yield level

    def begin_to_choose(self) -> None:
        """From now on each message stands for itself: none is taken in a row with others."""
        self.chooses = True
        self.limit = 0
        queue = self.queue
        if queue:
            like, letters = self.head, list(queue)
            for index, item in enumerate(letters):
                if isinstance(item, tuple):
                    letters[index] = _apart(like.like(item))
                else:
                    like = item
                    letters[index] = _apart(item) if type(item) is Letter else item
            self.queue = deque(letters)
        self.tail = None

    def _set_limit(self) -> None:
        if self.chooses:
            self.limit = 0
        else:
            super()._set_limit()

    def _first_ones(self, level: deque[Any]) -> list[int]:
        """Where the first messages stand of each sender from whom nothing is held back before them."""
        now, held = self._faults.now, self.held or {}
        passed: set[int] = set()
        first: list[int] = []
        for at, message in enumerate(level):
            sender = id(_sender_of(message))
            if sender in passed or message.dead:
                continue
            passed.add(sender)
            if held.get(message, 0.0) <= now:
                first.append(at)
                if len(first) == (_SENDERS if self._faults.reorders else 1):
                    break
        return first

    def _taken(self, message: Any) -> None:
        self.let_go(message)
        if self.ranked is not None:
            self.ranked = {rank: level for rank, level in self.ranked.items() if level} or None


def _apart(letter: Letter) -> Letter:
    """The same letter with variables of its own, so that it is not read in one go with others."""
    return Letter(
        letter.handler, letter.args, letter.function, letter.context.copy(), letter.table, letter.kwargs
    )


def _sender_of(message: Any) -> object:
    """Who has sent a message: a task or an actor; None for code outside of all of them."""
    if isinstance(message, Call):
        return message.sender
    subject: Any = message.context.get(CURRENT)
    return None if subject is None else subject.owner


class SimulatedCell(ActorCell):
    """An actor whose mail the world may tamper with."""

    def offer(self, call: Any) -> Refusal | None:
        """Take a message in; perhaps to be held back, or to be lost."""
        faults: Faults = self.lane.faults  # type: ignore[attr-defined]
        if not faults.of_mail or type(call) not in (Letter, Call):
            return super().offer(call)
        told = type(call) is Letter or (call.reply is None and call.stream is None and call.admitted is None)
        delay = faults.of_message(self._addressed(call), told=told)
        if delay is None:
            self.kernel.office.sent += 1
            self.undeliverable(call, "lost")
            return None
        lane: SimulatedLane = self.lane  # type: ignore[assignment]
        if delay:
            lane.hold_back(call, faults.now + delay)
            self.kernel.call_later(delay, self.schedule)
        refusal = super().offer(call)
        if refusal is not None:
            lane.let_go(call)
        self.schedule()  # it may have taken the place of one that was held back
        return refusal

    def begin_call(self, call: Call) -> Coroutine[Any, Any, Any]:
        """The same, for the log."""
        if self.kernel.watched:
            self._told_of(call, call.sender)
        return super().begin_call(call)

    def _begun(self, message: Any, burst: int) -> Any:
        if self.kernel.watched:
            self._told_of(message, _sender_of(message))
        return super()._begun(message, burst)

    def _told_of(self, message: Any, sender: Any) -> None:
        """Write down that a message is handled from now on."""
        world = self.kernel.world
        if world is not None and world.logs:
            sent = Message(message.handler.name, message.args, message.kwargs or {})
            origin = "outside" if sender is None else repr(sender.name)
            world.note("message", f"{self.name!r} handles {sent}, sent from {origin}")

    def _has_work(self) -> bool:
        lane: Any = self.lane
        if not lane.chooses:
            return super()._has_work()
        return super()._has_work() and (bool(self.turn or self.hook) or lane.has_due or self._resumes)

    @property
    def _resumes(self) -> bool:
        return self.extras is not None and bool(self.extras.resuming)

    @property
    def free(self) -> bool:
        """Whether whoever asks now may carry the handler; nobody overtakes what is held back."""
        return super().free and not (self.lane.queue or self.lane.ranked)


class SimulatedHostedCell(HostedCell, SimulatedCell):
    """An actor in a simulated host."""

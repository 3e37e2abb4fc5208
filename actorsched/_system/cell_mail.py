"""The mailbox of a cell: who gets in, who waits, who is turned away, and what becomes of those left over.

What users send stands in the bounded user lane. Control, stop and supervision messages come by the system's
own mail, and are handled at once, whatever the actor does: no back-pressure ever starves a cancellation.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import require
from actorsched._core.invariants import FEW
from actorsched._core.mailbox import Refusal
from actorsched._system.asking import make_call
from actorsched._system.call import Call, Hook, Letter
from actorsched._system.cell_state import Life
from actorsched._system.cell_urgency import RECONSIDER, CellUrgency
from actorsched.exceptions import MailboxFull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from actorsched._core.behaviour import Reply
    from actorsched._system.handlers import Handler

# Bound once: reading a member through its class costs as much as a call before Python 3.12.
_RUNNING = Life.RUNNING
_DRAINING = Life.DRAINING
_DOWN = Life.DOWN


class CellMail(CellUrgency, eq=False):
    """One actor's mailbox."""

    def offer(self, call: Call | Letter) -> Refusal | None:
        """Take a message in, or say why not. A message to an actor that has ended is undeliverable."""
        if self.life != _RUNNING and self._gone_for_good():
            self.kernel.office.sent += 1
            self.undeliverable(call, "stopped" if self.ending is None else self.ending.kind)
            return None
        verdict = self.lane.offer(call)
        if verdict is None:
            self.kernel.office.sent += 1
            if not self.scheduled and self.turn is None:
                self.schedule()
            elif call.priority > self.rank:
                self.kernel.post(self, RECONSIDER)
            return None
        if isinstance(verdict, Refusal):
            return verdict
        self.kernel.office.sent += 1
        self._dropped(verdict)
        return None

    def _gone_for_good(self) -> bool:
        return self.life >= _DRAINING and self.life != _DOWN and not self.returns

    def tell(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: Context,
        table: object,
    ) -> None:
        """Send a message that nobody waits for. `ActorRef.tell` does it by itself for the next one of a row.

        Args:
            function: What stands for the handler.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            context: A copy of the sender's.
            table: Its variables, by identity.

        Raises:
            MailboxFull: There is no room, and the mailbox does not drop.
            TypeError: It is no handler of the actor, or does not take these arguments.
        """
        handler = self.table.by_function.get(function) or self.table.of(function, self.actor_class)  # type: ignore[arg-type]
        if kwargs or not handler.least <= len(args) < handler.most:
            handler.check(args, kwargs)
        kernel, lane = self.kernel, self.lane
        if self.hosted:
            return self._send(make_call(self.owner, handler, args, kwargs, Letter.priority))
        tail, queue = lane.tail, lane.queue
        if tail is not None and tail.table is table:
            context = tail.context  # so that both can be read in one go
        letter = Letter(handler, args, None if kwargs else function, context, table, kwargs or None)
        if (
            queue is None
            or len(queue) >= lane.limit
            or self.life is not _RUNNING
            or get_ident() != kernel.thread
        ):
            return self._send(letter)
        queue.append(letter)  # what `offer` comes to, nearly always
        lane.tail = letter
        kernel.office.sent += 1
        if not self.scheduled and self.turn is None:
            self.schedule()

    def _send(self, message: Call | Letter) -> None:
        """Send a message from whoever runs now."""
        if get_ident() != self.kernel.thread:
            return self.kernel.call_threadsafe(self.take_or_bury, message)
        if self.offer(message) is not None:
            self.kernel.office.refuse()
            raise self.full(message.handler)

    def pack(self, handler: Handler, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The arguments of a message as they travel: here they do not."""

    def take_or_bury(self, call: Call | Letter) -> None:
        """Take in a message, or make a dead letter of it, where its sender cannot be told of no room."""
        if self.offer(call) is not None:
            self.kernel.office.sent += 1
            self.kernel.office.bury(self._addressed(call), "full")

    def full(self, handler: Handler) -> MailboxFull:
        """The error of a sender whose message was refused."""
        return MailboxFull(
            f"{handler.name} of actor {self.name!r} was not sent: its mailbox holds {self.lane.size} "
            "messages, which is its capacity; wait for room with `telling` or `ask`, or choose another "
            "Mailbox(capacity=, overflow=)",
            actor=self.name,
            capacity=self.lane.capacity,
        )

    def wait_for_room(self, call: Call, admitted: Reply) -> None:
        """Queue a message until there is room; `admitted` is answered when there is."""
        call.admitted = admitted
        self.more().room[call] = None

    def _admit(self) -> None:
        """There is room: let in whoever waits for it."""
        extras = self.extras
        while extras is not None and extras.room and self.lane.size < (self.lane.capacity or 1):
            call, _ = extras.room.popitem(last=False)
            self.kernel.office.sent += 1
            self.lane.put(call)
            admitted, call.admitted = call.admitted, None
            assert admitted is not None
            self.kernel.reply(admitted, None)
        self.schedule()

    def _dropped(self, message: Call | Letter) -> None:
        self.kernel.office.bury(self._addressed(message), "dropped")
        if isinstance(message, Call):
            message.dead = True
            message.context = None
            message.answer(
                MailboxFull(
                    f"{message.title} was dropped: the mailbox was full, "
                    f"and its rule is {self.lane.overflow!r}",
                    actor=self.name,
                )
            )

    def undeliverable(self, message: Call | Letter, reason: str) -> None:
        """A message will never be handled."""
        self.kernel.office.bury(self._addressed(message), reason)
        if isinstance(message, Call):
            message.dead = True
            message.context = None
            if message.timer is not None:
                message.timer.cancel()
            if message.reply is not None or message.stream is not None or message.admitted is not None:
                message.answer(self.gone(f"{message.handler.name} was not handled"))
            message.tell_over()

    def _addressed(self, message: Call | Letter) -> Call:
        """A message together with whom it was for."""
        return message if isinstance(message, Call) else message.call(self.owner, message.context)

    def discard_call(self, call: Call, reason: BaseException) -> None:
        """Its sender no longer wants a message that has not begun."""
        waiting = call.admitted is not None
        if waiting:
            call.dead = True
            self.more().room.pop(call, None)
            self.kernel.office.sent += 1
        else:
            self.lane.discard(call)
        self.kernel.office.withdraw(call, "expired" if isinstance(reason, TimeoutError) else "withdrawn")
        call.context = None
        call.answer(reason)
        call.tell_over()
        if not waiting:
            self._admit()
        if self.life == _DRAINING:  # perhaps it was the last that it had to wait for
            self.go_on_ending()

    # ----------------------------------------------------------------------------- what always holds

    @property
    def under_way(self) -> int:
        """How many messages to it were taken and have not ended: queued, or being handled."""
        turn, extras = self.turn, self.extras
        handled = turn is not None and not isinstance(turn, Hook)  # deferred calls included
        streams: dict[Call, None] = {} if extras is None else extras.streams
        return self.lane.size + handled + sum(call is not turn for call in streams)

    def check(self) -> None:
        """Nobody waits for room that there is."""
        super().check()
        lane, extras = self.lane, self.extras
        lane.check()
        over = self.life is Life.STOPPED
        require(not (over and lane.size), self, "when it has ended, no message is left in its mailbox")
        if extras is not None and extras.room:
            require(not over, self, "nobody waits for room in what has ended")
            full = lane.capacity is not None and lane.size >= lane.capacity
            require(full, self, "nobody waits for room while there is some")
            if len(extras.room) <= FEW:
                asked = all(call.admitted is not None and not call.dead for call in extras.room)
                require(asked, self, "whoever waits for room is told when there is some")

"""A message to a user's actor: the call of one handler, from the moment it is sent to its end.

A call is data while it is queued, and the run of the handler afterwards. It ends in exactly one of three
ways, and the post office counts them: handled, rejected (refused, expired or withdrawn before it began)
or dead-lettered.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import quickly_written
from actorsched._kernel.current import CURRENT
from actorsched._system.code_run import CodeRun, Deferred
from actorsched.exceptions import AskTimeout, TaskCancelled
from actorsched.messages import DeadLetter, ExitReason, Failure, Kill
from actorsched.options import Priority

if TYPE_CHECKING:
    from actorsched._core.behaviour import Reply, Timer
    from actorsched._kernel.backend import Future
    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.kernel import Kernel
    from actorsched._kernel.stepper import Stepper
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.handlers import Handler
    from actorsched._system.stream import StreamSource
    from actorsched._system.waiting import Waiter


_NOTHING: Mapping[str, Any] = {}


class Letter(msgspec.Struct, eq=False):
    """A message that was told: nobody waits for it, and most are handled without ever suspending.

    One that does suspend, fails, or is asked about becomes a `Call` (`ActorCell.present_run`). Those to
    hosted actors are calls from the start.

    Letters come in rows: in the queue, those behind this one that differ from it by nothing but their
    arguments are the bare tuples of these.
    """

    handler: Handler
    args: tuple[Any, ...]
    function: object
    """The handler as its sender named it: of a class that the actor's class extends, perhaps. None when there
    are keyword arguments, which belong to this letter alone."""
    context: Context
    """The sender's; letters that were told from the same variables may have the same."""
    table: object
    """The variables of the context, by identity."""
    kwargs: Mapping[str, Any] | None = None

    priority: ClassVar[int] = int(Priority.NORMAL)
    dead: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"<{self.handler.name}, told>"

    def like(self, args: tuple[Any, ...]) -> Letter:
        """Another letter of the same row."""
        return Letter(self.handler, args, self.function, self.context, self.table)

    def call(self, owner: ActorCell, context: Context) -> Call:
        """The same message as a call that is being handled."""
        subject: Any = self.context.get(CURRENT)
        sender = None if subject is None else subject.owner
        kwargs = self.kwargs or _NOTHING
        call = Call(owner, owner.kernel, self.handler, self.args, kwargs, context, sender, self.priority)
        call.begun = True
        return call


@quickly_written
class Call(CodeRun, msgspec.Struct, eq=False):
    """One message, and the run of its handler."""

    attempt: ClassVar[int] = 1
    role: ClassVar[str] = "actor"

    owner: ActorCell
    kernel: Kernel  # pyright: ignore[reportIncompatibleMethodOverride]  # more than what is asked for
    handler: Handler
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: Context | None
    """The sender's until the handler begins, then the handler's own; None when it is over."""
    sender: Waiter | None
    priority: int
    packed: Any = None
    """The arguments as they travel to a host process, for an actor there."""
    reply: Reply | None = None
    """Who waits for the result; None for a message that was told."""
    begun: bool = False
    dead: bool = False
    """Not to be handled any more, though it may still be queued."""
    interrupted: bool = False
    stepper: Stepper | None = None
    carrier: Carrier | None = None
    deferred: Deferred | None = None
    ended: tuple[Any, BaseException | None] | None = None
    stream: StreamSource | None = None
    """The other end, when the result is a stream."""
    admitted: Reply | None = None
    """Who waits for room in the mailbox."""
    withdrawn: BaseException | None = None
    """Why its sender no longer wants it."""
    over_when: list[Reply] | None = None
    """Who waits for the end of a call that was withdrawn, or of a stream that was closed."""
    timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<{self.handler.name} to {self.owner.name!r}>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"{self.handler.name} of actor {self.owner.name!r}"

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted

    @property
    def may_wait(self) -> bool:
        """Whether its actor waits with it: while it runs, and not for what it leaves behind."""
        return self.context is not None and self.owner.turn is self

    def present_run(self) -> CodeRun:
        """What `current()` is about."""
        return self

    def forsaken(self) -> None:
        """Its asker, who carried it, was cancelled."""
        if self.withdrawn is None:
            self.withdrawn = TaskCancelled(f"the sender of {self.title} was cancelled")

    def again(self) -> ActorCell:
        """Who goes back into the run queue: the actor, which keeps its turn for the deferred calls."""
        return self.owner

    def refused(self) -> None:
        """Its asker is not to wait for it, and goes on when nothing of it does."""
        if self.begun:
            self.withdraw(TaskCancelled(f"the sender of {self.title} is not to wait for it"))

    def over(self, value: Any, error: BaseException | None) -> ActorCell:
        """The handler has ended: answer, and give the turn back."""
        owner = self.owner
        if self.timer is not None:
            self.timer.cancel()
        if error is None:
            owner.kernel.office.handled += 1
            reply = self.reply
            if reply is not None and not reply.done():
                reply.set_result(value)
            elif self.stream is not None:
                self.stream.end()
        else:
            owner.handler_failed(self, error)
        self.forget()
        self.tell_over()
        owner.turn_over(self)
        return owner

    def forget(self) -> None:
        """It is over, but may be known for a while: tasks left behind, or tracebacks, lead here."""
        self.args, self.kwargs = (), _NOTHING
        self.packed = self.reply = self.timer = None

    def when_over(self) -> Future:
        """Answered when it has ended, one way or another. Ask while it has not."""
        over = self.owner.kernel.future()
        if self.over_when is None:
            self.over_when = []
        self.over_when.append(over)
        return over

    def tell_over(self) -> None:
        """It has ended, one way or another: tell whoever waits for that."""
        over_when, self.over_when = self.over_when, None
        for waiting in over_when or ():
            self.owner.kernel.reply(waiting, None)

    def answer(self, error: BaseException) -> None:
        """Tell whoever waits that there is no result."""
        if self.admitted is not None:
            self.owner.kernel.reply(self.admitted, Failure(error))
        if self.reply is not None:
            self.owner.kernel.reply(self.reply, Failure(error))
        if self.stream is not None:
            self.stream.fail(error)

    def letter(self, reason: str) -> DeadLetter:
        """What readers of dead letters see."""
        sender = None if self.sender is None else self.sender.name
        return DeadLetter(self.owner.name, self.handler.name, self.args, self.kwargs, sender, reason)

    def expire(self, timeout: float) -> None:
        """Its time is over: it is dropped unexecuted, or its handler is stopped."""
        self.withdraw(
            AskTimeout(
                f"{self.title} did not answer within {timeout:g} s; give it more time, or see what keeps it",
                actor=self.owner.name,
                handler=self.handler.name,
                timeout=timeout,
            )
        )

    def withdraw(self, reason: BaseException) -> None:
        """Its sender no longer wants it."""
        if self.dead or self.withdrawn is not None:
            return
        self.withdrawn = reason
        if self.begun:
            if self.ended is None:
                self.owner.interrupt_call(self)
        else:
            self.owner.discard_call(self, reason)


class Hook(CodeRun, msgspec.Struct, eq=False):
    """One run of `on_start` or `on_stop`: like a call, but from the actor itself."""

    attempt: ClassVar[int] = 1
    role: ClassVar[str] = "actor"
    sender: ClassVar[None] = None

    owner: ActorCell
    kernel: Kernel  # pyright: ignore[reportIncompatibleMethodOverride]  # more than what is asked for
    name: str
    context: Context | None
    args: tuple[Any, ...] = ()
    interrupted: bool = False
    stepper: Stepper | None = None
    carrier: Carrier | None = None
    deferred: Deferred | None = None
    ended: tuple[Any, BaseException | None] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} of {self.owner.name!r}>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"{self.name} of actor {self.owner.name!r}"

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted

    @property
    def may_wait(self) -> bool:
        """Whether its actor waits with it: while it runs, and not for what it leaves behind."""
        return self.context is not None and self.owner.turn is self

    def present_run(self) -> CodeRun:
        """What `current()` is about."""
        return self

    def open(self) -> Coroutine[Any, Any, Any]:
        """Call the hook."""
        assert self.context is not None
        self.context.run(CURRENT.set, self)
        return self.owner.invoke_hook(self)

    def forsaken(self) -> None:
        """The spawner, who carried it, was cancelled."""
        self.kernel.post(self.owner, Kill(ExitReason("killed")))

    def again(self) -> ActorCell:
        """Who goes back into the run queue."""
        return self.owner

    def over(self, value: Any, error: BaseException | None) -> ActorCell:
        """The hook has ended."""
        self.owner.hook_over(self, error)
        return self.owner

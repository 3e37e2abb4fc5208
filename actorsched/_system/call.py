"""A message to a user's actor: the call of one handler, from the moment it is sent to its end.

A call is data while it is queued, and the run of the handler afterwards. It ends in exactly one of three
ways, and the post office counts them: handled, rejected (refused, expired or withdrawn before it began)
or dead-lettered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched._kernel.current import CURRENT
from actorsched._system.code_run import CodeRun
from actorsched.exceptions import AskTimeout
from actorsched.messages import DeadLetter, Failure

if TYPE_CHECKING:
    from actorsched._core.behaviour import Reply, Timer
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.handlers import Handler
    from actorsched._system.stream import StreamSource
    from actorsched._system.waiting import Waiter


class Call(CodeRun):
    """One message, and the run of its handler."""

    role: ClassVar[str] = "actor"
    attempt: ClassVar[int] = 1

    owner: ActorCell
    handler: Handler
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    priority: int
    sender: Waiter | None = None
    reply: Reply | None = None
    """Who waits for the result; None for a message that was told."""
    stream: StreamSource | None = None
    """The other end, when the result is a stream."""
    dead: bool = False
    """Not to be handled any more, though it may still be queued."""
    admitted: Reply | None = None
    """Who waits for room in the mailbox."""
    withdrawn: BaseException | None = None
    """Why its sender no longer wants it."""
    over_when: Reply | None = None
    """Who waits for the end of a call that was withdrawn."""
    timer: Timer | None = None
    packed: Any = None
    """The arguments as they travel to a host process, for an actor there."""

    def __repr__(self) -> str:
        return f"<{self.handler.name} to {self.owner.name!r}>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"{self.handler.name} of actor {self.owner.name!r}"

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs it."""
        return self.owner.kernel

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted

    def first_step(self) -> object:
        """Call the handler and step it."""
        CURRENT.set(self)
        coroutine = self.coroutine = self.owner.invoke(self)
        return coroutine.send(None)

    def again(self) -> ActorCell:
        """Who goes back into the run queue: the actor, which keeps its turn for the deferred calls."""
        return self.owner

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
        if self.over_when is not None:
            owner.kernel.reply(self.over_when, None)
        owner.turn_over(self)
        return owner

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
                f"{self.title} did not answer within {timeout:g} s; give it more time, "
                "or see what keeps it",
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


class Hook(CodeRun):
    """One run of `on_start` or `on_stop`: like a call, but from the actor itself."""

    role: ClassVar[str] = "actor"
    attempt: ClassVar[int] = 1
    sender: ClassVar[None] = None

    owner: ActorCell
    name: str
    args: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.name} of {self.owner.name!r}>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"{self.name} of actor {self.owner.name!r}"

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs it."""
        return self.owner.kernel

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted

    def first_step(self) -> object:
        """Call the hook and step it."""
        CURRENT.set(self)
        coroutine = self.coroutine = self.owner.invoke_hook(self)
        return coroutine.send(None)

    def again(self) -> ActorCell:
        """Who goes back into the run queue."""
        return self.owner

    def over(self, value: Any, error: BaseException | None) -> ActorCell:
        """The hook has ended."""
        self.owner.hook_over(self, error)
        return self.owner

"""One actor alone, as a test has it: messages in, effects out.

The law of this module: it checks what a test gives, as the ref of a real actor would, and hands it on. What
follows is decided in the cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from actorsched.actor import Actor, ActorRef, is_actor_class
from actorsched.exceptions import shown
from actorsched.task import TaskRef
from actorsched.testing._alone.cell import Cell
from actorsched.testing._alone.handling import Handling
from actorsched.testing._alone.refs import ActorStandIn
from actorsched.testing._alone.runtime import check_constructor
from actorsched.testing._alone.task_refs import TaskStandIn
from actorsched.testing.effects import Asked, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actorsched._system.handlers import Handler
    from actorsched.durations import Duration
    from actorsched.messages import ExitReason
    from actorsched.testing._alone.recording import Effects
    from actorsched.testing._alone.runtime import RuntimeStandIn
    from actorsched.testing.effects import TimerSet

A = TypeVar("A", bound=Actor)


class Alone(Generic[A]):
    """One actor, tested alone: messages in, effects out. Made by `alone(Account, 100)`, and started."""

    def __init__(
        self, actor_class: type[A], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str | None
    ) -> None:
        check_constructor(actor_class, args, kwargs)
        refuse_real_refs((*args, *kwargs.values()))
        self._cell = Cell(actor_class, args, kwargs, name or actor_class.__qualname__)
        if self.started.done and self.started.error is not None:
            raise self.started.error

    def __repr__(self) -> str:
        return repr(self._cell)

    # ------------------------------------------------------------------------------------------ to look at

    @property
    def name(self) -> str:
        """Its name."""
        return self._cell.name

    @property
    def ref(self) -> ActorStandIn[A]:
        """A stand-in for itself, as others would know it; to it, it is `current().ref`."""
        return self._cell.ref

    @property
    def actor(self) -> A:
        """The instance of the present life.

        Raises:
            RuntimeError: There is none: it has ended, or failed and was not restarted.
        """
        instance: A | None = self._cell.instance
        if instance is None:
            raise RuntimeError(f"{self!r} has no instance: its life is over ({self.ending})")
        return instance

    @property
    def life(self) -> str:
        """Where it is: "starting", "running", "draining" "ending", "down" after a failure, "stopped"."""
        return self._cell.life.name.lower()

    @property
    def alive(self) -> bool:
        """Whether it has not ended for good."""
        return self.life != "stopped"

    @property
    def ending(self) -> ExitReason | None:
        """Why its present life ends or has ended; a supervisor is told the same. None while it goes on."""
        return self._cell.ending

    @property
    def now(self) -> float:
        """Its time, in seconds; it begins with 0 and passes by `advance`."""
        return self._cell.scene.now

    @property
    def timers(self) -> list[TimerSet]:
        """The timers that are set now, in the order in which they were."""
        return [timer.effect for timer in self._cell.timers]

    @property
    def effects(self) -> Effects:
        """Everything that it has done, in its order."""
        return self._cell.scene.effects

    @property
    def started(self) -> Effects:
        """What came of the constructor and `on_start`, in the present life."""
        return self._cell.start.effects

    @property
    def stopped(self) -> Effects:
        """What came, or will come, of `on_stop` at the end of the present life."""
        return self._cell.stop.effects

    @property
    def runtime(self) -> RuntimeStandIn:
        """What stands in for its runtime, where results of tasks can be prepared, and names made known."""
        return self._cell.scene.facade

    # -------------------------------------------------------------------------------------------- messages

    def handle(self, handler: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Effects:
        """Ask: send a message, and run its handler until it has ended or waits for something.

        A message that comes while a handler waits is queued. A handler that streams begins when items are
        asked for: `effects.demand(3)`.

        Args:
            handler: The handler, `Account.deposit`, or its name.
            args: Its arguments.
            kwargs: Its keyword arguments.

        Returns:
            What came of it; it grows when the test has answered what the handler waits for.

        Raises:
            AttributeError: There is no handler of that name.
            TypeError: It is no handler, or does not take these arguments.
            NeedsRuntime: The handler has tried what takes an event loop, or a runtime.
        """
        return self._send(None, handler, args, kwargs, asked=True)

    def ask(self, handler: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Effects:
        """The same as `handle`."""
        return self._send(None, handler, args, kwargs, asked=True)

    def tell(self, handler: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Effects:
        """Send a message that nobody waits for: should it fail, the actor does. Otherwise like `handle`.

        Raises:
            AttributeError: There is no handler of that name.
            TypeError: It is no handler, or streams, or does not take these arguments.
            NeedsRuntime: The handler has tried what takes an event loop, or a runtime.
        """
        return self._send(None, handler, args, kwargs, asked=False)

    def sent_by(self, sender: ActorRef[Any] | TaskRef[Any]) -> SentBy:
        """The same three for messages with a sender: `account.sent_by(bank).handle("deposit", 50)`.

        Args:
            sender: A stand-in: what `current().sender` is.

        Raises:
            TypeError: It is none.
        """
        return SentBy(self, sender)

    def deliver(self, effect: Told | Asked, *, sender: ActorRef[Any] | TaskRef[Any] | None = None) -> Effects:
        """Handle a message that somebody else was seen to send; whoever asked is answered when it is handled.

        Args:
            effect: The message, as another one's effects have it.
            sender: Who has sent it.

        Raises:
            TypeError: It is no message, or asks for a stream.
            AttributeError: There is no handler of that name.
        """
        if not isinstance(effect, (Told, Asked)):
            raise TypeError(f"{shown(effect)} is no message; give one that was Told or Asked")
        asked = effect if isinstance(effect, Asked) else None
        return self._send(sender, effect.handler, effect.args, effect.kwargs, asked is not None, asked)

    def _send(
        self,
        sender: Any,
        handler: str | Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        asked: bool,
        question: Asked | None = None,
    ) -> Effects:
        entry = self._handler(handler, asked=asked)
        entry.check(args, kwargs)
        refuse_real_refs((*args, *kwargs.values()))
        if entry.streams and question is not None:
            raise TypeError(
                f"{entry!r} streams its reply; give its items yourself, by item() of what was Asked"
            )
        handling = Handling(self._cell, entry, args, kwargs, sender, asked=asked, question=question)
        if not entry.streams:
            self._cell.scene.post(lambda: self._cell.accept(handling))
        return handling.effects

    def _handler(self, handler: str | Callable[..., Any], *, asked: bool) -> Handler:
        table, actor = self._cell.table, self._cell.actor_class
        function: Any = table.find(handler).function if isinstance(handler, str) else handler
        name: str = getattr(function, "__name__", "")
        if asked and any(vars(base).get(name) is function for base in actor.__mro__):
            return table.find(name)
        return table.of(function, actor)

    # ------------------------------------------------------------------------------------------------ time

    def advance(self, duration: Duration) -> Effects:
        """Let time pass: timers send their messages, sleeps end, and asks time out, each in its turn.

        Args:
            duration: A duration.

        Returns:
            What came of all that.

        Raises:
            ValueError: It is no duration.
        """
        return self._cell.scene.advance(duration)

    def fire(self, timer: TimerSet) -> Effects:
        """Have a timer send its message now, without letting time pass. A periodic one goes on as before.

        Args:
            timer: As the effects have it, or `timers`.

        Returns:
            What came of the message.

        Raises:
            ValueError: It is not set: it was cancelled or replaced, has sent its message, or is gone.
        """
        for entry in self._cell.timers:
            if entry.effect is timer:
                return entry.fire()
        for entry in self._cell.timers:
            if entry.effect == timer:
                return entry.fire()
        raise ValueError(f"{shown(timer)} is no timer that is set now; there are: {self.timers or 'none'}")

    # ----------------------------------------------------------------------------------------------- lives

    def stop(self) -> Effects:
        """Stop it: the messages that it has are handled, then `on_stop` runs, and it has ended.

        Returns:
            What comes of `on_stop`. Harmless when it has ended.
        """
        return self._cell.stop_asked()

    def kill(self) -> None:
        """End it at once: its handler is cancelled, `on_stop` does not run, its messages are lost."""
        self._cell.kill()

    def restart(self, error: BaseException | None = None) -> Effects:
        """Do what a supervisor does: begin a new life, with a new instance; the mailbox is kept.

        The present life is ended first, if it goes on: with `on_stop`, after the handler that runs.

        Args:
            error: Why: it fails with this, and its handler is cancelled. None: another one has failed, and
                it has to restart with that.

        Returns:
            What comes of the constructor and `on_start` of the new life.

        Raises:
            RuntimeError: It has ended for good, or is told to.
        """
        return self._cell.restart(error)


class SentBy:
    """Sends messages to an actor that is tested alone, in the name of somebody; made by `sent_by`."""

    __slots__ = ("_alone", "_sender")

    def __init__(self, alone: Alone[Any], sender: Any) -> None:
        if not isinstance(sender, (ActorStandIn, TaskStandIn)):
            raise TypeError(f"sender={shown(sender)} is no stand-in; give one, by alone.ref()")
        self._alone = alone
        self._sender: Any = sender

    def __repr__(self) -> str:
        return f"<messages of {self._sender!r} to {self._alone!r}>"

    def handle(self, handler: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Effects:
        """As `Alone.handle`."""
        return self._alone._send(self._sender, handler, args, kwargs, asked=True)

    def ask(self, handler: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Effects:
        """As `Alone.ask`."""
        return self._alone._send(self._sender, handler, args, kwargs, asked=True)

    def tell(self, handler: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Effects:
        """As `Alone.tell`."""
        return self._alone._send(self._sender, handler, args, kwargs, asked=False)


def refuse_real_refs(values: tuple[Any, ...]) -> None:
    """Refuse the refs of a runtime: what is tested alone knows stand-ins only.

    Raises:
        TypeError: One of these is such a ref.
    """
    for value in values:
        real = isinstance(value, (ActorRef, TaskRef))
        if real and not isinstance(value, (ActorStandIn, TaskStandIn)):
            raise TypeError(
                f"{value!r} belongs to a runtime, and what is tested alone is in none; "
                "give a stand-in, by alone.ref() or alone.task_ref()"
            )


def make_alone(
    actor_class: type[A], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str | None
) -> Alone[A]:
    """Make and start one.

    Raises:
        TypeError: It is no class of actors, or its constructor does not take these arguments.
        BaseException: What the constructor or `on_start` raised.
    """
    if not is_actor_class(actor_class):
        raise TypeError(
            f"{shown(actor_class)} is no class of actors; give one, or a function to alone.task()"
        )
    return Alone(actor_class, args, kwargs, name)

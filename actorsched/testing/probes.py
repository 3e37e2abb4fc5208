"""Probes: actors that take any message and write it down, for a test to look at.

The law of this module: a probe may stand wherever an actor is wanted, whatever its class. It answers what was
prepared, or None, and does nothing of its own accord. What it was sent is looked at in the order in which it
came, each message once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from actorsched._kernel.current import CURRENT
from actorsched._system.handlers import TABLE, Handler, HandlerTable
from actorsched.actor import Actor, ActorRef, Asking, _method
from actorsched.context import current
from actorsched.durations import Duration, describe, seconds
from actorsched.exceptions import ActorschedError, shown
from actorsched.options import Mailbox
from actorsched.testing.leaks import OF_THE_KIT
from actorsched.testing.patterns import ANY, Message, handler_name, matches
from actorsched.testing.patterns import describe as described

if TYPE_CHECKING:
    from actorsched.runtime import Runtime
    from actorsched.testing.patterns import Pattern
    from actorsched.testing.simulation import Simulation

__all__ = ["Probe", "Unexpected"]


class Unexpected(ActorschedError, AssertionError):
    """A probe was sent something else than what was expected, or nothing at all."""


class Probe:
    """An actor that writes down what it is sent. Made by `simulation.probe()`.

    Attributes:
        ref: Give it to whoever is to send it messages: any handler may be told or asked.
        messages: All that it was ever sent.
    """

    def __init__(self, simulation: Simulation, runtime: Runtime, name: str | None) -> None:
        self._simulation = simulation
        self._unseen: deque[Message] = deque()
        self._heard: list[anyio.Event] = []
        self._answers: dict[str, Any] = {}
        self.messages: list[Message] = []
        world = simulation._world
        world.probes += 1
        options = {"name": name or f"probe-{world.probes}"}
        self._cell = runtime._new_actor(_Listener, (self,), options)
        self.ref: ActorRef[Any] = ActorRef(self._cell)

    def __repr__(self) -> str:
        return (
            f"<Probe {self.ref.name!r}: {len(self.messages)} messages, {len(self._unseen)} of them not seen>"
        )

    # ---------------------------------------------------------------------------------------- looking

    async def expect(self, pattern: Pattern = ANY, within: Duration = "1s") -> Message:
        """Wait for the next message that was not looked at yet: it has to be this one.

        Args:
            pattern: Which: the name of a handler, the handler itself, `call("deposit", 50)`, a function that
                is given the `Message`; see `actorsched.testing.patterns`.
            within: How much virtual time it may take.

        Returns:
            The message.

        Raises:
            Unexpected: It was another one; or none came in time.
            TypeError: It is no pattern.
            ValueError: `within` is no duration.
        """
        wanted, limit = described(pattern), seconds(within, field="within")
        await self._wait(limit)
        if not self._unseen:
            raise Unexpected(f"{self.ref.name} was sent nothing within {describe(limit)}; expected: {wanted}")
        message = self._unseen.popleft()
        if not matches(pattern, message):
            raise Unexpected(f"{self.ref.name} was sent {message}; expected: {wanted}")
        return message

    async def expect_nothing(self, within: Duration = 0) -> None:
        """Nothing comes that was not looked at yet.

        Args:
            within: In how much virtual time. If that is 0, as long as time stands still.

        Raises:
            Unexpected: Something came.
            ValueError: `within` is no duration.
        """
        limit = seconds(within, field="within")
        if limit:
            await self._wait(limit)
        else:
            await self.run_until_idle()
        if self._unseen:
            raise Unexpected(f"{self.ref.name} was sent {self._unseen.popleft()}; expected: nothing")

    async def _wait(self, limit: float) -> None:
        if self._unseen:
            return
        heard = anyio.Event()
        self._heard.append(heard)
        world = self._simulation._world
        timer = world.call_after(world.now + limit, heard.set)
        try:
            await heard.wait()
        finally:
            timer.cancel()
            self._heard.remove(heard)

    # ----------------------------------------------------------------------------------------- acting

    def answers(self, handler: str | Callable[..., Any], answer: Any) -> None:
        """From now on whoever asks for this handler gets this answer.

        Args:
            handler: The handler, or its name.
            answer: The answer; an exception is raised; a function is called with the arguments, and may be
                async.

        Raises:
            TypeError: It is no handler and no name.
        """
        self._answers[handler_name(handler)] = answer

    def inject(self, to: ActorRef[Any], handler: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Tell an actor something in the name of the probe, which `current().sender` is there.

        Raises:
            TypeError: It is no ref; or no handler of that actor, or does not take these arguments.
            MailboxFull: There is no room, and its mailbox drops nothing.
        """
        if not isinstance(to, ActorRef):
            raise TypeError(f"to={shown(to)} is no ActorRef; give one that spawn or lookup returned")
        context = self._cell.context.copy()
        context.run(CURRENT.set, self._cell)
        context.run(to.tell, handler, *args, **kwargs)

    async def step(self, count: int = 1) -> None:
        """The same as `simulation.step`."""
        await self._simulation.step(count)

    async def run_until_idle(self) -> None:
        """The same as `simulation.run_until_idle`."""
        await self._simulation.run_until_idle()

    async def hear(self, message: Message) -> Any:
        """The actor was sent this. Answers with what was prepared."""
        self.messages.append(message)
        self._unseen.append(message)
        self._simulation._world.note("probe", f"{self.ref.name} was sent {message}")
        for waiting in self._heard:
            waiting.set()
        answer = self._answers.get(message.handler)
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            answer = answer(*message.args, **message.kwargs)
            if hasattr(answer, "__await__"):
                answer = await answer
        return answer


class _AnyHandler(dict[str, Handler]):
    """The handlers of a probe: there is one for each name."""

    def __missing__(self, name: str) -> Handler:
        async def hear(actor: _Listener, /, *args: Any, **kwargs: Any) -> Any:
            return await actor.probe.hear(Message(name, args, kwargs, current().sender))

        hear.__name__ = name
        handler = self[name] = Handler("Probe", name, hear, streams=False)
        return handler


class _AnyTable(HandlerTable):
    """What a probe can be sent: anything."""

    __slots__ = ()

    def __init__(self, owner: type, base: type) -> None:
        super().__init__(owner, base)
        self.handlers = _AnyHandler()

    def find(self, name: str) -> Handler:
        """The handler of that name."""
        return self.handlers[name]

    def of(self, function: Callable[..., Any], actor: type) -> Handler:
        """The handler that a function of any class stands for."""
        return self.handlers[handler_name(function)]

    def proxy(self, base: type, make: Callable[[Handler], object]) -> type:
        """A class with a method for every name."""
        return _AskingProbe


class _AskingProbe(Asking):
    """The handlers of a probe, each to be called and awaited."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _method(self._cell.table.find(name)).__get__(self)


class _Listener(Actor):
    """The actor of a probe."""

    mailbox = Mailbox(capacity=None)

    def __init__(self, probe: Probe) -> None:
        self.probe = probe


setattr(_Listener, TABLE, _AnyTable(_Listener, Actor))
setattr(_Listener, OF_THE_KIT, True)

"""Asking a stand-in: what `ref.ask` gives, and the asks that wait until the test answers.

The law of this module: as with real refs, nothing is sent before it is awaited, or iterated over. What was
prepared is given at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from actorsched._system.handlers import HANDLER
from actorsched.exceptions import AskTimeout
from actorsched.testing._alone.scene import Scene, Wait, record, scene_for, sender
from actorsched.testing.effects import Asked
from actorsched.testing.patterns import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from actorsched._system.handlers import Handler
    from actorsched.testing._alone.refs import ActorStandIn, Partner


class OpenAsk:
    """One ask that waits for its answer, or, of a stream, for its items."""

    __slots__ = ("_items", "_over", "_partner", "_scene", "_streams", "_wait", "_what")

    def __init__(self, scene: Scene, partner: Partner, what: str, *, streams: bool) -> None:
        self._scene = scene
        self._partner = partner
        self._what = what
        self._streams = streams
        self._items: list[Any] = []
        self._over = False
        self._wait = Wait(scene, what)
        partner.open.append(self)

    def __repr__(self) -> str:
        return f"<open ask for {self._what}>"

    @property
    def pending(self) -> bool:
        """Whether anybody waits, or may."""
        return not self._over

    def answer(self, value: Any) -> None:
        """Answer it."""
        if self._streams and value is not None:
            raise TypeError(f"{self._what} is a stream, which has no single answer; give items by item()")
        self.close()
        self._wait.settle(value)

    def fail(self, error: BaseException) -> None:
        """Fail it."""
        self.close()
        if self._streams and (
            self._wait.done or self._wait.strand is None
        ):  # nobody waits for an item just now
            self._items.append(_Broken(error))
        self._wait.fail(error)

    def item(self, value: Any) -> None:
        """Give an item."""
        if not self._streams:
            raise TypeError(f"{self._what} is no stream, which alone has items; give an answer")
        self._items.append(value)
        self._wait.settle()

    def close(self) -> None:
        """Nobody waits any more."""
        self._over = True
        if self in self._partner.open:
            self._partner.open.remove(self)

    async def result(self, timeout: float | None, handler: str) -> Any:
        """Wait for the answer."""
        alarm = None
        if timeout is not None:
            late = _too_late(self._partner.name, handler, timeout)
            alarm = self._scene.later(timeout, lambda: self.fail(late))
        try:
            return await self._wait
        finally:
            if alarm is not None:
                alarm.cancel()
            if not self._streams:
                self.close()

    async def next(self, timeout: float | None, handler: str) -> Any:
        """Wait for the next item."""
        if not self._items:
            if self._over:
                raise StopAsyncIteration
            self._wait = Wait(self._scene, self._what)
            try:
                await self.result(timeout, handler)
            except BaseException:
                self.close()
                raise
        if not self._items:
            raise StopAsyncIteration
        item = self._items.pop(0)
        if isinstance(item, _Broken):
            raise item.error
        return item


class _Broken:
    """In the place of an item: what the stream raises there."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _too_late(actor: str, handler: str, timeout: float) -> AskTimeout:
    return AskTimeout(
        f"{handler} of actor {actor!r} did not answer within {timeout:g} s; give it more time, "
        "or see what keeps it",
        actor=actor,
        handler=handler,
        timeout=timeout,
    )


class AskingStandIn:
    """What `ref.ask` is for a stand-in: an object with a method for each handler, or for any name."""

    __slots__ = ("_priority", "_ref", "_timeout")

    def __init__(self, ref: ActorStandIn[Any], timeout: float | None, priority: int) -> None:
        self._ref = ref
        self._timeout = timeout
        self._priority = priority

    def __repr__(self) -> str:
        return f"<asking {self._ref!r}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        table = self._ref._partner.table
        if name.startswith("_"):
            raise AttributeError(f"{name!r} is private, so it is no handler", obj=self, name=name)
        if table is not None:
            table.find(name)  # it says what there is instead

        def asked(*args: Any, **kwargs: Any) -> Any:
            return Reply(self, name, args, kwargs)

        return asked


def method(handler: Handler) -> Callable[..., Any]:
    """The method that asks for one handler."""

    def asked(self: AskingStandIn, /, *args: Any, **kwargs: Any) -> Any:
        handler.check(args, kwargs)
        reply = Reply(self, handler.name, args, kwargs)
        return reply if handler.streams else reply.result()

    asked.__name__ = handler.name
    asked.__doc__ = handler.function.__doc__
    setattr(asked, HANDLER, handler)
    return asked


class Reply(AsyncIterator[Any]):
    """What asking a stand-in gives: to be awaited, or iterated over. Nothing is sent before that."""

    __slots__ = ("_args", "_asking", "_items", "_kwargs", "_name", "_open", "_sent")

    def __init__(
        self, asking: AskingStandIn, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._asking = asking
        self._name = name
        self._args = args
        self._kwargs = kwargs
        self._open: OpenAsk | None = None
        self._items: list[Any] = []
        self._sent = False

    def __repr__(self) -> str:
        return f"<reply of {self._name} from {self._asking._ref!r}>"

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.result().__await__()

    async def result(self) -> Any:
        """Ask, and wait for the answer."""
        prepared = self._send(streams=False)
        if prepared is not None:
            return prepared.one()
        assert self._open is not None
        return await self._open.result(self._asking._timeout, self._name)

    async def __anext__(self) -> Any:
        if not self._sent:
            prepared = self._send(streams=True)
            if prepared is not None:
                self._items = prepared.all()
        if self._open is not None:
            return await self._open.next(self._asking._timeout, self._name)
        if not self._items:
            raise StopAsyncIteration
        return self._items.pop(0)

    async def aclose(self) -> None:
        """Close the stream; no more of its items are wanted."""
        self._sent = True
        self._items = []
        if self._open is not None:
            self._open.close()

    def _send(self, *, streams: bool) -> Any:
        """Record the message. Answers with what was prepared; without it, there is an open ask."""
        self._sent = True
        asking, name = self._asking, self._name
        ref, partner = asking._ref, asking._ref._partner
        if partner.ending is not None:
            raise partner.gone()
        prepared = partner.prepared.of(name)
        if prepared is None:
            what = f"the {'items' if streams else 'answer'} of {name} from {partner.name!r}"
            self._open = OpenAsk(scene_for(what), partner, what, streams=streams)
        partner.receive(Message(name, self._args, self._kwargs, sender()))
        record(Asked(ref, name, self._args, self._kwargs, asking._timeout, asking._priority, self._open))
        return prepared

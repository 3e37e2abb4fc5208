"""One call of a handler or hook in an actor host.

The law of this module: what happens between a call's first step and its last word: whose turn it is, demand,
cancellation and cleanup. It knows no sockets, and which calls there are is not its business.

How it works: whatever an actor's code is running holds the actor's turn, so handlers of one actor never
interleave, whatever the parent does. A stream holds it only while its generator computes, and gives it up at
a `yield` without demand. Cancelling a call cancels its scope; a stream that waits for demand is closed
instead: its generator's cleanup runs as after any `break`, may wait, and holds the turn.
"""

from __future__ import annotations

from collections import deque
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, cast

from anyio import CancelScope

from actorsched._hosting.child_context import CallContext
from actorsched._hosting.failures import pack_error
from actorsched._hosting.transfer import dumps, load_call, loads
from actorsched._hosting.wire import Ended, Item, Raised, Returned
from actorsched._kernel.current import CURRENT
from actorsched.exceptions import ActorStopped, Interrupted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from actorsched._hosting.port import Port
    from actorsched._hosting.wire import Call, FromHost, Open
    from actorsched._kernel.backend import Backend, Future


class Turn:
    """Whose turn it is in an actor: one at a time, in the order in which they asked."""

    __slots__ = ("_backend", "_taken", "_waiting")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._taken = False
        self._waiting: deque[Future] = deque()

    async def __aenter__(self) -> None:
        if not self._taken:
            self._taken = True
            return
        future = self._backend.create_future()
        self._waiting.append(future)
        try:
            await future
        except BaseException:
            if future in self._waiting:
                self._waiting.remove(future)
            else:  # cancelled in the very moment in which the turn was given
                self._pass_on()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
        self._taken = False


class HostedActor:
    """One actor in a host, from its `Open` to its `Closed`."""

    __slots__ = ("_empty", "calls", "instance", "opened", "ref", "turn")

    def __init__(self, opened: Open, turn: Turn) -> None:
        self.opened = opened
        self.turn = turn
        self.instance: Any = None
        self.ref: Any = None
        self.calls: dict[HostedCall, None] = {}
        self._empty: Future | None = None

    def __repr__(self) -> str:
        return f"<HostedActor {self.opened.name!r}>"

    async def hook(self, name: str, *args: Any) -> None:
        """Call a hook, if the actor has it."""
        hook = getattr(self.instance, name, None)
        if hook is not None:
            result = hook(*args)
            if hasattr(result, "__await__"):
                await result

    def left(self, call: HostedCall) -> None:
        """A call is over."""
        self.calls.pop(call, None)
        if not self.calls and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def cancel_calls(self, backend: Backend) -> None:
        """Cancel what the actor does, and wait until it is over."""
        for call in list(self.calls):
            call.cancel(None)
        if self.calls:
            self._empty = backend.create_future()
            await self._empty


class HostedCall:
    """One run of an actor's code.

    Args:
        port: Where contexts say what they have to say.
        say: Where to say what becomes of the call.
        backend: The event loop.
        actor: Whose code; None when there is no such actor here.
        number: The number of the call; of a hook, minus that of the actor.
    """

    __slots__ = (
        "_actor",
        "_backend",
        "_cancelled",
        "_demand",
        "_say",
        "_scope",
        "_wanted",
        "context",
        "number",
    )

    def __init__(
        self,
        port: Port,
        say: Callable[[FromHost], None],
        backend: Backend,
        actor: HostedActor | None,
        number: int,
    ) -> None:
        self._say = say
        self._backend = backend
        self._actor = actor
        self._scope: CancelScope | None = None
        self._cancelled = False
        self._demand = 0
        self._wanted: Future | None = None
        self.number = number
        self.context: CallContext | None = None
        if actor is not None:
            self.context = CallContext(port, actor.opened, actor.ref, number)
            actor.calls[self] = None

    def __repr__(self) -> str:
        return f"<HostedCall {self.number} of {self._actor!r}>"

    # ---------------------------------------------------------------------------------------- from the parent

    def cancel(self, reason: str | None) -> None:
        """Cancel what runs; close a stream that waits for demand."""
        if self.context is not None:
            self.context.cancel_requested = True
            self.context.reason = reason
        if not self.close_if_idle():
            self._cancelled = True
            if self._scope is not None:
                self._scope.cancel()

    def close_if_idle(self) -> bool:
        """Close a stream that waits for demand; whether it did."""
        return self._wake(False)

    def want(self, count: int) -> None:
        """So many more items are wanted."""
        self._demand += count
        self._wake(True)

    def _wake(self, wanted: bool) -> bool:
        future, self._wanted = self._wanted, None
        if future is None or future.done():
            return False
        future.set_result(wanted)
        return True

    # ------------------------------------------------------------------------------------------------ running

    async def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> BaseException | None:
        """Run a hook in the actor's turn; answer with what it raised."""
        actor = self._actor
        assert actor is not None
        try:
            with self._new_scope() as scope:
                async with actor.turn:
                    CURRENT.set(self.context)
                    try:
                        await function(*args)
                    finally:
                        await self._undo_deferred()
        except BaseException as error:  # whatever it is, it is the hook's, and somebody waits for the answer
            return error
        return self._interruption() if scope.cancelled_caught else None

    async def perform(self, frame: Call) -> FromHost:
        """Run a handler; answer with its last word."""
        try:
            with self._new_scope():
                CURRENT.set(self.context)
                try:
                    return await self._perform(frame)
                finally:
                    await self._undo_deferred()
                    if self._actor is not None:
                        self._actor.left(self)
        except BaseException as error:  # likewise
            return Raised(frame.call_id, pack_error(error, f"the exception of {frame.handler!r}"))
        return Raised(frame.call_id, pack_error(self._interruption()), cancelled=True)

    def _new_scope(self) -> CancelScope:
        """The scope of this call; made in its task, because anyio wants it so."""
        self._scope = CancelScope()
        if self._cancelled:
            self._scope.cancel()
        return self._scope

    async def _perform(self, frame: Call) -> FromHost:
        actor, context = self._actor, self.context
        if actor is None or context is None:
            raise ActorStopped(f"{frame.handler!r} was called on an actor that this host does not have")
        context.ref = actor.ref
        context.sender = loads(frame.sender, "the sender of the message")
        args, kwargs = load_call(frame.args, f"the arguments of {frame.handler!r}")
        result = getattr(actor.instance, frame.handler)(*args, **kwargs)
        if frame.stream:
            return await self._stream(actor, frame, result)
        async with actor.turn:
            value = await result if hasattr(result, "__await__") else result
        return Returned(frame.call_id, dumps(value, f"the result of {frame.handler!r}", "result"))

    async def _stream(self, actor: HostedActor, frame: Call, generator: Any) -> FromHost:
        if type(generator) is not AsyncGeneratorType:
            raise TypeError(f"{frame.handler!r} was called as a stream, but is no async generator function")
        items = cast("AsyncGenerator[Any]", generator)
        try:
            while await self._is_wanted():
                async with actor.turn:
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        break
                self._demand -= 1
                self._say(Item(frame.call_id, dumps(item, f"an item of {frame.handler!r}", "item")))
        finally:
            with CancelScope(shield=True):
                async with actor.turn:
                    await items.aclose()
        return Ended(frame.call_id)

    async def _is_wanted(self) -> bool:
        """Wait for demand. False: the stream is to be closed."""
        if self._demand > 0:
            return True
        self._wanted = self._backend.create_future()
        try:
            return bool(await self._wanted)
        finally:
            self._wanted = None

    async def _undo_deferred(self) -> None:
        if self.context is not None and self.context.has_deferred:
            with CancelScope(shield=True):
                await self.context.undo_deferred_async()

    def _interruption(self) -> Interrupted:
        reason = self.context.reason if self.context is not None else None
        return Interrupted(f"the handler was cancelled{f': {reason}' if reason else ''}", reason=reason)

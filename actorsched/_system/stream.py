"""Streamed replies: an async generator on the side of the actor, an iterator on the side of the asker.

Items flow on demand. The asker's end asks for one item at a time; the actor's end steps the generator only
while there is demand. While there is none it gives its turn back, and the actor handles other messages; when
there is demand again it queues for a turn like anybody else.

The generator lives in one carrier from its first step to its end, so cancel scopes and context variables in
it are right: a scope around a `yield` that runs out there cancels at that `yield`. Leaving the loop early,
closing the stream or dropping it closes the generator, in its own turn, with its `finally` clauses awaited.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from actorsched.exceptions import ActorschedError
from actorsched.messages import Failure

if TYPE_CHECKING:
    from actorsched._kernel.backend import Future
    from actorsched._system.call import Call

_log = logging.getLogger("actorsched.actor")


class StreamSource:
    """What both ends share: demand one way, items the other. All on the runtime's thread."""

    __slots__ = ("_demand", "_items", "_reader", "_trouble", "_writer", "closing", "over", "sent")

    def __init__(self) -> None:
        self._demand = 0
        self._items: deque[Any] = deque()
        self._reader: Future | None = None
        self._writer: Future | None = None
        self._trouble: BaseException | None = None
        self.closing: bool = False
        self.over: bool = False
        self.sent: bool = False

    def __repr__(self) -> str:
        return f"<stream: demand {self._demand}, {len(self._items)} ready{', over' if self.over else ''}>"

    # ---------------------------------------------------------------------------------- asker's end

    def want(self, reader: Future) -> None:
        """Ask for one more item; `reader` is answered when there is something to `take`.

        Raises:
            RuntimeError: Somebody waits for an item already.
        """
        if self._reader is not None:
            raise RuntimeError(
                "a stream gives its items one at a time, and somebody waits for the next already"
            )
        self._reader = reader
        self._demand += 1
        self._wake(self._writer)

    def reader_gone(self) -> None:
        """Nobody waits for an item any more."""
        self._reader = None

    def take(self) -> Any:
        """The next item.

        Raises:
            StopAsyncIteration: The generator has returned, or is closed.
            BaseException: It has raised.
        """
        if not self._items:
            raise StopAsyncIteration
        item = self._items.popleft()
        if type(item) is not Failure:
            return item
        try:
            raise item.error
        finally:
            del item  # the error refers to this frame

    def expire(self, call: Call, timeout: float) -> None:
        """The next item took too long; unless it is there already."""
        if not self._items:
            call.expire(timeout)

    def close(self, call: Call) -> None:
        """Have the generator of this call closed. It is closed when the call is over."""
        self._drop_items(call)
        if not self.sent or call.context is None:  # nothing of it runs, or ever will
            self.over = True
            call.context = None
        if self.closing or self.over:
            return
        self.closing = True
        self._wake(self._writer)
        call.owner.close_stream(call)

    def _drop_items(self, call: Call) -> None:
        for item in self._items:
            if type(item) is Failure and not isinstance(item.error, ActorschedError):
                _log.error("%s failed when nobody was reading", call.title, exc_info=item.error)
        self._items.clear()

    def raise_trouble(self) -> None:
        """Raise what the generator has raised as it was closed, if it has."""
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    # ---------------------------------------------------------------------------------- actor's end

    def cut_off(self, error: BaseException) -> None:
        """The actor ends: so does the stream, with an error for whoever reads on."""
        self.fail(error)
        self.closing = True
        self._wake(self._writer)

    async def serve(self, call: Call, generator: AsyncGenerator[Any, None]) -> None:
        """Step the generator whenever there is demand, until it ends or nobody wants it any more."""
        call.owner.more().streams[call] = None
        early: deque[Any] = deque()  # what it yielded instead of ending, when it was cancelled at a yield
        try:
            while True:
                if not self._demand and not self.closing:
                    try:
                        await self._wait_for_demand(call)
                    except call.kernel.cancelled as error:
                        early.append(await generator.athrow(error))
                        continue
                if self.closing:
                    return
                item = early.popleft() if early else await generator.__anext__()
                self._demand -= 1
                self._put(item)
        except StopAsyncIteration:
            return
        finally:
            await generator.aclose()

    async def _wait_for_demand(self, call: Call) -> None:
        """Give the turn back while nobody wants an item, and queue for it again when somebody does."""
        owner = call.owner
        self._writer = writer = owner.kernel.future()
        try:
            owner.yield_turn(call)  # which may find that this was the last to be waited for, and close it
            await writer
        finally:
            self._writer = None
            await owner.regain_turn(call)

    def _put(self, item: Any) -> None:
        self._items.append(item)
        self._wake(self._reader)

    def failed(self, call: Call, error: BaseException) -> None:
        """The generator has raised."""
        if not self.closing:
            self.fail(error)
        elif call.over_when:
            self._trouble = error
        else:
            _log.error("%s failed as it was closed", call.title, exc_info=error)
        self.end()

    def fail(self, error: BaseException) -> None:
        """There will be no more items, and this is why."""
        if not self.over:
            self._items.append(Failure(error))
            self.end()

    def end(self) -> None:
        """No more items will come."""
        self.over = True
        self._wake(self._reader)

    def _wake(self, waiting: Future | None) -> None:
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

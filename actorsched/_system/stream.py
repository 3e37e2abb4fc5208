"""Streamed replies: an async generator on the side of the actor, an iterator on the side of the asker.

Items flow on demand. The asker's end asks for one item at a time; the actor's end steps the generator only while there is demand. While there is none it gives its turn back, and the actor
handles other messages; when there is demand again it queues for a turn like anybody else.

The generator lives in one carrier from its first step to its end, so cancel scopes and context variables in
it are right. Leaving the loop early, closing the stream or dropping it closes the generator, in its own
turn, with its `finally` clauses awaited.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from actorsched.messages import Failure

if TYPE_CHECKING:
    from actorsched._kernel.backend import Future
    from actorsched._system.call import Call


class StreamSource:
    """What both ends share: demand one way, items the other. All on the runtime's thread."""

    __slots__ = ("_call", "_demand", "_items", "_reader", "_writer", "closing", "over", "sent")

    def __init__(self) -> None:
        self._call: Call | None = None
        self._demand = 0
        self._items: deque[Any] = deque()
        self._reader: Future | None = None
        self._writer: Future | None = None
        self.closing = False
        self.over = False
        self.sent = False

    def __repr__(self) -> str:
        return f"<stream: demand {self._demand}, {len(self._items)} ready{', over' if self.over else ''}>"

    # ---------------------------------------------------------------------------------- asker's end

    def bind(self, call: Call) -> None:
        """This is the call whose reply it is."""
        self._call = call

    def want(self) -> None:
        """Ask for one more item."""
        self._demand += 1
        self._wake_writer()

    async def get(self) -> Any:
        """The next item, once it is there.

        Raises:
            StopAsyncIteration: The generator has returned.
            BaseException: It has raised.
        """
        if not self._items and not self.over:
            assert self._call is not None
            self._reader = self._call.kernel.future()
            try:
                await self._reader
            finally:
                self._reader = None
        if not self._items:
            raise StopAsyncIteration
        item = self._items.popleft()
        if type(item) is Failure:
            raise item.error
        return item

    def close(self) -> None:
        """Have the generator closed. It is over when `over` says so."""
        if self.closing or self.over:
            return
        self.closing = True
        self._items.clear()
        self._wake_writer()
        if self._call is not None and not self._call.dead:
            self._call.owner.close_stream(self._call)

    # ---------------------------------------------------------------------------------- actor's end

    def cut_off(self, error: BaseException) -> None:
        """The actor ends: so does the stream, with an error for whoever reads on."""
        self.fail(error)
        self.closing = True
        self._wake_writer()

    async def serve(self, call: Call, generator: AsyncGenerator[Any, None]) -> None:
        """Step the generator whenever there is demand, until it ends or nobody wants it any more."""
        try:
            while True:
                if not self._demand and not self.closing:
                    await self._wait_for_demand(call)
                if self.closing:
                    return
                self._demand -= 1
                try:
                    item = await generator.__anext__()
                except StopAsyncIteration:
                    return
                self._put(item)
        finally:
            await generator.aclose()

    async def _wait_for_demand(self, call: Call) -> None:
        """Give the turn back while nobody wants an item, and queue for it again when somebody does."""
        owner = call.owner
        owner.yield_turn(call)
        try:
            self._writer = owner.kernel.future()
            try:
                await self._writer
            finally:
                self._writer = None
        finally:
            await owner.regain_turn(call)

    def _wake_writer(self) -> None:
        writer = self._writer
        if writer is not None and not writer.done():
            writer.set_result(None)

    def _put(self, item: Any) -> None:
        self._items.append(item)
        self._wake_reader()

    def fail(self, error: BaseException) -> None:
        """The generator has raised, or will never run."""
        if not self.over:
            self._items.append(Failure(error))
            self.end()

    def end(self) -> None:
        """No more items will come."""
        self.over = True
        self._wake_reader()

    def _wake_reader(self) -> None:
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)

"""The code of an actor that is tested alone, piece by piece: its hooks and its messages.

The law of this module: a piece knows its code, its effects and how it is stopped. Whose turn it is, and what
follows from its end, is the actor's to decide.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from actorsched.exceptions import TaskCancelled
from actorsched.testing._alone.context import AloneContext
from actorsched.testing._alone.recording import Effects
from actorsched.testing._alone.scene import Wait
from actorsched.testing._alone.strand import Strand

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from contextvars import Context

    from actorsched._system.handlers import Handler
    from actorsched.testing._alone.cell import Cell
    from actorsched.testing.effects import Asked


class Piece:
    """What hooks and messages have in common.

    Attributes:
        title: What it is, for people.
        effects: What comes of it.
        strand: Its code.
    """

    def __init__(self, actor: Cell, name: str) -> None:
        self.actor = actor
        self.title = f"{name} of actor {actor.name!r}"
        self.effects = Effects(self.title, self)
        self.strand = Strand(actor.scene, actor, self.title, self.effects, self.over)

    def __repr__(self) -> str:
        return f"<{self.title}>"

    @property
    def waits_for(self) -> str | None:
        """What it waits for now."""
        waiting = self.strand.waiting
        return None if waiting is None else waiting.what

    def over(self, value: Any, error: BaseException | None) -> None:
        """Its code has ended."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Nobody wants it any more."""
        raise NotImplementedError

    def demand(self, count: int) -> None:
        """Ask for items.

        Raises:
            TypeError: It has none.
        """
        raise TypeError(f"{self.title} streams nothing, so it has no items; its result is in `value`")

    def close(self) -> None:
        """Want no more items.

        Raises:
            TypeError: It has none.
        """
        raise TypeError(f"{self.title} streams nothing, so there is nothing to close; use cancel()")


class Hook(Piece):
    """One run of `on_start` or `on_stop`."""

    def __init__(self, actor: Cell, name: str) -> None:
        super().__init__(actor, name)
        self.name = name

    def begin(self, context: Context, args: tuple[Any, ...]) -> None:
        """Call it."""
        hook = getattr(self.actor.instance, self.name)
        self.strand.begin(lambda: hook(*args), hook, context, AloneContext(self.strand))

    def over(self, value: Any, error: BaseException | None) -> None:
        """It has ended."""
        self.actor.hook_over(self, value, error)

    def cancel(self) -> None:
        """Whoever spawned the actor is cancelled, or has it killed."""
        self.actor.kill()


class Handling(Piece):
    """One message, and the run of its handler.

    Attributes:
        entry: The handler.
        asked: Whether somebody waits for the answer.
        cut: Why its stream has ended before its time; None if it has not.
    """

    def __init__(
        self,
        actor: Cell,
        entry: Handler,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        sender: Any,
        *,
        asked: bool,
        question: Asked | None,
    ) -> None:
        super().__init__(actor, entry.name)
        self.entry = entry
        self.asked = asked
        self.cut: BaseException | None = None
        self.strand.sender = sender
        self._args = args
        self._kwargs = kwargs
        self._context = copy_context()
        self._question = question
        self._demand = 0
        self._sent = False
        self._closing = False
        self._writer: Wait | None = None

    @property
    def waits_for(self) -> str | None:
        """What it waits for now: also for its turn."""
        if self.actor.queued(self):
            return f"its turn, after {self.actor.busy_with}"
        if self.entry.streams and not self._sent:
            return "demand; ask for items, by demand()"
        return super().waits_for

    def begin(self, instance: object) -> None:
        """Call the handler; it has the turn."""

        def invoke() -> Any:
            result = self.entry.function(instance, *self._args, **self._kwargs)
            return self._serve(result) if self.entry.streams else result

        self.strand.begin(invoke, self.entry.function, self._context, AloneContext(self.strand))

    def over(self, value: Any, error: BaseException | None) -> None:
        """The handler has ended."""
        self.actor.handled(self, value, error)

    def ended(self, value: Any, error: BaseException | None) -> None:
        """How it ended is known: tell whoever waits."""
        self.effects._end(value, error)
        if self._question is None or not self._question.pending:
            return
        if error is None:
            self._question.answer(value)
        else:
            self._question.fail(error)

    def cancel(self) -> None:
        """Whoever asked is cancelled."""
        reason = TaskCancelled(f"the sender of {self.title} was cancelled")
        if not self.strand.begun:
            self.actor.take_back(self, reason)
        elif self.entry.streams:
            self.cut_off(reason)
        else:
            self.strand.interrupt(reason)

    # ---------------------------------------------------------------------------------------------- streams

    def demand(self, count: int) -> None:
        """So many more items are wanted; the first demand sends the message."""
        if not self.entry.streams:
            return super().demand(count)
        self._demand += count
        if self.effects.done:
            return
        if not self._sent:
            self._sent = True
            self.actor.scene.post(lambda: self.actor.accept(self))
        elif self._writer is not None:
            self._writer.settle()

    def close(self) -> None:
        """No more items are wanted: the generator is closed, in its turn."""
        if not self.entry.streams:
            return super().close()
        if self.effects.done or self._closing:
            return
        self._closing = True
        if not self.strand.begun:
            self.actor.take_back(self, self.cut)
        elif self._writer is not None:
            self._writer.settle()
        elif self.actor.turn_of(self):
            self.strand.interrupt(TaskCancelled(f"the stream {self.title} was closed"))

    def cut_off(self, reason: BaseException) -> None:
        """The stream ends here, with an error for whoever reads on."""
        if not self._closing:
            self.cut = reason
        self.close()

    @property
    def why_cancelled(self) -> BaseException | None:
        """Why its code was cancelled; None where nobody needs to know, because the reader has left."""
        return self.cut if self._closing else self.strand.cancelled

    async def _serve(self, generator: AsyncGenerator[Any, None]) -> None:
        """Step the generator whenever there is demand, until it ends or nobody wants it any more."""
        try:
            while True:
                if not self._demand and not self._closing:
                    await self._wait_for_demand()
                if self._closing:
                    return
                item = await generator.__anext__()
                self._demand -= 1
                self.effects.items.append(item)
        except StopAsyncIteration:
            return
        finally:
            await generator.aclose()

    async def _wait_for_demand(self) -> None:
        """Give the turn back while nobody wants an item, and queue for it again when somebody does."""
        scene = self.actor.scene
        self._writer = Wait(scene, "demand; ask for items, by demand()")
        self.actor.yield_turn(self)
        await self._writer
        self._writer = None
        regained = Wait(scene, "its turn")
        if not self.actor.regain_turn(self, regained):
            await regained

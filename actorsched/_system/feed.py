"""Feeds: what the iterators that users hold read from, and how code waits for one.

A feed belongs to the runtime, the iterator to the user: the iterator refers to the feed and never the other
way round. So an iterator that is dropped, by `break` or by an exception, is gone at once, and tells its feed.

Whoever waits for a feed lends its slot, like whoever awaits a task, and probes for circles of waiting pass
through it to what the next item depends on.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import Outbox, handles, require
from actorsched._system.asking import aside, begin_to_wait, go_on, waiter_of
from actorsched._system.waiting import Waiter, pass_probe
from actorsched.messages import Failure, Probe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorsched._core.behaviour import Reply


class Feed(Waiter, kw_only=True):
    """The far end of an iterator. All of it runs on the runtime's thread, but for `dropped`."""

    title: str
    over: bool = False
    """Whether no more items will come, and nothing of it is left."""
    reader: Reply | None = None
    """Who waits for the next item."""
    late: bool = False
    """Whether it may go on until the actors of its scope have stopped, because one of them reads it."""
    enders: list[Reply] = []
    """Who waits until it is over."""

    @property
    def name(self) -> str:
        """What it is called in a circle of waiting."""
        return self.title

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.title!r}>"

    def last_call(self) -> None:
        """Its scope is being left: only what belongs to that may still give it more to do."""

    @abstractmethod
    async def next(self) -> Any:
        """The next item.

        Raises:
            StopAsyncIteration: There are no more.
        """

    @abstractmethod
    def close(self, reason: BaseException | None = None) -> None:
        """No more items are wanted. It is over when what is in progress has stopped.

        Args:
            reason: What somebody who still reads is told; None for an orderly end.
        """

    def force(self) -> None:
        """Be over as soon as possible: the runtime's shutdown deadline has come."""

    async def aclose(self) -> None:
        """Close it, and return when it is over, whoever is cancelled meanwhile."""
        self.close()
        await self.ended()

    async def ended(self) -> None:
        """Wait, shielded, until it is over."""
        cancelled: BaseException | None = None
        while not self.over:
            answer = self.kernel.future()
            self.enders.append(answer)
            try:
                with self.kernel.shield():
                    await aside(self.kernel, answer, f"the end of {self.title}")
            except self.kernel.cancelled as error:  # asyncio's own cancellation gets through every shield
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def dropped(self) -> None:
        """Its iterator is gone. May be called anywhere, in any thread, at any moment."""
        if not self.over:
            try:
                self.kernel.call_threadsafe(self.close)
            except RuntimeError:  # the loop is closed, and everything with it
                pass

    def wake(self) -> None:
        """Whoever reads should look again."""
        if self.reader is not None:
            self.kernel.reply(self.reader, None)

    def note_reader(self) -> None:
        """It will be read by whoever runs now: by an actor, perhaps."""
        reader = waiter_of(self)
        self.late = reader is not None and not reader.settles

    def check_reader(self) -> None:
        """Refuse a second reader.

        Raises:
            RuntimeError: Somebody waits for the next item.
        """
        if self.reader is not None:
            raise RuntimeError(f"{self.title} is being read elsewhere; let one loop read it, or make another")

    async def wait(self) -> None:
        """Wait, as the reader, until there is something new to see.

        Raises:
            DeadlockError: The next item waits, through others, for whoever waits here.
        """
        kernel, waiter = self.kernel, waiter_of(self)
        answer = self.reader = kernel.future()
        try:
            if waiter is not None:
                begin_to_wait(waiter, self, answer)
            result = await answer
        except BaseException as error:
            if waiter is not None:
                await go_on(waiter, self, answer, error)
            raise
        finally:
            self.reader = None
        if waiter is not None:
            await go_on(waiter, self, answer)
        if type(result) is Failure:
            raise result.error

    def blockers(self) -> Iterable[Waiter]:
        """Whom it waits for itself: without any of them there is no next item."""
        return ()

    @handles(Probe)
    def _probe(self, message: Probe, out: Outbox) -> None:
        for blocker in self.blockers():
            error = pass_probe(self, blocker, message, out)
            if error is not None and self.reader is not None:
                out.reply(self.reader, Failure(error))

    def finish(self) -> None:
        """It is over: tell everybody."""
        self.over = True
        self.wake()
        enders, self.enders = self.enders, []
        for ender in enders:
            self.kernel.reply(ender, None)

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """When it is over, everybody who waited for that was told."""
        super().check()
        require(not (self.over and self.enders), self, "when it is over, all who waited for that were told")

    def check_at_rest(self) -> None:
        """The same; and nobody waits for what there is, or will never be."""
        super().check_at_rest()
        if self.reader is not None and not self.reader.done():
            require(not self.over, self, "nobody waits for an item of what is over")
            require(not self.has_items, self, "nobody waits for an item that is there")

    @property
    def has_items(self) -> bool:
        """Whether there is something to read now."""
        return False

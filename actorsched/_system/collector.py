"""The far ends of `as_completed` and `dead_letters`: things that happen elsewhere, queued for one reader."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import require
from actorsched._core.invariants import FEW
from actorsched._system.feed import Feed
from actorsched.messages import Unwatch, Watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorsched._core.post_office import PostOffice
    from actorsched._system.nursery import Nursery
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter
    from actorsched.messages import DeadLetter


class Queue(Feed, kw_only=True):
    """A feed whose items come by themselves. Cancelling whoever waits for one leaves it as it is."""

    failure: BaseException | None = None

    async def next(self) -> Any:
        """The next item.

        Raises:
            StopAsyncIteration: There will be no more.
        """
        self.check_reader()
        while not self.items:
            if self.over:
                failure, self.failure = self.failure, None
                raise failure or StopAsyncIteration
            await self.wait()
        item = self.items.popleft()
        self.taken()
        return item

    @property
    @abstractmethod
    def items(self) -> deque[Any]:
        """What has come and was not read."""

    def taken(self) -> None:
        """An item was read."""

    def close(self, reason: BaseException | None = None) -> None:
        """No more items are wanted."""
        if not self.over:
            self.failure = reason
            self.finish()

    @property
    def has_items(self) -> bool:
        """Whether something has come and was not read."""
        return bool(self.items)

    def check(self) -> None:
        """The failure with which it ends is told when it has ended."""
        super().check()
        require(self.over or self.failure is None, self, "what has not ended has not failed")


class Collector(Queue, kw_only=True):
    """Tasks, in the order in which they settle. It watches them, and leaves them alone."""

    pending: dict[TaskActor, Settling]
    settled: deque[Any]

    @property
    def items(self) -> deque[Any]:
        """The refs of tasks that have settled."""
        return self.settled

    def watch(self) -> None:
        """Begin. Tasks that have settled before come first, in the order given."""
        for task, settling in list(self.pending.items()):
            settling.collector = self
            self.kernel.post(task, Watch(settling))
        self._see_whether_over()

    def has_settled(self, settling: Settling) -> None:
        """A task has settled."""
        del self.pending[settling.task]
        self.settled.append(settling.ref)
        self.wake()
        self._see_whether_over()

    def _see_whether_over(self) -> None:
        if not self.pending and not self.over:
            self.finish()

    def blockers(self) -> Iterable[Waiter]:
        """The last task that has not settled."""
        return tuple(self.pending) if len(self.pending) == 1 else ()

    def close(self, reason: BaseException | None = None) -> None:
        """Watch no longer."""
        pending, self.pending = self.pending, {}
        self.settled.clear()
        for task, settling in pending.items():
            self.kernel.post(task, Unwatch(settling))
        super().close(reason)

    def check(self) -> None:
        """It is over when the last task has settled."""
        super().check()
        require(self.over or self.pending or not self.settled, self, "it is over when all tasks have settled")
        require(not (self.over and self.pending), self, "it waits for no task when it is over")
        if len(self.pending) <= FEW:
            own = all(one.task is task for task, one in self.pending.items())
            require(own, self, "every task that it waits for tells it by a word of its own")

    def check_at_rest(self) -> None:
        """The same; and it has heard of every task that has settled."""
        super().check_at_rest()
        if len(self.pending) <= FEW:
            for task, settling in self.pending.items():
                if settling.collector is self:
                    require(task.outcome is None, self, f"it has heard that {task!r} has settled")


class Settling:
    """Where a task tells that it has settled; a `Reply` that passes it on."""

    __slots__ = ("_done", "collector", "ref", "task")

    def __init__(self, task: TaskActor, ref: Any) -> None:
        self.task = task
        self.ref = ref
        self.collector: Collector | None = None
        self._done = False

    def __repr__(self) -> str:
        return f"<settling of {self.task!r}>"

    def done(self) -> bool:
        """Whether it has settled."""
        return self._done

    def set_result(self, value: Any, /) -> None:
        """It has settled."""
        self._done = True
        if self.collector is not None and self.task in self.collector.pending:
            self.collector.has_settled(self)


class Letterbox(Queue, kw_only=True):
    """Dead letters, from the moment at which it is set up."""

    office: PostOffice
    nursery: Nursery
    letters: deque[DeadLetter]

    @property
    def items(self) -> deque[Any]:
        """Those that were not read; of too many, the latest."""
        return self.letters

    def set_up(self) -> None:
        """From now on, letters come in."""
        self.nursery.feeds[self] = None
        self.office.subscribe(self)

    def append(self, letter: DeadLetter) -> None:
        """One has come."""
        self.letters.append(letter)
        self.wake()

    def close(self, reason: BaseException | None = None) -> None:
        """No more are wanted, or none will come: an orderly end either way."""
        super().close()

    def finish(self) -> None:
        """No more come in; those that are here may still be read."""
        self.office.unsubscribe(self)
        self.nursery.feeds.pop(self, None)
        super().finish()

    def check(self) -> None:
        """Nobody is told of its end before that."""
        super().check()
        listed = self in self.nursery.feeds
        require(not (self.over and listed), self, "what is over is not in the books of its scope any more")

"""The Intake actor: carries out, as tasks, what other threads have ordered from an executor.

It owns the tasks that it makes, as a nursery does, and shares that with the nursery of the runtime: they are
waited for when that is left, and cancelled with it. From each it hears how it ended, and tells the future.

A worker asks it before it begins a task (`lets_begin`). That is where a future changes to running, or is
found to be cancelled; so one that says that it was cancelled never runs.

Futures are told of their ends when nothing else is in transit: what users have attached to them is called in
the middle of nothing.
"""

from __future__ import annotations

import logging
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.invariants import FEW
from actorsched._system.feed import Feed
from actorsched.exceptions import RuntimeClosed
from actorsched.messages import Cancel, Settled
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched._system.nursery import Nursery
    from actorsched._system.orders import Book, Order
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched.messages import Outcome
    from actorsched.options import TaskOptions

_AT_ONCE = 64
"""How many orders are taken before the loop looks at the clock."""

_log = logging.getLogger("actorsched.task")


class Flush(msgspec.Struct, frozen=True, eq=False):
    """To itself: tell the futures of the tasks that have ended."""


_FLUSH = Flush()


class Intake(Feed, kw_only=True):
    """The tasks of one executor."""

    gates: ClassVar[bool] = True

    system: System
    nursery: Nursery
    book: Book
    options: TaskOptions
    pool: str | None = None
    """The name of the pool that was made for it, if one was."""
    orders: dict[Behaviour, Order[Any]] = {}
    """By their tasks."""
    ended_ones: list[tuple[Order[Any], Outcome[Any]]] = []
    """Whose futures are to be told."""
    closing: bool = False

    # ------------------------------------------------------------------- what a task expects of its owner

    @property
    def open(self) -> bool:
        """Whether tasks may be made."""
        return self.nursery.open

    @property
    def cancelling(self) -> bool:
        """Whether those that are made are cancelled at once."""
        return self.nursery.cancelling

    @property
    def live(self) -> dict[Behaviour, None]:
        """The tasks of the runtime that have not settled."""
        return self.nursery.live

    def lets_begin(self, task: TaskActor) -> bool:
        """Whether a task is still wanted; from now on it cannot be withdrawn."""
        return self.orders[task].begins()

    def completed(self, task: TaskActor, out: Outbox) -> None:
        """A task has completed."""
        assert task.outcome is not None
        self._ended(task, task.outcome, out)

    @handles(Settled)
    def _settled(self, message: Settled, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        task.observed = True  # by whoever has the future
        self._ended(task, message.outcome, out)

    def _ended(self, task: TaskActor, outcome: Outcome[Any], out: Outbox) -> None:
        self.nursery.live.pop(task, None)
        order = self.orders.pop(task, None)
        if order is not None:
            if not self.ended_ones:
                out.at_rest((self, _FLUSH))
            self.ended_ones.append((order, outcome))

    @handles(Flush)
    def _flush(self, message: Flush, out: Outbox) -> None:
        ended, self.ended_ones = self.ended_ones, []
        for order, outcome in ended:
            self._tell(order, outcome)
        self.book.settled([order for order, _ in ended])
        self._see_whether_over()

    def _tell(self, order: Order[Any], outcome: Outcome[Any]) -> None:
        """Tell a future how its task ended; with that, call what users have attached to it."""
        error = outcome.error
        try:
            if outcome.status is TaskStatus.CANCELLED and not order.begun:
                order.end_cancelled()
            elif error is None:
                order.end(outcome.value, None)
            else:
                broken = self.book.breaks(error)
                if broken is not None:
                    self._give_up(broken)
                order.end(None, broken or error)
        except BaseException:  # what is no Exception is let through by futures, and would end the system
            _log.exception("what was to be called at the end of %r failed", order)

    def _give_up(self, error: BaseException) -> None:
        """Nothing can be done any more. What runs goes on."""
        self.book.fail(error)
        for task, order in self.orders.items():
            if order.done():
                self.kernel.send((task, Cancel("its executor is broken")))

    # --------------------------------------------------------------------------------------- what is new

    def begin(self) -> None:
        """Take orders, from now on until the runtime is left, or the book is closed."""
        self.nursery.feeds[self] = None
        self.book.listen(lambda: self.kernel.call_threadsafe(self.look))

    def look(self) -> None:
        """See what is new in the book."""
        news = self.book.take(_AT_ONCE)
        for order in news:
            self._take(order)
        if len(news) == _AT_ONCE:  # there may be more; other calls come first
            self.kernel.call_threadsafe(self.look)
        elif self.book.closed is not None:
            self.closing = True
            self._see_whether_over()

    def _take(self, order: Order[Any]) -> None:
        if order.task is not None:
            if order.cancelled() or order.stopping is not None:
                self.kernel.post(order.task, Cancel(order.stopping or "its future was cancelled"))
        elif order.work is not None:
            if order.cancelled():
                order.end_cancelled()
                self.book.settled([order])
            else:
                self._carry_out(order, *order.work)

    def _carry_out(
        self, order: Order[Any], function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        order.work = None
        options = self.options.replace(kwargs=kwargs) if kwargs else self.options
        try:
            task = self.system.new_task(self, function, args, options, _NOBODYS, held=True)
        except Exception as error:  # it cannot be called so, cannot travel, or the runtime is closing
            order.end(None, error)
            return self.book.settled([order])
        order.task = task
        self.orders[task] = order
        return self.system.enter(task)

    # ------------------------------------------------------------------------------------------- the end

    async def next(self) -> Any:
        """It has no reader.

        Raises:
            StopAsyncIteration: Always.
        """
        raise StopAsyncIteration

    def last_call(self) -> None:
        """The runtime is being left. Were all still served, there might always be one more."""
        self.book.last_call(_LEFT)

    def close(self, reason: BaseException | None = None) -> None:
        """The runtime is left: what was ordered until now is still done."""
        self.book.close(_LEFT)
        while news := self.book.take(_AT_ONCE):
            for order in news:
                self._take(order)
        self.closing = True
        self._see_whether_over()

    def _see_whether_over(self) -> None:
        if self.closing and not (self.over or self.orders or self.ended_ones or self.book.has_news):
            self.nursery.feeds.pop(self, None)
            if self.pool is not None:
                self.system.drop_pool(self.pool)
            self.finish()

    def finish(self) -> None:
        """It is over, be it in order or because the system has failed."""
        if not self.over:
            self.book.abandon(RuntimeClosed("this was not done, because the runtime has failed, or closed"))
        super().finish()

    def check(self) -> None:
        """Every order that is carried out has a task, and every task of it an order."""
        super().check()
        if len(self.orders) <= FEW:
            for task, order in self.orders.items():
                require(order.task is task or order.done(), self, f"{order!r} knows its task")
        require(not self.over or self.closing, self, "it is over when it was closed, or has failed")

    def check_at_rest(self) -> None:
        """The same; and whoever has ordered something knows how it has ended."""
        super().check_at_rest()
        require(not self.ended_ones, self, "futures are told when nothing is in transit")
        if len(self.orders) <= FEW:
            for task in self.orders:
                require(task.outcome is None, self, f"it has heard that {task!r} has ended")  # type: ignore[attr-defined]  # a task


_LEFT = "cannot schedule new futures after the runtime was left; submit within `async with Runtime()`"

_NOBODYS = Context()
"""The context that functions run in copies of: like the threads of other executors, they know none."""

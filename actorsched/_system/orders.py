"""What an executor was asked to do and has not done yet: shared by the threads that ask and by the loop.

The law of this module: everything in it may be used in any thread, at any moment, also while garbage is
collected in the middle of it. It knows no task; what becomes of an order is decided by whoever takes it
(`_system.intake`).

How it works: an `Order` is the future that the user holds, and, until it is taken, what is to be called. The
`Book` has those that wait to be taken, and all that have not settled. Only the first of many orders wakes the
loop. A future that is cancelled before it begins is put into the book once more, because whoever waits for it
hears of the cancellation only when the loop has taken note of it.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from os import getpid
from threading import Condition, RLock, get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from actorsched._kernel.current import CURRENT
from actorsched.exceptions import DeadlockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
Work = tuple["Callable[..., Any]", tuple[Any, ...], dict[str, Any]]
"""A function, and what to call it with."""


class Order(Future[T]):
    """The future of one submission."""

    def __init__(self, book: Book, work: Work) -> None:
        super().__init__()
        self.book = book
        self.work: Work | None = work
        """What is to be done; None when it was taken."""
        self.task: Any = None
        """What does it, as long as that is not over."""
        self.begun: bool = False
        """Whether it was told to be running, and cannot be cancelled any more."""
        self.stopping: str | None = None
        """Why it is to be stopped though it has begun."""
        self._noted = False  # whether its future says that it runs, or that it never will
        self._over = False

    def cancel(self) -> bool:
        """Withdraw it. False when it runs, or is done."""
        if not super().cancel():
            return False
        self.book.withdraw(self)
        return True

    def result(self, timeout: float | None = None) -> T:
        """What the function returned, or what it raised; as any future.

        Raises:
            DeadlockError: It is asked for, without a timeout, in the thread whose event loop has to bring it.
        """
        try:
            if timeout is None:
                self._check_thread()
            return super().result(timeout)
        finally:
            del self  # an error refers to this frame: nothing here may refer back

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the function raised, if it did; as any future.

        Raises:
            DeadlockError: As for `result`.
        """
        if timeout is None:
            self._check_thread()
        return super().exception(timeout)

    def _check_thread(self) -> None:
        if self.book.thread == get_ident() and not self.done():
            raise DeadlockError(
                "this future was waited for in the thread whose event loop has to bring its result, so it "
                "would never come; await asyncio.wrap_future(future), or use `await rt.run(...)`"
            )

    def begins(self) -> bool:
        """It is about to begin; False when it was cancelled before. From now on it cannot be."""
        if not self._noted:
            self._noted = True
            self.begun = self.set_running_or_notify_cancel()
        return self.begun

    def end(self, value: Any, error: BaseException | None) -> None:
        """It has ended: tell whoever waits. It ends only once."""
        self.work = self.task = None
        if self._over:
            return
        self._over = True
        if self.begins():
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)

    def end_cancelled(self) -> None:
        """It was cancelled before it began, by its future or otherwise."""
        self.work = self.task = None
        if not self._over:
            self._over = True
            super().cancel()
            self.begins()


class Book:
    """The orders of one executor.

    Args:
        breaks: Told each error that an order ends with; answers with the one that every other is to end with,
            when nothing can be done any more.
    """

    def __init__(self, breaks: Callable[[BaseException], BaseException | None]) -> None:
        self.breaks = breaks
        self.thread: int | None = None
        """The thread of the loop, from when there is one."""
        self.closed: str | None = None
        """Why no more orders are accepted, if they are not."""
        self.closing: str | None = None
        """The same for whoever is no task or handler of a runtime."""
        self.broken: BaseException | None = None
        """What every order ends with from now on."""
        self._process = getpid()
        self._lock = RLock()  # reentrant, because the collector may drop an executor anywhere
        self._settled = Condition(self._lock)
        self._unsettled: dict[Order[Any], None] = {}
        self._news: deque[Order[Any]] = deque()
        self._called = False
        self._wake: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return f"<book of {len(self._unsettled)} orders{', closed' if self.closed else ''}>"

    # --------------------------------------------------------------------------- by those who have orders

    def add(self, works: Iterable[Work]) -> list[Order[Any]]:
        """Accept orders, all or none.

        Raises:
            RuntimeError: No more are accepted.
            BaseException: Nothing can be done any more.
        """
        self._refuse()
        orders: list[Order[Any]] = [Order(self, work) for work in works]
        with self._lock:
            self._refuse()
            for order in orders:
                self._unsettled[order] = None
            self._news.extend(orders)
            self._call()
        return orders

    def _refuse(self) -> None:
        if getpid() != self._process:
            raise RuntimeError(
                f"this executor was made in process {self._process}, and this is a fork of it, in which "
                "nobody carries out its orders; make another executor here"
            )
        if self.broken is not None:
            again = type(self.broken)(*self.broken.args)
            again.__dict__.update(self.broken.__dict__)
            raise again from self.broken.__cause__
        if self.closed is not None:
            raise RuntimeError(self.closed)
        if self.closing is not None and CURRENT.get() is None:
            raise RuntimeError(self.closing)

    def withdraw(self, order: Order[Any]) -> None:
        """An order was cancelled, or is to be stopped."""
        with self._lock:
            if order in self._unsettled:
                self._news.append(order)
                self._call()

    def cancel_all(self) -> None:
        """Cancel whatever has not begun."""
        with self._lock:
            orders = list(self._unsettled)
        for order in orders:
            order.cancel()

    def stop(self, orders: Iterable[Order[Any]], reason: str) -> None:
        """Cancel what of these has not begun, and have stopped what has."""
        for order in orders:
            if not order.cancel():
                order.stopping = reason
                self.withdraw(order)

    def last_call(self, why: str) -> None:
        """Accept no more orders but of tasks and handlers, which somebody waits for."""
        self.closing = why

    def close(self, why: str) -> None:
        """Accept no more orders; those that were accepted are carried out."""
        with self._lock:
            if self.closed is None:
                self.closed = why
            self._call()

    def wait(self) -> None:
        """Wait until every order has settled.

        Raises:
            RuntimeError: This is the thread that has to carry them out.
        """
        with self._settled:
            if self._unsettled and self.thread == get_ident():
                raise RuntimeError(
                    "the executor was to be waited for in the thread whose event loop has to do its work; "
                    "use shutdown(wait=False), or leave it to a thread"
                )
            while self._unsettled:
                self._settled.wait()

    def _call(self) -> None:
        """Let the loop know that there is something new."""
        if self._called or self._wake is None:
            return
        self._called = True
        try:
            self._wake()
        except RuntimeError:  # the loop has been closed in the middle of its work
            self._wake = None

    # -------------------------------------------------------------------------- by the loop, that does them

    def listen(self, wake: Callable[[], object]) -> None:
        """The loop is there: from now on have it woken, from any thread, when there is something new."""
        with self._lock:
            self.thread, self._wake = get_ident(), wake
            self._call()

    def take(self, most: int) -> list[Order[Any]]:
        """What is new: orders to be carried out, and some that were withdrawn, in their order.

        With fewer than `most`, that was all: then somebody is told as soon as there is more.
        """
        with self._lock:
            news = self._news
            taken = [news.popleft() for _ in range(min(most, len(news)))]
            if len(taken) < most:
                self._called = False
            return taken

    @property
    def has_news(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self._news)

    def settled(self, orders: Iterable[Order[Any]]) -> None:
        """Their futures are done."""
        with self._lock:
            for order in orders:
                self._unsettled.pop(order, None)
            if not self._unsettled:
                self._settled.notify_all()

    def fail(self, error: BaseException) -> None:
        """Nothing can be done any more: end every order that has not begun with this, and all to come."""
        with self._lock:
            self.broken = self.broken or error
            orders = [order for order in self._unsettled if not order.begun]
            self._news.clear()
            self._called = False
        for order in orders:
            order.end(None, error)
        self.settled(orders)

    def abandon(self, error: BaseException) -> None:
        """The loop is gone: end every order with this that is left."""
        with self._lock:
            self.closed = self.closed or "cannot schedule new futures after the runtime has ended"
            self._wake = None
            orders = list(self._unsettled)
            self._news.clear()
        for order in orders:
            order.end(None, error)
        self.settled(orders)

"""The resources of a scheduler, and those who hold them for a task.

The law of this module: nothing is decided here. A resource is one of the runtime's, declared when it is
first used; who gets it, who inherits from whom, and whether somebody waits for ever, it decides.

How it works: what a task requires it takes itself, when it begins. What is acquired for it by a call is taken
by its *holder*, an async task in the runtime. From when the task is submitted there too, the holder awaits
it: so whoever waits for what it holds lends its priority to the task. When the function of the task is over,
and before its worker is free, or when the task was settled otherwise, or all is released, the holder lets go
and ends. There is one holder for a task, so that a circle is seen whatever was
acquired by which call; a release, or somebody who gives up, interrupts it in what it waits for.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from actorsched.context import current
from actorsched.exceptions import ActorschedError, DeadlockError, RuntimeClosed
from actorsched.frontends._shared import SHARED
from actorsched.frontends.realtime.vocabulary import ResourceDeadlockError
from actorsched.task import Task as Prepared

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager as AsyncContextManager

    import anyio

    from actorsched.frontends._jobs import Job
    from actorsched.frontends.realtime.task import Task
    from actorsched.runtime import Runtime
    from actorsched.task import TaskRef

_desks: WeakSet[Resources] = WeakSet()
_PATIENCE = 5.0
"""Seconds that the runtime has to say whether something was granted after all."""


class Order:
    """What somebody wants acquired, and waits for.

    Attributes:
        names: What.
        over: Set when it is answered.
        granted: Whether it was acquired.
        error: Why never.
        withdrawn: Whether nobody waits any longer.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.over = threading.Event()
        self.granted = False
        self.error: BaseException | None = None
        self.withdrawn = False

    def answer(self, granted: bool, error: BaseException | None = None) -> None:
        """It is over, unless it was."""
        if not self.over.is_set():
            self.granted, self.error = granted, error
            self.over.set()


class Resources:
    """The resources of one scheduler, and who holds what by a call.

    Args:
        prefix: What their names in the runtime begin with.
        inherit: Whether those who hold one inherit the priority of those who wait for it.
    """

    def __init__(self, prefix: str, inherit: bool) -> None:
        self.inherit = inherit
        self.used: bool = False
        """Whether anything was ever acquired by a call."""
        self._prefix = prefix
        self._lock = threading.RLock()
        self._holders: WeakKeyDictionary[Task, Holder] = WeakKeyDictionary()
        _desks.add(self)

    def __repr__(self) -> str:
        return f"<resources of {self._prefix!r}>"

    def native(self, name: str) -> str:
        """What the runtime calls it."""
        return f"{self._prefix}:{name}"

    def held(self, task: Task) -> frozenset[str]:
        """What is held for a task by calls."""
        holder = self._holders.get(task)
        return frozenset() if holder is None else frozenset(holder.held)

    def is_one(self, native: str) -> bool:
        """Whether the runtime means one of these."""
        return native.startswith(f"{self._prefix}:")

    def submitted(self, task: Task) -> Callable[[], Awaitable[object]] | None:
        """A task is in the runtime now: who holds something for it may await it.

        Answers with what ends when that does; None when nobody holds anything. In the runtime's thread.
        """
        holder = self._holders.get(task) if self.used else None
        return None if holder is None else holder.meet()

    def declare(self, runtime: Runtime, names: Iterable[str]) -> None:
        """Declare what is used from now on. In the runtime's thread."""
        for name in names:
            runtime.resource(self.native(name), inherit=self.inherit)

    def take_over(self, task: Task) -> dict[str, str]:
        """What a task that is submitted takes itself when it begins, and what the runtime calls it."""
        if not task.constraints.required_resources:
            return {}
        with self._lock:
            return {
                name: self.native(name)
                for name in sorted(task.constraints.required_resources - self.held(task))
            }

    # --------------------------------------------------------------------------------- from other threads

    def acquire(self, task: Task, names: set[str], timeout: float | None) -> bool:
        """Block until a task holds all of these, or it is not worth waiting any longer.

        Raises:
            ResourceDeadlockError: It would never have ended.
        """
        with self._lock:
            missing = sorted(names - self.held(task) - task.takes_itself)
            if task.job.outcome is not None:
                return False
            if not missing:
                return True
            order = Order(missing)
            holder = self._holders.get(task)
            if holder is None or not holder.take(order):
                holder = Holder(self, task, order)
                SHARED.call(holder.begin)
                self._holders[task] = holder
                self.used = True
            else:
                holder.nudge()
        task.job.add_done_callback(holder.task_over)
        try:
            if not order.over.wait(timeout):
                self._withdraw(holder, order)
        except BaseException:  # Ctrl-C
            order.withdrawn = True
            holder.nudge()
            raise
        if order.error is not None:
            circle = getattr(order.error, "circle", ())
            raise ResourceDeadlockError(
                f"task {task.name!r} could not acquire {', '.join(missing)}: {order.error}", circle=circle
            ) from order.error
        return order.granted

    def _withdraw(self, holder: Holder, order: Order) -> None:
        """Nobody waits any longer; but it may be granted by now."""
        order.withdrawn = True
        holder.nudge()
        order.over.wait(_PATIENCE)

    def release(self, task: Task, names: set[str] | None) -> bool:
        """Let go of these, or of all, that are held by calls. False when there are none. At once."""
        with self._lock:
            holder = self._holders.get(task)
            if holder is None:
                return False
            gone = set(holder.held) if names is None else names & set(holder.held)
            holder.held -= gone
            holder.unwanted |= gone
        if gone:
            holder.nudge()
        return bool(gone)

    def leave(self, task: Task) -> threading.Event | None:
        """The function of a task is over: let go of all that was acquired for it.

        Answers with what is set when that has happened; None if there is nothing. Whoever waits for it then
        frees a worker, and the runtime chooses knowing who can go on.
        """
        holder = self._holders.get(task) if self.used else None
        if holder is None or not holder.held:
            return None
        holder.close()
        return holder.left

    def release_idle(self, *, all_of_them: bool = False) -> None:
        """Let go of what is held for tasks that were never submitted: nobody would."""
        with self._lock:
            holders = list(self._holders.items())
        for task, holder in holders:
            if all_of_them or not task.job.entered:
                self.release(task, None)
                holder.close()


class Holder:
    """Holds what was acquired for one task.

    Its methods run in the runtime's thread, but for those that say so.

    Attributes:
        held: What the task holds by it. Changed under the lock of the desk.
        unwanted: What it holds and is to let go of.
    """

    def __init__(self, desk: Resources, task: Task, order: Order) -> None:
        self.held: set[str] = set()
        self.unwanted: set[str] = set()
        self._desk = desk
        self._task = task
        self._orders: deque[Order] = deque([order])
        self._taken: dict[str, AsyncContextManager[None]] = {}
        self._scope: anyio.CancelScope | None = None
        self._met: anyio.Event | None = None
        self.left = threading.Event()
        """Set when it holds nothing any more, and never will."""
        self._open = True
        self._ended = False

    def __repr__(self) -> str:
        return f"<holder of {sorted(self.held)} for {self._task.name!r}>"

    # --------------------------------------------------------------------------------- from other threads

    def take(self, order: Order) -> bool:
        """Put an order into the line; False when nobody is there any more. With the desk's lock held."""
        if self._ended or not self._open:
            return False
        self._orders.append(order)
        return True

    def nudge(self) -> None:
        """Have it look at what has changed. In any thread."""
        SHARED.call_if_there(self._look_up)

    def close(self) -> None:
        """Let go of everything. In any thread."""
        self._open = False
        self.nudge()

    def task_over(self, job: Job) -> None:
        """The task has settled. In any thread."""
        self.close()

    # ------------------------------------------------------------------------------ in the runtime's thread

    def begin(self, runtime: Runtime) -> None:
        """Become a task of the runtime."""
        name, priority = self._task.name, int(self._task.priority)
        try:
            ref = runtime.submit_nowait(Prepared(name, self._hold, priority=priority))
        except ActorschedError as error:  # it closes
            self._end(error)
            return
        ref.add_done_callback(self._over)

    def meet(self) -> Callable[[], Awaitable[object]]:
        """The task is there. Answers with what waits until this one awaits it, or has ended."""
        import anyio

        self._met = anyio.Event()
        self.nudge()
        if self._ended:
            self._met.set()
        return self._met.wait

    def _look_up(self, runtime: Runtime) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _over(self, ref: TaskRef[Any]) -> None:
        error = ref.exception()
        self._end(error if error is not None else RuntimeClosed("the shared runtime was stopped"))

    def _end(self, error: BaseException) -> None:
        self.left.set()
        with self._desk._lock:
            self._ended = True
            self.held.clear()
            if self._met is not None:
                self._met.set()
            orders = list(self._orders)
        for order in orders:
            order.answer(False, None if order.withdrawn else error)

    async def _hold(self) -> None:
        try:
            while True:
                await self._let_go()
                order = self._next()
                if order is not None:
                    await self._carry_out(order)
                elif self._taken and self._open:
                    await self._wait()
                elif self._is_over():
                    return
        finally:
            for name in list(self._taken):
                await self._leave(name)
            self.left.set()

    def _next(self) -> Order | None:
        """The next order that somebody waits for."""
        while self._orders:
            order = self._orders[0]
            if self._open and not order.withdrawn:
                return order
            self._orders.popleft().answer(False)
        return None

    def _is_over(self) -> bool:
        """Whether there is nothing to do; then it takes no more orders."""
        with self._desk._lock:
            self._ended = not self._orders
            return self._ended

    async def _carry_out(self, order: Order) -> None:
        """Acquire, one after the other, what is missing; together they come or not at all."""
        import anyio

        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                await self._acquire(order)
            except DeadlockError as error:
                await self._drop(order)
                self._orders.remove(order)
                order.answer(False, error)
            finally:
                self._scope = None
        if scope.cancelled_caught and (order.withdrawn or not self._open):
            await self._drop(order)  # else it is tried again: it was only interrupted

    async def _acquire(self, order: Order) -> None:
        runtime = current().runtime
        self._desk.declare(runtime, order.names)
        for name in order.names:
            if name not in self._taken:
                taken = current().acquire(self._desk.native(name))
                await taken.__aenter__()
                self._taken[name] = taken
        with self._desk._lock:
            self.held |= set(order.names) - self._task.takes_itself
            self.unwanted |= set(order.names) & self._task.takes_itself
            self._orders.remove(order)
        order.answer(True)

    async def _drop(self, order: Order) -> None:
        for name in order.names:
            if name in self._taken and name not in self.held:
                await self._leave(name)

    async def _let_go(self) -> None:
        with self._desk._lock:
            unwanted, self.unwanted = self.unwanted, set()
        for name in unwanted:
            if name in self._taken:
                await self._leave(name)

    async def _leave(self, name: str) -> None:
        """Give one back: the runtime does that without waiting for anything."""
        await self._taken.pop(name).__aexit__(None, None, None)

    async def _wait(self) -> None:
        """Wait until there is something to do; with the task itself, once it is there: it inherits then."""
        import anyio

        ref = self._task.job.ref
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                if ref is not None and not ref.done():
                    if self._met is not None:
                        self._met.set()  # whoever waits for that goes on after this has begun to await
                    await ref.outcome()
                else:
                    await anyio.sleep_forever()
            finally:
                self._scope = None
        if ref is not None and ref.done():
            self._open = False


def _let_go_of_idle(interrupted: bool) -> None:
    """The runtime ends: what was not submitted by now will not be there."""
    for desk in list(_desks):
        desk.release_idle(all_of_them=interrupted)


SHARED.enders.append(_let_go_of_idle)
SHARED.stoppers.append(partial(_let_go_of_idle, False))

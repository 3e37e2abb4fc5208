"""Visits: attempts of a task whose function runs elsewhere, in the loop of whoever has executed it.

The law of this module: the runtime's side of an attempt always ends, whatever becomes of the other side: with
its answer, with its own cancellation, or with the end of the loop there. What comes later is dropped, and
the log names it.

How it works: the task in the shared runtime is `Visitor.run`. It starts the function in the other loop and
waits for its answer, so that limits, priorities, retries, timeouts and cancellation are those of any task. A
function that waits for another task says so here, and its own task lends its slot meanwhile.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

import anyio

from actorsched.context import current
from actorsched.exceptions import RuntimeClosed
from actorsched.frontends._shared import SHARED
from actorsched.frontends._vocabulary import TaskExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from actorsched.frontends._jobs import Job
    from actorsched.frontends.manager.places import Function, Place
    from actorsched.runtime import Runtime

VISIT: ContextVar[Visit | None] = ContextVar("actorsched_manager_visit", default=None)
"""The visit whose function runs here."""

_LOOK = 0.5
"""How often somebody looks whether a loop was closed, in seconds: nothing else would tell."""
_open: set[Visit] = set()
"""In the runtime's thread: those that have no answer yet."""
_lost: list[str] = []

_log = logging.getLogger("actorsched.task")


class Visitor:
    """Brings the function of one task to where it is to run.

    Args:
        job: The task.
        call: What is called there, with the arguments of the task; what it returns is awaited if it can be.
        place: Where; None for a thread and a loop of its own.
        alone: Whether that thread runs one such function at a time.
    """

    def __init__(self, job: Job, call: Callable[..., Any], place: Place | None, *, alone: bool) -> None:
        self.job = job
        self.call = call
        self.place = place
        self.alone = alone
        self.context: Context = copy_context()
        self.visit: Visit | None = None
        """The present attempt."""

    async def run(self, *args: Any, **kwargs: Any) -> Any:
        """The task: one attempt. In the runtime."""
        visit = self.visit = Visit(self, current().runtime, partial(self.call, *args, **kwargs))
        try:
            return await visit.answer()
        finally:
            self.visit = None


class Visit:
    """One attempt."""

    def __init__(self, visitor: Visitor, runtime: Runtime, work: Callable[[], Any]) -> None:
        self.job = visitor.job
        self.place = visitor.place
        self.alone = visitor.alone
        self.over: bool = False
        """Whether the other side has ended."""
        self._context = visitor.context.copy()
        self._runtime = runtime
        self._work: Callable[[], Any] | None = work
        self._woken = anyio.Event()
        self._stopped = False
        self._cancel: Function | None = None
        self._value: Any = None
        self._error: Exception | None = None
        self._wanted: list[tuple[Job, Callable[[Exception | None], object]]] = []
        self._lock = threading.Lock()
        self._told: list[Function] = []

    # ---------------------------------------------------------------------------------- in the runtime

    async def answer(self) -> Any:
        """Start the other side, and wait for what it says."""
        _open.add(self)
        try:
            if self.place is None:
                self._start_thread()
            elif (SHARED.ending and self.place.idle) or not self.place.call(self._begin):
                self._give_up()
            await self._heard()
            if self.job.outcome is not None:  # settled by hand, which has ended the other side sooner
                await anyio.sleep_forever()  # until this task is told
        finally:
            _open.discard(self)
            self.stop()
        try:
            if self._error is not None:
                raise self._error
            return self._value
        finally:
            self._error = self._value = None

    async def _heard(self) -> None:
        while not self.over:
            if self._wanted:
                await self._lending()
                continue
            with anyio.move_on_after(_LOOK):
                await self._woken.wait()
            if not self.over and self.place is not None and self.place.ended:
                self._give_up()
                await anyio.sleep_forever()  # until this task is told

    async def _lending(self) -> None:
        """While the function waits for other tasks, this one does: natively."""
        async with anyio.create_task_group() as waits:
            while not self.over:
                self._woken = anyio.Event()
                while self._wanted:
                    waits.start_soon(self._lend, *self._wanted.pop(0))
                if self.over:
                    break
                await self._woken.wait()
            waits.cancel_scope.cancel()

    async def _lend(self, job: Job, done: Callable[[Exception | None], object]) -> None:
        error: Exception | None = None
        try:
            await job.settled()
        except Exception as raised:  # a deadlock: who waits there is to hear of it
            error = raised
        done(error)

    def _give_up(self) -> None:
        """The loop has ended: the task fails, and is not tried again there."""
        if not self.over:
            if SHARED.ending:
                _lost.append(f"{self.job.name!r} ({self.job.id}): its event loop has ended")
            self.job.fail(
                TaskExecutionError(
                    f"task {self.job.name!r} ({self.job.id}) did not finish: the event loop in which it was "
                    "executed has ended; let that loop run until its tasks are done: wait=True",
                    task_id=self.job.id,
                )
            )

    # -------------------------------------------------------------------------------------- from any thread

    def stop(self) -> None:
        """Nobody waits for the answer any more: cancel what runs there."""
        with self._lock:
            if self._stopped or self.over:
                return
            self._stopped = True
            cancel = self._cancel
        if cancel is not None and self.place is not None:
            self.place.call(cancel)
        elif cancel is not None:
            cancel()

    def add_end_callback(self, function: Function) -> None:
        """Have a function called when the other side has ended, in its thread; at once if it has."""
        with self._lock:
            if not self.over:
                self._told.append(function)
                return
        function()

    def want(self, job: Job, done: Callable[[Exception | None], object]) -> bool:
        """The function is going to wait for another task. False when this attempt is over."""
        if self.over or self._stopped:
            return False
        try:
            self._runtime.call_threadsafe(self._want, job, done)
        except RuntimeClosed:
            return False
        return True

    def _want(self, job: Job, done: Callable[[Exception | None], object]) -> None:
        self._wanted.append((job, done))
        self._woken.set()

    # ------------------------------------------------------------------------------------ on the other side

    def _begin(self) -> None:
        with self._lock:
            if self._stopped:
                self.over = True
                return
            assert self.place is not None
            cancel = self.place.start(self._perform, self._context)
            self._cancel = cancel

    def _start_thread(self) -> None:
        name = f"actorsched task {self.job.name}"
        threading.Thread(target=self._in_thread, name=name, daemon=True).start()

    def _in_thread(self) -> None:
        import asyncio

        async def main() -> None:
            task = cast("asyncio.Task[None]", asyncio.current_task())
            loop = asyncio.get_running_loop()

            def cancel() -> None:
                with suppress(RuntimeError):  # it has ended
                    loop.call_soon_threadsafe(task.cancel)

            with self._lock:
                self._cancel = cancel
                stopped = self._stopped
            if not stopped:
                await self._perform()

        with suppress(asyncio.CancelledError):
            self._context.run(asyncio.run, main())

    async def _perform(self) -> None:
        VISIT.set(self)
        work, self._work = self._work, None
        assert work is not None
        try:
            value = work()
            if isawaitable(value):
                value = await value
        except Exception as error:
            self._end(None, error)
        except BaseException as error:  # cancelled, dropped with its loop, Ctrl-C
            self._broken_off(error)
            raise
        else:
            self._end(value, None)

    def _broken_off(self, error: BaseException) -> None:
        if not self._stopped:
            what = f"task {self.job.name!r} ({self.job.id}) did not finish"
            failure = TaskExecutionError(
                f"{what}: {type(error).__name__} has broken it off; the event loop in which it was executed "
                "has ended, or other code there has cancelled it; let that loop run until its tasks are done "
                "(wait=True), and cancel them with cancel_task",
                task_id=self.job.id,
            )
            failure.__cause__ = error
            self.job.fail(failure)
        self._end(None, None)

    def _end(self, value: Any, error: Exception | None) -> None:
        with self._lock:
            late = self._stopped
            if not late:
                self._value, self._error = value, error
            self.over = True
            told, self._told = self._told, []
        if late and (value is not None or error is not None):
            _log.warning(
                "task %r (%s) went on after it had been stopped; what came of it is dropped: %s",
                self.job.name,
                self.job.id,
                f"{type(error).__name__}: {error}" if error is not None else type(value).__name__,
                extra={"task_id": self.job.id, "task": self.job.name},
            )
        for function in told:
            function()
        with suppress(RuntimeClosed):  # which has cancelled the task
            self._runtime.call_threadsafe(self._wake)

    def _wake(self) -> None:
        self._woken.set()


# --------------------------------------------------------------------------------- the end of the interpreter


def _give_up_idle(interrupted: bool) -> None:
    """The interpreter ends: loops that do not run will not do so again."""
    SHARED.call_if_there(_give_up_those)


def _give_up_those(runtime: Runtime) -> None:
    for visit in list(_open):
        if visit.place is not None and visit.place.idle and not visit.over:
            visit._give_up()


def _those_lost() -> list[str]:
    return _lost


SHARED.enders.append(_give_up_idle)
SHARED.reporters.append(_those_lost)

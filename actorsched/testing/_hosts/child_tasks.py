"""A task host, simulated: one function at a time, by the rules of `_hosting.child_tasks`.

The law of this module: what it says, and when it may, is what a process would say. It has neither sockets nor
a thread that watches over another: frames are taken while a function runs, because that is a task of the
simulated loop, or a thread in step with it.
"""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from actorsched._hosting.failures import pack_error
from actorsched._hosting.transfer import dumps, load_call, loads
from actorsched._hosting.variables import contextvars_in
from actorsched._hosting.wire import (
    Answer,
    Bye,
    Cancel,
    Define,
    Done,
    Failed,
    Hello,
    Measured,
    Revoke,
    Revoked,
    Run,
    RunMeasured,
    Started,
    Stop,
)
from actorsched._kernel.current import CURRENT
from actorsched.exceptions import Interrupted
from actorsched.testing._hosts.port import SimulatedTaskContext

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorsched._hosting.wire import Payload, ToHost
    from actorsched.testing._hosts.host import SimulatedHost

_LONG = 0.002
"""After so many seconds a task that is not over is said to have started."""
_NEVER_ZERO = 1e-9
"""The beginning of virtual time, in a place where 0 means: not at all."""


class SimulatedTaskHost:
    """The child's end of a simulated task host.

    Attributes:
        last_started: The number of the task that began last.
    """

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host
        self._functions: dict[int, _Function] = {}
        self._queue: deque[tuple[Run, _Function]] = deque()
        self._running: SimulatedTaskContext | None = None
        self._revoked: set[int] = set()
        self._stopping = False
        self.last_started: int = 0
        self._table: dict[type, Callable[[Any], object]] = {
            Define: self._define,
            Run: self._run,
            RunMeasured: self._run,
            Cancel: self._cancel,
            Revoke: self._revoke,
            Answer: host.doorway.answered,
            Stop: self._stop,
        }

    def __repr__(self) -> str:
        return f"<simulated task host: {self._running!r}, {len(self._queue)} waiting>"

    def begin(self) -> None:
        """The host has started."""
        self._host.say(Hello(self._host.pid))

    def take(self, frame: ToHost) -> None:
        """The parent has said something."""
        self._table[type(frame)](frame)

    # ---------------------------------------------------------------------------------------- from the parent

    def _define(self, define: Define) -> None:
        self._functions[define.fn_id] = _Function(define.body)

    def _run(self, run: Run) -> None:
        self._queue.append((run, self._functions[run.fn_id]))
        self.look()

    def _cancel(self, cancel: Cancel) -> None:
        number = cancel.task_id
        if number <= self.last_started:
            if self._running is not None and self._running.origin == number:
                self._running.cancel(cancel.reason)
            return
        if number in self._revoked:
            return
        self._revoked.add(number)
        reason = f": {cancel.reason}" if cancel.reason else ""
        error = Interrupted(f"the task was told to stop before it began{reason}", reason=cancel.reason)
        self._host.say(Failed(number, pack_error(error), interrupted=True))

    def _revoke(self, revoke: Revoke) -> None:
        numbers = [n for n in revoke.task_ids if n > self.last_started and n not in self._revoked]
        self._revoked.update(numbers)
        self._host.say(Revoked(numbers))

    def _stop(self, stop: Stop) -> None:
        self._stopping = True
        self.look()

    # ------------------------------------------------------------------------------------------------ running

    def look(self) -> None:
        """Begin the next task, if there is one and it may begin; or end, if all is done."""
        host = self._host
        while self._running is None and self._queue and not (host.held or host.frozen):
            run, function = self._queue.popleft()
            if run.task_id in self._revoked:
                self._revoked.discard(run.task_id)
                continue
            self.last_started = run.task_id
            self._running = SimulatedTaskContext(host, run)
            host.own_backend.start_task(self._turn, run, function, self._running, name=run.name)
        if self._stopping and self._running is None and not self._queue:
            self._stopping = False
            host.say(Bye())
            host.exit()

    async def _turn(self, run: Run, function: _Function, context: SimulatedTaskContext) -> None:
        host = self._host
        began = max(host.now, _NEVER_ZERO)
        alarm = host.own_backend.call_at(host.now + _LONG, self._say_started, run.task_id)
        try:
            value = await self._call(run, function, context)
            payload = b"" if value is None else dumps(value, f"the result of task {run.name!r}", "result")
        except BaseException as error:
            if host.over:
                raise
            packed = pack_error(error, f"the exception of task {run.name!r}")
            interrupted = context.cancel_requested and isinstance(error, Interrupted)
            end: Done | Failed = Failed(run.task_id, packed, began, max(0.0, host.now - began), interrupted)
        else:
            end = Done(run.task_id, payload, began, max(0.0, host.now - began))
        alarm.cancel()
        self._running = None
        if type(run) is RunMeasured:
            host.say(Measured(run.task_id, end.took, end.took, 0.0))
        host.say(end)
        self.look()

    def _say_started(self, number: int) -> None:
        if self._running is not None and self._running.origin == number:
            self._host.say(Started(number))

    async def _call(self, run: Run, body: _Function, context: SimulatedTaskContext) -> Any:
        CURRENT.set(context)
        if run.context:
            contextvars_in(run.context)
        try:
            args, kwargs = load_call(run.args) if run.args else ((), {})
            function = body.get()
            if iscoroutinefunction(function):
                value = function(*args, **kwargs)
            else:
                value = await self._in_thread(function, args, kwargs, context)
            code: Any = value
            return await self._await(code, context) if type(value) is CoroutineType else value
        finally:
            if context.has_deferred and not self._host.over:
                context.undo_deferred()

    async def _in_thread(self, function: Any, args: Any, kwargs: Any, context: SimulatedTaskContext) -> Any:
        """Call a plain function in a thread in step with the loop, with what it deferred."""

        def call() -> tuple[Any, BaseException | None]:
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = function(*args, **kwargs), None
            except BaseException as error:
                outcome = None, error
            if context.has_deferred and type(outcome[0]) is not CoroutineType:
                context.undo_deferred()
            return outcome

        host = self._host
        future = host.own_backend.create_future()
        here = copy_context()

        def over(result: tuple[Any, BaseException | None]) -> None:
            if not future.done():
                future.set_result(result)

        host.lockstep.run(host.own_backend, host.frost, lambda: here.run(call), over)
        value, error = await future
        if error is not None:
            raise error
        return value

    async def _await(self, code: Coroutine[Any, Any, Any], context: SimulatedTaskContext) -> Any:
        if self._host.backend.name == "trio":
            return await self._await_in_scope(code, context)
        return await self._await_in_task(code, context)

    async def _await_in_scope(self, code: Coroutine[Any, Any, Any], context: SimulatedTaskContext) -> Any:
        with CancelScope() as scope:
            context.stop = scope.cancel
            if context.cancel_requested:
                scope.cancel()
            try:
                return await code
            finally:
                context.stop = _over
                with CancelScope(shield=True):
                    await context.undo_deferred_async()
        raise context.interruption()

    async def _await_in_task(self, code: Coroutine[Any, Any, Any], context: SimulatedTaskContext) -> Any:
        import asyncio

        task = asyncio.current_task()
        assert task is not None
        context.stop = task.cancel
        if context.cancel_requested:
            task.cancel()
        try:
            return await code
        except asyncio.CancelledError:
            if context.cancel_requested:
                raise context.interruption() from None
            raise
        finally:
            context.stop = _over
            while task.cancelling():
                task.uncancel()
            await context.undo_deferred_async()
            await self._host.frost.end_adopted()


class _Function:
    """A function that was defined; loaded when it is needed, so that a failure is that of the task."""

    __slots__ = ("_body", "_function")

    def __init__(self, body: Payload) -> None:
        self._body: Payload | None = body
        self._function: Any = None

    def get(self) -> Any:
        if self._body is not None:
            self._function = loads(self._body, "the function of the task")
            self._body = None
        return self._function


def _over() -> None:
    """The task is ending by itself."""

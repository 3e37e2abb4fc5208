"""A task host: one function at a time, in the main thread.

The law of this module: it runs what it is told in the order in which it was told, and always says what
became of it. Whether a task should run, run again or be stopped by force is decided by the parent.

How it works: the main thread reads the socket when it has nothing to run, so that a single task costs no
change of threads. What must get through while a function runs comes over a second socket to the *watchman*,
a thread that takes cancellations, revocations and answers. The two cannot be confused about which tasks have
begun, because the numbers of tasks grow: what is above the current number has not.

Ends are gathered while more tasks are waiting here, and go out together: after 64, after a millisecond, or
when nothing waits any more. The watchman, who looks up every two milliseconds while there is something to
do, sends what a task that takes longer keeps the main thread from sending, and says that this task has
started. So many small tasks cost one packet, a single one is never delayed, and none is hidden behind a long
one.

The number of the task whose function began last, and the ends that are not written yet, stand in the journal
at the beginning of this host's memory file, where the parent reads them when the host has died: even
`kill -9` leaves no doubt about what had begun, and takes no result along that was there.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock, start_new_thread
from collections import deque
from contextvars import copy_context
from operator import sub
from time import monotonic, sleep, thread_time
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from actorsched._hosting import inside
from actorsched._hosting.child_context import TaskContext
from actorsched._hosting.failures import pack_error
from actorsched._hosting.handover import take_path
from actorsched._hosting.logs import take_levels
from actorsched._hosting.packets import Splitter
from actorsched._hosting.port import dying_of_bugs
from actorsched._hosting.transfer import dumps, load_call, loads
from actorsched._hosting.wire import (
    Answer,
    Bye,
    Cancel,
    Define,
    Done,
    Failed,
    Hello,
    Levels,
    Measured,
    Path,
    Release,
    Revoke,
    Revoked,
    Run,
    RunMeasured,
    Started,
    Stop,
    ToHost,
    Undefine,
)
from actorsched._kernel.current import CURRENT
from actorsched._kernel.queue_time import queue_time
from actorsched.exceptions import Interrupted

if TYPE_CHECKING:
    from actorsched._hosting.port import Port
    from actorsched._hosting.wire import Limits, Payload

_GATHER = 64
_GATHER_SECONDS = 0.001
_HELD_SECONDS = 0.0005
"""How often to look whether the parent lets tasks begin again; it rarely keeps them from it."""
_LOOK_MS = 2
_LOOKS_IN_VAIN = 25
"""After so many looks at which nothing had happened the watchman goes to sleep."""


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


class _MeasuredFunction(_Function):
    """A function that is run once, and tells what that used. Nobody else pays for it."""

    __slots__ = ("_inner", "_number", "_port")

    def __init__(self, inner: _Function, number: int, port: Port) -> None:
        self._inner = inner
        self._number = number
        self._port = port

    def get(self) -> Any:
        self._inner.get()
        return self._run

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        before = _clocks()
        over = True
        try:
            value = self._inner.get()(*args, **kwargs)
            if type(value) is CoroutineType:
                over = False
                return self._await(value, before)
        finally:
            if over:
                self._tell(before)
        return value

    async def _await(self, code: Any, before: tuple[float, ...]) -> Any:
        try:
            return await code
        finally:
            self._tell(before)

    def _tell(self, before: tuple[float, ...]) -> None:
        cpu, wall, queued = map(sub, _clocks(), before)
        self._port.say(Measured(self._number, cpu, wall, queued))


def _clocks() -> tuple[float, ...]:
    return thread_time(), monotonic(), queue_time()


class TaskHost:
    """The child's end of a task host.

    Args:
        port: Where to say what.
        control: The descriptor of the second socket.
        backend: "asyncio", "uvloop" or "trio": what runs async functions.
    """

    def __init__(self, port: Port, control: int, backend: str) -> None:
        self._port = port
        self._backend = backend
        self._doorway = inside.open_doorway(port)
        self._functions: dict[int, _Function] = {}
        self._queue: deque[tuple[Run, _Function | None]] = deque()
        self._lock = allocate_lock()
        self._current = 0
        self._told = 0
        self._revoked: set[int] = set()
        self._running: TaskContext | None = None
        self._stopping = False
        self._flushed_at = 0.0
        self._run_async: Any = None
        self._feed = Splitter(ToHost, port.borrower.resolve).feed
        self._watchman = _Watchman(self, port, control)
        port.nudge = self._watchman.wake

    def run(self) -> None:
        """Serve until `Stop`."""
        self._port.say(Hello(os.getpid()))
        self._port.flush()
        queue, port = self._queue, self._port
        while True:
            if queue:
                self._take_turn()
                if queue and port.pending < _GATHER and monotonic() - self._flushed_at < _GATHER_SECONDS:
                    continue
                port.flush()
                self._flushed_at = monotonic()
            elif self._stopping:
                break
            else:
                port.flush_if_needed()
                self._receive(port.read())
        if self._run_async is not None:
            self._run_async.close()
        port.say(Bye())
        port.flush()

    # ---------------------------------------------------------------------------------------- from the parent

    def _receive(self, data: memoryview) -> None:
        for frame in self._feed(data):
            if type(frame) is Run:
                self._queue.append((frame, self._functions.get(frame.fn_id)))
            elif type(frame) is Define:
                self._functions[frame.fn_id] = _Function(frame.body)
            elif type(frame) is RunMeasured:
                measured = _MeasuredFunction(self._functions[frame.fn_id], frame.task_id, self._port)
                self._queue.append((frame, measured))
            elif type(frame) is Undefine:
                for number in frame.fn_ids:
                    self._functions.pop(number, None)
            elif type(frame) is Release:
                self._port.take_back(frame.offsets)
            elif type(frame) is Levels:
                take_levels(frame.levels)
            elif type(frame) is Path:
                take_path(frame.entries)
            elif type(frame) is Stop:
                self._stopping = True
        self._flushed_at = monotonic()

    def cancel(self, cancel: Cancel) -> None:
        """The watchman has read a cancellation."""
        number = cancel.task_id
        with self._lock:
            if number <= self._current:
                if self._running is not None and self._running.origin == number:
                    self._running.cancel(cancel.reason)
                return
            if number in self._revoked:
                return
            self._revoked.add(number)
        reason = f": {cancel.reason}" if cancel.reason else ""
        error = Interrupted(f"the task was told to stop before it began{reason}", reason=cancel.reason)
        self._port.say(Failed(number, pack_error(error), interrupted=True))
        self._port.flush()

    def revoke(self, revoke: Revoke) -> None:
        """The watchman has read a revocation."""
        with self._lock:
            numbers = [n for n in revoke.task_ids if n > self._current and n not in self._revoked]
            self._revoked.update(numbers)
        self._port.say(Revoked(numbers))
        self._port.flush()

    def say_started(self) -> None:
        """The watchman has seen the same task for a while."""
        with self._lock:
            if self._running is not None and self._running.origin != self._told:
                self._told = self._running.origin
                self._port.say(Started(self._told))

    @property
    def current(self) -> int:
        """The number of the task that began last."""
        return self._current

    def answer(self, answer: Answer) -> None:
        """The watchman has read an answer."""
        self._doorway.answered(answer)

    # ------------------------------------------------------------------------------------------------ running

    def _take_turn(self) -> None:
        """Run the next task, unless it was revoked."""
        run, function = self._queue.popleft()
        if not self._port.journal.has_room:
            self._port.flush()
        context = TaskContext(self._port, run)
        journal = self._port.journal
        journal.begin(run.task_id)
        self._lock.acquire()  # which also keeps the processor from looking before the note is seen
        while journal.held:
            self._lock.release()
            self._port.flush_if_needed()
            sleep(_HELD_SECONDS)
            self._lock.acquire()
        revoked = run.task_id in self._revoked
        if revoked:
            self._revoked.discard(run.task_id)
        else:
            self._current = run.task_id
            self._running = context
        self._lock.release()
        if not revoked:
            self._watchman.wake()
            self._run(run, function, context)

    def _run(self, run: Run, function: _Function | None, context: TaskContext) -> None:
        began = monotonic()
        try:
            value = copy_context().run(self._call, run, function, context)
            payload = b"" if value is None else dumps(value, f"the result of task {run.name!r}", "result")
        except BaseException as error:
            took = monotonic() - began
            if run.limits is not None:
                self._end_if_exhausted(run, error)
            packed = pack_error(error, f"the exception of task {run.name!r}")
            interrupted = context.cancel_requested and isinstance(error, Interrupted)
            self._end(Failed(run.task_id, packed, began, took, interrupted))
        else:
            self._end(Done(run.task_id, payload, began, monotonic() - began))

    def _end(self, frame: Done | Failed) -> None:
        with self._lock:  # so that the watchman cannot say afterwards that it has started
            self._running = None
        self._port.settle(frame)

    def _call(self, run: Run, function: _Function | None, context: TaskContext) -> Any:
        CURRENT.set(context)
        if run.context:
            from actorsched._hosting.variables import contextvars_in

            contextvars_in(run.context)
        assert function is not None, "the function was never defined here"
        args, kwargs = load_call(run.args) if run.args else ((), {})
        try:
            if run.limits is not None:
                return self._call_within(run.limits, function.get(), args, kwargs, context)
            value = function.get()(*args, **kwargs)
            return self._await(value, context) if type(value) is CoroutineType else value
        finally:
            if context.has_deferred:
                context.undo_deferred()

    def _call_within(
        self, limits: Limits, function: Any, args: Any, kwargs: dict[str, Any], context: TaskContext
    ) -> Any:
        from actorsched._hosting.limits import within

        with within(limits, self._port.journal):
            value = function(*args, **kwargs)
            return self._await(value, context) if type(value) is CoroutineType else value

    def _end_if_exhausted(self, run: Run, error: BaseException) -> None:
        from actorsched._hosting.limits import end_if_exhausted

        end_if_exhausted(self._port, run, error)

    def _await(self, coroutine: Any, context: TaskContext) -> Any:
        if self._run_async is None:
            from actorsched._hosting.child_loop import make_runner

            self._run_async = make_runner(self._backend)
        return self._run_async.run(coroutine, context)


class _Watchman:
    """The thread that reads the second socket, and looks after a busy main thread."""

    def __init__(self, host: TaskHost, port: Port, control: int) -> None:
        self._host = host
        self._port = port
        self._control = control
        self._feed = Splitter(ToHost, port.borrower.resolve).feed
        self._awake = False
        self._alarm, self._bell = os.pipe()
        start_new_thread(self._watch_or_die, ())

    def wake(self) -> None:
        """A task begins."""
        if not self._awake:
            self._awake = True
            os.write(self._bell, b".")

    def _watch_or_die(self) -> None:
        with dying_of_bugs():
            try:
                self._watch()
            except OSError:  # user code has closed our descriptors; the parent sees it, and ends this host
                return

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._alarm, select.POLLIN)
        vain = seen = 0
        while True:
            ready = poll.poll(_LOOK_MS if self._awake else None)
            for descriptor, _ in ready:
                if descriptor == self._alarm:
                    os.read(self._alarm, 64)
                else:
                    self._receive()
            if ready:
                continue
            current = self._host.current
            if current == seen:
                self._host.say_started()
            vain = vain + 1 if current == seen and not self._port.pending else 0
            seen = current
            self._port.flush_if_needed()
            if vain > _LOOKS_IN_VAIN:
                self._sleep(seen)
                vain = 0

    def _sleep(self, seen: int) -> None:
        self._awake = False
        if self._host.current != seen:
            self._awake = True  # a task began after the last look, and took this thread to be awake

    def _receive(self) -> None:
        data = os.read(self._control, 65536)
        if not data:
            os._exit(0)
        host = self._host
        for frame in self._feed(data):
            if type(frame) is Cancel:
                host.cancel(frame)
            elif type(frame) is Revoke:
                host.revoke(frame)
            elif type(frame) is Answer:
                host.answer(frame)

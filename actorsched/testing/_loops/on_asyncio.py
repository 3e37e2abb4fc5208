"""A loop for asyncio without any selector: nothing comes from outside, and its time is the world's.

The law of this module: it is an event loop and nothing else. It has no network, no signals and no
subprocesses: those would make a run depend on the machine, and asking for them is an error. Functions in
threads are allowed; while one is at work virtual time stands still, and the loop waits for it.

How it works: what is ready is either the step of a task or plumbing, such as the callback of a future. In
each turn the plumbing runs in its order, all that was there at the beginning of the turn; then one task takes
its step, chosen by the world. Tasks are known by the order in which they were made. Those that become ready
in one turn stand in that order, because who wakes several at once often goes through a set of them.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events, events
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heapify, heappop
from math import inf
from threading import Event
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import anyio.to_thread

from actorsched._kernel.on_asyncio import AsyncioBackend, _begun
from actorsched.testing._loops.port import GivenUp, Next, close

if TYPE_CHECKING:
    from contextvars import Context

    from actorsched._core.timers import TimerEntry
    from actorsched.testing._loops.port import Main, Steered

_LOOK: Final = 0.05
"""Seconds between two looks at what threads have done that are none of ours."""
_FEW: Final = 100
"""So many cancelled timers are not worth the work of letting them go."""


class SimulatedTask(asyncio.Task[Any]):
    """A task that has a number, and a hash that is the same in every run.

    It has the number from its birth: asyncio puts it into a set of all tasks at once.
    """

    def __init__(self, number: int, code: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number: int = number
        super().__init__(code, **options)

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(base_events.BaseEventLoop):
    """An event loop in a simulated world."""

    _ready: deque[Any]
    _scheduled: list[Any]
    _stopping: bool
    _timer_cancelled_count: int

    def __init__(self, world: Steered) -> None:
        super().__init__()
        self._world = self.world = world
        self._steps: list[Any] = []
        self._numbers: list[int] = []
        self._made = 0
        self._rung = Event()
        self._foreign: set[Any] = set()
        self._limiter: Any = None
        self.main: SimulatedTask | None = None
        self.adopt: Callable[[Any, Context | None], Any] | None = None
        """Answers with what a new task is to run in the place of its code; set as soon as there are hosts."""
        self.tasks: WeakSet[SimulatedTask] = WeakSet()
        self.set_exception_handler(self._unhandled)

    def __repr__(self) -> str:
        return f"<SimulatedLoop at {self.time():g}, {len(self._steps)} ready>"

    def time(self) -> float:
        """The present time of the world."""
        return self._world.now

    # ----------------------------------------------------------------------------------------- a turn

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call in the next turn."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        if self._world.given_up:
            raise GivenUp
        ready = self._ready
        steps, numbers = self._steps, self._numbers
        if not ready and not steps:
            self._be_idle()
            return
        new: list[tuple[int, Any]] | None = None
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            task = getattr(handle._callback, "__self__", None)
            if type(task) is not SimulatedTask:
                handle._run()
            elif new is None:
                new = [(task.number, handle)]
            else:
                new.append((task.number, handle))
        if new is not None:
            if len(new) > 1:
                new.sort(key=_number)
            for number, handle in new:
                numbers.append(number)
                steps.append(handle)
        if steps:
            index = 0 if len(steps) == 1 else self._world.choose(numbers)
            number, handle = numbers.pop(index), steps.pop(index)
            if not handle._cancelled:
                handle._run()
                self._world.step_taken(number)
                if self._world.logs:
                    self._world.step_of(handle._callback.__self__)
        handle = None

    def _be_idle(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heappop(scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        first = scheduled[0]._when if scheduled and scheduled[0]._when != inf else None
        next_ = self._world.idle(first, foreign=self._has_foreign())
        if next_ is Next.TIMERS:
            now = self.time()
            while scheduled and not scheduled[0]._when > now:  # as asyncio has it for what is no number
                handle = heappop(scheduled)
                handle._scheduled = False
                if handle._cancelled:
                    self._timer_cancelled_count -= 1
                else:
                    self._ready.append(handle)
        elif next_ is Next.WAIT and not self._stopping:
            self._rung.wait(_LOOK)
            self._rung.clear()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A timer stays in the heap for now; when most are cancelled, these are let go of."""
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        scheduled = self._scheduled
        self._timer_cancelled_count += 1
        if self._timer_cancelled_count * 2 > len(scheduled) + _FEW:
            for each in scheduled:
                each._scheduled = not each._cancelled
            scheduled[:] = [each for each in scheduled if each._scheduled]
            heapify(scheduled)
            self._timer_cancelled_count = 0

    # ------------------------------------------------------------------------------------------ tasks

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> SimulatedTask:
        """Make a task, which has the next number."""
        self._check_closed()  # type: ignore[attr-defined]
        options.pop("eager_start", None)  # nobody runs out of turn
        if self.adopt is not None:
            coro = self.adopt(coro, context)
        self._made += 1
        task = SimulatedTask(
            self._made, coro, loop=self, name=name or f"Task-{self._made}", context=context, **options
        )
        self.tasks.add(task)
        return task

    def set_task_factory(self, factory: object) -> None:
        """Not possible here.

        Raises:
            RuntimeError: Unless it is None.
        """
        if factory is not None:
            raise RuntimeError("a simulated loop makes its tasks itself; leave the task factory alone")

    def interrupt(self) -> None:
        """Cancel the main task; when that is over, all others."""
        main = self.main
        for task in [main] if main is not None and not main.done() else self.left():
            task.cancel("the simulated run is over")

    def forsake(self) -> None:
        """Nothing goes on here: end all code, whatever it makes of that."""
        self.main = None
        events._set_running_loop(self)
        for task in self.left():
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            _enter_task(self, task)
            close(task.get_coro())
            _leave_task(self, task)
        events._set_running_loop(None)

    def present_number(self) -> int:
        """The number of the task that runs now."""
        task = asyncio.current_task(self)
        return task.number if isinstance(task, SimulatedTask) else 0

    def others_ready(self) -> bool:
        """Whether anything but what runs now could run."""
        return bool(self._ready or self._steps)

    def left(self) -> list[SimulatedTask]:
        """The tasks that are not over, in the order in which they were made."""
        return sorted((task for task in self.tasks if not task.done() and task is not self.main), key=_made)

    def unobserved(self) -> list[SimulatedTask]:
        """The tasks that have failed, and at whose exception nobody has looked."""
        return sorted((task for task in self.tasks if getattr(task, "_log_traceback", False)), key=_made)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        error.add_note(f"asyncio says: {context['message']}")
        self._world.unhandled(error)

    # ---------------------------------------------------------------------------------------- threads

    def _write_to_self(self) -> None:
        self._rung.set()

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run a function in a thread. Virtual time stands still until it is over."""
        future = super().run_in_executor(executor, func, *args)
        self._foreign.add(future)
        future.add_done_callback(self._foreign.discard)
        return future

    def _has_foreign(self) -> bool:
        return bool(self._foreign) or (self._limiter is not None and self._limiter.borrowed_tokens > 0)

    def note_limiter(self) -> None:
        """Within a task: learn how many functions anyio runs in threads."""
        self._limiter = anyio.to_thread.current_default_thread_limiter()


_NOT_TO_BE_HAD: Final = {
    "create_connection": "a network connection",
    "create_server": "a server",
    "create_datagram_endpoint": "a datagram endpoint",
    "create_unix_connection": "a connection by a Unix socket",
    "create_unix_server": "a server with a Unix socket",
    "connect_accepted_socket": "a network connection",
    "getaddrinfo": "the address of a host",
    "subprocess_exec": "a subprocess",
    "subprocess_shell": "a subprocess",
    "connect_read_pipe": "a pipe",
    "connect_write_pipe": "a pipe",
    "sock_connect": "a socket",
    "sock_accept": "a socket",
    "sock_recv": "a socket",
    "sock_sendall": "a socket",
    "add_reader": "the readiness of a descriptor",
    "add_writer": "the readiness of a descriptor",
    "add_signal_handler": "a signal",
}


def _refusing(what: str) -> Callable[..., Any]:
    def refuse(*args: object, **kwargs: object) -> Any:
        raise RuntimeError(
            f"{what} was asked for in a simulation, which has no outside: give the code under test something "
            "that stands for it, or test it with the `runtime` fixture, in a real event loop"
        )

    return refuse


for _name, _what in _NOT_TO_BE_HAD.items():
    setattr(SimulatedLoop, _name, _refusing(_what))


def _number(pair: tuple[int, Any]) -> int:
    return pair[0]


def _made(task: SimulatedTask) -> int:
    return task.number


class SimulatedAsyncioBackend(AsyncioBackend):
    """The same; its timers are the world's."""

    def __init__(self, loop: SimulatedLoop, world: Any) -> None:
        super().__init__(loop)
        self._world = world
        self.monotonic = loop.time

    def call_at(self, when: float, function: Callable[..., object], /, *args: Any) -> TimerEntry:
        """Call at a time of the world."""
        entry: TimerEntry = self._world.call_at(when, function, *args)
        return entry

    def start_task(self, function: Callable[..., Any], /, *args: Any, name: str) -> None:
        """Start a task, which has a number as all others."""
        from contextvars import Context

        coroutine = _begun(function, args)
        coroutine.send(None)
        task = self._loop.create_task(coroutine, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=Context())


def run(world: Any, main: Main) -> None:
    """Run to its end in a loop of its own.

    Raises:
        BaseException: What it raises.
    """
    if events._get_running_loop() is not None:
        raise RuntimeError("a simulation was to be run within an event loop; call it from plain code")
    loop = SimulatedLoop(world)
    world.loop = loop

    async def root() -> None:
        loop.note_limiter()
        await main(loop)

    try:
        loop.main = loop.create_task(root(), name="main")
        try:
            loop.run_until_complete(loop.main)
        finally:
            _end(loop)
    except GivenUp:
        loop.forsake()
    finally:
        loop.close()
        world.loop = loop.main = None  # asyncio knows each task until it is gone, and compares them


def _end(loop: SimulatedLoop) -> None:
    """Nobody needs what is left: it is cancelled, and its end is waited for."""
    left = [*loop.left(), *(task for task in [loop.main] if task is not None and not task.done())]
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    executor: Any = getattr(loop, "_default_executor", None)
    if executor is not None:
        executor.shutdown()  # asyncio's own way waits for a thread, for which the loop would have to be awake

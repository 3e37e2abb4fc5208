"""A run of trio whose time is the world's.

The law of this module: trio stays trio; a clock and the order of a batch are all that is replaced. A clock
is a part of trio's interface: when nothing is ready, trio asks it how long to wait for the next deadline.
Here that is where the world goes on, and the answer is not to wait.

The order in which trio runs those that are ready is random. Where it says how Hypothesis is to have it
repeatable, it is the world's choice here, for as long as a simulation runs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Thread, get_ident
from typing import TYPE_CHECKING, Any, Final, NoReturn

import trio
import trio._core._run as trio_run

from actorsched._kernel.on_trio import TrioBackend, TrioFuture
from actorsched.testing._hosts.lockstep import call_from_step
from actorsched.testing._loops.port import GivenUp, Next, close

if TYPE_CHECKING:
    from actorsched._core.timers import TimerEntry
    from actorsched.testing._loops.port import Main

_context: Any = trio_run.GLOBAL_RUN_CONTEXT
_LOOK: Final = 0.05
"""Seconds between two looks at what threads have done that are none of ours."""


class SimulatedTrioClock(trio.abc.Clock):
    """The time of the world, which goes on when nothing is ready."""

    def __init__(self, loop: SimulatedTrio) -> None:
        self._loop = loop
        self.world: Any = loop.world

    def start_clock(self) -> None:
        """Nothing has to be started."""

    def current_time(self) -> float:
        """The present time."""
        now: float = self._loop.world.now
        return now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Nothing is ready: let the world go on."""
        return self._loop.idle(deadline)


class SimulatedTrio(trio.abc.Instrument):
    """One run of trio in a simulated world."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.main: Any = None
        self.scope = trio.CancelScope()
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._called: TrioFuture | None = None
        self._limiter: Any = None
        self._begun = False
        self._interrupted = False
        self.interruption: BaseException | None = None
        """What has ended the run in the middle of something."""

    def __repr__(self) -> str:
        return f"<SimulatedTrio at {self.world.now:g}>"

    def idle(self, deadline: float) -> float:
        """Nothing is ready. Answers for how long to wait, in real seconds."""
        if not self._begun or _runner().entry_queue.size():  # something has yet to be called, at this instant
            return 0.0
        if self.world.given_up:
            self._forsake()
        foreign = self._limiter is not None and self._limiter.borrowed_tokens > 0
        due = None if deadline == math.inf else deadline
        return _LOOK if self.world.idle(due, foreign=foreign) is Next.WAIT else 0.0

    def shuffle(self, batch: list[Any]) -> None:
        """Put those that run next in the order of the world's choice; the last one comes first."""
        if self.world.given_up:
            self._forsake()
        waiting = list(batch)
        batch.clear()
        while waiting:
            index = self.world.choose([task._counter for task in waiting]) if len(waiting) > 1 else 0
            batch.append(waiting.pop(index))
        batch.reverse()

    def random(self) -> float:
        """Trio draws no other random number here."""
        return 0.0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """An instrument: a task has taken a step. What it raises, trio only logs."""
        try:
            self.world.step_taken(task._counter)
            if self.world.logs:
                self.world.step_of(task)
        except BaseException as error:  # somebody has interrupted it
            self.interruption = error
            self.world.given_up = True

    def interrupt(self) -> None:
        """Cancel the main task; whoever ignores that is shielded from it no more."""
        self.scope.cancel()
        if self._interrupted:
            for task in _all_tasks():
                status = task._cancel_status
                while status is not None:
                    status._scope.shield = False
                    status = status._parent
        self._interrupted = True

    def _forsake(self) -> NoReturn:
        """Nothing goes on here: end all code, whatever it makes of that.

        Raises:
            GivenUp: Always.
        """
        tasks = _all_tasks()
        for task in tasks:
            for nursery in task.child_nurseries:
                nursery._children.clear()  # it need not wait for them
        for task in tasks:
            _context.task = task
            close(task.coro)
        raise GivenUp

    def present_number(self) -> int:
        """The number of the task that runs now."""
        number: int = trio.lowlevel.current_task()._counter
        return number

    def others_ready(self) -> bool:
        """Whether anything could run in trio's next batch; what is left of the present one is not known."""
        return bool(_runner().runq)

    def left(self) -> list[Any]:
        """Trio leaves no tasks behind."""
        return []

    def unobserved(self) -> list[Any]:
        """Nor failures."""
        return []

    # ------------------------------------------------------------------------------------------ calls

    def call_soon(self, function: Callable[..., object], /, *args: Any) -> None:
        """Call in one of the next turns."""
        self._calls.append((function, args))
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    async def make_calls(self) -> None:
        """Call what is to be called soon, as long as the run lasts."""
        while True:
            for _ in range(len(self._calls)):
                function, args = self._calls.popleft()
                function(*args)
                del function, args  # or the last would be kept until there is another
            if self._calls:
                await trio.lowlevel.cancel_shielded_checkpoint()
            else:
                self._called = TrioFuture()
                await self._called

    async def run(self, main: Main) -> None:
        """The main task."""
        self._limiter = trio.to_thread.current_default_thread_limiter()
        trio.lowlevel.spawn_system_task(self.make_calls, name="actorsched calls")
        self.main = trio.lowlevel.current_task()
        self._begun = True
        try:
            with self.scope:
                await main(self)
        finally:
            self.main = None


class SimulatedTrioBackend(TrioBackend):
    """The same; its timers and its calls are the world's, and need no task each."""

    def __init__(self, loop: SimulatedTrio, world: Any) -> None:
        super().__init__()
        self._world = world
        self._thread = get_ident()
        self.call_soon = loop.call_soon  # type: ignore[method-assign]

    def call_soon_threadsafe(self, function: Callable[..., object], /, *args: Any) -> None:
        """The same from any thread. Trio itself would be woken by a socket, so not at a certain moment."""
        if get_ident() == self._thread:
            self.call_soon(function, *args)
        elif not call_from_step(function, *args):
            super().call_soon_threadsafe(function, *args)

    def call_at(self, when: float, function: Callable[..., object], /, *args: Any) -> TimerEntry:  # type: ignore[override]
        """Call at a time of the world."""
        entry: TimerEntry = self._world.call_at(when, function, *args)
        return entry


def _all_tasks() -> list[Any]:
    """All tasks of this run, trio's own as well, in the order in which they were made."""
    return sorted(_runner().tasks, key=_counter)


def _counter(task: trio.lowlevel.Task) -> int:
    return task._counter


def _runner() -> Any:
    return _context.runner


@contextmanager
def _in_order_of(loop: SimulatedTrio) -> Generator[None]:
    """Who comes next is the choice of the world."""
    before = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = loop, True  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]


def run(world: Any, main: Main) -> None:
    """Run to its end in a run of trio.

    Raises:
        BaseException: What it raises.
    """
    if trio.lowlevel.in_trio_run():  # that of async fixtures: there can be one in each thread
        return _in_a_thread(run, world, main)
    loop = SimulatedTrio(world)
    world.loop = loop
    try:
        with _in_order_of(loop):
            trio.run(loop.run, main, clock=SimulatedTrioClock(loop), instruments=[loop])
    except trio.TrioInternalError as error:
        if not isinstance(error.__cause__, GivenUp):
            raise
        if loop.interruption is not None:
            raise loop.interruption from None
    finally:
        world.loop = None


def _in_a_thread(function: Callable[..., None], *args: Any) -> None:
    """Call a function in a thread of its own, and wait for it."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            function(*args)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=call, name="simulation")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]

"""Threads in step with the loop: one of the two runs at a time, so a run with threads can be repeated.

The law of this module: it gives a thread its turn and waits until the thread gives it back. What runs there,
and what follows from its end, is not its business.

How it works: the loop's thread lets a thread go on and waits, in real time, until the function there is over
or *parks*: at a checkpoint, where virtual time goes on a little, or at a `Gate`, until that is opened. What
is to be called on the loop's thread meanwhile is noted, and called when the loop goes on, in that order.

A function that runs an event loop of its own *leaves* its turn when it waits for an answer of the runtime,
and is given another with the answer.

One that does nothing of that for `PATIENCE` seconds of real time is left *at large*: the loop goes on without
it, virtual time stands still until it is back, and such a run cannot be repeated.
"""

from __future__ import annotations

from threading import Lock, Thread, local
from typing import TYPE_CHECKING, Any, Final

from actorsched.exceptions import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._kernel.backend import Backend

PATIENCE: Final = 2.0
"""Real seconds for which the loop waits for a function in a thread."""
TICK: Final = 0.001
"""Virtual seconds that a checkpoint takes at least: so a function that only looks whether it is to stop lets
the time come at which it is told to."""

_here = local()


def thread_here() -> StepThread | None:
    """The thread in which the code runs that calls; None if it is none of these."""
    thread: StepThread | None = getattr(_here, "thread", None)
    return thread


def _nothing_more(thread: StepThread) -> None:
    """It waits for an answer."""


class Always:
    """Somebody whose threads may always go on."""

    frozen: Final = False

    def when_thawed(self, action: Callable[[], object]) -> None:
        """It is never frozen."""


class Gate:
    """Where a thread waits until somebody on the loop's thread lets it on. Takes the place of an `Event`."""

    __slots__ = ("_open", "_waiting")

    def __init__(self) -> None:
        self._open = False
        self._waiting: StepThread | None = None

    def wait(self) -> None:
        """In the thread: park here."""
        thread = thread_here()
        assert thread is not None
        while not self._open:
            thread.park(self._parked)

    def _parked(self, thread: StepThread) -> None:
        if self._open:
            thread.go_on_soon()
        else:
            self._waiting = thread

    def set(self) -> None:
        """On the loop's thread: let it on."""
        self._open = True
        thread, self._waiting = self._waiting, None
        if thread is not None:
            thread.go_on_soon()


class StepThread:
    """A thread that runs one function after the other, in step with the loop.

    Args:
        number: Its number.
    """

    def __init__(self, number: int, lockstep: Lockstep) -> None:
        self._lockstep = lockstep
        self._go = Lock()
        self._back = Lock()
        self._guard = Lock()
        self._at_large = False
        self._calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._job: Callable[[], Any] | None = None
        self._over: Callable[[Any], object] | None = None
        self._result: Any = None
        self._parked: Callable[[StepThread], object] | None = None
        self._closing = False
        self._left = False
        self.asked: int = 0
        """For how many answers of the runtime its own event loop waits."""
        self.turn: int = 0
        """How often it was given a turn with an answer."""
        self.owner: Any = None
        self.backend: Backend | None = None
        self._go.acquire()
        self._back.acquire()
        self.thread = Thread(target=self._work, name=f"actorsched simulated thread {number}", daemon=True)
        self.thread.start()

    # ----------------------------------------------------------------------------------- on the loop's thread

    def begin(
        self, backend: Backend, owner: Any, job: Callable[[], Any], over: Callable[[Any], object]
    ) -> None:
        """Run a function that raises nothing until it parks, or is over; `over` is told its result then."""
        self.backend, self.owner, self._job, self._over = backend, owner, job, over
        self.step()

    def go_on_soon(self, lag: float = 0.0) -> None:
        """It may go on: when the loop comes to it."""
        assert self.backend is not None
        if lag:
            self.backend.call_at(self.backend.monotonic() + lag, self.step)
        else:
            self.backend.call_soon(self.step)

    def step(self) -> None:
        """Let it go on, and wait until it is over or parks."""
        if self._closing:
            return
        if self.owner.frozen:
            self.owner.when_thawed(self.go_on_soon)
            return
        self._go.release()
        self._await()

    def rejoin(self, answer: Callable[[], object]) -> None:
        """It is given an answer that it waits for, and a turn with that."""
        with self._guard:
            waits = self._left
            if waits:
                self._left = self._at_large = False
                self.turn += 1
        answer()
        if waits:
            self._await()

    def _await(self) -> None:
        if not self._back.acquire(timeout=PATIENCE):
            with self._guard:
                self._at_large = not self._back.acquire(blocking=False)
                if self._at_large:
                    self._lockstep.at_large += 1
                    self._make_calls()
                    return
        self._stopped()

    def _came_back(self) -> None:
        self._at_large = False
        if self._left:  # it was not waited for
            self._left = False
        else:
            self._lockstep.at_large -= 1
        self._stopped()

    def _make_calls(self) -> None:
        assert self.backend is not None
        calls, self._calls = self._calls, []
        for function, args in calls:
            self.backend.call_soon(function, *args)

    def _stopped(self) -> None:
        self._make_calls()
        parked, self._parked = self._parked, None
        if parked is not None:
            parked(self)
            return
        over, result = self._over, self._result
        self._job = self._over = self._result = None
        self._lockstep.free(self)
        assert over is not None
        assert self.backend is not None
        self.backend.call_soon(over, result)  # after all that was to be called before

    def end(self) -> None:
        """End the thread: at once if it has nothing to do, else with an `Interrupted` where it is parked."""
        self._closing = True
        if not self._at_large:
            self._go.release()

    # ------------------------------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        _here.thread = self
        while True:
            self._go.acquire()
            if self._job is None:
                return
            self._result = self._job()
            if self._closing:
                return
            self._give_back()

    def park(self, parked: Callable[[StepThread], object]) -> None:
        """Give the turn back to the loop, which calls `parked`; return when there is another turn.

        Raises:
            Interrupted: The simulation is over.
        """
        if not self._closing:
            self._parked = parked
            self._give_back()
            self._go.acquire()
        if self._closing:
            raise Interrupted("the simulation is over, and nothing of it goes on; do not catch this")

    def _give_back(self) -> None:
        with self._guard:
            if not self._at_large:
                self._back.release()
                return
        assert self.backend is not None
        try:
            self.backend.call_soon_threadsafe(self._came_back)
        except RuntimeError:  # the loop is closed: the simulation is over
            self._closing = True

    def leave(self, turn: int) -> None:
        """Give this turn back and go on, to nothing but a wait, as long as an answer is outstanding."""
        with self._guard:
            if self.asked and turn == self.turn and not (self._at_large or self._closing):
                self._at_large = self._left = True
                self._parked = _nothing_more
                self._back.release()

    def note_call(self, function: Callable[..., object], args: tuple[Any, ...]) -> bool:
        """Have the loop call something when it goes on; False if it does already."""
        with self._guard:
            if not self._at_large:
                self._calls.append((function, args))
            return not self._at_large


def call_from_step(function: Callable[..., object], *args: Any) -> bool:
    """Have the loop call something when it goes on, if that waits for this thread; whether it does."""
    thread = thread_here()
    return thread is not None and thread.note_call(function, args)


class Lockstep:
    """The threads of one simulated world.

    Attributes:
        at_large: How many run without the loop waiting for them.
    """

    def __init__(self, lag: Callable[[str], float]) -> None:
        self._lag = lag
        self._threads: list[StepThread] = []
        self._free: list[StepThread] = []
        self.at_large: int = 0

    def __repr__(self) -> str:
        return f"<Lockstep: {len(self._threads)} threads, {self.at_large} at large>"

    def run(
        self, backend: Backend, owner: Any, job: Callable[[], Any], over: Callable[[Any], object]
    ) -> None:
        """Run a function in a thread. On the loop's thread.

        Args:
            backend: The loop.
            owner: Whose it is: while that is `frozen`, it does not go on.
            job: The function, which raises nothing.
            over: Told what it has returned.
        """
        if not self._free:
            thread = StepThread(len(self._threads) + 1, self)
            self._threads.append(thread)
            self._free.append(thread)
        self._free.pop().begin(backend, owner, job, over)

    def free(self, thread: StepThread) -> None:
        """A thread has nothing to do."""
        self._free.append(thread)

    def pause(self) -> None:
        """In a thread: a checkpoint. The loop has its turn, and a little time goes by."""
        thread = thread_here()
        if thread is not None:
            thread.park(self._paused)

    def _paused(self, thread: StepThread) -> None:
        thread.go_on_soon(TICK + self._lag("a checkpoint in a thread"))

    def gate(self) -> Gate:
        """Where a thread can be made to wait."""
        return Gate()

    def close(self) -> None:
        """End all threads. One that is at large, and does not stop, is left to itself."""
        threads, self._threads = self._threads, []
        self._free.clear()
        for thread in threads:
            thread.end()
        for thread in threads:
            thread.thread.join(PATIENCE)

"""The Worker actor of a thread: runs plain functions that may block.

Each worker has one thread, started with its first task and kept until the runtime closes. A function in a
thread can only be asked to stop, or to make room: it notices at its next `checkpoint()`. There one that is
preempted waits until it is resumed. Whoever cancels waits for the checkpoint;
after a grace period the log names the function. A task with `abandon_on_cancel` is settled at once, and
its thread is left to itself. So are, with an ERROR record, threads that have not stopped when the runtime
has to close. Threads are daemons: none keeps the interpreter alive.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import Context
from inspect import iscoroutine
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, Timer, handles, require
from actorsched._kernel.current import CURRENT
from actorsched._system.gauges import ThreadGauge
from actorsched._system.stillness import Stillness, of_this_thread
from actorsched.exceptions import Interrupted
from actorsched.messages import (
    Assign,
    Finished,
    GraceOver,
    Idle,
    Interrupt,
    Preempt,
    Preempted,
    Resume,
    Started,
)

if TYPE_CHECKING:
    from actorsched._core.auto_host import Usage
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.code_run import Deferred
    from actorsched._system.judge import Judge
    from actorsched._system.task import TaskActor

GRACE = 5.0
"""Seconds after which the log names a function that was told to stop and has not."""

_log = logging.getLogger("actorsched.task")


def _nothing() -> None:
    """What is left of a function that has run."""


class ThreadRun(msgspec.Struct, eq=False):
    """One attempt of a task in a thread; what `current()` finds there."""

    role: ClassVar[str] = "task"

    worker: ThreadWorker
    owner: TaskActor
    attempt: int
    context: Context
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    stop: BaseException | None = None
    """Why it was told to stop. Written by the loop, read by the thread."""
    deferred: Deferred | None = None
    preempted: Event | None = None
    """Set when it may go on; None while nobody wants its place. Written by the loop, read by the thread."""
    paused: bool = False
    """Whether it waits at a checkpoint until it may go on."""
    unwinding: bool = False
    """Whether the function is over, and only what it deferred still runs: no cancellation reaches that."""
    measured: bool = False
    """Whether somebody may want to know what it uses: nobody does who was sent to a thread by name."""
    placed: bool = False
    """Whether that is to be known exactly, because it learns where to run."""
    pace: Any = None
    """In a simulation, what keeps its thread in step with the loop; None where threads run as they like."""
    used: Usage | None = None
    """What it has used. Written by the thread, read by the loop when the run is over."""

    @property
    def kernel(self) -> Kernel:
        """The kernel of its runtime."""
        return self.worker.kernel

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.stop is not None

    @property
    def preempt_requested(self) -> bool:
        """Whether somebody more urgent wants its place."""
        return self.preempted is not None

    def checkpoint(self) -> None:
        """Stop here, if told to; wait here, if somebody more urgent wants the place.

        Raises:
            Interrupted: It was told to stop.
        """
        if self.unwinding:
            return
        if self.pace is not None:
            self.pace.pause()
        while (go_on := self.preempted) is not None and self.stop is None:
            self.kernel.call_threadsafe(self.worker.reached_checkpoint, self, go_on)
            go_on.wait()
        if self.stop is not None:
            reason = getattr(self.stop, "reason", None)
            raise Interrupted(f"{self.stop}; leave the function, do not catch this", reason=reason)

    def execute(self) -> Finished:
        """Run the function and what it deferred, in this thread."""
        try:
            finished = Finished(self.context.run(self._call))
        except BaseException as error:
            stopped = self.stop is not None and isinstance(error, Interrupted)
            finished = Finished(error=error, stopped=stopped)
        self.unwinding = True
        while self.deferred:
            self._call_deferred(*self.deferred.pop())
        self.let_go()
        return finished

    def execute_measured(self, gauge: ThreadGauge) -> Finished:
        """The same, with a look at the clocks, if somebody wants to know."""
        if not self.measured:
            gauge.skip()
            return self.execute()
        gauge.begin(exactly=self.placed)
        finished = self.execute()
        self.used = gauge.end(exactly=self.placed)
        return finished

    def let_go(self) -> None:
        """Keep nothing alive: the context refers to this run, and what it has set may live on elsewhere."""
        self.context = Context()
        self.function = _nothing
        self.args, self.kwargs = (), {}

    def _call_deferred(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            self._refuse_coroutine(self.context.run(function, *args))
        except BaseException:  # nobody else would hear of it, and the thread has to go on
            _log.exception("deferred call %r of task %r failed", function, self.owner.name)

    def _call(self) -> Any:
        CURRENT.set(self)
        result = self.function(*self.args, **self.kwargs)
        self._refuse_coroutine(result)
        return result

    def _refuse_coroutine(self, result: object) -> None:
        if iscoroutine(result):
            result.close()
            raise TypeError(
                f"a plain function of task {self.owner.name!r} returned a coroutine, and nobody in its "
                "thread would run it; spawn an async function, and defer plain ones"
            )


class ThreadWorker(Behaviour):
    """One worker with a thread of its own."""

    kernel: Kernel
    scheduler: Behaviour
    number: int
    run: ThreadRun | None = None
    thread: Thread | None = None
    jobs: SimpleQueue[ThreadRun | None] | None = None
    grace: Timer | None = None
    stillness: Stillness | None = None
    """How to see whether the thread does anything, once it has begun to."""
    judge: Judge | None = None
    """Who wants to know what functions use."""

    def __repr__(self) -> str:
        return f"<thread worker {self.number} with {self.run!r}>"

    @property
    def lane(self) -> str:
        """What events call it."""
        return f"thread-{self.number}"

    @property
    def at_work(self) -> bool:
        """Whether its thread has something to do."""
        return self.run is not None and not self.run.paused

    @property
    def stalled(self) -> bool:
        """Whether its function has been waiting for something for some time."""
        return self.stillness is not None and self.stillness.seen()

    @handles(Assign)
    def _assign(self, message: Assign, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if task.turned_away(self, out):
            return
        assert task.context is not None
        assert task.function is not None
        args, kwargs = task.arguments()
        self.run = ThreadRun(
            self, task, task.attempt + 1, task.context.copy(), task.function, args, dict(kwargs)
        )
        self.run.measured = self.judge is not None and task.options.host != "thread"
        self.run.placed = task.placed is not None
        out.send((task, Started(self, begun=True)))
        if self.kernel.world is not None:
            return self.kernel.world.run_thread(self, self.run)
        try:
            if self.jobs is None:
                self._start_thread()
        except RuntimeError as error:  # the system has no thread left
            if not interpreter_ends(error):
                return self.over(self.run, Finished(error=error))
            self.kernel.backend.call_soon(self._run_here, self.run)
            return None
        assert self.jobs is not None
        self.jobs.put(self.run)

    def _start_thread(self) -> None:
        jobs: SimpleQueue[ThreadRun | None] = SimpleQueue()
        thread = Thread(target=_work, args=(self, jobs), name=f"actorsched thread {self.number}", daemon=True)
        thread.start()
        self.thread, self.jobs = thread, jobs

    def _run_here(self, run: ThreadRun) -> None:
        """No thread can be started any more, but what was accepted is still done: by the loop."""
        if self.run is run:
            self._let_on(run)  # at a checkpoint nobody could wake it
            self.kernel.call_threadsafe(self.over, run, run.execute())

    @handles(Preempt)
    def _preempt(self, message: Preempt, out: Outbox) -> None:
        run = self.run
        if run is not None and run.owner is message.task and run.stop is None and run.preempted is None:
            run.preempted = Event() if run.pace is None else run.pace.gate()

    def reached_checkpoint(self, run: ThreadRun, go_on: Event) -> None:
        """The thread waits to be let on."""
        if self.run is run and run.preempted is go_on and not run.paused:
            run.paused = True
            self.kernel.post(run.owner, Preempted(run.owner))

    @handles(Resume)
    def _resume(self, message: Resume, out: Outbox) -> None:
        if self.run is not None:
            self._let_on(self.run)

    def _let_on(self, run: ThreadRun) -> None:
        go_on, run.preempted, run.paused = run.preempted, None, False
        if go_on is not None:
            go_on.set()

    @handles(Interrupt)
    def _interrupt(self, message: Interrupt, out: Outbox) -> None:
        run = self.run
        if run is None or run.owner is not message.task:
            return
        run.stop = message.reason
        self._let_on(run)
        if run.owner.options.abandon_on_cancel:
            self._abandon(run)
        elif self.grace is None:
            self.grace = out.later(GRACE, self, GraceOver(run.owner))

    @handles(GraceOver)
    def _grace_over(self, message: GraceOver, out: Outbox) -> None:
        run = self.run
        if run is not None and run.owner is message.task:
            out.report(
                logging.WARNING,
                f"{run.owner.name!r} was told to stop {GRACE:g} s ago and still runs in its thread; "
                "call actorsched.checkpoint() in it now and then, or spawn it with host='process'",
            )

    def _abandon(self, run: ThreadRun) -> None:
        """Leave the thread to itself; the next task gets another."""
        _log.warning("thread of task %r is left to itself; its result will be dropped", run.owner.name)
        self.retire()
        self.over(run, Finished(error=run.stop, stopped=True))

    def over(self, run: ThreadRun, finished: Finished) -> None:
        """The run has ended, or is not waited for any longer."""
        if self.run is not run:
            return
        self.run = None
        if self.grace is not None:
            self.grace.cancel()
            self.grace = None
        if run.used is not None and self.judge is not None:
            self.judge.ran_in_thread(run.owner, run.used, finished)
        self.kernel.post(self.scheduler, Idle(self, run.owner, finished))

    def retire(self) -> Thread | None:
        """Let the thread end after what it is doing; answers with it."""
        thread, self.thread = self.thread, None
        if self.jobs is not None:
            self.jobs.put(None)
        self.jobs = None
        return thread

    def leave_behind(self) -> None:
        """The runtime has to close, and the function does not stop."""
        run = self.run
        if run is not None:
            _log.error(
                "%r does not stop; its thread is left behind as a daemon while the runtime closes",
                run.owner.name,
            )
            run.stop = run.stop or Interrupted("the runtime has closed")
            self._let_on(run)
            self.retire()
            self.over(run, Finished(error=run.stop, stopped=True))

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """It runs one task at a time, which waits at a checkpoint only when it was preempted."""
        run = self.run
        require(run is not None or self.grace is None, self, "nobody is given time who runs nothing")
        require((self.thread is None) == (self.jobs is None), self, "a thread is told what to do")
        if run is not None:
            require(run.worker is self, self, "what it runs is its own")
            require(run.preempted is not None or not run.paused, self, "only who was preempted is stopped")
            stopped = run.stop is None or run.preempted is None
            require(stopped, self, "whoever was told to stop may go on to do that")

    def check_at_rest(self) -> None:
        """The same; and the task that it runs knows that."""
        self.check()
        run = self.run
        if run is not None:
            require(run.owner.worker is self, self, f"{run.owner!r} knows who runs it")
            require(run.owner.attempt == run.attempt, self, "it runs the present attempt")
            knows = run.stop is not None or run.owner.paused == run.paused
            require(knows, self, "its task knows whether it was stopped")


def interpreter_ends(error: RuntimeError) -> bool:
    """Whether a thread could not be started because Python 3.12 starts none once the main thread is over."""
    return "at interpreter shutdown" in str(error)


def _work(worker: ThreadWorker, jobs: SimpleQueue[ThreadRun | None]) -> None:
    """The main function of a worker's thread."""
    worker.stillness = of_this_thread()
    kernel = worker.kernel
    gauge = None if worker.judge is None else ThreadGauge(worker.judge)
    while (run := jobs.get()) is not None:
        finished = run.execute() if gauge is None else run.execute_measured(gauge)
        try:
            kernel.call_threadsafe(run.worker.over, run, finished)
        except RuntimeError:  # the loop is closed: nobody is left to hear it
            return
        del run, finished

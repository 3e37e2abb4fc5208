"""Jobs: the pieces of work that front ends know, whichever of them has made it.

The law of this module: a job settles once, and the first settlement stands, whoever makes it, in whatever
thread; that thread sees it at once. Nothing here blocks but `wait`.

How it works: a job is made, and perhaps entered: then it becomes a task of the shared runtime, whose end it
hears of. Who depends on a job that was not entered yet depends on a stand-in: a task that does nothing, and
ends as the job does. A job that is settled by hand tells the task, which stops.

What becomes of jobs is told to whoever is interested (`_hearing`): front ends that have events of their own,
and the log.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from functools import partial
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from actorsched.exceptions import DeadlockError, DependencyFailed, RuntimeClosed, TaskCancelled
from actorsched.frontends._hearing import begins, ends, forget_all, listen, tell
from actorsched.frontends._shared import SHARED
from actorsched.messages import Outcome
from actorsched.status import TaskStatus
from actorsched.task import Task, outcome_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from actorsched.frontends._shared import Pool
    from actorsched.runtime import Runtime
    from actorsched.task import TaskRef

KEPT = 10_000
"""How many settled jobs stay known."""
_AT_ONCE = 100
"""How many of many jobs are submitted in one turn of the event loop: a few milliseconds' work."""

LOCK = threading.RLock()
"""Held while a job settles, or is put among those that are known; never while anybody is called."""
_numbers = count(1)
_made: WeakValueDictionary[str, Job] = WeakValueDictionary()
_kept: dict[str, Job] = {}
_settled: deque[str] = deque()
"""The ids of those that have settled, some of which may be forgotten by now."""
_stand_ins: dict[TaskRef[Any], Job] = {}
"""In the runtime's thread, those that have not ended."""
_NOTHING: dict[str, Any] = {}


class Job:
    """One piece of work.

    Args:
        prepared: What becomes a task; None if it can only be settled by hand.
        name: Its name; None for that of what is prepared.
        after: The jobs that it depends on.
        front: What its id begins with.
        pool: The pool that its task belongs to, whose name is the `tag` of what is prepared.
        inject: Where the results of the jobs that it depends on go: names of parameters, in the order of
            these jobs; without enough names, first among the positional arguments. None for nowhere.
        keep: Whether its id is known from now on, whether or not anybody holds it.
    """

    __slots__ = (
        "__weakref__",
        "_prepared",
        "_said",
        "_stand_in",
        "_told",
        "after",
        "entered",
        "entered_at",
        "front",
        "id",
        "inject",
        "name",
        "outcome",
        "pool",
        "ref",
        "view",
    )

    def __init__(
        self,
        prepared: Task[Any] | None,
        name: str,
        after: Iterable[Job] = (),
        front: str = "task",
        pool: Pool | None = None,
        inject: Sequence[str] | None = None,
        keep: bool = False,
    ) -> None:
        self.id: str = f"{front}-{next(_numbers)}"
        self.name = name
        self.front = front
        self.after: tuple[Job, ...] = tuple(after)
        self.pool = pool
        self.inject = inject
        self.entered: bool = False
        """Whether it was handed to the runtime."""
        self.entered_at: float = 0.0
        self.outcome: Outcome[Any] | None = None
        self.ref: TaskRef[Any] | None = None
        """Its task, from a moment after it was entered on."""
        self.view: Any = None
        """What its front end shows of it."""
        self._prepared = prepared
        self._said: tuple[float, str | None] | None = None
        self._told: list[Callable[[Job], object]] | None = None
        self._stand_in: TaskRef[Any] | None = None
        if keep:
            _kept[self.id] = self
        else:
            _made[self.id] = self

    def __repr__(self) -> str:
        return f"<job {self.id} {self.name!r} {self.status.value}>"

    # ------------------------------------------------------------------------------------ how it is doing

    @property
    def status(self) -> TaskStatus:
        """Where it is in its life."""
        if self.outcome is not None:
            return self.outcome.status
        if self.ref is not None:
            status = self.ref.status
            return TaskStatus.RUNNING if status.is_final else status  # or it is about to be told
        waits = any(job.outcome is None for job in self.after)
        return TaskStatus.WAITING if waits else TaskStatus.PENDING

    @property
    def progress(self) -> tuple[float, str | None]:
        """The fraction done, from 0 to 1, and the last message."""
        said = self._said or (self.ref.progress if self.ref is not None else (0.0, None))
        return (1.0, said[1]) if self.status is TaskStatus.COMPLETED else said

    @property
    def done(self) -> bool:
        """Whether it has settled."""
        return self.outcome is not None

    @property
    def error(self) -> BaseException | None:
        """Why it has no result, if it has settled without."""
        return None if self.outcome is None else self.outcome.error

    def look(self) -> Outcome[Any] | None:
        """How it has ended, if it has, as of now: its task may have, and nobody have been told yet.

        What depends on it may run by then, and ask for its result.
        """
        ref = self.ref
        if self.outcome is None and ref is not None and ref.done():
            self._task_over(ref)
        return self.outcome

    def report(self, fraction: float, message: str | None = None) -> bool:
        """Say how far it is. False when it has settled."""
        if self.outcome is not None:
            return False
        self._said = (fraction, message)
        tell("progress", self, {"fraction": fraction, "message": message})
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has settled. Answers whether it has.

        Args:
            timeout: How many seconds at most; None for any time.

        Raises:
            DeadlockError: This is the thread whose event loop has to settle it.
        """
        if self.outcome is not None:
            return True
        if SHARED.is_here:
            raise DeadlockError(
                f"task {self.name!r} was waited for in the thread whose event loop has to run it, so it "
                "would never end; await it there, or wait in another thread"
            )
        over = threading.Lock()  # all that is needed of an event, at a fraction of its price
        over.acquire()

        def tell_it(_: Job) -> None:
            over.release()

        self.add_done_callback(tell_it)
        try:
            return over.acquire(timeout=-1 if timeout is None else max(0, timeout))
        finally:
            self._remove_done_callback(tell_it)

    async def settled(self) -> None:
        """Wait until it has settled, in any event loop."""
        if self.outcome is not None:
            return
        if SHARED.is_here and self.ref is not None:
            await self.ref.outcome()  # which lends the slot of whoever waits
            return
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio's
            import anyio.to_thread

            await anyio.to_thread.run_sync(self.wait, abandon_on_cancel=True)
            return
        over = asyncio.Event()

        def tell_it(_: Job) -> None:
            _call_in(loop, over.set)

        self.add_done_callback(tell_it)
        try:
            await over.wait()
        finally:
            self._remove_done_callback(tell_it)

    def add_done_callback(self, function: Callable[[Job], object]) -> None:
        """Have a function called when it has settled, in whatever thread that is; at once if it has."""
        with LOCK:
            if self.outcome is None:
                if self._told is None:
                    self._told = []
                self._told.append(function)
                return
        function(self)

    def _remove_done_callback(self, function: Callable[[Job], object]) -> None:
        """Whoever waited does so no more: one that waits again and again leaves nothing behind."""
        if self.outcome is None:
            with LOCK:
                if self._told is not None:
                    self._told.remove(function)

    # ---------------------------------------------------------------------------------- what is done to it

    def keep(self) -> None:
        """Let its id be known, whether or not anybody holds it."""
        _kept[self.id] = self

    def enter(self) -> bool:
        """Hand it to the runtime. False when that was done before, or it has settled.

        Raises:
            RuntimeClosed: The interpreter is about to end.
        """
        if not self._enters():
            return False
        try:
            SHARED.call(self._submit)
        except BaseException:
            self.entered = False
            raise
        return True

    def _enters(self) -> bool:
        """Note that it is handed to the runtime. False when it was before, or has settled."""
        with LOCK:
            if self.entered or self.outcome is not None:
                return False
            self.entered = True
            self.entered_at = monotonic()
            _kept[self.id] = self
        return True

    def complete(self, value: Any) -> bool:
        """Settle it by hand with a result; False when it had settled."""
        return self.settle(Outcome(TaskStatus.COMPLETED, value))

    def fail(self, error: BaseException) -> bool:
        """Settle it by hand with an error; False when it had settled."""
        return self.settle(Outcome(TaskStatus.FAILED, error=error, origin=error.__traceback__))

    def cancel(self, reason: str | None = None) -> bool:
        """Settle it as cancelled, and have stopped what runs; False when it had settled."""
        why = f": {reason}" if reason else ""
        error = TaskCancelled(f"task {self.name!r} was cancelled{why}", reason=reason, task=self.name)
        return self.settle(Outcome(TaskStatus.CANCELLED, error=error))

    def settle(self, outcome: Outcome[Any]) -> bool:
        """It ends so, unless it had settled. Answers whether that is how it ends."""
        with LOCK:
            if self.outcome is not None:
                return False
            self.outcome = outcome
            told, self._told = self._told, None
            _kept[self.id] = self
            _settled.append(self.id)
            if len(_settled) > KEPT:
                _let_go(_kept.pop(_settled.popleft(), None))
        tell(outcome.status.value, self, _NOTHING)  # first: whoever waits for it finds it in the log
        # Then the runtime: what is called next may end the function sooner, which must not count any more.
        for ref in (self.ref, self._stand_in):  # one that comes now looks at the outcome by itself
            if ref is not None and not ref.done():
                _end_soon(ref, self)
        if told:
            for function in told:
                _call(function, self)
        return True

    # ------------------------------------------------------------------------------ in the runtime's thread

    def _submit(self, runtime: Runtime) -> None:
        if self.outcome is not None:
            return
        prepared = self._prepared or Task(self.name, _by_hand)
        self._prepared = None
        listening = listen(runtime, prepared)
        try:
            if self.pool is not None:
                self.pool.ensure(runtime)
            if self.after:
                self._depend(prepared, runtime)
            self.ref = ref = runtime.submit_nowait(prepared)
        except Exception as error:
            self.fail(error)
            return
        if prepared.fn is _by_hand:
            _stand_ins[ref] = self
        if listening:
            begins(ref, self)
        ref.add_done_callback(self._task_over)
        if self.outcome is not None:  # meanwhile, by another thread, which may not have seen the task
            _end(ref, self)

    def _depend(self, prepared: Task[Any], runtime: Runtime) -> None:
        """What is prepared waits for the tasks of the jobs that it depends on, and may get their results."""
        awaited = [job.awaited_in(runtime) for job in self.after]
        if self.inject is None:
            refs = tuple(ref for ref in awaited if ref is not None)
            prepared.options = prepared.options.replace(after=(*prepared.options.after, *refs))
            return
        results = [
            job.outcome.value if ref is None and job.outcome is not None else ref
            for job, ref in zip(self.after, awaited, strict=True)
        ]
        names = self.inject
        named = dict(zip(names, results, strict=False))
        prepared.args = (*results[len(names) :], *prepared.args)
        prepared.kwargs = kwargs = {**prepared.kwargs, **named}
        prepared.options = prepared.options.replace(kwargs=kwargs)

    def awaited_in(self, runtime: Runtime) -> TaskRef[Any] | None:
        """The task that whoever depends on this one waits for; None when it has completed."""
        if self.outcome is not None and self.outcome.error is None:
            return None
        ref, former = self.ref, self._stand_in
        if ref is not None and self.outcome is None and _runtime_of(ref) is runtime:
            return ref
        if former is not None and not former.done():
            if _runtime_of(former) is runtime:
                return former
            self.add_done_callback(partial(_end_soon, former))  # in a runtime that is being stopped
        stand_in = self._stand_in = runtime.submit_nowait(Task(self.name, _by_hand))
        _stand_ins[stand_in] = self
        stand_in.add_done_callback(lambda ref: _stand_ins.pop(ref, None))
        if self.outcome is not None:
            _end(stand_in, self)
        return stand_in

    def _task_over(self, ref: TaskRef[Any]) -> None:
        ends(ref)
        if _stand_ins:
            _stand_ins.pop(ref, None)
        outcome = outcome_of(ref)
        assert outcome is not None
        self.settle(outcome)


def _end_soon(ref: TaskRef[Any], job: Job) -> None:
    """A task ends as its job has: in its own runtime, which may be one that is being stopped."""
    try:
        _runtime_of(ref).call_threadsafe(_end, ref, job)
    except RuntimeClosed:  # then it has ended
        pass


def _end(ref: TaskRef[Any], job: Job) -> None:
    outcome = job.outcome
    assert outcome is not None
    if ref.done():
        return
    if outcome.error is None:
        ref.settle(outcome.value)
    elif isinstance(outcome.error, Exception):
        ref.settle(error=outcome.error)
    else:
        ref.cancel_nowait(str(outcome.error))


def _runtime_of(ref: TaskRef[Any]) -> Runtime:
    runtime: Runtime = ref._task.kernel.facade
    return runtime


def enter_all(jobs: Iterable[Job]) -> None:
    """Hand many to the runtime, in this order, but for those that were handed to it before, or have settled.

    Raises:
        RuntimeClosed: The interpreter is about to end.
    """
    entering = [job for job in jobs if job._enters()]
    for start in range(0, len(entering), _AT_ONCE):
        try:
            SHARED.call(_submit_all, entering[start : start + _AT_ONCE])
        except BaseException:
            for job in entering[start:]:
                job.entered = False
            raise


def _submit_all(runtime: Runtime, jobs: list[Job]) -> None:
    for job in jobs:
        job._submit(runtime)


async def _by_hand() -> None:
    """Does nothing until it is settled."""
    import anyio

    await anyio.sleep_forever()


# ---------------------------------------------------------------------------------------------- all of them


def find(id: str) -> Job | None:  # noqa: A002 # it is one
    """The job of that id, if it is known."""
    return _kept.get(id) or _made.get(id)


def forget(job: Job) -> None:
    """Its id is not known any more."""
    with LOCK:
        _kept.pop(job.id, None)
        _made.pop(job.id, None)
    if job.outcome is not None:
        _let_go(job)


def _let_go(job: Job | None) -> None:
    """It is not known any more: it does not keep what it depended on, and so on to the first of a chain.

    What failed by another one keeps that, as its error does.
    """
    if job is not None and not isinstance(job.error, DependencyFailed):
        job.after = ()


def known() -> Iterator[Job]:
    """All jobs that are known, in the order in which they were made or settled."""
    with LOCK:
        jobs = list(_kept.values())
    return iter(jobs)


def _call_in(loop: AbstractEventLoop, function: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # it is closed: nobody waits there any more
        pass


def _call(function: Callable[[Job], object], job: Job) -> None:
    try:
        function(job)
    except Exception:
        logging.getLogger("actorsched").exception("what was to be called at the end of %r failed", job)


# --------------------------------------------------------------------------------- the end of the interpreter

_given_up: dict[Job, str] = {}


def _give_up(interrupted: bool) -> None:
    """The interpreter ends. Nobody can settle by hand any more, or enter what others depend on."""
    why = "Ctrl-C has ended the program" if interrupted else "the program ended before anybody settled it"
    unsettled = [job for job in known() if job.entered and job.outcome is None]
    if interrupted:
        for job in unsettled:
            _given_up[job] = why
    SHARED.call_if_there(_give_up_stand_ins, why, unsettled)


def _give_up_stand_ins(runtime: Runtime, why: str, unsettled: list[Job]) -> None:
    for job in list(_stand_ins.values()):
        job.cancel(why)
    for job in unsettled:  # what depends on those is cancelled with them
        _given_up.setdefault(job, why)


def _lost() -> list[str]:
    """A line for each job that was entered and did not come to its own end."""
    return [
        f"{job.name!r} ({job.id}), {job.status.value}: {_never_begun(job) or why}"
        for job, why in _given_up.items()
        if job.outcome is None or job.outcome.status is TaskStatus.CANCELLED
    ]


def _never_begun(job: Job) -> str | None:
    """What it waited for in vain, if that is something that nobody has handed to the runtime."""
    upstream, seen = list(job.after), set[Job]()
    while upstream:
        one = upstream.pop()
        if one in seen or (one.outcome is not None and one.outcome.status is not TaskStatus.CANCELLED):
            continue
        if not one.entered:
            return f"it waited for {one.name!r} ({one.id}), which nobody has started"
        seen.add(one)
        upstream.extend(one.after)
    return None


def _forked() -> None:
    """This is a fork: what was entered runs in the parent, and nobody here will hear of it."""
    for job in [job for job in _kept.values() if job.entered and job.outcome is None]:
        why = "it runs in the process that this one was forked from"
        error = TaskCancelled(f"task {job.name!r} was cancelled: {why}", reason=why, task=job.name)
        job.outcome, job._told = Outcome(TaskStatus.CANCELLED, error=error), None
        _settled.append(job.id)
    for job in _stand_ins.values():  # its runtime is not here: to tell it something would wake the parent
        job._stand_in = None
    _stand_ins.clear()
    forget_all()
    LOCK.release()


SHARED.enders.append(_give_up)
SHARED.reporters.append(_lost)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=_forked)

"""Worker processes as users see them: the hosts of the runtime, by the names of a task system.

The law of this module: it hears and tells. Which processes there are is decided by the runtime; the only
thing done to one here is the signal that a user asks for. What is heard comes in the runtime's thread, and
may be looked at in any.

How it works: the runtime tells of each host that gets ready, is told to end, or has ended; and of each task
that begins, in which host. A task may begin, for the runtime, before its host is ready; so what a host has is
kept by its name, also while there is no `Worker` of it yet. Names of hosts begin anew with each runtime.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, WeakValueDictionary

from actorsched.exceptions import DeadlockError
from actorsched.frontends._hearing import WATCHERS
from actorsched.frontends._shared import SHARED
from actorsched.frontends.multiprocessing.errors import InvalidArgument

if TYPE_CHECKING:
    from actorsched.events import Event
    from actorsched.frontends._jobs import Job
    from actorsched.runtime import Runtime

_log = logging.getLogger("actorsched.worker")


class WorkerState(StrEnum):
    """What a worker process does."""

    IDLE = "idle"
    """It has no task."""
    BUSY = "busy"
    """It has one."""
    STOPPED = "stopped"
    """It was asked to end, and has not ended yet."""
    TERMINATED = "terminated"
    """It has ended. Final."""


class Worker:
    """A worker process; a `ProcessCompositor` has them (`workers`).

    Attributes:
        name: Its name.
        pid: Its process id.
        exitcode: None while it lives; 0 if it ended as it was asked to, -N if signal N ended it.
        kind: "sync" if it runs plain functions, "async" if it runs async ones.
        why: Why there is such a process, and when it has ended, why it has.
    """

    def __init__(self, name: str, pid: int, kind: str, why: str, jobs: set[Job]) -> None:
        self.name = name
        self.pid = pid
        self.exitcode: int | None = None
        self.kind = kind
        self.why = why
        self._jobs = jobs
        self._asked = False
        self._over = threading.Event()

    def __repr__(self) -> str:
        return f"<Worker {self.name!r} {self.pid} {self.kind} {self.state.value}>"

    @property
    def state(self) -> WorkerState:
        """What it does."""
        if self._over.is_set():
            return WorkerState.TERMINATED
        if self._asked:
            return WorkerState.STOPPED
        has_some = any(not _is_over(job) for job in tuple(self._jobs))
        return WorkerState.BUSY if has_some else WorkerState.IDLE

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return not self._over.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended. It ends when it was idle for long, or is terminated.

        Args:
            timeout: For how many seconds at most; None for any time. `exitcode` tells whether it has ended.

        Raises:
            InvalidArgument: The timeout is no number of seconds.
            DeadlockError: This is the thread of the runtime, which would have to hear of the end.
        """
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
            raise InvalidArgument(
                f"timeout={timeout!r} is of type {type(timeout).__name__}; give seconds as a number, or None"
            )
        if SHARED.is_here and not self._over.is_set():
            raise DeadlockError(
                f"worker {self.name!r} was waited for in the thread that has to hear of its end; "
                "wait in another one"
            )
        self._over.wait(timeout)

    def terminate(self) -> None:
        """End the process now, by SIGTERM. What it runs fails with `HostDied`; the rest moves."""
        if self._over.is_set():
            return
        self._asked = True
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:  # it has just ended by itself
            pass

    def _ask(self, why: str) -> None:
        self._asked, self.why = True, why

    def _end(self, exitcode: int | None, why: str) -> None:
        self.exitcode, self.why = exitcode, why
        self._over.set()


class Roster:
    """The workers of one pool that have not ended, in the order of their start.

    Args:
        pool: The name of the pool.
        kind: "sync" or "async".
    """

    def __init__(self, pool: str, kind: str) -> None:
        self.kind = kind
        self.workers: dict[str, Worker] = {}
        _rosters[pool] = self
        _listen()


_rosters: WeakValueDictionary[str, Roster] = WeakValueDictionary()
_listening = threading.Lock()
_heard: WeakSet[Runtime] = WeakSet()
"""The runtimes whose events are heard."""
_jobs_of: defaultdict[str, set[Job]] = defaultdict(set)
"""What each host has begun, by its name. Changed in the runtime's thread."""


def _is_over(job: Job) -> bool:
    return job.outcome is not None and (job.ref is None or job.ref.done())


# -------------------------------------------------------------------------------------------- what is heard


def _listen() -> None:
    """There is a pool of workers. Only then: it costs the tasks of all front ends something."""
    with _listening:
        if _note in WATCHERS:
            return
        WATCHERS.append(_note)
        SHARED.starters.append(_begin)
    SHARED.call_if_there(_begin)


def _begin(runtime: Runtime) -> None:
    """A runtime has begun, or was there: its hosts are others."""
    if runtime in _heard:
        return
    _heard.add(runtime)
    _jobs_of.clear()
    runtime.subscribe(("host_spawned", "host_retiring", "host_reaped", "host_died"), _hear)
    runtime.at_close(_all_over)


def _hear(event: Event) -> None:
    about: dict[str, Any] = dict(event.details)
    roster = _rosters.get(about["pool"])
    if roster is None:
        return
    if event.kind == "host_spawned":
        worker = Worker(event.name, about["pid"], roster.kind, about["why"], _jobs_of[event.name])
        roster.workers = {**roster.workers, event.name: worker}
        _log.info("worker %r (%d, %s) has started: %s", worker.name, worker.pid, worker.kind, worker.why)
        return
    found = roster.workers.get(event.name)
    if event.kind == "host_retiring":
        if found is not None:
            found._ask(about["why"])
        return
    _jobs_of.pop(event.name, None)
    if found is None:
        return
    roster.workers = {name: worker for name, worker in roster.workers.items() if worker is not found}
    if event.kind == "host_reaped":
        found._end(0, about["why"])
        _log.info("worker %r (%d) has ended: %s", found.name, found.pid, found.why)
        return
    number = about["signal"]
    found._end(about["exit_code"] if number is None else -number, about["why"])
    level = logging.INFO if found._asked else logging.WARNING
    _log.log(level, "worker %r (%d) has ended: it %s", found.name, found.pid, found.why)


def _all_over() -> None:
    """The runtime has closed, and all its hosts have ended."""
    for roster in list(_rosters.values()):
        for worker in roster.workers.values():
            worker._end(0, "the runtime closes")
        roster.workers = {}
    _jobs_of.clear()


def _note(kind: str, job: Job, about: dict[str, Any]) -> None:
    """Something has become of a job: it may have begun in one of our hosts, or be over there."""
    pool = job.pool
    if pool is None or pool.name not in _rosters:
        return
    if kind == "started":
        for name, jobs in _jobs_of.items():
            if name != about["worker"]:
                jobs.discard(job)  # it was taken back from there
        _jobs_of[about["worker"]].add(job)
    elif job.outcome is not None:
        SHARED.call_if_there(_strike_off, job)


def _strike_off(runtime: Runtime, job: Job) -> None:
    if _is_over(job) or job.ref is None:
        for jobs in _jobs_of.values():
            jobs.discard(job)
    else:
        job.ref.add_done_callback(lambda _: _strike_off(runtime, job))

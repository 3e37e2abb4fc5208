"""The runtime that the front ends share: in a thread of its own, from the first use on.

The law of this module: whoever uses a front end never has to start or stop anything. Calls come from any
thread and never block; the runtime lives until the interpreter ends, or until `stop`, after which the next
use starts another one.

How it works: the thread runs `actorsched.run`, and everything that the front ends do to the runtime is called
there (`call`). At the end of the interpreter what was submitted is drained; Ctrl-C meanwhile cancels it, and
so does a program that a Ctrl-C has ended. Then what did not finish is named on standard error.
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import finalize

from actorsched.exceptions import RuntimeClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.durations import Duration
    from actorsched.options import Hosts
    from actorsched.runtime import Runtime

_numbers = count(1)
_HURRY = "2s"
"""How long what is cancelled at the end of the interpreter has to stop."""


class Shared:
    """The shared runtime, while there is one.

    Attributes:
        starters: Called in the thread of each new runtime, with it, before anything else is done there.
        enders: Called at the end of the interpreter, before anything is drained, with whether it was
            interrupted: what can never finish is to be given up.
        stoppers: Called when somebody stops the runtime and drains it: what nobody would ever end is to be
            ended.
        reporters: Called when all is over; each answers with a line for each piece of work that is lost.
    """

    def __init__(self) -> None:
        self.starters: list[Callable[[Runtime], object]] = []
        self.enders: list[Callable[[bool], object]] = []
        self.reporters: list[Callable[[], list[str]]] = []
        self.stoppers: list[Callable[[], object]] = []
        self.ending: bool = False
        """Whether the interpreter is about to end."""
        self._lock = threading.RLock()
        self._runtime: Runtime | None = None
        self._thread: threading.Thread | None = None
        self._stops: dict[threading.Thread, Callable[[bool, Duration | None], None]] = {}
        """How to end each runtime that has not ended: the present one, and those that are being stopped."""
        self._here = threading.local()

    def __repr__(self) -> str:
        return f"<shared runtime: {'none' if self._runtime is None else repr(self._runtime)}>"

    @property
    def is_here(self) -> bool:
        """Whether this is the thread of the runtime, in which nobody may block; also while it is stopped."""
        return hasattr(self._here, "runs")

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called soon in the runtime's thread, with the runtime before its arguments.

        Raises:
            RuntimeClosed: The interpreter is about to end.
        """
        runtime = self._runtime
        if runtime is not None:
            try:
                return runtime.call_threadsafe(function, runtime, *args)
            except RuntimeClosed:  # it has just been stopped
                pass
        with self._lock:
            runtime = self._runtime or self._start()
            runtime.call_threadsafe(function, runtime, *args)

    def call_if_there(self, function: Callable[..., object], *args: Any) -> bool:
        """The same, unless there is no runtime: then there is nothing to be done in it either.

        Answers whether there is one.
        """
        runtime = self._runtime
        if runtime is not None:
            try:
                runtime.call_threadsafe(function, runtime, *args)
            except RuntimeClosed:
                return False
        return runtime is not None

    # --------------------------------------------------------------------------------------- start and end

    def _start(self) -> Runtime:
        if self.ending:
            raise RuntimeClosed("nothing more can be submitted: the interpreter is about to end")
        started = threading.Event()
        thread = threading.Thread(target=self._serve, args=(started,), name="actorsched shared", daemon=True)
        self._thread = thread
        thread.start()
        started.wait()
        if self._runtime is None:
            self._thread = None
            raise RuntimeClosed("the shared runtime could not be started; the log says why")
        return self._runtime

    def _serve(self, started: threading.Event) -> None:
        """The main function of the thread."""
        from actorsched.running import run

        thread = threading.current_thread()
        self._here.runs = True
        try:
            run(self._main, started)
        finally:
            self._stops.pop(thread, None)
            if self._thread is thread:  # it was not stopped: else there may be another runtime by now
                self._runtime = None
            started.set()

    async def _main(self, started: threading.Event) -> None:
        import anyio

        from actorsched.runtime import Runtime

        requests, inbox = anyio.create_memory_object_stream[tuple[bool, "Duration | None"]](inf)

        async with Runtime(name="shared") as runtime:

            def stop(drain: bool, timeout: Duration | None) -> None:
                runtime.call_threadsafe(requests.send_nowait, (drain, timeout))

            async def hear_others() -> None:  # who may not have the patience of the first
                async for drain, timeout in inbox:
                    tasks.start_soon(_shut, runtime, drain, timeout)

            async with requests, inbox, anyio.create_task_group() as tasks:
                for starter in self.starters:
                    starter(runtime)
                self._stops[threading.current_thread()] = stop
                self._runtime = runtime
                started.set()
                drain, timeout = await inbox.receive()
                tasks.start_soon(hear_others)
                await _shut(runtime, drain, timeout)
                tasks.cancel_scope.cancel()

    def stop(self, drain: bool = True, timeout: Duration | None = None) -> None:
        """End the runtime, and return when it has ended. The next use starts another one.

        Args:
            drain: Whether to wait for what was submitted; otherwise it is cancelled.
            timeout: As for `rt.shutdown`.

        Raises:
            RuntimeError: This is the thread of the runtime itself.
        """
        if self.is_here:
            raise RuntimeError("the shared runtime cannot be stopped in its own thread; do it in another one")
        for stopper in self.stoppers if drain else ():
            stopper()
        with self._lock:
            self._thread = self._runtime = None
            stops = list(self._stops.items())  # others may have begun to stop some
        for _, stop in stops:
            _ask(stop, drain, timeout)
        for thread, _ in stops:
            thread.join()

    def finish(self) -> None:
        """The interpreter ends: drain what was submitted, or cancel it when somebody is in a hurry."""
        interrupted = issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt)
        while True:
            try:
                if not interrupted:
                    self.ending = True
                for ender in self.enders:
                    ender(interrupted)
                self._finish(drain=not interrupted)
                break
            except KeyboardInterrupt:
                if interrupted:  # twice: it is a daemon, and its hosts end with this process
                    break
                interrupted = True
        self.ending = True
        lost = [line for reporter in self.reporters for line in reporter()]
        if lost and sys.stderr is not None:
            many = "1 task" if len(lost) == 1 else f"{len(lost)} tasks"
            lines = [f"actorsched: {many} did not finish before the program ended:", *lost]
            sys.stderr.write("\n  ".join(lines) + "\n")  # nobody is left to raise it to

    def _finish(self, *, drain: bool) -> None:
        stops = list(self._stops.items())
        for _, stop in stops:
            _ask(stop, drain, None if drain else _HURRY)
        for thread, _ in stops:
            while thread.is_alive():
                thread.join(0.5)

    def forget(self) -> None:
        """This is a fork: the thread is not here."""
        self._lock = threading.RLock()
        self._here = threading.local()
        self._runtime = self._thread = None
        self._stops = {}


class Pool:
    """A pool of the shared runtime that a front end has for itself, whichever runtime that is.

    Args:
        kind: What its name begins with.
        workers: How many of its tasks may run at once; None for no limit.
        policy: A policy of its own, as for `rt.pool`; None for that of the runtime.
        hosts: Limits for host processes of its own, as for `rt.pool`; None if it needs none.
    """

    def __init__(
        self, kind: str, workers: int | None = None, policy: Any = None, hosts: Hosts | None = None
    ) -> None:
        self.name: str = f"{kind}-{next(_numbers)}"
        self._workers = workers
        self._policy = policy
        self._hosts = hosts
        self._made_in: Runtime | None = None
        finalize(self, SHARED.call_if_there, _drop, self.name).atexit = False

    def __repr__(self) -> str:
        return f"<pool {self.name!r} of {self._workers} workers>"

    @property
    def workers(self) -> int | None:
        """How many of its tasks may run at once."""
        return self._workers

    @workers.setter
    def workers(self, workers: int) -> None:
        self._workers = workers
        SHARED.call_if_there(self._change)

    @property
    def policy(self) -> Any:
        """Who of its tasks goes first; None for the policy of the runtime."""
        return self._policy

    @policy.setter
    def policy(self, policy: Any) -> None:
        self._policy = policy
        SHARED.call_if_there(self._change)

    def _change(self, runtime: Runtime) -> None:
        if self._made_in is runtime:
            runtime.pool(self.name, self._workers, self._policy)

    def ensure(self, runtime: Runtime) -> None:
        """Make it, unless this runtime has it. In the runtime's thread."""
        if self._made_in is not runtime:
            runtime.pool(self.name, self._workers, self._policy, self._hosts)
            self._made_in = runtime


def _drop(runtime: Runtime, name: str) -> None:
    """Neither the front end nor any job has this pool any more."""
    try:
        runtime.drop_pool(name)
    except ValueError:  # another runtime had it, or a function that was given up still runs in it
        pass


def _ask(stop: Callable[[bool, Duration | None], None], drain: bool, timeout: Duration | None) -> None:
    try:
        stop(drain, timeout)
    except RuntimeClosed:  # it has just ended by itself
        pass


async def _shut(runtime: Runtime, drain: bool, timeout: Duration | None) -> None:
    await runtime.shutdown(drain, timeout)


SHARED = Shared()

# As concurrent.futures does it: an ordinary atexit function would come when the main thread is over.
threading._register_atexit(SHARED.finish)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SHARED.forget)

"""What `current()` is inside a host.

The law of this module: contexts are what user code holds on to; they know the task or call that they belong
to, and say what user code wants said. They run nothing.

A context costs something for every task, so it is made of slots and does nothing before it is asked.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from actorsched._hosting import inside
from actorsched._hosting.wire import Progress
from actorsched._kernel.current import CURRENT

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

    from actorsched._hosting.port import Port
    from actorsched._hosting.wire import Open, Run
    from actorsched.exceptions import Interrupted
    from actorsched.messages import ExitReason


class HostedContext:
    """What the contexts of tasks and of handlers have in common.

    Attributes:
        origin: The number of the task or call.
        name: The name of the task or actor.
        cancel_requested: Whether the runtime wants it to stop.
        attempt: Which attempt this is, counted from 1.
    """

    role: ClassVar[str] = "hosted"
    """How `actorsched.current` tells it from the runs of the runtime's own process."""

    kind: ClassVar[Literal["task", "actor"]] = "actor"
    """Whether this is a task, or a handler of an actor."""

    host: ClassVar[Literal["loop", "thread", "process"]] = "process"
    """Where the code runs: in a host process."""

    @property
    def id(self) -> str | None:
        """The id of the task, as its ref and its events have it; None in a handler of an actor."""
        return None

    __slots__ = (
        "_deferred",
        "_port",
        "attempt",
        "cancel_requested",
        "name",
        "origin",
        "reason",
    )

    def __init__(self, port: Port, origin: int, name: str, attempt: int) -> None:
        self._port = port
        self.origin = origin
        self.name = name
        self.attempt = attempt
        self.cancel_requested = False
        self.reason: str | None = None
        self._deferred: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name!r}, in a host>"

    def report(self, fraction: float, message: str | None = None) -> None:
        """Tell how far the work is; whoever has the task's ref reads it in `ref.progress`.

        Args:
            fraction: From 0 to 1.
            message: For people.

        Raises:
            ValueError: The fraction is no number from 0 to 1.
        """
        from actorsched.messages import check_fraction

        check_fraction(fraction)
        self._port.say(Progress(self.origin, float(fraction), message))
        self._port.urge_gently()

    def checkpoint(self) -> None:
        """Do nothing: in async code every `await` is a checkpoint already."""

    @property
    def preempt_requested(self) -> bool:
        """Never: whoever has to make room is suspended with its host, there and then."""
        return False

    @property
    def deadline(self) -> float | None:
        """When the task has to be done, in seconds of its runtime's clock (`runtime.now`); None for no limit.

        It is the deadline that it had when it was sent here, its own or an inherited one. A handler has none.
        """
        return None

    def acquire(self, *names: str) -> Any:
        """In a host there are no resources to be acquired.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(
            f"{self.name!r} cannot acquire resources: only an async task in the event loop can; "
            'name them at the submission instead: resources={"db"}'
        )

    def defer(self, callback: Callable[..., object], /, *args: Any) -> None:
        """Have something called when the work ends, however it ends; the last deferred first.

        In async code an async function may be deferred too.
        """
        if not callable(callback):
            raise TypeError(f"callback={callback!r} cannot be called; give a function and its arguments")
        if self._deferred is None:
            self._deferred = []
        self._deferred.append((callback, args))

    @property
    def has_deferred(self) -> bool:
        """Whether anything is deferred."""
        return bool(self._deferred)

    def take_deferred(self) -> Iterator[tuple[Callable[..., object], tuple[Any, ...]]]:
        """What was deferred, the last first, also what is deferred in the meantime."""
        while self._deferred:
            yield self._deferred.pop()

    def undo_deferred(self) -> None:
        """Call what was deferred. What fails is logged, and does not keep the others from being called."""
        for callback, args in self.take_deferred():
            try:
                callback(*args)
            except Exception:
                self.deferred_failed(callback)

    async def undo_deferred_async(self) -> None:
        """The same in async code."""
        for callback, args in self.take_deferred():
            try:
                result: Any = callback(*args)
                if hasattr(result, "__await__"):
                    await result
            except Exception:
                self.deferred_failed(callback)

    def deferred_failed(self, callback: Callable[..., object]) -> None:
        """Log the failure of a deferred call, which is being handled."""
        self.log.exception("%r, deferred by %r, failed", callback, self.name)  # noqa: LOG004

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry `task` (the name) and `attempt`; in a handler, `actor` (the name)."""
        import logging

        if self.kind == "actor":
            return logging.LoggerAdapter(logging.getLogger("actorsched.actor"), {"actor": self.name})
        return logging.LoggerAdapter(
            logging.getLogger("actorsched.task"), {"task": self.name, "attempt": self.attempt}
        )

    @property
    def runtime(self) -> RemoteRuntime:
        """The runtime outside."""
        return RemoteRuntime()


class TaskContext(HostedContext):
    """What `current()` is in a task in a host."""

    kind = "task"
    __slots__ = ("number", "stop", "time")

    time: tuple[float, float, bool] | None
    """What is known of the deadline, and of the runtime's clock: see `wire.Run`."""
    stop: Callable[[], object] | None
    """How to cancel what runs in a loop; None while nothing does."""

    def __init__(self, port: Port, run: Run) -> None:
        # As the base does, without the price of a second call: this is paid for every task.
        self._port = port
        self.origin = run.task_id
        self.name = run.name
        self.attempt = run.attempt
        self.time = run.time
        self.number = run.number
        self.cancel_requested = False
        self.reason = self._deferred = self.stop = None

    def __getattr__(self, name: str) -> Any:
        if name in ("ref", "sender", "spawn", "after", "every"):
            raise RuntimeError(f"{self.name!r} is a task; only a handler of an actor has this")
        raise AttributeError(name, obj=self, name=name)

    @property
    def id(self) -> str | None:
        """The id of the task."""
        return f"task-{self.number}"

    @property
    def deadline(self) -> float | None:
        """When the task has to be done."""
        return None if self.time is None else self.time[0]

    def checkpoint(self) -> None:
        """Stop here if the runtime wants it; in async code every `await` does that, and this does nothing.

        Raises:
            Interrupted: The task was cancelled, or its time is over.
        """
        if self.cancel_requested and self.stop is None:
            raise self.interruption()

    def interruption(self) -> Interrupted:
        """What the task ends with when it was told to stop."""
        from actorsched.exceptions import Interrupted

        because = f": {self.reason}" if self.reason else ""
        return Interrupted(f"task {self.name!r} was told to stop{because}", reason=self.reason)

    def cancel(self, reason: str | None) -> None:
        """The runtime wants the task to stop; from any thread."""
        self.reason = reason
        self.cancel_requested = True
        if self.stop is not None:
            try:
                self.stop()
            except RuntimeError:  # its loop has ended in this moment
                pass


class CallContext(HostedContext):
    """What `current()` is in a handler, or a hook, of an actor in a host.

    Attributes:
        ref: The actor's own reference.
        sender: Who sent the message; None if unknown.
    """

    __slots__ = ("ref", "sender")

    def __init__(self, port: Port, opened: Open, ref: Any, origin: int, sender: Any = None) -> None:
        super().__init__(port, origin, opened.name, 1)
        self.ref = ref
        self.sender = sender

    async def spawn(self, target: Any, /, *args: Any, **options: Any) -> Any:
        """Start a supervised child of this actor, and return its reference."""
        return await _request("spawn_child", (target, args, options))

    def after(self, delay: Any, handler: Any, /, *args: Any, **kwargs: Any) -> HostedTimer:
        """Send this actor a message after a delay; `key=` names it, and replaces the one of that key.

        Raises:
            TypeError: It is no handler of this actor, or does not take these arguments.
            ValueError: The delay is none.
        """
        return _set_timer(self.ref, "after", delay, handler, args, kwargs)

    def every(self, period: Any, handler: Any, /, *args: Any, **kwargs: Any) -> HostedTimer:
        """Send this actor a message again and again; `key=` names the timer, as for `after`."""
        return _set_timer(self.ref, "every", period, handler, args, kwargs)


class HostedTimer:
    """A timer that an actor in a host has set; the runtime keeps it."""

    __slots__ = ("_key",)

    def __init__(self, key: object) -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"<timer {self._key!r} of an actor in a host>"

    def cancel(self) -> None:
        """Send no more messages. One that is already in the mailbox stays there."""
        _tell("cancel_timer", (self._key,))


_timers = count(1)


def _set_timer(
    ref: Any, verb: str, delay: Any, handler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> HostedTimer:
    from actorsched.durations import seconds

    key = kwargs.pop("key", None)
    first = seconds(delay, field="period" if verb == "every" else "delay")
    if verb == "every" and not first:
        raise ValueError(f"period={delay!r} is no time at all; give a duration above zero")
    name = handler if isinstance(handler, str) else ref.name_of(handler, args, kwargs)
    if key is None:
        key = "actorsched: timer without a key", os.getpid(), next(_timers)
    body = (first, name, args, key)
    _tell(verb, (*body, kwargs) if kwargs else body)
    return HostedTimer(key)


class RemoteRuntime:
    """The runtime, as code in a host sees it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<the runtime outside of this host>"

    @property
    def now(self) -> float:
        """The present time of the runtime's clock, in seconds. Known in tasks that have a deadline.

        Raises:
            RuntimeError: No task that has one is running here.
        """
        time: tuple[float, float, bool] | None = getattr(CURRENT.get(), "time", None)
        if time is None:
            raise RuntimeError(
                "in a host process Runtime.now is known in tasks that have a deadline only; to measure how "
                "long something takes use time.monotonic()"
            )
        _, clock, stands = time
        return clock if stands else clock + _doorway().monotonic()

    async def request(self, verb: str, body: object) -> Any:
        """Ask the runtime for something that has no method here."""
        return await _request(verb, body)

    async def spawn(self, target: Any, /, *args: Any, **options: Any) -> Any:
        """As `Runtime.spawn`: start a task or an actor, and return its reference."""
        return await _request("spawn", (target, args, options))

    async def run(self, target: Any, /, *args: Any, **options: Any) -> Any:
        """As `Runtime.run`: start a task, and return its result."""
        return await _request("run", (target, args, options))

    async def monitor(self, ref: Any) -> ExitReason:
        """As `Runtime.monitor`: wait until an actor has ended for good, and tell how."""
        from actorsched._hosting.failures import unpack_error
        from actorsched.messages import ExitReason

        kind, error = await _request("monitor", (ref,))
        return ExitReason(kind, None if error is None else unpack_error(error, f"the end of {ref!r}"))

    async def sleep(self, duration: Any) -> None:
        """As `Runtime.sleep`: wait on the runtime's clock."""
        await _request("sleep", (duration,))

    async def shutdown(self, drain: bool = True, timeout: Any = None) -> None:
        """As `Runtime.shutdown`; from inside, as this always is, it asks and returns at once."""
        await _request("shutdown", (drain, timeout))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a host process has no Runtime.{name}: spawn, run, monitor, sleep and shutdown are what code in "
            "a host can ask of its runtime; do the rest in the runtime's own process, for instance in a task "
            "or an actor with host='loop' that is asked from here",
            obj=self,
            name=name,
        )


async def _request(verb: str, body: object) -> Any:
    return await _doorway().request(verb, body)


def _tell(verb: str, body: object) -> None:
    _doorway().tell(verb, body)


def _doorway() -> inside.Doorway:
    doorway = inside.present()
    assert doorway is not None
    return doorway

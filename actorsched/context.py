"""What running code can know and say about itself: `current()` and `checkpoint()`.

The same in the loop, in a thread and in a host process; there the host's own context object takes the
place of `Context`, with the same members.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal

from actorsched._kernel.current import CURRENT

if TYPE_CHECKING:
    import logging
    from contextlib import AbstractAsyncContextManager as AsyncContextManager

    from actorsched._system.handlers import Handler
    from actorsched.actor import ActorRef
    from actorsched.durations import Duration
    from actorsched.runtime import Runtime
    from actorsched.signatures import SetTimer, SpawnActor
    from actorsched.task import TaskRef


class Context:
    """The running task or handler, seen from inside. Made by `current()`.

    What only a handler of an actor can do or know says so, and raises `RuntimeError` in a task.
    """

    __slots__ = ("_run",)

    def __init__(self, run: Any) -> None:
        self._run = run

    def __repr__(self) -> str:
        return f"<context of {self._run!r}>"

    @property
    def name(self) -> str:
        """The name of the task or actor."""
        name: str = self._run.owner.name
        return name

    @property
    def kind(self) -> Literal["task", "actor"]:
        """Whether this is a task, or a handler of an actor."""
        role: Literal["task", "actor"] = self._run.role
        return role

    @property
    def id(self) -> str | None:
        """The id of the task, as its ref and its events have it; None in a handler of an actor."""
        owner = self._run.owner
        return owner.id if owner.settles else None

    @property
    def host(self) -> Literal["loop", "thread", "process"]:
        """Where the code runs that asks: in the event loop, in a thread, or in a host process."""
        return "loop" if get_ident() == self._run.kernel.thread else "thread"

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        attempt: int = self._run.attempt
        return attempt

    @property
    def cancel_requested(self) -> bool:
        """Whether it has been told to stop: cancelled, timed out, or its runtime closes."""
        requested: bool = self._run.cancel_requested
        return requested

    @property
    def preempt_requested(self) -> bool:
        """Whether a more urgent task wants its place. It may save what it has, and return; it need not."""
        requested: bool = self._run.owner.settles and self._run.preempt_requested
        return requested

    @property
    def deadline(self) -> float | None:
        """When the task has to be done, in seconds of its runtime's clock (`runtime.now`); None for no limit.

        Its own deadline, or an earlier one that it inherits from those who wait for it. It means the same in
        the loop, in a thread and in a host process: `current().deadline - current().runtime.now` is what is
        left. A host knows the deadline that the task had when it was sent there.
        """
        due: float = getattr(self._run.owner, "due", inf)
        return None if due == inf else due

    def acquire(self, *names: str) -> AsyncContextManager[None]:
        """Hold one unit of each of these resources: `async with current().acquire("db"): ...`.

        While it is held, the task inherits the priority and the deadline of whoever waits for it. In an async
        task.

        Raises:
            RuntimeError: It is no async task that runs in the event loop.
            TypeError: A name is no str.
            ValueError: A resource was never declared.
            DeadlockError: On entering: this task and others wait for each other, and it has to give way.
        """
        acquisition: Callable[[tuple[str, ...]], AsyncContextManager[None]] | None = getattr(
            self._run, "acquisition", None
        )
        if acquisition is None:
            raise RuntimeError(
                f"{self.name!r} cannot acquire resources: only an async task in the event loop can; "
                'name them at the submission instead: resources={"db"}'
            )
        made: AsyncContextManager[None] = acquisition(names)
        return made

    @property
    def runtime(self) -> Runtime:
        """The `Runtime` that it runs in."""
        runtime: Runtime = self._run.kernel.facade
        return runtime

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry `task` (the name) and `attempt`; in a handler, `actor` (the name)."""
        import logging

        if self.kind == "actor":
            return logging.LoggerAdapter(logging.getLogger("actorsched.actor"), {"actor": self.name})
        return logging.LoggerAdapter(
            logging.getLogger("actorsched.task"), {"task": self.name, "attempt": self.attempt}
        )

    def report(self, fraction: float, message: str | None = None) -> None:
        """Say how far the task is; whoever has its ref reads it in `ref.progress`.

        Args:
            fraction: From 0 to 1.
            message: For people.

        Raises:
            ValueError: The fraction is no number from 0 to 1.
        """
        from actorsched.messages import Report, check_fraction

        check_fraction(fraction)
        run = self._run
        run.kernel.post_threadsafe(run.owner, Report(float(fraction), message))

    def defer(self, callback: Callable[..., object], *args: Any) -> None:
        """Have something called when this attempt or handler ends, however it ends; the last deferred first.

        In the loop an async function may be deferred too. No cancellation of the task reaches it.
        """
        if not callable(callback):
            raise TypeError(f"callback={callback!r} cannot be called; give a function and its arguments")
        run = self._run
        if run.deferred is None:
            nothing: list[Any] = []
            run.deferred = nothing
        run.deferred.append((callback, args))

    # ------------------------------------------------------------------------------- in a handler only

    def _cell(self) -> Any:
        run = self._run
        if run.role != "actor":
            raise RuntimeError(f"{self.name!r} is a task; only a handler of an actor has this")
        return run.owner

    @property
    def ref(self) -> ActorRef[Any]:
        """The actor itself, as others see it. In a handler."""
        from actorsched.actor import ActorRef

        return ActorRef(self._cell())

    @property
    def sender(self) -> ActorRef[Any] | TaskRef[Any] | None:
        """The ref of the task or actor that sent this message; None when it came from elsewhere.

        In a handler.
        """
        from actorsched.actor import ActorRef
        from actorsched.task import another_ref

        self._cell()
        sender = self._run.sender
        if sender is None:
            return None
        return another_ref(sender) if sender.settles else ActorRef(sender)

    if TYPE_CHECKING:
        spawn: SpawnActor
    else:  # what may be called how is said in `signatures`

        async def spawn(self, actor: Callable[..., Any], /, *args: Any, **options: Any) -> ActorRef[Any]:
            """Spawn a child: supervised by this actor, and stopped with it. In a handler.

            Args:
                actor: A class of actors.
                args: For its constructor.
                options: As for `rt.spawn`.
            """
            from actorsched.spawning import spawn_child

            return await spawn_child(self._cell(), actor, args, options)

    if TYPE_CHECKING:
        after: SetTimer
        every: SetTimer
    else:

        def after(self, delay: Duration, handler: Any, /, *args: Any, **kwargs: Any) -> ActorTimer:
            """Send this actor a message after a delay. In a handler.

            Args:
                delay: A duration.
                handler: The handler; `args` follow it.
                kwargs: Its keyword arguments; `key=` names the timer: another with the same key replaces it.
            """
            return self._timer(delay, handler, args, kwargs, periodic=False)

        def every(self, period: Duration, handler: Any, /, *args: Any, **kwargs: Any) -> ActorTimer:
            """Send this actor a message again and again, first after one period. In a handler.

            The times do not drift. One that would come while the one before is still queued is left out.
            """
            return self._timer(period, handler, args, kwargs, periodic=True)

    def _timer(
        self, delay: Duration, handler: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, periodic: bool
    ) -> ActorTimer:
        from actorsched.durations import seconds

        key = kwargs.pop("key", None)
        cell = self._cell()
        entry = cell.table.of(handler, cell.actor_class)
        entry.check(args, kwargs)
        first = seconds(delay, field="period" if periodic else "delay")
        if periodic and not first:
            raise ValueError(f"period={delay!r} is no time at all; give a duration above zero")
        return ActorTimer(self._set_timer(first, periodic, entry, args, kwargs, key))

    def _set_timer(self, delay: float, periodic: bool, handler: Handler, *message: Any) -> Any:
        """Set a timer whose arguments were checked: args, kwargs and key follow the handler."""
        from actorsched._system.actor_timers import set_timer

        return set_timer(self._cell(), delay, periodic, handler, *message)


class ActorTimer:
    """A timer of an actor. It ends with the actor's present life, or when it is cancelled."""

    __slots__ = ("_entry",)

    def __init__(self, entry: Any) -> None:
        self._entry = entry

    def __repr__(self) -> str:
        return repr(self._entry)

    def cancel(self) -> None:
        """Send no more messages. One that is already in the mailbox stays there."""
        self._entry.cancel()


def current() -> Context:
    """The context of the task or handler that is running here.

    Raises:
        RuntimeError: No task or handler of a runtime is running here.
    """
    run: Any = CURRENT.get()
    if run is None:
        raise RuntimeError("current() was called where no task or handler of a Runtime is running")
    match getattr(run, "role", "host"):
        case "task":
            return Context(run)
        case "actor":
            return Context(run.present_run())
        case _:
            context: Context = run  # the host's own, with the same members
            return context


def checkpoint() -> None:
    """The point at which a plain function lets itself be cancelled; call it now and then in long ones.

    In an async task every `await` is one already, and this does nothing; so it does outside of tasks.

    Raises:
        Interrupted: The task was cancelled, or its time is over. Let it leave the function.
    """
    run: Any = CURRENT.get()
    if run is not None and getattr(run, "role", "host") != "actor":
        run.checkpoint()

"""Refs that cross to host processes and back, and what they can do there.

A ref travels as its number. In the runtime's process the number means the actor or task again; in a host it
becomes a remote ref, which does everything by asking the runtime. What it asks for is done by `errands`.

A ref of an actor travels with its class where that can be imported, so that wrong arguments are refused at
the call. Otherwise the names of its handlers go along; what is told is held against the function that is
given, and what is asked is refused by the runtime.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from actorsched._hosting import inside
from actorsched._hosting.failures import unpack_error
from actorsched._hosting.importable import can_import
from actorsched._system.handlers import Handler, table_of
from actorsched.actor import Actor, ActorRef
from actorsched.durations import Duration, seconds
from actorsched.exceptions import ActorStopped
from actorsched.messages import Outcome
from actorsched.options import Priority
from actorsched.status import TaskStatus
from actorsched.task import another_ref

if TYPE_CHECKING:
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter

_REMEMBERED = 10_000
"""How many tasks whose refs have travelled are kept, so that the refs stay valid."""

_OF_TASKS = ("attempt", "description", "metadata", "priority", "progress", "tags")
"""What refs of tasks have besides, where the runtime is."""

_actors: WeakValueDictionary[int, ActorCell] = WeakValueDictionary()
_tasks: WeakValueDictionary[int, TaskActor] = WeakValueDictionary()

Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


# ----------------------------------------------------------------------------------------- travelling


def reduce_actor(cell: ActorCell) -> Reduced:
    """How the ref of an actor travels."""
    _actors[cell.number] = cell
    actor_class = cell.actor_class
    if _is_importable(actor_class):
        return revive_actor, (cell.number, cell.name, actor_class)
    handlers = {name: handler.streams for name, handler in cell.table.handlers.items()}
    return revive_actor, (cell.number, cell.name, None, handlers)


def _is_importable(actor_class: Any) -> bool:
    found: Any = sys.modules.get(actor_class.__module__)
    for name in actor_class.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is actor_class and can_import(actor_class.__module__)


def revive_actor(
    number: int,
    name: str,
    actor_class: type[Actor] | None = None,
    handlers: Mapping[str, bool] | None = None,
) -> Any:
    """The ref of an actor, where it has arrived.

    Raises:
        ActorStopped: The actor has ended, and nobody holds it any more.
    """
    if inside.present() is not None:
        return RemoteActorRef(number, name, actor_class, handlers or {})
    cell = _actors.get(number)
    if cell is None:
        raise ActorStopped(f"the ref of actor {name!r} has arrived after the actor had ended", actor=name)
    ref: ActorRef[Any] = ActorRef(cell)
    return ref


def reduce_task(task: TaskActor) -> Reduced:
    """How the ref of a task travels. The task is kept for a while, for whoever will look at its outcome."""
    travelled = task.kernel.facade._system.travelled
    if task.number in travelled:
        travelled.move_to_end(task.number)
    else:
        travelled[task.number] = another_ref(task)
        if len(travelled) > _REMEMBERED:
            travelled.popitem(last=False)
    return _passing(task)


def _passing(task: TaskActor) -> Reduced:
    _tasks[task.number] = task
    return revive_task, (task.number, task.name)


def revive_task(number: int, name: str) -> Any:
    """The ref of a task, where it has arrived.

    Raises:
        LookupError: It has settled, and nobody holds it any more, or too many have travelled since.
    """
    if inside.present() is not None:
        return RemoteTaskRef(number, name)
    task = _tasks.get(number)
    if task is None:
        raise LookupError(
            f"the ref of task {name!r} has arrived when the task was no longer known: it has settled, and "
            "nobody in the process of its runtime has its ref; "
            f"only the {_REMEMBERED:,} whose refs have travelled last are kept"
        )
    return another_ref(task)


class PassingRef:
    """What becomes the ref of a task or actor in a host; it keeps neither alive."""

    __slots__ = ("_waiter",)

    def __init__(self, waiter: Waiter) -> None:
        self._waiter: Any = waiter

    def __repr__(self) -> str:
        return f"<passing ref of {self._waiter!r}>"

    def __reduce__(self) -> Reduced:
        waiter = self._waiter
        return _passing(waiter) if waiter.settles else reduce_actor(waiter)


# ------------------------------------------------------------------------------------------ in a host


def _doorway() -> inside.Doorway:
    doorway = inside.present()
    assert doorway is not None
    return doorway


class RemoteActorRef:
    """An actor, seen from a host process: everything that `ActorRef` offers to code that runs there."""

    __slots__ = ("_class", "_handlers", "_name", "_number")

    def __init__(
        self, number: int, name: str, actor_class: type[Actor] | None, handlers: Mapping[str, bool]
    ) -> None:
        self._number = number
        self._name = name
        self._class = actor_class
        self._handlers = handlers

    def __repr__(self) -> str:
        return f"<ActorRef {self._name!r}, from a host>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteActorRef) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._class is None:
            return revive_actor, (self._number, self._name, None, self._handlers)
        return revive_actor, (self._number, self._name, self._class)

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def ask(self) -> Any:
        """Its handlers, each to be called and awaited."""
        return self.asking()

    def asking(self, *, timeout: Duration | None = None, priority: int = Priority.NORMAL) -> Any:
        """The same, with options: see `ActorRef.asking`."""
        limit = None if timeout is None else seconds(timeout, field="timeout")
        if self._class is None:
            return RemoteAsking(self, limit, priority)
        proxy = table_of(self._class, Actor).proxy(RemoteAsking, _method)
        return proxy(self, limit, priority)

    def tell(self, handler: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Send a message that nobody waits for. A full mailbox makes it a dead letter."""
        _doorway().tell("tell", (self, self.name_of(handler, args, kwargs), args, kwargs))

    async def telling(self, handler: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Send a message that nobody waits for, and return when it is in the mailbox."""
        await _doorway().request("telling", (self, self.name_of(handler, args, kwargs), args, kwargs))

    def name_of(self, handler: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """The name of a handler, if it can be told these arguments.

        Raises:
            TypeError: It is none, or they are not its arguments.
        """
        if self._class is not None:
            entry = table_of(self._class, Actor).of(handler, self._class)
            entry.check(args, kwargs)
            return entry.name
        name = getattr(handler, "__name__", "")
        if self._handlers.get(name, True):
            told = ", ".join(name for name, streams in self._handlers.items() if not streams)
            raise TypeError(
                f"{handler!r} is no handler of {self._name!r} that can be told; it has: {told or 'none'}"
            )
        # The class itself has stayed behind, or come by value; the function is here all the same.
        Handler(self._name, name, handler, streams=False).check(args, kwargs)
        return str(name)

    async def stop(self) -> None:
        """Let it handle what is in its mailbox, then end."""
        await _doorway().request("stop", (self,))

    async def kill(self) -> None:
        """End it at once."""
        await _doorway().request("kill", (self,))

    def link(self, other: Any) -> None:
        """From now on, when one of the two fails, the other fails with it: see `ActorRef.link`.

        That one of them has ended is written to the log of the runtime.
        """
        _doorway().tell("link", (self, _actor(other)))

    def unlink(self, other: Any) -> None:
        """Undo `link`."""
        _doorway().tell("unlink", (self, _actor(other)))

    def __getattr__(self, name: str) -> Any:
        if name in ("alive", "load", "queued"):
            raise AttributeError(
                f"{name!r} of actor {self._name!r} is not known in a host process; ask the actor, which "
                "raises ActorStopped when it has ended, or await current().runtime.monitor(ref)",
                obj=self,
                name=name,
            )
        raise AttributeError(f"an ActorRef has no attribute {name!r}", obj=self, name=name)


def _actor(value: Any) -> RemoteActorRef:
    if not isinstance(value, RemoteActorRef):
        raise TypeError(f"{value!r} is no ActorRef; give one that has arrived here or that spawn returned")
    return value


class RemoteAsking:
    """What `ref.ask` is in a host: an object with one method for each handler."""

    __slots__ = ("_priority", "_ref", "_timeout")

    def __init__(self, ref: RemoteActorRef, timeout: float | None, priority: int) -> None:
        self._ref = ref
        self._timeout = timeout
        self._priority = priority

    def __repr__(self) -> str:
        return f"<asking {self._ref!r}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A handler of an actor whose class has stayed behind."""
        handlers = self._ref._handlers
        if name not in handlers:
            known = ", ".join(sorted(handlers)) or "none that can be seen here"
            raise AttributeError(
                f"{self._ref!r} has no handler {name!r}. It has: {known}", obj=self, name=name
            )

        def asked(*args: Any, **kwargs: Any) -> Any:
            return self._send(name, handlers[name], args, kwargs)

        return asked

    def _send(self, name: str, streams: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        body = (self._ref, name, args, kwargs, self._timeout, self._priority)
        return RemoteStream(body) if streams else _doorway().request("ask", body)


def _method(handler: Handler) -> Callable[..., Any]:
    def asked(self: RemoteAsking, /, *args: Any, **kwargs: Any) -> Any:
        handler.check(args, kwargs)
        return self._send(handler.name, handler.streams, args, kwargs)

    asked.__name__ = handler.name
    return asked


class RemoteStream(AsyncIterator[Any]):
    """A streamed reply, read in a host. Leaving the loop closes it, as does `aclose()`."""

    __slots__ = ("_body", "_doorway", "_number", "_over")

    def __init__(self, body: tuple[Any, ...]) -> None:
        self._body = body
        self._doorway = _doorway()  # the collector may come upon it where there is none
        self._number: int | None = None
        self._over = False

    def __repr__(self) -> str:
        return f"<stream of {self._body[1]} from {self._body[0]!r}>"

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        try:
            if self._number is None:
                self._number = await self._doorway.request("stream", self._body)
            more, item = await self._doorway.request("next_item", (self._number,))
        except BaseException:
            number, self._number = self._number, None
            self._over = True
            self._drop(number)
            raise
        if not more:
            self._number = None
            self._over = True
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close it, and return when its generator is closed."""
        number, self._number = self._number, None
        self._over = True
        if number is not None:
            await self._doorway.request("close_stream", (number,))

    def __del__(self) -> None:
        self._drop(self._number)

    def _drop(self, number: int | None) -> None:
        if number is not None:
            self._doorway.tell("drop_stream", (number,))


class RemoteTaskRef:
    """A task, seen from a host process. `await ref` gives its result, or raises its error.

    How it ended is known here once it was awaited here. What changes until then is known only where its
    runtime is: asking for it would be a wait, and properties do not wait.
    """

    __slots__ = ("_ended", "_name", "_number")

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name
        self._ended: Outcome[Any] | None = None

    def __repr__(self) -> str:
        return f"<TaskRef {self._name!r}, from a host>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteTaskRef) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return revive_task, (self._number, self._name)

    def __await__(self) -> Generator[Any, Any, Any]:
        outcome = yield from self.outcome().__await__()
        return outcome.unwrap()

    def __getattr__(self, name: str) -> Any:
        if name in _OF_TASKS:
            raise AttributeError(self._unknown(repr(name)), obj=self, name=name)
        raise AttributeError(f"a TaskRef has no attribute {name!r}", obj=self, name=name)

    @property
    def id(self) -> str:
        """Its id, unique in the process of the runtime."""
        return f"task-{self._number}"

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def status(self) -> TaskStatus:
        """How it ended.

        Raises:
            RuntimeError: It was not awaited here.
        """
        return self._known("the status").status

    def done(self) -> bool:
        """True, if it was awaited here.

        Raises:
            RuntimeError: It was not, so nobody knows here.
        """
        return bool(self._known("the end").status)

    def result(self) -> Any:
        """Its result.

        Raises:
            RuntimeError: It was not awaited here.
            BaseException: Its error.
        """
        return self._known("the result").unwrap()

    def exception(self) -> BaseException | None:
        """Its error; None when it completed.

        Raises:
            RuntimeError: It was not awaited here.
        """
        return self._known("the error").error

    @property
    def tardiness(self) -> float | None:
        """By how many seconds it ended after its deadline; None without one.

        Raises:
            RuntimeError: It was not awaited here.
        """
        return self._known("the tardiness").tardiness

    def _known(self, what: str) -> Outcome[Any]:
        if self._ended is None:
            raise RuntimeError(self._unknown(what))
        return self._ended

    def _unknown(self, what: str) -> str:
        return (
            f"{what} of task {self._name!r} is not known in a host process: `await ref.outcome()` tells "
            "how it ends; what it is like until then is known where its Runtime is"
        )

    async def outcome(self) -> Outcome[Any]:
        """How it ended, once it has; never raises what the task raised."""
        if self._ended is None:
            status, value, packed, tardiness = await _doorway().request("outcome", (self,))
            error = None if packed is None else unpack_error(packed, f"the error of task {self._name!r}")
            self._ended = Outcome(TaskStatus(status), value, error, tardiness=tardiness)
        return self._ended

    async def set_priority(self, priority: int) -> None:
        """Change its base priority: see `TaskRef.set_priority`."""
        await _doorway().request("set_priority", (self, priority))

    async def cancel(self, reason: str | None = None) -> None:
        """Stop it, and return when it has stopped."""
        await _doorway().request("cancel", (self, reason))

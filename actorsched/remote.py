"""Refs that cross to host processes and back, and what they can do there.

A ref travels as its number. In the runtime's process the number means the actor or task again; in a host it
becomes a remote ref, which does everything by asking the runtime. The functions under `VERBS` are the other
end: they run in the runtime's process, in the name of whoever asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from actorsched._hosting import inside
from actorsched._kernel.current import CURRENT
from actorsched._system.asking import ask, make_call, telling
from actorsched._system.handlers import Handler, table_of
from actorsched.actor import Actor, ActorRef, Stream
from actorsched.durations import Duration, seconds
from actorsched.exceptions import ActorStopped
from actorsched.options import Priority
from actorsched.task import TaskRef, another_ref

if TYPE_CHECKING:
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter

_REMEMBERED = 10_000
"""How many tasks whose refs have travelled are kept, so that the refs stay valid."""

_actors: WeakValueDictionary[int, ActorCell] = WeakValueDictionary()
_tasks: OrderedDict[int, TaskActor] = OrderedDict()
_stream_numbers = count(1)


# ----------------------------------------------------------------------------------------- travelling


def reduce_actor(cell: ActorCell) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """How the ref of an actor travels."""
    _actors[cell.number] = cell
    return revive_actor, (cell.number, cell.actor_class, cell.name)


def revive_actor(number: int, actor_class: type[Actor] | None, name: str) -> Any:
    """The ref of an actor, where it has arrived.

    It travels to a host with its class, and back without: a class that travels by value would be made anew.

    Raises:
        ActorStopped: The actor has ended, and nobody holds it any more.
    """
    if inside.doorway is not None:
        assert actor_class is not None
        return RemoteActorRef(number, actor_class, name)
    cell = _actors.get(number)
    if cell is None:
        raise ActorStopped(f"the ref of actor {name!r} has arrived after the actor had ended", actor=name)
    ref: ActorRef[Any] = ActorRef(cell)
    return ref


def reduce_task(task: TaskActor) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """How the ref of a task travels."""
    _tasks[task.number] = task
    _tasks.move_to_end(task.number)
    while len(_tasks) > _REMEMBERED:
        _tasks.popitem(last=False)
    return revive_task, (task.number, task.name)


def revive_task(number: int, name: str) -> Any:
    """The ref of a task, where it has arrived.

    Raises:
        LookupError: So many refs have travelled since that this one is forgotten.
    """
    if inside.doorway is not None:
        return RemoteTaskRef(number, name)
    task = _tasks.get(number)
    if task is None:
        raise LookupError(
            f"the ref of task {name!r} is no longer known: {_REMEMBERED:,} others have travelled since"
        )
    return another_ref(task)


def make_ref(waiter: Waiter) -> Any:
    """The ref of a task or an actor of this process."""
    return another_ref(waiter) if waiter.settles else ActorRef(waiter)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ in a host


def _doorway() -> inside.Doorway:
    assert inside.doorway is not None
    return inside.doorway


class RemoteActorRef:
    """An actor, seen from a host process: everything that `ActorRef` offers to code that runs there."""

    __slots__ = ("_class", "_name", "_number")

    def __init__(self, number: int, actor_class: type[Actor], name: str) -> None:
        self._number = number
        self._class = actor_class
        self._name = name

    def __repr__(self) -> str:
        return f"<ActorRef {self._name!r}, from a host>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteActorRef) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return revive_actor, (self._number, None, self._name)  # its class is known where it goes

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
        proxy = table_of(self._class, Actor).proxy(RemoteAsking, _method)
        return proxy(self, limit, priority)

    def tell(self, handler: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Send a message that nobody waits for. A full mailbox makes it a dead letter."""
        _doorway().tell("tell", (self, self._entry(handler, args, kwargs).name, args, kwargs))

    async def telling(self, handler: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Send a message that nobody waits for, and return when it is in the mailbox."""
        await _doorway().request("telling", (self, self._entry(handler, args, kwargs).name, args, kwargs))

    def _entry(
        self, handler: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Handler:
        entry = table_of(self._class, Actor).of(handler, self._class)
        entry.check(args, kwargs)
        return entry

    async def stop(self) -> None:
        """Let it handle what is in its mailbox, then end."""
        await _doorway().request("stop", (self,))

    async def kill(self) -> None:
        """End it at once."""
        await _doorway().request("kill", (self,))


class RemoteAsking:
    """What `ref.ask` is in a host: an object with one method for each handler."""

    __slots__ = ("_priority", "_ref", "_timeout")

    def __init__(self, ref: RemoteActorRef, timeout: float | None, priority: int) -> None:
        self._ref = ref
        self._timeout = timeout
        self._priority = priority

    def __repr__(self) -> str:
        return f"<asking {self._ref!r}>"


def _method(handler: Handler) -> Callable[..., Any]:
    def asked(self: RemoteAsking, /, *args: Any, **kwargs: Any) -> Any:
        handler.check(args, kwargs)
        body = (self._ref, handler.name, args, kwargs, self._timeout, self._priority)
        return RemoteStream(body) if handler.streams else _doorway().request("ask", body)

    asked.__name__ = handler.name
    return asked


class RemoteStream(AsyncIterator[Any]):
    """A streamed reply, read in a host. Leaving the loop closes it, as does `aclose()`."""

    __slots__ = ("_body", "_number")

    def __init__(self, body: tuple[Any, ...]) -> None:
        self._body = body
        self._number: int | None = None

    def __repr__(self) -> str:
        return f"<stream of {self._body[1]} from {self._body[0]!r}>"

    async def __anext__(self) -> Any:
        if self._number is None:
            self._number = await _doorway().request("stream", self._body)
        more, item = await _doorway().request("next_item", (self._number,))
        if not more:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close it, and return when its generator is closed."""
        number, self._number = self._number, None
        if number is not None:
            await _doorway().request("close_stream", (number,))

    def __del__(self) -> None:
        if self._number is not None and inside.doorway is not None:
            inside.doorway.tell("close_stream", (self._number,))


class RemoteTaskRef:
    """A task, seen from a host process. `await ref` gives its result, or raises its error."""

    __slots__ = ("_name", "_number")

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name

    def __repr__(self) -> str:
        return f"<TaskRef {self._name!r}, from a host>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteTaskRef) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return revive_task, (self._number, self._name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return _doorway().request("result", (self,)).__await__()

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    async def cancel(self, reason: str | None = None) -> None:
        """Stop it, and return when it has stopped."""
        await _doorway().request("cancel", (self, reason))


# --------------------------------------------------------------------------------- in the runtime's process


async def _ask(
    system: System,
    ref: ActorRef[Any],
    name: str,
    args: Any,
    kwargs: Any,
    timeout: float | None,
    priority: int,
) -> Any:
    cell = ref._cell
    return await ask(make_call(cell, cell.table.find(name), args, kwargs, priority), timeout)


async def _tell(system: System, ref: ActorRef[Any], name: str, args: Any, kwargs: Any) -> None:
    cell = ref._cell
    cell.tell(cell.table.find(name).function, args, kwargs)


async def _telling(system: System, ref: ActorRef[Any], name: str, args: Any, kwargs: Any) -> None:
    cell = ref._cell
    await telling(make_call(cell, cell.table.find(name), args, kwargs, Priority.NORMAL))


async def _stop(system: System, ref: ActorRef[Any]) -> None:
    await ref.stop()


async def _kill(system: System, ref: ActorRef[Any]) -> None:
    await ref.kill()


async def _stream(
    system: System,
    ref: ActorRef[Any],
    name: str,
    args: Any,
    kwargs: Any,
    timeout: float | None,
    priority: int,
) -> int:
    cell = ref._cell
    call = make_call(cell, cell.table.find(name), args, kwargs, priority)
    number = next(_stream_numbers)
    system.remote_streams[number] = Stream(call, timeout)
    return number


async def _next_item(system: System, number: int) -> tuple[bool, Any]:
    stream = system.remote_streams.get(number)
    if stream is None:
        return False, None
    try:
        return True, await stream.__anext__()
    except BaseException as error:
        system.remote_streams.pop(number, None)
        if isinstance(error, StopAsyncIteration):
            return False, None
        raise


async def _close_stream(system: System, number: int) -> None:
    stream = system.remote_streams.pop(number, None)
    if stream is not None:
        await stream.aclose()


async def _result(system: System, ref: TaskRef[Any]) -> Any:
    return await ref


async def _cancel(system: System, ref: TaskRef[Any], reason: str | None) -> None:
    await ref.cancel(reason)


async def _spawn(system: System, target: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return await system.facade.spawn(target, *args, **options)


async def _run(system: System, target: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return await system.facade.run(target, *args, **options)


async def _spawn_child(system: System, target: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    from actorsched.spawning import spawn_child

    return await spawn_child(_asking_cell(), target, args, options)


async def _after(
    system: System, delay: Any, name: str, args: tuple[Any, ...], key: object, kwargs: Any = None
) -> None:
    _set_timer("delay", delay, name, args, kwargs or {}, key)


async def _cancel_timer(system: System, key: object) -> None:
    from actorsched._system.actor_timers import cancel_timer

    cancel_timer(_asking_cell(), key)


async def _every(
    system: System, period: Any, name: str, args: tuple[Any, ...], key: object, kwargs: Any = None
) -> None:
    _set_timer("period", period, name, args, kwargs or {}, key)


def _set_timer(
    field: str, delay: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], key: object
) -> None:
    from actorsched._system.actor_timers import set_timer

    cell = _asking_cell()
    handler = cell.table.find(name)
    handler.check(args, kwargs)
    set_timer(cell, seconds(delay, field=field), field == "period", handler, args, kwargs, key)


def _asking_cell() -> ActorCell:
    subject: Any = CURRENT.get()
    assert subject is not None
    cell: ActorCell = subject.owner
    return cell


VERBS: Mapping[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "ask": _ask,
    "tell": _tell,
    "telling": _telling,
    "stop": _stop,
    "kill": _kill,
    "stream": _stream,
    "next_item": _next_item,
    "close_stream": _close_stream,
    "result": _result,
    "cancel": _cancel,
    "spawn": _spawn,
    "run": _run,
    "spawn_child": _spawn_child,
    "after": _after,
    "every": _every,
    "cancel_timer": _cancel_timer,
}
"""What code in a host may ask for."""

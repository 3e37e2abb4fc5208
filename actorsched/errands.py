"""What is done in the runtime's process for code in its hosts: the other end of `remote`.

Each function runs in the name of the task or actor that asked, with the desk at which the host asks first
and what the host has sent after it. One that is no coroutine function may be told: it is done at once.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from actorsched._hosting.failures import pack_error
from actorsched._kernel.current import CURRENT
from actorsched._system.asking import ask, make_call, telling
from actorsched.actor import ActorRef, Stream
from actorsched.durations import seconds
from actorsched.options import Priority

if TYPE_CHECKING:
    from actorsched._hosting.wire import Error
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.call import Call
    from actorsched._system.host_requests import Desk
    from actorsched.task import TaskRef

_stream_numbers = count(1)


async def _ask(
    desk: Desk,
    ref: ActorRef[Any],
    name: str,
    args: Any,
    kwargs: Any,
    timeout: float | None,
    priority: int,
) -> Any:
    return await ask(_call(ref, name, args, kwargs, priority), timeout)


def _call(ref: ActorRef[Any], name: str, args: Any, kwargs: Any, priority: int = Priority.NORMAL) -> Call:
    cell = ref._cell
    handler = cell.table.find(name)
    handler.check(args, kwargs)
    return make_call(cell, handler, args, kwargs, priority)


def _tell(desk: Desk, ref: ActorRef[Any], name: str, args: Any, kwargs: Any) -> None:
    ref._cell.take_or_bury(_call(ref, name, args, kwargs))


async def _telling(desk: Desk, ref: ActorRef[Any], name: str, args: Any, kwargs: Any) -> None:
    await telling(_call(ref, name, args, kwargs))


async def _stop(desk: Desk, ref: ActorRef[Any]) -> None:
    await ref.stop()


async def _kill(desk: Desk, ref: ActorRef[Any]) -> None:
    await ref.kill()


async def _stream(
    desk: Desk,
    ref: ActorRef[Any],
    name: str,
    args: Any,
    kwargs: Any,
    timeout: float | None,
    priority: int,
) -> int:
    number = next(_stream_numbers)
    desk.streams[number] = Stream(_call(ref, name, args, kwargs, priority), timeout)
    return number


async def _next_item(desk: Desk, number: int) -> tuple[bool, Any]:
    stream = desk.streams.get(number)
    if stream is None:
        return False, None
    try:
        return True, await stream.__anext__()
    except BaseException as error:
        desk.streams.pop(number, None)
        if isinstance(error, StopAsyncIteration):
            return False, None
        raise


async def _close_stream(desk: Desk, number: int) -> None:
    stream = desk.streams.pop(number, None)
    if stream is not None:
        await stream.aclose()


def _dropped_stream(desk: Desk, number: int) -> None:
    desk.streams.pop(number, None)  # which closes it


async def _outcome(desk: Desk, ref: TaskRef[Any]) -> Any:
    outcome = await ref.outcome()
    error = _packed(outcome.error, f"the error of task {ref.name!r}")
    return outcome.status.value, outcome.value, error, outcome.tardiness


def _packed(error: BaseException | None, what: str) -> Error | None:
    """A traceback does not travel, so an error does in a form of its own."""
    return None if error is None else pack_error(error, what)


async def _set_priority(desk: Desk, ref: TaskRef[Any], priority: int) -> None:
    await ref.set_priority(priority)


async def _monitor(desk: Desk, ref: ActorRef[Any]) -> Any:
    reason = await desk.system.facade.monitor(ref)
    return reason.kind, _packed(reason.error, f"the end of actor {ref.name!r}")


async def _sleep(desk: Desk, duration: Any) -> None:
    await desk.system.facade.sleep(duration)


async def _shutdown(desk: Desk, drain: bool, timeout: Any) -> None:
    await desk.system.facade.shutdown(drain, timeout)


def _link(desk: Desk, ref: ActorRef[Any], other: ActorRef[Any]) -> None:
    ref.link(other)


def _unlink(desk: Desk, ref: ActorRef[Any], other: ActorRef[Any]) -> None:
    ref.unlink(other)


async def _cancel(desk: Desk, ref: TaskRef[Any], reason: str | None) -> None:
    await ref.cancel(reason)


async def _spawn(desk: Desk, target: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return await desk.system.facade.spawn(target, *args, **options)


async def _run(desk: Desk, target: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return await desk.system.facade.run(target, *args, **options)


async def _spawn_child(desk: Desk, target: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    from actorsched.spawning import spawn_child

    return await spawn_child(_asking_cell(), target, args, options)


def _after(desk: Desk, delay: Any, name: str, args: tuple[Any, ...], key: object, kwargs: Any = None) -> None:
    _set_timer("delay", delay, name, args, kwargs or {}, key)


def _every(
    desk: Desk, period: Any, name: str, args: tuple[Any, ...], key: object, kwargs: Any = None
) -> None:
    _set_timer("period", period, name, args, kwargs or {}, key)


def _cancel_timer(desk: Desk, key: object) -> None:
    from actorsched._system.actor_timers import cancel_timer

    cancel_timer(_asking_cell(), key)


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


VERBS: Mapping[str, Callable[..., Coroutine[Any, Any, Any] | None]] = {
    "ask": _ask,
    "tell": _tell,
    "telling": _telling,
    "stop": _stop,
    "kill": _kill,
    "stream": _stream,
    "next_item": _next_item,
    "close_stream": _close_stream,
    "drop_stream": _dropped_stream,
    "link": _link,
    "unlink": _unlink,
    "outcome": _outcome,
    "set_priority": _set_priority,
    "monitor": _monitor,
    "sleep": _sleep,
    "shutdown": _shutdown,
    "cancel": _cancel,
    "spawn": _spawn,
    "run": _run,
    "spawn_child": _spawn_child,
    "after": _after,
    "every": _every,
    "cancel_timer": _cancel_timer,
}
"""What code in a host may ask for, and, where it is no coroutine, may tell."""

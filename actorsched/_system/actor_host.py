"""Actors in host processes: everything but the code stays here.

A `HostedCell` is an ordinary cell. Its mailbox, its turns, its lives and its supervisor are in the runtime's
process; only hooks and handlers run in the host, one at a time, and streams step by step with the demand.
So order, back-pressure, restarts and cancellation are the same as for any actor, and a message outlives the
host that was about to handle it.

When a host dies, the code that ran there raises `HostDied`, and each of its actors fails with it and restarts
by its strategy, in another host.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from anyio import CancelScope

from actorsched._hosting import wire
from actorsched._hosting.failures import unpack_error
from actorsched._hosting.transfer import dump_call, dumps, loads
from actorsched._hosting.variables import contextvars_out
from actorsched._system.actor_cell import ActorCell, Life
from actorsched._system.call import Call, Hook, Letter
from actorsched.exceptions import HostDied
from actorsched.messages import ExitReason, Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Reply
    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.link import HostLink
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.handlers import Handler
    from actorsched._system.host_staff import HostStaff

GRACE = 1.0
"""Seconds that a handler in a host has to stop before its host is killed."""

_numbers = count(1)


class Ended:
    """The answer that means: the stream has no more items."""


ENDED = Ended()


class ActorHostPort:
    """One actor host: who lives there, and who waits for what."""

    def __init__(self, staff: HostStaff) -> None:
        self.link: HostLink | None = None
        self.retiring: bool = False
        self._staff = staff
        self._cells: dict[int, HostedCell] = {}
        self._waiting: dict[int, Reply] = {}
        self._askers: dict[int, Any] = {}

    def __repr__(self) -> str:
        return f"<actor host {self.link!r} with {len(self._cells)} actors>"

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def kernel(self) -> Kernel:
        """The kernel of the runtime."""
        return self._staff.kernel

    # ------------------------------------------------------------------------------------- to the host

    def settle_in(self, cell: HostedCell) -> int:
        """An actor moves in; answers with its number there."""
        number = next(_numbers)
        self._cells[number] = cell
        return number

    def move_out(self, number: int) -> None:
        """An actor's life is over."""
        self._cells.pop(number, None)

    def define(self, cell: HostedCell) -> int:
        """Make sure that the host knows a class."""
        assert self.link is not None
        return self.link.define(
            self._staff.definitions.of(cell.actor_class, f"the class of actor {cell.name!r}")
        )

    def begin(self, number: int, asker: Any) -> None:
        """A call, hook or stream begins; what the host asks in its course is asked in its name."""
        self._askers[number] = asker

    def finish(self, number: int) -> None:
        """It is over."""
        self._askers.pop(number, None)

    async def send(self, frame: Any, number: int, what: str) -> Any:
        """Send a frame, and wait for the answer that bears this number.

        Raises:
            HostDied: The host has ended.
            BaseException: The answer is an error.
        """
        link = self.link
        assert link is not None
        if link.exited is not None:
            raise link.exited.error(what)
        answer = self._waiting[number] = self.kernel.future()
        link.send(frame)
        try:
            result = await answer
        finally:
            self._waiting.pop(number, None)
        if type(result) is Failure:
            raise result.error
        return result

    async def stop(self, frame: Any, number: int, over: Reply) -> None:
        """Ask the host to stop something, and wait until it has; after the grace period, kill the host."""
        link = self.link
        assert link is not None
        kernel = self.kernel
        timer = kernel.call_later(GRACE, self._grace_over)
        self._waiting[number] = over
        link.send(frame)
        try:
            with CancelScope(shield=True):
                await over  # type: ignore[misc]
        finally:
            timer.cancel()
            self._waiting.pop(number, None)

    def _grace_over(self) -> None:
        self.retiring = True
        assert self.link is not None
        self.link.kill()

    # ----------------------------------------------------------------------------------- from the host

    def frame(self, frame: wire.FromHost) -> None:
        """The host has said something."""
        _FRAMES[type(frame)](self, frame)

    def _hello(self, frame: wire.Hello) -> None:
        pass

    def _answer(self, number: int, value: Any) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None:
            self.kernel.reply(waiting, value)

    def _opened(self, frame: wire.Opened) -> None:
        self._answer(-frame.actor_id, None)

    def _open_failed(self, frame: wire.OpenFailed) -> None:
        self._answer(-frame.actor_id, Failure(unpack_error(frame.error, "the error of a start")))

    def _closed(self, frame: wire.Closed) -> None:
        error = None if frame.error is None else Failure(unpack_error(frame.error, "the error of on_stop"))
        self._answer(-frame.actor_id, error)

    def _returned(self, frame: wire.Returned) -> None:
        self._answer(frame.call_id, self._loaded(frame.value))

    def _raised(self, frame: wire.Raised) -> None:
        self._answer(frame.call_id, Failure(unpack_error(frame.error, "the error of a handler")))

    def _item(self, frame: wire.Item) -> None:
        self._answer(frame.call_id, self._loaded(frame.value))

    def _ended(self, frame: wire.Ended) -> None:
        self._answer(frame.call_id, ENDED)

    def _loaded(self, payload: Any) -> Any:
        if payload == b"":
            return None
        try:
            return loads(payload, "the result of a handler")
        except Exception as error:
            return Failure(error)

    def _log(self, frame: wire.Log) -> None:
        from actorsched._hosting.logs import record_of

        assert self.link is not None
        logger = logging.getLogger(frame.logger)
        if logger.isEnabledFor(frame.level):
            logger.handle(record_of(frame, self.link.pid, self.link.name))

    def _asker(self, origin: int) -> Any:
        return self._askers.get(origin)

    def _request(self, frame: wire.Request) -> None:
        assert self.link is not None
        self._staff.requests.asked(self.link, frame, self._asker(frame.origin))

    def _cancel_request(self, frame: wire.CancelRequest) -> None:
        assert self.link is not None
        self._staff.requests.withdrawn(self.link, frame)

    def _told(self, frame: wire.Told) -> None:
        assert self.link is not None
        self._staff.requests.told(self.link, frame, self._asker(frame.origin))

    def exited(self, end: HostExit) -> None:
        """The host has ended: whoever waits hears of it, and its actors fail."""
        self.retiring = True
        self._staff.requests.gone(self.link)
        self._staff.port_gone(self, end)
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            self.kernel.reply(answer, Failure(end.error("what ran there")))
        cells, self._cells = self._cells, {}
        for cell in cells.values():
            cell.host_died(end.error(f"actor {cell.name!r}"))
        self.kernel.drain()


_FRAMES: dict[type, Callable[[ActorHostPort, Any], None]] = {
    wire.Hello: ActorHostPort._hello,
    wire.Opened: ActorHostPort._opened,
    wire.OpenFailed: ActorHostPort._open_failed,
    wire.Closed: ActorHostPort._closed,
    wire.Returned: ActorHostPort._returned,
    wire.Raised: ActorHostPort._raised,
    wire.Item: ActorHostPort._item,
    wire.Ended: ActorHostPort._ended,
    wire.Log: ActorHostPort._log,
    wire.Request: ActorHostPort._request,
    wire.CancelRequest: ActorHostPort._cancel_request,
    wire.Told: ActorHostPort._told,
}


class RemoteInstance(msgspec.Struct, eq=False):
    """Where the present life of a hosted actor takes place."""

    port: ActorHostPort
    number: int


class HostedCell(ActorCell, kw_only=True):
    """One actor whose code runs in a host process."""

    staff: HostStaff
    packed: Any = None
    """The arguments of its constructor, as they travel."""

    hosted: ClassVar[bool] = True

    def pack(self, handler: Handler, args: tuple[Any, ...], kwargs: Any) -> Any:
        """The arguments of a message as they travel.

        Raises:
            NotTransferable: One of them cannot cross.
        """
        return dump_call(args, kwargs, f"the arguments of {handler.name} for actor {self.name!r}")

    def begin_life(self) -> None:
        """Have a host make an instance, and start it. What cannot travel is refused here."""
        self.life = Life.STARTING
        self.ending = None
        self.returns = self.killed = False
        self.instance = None
        if self.packed is None:
            self.packed = dump_call(self.args, self.kwargs, f"the arguments of actor {self.name!r}")
            self.staff.definitions.of(self.actor_class, f"the class of actor {self.name!r}")
        self.hook = Hook(self, "on_start", self.context.copy())

    def invoke_hook(self, hook: Hook) -> Coroutine[Any, Any, Any]:
        """Have a hook run in the host."""
        return self._open(hook) if hook.name == "on_start" else self._close(hook)

    async def _open(self, hook: Hook) -> None:
        try:
            port = self.staff.actor_port()
        except OSError as error:
            raise HostDied(
                f"actor {self.name!r} could not start: no host process could be started: {error}",
                cause="never started",
            ) from error
        number = port.settle_in(self)
        self.instance = RemoteInstance(port, number)
        context = contextvars_out(self.context)
        frame = wire.Open(number, port.define(self), self.packed, context, self.name, self.staff.ref_of(self))
        port.begin(-number, hook)
        try:
            await port.send(frame, -number, f"the start of actor {self.name!r}")
        except BaseException:
            self._forget()
            raise
        finally:
            port.finish(-number)

    async def _close(self, hook: Hook) -> None:
        instance: RemoteInstance = self.instance
        port, number = instance.port, instance.number
        reason = dumps(_portable(hook.args[0]), "the reason of an end")
        port.begin(-number, hook)
        try:
            await port.send(wire.Close(number, reason), -number, f"on_stop of actor {self.name!r}")
        finally:
            port.finish(-number)
            port.move_out(number)

    def _forget(self) -> None:
        """The life is over without `on_stop`: let the host let go of it."""
        instance: RemoteInstance | None = self.instance
        if instance is not None:
            instance.port.move_out(instance.number)
            if instance.port.link is not None:
                instance.port.link.send(wire.Forget(instance.number))
        self.instance = None

    def let_go(self) -> None:
        """The present life is over."""
        self._forget()

    def invoke(self, call: Call | Letter) -> Coroutine[Any, Any, Any]:
        """Have a handler run in the host."""
        if isinstance(call, Letter):
            call = self.present_run()  # type: ignore[assignment]  # what has the turn: this message
            assert isinstance(call, Call)
        if call.stream is None:
            return self._call(call)
        return call.stream.serve(call, _RemoteGenerator(self, call))  # type: ignore[arg-type]

    async def _call(self, call: Call) -> Any:
        instance: RemoteInstance = self.instance
        port, number = instance.port, next(_numbers)
        what = f"{call.handler.name} of actor {self.name!r}"
        port.begin(number, call)
        try:
            return await port.send(self.frame_of(call, instance, number), number, what)
        except self.kernel.cancelled:
            await port.stop(wire.CancelCall(number, _why(call)), number, self.kernel.future())
            raise
        finally:
            port.finish(number)

    def frame_of(self, call: Call, instance: RemoteInstance, number: int) -> wire.Call:
        """The frame that has a handler called."""
        context = call.context
        sender = b"" if call.sender is None else self.staff.ref_of(call.sender)
        variables = b"" if context is None else contextvars_out(context)
        return wire.Call(
            number,
            instance.number,
            call.handler.name,
            call.packed,
            variables,
            call.stream is not None,
            sender,
        )

    def host_died(self, error: HostDied) -> None:
        """Its host has ended. Code that ran there raises; an idle actor fails at once."""
        self.instance = None
        if self.life in (Life.STARTING, Life.STOPPED, Life.DOWN) or self.ending is not None:
            return
        turn = self.turn
        self.fail(error)
        if turn is None:
            self.kernel.drain()


class _RemoteGenerator:
    """A generator in a host, to be stepped from here."""

    def __init__(self, cell: HostedCell, call: Call) -> None:
        self._cell = cell
        self._call = call
        self._port: ActorHostPort = cell.instance.port
        self._number = next(_numbers)
        self._begun = False
        self._over = False

    async def __anext__(self) -> Any:
        port, number = self._port, self._number
        what = f"{self._call.handler.name} of actor {self._cell.name!r}"
        assert port.link is not None
        if not self._begun:
            self._begun = True
            port.begin(number, self._call)
            port.link.send(self._cell.frame_of(self._call, self._cell.instance, number))
        try:
            item = await port.send(wire.Demand(number, 1), number, what)
        except self._cell.kernel.cancelled:
            await self.aclose()
            raise
        except BaseException:
            self._finish()
            raise
        if item is ENDED:
            self._finish()
            raise StopAsyncIteration
        return item

    async def athrow(self, error: BaseException) -> Any:
        """It was cancelled while nobody wanted an item."""
        await self.aclose()
        raise error

    async def aclose(self) -> None:
        """Close the generator there, and wait until it is."""
        if self._begun and not self._over:
            self._finish()
            port = self._port
            if port.link is not None and port.link.exited is None:
                await port.stop(
                    wire.CancelCall(self._number, _why(self._call)), self._number, self._cell.kernel.future()
                )

    def _finish(self) -> None:
        self._over = True
        self._port.finish(self._number)


def _why(call: Call) -> str | None:
    return None if call.withdrawn is None else str(call.withdrawn)


def _portable(reason: ExitReason) -> ExitReason:
    """The reason in a form that surely travels."""
    from actorsched._hosting.failures import pack_error

    if reason.error is None:
        return reason
    return ExitReason(reason.kind, unpack_error(pack_error(reason.error), "the reason of an end"))

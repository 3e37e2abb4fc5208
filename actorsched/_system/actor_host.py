"""Actors in host processes: everything but the code stays here.

A `HostedCell` is an ordinary cell. Its mailbox, its turns, its lives and its supervisor are in the runtime's
process; only hooks and handlers run in the host, one at a time, and streams step by step with the demand.
So order, back-pressure, restarts and cancellation are the same as for any actor, and a message outlives the
host that was about to handle it.

When a host dies, the code that ran there raises `HostDied`, and each of its actors fails with it and restarts
by its strategy, in another host. When a host is replaced, they move (`cell_moves`).
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import quickly_written, require
from actorsched._hosting import wire
from actorsched._hosting.failures import pack_error, unpack_error
from actorsched._hosting.transfer import dump_call, dumps
from actorsched._hosting.variables import contextvars_out
from actorsched._system.call import Call, Hook
from actorsched._system.cell_moves import CellMoves
from actorsched._system.cell_state import Life
from actorsched._system.host_port import ENDED, ActorHostPort
from actorsched.exceptions import HostDied, Interrupted
from actorsched.messages import ExitReason, Failure

if TYPE_CHECKING:
    from actorsched._system.handlers import Handler
    from actorsched._system.host_staff import HostStaff


class RemoteInstance(msgspec.Struct, eq=False):
    """Where the present life of a hosted actor takes place."""

    port: ActorHostPort
    number: int


@quickly_written
class HostedCell(CellMoves, kw_only=True):
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

    def made(self) -> Hook:
        """Have a host make an instance, and start it. What cannot travel is refused here."""
        self.instance = self.departure = None
        if self.packed is None:
            self.packed = dump_call(self.args, self.kwargs, f"the arguments of actor {self.name!r}")
            self.staff.definitions.of(self.actor_class, f"the class of actor {self.name!r}")
        return Hook(self, self.kernel, "on_start", self.context.copy())

    def lives_in(self, home: object) -> bool:
        """Whether the present life takes place in this host."""
        instance: RemoteInstance | None = self.instance
        return instance is not None and instance.port is home

    def invoke_hook(self, hook: Hook) -> Coroutine[Any, Any, Any]:
        """Have a hook run in the host."""
        return self._open(hook) if hook.name == "on_start" else self._close(hook)

    async def _open(self, hook: Hook) -> None:
        port = self.staff.actor_hosts.port_for(self)
        number = port.settle_in(self)
        self.instance = RemoteInstance(port, number)
        context = contextvars_out(self.context)
        frame = wire.Open(number, port.define(self), self.packed, context, self.name, self.staff.ref_of(self))
        port.begin(-number, hook)
        try:
            await port.send(frame, -number, f"actor {self.name!r}")
        except self.kernel.cancelled:
            await port.stop(wire.Forget(number), -number)
            raise
        if self.instance is None and port.link is not None and port.link.exited is not None:
            raise port.link.exited.error(f"actor {self.name!r}")  # its last word was that it has started

    async def _close(self, hook: Hook) -> None:
        instance: RemoteInstance | None = self.instance
        if instance is None:  # the host has ended since
            return
        port, number = instance.port, instance.number
        reason = dumps(_portable(hook.args[0]), "the reason of an end")
        port.begin(-number, hook)
        try:
            await port.send(wire.Close(number, reason), -number, f"on_stop of actor {self.name!r}")
        except self.kernel.cancelled:
            await port.stop(wire.CancelCall(-number), -number)
            raise
        finally:
            port.move_out(number)
            self.instance = None

    def let_go(self) -> None:
        """The present life is over. Without `on_stop`, the host has still to let go of it."""
        instance: RemoteInstance | None = self.instance
        if instance is not None:
            instance.port.move_out(instance.number)
            if instance.port.link is not None:
                instance.port.link.send(wire.Forget(instance.number))
        self.instance = None

    def invoke(self, call: Call) -> Coroutine[Any, Any, Any]:
        """Have a handler run in the host."""
        if call.stream is None:
            return self._call(call)
        return call.stream.serve(call, _RemoteGenerator(self, call))  # type: ignore[arg-type]

    async def _call(self, call: Call) -> Any:
        instance: RemoteInstance = self.instance
        port = instance.port
        number = port.new_number()
        what = f"{call.handler.name} of actor {self.name!r}"
        port.begin(number, call)
        try:
            return await port.send(self.frame_of(call, instance, number), number, what)
        except self.kernel.cancelled:
            _raise_trouble(await port.stop(wire.CancelCall(number, _why(call)), number))
            raise

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

    def ends_with(self, failure: BaseException) -> bool:
        """Whether it is the end of the host, with which its life ends."""
        error = None if self.ending is None else self.ending.error
        return isinstance(failure, HostDied) and isinstance(error, HostDied) and failure.pid == error.pid

    def host_died(self, error: HostDied) -> None:
        """Its host has ended. Code that ran there raises; an idle actor fails at once."""
        self.instance = None
        if self.life in (Life.STARTING, Life.STOPPED, Life.DOWN) or self.ending is not None:
            return
        turn = self.turn
        self.fail(error)
        if turn is None:
            self.kernel.drain()

    def check_at_rest(self) -> None:
        """The same; and it lives in a host that has not ended."""
        super().check_at_rest()
        instance: RemoteInstance | None = self.instance
        if instance is not None and self.life in (Life.RUNNING, Life.DRAINING):
            require(instance.port.link is not None, self, "whoever lives in a host has one that was started")
        require(self.packed is not None or not self.born, self, "the arguments of its next life are packed")


class _RemoteGenerator:
    """A generator in a host, to be stepped from here."""

    def __init__(self, cell: HostedCell, call: Call) -> None:
        self._cell = cell
        self._call = call
        self._port: ActorHostPort = cell.instance.port
        self._instance: RemoteInstance = cell.instance
        self._number = self._port.new_number()
        self._begun = False

    async def __anext__(self) -> Any:
        port, number = self._port, self._number
        if not self._begun:
            self._begun = True
            port.begin(number, self._call, self._cell.frame_of(self._call, self._instance, number))
        what = f"{self._call.handler.name} of actor {self._cell.name!r}"
        try:
            item = await port.send(wire.Demand(number, 1), number, what)
        except self._cell.kernel.cancelled:
            await self.aclose()
            raise
        if item is ENDED:
            raise StopAsyncIteration
        return item

    async def athrow(self, error: BaseException) -> Any:
        """It was cancelled while nobody wanted an item."""
        await self.aclose()
        raise error

    async def aclose(self) -> None:
        """Close the generator there, and wait until it is.

        Raises:
            BaseException: What it raised as it was closed.
        """
        if self._begun:
            frame = wire.CancelCall(self._number, _why(self._call))
            _raise_trouble(await self._port.stop(frame, self._number))


def _raise_trouble(word: Any) -> None:
    """What was stopped may have failed in its own way as it ended."""
    if type(word) is Failure and not isinstance(word.error, Interrupted):
        raise word.error


def _why(call: Call) -> str | None:
    return None if call.withdrawn is None else str(call.withdrawn)


def _portable(reason: ExitReason) -> ExitReason:
    """The reason in a form that surely travels."""
    if reason.error is None:
        return reason
    return ExitReason(reason.kind, unpack_error(pack_error(reason.error), "the reason of an end"))

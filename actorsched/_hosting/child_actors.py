"""An actor host: many actors in one event loop.

The law of this module: it runs hooks and handlers as it is told, and says what became of each. Mailboxes,
order, restarts and all other decisions are the parent's; it sends one call at a time to each actor.

How it works: each call is a task of the loop (`call`), with a cancel scope of its own. Frames come in and go
to the table; what is said in one turn of the loop goes out in one packet at its end.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from actorsched._hosting import inside
from actorsched._hosting.call import HostedActor, HostedCall, Turn
from actorsched._hosting.child_loop import run_for_good
from actorsched._hosting.failures import pack_error
from actorsched._hosting.handover import take_path
from actorsched._hosting.logs import take_levels
from actorsched._hosting.packets import Splitter
from actorsched._hosting.port import dying_of_bugs
from actorsched._hosting.transfer import load_call, loads
from actorsched._hosting.variables import contextvars_in
from actorsched._hosting.wire import (
    Answer,
    Bulky,
    Bye,
    Call,
    CancelCall,
    Close,
    Closed,
    Define,
    Demand,
    Forget,
    Hello,
    Levels,
    Open,
    Opened,
    OpenFailed,
    Path,
    Release,
    Stop,
    ToHost,
    Undefine,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorsched._hosting.port import Port
    from actorsched._hosting.wire import FromHost, Payload


class ActorHost:
    """The child's end of an actor host.

    Args:
        port: Where to say what.
        backend: "asyncio", "uvloop" or "trio".
        doorway: How code in it reaches the runtime; None to open the doorway of this process.
    """

    def __init__(self, port: Port, backend: str, doorway: inside.Doorway | None = None) -> None:
        self._port = port
        self._backend_name = backend
        self._doorway = doorway or inside.open_doorway(port)
        self._classes: dict[int, Payload] = {}
        self._loaded: dict[int, Any] = {}
        self._actors: dict[int, HostedActor] = {}
        self._calls: dict[int, HostedCall] = {}
        self._tasks = 0
        self._stopping = False
        self._flush_called = False
        self._feed = Splitter(ToHost, port.borrower.resolve).feed
        self._backend: Any = None
        self._over: Any = None
        self._table: dict[type, Callable[[Any], object]] = {
            Define: self._define,
            Undefine: self._undefine,
            Open: self._open,
            Call: self._call,
            CancelCall: self._cancel,
            Demand: self._demand,
            Close: self._close,
            Forget: self._forget,
            Answer: self._doorway.answered,
            Release: lambda release: port.take_back(release.offsets),
            Levels: lambda changed: take_levels(changed.levels),
            Path: lambda path: take_path(path.entries),
            Stop: self._stop,
        }

    def run(self) -> None:
        """Serve until `Stop`."""
        run_for_good(self._backend_name, self._serve)
        self._port.say(Bye())
        self._port.flush()

    async def _serve(self) -> None:
        from actorsched._kernel.choose import running_backend

        self._backend = running_backend()
        self._over = self._backend.create_future()
        self._port.urge = self._port.nudge = self._flush_soon
        watch = self._backend.watch_readable(self._port.socket, self._readable)
        self._say(Hello(os.getpid()))
        await self._over
        watch.close()
        self._port.urge = self._port.nudge = self._port.flush

    # ---------------------------------------------------------------------------------------- saying, hearing

    def _say(self, frame: FromHost) -> None:
        self._port.end_forks()
        self._port.say(frame)
        if isinstance(getattr(frame, "value", None), Bulky):
            self._port.flush()  # before another handler can change the memory that it refers to
        else:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """From any thread: user code may log in threads of its own."""
        if not self._flush_called:
            self._flush_called = True
            self._backend.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._flush_called = False
        self._port.flush()

    def _readable(self) -> None:
        with dying_of_bugs():
            for frame in self._feed(self._port.read()):
                self._table[type(frame)](frame)
            self._port.flush_if_needed()

    def _start(
        self, context: Payload, name: str, function: Callable[..., Awaitable[None]], *args: Any
    ) -> None:
        """Start a task of the loop with these variables set in its context."""

        async def run() -> None:
            if context:
                contextvars_in(context)
            await function(*args)
            self._tasks -= 1
            self._end_if_done()

        self._tasks += 1
        self._backend.start_task(run, name=name)

    # -------------------------------------------------------------------------------------------- definitions

    def _define(self, define: Define) -> None:
        self._classes[define.fn_id] = define.body

    def _undefine(self, undefine: Undefine) -> None:
        for number in undefine.fn_ids:
            self._classes.pop(number, None)
            self._loaded.pop(number, None)

    def _class(self, number: int) -> Any:
        if number not in self._loaded:
            self._loaded[number] = loads(self._classes.pop(number), "the class of the actor")
        return self._loaded[number]

    # ------------------------------------------------------------------------------------------------- actors

    def _open(self, opened: Open) -> None:
        actor = HostedActor(opened, Turn(self._backend))
        self._actors[opened.actor_id] = actor
        call = self._calls[-opened.actor_id] = HostedCall(
            self._port, self._say, self._backend, actor, -opened.actor_id
        )
        self._start(opened.context, f"start of {opened.name}", self._run_open, actor, call)

    async def _run_open(self, actor: HostedActor, call: HostedCall) -> None:
        number = actor.opened.actor_id
        error = await call.run(self._make, actor, call)
        del self._calls[call.number]
        if error is None:
            self._say(Opened(number))
        else:
            self._actors.pop(number, None)
            self._say(OpenFailed(number, pack_error(error, f"the exception of actor {actor.opened.name!r}")))
        actor.left(call)

    async def _make(self, actor: HostedActor, call: HostedCall) -> None:
        opened = actor.opened
        actor.ref = loads(opened.ref, "the reference of the actor")
        if call.context is not None:
            call.context.ref = actor.ref
        args, kwargs = load_call(opened.args, f"the arguments of actor {opened.name!r}")
        actor.instance = self._class(opened.cls_id)(*args, **kwargs)
        await actor.hook("on_start")

    def _close(self, close: Close) -> None:
        self._end(close.actor_id, close)

    def _forget(self, forget: Forget) -> None:
        self._end(forget.actor_id, None)

    def _end(self, number: int, close: Close | None) -> None:
        actor = self._actors.pop(number, None)
        if actor is None:  # it never started, or is ending already
            self._say(Closed(number))
        else:
            self._start(b"", f"end of {actor.opened.name}", self._run_end, actor, close)

    async def _run_end(self, actor: HostedActor, close: Close | None) -> None:
        number, name = actor.opened.actor_id, actor.opened.name
        await actor.cancel_calls(self._backend)
        error = None
        if close is not None:
            reason = loads(close.reason, "the reason of the end")
            call = self._calls[-number] = HostedCall(self._port, self._say, self._backend, actor, -number)
            error = await call.run(actor.hook, "on_stop", reason)
            del self._calls[-number]
            actor.left(call)
        actor.instance = None
        what = f"the exception of actor {name!r}"
        self._say(Closed(number, None if error is None else pack_error(error, what)))

    # -------------------------------------------------------------------------------------------------- calls

    def _call(self, frame: Call) -> None:
        actor = self._actors.get(frame.actor_id)
        call = HostedCall(self._port, self._say, self._backend, actor, frame.call_id)
        self._calls[frame.call_id] = call
        name = f"{actor.opened.name if actor else 'nobody'}.{frame.handler}"
        self._start(frame.context, name, self._run_call, call, frame)

    async def _run_call(self, call: HostedCall, frame: Call) -> None:
        self._say(await call.perform(frame))
        del self._calls[frame.call_id]

    def _cancel(self, cancel: CancelCall) -> None:
        call = self._calls.get(cancel.call_id)
        if call is not None:
            call.cancel(cancel.reason)

    def _demand(self, demand: Demand) -> None:
        call = self._calls.get(demand.call_id)
        if call is not None:
            call.want(demand.n)

    # ---------------------------------------------------------------------------------------------------- end

    def _stop(self, _: Stop) -> None:
        self._stopping = True
        for call in list(self._calls.values()):
            call.close_if_idle()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._stopping and not self._tasks and not self._over.done():
            self._over.set_result(None)

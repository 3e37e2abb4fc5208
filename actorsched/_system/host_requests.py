"""What code inside host processes asks of its runtime: refs used there, spawns, timers.

Each host has a `Desk`. What the host asks becomes an `Errand`, which is carried like any user code, in the
context and in the name of the task or actor that asked; it is cancelled when the asker no longer waits, or
the host has ended. Errands begin in the order in which they were asked, and what is told keeps its place
among them: so messages of one sender in a host arrive in order. What a verb means stands in
`actorsched.errands`, which the runtime registers: that is above this layer.
"""

from __future__ import annotations

import logging
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any

from actorsched._hosting import wire
from actorsched._hosting.failures import pack_error
from actorsched._hosting.transfer import dumps, loads
from actorsched._kernel.current import CURRENT
from actorsched._system.code_run import CodeRun, without_cancellation
from actorsched.exceptions import TaskCancelled
from actorsched.options import Priority

if TYPE_CHECKING:
    from actorsched._hosting.link import HostLink
    from actorsched._kernel.activity import Activity
    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.kernel import Kernel
    from actorsched._kernel.stepper import Stepper
    from actorsched._system.code_run import Deferred
    from actorsched._system.system import System


class Desk:
    """Where the requests of one host are received. It is a `Runnable` of the kernel."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.rank: int = int(Priority.NORMAL)
        self.link: HostLink | None = None
        """The host; None only until it is launched."""
        self.streams: dict[int, Any] = {}
        """Streams that are read from the host, by number."""
        self._open: dict[int, Errand] = {}
        self._queue: deque[tuple[Errand | wire.Told, Any]] = deque()
        self._scheduled = False

    def __repr__(self) -> str:
        return f"<desk of {self.link!r}: {len(self._open)} errands>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"a request from {'a host' if self.link is None else self.link.name}"

    @property
    def kernel(self) -> Kernel:
        """The kernel of the runtime."""
        return self.system.kernel

    def awaited_by(self, origin: int) -> bool:
        """Whether what runs in the host under this number has asked, and has no answer yet."""
        return any(errand.origin == origin for errand in self._open.values())

    # ----------------------------------------------------------------------------------- from the host

    def asked(self, frame: wire.Request, asker: Any) -> None:
        """Somebody in the host asks, and waits for the answer."""
        errand = self._open[frame.request_id] = Errand(self, frame, asker)
        self._put(errand, asker)

    def told(self, frame: wire.Told, asker: Any) -> None:
        """Somebody in the host tells, and waits for nothing: done at once, unless something is before it."""
        if self._queue:
            self._put(frame, asker)
        else:
            self._heed(frame, asker)

    def withdrawn(self, frame: wire.CancelRequest) -> None:
        """Whoever asked does not wait any more."""
        errand = self._open.pop(frame.request_id, None)
        if errand is not None:
            errand.withdraw()

    def gone(self) -> None:
        """The host has ended: nobody waits any more, and nobody reads its streams."""
        errands, self._open = self._open, {}
        for errand in errands.values():
            errand.withdraw()
        self.streams.clear()  # which closes them

    # ------------------------------------------------------------------------------------ in a carrier

    def _put(self, what: Errand | wire.Told, asker: Any) -> None:
        self._queue.append((what, asker))
        self._schedule()

    def _schedule(self) -> None:
        if self._queue and not self._scheduled:
            self._scheduled = True
            self.kernel.make_ready(self)

    def run(self, burst: int) -> tuple[Activity, object] | None:
        """Begin what was asked, one after the other, until one suspends."""
        self._scheduled = False
        for _ in range(burst):
            if not self._queue:
                return None
            what, asker = self._queue.popleft()
            if isinstance(what, wire.Told):
                self._heed(what, asker)
                continue
            suspended = what.begin()
            if suspended is not None:
                self._schedule()
                return suspended
        return None

    def has_more(self) -> bool:
        """Whether it should go back into the run queue; it then is in it."""
        if self._scheduled or not self._queue:
            return False
        self._scheduled = True
        return True

    def _heed(self, frame: wire.Told, asker: Any) -> None:
        try:
            context_of(asker).run(self._perform, frame)
        except Exception as error:
            pid = None if self.link is None else self.link.pid
            self.kernel.report(logging.WARNING, f"{frame.verb!r}, told from host {pid}, failed", error)

    def _perform(self, frame: wire.Told | wire.Request) -> Any:
        body = loads(frame.body, f"what was sent with {frame.verb!r}")
        return self.system.verbs[frame.verb](self, *body)

    async def fulfil(self, frame: wire.Request) -> Any:
        """Do what was asked."""
        return await self._perform(frame)

    def answer(self, frame: wire.Request, value: Any, error: BaseException | None) -> None:
        """Tell the host what came of it, if it still wants to know."""
        self._open.pop(frame.request_id, None)
        if self.link is None:
            return
        what = f"the answer to {frame.verb!r}"
        answer = wire.Answer(frame.request_id)
        try:
            if error is None:
                answer = wire.Answer(frame.request_id, dumps(value, what))
        except Exception as refused:
            error = refused
        if error is not None:
            answer = wire.Answer(frame.request_id, b"", pack_error(error, what))
        self.link.send(answer)


class Errand(CodeRun):
    """One request of a host, and the run of what it takes to answer it."""

    __slots__ = (
        "_begun",
        "_desk",
        "_frame",
        "_withdrawn",
        "carrier",
        "context",
        "deferred",
        "ended",
        "interrupted",
        "stepper",
    )

    def __init__(self, desk: Desk, frame: wire.Request, asker: Any) -> None:
        self.context: Context | None = context_of(asker)
        self.stepper: Stepper | None = None
        self.carrier: Carrier | None = None
        self.interrupted: bool = False
        self.deferred: Deferred | None = None
        self.ended: tuple[Any, BaseException | None] | None = None
        self._desk = desk
        self._frame = frame
        self._begun = False
        self._withdrawn = False

    def __repr__(self) -> str:
        return f"<errand {self._frame.verb!r} for {self._desk!r}>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"{self._frame.verb!r}, asked from a host"

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs it."""
        return self._desk.kernel

    @property
    def origin(self) -> int:
        """The number of whatever asks, in its host."""
        return self._frame.origin

    def begin(self) -> tuple[Activity, object] | None:
        """Take the first step, if it is still wanted."""
        if self._withdrawn:
            self.context = None
            return None
        self._begun = True
        return self.step(self._desk.fulfil(self._frame))

    def withdraw(self) -> None:
        """Nobody waits for the answer."""
        self._withdrawn = True
        if self._begun and self.context is not None:
            self.kernel.interrupt(self)

    def over(self, value: Any, error: BaseException | None) -> None:
        """It is done, or has failed."""
        if self._withdrawn:
            return
        if error is not None:
            remaining = without_cancellation(error, self.kernel.cancelled)
            error = remaining or TaskCancelled(f"{self.title}, was cancelled with its runtime")
        self._desk.answer(self._frame, value, error)

    def forsaken(self) -> None:
        """Only a carrier of the kernel carries it."""

    def again(self) -> Desk:
        """It defers nothing."""
        return self._desk


def context_of(asker: Any) -> Context:
    """A copy of the context in which somebody in a host asks, with the asker as the current one."""
    context = None
    if asker is not None:
        context = getattr(asker, "context", None) or asker.owner.context
    copy = Context() if context is None else context.copy()
    copy.run(CURRENT.set, asker)
    return copy

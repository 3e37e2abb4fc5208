"""How code inside a host reaches the runtime outside.

The law of this module: it is the one door for whatever in a host wants something of its parent: references
to actors and tasks that arrived there, and the contexts of tasks and handlers. What the verbs mean is
settled between whoever asks here and the layer that answers there.

How it works: `request` is awaited until the parent's `Answer` has come; cancelling it tells the parent so.
`tell` waits for nothing and works from any thread. A real host is a process, which has one `doorway`. Hosts
that are simulated share the process of their runtime: code in them finds its own in a context variable.
"""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from actorsched._hosting.failures import unpack_error
from actorsched._hosting.transfer import dumps, loads
from actorsched._hosting.wire import Answer, CancelRequest, Request, Told
from actorsched._kernel.current import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._hosting.port import Port
    from actorsched._kernel.backend import Backend, Future


class Doorway:
    """The requests of one host."""

    monotonic: Callable[[], float] = staticmethod(monotonic)
    """The time there, in seconds, which is that of the runtime's loop too."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._numbers = count(1)
        self._waiting: dict[int, tuple[Backend, Future]] = {}

    def __repr__(self) -> str:
        return f"<Doorway: {len(self._waiting)} requests under way>"

    def backend(self) -> Backend:
        """The event loop in which somebody asks."""
        from actorsched._kernel.choose import running_backend

        return running_backend()

    async def request(self, verb: str, body: object) -> Any:
        """Ask the parent, and wait for its answer.

        Raises:
            NotTransferable: The body cannot cross.
            BaseException: What the parent answered with.
        """
        payload = dumps(body, f"what was sent with {verb!r}")
        number = next(self._numbers)
        backend = self.backend()
        future = backend.create_future()
        self._waiting[number] = backend, future
        self._port.say(Request(number, _origin(), verb, payload))
        self._port.urge()
        try:
            answer: Answer = await future
        finally:
            if self._waiting.pop(number, None) is not None:
                self._port.say(CancelRequest(number))
                self._port.urge()
        if answer.error is not None:
            raise unpack_error(answer.error, f"the answer to {verb!r}")
        return loads(answer.value, f"the answer to {verb!r}")

    def tell(self, verb: str, body: object) -> None:
        """Tell the parent something. Does not wait.

        Raises:
            NotTransferable: The body cannot cross.
        """
        self._port.say(Told(_origin(), verb, dumps(body, f"what was sent with {verb!r}")))
        self._port.urge()

    def answered(self, answer: Answer) -> None:
        """The parent has answered; from any thread."""
        waiting = self._waiting.pop(answer.request_id, None)
        if waiting is not None:
            backend, future = waiting
            try:
                backend.call_soon_threadsafe(_settle, future, answer)
            except RuntimeError:  # whoever asked has ended with its loop
                pass


def _settle(future: Future, answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _origin() -> int:
    return getattr(CURRENT.get(), "origin", 0)


doorway: Doorway | None = None
"""The doorway of this process; None when it is no host."""

SIMULATED: ContextVar[Doorway | None] = ContextVar("actorsched_doorway", default=None)
"""The doorway of the simulated host whose code is running; None elsewhere."""


def present() -> Doorway | None:
    """The doorway of the host in which the code runs that calls; None when that is no host."""
    return doorway or SIMULATED.get()


def open_doorway(port: Port) -> Doorway:
    """This process is a host from now on."""
    global doorway  # noqa: PLW0603  # a process is one host or none
    doorway = Doorway(port)
    return doorway

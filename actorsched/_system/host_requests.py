"""What code inside host processes asks of its runtime: refs used there, spawns, timers.

Each request runs as a task of the loop, in the context and in the name of the task or actor that asked, and
is cancelled when the asker no longer waits, or its host has ended. What a verb means stands in
`actorsched.remote`, which the runtime registers: that is above this layer.
"""

from __future__ import annotations

from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from actorsched._hosting import wire
from actorsched._hosting.failures import pack_error
from actorsched._hosting.transfer import dumps, loads
from actorsched._kernel.current import CURRENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorsched._hosting.link import HostLink
    from actorsched._system.system import System

Verb = "Callable[[System, Any, Any], Awaitable[Any]]"


class HostRequests:
    """The requests of all hosts of one runtime."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._open: dict[tuple[HostLink, int], CancelScope] = {}

    def __repr__(self) -> str:
        return f"<{len(self._open)} requests from hosts>"

    def asked(self, link: HostLink, frame: wire.Request, asker: Any) -> None:
        """Somebody in a host asks, and waits for the answer."""
        self._start(self._answer, link, frame, asker)

    def told(self, link: HostLink, frame: wire.Told, asker: Any) -> None:
        """Somebody in a host tells, and waits for nothing."""
        self._start(self._heed, link, frame, asker)

    def withdrawn(self, link: HostLink, frame: wire.CancelRequest) -> None:
        """Whoever asked does not wait any more."""
        scope = self._open.get((link, frame.request_id))
        if scope is not None:
            scope.cancel()

    def gone(self, link: HostLink | None) -> None:
        """A host has ended: nobody waits any more."""
        for (other, _), scope in list(self._open.items()):
            if other is link:
                scope.cancel()

    def _start(
        self, function: Callable[..., Awaitable[None]], link: HostLink, frame: Any, asker: Any
    ) -> None:
        context = _context_of(asker)
        context.run(
            self._system.kernel.backend.start_task, _in_context, asker, function, link, frame, name=frame.verb
        )

    async def _answer(self, link: HostLink, frame: wire.Request) -> None:
        key = link, frame.request_id
        with CancelScope() as scope:
            self._open[key] = scope
            try:
                value = await self._perform(frame.verb, frame.body)
                answer = wire.Answer(frame.request_id, dumps(value, f"the answer to {frame.verb!r}"))
            except Exception as error:
                answer = wire.Answer(frame.request_id, b"", pack_error(error))
            finally:
                del self._open[key]
            link.send(answer)

    async def _heed(self, link: HostLink, frame: wire.Told) -> None:
        try:
            await self._perform(frame.verb, frame.body)
        except Exception as error:
            self._system.kernel.report(30, f"{frame.verb!r}, told from host {link.pid}, failed", error)

    async def _perform(self, verb: str, body: Any) -> Any:
        action = self._system.verbs[verb]
        return await action(self._system, *loads(body, f"what was sent with {verb!r}"))


def _context_of(asker: Any) -> Context:
    context = None if asker is None else asker.owner.context
    return copy_context() if context is None else context.copy()


async def _in_context(asker: Any, function: Callable[..., Awaitable[None]], *args: Any) -> None:
    if asker is not None:
        CURRENT.set(asker)
    await function(*args)

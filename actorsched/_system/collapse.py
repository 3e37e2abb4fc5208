"""The last resort when the system itself has failed, and so cannot end in order.

An error in a system actor is a bug of ours. What that actor was doing stays undone: a task never settles, a
supervisor never hears that a child has stopped, and whoever waits for it would wait for ever. So after such
an error everything is told to stop, as after any other; and when the shutdown deadline has passed since then,
whatever is left is torn down here: whoever waits is answered with the error, or freed from waiting, hosts are
killed, threads left behind.

Here nothing is believed of the state that things are in. Each step is tried, whatever became of the others.
The deadline is the event loop's, whatever clock the runtime goes by.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from actorsched._system.call import Call
from actorsched._system.cell_state import Life
from actorsched._system.reading import Reading
from actorsched.exceptions import RuntimeClosed
from actorsched.messages import ExitReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorsched._kernel.backend import Handle
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.feed import Feed
    from actorsched._system.nursery import Nursery
    from actorsched._system.supervisor import Supervisor
    from actorsched._system.system import System

_AGAIN = 1.0
"""Seconds between two attempts to tear down what is left."""

_log = logging.getLogger("actorsched")


class Collapse:
    """Comes over a runtime whose system has failed, unless that ends before."""

    def __init__(self, system: System, error: BaseException) -> None:
        self._system = system
        self._handle: Handle | None = None
        self._error = RuntimeClosed(
            "this was given up: the runtime itself has failed; please report the cause"
        )
        self._error.__cause__ = error

    def __repr__(self) -> str:
        return f"<collapse of {self._system!r}>"

    def begin(self, patience: float) -> None:
        """Give the runtime so many seconds to end in order."""
        backend = self._system.kernel.backend
        self._handle = backend.call_at(backend.monotonic() + patience, self._come)

    def cancel(self) -> None:
        """It has ended."""
        if self._handle is not None:
            self._handle.cancel()

    def _come(self) -> None:
        system, kernel = self._system, self._system.kernel
        again, kernel.collapsed = kernel.collapsed, True
        self._try(system.leave_threads_behind)
        self._try(system.staff.kill)
        if again:  # their ends have not been noticed
            self._try(system.staff.forget)
        for scope in list(system.scopes):
            self._try(scope.forsake, self._forsake)
        self._try(kernel.drain)
        for carrier in list(kernel.carriers):
            if carrier.subject is not None:
                self._try(carrier.interrupt)
        for shield in list(kernel.shields):
            shield.cancel()
        self.begin(_AGAIN)

    def _try(self, step: Callable[..., object], *args: Any) -> None:
        try:
            step(*args)
        except Exception as error:
            _log.error("%r failed as a broken runtime was torn down", step, exc_info=error)

    # ------------------------------------------------------------------------------- what is in a scope

    def _forsake(self, nursery: Nursery, supervisor: Supervisor | None) -> None:
        """Nobody waits any longer for what is in a scope."""
        live: list[Any] = list(nursery.live)
        for task in live:
            self._try(task.forsake, self._error, self._system.kernel)
        nursery.live.clear()
        feeds: list[Feed] = list(nursery.feeds)
        for feed in feeds:
            self._try(feed.finish)
        nursery.feeds.clear()
        if supervisor is not None:
            self._forsake_actors(supervisor)
        for waiting in nursery.waiting:
            self._system.kernel.reply(waiting, None)

    def _forsake_actors(self, supervisor: Supervisor) -> None:
        for child in supervisor.remaining():
            self._try(self._forsake_actor, child)

    def _forsake_actor(self, cell: ActorCell) -> None:
        kernel, extras = self._system.kernel, cell.extras
        cell.life, cell.ending = Life.STOPPED, ExitReason("failed", self._error)
        cell.returns = False
        turn = cell.turn
        if turn is not None and not isinstance(turn, Reading):
            kernel.interrupt(turn)
        calls: Iterable[object] = [turn, *cell.lane.drain(), *(extras.room if extras is not None else ())]
        for call in calls:
            if isinstance(call, Call):
                call.answer(self._error)
                call.tell_over()
        if extras is None:
            return
        if extras.started is not None:
            kernel.reply(extras.started, None)
        for watcher in extras.watchers:
            kernel.reply(watcher, cell.ending)
        if extras.supervisor is not None:
            self._forsake_actors(extras.supervisor)

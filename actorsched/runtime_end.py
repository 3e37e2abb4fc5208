"""How a runtime ends: left, shut down, or because its own system has failed.

It is closed once, by a task of its own, however often and by whomever that is asked for. `Runtime` builds on
this page, and is the door to everything else.

The law of this module: it always ends. Tasks may take as long as they like; but what was told to stop has
until the deadline, and then hosts are killed, and threads that do not stop left behind. Whoever waits for the
end waits for all of it, even when it is cancelled meanwhile; and no failure is lost: it leaves the runtime.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING

from anyio import CancelScope

from actorsched._kernel.current import CURRENT
from actorsched._kernel.signals import HURRIED
from actorsched._system.asking import inside_of
from actorsched._system.collapse import Collapse
from actorsched.durations import Duration, seconds
from actorsched.exceptions import RuntimeClosed, shown
from actorsched.scope import Scope

if TYPE_CHECKING:
    from actorsched._core.timers import TimerEntry
    from actorsched._kernel.backend import Future

_log = logging.getLogger("actorsched")


class RuntimeEnd(Scope):
    """The end of a runtime."""

    def __init__(self, patience: float) -> None:
        # What makes it a scope comes when it is entered: before that there is nothing to end.
        self._patience = patience
        self._deadline: TimerEntry | None = None
        self._collapse: Collapse | None = None
        self._ending = False  # somebody has begun to close it
        self._ended = False
        self._waiting: list[Future] = []  # who waits until it is closed
        self._at_close: list[Callable[[], object]] = []

    def _panic(self, error: BaseException) -> None:
        """The system has failed.

        What is left of it ends as well as it can, and the error leaves the runtime.
        """
        self._nursery.fail(error, "the runtime itself has failed", self._system.kernel)
        self._collapse = Collapse(self._system, error)
        self._collapse.begin(self._patience)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        end = await self._leave(error)
        late: BaseException | None = None
        self._system.closing = True
        with CancelScope(shield=True):
            late = await self._ended_in_spite_of_all()
        self._drop_deadline()
        HURRIED.discard(self._hurry)
        if self._collapse is not None:
            self._collapse.cancel()
        self._closed()
        return self._raise(error, late if end is None else end)

    # ---------------------------------------------------------------------------------------------- asked for

    async def shutdown(self, drain: bool = True, timeout: Duration | None = None) -> None:
        """Take no more work, let everything come to its end, and close.

        From now on spawning raises `RuntimeClosed`, wherever it is done. Tasks are waited for, and actors
        work off their mailboxes and stop, those of scopes too; then hosts and threads end. The body of the
        runtime goes on, and may still look at what there was.

        Called from inside a task or an actor of this runtime it asks, and returns at once.

        Args:
            drain: Whether to wait for tasks and mailboxes; otherwise tasks are cancelled and actors killed.
            timeout: How long to wait before what is left is cancelled and killed, as a duration; None for as
                long as the tasks take, and then `shutdown_timeout` for the actors.

        Raises:
            TypeError: `drain` is no bool.
            ValueError: The timeout is no duration.
        """
        if not isinstance(drain, bool):
            raise TypeError(f"drain={drain!r} is of type {type(drain).__name__}; give True or False")
        patience = None if timeout is None else seconds(timeout, field="timeout")
        if self._ended:
            return
        self._system.kernel.check_thread("the runtime was shut down")
        self._system.closing = True
        if not drain:
            self._cancel_scopes("the runtime is shut down")
            self._set_deadline(self._patience if patience is None else patience)
        elif patience is not None:
            self._set_deadline(patience)
        self._begin_to_end()
        if not inside_of(self._system.kernel):
            await self._until_ended()

    def at_close(self, function: Callable[[], object]) -> Callable[[], None]:
        """Have a function called when the runtime has closed, and nothing of it runs any more.

        It is called in the runtime's thread, the last one asked for first, and must be quick: whoever leaves
        the runtime waits for it. It may be async. An error in it is logged.

        Args:
            function: What is called, without arguments.

        Returns:
            A function that takes it back.

        Raises:
            TypeError: It cannot be called.
            RuntimeClosed: The runtime has closed already.
        """
        if not callable(function):
            raise TypeError(
                f"function={shown(function)} cannot be called; give a function without parameters"
            )
        self._system.kernel.check_thread(f"{shown(function)} was to be called at the end of the runtime")
        if self._ended:
            raise RuntimeClosed(f"{shown(function)} was to be called at the end of a runtime that has closed")
        asked = partial(function)  # of its own, so that the same function may be asked for twice
        self._at_close.append(asked)

        def take_back() -> None:
            if asked in self._at_close:
                self._at_close.remove(asked)

        return take_back

    async def _tell_of_close(self) -> None:
        while self._at_close:
            function = self._at_close.pop()
            try:
                result = function()
                if isawaitable(result):
                    await result
            except Exception:
                _log.exception("%s failed, which was called at the end of a runtime", shown(function))

    def _begin_to_end(self) -> None:
        if not self._ending:
            self._ending = True
            self._system.kernel.backend.start_task(self._end, name="actorsched shutdown")

    async def _until_ended(self) -> None:
        """Wait until it is closed."""
        self._begin_to_end()
        if not self._ended:
            ended = self._system.kernel.future()
            self._waiting.append(ended)
            await ended

    async def _ended_in_spite_of_all(self) -> BaseException | None:
        """The same; answers with a cancellation that came meanwhile: asyncio's own, which no shield stops."""
        late: BaseException | None = None
        while not self._ended:
            try:
                await self._until_ended()
            except self._system.kernel.cancelled as error:
                late = late or error
        return late

    async def _end(self) -> None:
        """Wait until nothing is left in any scope, then end hosts, threads, kernel; in a task of its own."""
        CURRENT.set(None)  # not in the name of whoever asked for it
        system = self._system
        try:
            with system.kernel.shield():
                while any(scope.busy for scope in system.scopes):
                    for scope in reversed(list(system.scopes)):
                        await scope.end(self._patience)
            self._nursery.log_unseen(system.kernel)
            self._drop_deadline()
            await system.aclose(self._patience)
        except BaseException as error:  # else nobody would hear of it, and the body would wait for ever
            self._nursery.fail(error, "the runtime could not be closed in order", system.kernel)
        await self._tell_of_close()
        self._ended = True
        for waiting in self._waiting:
            system.kernel.reply(waiting, None)

    async def end_all(self, why: str, patience: float, *, kill: bool = False) -> None:
        """The same as for a scope, but with a deadline for everything."""
        self._set_deadline(patience)
        await super().end_all(why, patience, kill=kill)

    async def _stop_actors(self, patience: float | None, *, certain: bool, kill: bool) -> None:
        if self._supervisor is not None:
            patience = self._patience if patience is None else patience
            self._set_deadline(patience)
            await super()._stop_actors(patience, certain=certain, kill=kill)

    def _error(self, end: BaseException | None, failure: BaseException | None) -> BaseException | None:
        others = [error for error in self._nursery.errors if error is not failure]
        if not others:
            return end
        if failure is not None:
            others.insert(0, failure)
        return others[0] if len(others) == 1 else BaseExceptionGroup("in a runtime", others)

    # ----------------------------------------------------------------------------------------------- by force

    def _set_deadline(self, patience: float) -> None:
        """After so many seconds nothing is waited for any longer."""
        when = self._system.kernel.now + patience
        if self._deadline is None or when < self._deadline.when:
            self._drop_deadline()
            self._deadline = self._system.kernel.call_later(patience, self._force)

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _force(self, why: str = "the shutdown deadline of the runtime has come") -> None:
        """The shutdown deadline has come, and something has not stopped.

        What begins now has as long again.
        """
        self._deadline = None
        self._set_deadline(self._patience)
        self._cancel_scopes(why)
        for scope in list(self._system.scopes):
            scope.force_feeds()
        self._system.leave_threads_behind()
        self._system.staff.kill()

    def _hurry(self) -> None:
        """Somebody does not want to wait any longer."""
        if self._system.kernel.thread == get_ident() and not self._ended:
            self._force("whoever started the program is in a hurry")

    def _cancel_scopes(self, why: str) -> None:
        """Cancel all tasks and kill all actors, in scopes too."""
        kernel = self._system.kernel
        for scope in reversed(self._system.scopes):
            scope.cancel_all(why)
        kernel.drain()

"""Scopes: nurseries for tasks and actors. The runtime is the outermost one."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from anyio import CancelScope

from actorsched._system.asking import aside, settled
from actorsched._system.code_run import without_cancellation
from actorsched._system.nursery import Nursery
from actorsched.exceptions import DeadlockError, RuntimeClosed
from actorsched.messages import Close
from actorsched.spawning import Spawner

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._system.supervisor import Supervisor
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched.options import Supervise


class Scope(Spawner):
    """An `async with` block that its tasks and actors do not outlive. Made by `rt.scope()`.

    Leaving it waits for its tasks, then stops its actors, the last started first. A task that fails cancels
    its siblings and the body; what failed leaves as an `ExceptionGroup`, always. A body that raises, or that
    is cancelled, cancels the tasks and stops the actors; actors that have not stopped when the runtime's
    `shutdown_timeout` is over are killed then.
    """

    def __init__(self, system: object, supervise: Supervise, *, contains: bool = False) -> None:
        self._system = cast("System", system)  # what it is concerns nobody outside
        self._supervise = supervise
        self._scope = CancelScope()
        self._nursery = Nursery(contains=contains, on_failure=self._cancel_body)
        self._entered = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._nursery.live)} tasks>"

    def _cancel_body(self) -> None:
        if self._nursery.open:
            self._scope.cancel()

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this scope was entered before; make a new one with rt.scope()")
        self._entered = True
        self._system.scopes[self] = None
        self._scope.__enter__()
        self._nursery.open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        end = await self._leave(error)
        self._closed()
        return self._raise(error, end)

    # ------------------------------------------------------------------------------------ letting it end

    async def _leave(self, error: BaseException | None) -> BaseException | None:
        """Let everything end. Answers with what ends the body: its error, or what cut the waiting short."""
        if error is None:
            error = await self.end(None)
        if error is not None:
            with self._system.kernel.shield():
                await self.end_all(f"its scope was left: {type(error).__name__}", self._system.patience)
        return error

    @property
    def busy(self) -> bool:
        """Whether any task, iterator or actor is left."""
        return bool(self._nursery.live or self._nursery.feeds) or self._supervisor is not None

    def cancel_all(self, why: str) -> None:
        """Cancel the tasks, and kill the actors. `drain` delivers it."""
        kernel = self._system.kernel
        self._nursery.cancel_all(why, kernel)
        if self._supervisor is not None:
            kernel.send((self._supervisor, Close(kill=True)))

    def force_feeds(self) -> None:
        """The iterators have to be over as soon as possible."""
        for feed in list(self._nursery.feeds):
            feed.force()

    async def end_all(self, why: str, patience: float, *, kill: bool = False) -> None:
        """Cancel the tasks and stop the actors, whatever comes."""
        kernel = self._system.kernel
        self._nursery.cancel_all(why, kernel)
        kernel.drain()
        while (error := await self.end(patience, certain=True, kill=kill)) is not None:
            if not isinstance(error, (DeadlockError, kernel.cancelled)):
                raise error
            # asyncio delivers a cancellation also where it is shielded from; it was noted before

    async def end(
        self, patience: float | None, *, certain: bool = False, kill: bool = False
    ) -> BaseException | None:
        """Wait for the tasks, close the iterators and stop the actors, until nothing of them is left.

        Args:
            patience: For how many seconds the actors may work off their mailboxes; None for ever.
            certain: Whether the tasks have been told to stop, and cannot but be waited for.
            kill: Whether the actors are to be killed.

        Returns:
            What cut it short, if anything did.
        """
        live = self._nursery.live
        for feed in self._nursery.feeds:
            feed.last_call()
        try:
            while self.busy:
                while live:
                    task: TaskActor = next(iter(live))  # type: ignore[assignment]
                    await settled(task, certain=certain)
                    if task in live:  # its nursery has not heard of it yet
                        from anyio.lowlevel import checkpoint

                        await checkpoint()
                await self._close_feeds(late=False)
                await self._stop_actors(patience, certain=certain, kill=kill)
                await self._close_feeds(late=True)
        except BaseException as error:
            return error
        return None

    async def _stop_actors(self, patience: float | None, *, certain: bool, kill: bool) -> None:
        supervisor, nursery = self._supervisor, self._nursery
        if supervisor is None:
            return
        if nursery.gone is not supervisor:
            kernel = self._system.kernel
            gone = kernel.future()
            nursery.waiting.append(gone)
            kernel.post(supervisor, Close(patience, kill))
            remaining = supervisor.remaining
            await aside(kernel, gone, "the end of a scope's actors", remaining, certain=certain)
        if self._supervisor is supervisor:
            self._supervisor = None

    async def _close_feeds(self, *, late: bool) -> None:
        """End the iterators that nobody will read on; those that actors read, after the actors."""
        feeds = [feed for feed in self._nursery.feeds if late or not feed.late]
        for feed in feeds:
            feed.close(RuntimeClosed(f"{feed.title} was closed, because its scope was left"))
        for feed in feeds:
            await feed.ended()

    def forsake(self, forsaking: Callable[[Nursery, Supervisor | None], object]) -> None:
        """The system has failed: nothing is waited for any longer."""
        supervisor, self._supervisor = self._supervisor, None
        forsaking(self._nursery, supervisor)

    # -------------------------------------------------------------------------------------- afterwards

    def _closed(self) -> None:
        self._nursery.open = False
        del self._system.scopes[self]

    def _raise(self, given: BaseException | None, end: BaseException | None) -> bool | None:
        """Close the cancel scope, and raise what is to leave.

        Args:
            given: The error of the body.
            end: That, or what cut the waiting short.
        """
        swallowed: bool | None = False
        try:
            swallowed = self._scope.__exit__(None if end is None else type(end), end, None)
        except BaseException as rest:  # without the cancellations that were ours
            end = rest
        if swallowed:
            end = None
        failure = None if end is None else without_cancellation(end, self._system.kernel.cancelled)
        error = self._error(end, failure)
        if error is not None and error is not given:
            raise error from error.__cause__  # which stands in it, or has been dealt with: no context
        return swallowed

    def _error(self, end: BaseException | None, failure: BaseException | None) -> BaseException | None:
        """What leaves the block.

        Args:
            end: What ended the body.
            failure: What of it is no cancellation.
        """
        errors = self._nursery.errors
        if failure is not None and all(failure is not error for error in errors):
            errors = [failure, *errors]
        return BaseExceptionGroup("in a scope", errors) if errors else end

"""A test's body, run within a runtime of its own that ends with it, and held to leave nothing behind.

The law of this module: it always ends, and a failure of the body is what is told if there is one. It knows
nothing of pytest but how a test is failed.

How it works: the runtime is entered and left in the task of the body, so that cancel scopes, context
variables and tracebacks are as in `async with Runtime()`. When the body has ended, what is still there of the
runtime is written down, and told to stop. Leaving waits for that, but for `PATIENCE` seconds of real time
only: what does not go is written down with the line at which it hangs, and torn down by force. At last the
process and the event loop are compared with what they were.
"""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from actorsched._system.cell_state import Life
from actorsched._system.collapse import Collapse
from actorsched._system.task import TaskActor
from actorsched.testing.leaks import (
    KINDS,
    Left,
    Place,
    RecordingSystem,
    failure,
    left_of,
    present,
    report,
)
from actorsched.testing.remains import LoopRemains

if TYPE_CHECKING:
    from actorsched.runtime import Runtime

__all__ = ["PATIENCE", "Stage", "fail_for"]

PATIENCE = 5.0
"""For how many seconds the end of a runtime is waited for before it is forced."""
_TURNS = 3
"""So many turns of the loop it has that is about to end by itself."""
_FAREWELL = 1.0
"""For how many seconds that is waited for which was told to stop by the test itself."""
_UNSEEN = re.compile(r", and nobody |when nobody was reading")
"""What the runtime says of failures that reached nobody. Others are dealt with: by a supervisor, say."""


class Stage:
    """What a test is run with, and what it may leave.

    Args:
        may_leave: The kinds of what may be left, as in `leaks.KINDS`, in the plural.
        whole: Whether to look at the process and at the event loop, too: not where others may tidy up later.
        simulated: Whether the event loop is a simulated one, which looks after itself.
    """

    def __init__(
        self, may_leave: Collection[str] = (), *, whole: bool = True, simulated: bool = False
    ) -> None:
        self._may_leave = may_leave
        self._whole = whole
        self._simulated = simulated
        self._remains: LoopRemains | None = None
        self._failures = _Failures()
        self._runtime: Runtime | None = None

    def __repr__(self) -> str:
        return f"<stage of {self._runtime!r}>"

    async def play(self, body: Callable[[], Awaitable[object]], runtime: Runtime | None) -> None:
        """Run the body, within the runtime if there is one, and fail if something is left.

        Raises:
            BaseException: What the body raised.
            pytest.fail.Exception: It raised nothing, but has left something behind.
        """
        __tracebackhide__ = True
        await self.begin(runtime)
        error: BaseException | None = None
        try:
            await body()
        except BaseException as raised:
            error = raised
        left = await self.end(error)
        if error is not None:
            try:
                raise error
            finally:
                del error  # it refers to this frame
        fail_for(left)

    async def visit(self, body: Callable[[], Awaitable[object]]) -> None:
        """Run the body in a runtime that outlives it, because a fixture has spawned in it, too.

        Raises:
            BaseException: What the body raised.
            pytest.fail.Exception: It raised nothing, but something that it has spawned is there still.
        """
        __tracebackhide__ = True
        assert self._runtime is not None
        before = present(self._runtime._system)
        await body()
        await _end_of_the_ending(self._runtime)
        new = [each for each in present(self._runtime._system) if each not in before]
        fail_for(self._forbidden([left_of(each) for each in new]))

    async def begin(self, runtime: Runtime | None) -> None:
        """Remember what is there, and enter the runtime."""
        if not self._simulated:
            self._remains = LoopRemains(whole=self._whole)
        self._failures.begin()
        if runtime is not None:
            runtime._system_kind = RecordingSystem
            try:
                await runtime.__aenter__()
            except BaseException:
                self._stop_looking()
                raise
            self._runtime = runtime

    async def end(self, error: BaseException | None) -> list[Left]:
        """Leave the runtime. Answers with what is left and may not be.

        Args:
            error: How the body has failed; what is left is not told then.

        Raises:
            BaseException: The runtime has failed.
        """
        left: list[Left] = []
        try:
            if self._runtime is not None:
                left += await self._leave(self._runtime, error)
            if self._remains is not None:
                left += await self._of_the_loop(self._remains, error)
        finally:
            self._stop_looking()
        places = getattr(getattr(self._runtime, "_system", None), "last", {})
        return self._forbidden(left + self._failures.found(places))

    # ---------------------------------------------------------------------------------------------- within

    def _forbidden(self, left: list[Left]) -> list[Left]:
        return [each for each in left if KINDS[each.kind] not in self._may_leave]

    async def _leave(self, runtime: Runtime, error: BaseException | None) -> list[Left]:
        left: list[Left] = []
        if error is None and not runtime._ended:
            await _end_of_the_ending(runtime)
            left = [left_of(each) for each in present(runtime._system)]  # failures unseen will be logged
        leaving = _Leaving(runtime)
        await leaving.leave(error, kill=bool(self._forbidden(left)) or error is not None)
        hung = {each._replace(state="", details=()) for each in leaving.hung}
        return [each for each in left if each._replace(state="", details=()) not in hung] + leaving.hung

    async def _of_the_loop(self, remains: LoopRemains, error: BaseException | None) -> list[Left]:
        left: list[Left] = []
        gc.collect(1)  # a task that has failed is reported by asyncio when it is finalised
        with anyio.CancelScope(shield=True):
            left = remains.now() if error is not None else await remains.wait_in_loop()
            await remains.end_tasks()
        told = "that reached nobody but asyncio's exception handler"
        return left + [failure(f"{told}: {message}", raised) for message, raised in remains.unhandled]

    def _stop_looking(self) -> None:
        self._failures.end()
        if self._remains is not None:
            self._remains.close()


def fail_for(left: list[Left]) -> None:
    """Fail the test, if it has left anything.

    Raises:
        pytest.fail.Exception: It has.
    """
    __tracebackhide__ = True
    if left:
        pytest.fail(report(left), pytrace=False)


class _Failures(logging.Handler):
    """Hears of failures in any runtime that reached nobody."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._records: list[logging.LogRecord] = []

    def begin(self) -> None:
        logging.getLogger("actorsched").addHandler(self)

    def end(self) -> None:
        logging.getLogger("actorsched").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if _UNSEEN.search(record.getMessage()):
            self._records.append(record)

    def found(self, places: dict[str, Place]) -> list[Left]:
        """As what is left."""
        records, self._records = self._records, []
        return [self._left(record, places) for record in records]

    def _left(self, record: logging.LogRecord, places: dict[str, Place]) -> Left:
        text = record.getMessage()
        match = re.match(r"task '(.*?)' (?:failed|missed)", text)
        error = record.exc_info[1] if record.exc_info else None
        return failure(f"that was only logged: {text}", error, places.get(match[1]) if match else None)


# ------------------------------------------------------------------------------------------------- leaving it


async def _end_of_the_ending(runtime: Runtime) -> None:
    """Wait a little for what somebody has told to stop already."""
    backend = runtime._system.kernel.backend
    give_up = backend.monotonic() + _FAREWELL
    with anyio.CancelScope(shield=True):
        for _ in range(_TURNS):
            await anyio.lowlevel.checkpoint()
        while _is_ending(runtime) and backend.monotonic() < give_up:  # noqa: ASYNC110 # nobody tells when
            await anyio.sleep(0.001)


def _is_ending(runtime: Runtime) -> bool:
    return any(
        subject.hurried
        if isinstance(subject, TaskActor)
        else subject.life >= Life.DRAINING and not subject.returns
        for subject in present(runtime._system)
    )


class _Leaving:
    """The end of one runtime, with a limit in real time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._forced = False
        self.hung: list[Left] = []
        """What did not stop in time."""

    async def leave(self, error: BaseException | None, *, kill: bool) -> None:
        """Leave it, whatever is still there.

        Args:
            error: Of the body.
            kill: Whether actors have to stop at once, and need not work off their mailboxes.

        Raises:
            BaseException: The runtime has failed.
        """
        runtime, backend = self._runtime, self._runtime._system.kernel.backend
        now = backend.monotonic()
        handles = [
            backend.call_at(now + PATIENCE / 2, self._hurry),
            backend.call_at(now + PATIENCE, self._give_up),
        ]
        try:
            if kill:
                with anyio.CancelScope(shield=True):
                    await runtime.shutdown(drain=False)
            else:
                runtime._nursery.cancel_all("the test has ended", runtime._system.kernel)
                runtime._system.kernel.drain()
            await self._exit(error)
        finally:
            for handle in handles:
                handle.cancel()
            self._close_code()

    async def _exit(self, error: BaseException | None) -> None:
        kind = None if error is None else type(error)
        try:
            await self._runtime.__aexit__(kind, error, None if error is None else error.__traceback__)
        except BaseException as raised:
            if raised is not error and not self._forced:
                raise

    def _hurry(self) -> None:
        if not self._runtime._ended:
            self._runtime._force("the test has ended")

    def _give_up(self) -> None:
        """Name what is still there, and let everybody go who waits for it."""
        runtime = self._runtime
        if runtime._ended:
            return
        self._forced = True
        why = f"and has not stopped {PATIENCE:g} s after it was told to"
        self.hung = [
            left._replace(state=f"{left.state}, {why}") for left in map(left_of, present(runtime._system))
        ]
        runtime._collapse = Collapse(runtime._system, RuntimeError("the test has ended, and this has not"))
        runtime._collapse.begin(0.0)

    def _close_code(self) -> None:
        """Code that no cancellation ends is closed: otherwise the event loop would wait for it for ever."""
        for carrier in list(self._runtime._system.kernel.carriers):
            stepper = getattr(carrier.subject, "stepper", None)
            code = None if stepper is None else getattr(stepper.send, "__self__", None)
            if code is not None:
                try:
                    code.close()
                except BaseException:  # it will not have that either, and nothing else can be done
                    pass
                carrier.interrupt()

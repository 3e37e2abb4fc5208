"""Code on its way from its first step to its end, without a loop.

The law of this module: a strand takes steps when it is told to, and tells its owner once how it ended, after
its deferred calls. It waits for nothing but `Wait`s. Code that awaits anything else is closed where it
stands, and the test is told where that is, and what to do.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Literal

from actorsched._kernel.current import CURRENT
from actorsched._system.code_run import unwind
from actorsched.exceptions import ActorschedError, shown
from actorsched.testing._alone.scene import SCENE, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from types import CodeType

    from actorsched._system.code_run import Deferred
    from actorsched.testing._alone.context import AloneContext
    from actorsched.testing._alone.recording import Effects
    from actorsched.testing._alone.scene import Scene

__all__ = ["CancelledError", "NeedsRuntime", "Strand"]

_NO_LOOP = ("no running event loop", "must be called from async context")
_NO_LOOP_TYPES = ("AsyncLibraryNotFoundError", "NoEventLoopError")


class NeedsRuntime(ActorschedError, RuntimeError):
    """An actor or task that is tested alone has tried something that takes an event loop, or a runtime."""


class Strand:
    """One piece of code.

    Attributes:
        effects: Where what it does is recorded.
        cancelled: Why it was told to stop; None if it was not.
        deferred: What is to be called at its end.
        waiting: What it waits for.
        owner: The actor or task whose code it is; with `role` and `attempt`, what a context asks for.
        sender: Who has sent the message that it handles.
        acquisition: How it acquires resources; None for what cannot, which is all but async tasks.
        checkpoints: What `checkpoint()` does in it; None in async code, where it does nothing.
    """

    def __init__(
        self,
        scene: Scene,
        owner: Any,
        title: str,
        effects: Effects,
        over: Callable[[Any, BaseException | None], None],
    ) -> None:
        self.scene = scene
        self.title = title
        self.effects = effects
        self.cancelled: BaseException | None = None
        self.deferred: Deferred | None = None
        self.waiting: Wait | None = None
        self.owner: Any = owner
        self.role: Literal["task", "actor"] = "task" if owner.settles else "actor"
        self.attempt = 1
        self.preempt_requested = False
        self.sender: Any = None
        self.checkpoints: Callable[[], None] | None = None
        self.acquisition: Callable[[tuple[str, ...]], Any] | None = None
        self._over = over
        self._thrown = False
        self._code: Coroutine[Any, Any, Any] | None = None
        self._context: Context | None = None
        self._place: CodeType | None = None
        self._ended: tuple[Any, BaseException | None] | None = None

    def __repr__(self) -> str:
        return f"<{self.title}{f', waiting for {self.waiting.what}' if self.waiting else ''}>"

    @property
    def kernel(self) -> Scene:
        """What stands in for a kernel, as far as contexts ask for one."""
        return self.scene

    @property
    def cancel_requested(self) -> bool:
        """Whether it was told to stop."""
        return self.cancelled is not None

    @property
    def begun(self) -> bool:
        """Whether it has taken a step."""
        return self._context is not None

    def begin(
        self,
        call: Callable[..., Coroutine[Any, Any, Any]],
        function: Any,
        context: Context,
        current: AloneContext,
    ) -> None:
        """Take the first step.

        Args:
            call: Gives the code.
            function: Whose code it is, to tell where it has gone wrong.
            context: It runs in it, alone.
            current: What `current()` is to it.
        """
        self._context = context
        self._place = getattr(function, "__code__", None)
        context.run(SCENE.set, self.scene)
        context.run(CURRENT.set, current)
        try:
            self._code = context.run(call)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self._end(None, error)
        self._step(self._code.send, None)

    def go_on(self) -> None:
        """What it waited for has happened."""
        if self.waiting is not None and self.waiting.done:
            assert self._code is not None
            self.waiting = None
            self._step(self._code.send, None)

    def interrupt(self, reason: BaseException) -> None:
        """Cancel it where it waits. What it has deferred is left alone."""
        if self.cancelled is None:
            self.cancelled = reason
        if self.waiting is not None and self._ended is None:
            self.waiting = None
            self.scene.post(self._throw)

    def _throw(self) -> None:
        assert self._code is not None
        self._thrown = True
        self._step(self._code.throw, CancelledError())

    def _step(self, step: Callable[[Any], Any], value: Any) -> None:
        scene, context = self.scene, self._context
        assert context is not None
        before, scene.into = scene.into, self.effects
        try:
            while True:
                yielded = context.run(step, value)
                if not isinstance(yielded, Wait):
                    return self._close(yielded)
                assert self._code is not None
                if yielded.done:
                    step, value = self._code.send, None
                elif self.cancelled is not None and not self._thrown and self._ended is None:
                    self._thrown = True
                    step, value = self._code.throw, CancelledError()
                else:
                    yielded.strand = self
                    self.waiting = yielded
                    return
        except StopIteration as stopped:
            self._end(stopped.value, None)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._end(None, error)
        finally:
            scene.into = before

    def _end(self, value: Any, error: BaseException | None) -> None:
        if error is not None and _means_no_loop(error):
            error = self._impossible(
                f"raises {type(error).__name__}: {error}", _raised_at(error, self._place), error
            )
        ended = self._ended = self._ended or (value, error)
        if self.deferred:
            deferred, self.deferred = self.deferred, None
            self._code = unwind(self.title, deferred)
            return self.scene.post(self._unwind)
        self._code = None
        self._over(*ended)

    def _unwind(self) -> None:
        assert self._code is not None
        self._step(self._code.send, None)

    def _close(self, yielded: object) -> None:
        """The code awaits what is none of ours: it cannot go on."""
        assert self._code is not None
        line = _stands_at(self._code, self._place)
        error = self._impossible(f"awaits {shown(yielded)}", line, None)
        try:
            self._code.close()
        except RuntimeError:  # it awaits as it is closed, which it cannot either
            pass
        self._end(None, error)

    def _impossible(self, what: str, line: str, cause: BaseException | None) -> NeedsRuntime:
        error = NeedsRuntime(
            f"{self.title} {what}{line}: that takes an event loop, and what is tested alone has none; "
            "wait by actorsched.sleep or through refs, or test it in a `simulation`"
        )
        error.__cause__ = cause
        self.scene.impossible = error
        return error


def _means_no_loop(error: BaseException) -> bool:
    """Whether code has looked for an event loop, and found none."""
    return isinstance(error, RuntimeError) and (
        str(error) in _NO_LOOP or type(error).__name__ in _NO_LOOP_TYPES
    )


def _raised_at(error: BaseException, place: CodeType | None) -> str:
    """The last line in the file of the code that led to an error."""
    found, traceback = "", error.__traceback__
    while traceback is not None:
        if place is not None and traceback.tb_frame.f_code.co_filename == place.co_filename:
            found = f" at {place.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def _stands_at(code: Any, place: CodeType | None) -> str:
    """The last line in the file of the code where it is suspended."""
    found = ""
    while code is not None:
        frame = (
            getattr(code, "cr_frame", None)
            or getattr(code, "ag_frame", None)
            or getattr(code, "gi_frame", None)
        )
        if frame is not None and place is not None and frame.f_code.co_filename == place.co_filename:
            found = f" at {place.co_filename}:{frame.f_lineno}"
        code = (
            getattr(code, "cr_await", None)
            or getattr(code, "ag_await", None)
            or getattr(code, "gi_yieldfrom", None)
        )
    return found

"""What `current()` is to code that is tested alone.

The law of this module: everything that contexts offer is here, with the same checks; what others would notice
is recorded. It decides nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from actorsched.actor import is_actor_class
from actorsched.context import Context
from actorsched.exceptions import shown
from actorsched.testing._alone.recording import Logged
from actorsched.testing.effects import Acquired, Released

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._system.handlers import Handler
    from actorsched.testing._alone.recording import Effects
    from actorsched.testing._alone.refs import ActorStandIn
    from actorsched.testing._alone.runtime import RuntimeStandIn
    from actorsched.testing._alone.scene import Scene
    from actorsched.testing._alone.strand import Strand


class AloneContext(Context):
    """The running task or handler, seen from inside, when it is tested alone."""

    __slots__ = ()

    role: ClassVar[str] = "alone"
    """How `actorsched.current` tells it from the runs of a runtime."""
    may_wait: ClassVar[bool] = True
    carrier: ClassVar[None] = None

    if TYPE_CHECKING:
        _run: Strand

    @property
    def kernel(self) -> Scene:
        """Whose time it sleeps by."""
        return self._run.scene

    @property
    def host(self) -> Literal["loop", "thread", "process"]:
        """Where the code would run: in the event loop, or, a plain function, in a thread."""
        return "thread" if self._run.checkpoints is not None else "loop"

    @property
    def runtime(self) -> RuntimeStandIn:  # type: ignore[override]  # it stands in
        """What stands in for the runtime."""
        return self._run.scene.facade

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The same logger as ever; what is written there is recorded as well."""
        return _RecordingLog(super().log, self._run.effects)

    def defer(self, callback: Callable[..., object], *args: Any) -> None:
        """Have something called when the code ends: see `Context.defer`."""
        super().defer(callback, *args)
        self._run.effects.deferred.append((callback, args))

    def checkpoint(self) -> None:
        """The point at which a plain function lets itself be cancelled; elsewhere it does nothing."""
        if self._run.checkpoints is not None:
            self._run.checkpoints()

    @property
    def ref(self) -> ActorStandIn[Any]:
        """The actor itself, as others see it. What is sent to it is recorded like all else."""
        self._cell()
        ref: ActorStandIn[Any] = self._run.scene.ref
        return ref

    @property
    def sender(self) -> Any:
        """Who has sent the message, as the test says; None if it does not."""
        self._cell()
        return self._run.sender

    if not TYPE_CHECKING:

        async def spawn(self, actor: Callable[..., Any], /, *args: Any, **options: Any) -> ActorStandIn[Any]:
            """Record that a child is spawned: see `Context.spawn`."""
            self._cell()
            if not is_actor_class(actor):
                raise TypeError(
                    f"{shown(actor)} is no class of actors, so it cannot be a child; "
                    "spawn tasks with the runtime"
                )
            ref = self.runtime._spawn_actor(actor, args, options, child=True)
            self._run.owner.children.append(ref)
            return ref

    def _set_timer(self, delay: float, periodic: bool, handler: Handler, *message: Any) -> Any:
        return self._run.owner.set_timer(delay, periodic, handler, *message)


class _RecordingLog(logging.LoggerAdapter[logging.Logger]):
    """Writes to a log, and records what was written."""

    def __init__(self, log: logging.LoggerAdapter[logging.Logger], effects: Effects) -> None:
        super().__init__(log.logger, log.extra)
        self._effects = effects

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write and record."""
        self._effects.logs.append(Logged(level, str(msg) % args if args else str(msg)))
        kwargs.setdefault("stacklevel", 2)
        super().log(level, msg, *args, **kwargs)


class Acquisition:
    """`async with current().acquire("db")` of a task that is tested alone: nobody else holds anything."""

    __slots__ = ("_names", "_scene")

    def __init__(self, scene: Scene, names: tuple[str, ...]) -> None:
        self._scene = scene
        self._names = names

    def __repr__(self) -> str:
        return f"<acquisition of {', '.join(self._names)}>"

    async def __aenter__(self) -> None:
        self._scene.record(Acquired(self._names))

    async def __aexit__(self, *error: object) -> None:
        self._scene.record(Released(self._names))

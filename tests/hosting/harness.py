"""A host under test: launched on the running backend, and gone when the test is over.

Each has a spawner of its own unless it is given one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from actorsched._hosting import wire
from actorsched._hosting.definitions import Definitions
from actorsched._hosting.failures import unpack_error
from actorsched._hosting.launch import launch
from actorsched._hosting.spawner import Spawner
from actorsched._hosting.transfer import dumps, loads
from actorsched._kernel.choose import running_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from actorsched._hosting.exits import HostExit

T = TypeVar("T")
F = TypeVar("F")

PATIENCE = 20.0
"""Seconds after which a test gives up waiting; nothing takes anywhere near as long."""


class Host:
    """What a test knows of one host."""

    def __init__(
        self,
        kind: Literal["tasks", "actors"] = "tasks",
        spawner: Spawner | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        self.backend = running_backend()
        self.spawner = spawner or Spawner(self.backend)
        self._own_spawner = self.spawner if spawner is None else None
        self.frames: list[Any] = []
        self.exit: HostExit | None = None
        self.frames_after_exit = 0
        self.definitions = Definitions()
        self._numbers = count(1)
        self._waiting: list[Any] = []
        self.link = launch(
            self.spawner, kind, on_frame=self._on_frame, on_exit=self._on_exit, start_timeout=start_timeout
        )

    def _on_frame(self, frame: Any) -> None:
        self.frames.append(frame)
        self.frames_after_exit += self.exit is not None
        self._news()

    def _on_exit(self, exit_: HostExit) -> None:
        assert self.exit is None, "an exit is told once"
        self.exit = exit_
        if self._own_spawner is not None:
            self._own_spawner.close()
        self._news()

    def _news(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, condition: Callable[[], T | None]) -> T:
        """Wait until the condition answers with something; it is asked after every frame."""
        with anyio.fail_after(PATIENCE):
            while not (found := condition()):
                future = self.backend.create_future()
                self._waiting.append(future)
                await future
        return found

    async def frame(self, kind: type[F], matches: Callable[[F], object] = lambda _: True) -> F:
        """Wait for a frame of this kind."""
        return await self.until(lambda: next(filter(matches, self.seen(kind)), None))

    async def ended(self) -> HostExit:
        """Wait for the end of the host."""
        return await self.until(lambda: self.exit)

    def seen(self, kind: type[F]) -> list[F]:
        """The frames of this kind that have come."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    # -------------------------------------------------------------------------------------------------- tasks

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        context: Any = b"",
        limits: wire.Limits | None = None,
        **kwargs: Any,
    ) -> int:
        """Send a task, and answer with its number."""
        number = next(self._numbers)
        name = getattr(function, "__name__", "work")
        definition, payload = self.definitions.call(function, args, kwargs, f"task {name!r}")
        fn_id = self.link.define(definition)
        self.link.send(wire.Run(number, fn_id, payload, context, name=name, limits=limits))
        return number

    async def result(self, number: int) -> Any:
        """Wait for what became of a task; raises what it raised."""

        def over() -> wire.Done | wire.Failed | HostExit | None:
            for frame in self.frames:
                if isinstance(frame, (wire.Done, wire.Failed)) and frame.task_id == number:
                    return frame
            return self.exit

        end: wire.Done | wire.Failed | HostExit = await self.until(over)
        if isinstance(end, wire.Done):
            return loads(end.value)
        if isinstance(end, wire.Failed):
            raise unpack_error(end.error)
        raise end.error(f"task {number}")

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function in the host."""
        return await self.result(self.start(function, *args, **kwargs))

    # ------------------------------------------------------------------------------------------------- actors

    async def open(self, cls: type, *args: Any) -> int:
        """Open an actor, and answer with its number."""
        number = next(self._numbers)
        definition, payload = self.definitions.call(cls, args, {}, f"actor {cls.__name__!r}")
        self.link.send(wire.Open(number, self.link.define(definition), payload, name=cls.__name__))
        await self.until(
            lambda: number in {f.actor_id for f in self.seen(wire.Opened) + self.seen(wire.OpenFailed)}
        )
        for failed in self.seen(wire.OpenFailed):
            if failed.actor_id == number:
                raise unpack_error(failed.error)
        return number

    def call(self, actor: int, handler: str, *args: Any, stream: bool = False) -> int:
        """Call a handler, and answer with the number of the call."""
        number = next(self._numbers)
        self.link.send(wire.Call(number, actor, handler, dumps(args, "the arguments"), stream=stream))
        return number

    async def answer(self, number: int) -> Any:
        """Wait for the end of a call: its value, None for the end of a stream; raises what it raised."""
        kinds = (wire.Returned, wire.Raised, wire.Ended)
        end = await self.until(
            lambda: next((f for f in self.frames if isinstance(f, kinds) and f.call_id == number), None)
        )
        if isinstance(end, wire.Raised):
            raise unpack_error(end.error)
        return loads(end.value) if isinstance(end, wire.Returned) else None

    async def ask(self, actor: int, handler: str, *args: Any) -> Any:
        """Call a handler and wait for its value."""
        return await self.answer(self.call(actor, handler, *args))


@asynccontextmanager
async def hosted(kind: Literal["tasks", "actors"] = "tasks", **options: Any) -> AsyncIterator[Host]:
    """A host for the length of a test; whatever happens, it is gone afterwards, and was told of once."""
    host = Host(kind, **options)
    try:
        yield host
    finally:
        with anyio.CancelScope(shield=True):
            host.link.resume()
            host.link.kill()
            await host.ended()
            assert host.frames_after_exit == 0

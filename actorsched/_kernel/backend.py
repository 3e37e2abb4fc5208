"""What the kernel asks of an event loop: the port whose adapters are `on_asyncio` and `on_trio`.

Only plumbing belongs here: tasks outside of everybody's cancel scopes, futures, timers, readiness of
descriptors and calls from other threads. Nothing here knows of actors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from actorsched._kernel.world import World

T = TypeVar("T")


class Future(Protocol):
    """One value for at most one waiting task. Cancelling the waiter makes it done, and harmless."""

    def done(self) -> bool:
        """Whether there is a value, or the waiter has gone."""
        ...

    def set_result(self, value: Any, /) -> None:
        """Give the value and wake the waiter. Call it only while not `done()`."""
        ...

    def __await__(self) -> Generator[Any, None, Any]: ...


class Handle(Protocol):
    """A timer of the loop."""

    def cancel(self) -> None:
        """Do not call. Harmless when it has been called or cancelled."""
        ...


class Watch(Protocol):
    """Interest in a descriptor's readiness."""

    def close(self) -> None:
        """No more callbacks, from now on."""
        ...


class Backend(Protocol):
    """One running event loop, seen from its own thread unless a method says otherwise."""

    name: str
    """"asyncio" or "trio"."""
    world: World | None
    """The simulated world that the loop belongs to; None for a real one."""

    def monotonic(self) -> float:
        """The loop's clock, in seconds."""
        ...

    def call_soon(self, function: Callable[..., object], /, *args: Any) -> object:
        """Call in the next turn of the loop."""
        ...

    def call_soon_threadsafe(self, function: Callable[..., object], /, *args: Any) -> object:
        """The same from any thread; raises RuntimeError when the loop is closed."""
        ...

    def call_at(self, when: float, function: Callable[..., object], /, *args: Any) -> Handle:
        """Call at a time of `monotonic()`."""
        ...

    def create_future(self) -> Future:
        """A new future."""
        ...

    def start_task(self, function: Callable[..., Awaitable[object]], /, *args: Any, name: str) -> None:
        """Start a task of its own, outside all cancel scopes. It must not raise, and begins in any case."""
        ...

    def current_task(self) -> object:
        """The task that runs now; None outside of all tasks."""
        ...

    def run_as(self, task: Any, function: Callable[..., T], /, *args: Any) -> T:
        """Call a function of whose code another task, which is waiting, seems to be the current one.

        Not offered by trio.
        """
        ...

    def waits_on(self, trap: object) -> Future | None:
        """What a task waits on that has yielded this; None if it only lets the loop have a turn."""
        ...

    def pending(self, task: Any, /) -> Future | None:
        """What a task waits on, or a future; None if it is about to take a step, or over."""
        ...

    def members(self, task: Any, code: object, waits_on: Future, /) -> Collection[object] | None:
        """The tasks for whose end a task waits: in a task group, or because it gathers them.

        Args:
            task: It waits; or a future.
            code: What it runs, if that is stepped by hand; None if it is not.
            waits_on: What is `pending`.

        Returns:
            Those that are not over; None if it waits for something else.
        """
        ...

    def cancel_again(self) -> None:
        """The present task was cancelled too early: cancel it once more when it waits next.

        Not offered by trio, which does that by itself.
        """
        ...

    def is_sound(self) -> bool:
        """Whether the present task may go on to other work: nothing has left a cancellation behind in it."""
        ...

    def breathe(self) -> Awaitable[None]:
        """Let everything else in the loop run once. Not a cancellation point."""
        ...

    def watch_readable(self, descriptor: int, callback: Callable[[], object], /) -> Watch:
        """Call whenever the descriptor is readable (level-triggered)."""
        ...

    def watch_writable(self, descriptor: int, callback: Callable[[], object], /) -> Watch:
        """Call whenever the descriptor is writable (level-triggered)."""
        ...

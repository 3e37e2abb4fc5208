"""The parent's end of a simulated host: what a `HostLink` is to a process.

The law of this module: whoever has one cannot tell it from a `HostLink`, but by how it comes about. It
decides nothing; what it settles itself, it settles as that does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from actorsched._hosting.exits import judge
from actorsched._hosting.wire import Bye, Define, Hello, Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._hosting.definitions import Definition
    from actorsched._hosting.exits import Cause, HostExit
    from actorsched._hosting.wire import FromHost, Run, ToHost
    from actorsched._kernel.backend import Handle
    from actorsched.testing._hosts.host import SimulatedHost


class SimulatedLink:
    """The parent's end of one simulated host.

    Attributes:
        host: That host.
        kind: "tasks" or "actors".
        name: What to call it in messages.
        pid: Its made-up process id.
        ready: Whether it has said `Hello`.
        exited: How it ended; None while it lives.
        unsent: No bytes: simulated hosts take everything.
        weight: Nobody knows what is resident of something that is no process.
    """

    unsent = 0
    weight = 0

    def __init__(
        self,
        host: SimulatedHost,
        *,
        on_frame: Callable[[FromHost], None],
        on_exit: Callable[[HostExit], None],
        on_read: Callable[[], object] | None,
        start_timeout: float,
        gone: Callable[[SimulatedHost], object],
    ) -> None:
        self.host = host
        self.kind: Literal["tasks", "actors"] = host.kind
        self.name: str = host.name
        self.pid: int = host.pid
        self.ready: bool = False
        self.exited: HostExit | None = None
        self._on_frame = on_frame
        self._on_exit = on_exit
        self._on_read = on_read
        self._gone = gone
        self._blame: tuple[Cause, str] | None = None
        self._said_bye = False
        self._known: set[int] = set()
        backend = host.backend
        self._timer: Handle = backend.call_at(
            backend.monotonic() + start_timeout, self._not_ready, start_timeout
        )
        host.heard_of = self._heard

    def __repr__(self) -> str:
        state = self.exited.detail if self.exited else "ready" if self.ready else "starting"
        return f"<SimulatedLink {self.name!r} to the {self.kind} host {self.pid}: {state}>"

    def hand_over_to(
        self,
        on_frame: Callable[[FromHost], None],
        on_exit: Callable[[HostExit], None],
        on_read: Callable[[], object],
    ) -> None:
        """From now on tell these, instead of those that were told before."""
        self._on_frame, self._on_exit, self._on_read = on_frame, on_exit, on_read

    # ------------------------------------------------------------------------------------------------ sending

    def send(self, frame: ToHost) -> None:
        """Send a frame. Does nothing when the host has ended."""
        if self.exited is None:
            self.host.hear(frame)

    def run(self, definition: Definition, frame: Run) -> None:
        """Send a task, and before it the function, if this host does not know that yet."""
        self.define(definition)
        self.send(frame)

    def define(self, definition: Definition) -> int:
        """Make sure that the host knows a function or class, and answer with its number."""
        number = definition.fn_id
        if number not in self._known:
            self._known.add(number)
            link: Any = self
            definition.known_by(link)
            self.send(Define(number, definition.body))
        return number

    def undefine_later(self, number: int) -> None:
        """Nothing: when it is called is up to the collector, and nothing here may depend on that."""

    def flush(self) -> None:
        """Nothing is held back."""

    # ---------------------------------------------------------------------------------------------- its state

    def stop(self) -> None:
        """Ask the host to finish what it has been sent, and to end."""
        self.send(Stop())

    def kill(self) -> None:
        """End the host now."""
        self.host.crash()

    def kill_for(self, cause: Cause, detail: str) -> None:
        """End it now, and say of it then: this was why. The first reason holds."""
        if self._blame is None:
            self._blame = cause, detail
        self.kill()

    def suspend(self) -> None:
        """Stop the host where it is, until `resume`."""
        self.host.stop()

    def resume(self) -> None:
        """Let it go on."""
        self.host.go_on()

    @property
    def last_started(self) -> int:
        """The number of the last task whose function has begun; no task with a greater number has."""
        return self.host.last_started if self.exited is None else self.exited.last_started

    def hold(self) -> int:
        """Keep a task host from beginning more, until `let_go`; answers with `last_started`."""
        self.host.hold(True)
        return self.last_started

    def let_go(self) -> None:
        """After `hold`, and after the `Revoked` that answers to what was sent then."""
        self.host.hold(False)

    # ---------------------------------------------------------------------------------------------- receiving

    def _heard(self, said: FromHost | int) -> None:
        """A frame has arrived, or the news that the host has ended, with its status."""
        if isinstance(said, int):
            return self._ended(said)
        try:
            if isinstance(said, Bye):
                self._said_bye = True
            elif isinstance(said, Hello):
                self.ready = True
                self._timer.cancel()
                self._on_frame(said)
            else:
                self._on_frame(said)
        finally:
            if self._on_read is not None:
                self._on_read()

    def _not_ready(self, timeout: float) -> None:
        self.kill_for("never started", f"was not ready within {timeout:g} s, and was killed")

    def _ended(self, status: int) -> None:
        self._timer.cancel()
        self.exited = judge(
            self.pid,
            status,
            ready=self.ready,
            said_bye=self._said_bye,
            blame=self._blame,
            starved=False,
            last_started=self.host.last_started,
        )
        self._gone(self.host)
        self._on_exit(self.exited)

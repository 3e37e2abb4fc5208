"""One simulated host: what stands for its process, from its start to its end.

The law of this module: it carries frames between the link and the host's code, and is what can befall a
process: it is slow, stopped, hung, killed. What the frames mean is known at their ends.

How it works: there is a lane for each direction, and one more for what overtakes the others on its way to a
task host. Every frame is bytes on the way, as between processes. The world is asked how long it takes, and
what becomes of the host at it. A host that has died says nothing more; what it had said arrives, and then
its end does.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Literal

from actorsched._hosting.inside import SIMULATED
from actorsched._hosting.packets import Packer, Splitter
from actorsched._hosting.segments import Borrower
from actorsched._hosting.wire import Answer, Cancel, FromHost, Revoke, ToHost
from actorsched.testing._hosts.fates import fate_of
from actorsched.testing._hosts.frost import Frost
from actorsched.testing._hosts.lane import Lane
from actorsched.testing._hosts.lockstep import call_from_step
from actorsched.testing._hosts.port import HostBackend, SimulatedDoorway, SimulatedPort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pickle import PickleBuffer

    from actorsched._hosting.wire import Frame
    from actorsched._kernel.backend import Backend
    from actorsched._kernel.kernel import Kernel
    from actorsched.testing._hosts.child_actors import SimulatedActorHost
    from actorsched.testing._hosts.child_tasks import SimulatedTaskHost
    from actorsched.testing._hosts.fates import FatefulWorld
    from actorsched.testing._hosts.lockstep import Lockstep

__all__ = ["SimulatedHost"]

_URGENT: Final = frozenset({Answer, Cancel, Revoke})
_FIRST_PID: Final = 5_000_000
"""Above any number that Linux gives to a process."""


class SimulatedHost:
    """A host process that is none.

    Attributes:
        name: What messages call it.
        number: Counted from 1, in the order of birth.
        pid: A made-up process id.
        kind: "tasks" or "actors".
        frames: How many frames it has heard and said.
        alive: Whether it has not ended.
    """

    def __init__(
        self,
        world: FatefulWorld,
        lockstep: Lockstep,
        kernel: Kernel,
        kind: Literal["tasks", "actors"],
        name: str,
        number: int,
    ) -> None:
        self.name = name
        self.number = number
        self.pid: int = _FIRST_PID + number
        self.kind: Literal["tasks", "actors"] = kind
        self.frames: int = 0
        self.alive: bool = True
        self.held: bool = False
        self.thread: int = kernel.thread
        self.lockstep = lockstep
        self.backend: Backend = kernel.backend
        self.frost = Frost(self.backend)
        self.port = SimulatedPort(self)
        self.doorway = SimulatedDoorway(self.port, self)
        self.own_backend: Any = HostBackend(self, self.backend)
        self.heard_of: Callable[[Any], None] = _unheard
        """Told each frame that the host has said, when it arrives; in the end, the status of its process."""
        self._world = world
        self._hung = False
        self._stopped = False
        self._suspended_until: float | None = None
        self._slow = 0.0
        self._unsaid: list[FromHost] = []
        self._pack = Packer(_inline).pack
        resolve = Borrower(None, _unheard).resolve
        self._split_in, self._split_out = Splitter(ToHost, resolve).feed, Splitter(FromHost, resolve).feed
        self._inward = Lane(self.backend, self._arrived)
        self._urgent = Lane(self.backend, self._arrived_urgently)
        self._outward = Lane(self.backend, self._told)
        self._child = self._new_child()
        self._inward.put(None, world.lag(f"the start of {name}"))

    def _new_child(self) -> SimulatedTaskHost | SimulatedActorHost:
        if self.kind == "tasks":
            from actorsched.testing._hosts.child_tasks import SimulatedTaskHost

            return SimulatedTaskHost(self)
        from actorsched.testing._hosts.child_actors import SimulatedActorHost

        return SimulatedActorHost(self)

    def __repr__(self) -> str:
        return f"<simulated {self.kind} host {self.name!r}, pid {self.pid}: {self.state}>"

    @property
    def state(self) -> str:
        """What it is like, in a word."""
        if not self.alive:
            return "dead"
        return "hung" if self._hung else "suspended" if self.frozen else "running"

    @property
    def now(self) -> float:
        """The present time."""
        return self.backend.monotonic()

    @property
    def frozen(self) -> bool:
        """Whether its code takes no step."""
        return self.frost.frozen

    @property
    def over(self) -> bool:
        """Whether the simulation has ended, and its code is being unwound."""
        return self.frost.over

    @property
    def last_started(self) -> int:
        """The number of the task that began last."""
        return self._child.last_started

    # ----------------------------------------------------------------------------------- what can befall it

    def crash(self, signal: int = 9) -> None:
        """It is killed by a signal. What it has said arrives; nothing else that it did is ever known."""
        self._die(-signal)

    def hang(self) -> None:
        """It neither hears, says nor does anything more, until it is killed."""
        if self.alive:
            self._note("hangs")
            self._hung = True
            self._unsaid.clear()
            self._freeze()

    def suspend(self, seconds: float) -> None:
        """It is stopped by somebody, wherever it is, and goes on after so much virtual time."""
        until = self.now + seconds
        if self.alive and (self._suspended_until is None or until > self._suspended_until):
            self._note(f"is suspended for {seconds:g} s")
            self._suspended_until = until
            self.backend.call_at(until, self._suspension_over, until)
            self._freeze()

    def lag(self, seconds: float) -> None:
        """From now on, whatever it says or is told takes so much longer; with 0, no longer."""
        self._note(f"is slower by {seconds:g} s")
        self._slow = seconds

    def _suspension_over(self, until: float) -> None:
        if self._suspended_until == until:
            self._suspended_until = None
            self._thaw()

    def _freeze(self) -> None:
        self.frost.freeze()
        self._inward.shut = self._urgent.shut = True

    def _thaw(self) -> None:
        """Go on, if nothing keeps it from that any more."""
        if not self.alive or self._hung or self._stopped or self._suspended_until is not None:
            return
        self.frost.thaw()
        unsaid, self._unsaid = self._unsaid, []
        for frame in unsaid:
            self._send(frame)
        self._inward.open()
        self._urgent.open()
        self._child.look()

    # ------------------------------------------------------------------------------------- told by its link

    def stop(self) -> None:
        """SIGSTOP, from the runtime."""
        self._stopped = True
        self._freeze()

    def go_on(self) -> None:
        """SIGCONT."""
        self._stopped = False
        self._thaw()

    def hold(self, held: bool) -> None:
        """Begin no more tasks; or do."""
        self.held = held
        if not held and self.alive and not self.frozen:
            self.soon(self._child.look)

    def hear(self, frame: ToHost) -> None:
        """The runtime says something."""
        if self.alive:
            lag = self._slow + self._world.lag(f"{type(frame).__name__} to {self.name}")
            urgent = self.kind == "tasks" and type(frame) in _URGENT
            lane = self._urgent if urgent else self._inward
            lane.put((bytes(self._pack([frame])), True), lag)

    # --------------------------------------------------------------------------------------- on the way to it

    def _arrived(self, item: tuple[bytes, bool] | None) -> None:
        if item is None:
            self._child.begin()
        else:
            self._take(item, self._inward)

    def _arrived_urgently(self, item: tuple[bytes, bool]) -> None:
        self._take(item, self._urgent)

    def _take(self, item: tuple[bytes, bool], lane: Lane) -> None:
        packet, asked = item
        (frame,) = self._split_in(packet)
        lag = self._suffer(frame, outward=False) if asked else 0.0
        if lag or (self.alive and self.frozen and not self._hung):
            lane.put_back((packet, False), lag)
        elif self.alive and not self._hung:
            self._child.take(frame)

    def _suffer(self, frame: Frame, *, outward: bool) -> float:
        """Ask the world what becomes of this host now. Answers for how long the frame lags."""
        self.frames += 1
        self._note(f"{'says' if outward else 'hears'} {type(frame).__name__}")
        match fate_of(self._world, self, frame, outward=outward):
            case "crash":
                self.crash()
            case "hang":
                self.hang()
            case ("suspend", seconds):
                self.suspend(seconds)
            case ("lag", seconds):
                return seconds
            case None:
                pass
        return 0.0

    # ------------------------------------------------------------------------------------------ what it says

    def say(self, frame: FromHost) -> None:
        """Its code says something; from any thread."""
        if get_ident() != self.thread:
            return self.soon(self.say, frame)
        if not self.alive or self._hung or self.over:
            return None
        lag = self._suffer(frame, outward=True)
        if self.alive and not self._hung:
            if self.frozen:
                self._unsaid.append(frame)
            else:
                self._send(frame, lag)
        return None

    def _send(self, frame: FromHost, lag: float = 0.0) -> None:
        lag += self._slow + self._world.lag(f"{type(frame).__name__} from {self.name}")
        self._outward.put(bytes(self._pack([frame])), lag)

    def _told(self, item: bytes | int) -> None:
        self.heard_of(item if isinstance(item, int) else self._split_out(item)[0])

    # ------------------------------------------------------------------------------------------------ its end

    def exit(self) -> None:
        """It has said its last word, and ends."""
        if self._unsaid:  # not said yet: it has been suspended
            self.frost.when_thawed(lambda: self.soon(self.exit))
        elif not self._hung:
            self._die(0)

    def _die(self, status: int) -> None:
        if self.alive:
            self._note("ends" if status == 0 else f"dies of signal {-status}")
            self.alive = False
            self._unsaid.clear()
            self._freeze()
            self._outward.put(status, self._world.lag(f"the end of {self.name}"))

    def unwind(self) -> None:
        """The simulation ends: let its code come to an end."""
        self.alive = False
        self._freeze()
        self.frost.end()

    # ------------------------------------------------------------------------------------------- for its code

    async def carry(self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        """Run code of this host, in a task of the loop."""
        SIMULATED.set(self.doorway)
        try:
            code: Any = function(*args)
            await self.frost.carry(code)
        except BaseException:
            if not self.over:
                raise

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call on the loop's thread, from any; in the order of the calls."""
        if get_ident() == self.thread:
            self.backend.call_soon(function, *args)
        elif not call_from_step(function, *args):
            self.backend.call_soon_threadsafe(function, *args)

    def _note(self, text: str) -> None:
        self._world.note("host", f"{self.name} {text}")


def _inline(buffer: PickleBuffer) -> bytes:
    return bytes(buffer)


def _unheard(*said: object) -> None:
    """Nobody listens."""

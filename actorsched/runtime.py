"""The runtime: root scope, root supervisor, and the door to everything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, TypeVarTuple

from anyio import CancelScope

from actorsched._kernel.choose import running_backend
from actorsched._kernel.clock import Clock, RealClock
from actorsched._kernel.kernel import Kernel
from actorsched._system.carrying import Lender
from actorsched._system.system import System
from actorsched.actor import ActorRef
from actorsched.durations import Duration, seconds
from actorsched.flow import Flow, dead_letters
from actorsched.messages import DeadLetter, ExitReason, Unwatch, Watch
from actorsched.options import Hosts, Supervise
from actorsched.scope import Scope

if TYPE_CHECKING:
    from actorsched._system.actor_cell import ActorCell

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Runtime(Scope):
    """A runtime: `async with Runtime() as rt: ...`, on asyncio, uvloop or trio.

    Leaving it waits until every task has settled, stops every actor, the last started first, and ends every
    host process. An exception of the body leaves as itself, after the tasks are cancelled and the actors
    stopped.

    Args:
        policy: How ready tasks are ordered: "priority".
        concurrency: How many tasks may run at once in the event loop; None for no limit.
        hosts: The limits of the pool of host processes.
        clock: Where its time comes from; None for the event loop's.
        seed: Take ready actors of equal rank in a random order that this seed repeats.
        name: Its name, for people.
        shutdown_timeout: How long actors may work off their mailboxes, and threads may run on, when the
            runtime is left; after that they are killed, or left behind.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value.
    """

    def __init__(
        self,
        *,
        policy: str = "priority",
        concurrency: int | None = None,
        hosts: Hosts | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
        name: str | None = None,
        shutdown_timeout: Duration = "30s",
    ) -> None:
        if policy != "priority":
            raise ValueError(f"policy={policy!r} is not known; choose 'priority'")
        if concurrency is not None and (not isinstance(concurrency, int) or isinstance(concurrency, bool)):
            raise TypeError(
                f"concurrency={concurrency!r} is no int; give how many tasks may run at once, or None"
            )
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency={concurrency} leaves no task to run; give 1 or more, or None")
        if hosts is not None and not isinstance(hosts, Hosts):
            raise TypeError(f"hosts={hosts!r} is no Hosts; give for example Hosts(max=2)")
        if seed is not None and not isinstance(seed, int):
            raise TypeError(f"seed={seed!r} is no int; give an int, or None for no shuffling")
        self.name = name or "runtime"
        self._concurrency = concurrency
        self._hosts = Hosts() if hosts is None else hosts
        self._clock = clock
        self._seed = seed
        self._patience = seconds(shutdown_timeout, field="shutdown_timeout")
        self._entered = False

    def __repr__(self) -> str:
        return f"<Runtime {self.name!r}>"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this Runtime was entered before; make a new one")
        backend = running_backend()
        kernel = Kernel(backend, self._clock or RealClock(backend), self._seed)
        kernel.facade = self
        kernel.lender = Lender(kernel, seeded=kernel.seeded)
        system = System(kernel, self._concurrency, self._hosts, self)
        system.learn_refs = _learn_refs
        super().__init__(system, Supervise(), contains=True)
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        error = await self._close(error)
        self._scope.__exit__(None if error is None else type(error), error, traceback)
        return self._raise(error)

    async def _close(self, error: BaseException | None) -> BaseException | None:
        """Let everything end, in order. Answers with what ends the body."""
        system = self._system
        deadline = system.kernel.call_later(self._patience, self._force)
        try:
            error = await self._leave(error, self._patience)
        finally:
            deadline.cancel()
            self._left = True
            system.closing = True
            with CancelScope(shield=True):
                await system.aclose(self._patience)
        return error

    def _force(self) -> None:
        """The shutdown deadline has come, and something has not stopped."""
        kernel = self._system.kernel
        self._nursery.cancel_all("the shutdown deadline of the runtime has come", kernel)
        kernel.drain()
        for feed in list(self._nursery.feeds):
            feed.force()
        self._system.leave_threads_behind()
        self._system.staff.kill()

    def _raise(self, error: BaseException | None) -> bool | None:
        others = self._nursery.errors
        if not others:
            return None
        if error is None or isinstance(error, self._system.kernel.cancelled):
            if len(others) == 1:
                raise others[0]
            raise BaseExceptionGroup("in a runtime", others)
        raise BaseExceptionGroup("in a runtime", [error, *others])

    def scope(self, supervise: Supervise | None = None) -> Scope:
        """A nursery within the runtime.

        Args:
            supervise: How its actors are supervised.
        """
        return Scope(self._system, supervise or Supervise())

    def lookup(self, name: str) -> ActorRef[Any]:
        """The actor of that name.

        Raises:
            LookupError: There is none now.
        """
        cell = self._system.names.get(name)
        if cell is None:
            known = ", ".join(sorted(self._system.names)) or "none"
            raise LookupError(f"no actor is named {name!r} now; there are: {known}")
        return ActorRef(cell)

    async def monitor(self, ref: ActorRef[Any]) -> ExitReason:
        """Wait until an actor has ended for good, and tell how. Restarts are not ends."""
        cell: ActorCell = ref._cell
        gone = cell.kernel.future()
        cell.kernel.post(cell, Watch(gone))
        try:
            reason: ExitReason = await gone
        except BaseException:
            cell.kernel.post(cell, Unwatch(gone))
            raise
        return reason

    def dead_letters(self) -> Flow[DeadLetter]:
        """Iterate over what could not be delivered, from now on until the runtime is left.

        Messages to actors that have ended, those that a full mailbox dropped, those whose sender took them
        back, and items that a stage of a pipeline skips. Of letters that are not read, the latest 1000 are
        kept.

        Returns:
            An iterator; leaving it early, or cancelling the wait, loses nothing but the letters.

        Raises:
            RuntimeClosed: The runtime has been left.
        """
        return dead_letters(self._system, self._nursery)

    async def sleep(self, duration: Duration) -> None:
        """Wait on the runtime's clock."""
        await self._system.kernel.sleep(seconds(duration, field="duration"))


def _learn_refs(system: System) -> None:
    """Hosts are about to be used: refs will travel. Not imported before."""
    from actorsched.remote import VERBS, make_ref

    system.verbs = VERBS
    system.make_ref = make_ref


def run(
    main: Callable[[*Ts], Awaitable[T]], *args: *Ts, backend: Literal["asyncio", "trio"] = "asyncio"
) -> T:
    """Run an async function, on asyncio with uvloop where that is installed, or on trio.

    SIGINT and SIGTERM cancel it, so that a runtime in it shuts down in order; the same signal a second time
    ends the process at once.

    Args:
        main: The function.
        args: Its arguments.
        backend: The event loop.

    Returns:
        What it returned.

    Raises:
        KeyboardInterrupt: SIGINT has ended it.
        SystemExit: SIGTERM has ended it; the code is 143.
    """
    import anyio

    from actorsched._kernel.signals import guarded

    options = {"use_uvloop": uvloop_is_installed()} if backend == "asyncio" else {}
    return anyio.run(guarded, main, args, backend=backend, backend_options=options)


def uvloop_is_installed() -> bool:
    """Whether asyncio can run on uvloop here."""
    from importlib.util import find_spec

    return find_spec("uvloop") is not None

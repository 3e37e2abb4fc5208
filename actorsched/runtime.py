"""The runtime: root scope, root supervisor, and the door to everything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, TypeVarTuple, Unpack

from anyio import CancelScope

from actorsched._kernel.choose import running_backend
from actorsched._kernel.clock import Clock, RealClock
from actorsched._kernel.current import CURRENT
from actorsched._kernel.kernel import Kernel
from actorsched._kernel.looking import SHOWN, checked_look
from actorsched._kernel.signals import HURRIED
from actorsched._system.asking import ended, inside_of
from actorsched._system.carrying import Lender
from actorsched._system.collapse import Collapse
from actorsched._system.policy_names import policy_of
from actorsched._system.system import System
from actorsched.actor import ActorRef
from actorsched.durations import Duration, seconds
from actorsched.events import Event, EventKind, checked_handler, checked_kinds
from actorsched.messages import SetPolicy
from actorsched.options import Hosts, Supervise, pool_name, pool_sizes, resource_name
from actorsched.options import capacity as capacity_of
from actorsched.options import workers as workers_of
from actorsched.scope import Scope

if TYPE_CHECKING:
    from actorsched._core.policies import SchedulingPolicy
    from actorsched._core.timers import TimerEntry
    from actorsched._kernel.backend import Backend, Future
    from actorsched.executor import RuntimeExecutor
    from actorsched.explaining import Explanation
    from actorsched.flow import Flow
    from actorsched.messages import DeadLetter, ExitReason
    from actorsched.options import TaskHost
    from actorsched.signatures import ExecutorTaskKeywords
    from actorsched.stats import Stats
    from actorsched.task import TaskRef
    from actorsched.tree import Tree

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Runtime(Scope):
    """A runtime: `async with Runtime() as rt: ...`, on asyncio, uvloop or trio.

    Leaving it waits until every task has settled, stops every actor, the last started first, and ends every
    host process. An exception of the body leaves as itself, after the tasks are cancelled and the actors
    stopped; only when something else failed too is it an `ExceptionGroup`.

    Args:
        policy: Which ready task runs next, and who makes room for it: "priority", "edf", "fair", "realtime",
            or a policy object (`actorsched.policies`).
        concurrency: How many tasks may run at once in the event loop; None for no limit.
        hosts: The limits of the pool of host processes.
        pools: Names of pools, and how many tasks may run in each at once, whatever their hosts: a task with
            `tag=` counts there, and not towards `concurrency`.
        clock: Where its time comes from; None for the event loop's.
        seed: Take ready actors of equal rank in a random order that this seed repeats.
        name: Its name, for people.
        shutdown_timeout: When the runtime is left, and everything was told to stop: how long actors may work
            off their mailboxes, and threads may run on. After that they are killed, or left behind.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value.
    """

    def __init__(
        self,
        *,
        policy: str | SchedulingPolicy[Any] = "priority",
        concurrency: int | None = None,
        hosts: Hosts | None = None,
        pools: Mapping[str, int | None] | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
        name: str | None = None,
        shutdown_timeout: Duration = "30s",
    ) -> None:
        self._policy = policy_of(policy)
        self._pools = {} if pools is None else pool_sizes(pools)
        if concurrency is not None and (not isinstance(concurrency, int) or isinstance(concurrency, bool)):
            raise TypeError(
                f"concurrency={concurrency!r} is no int; give how many tasks may run at once, or None"
            )
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency={concurrency} leaves no task to run; give 1 or more, or None")
        if hosts is not None and not isinstance(hosts, Hosts):
            raise TypeError(f"hosts={hosts!r} is no Hosts; give for example Hosts(max=2)")
        if clock is not None and not (hasattr(clock, "now") and hasattr(clock, "call_at")):
            raise TypeError(
                f"clock={clock!r} is no Clock; give an object with now() and call_at(when, function)"
            )
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise TypeError(f"seed={seed!r} is no int; give an int, or None for no shuffling")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name={name!r} is no str; give a name for people, or leave it out")
        self.name: str = name or "runtime"
        self._concurrency = concurrency
        self._hosts = Hosts() if hosts is None else hosts
        self._clock = clock
        self._seed = seed
        self._patience = seconds(shutdown_timeout, field="shutdown_timeout")
        self._entered = False
        self._deadline: TimerEntry | None = None
        self._collapse: Collapse | None = None
        self._ending = False  # somebody has begun to close it
        self._ended = False
        self._waiting: list[Future] = []  # who waits until it is closed

    def __repr__(self) -> str:
        return f"<Runtime {self.name!r}>"

    if not TYPE_CHECKING:  # or checkers would believe that every attribute exists

        def __getattr__(self, name: str) -> object:
            if name in {"_system", "_nursery"}:
                raise RuntimeError("this Runtime is not entered; use it within `async with Runtime() as rt:`")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this Runtime was entered before; make a new one")
        backend = running_backend()
        kernel = _kernel(backend, self._clock, self._seed)
        kernel.facade = self
        kernel.on_panic = self._panic
        kernel.lender = Lender(kernel)
        system = System(kernel, self._policy, self._concurrency, self._hosts, self)
        for name, workers in self._pools.items():
            system.tag_pool(name, workers, None)
        system.patience = self._patience
        system.learn_refs = _learn_refs
        super().__init__(system, Supervise(), contains=True)
        await super().__aenter__()
        HURRIED.add(self._hurry)
        SHOWN[self._shown] = kernel.thread
        if self._hosts.min:
            system.staff.prepare()
        return self

    def _panic(self, error: BaseException) -> None:
        """The system has failed.

        What is left of it ends as well as it can, and the error leaves the runtime.
        """
        self._nursery.fail(error, "the runtime itself has failed", self._system.kernel)
        self._collapse = Collapse(self._system, error)
        self._collapse.begin(self._patience)

    # ------------------------------------------------------------------------------------------ the end

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
        SHOWN.pop(self._shown, None)
        if self._collapse is not None:
            self._collapse.cancel()
        self._closed()
        return self._raise(error, late if end is None else end)

    async def end_all(self, why: str, patience: float, *, kill: bool = False) -> None:
        """The same as for a scope, but with a deadline for everything."""
        self._set_deadline(patience)
        await super().end_all(why, patience, kill=kill)

    async def _stop_actors(self, patience: float | None, *, certain: bool, kill: bool) -> None:
        if self._supervisor is not None:
            patience = self._patience if patience is None else patience
            self._set_deadline(patience)
            await super()._stop_actors(patience, certain=certain, kill=kill)

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

    def _shown(self) -> str:
        """What it looks like, for somebody who wants to see it."""
        return str(self.tree())

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
        self._ended = True
        for waiting in self._waiting:
            system.kernel.reply(waiting, None)

    def _error(self, end: BaseException | None, failure: BaseException | None) -> BaseException | None:
        others = [error for error in self._nursery.errors if error is not failure]
        if not others:
            return end
        if failure is not None:
            others.insert(0, failure)
        return others[0] if len(others) == 1 else BaseExceptionGroup("in a runtime", others)

    def scope(self, supervise: Supervise | None = None) -> Scope:
        """A nursery within the runtime.

        Args:
            supervise: How its actors are supervised.

        Raises:
            TypeError: `supervise` is no `Supervise`.
        """
        if supervise is not None and not isinstance(supervise, Supervise):
            raise TypeError(
                f"supervise={supervise!r} is no Supervise; give for example Supervise('one_for_all')"
            )
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
        """Wait until an actor has ended for good, and tell how. Restarts are not ends.

        Raises:
            TypeError: It is no `ActorRef`.
        """
        if not isinstance(ref, ActorRef):
            raise TypeError(f"{ref!r} is no ActorRef; give one that spawn or lookup returned")
        return await ended(ref._cell)

    # ------------------------------------------------------------------------------------- scheduling

    @property
    def now(self) -> float:
        """The present time of the runtime's clock, in seconds; only differences mean anything."""
        return self._system.kernel.now

    async def set_policy(self, policy: str | SchedulingPolicy[Any]) -> None:
        """From now on order tasks by another policy, in all pools that were given none of their own.

        No task is lost: those that wait are handed over in their present order, and those that run go on
        until the new policy decides otherwise.

        Args:
            policy: As for `Runtime`.

        Raises:
            ValueError: There is no policy of this name.
            TypeError: It is no policy.
        """
        chosen = policy_of(policy)
        self._system.kernel.check_thread("the policy was to be changed")
        self._system.policy = chosen
        self._system.kernel.post(self._system.scheduler, SetPolicy(chosen))

    def pool(
        self, name: str, workers: int | None = None, policy: str | SchedulingPolicy[Any] | None = None
    ) -> None:
        """Make a pool, or change one: tasks with `tag=name` run in it, whatever their kind of host.

        The pools "loop", "thread" and "process" exist: each is for the tasks of that kind without a tag.

        Args:
            name: Its name.
            workers: How many of its tasks may run at once; None for no limit, or for the one it has.
            policy: A policy of its own; None for that of the runtime, or for the one it has.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has a wrong value.
        """
        self._system.kernel.check_thread(f"pool {name!r} was to be changed")
        chosen = None if policy is None else policy_of(policy)
        self._system.tag_pool(pool_name(name), None if workers is None else workers_of(workers), chosen)

    def resource(self, name: str, capacity: int = 1, inherit: bool = True) -> None:
        """Declare a resource that tasks may hold: with `resources={name}`, or `current().acquire(name)`.

        Declaring it again in the same way does nothing.

        Args:
            name: Its name.
            capacity: How many may hold it at once, 1 or more.
            inherit: Whether its holders inherit the priority and the deadline of those who wait for it.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has a wrong value, or it was declared otherwise before.
        """
        self._system.kernel.check_thread(f"resource {name!r} was to be declared")
        if not isinstance(inherit, bool):
            raise TypeError(f"inherit={inherit!r} is of type {type(inherit).__name__}; give True or False")
        self._system.locks.declare(resource_name(name), capacity_of(capacity), inherit=inherit)

    def explain(self, subject: TaskRef[Any] | ActorRef[Any] | str | None = None) -> Explanation:
        """Tell why a task is not running, where an actor lives, or why there are as many hosts as there are.

        Args:
            subject: A task of this runtime, in whatever state: what it waits for, who holds it, or its place
                in the queue. An actor: its host, and what it does. The name of a pool: why it has as many
                host processes as it has. None: the same of all pools.

        Returns:
            What is true now; printed, it is text for people.

        Raises:
            TypeError: It is none of these.
            ValueError: The task or the actor belongs to another runtime, or there is no such pool.
            RuntimeError: This is another thread than that of the runtime.
        """
        system = self._system
        system.kernel.check_thread("something was to be explained")
        if subject is None or isinstance(subject, (str, ActorRef)):
            from actorsched.explaining_hosts import explain_actor, explain_hosts, explain_pool, own_cell

            if subject is None:
                return explain_hosts(system)
            if isinstance(subject, str):
                return explain_pool(system, subject)
            return explain_actor(own_cell(system, subject))
        from actorsched.explaining import explain

        return explain(system.own_task(subject, "explained"))

    def stats(self) -> Stats:
        """Count what there is now, and what has ended since the runtime began.

        It changes nothing, and may be asked at any moment, also while the runtime closes. Nothing is counted
        twice and nothing kept for it, so it takes time in proportion to the tasks and actors that there are:
        some tens of milliseconds for a hundred thousand.

        Returns:
            What is true now.

        Raises:
            RuntimeError: The runtime is not entered, or belongs to another thread.
        """
        from actorsched.stats import stats_of

        self._system.kernel.check_thread("the statistics were to be taken")
        return stats_of(self._system)

    def tree(self) -> Tree:
        """Look at all there is now: supervisors and their actors, pools, hosts and what they do, the load.

        It changes nothing, and may be asked at any moment, also while the runtime closes. It takes time in
        proportion to the tasks that there are: some thirty milliseconds for a hundred thousand.

        Returns:
            A tree to be walked; printed, it is a drawing.

        Raises:
            RuntimeError: The runtime is not entered, or belongs to another thread.
        """
        from actorsched.survey import tree_of

        self._system.kernel.check_thread("the tree was to be looked at")
        return tree_of(self._system, self.name)

    def subscribe(
        self, kinds: EventKind | Iterable[EventKind] | None, handler: Callable[[Event], object]
    ) -> Callable[[], None]:
        """Have a function called with each event of some kinds, as it happens; it must be quick.

        Args:
            kinds: The kinds, or one of them; None for all.
            handler: What is called. An error in it is logged, and the runtime goes on.

        Returns:
            A function that ends the subscription.

        Raises:
            ValueError: There is no such kind.
            TypeError: The handler cannot be called.
        """
        return self._system.kernel.listen(checked_kinds(kinds), checked_handler(handler))

    def executor(
        self,
        host: TaskHost = "process",
        *,
        max_workers: int | None = None,
        **options: Unpack[ExecutorTaskKeywords],
    ) -> RuntimeExecutor:
        """A `concurrent.futures.Executor` over this runtime, for code in other threads and for libraries.

        What is submitted becomes tasks of the runtime, which waits for them when it is left, and cancels them
        with all others. From then on the executor refuses more.

        Args:
            host: Where functions run: "process", "thread", "loop" or "auto".
            max_workers: How many of them may run at once; None for no other limit than the runtime's.
            options: Those of each task.

        Raises:
            TypeError: An argument or option does not exist, or has the wrong type.
            ValueError: One has a wrong value.
            RuntimeClosed: The runtime takes no more work.
        """
        from actorsched.executor import executor_of

        return executor_of(self, host, max_workers, options)

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
        from actorsched.flow import dead_letters

        return dead_letters(self._system, self._nursery)

    async def sleep(self, duration: Duration) -> None:
        """Wait on the runtime's clock.

        Args:
            duration: A duration.

        Raises:
            ValueError: It is none.
        """
        await _doze(CURRENT.get(), self._system.kernel, seconds(duration, field="duration"))

    def _reduced(self, owner: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """How the ref of one of its tasks or actors travels; refs ask for it when they are pickled."""
        from actorsched.remote import reduce_actor, reduce_task

        return reduce_task(owner) if owner.settles else reduce_actor(owner)


def _kernel(backend: Backend, clock: Clock | None, seed: int | None) -> Kernel:
    """The kernel for this kind of time."""
    if clock is not None and hasattr(clock, "bind"):
        from actorsched._kernel.virtual import VirtualClock, VirtualKernel

        assert isinstance(clock, VirtualClock)
        return VirtualKernel(backend, clock, seed)
    return Kernel(backend, clock or RealClock(backend), seed)


def _learn_refs(system: System) -> None:
    """Hosts are about to be used: refs will travel. Not imported before."""
    from actorsched.errands import VERBS
    from actorsched.remote import PassingRef

    system.verbs = VERBS
    system.ref_of = PassingRef


def run(
    main: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    backend: Literal["asyncio", "trio"] = "asyncio",
    tree_on: int | None = None,
) -> T:
    """Run an async function, on asyncio with uvloop where that is installed, or on trio.

    SIGINT and SIGTERM cancel it, so that a runtime in it shuts down in order. A second SIGINT kills actors
    and hosts, and leaves threads behind that do not stop; a third one ends the process at once, and so does a
    SIGTERM after any other. None of them is raised where the program happens to be.

    Args:
        main: The function.
        args: Its arguments.
        backend: The event loop.
        tree_on: A signal, such as `signal.SIGUSR1`. Whenever the program gets it, what there is in each of
            its runtimes (`Runtime.tree`) is written to standard error, as soon as the loop has its next turn;
            nothing else happens. None for none.

    Returns:
        What it returned.

    Raises:
        TypeError: `tree_on` is no signal.
        ValueError: `tree_on` is a signal that does not exist, or has a meaning already.
        RuntimeError: `tree_on` was given in another thread than the main one, to which signals come.
        KeyboardInterrupt: SIGINT has ended it.
        SystemExit: SIGTERM has ended it; the code is 143.
    """
    import anyio

    from actorsched._kernel.signals import Signals

    look = checked_look(tree_on)
    options = {"use_uvloop": uvloop_is_installed()} if backend == "asyncio" else {}
    with Signals(look) as signals:
        result = anyio.run(signals.guard, main, args, backend=backend, backend_options=options)
        if not result or signals.unheard:
            signals.raise_for()
    return result[0]


async def sleep(duration: Duration) -> None:
    """Wait: in a task or a handler by the clock of its runtime, elsewhere by that of the event loop.

    Args:
        duration: A duration.

    Raises:
        ValueError: It is none.
    """
    delay = seconds(duration, field="duration")
    run: Any = CURRENT.get()
    kernel: Kernel | None = getattr(run, "kernel", None)
    if kernel is None:
        import anyio

        await anyio.sleep(delay)
    else:
        await _doze(run, kernel, delay)


async def _doze(run: Any, kernel: Kernel, delay: float) -> None:
    """Wait on the clock of a runtime; a task in the loop is known to do nothing else meanwhile."""
    dozes = hasattr(run, "dozes")
    if dozes:
        run.dozes()
    try:
        await kernel.sleep(delay)
    finally:
        if dozes:
            run.wakes()


def uvloop_is_installed() -> bool:
    """Whether asyncio can run on uvloop here."""
    from importlib.util import find_spec

    return find_spec("uvloop") is not None

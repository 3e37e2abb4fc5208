"""The runtime: root scope, root supervisor, and the door to everything else.

The law of this module: it is a door. What users ask of a runtime comes in here, is checked, and is handed to
whoever does it; nothing is decided here, and nothing kept but what the runtime was made with. How it ends is
told in `runtime_end`, how the loop that it lives in is started in `running`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVarTuple, Unpack

from actorsched._kernel.choose import running_backend
from actorsched._kernel.clock import Clock, RealClock
from actorsched._kernel.current import CURRENT
from actorsched._kernel.kernel import Kernel
from actorsched._kernel.looking import SHOWN
from actorsched._kernel.signals import HURRIED
from actorsched._system.announcing import call_threadsafe
from actorsched._system.asking import ended
from actorsched._system.carrying import lender_of
from actorsched._system.policy_names import policy_of
from actorsched._system.system import System
from actorsched.actor import ActorRef
from actorsched.durations import Duration, seconds
from actorsched.events import Event, EventKind, checked_handler, checked_kinds
from actorsched.messages import SetPolicy
from actorsched.options import Hosts, Supervise, pool_name, resource_name
from actorsched.options import capacity as capacity_of
from actorsched.options import workers as workers_of
from actorsched.runtime_end import RuntimeEnd
from actorsched.scope import Scope
from actorsched.settings import checked
from actorsched.sleeping import doze

if TYPE_CHECKING:
    import os

    from actorsched._core.latency import Phase
    from actorsched._core.policies import SchedulingPolicy
    from actorsched._kernel.backend import Backend
    from actorsched.alarm import Alarm
    from actorsched.executor import RuntimeExecutor
    from actorsched.explaining import Explanation
    from actorsched.flow import Events, Flow
    from actorsched.messages import DeadLetter, ExitReason
    from actorsched.observe.progress import Progress
    from actorsched.observe.timeline import Timeline
    from actorsched.options import TaskHost
    from actorsched.signatures import ExecutorTaskKeywords
    from actorsched.stats import Stats
    from actorsched.task import TaskRef
    from actorsched.tree import Tree

Ts = TypeVarTuple("Ts")


class Runtime(RuntimeEnd):
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
        clock: Where its time comes from; None for the monotonic clock of the machine.
        seed: Take ready actors of equal rank in a random order that this seed repeats.
        name: Its name, for people.
        shutdown_timeout: When the runtime is left, and everything was told to stop: how long actors may work
            off their mailboxes, and threads may run on. After that they are killed, or left behind.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value.
    """

    _system_kind: type[System] = System
    """What it consists of; a runtime under test has one that remembers where things were spawned."""

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
        self._settings = checked(policy, concurrency, hosts, pools, clock, seed, name, shutdown_timeout)
        super().__init__(self._settings.patience)
        self.name: str = self._settings.name
        self._entered = False

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
        settings = self._settings
        kernel = _kernel(running_backend(), settings.clock, settings.seed)
        kernel.facade = self
        kernel.on_panic = self._panic
        kernel.lender = lender_of(kernel)
        system = self._system_kind(kernel, settings.policy, settings.concurrency, settings.hosts, self)
        for name, workers in settings.pools.items():
            system.tag_pool(name, workers, None)
        system.patience = settings.patience
        system.learn_refs = _learn_refs
        Scope.__init__(self, system, Supervise(), contains=True)
        await super().__aenter__()
        HURRIED.add(self._hurry)
        SHOWN[self._shown] = kernel.thread
        if settings.hosts.min:
            system.staff.prepare()
        return self

    def _closed(self) -> None:
        SHOWN.pop(self._shown, None)
        super()._closed()

    def _forsaken(self) -> None:
        """Its loop is gone, and it was never left: nobody asks it for anything any more."""
        HURRIED.discard(self._hurry)
        SHOWN.pop(self._shown, None)

    def _shown(self) -> str:
        """What it looks like, for somebody who wants to see it."""
        return str(self.tree())

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
        self,
        name: str,
        workers: int | None = None,
        policy: str | SchedulingPolicy[Any] | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """Make a pool, or change one: tasks with `tag=name` run in it, whatever their kind of host.

        The pools "loop", "thread" and "process" exist: each is for the tasks of that kind without a tag.

        Args:
            name: Its name.
            workers: How many of its tasks may run at once; None for no limit, or for the one it has.
            policy: A policy of its own; None for that of the runtime, or for the one it has.
            hosts: Limits of its own for its host processes, which then are for its tasks alone, besides those
                that the runtime may have; None for sharing those, or for the limits it has. Such a pool is
                meant for tasks in processes: others in it wait as well when all of them are busy.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has a wrong value.
        """
        self._system.kernel.check_thread(f"pool {name!r} was to be changed")
        chosen = None if policy is None else policy_of(policy)
        if hosts is not None and not isinstance(hosts, Hosts):
            raise TypeError(f"hosts={hosts!r} is no Hosts; give for example Hosts(max=4, idle_timeout='10s')")
        size = None if workers is None else workers_of(workers)
        self._system.tag_pool(pool_name(name), size, chosen, hosts)

    def drop_pool(self, name: str) -> None:
        """Remove a pool that nobody needs any more. What is counted of its tasks stays in all totals.

        Args:
            name: Its name.

        Raises:
            ValueError: There is no such pool, it is one of the runtime's own, or it has tasks that have not
                ended.
        """
        self._system.kernel.check_thread(f"pool {name!r} was to be removed")
        self._system.drop_idle_pool(name)

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

    def alert(
        self,
        phase: Phase,
        above: Duration,
        *,
        priority: int | None = None,
        pool: str | None = None,
        quantile: float = 0.95,
        below: Duration | None = None,
        at_least: int = 10,
        name: str | None = None,
    ) -> Alarm:
        """Watch how long tasks take, and tell when it is too long.

        It is judged once per second, as long as tasks end, by those that have ended in the last minute. When
        the quantile comes to be higher than `above`, there is an event "alert" with `state="firing"` and a
        warning in the log `actorsched`. When it comes to be no higher than `below`, or no task has ended for
        a minute, there is one with `state="resolved"`. In between nothing is said again.

        Args:
            phase: "wait", from being ready to the first start; "run", from the last start to the end; or
                "total", from submission to the end.
            above: What is too long.
            priority: Watch tasks that were submitted with this priority; None for all.
            pool: Watch tasks in this pool; None for all.
            quantile: Which part of them may not take longer, above 0 and at most 1.
            below: What is well again; None for 0.8 times `above`.
            at_least: With fewer tasks in the last minute it does not begin to fire.
            name: Its name, for people.

        Returns:
            The alarm, to be looked at and stopped.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has a wrong value.
            RuntimeError: The runtime is not entered, or belongs to another thread.
        """
        from actorsched.alarm import alarm_of

        self._system.kernel.check_thread("an alarm was to be set")
        return alarm_of(self._system, phase, above, priority, pool, quantile, below, at_least, name)

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
            RuntimeError: This is another thread than that of the runtime. It may be ended in any.
        """
        wanted, called = checked_kinds(kinds), checked_handler(handler)
        self._system.kernel.check_thread("events were to be listened to")
        return self._system.bus.listen(wanted, called)

    def events(
        self, kinds: EventKind | Iterable[EventKind] | None = None, *, capacity: int = 10_000
    ) -> Events:
        """Iterate over what happens, from now on until the runtime is left.

        It never holds the runtime up: of events that are not read, the latest `capacity` are kept, and how
        many had to make room for them is counted in `lost`.

        Args:
            kinds: The kinds, or one of them; None for all.
            capacity: How many unread events are kept, 1 or more.

        Returns:
            An iterator; leaving it early, or cancelling the wait, loses nothing but the events.

        Raises:
            TypeError: The capacity is no int.
            ValueError: There is no such kind, or the capacity is less than 1.
            RuntimeClosed: The runtime has been left.
        """
        from actorsched.flow import events

        return events(self._system, self._nursery, checked_kinds(kinds), capacity)

    def call_threadsafe(self, function: Callable[[*Ts], object], /, *args: *Ts) -> None:
        """Have a plain function called soon in the thread of the runtime; from any thread.

        Calls are made in the order in which they were asked for, between two turns of the event loop, so they
        must be quick. An error is logged.

        Args:
            function: What is called; it may use the runtime, for example `rt.submit_nowait`.
            args: What it is called with.

        Raises:
            TypeError: It cannot be called.
            RuntimeClosed: The runtime has closed. What was asked for before that is still called.
        """
        call_threadsafe(self._system.kernel, function, args)

    def timeline(self, path: str | os.PathLike[str]) -> Timeline:
        """Write a timeline of what happens from now on: a trace, to be opened in Perfetto or about:tracing.

        It has a lane for each worker and host, arrows for dependencies, and shows preemptions and who holds
        which resource. The file is complete when the runtime has been left, or at the end of `async with`.

        Args:
            path: Where it goes; what is there is replaced.

        Returns:
            The timeline, which may be ended sooner.

        Raises:
            TypeError: The path is none.
            OSError: The file cannot be opened.
        """
        from actorsched.observe.timeline import start_timeline

        return start_timeline(self, path)

    def progress(self, *, lines: int = 8) -> Progress:
        """Show how far the tasks are, live: a bar for all and one for each pool, with rates and what remains.

        To be used as `with rt.progress():` or `async with`, or by its `start`. It goes to stderr, in a
        notebook below the cell; where that is no terminal, and while another is shown, it says nothing.

        Args:
            lines: How many pools, and how many running tasks with what they report, are shown at most.

        Returns:
            The display, not started.

        Raises:
            ImportError: rich is not installed; the extra `cli` brings it.
            TypeError: `lines` is no int.
            ValueError: It is less than 0.
        """
        from actorsched.observe.progress import start_progress

        return start_progress(self, lines)

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
        await doze(CURRENT.get(), self._system.kernel, seconds(duration, field="duration"))

    def _reduced(self, owner: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """How the ref of one of its tasks or actors travels; refs ask for it when they are pickled."""
        from actorsched.remote import reduce_actor, reduce_task

        return reduce_task(owner) if owner.settles else reduce_actor(owner)


def _kernel(backend: Backend, clock: Clock | None, seed: int | None) -> Kernel:
    """The kernel for this kind of time: a clock that is more than a source of time brings its own.

    In a simulated loop a runtime without a clock is a part of that simulation, whoever has made it.
    """
    if clock is None and backend.world is not None:
        from actorsched._kernel.simulated import SimulatedClock

        clock = SimulatedClock(backend.world)
    own: Callable[[Backend, int | None], Kernel] | None = getattr(clock, "kernel", None)
    if own is not None:
        return own(backend, seed)
    return Kernel(backend, clock or RealClock(backend), seed)


def _learn_refs(system: System) -> None:
    """Hosts are about to be used: refs will travel. Not imported before."""
    from actorsched.errands import VERBS
    from actorsched.remote import PassingRef

    system.verbs = VERBS
    system.ref_of = PassingRef

"""Everything that one runtime consists of, and the two ways into it: a new task, a new actor.

What is checked here is checked at the call, before anything is queued: whether the runtime is open, whether
the function takes the arguments, whether the refs among them are of this runtime.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import copy_context
from itertools import count
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from actorsched._core.mailbox import UserLane
from actorsched._kernel.current import CURRENT
from actorsched._system.actor_cell import ActorCell, Life
from actorsched._system.alarms import Alarms
from actorsched._system.announcing import Announcer
from actorsched._system.asking import begin_to_wait, go_on, waiter_of
from actorsched._system.carrying import BREATHER, Start
from actorsched._system.census import statuses
from actorsched._system.deadlines import times_of
from actorsched._system.event_bus import EventBus
from actorsched._system.handlers import table_of
from actorsched._system.host_staff import HostStaff
from actorsched._system.judge import Judge
from actorsched._system.locks import Locks, locks_of
from actorsched._system.loop_worker import LoopStaff
from actorsched._system.measuring import Measuring
from actorsched._system.placing import Habit, check_arguments, host_of
from actorsched._system.pools import Pool
from actorsched._system.reserving import Reserved, Threads
from actorsched._system.scheduler import Scheduler
from actorsched._system.task import REFS, TaskActor, function_name
from actorsched.exceptions import NotAdmitted, RuntimeClosed, shown
from actorsched.messages import Cancel, ExitReason, Kill, SetLimit, SetPolicy, Submit, Watch
from actorsched.options import DEFAULT, Hosts, Mailbox, Priority, Supervise, usable_cpus

if TYPE_CHECKING:
    from contextvars import Context

    from actorsched._core.behaviour import Behaviour
    from actorsched._core.policies import SchedulingPolicy
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.auto_staff import AutoStaff
    from actorsched._system.intake import Intake
    from actorsched._system.line import Line
    from actorsched._system.nursery import Nursery
    from actorsched._system.supervisor import Supervisor
    from actorsched._system.thread_worker import ThreadWorker
    from actorsched._system.waiting import Waiter
    from actorsched.options import ActorOptions, TaskOptions

_STARTING = Life.STARTING
_STOPPED = Life.STOPPED
_RUNNING = Life.RUNNING
_NORMAL = int(Priority.NORMAL)
_KINDS: tuple[Callable[..., ActorCell], Callable[..., Any]] = ActorCell, UserLane
"""What an actor's cell and its mailbox are, but in a simulated world."""
KINDS = ("loop", "thread", "process")
"""The kinds of hosts, each with a pool of its own."""
THREADS = 40
"""How many plain functions may run in threads at once: the same as anyio's default."""

_numbers = count(1), count(1)
"""Of tasks and of actors: each of this process has its own."""


class System:
    """The kernel of a runtime, its scheduler with the pools, and its registry of names."""

    def __init__(
        self,
        kernel: Kernel,
        policy: SchedulingPolicy[TaskActor],
        concurrency: int | None,
        hosts: Hosts,
        facade: Any,
    ) -> None:
        self.kernel = kernel
        world = kernel.world
        self._task_numbers, self._actor_numbers = _numbers if world is None else world.numbers
        self.began: float = kernel.now
        """When it began, by its clock."""
        kernel.outside = self._works_outside
        self.bus: EventBus = EventBus(kernel=kernel)
        kernel.bus = self.bus
        self.announcer: Announcer = Announcer(at_rest=kernel.at_rest)
        self.policy: SchedulingPolicy[TaskActor] = policy
        """What the pools have that have no policy of their own; each has its copy."""
        self.hosts = hosts
        self.facade = facade
        self.names: dict[str, ActorCell] = {}
        self.closing = False
        self.patience: float = 30.0
        """Seconds that actors and threads have to stop when they must."""
        self.scopes: dict[Any, None] = {}
        """The scopes that are entered and not yet left, the runtime first."""
        self.threads: list[ThreadWorker] = []
        self.reserved: Reserved = Reserved(hosts)
        """The processors and the memory that tasks have for themselves."""
        self.staff: HostStaff = HostStaff(self)
        self.pools: dict[str, Pool] = self._own_pools(concurrency)
        self.dropped: Pool = Pool("(dropped)", None, policy.fresh())
        """Has no tasks: the counts of the pools that there are no more."""
        self.scheduler: Scheduler = Scheduler(pools=self.pools, staffs={})
        self.scheduler.staffs["loop"] = LoopStaff(kernel, self.scheduler)
        self.scheduler.staffs["thread"] = Threads(self._thread_worker, self.reserved)
        self.scheduler.staffs["process"] = self.staff
        self.judge: Judge = Judge()
        self.measuring: Measuring = Measuring(kernel)
        self.alarms: Alarms = Alarms(kernel, self.measuring)
        self._auto: AutoStaff | None = None
        self.locks: Locks = locks_of(kernel, policy)
        self.scheduler.locks = self.locks
        self.learn_refs: Callable[[System], None] = _learn_nothing
        """Called before the first host starts: sets `verbs` and `ref_of`, from the layer that knows refs."""
        self.verbs: Mapping[str, Callable[..., Any]] = {}
        """What code in host processes may ask for."""
        self.ref_of: Callable[[Waiter], object] = repr
        """Answers with what becomes the ref of a task or an actor when it has crossed."""
        self._habit = Habit()
        self.travelled: OrderedDict[int, Any] = OrderedDict()
        """Refs of tasks that have crossed to hosts: as long as they stand here, the tasks are there too."""

    def __repr__(self) -> str:
        return f"<system: {self.kernel!r}, {self.scheduler!r}>"

    def _own_pools(self, concurrency: int | None) -> dict[str, Pool]:
        """One pool for each kind of host."""
        fresh = self.policy.fresh
        return {
            "loop": Pool(
                "loop", concurrency, fresh(), boundless=concurrency is None, processors=concurrency or 1
            ),
            "thread": Pool("thread", THREADS, fresh(), processors=usable_cpus()),
            "process": Pool("process", None, fresh(), processors=self.hosts.max),
        }

    def tag_pool(
        self,
        name: str,
        workers: int | None,
        policy: SchedulingPolicy[TaskActor] | None,
        hosts: Hosts | None = None,
    ) -> None:
        """Make a pool for the tasks of one tag, or change the limits or the policy of a pool that exists."""
        if hosts is not None:
            self.staff.limit(name, hosts)
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = Pool(
                name,
                workers,
                (self.policy if policy is None else policy).fresh(),
                processors=workers or usable_cpus(),
                mixed=True,
            )
            pool.own_policy = policy is not None
            pool.in_step = hosts is not None
            return
        pool.in_step = pool.in_step or hosts is not None
        if workers is not None:
            self.kernel.post(self.scheduler, SetLimit(pool, workers))
        if policy is not None:
            pool.own_policy = True
            self.kernel.post(self.scheduler, SetPolicy(policy, pool))

    def drop_pool(self, name: str) -> None:
        """A pool is not needed any more; how its tasks ended is still counted."""
        pool = self.pools.pop(name, None)
        if pool is not None:
            self.dropped.absorb(pool)
            self.measuring.drop(pool)
            self.staff.drop_pool(name)

    def drop_idle_pool(self, name: str) -> None:
        """The same at the wish of a user.

        Raises:
            ValueError: There is no such pool, it is one of our own, or tasks of it have not ended.
        """
        if name not in self.pools or name in KINDS:
            known = ", ".join(repr(each) for each in self.pools if each not in KINDS) or "none"
            raise ValueError(f"name={name!r} is no pool that could be removed; there are: {known}")
        unsettled = statuses(self)[name].total()
        if unsettled:
            raise ValueError(
                f"pool {name!r} was not removed, because {unsettled} of its tasks have not ended; "
                "wait for them, or cancel them"
            )
        self.drop_pool(name)

    def pool_of(self, host: str, options: TaskOptions) -> Pool:
        """Whose slots a task needs.

        Raises:
            ValueError: There is no such pool.
        """
        if options.tag is None:
            return self.pools[host]
        pool = self.pools.get(options.tag)
        if pool is None or options.tag in KINDS:
            known = ", ".join(repr(name) for name in self.pools if name not in KINDS) or "none"
            raise ValueError(
                f"tag={options.tag!r} is the name of no pool; there are: {known}; "
                f"make one with Runtime(pools={{{options.tag!r}: 2}}) or rt.pool({options.tag!r}, workers=2)"
            )
        return pool

    def _works_outside(self) -> bool:
        """Whether a thread or a host process has work of ours."""
        return any(worker.at_work for worker in self.threads) or self.staff.at_work

    @property
    def auto(self) -> AutoStaff:
        """Places tasks whose host is "auto", from the first of them on."""
        if self._auto is None:
            from actorsched._system.auto_staff import AutoStaff

            self._auto = self.scheduler.staffs["auto"] = AutoStaff(self, self.judge)
        return self._auto

    def _thread_worker(self) -> ThreadWorker:
        from actorsched._system.thread_worker import ThreadWorker

        worker = ThreadWorker(
            kernel=self.kernel, scheduler=self.scheduler, number=len(self.threads) + 1, judge=self.judge
        )
        self.threads.append(worker)
        return worker

    def check_open(self, what: str, nursery: Nursery | Line | Intake | None = None) -> None:
        """Refuse new work when the runtime or the scope takes none.

        Raises:
            RuntimeClosed: It is closing, closed, or not yet entered.
            RuntimeError: It runs in another thread.
        """
        self.kernel.check_thread(f"{what} was to be taken")
        if self.closing:
            raise RuntimeClosed(
                f"{what} was not taken: the runtime is shutting down or has been left; "
                "spawn within `async with Runtime()`, and before shutdown()"
            )
        if nursery is not None and not nursery.open:
            raise RuntimeClosed(
                f"{what} was not taken: its scope is not entered, or has been left; "
                "spawn within `async with rt.scope() as scope`, or on the runtime"
            )

    # ------------------------------------------------------------------------------------------ tasks

    def new_task(
        self,
        nursery: Nursery | Line | Intake,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        options: TaskOptions,
        context: Context | None = None,
        host: str | None = None,
        after: Collection[object] = (),
        held: bool = False,
    ) -> TaskActor:
        """Check, make and submit a task.

        Args:
            nursery: Who owns it.
            function: What it runs.
            args: The positional arguments.
            options: Its options, and the named arguments.
            context: It runs in a copy of this; None for the present one.
            host: Where it runs, when that and the arguments were checked before: for one function and many
                items that is done once.
            after: The refs of tasks that it is to wait for, besides those among the arguments.
            held: Whether it is not submitted yet: it will `enter`, or be `dismissed`, before anything else.

        Raises:
            RuntimeClosed: The runtime or the scope takes no more work.
            NotAdmitted: Its pool has admission control, which refuses it.
            TypeError: The function cannot be called in this way, or `after` holds something else than refs.
            ValueError: It cannot run where it is asked to, or depends on a task of another runtime.
        """
        if self.closing or not nursery.open or get_ident() != self.kernel.thread:
            self.check_open(f"task {options.name or function_name(function)!r}", nursery)
        if options is not DEFAULT and options.after:
            after = (*options.after, *after)
            options = options.replace(after=())
        kwargs = options.kwargs
        if host is None and not kwargs:
            host = self._habit.host(function, len(args), options)
        if host is None:
            host = host_of(function, options)
            check_arguments(function, args, kwargs)
            if host == "auto":
                return self.auto.new_task(nursery, function, args, options, context, after, held)
        if options is DEFAULT or (options.tag is None and not options.resources):
            pool = self.pools[host]
        else:
            pool = self._checked(function, host, options)
        refs = [value for value in args if type(value) in REFS] if args else []
        if kwargs:
            refs += [value for value in kwargs.values() if type(value) in REFS]
        upstream = self._upstream((*refs, *after) if refs else after) if refs or after else None
        if refs:
            args = tuple([value._task if type(value) in REFS else value for value in args])
            kwargs = {name: _unwrapped(value) for name, value in kwargs.items()} if kwargs else kwargs
        task = TaskActor(
            nursery,
            next(self._task_numbers),
            function,
            args,
            kwargs,  # type: ignore[arg-type]  # never changed
            options,
            copy_context() if context is None else context.copy(),
            host,
            pool,
            upstream,
            bool(refs),
            rank=options.priority,
            kernel=self.kernel,
            scheduler=self.scheduler,
        )
        if pool.admits or (options is not DEFAULT and options.particular):
            self._admit(task, pool)
        try:  # to get it in this way costs least, and every task passes here
            series = pool.series[options.priority]
        except KeyError:
            series = self.measuring.series(pool, options.priority)
        series.due = due = series.due - 1
        if not due:
            self.measuring.look(task, series)
        if host == "process" and upstream is None:
            self._pack(task)
        if not held:  # `enter`, written out: every task passes here
            nursery.live[task] = None
            self.kernel.post(self.scheduler, Submit(task))
            if nursery.cancelling:
                self.kernel.post(task, Cancel("everything in its scope is cancelled"))
        return task

    def enter(self, task: TaskActor) -> None:
        """Submit a task that was made."""
        owner = task.owner
        owner.live[task] = None
        self.kernel.post(self.scheduler, Submit(task))
        if owner.cancelling:
            self.kernel.post(task, Cancel("everything in its scope is cancelled"))

    def dismiss(self, task: TaskActor) -> None:
        """A task that was made is not submitted after all: nothing is left of it."""
        if task.times is not None:
            task.times.forget()
        task.pool.policy.forget(task, self.kernel.now)
        task.packed = None

    def _pack(self, task: TaskActor) -> None:
        """Put function and arguments of a new task into the form in which they travel.

        Raises:
            NotTransferable: Something cannot cross.
        """
        try:
            task.packed = self.staff.pack(task)
        except BaseException:
            self.dismiss(task)
            raise

    def _checked(self, function: Callable[..., Any], host: str, options: TaskOptions) -> Pool:
        """The pool of a task, if all that it asks for exists.

        Raises:
            ValueError: A pool or a resource does not exist, or there is not so much to reserve.
        """
        if options.reserves:
            self.reserved.wanted(function, host, options)
        for name in options.resources:
            if name not in self.locks.resources:
                known = ", ".join(map(repr, self.locks.resources)) or "none"
                raise ValueError(
                    f"resources={shown(set(options.resources))} of task "
                    f"{options.name or function_name(function)!r} names {name!r}, which was never declared; "
                    f"there are: {known}; declare it with rt.resource({name!r})"
                )
        return self.pools[host] if options.tag is None else self.pool_of(host, options)

    def _admit(self, task: TaskActor, pool: Pool) -> None:
        """Note when a new task has to be started and done, and whether that is possible.

        Raises:
            ValueError: Its deadline is past.
            NotAdmitted: With it, not everything that was admitted could be done in time.
        """
        options, now = task.options, self.kernel.now
        if options.timed:
            times = task.specially().times = times_of(options, now)
            task.due = times.due
        if options.reserves:
            assert task.function is not None
            task.specially().reservation = self.reserved.wanted(task.function, task.host, options)
        why = pool.policy.admit(task, now, pool.processors) if pool.admits else None
        if why is None or pool.warns:
            if why is not None:
                why = f"task {task.name!r} was admitted in spite of this: {why}"
                self.kernel.report(logging.WARNING, why)
            if task.times is not None:
                task.times.watch(task, self.kernel)
            return
        raise NotAdmitted(
            f"task {task.name!r} was not admitted to pool {pool.name!r}: with it, {why}; give it less to do, "
            'a later deadline or a higher priority, or use admission="warn"',
            task=task.name,
        )

    def check_task(
        self, nursery: Nursery, function: Callable[..., Any], args: tuple[Any, ...], options: TaskOptions
    ) -> None:
        """Check a task that is to be submitted together with others, so that all of them are, or none.

        Prepared tasks among the arguments may not have been submitted yet.
        """
        self.check_open(f"task {options.name or function_name(function)!r}", nursery)
        host = host_of(function, options)
        self._checked(function, "thread" if host == "auto" else host, options)
        check_arguments(function, args, options.kwargs)
        needs: tuple[Any, ...] = (*args, *options.kwargs.values(), *options.after)
        for value in needs:
            kind = type(cast("object", value))
            task = value._task if kind in REFS else None
            if task is not None:
                self._check_own(task)

    def _upstream(self, refs: Iterable[Any]) -> list[TaskActor] | None:
        """The tasks that these refs mean, but for those that have completed; None when there is none.

        Raises:
            TypeError: One is no ref of a task.
            ValueError: A task belongs to another runtime.
        """
        kernel = self.kernel
        upstream: list[TaskActor] = []
        for ref in refs:
            task: TaskActor | None = ref._task if type(ref) in REFS else None
            if task is None:
                raise TypeError(
                    f"{shown(ref)} is to be waited for, but is no submitted task; give refs that spawn "
                    "returned, or submit prepared tasks"
                )
            if task.kernel is not kernel:
                self._check_own(task)
            if task.outcome is None or task.outcome.error is not None:
                upstream.append(task)
        return upstream or None

    def own_task(self, ref: Any, what: str) -> TaskActor:
        """The task that a ref means.

        Raises:
            TypeError: It is no ref of a submitted task.
            ValueError: The task belongs to another runtime.
        """
        task: TaskActor | None = ref._task if type(ref) in REFS else None
        if task is None:
            raise TypeError(f"{shown(ref)} cannot be {what}: it is no submitted task; give a TaskRef")
        self._check_own(task)
        return task

    def _check_own(self, task: TaskActor) -> None:
        if task.kernel is not self.kernel:
            raise ValueError(
                f"task {task.name!r} belongs to another Runtime, so nothing here can depend on it; "
                "await its ref and pass the result"
            )

    # ----------------------------------------------------------------------------------------- actors

    def new_actor(
        self,
        supervisor: Supervisor,
        actor_class: Any,
        base: type,
        args: tuple[Any, ...],
        options: ActorOptions,
    ) -> ActorCell:
        """Make an actor, and begin its life. Unless it is RUNNING then, wait until it has `started`."""
        kernel, name = self.kernel, options.name
        if self.closing or get_ident() != self.kernel.thread:
            self.check_open(f"actor {name or actor_class.__qualname__!r}")
        if name is not None and name in self.names:
            raise ValueError(
                f"name={name!r} is taken by {self.names[name]!r}; choose another, or stop that one"
            )
        table, kwargs, context = table_of(actor_class, base), options.kwargs, copy_context()
        mailbox: Mailbox = options.mailbox or actor_class.mailbox
        kind, lane = (
            _KINDS if kernel.world is None else (kernel.world.cell_kind(hosted=False), kernel.world.lane)
        )
        instance, life = None, _RUNNING  # that of an actor without a start of its own: it is made running
        if (options.host or table.host) == "process":
            kind, life = self.staff.hosted_cell, _STARTING
        elif table.has_start:
            life = _STARTING
        elif table.is_plain:  # nobody would see the context
            instance = actor_class(*args, **kwargs)
        else:
            instance = context.copy().run(actor_class, *args, **kwargs)
        cell = kind(
            actor_class,
            table,
            args,
            kwargs,
            context,
            lane(mailbox.capacity, mailbox.overflow, _NORMAL),
            supervisor,
            name,
            next(self._actor_numbers),
            None if name is None else self._forget_name,
            instance,
            life,
            life is _RUNNING,
            kernel=kernel,
        )
        if life is _STARTING:
            cell.begin_first_life()
        elif kernel.watched:
            kernel.tell("actor_started", cell, actor=table.owner, host="loop")
        if name is not None:
            self.names[name] = cell
        supervisor.adopt(cell, options.restart, kernel)
        if kernel.mail:
            kernel.drain()
        return cell

    async def started(self, cell: ActorCell) -> None:
        """Wait until a new actor has started; a task lends its slot meanwhile. Whoever is cancelled kills it.

        Raises:
            BaseException: What kept it from starting.
        """
        kernel = self.kernel
        hook: Any = cell.turn  # its `on_start`, if it has the turn
        waiter, begun = None if CURRENT.get() is None else waiter_of(cell), Start(cell)
        if waiter is not None:
            begin_to_wait(waiter, cell, begun)
        try:
            if hook is not None:
                suspended = kernel.lender.begin(hook, hook.open())
                if suspended is not None:
                    await kernel.lender.stay_with(hook, suspended[1])
            if not (cell.born or cell.life is _STOPPED):  # stopped with a sibling, it starts once more
                started = cell.more().started = kernel.future()
                await started
        except BaseException as error:
            await self._abandon(cell)
            if waiter is not None:
                await go_on(waiter, cell, begun, error)
            raise
        if waiter is not None:
            await go_on(waiter, cell, begun)
        if kernel.lender.taken >= BREATHER:
            await kernel.lender.breathe()
        if begun.refusal is not None:
            await self._abandon(cell)
            raise begun.refusal
        if not cell.born and cell.ending is not None:
            raise cell.ending.error or cell.gone("it was not started")

    def _forget_name(self, cell: ActorCell) -> None:
        if cell.given_name is not None and self.names.get(cell.given_name) is cell:
            del self.names[cell.given_name]

    async def _abandon(self, cell: ActorCell) -> None:
        """Whoever spawned it was cancelled during its start."""
        gone = self.kernel.future()
        self.kernel.post(cell, Watch(gone))
        self.kernel.post(cell, Kill(ExitReason("killed")))
        if not gone.done():
            with self.kernel.shield():
                await gone

    def supervisor(self, owner: Behaviour, spec: Supervise) -> Supervisor:
        """A supervisor that answers to `owner`."""
        from actorsched._core.supervision import Supervision
        from actorsched._system.supervisor import Supervisor

        return Supervisor(owner=owner, children=Supervision(spec))

    # -------------------------------------------------------------------------------------- the end

    def leave_threads_behind(self) -> None:
        """The shutdown deadline has come: whatever still runs in a thread is abandoned."""
        for worker in self.threads:
            worker.leave_behind()

    async def aclose(self, patience: float) -> None:
        """Nothing is running any more: end hosts, threads and kernel."""
        await self.staff.aclose(patience)
        self.travelled.clear()
        for worker in self.threads:
            thread = worker.retire()
            if thread is not None:
                thread.join()
        self.bus.flush()
        self.kernel.wake_all()
        self.announcer.flush(self.kernel)
        await self.kernel.aclose()


def _learn_nothing(system: System) -> None:
    """No refs travel."""


def _unwrapped(value: Any) -> Any:
    return value._task if type(value) in REFS else value

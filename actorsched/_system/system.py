"""Everything that one runtime consists of, and the two ways into it: a new task, a new actor.

What is checked here is checked at the call, before anything is queued: whether the runtime is open, whether
the function takes the arguments, whether the refs among them are of this runtime.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import copy_context
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_VARARGS, isasyncgenfunction, iscoroutine
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from actorsched._core.mailbox import UserLane
from actorsched._core.supervision import Supervision
from actorsched._system.actor_cell import ActorCell, Life
from actorsched._system.asking import go_on, waiter_of
from actorsched._system.handlers import HANDLER, Handler, table_of
from actorsched._system.host_staff import HostStaff
from actorsched._system.loop_worker import LoopStaff
from actorsched._system.scheduler import Pool, ReusedWorkers, Scheduler
from actorsched._system.supervisor import Supervisor
from actorsched._system.task import REFS, TaskActor, function_name
from actorsched._system.thread_worker import ThreadWorker
from actorsched.exceptions import RuntimeClosed, shown
from actorsched.messages import ExitReason, Kill, Submit, Wait, Watch
from actorsched.options import DEFAULT, Hosts, Mailbox, Priority, Supervise

if TYPE_CHECKING:
    from contextvars import Context

    from actorsched._core.behaviour import Behaviour
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.call import Hook
    from actorsched._system.line import Line
    from actorsched._system.nursery import Nursery
    from actorsched._system.waiting import Waiter
    from actorsched.options import ActorOptions, TaskOptions

_STARTING = Life.STARTING
_RUNNING = Life.RUNNING
_NORMAL = int(Priority.NORMAL)
THREADS = 40
"""How many plain functions may run in threads at once: the same as anyio's default."""

_task_numbers = count(1)
_actor_numbers = count(1)


class System:
    """The kernel of a runtime, its scheduler with the pools, and its registry of names."""

    def __init__(self, kernel: Kernel, concurrency: int | None, hosts: Hosts, facade: Any) -> None:
        self.kernel = kernel
        self.hosts = hosts
        self.facade = facade
        self.names: dict[str, ActorCell] = {}
        self.closing = False
        self.patience: float = 30.0
        """Seconds that actors and threads have to stop when they must."""
        self.scopes: dict[Any, None] = {}
        """The scopes that are entered and not yet left, the runtime first."""
        self.threads: list[ThreadWorker] = []
        self.pools: dict[str, Pool] = {}
        self.scheduler: Scheduler = Scheduler(pools=self.pools)
        self.staff: HostStaff = HostStaff(self)
        boundless = concurrency is None
        in_loop = LoopStaff(kernel, None if boundless else self.scheduler)
        self.pools["loop"] = Pool("loop", concurrency, in_loop, boundless=boundless)
        self.pools["thread"] = Pool("thread", THREADS, ReusedWorkers(self._thread_worker))
        self.pools["process"] = Pool("process", None, self.staff)
        self.learn_refs: Callable[[System], None] = _learn_nothing
        """Called before the first host starts: sets `verbs` and `ref_of`, from the layer that knows refs."""
        self.verbs: Mapping[str, Callable[..., Any]] = {}
        """What code in host processes may ask for."""
        self.ref_of: Callable[[Waiter], object] = repr
        """Answers with what becomes the ref of a task or an actor when it has crossed."""
        self.travelled: OrderedDict[int, Any] = OrderedDict()
        """Refs of tasks that have crossed to hosts: as long as they stand here, the tasks are there too."""

    def __repr__(self) -> str:
        return f"<system: {self.kernel!r}, {self.scheduler!r}>"

    def _thread_worker(self) -> ThreadWorker:
        worker = ThreadWorker(kernel=self.kernel, scheduler=self.scheduler, number=len(self.threads) + 1)
        self.threads.append(worker)
        return worker

    def check_open(self, what: str, nursery: Nursery | None = None) -> None:
        """Refuse new work when the runtime or the scope takes none.

        Raises:
            RuntimeClosed: It is closing, closed, or not yet entered.
        """
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
        nursery: Nursery | Line,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        options: TaskOptions,
        context: Context | None = None,
        host: str | None = None,
        after: Collection[object] = (),
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
        """
        if self.closing:
            self.check_open(f"task {options.name or function_name(function)!r}")
        if options is not DEFAULT and options.after:
            after = (*options.after, *after)
            options = options.replace(after=())
        kwargs = options.kwargs
        if host is None and not kwargs:
            host = obvious_host(function, len(args), options)
        if host is None:
            host = host_of(function, options)
            check_arguments(function, args, kwargs)
        injected, upstream = False, None
        if args or kwargs:
            injected, upstream = self._injected(args, kwargs)
            if injected:
                args = tuple(map(_unwrapped, args))
                kwargs = {name: _unwrapped(value) for name, value in kwargs.items()}
        if after:
            upstream = self._after(after, upstream or {})
        task = TaskActor(
            nursery,
            next(_task_numbers),
            function,
            args,
            kwargs,  # type: ignore[arg-type]  # never changed
            options,
            copy_context() if context is None else context.copy(),
            host,
            options.priority,
            upstream,
            injected,
            kernel=self.kernel,
            scheduler=self.scheduler,
        )
        if host == "process" and upstream is None:
            task.packed = self.staff.pack(task)
        nursery.live[task] = None
        self.kernel.post(self.scheduler, Submit(task))
        return task

    def check_task(
        self, nursery: Nursery, function: Callable[..., Any], args: tuple[Any, ...], options: TaskOptions
    ) -> None:
        """Check a task that is to be submitted together with others, so that all of them are, or none.

        Prepared tasks among the arguments may not have been submitted yet.
        """
        self.check_open(f"task {options.name or function_name(function)!r}", nursery)
        host_of(function, options)
        check_arguments(function, args, options.kwargs)
        needs: tuple[Any, ...] = (*args, *options.kwargs.values(), *options.after)
        for value in needs:
            kind = type(cast("object", value))
            task = value._actorsched_task() if hasattr(kind, "_actorsched_task") else None
            if task is not None:
                self._check_own(task)

    def _injected(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[bool, dict[Behaviour, None] | None]:
        """Whether refs stand among the arguments, and the tasks that they mean."""
        refs = [value for value in args if type(value) in REFS]
        if kwargs:
            refs += [value for value in kwargs.values() if type(value) in REFS]
        return (True, self._after(refs, {})) if refs else (False, None)

    def _after(self, refs: Iterable[object], upstream: dict[Behaviour, None]) -> dict[Behaviour, None] | None:
        """Add the tasks that these refs mean, but for those that have completed; None when there is none.

        Raises:
            TypeError: One is no ref of a task.
            ValueError: A task belongs to another runtime.
        """
        kernel = self.kernel
        for ref in refs:
            task: TaskActor | None = ref._actorsched_task() if type(ref) in REFS else None  # type: ignore[attr-defined]
            if task is None:
                raise TypeError(
                    f"{shown(ref)} is to be waited for, but is no submitted task; give refs that spawn "
                    "returned, or submit prepared tasks"
                )
            if task.kernel is not kernel:
                self._check_own(task)
            if task.outcome is None or task.outcome.error is not None:
                upstream[task] = None
        return upstream or None

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
        name = options.name
        if self.closing:
            self.check_open(f"actor {name or actor_class.__qualname__!r}")
        if name is not None and name in self.names:
            raise ValueError(
                f"name={name!r} is taken by {self.names[name]!r}; choose another, or stop that one"
            )
        table, kwargs, context = table_of(actor_class, base), options.kwargs, copy_context()
        mailbox: Mailbox = options.mailbox or actor_class.mailbox
        kind: Callable[..., ActorCell] = ActorCell
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
            UserLane(mailbox.capacity, mailbox.overflow, _NORMAL),  # pyright: ignore[reportUnknownArgumentType] # as ActorCell.lane
            supervisor,
            name,
            next(_actor_numbers),
            None if name is None else self._forget_name,
            instance,
            life,
            life is _RUNNING,
            kernel=self.kernel,
        )
        if life is _STARTING:
            cell.begin_first_life()
        if name is not None:
            self.names[name] = cell
        supervisor.adopt(cell, options.restart, self.kernel)
        if self.kernel.mail:
            self.kernel.drain()
        return cell

    async def started(self, cell: ActorCell) -> None:
        """Wait until a new actor has started; a task lends its slot meanwhile. Whoever is cancelled kills it.

        Raises:
            BaseException: What kept it from starting.
        """
        if cell.turn is not None or cell.life is _STARTING:
            waiter = waiter_of(cell)
            await (self._start(cell) if waiter is None else self._start_for(waiter, cell))
        if not cell.born and cell.ending is not None:
            raise cell.ending.error or cell.gone("it was not started")

    async def _start_for(self, waiter: Waiter, cell: ActorCell) -> None:
        begun = self.kernel.future()
        self.kernel.post(waiter, Wait(cell, begun))
        try:
            await self._start(cell)
        except BaseException as error:
            await go_on(waiter, cell, begun, error)
            raise
        await go_on(waiter, cell, begun)

    async def _start(self, cell: ActorCell) -> None:
        hook = cast("Hook | None", cell.turn)
        try:
            if hook is not None:
                await self.kernel.lender.carry(hook, hook.open())
            if cell.life is _STARTING:
                started = cell.more().started = self.kernel.future()
                await started
        except BaseException:
            await self._abandon(cell)
            raise

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
        await self.kernel.aclose()


def _learn_nothing(system: System) -> None:
    """No refs travel."""


def _unwrapped(value: Any) -> Any:
    return value._actorsched_task() if type(value) in REFS else value


def obvious_host(function: Callable[..., Any], given: int, options: TaskOptions) -> str | None:
    """Where a function runs that is called with so many positional arguments, and no others.

    None where it takes a closer look to tell, or to tell what is wrong.
    """
    if type(function) is not _FUNCTION or function.__dict__:
        return None
    code = function.__code__
    if code.co_flags & _UNUSUAL or code.co_kwonlyargcount:
        return None
    takes = code.co_argcount
    if given != takes and not takes - len(function.__defaults__ or ()) <= given <= takes:
        return None
    if options.host is None and not options.abandon_on_cancel:
        return "loop" if code.co_flags & CO_COROUTINE else "thread"
    return "process" if options.host == "process" and not options.abandon_on_cancel else None


def host_of(function: Callable[..., Any], options: TaskOptions) -> str:
    """Where a function runs.

    Raises:
        TypeError: It cannot be called, or is an async generator.
        ValueError: It cannot run where it is asked to.
    """
    asynchronous = is_async(function)
    own = "loop" if asynchronous else "thread"
    host: str = options.host or getattr(function, "__actorsched_host__", None) or own
    if asynchronous and host == "thread":
        raise ValueError(
            f'host="thread" does not fit {function_name(function)!r}, an async function; '
            'it runs in the event loop ("loop", the default), or in a host process ("process")'
        )
    if options.abandon_on_cancel and host != "thread":
        raise ValueError(
            f"abandon_on_cancel=True does not fit {function_name(function)!r}, which runs with "
            f'host="{host}"; only what runs in a thread can be abandoned: use host="thread"'
        )
    return host


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; looks through `functools.partial`, methods and `__call__`.

    Raises:
        TypeError: It cannot be called, or is an async generator function.
    """
    handler: Handler | None = getattr(function, HANDLER, None)
    if handler is not None and not handler.streams:
        return True
    code = getattr(function, "__code__", None)
    if code is None:
        if isinstance(function, partial):
            return is_async(function.func)
        if not callable(function):
            raise _not_callable(function)
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004  # its code
        if code is None:
            return False
    if handler is not None or code.co_flags & CO_ASYNC_GENERATOR or isasyncgenfunction(function):
        raise TypeError(
            f"{function_name(function)!r} is an async generator, which has no single result; "
            "make it a handler of an actor, or a stage of a pipeline"
        )
    return bool(code.co_flags & CO_COROUTINE)


def _not_callable(value: object) -> TypeError:
    if iscoroutine(value):
        value.close()  # or Python would warn that nobody has awaited it
        return TypeError(
            f"{shown(value)} was called already; give the function itself, and its arguments after it"
        )
    return TypeError(f"{shown(value)} cannot be called; spawn a function or an Actor class")


def check_arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that a function does not take.

    Raises:
        TypeError: It names the function, and what is wrong.
    """
    code = getattr(function, "__code__", None)
    if code is not None and not kwargs and type(function) is _FUNCTION and not function.__kwdefaults__:
        takes = code.co_argcount
        given = len(args)
        enough = given >= takes - len(function.__defaults__ or ())
        if enough and (given <= takes or code.co_flags & CO_VARARGS) and not code.co_kwonlyargcount:
            return
    from inspect import signature

    try:
        expected = signature(function)
    except ValueError:  # a built-in that does not tell
        return
    try:
        expected.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{function_name(function)}{expected} was given wrong arguments: {error}; "
            "positional ones follow the function, named ones go into kwargs={...}"
        ) from None


_FUNCTION = type(is_async)
_UNUSUAL = CO_ASYNC_GENERATOR | CO_VARARGS

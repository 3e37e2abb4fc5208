"""The tasks of the real-time scheduler.

The law of this module: a task is known by its id from the moment it is made, in all front ends; what there is
to see of it is read off its job. It decides nothing: `prepare` says in the runtime's words what was demanded.

How it works: what the runtime runs is `Task.run` around the function, which notes when the function began
and what it used, and hands it a `PreemptionEvent` if it has a parameter for one. A function that has none is
submitted as not preemptible: it could not be told to make room, and somebody else shall be asked instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from actorsched.context import current
from actorsched.frontends._functions import is_async
from actorsched.frontends.realtime.constraints import TaskConstraints
from actorsched.frontends.realtime.functions import (
    PARAMETER,
    PreemptionEvent,
    place_of_event,
)
from actorsched.frontends.realtime.job import RealtimeJob
from actorsched.frontends.realtime.monitoring import TaskMetrics, Usage
from actorsched.frontends.realtime.vocabulary import (
    STATUSES,
    TaskPriority,
    TaskStatus,
    above_zero,
    invalid,
    priority_of,
    whole,
)
from actorsched.options import Retry, TaskOptions, task_options
from actorsched.task import prepared_with

if TYPE_CHECKING:
    from actorsched.frontends._shared import Pool
    from actorsched.frontends.realtime.resources import Resources
    from actorsched.task import Task as Prepared

_PATIENCE = 1.0
"""Seconds that it may take until what is held for a task is given back."""


class Task:
    """One piece of work.

    Args:
        name: Its name, for people; tasks may have the same.
        func: The function: a plain one runs in a thread, an async one in the shared event loop. If it has a
            parameter `preemption_event`, it is given a `PreemptionEvent`.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        priority: How urgent it is.
        constraints: What else it demands; None for nothing.
        max_retries: How often it is tried again when it fails.

    Raises:
        InvalidArgumentError: A value cannot be, or `func` cannot be called.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_desk",
        "_job",
        "_native_resources",
        "_submitted",
        "_used",
        "_constraints",
        "args",
        "func",
        "kwargs",
        "max_retries",
        "name",
        "priority",
        "usage",
    )

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: TaskPriority = TaskPriority.NORMAL,
        constraints: TaskConstraints | None = None,
        max_retries: int = 0,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise invalid("name", name, "give a str that says something")
        if not callable(func):
            raise invalid("func", func, f"give task {name!r} a function, plain or async")
        if not isinstance(args, (tuple, list)):
            raise invalid("args", args, "give a tuple of the positional arguments, such as (image,)")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise invalid("kwargs", kwargs, "give a mapping of the keyword arguments by their names")
        if constraints is not None and not isinstance(constraints, TaskConstraints):
            raise invalid("constraints", constraints, "give a TaskConstraints, or None")
        self.name = name
        self.func = func
        self.args: tuple[Any, ...] = tuple(args)
        self.kwargs: dict[str, Any] = {} if kwargs is None else dict(kwargs)
        self.priority: TaskPriority = priority_of(priority)
        self._constraints: TaskConstraints | None = constraints
        self.max_retries: int = whole(max_retries, "max_retries", 0)
        self.usage: Usage | None = None
        """Where what it uses is added up: its scheduler's."""
        self._job = RealtimeJob(name)
        self._job.view = self
        self._desk: Resources | None = None
        self._submitted: tuple[float, datetime] | None = None
        self._begun: float | None = None
        self._used: float = 0.0
        self._native_resources: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Task {self.name!r} ({self.id}) {self.priority.name} {self.status.value}>"

    @property
    def id(self) -> str:
        """Its id, valid in all front ends."""
        return self._job.id

    @property
    def status(self) -> TaskStatus:
        """Where it is in its life."""
        self._job.look()
        return STATUSES[self._job.status]

    @property
    def result(self) -> Any:
        """What its function returned; None if it has not."""
        outcome = self._job.look()
        return None if outcome is None else outcome.value

    @property
    def error(self) -> BaseException | None:
        """Why it has no result: what its function raised, or why it was stopped; None if there is nothing."""
        outcome = self._job.look()
        return None if outcome is None else outcome.error

    @property
    def constraints(self) -> TaskConstraints:
        """What it demands. Its sets may be changed until it is submitted."""
        if self._constraints is None:
            self._constraints = TaskConstraints()
        return self._constraints

    @property
    def demands(self) -> TaskConstraints | None:
        """The same; None if nobody has ever said any, or looked at them."""
        return self._constraints

    @property
    def total_ms(self) -> float | None:
        """How long it took from its submission to its end."""
        return _between(None if self._submitted is None else self._submitted[0], self._job.settled_at)

    @property
    def metrics(self) -> TaskMetrics:
        """How long it has waited, run and taken, as far as it has come."""
        begun, over, ref = self._begun, self._job.settled_at, self._job.ref
        submitted = None if self._submitted is None else self._submitted[0]
        return TaskMetrics(
            scheduling_ms=_between(submitted, begun),
            execution_ms=_between(begun, over),
            total_ms=self.total_ms,
            cpu_seconds=self._used,
            attempts=0 if ref is None else ref.attempt,
            tardiness_ms=None if ref is None or ref.tardiness is None else ref.tardiness * 1000,
        )

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has settled, however; block this thread meanwhile.

        Args:
            timeout: How many seconds at most; None for any time.

        Returns:
            Whether it has settled.

        Raises:
            InvalidArgumentError: The timeout is no number.
            DeadlockError: This is the thread of the shared event loop, which would have to run it.
        """
        if timeout is not None and timeout != 0:
            above_zero(timeout, "timeout", "how many seconds to wait at most")
        return self._job.wait(timeout)

    # ------------------------------------------------------------------------------------ for the scheduler

    @property
    def job(self) -> RealtimeJob:
        """What all front ends know of it."""
        return self._job

    def accepted(self, usage: Usage, desk: Resources) -> None:
        """It is submitted now; what it uses is added up there, and what is held for it, there."""
        self.usage, self._desk = usage, desk
        self._submitted = monotonic(), datetime.now(UTC)  # the latter is what deadlines are told from

    def overdue(self) -> float | None:
        """How many seconds longer it took than `max_latency_ms` allows; None if no longer."""
        limit = None if self._constraints is None else self._constraints.max_latency_ms
        total = None if limit is None else self.total_ms
        return None if limit is None or total is None or total <= limit else (total - limit) / 1000

    def prepare(self, pool: Pool, preemption: bool, resources: Mapping[str, str]) -> list[str]:
        """Say in the runtime's words what was demanded.

        Args:
            pool: The pool that it runs in.
            preemption: Whether anybody is preempted there.
            resources: What the resources are called in the runtime that it has to take when it begins.

        Returns:
            A sentence for each demand that was too high, and was cut down.
        """
        constraints, in_loop = self._constraints, is_async(self.func)
        preemptible = (
            preemption
            and (constraints is None or constraints.is_preemptible)
            and (in_loop or self._takes_event())
        )
        plain = _plain(self.name, pool.name, self.priority, preemptible, in_loop)
        if constraints is None and not self.max_retries:
            self._job.prepare(self._prepared(plain, in_loop), pool, None)
            return []
        return self._prepare_more(plain, pool, in_loop, resources)

    def _prepared(self, options: TaskOptions, in_loop: bool) -> Prepared[Any]:
        return prepared_with(options, _run_async if in_loop else _run, (self,))

    def _prepare_more(
        self, plain: TaskOptions, pool: Pool, in_loop: bool, resources: Mapping[str, str]
    ) -> list[str]:
        constraints = self.constraints
        assert self._submitted is not None
        options: dict[str, Any] = {}
        excesses: list[str] = []
        if (due := constraints.due(self._submitted[1])) is not None:
            options |= {"deadline": due, "hard": constraints.is_hard_realtime}
        if self.max_retries:
            options["retry"] = Retry(attempts=self.max_retries + 1, jitter=False)
        if resources:
            options["resources"] = tuple(sorted(resources.values()))
        if not in_loop:  # in the event loop nobody has a processor for himself
            reserved, excesses = constraints.reservation()
            options |= reserved
        self._native_resources = frozenset(resources)
        demanded = plain.replace(**options) if options else plain  # which were checked when they were given
        self._job.prepare(self._prepared(demanded, in_loop), pool, due)
        return excesses

    @property
    def takes_itself(self) -> frozenset[str]:
        """The names of the resources that it takes when it begins."""
        return self._native_resources

    # ---------------------------------------------------------------------------------------- while it runs

    def _takes_event(self) -> bool:
        place = place_of_event(self.func)
        return place is not None and place >= len(self.args) and PARAMETER not in self.kwargs

    def _arguments(self) -> dict[str, Any]:
        if not self._takes_event():
            return self.kwargs
        return {**self.kwargs, PARAMETER: PreemptionEvent(current())}

    def run(self) -> Any:
        """Call the function. In a thread of the runtime."""
        usage, begun, used = self.usage, monotonic(), thread_time()
        assert usage is not None
        if self._begun is None:
            self._begun = begun
        usage.began(begun)
        try:
            value = self.func(*self.args, **self._arguments())
        except BaseException:
            self._leave(failed=True)
            raise
        else:
            self._leave(failed=False)
            return value
        finally:
            used = thread_time() - used
            self._used += used
            usage.ended(begun, used)

    def _leave(self, *, failed: bool) -> None:
        """The function is over, and it will not be called again: nothing is held for it any longer."""
        if self._desk is not None and not (failed and current().attempt <= self.max_retries):
            left = self._desk.leave(self)
            if left is not None:
                left.wait(_PATIENCE)

    async def run_async(self) -> Any:
        """Call the async function. In the runtime's thread."""
        usage, begun = self.usage, monotonic()
        assert usage is not None
        if self._begun is None:
            self._begun = begun
        usage.began(begun)
        try:
            value = await self.func(*self.args, **self._arguments())
            left = None if self._desk is None else self._desk.leave(self)
            while left is not None and not left.is_set():  # a few turns of the loop
                await checkpoint()
            return value
        finally:
            usage.ended(begun, 0.0)


def _run(task: Task) -> Any:
    return task.run()


async def _run_async(task: Task) -> Any:
    return await task.run_async()


@lru_cache(maxsize=256)
def _plain(name: str, pool: str, priority: int, preemptible: bool, in_loop: bool) -> TaskOptions:
    """The options of a task that demands nothing else: many have the same name."""
    options: dict[str, Any] = {"name": name, "priority": priority, "preemptible": preemptible, "tag": pool}
    return task_options(options if in_loop else {**options, "host": "thread", "abandon_on_cancel": True})


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else max(0.0, end - begin) * 1000

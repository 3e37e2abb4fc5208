"""Tasks with `host="auto"`: made, placed when they are about to run, and handed to who runs them.

It is the `Staff` of a host that does not exist. A task waits in the pool where its function is served best as
far as is known when it is spawned, because whoever waits has to wait somewhere. When it is its turn more may
be known, since those spawned with it have run: then it moves to another pool (`Move`), once. From then on it
is a task like any other, and each further attempt runs where the first did.

One whose turn has come at a host process is pickled there and then; what waits for others' results cannot be
before. When that fails it stays, and nobody is told but who asks `explain`.

A task stays in the pool that it was spawned into when more than a place in its queue depends on that: in a
pool of a tag, which has hosts of every kind; where a pool has admitted it, or would have to; and when it
holds resources by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from actorsched._system.gauges import LoopGauge
from actorsched._system.judge import Placed
from actorsched._system.loop_worker import LoopStaff
from actorsched._system.measured_worker import MeasuredWorker
from actorsched._system.placing import is_async
from actorsched._system.task import REFS
from actorsched.exceptions import NotTransferable
from actorsched.messages import Move

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextvars import Context

    from actorsched._core.auto_host import Kind
    from actorsched._core.behaviour import Behaviour, Outbox
    from actorsched._system.intake import Intake
    from actorsched._system.judge import Judge
    from actorsched._system.line import Line
    from actorsched._system.nursery import Nursery
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched.options import TaskOptions


class AutoStaff:
    """Places tasks whose host is "auto"."""

    def __init__(self, system: System, judge: Judge) -> None:
        self._system = system
        self._judge = judge
        self._loop = LoopStaff(system.kernel, system.scheduler, self._measured)

    def __repr__(self) -> str:
        return f"<auto staff with {self._judge!r}>"

    def new_task(
        self,
        nursery: Nursery | Line | Intake,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        options: TaskOptions,
        context: Context | None,
        after: Collection[object],
        held: bool,
    ) -> TaskActor:
        """Make a task, and submit it unless it is held. See `System.new_task`; all that was checked."""
        marked = getattr(function, "__actorsched_host__", None) == "process"
        learned = self._judge.of(function, asynchronous=is_async(function), marked=marked)
        placed = Placed(learned, learned.verdict)
        waits = bool(after) or _has_refs(args) or _has_refs(options.kwargs.values())
        host = learned.home if waits and learned.place == "process" else learned.place
        task: TaskActor
        if host == "process":
            task = self._packed(placed, nursery, function, args, options, context)
        else:
            task = self._system.new_task(
                nursery, function, args, options, context, host, after=after, held=True
            )
        task.specially().placed = placed
        if task.host != "process":
            task.host = "auto"
        if not held:
            self._system.enter(task)
        return task

    def _packed(
        self, placed: Placed, nursery: Any, function: Any, args: Any, options: Any, context: Any
    ) -> TaskActor:
        """A task for a host process; or for where its function is at home, if it cannot cross."""
        make, began = self._system.new_task, self._judge.clocks.wall()
        try:
            task = make(nursery, function, args, options, context, "process", held=True)
        except NotTransferable as error:
            self._refused(placed, error)
            return make(nursery, function, args, options, context, placed.learned.home, held=True)
        placed.host, placed.packing = "process", self._judge.clocks.wall() - began
        placed.runs = placed.learned.runs_in("process")
        return task

    def _refused(self, placed: Placed, error: NotTransferable) -> None:
        told = str(error)
        placed.barred = told.partition("process: ")[2].rpartition("; ")[0] or told
        placed.learned.refused(placed.barred)

    # -------------------------------------------------------------------------------------- as a staff

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        """It is a task's turn: have it run where its function is served best, or move it there first."""
        placed = task.placed
        assert placed is not None
        if placed.host is None:
            placed.verdict = placed.learned.verdict
            placed.host = self._host_for(task, placed)
            placed.runs = placed.learned.runs_in(placed.host)
        host = placed.host
        pool = task.pool if task.pool.mixed else self._system.pools[host]
        if pool is not task.pool:
            out.send((self._system.scheduler, Move(task, pool)))
            return True
        task.host = host
        if host != "loop":
            return self._system.scheduler.staffs[host].assign(task, out)
        return self._loop.assign(task, out)

    def _measured(self, *fields: Any) -> MeasuredWorker:
        worker = MeasuredWorker(*fields)
        worker.placed, worker.gauge = worker.owner.placed, LoopGauge(self._judge.clocks)
        return worker

    def _host_for(self, task: TaskActor, placed: Placed) -> Kind:
        learned = placed.learned
        host = learned.home if placed.barred and learned.place == "process" else learned.place
        if not task.pool.mixed and host != task.pool.name and not self._may_move(task, host):
            return cast("Kind", task.pool.name)
        if host == "process" and not self._pack(task, placed):
            host = learned.home
        return host

    def _may_move(self, task: TaskActor, host: Kind) -> bool:
        return not (task.options.resources or task.pool.admits or self._system.pools[host].admits)

    def _pack(self, task: TaskActor, placed: Placed) -> bool:
        """Pickle it. Answers whether that was possible."""
        began = self._judge.clocks.wall()
        try:
            task.packed = self._system.staff.pack(task)
        except NotTransferable as error:
            self._refused(placed, error)
            return False
        placed.packing = self._judge.clocks.wall() - began
        return True

    def may_go_on(self, task: TaskActor) -> bool:
        """Whoever has a worker has a host."""
        return True

    def idle(self, worker: Behaviour) -> None:
        """It has no workers."""


def _has_refs(values: Collection[Any]) -> bool:
    return any(type(value) in REFS for value in values)

"""A scheduler, resources and tasks, with a recorder for a kernel and a test for the tasks' code.

What the code of a task would do, acquire, await, end, the test says; what would follow from that in the code,
a refused wait that is given up say, follows here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched._core.lock_table import Request
from actorsched._core.policies.priority import FixedPriority
from actorsched._system.deadlines import times_of
from actorsched._system.locks import Locks, locks_of
from actorsched._system.nursery import Nursery
from actorsched._system.pools import Pool
from actorsched._system.scheduler import Scheduler
from actorsched._system.task import TaskActor
from actorsched.exceptions import DeadlockError
from actorsched.messages import (
    Acquire,
    Cancel,
    EndWait,
    Failure,
    Finished,
    Idle,
    Interrupt,
    Preempt,
    Preempted,
    Release,
    Resume,
    SetPriority,
    Submit,
    Wait,
)
from actorsched.options import task_options
from tests.recorder import Answer, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable


class Worker(Behaviour, eq=False):
    """Runs a task, whose code is the test's affair."""

    task: TaskActor
    told: BaseException | None = None
    """Why the task is to stop."""

    @handles(Interrupt)
    def _interrupt(self, message: Interrupt, out: Outbox) -> None:
        self.told = message.reason

    @handles(Preempt)
    def _preempt(self, message: Preempt, out: Outbox) -> None:
        out.send((self.task, Preempted(self.task)))

    @handles(Resume)
    def _resume(self, message: Resume, out: Outbox) -> None:
        """Its code is never stopped in fact."""


class Staff:
    """A worker for everybody."""

    def assign(self, task: TaskActor, out: Outbox) -> bool:
        task.begun_by(Worker(task), out)
        return True

    def may_go_on(self, task: TaskActor) -> bool:
        return True

    def idle(self, worker: Behaviour) -> None:
        pass


class SmallKernel(Recorder):
    """As much of a kernel as tasks look at; there is no code, so nobody knows who in it waits."""

    virtual = True

    @property
    def backend(self) -> SmallKernel:
        return self

    def current_task(self) -> object:
        return None


class System:
    """A small system with one pool."""

    def __init__(self, limit: int = 1000, policy: Any = None, resources: Iterable[str] = ()) -> None:
        self.out = SmallKernel()
        self.kernel: Any = self.out
        policy = FixedPriority[Any]() if policy is None else policy
        self.pool = Pool("loop", limit, policy)
        self.locks: Locks = locks_of(self.kernel, policy)
        self.scheduler = Scheduler(pools={"loop": self.pool}, staffs={"loop": Staff()}, locks=self.locks)
        self.nursery = Nursery(contains=True, on_failure=list)
        self.tasks: list[TaskActor] = []
        self.open: dict[Answer, Request[TaskActor]] = {}
        self.refused: dict[str, DeadlockError] = {}
        """By the name of who had to give way."""
        for name in resources:
            self.declare(name)

    def declare(self, name: str, capacity: int = 1, *, inherit: bool = True) -> None:
        self.locks.declare(name, capacity, inherit=inherit)

    def task(self, name: str, rank: int = 3, *, after: Iterable[TaskActor] = (), **options: Any) -> TaskActor:
        """Submit a task."""
        known = task_options({"name": name, "priority": rank, **options})
        task = TaskActor(
            owner=self.nursery,
            number=len(self.tasks) + 1,
            function=None,
            args=(),
            kwargs={},
            options=known,
            context=None,
            host="loop",
            pool=self.pool,
            rank=known.priority,
            upstream=list(after) or None,
            kernel=self.kernel,
            scheduler=self.scheduler,
        )
        if known.deadline is not None or known.max_latency is not None:
            times = task.specially().times = times_of(known, self.out.now)
            task.due = times.due
            times.watch(task, self.out)
        self.tasks.append(task)
        self.send(self.scheduler, Submit(task))
        return task

    # --------------------------------------------------------------------------------- what code does

    def acquire(self, task: TaskActor, *names: str, where: str | None = None) -> Answer:
        """Its code wants these, all together."""
        answer = Answer(f"{task.name} wants {names}")
        self.open[answer] = Request(task, names)
        self.send(task, Acquire(self.open[answer], answer, where))
        return answer

    def release(self, answer: Answer) -> None:
        """Its code leaves the block, or waits no longer."""
        self.send(self.locks, Release(self.open.pop(answer)))

    def give_up(self, answer: Answer) -> None:
        """Its code is cut short as it waits."""
        request = self.open[answer]
        answer.given.append(None)
        wait = self.locks.waits.get(request)
        if wait is not None:
            self.send(request.owner, EndWait(wait, answer, Answer("resumed"), at_once=True))
        self.release(answer)

    def wait(self, task: TaskActor, target: TaskActor, *, certain: bool = False) -> Answer:
        """Its code awaits another task."""
        answer = Answer(f"{task.name} awaits {target.name}")
        self.send(task, Wait(target, answer, certain))
        if self.failed(answer):
            self.end_wait(task, target, answer)
        return answer

    def end_wait(self, task: TaskActor, target: TaskActor, answer: Answer) -> None:
        self.send(task, EndWait(target, answer, Answer("resumed"), at_once=not answer.done()))

    def finish(self, task: TaskActor, error: BaseException | None = None) -> None:
        """Its code is over."""
        worker = task.worker
        assert isinstance(worker, Worker)
        for answer in [answer for answer, request in self.open.items() if request.owner is task]:
            del self.open[answer]
        stopped = worker.told is not None
        self.send(self.scheduler, Idle(worker, task, Finished(error=error or worker.told, stopped=stopped)))

    # ---------------------------------------------------------------------------------- what others do

    def cancel(self, task: TaskActor) -> None:
        """Cancel it; its code follows at once."""
        self.send(task, Cancel("for a test"))
        if task.worker is not None:
            self.finish(task)

    def set_priority(self, task: TaskActor, rank: int) -> None:
        self.send(task, SetPriority(rank))

    def send(self, to: Behaviour, *messages: object) -> None:
        """And let everything follow."""
        for message in messages:
            self.out.send((to, message))
        self.drain()

    def drain(self) -> None:
        while self.out.mail or self.out.resting:
            to, message = self.out.mail.popleft() if self.out.mail else self.out.resting.popleft()
            to.receive(message, self.out)
            to.check()
            if not (self.out.mail or self.out.resting):
                self._unwind()
        self.check_at_rest()

    def check_at_rest(self) -> None:
        """Nothing is in transit: look at everybody."""
        for actor in (self.scheduler, self.locks, self.nursery, *self.tasks):
            actor.check_at_rest()

    def _unwind(self) -> None:
        """Whoever was refused what it wanted waits for it no longer; what it holds it keeps."""
        for answer, request in list(self.open.items()):
            error = self.failed(answer)
            if error is not None:
                del self.open[answer]
                self.refused[request.owner.name] = error
                wait = self.locks.waits.get(request)
                if wait is not None:
                    self.out.send((request.owner, EndWait(wait, answer, Answer("resumed"))))
                self.out.send((self.locks, Release(request)))

    def failed(self, answer: Answer) -> DeadlockError | None:
        """The error with which a wait was refused."""
        if answer.given and isinstance(answer.given[0], Failure):
            assert isinstance(answer.given[0].error, DeadlockError)
            return answer.given[0].error
        return None

    def after(self, seconds: float) -> None:
        """Let time pass, from timer to timer."""
        until = self.out.now + seconds
        while (when := self.out.timers.next_when()) is not None and when <= until:
            self.out.advance(max(0.0, when - self.out.now))
            self.drain()
        self.out.advance(until - self.out.now)
        self.drain()

    # ------------------------------------------------------------------------------------------ looks

    def holders(self, name: str) -> str:
        """Who holds a resource."""
        return " ".join(task.name for task in self.locks.table.holders(name))

    def waiting(self, name: str) -> str:
        """Who waits for a resource, the next one first."""
        return " ".join(task.name for task in self.locks.table.waiting(name))

    def told(self, *kinds: str) -> list[tuple[str, str]]:
        """What those who listen were told: kind, and name."""
        return [(kind, name) for kind, name, _ in self.out.told if kind in kinds]

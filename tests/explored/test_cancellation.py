"""Cancellation, explored: of tasks of every kind, in every state, by everybody who can.

Each job writes down what its code does, and each deed of those who cancel is written down as well. From that
follows how a job may have ended, and it may have ended only once; nothing of it may run after that; and
everybody who waited has been told, and the same.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import (
    Actor,
    ActorRef,
    DeadlineMissed,
    DependencyFailed,
    Retry,
    Runtime,
    RuntimeClosed,
    TaskCancelled,
    TaskRef,
    checkpoint,
    current,
    sleep,
)
from actorsched.status import TaskStatus
from tests.explored.exploration import explored

if TYPE_CHECKING:
    from actorsched.events import Event
    from actorsched.scope import Scope
    from actorsched.testing import Simulation

PAUSES = (0.0, 0.0, 0.004, 0.03, 0.2)
AGES = 20.0
"""Longer than it may take to cancel anything."""


pytestmark = pytest.mark.deadline(120)


@pytest.fixture(autouse=True)
def _no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of tasks fail here on purpose; nobody wants to read of each."""
    caplog.set_level(logging.CRITICAL + 1, logger="actorsched")


class Job:
    """One task, and what is known of it from outside."""

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind
        self.name = f"{kind}-{number}"
        self.options: dict[str, Any] = {"name": self.name}
        self.bad_attempts = 0
        self.pause = 0.0
        self.ref: TaskRef[Any] | None = None
        self.upstream: list[Job] = []
        self.parent: Job | None = None
        self.begun = 0
        self.deferred = 0
        self.active = 0
        self.last: str = "never begun"
        self.cancelled_at: tuple[float, int] | None = None  # when for the first time, and in which attempt
        self.reasons: list[str] = []
        self.heard: list[object] = []

    def __repr__(self) -> str:
        return f"<{self.name}: {self.begun} attempts, the last one {self.last}, cancelled {self.reasons}>"

    @contextmanager
    def attempt(self) -> Generator[None]:
        """What its code does, from the first line to the last."""
        assert self.active == 0, f"{self} is run twice at a time"
        assert self.ref is None or not self.ref.done(), f"{self} is run after its end"
        in_vain = self.cancelled_at is None or self.options.get("host") == "thread"  # which had begun
        assert in_vain, f"{self} begins although it was cancelled"
        self.begun += 1
        self.active = 1
        current().defer(self.was_deferred)
        self.last = "under way"
        try:
            yield
        except Exception:
            self.last = "failed"
            raise
        except BaseException:
            self.last = "stopped"
            raise
        else:
            self.last = "returned"
        finally:
            self.active = 0

    def was_deferred(self) -> None:
        self.deferred += 1
        assert self.deferred == self.begun, f"{self} called what was deferred {self.deferred} times"

    def is_cancelled(self, now: float, reason: str) -> None:
        """Somebody is going to cancel it."""
        assert self.ref is not None
        if not self.ref.done():
            self.reasons.append(reason)
            if self.cancelled_at is None:
                self.cancelled_at = now, self.begun


class Bench(Actor):
    """Does what is asked of it, as long as it is asked."""

    def __init__(self, working_for: set[int]) -> None:
        self._working_for = working_for

    async def work(self, number: int, pause: float) -> None:
        assert not self._working_for
        self._working_for.add(number)
        try:
            await sleep(pause)
        finally:
            self._working_for.discard(number)


class Workshop:
    """Jobs, those who wait for them, and those who cancel them."""

    def __init__(self, simulation: Simulation, rt: Runtime) -> None:
        self.simulation = simulation
        self.random = simulation.random
        self.rt = rt
        self.numbers = count(1)
        self.jobs: list[Job] = []
        self.ends: Counter[str] = Counter()
        self.holding: Counter[str] = Counter()
        self.working_for: set[int] = set()
        self.waiting: list[TaskRef[Any]] = []
        self.bench: ActorRef[Bench] | None = None
        self.shut = False
        self.hurried = False

    def pause(self) -> float:
        return self.random.choice(PAUSES)

    def ended(self, event: Event) -> None:
        if event.details.get("final"):
            self.ends[event.name] += 1

    # ------------------------------------------------------------------------------------------- jobs

    async def spawn(self, scope: Scope, parent: Job | None = None) -> Job | None:
        """One more job, of any kind; none if the runtime takes no more."""
        kinds = ["sleeping", "shielded", "reluctant", "asking"]
        if parent is None:
            kinds = [*self.kinds, "in a thread"]
        job = Job(next(self.numbers), self.random.choice(kinds))
        job.parent = parent
        job.pause = self.random.choice((*PAUSES, AGES))
        self._choose_options(job)
        function: Callable[..., Any] = self.run
        if job.kind == "in a thread":
            function, job.options["host"] = self.in_a_thread, "thread"
        self.jobs.append(job)
        try:
            job.ref = await scope.spawn(function, job, **job.options)
        except RuntimeClosed:
            self.jobs.remove(job)
            return None
        job.ref.add_done_callback(lambda ref: ref.exception())  # so that somebody has looked at it
        for _ in range(self.random.choice((0, 0, 1, 2))):
            self.waiting.append(await self.rt.spawn(self.wait, job, tag="others"))
        return job

    def _choose_options(self, job: Job) -> None:
        random, options = self.random, job.options
        if random.random() < 0.2:
            options["timeout"] = random.choice((0.003, 0.05, 3.0))
        if random.random() < 0.1:
            options.update(deadline=random.choice((0.02, 0.5)), hard=True)
        if random.random() < 0.3:
            job.bad_attempts = random.choice((1, 2))
            delay = random.choice((0.0, 0.01, 0.3))
            options["retry"] = Retry(random.choice((1, 2, 3)), delay, on=(OSError,))
        if random.random() < 0.15:
            options["priority"] = random.randrange(7)
        waits = job.kind in ("waiting for another", "parental", "delegating")  # perhaps for who needs them
        if random.random() < 0.3 and not waits and job.parent is None:
            options["resources"] = random.choice(({"r1"}, {"r2"}, {"r1", "r2"}))
        others = [each for each in self.jobs if each.ref is not None and each.parent is None]
        if others and random.random() < 0.2 and job.parent is None:
            job.upstream = random.sample(others, random.randrange(1, min(3, len(others) + 1)))
            options["after"] = [each.ref for each in job.upstream]
            options["on_upstream_failure"] = random.choice(("fail", "fail", "run"))

    async def run(self, job: Job) -> int:
        with job.attempt(), self.held(*job.options.get("resources", ())):
            if job.begun <= job.bad_attempts:
                await sleep(self.pause())
                raise OSError(job.name)
            await self.kinds[job.kind](self, job)
        return job.number

    def in_a_thread(self, job: Job) -> int:
        with job.attempt(), self.held(*job.options.get("resources", ())):
            for _ in range(30 if job.pause == AGES else 3):
                checkpoint()
            if job.begun <= job.bad_attempts:
                raise OSError(job.name)
        return job.number

    @contextmanager
    def held(self, *names: str) -> Generator[None]:
        self.holding.update(names)
        try:
            assert self.holding["r1"] <= 1, "two hold r1"
            assert self.holding["r2"] <= 2, "three hold r2"
            yield
        finally:
            self.holding.subtract(names)

    async def sleeping(self, job: Job) -> None:
        await (sleep(job.pause) if job.number % 2 else anyio.sleep(job.pause))

    async def shielded(self, job: Job) -> None:
        with anyio.CancelScope(shield=True):
            await sleep(min(job.pause, 0.3))
        await sleep(job.pause)

    async def tidying(self, job: Job) -> None:
        """In `finally` something is waited for, which the shield lets come to its end."""
        tidy = False
        try:
            await sleep(job.pause)
        finally:
            with anyio.CancelScope(shield=True):
                await sleep(0.05)
                tidy = True
            assert tidy

    async def reluctant(self, job: Job) -> None:
        """It is cancelled, and returns all the same."""
        try:
            await sleep(job.pause)
        except self.rt._system.kernel.cancelled:
            job.last = "swallowed"

    async def bitter(self, job: Job) -> None:
        """It is cancelled, and fails because of that."""
        try:
            await sleep(job.pause)
        except self.rt._system.kernel.cancelled:
            raise LookupError(job.name) from None

    async def acquiring(self, job: Job) -> None:
        names = [{"r1"}, {"r2"}, {"r1", "r2"}][job.number % 3] - set(job.options.get("resources", ()))
        if names and not job.options.get("resources"):
            async with current().acquire(*names):
                with self.held(*names):
                    await sleep(job.pause)

    async def waiting_for_another(self, job: Job) -> None:
        others = [each for each in self.jobs if each.ref is not None and each.number < job.number]
        others = [each for each in others if each.parent is None]
        if others:
            ref = self.random.choice(others).ref
            assert ref is not None
            await ref.outcome()
            assert ref.done()

    async def asking(self, job: Job) -> None:
        assert self.bench is not None
        try:
            await self.bench.ask.work(job.number, job.pause)
        finally:
            assert job.number not in self.working_for, f"the actor goes on to work for {job}"

    async def parental(self, job: Job) -> None:
        """It has a scope of its own, with jobs in it."""
        children: list[Job | None] = []
        try:
            async with self.rt.scope() as scope:
                for _ in range(self.random.randrange(1, 4)):
                    children.append(await self.spawn(scope, job))
                await sleep(job.pause)
        except* (LookupError, OSError, TimeoutError, DeadlineMissed):
            pass
        finally:
            left = [child for child in children if child and child.active]
            assert not left, f"{left}, children of {job}, outlive its scope"

    async def delegating(self, job: Job) -> None:
        """It has another do its work, by `run`."""
        other = Job(next(self.numbers), "sleeping")
        other.parent, other.pause = job, job.pause
        try:
            await self.rt.run(self.run, other, name=other.name)
        finally:
            assert not other.active, f"what {job} has run goes on"

    kinds: dict[str, Callable[[Workshop, Job], Awaitable[None]]] = {
        "sleeping": sleeping,
        "shielded": shielded,
        "tidying": tidying,
        "reluctant": reluctant,
        "bitter": bitter,
        "acquiring": acquiring,
        "waiting for another": waiting_for_another,
        "asking": asking,
        "parental": parental,
        "delegating": delegating,
    }

    # ------------------------------------------------------------------------------- those who wait

    async def wait(self, job: Job) -> None:
        """Wait for a job in one way or another; whoever is told writes down what."""
        assert job.ref is not None
        await sleep(self.pause())
        match self.random.randrange(3):
            case 0:
                job.heard.append((await job.ref.outcome()).status)
            case 1:
                try:
                    assert await job.ref == job.number
                    job.heard.append(TaskStatus.COMPLETED)
                except self.rt._system.kernel.cancelled:
                    raise
                except Exception:
                    job.heard.append(job.ref.status)
            case _:
                with anyio.move_on_after(self.pause()):
                    await job.ref.outcome()
                    job.heard.append(job.ref.status)

    # ----------------------------------------------------------------------------- those who cancel

    async def cancel_some(self, deeds: int) -> None:
        for _ in range(deeds):
            await sleep(self.pause())
            jobs = [each for each in self.jobs if each.ref is not None]
            if jobs:
                await self.cancel(self.random.choice(jobs))

    async def cancel(self, job: Job) -> None:
        ref, random = job.ref, self.random
        assert ref is not None
        reason = f"reason {random.randrange(1000)}"
        match random.randrange(5):
            case 0:
                job.is_cancelled(self.simulation.now, reason)
                ref.cancel_nowait(reason)
            case 1:
                job.is_cancelled(self.simulation.now, reason)
                with anyio.move_on_after(self.pause()):
                    await ref.cancel(reason)
                    self.has_stopped(job)
            case 2:
                job.is_cancelled(self.simulation.now, reason)
                ref.cancel_nowait(reason)
                await ref.cancel("once more")
                self.has_stopped(job)
            case _:
                job.is_cancelled(self.simulation.now, reason)
                await ref.cancel(reason)
                self.has_stopped(job)

    def has_stopped(self, job: Job) -> None:
        """`cancel()` has returned."""
        assert job.ref is not None
        assert job.ref.done(), f"{job} was cancelled, and has not ended"
        assert not job.active, f"{job} was cancelled, and goes on"
        if job.cancelled_at is not None:
            took = self.simulation.now - job.cancelled_at[0]
            most = 5 if job.options.get("host") == "thread" else 1  # checkpoints take their time
            assert took < most, f"it took {took} s to cancel {job}"

    # ----------------------------------------------------------------------------- what has to hold

    def check_end(self, job: Job) -> None:
        assert job.ref is not None
        ref, status = job.ref, job.ref.status
        if self.hurried and job.options.get("host") == "thread" and ref.done():
            return  # it may have been left behind
        assert ref.done(), f"{job} has not ended"
        assert not job.active, f"{job} has ended, and goes on"
        assert self.ends[job.name] == 1, f"{job} has ended {self.ends[job.name]} times"
        assert job.deferred == job.begun, f"{job} called what was deferred {job.deferred} times"
        unbegun = status is not TaskStatus.COMPLETED  # the last attempt was stopped before the first line
        assert job.begun == ref.attempt or (unbegun and job.begun == ref.attempt - 1), f"{job}: {ref.attempt}"
        error = ref.exception()
        assert all(status is heard for heard in job.heard), f"of {job} was said {job.heard}"
        getattr(self, f"_check_{status.value}")(job, error)

    def _check_completed(self, job: Job, error: BaseException | None) -> None:
        assert job.last == "returned"
        assert job.ref is not None
        assert job.ref.result() == job.number

    def _check_failed(self, job: Job, error: BaseException | None) -> None:
        if isinstance(error, DependencyFailed):
            assert job.begun == 0
            assert job.options["on_upstream_failure"] == "fail"
        elif isinstance(error, TimeoutError):
            assert "timeout" in job.options
            assert job.last == "stopped"
        else:
            closed = self.shut and isinstance(error, (RuntimeClosed, TaskCancelled))
            assert closed or isinstance(error, (LookupError, OSError)), (job, error)
            assert job.last == "failed"
            retry: Retry | None = job.options.get("retry")
            done = not isinstance(error, OSError) or retry is None or job.begun >= retry.attempts
            assert done or job.cancelled_at or self.shut or job.parent, f"{job} had another attempt left"

    def _check_cancelled(self, job: Job, error: BaseException | None) -> None:
        assert isinstance(error, TaskCancelled)
        assert job.last in ("never begun", "stopped", "failed"), job
        if job.reasons:
            by_others = job.parent is not None or self.shut or job.upstream
            assert by_others or error.reason == job.reasons[0], (job, error.reason)
        else:
            upstream = any(each.ref and each.ref.status is TaskStatus.CANCELLED for each in job.upstream)
            assert upstream or job.parent or self.shut, f"nobody has cancelled {job}"

    def _check_deadline_missed(self, job: Job, error: BaseException | None) -> None:
        assert isinstance(error, DeadlineMissed)
        assert "deadline" in job.options


async def jobs_of_all_kinds(simulation: Simulation) -> None:
    random = simulation.random
    policy = random.choice(("priority", "priority", "edf", "fair"))
    async with simulation.runtime(concurrency=random.choice((None, 1, 2)), policy=policy) as rt:
        shop = Workshop(simulation, rt)
        rt.pool("others", 100)  # who wait and cancel, and need no slot for that
        rt.resource("r1")
        rt.resource("r2", 2)
        rt.subscribe(("completed", "failed", "cancelled", "deadline_missed"), shop.ended)
        shop.bench = await rt.spawn(Bench, shop.working_for)
        for _ in range(random.randrange(1, 6)):
            await shop.spawn(rt)
            await sleep(random.choice((0.0, 0.0, 0.01)))
        cancelling = [
            await rt.spawn(shop.cancel_some, random.randrange(1, 5), tag="others")
            for _ in range(random.randrange(1, 3))
        ]
        if random.random() < 0.3:
            await shop.spawn(rt)
        if random.random() < 0.3:
            await sleep(shop.pause())
            cancelling[0].cancel_nowait()
        shop.shut = random.random() < 0.3
        if shop.shut:
            await sleep(shop.pause())
            shop.hurried = random.random() < 0.5
            await rt.shutdown(drain=shop.hurried, timeout=0.1 if shop.hurried else None)
        else:
            for each in cancelling:
                await each.outcome()
            for job in shop.jobs:
                if job.ref is not None and not job.ref.done():
                    job.is_cancelled(simulation.now, "the end")
                    await job.ref.cancel("the end")
                    shop.has_stopped(job)
            for waiting in shop.waiting:
                assert (await waiting.outcome()).status is TaskStatus.COMPLETED
            free = await rt.spawn(sleep, 0, resources={"r1", "r2"}, name="free")
            before = simulation.now
            await free
            assert simulation.now == before, "somebody kept a resource"
        for job in shop.jobs:
            if job.ref is not None:
                shop.check_end(job)
        assert not shop.working_for
        assert shop.hurried or not +shop.holding


def test_whatever_is_cancelled_ends_once_and_everybody_who_waits_is_told() -> None:
    # 381: one that was preempted, and then waited for its next attempt, was resumed by the rule for stalls.
    explored(jobs_of_all_kinds, kept=["s:381:"])

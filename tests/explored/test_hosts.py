"""Host processes explored, simulated: they crash, hang, are suspended and slow, at any message.

What runs in them writes a book (`host_things`), which no crash can falsify. Each task and each ask has one
end, which agrees with the book; no work is done more often than it may be; and nothing is left.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import (
    ActorStopped,
    HostDied,
    Hosts,
    NotTransferable,
    Retry,
    Supervise,
    TaskRef,
    TaskStatus,
)
from actorsched.exceptions import AskTimeout, TaskTimeout
from actorsched.policies import Edf, FixedPriority, Realtime
from tests.explored import host_things as things
from tests.explored.exploration import explored
from tests.explored.host_things import BOOK, Planned

if TYPE_CHECKING:
    from actorsched import ActorRef
    from actorsched.testing import Simulation

pytestmark = pytest.mark.deadline(120)  # a thousand seeds take longer where others are at work, too

COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED
PAUSES = (0.0, 0.001, 0.1, 0.5, 2.0)
FRAMES = ("Define", "Run", "Cancel", "Revoke", "Hello", "Started", "Done", "Failed", "Revoked", "Request")
FRAMES_OF_ACTORS = (
    *("Define", "Open", "Call", "CancelCall", "Demand", "Close", "Hello", "Opened", "Closed"),
    *("Returned", "Raised", "Item", "Ended", "Stop", "Bye"),
)


def misfortune(simulation: Simulation, frames: tuple[str, ...]) -> None:
    """Choose what may befall the hosts of this run."""
    random = simulation.random
    for fault in ("crash", "hang", "suspend", "lag"):
        if random.random() < 0.3:
            simulation.faults(**{fault: random.choice((0.01, 0.05))})
    for _ in range(random.choice((0, 1, 1, 2))):
        fate: Any = random.choice(("crash", "crash", "hang", "suspend", "lag"))
        simulation.at_frame(random.choice((None, *frames)), fate, nth=random.choice((1, 1, 2, 3)))


# ----------------------------------------------------------------------------------------------------- tasks


class Job:
    """One task, and what may become of it."""

    def __init__(self, name: str, random: Any, counter: ActorRef[things.Counter]) -> None:
        self.name = name
        self.attempts = random.choice((1, 1, 2))
        self.crashes = random.choice((0, 0, 1, 2))
        self.failures = random.choice((0, 1, 2))
        self.doomed = False
        self.timeout = random.choice((3.0, 8.0, 30.0))
        kinds: list[tuple[Any, tuple[Any, ...]]] = [
            (things.nap, (random.choice(PAUSES),)),
            (things.nap, (random.choice(PAUSES),)),
            (things.count, (random.randrange(5),)),
            (things.fail, (self.failures,)),
            (things.stubborn, (random.choice(PAUSES),)),
            (things.secret, ()),
            (things.talk, (counter,)),
        ]
        self.function, self.args = random.choice(kinds)
        self.priority = random.choice((3, 3, 3, 1, 5))

    async def spawn(self, rt: Any) -> None:
        """Submit it."""
        retry = Retry(attempts=self.attempts, crashes=self.crashes, on=(Planned,))
        options = {"name": self.name, "retry": retry, "timeout": self.timeout, "priority": self.priority}
        self.ref: TaskRef[Any] = await rt.spawn(
            self.function, self.name, *self.args, host="process", **options
        )
        self.ref.add_done_callback(TaskRef.exception)

    def judge(self, *, closed: bool) -> None:
        """Compare how it ended with the book."""
        begun, left = len(BOOK.begun.get(self.name, ())), BOOK.left.get(self.name, 0)
        status, error = self.ref.status, self.ref.exception()
        assert begun <= self.attempts + self.crashes, "it is not done more often than it may be"
        assert not BOOK.goes_on(self.name), "when it has ended, nothing of it goes on"
        if status is COMPLETED:
            assert self.ref.result() == self.name
            assert self.function is not things.secret
            assert left >= 1, "what has completed was done"
        elif status is CANCELLED:
            assert self.doomed or closed
        else:
            assert status is FAILED
            self.judge_failure(error, begun, stopped=self.doomed or closed)

    def judge_failure(self, error: BaseException | None, begun: int, *, stopped: bool) -> None:
        """It fails with what has happened, and nothing else."""
        if isinstance(error, Planned):
            assert self.function is things.fail
            assert begun >= self.attempts or stopped
        elif isinstance(error, NotTransferable):
            assert self.function is things.secret
        else:
            assert isinstance(error, (HostDied, TaskTimeout)), repr(error)


async def tasks(simulation: Simulation) -> None:
    """Tasks of all kinds in hosts to which anything may happen."""
    BOOK.clear()
    random = simulation.random
    most = random.choice((1, 1, 2, 3))
    hosts = Hosts(
        min=random.choice((0, 0, 1)),
        max=most,
        max_tasks=random.choice((None, 1, 3)),
        idle_timeout=random.choice(("100ms", "30s")),
        start_timeout="3s",
    )
    misfortune(simulation, FRAMES)
    closed = False
    async with simulation.runtime(hosts=hosts) as rt:
        counter = await rt.spawn(things.Counter)
        jobs = [Job(f"job {number}", random, counter) for number in range(random.randrange(2, 8))]
        known = {job.name: job for job in jobs}

        def never_too_many() -> bool:
            """Who was told to stop does so beside the others, and who has waited for an answer goes on so."""
            busy = [known[name] for name in BOOK.busy() if name in known]
            return (
                sum(job.ref._task.stopping is None and job.function is not things.talk for job in busy)
                <= most
            )

        simulation.always(never_too_many)
        for job in jobs:
            await job.spawn(rt)
            if random.random() < 0.3:
                await simulation.advance(random.choice(PAUSES))
        for job in random.sample(jobs, random.choice((0, 0, 1, 2))):
            await simulation.advance(random.choice(PAUSES))
            job.doomed |= not job.ref.done()
            await job.ref.cancel("at random")
            assert not BOOK.goes_on(job.name), "cancelled means stopped"
        if random.random() < 0.25:
            closed = True
            if random.random() < 0.7:
                await rt.shutdown(drain=random.random() < 0.5, timeout=random.choice(PAUSES))
        else:
            for job in jobs:
                await job.ref.outcome()
            with anyio.fail_after(120):
                while True:  # whatever has befallen them, there are hosts for what comes next
                    with suppress(HostDied, TaskTimeout):
                        simulation.faults(crash=0, hang=0)
                        await rt.run(things.count, f"last {simulation.now}", 1, host="process", timeout="30s")
                        break
    assert not simulation.hosts
    for job in jobs:
        job.judge(closed=closed)


def test_whatever_befalls_hosts_each_task_has_one_end_and_is_done_no_more_often_than_it_may_be() -> None:
    explored(tasks)


async def ahead(simulation: Simulation) -> None:
    """A host that was quick has many tasks in advance when some turn out to be slow, or urgent ones come."""
    BOOK.clear()
    random = simulation.random
    policy: Any = random.choice((FixedPriority(), FixedPriority(aging=0.1), Edf(), Realtime()))
    for _ in range(random.choice((0, 1, 3))):  # by chance, too many messages might be too much for a host
        simulation.at_frame(None, random.choice(("suspend", "lag")), nth=random.randrange(1, 40), lasting=0.3)
    async with simulation.runtime(policy=policy, hosts=Hosts(max=random.choice((1, 2)))) as rt:
        for number in range(random.choice((0, 3, 6))):
            await rt.run(things.count, f"first {number}", 0, host="process")
        refs: dict[str, TaskRef[Any]] = {}
        for number in range(random.randrange(3, 12)):
            name = f"job {number}"
            pause, rank = random.choice((0.0, 0.0, 0.001, 0.5)), random.choice((3, 3, 3, 1, 5))
            options: dict[str, Any] = {"priority": rank, "deadline": random.choice((None, 2.0, 2.0, 5.0))}
            refs[name] = await rt.spawn(things.nap, name, pause, name=name, host="process", **options)
            if random.random() < 0.1:
                await simulation.advance(random.choice(PAUSES))
        for name in random.sample([*refs], random.choice((0, 1, 2))):
            if random.random() < 0.5:
                refs[name].set_priority_nowait(random.randrange(7))
            else:
                await refs[name].cancel()
                assert not BOOK.goes_on(name), "cancelled means stopped"
        for name, ref in refs.items():
            outcome = await ref.outcome()
            assert outcome.status is CANCELLED or outcome.value == name
            assert len(BOOK.begun.get(name, ())) <= 1, "what was taken back had not begun"
            assert ref.attempt <= 1
    assert not simulation.hosts


def test_what_a_host_has_in_advance_is_done_once_wherever_it_is_done_in_the_end() -> None:
    explored(
        ahead,
        kept=[
            55,  # two tasks took turns to displace each other before either had begun, without end
        ],
    )


# ---------------------------------------------------------------------------------------------------- actors


class Customer:
    """A task that asks and tells actors in hosts, and writes down what comes of it."""

    def __init__(self, name: str, simulation: Simulation, clerks: list[ActorRef[things.Clerk]]) -> None:
        self.name = name
        self.random = simulation.random
        self.clerks = clerks
        self.asked = 0
        self.answered = 0
        self.number = 0
        self.answers: dict[int, object] = {}

    async def run(self) -> None:
        """Ask for this and that. Whatever becomes of a host, each ask has an end, in time."""
        for _ in range(self.random.randrange(1, 6)):
            self.number += 1
            self.asked += 1
            await self.deed(self.random.choice(self.clerks), self.number)
            self.answered += 1

    async def deed(self, clerk: ActorRef[things.Clerk], number: int) -> None:
        """Ask, or tell, or read."""
        random, name = self.random, self.name
        asked: Any = clerk.asking(timeout="20s")
        try:
            match random.randrange(7):
                case 0:
                    with suppress(Planned):
                        await asked.refuse(name, number)
                        raise AssertionError("who refuses does not answer")
                case 1:
                    clerk.tell(things.Clerk.do, name, number, random.choice(PAUSES))
                case 2:
                    await self.read(asked, number)
                case 3:
                    with anyio.move_on_after(random.choice(PAUSES)):
                        self.answers[number] = await asked.do(name, number, random.choice(PAUSES))
                    if number not in self.answers:
                        assert not BOOK.goes_on(f"{number} of {name}"), "cancelled means stopped"
                case _:
                    self.answers[number] = await asked.do(name, number, random.choice(PAUSES))
        except (HostDied, ActorStopped, AskTimeout):
            pass

    async def read(self, asked: Any, number: int) -> None:
        """Read a stream, to its end or not so far."""
        items = self.random.randrange(4)
        read = 0
        async for item in asked.numbers(self.name, number, items):
            assert item == read, "each item comes once, in order"
            read += 1
            if read == 2 and self.random.random() < 0.5:
                return
        assert read == items


async def kill_those_that_hang(simulation: Simulation) -> None:
    """What somebody does who watches them: the runtime cannot tell a host that hangs from a busy one."""
    for _ in range(60):
        await anyio.sleep(5)
        for host in simulation.hosts:
            if host.state == "hung":
                host.crash()


async def actors(simulation: Simulation) -> None:
    """Actors in hosts to which anything may happen are asked, told and read by many."""
    async with anyio.create_task_group() as group:
        group.start_soon(kill_those_that_hang, simulation)
        await busy_actors(simulation)
        group.cancel_scope.cancel()


async def busy_actors(simulation: Simulation) -> None:
    """The same, while somebody watches the hosts."""
    BOOK.clear()
    random = simulation.random
    hosts = Hosts(max=random.choice((1, 2)), max_tasks=random.choice((None, None, 2, 5)), start_timeout="3s")
    misfortune(simulation, FRAMES_OF_ACTORS)
    clerks: list[ActorRef[things.Clerk]] = []
    customers = [Customer(f"customer {n}", simulation, clerks) for n in range(random.randrange(1, 4))]
    async with (
        simulation.runtime(hosts=hosts) as rt,
        rt.scope(supervise=Supervise(max_restarts=1000)) as scope,
    ):
        for number in range(random.choice((1, 1, 2))):
            restart: Any = random.choice(("permanent", "transient", "temporary"))
            with suppress(HostDied, ActorStopped):
                clerk = await scope.spawn(things.Clerk, f"clerk {number}", restart=restart)
                clerks.append(clerk)
        if clerks:
            refs = [await rt.spawn(customer.run) for customer in customers]
            if random.random() < 0.3:
                await simulation.advance(random.choice(PAUSES))
                await random.choice(refs).cancel()
            if random.random() < 0.2:
                await simulation.advance(random.choice(PAUSES))
                await random.choice(clerks).kill()
            for ref in refs:
                outcome = await ref.outcome()
                assert outcome.status is not FAILED, repr(outcome.error)
        if random.random() < 0.5:
            for clerk in clerks:
                await clerk.stop()
    assert not simulation.hosts
    judge(customers)


def judge(customers: list[Customer]) -> None:
    """Compare what the customers were told with what was done."""
    assert not BOOK.busy()
    assert all(len(hosts) == 1 for name, hosts in BOOK.begun.items() if " of customer" in name), (
        "no message is handled twice, whatever becomes of the host"
    )
    for customer in customers:
        for number, answer in customer.answers.items():
            assert isinstance(answer, int)
            assert BOOK.left[f"{number} of {customer.name}"] == 1, "what was answered was done"
        for heard in BOOK.heard.values():
            mine = [number for sender, number in heard if sender == customer.name]
            assert mine == sorted(mine), "what one sends to another is heard in that order"


def test_whatever_befalls_hosts_each_ask_has_one_end_and_is_handled_at_most_once() -> None:
    explored(
        actors,
        kept=[
            136,  # a host died as its first actor had just started, which went on without one
        ],
    )


async def last_word(simulation: Simulation) -> None:
    """The host of an actor has died when it is heard that the actor has started there."""
    BOOK.clear()
    simulation.at_frame("Hello", "lag", lasting="10s")
    async with simulation.runtime(hosts=Hosts(start_timeout="3s")) as rt:
        with suppress(HostDied):
            clerk = await rt.spawn(things.Clerk, "clerk", restart="permanent")
            assert await clerk.ask.do("customer", 1, 0.0) == 1
    assert not simulation.hosts


def test_an_actor_whose_host_has_died_when_it_is_heard_that_it_started_is_not_left_without_one() -> None:
    explored(last_word, kept=["s:1:"], seeds=50)

"""Urgency explored: who holds what others wait for is as urgent as they are, and no longer than they wait.

The book is kept by the code of the tasks themselves: who holds what, and who waits for what or whom. When
nothing is under way, each task has to be exactly as urgent as the book says.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import (
    Actor,
    AskCycle,
    DeadlockError,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)
from actorsched.policies import Edf, Fair, FixedPriority, Realtime
from actorsched.testing import compute
from tests.explored.exploration import explored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from actorsched import ActorRef
    from actorsched.testing import Simulation

pytestmark = pytest.mark.deadline(120)  # a thousand seeds take longer where others are at work, too

PAUSES = (0.0, 0.001, 0.5, 1.0, 1.0, 2.0)
NORMAL = 3


class Planned(Exception):
    """What goes wrong on purpose."""


# ----------------------------------------------------------------------------------------------------- loans


class Book:
    """Who holds what, and who waits for whom, in the words of those who do.

    Attributes:
        own: The priority that each task has by itself, by name; of actors, while they work.
        due: The deadline that each has by itself.
        holds: The resources that each holds, one entry for each unit.
        wants: The resource that each waits for, since when, and in which order they began.
        waits: The tasks and actors that each waits for.
        capacity: How many units there are of each resource.
        inherits: Whether holders of it inherit.
        refs: The tasks.
        actors: The actors.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.random = random = simulation.random
        self.own: dict[str, int] = {}
        self.due: dict[str, float] = {}
        self.holds: dict[str, list[str]] = {}
        self.wants: dict[str, list[tuple[str, float]]] = {}
        self.waits: dict[str, list[str]] = {}
        self.capacity = {name: random.choice((1, 1, 1, 2, 3)) for name in "abc"[: random.randrange(1, 4)]}
        self.policy = random.choice(("priority", "realtime", "edf", "fair"))
        self.inherits = {name: random.random() < 0.85 for name in self.capacity}
        self.refs: dict[str, TaskRef[Any]] = {}
        self.actors: dict[str, ActorRef[Any]] = {}

    # --------------------------------------------------------------------------------- what has to be

    def holders(self, resource: str) -> list[str]:
        """Who holds a unit of it."""
        return [name for name, held in self.holds.items() if resource in held]

    def lends_to(self, name: str) -> set[str]:
        """Those who inherit from somebody because of what it waits for."""
        heirs = set(self.waits.get(name, ()))
        for resource, _ in self.wants.get(name, ()):
            if self.inherits[resource]:
                heirs.update(self.holders(resource))
        return heirs - {name}

    def effective(self) -> tuple[dict[str, int], dict[str, float]]:
        """How urgent each has to be: the most urgent of itself and all who wait for it, through whomever."""
        rank, due = dict(self.own), dict(self.due)
        lends = {name: self.lends_to(name) for name in self.own}
        changed = True
        while changed:
            changed = False
            for name, heirs in lends.items():
                for heir in heirs:
                    better = max(rank[heir], rank[name]), min(due[heir], due[name])
                    if better != (rank[heir], due[heir]):
                        rank[heir], due[heir] = better
                        changed = True
        return rank, due

    def never_too_many(self) -> bool:
        """No resource has more holders than units."""
        held = [unit for units in self.holds.values() for unit in units]
        return all(held.count(name) <= capacity for name, capacity in self.capacity.items())

    def compare(self, rt: Any) -> None:
        """At rest, compare the book with what is."""
        rank, due = self.effective()
        for name, ref in self.refs.items():
            if not ref.done():
                assert ref.priority == rank[name], f"{name} is {ref.priority}, but should be {rank[name]}"
                assert ref._task.due == due[name], f"{name} is due {ref._task.due}, not {due[name]}"
        table = rt._system.locks.table
        for resource, capacity in self.capacity.items():
            holders = [one.name for one in table.holders(resource)]
            held = [name for name, units in self.holds.items() for unit in units if unit == resource]
            assert sorted(holders) == sorted(held)
            waiting = [one.name for one in table.waiting(resource)]
            assert not waiting or len(holders) == capacity, "no unit is idle while somebody waits"
            self.compare_order(resource, waiting, rank, due)

    def compare_order(
        self, resource: str, waiting: list[str], rank: dict[str, int], due: dict[str, float]
    ) -> None:
        """Who is more urgent comes first; among equals, who has waited longer."""
        since = {name: when for name, wanted in self.wants.items() for one, when in wanted if one == resource}
        assert sorted(waiting) == sorted(since)
        order = [self.key(name, rank, due) for name in waiting]
        assert order == sorted(order)
        for one, other in pairwise(waiting):
            same = self.key(one, rank, due) == self.key(other, rank, due)
            assert not same or since[one] <= since[other], f"{one} waits longer than {other}"

    def key(self, name: str, rank: dict[str, int], due: dict[str, float]) -> tuple[float, ...]:
        """By what those who wait are ordered."""
        return (due[name], -rank[name]) if self.policy == "edf" else (-rank[name],)

    # ------------------------------------------------------------------------------- what tasks do

    @asynccontextmanager
    async def holding(self, me: str, resource: str) -> AsyncIterator[None]:
        """Hold a unit of a resource."""
        want = resource, self.simulation.now
        wants, holds = self.wants.setdefault(me, []), self.holds.setdefault(me, [])
        wants.append(want)
        try:
            async with current().acquire(resource):
                wants.remove(want)
                holds.append(resource)
                try:
                    yield
                finally:
                    holds.remove(resource)
        finally:
            if want in wants:
                wants.remove(want)

    async def waiting(self, me: str, other: str) -> None:
        """Wait for another task, or ask an actor."""
        waits = self.waits.setdefault(me, [])
        waits.append(other)
        try:
            if other in self.refs:
                await self.refs[other].outcome()
            else:
                await self.actors[other].ask.help(self, me)
        finally:
            waits.remove(other)

    async def work(self, me: str, depth: int = 0) -> None:
        """The code of a task."""
        random = self.random
        for _ in range(random.choice((1, 1, 2))):
            match random.randrange(9 if depth < 3 else 4):
                case 0 | 1:
                    await anyio.sleep(random.choice(PAUSES))
                case 2:
                    with suppress(DeadlockError, AskCycle):
                        await self.waiting(me, random.choice([*self.refs, *self.actors]))
                case 3:
                    with anyio.move_on_after(random.choice(PAUSES)), suppress(DeadlockError, AskCycle):
                        await self.waiting(me, random.choice([*self.refs, *self.actors]))
                case 4 if random.random() < 0.5:
                    with anyio.move_on_after(random.choice(PAUSES)):
                        await self.hold_some(me, depth)
                case 5 if random.random() < 0.1:
                    raise Planned
                case _:
                    await self.hold_some(me, depth)

    async def hold_some(self, me: str, depth: int) -> None:
        """Hold something, and work on with it; who would have to wait for ever gives way."""
        with suppress(DeadlockError):
            async with self.holding(me, self.random.choice([*self.capacity])):
                await self.work(me, depth + 1)

    async def main(self, me: str) -> None:
        """A task, from its begin to its end."""
        try:
            await self.work(me)
        finally:
            del self.own[me], self.due[me]

    def change(self, rt: Any) -> None:
        """Somebody is told to be more, or less, urgent, or to stop."""
        alive = [name for name, ref in self.refs.items() if name in self.own and not ref.done()]
        if not alive:
            return
        name = self.random.choice(alive)
        if self.random.random() < 0.2:
            self.refs[name].cancel_nowait("at random")
        else:
            self.own[name] = self.random.randrange(7)
            self.refs[name].set_priority_nowait(self.own[name])


class Helper(Actor):
    """Helps whoever asks, with what others do."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def help(self, book: Book, asker: str) -> None:
        book.own[self.name] = NORMAL
        book.due[self.name] = inf
        if book.random.random() < 0.5:
            await anyio.sleep(book.random.choice(PAUSES))
        elif book.refs:
            with suppress(DeadlockError, AskCycle):
                await book.waiting(self.name, book.random.choice([*book.refs]))


async def loans(simulation: Simulation) -> None:
    """Tasks hold, wait, give up, fail, and change their priorities."""
    book = Book(simulation)
    random = simulation.random
    async with simulation.runtime(policy=book.policy) as rt:
        for name, capacity in book.capacity.items():
            rt.resource(name, capacity, inherit=book.inherits[name])
        simulation.always(book.never_too_many)
        for number in range(random.choice((0, 1, 1, 2))):
            name = f"actor {number}"
            book.own[name], book.due[name] = NORMAL, inf
            book.actors[name] = await rt.spawn(Helper, name, name=name)
        for number in range(random.randrange(2, 7)):
            name = f"task {number}"
            book.own[name] = random.randrange(7)
            deadline = random.choice((None, None, 1.0, 3.0, 20.0))
            book.due[name] = inf if deadline is None else rt.now + deadline
            book.refs[name] = await rt.spawn(
                book.main, name, name=name, priority=book.own[name], deadline=deadline
            )
            book.refs[name].add_done_callback(TaskRef.exception)
        while not all(ref.done() for ref in book.refs.values()):
            await simulation.run_until_idle()
            book.compare(rt)
            if random.random() < 0.4:
                book.change(rt)
                await simulation.run_until_idle()
                book.compare(rt)
            await simulation.advance(random.choice((0.001, 0.5, 1.0)))
        assert not any(book.holds.values())
        assert not any(book.wants.values())
        assert not rt._system.locks.table.busy


def test_who_holds_what_others_wait_for_is_as_urgent_as_they_are_and_no_longer() -> None:
    explored(
        loans,
        kept=[
            956,  # one that had to give way stayed with the handler of an actor that it had asked
        ],
    )


# ----------------------------------------------------------------------------------------------------- slots


POLICIES: tuple[tuple[Any, bool], ...] = (
    (FixedPriority(), False),
    (FixedPriority(aging=None), True),
    (FixedPriority(aging="1s", quantum=1.0), False),
    (Realtime(), True),
    (Edf(), True),
    (Fair(quanta=0.3), False),
    (Fair(levels=2, quanta=[0.5, 2.0], boost=None), False),
)
"""Policies, and whether they promise an order at any time, and not only in the long run."""


class Course:
    """Tasks that need processors and resources, of which there are fewer than they need.

    Attributes:
        limit: How many may run.
        ordered: Whether the policy promises an order at any time, and not only in the long run.
        threads: Those that make room at their next checkpoint only.
        fixed: Those that never do.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.random = random = simulation.random
        self.limit = random.choice((1, 1, 2, 3))
        self.policy, self.ordered = random.choice(POLICIES)
        self.refs: dict[str, TaskRef[Any]] = {}
        self.threads: set[str] = set()
        self.fixed: set[str] = set()

    async def run(self, amounts: list[float], resource: str | None) -> None:
        """Work for a while, some of it with the resource."""
        for number, amount in enumerate(amounts):
            if number == 1 and resource is not None:
                async with current().acquire(resource):
                    await compute(amount)
            else:
                await compute(amount)

    def run_in_thread(self, steps: int) -> None:
        """Work in a thread, which lets itself be preempted and cancelled now and then."""
        for _ in range(steps):
            checkpoint()

    def key(self, name: str) -> tuple[float, ...]:
        """By what the policy orders tasks."""
        task: Any = self.refs[name]._task
        if isinstance(self.policy, Edf):
            return task.due, -task.rank if task.due == inf else 0
        return (-task.rank,)

    def look(self) -> None:
        """At rest: the best run, no more than may, and no slot is idle while somebody wants one."""
        status = {name: ref.status for name, ref in self.refs.items()}
        running = [name for name, one in status.items() if one is TaskStatus.RUNNING]
        wanting = [name for name, one in status.items() if one in (TaskStatus.READY, TaskStatus.PREEMPTED)]
        assert len(running) <= self.limit, f"{running} run at once, but only {self.limit} may"
        assert not wanting or len(running) == self.limit, f"{wanting} want a slot, and there is one"
        movable = [name for name in running if name not in self.threads | self.fixed]
        if self.ordered and wanting and movable and not self.threads.intersection(running):
            worst, best = max(map(self.key, movable)), min(map(self.key, wanting))
            assert worst <= best, f"of {running}, which run, one is less urgent than one of {wanting}"

    async def submit(self, rt: Any, number: int) -> None:
        """One more."""
        random = self.random
        name = f"task {number}"
        options: dict[str, Any] = {"name": name, "priority": random.randrange(7), "tag": "course"}
        options["deadline"] = random.choice((None, None, 2.0, 9.0))
        if random.random() < 0.15:
            options["preemptible"] = False
            self.fixed.add(name)
        if random.random() < 0.15:
            self.threads.add(name)
            self.refs[name] = await rt.spawn(self.run_in_thread, random.randrange(4), **options)
            return
        amounts = [random.choice((0.25, 1.0, 1.5)) for _ in range(random.choice((1, 2, 2)))]
        if random.random() < 0.2:
            options["resources"] = {"tool"}
        within = None if "resources" in options else random.choice((None, "tool", "other"))
        self.refs[name] = await rt.spawn(self.run, amounts, within, **options)

    def disturb(self) -> None:
        """Change the priority of somebody, or cancel it."""
        name = self.random.choice([*self.refs])
        if self.random.random() < 0.2:
            self.refs[name].cancel_nowait()
        elif not self.refs[name].done():
            self.refs[name].set_priority_nowait(self.random.randrange(7))


async def slots(simulation: Simulation) -> None:
    """Tasks of all priorities share a few slots and resources under any policy, and each comes to its end."""
    course = Course(simulation)
    random = simulation.random
    async with simulation.runtime(policy=course.policy, pools={"course": course.limit}) as rt:
        rt.resource("tool", 1)
        rt.resource("other", random.choice((1, 2)))
        for number in range(random.randrange(2, 6)):
            await course.submit(rt, number)
            if random.random() < 0.4:
                await simulation.advance(random.choice((0.1, 0.6)))
                await simulation.run_until_idle()
                course.look()
        while not all(ref.done() for ref in course.refs.values()):
            if random.random() < 0.2:
                course.disturb()
            await simulation.advance(random.choice((0.3, 0.7, 2.1)))
            await simulation.run_until_idle()
            course.look()
            assert simulation.now < 60, "each comes to its end"
        assert not rt._system.locks.table.busy
        assert all(ref.status in (TaskStatus.COMPLETED, TaskStatus.CANCELLED) for ref in course.refs.values())


def test_the_most_urgent_have_the_slots_and_no_slot_is_idle_while_somebody_wants_one() -> None:
    explored(slots)

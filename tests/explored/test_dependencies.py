"""Dependencies, waiting and cancellation of tasks, explored: graphs, failures, circles, and what is let go.

Each scenario keeps a book of its own, written by the code of the tasks themselves, and compares with it.
"""

from __future__ import annotations

import weakref
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    Actor,
    ActorschedError,
    AskCycle,
    DeadlockError,
    DependencyFailed,
    Retry,
    Task,
    TaskChain,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)
from tests.explored.exploration import explored

if TYPE_CHECKING:
    from random import Random

    from actorsched import ActorRef
    from actorsched.testing import Simulation

pytestmark = pytest.mark.deadline(120)  # a thousand seeds take longer where others are at work, too

COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED
PAUSES = (0.0, 0.0, 0.001, 0.5, 1.0, 1.0, 3.0)


class Planned(Exception):
    """What goes wrong on purpose."""


# ---------------------------------------------------------------------------------------------------- graphs


class Node:
    """One task of a graph: what was planned for it, and what its code has seen.

    Attributes:
        number: Its place.
        upstream: Those it depends on.
        tolerant: Whether it runs in spite of failures of these.
        fails: How many of its attempts fail.
        attempts: How many it has.
        began: How many have begun.
        inside: Whether its code runs.
        doomed: Whether somebody has cancelled it.
        submitted: When it was submitted.
        ended: When it settled.
    """

    ref: TaskRef[Any]

    def __init__(self, number: int, upstream: list[Node], random: Random) -> None:
        self.number = number
        self.upstream = upstream
        self.by_order = {other for other in upstream if random.random() < 0.4}
        self.tolerant = random.random() < 0.35
        self.attempts = random.choice((1, 1, 1, 2, 3))
        self.fails = random.choice((0, 0, 0, 1, 3))
        self.pause = random.choice(PAUSES)
        self.threaded = random.random() < 0.12
        self.began = 0
        self.inside = False
        self.doomed = False
        self.submitted: float | None = None
        self.ended: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What it is submitted with."""
        return {
            "name": str(self.number),
            "after": [other.ref for other in self.upstream if other in self.by_order],
            "on_upstream_failure": "run" if self.tolerant else "fail",
            "retry": Retry(attempts=self.attempts, delay=self.pause, jitter=False, on=(Planned,)),
            "host": "thread" if self.threaded else "loop",
        }

    @property
    def given(self) -> list[Node]:
        """Those whose results are its arguments."""
        return [other for other in self.upstream if other not in self.by_order]

    def begin(self, values: tuple[object, ...]) -> None:
        """Its code begins."""
        assert not self.inside
        assert current().attempt == self.began + 1
        self.began += 1
        for other in self.upstream:
            assert other.ref.done(), f"{self.number} began before {other.number} had settled"
            assert self.tolerant or other.ref.status is COMPLETED
        seen = [other.ref.exception() or other.ref.result() for other in self.given]
        assert list(values) == seen, "results, or errors, stand where upstream tasks stood"

    def end(self) -> int:
        """Its code ends by itself."""
        if self.began <= self.fails:
            raise Planned(self.number)
        return self.number

    async def run(self, *values: object) -> int:
        """Its code, in the loop."""
        self.begin(values)
        self.inside = True
        try:
            await anyio.sleep(self.pause)
            return self.end()
        finally:
            self.inside = False

    def run_in_thread(self, *values: object) -> int:
        """Its code, in a thread."""
        self.begin(values)
        self.inside = True
        try:
            checkpoint()
            return self.end()
        finally:
            self.inside = False


class Graph:
    """A random graph, and what must become of it."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.random = random = simulation.random
        self.nodes: list[Node] = []
        for number in range(random.randrange(2, 9)):
            few = min(number, random.choice((0, 1, 1, 2, 2, 3)))
            self.nodes.append(Node(number, random.sample(self.nodes, few), random))

    async def submit(self, rt: Any) -> None:
        """Submit them one by one, while others run."""
        for node in self.nodes:
            function: Any = node.run_in_thread if node.threaded else node.run
            node.ref = await rt.spawn(function, *[other.ref for other in node.given], **node.options)
            node.submitted = self.simulation.now
            node.ref.add_done_callback(partial(self.note, node))
            if self.random.random() < 0.2:
                await anyio.sleep(self.random.choice(PAUSES))

    def note(self, node: Node, ref: TaskRef[Any]) -> None:
        """It has settled."""
        assert ref == node.ref
        assert node.ended is None, "it settles once"
        node.ended = self.simulation.now

    async def cancel_some(self) -> None:
        """Cancel some of them, whatever they do; when that returns, their code has stopped."""
        for _ in range(self.random.choice((0, 0, 1, 2, 3))):
            await anyio.sleep(self.random.choice(PAUSES))
            there = [node for node in self.nodes if node.submitted is not None]
            if not there:
                continue
            node = self.random.choice(there)
            node.doomed |= not node.ref.done()
            await node.ref.cancel("at random")
            assert node.ref.done()
            assert not node.inside, "cancelled means stopped"

    def judge(self, node: Node) -> None:
        """Compare what became of a task with what had to."""
        outcome, error = node.ref.status, node.ref.exception()
        bad = [other for other in node.upstream if other.ref.status is not COMPLETED]
        assert node.submitted is not None
        if bad and not node.tolerant:
            assert node.began == 0
            assert outcome is not COMPLETED
            first = min(other.ended for other in bad if other.ended is not None)
            known = max(first, node.submitted)
            assert node.ended == known or node.doomed, "a failure is passed on at once"
            if not node.doomed:
                self.judge_victim(node, [other for other in bad if (other.ended or 0.0) <= known])
        elif node.doomed and outcome is not COMPLETED:
            assert outcome is CANCELLED or node.began <= node.fails, "it had failed when it was cancelled"
        elif node.fails >= node.attempts:
            assert outcome is FAILED
            assert isinstance(error, Planned)
            assert node.began == node.attempts
        else:
            assert outcome is COMPLETED
            assert node.began == node.fails + 1

    def judge_victim(self, node: Node, causes: list[Node]) -> None:
        """The failure of one that could not begin comes from one of those that failed first."""
        error = node.ref.exception()
        if node.ref.status is CANCELLED:
            assert any(other.ref.status is CANCELLED for other in causes)
        else:
            assert isinstance(error, DependencyFailed)
            failed = [other.ref.exception() for other in causes if other.ref.status is not CANCELLED]
            assert any(error.__cause__ is one for one in failed)


async def graph(simulation: Simulation) -> None:
    """Tasks that depend on each other by arguments and by order, some of which fail or are cancelled."""
    graph = Graph(simulation)
    random = simulation.random
    async with simulation.runtime(concurrency=random.choice((None, 1, 2))) as rt:
        async with anyio.create_task_group() as group:
            group.start_soon(graph.submit, rt)
            await graph.cancel_some()
        for node in graph.nodes:
            await node.ref.outcome()
        await simulation.run_until_idle()
        for node in graph.nodes:
            graph.judge(node)
        counted = Counter(node.ref.status for node in graph.nodes)
        assert {status: number for status, number in rt.stats().tasks.items() if number} == counted


def test_a_task_begins_after_all_that_it_depends_on_and_ends_as_they_have_it_end() -> None:
    explored(graph)


# --------------------------------------------------------------------------------------- circles of waiting


class Ring:
    """Tasks and actors that wait for each other as they please.

    Attributes:
        waits: Who waits for whom, as their own code says.
        held: How many tasks have their slot, as their own code says.
        refs: The tasks.
        actors: The actors.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.random = simulation.random
        self.waits: dict[str, dict[str, int]] = {}
        self.held = 0
        self.refs: dict[str, TaskRef[Any]] = {}
        self.actors: dict[str, ActorRef[Any]] = {}

    def path(self, origin: str, home: str) -> bool:
        """Whether somebody waits for somebody, directly or not."""
        ahead, seen = [origin], {origin}
        while ahead:
            for other in self.waits.get(ahead.pop(), {}):
                if other == home:
                    return True
                if other not in seen:
                    seen.add(other)
                    ahead.append(other)
        return False

    async def wait(self, me: str) -> object:
        """Wait for somebody. Who is refused would have waited for ever; who is not, has not."""
        name = self.random.choice([*self.refs, *self.actors])
        mine = self.waits.setdefault(me, {})
        mine[name] = mine.get(name, 0) + 1
        try:
            if name in self.refs:
                return await self.refs[name]
            return await self.actors[name].ask.help(self)
        except (DeadlockError, AskCycle) as error:
            circle = list(getattr(error, "circle", None) or getattr(error, "path", ()))
            assert circle, "an error about a circle names it"
            for one, other in zip(circle, [*circle[1:], circle[0]], strict=True):
                assert one == other or other in self.waits.get(one, {}), f"{one} does not wait for {other}"
            assert me in circle
            return None
        finally:
            mine[name] -= 1
            if not mine[name]:
                del mine[name]

    async def work(self, me: str) -> str:
        """The code of a task."""
        self.held += 1
        for _ in range(self.random.choice((1, 1, 2, 3))):
            self.held -= 1
            await anyio.sleep(0)
            if self.random.random() < 0.3:
                await self.waits_together(me)
            else:
                await self.wait(me)
            self.held += 1
        self.held -= 1
        return me

    async def waits_together(self, me: str) -> None:
        """Wait for two at once."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.wait, me)
            group.start_soon(self.wait, me)


class Helper(Actor):
    """Helps whoever asks by waiting for somebody else."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.left = 3

    async def help(self, ring: Ring) -> str:
        self.left -= 1
        if self.left > 0 and ring.random.random() < 0.7:
            await ring.wait(self.name)
        return self.name


async def circles(simulation: Simulation) -> None:
    """Tasks and actors begin to wait for each other, in circles too; each of them comes to its end."""
    ring = Ring(simulation)
    random = simulation.random
    async with simulation.runtime(concurrency=random.choice((None, 1, 2))) as rt:
        for number in range(random.randrange(0, 4)):
            name = f"actor {number}"
            ring.actors[name] = await rt.spawn(Helper, name, name=name)
        for number in range(random.randrange(1, 6)):
            name = f"task {number}"
            ring.refs[name] = await rt.spawn(ring.work, name, name=name)
        for name, ref in ring.refs.items():
            assert await ref == name
        assert not any(ring.waits.values())
        assert all(not pool.running for pool in rt._system.pools.values()), "every slot was given back"


def test_no_circle_of_waiting_is_for_ever_and_who_is_refused_was_in_one() -> None:
    explored(circles)


# ------------------------------------------------------------------------- prepared tasks, and what is let go


class Result:
    """What a task returns: those that are alive are known."""

    alive: weakref.WeakSet[Result] = weakref.WeakSet()

    def __init__(self, made_of: tuple[str, ...]) -> None:
        self.made_of = made_of
        self.alive.add(self)


async def join(name: str, pause: float, *parts: Result) -> Result:
    """Take some time, and say what the result was made of."""
    await anyio.sleep(pause)
    return Result((*[each for part in parts for each in part.made_of], name))


def join_in_thread(name: str, pause: float, *parts: Result) -> Result:
    """The same, in a thread."""
    checkpoint()
    return Result((*[each for part in parts for each in part.made_of], name))


class Plan:
    """Prepared tasks, and what each of them has to return."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.tasks: list[Task[Any]] = []
        self.returns: dict[str, tuple[str, ...]] = {}

    def task(self, *parts: Task[Any], name: str | None = None) -> Task[Any]:
        """One more, made of others."""
        random = self.random
        name = name or str(len(self.tasks))
        function: Any = join_in_thread if random.random() < 0.1 else join
        after = random.sample(self.tasks, min(len(self.tasks), random.choice((0, 0, 1))))
        task: Task[Any] = Task(name, function, (name, random.choice(PAUSES), *parts), after=after)
        self.returns[name] = (*[each for part in parts for each in self.returns[part.name]], name)
        self.tasks.append(task)
        return task

    def tree(self) -> Task[Any]:
        """Tasks that are made of each other in some way; the last of them."""
        for _ in range(self.random.randrange(1, 6)):
            few = min(len(self.tasks), self.random.choice((0, 1, 2, 2)))
            self.task(*self.random.sample(self.tasks, few))
        return self.tasks[-1]


async def concat(before: Result, name: str) -> Result:
    """A link of a chain."""
    await anyio.sleep(0)
    return Result((*before.made_of, name))


async def prepared(simulation: Simulation) -> None:
    """Prepared tasks and chains are submitted in some order; nothing of them is left when nobody holds it."""
    random = simulation.random
    Result.alive.clear()
    plan = Plan(random)
    async with simulation.runtime(concurrency=random.choice((None, 1, 2))) as rt:
        plan.tree()
        order = random.sample(plan.tasks, len(plan.tasks))
        for task in order[: random.randrange(1, len(order) + 1)]:
            if task.ref is None:  # nobody has needed it before
                await rt.submit(task)
                await anyio.sleep(random.choice(PAUSES))
        links: list[Task[Any]] = [Task(f"link {n}", concat, kwargs={"name": f"link {n}"}) for n in range(3)]
        head = plan.task(*[task for task in plan.tasks if task.ref is not None][:2], name="head")
        end = await rt.submit(TaskChain(head, *links[: random.randrange(1, 4)]))
        made = (await end).made_of
        assert made[: len(plan.returns["head"])] == plan.returns["head"]
        assert list(made[len(plan.returns["head"]) :]) == [
            link.name for link in links if link.ref is not None
        ]
        for task in plan.tasks:
            if task.ref is not None:
                assert (await task.ref).made_of == plan.returns[task.name]
        del task, head, end, order, links
        plan.tasks.clear()
        await simulation.run_until_idle()
        assert not Result.alive, "a settled task that nobody holds is gone, and what it returned with it"


def test_prepared_tasks_are_submitted_with_all_they_need_and_leave_nothing() -> None:
    explored(prepared)


class Works:
    """Calls of a function of which only so many may be in flight."""

    def __init__(self, simulation: Simulation, limit: int) -> None:
        self.random = simulation.random
        self.limit = limit
        self.inside = 0
        self.taken = 0
        self.seen: list[int] = []
        self.fatal: int | None = None

    async def items(self, number: int) -> Any:
        """Some numbers, sooner or later."""
        try:
            for item in range(number):
                self.taken += 1
                await anyio.sleep(self.random.choice(PAUSES))
                yield item
        finally:
            self.taken = -1

    async def call(self, item: int) -> int:
        """What is mapped."""
        self.inside += 1
        assert self.inside <= self.limit, "never more in flight than allowed"
        try:
            await anyio.sleep(self.random.choice(PAUSES))
            if item == self.fatal:
                raise Planned(item)
            return 2 * item
        finally:
            self.inside -= 1


async def flows(simulation: Simulation) -> None:
    """Results of a function for each item, and refs as they settle: all, or until the reader leaves."""
    random = simulation.random
    works = Works(simulation, random.randrange(1, 5))
    number, ordered, leaves = random.randrange(7), random.random() < 0.5, random.random() < 0.3
    works.fatal = None if leaves else random.choice((None, 0, 3))  # who has left hears of no failure
    async with simulation.runtime(concurrency=random.choice((None, 1, 2))) as rt:
        endless = random.random() < 0.5
        source: Any = works.items(number) if endless else range(number)
        results: list[int] = []
        try:
            async with rt.map(works.call, source, limit=works.limit, ordered=ordered) as mapped:
                async for result in mapped:
                    results.append(result)
                    await anyio.sleep(random.choice(PAUSES))
                    if leaves and len(results) == 2:
                        break
            failed = False
        except Planned:
            failed = True
        assert not works.inside, "when the block is left, nothing is in flight"
        assert not endless or works.taken in (-1, 0), "the source is closed"
        wanted = [2 * item for item in range(number)]
        assert failed == (works.fatal is not None and works.fatal < number) or leaves
        assert set(results) <= set(wanted)
        assert len(set(results)) == len(results)
        assert not ordered or results == wanted[: len(results)]
        assert failed or leaves or len(results) == number
        await settle_in_order(simulation, rt)


async def settle_in_order(simulation: Simulation, rt: Any) -> None:
    """Refs come in the order in which their tasks settle, whatever becomes of these."""
    ends: list[TaskRef[Any]] = []
    refs = [await rt.spawn(anyio.sleep, simulation.random.choice(PAUSES)) for _ in range(4)]
    for ref in refs:
        ref.add_done_callback(ends.append)
    if simulation.random.random() < 0.5:
        await simulation.random.choice(refs).cancel()
    told = [ref async for ref in rt.as_completed([*refs, refs[0]])]
    await simulation.run_until_idle()
    assert told == ends


def test_never_more_is_in_flight_than_allowed_and_each_result_comes_once() -> None:
    explored(flows)


# ----------------------------------------------------------------------------------------- cancelled families


class Family:
    """Tasks that have children and wait for them, in many ways, and are cancelled at any time.

    Attributes:
        running: The code that runs now, by the name of its task.
        parents: Who has spawned whom in a scope.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.random = simulation.random
        self.running: dict[str, None] = {}
        self.refs: list[TaskRef[Any]] = []
        self.left = self.random.randrange(2, 9)
        self.answers = 0

    def know(self, ref: TaskRef[Any]) -> None:
        """One more that others may wait for; it may fail."""
        self.refs.append(ref)
        ref.add_done_callback(TaskRef.exception)

    async def member(self, rt: Any) -> int:
        """One of them: it has children, waits, fails."""
        name = current().id
        assert name is not None
        assert name not in self.running
        self.running[name] = None
        try:
            total = 1
            for _ in range(self.random.randrange(3)):
                total += await self.deed(rt)
            return total
        finally:
            if self.random.random() < 0.3:  # it takes its time to stop
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(self.random.choice(PAUSES))
            del self.running[name]

    async def child(self, rt: Any) -> int:
        """One that is run, and does not fail: where who runs it is stopped, nobody hears how it ends."""
        try:
            return await self.member(rt)
        except (Planned, ActorschedError, ExceptionGroup):
            return 0

    async def deed(self, rt: Any) -> int:
        """Do one thing or another."""
        random = self.random
        self.left -= 1
        match random.randrange(8) if self.left > 0 else 7:
            case 0 | 1:
                return int(await rt.run(self.child, rt))
            case 2:
                self.know(await rt.spawn(self.member, rt))
            case 3:
                await self.scope(rt)
            case 4 if self.refs:
                with suppress(Planned, ActorschedError):
                    with anyio.move_on_after(random.choice(PAUSES)):
                        await random.choice(self.refs)
            case 5 if self.refs:
                with suppress(DeadlockError):
                    await random.choice(self.refs).cancel()
            case 6 if random.random() < 0.4:
                raise Planned
            case _:
                await anyio.sleep(random.choice(PAUSES))
        return 0

    async def scope(self, rt: Any) -> None:
        """Children that are over when the block is."""
        children: list[TaskRef[Any]] = []
        try:
            async with rt.scope() as scope:
                for _ in range(2):
                    children.append(await scope.spawn(self.member, rt))
                await anyio.sleep(self.random.choice(PAUSES))
        except* (Planned, ActorschedError):
            pass
        finally:
            assert all(child.done() for child in children), "nothing outlives its scope"
            assert not any(child.id in self.running for child in children)

    async def answer(self, ref: TaskRef[Any]) -> None:
        """Whoever waits gets an answer, and no code runs any more then."""
        await ref.outcome()
        assert ref.id not in self.running
        self.answers += 1


async def families(simulation: Simulation) -> None:
    """Trees of tasks, children in scopes and in none, limits, failures, and cancellation from outside."""
    family = Family(simulation)
    random = simulation.random
    concurrency = random.choice((None, 1, 2))
    async with simulation.runtime(concurrency=concurrency) as rt:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                ref = await rt.spawn(family.member, rt, timeout=random.choice((None, None, 1.0)))
                family.know(ref)
                group.start_soon(family.answer, ref)
            await anyio.sleep(random.choice(PAUSES))
            with anyio.move_on_after(random.choice(PAUSES)):
                with suppress(Planned, ActorschedError):
                    await rt.run(family.child, rt)
            if random.random() < 0.6:
                victim = random.choice(family.refs)
                await victim.cancel("from outside")
                assert victim.id not in family.running
        assert family.answers == 2
        if random.random() < 0.3:
            await rt.shutdown(drain=random.random() < 0.5, timeout=random.choice(PAUSES))
    assert not family.running, "nothing outlives its runtime"
    assert all(ref.done() for ref in family.refs)


def test_whatever_is_cancelled_has_stopped_and_every_waiter_is_told() -> None:
    explored(families)

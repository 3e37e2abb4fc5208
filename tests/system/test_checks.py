"""What always holds of the system's actors: each says it, each may fail, and in a storm none does."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections import deque
from math import inf
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from actorsched import Actor, ActorRef, Mailbox, Retry, Runtime, Supervise, TaskRef, TaskStatus, current
from actorsched import _system as system_package
from actorsched._core.behaviour import Behaviour
from actorsched._core.invariants import InvariantBroken, require
from actorsched._core.lenders import Lenders
from actorsched._core.mailbox import UserLane
from actorsched._core.post_office import PostOffice
from actorsched._core.run_queue import RunQueue
from actorsched._core.supervision import Supervision
from actorsched._core.timers import Timers
from actorsched._core.window import OrderedWindow, UnorderedWindow
from actorsched._system import audit
from actorsched._system.cell_state import Extras, Life
from actorsched._system.nursery import Nursery
from actorsched._system.pools import Place
from actorsched._system.supervisor import Plan, Supervisor
from actorsched._system.waiting import Waits
from actorsched.messages import Outcome, SetLimit
from actorsched.testing import VirtualClock
from tests import checked
from tests.manual_clock import settle
from tests.system.small_system import System

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.collector import Queue
    from actorsched._system.task import TaskActor


def kinds() -> list[type[Behaviour]]:
    """Every kind of actor of the system."""
    for module in pkgutil.iter_modules(system_package.__path__, "actorsched._system."):
        importlib.import_module(module.name)
    found, heads = dict[type[Behaviour], None](), [Behaviour]
    for kind in heads:  # grows meanwhile
        heads += [other for other in kind.__subclasses__() if other.__module__.startswith("actorsched.")]
        found |= dict.fromkeys(heads)
    del found[Behaviour]
    return list(found)


def named(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize("kind", kinds(), ids=named)
def test_every_actor_of_the_system_says_what_always_holds_of_it(kind: type[Behaviour]) -> None:
    assert kind.check is not Behaviour.check
    assert (kind.check.__doc__ or "").strip()


@pytest.mark.parametrize("kind", kinds(), ids=named)
def test_whoever_has_state_of_its_own_says_what_holds_of_that(kind: type[Behaviour]) -> None:
    base = kind.__mro__[1]
    own = set(getattr(kind, "__struct_fields__", ())) - set(getattr(base, "__struct_fields__", ()))
    assert not own or {"check", "check_at_rest"} & vars(kind).keys()


def test_what_does_not_hold_is_told_with_the_actor_and_the_sentence() -> None:
    require(True, "somebody", "what holds is never told")
    with pytest.raises(InvariantBroken, match=r"^'somebody': it is true$"):
        require(0, "somebody", "it is true")


def test_an_ordinary_actor_holds_at_rest_what_it_always_holds() -> None:
    class One(Behaviour):
        def check(self) -> None:
            require(False, "one", "called")

    with pytest.raises(InvariantBroken, match="called"):
        One().check_at_rest()
    Behaviour().check()


# ---------------------------------------------------------------------------------- each sentence may fail


def assert_broken(check: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InvariantBroken) as caught:
        check()
    assert sentence in str(caught.value)


def a_running_task() -> tuple[System, TaskActor]:
    system = System(limit=1)
    return system, system.task("t")


def outcome() -> Outcome[Any]:
    return Outcome(TaskStatus.COMPLETED)


def set_fields(**values: Any) -> Callable[[Any], None]:
    def act(target: Any) -> None:
        for name, value in values.items():
            setattr(target, name, value)

    return act


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (set_fields(outcome=outcome()), "it has an outcome when its status is final"),
        (set_fields(status=TaskStatus.COMPLETED), "it has an outcome when its status is final"),
        (
            set_fields(outcome=outcome(), status=TaskStatus.FAILED),
            "its outcome says what its status says",
        ),
        (set_fields(outcome=outcome(), status=TaskStatus.COMPLETED), "nobody runs what has ended"),
        (set_fields(worker=None), "somebody runs it while it is running"),
        (set_fields(status=TaskStatus.PENDING), "nobody runs it while it is pending"),
        (set_fields(status=TaskStatus.RETRYING), "nobody runs it while it is retrying"),
        (set_fields(status=TaskStatus.PREEMPTED), "whoever is preempted was stopped"),
        (set_fields(holders=-1), "nobody who held it was counted out twice"),
        (set_fields(place=Place.LEAVING), "its pool knows that it is to leave"),
        (set_fields(attempt=0), "whoever runs is in an attempt"),
        (set_fields(attempt=2), "it had no more attempts than it may"),
        (set_fields(crashes=2), "no more attempts have crashed than there were"),
        (set_fields(crashes=1, attempt=1, status=TaskStatus.RUNNING, rank=9), "its priority is its own"),
        (set_fields(rank=5), "its priority is its own, or the highest that it inherits"),
        (set_fields(due=3.0), "its deadline is its own, or the earliest that it inherits"),
        (set_fields(missing=1), "whoever has to hear of others knows them"),
        (set_fields(missing=-1), "it has heard of no more upstream tasks than there are"),
        (set_fields(upstream=[]), "it does not begin before those that it depends on have settled"),
    ],
)
def test_of_a_task_that_runs(act: Callable[[Any], None], sentence: str) -> None:
    _, task = a_running_task()
    task.check_at_rest()
    act(task)
    assert_broken(task.check, sentence)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (set_fields(waiters={}), "when it has ended, everybody who waited was told"),
        (set_fields(answers={}), "when it has ended, everybody who waited was told"),
        (set_fields(timer=SimpleNamespace()), "what has ended has no timer"),
        (set_fields(upstream=[]), "what has ended waits for no other task"),
        (set_fields(function=len), "what has ended keeps no function and no arguments"),
        (set_fields(args=(1,)), "what has ended keeps no function and no arguments"),
        (set_fields(lenders=Lenders()), "what has ended inherits from nobody"),
        (lambda task: setattr(task.specially(), "locking", True), "what has ended asks for no resource"),
        (set_fields(waits=Waits()), "nothing waits when nobody runs it"),
        (set_fields(paused=True), "only what runs was stopped in favour of another"),
    ],
)
def test_of_a_task_that_has_ended(act: Callable[[Any], None], sentence: str) -> None:
    system, task = a_running_task()
    system.finish(task)
    task.check_at_rest()
    act(task)
    assert_broken(task.check, sentence)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (set_fields(place=Place.ON), "what has ended has no place"),
        (set_fields(waiters=None), "everybody"),
    ],
)
def test_of_a_task_that_has_ended_at_rest(act: Callable[[Any], None], sentence: str) -> None:
    system, task = a_running_task()
    system.finish(task)
    act(task)
    if sentence == "everybody":
        return task.check_at_rest()
    system.pool.on[task] = None
    assert_broken(task.check_at_rest, sentence)
    return None


def test_of_a_task_that_waits_for_another_attempt() -> None:
    system = System()
    task = system.task("t", retry=Retry(attempts=2, delay=5))
    system.finish(task, OSError())
    assert task.status is TaskStatus.RETRYING
    task.check_at_rest()
    timer, task.timer = task.timer, None
    assert_broken(task.check, "there is a timer for its next attempt")
    task.timer, task.status = timer, TaskStatus.READY
    assert_broken(task.check, "its timer is for the attempt that is under way, or for the next one")


def test_of_a_task_that_depends_on_others() -> None:
    system = System()
    first, second = system.task("first"), system.task("second")
    task = system.task("t", after=[first, second])
    system.finish(first)
    task.check_at_rest()
    task.missing = 2
    assert_broken(task.check_at_rest, "1 of those that it depends on have not settled")
    task.missing = 3
    assert_broken(task.check, "it has to hear of no more than it depends on")
    task.missing = 1
    waiters, second.waiters = second.waiters, None
    assert_broken(task.check_at_rest, "those that it depends on know that it waits")
    second.waiters = waiters
    first.waiters = {task: None}
    assert_broken(first.check, "everybody who waited was told")


def test_of_a_task_that_is_ready() -> None:
    system = System(limit=1)
    system.task("running")
    task = system.task("t")
    task.check_at_rest()
    task.stopping = SimpleNamespace()  # type: ignore[assignment]
    assert_broken(task.check_at_rest, "no cancellation is lost, also before the start")
    task.stopping = None
    task.place = None
    assert_broken(task.check_at_rest, "whoever is ready waits for a slot, or is next")
    task.place = Place.QUEUED
    system.pool.policy.remove(task)
    assert_broken(task.check_at_rest, "whoever waits for a slot is in the queue")


def test_of_loans_between_tasks() -> None:
    system = System()
    low, high = system.task("low", 1), system.task("high", 5)
    system.wait(high, low)
    assert low.rank == 5
    low.check_at_rest()
    low.rank = 1
    assert_broken(low.check, "its priority is 5, the highest of its own and those lent")
    assert low.lenders is not None
    low.lenders.withdraw(high)
    low.check()
    assert_broken(low.check_at_rest, "it inherits the priority of <task 'high' waiting>, who waits")
    low.rank = 5
    low.lenders.lend(high, 5, inf)
    assert high.waits is not None
    high.waits._open.clear()
    assert_broken(low.check_at_rest, "<task 'high' waiting>, who lends, waits for it")
    low.lenders.lend(low, 5, inf)
    assert_broken(low.check, "nobody lends to itself")


def test_of_waits() -> None:
    system = System()
    target, task = system.task("target"), system.task("t")
    answer = system.wait(task, target)
    waits = task.waits
    assert waits is not None
    task.check_at_rest()
    waiters, target.waiters = target.waiters, None
    assert_broken(task.check_at_rest, "<task 'target' running> knows that it waits")
    target.waiters = waiters
    waits._lent = False
    assert_broken(task.check_at_rest, "its slot is lent while it waits")
    waits._reclaimed = True
    assert_broken(task.check, "nobody asks for a slot that was not lent")
    waits._lent, waits._reclaimed = True, False
    waits._resuming[answer] = None
    assert_broken(task.check, "whoever waits for nothing but its slot asks for it")
    waits._resuming.clear()
    waits._strands[system.out] = None  # type: ignore[index]
    assert_broken(task.check, "only who waits is known by the strand that does")
    waits._strands.clear()
    waits._open[target] = {}
    assert_broken(task.check, "whatever it waits for is waited for by somebody")
    waits._open[task] = {answer: False}
    assert_broken(task.check, "nobody waits for itself")


# ----------------------------------------------------------------------------------- slots, and resources


def test_of_slots() -> None:
    system = System(limit=1)
    pool, scheduler = system.pool, system.scheduler
    one, other = system.task("one"), system.task("other")
    scheduler.check_at_rest()
    pool.limit = 0
    assert_broken(scheduler.check, "no more run than may, which is 0")
    pool.limit = 2
    scheduler.check()
    assert_broken(scheduler.check_at_rest, "nobody waits while a slot is free")
    pool.full = True
    assert_broken(scheduler.check, "a pool that found no worker is looked at when there is one")
    pool.limit, pool.full = 1, False
    pool.choosing = True
    assert_broken(scheduler.check_at_rest, "who gets the slots is decided at the end of an instant")
    pool.choosing = False
    one.place = Place.LENT
    assert_broken(scheduler.check, "those that it knows to be Place.ON know it too")
    one.place = Place.ON
    pool.policy.stopped(one, 0.0)
    pool.policy.push(one, 0.0)
    assert_broken(scheduler.check, "nobody has a slot, or is next, and is in the queue")
    pool.policy.remove(one)
    pool.policy.started(one, 0.0)
    worker, one.worker = one.worker, None
    assert_broken(scheduler.check_at_rest, "whoever has a slot has a worker")
    one.worker = worker
    pool.next += [other, other]
    other.place = Place.NEXT
    assert_broken(scheduler.check, "nobody is next twice")
    pool.next.clear()
    other.place = Place.QUEUED
    pool.alarm_when = 3.0
    assert_broken(scheduler.check, "an alarm is set when it is known for when")
    pool.alarm_when = None
    del pool.on[one]
    pool.leaving[one] = False
    assert_broken(scheduler.check, "those that it knows to be Place.LEAVING know it too")
    one.place = Place.LEAVING
    assert_broken(scheduler.check, "who is to leave is in the queue again")
    del pool.leaving[one]
    pool.on[one] = None
    one.place = Place.ON
    ended = system.task("ended")
    ended.place = None
    pool.policy.remove(ended)
    pool.wishing[ended] = None
    assert_broken(scheduler.check, "whoever wants to hear that it was chosen has begun")


def test_where_there_is_room_for_all_nobody_has_a_slot() -> None:
    system = System()
    system.pool.boundless = True
    task = system.task("t")
    system.scheduler.check_at_rest()
    system.pool.on[task] = None
    assert_broken(system.scheduler.check, "where there is room for every task, none has a slot")


def test_who_runs_beyond_a_limit_that_was_lowered_goes_on() -> None:
    system = System(limit=3)
    tasks = [system.task(str(number)) for number in range(4)]
    system.send(system.scheduler, SetLimit(system.pool, 1))
    assert system.pool.running == 3
    system.finish(tasks[0])
    assert system.pool.running == 2
    system.finish(tasks[1])
    system.finish(tasks[2])
    assert (system.pool.running, tasks[3].place) == (1, Place.ON)


def test_of_resources() -> None:
    system = System(resources=["db"])
    low, high = system.task("low", 1), system.task("high", 5)
    system.acquire(low, "db")
    system.acquire(high, "db")
    locks, table, resource = system.locks, system.locks.table, system.locks.resources["db"]
    (held,), (waiting,) = table.requests_of(low), table.requests_of(high)
    locks.check_at_rest()
    resource.lenders.withdraw(waiting)
    assert_broken(locks.check, "whoever waits lends to what it wants")
    resource.lenders.lend(waiting, 5, inf)
    low.rank, lenders = 1, low.lenders
    low.lenders = None
    assert_broken(locks.check_at_rest, "<task 'low' running> inherits from it")
    low.rank, low.lenders = 5, lenders
    wait = locks.waits.pop(waiting)
    assert_broken(locks.check, "everybody who waits is in the wait-for graph, and nobody else is")
    locks.waits[waiting] = wait
    locks.keepers.append(waiting)
    assert_broken(locks.check_at_rest, "those for whom something is kept free were probed")
    locks.keepers.clear()
    resource.lenders.lend(held, 3, inf)
    assert_broken(locks.check, "which lends, waits")
    resource.lenders.withdraw(held)
    resource.capacity = 2
    assert_broken(locks.check, "it has as many units as in the book")
    resource.capacity = 1
    table._resources["db"].free = 1
    assert_broken(locks.check, "0 units of 'db' are free, as was counted")
    table._resources["db"].free = 0
    low.specially().locking = False
    assert_broken(low.check_at_rest, "whoever holds resources, or waits for some, gives them back")
    low.specially().locking = True
    table._resources["db"].capacity = table._resources["db"].free = resource.capacity = 2
    table._resources["db"].free = 1
    assert_broken(locks.check, "nobody waits for what could be had")


def test_of_a_scope() -> None:
    nursery = Nursery(contains=False, on_failure=list)
    nursery.check_at_rest()
    nursery.errors.append(OSError())
    assert_broken(nursery.check, "a scope with an error cancels all its tasks")
    nursery.errors.clear()
    nursery.gone = nursery
    nursery.waiting.append(SimpleNamespace())  # type: ignore[arg-type]
    assert_broken(nursery.check, "nobody waits for what has come about")
    nursery.waiting.clear()
    system, task = a_running_task()
    system.finish(task)
    nursery.live[task] = None
    assert_broken(nursery.check_at_rest, "it knows that <task 't' completed> has settled")
    nursery.live.clear()
    nursery.unseen.add(task)
    assert_broken(nursery.check, "no failure stays unseen that ends the scope")
    nursery.contains = True
    assert_broken(nursery.check_at_rest, "what nobody has seen are failures")


# ---------------------------------------------------------------------------------------- the pure parts


def test_of_timers() -> None:
    timers = Timers()
    _, second = timers.add(1.0, print), timers.add(2.0, print)
    timers.check()
    timers._entries.reverse()
    assert_broken(timers.check, "no timer comes before the one above it in the heap")
    timers._entries.reverse()
    timers._cancelled = 1
    assert_broken(timers.check, "0 of its timers are cancelled, as it has counted")
    timers._cancelled = 0
    second._heap = Timers()
    assert_broken(timers.check, "its timers are its own")
    second._heap = timers
    timers._entries.append((second.when, second.phase, second.sequence, second))
    assert_broken(timers.check, "no timer is in the heap twice")
    timers._entries.pop()
    timers._sequence = 1
    assert_broken(timers.check, "it has numbered all of them")


def test_of_the_run_queue() -> None:
    queue = RunQueue[str]()
    for item, rank in (("a", 3), ("b", 3), ("c", 1)):
        queue.push(item, rank)
    queue.move("b", 3, 1)
    queue.check()
    queue.ranks.reverse()
    assert_broken(queue.check, "its ranks ascend, each of them once")
    queue.ranks.reverse()
    queue._levels[1].append("a")
    assert_broken(queue.check, "nobody stands in two ranks")
    queue._levels[1].append("a")
    assert_broken(queue.check, "nobody stands twice in a rank")
    queue._levels[1].clear()
    assert_broken(queue.check, "there are items of exactly the ranks that it names")
    queue._left.add((7, "z"))
    queue._levels[1].append("c")
    assert_broken(queue.check, "an entry that was left behind is still there")
    queue._left = {(3, "a"), (3, "b")}
    assert_broken(queue.check, "the next entry has a meaning")


class Note:
    """A message."""

    def __init__(self, priority: int = 3) -> None:
        self.priority = priority
        self.dead = False


def test_of_a_mailbox() -> None:
    lane = UserLane[Any](2, "wait", 3)
    lane.offer(Note())
    lane.offer(Note(5))
    lane.check()
    lane.dead = 1
    assert_broken(lane.check, "0 of its messages are dead, as it has counted")
    lane.dead = 3
    assert_broken(lane.check, "no more messages are dead than are queued")
    lane.dead, lane.limit = 0, 2
    assert_broken(lane.check, "no more room is taken for sure than there is")
    lane.limit = 0
    lane.put(Note())
    assert_broken(lane.check, "no more are queued than its capacity")
    lane.take()
    lane.check()
    assert lane.queue is not None
    lane.queue[0] = (1,)
    lane.head = None
    assert_broken(lane.check, "it is known what the arguments in front are of")
    lane.queue = None
    lane.ranked = {4: deque([Note(5)])}
    assert_broken(lane.check, "each message stands among those of its priority")
    lane.ranked = {4: deque()}
    assert_broken(lane.check, "no priority is kept of which there is nothing")
    lane.ranked = {3: deque([Note()])}
    assert_broken(lane.check, "normal messages stand in the queue of their own")


def test_of_the_post_office() -> None:
    office = PostOffice()
    office.sent, office.handled, office.rejected, office.dead_lettered = 10, 4, 3, 2
    office.check(under_way=1)
    assert_broken(lambda: office.check(under_way=0), "sent = handled + rejected + dead-lettered")
    office.handled = 6
    assert_broken(office.check, "no more messages have ended, 11, than were sent")
    office.rejected = -3
    assert_broken(office.check, "nothing was counted back")


def test_of_lenders() -> None:
    lenders = Lenders[str]()
    lenders.lend("a", 3, 5.0)
    lenders._rank = 4
    assert_broken(lenders.check, "the highest priority that anyone lends is 3")
    lenders._rank, lenders._due = 3, 4.0
    assert_broken(lenders.check, "the earliest deadline that anyone lends is 5.0")
    lenders._due = 5.0
    for number in range(20):
        lenders.lend(str(number), number, inf)
    lenders.check()
    assert lenders._ranks is not None
    lenders._ranks.add(-50)
    assert_broken(lenders.check, "these are the numbers that are lent")


@pytest.mark.parametrize("kind", [OrderedWindow, UnorderedWindow])
def test_of_a_window(kind: type[OrderedWindow | UnorderedWindow]) -> None:
    window = kind(3, 6)
    first, second = window.begin("a"), window.begin("b")
    window.add(second, 1)
    window.check()
    window.running = 1
    assert_broken(window.check, "2 entries are unfinished, as it has counted")
    window.running, window.buffered = 2, 0
    assert_broken(window.check, "as many results are buffered as it has counted")
    window.buffered, window.workers = 1, 1
    assert_broken(window.check, "no more entries are unfinished than there are workers")
    window.workers = 3
    second.doomed = True
    assert_broken(window.check, "nobody who is doomed is in the window")
    second.doomed, second.index = False, 0
    assert_broken(window.check, "the entries stand in the order of their items")
    second.index = 7
    assert_broken(window.check, "all of them were begun")
    second.index = 1
    first.over, window.running = True, 1
    assert_broken(window.check, "what is over keeps no item")


class Child(Behaviour):
    """Somebody to supervise."""

    title: str

    def __repr__(self) -> str:
        return self.title


def a_supervisor(**spec: Any) -> tuple[Supervisor, list[Child]]:
    children = [Child(name) for name in "abc"]
    supervision = Supervision[Behaviour](Supervise(**spec))
    for child in children:
        supervision.add(child, "transient")
    return Supervisor(owner=Child("owner"), children=supervision), children


def test_of_a_supervisor() -> None:
    supervisor, (a, b, c) = a_supervisor(strategy="one_for_all")
    supervision = supervisor.children
    supervisor.check()
    decision: Any = supervision.decide(b, "failed", 0.0)
    assert_broken(supervisor.check, "whoever stops for a restart is waited for, and nobody else")
    plan = Plan(decision)
    supervisor.plans.append(plan)
    assert_broken(supervisor.check, "whoever is being stopped has so long, and no longer")
    plan.deadline = SimpleNamespace()  # type: ignore[assignment]
    supervisor.check()
    plan.start.reverse()
    assert_broken(supervisor.check, "children start in the order in which they were first started")
    plan.start.remove(b)
    assert_broken(supervisor.check, "somebody is going to start whoever is down; nobody does [b]")
    plan.start[:] = [a, b, c]
    plan.stopping.append(a)
    assert_broken(supervisor.check, "whoever stops is waited for once")
    plan.stopping.pop()
    plan.starting = b
    assert_broken(supervisor.check, "a child that is starting counts as running")
    plan.starting = None
    supervisor.kill = True
    assert_broken(supervisor.check, "it is over when all have ended")
    supervisor.kill = False
    supervision._stopping.add(b)
    assert_broken(supervisor.check, "nobody is both stopping and down")
    supervision._stopping = {Child("z")}
    assert_broken(supervisor.check, "whoever stops, or is down, is a child")


def test_of_a_supervisor_that_closes() -> None:
    supervisor, (a, b, c) = a_supervisor()
    supervisor.closing = list(supervisor.children.close())
    supervisor.check()
    supervisor.over = True
    assert_broken(supervisor.check, "the owner is told when no child is left, and not before")
    supervisor.over = False
    supervisor.closing = [a, b]
    assert_broken(supervisor.check, "every child that is left is going to be stopped")
    supervisor.closing = [a, b, c, c]
    assert_broken(supervisor.check, "each child is stopped once")


def test_of_restarts_within_the_period() -> None:
    supervision = Supervision[str](Supervise(max_restarts=1, period=5))
    supervision.add("a", "permanent")
    supervision.decide("a", "failed", 0.0, event="the end of a host")
    supervision.check()
    window = supervision._window
    window._free = -1
    assert_broken(window.check, "no more restarts are free than there are")
    window._free = 1
    assert_broken(supervision.check, "the free restarts were counted")
    window._free = 0
    window._ended_by.clear()
    assert_broken(supervision.check, "each event is known for the restarts that it has caused")
    supervision._window.add("a", 0.0, 0.0)
    assert_broken(supervision.check, "no more than 1 restarts count within the period")


# ------------------------------------------------------------------------------------------------ actors


class Plain(Actor):
    """Does what it is told."""

    async def work(self) -> None: ...


def cell_of(ref: ActorRef[Any]) -> Any:
    return ref._cell


NOBODY: Any = SimpleNamespace(owner=None, ended=None, deferred=None, done=lambda: False)


def extras(**values: Any) -> Callable[[ActorCell], None]:
    def act(cell: ActorCell) -> None:
        cell.extras = Extras(**values)

    return act


@pytest.mark.parametrize("backend", ["asyncio"])
@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (set_fields(life=Life.ENDING), "it is known why a life ends that does"),
        (set_fields(life=Life.DRAINING), "it is known why it drains its mailbox"),
        (set_fields(leaving=SimpleNamespace()), "whoever is to leave takes no more messages"),
        (set_fields(instance=None), "whoever lives has an instance"),
        (set_fields(recalled=True), "its supervisor knows that it is up"),
        (set_fields(killed=True), "whoever was killed ends"),
        (set_fields(returns=True), "who is to come back has to end first"),
        (set_fields(turn=NOBODY), "whoever has the turn is of its own code"),
        (set_fields(hook=NOBODY), "a hook is due as it changes"),
        (set_fields(life=Life.DOWN, ending=NOBODY, instance=None), "who is down is to come back"),
        (set_fields(life=Life.STOPPED, ending=NOBODY), "what has ended has no instance"),
        (
            set_fields(life=Life.STOPPED, ending=NOBODY, instance=None, turn=NOBODY),
            "in what has ended no code runs",
        ),
        (extras(room={NOBODY.done: None}), "nobody waits for room while there is some"),
        (lambda cell: setattr(cell.lane, "dead", 1), "no more messages are dead than are queued"),
        (extras(supervisor=NOBODY), "its children are its own"),
        (lambda cell: cell.lane.put(Note()), "whoever has something to run is in the run queue"),
        (extras(links={NOBODY.done: None}), "is linked to it as well"),
        (lambda cell: setattr(cell, "lenders", Lenders()), "who is lent nothing has no lenders"),
    ],
)
async def test_of_an_actor(act: Callable[[Any], None], sentence: str) -> None:
    async with Runtime() as rt:
        cell = cell_of(await rt.spawn(Plain))
        names = ("life", "ending", "leaving", "instance", "recalled", "killed", "returns", "turn", "hook")
        before = {name: getattr(cell, name) for name in (*names, "extras", "lenders")}
        cell.check_at_rest()
        if "linked" in sentence:
            other = cell_of(await rt.spawn(Plain))
            cell.more().links[other] = None
        else:
            act(cell)
        assert_broken(cell.check_at_rest, sentence)
        set_fields(**before)(cell)
        cell.lane.dead = 0
        cell.lane.drain()
        cell.check_at_rest()


@pytest.mark.parametrize("backend", ["asyncio"])
async def test_of_an_actor_and_its_supervisor() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(Plain)
        cell = cell_of(ref)
        supervisor = cell.supervisor
        supervisor.children.remove(cell)
        assert_broken(cell.check_at_rest, "its supervisor has it for a child until its end")
        supervisor.children.add(cell, "transient")
        cell.check_at_rest()
        await ref.stop()
        cell.check_at_rest()
        cell.lane.put(Note())
        assert_broken(cell.check, "when it has ended, no message is left in its mailbox")
        cell.lane.queue.clear()
        cell.extras = Extras(watchers=[NOBODY])
        assert_broken(cell.check, "when it has ended, all who wanted to know were told")


@pytest.mark.parametrize("backend", ["asyncio"])
async def test_of_what_is_read() -> None:
    async with Runtime() as rt:
        letters: Any = rt.dead_letters()
        feed: Queue = letters._feed
        feed.check_at_rest()
        feed.reader = NOBODY
        feed.check_at_rest()
        feed.items.append(NOBODY)
        assert_broken(feed.check_at_rest, "nobody waits for an item that is there")
        feed.items.clear()
        feed.over = True
        assert_broken(feed.check_at_rest, "what is over is not in the books of its scope any more")
        feed.over, feed.failure = False, OSError()
        assert_broken(feed.check, "what has not ended has not failed")
        feed.failure, feed.reader = None, None
        feed.enders.append(NOBODY)
        feed.over = True
        assert_broken(feed.check, "when it is over, all who waited for that were told")
        feed.over = False
        feed.enders.clear()


@pytest.mark.parametrize("backend", ["asyncio"])
async def test_of_who_listens() -> None:
    async with Runtime() as rt:
        bus = rt._system.bus
        bus.check_at_rest()
        bus.kernel.watched = True
        assert_broken(bus.check, "the runtime is watched when something is wanted")
        bus.kernel.watched = False
        bus.fresh.append((("ready", 0.0, "t", 1, {}), ()))
        assert_broken(bus.check, "whoever is to be told of something is going to be")
        bus.telling = True
        assert_broken(bus.check_at_rest, "whoever listens has been told")
        bus.fresh.clear()
        bus.telling = False
        bus.kernel.journal.append(("ready", 0.0, "t", 1, {}))
        assert_broken(bus.check, "nothing is written down that nobody reads")
        bus.kernel.journal.clear()


@pytest.mark.parametrize("backend", ["asyncio"])
async def test_of_a_runtime_as_a_whole() -> None:
    async with Runtime(concurrency=1) as rt:
        system = rt._system
        running, waiting = [await rt.spawn(settle, 30) for _ in range(2)]
        ref = await rt.spawn(Plain, name="clerk")
        await settle(1)
        audit.check_at_rest(system)
        system.kernel.office.sent += 1
        assert_broken(lambda: audit.check_at_rest(system), "of which there are 0")
        system.kernel.office.sent -= 1
        pool = running._task.pool
        del pool.on[running._task]
        assert_broken(lambda: audit.check_slots(system), "1 tasks have a slot, as it has counted")
        pool.on[running._task] = None
        pool.policy.remove(waiting._task)
        assert_broken(lambda: audit.check_slots(system), "1 tasks are in the queue, and nobody else is")
        pool.policy.push(waiting._task, 0.0)
        await ref.stop()
        system.names["clerk"] = cell_of(ref)
        assert_broken(lambda: audit.check_mail(system), "whoever is known as 'clerk' has not ended")
        del system.names["clerk"]
        assert {type(actor).__name__ for actor in audit.actors_of(system)} >= {"Scheduler", "Nursery"}


# ------------------------------------------------------------------------------------------- a broad run


class Struck(Exception):
    """What goes wrong, on purpose."""


class Clerk(Actor):
    """Handles messages; some make it fail, some make it wait."""

    fatal: ClassVar[tuple[type[BaseException], ...]] = (ZeroDivisionError,)

    async def handle(self, turns: int) -> int:
        await settle(turns)
        return turns

    async def fail(self, error: BaseException) -> None:
        raise error

    async def delegate(self, chance: Random) -> None:
        ref: Any = await current().spawn(work, chance, 1)
        await ref


async def work(chance: Random, turns: int, fails: float = 0.0) -> None:
    await settle(turns)
    if chance.random() < fails:
        raise Struck


async def holding(chance: Random, names: tuple[str, ...]) -> None:
    async with current().acquire(*names):
        await settle(chance.randrange(4))


class Weather:
    """Spawns hundreds of tasks and messages of every kind, and changes what can be changed meanwhile."""

    def __init__(self, rt: Runtime, seed: int) -> None:
        self.rt: Any = rt
        self.chance = Random(seed)
        self.tasks: list[TaskRef[Any]] = []
        self.clerks: list[ActorRef[Clerk]] = []

    async def begin(self, scope: Any) -> None:
        self.rt.resource("db", 2)
        self.rt.resource("log")
        self.rt.pool("narrow", workers=1)
        for restart, mailbox in (
            ("permanent", Mailbox(3)),
            ("transient", Mailbox(2, "drop_oldest")),
            ("temporary", Mailbox(2, "raise")),
        ):
            self.clerks.append(await scope.spawn(Clerk, restart=restart, mailbox=mailbox))

    async def act(self) -> None:
        verbs = [self.task] * 6 + [self.acquirer] * 3 + [self.requirer, self.cancel, self.message, self.ask]
        await self.chance.choice([*verbs, self.change])()

    def options(self) -> dict[str, Any]:
        chance = self.chance
        options: dict[str, Any] = {"priority": chance.randrange(7)}
        if chance.random() < 0.3 and self.tasks:
            options["after"] = chance.sample(self.tasks, min(len(self.tasks), chance.randrange(1, 3)))
            options["on_upstream_failure"] = chance.choice(["fail", "run"])
        if chance.random() < 0.2:
            options["tag"] = "narrow"
        if chance.random() < 0.2:
            options["retry"] = Retry(attempts=2, delay=chance.choice([0, 0.001]), on=Struck)
        if chance.random() < 0.2:
            options["deadline"], options["hard"] = chance.choice([0.002, 60]), chance.random() < 0.5
        if chance.random() < 0.1:
            options["timeout"] = chance.choice([0.001, 60])
        return options

    async def spawn(self, function: Any, *args: Any, **more: Any) -> None:
        try:
            self.tasks.append(await self.rt.spawn(function, *args, **(self.options() | more)))
        except ValueError as error:  # a deadline that is past when it is understood
            assert "deadline" in str(error)

    async def task(self) -> None:
        await self.spawn(work, self.chance, self.chance.randrange(4), 0.1)

    async def acquirer(self) -> None:
        names = self.chance.sample(["db", "log"], self.chance.randrange(1, 3))
        await self.spawn(holding, self.chance, tuple(names))

    async def requirer(self) -> None:
        await self.spawn(work, self.chance, 2, resources=["db"])

    async def cancel(self) -> None:
        if self.tasks:
            await self.chance.choice(self.tasks[-8:]).cancel()

    async def message(self) -> None:
        clerk, chance = self.chance.choice(self.clerks), self.chance
        try:
            if chance.random() < 0.2:
                clerk.tell(Clerk.fail, chance.choice([Struck(), ZeroDivisionError()]))
            else:
                clerk.tell(Clerk.handle, chance.randrange(3))
        except Exception:  # no room, or it has ended
            pass

    async def ask(self) -> None:
        clerk = self.chance.choice(self.clerks)

        async def asker() -> None:
            if self.chance.random() < 0.3:
                await clerk.ask.delegate(self.chance)
            else:
                await clerk.ask.handle(self.chance.randrange(3))

        await self.spawn(asker)

    async def change(self) -> None:
        chance = self.chance
        match chance.randrange(3):
            case 0:
                await self.rt.set_policy(chance.choice(["priority", "edf", "fair", "realtime"]))
            case 1:
                self.rt.pool("narrow", workers=chance.randrange(1, 4))
            case _ if self.tasks:
                await chance.choice(self.tasks).set_priority(chance.randrange(7))


async def in_a_storm(rt: Runtime, seed: int, length: int) -> Weather:
    """Act, wait for whatever follows, and leave."""
    async with rt.scope(supervise=Supervise(max_restarts=10_000)) as scope:
        weather = Weather(rt, seed)
        await weather.begin(scope)
        for _ in range(length):
            await weather.act()
            if not rt._system.kernel.virtual and weather.chance.random() < 0.4:
                await settle(weather.chance.randrange(3))
        for ref in weather.tasks:
            with contextlib.suppress(Exception):
                await ref
    return weather


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("concurrency", [1, 3, None])
async def test_all_that_always_holds_does_so_in_a_storm_of_tasks(
    seed: int, concurrency: int | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checked.check_everything(monkeypatch)
    caplog.set_level("CRITICAL")  # failures are logged, and are meant
    async with Runtime(concurrency=concurrency) as rt:
        weather = await in_a_storm(rt, seed, 250)
    assert not checked.BROKEN
    assert len(weather.tasks) > 100
    assert not caplog.records


async def test_all_that_always_holds_does_so_in_virtual_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checked.check_everything(monkeypatch)
    caplog.set_level("CRITICAL")
    async with Runtime(clock=VirtualClock(), concurrency=2) as rt:
        await in_a_storm(rt, 7, 100)
    assert not checked.BROKEN


async def test_what_does_not_hold_ends_a_runtime_that_is_checked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checked.check_everything(monkeypatch)

    async def wrong() -> None:
        task = current()._run.owner  # type: ignore[attr-defined]
        task.holders = -7
        await settle(1)

    with pytest.raises(InvariantBroken, match="counted out twice"):
        async with Runtime() as rt:
            await rt.spawn(wrong)
            await settle(3)
    assert "nobody who held it was counted out twice" in str(checked.BROKEN[0])
    assert "counted out twice" in caplog.text

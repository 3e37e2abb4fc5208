"""What the guarantees say about scheduling, from the outside: with what any user of a runtime has."""

from __future__ import annotations

import json
import random
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import (
    DeadlineMissed,
    DeadlockError,
    Event,
    Hosts,
    NotAdmitted,
    Outcome,
    Runtime,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
    sleep,
)
from actorsched.policies import Edf, Fair, FixedPriority, Realtime
from actorsched.simulate.play import played
from actorsched.simulate.reading import read
from actorsched.testing import VirtualClock, compute

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.policies import SchedulingPolicy
    from actorsched.simulate.taskset import TaskSet

POLICIES: dict[str, Callable[[], SchedulingPolicy[Any]]] = {
    "priority": FixedPriority,
    "aging and quanta": lambda: FixedPriority(aging=3, quantum=2),
    "edf": Edf,
    "fair": lambda: Fair(levels=3, quanta=[1, 2, 4], boost=20),
    "realtime": Realtime,
}


# -------------------------------------------------------------------------------------------- who has a place


def some_tasks(seed: int, processors: int) -> TaskSet:
    draw = random.Random(seed)
    tasks = [
        {
            "name": f"t{number}",
            "arrival": draw.randrange(20),
            "exec": draw.randrange(1, 6),
            "priority": draw.randrange(7),
            **({"deadline": 100 + draw.randrange(50)} if draw.random() < 0.7 else {}),
        }
        for number in range(12)
    ]
    file = {"policy": "priority", "processors": processors, "tasks": tasks}
    return read(json.dumps(file).encode()).schedules[0]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("processors", [1, 3])
async def test_no_place_stays_empty_while_somebody_is_ready(policy: str, processors: int) -> None:
    for seed in range(4):
        taskset = some_tasks(seed, processors)
        result = await played(taskset, POLICIES[policy]())
        times = {piece.start for piece in result.slices} | {piece.end for piece in result.slices}
        times |= {task.arrival for task in taskset.tasks}
        for now, after in pairwise(sorted(times)):
            running = sum(piece.start <= now and after <= piece.end for piece in result.slices)
            there = sum(task.arrival <= now < result.finish[task.name] for task in taskset.tasks)
            assert running == min(processors, there), (seed, now)


@pytest.mark.parametrize("policy", POLICIES)
async def test_preempted_tasks_have_all_the_time_that_they_need_and_no_more(policy: str) -> None:
    taskset = some_tasks(7, 2)
    result = await played(taskset, POLICIES[policy]())
    for task in taskset.tasks:
        ran = sum(piece.end - piece.start for piece in result.slices if piece.task == task.name)
        assert ran == task.exec


async def test_changing_the_policy_again_and_again_loses_no_task() -> None:
    async with Runtime(concurrency=2, clock=VirtualClock()) as rt:
        refs = [await rt.spawn(compute, 3, priority=number % 5, deadline=500) for number in range(30)]
        for _ in range(4):
            for policy in ("edf", "fair", "realtime", "priority"):
                await rt.set_policy(policy)
                await rt.sleep(1)
        outcomes = [await ref.outcome() for ref in refs]
        assert {outcome.status for outcome in outcomes} == {TaskStatus.COMPLETED}
        assert rt.now == 30 * 3 / 2


# ------------------------------------------------------------------------------------- where they make room


def told(rt: Runtime) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    rt.subscribe(
        ["started", "preempted", "resumed", "completed"],
        lambda event: seen.append((event.name, event.kind)),
    )
    return seen


IN_TURN = [
    ("low", "started"),
    ("low", "preempted"),
    ("high", "started"),
    ("high", "completed"),
    ("low", "resumed"),
    ("low", "completed"),
]


async def test_an_async_task_makes_room_at_its_next_await() -> None:
    begun, steps = threading.Event(), 0

    async def low() -> None:
        nonlocal steps
        begun.set()
        while ("high", "completed") not in seen:
            await sleep(0)
            steps += 1

    async with Runtime(concurrency=1) as rt:
        seen = told(rt)
        await rt.spawn(low, name="low", priority=1)
        while not begun.is_set():
            await rt.sleep(0)
        await rt.spawn(sleep, 0, name="high", priority=5)
    assert seen == IN_TURN


async def test_a_thread_makes_room_at_its_next_checkpoint() -> None:
    begun, asked = threading.Event(), threading.Event()

    def low() -> None:
        begun.set()
        while not current().preempt_requested:
            time.sleep(0)
        asked.set()
        checkpoint()

    async with Runtime() as rt:
        rt.pool("cpu", workers=1)
        seen = told(rt)
        await rt.spawn(low, name="low", priority=1, tag="cpu")
        while not begun.is_set():
            await rt.sleep("1ms")
        await rt.run(asked.is_set, name="high", priority=5, tag="cpu")
    assert seen == IN_TURN


@pytest.mark.process
async def test_a_host_process_makes_room_wherever_its_code_is() -> None:
    def low() -> None:
        current().report(0.5)
        end = time.process_time() + 0.1  # while it is suspended, its clock stands still
        while time.process_time() < end:
            pass

    async with Runtime(hosts=Hosts(max=1)) as rt:
        seen = told(rt)
        ref = await rt.spawn(low, name="low", priority=1, host="process")
        while not ref.progress[0]:
            await rt.sleep("1ms")
        await rt.run(sum, [1], name="high", priority=5, host="process")
    assert seen == IN_TURN


# ------------------------------------------------------------------------------------------------- deadlines


async def test_a_soft_deadline_changes_nothing_and_its_tardiness_is_known() -> None:
    async with Runtime(concurrency=1, clock=VirtualClock()) as rt:
        early, late = [await rt.spawn(compute, 3, deadline=4) for _ in range(2)]
        assert [(await ref.outcome()).tardiness for ref in (early, late)] == [0, 2]
        assert late.status is TaskStatus.COMPLETED


async def test_a_hard_deadline_stops_what_runs_and_takes_what_waits_out_of_the_queue() -> None:
    async with Runtime(concurrency=1, clock=VirtualClock()) as rt:
        runs, waits, after = [
            await rt.spawn(compute, 9, name=name, deadline=4, hard=hard)
            for name, hard in [("runs", True), ("waits", True), ("after", False)]
        ]
        for ref in (runs, waits):
            with pytest.raises(DeadlineMissed) as caught:
                await ref
            assert (caught.value.task, caught.value.tardiness) == (ref.name, 0)
            assert (ref.status, rt.now) == (TaskStatus.DEADLINE_MISSED, 4)
        await after
        assert rt.now == 4 + 9


async def test_what_is_done_exactly_at_its_deadline_is_in_time() -> None:
    async with Runtime(concurrency=1, clock=VirtualClock()) as rt:
        await rt.run(compute, 4, deadline=4, hard=True)
        assert rt.now == 4


async def test_a_thread_past_its_deadline_is_waited_for_and_all_of_that_is_tardiness() -> None:
    go_on = threading.Event()
    outcome: Outcome[bool]

    async with Runtime() as rt:
        ref = await rt.spawn(go_on.wait, deadline="20ms", hard=True)
        await rt.sleep("60ms")
        assert not ref.done()
        go_on.set()
        outcome = await ref.outcome()
    assert isinstance(outcome.error, DeadlineMissed)
    assert outcome.error.tardiness == outcome.tardiness
    assert outcome.tardiness is not None
    assert outcome.tardiness >= 0.035


@pytest.mark.parametrize("policy", [Edf[Any]("reject"), Realtime[Any]("reject")], ids=repr)
async def test_what_is_refused_was_never_there(policy: SchedulingPolicy[Any]) -> None:
    async with Runtime(policy=policy, concurrency=1, clock=VirtualClock()) as rt:
        seen: list[Event] = []
        await rt.spawn(compute, 6, deadline=10, cost=6)
        rt.subscribe(["ready", "started"], seen.append)
        with pytest.raises(NotAdmitted, match=r"second.* 12 "):
            await rt.spawn(compute, 6, name="second", deadline=10, cost=6)
        await rt.sleep(6)
        assert [event for event in seen if event.name == "second"] == []
        await rt.run(compute, 6, deadline=10, cost=6)  # what has ended makes room


# ------------------------------------------------------------------------------------------------- resources


async def hold(name: str, units: float) -> None:
    async with current().acquire(name):
        await compute(units)


async def test_a_holder_is_as_urgent_as_the_first_of_a_chain_that_waits_for_it() -> None:
    async with Runtime(concurrency=1, clock=VirtualClock()) as rt:
        for name in ("a", "b"):
            rt.resource(name)

        async def middle() -> None:
            async with current().acquire("b"):
                await compute(1)
                await hold("a", 1)

        low = await rt.spawn(hold, "a", 3, name="low", priority=1)
        await rt.sleep(1)
        await rt.spawn(middle, name="middle", priority=2)
        await rt.sleep(2)
        high = await rt.spawn(hold, "b", 1, name="high", priority=5, deadline=50)
        await rt.sleep(0)
        other = await rt.spawn(compute, 20, name="other", priority=4)
        assert (await high.outcome()).tardiness == 0
        assert rt.now == 3 + 1 + 1 + 1
        assert low.done()
        assert not other.done()


async def test_what_was_inherited_is_gone_when_whoever_waited_has_given_up() -> None:
    async with Runtime(concurrency=1, clock=VirtualClock()) as rt:
        rt.resource("a")
        low = await rt.spawn(hold, "a", 5, priority=1)
        await rt.sleep(1)
        high = await rt.spawn(hold, "a", 1, priority=5, timeout=2)
        middle = await rt.spawn(compute, 2, priority=3)
        assert isinstance((await high.outcome()).error, TimeoutError)
        assert (rt.now, low.done()) == (3, False)
        await middle
        assert (rt.now, low.done()) == (5, False)


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "deadline_missed"])
async def test_what_a_task_holds_is_given_back_however_it_ends(end: str) -> None:
    async def use() -> None:
        async with current().acquire("b"):
            await compute(2)
            if end == "failed":
                raise ConnectionError("the end")
            if end != "completed":
                await compute(100)

    async with Runtime(concurrency=1, clock=VirtualClock()) as rt:
        for name in ("a", "b"):
            rt.resource(name)
        ref = await rt.spawn(use, resources={"a"}, deadline=3, hard=True)
        await rt.sleep(1)
        if end == "cancelled":
            await ref.cancel()
        assert (await ref.outcome()).status.value == end
        await rt.run(compute, 1, resources={"a", "b"})


async def test_a_circle_of_resources_is_broken_at_once_at_its_least_important_task() -> None:
    async def both(first: str, second: str) -> float:
        async with current().acquire(first):
            await compute(1)
            await hold(second, 1)
            return current().runtime.now

    async with Runtime(concurrency=3, clock=VirtualClock()) as rt:
        names = ["a", "b", "c"]
        for name in names:
            rt.resource(name)
        refs: list[TaskRef[float]] = [
            await rt.spawn(both, one, after, name=one, priority=priority)
            for one, after, priority in zip(names, [*names[1:], "a"], [5, 3, 4], strict=True)
        ]
        with pytest.raises(DeadlockError) as caught:
            await refs[1]
        assert rt.now == 1
        assert sorted(caught.value.circle) == names
        assert [await refs[0], await refs[2]] == [2, 3]


async def test_whoever_acquires_what_it_holds_itself_is_told_so() -> None:
    async def twice() -> None:
        async with current().acquire("a"):
            await hold("a", 1)

    async with Runtime() as rt:
        rt.resource("a")
        with pytest.raises(DeadlockError) as caught:
            await rt.run(twice, name="it")
        assert caught.value.circle == ("it",)
        rt.resource("two", capacity=2)

        async def both() -> None:
            async with current().acquire("two"), current().acquire("two"):
                """There are two."""

        await rt.run(both)


# ---------------------------------------------------------------------------------------------- virtual time


async def test_virtual_time_stands_still_while_a_thread_works() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        go_on = threading.Event()
        ref = await rt.spawn(go_on.wait)
        nap = await rt.spawn(sleep, 60)
        for _ in range(5):
            await anyio.sleep(0.002)
            assert rt.now == 0
        go_on.set()
        await ref
        await nap
        assert rt.now == 60

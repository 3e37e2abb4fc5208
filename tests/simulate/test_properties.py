"""What has to hold of every play, whatever the task set: played by the real scheduler in virtual time."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actorsched.running import run
from actorsched.simulate.play import play, played
from actorsched.simulate.reading import read_schedule
from tests.simulate.unit_tick import FeedbackQueue, Machine, slices_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorsched.simulate.played import Played
    from actorsched.simulate.taskset import TaskSet

pytestmark = pytest.mark.usefixtures("warm_backends")

small = st.integers(1, 5)


def several(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None)


def named(tasks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"t{place}", **task} for place, task in enumerate(tasks)]


def jobs(most: int = 7, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Tasks that come once."""
    task = st.fixed_dictionaries({"arrival": st.integers(0, 10), "exec": small, **more})
    return st.lists(task, min_size=1, max_size=most).map(named)


def periodic(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    task = st.fixed_dictionaries(
        {"arrival": st.integers(0, 6), "exec": st.integers(1, 4), "period": st.integers(2, 14), **more}
    )
    return st.lists(task, min_size=1, max_size=4).map(named)


def taskset_of(policy: str, tasks: list[dict[str, Any]], **more: Any) -> TaskSet:
    return read_schedule({"policy": policy, "tasks": tasks, **more})


def running_in(play: Played, tick: int) -> set[str]:
    return {piece.task for piece in play.slices if piece.start <= tick < piece.end}


def last_tick(play: Played) -> int:
    return int(max((piece.end for piece in play.slices), default=0))


# --------------------------------------------------------------------------------------------- programs


@st.composite
def programs(draw: st.DrawFn, nested: bool) -> list[list[Any]]:
    """Runs and critical sections; nested ones take resources in the order of their names, so that nobody
    is ever deadlocked."""
    steps: list[list[Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from("RST"), unique=True, max_size=2 if nested else 1))
        for name in sorted(names):
            steps += [["acquire", name], ["run", draw(st.integers(1, 3))]]
        if not names or draw(st.booleans()):
            steps.append(["run", draw(st.integers(1, 3))])
        steps += [["release", name] for name in sorted(names, reverse=draw(st.booleans()))]
    return steps


def with_programs(nested: bool = True, most: int = 6) -> st.SearchStrategy[list[dict[str, Any]]]:
    task = st.fixed_dictionaries(
        {
            "arrival": st.integers(0, 12),
            "program": programs(nested),
            "priority": st.integers(0, 3),
        }
    )
    return st.lists(task, min_size=1, max_size=most).map(named)


# ------------------------------------------------------------------------------------------- the same slices


@several(150)
@given(
    tasks=with_programs(),
    policy=st.sampled_from(["PRIORITY", "PRIORITY+PI", "EDF"]),
    processors=st.integers(1, 3),
    data=st.data(),
)
def test_slices_are_those_of_an_independent_simulator(
    tasks: list[dict[str, Any]], policy: str, processors: int, data: st.DataObject
) -> None:
    if policy == "EDF":
        for task in tasks:
            task["deadline"] = task["arrival"] + data.draw(st.integers(1, 20))
    taskset = taskset_of(policy, tasks, processors=processors, resources=["R", "S", "T"])
    machine = Machine(taskset).run()
    result = play(taskset)
    assert result.slices == slices_of(machine.ticks)
    assert result.finish == machine.finish


def program(text: str) -> list[list[Any]]:
    """A program in short: "+R 1 -R" acquires R, runs for a tick, and releases R."""
    names = {"+": "acquire", "-": "release"}
    return [[names[word[0]], word[1:]] if word[0] in names else ["run", int(word)] for word in text.split()]


def test_of_equals_who_inherit_whoever_joined_first_acquires_first() -> None:
    """At 8 both t3 and t5 want T: what hypothesis found, once in thousands of examples."""
    tasks: list[dict[str, Any]] = [
        {"priority": 0, "program": program("1")},
        {"priority": 0, "program": program("1")},
        {"priority": 0, "program": program("1")},
        {"priority": 0, "program": program("+R 1 -R +S 3 +T 1 -S -T")},
        {"priority": 3, "program": program("+S 1 -S 1 +R 1 +S 1 -R -S"), "arrival": 7},
        {"priority": 3, "program": program("1 +R 1 +S 1 1 -R -S +R 3 +T 1 -R -T")},
    ]
    taskset = taskset_of("PRIORITY+PI", named(tasks), processors=2, resources=["R", "S", "T"])
    result = play(taskset)
    assert result.slices == slices_of(Machine(taskset).run().ticks)
    assert result.finish == {"t0": 1, "t1": 2, "t2": 3, "t3": 9, "t4": 13, "t5": 10}


@several(120)
@given(
    tasks=jobs(exec=st.integers(1, 20), arrival=st.integers(0, 30)),
    quanta=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    boost=st.none() | st.integers(6, 30),
    preempted_to=st.sampled_from(["head", "tail"]),
)
def test_a_feedback_queue_follows_its_five_rules_tick_by_tick(
    tasks: list[dict[str, Any]], quanta: list[int], boost: int | None, preempted_to: str
) -> None:
    params = {"quanta": quanta, "boost": boost, "preempted_to": preempted_to}
    taskset = taskset_of("FAIR", tasks, params=params)
    queue = FeedbackQueue(taskset).run()
    result = play(taskset)
    assert result.slices == slices_of(queue.ticks)
    assert result.finish == queue.finish


# ---------------------------------------------------------------------------------------------- all policies


@several(120)
@given(
    tasks=jobs(priority=st.integers(-1, 6)),
    policy=st.sampled_from(["PRIORITY", "EDF", "FAIR", "REALTIME"]),
    processors=st.integers(1, 3),
    params=st.fixed_dictionaries(
        {"preemptive": st.booleans()},
        optional={
            "quantum": st.integers(1, 4),
            "aging_interval": st.integers(1, 6),
            "aging_preempts": st.booleans(),
        },
    ),
)
def test_no_processor_is_idle_while_somebody_waits(
    tasks: list[dict[str, Any]], policy: str, processors: int, params: dict[str, Any]
) -> None:
    taskset = taskset_of(policy, tasks, processors=processors, params=params)
    result = play(taskset)
    assert set(result.finish) == {task["name"] for task in tasks}
    for tick in range(last_tick(result)):
        alive = [t for t in tasks if t["arrival"] <= tick < result.finish[t["name"]]]
        assert len(running_in(result, tick)) == min(processors, len(alive)), tick
    for task in tasks:
        ran = sum(piece.end - piece.start for piece in result.slices if piece.task == task["name"])
        assert ran == task["exec"]


@several(40)
@given(
    tasks=with_programs(),
    policy=st.sampled_from(["PRIORITY", "PRIORITY+PI", "EDF", "FAIR"]),
    processors=st.integers(1, 2),
)
def test_the_same_task_set_gives_the_same_play_on_every_backend(
    tasks: list[dict[str, Any]], policy: str, processors: int
) -> None:
    taskset = taskset_of(
        policy, tasks, processors=processors, resources=["R", "S", "T"], params={"quanta": [2, 3]}
    )
    first = play(taskset)
    assert play(taskset) == first
    assert run(played, taskset, None, backend="trio") == first


@several(25)
@given(tasks=with_programs(), processors=st.integers(1, 2))
async def test_the_same_task_set_gives_the_same_play_again(
    tasks: list[dict[str, Any]], processors: int
) -> None:
    """On asyncio's own loop too."""
    taskset = taskset_of("PRIORITY+PI", tasks, processors=processors, resources=["R", "S", "T"])
    assert await played(taskset) == await played(taskset)


# ------------------------------------------------------------------------------------------ fixed priorities


def response_times(tasks: list[dict[str, Any]]) -> list[int | None]:
    """By the recurrence; None where it exceeds the period. The tasks are in the order of urgency."""
    found: list[int | None] = []
    for place, task in enumerate(tasks):
        response, before = task["exec"], 0
        while before < response <= task["period"]:
            before = response
            response = task["exec"] + sum(
                ceil(before / other["period"]) * other["exec"] for other in tasks[:place]
            )
        found.append(response if response <= task["period"] else None)
    return found


@several(80)
@given(tasks=periodic(), policy=st.sampled_from(["REALTIME", "PRIORITY"]))
def test_nobody_finishes_later_than_the_response_time_recurrence_says(
    tasks: list[dict[str, Any]], policy: str
) -> None:
    for place, task in enumerate(tasks):
        task["priority"] = -place
    bounds = dict(zip([task["name"] for task in tasks], response_times(tasks), strict=True))
    taskset = taskset_of(policy, tasks, params={"until": 45})
    result = play(taskset)
    for job in taskset.jobs():
        bound = bounds[job.task]
        if bound is not None and job.arrival + bound <= 45:
            assert result.finish[job.name] - job.arrival <= bound
    late = {name.partition("#")[0] for name, _, _ in result.misses}
    assert late <= {name for name, bound in bounds.items() if bound is None}


@several(100)
@given(
    tasks=jobs(8, priority=st.integers(0, 5)),
    interval=st.integers(1, 6),
    step=st.integers(1, 3),
    processors=st.integers(1, 2),
)
def test_nobody_waits_longer_than_the_aging_bound(
    tasks: list[dict[str, Any]], interval: int, step: int, processors: int
) -> None:
    """As the docstring of FixedPriority gives it, without quanta."""
    params = {"aging_interval": interval, "aging_step": step}
    result = play(taskset_of("PRIORITY", tasks, params=params, processors=processors))
    longest = max(task["exec"] for task in tasks)
    for place, task in enumerate(tasks):
        arrival, finish = task["arrival"], result.finish[task["name"]]
        before = [
            other
            for number, other in enumerate(tasks)
            if (other["arrival"], number) < (arrival, place) and result.finish[other["name"]] > arrival
        ]
        aged = interval * max(0, ceil((5 - task["priority"]) / step))
        assert finish - arrival - task["exec"] <= aged + (len(before) + 1) * longest


# ------------------------------------------------------------------------------------------------- deadlines


@several(80)
@given(tasks=periodic())
def test_with_earliest_deadlines_first_nobody_is_late_while_there_is_enough_time(
    tasks: list[dict[str, Any]],
) -> None:
    fitting: list[dict[str, Any]] = []
    for task in tasks:
        if sum(Fraction(each["exec"], each["period"]) for each in [*fitting, task]) <= 1:
            fitting.append(task)
    assume(fitting)
    assert play(taskset_of("EDF", fitting, params={"until": 60})).misses == ()


def least_lateness(tasks: list[dict[str, Any]]) -> int:
    """Try everything: whoever may run in each tick."""

    @cache
    def least(now: int, left: tuple[int, ...]) -> int:
        if not any(left):
            return -(10**6)
        able = [k for k, rest in enumerate(left) if rest and tasks[k]["arrival"] <= now]
        if not able:
            return least(now + 1, left)
        return min(
            max(
                least(now + 1, (*left[:k], left[k] - 1, *left[k + 1 :])),
                now + 1 - tasks[k]["deadline"] if left[k] == 1 else -(10**6),
            )
            for k in able
        )

    return least(0, tuple(task["exec"] for task in tasks))


@several(40)
@given(tasks=jobs(7, exec=st.integers(1, 3), room=st.integers(1, 12)))
def test_with_earliest_deadlines_first_the_greatest_lateness_is_the_least_possible(
    tasks: list[dict[str, Any]],
) -> None:
    for task in tasks:
        task["deadline"] = task["arrival"] + task.pop("room")
    result = play(taskset_of("EDF", tasks))
    assert max(result.finish[task["name"]] - task["deadline"] for task in tasks) == least_lateness(tasks)


# ----------------------------------------------------------------------------------------------- inheritance


@several(100)
@given(tasks=with_programs(nested=False))
def test_nobody_is_blocked_by_more_than_one_critical_section_of_each_lower_task(
    tasks: list[dict[str, Any]],
) -> None:
    """Sha, Rajkumar and Lehoczky, 1990: on one processor, with different priorities, and nothing nested.

    Two lower tasks may be in the way with one resource, if it is wanted again after it was handed over.
    """
    for place, task in enumerate(tasks):
        task["priority"] = place
    taskset = taskset_of("PRIORITY+PI", tasks, resources=["R", "S", "T"])
    result = play(taskset)
    for task in tasks:
        lived = range(task["arrival"], int(result.finish[task["name"]]))
        blocking: set[tuple[str, str, int]] = set()  # whose, of what, and when it was entered
        for lower in tasks[: task["priority"]]:
            for tick in lived:
                if lower["name"] in running_in(result, tick):
                    blocking.add((lower["name"], *section_of(result, lower["name"], tick)))
        assert len({job for job, _, _ in blocking}) == len(blocking), "two sections of one task"


def section_of(result: Played, job: str, tick: int) -> tuple[str, int]:
    """The critical section that a job is in during a tick."""
    entered: tuple[str, int] | None = None
    for event in result.events:
        if event.who == job and event.at <= tick:
            if event.kind in ("acquire", "handoff"):
                entered = event.resource, int(event.at)
            elif event.kind == "release":
                entered = None
    assert entered is not None, f"{job} runs at {tick}, though more urgent ones wait and it holds nothing"
    return entered

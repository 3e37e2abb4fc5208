"""The three queues that are parts of their own: compared with slow, obvious ones."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from actorsched.frontends.realtime import (
    DeadlineQueue,
    InvalidArgumentError,
    MultiLevelQueue,
    PriorityQueue,
    Task,
    TaskConstraints,
    TaskPriority,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = datetime.now(UTC) + timedelta(days=1)
QUEUES: list[Callable[[], Any]] = [PriorityQueue, DeadlineQueue, MultiLevelQueue]


def nothing() -> None:
    """Does nothing."""


def task(name: str = "task", priority: int = 3, hours: int | None = None) -> Task:
    deadline = None if hours is None else BASE + timedelta(hours=hours)
    return Task(
        name, nothing, priority=TaskPriority(priority), constraints=TaskConstraints(deadline=deadline)
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


STEPS = some.lists(
    some.tuples(
        some.sampled_from(["put", "put", "get", "peek", "remove"]), some.integers(0, 6), some.integers(0, 3)
    ),
    max_size=40,
)


def compare(queue: Any, steps: list[tuple[str, int, int]], key: Callable[[Task, int], Any]) -> None:
    """Do the same to a queue and to a list that is sorted whenever somebody looks."""
    model: list[tuple[Any, Task]] = []
    for number, (step, priority, hours) in enumerate(steps):
        model.sort(key=lambda entry: entry[0])
        first = model[0][1] if model else None
        if step == "put":
            new = task(f"task {number}", priority, hours or None)
            queue.put(new)
            model.append((key(new, number), new))
        elif step == "get":
            assert queue.get() is first
            model = model[1:]
        elif step == "peek":
            assert queue.peek() is first
        elif model:
            _, gone = model.pop(priority % len(model))
            assert queue.remove(gone)
            assert not queue.remove(gone)
        assert len(queue) == len(model)
    assert all(entry[1] in queue for entry in model)


@given(STEPS)
def test_a_priority_queue_is_sorted_by_priority_and_stable(steps: list[tuple[str, int, int]]) -> None:
    compare(PriorityQueue(), steps, lambda new, number: (-new.priority, number))


@given(STEPS)
def test_a_deadline_queue_is_sorted_by_deadline_and_the_rest_by_priority(
    steps: list[tuple[str, int, int]],
) -> None:
    def key(new: Task, number: int) -> tuple[datetime, int, int]:
        due = new.constraints.deadline
        return (datetime.max.replace(tzinfo=UTC), -new.priority, number) if due is None else (due, 0, number)

    compare(DeadlineQueue(), steps, key)


@given(STEPS)
def test_new_tasks_of_a_multi_level_queue_come_in_their_order(steps: list[tuple[str, int, int]]) -> None:
    compare(MultiLevelQueue(clock=Clock()), steps, lambda new, number: number)


def test_a_deadline_queue_tells_which_deadlines_are_past() -> None:
    queue = DeadlineQueue()
    late = Task("late", nothing, constraints=TaskConstraints(max_latency_ms=1e-6))
    queue.put(task("in time", hours=1))
    queue.put(late)
    queue.put(task("whenever"))
    assert queue.overdue() == [late]
    assert queue.get() is late
    assert queue.overdue() == []


def test_who_uses_up_a_time_slice_comes_back_one_level_lower() -> None:
    clock = Clock()
    queue = MultiLevelQueue(levels=3, quanta=1, boost=None, clock=clock)
    greedy, modest, new = task("greedy"), task("modest"), task("new")
    queue.put(greedy)
    queue.put(modest)
    for name, used in (("greedy", 1), ("modest", 0.5)):
        got = queue.get()
        assert got is not None
        assert got.name == name
        clock.now += used
        queue.put(got)
    queue.put(new)
    assert [queue.get() for _ in range(4)] == [modest, new, greedy, None]


def test_a_boost_brings_all_to_the_top() -> None:
    clock = Clock()
    queue = MultiLevelQueue(levels=2, quanta=1, boost=10, clock=clock)
    greedy, new = task("greedy"), task("new")
    queue.put(greedy)
    assert queue.get() is greedy
    clock.now = 2
    queue.put(greedy)
    clock.now = 10
    queue.put(new)
    assert [queue.get(), queue.get()] == [greedy, new]


def test_a_multi_level_queue_keeps_nothing_of_tasks_that_nobody_has_any_more() -> None:
    queue = MultiLevelQueue()
    for number in range(100):
        queue.put(task(f"task {number}"))
        queue.get()
    gc.collect()
    queue.put(task())
    assert len(queue._policy._records) <= 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", QUEUES)
def test_a_task_is_in_a_queue_once_and_may_come_again(kind: Callable[[], Any]) -> None:
    queue, one = kind(), task()
    assert queue.get() is None
    assert queue.peek() is None
    assert not queue.remove(one)
    queue.put(one)
    with pytest.raises(InvalidArgumentError, match="in the queue already"):
        queue.put(one)
    assert len(queue) == 1
    assert queue.get() is one
    queue.put(one)
    assert one in queue
    assert queue.remove(one)
    assert repr(queue) == f"<{kind.__name__} of 0 tasks>"


@pytest.mark.parametrize("kind", QUEUES)
def test_a_queue_takes_nothing_but_tasks(kind: Callable[[], Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="give a Task"):
        kind().put("task")


@pytest.mark.parametrize("wrong", [{"levels": 0}, {"quanta": -1}, {"boost": "never"}])
def test_levels_and_times_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        MultiLevelQueue(**wrong)

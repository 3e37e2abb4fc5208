"""The shared runtime can be ended by hand, and the next task starts another."""

from __future__ import annotations

import threading

import pytest

from actorsched import frontends
from actorsched.frontends.bridge import TaskStatus, task_bridge


def test_what_was_submitted_is_finished_first_and_stays_known() -> None:
    task = task_bridge.register_task("sum", sum, ([1, 2],))
    task_bridge.start_task(task)
    frontends.shutdown()
    assert task_bridge.get_task_result(task) == 3
    assert not any(thread.name == "actorsched shared" for thread in threading.enumerate())


def test_without_draining_it_is_cancelled() -> None:
    never = task_bridge.register_task("never")
    task_bridge.start_task(never)
    frontends.shutdown(drain=False)
    assert task_bridge.get_task_status(never) is TaskStatus.CANCELLED


def test_a_timeout_bounds_the_draining() -> None:
    never = task_bridge.register_task("never")
    task_bridge.start_task(never)
    frontends.shutdown(timeout="10ms")
    assert task_bridge.get_task_status(never) is TaskStatus.CANCELLED


def test_the_next_task_starts_another_runtime() -> None:
    for expected in (3, 4):
        task = task_bridge.register_task("sum", sum, ([1, expected - 1],))
        task_bridge.start_task(task)
        assert task_bridge.wait(task, "10s")
        assert task_bridge.get_task_result(task) == expected
        frontends.shutdown()


@pytest.mark.parametrize(
    ("arguments", "error"), [({"drain": 1}, TypeError), ({"timeout": "soon"}, ValueError)]
)
def test_bad_arguments_are_refused(arguments: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        frontends.shutdown(**arguments)


def test_a_task_of_that_runtime_cannot_wait_for_its_end() -> None:
    async def end() -> None:
        frontends.shutdown()

    task = task_bridge.register_task("end", end)
    task_bridge.start_task(task)
    assert task_bridge.wait(task, "10s")
    assert isinstance(task_bridge.get_task_error(task), Exception)
    assert "its own thread" in str(task_bridge.get_task_error(task))

"""The life of tasks as log records."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from actorsched import Retry, Runtime
from actorsched.observe import log_tasks


async def fine() -> None:
    pass


async def bad() -> None:
    raise LookupError("nothing there")


def of_tasks(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if "task_id" in record.__dict__]


async def test_the_life_of_tasks_is_logged_at_its_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "actorsched.task")
    async with Runtime() as rt:
        end = log_tasks(rt)
        ref = await rt.spawn(fine, name="good one")
        await ref
        with pytest.raises(LookupError):
            await rt.run(bad, retry=Retry(attempts=2))
        end()
        await rt.run(fine)
    assert [(one.name, one.levelname, one.task, one.attempt) for one in of_tasks(caplog)] == [
        ("actorsched.task", "INFO", "good one", 1),
        ("actorsched.task", "INFO", "good one", 1),
        ("actorsched.task", "INFO", "bad", 1),
        ("actorsched.task", "WARNING", "bad", 1),
        ("actorsched.task", "INFO", "bad", 2),
        ("actorsched.task", "ERROR", "bad", 2),
    ]
    started, completed = of_tasks(caplog)[:2]
    assert started.task_id == ref.id
    assert started.getMessage() == "task 'good one' started"
    assert completed.seconds >= 0
    assert of_tasks(caplog)[-1].getMessage() == "task 'bad' failed: LookupError: nothing there"


async def test_only_what_is_wanted_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "actorsched.task")
    async with Runtime() as rt:
        log_tasks(rt, lambda event: event.name == "mine")
        await rt.run(fine, name="mine")
        await rt.run(fine, name="another")
        with pytest.raises(TypeError, match="only=3 is of type int"):
            log_tasks(rt, 3)
    assert [one.task for one in of_tasks(caplog)] == ["mine", "mine"]

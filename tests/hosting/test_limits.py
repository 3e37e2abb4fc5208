"""A host keeps a task within its limits, and ends when it has run out of memory."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest

from actorsched._hosting import wire
from actorsched._hosting.failures import unpack_error
from actorsched.exceptions import RemoteTraceback
from tests.hosting import greedy
from tests.hosting.harness import hosted

pytestmark = pytest.mark.process
MB = greedy.MB


async def test_a_task_may_take_what_it_was_given_and_those_after_it_what_they_like() -> None:
    async with hosted() as host:
        assert await host.result(host.start(greedy.take, 30, limits=wire.Limits(memory=40 * MB))) == 30 * MB
        assert await host.run(greedy.take, 100) == 100 * MB


async def test_what_a_host_has_taken_before_does_not_count() -> None:
    async with hosted() as host:
        await host.run(greedy.keep, 60)
        assert await host.result(host.start(greedy.take, 30, limits=wire.Limits(memory=40 * MB))) == 30 * MB


async def test_a_function_may_handle_the_lack_of_memory() -> None:
    async with hosted() as host:
        number = host.start(greedy.try_to_take, 60, limits=wire.Limits(memory=40 * MB))
        assert await host.result(number) == "refused"
        assert await host.run(greedy.take, 60) == 60 * MB


@pytest.mark.parametrize("function", [greedy.take, greedy.take_async, greedy.take_with_numpy])
async def test_a_host_whose_task_takes_too_much_says_so_and_ends(function: Any) -> None:
    async with hosted() as host:
        assert await host.run(function, 1)  # what it imports is not the point
        number = host.start(function, 60, limits=wire.Limits(memory=40 * MB))
        after = host.start(greedy.take, 1)
        end = await host.ended()
        assert (end.cause, end.exit_code) == ("out of memory", wire.OUT_OF_MEMORY)
        assert end.last_started == number < after
        (said,) = host.seen(wire.Exhausted)
        error = unpack_error(said.error)
        assert isinstance(error.__cause__, RemoteTraceback)
        assert "in take" in str(error.__cause__)
        if isinstance(error, BaseExceptionGroup):
            (error,) = cast("BaseExceptionGroup[BaseException]", error).exceptions
        assert isinstance(error, MemoryError)


async def test_without_a_limit_of_memory_its_lack_is_an_error_like_any_other() -> None:
    async with hosted() as host:
        number = host.start(greedy.fail_with, MemoryError("mine"), limits=wire.Limits(cpus=(0,)))
        with pytest.raises(MemoryError, match="mine"):
            await host.result(number)
        assert host.exit is None


async def test_all_threads_of_a_host_are_confined_while_a_task_runs() -> None:
    usable = os.sched_getaffinity(0)
    one = min(usable)
    async with hosted() as host:
        assert await host.result(host.start(greedy.where, limits=wire.Limits(cpus=(one,)))) == [{one}, {one}]
        assert await host.run(greedy.where) == [usable, usable]


async def test_limits_end_with_a_task_that_fails() -> None:
    async with hosted() as host:
        limits = wire.Limits(memory=40 * MB, cpus=(0,))
        with pytest.raises(ValueError, match="as asked"):
            await host.result(host.start(greedy.fail_with, ValueError("as asked"), limits=limits))
        assert await host.run(greedy.take, 60) == 60 * MB
        assert os.sched_getaffinity(0) in await host.run(greedy.where)

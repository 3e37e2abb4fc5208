"""A cancellation at every await and a crash at every moment: what is found, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Actor, Retry, TaskCancelled
from actorsched.testing import Crash, NotSurvived, Simulation, cancel_everywhere, crash_everywhere

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Account(Actor):
    def __init__(self) -> None:
        self._balance = 0

    async def add(self, amount: int) -> int:
        await anyio.sleep(1)
        self._balance += amount
        return self._balance


async def pay(account: Any) -> int:
    await anyio.sleep(1)
    balance: int = await account.ask.add(5)
    return balance


async def payment(simulation: Simulation) -> None:
    async with simulation.runtime() as rt:
        account = await rt.spawn(Account, name="account")
        assert await rt.run(pay, account) == 5
        assert await account.ask.add(1) == 6


# -------------------------------------------------------------------------------------------- cancellation


@BACKENDS
def test_each_await_is_cancelled_once(backend: Any) -> None:
    survived = cancel_everywhere(payment, backend=backend)
    assert survived.runs == sum(survived.moments.values())
    assert survived.moments["the scenario"] >= 4
    assert survived.moments["task 'pay'"] >= 2
    if backend == "trio":  # on asyncio the asker carries the handler: it is at an await of its own
        assert survived.moments["who asked for add of actor 'account'"] >= 1
    assert str(survived).startswith(f"{survived.runs} runs\n")
    assert cancel_everywhere(payment, backend=backend) == survived


@BACKENDS
def test_more_runs_are_done_after_each_step_and_under_several_seeds(backend: Any) -> None:
    once = cancel_everywhere(payment, backend=backend)
    assert cancel_everywhere(payment, at="steps", backend=backend).runs > once.runs
    assert cancel_everywhere(payment, seeds=3, backend=backend).runs > 2 * once.runs


@BACKENDS
def test_what_a_scenario_leaves_behind_when_it_is_cancelled_is_told_with_the_await(backend: Any) -> None:
    held: list[str] = []

    async def scenario(simulation: Simulation) -> None:
        held.clear()
        simulation.always(lambda: len(held) < 2)
        await anyio.sleep(1)
        held.append("a lock")
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class():
            held.append("twice")
            raise
        held.clear()

    with pytest.raises(NotSurvived) as caught:
        cancel_everywhere(scenario, who="scenario", backend=backend)
    said = str(caught.value)
    assert "run 3, the scenario at its await number 2 at" in said
    assert "test_everywhere.py" in said
    assert "        await anyio.sleep(1)" in said
    assert "ConditionFailed: does not hold any more: `simulation.always(lambda: len(held) < 2)`" in said
    assert said.endswith("run it again: cancel_everywhere(scenario, only=3)")
    assert "what happened in it" in caught.value.__notes__[0]
    assert caught.value.moment is not None
    assert caught.value.moment.places[-1].function.endswith("scenario")
    with pytest.raises(NotSurvived, match="run 3, the scenario"):
        cancel_everywhere(scenario, who="scenario", backend=backend, only=3)
    assert cancel_everywhere(scenario, who="scenario", backend=backend, only=2).runs == 1


@BACKENDS
def test_who_swallows_its_cancellation_has_to_say_so(backend: Any) -> None:
    async def scenario(simulation: Simulation) -> None:
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class():
            return

    with pytest.raises(NotSurvived, match="run 1, .*Swallowed: the scenario was cancelled, heard of it"):
        cancel_everywhere(scenario, backend=backend)
    assert cancel_everywhere(scenario, may_swallow=True, backend=backend).runs == 2


@BACKENDS
def test_an_error_in_the_place_of_a_cancellation_is_a_failure_unless_it_is_expected(backend: Any) -> None:
    async def scenario(simulation: Simulation) -> None:
        try:
            await anyio.sleep(1)
        finally:
            if simulation.now < 1:
                raise LookupError("half a file")

    with pytest.raises(NotSurvived, match="LookupError: half a file"):
        cancel_everywhere(scenario, backend=backend)
    assert cancel_everywhere(scenario, expected=LookupError, backend=backend).runs == 2


@BACKENDS
def test_a_scenario_that_does_not_end_when_it_is_cancelled_is_stuck(backend: Any) -> None:
    async def scenario(simulation: Simulation) -> None:
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(1e6, shield=True):
                await simulation.advance("1h")
            raise

    assert cancel_everywhere(scenario, backend=backend).runs == 2

    async def waits_for_ever(simulation: Simulation) -> None:
        never, gone = anyio.Event(), False
        async with simulation.runtime() as rt:

            async def work() -> None:
                nonlocal gone
                try:
                    await anyio.sleep(1)
                finally:
                    if simulation.now < 1:
                        gone = True

            await (await rt.spawn(work)).outcome()
            if gone:
                await never.wait()

    with pytest.raises(NotSurvived, match="Stuck: nothing can happen any more"):
        cancel_everywhere(waits_for_ever, who="tasks", backend=backend)


def test_tasks_of_asyncio_are_cancelled_too_and_who_is_left_is_named() -> None:
    async def child() -> None:
        await asyncio.sleep(1)

    async def tidy(simulation: Simulation) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(child())

    assert [who for who in cancel_everywhere(tidy).moments if "child" in who]
    assert cancel_everywhere(tidy, native=True).runs

    async def careless(simulation: Simulation) -> None:
        other = asyncio.create_task(child())
        await asyncio.sleep(0)
        await other

    with pytest.raises(NotSurvived, match="Left: left behind.*child"):
        cancel_everywhere(careless, who="scenario")


@BACKENDS
def test_what_waits_outside_of_the_loop_or_before_it_begins_is_cancelled_there(backend: Any) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime(concurrency=1) as rt:
            first = await rt.spawn(anyio.sleep, 1, name="first")
            second = await rt.spawn(anyio.sleep, 1, name="second", after=[first])
            third = await rt.spawn(anyio.sleep, 1, name="third")
            assert await rt.run(len, "abc", name="in a thread") == 3
            await second
            await third

    survived = cancel_everywhere(scenario, who="tasks", backend=backend)
    assert set(survived.moments) == {f"task {name!r}" for name in ("first", "second", "third", "in a thread")}


def test_a_scenario_that_fails_by_itself_fails_as_it_is() -> None:
    async def scenario(simulation: Simulation) -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError) as caught:
        cancel_everywhere(scenario)
    assert "when nobody came to any harm" in caught.value.__notes__[-1]


def test_a_scenario_that_does_something_else_each_time_is_told_of() -> None:
    runs = 0

    async def scenario(simulation: Simulation) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await anyio.sleep(1)

    with pytest.raises(NotSurvived, match="run 2: that moment did not come: .* that no seed decides"):
        cancel_everywhere(scenario)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="scenario=.* is no async function"):
        cancel_everywhere(len)
    with pytest.raises(ValueError, match="who='nobody' .* choose from scenario, tasks, asks, foreign"):
        cancel_everywhere(payment, who="nobody")
    with pytest.raises(ValueError, match="choose from awaits, steps"):
        cancel_everywhere(payment, at="turns")
    with pytest.raises(ValueError, match="backend='trio' has no Task.cancel"):
        cancel_everywhere(payment, native=True, backend="trio")
    with pytest.raises(ValueError, match="only=1000, but there are"):
        cancel_everywhere(payment, only=1000)
    with pytest.raises(TypeError, match="expected=5"):
        cancel_everywhere(payment, expected=5)
    with pytest.raises(ValueError, match="choose from handlers, tasks, hooks, hosts"):
        crash_everywhere(payment, what="all")


# ------------------------------------------------------------------------------------------------- crashes


@BACKENDS
def test_each_handler_and_each_task_crashes_before_it_begins_at_each_await_and_at_its_end(
    backend: Any,
) -> None:
    survived = crash_everywhere(payment, backend=backend)
    assert survived.moments == {"task 'pay'": 3, "add of actor 'account'": 6}
    assert crash_everywhere(payment, seeds=3, backend=backend).runs == 27


@BACKENDS
def test_a_crash_that_is_not_dealt_with_is_a_failure_if_it_is_not_expected(backend: Any) -> None:
    with pytest.raises(NotSurvived, match="run 1, task 'pay' before it began: Crash: task 'pay' crashed"):
        crash_everywhere(payment, expected=(), backend=backend)

    async def tries_again(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            await rt.run(anyio.sleep, 1, retry=Retry(attempts=2), name="sleep")

    assert crash_everywhere(tries_again, expected=(), backend=backend).runs == 3


@BACKENDS
def test_what_is_wrong_after_a_crash_is_told(backend: Any) -> None:
    async def scenario(simulation: Simulation) -> None:
        taken = False
        simulation.always(lambda: not taken or simulation.now < 5, "the lock is held for less than 5 s")

        async def careless() -> None:
            nonlocal taken
            taken = True
            await anyio.sleep(1)
            taken = False

        async with simulation.runtime() as rt:
            await (await rt.spawn(careless)).outcome()
            await simulation.advance("10s")

    with pytest.raises(NotSurvived) as caught:
        crash_everywhere(scenario, backend=backend)
    assert "run 2, task" in str(caught.value)
    assert "careless' at its await number 1" in str(caught.value)
    assert "ConditionFailed: does not hold any more: the lock is held" in str(caught.value)


@BACKENDS
def test_actors_that_are_told_start_again_and_every_message_is_accounted_for(backend: Any) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            account = await rt.spawn(Account, name="account", restart="permanent")
            for _ in range(3):
                account.tell(Account.add, 1)
            await simulation.advance("10s")
            assert account.alive

    survived = crash_everywhere(scenario, expected=(), backend=backend)
    assert survived.moments == {"add of actor 'account'": 9}
    with_hooks = crash_everywhere(payment, what=("hooks", "handlers"), backend=backend)
    assert with_hooks.moments["add of actor 'account'"] == 6


@BACKENDS
def test_the_cause_of_a_cancelled_task_reaches_who_awaits_it(backend: Any) -> None:
    heard: list[type[BaseException]] = []

    async def scenario(simulation: Simulation) -> None:
        async with simulation.runtime() as rt:
            try:
                await rt.run(anyio.sleep, 1)
            except Exception as error:
                heard.append(type(error))

    cancel_everywhere(scenario, who="tasks", backend=backend)
    assert set(heard) == {TaskCancelled}
    heard.clear()
    crash_everywhere(scenario, backend=backend)
    assert set(heard) == {Crash}


def test_nothing_is_logged_a_hundred_times(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        crash_everywhere(payment)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

"""A cancellation at every await, and a crash at every moment, of whatever takes part in a scenario.

Each scenario is run again and again, and something goes wrong at another moment each time. Nothing may be
left then, and what was promised holds. That is done in simulations, which know every moment; and in real
loops, where a cancellation comes after no turn, one, two and so on, until the scenario is through before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Actor, Runtime, RuntimeClosed, TaskCancelled, TaskRef, TaskStatus, current
from actorsched.testing import Simulation, cancel_everywhere, crash_everywhere

FINAL = {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED}
MOST = 400


class Busy(Actor):
    """Takes a few turns for everything."""

    async def on_start(self) -> None:
        await turns()

    async def work(self) -> str:
        await turns()
        return "worked"

    async def count(self) -> Any:
        for number in range(3):
            await turns(1)
            yield number

    async def on_stop(self, reason: object) -> None:
        await turns()


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await anyio.lowlevel.checkpoint()


class Trial:
    """One run of a scenario in a runtime."""

    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self.refs: list[TaskRef[Any]] = []
        self.inside = 0

    async def task(self, depth: int = 0) -> str:
        """Work, with a child of its own, and clean up."""
        self.inside += 1
        try:
            await turns()
            if depth:
                await self.rt.run(self.task, depth - 1)
            await turns()
        finally:
            with anyio.CancelScope(shield=True):
                await turns()
            self.inside -= 1
        return "done"

    async def spawn(self, depth: int = 0) -> TaskRef[Any]:
        ref = await self.rt.spawn(self.task, depth)
        self.refs.append(ref)
        return ref


async def run(trial: Trial) -> None:
    await trial.rt.run(trial.task, 2)


async def run_in_a_task(trial: Trial) -> None:
    async def parent() -> None:
        await trial.rt.run(trial.task, 1)

    await trial.rt.run(parent)


async def await_a_ref(trial: Trial) -> None:
    await (await trial.spawn(1))


async def cancel(trial: Trial) -> None:
    ref = await trial.spawn(1)
    await turns()
    await ref.cancel("on purpose")
    assert ref.done()


async def leave_a_scope(trial: Trial) -> None:
    async with trial.rt.scope() as scope:
        for depth in range(2):
            trial.refs.append(await scope.spawn(trial.task, depth))
        actor = await scope.spawn(Busy)
        actor.tell(Busy.work)
        await turns()


async def nest_scopes(trial: Trial) -> None:
    async with trial.rt.scope() as outer:
        trial.refs.append(await outer.spawn(trial.task))
        async with trial.rt.scope() as inner:
            trial.refs.append(await inner.spawn(trial.task))
            await turns()


async def scope_in_a_task(trial: Trial) -> None:
    async def parent() -> None:
        await leave_a_scope(trial)

    trial.refs.append(await trial.rt.spawn(parent))
    await trial.refs[-1]


async def spawn_an_actor_and_use_it(trial: Trial) -> None:
    actor = await trial.rt.spawn(Busy)
    assert await actor.ask.work() == "worked"
    assert [number async for number in actor.ask.count()] == [0, 1, 2]
    await actor.stop()
    assert not actor.alive


async def submit_dependents(trial: Trial) -> None:
    first = await trial.spawn()
    trial.refs.append(await trial.rt.spawn(trial.task, after=[first]))
    await trial.refs[-1]


async def thread(trial: Trial) -> None:
    def work() -> str:
        current().report(0.5)
        return "thread"

    assert await trial.rt.run(work) == "thread"


SCENARIOS = [
    run,
    run_in_a_task,
    await_a_ref,
    cancel,
    leave_a_scope,
    nest_scopes,
    scope_in_a_task,
    spawn_an_actor_and_use_it,
    submit_dependents,
    thread,
]


# ---------------------------------------------------------------------------------------- in simulations


def within_a_runtime(
    scenario: Callable[[Trial], Awaitable[None]], concurrency: int | None, *, tidy: bool = True
) -> Any:
    """The scenario, with others that are there at the same time; tidy, if what cleans up does not crash."""

    async def whole(simulation: Simulation) -> None:
        async with simulation.runtime(concurrency=concurrency) as rt:
            trial = Trial(rt)
            await rt.spawn(Busy)
            await trial.spawn(1)
            await scenario(trial)
        assert trial.inside == 0 or not tidy
        assert {ref.status for ref in trial.refs} <= FINAL

    return whole


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "concurrency"), [("asyncio", None), ("trio", 1)])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whoever_is_cancelled_at_any_step_nothing_is_left(
    scenario: Callable[[Trial], Awaitable[None]], concurrency: int | None, backend: Any
) -> None:
    whole = within_a_runtime(scenario, concurrency)
    assert cancel_everywhere(whole, at="steps", backend=backend).runs > 20


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "concurrency"), [("asyncio", 1), ("trio", None)])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whoever_is_cancelled_at_any_await_under_some_seeds_nothing_is_left(
    scenario: Callable[[Trial], Awaitable[None]], concurrency: int | None, backend: Any
) -> None:
    cancel_everywhere(within_a_runtime(scenario, concurrency), seeds=2, backend=backend)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_asyncios_own_cancellation_at_any_step_leaves_nothing_either(
    scenario: Callable[[Trial], Awaitable[None]],
) -> None:
    cancel_everywhere(within_a_runtime(scenario, None), who="scenario", at="steps", native=True)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_crashes_at_any_moment_nothing_is_left(
    scenario: Callable[[Trial], Awaitable[None]], backend: Any
) -> None:
    whole = within_a_runtime(scenario, None, tidy=False)
    crash_everywhere(whole, what=("handlers", "tasks", "hooks"), backend=backend)
    crash_everywhere(within_a_runtime(scenario, 1, tidy=False), seeds=[1], backend=backend)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "concurrency"), [("asyncio", 1), ("trio", None)])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_task_that_is_cancelled_at_any_step_ends_in_order_and_the_runtime_goes_on(
    scenario: Callable[[Trial], Awaitable[None]], concurrency: int | None, backend: Any
) -> None:
    async def goes_on(simulation: Simulation) -> None:
        async with simulation.runtime(concurrency=concurrency) as rt:
            trial = Trial(rt)
            ref = await rt.spawn(scenario, trial, name="cut short")
            outcome = await ref.outcome()
            if outcome.status is TaskStatus.CANCELLED:
                with pytest.raises(TaskCancelled, match="cancelled everywhere"):
                    await ref
            assert await rt.run(Trial(rt).task, name="after that", timeout="1h") == "done"
        assert trial.inside == 0

    cancel_everywhere(goes_on, who="tasks", at="steps", backend=backend)


# --------------------------------------------------------------------------------------- in real loops


class Limit:
    """Cancels after so many turns."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.scope = anyio.CancelScope()

    async def watch(self) -> None:
        await turns(self.number)
        self.scope.cancel()

    async def apply(self, function: Callable[..., Awaitable[None]], *args: Any) -> bool:
        """Run a function; answers whether it was cut short."""
        async with anyio.create_task_group() as group:
            with self.scope:
                group.start_soon(self.watch)
                await function(*args)
            group.cancel_scope.cancel()
        return self.scope.cancelled_caught


def check(rt: Runtime, trial: Trial) -> None:
    """Nothing is left after the runtime was."""
    kernel = rt._system.kernel
    assert not rt._nursery.live
    assert not rt._system.scopes
    assert not kernel.carriers
    assert not kernel.mail
    assert not kernel.ready
    assert not kernel.timers
    assert trial.inside == 0
    assert {ref.status for ref in trial.refs} <= FINAL
    assert all(not pool.running for pool in rt._system.pools.values())
    assert all(not (len(pool.policy) or pool.next or pool.wishing) for pool in rt._system.pools.values())


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [None, 1])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_what_is_cut_short_anywhere_within_a_runtime_leaves_it_in_order(
    scenario: Callable[[Trial], Awaitable[None]], concurrency: int | None
) -> None:
    for number in range(MOST):
        async with Runtime(concurrency=concurrency) as rt:
            trial = Trial(rt)
            cut = await Limit(number).apply(scenario, trial)
            assert await rt.run(trial.task) == "done"
        check(rt, trial)
        if not cut:
            assert number > 3 or scenario is thread
            return
    pytest.fail("it never came to its end")


@pytest.mark.slow
async def test_a_shutdown_that_is_cut_short_anywhere_goes_on() -> None:
    for number in range(MOST):
        async with Runtime() as rt:
            trial = Trial(rt)
            actor = await rt.spawn(Busy)
            actor.tell(Busy.work)
            await trial.spawn()
            cut = await Limit(number).apply(rt.shutdown)
            with pytest.raises(RuntimeClosed):
                await rt.spawn(turns)
        check(rt, trial)
        assert trial.refs[0].status is TaskStatus.COMPLETED
        if not cut:
            assert number > 3
            return
    pytest.fail("it never came to its end")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_asyncios_own_cancellation_anywhere_leaves_nothing_either(
    scenario: Callable[[Trial], Awaitable[None]],
) -> None:
    import asyncio

    trials: list[Trial] = []

    async def whole() -> None:
        async with Runtime() as rt:
            trials.append(Trial(rt))
            await rt.spawn(Busy)
            await scenario(trials[-1])

    for number in range(MOST):
        for twice in (False, True):
            trials.clear()
            running = asyncio.ensure_future(whole())
            await turns(number)
            through = running.done()
            running.cancel()
            if twice:
                await turns(2)
                running.cancel()
            with pytest.raises(asyncio.CancelledError) if not through else anyio.CancelScope():
                await running
            if trials:
                check(trials[0].rt, trials[0])
        if through:
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_a_task_that_has_cancelled_itself_and_then_asks_hears_of_that() -> None:
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    async with Runtime() as rt:
        actor = await rt.spawn(Busy)
        for wait in (lambda: rt.spawn(Busy), actor.ask.work):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait()
            task.uncancel()
        assert await actor.ask.work() == "worked"

"""Threads in step with the loop: a run with them is repeatable, and takes no real time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from actorsched import TaskCancelled, checkpoint, current
from actorsched.exceptions import Interrupted, TaskTimeout
from actorsched.testing import replay
from actorsched.testing._hosts import lockstep
from tests import simulated_work as work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PLAIN = "s:1:"


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    """What is simulated."""
    return str(request.param)


def play(scenario: Callable[[Any], Awaitable[None]], loop: str, *seeds: int) -> None:
    """Run a scenario plainly, and under these seeds."""
    for seed in (PLAIN, *seeds):
        work.SEEN.clear()
        replay(scenario, seed, backend=loop)  # type: ignore[arg-type]


def test_functions_run_in_threads_and_are_over_at_once(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            idents = [await rt.run(threading.get_ident, host="thread") for _ in range(3)]
            assert threading.get_ident() not in idents
            if simulation.seed == PLAIN:
                assert len(set(idents)) == 1
                assert simulation.now == 0.0
            with pytest.raises(LookupError, match="on purpose"):
                await rt.run(work.fail, "on purpose", host="thread")

    play(scenario, loop, 1, 2, 3)


def test_threads_take_turns_at_their_checkpoints_in_the_same_order_each_time(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            refs = [await rt.spawn(work.count, 5, name, host="thread") for name in "abc"]
            assert [await ref for ref in refs] == [5, 5, 5]

    orders = []
    for seed in (PLAIN, PLAIN, 4, 4, 5):
        work.SEEN.clear()
        replay(scenario, seed, backend=loop)  # type: ignore[arg-type]
        orders.append(list(work.SEEN))
    assert orders[0] == [(name, step) for step in range(5) for name in "abc"]
    assert orders[0] == orders[1]
    assert orders[2] == orders[3]


def test_a_time_limit_is_noticed_at_a_checkpoint(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            with pytest.raises(TaskTimeout):
                await rt.run(work.spin, host="thread", timeout="2s")
            assert work.SEEN == [("begun", None), ("left", None)]
            if simulation.seed == PLAIN:
                assert simulation.now == pytest.approx(2.0, abs=0.01)

    play(scenario, loop, 1, 2)


def test_a_cancelled_function_leaves_at_its_checkpoint_and_its_context_is_undone(loop: str) -> None:
    def spin() -> None:
        current().defer(work.SEEN.append, "undone")
        try:
            while True:
                checkpoint()
        except Interrupted as error:
            work.SEEN.append(error.reason)
            raise

    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            ref = await rt.spawn(spin, host="thread")
            await simulation.advance("1s")
            await ref.cancel("enough")
            with pytest.raises(TaskCancelled):
                await ref
            assert work.SEEN == ["enough", "undone"]

    play(scenario, loop, 1)


def test_a_function_in_a_thread_makes_room_for_a_more_urgent_one(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(pools={"narrow": 1}) as rt:
            low = await rt.spawn(work.count, 1000, "low", host="thread", tag="narrow", priority=1)
            await simulation.advance("100ms")
            high = await rt.spawn(work.count, 50, "high", host="thread", tag="narrow", priority=5)
            assert await high == 50
            assert await low == 1000
            names = [name for name, _ in work.SEEN]
            first, last = names.index("high"), len(names) - names[::-1].index("high")
            assert names[first:last] == ["high"] * 50
            assert 0 < first < 1000

    play(scenario, loop)


def test_one_that_waits_for_its_place_can_be_cancelled_there(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime(pools={"narrow": 1}) as rt:
            low = await rt.spawn(work.spin, "low", host="thread", tag="narrow", priority=1)
            await simulation.advance("100ms")
            high = await rt.spawn(work.spin, "high", host="thread", tag="narrow", priority=5)
            await simulation.advance("1s")
            assert work.SEEN == [("begun", "low"), ("begun", "high")]
            await low.cancel()
            assert work.SEEN[-1] == ("left", "low")
            await high.cancel()

    play(scenario, loop)


def test_what_a_thread_tells_arrives_in_its_order(loop: str) -> None:
    def tell(counter: Any) -> None:
        for number in range(20):
            counter.tell(Recorder.note, number)

    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            recorder = await rt.spawn(Recorder)
            await rt.run(tell, recorder, host="thread")
            assert await recorder.ask.noted() == list(range(20))

    play(scenario, loop, 1, 2)


class Recorder(work.Counter):
    """Notes what it is told."""

    async def note(self, number: int) -> None:
        self.notes = [*getattr(self, "notes", []), number]

    async def noted(self) -> list[int]:
        return self.notes


def test_virtual_time_stands_still_while_the_loop_goes_on_without_a_thread(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockstep, "PATIENCE", 0.02)

    async def scenario(simulation: Any) -> None:
        let_on = threading.Event()
        hosts = simulation._world.hosts
        async with simulation.runtime() as rt:
            ref = await rt.spawn(let_on.wait, 20.0, host="thread")
            timer = await rt.spawn(work.nap, 1.0)
            await simulation.run_until_idle()
            assert hosts.busy_in_real_time
            assert simulation.now == 0.0
            let_on.set()
            assert await ref
            assert simulation.now == 0.0
            assert not hosts.busy_in_real_time
            await timer

    play(scenario, loop)


def test_functions_that_are_left_to_themselves_end_with_the_simulation(loop: str) -> None:
    async def scenario(simulation: Any) -> None:
        async with simulation.runtime() as rt:
            ref = await rt.spawn(work.spin, host="thread", abandon_on_cancel=True)
            await simulation.advance("1s")
            await ref.cancel()
        assert simulation.now < 1.1

    play(scenario, loop)
    assert work.SEEN == [("begun", None), ("left", None)]
    assert not [thread for thread in threading.enumerate() if "simulated" in thread.name]

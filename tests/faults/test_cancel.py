"""Work that does not stop when it is told to: its caller has an answer, its host goes, the others go on.

What is tested elsewhere: functions that stop at a checkpoint, timeouts, tasks that are cancelled in the queue
(`tests/test_host_tasks.py`), tasks that are suspended (`tests/test_preemption_hosts.py`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from actorsched import Supervise, TaskCancelled, TaskStatus
from actorsched._system.host_stops import GRACE
from tests.faults import deeds
from tests.faults.harness import Trial, survive
from tests.host_help import Fifo, alive, until

pytestmark = [pytest.mark.usefixtures("small_heap"), pytest.mark.process, pytest.mark.deadline(30)]
BACKENDS = ["asyncio", "uvloop", "trio"]
PATIENCE = 4 * (GRACE + 0.5)
"""Seconds: four times what is promised, for machines that are busy with something else."""
STUBBORN = [
    deeds.spin,
    deeds.spin_in_c,
    deeds.backtrack,
    deeds.huge_power,
    deeds.sleep_in_c,
    deeds.sleep_in_c_with_the_lock,
    deeds.swallow_everything,
]


async def test_cancelling_what_never_stops_takes_no_longer_than_the_grace(
    backend: str, tmp_path: Path
) -> None:
    deeds_of_this = STUBBORN[BACKENDS.index(backend) :: 3]
    async with Trial(tmp_path, hosts=1 + len(deeds_of_this)) as trial:
        stubborn, pids = [], []
        with Fifo(tmp_path, "begun") as begun:
            for deed in deeds_of_this:
                stubborn.append(await trial.start(deed.__name__, deed, begun.path))
                pids.append(await begun.told())
            behind = [await trial.start(f"behind {n}", deeds.same, n) for n in range(10)]

            async def cancel(ref: Any) -> None:
                then = time.monotonic()
                await ref.cancel(reason="enough")
                assert time.monotonic() - then < PATIENCE, ref

            async with anyio.create_task_group() as group:
                for ref in stubborn:
                    group.start_soon(cancel, ref)
        for ref in stubborn:
            assert ref.status is TaskStatus.CANCELLED
            with pytest.raises(TaskCancelled, match="enough"):
                await ref
        await until(lambda: not any(map(alive, pids)))
        assert [await ref for ref in behind] == list(range(10)), "they were not lost with them"


@pytest.mark.parametrize("backend", ["uvloop"], indirect=True)
async def test_a_timeout_of_what_never_stops_takes_no_longer_than_the_grace(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=2) as trial:
        with Fifo(tmp_path, "begun") as begun:
            then = time.monotonic()
            error = await trial.error_of("stubborn", deeds.spin_in_c, begun.path, timeout=0.1)
            assert time.monotonic() - then < PATIENCE + 1
        assert isinstance(error, TimeoutError)


@pytest.mark.parametrize("backend", ["trio"], indirect=True)
async def test_all_hosts_may_be_stuck_at_once(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=2, neighbours=False) as trial:
        with Fifo(tmp_path, "begun") as begun:
            stuck = [await trial.start(f"stuck {n}", deeds.spin, begun.path) for n in range(2)]
            await begun.told()
            behind = [await trial.start(f"behind {n}", deeds.same, n) for n in range(50)]
            then = time.monotonic()
            async with anyio.create_task_group() as group:
                for ref in stuck:
                    group.start_soon(ref.cancel)
            assert time.monotonic() - then < PATIENCE
            assert [await ref for ref in behind] == list(range(50))


@pytest.mark.parametrize("backend", ["asyncio", "trio"], indirect=True)
async def test_a_handler_that_never_stops_loses_its_host_and_its_neighbours_restart(
    backend: str, tmp_path: Path
) -> None:
    deed = deeds.spin_in_c if backend == "trio" else deeds.swallow_everything
    async with (
        Trial(tmp_path, hosts=1, neighbours=False) as trial,
        trial.rt.scope(Supervise(max_restarts=100)) as scope,
    ):
        keepers: list[Any] = [await scope.spawn(deeds.Keeper, n) for n in range(3)]
        loose: Any = await scope.spawn(deeds.Keeper, 7, host="loop")
        pids = {await keeper.ask.pid() for keeper in keepers}
        assert len(pids) == 1, "they share a host"
        for keeper in (*keepers, loose):
            await keeper.ask.add(10)
        with Fifo(tmp_path, "begun") as begun:

            async def ask() -> None:
                await keepers[0].ask.do(trial.ledger.path, "stubborn", deed, begun.path)

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await begun.told()
                for number in range(5):
                    keepers[1].tell(deeds.Keeper.add, number)
                then = time.monotonic()
                group.cancel_scope.cancel()
            assert time.monotonic() - then < PATIENCE
        await until(lambda: not any(map(alive, pids)))
        assert await survive(keepers[0].ask.add, 1) == 1
        assert await survive(keepers[1].ask.add, 1) == 1 + 1 + 10, "messages outlive their host"
        assert await survive(keepers[2].ask.add, 1) == 3
        assert await loose.ask.add(1) == 18
        assert trial.ledger.starts()["stubborn"] == 1

"""Tasks with bad manners: they change their process, fork, and leave things behind.

What is tested elsewhere: children of killed hosts (`tests/hosting/test_task_host.py`), forks of the parent
(`tests/hosting/test_survival.py`).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from actorsched.exceptions import HostDied
from tests.faults import deeds
from tests.faults.harness import Trial, survive
from tests.host_help import Fifo, alive, until

pytestmark = [pytest.mark.usefixtures("small_heap"), pytest.mark.process, pytest.mark.deadline(15)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TRIO = pytest.mark.parametrize("backend", ["trio"], indirect=True)
UVLOOP = pytest.mark.parametrize("backend", ["uvloop"], indirect=True)


@ONE
async def test_a_host_works_on_whatever_a_task_has_changed_in_it(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        pid = await (await trial.start("changing", deeds.change_everything))
        assert await (await trial.start("after", deeds.pid)) == pid
        assert await (await trial.start("big", deeds.size_of, bytes(10**6))) == 10**6
        assert len(await (await trial.start("big result", deeds.make_bytes, 10**6))) == 10**6
        with pytest.raises(ZeroDivisionError):
            await (await trial.start("fails", deeds.divide, 1, 0))
        assert await (await trial.start("group", deeds.leave_the_group)) == pid
        assert not await (await trial.start("session", deeds.start_session))
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        await keeper.ask.do(trial.ledger.path, "handler", deeds.change_everything)
        assert await keeper.ask.add(1) == 2


@TRIO
async def test_a_host_whose_tasks_ignore_its_signals_dies_when_it_is_told_to(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        pid = await (await trial.start("changing", deeds.change_everything))
        with Fifo(tmp_path, "told") as told:
            ref = await trial.start("hanging", deeds.wait_for_word, told.path, fifo(tmp_path))
            await told.told()
            await ref.cancel()
        await until(lambda: not alive(pid))


def fifo(folder: Path) -> str:
    """One that nobody writes to."""
    path = folder / "nobody writes"
    os.mkfifo(path)
    return str(path)


@UVLOOP
async def test_children_of_tasks_live_as_long_as_their_host_and_no_longer(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=2) as trial:
        tree = await (await trial.start("tree", deeds.leave_a_tree_behind, trial.ledger.path))
        child = await (await trial.start("fork", deeds.fork_and_return, trial.ledger.path))
        left = [*tree, child]
        assert all(map(alive, left))
        await trial.lost("dies", deeds.leave, 3)
        await until(lambda: not any(map(alive, left)))
        await (await trial.start("another tree", deeds.leave_a_tree_behind, trial.ledger.path))
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        await keeper.ask.do(trial.ledger.path, "in a handler", deeds.fork_and_return, trial.ledger.path)
        assert await keeper.ask.add(1) == 2


@ONE
async def test_a_fork_that_goes_on_as_if_it_were_the_host_does_not_speak_for_it(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=2) as trial:
        for number in range(3):
            first = await trial.start(
                f"fork {number}", deeds.fork_and_both_return, trial.ledger.path, in_a_loop=number == 2
            )
            behind = [await trial.start(f"{n} behind {number}", deeds.same, n) for n in range(20)]
            await first
            assert [await ref for ref in behind] == list(range(20))
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        await keeper.ask.do(trial.ledger.path, "handler", deeds.fork_and_both_return, trial.ledger.path)
        assert await keeper.ask.add(1) == 2
        forks = trial.ledger.children()
        await until(lambda: not any(map(alive, forks)))


@TRIO
async def test_forks_that_log_do_not_speak_with_the_voice_of_the_host(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=2) as trial:
        for number in range(3):
            assert await (await trial.start(f"logging {number}", deeds.log_in_forks, 4, 50)) == [0] * 4
        assert await trial.rt.run(deeds.same, 5, host="process") == 5


@UVLOOP
async def test_a_pool_of_multiprocessing_works_in_a_task(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        assert await (await trial.start("pool", deeds.use_a_pool, 20)) == [n * n for n in range(20)]


@ONE
async def test_threads_that_never_end_do_not_keep_a_host_alive(tmp_path: Path) -> None:
    then = time.monotonic()
    async with Trial(tmp_path, hosts=1, neighbours=False, shutdown_timeout=0.2) as trial:
        pid = await (await trial.start("threads", deeds.start_threads_that_stay))
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        await keeper.ask.do(trial.ledger.path, "in a handler", deeds.start_threads_that_stay)
        assert await trial.rt.run(deeds.pid, host="process") == pid
    assert not alive(pid)
    assert time.monotonic() - then < 8


@TRIO
async def test_a_thread_that_a_task_left_behind_may_kill_the_host_of_a_later_one(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=2) as trial:
        with Fifo(tmp_path, "bomb") as bomb:
            pid = await (await trial.start("bomb", deeds.leave_from_a_thread, bomb.path, 6))
            victim = await trial.start("victim", deeds.wait_for_word, bomb.path, fifo(tmp_path))
            error = (await victim.outcome()).error
        assert isinstance(error, HostDied)
        assert (error.pid, error.exit_code) == (pid, 6)


@UVLOOP
async def test_a_thread_that_a_handler_left_behind_may_kill_the_host(tmp_path: Path) -> None:
    async with Trial(tmp_path, neighbours=False) as trial:
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        with Fifo(tmp_path, "bomb") as bomb:
            pid = await keeper.ask.do(trial.ledger.path, "bomb", deeds.leave_from_a_thread, bomb.path, 6)
            bomb.tell()
            await until(lambda: not alive(pid))
        assert await survive(keeper.ask.add, 1) == 2

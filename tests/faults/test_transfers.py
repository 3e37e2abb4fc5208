"""Deaths in the middle of big transfers, sides that are slow to read, and many tasks among dying hosts.

What is tested elsewhere: results that nobody had read when their host died (`tests/hosting/test_survival.py`)
and borrowed arrays of dead hosts (`tests/hosting/test_segments.py`); a storm over tasks and actors that use
each other (`tests/test_host_survival.py`).
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from actorsched import TaskStatus
from actorsched.exceptions import HostDied
from tests.faults import deeds
from tests.faults.harness import Trial, pid_of
from tests.host_help import Fifo, alive, kill, until

pytestmark = [pytest.mark.usefixtures("small_heap"), pytest.mark.process, pytest.mark.deadline(60)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TRIO = pytest.mark.parametrize("backend", ["trio"], indirect=True)
UVLOOP = pytest.mark.parametrize("backend", ["uvloop"], indirect=True)
MEGABYTE = 1024 * 1024


@pytest.mark.parametrize("inline", [False, True], ids=["shared memory", "inline"])
@UVLOOP
async def test_a_host_that_dies_amid_a_big_result_loses_its_task_only(
    inline: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if inline:
        monkeypatch.delattr(os, "memfd_create")
    async with Trial(tmp_path, from_outside=True) as trial:
        pid = await trial.rt.run(deeds.pid, host="process")
        big = await trial.start("big result", deeds.make_text, 30 * MEGABYTE)
        await until(lambda: trial.ledger.starts()["big result"])
        time.sleep(0.02)  # noqa: ASYNC251  # nobody reads meanwhile: it is amid its result, or done with it
        kill(pid)
        outcome = await big.outcome()
        assert outcome.ok or isinstance(outcome.error, HostDied)
        assert len(await (await trial.start("next", deeds.make_text, MEGABYTE))) == MEGABYTE


@pytest.mark.parametrize("inline", [False, True], ids=["shared memory", "inline"])
@TRIO
async def test_a_host_that_dies_amid_big_arguments_costs_nothing(
    inline: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if inline:
        monkeypatch.delattr(os, "memfd_create")
    async with Trial(tmp_path, from_outside=True) as trial:
        pid = await trial.rt.run(deeds.pid, host="process")
        data = bytes(30 * MEGABYTE)
        refs = [await trial.start(f"big {n}", deeds.size_of, data) for n in range(3)]
        kill(pid)
        for ref in refs:
            outcome = await ref.outcome()
            assert outcome.value == len(data) or isinstance(outcome.error, HostDied)


@ONE
async def test_a_host_that_is_busy_while_much_is_queued_for_it_is_given_it_in_time(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        with Fifo(tmp_path, "told") as told, Fifo(tmp_path, "word") as word:
            busy = await trial.start("busy", deeds.wait_for_word, told.path, word.path)
            await told.told()
            data = bytes(5 * MEGABYTE)
            refs = [await trial.start(f"queued {n}", deeds.size_of, data) for n in range(20)]
            kept: Any = await trial.rt.spawn(deeds.Keeper, 1)
            assert await kept.ask.add(1) == 2, "meanwhile the loop runs"
            word.tell()
            await busy
            assert [await ref for ref in refs] == [len(data)] * 20


@UVLOOP
async def test_what_hosts_say_while_the_loop_is_blocked_is_heard_afterwards(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=3, from_outside=True) as trial:
        refs = [await trial.start(f"text {n}", deeds.make_text, 200_000) for n in range(40)]
        await refs[0]
        time.sleep(0.3)  # noqa: ASYNC251  # the fault: a handler of the user's that blocks the loop
        victim = await pid_of(trial)
        kill(victim)
        time.sleep(0.1)  # noqa: ASYNC251
        outcomes = [await ref.outcome() for ref in refs]
        lost = [outcome for outcome in outcomes if not outcome.ok]
        assert len(lost) <= 1, "only what ran there when it was killed"
        assert all(len(outcome.value) == 200_000 for outcome in outcomes if outcome.ok)


@ONE
async def test_asks_of_actors_in_a_host_with_big_arguments_survive_its_death_or_say_so(
    tmp_path: Path,
) -> None:
    async with Trial(tmp_path, neighbours=False, from_outside=True) as trial:
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        data = bytes(5 * MEGABYTE)
        found: list[Any] = []

        async def ask(number: int) -> None:
            try:
                found.append(await keeper.ask.do(trial.ledger.path, f"{number}", deeds.size_of, data))
            except HostDied as error:
                found.append(error)

        pid = await keeper.ask.pid()
        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(ask, number)
            await until(lambda: len(found) > 2)
            kill(pid)
        assert len(found) == 10
        assert sum(isinstance(one, HostDied) for one in found) <= 1, "one was handled, the others waited"
        assert max(trial.ledger.starts().values()) == 1


async def test_very_many_tasks_among_dying_hosts_run_once_each(
    backend: str, tmp_path: Path, many: int
) -> None:
    """The hosts are killed from outside, whatever they do at that moment."""
    chance = random.Random(backend)
    async with Trial(tmp_path, hosts=2, neighbours=False) as trial:
        refs = [
            await trial.rt.spawn(deeds.note_once, trial.ledger.path, n, host="process") for n in range(many)
        ]
        deaths = 6
        for death in range(deaths):
            await until(lambda death=death: refs[(death + 1) * many // (deaths + 2)].done())  # type: ignore[misc]
            pids = [pid for pid in map(link_pid, trial.rt._system.staff.links) if alive(pid)]
            if pids:
                kill(chance.choice(pids))
        outcomes = [await ref.outcome() for ref in refs]
        lost = [outcome for outcome in outcomes if outcome.status is not TaskStatus.COMPLETED]
        assert all(isinstance(outcome.error, HostDied) for outcome in lost)
        assert len(lost) <= deaths, "what had not begun is done by others"
        starts = trial.ledger.starts()
        assert set(starts.values()) == {1}, "nothing runs twice"
        assert len(starts) >= many - len(lost)
        refs.clear()


def link_pid(link: Any) -> int:
    return int(link.pid)

"""Hosts that end, however they do it, whatever they were doing.

What is tested elsewhere: hosts that never start, few descriptors in the parent, deaths under actors' streams
and hooks (`tests/test_host_survival.py`); how each death looks to the link (`tests/hosting/test_task_host.py`
and `test_survival.py`); deaths of suspended hosts (`tests/test_preemption_hosts.py`); orphans
(`tests/hosting/test_survival.py`), lifelines.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

from actorsched import Supervise, TaskStatus
from actorsched._hosting import link
from actorsched.exceptions import HostDied
from tests.faults import deeds
from tests.faults.harness import Trial, check_report, survive
from tests.host_help import Fifo, task_hosts, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.usefixtures("small_heap"), pytest.mark.process, pytest.mark.deadline(30)]
BACKENDS = ["asyncio", "uvloop", "trio"]


class Way(NamedTuple):
    """How a host ends, and what is said about it."""

    name: str
    deed: Callable[..., Any]
    args: tuple[Any, ...]
    signal: int | None
    exit_code: int | None
    cause: str
    says: str


KILLED = signal.SIGKILL, None, "crashed"
"""What its parent does to a host that has left the protocol."""

WAYS = [
    Way("SIGKILL", deeds.die_of, (signal.SIGKILL,), signal.SIGKILL, None, "killed", "killed by SIGKILL"),
    Way("SIGTERM", deeds.die_of, (signal.SIGTERM,), signal.SIGTERM, None, "killed", "killed by SIGTERM"),
    Way("SIGHUP", deeds.die_of, (signal.SIGHUP,), signal.SIGHUP, None, "killed", "killed by SIGHUP"),
    Way("SIGRTMIN", deeds.die_of, (signal.SIGRTMIN + 5,), signal.SIGRTMIN + 5, None, "killed", "signal 39"),
    Way("segfault", deeds.segfault, (), signal.SIGSEGV, None, "crashed", "segmentation fault"),
    Way("abort", os.abort, (), signal.SIGABRT, None, "crashed", "native code gave up"),
    Way("SIGBUS", deeds.die_of, (signal.SIGBUS,), signal.SIGBUS, None, "crashed", "SIGBUS"),
    Way("exit 0", deeds.leave, (0,), None, 0, "exited", "exited with code 0"),
    Way("exit 7", deeds.leave, (7,), None, 7, "exited", "exited with code 7"),
    Way("exit with threads", deeds.leave_while_threads_run, (0,), None, 0, "exited", "exited with code 0"),
    Way("exec", deeds.leave_by_exec, (), None, 4, "exited", "exited with code 4"),
    Way("closes all", deeds.close_all_descriptors, (), *KILLED, "closed its socket"),
    Way("shuts its sockets down", deeds.shut_sockets_down, (), None, None, "", "was lost"),
    Way("garbage", deeds.write_to_sockets, (b"garbage" * 10,), *KILLED, "not of the protocol"),
    Way(
        "a wrong body", deeds.write_to_sockets, (b"as\0\0\x08\0\0\0nonsense",), *KILLED, "not of the protocol"
    ),
    Way(
        "an unknown frame",
        deeds.write_to_sockets,
        (b"as\0\0\x04\0\0\0\x91\x92\x7a\x01",),
        *KILLED,
        "of the prot",
    ),
    Way(
        "what only we may say",
        deeds.write_to_sockets,
        (b"as\0\0\x03\0\0\0\x91\x91\x01",),
        *KILLED,
        "of the prot",
    ),
    Way(
        "scribbles",
        deeds.scribble_over_shared_memory,
        (),
        signal.SIGKILL,
        None,
        "killed",
        "killed by SIGKILL",
    ),
]


def ways_on(backend: str) -> list[Way]:
    """The ways take turns with the backends."""
    return WAYS[BACKENDS.index(backend) :: 3]


def check_way(way: Way, error: Any) -> None:
    assert isinstance(error, HostDied), error
    check_report(error)
    assert way.says in str(error)
    if way.cause:
        assert (error.signal, error.exit_code, error.cause) == (way.signal, way.exit_code, way.cause)


async def test_a_host_that_ends_takes_its_task_along_and_nothing_else(backend: str, tmp_path: Path) -> None:
    async with Trial(tmp_path) as trial:
        for way in ways_on(backend):
            deadly = await trial.start(f"deadly by {way.name}", way.deed, *way.args, crashes=1)
            behind = [await trial.start(f"{n} behind {way.name}", deeds.same, n) for n in range(3)]
            check_way(way, (await deadly.outcome()).error)
            assert [await ref for ref in behind] == list(range(3))


async def test_a_host_of_actors_that_ends_restarts_them(backend: str, tmp_path: Path) -> None:
    async with (
        Trial(tmp_path, neighbours=False) as trial,
        trial.rt.scope(Supervise(max_restarts=100)) as scope,
    ):
        looping: Any = await scope.spawn(deeds.Keeper, 7, host="loop")
        keeper: Any = await scope.spawn(deeds.Keeper, 5)
        for way in ways_on(backend):
            assert await survive(keeper.ask.add, 1) == 6, "it begins anew"
            with pytest.raises(HostDied) as caught:
                await keeper.ask.do(trial.ledger.path, way.name, way.deed, *way.args)
            check_way(way, caught.value)
            assert trial.ledger.starts()[way.name] == 1
        assert await survive(keeper.ask.add, 1) == 6
        assert await looping.ask.add(1) == 8


@pytest.mark.parametrize("backend", ["trio"], indirect=True)
async def test_a_result_counts_though_its_host_has_nothing_to_say_it_with(tmp_path: Path) -> None:
    async with Trial(tmp_path) as trial:
        ref = await trial.start("mute", deeds.close_all_and_return)
        assert await ref == "unheard"


@pytest.mark.parametrize("backend", ["uvloop"], indirect=True)
async def test_a_host_that_announces_more_than_it_says_is_killed_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(link, "_PAUSE", 0.3)
    async with Trial(tmp_path, neighbours=False) as trial:
        announced = b"as\0\0\xff\xff\xff\xff"
        error = await trial.lost("silent", deeds.write_to_sockets, announced)
        assert (error.signal, error.cause) == (signal.SIGKILL, "crashed")
        assert "a part of something" in str(error)
        await trial.lost("goes on", deeds.write_to_sockets, announced, deeds.pid)
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        with pytest.raises(HostDied, match="a part of something"):
            await keeper.ask.do(trial.ledger.path, "a", deeds.write_to_sockets, announced, deeds.pid)
        assert await survive(keeper.ask.add, 1) == 2


@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
async def test_a_host_that_is_suspended_amid_its_words_is_not_killed_for_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(link, "_PAUSE", 0.25)
    monkeypatch.delattr(os, "memfd_create")
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        await trial.rt.run(deeds.pid, host="process")
        there = task_hosts(trial.rt)[0].link
        ref = await trial.start("text", deeds.make_text, 20_000_000)
        await until(lambda: there._splitter.partial or ref.done())
        there.suspend()
        await anyio.sleep(0.4)
        there.resume()
        assert len(await ref) == 20_000_000


# ------------------------------------------------------------------------------------- from outside, any time


@pytest.mark.parametrize(("kind", "backend"), [("task", "asyncio"), ("actor", "trio")], indirect=["backend"])
async def test_a_host_that_somebody_else_has_stopped_is_given_up(kind: str, tmp_path: Path) -> None:
    async with Trial(tmp_path, neighbours=kind == "task", from_outside=True) as trial:
        with Fifo(tmp_path, "begun") as begun:
            if kind == "task":
                stopped = await trial.start("stopped", deeds.spin, begun.path)
                pid = await begun.told()
                os.kill(pid, signal.SIGSTOP)
                behind = [await trial.start(f"behind {n}", deeds.same, n) for n in range(5)]
                error = (await stopped.outcome()).error
                assert [await ref for ref in behind] == list(range(5))
            else:
                keeper: Any = await trial.rt.spawn(deeds.Keeper, 5)
                await keeper.ask.add(1)
                pid = await keeper.ask.pid()
                os.kill(pid, signal.SIGSTOP)
                with pytest.raises(HostDied) as caught:
                    await keeper.ask.add(1)
                error = caught.value
                assert await survive(keeper.ask.add, 1) == 6
        assert isinstance(error, HostDied)
        assert (error.pid, error.signal, error.cause) == (pid, signal.SIGKILL, "killed")
        assert "stopped by somebody else" in str(error)


@pytest.mark.parametrize("backend", ["uvloop"], indirect=True)
async def test_a_host_that_was_stopped_for_a_moment_goes_on(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        pid = await trial.rt.run(deeds.pid, host="process")
        for number in range(10):
            os.kill(pid, signal.SIGSTOP)
            ref = await trial.start(f"{number}", deeds.pid)
            await anyio.sleep(0.002)
            os.kill(pid, signal.SIGCONT)
            assert await ref == pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
@pytest.mark.parametrize("backend", ["trio"], indirect=True)
async def test_hosts_that_die_before_they_are_ready_cost_no_task(number: int, tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=2, neighbours=False, from_outside=True) as trial:
        refs = [await trial.start(f"{n}", deeds.same, n) for n in range(10)]
        struck: set[int] = set()

        def strike() -> bool:
            for link in trial.rt._system.staff.links:
                if link.pid and not link.ready and link.pid not in struck and len(struck) < 3:
                    struck.add(link.pid)
                    os.kill(link.pid, number)
            return all(ref.done() for ref in refs)

        while not strike():
            await anyio.sleep(0)
        assert [await ref for ref in refs] == list(range(10))


@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
async def test_a_host_that_is_killed_while_it_is_suspended_loses_its_task_only(tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False, from_outside=True) as trial:
        with Fifo(tmp_path, "low") as low, Fifo(tmp_path, "high") as high, Fifo(tmp_path, "word") as word:
            suspended = await trial.start("suspended", deeds.spin, low.path, priority=1)
            pid = await low.told()
            urgent = await trial.start("urgent", deeds.wait_for_word, high.path, word.path, priority=5)
            elsewhere = await high.told()
            await until(lambda: suspended.status is TaskStatus.PREEMPTED)
            behind = [await trial.start(f"behind {n}", deeds.same, n, priority=1) for n in range(5)]
            os.kill(pid, signal.SIGKILL)
            error = (await suspended.outcome()).error
            assert isinstance(error, HostDied)
            assert (error.pid, error.signal, error.cause) == (pid, signal.SIGKILL, "killed")
            word.tell()
            assert await urgent == elsewhere
            assert [await ref for ref in behind] == list(range(5))

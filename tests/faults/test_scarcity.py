"""Systems that have run out of something: memory files, room in them, descriptors, processes.

What is tested elsewhere: the first host when there are no descriptors (`tests/test_host_survival.py`), full
tables of descriptors while arrays cross (`tests/hosting/test_segments.py`), memory (`memory_mb`).
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Hosts, Runtime
from actorsched.exceptions import HostDied
from tests.faults import deeds
from tests.faults.harness import Trial
from tests.host_help import alive, kill, task_hosts, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.usefixtures("small_heap"), pytest.mark.process, pytest.mark.deadline(15)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TRIO = pytest.mark.parametrize("backend", ["trio"], indirect=True)
UVLOOP = pytest.mark.parametrize("backend", ["uvloop"], indirect=True)
BIG = 300_000


def no_room(*args: Any, **named: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


async def cross(trial: Trial, name: str) -> None:
    """Big things, in both directions, to and from tasks and actors."""
    data = os.urandom(BIG)
    assert await (await trial.start(f"there and back {name}", deeds.same, data)) == data
    assert await (await trial.start(f"there {name}", deeds.size_of, data)) == BIG
    assert await (await trial.start(f"back {name}", deeds.make_bytes, BIG)) == bytes(BIG)
    assert await trial.keeper.ask.do(trial.ledger.path, f"actor {name}", deeds.same, data) == data


@ONE
async def test_without_memory_files_big_things_travel_inline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "memfd_create", no_room)
    async with Trial(tmp_path) as trial:
        await cross(trial, "now")
        assert (await trial.lost("dies", deeds.leave, 3)).exit_code == 3
        await cross(trial, "afterwards")


@UVLOOP
async def test_when_shared_memory_is_full_here_big_things_travel_inline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        return real(descriptor, data, offset) if len(data) <= 8 else int(no_room())

    async with Trial(tmp_path) as trial:
        await cross(trial, "before")
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", pwrite)
            patch.setattr(os, "posix_fallocate", no_room)
            await cross(trial, "meanwhile")
            await trial.lost("dies", deeds.leave, 3)
        await cross(trial, "afterwards")


@TRIO
async def test_when_shared_memory_is_full_there_big_things_travel_inline(tmp_path: Path) -> None:
    async with Trial(tmp_path) as trial:
        limit = resource.RLIMIT_FSIZE, 1_100_000
        pid = await (await trial.start("limit", deeds.lower_limit, *limit))
        await trial.keeper.ask.do(trial.ledger.path, "limit in an actor", deeds.lower_limit, *limit)
        await cross(trial, "meanwhile")
        refs = [await trial.start(f"many {n}", deeds.make_bytes, BIG) for n in range(10)]
        assert [len(await ref) for ref in refs] == [BIG] * 10
        assert await (await trial.start("pid", deeds.pid)) == pid


@ONE
async def test_a_host_without_free_descriptors_works_on(tmp_path: Path) -> None:
    async with Trial(tmp_path) as trial:
        pid = await (await trial.start("limit", deeds.take_all_descriptors))
        await trial.keeper.ask.do(trial.ledger.path, "limit in an actor", deeds.take_all_descriptors)
        for number in range(5):  # they cannot be counted there: no file can be opened
            assert await trial.rt.run(deeds.size_of, bytes(BIG), host="process") == BIG
            assert len(await trial.rt.run(deeds.make_bytes, BIG, host="process")) == BIG
            assert await trial.rt.run(deeds.same, number, host="process") == number
            assert await trial.keeper.ask.add(0) == 41
        with pytest.raises(OSError, match="Too many open files"):
            await trial.rt.run(deeds.note, trial.ledger.path, "x", host="process")
        assert await trial.rt.run(deeds.pid, host="process") == pid


@contextmanager
def few_descriptors(free: int) -> Iterator[None]:
    """This process can open so many more, and none beyond."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    limit = next(n for n in range(4096) if len(set(range(n)) - used) == free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("free", [0, 3, 7])
@UVLOOP
async def test_deaths_are_noticed_and_told_though_no_descriptor_is_free(free: int, tmp_path: Path) -> None:
    async with Trial(tmp_path, neighbours=False) as trial:
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1, restart="temporary")
        pids = await keeper.ask.pid(), await trial.rt.run(deeds.pid, host="process")
        with few_descriptors(free):
            for pid in pids:
                kill(pid)
            await until(lambda: not keeper.alive)
            errors = [await trial.error_of(f"task {number}", deeds.same, number) for number in range(5)]
            for error in errors:
                assert error is None or (isinstance(error, HostDied) and error.cause == "never started")
        assert await (await trial.start("afterwards", deeds.same, 7)) == 7
        other: Any = await trial.rt.spawn(deeds.Keeper, 2)
        assert await other.ask.add(1) == 3


REFUSING = """#!{python}
import errno, os, sys
real = os.fork
def fork():
    if os.path.exists({flag!r}):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return real()
os.fork = fork
at = sys.argv.index("-c")
code = sys.argv[at + 1]
sys.argv[:] = ["-c", *sys.argv[at + 2:]]
exec(code, {{"__name__": "__main__"}})
"""
"""An interpreter that cannot fork while there is a certain file: root is above RLIMIT_NPROC."""


@TRIO
async def test_without_processes_there_are_clear_errors_and_afterwards_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program, flag = tmp_path / "python", tmp_path / "no more processes"
    program.write_text(REFUSING.format(python=sys.executable, flag=str(flag)))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1, restart="temporary")
        await keeper.ask.add(1)
        pid = await trial.rt.run(deeds.pid, host="process")
        flag.touch()
        kill(pid)
        await until(lambda: not alive(pid))
        errors = [await trial.error_of(f"task {number}", deeds.same, number) for number in range(3)]
        for error in errors:
            assert isinstance(error, HostDied), error
            assert error.cause == "never started"
            assert "temporarily unavailable" in str(error)
        assert await keeper.ask.add(1) == 3
        kill(await keeper.ask.pid())
        await until(lambda: not keeper.alive)
        with pytest.raises(HostDied, match="temporarily unavailable"):
            await trial.rt.spawn(deeds.Keeper, 1)
        flag.unlink()
        assert await (await trial.start("afterwards", deeds.same, 7)) == 7
        other: Any = await trial.rt.spawn(deeds.Keeper, 2)
        assert await other.ask.add(1) == 3


@ONE
async def test_without_a_process_for_the_spawner_there_are_clear_errors_and_afterwards_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        await until(lambda: task_hosts(trial.rt))
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", no_room)
            async with Runtime(hosts=Hosts(max=1)) as rt:
                for _ in range(2):
                    with pytest.raises(HostDied, match="No space left"):
                        await rt.run(deeds.same, 1, host="process")
                    with pytest.raises(HostDied, match="No space left"):
                        await rt.spawn(deeds.Keeper, 1)
                patch.undo()
                assert await rt.run(deeds.same, 1, host="process") == 1

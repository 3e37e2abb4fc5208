"""Bad luck: parents and hosts that die, many tasks, systems that lack something. Nothing may be left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from actorsched._hosting import wire
from actorsched.exceptions import HostDied
from tests.hosting import work
from tests.hosting.harness import Host, hosted

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
STATES = ["idle", "stopped", "spinning", "holding the GIL", "deaf", "with a child", "actors"]


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def start_orphanage(*states: str) -> tuple[subprocess.Popen[str], list[int]]:
    """The parent, and the processes that have to die with it."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.hosting.orphanage", *states],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    pids: list[int] = []
    for line in parent.stdout:
        if line == "ready\n":
            return parent, pids
        pids.append(int(line))
    parent.stdout.close()
    raise AssertionError(f"the parent has ended too early, with {parent.wait()}")


def gone_within(seconds: float, pids: list[int]) -> list[int]:
    """Those that are still alive after so many seconds."""
    limit = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.001)
    return [pid for pid in pids if alive(pid)]


@pytest.mark.deadline(60)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_no_host_outlives_its_parent_whatever_it_does(number: int) -> None:
    parent, pids = start_orphanage(*STATES)
    with parent:
        try:
            assert len(pids) == len(STATES) + 1
            assert all(map(alive, pids))
            parent.send_signal(number)
            assert gone_within(2.0, pids) == []
        finally:
            parent.kill()
            for pid in pids:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.deadline(60)
def test_a_fork_of_the_parent_does_not_keep_hosts_alive() -> None:
    program = (
        "import asyncio, os, sys, time\n"
        "from tests.hosting.harness import Host\n"
        "from tests.hosting import work\n"
        "async def main():\n"
        "    host = Host('tasks')\n"
        "    await host.run(work.nothing)\n"
        "    host.start(work.spin)\n"
        "    pid = os.fork()\n"
        "    if pid == 0: time.sleep(1000)\n"
        "    print(host.link.pid, pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        host, fork = map(int, parent.stdout.readline().split())
        try:
            parent.kill()
            assert gone_within(2.0, [host]) == []
            assert alive(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_a_lifeline_without_signals_is_watched_by_a_thread() -> None:
    program = (
        "import fcntl, os, sys, time\n"
        "del fcntl.F_SETSIG\n"
        "from actorsched._hosting.lifeline import hang_on\n"
        "hang_on(int(sys.argv[1]))\n"
        "print('hanging', flush=True)\n"
        "while True: time.sleep(1000)\n"
    )
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(read)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        pass_fds=[read],
    ) as child:
        os.close(read)
        assert child.stdout is not None
        assert child.stdout.readline() == "hanging\n"
        os.close(write)
        assert child.wait(10) == 1


def test_a_lifeline_that_is_cut_already_is_noticed_at_once() -> None:
    program = (
        "import sys\n"
        "from actorsched._hosting.lifeline import hang_on\n"
        "hang_on(int(sys.argv[1]))\n"
        "print('alive')\n"
    )
    read, write = os.pipe()
    os.close(write)
    done = subprocess.run(
        [sys.executable, "-c", program, str(read)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        pass_fds=[read],
        check=False,
    )
    os.close(read)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


# ------------------------------------------------------------------------------------------------------- load


async def test_thousands_of_quick_tasks_leave_nothing_behind() -> None:
    async with hosted() as host, hosted() as other:
        numbers = [(one, one.start(work.same, n)) for n in range(2000) for one in (host, other)]
        for one, number in numbers[-2:]:
            assert await one.result(number) == 1999
        assert len(host.seen(wire.Done)) == len(other.seen(wire.Done)) == 2000


async def test_a_host_that_is_slow_to_read_blocks_nobody() -> None:
    async with hosted() as host:
        await host.run(work.nothing)
        host.link.suspend()
        text = "x" * 50_000
        numbers = [host.start(work.same, text) for _ in range(50)]
        host.link.flush()
        assert host.link.unsent > 0
        host.link.resume()
        assert await host.result(numbers[-1]) == text
        assert host.link.unsent == 0


@pytest.mark.parametrize("seed", range(5))
async def test_a_host_that_is_killed_at_any_moment_tells_the_truth_about_what_had_begun(seed: int) -> None:
    chance = random.Random(seed)
    async with hosted() as host:
        numbers = [host.start(work.same, n) for n in range(500)]
        enough = chance.randrange(400)
        await host.until(lambda: len(host.seen(wire.Done)) > enough)
        os.kill(host.link.pid, signal.SIGKILL)
        end = await host.ended()
        done = {frame.task_id for frame in host.seen(wire.Done)}
        assert done == set(numbers[: len(done)])
        assert max(done) <= end.last_started <= numbers[-1]


async def test_hosts_that_start_and_stop_at_once_leave_nothing() -> None:
    hosts = [Host("tasks" if n % 2 else "actors") for n in range(6)]
    for n, host in enumerate(hosts):
        host.link.stop() if n < 3 else host.link.kill()
    for host in hosts:
        await host.ended()
    assert [host.exit.cause for host in hosts if host.exit][:3] == ["stopped"] * 3


# ---------------------------------------------------------------------------------------- what may be missing


@pytest.mark.parametrize("size", [10, 10_000, 300_000])
async def test_what_was_done_before_a_crash_counts_though_nobody_had_been_told(size: int) -> None:
    text = b"x" * size
    async with hosted() as host:
        await host.run(work.nothing)
        numbers = [host.start(work.same, text) for _ in range(20)]
        failing, deadly = host.start(work.fail, "as it should"), host.start(work.exit_hard, 9)
        never = host.start(work.same, 1)
        assert (await host.ended()).last_started == deadly < never
        assert [await host.result(number) for number in numbers] == [text] * 20
        with pytest.raises(LookupError, match="as it should"):
            await host.result(failing)
        with pytest.raises(HostDied):
            await host.result(deadly)


async def test_the_end_of_a_host_is_told_though_somebody_fails_at_its_last_words() -> None:
    async with hosted() as host:
        await host.run(work.nothing)
        fails = pytest.raises(LookupError, match="at a frame")

        def fail(frame: object) -> None:
            raise LookupError("at a frame")

        def read() -> None:
            """Nobody needs to know when that was all."""

        host.link.hand_over_to(fail, host._on_exit, read)
        host.link._stop_reading()  # as when the loop hears of the end first
        for number in range(20):
            host.start(work.same, number)
        host.start(work.exit_hard, 9)
        ended = host.link._process.on_end

        def end() -> None:
            with fails:
                ended()

        host.link._process.on_end = end
        assert (await host.ended()).exit_code == 9


async def test_a_result_that_was_being_written_when_the_host_was_killed_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with hosted() as host:
        await host.run(work.nothing)
        numbers = [host.start(work.write_and_return, str(log), 50_000) for _ in range(40)]
        host.link.flush()
        await host.result(numbers[0])
        wait_until_it_waits(host.link.pid)  # for this test, which does not read meanwhile
        done = len(log.read_text().splitlines())
        assert 1 < done < 40
        os.kill(host.link.pid, signal.SIGKILL)
        await host.ended()
        assert [await host.result(number) for number in numbers[:done]] == ["x" * 50_000] * done
        with pytest.raises(HostDied):
            await host.result(numbers[done])


def wait_until_it_waits(pid: int) -> None:
    """Until the process has used no processor time for a while, which is to be spent here."""
    used, looks = "", 0
    while looks < 2000:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        now = " ".join([fields[0], *fields[11:13]])
        looks = looks + 1 if now == used and fields[0] == "S" else 0
        used = now


async def test_without_an_interpreter_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match=r"sys\.executable"):
        Host("tasks")


async def test_an_interpreter_that_fails_is_a_host_that_never_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 5\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    async with hosted() as host:
        end = await host.ended()
    assert (end.cause, end.exit_code) == ("never started", 5)
    assert "before it was ready" in end.detail


async def test_a_path_that_is_relative_is_the_parents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "found_by_a_relative_path.py").write_text("def f(): return 'found'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")

    def look() -> Any:
        import found_by_a_relative_path  # type: ignore[import-not-found]  # it is made above

        return found_by_a_relative_path.f()

    async with hosted() as host:
        assert await host.run(look) == "found"

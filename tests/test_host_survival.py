"""Bad luck: hosts that die, parents that die, systems that lack something.

Everybody learns it, nothing is left.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Hosts, Retry, Runtime, Supervise, TaskStatus
from actorsched.exceptions import ActorschedError, HostDied
from tests import host_work as work
from tests.host_help import Fifo, actor_hosts, adds_up, alive, kill, lines, task_hosts, until
from tests.host_work import Counter

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TWO = pytest.mark.parametrize("backend", ["uvloop", "trio"], indirect=True)
ROOT = Path(__file__).parents[1]


# ----------------------------------------------------------------------------------- tasks of dying hosts


async def test_a_task_that_had_begun_when_its_host_died_fails_and_says_how(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with pytest.raises(HostDied, match="SIGKILL") as caught:
            await rt.run(work.write_and_die, str(log), "x", host="process")
        assert caught.value.signal == signal.SIGKILL
        assert caught.value.cause == "killed"
        assert caught.value.pid
        with pytest.raises(HostDied, match="code 7") as caught:
            await rt.run(work.exit_hard, 7, host="process")
        assert (caught.value.exit_code, caught.value.signal) == (7, None)
        assert lines(log) == ["x"], "it was not run again unasked"
        with pytest.raises(HostDied):
            await rt.run(work.write_and_die, str(log), "y", host="process", retry=5)
        assert lines(log).count("y") == 1, "attempts are for failures of the function"


@ONE
async def test_a_crash_budget_runs_it_again_and_no_oftener(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=Hosts(max=1)) as rt:
        retry = Retry(crashes=2)
        assert await rt.run(work.write_and_die, str(log), "x", 2, host="process", retry=retry) == 3
        with pytest.raises(HostDied):
            await rt.run(work.write_and_die, str(log), "y", 9, host="process", retry=retry)
        assert lines(log).count("y") == 3


@TWO
async def test_tasks_queued_behind_a_crash_run_exactly_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=Hosts(max=2)) as rt:
        async for _ in rt.map(work.double, range(200), host="process"):
            pass
        crash = await rt.spawn(work.write_and_die, str(log), "crash", host="process")
        refs = [await rt.spawn(work.write, str(log), f"task {n}", host="process") for n in range(100)]
        for ref in refs:
            await ref
        assert isinstance((await crash.outcome()).error, HostDied)
        assert sorted(lines(log)) == sorted(["crash", *(f"task {n}" for n in range(100))])


@pytest.mark.parametrize("retry", [1, Retry(crashes=3)], ids=["no retries", "crashes retried"])
async def test_tasks_that_were_done_when_a_later_one_crashed_their_host_count(
    retry: int | Retry, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=Hosts(max=1)) as rt:
        async for _ in rt.map(work.double, range(200), host="process"):  # from here on it is sent many
            pass
        refs = [await rt.spawn(work.write, str(log), f"{n}", host="process", retry=retry) for n in range(30)]
        crash = await rt.spawn(work.exit_hard, 3, host="process")
        assert [(await ref.outcome()).error for ref in refs] == [None] * 30
        assert isinstance((await crash.outcome()).error, HostDied)
        assert sorted(map(int, lines(log))) == list(range(30)), "each of them ran once"


@ONE
async def test_an_idle_host_that_dies_is_replaced(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(min=1, max=1)) as rt:
        pid = await rt.run(work.pid)
        kill(pid)
        await until(lambda: [w.link.pid for w in task_hosts(rt)] not in ([pid], []))
        assert await rt.run(work.pid) != pid


@ONE
async def test_hosts_that_never_start_fail_their_tasks_and_the_runtime_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = sys.executable
    slow, failing = tmp_path / "slow", tmp_path / "failing"
    slow.write_text("#!/bin/sh\nexec sleep 100\n")
    failing.write_text("#!/bin/sh\nexit 5\n")
    slow.chmod(0o755)
    failing.chmod(0o755)
    async with Runtime(hosts=Hosts(max=1, start_timeout="0.3s")) as rt:
        for fake, match in ((str(slow), "0.3 s"), (str(failing), "code 5"), ("", "executable")):
            monkeypatch.setattr(sys, "executable", fake)
            with pytest.raises(HostDied, match=match) as caught:
                await rt.run(work.double, 1, host="process")
            assert caught.value.cause == "never started"
            with pytest.raises(HostDied, match=match):
                await rt.spawn(Counter)
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with pytest.raises(HostDied):
            await rt.run(work.double, 1, host="process")
        monkeypatch.setattr(sys, "executable", real)
        assert await rt.run(work.double, 1, host="process") == 2
        assert await (await rt.spawn(Counter)).ask.add(1) == 1


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def leave(free: int) -> None:
    """Let this process open so many descriptors more, and none beyond."""
    used = set(map(int, os.listdir("/proc/self/fd")))
    limit = next(n for n in itertools.count() if len(set(range(n)) - used) == free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@TWO
@pytest.mark.usefixtures("few_descriptors")
async def test_without_descriptors_there_are_clear_errors_and_afterwards_work(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Runtime(hosts=Hosts(max=2)) as rt:
        leave(2)
        with pytest.raises(HostDied, match="no host process could be started") as caught:
            await rt.run(work.double, 1, host="process")
        assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(HostDied, match="no host process could be started"):
            await rt.spawn(Counter)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await rt.run(work.double, 1, host="process") == 2
        counter = await rt.spawn(Counter)
        leave(2)
        refs = [await rt.spawn(work.double, n, host="process") for n in range(5)]
        assert [await ref for ref in refs] == [0, 2, 4, 6, 8], "the host that there is does it all"
        other = await rt.spawn(Counter)
        assert await other.ask.add(await counter.ask.add(1)) == 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---------------------------------------------------------------------------------- actors of dying hosts


async def test_a_host_killed_under_a_handler_restarts_its_actors_with_their_mailboxes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            busy = await rt.spawn(Counter, 1, str(log))
            idle = await rt.spawn(Counter, 2)
            streaming = await rt.spawn(Counter, 3)
            temporary = await rt.spawn(Counter, 4, restart="temporary")
            neighbour = await rt.spawn(Counter, 5, host="loop")
            stream: Any = streaming.ask.numbers(100)
            assert await anext(stream) == 0
            await neighbour.ask.add(1)
            ended: list[Any] = []

            async def hang() -> None:
                with pytest.raises(HostDied, match="SIGKILL"):
                    await busy.ask.hang(fifo.path)
                ended.append("hang")

            async with anyio.create_task_group() as group:
                group.start_soon(hang)
                pid = await fifo.told()
                for number in range(5):
                    busy.tell(Counter.note, number)
                kill(pid)
            with pytest.raises(ActorschedError):
                async for _ in stream:
                    pass
            assert ended == ["hang"]
            assert await busy.ask.notes() == [0, 1, 2, 3, 4]
            assert [await ref.ask.add(0) for ref in (busy, idle, streaming)] == [1, 2, 3]
            reason = await rt.monitor(temporary)
            assert isinstance(reason.error, HostDied)
            assert await neighbour.ask.add(0) == 6
            assert lines(log) == ["start 1", "start 1"]
            assert len(actor_hosts(rt)) == 1
            assert adds_up(rt)


@ONE
async def test_supervision_counts_the_deaths_of_hosts(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with pytest.RaisesGroup(HostDied):
            async with rt.scope(Supervise(max_restarts=1)) as scope:
                counter = await scope.spawn(Counter)
                first = await counter.ask.pid()
                kill(first)
                await until(lambda: [port.link.pid for port in actor_hosts(rt)] not in ([first], []))
                kill(await counter.ask.pid())
                await anyio.sleep_forever()
        assert not counter.alive
        assert adds_up(rt)


@TWO
async def test_a_host_that_dies_while_actors_start_and_stop_leaves_nobody_waiting(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            errors: list[BaseException] = []

            async def start() -> None:
                try:
                    await rt.spawn(work.SlowToStart, 0, fifo.path)
                except HostDied as error:
                    errors.append(error)

            async with anyio.create_task_group() as group:
                group.start_soon(start)
                kill(await fifo.told())
            assert len(errors) == 1
            slow = await rt.spawn(work.SlowToStop, 0, fifo.path)
            await fifo.told()
            async with anyio.create_task_group() as group:
                group.start_soon(slow.stop)
                await fifo.told()
                kill(actor_hosts(rt)[0].link.pid)
            assert not slow.alive


# ------------------------------------------------------------------------------------- the end of a runtime


async def test_hosts_end_with_their_runtime_also_those_that_ignore_it(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        pids = []
        then = time.monotonic()
        async with Runtime(hosts=Hosts(max=2), shutdown_timeout=0.2) as rt:
            counter = await rt.spawn(Counter)
            pids.append(await counter.ask.pid())
            pids.append(await rt.run(work.pid))
            stubborn = await rt.spawn(Counter, 0, fifo.path)
            await fifo.told()
            stubborn.tell(Counter.spin, fifo.path)
            pids.append(await fifo.told())
            ref = await rt.spawn(work.spin, fifo.path, host="process")
            pids.append(await fifo.told())
            await rt.shutdown(drain=False)
        assert time.monotonic() - then < 15
        assert not any(map(alive, pids))
        assert ref.status is TaskStatus.CANCELLED


@TWO
@pytest.mark.deadline(60)
async def test_many_runtimes_in_a_row_leave_nothing() -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(12):
        async with Runtime(hosts=Hosts(min=int(number % 3 == 0), max=1)) as rt:
            if number % 4 == 0:
                await rt.run(work.double, 1, host="process")
            elif number % 4 == 1:
                await rt.spawn(work.double, 1, host="process")
            elif number % 4 == 2:
                await rt.spawn(Counter)
    gc.collect()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before


# ---------------------------------------------------------------------------------------- whole processes

SCRIPT = """
import os, signal, sys, time
import actorsched
from actorsched import Actor, Hosts, Runtime, current

STEP = 3

def multiply(n):
    return n * STEP

class Teller(Actor, host="process"):
    async def tell(self, other):
        other.tell(Keeper.keep, os.getpid())
        return os.getpid()

class Keeper(Actor):
    def __init__(self): self.kept = []
    async def keep(self, what): self.kept.append(what)
    async def all(self): return self.kept

def spin():
    print(os.getpid(), flush=True)
    while True:
        pass

async def ask(ref):
    return await ref.ask.all()
"""

WORK = """
async def main():
    async with Runtime(hosts=Hosts(max=1)) as rt:
        print(await rt.run(multiply, 14, host="process"), await rt.run(lambda: multiply(2), host="process"))
        keeper, teller = await rt.spawn(Keeper), await rt.spawn(Teller)
        pid = await teller.ask.tell(keeper)
        print(await rt.run(ask, keeper, host="process") == [pid] != [os.getpid()])
actorsched.run(main)
"""

HANG = """
async def main():
    async with Runtime(hosts=Hosts(max=2)) as rt:
        teller, keeper = await rt.spawn(Teller), await rt.spawn(Keeper)
        print(await teller.ask.tell(keeper), flush=True)
        ref = await rt.spawn(spin, host="process")
        try:
            await ref
        finally:
            print("leaving", flush=True)
actorsched.run(main)
"""


def start(tmp_path: Path, program: str, **options: Any) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT + program))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment, **options
    )


def test_functions_and_classes_of_main_travel(tmp_path: Path) -> None:
    with start(tmp_path, WORK, stderr=subprocess.PIPE) as script:
        out, err = script.communicate(timeout=25)
    assert (out.splitlines(), err, script.returncode) == (["42 6", "True"], "", 0)


def test_when_the_parent_is_killed_no_host_is_left_two_seconds_later(tmp_path: Path) -> None:
    with start(tmp_path, HANG) as script:
        assert script.stdout is not None
        pids = [int(script.stdout.readline()), int(script.stdout.readline())]
        assert all(map(alive, pids))
        script.kill()
        assert gone_within(2.0, pids)


def test_an_interrupt_for_the_whole_group_ends_a_script_in_order(tmp_path: Path) -> None:
    with start(tmp_path, HANG, stderr=subprocess.PIPE, start_new_session=True) as script:
        assert script.stdout is not None
        pids = [int(script.stdout.readline()), int(script.stdout.readline())]
        os.killpg(script.pid, signal.SIGINT)
        out, err = script.communicate(timeout=25)
    assert out.splitlines() == ["leaving"]
    assert "KeyboardInterrupt" in err
    assert script.returncode in (1, 130, -signal.SIGINT)
    assert not any(map(alive, pids))


def gone_within(seconds: float, pids: list[int]) -> bool:
    limit = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.001)
    return not any(map(alive, pids))


# ------------------------------------------------------------------------------------------------ a storm


async def lives(counter: Any) -> bool:
    """Whether it answers: perhaps its host was killed a moment ago, and not everybody knows yet."""
    while True:
        try:
            return bool(await counter.ask.add(0) >= 0)
        except HostDied:
            continue


@TWO
@pytest.mark.deadline(90)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_of_killed_hosts(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    log = tmp_path / "log"
    left = 300
    outcomes: list[str] = []

    async with Runtime(hosts=Hosts(max=2)) as rt:
        async with rt.scope(Supervise(max_restarts=1000)) as scope:
            counters = [await scope.spawn(Counter) for _ in range(3)]
            keeper = await scope.spawn(Counter, host="loop")

            async def one(number: int) -> None:
                match number % 5:
                    case 0:
                        ref = await rt.spawn(work.write, str(log), str(number), host="process")
                        outcomes.append((await ref.outcome()).status.value)
                    case 1:
                        ref2 = await rt.spawn(work.double, number, host="process", retry=Retry(crashes=100))
                        assert await ref2 == 2 * number
                        outcomes.append("completed")
                    case 2:
                        ref3 = await rt.spawn(work.ask_add, keeper, [1, 1], host="process")
                        outcomes.append((await ref3.outcome()).status.value)
                    case 3:
                        try:
                            await counters[number % 3].ask.add(1)
                            outcomes.append("completed")
                        except HostDied:
                            outcomes.append("failed")
                    case _:
                        try:
                            async for _ in counters[number % 3].ask.numbers(3):
                                pass
                            outcomes.append("completed")
                        except ActorschedError:
                            outcomes.append("failed")

            async def some() -> None:
                nonlocal left
                while left:
                    left -= 1
                    await one(left)

            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(some)
                while left:
                    enough = left - chance.randrange(1, 80)
                    await until(lambda enough=enough: left <= max(0, enough))  # type: ignore[misc]
                    pids = [link.pid for link in rt._system.staff.links if link.pid]
                    if pids:
                        kill(chance.choice(pids))
            assert len(outcomes) == 300
            assert set(outcomes) <= {"completed", "failed"}
            written = lines(log)
            assert len(written) == len(set(written)) <= 60
            assert [await lives(counter) for counter in counters] == [True] * 3
        assert adds_up(rt)
        assert not rt._nursery.live
        await until(lambda: len(task_hosts(rt)) <= 2)

"""Preemption in host processes: the system stops them wherever their code is, and lets them go on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel
import pytest

from actorsched import Hosts, Retry, Runtime, TaskRef, TaskStatus, current
from actorsched.events import KINDS
from actorsched.exceptions import HostDied, TaskTimeout
from tests import host_work as work
from tests.host_help import Fifo, adds_up, alive, kill, lines, task_hosts, until
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
LATER = tuple(kind for kind in KINDS if kind != "created")
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TWO = pytest.mark.parametrize("backend", ["uvloop", "trio"], indirect=True)
ROOT = Path(__file__).parents[1]
HIGH = 6


def state(pid: int) -> str:
    """What the system says that a process does: T if it is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk must not look like a lock, but to the test of that."""
    if "lock" not in request.node.name:
        monkeypatch.setattr("actorsched._system.scheduler.STALL", 1000.0)


class Work:
    """A function for a host that says when it has begun, and ends when it is allowed to."""

    def __init__(self, folder: Path, name: str) -> None:
        folder = folder / name
        folder.mkdir()
        self._go = folder / "go"
        self._log = folder / "log"
        self.fifo = Fifo(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.fifo.__exit__()

    @property
    def function(self) -> Callable[[], int]:
        fifo, go, log = self.fifo.path, str(self._go), str(self._log)

        def busy() -> int:
            current().defer(work.write, log, "deferred")
            work.tell(fifo)
            return work.wait_for(go)

        return busy

    @property
    def log(self) -> list[str]:
        return lines(self._log)

    async def begin(self, rt: Runtime, priority: int, **options: Any) -> tuple[TaskRef[int], int]:
        ref = await rt.spawn(self.function, host="process", priority=priority, **options)
        return ref, await self.fifo.told()

    def let_go(self) -> None:
        self._go.touch()


def nobody_is_suspended(rt: Runtime) -> bool:
    pool = rt._system.pools["process"]
    return not (pool.running or len(pool.policy)) and not any(host.suspended for host in task_hosts(rt))


# ------------------------------------------------------------------------------------- stop and go on


async def test_the_process_is_stopped_while_another_runs_the_urgent_task(tmp_path: Path) -> None:
    events: list[str] = []
    with Work(tmp_path, "low") as low, Work(tmp_path, "urgent") as urgent:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            rt.subscribe(LATER, lambda event: events.append(f"{event.name} {event.kind}"))
            ref, pid = await low.begin(rt, 1, name="low")
            other, elsewhere = await urgent.begin(rt, HIGH, name="urgent")
            assert pid != elsewhere
            assert (state(pid), ref.status, other.status) == (
                "T",
                TaskStatus.PREEMPTED,
                TaskStatus.RUNNING,
            )
            low.let_go()
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert state(pid) == "T"
            assert not ref.done()
            urgent.let_go()
            assert await other == elsewhere
            assert await ref == pid
            assert low.log == ["deferred"]
            await until(lambda: len(task_hosts(rt)) == 1 or nobody_is_suspended(rt))
        assert adds_up(rt)
    assert [event for event in events if event.startswith("low")] == [
        "low ready",
        "low started",
        "low preempted",
        "low resumed",
        "low completed",
    ]


@ONE
async def test_it_is_stopped_also_where_it_holds_the_gil_in_c(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    with Work(tmp_path, "urgent") as urgent, Fifo(tmp_path) as fifo:
        descriptor = os.open(go, os.O_RDWR)
        async with Runtime(hosts=Hosts(max=1)) as rt:
            ref = await rt.spawn(work.hold_the_gil, fifo.path, str(go), host="process")
            pid = await fifo.told()
            other, _ = await urgent.begin(rt, HIGH)
            assert state(pid) == "T"
            os.write(descriptor, b".")
            urgent.let_go()
            await other
            assert await ref == 1
        os.close(descriptor)


@TWO
async def test_of_two_the_least_urgent_is_stopped(tmp_path: Path) -> None:
    works = [Work(tmp_path, name) for name in "abc"]
    async with Runtime(hosts=Hosts(max=2)) as rt:
        begun = [await works[index].begin(rt, priority) for index, priority in enumerate([2, 1, 5])]
        assert [ref.status.value for ref, _ in begun] == ["running", "preempted", "running"]
        assert [state(pid) == "T" for _, pid in begun] == [False, True, False]
        works[0].let_go()
        await begun[0][0]
        await until(lambda: state(begun[1][1]) != "T")
        works[1].let_go()
        assert await begun[1][0] == begun[1][1]
        works[2].let_go()
        await begun[2][0]
        assert nobody_is_suspended(rt)
    for each in works:
        each.fifo.__exit__()


@ONE
async def test_whoever_may_not_be_preempted_is_not_stopped(tmp_path: Path) -> None:
    with Work(tmp_path, "low") as low:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            ref, pid = await low.begin(rt, 0, preemptible=False)
            other = await rt.spawn(work.pid, priority=HIGH)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert (ref.status, other.status, state(pid)) == (
                TaskStatus.RUNNING,
                TaskStatus.READY,
                state(pid),
            )
            assert state(pid) != "T"
            low.let_go()
            assert await other == await ref == pid


@TWO
async def test_as_many_may_be_suspended_as_may_run_and_the_next_is_when_one_goes_on(tmp_path: Path) -> None:
    works = [Work(tmp_path, name) for name in "abc"]
    async with Runtime(hosts=Hosts(max=1)) as rt:
        first, second = await works[0].begin(rt, 1), await works[1].begin(rt, 2)
        third = await rt.spawn(works[2].function, host="process", priority=3)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        await until(lambda: state(first[1]) == "T")
        assert (second[0].status, third.status.value) == (TaskStatus.RUNNING, "ready")
        await first[0].cancel()
        await works[2].fifo.told()
        await until(lambda: state(second[1]) == "T")
        assert works[0].log == ["deferred"]
        for each, ref in ((works[2], third), (works[1], second[0])):
            each.let_go()
            await ref
        assert nobody_is_suspended(rt)
    for each in works:
        each.fifo.__exit__()


@ONE
async def test_one_that_could_not_be_suspended_makes_room_at_its_end(tmp_path: Path) -> None:
    works = [Work(tmp_path, name) for name in "ab"]
    async with Runtime(hosts=Hosts(max=1)) as rt:
        first, second = await works[0].begin(rt, 1), await works[1].begin(rt, 2)
        third = await rt.spawn(work.pid, priority=3)
        works[1].let_go()
        assert await third == second[1]
        assert await second[0] == second[1]
        works[0].let_go()
        assert await first[0] == first[1]
        assert nobody_is_suspended(rt)
    for each in works:
        each.fifo.__exit__()


# ------------------------------------------------------------------------- what a host has besides


@TWO
async def test_one_that_had_just_ended_is_done_and_not_suspended(tmp_path: Path) -> None:
    with Work(tmp_path, "low") as low:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            ref, pid = await low.begin(rt, 1)
            low.let_go()
            while state(pid) == "R" or not low.log:  # not an await: nobody here hears that it has ended
                pass
            other = await rt.spawn(work.pid, priority=HIGH)
            assert await ref == pid
            assert await other
            await until(lambda: state(pid) != "T")
            assert await rt.run(work.pid)
            assert nobody_is_suspended(rt)


@TWO
async def test_what_it_was_handed_ahead_goes_elsewhere_in_order_and_what_it_had_done_is_known(
    tmp_path: Path,
) -> None:
    log = str(tmp_path / "log")
    with Work(tmp_path, "low") as low, Work(tmp_path, "urgent") as urgent:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            async for _ in rt.map(work.double, range(300), host="process"):  # from here on it is sent many
                pass
            before = [await rt.spawn(work.double, n, host="process") for n in range(10)]
            ref = await rt.spawn(low.function, host="process")
            behind = [await rt.spawn(work.write, log, str(n), host="process") for n in range(10)]
            pid = await low.fifo.told()
            other = await rt.spawn(urgent.function, host="process", priority=HIGH)
            await urgent.fifo.told()
            assert [await each for each in before] == [2 * n for n in range(10)]
            await until(lambda: state(pid) == "T")
            for each in behind:
                assert each.status is TaskStatus.READY
                assert each.attempt == 0
            urgent.let_go()
            await other
            low.let_go()
            assert await ref == pid
            for each in behind:
                await each
            assert lines(Path(log)) == [str(n) for n in range(10)]
            assert nobody_is_suspended(rt)


@ONE
async def test_what_a_suspended_host_has_asked_for_is_done_meanwhile(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        refs = [await rt.spawn(work.nested, 3, host="process", priority=n % 3) for n in range(6)]
        for priority in (3, 4, 5):
            assert await rt.run(work.nested, 2, host="process", priority=priority) == 2
        assert [await ref for ref in refs] == [3] * 6
        assert nobody_is_suspended(rt)


@ONE
async def test_a_suspended_task_goes_on_when_the_urgent_one_waits_for_its_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")

    def locked(fifo: str) -> str:
        import fcntl

        with Path(path).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            work.tell(fifo)
            while not Path(path + ".go").exists():
                pass
        return "let go"

    def locks() -> str:
        import fcntl

        with Path(path).open("w") as file:
            Path(path + ".go").touch()
            fcntl.flock(file, fcntl.LOCK_EX)
        return "locked"

    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            ref = await rt.spawn(locked, fifo.path, host="process")
            pid = await fifo.told()
            other = await rt.spawn(locks, host="process", priority=HIGH)
            await until(lambda: state(pid) == "T")
            assert await other == "locked"
            assert await ref == "let go"
            assert nobody_is_suspended(rt)


# ------------------------------------------------------------------------------------- ends


async def by_its_ref(rt: Runtime, ref: TaskRef[int]) -> None:
    await ref.cancel("enough")


async def by_its_timeout(rt: Runtime, ref: TaskRef[int]) -> None:
    clock: Any = rt._system.kernel.clock
    await clock.passes(100)
    await ref.outcome()


@pytest.mark.parametrize("cancel", [by_its_ref, by_its_timeout])
@TWO
async def test_cancelling_a_suspended_task_lets_it_clean_up(
    cancel: Callable[..., Any], tmp_path: Path
) -> None:
    with Work(tmp_path, "low") as low, Work(tmp_path, "urgent") as urgent:
        async with Runtime(hosts=Hosts(max=1), clock=ManualClock()) as rt:
            ref, pid = await low.begin(rt, 1, timeout=100)
            other, _ = await urgent.begin(rt, HIGH)
            assert state(pid) == "T"
            await cancel(rt, ref)
            assert low.log == ["deferred"]
            assert isinstance(ref.exception(), TaskTimeout) == (cancel is by_its_timeout)
            assert other.status is TaskStatus.RUNNING
            urgent.let_go()
            await other
            assert nobody_is_suspended(rt)


@ONE
async def test_a_suspended_function_that_does_not_listen_loses_its_host(tmp_path: Path) -> None:
    clock = ManualClock()
    with Work(tmp_path, "urgent") as urgent, Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1), clock=clock) as rt:
            ref = await rt.spawn(work.spin, fifo.path, host="process")
            pid = await fifo.told()
            other, _ = await urgent.begin(rt, HIGH)
            async with anyio.create_task_group() as group:
                group.start_soon(ref.cancel)
                await until(lambda: state(pid) != "T")
                await clock.passes(1)
            assert ref.status is TaskStatus.CANCELLED
            assert not alive(pid)
            urgent.let_go()
            await other


@TWO
async def test_a_suspended_host_that_is_killed_fails_its_task_only(tmp_path: Path) -> None:
    works = [Work(tmp_path, name) for name in "abc"]
    async with Runtime(hosts=Hosts(max=1)) as rt:
        first, second = await works[0].begin(rt, 1), await works[1].begin(rt, 2)
        third = await rt.spawn(
            works[2].function, host="process", priority=3
        )  # nobody may be suspended for it
        kill(first[1])
        with pytest.raises(HostDied, match="SIGKILL"):
            await first[0]
        await works[2].fifo.told()
        await until(lambda: state(second[1]) == "T")
        for each, ref in ((works[2], third), (works[1], second[0])):
            each.let_go()
            await ref
        assert nobody_is_suspended(rt)
    for each in works:
        each.fifo.__exit__()


@ONE
async def test_a_killed_one_runs_again_if_it_may(tmp_path: Path) -> None:
    with Work(tmp_path, "low") as low, Work(tmp_path, "urgent") as urgent:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            ref, pid = await low.begin(rt, 1, retry=Retry(crashes=1))
            other, _ = await urgent.begin(rt, HIGH)
            kill(pid)
            await until(lambda: ref.status is TaskStatus.READY)
            urgent.let_go()
            low.let_go()
            assert await ref != pid
            await other


@TWO
@pytest.mark.parametrize("how", ["an error", "a shutdown", "a cancellation"])
async def test_leaving_the_runtime_leaves_no_suspended_host(how: str, tmp_path: Path) -> None:
    with Work(tmp_path, "low") as low, Work(tmp_path, "urgent") as urgent:
        pids: list[int] = []
        with anyio.CancelScope() as scope:
            try:
                async with Runtime(hosts=Hosts(max=1)) as rt:
                    pids = [(await each.begin(rt, n))[1] for n, each in enumerate((low, urgent))]
                    assert state(pids[0]) == "T"
                    if how == "a shutdown":
                        await rt.shutdown(drain=False)
                    elif how == "a cancellation":
                        scope.cancel()
                        await anyio.sleep_forever()
                    else:
                        raise LookupError(how)
            except LookupError:
                assert how == "an error"
        assert low.log == ["deferred"]
        assert not any(map(alive, pids))


@ONE
async def test_a_runtime_that_fails_leaves_no_suspended_host(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Work(tmp_path, "low") as low, Work(tmp_path, "urgent") as urgent:
        pids: list[int] = []
        began = 0.0
        with pytest.raises(RuntimeError, match="a bug"):
            async with Runtime(hosts=Hosts(max=1)) as rt:
                pids = [(await each.begin(rt, n))[1] for n, each in enumerate((low, urgent))]
                began = time.monotonic()
                rt._system.kernel.broken("somebody", "something", RuntimeError("a bug"))
                await anyio.sleep_forever()
        assert time.monotonic() - began < 4
        assert not any(map(alive, pids))


SCRIPT = """
import anyio, actorsched, os
from actorsched import Hosts, Runtime

def spin(name):
    print(os.getpid(), flush=True)
    open(name, "w").close()
    while True:
        pass

async def main():
    async with Runtime(hosts=Hosts(max=1)) as rt:
        low = await rt.spawn(spin, "low", host="process", priority=1)
        while not os.path.exists("low"):
            await anyio.sleep(0.001)
        urgent = await rt.spawn(spin, "urgent", host="process", priority=6)
        await urgent
actorsched.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_the_parent_is_ended_no_suspended_host_is_left(number: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline()), int(process.stdout.readline())]
        assert state(pids[0]) == "T"
        process.send_signal(number)
        process.communicate(timeout=25)
    limit = time.monotonic() + 2.0
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.001)
    assert not any(map(alive, pids))


# ------------------------------------------------------------------------------------- a storm


@TWO
@pytest.mark.slow
@pytest.mark.deadline(90)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_of_priorities_cancellations_and_kills_loses_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    preempted = 0

    def count(event: object) -> None:
        nonlocal preempted
        preempted += 1

    def busy(seconds: float) -> float:
        import time

        from actorsched import checkpoint

        end = time.thread_time() + seconds
        while time.thread_time() < end:
            checkpoint()
        return seconds

    async with Runtime(hosts=Hosts(max=2)) as rt:
        rt.subscribe("preempted", count)
        refs: list[TaskRef[float]] = []
        async with anyio.create_task_group() as group:
            for number in range(200):
                span = chance.choice([0.0, 0.001, 0.01, 0.05])
                ref = await rt.spawn(busy, span, host="process", priority=chance.randrange(7))
                refs.append(ref)
                if not number % 5:
                    group.start_soon(chance.choice(refs).cancel)
                if not number % 25:
                    await until(lambda: any(link.pid for link in rt._system.staff.links))
                    kill(chance.choice([link.pid for link in rt._system.staff.links if link.pid]))
                for _ in range(chance.randrange(100)):
                    await anyio.lowlevel.checkpoint()
                await until(lambda: len(rt._nursery.live) < 12)
        for ref in refs:
            outcome = await ref.outcome()
            assert outcome.status.value in ("completed", "cancelled", "failed")
            assert isinstance(outcome.error, HostDied) == (outcome.status is TaskStatus.FAILED)
        assert preempted > 10
        assert adds_up(rt)
        await until(lambda: nobody_is_suspended(rt))
        assert not rt._nursery.live

"""Pools of hosts follow the load: they grow, shrink, hold back, replace what is used up, and lose nothing.

Where the load of the machine matters, the runtime's probe is replaced by one that shows what the test wants;
that the real one sees the truth is tested in `hosting/test_load_probe`. Real ones run in the tests of the
heartbeat.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from actorsched import Hosts, Priority, Retry, Runtime
from actorsched._core.load import HostLoad, LoadSample
from actorsched.exceptions import HostDied
from actorsched.policies import FixedPriority
from tests import host_work as work
from tests.host_help import Fifo, alive, task_hosts, until

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = [pytest.mark.process, pytest.mark.deadline(20)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)


class Machine:
    """A probe that shows a machine of our making."""

    def __init__(self, rt: Runtime, *, cores: float = 4.0, others: float = 0.0) -> None:
        self.cores = cores
        self.others = others
        self.rss: dict[int, int] = {}
        self.fresh_rss = 1 << 24
        self.looks = 0
        rt._system.staff.monitor.probe = self  # type: ignore[assignment]

    def sample(
        self, hosts: Iterable[int], *, own: Iterable[int] = (), loop_lag: float = 0.0, when: float = 0.0
    ) -> LoadSample:
        self.looks += 1
        loads = {pid: HostLoad(pid, 0.0, self.rss.get(pid, 1 << 24), "running") for pid in hosts}
        sample = LoadSample(when, self.cores, 0.0, self.others, 1 << 34, 1 << 34, loop_lag, hosts=loads)
        return replace(sample, fresh_rss=self.fresh_rss)

    async def look_again(self, rt: Runtime) -> None:
        """Have it looked at some more times, though nobody waits for that."""
        for looks in range(self.looks, self.looks + 3):
            rt._system.staff.monitor.hurry()
            await until(lambda looks=looks: self.looks > looks)  # type: ignore[misc]


def pool(rt: Runtime, name: str = "process") -> Any:
    return rt._system.staff.pools[name]


def pids(rt: Runtime) -> set[int]:
    return {worker.link.pid for worker in task_hosts(rt)}


# ------------------------------------------------------------------------------------ growing with the load


async def test_under_a_burst_a_pool_grows_as_far_as_cores_are_free(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        async with Runtime(hosts=Hosts(max=4)) as rt:
            machine = Machine(rt, cores=4, others=1.9)
            refs = [await rt.spawn(_wait, go.path, host="process") for _ in range(6)]
            await until(lambda: machine.looks > 8)
            assert len(task_hosts(rt)) == 2, "two of the four cores are free"
            assert "busy with other work: 1.9 of 4 processors" in pool(rt).why
            sample = rt._system.staff.monitor.sample
            assert sample is not None
            assert sample.queue_wait > 0
            machine.others = 0.2
            await until(lambda: len(task_hosts(rt)) == 4)
            await machine.look_again(rt)
            assert len(task_hosts(rt)) == 4, "Hosts.max allows no more"
            for _ in refs:
                go.tell()
            for ref in refs:
                await ref


async def test_on_a_busy_machine_the_first_host_starts_at_once_and_others_do_not() -> None:
    async with Runtime(hosts=Hosts(max=4)) as rt:
        Machine(rt, cores=2, others=2.0)
        seen = [pid async for pid in rt.map(_pid_of, range(60), host="process", limit=20)]
        assert len(set(seen)) == 1


@ONE
async def test_tasks_that_wait_for_each_other_are_not_starved_by_a_busy_machine(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        async with Runtime(hosts=Hosts(max=2)) as rt:
            Machine(rt, cores=2, others=2.0)
            first = await rt.spawn(_wait, go.path, host="process")
            await rt.run(_let_go, go.path, host="process")  # in a second host, or never
            await first


async def test_a_more_urgent_task_gets_its_host_however_busy_the_machine_is(tmp_path: Path) -> None:
    with Fifo(tmp_path) as told:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            Machine(rt, cores=2, others=2.0)
            low = await rt.spawn(work.spin, told.path, host="process", priority=Priority.LOW)
            await told.told()
            urgent = await rt.run(work.double, 21, host="process", priority=Priority.CRITICAL)
            assert urgent == 42
            assert not low.done()
            await low.cancel()


@pytest.mark.parametrize("others", [0.0, 2.0])
async def test_nobody_is_preempted_while_there_may_be_another_host_and_never_do_more_run_than_that(
    tmp_path: Path, others: float
) -> None:
    with Fifo(tmp_path) as told:
        async with Runtime(hosts=Hosts(max=2)) as rt:
            machine = Machine(rt, cores=2, others=others)
            events: list[str] = []
            rt.subscribe(["started", "preempted", "resumed"], lambda e: events.append(f"{e.name} {e.kind}"))
            low = await rt.spawn(work.spin, told.path, host="process", priority=Priority.LOW, name="low")
            await told.told()
            mid = await rt.spawn(work.spin, told.path, host="process", name="mid")
            await told.told()
            assert events == ["low started", "mid started"]
            urgent = Priority.CRITICAL
            high = await rt.spawn(work.spin, told.path, host="process", priority=urgent, name="high")
            await told.told()
            await machine.look_again(rt)
            assert events[2:] == ["low preempted", "high started"]
            assert [worker.suspended for worker in task_hosts(rt)] == [True, False, False]
            for ref in (high, mid, low):
                await ref.cancel()


async def test_without_any_measurement_the_work_is_done_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: object) -> None:
        raise OSError("no such machine")

    monkeypatch.setattr("actorsched._hosting.load_probe.LoadProbe.prepare", broken)
    async with Runtime(hosts=Hosts(max=2)) as rt:
        assert [n async for n in rt.map(work.double, range(50), host="process", limit=10)] == [
            2 * n for n in range(50)
        ]
        await until(lambda: "cannot be measured" in caplog.text)


@ONE
async def test_a_look_that_fails_is_reported_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        machine, see, looks = Machine(rt), Machine.sample, count()
        await rt.run(work.pid)

        def sample(self: Machine, *args: Any, **named: Any) -> LoadSample:
            if next(looks) < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return see(self, *args, **named)

        monkeypatch.setattr("actorsched._system.load_monitor.CALM", 0.001)
        monkeypatch.setattr(Machine, "sample", sample)
        before = machine.looks
        rt._system.staff.monitor.hurry()
        await until(lambda: machine.looks > before)
        assert await rt.run(work.double, 2, host="process") == 4
    assert caplog.text.count("cannot be measured now") == 1


@ONE
async def test_without_a_thread_to_prepare_the_measurement_the_work_is_done_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(self: Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with Runtime(hosts=Hosts(max=2)) as rt:
        with monkeypatch.context() as patch:
            patch.setattr(Thread, "start", start)
            rt._system.staff.monitor.hurry()
            assert await rt.run(work.double, 2, host="process") == 4
    assert "cannot be measured" in caplog.text


def test_a_runtime_without_hosts_measures_nothing() -> None:
    script = (
        "import sys, actorsched\n"
        "async def main():\n"
        "    async with actorsched.Runtime() as rt:\n"
        "        await rt.run(abs, -1)\n"
        "actorsched.run(main)\n"
        "assert 'psutil' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


async def test_no_further_host_is_started_while_the_machine_is_busier_than_the_user_allows(
    tmp_path: Path,
) -> None:
    with Fifo(tmp_path) as go:
        async with Runtime(hosts=Hosts(max=2, cpu_limit=50)) as rt:
            machine = Machine(rt, cores=4, others=2.5)
            refs = [await rt.spawn(_wait, go.path, host="process") for _ in range(2)]
            urgent = await rt.spawn(_wait, go.path, host="process", priority=Priority.CRITICAL)
            await machine.look_again(rt)
            assert len(task_hosts(rt)) == 1
            assert "busy to 62 %, and Hosts.cpu_limit is 50 %" in str(rt.explain("process"))
            machine.others = 0.0
            await until(lambda: len(task_hosts(rt)) == 2)
            for _ in range(3):
                go.tell()
            for ref in (*refs, urgent):
                await ref


# ----------------------------------------------------------------------------------------- limits of one pool


async def test_a_pool_may_have_hosts_for_itself_besides_those_of_the_runtime(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            Machine(rt, cores=8)
            rt.pool("own", hosts=Hosts(max=2))
            refs = [await rt.spawn(_wait, go.path, host="process", tag="own") for _ in range(9)]
            await until(lambda: [worker.ready for worker in pool(rt, "own").workers] == [True] * 2)
            assert "Hosts.max allows no more than 2" in str(rt.explain("own"))
            shared = await rt.run(work.pid, host="process")
            assert shared not in {worker.link.pid for worker in pool(rt, "own").workers}
            rt.pool("own", hosts=Hosts(max=3))  # changed while it runs
            await until(lambda: len(pool(rt, "own").workers) == 3)
            for _ in refs:
                go.tell()
            for ref in refs:
                await ref
            assert await rt.run(work.pid, host="process") == shared, (
                "idle hosts of that pool are for its tasks"
            )


@ONE
async def test_the_limits_of_a_pool_are_all_its_own() -> None:
    async with Runtime() as rt:
        Machine(rt)
        shared = await rt.run(work.pid, host="process")
        rt.pool("own", hosts=Hosts(min=1, max=2, max_tasks=1, idle_timeout="10ms"))
        await until(lambda: [worker.ready for worker in pool(rt, "own").workers] == [True])
        first = await rt.run(work.pid, host="process", tag="own")
        assert await rt.run(work.pid, host="process", tag="own") != first, "max_tasks"
        await until(lambda: not alive(first))
        await until(lambda: len(pool(rt, "own").workers) == 1)
        rt.pool("own", hosts=Hosts(max=1, idle_timeout="10ms"))
        await until(lambda: not pool(rt, "own").workers)
        assert alive(shared)


async def test_many_tasks_wait_for_the_hosts_of_an_aging_pool_and_all_have_their_turn() -> None:
    async with Runtime() as rt:
        rt.pool("own", policy=FixedPriority(aging="5s"), hosts=Hosts(max=2))
        seen = [n async for n in rt.map(work.double, range(2000), host="process", tag="own", limit=2000)]
        assert seen == [2 * n for n in range(2000)]


@ONE
async def test_the_limits_of_a_pool_are_checked() -> None:
    async with Runtime() as rt:
        with pytest.raises(TypeError, match=r"hosts=3 is no Hosts; give for example Hosts\(max=4"):
            rt.pool("own", hosts=3)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------- shrinking and warming


async def test_idle_hosts_end_after_the_timeout_down_to_the_minimum(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        async with Runtime(hosts=Hosts(min=1, max=3, idle_timeout="100ms")) as rt:
            Machine(rt)
            refs = [await rt.spawn(_wait, go.path, host="process") for _ in range(3)]
            await until(lambda: [worker.ready for worker in task_hosts(rt)] == [True] * 3)
            every = pids(rt)
            for _ in refs:
                go.tell()
            for ref in refs:
                await ref
            await until(lambda: len(task_hosts(rt)) == 1)
            await until(lambda: sum(map(alive, every)) == 1)
            assert await rt.run(work.double, 2, host="process") == 4
            assert len(task_hosts(rt)) == 1


@ONE
async def test_an_idle_host_that_does_not_end_when_it_is_told_to_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actorsched._system.host_end._FAREWELL", 0.01)
    async with Runtime(hosts=Hosts(max=1, idle_timeout="10ms")) as rt:
        with monkeypatch.context() as patch:
            patch.setattr("actorsched._hosting.link.HostLink.stop", lambda self: None)
            pid = await rt.run(work.pid)
            await until(lambda: rt.stats().hosts.died == 1)
        assert not alive(pid)


async def test_a_pool_warms_up_ahead_when_asked() -> None:
    async with Runtime(hosts=Hosts(min=2, max=2)) as rt:
        await until(lambda: [worker.ready for worker in task_hosts(rt)] == [True, True])
        warm = pids(rt)
        seen = {pid async for pid in rt.map(_pid_of, range(20), host="process", limit=4)}
        assert seen <= warm


async def test_the_start_of_a_runtime_waits_for_no_host() -> None:
    async with Runtime(hosts=Hosts(min=2, max=2)) as rt:
        assert [worker.ready for worker in task_hosts(rt)] == [False, False]
        assert await rt.run(work.double, 2, host="process") == 4


@ONE
async def test_a_host_of_the_minimum_that_dies_is_replaced() -> None:
    async with Runtime(hosts=Hosts(min=2, max=2)) as rt:
        await until(lambda: [worker.ready for worker in task_hosts(rt)] == [True, True])
        before = pids(rt)
        victim = before.pop()
        os.kill(victim, signal.SIGKILL)
        await until(lambda: not alive(victim) and len(pids(rt) - {0}) == 2 and victim not in pids(rt))
        assert before <= pids(rt)


# ---------------------------------------------------------------------------------------- pools of tags


async def test_an_idle_host_moves_to_the_pool_that_needs_one() -> None:
    async with Runtime(hosts=Hosts(max=1), pools={"a": 1, "b": 1}) as rt:
        first = await rt.run(work.pid, tag="a")
        assert pool(rt, "a").workers
        assert await rt.run(work.pid, tag="b") == first
        assert not pool(rt, "a").workers
        assert await rt.run(work.pid) == first
        assert len(task_hosts(rt)) == 1


async def test_all_pools_together_keep_to_the_limit(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        async with Runtime(hosts=Hosts(max=2), pools={"a": 2, "b": 2}) as rt:
            machine = Machine(rt)
            refs = [
                await rt.spawn(_wait, go.path, host="process", tag=tag) for tag in ("a", "a", "b", "b", None)
            ]
            await until(lambda: len(task_hosts(rt)) == 2)
            await machine.look_again(rt)
            assert len(task_hosts(rt)) == 2
            for _ in refs:
                go.tell()
            for ref in refs:
                await ref


# -------------------------------------------------------------------------------------------- recycling


@pytest.mark.parametrize("most", [1, 3])
async def test_after_so_many_tasks_a_host_is_replaced_and_nothing_is_stranded(most: int) -> None:
    async with Runtime(hosts=Hosts(max=2, max_tasks=most)) as rt:
        seen = [pid async for pid in rt.map(_pid_of, range(12), host="process", limit=12)]
        assert len(seen) == 12
        assert max(map(seen.count, seen)) <= most
        await until(lambda: not any(alive(pid) for pid in set(seen) if pid not in pids(rt)))


async def test_a_host_that_has_grown_too_big_is_replaced_when_its_work_is_over(tmp_path: Path) -> None:
    with Fifo(tmp_path) as go:
        async with Runtime(hosts=Hosts(max=1, max_rss="100 MB")) as rt:
            machine = Machine(rt)
            big = await rt.run(work.pid)
            busy = await rt.spawn(_wait, go.path, host="process")
            await until(lambda: busy.status.name == "RUNNING")
            machine.rss[big] = 200_000_000
            rt._system.staff.monitor.hurry()
            await until(lambda: not task_hosts(rt))
            assert alive(big)
            other = await rt.spawn(work.pid)
            go.tell()
            await busy
            assert await other != big
            await until(lambda: not alive(big))


@ONE
async def test_no_host_is_replaced_for_its_size_where_every_fresh_one_is_too_big(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime(hosts=Hosts(max=1, max_rss="10 MB")) as rt:
        machine = Machine(rt)
        pid = await rt.run(work.pid)
        await machine.look_again(rt)
        assert await rt.run(work.pid) == pid
    assert caplog.text.count("Hosts(max_rss='10 MB') is less than a fresh host may take, 16.8 MB") == 1


# ------------------------------------------------------------------------------------------ the heartbeat


async def test_a_host_that_somebody_stops_is_suspected_then_retired_and_its_task_runs_elsewhere(
    tmp_path: Path,
) -> None:
    with Fifo(tmp_path) as told, Fifo(tmp_path, "go") as go:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            retry = Retry(crashes=1)
            ref = await rt.spawn(_tell_and_wait, told.path, go.path, host="process", retry=retry)
            victim = await told.told()
            os.kill(victim, signal.SIGSTOP)
            await until(lambda: rt._system.staff.monitor.suspected == (victim,))
            assert await told.told() != victim
            go.tell()
            await ref
            assert not alive(victim)


@ONE
async def test_a_task_that_may_not_run_twice_learns_that_its_host_was_stopped(tmp_path: Path) -> None:
    with Fifo(tmp_path) as told:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            ref = await rt.spawn(work.spin, told.path, host="process")
            os.kill(await told.told(), signal.SIGSTOP)
            with pytest.raises(HostDied, match="was stopped by somebody else") as caught:
                await ref
            assert caught.value.cause == "killed"


@ONE
async def test_a_host_that_the_runtime_has_suspended_itself_is_left_alone(tmp_path: Path) -> None:
    with Fifo(tmp_path) as told, Fifo(tmp_path, "go") as go:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            low = await rt.spawn(_tell_and_wait, told.path, go.path, host="process", priority=0)
            suspended = await told.told()
            urgent = await rt.spawn(_tell_and_wait, told.path, go.path, host="process", priority=9)
            await told.told()
            monitor = rt._system.staff.monitor
            start = monitor.looked
            await until(lambda: monitor.looked > start + 1.2)
            assert alive(suspended)
            assert not monitor.suspected
            go.tell()
            go.tell()
            await urgent
            await low


def _pid_of(number: int) -> int:
    return os.getpid()


def _wait(go: str) -> None:
    """Wait for one word from a pipe."""
    with Path(go).open("rb", buffering=0) as fifo:
        fifo.read(1)


def _let_go(go: str) -> None:
    with Path(go).open("wb", buffering=0) as fifo:
        fifo.write(b".")


def _tell_and_wait(told: str, go: str) -> None:
    work.tell(told)
    _wait(go)

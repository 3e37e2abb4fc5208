"""Tasks that have processors and memory for themselves: when they begin, and what becomes of them."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import pytest

from actorsched import (
    HostDied,
    Hosts,
    Retry,
    Runtime,
    Task,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)
from actorsched.exceptions import RemoteTraceback
from tests import host_work as work
from tests.host_help import Fifo, kill, lines, task_hosts, until
from tests.hosting import greedy

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
MB = greedy.MB
HIGH = 6
READY, RUNNING, PREEMPTED = TaskStatus.READY, TaskStatus.RUNNING, TaskStatus.PREEMPTED


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a word from a test does not wait for a lock of somebody who was preempted."""
    monkeypatch.setattr("actorsched._system.scheduler.STALL", 1000.0)


class Job:
    """A task that says when it has begun, and ends when it is allowed to."""

    def __init__(self, rt: Runtime, folder: Path, name: str, **options: Any) -> None:
        self._rt = rt
        self._name = name
        self._options: dict[str, Any] = {"host": "process", **options}
        self._told = Fifo(folder, f"{name} told")
        self._go = Fifo(folder, f"{name} go")
        self.ref: TaskRef[None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._told.__exit__()
        self._go.__exit__()

    @property
    def function(self) -> Callable[[], None]:
        told, go = self._told.path, self._go.path

        def job() -> None:
            work.tell(told)
            descriptor = os.open(go, os.O_RDONLY)
            os.read(descriptor, 1)
            os.close(descriptor)

        return job

    @property
    def status(self) -> TaskStatus:
        return self.ref.status

    @property
    def why(self) -> str:
        return str(self._rt.explain(self.ref))

    async def spawn(self) -> None:
        self.ref = await self._rt.spawn(self.function, name=self._name, **self._options)

    async def begun(self) -> int:
        return await self._told.told()

    async def begin(self) -> int:
        await self.spawn()
        return await self.begun()

    def let_go(self) -> None:
        self._go.tell()

    async def end(self) -> None:
        self.let_go()
        await self.ref


def have(rt: Runtime, megabytes: int) -> None:
    """Let the machine have no more memory than that to reserve."""
    rt._system.reserved._memory = megabytes * MB


# --------------------------------------------------------------------------------------- too much memory


async def test_a_task_that_takes_more_memory_than_it_may_ends_its_host_and_is_told_why() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(greedy.take, 30, host="process", memory_mb=40) == 30 * MB
        with pytest.raises(
            HostDied, match="task 'take' was lost: .* memory that memory_mb=40 allows"
        ) as lost:
            await rt.run(greedy.take, 60, host="process", memory_mb=40)
        assert lost.value.cause == "out of memory"
        assert "Retry(crashes=1) would run it again" in str(lost.value)
        assert isinstance(lost.value.__cause__, MemoryError)
        assert isinstance(lost.value.__cause__.__cause__, RemoteTraceback)
        assert "in take" in str(lost.value.__cause__.__cause__)
        assert await rt.run(greedy.take, 60, host="process") == 60 * MB


@ONE
async def test_numpy_is_refused_memory_too() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(greedy.take_with_numpy, 1, host="process") == MB  # and it is imported
        assert await rt.run(greedy.take_with_numpy, 20, host="process", memory_mb=40) == 20 * MB
        with pytest.raises(HostDied, match="memory_mb=40 allows"):
            await rt.run(greedy.take_with_numpy, 60, host="process", memory_mb=40)


@ONE
async def test_a_function_that_handles_the_lack_of_memory_goes_on() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        before = await rt.run(work.pid)
        assert await rt.run(greedy.try_to_take, 60, host="process", memory_mb=40) == "refused"
        assert await rt.run(work.pid) == before


@ONE
async def test_native_code_that_gives_up_has_most_likely_had_too_little() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with pytest.raises(HostDied, match=r"SIGABRT.*most likely for lack of memory: memory_mb=40 ") as lost:
            await rt.run(greedy.give_up, host="process", memory_mb=40)
        assert (lost.value.cause, lost.value.signal) == ("out of memory", signal.SIGABRT)
        with pytest.raises(HostDied, match=r"SIGABRT \(native code gave up\); Retry") as lost:
            await rt.run(greedy.give_up, host="process")
        assert lost.value.cause == "crashed"


async def test_a_crash_budget_pays_for_another_attempt(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def take_less_and_less() -> int:
        work.write(str(log), f"attempt {current().attempt}")
        return greedy.take(90 - 30 * current().attempt)

    async with Runtime(hosts=Hosts(max=1)) as rt:
        run: Any = partial(rt.run, host="process", memory_mb=40, retry=Retry(crashes=1))
        assert await run(take_less_and_less) == 30 * MB
        assert lines(log) == ["attempt 1", "attempt 2"]
        with pytest.raises(HostDied, match=r"Retry\(crashes=2\) would run it again once more"):
            await run(greedy.take, 60)


@ONE
async def test_neighbours_go_on_when_a_host_runs_out_of_memory(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        with Job(rt, tmp_path, "neighbour") as neighbour:
            pid = await neighbour.begin()
            lost = await rt.spawn(greedy.take, 60, host="process", memory_mb=40)
            others = [await rt.spawn(work.double, number, host="process") for number in range(50)]
            assert [await ref for ref in others] == [2 * number for number in range(50)]
            assert isinstance((await lost.outcome()).error, HostDied)
            assert pid in {worker.link.pid for worker in task_hosts(rt)}
            await neighbour.end()


@ONE
async def test_memory_that_the_system_did_not_refuse_is_seen_from_outside(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with Job(rt, tmp_path, "big", memory_mb=40) as big, Job(rt, tmp_path, "free") as free:
            pid = await big.begin()
            (worker,) = task_hosts(rt)
            base = worker.link.weight
            assert (
                0
                < base
                <= int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            )
            worker.over_memory(base + 40 * MB)
            assert worker.link.exited is None
            worker.over_memory(base + 41 * MB)
            outcome = await big.ref.outcome()
            assert isinstance(outcome.error, HostDied)
            assert outcome.error.cause == "out of memory"
            assert "was killed because its task had taken 41 MB, with memory_mb=40" in str(outcome.error)
            await free.begin()
            task_hosts(rt)[0].over_memory(1 << 50)  # nobody has limited that one
            await free.end()


@ONE
async def test_neither_arguments_nor_result_count() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        big = bytearray(60 * MB)
        assert await rt.run(work.same, big, host="process", memory_mb=1) == big


@ONE
async def test_shared_memory_counts_too_as_soon_as_somebody_looks(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            with pytest.raises(HostDied, match=r"had taken \d+(\.\d+)? MB, with memory_mb=40"):
                await rt.run(greedy.take_shared, 60, fifo.path, host="process", memory_mb=40)


# --------------------------------------------------------------------------------------------- processors


async def test_a_task_is_confined_to_its_processors_while_it_runs() -> None:
    usable = os.sched_getaffinity(0)
    async with Runtime(hosts=Hosts(max=2)) as rt:
        one, *others = await rt.run(greedy.where, host="process", cpu_cores=1)
        assert len(one) == 1
        assert all(other == one for other in others)
        assert (await rt.run(greedy.where, host="process", cpu_cores=2))[0] <= usable
        assert (await rt.run(greedy.where, host="process"))[0] == usable
        assert (await rt.run(greedy.where, host="process", memory_mb=40))[0] == usable


@ONE
async def test_tasks_with_one_processor_each_get_different_ones(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        with Job(rt, tmp_path, "a", cpu_cores=1) as a:
            pid = await a.begin()
            (mine, *_) = await rt.run(greedy.where, host="process", cpu_cores=1)
            both = mine | os.sched_getaffinity(pid)
            assert len(both) == min(2, len(os.sched_getaffinity(0)))
            await a.end()


# ----------------------------------------------------------------------------------- when a task may begin


async def test_a_task_waits_for_its_processors_and_those_behind_wait_for_it(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        with (
            Job(rt, tmp_path, "a") as a,
            Job(rt, tmp_path, "b", cpu_cores=2) as b,
            Job(rt, tmp_path, "c") as c,
            Job(rt, tmp_path, "urgent", priority=HIGH, preemptible=False) as urgent,
        ):
            await a.begin()
            await b.spawn()
            await c.spawn()
            assert (b.status, c.status) == (READY, READY)
            assert "It waits for 2 cores of the host pool; 1 is free." in b.why
            assert "It is number 2 in the queue, behind 'b'." in c.why
            await urgent.begin()  # it comes first, and one core is enough
            assert "It waits for 2 cores of the host pool; 0 are free." in b.why
            await urgent.end()
            await a.end()
            await b.begun()
            assert c.status is READY
            await b.end()
            await c.begun()
            await c.end()


@ONE
async def test_memory_is_reserved_in_hosts_and_threads_together(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=4)) as rt:
        have(rt, 100)
        with (
            Job(rt, tmp_path, "a", memory_mb=60) as a,
            Job(rt, tmp_path, "b", memory_mb=60, host="thread") as b,
            Job(rt, tmp_path, "c", memory_mb=40, tag="other") as c,
            Job(rt, tmp_path, "d") as d,
            Job(rt, tmp_path, "e", memory_mb=1) as e,
        ):
            rt.pool("other", workers=4)
            await a.begin()
            await b.spawn()
            assert b.status is READY
            assert "It waits for 60 MB of memory; 40 MB is not reserved." in b.why
            await c.begin()
            await d.begin()  # which needs none, and nobody is before it
            await e.spawn()
            assert "It waits for 1 MB of memory; 0 B is not reserved." in e.why
            await a.end()
            await e.begun()
            assert b.status is READY
            await c.end()
            await b.begun()
            for job in (b, d, e):
                await job.end()


@ONE
async def test_whoever_is_preempted_keeps_its_memory_and_not_its_processors(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        have(rt, 100)
        with (
            Job(rt, tmp_path, "low", cpu_cores=2, memory_mb=60, priority=1) as low,
            Job(rt, tmp_path, "urgent", priority=HIGH) as urgent,
            Job(rt, tmp_path, "normal") as normal,
            Job(rt, tmp_path, "big", memory_mb=60) as big,
        ):
            await low.begin()
            await urgent.begin()
            assert low.status is PREEMPTED
            await normal.begin()  # the second of the two that it had
            await normal.end()
            await big.spawn()
            assert "It waits for 60 MB of memory; 40 MB is not reserved." in big.why
            assert "It waits for 2 cores of the host pool; 1 is free." in low.why
            await urgent.end()
            await until(lambda: low.status is RUNNING)  # although it is the less urgent of the two
            await low.end()
            await big.begun()
            await big.end()


@ONE
async def test_nobody_is_preempted_for_memory(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        have(rt, 100)
        with (
            Job(rt, tmp_path, "low", memory_mb=60, priority=1) as low,
            Job(rt, tmp_path, "urgent", memory_mb=60, priority=HIGH) as urgent,
            Job(rt, tmp_path, "after", priority=5) as after,
        ):
            await low.begin()
            await urgent.spawn()
            await after.spawn()
            assert (low.status, urgent.status, after.status) == (RUNNING, READY, READY)
            await low.end()
            await urgent.begun()
            await after.begun()
            await urgent.end()
            await after.end()


async def with_child(memory_mb: float | None) -> int:
    rt = current().runtime
    return await rt.run(greedy.take, 20, host="process", memory_mb=memory_mb)


@pytest.mark.parametrize("memory_mb", [None, 60])
async def test_a_task_with_memory_may_wait_for_others_that_need_some(
    memory_mb: float | None, tmp_path: Path
) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        have(rt, 100)
        with Job(rt, tmp_path, "first", memory_mb=60, priority=1, preemptible=False) as first:
            await first.begin()
            parent = await rt.spawn(with_child, memory_mb, host="process", memory_mb=60, priority=1)
            urgent = await rt.spawn(greedy.take, 50, host="process", memory_mb=60, priority=HIGH)
            assert urgent.status is READY
            await first.end()
            assert await urgent == 50 * MB
            assert await parent == 20 * MB


@ONE
async def test_one_behind_may_pass_while_somebody_with_memory_waits_for_it(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        have(rt, 100)
        with Job(rt, tmp_path, "child", priority=1) as child, Job(rt, tmp_path, "big", memory_mb=60) as big:
            function = child.function

            async def parent() -> None:
                await current().runtime.run(function, host="process", priority=1)

            ref = await rt.spawn(parent, host="process", memory_mb=60, priority=1)
            await child.begun()
            await big.spawn()
            assert big.status is READY
            child.let_go()
            await ref
            await big.begun()
            await big.end()


# ------------------------------------------------------------------------------------- however it ends


@ONE
@pytest.mark.parametrize("how", ["killed", "cancelled", "failed", "timeout"])
async def test_what_a_task_had_is_free_however_it_ends(how: str, tmp_path: Path) -> None:
    def fail() -> None:
        raise LookupError("as asked")

    async with Runtime(hosts=Hosts(max=2)) as rt:
        have(rt, 100)
        limits: dict[str, Any] = {"cpu_cores": 2, "memory_mb": 100}
        with Job(rt, tmp_path, "a", **limits) as a, Job(rt, tmp_path, "b", **limits) as b:
            spawn: Any = rt.spawn
            pid, never = 0, str(tmp_path / "never")
            if how == "failed":
                a.ref = await spawn(fail, host="process", **limits)
            elif how == "timeout":
                a.ref = await spawn(work.wait_for, never, host="process", timeout=0.01, **limits)
            else:
                pid = await a.begin()
            await b.spawn()
            assert b.status is READY
            if how == "killed":
                kill(pid)
            elif how == "cancelled":
                await a.ref.cancel()
            assert (await a.ref.outcome()).error is not None
            await b.begun()
            await b.end()


@ONE
async def test_one_that_waits_for_what_others_have_can_be_cancelled(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        with (
            Job(rt, tmp_path, "a") as a,
            Job(rt, tmp_path, "b", cpu_cores=2) as b,
            Job(rt, tmp_path, "c") as c,
        ):
            await a.begin()
            await b.spawn()
            await c.spawn()
            assert c.status is READY
            await b.ref.cancel()
            await c.begun()
            await a.end()
            await c.end()


# ------------------------------------------------------------------------------------------- in threads


@ONE
async def test_a_thread_waits_for_its_processors_and_those_without_any_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actorsched._system.reserving.usable_cpus", lambda: 2)
    async with Runtime() as rt:
        with (
            Job(rt, tmp_path, "a", host="thread", cpu_cores=1) as a,
            Job(rt, tmp_path, "b", host="thread", cpu_cores=2) as b,
            Job(rt, tmp_path, "c", host="thread", cpu_cores=1) as c,
            Job(rt, tmp_path, "d", host="thread") as d,
        ):
            await a.begin()
            await b.spawn()
            await c.spawn()
            await d.begin()
            assert (b.status, c.status) == (READY, READY)
            assert "It waits for 2 cores of this machine; 1 is free." in b.why
            await a.end()
            await b.begun()
            assert c.status is READY
            await b.end()
            await c.begun()
            await c.end()
            await d.end()


@ONE
async def test_a_preempted_thread_goes_on_when_its_processors_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actorsched._system.reserving.usable_cpus", lambda: 2)

    def listen(go: str) -> None:
        while not Path(go).exists():
            checkpoint()

    async with Runtime(pools={"one": 1}) as rt:
        with Job(rt, tmp_path, "urgent", host="thread", cpu_cores=2, tag="one", priority=HIGH) as urgent:
            low = await rt.spawn(listen, str(tmp_path / "go"), host="thread", cpu_cores=2, tag="one")
            await until(lambda: low.status is RUNNING)
            await urgent.begin()
            assert low.status is PREEMPTED
            (tmp_path / "go").touch()
            await urgent.end()
            await low


# --------------------------------------------------------------------------------------- what cannot be


async def nothing() -> None:
    pass


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (
        work.double,
        {"host": "process", "cpu_cores": 3},
        r"cpu_cores=3 of task 'double' is more .*: Hosts\(max=2\)",
    ),
    (work.double, {"host": "thread", "cpu_cores": 9999}, r"may use \d+; lower it"),
    (
        work.double,
        {"host": "process", "memory_mb": 1e9},
        r"memory_mb=1e\+09 of task 'double' is .*: \d+ MB; lower",
    ),
    (work.double, {"memory_mb": 1e9}, "more than this machine, or container, has"),
    (work.double, {"host": "loop", "memory_mb": 1}, "memory_mb=1 does not fit a task in the event loop"),
    (
        nothing,
        {"cpu_cores": 1},
        "cpu_cores=1 does not fit task 'nothing' in the event loop, .* use host=\"process\"",
    ),
    (nothing, {"cpu_cores": 1, "tag": "io"}, "does not fit task 'nothing'"),
]


@ONE
@pytest.mark.parametrize(("function", "asked", "message"), REFUSED)
async def test_what_there_will_never_be_is_refused_at_the_call(
    function: Any, asked: dict[str, Any], message: str
) -> None:
    args = () if function is nothing else (1,)
    async with Runtime(hosts=Hosts(max=2), pools={"io": 2}) as rt:
        with pytest.raises(ValueError, match=message):
            await rt.spawn(function, *args, **asked)
        if asked.get("host") != "loop":  # which is refused even earlier
            with pytest.raises(ValueError, match=message.replace(f"'{function.__name__}'", "'prepared'")):
                await rt.submit(Task("prepared", function, args=args, **asked))


@ONE
async def test_nothing_is_kept_of_a_task_that_had_something_for_itself() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        reserved = rt._system.reserved
        await rt.run(work.double, 1, host="process", memory_mb=10)
        assert reserved.holds() == []
        async for _ in rt.map(work.double, range(20), host="process", memory_mb=10):
            pass
        with anyio.fail_after(20):
            await rt.run(work.double, 1, host="process")
        assert not reserved.some

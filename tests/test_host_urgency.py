"""What hosts have been given ahead never stands in the way of what is more urgent.

A host that is busy in C, and hears nothing, has tasks in advance here; what is urgent comes while it is so.
"""

from __future__ import annotations

import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import Hosts, Priority, Runtime, TaskRef, TaskStatus
from actorsched._hosting import link, wire
from actorsched._system import host_ahead
from actorsched.messages import Unbegun
from actorsched.policies import Edf, Fair, FixedPriority, Policy
from tests import host_work as work
from tests.host_help import Fifo, adds_up, lines, task_hosts
from tests.hosting.harness import hosted
from tests.system.small_system import System

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
MANY = 100


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, it does not look as if a task took long."""
    monkeypatch.setattr(host_ahead, "_LOOK", 1000.0)
    monkeypatch.setattr(host_ahead, "_AHEAD", 1000.0)


class Line:
    """One host, a task that keeps it busy until it is let go, and those behind, which write their names."""

    def __init__(self, rt: Runtime, folder: Path) -> None:
        self.rt = rt
        self.log = folder / "log"
        self.refs: list[TaskRef[Any]] = []
        self._go = folder / "go"
        os.mkfifo(self._go)
        self._descriptor = os.open(self._go, os.O_RDWR)

    async def block(self, folder: Path) -> None:
        with Fifo(folder) as fifo:
            ref = await self.rt.spawn(work.hold_the_gil, fifo.path, str(self._go), host="process", priority=3)
            await fifo.told()
        self.refs.append(ref)
        self.host.window, self.host.pace = 128, 1e-6

    @property
    def host(self) -> Any:
        (host,) = task_hosts(self.rt)
        return host

    @property
    def ahead(self) -> int:
        return len(self.host.runs) - 1

    async def add(self, name: object, **options: Any) -> TaskRef[None]:
        ref = await self.rt.spawn(work.write, str(self.log), str(name), host="process", **options)
        self.refs.append(ref)
        return ref

    async def settled(self) -> None:
        """Whatever follows here from what has been done until now has followed."""
        for _ in range(5):
            await anyio.lowlevel.checkpoint()

    async def order(self) -> list[str]:
        """Let it go, and see in which order they began."""
        await self.settled()
        os.write(self._descriptor, b".")
        for ref in self.refs:
            await ref
        assert adds_up(self.rt)
        return lines(self.log)

    def close(self) -> None:
        os.write(self._descriptor, b".")
        os.close(self._descriptor)


@asynccontextmanager
async def blocked(
    folder: Path, count: int = MANY, policy: Any = "priority", **options: Any
) -> AsyncGenerator[Line]:
    """A host that is busy, and has so many tasks in advance."""
    async with Runtime(hosts=Hosts(max=1), policy=policy) as rt:
        line = Line(rt, folder)
        try:
            await line.block(folder)
            for number in range(count):
                await line.add(number, **options)
            await line.settled()
            assert line.ahead == count
            yield line
        finally:
            line.close()


def names(count: int = MANY) -> list[str]:
    return [str(number) for number in range(count)]


# --------------------------------------------------------------------------------------- urgent ones


async def test_an_urgent_one_is_the_next_however_many_were_handed_ahead(tmp_path: Path) -> None:
    async with blocked(tmp_path) as line:
        urgent = await line.add("urgent", priority=Priority.CRITICAL)
        await line.settled()
        assert line.host.left == -len(line.host.runs)  # `Hosts(max_tasks=)` counts none twice
        assert await line.order() == ["urgent", *names()]
        assert urgent.done()
        assert all(ref.attempt == 1 for ref in line.refs)


@ONE
async def test_urgent_ones_come_in_the_order_of_their_priorities(tmp_path: Path) -> None:
    async with blocked(tmp_path) as line:
        for name, priority in (
            ("high", 4),
            ("realtime", 6),
            ("critical", 5),
            ("critical too", 5),
            ("idle", 0),
        ):
            await line.add(name, priority=priority)
            await line.settled()
        first, last = ["realtime", "critical", "critical too", "high"], ["idle"]
        assert await line.order() == [*first, *names(), *last]


@ONE
async def test_a_full_window_makes_no_difference(tmp_path: Path) -> None:
    async with blocked(tmp_path) as line:
        line.host.window = 50
        await line.add("urgent", priority=Priority.CRITICAL)
        assert await line.order() == ["urgent", *names()]


@ONE
async def test_those_that_may_not_be_preempted_have_not_begun_and_give_way_too(tmp_path: Path) -> None:
    async with blocked(tmp_path, preemptible=False) as line:
        await line.add("urgent", priority=Priority.CRITICAL)
        assert await line.order() == ["urgent", *names()]


@ONE
async def test_equals_and_less_urgent_ones_take_nothing_back(tmp_path: Path) -> None:
    async with blocked(tmp_path) as line:
        sent: list[object] = []
        send = line.host.link.send

        def noting(frame: wire.ToHost) -> None:
            sent.append(frame)
            send(frame)

        line.host.link.send = noting
        await line.add("equal")
        await line.add("less urgent", priority=Priority.IDLE)
        await line.settled()
        assert line.ahead == MANY + 2
        assert not [frame for frame in sent if isinstance(frame, wire.Revoke)]
        assert await line.order() == [*names(), "equal", "less urgent"]


@ONE
async def test_an_earlier_deadline_goes_first(tmp_path: Path) -> None:
    async with blocked(tmp_path, policy=Edf[Any](), deadline=1000) as line:
        await line.add("later", deadline=2000)
        await line.add("sooner", deadline=500)
        assert await line.order() == ["sooner", *names(), "later"]


class InTurn(Policy[Any]):
    """First come, first served; nobody is preempted."""

    def __init__(self) -> None:
        self.line: list[Any] = []

    def fresh(self) -> InTurn:
        return InTurn()

    def push(self, task: Any, now: float, /) -> None:
        self.line.append(task)

    def put_back(self, task: Any, now: float, /) -> None:
        self.line.insert(0, task)

    def peek(self, now: float, /) -> Any:
        return self.line[0] if self.line else None

    def pop(self, now: float, /) -> Any:
        return self.line.pop(0) if self.line else None

    def remove(self, task: Any, /) -> bool:
        known = task in self.line
        if known:
            self.line.remove(task)
        return known

    def drain(self) -> list[Any]:
        line, self.line = self.line, []
        return line

    def __len__(self) -> int:
        return len(self.line)


class ByRank(InTurn):
    """The most urgent first, and whoever is less urgent makes room."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[Any, None] = {}

    def fresh(self) -> ByRank:
        return ByRank()

    def _best(self) -> Any:
        return max(self.line, key=lambda task: task.rank)

    def peek(self, now: float, /) -> Any:
        return self._best() if self.line else None

    def pop(self, now: float, /) -> Any:
        if not self.line:
            return None
        best = self._best()
        self.line.remove(best)
        return best

    def started(self, task: Any, now: float, /) -> None:
        self.runs[task] = None

    def stopped(self, task: Any, now: float, /) -> None:
        self.runs.pop(task, None)

    def victim(self, now: float, /) -> Any:
        worst = min(reversed(self.runs), key=lambda task: task.rank, default=None)
        return worst if worst is not None and self.line and worst.rank < self._best().rank else None


@ONE
@pytest.mark.parametrize("policy", [Fair[Any](), InTurn()])
async def test_where_the_policy_does_not_ask_for_priorities_nobody_goes_first(
    policy: Any, tmp_path: Path
) -> None:
    async with blocked(tmp_path, policy=policy) as line:
        await line.add("urgent", priority=Priority.CRITICAL)
        assert await line.order() == [*names(), "urgent"]


@ONE
async def test_a_policy_of_ones_own_that_preempts_has_its_way(tmp_path: Path) -> None:
    async with blocked(tmp_path, policy=ByRank()) as line:
        await line.add("urgent", priority=Priority.CRITICAL)
        assert await line.order() == ["urgent", *names()]


# -------------------------------------------------------------------------------- changed priorities


async def test_one_that_becomes_urgent_behind_others_goes_first(tmp_path: Path) -> None:
    async with blocked(tmp_path) as line:
        await line.refs[50].set_priority(Priority.CRITICAL)
        assert await line.order() == ["49", *(name for name in names() if name != "49")]


@ONE
async def test_one_that_becomes_less_urgent_goes_last(tmp_path: Path) -> None:
    async with blocked(tmp_path) as line:
        await line.refs[1].set_priority(Priority.IDLE)
        assert await line.order() == [*names()[1:], "0"]


@ONE
async def test_one_that_somebody_urgent_waits_for_goes_first(tmp_path: Path) -> None:
    async with blocked(tmp_path) as line:

        async def waits() -> None:
            await line.refs[50]

        waiting = await line.rt.spawn(waits, priority=Priority.CRITICAL)
        await line.settled()
        assert await line.order() == ["49", *(name for name in names() if name != "49")]
        await waiting


@ONE
async def test_one_that_is_cancelled_after_it_was_taken_back_never_runs(tmp_path: Path) -> None:
    async with blocked(tmp_path) as line:
        await line.add("urgent", priority=Priority.CRITICAL)
        gone = line.refs.pop(1)
        await gone.cancel()
        assert gone.status is TaskStatus.CANCELLED
        assert await line.order() == ["urgent", *names()[1:]]


# ---------------------------------------------------------------------------- what runs takes long


async def test_behind_one_that_turns_out_to_take_long_it_does_not_wait_either(tmp_path: Path) -> None:
    """It was handed to the host as the next one; then the one before it is stopped, and it runs elsewhere."""
    go = tmp_path / "go"
    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(work.double, 1, host="process") == 2
        (host,) = task_hosts(rt)
        host.window, host.pace = 128, 1e-6
        long = await rt.spawn(work.wait_for, str(go), host="process")
        behind = [await rt.spawn(work.double, n, host="process") for n in range(5)]
        await anyio.lowlevel.checkpoint()
        assert await rt.run(work.double, 21, host="process", priority=Priority.CRITICAL) == 42
        assert not long.done()
        go.touch()
        await long
        assert [await ref for ref in behind] == [0, 2, 4, 6, 8]


@ONE
async def test_what_has_been_silent_for_a_while_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with blocked(tmp_path, 10) as line:
        monkeypatch.setattr(host_ahead, "_AHEAD", 0.0)
        host = line.host
        urgent = await line.add("urgent", priority=Priority.CRITICAL)
        await urgent
        assert host.suspended or not line.refs[0].done()
        assert await line.order() == ["urgent", *names(10)]


@ONE
async def test_a_storm_of_changing_priorities_runs_everything_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_ahead, "_AHEAD", 0.002)
    chance, log = random.Random(7), tmp_path / "log"
    async with Runtime(hosts=Hosts(max=2)) as rt:
        refs: list[TaskRef[None]] = []
        for number in range(400):
            options: dict[str, Any] = {"priority": chance.randrange(7)} if chance.random() < 0.3 else {}
            refs.append(await rt.spawn(work.write, str(log), str(number), host="process", **options))
            if chance.random() < 0.1:
                await chance.choice(refs).set_priority(chance.randrange(7))
            if chance.random() < 0.1:
                await anyio.lowlevel.checkpoint()
        for ref in refs:
            await ref
        assert sorted(lines(log), key=int) == names(400)
        assert adds_up(rt)
        assert not any(host.held or host.revokes for host in task_hosts(rt))


# ------------------------------------------------------------------------------------- on the wire


class Packets:
    """Counts the frames in each packet of a link."""

    def __init__(self, of: link.HostLink, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self._packer = of._packer
        monkeypatch.setattr(of, "_packer", self)

    def pack(self, frames: Sequence[wire.Frame]) -> bytearray:
        self.sizes.append(len(frames))
        return self._packer.pack(frames)


async def test_a_single_task_goes_out_at_once_and_many_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hosted() as host:
        await host.run(work.double, 1)
        packets = Packets(host.link, monkeypatch)
        monkeypatch.setattr(link, "_ALONE", 0.0)  # as after a silence
        single = host.start(work.double, 2)
        assert (packets.sizes, host.link.unsent) == ([1], 0)
        monkeypatch.setattr(link, "_ALONE", 1000.0)  # as amid a flood
        numbers = [host.start(work.double, n) for n in range(MANY)]
        assert packets.sizes == [1]
        assert await host.result(single) == 4
        assert [await host.result(number) for number in numbers] == [2 * n for n in range(MANY)]
        assert packets.sizes == [1, MANY]


@ONE
async def test_a_thousand_do_not_wait_for_the_end_of_the_turn() -> None:
    async with hosted() as host:
        await host.run(work.double, 1)
        numbers = [host.start(work.double, n) for n in range(2 * link._FLUSH_AT)]
        assert len(host.link._queue) < link._FLUSH_AT
        assert await host.result(numbers[-1]) == 4 * link._FLUSH_AT - 2


async def test_the_results_of_a_batch_come_back_while_later_ones_run(tmp_path: Path) -> None:
    async with hosted() as host:
        files = [tmp_path / str(n) for n in range(10)]
        numbers = [host.start(work.wait_for, str(file)) for file in files]
        for number, file in zip(numbers, files, strict=True):
            file.touch()
            await host.result(number)
            assert len(host.seen(wire.Done)) == numbers.index(number) + 1


@ONE
async def test_quick_results_come_back_while_the_next_one_runs(tmp_path: Path) -> None:
    async with hosted() as host:
        go = tmp_path / "go"
        numbers = [host.start(work.double, n) for n in range(50)]
        long = host.start(work.wait_for, str(go))
        assert [await host.result(number) for number in numbers] == [2 * n for n in range(50)]
        assert not [frame for frame in host.seen(wire.Done) if frame.task_id == long]
        go.touch()
        await host.result(long)


# ------------------------------------------------------------------------------------- and their age


def test_what_was_given_back_keeps_its_age_and_its_place() -> None:
    policy = FixedPriority[Any](aging=1)
    system = System(limit=2, policy=policy)
    running = [system.task(name) for name in "ab"]
    old, older = system.task("old", rank=0), system.task("older", rank=0)
    system.out.now = 4.0
    young = system.task("young", rank=0)
    for task in running:
        system.finish(task)
    chosen = [task.status.value for task in (old, older, young)]
    assert chosen == ["running", "running", "ready"]
    given_back = [Unbegun(task.worker, task) for task in (older, old) if task.worker is not None]
    system.send(system.scheduler, *given_back)
    assert system.told("started")[-4:] == 2 * [("started", "old"), ("started", "older")]
    assert [policy.describe(task, 4.0) for task in (old, older)] == 2 * ["priority 0, aged to 4"]
    assert [task.attempt for task in (old, older, young)] == [1, 1, 0]

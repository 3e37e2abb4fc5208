"""One runtime to which something bad happens, and what must hold afterwards, whatever it was.

The law of this module: it knows no fault. A `Trial` is a runtime with a neighbour, which no fault is meant
for, and with tasks whose starts are counted in a file. Whoever leaves it learns whether

* every task has reached exactly one final status, and everybody who waited for it has been told;
* no task has started more often than its crash budget allows, and what had not started did run;
* a task that was lost says so: which process, which signal or exit code, which cause;
* the neighbours are as they were: the same process, the same state;
* all messages are accounted for;
* the runtime is of use: tasks and actors find hosts;
* and, when it has been left, whether anything stayed behind: processes (also those that hosts have started),
  threads, descriptors, memory files, much memory.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio

from actorsched import Event, Hosts, Retry, Runtime, Supervise, TaskRef, TaskStatus
from actorsched.exceptions import ActorschedError, HostDied
from tests.faults import deeds
from tests.host_help import Fifo, adds_up, alive, task_hosts, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

CAUSES = {"out of memory", "killed", "crashed", "exited", "never started"}
ROOM = 160 * 1024 * 1024
"""Bytes by which this process may have grown: allocators and imports keep some, leaks of big things more."""
GONE = 2.0
"""Seconds within which whatever a dead host has left behind must have died."""


def pages() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def belongings() -> dict[str, int]:
    """How much of everything that could leak this process has."""
    targets = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            targets.append(str(entry.readlink()))
        except OSError:  # that of the listing
            continue
    mappings = Path("/proc/self/maps").read_text()
    return {
        "descriptors": len(targets),
        "memory files": mappings.count("memfd:actorsched") + sum("memfd:" in target for target in targets),
        "threads": sum(not thread.daemon for thread in threading.enumerate()),
        "children": len(children()),
    }


def children() -> set[int]:
    """The child processes of this one, zombies included."""
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        try:
            found.update(map(int, Path(f"/proc/self/task/{task}/children").read_text().split()))
        except OSError:
            continue
    return found


class Ledger:
    """The file in which whatever starts in a host says so."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def lines(self) -> list[str]:
        path = Path(self.path)
        return path.read_text().splitlines() if path.exists() else []

    def starts(self) -> Counter[str]:
        """How often each has started."""
        return Counter(line.rpartition(" ")[0] for line in self.lines())

    def children(self) -> list[int]:
        """The processes that tasks say they have left behind."""
        return [int(key.removeprefix("child ")) for key in self.starts() if key.startswith("child ")]


class Trial:
    """A runtime, its neighbours, and the tasks whose starts are counted.

    Args:
        folder: An empty folder.
        hosts: How many hosts for tasks it has, whatever the machine is busy with.
        neighbours: Whether there is a task in a host of its own, and an actor in another, which all that
            happens must leave alone. The actor shares its host with others when there are several.
        from_outside: Whether hosts are killed at any moment, not by what runs there: also while they build
            the arguments of a task, which then has begun, and has not come to its first line.
        options: More for `Runtime`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        hosts: int = 2,
        neighbours: bool = True,
        from_outside: bool = False,
        **options: Any,
    ) -> None:
        self.ledger = Ledger(folder / "ledger")
        self.tasks: dict[str, tuple[TaskRef[Any], int]] = {}
        self._folder = folder
        self._neighbours = neighbours
        self._from_outside = from_outside
        self._finals: Counter[str] = Counter()
        self._before = belongings()
        self._memory = pages()
        self._runtime = Runtime(hosts=Hosts(min=hosts, max=hosts), **options)
        self._strikes = 0

    async def __aenter__(self) -> Self:
        self.rt = await self._runtime.__aenter__()
        self.rt.subscribe(("completed", "failed", "cancelled", "deadline_missed"), self._count)
        if self._neighbours:
            await self._settle_neighbours()
        return self

    def _count(self, event: Event) -> None:
        if event.details.get("final", True):
            self._finals[event.id] += 1

    async def _settle_neighbours(self) -> None:
        self.keeper: Any = await self.rt.spawn(deeds.Keeper, 41, name="neighbour")
        self._told, self._go = Fifo(self._folder, "told"), Fifo(self._folder, "go")
        self.stayer = await self.start("neighbour", deeds.wait_for_word, self._told.path, self._go.path)
        self._pids = await self._told.told(), await self.keeper.ask.pid()

    # ------------------------------------------------------------------------------------------------ tasks

    async def start(self, key: str, deed: Callable[..., Any], *args: Any, **options: Any) -> TaskRef[Any]:
        """Spawn a task that notes when it starts."""
        crashes = options.pop("crashes", 0)
        runner = deeds.do_async if options.pop("in_a_loop", False) else deeds.do
        ref = await self.rt.spawn(
            runner,
            self.ledger.path,
            key,
            deed,
            *args,
            name=key,
            host="process",
            retry=Retry(crashes=crashes),
            **options,
        )
        self.tasks[key] = ref, crashes
        return ref

    async def error_of(self, key: str, deed: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run such a task; the error that it ends with."""
        return (await (await self.start(key, deed, *args, **options)).outcome()).error

    async def lost(self, key: str, deed: Callable[..., Any], *args: Any, **options: Any) -> HostDied:
        """Run such a task, which must not survive."""
        error = await self.error_of(key, deed, *args, **options)
        assert isinstance(error, HostDied), error
        return error

    # ----------------------------------------------------------------------------------------------- the end

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.check()
        finally:
            if self._neighbours:
                self._go.tell()
            await self._runtime.__aexit__(kind, error, traceback)
            if self._neighbours:
                self._told.__exit__()
                self._go.__exit__()
        if error is None:
            await self._check_that_nothing_is_left()

    async def check(self) -> None:
        """What must hold now; the tasks that were started are awaited first."""
        if self._neighbours:
            await self._check_neighbours()
        for key, (ref, crashes) in self.tasks.items():
            self._check_task(key, crashes, ref, await ref.outcome())
        await self._check_use()
        assert adds_up(self.rt)
        assert set(self._finals.values()) <= {1}, self._finals

    def _check_task(self, key: str, crashes: int, ref: TaskRef[Any], outcome: Any) -> None:
        starts = self.ledger.starts()[key]
        error = outcome.error
        assert ref.status is outcome.status
        assert outcome.status in (
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
            TaskStatus.DEADLINE_MISSED,
        )
        assert self._finals[str(ref.id)] == 1, (key, self._finals)
        assert starts <= 1 + crashes, f"{key} ran {starts} times, with a budget of {crashes} crashes"
        if outcome.status is TaskStatus.COMPLETED:
            assert starts, f"{key} has a result, but never ran"
        if isinstance(error, HostDied):
            check_report(error)
            if error.cause != "never started" and not self._from_outside:
                assert starts == 1 + crashes, f"{key} was lost after {starts} starts: {error}"

    async def _check_neighbours(self) -> None:
        if self.stayer.done():
            raise AssertionError("the neighbour has ended") from (await self.stayer.outcome()).error
        self._go.tell()
        pids = await self.stayer, await self.keeper.ask.pid()
        assert pids == self._pids, "the neighbours are still where they were"
        assert await self.keeper.ask.add(1) == 42 + self._strikes, "and have what they had"
        self._strikes += 1

    async def _check_use(self) -> None:
        """The runtime can be used."""
        with anyio.fail_after(10):
            assert [await self.rt.run(deeds.same, n, host="process") for n in range(3)] == [0, 1, 2]
            async with self.rt.scope(Supervise(max_restarts=100)) as scope:
                keeper: Any = await scope.spawn(deeds.Keeper, 0)
                assert await survive(keeper.ask.add, 1) == 1
                assert [n async for n in keeper.ask.numbers(3)] == [0, 1, 2]

    async def _check_that_nothing_is_left(self) -> None:
        left = self.ledger.children()
        limit = time.monotonic() + GONE
        while any(map(alive, left)) and time.monotonic() < limit:
            await anyio.sleep(0.001)
        assert [pid for pid in left if alive(pid)] == [], "what hosts had started dies with them"
        self.tasks.clear()
        gc.collect()
        after = belongings()
        assert after == {**after, **{k: min(v, after[k]) for k, v in self._before.items()}}, (
            self._before,
            after,
        )
        assert pages() - self._memory < ROOM, "memory has come back"


def check_report(error: HostDied) -> None:
    """A task that was lost with its host says how."""
    assert error.cause in CAUSES, error.cause
    if error.cause != "never started" or error.pid:
        assert error.pid
        assert str(error.pid) in str(error)
        unknown = error.signal is None and error.exit_code is None  # if its spawner has died, or was too slow
        assert unknown or (error.signal is None) != (error.exit_code is None)


async def survive(ask: Callable[..., Any], *args: Any) -> Any:
    """Ask until somebody answers: a host that has just died is not known to have died at once."""
    for _ in range(50):
        try:
            return await ask(*args)
        except ActorschedError:
            await anyio.sleep(0)
    return await ask(*args)


async def pid_of(trial: Trial) -> int:
    """The process of the host of tasks that is not the neighbour's, once there is one and it is ready."""
    found: list[int] = []

    def seen() -> bool:
        links = [worker.link for worker in task_hosts(trial.rt)]
        found[:] = [link.pid for link in links if link.ready and link.pid != trial._pids[0]]
        return bool(found)

    await until(seen)
    return found[0]

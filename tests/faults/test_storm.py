"""Storms: every kind of fault, mixed as a seed says, upon tasks and actors that do all kinds of work.

The seed is in the test's name and repeats the choices, though not the moments at which processes take them:
`ACTORSCHED_FAULT_SEEDS=17:18` runs number 17 again, `ACTORSCHED_FAULT_SEEDS=200` runs two hundred.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Supervise, TaskStatus
from actorsched.exceptions import ActorschedError, HostDied
from tests.faults import deeds
from tests.faults.harness import Trial, check_report, survive

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.usefixtures("small_heap"), pytest.mark.process, pytest.mark.deadline(60)]
STEPS = 60
LANES = 8

Deed = tuple["Callable[..., Any]", tuple[Any, ...]]

HARMLESS: list[Deed] = [
    (deeds.same, (1,)),
    (deeds.same, (b"x" * 200_000,)),
    (deeds.make_bytes, (300_000,)),
    (deeds.make_text, (100_000,)),
    (deeds.spend, (0.002,)),
    (deeds.attempt, ()),
    (deeds.start_session, ()),
]
FAILING: list[Deed] = [
    (deeds.divide, (1, 0)),
    (deeds.unpicklable, ()),
    (deeds.failing_to_pickle, ()),
    (deeds.refusing, (ValueError,)),
    (deeds.refusing, (SystemExit,)),
    (deeds.raise_it, (KeyboardInterrupt,)),
    (deeds.raise_it, (SystemExit, 3)),
    (deeds.raise_unpicklable, ()),
    (deeds.raise_refusing, ()),
    (deeds.be_picky, ()),
]
DEADLY: list[Deed] = [
    (deeds.die_of, (signal.SIGKILL,)),
    (deeds.die_of, (signal.SIGTERM,)),
    (deeds.segfault, ()),
    (os.abort, ()),
    (deeds.leave, (0,)),
    (deeds.leave, (7,)),
    (deeds.leave_by_exec, ()),
    (deeds.write_to_sockets, (b"garbage" * 10,)),
    (deeds.write_to_sockets, (b"as\0\0\x04\0\0\0\x91\x92\x7a\x01",)),
    (deeds.killing_its_pickler, ()),
    (deeds.raise_killing, ()),
    (deeds.scribble_over_shared_memory, ()),
]
LITTERING: list[Deed] = [
    (deeds.lower_limit, (7, 64)),  # RLIMIT_NOFILE
    (deeds.change_everything, ()),
    (deeds.start_threads_that_stay, ()),
]


class Storm:
    """Who is out in it, what chance wants, and what became of everybody."""

    def __init__(self, seed: int, trial: Trial, keepers: list[Any]) -> None:
        self.chance = Random(seed)
        self.trial = trial
        self.keepers = keepers
        self.left = STEPS
        self.names = 0

    def name(self) -> str:
        self.names += 1
        return f"step {self.names}"

    def deed(self) -> Deed:
        kinds = [HARMLESS, FAILING, DEADLY, [*LITTERING, (deeds.fork_and_return, (self.trial.ledger.path,))]]
        return self.chance.choice(self.chance.choices(kinds, weights=[60, 15, 12, 3])[0])

    async def lane(self) -> None:
        """Does one thing after the other until there are no more."""
        while self.left:
            self.left -= 1
            await self.chance.choices(
                [self.run_a_task, self.cancel_a_task, self.ask, self.read, self.strike, self.tell],
                weights=[50, 8, 20, 8, 8, 6],
            )[0]()

    async def run_a_task(self) -> None:
        deed, args = self.deed()
        crashes, in_a_loop = self.chance.choice([0, 0, 1, 3]), self.chance.random() < 0.2
        ref = await self.trial.start(self.name(), deed, *args, crashes=crashes, in_a_loop=in_a_loop)
        outcome = await ref.outcome()
        if (deed, args) in HARMLESS:
            assert outcome.ok or isinstance(outcome.error, HostDied), outcome
        elif (deed, args) in DEADLY:
            assert isinstance(outcome.error, HostDied), outcome

    async def cancel_a_task(self) -> None:
        deed, args = self.deed()
        crashes, turns = self.chance.choice([0, 2]), self.chance.randrange(20)
        ref = await self.trial.start(self.name(), deed, *args, crashes=crashes)
        for _ in range(turns):
            await anyio.sleep(0)
        await ref.cancel(reason="the storm")
        assert ref.status in (TaskStatus.CANCELLED, TaskStatus.COMPLETED, TaskStatus.FAILED), ref.status

    async def ask(self) -> None:
        deed, args = self.deed()
        keeper = self.chance.choice(self.keepers)
        try:
            await keeper.ask.do(self.trial.ledger.path, self.name(), deed, *args)
        except HostDied as error:
            check_report(error)
        except BaseException as error:
            assert (deed, args) in FAILING or isinstance(error, ActorschedError), error
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise

    async def read(self) -> None:
        keeper, count = self.chance.choice(self.keepers), self.chance.randrange(1, 6)
        got: list[int] = []
        try:
            async for number in keeper.ask.numbers(5):
                got.append(number)
                if len(got) == count:
                    break
        except ActorschedError:
            pass
        assert got == list(range(len(got)))

    async def tell(self) -> None:
        self.chance.choice(self.keepers).tell(deeds.Keeper.add, 0)

    async def strike(self) -> None:
        """Something from outside happens to a host that is there."""
        links = [link for link in self.trial.rt._system.staff.links if link.pid]
        number = self.chance.choice(
            [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGSTOP]
        )
        lucky = self.chance.random()
        if links:
            try:
                os.kill(links[int(lucky * len(links))].pid, number)
            except ProcessLookupError:  # it has been reaped in this moment
                pass


async def test_a_storm_of_faults(seed: int, tmp_path: Path) -> None:
    async with (
        Trial(tmp_path, hosts=2, neighbours=False, from_outside=True, shutdown_timeout=0.5) as trial,
        trial.rt.scope(Supervise(max_restarts=10_000)) as scope,
    ):
        keepers: list[Any] = [await scope.spawn(deeds.Keeper, n) for n in range(3)]
        loose: Any = await scope.spawn(deeds.Keeper, 100, host="loop")
        storm = Storm(seed, trial, keepers)
        async with anyio.create_task_group() as group:
            for _ in range(LANES):
                group.start_soon(storm.lane)
        assert storm.left == 0
        assert await loose.ask.add(1) == 101
        for number, keeper in enumerate(keepers):
            assert await survive(keeper.ask.add, 0) == number

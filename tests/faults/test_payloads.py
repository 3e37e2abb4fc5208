"""Results and errors that bite: whoever packs or unpacks them survives, and says what was the matter.

What is tested elsewhere: which objects cross and how culprits are named (`tests/hosting/test_transfer.py`),
arguments that the host cannot build (`tests/hosting/test_task_host.py`), results with locks in them
(`tests/test_host_tasks.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actorsched import Retry
from actorsched.exceptions import HostDied, NotTransferable
from tests.faults import deeds
from tests.faults.harness import Trial

pytestmark = [pytest.mark.usefixtures("small_heap"), pytest.mark.process, pytest.mark.deadline(10)]
BITING: list[tuple[Any, tuple[Any, ...], type[BaseException], str]] = [
    (deeds.unpicklable, (), NotTransferable, r"result\['lock'\]"),
    (deeds.failing_to_pickle, (), NotTransferable, "will not be pickled"),
    (deeds.endlessly_deep, (), NotTransferable, "deep|recursion"),
    (deeds.refusing, (ValueError,), NotTransferable, "ValueError: cannot be built here"),
    (deeds.refusing, (MemoryError,), NotTransferable, "MemoryError: cannot be built here"),
    (deeds.refusing, (RecursionError,), NotTransferable, "cannot be built here"),
    (deeds.refusing, (SystemExit,), NotTransferable, "SystemExit: cannot be built here"),
    (deeds.refusing, (KeyboardInterrupt,), KeyboardInterrupt, "cannot be built here"),
    (deeds.refusing, (GeneratorExit,), NotTransferable, "GeneratorExit: cannot be built here"),
    (deeds.be_picky, (), deeds.Picky, "3 at home"),
    (deeds.raise_unpicklable, (), NotTransferable, "with a lock"),
    (deeds.raise_biting, (), deeds.BitesItsPickler, "it bites"),
    (deeds.raise_refusing, (), NotTransferable, "RefusesElsewhere|cannot be built"),
    (deeds.recurse_for_ever, (), RecursionError, "recursion"),
]
LEAVING: list[tuple[type[BaseException], tuple[Any, ...]]] = [
    (KeyboardInterrupt, ()),
    (SystemExit, (3,)),
    (SystemExit, (0,)),
    (GeneratorExit, ()),
    (BaseException, ("base",)),
    (BaseExceptionGroup, ("several", [KeyboardInterrupt(), ValueError("x")])),
    (StopIteration, (5,)),
    (StopAsyncIteration, ()),
    (MemoryError, ("a lie",)),
]
DEADLY = [deeds.killing_its_pickler, deeds.raise_killing]


def check(found: Any, kind: type[BaseException], says: str, deed: Any) -> None:
    import re

    assert type(found) is kind, (deed, found)
    assert re.search(says, str(found)), (deed, found)


@pytest.mark.parametrize("in_a_loop", [False, True], ids=["plain", "async"])
async def test_results_and_errors_of_tasks_that_bite_cost_no_host(in_a_loop: bool, tmp_path: Path) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        pid = await trial.rt.run(deeds.pid, host="process")
        for number, (deed, args, kind, says) in enumerate(BITING):
            error = await trial.error_of(f"{number}", deed, *args, in_a_loop=in_a_loop, crashes=3)
            check(error, kind, says, deed)
            assert trial.ledger.starts()[f"{number}"] == 1, deed
        assert await trial.rt.run(deeds.pid, host="process") == pid, "the host survived it all"


async def test_results_and_errors_of_handlers_that_bite_cost_no_host(tmp_path: Path) -> None:
    async with Trial(tmp_path, neighbours=False) as trial:
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        await keeper.ask.add(1)
        for number, (deed, args, kind, says) in enumerate(BITING):
            with pytest.raises(BaseException) as caught:
                await keeper.ask.do(trial.ledger.path, str(number), deed, *args)
            check(caught.value, kind, says, deed)
        assert await keeper.ask.add(1) == 3, "it is the same instance"


@pytest.mark.parametrize("backend", ["trio"], indirect=True)
async def test_what_kills_its_pickler_kills_a_host_and_nothing_else(tmp_path: Path) -> None:
    async with Trial(tmp_path) as trial:
        for deed in DEADLY:
            error = await trial.lost(deed.__name__, deed)
            assert error.exit_code == 9


@pytest.mark.parametrize("in_a_loop", [False, True], ids=["plain", "async"])
async def test_whatever_a_task_raises_is_its_failure_and_ends_neither_host_nor_runtime(
    in_a_loop: bool, tmp_path: Path
) -> None:
    async with Trial(tmp_path, hosts=1, neighbours=False) as trial:
        pid = await trial.rt.run(deeds.pid, host="process")
        for number, (kind, args) in enumerate(LEAVING):
            error = await trial.error_of(str(number), deeds.raise_it, kind, *args, in_a_loop=in_a_loop)
            expected = (kind, RuntimeError) if kind is StopIteration else kind
            assert isinstance(error, expected), (kind, error)
        assert await trial.rt.run(deeds.pid, host="process") == pid


async def test_whatever_a_handler_raises_is_told_to_its_asker_and_ends_neither_host_nor_runtime(
    tmp_path: Path,
) -> None:
    async with Trial(tmp_path, neighbours=False) as trial:
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        pid = await keeper.ask.pid()
        for number, (kind, args) in enumerate(LEAVING):
            expected = (kind, RuntimeError) if kind is StopIteration else kind
            with pytest.raises(expected):
                await keeper.ask.do(trial.ledger.path, str(number), deeds.raise_it, kind, *args)
        assert await keeper.ask.pid() == pid


@pytest.mark.parametrize("backend", ["uvloop"], indirect=True)
async def test_arguments_that_end_whoever_builds_them_cost_a_host_for_each_attempt(tmp_path: Path) -> None:
    async with Trial(tmp_path, neighbours=False) as trial:
        with pytest.raises(HostDied, match="code 11"):
            await trial.rt.run(deeds.same, Bomb(), host="process", retry=Retry(crashes=1))
        keeper: Any = await trial.rt.spawn(deeds.Keeper, 1)
        with pytest.raises(HostDied, match="code 11"):
            await keeper.ask.add(Bomb())


class Bomb:
    """Ends whatever process builds it."""

    def __reduce__(self) -> Any:
        import os

        return os._exit, (11,)

"""Libraries that take an executor take ours: asyncio, dask, joblib, SciPy and tqdm."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import io
import operator
import os
import warnings
from importlib import import_module
from multiprocessing import TimeoutError as PoolTimeout
from typing import TYPE_CHECKING, Any

import anyio
import joblib
import pytest
import scipy.optimize
import tqdm
from joblib import Parallel, delayed

import actorsched.integrations.joblib as integration
from actorsched import Executor, Hosts, Runtime
from tests import executor_work as work
from tests.executor_work import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.deadline(90), pytest.mark.usefixtures("warm_backends")]

LONG = 50.0
dask: Any = import_module("dask")  # says that it has types, but not for this


@pytest.fixture
def executor() -> Iterator[Executor]:
    with Executor(2) as made:
        yield made


# ---------------------------------------------------------------------------------------------------- asyncio


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_asyncio_runs_functions_in_an_executor(backend: str) -> None:
    loop = asyncio.get_running_loop()
    with Executor(1) as executor:
        assert await loop.run_in_executor(executor, os.getpid) != os.getpid()
        with pytest.raises(ValueError, match="no luck"):
            await loop.run_in_executor(executor, work.fail, "no luck")


@pytest.mark.parametrize("backend", ["asyncio"])
async def test_cancelling_a_wait_of_asyncio_withdraws_what_has_not_begun(
    backend: str, tmp_path: Path
) -> None:
    gate, marker = Gate(tmp_path), tmp_path / "marker"
    with Executor(1) as executor:
        first = asyncio.wrap_future(executor.submit(gate))
        await anyio.to_thread.run_sync(gate.wait_until_begun)
        second = asyncio.wrap_future(executor.submit(work.touch, str(marker)))
        second.cancel()
        await anyio.to_thread.run_sync(gate.open)
        await first
    assert not marker.exists()


# ------------------------------------------------------------------------------------------------------- dask


def test_dask_computes_with_an_executor(executor: Executor) -> None:
    numbers = [dask.delayed(work.double)(number) for number in range(10)]
    total = dask.delayed(sum)(numbers)
    assert dask.compute(total, scheduler=executor) == (90,)
    assert executor._max_workers == 2  # how many tasks dask then has in progress at most
    with dask.config.set(scheduler=executor):
        assert total.compute() == 90
        with pytest.raises(ValueError, match="no luck"):
            dask.delayed(work.fail)("no luck").compute()


async def test_dask_computes_on_a_runtime() -> None:
    def compute(executor: cf.Executor) -> Any:
        with dask.config.set(scheduler=executor):
            return dask.delayed(operator.add)(dask.delayed(work.double)(2), 1).compute()

    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await anyio.to_thread.run_sync(compute, rt.executor()) == 5


# ----------------------------------------------------------------------------------------------------- joblib


@pytest.fixture(params=["process", "thread"])
def parallel(request: pytest.FixtureRequest) -> Iterator[None]:
    with joblib.parallel_config("actorsched", n_jobs=2, host=request.param):
        yield


def nested(number: int) -> int:
    return sum(Parallel(n_jobs=2)(delayed(work.double)(each) for each in range(number)))


@pytest.mark.usefixtures("parallel")
def test_joblib_runs_calls_in_order_and_in_batches() -> None:
    assert Parallel()(delayed(work.double)(number) for number in range(2000)) == list(range(0, 4000, 2))
    ten = 10
    assert Parallel()(delayed(lambda number: number + ten)(number) for number in range(3)) == [10, 11, 12]


def test_joblib_runs_calls_in_other_processes() -> None:
    with joblib.parallel_config("actorsched", n_jobs=2):
        pids = set(Parallel()(delayed(os.getpid)() for _ in range(100)))
    assert os.getpid() not in pids
    assert len(pids) <= 2


@pytest.mark.usefixtures("parallel")
def test_joblib_passes_errors_on_and_goes_on() -> None:
    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(work.invert)(number) for number in [1, 2, 0, *range(1, 100)])
    with Parallel() as several:
        with pytest.raises(ZeroDivisionError):  # a single one: joblib may mix what is left into its next call
            several(delayed(work.invert)(number) for number in [0])
        assert several(delayed(work.double)(number) for number in range(3)) == [0, 2, 4]


def test_joblib_stops_what_takes_too_long(tmp_path: Path) -> None:
    gate = Gate(tmp_path)  # never opened
    with joblib.parallel_config("actorsched", n_jobs=2), pytest.raises(PoolTimeout):
        Parallel(timeout=0.1)(delayed(gate)() for _ in range(2))


@pytest.mark.usefixtures("parallel")
def test_joblib_gives_results_one_by_one() -> None:
    ordered = Parallel(return_as="generator")(delayed(work.double)(number) for number in range(50))
    assert list(ordered) == list(range(0, 100, 2))
    unordered = Parallel(return_as="generator_unordered")(delayed(work.double)(each) for each in range(50))
    assert sorted(unordered) == list(range(0, 100, 2))


@pytest.mark.usefixtures("parallel")
def test_joblib_may_leave_its_results_unread() -> None:
    results = Parallel(return_as="generator")(delayed(work.double)(number) for number in range(1000))
    assert next(results) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # joblib says how much was done in vain
        results.close()


@pytest.mark.usefixtures("parallel")
def test_joblib_within_joblib_does_not_wait_for_itself() -> None:
    assert Parallel()(delayed(nested)(number) for number in range(6)) == [0, 0, 2, 6, 12, 20]


def test_joblib_shares_an_executor_and_leaves_it_alone(executor: Executor) -> None:
    with joblib.parallel_config("actorsched", n_jobs=-1, executor=executor):
        first = set(Parallel()(delayed(os.getpid)() for _ in range(20)))
        with pytest.raises(ValueError, match="no luck"):
            Parallel()(delayed(work.fail)("no luck") for _ in range(3))
        second = set(Parallel()(delayed(os.getpid)() for _ in range(20)))
    assert len(first | second) <= 2
    assert executor.submit(work.double, 1).result(LONG) == 2


def test_joblib_with_one_job_needs_nobody() -> None:
    with joblib.parallel_config("actorsched", n_jobs=1):
        assert Parallel()(delayed(os.getpid)() for _ in range(2)) == [os.getpid()] * 2


def test_the_backend_of_joblib_refuses_what_it_does_not_know() -> None:
    backend = integration.ActorschedBackend()
    assert backend.effective_n_jobs(None) == 1
    assert backend.effective_n_jobs(-1) >= 1
    with pytest.raises(ValueError, match="n_jobs=0"):
        backend.effective_n_jobs(0)
    with pytest.raises(ValueError, match="host='loop'"):
        integration.ActorschedBackend(host="loop")
    with pytest.raises(TypeError, match="executor=5"):
        integration.ActorschedBackend(executor=5)
    with (
        pytest.raises(TypeError, match="unknown option 'pririty'"),
        joblib.parallel_config("actorsched", pririty=5),
    ):
        pass


# ------------------------------------------------------------------------------------------------ SciPy, tqdm


def bowl(point: Any) -> float:
    return float(((point - 1.0) ** 2).sum())


def test_scipy_takes_map_for_its_workers(executor: Executor) -> None:
    found = scipy.optimize.differential_evolution(
        bowl, [(-3, 3), (-3, 3)], workers=executor.map, updating="deferred", rng=1, maxiter=40
    )
    assert found.fun < 1e-3


def test_tqdm_shows_how_far_it_has_come(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # or a thread of its own would outlive the test
    screen = io.StringIO()
    assert list(tqdm.tqdm(executor.map(work.double, range(20)), total=20, file=screen)) == [*range(0, 40, 2)]
    futures = [executor.submit(work.double, number) for number in range(20)]
    done = [future.result() for future in tqdm.tqdm(cf.as_completed(futures), total=20, file=screen)]
    assert sorted(done) == list(range(0, 40, 2))
    assert "20/20" in screen.getvalue()

"""Executors: the promises of `concurrent.futures`, in host processes and in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
import pytest

import actorsched
from actorsched import Executor, ExecutorBroken, HostDied, Hosts, Priority, Runtime, TaskCancelled
from actorsched._system.orders import Book
from actorsched.exceptions import (
    DeadlockError,
    NotTransferable,
    RemoteTraceback,
    RuntimeClosed,
    TaskTimeout,
)
from tests import executor_work as work
from tests.executor_work import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.process,
    pytest.mark.deadline(60),
    pytest.mark.usefixtures("warm_backends", "small_heap"),
]

LONG = 50.0
"""Seconds after which a wait that should be over is over anyhow."""


@pytest.fixture(params=["process", "thread"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def executor(kind: Any) -> Iterator[Executor]:
    with Executor(2, kind) as made:
        yield made


@pytest.fixture
def single(kind: Any) -> Iterator[Executor]:
    """With one worker, so that what stands behind something has not begun."""
    with Executor(1, kind) as made:
        yield made


# ------------------------------------------------------------------------------------------------- submitting


def test_it_is_an_executor_with_futures(executor: Executor) -> None:
    future = executor.submit(work.double, 21)
    assert isinstance(executor, cf.Executor)
    assert isinstance(future, cf.Future)
    assert future.result(LONG) == 42
    assert future.done()
    assert future.exception() is None
    assert not future.running()
    assert not future.cancelled()


def test_arguments_may_have_any_names(executor: Executor) -> None:
    assert executor.submit(work.given, 1, self=2, fn=3, kwargs=4).result(LONG) == (
        (1,),
        {"self": 2, "fn": 3, "kwargs": 4},
    )
    with pytest.raises(TypeError):
        executor.submit(fn=work.double)


def test_lambdas_nested_functions_partials_and_methods_are_run(executor: Executor) -> None:
    ten = 10
    assert executor.submit(lambda a, b: a + b + ten, 1, b=2).result(LONG) == 13
    assert executor.submit(partial(work.add, 1), 2).result(LONG) == 3
    assert executor.submit("a-b".split, "-").result(LONG) == ["a", "b"]


def test_functions_run_where_they_are_asked_to() -> None:
    with Executor(2, "process") as processes, Executor(2, "thread") as threads, Executor(host="loop") as loop:
        assert processes.submit(os.getpid).result(LONG) != os.getpid()
        pid, thread = threads.submit(work.place).result(LONG)
        assert pid == os.getpid()
        assert thread != threading.get_ident()
        pid, thread = loop.submit(work.place).result(LONG)
        assert pid == os.getpid()
        assert thread == loop._book.thread


def test_an_error_comes_back_as_itself(executor: Executor) -> None:
    future = executor.submit(work.fail, "no luck")
    with pytest.raises(ValueError, match="no luck"):
        future.result(LONG)
    assert isinstance(future.exception(), ValueError)


def test_an_error_from_a_process_shows_where_it_happened() -> None:
    with Executor(1) as executor:
        error = executor.submit(work.fail, "no luck").exception(LONG)
    assert error is not None
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fail" in "".join(traceback.format_exception(error))


def test_what_cannot_travel_fails_its_own_future_only() -> None:
    with Executor(1) as executor:
        future = executor.submit(work.given, threading.Lock())
        assert isinstance(future.exception(LONG), NotTransferable)
        assert executor.submit(work.double, 1).result(LONG) == 2


def test_wrong_arguments_fail_the_future(executor: Executor) -> None:
    assert isinstance(executor.submit(work.double).exception(LONG), TypeError)  # type: ignore[call-arg]


def test_options_hold_for_every_task(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with Executor(1, timeout=0.05) as executor:
        future = executor.submit(gate)
        gate.wait_until_begun()
        assert isinstance(future.exception(LONG), TaskTimeout)


def test_many_threads_may_submit(executor: Executor) -> None:
    results: list[int] = []

    def submit(start: int) -> None:
        futures = [executor.submit(work.double, number) for number in range(start, start + 50)]
        results.extend(future.result(LONG) for future in futures)

    threads = [threading.Thread(target=submit, args=(start,)) for start in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [2 * number for number in range(400)]


def test_nothing_is_kept_of_what_is_done(executor: Executor) -> None:
    thing = work.Thing()
    gone = threading.Event()
    reference = weakref.ref(thing, lambda _: gone.set())
    executor.submit(thing.method)  # nobody has the future
    del thing
    assert gone.wait(LONG)
    assert reference() is None


def test_errors_leave_no_circles_behind(executor: Executor) -> None:
    future: Any = executor.submit(work.fail, "no luck")
    with suppress(ValueError):
        future.result(LONG)
    list(executor.map(work.nothing))
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None


# ------------------------------------------------------------------------------------------------- cancelling


def test_what_has_not_begun_is_withdrawn_and_never_runs(single: Executor, tmp_path: Path) -> None:
    gate, behind = Gate(tmp_path), tmp_path / "behind"
    first = single.submit(gate, "done")
    second = single.submit(work.touch, str(behind))
    gate.wait_until_begun()
    assert first.running()
    assert not first.cancel()
    assert not second.running()
    assert second.cancel()
    assert second.cancel()
    assert second.cancelled()
    with pytest.raises(cf.CancelledError):
        second.result(LONG)
    assert cf.wait([second], LONG).done == {second}
    assert list(cf.as_completed([second], LONG)) == [second]
    gate.open()
    assert first.result(LONG) == "done"
    single.submit(work.nothing).result(LONG)
    assert not behind.exists()


def test_what_is_cancelled_while_its_host_starts_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with Executor(1) as executor:
        future = executor.submit(work.touch, str(marker))
        cancelled = future.cancel()
        executor.submit(work.nothing).result(LONG)
        assert cancelled == future.cancelled() == (not marker.exists())


def test_callbacks_are_called_once_each(single: Executor, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    called: list[Any] = []
    first, second, third = (
        single.submit(gate),
        single.submit(work.nothing),
        single.submit(work.fail, "no luck"),
    )
    for future in (first, second, third):
        future.add_done_callback(called.append)
    gate.wait_until_begun()
    assert second.cancel()
    assert called == [second]
    gate.open()
    cf.wait([first, third], LONG)
    single.shutdown()
    assert called == [second, first, third]


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_callback_that_fails_is_logged_and_does_no_harm(
    executor: Executor, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    def fail(future: object) -> None:
        raise error("no luck")

    gate = Gate(tmp_path)
    future = executor.submit(gate)
    future.add_done_callback(fail)
    gate.wait_until_begun()
    gate.open()
    assert future.result(LONG) is None
    assert executor.submit(work.double, 2).result(LONG) == 4
    assert "no luck" in caplog.text


def test_a_callback_may_submit_more(executor: Executor) -> None:
    chained: cf.Future[int] = cf.Future()

    def go_on(future: cf.Future[int]) -> None:
        executor.submit(work.double, future.result()).add_done_callback(
            lambda second: chained.set_result(second.result())
        )

    executor.submit(work.double, 5).add_done_callback(go_on)
    assert chained.result(LONG) == 20


@pytest.mark.parametrize("seed", range(3))
def test_of_all_that_is_submitted_and_cancelled_each_says_the_truth(
    kind: Any, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    futures: list[cf.Future[None]] = []
    cancelled: set[int] = set()
    with Executor(2, kind) as executor:
        for number in range(300):
            futures.append(executor.submit(work.touch, str(tmp_path / str(number))))
            if chance.random() < 0.5:
                victim = chance.randrange(len(futures))
                if futures[victim].cancel():
                    cancelled.add(victim)
        done, late = cf.wait(futures, LONG)
        assert not late
        assert len(done) == 300
    assert {number for number, future in enumerate(futures) if future.cancelled()} == cancelled
    assert {int(path.name) for path in tmp_path.iterdir()} == set(range(300)) - cancelled


# ------------------------------------------------------------------------------------------- waiting for many


def test_as_completed_gives_each_as_it_is_done(executor: Executor, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    slow, quick = executor.submit(gate), executor.submit(work.double, 1)
    order = cf.as_completed([slow, quick, quick], LONG)
    assert next(order) is quick
    gate.wait_until_begun()
    gate.open()
    assert list(order) == [slow]


def test_as_completed_gives_up_in_time(executor: Executor, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    slow = executor.submit(gate)
    with pytest.raises(TimeoutError):
        list(cf.as_completed([slow], 0))
    gate.wait_until_begun()
    gate.open()


def test_wait_for_the_first_the_first_error_and_all(executor: Executor, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    slow, quick = executor.submit(gate), executor.submit(work.double, 1)
    assert cf.wait([slow, quick], LONG, cf.FIRST_COMPLETED) == ({quick}, {slow})
    wrong = executor.submit(work.fail, "no luck")
    assert cf.wait([slow, quick, wrong], LONG, cf.FIRST_EXCEPTION) == ({quick, wrong}, {slow})
    assert cf.wait([slow, quick], 0) == ({quick}, {slow})
    gate.wait_until_begun()
    gate.open()
    assert cf.wait([slow, quick, wrong], LONG) == ({slow, quick, wrong}, set())


# ---------------------------------------------------------------------------------------------------- mapping


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_keeps_the_order(executor: Executor, chunksize: int) -> None:
    assert list(executor.map(pow, range(10), range(10), chunksize=chunksize)) == [n**n for n in range(10)]
    assert list(executor.map(work.add, [1, 2, 3], [4, 5], chunksize=chunksize)) == [5, 7]
    assert list(executor.map(work.double, [], chunksize=chunksize)) == []


async def test_a_chunk_is_one_task() -> None:
    completed: list[str] = []
    async with Runtime() as rt:
        rt.subscribe("completed", lambda event: completed.append(event.id))
        results = rt.executor("thread").map(work.double, range(10), chunksize=5)
        assert await anyio.to_thread.run_sync(list, results) == list(range(0, 20, 2))
    assert len(completed) == 2


def test_map_raises_in_its_place_and_cancels_the_rest(single: Executor, tmp_path: Path) -> None:
    results = single.map(work.invert, [1, 2, 0, 4])
    assert next(results) == 1.0
    assert next(results) == 0.5
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_gives_up_in_time(executor: Executor, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    results = executor.map(lambda waits: gate() if waits else None, [False, True], timeout=0.0)
    gate.wait_until_begun()
    with pytest.raises(TimeoutError):
        list(results)
    gate.open()


@pytest.mark.parametrize("how", ["close", "drop unread", "close unread", "close chunks"])
def test_map_that_is_left_cancels_the_rest(single: Executor, tmp_path: Path, how: str) -> None:
    gate, behind = Gate(tmp_path), tmp_path / "behind"
    first = single.submit(gate)
    gate.wait_until_begun()
    paths = [str(behind), str(behind)]
    results: Any = single.map(work.touch, paths, chunksize=2 if how == "close chunks" else 1)
    if how != "drop unread":
        results.close()
    del results
    gate.open()
    first.result(LONG)
    single.submit(work.nothing).result(LONG)
    assert not behind.exists()


def test_map_with_a_buffer_reads_no_further_ahead(executor: Executor) -> None:
    seen: list[int] = []
    results: Any = executor.map(work.double, work.endless(seen), buffersize=3)
    assert seen == [0, 1, 2]
    assert [next(results) for _ in range(4)] == [0, 2, 4, 6]
    assert seen == [0, 1, 2, 3, 4, 5, 6]
    results.close()


def test_map_keeps_no_result_that_was_taken(executor: Executor) -> None:
    for thing in executor.map(work.make_thing, range(5)):
        gone = weakref.ref(thing)
        del thing
        gc.collect()
        assert gone() is None


# ---------------------------------------------------------------------------------------------------- the end


def test_shutdown_waits_for_everything(kind: Any) -> None:
    executor = Executor(2, kind)
    futures = [executor.submit(work.double, number) for number in range(50)]
    executor.shutdown()
    assert [future.result(0) for future in futures] == [2 * number for number in range(50)]


def test_after_shutdown_nothing_is_accepted(executor: Executor) -> None:
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(work.nothing)
    with pytest.raises(RuntimeError):
        executor.map(work.double, [1])


def test_an_executor_that_was_never_used_needs_nothing(kind: Any) -> None:
    before = threading.active_count()
    with Executor(2, kind):
        assert threading.active_count() == before


def test_shutdown_may_leave_the_work_to_itself(executor: Executor, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    future = executor.submit(gate, "done")
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        executor.submit(work.nothing)
    gate.wait_until_begun()
    gate.open()
    assert future.result(LONG) == "done"


def test_shutdown_may_cancel_what_has_not_begun(single: Executor, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    first = single.submit(gate, "done")
    others = [single.submit(work.nothing) for _ in range(20)]
    gate.wait_until_begun()
    single.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in others)
    assert cf.wait(others, LONG).not_done == set()
    gate.open()
    single.shutdown()
    assert first.result(0) == "done"


def test_an_executor_that_is_dropped_finishes_and_ends(kind: Any) -> None:
    executor = Executor(1, kind)
    future = executor.submit(work.double, 4)
    thread = executor._thread
    del executor
    gc.collect()
    assert future.result(LONG) == 8
    assert thread is not None
    thread.join(LONG)
    assert not thread.is_alive()


LATE = """
import atexit, sys
from actorsched import Executor
def last():
    try:
        executor.submit(print, "too late")
    except RuntimeError as error:
        print(error)
if sys.argv[2] == "late":
    atexit.register(last)
executor = Executor(2, sys.argv[1])
for number in range(20):
    executor.submit(print, "apple", flush=True)
if sys.argv[2] == "told":
    executor.shutdown(wait=False)
if sys.argv[2] == "fails":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("how", ["plain", "told", "late", "fails"])
def test_when_the_interpreter_ends_the_work_is_finished_and_nothing_is_left(kind: Any, how: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", LATE, kind, how],
        capture_output=True,
        check=False,
        text=True,
        timeout=LONG,
    )
    assert answer.stderr == ""
    assert answer.returncode == (3 if how == "fails" else 0)
    assert answer.stdout.count("apple") == 20
    assert ("after interpreter shutdown" in answer.stdout) == (how == "late")
    assert "too late" not in answer.stdout


def test_a_program_without_standard_descriptors_ends_in_order() -> None:
    program = "from actorsched import Executor\nwith Executor(1) as some:\n    some.submit(abs, -1).result()"
    closed = 'exec "$0" -c "$1" <&- >&- 2>&-'
    answer = subprocess.run(["/bin/sh", "-c", closed, sys.executable, program], check=False, timeout=LONG)
    assert answer.returncode == 0


def test_without_threads_at_the_end_of_the_interpreter_the_loop_does_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Executor(2, "thread") as executor:
        begun = executor.submit(threading.get_ident)
        assert begun.result(LONG) != executor._book.thread

        def start(self: threading.Thread) -> None:  # as in Python 3.12
            raise RuntimeError("can't create new thread at interpreter shutdown")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            gate = threading.Event()
            held = executor.submit(gate.wait, LONG)  # has the thread there is
            late = executor.submit(threading.get_ident)
            assert late.result(LONG) == executor._book.thread
            gate.set()
            assert held.result(LONG)


# --------------------------------------------------------------------------------------------- hosts that die


def test_a_host_that_dies_takes_along_only_what_it_ran(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with Executor(2) as executor:
        neighbour = executor.submit(gate, "alive")
        gate.wait_until_begun()
        lost = executor.submit(work.die)
        behind = [executor.submit(work.double, number) for number in range(20)]
        error = lost.exception(LONG)
        assert isinstance(error, HostDied)
        assert error.exit_code == 3
        assert [future.result(LONG) for future in behind] == [2 * number for number in range(20)]
        assert executor.submit(work.double, 50).result(LONG) == 100
        gate.open()
        assert neighbour.result(LONG) == "alive"


def test_a_host_that_is_killed_costs_one_future() -> None:
    with Executor(1) as executor:
        killed = executor.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        error = killed.exception(LONG)
        assert isinstance(error, HostDied)
        assert error.signal == signal.SIGKILL
        assert executor.submit(work.double, 1).result(LONG) == 2


# ----------------------------------------------------------------------------------------------- initializers


def test_the_initializer_runs_once_in_each_host_before_its_first_task(kind: Any, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, "one"), Gate(tmp_path, "two")]
    with Executor(2, kind, initializer=work.note, initargs=("a", 1)) as executor:
        both = [executor.submit(gate) for gate in gates]
        for gate in gates:
            gate.wait_until_begun()
        for gate in gates:
            gate.open()
        cf.wait(both, LONG)
        for _ in range(10):
            assert executor.submit(work.noted).result(LONG) == [("a", 1)]


def test_the_initializer_and_its_arguments_travel_once_to_each_host() -> None:
    big = [bytes(100_000)]

    class Counted(list[bytes]):
        times = 0

        def __reduce__(self) -> Any:
            type(self).times += 1
            return list, (big,)

    with Executor(1, initializer=work.note, initargs=(Counted(),)) as executor:
        for number in range(20):
            assert executor.submit(work.double, number).result(LONG) == 2 * number
    assert Counted.times < 5


def test_an_initializer_that_fails_breaks_the_executor(kind: Any) -> None:
    with Executor(1, kind, initializer=work.fail_to_initialize) as executor:
        futures: list[cf.Future[int]] = []
        with suppress(ExecutorBroken):  # perhaps it is broken already
            futures.extend(executor.submit(work.double, number) for number in range(20))
        with pytest.raises(ExecutorBroken, match="no such device"):
            for future in futures:
                future.result(LONG)
        assert all(isinstance(future.exception(LONG), ExecutorBroken) for future in futures)
        with pytest.raises(ExecutorBroken) as caught:
            executor.submit(work.double, 1)
        assert isinstance(caught.value, cf.BrokenExecutor)
        assert isinstance(caught.value, actorsched.ActorschedError)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.executor == executor.name
        with pytest.raises(ExecutorBroken):
            list(executor.map(work.double, [1]))


def test_the_error_of_a_broken_executor_travels() -> None:
    error = pickle.loads(pickle.dumps(ExecutorBroken("broken", executor="e")))
    assert (str(error), error.executor) == ("broken", "e")


# --------------------------------------------------------------------------------------------- over a runtime


async def test_a_thread_works_with_the_executor_of_a_runtime() -> None:
    def block(executor: cf.Executor) -> list[int]:
        with executor:
            first = executor.submit(work.double, 1).result(LONG)
            return [first, *executor.map(work.double, range(5), chunksize=2)]

    async with Runtime(hosts=Hosts(max=1)) as rt:
        hosts: list[Literal["process", "thread", "loop", "auto"]] = ["process", "thread", "loop", "auto"]
        for host in hosts:
            assert await anyio.to_thread.run_sync(block, rt.executor(host)) == [2, 0, 2, 4, 6, 8]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_the_loop_itself_may_submit_and_await(backend: str) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        executor = rt.executor()
        assert await asyncio.wrap_future(executor.submit(work.double, 4)) == 8
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, work.double, 5) == 10


async def test_blocking_the_loop_for_its_own_work_is_refused_instead_of_hanging() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        executor = rt.executor("thread")
        future = executor.submit(work.double, 4)
        with pytest.raises(DeadlockError, match="would never come"):
            future.result()
        with pytest.raises(DeadlockError):
            future.exception()
        with pytest.raises(TimeoutError):
            future.result(0)
        with pytest.raises(RuntimeError, match="wait=False"):
            executor.shutdown()
        while not future.done():
            await anyio.lowlevel.checkpoint()
        assert future.result() == 8
        executor.shutdown()


async def test_a_runtime_that_is_left_finishes_what_was_submitted() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        executor = rt.executor("thread")
        futures = [executor.submit(work.double, number) for number in range(200)]
    assert [future.result(0) for future in futures] == [2 * number for number in range(200)]
    with pytest.raises(RuntimeError, match="runtime was left"):
        executor.submit(work.nothing)
    executor.shutdown()


async def test_a_runtime_that_is_shut_down_at_once_ends_the_futures(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with Runtime(hosts=Hosts(max=1), pools={"one": 1}) as rt:
        executor = rt.executor("process", tag="one")
        running, waiting = executor.submit(gate), executor.submit(work.nothing)
        await anyio.to_thread.run_sync(gate.wait_until_begun)
        await rt.shutdown(drain=False)
        assert isinstance(running.exception(0), TaskCancelled)
        assert waiting.cancelled()
        assert cf.wait([waiting], 0).done
        with pytest.raises(RuntimeError):
            executor.submit(work.nothing)
        with pytest.raises(RuntimeClosed):
            rt.executor()


async def test_what_comes_when_the_runtime_takes_no_more_is_refused() -> None:
    async with Runtime() as rt:
        executor = rt.executor("thread")
        future = executor.submit(work.nothing)  # the loop has not heard of it yet
        await rt.shutdown()
        assert isinstance(future.exception(0), RuntimeClosed)


async def test_the_workers_of_one_executor_are_limited(tmp_path: Path) -> None:
    gates = [Gate(tmp_path, "one"), Gate(tmp_path, "two")]
    async with Runtime() as rt:
        executor = rt.executor("thread", max_workers=1)
        first, second = (executor.submit(gate) for gate in gates)
        await anyio.to_thread.run_sync(gates[0].wait_until_begun)
        assert first.running()
        assert not second.running()
        for gate in gates:
            await anyio.to_thread.run_sync(gate.open)
            if gate is gates[0]:
                await anyio.to_thread.run_sync(gates[1].wait_until_begun)
        executor.shutdown(wait=False)


async def test_executors_with_priorities_share_the_hosts_by_them(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    order: list[str] = []
    async with Runtime(pools={"one": 1}) as rt:
        low = rt.executor("thread", tag="one", priority=Priority.LOW, name="low")
        high = rt.executor("thread", tag="one", priority=Priority.HIGH, name="high")
        rt.subscribe("started", lambda event: order.append(event.name))
        first = high.submit(gate)
        await anyio.to_thread.run_sync(gate.wait_until_begun)
        for executor in (low, high, low, high):
            executor.submit(work.nothing)
        while sum(len(pool.policy) for pool in rt._system.pools.values()) < 4:
            await anyio.lowlevel.checkpoint()
        await anyio.to_thread.run_sync(gate.open)
        assert not first.cancelled()
    assert order == ["high", "high", "high", "low", "low"]


async def test_an_executor_that_is_shut_down_leaves_nothing_in_the_runtime() -> None:
    async with Runtime() as rt:
        pools = set(rt._system.pools)
        executor = rt.executor("thread", max_workers=3)
        future = executor.submit(work.double, 1)
        executor.shutdown(wait=False)
        while rt._nursery.feeds:
            await anyio.lowlevel.checkpoint()
        assert future.result(0) == 2
        assert set(rt._system.pools) == pools


# -------------------------------------------------------------------------------------------------- bad input

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"max_workers": 0}, ValueError, "max_workers=0 is less than 1"),
    ({"max_workers": "2"}, TypeError, "max_workers='2' is of type str"),
    ({"max_workers": True}, TypeError, "max_workers=True"),
    ({"host": "ray"}, ValueError, "host='ray'.*'process', 'thread', 'loop', 'auto'"),
    ({"host": None}, ValueError, "host=None"),
    ({"initializer": 5}, TypeError, "initializer=5.*function"),
    ({"initializer": print, "initargs": [1]}, TypeError, r"initargs=\[1\].*tuple"),
    ({"hosts": 2}, TypeError, "hosts=2.*Hosts"),
    ({"hosts": Hosts(max=1), "max_workers": 2}, ValueError, "max_workers=2 and hosts="),
    ({"name": " "}, ValueError, "name=' ' is empty"),
    ({"prioritty": 3}, TypeError, "did you mean 'priority'"),
    ({"kwargs": {}}, TypeError, "kwargs"),
    ({"timeout": "soon"}, ValueError, "timeout='soon'"),
]


@pytest.mark.parametrize(("arguments", "kind_of_error", "words"), WRONG)
def test_a_wrong_argument_is_refused_by_name(
    arguments: dict[str, Any], kind_of_error: type[Exception], words: str
) -> None:
    with pytest.raises(kind_of_error, match=words):
        Executor(**arguments)


async def test_wrong_arguments_are_refused_by_a_runtime() -> None:
    async with Runtime(pools={"io": 2}) as rt:
        for arguments, error, words in [
            ({"host": "ray"}, ValueError, "host='ray'"),
            ({"max_workers": 0}, ValueError, "max_workers=0"),
            ({"max_workers": 1, "tag": "io"}, ValueError, "max_workers=1 and tag='io'"),
            ({"kwargs": {}}, TypeError, "kwargs"),
        ]:
            with pytest.raises(error, match=words):  # type: ignore[arg-type]
                rt.executor(**arguments)
        executor = rt.executor("thread", tag="oi")
        future = executor.submit(work.nothing)
        executor.shutdown(wait=False)
        while not future.done():
            await anyio.lowlevel.checkpoint()
        with pytest.raises(ValueError, match="tag='oi'"):
            future.result()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda executor: executor.submit(5), TypeError, "fn=5 is of type int"),
        (lambda executor: executor.map(None, [1]), TypeError, "fn=None"),
        (lambda executor: executor.submit(anyio.sleep, 1), TypeError, "async function.*spawn"),
        (lambda executor: executor.map(print, [1], chunksize=0), ValueError, "chunksize=0"),
        (lambda executor: executor.map(print, [1], buffersize=0), ValueError, "buffersize=0"),
        (lambda executor: executor.map(print, [1], buffersize=1.5), TypeError, "buffersize=1.5"),
    ],
)
def test_a_wrong_call_is_refused_at_once(call: Any, error: type[Exception], words: str) -> None:
    with Executor(1, "thread") as executor, pytest.raises(error, match=words):
        call(executor)


def test_an_executor_does_not_travel() -> None:
    with Executor(1) as executor:
        with pytest.raises(TypeError, match="cannot cross to another process"):
            pickle.dumps(executor)
        assert isinstance(executor.submit(work.given, executor).exception(LONG), NotTransferable)


# --------------------------------------------------------------------------------------------------- the book


def test_many_submissions_wake_the_loop_once() -> None:
    calls: list[None] = []
    book = Book(lambda error: None)
    book.listen(lambda: calls.append(None))
    assert book.take(64) == []  # which answers the first call
    before = len(calls)
    orders = book.add([(work.nothing, (), {})] * 100) + book.add([(work.nothing, (), {})])
    assert len(calls) == before + 1
    assert [*book.take(64), *book.take(64)] == orders
    book.add([(work.nothing, (), {})])
    assert len(calls) == before + 2


def test_a_book_whose_loop_is_gone_leaves_nobody_waiting() -> None:
    book = Book(lambda error: None)
    running, waiting, cancelled = book.add([(work.nothing, (), {})] * 3)
    assert running.begins()
    assert cancelled.cancel()
    book.abandon(RuntimeClosed("gone"))
    assert isinstance(running.exception(0), RuntimeClosed)
    assert isinstance(waiting.exception(0), RuntimeClosed)
    assert cf.wait([cancelled], 0).done
    book.wait()
    with pytest.raises(RuntimeError, match="has ended"):
        book.add([(work.nothing, (), {})])


def test_in_a_fork_it_says_that_nobody_would_serve_it() -> None:
    script = (
        "import os\n"
        "from actorsched import Executor\n"
        "executor = Executor(1, 'thread')\n"
        "assert executor.submit(abs, -1).result() == 1\n"
        "read, write = os.pipe()\n"
        "if not os.fork():\n"
        "    try:\n"
        "        executor.submit(abs, -2)\n"
        "    except RuntimeError as error:\n"
        "        os.write(write, str(error).encode())\n"
        "    os._exit(0)\n"
        "os.close(write)\n"
        "os.wait()\n"
        "print(os.read(read, 1000).decode())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert "and this is a fork of it, in which nobody carries out its orders" in ended.stdout


async def test_a_runtime_is_left_also_while_other_threads_go_on_submitting() -> None:
    futures: list[cf.Future[Any]] = []

    def submit_for_ever(executor: Any) -> None:
        with suppress(RuntimeError):
            while True:
                futures.append(executor.submit(abs, -1))

    async with Runtime() as rt:
        executor = rt.executor("thread")
        threads = [threading.Thread(target=submit_for_ever, args=(executor,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not futures:
            await anyio.sleep(0.001)
    for thread in threads:
        thread.join()
    assert {future.result(timeout=0) for future in futures} == {1}


async def test_what_runs_may_submit_more_while_the_runtime_is_left() -> None:
    inner: list[cf.Future[int]] = []
    go = threading.Event()

    def submit_more(executor: Any) -> None:
        go.wait()
        inner.append(executor.submit(abs, -2))

    async with Runtime() as rt:
        executor = rt.executor("thread")
        outer = executor.submit(submit_more, executor)
        await rt.spawn(_let_go_when_left, rt, go)
    assert outer.result(timeout=0) is None
    assert inner[0].result(timeout=0) == 2


async def _let_go_when_left(rt: Runtime, go: threading.Event) -> None:
    book = next(iter(rt._nursery.feeds)).book  # type: ignore[attr-defined]
    while book.closing is None:
        await anyio.sleep(0.001)
    go.set()

"""Tasks in host processes: functions, results, errors, contexts, cancellation, and what waits for what."""

from __future__ import annotations

import functools
import logging
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from actorsched import (
    Hosts,
    Retry,
    Runtime,
    Task,
    TaskCancelled,
    TaskChain,
    TaskStatus,
    current,
)
from actorsched.exceptions import DependencyFailed, NotTransferable, RemoteTraceback, TaskTimeout
from tests import host_work as work
from tests.host_help import Fifo, lines, task_hosts, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
TWO = pytest.mark.parametrize("backend", ["uvloop", "trio"], indirect=True)


# ------------------------------------------------------------------------------------- functions, results


async def test_plain_and_async_functions_run_in_another_process() -> None:
    import os

    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(work.double, 21, host="process") == 42
        assert await rt.run(work.double_async, 21, host="process") == 42
        assert await rt.run(work.pid) == await rt.run(work.pid_async) != os.getpid()
        assert await rt.run(work.pid, host="thread") == os.getpid()


@ONE
async def test_whatever_can_be_called_travels() -> None:
    base = 10

    def closure(number: int) -> int:
        return base + number

    async def closure_async(number: int) -> int:
        return base - number

    async with Runtime(hosts=Hosts(max=1)) as rt:
        run = functools.partial(rt.run, host="process")
        assert await run(lambda n: n + 1, 1) == 2
        assert await run(closure, 1) == 11
        assert await run(closure_async, 1) == 9
        assert await run(functools.partial(work.add, 1, c=3), 2) == 6
        assert await run(functools.partial(closure, 5)) == 15
        assert await run(work.Adder(3).add, 4) == 7
        assert await run(cast("Any", work.Adder(3)), 4) == 12
        assert await run(work.add, 1, kwargs={"c": 5}) == 6
        assert await run(len, "built in") == 8


@TWO
async def test_spawn_submit_map_and_chains_reach_hosts() -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        ref = await rt.spawn(work.double, 4, host="process")
        assert await ref == 8
        assert ref.status is TaskStatus.COMPLETED
        assert ref.attempt == 1
        assert [n async for n in rt.map(work.double, range(20), host="process")] == list(range(0, 40, 2))
        chain = TaskChain(
            Task("one", work.double, (1,), host="process"),
            Task("two", work.double, host="process"),
            Task("three", work.add, host="process", kwargs={"c": 100}, arg_deps=["b"], args=(1,)),
        )
        assert await (await rt.submit(chain)) == 105


@TWO
async def test_results_take_the_place_of_refs_and_order_is_kept() -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        one = await rt.spawn(work.double, 1, host="process")
        two = await rt.spawn(work.double, one, host="process")
        three = await rt.spawn(work.add, two, kwargs={"b": one, "c": 10}, host="process", after=[one])
        assert await three == 16
        failing = await rt.spawn(work.fail, "upstream", host="process")
        with pytest.raises(DependencyFailed, match="upstream"):
            await rt.run(work.double, cast("Any", failing), host="process")


# -------------------------------------------------------------------------------------------------- errors


@TWO
async def test_an_error_arrives_with_type_message_and_remote_traceback() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with pytest.raises(LookupError, match="lost") as caught:
            await rt.run(work.fail, "lost", host="process")
        cause = caught.value.__cause__
        assert isinstance(cause, RemoteTraceback)
        assert "in fail" in str(cause)
        assert "host_work.py" in "".join(traceback.format_exception(caught.value))


@ONE
async def test_what_cannot_travel_is_refused_at_the_call() -> None:
    lock = threading.Lock()

    def closure() -> object:
        return lock

    async with Runtime(hosts=Hosts(max=1)) as rt:
        with pytest.raises(NotTransferable, match="closure.*lock"):
            await rt.spawn(closure, host="process")
        with pytest.raises(NotTransferable, match=r"args\[1\]\['deep'\]\[0\]"):
            await rt.spawn(work.add, 1, cast("Any", {"deep": [lock]}), host="process")
        with pytest.raises(NotTransferable, match=r"kwargs\['b'\]"):
            await rt.spawn(work.add, 1, kwargs={"b": lock}, host="process")
        with pytest.raises(NotTransferable, match="'named'"):
            await rt.run(work.double, cast("Any", lock), name="named", host="process")
        assert not rt._nursery.live
        assert await rt.run(work.double, 1, host="process") == 2


@ONE
async def test_what_turns_out_later_not_to_travel_fails_the_task_once() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        lock = await rt.spawn(threading.Lock)
        ref = await rt.spawn(work.double, cast("Any", lock), host="process", retry=3)
        with pytest.raises(NotTransferable, match=r"args\[0\]"):
            await ref
        with pytest.raises(NotTransferable, match=r"result\['deep'\]\[1\]"):
            await rt.run(work.unpicklable_result, host="process")
        with pytest.raises(NotTransferable, match="with a lock") as caught:
            await rt.run(work.fail_with_a_lock, host="process")
        assert caught.value.original_type == "ValueError"
        assert "in fail_with_a_lock" in str(caught.value.original_traceback)
        assert await rt.run(work.double, 1, host="process") == 2


@ONE
async def test_failures_are_retried_and_each_attempt_has_its_number(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(work.write_and_fail, str(log), 2, host="process", retry=3) == 3
        assert len(lines(log)) == 3
        with pytest.raises(OSError, match="not yet"):
            await rt.run(work.write_and_fail, str(log), 9, host="process", retry=Retry(attempts=2))
        assert len(lines(log)) == 5


# ------------------------------------------------------------------------------------------------ context


@TWO
async def test_progress_is_seen_while_the_task_runs(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        ref = await rt.spawn(work.report_and_wait, str(tmp_path / "go"), host="process")
        await until(lambda: ref.progress[0])
        assert ref.progress == (0.25, "a quarter")
        (tmp_path / "go").touch()
        assert await ref == "done"
        assert ref.progress == (1.0, "a quarter")


@ONE
async def test_log_records_cross_in_order_with_level_task_and_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tests.host_work")
    async with Runtime(hosts=Hosts(max=1)) as rt:
        await rt.run(work.log_three, host="process", name="logger")
    records: list[Any] = [r for r in caplog.records if "actorsched.host" not in r.name]
    assert [r.getMessage() for r in records] == ["the first", "the second", "the third"]
    assert [r.levelname for r in records] == ["INFO", "WARNING", "ERROR"]
    assert {r.task for r in records} == {"logger"}
    assert {r.attempt for r in records} == {1}
    assert "LookupError: inner" in records[2].exc_text


async def test_a_filter_of_log_records_that_fails_harms_nobody_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise LookupError("the filter fails")

    monkeypatch.setattr(logging.getLogger("tests.host_work"), "filters", [refuse])
    async with Runtime(hosts=Hosts(max=1)) as rt:
        await rt.run(work.log_three, host="process")
        assert await rt.run(work.double, 2, host="process") == 4
    assert capsys.readouterr().err.count("LookupError: the filter fails") == 1


@ONE
async def test_context_variables_and_the_members_of_current_are_there(tmp_path: Path) -> None:
    log = tmp_path / "log"
    work.WHO.set("the caller")
    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(work.who, host="process") == "the caller"
        assert await rt.run(work.context_members, host="process", name="me") == ("me", 1, False, True)
        assert await rt.run(work.deferring, str(log), host="process") == "ok"
        assert lines(log) == ["body", "last deferred", "first deferred"]


# ----------------------------------------------------------------------------------- cancelling, timeouts


async def test_in_a_host_nobody_is_asked_to_make_room_and_nothing_is_acquired() -> None:
    def asked() -> bool:
        return current().preempt_requested

    async def acquire() -> None:
        async with current().acquire("db"):
            """Not reached."""

    async with Runtime(hosts=Hosts(max=1)) as rt:
        rt.resource("db")
        assert await rt.run(asked, host="process") is False
        with pytest.raises(RuntimeError, match="cannot acquire resources: only an async task"):
            await rt.run(acquire, host="process")


async def test_cooperative_tasks_are_cancelled_at_a_checkpoint_or_await(tmp_path: Path) -> None:
    for function in (work.spin_politely, work.sleep_politely):
        log = tmp_path / function.__name__
        with Fifo(tmp_path, f"fifo {function.__name__}") as fifo:
            async with Runtime(hosts=Hosts(max=1)) as rt:
                ref = await rt.spawn(cast("Any", function), fifo.path, str(log), host="process")
                await fifo.told()
                pids = [worker.link.pid for worker in task_hosts(rt)]
                await ref.cancel("enough")
                assert ref.status is TaskStatus.CANCELLED
                with pytest.raises(TaskCancelled, match="enough"):
                    await ref
                assert lines(log)[-1] == "deferred"
                assert [worker.link.pid for worker in task_hosts(rt)] == pids, "its host lives on"


@TWO
async def test_an_uncooperative_task_loses_its_host_and_its_caller_waits_no_longer_than_the_grace(
    tmp_path: Path,
) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            ref = await rt.spawn(work.spin, fifo.path, host="process")
            await fifo.told()
            queued = await rt.spawn(work.double, 2, host="process")
            then = time.monotonic()
            await ref.cancel()
            assert time.monotonic() - then < 2.0
            assert ref.status is TaskStatus.CANCELLED
            assert await queued == 4


@ONE
async def test_a_timeout_stops_whatever_runs(tmp_path: Path) -> None:
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=2)) as rt:
            log = str(tmp_path / "log")
            await rt.run(work.pid)
            polite = await rt.spawn(work.spin_politely, fifo.path, log, host="process", timeout=0.05)
            stubborn = await rt.spawn(work.spin, fifo.path, host="process", timeout=0.05)
            then = time.monotonic()
            for ref in (polite, stubborn):
                with pytest.raises(TaskTimeout, match="0.05 s"):
                    await ref
                assert ref.status is TaskStatus.FAILED
            assert time.monotonic() - then < 2.5
            assert await rt.run(work.double, 1, host="process") == 2


@ONE
async def test_the_time_in_which_a_host_starts_is_not_the_attempts() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        ref = await rt.spawn(work.double, 1, host="process", timeout=0.02)
        assert await ref == 2


async def test_a_task_may_be_cancelled_before_it_starts_and_while_its_host_starts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=Hosts(max=1)) as rt:
        first = await rt.spawn(work.write, str(log), "never", host="process")
        waiting = await rt.spawn(work.write, str(log), "never", host="process")
        await waiting.cancel()
        await first.cancel("early")
        assert waiting.status is first.status is TaskStatus.CANCELLED
        await rt.run(work.write, str(log), "written", host="process")
        assert lines(log) == ["written"]


@TWO
async def test_a_task_may_be_cancelled_while_it_is_queued_in_its_host(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with Runtime(hosts=Hosts(max=1)) as rt:
        for _ in range(50):
            await rt.run(work.double, 1, host="process")
        assert task_hosts(rt)[0].window > 1
        refs = [await rt.spawn(work.wait_for, str(tmp_path / "go"), host="process")]
        refs += [await rt.spawn(work.wait_for, str(log), host="process") for _ in range(4)]
        assert len(task_hosts(rt)[0].runs) > 1
        for ref in refs[1:]:
            await ref.cancel()
            assert ref.status is TaskStatus.CANCELLED
        (tmp_path / "go").touch()
        assert await refs[0] > 0


@TWO
async def test_cancelling_a_run_stops_its_task(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Fifo(tmp_path) as fifo:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            async with anyio.create_task_group() as group:
                group.start_soon(
                    functools.partial(rt.run, host="process"), work.sleep_politely, fifo.path, str(log)
                )
                await fifo.told()
                group.cancel_scope.cancel()
            assert lines(log) == ["cancelled", "deferred"]


# --------------------------------------------------------------------------------------- many, and limits


@TWO
async def test_a_long_task_does_not_hold_up_what_was_queued_behind_it(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with Runtime(hosts=Hosts(max=2)) as rt:
        async for _ in rt.map(work.double, range(200), host="process"):
            pass
        assert all(worker.window > 1 for worker in task_hosts(rt))
        refs = [await rt.spawn(work.wait_for, str(go), host="process")]
        refs += [await rt.spawn(work.double, n, host="process") for n in range(100)]
        assert [await ref for ref in refs[1:]] == [2 * n for n in range(100)]
        assert refs[0].status is TaskStatus.RUNNING
        go.touch()
        await refs[0]


@ONE
async def test_the_first_host_starts_before_its_first_task_is_ready_to_be_sent() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with pytest.raises(NotTransferable):
            await rt.spawn(work.same, threading.Lock(), host="process")
        (worker,) = task_hosts(rt)
        assert await rt.run(work.pid) == worker.link.pid, "it is there for the next"


async def test_what_was_queued_behind_a_task_that_is_busy_in_c_is_done_by_others(tmp_path: Path) -> None:
    with Fifo(tmp_path, "told") as told, Fifo(tmp_path, "go") as go:
        async with Runtime(hosts=Hosts(max=2)) as rt:
            async for _ in rt.map(work.double, range(200), host="process"):
                pass
            busy = await rt.spawn(work.hold_the_gil, told.path, go.path, host="process")
            refs = [await rt.spawn(work.double, n, host="process") for n in range(100)]
            assert [await ref for ref in refs] == [2 * n for n in range(100)]
            assert busy.status is TaskStatus.RUNNING
            go.tell()
            assert await busy == 1
            assert await rt.run(work.double, 1, host="process") == 2


async def test_cancelling_what_is_queued_behind_a_task_that_is_busy_in_c_leaves_that_alone(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    with Fifo(tmp_path, "told") as told, Fifo(tmp_path, "go") as go:
        async with Runtime(hosts=Hosts(max=1)) as rt:
            async for _ in rt.map(work.double, range(200), host="process"):
                pass
            busy = await rt.spawn(work.hold_the_gil, told.path, go.path, host="process")
            unwanted = [await rt.spawn(work.write, str(log), "no", host="process") for _ in range(5)]
            wanted = await rt.spawn(work.write, str(log), "yes", host="process")
            pid = await told.told()
            for ref in unwanted:
                await ref.cancel()
            assert [ref.status for ref in unwanted] == [TaskStatus.CANCELLED] * 5
            assert busy.status is TaskStatus.RUNNING
            go.tell()
            assert await busy == 1
            await wanted
            assert lines(log) == ["yes"]
            assert [worker.link.pid for worker in task_hosts(rt)] == [pid], "nobody was killed"


@TWO
async def test_no_more_hosts_than_allowed_and_all_of_them_work_at_once(tmp_path: Path) -> None:
    fifos = [Fifo(tmp_path, f"fifo {n}") for n in range(3)]
    async with Runtime(hosts=Hosts(min=1, max=2)) as rt:
        assert len(task_hosts(rt)) == 1
        refs = [
            await rt.spawn(work.spin_politely, fifo.path, str(tmp_path / "log"), host="process")
            for fifo in fifos
        ]
        pids = {await fifos[0].told(), await fifos[1].told()}
        assert pids == {worker.link.pid for worker in task_hosts(rt)}
        assert len(pids) == 2
        await refs[0].cancel()
        assert await fifos[2].told() in pids
        for ref in refs:
            await ref.cancel()
        await until(lambda: len(task_hosts(rt)) == 2)
    for fifo in fifos:
        fifo.__exit__()


# --------------------------------------------------------------------------------- waiting inside a host


async def test_a_task_that_awaits_its_children_lends_its_host() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(work.with_child, 5, host="process") == 11
        assert await rt.run(work.nested, 3, host="process") == 3
        assert await rt.run(work.with_refs, 5, host="process") == [0, 2, 4, 6, 8]
        await until(lambda: len(task_hosts(rt)) == 1)


@TWO
async def test_children_behind_their_parent_in_the_same_host_go_elsewhere() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        for _ in range(50):
            await rt.run(work.double, 1, host="process")
        refs = [await rt.spawn(work.with_child, n, host="process") for n in range(6)]
        assert [await ref for ref in refs] == [2 * n + 1 for n in range(6)]


@ONE
async def test_a_task_in_a_host_awaits_and_cancels_tasks_elsewhere(tmp_path: Path) -> None:
    async def forever() -> None:
        await anyio.sleep_forever()

    async def soon() -> str:
        return "soon"

    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(work.await_inside, [await rt.spawn(soon)], host="process") == "soon"
        ref = await rt.spawn(forever)
        await rt.run(work.cancel_inside, [ref], "from a host", host="process")
        with pytest.raises(TaskCancelled, match="from a host"):
            await ref
        with pytest.raises(TaskCancelled, match="from a host"):
            await rt.run(work.await_inside, [ref], host="process")
        failing = await rt.spawn(work.fail, "far away")
        with pytest.raises(LookupError, match="far away"):
            await rt.run(work.await_inside, [failing], host="process")


@ONE
async def test_an_error_that_is_no_exception_reaches_whoever_awaits_it_in_a_host() -> None:
    async def leaves() -> None:
        raise SystemExit(3)

    async with Runtime(hosts=Hosts(max=1)) as rt:
        ref = await rt.spawn(leaves)
        outcome = await (await rt.spawn(work.await_inside, [ref], host="process")).outcome()
        assert isinstance(outcome.error, SystemExit)


@ONE
async def test_a_ref_that_only_a_host_holds_stays_good_and_its_failure_is_seen_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        args = [await rt.spawn(work.fail, "seen", host="thread")]
        ref = await rt.spawn(work.await_inside, args, host="process")
        args.clear()
        with pytest.raises(LookupError, match="seen"):
            await ref
    assert not [record for record in caplog.records if "nobody looked" in record.getMessage()]


@ONE
async def test_current_of_the_loop_is_unchanged_by_hosts() -> None:
    async def parent() -> str:
        await current().runtime.run(work.double, 1, host="process")
        return current().name

    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(parent, name="parent") == "parent"

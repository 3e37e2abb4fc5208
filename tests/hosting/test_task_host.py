"""What a task host does with what it is told."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from actorsched._hosting import wire
from actorsched._hosting.variables import contextvars_out
from actorsched.exceptions import HostDied, Interrupted, NotTransferable, RemoteTraceback
from tests.hosting import work
from tests.hosting.harness import hosted

pytestmark = pytest.mark.process


# ---------------------------------------------------------------------------------------------------- results


async def test_a_function_runs_in_another_process() -> None:
    async with hosted() as host:
        assert await host.run(work.pid) == host.link.pid != os.getpid()


async def test_positional_and_named_arguments_arrive() -> None:
    async with hosted() as host:
        assert await host.run(work.add, 1, 2, c=3) == 6


async def test_what_cannot_be_imported_travels_by_value() -> None:
    base = 40

    def closure(x: int) -> int:
        return base + x

    async with hosted() as host:
        assert await host.run(closure, 2) == 42
        assert await host.run(lambda: base) == 40


async def test_a_closure_over_a_variable_that_was_assigned_to_is_sent_anew() -> None:
    x = 1

    def closure() -> int:
        return x

    async with hosted() as host:
        assert await host.run(closure) == 1
        x = 2
        assert await host.run(closure) == 2


async def test_methods_and_objects_that_can_be_called_travel_as_data() -> None:
    async with hosted() as host:
        assert await host.run([3, 1, 2].index, 2) == 2
        assert await host.run("a-b".split, "-") == ["a", "b"]


async def test_results_come_in_the_order_of_the_tasks() -> None:
    async with hosted() as host:
        numbers = [host.start(work.same, n) for n in range(2000)]
        assert await host.result(numbers[-1]) == 1999
        assert [frame.task_id for frame in host.seen(wire.Done)] == numbers


async def test_a_long_task_does_not_hide_the_results_before_it(tmp_path: Path) -> None:
    async with hosted() as host:
        await host.run(work.nothing)
        gate = tmp_path / "gate"
        quick = [host.start(work.same, n) for n in range(10)]
        long = host.start(work.wait_for, str(gate))
        assert await host.result(quick[-1]) == 9
        assert (await host.frame(wire.Started, lambda f: f.task_id == long)).task_id == long
        gate.touch()
        assert await host.result(long) == str(gate)


async def test_the_end_of_a_task_tells_when_it_began_and_how_long_it_took(tmp_path: Path) -> None:
    async with hosted() as host:
        number = host.start(work.wait_for, str(tmp_path))
        done = await host.frame(wire.Done, lambda f: f.task_id == number)
        assert done.began > 0
        assert 0 <= done.took < 10


async def test_async_functions_run_in_a_loop_of_the_parents_kind() -> None:
    async with hosted() as host:
        assert await host.run(work.add_in_a_loop, 1, 2) == 3
        assert await host.run(work.add_in_a_loop, 3, 4) == 7


# ----------------------------------------------------------------------------------------------------- errors


async def test_an_error_keeps_its_type_and_brings_its_traceback() -> None:
    async with hosted() as host:
        with pytest.raises(LookupError, match="lost") as caught:
            await host.run(work.fail, "lost")
        cause = caught.value.__cause__
        assert isinstance(cause, RemoteTraceback)
        assert "in fail" in str(cause)
        assert "child_tasks" not in str(cause)


async def test_an_error_brings_the_errors_that_it_came_from() -> None:
    async with hosted() as host:
        with pytest.raises(RuntimeError, match="the second") as caught:
            await host.run(work.fail_in_chain)
        first = caught.value.__cause__
        assert isinstance(first, LookupError)
        assert isinstance(first.__cause__, RemoteTraceback)


async def test_an_error_that_pickle_cannot_rebuild_is_rebuilt_all_the_same() -> None:
    async with hosted() as host:
        with pytest.raises(work.Picky, match=r"picky \(7\)") as caught:
            await host.run(work.fail_pickily)
        assert caught.value.code == 7


async def test_an_error_that_cannot_travel_is_described() -> None:
    async with hosted() as host:
        with pytest.raises(NotTransferable, match="with a lock") as caught:
            await host.run(work.fail_with_a_lock)
        assert caught.value.original_type == "ValueError"
        assert "fail_with_a_lock" in (caught.value.original_traceback or "")


async def test_a_result_that_cannot_travel_names_the_culprit() -> None:
    async with hosted() as host:
        with pytest.raises(NotTransferable, match="lock") as caught:
            await host.run(work.unpicklable_result)
        assert caught.value.path == "result['deep'][1]"


async def test_an_argument_that_the_host_cannot_build_fails_the_task_only() -> None:
    async with hosted() as host:
        with pytest.raises(NotTransferable, match="cannot be built"):
            await host.run(work.same, _BuiltOnlyIn(os.getpid()))
        assert await host.run(work.same, 1) == 1


def _refuse(pid: int) -> str:
    if os.getpid() != pid:
        raise LookupError("not here")
    return "here"


class _BuiltOnlyIn:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, (self._pid,)


async def test_leaving_by_sys_exit_is_a_failure_of_the_task_not_the_end_of_the_host() -> None:
    async with hosted() as host:
        with pytest.raises(SystemExit):
            await host.run(sys.exit, 3)
        assert await host.run(work.same, 1) == 1


# ----------------------------------------------------------------------------------------------- cancellation


async def test_a_running_function_stops_at_its_next_checkpoint() -> None:
    async with hosted() as host:
        number = host.start(work.checkpoint_for_ever)
        await host.frame(wire.Started)
        host.link.send(wire.Cancel(number, "enough"))
        with pytest.raises(Interrupted, match="enough"):
            await host.result(number)
        assert host.seen(wire.Failed)[0].interrupted
        assert await host.run(work.same, 1) == 1


async def test_a_task_that_has_not_begun_is_cancelled_without_waiting_for_its_turn(tmp_path: Path) -> None:
    async with hosted() as host:
        gate = tmp_path / "gate"
        long = host.start(work.wait_for, str(gate))
        waiting = host.start(work.nothing)
        host.link.send(wire.Cancel(waiting))
        with pytest.raises(Interrupted, match="before it began"):
            await host.result(waiting)
        gate.touch()
        await host.result(long)
        assert await host.run(work.same, 1) == 1
        assert waiting not in {frame.task_id for frame in host.seen(wire.Done)}


async def test_a_cancellation_that_comes_too_late_changes_nothing() -> None:
    async with hosted() as host:
        number = host.start(work.nothing)
        await host.result(number)
        host.link.send(wire.Cancel(number))
        assert await host.run(work.same, 1) == 1
        assert not host.seen(wire.Failed)


async def test_an_async_function_is_cancelled_where_it_waits() -> None:
    async with hosted() as host:
        number = host.start(work.wait_for_ever)
        await host.frame(wire.Started)
        host.link.send(wire.Cancel(number, "enough"))
        with pytest.raises(Interrupted, match="enough"):
            await host.result(number)
        assert await host.run(work.add_in_a_loop, 1, 2) == 3


async def test_tasks_that_have_not_begun_can_be_taken_back(tmp_path: Path) -> None:
    async with hosted() as host:
        gate = tmp_path / "gate"
        numbers = [host.start(work.wait_for, str(gate)), *(host.start(work.nothing) for _ in range(5))]
        await host.frame(wire.Started)
        host.link.send(wire.Revoke([*numbers[:2], *numbers[4:]]))
        revoked = await host.frame(wire.Revoked)
        assert revoked.task_ids == [numbers[1], *numbers[4:]]
        gate.touch()
        assert await host.run(work.same, 1) == 1
        assert {frame.task_id for frame in host.seen(wire.Done)} >= {numbers[0], numbers[2], numbers[3]}
        assert not {frame.task_id for frame in host.seen(wire.Done)} & set(revoked.task_ids)


# ---------------------------------------------------------------------------------------------------- context


async def test_the_context_tells_reports_and_defers(tmp_path: Path) -> None:
    path = tmp_path / "deferred"
    async with hosted() as host:
        assert await host.run(work.report_and_defer, str(path)) == ("report_and_defer", 1)
        reports = [(frame.fraction, frame.message) for frame in host.seen(wire.Progress)]
        assert reports == [(0.25, "a quarter"), (1.0, None)]
    assert path.read_text().split("\n") == ["last deferred", "first deferred", ""]


async def test_a_report_arrives_while_the_task_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def report_and_wait(path: str) -> None:
        from actorsched.context import current

        current().report(0.5)
        work.wait_for(path)

    async with hosted() as host:
        number = host.start(report_and_wait, str(gate))
        assert (await host.frame(wire.Progress)).fraction == 0.5
        gate.touch()
        await host.result(number)


async def test_context_variables_arrive_and_do_not_stay() -> None:
    import contextvars

    async with hosted() as host:
        token = work.VARIABLE.set("from the parent")
        try:
            payload = contextvars_out(contextvars.copy_context())
        finally:
            work.VARIABLE.reset(token)
        assert await host.result(host.start(work.read_variable, context=payload)) == "from the parent"
        assert await host.run(work.read_variable) == "unset"
        assert await host.run(work.set_variable, "mine") == "mine"
        assert await host.run(work.read_variable) == "unset"


async def test_a_context_variable_that_cannot_be_imported_arrives_too() -> None:
    import contextvars

    variable: contextvars.ContextVar[int] = contextvars.ContextVar("local", default=1)

    def read() -> int:
        return variable.get()

    def send() -> Any:
        variable.set(2)
        return contextvars_out(contextvars.copy_context())

    async with hosted() as host:
        assert await host.run(read) == 1
        payload = contextvars.copy_context().run(send)
        assert await host.result(host.start(read, context=payload)) == 2


async def test_records_arrive_in_order_before_the_result() -> None:
    async with hosted() as host:
        await host.run(work.log_and_return, 100)
        kinds = [type(frame) for frame in host.frames if not isinstance(frame, (wire.Hello, wire.Started))]
        assert kinds == [wire.Log] * 100 + [wire.Done]
        records = host.seen(wire.Log)
        assert [record.message for record in records] == [f"record {n}" for n in range(100)]
        assert records[0].function == "log_and_return"
        assert records[0].origin == 1


async def test_a_record_survives_the_death_that_follows_it() -> None:
    async with hosted() as host:
        with pytest.raises(HostDied, match="code 9"):
            await host.run(work.log_and_die)
        assert [record.message for record in host.seen(wire.Log)] == ["the last words"]


async def test_a_host_takes_over_what_concerns_the_interpreter() -> None:
    async with hosted() as host:
        state = await host.run(work.state_of_the_process)
        assert set(state["path"]) >= {entry for entry in sys.path if entry}
        assert state["argv"] == sys.argv
        assert state["sigint"]
        assert state["group"] == host.link.pid != os.getpgrp()
        assert ("error", "<class 'Warning'>") in state["filters"]


async def test_a_host_imports_little() -> None:
    async with hosted() as host:
        modules = set((await host.run(work.state_of_the_process))["modules"])
        heavy = {
            "asyncio",
            "anyio",
            "trio",
            "uvloop",
            "cloudpickle",
            "logging",
            "subprocess",
            "socket",
            "pytest",
        }
        assert not modules & heavy


async def test_code_in_a_host_can_ask_the_runtime() -> None:
    from actorsched._hosting.failures import pack_error
    from actorsched._hosting.transfer import dumps, loads

    async with hosted() as host:
        number = host.start(work.request, "double", 21)
        asked = await host.frame(wire.Request)
        assert (asked.origin, asked.verb, loads(asked.body)) == (number, "double", 21)
        host.link.send(wire.Answer(asked.request_id, dumps(42, "the answer")))
        assert await host.result(number) == 42

        number = host.start(work.request, "fail", None)
        asked = await host.frame(wire.Request, lambda f: f.origin == number)
        host.link.send(wire.Answer(asked.request_id, error=pack_error(KeyError("nope"))))
        with pytest.raises(KeyError, match="nope"):
            await host.result(number)


async def test_a_cancelled_request_is_taken_back() -> None:
    async with hosted() as host:
        number = host.start(work.request, "wait", None)
        asked = await host.frame(wire.Request)
        host.link.send(wire.Cancel(number))
        assert (await host.frame(wire.CancelRequest)).request_id == asked.request_id
        with pytest.raises(Interrupted):
            await host.result(number)


# -------------------------------------------------------------------------------------------------------- end


async def test_a_host_that_is_told_to_stop_finishes_what_it_has() -> None:
    async with hosted() as host:
        numbers = [host.start(work.same, n) for n in range(100)]
        host.link.stop()
        assert await host.result(numbers[-1]) == 99
        end = await host.ended()
        assert (end.cause, end.exit_code, end.last_started) == ("stopped", 0, numbers[-1])


async def test_a_killed_host_is_told_of_with_what_had_begun() -> None:
    async with hosted() as host:
        first = host.start(work.nothing)
        await host.result(first)
        running = host.start(work.spin)
        host.start(work.nothing)
        await host.frame(wire.Started, lambda frame: frame.task_id == running)
        os.kill(host.link.pid, signal.SIGKILL)
        with pytest.raises(HostDied, match="SIGKILL") as caught:
            await host.result(running)
        assert (caught.value.signal, caught.value.cause) == (signal.SIGKILL, "killed")
        assert host.exit is not None
        assert host.exit.last_started == running
        host.start(work.nothing)  # is harmless


async def test_nothing_is_lost_that_a_host_wrote_before_its_death() -> None:
    async with hosted() as host:
        numbers = [host.start(work.same, n) for n in range(50)]
        last = host.start(work.exit_hard, 3)
        with pytest.raises(HostDied, match="code 3"):
            await host.result(last)
        assert host.exit is not None
        assert host.exit.last_started == last
        assert len(host.seen(wire.Done)) <= len(numbers)


async def test_a_segmentation_fault_is_named() -> None:
    async with hosted() as host:
        with pytest.raises(HostDied, match="SIGSEGV") as caught:
            await host.run(work.crash)
        assert caught.value.cause == "crashed"


async def test_a_host_that_writes_garbage_is_killed_for_it() -> None:
    async with hosted() as host:
        with pytest.raises(HostDied, match="not of the protocol"):
            await host.run(work.write_garbage)


async def test_a_host_that_closes_its_descriptors_is_killed_for_it() -> None:
    async with hosted() as host:
        with pytest.raises(HostDied, match="closed its socket"):
            await host.run(work.close_everything)


async def test_a_host_that_does_not_get_ready_in_time_is_killed() -> None:
    async with hosted(start_timeout=0.0) as host:
        end = await host.ended()
        assert end.cause == "never started"


async def test_a_stopped_host_can_be_resumed() -> None:
    async with hosted() as host:
        await host.run(work.nothing)
        host.link.suspend()
        number = host.start(work.same, 5)
        host.link.resume()
        assert await host.result(number) == 5


async def test_what_a_killed_host_has_started_dies_with_it() -> None:
    async with hosted() as host:
        grandchild = await host.run(work.start_a_child)
        host.link.kill()
        await host.ended()
        with anyio.fail_after(10):
            while _alive(grandchild):  # nobody tells of its end
                await anyio.sleep(0.001)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

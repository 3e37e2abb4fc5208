"""A runtime's life: entering, leaving in every way, shutting down, and what is left afterwards."""

from __future__ import annotations

import logging
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    Actor,
    ExitReason,
    Runtime,
    RuntimeClosed,
    TaskCancelled,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)
from tests.manual_clock import ManualClock, settle, until


async def fail(error: BaseException) -> None:
    raise error


class Noting(Actor):
    """Notes what happens to it in a list."""

    def __init__(self, log: list[str], name: str = "actor") -> None:
        self.log = log
        self.name = name

    async def on_stop(self, reason: ExitReason) -> None:
        self.log.append(f"{self.name} {reason.kind}")

    async def note(self, what: str) -> None:
        self.log.append(what)

    async def hang(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.log.append("hung up")

    async def fail(self) -> None:
        raise LookupError("handler")


def nothing_left(rt: Runtime) -> bool:
    """Whether a runtime that was left holds nothing of its work."""
    kernel = rt._system.kernel
    return not (kernel.carriers or kernel.mail or kernel.ready or rt._nursery.live or rt._system.scopes)


# --------------------------------------------------------------------------------------------- the good end


async def test_leaving_waits_for_every_task_also_for_those_that_tasks_have_spawned() -> None:
    log: list[int] = []

    async def spawn_more(depth: int) -> None:
        await anyio.lowlevel.checkpoint()
        log.append(depth)
        if depth:
            await current().runtime.spawn(spawn_more, depth - 1)

    async with Runtime() as rt:
        await rt.spawn(spawn_more, 3)
    assert log == [3, 2, 1, 0]
    assert nothing_left(rt)


async def test_leaving_stops_actors_in_reverse_order_after_the_tasks_and_their_messages() -> None:
    log: list[str] = []

    async def use(actor: Any) -> None:
        await settle()
        actor.tell(Noting.note, "told by a task")

    async with Runtime() as rt:
        actors = [await rt.spawn(Noting, log, name) for name in "abc"]
        await rt.spawn(use, actors[0])
        actors[2].tell(Noting.note, "told")
    assert log == ["told", "told by a task", "c shutdown", "b shutdown", "a shutdown"]
    assert not any(actor.alive for actor in actors)
    assert nothing_left(rt)


async def test_leaving_takes_as_long_as_the_tasks_do() -> None:
    clock, release = ManualClock(), anyio.Event()

    async def late() -> None:
        await settle()
        clock.advance(10_000)
        await settle()
        release.set()

    async with anyio.create_task_group() as group:
        async with Runtime(clock=clock, shutdown_timeout=1) as rt:
            ref = await rt.spawn(release.wait)
            group.start_soon(late)
        assert ref.status is TaskStatus.COMPLETED


async def test_an_empty_runtime_comes_and_goes() -> None:
    async with Runtime() as rt:
        assert "runtime" in repr(rt)
    assert nothing_left(rt)
    async with Runtime(name="mine") as rt:
        assert "mine" in repr(rt)


async def test_runtimes_may_be_nested_and_know_nothing_of_each_other() -> None:
    async def outer_task(inner: Runtime) -> str:
        return str(await inner.run(lambda: "inner"))

    async with Runtime(concurrency=1) as outer, Runtime(concurrency=1) as inner:
        assert await outer.run(outer_task, inner) == "inner"


# --------------------------------------------------------------------------------------- what leaves it


async def test_an_error_of_the_body_leaves_as_itself_after_everything_has_stopped() -> None:
    log: list[str] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("task left")

    error = KeyError("body")
    with pytest.raises(KeyError) as caught:
        async with Runtime() as rt:
            await rt.spawn(Noting, log)
            ref = await rt.spawn(wait)
            await settle()
            raise error
    assert caught.value is error
    assert log == ["task left", "actor shutdown"]
    assert ref.status is TaskStatus.CANCELLED
    assert nothing_left(rt)
    with pytest.raises(TaskCancelled, match="its scope was left: KeyError"):
        await ref


async def test_failed_tasks_do_not_change_what_leaves(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError):
        async with Runtime() as rt:
            await rt.spawn(fail, ValueError("task"))
            await settle()
            raise KeyError("body")
    assert "ValueError: task" in caplog.text


async def test_an_error_of_run_leaves_as_itself() -> None:
    error = ValueError("task")
    with pytest.raises(ValueError, match="task") as caught:
        async with Runtime() as rt:
            await rt.run(fail, error)
    assert caught.value is error


async def test_a_supervisor_that_gives_up_ends_the_runtime_with_its_error() -> None:
    log: list[str] = []
    with pytest.raises(LookupError, match="handler"):
        async with Runtime() as rt:
            actor = await rt.spawn(Noting, log)
            for _ in range(4):
                actor.tell(Noting.fail)
            try:
                await anyio.sleep_forever()
            finally:
                log.append("body left")
    assert log[-1] == "body left"
    assert nothing_left(rt)


async def test_two_failures_leave_as_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with Runtime() as rt:
            actor = await rt.spawn(Noting, [])
            for _ in range(4):
                actor.tell(Noting.fail)
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("body")
    assert [type(error) for error in caught.value.exceptions] == [KeyError, LookupError]


async def test_a_cancellation_goes_through_a_runtime() -> None:
    log: list[str] = []
    with anyio.CancelScope() as scope:
        async with Runtime() as rt:
            await rt.spawn(Noting, log)
            ref = await rt.spawn(anyio.sleep_forever)
            await settle()
            scope.cancel()
            await anyio.sleep_forever()
        log.append("not reached")
    assert scope.cancelled_caught
    assert log == ["actor shutdown"]
    assert ref.status is TaskStatus.CANCELLED
    assert nothing_left(rt)


async def test_a_cancellation_while_leaving_cancels_the_tasks_and_is_not_swallowed() -> None:
    log: list[str] = []

    async def body() -> None:
        async with Runtime() as rt:
            await rt.spawn(Noting, log)
            await rt.spawn(anyio.sleep_forever)
        log.append("not reached")

    async with anyio.create_task_group() as group:
        group.start_soon(body)
        await settle()
        group.cancel_scope.cancel()
    assert log == ["actor shutdown"]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_asyncio_cancelling_again_and_again_leaves_nothing_behind() -> None:
    import asyncio

    release = anyio.Event()
    log: list[str] = []
    runtimes: list[Runtime] = []

    async def slow_to_stop() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()
            log.append("left")

    async def body() -> None:
        async with Runtime() as rt:
            runtimes.append(rt)
            await rt.spawn(slow_to_stop)
            await rt.spawn(Noting, log)

    running = asyncio.ensure_future(body())
    await settle()
    for _ in range(5):
        running.cancel()
        await settle()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert log == ["left", "actor shutdown"]
    assert nothing_left(runtimes[0])


async def test_a_defect_of_the_system_ends_the_runtime_instead_of_hanging_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(KeyError):
        async with Runtime() as rt:
            ref = await rt.spawn(anyio.sleep_forever)
            rt._system.kernel.post(rt._system.scheduler, "no message at all")
            await anyio.sleep_forever()
    assert ref.status is TaskStatus.CANCELLED
    assert "please report this" in caplog.text


# ------------------------------------------------------------------------------------- the shutdown deadline


async def test_an_actor_that_hangs_is_killed_at_the_shutdown_deadline() -> None:
    clock = ManualClock()
    log: list[str] = []

    async def leave() -> None:
        async with Runtime(clock=clock, shutdown_timeout="10s") as rt:
            actor = await rt.spawn(Noting, log)
            actor.tell(Noting.hang)
            await settle()
        log.append("left")

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        await settle()
        await clock.passes(9.9)
        assert log == []
        await clock.passes(0.2)
        assert log == ["hung up", "left"]


async def test_a_thread_that_does_not_stop_is_left_behind_with_an_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, running, release = ManualClock(), threading.Event(), threading.Event()
    refs: list[TaskRef[Any]] = []
    runtime = Runtime(clock=clock, shutdown_timeout="10s")

    def deaf() -> str:
        running.set()
        release.wait()
        return "late"

    async def leave() -> None:
        async with runtime as rt:
            refs.append(await rt.spawn(deaf, name="deaf one"))
            await until(running.is_set)
            raise KeyError("body")

    with pytest.raises(ExceptionGroup):
        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            await until(lambda: runtime._deadline is not None)
            await clock.passes(9.9)
            assert not refs[0].done()
            await clock.passes(0.2)
            assert refs[0].status is TaskStatus.CANCELLED
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == 1
    assert "'deaf one' does not stop" in records[0].getMessage()
    release.set()


async def test_a_thread_that_stops_in_time_is_joined(caplog: pytest.LogCaptureFixture) -> None:
    running = threading.Event()

    def polite() -> None:
        running.set()
        while True:
            checkpoint()

    before = threading.enumerate()
    with pytest.raises(KeyError):
        async with Runtime() as rt:
            await rt.spawn(polite)
            await until(running.is_set)
            await rt.run(threading.get_ident)
            raise KeyError
    assert threading.enumerate() == before
    assert not caplog.records


# ------------------------------------------------------------------------------------------------ shutdown


async def test_shutdown_drains_and_closes_while_the_body_goes_on() -> None:
    log: list[str] = []

    async def slow() -> str:
        await settle()
        log.append("task")
        return "result"

    async with Runtime() as rt:
        actor = await rt.spawn(Noting, log)
        actor.tell(Noting.note, "told")
        ref = await rt.spawn(slow)
        thread = await rt.run(threading.current_thread)
        await rt.shutdown()
        assert log == ["told", "task", "actor shutdown"]
        assert await ref == "result"
        assert not actor.alive
        assert not thread.is_alive()
        log.append("body")
    assert log[-1] == "body"
    assert nothing_left(rt)


async def test_after_shutdown_nothing_is_taken_and_nothing_is_queued() -> None:
    async with Runtime() as rt:
        await rt.shutdown()
        for target in (anyio.lowlevel.checkpoint, Noting):
            with pytest.raises(RuntimeClosed, match="shutting down"):
                await rt.spawn(target)  # type: ignore[call-overload]
        with pytest.raises(RuntimeClosed):
            await rt.run(anyio.lowlevel.checkpoint)
        async with rt.scope() as scope:
            with pytest.raises(RuntimeClosed):
                await scope.spawn(anyio.lowlevel.checkpoint)
        assert not rt._nursery.live
        await rt.shutdown()
    await rt.shutdown()


async def test_while_it_shuts_down_tasks_and_actors_cannot_spawn_either() -> None:
    refused: list[str] = []

    async def spawn_late() -> None:
        await settle()
        try:
            await current().runtime.spawn(settle)
        except RuntimeClosed:
            refused.append("task")

    class Late(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            try:
                await current().runtime.run(settle)
            except RuntimeClosed:
                refused.append("actor")

    async with Runtime() as rt:
        await rt.spawn(Late)
        await rt.spawn(spawn_late)
        await rt.shutdown()
    assert refused == ["task", "actor"]


async def test_shutdown_without_draining_cancels_tasks_and_kills_actors() -> None:
    log: list[str] = []
    async with Runtime() as rt:
        actor = await rt.spawn(Noting, log)
        actor.tell(Noting.hang)
        ref = await rt.spawn(anyio.sleep_forever)
        queued = await rt.spawn(log.append, "never", after=[ref])
        await settle()
        await rt.shutdown(drain=False)
        assert (ref.status, queued.status) == (TaskStatus.CANCELLED, TaskStatus.CANCELLED)
        assert not actor.alive
    assert log == ["hung up"]


async def test_what_is_left_at_the_timeout_of_a_shutdown_is_cancelled_and_killed() -> None:
    clock = ManualClock()
    log: list[str] = []
    async with Runtime(clock=clock) as rt:
        actor = await rt.spawn(Noting, log)
        actor.tell(Noting.hang)
        ref = await rt.spawn(anyio.sleep_forever)
        async with anyio.create_task_group() as group:
            group.start_soon(rt.shutdown, True, "5s")
            await clock.passes(4.9)
            assert ref.status is TaskStatus.RUNNING
            await clock.passes(0.2)
            assert ref.status is TaskStatus.CANCELLED
        assert not actor.alive


async def test_a_second_shutdown_may_be_less_patient() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(anyio.sleep_forever)
        async with anyio.create_task_group() as group:
            group.start_soon(rt.shutdown)
            await settle()
            assert ref.status is TaskStatus.RUNNING
            await rt.shutdown(drain=False)
            assert ref.status is TaskStatus.CANCELLED


async def test_shutdown_reaches_the_scopes_too() -> None:
    log: list[str] = []
    async with Runtime() as rt, rt.scope() as scope:
        actor = await scope.spawn(Noting, log)
        ref = await scope.spawn(settle)
        await rt.shutdown()
        assert ref.status is TaskStatus.COMPLETED
        assert not actor.alive
    assert log == ["actor shutdown"]


async def test_shutdown_from_a_task_of_its_own_asks_and_returns_at_once() -> None:
    log: list[str] = []

    async def ask() -> str:
        await current().runtime.shutdown()
        log.append("asked")
        with pytest.raises(RuntimeClosed):
            await current().runtime.spawn(settle)
        return "done"

    async with Runtime() as rt:
        await rt.spawn(Noting, log)
        ref = await rt.spawn(ask)
        assert await ref == "done"
    assert log == ["asked", "actor shutdown"]


async def test_shutdown_from_a_handler_of_its_own_asks_and_returns_at_once() -> None:
    class Boss(Actor):
        async def end(self) -> str:
            await current().runtime.shutdown(drain=True, timeout=30)
            return "asked"

    async with Runtime() as rt:
        boss = await rt.spawn(Boss)
        assert await boss.ask.end() == "asked"
        assert await rt.monitor(boss) is not None
        await rt.shutdown()
        assert not boss.alive


async def test_a_cancelled_shutdown_goes_on_without_the_one_who_asked() -> None:
    release = anyio.Event()
    log: list[str] = []
    async with Runtime() as rt:
        await rt.spawn(Noting, log)
        await rt.spawn(release.wait)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(rt.shutdown)
                await settle()
                scope.cancel()
        assert log == []
        release.set()
        await settle()
        assert log == ["actor shutdown"]


async def test_leaving_while_it_shuts_down_waits_for_the_shutdown() -> None:
    log: list[str] = []

    async def slow() -> None:
        await settle()
        log.append("task")

    async with Runtime() as rt:
        await rt.spawn(Noting, log)
        await rt.spawn(slow)

        async def ask() -> None:
            await rt.shutdown()

        await rt.spawn(ask)
        await anyio.lowlevel.checkpoint()
    assert log == ["task", "actor shutdown"]
    assert nothing_left(rt)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"drain": 1}, TypeError, "drain=1"),
        ({"drain": None}, TypeError, "drain=None"),
        ({"timeout": "soon"}, ValueError, "timeout='soon'"),
        ({"timeout": -1}, ValueError, "timeout=-1"),
    ],
)
async def test_a_wrong_shutdown_is_refused_and_changes_nothing(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with Runtime() as rt:
        with pytest.raises(error, match=message):
            await rt.shutdown(**arguments)
        await rt.run(anyio.lowlevel.checkpoint)


# ------------------------------------------------------------------------------------- before and after


async def test_a_runtime_takes_nothing_once_it_was_left() -> None:
    async with Runtime() as rt:
        pass
    for call in (rt.spawn, rt.run):
        with pytest.raises(RuntimeClosed, match="has been left"):
            await call(settle)
    with pytest.raises(RuntimeClosed):
        await rt.spawn(Noting, [])


async def test_a_runtime_that_was_not_entered_says_so() -> None:
    rt = Runtime()
    with pytest.raises(RuntimeError, match="not entered"):
        await rt.spawn(settle)
    with pytest.raises(RuntimeError, match="not entered"):
        await rt.shutdown()
    with pytest.raises(RuntimeError, match="not entered"):
        rt.scope()
    with pytest.raises(AttributeError):
        rt.nothing_of_the_kind  # type: ignore[attr-defined]  # noqa: B018


async def test_a_runtime_is_entered_once() -> None:
    rt = Runtime()
    async with rt:
        with pytest.raises(RuntimeError, match="entered before"):
            await rt.__aenter__()
    with pytest.raises(RuntimeError, match="entered before"):
        await rt.__aenter__()


async def test_refs_outlive_their_runtime() -> None:
    async with Runtime() as rt:
        done, failed = await rt.spawn(lambda: 5), await rt.spawn(fail, ValueError("broken"))
        actor = await rt.spawn(Noting, [])
    assert await done == 5
    with pytest.raises(ValueError, match="broken"):
        await failed
    await done.cancel()
    await done.set_priority(3)
    assert (await rt.monitor(actor)).kind == "shutdown"
    actor.tell(Noting.note, "too late")


async def test_the_runtimes_clock_is_slept_on() -> None:
    clock = ManualClock()
    log: list[str] = []
    async with Runtime(clock=clock) as rt:

        async def sleep() -> None:
            await rt.sleep("5s")
            log.append("awake")

        ref = await rt.spawn(sleep)
        await clock.passes(4)
        assert log == []
        await clock.passes(1)
        await ref
        with pytest.raises(ValueError, match="duration"):
            await rt.sleep("a while")


# -------------------------------------------------------------------------------------- unseen failures


async def test_a_failure_that_nobody_looked_at_is_logged_once_when_the_ref_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(fail, ValueError("unseen"), name="failing")
        await settle()
        assert not caplog.records
        del ref
        assert len(caplog.records) == 1
        assert "task 'failing' failed" in caplog.text
        assert "ValueError: unseen" in caplog.text
        assert "in fail" in caplog.text
    assert len(caplog.records) == 1


async def test_a_failure_of_a_task_whose_ref_is_gone_is_logged_when_it_happens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime() as rt:
        await rt.spawn(fail, ValueError("unseen"))
        await settle()
        assert len(caplog.records) == 1


async def test_a_failure_whose_ref_is_kept_is_logged_when_the_runtime_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime() as rt:
        refs = [await rt.spawn(fail, ValueError(f"number {n}")) for n in range(3)]
        await settle()
        assert not caplog.records
    messages = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert messages == ["number 0", "number 1", "number 2"]
    del refs
    assert len(caplog.records) == 3


async def see_by_await(ref: TaskRef[Any]) -> None:
    with pytest.raises(ValueError, match="seen"):
        await ref


async def see_by_outcome(ref: TaskRef[Any]) -> None:
    assert not (await ref.outcome()).ok


async def see_by_result(ref: TaskRef[Any]) -> None:
    await settle()
    with pytest.raises(ValueError, match="seen"):
        ref.result()


async def see_by_exception(ref: TaskRef[Any]) -> None:
    await settle()
    assert ref.exception()


@pytest.mark.parametrize("see", [see_by_await, see_by_outcome, see_by_result, see_by_exception])
async def test_a_failure_that_somebody_looked_at_is_not_logged(
    see: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(fail, ValueError("seen"))
        await see(ref)
        del ref
    assert not caplog.records


async def test_asking_too_early_is_not_looking(caplog: pytest.LogCaptureFixture) -> None:
    release = anyio.Event()

    async def fail_late() -> None:
        await release.wait()
        raise ValueError("unseen")

    async with Runtime() as rt:
        ref = await rt.spawn(fail_late)
        with pytest.raises(RuntimeError):
            ref.exception()
        with anyio.move_on_after(0):
            await ref
        release.set()
        await settle()
        del ref
    assert "ValueError: unseen" in caplog.text


async def test_a_failure_that_a_dependent_passes_on_is_logged_with_the_dependent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(fail, ValueError("first"))
        await rt.spawn(settle, after=[ref])
        del ref
        await settle()
    assert len(caplog.records) == 1
    assert "DependencyFailed" in caplog.text
    assert "ValueError: first" in caplog.text


async def test_the_sender_that_a_handler_looks_at_is_not_taken_for_the_last_ref(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Looking(Actor):
        async def look(self) -> str:
            sender = current().sender
            assert sender is not None
            return sender.name

    async with Runtime() as rt:
        looking = await rt.spawn(Looking)

        async def ask() -> None:
            assert await looking.ask.look() == "asker"
            raise ValueError("to be seen")

        ref = await rt.spawn(ask, name="asker")
        await settle()
        assert not caplog.records
        with pytest.raises(ValueError, match="to be seen"):
            await ref
    assert not caplog.records


async def test_a_cancelled_task_is_no_failure_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(anyio.sleep_forever)
        await settle()
        await ref.cancel()
        del ref
    assert not caplog.records


# ----------------------------------------------------------------------------------------- when it has closed


async def test_what_is_asked_for_is_called_when_the_runtime_has_closed_the_last_first() -> None:
    seen: list[object] = []
    async with Runtime() as rt:
        rt.at_close(lambda: seen.append(rt.stats().actors))
        rt.at_close(lambda: seen.append("first"))
        rt.at_close(lambda: seen.append("never"))()
        await rt.shutdown()
        assert len(seen) == 2
        assert seen[0] == "first"
        with pytest.raises(RuntimeClosed, match="has closed"):
            rt.at_close(seen.clear)
    assert len(seen) == 2


async def test_an_error_of_what_is_called_at_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    seen: list[str] = []
    async with Runtime() as rt:
        rt.at_close(lambda: seen.append("all the same"))
        rt.at_close(fail)
        with pytest.raises(TypeError, match="function=3 cannot be called"):
            rt.at_close(3)
    assert seen == ["all the same"]
    assert "LookupError: nothing there" in caplog.text

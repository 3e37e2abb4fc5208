"""Scopes: nothing outlives them, one failure ends them, and what failed leaves as a group."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    Actor,
    ExitReason,
    Runtime,
    RuntimeClosed,
    Supervise,
    TaskCancelled,
    TaskRef,
    TaskStatus,
    current,
)
from tests.manual_clock import ManualClock, settle


async def fail(error: BaseException) -> None:
    raise error


class Witness:
    """Waits for ever, and tells how that ended."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def wait(self) -> None:
        self.log.append("begun")
        try:
            await anyio.sleep_forever()
        finally:
            self.log.append("left")


class Noting(Actor):
    """Notes its end in a list."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log = log
        self.name = name

    async def on_stop(self, reason: ExitReason) -> None:
        self.log.append(f"{self.name} {reason.kind}")

    async def note(self, what: str) -> None:
        self.log.append(what)

    async def hang(self) -> None:
        await anyio.sleep_forever()

    async def fail(self) -> None:
        raise LookupError("handler")


# ----------------------------------------------------------------------------------------- the good end


async def test_leaving_a_scope_waits_for_its_tasks() -> None:
    log: list[str] = []

    async def slow(name: str) -> None:
        await settle()
        log.append(name)

    async with Runtime() as rt:
        async with rt.scope() as scope:
            await scope.spawn(slow, "one")
            await scope.spawn(slow, "two")
            log.append("body")
        log.append("after")
    assert log == ["body", "one", "two", "after"]


async def test_leaving_a_scope_stops_its_actors_the_last_first_and_not_those_of_others() -> None:
    log: list[str] = []
    async with Runtime() as rt:
        outer = await rt.spawn(Noting, log, "outer")
        async with rt.scope() as scope:
            for name in "abc":
                await scope.spawn(Noting, log, name)
        assert log == ["c shutdown", "b shutdown", "a shutdown"]
        assert outer.alive


async def test_actors_of_a_scope_work_off_their_mailboxes() -> None:
    log: list[str] = []
    async with Runtime() as rt, rt.scope() as scope:
        actor = await scope.spawn(Noting, log, "actor")
        for number in range(3):
            actor.tell(Noting.note, str(number))
    assert log == ["0", "1", "2", "actor shutdown"]


async def test_tasks_end_before_the_actors_that_they_may_use() -> None:
    log: list[str] = []

    async def use(actor: Any) -> None:
        await settle()
        await actor.ask.note("used")

    async with Runtime() as rt, rt.scope() as scope:
        await scope.spawn(use, await scope.spawn(Noting, log, "actor"))
    assert log == ["used", "actor shutdown"]


async def test_what_actors_spawn_on_their_way_out_is_waited_for_too() -> None:
    log: list[str] = []

    async with Runtime() as rt:
        async with rt.scope() as scope:

            class Last(Actor):
                async def on_stop(self, reason: ExitReason) -> None:
                    await scope.spawn(late)
                    log.append("stopped")

            async def late() -> None:
                await settle()
                log.append("late")
                await scope.spawn(Noting, log, "later still")

            await scope.spawn(Last)
        assert log == ["stopped", "late", "later still shutdown"]


async def test_a_scope_gives_back_nothing_and_changes_nothing_when_all_is_well() -> None:
    async with Runtime() as rt:
        async with rt.scope() as scope:
            ref = await scope.spawn(anyio.lowlevel.checkpoint)
            assert await scope.run(Witness.__init__, Witness()) is None
        assert await ref is None
        assert "0 tasks" in repr(scope)


# ------------------------------------------------------------------------------------------ one failure


async def test_a_failed_task_cancels_its_siblings_and_the_body_and_leaves_as_a_group() -> None:
    witness = Witness()
    log: list[str] = []
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                sibling = await scope.spawn(witness.wait)
                await settle()
                await scope.spawn(fail, ValueError("broken"))
                try:
                    await anyio.sleep_forever()
                finally:
                    log.append("body left")
        assert sibling.status is TaskStatus.CANCELLED
        with pytest.raises(TaskCancelled, match="a sibling failed: ValueError"):
            await sibling
    assert [repr(error) for error in caught.value.exceptions] == ["ValueError('broken')"]
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert witness.log == ["begun", "left"]
    assert log == ["body left"]


async def test_a_failure_stays_within_its_scope() -> None:
    async with Runtime() as rt:
        outside = await rt.spawn(anyio.sleep_forever)
        with pytest.raises(ExceptionGroup):
            async with rt.scope() as scope:
                await scope.spawn(fail, ValueError())
        await settle()
        assert outside.status is TaskStatus.RUNNING
        await outside.cancel()


async def test_all_that_failed_is_in_the_group() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("on the way out")

    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                await scope.spawn(fail_when_cancelled)
                await settle()
                await scope.spawn(fail, ValueError())
                await anyio.sleep_forever()
    assert {type(error) for error in caught.value.exceptions} == {LookupError, ValueError}


async def test_the_body_alone_leaves_as_a_group_too() -> None:
    witness = Witness()
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                await scope.spawn(witness.wait)
                await settle()
                raise KeyError("body")
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert witness.log == ["begun", "left"]


async def test_the_same_error_stands_in_the_group_once_however_it_got_there() -> None:
    async def look(ref: list[TaskRef[None]]) -> None:
        await ref[0]

    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                ref = await scope.spawn(fail, ValueError("broken"))
                await scope.spawn(look, [ref])
                await ref
    assert len(caught.value.exceptions) == 1


async def test_an_error_of_run_is_raised_where_it_was_awaited_and_ends_the_scope_all_the_same() -> None:
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                with pytest.raises(ValueError, match="broken"):
                    await scope.run(fail, ValueError("broken"))
                await anyio.sleep_forever()
    assert len(caught.value.exceptions) == 1


async def test_cancelling_one_task_is_no_failure() -> None:
    async with Runtime() as rt:
        async with rt.scope() as scope:
            ref = await scope.spawn(anyio.sleep_forever)
            other = await scope.spawn(settle)
            await ref.cancel()
        assert other.status is TaskStatus.COMPLETED


async def test_base_exceptions_leave_in_a_base_group() -> None:
    async with Runtime() as rt:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with rt.scope() as scope:
                await scope.spawn(fail, SystemExit(3))
                await anyio.sleep_forever()
    assert not isinstance(caught.value, ExceptionGroup)


async def test_a_failure_that_leaves_with_its_scope_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup):
            async with rt.scope() as scope:
                await scope.spawn(fail, ValueError())
    assert not caplog.records


async def test_what_is_spawned_into_a_failed_scope_is_cancelled_before_it_begins() -> None:
    witness = Witness()
    refs: list[TaskRef[None]] = []
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup):
            async with rt.scope() as scope:
                await scope.spawn(fail, ValueError())
                with anyio.CancelScope(shield=True):
                    await settle()
                    refs.append(await scope.spawn(witness.wait))
                    await settle()
        with pytest.raises(TaskCancelled):
            await refs[0]
    assert witness.log == []


# ------------------------------------------------------------------------------------- nested scopes


async def test_a_failure_in_an_inner_scope_ends_the_outer_one_unless_it_is_caught() -> None:
    inner, outer = Witness(), Witness()
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as one:
                await one.spawn(outer.wait)
                async with rt.scope() as two:
                    await two.spawn(inner.wait)
                    await settle()
                    await two.spawn(fail, ValueError())
                    await anyio.sleep_forever()
        (group,) = caught.value.exceptions
        assert isinstance(group, ExceptionGroup)
        assert [type(error) for error in group.exceptions] == [ValueError]
        async with rt.scope() as one:
            with pytest.raises(ExceptionGroup):
                async with rt.scope() as two:
                    await two.spawn(fail, ValueError())
            assert await one.run(Witness.__init__, Witness()) is None
    assert inner.log == outer.log == ["begun", "left"]


async def test_a_failure_in_the_outer_scope_cancels_the_inner_one_which_then_says_nothing() -> None:
    witness = Witness()
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as one, rt.scope() as two:
                await two.spawn(witness.wait)
                await settle()
                await one.spawn(fail, ValueError())
                await anyio.sleep_forever()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert witness.log == ["begun", "left"]


async def test_scopes_in_tasks_end_with_their_tasks() -> None:
    witness = Witness()

    async def scoped() -> None:
        async with current().runtime.scope() as scope:
            await scope.spawn(witness.wait)

    async with Runtime() as rt:
        ref = await rt.spawn(scoped)
        await settle()
        await ref.cancel()
        assert witness.log == ["begun", "left"]
        assert ref.status is TaskStatus.CANCELLED


# ------------------------------------------------------------------------------- cancelled from outside


async def test_cancelling_the_body_cancels_the_tasks_and_goes_on_outwards() -> None:
    witness = Witness()
    log: list[str] = []
    async with Runtime() as rt:
        with anyio.CancelScope() as outer:
            async with rt.scope() as scope:
                await scope.spawn(witness.wait)
                await settle()
                outer.cancel()
                await anyio.sleep_forever()
            log.append("not reached")
        assert outer.cancelled_caught
    assert log == []
    assert witness.log == ["begun", "left"]


async def test_a_cancellation_while_the_scope_waits_for_its_tasks_is_raised_and_not_swallowed() -> None:
    witness = Witness()
    log: list[str] = []
    async with Runtime() as rt:
        with anyio.CancelScope() as outer:
            async with anyio.create_task_group() as group:

                async def leave() -> None:
                    async with rt.scope() as scope:
                        await scope.spawn(witness.wait)
                    log.append("not reached")

                group.start_soon(leave)
                await settle()
                outer.cancel()
    assert log == []
    assert witness.log == ["begun", "left"]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_asyncios_own_cancellation_is_not_swallowed_either() -> None:
    import asyncio

    witness = Witness()
    log: list[str] = []
    async with Runtime() as rt:

        async def leave() -> None:
            async with rt.scope() as scope:
                await scope.spawn(witness.wait)
            log.append("not reached")

        leaving = asyncio.ensure_future(leave())
        await settle()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert leaving.cancelled()
    assert log == []
    assert witness.log == ["begun", "left"]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_asyncio_cancelling_again_and_again_leaves_no_task_behind() -> None:
    import asyncio

    release = anyio.Event()
    log: list[str] = []

    async def slow_to_stop() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()
            log.append("left")

    async with Runtime() as rt:

        async def leave() -> None:
            async with rt.scope() as scope:
                await scope.spawn(slow_to_stop)
                await scope.spawn(Noting, log, "actor")

        leaving = asyncio.ensure_future(leave())
        await settle()
        for _ in range(5):
            leaving.cancel()
            await settle()
        assert not leaving.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert log == ["left", "actor shutdown"]


async def test_an_actor_that_hangs_does_not_hold_up_a_cancelled_scope_for_ever() -> None:
    clock = ManualClock()
    log: list[str] = []
    async with Runtime(clock=clock, shutdown_timeout="3s") as rt:
        with anyio.CancelScope() as outer:
            async with anyio.create_task_group() as group:

                async def leave() -> None:
                    async with rt.scope() as scope:
                        actor = await scope.spawn(Noting, log, "actor")
                        actor.tell(Noting.hang)
                        log.append("leaving")

                group.start_soon(leave)
                await settle()
                assert log == ["leaving"]
                outer.cancel()
                with anyio.CancelScope(shield=True):
                    await clock.passes(2.9)
                    assert rt._system.scopes != {rt: None}
                    await clock.passes(0.2)
                    assert rt._system.scopes == {rt: None}
        assert rt._system.kernel.timers == 0


# --------------------------------------------------------------------------------------- supervised actors


async def test_a_supervisor_that_gives_up_ends_the_scope_with_the_error() -> None:
    witness = Witness()
    log: list[str] = []
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope(Supervise(max_restarts=1)) as scope:
                await scope.spawn(witness.wait)
                actor = await scope.spawn(Noting, log, "actor")
                for _ in range(2):
                    actor.tell(Noting.fail)
                await anyio.sleep_forever()
        assert not actor.alive
    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    assert witness.log == ["begun", "left"]


async def test_actors_spawned_after_the_supervisor_has_given_up_do_not_stay() -> None:
    log: list[str] = []
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup):
            async with rt.scope(Supervise(max_restarts=0)) as scope:
                actor = await scope.spawn(Noting, log, "actor")
                actor.tell(Noting.fail)
                with anyio.CancelScope(shield=True):
                    await settle()
                    late = await scope.spawn(Noting, log, "late")
                    await settle()
                    assert not late.alive
                await anyio.sleep_forever()


# ------------------------------------------------------------------------------------- before and after


async def test_a_scope_takes_nothing_before_it_is_entered_nor_after_it_was_left() -> None:
    async with Runtime() as rt:
        scope = rt.scope()
        with pytest.raises(RuntimeClosed, match="not entered"):
            await scope.spawn(anyio.sleep_forever)
        async with scope:
            pass
        for target in (anyio.sleep_forever, Noting):
            with pytest.raises(RuntimeClosed, match="has been left"):
                await scope.spawn(target)  # type: ignore[call-overload]
        with pytest.raises(RuntimeClosed):
            await scope.run(anyio.sleep_forever)


async def test_a_scope_is_entered_once() -> None:
    async with Runtime() as rt:
        scope = rt.scope()
        async with scope:
            with pytest.raises(RuntimeError, match="entered before"):
                await scope.__aenter__()
        with pytest.raises(RuntimeError, match="entered before"):
            await scope.__aenter__()


@pytest.mark.parametrize("supervise", ["one_for_all", 3, Supervise])
async def test_a_scope_is_supervised_by_a_supervise(supervise: Any) -> None:
    async with Runtime() as rt:
        with pytest.raises(TypeError, match="supervise="):
            rt.scope(supervise)

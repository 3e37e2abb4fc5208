"""Failing actors: restarts with the mailbox kept, strategies, intensity, back-off, escalation, and links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

import anyio
import pytest

from actorsched import Actor, ActorRef, Backoff, Mailbox, Runtime, Supervise, current
from actorsched.exceptions import ActorStopped
from tests.manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from actorsched import ExitReason

pytestmark = pytest.mark.deadline(10)

Log = list[str]


class Worker(Actor):
    """Fails when told to; its state shows which life it is in."""

    fatal: ClassVar[tuple[type[BaseException], ...]] = (ZeroDivisionError,)
    fail_starts: ClassVar[list[str]] = []

    def __init__(self, log: Log, name: str = "w") -> None:
        self.log = log
        self.name = name
        self.count = 0
        self.gate = anyio.Event()
        log.append(f"{name} made")

    async def on_start(self) -> None:
        if self.name in self.fail_starts:
            self.fail_starts.remove(self.name)
            raise OSError(f"{self.name} does not start")

    async def on_stop(self, reason: ExitReason) -> None:
        self.log.append(f"{self.name} {reason.kind}")

    async def add(self) -> int:
        self.count += 1
        return self.count

    async def note(self, what: str) -> None:
        self.log.append(f"{self.name} {what}")

    async def fail(self, error: BaseException | None = None) -> None:
        raise error or OSError(f"{self.name} failed")

    async def hold(self) -> None:
        try:
            await self.gate.wait()
        except BaseException:
            self.log.append(f"{self.name} hold is cancelled")
            raise

    async def spawn_child(self, *args: Any, **options: Any) -> Any:
        return await current().spawn(*args, **options)

    async def who(self) -> str:
        return self.name


def instance(ref: ActorRef[Any]) -> Any:
    return ref._cell.instance


def taken(log: Log) -> Log:
    lines = list(log)
    log.clear()
    return lines


def adds_up(rt: Runtime) -> bool:
    office = rt._system.kernel.office
    return office.sent == office.handled + office.rejected + office.dead_lettered


async def team(scope: Any, log: Log, names: str = "abc", **options: Any) -> list[ActorRef[Worker]]:
    made = [await scope.spawn(Worker, log, name, **options) for name in names]
    log.clear()
    return made


# ------------------------------------------------------------------------------------------------- restarts


async def test_a_told_handler_that_fails_restarts_the_actor_with_its_mailbox_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: Log = []
    async with Runtime() as rt:
        worker = await rt.spawn(Worker, log)
        assert await worker.ask.add() == 1
        log.clear()
        for what in ("before", None, "after", "last"):
            if what is None:
                worker.tell(Worker.fail)
            else:
                worker.tell(Worker.note, what)
        assert await worker.ask.add() == 1, "a new life begins with new state"
        assert taken(log) == ["w before", "w failed", "w made", "w after", "w last"]
        assert adds_up(rt)
    assert "failed and is restarted" in caplog.text
    assert "OSError: w failed" in caplog.text


async def test_an_asked_handler_that_fails_fatally_answers_and_restarts_the_actor() -> None:
    log: Log = []
    async with Runtime() as rt:
        worker = await rt.spawn(Worker, log)
        await worker.ask.add()
        with pytest.raises(ZeroDivisionError):
            await worker.ask.fail(ZeroDivisionError())
        assert await worker.ask.add() == 1
        with pytest.raises(OSError):
            await worker.ask.fail()
        assert await worker.ask.add() == 2


async def test_refs_and_names_stay_valid_over_restarts() -> None:
    async with Runtime() as rt:
        worker = await rt.spawn(Worker, [], name="w")
        worker.tell(Worker.fail)
        await worker.ask.add()
        assert rt.lookup("w") == worker
        assert worker.alive


@pytest.mark.parametrize(
    ("restart", "comes_back"), [("permanent", True), ("transient", True), ("temporary", False)]
)
async def test_whether_a_failed_actor_comes_back_is_said_by_its_restart_type(
    restart: Any, comes_back: bool
) -> None:
    async with Runtime() as rt:
        worker = await rt.spawn(Worker, [], restart=restart)
        worker.tell(Worker.fail)
        worker.tell(Worker.add)
        await settle()
        assert worker.alive is comes_back
        if not comes_back:
            reason = await rt.monitor(worker)
            assert reason.kind == "failed"
            assert isinstance(reason.error, OSError)
            with pytest.raises(ActorStopped) as caught:
                await worker.ask.add()
            assert caught.value.__cause__ is reason.error
            assert rt._system.kernel.office.dead_lettered == 2
        assert adds_up(rt)


async def test_a_failure_that_nobody_answers_with_a_restart_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime() as rt:
        worker = await rt.spawn(Worker, [], restart="temporary", name="w")
        worker.tell(Worker.fail)
        await rt.monitor(worker)
    assert "'w'" in caplog.text
    assert "failed and has ended" in caplog.text
    assert "OSError: w failed" in caplog.text


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_what_is_stopped_or_killed_never_comes_back(how: str, restart: Any) -> None:
    async with Runtime() as rt:
        worker = await rt.spawn(Worker, [], restart=restart)
        await getattr(worker, how)()
        await settle()
        assert not worker.alive


async def test_each_life_begins_in_the_context_in_which_the_actor_was_spawned() -> None:
    from contextvars import ContextVar

    var: ContextVar[str] = ContextVar("var", default="none")
    seen: list[str] = []

    class Contextual(Worker):
        async def on_start(self) -> None:
            seen.append(var.get())
            var.set("changed")

    async with Runtime() as rt:
        var.set("spawned")
        worker = await rt.spawn(Contextual, [])
        var.set("later")
        worker.tell(Worker.fail)
        await worker.ask.add()
        assert seen == ["spawned", "spawned"]


async def test_a_restart_whose_constructor_or_start_fails_is_one_more_failure() -> None:
    lives: list[int] = []

    class Odd(Actor):
        def __init__(self) -> None:
            lives.append(len(lives))
            if len(lives) in (2, 4):
                raise OSError(f"life {len(lives)}")

        async def on_start(self) -> None:
            if len(lives) == 3:
                raise OSError("start")

        async def fail(self) -> None:
            raise OSError("told")

        async def ping(self) -> str:
            return "pong"

    async with Runtime() as rt, rt.scope(Supervise(max_restarts=4)) as scope:
        odd = await scope.spawn(Odd)
        odd.tell(Odd.fail)
        assert await odd.ask.ping() == "pong"
        assert len(lives) == 5


async def test_messages_told_while_it_fails_are_kept_also_beyond_a_full_mailbox() -> None:
    log: Log = []
    async with Runtime() as rt:
        worker = await rt.spawn(Worker, log, mailbox=Mailbox(2))
        worker.tell(Worker.hold)
        await settle()
        async with anyio.create_task_group() as group:
            worker.tell(Worker.fail)
            worker.tell(Worker.note, "one")
            for what in ("two", "three"):
                group.start_soon(worker.telling, Worker.note, what)
                await settle()
            instance(worker).gate.set()
        await worker.ask.add()
        assert taken(log) == ["w made", "w failed", "w made", "w one", "w two", "w three"]
        assert adds_up(rt)


# ------------------------------------------------------------------------------------------------ strategies


@pytest.mark.parametrize(
    ("strategy", "lines"),
    [
        ("one_for_one", ["b failed", "b made"]),
        ("one_for_all", ["b failed", "c shutdown", "a shutdown", "a made", "b made", "c made"]),
        ("rest_for_one", ["b failed", "c shutdown", "b made", "c made"]),
    ],
)
@pytest.mark.parametrize("seed", [None, 1])
async def test_who_goes_with_a_failed_actor_is_said_by_the_strategy(
    strategy: Any, lines: Log, seed: int | None
) -> None:
    log: Log = []
    async with Runtime(seed=seed) as rt, rt.scope(Supervise(strategy)) as scope:
        actors = await team(scope, log)
        actors[1].tell(Worker.fail)
        await settle()
        assert taken(log) == lines
        for actor in actors:
            assert await actor.ask.add() == 1


async def test_siblings_that_restart_keep_their_mailboxes() -> None:
    log: Log = []
    async with Runtime() as rt, rt.scope(Supervise("one_for_all")) as scope:
        a, b = await team(scope, log, "ab")
        a.tell(Worker.hold)
        await settle()
        a.tell(Worker.note, "kept")
        b.tell(Worker.fail)
        await settle()
        assert taken(log) == ["b failed"], "a finishes what it does first"
        instance(a).gate.set()
        await settle()
        assert taken(log) == ["a shutdown", "a made", "b made", "a kept"]


async def test_a_sibling_that_does_not_stop_for_a_restart_is_killed_and_comes_back() -> None:
    log: Log = []
    clock = ManualClock()
    async with Runtime(clock=clock) as rt, rt.scope(Supervise("one_for_all")) as scope:
        a, b = await team(scope, log, "ab")
        a.tell(Worker.hold)
        a.tell(Worker.note, "kept")
        await settle()
        b.tell(Worker.fail)
        await clock.passes(4.9)
        assert taken(log) == ["b failed"]
        await clock.passes(0.1)
        assert taken(log) == ["a hold is cancelled", "a made", "b made", "a kept"]
        assert rt._system.kernel.timers == 0


async def test_a_sibling_that_is_killed_while_it_restarts_holds_up_nobody() -> None:
    log: Log = []
    async with Runtime() as rt, rt.scope(Supervise("one_for_all")) as scope:
        a, b, c = await team(scope, log)
        a.tell(Worker.hold)
        await settle()
        c.tell(Worker.fail)
        await settle()
        await a.kill()
        await settle()
        assert taken(log) == ["c failed", "b shutdown", "a hold is cancelled", "b made", "c made"]
        assert await b.ask.add() == 1
        assert await c.ask.add() == 1


async def test_an_actor_that_restarts_with_a_sibling_while_it_is_spawned_is_spawned_when_it_is_up() -> None:
    class Second(Actor):
        lives: ClassVar[int] = 0

        async def on_start(self) -> None:
            Second.lives += 1
            if Second.lives == 1:
                with pytest.raises(ZeroDivisionError):
                    await first.ask.fail(ZeroDivisionError())
                await settle()  # by now it was told to stop

        async def life(self) -> int:
            return Second.lives

    async with Runtime() as rt, rt.scope(Supervise("one_for_all")) as scope:
        first = await scope.spawn(Worker, [])
        second = await scope.spawn(Second)
        assert second.alive
        assert await second.ask.life() == 2


async def test_a_sibling_that_is_stopped_by_somebody_does_not_come_back_with_the_others() -> None:
    log: Log = []
    async with Runtime() as rt, rt.scope(Supervise("one_for_all")) as scope:
        a, b = await team(scope, log, "ab")
        a.tell(Worker.hold)
        await settle()
        async with anyio.create_task_group() as group:
            group.start_soon(a.stop)
            await settle()
            b.tell(Worker.fail)
            await settle()
            instance(a).gate.set()
        await settle()
        assert not a.alive
        assert taken(log) == ["b failed", "a stopped", "b made"]
        assert await b.ask.add() == 1


async def test_a_start_that_hangs_may_be_killed_and_the_rest_comes_up() -> None:
    log: Log = []

    class Hanging(Worker):
        async def on_start(self) -> None:
            if len([line for line in log if line == "a made"]) > 1:
                await anyio.sleep_forever()

    async with Runtime() as rt, rt.scope(Supervise("one_for_all")) as scope:
        a = await scope.spawn(Hanging, log, "a")
        b = await scope.spawn(Worker, log, "b")
        b.tell(Worker.fail)
        await settle()
        assert log[-1] == "a made"
        await a.kill()
        assert await b.ask.add() == 1


async def test_stopping_an_actor_that_fails_meanwhile_ends_it_for_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime() as rt:
        worker = await rt.spawn(Worker, [], name="w")
        worker.tell(Worker.hold)
        await settle()
        worker.tell(Worker.fail)
        worker.tell(Worker.add)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.stop)
            await settle()
            instance(worker).gate.set()
        assert (await rt.monitor(worker)).kind == "failed"
        assert not worker.alive
        assert adds_up(rt)
    assert "failed and has ended" in caplog.text


# --------------------------------------------------------------------------------------- intensity, back-off


async def test_failures_within_the_period_are_counted_and_forgiven_after_it() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt, rt.scope(Supervise(max_restarts=2, period="10s")) as scope:
        worker = await scope.spawn(Worker, [])
        for _ in range(3):
            for _ in range(2):
                worker.tell(Worker.fail)
                await worker.ask.add()
            await clock.passes(10.1)
        assert worker.alive


async def test_a_restart_waits_for_its_back_off_and_the_mailbox_is_kept_meanwhile() -> None:
    log: Log = []
    clock = ManualClock()
    supervise = Supervise(max_restarts=9, backoff=Backoff("1s", factor=2))
    async with Runtime(clock=clock) as rt, rt.scope(supervise) as scope:
        (worker,) = await team(scope, log, "w")
        for wait in (1, 2, 4):
            worker.tell(Worker.fail)
            worker.tell(Worker.note, "kept")
            await clock.passes(wait - 0.1)
            assert taken(log) == ["w failed"]
            assert repr(worker).endswith("down>")
            await clock.passes(0.1)
            assert taken(log) == ["w made", "w kept"]


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_an_actor_may_be_ended_in_its_back_off(how: str) -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt, rt.scope(Supervise(backoff="5s")) as scope:
        worker = await scope.spawn(Worker, [])
        worker.tell(Worker.fail)
        worker.tell(Worker.add)
        await settle()
        assert repr(worker).endswith("down>")
        await getattr(worker, how)()
        assert (await rt.monitor(worker)).kind == {"stop": "stopped", "kill": "killed"}[how]
        assert rt._system.kernel.timers == 0
        assert adds_up(rt)


async def test_leaving_the_scope_in_a_back_off_does_not_wait_for_it() -> None:
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        async with rt.scope(Supervise(backoff="5s")) as scope:
            worker = await scope.spawn(Worker, [])
            worker.tell(Worker.fail)
            await settle()
        assert not worker.alive
        assert rt._system.kernel.timers == 0


# ------------------------------------------------------------------------------------------------ escalation


async def test_too_many_failures_end_the_runtime_with_the_last_error() -> None:
    log: Log = []
    with pytest.raises(OSError, match="w failed") as caught:
        async with Runtime() as rt:
            await rt.spawn(Worker, log, "sibling")
            worker = await rt.spawn(Worker, log)
            for _ in range(4):
                worker.tell(Worker.fail)
            await anyio.sleep_forever()
    assert "its supervisor gave up after 3 restarts" in caught.value.__notes__[0]
    assert log[-1] == "sibling shutdown"


async def test_an_escalation_while_the_runtime_is_left_ends_it_with_that_error_too() -> None:
    with pytest.raises(OSError, match="w failed"):
        async with Runtime() as rt:
            worker = await rt.spawn(Worker, [])
            await rt.spawn(_fails_it, worker)


async def _fails_it(worker: ActorRef[Worker]) -> None:
    for _ in range(4):
        worker.tell(Worker.fail)
    await anyio.sleep_forever()


async def test_too_many_failures_in_a_scope_leave_it_as_a_group() -> None:
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope(Supervise(max_restarts=0)) as scope:
                worker = await scope.spawn(Worker, [])
                worker.tell(Worker.fail)
                await anyio.sleep_forever()
        assert [type(error) for error in caught.value.exceptions] == [OSError]
        assert await (await rt.spawn(Worker, [])).ask.add() == 1


async def test_too_many_failures_of_children_fail_their_parent_which_restarts() -> None:
    log: Log = []
    async with Runtime() as rt:
        parent = await rt.spawn(Worker, log, "p")
        child = await parent.ask.spawn_child(Worker, log, "c")
        parent.tell(Worker.hold)
        await settle()
        log.clear()
        for _ in range(4):
            child.tell(Worker.fail)
        await settle()
        assert taken(log) == [
            *["c failed", "c made"] * 3,
            "c failed",
            "p hold is cancelled",
            "p failed",
            "p made",
        ]
        assert not child.alive
        assert await parent.ask.add() == 1


async def test_the_failure_of_a_parent_stops_its_children_first() -> None:
    log: Log = []
    async with Runtime() as rt:
        parent = await rt.spawn(Worker, log, "p")
        children = [await parent.ask.spawn_child(Worker, log, name) for name in "ab"]
        log.clear()
        parent.tell(Worker.fail)
        await settle()
        assert taken(log) == ["b shutdown", "a shutdown", "p failed", "p made"]
        assert not any(child.alive for child in children)


async def test_children_that_do_not_stop_when_their_parent_fails_are_killed() -> None:
    log: Log = []
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        parent = await rt.spawn(Worker, log, "p")
        child = await parent.ask.spawn_child(Worker, log, "c")
        child.tell(Worker.hold)
        await settle()
        log.clear()
        parent.tell(Worker.fail)
        await clock.passes(5)
        assert taken(log) == ["c hold is cancelled", "p failed", "p made"]


async def test_an_escalation_kills_whoever_does_not_stop() -> None:
    log: Log = []
    clock = ManualClock()

    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with rt.scope(Supervise(max_restarts=0)) as scope:
                a, b = await team(scope, log, "ab")
                a.tell(Worker.hold)
                await settle()
                b.tell(Worker.fail)
                await anyio.sleep_forever()

    async with Runtime(clock=clock) as rt, anyio.create_task_group() as group:
        group.start_soon(main)
        await settle(100)
        await clock.passes(5)
    assert taken(log) == ["b failed", "a hold is cancelled"]


# ----------------------------------------------------------------------------------------------------- links


async def test_linked_actors_fail_together_and_restart_each_by_its_own_rule() -> None:
    log: Log = []
    async with Runtime() as rt, rt.scope(Supervise(max_restarts=9)) as scope:
        a, b, c = await team(scope, log)
        a.link(b)
        b.tell(Worker.hold)
        await settle()
        a.tell(Worker.fail)
        await settle()
        assert sorted(taken(log)) == ["a failed", "a made", "b failed", "b hold is cancelled", "b made"]
        b.tell(Worker.fail)
        await settle()
        assert sorted(taken(log)) == ["a failed", "a made", "b failed", "b made"]
        assert await c.ask.add() == 1


async def test_a_failure_goes_along_links_once_whatever_their_shape() -> None:
    log: Log = []
    async with Runtime() as rt, rt.scope(Supervise(max_restarts=9)) as scope:
        a, b, c, d = await team(scope, log, "abcd")
        for one, other in [(a, b), (b, c), (c, a), (c, d), (d, a)]:
            one.link(other)
        a.tell(Worker.fail)
        await settle()
        assert sorted(line for line in taken(log) if line.endswith("made")) == [
            f"{name} made" for name in "abcd"
        ]


async def test_a_linked_actor_is_told_with_whom_it_failed() -> None:
    async with Runtime() as rt:
        a = await rt.spawn(Worker, [], "a", name="a", restart="temporary")
        b = await rt.spawn(Worker, [], "b", name="b", restart="temporary")
        a.link(b)
        a.tell(Worker.fail)
        reason = await rt.monitor(b)
        assert reason.kind == "failed"
        assert str(reason.error) == "actor 'b' failed with 'a', to which it is linked"
        assert isinstance(cast("BaseException", reason.error).__cause__, OSError)


async def test_a_link_can_be_undone() -> None:
    log: Log = []
    async with Runtime() as rt:
        a, b = await team(rt, log, "ab")
        a.link(b)
        b.unlink(a)
        a.tell(Worker.fail)
        await settle()
        assert taken(log) == ["a failed", "a made"]


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_an_orderly_end_leaves_linked_actors_alone(how: str) -> None:
    log: Log = []
    async with Runtime() as rt:
        a, b = await team(rt, log, "ab")
        a.link(b)
        await getattr(a, how)()
        assert await b.ask.add() == 1
        assert not b._cell.more().links


async def test_an_actor_that_has_ended_cannot_be_linked() -> None:
    async with Runtime() as rt:
        a, b = await team(rt, [], "ab")
        await a.stop()
        with pytest.raises(ActorStopped, match="were not linked"):
            a.link(b)
        with pytest.raises(ActorStopped, match="were not linked"):
            b.link(a)


# ---------------------------------------------------------------------------------------------------- storms


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("seed", range(4))
async def test_after_a_storm_of_failures_everybody_is_up_and_every_message_accounted_for(
    strategy: Any, seed: int
) -> None:
    from random import Random

    random = Random(seed)
    clock = ManualClock()
    async with Runtime(clock=clock, seed=seed) as rt:
        supervise = Supervise(
            strategy, max_restarts=100_000, backoff=random.choice([Backoff(0), Backoff(0.5, factor=1)])
        )
        async with rt.scope(supervise) as scope:
            log: Log = []
            actors = await team(scope, log, "abcdef", mailbox=Mailbox(None))
            for _ in range(60):
                Worker.fail_starts[:] = random.sample("abcdef", random.randrange(3))
                for actor in random.sample(actors, random.randrange(4)):
                    actor.tell(Worker.fail)
                    actor.tell(Worker.add)
                await settle(random.randrange(4))
                clock.advance(random.choice([0, 0.2, 3]))
            Worker.fail_starts.clear()
            while any(actor.queued or not repr(actor).endswith("running>") for actor in actors):
                await clock.passes(1)
            for actor in actors:
                await actor.ask.add()
        assert adds_up(rt)
        assert rt._system.kernel.timers == 0

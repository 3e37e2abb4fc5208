"""How actors start and end: hooks, stop and kill, names, monitors, children, cancellations meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from actorsched import Actor, ActorRef, Runtime, current
from actorsched.exceptions import ActorStopped, AskCycle, RuntimeClosed, TaskCancelled
from tests.manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorsched import ExitReason

pytestmark = pytest.mark.deadline(10)


class Log:
    """What happened, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


class Hooked(Actor):
    """Writes down its life."""

    def __init__(self, log: Log, name: str = "") -> None:
        self.log = log
        self.name = name
        self.gate = anyio.Event()
        log(f"{name}made")

    async def on_start(self) -> None:
        self.log(f"{self.name}starts")
        await anyio.lowlevel.checkpoint()
        self.log(f"{self.name}started")

    async def on_stop(self, reason: ExitReason) -> None:
        await anyio.lowlevel.checkpoint()
        self.log(f"{self.name}stopped: {reason}")

    async def note(self, what: str) -> None:
        self.log(f"{self.name}{what}")

    async def fail(self) -> None:
        raise OSError("told to")

    async def hold(self) -> None:
        try:
            await self.gate.wait()
        except BaseException:
            self.log(f"{self.name}hold is cancelled")
            raise

    async def stop_itself(self) -> str:
        await current().ref.stop()
        return "asked to stop"

    async def kill_itself(self) -> str:
        await current().ref.kill()
        await anyio.lowlevel.checkpoint()
        return "never said"

    async def spawn_child(self, *args: Any) -> Any:
        return await current().spawn(*args)


def instance(ref: ActorRef[Any]) -> Any:
    return ref._cell.instance


def adds_up(rt: Runtime) -> bool:
    office = rt._system.kernel.office
    return office.sent == office.handled + office.rejected + office.dead_lettered


# ------------------------------------------------------------------------------------------------- starting


@pytest.mark.parametrize("seed", [None, 1])
async def test_spawn_returns_when_on_start_has_finished(seed: int | None) -> None:
    log = Log()
    async with Runtime(seed=seed) as rt:
        await rt.spawn(Hooked, log)
        assert log.take() == ["made", "starts", "started"]
    assert log.take() == ["stopped: shutdown"]


@pytest.mark.parametrize("seed", [None, 1])
async def test_what_on_start_raises_leaves_spawn_and_nothing_of_the_actor_is_left(
    seed: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Hooked):
        async def on_start(self) -> None:
            await super().on_start()
            raise OSError("no disk")

    log = Log()
    async with Runtime(seed=seed) as rt:
        with pytest.raises(OSError, match="no disk"):
            await rt.spawn(Failing, log, name="f")
        with pytest.raises(LookupError):
            rt.lookup("f")
        await rt.spawn(Hooked, Log(), name="f")
        assert log.take() == ["made", "starts", "started"], "what has not started is not stopped"
    assert not caplog.records, "spawn has raised it"


async def test_what_the_constructor_raises_leaves_spawn() -> None:
    class Failing(Actor):
        def __init__(self) -> None:
            raise OSError("no disk")

    async with Runtime() as rt:
        with pytest.raises(OSError, match="no disk"):
            await rt.spawn(Failing, name="f")
        with pytest.raises(TypeError):
            await cast("Any", rt).spawn(Failing, 1)
        with pytest.raises(LookupError):
            rt.lookup("f")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"name": 5}, "name=5 is of type int"),
        ({"name": " "}, "name=' ' is empty"),
        ({"restart": "always"}, "restart='always' is not a choice; choose from 'permanent', 'transient'"),
        ({"mailbox": 5}, "mailbox=5 is of type int; give a Mailbox"),
        ({"host": "thread"}, "host='thread' is not a choice; choose from 'loop', 'process'"),
        ({"kwargs": [1]}, r"kwargs=\[1\] is of type list"),
        ({"nmae": "a"}, "unknown option 'nmae'; did you mean 'name'"),
        ({"priority": 3}, "unknown option 'priority'"),
    ],
)
async def test_wrong_options_of_a_spawn_are_refused_at_the_call(choice: dict[str, Any], message: str) -> None:
    log = Log()
    async with Runtime() as rt:
        with pytest.raises((TypeError, ValueError), match=message):
            await rt.spawn(Hooked, log, **choice)
        assert not log.take(), "nothing was made"


async def test_messages_that_come_while_it_starts_wait_until_it_has_started() -> None:
    class Slow(Hooked):
        async def on_start(self) -> None:
            self.log("starts")
            await self.gate.wait()
            self.log("started")

    log = Log()
    async with Runtime() as rt, anyio.create_task_group() as group:
        group.start_soon(lambda: rt.spawn(Slow, log, name="slow"))
        await settle()
        slow = rt.lookup("slow")
        slow.tell(Slow.note, "told")
        await settle()
        instance(slow).gate.set()
        await slow.ask.note("asked")
        assert log.take() == ["made", "starts", "started", "told", "asked"]


@pytest.mark.parametrize("seed", [None, 1])
async def test_cancelling_a_spawn_kills_the_actor_and_waits_for_its_end(seed: int | None) -> None:
    class Slow(Hooked):
        async def on_start(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
                self.log("cancelled")

    log = Log()
    async with Runtime(seed=seed) as rt:
        with anyio.move_on_after(0.001) as scope:
            await rt.spawn(Slow, log, name="slow")
        assert scope.cancelled_caught
        assert log.take() == ["made", "cancelled"]
        with pytest.raises(LookupError):
            rt.lookup("slow")


@pytest.mark.parametrize("seed", [None, 1])
async def test_an_on_start_that_swallows_the_cancellation_of_its_spawn_is_killed_all_the_same(
    seed: int | None,
) -> None:
    class Stubborn(Hooked):
        async def on_start(self) -> None:
            try:
                await anyio.sleep_forever()
            except BaseException:
                self.log("swallowed")

    log = Log()
    async with Runtime(seed=seed) as rt:
        with anyio.move_on_after(0.001) as scope:
            await rt.spawn(Stubborn, log, name="stubborn")
        assert scope.cancelled_caught
        assert log.take() == ["made", "swallowed"]
        with pytest.raises(LookupError):
            rt.lookup("stubborn")


@pytest.mark.parametrize("seed", [None, 1])
async def test_a_spawn_may_be_cancelled_at_every_step_and_nothing_is_left(seed: int | None) -> None:
    class Steps(Hooked):
        async def on_start(self) -> None:
            self.log("starts")
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            await current().spawn(Hooked, self.log, "child ")
            for _ in range(3):
                await anyio.lowlevel.checkpoint()

        async def on_stop(self, reason: ExitReason) -> None:
            self.log("stopped")

    async with Runtime(seed=seed) as rt:
        steps, done = 0, False

        async def spawn() -> None:
            nonlocal done
            await rt.spawn(Steps, Log(), name="s")
            done = True

        while not done:
            async with anyio.create_task_group() as group:
                group.start_soon(spawn)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            assert done or "s" not in rt._system.names, steps
            supervisor = rt._supervisor
            assert done or supervisor is None or len(supervisor.children) == 0
            steps += 1
        assert 3 < steps < 60
        assert len(rt._system.names) == 1


@pytest.mark.parametrize("seed", [None, 1])
async def test_a_stray_cancellation_in_on_start_is_no_cancellation_of_the_spawner(seed: int | None) -> None:
    class Stray(Actor):
        async def on_start(self) -> None:
            raise await stray_cancellation()

    async with Runtime(seed=seed) as rt:
        with pytest.raises(TaskCancelled, match="on_start of actor .* nobody asked for"):
            await rt.spawn(Stray)


async def stray_cancellation() -> BaseException:
    """A cancellation that got away from its scope."""
    stray: BaseException | None = None
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class() as error:
            stray = error
    assert stray is not None
    return stray


async def test_children_of_a_start_that_fails_are_stopped() -> None:
    class Parent(Hooked):
        async def on_start(self) -> None:
            await current().spawn(Hooked, self.log, "child ")
            raise OSError("parent")

    log = Log()
    async with Runtime() as rt:
        with pytest.raises(OSError, match="parent"):
            await rt.spawn(Parent, log)
        await settle()
        assert log.take() == [
            "made",
            "child made",
            "child starts",
            "child started",
            "child stopped: shutdown",
        ]


# ------------------------------------------------------------------------------------------------ stop, kill


async def test_stop_works_off_the_messages_before_it_and_takes_no_more() -> None:
    log = Log()
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, log)
        actor.tell(Hooked.hold)
        await settle()
        log.take()
        actor.tell(Hooked.note, "first")
        actor.tell(Hooked.note, "second")
        async with anyio.create_task_group() as group:
            group.start_soon(actor.stop)
            await settle()
            actor.tell(Hooked.note, "too late")
            instance(actor).gate.set()
        assert log.take() == ["first", "second", "stopped: stopped"]
        assert not actor.alive
        assert rt._system.kernel.office.dead_lettered == 1
        assert adds_up(rt)


async def test_stop_lets_the_handler_that_runs_finish() -> None:
    log = Log()
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, log)
        actor.tell(Hooked.hold)
        await settle()
        log.take()
        async with anyio.create_task_group() as group:
            group.start_soon(actor.stop)
            await settle()
            assert log.take() == []
            instance(actor).gate.set()
        assert log.take() == ["stopped: stopped"]


async def test_stop_waits_for_whoever_waits_for_room() -> None:
    from actorsched import Mailbox

    log = Log()
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, log, mailbox=Mailbox(1))
        actor.tell(Hooked.hold)
        await settle()
        actor.tell(Hooked.note, "queued")
        log.take()
        async with anyio.create_task_group() as group:
            group.start_soon(actor.telling, Hooked.note, "waiting")
            await settle()
            group.start_soon(actor.stop)
            await settle()
            instance(actor).gate.set()
        assert log.take() == ["queued", "waiting", "stopped: stopped"]


async def test_kill_cancels_the_handler_and_skips_mailbox_and_on_stop() -> None:
    log = Log()
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, log)
        actor.tell(Hooked.hold)
        actor.tell(Hooked.note, "never")
        await settle()
        log.take()
        await actor.kill()
        assert log.take() == ["hold is cancelled"]
        assert rt._system.kernel.office.dead_lettered == 1
        assert adds_up(rt)


async def test_whoever_asks_a_killed_actor_hears_of_it() -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, Log(), name="a")

        async def ask() -> None:
            with pytest.raises(ActorStopped, match=r"hold was interrupted: actor 'a' has ended \(killed\)"):
                await actor.ask.hold()

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await settle()
            await actor.kill()
        assert adds_up(rt)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_ending_what_has_ended_returns_at_once(how: str) -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, Log())
        for _ in range(3):
            await getattr(actor, how)()
        assert not actor.alive


async def test_stop_from_inside_asks_and_returns_at_once() -> None:
    log = Log()
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, log)
        assert await actor.ask.stop_itself() == "asked to stop"
        await rt.monitor(actor)
        assert log.take()[-1] == "stopped: stopped"


async def test_kill_from_inside_cancels_at_the_next_await() -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, Log())
        with pytest.raises(ActorStopped):
            await actor.ask.kill_itself()
        assert not actor.alive


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_child_that_ends_its_parent_asks_and_returns_at_once(how: str) -> None:
    class Child(Actor):
        async def end(self, parent: ActorRef[Any]) -> None:
            await getattr(parent, how)()

    async with Runtime() as rt:
        parent = await rt.spawn(Hooked, Log())
        child = await parent.ask.spawn_child(Child)
        child.tell(Child.end, parent)
        await rt.monitor(parent)
        assert not child.alive


async def test_a_kill_ends_a_stop_that_takes_too_long() -> None:
    log = Log()
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, log)
        actor.tell(Hooked.hold)
        await settle()
        async with anyio.create_task_group() as group:
            group.start_soon(actor.stop)
            await settle()
            await actor.kill()
        assert (await rt.monitor(actor)).kind == "killed"
        assert log.take()[-1] == "hold is cancelled"


async def test_a_kill_ends_an_on_stop_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Hooked):
        async def on_stop(self, reason: ExitReason) -> None:
            self.log("stops")
            await anyio.sleep_forever()

    log = Log()
    async with Runtime() as rt:
        actor = await rt.spawn(Slow, log)
        async with anyio.create_task_group() as group:
            group.start_soon(actor.stop)
            await settle()
            assert log.take()[-1] == "stops"
            await actor.kill()
        assert not actor.alive
    assert not caplog.records


async def test_an_error_of_on_stop_is_logged_and_the_actor_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(Hooked):
        async def on_stop(self, reason: ExitReason) -> None:
            raise OSError("no disk")

    async with Runtime() as rt:
        actor = await rt.spawn(Failing, Log(), name="f")
        await actor.stop()
        assert (await rt.monitor(actor)).kind == "stopped"
    assert "on_stop of actor 'f' failed" in caplog.text
    assert "OSError: no disk" in caplog.text


async def test_a_stop_while_it_starts_comes_after_the_start_and_the_messages_before_it() -> None:
    class Slow(Hooked):
        async def on_start(self) -> None:
            await self.gate.wait()
            self.log("started")

    log = Log()
    async with Runtime() as rt, anyio.create_task_group() as group:
        group.start_soon(lambda: rt.spawn(Slow, log, name="slow"))
        await settle()
        slow = rt.lookup("slow")
        slow.tell(Slow.note, "told")
        group.start_soon(slow.stop)
        await settle()
        instance(slow).gate.set()
        assert (await rt.monitor(slow)).kind == "stopped"
        assert log.take() == ["made", "started", "told", "stopped: stopped"]


@pytest.mark.parametrize("seed", [None, 1])
async def test_a_kill_while_it_starts_leaves_spawn_as_an_error(seed: int | None) -> None:
    class Slow(Hooked):
        async def on_start(self) -> None:
            await anyio.sleep_forever()

    async with Runtime(seed=seed) as rt:

        async def spawn() -> None:
            with pytest.raises(ActorStopped, match="it was not started: actor 'slow' has ended"):
                await rt.spawn(Slow, Log(), name="slow")

        async with anyio.create_task_group() as group:
            group.start_soon(spawn)
            await settle()
            await rt.lookup("slow").kill()


async def test_two_actors_that_wait_for_each_others_end_do_not_hang() -> None:
    class Stopper(Hooked):
        async def stop_other(self, other: ActorRef[Any]) -> str:
            try:
                await other.stop()
            except AskCycle as error:
                return "refused: " + " -> ".join(error.path)
            return "stopped"

        async def have_me_stopped(self, other: ActorRef[Any]) -> object:
            return await other.ask.stop_other(current().ref)

    async with Runtime() as rt:
        one, other = await rt.spawn(Stopper, Log(), name="one"), await rt.spawn(Stopper, Log(), name="other")
        assert await one.ask.have_me_stopped(other) == "refused: other -> one -> other"
        await rt.monitor(one)
        assert other.alive


async def test_cancelling_a_stop_leaves_the_actor_stopping() -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, Log())
        actor.tell(Hooked.hold)
        await settle()
        with anyio.move_on_after(0):
            await actor.stop()
        assert actor.alive
        assert not actor._cell.more().watchers
        instance(actor).gate.set()
        await rt.monitor(actor)


# -------------------------------------------------------------------------------------- names, monitors, refs


async def test_an_actor_is_found_by_its_name_until_it_has_ended() -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, Log(), name="a")
        assert rt.lookup("a") == actor
        assert rt.lookup("a") is not actor
        assert len({rt.lookup("a"), actor}) == 1
        await actor.stop()
        with pytest.raises(LookupError, match="no actor is named 'a' now; there are: none"):
            rt.lookup("a")


async def test_a_name_is_taken_once_and_free_again_after_the_end() -> None:
    async with Runtime() as rt:
        first = await rt.spawn(Hooked, Log(), name="a")
        with pytest.raises(ValueError, match="name='a' is taken by <actor 'a' running.*; choose another"):
            await rt.spawn(Hooked, Log(), name="a")
        await first.kill()
        second = await rt.spawn(Hooked, Log(), name="a")
        assert second != first
        assert second.alive
        assert not first.alive


async def test_a_ref_shows_what_it_refers_to() -> None:
    async with Runtime() as rt:
        actor, other = await rt.spawn(Hooked, Log(), name="a"), await rt.spawn(Hooked, Log())
        assert repr(actor) == "<ActorRef 'a' running>"
        assert actor.name == "a"
        assert other.name.startswith("Hooked-")
        assert actor != other
        assert actor != "a"
        assert repr(actor.ask) == "<asking 'a'>"


@pytest.mark.parametrize(("how", "kind"), [("stop", "stopped"), ("kill", "killed")])
async def test_monitor_tells_how_it_ended_before_and_after_the_end(how: str, kind: str) -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, Log())
        reasons: list[str] = []

        async def watch() -> None:
            reasons.append((await rt.monitor(actor)).kind)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            group.start_soon(watch)
            await settle()
            assert reasons == []
            await getattr(actor, how)()
        assert reasons == [kind, kind]
        assert (await rt.monitor(actor)).kind == kind


async def test_monitor_may_be_cancelled() -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, Log())
        with anyio.move_on_after(0):
            await rt.monitor(actor)
        assert not actor._cell.more().watchers


async def test_monitor_refuses_what_is_no_ref() -> None:
    async with Runtime() as rt:
        with pytest.raises(TypeError, match="'counter' is no ActorRef"):
            await rt.monitor(cast("Any", "counter"))


# ------------------------------------------------------------------------------------------------- children


async def test_children_are_stopped_with_their_parent_the_last_first_before_its_on_stop() -> None:
    log = Log()
    async with Runtime() as rt:
        parent = await rt.spawn(Hooked, log, "p ")
        for name in ("a ", "b "):
            await parent.ask.spawn_child(Hooked, log, name)
        log.take()
        await parent.stop()
        assert log.take() == ["b stopped: shutdown", "a stopped: shutdown", "p stopped: stopped"]


async def test_children_work_off_their_messages_when_their_parent_stops_in_order() -> None:
    log = Log()
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        parent = await rt.spawn(Hooked, log, "p ")
        child = await parent.ask.spawn_child(Hooked, log, "c ")
        child.tell(Hooked.hold)
        child.tell(Hooked.note, "note")
        await settle()
        log.take()
        async with anyio.create_task_group() as group:
            group.start_soon(parent.stop)
            await clock.passes(20)
            instance(child).gate.set()
        assert log.take() == ["c note", "c stopped: shutdown", "p stopped: stopped"]


async def test_grandchildren_of_a_killed_actor_are_killed() -> None:
    log = Log()
    async with Runtime() as rt:
        parent = await rt.spawn(Hooked, log, "p ")
        child = await parent.ask.spawn_child(Hooked, log, "c ")
        grandchild = await child.ask.spawn_child(Hooked, log, "g ")
        grandchild.tell(Hooked.hold)
        await settle()
        log.take()
        await parent.kill()
        assert log.take() == ["g hold is cancelled"]
        assert not grandchild.alive


async def test_a_stopped_child_leaves_its_parent_alone() -> None:
    async with Runtime() as rt:
        parent = await rt.spawn(Hooked, Log())
        child = await parent.ask.spawn_child(Hooked, Log())
        await child.stop()
        await parent.ask.note("still here")


async def test_an_actor_that_is_ending_has_no_more_children() -> None:
    class Late(Hooked):
        async def on_stop(self, reason: ExitReason) -> None:
            try:
                await current().spawn(Hooked, self.log, "child ")
            except ActorStopped as error:
                self.log(str(error).split(":", maxsplit=1)[0])

    log = Log()
    async with Runtime() as rt:
        late = await rt.spawn(Late, log)
        log.take()
        await late.stop()
        assert log.take() == ["no child of class Hooked was started"]


async def test_a_child_that_starts_while_its_parent_ends_is_stopped_too() -> None:
    class SlowChild(Hooked):
        async def on_start(self) -> None:
            await current().runtime.sleep(1)
            self.log("child started")

    class Parent(Hooked):
        async def spawn_slowly(self) -> object:
            try:
                return await current().spawn(SlowChild, self.log, "c ")
            except ActorStopped:
                return "not started"

    log = Log()
    clock = ManualClock()
    async with Runtime(clock=clock) as rt:
        parent = await rt.spawn(Parent, log, "p ")
        async with anyio.create_task_group() as group:
            group.start_soon(parent.ask.spawn_slowly)
            await settle()
            group.start_soon(parent.stop)
            await clock.passes(1)
        assert log.take()[-2:] == ["c stopped: shutdown", "p stopped: stopped"]


@pytest.mark.parametrize("what", [len, "Hooked", Log, Runtime])
async def test_only_actors_can_be_children(what: Any) -> None:
    async with Runtime() as rt:
        parent = await rt.spawn(Hooked, Log())
        with pytest.raises(TypeError, match="is no class of actors, so it cannot be a child"):
            await parent.ask.spawn_child(what)


# ---------------------------------------------------------------------------------------- leaving the runtime


async def test_leaving_the_runtime_works_off_mailboxes_and_stops_the_last_started_first() -> None:
    log = Log()
    async with Runtime() as rt:
        actors = [await rt.spawn(Hooked, log, f"{name} ") for name in "abc"]
        log.take()
        for actor in actors:
            actor.tell(Hooked.note, "note")
    lines = log.take()
    assert [line for line in lines if line.endswith("note")] == ["a note", "b note", "c note"]
    assert lines[-1] == "a stopped: shutdown"
    assert [line[0] for line in lines if line.endswith("shutdown")] == ["c", "b", "a"]


async def test_an_error_of_the_body_stops_the_actors_and_leaves_as_itself() -> None:
    log = Log()
    with pytest.raises(OSError, match="body"):
        async with Runtime() as rt:
            await rt.spawn(Hooked, log)
            raise OSError("body")
    assert log.take()[-1] == "stopped: shutdown"


async def test_after_the_shutdown_deadline_actors_are_killed() -> None:
    log = Log()
    clock = ManualClock()

    async def main() -> None:
        async with Runtime(clock=clock, shutdown_timeout="3s") as rt:
            actor = await rt.spawn(Hooked, log)
            actor.tell(Hooked.hold)
            await settle()

    async with anyio.create_task_group() as group:
        group.start_soon(main)
        await settle(100)
        await clock.passes(2.9)
        assert log.take() == ["made", "starts", "started"]
        await clock.passes(0.2)
    assert log.take() == ["hold is cancelled"]


@pytest.mark.parametrize("seed", [None, 1])
async def test_cancelling_the_body_stops_the_actors_and_is_not_lost(seed: int | None) -> None:
    log = Log()

    async def main() -> None:
        async with Runtime(seed=seed) as rt:
            await rt.spawn(Hooked, log)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(main)
        await settle()
        group.cancel_scope.cancel()
    assert log.take()[-1] == "stopped: shutdown"


async def test_after_the_end_nothing_can_be_spawned_or_reached() -> None:
    async with Runtime() as rt:
        actor = await rt.spawn(Hooked, Log())
    with pytest.raises(RuntimeClosed):
        await rt.spawn(Hooked, Log())
    with pytest.raises(ActorStopped):
        await actor.ask.note("x")
    actor.tell(Hooked.note, "x")
    await actor.stop()
    assert adds_up(rt)


async def test_scopes_stop_their_actors_when_they_are_left() -> None:
    log = Log()
    async with Runtime() as rt:
        await rt.spawn(Hooked, log, "outer ")
        async with rt.scope() as scope:
            inner = await scope.spawn(Hooked, log, "inner ")
            log.take()
        assert log.take() == ["inner stopped: shutdown"]
        assert not inner.alive
        with pytest.raises(RuntimeClosed):
            await scope.spawn(Hooked, log)


async def test_a_scope_whose_actors_are_being_stopped_takes_no_more_of_them() -> None:
    class Late(Hooked):
        scope: Any = None

        async def on_stop(self, reason: ExitReason) -> None:
            try:
                await self.scope.spawn(Hooked, Log(), name="late")
            except ActorStopped:
                self.log("refused")

    log = Log()
    async with Runtime() as rt:
        async with rt.scope() as scope:
            late = await scope.spawn(Late, log)
            instance(late).scope = scope
            log.take()
        assert log.take() == ["refused"]
        with pytest.raises(LookupError):
            rt.lookup("late")


# ---------------------------------------------------------------------------------- cancelled at every step


@pytest.mark.parametrize("what", ["stop", "kill", "telling"])
@pytest.mark.parametrize("seed", [None, 2])
async def test_every_wait_may_be_cancelled_at_every_step_and_everybody_is_answered(
    what: str, seed: int | None
) -> None:
    async with Runtime(seed=seed) as rt:
        steps, done = 0, False
        calls: dict[str, Callable[[ActorRef[Hooked]], Awaitable[object]]] = {
            "stop": lambda actor: actor.stop(),
            "kill": lambda actor: actor.kill(),
            "telling": lambda actor: actor.telling(Hooked.note, "x"),
        }

        async def one(actor: ActorRef[Hooked]) -> None:
            nonlocal done
            await calls[what](actor)
            done = True

        while not done:
            actor = await rt.spawn(Hooked, Log())
            actor.tell(Hooked.note, "before")
            async with anyio.create_task_group() as group:
                group.start_soon(one, actor)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            await actor.stop()
            assert adds_up(rt)
            steps += 1
        assert rt._system.kernel.timers == 0
        assert steps < 60

"""What happens is told, in the order in which it happens, to those who want to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Actor, Event, HostDied, Hosts, Retry, Runtime, Task, current
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import kill, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.events import EventKind


def listener(events: list[str]) -> Callable[[Event], object]:
    """Notes the kind of each event, when it was, and whom it concerns."""
    return lambda event: events.append(f"{event.time:g} {event.name} {event.kind}")


async def test_the_life_of_a_task_is_told_from_its_creation_to_its_end() -> None:
    events: list[str] = []

    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        rt.subscribe(None, listener(events))
        low = await rt.spawn(compute, 3, name="low", priority=1)
        last = await rt.spawn(compute, 1, name="last", after=[low])
        await rt.sleep(1)
        await rt.spawn(compute, 1, name="high", priority=5)
        await last
    assert events == [
        "0 low created",
        "0 low ready",
        "0 last created",
        "0 last waiting",
        "0 low started",
        "1 high created",
        "1 high ready",
        "1 low preempted",
        "1 high started",
        "2 high completed",
        "2 low resumed",
        "4 low completed",
        "4 last ready",
        "4 last started",
        "5 last completed",
    ]


async def test_attempts_resources_and_ends_are_told() -> None:
    events: list[Event] = []

    async def hold(units: float) -> None:
        async with current().acquire("db"):
            await compute(units)

    async def fail() -> None:
        raise OSError("no")

    async with Runtime(clock=VirtualClock()) as rt:
        rt.resource("db")
        rt.subscribe(("acquired", "handed_over", "released", "blocked", "retrying", "failed"), events.append)
        await rt.spawn(hold, 2, name="one")
        await rt.sleep(1)
        two = await rt.spawn(hold, 1, name="two")
        await two
        ref = await rt.spawn(fail, name="bad", retry=Retry(attempts=2, delay="1s", jitter=False))
        await ref.outcome()
    assert [(event.time, event.name, event.kind, event.details.get("resource")) for event in events] == [
        (0, "one", "acquired", "db"),
        (1, "two", "blocked", "db"),
        (2, "one", "released", "db"),
        (2, "two", "handed_over", "db"),
        (3, "two", "released", "db"),
        (3, "bad", "retrying", None),
        (4, "bad", "failed", None),
    ]
    assert events[1].details["holder"] == "one"


async def test_a_subscription_ends_when_it_is_told_to() -> None:
    events: list[str] = []

    async with Runtime(clock=VirtualClock()) as rt:
        end = rt.subscribe("completed", listener(events))
        await rt.run(compute, 1)
        end()
        end()
        await rt.run(compute, 1)
    assert events == ["1 compute completed"]


async def test_a_listener_that_fails_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    events: list[str] = []

    def fail(event: Event) -> None:
        raise RuntimeError(f"not my day: {event.kind}")

    async with Runtime(clock=VirtualClock()) as rt:
        rt.subscribe("started", fail)
        rt.subscribe("started", listener(events))
        await rt.run(compute, 1)
    assert events == ["0 compute started"]
    assert "a listener to events failed" in caplog.text
    assert "not my day: started" in caplog.text


@pytest.mark.parametrize(
    ("kinds", "handler", "error", "says"),
    [
        ("strated", print, ValueError, "kinds='strated' is no kind of event; choose from created, "),
        (("started", 5), print, ValueError, "kinds=5 is no kind of event"),
        (None, "print", TypeError, "handler='print' cannot be called"),
        (None, compute, TypeError, "is an async function, which nobody would await"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    kinds: Any, handler: Any, error: type[Exception], says: str
) -> None:
    async with Runtime() as rt:
        with pytest.raises(error) as caught:
            rt.subscribe(kinds, handler)
        assert says in str(caught.value)


# ---------------------------------------------------------------------------------------------------- details


def details_of(events: list[Event], name: str) -> list[tuple[str, dict[str, Any]]]:
    return [(event.kind, dict(event.details)) for event in events if event.name == name]


async def test_events_of_tasks_say_what_there_is_to_know() -> None:
    events: list[Event] = []

    async def twice() -> None:
        if current().attempt == 1:
            raise ValueError("not yet")
        current().report(0.5, "half")

    async with Runtime(clock=VirtualClock(), pools={"io": 1}) as rt:
        rt.subscribe(None, events.append)
        first = await rt.spawn(compute, 1, name="first", priority=5)
        await rt.spawn(
            twice,
            name="second",
            after=[first],
            tag="io",
            tags=("a", "b"),
            retry=Retry(attempts=2, delay="2s", jitter=False),
        )
    assert details_of(events, "first") == [
        ("created", {"priority": 5, "pool": "loop"}),
        ("started", {"attempt": 1, "host": "loop", "worker": "loop"}),
        ("completed", {"final": True}),
    ]
    second = details_of(events, "second")
    assert [kind for kind, _ in second] == [
        "created",
        "waiting",
        "ready",
        "started",
        "retrying",
        "ready",
        "started",
        "progress",
        "completed",
    ]
    assert second[0][1] == {"priority": 3, "pool": "io", "tags": ("a", "b"), "after": (first.id,)}
    assert second[4][1] == {"error": "ValueError: not yet", "delay": 2.0}
    assert second[6][1]["attempt"] == 2
    assert second[7][1] == {"fraction": 0.5, "message": "half"}


async def test_what_is_done_to_the_details_of_one_event_is_not_seen_in_the_next() -> None:
    events: list[Event] = []

    def vandal(event: Event) -> None:
        details: Any = event.details
        details.clear()

    async with Runtime() as rt:
        source = rt.events()
        end = rt.subscribe(None, vandal)
        await rt.run(compute_nothing, name="first")
        end()
        rt.subscribe(None, events.append)
        await rt.run(compute_nothing, name="last")
        events += [await anext(source) for _ in range(3)]
    for name in ("first", "last"):
        assert details_of(events, name)[1:] == [
            ("started", {"attempt": 1, "host": "loop", "worker": "loop"}),
            ("completed", {"final": True}),
        ]


async def compute_nothing() -> None:
    pass


async def test_every_end_says_why() -> None:
    events: list[Event] = []

    async def fail() -> None:
        raise KeyError

    async with Runtime(clock=VirtualClock()) as rt:
        rt.subscribe(("failed", "cancelled", "deadline_missed"), events.append)
        bad = await rt.spawn(fail, name="bad")
        await rt.spawn(fail, name="after", after=[bad])
        gone = await rt.spawn(compute, 9, name="gone")
        await gone.cancel("not needed")
        await bad.outcome()
        await rt.spawn(compute, 9, name="soft", deadline=1)
        late = await rt.spawn(compute, 9, name="hard", deadline=1, hard=True)
        await late.outcome()
    assert details_of(events, "bad") == [("failed", {"final": True, "error": "KeyError"})]
    assert details_of(events, "after")[0][1]["error"].startswith("DependencyFailed: task 'after' was not run")
    assert details_of(events, "gone")[0][1]["error"].endswith("was cancelled: not needed")
    assert [about["final"] for _, about in details_of(events, "soft")] == [False]
    assert [about["final"] for _, about in details_of(events, "hard")] == [False, True]
    assert details_of(events, "hard")[1][1]["error"].startswith("DeadlineMissed: ")


async def test_a_thread_says_which_one_it_is_and_its_progress_is_told() -> None:
    events: list[Event] = []

    def work_on() -> None:
        current().report(1.0)

    async with Runtime() as rt:
        rt.subscribe(None, events.append)
        await rt.run(work_on, name="plain")
    assert details_of(events, "plain")[2:] == [
        ("started", {"attempt": 1, "host": "thread", "worker": "thread-1"}),
        ("progress", {"fraction": 1.0, "message": None}),
        ("completed", {"final": True}),
    ]


# --------------------------------------------------------------------------------------------- listeners


async def test_the_same_function_may_listen_twice_and_each_subscription_ends_by_itself() -> None:
    events: list[Event] = []
    async with Runtime() as rt:
        first = rt.subscribe("completed", events.append)
        second = rt.subscribe("completed", events.append)
        await rt.run(compute_nothing)
        assert len(events) == 2
        first()
        first()
        await rt.run(compute_nothing)
        assert len(events) == 3
        second()
        await rt.run(compute_nothing)
        assert len(events) == 3
        assert not rt._system.kernel.watched


async def test_a_listener_may_leave_bring_others_and_submit_work_in_the_middle() -> None:
    once: list[str] = []
    brought: list[str] = []
    every: list[str] = []

    def leaves(event: Event) -> None:
        once.append(f"{event.name} {event.kind}")
        end()

    def brings(event: Event) -> None:
        if event.name == "first" and event.kind == "started":
            rt.subscribe(None, lambda event: brought.append(f"{event.name} {event.kind}"))
            rt.submit_nowait(Task("second", compute_nothing))

    async with Runtime() as rt:
        end = rt.subscribe(None, leaves)
        rt.subscribe(None, brings)
        rt.subscribe(None, lambda event: every.append(f"{event.name} {event.kind}"))
        await rt.run(compute_nothing, name="first")
    assert once == ["first created"]
    expected = ["second created", "second started", "first completed", "second completed"]
    assert sorted(every) == sorted(["first created", "first started", *expected])
    assert every.index("first started") < every.index("second created")
    assert brought == [said for said in every if said in expected]


async def test_what_a_listener_causes_is_told_to_all_after_what_caused_it() -> None:
    told: list[str] = []

    def causes(event: Event) -> None:
        if event.name == "idle":
            rt.submit_nowait(Task("caused", compute_nothing))

    async with Runtime() as rt:
        rt.subscribe(None, causes)
        rt.subscribe(None, lambda event: told.append(f"{event.name} {event.kind}"))
        await rt.spawn(Actor, name="idle")
        await until(lambda: "caused completed" in told)
    assert told[0] == "idle actor_started"


# ----------------------------------------------------------------------------------------------------- actors


class Fragile(Actor):
    async def fail(self) -> None:
        raise RuntimeError("as it was told to")


class FragileElsewhere(Fragile, host="process"):
    pass


OF_ACTORS: tuple[EventKind, ...] = ("actor_started", "actor_restarted", "actor_stopped")


@pytest.mark.process
@pytest.mark.parametrize(("kind", "host"), [(Fragile, "loop"), (FragileElsewhere, "process")])
async def test_the_lives_of_an_actor_are_told(kind: type[Fragile], host: str) -> None:
    events: list[Event] = []
    async with Runtime(hosts=Hosts(max=1)) as rt:
        rt.subscribe(OF_ACTORS, events.append)
        ref = await rt.spawn(kind, name="ann")
        ref.tell(kind.fail)
        await until(lambda: len(events) == 2)
        await ref.stop()
        other = await rt.spawn(kind, name="bob")
        await other.kill()
        await rt.spawn(kind, name="cid")
    here = {"actor": kind.__qualname__, "host": host}
    assert details_of(events, "ann") == [
        ("actor_started", here),
        ("actor_restarted", here),
        ("actor_stopped", {"actor": kind.__qualname__, "why": "stopped"}),
    ]
    assert details_of(events, "bob")[1:] == [("actor_stopped", {"actor": kind.__qualname__, "why": "killed"})]
    assert [kind for kind, _ in details_of(events, "cid")] == ["actor_started", "actor_stopped"]
    assert events[0].id == f"actor-{events[0].number}"


@pytest.mark.process
async def test_an_actor_whose_host_is_killed_restarts_and_that_is_told() -> None:
    events: list[Event] = []
    async with Runtime(hosts=Hosts(max=1)) as rt:
        rt.subscribe((*OF_ACTORS, "host_died"), events.append)
        ref = await rt.spawn(work.Counter, name="count")
        kill(await ref.ask.pid())
        await until(lambda: len(events) == 3)
    assert [event.kind for event in events] == [
        "actor_started",
        "host_died",
        "actor_restarted",
        "actor_stopped",
    ]


@pytest.mark.process
async def test_an_actor_that_cannot_start_is_told_of_as_stopped_only() -> None:
    events: list[Event] = []
    async with Runtime() as rt:
        rt.subscribe(OF_ACTORS, events.append)
        with pytest.raises(Exception):  # noqa: B017
            await rt.spawn(work.FailsToStart)
    assert [event.kind for event in events] == ["actor_stopped"]
    assert events[0].details["why"] == "failed"


@pytest.mark.process
async def test_a_task_in_a_host_says_where_it_runs_and_how_it_is_tried_again() -> None:
    events: list[Event] = []
    async with Runtime(hosts=Hosts(max=1)) as rt:
        rt.subscribe(("started", "retrying", "failed"), events.append)
        ref = await rt.spawn(work.exit_hard, 3, host="process", retry=Retry(crashes=1), name="dies")
        await ref.outcome()
    kinds = [(kind, about.get("attempt")) for kind, about in details_of(events, "dies")]
    assert kinds == [("started", 1), ("retrying", None), ("started", 2), ("failed", None)]
    assert events[0].details["host"] == "process"
    assert [events[index].details["worker"] for index in (0, 2)] == ["host 1", "host 2"]
    assert events[1].details["error"].startswith("HostDied: ")


# ------------------------------------------------------------------------------------------------------ hosts

OF_HOSTS: tuple[EventKind, ...] = ("host_spawned", "host_reaped", "host_died")


@pytest.mark.process
async def test_hosts_are_told_of_when_they_are_ready_and_when_they_have_ended() -> None:
    events: list[Event] = []
    async with Runtime(hosts=Hosts(max=1, idle_timeout="50ms")) as rt:
        rt.subscribe(OF_HOSTS, events.append)
        pid = await rt.run(work.pid, host="process")
        await until(lambda: len(events) == 2)
    spawned, reaped = events
    assert (spawned.kind, spawned.name, spawned.id) == ("host_spawned", "host 1", "host-1")
    assert spawned.details["pid"] == reaped.details["pid"] == pid
    assert spawned.details["pool"] == reaped.details["pool"] == "process"
    assert "a task waits and there is no host" in spawned.details["why"]
    assert (reaped.kind, reaped.id) == ("host_reaped", "host-1")
    assert reaped.details["why"] == "idle hosts are kept for 50ms"
    assert spawned.time <= reaped.time


@pytest.mark.process
async def test_a_host_that_dies_says_of_what() -> None:
    events: list[Event] = []
    async with Runtime(hosts=Hosts(max=1)) as rt:
        rt.subscribe(OF_HOSTS, events.append)
        pid = await rt.run(work.pid, host="process")
        kill(pid)
        await until(lambda: len(events) == 2)
        with pytest.raises(HostDied):
            await rt.run(work.exit_hard, 3, host="process")
        await until(lambda: len(events) == 4)
    _, killed, _, exited = events
    assert (killed.kind, killed.details["pid"], killed.details["pool"]) == ("host_died", pid, "process")
    assert (killed.details["cause"], killed.details["signal"]) == ("killed", 9)
    assert killed.details["why"] == "was killed by SIGKILL"
    assert (exited.details["cause"], exited.details["exit_code"]) == ("exited", 3)


@pytest.mark.process
async def test_hosts_of_actors_are_told_of_too() -> None:
    events: list[Event] = []
    async with Runtime(hosts=Hosts(max=1)) as rt:
        rt.subscribe(OF_HOSTS, events.append)
        ref = await rt.spawn(work.Counter)
        await ref.stop()
    assert [(event.kind, event.details["pool"], event.details["why"]) for event in events] == [
        ("host_spawned", "actors", "an actor needed a place"),
        ("host_reaped", "actors", "the runtime closes"),
    ]


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
async def test_a_host_that_is_replaced_says_why() -> None:
    events: list[Event] = []
    async with Runtime(hosts=Hosts(max=1, max_tasks=1)) as rt:
        rt.subscribe("host_reaped", events.append)
        await rt.run(work.pid, host="process")
        await until(lambda: events)
    assert events[0].details["why"] == "it was given as many tasks as Hosts(max_tasks=) allows"


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Hosts(max=1, max_tasks=1), "it was given as many tasks as Hosts(max_tasks=) allows"),
        (Hosts(max=1, idle_timeout="10ms"), "idle hosts are kept for 10ms"),
        (Hosts(max=1), "the runtime closes"),
    ],
)
async def test_a_host_that_is_told_to_end_is_told_of_before_it_has_ended(limits: Hosts, why: str) -> None:
    events: list[Event] = []
    async with Runtime(hosts=limits) as rt:
        rt.subscribe(["host_retiring", "host_reaped"], events.append)
        await rt.run(work.pid, host="process")
        await until(lambda: bool(events) or why == "the runtime closes")
    assert [event.kind for event in events] == ["host_retiring", "host_reaped"]
    assert [event.details["why"] for event in events] == [why] * 2
    assert events[0].id == events[1].id == "host-1"


async def test_listening_begins_in_the_thread_of_the_runtime_and_may_be_ended_in_any() -> None:
    heard: list[Event] = []
    async with Runtime() as rt:
        with pytest.raises(RuntimeError, match="another thread"):
            await rt.run(rt.subscribe, None, heard.append, host="thread")
        assert not rt._system.bus.listeners
        end = rt.subscribe("completed", heard.append)
        await rt.run(end, host="thread")
        del heard[:]
        await rt.run(len, "")
        assert not rt._system.bus.listeners
        assert not rt._system.kernel.watched
    assert not heard

"""What happens is told, in the order in which it happens, to those who want to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Event, HostDied, Hosts, Retry, Runtime, current
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

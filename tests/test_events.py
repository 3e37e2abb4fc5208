"""What happens is told, in the order in which it happens, to those who want to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Event, Retry, Runtime, current
from actorsched.testing import VirtualClock, compute

if TYPE_CHECKING:
    from collections.abc import Callable


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

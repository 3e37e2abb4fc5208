"""`rt.alert` tells when tasks take too long, and when they do not any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Alarm, Event, Priority, Runtime
from actorsched.testing import VirtualClock, compute

if TYPE_CHECKING:
    from collections.abc import Callable


def listening(rt: Runtime) -> list[Event]:
    events: list[Event] = []
    rt.subscribe("alert", events.append)
    return events


async def tasks(rt: Runtime, number: int, seconds: float, **options: Any) -> None:
    for _ in range(number):
        await rt.run(compute, seconds, **options)


async def test_an_alarm_fires_once_and_is_over_when_tasks_are_quick_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "actorsched")
    async with Runtime(clock=VirtualClock()) as rt:
        events = listening(rt)
        alarm = rt.alert("run", "500ms", name="slow", quantile=0.5)
        await tasks(rt, 20, 1.0)
        assert alarm.firing
        assert alarm.value == pytest.approx(1.0, rel=0.01)
        assert [event.details["state"] for event in events] == ["firing"]
        details = events[0].details
        assert (details["name"], details["phase"], details["quantile"]) == ("slow", "run", 0.5)
        assert (details["priority"], details["pool"], details["threshold"]) == (None, None, 0.5)
        assert (events[0].name, events[0].id[:6]) == ("slow", "alarm-")
        await rt.sleep(61)
        await tasks(rt, 20, 0.1)
        await rt.sleep(2)
        assert not alarm.firing
        assert [event.details["state"] for event in events] == ["firing", "resolved"]
    levels = [record.levelname for record in caplog.records if "alert 'slow'" in record.message]
    assert levels == ["WARNING", "INFO"]


async def test_it_is_over_when_no_task_has_ended_for_a_minute() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        events = listening(rt)
        alarm = rt.alert("total", 0.5)
        await tasks(rt, 12, 1.0)
        await rt.sleep(2)
        assert alarm.firing
        await rt.sleep(70)
        assert not alarm.firing
        assert events[-1].details["value"] is None


async def test_few_tasks_prove_nothing() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        alarm = rt.alert("run", 0.5, at_least=10)
        await tasks(rt, 9, 1.0)
        await rt.sleep(5)
        assert not alarm.firing
        await tasks(rt, 1, 1.0)
        await rt.sleep(2)
        assert alarm.firing


async def test_it_watches_one_priority_and_one_pool() -> None:
    async with Runtime(clock=VirtualClock(), pools={"io": 1}) as rt:
        high = rt.alert("run", 0.5, priority=Priority.HIGH, at_least=1)
        io = rt.alert("run", 0.5, pool="io", at_least=1)
        await tasks(rt, 3, 1.0)
        await rt.sleep(2)
        assert not high.firing
        assert not io.firing
        await tasks(rt, 1, 1.0, priority=Priority.HIGH)
        await tasks(rt, 1, 1.0, tag="io")
        await rt.sleep(2)
        assert high.firing
        assert io.firing
        assert "priority 4" in high.name
        assert "'io'" in io.name


async def test_a_runtime_at_rest_has_no_timer() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        alarm = rt.alert("run", 0.5, at_least=1)
        kernel = rt._system.kernel
        await rt.sleep(3)
        assert kernel.timers == 0
        await tasks(rt, 1, 0.1)
        assert kernel.timers == 1
        await rt.sleep(3)
        assert kernel.timers == 0
        await tasks(rt, 1, 1.0)
        await rt.sleep(80)
        assert kernel.timers == 0
        await tasks(rt, 1, 0.1)
        alarm.stop()
        assert kernel.timers == 0


async def test_a_stopped_alarm_tells_nothing() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        events = listening(rt)
        alarm = rt.alert("run", 0.5, at_least=1)
        alarm.stop()
        alarm.stop()
        await tasks(rt, 3, 1.0)
        await rt.sleep(3)
        assert not events
        assert "resting" in repr(alarm)


async def test_the_wait_in_the_queue_is_watched_too() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        alarm: Alarm = rt.alert("wait", 5, quantile=1, at_least=1)
        refs = [await rt.spawn(compute, 1.0) for _ in range(10)]
        for ref in refs:
            await ref
        await rt.sleep(1.5)
        assert alarm.firing
        assert alarm.value == pytest.approx(9.0)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"phase": "queue"}, ValueError, "phase='queue' is no phase of a task; choose from wait, run, total"),
    ({"above": -1}, ValueError, "above=-1"),
    ({"above": "soon"}, ValueError, "above='soon'"),
    ({"above": 1, "below": 2}, ValueError, "below=2 is more than above=1"),
    ({"quantile": 95}, ValueError, "quantile=95 is no part"),
    ({"quantile": 0}, ValueError, "quantile=0 is no part"),
    ({"at_least": 0}, ValueError, "at_least=0 is no number of tasks"),
    ({"at_least": 1.5}, ValueError, "at_least=1.5"),
    ({"priority": "high"}, TypeError, "priority='high' is of type str"),
    ({"pool": "nowhere"}, ValueError, "pool='nowhere' is the name of no pool; there are: 'loop'"),
    ({"name": 5}, TypeError, "name=5 is of type int"),
]


@pytest.mark.parametrize(("given", "kind", "text"), WRONG)
async def test_what_is_wrong_is_said_at_the_call(
    given: dict[str, Any], kind: type[Exception], text: str
) -> None:
    async with Runtime() as rt:
        arguments = {"phase": "run", "above": 1, **given}
        alert: Callable[..., Alarm] = rt.alert
        with pytest.raises(kind) as caught:
            alert(arguments.pop("phase"), arguments.pop("above"), **arguments)
        assert text in str(caught.value)
        assert rt._system.measuring.on_end is None


async def test_alarms_need_an_entered_runtime() -> None:
    with pytest.raises(RuntimeError, match="not entered"):
        Runtime().alert("run", 1)

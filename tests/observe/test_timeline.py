"""A timeline shows what has happened: its bars do not overlap, and its arrows lead from end to start."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Actor, Hosts, Retry, Runtime, Task, current
from actorsched.events import Event
from actorsched.observe.trace import Tracer
from actorsched.testing import VirtualClock, compute
from docs.timelines import draw
from tests import host_work as work

if TYPE_CHECKING:
    import pathlib

    from actorsched.events import EventKind

Entry = dict[str, Any]


def read(path: pathlib.Path) -> list[Entry]:
    entries: list[Entry] = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return entries


def bars(entries: list[Entry], group: int = 1) -> list[tuple[str, float, float, str]]:
    """The bars of a group, in seconds: whose, from when, to when, and how it ended."""
    return [
        (e["name"], e["ts"] / 1e6, (e["ts"] + e["dur"]) / 1e6, e["args"].get("ended", ""))
        for e in entries
        if e["ph"] == "X" and e["pid"] == group
    ]


def lanes(entries: list[Entry]) -> dict[tuple[int, int], str]:
    return {(e["pid"], e["tid"]): e["args"]["name"] for e in entries if e["name"] == "thread_name"}


def overlapping(entries: list[Entry]) -> list[str]:
    """Bars that lie on one lane at the same time."""
    by_lane: dict[tuple[int, int], list[tuple[float, float, str]]] = defaultdict(list)
    for e in entries:
        if e["ph"] == "X":
            by_lane[e["pid"], e["tid"]].append((e["ts"], e["ts"] + e["dur"], e["name"]))
    found = []
    for row in by_lane.values():
        row.sort()
        found += [f"{a} and {b}" for a, b in pairwise(row) if b[0] < a[1] - 0.01]
    return found


async def test_a_preempted_task_has_a_bar_until_then_and_another_one_afterwards(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "out.json"

    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        rt.timeline(path)
        await rt.spawn(compute, 3, name="low", priority=1)
        await rt.sleep(1)
        await rt.spawn(compute, 1, name="high", priority=5)

    assert bars(read(path)) == [
        ("low", 0, 1, "preempted"),
        ("high", 1, 2, "completed"),
        ("low", 2, 4, "completed"),
    ]


async def test_arrows_lead_from_the_end_of_a_task_to_the_start_of_those_that_depend_on_it(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "out.json"

    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        rt.timeline(path)
        first = await rt.spawn(compute, 2, name="first")
        second = await rt.spawn(compute, 1, name="second", after=[first])
        third = await rt.spawn(compute, 1, name="third", after=[first, second])

    arrows = [(e["id"], e["ph"], round(e["ts"] / 1e6, 3)) for e in read(path) if e["ph"] in "sf"]
    assert arrows == [
        (f"{first.id}>{second.id}", "s", 2),
        (f"{first.id}>{second.id}", "f", 2),
        (f"{first.id}>{third.id}", "s", 2),
        (f"{first.id}>{third.id}", "f", 3),
        (f"{second.id}>{third.id}", "s", 3),
        (f"{second.id}>{third.id}", "f", 3),
    ]


async def test_who_holds_a_resource_and_who_is_blocked_is_shown(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.json"

    async def hold() -> None:
        async with current().acquire("db"):
            await compute(1)

    async with Runtime(clock=VirtualClock()) as rt:
        rt.resource("db")
        rt.timeline(path)
        await rt.spawn(hold, name="one")
        await rt.spawn(hold, name="two")

    entries = read(path)
    assert bars(entries, group=2) == [("one", 0, 1, ""), ("two", 1, 2, "")]
    assert [e["name"] for e in entries if e["ph"] == "i"] == ["two: blocked on db"]


async def test_tasks_that_run_at_once_lie_on_lanes_of_their_own(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.json"

    async def fail() -> None:
        raise OSError("no")

    class Counter(Actor):
        async def count(self) -> int:
            return 1

    async with Runtime(hosts=Hosts(max=1)) as rt:
        timeline = rt.timeline(path)
        await (await rt.spawn(Counter, name="counter")).ask.count()
        refs = [await rt.spawn(work.add, 1, number, host="process") for number in range(20)]
        refs += [await rt.spawn(work.add, 1, number, host="thread") for number in range(20)]
        bad = await rt.spawn(fail, name="bad", retry=Retry(attempts=2, delay=0, jitter=False))
        for ref in refs:
            await ref
        assert (await bad.outcome()).error
        assert timeline.failure is None

    entries = read(path)
    assert not overlapping(entries)
    names = lanes(entries)
    assert {names[e["pid"], e["tid"]].split("-")[0].split(" ")[0] for e in entries if e["ph"] == "X"} == {
        "loop",
        "thread",
        "host",
    }
    assert [end for name, _, _, end in bars(entries) if name == "bad"] == ["failed", "failed"]
    assert [(e["name"], e["ph"]) for e in entries if e["cat" if "cat" in e else "ph"] == "actor"] == [
        ("counter", "b"),
        ("counter", "e"),
    ]
    assert [name for name, *_ in bars(entries, group=3)] == ["host 1"]
    assert draw({"traceEvents": entries}).count("<rect") > 40


async def test_it_may_be_ended_before_the_runtime_is(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.json"

    async with Runtime(clock=VirtualClock()) as rt:
        async with rt.timeline(path) as timeline:
            await rt.run(compute, 1, name="seen")
            going_on = await rt.spawn(compute, 5, name="going on")
            await rt.sleep(1)
        await timeline.aclose()
        await rt.run(compute, 1, name="unseen")
        assert bars(read(path)) == [("seen", 0, 1, "completed"), ("going on", 1, 2, "not yet")]
        await going_on


async def test_a_disk_that_takes_no_more_is_an_error_in_the_log_and_the_runtime_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        timeline = rt.timeline("/dev/full")
        for _ in range(3):
            await rt.run(compute, 1)
        await timeline.aclose()
        assert timeline.failure == "No space left on device"
        assert await rt.run(len, "abc") == 3

    assert "the timeline '/dev/full' is not complete: No space left on device" in caplog.text


async def test_a_path_that_is_none_is_refused_at_the_call(tmp_path: pathlib.Path) -> None:
    async with Runtime() as rt:
        with pytest.raises(TypeError, match=r"path=7 is of type int; give the name of a file"):
            rt.timeline(7)
        with pytest.raises(FileNotFoundError, match=r"missing/out\.json"):
            rt.timeline(tmp_path / "missing" / "out.json")


def event(kind: EventKind, time: float, number: int, **details: Any) -> Event:
    return Event(kind, time, f"t{number}", number, details)


def test_a_task_that_is_queued_in_a_host_begins_when_the_one_before_it_has_ended() -> None:
    tracer = Tracer("rt", 0.0)
    started = {"attempt": 1, "host": "process", "worker": "host 1"}
    told = [
        event("created", 0, 1, priority=3, pool="process"),
        event("created", 0, 2, priority=3, pool="process"),
        event("started", 0, 1, **started),
        event("started", 0, 2, **started),
        Event("host_spawned", 1, "host 1", "host-1", {"pid": 7, "pool": "process", "why": "tasks wait"}),
        event("completed", 3, 1, final=True),
        event("completed", 4, 2, final=True),
        Event("host_reaped", 5, "host 1", "host-1", {"pid": 7, "pool": "process", "why": "it was idle"}),
    ]
    entries = [entry for one in told for entry in tracer.hear(one)]
    assert bars(entries) == [("t1", 1, 3, "completed"), ("t2", 3, 4, "completed")]
    assert bars(entries, group=3) == [("host 1", 1, 5, "host_reaped")]
    assert not tracer.closing(6)


async def test_nothing_is_kept_of_what_is_over(tmp_path: pathlib.Path) -> None:
    async with Runtime() as rt:
        timeline = rt.timeline(tmp_path / "out.json")
        for _ in range(50):
            first = rt.submit_nowait(Task("first", len, ("abc",)))
            await rt.run(str, first)
        await timeline.aclose()
        kept = {
            name: value
            for name, value in vars(timeline._tracer).items()
            if isinstance(value, dict) and value and name not in {"_lanes", "_counts"}
        }
        assert not kept


async def test_a_name_that_cannot_be_encoded_is_escaped(tmp_path: pathlib.Path) -> None:
    async with Runtime() as rt:
        rt.timeline(tmp_path / "out.json")
        await rt.submit(Task("odd \udcff", len, ("",)))
    assert "odd \udcff" in {name for name, *_ in bars(read(tmp_path / "out.json"))}


async def test_a_bug_of_ours_is_reported_and_nothing_is_kept_after_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hear(tracer: Tracer, event: Event) -> list[Entry]:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(Tracer, "hear", hear)
    async with Runtime() as rt:
        timeline = rt.timeline(tmp_path / "out.json")
        for _ in range(1000):
            await rt.submit(Task("task", len, ("",)))
    assert timeline.failure == "ZeroDivisionError: of ours"
    assert timeline._batches.empty()
    assert "please report this" in caplog.text


async def test_in_another_thread_it_is_refused_and_nobody_goes_on_listening(tmp_path: pathlib.Path) -> None:
    async with Runtime() as rt:
        with pytest.raises(RuntimeError, match="another thread"):
            await rt.run(rt.timeline, tmp_path / "out.json", host="thread")
        assert not rt._system.bus.listeners

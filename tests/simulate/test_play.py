"""Task sets are played by the runtime's own scheduler, with the parameters that they name."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from actorsched._core.behaviour import Behaviour, Outbox, handles
from actorsched.policies import Edf, Fair, FixedPriority, Policy, Realtime
from actorsched.runtime import Runtime
from actorsched.simulate.play import Listener, check_playable, play, played, policy_for
from actorsched.simulate.played import Recorder
from actorsched.simulate.reading import read_schedule
from actorsched.simulate.taskset import BadTaskSet, TaskSet
from actorsched.testing import VirtualClock, compute
from tests.manual_clock import until

pytestmark = pytest.mark.usefixtures("warm_backends")


def a_taskset(policy: str = "PRIORITY", *, processors: int = 1, **params: Any) -> TaskSet:
    tasks = [{"name": "A", "exec": 3}, {"name": "B", "exec": 2, "deadline": 4, "priority": 1, "arrival": 1}]
    return read_schedule({"policy": policy, "processors": processors, "tasks": tasks, "params": params})


@pytest.mark.parametrize(
    ("policy", "params", "expected"),
    [
        ("PRIORITY", {}, FixedPriority()),
        ("PRIORITY+PI", {"quantum": 3}, FixedPriority(quantum=3)),
        ("DEADLOCK", {"aging_interval": 5, "aging_step": 2}, FixedPriority(5, 2)),
        ("PRIORITY", {"aging_interval": 5, "aging_preempts": True}, FixedPriority(5, aging_preempts=True)),
        ("PRIORITY", {"preempted_to": "tail"}, FixedPriority(preempted_to="tail")),
        ("PRIORITY", {"aging_step": 2, "aging_preempts": True, "levels": 9, "boost": 1}, FixedPriority()),
        ("EDF", {"quantum": 3}, Edf()),
        ("REALTIME", {"quantum": 3, "aging_interval": 1}, Realtime()),
        ("FAIR", {}, Fair(quanta=[10, 20, 40], boost=None)),
        ("FAIR", {"levels": 2}, Fair(2, quanta=[10, 20], boost=None)),
        ("FAIR", {"quantum": 4, "levels": 2}, Fair(2, quanta=4, boost=None)),
        ("FAIR", {"quanta": [4, 8], "quantum": 1, "boost": 9}, Fair(2, quanta=[4, 8], boost=9)),
    ],
)
def test_the_policy_has_the_parameters_that_mean_something_to_it(
    policy: str, params: dict[str, Any], expected: Policy[Any]
) -> None:
    made = policy_for(a_taskset(policy, **params))
    assert type(made) is type(expected)
    assert repr(made) == repr(expected)


def test_parameters_that_contradict_each_other_are_refused_before_the_play() -> None:
    check_playable(a_taskset("EDF", migration=False))
    with pytest.raises(BadTaskSet, match=r"\$\.schedules\[2\]\.params: under FAIR: boost=1 is shorter"):
        check_playable(a_taskset("FAIR", boost=1, quanta=[5]), "$.schedules[2]")
    with pytest.raises(BadTaskSet, match=r"\$\.params\.migration: false cannot be played on several"):
        check_playable(a_taskset("EDF", migration=False, processors=2))


async def test_the_policy_may_be_another_one() -> None:
    """An empty policy is false, and counts all the same."""
    assert (await played(a_taskset(), Edf())).finish == {"A": 5, "B": 3}
    assert (await played(a_taskset("EDF"), FixedPriority())).finish == {"A": 5, "B": 3}
    assert (await played(a_taskset("FAIR", quanta=[9]))).finish == {"A": 3, "B": 5}
    assert (await played(a_taskset("FAIR", quanta=[9]), Edf())).finish == {"A": 5, "B": 3}


async def test_a_play_begins_at_its_first_arrival_however_late() -> None:
    taskset = read_schedule({"tasks": [{"name": "A", "exec": 0.25, "arrival": 1e9}]})
    result = await played(taskset)
    assert result.finish == {"A": 1e9 + 0.25}


async def test_fractions_of_ticks_are_exact() -> None:
    tasks = [{"name": f"t{k}", "exec": 0.1, "arrival": 0.7} for k in range(30)]
    result = await played(read_schedule({"tasks": tasks}))
    assert [result.finish[f"t{k}"] for k in (0, 1, 9, 29)] == [0.8, 0.9, 1.7, 3.7]


async def test_a_horizon_before_the_first_arrival_shows_nothing() -> None:
    taskset = read_schedule({"tasks": [{"name": "A", "exec": 3, "arrival": 9}], "params": {"until": 5}})
    result = await played(taskset)
    assert result.slices == ()
    assert result.misses == ()


async def test_what_runs_at_the_horizon_is_broken_off() -> None:
    taskset = read_schedule({"tasks": [{"name": "A", "exec": 100}], "params": {"until": 5}})
    result = await played(taskset)
    assert [(piece.start, piece.end) for piece in result.slices] == [(0, 5)]
    assert result.finish == {}


async def test_thousands_who_were_preempted_cost_time_nothing() -> None:
    """Every one of them preempts the one before; so all but one have begun, and wait."""
    tasks = [{"name": f"t{k}", "exec": 2, "arrival": k, "priority": k} for k in range(2000)]
    result = await played(read_schedule({"tasks": tasks}))
    assert result.finish["t1999"] == 2001
    assert result.finish["t0"] == 4000


def test_what_a_listener_cannot_take_down_is_an_error_of_the_play(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(recorder: Recorder, time: float, job: str) -> None:
        raise ValueError(f"{job} cannot be")

    monkeypatch.setattr(Recorder, "on", refuse)
    with pytest.raises(Exception, match="A cannot be") as caught:
        play(a_taskset())
    assert not isinstance(caught.value, BadTaskSet)


def test_a_listener_takes_whoever_runs_already_as_it_is() -> None:
    listener = Listener(Recorder(a_taskset()))
    from actorsched.events import Event

    for kind in ("started", "resumed"):
        listener.hear(Event(kind, 0.0, "A", "task-1", {}))
    assert listener.failure is None


# ---------------------------------------------------------------------------- what plays have found out


async def test_a_pool_that_is_made_with_a_policy_is_ordered_by_it() -> None:
    """A policy without tasks is false."""
    done: list[str] = []

    async def work(name: str) -> None:
        await compute(1)
        done.append(name)

    async with Runtime(clock=VirtualClock()) as rt:
        rt.pool("narrow", workers=1, policy=Edf())
        for name, priority, deadline in (("urgent", 3, 90), ("first", 0, 80), ("second", 1, 85)):
            await rt.spawn(work, name, tag="narrow", priority=priority, deadline=deadline)
    assert done == ["first", "second", "urgent"]


async def test_who_acquires_first_at_an_instant_is_who_is_more_urgent_not_who_runs_already() -> None:
    taskset = read_schedule(
        {
            "processors": 2,
            "resources": ["R"],
            "tasks": [
                {"name": "low", "program": [["run", 5], ["acquire", "R"], ["run", 1], ["release", "R"]]},
                {
                    "name": "high",
                    "arrival": 5,
                    "priority": 1,
                    "program": [["acquire", "R"], ["run", 1], ["release", "R"]],
                },
            ],
        }
    )
    assert (await played(taskset)).finish == {"high": 6, "low": 7}


INHERITS = ["acquire", "R"], ["run", 2], ["acquire", "S"], ["run", 1], ["release", "S"], ["release", "R"]
EQUAL = ["run", 3], ["acquire", "S"], ["run", 1], ["release", "S"]


@pytest.mark.parametrize("others", [1, 2], ids=["preempted for an instant", "never preempted"])
async def test_of_equals_whoever_joined_first_acquires_first_not_who_got_its_place_first(others: int) -> None:
    """Worked out by hand: low joined before equal, and came on after it, at 1, being less urgent then.

    From 2 on it is as urgent as rival, who waits for R: with one other only, rival takes its place for that.
    At 3 low and equal both want S. Low has it until 4, and then equal and rival run.
    """
    tasks = [
        {"name": "low", "program": [*INHERITS]},
        *({"name": f"other {n}", "priority": 1, "program": [["run", 1 + n]]} for n in range(others)),
        {"name": "equal", "priority": 1, "program": [*EQUAL]},
        {
            "name": "rival",
            "priority": 1,
            "arrival": 2,
            "program": [["acquire", "R"], ["run", 1], ["release", "R"]],
        },
    ]
    taskset = read_schedule(
        {"policy": "PRIORITY+PI", "processors": 1 + others, "resources": ["R", "S"], "tasks": tasks}
    )
    finish = (await played(taskset)).finish
    assert (finish["low"], finish["equal"], finish["rival"]) == (4, 5, 5)


class Said(msgspec.Struct):
    """Something that is said."""

    what: str


class Listening(Behaviour, eq=False):
    """Who hears it, and keeps it in the order of hearing."""

    heard: list[str]

    @handles(Said)
    def _said(self, message: Said, out: Outbox) -> None:
        self.heard.append(message.what)


async def test_how_long_an_instant_takes_in_fact_changes_nothing() -> None:
    """On a busy machine whoever asks for a resource may wait longer for the choice than a stall takes."""
    ear = Listening([])
    async with Runtime(clock=VirtualClock()) as rt:
        kernel = rt._system.kernel
        kernel.at_rest((ear, Said("choice")))
        kernel.later_in_fact(0.0, ear, Said("the time for a stall is over"))
        time.sleep(0.002)  # noqa: ASYNC251 - the loop is to be late
        await rt.sleep(1)
        await until(lambda: len(ear.heard) == 2)
    assert ear.heard == ["choice", "the time for a stall is over"]

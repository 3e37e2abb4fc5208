"""Reservations of processors and memory: tables, and random runs against what must hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.reservations import (
    Hold,
    Reservation,
    Shortage,
    Use,
    choose_cpus,
    cores_in_use,
    shortage,
)

RUNNING, PAUSED, WAITING, FOR_IT = Use.RUNNING, Use.PAUSED, Use.WAITING, Use.FOR_IT


def held(cores: int = 1, memory: int = 0, use: Use = RUNNING, host: str = "process") -> Hold:
    return Hold(Reservation(cores, memory), host, use)


def lacks(cores: int, memory: int, *holds: Hold, others: int = 0) -> Shortage | None:
    """What a task lacks in a pool of 4 processors, on a machine with 100 bytes."""
    return shortage(Reservation(cores, memory), "process", holds, cores=4, memory=100, others=others)


@pytest.mark.parametrize(
    ("cores", "memory", "holds", "others", "lack"),
    [
        (4, 100, [], 0, None),
        (1, 0, [], 3, None),
        (2, 0, [], 3, Shortage("cores", 2, 1)),
        (2, 0, [held(3)], 0, Shortage("cores", 2, 1)),
        (2, 0, [held(2), held(2, host="thread")], 0, None),
        (2, 0, [held(3, use=PAUSED)], 0, None),
        (2, 0, [held(3, use=WAITING)], 2, None),
        (1, 0, [held(3), held(3)], 0, Shortage("cores", 1, -2)),
        (1, 60, [held(1, 40)], 0, None),
        (1, 61, [held(1, 40)], 0, Shortage("memory", 61, 60)),
        (1, 61, [held(1, 40, host="thread")], 0, Shortage("memory", 61, 60)),
        (4, 61, [held(1, 40)], 0, Shortage("memory", 61, 60)),
        (1, 61, [held(1, 40, PAUSED)], 0, Shortage("memory", 61, 60, lets_pass=True)),
        (1, 61, [held(1, 40, WAITING), held(1, 1)], 0, Shortage("memory", 61, 59, lets_pass=True)),
        (1, 61, [held(1, 40), held(1, 0, WAITING)], 0, Shortage("memory", 61, 60)),
        (1, 100, [held(1, 100, FOR_IT)], 0, None),
        (1, 61, [held(1, 100, FOR_IT), held(1, 40)], 0, Shortage("memory", 61, -40, lets_pass=True)),
        (1, 0, [held(1, 100), held(1, 20)], 0, None),
        (4, 61, [held(1, 100, FOR_IT)], 1, Shortage("cores", 4, 3)),
    ],
)
def test_a_task_begins_when_all_that_it_wants_is_free(
    cores: int, memory: int, holds: list[Hold], others: int, lack: Shortage | None
) -> None:
    assert lacks(cores, memory, *holds, others=others) == lack


def test_only_processors_become_free_by_preemption() -> None:
    assert Shortage("cores", 2, 1).helped_by_preemption
    assert not Shortage("memory", 2, 1).helped_by_preemption


@pytest.mark.parametrize(
    ("count", "holds", "chosen"),
    [
        (1, [], (0,)),
        (2, [], (0, 1)),
        (9, [], (0, 1, 2, 5)),
        (2, [((0, 1), RUNNING)], (2, 5)),
        (3, [((0, 2), RUNNING)], (0, 1, 5)),
        (1, [((0,), PAUSED)], (1,)),
        (1, [((0,), PAUSED), ((1, 2, 5), RUNNING)], (0,)),
        (1, [((7, 8), RUNNING)], (0,)),
    ],
)
def test_a_task_is_confined_to_the_processors_that_the_fewest_have(
    count: int, holds: list[tuple[tuple[int, ...], Use]], chosen: tuple[int, ...]
) -> None:
    known = [Hold(Reservation(len(cpus)), "process", use, cpus) for cpus, use in holds]
    assert choose_cpus(count, {5, 2, 1, 0}, known) == chosen


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "end", "pause", "wait", "go on"]),
        st.integers(1, 4),
        st.integers(0, 100),
        st.sampled_from(["process", "thread"]),
        st.integers(0, 20),
    ),
    max_size=60,
)


@given(STEPS)
def test_whoever_begins_finds_what_it_wants(steps: list[tuple[Any, ...]]) -> None:
    holds: list[Hold] = []
    for verb, cores, memory, host, number in steps:
        if verb == "begin":
            want = Reservation(cores, memory)
            lack = shortage(want, host, holds, cores=4, memory=100)
            taken = sum(hold.reservation.cores for hold in holds if hold.host == host and hold.use is RUNNING)
            reserved = sum(hold.reservation.memory for hold in holds)
            assert (lack is None) == (taken + cores <= 4 and reserved + memory <= 100)
            if lack is None:
                cpus = choose_cpus(cores, range(4), holds)
                assert len(set(cpus)) == cores
                holds.append(Hold(want, host, RUNNING, cpus))
            else:
                assert lack.wanted > lack.free
        elif holds and verb == "end":
            holds.pop(number % len(holds))
        elif holds:
            uses = {"pause": PAUSED, "wait": WAITING, "go on": RUNNING}
            holds[number % len(holds)].use = uses[verb]
        assert sum(hold.reservation.memory for hold in holds) <= 100


@given(st.lists(st.integers(1, 4), max_size=8))
def test_processors_are_handed_out_evenly(counts: list[int]) -> None:
    holds: list[Hold] = []
    for count in counts:
        holds.append(Hold(Reservation(count), "process", RUNNING, choose_cpus(count, range(4), holds)))
    loads = [sum(cpu in hold.cpus for hold in holds) for cpu in range(4)]
    assert max(loads) - min(loads) <= 1
    assert sum(loads) == sum(counts) == cores_in_use(holds, "process")

"""A new task that stirs nothing: what a policy would answer is the same with it as without it."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched.policies import Edf, Fair, FixedPriority, Realtime

POLICIES: dict[str, Any] = {
    "priority": FixedPriority,
    "aging": lambda: FixedPriority[Job](aging=3),
    "quantum": lambda: FixedPriority[Job](quantum=4),
    "both": lambda: FixedPriority[Job](aging=3, step=2, quantum=4),
    "preempting": lambda: FixedPriority[Job](aging=3, aging_preempts=True),
    "edf": Edf,
    "fair": lambda: Fair[Job](levels=3, quanta=[2, 4, 8], boost=25),
    "realtime": Realtime,
}


class Job:
    """What a policy knows of a task."""

    cost = period = None

    def __init__(self, name: str, rank: int, due: float, *, preemptible: bool) -> None:
        self.name = name
        self.rank = rank
        self.due = due
        self.preemptible = preemptible

    def __repr__(self) -> str:
        return self.name


class Slots:
    """A pool of two slots that is always decided to the end."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.on: list[Job] = []

    def settle(self, now: float) -> None:
        """Decide like the scheduler."""
        policy = self.policy
        for job in policy.expired(now):
            policy.stopped(job, now)
            policy.push(job, now)
            self.on.remove(job)
        while len(policy):
            if len(self.on) < 2:
                job = policy.pop(now)
                policy.started(job, now)
                self.on.append(job)
            elif (victim := policy.victim(now)) is not None:
                policy.stopped(victim, now)
                policy.put_back(victim, now)
                self.on.remove(victim)
            else:
                return

    def leave(self, now: float) -> None:
        """Who came first ends."""
        if self.on:
            job = self.on.pop(0)
            self.policy.stopped(job, now)
            self.policy.forget(job, now)
            self.settle(now)


arrivals = st.tuples(st.integers(0, 5), st.sampled_from([5.0, 20.0, 60.0, inf]), st.booleans())
moves = st.lists(st.tuples(st.integers(0, 4), st.none() | arrivals), max_size=40)


@pytest.mark.parametrize("name", POLICIES)
@given(moves=moves)
def test_what_stirs_nothing_neither_makes_room_nor_brings_the_alarm_forward(name: str, moves: Any) -> None:
    slots, now = Slots(POLICIES[name]()), 0.0
    policy = slots.policy
    for number, (pause, arrival) in enumerate(moves):
        now += pause
        slots.settle(now)
        if arrival is None:
            slots.leave(now)
            continue
        rank, due, preemptible = arrival
        alarm, job = policy.alarm(now), Job(f"job{number}", rank, due, preemptible=preemptible)
        policy.push(job, now)
        if len(slots.on) == 2 and not policy.stirs(job):
            assert (policy.victim(now), policy.alarm(now)) == (None, alarm)
            assert not policy.expired(now)
        slots.settle(now)

"""How many hosts a pool should have: a table for every rule, and what holds under any load."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.load import HostLoad, LoadSample
from actorsched._core.scaling import (
    DWELL,
    LONGEST_PATIENCE,
    PATIENCE,
    Decision,
    Demand,
    Hold,
    Reap,
    Scaling,
    Spawn,
)

NOW = 1000.0
GB = 2**30


class Limits(NamedTuple):
    min: int = 0
    max: int = 4
    idle_timeout: float = 30.0
    cpu_limit: float | None = None


def look(
    others: float | None = 0.0,
    *,
    cores: float = 4.0,
    when: float = NOW,
    hosts: float = 0.0,
    free: int = 8 * GB,
) -> LoadSample:
    """A look at the machine; `hosts` is what our hosts used."""
    return LoadSample(
        when=when,
        cores=cores,
        ours=None if others is None else hosts,
        others=others,
        memory_free=free,
        memory_total=16 * GB,
        hosts={7: HostLoad(7, hosts, GB, "running")},
    )


def wanting(waiting: int = 9, *, since: float = NOW - 0.1, **more: Any) -> Demand:
    """A pool for which tasks wait."""
    return Demand(waiting=waiting, waiting_since=since, **more)


def decide(
    demand: Demand,
    sample: LoadSample | None = None,
    *,
    scaling: Scaling | None = None,
    now: float = NOW,
    **limits: Any,
) -> Decision:
    return (scaling or Scaling()).decide(demand, Limits(**limits), sample, now)


def count(decision: Decision) -> int:
    """How many hosts more, or fewer."""
    match decision:
        case Spawn(count, _):
            return count
        case Reap(count, _):
            return -count
        case Hold():
            return 0


def why(decision: Decision) -> str:
    return decision.why


# ---------------------------------------------------------------------------------------------------- growing


@pytest.mark.parametrize(
    ("demand", "sample", "limits", "expected", "reason"),
    [
        # The first host, and those up to `min`, ask nobody.
        (wanting(5), None, {}, 1, "there is no host"),
        (wanting(5), look(4.0, free=0), {}, 1, "there is no host"),
        (Demand(), None, {"min": 2}, 2, "at least 2 hosts"),
        (Demand(idle=(NOW,)), look(4.0), {"min": 2}, 1, "at least 2 hosts"),
        (wanting(5), look(4.0), {"min": 1}, 1, "at least one host"),
        # Nothing beyond what is allowed.
        (wanting(busy=4), look(), {}, 0, "allows no more than 4"),
        (wanting(busy=2, extra=2), look(), {}, 0, "allows no more than 4"),
        (wanting(), look(), {"max": 0}, 0, "allows no more than 0"),
        # A further one needs a free core, and as many start as there are hosts already.
        (wanting(busy=1), look(0.0), {}, 1, "3 of 4 processors are free"),
        (wanting(busy=2), look(0.0), {}, 2, "2 of 4 processors are free"),
        (wanting(busy=3), look(0.0), {}, 1, "1 of 4 processors are free"),
        (wanting(1, busy=2), look(0.0), {}, 1, "2 of 4 processors are free"),
        (wanting(busy=4), look(0.0, cores=64), {"max": 5}, 1, "60 of 64"),
        (wanting(busy=4), look(0.0, cores=64), {"max": 64}, 4, "60 of 64"),
        # Others are there first,
        (wanting(busy=1), look(2.5), {}, 1, "0.5 of 4 processors are free"),
        (wanting(busy=1), look(2.6), {}, 0, "busy with other work: 2.6 of 4 processors"),
        (wanting(busy=1), look(1.9, cores=2), {}, 0, "busy with other work: 1.9 of 2 processors"),
        (wanting(busy=1), look(9.0), {}, 0, "busy with other work"),
        # and our hosts as well: those with a task count as one core each, however little they use,
        (wanting(busy=2), look(0.0, cores=2), {"max": 2}, 0, "no more than 2"),
        (wanting(busy=2, elsewhere=2), look(0.0), {"max": 3}, 1, ""),
        (wanting(busy=1, starting=1), look(0.0, cores=2), {"max": 2}, 0, ""),
        (wanting(busy=1, elsewhere=3), look(0.0), {"max": 1}, 0, ""),
        (wanting(busy=2, extra=1), look(0.6), {}, 0, "busy with other work"),
        # one that uses more as what it uses.
        (wanting(busy=1), look(0.0, hosts=3.8), {}, 0, "there are keep the processors busy: 3.8 of 4"),
        (wanting(busy=1), look(0.0, hosts=3.4), {}, 1, "0.6 of 4"),
        # With half a quota, half a core is a core.
        (wanting(busy=1), look(0.0, cores=1.5, hosts=1.0), {"max": 2}, 1, "0.5 of 1.5"),
        # Hosts beyond the cores are for tasks that wait: there they count as what they use.
        (wanting(busy=4), look(0.0, hosts=0.1), {"max": 20}, 4, "3.9 of 4"),
        (wanting(busy=4), look(0.0, hosts=3.9), {"max": 20}, 0, "keep the processors busy"),
        (wanting(busy=4), look(3.8, hosts=0.1), {"max": 20}, 0, "busy with other work"),
        # Memory must be there.
        (wanting(busy=1), look(free=GB // 2), {}, 0, "memory is short: 512 of 16384 MiB"),
        (wanting(busy=1), look(free=GB), {}, 1, ""),
        # The user wants no more on a machine that is busier than this.
        (
            wanting(busy=1),
            look(2.0, hosts=1.0),
            {"cpu_limit": 70},
            0,
            "busy to 75 %, and Hosts.cpu_limit is 70 %",
        ),
        (wanting(busy=1), look(2.0, hosts=1.0), {"cpu_limit": 75}, 1, "1 of 4"),
        (wanting(), look(4.0), {"cpu_limit": 1}, 1, "there is no host"),
        (wanting(busy=1), look(4.0), {"cpu_limit": 1, "min": 2}, 1, "at least 2 hosts"),
        # Nobody knows the load yet, or any more.
        (wanting(busy=1), None, {}, 0, "not known yet"),
        (wanting(busy=1), look(None), {}, 0, "not known yet"),
        (wanting(busy=1), look(when=NOW - 60), {}, 0, "not known yet"),
        # Those that are on their way will do.
        (wanting(2, starting=2), look(), {}, 0, "starting or idle"),
        (wanting(2, starting=1, idle=(NOW,)), look(), {}, 0, "starting or idle"),
        (wanting(4, starting=2), look(), {}, 2, ""),
    ],
)
def test_a_pool_grows_while_tasks_wait_and_cores_are_free(
    demand: Demand, sample: LoadSample | None, limits: dict[str, Any], expected: int, reason: str
) -> None:
    decision = decide(demand, sample, **limits)
    assert count(decision) == expected
    assert reason in why(decision)


def test_a_little_memory_is_kept_free_where_there_is_little() -> None:
    small = LoadSample(NOW, 4.0, 0.0, 0.0, 60 * 2**20, 512 * 2**20)
    assert "memory is short: 60 of 512 MiB" in why(decide(wanting(busy=1), small))
    unknown = LoadSample(NOW, 4.0, 0.0, 0.0, 60 * 2**20)
    assert "memory is short: 60 MiB" in why(decide(wanting(busy=1), unknown))
    assert count(decide(wanting(busy=1), LoadSample(NOW, 4.0, 0.0, 0.0))) == 1


def test_a_sample_is_good_for_one_start() -> None:
    scaling = Scaling()
    assert count(decide(wanting(busy=1), look(), scaling=scaling)) == 1
    again = decide(wanting(busy=1, starting=1), look(), scaling=scaling, now=NOW + 0.04)
    assert "not known yet" in why(again)
    later = decide(wanting(busy=2), look(when=NOW + 0.05), scaling=scaling, now=NOW + 0.05)
    assert count(later) == 2


def test_hosts_that_are_to_wait_get_time_to_show_that_they_do() -> None:
    scaling, now = Scaling(), NOW
    assert count(decide(wanting(busy=4), look(hosts=0.1), scaling=scaling, max=20)) == 4
    now += 0.4
    early = decide(wanting(busy=8), look(hosts=0.1, when=now), scaling=scaling, now=now, max=20)
    assert "there are keep the processors busy: 8 of 4" in why(early)
    now += 0.2
    assert count(decide(wanting(busy=8), look(hosts=0.1, when=now), scaling=scaling, now=now, max=20)) == 4


# ------------------------------------------------------------------------------------------------- starvation


def test_when_nothing_moves_one_more_is_started_however_busy_the_machine_is() -> None:
    since = NOW - PATIENCE
    early = decide(wanting(since=since, busy=1), look(4.0), now=NOW - 0.01)
    assert isinstance(early, Hold)
    assert early.until == NOW
    assert count(decide(wanting(since=since, busy=1), look(4.0))) == 1
    assert count(decide(wanting(since=since, busy=1), None)) == 1
    assert count(decide(wanting(since=since, busy=1), look(free=0))) == 1


def test_no_patience_is_lost_while_the_machine_is_busier_than_the_user_allows() -> None:
    since = NOW - 100 * PATIENCE
    assert "cpu_limit" in why(decide(wanting(since=since, busy=1), look(4.0), cpu_limit=90.0))
    assert count(decide(wanting(since=since, busy=1), None, cpu_limit=90.0)) == 1
    assert count(decide(wanting(since=since, busy=1), look(3.5), cpu_limit=90.0)) == 1


@pytest.mark.parametrize(
    "moving",
    [{"busy": 1, "finished": NOW - 1}, {"busy": 1, "starting": 1}, {"busy": 4}],
    ids=["something finishes", "a host is starting", "max"],
)
def test_while_something_moves_or_nothing_more_is_allowed_the_busy_machine_is_spared(
    moving: dict[str, Any],
) -> None:
    assert count(decide(wanting(since=NOW - 60, **moving), look(4.0))) == 0


def test_the_patience_doubles_until_something_finishes() -> None:
    scaling, now, starts = Scaling(), NOW, list[float]()
    demand = wanting(since=NOW, busy=1)
    while len(starts) < 7:
        decision = decide(demand, look(4.0, when=now), scaling=scaling, now=now, max=99)
        if isinstance(decision, Hold):
            assert decision.until is not None
            assert decision.until > now
            now = decision.until
        else:
            assert count(decision) == 1
            starts.append(now)
    waits = [late - early for early, late in zip([NOW, *starts], starts, strict=False)]
    assert waits == [2, 4, 8, 16, 32, 32, 32]
    finished = wanting(since=NOW, busy=1, finished=now + 1)
    assert decide(finished, look(4.0, when=now + 1), scaling=scaling, now=now + 1, max=99) == Hold(
        "the machine is busy with other work: 4 of 4 processors", now + 1 + PATIENCE
    )


# -------------------------------------------------------------------------------------------------- shrinking

OLD = NOW - 31


@pytest.mark.parametrize(
    ("idle", "limits", "expected"),
    [
        ((), {}, 0),
        ((OLD,), {}, -1),
        ((NOW - 29,), {}, 0),
        ((NOW - 30,), {}, -1),
        ((NOW, OLD, NOW - 35, NOW - 29), {}, -2),
        ((OLD, OLD, OLD), {"min": 2}, -1),
        ((OLD, OLD), {"min": 2}, 0),
        ((OLD, OLD), {"idle_timeout": inf}, 0),
        ((NOW,), {"idle_timeout": 0.0}, -1),
        ((NOW - 0.2,), {"idle_timeout": 0.1}, -1),
    ],
)
def test_hosts_that_were_idle_for_too_long_end(
    idle: tuple[float, ...], limits: dict[str, Any], expected: int
) -> None:
    assert count(decide(Demand(idle=idle), look(), **limits)) == expected
    assert count(decide(Demand(idle=idle), None, **limits)) == expected


def test_busy_hosts_count_among_those_that_are_kept() -> None:
    assert count(decide(Demand(idle=(OLD, OLD), busy=1), look(), min=2)) == -1


def test_no_host_ends_while_tasks_wait() -> None:
    assert count(decide(wanting(1, idle=(OLD,)), look())) == 0


def test_it_tells_when_the_next_idle_host_is_due() -> None:
    hold = decide(Demand(idle=(NOW - 3, NOW - 10)), look())
    assert hold == Hold("no task waits; idle hosts are kept for 30s", NOW + 20)
    assert decide(Demand(busy=1), look()) == Hold("no task waits", None)
    assert decide(Demand(idle=(NOW,)), look(), idle_timeout=inf) == Hold(
        "no task waits; idle hosts are kept", None
    )


def crowd(demand: Demand, others: float, *, lasting: float = DWELL, **limits: Any) -> Decision:
    """What is decided after others have kept the machine busy for some time."""
    scaling = Scaling()
    first = decide(demand, look(others, when=NOW - lasting), scaling=scaling, now=NOW - lasting, **limits)
    assert count(first) == 0
    return decide(demand, look(others), scaling=scaling, **limits)


@pytest.mark.parametrize(
    ("idle", "others", "limits", "expected"),
    [
        ((NOW - 4, NOW - 4), 4.0, {}, -2),
        ((NOW - 4, NOW - 4), 4.0, {"min": 1}, -1),
        ((NOW - 4, NOW - 4), 3.0, {}, -1),
        ((NOW - 4, NOW - 4), 2.0, {}, 0),
        ((NOW - 4, NOW - 2), 4.0, {}, -1),
        ((NOW - 2, NOW - 2), 4.0, {}, 0),
        ((NOW - 4, NOW - 4), 4.0, {"idle_timeout": 60.0}, 0),
        ((NOW - 4, NOW - 4), 4.0, {"idle_timeout": 5.0}, -2),
    ],
)
def test_when_others_crowd_the_machine_idle_hosts_go_after_a_tenth_of_the_time(
    idle: tuple[float, ...], others: float, limits: dict[str, Any], expected: int
) -> None:
    assert count(crowd(Demand(idle=idle), others, **limits)) == expected


def test_a_short_rush_of_others_is_no_crowd() -> None:
    idle = Demand(idle=(NOW - 4,))
    assert count(crowd(idle, 4.0, lasting=0.5)) == 0
    scaling = Scaling()
    for when, others in [(NOW - 2, 4.0), (NOW - 1, 0.0), (NOW, 4.0)]:
        assert count(decide(idle, look(others, when=when), scaling=scaling, now=when)) == 0


def test_it_says_why_idle_hosts_go_early() -> None:
    assert why(crowd(Demand(idle=(NOW - 4,)), 3.9)) == (
        "the machine is busy with other work: 3.9 of 4 processors, so idle hosts are kept for 3s only"
    )


# ------------------------------------------------------------------------------------------------- hysteresis


def test_a_host_that_has_just_started_is_not_ended() -> None:
    scaling = Scaling()
    assert count(decide(wanting(1), None, scaling=scaling)) == 1
    idle = Demand(idle=(NOW, NOW - 60))
    early = decide(idle, look(), scaling=scaling, now=NOW + DWELL / 2)
    assert early == Hold("no task waits; idle hosts are kept for 30s", NOW + DWELL)
    assert count(decide(idle, look(), scaling=scaling, now=NOW + DWELL)) == -1


def test_after_an_end_no_further_host_is_started_at_once_but_the_first_one_is() -> None:
    scaling = Scaling()
    assert count(decide(Demand(idle=(OLD, NOW)), look(), scaling=scaling)) == -1
    soon = NOW + 0.1
    assert decide(wanting(since=soon, busy=1), look(when=soon), scaling=scaling, now=soon) == Hold(
        "a host was ended just now", NOW + DWELL
    )
    assert count(decide(wanting(since=soon), look(when=soon), scaling=scaling, now=soon)) == 1


def test_it_has_a_truthful_repr() -> None:
    scaling = Scaling()
    decide(wanting(1), None, scaling=scaling)
    assert repr(scaling) == "<Scaling last start 1000.0, last end -inf, 0 regardless, crowded since None>"


# --------------------------------------------------------------------------------------------- under any load


class Moment(NamedTuple):
    """What happens in a random run, before the next decision."""

    after: float
    arrivals: int
    finishing: int
    started: bool
    others: float | None
    free: int


MOMENTS = st.lists(
    st.builds(
        Moment,
        after=st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 40.0]),
        arrivals=st.sampled_from([0, 0, 0, 1, 2, 10]),
        finishing=st.integers(0, 4),
        started=st.booleans(),
        others=st.none() | st.floats(0, 5),
        free=st.sampled_from([0, 70 * 2**20, 8 * GB]),
    ),
    max_size=60,
)
LIMITS = st.builds(
    lambda least, more, timeout: Limits(least, max(1, least + more), timeout),
    st.integers(0, 3),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.2, 5.0, 30.0, inf]),
)


class Pool:
    """A pool that does what `Scaling` says, with tasks that end when the test wants."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.scaling = Scaling()
        self.now = NOW
        self.waiting: list[float] = []
        self.starting = 0
        self.busy = 0
        self.idle: list[float] = []
        self.finished = -inf
        self.log: list[tuple[float, Decision, Demand]] = []

    def demand(self) -> Demand:
        return Demand(
            waiting=len(self.waiting),
            waiting_since=self.waiting[0] if self.waiting else None,
            starting=self.starting,
            busy=self.busy,
            idle=tuple(self.idle),
            finished=self.finished,
        )

    def happen(self, moment: Moment) -> None:
        self.now += moment.after
        self.waiting += [self.now] * moment.arrivals
        ended = min(moment.finishing, self.busy)
        self.busy -= ended
        self.finished = self.now if ended else self.finished
        self.idle += [self.now] * ended
        if moment.started:
            self.idle += [self.now] * self.starting
            self.starting = 0
        while self.waiting and self.idle:
            self.waiting.pop(0)
            self.idle.pop()
            self.busy += 1

    def decide(self, sample: LoadSample | None) -> Decision:
        demand = self.demand()
        decision = self.scaling.decide(demand, self.limits, sample, self.now)
        self.log.append((self.now, decision, demand))
        if isinstance(decision, Spawn):
            self.starting += decision.count
        elif isinstance(decision, Reap):
            self.idle = sorted(self.idle)[decision.count :]
        return decision

    def play(self, moments: list[Moment]) -> None:
        for moment in moments:
            self.happen(moment)
            self.decide(look(moment.others, when=self.now, free=moment.free))


@given(MOMENTS, LIMITS)
def test_a_pool_stays_within_its_limits(moments: list[Moment], limits: Limits) -> None:
    pool = Pool(limits)
    pool.play(moments)
    for _, decision, demand in pool.log:
        after = demand.hosts + count(decision)
        assert after <= limits.max
        if isinstance(decision, Reap):
            assert 0 < decision.count <= len(demand.idle)
            assert after >= limits.min
        if isinstance(decision, Spawn):
            assert decision.count > 0


@given(MOMENTS, LIMITS)
def test_a_pool_does_not_flap(moments: list[Moment], limits: Limits) -> None:
    pool = Pool(limits)
    pool.play(moments)
    dwell = min(DWELL, limits.idle_timeout)
    done = [(when, count(decision), demand) for when, decision, demand in pool.log if count(decision)]
    for index, (when, change, demand) in enumerate(done):
        opposite = [earlier for earlier, other, _ in done[:index] if other * change < 0]
        if change < 0 or demand.hosts >= max(1, limits.min):
            assert all(when - earlier >= dwell for earlier in opposite)


@given(MOMENTS, LIMITS, st.floats(0, 9), st.booleans())
def test_whoever_waits_gets_a_host_in_the_end(
    moments: list[Moment], limits: Limits, others: float, seen: bool
) -> None:
    pool = Pool(limits)
    pool.play(moments)
    pool.waiting.append(pool.now)
    patience = 0.0
    while pool.demand().hosts < limits.max and pool.waiting:
        before = pool.now
        decision = pool.decide(look(others, when=pool.now, free=0) if seen else None)
        if isinstance(decision, Hold) and not pool.starting:
            assert decision.until is not None
            assert decision.until > before
            pool.now = decision.until
            patience += pool.now - before
        else:
            pool.happen(Moment(0.01, 0, 0, True, None, 0))
            patience = 0.0
        assert patience <= LONGEST_PATIENCE + DWELL


@given(MOMENTS, LIMITS)
def test_the_same_happenings_lead_to_the_same_decisions(moments: list[Moment], limits: Limits) -> None:
    first, second = Pool(limits), Pool(limits)
    first.play(moments)
    second.play(moments)
    assert first.log == second.log


@given(MOMENTS, LIMITS)
def test_asking_again_at_once_changes_nothing(moments: list[Moment], limits: Limits) -> None:
    pool = Pool(limits)
    pool.play(moments)
    sample = look(when=pool.now)
    for _ in range(3):
        settled = pool.decide(sample)
    assert isinstance(settled, Hold)
    assert settled.until is None or settled.until > pool.now

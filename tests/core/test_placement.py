"""Where one more actor is to live: tables, and what holds for any hosts and any load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.load import HostLoad, LoadSample
from actorsched._core.placement import HEAVY, Enter, Home, Place, Start, lightest, place

MIB = 2**20


def sample(
    cores: float, others: float | None = 0.0, *, hosts: float = 0.0, free: int | None = None
) -> LoadSample:
    loads = {7: HostLoad(7, hosts, 30 * MIB, "running")}
    return LoadSample(1.0, cores, hosts, others, free, None if free is None else 1000 * MIB, hosts=loads)


# ------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("homes", "most", "answer"),
    [
        ([], 1, Start()),
        ([Home()], 2, Enter(0)),
        ([Home(actors=1)], 1, Enter(0)),
        ([Home(actors=1)], 2, Start()),
        ([Home(actors=1), Home()], 2, Enter(1)),
        ([Home(actors=5), Home(actors=4)], 2, Enter(1)),
        ([Home(actors=5, open=False), Home(actors=9)], 1, Enter(1)),
        ([Home(actors=5, open=False)], 1, Start()),
        ([Home(open=False), Home(actors=1)], 2, Start()),
        ([Home(actors=3), Home(actors=2, calls=2)], 2, Enter(0)),
        ([Home(actors=3), Home(actors=2, cpu=1.0)], 2, Enter(0)),
        ([Home(actors=2 + HEAVY), Home(actors=1, cpu=1.0)], 2, Enter(1)),
        ([Home(actors=2, cpu=None), Home(actors=2, cpu=0.0)], 2, Enter(0)),
        ([Home(actors=2, rss=2), Home(actors=2, rss=1)], 2, Enter(1)),
        ([Home(actors=1, calls=1), Home(calls=1)], 2, Enter(1)),
    ],
)
def test_one_more_actor_without_a_look_at_the_machine(homes: list[Home], most: int, answer: Place) -> None:
    assert place(homes, most) == answer


@pytest.mark.parametrize(
    ("look", "busy", "starts"),
    [
        (sample(2), 0, True),
        (sample(2, others=0.5), 0, True),
        (sample(2, others=0.6), 0, False),
        (sample(2, others=None), 0, True),
        (sample(2), 1, False),
        (sample(4), 2, True),
        (sample(4, hosts=3.6), 0, False),
        (sample(1), 0, False),
        (sample(1.5), 0, True),
        (sample(2, free=100 * MIB), 0, True),
        (sample(2, free=40 * MIB), 0, False),
    ],
)
def test_another_host_is_started_where_a_core_and_memory_are_free(
    look: LoadSample, busy: int, starts: bool
) -> None:
    assert place([Home(actors=1)], 9, look, busy) == (Start() if starts else Enter(0))


def test_a_host_that_takes_the_place_of_another_needs_no_processor_of_its_own() -> None:
    full = sample(2, others=2.0)
    assert place([Home(actors=1)], 2, full) == Enter(0)
    assert place([Home(actors=1)], 2, full, owed=True) == Start()
    assert place([Home(actors=1), Home(actors=1, open=False)], 1, full, owed=True) == Enter(0)
    assert place([Home(actors=1), Home()], 3, full, owed=True) == Enter(1)


def test_however_busy_the_machine_is_an_actor_has_a_place() -> None:
    assert place([], 1, sample(1, others=1.0), 5) == Start()


def test_whoever_cannot_start_a_host_falls_back_on_those_there_are() -> None:
    assert lightest([Home(actors=3), Home(actors=2), Home(open=False)]) == 1
    assert lightest([Home(open=False)]) is None


# --------------------------------------------------------------------------------------------- properties

homes = st.builds(
    Home,
    actors=st.integers(0, 50),
    calls=st.integers(0, 50),
    cpu=st.none() | st.floats(0, 8),
    rss=st.none() | st.integers(0, 2**34),
    open=st.booleans(),
)
samples = st.none() | st.builds(
    sample,
    st.floats(0.1, 64),
    st.none() | st.floats(0, 64),
    hosts=st.floats(0, 64),
    free=st.none() | st.integers(0, 1000 * MIB),
)


@given(st.lists(homes, max_size=8), st.integers(1, 8), samples, st.integers(0, 8), st.booleans())
def test_whoever_is_sent_somewhere_finds_an_open_host_and_there_are_never_too_many(
    homes: list[Home], most: int, look: LoadSample | None, busy: int, owed: bool
) -> None:
    answer = place(homes, most, look, busy, owed=owed)
    opened = [home for home in homes if home.open]
    if isinstance(answer, Start):
        assert len(opened) < most or not opened
        assert all(home.actors for home in opened), "an empty host would have taken it"
        return
    chosen = homes[answer.index]
    assert chosen.open
    assert not any(home.actors == 0 for home in opened) or chosen.actors == 0
    assert not any(has_less(other, chosen) for other in opened)


def has_less(one: Home, other: Home) -> bool:
    """Whether it has less to do, whichever way one looks at it."""
    if (one.cpu or 0.0) > (other.cpu or 0.0) or one.actors > other.actors or one.calls > other.calls:
        return False
    return (one.actors, one.calls) != (other.actors, other.calls)


@given(st.integers(1, 6), st.integers(0, 60), samples)
def test_actors_that_come_one_after_the_other_are_spread_evenly(
    most: int, count: int, look: LoadSample | None
) -> None:
    counts: list[int] = []
    for _ in range(count):
        match place([Home(actors=actors) for actors in counts], most, look):
            case Start():
                counts.append(1)
            case Enter(index):
                counts[index] += 1
    assert len(counts) <= most
    assert sum(counts) == count
    assert not counts or max(counts) - min(counts) <= 1

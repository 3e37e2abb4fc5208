"""`host="auto"` decides by what runs have used, and does not flap."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._core.auto_host import (
    CROSSING,
    LONG,
    PAUSE,
    REFUSALS,
    RUNS,
    SHORT_RUNS,
    Learned,
    Usage,
    choose,
    deserves_advice,
)

if TYPE_CHECKING:
    from actorsched._core.auto_host import Kind

MS, US = 1e-3, 1e-6


def plain(host: Kind = "thread") -> Learned:
    return Learned(host=host)


def asynchronous() -> Learned:
    return Learned(asynchronous=True, host="loop")


def run(
    learned: Learned, cpu: float, wall: float, *, times: int = 1, others: float = 0, step: float = 0
) -> Kind:
    """So many runs, each where it is by then; answers with where the next would go."""
    for _ in range(times):
        learned.note(Usage(learned.place, cpu, wall, others, step))
    return learned.place


# ------------------------------------------------------------------------------------- what suits whom

SUITS: list[tuple[str, Learned, Usage, Kind]] = [
    ("computes for 20 ms", plain(), Usage("thread", 20 * MS, 20.4 * MS), "process"),
    ("computes for 2 s", plain(), Usage("thread", 2.0, 2.1), "process"),
    ("computes for 1 ms: a crossing would cost as much", plain(), Usage("thread", 1 * MS, 1 * MS), "thread"),
    ("waits for 1 s", plain(), Usage("thread", 1 * MS, 1.0), "thread"),
    ("computes for 20 ms, and waits for 1 s", plain(), Usage("thread", 20 * MS, 1.02), "thread"),
    ("computes among 39 others", plain(), Usage("thread", 20 * MS, 0.8, others=0.78), "process"),
    ("waits while others compute a little", plain(), Usage("thread", 2 * MS, 1.0, others=0.5), "thread"),
    ("is over at once", plain(), Usage("thread", 5 * US, 5 * US), "loop"),
    ("takes 60 us", plain(), Usage("thread", 60 * US, 60 * US), "thread"),
    ("waits without an end in sight of a processor", plain(), Usage("thread", 0.0, 1.0), "thread"),
    ("was marked, and computes", plain("process"), Usage("process", 20 * MS, 20 * MS), "process"),
    ("was marked, and waits", plain("process"), Usage("process", 20 * MS, 1.0), "thread"),
    ("async, waits", asynchronous(), Usage("loop", 1 * MS, 1.0, step=1 * MS), "loop"),
    ("async, computes in one go", asynchronous(), Usage("loop", 50 * MS, 51 * MS, step=50 * MS), "process"),
    ("async, computes politely", asynchronous(), Usage("loop", 50 * MS, 51 * MS, step=1 * MS), "loop"),
    ("async, computes, and waits more", asynchronous(), Usage("loop", 0.05, 1.0, step=0.05), "loop"),
    ("async, is over at once", asynchronous(), Usage("loop", 5 * US, 5 * US, step=5 * US), "loop"),
]


@pytest.mark.parametrize(("what", "learned", "usage", "place"), SUITS, ids=[row[0] for row in SUITS])
def test_a_function_that_is_always_the_same_finds_its_place_and_stays(
    what: str, learned: Learned, usage: Usage, place: Kind
) -> None:
    """It computes as long wherever it runs, and waits as long."""
    settled = run(learned, usage.cpu, usage.wall, others=usage.others, step=usage.step, times=2 * SHORT_RUNS)
    assert settled == place
    # in the new place there may be no others
    assert run(learned, usage.cpu, usage.own, step=usage.step, times=500) == place


def test_what_is_not_known_stays_where_it_begins() -> None:
    assert plain().place == choose(plain()) == "thread"
    assert asynchronous().place == choose(asynchronous()) == "loop"
    learned = plain()
    assert run(learned, 20 * MS, 20 * MS, times=RUNS - 1) == "thread"
    assert run(learned, 20 * MS, 20 * MS) == "process"


def test_one_run_is_enough_when_it_computes_for_long() -> None:
    assert run(plain(), 0.3, 0.3) == "process"


# ---------------------------------------------------------------------------------------------- the loop


def quick() -> Learned:
    learned = plain()
    assert run(learned, 5 * US, 5 * US, times=SHORT_RUNS) == "loop"
    return learned


def test_the_loop_takes_only_what_is_short_many_times_in_a_row() -> None:
    learned = plain()
    for _ in range(10):
        assert run(learned, 5 * US, 5 * US, times=SHORT_RUNS - 1) == "thread"
        assert run(learned, 5 * US, 200 * US) == "thread"
    assert run(learned, 5 * US, 5 * US, times=SHORT_RUNS) == "loop"


def test_quick_failures_say_nothing_of_how_long_it_takes() -> None:
    learned = plain()
    for _ in range(100):
        learned.note(Usage("thread", 5 * US, 5 * US, returned=False))
    assert learned.place == "thread"


def test_one_long_run_takes_it_out_of_the_loop_and_it_takes_longer_to_come_back() -> None:
    learned = quick()
    assert run(learned, 5 * US, LONG) == "thread"
    assert learned.verdict is not None
    assert learned.verdict.why == "long"
    assert run(learned, 5 * US, 5 * US, times=SHORT_RUNS) == "thread"
    assert run(learned, 5 * US, 5 * US, times=SHORT_RUNS) == "loop"


def test_runs_that_grow_longer_take_it_out_of_the_loop() -> None:
    learned = quick()
    assert run(learned, 150 * US, 150 * US, times=20) == "thread"
    assert learned.verdict is not None
    assert learned.verdict.why == "slow"


def test_a_short_hiccup_does_not() -> None:
    assert run(quick(), 5 * US, 300 * US) == "loop"


# ------------------------------------------------------------------------------------------- processes


def test_a_dear_crossing_brings_it_back_and_keeps_it_back() -> None:
    learned = plain()
    assert run(learned, 20 * MS, 20 * MS, times=RUNS) == "process"
    for _ in range(20):
        learned.crossed(0.1)
    assert run(learned, 20 * MS, 20 * MS, times=RUNS) == "thread"
    assert run(learned, 20 * MS, 20 * MS, times=50) == "thread"


def test_that_the_crossing_was_dear_is_forgotten() -> None:
    learned = plain()
    learned.crossed(0.1)
    assert run(learned, 20 * MS, 20 * MS, times=10) == "thread"
    assert run(learned, 20 * MS, 20 * MS, times=1000) == "process"


def test_the_cost_of_the_crossing_follows_the_arguments() -> None:
    learned = plain()
    for _ in range(50):
        learned.crossed(0.01)
    assert learned.crossing == pytest.approx(0.01 + CROSSING, rel=0.01)


def test_a_run_elsewhere_decides_nothing() -> None:
    learned = plain()
    run(learned, 20 * MS, 20 * MS, times=RUNS)
    for _ in range(100):  # those that were on their way when it was moved
        learned.note(Usage("thread", 1 * US, 1 * US))
    assert learned.place == "process"


def test_what_cannot_be_pickled_is_not_tried_for_a_while() -> None:
    learned = plain()
    run(learned, 20 * MS, 20 * MS, times=RUNS)
    for _ in range(REFUSALS):
        assert learned.place == "process"
        learned.refused("args[0]: cannot pickle it")
    for _ in range(PAUSE):
        assert learned.place == "thread"
        learned.note(Usage("thread", 20 * MS, 20 * MS))
    assert learned.place == "process"
    learned.refused("args[0]: cannot pickle it")
    assert learned.pause == 2 * PAUSE


def test_one_success_makes_up_for_the_failures() -> None:
    learned = plain()
    run(learned, 20 * MS, 20 * MS, times=RUNS)
    for _ in range(REFUSALS - 1):
        learned.refused("args[0]: cannot pickle it")
    learned.crossed(0.0)
    for _ in range(REFUSALS - 1):
        learned.refused("args[0]: cannot pickle it")
    assert learned.place == "process"


# ---------------------------------------------------------------------------------- whatever the runs are

seconds = st.sampled_from([0.0, 1 * US, 10 * US, 70 * US, 500 * US, 3 * MS, 20 * MS, 0.3])
used = st.tuples(seconds, seconds, seconds, seconds)


@given(st.booleans(), st.lists(used, min_size=1, max_size=60), st.integers(1, 40))
def test_it_does_not_flap(is_async: bool, pattern: list[tuple[float, ...]], repeats: int) -> None:
    learned = asynchronous() if is_async else plain()
    moves = runs = 0
    for _ in range(repeats):
        for cpu, waits, others, step in pattern:
            before = learned.host
            learned.note(Usage(learned.host, cpu, cpu + waits + others, others=others, step=min(step, cpu)))
            runs += 1
            moves += learned.host != before
    assert moves <= 4 + 2 * log2(1 + runs)


@given(st.booleans(), st.lists(st.tuples(used, st.sampled_from(["ok", "raised", "refused", "crossed"]))))
def test_an_async_function_is_never_in_a_thread_and_no_long_run_is_followed_by_the_loop(
    is_async: bool, events: list[tuple[tuple[float, ...], str]]
) -> None:
    learned = asynchronous() if is_async else plain()
    for (cpu, waits, others, step), event in events:
        if event == "refused":
            learned.refused("it")
        elif event == "crossed":
            learned.crossed(waits)
        else:
            place = learned.place
            wall = cpu + waits + others
            learned.note(Usage(place, cpu, wall, others, min(step, cpu), returned=event == "ok"))
            if not is_async and wall >= LONG:
                assert learned.place != "loop"
        assert learned.place in (("loop", "process") if is_async else ("loop", "thread", "process"))
        assert not (learned.pause and learned.place == "process")
        assert all(0.0 <= average.share <= 1.0 for average in learned.averages.values())


@given(st.lists(st.sampled_from([1 * US, 20 * US]), min_size=SHORT_RUNS, max_size=300))
def test_short_runs_lead_to_the_loop_and_nothing_leads_out_of_it_but_longer_ones(walls: list[float]) -> None:
    learned = plain()
    for wall in walls:
        learned.note(Usage(learned.host, wall, wall))
    assert learned.place == "loop"


# ---------------------------------------------------------------------------------------------- the advice


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage("thread", 0.1, 0.12), True),
        (Usage("thread", 0.09, 0.09), False),
        (Usage("thread", 0.2, 1.0), False),
        (Usage("thread", 0.2, 8.0, others=7.8), True),
        (Usage("thread", 0.2, 0.0), True),
    ],
)
def test_who_computes_for_long_and_does_not_wait_deserves_advice(usage: Usage, expected: bool) -> None:
    assert deserves_advice(usage) is expected

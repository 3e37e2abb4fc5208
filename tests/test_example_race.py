"""The race in `examples/bookings.py`: found in 1,000 seeds, replayed each time, gone when mended."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from actorsched.testing import ConditionFailed, Explored, Failure, find_failure
from examples.bookings import CarefulDesk, Desk
from examples.test_bookings import evening

if TYPE_CHECKING:
    from actorsched.testing.exploring import BackendName, Scenario

ROOT = pathlib.Path(__file__).parent.parent
BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])
FIND = """
import json, sys
from tests.test_example_race import found
failure = found(sys.argv[1])
print(json.dumps([failure.seed, failure.shortest, [str(line) for line in failure.log]]))
"""


def evening_at(kind: type[Desk]) -> Scenario:
    return functools.partial(evening, kind=kind)


@functools.cache
def found(backend: BackendName) -> Failure:
    failure = find_failure(evening_at(Desk), 1000, backend=backend)
    assert isinstance(failure, Failure), "the race was not found"
    return failure


def fails_under(seed: int | str, backend: BackendName) -> bool:
    failure = find_failure(evening_at(Desk), [seed], backend=backend, shorten=False)
    return isinstance(failure, Failure) and isinstance(failure.error, ConditionFailed)


@BOTH
@pytest.mark.slow
@pytest.mark.deadline(120)
def test_the_race_is_found_within_a_thousand_seeds_and_hardly_any_of_them_shows_it(
    backend: BackendName,
) -> None:
    failure = found(backend)
    assert isinstance(failure.error, ConditionFailed)
    assert failure.repeatable
    assert not fails_under("s:0:", backend), "it shows in the plain order, too"


@BOTH
@pytest.mark.slow
@pytest.mark.deadline(120)
def test_the_race_is_replayed_a_hundred_times_of_a_hundred(backend: BackendName) -> None:
    failure = found(backend)
    assert all(fails_under(failure.seed, backend) for _ in range(100))
    assert all(fails_under(failure.shortest, backend) for _ in range(100))


@BOTH
@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(240)
def test_another_process_finds_the_same_race_with_the_same_story(backend: BackendName) -> None:
    failure = found(backend)
    answer = subprocess.run(
        [sys.executable, "-c", FIND, backend],
        capture_output=True,
        check=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        timeout=200,
    )
    seed, shortest, log = json.loads(answer.stdout)
    assert (seed, shortest) == (failure.seed, failure.shortest)
    assert log == list(map(str, failure.log))


@BOTH
@pytest.mark.slow
@pytest.mark.deadline(120)
def test_the_story_of_the_race_names_the_lines_that_look_and_sell_and_what_came_between(
    backend: BackendName,
) -> None:
    story = "\n".join(map(str, found(backend).log))
    looks = story.index("handles holds('Ann')")
    gives_back = story.index("handles give_back('Ann')", looks)
    sells = story.index("`await self.hall.ask.sell(seat, customer)`", looks)
    assert "`if not await self.hall.ask.holds(customer):`" in story[:gives_back]
    assert gives_back < story.index("handles sell('A1', 'Ann')", sells)
    assert story.count("handles sell(") == 2


@BOTH
@pytest.mark.slow
@pytest.mark.deadline(120)
def test_the_careful_desk_sells_each_seat_once_under_a_thousand_seeds(backend: BackendName) -> None:
    explored = find_failure(evening_at(CarefulDesk), 1000, backend=backend)
    assert isinstance(explored, Explored), str(explored)
    assert explored.seeds == 1000

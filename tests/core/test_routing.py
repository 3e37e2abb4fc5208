"""Routing: in turn, to whoever has least to do, and by key."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from actorsched._core.routing import ByKey, LeastLoaded, RoundRobin, Router, Routing, router, stable_hash

KEYS = st.recursive(
    st.text() | st.binary() | st.integers() | st.floats(allow_nan=False) | st.none() | st.booleans(),
    lambda keys: st.lists(keys, max_size=3).map(tuple),
    max_leaves=6,
)


def idle(_index: int) -> float:
    return 0.0


def test_round_robin_takes_each_in_turn() -> None:
    robin = RoundRobin()
    assert [robin.choose(3, idle, None) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_goes_on_when_the_pool_grows_or_shrinks() -> None:
    robin = RoundRobin()
    assert [robin.choose(size, idle, None) for size in (2, 2, 3, 3, 3, 1, 4)] == [0, 1, 2, 0, 1, 0, 1]


def test_the_least_loaded_is_chosen_and_the_first_of_equals() -> None:
    loads = [3, 1, 2, 1]
    assert LeastLoaded().choose(4, loads.__getitem__, None) == 1
    assert LeastLoaded().choose(4, idle, None) == 0


@given(st.lists(st.integers(0, 5), min_size=1))
def test_nobody_has_less_to_do_than_the_least_loaded(loads: list[int]) -> None:
    chosen = LeastLoaded().choose(len(loads), loads.__getitem__, None)
    assert chosen == loads.index(min(loads))


@given(KEYS, st.integers(1, 1000))
def test_equal_keys_go_to_the_same_member(key: object, size: int) -> None:
    chosen = ByKey().choose(size, idle, key)
    assert 0 <= chosen < size
    assert ByKey().choose(size, idle, key) == chosen


@given(KEYS, st.integers(1, 200))
def test_when_a_pool_grows_a_key_stays_or_goes_to_the_new_member(key: object, size: int) -> None:
    before, after = (ByKey().choose(n, idle, key) for n in (size, size + 1))
    assert after in (before, size)


def test_when_a_pool_grows_only_its_fair_share_of_keys_moves() -> None:
    route = ByKey()
    moved = sum(route.choose(9, idle, n) != route.choose(10, idle, n) for n in range(10_000))
    assert 900 < moved < 1100


@pytest.mark.parametrize("prefix", ["", "user-", "https://example.org/item?id="])
def test_keys_spread_evenly(prefix: str) -> None:
    counts = Counter(ByKey().choose(10, idle, f"{prefix}{n}") for n in range(10_000))
    assert len(counts) == 10
    assert 850 < min(counts.values()) <= max(counts.values()) < 1150


@given(KEYS, KEYS)
def test_keys_that_are_equal_to_python_have_one_hash_and_others_differ(one: object, other: object) -> None:
    if one == other:
        assert stable_hash(one) == stable_hash(other)
    else:
        assume(stable_hash(one) != stable_hash(other))  # 32 bits: a collision is possible, and harmless


def test_numbers_that_are_equal_go_together() -> None:
    assert stable_hash(1) == stable_hash(1.0) == stable_hash(True)
    assert stable_hash((0, "a")) == stable_hash((-0.0, "a"))


def test_tuples_are_not_confused_with_what_is_in_them() -> None:
    keys = [
        ("a", "b"),
        ("ab",),
        ("a", ("b",)),
        (("a",), "b"),
        "ab",
        b"ab",
        ("ab", ""),
        (),
        None,
        "n",
        12,
        "12",
        b"i12",
    ]
    assert len({stable_hash(key) for key in keys}) == len(keys)


@pytest.mark.process
def test_a_hash_does_not_depend_on_the_process() -> None:
    script = (
        "from actorsched._core.routing import stable_hash; print(stable_hash(('user', 7, b'x', 2.5, None)))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {f"{stable_hash(('user', 7, b'x', 2.5, None))}\n"}


def test_hashes_are_the_same_for_ever() -> None:
    assert stable_hash("user-1") == 3720466758752961435
    assert ByKey().choose(10, idle, "user-1") == 9


@pytest.mark.parametrize("key", [object(), {"a": 1}, ["a"], ("a", {"b"}), 1j])
def test_a_key_whose_hash_could_change_is_refused(key: object) -> None:
    with pytest.raises(TypeError, match="whose hash could change from run to run; give a str, bytes"):
        ByKey().choose(3, idle, key)


@pytest.mark.parametrize("routing", get_args(Routing))
def test_an_empty_pool_has_nobody_to_route_to(routing: Routing) -> None:
    chooser: Router = router(routing)
    with pytest.raises(ValueError, match="the pool has no members; give it at least one"):
        chooser.choose(0, idle, "key")
    assert chooser.choose(1, idle, "key") == 0


def test_routers_have_names() -> None:
    assert [type(router(name)) for name in get_args(Routing)] == [RoundRobin, LeastLoaded, ByKey]
    assert repr(router("round_robin")) == "<RoundRobin, next 0>"
    with pytest.raises(ValueError, match="routing='random' is not a choice; choose from 'round_robin'"):
        router("random")  # type: ignore[arg-type]  # the mistake under test

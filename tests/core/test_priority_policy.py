"""The queue of fixed priorities: highest rank first, and first come, first served among equals."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorsched._core.policies.priority import FixedPriority

if TYPE_CHECKING:
    from actorsched._core.policies import SchedulingPolicy

NOW = 0.0


class Item:
    def __init__(self, name: str = "", rank: int = 3) -> None:
        self.name = name
        self.rank = rank

    def __repr__(self) -> str:
        return f"{self.name}:{self.rank}"


def queue(*items: Item) -> FixedPriority[Item]:
    made = FixedPriority[Item]()
    for item in items:
        made.push(item, NOW)
    return made


def pop_all(made: FixedPriority[Item]) -> str:
    names: list[str] = []
    while item := made.pop(NOW):
        names.append(item.name)
    return "".join(names)


def items(text: str) -> list[Item]:
    """Make items from names and ranks: "a1 b2"."""
    return [Item(word[0], int(word[1:])) for word in text.split()]


def test_it_is_a_scheduling_policy() -> None:
    policy: SchedulingPolicy[Item] = FixedPriority()
    assert policy.pop(NOW) is None


def test_an_empty_queue_has_nothing_to_give() -> None:
    made = queue()
    assert (made.pop(NOW), made.peek(NOW), len(made), made.drain()) == (None, None, 0, [])


def test_equals_come_in_the_order_of_arrival() -> None:
    assert pop_all(queue(*items("a3 b3 c3"))) == "abc"


def test_higher_ranks_come_first_and_any_int_is_a_rank() -> None:
    assert pop_all(queue(*items("a3 b-7 c99 d3 e0 f99"))) == "cfadeb"


def test_peek_shows_what_pop_takes_and_takes_nothing() -> None:
    made = queue(*items("a1 b2"))
    first = made.peek(NOW)
    assert first is made.peek(NOW)
    assert made.pop(NOW) is first
    assert len(made) == 1


def test_what_is_removed_does_not_come() -> None:
    a, b, c = items("a3 b3 c3")
    made = queue(a, b, c)
    assert made.remove(b)
    assert not made.remove(b)
    assert pop_all(made) == "ac"


def test_what_is_removed_and_pushed_again_joins_the_tail() -> None:
    a, b = items("a3 b3")
    made = queue(a, b)
    made.remove(a)
    made.push(a, NOW)
    assert pop_all(made) == "ba"


def test_what_was_popped_is_no_longer_there() -> None:
    (a,) = items("a3")
    made = queue(a)
    made.pop(NOW)
    assert not made.remove(a)
    assert not made.reprioritise(a, NOW)
    made.push(a, NOW)
    assert made.pop(NOW) is a


def test_a_rise_in_rank_overtakes() -> None:
    a, b, c = items("a1 b2 c3")
    made = queue(a, b, c)
    a.rank = 9
    assert made.reprioritise(a, NOW)
    assert pop_all(made) == "acb"


def test_a_task_keeps_its_age_among_its_new_equals() -> None:
    a, b, c = items("a3 b1 c3")
    made = queue(a, b, c)
    b.rank = 3
    made.reprioritise(b, NOW)
    assert pop_all(made) == "abc"


def test_a_task_that_rises_and_falls_is_back_where_it_was() -> None:
    a, b, c = items("a3 b3 c3")
    made = queue(a, b, c)
    for rank in (6, 3, 6, 3):
        b.rank = rank
        made.reprioritise(b, NOW)
        made.check()
    assert pop_all(made) == "abc"


def test_a_rank_counts_when_the_queue_is_told_of_it() -> None:
    a, b = items("a1 b2")
    made = queue(a, b)
    a.rank = 9
    assert made.peek(NOW) is b
    assert made.reprioritise(a, NOW)
    assert made.reprioritise(a, NOW), "telling it twice changes nothing"
    assert made.peek(NOW) is a


def test_draining_empties_the_queue_in_its_order() -> None:
    a, b, c, d = items("a1 b3 c1 d3")
    made = queue(a, b, c, d)
    made.remove(c)
    assert made.drain() == [b, d, a]
    assert len(made) == 0
    assert made.pop(NOW) is None
    made.push(c, NOW)
    assert made.pop(NOW) is c


def test_pushing_what_is_there_raises_and_changes_nothing() -> None:
    a, b = items("a3 b3")
    made = queue(a, b)
    a.rank = 0
    with pytest.raises(ValueError, match="a:0 cannot be pushed: it is in the queue already"):
        made.push(a, NOW)
    made.check()
    assert pop_all(made) == "ab"


def test_a_removed_task_is_let_go_at_once() -> None:
    made = queue(*(Item(rank=n % 3) for n in range(100)))
    item = Item(rank=1)
    made.push(item, NOW)
    made.remove(item)
    gone = weakref.ref(item)
    del item
    gc.collect()
    assert gone() is None


def cells(made: FixedPriority[Item]) -> int:
    return sum(len(level.pushed) + len(level.moved) for level in made._levels.values())


def test_removing_without_popping_does_not_let_memory_grow() -> None:
    made = queue(Item("top", rank=10**9))
    for n in range(10_000):
        item = Item(rank=n)
        made.push(item, NOW)
        made.remove(item)
    assert cells(made) < 100
    assert len(made._levels) < 100


def test_ranks_that_come_and_go_do_not_let_memory_grow() -> None:
    made = queue(Item("bottom", rank=-1))
    for n in range(10_000):
        made.push(Item(rank=n), NOW)
        made.pop(NOW)
    assert len(made._levels) <= 3


def test_popping_what_is_left_drops_the_empty_places_below() -> None:
    low = [Item(rank=1) for _ in range(500)]
    made = queue(*low, *(Item(rank=2) for _ in range(500)))
    for item in low:
        made.remove(item)
    while made.pop(NOW):
        made.check()
    assert cells(made) < 100


def test_inheriting_again_and_again_does_not_let_memory_grow() -> None:
    a, b = items("a1 b2")
    made = queue(a, b)
    for n in range(10_000):
        a.rank = n % 7
        made.reprioritise(a, NOW)
    assert cells(made) < 100


def test_its_repr_counts() -> None:
    assert repr(queue(*items("a1 b2"))) == "<FixedPriority, 2 ready>"


class QueueAgainstModel(RuleBasedStateMachine):
    """The queue, beside a list that is sorted each time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FixedPriority[Item]()
        self.model: list[tuple[int, int, Item]] = []  # negated rank, sequence, item
        self.outside: list[Item] = []
        self.sequence = 0

    @rule(rank=st.integers(-2, 4), count=st.integers(1, 5))
    def push_new(self, rank: int, count: int) -> None:
        for _ in range(count):
            self.sequence += 1
            item = Item(f"i{self.sequence}", rank)
            self.queue.push(item, NOW)
            self.model.append((-rank, self.sequence, item))

    @precondition(lambda self: self.outside)
    @rule(rank=st.integers(-2, 4))
    def push_again(self, rank: int) -> None:
        item = self.outside.pop()
        item.rank = rank
        self.sequence += 1
        self.queue.push(item, NOW)
        self.model.append((-rank, self.sequence, item))

    @rule()
    def pop(self) -> None:
        expected = min(self.model, default=None, key=lambda entry: entry[:2])
        item = self.queue.pop(NOW)
        assert item is (expected[2] if expected else None)
        if expected:
            self.model.remove(expected)
            self.outside.append(expected[2])

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.model))
        assert self.queue.remove(entry[2])
        self.model.remove(entry)
        self.outside.append(entry[2])

    @precondition(lambda self: len(self.model) > 2)
    @rule(kept=st.integers(0, 2))
    def remove_many(self, kept: int) -> None:
        while len(self.model) > kept:
            assert self.queue.remove(self.model.pop(0)[2])

    @precondition(lambda self: self.model)
    @rule(data=st.data(), rank=st.integers(-3, 5))
    def reprioritise(self, data: st.DataObject, rank: int) -> None:
        entry = data.draw(st.sampled_from(self.model))
        entry[2].rank = rank
        assert self.queue.reprioritise(entry[2], NOW)
        self.model[self.model.index(entry)] = (-rank, *entry[1:])

    @precondition(lambda self: self.outside)
    @rule()
    def touch_what_is_outside(self) -> None:
        assert not self.queue.remove(self.outside[-1])
        assert not self.queue.reprioritise(self.outside[-1], NOW)

    @rule()
    def drain(self) -> None:
        drained = self.queue.drain()
        assert drained == [entry[2] for entry in sorted(self.model, key=lambda entry: entry[:2])]
        self.model.clear()
        self.outside.extend(drained)

    @invariant()
    def agrees(self) -> None:
        self.queue.check()
        assert len(self.queue) == len(self.model)
        expected = min(self.model, default=None, key=lambda entry: entry[:2])
        assert self.queue.peek(NOW) is (expected[2] if expected else None)


TestQueueAgainstModel = QueueAgainstModel.TestCase

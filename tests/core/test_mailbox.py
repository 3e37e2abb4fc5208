"""The user lane: capacity, the four rules of overflow, priorities, and messages that died while queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsched._core.mailbox import Refusal, UserLane

if TYPE_CHECKING:
    from collections.abc import Iterable

NORMAL = 3
RULES = ("wait", "raise", "drop_oldest", "drop_newest")


class Message:
    """What the lane wants of one, and a name."""

    def __init__(self, name: str, priority: int = NORMAL) -> None:
        self.name = name
        self.priority = priority
        self.dead = False

    def __repr__(self) -> str:
        return f"{self.name}{'+' if self.dead else ''}"

    def like(self, args: tuple[str]) -> Message:
        return Message(args[0], self.priority)


def lane(capacity: int | None = None, overflow: str = "wait") -> UserLane[Message]:
    return UserLane(capacity, overflow, NORMAL)


def filled(names: str, capacity: int | None = None, overflow: str = "wait") -> UserLane[Message]:
    made = lane(capacity, overflow)
    for name in names:
        assert made.offer(Message(name)) is None
    return made


def names(messages: Iterable[Message]) -> str:
    return "".join(message.name for message in messages)


# ------------------------------------------------------------------------------------------------------ order


def test_first_in_first_out() -> None:
    assert names(filled("abc").drain()) == "abc"


def test_an_empty_lane_has_nothing() -> None:
    assert lane().take() is None
    assert len(lane()) == 0
    assert lane().drain() == []


def test_a_higher_priority_overtakes_and_equals_keep_their_order() -> None:
    made = lane()
    for name, priority in [("d", 3), ("f", 1), ("a", 6), ("e", 3), ("b", 6), ("c", 5), ("g", -1)]:
        made.offer(Message(name, priority))
    assert names(made.drain()) == "abcdefg"


def test_top_is_the_priority_of_the_next_message() -> None:
    made = lane()
    assert made.top() == NORMAL
    made.offer(Message("a", 1))
    assert made.top() == 1
    made.offer(Message("b"))
    assert made.top() == NORMAL
    made.offer(Message("c", 5))
    assert made.top() == 5


# --------------------------------------------------------------------------------------------------- capacity


def test_it_takes_as_many_as_its_capacity() -> None:
    made = filled("abc", capacity=3)
    assert made.offer(Message("d")) is Refusal.WAIT
    assert names(made.drain()) == "abc"


def test_a_lane_that_raises_says_that_it_is_full() -> None:
    made = filled("a", capacity=1, overflow="raise")
    assert made.offer(Message("b")) is Refusal.FULL


def test_drop_newest_drops_the_one_that_comes() -> None:
    made = filled("ab", capacity=2, overflow="drop_newest")
    late = Message("c", 6)
    assert made.offer(late) is late
    assert names(made.drain()) == "ab"


def test_drop_oldest_makes_room_for_the_one_that_comes() -> None:
    made = filled("ab", capacity=2, overflow="drop_oldest")
    dropped = made.offer(Message("c"))
    assert isinstance(dropped, Message)
    assert dropped.name == "a"
    assert names(made.drain()) == "bc"


def test_drop_oldest_spares_higher_priorities_and_passes_over_the_dead() -> None:
    made = lane(3, "drop_oldest")
    dead, low, high = Message("x", 1), Message("a", 1), Message("b", 6)
    for message in (dead, low, high):
        made.offer(message)
    made.discard(dead)
    made.offer(Message("c"))
    assert made.offer(Message("d")) is low
    assert names(made.drain()) == "bcd"


@pytest.mark.parametrize("overflow", RULES)
def test_no_capacity_no_limit(overflow: str) -> None:
    made = lane(None, overflow)
    assert all(made.offer(Message("a")) is None for _ in range(5000))
    assert len(made) == 5000


def test_put_takes_one_in_whatever_the_capacity() -> None:
    made = filled("a", capacity=1)
    made.put(Message("b"))
    assert names(made.drain()) == "ab"


# ------------------------------------------------------------------------------------------- dead messages


def test_a_dead_message_is_passed_over_and_leaves_its_room() -> None:
    made = lane(2)
    first, second = Message("a"), Message("b")
    made.offer(first)
    made.offer(second)
    made.discard(first)
    assert len(made) == 1
    assert made.offer(Message("c")) is None
    assert names(made.drain()) == "bc"


def test_the_dead_do_not_pile_up_behind_a_living_message() -> None:
    made = filled("a")
    for number in range(10_000):
        given_up = Message("x", number % 7)
        made.offer(given_up)
        made.discard(given_up)
    assert made._held() < 200
    assert names(made.drain()) == "a"


def test_its_repr_tells_how_full_it_is() -> None:
    assert repr(filled("ab", capacity=5)) == "<mailbox 2/5, wait>"
    assert repr(lane()) == "<mailbox 0/unbounded, wait>"


# ------------------------------------------------------------------------------------------------------ rows


def in_a_row(made: UserLane[Message], names: str) -> UserLane[Message]:
    """Put in one message, and those behind it as their arguments only."""
    first = Message(names[0])
    assert made.offer(first) is None
    made.tail = first
    assert made.queue is not None
    made.queue.extend((name,) for name in names[1:])
    return made


def test_arguments_become_messages_like_the_one_before_them() -> None:
    made = in_a_row(in_a_row(lane(), "abc"), "xyz")
    assert len(made) == 6
    assert names(made.drain()) == "abcxyz"


def test_after_a_message_of_another_kind_there_is_no_row_to_go_on_with() -> None:
    made = in_a_row(lane(), "ab")
    assert made.offer(Message("c")) is None
    assert made.tail is None


def test_a_row_whose_beginning_was_dropped_goes_on() -> None:
    made = in_a_row(lane(3, "drop_oldest"), "abc")
    assert names(cast("Message", made.offer(Message(name))) for name in "de") == "ab"
    assert names(made.drain()) == "cde"


def test_the_dead_are_swept_out_from_between_rows() -> None:
    made = in_a_row(lane(), "ab")
    dying = [Message("x") for _ in range(100)]
    for message in dying:
        made.offer(message)
    in_a_row(made, "cd")
    for message in dying:
        made.discard(message)
    assert made.dead < 100
    assert names(made.drain()) == "abcd"


def test_there_is_room_for_sure_only_while_nothing_has_a_priority() -> None:
    made = filled("a", capacity=5)
    assert made.limit == 5
    made.offer(Message("b", 6))
    assert made.limit == 0
    made.take()
    assert made.limit == 5


def test_a_lane_at_rest_keeps_no_message() -> None:
    made = in_a_row(lane(), "ab")
    made.take()
    made.rest()
    assert made.head is made.tail is not None
    made.take()
    made.rest()
    assert made.head is made.tail is None


# ------------------------------------------------------------------------------------------------- the model


class Told(Message):
    """One that nobody discards, so that mere arguments may follow it."""


class LaneMachine(RuleBasedStateMachine):
    """A lane beside a plain list of the living messages, in the order in which they came."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.queued: list[Message] = []

    @initialize(capacity=st.one_of(st.none(), st.integers(1, 6)), overflow=st.sampled_from(RULES))
    def make(self, capacity: int | None, overflow: str) -> None:
        self.capacity = capacity
        self.overflow = overflow
        self.lane = lane(capacity, overflow)

    def next(self) -> Message | None:
        return min(self.queued, key=lambda message: -message.priority, default=None)

    @rule(priority=st.sampled_from([NORMAL, NORMAL, NORMAL, 0, 5, 6, -2]), told=st.booleans())
    def offer(self, priority: int, told: bool) -> None:
        self.number += 1
        message = (Told if told else Message)(f"m{self.number}", priority)
        full = self.capacity is not None and len(self.queued) >= self.capacity
        expected: object = None
        if full and self.overflow in ("wait", "raise"):
            expected = Refusal.WAIT if self.overflow == "wait" else Refusal.FULL
        elif full and self.overflow == "drop_newest":
            expected = message
        else:
            if full:
                expected = min(self.queued, key=lambda other: other.priority)
                self.queued.remove(expected)
            self.queued.append(message)
        accepted = self.lane.offer(message)
        assert repr(accepted) == repr(expected)
        if accepted is None and told and priority == NORMAL:
            self.lane.tail = message

    @precondition(lambda self: self.lane.tail is not None and len(self.lane.queue) < self.lane.limit)
    @rule()
    def offer_one_more_of_the_row(self) -> None:
        assert self.capacity is None or len(self.queued) < self.capacity
        self.number += 1
        self.lane.queue.append((f"m{self.number}",))  # type: ignore[union-attr]
        self.queued.append(Told(f"m{self.number}"))

    @rule()
    def take(self) -> None:
        expected = self.next()
        assert repr(self.lane.take()) == repr(expected)
        if expected is not None:
            self.queued.remove(expected)

    @precondition(lambda self: any(type(message) is Message for message in self.queued))
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from([one for one in self.queued if type(one) is Message]))
        self.queued.remove(message)
        self.lane.discard(message)

    @precondition(lambda self: not self.queued)
    @rule()
    def rest(self) -> None:
        self.lane.rest()

    @precondition(lambda self: self.capacity is None)
    @rule(priority=st.sampled_from([NORMAL, 0, 6]), many=st.integers(60, 90))
    def many_give_up(self, priority: int, many: int) -> None:
        messages = [Message("x", priority) for _ in range(many)]
        for message in messages:
            self.lane.offer(message)
        for message in messages:
            self.lane.discard(message)

    @rule()
    def drain(self) -> None:
        expected = sorted(self.queued, key=lambda message: -message.priority)
        assert repr(self.lane.drain()) == repr(expected)
        self.queued.clear()

    @invariant()
    def it_counts_the_living_and_knows_the_next(self) -> None:
        following = self.next()
        assert len(self.lane) == len(self.queued)
        assert self.lane._held() <= 2 * len(self.queued) + 64 + 1
        if following is not None and all(not message.dead for message in self.queued):
            assert self.lane.top() >= following.priority


TestLaneMachine = LaneMachine.TestCase

"""The post office: counts, and readers of dead letters."""

from __future__ import annotations

from collections import deque

from actorsched._core.post_office import PostOffice
from actorsched.messages import DeadLetter


class Message:
    """One that knows how to be shown, and counts how often it was."""

    shown = 0

    def letter(self, reason: str, /) -> DeadLetter:
        self.shown += 1
        return DeadLetter("counter-1", "add", (5,), {}, None, reason)


def test_a_refused_message_was_sent_and_rejected() -> None:
    office = PostOffice()
    office.refuse()
    assert (office.sent, office.rejected, office.handled, office.dead_lettered) == (1, 1, 0, 0)


def test_a_withdrawn_message_is_rejected_and_shown() -> None:
    office, reader = PostOffice(), deque[DeadLetter]()
    office.subscribe(reader)
    office.withdraw(Message(), "expired")
    assert office.rejected == 1
    assert [letter.reason for letter in reader] == ["expired"]


def test_a_buried_message_is_a_dead_letter_and_shown() -> None:
    office, reader = PostOffice(), deque[DeadLetter]()
    office.subscribe(reader)
    office.bury(Message(), "killed")
    assert office.dead_lettered == 1
    assert reader[0].actor == "counter-1"
    assert reader[0].args == (5,)


def test_every_reader_gets_every_letter_from_its_beginning_to_its_end() -> None:
    office, early, late = PostOffice(), deque[DeadLetter](), deque[DeadLetter]()
    office.subscribe(early)
    office.bury(Message(), "first")
    office.subscribe(late)
    office.bury(Message(), "second")
    office.unsubscribe(early)
    office.bury(Message(), "third")
    assert [letter.reason for letter in early] == ["first", "second"]
    assert [letter.reason for letter in late] == ["second", "third"]


def test_readers_are_told_apart_by_identity() -> None:
    office, mine, yours = PostOffice(), deque[DeadLetter](), deque[DeadLetter]()
    office.subscribe(mine)
    office.subscribe(yours)
    office.unsubscribe(mine)
    office.bury(Message(), "stopped")
    assert not mine
    assert len(yours) == 1


def test_nothing_is_made_to_be_shown_when_nobody_reads() -> None:
    office, message = PostOffice(), Message()
    office.bury(message, "stopped")
    office.withdraw(message, "expired")
    assert message.shown == 0


def test_its_repr_tells_the_counts() -> None:
    office = PostOffice()
    office.refuse()
    office.bury(Message(), "stopped")
    assert repr(office) == "<post office: 1 sent, 0 handled, 1 rejected, 1 dead letters>"

"""What a task host notes for the case of its death."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from actorsched._hosting.journal import BOARD, Journal, hold, last_started, notes
from actorsched._hosting.segments import memory_file

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = memory_file()
    assert descriptor is not None
    yield descriptor
    os.close(descriptor)


def test_a_new_file_has_no_notes(file: int) -> None:
    assert (notes(file), last_started(file)) == (b"", 0)
    Journal(file)
    assert (notes(file), last_started(file)) == (b"", 0)


def test_notes_are_read_in_order_until_they_are_dropped(file: int) -> None:
    journal = Journal(file)
    journal.begin(7)
    assert journal.note(b"one ")
    assert journal.note(b"two ")
    assert (notes(file), last_started(file)) == (b"one two ", 7)
    journal.drop(journal.end)
    assert notes(file) == b""
    assert journal.note(b"three")
    assert notes(file) == b"three"


def test_what_is_noted_while_others_are_written_stays(file: int) -> None:
    journal = Journal(file)
    journal.note(b"written ")
    written = journal.end
    journal.note(b"not yet")
    journal.drop(written)
    assert notes(file) == b"not yet"
    journal.note(b", nor this")
    assert notes(file) == b"not yet, nor this"
    journal.drop(journal.end)
    assert notes(file) == b""


def test_a_note_of_what_is_being_written_does_not_hide_others(file: int) -> None:
    journal = Journal(file)
    end = journal.note_at(journal.end, b"bulky ")
    assert end == journal.end
    journal.note(b"other")
    assert journal.note_at(end, b"again") == end
    journal.drop(end)
    assert notes(file) == b"otheragain"


def test_what_has_no_room_is_refused_and_nothing_changes(file: int) -> None:
    journal = Journal(file)
    assert journal.has_room
    assert journal.note(b"x" * (BOARD - 1000))
    assert not journal.has_room
    before = notes(file)
    assert not journal.note(b"y" * 1000)
    assert notes(file) == before
    journal.drop(journal.end)
    assert journal.has_room


def test_a_parent_keeps_its_host_from_beginning_and_lets_it_go(file: int) -> None:
    journal = Journal(file)
    assert not journal.held
    hold(file, True)
    assert journal.held
    hold(file, False)
    assert not journal.held


def test_without_a_file_nothing_fails() -> None:
    journal = Journal(None)
    journal.begin(1)
    assert journal.note(b"lost")
    journal.drop(journal.end)
